"""Masks that depend on traced values as indices: what they select has an extent that is known when the program runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ShapeError
from jitgrad.testing import check_grads

RNG = np.random.default_rng(3)
X = RNG.normal(size=50)
A = RNG.normal(size=(6, 7))
CUBE = RNG.normal(size=(4, 5, 3))
K = RNG.integers(0, 9, 40)


def flat(result: Any) -> list[np.ndarray]:
    return [a for r in result for a in flat(r)] if isinstance(result, (tuple, list)) else [np.asarray(result)]


def check(fun: Callable[..., Any], *args: Any) -> None:
    """Compiled, the function gives what NumPy gives, and changes its arguments as it does there."""
    copies = [np.copy(a) for a in args]
    expected = flat(fun(*args))
    found = flat(jg.jit(fun)(*copies))
    for x, y in zip([*found, *copies], [*expected, *args], strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


def selected(x: Any) -> Any:
    v = x[x > 0.3]
    return v.sum(), v.mean(), v.max(), v @ v, np.cumsum(v)[-1], len(v), v.size, x[x > 99].sum()


def of_rows(a: Any) -> Any:
    first = a[:, 0] > 0
    return a[first].sum(), a[first, 1].sum(), a[:, a[0] > 0].sum(axis=1), a[1:, ::2][a[1:, ::2] < 0].sum()


def of_cubes(c: Any) -> Any:
    front, back = c[:, :, 0] > 0, c[0] > 0
    return (
        c[front].sum(axis=0),
        c[:, back].sum(axis=1),
        c[..., back].sum(axis=1),
        c[front, 1].sum(),
        c[None, c > 0].sum(),
    )


def through_functions(a: Any) -> Any:
    i, j = np.nonzero(a > 0)
    return (
        np.sum(a[i, j] * i - j),
        np.flatnonzero(a > 0).sum(),
        np.argwhere(a > 0).sum(axis=0),
        np.where(a > 0)[1].sum(),
        np.compress(a[0] > 0, a, axis=1).sum(axis=1),
        np.extract(a > 0, a).sum(),
        (a > 0).nonzero()[0].sum(),
        a.compress(a.ravel() > 0).sum(),
    )


def written(a: Any) -> Any:
    a[a > 0] = a[a > 0] ** -1.5
    a[a < 0] *= np.exp(a[a < 0])
    a[:, a[0] > 1] = a[:, a[0] > 1] + 1
    a[a[:, 1] < 0, 2] = 5.0
    view = a[1:, ::2]
    view[view > 2] = np.cumsum(view[view > 2])
    return a.sum()


def in_a_loop(x: Any) -> Any:
    total, means = 0.0, np.zeros(20)
    for k in range(20):
        inside = np.logical_and(x >= 0.1 * k - 1, x < 0.1 * k)
        means[k] = x[inside].mean()
        total += len(x[inside])
    return means, total


def of_a_mask(x: Any) -> Any:
    y = x.copy()
    v = y[y > 0]
    u = v[v < 1]
    v[v > 1] = 1.0
    y[y > 0] = v
    return y, u.sum(), len(u), v[np.argmax(v)]


def still_moving(x: Any) -> Any:
    """Newton's method where it has not converged."""
    y, steps = np.ones_like(x), 0
    while steps < 50:
        error = y * y - np.abs(x)
        active = np.abs(error) > 1e-13
        if not active.any():
            break
        y[active] = y[active] - error[active] / (2 * y[active])
        steps += 1
    return y


def in_branches(x: Any) -> Any:
    total = x[x > x[0]].sum()
    if x[1] > 0:
        total += x[x > x[0]].mean()
    else:
        total -= len(x[x > x[1]])
    return total


def csr(rows: Any, columns: Any, values: Any, x: Any) -> Any:
    """The rows' bounds are read twice: both slices have one extent."""
    y = np.empty(rows.size - 1)
    for i in range(rows.size - 1):
        where = columns[rows[i] : rows[i + 1]]
        y[i] = values[rows[i] : rows[i + 1]] @ x[where]
    return y


