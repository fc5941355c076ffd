"""Dicts of numbers, counters and sets whose keys are traced."""

import collections
from collections import Counter, defaultdict

import numpy as np
import pytest
from compared import assert_same

import jitgrad as jg
from jitgrad.errors import ConcretizationError, UnsupportedError

Y = np.array([3, 1, 2, 1, 0, 3, 3, 1, 2, 0, 1, 3])
SHORT = np.array([2, 0, 2])


def by_get(y):
    counts = {}
    for k in y:
        counts[k] = counts.get(k, 0) + 1
    entropy = 0.0
    for v in counts.values():
        entropy -= v / len(y) * np.log(v / len(y))
    best, most = -1, 0
    for k, v in counts.items():
        if v > most:
            best, most = k, v
    return list(counts.items()), max(counts, key=counts.get), entropy, best, len(counts), 2 in counts, 7 in counts


def by_branches(y):
    counts, again = {}, {}
    for k in y:
        if k in counts:
            counts[k] += 1
        else:
            counts[k] = 1
        if k not in again:
            again[k] = 0
        again[k] += 2
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ranked[0], max(again.values()), sorted(counts, key=counts.get, reverse=True)[0], [again[k] for k in counts]


def by_default(y):
    counts, sums = defaultdict(int), collections.defaultdict(float)
    for i, k in enumerate(y):
        counts[k] += 1
        sums[k] += 0.5 * i
    return max(counts, key=counts.get), list(sums.items()), sums[99], len(sums), sum(sums.values())


def by_counter(y):
    counts, grown, labels = Counter(y), Counter(), [y[i] for i in np.argsort(y)[-3:]]
    for k in y:
        grown[k] += 1
    vote = Counter(labels).most_common(1)[0][0]
    return counts.most_common(), counts.most_common(1)[0], counts.total(), grown[2], grown[99], len(grown), vote


def by_known_keys(y):
    counts = {0: 0, 1: 0, 2: 0, 3: 0}
    sums = {k: 0.0 for k in range(4)}  # noqa: C420
    for k in y:
        counts[k] += 1
        sums[k] += np.sqrt(k + 1.0)
    return list(counts.values()), list(sums.items())


def first_seen(y):
    last, at, found = {}, 0, -1
    for i, k in enumerate(y):
        if k in last and last[k] >= at:
            at = last[k] + 1
        last[k] = i
        found = max(found, i - at + 1)
    pair = {}
    for i in range(len(y)):
        if 5 - y[i] in pair:
            return pair[5 - y[i]], i, found
        pair[y[i]] = i
    return -1, -1, found


def without_loops(y):
    table, seen = {}, set()
    table[y[0]] = 1
    table[y[1]] = table.get(y[0], 0) + 1
    table.setdefault(y[2], 7)
    seen.add(y[0])
    seen.add(y[2])
    return list(table.items()), len(table), table[y[1]], sorted(seen), y[1] in seen


def trees(y):
    def gini(labels):
        counts = {}
        for label in labels:
            if label not in counts:
                counts[label] = 0
            counts[label] += 1
        return 1.0 - sum((counts[k] / len(labels)) ** 2 for k in counts)

    return gini(y), gini(y[y > 0]), [Counter(y[i : i + 3]).most_common(1)[0][0] for i in range(len(y) - 2)]


def seen_before(y):
    seen, repeated, kept = set(), 0, []
    for k in y:
        if k in seen:
            repeated += 1
        else:
            kept.append(k)
        seen.add(k)
    start, steps, visited = y[0], 0, {y[0]}
    while steps < 100:
        start = (3 * start + 1) % 7
        if start in visited:
            break
        visited.add(start)
        steps += 1
    return repeated, np.array(kept), len(seen), steps, sorted(visited)


def classes(y):
    parts = [np.mean(y == c) for c in sorted(set(y))]
    sizes = [np.sum(y == c) for c in set(y)]
    whole = sum(set(y)), max(set(y)), min(set(y)), len(set(y)) == len(y), list(set(y))
    both = sorted(set(y[:2]) & set(y[2:])), len(set(y[:2]) | {7}), sorted(set(y) - {1, 2})
    votes = list(y)
    return np.array(parts), sizes, whole, both, max(set(votes), key=votes.count)


def pairs_and_more(y):
    """Nested loops, and loops behind each other."""
    sums, seen = {}, {k + 1 for k in y if k > 0}
    for i in range(len(y)):
        for j in range(i):
            total = y[i] + y[j]
            sums[total] = sums.get(total, 0) + 1
    for k in y + 9:
        seen.add(k)
        sums[k] = sums.get(k - 9, 0)
    return list(sums.items()), sorted(seen)


