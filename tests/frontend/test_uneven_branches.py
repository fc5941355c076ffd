"""Branches that give lists and arrays of different lengths, and returns of lists out of the loops that make them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradError, MutationError
from jitgrad.testing import check_grads

GIVEN = [np.random.default_rng(seed).random(9) for seed in range(8)]


def assert_alike(got: Any, expected: Any) -> None:
    """Of one structure and equal; a list of unknown length is a list too."""
    assert isinstance(got, type(expected)) or np.ndim(expected) == 0
    mine, its = optree.tree_leaves(got), optree.tree_leaves(expected)
    assert len(mine) == len(its)
    for a, b in zip(mine, its, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def check(fun: Callable[..., Any], given: Sequence[Any] = GIVEN) -> None:
    compiled = jg.jit(fun)
    for x in given:
        assert_alike(compiled(x), fun(x))
    assert compiled.cache_info().programs == 1


# -- branches ----------------------------------------------------------------------------------------------------------


def empty_first(x):
    if x[0] < 0.5:
        return []
    out, k = [], 0
    while k < x[1] * 10:
        out.append(x[2] + k)
        k += 1
    return out


def a_variable(x):
    if x[0] < 0.5:
        out = []
    else:
        out, k = [], 0
        while k < x[1] * 10:
            out.append(x[2] + k)
            k += 1
    return out, len(out)


def a_filter(x):
    if x[0] < 0.5:
        return [x[1]]
    return [v for v in x if v > 0.3]


def arrays(x):
    if x[0] < 0.5:
        return np.array([x[1]])
    return x[x > 0.3]


def three_ways(x):
    def chosen(x):
        if x[0] > 0.5:
            return x[x > 0.5]
        if x[1] > 0.5:
            return np.concatenate([x, x])
        return x

    r = chosen(x)
    return r.sum() + len(r), r * 2


def of_a_helper(x):
    def path(a):
        if a < 0.5:
            return []
        out = [a]
        while a < 3:
            a = a * 1.5
            out.append(a)
        return out

    return path(x[0]), sum(path(x[1])), path(x[2])


def begun_before(x):
    out = []
    if x[0] < 0.5:
        return out
    k = 0
    while k < x[1] * 10:
        out.append(x[2] + k)
        k += 1
    return out


def in_a_tuple(x):
    if x[0] < 0.5:
        return [], 0
    out, k = [], 0
    while k < x[1] * 10:
        out.append((x[2] + k, k))
        k += 1
    return out, k


def expressions(x):
    points = [(v, v * 2) for v in x if v > 0.5] if x[0] > 0.3 else []
    few = [x[0], x[1]] if x[2] > 0.5 else [x[0]]
    total = 0.0
    for y in few:
        total += y**2
    return points, len(points), few, total


def in_loops(x):
    found = []
    for i in range(len(x)):
        ys = [x[i], x[i] + 1] if x[i] > 0.5 else [x[i]]
        v = x[x > 0.1 * i] if x[i] > 0.5 else x[:i]
        found.append(sum(ys) / len(ys) + v.sum())
    return np.array(found)


def longest(x):
    best = []
    for k in range(len(x)):
        now = [x[k]]
        for j in range(k):
            if x[j] < x[k]:
                now.append(x[j])  # noqa: PERF401
        if len(now) > len(best):
            best = now
    return best


def in_containers(x):
    d = {"a": [x[0]]} if x[1] > 0.5 else {"a": []}
    t = ([x[0]], "a") if x[1] > 0.5 else ([x[1], x[2]], "a")
    return d, t[0], t[1] == "a"


def of_rows(x):
    rows = [[x[0], 1.0], [2.0, x[1]]] if x[2] > 0.5 else [[x[3], x[4]]]
    return rows[0], np.array(rows).sum(), len(rows)


def of_arrays(x):
    rows = [x[:3], x[3:6]] if x[2] > 0.5 else [x[6:]]
    return np.array(rows).sum(0), len(rows)


def path(a, t):
    out = []
    if a > t:
        return out
    while a < t:
        a = a * 1.5 + 0.1
        out.append(a)
    return out


def path_with_an_end(a, t):
    out = []
    if a > 0.9:
        return []
    if a > t:
        return out
    while len(out) < 8 * t:
        if len(out) > 3 * a:
            return out
        out.append(a)
    return out


def begun_before_in_other_branches(x):
    found, total = [], 0.0
    if x[0] > 0.3:
        found = path(x[1], x[2])
    for i in range(6):
        total += sum(path(x[i], x[7])) + len(path_with_an_end(x[i], x[8]))
    return found, len(found), total


BRANCHES = [
    empty_first, a_variable, a_filter, arrays, three_ways, of_a_helper, begun_before, in_a_tuple, expressions, in_loops,
    longest, in_containers, of_rows, of_arrays, begun_before_in_other_branches,
]  # fmt: skip


@pytest.mark.parametrize("fun", BRANCHES, ids=lambda f: f.__name__)
def test_values(fun):
    check(fun)


@pytest.mark.parametrize("fun", [arrays, a_filter, in_loops, longest], ids=lambda f: f.__name__)
def test_gradients(fun):
    for x in GIVEN[:4]:
        check_grads(lambda x: np.sum(np.array(fun(x)) ** 2), (x,), order=1)


def guarded(x, t):
    if t < 0.2:
        return []
    if t > 0.8:
        return [x[0], x[1]]
    out = []
    for v in x:
        if v > t:
            out.append(v * 2)  # noqa: PERF401
    return out


def extended(x):
    found = []
    for y in x:
        found.extend(guarded(x, y))
    return found


def added(x):
    found = []
    for y in x:
        found += guarded(x, y)
    return np.array(found).sum(), len(found)


def comprehended(x):
    return [z for y in x for z in guarded(x, y)]


def extended_by_an_array(x):
    found = [x[0]]
    for y in x:
        if y > 0.5:
            found.extend(x[x > y])
    return np.array(found)


@pytest.mark.parametrize("fun", [extended, added, comprehended, extended_by_an_array], ids=lambda f: f.__name__)
def test_lists_that_get_as_many_items_as_another_list_has(fun):
    check(fun)


def test_gradient_of_such_a_list():
    check_grads(lambda x: np.sum(np.array(extended(x)) ** 2), (GIVEN[0],), order=1)


def of_another_name(change: str) -> Callable[[Any], Any]:
    """``ys`` is perhaps another name of ``xs``, and one of both is changed."""

    def grow(x, xs):
        i = 0
        while i < 10 * x[2]:
            xs.append(x[3])
            i += 1

    def fun(x):
        xs = [x[0]]
        ys = xs if x[1] > 0.5 else [2.0, 3.0]
        if change == "one":
            xs.append(5.0)
        elif change == "other":
            ys.append(5.0)
        elif change == "loop":
            grow(x, xs)
        elif change == "item":
            xs[0] = 7.0
        return len(xs), len(ys), sum(xs), sum(ys)

    return fun


def test_lists_that_are_one_of_two():
    check(of_another_name("nothing"))
    for change in ("one", "other", "loop", "item"):
        with pytest.raises(MutationError, match="a list is changed that has another name perhaps"):
            jg.jit(of_another_name(change))(GIVEN[0])


def test_one_list_by_two_names():
    def lists(x):
        out = [x[0]]
        pair = (out, out) if x[1] > 0.5 else ([1.0, 2.0], [3.0, 4.0])
        pair[0].append(5.0)
        return pair

    def arrays(x):
        u = x * 2
        v, w = (u, u) if x[1] > 0.5 else (x[:2], x[:3])
        v[0] = 5.0
        return w

    def read(x):
        out = [x[0]]
        pair = (out, [x[1]]) if x[1] > 0.5 else ([1.0, 2.0], out)
        return sum(pair[0]), sum(pair[1]), len(pair[0])

    def both_of_one(x):
        b = [x[0], x[1], x[2]]
        a = b if x[3] > 0.3 else [x[4]]
        if x[5] > 0.5:
            b = []
        if len(b) > 0:
            b[0] = 7.0
        return sum(a), sum(b)

    for fun in (lists, arrays, both_of_one):
        with pytest.raises(JitgradError):
            jg.jit(fun)(GIVEN[0])
    check(read)


def test_a_list_begun_before_that_has_another_name():
    def fun(x):
        out = []
        keep = {"o": out}
        if x[0] > x[1]:
            return keep["o"]
        for v in x:
            out.append(v)  # noqa: PERF402
        return keep["o"]

    for x in GIVEN:
        with pytest.raises(JitgradError):
            jg.jit(fun)(x)


def test_arrays_that_are_one_of_two():
    def written(x):
        a = np.array([x[0], 1.0])
        b = a if x[1] > 0.5 else np.zeros(3)
        a[0] = 5.0
        return b.sum()

    def writes(x):
        a = np.array([x[0], 1.0])
        b = a if x[1] > 0.5 else np.zeros(3)
        b[0] = 5.0
        return a.sum()

    for fun in (written, writes):
        with pytest.raises(MutationError, match="chosen among others"):
            jg.jit(fun)(GIVEN[0])


# -- returns of lists out of the loops that make them ------------------------------------------------------------------


def conjugate_gradients(x):
    a = np.diag(1 + x) + 0.1 * np.outer(x, x)
    y, r = np.zeros_like(x), x.copy()
    p, norms = r.copy(), [np.linalg.norm(r)]
    for k in range(24):
        if norms[-1] < 1e-3:
            return y, norms, k, True
        ap = a @ p
        alpha = (r @ r) / (p @ ap)
        y += alpha * p
        new = r - alpha * ap
        p = new + (new @ new) / (r @ r) * p
        r = new
        norms.append(np.linalg.norm(r))
    return y, norms, 24, False


def endless(x):
    out = [0.0]
    while True:
        out.append(out[-1] + x[len(out) % 3])
        if out[-1] > 5:
            return np.array(out)


def of_two_loops(x):
    out = []
    for a in range(5):
        for b in range(5):
            s = x[0] * a + b
            if s > 4 * x[1]:
                return {"o": out, "a": a, "b": b, "s": s}
            out.append(s)
    return {"o": out, "a": 0, "b": 0, "s": 0.0}


def of_several_returns(x):
    found = []
    for i in range(len(x)):
        if x[i] > 0.95:
            return found, -1.0
        if x[i] > 0.4:
            found.append(i)
            if len(found) == 3:
                return found, x[i]
    return found, 0.0


def with_another_result(x):
    found = []
    for i in range(len(x)):
        if x[i] > 0.9:
            return x[i]
        found.append(x[i])
        if x[i] > 0.8:
            return sum(found)
    return 0.0


def behind_a_loop(x):
    found = []
    if x[0] > 0.1:
        for i in range(len(x)):
            if x[i] > 0.7:
                return found
            found.append(x[i])
    return found


RETURNS = [conjugate_gradients, endless, of_two_loops, of_several_returns, with_another_result, behind_a_loop]


@pytest.mark.parametrize("fun", RETURNS, ids=lambda f: f.__name__)
def test_returns(fun):
    check(fun)


def test_what_stands_behind_a_return_runs_before_it_is_left():
    log = []

    @contextlib.contextmanager
    def noting():
        yield
        log.append("left")

    def fun(x, n):
        out = []
        for i in range(n):
            with noting():
                if i == 3:
                    return out
            try:
                if i == 5:
                    return out
            finally:
                out.append(i)
        return out

    assert jg.jit(fun)(GIVEN[0], 9) == fun(GIVEN[0], 9) == [0, 1, 2]
    assert log == ["left"] * 8


def test_a_callback_that_appends():
    def solved(mv, b, callback):
        x, r = np.zeros_like(b), b - mv(np.zeros_like(b))
        p = r.copy()
        for _ in range(24):
            if r @ r < 1e-8:
                break
            ap = mv(p)
            alpha = (r @ r) / (p @ ap)
            x += alpha * p
            new = r - alpha * ap
            p = new + (new @ new) / (r @ r) * p
            r = new
            callback(x)
        return x

    def fun(x):
        seen, copies = [], []

        def note(y):
            seen.append(np.abs(y).max())
            copies.append(y.copy())

        out = solved(lambda v: v * (1 + x), x, note)
        return out, seen, len(copies), copies[0]

    check(fun)


def logging_helper(x):
    log = []

    def visit(v):
        if v > 0.5:
            return 0.0
        log.append(v)
        return 1.0

    n = visit(x[0]) + visit(x[1])
    for v in x:
        n += visit(v)
    return n, log


class Visitor:
    def __init__(self):
        self.log, self.count = [], 0

    def visit(self, v):
        if v > 0.5:
            return 0.0
        self.log.append(v)
        self.count += 1
        return 1.0


def logging_method(x):
    visitor = Visitor()
    n = visitor.visit(x[0]) + visitor.visit(x[1])
    return n, visitor.log, visitor.count


@pytest.mark.parametrize("fun", [logging_helper, logging_method], ids=lambda f: f.__name__)
def test_functions_that_append_or_return_early(fun):
    check(fun)


def test_what_can_not_be_followed_is_one_error():
    def differs(x):
        if x[0] > 0.5:
            return [x[0]], 1
        return [x[0], x[1]], [2]

    def ranks(x):
        return x if x[0] > 0.5 else x.reshape(3, 3)

    for fun in (differs, ranks):
        with pytest.raises(JitgradError, match="in another branch"):
            jg.jit(fun)(GIVEN[0])
