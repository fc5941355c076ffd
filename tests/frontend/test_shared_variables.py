"""Variables that closures assign (``nonlocal``), where they are called: in the branches, loops and expressions of other
functions, against the same programs without jitgrad."""

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradWarning

POINTS = [np.array([1.5, 2.0, -0.5]), np.array([-1.0, 2.0, 0.3]), np.array([7.5, 8.0, 0.1])]


def called_if(x, count):
    if x[0] > 0:
        count(x[1])
    return x[0]


def in_a_branch(x):
    n, total = 0, 0.0

    def count(v):
        nonlocal n, total
        n += 1
        total += v * v

    y = called_if(x, count)
    return y * n + total


def called_in_a_loop(x, count):
    for i in range(100):
        if x[0] > i:
            count(x[1] * i)


def in_a_loop(x):
    total = 1.0

    def count(v):
        nonlocal total
        total = total + v * total

    called_in_a_loop(x, count)
    return total * x[2]


def counter(start):
    n = start

    def add(v):
        nonlocal n
        n = n + v
        return n

    def reset():
        nonlocal n
        n = start

    return add, reset


def made_by_a_function(x):
    add, reset = counter(0.0)
    for i in range(50):
        v = add(x[i % 3])
        if v > 5:
            reset()
    return v * add(x[0])


def in_expressions(x):
    n = 0

    def seen(v):
        nonlocal n
        n += 1
        return v < 5

    first = (x[0] > 0) and seen(x[1])
    second = (x[0] > 0) or seen(x[2])
    third = seen(x[0]) if x[1] > 3 else False
    chained = 0 < x[0] < seen(x[1]) + 5.0
    return x * n, first, second, third, chained


class Count:
    def __init__(self):
        self.n = 0

    def below(self, v, bound):
        self.n += 1
        return v < bound


def an_attribute_in_expressions(x):
    """The second operand runs where Python runs it, once."""
    c = Count()
    first = c.below(x[0], 5) and c.below(x[1], 5)
    second = c.below(x[2], 0) or c.below(x[1], 5)
    return x * c.n, first, second


def in_a_while(x):
    steps, largest = 0, x[0]

    def step(v):
        nonlocal steps, largest
        steps += 1
        largest = v if v > largest else largest
        return v * 0.7

    def run(v):
        while v > 0.1:
            v = step(v)
        return v

    return run(x[1]) * steps, largest


def arrays(x):
    state = np.zeros(3)

    def push(v):
        nonlocal state
        state = state * 0.5 + v
        state[1] += 1.0

    def all_of(values, f):
        for k in range(20):
            if values[k % 3] > 0:
                f(values * k)

    all_of(x, lambda v: push(v))
    return state


def without_an_effect(x):
    """A closure that may assign and does not."""
    best = 0.0

    def offer(v):
        nonlocal best
        if v > 1e6:
            best = v

    for k in range(30):
        offer(x[k % 3] * k)
    return best + x[0]


def recursive(x):
    calls = 0

    def power(v, k):
        nonlocal calls
        calls += 1
        if k == 0:
            return 1.0
        half = power(v, k // 2)
        return half * half * (v if k % 2 else 1.0)

    y = power(x[0], 11) if x[1] > 1 else power(x[2], 3)
    return y, x[0] * calls


PROGRAMS = [
    in_a_branch,
    in_a_loop,
    made_by_a_function,
    in_expressions,
    an_attribute_in_expressions,
    in_a_while,
    arrays,
    without_an_effect,
    recursive,
]


@pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)
def test_values_and_gradients(fun):
    compiled, gradient = jg.jit(fun), jg.grad(lambda x: np.sum(first(fun(x))))

    def first(result):
        return result[0] if isinstance(result, tuple) else result

    for x in POINTS:
        expected, found = fun(x), compiled(x)
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (found, expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        steps = 1e-6 * np.eye(3)
        differences = [(np.sum(first(fun(x + d))) - np.sum(first(fun(x - d)))) / 2e-6 for d in steps]
        np.testing.assert_allclose(gradient(x), differences, rtol=1e-5, atol=1e-6)


def test_a_variable_that_outlives_the_function_keeps_no_traced_value():
    add, _ = counter(1.0)

    @jg.jit
    def f(x):
        return add(x)

    with pytest.warns(JitgradWarning, match="sets a variable of a function around to a traced value"):
        assert f(2.0) == 3.0
    assert add(0.0) == 1.0
