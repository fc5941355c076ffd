"""Attributes of objects and items of lists and dicts that recorded loops and branches change."""

from __future__ import annotations

import collections
import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config
from jitgrad.errors import CarryError, JitgradWarning, MutationError, RollError

X = np.array([0.5, 1.0, 2.0])


class Momentum:
    def __init__(self, rate: float) -> None:
        self.rate, self.mean, self.steps = rate, 0.0, 0

    def step(self, g: Any) -> Any:
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * g
        return self.rate * self.mean / (1 - 0.9**self.steps)


@dataclasses.dataclass
class Body:
    position: Any
    velocity: Any
    trail: Any = None


class Slotted:
    __slots__ = ("value",)


class Watched:
    """A property whose setter keeps another attribute."""

    def __init__(self) -> None:
        self._x = 0.0

    @property
    def x(self) -> Any:
        return self._x

    @x.setter
    def x(self, value: Any) -> None:
        self._x = value


def items_of_a_dict(x: Any) -> Any:
    p = {"w": np.ones(3), "b": 0.0, "name": "layer"}
    for _ in range(100):
        g = x * p["w"] - p["b"]
        p["w"] = p["w"] - 0.01 * g
        p["b"] -= 0.1 * g.sum()
    return p["w"].sum() + p["b"] + len(p["name"])


def items_of_nested_dicts(x: Any) -> Any:
    p = {"a": {"w": x * 1.0}, "b": [x[0], {"c": x[1]}]}
    for k in range(100):
        p["a"]["w"] = p["a"]["w"] * 0.99 + k
        p["b"][1]["c"] = p["b"][0] * 0.5
        p["b"][0] = p["b"][0] + p["b"][1]["c"] * 0.01
    return p["a"]["w"].sum() + p["b"][0] * p["b"][1]["c"]


def items_of_a_list(x: Any) -> Any:
    s = [0.0, 1.0, "unused"]
    for k in range(100):
        s[0], s[1] = s[1] * 0.5 + x[k % 3], s[0]
    return s[0] + s[1] ** 2


def arrays_of_a_list_in_place(x: Any) -> Any:
    layers = [x * 1.0, x * 2.0]
    for _ in range(50):
        for k in range(2):
            layers[k] -= 0.01 * layers[1 - k] ** 2
            layers[k] = layers[k] * 0.999
    return layers[0].sum() + layers[1].prod()


def a_new_key(x: Any) -> Any:
    d: dict[str, Any] = {}
    for k in range(40):
        d["last"] = x[k % 3] * k
    return d["last"]


def an_optimiser(x: Any) -> Any:
    o, w = Momentum(0.1), x * 1.0
    for _ in range(100):
        w = w - o.step(2 * w * x)
    return w.sum() + np.sum(o.mean) + o.steps


def several_optimisers(x: Any) -> Any:
    opts = {k: Momentum(0.1 * (k + 1)) for k in range(3)}
    w = [x[0], x[1], x[2]]
    for _ in range(60):
        for k in range(3):
            w[k] = w[k] - opts[k].step(2 * w[k])
    return w[0] + w[1] * w[2] + opts[1].mean


def bodies(x: Any) -> Any:
    sun, earth = Body(x * 0.0, x * 0.0), Body(x * 1.0, np.array([0.0, 1.0, 0.5]) * x)
    for _ in range(80):
        d = earth.position - sun.position
        force = d / (1.0 + (d @ d) ** 1.5)
        for body, sign in ((sun, 0.1), (earth, -1.0)):
            body.velocity = body.velocity + 0.01 * sign * force
            body.position = body.position + 0.01 * body.velocity
    return sun.position.sum() + (earth.velocity**2).sum()


def an_array_of_an_attribute_in_place(x: Any) -> Any:
    b = Body(np.zeros(5), x * 1.0)
    for k in range(60):
        b.position[k % 5] += b.velocity[k % 3]
        b.velocity *= 0.99
    return (b.position**2).sum()


def attributes_that_swap(x: Any) -> Any:
    b = Body(x * 1.0, x * 2.0)
    for _ in range(51):
        b.position[0] += 0.01
        b.position, b.velocity = b.velocity, b.position
    return b.position @ np.arange(3.0) + b.velocity.sum()


