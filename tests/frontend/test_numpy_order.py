"""np.lexsort and np.unique on traced values, against NumPy and central differences."""

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.testing import check_grads

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_lexsort_orders_by_the_last_key_first(n):
    for _ in range(5):
        a, b, c = RNG.integers(0, 3, n), RNG.integers(0, 2, n).astype(float), RNG.integers(0, 2, n) > 0
        np.testing.assert_array_equal(jg.jit(lambda *k: np.lexsort(k))(a, b, c), np.lexsort((a, b, c)))
    np.testing.assert_array_equal(jg.jit(np.lexsort)(np.stack([a, b])), np.lexsort(np.stack([a, b])))


def test_lexsort_of_tables_is_refused():
    with pytest.raises(ArgumentError, match="one axis"):
        jg.jit(lambda x: np.lexsort((x, x)))(np.ones((2, 2)))


def used(x):
    """What becomes of the different elements, in shapes that are known."""
    values, index, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    weight = np.cumsum(np.ones(values.shape[0]))
    return len(values), values @ weight, index @ weight, values[inverse], counts @ weight, inverse


@pytest.mark.parametrize(
    "x",
    [
        *(RNG.integers(0, 4, 12), RNG.integers(0, 4, (3, 5)), RNG.integers(0, 3, 9) / 2, RNG.normal(size=7)),
        *(np.array([2.0, 2.0, 2.0]), np.array([3.0]), RNG.integers(0, 3, 8).astype(np.float32)),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
def test_unique_is_numpys(x):
    for got, want in zip(jg.jit(used)(x), used(x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_nan_is_one_element_or_many():
    x = np.array([np.nan, 1.0, np.nan, 1.0])
    assert jg.jit(lambda x: len(np.unique(x)))(x) == 2
    assert jg.jit(lambda x: len(np.unique(x, equal_nan=False)))(x) == 3


def thresholds(x, y):
    """The best split of a decision stump: a loop over the different values."""
    best = np.inf
    for t in np.unique(x):
        left = y[x <= t]
        right = y[x > t]
        if len(right) == 0:
            continue
        cost = np.sum((left - left.mean()) ** 2) + np.sum((right - right.mean()) ** 2)
        if cost < best:
            best = cost
    return best


def test_a_loop_over_the_different_elements():
    x, y = RNG.integers(0, 5, 20) * 1.0, RNG.normal(size=20)
    np.testing.assert_allclose(jg.jit(thresholds)(x, y), thresholds(x, y))
    check_grads(lambda y: thresholds(x, y), (y,))


def test_the_gradient_of_unique_goes_to_the_first_of_equals():
    x = np.array([3.0, 1.0, 3.0, 2.0])
    g = jg.grad(lambda x: np.sum(np.unique(x) ** 2))(x)
    np.testing.assert_array_equal(g, [6.0, 2.0, 0.0, 4.0])


def test_unique_rows_are_refused():
    with pytest.raises(UnsupportedError, match="axis"):
        jg.jit(lambda x: np.unique(x, axis=0))(np.ones((3, 2)))


def test_unique_forms_of_the_array_api():
    x = np.array([[3.0, 1.0, np.nan], [3.0, np.nan, 2.0]])

    def f(x):
        found = np.unique_all(x)
        return (
            *(np.unique_values(x), *np.unique_counts(x), *np.unique_inverse(x), found.values, found.indices),
            *(found.inverse_indices, found.counts),
        )

    for got, want in zip(jg.jit(f)(x), f(x), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
