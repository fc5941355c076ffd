"""Draws by roundabout ways: methods that are passed on, generators of objects that the function makes, SciPy's rvs, and
code that is not rewritten."""

from __future__ import annotations

import copy
import dataclasses
import functools
import operator
import random
import sys
import types
from typing import Any

import numpy as np
import pytest
from random_cases import state_of
from scipy import stats

import jitgrad as jg
from jitgrad.errors import ConcretizationError, JitgradWarning, UnsupportedError

rng = np.random.default_rng(1)
normal = rng.normal
partial = functools.partial(rng.normal, 0.0, 2.0)
methods = {"normal": rng.normal, "uniform": rng.uniform}


class Net:
    """Holds generators."""

    def __init__(self) -> None:
        self.rng, self.all = rng, [rng, rng]
        self.named = {"rng": rng}
        self.draw, self.scaled = rng.normal, functools.partial(rng.normal, scale=3.0)


net = Net()


def apply(function, *args):
    return function(*args)


def stored(x):
    table = {"draw": net.rng.normal}
    draw = functools.partial(table["draw"], 0, 2)
    return x * draw() + draw() + sum(map(net.rng.normal, [0.5]))


INDIRECT: dict[str, Any] = {
    "map over a method of an attribute": lambda x: sum(map(net.rng.normal, [x, 2.0, 3.0])),
    "map over a method of the module": lambda x: x * sum(map(normal, [1.0, 2.0])),
    "map over an item": lambda x: x * sum(map(net.all[1].normal, [1.0, 2.0])),
    "map over the item of a dict": lambda x: x * sum(map(net.named["rng"].normal, [1.0, 2.0])),
    "a partial of the module": lambda x: x * partial(),
    "a partial of an object": lambda x: x * net.scaled(x),
    "a method of an object": lambda x: x * net.draw(),
    "methods in a dict": lambda x: x * methods["normal"](1.0) + sum(m() for m in methods.values()),
    "stored": stored,
    "getattr": lambda x: x * getattr(net.rng, "normal")(1.0),  # noqa: B009
    "methodcaller": lambda x: x * operator.methodcaller("normal", 1.0)(net.rng),
    "a default": lambda x, draw=rng.normal: x * draw(),
    "passed to a function": lambda x: apply(net.rng.normal, x, 1.0),
    "the key of sorted": lambda x: x * np.array(sorted([3.0, 1.0, 2.0], key=net.rng.normal)),
    "vectorize": lambda x: x * np.vectorize(net.rng.normal)(np.arange(3.0)),
    "vectorize with otypes": lambda x: x * np.vectorize(net.rng.normal, otypes=[float])(np.arange(3.0)),
    "rvs": lambda x: x * stats.norm.rvs(1.0, 2.0, size=3) + stats.poisson.rvs(3.0),
    "rvs of several": lambda x: x * stats.multivariate_normal.rvs(np.zeros(2), np.eye(2), size=3),
    "rvs by name": lambda x: x * stats.gamma.rvs(2.0, size=3, random_state=net.rng),
    "rvs of a seed": lambda x: x * stats.uniform.rvs(size=3, random_state=5),
    "rvs, frozen": lambda x: x * stats.norm(0, 2).rvs(3) + stats.binom(5, 0.4).rvs(),
    "rvs by the inverse of a distribution function": lambda x: x * stats.triang.rvs(0.4, size=3),
}


def states():
    return state_of(rng), state_of(np.random.mtrand._rand)  # pyright: ignore[reportAttributeAccessIssue]


def seed():
    rng.bit_generator.state = np.random.PCG64(1).state
    np.random.seed(1)


def same_as_numpy(fun, *args):
    seed()
    expected = [fun(*args) for _ in range(3)]
    after = states()
    seed()
    compiled = jg.jit(fun)
    for e in expected:
        np.testing.assert_allclose(compiled(*args), e, rtol=1e-12)
    assert states() == after


@pytest.mark.parametrize("name", INDIRECT)
def test_what_is_passed_on_draws_when_the_program_runs(name):
    same_as_numpy(INDIRECT[name], 1.5)


