"""The orders in which the passes run: once before differentiation, once before lowering."""

from __future__ import annotations

from collections.abc import Callable

from jitgrad import config
from jitgrad.ir.core import Graph, Op
from jitgrad.ir.verify import verify as verify_graph
from jitgrad.passes.cse import cse
from jitgrad.passes.dce import dce
from jitgrad.passes.erase import erase
from jitgrad.passes.fold import fold
from jitgrad.passes.invariant import invariant
from jitgrad.passes.licm import licm
from jitgrad.passes.order import order
from jitgrad.passes.pieces import pieces
from jitgrad.passes.rotate import rotate
from jitgrad.passes.simplify import simplify
from jitgrad.passes.stable import stable
from jitgrad.passes.unwrap import unwrap
from jitgrad.passes.values_only import values_only
from jitgrad.passes.vectorise import vectorise
from jitgrad.passes.widen import narrow, widen

#: Rounds of fold, simplify, cse, dce at most. Nearly every graph is at its fixpoint after two.
ROUNDS = 4


def prepare(graph: Graph, notes: list[str] | None = None, *, verify: bool | None = None) -> Graph:
    """What is done to a traced graph before it is differentiated: clean up lightly, then stable rewrites, and
    derivatives that are known to be zero.

    notes : a line for each of the latter two is appended.
    verify : check the graph after every pass; by default as ``config.verify`` says.
    """
    check = _Checks(verify)
    graph = _run("fold", fold, graph, check)
    # Before simplification, so that a product of equal values is seen to be a square; and after, since that makes more
    # values equal.
    graph = _run("cse", cse, graph, check)
    graph = _run("simplify", lambda g: simplify(g, final=False), graph, check)
    graph = _run("unwrap", unwrap, graph, check)
    graph = _run("vectorise", vectorise, graph, check)
    graph = _run("simplify", lambda g: simplify(g, final=False), graph, check)
    graph = _run("cse", cse, graph, check)
    graph = _run("stable", lambda g: stable(g, notes), graph, check)
    graph = _run("invariant", lambda g: invariant(g, notes), graph, check)
    graph = _run("licm", licm, graph, check)  # what does not change in a loop need not be saved in it
    return _run("dce", dce, graph, check)


def optimise(graph: Graph, notes: list[str] | None = None, *, verify: bool | None = None, target: str = "cpu") -> Graph:
    """What is done to a graph before it is lowered; it must not be differentiated afterwards.

    target : ``"cuda"`` where products of float16 or bfloat16 matrices are for a library that takes them.
    notes : a line that sums up what happened is appended.
    verify : check the graph after every pass; by default as ``config.verify`` says.
    """
    before, check = len(graph.ops), _Checks(verify)
    graph = _run("dce", dce, graph, check)
    graph = _run("erase", erase, graph, check)
    graph = _run("order", order, graph, check)
    graph = _run("widen", widen, graph, check)
    for _ in range(ROUNDS):
        start = graph
        graph = _run("fold", fold, graph, check)
        graph = _run("simplify", simplify, graph, check)
        graph = _run("cse", cse, graph, check)
        graph = _run("unwrap", unwrap, graph, check)
        graph = _run("dce", dce, graph, check)
        if _same_ops(start, graph):
            break
    graph = _run("values_only", values_only, graph, check)
    graph = _run("rotate", rotate, graph, check)
    graph = _run("pieces", pieces, graph, check)
    graph = _run("dce", dce, graph, check)
    graph = _run("licm", licm, graph, check)
    graph = _run("unwrap", lambda g: unwrap(g, checkpoints=True), graph, check)
    if target == "cuda":
        graph = _run("narrow", narrow, graph, check)
        graph = _run("dce", dce, graph, check)
    if notes is not None:
        notes.append(f"{before} ops before optimisation, {len(graph.ops)} after")
    return graph


class _Checks:
    """Verifies a graph after every pass, if it is to be done: not again where a pass has changed nothing, and of an op
    that a pass has left alone only how it fits into the graph."""

    def __init__(self, verify: bool | None) -> None:
        self.on = config.current().verify if verify is None else verify
        self.last: Graph | None = None
        self.known: set[Op] = set()

    def __call__(self, graph: Graph, stage: str) -> None:
        if self.on and not (self.last is not None and _same(self.last, graph)):
            verify_graph(graph, stage, self.known)
            self.last = graph


def _run(stage: str, run: Callable[[Graph], Graph], graph: Graph, check: _Checks) -> Graph:
    graph = run(graph)
    check(graph, stage)
    return graph


def _same(a: Graph, b: Graph) -> bool:
    """True where nothing differs, names of graphs aside."""
    ends = zip((*a.params, *a.results), (*b.params, *b.results), strict=False)
    counts = len(a.params) == len(b.params) and len(a.results) == len(b.results)
    return counts and all(x is y for x, y in ends) and _same_ops(a, b)


def _same_ops(a: Graph, b: Graph) -> bool:
    """True where no pass made a new op: what does not change is shared between graphs."""
    return len(a.ops) == len(b.ops) and all(x is y for x, y in zip(a.ops, b.ops, strict=True))
