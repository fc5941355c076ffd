"""Loops that are left early: break, continue and return."""

from __future__ import annotations

from .registry import M, X, program


@program(X)
def with_break(x):
    s = 0.0
    for v in x:
        if v > 1:
            break
        s += v * v
    return s


@program(X)
def break_before_and_after(x):
    s, k = 0.0, 0
    for i in range(6):
        s += x[i] * x[i]
        if s > 2.2:
            k = i
            break
        s *= 1.1
    return s * (k + 1)


@program(X)
def break_on_the_index(x):
    s = 0.0
    for i in range(100):
        if i >= 6:
            break
        s += x[i] * i
    return s


@program(X)
def with_continue(x):
    s = 0.0
    for v in x:
        if v < 0:
            continue
        s = s * 0.5 + v
    return s


@program(X)
def break_and_continue(x):
    s = 0.0
    for i in range(6):
        if x[i] < -1:
            continue
        if x[i] > 1.2:
            break
        s += x[i]
    return s


@program(X)
def for_else(x):
    s = 0.0
    for v in x:
        s += v
        if s > 100:
            break
    else:
        s = s * x[0]
    return s


@program(X)
def for_else_that_breaks(x):
    s = 0.0
    for v in x:
        s += v * v
        if s > 2:
            break
    else:
        s = s + 1000.0
    return s


@program(X)
def return_in_loop(x):
    for v in x:
        if v > 1:
            return v * v
    return x[0] * 0.1


@program(M)
def return_in_nested_loops(m):
    s = 0.0
    for i in range(3):
        for j in range(4):
            s += m[i, j]
            if s > 1.8:
                return s * m[i, j]
    return s


@program(M)
def break_of_the_inner_loop(m):
    total = 0.0
    for i in range(3):
        s = 0.0
        for j in range(4):
            s += m[i, j] * m[i, j]
            if s > 0.8:
                break
        total += s * (j + 1)
    return total


@program(M)
def break_of_both_loops(m):
    total, done = 0.0, False
    for i in range(3):
        for j in range(4):
            total += m[i, j] * m[i, j]
            if total > 2.0:
                done = True
                break
        if done:
            break
    return total


@program(M)
def continue_of_the_outer_loop(m):
    total = 0.0
    for i in range(3):
        if m[i, 0] < 0:
            continue
        for j in range(4):
            if m[i, j] < 0:
                continue
            total += m[i, j] ** 2
    return total


@program(X, 6)
def break_of_a_traced_range(x, n):
    s = 0.0
    for i in range(n):
        if x[i] > 1:
            break
        s += x[i] * x[i]
    return s


@program(X, 6)
def return_of_a_traced_range(x, n):
    s = 1.0
    for i in range(n):
        s = s * (1 + x[i] * x[i])
        if s > 4:
            return s * i
    return s