def in_a_while(x: Any) -> Any:
    o, e = Momentum(0.1), x.sum()
    while e > 1e-2:
        e = e - 0.1 * o.step(e)
    return e + o.steps + o.mean


def a_condition_that_looks_at_an_attribute(x: Any) -> Any:
    b = Body(x.sum(), 0)
    while b.position > 0.1:
        b.position = b.position * 0.9
        b.velocity += 1
    return b.position + b.velocity


def in_a_branch(x: Any) -> Any:
    o = Momentum(0.5)
    if x.sum() > 1:
        o.mean = x[0]
        o.steps = 3
    else:
        o.rate = x[1]
    return o.mean + o.rate * o.steps + o.rate


def in_a_branch_of_a_loop(x: Any) -> Any:
    best = {"value": np.inf, "place": 0}
    for k in range(30):
        v = np.sin(x[k % 3] * k + k)
        if v < best["value"]:
            best["value"] = v
            best["place"] = k
    return best["value"] * best["place"]


def lists_that_branches_append_to(x: Any) -> Any:
    found = [x[2]]
    if x.sum() > 1:
        found.append(x[0])
    else:
        found.append(x[1] * 2)
    return found[0] * found[1] + len(found)


def a_slot_and_a_property(x: Any) -> Any:
    s, w = Slotted(), Watched()
    s.value = x[0]
    for k in range(40):
        s.value = s.value * 0.9 + x[1]
        w.x = w.x + s.value * k
    return s.value + w.x


def objects_made_inside(x: Any) -> Any:
    total = 0.0
    for k in range(40):
        o = Momentum(0.1 * k)
        o.step(x[k % 3])
        d = {"a": o.mean}
        d["a"] = d["a"] * 2
        total = total + d["a"]
    return total


def an_object_that_a_closure_changes(x: Any) -> Any:
    state = {"sum": 0.0}

    def add(v: Any) -> None:
        state["sum"] = state["sum"] + v

    for k in range(40):
        add(x[k % 3] ** 2)
    return state["sum"]


def static_parts_stay_static(x: Any) -> Any:
    d = {"mode": "sum", "n": 3, "t": 0.0}
    for _ in range(40):
        d["mode"] = "sum"
        d["t"] = d["t"] + (x.sum() if d["mode"] == "sum" else 0.0)
    return d["t"] * np.ones(d["n"]).sum()


PROGRAMS = [
    items_of_a_dict,
    items_of_nested_dicts,
    items_of_a_list,
    arrays_of_a_list_in_place,
    a_new_key,
    an_optimiser,
    several_optimisers,
    bodies,
    an_array_of_an_attribute_in_place,
    attributes_that_swap,
    in_a_while,
    a_condition_that_looks_at_an_attribute,
    in_a_branch,
    in_a_branch_of_a_loop,
    lists_that_branches_append_to,
    a_slot_and_a_property,
    objects_made_inside,
    an_object_that_a_closure_changes,
    static_parts_stay_static,
]


LONG = (bodies, items_of_a_dict, an_optimiser)  # unrolled they take long to compile
CASES = [(f, limit) for f in PROGRAMS for limit in (16, 0, 10**6) if limit < 10**6 or f not in LONG]


