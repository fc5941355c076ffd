"""Operators on objects of the user's classes: the methods that they stand for, ``__matmul__`` for one, run in their
rewritten form, as other methods do. The rules of which method is asked first are Python's and NumPy's. Comparisons of
tuples and lists with traced values in them."""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.frontend.fixed import refuse_equality
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.tracer import Collection, Tracer, has_traced
from jitgrad.frontend.usercode import is_user_class, is_user_function

#: Symbol -> the methods of the left and of the right operand, and what Python does.
_BINARY: dict[str, tuple[str, str, Callable[[Any, Any], Any]]] = {
    "+": ("__add__", "__radd__", operator.add),
    "-": ("__sub__", "__rsub__", operator.sub),
    "*": ("__mul__", "__rmul__", operator.mul),
    "/": ("__truediv__", "__rtruediv__", operator.truediv),
    "//": ("__floordiv__", "__rfloordiv__", operator.floordiv),
    "%": ("__mod__", "__rmod__", operator.mod),
    "**": ("__pow__", "__rpow__", operator.pow),
    "@": ("__matmul__", "__rmatmul__", operator.matmul),
    "&": ("__and__", "__rand__", operator.and_),
    "|": ("__or__", "__ror__", operator.or_),
    "^": ("__xor__", "__rxor__", operator.xor),
    "<<": ("__lshift__", "__rlshift__", operator.lshift),
    ">>": ("__rshift__", "__rrshift__", operator.rshift),
    "<": ("__lt__", "__gt__", operator.lt),
    "<=": ("__le__", "__ge__", operator.le),
    ">": ("__gt__", "__lt__", operator.gt),
    ">=": ("__ge__", "__le__", operator.ge),
    "==": ("__eq__", "__eq__", operator.eq),
    "!=": ("__ne__", "__ne__", operator.ne),
}
_COMPARISONS = frozenset(("<", "<=", ">", ">=", "==", "!="))
_UNARY: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "-": ("__neg__", operator.neg),
    "+": ("__pos__", operator.pos),
    "~": ("__invert__", operator.invert),
}
#: Symbol -> the method that changes the left operand, and what Python does.
_IN_PLACE: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "+": ("__iadd__", operator.iadd),
    "-": ("__isub__", operator.isub),
    "*": ("__imul__", operator.imul),
    "/": ("__itruediv__", operator.itruediv),
    "//": ("__ifloordiv__", operator.ifloordiv),
    "%": ("__imod__", operator.imod),
    "**": ("__ipow__", operator.ipow),
    "@": ("__imatmul__", operator.imatmul),
    "&": ("__iand__", operator.iand),
    "|": ("__ior__", operator.ior),
    "^": ("__ixor__", operator.ixor),
    "<<": ("__ilshift__", operator.ilshift),
    ">>": ("__irshift__", operator.irshift),
}
#: The classes of most objects, which are nobody's.
USUAL = frozenset(
    (
        *(Tracer, np.ndarray, np.float64, np.float32, np.int64, np.bool_, int, float, bool, complex),
        *(str, list, tuple, dict, type(None), types.ModuleType, types.FunctionType, type, slice),
    )
)
#: Numbers, whose own methods know no other objects.
_NUMBERS = (int, float, complex, np.number)
#: What NumPy takes ``__array_priority__`` to be for its numbers, and for objects without one.
_LOWEST_PRIORITY = -1_000_000.0


def method(obj: Any, name: str) -> Any:
    """The method of an object in its rewritten form, if it is one that the user wrote in a class. That of a name with
    underscores is looked up as Python does: in the class only."""
    cls = type(obj)
    if cls in USUAL or not is_user_class(cls):
        return None
    found: Any = getattr(cls, name, None)
    if not is_user_function(found):
        return None
    symbol = _OF_DATACLASSES.get(name)
    if symbol is not None and found.__code__.co_filename == "<string>" and dataclasses.is_dataclass(cls):
        return functools.partial(_compared_fields, obj, symbol)
    return HOOKS["callee"](types.MethodType(found, obj))