@pytest.mark.parametrize(
    ("fun", "args"),
    [
        (selected, (X,)),
        (selected, (X.astype(np.float32),)),
        (selected, (A,)),
        (of_rows, (A,)),
        (of_cubes, (CUBE,)),
        (through_functions, (A,)),
        (written, (A,)),
        (in_a_loop, (X,)),
        (of_a_mask, (X,)),
        (still_moving, (X,)),
        (in_branches, (X,)),
        (in_branches, (-X,)),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_masks(fun: Callable[..., Any], args: tuple[Any, ...]) -> None:
    rtol = 1e-5 if args[0].dtype == np.float32 else 1e-12
    expected = flat(fun(*[a.copy() for a in args]))
    copies = [a.copy() for a in args]
    for x, y in zip(flat(jg.jit(fun)(*copies)), expected, strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_allclose(x, y, rtol=rtol)


def test_an_argument_is_written_through_its_mask() -> None:
    a, b = A.copy(), A.copy()
    jg.jit(written)(a)
    written(b)
    np.testing.assert_allclose(a, b, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint32])
def test_slices_between_numbers_that_are_read_twice(dtype: Any) -> None:
    rows, columns = np.array([0, 2, 2, 5], dtype), np.array([0, 3, 1, 2, 3], dtype)
    check(csr, rows, columns, X[:5], X[:4])
    check_grads(lambda v, x: csr(rows, columns, v, x), (X[:5], X[:4]), order=1)


def test_reverse_mode_searches_again() -> None:
    program = jg.grad(lambda x: np.sum(in_a_loop(np.exp(x))[0] ** 2)).explain(X)
    assert all(f"f64[20,{len(X)}]" not in line for line in program.splitlines() if "tape of" in line)


def test_gradients_go_through_masks() -> None:
    check_grads(lambda x: [np.sum(v) for v in selected(x)[:4]], (X,))
    check_grads(lambda a: written(a.copy()), (A,), order=1)
    check_grads(lambda x: in_a_loop(x)[0], (X,), order=1)
    check_grads(lambda x: of_a_mask(x)[0], (X,), order=1)
    check_grads(in_branches, (X,), order=1)
    check_grads(still_moving, (np.abs(X) + 0.5,), order=1)


def test_a_mask_is_searched_once() -> None:
    def fun(x: Any) -> Any:
        y = np.exp(x)
        return np.sum(x[y > 1] * y[y > 1])

    assert str(jg.trace(fun, X)).count(" positions(") == 1
    check(fun, X)


def test_a_sum_of_what_a_mask_selects_needs_no_places() -> None:
    fun = jg.jit(lambda x: x[x > 0].mean())
    assert "positions(" in fun.ir(X, stage="traced") and "positions(" not in fun.ir(X, stage="optimised")
    np.testing.assert_allclose(fun(X), X[X > 0].mean(), rtol=1e-13)
    holes = np.where(X > 0, X, np.nan)  # what is not selected has no influence
    np.testing.assert_allclose(fun(holes), X[X > 0].mean(), rtol=1e-13)
    np.testing.assert_allclose(jg.grad(lambda x: fun(x))(holes), (X > 0) / np.sum(X > 0), rtol=1e-13)
    assert np.isnan(fun(-np.abs(X)))


def test_a_mask_that_was_computed_of_other_contents_is_another() -> None:
    def fun(x: Any) -> Any:
        n = len(x[x > 0])
        x[:25] = -1.0
        return n, len(x[x > 0]), x[x > 0].sum()

    check(fun, X.copy())


def histograms(x: Any, w: Any) -> Any:
    return (
        np.histogram(x, 7),
        np.histogram(x, bins=5, range=(-0.5, 0.5), weights=w),
        np.histogram(x, 5, density=True)[0],
        np.histogram(x, np.array([-1, 0.1, 0.2, 2.0]))[0],
        np.histogram(np.zeros(3) * x[0], 4),
    )


def test_histograms() -> None:
    check(histograms, X, X[::-1].copy())
    check(lambda x: np.histogram(x, 3), X.astype(np.float32))
    check(lambda k: np.histogram(k, 4), K)
    check(lambda k: np.histogram(k, np.arange(9), weights=k), K)
    check(lambda x: np.histogram(x, 2), np.array([[np.nan, 1.0], [2.0, 4.0]])[:, 1:])
    check_grads(lambda w: np.histogram(X, 5, weights=w)[0], (X,), order=1)


def test_elements_on_the_edges_of_bins_are_counted_as_in_numpy() -> None:
    for n in range(1, 30):
        edges = 0.25 * np.arange(-3, n - 2)  # exact, however sums are rounded
        around = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 9)])
        check(lambda x, n=n: np.histogram(x, n), around)


def counted(k: Any, w: Any) -> Any:
    plain, weighted = np.bincount(k, minlength=12), np.bincount(k, weights=w)
    return plain @ np.arange(len(plain)), np.sum(weighted**2), len(weighted)


def test_bincount_of_traced_numbers() -> None:
    check(counted, K, RNG.normal(size=40))
    check_grads(lambda w: counted(K, w)[1], (RNG.normal(size=40),))
    check_grads(lambda w: np.bincount(K, weights=w), (RNG.normal(size=40),))


