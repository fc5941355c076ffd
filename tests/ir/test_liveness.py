"""Which values of a graph are used, and the graph without the others."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.ir.core import Block, Graph, Op, Value
from jitgrad.ir.interpret import interpret
from jitgrad.ir.liveness import live_values, pruned
from jitgrad.ir.parser import parse
from jitgrad.ir.verify import verify

TEXT = """
graph f(%x: f64[4], %w: f64[], %n: i64[]) {
  %p: bool[] = less(%w, %w)
  %y: f64[4], %v: f64[], %k: f64[] = for(%x, %w, %w) {lo=0, hi=%n, step=1}
    (%i: i64[], %a: f64[4], %b: f64[], %c: f64[]) {
      %e: f64[1] = slice(%a) {starts=(%i,), sizes=(1,), steps=(1,)}
      %g: f64[1] = reshape(%c) {shape=(1,)}
      %h: f64[1] = add(%e, %g)
      %d: f64[4] = set_slice(%a, %h) {starts=(%i,), steps=(1,)}
      %l: f64[] = sin(%b)
      %m: f64[], %o: f64[] = cond(%p)
        () {
          %q: f64[] = cos(%c)
          %r: f64[] = exp(%b)
          yield %q, %r
        }
        () {
          yield %c, %b
        }
      yield %d, %l, %m
    }
  return %y, %v, %k
}
"""


def names(block: Block) -> list[str]:
    return [name for op in block.ops for name in (op.name, *(n for r in op.regions for n in names(r)))]


def only(graph: Graph, k: int) -> Graph:
    block = Block(graph.params, graph.ops, [graph.results[k]])
    return Graph(graph.name, pruned(block, live_values(block, block.results)))


def values(graph: Graph) -> tuple[np.ndarray, ...]:
    return interpret(graph, np.arange(4.0), np.asarray(0.5), np.asarray(3))


@pytest.mark.parametrize("k", range(3))
def test_a_pruned_graph_gives_the_same(k: int) -> None:
    graph = parse(TEXT)
    part = only(graph, k)
    verify(part)
    np.testing.assert_array_equal(values(part)[0], values(graph)[k])


def test_what_is_carried_for_nobody_goes() -> None:
    graph = parse(TEXT)
    assert names(only(graph, 0).block) == ["less", "for", "slice", "reshape", "add", "set_slice", "cond", "cos"]
    assert names(only(graph, 1).block) == ["for", "sin"]
    assert names(only(graph, 2).block) == ["less", "for", "cond", "cos"]
    assert [len(only(graph, k).ops[-1].results) for k in range(3)] == [2, 1, 1]


def test_the_input_is_left_alone_and_shared_where_nothing_goes() -> None:
    graph = parse(TEXT)
    text = str(graph)
    only(graph, 1)
    assert str(graph) == text
    loop = graph.ops[-1]
    results = list(graph.results)
    block = Block(graph.params, graph.ops, results)
    again = pruned(block, live_values(block, results))
    assert names(again) == [n for n in names(graph.block) if n != "exp"]
    assert again.ops[-1] is not loop  # its branches lost a result
    assert pruned(again, live_values(again, again.results)) is again


def test_new_regions_are_reported() -> None:
    graph = parse(TEXT)
    block = Block(graph.params, graph.ops, graph.results[1:2])
    changed: dict[Block, Block] = {}
    new = pruned(block, live_values(block, block.results), regions=changed)
    assert changed == {graph.ops[-1].regions[0]: new.ops[-1].regions[0]}


def test_every_op_that_is_left_is_needed() -> None:
    """Deleting any op of a pruned graph leaves a use without a definition."""
    graph = only(parse(TEXT), 2)

    def visit(block: Block) -> None:
        for op in block.ops:
            rest = [o for o in block.ops if o is not op]
            used = {v for o in rest for v in _uses(o)} | set(block.results)
            assert set(op.results) & used
            for region in op.regions:
                visit(region)

    visit(graph.block)


def _uses(op: Op) -> set[Value]:
    inner = {v for region in op.regions for o in region.ops for v in _uses(o)}
    return {*op.operands, *inner, *(v for region in op.regions for v in region.results)}