def binary(a: Any, symbol: str, b: Any) -> Any:
    """``a + b``, ``a < b`` and so on."""
    left, right, python = _BINARY[symbol]
    if type(a) in USUAL and type(b) in USUAL:
        if symbol in _COMPARISONS and type(a) is type(b) and type(a) in (tuple, list) and has_traced((a, b)):
            return _compared(a, symbol, b)
        return python(a, b)
    if symbol in ("==", "!="):
        refuse_equality(a, b)
    ours, theirs = method(a, left), method(b, right)
    if type(a) is type(b) and symbol not in _COMPARISONS:
        theirs = None
    if symbol == "!=" and ours is None and theirs is None and (equal := _equality(a, b)) is not None:
        return HOOKS["runtime"]().not_(equal)
    if ours is None and (theirs is None or not _leaves_it_to(a, type(b))):
        return python(a, b)
    attempts = [(ours, b), (theirs, a)]
    if type(a) is not type(b) and issubclass(type(b), type(a)):
        attempts.reverse()
    for attempt, other in attempts:
        if attempt is not None and (found := attempt(other)) is not NotImplemented:
            return found
    return python(a, b)  # which says what is wrong, or asks an operand that is not the user's


def _equality(a: Any, b: Any) -> Any:
    """What ``__eq__`` says, by which ``!=`` goes in a class without ``__ne__``; None where none says anything."""
    pairs = [(a, b)] if type(a) is type(b) else [(a, b), (b, a)]
    for x, y in pairs:
        cls = type(x)
        if getattr(cls, "__ne__", None) is not object.__ne__ or (attempt := method(x, "__eq__")) is None:
            continue
        if (found := attempt(y)) is not NotImplemented:
            return found
    return None


def _leaves_it_to(a: Any, cls: type) -> bool:
    """Do operators of this operand, which is none of the user's objects or has no method, leave it to an object of
    that class? Numbers and arrays go by NumPy's rules (``__array_ufunc__``, ``__array_priority__``)."""
    if is_user_class(type(a)):
        return True
    number = isinstance(a, _NUMBERS) or (isinstance(a, Tracer) and not a.dims)
    if number:
        return True
    if not isinstance(a, (Tracer, np.ndarray)):
        return False
    if hasattr(cls, "__array_ufunc__"):
        return cls.__array_ufunc__ is None
    return getattr(cls, "__array_priority__", _LOWEST_PRIORITY) > 0.0


def in_place(a: Any, symbol: str, b: Any) -> Any:
    """What ``a`` is after ``a += b`` and so on."""
    name, python = _IN_PLACE[symbol]
    if type(a) in USUAL and type(b) in USUAL:
        return python(a, b)
    if (own := method(a, name)) is not None:
        if (found := own(b)) is not NotImplemented:
            return found
    elif isinstance(a, Tracer):
        if a.dims or method(b, _BINARY[symbol][1]) is None:  # arrays don't leave it to others
            return python(a, b)
    elif hasattr(type(a), name):
        return python(a, b)
    return binary(a, symbol, b)


def unary(symbol: str, a: Any) -> Any:
    """``-a`` and so on."""
    name, python = _UNARY[symbol]
    found = method(a, name)
    return python(a) if found is None else found()


def absolute(a: Any) -> Any:
    """``abs(a)``."""
    found = method(a, "__abs__")
    return abs(a) if found is None else found()


# -- comparisons of what holds traced values ---------------------------------------------------------------------------

#: The methods that the decorator ``dataclass`` writes; they compare tuples of the fields.
_OF_DATACLASSES = {"__eq__": "==", "__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}


def _compared_fields(a: Any, symbol: str, b: Any) -> Any:
    if type(a) is not type(b):
        return NotImplemented
    names = [f.name for f in dataclasses.fields(a) if f.compare]
    one, other = (tuple(getattr(x, name) for name in names) for x in (a, b))
    return binary(one, symbol, other)


def _compared(a: Any, symbol: str, b: Any) -> Any:
    """``a < b`` and so on, of tuples or lists: the first items that are not equal decide, or else the lengths."""
    runtime = HOOKS["runtime"]()
    if symbol in ("==", "!=") and len(a) != len(b):
        return symbol == "!="
    found: Any = _BINARY[symbol][2](len(a), len(b))
    for x, y in reversed(tuple(zip(a, b, strict=False))):
        equal = x is y or binary(x, "==", y)
        if symbol == "==":
            found = runtime.and_(_truth(equal), lambda rest=found: rest)
        elif symbol == "!=":
            found = runtime.or_(runtime.not_(_truth(equal)), lambda rest=found: rest)
        else:
            decide = functools.partial(binary, x, symbol, y)
            found = runtime.ifexp(_truth(equal), lambda rest=found: rest, decide, 0)
    return found


def _truth(x: Any) -> Any:
    return x if isinstance(x, (Tracer, Collection)) else bool(x)
