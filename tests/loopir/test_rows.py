"""Rows of few elements: several at a time, loops along the row, temporaries of a row."""

from __future__ import annotations

import re

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.loopir import rows

NOTE = "loops that compute several short rows at once"


def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def entropy(x):
    p = softmax(x)
    return -np.sum(p * np.log(p))


def standardised(x):
    z = (x - np.mean(x, axis=1, keepdims=True)) / np.sqrt(np.var(x, axis=1, keepdims=True) + 0.1)
    return np.sum(np.tanh(z) * np.arange(x.shape[1]))


def running(x):
    return np.sum(np.sin(np.cumsum(x, axis=1)))


def neighbours(x):
    wide = np.cos(x)
    return np.sum(wide[:, 1:] * wide[:, :-1] + np.sin(wide[:, :1]))


def by_hand(x):
    """Loops over rows and their elements, with an array for a row and a number that a row carries."""
    total, n = 0.0, x.shape[1]
    for i in range(len(x)):
        row = np.zeros(n)
        carried = 0.5
        for k in range(n):
            carried = carried * 0.9 + x[i, k]
            row[k] = np.exp(-carried * carried)
        for k in range(n):
            total += row[k] * row[n - 1 - k]
    return total


def scaled(x):
    """Sums of columns, in which every row adds to the same numbers."""
    w = np.sum(x[:5], axis=0)
    return np.sum(np.sin(x * w) * w)


ALL = [entropy, standardised, running, neighbours, scaled, by_hand]


@pytest.mark.parametrize("fun", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [3, 8, 15, 17])
def test_values_and_gradients(fun, n, monkeypatch):
    x = np.random.default_rng(n).normal(size=(200, n))
    f = jg.value_and_grad(fun)
    value, gradient = f(x)
    np.testing.assert_allclose(value, fun(x), rtol=1e-11)
    if fun is not by_hand and n in (3, 17):
        assert (NOTE in f.explain(x)) == (n == 3)
    step = 1e-6 * np.random.default_rng(0).normal(size=x.shape)
    np.testing.assert_allclose(np.sum(gradient * step), (fun(x + step) - fun(x - step)) / 2, rtol=1e-5)
    monkeypatch.setattr(rows, "MOST", 0)
    plain = jg.value_and_grad(fun)
    np.testing.assert_allclose(plain(x)[1], gradient, rtol=1e-9, atol=1e-12)
    assert NOTE not in plain.explain(x)


def test_single_precision_and_threads():
    x = np.random.default_rng(0).normal(size=(20_000, 5)).astype(np.float32)
    f = jg.grad(running)
    found, exact = f(x), f(x.astype(np.float64))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)
    assert "runs on threads" in f.explain(x)
    with jg.config.using(parallel=False):
        np.testing.assert_array_equal(jg.grad(running)(x), found)


