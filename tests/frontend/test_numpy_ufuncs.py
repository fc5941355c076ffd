"""Ufuncs and operators on traced values: values and NEP 50 dtypes as in NumPy."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import scipy.special as sps
from traced import check

from jitgrad.errors import DtypeError
from jitgrad.frontend.ufuncs import SPECIAL, UFUNC_OPS

F64 = np.array([0.3, 0.7, 0.5, 0.9])
F32 = F64.astype(np.float32)
F16 = F64.astype(np.float16)
I64 = np.array([1, 2, 3, 7])
I32 = I64.astype(np.int32)
I8 = I64.astype(np.int8)
U8 = np.array([1, 2, 200, 7], np.uint8)
BOOL = np.array([True, False, True, True])
ALL = [F64, F32, F16, I64, I32, I8, BOOL]
INTEGERS_ONLY = {np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift}
ABOVE_ONE = {np.arccosh}
#: SciPy's ufuncs with an integer and a float operand, or the two halves of a decomposition: tested by name below. Those
#: of an order that is known are tested in test_scipy_special.
OTHER = {np.ldexp, sps.yn, sps.kn, sps.expn, *(u for u in SPECIAL if u.__name__.startswith("eval_"))}
UFUNCS = sorted({*UFUNC_OPS, *SPECIAL} - OTHER, key=lambda u: u.__name__)


def takes(ufunc: np.ufunc, *dtypes: np.dtype) -> bool:
    """Does NumPy have a loop for these dtypes in a dtype that jitgrad supports?"""
    try:
        resolved = ufunc.resolve_dtypes((*dtypes, *[None] * ufunc.nout))
    except TypeError:
        return False
    return all(d.kind in "iub" or d.itemsize in (2, 4, 8) for d in resolved)


@pytest.mark.parametrize("x", ALL, ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("ufunc", [u for u in UFUNCS if u.nin == 1], ids=lambda u: u.__name__)
def test_unary(ufunc: np.ufunc, x: np.ndarray) -> None:
    if not takes(ufunc, x.dtype):
        pytest.skip("NumPy has no such loop")
    x = x + 1 if ufunc in ABOVE_ONE and x.dtype.kind == "f" else x
    check(lambda a: ufunc(a), x)


@pytest.mark.parametrize("pair", [(a, b) for a in (F64, F32, F16, I64, BOOL) for b in (F64, F32, F16, I32, I8, BOOL)],
                         ids=lambda p: f"{p[0].dtype}-{p[1].dtype}")  # fmt: skip
@pytest.mark.parametrize("ufunc", [u for u in UFUNCS if u.nin == 2], ids=lambda u: u.__name__)
def test_binary(ufunc: np.ufunc, pair: tuple[np.ndarray, np.ndarray]) -> None:
    if not takes(ufunc, pair[0].dtype, pair[1].dtype):
        pytest.skip("NumPy has no such loop")
    check(lambda a, b: ufunc(a, b), *pair)
    check(lambda a: ufunc(a, pair[1]), pair[0])  # one operand a constant
    check(lambda b: ufunc(pair[0], b), pair[1])


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
             operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne, divmod]  # fmt: skip


@pytest.mark.parametrize("number", [2, 3.0, np.float32(2.0), np.float64(2.0), np.int64(2)], ids=repr)
@pytest.mark.parametrize("x", [F64, F32, I64, I32, U8], ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("op", OPERATORS, ids=lambda o: o.__name__)
def test_operators_with_numbers(op, x: np.ndarray, number) -> None:
    check(lambda a: op(a, number), x)
    check(lambda a: op(number, a), x)


@pytest.mark.parametrize("op", OPERATORS, ids=lambda o: o.__name__)
def test_operators_with_arrays(op) -> None:
    for a, b in [(F64, F64[::-1]), (F32, F64), (F32, I32), (I64, I64[::-1]), (I64, F32)]:
        check(lambda x, y: op(x, y), a, b)
        check(lambda y: op(a, y), b)  # noqa: B023
        check(lambda x: op(x, b), a)  # noqa: B023
    check(lambda x: op(x, [1.0, 2.0, 3.0, 4.0]), F64)
    check(lambda x: op([1.0, 2.0, 3.0, 4.0], x), F64)


@pytest.mark.parametrize("op", [operator.and_, operator.or_, operator.xor], ids=lambda o: o.__name__)
def test_bit_operators(op) -> None:
    check(lambda x, y: op(x, y), BOOL, ~BOOL)
    check(lambda x, y: op(x, y), I64, I32)
    check(lambda x: op(x, 3), I64)
    check(lambda x: op(6, x), I32)
    check(lambda x: op(x, True), BOOL)


def test_shifts_and_unary_operators() -> None:
    check(lambda x: (x << 2, x >> 1, 64 >> x, ~x, -x, +x, abs(-x)), I64)
    check(lambda x: ~x, BOOL)
    check(lambda x: (-x, +x, abs(-x)), F32)
    check(lambda x: abs(x), BOOL)


@pytest.mark.parametrize("weak", [2, 2.5, True], ids=repr)
@pytest.mark.parametrize("x", [F64, F32, I64, I32, BOOL], ids=lambda x: str(x.dtype))
def test_traced_python_scalars_are_weak(x: np.ndarray, weak) -> None:
    check(lambda a, s: (a + s, s * a, a / s, s - a * 1.0, np.maximum(a, s), np.where(a > s, a, s)), x, weak)


@pytest.mark.parametrize("a", [3, 2.5, True], ids=repr)
@pytest.mark.parametrize("b", [2, 0.5, True], ids=repr)
@pytest.mark.parametrize("op", [*OPERATORS[:6], *OPERATORS[7:]], ids=lambda o: o.__name__)
def test_operators_between_python_scalars_stay_python_scalars(op, a, b) -> None:
    check(lambda x, y: op(x, y), a, b)
    check(lambda x: op(x, b), a)
    check(lambda y: op(a, y), b)


def test_python_scalars_in_detail() -> None:
    check(lambda a: (a**2, a**-1, a**0.5, a**0, -a, abs(a), round(a), a**1), 3)
    check(lambda a: (a**2, a**-1, a**0.5, round(a), round(a, 1), 2**a), 3.25)
    check(lambda a, b: (a & b, a | b, a ^ b), True, False)
    check(lambda a, b: (a & b, a | b, a ^ b, a << b, a >> b, ~a), 6, 3)
    check(lambda a: (np.sin(a), np.add(a, 1), np.square(a)), 2)
    check(lambda a: (np.sin(a), np.add(a, 1), np.multiply(a, a)), 2.0)


@pytest.mark.parametrize("p", [2, 0.5, -1, 0, 1, 3, 1.5, -2, 2.0, -0.5], ids=repr)
def test_power_operator(p) -> None:
    for x in (F64, F32, F64[0], F32[1]):
        check(lambda a: a**p, x)
        check(lambda a: np.power(a, p), x)
        check(lambda a: p**a if p > 0 else a, x)


def test_powers_of_integers() -> None:
    for p in (0, 1, 2, 3, 5, 10):
        check(lambda a: a**p, I64)  # noqa: B023
        check(lambda a: a**p, I32)  # noqa: B023
    check(lambda a: (a**2.0, a**0.5, 2**a, 2.0**a), I64)
    check(lambda a: 3**a, I32)
    with pytest.raises(ValueError, match="negative power"):
        check_only_traced(lambda a: a**-1, I64)


def check_only_traced(f, *args) -> None:
    from traced import trace

    trace(f, *args)


def test_dtype_argument() -> None:
    check(lambda a: np.add(a, a, dtype=np.float64), F32)
    check(lambda a: np.add(a, 1, dtype=np.float32), I32)
    check(lambda a: np.sin(a, dtype=np.float64), F32)
    check(lambda a: np.multiply(a, 2, dtype="f4"), F64)


def test_comparison_with_numbers_out_of_range() -> None:
    check(lambda a: (a < 300, a > -1, a == 1000), U8)
    with pytest.raises(OverflowError):
        check_only_traced(lambda a: a + 300, U8)


def test_unsupported_dtypes_of_results() -> None:
    with pytest.raises(DtypeError, match=str(np.dtype(np.longdouble))):
        check_only_traced(lambda a: np.sin(a, dtype=np.longdouble), np.arange(3.0))
    with pytest.raises(DtypeError, match="boolean subtract"):
        check_only_traced(lambda a: a - a, BOOL)


def test_compound_ufuncs() -> None:
    x = np.array([-2.5, -1.0, -0.0, 0.0, 1.75, np.inf, -np.inf, np.nan])
    check(np.modf, x)
    check(np.divmod, x[:5], np.full(5, 0.5))
    check(lambda a: np.ldexp(a, np.array([1, -2, 3, 4, 1000])), x[:5])
    check(lambda a: np.ldexp(a, 2), F32)
    check(lambda a: (np.deg2rad(a), np.rad2deg(a), np.fabs(a), np.positive(a), np.conj(a)), x[:5])
    check(np.float_power, F32, F32)
    check(sps.ndtr, x)
    check(sps.loggamma, np.array([-0.5, 0.5, 2.0]))
    check(sps.entr, np.array([-1.0, 0.0, 0.5]))
    check(sps.rel_entr, np.array([0.0, 0.5, 0.5, -1.0, np.nan]), np.array([0.5, 0.25, 0.0, 1.0, 1.0]))
    check(sps.kl_div, np.array([0.0, 0.5, 0.5]), np.array([0.5, 0.25, 0.0]))


def test_reduce_accumulate_outer() -> None:
    m = np.arange(12.0).reshape(3, 4) % 5
    check(lambda a: (np.add.reduce(a), np.add.reduce(a, axis=1), np.multiply.reduce(a, axis=None)), m)
    check(lambda a: (np.maximum.reduce(a, axis=1), np.minimum.reduce(a, keepdims=True)), m)
    check(lambda a: (np.logical_and.reduce(a), np.logical_or.reduce(a, axis=1)), m)
    check(lambda a: (np.add.accumulate(a), np.multiply.accumulate(a, axis=1)), m)
    check(lambda a: (np.maximum.accumulate(a, axis=1), np.minimum.accumulate(a)), m)
    check(lambda a: np.logical_and.accumulate(a > 0, axis=1), m)
    check(lambda a, b: (np.add.outer(a, b), np.subtract.outer(b, a), np.multiply.outer(a, 2.0)), F64, m)
    check(lambda a: np.hypot.outer([1.0, 2.0], a), F64)


def test_math_functions_of_python() -> None:
    import math

    check(lambda a: (math.floor(a), math.ceil(a), math.trunc(a)), 2.5)
    check(lambda a: (round(a, 1), round(a)), F64[1])