class Walk:
    """Has a generator of its own."""

    def __init__(self, seed: int, x: Any) -> None:
        self.rng, self.x = np.random.default_rng(seed), x

    def step(self) -> None:
        self.x = self.x + self.rng.normal()


class Drift(Walk):
    """Draws while it is made."""

    def __init__(self, x: Any) -> None:
        super().__init__(3, x)
        self.drift = self.rng.normal(size=3) + np.random.normal()

    def run(self) -> Any:
        for _ in range(20):
            self.step()
        return self.x * self.drift


@dataclasses.dataclass
class Fields:
    """Makes generators in a factory, and after."""

    x: Any
    first: Any = dataclasses.field(default_factory=lambda: np.random.default_rng(4))

    def __post_init__(self) -> None:
        self.second = np.random.default_rng(5)

    def draw(self) -> Any:
        return self.x * self.first.normal() + self.second.normal()


def test_objects_that_the_function_makes_have_their_own_generators():
    same_as_numpy(lambda x: Drift(x).run(), 1.5)
    same_as_numpy(lambda x: Fields(x).draw(), 1.5)
    seed()
    state = states()
    gradient = jg.grad(lambda x: np.sum(Drift(x).run()))(1.5)
    seed()
    assert states() == state
    slope = [(seed(), np.sum(Drift(1.5 + h).run()))[1] for h in (1e-5, -1e-5)]
    assert gradient == pytest.approx((slope[0] - slope[1]) / 2e-5, rel=1e-8)


def test_objects_made_in_a_recorded_loop_are_no_state_of_it():
    def fun(x):
        s = 0.0
        for k in range(100):
            s += Walk(3, x * k).x
        return s

    assert "rolled" in jg.jit(fun).explain(1.5)
    same_as_numpy(fun, 1.5)


class Plain(np.random.Generator):
    """Leaves the methods as they are."""


class Doubled(np.random.Generator):
    """Does not."""

    def normal(self, *args: Any, **kwargs: Any) -> Any:
        return 2 * super().normal(*args, **kwargs)


class Halved(random.Random):
    """The same for Python's."""

    def random(self) -> float:
        return 0.5 * super().random()


def test_generators_of_derived_classes():
    ours, numpys = Plain(np.random.PCG64(1)), Plain(np.random.PCG64(1))
    f = jg.jit(lambda x: x * ours.normal(x))
    for _ in range(2):
        assert f(1.5) == pytest.approx(1.5 * numpys.normal(1.5), rel=1e-15)
    assert state_of(ours) == state_of(numpys)
    doubled, halved = Doubled(np.random.PCG64(1)), Halved(1)
    for fun in (
        lambda x: x * doubled.normal(),
        lambda x: x * doubled.random(),
        lambda x: x * halved.random(),
        lambda x: x * halved.uniform(0, 1),
        lambda x: x * sum(map(doubled.random, [3])),
    ):
        with pytest.raises(UnsupportedError, match=r"overrides methods of (Generator|Random)"):
            jg.jit(fun)(1.5)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A module that is installed: it is not rewritten."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "drawing_library.py").write_text(
        "import random\nimport numpy as np\nheld = np.random.default_rng(8)\n"
        "def new(seed): return np.random.default_rng(seed)\ndef old(): return held\n"
        "def same(g, scale=1.0): return scale * g.normal()\n"
        "def legacy(): return np.random.normal()\ndef python(): return random.random()\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    import drawing_library  # pyright: ignore[reportMissingImports]

    yield drawing_library
    del sys.modules["drawing_library"]


def test_code_that_is_not_rewritten(library: types.ModuleType):
    same_as_numpy(lambda x: x * library.same(net.rng) + library.same(net.rng, scale=x), 1.5)
    held = copy.deepcopy(library.held)
    f = jg.jit(lambda x: x * library.old().normal())
    for _ in range(2):
        assert f(1.5) == 1.5 * held.normal()
    with pytest.raises(UnsupportedError, match="new makes a generator while a function is traced"):
        jg.jit(lambda x: x * library.new(3).normal())(1.5)
    for draw in (library.legacy, library.python):
        with pytest.warns(JitgradWarning, match="random numbers are drawn while .* is traced"):
            jg.jit(lambda x, draw=draw: x * draw())(1.5)


