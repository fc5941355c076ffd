"""Values that are None or not, which a traced condition decides: ``best = None``, and ``if best is None or f < best:
best = f`` in a loop.

Such a value is a pair: a number or array, and whether it is None. It computes as the number or array does, whose
elements are NaN (integers: the one furthest from 0) where it is None, as those of a variable without a value are.
``x is None`` is the flag. A tuple may be None as well (``best = i, f``), where its numbers and arrays are as above.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import optree

from jitgrad.frontend.raising import demand
from jitgrad.frontend.signature import NAMESPACE, flatten, unflatten
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Value


class Optional(Tracer):
    """``inner``, or None where the flag ``none`` is True. In trees it is a node of these two."""

    __slots__ = ()

    def __init__(self, inner: Any, none: Any) -> None:
        self._array = inner, none
        if isinstance(inner, Tracer):
            self.owner, self.scope, self.weak, self.boxed = inner.owner, inner.scope, inner.weak, inner.boxed
            self.order = inner.order if type(inner) is Tracer else None

    @property
    def inner(self) -> Tracer:
        return self._array[0]

    @property
    def none(self) -> Tracer:
        return self._array[1]

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.inner.value

    @property
    def root(self) -> Tracer:
        return self.inner.root

    def store(self, new: Tracer) -> None:
        self.inner.store(new)

    def rebind(self, value: Value) -> None:
        self.inner.rebind(value)


optree.register_pytree_node(
    Optional,  # pyright: ignore[reportArgumentType]
    lambda x: ((x.inner, x.none), None, None),  # pyright: ignore[reportAttributeAccessIssue]
    lambda _, pair: Optional(*pair),  # pyright: ignore[reportArgumentType]
    namespace=NAMESPACE,
)
#: The structure of one.
PAIR = flatten(Optional(0.0, False))[1]


class OptionalTuple(tuple):
    """The tuple of some items, or None where the flag ``none`` is True. In trees it is a node of those and the flag."""

    none: Any

    def __new__(cls, items: Iterable[Any], none: Any) -> OptionalTuple:
        found = super().__new__(cls, items)
        found.none = none
        return found


optree.register_pytree_node(
    OptionalTuple,  # pyright: ignore[reportArgumentType]
    lambda x: ((*x, x.none), None, None),  # pyright: ignore[reportAttributeAccessIssue]
    lambda _, parts: OptionalTuple(tuple(parts)[:-1], tuple(parts)[-1]),  # pyright: ignore[reportArgumentType]
    namespace=NAMESPACE,
)


def none_or_tuple(tree: optree.PyTreeSpec) -> optree.PyTreeSpec | None:
    """The structure of what is None or a tuple of this structure; None for other structures."""
    if tree.type is OptionalTuple:
        return tree
    return flatten(OptionalTuple(unflatten(tree, [0] * tree.num_leaves), 0))[1] if tree.type is tuple else None


def is_none(x: Any) -> Any:
    """``x is None``, which may be traced."""
    return Tracer(x.none.owner, x.none.value, "bool") if _is_optional(x) else x is None


def without_none(tree: Any, name: str) -> Any:
    """The result of function ``name`` with numbers and arrays for what may be None; the program raises TypeError where
    one is."""

    def demanded(x: Any) -> Any:
        if not _is_optional(x):
            return x
        trace = x.none.owner
        (ok,) = trace.emit("logical_not", [x.none], {})
        what = "a number or an array" if type(x) is Optional else "a tuple"
        error = TypeError(
            f"a result of {name} is None for these arguments, and {what} for others. A compiled function "
            "returns one kind. Begin with a number (np.inf, -1), or return whether there is one as well."
        )
        demand(Tracer(trace, ok), error)
        return x.inner if type(x) is Optional else without_none(tuple(x), name)

    if not any(map(_is_optional, optree.tree_leaves(tree, is_leaf=_is_optional, namespace=NAMESPACE))):
        return tree
    return optree.tree_map(demanded, tree, is_leaf=_is_optional, namespace=NAMESPACE)


def _is_optional(x: Any) -> bool:
    return type(x) in (Optional, OptionalTuple)


def is_true(x: Optional | OptionalTuple) -> Any:
    """``bool(x)``: None is False."""
    if type(x) is OptionalTuple and not len(x):
        return False
    trace = x.none.owner
    (some,) = trace.emit("logical_not", [x.none], {})
    if isinstance(x, OptionalTuple):
        return Tracer(trace, some, "bool")
    (nonzero,) = trace.emit("not_equal", [x.inner, trace.lift(np.zeros((), x.dtype))], {})
    return Tracer(trace, trace.emit("logical_and", [Tracer(trace, some), Tracer(trace, nonzero)], {})[0], "bool")
