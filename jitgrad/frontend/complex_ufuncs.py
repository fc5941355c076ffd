"""Ufuncs and operators with complex operands: NumPy tells the dtypes of the loop, and ``complex_math`` what is computed
on the parts.

A real operand is one whose imaginary part is zero, as in NumPy, with its zeros and infinities: ``1j * x`` of an
infinite ``x`` has NaN for its real part. A complex number over a real one is divided part by part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, UnsupportedError
from jitgrad.frontend import complex_math as cm
from jitgrad.frontend.complex_pair import PARTS, Pair, is_complex
from jitgrad.frontend.complex_tracer import ComplexTracer, make, parts
from jitgrad.frontend.concrete import adopt, unwrap
from jitgrad.frontend.primitives import as_dtype, cast
from jitgrad.frontend.registry import FUNCTIONS, HOOKS, call, ignorable, qualified_name, unsupported_argument
from jitgrad.frontend.tracer import Tracer, contains_tracer, has_traced, innermost_trace
from jitgrad.frontend.ufuncs import resolve
from jitgrad.ir.location import user_location

_REDUCTIONS = {np.add: np.sum, np.multiply: np.prod, np.logical_and: np.all, np.logical_or: np.any}
_ACCUMULATIONS = {np.add: np.cumsum, np.multiply: np.cumprod}
_LOGICAL = (np.logical_and, np.logical_or, np.logical_xor)
_COMPARISONS = (np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal)


def refused(function: Any, advice: str = "") -> UnsupportedError:
    """The error for a function that takes no complex values."""
    advice = advice or "Use the real and the imaginary part, z.real and z.imag, or compute it outside."
    return UnsupportedError(
        f"{qualified_name(function)} is not supported on traced complex values. {advice}", user_location()
    )


def compute(ufunc: np.ufunc, *args: Any, dtype: Any = None) -> Any:
    """A ufunc of array-likes, one of which is complex, and one traced."""
    if ufunc in FUNCTIONS:  # matmul and its kin
        return call(ufunc, args, {} if dtype is None else {"dtype": dtype})
    args = tuple(call(np.array, (a,), {}) if isinstance(a, (list, tuple)) else a for a in args)
    rule = cm.TABLE.get(ufunc)
    dtype = None if dtype is None else np.dtype(dtype)
    dtypes = resolve(ufunc, tuple(map(_descriptor, args)), dtype)  # an error for what NumPy does not take either
    if rule is None:
        raise refused(ufunc)
    whole = next((d for d in dtypes if d in PARTS), None)
    if whole is None and ufunc in _LOGICAL:  # NumPy casts operands of two dtypes to bool
        whole = np.result_type(np.complex64, *map(_descriptor, args))
    if whole is None:
        raise DtypeError(f"{qualified_name(ufunc)} in {dtypes[-1]} is not supported.", user_location())
    trace = innermost_trace(*args)
    part = PARTS[whole]
    result = rule(*(_operand(a, part, trace) for a in args))
    if isinstance(result, tuple):
        return _fresh(make(*(cast(r, part) for r in result)), args)
    return result


def _fresh(result: Any, args: tuple[Any, ...]) -> Any:
    """New handles where a part of the result is one of an argument: writes must not reach that."""
    given = [p for a in args for p in ((a.re, a.im) if isinstance(a, Pair) else (a,))]
    if any(result.re is p or result.im is p for p in given):
        return ComplexTracer(*(Tracer(x.owner, x.owner.own(x)) for x in (result.re, result.im)))
    return result


def _operand(x: Any, dtype: np.dtype, trace: Any) -> tuple[Tracer, Tracer]:
    re, im = (p if isinstance(p, Tracer) else np.asarray(p, dtype)[()] for p in parts(x))
    return as_dtype(re, dtype, trace), as_dtype(im, dtype, trace)


def _descriptor(x: Any) -> Any:
    """What ``resolve_dtypes`` takes for an operand."""
    if isinstance(x, (Tracer, Pair)):
        return {"int": int, "float": float, "complex": complex}.get(x.weak or "", x.dtype)
    return type(x) if type(x) in (int, float, complex) else np.asarray(x).dtype


# -- operators ---------------------------------------------------------------------------------------------------------

_TYPES = (Tracer, Pair, np.ndarray, np.generic, bool, int, float, complex, list, tuple)


def operator(ufunc: np.ufunc, *args: Any) -> Any:
    """An operator of Python: of Python numbers it gives Python numbers, and ``**`` has NumPy's fast paths."""
    if not all(isinstance(a, _TYPES) for a in args):
        return NotImplemented
    if not has_traced(args):
        plain = unwrap(args)
        return adopt(plain[0] ** plain[1] if ufunc is np.power else ufunc(*plain))
    weak = all(_is_weak(a) for a in args)
    result = _power(*args) if ufunc is np.power else compute(ufunc, *args)
    if not weak:
        return result
    if isinstance(result, Pair):
        return ComplexTracer(*(Tracer(p.owner, p.value, "float") for p in (result.re, result.im)))
    return Tracer(result.owner, result.value, "bool" if ufunc in _COMPARISONS else "float")


