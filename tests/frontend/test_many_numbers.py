"""Lists of many numbers are arrays in the program: among the variables of a loop, the arguments and the results."""

from __future__ import annotations

import numpy as np
import optree
import pytest

import jitgrad as jg
from jitgrad.errors import IRError, ShapeError


def agree(fun, *args, rtol=1e-12):
    """The compiled function gives what Python does, in lists and tuples as Python has them; returns it."""
    compiled = jg.jit(fun)
    got, want = compiled(*args), fun(*args)
    assert optree.tree_structure(got) == optree.tree_structure(want)
    for a, b in zip(optree.tree_leaves(got), optree.tree_leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol)
        assert np.asarray(a).dtype == np.asarray(b).dtype and np.shape(a) == np.shape(b)
    return compiled


# -- variables of loops ------------------------------------------------------------------------------------------------


def relaxed(f):
    n = len(f)
    u = [[0.0 for _ in range(n)] for _ in range(n)]
    step = 0
    for step in range(30):  # noqa: B007
        new = [row[:] for row in u]
        worst = 0.0
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                new[i][j] = 0.25 * (u[i - 1][j] + u[i + 1][j] + u[i][j - 1] + u[i][j + 1] - f[i][j])
                worst = max(worst, abs(new[i][j] - u[i][j]))
        u = new
        if worst < 1e-2:
            break
    return u, step


def generations(board):
    grid = [list(row) for row in board]
    n = len(grid)
    for _ in range(20):
        new = [[0] * n for _ in range(n)]
        for i in range(n):
            for j in range(n):
                count = 0
                for a in range(max(0, i - 1), min(n, i + 2)):
                    for b in range(max(0, j - 1), min(n, j + 2)):
                        if (a, b) != (i, j):
                            count += grid[a][b]
                new[i][j] = 1 if count == 3 or (count == 2 and grid[i][j]) else 0
        grid = new
    return grid


def swapped(x):
    """Two tables that change places, and one number that goes along."""
    a, b, total = [[x[0]] * 6 for _ in range(6)], [[0.0] * 6 for _ in range(6)], 0.0
    for k in range(25):
        b[k % 6][2] = a[1][k % 6] + k
        total += b[0][2]
        a, b = b, a
    return a, b, total


def halved(x):
    """A list that a ``while`` replaces."""
    xs = [x[k % 5] * k for k in range(40)]
    steps = 0
    while sum(xs) > 1:
        xs = [v / 2 for v in xs]
        steps += 1
    return xs, steps


def shifted(x):
    """Integers and numbers of NumPy's."""
    ints, floats = [0] * 40, [x[0]] * 40
    for k in range(50):
        ints = [*ints[1:], k]
        floats = [floats[-1] * 0.5 + 1, *floats[:-1]]
    return ints, floats


@pytest.mark.parametrize("fun", [swapped, halved, shifted])
def test_lists_of_many_numbers_are_carried_as_arrays(fun):
    agree(fun, np.linspace(1, 2, 5))


def test_tables_that_a_loop_makes_anew_are_carried_as_arrays():
    rng = np.random.default_rng(0)
    f = rng.normal(size=(9, 9))
    compiled = agree(relaxed, f, rtol=1e-9)
    assert "unrolled" not in compiled.explain(f)
    agree(generations, (rng.uniform(size=(8, 8)) < 0.4).astype(int))


def test_gradients_of_loops_that_carry_tables():
    def loss(f):
        u, _ = relaxed(f)
        return sum(sum(v * v for v in row) for row in u)

    f = np.random.default_rng(1).normal(size=(7, 7))
    step = 1e-6 * np.eye(49)[[8, 17, 24]].reshape(3, 7, 7)
    want = [(loss(f + d) - loss(f - d)) / 2e-6 for d in step]
    np.testing.assert_allclose(jg.grad(loss)(f).reshape(-1)[[8, 17, 24]], want, rtol=1e-5)


def test_changes_of_rows_that_a_body_has_made_are_none_of_what_is_outside():
    """The note of how the list was held its rows."""

    def f(x):
        kept = [[x[0], x[1]] for _ in range(3)]
        for _ in range(20):
            rows = [[v, 2 * v] for v in x]
            for k in range(len(x)):
                rows[k][0] += rows[k - 1][1]
            kept = rows
        return kept

    agree(f, np.arange(3.0))


