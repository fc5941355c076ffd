"""Selection, rounding, differences, interpolation and array creation on traced values agree with NumPy."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from traced import check, trace

import jitgrad as jg
import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ConcretizationError, ShapeError, UnsupportedError

V = np.array([-1.5, -0.5, 0.0, 0.5, 2.5])
F = V.astype(np.float32)
M = np.arange(12.0).reshape(3, 4) ** 1.5
I = np.array([[3, -7], [12, 25]])  # noqa: E741
B = V > 0
ODD = np.array([np.nan, np.inf, -np.inf, 1.0])

CASES = {
    "where": (lambda x: (np.where(x > 0, x, 0), np.where(x > 0, 1.0, 2.0), np.where(B, x, -x), np.where(x, 1, 2)), F),
    "where dtypes": (lambda x, y: (np.where(x > 0, x, y), np.where(x[:, None] > 0, y, 1), np.where(True, x, y)), F, V),
    "select": (
        lambda x: (
            np.select([x > 1, x < 0], [x, x**2]),
            np.select([x > 1, x < 0], [x, 7], default=np.nan),
            np.select([B, ~B], [1.0, x]),
        ),
        F,
    ),
    "piecewise": (
        lambda x: (np.piecewise(x, [x < 0, x > 1], [-1, lambda v: v * v, 3.0]), np.piecewise(x, [x < 0], [5.0])),
        V,
    ),
    "clip": (lambda x: (np.clip(x, 0, 1), x.clip(0), x.clip(max=0.5), np.clip(x, None, 1), np.clip(x, x[0], 1.0)), F),
    "clip ints": (lambda x: (np.clip(x, 0, 10), np.clip(x, 0.5, 10)), I),
    "clip keywords": (lambda x: np.clip(x, min=0, max=1), V),
    "round": (lambda x: (np.round(x), np.around(x, 1), x.round(-1), np.fix(x), x.round(2)), M),
    "round ints": (lambda x: (np.round(x), np.round(x, 1), np.round(x, -1)), I),
    "nan_to_num": (lambda x: (np.nan_to_num(x), np.nan_to_num(x, nan=1.0, posinf=2.0, neginf=-3.0)), ODD),
    "nan_to_num f32": (lambda x: np.nan_to_num(x), ODD.astype(np.float32)),
    "isclose": (
        lambda x: (np.isclose(x, V), np.isclose(x, x + 1e-9), np.isclose(x, 0.5, atol=1.0), np.allclose(x, V + 1)),
        V,
    ),
    "isclose odd": (
        lambda x: (
            np.isclose(x, ODD),
            np.isclose(x, ODD, equal_nan=True),
            np.array_equal(x, ODD, equal_nan=True),
            np.isposinf(x),
            np.isneginf(x),
            np.array_equal(x, ODD),
            np.array_equiv(x, x),
        ),
        ODD,
    ),
    "sinc": (lambda x: (np.sinc(x), np.angle(x), np.angle(x, deg=True)), V),
    "diff": (
        lambda x: (
            np.diff(x),
            np.diff(x, axis=0),
            np.diff(x, n=2),
            np.diff(x, prepend=0.0),
            np.diff(x, append=x[:, :1]),
            np.diff(x[:, :1]),
        ),
        M,
    ),
    "diff bool": (lambda x: np.diff(x), B),
    "ediff1d": (lambda x: (np.ediff1d(x), np.ediff1d(x, to_begin=1.0, to_end=[2.0, 3.0])), M),
    "gradient": (
        lambda x: (
            np.gradient(x),
            np.gradient(x, 0.5),
            np.gradient(x, edge_order=2),
            np.gradient(x, np.array([0.0, 1.0, 3.0, 4.0, 8.0])),
        ),
        V,
    ),
    "gradient nd": (lambda x: (*np.gradient(x), np.gradient(x, axis=1), *np.gradient(x, 2.0, [1.0, 2.0, 4.0, 5.0])), M),
    "gradient edges": (lambda x: (np.gradient(x, [0.0, 1.0, 3.0, 4.0, 8.0], edge_order=2), np.gradient(x[:2])), V),
    "trapezoid": (
        lambda x: (np.trapezoid(x), np.trapezoid(x, dx=0.1, axis=0), np.trapezoid(x, [0.0, 1.0, 3.0, 4.0])),
        M,
    ),
    "trapezoid traced": (lambda x, y: np.trapezoid(x, y, axis=0), M, np.cumsum(M, 0)),
    "interp": (
        lambda x: (
            np.interp(x, [-1.0, 0.0, 2.0], [3.0, 1.0, 5.0]),
            np.interp(x, [0.0], [2.0]),
            np.interp(x, [-1.0, 0.0, 2.5], [3.0, 1.0, 5.0], left=-9.0, right=9.0),
        ),
        V,
    ),
    "interp traced": (lambda x, p, f: np.interp(x, p, f), F, np.array([-1.0, 0.25, 1.0]), np.array([3.0, 1.0, 5.0])),
}


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_numpy(case) -> None:
    check(*case)


MADE = {
    "array": (lambda x: (jnp.array([x[0], x[1]]), jnp.array([x, x * 2]), jnp.array([[x[0], 1.0], [2, x[1]]])), V),
    "array rows": (lambda x: (jnp.array([x, [1, 2, 3, 4, 5]]), jnp.array([[1, 2], [x[0], 3]]), jnp.array(x)), F),
    "array dtype": (
        lambda x: (jnp.array([x[0], 1], dtype=np.float64), jnp.array(x, dtype=int), jnp.array(x, ndmin=3)),
        F,
    ),
    "array of scalars": (
        lambda a, b: (jnp.array([a, b]), jnp.array([a, 1]), jnp.asarray(a), jnp.stack([a, b])),
        2.0,
        3,
    ),
    "asarray": (
        lambda x: (
            jnp.asarray(x),
            jnp.asarray([x, x]),
            jnp.asarray(x, dtype=np.float64),
            jnp.asanyarray(x),
            jnp.ascontiguousarray(x),
            jnp.asarray([1.0, 2.0]) + x[:2],
        ),
        F,
    ),
    "full": (lambda x: (jnp.full(3, x[0]), jnp.full((2, 5), x), jnp.full((2, 2), x[0], dtype=np.float64)), F),
    "full of a number": (lambda a: (jnp.full(3, a), jnp.full_like(np.zeros(2, np.float32), a)), 2.5),
    "linspace": (
        lambda x: (
            np.linspace(x[0], x[4], 5),
            np.linspace(x[0], 1, 4, endpoint=False),
            np.linspace(x, 0, 3),
            np.linspace(x, 0, 3, axis=1),
            np.linspace(0, x[4], 1),
            *np.linspace(0, x[4], 7, retstep=True),
        ),
        V,
    ),
    "linspace scalars": (lambda a: (jnp.linspace(0, a, 5), jnp.linspace(a, 7, 3, dtype=int)), 3),
    "logspace": (
        lambda x: (np.logspace(x[0], x[1], 4), jnp.logspace(0, 1, 3, base=x[4]), np.geomspace(x[3], x[4], 4)),
        V,
    ),
    "plain": (lambda x: x * (jnp.zeros(5) + jnp.ones(5) + jnp.arange(5.0) + jnp.eye(5)[0] + jnp.linspace(0, 1, 5)), V),
    "lists": (
        lambda x: (
            jnp.stack([[x[0], x[1]], [x[2], 1.0]]),
            jnp.maximum([x[0], x[1]], 0),
            jnp.concatenate([[x[0]], x]),
            jnp.exp([x[0], 1.0]),
            jnp.dot([x[0], 1.0], [2.0, x[1]]),
            jnp.broadcast_to([x[0]], 3),
        ),
        V,
    ),
    "mirrors": (lambda x: (jnp.linalg.norm([x[0], x[1]]), jnp.float32(2.0) * x, x + jnp.pi, jnp.add.reduce(x)), V),
}


@pytest.mark.parametrize("case", MADE.values(), ids=MADE)
def test_namespace(case) -> None:
    check(*case)


def test_namespace_is_numpy_on_plain_arrays() -> None:
    assert jnp.float64 is np.float64
    assert jnp.newaxis is None
    assert jnp.pi == np.pi
    assert jnp.ndarray is np.ndarray
    assert isinstance(jnp.zeros(3), np.ndarray)
    assert isinstance(jnp.sin(V), np.ndarray)
    assert jnp.sin.nin == 1
    assert jnp.linalg.solve(np.eye(2), np.ones(2)).tolist() == [1.0, 1.0]
    assert jnp.lib.stride_tricks.sliding_window_view(V, 2).shape == (4, 2)
    assert {"sin", "zeros", "set_at", "linalg"} <= set(dir(jnp))
    assert "norm" in dir(jnp.linalg)
    with pytest.raises(AttributeError):
        jnp.no_such_function  # noqa: B018
    missing = [n for n in dir(np) if not n.startswith("_") and not hasattr(jnp, n)]
    assert missing == []


def test_substitutes() -> None:
    import scipy.linalg
    import scipy.special

    import jitgrad.scipy as jsp
    from jitgrad.frontend.substitute_table import replacement

    assert replacement(np) is jnp
    assert replacement(np.linalg) is jnp.linalg
    assert replacement(scipy.special) is jsp.special
    assert replacement(np.prod([2, 3])) is None
    check(lambda x: replacement(np.array)([x[0], 1.0]), V)
    check(lambda x: replacement(scipy.special.logsumexp)(x), V)
    check(lambda x: replacement(scipy.linalg.solve_triangular)(np.eye(5), x), V)
    with pytest.raises(UnsupportedError, match=r"np\.sort_complex"):
        trace(lambda x: replacement(np.sort_complex)(x), V)
    assert replacement(np.array)([1, 2]).tolist() == [1, 2]


def test_a_list_argument_of_numpy_itself_says_what_to_do() -> None:
    with pytest.raises(ConcretizationError, match=r"jitgrad\.numpy"):
        trace(lambda x: np.array([x[0], x[1]]), V)


ERRORS = {
    "select": (lambda x: np.select([x > 0], []), ArgumentError, "as many"),
    "zeros": (lambda x: jnp.zeros(x[0]), ConcretizationError, "shape is the traced value"),
    "arange": (lambda x: jnp.arange(x[0]), ConcretizationError, "np.arange"),
    "eye": (lambda x: jnp.eye(x[0]), ConcretizationError, "np.eye"),
    "linspace": (lambda x: np.linspace(0, x[0], x[1].astype(int)), ConcretizationError, "num"),
    "ragged": (lambda x: jnp.array([[x[0], x[1]], [x[2]]]), ShapeError, "equal length"),
    "ragged depth": (lambda x: jnp.array([x, x[:2]]), ShapeError, "one shape"),
    "interp": (lambda x: np.interp(x, [0.0, 1.0], [0.0, 1.0], period=1.0), UnsupportedError, "period"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        trace(f, V)
    assert "test_numpy_select.py" in str(info.value)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_derivatives_of_sinc_at_and_near_zero(order: int) -> None:
    f = np.sinc
    for _ in range(order):
        f = jg.grad(f)
    for x in (0.0, 1e-9, 1e-3, 0.159, 0.16, 0.3, -0.02):
        with mpmath.workdps(60):
            exact = float(mpmath.diff(lambda t: mpmath.sincpi(t), mpmath.mpf(x), order))
        assert f(x) == pytest.approx(exact, rel=1e-9, abs=1e-9)
