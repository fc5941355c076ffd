"""Properties, descriptors and ``__getattr__`` of users' classes, which decide by traced values; against Python and
central differences."""

from __future__ import annotations

import collections
import enum
import functools
import math
import types

import numpy as np
import pytest
from compared import check_slope

import jitgrad as jg
from jitgrad.frontend import control_flow


def check(function, *points):
    """At each point the jitted function and its slope."""
    for point in points:
        check_slope(function, np.float64(point))


class Power:
    """With a property, its setter, and one that is kept."""

    def __init__(self, v) -> None:
        self.v = v

    @property
    def clipped(self):
        if self.v > 0.5:
            return math.sqrt(self.v)
        return self.v**2

    @clipped.setter
    def clipped(self, value):
        if value > 1:
            value = 1 + math.log(value)
        self.v = value

    @functools.cached_property
    def norm(self):
        total = 0.0
        for k in range(30):
            total = total + math.sin(self.v * k)
        return total if total > 0 else -total


class Doubled(Power):
    @property
    def clipped(self):
        return 2 * super().clipped + 1 if self.v > 0.3 else super().clipped


class Slots:
    __slots__ = ("v",)

    def __init__(self, v) -> None:
        self.v = v

    @property
    def double(self):
        return self.v if self.v > 0.5 else 2 * self.v


class Checked:
    """A descriptor."""

    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, obj, cls=None):
        value = getattr(obj, self.name)
        return value if value > 0.5 else math.cos(value)

    def __set__(self, obj, value):
        setattr(obj, self.name, value if value > 0 else -value)


class Described:
    q = Checked()

    def __init__(self, v) -> None:
        self.q = v


class MadeUp:
    def __init__(self, v) -> None:
        self.v = v

    def __getattr__(self, name):
        if name.startswith("get_"):
            return self.v if self.v > 0.5 else 3.0 * self.v
        raise AttributeError(name)


class Assigned:
    def __setattr__(self, name, value):
        super().__setattr__(name, value if value > 0.5 else 2 * value)


def properties(x):
    p = Power(x)
    before = p.clipped
    p.clipped = 3 * x
    return before + p.v + Doubled(x).clipped + Slots(x).double


def kept(x):
    p, total = Power(x), 0.0
    for k in range(50):
        total += p.norm * k
    return total + len(vars(p))


def descriptors(x):
    made = MadeUp(x)
    total = Described(x).q + Described(-x).q + made.get_a
    return total + getattr(made, "get_q") + getattr(made, "other", 2.0) + hasattr(made, "another")  # noqa: B009


def assigned(x):
    s = Assigned()
    s.a = x
    for _ in range(50):
        s.a = s.a * 1.01
    return s.a


@pytest.mark.parametrize("function", [properties, kept, descriptors, assigned])
def test_attributes_that_code_gives(function):
    check(function, 0.4, 0.9, 0.2)


def test_a_property_of_a_captured_object_is_read_again():
    p = Power(0.8)
    scaled = jg.jit(lambda x: p.clipped * x)
    assert scaled(2.0) == pytest.approx(2 * math.sqrt(0.8))
    p.v = 0.3
    assert scaled(2.0) == pytest.approx(2 * 0.3**2)


def test_an_error_of_a_property_is_the_one_of_python():
    class Broken:
        @property
        def a(self):
            raise AttributeError("inside")

        @property
        def b(self):
            if self.none:
                return 1.0
            return 2.0

    for read in (lambda x: Broken().a * x, lambda x: Broken().b * x, lambda x: Broken().c * x):
        with pytest.raises(AttributeError) as ours:
            jg.jit(read)(1.0)
        with pytest.raises(AttributeError) as pythons:
            read(1.0)
        assert str(ours.value) == str(pythons.value)


class Meta(type):
    @property
    def both(cls):
        return f"of {cls.__name__}"


class Plain:
    def __get__(self, obj, cls=None):
        return ("plain", obj is None)


class Data(Plain):
    def __set__(self, obj, value):
        raise AttributeError("no")


class Zoo(metaclass=Meta):
    plain, data, number = Plain(), Data(), 3

    def __init__(self) -> None:
        self.__dict__.update(plain="in the object", data="in the object", own=1)

    @property
    def both(self):
        return "of the object"

    @property
    def missing(self):
        raise AttributeError("missing")

    @classmethod
    def of_class(cls):
        return cls

    @staticmethod
    def static():
        return 7

    def method(self):
        return self


class Fallback(Zoo):
    def __getattr__(self, name):
        return "made up " + name


class Reader(Fallback):
    def __getattribute__(self, name):
        if name == "secret":
            raise AttributeError(name)
        return object.__getattribute__(self, name)


class Color(enum.Enum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


def test_a_read_gives_what_python_gives():
    names = ("plain", "data", "number", "own", "both", "missing", "of_class", "static", "method", "__class__", "secret")
    owners = [Zoo(), Fallback(), Reader(), Zoo, Fallback, np, types, Color, Color.RED, Point(1, 2), 3, np.ones(2), None]
    for owner in owners:
        for name in (*names, "name", "value", "x", "shape", "real", "__dict__", "__doc__", "pi"):
            assert outcome(control_flow.read, owner, name) == outcome(getattr, owner, name), name


def outcome(read, owner, name):
    try:
        found = read(owner, name)
    except AttributeError as error:
        return str(error)
    return repr(found)
