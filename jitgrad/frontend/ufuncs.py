"""NumPy and SciPy ufuncs on traced values: dtype resolution and the table from ufunc to IR op.

NumPy itself resolves the dtypes (``ufunc.resolve_dtypes``), so promotion, weak Python scalars and ``dtype=`` mean what
they mean there; the IR's ops want all operands in one dtype, so casts are inserted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special as sps

from jitgrad.errors import ArgumentError, DtypeError
from jitgrad.frontend.complex_pair import asks_for_complex, holds_complex
from jitgrad.frontend.concrete import Concrete, adopt, run, unwrap
from jitgrad.frontend.primitives import (
    as_dtype,
    cast,
    constant_like,
    dtype_argument,
    emit,
    full,
    lift,
    reshape,
    strong,
    supported,
    where,
)
from jitgrad.frontend.registry import (
    FUNCTIONS,
    HOOKS,
    call,
    fresh,
    ignorable,
    qualified_name,
    unsupported,
    unsupported_argument,
)
from jitgrad.frontend.trace import WEAK_DTYPES, Trace, as_numpy
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer, has_traced, innermost_trace
from jitgrad.frontend.views import View, laid_out_by, laid_out_like
from jitgrad.ir.core import OPS
from jitgrad.ir.location import user_location
from jitgrad.ir.types import SHORT_NAMES, bool_, f32, i64, is_float, is_short, kind_letter

_NAMES = """add subtract multiply divide floor_divide remainder fmod power negative reciprocal absolute sign square sqrt
cbrt exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh arctan2
hypot logaddexp logaddexp2 maximum minimum fmax fmin floor ceil rint trunc copysign heaviside isnan isinf isfinite
signbit less less_equal greater greater_equal equal not_equal logical_and logical_or logical_xor logical_not bitwise_and
bitwise_or bitwise_xor invert left_shift right_shift"""

#: ufunc -> name of the IR op.
UFUNC_OPS: dict[np.ufunc, str] = {getattr(np, n): n for n in _NAMES.split()}
UFUNC_OPS[np.fabs] = "absolute"
UFUNC_OPS[np.float_power] = "power"
UFUNC_OPS[sps.psi] = "digamma"
#: How many leading operands of a ufunc are orders or shape parameters, which have no derivative.
PARAMETERS = {sps.gammainc: 1, sps.gammaincc: 1, sps.betainc: 2, sps.betaincc: 2, sps.stdtr: 1, sps.gammaincinv: 1,
              sps.gammainccinv: 1, sps.betaincinv: 2, sps.betainccinv: 2, sps.stdtrit: 1, sps.jv: 1, sps.yv: 1,
              sps.iv: 1, sps.ive: 1, sps.kv: 1, sps.kve: 1, sps.struve: 1, sps.modstruve: 1,
              sps.hyp2f1: 3, sps.hyp1f1: 2, sps.hyp0f1: 1, sps.hyperu: 2}  # fmt: skip
for _name in dir(sps):
    _ufunc = getattr(sps, _name)
    if _name in OPS and isinstance(_ufunc, np.ufunc):
        UFUNC_OPS.setdefault(_ufunc, _name)

#: ufunc -> function of its arguments and dtype that computes it from other ops. Filled here and by other modules.
SPECIAL: dict[np.ufunc, Callable[..., Any]] = {}

_ON_BOOL = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor",
            "invert": "logical_not", "maximum": "logical_or", "minimum": "logical_and", "fmax": "logical_or",
            "fmin": "logical_and", "add": "logical_or", "multiply": "logical_and"}  # fmt: skip
#: No-ops on integers and bool: NumPy returns the operand.
_ROUNDING = ("floor", "ceil", "trunc")


@functools.lru_cache(maxsize=4096)
def resolve(ufunc: np.ufunc, descriptors: tuple[Any, ...], dtype: np.dtype | None) -> tuple[np.dtype, ...]:
    """The loop's dtypes, operands then results. Raises DtypeError."""
    options: dict[str, Any] = {"casting": "same_kind"}
    if dtype is not None:
        options["signature"] = (None,) * ufunc.nin + (dtype,) * ufunc.nout
    try:
        return ufunc.resolve_dtypes((*descriptors, *[None] * ufunc.nout), **options)
    except TypeError as error:
        raise _refused(ufunc, f"take {', '.join(map(_dtype_name, descriptors))}", error, "operands") from None


