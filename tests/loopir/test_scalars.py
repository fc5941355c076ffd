"""The table of scalar functions: formulas and Python spellings against the NumPy function that defines each."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numba
import numpy as np
import pytest

from jitgrad.codegen import pyhelpers
from jitgrad.ir.types import bool_
from jitgrad.loopir.nodes import Const, Expr, Scalar, scalar
from jitgrad.loopir.scalars import SCALARS, python_source

POINTS = np.array([-30.5, -3.0, -1.0, -0.6, -0.0, 0.0, 0.2, 0.45, 0.5, 1.0, 1.5, 2.5, 40.0, np.inf, -np.inf, np.nan])
INTEGERS = np.array([-128, -7, -1, 0, 1, 3, 9, 127])


def evaluate(e: Expr, memo: dict[Expr, Any]) -> Any:
    """An expression by the NumPy functions of the table, formulas expanded."""
    if isinstance(e, Const):
        return e.value
    if e not in memo:
        assert isinstance(e, Scalar)
        args = [evaluate(a, memo) for a in e.args]
        entry = SCALARS[e.op]
        if entry.compose is not None:
            memo[e] = evaluate(entry.compose(*e.args), memo)
        else:
            memo[e] = np.asarray(entry.numpy(*args)).astype(e.dtype)[()]
    return memo[e]


def pairs(values: np.ndarray, arity: int) -> list[tuple[Any, ...]]:
    return list(itertools.product(*[values, values, values[::3], values[::5]][:arity]))


def points(name: str, dtype: Any) -> list[tuple[Any, ...]]:
    """Operands at which the oracle is right."""
    values = POINTS
    if name in ("trigamma", "polygamma2", "polygamma3", "polygamma4"):
        values = POINTS[(POINTS > 0) & np.isfinite(POINTS)]  # SciPy's are for positive arguments
    if name == "gammaln":
        values = POINTS[~np.isneginf(POINTS)]  # where C and SciPy differ
    if name == "expn":
        values = np.array([0.0, 1.0, 2.0, 7.0, np.nan])  # SciPy warns of orders that are no integers
    if name == "hyp1f1":
        values = POINTS[np.abs(POINTS) < 100]  # SciPy's never returns from some at infinity
    return pairs(values.astype(dtype), SCALARS[name].arity)


FORMULAS = [n for n, entry in SCALARS.items() if entry.compose is not None]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name: str, dtype: Any) -> None:
    entry = SCALARS[name]
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    with np.errstate(all="ignore"):
        for args in points(name, dtype):
            assert entry.compose is not None
            formula = entry.compose(*(Const(a, np.dtype(dtype)) for a in args))
            predicate = name in ("isnan", "isinf", "isfinite", "signbit")
            assert formula.dtype == (bool_ if predicate else np.dtype(dtype))
            found, wanted = evaluate(formula, {}), entry.numpy(*args)
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance, err_msg=f"{name}{args}")


@pytest.mark.parametrize("name", ["remainder", "floor_divide", "maximum", "minimum", "fmax", "fmin", "sign"])
def test_formula_keeps_the_sign_of_zero(name: str) -> None:
    entry = SCALARS[name]
    for args in pairs(np.array([-6.0, -0.0, 3.0]), entry.arity):
        if name in ("maximum", "minimum", "fmax", "fmin") and args[0] == args[1] == 0:
            continue  # NumPy leaves open which zero it is
        with np.errstate(all="ignore"):
            assert entry.compose is not None
            found = evaluate(entry.compose(*(Const(a, np.dtype(float)) for a in args)), {})
            wanted = entry.numpy(*args)
        assert np.signbit(found) == np.signbit(wanted) or np.isnan(wanted), (name, args, found, wanted)


def run_source(name: str, args: tuple[Any, ...], dtype: np.dtype) -> Any:
    source = python_source(name, [f"a{k}" for k in range(len(args))], dtype, np.asarray(args[-1]).dtype)
    assert source is not None
    names = {"np": np, "math": math, "h": pyhelpers, **{f"a{k}": a for k, a in enumerate(args)}}
    return eval(compile(source, name, "eval"), names)  # the renderer's own output


SPELT = [n for n, entry in SCALARS.items() if entry.python is not None and n not in ("where", "cast")]
COMPARISONS = ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]
BIT_NAMES = ["bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift"]
DIVISION = ["floor_divide", "remainder", "fmod", "power"]
EXTREMA = ["maximum", "minimum", "fmax", "fmin"]
INTEGER_NAMES = ["add", "subtract", "multiply", "negative", "absolute", "sign", *DIVISION, *EXTREMA]
INTEGER_NAMES += [*BIT_NAMES, *COMPARISONS]
BOOL_NAMES = ["logical_and", "logical_or", "logical_xor", "logical_not", *COMPARISONS]


@pytest.mark.parametrize("name", [n for n in SPELT if n not in BIT_NAMES and "logical" not in n])
def test_python_of_floats(name: str) -> None:
    entry = SCALARS[name]
    for dtype in (np.float64, np.float32):
        with np.errstate(all="ignore"):
            for args in points(name, dtype):
                # Of SciPy's functions the one in double precision is called, for float32 too.
                wide = map(np.float64, args) if entry.scipy is not None else args
                wanted = entry.numpy(*wide)
                wanted = wanted.astype(dtype) if entry.scipy is not None else wanted
                found = run_source(name, args, np.asarray(wanted).dtype)
                if np.asarray(wanted).dtype != bool_:
                    assert np.asarray(found).dtype == dtype, name
                np.testing.assert_allclose(
                    found, wanted, rtol=1e-12 if dtype is np.float64 else 1e-5, err_msg=str(args)
                )


@pytest.mark.parametrize("name", INTEGER_NAMES)
def test_python_of_integers(name: str) -> None:
    entry = SCALARS[name]
    for dtype in (np.int8, np.int64, np.uint8):
        values = INTEGERS[INTEGERS >= 0] if dtype is np.uint8 else INTEGERS
        with np.errstate(all="ignore"):
            for args in pairs(values.astype(dtype), entry.arity):
                if name == "power" and args[1] < 0:
                    assert run_source(name, args, np.dtype(dtype)) == 0
                    continue
                wanted = np.asarray(entry.numpy(*args))
                found = np.asarray(run_source(name, args, wanted.dtype))
                assert found == wanted, (name, args)
                assert found.dtype == wanted.dtype


@pytest.mark.parametrize("name", BOOL_NAMES)
def test_python_of_bools(name: str) -> None:
    for args in pairs(np.array([False, True]), SCALARS[name].arity):
        assert run_source(name, args, bool_) == SCALARS[name].numpy(*args)


def test_python_of_cast_and_where() -> None:
    assert run_source("cast", (np.float64(2.7),), np.dtype(np.int64)) == 2
    assert run_source("cast", (np.int64(300),), np.dtype(np.uint8)) == 44
    assert run_source("cast", (np.float64(0.1),), bool_)
    assert run_source("where", (np.True_, np.float32(1), np.float32(2)), np.dtype(np.float32)) == 1
    assert python_source("square", ["x"], np.dtype(float)) is None


def test_helpers_under_numba() -> None:
    @numba.njit
    def run(x: Any, n: Any, v: Any) -> Any:
        return (
            pyhelpers.power(x, n, np.int64(1)),
            pyhelpers.left_shift(x, n, 64),
            pyhelpers.right_shift(x, n, 64),
            pyhelpers.lgamma(v),
        )

    np.testing.assert_allclose(run(np.int64(3), np.int64(5), 0.5), (243, 96, 0, math.lgamma(0.5)), rtol=1e-14)
    assert run(np.int64(-3), np.int64(-1), -2.0) == (0, 0, -1, math.inf)
    assert run(np.int64(-3), np.int64(64), -np.inf) == (pow(3, 64, 1 << 64), 0, -1, math.inf)


def test_every_formula_ends_in_primitives() -> None:
    """A formula may use other formulas, but never itself."""

    def expand(e: Expr, open_: tuple[str, ...], seen: set[tuple[Expr, tuple[str, ...]]]) -> None:
        if (e, open_) in seen or not isinstance(e, Scalar):
            return
        seen.add((e, open_))
        assert e.op not in open_, (e.op, open_)
        entry = SCALARS[e.op]
        if entry.compose is not None:
            expand(entry.compose(*e.args), (*open_, e.op), seen)
        for a in e.args:
            expand(a, open_, seen)

    x, y = (scalar("exp", Const(v, np.dtype(float))) for v in (1.0, 2.0))
    for name in FORMULAS:
        expand(scalar(name, *(x, y)[: SCALARS[name].arity]), (), set())
