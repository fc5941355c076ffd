"""Variables that are bound to a new object of a plain class in each iteration of a recorded loop, or by branches."""

from __future__ import annotations

import abc
import array
import dataclasses
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import MutationError, RollError

X = np.array([0.3, 0.8, -0.5])
#: Gets an item whenever an ``__init__`` runs. What happens to it is no business of a traced function.
MADE = array.array("b")


class Quaternion:
    def __init__(self, w: Any, x: Any, y: Any, z: Any) -> None:
        self.w, self.x, self.y, self.z = w, x, y, z

    def __mul__(self, other: Quaternion) -> Quaternion:
        a, b, c, d = self.w, self.x, self.y, self.z
        e, f, g, h = other.w, other.x, other.y, other.z
        return Quaternion(
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        )


class Shape(abc.ABC):
    factor = 0.9

    def __init__(self, x: Any, kind: str = "shape") -> None:
        self.x, self.kind, self.size = x, kind, 3
        MADE.append(1)

    @property
    def area(self) -> Any:
        return self.x * self.x + len(self.kind)

    def __eq__(self, other: object) -> bool:
        raise AssertionError("nobody asks")

    __hash__ = None

    @abc.abstractmethod
    def step(self, h: Any) -> Any: ...


class Disc(Shape):
    """A property, a class attribute, a string and a number that stay, a slot, and one that Python mangles."""

    __slots__ = ("__hidden",)

    def __init__(self, x: Any, hidden: Any) -> None:
        super().__init__(x, "disc")
        self.__hidden = hidden

    def step(self, h: Any) -> Disc:
        total = np.sum(np.ones(self.size)) if self.kind == "disc" else 0.0
        return Disc(self.x * self.factor + h * total, self.__hidden - h * self.area)

    def hidden(self) -> Any:
        return self.__hidden


class State:
    def __init__(self, x: Any, v: Any = 0.0) -> None:
        self.x, self.v = x, v

    def step(self, h: Any) -> State:
        return State(self.x + h * self.v, self.v - h * np.sin(self.x))

    def __add__(self, other: State) -> State:
        return State(self.x + other.x, self.v + other.v)

    def __rmul__(self, k: Any) -> State:
        return State(k * self.x, k * self.v)


@dataclasses.dataclass
class Record:
    x: Any
    v: Any = 0.0

    def step(self, h: Any) -> Record:
        return Record(self.x + h * self.v, self.v - h * self.x)


class World:
    def __init__(self, bodies: Any, log: Any) -> None:
        self.bodies, self.log = bodies, log

    def moved(self, h: Any) -> World:
        return World({name: b.step(h) for name, b in self.bodies.items()}, self.log)


def quaternions(x: Any) -> Any:
    q, dq = Quaternion(1.0, 0.0, 0.0, 0.0), Quaternion(np.cos(x[0]), 0.1 * x[1], 0.2 * x[2], 0.1)
    for _ in range(40):
        q = q * dq
    return q.w, q.x, q.y * q.z


def a_class_with_everything(x: Any) -> Any:
    d = Disc(x[0], x[1])
    while d.x < 2.5:
        d = d.step(0.1)
    return d.x, d.hidden(), d.area


def stages_and_branches(x: Any) -> Any:
    def f(s: State) -> State:
        return State(s.v, -s.x)

    y = State(x[0], x[1])
    best = y
    for _ in range(40):
        k = f(y)
        y = y + 0.05 * (k + f(y + 0.05 * k)) if y.x > x[2] else State(y.x + 0.1, y.v)
        if y.x > best.x:
            best = y
    last = best if x[0] > 0 else State(x[1], x[2])
    return y.x, y.v, best.x, last.v


def in_containers(x: Any) -> Any:
    bodies = [State(x[0], x[1]), State(x[1], 0.0)]
    pair = {"a": (State(x * 1.0, np.zeros(3)), 3), "b": State(x[2])}
    for _ in range(40):
        bodies = [b.step(0.1) for b in bodies]
        pair = {"a": (pair["a"][0].step(0.1), 3), "b": pair["b"].step(0.2)}
        pair["a"][0].x[0] += 0.01  # an array that the iteration has made
    return [b.x for b in bodies], pair["a"][0].x, pair["b"].v


def objects_in_objects(x: Any) -> Any:
    w = World({"a": State(x[0], x[1]), "b": Record(x[1], x[2])}, [0.0])
    for _ in range(40):
        w = w.moved(0.1)
        w.log[0] += w.bodies["a"].x  # one list, which all of them hold
    return w.log[0], w.bodies["a"].v, w.bodies["b"].x


def particles(x: Any) -> Any:
    ps = [State(x[0], 1.0), State(x[1], x[2]), Record(x[2], x[0])]
    for _ in range(40):
        for p in ps:
            p.x += 0.1 * p.v
        for p in ps:
            p.v = p.v - 0.1 * p.x
    return [p.x for p in ps], ps[2].v


def made_and_changed(x: Any) -> Any:
    s = State(x[0], x[1])
    for k in range(40):
        s.x = s.x + 0.1 * k
        s = s.step(0.05)
        s.v *= 0.9
        if s.x > 20.0:
            break
    return s.x, s.v


def loops_in_each_other(x: Any) -> Any:
    s = State(x[0], x[1])
    for _ in range(30):
        for _ in range(35):
            s = s.step(0.001)
        s.x = s.x * 0.99
    return s.x, s.v


def the_first_has_another_name(x: Any) -> Any:
    s = first = State(x[0], x[1])
    r = other = Record(x[1], x[2])
    for _ in range(40):
        s.x = s.x + 1.0  # `first` sees one of these
        s = State(s.x, s.v + 0.1)
        r = r.step(0.1)
    s.v, r.v = 7.0, 8.0
    return first.x, first.v, other.x, other.v, s.x, s.v, r.x, r.v