def test_lists_of_elements_of_one_array_are_transposes_slices_and_selections():
    def f(x):
        rows = [list(r) for r in x]
        columns = [list(c) for c in zip(*rows, strict=True)]
        flat = [v for row in rows for v in row]
        order = [flat[k * 5 % 42] for k in range(42)]
        made = np.array(columns), np.array(flat[::-1]), np.array(order), np.array([flat[k] for k in range(1, 42, 1)])
        return *made, np.array([row[1:] for row in rows]), np.array(flat[::1]).reshape(2, 21)

    x = np.arange(42.0).reshape(6, 7)
    compiled = agree(f, x)
    assert len(compiled.traced_graph(x).ops) < 40
    w = np.random.default_rng(0).normal(size=(6, 7))
    for k in range(5):
        loss = lambda x, k=k: np.sum(np.sin(f(x)[k]) * np.resize(w, f(x)[k].shape))  # noqa: E731
        jg.testing.check_grads(loss, (x,), order=1)


# -- results -----------------------------------------------------------------------------------------------------------


def test_results_of_many_numbers_have_the_lists_that_python_has():
    x = np.arange(12.0)

    def f(x):
        return {
            "floats": [x[k % 12] * k for k in range(40)],
            "table": [[x[i] * j for j in range(7)] for i in range(6)],
            "cube": [[[x[0] * i * j for i in range(3)] for j in range(4)] for _ in range(5)],
            "pairs": [(x[k % 12], k) for k in range(30)],
            "dicts": [{"v": x[k % 12], "w": x * k} for k in range(40)],
            "bools": ([True, x[0] > 1] * 30, [[True, False]] * 20),
            "rows": list(np.outer(x, np.ones(40)).T),
            "mixed": [1, 2.5, x[0]] * 20,
            "uneven": [[x[0]] * 20, [x[0]] * 30, []],
            "complex": [x[1] + 1j * k for k in range(40)],
            "few": [x[0], 1.0],
            "none": [[]] * 40,
        }

    compiled = agree(f, x)
    assert "f64[6,7]" in compiled.ir(x)


def test_arrays_of_several_dtypes_in_a_result_keep_them():
    rows = np.arange(99.0).reshape(33, 3)
    agree(lambda x, y, k: ([*x, y[0]], [*x, k[0]]), rows, np.float32(rows), np.arange(6).reshape(2, 3))


def test_a_sequence_of_points_is_a_few_arrays():
    def orbit(s):
        x, y = s
        points = []
        for _ in range(200):
            x, y = x + 0.1 * y, y - 0.1 * x
            points.append((x, y))
        return points

    s = np.array([1.0, 0.0])
    compiled = agree(orbit, s, rtol=1e-9)
    assert len(compiled.traced_graph(s).results) == 2


# -- arguments ---------------------------------------------------------------------------------------------------------


def sorted_in_place(xs):
    for i in range(len(xs)):
        for j in range(len(xs) - 1 - i):
            if xs[j] > xs[j + 1]:
                xs[j], xs[j + 1] = xs[j + 1], xs[j]
    return xs


FLOATS = [float(k * 7919 % 113) for k in range(120)]


@pytest.mark.parametrize(
    ("fun", "args"),
    [
        (lambda xs: sum(x * x for x in xs) / len(xs), (FLOATS,)),
        (lambda xs, i: xs[i] + xs[-1], (FLOATS, 3)),
        (lambda xs: [x * 2 for x in xs], ([*range(120)],)),
        (lambda xs: [x * 2 for x in xs], ([True, False] * 60,)),
        (lambda xs: xs[::-1], ([*np.arange(120.0)],)),
        (lambda rows: [sum(r) for r in rows], ([[1.5 * k for k in range(12)] for _ in range(10)],)),
        (lambda points: sum(x * k for x, k in points), ([(float(k), k) for k in range(60)],)),
        (lambda d: d["a"][3] * d["b"] + sum(d["c"][1]), ({"a": FLOATS, "b": np.ones(3), "c": ([1, 2], [2] * 110)},)),
        (lambda xs: sum(xs), ([1, 2.5] * 60,)),
        (sorted_in_place, ([*range(120, 0, -1)],)),
    ],
    ids=["mean", "item", "ints", "bools", "floats64", "table", "points", "tree", "mixed", "sort"],
)
def test_lists_of_many_numbers_are_arguments(fun, args):
    want = fun(*optree.tree_map(lambda x: x, args))
    given = optree.tree_map(lambda x: x, args)
    got = jg.jit(fun)(*given)
    assert optree.tree_structure(got) == optree.tree_structure(want)
    np.testing.assert_allclose(*map(optree.tree_leaves, (got, want)), rtol=1e-12)


def test_what_a_list_among_the_arguments_is_in_the_program():
    compiled = jg.jit(sorted_in_place)
    xs = FLOATS.copy()
    assert compiled(xs) == sorted(FLOATS) and xs == FLOATS  # the caller's list stays as it is
    assert "unrolled" not in compiled.explain(xs)
    assert [p.type.shape for p in compiled.traced_graph(xs).params] == [(120,)]
    assert compiled(FLOATS[:101]) == sorted(FLOATS[:101])
    assert compiled([*range(120)]) == [*range(120)]


