"""Convolutions of ``scipy.signal``: values in every mode, derivatives, and what fits not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import signal

import jitgrad as jg
from jitgrad.testing import check_grads

SHAPES = [((7,), (3,)), ((7,), (4,)), ((3,), (5,)), ((4,), (4,)), ((6, 5), (3, 2)), ((5, 3, 4), (2, 3, 2))]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_convolutions(a: tuple[int, ...], b: tuple[int, ...], mode: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=a), rng.normal(size=b)
    functions = [signal.convolve, signal.correlate, signal.fftconvolve]
    functions += [signal.convolve2d, signal.correlate2d] if x.ndim == 2 else []

    def f(x: Any, y: Any) -> Any:
        return [fun(x, y, mode) for fun in functions]

    for found, wanted, fun in zip(jg.jit(f)(x, y), f(x, y), functions, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12, err_msg=fun.__name__)
    check_grads(f, (x, y), order=1)


def test_what_fits_not() -> None:
    x = np.ones((4, 3))
    for fun, error, text in (
        (lambda x: signal.convolve(x, x[0]), jg.errors.ShapeError, "2 and 1 axes"),
        (lambda x: signal.convolve(x, x, "other"), jg.errors.ArgumentError, "mode 'other'"),
        (lambda x: signal.convolve(x, np.ones((2, 5)), "valid"), jg.errors.ShapeError, "at least as large"),
        (lambda x: signal.convolve2d(x, x, boundary="wrap"), jg.errors.ArgumentError, "zeros only"),
        (lambda x: signal.medfilt(x), jg.errors.UnsupportedError, "scipy.signal.medfilt"),
    ):
        with pytest.raises(error, match=text):
            jg.jit(fun)(x)
