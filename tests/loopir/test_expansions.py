"""Expanded functions: error in ulps against mpmath, special values, bits in all positions of a loop, and the code."""

from __future__ import annotations

import functools
import math
import platform
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special

from jitgrad.codegen.pyhelpers import lgamma
from jitgrad.ir.index import Sym, expr
from jitgrad.loopir.expansions import EXPANSIONS
from jitgrad.loopir.nodes import Buffer, Const, Expr, Load, Loop, Program, Scalar, Store, scalar
from jitgrad.loopir.walk import postorder
from jitgrad.runtime.compiled import Executable

sys.path.append(str(Path(__file__).resolve().parents[2]))  # after site-packages: for benchmarks
from benchmarks import accuracy

NAMES = sorted(EXPANSIONS)
#: Greatest error in ulps, where it is not 1.
_TWO = "expm1 sinh cosh arcsinh arcsin arccos arctan arctan2 erf erfc expit log1p_unit"
LIMITS = dict.fromkeys(_TWO.split(), 2.0) | {"gammaln": 4.0}
NUMPY = {n: getattr(scipy.special, n) for n in ("erf", "erfc")}
NUMPY["gammaln"] = lambda x: np.array([lgamma(float(v)) for v in x]).astype(x.dtype)  # SciPy's overflows too soon
NUMPY["log1p_unit"] = np.log1p
NUMPY["expit"] = lambda x: np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-np.abs(x)))  # SciPy's underflows too soon


_SPECIAL = [
    0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 10.0, 1e-310, -1e-310, 5e-324,
    1e-40, -1e-40, 1e-45, 88.7, 88.73, -87.4, -103.9, -104.0, 709.78, 709.79, -745.0, -746.0, 710.4, 710.5, 89.4, 89.5,
    1e30, -1e30, 1e300, -1e300, 3e38, 1.7e308, 127.0, 128.0, -149.0, -150.0, 1023.0, 1024.0, -1074.0, -1075.0,
]  # fmt: skip


def special(name: str, dtype: Any) -> list[np.ndarray]:
    """Special values and thresholds; all pairs of them for a function of two arguments."""
    with np.errstate(all="ignore"):
        x = np.array(_SPECIAL).astype(dtype)
    if name == "log1p_unit":
        x = x[(x >= 0) & (x <= 1)]
    return [g.ravel() for g in np.meshgrid(x, x)] if name in accuracy.TWO_ARGUMENTS else [x]


def arguments(name: str, dtype: Any) -> list[np.ndarray]:
    """Within the limits of the expansion: others are for the C library."""
    found = accuracy.arguments(name, dtype, 800)
    if EXPANSIONS[name].outside is not None:
        found = [x[np.abs(x) < 2.0**30] for x in found]
    return [x[:300] for x in found]


