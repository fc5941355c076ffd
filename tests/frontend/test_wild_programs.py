"""Idioms of scientific programs as people write them: hulls, buckets of rows, seams, finite elements, tracebacks."""

import numpy as np
import pytest
from compared import assert_same

import jitgrad as jg
from jitgrad.errors import EndlessRecursionError, MutationError, ShapeError
from jitgrad.testing import check_grads

X = np.random.default_rng(0).random((14, 2))
V = np.random.default_rng(1).random((9, 4))


def check(fun, *args):
    expected = fun(*(np.copy(a) for a in args))
    assert_same(jg.jit(fun)(*(np.copy(a) for a in args)), expected)
    return expected


# -- conditions --------------------------------------------------------------------------------------------------------


def islands(grid, labels):
    found = 0
    for i in range(len(grid)):
        if grid[i] and labels[i] == 0:
            found += 1
        if (labels[i] == 0 and grid[i]) or not (grid[i] and found > 2):
            found += 10
        found += 100 if labels[i] or grid[i] > 1 else 0
        while grid[i] and found < 300 and labels[i] < 5:
            found += 50
    picked = [i for i in range(len(grid)) if grid[i] if labels[i] > 1]
    return found, len(picked)


def test_conditions_of_bools_and_numbers():
    assert check(islands, np.arange(12) % 3, np.arange(12) % 4)[0] > 0


def test_a_junction_that_is_no_condition_keeps_its_operands():
    def fun(x):
        total = 0
        for v in x:
            total += (v and 7) + (v or 5)
        return total

    check(fun, np.arange(12) % 3)


# -- arrays of lengths that only the run tells -------------------------------------------------------------------------


def seams(x):
    left = x[x < x.max(axis=1, keepdims=True)]
    return left.reshape(9, 3), left.reshape((len(x), -1)), left.reshape(-1, 9), left.reshape(-1, 3, 3)


def test_what_a_mask_selects_is_reshaped():
    check(seams, V)
    check_grads(lambda x: np.sum(seams(x)[0][:, 1] ** 2) + np.sum(seams(x)[2][0]), (V,))
    empty = jg.jit(lambda x: (x[x > 5].reshape(-1, 3), x[x > 5].reshape(0, 4)))(V)
    assert [a.shape for a in empty] == [(0, 3), (0, 4)]


@pytest.mark.parametrize("shape", [(7, 7), (-1, 5)])
def test_what_does_not_fit_a_shape_is_refused_by_the_run(shape):
    with pytest.raises(ValueError, match="cannot reshape array of size 14 into shape"):
        jg.jit(lambda x: x[x[:, 0] < 2, 0].reshape(shape))(X)


def assembled(points, triangles):
    stiffness = np.zeros((6, 6))
    for t in triangles:
        edges = points[t][[1, 2, 0]] - points[t][[2, 0, 1]]
        stiffness[np.ix_(t, t)] += edges @ edges.T
    return stiffness, stiffness[np.ix_(points[:, 0] > 0.5, [0, 2])], points[np.ix_([], triangles[0][:2] * 0)]


def test_open_meshes_of_traced_places():
    triangles = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]] * 3)
    check(assembled, X[:6], triangles)
    check_grads(lambda p: np.sum(assembled(p, triangles)[0] ** 2), (X[:6],))
    with pytest.raises(ShapeError, match="Pass vectors"):
        jg.jit(lambda t: np.ones((6, 6))[np.ix_(t, t)])(triangles)
    assert_same(jg.jit(lambda x: np.sort(x[x.argpartition(3)[:3]]))(X[:, 0]), np.sort(X[:, 0])[:3])


# -- lists of rows of an array -----------------------------------------------------------------------------------------


def rows_above(x):
    found, all_of_them = [], []
    for i in range(len(x)):
        if x[i, 0] > 0.5:
            found.append(x[i])
        all_of_them.append(x[i])
    return np.array(found), np.array(all_of_them), found


def suppressed(boxes):
    kept = []
    for i in np.argsort(boxes[:, 0]):
        near = False
        for b in kept:
            if abs(b[1] - boxes[i, 1]) < 0.1:
                near = True
                break
        if not near:
            kept.append(boxes[i])
    return np.array(kept)


