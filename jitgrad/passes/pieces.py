"""Updates of pieces of an array, put into the form that runs best.

The reverse of a stencil adds one array to many overlapping pieces of another: ``d[1:-1] += g; d[:-2] += g; ...``.
Each is a sweep of its own that reads and writes ``d``. Where all pieces overlap, the same is one sweep that reads ``g``
at several positions and writes ``d`` once; what is left at the borders is added strip by strip. Sums are taken in
another order, so results may differ by rounding.

A write of one number into a piece (an adjoint is set to zero once it was read) is moved to just before the first use of
its result: what reads the old values need not be stored. And an addition to elements that were just set to zero is a
write; a sum of zero and -0.0 becomes -0.0 by that. Columns that are added to nothing but zeros, which the reverse of
``x[:, 0], x[:, 1], x[:, 2]`` leaves, are put side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jitgrad.ir.core import Graph, Op, Value
from jitgrad.ir.index import Dim, add, mul
from jitgrad.ir.symbols import used_values
from jitgrad.ir.types import TensorType
from jitgrad.passes.rewrite import Rewriter, full, is_number, made_by, scalar_of

#: Most nests that the additions of one group may become.
_MOST = 48
#: Most pieces that are put side by side, with those that stay zero.
_SIDE_BY_SIDE = 16
#: Groups that a piece is compared with.
_OPEN = 48


class Piece(NamedTuple):
    """``value`` is added at ``offset`` from the first piece of its group; ``sizes`` are its extents."""

    value: Value
    offset: tuple[int, ...]
    sizes: tuple[int, ...]

    def span(self, axis: int) -> tuple[int, int]:
        return self.offset[axis], self.offset[axis] + self.sizes[axis]


Span = tuple[int, int]


class _Target:
    """An array that is added to: its version so far, and the boxes of it that are still to be set to zero. Boxes count
    from ``origin``."""

    def __init__(self, total: Value, origin: tuple[Dim, ...]) -> None:
        self.total, self.origin = total, origin
        self.zeros: list[list[Span]] = []

    def move(self, origin: tuple[Dim, ...]) -> bool:
        """Count from another element; False where the distance is not known."""
        distance = _difference(self.origin, origin)
        if not _is_static(distance):
            return False
        shifts: Sequence[int] = distance  # pyright: ignore[reportAssignmentType]
        self.zeros = [[(lo + d, hi + d) for (lo, hi), d in zip(box, shifts, strict=True)] for box in self.zeros]
        self.origin = origin
        return True


def _difference(a: Sequence[Dim], b: Sequence[Dim]) -> tuple[Dim, ...]:
    return tuple(add(x, mul(y, -1)) for x, y in zip(a, b, strict=True))


def _is_static(dims: Sequence[Dim]) -> bool:
    return all(isinstance(n, int) for n in dims)


def _offset(op: Op, first: Op) -> tuple[Dim, ...]:
    return _difference(op.attrs["starts"], first.attrs["starts"])


def _families(chain: Sequence[Op], origin: tuple[Dim, ...] | None) -> list[list[Op]]:
    """The additions in families whose distances from each other are known; the one at ``origin`` first."""
    families: list[list[Op]] = []
    for op in chain:
        sized = _is_static(op.operands[1].type.shape)
        for family in families:
            if sized and _is_static(family[0].operands[1].type.shape) and _is_static(_offset(op, family[0])):
                family.append(op)
                break
        else:
            families.append([op])
    if origin is not None:
        families.sort(key=lambda family: not _is_static(_difference(family[0].attrs["starts"], origin)))
    return families


def pieces(graph: Graph) -> Graph:
    """The graph with such updates rewritten; the graph itself where there are none."""
    if not any(_has_updates(op) for op in graph.ops):
        return graph
    new = _Pieces(graph, {}).run(graph)
    same = len(new.ops) == len(graph.ops) and all(a is b for a, b in zip(new.ops, graph.ops, strict=True))
    return graph if same else new


def _has_updates(op: Op) -> bool:
    if op.name in ("add_slice", "set_slice"):
        return True
    return any(_has_updates(inner) for region in op.regions for inner in region.ops)


class _Pieces(Rewriter):
    def _walk(self, ops: Sequence[Op]) -> None:
        ops = _sunk(ops)
        chains = _chains(ops, self.uses)
        skipped = {op for chain in chains.values() for op in chain[:-1]}
        for op in ops:
            if op in skipped:
                continue
            chain = chains.get(op)
            if chain is None or not (self._side_by_side(chain) or self._combined(chain)):
                super()._walk(chain or (op,))

    def _side_by_side(self, chain: Sequence[Op]) -> bool:
        """Emit additions to zeros that do not meet, and are whole but along one axis, as a concatenation; False where
        they are none."""
        before, shape = self.env.get(chain[0].operands[0], chain[0].operands[0]), chain[0].result.type.shape
        if len(chain) < 2 or not is_number(before, 0.0) or not _is_static(shape):
            return False
        boxes = [
            [(lo, add(lo, n)) for lo, n in zip(op.attrs["starts"], op.operands[1].type.shape, strict=True)]
            for op in chain
        ]
        axes = {k for box in boxes for k, n in enumerate(shape) if box[k] != (0, n)}
        if len(axes) != 1 or not all(_is_static(span) for box in boxes for span in box):
            return False
        (axis,) = axes
        spans: list[tuple[Span, Op | None]] = sorted(
            ((b[axis], op) for b, op in zip(boxes, chain, strict=True)), key=lambda x: x[0]
        )  # pyright: ignore[reportAssignmentType, reportArgumentType]
        edges = [(0, 0), *(span for span, _ in spans), (shape[axis], shape[axis])]
        gaps: list[tuple[Span, Op | None]] = [((a[1], b[0]), None) for a, b in itertools.pairwise(edges)]  # pyright: ignore[reportAssignmentType]
        if any(hi < lo for (lo, hi), _ in gaps):
            return False  # two meet
        spans = sorted([*spans, *((span, None) for span, _ in gaps if span[0] < span[1])], key=lambda x: x[0])
        if len(spans) > _SIDE_BY_SIDE:
            return False
        self.loc = chain[-1].loc
        parts = [self._column(before.type, axis, span, op) for span, op in spans]
        self._rename(chain[-1].results, (self.append("concatenate", *parts, axis=axis),))
        return True

    def _column(self, whole: TensorType, axis: int, span: Span, op: Op | None) -> Value:
        """What an addition to zeros puts there; without one, the zeros."""
        if op is not None:
            return self.env.get(op.operands[1], op.operands[1])
        extent = span[1] - span[0]
        return full(self, 0, TensorType(whole.dtype, (*whole.shape[:axis], extent, *whole.shape[axis + 1 :])))

    def _combined(self, chain: Sequence[Op]) -> bool:
        """Emit a chain of additions in groups of overlapping pieces; False where there is nothing to gain.

        Additions commute, so those to what was just set to zero come first.
        """
        target = self._target(chain[0])
        plans = []
        for family in _families(chain, target.origin if target.zeros else None):
            found = [Piece(op.operands[1], _offset(op, family[0]), op.operands[1].type.shape) for op in family]  # pyright: ignore[reportArgumentType]
            plans.append((family, _groups(found) if _is_static(family[0].operands[1].type.shape) else []))
        gain = any(len(group) > 1 for _, groups in plans for group in groups)
        if target.zeros and plans[0][1]:
            gain |= _is_static(_difference(plans[0][0][0].attrs["starts"], target.origin))
        nests = sum(2 * len(g) * len(family[0].attrs["starts"]) for family, groups in plans for g in groups)
        if not gain or nests > _MOST:
            return False
        self.loc = chain[-1].loc
        for family, groups in plans:
            self._emit_family(target, family[0], groups)
        for box in target.zeros:
            self._clear(target, box)
        self._rename(chain[-1].results, (target.total,))
        return True

    def _emit_family(self, target: _Target, first: Op, groups: Sequence[Sequence[Piece]]) -> None:
        sized = _is_static(first.operands[1].type.shape)
        if not target.move(first.attrs["starts"]) or not sized:  # which zeros it meets is not known
            for box in target.zeros:
                self._clear(target, box)
            target.zeros = []
            target.origin = first.attrs["starts"]
        if not sized:
            value = self.env.get(first.operands[1], first.operands[1])
            steps = first.attrs["steps"]
            target.total = self.append("add_slice", target.total, value, starts=target.origin, steps=steps)
            return
        for group in groups:
            common = _common(group)
            inner = self._part(group[0], common)
            for piece in group[1:]:
                inner = self.append("add", inner, self._part(piece, common))
            self._add(target, inner, common)
            for piece in group:
                for strip in _rest(_box(piece), common):
                    self._add(target, self._part(piece, strip), strip)

    def _target(self, first: Op) -> _Target:
        """What is added to: where it was set to zero just before, that is put off."""
        total = self.env.get(first.operands[0], first.operands[0])
        target = _Target(total, first.attrs["starts"])
        clear = made_by(total, "set_slice")
        if clear is None or not self.single(total) or not is_number(clear.operands[1], 0.0):
            return target
        sizes = clear.operands[1].type.shape
        if _is_static(sizes) and all(s == 1 for s in clear.attrs["steps"]):
            target.origin = clear.attrs["starts"]
            target.zeros = [[(0, n) for n in sizes]]  # pyright: ignore[reportAttributeAccessIssue]
            target.total = clear.operands[0]
        return target

    def _add(self, target: _Target, value: Value, box: Sequence[Span]) -> None:
        """Add to a box; or write, where it lies in one that is to be set to zero."""
        for k, zero in enumerate(target.zeros):
            if all(a <= lo and hi <= b for (lo, hi), (a, b) in zip(box, zero, strict=True)):
                target.zeros[k : k + 1] = list(_rest(zero, box))
                self._emit(target, "set_slice", value, box)
                return
        for zero in [z for z in target.zeros if _meet(z, box)]:
            target.zeros.remove(zero)
            self._clear(target, zero)
        self._emit(target, "add_slice", value, box)

    def _clear(self, target: _Target, box: Sequence[Span]) -> None:
        dtype = target.total.type.dtype
        zeros = full(self, 0, TensorType(dtype, tuple(hi - lo for lo, hi in box)))
        self._emit(target, "set_slice", zeros, box)

    def _emit(self, target: _Target, op: str, value: Value, box: Sequence[Span]) -> None:
        start = tuple(add(o, lo) for o, (lo, _) in zip(target.origin, box, strict=True))
        target.total = self.append(op, target.total, value, starts=start, steps=(1,) * len(start))

    def _part(self, piece: Piece, box: Sequence[Span]) -> Value:
        """The elements of a piece that lie in a box."""
        value = self.env.get(piece.value, piece.value)
        starts = tuple(lo - o for (lo, _), o in zip(box, piece.offset, strict=True))
        sizes = tuple(hi - lo for lo, hi in box)
        if sizes == piece.sizes:
            return value
        return self.append("slice", value, starts=starts, sizes=sizes, steps=(1,) * len(sizes))


def _sunk(ops: Sequence[Op]) -> list[Op]:
    """The ops with every write of one number moved to before the first use of its result."""
    held: dict[Value, Op] = {}
    result: list[Op] = []

    def release(v: Value) -> None:
        op = held.pop(v, None)
        if op is not None:
            for u in op.operands:
                release(u)
            result.append(op)

    for op in ops:
        if op.name == "set_slice" and scalar_of(op.operands[1]) is not None:
            for u in op.operands:
                release(u)
            held[op.result] = op
            continue
        if held:
            for v in list(dict.fromkeys(used_values(op))):
                release(v)
        result.append(op)
    for v in list(held):
        release(v)
    return result


def _chains(ops: Sequence[Op], uses: dict[Value, int]) -> dict[Op, list[Op]]:
    """Runs of additions to one array, each of whose sums only the next one uses; by their last op."""
    chains: dict[Value, list[Op]] = {}
    for op in ops:
        if op.name != "add_slice" or any(s != 1 for s in op.attrs["steps"]):
            continue
        before = op.operands[0]
        chain = chains.pop(before, []) if uses.get(before, 0) == 1 else []
        chain.append(op)
        chains[op.result] = chain
    return {
        chain[-1]: chain for chain in chains.values() if len(chain) > 1 or made_by(chain[0].operands[0], "set_slice")
    }


def _meet(a: Sequence[Span], b: Sequence[Span]) -> bool:
    return all(max(p, r) < min(q, s) for (p, q), (r, s) in zip(a, b, strict=True))


def _box(piece: Piece) -> list[Span]:
    return [piece.span(k) for k in range(len(piece.sizes))]


def _common(group: Sequence[Piece]) -> list[Span]:
    """The elements that all pieces have."""
    axes = range(len(group[0].sizes))
    return [(max(p.span(k)[0] for p in group), min(p.span(k)[1] for p in group)) for k in axes]


def _groups(found: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces that overlap for the most part. Each is compared with the groups that were opened last."""
    groups: list[tuple[list[Piece], list[Span]]] = []  # with the elements that all pieces of a group have
    for piece in found:
        box = _box(piece)
        for k in range(max(len(groups) - _OPEN, 0), len(groups)):
            group, common = groups[k]
            spans = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(common, box, strict=True)]
            if all(2 * (hi - lo) > n for (lo, hi), n in zip(spans, piece.sizes, strict=True)):
                group.append(piece)
                common[:] = spans
                break
        else:
            groups.append(([piece], box))
    return [group for group, _ in groups]


def _rest(box: Sequence[Span], hole: Sequence[Span]) -> Iterator[list[Span]]:
    """Boxes that cover what of ``box`` is not in ``hole``, without overlap."""
    inside = list(box)
    for k, ((lo, hi), (a, b)) in enumerate(zip(box, hole, strict=True)):
        for span in ((lo, min(a, hi)), (max(b, lo), hi)):
            if span[0] < span[1]:
                yield [*inside[:k], span, *inside[k + 1 :]]
        inside[k] = (max(lo, a), min(hi, b))
