"""While loops."""

from __future__ import annotations

import numpy as np

from .registry import X, program


@program(2.0)
def newton_square_root(a):
    x = a
    while abs(x * x - a) > 1e-12:
        x = 0.5 * (x + a / x)
    return x


@program(X, 5)
def while_with_a_counter(x, n):
    i = 0
    s = 1.0
    while i < n:
        s = np.sin(s * x[i])
        i += 1
    return s


@program(X)
def while_that_never_runs(x):
    s = x[0]
    while s > 100.0:
        s = s * 0.5
    return s * x[1]


@program(X)
def while_with_else(x):
    i, s = 0, 1.0
    while s < 20.0:
        s = s * (1.5 + x[i] * x[i])
        i += 1
    else:
        s = s + x[0]
    return s


@program(X)
def while_with_else_and_break(x):
    i, s = 0, 1.0
    while s < 20.0:
        s = s * (1.5 + x[i] * x[i])
        if i >= 2:
            break
        i += 1
    else:
        s = s + 100.0
    return s


@program(X)
def while_in_for(x):
    total = 0.0
    for i in range(6):
        v = x[i] * x[i]
        while v < 1.0:
            v = v * 1.7 + 0.1
        total += v
    return total


@program(X)
def for_in_while(x):
    s = 0.1
    while s < 3.0:
        for i in range(3):
            s = s + 0.5 * x[i] * x[i]
    return s


@program(X)
def while_in_while(x):
    s, t = 0.1, 0.0
    while s < 3.0:
        t = s
        while t < 2.0:
            t = t * 1.5 + x[0] * x[0]
        s = s + t * 0.3
    return s + t


@program(X)
def while_true_with_break(x):
    i, s = 0, 0.0
    while True:
        s = s + x[i] * x[i]
        if s > 2.0:
            break
        i = i + 1
    return s * i


@program(X)
def while_with_an_array_condition(x):
    while np.max(np.abs(x)) > 0.5:
        x = x * 0.7
    return x