def taken_and_put(x):
    stack = [x[0]]
    for i in range(1, len(x)):
        top = stack.pop()
        stack.append(x[i])
        if top[0] > 0.5:
            stack.append(x[i - 1])
    return np.array(stack)


@pytest.mark.parametrize("fun", [rows_above, suppressed, taken_and_put])
def test_rows_of_an_array_that_is_made_before(fun):
    check(fun, X)


def test_gradients_of_rows():
    check_grads(lambda x: np.sum(rows_above(x)[0] ** 2) + np.sum(rows_above(x)[1][3]), (X,))


def written_behind(x):
    found = []
    for row in x:
        found.append(row)  # noqa: PERF402
    x[3] = 7.0
    return x, np.array(found)


def item_written_behind(x):
    found = []
    for row in x:
        found.append(row)  # noqa: PERF402
    found[3][0] = 5.0
    return x, np.array(found)


def written_between(x):
    found = []
    for i in range(len(x)):
        found.append(x[i])
        x[i, 0] += 1
    return x, np.array(found)


def one_row(x):
    row, found = np.zeros(2), []
    for i in range(len(x)):
        row[0] = x[i, 1]
        found.append(row)
    return np.array(found)


def held_behind(x):
    found = []
    for row in x:
        found.append(row)  # noqa: PERF402
    chosen = found[4]
    x[4] = 0.0
    return chosen


@pytest.mark.parametrize("fun", [written_behind, item_written_behind, written_between, one_row, held_behind])
def test_writes_show_in_the_rows(fun):
    check(fun, X)


def test_rows_of_an_array_that_a_loop_around_writes():
    def fun(x):
        found = []
        for k in range(10):
            for i in range(len(x)):
                if x[i, 0] > 0.1 * k:
                    found.append(x[i])  # noqa: PERF401
            if k == 5:
                x[3] = 0.9
        return np.array(found)

    with pytest.raises(MutationError, match="Put copies into it"):
        jg.jit(fun)(X)


def orthogonal(vectors):
    basis = []
    for v in vectors:
        w = v - sum(np.dot(v, b) * b for b in basis)
        if basis:
            w = w + 0.01 * basis[0]
        if np.linalg.norm(w) > 0.3:
            basis.append(w / np.linalg.norm(w))
    return np.array(basis)


def test_a_list_that_is_read_before_anything_is_appended():
    assert 1 < len(check(orthogonal, V)) < 9
    check_grads(lambda v: np.sum(orthogonal(v) ** 3), (V,))


# -- methods of lists --------------------------------------------------------------------------------------------------


def above(x):
    found = []
    for v in x:
        if v > 0.4:
            found.append(v)  # noqa: PERF401
    return found


def places_above(x):
    found = []
    for i in range(len(x)):
        if x[i] > 0.4:
            found.append((i, x[i]))  # noqa: PERF401
    return found


def methods(x):
    a, b = above(x), above(1 - x)
    back, both, more = above(x), a + b, above(x)
    back.reverse()
    more.extend(b)
    more += [2.0]
    copies = [a.copy(), a[:], list(a)]
    for c in copies:
        c.append(3.0)
    up, down = above(x), above(x)
    up.sort()
    down.sort(key=lambda v: abs(v - 0.7), reverse=True)
    ends = a[::-1] + [1.0], [2.0] + a[:-1], a + [], len(both)  # noqa: RUF005
    return a, back, both, more, copies, up, down, ends, a.index(a[2]), a[1] in a, 0.3 in a


def of_tuples(x):
    path = places_above(x)
    path.reverse()
    twice = path[:-1] + path[1:]
    return np.array(path), twice, (3, x[3]) in path, (-1, x[3]) in path, path[0] in twice


def of_rows(x):
    a = rows_above(x)[2]
    hull = a[:-1] + a[1:]
    a.reverse()
    return np.array(hull), np.array(a)


@pytest.mark.parametrize(("fun", "x"), [(methods, X[:, 0]), (of_tuples, X[:, 1]), (of_rows, X)])
def test_methods_of_lists_of_unknown_length(fun, x):
    check(fun, x)