def two_names_of_one(x: Any) -> Any:
    a, b = State(x[0], x[1]), State(x[2], x[1])
    for k in range(41):
        a, b = b, a
        a.x = a.x + k
    c = b
    for _ in range(20):
        c.v = c.v + 1.0
        c = b
    for _ in range(20):
        a = State(a.x + 1.0, 0.0)
        d = a
    d.v = 3.0
    return a.x, a.v, b.x, b.v, c.x, c.v


PROGRAMS = [
    quaternions,
    a_class_with_everything,
    stages_and_branches,
    in_containers,
    objects_in_objects,
    particles,
    made_and_changed,
    loops_in_each_other,
    the_first_has_another_name,
    two_names_of_one,
]


def flat(tree: Any) -> np.ndarray:
    return np.hstack([flat(x) if isinstance(x, list | tuple) else np.ravel(x) for x in tree])


@pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)
def test_values_and_gradients(fun: Any) -> None:
    def loss(x: Any) -> Any:
        parts = fun(x)
        total = 0.0
        for k, part in enumerate([y for p in parts for y in (p if isinstance(p, list) else [p])]):
            total = total + np.sum(np.cos(part + k))
        return total

    compiled = jg.jit(fun)
    np.testing.assert_allclose(flat(compiled(X)), flat(fun(X)), rtol=1e-11)
    assert ": rolled" in compiled.explain(X) and "unrolled" not in compiled.explain(X)
    expected = [(loss(X + h) - loss(X - h)) / 2e-6 for h in 1e-6 * np.eye(3)]
    np.testing.assert_allclose(jg.grad(loss)(X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_loops_of_unknown_length(n: int) -> None:
    def bound(x: Any, n: Any) -> Any:
        s = first = State(x, 1.0)
        for _ in range(n):
            s = s.step(0.1)
        return s.x, s.v, first.x, first.v

    np.testing.assert_allclose(jg.jit(bound)(0.3, np.array(n)), bound(0.3, n), rtol=1e-12)

    def swapped(x: Any, n: Any) -> Any:
        a, b = State(x), State(2 * x)
        for _ in range(n):
            a, b = b, a
            a.v = a.v + 1.0
        a.x = 9.0
        return a.x, a.v, b.x, b.v

    np.testing.assert_allclose(jg.jit(swapped)(0.3, np.array(n)), swapped(0.3, n), rtol=1e-12)


def changed_behind_the_loop(x: Any, n: Any) -> Any:
    s = first = State(x)
    for _ in range(n):
        s = s.step(0.1)
    s.x = 5.0  # `first`, if the loop did not run
    return first.x


def changed_in_the_loop(x: Any, n: Any) -> Any:
    s = first = [x, x]
    for _ in range(n):
        s[0] = s[0] + 1.0
        s = [s[0], s[1]]
    return first[0]


def read_in_the_loop(x: Any, n: Any) -> Any:
    s = first = State(x)
    for _ in range(n):
        s.x = s.x + first.x
        s = State(s.x)
    return s.x


def changed_by_another_name(x: Any, n: Any) -> Any:
    s = first = Record(x)
    for _ in range(n):
        first.x = first.x + 1.0
        s = Record(s.x * 0.5)
    return s.x


def changed_when_chosen(x: Any, n: Any) -> Any:
    a, b = State(x), State(2 * x)
    c = a if n > 3 else b
    c.x = 5.0
    return a.x


@pytest.mark.parametrize(
    "fun",
    [changed_behind_the_loop, changed_in_the_loop, read_in_the_loop, changed_by_another_name, changed_when_chosen],
    ids=lambda f: f.__name__,
)
def test_what_is_not_known_is_refused(fun: Any) -> None:
    with pytest.raises((MutationError, RollError), match="name"):
        jg.jit(fun)(0.3, np.array(4))


def test_init_is_not_called_for_objects_that_are_made_again() -> None:
    def fun(x: Any, h: Any) -> Any:
        d = Disc(x, x)
        d = Disc(x + 1, h) if x > 0 else Disc(x, h)
        return d.x + d.hidden()

    before = len(MADE)
    assert jg.jit(fun)(0.3, 0.1) == pytest.approx(1.4)
    assert len(MADE) - before == 3  # traced once, each branch too


def test_what_can_not_be_made_again_is_unrolled() -> None:
    class Counted:
        def __new__(cls, x: Any) -> Any:
            return super().__new__(cls)

        def __init__(self, x: Any) -> None:
            self.x = x

    class Label(State):
        pass

    def by_new(x: Any) -> Any:
        c = Counted(x)
        for _ in range(20):
            c = Counted(0.9 * c.x)
        return c.x

    def by_string(x: Any) -> Any:
        s = Label(x, "odd")
        for _ in range(21):
            s = Label(0.9 * s.x, "even" if s.v == "odd" else "odd")
        return s.x * len(s.v)

    for fun in (by_new, by_string):
        compiled = jg.jit(fun)
        assert compiled(0.3) == pytest.approx(fun(0.3))
        assert "unrolled" in compiled.explain(0.3)


def test_an_attribute_that_is_bound_to_new_objects() -> None:
    def fun(x: Any) -> Any:
        holder = State(State(x))
        for _ in range(30):
            holder.x = holder.x.step(0.1) + State(0.1)
        return holder.x.x

    compiled = jg.jit(fun)
    assert compiled(0.3) == pytest.approx(fun(0.3))
    assert ": rolled" in compiled.explain(0.3)