@functools.cache
def compiled(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Executable:
    """A loop over the arguments, through Loop IR, as some functions are of that only."""
    arity = 2 if name in accuracy.TWO_ARGUMENTS else 1
    buffers = [Buffer(f"x{k}", dtype, shape, "arg") for k in range(arity)]
    out = Buffer("y", dtype, shape, "out")
    i = Sym("i", 0, max(math.prod(shape) - 1, 0))
    index = (expr(i),) if shape else ()
    store: Any = Store(out, index, scalar(name, *(Load(x, index) for x in buffers)))
    body = Loop(i, 0, shape[0], (store,)) if index else store
    return Executable(Program("f", tuple(buffers), (out,), (body,)))


def apply(name: str, *args: np.ndarray) -> np.ndarray:
    return compiled(name, args[0].dtype, args[0].shape)(*args)[0]


def numpy_value(name: str, *args: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return NUMPY.get(name, getattr(np, name, None))(*args)  # pyright: ignore[reportOptionalCall]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_ulps(name: str, dtype: Any) -> None:
    args = arguments(name, dtype)
    (error,) = accuracy.errors(name, args, apply(name, *args))
    worst = int(np.argmax(error))
    assert error[worst] <= LIMITS.get(name, 1.0), (error[worst], [x[worst] for x in args])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str, dtype: Any) -> None:
    args = special(name, dtype)
    got, want = apply(name, *args), numpy_value(name, *args)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    number = ~np.isnan(want)
    got, want = got[number], want[number]
    plain = np.isinf(want) | (want == 0)
    np.testing.assert_array_equal(got[plain], want[plain])
    np.testing.assert_array_equal(np.signbit(got[plain]), np.signbit(want[plain]))
    unit = np.spacing(np.abs(want[~plain]))
    np.testing.assert_array_less(np.abs(got[~plain] - want[~plain]) / unit, 4.0)


def test_gammaln_of_negative_numbers() -> None:
    """Near its zeros there the absolute error is small, not the relative one."""
    x = -np.random.default_rng(0).uniform(0, 60, 300)
    got = apply("gammaln", x)
    with mpmath.workdps(40):
        exact = np.array([float(mpmath.loggamma(mpmath.mpf(v)).real) for v in x.tolist()])
    assert np.max(np.abs(got - exact) / np.maximum(np.abs(exact), 1.0)) < 8 * np.finfo(np.float64).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_same_bits_in_the_body_and_the_rest_of_a_loop(name: str, dtype: Any) -> None:
    args = arguments(name, dtype)
    whole = apply(name, *args)
    again = apply(name, *(np.roll(x, -3) for x in args))
    np.testing.assert_array_equal(np.roll(again, 3).view(np.uint8), whole.view(np.uint8))
    single = apply(name, *(x[7] for x in args))
    assert single.tobytes() == whole[7].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_the_loop_is_vectorised_and_calls_nothing(name: str, dtype: Any) -> None:
    args = arguments(name, dtype)
    text = compiled(name, args[0].dtype, args[0].shape).asm()
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the patterns are of x86")
    kernel = text[text.index("kernel0:") :]
    assert re.search(r"\bv?(?:mul|fn?madd\d+|fmsub\d+)p[sd]\b[^\n]*[xyz]mm|\bmulp[sd]\b", kernel)
    allowed = {"sinf", "cosf", "tanf", "sin", "cos", "tan"} if EXPANSIONS[name].outside is not None else set()
    symbols = set(re.findall(r"\$([a-z][a-z0-9]*f?), %r\w+\n", kernel))
    libm = {"exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "pow", "tanh", "sinh", "cosh", "erf", "erfc"}
    libm |= {"sin", "cos", "tan", "asin", "acos", "atan", "atan2", "cbrt", "lgamma", "asinh", "acosh", "atanh"}
    assert not (symbols & (libm | {f"{n}f" for n in libm})) - allowed


def evaluate(e: Expr) -> Any:
    """An expression by NumPy, one operation after another, each rounded."""
    memo: dict[Expr, Any] = {}
    for part in postorder(e, memo.__contains__):
        if isinstance(part, Const):
            memo[part] = part.value
            continue
        assert isinstance(part, Scalar)
        args = [memo[a] for a in part.args]
        kind = part.dtype.type
        if part.op == "fma":
            memo[part] = _fma(kind, *args)
        elif part.op == "product":
            memo[part] = args[0] * args[1]
        elif part.op == "bitcast":
            memo[part] = np.asarray(args[0]).view(part.dtype)[()]
        elif part.op == "where":
            memo[part] = args[1] if args[0] else args[2]
        elif part.op == "cast":
            memo[part] = kind(args[0])
        else:
            memo[part] = getattr(np, part.op)(*args)
    return memo[e]


def _fma(kind: Any, a: Any, b: Any, c: Any) -> Any:
    if not np.isfinite([a, b, c]).all():
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return a * b + c  # for its sign
    try:
        value = float(exact)
    except OverflowError:
        return kind(np.inf if exact > 0 else -np.inf)
    if kind is np.float64:
        return kind(value)
    # Rounding to float64 to odd first makes the second rounding right.
    if Fraction(value) != exact and not np.float64(value).view(np.int64) & 1:
        value = float(np.nextafter(value, np.inf if exact > Fraction(value) else -np.inf))
    return kind(value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_machine_code_against_the_expression(name: str, dtype: Any) -> None:
    """LLVM may fuse a product with a sum, which is worth half an ulp each at most."""
    args = arguments(name, dtype)
    got, args = apply(name, *args)[::3], [x[::3] for x in args]
    with np.errstate(all="ignore"):
        want = np.array([
            evaluate(EXPANSIONS[name].expand(*(Const(p, np.dtype(dtype)) for p in point)))
            for point in zip(*args, strict=True)
        ])  # fmt: skip
    unit = np.spacing(np.maximum(np.abs(want), np.finfo(dtype).tiny))
    with np.errstate(all="ignore"):
        near = (np.abs(got - want) <= unit) | (got == want)
    assert near.all(), np.array(args)[:, ~near]