@pytest.mark.parametrize(("fun", "limit"), CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_values_and_gradients(fun: Any, limit: int) -> None:
    with config.using(unroll_limit=limit):
        compiled, gradient = jg.jit(fun), jg.grad(fun)
        for x in (X, 0.3 * X):
            np.testing.assert_allclose(compiled(x), fun(x), rtol=1e-12)
            expected = [(fun(x + h) - fun(x - h)) / 2e-6 for h in 1e-6 * np.eye(3)]
            np.testing.assert_allclose(gradient(x), expected, rtol=1e-5, atol=1e-6)


ROLLED = [f for f in PROGRAMS if f not in (in_a_branch, lists_that_branches_append_to)]


@pytest.mark.parametrize("fun", ROLLED, ids=lambda f: f.__name__)
def test_they_are_recorded(fun: Any) -> None:
    assert ": rolled" in jg.jit(fun).explain(X)


def test_the_objects_hold_what_they_held_before() -> None:
    o, d = Momentum(0.1), {"w": 1.0}

    @jg.jit
    def fun(x: Any) -> Any:
        for _ in range(50):
            x = x - o.step(x)
            if x.sum() > 1:
                o.mean = o.mean * 0.5
        return x

    with pytest.warns(JitgradWarning, match=r"sets Momentum.mean, Momentum.steps to a traced value"):
        fun(X)
    assert (o.mean, o.steps, d) == (0.0, 0, {"w": 1.0})


def test_objects_that_are_gone_are_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jg.jit(an_optimiser)(X)
        jg.jit(an_optimiser, loops="unroll")(X)


def test_an_array_that_an_attribute_and_a_name_stand_for() -> None:
    def fun(x: Any) -> Any:
        b = Body(x * 1.0, x * 2.0)
        first = b.position
        for _ in range(30):
            b.position[1] += 0.5
            b.velocity = b.velocity * 0.5
        return first.sum() + b.velocity.sum()

    assert jg.jit(fun)(X) == pytest.approx(fun(X))

    def best(x: Any) -> Any:
        b = Body(x * 1.0, x * 0.0, x)
        for k in range(30):
            b.position = b.position * 0.9 + 0.1 * k
            if k == 20:
                b.trail = b.position
        b.position[0] = 100.0
        return b.trail.sum() + b.position.sum()

    with pytest.raises(MutationError, match="has chosen among others"):  # the trail is the position, perhaps
        jg.jit(best)(X)


def test_what_can_not_be_carried() -> None:
    def grows(x: Any) -> Any:
        path, e = [], x.sum()
        while e > 0.1:
            e = e * 0.9
            path.insert(1, e)
        return e

    with pytest.raises(RollError, match="in a way that needs the list itself"):
        jg.jit(grows)(X)

    def differ(x: Any) -> Any:
        found = []
        if x.sum() > 1:
            found.append(x[0])
        return sum(found)

    assert jg.jit(differ)(X) == differ(X)

    def queue(x: Any) -> Any:
        q = collections.deque([0.0, 1.0])
        if x.sum() > 1:
            q.append(x[0])
            q.popleft()
        return q[0] + q[1]

    assert jg.jit(queue)(X) == pytest.approx(queue(X))

    class Countdown:
        left = 3

        def over(self, limit: Any) -> Any:
            self.left -= 1
            return self.left < limit

    def tested(x: Any) -> Any:
        c, s = Countdown(), 0.0
        while not c.over(-x.sum() * 3):
            s += 1
        return s

    with pytest.raises(CarryError, match="an array or object is written in the condition of a while loop"):
        jg.jit(tested)(X)


class Tracker:
    """An attribute is an array of None before the first measurement, which has no type in a program."""

    def __init__(self) -> None:
        self.mean, self.last, self.kind = np.zeros(2), np.array([[None] * 2]), np.array("none")

    def update(self, z: Any) -> None:
        self.last, self.kind = np.atleast_2d(z), np.array("some")
        self.mean = 0.9 * self.mean + 0.1 * self.last[0]


def test_arrays_of_objects_before_a_loop() -> None:
    def means(zs: Any) -> Any:
        tracker, found = Tracker(), []
        for z in zs:
            tracker.update(z)
            found.append(tracker.mean)
        return np.array(found), tracker.last

    zs = np.random.default_rng(0).normal(size=(20, 2))
    for got, want in zip(jg.jit(means)(zs), means(zs), strict=True):
        assert got.dtype == np.asarray(want).dtype
        np.testing.assert_allclose(got, want, rtol=1e-12)
    jg.testing.check_grads(lambda zs: np.sum(means(zs)[0] ** 2), (zs,), order=1)

    def chosen(x: Any) -> Any:
        tracker = Tracker()
        if x[0] > 0:
            tracker.last = x
        return tracker.last

    with pytest.raises(CarryError, match="of type ndarray on one way"):
        jg.jit(chosen)(np.ones(2))