def test_gradients_of_joined_lists():
    def fun(x):
        a, b = above(x), above(1 - x)
        a.reverse()
        a.extend(b)
        return sum(v * k for k, v in enumerate(a + b))

    check_grads(fun, (X[:, 0],))


def test_items_that_are_not_in_a_list():
    with pytest.raises(ValueError, match="not in list"):
        jg.jit(lambda x: above(x).index(0.25))(X[:, 0])
    with pytest.raises(TypeError, match="can only concatenate list"):
        jg.jit(lambda x: above(x) + (1.0,))(X[:, 0])  # noqa: RUF005


# -- recursion ---------------------------------------------------------------------------------------------------------


def flooded(grid):
    seen = np.zeros(grid.shape, dtype=bool)

    def visit(k):
        if not (0 <= k < len(grid)) or seen[k] or grid[k] == 0:
            return
        seen[k] = True
        visit(k + 1)
        visit(k - 1)

    visit(3)
    return seen


def test_recursion_that_traced_values_end():
    with pytest.raises(EndlessRecursionError, match="visit calls itself without end") as caught:
        jg.jit(lambda grid, start: (flooded(grid), halved(start)))(np.ones(8), 0.5)
    assert caught.value.location is not None
    with pytest.raises(RecursionError):
        jg.jit(halved)(0.5)


def halved(x):
    return x if x < 1e-3 else halved(0.5 * x)


def turns_right(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0


def lower_hull(points):
    hull = []
    for p in points:
        while len(hull) >= 2 and turns_right(hull[-2], hull[-1], p):
            hull.pop()
        hull.append(p)
    return np.array(hull)


def lower_hull_of_names(points):
    hull = []
    for p in points:
        while len(hull) >= 2:
            (ax, ay), b = hull[-2], hull[-1]
            if (b[0] - ax) * (p[1] - ay) - (b[1] - ay) * (p[0] - ax) > 0:
                break
            hull.pop()
        hull.append(p)
    return np.array(hull)


@pytest.mark.parametrize("fun", [lower_hull, lower_hull_of_names])
def test_a_stack_that_is_compared_from_two_items_on_is_recorded(fun):
    points = np.random.default_rng(2).normal(size=(60, 2))
    points = points[np.argsort(points[:, 0])]
    fast = jg.jit(fun)
    assert_same(fast(points), fun(points))
    assert "unrolled" not in fast.explain(points)


def replaced_tops(points):
    stack, total = [], np.zeros(2)
    for p in points:
        while stack:
            top = stack[-1]
            if top[0] < p[0]:
                break
            stack.pop()
            stack.append(top * 0.5 - 3)
            total = total + top
        stack.append(p)
    return total, len(stack)


def test_an_item_that_is_popped_and_replaced_stays_what_it_was():
    check(replaced_tops, np.random.default_rng(5).normal(size=(12, 2)))


def medians(x):
    out = np.zeros_like(x)
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            near = []
            for di, dj in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
                if 0 <= i + di < rows and 0 <= j + dj < columns:
                    near.append(x[i + di, j + dj] * (1 + di) ** 2)
            near.sort()
            out[i, j] = near[len(near) // 2]
    return out


def weighted(x):
    total = 0.0
    for i in range(len(x)):
        found = []
        for d in [-0.5, 0.0, 0.5]:
            if x[i] > d:
                found.append(x[i] * d + i)  # noqa: PERF401
        total = total + sum(found)
    return total


def test_lists_that_loops_over_constants_append_to():
    x = np.random.default_rng(3).normal(size=(20, 21))
    fast = jg.jit(medians)
    assert_same(fast(x), medians(x))
    assert "unrolled" not in fast.explain(x)
    assert_same(jg.jit(weighted)(x[0]), weighted(x[0]))
    check_grads(weighted, (x[0],))


def powers(x, exponents):
    found = []
    for p in (1, 2, 3):
        found.append(x**p)  # noqa: PERF401
    for p in exponents:
        found.append(np.ones(p) * x)  # noqa: PERF401
    return np.concatenate([*map(np.atleast_1d, found)])


def test_constants_stay_constants_where_nothing_else_is_asked_for():
    assert_same(jg.jit(lambda x: powers(x, (2, 3)))(0.5), powers(0.5, (2, 3)))
