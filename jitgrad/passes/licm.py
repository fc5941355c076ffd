"""Loop-invariant code motion: what an iteration computes from values outside of the loop is computed before the loop.

An op is moved out of a ``for`` or ``while`` body if everything it uses is defined outside. Ops that may fail (an index
that is checked, a factorization, a slice at a position that only the loop's range keeps inside the array) stay unless
the loop is known to run; so does what would only make memory live longer without saving work: constants, broadcasts,
``empty`` and other ops that cost nothing where they stand.
"""

from __future__ import annotations

from collections.abc import Iterator

from jitgrad.ir.core import Block, Graph, Op, Value
from jitgrad.ir.index import Dim, add, mul, never_negative
from jitgrad.ir.symbols import block_uses, may_be_empty, used_values
from jitgrad.ops.op import Elementwise
from jitgrad.passes.rewrite import rebuilt, renamed

#: Ops that never fail and are worth computing once. The elementwise ones come on top.
_MOVED = frozenset(
    (
        *("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_any", "reduce_all", "argmax", "argmin"),
        *("cumsum", "cumprod", "sort", "argsort", "einsum", "where", "cast", "concatenate", "pad", "transpose"),
    )
)
#: Ops that go along when what uses them is moved.
_CHEAP = frozenset(("constant", "broadcast_to", "reshape", "slice", "iota", "ramp", "index", "stop_gradient"))


def licm(graph: Graph) -> Graph:
    """The graph with invariant ops before their loops; the graph itself where there are none."""
    block = _block(graph.block)
    return graph if block is graph.block else Graph(graph.name, block)


def _block(block: Block) -> Block:
    env: dict[Value, Value] = {}
    ops: list[Op] = []
    for old in block.ops:
        op = renamed(old, env)
        if op.regions:
            regions = tuple(map(_block, op.regions))
            if op.name in ("for", "while"):
                runs = op.name == "for" and not may_be_empty(**op.attrs)
                regions = tuple(_split(region, ops, runs=runs or region is not regions[-1]) for region in regions)
            if any(a is not b for a, b in zip(regions, op.regions, strict=True)):
                op = rebuilt(op, op.operands, op.attrs, regions, {})
        ops.append(op)
        env.update((a, b) for a, b in zip(old.results, op.results, strict=True) if a is not b)
    if len(ops) == len(block.ops) and all(a is b for a, b in zip(ops, block.ops, strict=True)):
        return block
    return Block(block.params, ops, [env.get(v, v) for v in block.results])


def _split(block: Block, moved: list[Op], *, runs: bool) -> Block:
    """Take the invariant ops out of a body; they are appended to ``moved``. ``runs``: the body runs at least once."""
    inside: set[Value] = set(block.params)
    candidates: dict[Value, Op] = {}
    for op in block.ops:
        free = not op.regions and not any(v in inside for v in used_values(op))
        safe = runs or all(map(never_negative, must_not_be_negative(op)))
        if free and safe and (isinstance(op.opdef, Elementwise) or op.name in _MOVED or op.name in _CHEAP):
            candidates.update((r, op) for r in op.results)
        else:
            inside.update(op.results)
            inside.update(v for region in op.regions for v in block_uses(region))
    wanted: dict[Op, None] = {}

    def want(op: Op) -> None:
        for v in used_values(op):
            if v in candidates:
                want(candidates[v])
        wanted.setdefault(op)

    for op in dict.fromkeys(candidates.values()):
        if op.name not in _CHEAP and op not in wanted:
            want(op)
    if not wanted:
        return block
    moved += [op for op in block.ops if op in wanted]
    return Block(block.params, [op for op in block.ops if op not in wanted], block.results)


def must_not_be_negative(op: Op) -> Iterator[Dim]:
    """What is at least 0 where the op is valid: its extents, and the room that a slice leaves at both ends."""
    for r in op.results:
        yield from r.type.shape
    if op.name == "slice":
        pieces = zip(op.operands[0].type.shape, *(op.attrs[k] for k in ("starts", "sizes", "steps")), strict=True)
        for n, start, size, step in pieces:
            last = add(start, mul(add(size, -1), step))
            least, most = (start, last) if step > 0 else (last, start)
            yield least
            yield add(n, mul(add(most, 1), -1))
