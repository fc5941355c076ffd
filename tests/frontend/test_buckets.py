"""Tables of lists of which a traced key takes one."""

from __future__ import annotations

import collections
from collections import defaultdict

import numpy as np
import pytest
from compared import normal
from traced import leaves

import jitgrad as jg
from jitgrad.errors import ConcretizationError, IndexBoundsError, JitgradWarning, MutationError, UnsupportedError
from jitgrad.testing import check_grads

LABELS = np.arange(20) * 7 % 3
VALUES, POINTS = normal(20), normal(20, 2, seed=1)


def check(f, *args, grads=False):
    """The same values with jit as without, and derivatives, of which the labels are traced too."""
    expected = leaves(f(*map(np.copy, args)))
    for found, wanted in zip(leaves(jg.jit(f)(*map(np.copy, args))), expected, strict=True):
        assert np.asarray(found).dtype == np.asarray(wanted).dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-5 if found.dtype == np.float32 else 1e-12)
    if grads:
        check_grads(lambda x: f(x, *(a + np.where(np.sum(x) > 1e9, 1, 0) for a in args[1:])), args[:1], 1, ("rev",))


def is_recorded(f, *args):
    return "unrolled, 20" not in jg.jit(f).explain(*args)


def nearest(centres, x):
    return np.argmin(np.sum((centres - x) ** 2, axis=1))


# -- how tables are made, filled and read ------------------------------------------------------------------------------


def read_in_many_ways(values, labels):
    """What was appended with known keys is in between."""
    table = [[] for _ in range(3)]
    table[0].append(values[0])
    first = table[-2]
    for i in range(len(values)):
        table[labels[i]].append(values[i])
        table[-1].append(2 * values[i])
    table[1].append(values[1])
    k = labels[3]
    total = 0.0
    for c, items in enumerate(table):
        for j, v in enumerate(items):
            total += v * (c + j)
    means = [np.mean(items) for items in table]
    ends = [(items[0], items[-1], sum(items[1:3]), sorted(items)[0], max(items)) for items in table]
    sizes = [(len(items), items and len(items) > 7) for items in table]
    traced = np.sum(np.array(table[k])[:2]), len(table[k]), table[k][1]
    return total, means, ends, [s[0] for s in sizes], traced, len(first), sum(first), len(max(table, key=len))


def items_of_all_kinds(points, labels):
    rows, pairs, lists, places = ([[] for _ in range(3)] for _ in range(4))
    for i, x in enumerate(points):
        rows[labels[i]].append(x)
        pairs[labels[i]].append((i, x))
        lists[labels[i]].append([x[0], x[1] ** 2])
        places[labels[i]].append(i)
    return (
        np.array([np.mean(b, axis=0) for b in rows]),
        [sum(i * x for i, x in b) for b in pairs],
        np.array([np.mean(b, axis=0) for b in lists]),
        [np.var(points[b], axis=0) for b in places],
        np.array([np.mean([points[i] for i in b], axis=0) for b in places]),
        [np.vstack(b)[1] for b in rows],
    )


def dicts(values, labels):
    known, shown = {c: [] for c in range(3)}, {0.0: [], 1.0: [], 2.0: []}
    later, sides, groups = {}, {True: [], False: []}, defaultdict(list)
    for c in range(3):
        later[c] = []
    for v, c in zip(values, labels, strict=True):
        known[c].append(v)
        shown[c * 1.0].append(v)
        later[int(c)].append(v)
        sides[v > 0].append(v)
        groups[c + 5] += [v, 2 * v]
    return (
        [np.mean(b) for b in known.values()],
        [(k, len(b)) for k, b in known.items()],
        [sum(shown[k]) for k in shown],
        [np.std(later[c]) for c in range(3)],
        sum(sides[True]) - np.mean(sides[False]),
        [np.sum(groups[k]) for k in range(5, 8)],
        len(groups[1]),
    )


def conditions(values, labels):
    """Some buckets stay empty, and whether one gets an item depends on what it has."""
    table, positive, running = [], [[], [], [], []], [[0.0] for _ in range(3)]
    for _ in range(4):
        table.append([])  # noqa: PERF401
    for i in range(20):
        if len(table[labels[i]]) < 4:
            table[labels[i]].append(values[i])
        if values[i] > 0:
            positive[labels[i]].extend([values[i]])
        running[labels[i]].append(running[labels[i]][-1] * 0.5 + values[i])
    if values[0] > 0:
        running[0].append(1.0)
    else:
        running[1].append(2.0)
    empty = [0.0 if not b else np.mean(b) for b in table]
    return empty, [np.sum(b) for b in positive], [len(b) for b in positive], [b[-1] for b in running]


