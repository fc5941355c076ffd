"""Formulas written naively: values and gradients where the naive ones overflow or cancel, against mpmath.

Each is rewritten, and ``explain()`` says so with the user's line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy import special

import jitgrad as jg

X = np.array([-1000.0, -745.0, -90.0, -5.0, -1.0, -1e-3, 0.0, 1.0, 5.0, 20.0, 90.0, 745.0, 1000.0])


def _softmax(z: Any) -> Any:
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def _three(x: Any) -> Any:
    return np.stack([x, 0 * x, 2 * x], axis=1)


def _pick(x: Any) -> Any:
    return np.log(_softmax(_three(x))[np.arange(x.size), np.zeros(x.size, int)])


def _soft_plus(x: Any) -> Any:
    return mp.log(1 + mp.exp(x))


def _log_softmax(x: Any) -> Any:
    return x - mp.log(mp.exp(x) + 1 + mp.exp(2 * x))


#: As written, the exact function, and a word of the line in explain().
CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], str]] = {
    "softplus": (lambda x: np.log(1 + np.exp(x)), _soft_plus, "softplus"),
    "softplus by log1p": (lambda x: np.log1p(np.exp(x)), _soft_plus, "softplus"),
    "softplus of -x": (lambda x: np.log(np.exp(-x) + 1), lambda x: _soft_plus(-x), "softplus"),
    "softplus by logaddexp": (lambda x: np.logaddexp(0, x), _soft_plus, "softplus"),
    "log-sigmoid": (lambda x: np.log(1 / (1 + np.exp(-x))), lambda x: -_soft_plus(-x), "log_expit"),
    "log of expit": (lambda x: np.log(special.expit(x)), lambda x: -_soft_plus(-x), "log_expit"),
    "log of 1 - sigmoid": (lambda x: np.log(1 - 1 / (1 + np.exp(-x))), lambda x: -_soft_plus(x), "log_expit"),
    "log1p of -expit": (lambda x: np.log1p(-special.expit(x)), lambda x: -_soft_plus(x), "log_expit"),
    "part of log-sigmoid": (lambda x: np.log(special.expit(x)[::-1])[::-1], lambda x: -_soft_plus(-x), "log_expit"),
    "swish": (lambda x: x / (1 + np.exp(-x)), lambda x: x / (1 + mp.exp(-x)), "expit"),
    "mish": (lambda x: x * np.tanh(np.log(1 + np.exp(x))), lambda x: x * mp.tanh(_soft_plus(x)), "softplus"),
    "two terms": (lambda x: np.log(np.exp(x) + np.exp(-x)), lambda x: mp.log(mp.exp(x) + mp.exp(-x)), "logaddexp"),
    "with a constant": (lambda x: np.log(2 + np.exp(x)), lambda x: mp.log(2 + mp.exp(x)), "logaddexp"),
    "log-cosh": (lambda x: np.log(np.cosh(x)), lambda x: mp.log(mp.cosh(x)), "cosh"),
    "log-sum-exp": (
        lambda x: np.log(np.sum(np.exp(_three(x)), axis=1)),
        lambda x: mp.log(mp.exp(x) + 1 + mp.exp(2 * x)),
        "max(x) taken out",
    ),
    "log-mean-exp": (
        lambda x: np.log(np.mean(np.exp(_three(x)), axis=1)),
        lambda x: mp.log((mp.exp(x) + 1 + mp.exp(2 * x)) / 3),
        "max(x) taken out",
    ),
    "log-softmax": (lambda x: np.log(_softmax(_three(x)))[:, 0], _log_softmax, "x - log(sum(exp(x)))"),
    "log of a part of a softmax": (_pick, _log_softmax, "part of an array"),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_extremes(name: str, dtype: Any) -> None:
    f, exact, word = CASES[name]
    x = X.astype(dtype)
    value = jg.jit(f)
    gradient = jg.grad(lambda x: np.sum(f(x)))
    with mp.workdps(60):  # differences with a step of 1e-20 leave 40 digits
        wanted = [float(exact(mp.mpf(float(t)))) for t in x]
        slopes = [float(mp.diff(exact, mp.mpf(float(t)), h=mp.mpf(10) ** -20)) for t in x]
    rounding = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(value(x), wanted, rtol=100 * rounding, atol=rounding)
    np.testing.assert_allclose(gradient(x), slopes, rtol=100 * rounding, atol=rounding)
    lines = [line for line in value.explain(x).splitlines() if word in line]
    assert any("test_stable_formulas.py:" in line for line in lines), value.explain(x)


def test_naive_values_are_kept_where_they_are_right() -> None:
    """Infinities and NaN give what NumPy gives."""
    x = np.array([np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        for f in (
            lambda x: np.log(1 + np.exp(x)),
            lambda x: np.log(np.exp(x) + np.exp(2 * x)),
            lambda x: 1 / (1 + np.exp(-x)),
            lambda x: np.log(np.cosh(x)),
            lambda x: np.log(np.sum(np.exp(np.stack([x, x])), axis=0)),
        ):
            np.testing.assert_array_equal(jg.jit(f)(x), f(x))


def test_cross_entropy_of_extreme_logits() -> None:
    """Softmax and cross-entropy as in a textbook, at logits where it is inf - inf in NumPy."""
    z = np.array([[1000.0, 0.0, -1000.0], [-800.0, 800.0, 0.0]])
    labels = np.array([1, 0])

    def loss(z: Any) -> Any:
        return -np.mean(np.log(_softmax(z)[np.arange(2), labels]))

    value, gradient = jg.value_and_grad(loss)(z)
    np.testing.assert_allclose(value, (1000 + 1600) / 2)
    np.testing.assert_allclose(gradient, [[0.5, -0.5, 0], [-0.5, 0.5, 0]], atol=1e-15)
