"""Gather and scatter: NumPy's indexing, bounds, duplicates, and derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from opcheck import cotangents, graph_of, pull_back, run_both, tangent, value

import jitgrad as jg
from jitgrad.codegen import python
from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.core import OPS, Builder
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import type_of
from jitgrad.loopir.lower import lower
from jitgrad.ops.indexing import affine
from jitgrad.ops.op import Var

X = np.arange(24.0).reshape(2, 3, 4)
K = np.array([2, -1, 0, 2])
J = np.array([[3, -4], [0, 1]])
CASES: list[tuple[Any, tuple[np.ndarray, ...], dict[str, Any]]] = [
    (np.s_[J % 2], (J % 2,), {"axes": (0,), "at": 0}),
    (np.s_[:, K], (K,), {"axes": (1,), "at": 1}),
    (np.s_[:, :, J], (J,), {"axes": (2,), "at": 2}),
    (np.s_[:, K, K], (K, K), {"axes": (1, 2), "at": 1}),
    (np.s_[K % 2, :, K], (K % 2, K), {"axes": (0, 2), "at": 0}),
    (np.s_[1, :, -2], (np.array(1), np.array(-2)), {"axes": (0, 2), "at": 0}),
    (np.s_[:, K[:0]], (K[:0],), {"axes": (1,), "at": 1}),
]


@pytest.mark.parametrize(("index", "idx", "attrs"), CASES)
def test_gather_is_numpys_indexing(index: Any, idx: tuple[np.ndarray, ...], attrs: dict[str, Any]) -> None:
    piece = X[index]
    np.testing.assert_array_equal(value("gather", X, *idx, **attrs), piece)
    g = np.random.default_rng(0).normal(size=piece.shape)
    expected = np.zeros_like(X)
    np.add.at(expected, index, g)
    np.testing.assert_allclose(cotangents("gather", g, X, *idx, **attrs)[0], expected)
    np.testing.assert_array_equal(tangent("gather", [2 * X], X, *idx, **attrs), 2 * piece)


@pytest.mark.parametrize(("index", "idx", "attrs"), CASES)
def test_scatter_is_numpys_assignment(index: Any, idx: tuple[np.ndarray, ...], attrs: dict[str, Any]) -> None:
    v = np.random.default_rng(1).normal(size=X[index].shape)
    added, written = X.copy(), X.copy()
    np.add.at(added, index, v)
    written[index] = v
    np.testing.assert_allclose(value("scatter_add", X, v, *idx, **attrs), added)
    np.testing.assert_array_equal(value("scatter_set", X, v, *idx, **attrs), written)
    g = X + 1
    kept = g.copy()
    kept[index] = 0
    gx, gv = cotangents("scatter_add", g, X, v, *idx, **attrs)
    np.testing.assert_array_equal(gx, g)
    np.testing.assert_array_equal(gv, g[index])
    gx, gv = cotangents("scatter_set", g, X, v, *idx, **attrs)
    np.testing.assert_array_equal(gx, kept)
    # The derivative of an assignment is an assignment: <g, J (tx, tv)> = <gx, tx> + <gv, tv>.
    tx, tv = np.random.default_rng(2).normal(size=X.shape), np.random.default_rng(3).normal(size=v.shape)
    moved = tx.copy()
    moved[index] = tv
    np.testing.assert_array_equal(tangent("scatter_set", [tx, tv], X, v, *idx, **attrs), moved)
    np.testing.assert_allclose(np.sum(gx * tx) + np.sum(gv * tv), np.sum(g * moved))


def test_the_last_duplicate_wins_and_takes_the_cotangent() -> None:
    idx, v = np.array([1, 0, -2, 1]), np.array([10.0, 20.0, 30.0, 40.0])
    x = np.zeros(3)
    np.testing.assert_array_equal(value("scatter_set", x, v, idx, axes=(0,), at=0), [20, 40, 0])
    (gx, mask), (gv, alive), none = pull_back(
        "scatter_set", np.array([1.0, 2.0, 3.0]), None, x, v, idx, axes=(0,), at=0
    )
    np.testing.assert_array_equal(gx, [0, 0, 3])
    np.testing.assert_array_equal(mask, [False, False, True])
    np.testing.assert_array_equal(gv, [0, 1, 0, 2])
    np.testing.assert_array_equal(alive, [False, True, False, True])
    assert none is None


@pytest.mark.parametrize("bad", [3, -4])
@pytest.mark.parametrize("known", [False, True])
def test_out_of_bounds_raises_when_it_runs(bad: int, known: bool) -> None:
    x, idx = np.arange(3.0), np.array([0, bad])
    for name, args in [("gather", (x,)), ("scatter_add", (x, x[:2])), ("scatter_set", (x, x[:2]))]:
        b = Builder("g")
        params = [b.param(type_of(a)) for a in args]
        index = b.constant(idx) if known else b.param(type_of(idx))
        graph = b.build(b.emit(name, *params, index, axes=(0,), at=0))
        arrays = args if known else (*args, idx)
        with pytest.raises(IndexError, match="out of bounds"):
            interpret(graph, *arrays)
        with pytest.raises(IndexError, match="out of bounds"):
            python.run(lower(graph), *arrays)


def test_indices_known_at_compile_time_are_not_checked_again() -> None:
    b = Builder("g")
    x = b.param(type_of(X[0]))
    graph = b.build(b.emit("gather", x, b.constant([2, -1, 0, -3]), axes=(0,), at=0))
    np.testing.assert_array_equal(run_both(graph, X[0])[0], X[0][[2, -1, 0, -3]])
    assert "IndexError" not in python.render(lower(graph)) and "return 1" not in python.render(lower(graph))
    unknown = graph_of("gather", X[0], np.array([0, 1]), axes=(0,), at=0)
    assert "return 1" in python.render(lower(unknown))


def test_masks_and_bools_combine_by_or() -> None:
    idx = np.array([0, 2, 0])
    g, mask = np.array([0.0, 1.0, 5.0]), np.array([False, False, True])
    (found, none) = pull_back("gather", g, mask, X[0, 0], idx, axes=(0,), at=0)
    assert none is None and found is not None
    np.testing.assert_array_equal(found[0], [5, 0, 1, 0])
    np.testing.assert_array_equal(found[1], [True, False, False, False])
    x = np.array([False, False, True])
    out = value("scatter_add", x, np.array([True, False, True]), idx, axes=(0,), at=0)
    np.testing.assert_array_equal(out, [True, False, True])


def test_reads_add_up_in_one_buffer() -> None:
    b = Builder("g")
    acc, g, x = (Var(b, b.constant(a)) for a in ([1.0, 2.0], [10.0, 20.0, 30.0], [0.0, 0.0]))
    idx = Var(b, b.constant([1, 1, -2]))
    rule: Any = OPS["gather"]
    total = rule.accumulate(acc, g, x, idx, axes=(0,), at=0)
    np.testing.assert_array_equal(interpret(b.build(total.value))[0], [31, 32])


MESSAGES: list[tuple[tuple[np.ndarray, ...], dict[str, Any], type[Exception], str]] = [
    ((K,), {"axes": (0, 1), "at": 0}, ShapeError, "1 index arrays for the axes"),
    ((K, K), {"axes": (0, 0), "at": 0}, ShapeError, "too many indices for array: array is 3-dimensional"),
    ((K,), {"axes": (3,), "at": 0}, ShapeError, "too many indices"),
    ((K.astype(float),), {"axes": (0,), "at": 0}, DtypeError, "arrays used as indices must be of integer"),
    ((K, J), {"axes": (0, 1), "at": 0}, ShapeError, "indexing arrays could not be broadcast together"),
    ((K,), {"axes": (0,), "at": 3}, ShapeError, "position 3 is out of bounds"),
]


@pytest.mark.parametrize(("idx", "attrs", "kind", "message"), MESSAGES)
def test_messages(idx: tuple[np.ndarray, ...], attrs: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        graph_of("gather", X, *idx, **attrs)
    with pytest.raises(kind, match=message):
        graph_of("scatter_add", X, X, *idx, **attrs)


def test_messages_of_values_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"value array of shape \(4,\) could not be broadcast to indexing result of"):
        graph_of("scatter_set", X, X[0, 0], K % 2, axes=(0,), at=0)
    with pytest.raises(DtypeError, match="scatter_add of f64 and i64"):
        graph_of("scatter_add", X[0, 0], K, K, axes=(0,), at=0)


@pytest.mark.parametrize("seed", range(40))
def test_indices_that_grow_by_fixed_steps(seed: int) -> None:
    """They need no table: rows ``np.arange(n)``, open meshes, diagonals, and such that only seem so."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 5, size=rng.integers(1, 4)))
    start, steps = int(rng.integers(-3, 9)), rng.integers(-3, 4, size=len(shape))
    data = start + sum(step * i for step, i in zip(steps, np.indices(shape), strict=True))
    found = affine(data)
    assert found is not None and found[0] == start
    assert all(a == b for a, b, n in zip(found[1], steps, shape, strict=True) if n > 1)
    if data.size > 2 and max(shape) > 2:
        data.flat[-1] += 1
        found = affine(data)
        again = (
            None if found is None else found[0] + sum(k * i for k, i in zip(found[1], np.indices(shape), strict=True))
        )
        assert again is None or np.array_equal(again, data)


