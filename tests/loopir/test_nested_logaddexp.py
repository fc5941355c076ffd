"""Formulas that look at their operands: nested logaddexp and expit of a difference of such."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import numpy as np
import pytest

from jitgrad.ir.types import f64
from jitgrad.loopir import formulas
from jitgrad.loopir.nodes import Const, Expr, Scalar, scalar
from jitgrad.loopir.walk import subexpressions
from tests.loopir.test_scalars import evaluate

VALUES = [-np.inf, -800.0, -50.0, -1.5, 0.0, 0.25, 40.0, 900.0]
QUADRUPLES = [q for q in itertools.product(VALUES, repeat=4) if sum(q) != 0][::3]


def constants(values: tuple[float, ...]) -> list[Expr]:
    return [Const(v, f64) for v in values]


def pairwise(values: list[Expr]) -> Expr:
    a, b, c, d = values
    return scalar("logaddexp", scalar("logaddexp", a, b), scalar("logaddexp", c, d))


def exact(*values: float) -> Any:
    return mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(v)) for v in values))


def value(e: Expr) -> float:
    with np.errstate(all="ignore"):
        return float(evaluate(e, {}))


@pytest.mark.parametrize("quadruple", QUADRUPLES[::7])
def test_nested(quadruple: tuple[float, ...]) -> None:
    found = value(pairwise(constants(quadruple)))
    with mpmath.workdps(500):
        want = exact(*quadruple) if max(quadruple) > -np.inf else -mpmath.inf
        assert found == pytest.approx(float(want), rel=4e-16, abs=0)


def test_small_terms_count() -> None:
    """The result is far smaller than the operands: the sum must not be rounded to 1 before its logarithm is taken."""
    found = value(scalar("logaddexp", Const(0.0, f64), scalar("logaddexp", Const(-50.0, f64), Const(-60.0, f64))))
    assert found == pytest.approx(np.log1p(np.exp(-50.0) + np.exp(-60.0)), rel=4e-16)


def test_one_logarithm() -> None:
    x = [scalar("sqrt", Const(float(k), f64)) for k in range(4)]
    parts = [e.op for e in subexpressions((formulas.logaddexp(*pairwise(x).args),)) if isinstance(e, Scalar)]
    assert parts.count("log1p_unit") == 1
    assert parts.count("exp") == 3


def test_more_than_four_terms() -> None:
    values = (0.5, -1.0, 2.0, 3.0, -2.0)
    total = Const(values[0], f64)
    e: Expr = total
    for v in values[1:]:
        e = scalar("logaddexp", e, Const(v, f64))
    assert value(e) == pytest.approx(np.log(np.sum(np.exp(values))), rel=4e-16)


def test_equal_infinities() -> None:
    for v, w in ((np.inf, np.inf), (np.inf, 1.0), (-np.inf, 1.0)):
        nested = scalar("logaddexp", scalar("logaddexp", Const(v, f64), Const(w, f64)), Const(v, f64))
        assert value(nested) == (np.inf if v == np.inf else 1.0)
    assert np.isnan(value(scalar("logaddexp", scalar("softplus", Const(np.nan, f64)), Const(0.0, f64))))


def difference(x: Expr, y: Expr) -> Expr:
    """As the partials of logaddexp have it."""
    equal = x.eq(y) & scalar("isinf", x)
    return scalar("where", equal, Const(0.0, f64), x - y)


@pytest.mark.parametrize("quadruple", QUADRUPLES[::11])
def test_expit_of_a_difference(quadruple: tuple[float, ...]) -> None:
    a, b, c, d = constants(quadruple)
    x, y = scalar("logaddexp", a, b), scalar("logaddexp", c, d)
    e = scalar("expit", difference(x, y))
    parts = [p.op for p in subexpressions((formulas.expit(*e.args),)) if isinstance(p, Scalar)]
    assert "log1p_unit" not in parts
    assert "logaddexp" not in parts
    first = max(quadruple[:2]) > -np.inf
    second = max(quadruple[2:]) > -np.inf
    if not first and not second:
        want: Any = 0.5
    elif not first or not second:
        want = float(first)
    else:
        with mpmath.workdps(900):
            want = float(1 / (1 + mpmath.exp(exact(*quadruple[2:]) - exact(*quadruple[:2]))))
    assert value(e) == pytest.approx(want, rel=2e-15, abs=1e-300)
    opposite = value(scalar("expit", -difference(x, y)))
    assert opposite + value(e) == pytest.approx(1.0, abs=4e-16)
