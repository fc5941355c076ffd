"""Results whose extents only the run tells, such as ``x[x > 0]``: the program writes them into arrays with room for as
many elements as there can be, and tells the extents in further results. What the caller gets is a part of each.

Where nothing limits an extent, as that of a list to which a ``while`` appends, the room is a guess. A result that
doesn't fit is dropped, and the program compiled anew with more room and run again: so it must have no other effects.

An extent that integers among the arguments alone decide gets no room: the program is compiled for those numbers
(``known``), and so has results of known shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from jitgrad.errors import UnsupportedError
from jitgrad.ir.core import Block, Builder, Graph, Op, Value, operations
from jitgrad.ir.index import Dim, IndexExpr, interval
from jitgrad.ir.symbols import index_of, is_static, named_values, used_values
from jitgrad.ir.types import TensorType, i64

#: What begins the notes of rooms.
ROOM = "the result"
#: The first guess of an extent that nothing limits, and the most elements of a room that limits alone decide.
_GUESS, _MOST = 1024, 1 << 26
#: The part of a room that a result may fill at least: one that fills less of it is copied, so that the room is freed.
_FILLED = 0.5


#: ``cut(results)``: the results as the caller gets them.
Cut = Callable[[Sequence[Any]], list[Any]]


class Rooms(NamedTuple):
    """The rooms for the results of ``graph``, the last ``written`` of which are new values of parameters and have
    known shapes. ``sizes`` are the greatest values of the traced extents; those in ``guessed`` may be exceeded."""

    graph: Graph
    written: int
    sizes: dict[Dim, int]
    guessed: frozenset[Dim]

    @property
    def ends(self) -> int:
        """The number of results that may need room. The extents come behind them."""
        return len(self.graph.results) - self.written

    def filled(self) -> Graph:
        """The graph with results of known shapes."""
        b, results = Builder(self.graph.name), self.graph.results
        told = {d: b.emit("index", value=d) for d in self.sizes}
        parts = {d: _at_most(b, told[d], self.sizes[d]) if d in self.guessed else d for d in self.sizes}
        found = [v if is_static(*v.type.shape) else self._in_room(b, v, parts) for v in results[: self.ends]]
        every = (*found, *told.values(), *results[self.ends :])
        return Graph(self.graph.name, Block(self.graph.params, (*self.graph.ops, *b.ops), every))

    def _in_room(self, b: Builder, v: Value, parts: dict[Dim, Dim]) -> Value:
        """A result, as much as there is room for, at the start of an array."""
        b.loc = None if v.op is None else v.op.loc
        ones, zeros = (1,) * v.type.ndim, (0,) * v.type.ndim
        room = b.emit("empty", shape=self._shape(v.type), dtype=v.type.dtype)
        if any(d in self.guessed for d in v.type.shape):
            v = b.emit("slice", v, starts=zeros, sizes=tuple(parts.get(d, d) for d in v.type.shape), steps=ones)
        return b.emit("set_slice", room, v, starts=zeros, steps=ones)

    def _shape(self, t: TensorType) -> tuple[Dim, ...]:
        return tuple(self.sizes.get(d, d) for d in t.shape)

    def larger(self, results: Sequence[Any]) -> Rooms | None:
        """Rooms that what these results of :meth:`filled` tell fits into; None if it fits."""
        if not self.guessed:
            return None
        told = dict(zip(self.sizes, map(int, results[self.ends :]), strict=False))
        if all(told[d] <= self.sizes[d] for d in self.guessed):
            return None
        return self._replace(sizes={**self.sizes, **{d: max(self.sizes[d], _above(told[d])) for d in self.guessed}})

    def cutter(self) -> Cut:
        """What makes the results of :meth:`filled` those of the graph, at each call."""
        told = {d: self.ends + k for k, d in enumerate(self.sizes)}
        shapes = [v.type.shape for v in self.graph.results[: self.ends]]
        wheres = [None if is_static(*shape) else [told.get(d) for d in shape] for shape in shapes]

        def cut(results: Sequence[Any]) -> list[Any]:
            parts = zip(results, wheres, strict=False)
            return [x if where is None else _part(x, [k and int(results[k]) for k in where]) for x, where in parts]

        return cut

    def notes(self) -> list[str]:
        """What ``explain`` says of them."""
        ragged = [v.type for v in self.graph.results if not is_static(*v.type.shape)]
        more = ", and compiled anew for more" if self.guessed else ""
        return [f"{ROOM} of type {t} is a part of an array of shape {self._shape(t)}{more}" for t in ragged]


def rooms_for(graph: Graph, numbers: Iterable[Value], written: int = 0) -> Rooms | None:
    """Rooms for the results of a graph; None where all shapes are known. The last ``written`` results are new values of
    parameters; ``numbers`` are the parameters that a program may be compiled for the values of.

    Raises UnsupportedError for an extent that ``numbers`` alone decide, and for one that nothing limits in a program
    that can't be run again.
    """
    ragged = [v.type for v in graph.results if not is_static(*v.type.shape)]
    if not ragged:
        return None
    check_results(graph, numbers, written)
    sizes = {d: _limit(d) for t in ragged for d in t.shape if isinstance(d, IndexExpr)}
    large = {d for t in ragged for d in t.shape if _elements(t) > _MOST}
    guessed = frozenset(d for d, n in sizes.items() if n is None or (d in large and runs_again(graph, written)))
    return Rooms(graph, written, {d: _GUESS if n is None or d in guessed else n for d, n in sizes.items()}, guessed)


def check_results(graph: Graph, numbers: Iterable[Value], written: int = 0) -> None:
    """Raise UnsupportedError for a result that gets no room."""
    known, again = frozenset(numbers), runs_again(graph, written)
    for v in graph.results:
        unknown = [d for d in v.type.shape if isinstance(d, IndexExpr)]
        decided = [str(d) for d in unknown if _is_decided_by(d, known)]
        unlimited = [str(d) for d in unknown if _limit(d) is None and not again]
        if not decided and not unlimited:
            continue
        why = "only integers among the arguments decide" if decided else "nothing limits"
        if not decided:
            why += ", and the program prints, draws from a generator that it does not seed, or writes: it can't be run "
            why += "again with more room"
        raise UnsupportedError(
            f"a result of type {v.type} has an extent ({', '.join(decided or unlimited)}) that {why}. Results get "
            "their memory before the program runs. Return an array with room for all, give the extent a limit with "
            "np.minimum, or make what it depends on static with jit(static_argnames=...).",
            None if v.op is None else v.op.loc,
        )


def _elements(t: TensorType) -> int:
    """How many there are at most, as far as that is limited."""
    return math.prod(_limit(d) or 1 for d in t.shape)


def _limit(d: Dim) -> int | None:
    return interval(d)[1]


def runs_again(graph: Graph, written: int) -> bool:
    """May a program be run twice for one call? It must neither print nor write into its arguments, and draw only from
    generators that it makes itself, with seeds."""
    return not written and not any(op.opdef.effects and not _is_repeatable(op) for op in operations(graph.ops))


def _is_repeatable(op: Op) -> bool:
    """Does an op with effects do the same when the program runs again?"""
    if op.name == "make_generator":
        return bool(op.operands)
    if op.name != "draw":
        return op.name in ("check", "generator_state", "restore_generators")
    maker = op.operands[0].op
    return maker is not None and maker.name in ("make_generator", "restore_generators")


def _is_decided_by(e: Dim, numbers: frozenset[Value]) -> bool:
    """Does an extent depend on these parameters, and on nothing else?"""
    stack, seen, found = [*named_values(e)], set[Value](), False
    while stack:
        v = stack.pop()
        if v in numbers:
            found = True
        elif v.op is None or v.op.blocks:
            return False
        elif v not in seen:
            seen.add(v)
            stack += used_values(v.op)
    return found


def _at_most(b: Builder, extent: Value, size: int) -> Dim:
    return index_of(b.emit("minimum", extent, b.constant(size, i64)))


def _above(n: int) -> int:
    """A power of two with room for twice as many."""
    return 1 << max(2 * n - 1, 0).bit_length()


def _part(room: Any, sizes: Sequence[int | None]) -> Any:
    part = room[tuple(slice(n) for n in sizes)]
    return part if part.size >= _FILLED * room.size or not hasattr(part, "copy") else part.copy()
