"""What a reversed loop needs of the forward one, and how it gets it.

Each value of the forward regions that the reversed ones name is supplied in the first of these ways that applies:

* it is a loop index, or computed from what is there: it is computed again;
* it is an element of an array that no later write changes: it is read from the final array (or the latest version
  that is kept); or that no earlier write has changed: it is read from the array as it was before the loop;
* it is saved on a tape: an array with one slot an iteration of the loops around, written where the value is made, and
  carried through the loops like any other array.

What the reversed loop itself computes of forward values only, such as the comparison behind a maximum, may go on a tape
in their place: it is then computed in the forward loop. Which values go on tapes is a minimum cut: fewest bytes, and of
equal cuts the one nearest to the reversed loop, so that no more is computed again than memory asks for. A tape of a
nest with constant trip counts has an axis a loop; where a count or an extent depends on an outer index, it is flat, and
the place of an iteration is a closed form. A loop that may end early has room on it for all the iterations that it may
have. Where nothing tells how many those are, they are counted before the nest runs, and the tape is flat, with a slot
for each: see ``jitgrad.autodiff.counters``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jitgrad.autodiff.counters import Counter, inputs
from jitgrad.autodiff.links import Links
from jitgrad.autodiff.network import Network
from jitgrad.errors import DifferentiationError
from jitgrad.ir.core import Block, Op, Value
from jitgrad.ir.index import (
    Dim,
    IndexExpr,
    Sym,
    add,
    coefficients,
    expr,
    interval,
    mul,
    never_negative,
    substitute,
)
from jitgrad.ir.nest import Box, Frame, Nest, written_box
from jitgrad.ir.reruns import inner_values
from jitgrad.ir.sums import Polynomial, sum_below
from jitgrad.ir.symbols import Loop, index_of, named_values, symbol_of, used_values
from jitgrad.ir.types import TensorType
from jitgrad.ops.op import Elementwise

#: Ops besides the elementwise ones that are computed again rather than taped where that saves memory.
_CHEAP = {"constant", "iota", "ramp", "index", "wrap_index", "reshape", "transpose", "broadcast_to", "slice", "pad"}
_CHEAP |= {"concatenate", "gather", "cast", "where", "stop_gradient", "positions"}
_INFINITE = 1 << 60
#: Iterations that a loop of unknown length is taken to have, when tapes are weighed; and one in another loop.
_UNKNOWN = 1000
_INNER = 16


class Read(NamedTuple):
    """Elements of ``array`` that have the value wanted, of shape ``shape``."""

    array: Value
    box: Box
    shape: tuple[Dim, ...]


class Way(NamedTuple):
    """How a value can be had: ``kind`` is "index", "read", "op", or "source" (only from a tape).

    ``op`` is the op to copy: the one of the forward loop as it is without tapes.
    """

    kind: str
    parents: tuple[Value, ...] = ()
    read: Read | None = None
    op: Op | None = None


class Layout(NamedTuple):
    """Where a tape of ``shape`` holds the value of an iteration: at ``starts``, ``sizes`` long."""

    shape: tuple[Dim, ...]
    starts: tuple[Dim, ...]
    sizes: tuple[Dim, ...]


class Tape(NamedTuple):
    """A saved value. Equal only to itself."""

    value: Value
    frame: Frame
    layout: Layout

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class UnboundedError(Exception):
    """Values of a loop must be saved, and only that loop knows how many iterations it has; or as many as it may have
    take too much memory. The way out is to count them ahead, or to run the loop again in reverse, where its range is
    known."""

    def __init__(self, op: Op) -> None:
        super().__init__("a loop whose number of iterations is not known, or not well enough, before it runs")
        self.op = op


class UncountedError(Exception):
    """The iterations of ``loops`` have to be counted before the nest runs."""

    def __init__(self, loops: Sequence[Op]) -> None:
        super().__init__("loops whose iterations have to be counted")
        self.loops = loops


class Plan:
    """What is needed, and how each value is supplied."""

    def __init__(
        self,
        forward: Op,
        reverse: Op,
        links: Links,
        cotangents: Sequence[Value],
        counters: Mapping[Op, Counter],
    ) -> None:
        self.nest = Nest(forward)
        self.links, self.counters = links, counters
        self.extra = self._find_primal(reverse, cotangents)
        self._ways: dict[Value, Way] = {}
        self._layouts: dict[Value, Layout | None] = {}
        self._slices = self._find_slices()
        self._add_hulls()
        self._stored = self._find_stores()
        self.needed = list(dict.fromkeys(v for v in self._uses(reverse) if v in self.nest.home))
        self.saved = self._cut(self.needed)
        while places := self._places_missing():
            self.needed += places
            self.saved = self._cut(self.needed)
        self.tapes = [Tape(v, self.nest.home[v], self._known_layout(v)) for v in self.saved]
        self.by_value = {t.value: t for t in self.tapes}
        self.supplies = self._order()

    def _known_layout(self, v: Value) -> Layout:
        layout = self.layout(v)
        if layout is not None:
            return layout
        loops = self.nest.home[v].loops
        flat = self._counted(loops)
        for loop in loops[flat:]:
            most = loop.most()
            if most is None or self._room(most) is None or (flat and self._varies(loop)):
                raise UnboundedError(loop.op)
        raise DifferentiationError(
            f"the reverse of a loop needs {v.name or _what(v)} of every iteration, an array of type {v.type}. How "
            "large it is at most is not known before the loop. Give it an extent that does not change in the loop.",
            None if v.op is None else v.op.loc,
        )

    def check_room(self, room: int) -> None:
        """Raise UnboundedError if the tapes of loops that may end early take more bytes together, or may."""
        kept = [(t, t.frame.loops[self._counted(t.frame.loops) :]) for t in self.tapes]
        early = {t: [loop.op for loop in loops if loop.op.name == "while"] for t, loops in kept}
        sizes = {t: self.weight(t.value, _INFINITE) for t, loops in early.items() if loops}
        if sum(sizes.values()) > room:
            raise UnboundedError(early[max(sizes, key=sizes.__getitem__)][0])

    def check_counted(self) -> None:
        """Raise UnboundedError for a loop whose iterations are counted, though it takes less memory to run it again
        from what it starts with: where that is a few numbers, or where each iteration changes all of it."""
        loops = dict.fromkeys(loop.op for t in self.tapes for loop in t.frame.loops if loop.op in self.counters)
        for op in loops:
            tapes = [t.value for t in self.tapes if any(loop.op is op for loop in t.frame.loops)]
            again = self._cut(inputs(self.nest, op, self.needed))
            if sum(self.weight(v) for v in again if v not in self.by_value) <= sum(map(self.weight, tapes)):
                raise UnboundedError(op)

    def _places_missing(self) -> list[Value]:
        """What the places of ragged tapes name that is not there to be named."""
        ragged = (v for v in self.saved if self._counted(self.nest.home[v].loops))
        named = (u for v in ragged for u in named_values(self._known_layout(v).starts))
        return [v for v in dict.fromkeys(named) if v in self.nest.home and v not in self.needed]

    def _counted(self, loops: Sequence[Loop]) -> int:
        """How many of the loops around a value the innermost one has around it, with itself, whose iterations are
        counted; 0 where there is none."""
        return max((k for k, loop in enumerate(loops, 1) if loop.op in self.counters), default=0)

    def _varies(self, loop: Loop) -> bool:
        """Whether how often a loop runs is different from one run to another."""
        return loop.op.name == "while" or any(v in self.nest.home for v in named_values(loop.most()))

    def _find_primal(self, reverse: Op, cotangents: Sequence[Value]) -> dict[Value, Op]:
        """The ops of the reversed regions that use no cotangent, by their results. Each counts as one of the forward
        region that its own reverses."""
        reversed_values = {v for region in reverse.regions for v in inner_values(region)} | set(cotangents)
        found: dict[Value, Op] = {}

        def visit(block: Block) -> None:
            link = self.links.get(block)
            frame = None if link is None else self.nest.frames.get(link.forward)
            for op in block.ops:
                for region in op.regions:
                    visit(region)
                if frame is None or op.regions or op.effects or op.name == "empty":
                    continue
                if all(v not in reversed_values or v in found for v in used_values(op)):
                    for r in op.results:
                        found[r] = op
                        self.nest.home[r] = frame

        for region in reverse.regions:
            visit(region)
        return found

    def _uses(self, op: Op) -> Iterator[Value]:
        """What the ops that depend on cotangents use."""
        if op.results and op.results[0] in self.extra:
            return
        yield from op.operands
        for attr in op.attrs.values():
            yield from named_values(attr)
        for r in op.results:
            yield from named_values(r.type.shape)
        for region in op.regions:
            for p in region.params:
                yield from named_values(p.type.shape)
            for inner in region.ops:
                yield from self._uses(inner)
            yield from region.results

    def ready_at(self, v: Value) -> int:
        """After which op of its forward region an op of the reversed one can be computed there; -1 is the start."""
        frame, last = self.nest.home[v], -1
        stack = [v]
        while stack:
            u = stack.pop()
            if u in self.extra:
                stack.extend(used_values(self.extra[u]))
            elif self.nest.home.get(u) is frame:
                last = max(last, frame.position.get(u, -1))
        return last

    # What ways there are

    def _find_stores(self) -> dict[Value, list[Op]]:
        """The ops that write a value, or a reshape of it, into an array."""
        found: dict[Value, list[Op]] = {}
        for frame in self.nest.frames.values():
            for op in frame.block.ops:
                if op.name != "set_slice":
                    continue
                v = op.operands[1]
                found.setdefault(v, []).append(op)
                while v.op is not None and v.op.name == "reshape":
                    (v,) = v.op.operands
                    found.setdefault(v, []).append(op)
        return found

    def way(self, v: Value) -> Way:
        """The first way that applies, tapes aside."""
        if v not in self._ways:
            self._ways[v] = self._way(v)
        return self._ways[v]

    def _way(self, v: Value) -> Way:
        frame, op = self.nest.home[v], v.op
        if op is None:
            return Way("index") if frame.loop is not None and v is frame.loop.index else Way("source")
        read = self._elsewhere(v, op)
        if v in self.extra and read is None:
            return Way("op", self._inside(used_values(op)), op=op)
        if read is None:
            read = self._within(v, op)
        if read is not None:
            return Way("read", self._inside((read.array, *named_values((*read.box[:2], read.shape)))), read)
        if not op.regions and (isinstance(op.opdef, Elementwise) or op.name in _CHEAP):
            return Way("op", self._inside(used_values(op)), op=op)
        if (
            any(self._room(d) is None for d in v.type.shape) and not op.effects
        ):  # no tape can hold it, so it is computed again at any price
            own = {u for region in op.regions for u in inner_values(region)}
            return Way("op", tuple(u for u in self._inside(used_values(op)) if u not in own), op=op)
        return Way("source")

    def _inside(self, values: Any) -> tuple[Value, ...]:
        return tuple(dict.fromkeys(v for v in values if v in self.nest.home))

    def _elsewhere(self, v: Value, op: Op) -> Read | None:
        """Another array, outside of the nest or further out in it, that holds the value."""
        candidates: list[tuple[Value, Box]] = []
        if op.name == "slice" and op.operands[0] in self.nest.home:
            candidates.append((op.operands[0], Box(op.attrs["starts"], op.attrs["sizes"], op.attrs["steps"])))
        frame = self.nest.home[v]
        stores = (s for s in self._stored.get(v, ()) if self.nest.home[s.result] is frame)
        candidates.extend((s.result, written_box(s)) for s in stores)
        further: Read | None = None
        for version, box in candidates:
            for find in (self.nest.later, self.nest.earlier):
                array = find(version, box)
                if array is None or v.type.dtype != array.type.dtype:
                    continue
                if array not in self.nest.home:
                    return Read(array, box, v.type.shape)
                if further is None:
                    further = Read(array, box, v.type.shape)
        return further

    def _find_slices(self) -> dict[Value, list[Value]]:
        """The slices of each array in the nest."""
        found: dict[Value, list[Value]] = {}
        for frame in self.nest.frames.values():
            for op in frame.block.ops:
                if op.name == "slice":
                    found.setdefault(op.operands[0], []).append(op.result)
        return found

    def _add_hulls(self) -> None:
        """For slices of one array in a region that overlap, perhaps, as ``v[1:n]`` and ``v[:n-1]`` do, another one with
        the elements of all: one tape of it is smaller than one for each. As ops of the reversed region are, it is
        computed in the forward one only if it is saved."""
        for array, slices in self._slices.items():
            frames: dict[Frame, list[Op]] = {}
            for v in slices:
                if v.op is not None and array in self.nest.home and all(s == 1 for s in v.op.attrs["steps"]):
                    frames.setdefault(self.nest.home[v], []).append(v.op)
            for frame, ops in frames.items():
                box = _hull(ops)
                if box is None or box.sizes == array.type.shape:
                    continue
                attrs = {"starts": box.starts, "sizes": box.sizes, "steps": box.steps}
                hull = Op(
                    ops[0].opdef, (array,), attrs, (Value(TensorType(array.type.dtype, box.sizes)),), (), ops[0].loc
                )
                if all(_relative(hull, op) is None for op in ops):
                    self.extra[hull.result], self.nest.home[hull.result] = hull, frame
                    slices.append(hull.result)

    def _within(self, v: Value, op: Op) -> Read | None:
        """A slice as a part of another slice of the same array, which may be supplied for both."""
        if op.name != "slice":
            return None
        for other in self._slices.get(op.operands[0], ()):
            if other is v or self.nest.home[other] is not self.nest.home[v] or other.op is None:
                continue
            box = _relative(op, other.op)
            if box is None:
                continue
            position = self.nest.home[v].position
            mutual = _relative(other.op, op) is not None
            if not mutual or (_plainness(other.op), position[other]) < (_plainness(op), position[v]):
                return Read(other, box, v.type.shape)
        return None

    # The cut

    def _cut(self, needed: Sequence[Value]) -> list[Value]:
        """The values to save so that those needed can be had, outer ones first."""
        index: dict[Value, int] = {}
        stack = list(reversed(needed))
        while stack:
            v = stack.pop()
            if v not in index:
                index[v] = len(index)
                stack.extend(reversed(self.way(v).parents))
        source, sink = 2 * len(index), 2 * len(index) + 1
        net = Network(2 * len(index) + 2)
        for v, k in index.items():
            way = self.way(v)
            net.edge(2 * k, 2 * k + 1, _INFINITE if way.kind == "index" else self.weight(v))
            if way.kind == "source":
                net.edge(source, 2 * k, _INFINITE)
            for parent in way.parents:
                net.edge(2 * index[parent] + 1, 2 * k, _INFINITE)
        for v in needed:
            net.edge(2 * index[v] + 1, sink, _INFINITE)
        net.maximise(source, sink)
        after = net.reaching(sink)
        return [v for v, k in index.items() if 2 * k + 1 in after and 2 * k not in after]

    def weight(self, v: Value, unknown: int = _UNKNOWN) -> int:
        """Bytes of the tape of a value. ``unknown`` stands for a number of iterations that nothing limits."""
        total = v.type.dtype.itemsize
        layout, loops = self.layout(v), self.nest.home[v].loops
        if layout is not None:
            flat = self._counted(loops)
            dims = layout.shape[min(flat, 1) :]
        else:  # as if the iterations were counted
            flat, dims = len(loops), [self._room(d) for d in v.type.shape]
        for d in dims:
            if d is None:
                return _INFINITE >> 8
            hi = interval(d)[1]
            total *= unknown if hi is None else max(hi, 1)
        for k, loop in enumerate(loops[:flat]):
            hi = None if self._varies(loop) else interval(loop.most() or 0)[1]
            total *= (_INNER if k else unknown) if hi is None else max(hi, 1)
        return min(total, _INFINITE >> 8)

    def layout(self, v: Value) -> Layout | None:
        """Where the values of all iterations lie; None where it is not known before the loop how many there may be."""
        if v not in self._layouts:
            self._layouts[v] = self._layout(v)
        return self._layouts[v]

    def _layout(self, v: Value) -> Layout | None:
        loops = self.nest.home[v].loops
        if self._counted(loops):
            return self._ragged(loops, v.type.shape)
        counts = [most for loop in loops if (most := loop.most()) is not None]
        if len(counts) < len(loops):
            return None
        shape = v.type.shape
        if any(u in self.nest.home for u in named_values((tuple(counts), shape))):
            flat = self._flat(loops, counts, v.type.size)
            if flat is not None:
                return flat
        # A box around all iterations; with room for one where there are none, so that every place in it is valid.
        # The axes of loops that may end early come first: what they leave unused is then in one piece, never touched.
        order = sorted(range(len(loops)), key=lambda k: loops[k].op.name == "for")
        numbers = [loops[k].number() for k in order]
        room = [self._room(d) for d in (*(counts[k] for k in order), *shape)]
        if any(d is None for d in room):
            return None
        most = [max(d, 1) if isinstance(d, int) and k < len(loops) else d for k, d in enumerate(room)]
        return Layout(tuple(most), (*numbers, *(0,) * len(shape)), (*(1,) * len(loops), *shape))  # pyright: ignore[reportArgumentType]

    def _ragged(self, loops: Sequence[Loop], shape: tuple[Dim, ...]) -> Layout | None:
        """One axis for all iterations of the innermost loop that is counted, and a box around what is in it. There is a
        slot more than iterations: where a loop that never runs would begin."""
        flat = self._counted(loops)
        counter, inner = self.counters[loops[flat - 1].op], loops[flat:]
        room = [None if self._varies(loop) else loop.most() for loop in inner] + [self._room(d) for d in shape]
        known = [max(d, 1) if isinstance(d, int) and k < len(inner) else d for k, d in enumerate(room) if d is not None]
        if len(known) < len(room):
            return None
        starts = (add(index_of(counter.before), loops[flat - 1].number()), *(loop.number() for loop in inner))
        slots = add(index_of(counter.total), 1)
        return Layout((slots, *known), (*starts, *(0,) * len(shape)), (*(1,) * (1 + len(inner)), *shape))

    def _room(self, d: Dim) -> Dim | None:
        """What an extent or a number of iterations is at most, in terms of values outside of the nest."""
        if not any(u in self.nest.home for u in named_values(d)):
            return d
        hi = interval(d)[1]
        if hi is not None:
            return max(hi, 0)
        while (inner := [s for s in _syms(d) if s.payload in self.nest.home]) and isinstance(d, IndexExpr):
            # A symbol whose limits name others goes first.
            found = coefficients(d)
            named = {s for u in inner for limit in u.limits if limit is not None for s in _syms(limit)}
            s = next((s for s in inner if s not in named), None)
            if found is None or s is None:
                return None
            limit = s.limits[1 if found[1][s] > 0 else 0]
            if limit is None:
                return None
            d = substitute(d, {s: limit})
        lo = interval(d)[0]
        return None if lo is None else add(d, max(0, -lo))

    def _flat(self, loops: Sequence[Loop], counts: Sequence[Dim], size: Dim) -> Layout | None:
        """One flat array in the order of the iterations, by closed-form sums."""
        if not all(map(never_negative, counts)):
            return None
        total = Polynomial.of(size)
        offset = Polynomial({})
        places: dict[Sym, Dim] = {}
        for loop, n in reversed(list(zip(loops, counts, strict=True))):
            index = symbol_of(loop.index)
            t, place = Sym("t"), Sym("place")
            index_at = Polynomial.of(add(loop.lo, mul(expr(t), loop.step)))
            trips = Polynomial.of(n)
            if total is None or index_at is None or trips is None:
                return None
            summand = total.at(index, index_at)
            offset = offset + sum_below(summand, t, Polynomial.of(expr(place)) or Polynomial({}))
            places[place] = loop.number()
            total = sum_below(summand, t, trips)
        if total is None or any(s.payload in self.nest.home for m in total.terms for s, _ in m):
            return None
        length = total.dim()
        length = max(length, 1) if isinstance(length, int) else length
        return Layout((length,), (substitute(offset.dim(), places),), (size,))

    # The order of the supplies

    def _order(self) -> dict[Block, list[Value]]:
        """What to supply at the start of the reversed region of each forward region, each after what it takes."""
        done: dict[Value, None] = {}
        stack = list(reversed(self.needed))
        while stack:
            v = stack[-1]
            missing = [u for u in self._sources(v) if u not in done] if v not in done else []
            if missing:
                stack.extend(missing)
            else:
                done.setdefault(stack.pop())
        result: dict[Block, list[Value]] = {}
        for v in done:
            result.setdefault(self.nest.home[v].block, []).append(v)
        return result

    def _sources(self, v: Value) -> tuple[Value, ...]:
        """What must be there before a value is supplied."""
        if v in self.by_value:
            return self._inside(named_values((*self.by_value[v].layout[1:], v.type.shape)))
        return self.way(v).parents

    def describe(self) -> Iterator[str]:
        """A line for each tape, for ``explain()``."""
        loc = self.nest.root.loc
        where = f" at {loc.short()}" if loc else ""
        reads = [v for values in self.supplies.values() for v in values if v not in self.by_value]
        kinds = [self.way(v).kind for v in reads]
        if not self.tapes:
            yield f"reverse of the {self.nest.root.name}{where}: no tape"
        for t in self.tapes:
            line = t.value.op.loc if t.value.op is not None else t.frame.op.loc
            place = f" ({line.short()})" if line else ""
            size = math.prod(d for d in t.layout.shape) if t.layout.shape else 1
            n = size * t.value.type.dtype.itemsize
            yield (
                f"reverse of the {self.nest.root.name}{where}: tape of {t.value.name or _what(t.value)}{place}, "
                f"{TensorType(t.value.type.dtype, t.layout.shape)}, {n} bytes"
            )
        if kinds.count("read"):
            yield f"reverse of the {self.nest.root.name}{where}: {kinds.count('read')} values read from kept arrays"
        again = sum(self.way(v).kind == "op" and _name(v) not in ("reshape", "constant") for v in reads)
        if again:
            yield f"reverse of the {self.nest.root.name}{where}: {again} values computed again"


def _syms(d: Dim) -> frozenset[Sym]:
    return d.syms() if isinstance(d, IndexExpr) else frozenset()


def _plainness(op: Op) -> int:
    """How many axes a slice reads other than forwards without gaps."""
    return sum(step != 1 for step in op.attrs["steps"])


def _hull(ops: Sequence[Op]) -> Box | None:
    """The smallest box around several slices without gaps, where it is known which begins first and ends last."""
    starts: list[Dim] = []
    sizes: list[Dim] = []
    for k in range(len(ops[0].attrs["starts"])):
        begins = [op.attrs["starts"][k] for op in ops]
        ends = [add(op.attrs["starts"][k], op.attrs["sizes"][k]) for op in ops]
        first = next((a for a in begins if all(never_negative(add(b, mul(a, -1))) for b in begins)), None)
        last = next((a for a in ends if all(never_negative(add(a, mul(b, -1))) for b in ends)), None)
        if first is None or last is None:
            return None
        starts.append(first)
        sizes.append(add(last, mul(first, -1)))
    return Box(tuple(starts), tuple(sizes), (1,) * len(starts))


def _relative(inner: Op, outer: Op) -> Box | None:
    """The elements of a slice as a box of another slice of the same array, if they are known to lie in it."""
    starts: list[Dim] = []
    steps: list[int] = []
    boxes = (zip(*(op.attrs[k] for k in ("starts", "sizes", "steps")), strict=True) for op in (inner, outer))
    for (start, size, step), (first, count, stride) in zip(*boxes, strict=True):
        distance = add(start, mul(first, -1))
        if abs(stride) != 1:
            if distance != 0 or size != count or step != stride:
                return None
            starts.append(0)
            steps.append(1)
            continue
        relative = mul(distance, stride)
        last = add(relative, mul(add(size, -1), step * stride))
        inside = (relative, last, add(count, mul(add(relative, 1), -1)), add(count, mul(add(last, 1), -1)))
        if not all(map(never_negative, inside)):
            return None
        starts.append(relative)
        steps.append(step * stride)
    return Box(tuple(starts), inner.attrs["sizes"], tuple(steps))


def _name(v: Value) -> str:
    return "" if v.op is None else v.op.name


def _what(v: Value) -> str:
    return "a carried value" if v.op is None else f"the result of {v.op.name}"
