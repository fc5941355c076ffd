# ruff: noqa: PERF401, B007  (loops that append are what is tested)
"""Other names of objects that lists of recorded loops hold: what Python shows by them is followed."""

from __future__ import annotations

import dataclasses

import pytest
from growing_lists import W, X, check, check_recorded

import jitgrad as jg
from jitgrad.errors import MutationError


class P:
    def __init__(self, x, v, mass=2.0):
        self.x, self.v, self.mass = x, v, mass

    def energy(self):
        return 0.5 * self.mass * self.v**2


class S:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y


class World:
    pass


@dataclasses.dataclass
class D:
    x: float
    v: float = 1.0


@dataclasses.dataclass(slots=True)
class DS:
    x: float
    v: float = 1.0


# -- objects that a variable, an attribute or a container holds besides ------------------------------------------------


def the_last_but_one(x, w):
    ps, a, b = [], P(0.0, x[0]), P(1.0, x[1])
    for t in range(20):
        a = b
        b = P(x[t] + a.v, w[t, 0])
        ps.append(b)
    a.x = 9.0
    return sum(p.x * p.v for p in ps) + a.v * b.x


def put_in_front(x, w):
    ps, p = [P(1.0, x[0])], P(0.0, x[1])
    for t in range(20):
        p = P(x[t], w[t, 0])
        ps.insert(0, p)
    p.x = 5.0
    return sum(k * q.x for k, q in enumerate(ps)) + p.v


def last_but_one_by_list(x, w):
    ps, a, b = [], P(0.0, x[0]), P(1.0, x[1])
    for t in range(20):
        a = b
        b = P(x[t] + a.v, w[t, 0])
        ps.append(b)
    ps[18].x = 9.0
    return sum(p.x * p.v for p in ps) + a.x * b.x


def front_by_list(x, w):
    ps, p = [P(1.0, x[0])], P(0.0, x[1])
    for t in range(20):
        p = P(x[t], w[t, 0])
        ps.insert(0, p)
    ps[0].x = 5.0
    return sum(k * q.x for k, q in enumerate(ps)) + p.x


def read_item_by_list(x, w):
    ps, p = [P(1.0, x[0])], None
    for t in range(20):
        p = ps[-1]
        ps.append(P(x[t] + 0.5 * p.x, w[t, 0]))
    ps[19].x = 3.0
    return sum(q.x * q.v for q in ps) + p.x


def read_item_changed(x, w):
    ps, p = [P(1.0, x[0])], P(0.0, 0.0)
    for t in range(20):
        p = ps[-1]
        ps.append(P(x[t] + 0.5 * p.x, w[t, 0]))
    p.x = 3.0
    return sum(q.x * q.v for q in ps) + ps[19].x


def inner_loop_var(x, w):
    ps, s = [], P(0.0, 1.0)
    for t in range(12):
        for k in range(12):
            s = P(x[t] + w[k, 0], s.v * 0.9)
            ps.append(s)
    s.x = 5.0
    return sum(p.x * p.v for p in ps)


def inner_loop_var_by_list(x, w):
    ps, s = [], P(0.0, 1.0)
    for t in range(12):
        for k in range(12):
            s = P(x[t] + w[k, 0], s.v * 0.9)
            ps.append(s)
    ps[-1].x = 5.0
    return sum(p.x * p.v for p in ps) + s.x


def static_branch_var(x, w):
    ps, s = [], P(0.0, 1.0)
    for t in range(20):
        if t % 2:
            s = P(x[t], w[t, 0])
            ps.append(s)
        else:
            ps.append(P(w[t, 1], x[t]))
    s.x = 5.0
    return sum(p.x * p.v for p in ps)


def static_branch_var_by_list(x, w):
    ps, s = [], P(0.0, 1.0)
    for t in range(20):
        if t % 2:
            s = P(x[t], w[t, 0])
            ps.append(s)
        else:
            ps.append(P(w[t, 1], x[t]))
    ps[19].x = 5.0
    return sum(p.x * p.v for p in ps) + s.x


def held_by_attribute(x, w):
    u = World()
    u.ps = []
    u.last = None
    for t in range(20):
        u.last = P(x[t], w[t, 0])
        u.ps.append(u.last)
    u.last.x = 6.0
    return sum(p.x * p.v for p in u.ps)