def test_gradients_with_respect_to_lists_are_lists():
    def f(xs, points):
        return sum(x * x for x in xs) + sum(a * b * b for a, b in points)

    points = [(x, 2 * x) for x in FLOATS]
    g, h = jg.grad(f, argnums=(0, 1))(FLOATS, points)
    assert g == [2 * x for x in FLOATS]
    assert h == [(b * b, 2 * a * b) for a, b in points]
    value, g = jg.value_and_grad(f)(FLOATS, points)
    assert isinstance(g, list) and value == pytest.approx(f(FLOATS, points))


def test_integers_of_a_list_that_have_to_be_known():
    """Then they are arguments one by one, and those that have to be known are numbers in the program."""
    compiled = jg.jit(lambda sizes: np.linalg.inv(np.eye(sizes[0]) * sizes[1]))
    for first in (3, 4):
        np.testing.assert_allclose(compiled([first, *range(5, 150)]), np.eye(first) / 5)
    assert "f64[4,4]" in compiled.ir([4, *range(5, 150)])


def test_a_call_that_fails_says_nothing_of_later_ones():
    compiled = jg.jit(lambda xs, y: np.array(xs) @ y)
    with pytest.raises(ShapeError) as caught:
        compiled(FLOATS, np.ones(7))
    assert caught.value.__context__ is None  # one error, and not a second one while the first was handled
    y = np.arange(120.0)
    assert compiled(FLOATS, y) == FLOATS @ y
    assert [p.type.shape for p in compiled.traced_graph(FLOATS, y).params] == [(120,), (120,)]


def test_arrays_are_written_where_the_list_has_to_be_one_of_numbers():
    def f(xs, a, k):
        a[0] = dict.fromkeys(xs, 2.0)[k] + a[1]
        return a.sum()

    compiled = jg.jit(f)
    for k in (3, 3, 7):  # the first call tries with an array
        a = np.arange(3.0)
        assert compiled([*range(120)], a, k) == 6.0 and a.tolist() == [3.0, 1.0, 2.0]


def test_errors_that_are_none_of_the_program_are_raised_at_once(monkeypatch):
    calls = []

    def traced(*args, **kwargs):
        calls.append(args)
        raise IRError("a bug")

    monkeypatch.setattr(jg.transformed, "run_traced", traced)
    with pytest.raises(IRError, match="a bug"):
        jg.jit(lambda xs: sum(xs))(FLOATS)
    assert len(calls) == 1


# -- methods -----------------------------------------------------------------------------------------------------------


def test_index_and_count_of_lists_of_traced_numbers():
    def f(x):
        d = [x[0] * 2, x[1], x[2] - 5]
        found = d.index(min(d)), [5, 4, 3][d.index(min(d))], d.index(x[1], 1), d.index(x[2] - 5, -2)
        return found, d.count(x[1]), (1, 2, 3).count(x[0]), [3, 1, 2].index(int(x[0])), ["a", "b"].index("b")

    agree(f, np.array([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="not in list"):
        jg.jit(lambda x: [x[0], x[1]].index(x[2]))(np.array([1.0, 2.0, 3.0]))


def test_places_that_are_traced_are_taken_out_of_lists():
    def f(x, k, j):
        a, b = [x[0], x[1], x[2], x[3]], [1, 2, 3, 4, 5]
        a.pop(k)
        b.insert(j, 9)
        b.remove(b[k])
        c = b.pop(j - 1)
        del b[k - 1]
        a.insert(-j, 7.0)
        d = [x[0] * 0 + 1, 2.0]
        d.remove(x[1])
        return a, b, c, d

    for k, j in ((0, 1), (2, 3), (1, 2), (-1, 2)):
        agree(f, np.arange(4.0), k, j)
    with pytest.raises(IndexError):
        jg.jit(lambda x, k: [x[0], x[1]].pop(k))(np.arange(4.0), 7)
    with pytest.raises(ValueError, match="not in list"):
        jg.jit(lambda x, k: [x[0], x[1]].remove(k))(np.arange(4.0), 7)


def test_a_tour_takes_the_nearest_place_out_of_a_list():
    def tour(points):
        left, visited, total, here = list(range(1, len(points))), [0], 0.0, 0
        while left:
            near = min(left, key=lambda j: np.sum((points[here] - points[j]) ** 2))
            total += np.sqrt(np.sum((points[here] - points[near]) ** 2))
            left.remove(near)
            visited.append(near)
            here = near
        return visited, total

    points = np.random.default_rng(0).uniform(size=(8, 2))
    agree(tour, points)
    jg.testing.check_grads(lambda p: tour(p)[1], (points,), order=1)