def deposited(x: Any, nodes: int) -> Any:
    """The charge of particles at the nodes of a periodic grid, linear between two of them."""
    below = np.floor(x).astype(int) % nodes
    part = x - np.floor(x)
    charge = np.bincount(below, weights=1 - part, minlength=nodes)
    charge += np.bincount((below + 1) % nodes, weights=part, minlength=nodes)
    return charge


def threshold(image: Any) -> Any:
    """Otsu's: the grey value that parts an image best."""
    p = np.bincount(image.ravel(), minlength=256) / image.size
    weight, mean = np.cumsum(p), np.cumsum(p * np.arange(256))
    return np.argmax((mean[-1] * weight - mean) ** 2 / (weight * (1 - weight) + 1e-12))


def test_a_minlength_is_the_length() -> None:
    x = RNG.uniform(0, 8, 100)
    check(lambda x: deposited(x, 8), x)
    np.testing.assert_allclose(jg.jit(deposited)(x, 8), deposited(x, 8))
    check_grads(lambda x: deposited(x, 8), (x,), order=1)
    for dtype in (int, np.uint8, np.int16):
        check(threshold, RNG.integers(0, 256, (8, 9)).astype(dtype))
    check(lambda j, k: np.bincount(j, minlength=9) + np.bincount(k, minlength=9), K, K[:7])
    check(lambda j: [np.bincount(j[:n], minlength=9) for n in range(3)], K)


def test_numbers_that_bincount_does_not_take() -> None:
    f = jg.jit(lambda k: np.bincount(k, minlength=4))
    with pytest.raises(jg.errors.IndexBoundsError, match="met the number 6, with minlength=4") as caught:
        f(np.array([1, 6, 2]))
    assert __file__ in str(caught.value)
    np.testing.assert_array_equal(f(np.array([1, 3, 2])), [0, 1, 1, 1])
    for g in (f, jg.jit(lambda k: np.sum(np.bincount(k)))):
        with pytest.raises(ValueError, match="no negative elements"):
            g(np.array([1, -1, 2]))


def made_by_the_class(x: Any) -> Any:
    a, b = np.ndarray(x.shape), np.ndarray((len(x), 2), dtype=np.float32, order="F")
    for i in range(len(x)):
        a[i] = x[i] * 2
        b[i] = i
    return a, b, isinstance(a, np.ndarray)


def test_arrays_made_by_their_class() -> None:
    check(made_by_the_class, X)
    check_grads(lambda x: made_by_the_class(x)[0], (X,))


def labelled(x: Any, a: Any) -> Any:
    labels, ranks = np.zeros(len(x)), np.zeros(a.shape, dtype=np.int64)
    mask = x > 0.3
    labels[mask] = np.arange(1, mask.sum() + 1) * x[0]
    labels[x < -0.3] = np.full(np.count_nonzero(x < -0.3), x[1])
    ranks[a > 0] = np.arange((a > 0).sum())
    total = 0.0
    for i in range(60):
        above, line = x > 0.03 * i, np.zeros(len(x))
        line[above] = np.arange(above.sum()) * x[2]
        if x[3] < 0.5 * i:
            line[above] += np.ones(np.sum(above))
        total = total + line.sum()
    return labels, ranks, total


def test_the_sum_of_a_mask_is_how_many_it_selects() -> None:
    check(labelled, X, A)
    check_grads(lambda x: labelled(x, A)[0].sum() + labelled(x, A)[2], (X,))
    with pytest.raises(ShapeError, match="known to be equal"):
        jg.jit(lambda x: wrong_count(x))(X)


def wrong_count(x: Any) -> Any:
    labels = np.zeros(len(x))
    labels[x > 0.0] = np.arange((x > 0.5).sum())
    return labels


@pytest.mark.parametrize("least", [0.0, 0.95, 9.0])
def test_running_products_of_a_selection_that_may_be_empty(least):
    """Nothing is written where there are no elements."""

    def fun(x, least):
        y = x[x > least]
        return np.prod(y) + np.sum(np.cumprod(y)) + np.sum(np.cumsum(y) ** 2)

    x, d = np.linspace(0.5, 1.5, 6), np.cos(np.arange(6.0))
    gradient = jg.grad(fun)
    slope = (fun(x + 1e-6 * d, least) - fun(x - 1e-6 * d, least)) / 2e-6
    np.testing.assert_allclose(gradient(x, least) @ d, slope, rtol=1e-7, atol=1e-9)
    bent = (gradient(x + 1e-6 * d, least) - gradient(x - 1e-6 * d, least)) / 2e-6
    np.testing.assert_allclose(jg.jvp(lambda x: gradient(x, least), (x,), (d,))[1], bent, rtol=1e-6, atol=1e-8)
