"""Lists that attributes and items hold and loops append to; and lists of which loops read the last item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from compared import check_slope

import jitgrad as jg

X = np.random.default_rng(0).normal(size=(20, 4))
W = np.random.default_rng(1).normal(size=(4, 4)) / 3


class Filter:
    """A state, and a log of what it was."""

    def __init__(self, gain):
        self.gain, self.mean, self.log, self.__sums = gain, 0.0, [], [0.5]

    def update(self, x):
        self.mean = self.mean + self.gain * (x - self.mean)
        self.log.append(self.mean)
        self.__sums.append(np.sum(x))
        return self.mean

    def run(self, xs):
        for t in range(len(xs)):
            self.mean = self.mean * 0.9 + xs[t]
            self.log.append(self.mean * 1.0)

    def sums(self):
        return self.__sums


class Chain:
    def __init__(self, start):
        self.path = [start]

    def last(self):
        return self.path[-1]

    def step(self, x, w):
        self.path.append(np.tanh(w @ self.last()) + x)


@dataclass
class Record:
    losses: list = field(default_factory=list)
    last: float = 0.0


def by_a_method(x, w):
    f = Filter(0.1)
    for row in x:
        f.update(row @ w)
    return np.array(f.log), np.array(f.sums()), f.mean


def in_its_own_method(x, w):
    f = Filter(0.1)
    f.run(x @ w)
    return np.array(f.log)


def in_two_loops(x, w):
    f = Filter(0.1)
    f.run(x @ w)
    f.run(x * 2)
    return np.array(f.log), len(f.log)


def items_of_a_dict(x, w):
    h = {"loss": [1.0], "step": [], "count": 0}
    for t in range(20):
        w = w - 0.1 * np.outer(x[t], x[t] @ w)
        h["loss"].append(np.sum(w**2))
        h["step"].append(0.5 * t)
        h["count"] += 1
    return np.array(h["loss"]), np.array(h["step"]), h["count"] * 1.0


def by_a_variable(x, w):
    history = {k: [] for k in ("a", "b")}
    for k in ("a", "b"):
        for t in range(20):
            history[k].append(np.sin(x[t]) @ w)
    return np.array(history["a"]) * 2, np.array(history["b"])


def items_of_a_list(x, w):
    tracks = [[x[0] * 1], [], []]
    for t in range(20):
        tracks[0].append(x[t] @ w)
        tracks[2].append(x[t] * t)
    return np.array(tracks[0]), len(tracks[1]), np.array(tracks[2])


def in_a_dataclass(x, w):
    record = Record()
    for row in x:
        record.last = 0.5 * record.last + np.sum(np.sin(row @ w))
        record.losses.append(record.last)
    return np.array(record.losses), record.last


def of_an_object_in_an_object(x, w):
    outer = Record()
    outer.inner = Record()
    for row in x:
        outer.inner.losses.append(np.sum(np.sin(row @ w)))
        outer.losses.append(row * 2)
    return np.array(outer.inner.losses), np.array(outer.losses)


def loops_in_each_other(x, w):
    record = Record([0.25])
    for i in range(10):
        for j in range(12):
            record.losses.append(np.sum(x[i] * x[j]))
        record.last = record.last + np.sum(x[i])
    return np.array(record.losses), record.last


def after_the_inner_loop(x, w):
    h = {"rows": [], "all": []}
    for i in range(10):
        total = 0.0
        for j in range(12):
            total = total + np.sum(x[i] * x[j])
            h["all"].append(total)
        h["rows"].append(total)
    return np.array(h["rows"]), np.array(h["all"])


def names_and_attributes(x, w):
    record, path = Record(), []
    for row in x:
        path.append(row @ w)
        record.losses.append(np.sum(row))
    return np.array(path), np.array(record.losses)


def last_of_an_attribute(x, w):
    record = Record([1.0])
    for t in range(20):
        record.losses.append(np.sin(record.losses[-1]) + x[t, 0])
    return np.array(record.losses)


def last_by_a_method(x, w):
    chain = Chain(x[0] * 1.0)
    for t in range(20):
        chain.step(x[t], w)
    return np.array(chain.path)


def last_of_a_name(x, w):
    """The first is a number of Python's, and an argument's row."""
    ys, path = [0.5], [x[3]]
    for t in range(20):
        ys.append(ys[-1] + 0.1 * (x[t, 1] - ys[-1]))
        path.append(path[-1] @ w + ys[-1])
    return np.array(ys), np.stack(path)


def two_steps_of_a_name(x, w):
    path = [np.zeros(4)]
    for t in range(20):
        path.append(np.sin(path[-1]) + x[t])
        path.append(path[-1] @ w)
    return np.array(path), len(path)


def last_of_pairs(x, w):
    path = [(0.0, x[0] * 1.0)]
    for t in range(20):
        s, v = path[-1]
        path.append((s + v.sum(), np.cos(v) * x[t]))
    return np.array([s for s, _ in path]), np.array([v for _, v in path])


def last_in_loops_in_each_other(x, w):
    path = [x[0] * 1]
    for i in range(10):
        for j in range(9):
            path.append(np.sin(path[-1]) * x[i] + x[j])
    return np.array(path)


def last_under_a_branch(x, w):
    path = [1.0]
    for t in range(20):
        y = x[t, 0]
        if y > 0:
            y = path[-1] * 0.5 + y
        path.append(y)
    return np.array(path)


RECORDED = [
    by_a_method, in_its_own_method, in_two_loops, items_of_a_dict, by_a_variable, items_of_a_list, in_a_dataclass,
    of_an_object_in_an_object, loops_in_each_other, after_the_inner_loop, names_and_attributes, last_of_an_attribute,
    last_by_a_method, last_of_a_name, two_steps_of_a_name, last_of_pairs, last_in_loops_in_each_other,
    last_under_a_branch,
]  # fmt: skip


def another_name(x, w):
    record = Record()
    losses = record.losses
    for row in x:
        record.losses.append(np.sum(row))
    losses.append(1.0)
    return np.array(losses)


def held_twice(x, w):
    both = []
    h = {"a": both, "b": both}
    for row in x:
        h["a"].append(np.sum(row))
        h["b"].append(np.sum(row**2))
    return np.array(h["b"])


def read_by_a_name(x, w):
    record = Record()
    losses = record.losses
    for t in range(20):
        record.losses.append(x[t, 0] * (1.0 if len(losses) > 5 else 2.0))
    return np.array(record.losses)


def named_in_the_loop(x, w):
    record, seen = Record(), None
    for row in x:
        record.losses.append(np.sum(row))
        seen = record.losses
    seen.append(3.0)
    return np.array(record.losses)


def given_to_another_object(x, w):
    record, other = Record(), Record()
    for row in x:
        record.losses.append(np.sum(row))
        other.losses = record.losses
    other.losses.append(3.0)
    return np.array(record.losses)


def kept_in_a_closure(x, w):
    record = Record()
    found = [lambda: 0]
    for row in x:
        record.losses.append(np.sum(row))
        losses = record.losses
        found[0] = lambda losses=losses: len(losses)
    return np.array(record.losses), found[0]()


def length_read(x, w):
    record = Record()
    for t in range(20):
        record.losses.append(x[t, 0] * len(record.losses))
    return np.array(record.losses)


def truth_read(x, w):
    record = Record()
    for t in range(20):
        record.losses.append(x[t, 0] if not record.losses else x[t, 1])
    return np.array(record.losses)


def all_read(x, w):
    record = Record([1.0])
    for row in x:
        record.losses.append(np.sum(row) + 0.1 * sum(record.losses))
    return np.array(record.losses)


def read_by_numpy(x, w):
    record = Record([1.0])
    for row in x:
        record.losses.append(np.sum(row) + 0.1 * np.mean(record.losses))
    return np.array(record.losses)


def joined_with_another(x, w):
    record = Record([1.0])
    for row in x:
        record.losses.append(np.sum(row) + ([2.0] + record.losses)[1])  # noqa: RUF005
    return np.array(record.losses)


def copied_inside(x, w):
    record, kept = Record([1.0]), []
    for row in x:
        record.losses.append(np.sum(row))
        kept = list(record.losses)
    return np.array(kept)


def read_before_the_last(x, w):
    record = Record([1.0, 1.0])
    for row in x:
        record.losses.append(record.losses[-1] - 0.5 * record.losses[-2] + row[0])
    return np.array(record.losses)


def popped(x, w):
    record = Record()
    for row in x:
        record.losses.append(np.sum(row))
        if len(record.losses) > 4:
            record.losses.pop(0)
    return np.array(record.losses)


def new_keys(x, w):
    history = defaultdict(list)
    for row in x:
        history["a"].append(np.sum(row))
    return np.array(history["a"])


def replaced(x, w):
    record = Record()
    for t in range(20):
        if t % 5 == 0:
            record.losses = []
        record.losses.append(x[t, 0] * 2)
    return np.array(record.losses)


def last_is_written(x, w):
    path = [x[0] * 1.0]
    for t in range(20):
        last = path[-1]
        last[0] = 7.0 + x[t, 1]
        path.append(np.sin(last) + x[t])
    return np.array(path)


def last_has_a_name_behind_the_loop(x, w):
    path, last = [x[0] * 1.0], None
    for t in range(20):
        path.append(np.sin(path[-1]) + x[t])
        last = path[-1]
    last[0] = 5.0
    return np.array(path)


def one_before_the_last_has_a_name(x, w):
    path, last = [x[0] * 1.0], x[1] * 1.0
    for t in range(20):
        last = path[-1]
        path.append(np.sin(last) + x[t])
    last[0] = 5.0
    return np.array(path)


def the_first_is_another_array(x, w):
    start = x[0] * 1.0
    path = [start]
    for t in range(20):
        path.append(np.sin(path[-1]) + x[t])
    start[1] = 9.0
    return np.array(path)


OTHERS = [
    another_name, held_twice, read_by_a_name, named_in_the_loop, given_to_another_object, kept_in_a_closure,
    length_read, truth_read, all_read, read_by_numpy, joined_with_another, copied_inside, read_before_the_last, popped,
    new_keys, replaced, last_is_written, last_has_a_name_behind_the_loop, one_before_the_last_has_a_name,
    the_first_is_another_array,
]  # fmt: skip


def check(fun: Callable) -> list[str]:
    """Compare values, dtypes and a slope; what became of the loops."""
    lines = check_slope(fun, X, W).explain(X, W).splitlines()
    return [line.split(": ", 1)[1] for line in lines if line.startswith("for at")]


@pytest.mark.parametrize("fun", RECORDED, ids=lambda f: f.__name__)
def test_recorded(fun):
    how = check(fun)
    assert all(h == "rolled" for h in how if "2 iterations" not in h), how


@pytest.mark.parametrize("fun", OTHERS, ids=lambda f: f.__name__)
def test_others(fun):
    check(fun)


def test_the_list_stays_the_same_object():
    @jg.jit
    def fun(x):
        record = Record()
        before = id(record.losses)
        for row in x:
            record.losses.append(np.sum(row))
        return np.array(record.losses), before == id(record.losses), type(record.losses) is list

    sums, same, plain = fun(X)
    np.testing.assert_allclose(sums, X.sum(axis=1))
    assert same
    assert plain


def test_the_number_of_ops_does_not_grow_with_the_iterations():
    def fun(x, n):
        f = Filter(0.1)
        path = [x]
        for _ in range(n):
            f.update(path[-1])
            path.append(np.sin(path[-1]))
        return np.sum(np.array(f.log) ** 2) + np.sum(np.array(path))

    compiled = jg.jit(fun, static_argnames="n")
    sizes = [len(compiled.ir(X[0], n=n, stage="traced").splitlines()) for n in (50, 300)]
    assert sizes[0] == sizes[1]
