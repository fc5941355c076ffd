# ruff: noqa: PERF401, B007  (loops that append are what is tested)
"""Other names of arrays that recorded loops append to lists, and that objects in lists hold."""

from __future__ import annotations

import numpy as np
import pytest
from growing_lists import W, X, check, check_recorded

import jitgrad as jg
from jitgrad.errors import JitgradError, MutationError


class P:
    def __init__(self, x, v, mass=2.0):
        self.x, self.v, self.mass = x, v, mass


class Sim:
    pass


# -- arrays that other names change, or show ---------------------------------------------------------------------------


def arrays_in_items_alias(x, w):
    ps, prev, b = [], np.zeros(3), np.zeros(3)
    for t in range(20):
        prev = b
        b = w[t] * x[t]
        ps.append(P(b, x[t]))
    ps[18].x[1] = 50.0
    return np.sum(prev) + sum(np.sum(p.x * p.v) for p in ps)


def arrays_in_items_alias2(x, w):
    ps, prev, b = [], np.zeros(3), np.zeros(3)
    for t in range(20):
        prev = b
        b = w[t] * x[t]
        ps.append(P(b, x[t]))
    prev[1] = 50.0
    b += 1.0
    return sum(np.sum(p.x * p.v) for p in ps)


def arrays_in_items_prev_alias(x, w):
    ps, a, b = [], P(np.zeros(3), 0.0), P(np.zeros(3), 0.0)
    for t in range(20):
        a = b
        b = P(w[t] * x[t], x[t])
        ps.append(b)
    a.x[1] = 50.0
    return sum(np.sum(p.x * p.v) for p in ps)


def arrays_in_items_prev_alias2(x, w):
    ps, a, b = [], P(np.zeros(3), 0.0), P(np.zeros(3), 0.0)
    for t in range(20):
        a = b
        b = P(w[t] * x[t], x[t])
        ps.append(b)
    ps[18].x[1] = 50.0
    return np.sum(a.x)


def arrays_shared_by_two(x, w):
    ps, qs = [], []
    for t in range(20):
        a = w[t] * x[t]
        ps.append(P(a, x[t]))
        qs.append(P(a, 1.0))
    ps[3].x[0] = 10.0
    return sum(np.sum(p.x * p.v) for p in qs)


def attr_held(x, w):
    s = Sim()
    s.b = np.zeros(3)
    s.log = []
    for t in range(20):
        s.b = w[t] * x[t]
        s.log.append(P(s.b, x[t]))
    s.log[-1].x[0] = 5.0
    return np.sum(s.b)


def attr_held_prev(x, w):
    s = Sim()
    s.b = s.a = np.zeros(3)
    s.log = []
    for t in range(20):
        s.a = s.b
        s.b = w[t] * x[t]
        s.log.append(P(s.b, x[t]))
    s.a[0] = 5.0
    return sum(np.sum(p.x) for p in s.log)


def dict_held(x, w):
    s, log = {"b": np.zeros(3)}, []
    for t in range(20):
        s["b"] = w[t] * x[t]
        log.append(P(s["b"], x[t]))
    s["b"][0] = 5.0
    return sum(np.sum(p.x) for p in log)


def tuple_held(x, w):
    s, log = (np.zeros(3), 0.0), []
    for t in range(20):
        s = (w[t] * x[t] + s[0], s[1] + 1.0)
        log.append(P(s[0], x[t]))
    s[0][0] = 5.0
    return sum(np.sum(p.x) for p in log)


def other_object_holds(x, w):
    q, log = P(np.zeros(3), 1.0), []
    for t in range(20):
        a = w[t] * x[t]
        q = P(a, 2.0)
        log.append(P(a, x[t]))
    q.x[0] = 5.0
    return sum(np.sum(p.x) for p in log)


