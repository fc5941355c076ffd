"""The mask rule: what ``where``, ``clip``, ``maximum`` or a mask turned off never makes a derivative NaN.

Every program here computes something infinite or NaN on the branch not taken. Its derivatives (reverse, forward,
reverse then forward, forward twice) have to be finite everywhere, and those of the branch taken; in both precisions,
interpreted and compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import jitgrad as jg

X = np.array([-1.0, 0.0, 0.0, 2.0, 3.0, -0.5, 0.25, 1.5])
#: With gaps that make rows of a table all zero.
ROWS = np.array([[1.0], [0.0], [2.0], [0.0]])
MASK = X > 0
INDEX = np.array([1, 1, 3, 0])


def _relu_attention(x: Any) -> Any:
    scores = np.where(x > 0, np.sqrt(x), -np.inf)
    e = np.exp(scores - scores.max())
    return e / e.sum()


def _replace_nan(x: Any) -> Any:
    y = np.log(np.where(x > 0, x, np.nan))
    return np.where(np.isnan(y), 0, y)


def _table(x: Any) -> Any:
    return x.reshape(4, 2)


CASES: dict[str, Callable[[Any], Any]] = {
    # one function
    "sqrt": lambda x: np.where(x > 0, np.sqrt(x), 0),
    "log": lambda x: np.where(x > 0, np.log(x), 0),
    "sinc": lambda x: np.where(x != 0, np.sin(x) / x, 1),
    "x log x": lambda x: np.where(x > 0, x * np.log(x), 0),
    "xlogy": lambda x: np.where(x > 0, special.xlogy(x, x), 0),
    "power": lambda x: np.where(x > 0, x**0.3, 0) + np.where(x > 0, np.power(x, -0.5), 0),
    "power of itself": lambda x: np.where(x > 0, x**x, 1),
    "reciprocal": lambda x: np.where(x != 0, 1 / x, 0),
    "quotient": lambda x: np.where(x != 0, x / np.abs(x), 0),
    "cube root": lambda x: np.where(x != 0, np.cbrt(x), 0),
    "arccos": lambda x: np.where(np.abs(x) < 0.9, np.arccos(x), 0),
    "arctan2": lambda x: np.where(x != 0, np.arctan2(x, np.abs(x) * x), 0),
    "arctan2 at 0, x": lambda x: np.where(x != 0, np.arctan2(x * 0, x), 0),
    "logit": lambda x: np.where((x > 0) & (x < 1), special.logit(x), 0),
    "gammaln": lambda x: np.where(x > 0, special.gammaln(x), 0),
    "softplus by cases": lambda x: np.where(x > 0, x + np.log1p(np.exp(-x)), np.log1p(np.exp(x))),
    # several
    "chain": lambda x: np.where(x > 0, np.exp(np.log(x) * 0.5) * np.sin(1 / x), 0),
    "nested": lambda x: np.where(x > 0, np.where(x > 1, np.sqrt(x - 1), np.log(x)), 0),
    "nested outside": lambda x: np.sqrt(np.where(x > 0, np.where(x > 1, np.sqrt(x - 1), x**2), 4.0)),
    "select": lambda x: np.select([x < 0, x > 0], [np.sqrt(-x), np.log(x)], 0.0),
    "NaN replaced": _replace_nan,
    "nan_to_num": lambda x: np.nan_to_num(np.where(x > 0, np.log(x), np.nan)),
    "two users": lambda x: (lambda y: np.where(x > 0, y, 0) + np.where(x > 1, y * y, 0))(np.log(x)),
    # other selecting functions
    "clip inside": lambda x: np.sqrt(np.clip(x, 0.1, None)),
    "clip outside": lambda x: np.clip(np.where(x > 0, np.log(x), -5), -1, 1),
    "maximum inside": lambda x: np.sqrt(np.maximum(x, 1e-3)),
    "maximum outside": lambda x: np.maximum(np.where(x > 0, np.sqrt(x), 0), 0.3),
    "minimum": lambda x: np.minimum(1 / np.abs(x), 10.0),
    "max": lambda x: np.max(np.where(x > 0, np.log(x), -np.inf)),
    "sort": lambda x: np.sort(np.where(x > 0, np.sqrt(x), 0)),
    "product": lambda x: np.prod(np.where(x > 0, np.sqrt(x), 1)),
    "log-sum-exp": lambda x: np.log(np.sum(np.exp(np.where(x > 0, np.log(x), -np.inf)))),
    "softmax": _relu_attention,
    # between the function and its mask
    "slice": lambda x: np.where(x[1:] > 0, np.sqrt(x[1:]), 0) + np.where(x[:-1] > 0, np.log(x[:-1]), 0),
    "slice outside": lambda x: np.where(x > 0, np.sqrt(x), 0)[::-2],
    "reversed": lambda x: np.where(x[::-1] > 0, np.log(x)[::-1], 0) + np.where(x[::-1] > 0, np.flip(np.sqrt(x)), 0),
    "gather outside": lambda x: np.where(x > 0, np.log(x), 0)[INDEX],
    "gather": lambda x: np.where(x[INDEX] > 0, np.sqrt(x)[INDEX], 0),
    "take_along_axis": lambda x: np.where(x > 0, np.take_along_axis(np.sqrt(x), np.arange(8), 0), 0),
    "transpose": lambda x: np.where((_table(x) > 0).T, np.sqrt(_table(x)).T, 0),
    "reshape": lambda x: np.where((x > 0).reshape(2, 4), np.log(x).reshape(2, 4), 0),
    "broadcast": lambda x: np.where(x.reshape(2, 4, 1) > 0, np.log(x).reshape(2, 4, 1) * np.ones(3), 0),
    "sum": lambda x: np.where(x[0] > 0, np.sum(np.sqrt(x)), 0) + x,
    "sum of rows": lambda x: np.where(_table(x).min(1) > 0, np.sum(np.log(_table(x)), 1), 0),
    "mean of rows": lambda x: np.where(_table(x).min(1) > 0, np.mean(np.sqrt(_table(x)), 1), 0),
    "product of rows": lambda x: np.where(_table(x).min(1) > 0, np.prod(np.sqrt(_table(x)), 1), 0),
    "concatenate": lambda x: np.where(np.concatenate([x, x]) > 0, np.concatenate([np.sqrt(x), np.log(x)]), 0),
    "stack": lambda x: np.where(np.stack([x > 0, x > 0]), np.stack([np.sqrt(x), np.log(x)]), 0),
    "split": lambda x: np.where(x[:4] > 0, np.split(np.log(x), 2)[0], 0),
    "roll": lambda x: np.where(np.roll(x, 2) > 0, np.roll(np.log(x), 2), 0),
    "pad": lambda x: np.where(np.pad(x, 1) > 0, np.pad(np.sqrt(x), 1), 0),
    "repeat and tile": lambda x: np.where(np.repeat(x, 2) > 0, np.repeat(np.sqrt(x), 2), np.tile(x, 2)),
    "cumsum": lambda x: np.cumsum(np.where(x > 0, np.sqrt(x), 0)),
    "cumsum inside": lambda x: np.where(x > 0, np.cumsum(np.where(x > 0, np.log(x), 0)), 0),
    "set_at": lambda x: np.where(x > 0, jg.set_at(np.sqrt(x), np.array([1, 2]), 5.0), 0),
    "add_at": lambda x: np.where(x > 0, jg.add_at(np.log(x), np.array([0, 3]), x[:2]), 0),
    "matrix product": lambda x: np.where(x > 0, np.log(x), 0).reshape(2, 4) @ np.arange(8.0).reshape(4, 2),
    "matrix product inside": lambda x: np.where(
        (_table(x) > 0).all(1)[:, None], np.sqrt(_table(x)) @ np.array([[1.0, 2, 3], [3, 1, 2]]), 0
    ),
    "matrix by vector": lambda x: np.where((_table(x) > 0).all(1), np.sqrt(_table(x)) @ np.array([1.0, 2]), 0),
    "outer product": lambda x: np.where(x > 0, np.outer(np.sqrt(x), [1.0, 2]).T, 0),
    "both factors": lambda x: np.where((_table(x) > 0).all(1), (np.log(_table(x)) * np.sqrt(_table(x))).sum(1), 0),
    "diagonal": lambda x: np.where(x > 0, np.diag(np.outer(np.log(x), np.ones(8))), 0),
    "tril": lambda x: np.where(np.tril(x.reshape(2, 4) > 0), np.log(x.reshape(2, 4)), 0),
    # products with a mask
    "mask": lambda x: (x > 0) * np.sqrt(np.abs(x)),
    "mask as numbers": lambda x: np.sqrt(np.abs(x)) * (x > 0).astype(x.dtype),
    "mask of rows": lambda x: (_table(x) > 0).all(1)[:, None] * np.sqrt(np.abs(_table(x))),
    "mask by where": lambda x: np.where(x > 0, 1.0, 0.0) * np.cbrt(x) + np.where(x <= 0, 0.0, x) * np.cbrt(x),
    "constant mask": lambda x: MASK * np.sqrt(np.maximum(x, 0)) + MASK.astype(float) * np.cbrt(x),
    "multiplied by bool": lambda x: np.multiply(np.sqrt(np.abs(x)), x != 0) ** 2,
    # norms
    "norm": lambda x: np.linalg.norm(_table(x) * ROWS, axis=1),
    "norm written out": lambda x: np.sqrt(np.sum((_table(x) * ROWS) ** 2, axis=1)),
    "hypot": lambda x: np.hypot((_table(x) * ROWS)[:, 0], (_table(x) * ROWS)[:, 1]),
    "std": lambda x: np.std(np.outer(x, np.zeros(3)), axis=1) + np.std(x),
}


def _derivatives(f: Callable[[Any], Any], weight: np.ndarray) -> Callable[..., Any]:
    """(gradient, slope, Hessian by t, t by Hessian by t) of the weighted sum of f, at x along t."""

    def loss(x: Any) -> Any:
        return np.sum(f(x) * weight)

    def everything(x: Any, t: Any) -> Any:
        gradient, curvature = jg.jvp(jg.grad(loss), (x,), (t,))
        slope, bend = jg.jvp(lambda x: jg.jvp(loss, (x,), (t,))[1], (x,), (t,))
        return gradient, slope, curvature, bend

    return everything


@pytest.mark.parametrize("name", CASES)
def test_masked_branches(name: str) -> None:
    f = CASES[name]
    away = np.where(X == 0, 0.0, 1.0)  # differences are taken where nothing jumps
    direction = np.cos(2.0 * np.arange(8))
    with np.errstate(all="ignore"):
        value = np.asarray(f(X))
        weight = np.cos(np.arange(value.size) + 1.0).reshape(value.shape)
        steps = 1e-5 * np.eye(8)
        differences = np.array([np.sum((f(X + h) - f(X - h)) * weight) / 2e-5 for h in steps])
    for dtype, tolerance in ((np.float64, 1e-6), (np.float32, 2e-4)):
        x, t = X.astype(dtype), direction.astype(dtype)
        graph = jg.trace(_derivatives(f, weight.astype(dtype)), x, t)
        results = jg.interpret(graph, x, t)
        for found, what in zip(results, ("gradient", "slope", "curvature", "bend"), strict=True):
            assert np.all(np.isfinite(found)), f"{what} in {np.dtype(dtype)}: {found}"
        gradient, slope, curvature, bend = results
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient * away, differences * away, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(slope, gradient @ t, rtol=tolerance, atol=tolerance)
        size = 1 + np.max(np.abs(curvature))
        np.testing.assert_allclose(bend, curvature @ t, rtol=tolerance, atol=tolerance * size)
        if dtype == np.float64:
            for found, wanted in zip(jg.compile(graph)(x, t), results, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12 * size)


def test_masked_rows_of_data() -> None:
    """Missing rows, marked by NaN, don't reach the gradient of the weights through a matrix product."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    x[2], y[4], x[5, 1] = np.nan, np.nan, np.inf
    known = np.isfinite(x).all(axis=1) & np.isfinite(y)
    v, w = rng.normal(size=3), rng.normal(size=(3, 4))

    def loss(v: Any, w: Any, x: Any, y: Any) -> Any:
        return np.where(known, (x @ v - y) ** 2, 0).sum() + np.where(known[:, None], np.tanh(x @ w), 0).sum()

    found = jg.value_and_grad(loss, (0, 1, 2))(v, w, x, y)
    kept = np.where(known[:, None], x, 0.0), np.where(known, y, 0.0)
    wanted = jg.value_and_grad(loss, (0, 1, 2))(v, w, *kept)
    np.testing.assert_allclose(found[0], wanted[0])
    for a, b in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert np.all(found[1][2][~known] == 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.linalg.norm(x),
        lambda x: np.sqrt(np.sum(x**2)),
        lambda x: np.sqrt(x @ x),
        lambda x: np.sqrt(np.dot(x, x)),
        lambda x: np.sum(x * x) ** 0.5,
        lambda x: np.sqrt(x[0] ** 2 + x[1] ** 2 + x[2] * x[2]),
        lambda x: np.hypot(x[0], x[1]),
        lambda x: np.std(x),
        lambda x: x.std(),
        lambda x: np.std(x, ddof=1),
        lambda x: np.sqrt(np.mean(np.square(x))),
        lambda x: np.sqrt(np.einsum("i,i->", x, x)),
        lambda x: np.linalg.norm(np.outer(x, x)),
        lambda x: np.linalg.norm(x[:, None] - x, axis=0).sum(),
        lambda x: np.sqrt(((x[:, None] - x) ** 2).sum(axis=-1)).sum(),
        lambda x: np.sqrt(np.abs(x) ** 2).sum(),
        lambda x: np.linalg.norm(x, ord=1),
        lambda x: np.linalg.norm(x, ord=3),
        lambda x: np.sqrt(np.var(x)),
    ],
)
def test_norms_at_zero(f: Callable[[Any], Any], dtype: Any) -> None:
    """The minimum-norm subgradient, 0, in both modes; also through the function that leads there."""
    zero = np.zeros(3, dtype)
    direction = np.array([1.0, 2.0, -0.5], dtype)
    np.testing.assert_array_equal(jg.grad(f)(zero), zero)
    assert jg.jvp(f, (zero,), (direction,))[1] == 0
    np.testing.assert_array_equal(jg.grad(lambda x: f(np.sin(x) * x))(zero), zero)
    curvature = jg.jvp(jg.grad(f), (zero,), (direction,))[1]
    assert not np.any(np.isnan(curvature))


