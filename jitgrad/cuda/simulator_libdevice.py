"""Functions of NVIDIA's libdevice for simulated kernels, by NumPy and SciPy, in the dtypes that libdevice has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from jitgrad.cuda.simulator_scalars import CONVERSIONS

_float32, _float64 = CONVERSIONS["float32"], CONVERSIONS["float64"]
_int32, _int64, _uint32, _uint64 = (CONVERSIONS[name] for name in ("int32", "int64", "uint32", "uint64"))


def _fma(x: Any, y: Any, z: Any) -> Any:
    """``x * y + z``; float64 is rounded once but for an error of the second order."""
    if type(x) is np.float32:  # the product is exact in float64
        return np.float64(x) * np.float64(y) + np.float64(z)
    product = x * y
    total = product + z
    # What the two roundings lost (Dekker, 1971; Knuth). It is nothing where a number is too large to be split.
    split = np.float64(134217729.0)
    x1, y1 = x * split - (x * split - x), y * split - (y * split - y)
    x2, y2 = x - x1, y - y1
    lost = ((x1 * y1 - product) + x1 * y2 + x2 * y1) + x2 * y2
    part = total - product
    lost += (product - (total - part)) + (z - part)
    return total + lost if np.isfinite(lost) else total


def _round(x: Any) -> Any:
    """Halves go away from zero."""
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x) if np.isfinite(x) else x


def _remainder(x: Any, y: Any) -> Any:
    return np.copysign(x, x) if np.isinf(y) and np.isfinite(x) else x - y * np.rint(x / y)


def _half_turns(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``function(pi * x)``."""
    return lambda x: function(np.pi * (np.float64(x) - 2.0 * np.rint(np.float64(x) / 2.0)))


def _exponent(x: Any) -> int:
    """``ilogb``."""
    if x == 0 or np.isnan(x):
        return -(2**31)
    return 2**31 - 1 if np.isinf(x) else int(np.frexp(x)[1]) - 1


#: Functions whose arguments and result are all float64, or all float32 under the name with an f.
_OF_FLOATS: dict[str, Callable[..., Any]] = {
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "cbrt": np.cbrt,
    "ceil": np.ceil,
    "copysign": np.copysign,
    "cos": np.cos,
    "cosh": np.cosh,
    "cospi": _half_turns(np.cos),
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "erfcinv": scipy.special.erfcinv,
    "erfcx": scipy.special.erfcx,
    "erfinv": scipy.special.erfinv,
    "exp": np.exp,
    "exp10": lambda x: np.power(10.0, np.float64(x)),
    "exp2": np.exp2,
    "expm1": np.expm1,
    "fabs": np.abs,
    "fdim": lambda x, y: x - y if x > y else (x + y) * 0,
    "floor": np.floor,
    "fma": _fma,
    "fmax": np.fmax,
    "fmin": np.fmin,
    "fmod": np.fmod,
    "hypot": np.hypot,
    "lgamma": scipy.special.gammaln,
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "nearbyint": np.rint,
    "nextafter": np.nextafter,
    "normcdf": scipy.special.ndtr,
    "normcdfinv": scipy.special.ndtri,
    "pow": np.power,
    "rcbrt": lambda x: 1.0 / np.cbrt(np.float64(x)),
    "remainder": _remainder,
    "rint": np.rint,
    "round": _round,
    "rsqrt": lambda x: 1.0 / np.sqrt(np.float64(x)),
    "sin": np.sin,
    "sinh": np.sinh,
    "sinpi": _half_turns(np.sin),
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
    "tgamma": scipy.special.gamma,
    "trunc": np.trunc,
}
#: Fast approximations, of float32 only.
_FAST = ("cos", "exp", "exp10", "log", "log10", "log2", "pow", "sin", "tan")
#: Operations of one rounding mode: to the nearest, as NumPy's.
_ROUNDED: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "div": np.divide,
    "mul": np.multiply,
    "sqrt": np.sqrt,
    "rcp": np.reciprocal,
}


