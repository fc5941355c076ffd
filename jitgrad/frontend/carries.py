"""Variables that a loop or a branch changes: what they hold, leaf by leaf, and the types that hold every value.

A leaf is static (any Python object that stays the same) or traced. A traced one has a type and may be weak, as Python
numbers are. :func:`join` gives the type that two values have in common, by NumPy's promotion: a Python 0 that becomes
an array element takes the element's dtype.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.errors import CarryError
from jitgrad.frontend.objects import Opened, all_leaves, closed, flatten_like, may_open
from jitgrad.frontend.optional import PAIR, Optional, OptionalTuple, none_or_tuple
from jitgrad.frontend.primitives import WEAK_SAMPLES, broadcast_to, cast, promoted
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import flatten, unflatten, widened, with_complex
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, is_traced
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType, is_float, kind_letter

#: A Python number that becomes one of a later type is of that type.
_WEAK_ORDER = ("bool", "int", "float")
#: Names that rewritten functions have for what they return.
_RETURNED = re.compile(r"_value_\d+$")


class Unbound:
    """Stands for a variable without a value. Using it is Python's UnboundLocalError."""

    def __repr__(self) -> str:
        return "<unbound>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnboundLocalError("cannot access a local variable where it is not associated with a value")


UNBOUND = Unbound()


class Slot(NamedTuple):
    """One leaf of a variable. ``type`` is None for a static one, which is ``value``; UNBOUND is static."""

    type: TensorType | None
    weak: str | None = None
    value: Any = None


class Variable(NamedTuple):
    """A variable: its name for messages, its structure, and its leaves."""

    name: str
    tree: optree.PyTreeSpec
    slots: tuple[Slot, ...]

    def same(self, other: Variable) -> bool:
        """Are structure, types and static values the same?"""
        if self.tree != other.tree or len(self.slots) != len(other.slots):
            return False
        pairs = zip(self.slots, other.slots, strict=True)
        return all(a.type == b.type and a.weak == b.weak and a.value is b.value for a, b in pairs)


