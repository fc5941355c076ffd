"""Python's own functions of numbers, for traced scalars: ``max``, ``min``, and the ``math`` module.

They are what plain scalar code is written with. With untraced arguments each is Python's own.
"""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from jitgrad.errors import ConcretizationError, RollError
from jitgrad.frontend.indexing import length
from jitgrad.frontend.namespace import Mirror
from jitgrad.frontend.primitives import promote, strong, where
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.tracer import Tracer, has_traced
from jitgrad.ir.location import user_location


def _extreme(function: Callable[..., Any], compare: np.ufunc, of_array: Any) -> Callable[..., Any]:
    @functools.wraps(function)
    def routed(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not isinstance(args[0], (list, tuple, np.ndarray, Tracer)):
            args = (list(args[0]),)
        if not has_traced(args) or kwargs:
            return function(*args, **kwargs)
        if len(args) == 1:
            if isinstance(args[0], Tracer) and args[0].ndim == 1:
                return call(of_array, (args[0],), {})
            args = tuple(args[0])
        found = args[0]
        for x in args[1:]:
            found = _choose(compare, x, found, function.__name__)
        return found

    return routed


def _choose(compare: np.ufunc, x: Any, y: Any, name: str) -> Any:
    """``x if compare(x, y) else y`` of scalars."""
    for v in (x, y):
        if np.ndim(v):
            raise ConcretizationError(
                f"{name}() of arrays, one of shape {np.shape(v)}. Which of two arrays is the greater one is ambiguous. "
                f"Use np.{name}imum, element by element.",
                user_location(),
            )
    if not has_traced((x, y)):
        return x if compare(x, y) else y
    a, b = promote(x, y)
    chosen = where(HOOKS["operator"](compare, a, b), a, b)
    weak = {v.weak if isinstance(v, Tracer) else type(v).__name__ for v in (x, y)}
    return Tracer(
        chosen.owner, chosen.value, "float" if weak <= {"int", "float"} and chosen.dtype.kind == "f" else None
    )


def _junction(function: Callable[[Any], bool], of_two: np.ufunc) -> Callable[[Any], Any]:
    @functools.wraps(function)
    def routed(iterable: Any, /) -> Any:
        items = list(iterable)
        if not has_traced(items):
            return function(items)
        for item in items:
            if np.ndim(item):
                raise ConcretizationError(
                    f"{function.__name__}() over arrays, one of shape {np.shape(item)}. The truth value of an array "
                    f"with more than one element is ambiguous. Use np.{function.__name__}.",
                    user_location(),
                )
        result = functools.reduce(of_two, items, of_two.identity)
        return Tracer(result.owner, result.value, "bool")

    return routed


def _next(iterator: Any, *default: Any) -> Any:
    """``next``. What is recorded once can't take an item at every iteration."""
    trace = HOOKS["current_trace"]()
    if trace is not None and trace.scopes:
        raise RollError(
            "next() is called in a loop body or branch that is recorded once for all times that it runs. An iterator "
            "gives another item each time. Index an array, or use a loop that is unrolled.",
            user_location(),
        )
    return builtins.next(iterator, *default)


#: What Python's names mean in a traced function.
BUILTINS: dict[str, Any] = {
    "all": _junction(builtins.all, np.logical_and),
    "any": _junction(builtins.any, np.logical_or),
    "next": _next,
    "len": length,
    "max": _extreme(builtins.max, np.greater, np.max),
    "min": _extreme(builtins.min, np.less, np.min),
}

_UFUNCS: dict[str, Any] = {
    **{name: getattr(np, name) for name in ("sqrt", "exp", "expm1", "log2", "log10", "log1p", "sin", "cos", "tan")},
    **{name: getattr(np, name) for name in ("sinh", "cosh", "tanh", "hypot", "copysign", "fmod", "cbrt", "exp2")},
    **{name: getattr(np, name) for name in ("isnan", "isinf", "isfinite", "degrees", "radians")},
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "pow": np.power,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "fabs": np.abs,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "lgamma": scipy.special.gammaln,
}


def _routed(name: str, ufunc: Any) -> Callable[..., Any]:
    original = getattr(math, name)

    @functools.wraps(original)
    def routed(*args: Any) -> Any:
        if not has_traced(args):
            return original(*args)
        return ufunc(*(HOOKS["cast"](strong(a), np.float64) if _is_int(a) else a for a in args))

    return routed


def _is_int(a: Any) -> bool:
    return isinstance(a, Tracer) and a.dtype.kind in "iub"


def _log(x: Any, *base: Any) -> Any:
    if not has_traced((x, *base)):
        return math.log(x, *base)
    return np.log(x) / np.log(base[0]) if base else np.log(x)


def _whole(name: str, ufunc: Any) -> Callable[[Any], Any]:
    original = getattr(math, name)

    @functools.wraps(original)
    def routed(x: Any) -> Any:
        return HOOKS["cast"](ufunc(x), np.int64) if has_traced((x,)) else original(x)

    return routed


_FUNCTIONS: dict[str, Any] = {
    **{name: _routed(name, ufunc) for name, ufunc in _UFUNCS.items() if hasattr(math, name)},
    **{name: _whole(name, getattr(np, name)) for name in ("floor", "ceil", "trunc")},
    "log": _log,
}
#: ``math`` in a traced function, and its functions by the original ones.
MATH = Mirror(math, "jitgrad.frontend.math", {}, _FUNCTIONS)
MATH_FUNCTIONS: dict[Any, Any] = {getattr(math, name): function for name, function in _FUNCTIONS.items()}