def distances(y):
    following, visited, queue, steps = np.array([[1, 2], [3, 0], [3, 1], [0, 0]]), {y[0]}, [y[0]], {y[0]: 0}
    while queue:
        v = queue.pop(0)
        for w in following[v]:
            if w not in visited:
                visited.add(w)
                steps[w] = steps[v] + 1
                queue.append(w)
    return sorted(visited), list(steps.items())


def a_graph(y):
    start, to = np.array([0, 2, 4, 6, 8, 9, 10]), np.array([1, 2, 0, 3, 0, 3, 1, 2, 4, 5])
    visited, stack = set(), [y[0]]
    while stack:
        v = stack.pop()
        if v in visited:
            continue
        visited.add(v)
        for e in range(start[v], start[v + 1]):
            if to[e] not in visited:
                stack.append(to[e])  # noqa: PERF401
    return len(visited)


ALL = (
    *(by_get, by_branches, by_default, by_counter, by_known_keys, first_seen, without_loops, trees),
    *(seen_before, classes, pairs_and_more, distances, a_graph),
)


@pytest.mark.parametrize("fun", ALL)
def test_values(fun):
    compiled = jg.jit(fun)
    for y in (Y, Y[::-1].copy()):
        assert_same(compiled(y), fun(y))


@pytest.mark.parametrize("fun", [by_get, by_counter])
def test_short_loops_and_floats(fun):
    """Python runs short loops while the function is traced."""
    assert_same(jg.jit(fun)(SHORT * 0.5), fun(SHORT * 0.5))


def test_in_plain_python():
    with jg.config.using(backend="python"):
        assert_same(jg.jit(by_get)(Y), by_get(Y))


def votes_of_neighbours(x, labels, queries):
    found = []
    for q in queries:
        near = np.argsort(np.sum((x - q) ** 2, axis=1))[:3]
        found.append(Counter(labels[near]).most_common(1)[0][0])
    return np.array(found)


def test_nearest_neighbours():
    x, labels = np.random.default_rng(0).random((12, 2)), Y
    queries = np.random.default_rng(1).random((10, 2))
    got = jg.jit(votes_of_neighbours)(x, labels, queries)
    np.testing.assert_array_equal(got, votes_of_neighbours(x, labels, queries))


WEIGHTS = {0: 0.5, 1: 1.0, 2: -2.0, 3: 4.0}


def test_a_dict_from_outside_is_read():
    def f(y):
        return np.array([WEIGHTS[k] for k in y]), sum(WEIGHTS.get(k, 0.0) for k in y + 1)

    compiled = jg.jit(f)
    assert_same(compiled(Y), f(Y))
    WEIGHTS[1] = 8.0
    assert_same(compiled(Y), f(Y))
    with pytest.raises(KeyError):
        compiled(Y + 1)


def test_derivatives():
    def f(x):
        sums, weights = {}, {0: x[0], 1: x[0] * x[1], 2: 1.0, 3: x[2]}
        for i, k in enumerate(np.floor(3 * x) % 3):
            sums[k] = sums.get(k, 0.0) + x[i] ** 2
        best = max(sums, key=sums.get)
        return sum(np.sqrt(v) for v in sums.values()) + sums[best] ** 2 + sum(weights[k] for k in np.floor(x))

    x, direction = np.random.default_rng(0).random((2, 6)) + 0.5
    expected = (f(x + 1e-6 * direction) - f(x - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(jg.grad(f)(x) @ direction, expected, rtol=1e-7)
    np.testing.assert_allclose(jg.jvp(f, (x,), (direction,))[1], expected, rtol=1e-7)


def test_errors():
    def missing(y):
        counts = {}
        for k in y:
            counts[k] = 1
        return counts[y[0] + 9]

    def order(y):
        return [c for c in set(y)]  # noqa: C416

    def pairs(y):
        seen = set()
        seen.add(y[0])
        return (y[0], y[1]) in seen

    def shorter(y):
        counts = {}
        for k in y:
            counts[k] = 1
        return counts.pop(3)

    def result(y):
        return {y[0]: 1}

    with pytest.raises(UnsupportedError, match="is a dict or set with traced keys"):
        jg.jit(result)(Y)
    with pytest.raises(KeyError, match="a traced key that the dict does not have"):
        jg.jit(missing)(Y)
    with pytest.raises(ValueError, match=r"Write sorted\(s\)"):
        jg.jit(order)(Y * 100)
    with pytest.raises(ConcretizationError, match="Use numbers as keys"):
        jg.jit(pairs)(Y)
    with pytest.raises(UnsupportedError, match="the method 'pop' of a dict that gets traced keys"):
        jg.jit(shorter)(Y)
