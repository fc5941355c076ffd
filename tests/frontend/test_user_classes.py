"""Classes of users whose code runs by other ways than a call: operators, also in place, loops over objects, conditions,
conversions, ``with``. Each decides by traced values; against Python and central differences."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
import operator

import numpy as np
import pytest
from compared import check_slope

import jitgrad as jg
from jitgrad.frontend import control_flow


def check(function, *points):
    """At each point the jitted function and its slope."""
    for point in points:
        check_slope(function, np.float64(point))


# -- operators ---------------------------------------------------------------------------------------------------------


class Sum:
    """Changes in place; ``*=`` makes another one."""

    def __init__(self, v) -> None:
        self.v = v

    def __iadd__(self, other):
        if isinstance(other, str):
            return NotImplemented
        self.v = self.v + other if other > 0.35 else self.v - other
        return self

    def __mul__(self, other):
        return Sum(self.v * other if other > 0 else self.v)


class Holder:
    pass


def in_place(x):
    v = Sum(x)
    v += x
    same = v
    v *= x
    same += 1.0
    held, table = Holder(), {"k": Sum(x)}
    held.a = Sum(x)
    held.a += x
    held.a *= x
    table["k"] += 2 * x
    looped = Sum(x)
    for k in range(60):
        looped += x * k + 0.5
    for _ in range(60):
        looped *= 1.01
    return v.v + same.v + held.a.v + table["k"].v + looped.v


def test_operators_in_place():
    check(in_place, 0.4, 0.9, 0.2)
    log = []

    class Noted:
        def __init__(self, name) -> None:
            self.__dict__["name"] = name

        def __getattr__(self, name):
            log.append(("read", self.name, name))
            return 1.0

        def __setattr__(self, name, value):
            log.append(("write", self.name, name, value))

    def note(name):
        log.append(name)
        return Noted(name)

    def order(x):
        note("a").b += note("c").d + x * 0
        return x

    order(1.0)
    pythons, log[:] = list(log), []
    assert jg.jit(order)(1.0) == 1.0
    assert [entry[:3] for entry in log] == [entry[:3] for entry in pythons]
    with pytest.raises(TypeError, match="unsupported operand"):
        jg.jit(lambda x: operator_fails(x))(1.0)


def operator_fails(x):
    s = Sum(x)
    s += "text"
    return s.v


@functools.total_ordering
class Ordered:
    def __init__(self, v) -> None:
        self.v = v

    def __lt__(self, other):
        return self.v < other.v if other.v > 0 else self.v < 2 * other.v

    def __eq__(self, other):
        return self.v == other.v

    __hash__ = None


@dataclasses.dataclass(order=True)
class Pair:
    a: float
    b: float = 0.0

    def __post_init__(self) -> None:
        if self.a > 0.5:
            self.b = math.sqrt(self.a)


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "c", math.exp(self.a) if self.a > 0.5 else self.a)


def comparisons(x):
    a, b, total = Ordered(x), Ordered(0.45), 0.0
    if a > b:
        total = total + x
    if a >= b:
        total = total + 2 * x
    if a <= b:
        total = total + 4 * x
    total = total + (1.0 if a != b else 0.0) + 3 * max(a, b).v + min(a, b).v
    p, q = Pair(x), Pair(0.55, 2.0)
    if p < q:
        total = total + x
    if p >= q:
        total = total + 2 * x
    if p == q or [x, 2.0] != [x, 2.0] or (x, 1.0) > (x, 1.0):
        total = total + 50
    if (x, 2.0) > (0.45, 1.0) and [x] <= [x, 0.0] and (1.0, x) == (1.0, x):
        total = total + x**2
    return total + p.b + Frozen(x).c + dataclasses.replace(Frozen(x), a=2 * x).c


def test_comparisons_that_are_derived():
    check(comparisons, 0.4, 0.9, 0.2)


class Deferring:
    """NumPy leaves the operator to it."""

    __array_ufunc__ = None

    def __init__(self, v) -> None:
        self.v = v

    def __rmul__(self, other):
        return other.sum() * self.v if self.v > 0.5 else other.sum()

    __radd__ = __rmul__


class First:
    __array_priority__ = 10.0

    def __rsub__(self, other):
        return other.sum() if other[0] > 0.5 else 2.0 * other.sum()


def mixed(x):
    w, a = Deferring(x), np.array([x, 2 * x])
    return np.array([x, 2 * x]) * w + np.ones(3) * w + (np.array([x, x**2]) - First()) + (a + w)


def test_arrays_leave_operators_to_objects_as_in_numpy():
    check(mixed, 0.4, 0.9, 0.2)


# -- what Python asks by itself ----------------------------------------------------------------------------------------


class Series:
    def __init__(self, data) -> None:
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i] if self.data[i] > 0 else 0.5 * self.data[i]

    def __contains__(self, value):
        found = False
        for k in range(len(self)):
            if self.data[k] == value:
                found = True
        return found

    def __bool__(self):
        return bool(self.data[0] > 0.3)

    def __float__(self):
        return float(self.data[0] if self.data[0] > 0.3 else 1.0)

    def __floor__(self):
        return math.floor(10 * self.data[0]) if self.data[0] > 0.3 else -1


class Countdown:
    def __init__(self, x) -> None:
        self.x, self.i = x, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.i >= 4:
            raise StopIteration
        self.i += 1
        return self.x * self.i if self.x > 0.3 else math.cos(self.x)


class Over:
    def __init__(self, data) -> None:
        self.data = data

    def __iter__(self):
        return iter(self.data)


def of(x):
    return Series(np.stack([x, 2 * x, -x]))


def loops(x):
    s, total = of(x), 0.0
    for a in s:
        total = total + a
    a, b, c = s
    (d, *rest), e = of(2 * x), 1.0
    total = (
        total + s[0] + s[-1] + len(s) + sum(s) + 3 * max(s) + list(s)[1] + sum(p * q for p, q in zip(s, s, strict=True))
    )
    for k, v in enumerate(s):
        total = total + k * v
    for v in reversed(s):
        total = 0.5 * total + v
    total = total + a * b + c + d + rest[1] + e
    total = total + sum([v * v for v in s]) + (lambda *r: r[0] + r[1])(*s) + [*s][2]
    for v in Countdown(x):
        total = total + v
    first = Countdown(2 * x)
    return total + sum(Countdown(x)) + next(first) + next(iter(Over([x, 2.0]))) + sum(map(abs, s))


def conditions(x):
    s, total = of(x), 1.0
    if s:
        total = x * 2
    total = total + (1.0 if not s else x) + float(s) + bool(s) + math.sqrt(s) + math.floor(s)
    if s and x > 0.5:
        total = total * 2
    if 2 * x in s and 7.0 not in s:
        total = total + 3 * x
    count = 0
    while not s:
        s, count = of(x + 5), count + 1
    assert s, "not yet"
    return total + count


def test_loops_over_objects():
    check(loops, 0.4, 0.9, 0.2)


def test_objects_in_conditions_and_conversions():
    check(conditions, 0.43, 0.92, 0.21)


class Samples:
    """Items that a loop takes by their numbers."""

    def __init__(self, data) -> None:
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i] ** 2 if self.data[i] > 0 else self.data[i]


def added(data):
    total = 0.0
    for v in Samples(data):
        total += v
    for v in Over(data):
        total = 0.9 * total + v
    return total


def test_a_long_loop_over_an_object_is_recorded():
    data = np.random.default_rng(0).normal(size=3000)
    compiled = jg.jit(added)
    assert compiled(data) == pytest.approx(added(data))
    assert str(compiled.explain(data)).count("rolled") == 2
    check_slope(added, data[:300])


def test_a_length_that_is_none_fails_as_in_python():
    class Wrong:
        def __len__(self):
            return -1

        def __bool__(self):
            return 1

    with pytest.raises(ValueError, match="__len__"):
        jg.jit(lambda x: len(Wrong()) * x)(1.0)
    with pytest.raises(TypeError, match="__bool__ should return bool"):
        jg.jit(lambda x: x if Wrong() else 2 * x)(1.0)


class Base(abc.ABC):
    def __init__(self, v) -> None:
        total = 0.0
        for k in range(20):
            total = total + (math.sin(v * k) if v > 0.3 else v)
        self.t = total

    @classmethod
    def of(cls, v):
        return cls(v * 2 if v > 0.6 else v)

    @staticmethod
    def sign(v):
        return v if v > 0.5 else -v

    @abc.abstractmethod
    def f(self): ...

    def __call__(self, v):
        return self.f() + v if v > 0.5 else self.f()

    def __enter__(self):
        self.w = 1.0 if self.t > 0 else 2.0
        return self

    def __exit__(self, *error):
        self.t = self.t * 2 if self.t > 0 else self.t

    def __matmul__(self, other):
        return other * 2 if other > 0.5 else other

    def __rmul__(self, other):
        return other * self.t if self.t > 0 else other


class Middle(Base):
    def f(self):
        return self.t if self.t > 0 else 0.0


class Last(Middle):
    def __init__(self, v) -> None:
        super().__init__(v)
        if v > 0.5:
            self.t = self.t * 2

    def f(self):
        return super().f() * 2 if self.t > 1 else super().f()


def classes(x):
    class Inner:
        def f(self):
            return x if x > 0.5 else 2.0 * x

    made = Last.of(x)
    with Middle(x) as d:
        y = d.w * d.f()
    return made.f() + Base.sign(x) + made(x) + y + d.t + made @ x + np.float64(2) * made + x * d + Inner().f()


def test_constructors_inheritance_and_contexts():
    check(classes, 0.4, 0.9, 0.2)


def test_the_operators_of_the_tests_are_pythons():
    assert operator.iadd([1], [2]) == control_flow.in_place([1], "+", [2]) == [1, 2]


# -- classes that the function defines ---------------------------------------------------------------------------------

FACTOR = 3.0


class Scaling:
    def scaled(self):
        return self.v * self.factor


def test_bodies_of_classes_read_global_names():
    def f(x):
        class Held(Scaling):
            factor = FACTOR * np.sqrt(4.0)

            def __init__(self, v) -> None:
                self.v = v

            @functools.cached_property
            def square(self):
                return self.v * self.v

        held = Held(x)
        return held.square + held.scaled() * held.square

    check(f, 0.3, 1.5)