def _table() -> dict[str, Callable[..., Any]]:
    table: dict[str, Callable[..., Any]] = {}

    def add(name: str, takes: tuple[Callable[[Any], Any], ...], gives: Callable[[Any], Any], function: Any) -> None:
        def call(*arguments: Any) -> Any:
            if len(takes) not in (1, len(arguments)):
                raise TypeError(f"libdevice.{name} takes {len(takes)} arguments, not {len(arguments)}")
            each = takes * len(arguments) if len(takes) == 1 else takes
            return gives(function(*[convert(x) for convert, x in zip(each, arguments, strict=True)]))

        table[name] = call

    for name, function in _OF_FLOATS.items():
        add(name, (_float64,), _float64, function)
        add(name + "f", (_float32,), _float32, function)
    for name in _FAST:
        add(f"fast_{name}f", (_float32,), _float32, _OF_FLOATS[name])
    for name, function in _ROUNDED.items():
        add(f"d{name}_rn", (_float64,), _float64, function)
        add(f"f{name}_rn", (_float32,), _float32, function)
    add("fma_rn", (_float64,), _float64, _fma)
    add("fmaf_rn", (_float32,), _float32, _fma)

    def flag(x: Any) -> np.int32:
        return np.int32(bool(x))

    def whole(x: Any) -> np.int32:
        return np.int32(int(x))

    for letters, kind in ((("isnand", "isinfd", "isfinited", "signbitd", ""), _float64),
                          (("isnanf", "isinff", "finitef", "signbitf", "f"), _float32)):  # fmt: skip
        for name, function in zip(letters, (np.isnan, np.isinf, np.isfinite, np.signbit), strict=False):
            add(name, (kind,), flag, function)
        suffix = letters[-1]
        add(f"ilogb{suffix}", (kind,), whole, _exponent)
        add(f"ldexp{suffix}", (kind, _int32), kind, np.ldexp)
        add(f"scalbn{suffix}", (kind, _int32), kind, np.ldexp)
        add(f"powi{suffix}", (kind, _int32), kind, lambda x, n: np.power(np.float64(x), n))

    for bits, signed, unsigned, suffix in ((32, _int32, _uint32, ""), (64, _int64, _uint64, "ll")):
        add(f"popc{suffix}", (unsigned,), whole, lambda x: int(x).bit_count())
        add(f"clz{suffix}", (unsigned,), whole, lambda x, bits=bits: bits - int(x).bit_length())
        add(f"ffs{suffix}", (unsigned,), whole, lambda x: (int(x) & -int(x)).bit_length())
        add(f"brev{suffix}", (unsigned,), signed, lambda x, b=bits: _wrapped(int(f"{int(x):0{b}b}"[::-1], 2)))
        middle = "64" if bits == 64 else ""
        # The compiler knows the unsigned functions by signed types: their bits are right.
        for letter, kind in (("", signed), ("u", unsigned)):
            add(f"{letter}mul{middle}hi", (kind,), signed, lambda x, y, b=bits: _wrapped(int(x) * int(y) >> b))
            add(f"{letter}{suffix}max", (kind,), signed, np.maximum)
            add(f"{letter}{suffix}min", (kind,), signed, np.minimum)
    add("abs", (_int32,), _int32, np.abs)
    add("llabs", (_int64,), _int64, np.abs)

    def bits_of(dtype: type) -> Callable[[Any], Any]:
        return lambda x: x.view(dtype)

    add("float_as_int", (_float32,), _int32, bits_of(np.int32))
    add("int_as_float", (_int32,), _float32, bits_of(np.float32))
    add("double_as_longlong", (_float64,), _int64, bits_of(np.int64))
    add("longlong_as_double", (_int64,), _float64, bits_of(np.float64))
    roundings = {"rn": np.rint, "rz": np.trunc, "rd": np.floor, "ru": np.ceil}
    integers = {"int": (_int32, _int32), "uint": (_uint32, _int32), "ll": (_int64, _int64), "ull": (_uint64, _int64)}
    for source, kind in (("float", _float32), ("double", _float64)):
        for target, (integer, known) in integers.items():
            for mode, function in roundings.items():
                add(f"{source}2{target}_{mode}", (kind,), lambda x, i=integer, k=known: k(i(x)), function)
            if kind is _float32 or target.endswith("ll"):
                add(f"{target}2{source}_rn", (integer,), kind, lambda x: x)
    add("int2double_rn", (_int32,), _float64, lambda x: x)
    add("uint2double_rn", (_uint32,), _float64, lambda x: x)
    add("double2float_rn", (_float64,), _float32, lambda x: x)
    return table


def _wrapped(value: int) -> np.uint64:
    return np.uint64(value % 2**64)


#: Every function that simulated kernels can call.
LIBDEVICE = _table()
