# ruff: noqa: PERF401, B007  (loops that append are what is tested)
"""Lists of objects of plain classes that recorded loops and comprehensions make."""

from __future__ import annotations

import collections
import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
from growing_lists import X, check, check_recorded, check_unrolled

import jitgrad as jg
from jitgrad.errors import ArgumentError, MutationError, RollError


class Particle:
    def __init__(self, x, v, mass=2.0):
        self.x, self.v, self.mass = x, v, mass

    def energy(self):
        return 0.5 * self.mass * self.v**2


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y


@dataclasses.dataclass
class Data:
    x: float
    v: float


class Pair(NamedTuple):
    a: float
    b: float


class Named:
    def __init__(self, x, name, function):
        self.x, self.name, self.function, self.parent = x, name, function, None


class Simulation:
    def __init__(self, v):
        self.state, self.log = Particle(0.0, v), []

    def step(self, force):
        s = self.state
        self.state = Particle(s.x + 0.1 * s.v, s.v - 0.1 * s.x + force)
        self.log.append(self.state)


# -- recorded ----------------------------------------------------------------------------------------------------------


def appended(x, w):
    ps = []
    for t in range(20):
        ps.append(Particle(x[t], x[t] * w[t, 0]))
    total = 0.0
    for p in ps:
        total = total + p.energy() * p.x
    return total + len(ps) * ps[-1].x + ps[3].v + sum(p.mass * p.v for p in ps), np.array([p.x for p in ps])


def arrays(x, w):
    ps = []
    for t in range(20):
        ps.append(Particle(w[t] * x[t], np.sin(w[t])))
    total = 0.0
    for p in ps:
        total = total + p.x @ p.v
    return total


def dataclasses_(x, w):
    ps = []
    for t in range(20):
        ps.append(Data(x[t], w[t, 1]))
    return sum(p.x * p.v for p in ps)


def nested(x, w):
    ps = []
    for t in range(20):
        ps.append(Slotted(Particle(x[t], w[t, 0]), Pair(w[t, 1], 2 * x[t])))
    total = 0.0
    for q in ps:
        total = total + q.x.energy() * q.y.b + q.y.a
    return total


def other_attributes(x, w):
    ps = []
    for t in range(20):
        ps.append(Named(x[t], "p", np.sin))
    return sum(p.function(p.x) for p in ps) + (ps[3].name == "p") + (ps[0].parent is None)


def complex_attributes(x, w):
    ps, z = [], 1 + 1j * x[0]
    for t in range(20):
        z = z * (0.9 + 0.1j * w[t, 0])
        ps.append(Particle(z, x[t]))
    return sum((p.x * np.conj(p.x)).real * p.v for p in ps)


