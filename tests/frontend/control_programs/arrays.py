"""Loops that write arrays."""

# ruff: noqa: B007

from __future__ import annotations

import numpy as np

from .registry import TABLE, WEIGHTS, M, X, program


@program(X)
def prefix_sums(x):
    y = np.zeros(6)
    y[0] = x[0]
    for i in range(1, 6):
        y[i] = y[i - 1] + x[i]
    return y


@program(X)
def in_place_updates(x):
    y = x.copy()
    for i in range(1, 6):
        y[i] *= y[i - 1]
        y[i] += x[i]
        y[i - 1] /= 2.0
    return y


@program(M)
def slices_that_depend_on_the_index(m):
    y = np.zeros((3, 4))
    for i in range(1, 4):
        y[:i, i] = m[:i, i] * m[0, :i]
        y[i - 1, : i + 1] += np.sum(m[i - 1, :i])
    return y


@program(M)
def rows_in_place(m):
    a = m.copy()
    for i in range(1, 3):
        a[i] -= a[i - 1] * a[i, 0]
        a[i, 1:] = a[i, 1:] * 0.5
    return a


@program(M)
def views_in_loops(m):
    a = m.copy()
    for i in range(3):
        row = a[i]
        row[1:] += row[:-1]
        row[0] = row[-1] * 2
    return a


@program(X)
def ping_pong(x):
    a, b = x.copy(), np.zeros(6)
    for t in range(5):
        for i in range(1, 5):
            b[i] = (a[i - 1] + a[i] * a[i] + a[i + 1]) / 3.0
        a, b = b, a
    return a


@program(X)
def stencil_by_slices(x):
    a = x.copy()
    for t in range(4):
        a[1:-1] = 0.3 * (a[:-2] + a[1:-1] ** 2 + a[2:])
    return a


@program(X)
def array_made_in_the_body(x):
    total = np.zeros(3)
    for i in range(4):
        t = np.zeros(3)
        for k in range(3):
            t[k] = x[i + k] * k
        total = total + np.sin(t)
    return total


@program(M)
def matrix_products(m):
    h = np.ones(4) * 0.1
    for t in range(4):
        h = np.tanh(m.T @ (m @ h))
    return h


@program(X, np.array([2, 0, 5, 1]))
def indirect(x, order):
    s = 0.0
    for k in range(4):
        s = s * 0.5 + x[order[k]] * x[order[k] - 1]
    return s


@program(X, np.array([2, 0, 2, 1]))
def indirect_writes(x, bins):
    y = np.zeros(3)
    for k in range(4):
        y[bins[k]] += x[k] * x[k]
    return y


@program(X)
def reads_a_global_array(x):
    s = 0.0
    for i in range(6):
        s += TABLE[2 * i] * x[i] + TABLE[i] * x[i] ** 2
    return s


@program(X)
def reads_a_global_list(x):
    s = 0.0
    for k in range(3):
        s += WEIGHTS[k] * x[k]
    return s


@program(np.array([0.1, 2.0, 0.0, 1.5, 0.4, 0.2, 1.1]), np.array([0, 2, 2, 5, 7]), np.array([0, 2, 1, 3, 0, 2, 1]))
def sparse_matrix_vector(data, start, columns):
    y = np.zeros(4)
    for i in range(4):
        for k in range(start[i], start[i + 1]):
            y[i] += data[k] * np.sin(data[columns[k]])
    return y


@program(X)
def function_that_writes(x):
    def push(a, i, v):
        a[i] = v
        a[i - 1] += v

    y = x.copy()
    for i in range(1, 6):
        push(y, i, y[i] * y[i - 1])
    return y
