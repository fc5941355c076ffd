"""Loops over arrays, and over what enumerate, zip and reversed make of them."""

# ruff: noqa: B905

from __future__ import annotations

import numpy as np

from .registry import WEIGHTS, M, X, program


@program(X)
def over_elements(x):
    s = 0.0
    for v in x:
        s = s * 0.5 + v * v
    return s


@program(M)
def over_rows(m):
    total = np.zeros(4)
    for row in m:
        total = total * 0.5 + np.sin(row)
    return total


@program(M)
def over_rows_and_elements(m):
    s = 0.0
    for row in m:
        for v in row:
            s = s * 0.9 + v
    return s


@program(X)
def with_enumerate(x):
    s = 0.0
    for i, v in enumerate(x):
        s += i * v * v
    return s


@program(X)
def with_enumerate_from_one(x):
    s = 0.0
    for i, v in enumerate(x, 1):
        s = s * 0.5 + v / i
    return s


@program(X, X[::-1].copy())
def with_zip(x, y):
    s = 0.0
    for a, b in zip(x, y):
        s += a * b * b
    return s


@program(X, M)
def with_zip_of_different_lengths(x, m):
    s = 0.0
    for a, row in zip(x, m):
        s += a * np.sum(row * row)
    return s


@program(X)
def with_reversed(x):
    s = 0.0
    for v in reversed(x):
        s = s * 0.5 + v
    return s


@program(X)
def with_reversed_range(x):
    s = 0.0
    for i in reversed(range(1, 6, 2)):
        s = s * 0.5 + x[i] * i
    return s


@program(X, X + 1)
def enumerate_of_zip(x, y):
    s = 0.0
    for k, (a, b) in enumerate(zip(x, y)):
        s = s * 0.3 + k * a * b
    return s


@program(X, X + 1)
def zip_of_enumerate_and_reversed(x, y):
    s = 0.0
    for (k, a), b in zip(enumerate(x), reversed(y)):
        s = s * 0.3 + k * a * b
    return s


@program(X)
def zip_of_range_and_slices(x):
    s = 0.0
    for i, a, b in zip(range(1, 6), x[1:], x[:-1]):
        s += a * b * i
    return s


@program(X)
def over_a_slice(x):
    s = 0.0
    for v in x[4:0:-1]:
        s = s * x[0] + v
    return s


@program(X)
def over_a_list_of_arrays(x):
    s = 0.0
    for a in [x, x * 2, np.sin(x)]:
        s += np.sum(a * a)
    return s


@program(X)
def over_a_python_list(x):
    s = 0.0
    for w in WEIGHTS:
        s = s + w * x[1] * s + x[2] * w
    return s