def resolve_reduction(ufunc: np.ufunc, array: np.dtype, dtype: np.dtype | None) -> np.dtype:
    """The dtype of the elements that ``ufunc.reduce`` combines. Raises DtypeError."""
    given: dict[str, Any] = {} if dtype is None else {"signature": (dtype, None, None)}
    try:
        return supported(ufunc.resolve_dtypes((None, array, None), reduction=True, **given)[1])
    except TypeError as error:
        raise _refused(ufunc, f"combine elements of {array if dtype is None else dtype}", error, "array") from None


def _refused(ufunc: np.ufunc, what: str, error: TypeError, given: str) -> DtypeError:
    """The error for what NumPy refuses, with its words."""
    text = str(error).rstrip(".")
    return DtypeError(
        f"{qualified_name(ufunc)} does not {what}. NumPy says: {text}. Convert the {given} with astype().",
        user_location(),
    )


def _dtype_name(descriptor: Any) -> str:
    return descriptor.__name__ if isinstance(descriptor, type) else str(descriptor)


def descriptor(obj: ArrayLike) -> Any:
    """What ``resolve_dtypes`` takes for an operand: a dtype, or ``int`` or ``float`` for a Python scalar."""
    if isinstance(obj, Tracer):
        return {"int": int, "float": float}.get(obj.weak or "", obj.dtype)
    return type(obj) if type(obj) in (int, float) else as_numpy(obj).dtype


def call_ufunc(ufunc: np.ufunc, *args: ArrayLike, dtype: Any = None) -> Any:
    """A ufunc on array-likes of which at least one is traced; the result is strong. Raises UnsupportedError,
    DtypeError, ShapeError."""
    if holds_complex(args):
        return HOOKS["complex_ufunc"](ufunc, "__call__", args, {} if dtype is None else {"dtype": dtype})
    if ufunc in FUNCTIONS:  # matmul and its kin: generalised ufuncs with handlers of their own
        return call(ufunc, args, {} if dtype is None else {"dtype": dtype})
    special = SPECIAL.get(ufunc)
    if special is not None:
        return special(*args) if dtype is None else special(*args, dtype=dtype)
    name = UFUNC_OPS.get(ufunc)
    if name is None:
        raise unsupported(ufunc)
    trace = innermost_trace(*args)
    if ufunc in _SWAPPED:
        mixed = _compare_mixed(ufunc, args, trace)
        if mixed is not None:
            return mixed
    operands, dtypes = loop_operands(ufunc, args, dtype_argument(dtype), trace)
    for k in range(PARAMETERS.get(ufunc, 0)):
        operands[k] = emit("no_derivative", operands[k])
    return _emit_loop(name, operands, dtypes[-1])


def loop_operands(
    ufunc: np.ufunc, args: Sequence[ArrayLike], dtype: np.dtype | None, trace: Trace
) -> tuple[list[Tracer], tuple[np.dtype, ...]]:
    """The operands cast to the dtypes of NumPy's loop, and those dtypes."""
    args = [trace.lift(a) if isinstance(a, (list, tuple)) else a for a in args]
    descriptors = tuple(descriptor(a) for a in args)
    dtypes = resolve(ufunc, descriptors, dtype)
    if dtypes[-1].kind == "b" and any(type(a) is int and not _fits(a, d) for a, d in zip(args, dtypes, strict=False)):
        # uint8 < 300 is True in NumPy, so compare in a dtype that holds both.
        args = [as_numpy(a) if type(a) is int else a for a in args]
        dtypes = resolve(ufunc, tuple(descriptor(a) for a in args), dtype)
    if dtypes[-1].kind == "b" and not any(d == np.float16 for d in descriptors):
        dtypes = tuple(np.dtype(np.float32) if d == np.float16 else d for d in dtypes)  # signbit of small integers
    for d in dtypes:
        if d not in SHORT_NAMES:
            given = ", ".join(_dtype_name(d) for d in descriptors)
            raise DtypeError(
                f"{qualified_name(ufunc)} of {given} computes in {d} in NumPy. That dtype is not supported on traced "
                "values. Convert the operands with astype(np.float32) or astype(np.float64).",
                user_location(),
            )
    if len(set(dtypes[: len(args)])) > 1:
        raise DtypeError(
            f"{qualified_name(ufunc)} of {', '.join(str(d) for d in dtypes[: len(args)])} has no common dtype that "
            "holds both exactly. Convert one operand with astype().",
            user_location(),
        )
    return [as_dtype(a, d, trace) for a, d in zip(args, dtypes, strict=False)], dtypes


