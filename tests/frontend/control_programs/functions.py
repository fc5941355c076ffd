"""Functions, nested and built in, and the other statements of Python."""

# ruff: noqa: B007, E731

from __future__ import annotations

import math

import numpy as np

from .registry import X, program


def _square_if_positive(v):
    if v > 0:
        return v * v
    return 0.5 * v


def _sum_until(x, limit):
    s = 0.0
    for v in x:
        if s > limit:
            break
        s += v * v
    return s


@program(X)
def calls_functions_with_control_flow(x):
    s = 0.0
    for v in x:
        s += _square_if_positive(v)
    return s * _sum_until(x, 1.0)


@program(X)
def nested_function(x):
    scale = x[0]

    def f(v):
        if v > 0:
            return v * scale
        return v - scale

    s = 0.0
    for v in x:
        s += f(v)
    return s


@program(X)
def lambda_with_a_branch(x):
    f = lambda v: v * v if v > 0 else -v
    s = 0.0
    for i in range(6):
        s += f(x[i])
    return s


def _power(v, n):
    if n == 0:
        return 1.0
    return v * _power(v, n - 1)


@program(X)
def recursion(x):
    return _power(x[0], 3) + _power(x[1], 2)


@program(X)
def python_functions(x):
    s = 0.0
    for i in range(1, 6):
        s += max(x[i], x[i - 1]) * min(x[i], 0.5) + abs(x[i])
        s += math.sin(x[i]) * math.exp(-abs(x[i])) + math.sqrt(x[i] * x[i] + 1.0)
    return s


@program(X)
def clipped_by_max_and_min(x):
    s = 0.0
    for v in x:
        s += max(0.0, min(1.0, v)) ** 2 * v
    return s


@program(X)
def extremes_of_collections(x):
    named = {"low": x[0], "high": x[3]}
    longest = max(named, key=len)
    return max(named.values()) * min(v for v in (x[1], x[2])) * max({1, 2}) + named[longest] + named[min(named)]


@program(X)
def round_to_integers(x):
    s = 0.0
    for i in range(6):
        k = int(i / 2)
        s += x[k] * math.floor(i * 0.4)
    return s


def _pairs(x):
    for i in range(5):
        yield x[i], x[i + 1]


@program(X)
def generator_function(x):
    s = 0.0
    for a, b in _pairs(x):
        s += a * b * b
    return s


@program(X)
def with_statement(x):
    s = 0.0
    for i in range(6):
        with np.errstate(all="ignore"):
            s += np.sqrt(x[i] * x[i] + 1)
    return s


@program(X)
def try_around_a_loop(x):
    s = 0.0
    try:
        for i in range(6):
            s += x[i] * x[i]
    finally:
        s = s * 2
    return s


@program(X)
def assertion(x):
    s = 0.0
    for i in range(6):
        assert x[i] < 10, "too large"
        assert i < 6
        s += x[i] ** 2
    return s


@program(X)
def walrus(x):
    s = 0.0
    for i in range(6):
        if (v := x[i] * x[i]) > 0.5:
            s += v
    return s


@program(X)
def augmented_operators(x):
    a = x.copy()
    for i in range(1, 6):
        a[i] += 1.0
        a[i] -= x[0]
        a[i] *= 2.0
        a[i] /= 3.0
        a[i] **= 2
    return a


@program(X)
def delete_a_variable(x):
    s = 0.0
    for i in range(6):
        t = x[i] * 2
        s += t
        del t
    return s


@program(X)
def draws_random_numbers(x):
    rng = np.random.default_rng(0)
    s = 0.0
    for i in range(12):
        s += np.sum(x * rng.normal(size=6))
    return s


@program(X, 6)
def nonlocal_names_in_loops(x, n):
    """Closures that count and add up in loops and branches of their own, one of them before the name is bound."""
    total, steps = 0.0, 0

    def add(v):
        nonlocal total, steps
        steps += 1
        if v > 0:
            total += v * v
        else:
            total -= 0.1 * v * total

    def run(k):
        nonlocal best
        best = x[0]
        for i in range(n):
            add(x[i] * k)
            if x[i] > best:
                best = x[i]
                if steps > 8:
                    break

    for k in range(1, 3):
        run(k)
    best = best * 2  # noqa: F821
    return total * best + steps
