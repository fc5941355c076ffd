"""Attributes, and items of dicts and lists, that recorded loops and branches change."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradWarning, RollError
from jitgrad.frontend.signature import flatten
from jitgrad.testing import check_grads

XS = np.sin(np.arange(20.0))


def agree(f, *args) -> None:
    """The same values under jit, without a warning, and the loops of the program are recorded."""
    compiled = jg.jit(f)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = compiled(*args)
    want = f(*args)
    for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert "unrolled" not in compiled.explain(*args)


class Filter:
    """An exponential average, which counts what it has seen."""

    def __init__(self, gain) -> None:
        self.gain, self.mean, self.seen = gain, 0.0, 0

    def update(self, x):
        self.mean = self.mean + self.gain * (x - self.mean)
        self.seen += 1
        return self.mean


def filtered(xs, gain):
    one = Filter(gain)
    out = np.zeros(len(xs))
    for k in range(len(xs)):
        out[k] = one.update(xs[k])
    return out, one.seen


def test_attributes_in_a_loop() -> None:
    agree(filtered, XS, 0.3)
    check_grads(lambda xs, gain: np.sum(filtered(xs, gain)[0] ** 2), (XS, 0.3))


def test_arrays_in_attributes_are_written_and_replaced() -> None:
    class Model:
        def __init__(self) -> None:
            self.weights, self.bias = np.zeros(0), 0.0

        def fit(self, x, y):
            self.weights, self.bias = np.zeros(x.shape[1]), 0.0
            for _ in range(15):
                error = x @ self.weights + self.bias - y
                self.weights -= 0.1 * x.T @ error / len(y)
                self.bias = self.bias - 0.1 * np.mean(error)

    def fitted(x, y):
        model = Model()
        model.fit(x, y)
        return model.weights, model.bias

    x = np.cos(np.arange(30.0)).reshape(10, 3)
    agree(fitted, x, XS[:10])
    check_grads(lambda x, y: np.sum(fitted(x, y)[0]), (x, XS[:10]))


def test_loops_in_each_other_and_a_tuple() -> None:
    class Orbit:
        def __init__(self, x, v) -> None:
            self.state = (x, v)

        def step(self, h):
            x, v = self.state
            self.state = (x + h * v, v - h * np.sin(x))

    def positions(x, h):
        orbit, out = Orbit(x, 0.0), np.zeros(12)
        for k in range(12):
            for _ in range(10):
                orbit.step(h)
            out[k] = orbit.state[0]
        return out

    agree(positions, 1.0, 0.02)
    check_grads(lambda x, h: np.sum(positions(x, h)), (1.0, 0.02))


def test_the_first_iteration_gives_the_type() -> None:
    class Orbit:
        def __init__(self, state) -> None:
            self.state, self.energy = state, None

    def energy(state):
        orbit = Orbit(state)  # an array, of which each step makes a tuple
        for _ in range(25):
            x, v = orbit.state
            orbit.state = (x + 0.1 * v, v - 0.1 * x)
            orbit.energy = x * x + v * v
            if orbit.energy > 1.3:
                break
        return orbit.energy

    agree(energy, np.array([1.0, 0.5]))
    check_grads(energy, (np.array([1.0, 0.2]),))


def test_an_attribute_in_a_traced_branch_and_while() -> None:
    class Step:
        size, failed = 1.0, False

    def search(a):
        step = Step()
        x = a
        while step.size > 1e-3:
            trial = x - step.size * (x - 0.3)
            if trial * trial < x * x:
                x = trial
                step.size = step.size * 0.7
            else:
                step.size *= 0.5
                step.failed = True
        return x, 2.0 if step.failed else 1.0

    agree(search, 2.0)
    agree(search, -2.0)


def test_an_attribute_that_the_loop_makes() -> None:
    class Bag:
        last: float

    def last(xs):
        bag = Bag()
        for x in xs:
            bag.last = 2 * x
        return bag.last

    agree(last, XS)


def test_items_of_dicts_and_lists() -> None:
    def delayed(xs):
        line = [0.0, 0.0, 0.0]
        params = {"gain": 0.5, "w": np.zeros(3)}
        for x in xs:
            line[0], line[1], line[2] = line[1], line[2], x + params["gain"] * line[0]
            params["gain"] = 0.9 * params["gain"]
            params["w"] -= 0.1 * x
        return line, params

    agree(delayed, XS)
    check_grads(lambda xs: np.sum(np.array(delayed(xs)[0])), (XS,))


def test_what_a_body_puts_in_or_takes_out_is_refused() -> None:
    def puts(x, n):
        found = set()
        for _ in range(n):
            found.add("a")
            x = x + len(found)
        return x

    with pytest.raises(RollError, match="a set is changed in the body of a loop"):
        jg.jit(puts)(XS, np.array(5))


def test_objects_of_the_caller_keep_what_they_held() -> None:
    one = Filter(0.5)

    def run(xs):
        for x in xs:
            one.update(x)
        return one.mean

    want = Filter(0.5)
    for x in XS:
        want.update(x)
    with pytest.warns(JitgradWarning, match=r"Filter\.mean"):
        assert np.isclose(jg.jit(run)(XS), want.mean, rtol=1e-12)
    assert (one.mean, one.seen) == (0.0, 0)


def test_objects_that_a_function_makes_do_not_make_it_compile_again() -> None:
    class Knot:
        def __init__(self, x) -> None:
            self.value, self.me = x, self  # goes when Python looks for cycles, not before

        def doubled(self):
            return 2 * self.value

    def f(x):
        return Knot(x).doubled() + Filter(0.5).update(x)

    compiled = jg.jit(f)
    for _ in range(3):
        assert compiled(1.5) == f(1.5)
        gc.collect()
    assert "recompiled" not in compiled.explain(1.5)


def test_objects_in_objects_that_are_gone_are_no_reason_to_warn() -> None:
    class Pair:
        def __init__(self, x) -> None:
            self.inner, self.total = Filter(0.5), x

        def add(self, x):
            self.total = self.total + self.inner.update(x)

    def f(xs):
        pair = Pair(0.0)
        for x in xs:
            pair.add(x)
        return pair.total, pair.inner.mean

    agree(f, XS)


def test_objects_of_a_tape_hold_traced_arrays() -> None:
    class Node:
        def __init__(self, value, parts=()) -> None:
            self.value, self.parts, self.grad, self.back = value, parts, np.zeros_like(value), lambda: None

        def __mul__(self, other):
            product = Node(self.value * other.value, (self, other))

            def back():
                self.grad += other.value * product.grad
                other.grad += self.value * product.grad

            product.back = back
            return product

        def order(self, found):
            for part in self.parts:
                if part not in found:
                    part.order(found)
            found.append(self)
            return found

    def gradients(a, b):
        first, second = Node(a), Node(b)
        product = (first * second) * first
        product.grad = np.ones_like(a)
        for node in reversed(product.order([])):
            node.back()
        return first.grad, second.grad

    with pytest.warns(JitgradWarning, match=r"Node\.grad"):  # the nodes know each other: they do not go by themselves
        got = jg.jit(gradients)(XS[:5], XS[5:10])
    np.testing.assert_allclose(got, gradients(XS[:5], XS[5:10]))


class Pair:
    u: np.ndarray
    v: np.ndarray


def two_names_of_one_array(x):
    pair = Pair()
    pair.u = np.zeros(3)
    pair.v = pair.u
    for k in range(12):
        pair.u += x[k % 3]
        if x[0] > k:
            pair.v[1] = 0.0
    return pair.u + pair.v


def arrays_that_change_places(x):
    pair = Pair()
    pair.u, pair.v = x.copy(), np.zeros(3)
    for k in range(11):
        pair.v[1:] = 0.5 * pair.u[:-1] + k
        pair.u, pair.v = pair.v, pair.u
    return np.concatenate([pair.u, pair.v])


def a_view_of_what_is_replaced(x):
    pair = Pair()
    pair.u = np.zeros(3)
    rest = pair.u[1:]
    for _ in range(12):
        pair.u = pair.u + x
        pair.u[0] = 1.0
    return np.concatenate([pair.u, rest])


def lists_in_a_dict(x):
    d = {"a": x[0], "b": [x[1], x[2]]}
    for _ in range(12):
        d["a"] += d["b"][0]
        d["b"][1] = d["b"][1] * 0.5
        d["b"] = [d["b"][1], d["b"][0]]
    return d


def an_early_return(x):
    pair = Pair()
    pair.u = x * 0
    for k in range(30):
        pair.u = pair.u + x
        if pair.u[0] > 3:
            return k, pair.u
    return -1, pair.u


@pytest.mark.parametrize(
    "f",
    [two_names_of_one_array, arrays_that_change_places, a_view_of_what_is_replaced, lists_in_a_dict, an_early_return],
)
def test_arrays_keep_their_identity(f) -> None:
    agree(f, np.array([0.5, 1.0, 2.0]))
