# ruff: noqa: PERF401, B007  (loops that append are what is tested)
"""Other names of what lists hold: short lists, dicts, arrays and parts of arrays that loops append. A change by one of
the names is seen by the others, or there is one clear error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import CarryError, MutationError, RollError

V = np.round(np.random.default_rng(0).uniform(-1, 1, 20), 3)
M = np.round(np.random.default_rng(1).uniform(-1, 1, (20, 3)), 3)
CASES: list[Callable] = []


def case(fun: Callable) -> Callable:
    CASES.append(fun)
    return fun


class P:
    def __init__(self, v, w):
        self.v, self.w = v, w


@case
def same_row(V, M, s, k):
    found = []
    row = [s, 1.0]
    for i in range(20):
        found.append(row)
        row[0] = V[i]
    return sum(r[0] for r in found)


@case
def same_row_after(V, M, s, k):
    found = []
    for i in range(20):
        row = [V[i], s]
        found.append(row)
    row[0] = 9.0
    return sum(r[0] for r in found)


@case
def same_row_after2(V, M, s, k):
    found = []
    for i in range(20):
        row = [V[i], s]
        if V[i] > -10:
            found.append(row)
    row[0] = 9.0
    return sum(r[0] for r in found)


@case
def item_then_row(V, M, s, k):
    found = []
    for i in range(20):
        row = [V[i], s]
        found.append(row)
    found[-1][0] = 9.0
    return row[0] + 0


@case
def item_then_row2(V, M, s, k):
    found = []
    for i in range(20):
        row = [V[i], s]
        if V[i] > -10:
            found.append(row)
    found[-1][0] = 9.0
    return row[0] + 0


@case
def item_then_row3(V, M, s, k):
    found = []
    t = 0.0
    for i in range(20):
        row = [V[i], s]
        found.append(row)
        found[-1][0] = 9.0
        t += row[0]
    return t


@case
def item_then_row4(V, M, s, k):
    found = []
    t = 0.0
    row = [s, s]
    for i in range(20):
        found.append([s, V[i]])
        found[-1][0] += row[0]
        row = [V[i], s]
        found.append(row)
        found[-1][0] = 9.0
    return t + sum(r[0] for r in found)


@case
def twice(V, M, s, k):
    a = []
    b = []
    for i in range(20):
        row = [V[i], s]
        a.append(row)
        b.append(row)
    a[-1][0] = 9.0
    return sum(r[0] for r in b)


@case
def twice2(V, M, s, k):
    a = []
    b = []
    for i in range(20):
        row = [V[i], s]
        if V[i] > -10:
            a.append(row)
            b.append(row)
    a[-1][0] = 9.0
    return sum(r[0] for r in b)


@case
def item_of_other(V, M, s, k):
    a = [[V[0], s]]
    b = []
    for i in range(20):
        a.append([V[i], s])
        b.append(a[-1])
    a[-1][0] = 9.0
    return sum(r[0] for r in b)


@case
def tuple_row(V, M, s, k):
    a = []
    for i in range(20):
        row = [V[i], s]
        a.append((s, row))
    row[0] = 9.0
    return sum(r[1][0] for r in a)


@case
def dict_item(V, M, s, k):
    a = []
    for i in range(20):
        row = {"x": V[i]}
        a.append(row)
        row["x"] = 9.0
    return sum(r["x"] for r in a)


@case
def dict_item2(V, M, s, k):
    a = []
    e = {"x": s}
    for i in range(20):
        e["x"] = V[i]
        a.append(e)
    return sum(r["x"] for r in a)


@case
def dict_item3(V, M, s, k):
    a = []
    for i in range(20):
        e = {"x": V[i]}
        a.append(e)
    e["x"] = 9.0
    return sum(r["x"] for r in a)


@case
def row_swap(V, M, s, k):
    a = []
    row = [s, s]
    other = [s, 2 * s]
    for i in range(20):
        row, other = other, row
        row[0] = V[i]
        a.append(row)
    return sum(r[0] for r in a)


@case
def prev_row(V, M, s, k):
    a = []
    prev = [s, s]
    for i in range(20):
        row = [V[i], s]
        a.append(row)
        prev[0] = 3.0
        prev = row
    return sum(r[0] for r in a)


@case
def prev_row2(V, M, s, k):
    a = []
    prev = [s, s]
    for i in range(20):
        row = [V[i], s]
        if V[i] > -10:
            a.append(row)
        prev[0] = 3.0 * V[i]
        prev = row
    return sum(r[0] for r in a)


@case
def views_M(V, M, s, k):
    a = []
    for i in range(20):
        a.append(M[i])
    M[3, 0] = 9.0
    return sum(r[0] for r in a)


@case
def views_M2(V, M, s, k):
    a = []
    for i in range(20):
        if V[i] > 0:
            a.append(M[i])
    M[3:, 0] = 9.0
    return sum(r[0] for r in a)


@case
def views_M3(V, M, s, k):
    a = []
    for i in range(20):
        if V[i] > -10:
            a.append(M[i])
    a[-1][0] = 9.0
    return M[19, 0]


@case
def views_M4(V, M, s, k):
    a = []
    for i in range(20):
        if V[i] > -10:
            a.append(M[i])
    n = len(a)
    M[3, 0] = 9.0
    return M[3, 0] + n


@case
def views_M5(V, M, s, k):
    a = []
    for i in range(20):
        M[i, 0] = V[i]
        a.append(M[i])
    return sum(r[0] for r in a)


@case
def views_M6(V, M, s, k):
    a = [M[2]]
    t = 0.0
    for i in range(20):
        a.append(M[i])
        t += a[-1][0]
    M *= 2.0
    return t


@case
def slice_alias(V, M, s, k):
    a = []
    for i in range(20):
        if V[i] > -10:
            a.append([V[i], s])
    b = a[:]
    b[-1][0] = 9.0
    return sum(r[0] for r in a)


@case
def nested_row(V, M, s, k):
    a = []
    for i in range(20):
        row = [[V[i], s], [s, s]]
        a.append(row)
    row[0][0] = 9.0
    return sum(r[0][0] for r in a)


@case
def before_row(V, M, s, k):
    r0 = [s, s]
    a = [r0]
    for i in range(20):
        a.append([V[i], s])
        r0[0] = V[i]
    return sum(r[0] for r in a)


@case
def before_row2(V, M, s, k):
    r0 = [s, s]
    a = [r0]
    for i in range(20):
        if V[i] > 0:
            a.append([V[i], s])
    r0[0] = 7.0
    return sum(r[0] for r in a)


@case
def before_row3(V, M, s, k):
    r0 = [s, s]
    a = [r0]
    for i in range(20):
        if V[i] > 0:
            a.append([V[i], s])
    a[0][0] = 7.0
    return r0[0]


@case
def arr_before(V, M, s, k):
    x = M[0] * 1.0
    a = [x]
    for i in range(20):
        if V[i] > 0:
            a.append(s * M[i])
    x[0] = 7.0
    return sum(r[0] for r in a)


@case
def arr_before2(V, M, s, k):
    x = M[0] * 1.0
    a = [x]
    for i in range(20):
        a.append(s * M[i])
        x[0] = V[i]
    return sum(r[0] for r in a)


@case
def arr_var(V, M, s, k):
    a = []
    for i in range(20):
        x = s * M[i]
        if V[i] > -10:
            a.append(x)
    x[0] = 7.0
    return sum(r[0] for r in a)


@case
def held_row(V, M, s, k):
    d = {"k": []}
    for i in range(20):
        row = [V[i], s]
        d["k"].append(row)
    row[0] = 7.0
    return sum(r[0] for r in d["k"])


@case
def buckets(V, M, s, k):
    B = [[], []]
    for i in range(20):
        row = [V[i], s]
        B[i % 2].append(row)
        row[0] = 3.0
    return sum(r[0] for r in B[1])


@case
def extend_rows(V, M, s, k):
    a = []
    for i in range(20):
        row = [V[i], s]
        a.extend([row, row])
    row[0] = 7.0
    return sum(r[0] for r in a)


@case
def comp_rows(V, M, s, k):
    row = [s, s]
    a = [row for i in range(20)]
    row[0] = 7.0
    return sum(r[0] for r in a)


@case
def comp_filt(V, M, s, k):
    row = [s, s]
    a = [row for i in range(20) if V[i] > 0]
    row[0] = 7.0
    return sum(r[0] for r in a)


@case
def filt_rows(V, M, s, k):
    a = [[V[i], s] for i in range(20)]
    b = [r for r in a if r[0] > 0]
    a[3][0] = 7.0
    return sum(r[0] for r in b)


@case
def setrow(V, M, s, k):
    a = [[0.0, 0.0] for i in range(20)]
    for i in range(20):
        row = [V[i], s]
        a[i] = row
        row[0] = 9.0
    return sum(r[0] for r in a)


@case
def obj_list(V, M, s, k):
    a = []
    for i in range(20):
        row = [V[i], s]
        a.append(P(row, s))
        row[0] = 9.0
    return sum(r.v[0] for r in a)


@case
def readobj(V, M, s, k):
    a = []
    for i in range(20):
        row = [V[i], s]
        a.append(P(row, s))
    a[-1].v[0] = 9.0
    return row[0]


@case
def popped_and_named(V, M, s, k):
    qs = [M[0] * s]
    for i in range(20):
        x = s * M[i]
        qs.append(x)
        y = qs.pop()
        y[0] = 5.0
        s += x[0]
    return s


@case
def popped_and_named_before(V, M, s, k):
    qs = [M[0] * s]
    x = M[1] * s
    for i in range(20):
        y = qs.pop()
        y[0] = 5.0 * V[i]
        s += x[0]
        x = s * M[i]
        qs.append(x)
    return s


@case
def popped_and_put_back(V, M, s, k):
    qs = [M[0] * s]
    for i in range(20):
        y = qs.pop()
        y[0] = 5.0 * V[i]
        y = y * 0.5
        qs.append(y)
    return s + qs[0][0]


@case
def popped_of_before(V, M, s, k):
    z = M[0] * s
    qs = [z]
    for i in range(k, 20):
        y = qs.pop()
        y[0] = 5.0 * V[i]
        qs.append(y * 0.5)
    return s + z[0]


@case
def read_and_named(V, M, s, k):
    qs = [M[0] * s, M[0] * s]
    x = M[1] * s
    z = x
    for i in range(k, 20):
        y = qs[-1]
        z = y
        qs.append(y * 0.5)
    z[0] = 7.0
    return s + qs[-2][0]


@case
def popped_part(V, M, s, k):
    qs = [M[0] * s, M[0] * s]
    x = M[1] * s
    z = x
    for i in range(k, 20):
        z = qs.pop()
        qs.append(M[i])
    z[0] = 7.0
    return s + M[18, 0]


@case
def first_named(V, M, s, k):
    qs = [M[0], M[0] * s]
    z = M[1] * s
    for i in range(k, 20):
        qs.append(M[i] * s)
        z = qs[0]
    z[0] = 7.0
    return s + M[0, 0]


@case
def first_behind(V, M, s, k):
    qs = [M[0], M[0] * s]
    for i in range(k, 20):
        qs.append(M[i] * s)
    z = qs[0]
    z[0] = 7.0
    return s + M[0, 0]


@case
def popped_behind(V, M, s, k):
    qs = [M[0], M[0] * s]
    for i in range(k, 20):
        qs.append(M[i])
    z = qs.pop()
    z[0] = 7.0
    return s + M[19, 0]


@case
def popped_behind_a_branch(V, M, s, k):
    qs = [M[0] * s, M[0] * s]
    for i in range(20):
        x = s * M[i]
        if V[i] > -10:
            qs.append(x)
    z = qs.pop()
    z[0] = 7.0
    return x[0]


@case
def part_in_a_branch(V, M, s, k):
    qs = [s * M[0], M[14] * 1.0]
    for i in range(20):
        a = M[k].copy()
        if V[2] > -10:
            qs.append(a.ravel())
        a[:2] = s
    return np.array(qs)[:, 0]


@case
def exchanged(V, M, s, k):
    a, b, qs = M[2] * 0.5, M[5] * 1.0, []
    for i in range(20):
        a, b = b, a
        qs.append(a)
    a[0] = 0.25
    return np.array(qs)[:, 0]


@case
def popped_tuples(V, M, s, k):
    qs = [M[0] * s, M[0] * s]
    for i in range(20):
        x = s * M[i]
        qs.append((s, x))
        _a, z = qs.pop()
        z[0] = 7.0
        s += x[0]
    return s


@case
def tuple_of_before(V, M, s, k):
    ts = [(s, M[0] * s)]
    a = M[2] * 0.5
    pair = (s, M[4] * s)
    for i in range(3):
        ts.extend([pair])
        pair = (9.0 + s, a)
    ts[-1][1][2] += 5.0
    return a[2]


@case
def tuple_appended_of_before(V, M, s, k):
    ts = []
    a = M[2] * 0.5
    pair = (s, M[4] * s)
    for i in range(3):
        ts.append(pair)
        pair = (s, a)
    ts[-1][1][2] += 5.0
    return a[2]


@case
def array_of_before(V, M, s, k):
    ts = []
    a = M[2] * 0.5
    pair = M[4] * s
    for i in range(20):
        ts.append(pair)
        pair = a
    ts[-1][2] += 5.0
    return a[2]


@case
def array_of_before_written(V, M, s, k):
    ts = []
    a = M[2] * 0.5
    pair = M[4] * s
    for i in range(20):
        ts.append(pair)
        pair = a
    a[2] += 5.0
    return ts[-1][2]


@case
def inserted_behind(V, M, s, k):
    xs = [s]
    for i in range(k, 20):
        xs.append(V[i])
    xs.insert(0, s)
    xs.append(3.0)
    xs.insert(0, 2 * s)
    t = 0.0
    for j, x in enumerate(xs):
        t += np.cos(j) * x
    return t + xs[1] + xs[-1]


@case
def inserted_rows_behind(V, M, s, k):
    xs = [[s, s]]
    for i in range(k, 20):
        xs.append([V[i], s])
    xs.insert(0, [2 * s, 3.0])
    t = 0.0
    for j, x in enumerate(xs):
        t += np.cos(j) * x[0]
    return t + xs[1][0] + xs[-1][0]


@case
def inserted_and_named(V, M, s, k):
    ts = [(s, M[1] * 1.0)]
    a = M[0] * 1.0
    for i in range(20):
        a = s * M[i]
        ts.insert(0, (s, a))
    a[0] = 4.0
    return ts[0][1][0] + a[1]


@case
def popped_row(V, M, s, k):
    rs = [[s, 1.0], [0.5, V[1]]]
    for i in range(k):
        row = rs.pop()
        rs.append([s, V[i]])
        s += row[0]
    return s + row[0]


@case
def appended_behind(V, M, s, k):
    qs = [M[0] * s]
    a = M[2] * 0.5
    for i in range(k, 20):
        qs.append(s * M[i])
    qs.append(a)
    a[0] = 7.0
    return qs[-1][0]


@case
def nested_loops(V, M, s, k):
    qs = [M[0] * s]
    a = M[2] * 0.5
    for i in range(2):
        for j in range(20):
            qs.append(a)
    a[0] = V[k]
    return qs[-1][0]


#: Those that have to be right, not an error, where loops may be unrolled.
RIGHT = {
    *(
        "same_row",
        "same_row_after",
        "item_then_row",
        "item_then_row3",
        "twice",
        "item_of_other",
        "tuple_row",
        "dict_item",
    ),
    *(
        "dict_item2",
        "row_swap",
        "prev_row",
        "views_M",
        "views_M4",
        "views_M5",
        "views_M6",
        "held_row",
        "buckets",
        "setrow",
    ),
    *("popped_and_named", "popped_and_put_back", "popped_part", "array_of_before", "inserted_behind", "nested_loops"),
    *("inserted_rows_behind", "popped_row"),
}


@pytest.mark.parametrize("fun", CASES, ids=lambda f: f.__name__)
def test_names_of_items(fun):
    args = (V, M, 0.375, 3)
    expected = fun(V.copy(), M.copy(), *args[2:])
    for loops in ("auto", "roll"):
        try:
            graph = jg.jit(fun, loops=loops).traced_graph(*args)
        except (CarryError, MutationError, RollError):
            assert loops == "roll" or fun.__name__ not in RIGHT
            continue
        np.testing.assert_allclose(jg.interpret(graph, *map(np.asarray, args))[0], expected, rtol=1e-12)
