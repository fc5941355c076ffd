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


def test_a_list_of_unknown_length_as_a_result():
    x = np.tanh(normal(20))
    for place in (3, 15):
        x[place] = 2.5
        np.testing.assert_allclose(jg.jit(history)(x), history(x), rtol=1e-14)
        x[place] = 0.0


def test_a_table_of_unknown_length_as_a_result_is_refused_with_the_function():
    def table(x):
        return [[v, 2 * v] for v in x if v > 0]

    with pytest.raises(UnsupportedError, match=r"the result of table is a list, and how long") as error:
        jg.jit(table)(normal(20))
    assert error.value.location.function == "table"


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


# -- operators of classes ----------------------------------------------------------------------------------------------


class Sparse:
    """A matrix in rows of its elements that are not 0."""

    def __init__(self, data, indices, starts) -> None:
        self.data, self.indices, self.starts = data, indices, starts

    def __matmul__(self, x):
        y = np.zeros(len(self.starts) - 1)
        for i in range(len(y)):
            for k in range(self.starts[i], self.starts[i + 1]):
                y[i] += self.data[k] * x[self.indices[k]]
        return y


def product(data, x):
    return Sparse(data, np.array([1, 0, 2, 2, 1]), np.array([0, 1, 1, 3, 5])) @ x


class Clamped:
    """A number between -1 and 1; each operator decides by its value."""

    def __init__(self, value) -> None:
        if value > 1.0:
            value = 1.0 + 0.1 * (value - 1.0)
        elif value < -1.0:
            value = -1.0 + 0.1 * (value + 1.0)
        self.value = value

    def __add__(self, other):
        return Clamped(self.value + (other.value if isinstance(other, Clamped) else other))

    __radd__ = __add__

    def __mul__(self, other):
        if not isinstance(other, Clamped):
            return NotImplemented
        return Clamped(self.value * other.value)

    def __rmul__(self, other):
        return Clamped(other * self.value) if other > 0.0 else Clamped(0.5 * other * self.value)

    def __neg__(self):
        return Clamped(-self.value if self.value > 0.0 else -2.0 * self.value)

    def __abs__(self):
        return self.value if self.value > 0.0 else -self.value

    def __lt__(self, other):
        return self.value < other.value if other.value > 0.0 else self.value < 2.0 * other.value

    def __getitem__(self, power):
        found = 1.0
        for _ in range(power):
            found = found * self.value
        return found


class Sharper(Clamped):
    """Its reflected methods come first."""

    def __radd__(self, other):
        return Clamped(3.0 * self.value + (other.value if isinstance(other, Clamped) else other))


def clamped(x):
    total, sharp = Clamped(x[0]), Sharper(0.3 * x[1])
    for k in range(12):
        total = 0.5 + total * Clamped(x[k]) + Clamped(0.3)
        if total < Clamped(x[k + 1]):
            total = -total
    both = x[1] * (total + sharp)
    return both.value, abs(-total), total[3], (sharp + total).value, x[2] > 0.5


def test_operators_of_classes_are_rewritten():
    check_slope(product, normal(5), normal(3))
    check_slope(lambda x: clamped(x)[:4], normal(20))


def test_an_operator_that_no_class_has_fails_as_in_python():
    with pytest.raises(TypeError, match="unsupported operand"):
        jg.jit(lambda x: (Clamped(x) * 2.0).value)(1.0)
    with pytest.raises(TypeError, match="unsupported operand"):
        jg.jit(lambda x: (Clamped(x) - Clamped(x)).value)(1.0)