def array_of_prev_object(x, w):
    s, a, log = P(w[0] * 1.0, w[1] * 1.0), np.zeros(3), []
    for t in range(40):
        a = s.x
        s = P(s.x + 0.1 * s.v, s.v - 0.1 * s.x)
        log.append(s)
    log[38].x[0] = 4.0
    return np.sum(a)


def array_view_of_object(x, w):
    a, log = np.zeros(2), []
    for t in range(40):
        s = P(w[t % 20] * 2.0, x[t % 20])
        a = s.x[:2]
        log.append(s)
    log[39].x[0] = 4.0
    a[1] = 7.0
    return np.sum(a) + np.sum(log[39].x)


def read_object_of_item(x, w):
    a, log = P(w[0] * 1.0, 1.0), [P(w[0] * 1.0, 1.0)]
    for t in range(40):
        a = log[-1]
        log.append(P(a.x * 0.9 + x[t % 20], x[t % 20]))
    log[39].x[0] = 4.0
    a.x[1] = 6.0
    return np.sum(a.x) + np.sum(log[39].x)


def trajectory_changed(x, w):
    pos, vel, log = w[0] * 1.0, w[1] * 1.0, []
    for t in range(40):
        vel = vel - 0.1 * pos
        pos = pos + 0.1 * vel
        log.append(P(pos, vel))
    pos += 1.0
    log[-1].v[0] = 3.0
    return np.sum(pos) + np.sum(vel) + sum(np.sum(p.x * p.v) for p in log)


def trajectory_in_place(x, w):
    pos, log = w[0] * 1.0, []
    for t in range(40):
        pos += 0.1 * w[t % 20]
        log.append(P(pos, x[t % 20]))
    return sum(np.sum(p.x * p.v) for p in log)


def state_object_arrays_prev(x, w):
    s, r, log = P(w[0] * 1.0, w[1] * 1.0), P(w[0] * 1.0, w[1] * 1.0), []
    for t in range(40):
        r = s
        s = P(s.x + 0.1 * s.v, s.v - 0.1 * s.x)
        log.append(s)
    log[38].x[0] = 4.0
    return np.sum(r.x) + sum(np.sum(p.x * p.v) for p in log)


def prev_list(x, w):
    ps, prev, b = [], np.zeros(3), np.zeros(3)
    for t in range(20):
        prev = b
        b = w[t] * x[t]
        ps.append(b)
    ps[18][1] = 50.0
    return np.sum(prev)


def prev_var(x, w):
    ps, prev, b = [], np.zeros(3), np.zeros(3)
    for t in range(20):
        prev = b
        b = w[t] * x[t]
        ps.append(b)
    prev[1] = 50.0
    return sum(np.sum(p) for p in ps)


def two_lists_tuple(x, w):
    ps, qs = [], []
    for t in range(20):
        a = w[t] * x[t]
        ps.append((a, t))
        qs.append((a, 1.0))
    ps[3][0][0] = 10.0
    return sum(np.sum(p[0]) for p in qs)


def two_lists_grown(x, w):
    ps, qs = [w[0]], [w[1]]
    for t in range(20):
        a = w[t] * ps[-1] + qs[0]
        ps.append(a)
        qs.append(a)
    ps[3][0] = 10.0
    return sum(np.sum(p) for p in qs)