@pytest.mark.parametrize(
    "f, data",
    [(read_in_many_ways, VALUES), (items_of_all_kinds, POINTS), (dicts, VALUES), (conditions, VALUES)],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_tables(f, data) -> None:
    check(f, data, LABELS, grads=True)
    assert is_recorded(f, data, LABELS)


# -- programs ----------------------------------------------------------------------------------------------------------


class KMeans:
    def __init__(self, k):
        self.k = k
        self.clusters = [[] for _ in range(k)]

    def fit(self, points, steps):
        self.points, self.centres = points, [points[i] for i in range(self.k)]
        for _ in range(steps):
            self.clusters = self.assigned()
            before = self.centres
            self.centres = self.means()
            if sum(np.sum((before[c] - self.centres[c]) ** 2) for c in range(self.k)) == 0:
                break
        return self.centres, self.labels()

    def assigned(self):
        clusters = [[] for _ in range(self.k)]
        for i, x in enumerate(self.points):
            clusters[np.argmin([np.linalg.norm(x - c) for c in self.centres])].append(i)
        return clusters

    def means(self):
        found = np.zeros((self.k, 2))
        for c, members in enumerate(self.clusters):
            if len(members) > 0:
                found[c] = np.mean(self.points[members], axis=0)
        return found

    def labels(self):
        found = np.zeros(len(self.points))
        for c, members in enumerate(self.clusters):
            for i in members:
                found[i] = c
        return found


def k_means(points):
    return KMeans(3).fit(points, 20)


def repeated(points, centres):
    """The last table is read behind the loop; a ``while``."""
    for _ in range(10):
        table = [[] for _ in range(3)]
        for x in points:
            table[nearest(centres, x)].append(x)
        centres = np.array([np.mean(b, axis=0) for b in table])
    moved, k, others = 1.0, 0, centres * 1.0
    while moved > 1e-9 and k < 50:
        groups = collections.defaultdict(list)
        for x in points:
            groups[nearest(others, x)].append(x)
        before = others.copy()
        for c in range(3):
            if groups[c]:
                others[c] = np.mean([x * 1.0 for x in groups[c]], axis=0)
        moved, k = np.sum(np.abs(others - before)), k + 1
    return centres, [len(b) for b in table], others, k


def bucket_sort(values):
    n, low, high = len(values), values.min(), values.max()
    buckets = [[] for _ in range(n)]
    for v in values:
        buckets[min(int((v - low) / (high - low) * n), n - 1)].append(v)
    found = []
    for b in buckets:
        for v in sorted(b):
            found.append(v)  # noqa: PERF402
    return sum(k * v for k, v in enumerate(found)), found[0], found[-1]


def hashed(keys):
    buckets = [[] for _ in range(7)]
    for k in keys:
        buckets[k % 7].append(k)
    return [len(b) for b in buckets], [b[0] if b else -1 for b in buckets], max(len(b) for b in buckets)


def grouped(values, labels, k):
    groups = [[] for _ in range(k)]

    def put(v, c):
        groups[c].append(v)

    for v, c in zip(values, labels, strict=True):
        put(v, c)
    return groups


def chosen(values, labels):
    """Tables that branches choose, of a function that makes several."""
    a, b = grouped(values, labels, 3), grouped(2 * values, 2 - labels, 3)
    c = a if values[0] > 0 else b
    return [np.mean(x) for x in c], [np.mean(x) - np.mean(y) for x, y in zip(a, b, strict=True)]


def test_programs() -> None:
    check(k_means, POINTS, grads=True)
    check(repeated, POINTS, POINTS[:3])
    check(bucket_sort, VALUES)
    check(hashed, np.arange(40) * 13 % 31)
    check(chosen, VALUES.astype(np.float32), LABELS)
    assert is_recorded(repeated, POINTS, POINTS[:3])


def test_tables_are_results() -> None:
    def f(values, labels):
        table = {c: [] for c in range(3)}
        for i in range(len(values)):
            table[labels[i]].append(i)
        return table, grouped(values, labels, 4)

    for n in (20, 0):
        found, wanted = jg.jit(f)(VALUES[:n], LABELS[:n]), f(VALUES[:n], LABELS[:n])
        assert found == wanted
        assert [*map(type, found)] == [dict, list]


def test_an_attribute_keeps_what_it_held() -> None:
    """The function is traced twice."""
    model = KMeans(3)
    model.clusters = "before"
    with pytest.warns(JitgradWarning, match="clusters"):
        jg.jit(lambda x: model.fit(x, 20)[0])(POINTS)
    assert model.clusters == "before"


def test_transformations() -> None:
    def means(points):
        table = [[] for _ in range(3)]
        for x in points:
            table[nearest(POINTS[:3], x)].append(x)
        return np.array([np.mean(b, axis=0) for b in table])

    many = np.stack([POINTS, POINTS * 1.1])
    np.testing.assert_allclose(jg.vmap(means)(many), [means(x) for x in many])
    with jg.config.using(backend="python"):
        np.testing.assert_allclose(jg.jit(means)(POINTS), means(POINTS))


# -- what is refused ---------------------------------------------------------------------------------------------------


def written_before_it_is_read(points, labels):
    table = grouped(points, labels, 3)
    points[0] = 7.0
    return np.sum(table[0])


def written_in_the_loop(points, labels):
    points, table = points.copy(), [[] for _ in range(3)]
    for i in range(20):
        table[labels[i]].append(points[i])
        points[i * 7 % 20] += 1.0
    return np.sum(table[0])


def of_an_earlier_iteration(points, labels):
    table = [[] for _ in range(3)]
    for _ in range(10):
        points = points * 1.1
        for i in range(20):
            table[labels[i]].append(points[i])
    points[0] = 5.0
    return np.sum(table[0])


def row_changed(points, labels):
    table, row = [[] for _ in range(3)], [points[0, 0], 1.0]
    for i in range(20):
        table[labels[i]].append([points[i, 0], 2.0])
    table[0].append(row)
    count = len(table[1])
    row[0] = 9.0
    return sum(r[0] for r in table[0]), count


def row_changed_in_the_loop(points, labels):
    table = [[] for _ in range(3)]
    for i in range(20):
        row = [points[i, 0], 1.0]
        table[labels[i]].append(row)
        row[0] = row[0] * 2
    return sum(r[0] for r in table[0])


def row_changed_behind_the_loop(points, labels):
    table = [[] for _ in range(3)]
    for i in range(20):
        row = [points[i, 0], 1.0]
        table[labels[i]].append(row)
    row[0] = 9.0
    return sum(r[0] for r in table[1])


def item_written(points, labels):
    table = grouped(points, labels, 3)
    table[0][0][0] = 5.0
    return np.sum(table[0])


def second_name(points, labels):
    for _ in range(10):
        table = [[] for _ in range(3)]
        other = table
        for i in range(20):
            table[labels[i]].append(points[i, 0])
    table[0].append(5.0)
    return sum(other[0])


def rows_written(points, labels):
    rows = [points[i] for i in range(20) if labels[i] == 0]
    points[0] = 7.0
    return np.sum(rows)


@pytest.mark.parametrize(
    "f",
    [
        written_before_it_is_read,
        written_in_the_loop,
        of_an_earlier_iteration,
        row_changed,
        row_changed_in_the_loop,
        row_changed_behind_the_loop,
        item_written,
        second_name,
        rows_written,
    ],
)
def test_changes_that_copies_would_not_show(f) -> None:
    with pytest.raises(MutationError):
        jg.jit(f)(POINTS.copy(), LABELS)


@pytest.mark.parametrize(
    "use",
    [
        lambda table: table[0].pop(),
        lambda table: table[0].sort(),
        lambda table: table[0] + [1.0],
        lambda table: table[0] == table[1],
        lambda table: 1.0 in table[0],
        lambda table: list(table[0]),
        lambda table: table.pop(),
        lambda table: table.__setitem__(0, []),
        lambda table: np.concatenate(table),
    ],
)
def test_other_uses(use) -> None:
    with pytest.raises(UnsupportedError, match="a table of lists, out of which a traced key takes one"):
        jg.jit(lambda values, labels: use(grouped(values, labels, 3)) and None)(VALUES, LABELS)


def test_keys() -> None:
    def of_two(values, labels):
        table = {0: [], 1: []}
        for v, c in zip(values, labels, strict=True):
            table[c].append(v)
        return [sum(b) for b in table.values()]

    def keys(values, labels):
        table = defaultdict(list)
        for v, c in zip(values, labels, strict=True):
            table[c].append(v)
        return len(table)

    def given(values, labels, table):
        for v, c in zip(values, labels, strict=True):
            table[c].append(v)
        return [sum(b) for b in table]

    def found(values, labels):
        table = {}
        for v, c in zip(values, labels, strict=True):
            table.setdefault(c, []).append(v)
        return sum(table[0])

    check(of_two, VALUES, LABELS % 2)
    with pytest.raises(KeyError, match="traced key"):
        jg.jit(of_two)(VALUES, LABELS)
    with pytest.raises(IndexBoundsError):
        jg.jit(lambda v, c: sum(grouped(v, c, 2)[0]))(VALUES, LABELS)
    with pytest.raises(UnsupportedError, match="keys of a defaultdict"):
        jg.jit(keys)(VALUES, LABELS)
    with pytest.raises(UnsupportedError, match="select: x"):
        jg.jit(given)(VALUES, LABELS, [[], [], []])
    with pytest.raises(ConcretizationError):
        jg.jit(found)(VALUES, LABELS)


def test_tables_with_known_keys_stay_lists() -> None:
    def f(x):
        total = 0.0
        for t in range(20):
            table = [[] for _ in range(3)]
            for j in range(3):
                table[j].append(x[t] * j)
            table[0].pop()
            total += sum(table[2])
        return total

    check(f, VALUES)
    assert is_recorded(f, VALUES)
