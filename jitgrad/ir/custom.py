"""Functions whose derivative the user gives: the data of the op ``custom``, and what takes its place in the end.

The op stays whole until it has been differentiated; before a graph is compiled, the function's own ops replace it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from jitgrad.ir.core import Block, Builder, Graph, Op, Value
from jitgrad.ir.symbols import renamed_attributes, renamed_param, renamed_type, used_values


@dataclasses.dataclass(eq=False, repr=False)
class CustomRule:
    """A function and its derivative, each as a graph. What is not given is None.

    ``graph`` computes the results from the arguments. ``saving`` computes the same results and then the residuals that
    ``pullback`` takes. ``pullback`` computes, from the arguments, the residuals, and a cotangent for each float result,
    a cotangent for each float argument. ``pushforward`` computes, from the arguments and a tangent for each float one,
    a tangent for each float result. Both may use the function itself: they are filled in once they are traced.
    """

    name: str
    graph: Graph
    saving: Graph | None = None
    pullback: Graph | None = None
    pushforward: Graph | None = None

    @property
    def whole(self) -> Graph:
        """What the op computes: the results, and the residuals if there are any."""
        return self.saving or self.graph


def resolve(graph: Graph, wanted: Callable[[Op], bool] = lambda op: True) -> Graph:
    """The graph with the ops of functions in the place of the ``custom`` ops that are wanted; the graph itself where
    there are none. What a rule saves is computed only where something uses it."""
    while any(op.name == "custom" and wanted(op) for op in _ops(graph.block)):
        b = Builder(graph.name)
        env: dict[Value, Value] = {p: b.param(p.type, p.name) for p in graph.params}
        _copy(b, graph.ops, env, wanted, _used(graph.block))
        graph = b.build(*(env[r] for r in graph.results))
    return graph


def _copy(
    b: Builder, ops: Sequence[Op], env: dict[Value, Value], wanted: Callable[[Op], bool], used: set[Value]
) -> None:
    for op in ops:
        if op.name == "custom" and wanted(op):
            rule: CustomRule = op.attrs["rule"]
            saved = not used.isdisjoint(op.results[len(rule.graph.results) :])
            found = b.inline(rule.whole if saved else rule.graph, [env.get(v, v) for v in op.operands])
            env.update(zip(op.results, found, strict=False))
            continue
        blocks = []
        for block in op.regions:
            inner = dict(env)
            with b.region() as new:
                for p in block.params:
                    inner[p] = renamed_param(p, inner)
                    new.params.append(inner[p])
                _copy(b, block.ops, inner, wanted, used)
                new.finish(*(inner.get(v, v) for v in block.results))
            blocks.append(new.block)
        if not blocks:
            b.copy(op, env)
            continue
        results = tuple(Value(renamed_type(r.type, env), r.name) for r in op.results)
        operands = tuple(env.get(v, v) for v in op.operands)
        b.ops.append(Op(op.opdef, operands, renamed_attributes(op.attrs, env), results, tuple(blocks), op.loc))
        env.update(zip(op.results, results, strict=True))


def _ops(block: Block) -> Iterator[Op]:
    for op in block.ops:
        yield op
        for region in op.regions:
            yield from _ops(region)


def _used(block: Block) -> set[Value]:
    """All values that ops use, or that blocks return."""
    used = set(block.results)
    for op in block.ops:
        used.update(used_values(op))
        for region in op.regions:
            used |= _used(region)
    return used
