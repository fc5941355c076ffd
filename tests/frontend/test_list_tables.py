"""Lists of numbers, and of lists of numbers, whose items recorded loops assign to: tables of dynamic programming."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from tests.frontend.growing_lists import check_recorded, check_unrolled

# -- lists and tables at traced indices --------------------------------------------------------------------------------


def filled(x, w):
    f = [0.0] * 20
    f[0], f[1] = x[0], x[1]
    for i in range(2, 20):
        f[i] = f[i - 1] * 0.5 + f[i - 2] * x[i]
        f[-1] += 0.1 * f[i]
    return f[19], np.array(f)


def edit_distance(x, w):
    a, b = np.array([1, 2, 3, 4, 1, 2, 5, 6, 1, 2]), np.array([1, 3, 4, 4, 1, 5, 5, 6, 2, 2, 7, 1])
    n, m = len(a), len(b)
    d = [[0.0] * (m + 1) for _ in range(n + 1)]
    for i in range(n + 1):
        d[i][0] = i * 1.0
    for j in range(m + 1):
        d[0][j] = j * 1.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            cost = 0.0 if a[i - 1] == b[j - 1] else 1.0 + x[i] ** 2
            d[i][j] = min(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost)
    return d[n][m], np.array(d)


def knapsack(x, w):
    """Whole numbers, of which none is a float."""
    weights, best = np.array([3, 4, 2, 5, 1, 6, 2, 3, 4, 5]), [[0] * 21 for _ in range(11)]
    for i in range(1, 11):
        for c in range(21):
            best[i][c] = best[i - 1][c]
            if weights[i - 1] <= c:
                best[i][c] = max(best[i][c], best[i - 1][c - weights[i - 1]] + int(x[i] > 0) * i)
    return best[-1][-1] * x[0], np.array(best)


def matrix_chain(x, w):
    n = 10
    c = [[0.0 for _ in range(n)] for _ in range(n)]
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length - 1
            c[i][j] = 1e9
            for m in range(length - 1):
                k = i + m
                q = c[i][k] + c[k + 1][j] + (1 + x[i] ** 2) * (1 + x[k + 1] ** 2) * (1 + x[j] ** 2)
                if q < c[i][j]:
                    c[i][j] = q
    return c[0][n - 1], c[3][7]


def sorted_by_hand(x, w):
    xs = [x[0]] * 12
    for i in range(12):
        xs[i] = x[i]
    for _ in range(12):
        for j in range(11):
            if xs[j] > xs[j + 1]:
                xs[j], xs[j + 1] = xs[j + 1], xs[j]
    return np.array(xs)


def rows_as_names(x, w):
    t = [[0.0] * 12 for _ in range(10)]
    for i in range(10):
        row = t[i]
        for j in range(12):
            row[j] = x[i] * x[j] + row[j - 1]
    return np.array(t), t[2][3]


def three_axes(x, w):
    t = [[[0.0] * 9 for _ in range(10)] for _ in range(11)]
    for i in range(11):
        for j in range(10):
            for k in range(9):
                t[i][j][k] = x[i] * x[j] + t[i - 1][j - 1][k] * 0.5 + x[k]
    return np.array(t)


TABLES = [
    filled,
    edit_distance,
    knapsack,
    matrix_chain,
    sorted_by_hand,
    rows_as_names,
    three_axes,
]


@pytest.mark.parametrize("fun", [f for f in TABLES if f is not three_axes], ids=lambda f: f.__name__)
def test_recorded(fun):
    check_recorded(fun)


@pytest.mark.slow
def test_tables_of_three_axes():
    check_recorded(three_axes)


@pytest.mark.parametrize("fun", [f for f in TABLES if f is not three_axes], ids=lambda f: f.__name__)
def test_gradients_are_those_of_the_unrolled_loops(fun):
    check_unrolled(fun)


def eliminated(A, b):
    n = len(b)
    M = [[A[i][j] for j in range(n)] + [b[i]] for i in range(n)]
    for i in range(n):
        p = i
        for r in range(i + 1, n):
            if abs(M[r][i]) > abs(M[p][i]):
                p = r
        M[i], M[p] = M[p], M[i]
        for j in range(i + 1, n):
            f = M[j][i] / M[i][i]
            M[j] = [a - f * c for a, c in zip(M[j], M[i], strict=True)]
    x = [0.0] * n
    for i in range(n - 1, -1, -1):
        x[i] = (M[i][n] - sum(M[i][j] * x[j] for j in range(i + 1, n))) / M[i][i]
    return x


def eliminated_by_a_third_name(A, b):
    M = [[*row, y] for row, y in zip(A, b, strict=True)]
    n = len(M)
    for i in range(n):
        p = i
        for r in range(i + 1, n):
            if abs(M[r][i]) > abs(M[p][i]):
                p = r
        if p != i:
            kept = M[i]
            M[i] = M[p]
            M[p] = kept
        for j in range(n):
            if j != i:
                f = M[j][i] / M[i][i]
                for k in range(i, n + 1):
                    M[j][k] -= f * M[i][k]
    return [M[i][n] / M[i][i] for i in range(n)]


@pytest.mark.parametrize("solve", [eliminated, eliminated_by_a_third_name])
@pytest.mark.parametrize("n", [5, 19])
def test_elimination_that_swaps_rows_of_lists(solve, n):
    rng = np.random.default_rng(n)
    A, b = rng.normal(size=(n, n)), rng.normal(size=n)
    np.testing.assert_allclose(jg.jit(solve)(A, b), np.linalg.solve(A, b), rtol=1e-7)
    if n == 5:
        jg.testing.check_grads(lambda A: sum(solve(A, b)), (A,), order=1, rtol=1e-4)