def items_inside(x, w):
    ps = [Particle(x[0], 1.0)]
    for t in range(20):
        last, half = ps[-1], ps[t // 2]
        v = last.v - 0.1 * half.x
        ps.append(Particle(last.x + 0.1 * v, v + x[t]))
    return ps[-1].x + ps[7].v, sum(p.x for p in ps)


def looped_over_inside(x, w):
    ps = []
    for t in range(20):
        s = x[t]
        for p in ps:
            s = s + 0.01 * p.x * p.v
        ps.append(Particle(s, w[t, 0]))
    return ps[-1].x, sum(p.x for p in ps)


def variable_of_the_last(x, w):
    s = Particle(0.5, x[0])
    states = [s]
    for t in range(20):
        s = Particle(s.x + 0.1 * s.v, s.v - 0.1 * s.x)
        states.append(s)
    s.x = 10.0 * x[1]
    return states[-1].x * x[2] + s.v, sum(p.v for p in states)


def of_an_attribute(x, w):
    simulation = Simulation(x[0])
    for t in range(20):
        simulation.step(x[t])
    return sum(p.x for p in simulation.log), simulation.state.v


def under_a_condition(x, w):
    ps = []
    for t in range(20):
        if x[t] > 0:
            ps.append(Particle(x[t], w[t, 0]))
    total = 0.0
    for p in ps:
        total = total + p.energy() * p.x
    return total + ps[-1].v, sum(p.mass * p.x for p in ps) / len(ps), sum([p.x for p in ps])


def state_under_a_condition(x, w):
    s, ps = Particle(0.0, x[0]), []
    for t in range(20):
        s = Particle(s.x + 0.1 * s.v, s.v - 0.1 * s.x + x[t])
        if s.v > 0:
            ps.append(s)
    return sum(p.x for p in ps), s.x


def best_of(x, w):
    ps = [Particle(-10.0, 0.5)]
    best = ps[0]
    for t in range(20):
        if x[t] > 0:
            ps.append(Particle(x[t], w[t, 0]))
    for p in ps:
        if p.x > best.x:
            best = p
    return best.x * best.v + len(ps)


def while_(x, w):
    ps = [Particle(x[0], 1.0)]
    while ps[-1].x < 4.0:
        p = ps[-1]
        ps.append(Particle(p.x + 0.1 * p.v, p.v * 0.99))
    return sum(p.x * p.v for p in ps)


def replaced(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(20)]
    for t in range(40):
        k = t % 20
        p = ps[k]
        ps[k] = Particle(p.x * 0.9, p.v + ps[(k + 1) % 20].x)
    return sum(p.x * p.v for p in ps)


def two_loops(x, w):
    ps = []
    for t in range(20):
        ps.append(Particle(x[t], w[t, 0]))
    for t in range(20):
        ps.append(Particle(ps[t].x * 2, ps[-1].v * 0.99))
    return sum(p.x * p.v for p in ps)


def chosen(x, w):
    ps = []
    for t in range(20):
        if x[t] > 0:
            p = Particle(x[t], 1.0)
        else:
            p = Particle(w[t, 0], x[t])
        ps.append(p)
    return sum(p.x * p.v for p in ps)


def comprehension(x, w):
    ps = [Particle(x[i], np.sin(x[i])) for i in range(20)]
    total = 0.0
    for i in range(20):
        total = total + ps[i].x * ps[19 - i].v * ps[i - 1].mass
    return total + sum(p.v for p in ps)


def comprehension_of_traced_length(x, w):
    n = np.sum(x > 0)
    ps = [Particle(x[i], w[i, 0]) for i in range(n)]
    total = 0.0
    for p in ps:
        total = total + p.energy() * p.x
    return total + len(ps) * x[0]


RECORDED = [
    appended, arrays, dataclasses_, nested, other_attributes, complex_attributes, items_inside, looped_over_inside,
    of_an_attribute, under_a_condition, state_under_a_condition, best_of, while_, replaced, two_loops, chosen,
    comprehension, comprehension_of_traced_length,
]  # fmt: skip

# -- followed by Python only: changes, other names, identity -----------------------------------------------------------


def the_same_object(x, w):
    ps, p = [], Particle(x[0], 1.0)
    for t in range(20):
        p.x = p.x * 0.9 + x[t]
        ps.append(p)
    return sum(p.x * p.v for p in ps)


def the_same_dataclass(x, w):
    ps, p = [], Data(x[0], 1.0)
    for t in range(20):
        p.x = p.x * 0.9 + x[t]
        ps.append(p)
    return sum(p.x * p.v for p in ps)


def changed_after_it_is_appended(x, w):
    ps = []
    for t in range(20):
        p = Data(x[t], 1.0)
        ps.append(p)
        p.x = p.x + 1.0
    return sum(p.x * p.v for p in ps)


def part_changed_after_it_is_appended(x, w):
    ps = []
    for t in range(20):
        q = Slotted(Particle(x[t], w[t, 0]), 2.0)
        ps.append(q)
        q.x.x = 3.0 * w[t, 1]
    return sum(q.x.x * q.y for q in ps)


def changed_in_the_next_iteration(x, w):
    s, states = Particle(0.5, x[0]), []
    for t in range(20):
        s.x = s.x + 1.0
        s = Particle(s.x + 0.1 * s.v, s.v - 0.1 * s.x)
        states.append(s)
    return sum(p.x for p in states) + s.x


def the_last_one_changed(x, w):
    ps = [Particle(x[0], 1.0)]
    for t in range(20):
        p = ps[-1]
        p.v = p.v * x[t]
        ps.append(Particle(p.x * 0.9 + p.v, x[t]))
    return sum(p.x * p.v for p in ps)


def the_first_has_another_name(x, w):
    first = Particle(x[0], 1.0)
    ps = [first]
    for t in range(20):
        first.x = first.x + 1.0
        ps.append(Particle(ps[0].x, x[t]))
    return sum(p.x * p.v for p in ps)


def in_two_lists(x, w):
    xs, ys = [], []
    for t in range(20):
        p = Particle(x[t], 1.0)
        xs.append(p)
        ys.append(p)
    xs[3].x = 100.0 * x[0]
    return sum(p.x for p in ys)


def twice_in_a_list(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(20)]
    for t in range(19):
        ps[t + 1] = ps[0]
    ps[3].x = 100.0 * x[0]
    return sum(p.x * p.v for p in ps)


def out_of_the_list(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(20)]
    first = ps[0]
    for t in range(20):
        ps[t] = Particle(ps[t].x * 0.9, ps[t].v)
    first.x = 100.0
    return sum(p.x * p.v for p in ps)


def a_shared_part(x, w):
    part, ps = Particle(x[0], 1.0), []
    for t in range(20):
        ps.append(Slotted(part, x[t]))
    part.x = 5.0 * x[1]
    return sum(q.x.x * q.y for q in ps)


def changed_at_indices(x, w):
    ps = []
    for t in range(20):
        ps.append(Particle(x[t], w[t, 0]))
    for t in range(20):
        ps[t].x += 1.0
        ps[t].x *= x[0]
    return sum(p.x * p.v for p in ps)


def changed_in_a_loop_over_them(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(20)]
    for p in ps:
        p.v = p.v - 0.1 * p.x
    return sum(p.x * p.v for p in ps)


def another_one_changed(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(20)]
    q, total = ps[3], 0.0
    for p in ps:
        q.x = q.x + 1.0
        total = total + p.x * p.v
    return total


def changed_between_loops(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(20)]
    total = 0.0
    for p in ps:
        total = total + p.x * p.v
    ps[3].x = 50.0 * x[0]
    for p in ps:
        total = total + p.x * p.v
    return total


def identity(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(10)]
    total = 0.0
    for p in ps:
        for q in ps:
            if p is not q:
                total = total + p.v / (0.1 + (p.x - q.x) ** 2)
            if q == p:
                total = total + p.v
    return total


def members_and_keys(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(20)]
    some, numbers, total = [ps[3], ps[7]], {p: k for k, p in enumerate(ps)}, 0.0
    for p in ps:
        total = total + numbers[p] * p.v
    for p in ps:
        if p in some:
            total = total + p.x
    return total


def of_two_classes(x, w):
    ps = []
    for t in range(20):
        ps.append(Particle(x[t], 1.0))
        ps.append(Slotted(x[t], w[t, 0]))
    return sum(p.x for p in ps)


def appended_in_either_branch(x, w):
    ps, p, q = [], Particle(0.0, 1.0), Particle(0.0, 2.0)
    for t in range(20):
        p, q = Particle(x[t], w[t, 0]), Particle(w[t, 1], x[t])
        if x[t] > 0:
            ps.append(p)
        else:
            ps.append(q)
    return sum(o.x * o.v for o in ps) + p.x + 3.0 * q.v


def replaced_after_it_is_appended(x, w):
    ps, p = [], Particle(0.0, 1.0)
    for t in range(20):
        p = Particle(x[t], w[t, 0])
        ps.append(p)
        ps.pop()
        ps.append(Particle(2.0 * x[t], w[t, 1]))
    return sum(o.x * o.v for o in ps) + p.x * p.v


def known_numbers(x, w):
    ps = []
    for t in range(20):
        ps.append(Named(x[t], t + 1, 3))
    return sum(np.sum(x[: p.function]) * w[p.name - 1, 0] * p.x + np.zeros(p.name).size for p in ps)


def constant_numbers(x, w):
    ps = [Named(x[t], 2, 3.0) for t in range(20)]
    return sum(np.sum(np.ones(p.name) * p.x) * p.function for p in ps)


def changed_under_a_name(x, w):
    ps = [Particle(x[i], w[i, 0]) for i in range(20)]
    for p in ps:
        total = p.x * p.v
    ps[-1].x = 50.0 * x[0]
    return total + p.x


def queue(x, w):
    waiting, total = collections.deque([Particle(x[0], 1.0), Particle(x[1], 2.0)]), 0.0
    for t in range(20):
        p = waiting.popleft()
        total = total + p.x * p.v
        waiting.append(Particle(p.x * 0.9 + x[t], p.v))
        if x[t] > 0.5:
            waiting.appendleft(Particle(w[t, 0], p.x))
    return total, sum(p.x * p.v for p in waiting), len(waiting)


def window(x, w):
    last = collections.deque([Particle(x[0], 1.0)], maxlen=3)
    for t in range(20):
        last.append(Particle(last[-1].x * 0.5 + x[t], last[0].v + w[t, 0]))
    return sum(p.x * p.v for p in last)


def stack(x, w):
    todo, total = [Particle(x[0] + 4.0, 1.0)], 0.0
    while todo:
        p = todo.pop()
        total = total + p.x * p.v
        if p.x > 1.0:
            todo.append(Particle(p.x * 0.5, p.v * x[1]))
            todo.append(Particle(p.x * 0.25, p.v + x[2]))
    return total


FOLLOWED = [
    variable_of_the_last, the_same_object, the_same_dataclass, changed_after_it_is_appended,
    part_changed_after_it_is_appended, changed_in_the_next_iteration, the_last_one_changed, the_first_has_another_name,
    in_two_lists, twice_in_a_list, out_of_the_list, a_shared_part, changed_at_indices, changed_in_a_loop_over_them,
    another_one_changed, changed_between_loops, identity, members_and_keys, of_two_classes, appended_in_either_branch,
    replaced_after_it_is_appended, known_numbers, constant_numbers, changed_under_a_name, queue, window, stack,
]  # fmt: skip


@pytest.mark.parametrize("fun", RECORDED, ids=lambda f: f.__name__)
def test_recorded(fun):
    check_recorded(fun)


@pytest.mark.parametrize("fun", FOLLOWED, ids=lambda f: f.__name__)
def test_what_python_shows_is_followed(fun):
    check(fun)


@pytest.mark.parametrize("fun", RECORDED[:9], ids=lambda f: f.__name__)
def test_gradients_are_those_of_the_unrolled_loops(fun):
    check_unrolled(fun)


# -- refused -----------------------------------------------------------------------------------------------------------


def changed_behind_by_another_name(x, w):
    ps = [Particle(x[0], 1.0)]
    best = ps[0]
    for t in range(20):
        p = Particle(ps[-1].x * 0.9 + x[t], 1.0)
        ps.append(p)
        if p.x > best.x:
            best = p
    best.x = 7.0
    return sum(p.x * p.v for p in ps)


def changed_in_a_list_of_unknown_length(x, w):
    ps = []
    for t in range(20):
        if x[t] > 0:
            ps.append(Particle(x[t], 1.0))
    for p in ps:
        p.x = p.x * 2
    return sum(p.x for p in ps)


def appended_under_a_condition_and_changed(x, w):
    s, ps = Particle(0.0, x[0]), []
    for t in range(20):
        s = Particle(s.x + 0.1, s.v + x[t])
        if s.v > 0:
            ps.append(s)
        s.x = s.x + 0.1
    return sum(p.x for p in ps)


@pytest.mark.parametrize(
    "fun, line",
    [
        (changed_behind_by_another_name, "best.x = 7.0"),
        (changed_in_a_list_of_unknown_length, "p.x = p.x * 2"),
        (appended_under_a_condition_and_changed, "s.x = s.x + 0.1"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_changes_that_can_not_be_followed_are_refused(fun, line):
    with pytest.raises(MutationError, match="a Particle is changed that") as raised:
        jg.jit(fun)(X, np.ones((20, 3)))
    assert line in str(raised.value)


def test_identity_is_refused_where_a_loop_has_to_be_recorded():
    def f(x, w):
        ps = [Particle(x[i], w[i, 0]) for i in range(20)]
        return sum(p.x for p in ps if p is not ps[3])

    def g(x, w):
        total = 0.0
        for p in [Particle(x[i], w[i, 0]) for i in range(20)]:
            total = total + (p.x if p is p else 0.0)
        return total

    check(f)
    with pytest.raises(RollError, match="Compare their indices"):
        jg.jit(g, loops="roll")(X, np.ones((20, 3)))


def test_a_list_of_objects_is_no_result():
    def f(x):
        return [Particle(x * i, x) for i in range(20)]

    with pytest.raises(ArgumentError, match="Particle"):
        jg.jit(f)(2.0)


def test_the_program_does_not_grow_with_the_number_of_iterations():
    def lines(fun, n):
        return len(str(jg.grad(lambda a: fun(a, n)).ir(0.9)).splitlines())

    def path(a, n):
        ps = [Particle(a, 1.0)]
        for _ in range(n):
            p = ps[-1]
            ps.append(Particle(p.x + 0.01 * p.v, p.v - 0.01 * a * p.x))
        return ps[-1].x + sum(p.v * p.mass for p in ps)

    def made(a, n):
        xs = a * np.arange(n) / n
        ps = [Particle(xs[i], np.sin(xs[i])) for i in range(n)]
        total = 0.0
        for p in ps:
            total = total + p.energy() * p.x
        return total

    for fun in (path, made):
        assert lines(fun, 500) == lines(fun, 50)