def is_number(leaf: Any) -> bool:
    """A Python or NumPy scalar, or an array: what can be traced. One of objects or of text is not."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        return kind_letter(leaf.dtype) in "biufc"
    return isinstance(leaf, Tracer) or type(leaf) in (bool, int, float)


def is_array(leaf: Any) -> bool:
    """A traced array, which has an identity and can be written into; not a scalar."""
    return isinstance(leaf, Tracer) and not leaf.weak and bool(leaf.dims or leaf.boxed)


# -- what values are ---------------------------------------------------------------------------------------------------


def describe(name: str, value: Any, *, static_numbers: bool = False) -> Variable:
    """A variable that holds ``value``. Numbers and arrays are traced, but bools: those are flags more often than not.

    static_numbers : nothing but tracers is traced.
    """
    leaves, tree = flatten(value)
    return Variable(name, tree, tuple(_slot(leaf, static_numbers=static_numbers) for leaf in leaves))


def _slot(leaf: Any, *, static_numbers: bool) -> Slot:
    if is_array(leaf):
        return Slot(None, None, leaf)  # as long as it is the same object
    if isinstance(leaf, Tracer):
        return traced_slot(leaf)
    if static_numbers or type(leaf) is bool or not is_number(leaf):
        return Slot(None, None, leaf)
    return traced_slot(leaf)


def traced_slot(leaf: Any) -> Slot:
    """The slot of a number or array that is traced."""
    if isinstance(leaf, Tracer):
        return Slot(leaf.type, leaf.weak)
    array = np.asarray(leaf)
    weak = type(leaf).__name__ if type(leaf) in (bool, int, float) else None
    return Slot(TensorType(array.dtype, array.shape), weak)


# -- what holds two of them --------------------------------------------------------------------------------------------


def join(a: Variable, b: Variable, when: str) -> Variable:
    """The variable that holds what either holds. Raises CarryError; ``when`` says what makes the difference, as in
    "after an iteration"."""
    a, b = _opened_alike(a, b)
    if a.tree == b.tree and _is_unbound(a) == _is_unbound(b):
        slots = tuple(_joined_slot(a.name, x, y, when) for x, y in zip(a.slots, b.slots, strict=True))
        return Variable(a.name, a.tree, slots)
    if _is_unbound(a) or _is_unbound(b):
        bound = _opened_if_traced(b if _is_unbound(a) else a)
        return Variable(a.name, bound.tree, tuple(map(_bound_slot, bound.slots)))
    if (pair := _optional(a)) is not None and (other := _optional(b)) is not None:
        return join(pair, other, when)
    if (both := _optional_tuples(a, b)) is not None:
        return join(both[0], both[1], when)
    wide, other = _with_complex(a, b), _with_complex(b, a)
    if (wide is not a or other is not b) and wide.tree == other.tree:
        return join(wide, other, when)
    raise _unlike(
        f"{a.name} is {_structure(a)} before and {_structure(b)} {when}. What a recorded loop or branch changes "
        "keeps its structure. Keep it the same, or use a loop that is unrolled."
    )


def _unlike(message: str) -> CarryError:
    error = CarryError(message, user_location())
    error.unlike = True
    return error


def _optional(v: Variable) -> Variable | None:
    """None, a number or an array as what may be None or not; None for anything else."""
    if is_none(v):
        return Variable(v.name, PAIR, (Slot(None, None, UNBOUND), Slot(None, None, True)))
    if v.tree == PAIR:
        return v
    if v.tree.is_leaf() and (v.slots[0].type is not None or is_number(v.slots[0].value)):
        return Variable(v.name, PAIR, (*v.slots, Slot(None, None, False)))
    return None


def _optional_tuples(*variables: Variable) -> tuple[Variable, ...] | None:
    """Tuples of one structure and None, as what may be None or not; None for anything else."""
    trees = {none_or_tuple(v.tree) for v in variables if not is_none(v)}
    tree = trees.pop() if len(trees) == 1 else None
    if tree is None:
        return None
    nothing = (Slot(None, None, UNBOUND),) * (tree.num_leaves - 1), Slot(None, None, True)
    found = []
    for v in variables:
        slots, none = nothing if is_none(v) else (v.slots, Slot(None, None, False))
        found.append(v if v.tree == tree else Variable(v.name, tree, (*slots, none)))
    return tuple(found)


def _opened_alike(a: Variable, b: Variable) -> tuple[Variable, Variable]:
    """Both with those objects opened, of which the two have different ones of a class in one place."""
    while True:
        here, there = set[int](), set[int]()
        for (first, i), (second, j) in _aligned(a.tree, 0, b.tree, 0):
            x = a.slots[i].value if first.is_leaf() else None
            y = b.slots[j].value if second.is_leaf() else None
            if first.is_leaf() and second.is_leaf():
                if x is y or type(x) is not type(y) or not (may_open(x) and may_open(y)):
                    continue
            elif not may_open(x if first.is_leaf() else y) or Opened not in (first.type, second.type):
                continue
            here |= {i} if first.is_leaf() else set()
            there |= {j} if second.is_leaf() else set()
        if not here and not there:
            return a, b
        a, b = _opened(a, here), _opened(b, there)


def _aligned(a: optree.PyTreeSpec, i: int, b: optree.PyTreeSpec, j: int) -> Iterator[tuple[Any, Any]]:
    """The places of two structures where one of them has a leaf: both structures there, with the numbers of their first
    leaves. Where they differ further out there are none."""
    if a.is_leaf() or b.is_leaf():
        yield (a, i), (b, j)
    elif a.type is b.type and a.num_children == b.num_children:
        for x, y in zip(optree.treespec_children(a), optree.treespec_children(b), strict=True):
            yield from _aligned(x, i, y, j)
            i, j = i + x.num_leaves, j + y.num_leaves


def _opened(v: Variable, which: Collection[int]) -> Variable:
    """The variable with the objects opened that are its slots of these numbers. Their numbers stay what they are, until
    they change."""
    if not which:
        return v
    marks = [Opened.of(slot.value) if k in which else 0 for k, slot in enumerate(v.slots)]
    slots: list[Slot] = []
    for slot, mark in zip(v.slots, marks, strict=True):
        inner = [slot] if mark == 0 else [_slot(leaf, static_numbers=True) for leaf in flatten(mark)[0]]
        slots += inner
    return Variable(v.name, flatten(unflatten(v.tree, marks))[1], tuple(slots))


def _opened_if_traced(v: Variable) -> Variable:
    """The variable with the objects opened that hold traced values."""
    while True:
        found = {
            k for k, slot in enumerate(v.slots) if may_open(slot.value) and any(map(is_traced, all_leaves(slot.value)))
        }
        if not found:
            return v
        v = _opened(v, found)


def _with_complex(v: Variable, like: Variable) -> Variable:
    """The variable with complex values where it has real ones and another one has complex ones."""
    where = widened(v.tree, like.tree)
    if not any(where):
        return v
    slots: list[Slot] = []
    for slot, add in zip(v.slots, where, strict=True):
        if not add or (slot.type is None and not is_number(slot.value)):
            slots.append(slot)
            if add:
                return v
            continue
        slot = slot if slot.type is not None else traced_slot(slot.value)
        slots += (slot, slot)
    return Variable(v.name, with_complex(v.tree, where), tuple(slots))


def _is_unbound(v: Variable) -> bool:
    return v.tree.is_leaf() and v.slots[0].value is UNBOUND


def is_none(v: Variable) -> bool:
    """Does it hold None?"""
    return not v.slots and v.tree.type in (None, type(None))


def _structure(v: Variable) -> str:
    """In words, for messages."""
    if v.tree.is_leaf():
        return "one value"
    if is_none(v):
        return "None"
    return f"{v.tree.type.__name__ if v.tree.type else v.tree} of {len(v.slots)}"


def _joined_slot(name: str, a: Slot, b: Slot, when: str) -> Slot:
    if a.type is None and b.type is None and _is_same(a.value, b.value):
        return a
    if a.value is UNBOUND:
        return _bound_slot(b)
    if b.value is UNBOUND:
        return _bound_slot(a)
    first, second = (s if s.type is not None else _became_traced(name, s, when) for s in (a, b))
    if first.type == second.type:
        return Slot(first.type, first.weak if first.weak == second.weak else None)
    return _promoted(name, first, second, when)


def _bound_slot(slot: Slot) -> Slot:
    """The slot of a variable that is not always bound: a number or an array in it is traced."""
    return slot if slot.type is not None or not is_number(slot.value) else traced_slot(slot.value)


def _is_same(a: Any, b: Any) -> bool:
    """Are two static values the same object, or equal? The zeros of different signs are not."""
    if a is b:
        return True
    if type(a) is not type(b) or isinstance(a, (np.ndarray, Tracer)):
        return False
    if (isinstance(a, float) or (isinstance(a, np.generic) and is_float(a.dtype))) and not a:
        return not b and math.copysign(1.0, a) == math.copysign(1.0, b)
    try:
        return bool(a == b)
    except (TypeError, ValueError):  # objects that can't be compared are different
        return False


def _became_traced(name: str, slot: Slot, when: str) -> Slot:
    if is_number(slot.value):
        return traced_slot(slot.value)
    raise CarryError(
        f"{name} is {slot.value!r} of type {type(slot.value).__name__} on one way and another value {when}. Only "
        "numbers and arrays can change in a recorded loop or branch. Give it a number from the start.",
        user_location(),
    )


def _promoted(name: str, a: Slot, b: Slot, when: str) -> Slot:
    """The slot for values of two types: NumPy's promotion; a Python number becomes an array of its equals."""
    assert a.type is not None and b.type is not None
    kinds = {kind_letter(a.type.dtype), kind_letter(b.type.dtype)}
    if "b" in kinds and len(kinds) > 1 and not (a.weak or b.weak):
        raise CarryError(
            f"{name} is {a.type} before and {b.type} {when}. A bool and a number have no type in common here. Convert "
            "one of them.",
            user_location(),
        )
    if a.type.shape != b.type.shape and not (a.weak or b.weak):
        raise _unlike(
            f"{name} is {a.type} before and {b.type} {when}. What a recorded loop or branch changes keeps its "
            "shape. Make it the shape that it has in the end before, with np.zeros for example."
        )
    samples = (WEAK_SAMPLES[s.weak] if s.weak else t.dtype for s, t in ((a, a.type), (b, b.type)))
    weak = max(a.weak, b.weak, key=_WEAK_ORDER.index) if a.weak and b.weak else None
    return Slot(TensorType(promoted(*samples), a.type.shape or b.type.shape), weak)