def held_by_attribute_by_list(x, w):
    u = World()
    u.ps = []
    u.last = P(0.0, 0.0)
    for t in range(20):
        u.last = P(x[t], w[t, 0])
        u.ps.append(u.last)
    u.ps[-1].x = 6.0
    return sum(p.x * p.v for p in u.ps) + u.last.x


def stored_in_list(x, w):
    ps, d = [], [P(0.0, 0.0), P(1.0, 1.0)]
    for t in range(20):
        p = P(x[t], w[t, 0])
        ps.append(p)
        d[t % 2] = p
    ps[18].x = 10.0
    return d[0].x + d[1].x


def nested_alias(x, w):
    ps, prev, last = [], P(0.0, 0.0), P(0.0, 0.0)
    for t in range(20):
        prev = last
        last = P(x[t], w[t, 0])
        ps.append(S(last, x[t]))
    prev.x = 8.0
    return sum(q.x.x * q.y for q in ps)


def nested_alias2(x, w):
    ps, prev, last = [], P(0.0, 0.0), P(0.0, 0.0)
    for t in range(20):
        prev = last
        last = P(x[t], w[t, 0])
        ps.append(S(last, x[t]))
    ps[18].x.x = 8.0
    return prev.x


def changed_under_if_by_alias2(x, w):
    ps, prev, last = [], P(0.0, 0.0), P(0.0, 0.0)
    for t in range(20):
        prev = last
        last = P(x[t] + prev.x * 0.1, w[t, 0])
        ps.append(last)
    if x[0] > 0:
        prev.x = 7.0
    return ps[18].x * w[0, 0]


def changed_in_later_loop_by_alias(x, w):
    ps, prev, last = [], P(0.0, 0.0), P(0.0, 0.0)
    for t in range(20):
        prev = last
        last = P(x[t] + prev.x * 0.1, w[t, 0])
        ps.append(last)
    for k in range(30):
        ps[18].x = ps[18].x * 0.9 + x[0]
    return prev.x * w[0, 0] + ps[18].x


def alias_in_container2(x, w):
    ps, prev, last = [], P(0.0, 0.0), P(0.0, 0.0)
    for t in range(20):
        prev = last
        last = P(x[t] + prev.x * 0.1, w[t, 0])
        ps.append(last)
    d = {"prev": prev, "all": ps}
    for k in range(30):
        d["prev"].x = d["prev"].x * 0.9 + x[0]
    return sum(p.x * p.v for p in d["all"])


def dataclass_slots(x, w):
    ps, d = [], DS(0.0, 1.0)
    for t in range(20):
        d = dataclasses.replace(d, x=d.x + x[t], v=w[t, 0])
        ps.append(d)
    d.x = 2.0
    return sum(p.x * p.v for p in ps)


def reverse_in_place(x, w):
    ps, p = [], P(0.0, 0.0)
    for t in range(20):
        p = P(x[t], w[t, 0])
        ps.append(p)
    ps.reverse()
    ps[0].x = 3.0
    return p.x + sum(k * q.x for k, q in enumerate(ps))


def kalman_alias(x, w):
    class State:
        def __init__(self, m, p):
            self.m, self.p = m, p

    ss = [State(0.0, 1.0)]
    for t in range(20):
        ss.append(State(ss[-1].m * 0.5 + x[t], ss[-1].p * 0.9))
    sm = [ss[-1]]
    for t in range(19, -1, -1):
        sm.append(State(sm[-1].m + ss[t].m, ss[t].p))
    ss[-1].m = 5.0
    return sm[0].m + sum(s.m * s.p for s in sm)


def springs(x, w):
    ps = [P(x[i], 0.0) for i in range(20)]
    springs = [(ps[i], ps[i + 1]) for i in range(19)]
    for step in range(3):
        for a, b in springs:
            f = b.x - a.x - 1.0
            a.v += 0.01 * f
            b.v -= 0.01 * f
        for p in ps:
            p.x += 0.01 * p.v
    return sum(p.x * p.v + p.energy() for p in ps)


CHANGED = [
    the_last_but_one,
    put_in_front,
    last_but_one_by_list,
    front_by_list,
    read_item_by_list,
    read_item_changed,
    inner_loop_var,
    inner_loop_var_by_list,
    static_branch_var,
    static_branch_var_by_list,
    held_by_attribute,
    held_by_attribute_by_list,
    stored_in_list,
    nested_alias,
    nested_alias2,
    changed_under_if_by_alias2,
    changed_in_later_loop_by_alias,
    alias_in_container2,
    dataclass_slots,
    reverse_in_place,
    kalman_alias,
    springs,
]

