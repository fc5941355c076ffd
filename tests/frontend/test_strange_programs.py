"""Programs that keep state in lists of numbers in unusual places: forests of union and find."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import IndexBoundsError
from jitgrad.testing import check_grads

EDGES = np.random.default_rng(0).integers(0, 40, (30, 2))
X = np.random.default_rng(1).random(30)


class Forest:
    """``parent`` and ``weight`` are lists of as many numbers as one likes: values of their own, or an array each."""

    def __init__(self, n):
        self.parent, self.weight, self.count = list(range(n)), [0.0] * n, n

    def find(self, i):
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def union(self, a, b, x):
        a, b = self.find(a), self.find(b)
        if a == b:
            return False
        self.parent[b] = a
        self.weight[a] += self.weight[b] + x**2
        self.count -= 1
        return True


def joined(x, edges, n=40):
    forest, total = Forest(n), 0.0
    for k, (a, b) in enumerate(edges):
        if forest.union(a, b, x[k]):
            total += x[k]
    return total * forest.weight[forest.find(edges[0, 0])], forest.parent, forest.count


@pytest.mark.parametrize("n", [12, 40])
def test_lists_that_attributes_hold_at_traced_places(n):
    compiled = jg.jit(lambda x, edges: joined(x, edges, n))
    for edges in (EDGES % n, EDGES[::-1] % n):
        got, want = compiled(X, edges), joined(X, edges, n)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-12)
        assert got[1] == want[1]
        assert got[2] == want[2]


def test_gradient_of_a_forest():
    check_grads(lambda x: joined(x, EDGES % 12, 12)[0], (X,), order=1)


def of_a_closure(edges):
    parent = list(range(40))

    def find(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for a, b in edges:
        parent[find(b)] = find(a)
    return parent


def test_a_list_of_a_closure_at_traced_places():
    assert jg.jit(of_a_closure)(EDGES) == of_a_closure(EDGES)


def kinds(x, i):
    xs, ys, zs, held = [1, 2.5, 3], [True, False], [1, 2, 3], {"k": [0.0, 1.0], "m": [[1, 2], [3, 4]]}
    xs[i], ys[i], zs[-i] = 7, x > 5, 9
    zs[i] += 2
    held["k"][i] *= x
    held["m"][1][i] = 10
    return xs, ys, zs, held


def test_kinds_of_numbers_at_traced_places():
    xs, ys, zs, held = jg.jit(kinds)(2.0, np.array(1))
    assert (xs, ys, zs, held) == kinds(2.0, 1)
    assert [np.asarray(v[0]).dtype.kind for v in (xs, ys, zs)] == ["f", "b", "i"]


def test_a_traced_place_that_a_list_has_not():
    with pytest.raises(IndexBoundsError):
        jg.jit(lambda x, i: kinds(x, i)[0])(2.0, np.array(3))