#: Comparisons, and what they are with their operands exchanged.
_SWAPPED = {np.less: np.greater, np.less_equal: np.greater_equal, np.greater: np.less, np.equal: np.equal,
            np.greater_equal: np.less_equal, np.not_equal: np.not_equal}  # fmt: skip


def _compare_mixed(ufunc: np.ufunc, args: Sequence[ArrayLike], trace: Trace) -> Tracer | None:
    """A comparison that NumPy makes exactly, though no integer dtype holds both operands: of a traced Python integer
    with a smaller integer, and of int64 with uint64. None for all others."""
    x, y = (trace.lift(a) for a in args)
    if not all(t.dtype.kind in "iu" for t in (x, y)):
        return None
    weak = [isinstance(a, Tracer) and a.weak == "int" for a in args]
    if any(weak):
        x, y = strong(x), strong(y)
    if not is_float(np.result_type(x.dtype, y.dtype)):
        return call_ufunc(ufunc, cast(x, i64), cast(y, i64)) if any(weak) else None
    if x.dtype.kind == "u":
        x, y, ufunc = y, x, _SWAPPED[ufunc]
    below = emit("less", x, constant_like(x, 0))
    unsigned = emit(ufunc.__name__, cast(x, y.dtype), y)
    if ufunc in (np.less, np.less_equal, np.not_equal):
        return emit("logical_or", below, unsigned)
    return emit("logical_and", emit("logical_not", below), unsigned)


def _fits(number: int, dtype: np.dtype) -> bool:
    if dtype.kind not in "iu":
        return True
    info = np.iinfo(dtype)
    return int(info.min) <= number <= int(info.max)


def _emit_loop(name: str, operands: list[Tracer], result: np.dtype) -> Tracer:
    """Emit the op for operands of one dtype; bool and integers have their own forms of some."""
    if name.startswith("logical_"):
        operands = [cast(t, bool_) for t in operands]
    kind = kind_letter(operands[0].dtype)
    if name == "reciprocal" and kind in "iu":
        return _integer_reciprocal(operands[0])
    if kind == "b" and name in _ON_BOOL:
        name = _ON_BOOL[name]
    elif (kind in "iub" and (name in _ROUNDING or (kind == "b" and name == "absolute"))) or (
        kind == "u" and name == "absolute"
    ):
        return strong(operands[0])
    elif kind in "iub" and name in ("isnan", "isinf", "isfinite"):
        return full(operands[0], operands[0].dims, name == "isfinite", bool_)
    out = emit(name, *operands)
    return cast(out, result)


def _integer_reciprocal(x: Tracer) -> Tracer:
    """1 / x rounded towards zero: x where it is 1 or -1, else 0 (NumPy's result at 0 is undefined)."""
    size = x if x.dtype.kind == "u" else emit("absolute", x)
    return where(emit("equal", size, constant_like(x, 1)), x, constant_like(x, 0))


# -- operators ---------------------------------------------------------------------------------------------------------

_OPERAND_TYPES = (Tracer, np.ndarray, np.generic, bool, int, float, list, tuple)


def operator(ufunc: np.ufunc, *args: ArrayLike) -> Any:
    """An operator of Python: as the ufunc, but Python scalars stay Python scalars (weak), and ``**`` has NumPy's fast
    paths. NotImplemented for operands that are no arrays."""
    known = False
    for a in args:
        kind = type(a)
        if kind is Tracer or kind is float or kind is int or kind is View:
            continue
        if kind is Concrete:
            known = True
            continue
        if holds_complex(a):
            return HOOKS["complex_operator"](ufunc, *args)
        if not isinstance(a, _OPERAND_TYPES):
            if kind is range:
                return operator(ufunc, *(np.asarray(b) if type(b) is range else b for b in args))
            if hasattr(a, "__array__") and getattr(type(a), "__array_ufunc__", 0) is not None:
                continue  # a foreign array, such as a pandas Series
            return NotImplemented
    if known and not has_traced(args):
        return run(_power_of if ufunc is np.power else ufunc, args, {})
    weak = [_weak_kind(a) for a in args]
    if all(weak):
        return _python_operator(ufunc, args, [w or "" for w in weak])
    result = fresh(_power(*args) if ufunc is np.power else call_ufunc(ufunc, *args), args)
    return result if ufunc is np.matmul else laid_out_like(result, args)


