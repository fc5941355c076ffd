"""Operators and brackets on objects of the user's classes: the methods that they stand for, ``__matmul__`` for one, run
in their rewritten form, as other methods do. The rules of which method is asked first are Python's."""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.tracer import Tracer
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
#: Those of most operands, which are nobody's.
_USUAL = frozenset((Tracer, np.ndarray, np.float64, np.int64, int, float, bool, complex, str, list, tuple, dict))
#: Numbers, whose own methods know no other objects.
_NUMBERS = (int, float, complex, np.number)


def method(obj: Any, name: str) -> Any:
    """The method of an object in its rewritten form, if it is one that the user wrote in a class."""
    cls = type(obj)
    if cls in _USUAL or not is_user_class(cls):
        return None
    found: Any = getattr(cls, name, None)
    return HOOKS["callee"](types.MethodType(found, obj)) if is_user_function(found) else None


def binary(a: Any, symbol: str, b: Any) -> Any:
    """``a + b``, ``a < b`` and so on."""
    left, right, python = _BINARY[symbol]
    if type(a) in _USUAL and type(b) in _USUAL:
        return python(a, b)
    ours, theirs = method(a, left), method(b, right)
    if type(a) is type(b) and symbol not in _COMPARISONS:
        theirs = None
    if ours is None and (theirs is None or not _knows_no_objects(a)):
        return python(a, b)
    attempts = [(ours, b), (theirs, a)]
    if type(a) is not type(b) and issubclass(type(b), type(a)):
        attempts.reverse()
    for attempt, other in attempts:
        if attempt is not None and (found := attempt(other)) is not NotImplemented:
            return found
    return python(a, b)  # which says what is wrong, or asks an operand that is not the user's


def _knows_no_objects(a: Any) -> bool:
    """Do operators of this operand leave objects of other classes to them?"""
    return isinstance(a, _NUMBERS) or (isinstance(a, Tracer) and not a.dims) or is_user_class(type(a))


def unary(symbol: str, a: Any) -> Any:
    """``-a`` and so on."""
    name, python = _UNARY[symbol]
    found = method(a, name)
    return python(a) if found is None else found()


def absolute(a: Any) -> Any:
    """``abs(a)``."""
    found = method(a, "__abs__")
    return abs(a) if found is None else found()