def prev_grown(x, w):
    ps, prev, b = [w[0] * 1.0], np.zeros(3), np.zeros(3)
    for t in range(20):
        prev = b
        b = w[t] * x[t] + ps[t // 2]
        ps.append(b)
    ps[19][1] = 50.0
    return np.sum(prev)


def prev_grown_var(x, w):
    ps, prev, b = [w[0] * 1.0], np.zeros(3), np.zeros(3)
    for t in range(20):
        prev = b
        b = w[t] * x[t] + ps[t // 2]
        ps.append(b)
    prev[1] = 50.0
    return np.sum(ps[19])


def twice(x, w):
    ps = [w[0] * 1.0]
    for t in range(20):
        a = w[t] * ps[t // 2]
        ps.append(a)
        ps.append(a)
    ps[4][1] = 50.0
    return sum(np.sum(k * p) for k, p in enumerate(ps))


FOLLOWED = [
    arrays_in_items_alias,
    arrays_in_items_alias2,
    arrays_in_items_prev_alias,
    arrays_in_items_prev_alias2,
    arrays_shared_by_two,
    attr_held,
    attr_held_prev,
    dict_held,
    tuple_held,
    other_object_holds,
    array_of_prev_object,
    array_view_of_object,
    read_object_of_item,
    trajectory_changed,
    trajectory_in_place,
    state_object_arrays_prev,
    prev_list,
    prev_var,
    two_lists_tuple,
    two_lists_grown,
    prev_grown,
    prev_grown_var,
    twice,
]

# -- recorded ----------------------------------------------------------------------------------------------------------


def trajectory(x, w):
    pos, vel, log = w[0] * 1.0, w[1] * 1.0, []
    for t in range(40):
        vel = vel - 0.1 * pos
        pos = pos + 0.1 * vel
        log.append(P(pos, vel))
    return np.sum(pos) + sum(np.sum(p.x * p.v) for p in log)


def state_object_arrays(x, w):
    s, log = P(w[0] * 1.0, w[1] * 1.0), []
    for t in range(40):
        s = P(s.x + 0.1 * s.v, s.v - 0.1 * s.x)
        log.append(s)
    s.x[0] = 4.0
    log[-1].v[1] = 3.0
    return np.sum(s.v) + sum(np.sum(p.x * p.v) for p in log)


def tuple_held_read(x, w):
    s, log = (np.zeros(3), x[0]), []
    for t in range(20):
        s = (w[t] * x[t] + s[0], s[1] * 0.9)
        log.append(P(s[0], x[t]))
    return np.sum(s[0]) + sum(np.sum(p.x * p.v) for p in log)


RECORDED = [trajectory, state_object_arrays, tuple_held_read]


@pytest.mark.parametrize("fun", FOLLOWED, ids=lambda f: f.__name__)
def test_what_python_shows_is_followed(fun):
    check(fun)


@pytest.mark.parametrize("fun", RECORDED, ids=lambda f: f.__name__)
def test_recorded(fun):
    check_recorded(fun)


# -- lists whose length the run tells, which have copies of what they held before --------------------------------------


def open_end(x, w):
    ps = [P(w[0] * 1.0, x[3])]
    for t in range(20):
        if x[t] > 0:
            ps.append(P(w[t] * x[t], w[t, 0]))
    return sum(np.sum(p.x) * p.v for p in ps)


def open_end_and_a_name(x, w):
    a = P(x[0], x[1])
    ps = [a, P(w[0, 0], x[3])]
    for t in range(20):
        if x[t] > 0:
            ps.append(P(x[t], w[t, 0]))
    return sum(p.x * p.v for p in ps) + a.x


@pytest.mark.parametrize("fun", [open_end, open_end_and_a_name], ids=lambda f: f.__name__)
def test_lists_of_unknown_length(fun):
    check_recorded(fun)


def test_changes_by_names_from_before_such_a_list_are_refused():
    def of_an_object(x, w):
        a = P(x[0], x[1])
        ps = [a]
        for t in range(20):
            if x[t] > 0:
                ps.append(P(x[t], w[t, 0]))
        a.x = 9.0
        return sum(p.x * p.v for p in ps)

    def of_its_array(x, w):
        v = w[0] * 1.0
        ps = [P(v, x[1])]
        for t in range(20):
            if x[t] > 0:
                ps.append(P(w[t] * x[t], w[t, 0]))
        v[0] = 9.0
        return sum(np.sum(p.x) * p.v for p in ps)

    with pytest.raises(MutationError, match="a P is changed that is an item"):
        jg.jit(of_an_object)(X, W)
    with pytest.raises(JitgradError, match="list of 1 in another branch"):
        jg.jit(of_its_array)(X, W)
