"""Programs as users of NumPy write them, each for a combination of things that went wrong once."""

from __future__ import annotations

import numpy as np
import pytest
from compared import check_slope, normal

import jitgrad as jg
from jitgrad.errors import UnsupportedError

# -- lists that grow in loops which may end early ----------------------------------------------------------------------


class Fit:
    """Steps down a slope; what it has found is in a list and in an attribute."""

    def __init__(self) -> None:
        self.history: list = []
        self.scale = 1.0
        self.converged = False

    def run(self, x, n):
        for k in range(n):
            self.scale *= 0.9
            value = np.sin(x[k]) * self.scale
            self.history.append(value)
            if np.abs(x[k]) > 2.0:
                self.converged = True
                break
        return self


def fitted(x, n):
    fit = Fit().run(x, n)
    return fit.history[-1], fit.scale, len(fit.history), np.sum(fit.history), fit.converged


def rotations(h, m):
    """The residuals of GMRES: two elements of an array are written in each iteration, and a list tells the end."""
    e = np.zeros(m + 1)
    e[0] = 1.0
    errors = [e[0]]
    for k in range(m):
        length = np.hypot(h[k], h[k + 1])
        e[k + 1] = -h[k + 1] / length * e[k]
        e[k] *= h[k] / length
        errors.append(np.abs(e[k + 1]))
        if errors[-1] < 1e-12:
            break
    return e


@pytest.mark.parametrize("n", [2, 5, 20])
def test_a_loop_that_appends_and_ends_early_does_once_what_it_does(n):
    check_slope(lambda h: rotations(h, n), normal(n + 1))


@pytest.mark.parametrize("n", [3, 20])
def test_a_list_that_an_attribute_holds_in_a_loop_that_ends_early(n):
    x = np.tanh(normal(20))
    x[15] = 2.5
    check_slope(lambda x: fitted(x, n)[:4], x)
    assert jg.jit(lambda x: fitted(x, n)[2:])(x)[::2] == fitted(x, n)[2::2]


def test_a_list_of_unknown_length_as_a_result_is_refused_with_the_function():
    with pytest.raises(UnsupportedError, match=r"the result of history is a list, and how long") as error:
        jg.jit(history)(normal(20))
    assert error.value.location.function == "history"


def history(x):
    return Fit().run(x, 20).history


# -- objects that hold others ------------------------------------------------------------------------------------------


class Layer:
    def __call__(self, x):
        return self.forward(x)


class Norm(Layer):
    """Keeps a running mean."""

    def __init__(self, d: int) -> None:
        self.mean = np.zeros(d)

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
        return x - self.mean


class Stack(Layer):
    def __init__(self, *layers: Layer) -> None:
        self.layers = [*layers]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, k):
        return self.layers[k]


def normed(x):
    net = Stack(Norm(3), Norm(3))
    return np.sum(net(x) * net(x)), net[0].mean


def test_objects_that_a_function_makes_may_hold_others_with_state():
    check_slope(normed, normal(4, 3))  # a warning would be an error


# -- tuples or None ----------------------------------------------------------------------------------------------------


def best_of_all(x):
    best = None
    for k in range(len(x)):
        if best is None or x[k] < best[1]:
            best = k, np.sin(x[k]), x * k
    k, value, row = best
    return k, value, row


def smallest_above(x):
    best = None
    for k in range(len(x)):
        if x[k] > 0.5 and (not best or x[k] < best[0]):
            best = x[k], k
    if best is None:
        return -1.0, np.int64(-1)
    return best


def first_outside(x):
    """The tuple has a number from an unrolled loop, and a string."""
    hit = None
    for k in range(len(x)):
        for sign, name in ((1, "up"), (-1, "up")):
            if hit is None and sign * x[k] > 0.8:
                hit = k, sign, name, x[k] ** 2
    return 0.0 if hit is None else hit[3] * hit[1] * len(hit[2])


def searched(x):
    def search(x):
        for k in range(len(x)):
            if x[k] > 0.5:
                return k, x[k]
        return None

    found = search(x)
    return x[0] if found is None else found[0] * found[1]


class Peak:
    def __init__(self) -> None:
        self.at = None

    def see(self, t, v):
        if self.at is None or v > self.at[1]:
            self.at = t, v


def peak(x):
    seen = Peak()
    for t, v in enumerate(x):
        seen.see(t, v)
    return seen.at


@pytest.mark.parametrize("fun", [best_of_all, smallest_above, first_outside, searched, peak])
@pytest.mark.parametrize("x", [normal(20), -np.abs(normal(20)), 0.1 * normal(1)])
def test_a_tuple_or_none(fun, x):
    check_slope(fun, x)


def test_none_in_the_place_of_a_tuple_as_a_result_is_refused():
    with pytest.raises(TypeError, match=r"^a result of found is None for these arguments, and a tuple for others"):
        jg.jit(found)(np.zeros(20))


def found(x):
    hit = None
    for k in range(len(x)):
        if x[k] > 1.0:
            hit = k, x[k]
    return hit