def test_rvs_that_can_not_be_recorded_says_so():
    for fun in (lambda x: stats.norm.rvs(x), lambda x: x * stats.truncnorm.rvs(-1.0, 1.0, size=3)):
        with pytest.raises(UnsupportedError, match=r"rvs (is not supported on traced|computes with what it draws)"):
            jg.jit(fun)(1.5)


def test_sizes_that_are_drawn():
    def size(x, g):
        return np.sum(x * g.normal(size=g.integers(1, 5)))

    with pytest.raises(ConcretizationError, match="is known only when the program runs") as e:
        jg.jit(size)(1.5, np.random.default_rng(0))
    assert "g.normal(size=g.integers(1, 5))" in str(e.value)

    def one_by_one(x, g):
        s = 0.0
        for _ in range(g.integers(1, 50)):
            s += x * g.normal()
        return s

    ours, numpys = np.random.default_rng(0), np.random.default_rng(0)
    f = jg.jit(one_by_one)
    for _ in range(3):
        assert f(1.5, ours) == pytest.approx(one_by_one(1.5, numpys), rel=1e-12)
    assert state_of(ours) == state_of(numpys)


def test_rolls_by_drawn_shifts():
    def fun(images, g):
        out = np.zeros_like(images)
        for k in range(len(images)):
            dx, dy = g.integers(-2, 3, size=2)
            out[k] = np.roll(np.roll(images[k], (dx, dy), axis=(0, 1)), g.integers(-5, 5))
        return out

    images = np.arange(36.0).reshape(3, 3, 4)
    ours, numpys = np.random.default_rng(0), np.random.default_rng(0)
    np.testing.assert_array_equal(jg.jit(fun)(images, ours), fun(images, numpys))
    assert state_of(ours) == state_of(numpys)
    weights = np.cos(images)
    gradient = jg.grad(lambda x, g: np.sum(weights * fun(x, g)))(images, np.random.default_rng(0))
    shifted = fun(images, np.random.default_rng(0)).astype(int)
    np.testing.assert_allclose(gradient.ravel()[shifted], weights)


def test_default_rng_of_a_generator_is_that_generator():
    def fun(x, g=None):
        g = np.random.default_rng(g)
        return x * g.normal()

    ours, numpys = np.random.default_rng(0), np.random.default_rng(0)
    f = jg.jit(fun)
    for _ in range(2):
        assert f(1.5, ours) == fun(1.5, numpys)
    assert state_of(ours) == state_of(numpys)


def asked(x, g):
    s, n = 0.0, 0
    for _ in range(20):
        while g.random() < 0.5:
            s += x * g.normal()
        while g.integers(4) != 0 and n < 1000:
            n += 1
            if g.random() < 0.1:
                break
        else:
            n += 2
    return s + n


def test_a_condition_that_draws_is_asked_once_an_iteration():
    ours, numpys = np.random.default_rng(0), np.random.default_rng(0)
    f = jg.value_and_grad(asked)
    for _ in range(3):
        before = copy.deepcopy(numpys)
        value, gradient = f(1.5, ours)
        assert value == pytest.approx(asked(1.5, numpys), rel=1e-12)
        slope = asked(2.5, copy.deepcopy(before)) - asked(1.5, before)  # it is linear
        assert gradient == pytest.approx(slope, rel=1e-10)
        assert state_of(ours) == state_of(numpys)


def test_lists_that_draws_make_longer():
    def chosen(x, g):
        found = []
        for _ in range(40):
            if g.random() < 0.5:
                found.append(x * g.normal())  # noqa: PERF401
        return sum(found), len(found)

    ours, numpys = np.random.default_rng(0), np.random.default_rng(0)
    np.testing.assert_allclose(jg.jit(chosen)(1.5, ours), chosen(1.5, numpys), rtol=1e-12)
    assert state_of(ours) == state_of(numpys)

    def until(x, g):
        found = [0.0]
        while found[-1] < 5:
            found.append(found[-1] + x * g.exponential())
        return len(found)

    np.testing.assert_allclose(jg.jit(until)(1.5, ours), until(1.5, numpys), rtol=1e-12)
    assert state_of(ours) == state_of(numpys)