def _power_of(x: Any, p: Any) -> Any:
    return x**p


def _weak_kind(obj: ArrayLike) -> str | None:
    if isinstance(obj, Tracer):
        return obj.weak
    return type(obj).__name__ if type(obj) in (bool, int, float) else None


def _python_operator(ufunc: np.ufunc, args: Sequence[ArrayLike], kinds: list[str]) -> Any:
    """An operator between Python scalars, with the result types of Python: ``/`` gives float, bool counts as int."""
    order = ["bool", "int", "float"]
    kind = order[max(order.index(k) for k in kinds)]
    bitwise = ufunc in (np.bitwise_and, np.bitwise_or, np.bitwise_xor)
    comparison = ufunc in (np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal)
    if kind == "bool" and not bitwise:
        kind = "int"
    if ufunc is np.divide or (ufunc is np.power and type(args[1]) is int and args[1] < 0):
        kind = "float"
    trace = innermost_trace(*args)
    operands = [as_dtype(a, WEAK_DTYPES[kind], trace) for a in args]
    if ufunc is np.power and type(args[1]) in (bool, int, float):
        result = _power(operands[0], np.asarray(args[1], WEAK_DTYPES[kind])[()])
    elif ufunc is np.matmul:
        raise DtypeError("@ of Python scalars. It takes arrays. Use * instead.", user_location())
    else:
        result = call_ufunc(ufunc, *operands)
    weak = "bool" if comparison else kind
    if isinstance(result, tuple):
        return tuple(Tracer(r.owner, r.value, weak) for r in result)
    return Tracer(result.owner, result.value, weak)


def _power(x: ArrayLike, p: ArrayLike) -> Tracer:
    """``x ** p`` with the fast paths of ndarray's operator: 2 is square, 0.5 sqrt, -1 reciprocal, 0 ones, 1 a copy;
    integers to a constant power are products, which is exact."""
    p = unwrap(p)
    plain = isinstance(p, (np.ndarray, np.generic)) and not isinstance(p, Tracer)
    exponent: Any = p if type(p) in (bool, int, float) else np.asarray(p)[()] if plain else None
    if exponent is None or np.ndim(exponent) or not isinstance(x, Tracer):
        return call_ufunc(np.power, x, p)
    trace = innermost_trace(x)
    if x.dtype == bool_ and x.dims and type(p) is int and p == 2:
        return call_ufunc(np.square, x)  # int8, where other powers are int64
    dtype = resolve(np.power, (descriptor(x), descriptor(p)), None)[-1]
    base = as_dtype(x, supported(dtype), trace)
    if is_float(dtype):
        if exponent == 1:
            return strong(base)
        if exponent == 0:
            return full(base, base.dims, 1)
        fast = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}.get(float(exponent))
        return emit(fast, base) if fast else call_ufunc(np.power, x, p)
    if exponent < 0:
        raise _negative_power(exponent)
    return _integer_power(base, int(exponent))


def _negative_power(exponent: Any) -> ArgumentError:
    """The error for an integer to a negative power, which NumPy rejects too."""
    return ArgumentError(
        f"an integer array to the negative power {exponent}. The result would not be an integer. Convert the base "
        "with astype(np.float64) first.",
        user_location(),
    )


def _integer_power(x: Tracer, n: int) -> Tracer:
    result: Tracer | None = None
    square = x
    while n:
        if n & 1:
            result = square if result is None else emit("multiply", result, square)
        n >>= 1
        if n:
            square = emit("multiply", square, square)
    return full(x, x.dims, 1) if result is None else strong(result)


def python_round(x: Tracer, ndigits: int | None) -> Tracer:
    """``round(x)``: an integer for scalars (as Python's round of a float), half to even; arrays as np.round."""
    if x.dims or ndigits is not None:
        rounded = call(np.round, (x,), {"decimals": ndigits or 0})
        return Tracer(rounded.owner, rounded.value, x.weak)
    rounded = emit("rint", x) if is_float(x.dtype) else x
    return Tracer(rounded.owner, cast(rounded, np.int64).value, "int")


# -- the protocol ------------------------------------------------------------------------------------------------------