def _is_weak(x: Any) -> bool:
    return bool(x.weak) if isinstance(x, (Tracer, Pair)) else type(x) in (bool, int, float, complex)


#: Constant exponents up to which a power is a product.
_LARGEST = 100


def _power(x: Any, p: Any) -> Any:
    """``x ** p``; a constant integer up to 100 is computed by products, as in NumPy."""
    number = p if type(p) in (bool, int, float, complex) else unwrap(p)
    plain = type(number) in (bool, int, float, complex) or isinstance(number, (np.number, np.ndarray))
    if isinstance(number, Pair) or not plain or np.ndim(number) or not isinstance(x, Pair):
        return compute(np.power, x, p)
    exponent = complex(number)
    if exponent == 0.5:
        return compute(np.sqrt, _in_dtype_of(x, p))
    if exponent.imag or exponent.real != int(exponent.real) or abs(exponent.real) > _LARGEST:
        return compute(np.power, x, p)
    z = _in_dtype_of(x, p)
    trace = innermost_trace(z)
    pair = _operand(z, z.re.dtype, trace)
    return _fresh(make(*cm.integer_power(pair, int(exponent.real))), (x,))


def _in_dtype_of(x: Any, p: Any) -> Any:
    """``x`` in the dtype that ``x ** p`` has."""
    part = PARTS[resolve(np.power, (_descriptor(x), _descriptor(p)), None)[-1]]
    return make(cast(innermost_trace(x).lift(x.re), part), cast(innermost_trace(x).lift(x.im), part))


# -- the protocol ------------------------------------------------------------------------------------------------------


def array_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``__array_ufunc__`` with complex operands, or for a complex dtype."""
    name = qualified_name(ufunc)
    if method == "at":
        return _at(ufunc, *inputs)
    if not contains_tracer(inputs) or not has_traced(inputs):
        return adopt(getattr(ufunc, method)(*unwrap(inputs), **unwrap(kwargs)))
    if method == "__call__":
        dtype = kwargs.pop("dtype", None)
        for key, value in kwargs.items():
            if not ignorable(key, value):
                raise unsupported_argument(name, key)
        return compute(ufunc, *inputs, dtype=dtype)
    if method == "outer":
        a, b = inputs
        a, b = (call(np.asarray, (x,), {}) if contains_tracer(x) else np.asarray(x) for x in (a, b))
        return compute(ufunc, a.reshape((*a.shape, *[1] * b.ndim)), b, **kwargs)
    if method == "reduce" and ufunc in _REDUCTIONS:
        kwargs.setdefault("axis", 0)
        return call(_REDUCTIONS[ufunc], inputs, kwargs)
    if method == "accumulate" and ufunc in _ACCUMULATIONS:
        kwargs.setdefault("axis", 0)
        return call(_ACCUMULATIONS[ufunc], inputs, kwargs)
    raise UnsupportedError(
        f"{name}.{method} is not supported on traced complex values. Calls, outer, and the reductions and "
        "accumulations by add and multiply are. Write it with those.",
        user_location(),
    )


def _at(ufunc: np.ufunc, z: Any, index: Any, values: Any = None) -> None:
    """``np.add.at`` and ``np.subtract.at``."""
    if not isinstance(z, Pair):
        if is_complex(z):
            raise DtypeError(
                f"{qualified_name(ufunc)}.at would write into a NumPy array that was made outside of the traced "
                "function. Copy it with np.copy inside.",
                user_location(),
            )
        raise DtypeError("complex values are added to a real array. The imaginary part would be lost.", user_location())
    if ufunc not in (np.add, np.subtract):
        raise refused(ufunc, "Of the complex ones only np.add.at and np.subtract.at are.")
    re, im = parts(values)
    ufunc.at(z.re, index, re)
    if is_complex(values):
        ufunc.at(z.im, index, im)


HOOKS["complex_operator"] = operator
HOOKS["complex_ufunc"] = array_ufunc
