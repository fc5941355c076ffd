"""Loops over ranges, of known and of traced bounds."""

# ruff: noqa: B007

from __future__ import annotations

import numpy as np

from .registry import M, X, program


@program(X)
def range_of_one(x):
    s = 0.0
    for i in range(6):
        s += x[i] * x[i]
    return s


@program(X)
def range_with_start(x):
    s = 0.0
    for i in range(2, 6):
        s += x[i] * i
    return s


@program(X)
def range_with_step(x):
    s = 1.0
    for i in range(1, 6, 2):
        s = s * x[i] + i
    return s


@program(X)
def range_downwards(x):
    s = 0.0
    for i in range(5, -1, -1):
        s = s * 0.5 + x[i]
    return s


@program(X)
def range_downwards_by_two(x):
    s = 0.0
    for i in range(5, 0, -2):
        s = np.sin(s + x[i])
    return s


@program(X)
def empty_range(x):
    s = x[0]
    for i in range(3, 3):
        s = s * x[i]
    for i in range(3, 5, -1):
        s = s * x[i]
    return s


@program(X, 5)
def traced_length(x, n):
    s = 0.0
    for i in range(n):
        s = s * 0.9 + x[i]
    return s


@program(X, 2, 5)
def traced_bounds(x, lo, hi):
    s = 0.0
    for i in range(lo, hi):
        s += np.exp(x[i])
    return s


@program(X, 1, 6)
def traced_bounds_with_step(x, lo, hi):
    s = 0.0
    for i in range(lo, hi, 2):
        s += x[i] * s + x[i]
    return s


@program(X, 5, 0)
def traced_bounds_downwards(x, lo, hi):
    s = 0.0
    for i in range(lo, hi, -1):
        s = s * x[i] + i
    return s


@program(X, 5)
def traced_bounds_downwards_by_three(x, lo):
    s = 1.0
    for i in range(lo, -1, -3):
        s = s * x[i] + i
    return s


@program(X, 4)
def traced_range_that_is_empty(x, n):
    s = x[1] * 2
    for i in range(n, 2):
        s = s * x[i]
    return s


@program(X, 3)
def range_over_sums_of_traced(x, n):
    s = 0.0
    for i in range(n - 2, n + 2):
        s = s * x[i] + x[i - 1]
    return s


@program(M, 3)
def triangular(m, n):
    s = 0.0
    for i in range(n):
        for j in range(i + 1):
            s = s * 0.5 + m[i, j] * m[j, i]
    return s


@program(M)
def triangular_downwards(m):
    s = 0.0
    for i in range(2, -1, -1):
        for j in range(3, i, -1):
            s += m[i, j] * s + m[i, j]
    return s


@program(X, 3)
def length_that_is_computed(x, n):
    m = n * 2
    s = 0.0
    for i in range(min(m, 6)):
        s += x[i] ** 2
    return s


@program(X)
def index_after_the_loop(x):
    i = 0
    for i in range(6):
        pass
    return x[i] * i


@program(X)
def index_arithmetic(x):
    s = 0.0
    for i in range(1, 5):
        s += x[i - 1] * x[i + 1] + x[-i] * x[2 * i % 6] + x[i // 2]
    return s


@program(X)
def index_as_number(x):
    s = 0.0
    for i in range(6):
        s += x[i] / (i + 1) + i**2 * 0.1 + float(i) * 0.5
    return s