def array_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``__array_ufunc__``: calls, and the methods of ufuncs."""
    name = qualified_name(ufunc)
    if "out" not in kwargs and asks_for_complex(inputs, kwargs) and (len(inputs) <= ufunc.nin or method != "__call__"):
        return HOOKS["complex_ufunc"](ufunc, method, inputs, kwargs)
    if method == "at":
        return HOOKS["ufunc_at"](ufunc, *inputs)
    out = kwargs.pop("out", None)
    if len(inputs) > ufunc.nin and method == "__call__":
        inputs, out = inputs[: ufunc.nin], inputs[ufunc.nin :]
    if out is not None:
        out = out if isinstance(out, tuple) else (out,)
        if any(o is not None for o in out):
            where = {"where": kwargs.pop("where")} if "where" in kwargs else {}
            result = array_ufunc(ufunc, method, inputs, kwargs)
            return HOOKS["write_out"](out if ufunc.nout > 1 else out[0], result, name, **where)
    prepared = HOOKS["prepared"](inputs, kwargs)
    if prepared is not None:
        traced, inputs, kwargs = prepared
        if not traced:
            return run(getattr(ufunc, method), inputs, kwargs)
    elif not contains_tracer(inputs):
        return adopt(getattr(ufunc, method)(*inputs, **kwargs))
    if method == "__call__":
        dtype = kwargs.pop("dtype", None)
        for key, value in kwargs.items():
            if not ignorable(key, value):
                raise unsupported_argument(name, key)
        result = fresh(call_ufunc(ufunc, *inputs, dtype=dtype), inputs)
        return result if ufunc.signature else laid_out_like(result, inputs)
    if method == "outer":
        a, b = inputs
        given = a, b
        (a,) = lift(a) if contains_tracer(a) else (np.asarray(a),)
        (b,) = lift(b) if contains_tracer(b) else (np.asarray(b),)
        spread = (*np.shape(a), *[1] * b.ndim)
        a = reshape(a, spread) if isinstance(a, Tracer) else a.reshape(spread)
        return laid_out_by(ufunc.outer, call_ufunc(ufunc, a, b, **kwargs), given, kwargs)
    result = HOOKS[f"ufunc_{method}"](ufunc, *inputs, **kwargs)
    return laid_out_by(getattr(ufunc, method), result, inputs, kwargs)


# -- ufuncs made of other ops ------------------------------------------------------------------------------------------


def special(*ufuncs: np.ufunc) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for u in ufuncs:
            SPECIAL[u] = function
        return function

    return decorate


def _operand(ufunc: np.ufunc, x: ArrayLike, dtype: Any) -> Tracer:
    """The operand of a ufunc of one argument, in the dtype of NumPy's loop."""
    (x,), _ = loop_operands(ufunc, [x], dtype_argument(dtype), innermost_trace(x))
    return x


@special(np.positive)
def _positive(x: ArrayLike, dtype: Any = None) -> Tracer:
    return _operand(np.positive, x, dtype)


@special(np.conjugate)
def _conjugate(x: ArrayLike, dtype: Any = None) -> Tracer:
    return _operand(np.conjugate, x, dtype)


def _converted(ufunc: np.ufunc, factor: float) -> None:
    """An angle in another unit: x * factor, of float16 and bfloat16 in float32, which holds enough digits of it."""

    @special(ufunc)
    def convert(x: ArrayLike, dtype: Any = None) -> Tracer:
        x = _operand(ufunc, x, dtype)
        wide = cast(x, f32) if is_short(x.dtype) else x
        return cast(emit("multiply", wide, constant_like(wide, factor)), x.dtype)


for _ufunc in (np.deg2rad, np.radians):
    _converted(_ufunc, np.pi / 180.0)
for _ufunc in (np.rad2deg, np.degrees):
    _converted(_ufunc, 180.0 / np.pi)


@special(np.divmod)
def _divmod(x: ArrayLike, y: ArrayLike, dtype: Any = None) -> tuple[Tracer, Tracer]:
    return call_ufunc(np.floor_divide, x, y, dtype=dtype), call_ufunc(np.remainder, x, y, dtype=dtype)


@special(np.modf)
def _modf(x: ArrayLike, dtype: Any = None) -> tuple[Tracer, Tracer]:
    x = _operand(np.sqrt, x, dtype)
    whole = emit("trunc", x)
    infinite = emit("isinf", x)
    fraction = where(infinite, constant_like(x, 0.0), emit("subtract", x, whole))
    return emit("copysign", fraction, x), whole