def test_rows_and_diagonals_by_index() -> None:
    rng = np.random.default_rng(0)
    x, k = rng.standard_normal((7, 9)), rng.integers(-9, 9, 7)
    rows = np.arange(7)

    def picks(x, v):
        y = np.zeros((7, 9))
        y = jg.add_at(y, (rows, k), v)
        y = jg.set_at(y, (rows[::-2], rows[::2]), x[rows[::2], rows[::2] + 1])
        return x[rows, k] * v, x[np.ix_([6, 4, 2], [0, 3, 6])], x[rows - 7, rows], y

    def expected(x, v):
        y = np.zeros((7, 9))
        np.add.at(y, (rows, k), v)
        y[rows[::-2], rows[::2]] = x[rows[::2], rows[::2] + 1]
        return x[rows, k] * v, x[np.ix_([6, 4, 2], [0, 3, 6])], x[rows - 7, rows], y

    v = rng.standard_normal(7)
    for a, b in zip(jg.jit(picks)(x, v), expected(x, v), strict=True):
        np.testing.assert_array_equal(a, b)
    jg.testing.check_grads(picks, (x, v))


def test_indices_are_checked_again_after_a_change() -> None:
    rng = np.random.default_rng(0)
    x, k = rng.standard_normal(9), rng.integers(-9, 9, 12)

    def changed(x, k):
        k = k + 0
        a = x[k] * x[k]
        k[3] = -1
        b = x[k]
        for j in range(20):
            k[j % 12] = j % 9
            b = b + x[k]
        return a, b

    with jg.config.using(unroll_limit=0):
        found = jg.jit(changed)(x, k)
    for one, expected in zip(found, changed(x, k), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-12)

    def wrong(x, k):
        k = k + 0
        a = x[k]
        k[3] = 9
        return a, x[k]

    with pytest.raises(IndexError, match="out of bounds"):
        jg.jit(wrong)(x, k)
    program = lower(jg.trace(lambda x, k: (x[k], x[k] * 2, jg.add_at(x, k, x[k])), x, k))
    assert sum(t.name.startswith("index") for t in program.temporaries) == 1
