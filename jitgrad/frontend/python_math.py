"""The ``math`` module for traced scalars. Its functions take numbers and give Python's numbers, computed in float64."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from jitgrad.errors import ConcretizationError
from jitgrad.frontend.namespace import Mirror
from jitgrad.frontend.python_functions import python_number
from jitgrad.frontend.tracer import Tracer, has_traced
from jitgrad.frontend.users_operators import USUAL, method
from jitgrad.frontend.users_protocols import number
from jitgrad.ir.location import user_location


def _modf(x: Any) -> tuple[Any, Any]:
    whole = np.trunc(x)
    return np.copysign(np.where(np.isinf(x), 0.0, x - whole), x), whole


def _remainder(x: Any, y: Any) -> Any:
    """IEEE 754: from the nearest multiple, of two the even one. ``fmod`` is exact, and so are the steps after it."""
    y = abs(y)
    r = np.fmod(abs(x), y)
    odd = np.fmod(abs(x), 2 * y) >= y
    up = np.logical_or(r > y - r, np.logical_and(r == y - r, odd))
    return np.copysign(1.0, x) * np.where(up, r - y, r)


def _hypot(*xs: Any) -> Any:
    return functools.reduce(np.hypot, xs[1:], abs(xs[0]))


def _dist(p: Any, q: Any) -> Any:
    return _hypot(*(a - b for a, b in zip(p, q, strict=True)))


def _gamma(x: Any) -> Any:
    """Below 0 it changes its sign at each integer, and at them it is not defined."""
    sign = np.where(np.logical_or(x > 0, np.floor(x) % 2 == 0), 1.0, -1.0)
    return sign * np.exp(scipy.special.gammaln(x))


def _isclose(a: Any, b: Any, *, rel_tol: Any = 1e-09, abs_tol: Any = 0.0) -> Any:
    near = abs(a - b) <= np.maximum(rel_tol * np.maximum(abs(a), abs(b)), abs_tol)
    return np.logical_or(a == b, np.logical_and(near, np.logical_and(np.isfinite(a), np.isfinite(b))))


def _log(x: Any, *base: Any) -> Any:
    return np.log(x) / np.log(base[0]) if base else np.log(x)


def _fsum(items: Any) -> Any:
    """Plainly from left to right: the compensated sum of CPython would cost what it saves."""
    return sum(items)


_FLOATS: dict[str, Any] = {
    **{name: getattr(np, name) for name in ("sqrt", "exp", "expm1", "log2", "log10", "log1p", "sin", "cos", "tan")},
    **{name: getattr(np, name) for name in ("sinh", "cosh", "tanh", "copysign", "fmod", "cbrt", "exp2")},
    **{name: getattr(np, name) for name in ("degrees", "radians")},
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
    "gamma": _gamma,
    "hypot": _hypot,
    "dist": _dist,
    "fma": lambda x, y, z: x * y + z,
    "fsum": _fsum,
    "ldexp": lambda x, i: x * np.exp2(i),
    "log": _log,
    "modf": _modf,
    "remainder": _remainder,
}
_TESTS = {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite, "isclose": _isclose}
_WHOLE = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc}


def _number(name: str, x: Any) -> Any:
    """An argument of a function of ``math``, which may be an object of the user's that is asked for its number."""
    if type(x) in USUAL:
        return x
    found = method(x, f"__{name}__") if name in _WHOLE else None
    return number(x, "float") if found is None else found()


def _routed(name: str, function: Callable[..., Any], result: str) -> Callable[..., Any]:
    """A function of ``math`` with traced numbers: they become floats before, and the result a Python number."""
    original = getattr(math, name)

    def number(x: Any) -> Any:
        if isinstance(x, (list, tuple)) or (name in ("dist", "fsum") and isinstance(x, Tracer) and x.dims):
            return [number(y) for y in x]
        if isinstance(x, Tracer):
            return python_number(x, "float", f"math.{name}()")
        return x

    def given(x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(map(given, x))
        return python_number(x, result, f"math.{name}()") if isinstance(x, Tracer) else x

    @functools.wraps(original)
    def routed(*args: Any, **kwargs: Any) -> Any:
        args = tuple(_number(name, x) for x in args)
        if name == "fsum" and not isinstance(args[0], (list, tuple, np.ndarray, Tracer)):
            args = (list(args[0]),)
        if not has_traced(args) and not has_traced(kwargs):
            return original(*args, **kwargs)
        return given(function(*map(number, args), **{k: number(v) for k, v in kwargs.items()}))

    return routed


def _refused(name: str, advice: str) -> Callable[..., Any]:
    original = getattr(math, name)

    @functools.wraps(original)
    def refused(*args: Any, **kwargs: Any) -> Any:
        if has_traced(args) or has_traced(kwargs):
            raise ConcretizationError(
                f"math.{name}() of a traced value. Its steps depend on the number, which is not known while the "
                f"function is traced. {advice}",
                user_location(),
            )
        return original(*args, **kwargs)

    return refused


_ADVICE = {
    "comb": "Use math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)), or make it static.",
    "factorial": "Use math.gamma(n + 1), or make the argument static with jit(static_argnames=...).",
    "frexp": "Use np.floor(np.log2(abs(x))) for the exponent.",
    "gcd": "Write Euclid's algorithm as a while loop, or make the arguments static.",
    "isqrt": "Use math.floor(math.sqrt(n)), or make the argument static.",
    "lcm": "Write Euclid's algorithm as a while loop, or make the arguments static.",
    "nextafter": "Do this outside the traced function.",
    "perm": "Use math.exp(math.lgamma(n + 1) - math.lgamma(n - k + 1)), or make the arguments static.",
    "ulp": "Do this outside the traced function.",
}
_FUNCTIONS: dict[str, Any] = {
    **{name: _routed(name, f, "float") for name, f in _FLOATS.items() if hasattr(math, name)},
    **{name: _routed(name, f, "bool") for name, f in _TESTS.items()},
    **{name: _routed(name, f, "int") for name, f in _WHOLE.items()},
    **{name: _refused(name, advice) for name, advice in _ADVICE.items()},
}
#: ``math`` in a traced function, and its functions by the original ones.
MATH = Mirror(math, "jitgrad.frontend.math", {}, _FUNCTIONS)
MATH_FUNCTIONS: dict[Any, Any] = {getattr(math, name): function for name, function in _FUNCTIONS.items()}
