"""Values in index expressions: intervals are never too narrow, limits of loop indices, counts, renaming."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.ir.core import Builder, Value
from jitgrad.ir.index import Dim, Sym, add, evaluate, expr, floordiv, interval, mod, mul, never_negative
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.symbols import (
    block_uses,
    copied_op,
    index_of,
    may_be_empty,
    never_runs,
    renamed_dim,
    set_limits,
    symbol_of,
    trip_count,
    used_values,
)
from jitgrad.ir.types import TensorType, f64, i64
from jitgrad.ir.verify import verify


def nest(rng: np.random.Generator, depth: int) -> tuple[list[Value], list[dict[Sym, int]]]:
    """The indices of random nested loops, and every point of the iteration space."""
    indices: list[Value] = []
    points: list[dict[Sym, int]] = [{}]
    for k in range(depth):
        index = Value(TensorType(i64), f"i{k}")
        bounds: list[Dim] = []
        for low, high in ((-2, 3), (1, 6)):
            e: Dim = int(rng.integers(low, high))
            for outer in indices:
                e = add(e, mul(expr(symbol_of(outer)), int(rng.choice([0, 0, 1, -1, 2]))))
            bounds.append(e)
        step = int(rng.choice([1, 1, 2, 3, -1, -2]))
        lo, hi = bounds if step > 0 else bounds[::-1]
        set_limits(index, lo, hi, step)
        s = symbol_of(index)
        points = [{**p, s: i} for p in points for i in range(evaluate(lo, p), evaluate(hi, p), step)]
        indices.append(index)
    return indices, points


@pytest.mark.parametrize("seed", range(40))
def test_intervals_hold_every_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    indices, points = nest(rng, 3)
    for _ in range(20):
        e: Dim = int(rng.integers(-3, 4))
        for index in indices:
            e = add(e, mul(expr(symbol_of(index)), int(rng.integers(-3, 4))))
        if rng.random() < 0.4:
            e = add(floordiv(e, int(rng.integers(1, 4))), mod(e, int(rng.integers(1, 4))))
        if rng.random() < 0.2:
            e = mul(e, expr(symbol_of(indices[0])))
        lo, hi = interval(e)
        for p in points:
            value = evaluate(e, p)
            assert lo is None or lo <= value
            assert hi is None or value <= hi


def test_an_interval_is_exact_where_limits_are_affine() -> None:
    i = Value(TensorType(i64), "i")
    set_limits(i, 0, 10, 1)
    j = Value(TensorType(i64), "j")
    set_limits(j, 0, expr(symbol_of(i)), 1)
    difference = add(expr(symbol_of(i)), mul(expr(symbol_of(j)), -1))
    assert interval(difference) == (1, 9)
    assert never_negative(add(difference, -1))


@settings(max_examples=200, deadline=None)
@given(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([1, 2, 3, -1, -2, -3]))
def test_limits_and_counts_of_loops(lo: int, hi: int, step: int) -> None:
    run = range(lo, hi, step)
    assert trip_count(lo, hi, step) == len(run)
    assert may_be_empty(lo, hi, step) == (len(run) == 0) == never_runs(lo, hi, step)
    index = Value(TensorType(i64), "i")
    set_limits(index, lo, hi, step)
    low, high = symbol_of(index).bounds
    assert low is not None
    assert high is not None
    assert low <= high
    for i in run:
        assert low <= i <= high


@settings(max_examples=100, deadline=None)
@given(st.integers(-4, 4), st.integers(-4, 8), st.sampled_from([1, 2, 3, -1, -2]))
def test_symbolic_counts(lo: int, n: int, step: int) -> None:
    s = Sym("n")
    bounds = (lo, expr(s)) if step > 0 else (expr(s), lo)
    count = evaluate(trip_count(*bounds, step), {s: n})
    exact = len(range(*((lo, n) if step > 0 else (n, lo)), step))
    assert max(count, 0) == exact
    assert may_be_empty(*bounds, step)
    assert not never_runs(*bounds, step)


def test_values_written_in_terms_of_others() -> None:
    b = Builder("f")
    n, m = (b.param(TensorType(i64), name) for name in "nm")
    two = b.constant(2, np.int64)
    total = b.emit("add", b.emit("multiply", n, two), b.emit("negative", b.emit("subtract", m, two)))
    e = index_of(total)
    assert evaluate(e, {symbol_of(n): 5, symbol_of(m): 3}) == 9
    product = b.emit("multiply", n, m)
    assert index_of(product) == expr(symbol_of(product))  # not affine: a symbol of its own


@pytest.mark.parametrize("op", ["minimum", "maximum"])
def test_limits_of_minimum_and_maximum(op: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (Value(TensorType(i64), name) for name in "ab")
        for v in (a, b):
            lo = int(rng.integers(-4, 4))
            v.symbol = Sym(v.name or "v", lo if rng.random() < 0.8 else None, lo + 3 if rng.random() < 0.8 else None, v)
        graph = Builder("f")
        result = graph.emit(op, a, b)
        lo, hi = symbol_of(result).bounds
        for x in range(-4, 8):
            for y in range(-4, 8):
                outside = [v for v, k in ((a, x), (b, y)) if not _within(v, k)]
                if outside:
                    continue
                value = min(x, y) if op == "minimum" else max(x, y)
                assert lo is None or lo <= value
                assert hi is None or value <= hi


def _within(v: Value, k: int) -> bool:
    lo, hi = symbol_of(v).bounds
    return (lo is None or lo <= k) and (hi is None or k <= hi)


TEXT = """
graph f(%x: f64[6], %n: i64[]) {
  %zero: f64[] = constant() {value=f64[] 0.0}
  %y: f64[] = for(%zero) {lo=0, hi=%n, step=1}
    (%i: i64[], %a: f64[]) {
      %s: f64[%i] = slice(%x) {starts=(0,), sizes=(%i,), steps=(1,)}
      %t: f64[] = reduce_sum(%s) {axes=(0,)}
      %b: f64[] = for(%a) {lo=0, hi=%i, step=1}
        (%j: i64[], %c: f64[]) {
          %d: f64[] = add(%c, %t)
          yield %d
        }
      yield %b
    }
  return %y
}
"""


def test_a_copy_of_a_region_names_its_own_values() -> None:
    graph = parse(TEXT)
    b = Builder("g")
    env: dict[Value, Value] = {p: b.param(p.type, p.name) for p in graph.params}
    for op in graph.ops:
        b.ops.append(copied_op(op, env))
    copy = b.build(*(env[r] for r in graph.results))
    verify(copy)
    old, new = (set(block_uses(g.block)) | set(g.params) for g in (graph, copy))
    assert not old & new
    loop = copy.ops[-1]
    index = loop.regions[0].params[0]
    assert symbol_of(index).payload is index
    assert symbol_of(index).limits[1] == add(expr(symbol_of(copy.params[1])), -1)
    args: list[Any] = [np.arange(6.0), np.asarray(5)]
    assert interpret(copy, *args) == interpret(graph, *args)


def test_what_an_op_uses() -> None:
    graph = parse(TEXT)
    loop = graph.ops[-1]
    used = set(used_values(loop))
    assert graph.params[0] in used  # by a slice in the body
    assert graph.params[1] in used  # by the bound
    inner = loop.regions[0].ops[-1]
    assert loop.regions[0].params[0] in set(used_values(inner))  # by the bound of the inner loop


def test_renaming_an_extent() -> None:
    a, b = (Value(TensorType(i64), name) for name in "ab")
    e = add(mul(expr(symbol_of(a)), 2), 1)
    assert renamed_dim(e, {a: b}) == add(mul(expr(symbol_of(b)), 2), 1)
    assert renamed_dim(e, {b: a}) is e
    assert renamed_dim(7, {a: b}) == 7
    builder = Builder("f")
    three = builder.constant(3, np.int64)
    assert renamed_dim(e, {a: three}) == 7


def test_a_float_is_no_index() -> None:
    v = Value(TensorType(f64), "v")
    assert index_of(v) == expr(symbol_of(v))