@pytest.mark.parametrize("n", [5, 16])
def test_large_arguments_of_functions_of_temporaries(n):
    """Rows are computed again by calls of the C library; what each has filled before counts as nothing then."""
    x = np.random.default_rng(n).normal(size=(300, n))
    x[[3, 170], [2, 4]] = 1e12, -3e15
    f = jg.jit(lambda x: np.cumsum(np.cos(np.cumsum(x, axis=1)), axis=1))
    np.testing.assert_allclose(f(x), np.cumsum(np.cos(np.cumsum(x, axis=1)), axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(jg.grad(neighbours)(x)[:3], jg.grad(neighbours)(x[:3]), rtol=1e-12)


def test_several_rows_are_vectors():
    x = np.random.default_rng(0).normal(size=(300, 3))
    for fun in (running, neighbours, standardised):
        with jg.config.using(parallel=False):
            assert re.search(r"^vector\.body", jg.grad(fun).llvm(x), re.MULTILINE), fun


def recurrence(x):
    """Each row needs the one before."""
    y = np.zeros_like(x)
    for i in range(1, len(x)):
        for k in range(3):
            y[i, k] = np.exp(-y[i - 1, k]) + x[i, k]
    return np.sum(y)


def scattered(x, k):
    """Rows may store to the same place."""
    y = np.zeros((10, 3))
    for i in range(len(x)):
        for j in range(3):
            y[k[i], j] = np.exp(x[i, j])
    return np.sum(y)


def test_rows_that_depend_on_others_stay():
    x, k = np.random.default_rng(0).normal(size=(200, 3)), np.random.default_rng(1).integers(0, 10, 200)
    for fun, args in ((recurrence, (x,)), (scattered, (x, k))):
        f = jg.jit(fun)
        np.testing.assert_allclose(f(*args), fun(*args), rtol=1e-12)
        assert NOTE not in f.explain(*args)


def columns(x):
    return np.sum(np.sin(x[:, 0] * x[:, 1]) + np.exp(-(x[:, 3] ** 2)) * x[:, 0])


def test_gradients_of_columns_are_side_by_side():
    """Column 2 stays zero, and no array of zeros is made first."""
    x = np.random.default_rng(0).normal(size=(100, 4))
    f = jg.grad(columns)
    assert "concatenate" in f.ir(x, stage="optimised")
    assert "add_slice" not in f.ir(x, stage="optimised")
    assert not f(x)[:, 2].any()
    jg.testing.check_grads(columns, (x[:5],))


@pytest.mark.parametrize("parts", [((0, 2), (2, 5)), ((3, 5), (0, 2)), ((0, 3), (2, 5)), ((1, 2), (3, 4))])
def test_pieces_that_meet_are_added(parts):
    def fun(x):
        return sum(np.sum(np.sin((k + 1) * x[a:b])) for k, (a, b) in enumerate(parts))

    x = np.linspace(0.3, 1.7, 5)
    expected = np.zeros(5)
    for k, (a, b) in enumerate(parts):
        expected[a:b] += (k + 1) * np.cos((k + 1) * x[a:b])
    np.testing.assert_allclose(jg.grad(fun)(x), expected, rtol=1e-14)


def gram(a):
    return np.sum(np.sin(np.einsum("nij,nkj->nik", a, a)))


def rotations(v):
    """Rodrigues' formula: matrices of three rows, made and multiplied."""
    angle = np.sqrt(np.sum(v * v, axis=1) + 1e-9)
    k, zero = v / angle[:, None], 0 * angle
    rows = [[zero, -k[:, 2], k[:, 1]], [k[:, 2], zero, -k[:, 0]], [-k[:, 1], k[:, 0], zero]]
    m = np.stack([np.stack(row, -1) for row in rows], -2)
    s, c = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.sum((np.eye(3) + s * m + (1 - c) * (m @ m)) ** 2 * np.cos(np.arange(9.0)).reshape(3, 3))


@pytest.mark.parametrize(("fun", "shape"), [(gram, (100, 3, 3)), (gram, (70, 2, 4)), (rotations, (100, 3))])
def test_small_matrices(fun, shape):
    x = np.random.default_rng(0).normal(size=shape)
    f = jg.value_and_grad(fun)
    value, gradient = f(x)
    np.testing.assert_allclose(value, fun(x), rtol=1e-12)
    step = 1e-6 * np.random.default_rng(1).normal(size=shape)
    np.testing.assert_allclose(np.sum(gradient * step), (fun(x + step) - fun(x - step)) / 2, rtol=1e-5)
    if fun is gram:
        assert NOTE in f.explain(x)


def log_softmax(x):
    s = x - np.max(x, axis=1, keepdims=True)
    return s - np.log(np.sum(np.exp(s), axis=1, keepdims=True))


def labelled(x, k):
    return -np.mean(log_softmax(x)[np.arange(len(k)), k])


def along_axis(x, k):
    return np.sum(np.take_along_axis(softmax(x), k[:, None], 1) ** 2)


def compared(x, k):
    return np.sum(np.where(k[:, None] == np.arange(x.shape[1]), log_softmax(x), 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fun", [labelled, along_axis, compared], ids=lambda f: f.__name__)
def test_labels(fun, dtype):
    rng = np.random.default_rng(0)
    for n in (3, 15, 32):
        x, k = rng.normal(size=(130, n)), rng.integers(0 if fun is compared else -n, n, 130)
        f = jg.value_and_grad(fun)
        value, gradient = f(x.astype(dtype), k)
        tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-11}
        assert gradient.dtype == dtype
        np.testing.assert_allclose(value, fun(x, k), **tolerance)
        assert (NOTE in f.explain(x.astype(dtype), k)) == (n < 32)
        if dtype == np.float64:
            step = 1e-6 * rng.normal(size=x.shape)
            np.testing.assert_allclose(np.sum(gradient * step), (fun(x + step, k) - fun(x - step, k)) / 2, rtol=1e-4)
            assert not re.search(r"call .*@llvm\.exp", f.llvm(x, k))


def test_labels_out_of_bounds():
    rng = np.random.default_rng(0)
    f = jg.value_and_grad(labelled)
    for n in (3, 32):
        x, good = rng.normal(size=(500, n)), rng.integers(0, n, 500)
        for place, label in ((0, n), (499, -n - 1), (77, 2**62), (250, -(2**63))):
            bad = good.copy()
            bad[place] = label
            with pytest.raises(IndexError, match=r"return -np\.mean"):
                f(x, bad)
        np.testing.assert_allclose(f(x, good)[0], labelled(x, good), rtol=1e-12)


def gathered(x, k):
    return np.sum(np.exp(x[k]))


def test_functions_of_what_indices_choose():
    """An innermost loop is vectorised; of two arrays of indices the first that is wrong is told of."""
    x, k = np.linspace(-1, 1, 50), np.random.default_rng(0).integers(-50, 50, 300)
    f = jg.jit(gathered)
    np.testing.assert_allclose(f(x, k), gathered(x, k), rtol=1e-13)
    assert "index checks are made after" in f.explain(x, k)
    for wrong in (50, -51):
        with pytest.raises(IndexError, match="out of bounds"):
            f(x, np.where(np.arange(300) == 200, wrong, k))

    def both(x, j, k):
        a = x[j]
        b = x[k]
        return np.sum(np.exp(a * b))

    with pytest.raises(IndexError, match=r"a = x\[j\]"):
        jg.jit(both)(x, np.where(np.arange(300) == 200, 50, k), np.where(np.arange(300) == 100, 50, k))


def test_arrays_at_places_that_a_row_decides():
    """A table of a row, indexed by what the row holds."""

    def fun(x, k):
        total = 0.0
        for i in range(len(x)):
            table = np.exp(x[i])
            table[k[i, 0]] = x[i, 1]
            table[k[i, 1]] += x[i, 2]
            table[k[i, 2]] *= 2.0
            total += table[k[i, 0]] + np.sum(table * x[i])
        return total

    rng = np.random.default_rng(0)
    x, k = rng.normal(size=(100, 3)), rng.integers(-3, 3, (100, 3))
    f = jg.jit(fun)
    np.testing.assert_allclose(f(x, k), fun(x, k), rtol=1e-12)
    assert NOTE in f.explain(x, k)
    k[50, 1] = 3
    with pytest.raises(IndexError, match=r"table\[k\[i, 1\]\] \+="):
        f(x, k)