# -- values of a variable ----------------------------------------------------------------------------------------------


def fit(trace: Trace, leaf: Any, slot: Slot, name: str) -> Tracer:
    """A leaf of the variable ``name`` as a value of the slot's type, in the scope that is recorded now.

    UNBOUND becomes what shows where a program reads it, for which Python raises: NaN, or the integer furthest from 0.
    Nothing reads the result of a ``return`` that was not reached (``syntax_flow``), which becomes 0.
    """
    assert slot.type is not None
    dtype, shape = slot.type
    if leaf is UNBOUND:
        return broadcast_to(Tracer(trace, trace.scalar(0 if _RETURNED.match(name) else _nothing(dtype), dtype)), shape)
    x = trace.lift(leaf)
    x = Tracer(trace, trace.own(x))
    return broadcast_to(cast(x, dtype), shape)


def _nothing(dtype: np.dtype) -> Any:
    if is_float(dtype):
        return np.nan
    if dtype.kind == "b":
        return False
    limits = np.iinfo(dtype)
    return limits.min if limits.min else limits.max


def leaves_of(variable: Variable, value: Any) -> list[Any]:
    """The leaves of a value of this variable; UNBOUND everywhere if it is that."""
    if value is UNBOUND:
        return [UNBOUND] * len(variable.slots)
    if variable.tree == PAIR and type(value) is not Optional:
        return [UNBOUND, True] if value is None else [value, False]
    if variable.tree.type is OptionalTuple and type(value) is not OptionalTuple:
        if value is None:
            return [*[UNBOUND] * (len(variable.slots) - 1), True]
        value = OptionalTuple(value, False)
    leaves, tree = flatten_like(value, variable.tree)
    if tree == variable.tree:
        return leaves
    where = widened(tree, variable.tree)
    return [x for leaf, add in zip(leaves, where, strict=True) for x in ((leaf, leaf.imag) if add else (leaf,))]


def rebuilt(variable: Variable, traced: Sequence[Tracer]) -> Any:
    """The variable's value, of what its traced leaves are now; static ones are as they were."""
    values = iter(traced)
    leaves = [s.value if s.type is None else next(values) for s in variable.slots]
    return closed(unflatten(variable.tree, leaves))


def made_traced(variable: Variable, scopes: Sequence[Scope]) -> Variable:
    """The variable with traced slots for arrays that were made in these scopes: they do not exist outside."""
    made = [is_array(slot.value) and any(slot.value.scope is s for s in scopes) for slot in variable.slots]
    slots = (traced_slot(slot.value) if new else slot for slot, new in zip(variable.slots, made, strict=True))
    return variable._replace(slots=tuple(slots))
