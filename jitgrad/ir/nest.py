"""The nest of regions below an op, and how arrays are updated in it.

A :class:`Frame` is one region with what is around it. A *chain* is the life of one carried array in one region: its
version at the start, each write to it or inner loop that updates it, up to the version that the region yields. Where
an array has such a chain in every region around, each element of a version can be followed forwards and backwards in
time; that is what decides whether a value has to be saved (see ``jitgrad.autodiff.tapes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jitgrad.ir.core import Block, Op, Value
from jitgrad.ir.index import Dim, Sym, add, expr, mul
from jitgrad.ir.liveness import carried
from jitgrad.ir.polyhedra import System, prime, primed
from jitgrad.ir.symbols import Loop, loop_of, symbol_of

#: Ops that give their first operand with some elements changed.
_WRITES = frozenset(("set_slice", "add_slice", "scatter_set", "scatter_add"))


class Frame:
    """A region of ``op``. ``parent`` is the frame around it, None for the block that the nest stands in. ``loop`` is
    ``op`` if this is its body and it is a loop with numbered iterations; ``loops`` are those around, outermost first,
    with ``loop``."""

    def __init__(self, block: Block, op: Op, parent: Frame | None) -> None:
        self.block, self.op, self.parent = block, op, parent
        self.loop = loop_of(op) if block is op.regions[-1] else None
        outer = () if parent is None else parent.loops
        self.loops: tuple[Loop, ...] = outer if self.loop is None else (*outer, self.loop)
        self.position = {v: k for k, inner in enumerate(block.ops) for v in inner.results}


class Box(NamedTuple):
    """Elements of an array: ``start + k*step`` for ``0 <= k < size`` along each axis."""

    starts: tuple[Dim, ...]
    sizes: tuple[Dim, ...]
    steps: tuple[int, ...]


class Step(NamedTuple):
    """One update of an array in a region: a write (``inner`` is empty), or an op with regions that updates it."""

    op: Op
    inner: tuple[Chain, ...]


class Chain(NamedTuple):
    """Versions of one array in one region, and the steps between them; one more version than steps."""

    frame: Frame
    versions: tuple[Value, ...]
    steps: tuple[Step, ...]


class Nest:
    """All regions below one op."""

    def __init__(self, root: Op) -> None:
        self.root = root
        self.frames: dict[Block, Frame] = {}
        self.home: dict[Value, Frame] = {}
        self._chains: dict[tuple[Block, int], Chain | None] = {}
        for region in root.regions:
            self._enter(region, root, None)

    def _enter(self, block: Block, op: Op, parent: Frame | None) -> None:
        frame = self.frames[block] = Frame(block, op, parent)
        for v in (*block.params, *(r for inner in block.ops for r in inner.results)):
            self.home[v] = frame
        for inner in block.ops:
            for region in inner.regions:
                self._enter(region, inner, frame)

    # Chains

    def chain(self, frame: Frame, k: int) -> Chain | None:
        """The chain of the ``k``-th carried value of a loop, or result of a branch, in one of its regions."""
        key = (frame.block, k)
        if key not in self._chains:
            self._chains[key] = None  # while it is looked for
            if frame.op.name == "while" and frame.loop is None:  # iterations without a number can't be told apart
                return None
            first = carried(frame.op, frame.block)[k] if frame.loop is not None else None
            self._chains[key] = self._follow(frame, frame.block.results[k], first)
        return self._chains[key]

    def _follow(self, frame: Frame, last: Value, first: Value | None) -> Chain | None:
        """From the version that is yielded back to ``first``, or to a value from outside of the frame."""
        versions, steps = [last], []
        while True:
            v = versions[-1]
            if v is first or (first is None and self.home.get(v) is not frame):
                return Chain(frame, tuple(reversed(versions)), tuple(reversed(steps)))
            op = v.op
            if op is None or self.home.get(v) is not frame:
                return None
            if op.name in _WRITES:
                steps.append(Step(op, ()))
                versions.append(op.operands[0])
                continue
            if not op.regions:
                return None
            k = op.results.index(v)
            bodies = op.regions[-1:] if op.name == "while" else op.regions
            inner = tuple(self.chain(self.frames[region], k) for region in bodies)
            if op.name in ("for", "while") and inner[0] is not None:
                before = op.operands[k]
            elif op.name in ("cond", "switch", "checkpoint") and all(c is not None for c in inner):
                starts = {c.versions[0] for c in inner if c is not None}
                if len(starts) > 1:
                    return None
                (before,) = starts
            else:
                return None
            steps.append(Step(op, inner))  # pyright: ignore[reportArgumentType]
            versions.append(before)

    def chain_of(self, version: Value) -> tuple[Chain, int, int] | None:
        """The chain in which a version stands: the chain, the number of what is carried, the place in it."""
        frame = self.home.get(version)
        if frame is None:
            return None
        for k, result in enumerate(frame.op.results):
            if result.type != version.type:
                continue
            chain = self.chain(frame, k)
            if chain is not None and version in chain.versions:
                return chain, k, chain.versions.index(version)
        return None

    # Where else an element can be read

    def later(self, version: Value, box: Box) -> Value | None:
        """The latest version of the array that still has these elements of ``version``, at the end of a loop or branch
        around; None if there is none."""
        return self._elsewhere(version, box, forwards=True)

    def earlier(self, version: Value, box: Box) -> Value | None:
        """The earliest version that already has them, at the start of a loop around."""
        return self._elsewhere(version, box, forwards=False)

    def _elsewhere(self, version: Value, box: Box, *, forwards: bool) -> Value | None:
        found: Value | None = None
        while True:
            place = self.chain_of(version)
            if place is None:
                return found
            chain, k, at = place
            frame = chain.frame
            between = chain.steps[at:] if forwards else chain.steps[:at]
            if self.touched(box, between, frame.loops, None):
                return found
            if frame.loop is not None:
                if self.touched(box, chain.steps, frame.loops[:-1], (frame.loop, forwards)):
                    return found
                version = frame.op.results[k] if forwards else frame.op.operands[k]
            elif forwards:
                version = frame.op.results[k]
            else:
                version = chain.versions[0]
            found = version

    def touched(
        self, box: Box, steps: tuple[Step, ...], equal: tuple[Loop, ...], other: tuple[Loop, bool] | None
    ) -> bool:
        """Whether one of the steps may write into the box: in the same iteration of the loops ``equal``; and, given
        ``other``, in a later (or earlier) iteration of that loop."""
        return any(self.may_meet(box, op, equal, other) for step in steps for op in _writes(step))

    def may_meet(self, box: Box, write: Op, equal: tuple[Loop, ...], other: tuple[Loop, bool] | None) -> bool:
        same = {symbol_of(loop.index) for loop in equal}
        fresh: dict[Sym, Sym] = {}

        def keep(s: Sym) -> bool:
            return s in same or s.payload not in self.home

        system = System()
        if other is not None:
            loop, forwards = other
            index = symbol_of(loop.index)
            moved = prime(index, fresh, keep)
            distance = mul(expr(Sym("t", 1, None)), loop.step * (1 if forwards else -1))
            system.equal(expr(moved), add(expr(index), distance))
        target = written_box(write)
        for axis in range(len(box.starts)):
            mine = _element(box, axis)
            starts, sizes = (tuple(primed(e, fresh, keep) for e in part) for part in (target.starts, target.sizes))
            its = Box(starts, sizes, target.steps)
            system.equal(mine, _element(its, axis))
        return not system.is_empty()


def _element(box: Box, axis: int) -> Dim:
    """The index of any element of the box along an axis."""
    size = box.sizes[axis]
    if size == 1:
        return box.starts[axis]
    return add(box.starts[axis], mul(expr(Sym("k", 0, add(size, -1))), box.steps[axis]))


def _writes(step: Step) -> Iterator[Op]:
    """Every op that writes the array in a step."""
    if not step.inner:
        yield step.op
    for chain in step.inner:
        for inner in chain.steps:
            yield from _writes(inner)


def written_box(op: Op) -> Box:
    """The elements that a write may change; all of them where the positions are computed."""
    x, v = op.operands[:2]
    if op.name in ("set_slice", "add_slice"):
        return Box(op.attrs["starts"], v.type.shape, op.attrs["steps"])
    return Box((0,) * x.type.ndim, x.type.shape, (1,) * x.type.ndim)