# -- which object it is ------------------------------------------------------------------------------------------------


def by_id(x, w):
    ps = []
    for t in range(20):
        ps.append(P(x[t], w[t, 0]))
    number = {id(p): float(k) for k, p in enumerate(ps)}
    s = 0.0
    for p in ps:
        s = s + number[id(p)] * p.x
    return s


def by_id_copy(x, w):
    ps, a, b = [], P(0.0, 0.0), P(0.0, 1.0)
    for t in range(20):
        a = b
        b = P(x[t], w[t, 0])
        ps.append(b)
    return x[0] * (id(a) == id(ps[18])) + x[1] * (a is ps[18]) + x[2] * (a in ps) + a.x


def index_of_copy(x, w):
    ps, a, b = [], P(0.0, 0.0), P(0.0, 1.0)
    for t in range(20):
        a = b
        b = P(x[t], w[t, 0])
        ps.append(b)
    return x[0] * ps.index(a) + ps.count(a) * x[3]


def remove_copy(x, w):
    ps, a, b = [], P(0.0, 0.0), P(0.0, 1.0)
    for t in range(20):
        a = b
        b = P(x[t], w[t, 0])
        ps.append(b)
    ps.remove(a)
    return sum(k * p.x for k, p in enumerate(ps))


def set_of_copies(x, w):
    ps, a, b = [], P(0.0, 0.0), P(0.0, 1.0)
    for t in range(20):
        a = b
        b = P(x[t], w[t, 0])
        ps.append(b)
    s = {a}
    t = set()
    t.add(a)
    return x[0] * (ps[18] in s) + x[1] * (ps[18] in t) + len(s | {ps[18]}) * x[2] + len(s & set(ps)) * x[3]


def dict_of_copies(x, w):
    ps, a, b = [], P(0.0, 0.0), P(0.0, 1.0)
    for t in range(20):
        a = b
        b = P(x[t], w[t, 0])
        ps.append(b)
    d = {a: x[1]}
    return d.get(ps[18], x[0]) + len(dict.fromkeys([a, ps[18]])) * x[2]


def list_equality(x, w):
    ps, a, b = [], P(0.0, 0.0), P(0.0, 1.0)
    for t in range(20):
        a = b
        b = P(x[t], w[t, 0])
        ps.append(b)
    return x[0] * ([a, b] == ps[18:]) + x[1] * ((a, 1) == (ps[18], 1)) + x[2] * (a != ps[18])


def dunder_dict(x, w):
    ps = []
    for t in range(20):
        ps.append(P(x[t], w[t, 0]))
    for p in ps:
        p.__dict__["x"] = 2.0 * p.v
        vars(p)["v"] = 1.0 + p.x
    return sum(p.x * p.v for p in ps)


def dunder_update(x, w):
    ps = []
    for t in range(20):
        ps.append(P(x[t], w[t, 0]))
    for p in ps:
        p.__dict__.update(x=p.v * 2.0)
    return sum(p.x * p.v for p in ps)


def in_set(x, w):
    ps, seen = [], set()
    for t in range(20):
        p = P(x[t], w[t, 0])
        ps.append(p)
        if t % 3 == 0:
            seen.add(p)
    return sum(p.x for p in ps if p in seen)


IDENTITY = [
    by_id,
    by_id_copy,
    index_of_copy,
    remove_copy,
    set_of_copies,
    dict_of_copies,
    list_equality,
    dunder_dict,
    dunder_update,
    in_set,
]

# -- items that min, max and sorted choose -----------------------------------------------------------------------------


def min_by_static_key(x, w):
    ps = []
    for t in range(20):
        ps.append(D(float((t * 7) % 20), x[t]))
    q = min(ps, key=lambda p: p.x)
    q.v = 3.0
    return sum(k * p.v for k, p in enumerate(ps))


def min_many_then_change_plain(x, w):
    ps = [P(x[i], w[i, 0]) for i in range(20)]
    best = min(ps, key=lambda p: p.x).v
    ps[0].v = 3.0
    return sum(p.x * p.v for p in ps) * best


def sorted_by_key(x, w):
    ps = []
    for t in range(20):
        ps.append(D(float((t * 7) % 20), x[t]))
    qs = sorted(ps, key=lambda p: p.x)
    qs[0].v = 3.0
    return sum(k * q.v for k, q in enumerate(qs)) + ps[0].v


