"""``vmap``: a function of one example as a function of many, along an axis of its arguments.

The examples are the iterations of a loop whose results are stacked. Where they do not depend on each other, as here,
the loop becomes operations on whole arrays (``jitgrad.passes.vectorise``): products with a matrix that all examples
share become one product, and what stays a loop is compiled as one, on threads where it is long.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from jitgrad.control import scan
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend import control_flow
from jitgrad.frontend.namespace import stand_in
from jitgrad.frontend.signature import NAMESPACE, flatten, unflatten
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location

Axis = int | None


def mapped(fun: Callable[..., Any], in_axes: Any, out_axes: Any) -> Callable[..., Any]:
    """The function of stacked arguments, to be traced. See :func:`jitgrad.vmap`."""
    check_axes(in_axes, "in_axes")
    check_axes(out_axes, "out_axes")

    @functools.wraps(fun)
    def over_examples(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten((args, kwargs))
        given = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(args)
        if len(given) != len(args):
            raise ArgumentError(
                f"in_axes has {len(given)} entries, and the function was called with {len(args)} positional arguments. "
                "Give one axis for each, or None for an argument that all examples share. Arguments by keyword are "
                "mapped over axis 0.",
                user_location(),
            )
        axes = [
            axis for k, (a, x) in enumerate(zip(given, args, strict=True)) for axis in spread(a, x, f"in_axes[{k}]")
        ]
        axes += [0] * (len(leaves) - len(axes))
        examples = [_first(x, axis) for x, axis in zip(leaves, axes, strict=True) if axis is not None]
        _check_lengths(examples)
        run = control_flow.callee(fun)

        def one(carry: None, example: list[Any]) -> tuple[None, Any]:
            mine = iter(example)
            full = [_copied(x if axis is None else next(mine)) for x, axis in zip(leaves, axes, strict=True)]
            positional, named = unflatten(tree, full)
            return carry, run(*positional, **named)

        _, stacked = scan(one, None, examples)
        results, result_tree = flatten(stacked)
        places = spread(out_axes, stacked, "out_axes")
        return unflatten(result_tree, [_placed(y, axis) for y, axis in zip(results, places, strict=True)])

    return over_examples


def check_axes(axes: Any, what: str) -> None:
    """Raise ArgumentError unless these are integers (and None among ``in_axes``) in a tree."""
    flatten(axes)  # registers dataclasses
    leaves = optree.tree_leaves(axes, none_is_leaf=True, namespace=NAMESPACE)
    may_be_none = what == "in_axes"
    for axis in leaves:
        if isinstance(axis, bool) or not (isinstance(axis, (int, np.integer)) or (axis is None and may_be_none)):
            none = ", or None for what all examples share" if may_be_none else ""
            raise ArgumentError(
                f"{what} of vmap holds {axis!r}. It is the number of an axis{none}, or a tuple or tree of these in the "
                f"structure of the {'arguments' if may_be_none else 'result'}.",
                user_location(),
            )
    if may_be_none and all(axis is None for axis in leaves):
        raise ArgumentError(
            f"in_axes={axes!r} maps no argument. One at least must have the axis of the examples: give its number.",
            user_location(),
        )


def spread(axes: Any, tree: Any, where: str) -> list[Axis]:
    """The axis of each leaf of a tree, by axes in a structure that the tree begins with."""
    if axes is None or isinstance(axes, (int, np.integer)):
        return [None if axes is None else int(axes)] * len(flatten(tree)[0])
    below = _children(axes)
    parts = _children(tree) if type(axes) is type(tree) else None
    if parts is None or below is None or [k for k, _ in parts] != [k for k, _ in below]:
        raise ArgumentError(
            f"{where} is {axes!r}, and belongs to an object of type {type(tree).__name__} of another structure. Axes "
            "have the structure of what they are for, or are one number for a whole part of it.",
            user_location(),
        )
    return [axis for (k, a), (_, x) in zip(below, parts, strict=True) for axis in spread(a, x, f"{where}[{k!r}]")]


def _children(tree: Any) -> list[tuple[Any, Any]] | None:
    """Entries and children of a node."""
    if optree.tree_is_leaf(tree, namespace=NAMESPACE):
        return None
    children, _, entries, _ = optree.tree_flatten_one_level(tree, namespace=NAMESPACE)
    return list(zip(entries, children, strict=True))


def _first(x: Any, axis: int) -> Any:
    """An argument with the axis of the examples as the first."""
    shape = _shape(x)
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(
            f"vmap over axis {axis} of an array of shape {_text(shape)}, which has no such axis. Give in_axes an axis "
            "that it has, or None if all examples share it.",
            user_location(),
        )
    return stand_in(np.moveaxis)(x, axis, 0) if axis % len(shape) else x


def _placed(y: Any, axis: Axis) -> Any:
    """A stacked result with the axis of the examples where it is to be."""
    assert axis is not None
    shape = _shape(y)
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(
            f"out_axes has {axis}, and the result has shape {_text(shape)} with the axis of the examples: there is no "
            "such axis.",
            user_location(),
        )
    return stand_in(np.moveaxis)(y, 0, axis) if axis % len(shape) else y


def _check_lengths(examples: Sequence[Any]) -> None:
    """Raise ShapeError unless there are as many examples in all arguments, and one at least."""
    lengths = {_shape(x)[0] for x in examples}
    if len(lengths) > 1:
        shapes = ", ".join(_text(_shape(x)) for x in examples)
        raise ShapeError(
            f"vmap over arguments of different lengths {sorted(lengths, key=str)}: with the axis of the examples first "
            f"their shapes are {shapes}. All mapped arguments have as many examples. Give in_axes None for an argument "
            "that all examples share.",
            user_location(),
        )
    if lengths == {0}:
        raise ShapeError(
            "vmap over no examples. The types of its results are not known. Check the length before.", user_location()
        )


def _copied(x: Any) -> Any:
    """What the function may write into without changing the caller's."""
    return x.copy() if isinstance(x, Tracer) and x.dims else x


def _shape(x: Any) -> tuple[Any, ...]:
    return x.dims if isinstance(x, Tracer) else np.shape(x)


def _text(shape: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
