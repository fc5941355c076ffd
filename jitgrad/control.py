"""Control flow by functions: loops and branches that are recorded as such, whatever their length.

Python's own ``for``, ``while`` and ``if`` do the same in a traced function; these are for code without source, and for
those who know them from JAX. Outside of a traced function they simply run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend import control_flow
from jitgrad.frontend.branching import record_branches
from jitgrad.frontend.iteration import range_, steps_of
from jitgrad.frontend.primitives import cast
from jitgrad.frontend.recording import record_for, record_while
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, contains_tracer, innermost_trace, is_traced
from jitgrad.ir.core import Op
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import named_values
from jitgrad.ir.types import TensorType, i64


def recording_trace(*values: Any) -> Trace | None:
    """The trace that records, if there is one."""
    leaves = flatten(values)[0]
    return control_flow.current_trace() or (innermost_trace(leaves) if contains_tracer(leaves) else None)


def fori_loop(lo: Any, hi: Any, body: Callable[[Any, Any], Any], init: Any) -> Any:
    """``for i in range(lo, hi): carry = body(i, carry)``, from ``init``; returns the last carry.

    ``lo`` and ``hi`` may be traced integers; the carry is any tree of arrays and numbers whose shapes stay. Raises
    CarryError where they do not. Source: ``jax.lax.fori_loop``.
    """
    trace = recording_trace(lo, hi, init)
    if trace is None:
        carry = init
        for i in range(lo, hi):
            carry = body(i, carry)
        return carry
    steps = steps_of(range_(range, lo, hi))
    assert steps is not None
    (carry,) = record_for(
        trace, steps.lo, steps.hi, steps.step, lambda i, c: (body(i, c),), (init,), ("the carry",), (init,)
    )
    return carry


def while_loop(cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any) -> Any:
    """``while cond(carry): carry = body(carry)``, from ``init``; returns the last carry.

    Can be differentiated in both modes: the reverse counts the iterations. Raises CarryError, and ConcretizationError
    for a condition that is no scalar. Source: ``jax.lax.while_loop``.
    """
    trace = recording_trace(init)
    if trace is None:
        carry = init
        while cond(carry):
            carry = body(carry)
        return carry
    (carry,) = record_while(trace, cond, lambda c: (body(c),), (init,), ("the carry",), (init,))
    return carry


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """``carry, y = f(carry, x)`` for every ``x`` along the first axis of the arrays in ``xs``; returns the last carry
    and the ``y`` stacked.

    Parameters
    ----------
    xs : a tree of arrays of one length, or None with ``length`` given; then ``f`` gets None.
    reverse : run from the last element to the first; the stacked results are in the order of ``xs``.

    Raises ShapeError for arrays of different lengths, ArgumentError where the length is not known, CarryError for a
    carry that does not keep its type. Source: ``jax.lax.scan``.
    """
    leaves, tree = flatten(xs)
    n = _length(leaves, length)
    trace = recording_trace(init, xs)
    if trace is None:
        return _plain_scan(f, init, leaves, tree, n, reverse=reverse)
    if n == 0:
        raise ArgumentError(
            "scan over nothing in a traced function. The type of its results is not known. Check the length before.",
            user_location(),
        )
    arrays = [trace.lift(x) for x in leaves]
    bounds = (n - 1, -1, -1) if reverse else (0, n, 1)

    def step(i: Any, carry: Any) -> tuple[Any, Any]:
        return f(carry, unflatten(tree, [a[i] for a in arrays]))

    with trace.region("a trial of the function of scan") as scope:
        carry, _ = step(bounds[0], init)
        _, y = step(bounds[0], carry)  # the types of the results once the carry has its own
        pieces, y_tree = flatten(y)
        types = [trace.lift(piece).type for piece in pieces]
        _check_one_shape(types, scope.ops)
    stacks = [_empty_stack(trace, n, t) for t in types]

    def body(i: Any, carry: Any, *stacks: Any) -> tuple[Any, ...]:
        carry, y = step(i, carry)
        for stack, piece in zip(stacks, flatten(y)[0], strict=True):
            stack[i] = piece
        return (carry, *stacks)

    names = ("the carry", *(f"result {k}" for k in range(len(stacks))))
    carry, *ys = record_for(trace, *bounds, body, (init, *stacks), names, (init,))
    return carry, unflatten(y_tree, ys)


def _length(leaves: Sequence[Any], length: int | None) -> int:
    """How many steps a scan over these arrays has."""
    shapes = [x.dims if isinstance(x, Tracer) else np.shape(x) for x in leaves]
    for shape in shapes:
        if not shape or not isinstance(shape[0], int):
            raise ShapeError(
                f"scan over an array of shape {shape}. It runs along the first axis, whose length must be known while "
                "the function is traced. Give arrays with such an axis, or use a for loop.",
                user_location(),
            )
    lengths = {shape[0] for shape in shapes} | ({length} if length is not None else set())
    if not lengths:
        raise ArgumentError("scan without xs and without length. Give one of them.", user_location())
    if len(lengths) > 1:
        raise ShapeError(
            f"scan over arrays of lengths {sorted(lengths)}. All of xs, and length if it is given, have one length. "
            "Slice them.",
            user_location(),
        )
    return lengths.pop()


def _check_one_shape(types: Sequence[TensorType], made: Sequence[Op]) -> None:
    """Raise ShapeError for a result that has another shape in each step: one that ops of a step decide."""
    own = {v for op in made for v in op.results}
    for t in types:
        unknown = [str(d) for d in t.shape if not own.isdisjoint(named_values(d))]
        if unknown:
            raise ShapeError(
                f"vmap or scan of a function with a result of type {t}: how large it is ({', '.join(unknown)}) each "
                "example decides, so the results of all are no array. Return an array with room for all and the "
                "number of elements, or what you compute of it.",
                user_location(),
            )


def _empty_stack(trace: Trace, n: int, type: TensorType) -> Tracer:
    """An array for ``n`` values of a type, to be written into."""
    (value,) = trace.emit("empty", (), {"shape": (n, *type.shape), "dtype": type.dtype})
    return Tracer(trace, value)


def _plain_scan(f: Any, init: Any, leaves: list[Any], tree: Any, n: int, *, reverse: bool) -> tuple[Any, Any]:
    carry, ys = init, []
    for i in reversed(range(n)) if reverse else range(n):
        carry, y = f(carry, unflatten(tree, [x[i] for x in leaves]))
        ys.append(y)
    if reverse:
        ys.reverse()
    if not ys:
        return carry, None
    columns = zip(*(flatten(y)[0] for y in ys), strict=True)
    return carry, unflatten(flatten(ys[0])[1], [np.stack(column) for column in columns])


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """``true_fun(*operands) if pred else false_fun(*operands)``; only one of them runs.

    ``pred`` is a scalar. Both return trees of one structure, with arrays of equal shapes. Raises CarryError where they
    do not. Source: ``jax.lax.cond``.
    """
    return control_flow.ifexp(pred, lambda: true_fun(*operands), lambda: false_fun(*operands), 0)


def checkpoint(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose inner values are computed again in reverse mode rather than saved: less memory, more work.

    Values and derivatives are the same. Source: ``jax.checkpoint``.
    """
    if not callable(fun):
        raise ArgumentError(
            f"checkpoint takes a function, not an object of type {type(fun).__name__}. Pass a function, or use it as a "
            "decorator.",
            user_location(),
        )

    @functools.wraps(fun)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        trace = recording_trace(args, kwargs)
        if trace is None:
            return fun(*args, **kwargs)
        run = control_flow.callee(fun)
        (value,) = record_branches(
            trace, "checkpoint", None, [lambda: (run(*args, **kwargs),)], ("the result",), what="a checkpoint"
        )
        return value

    return checkpointed


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """``branches[index](*operands)``, with the index clamped to those there are. Source: ``jax.lax.switch``."""
    if not branches:
        raise ArgumentError("switch without branches. It needs at least one. Give a list of functions.")
    if not is_traced(index):
        return branches[min(max(int(index), 0), len(branches) - 1)](*operands)
    trace = recording_trace(index)
    assert trace is not None
    selector = cast(trace.lift(index), i64)
    (value,) = record_branches(
        trace, "switch", selector, [lambda f=f: (f(*operands),) for f in branches], ("the result of switch",)
    )
    return value