@pytest.mark.parametrize(
    ("f", "x", "wanted"),
    [
        (lambda x: np.abs(x), 0.0, 0.0),
        (lambda x: np.maximum(x, 0), 0.0, 0.5),
        (lambda x: np.minimum(x, 0), 0.0, 0.5),
        (lambda x: np.maximum(x, x), 1.0, 1.0),
        (lambda x: np.where(x > 0, x, 0), 0.0, 0.0),
        (lambda x: np.sign(x), 0.0, 0.0),
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**3.0, 0.0, 0.0),
        (lambda x: np.power(0.0, x), 2.0, 0.0),
        (lambda x: np.power(x, 2.0), -3.0, -6.0),
        (lambda x: np.power(-2.0, np.floor(x)), 2.5, 0.0),
        (lambda x: special.xlogy(x, 2.0), 0.0, np.log(2.0)),
        (lambda x: special.xlogy(0.0, x), 0.0, 0.0),
        (lambda x: np.arctan2(x, 1.0), 0.0, 1.0),
        (lambda x: np.arctan2(0.0, x), 1.0, 0.0),
        (lambda x: np.hypot(x, 0.0), 0.0, 0.0),
        (lambda x: np.prod(np.stack([x, x * 0, x])), 0.0, 0.0),
        (lambda x: (x > 0) * x**2, 2.0, 4.0),
        (lambda x: (x > 0) * x**2, -2.0, 0.0),
        (lambda x: np.clip(x, 0, 1), 0.5, 1.0),
        (lambda x: np.clip(x, 0, 1), 2.0, 0.0),
    ],
)
def test_edges(f: Callable[[Any], Any], x: float, wanted: float) -> None:
    """Sub-derivatives as documented, in both modes and precisions."""
    for dtype in (np.float64, np.float32):
        at, one = np.asarray(x, dtype), np.ones((), dtype)
        np.testing.assert_allclose(jg.grad(f)(at), wanted, rtol=1e-6)
        np.testing.assert_allclose(jg.jvp(f, (at,), (one,))[1], wanted, rtol=1e-6)
