"""An array that is computed anew at each use is the same numbers at all of them."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.loopir.nodes import Buffer, Load, Scalar, scalar
from jitgrad.loopir.rounding import rounded

F64 = np.dtype(np.float64)
A, B, C, D = (Load(Buffer(name, F64, ()), ()) for name in "abcd")


def op(name, *args):
    return scalar(name, *args)


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (op("multiply", A, B), op("product", A, B)),
        (op("square", A), op("product", A, A)),
        (op("add", op("multiply", A, B), C), op("fma", A, B, C)),
        (op("add", C, op("multiply", A, B)), op("fma", A, B, C)),
        (op("subtract", op("multiply", A, B), C), op("fma", A, B, op("negative", C))),
        (op("subtract", C, op("multiply", A, B)), op("fma", op("negative", A), B, C)),
        (op("subtract", C, op("negative", op("square", A))), op("fma", op("negative", op("negative", A)), A, C)),
        (op("add", op("multiply", A, B), op("multiply", C, D)), op("fma", A, B, op("product", C, D))),
        (op("add", op("product", A, B), C), op("add", op("product", A, B), C)),
        (op("tanh", op("add", A, op("multiply", B, C))), op("tanh", op("fma", B, C, A))),
        (op("less", op("multiply", A, B), C), op("less", op("multiply", A, B), C)),
    ],
    ids=str,
)
def test_products_are_fused_or_rounded(e, expected):
    assert rounded(e) == expected


def test_integers_stay():
    i = Load(Buffer("i", np.dtype(np.int64), ()), ())
    e = Scalar("add", (Scalar("multiply", (i, i), i.dtype), i), i.dtype)
    assert rounded(e) is e


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(8))
def test_the_greatest_element_is_found_where_a_product_is_shared(dtype, seed):
    """The product goes into the maximum's argument alone in one nest, and into a second sum as well in the other."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 4, 3)).astype(dtype), rng.normal(size=(2, 4, 3)).astype(dtype)

    def fun(x, y):
        z = x * y + np.sum(x * y, axis=(0, 2), keepdims=True) ** 2 * 0.01
        p = z * y
        z = z - 0.1 * p
        total = np.sum(z * p) * 0.1
        return total + np.sum((z + np.max(z, axis=(0, 2), keepdims=True) * 0.3) ** 2)

    got = jg.grad(fun)(x, y)
    assert got.dtype == dtype
    d = rng.normal(size=x.shape)
    x, y = x.astype(np.float64), y.astype(np.float64)
    slope = (fun(x + 1e-6 * d, y) - fun(x - 1e-6 * d, y)) / 2e-6
    np.testing.assert_allclose(np.sum(got * d), slope, rtol=1e-3 if dtype is np.float32 else 1e-5)