def sorted_rebound(x, w):
    ps = [D(x[i], w[i, 0]) for i in range(5)]
    ps = sorted(ps, key=lambda p: p.x)
    ps[0].v = 3.0
    return sum(p.v * k for k, p in enumerate(ps))


CHOSEN = [min_by_static_key, min_many_then_change_plain, sorted_by_key, sorted_rebound]


@pytest.mark.parametrize("fun", CHANGED + IDENTITY + CHOSEN, ids=lambda f: f.__name__)
def test_what_python_shows_is_followed(fun):
    check(fun)


def only_read(x, w):
    ps, a, b = [], P(0.0, x[0]), P(1.0, x[1])
    for t in range(20):
        a = b
        b = P(x[t] + a.v, w[t, 0])
        ps.append(b)
    return sum(p.x * p.v for p in ps) + a.v * b.x + ps[18].x


def changed_once_its_copy_is_gone(x, w):
    ps, a, b = [], P(0.0, x[0]), P(1.0, x[1])
    for t in range(20):
        a = b
        b = P(x[t] + a.v, w[t, 0])
        ps.append(b)
    v = a.v
    del a
    ps[18].x = 3.0 * x[0]
    return sum(p.x * p.v for p in ps) * v


@pytest.mark.parametrize("fun", [only_read, changed_once_its_copy_is_gone], ids=lambda f: f.__name__)
def test_loops_are_recorded_where_no_copy_shows(fun):
    check_recorded(fun)


# -- refused -----------------------------------------------------------------------------------------------------------


def the_chosen_item_changed(x, w):
    ps = [D(x[i], w[i, 0]) for i in range(3)]
    q = min(ps, key=lambda p: p.x)
    q.v = 3.0
    return sum(p.v for p in ps)


def an_item_changed_of_which_one_is_chosen(x, w):
    ps = [P(x[i], w[i, 0]) for i in range(20)]
    q = max(ps, key=lambda p: p.x)
    ps[3].v = 2.0
    return q.v


def a_sorted_item_changed(x, w):
    ps = [D(x[i], w[i, 0]) for i in range(5)]
    qs = sorted(ps, key=lambda p: p.x)
    qs[0].v = 3.0
    return sum(p.v for p in ps)


def chosen_in_a_loop_and_changed(x, w):
    a, b = P(x[0], x[1]), P(x[2], x[3])
    for t in range(12):
        b = P(x[t], w[t, 0])
        if t % 2:
            b = a
    a.x = 9.0
    return b.x * x[3]


def a_list_chosen_in_a_loop_and_changed(x, w):
    a, b = [x[0], x[1]], [x[2], x[3]]
    for t in range(12):
        b = [x[t], w[t, 0]]
        if t % 2:
            b = a
    b[0] = 9.0
    return a[0] * x[3]


@pytest.mark.parametrize(
    "fun, line",
    [
        (chosen_in_a_loop_and_changed, "a.x = 9.0"),
        (a_list_chosen_in_a_loop_and_changed, "b[0] = 9.0"),
        (the_chosen_item_changed, "q.v = 3.0"),
        (an_item_changed_of_which_one_is_chosen, "ps[3].v = 2.0"),
        (a_sorted_item_changed, "qs[0].v = 3.0"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_changes_of_what_traced_values_choose_are_refused(fun, line):
    with pytest.raises(MutationError, match="has another name perhaps") as raised:
        jg.jit(fun)(X, W)
    assert line in str(raised.value)


def test_a_function_is_traced_once_more_at_most():
    traced = []

    def note(name):
        traced.append(name)

    note.__code__ = note.__code__.replace(co_filename="<string>")  # it runs as it is

    def failing(x, w):
        note("failing")
        the_last_but_one(x, w)
        raise ValueError("no value")

    def run(fun):
        def f(x, w):
            note("f")
            return fun(x, w)

        del traced[:]
        jg.jit(f)(X, W)
        return len(traced)

    assert run(only_read) == 1
    assert run(the_last_but_one) == 2
    del traced[:]
    with pytest.raises(ValueError, match="no value"):
        jg.jit(failing)(X, W)
    assert len(traced) == 2


def test_explain_says_why_a_loop_is_unrolled():
    assert "a list gets objects, and a P is changed that" in jg.jit(the_last_but_one).explain(X, W)