@special(sps.loggamma)
def _loggamma(x: ArrayLike, dtype: Any = None) -> Tracer:
    """Of a real x: gammaln, and NaN for negative x, where the complex function has an imaginary part."""
    x = _operand(sps.loggamma, x, dtype)
    return where(emit("less", x, constant_like(x, 0.0)), constant_like(x, np.nan), emit("gammaln", x))


@special(sps.yn)
def _yn(n: ArrayLike, x: ArrayLike, dtype: Any = None) -> Tracer:
    """Of an integer order; SciPy's ufunc takes an integer and a float, and cuts off what is behind the point."""
    return call_ufunc(sps.yv, emit("trunc", cast(lift(n, x)[0], np.float64)), x, dtype=dtype)


@special(sps.kn)
def _kn(n: ArrayLike, x: ArrayLike, dtype: Any = None) -> Tracer:
    return call_ufunc(sps.kv, emit("trunc", cast(lift(n, x)[0], np.float64)), x, dtype=dtype)


@special(sps.gammasgn)
def _gammasgn(x: ArrayLike, dtype: Any = None) -> Tracer:
    """The sign of gamma: between its poles it alternates; it is NaN at them, and at 0 that of the zero."""
    x = _operand(sps.gammasgn, x, dtype)
    low = emit("floor", x)
    half = emit("multiply", low, constant_like(x, 0.5))
    even = emit("equal", emit("floor", half), half)
    between = where(even, constant_like(x, 1.0), constant_like(x, -1.0))
    between = where(emit("less", low, x), between, constant_like(x, np.nan))
    at_zero = emit("copysign", constant_like(x, 1.0), x)
    left = where(emit("equal", x, constant_like(x, 0.0)), at_zero, between)
    return where(emit("greater", x, constant_like(x, 0.0)), constant_like(x, 1.0), left)


@special(sps.exp10)
def _exp10(x: ArrayLike, dtype: Any = None) -> Tracer:
    x = _operand(sps.exp10, x, dtype)
    return emit("power", constant_like(x, 10.0), x)


@special(sps.ndtr)
def _ndtr(x: ArrayLike, dtype: Any = None) -> Tracer:
    x = _operand(sps.ndtr, x, dtype)
    tail = emit("erfc", emit("multiply", x, constant_like(x, -np.sqrt(0.5))))
    return emit("multiply", tail, constant_like(x, 0.5))


@special(sps.entr)
def _entr(x: ArrayLike, dtype: Any = None) -> Tracer:
    """``-x log x``; 0 at 0, -inf below."""
    x = _operand(sps.entr, x, dtype)
    below = emit("less", x, constant_like(x, 0.0))
    return where(below, constant_like(x, -np.inf), emit("negative", emit("xlogy", x, x)))


@special(sps.rel_entr)
def _rel_entr(x: ArrayLike, y: ArrayLike, dtype: Any = None) -> Tracer:
    """``x log(x / y)`` for positive x and y, 0 for x == 0 <= y, else infinity."""
    trace = innermost_trace(x, y)
    (x, y), _ = loop_operands(sps.rel_entr, [x, y], dtype_argument(dtype), trace)
    zero = constant_like(x, 0.0)
    good = emit("logical_and", emit("greater", x, zero), emit("greater", y, zero))
    # Outside, log(x / y) must not be formed: its infinite derivative would reach x through a zero cotangent.
    one = constant_like(x, 1.0)
    ratio = emit("divide", where(good, x, one), where(good, y, one))
    inside = emit("multiply", x, emit("log", ratio))
    edge = emit("logical_and", emit("equal", x, zero), emit("greater_equal", y, zero))
    value = where(good, inside, where(edge, zero, constant_like(x, np.inf)))
    nan = emit("logical_or", emit("isnan", x), emit("isnan", y))
    return where(nan, constant_like(x, np.nan), value)


@special(sps.kl_div)
def _kl_div(x: ArrayLike, y: ArrayLike, dtype: Any = None) -> Tracer:
    """``x log(x / y) - x + y`` for positive x and y, y for x == 0 <= y, else infinity."""
    trace = innermost_trace(x, y)
    (x, y), _ = loop_operands(sps.kl_div, [x, y], dtype_argument(dtype), trace)
    return emit("add", emit("subtract", _rel_entr(x, y), x), y)


HOOKS["operator"] = operator
HOOKS["array_ufunc"] = array_ufunc
HOOKS["python_round"] = python_round
