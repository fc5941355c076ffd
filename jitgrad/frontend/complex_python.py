"""Python's complex numbers in traced functions: ``complex(a, b)``, ``np.complex64(z)``, and the module ``cmath``."""

from __future__ import annotations

import cmath
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import ConcretizationError
from jitgrad.frontend.complex_pair import Pair, is_complex
from jitgrad.frontend.complex_tracer import ComplexTracer, make, parts
from jitgrad.frontend.namespace import Mirror
from jitgrad.frontend.primitives import cast
from jitgrad.frontend.tracer import Tracer, has_traced, innermost_trace
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64


def _number(part: Any, peer: Any, function: str) -> Tracer:
    """A real scalar as a Python float."""
    x = part if isinstance(part, Tracer) else innermost_trace(peer).lift(part)
    if x.dims:
        raise ConcretizationError(
            f"{function} of an array of shape {x.shape}. Only 0-dimensional arrays can be converted to Python numbers. "
            "Take one element, or use the function of NumPy.",
            user_location(),
        )
    return Tracer(x.owner, cast(x, f64).value, "float")


def python_complex(re: Any, im: Any, function: str) -> Any:
    """The Python complex number with these parts."""
    if not has_traced((re, im)):
        return complex(re, im)
    return ComplexTracer(*(_number(p, (re, im), function) for p in (re, im)))


def _complex(*args: Any, **kwargs: Any) -> Any:
    """``complex(z)`` and ``complex(re, im)``."""
    given = (*args, *kwargs.values())
    if not has_traced(given):
        return complex(*args, **kwargs)
    named = dict(zip(("real", "imag"), args, strict=False)) | kwargs
    a, b = named.get("real", 0.0), named.get("imag", 0.0)
    (p, q), (r, s) = parts(a), parts(b)  # the parts of the imaginary one count too: complex(0, 1j) is -1
    if not is_complex(a) and not is_complex(b):
        return python_complex(a, b, "complex()")
    return python_complex(p - s, q + r, "complex()")


def _scalar_type(cls: type) -> Callable[..., Any]:
    """``np.complex128(z)``: a NumPy scalar, or an array."""

    def convert(*args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs or not has_traced(args[0]):
            return cls(*args, **kwargs)
        x = args[0] if isinstance(args[0], (Tracer, Pair)) else np.stack(args[0])
        z = x.astype(cls)
        return make(*(Tracer(p.owner, p.value) for p in (z.re, z.im)))

    return convert


CLASSES: dict[type, Callable[..., Any]] = {
    complex: _complex,
    np.complex64: _scalar_type(np.complex64),
    np.complex128: _scalar_type(np.complex128),
}


def class_of(z: Any) -> type:
    """What ``type(z)`` is in plain Python."""
    if z.weak:
        return complex
    return np.ndarray if z.dims or z.boxed else z.dtype.type


# -- cmath -------------------------------------------------------------------------------------------------------------


def _log(z: Any, *base: Any) -> Any:
    return np.log(z) / np.log(base[0] + 0j) if base else np.log(z)


def _isclose(a: Any, b: Any, *, rel_tol: Any = 1e-09, abs_tol: Any = 0.0) -> Any:
    near = np.abs(a - b) <= np.maximum(rel_tol * np.maximum(np.abs(a), np.abs(b)), abs_tol)
    return np.logical_or(a == b, np.logical_and(near, np.logical_and(np.isfinite(a), np.isfinite(b))))


def _result(x: Any, name: str) -> Any:
    if isinstance(x, tuple):
        return tuple(_result(v, name) for v in x)
    if isinstance(x, Pair):
        return python_complex(x.re, x.im, f"cmath.{name}()")
    weak = "bool" if x.dtype.kind == "b" else "float"
    return Tracer(x.owner, x.value, weak)


def _routed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of ``cmath``: numbers become complex before."""
    original = getattr(cmath, name)

    @functools.wraps(original)
    def routed(*args: Any, **kwargs: Any) -> Any:
        if not has_traced(args) and not has_traced(kwargs):
            return original(*args, **kwargs)
        numbers = args if name == "rect" else [python_complex(*parts(a), f"cmath.{name}()") for a in args]
        return _result(function(*numbers, **kwargs), name)

    return routed


_NAMES = "sqrt exp log10 sin cos tan sinh cosh tanh isnan isinf isfinite"
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in _NAMES.split()},
    **{f"a{name}": getattr(np, f"arc{name}") for name in "sin cos tan sinh cosh tanh".split()},
    "log": _log,
    "phase": np.angle,
    "polar": lambda z: (np.abs(z), np.angle(z)),
    "rect": lambda r, phi: make(r * np.cos(phi), r * np.sin(phi)),
    "isclose": _isclose,
}
_ROUTED = {name: _routed(name, function) for name, function in _FUNCTIONS.items()}
#: ``cmath`` in a traced function, and its functions by the original ones.
CMATH = Mirror(cmath, "jitgrad.frontend.cmath", {}, _ROUTED)
CMATH_FUNCTIONS: dict[Any, Any] = {getattr(cmath, name): function for name, function in _ROUTED.items()}
