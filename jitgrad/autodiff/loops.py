"""The reverse of regions: a loop that runs backwards, and the branch that was taken.

The reverse of ``for i in range(lo, hi)`` is a ``for`` that runs downwards. It carries the cotangent of every active
carried value, and the adjoint of every active value that the body sees from outside: so an array that is read or
written piece by piece has one adjoint buffer, threaded through all iterations. A ``while`` that counts its iterations
and can't have more than some number is reversed in the same way, from where it ended. Any other ``while`` counts too;
once it has run, it runs again as a ``for`` over as many iterations, and that is reversed. Where such a loop stands in
another one, either it runs again in each reversed iteration of that one, from what it started with, or the iterations
of all its runs are counted ahead (``jitgrad.autodiff.counters``): whichever takes less memory. The reverse of ``cond``
is a ``cond`` over the same predicate.

What is built here names values of the forward regions as if they could be seen. ``jitgrad.autodiff.tapes`` then finds
out which of them are needed, and how each is supplied. A :class:`Link` says which reversed region belongs to which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jitgrad.autodiff.activity import mark_active
from jitgrad.autodiff.adjoints import Adjoints, pull_back
from jitgrad.autodiff.counters import Counter, trial, with_counters
from jitgrad.autodiff.links import Link, Links
from jitgrad.autodiff.replays import replayed
from jitgrad.autodiff.supplies import resolve
from jitgrad.autodiff.tapes import Plan, UnboundedError, UncountedError
from jitgrad.ir.core import OPS, Block, Builder, Op, Region, Value
from jitgrad.ir.index import Dim, add, mul
from jitgrad.ir.liveness import carried, live_values, pruned
from jitgrad.ir.reruns import inner_values, silent
from jitgrad.ir.symbols import (
    Loop,
    copied_op,
    loop_of,
    never_runs,
    renamed_param,
    set_limits,
    symbol_of,
    trip_count,
    used_values,
)
from jitgrad.ir.types import TensorType, i64
from jitgrad.ops.op import Cotangent, Var

#: Bytes that a nest takes at most for tapes of loops that may end early; such tapes are as long as if none did.
_ROOM = 1 << 26


class Reversal:
    """What is shared by the reversal of all blocks of one graph. ``notes`` gets a line for each tape; ``room`` is the
    number of bytes that a nest may take on tapes for loops that may end early."""

    def __init__(self, active: set[Value], notes: list[str] | None = None, *, room: int | None = None) -> None:
        self.active, self.notes = active, notes
        self.room = _ROOM if room is None else min(room, _ROOM)
        self.links: Links = {}
        self.taped: dict[Op, int | None] = {}  # bytes on tapes for each loop; None where that is not known
        self._replayed: set[Op] = set()  # loops that run again in reverse, as their tapes have no known or small size
        self._counters: dict[Op, Counter] = {}
        self._origins: dict[Op, tuple[Op, Op | None, dict[Value, Value]]] = {}  # of what runs again

    def block(self, ops: Sequence[Op], adjoints: Adjoints, *, alone: bool = True) -> None:
        """Walk a block backwards. The cotangents of its results are there already.

        ``alone``: the block is not the body of a loop or branch that is reversed as a whole, so what the reverse of
        its loops needs is supplied at once.
        """
        for k in reversed(range(len(ops))):
            before, op = ops[k - 1] if k else None, ops[k]
            if op.name == "for" and never_runs(**op.attrs):
                self._pass_on(op, adjoints)
            elif op.name in ("for", "while"):
                self._loop(op, op.results, adjoints, before, alone=alone)
            elif op.name in ("cond", "switch"):
                self._branches(op, adjoints, before, alone=alone)
            elif op.name == "checkpoint":
                self._checkpoint(op, adjoints, before)
            else:
                pull_back(op, adjoints, self.active)
            _name_adjoints(op.operands, adjoints)

    def _pass_on(self, op: Op, adjoints: Adjoints) -> None:
        """The reverse of a loop that never runs."""
        for v, r in zip(op.operands, op.results, strict=True):
            g = adjoints.get(r)
            if g is not None and v in self.active:
                adjoints.add(v, g)

    def _loop(
        self, op: Op, given: Sequence[Value], adjoints: Adjoints, before: Op | None = None, *, alone: bool
    ) -> None:
        """The reverse of a loop, given the values whose cotangents are those of its results. ``before`` is the op
        before it, which may have the states of the generators that it draws from."""

        def once(op: Op) -> None:
            loop, cotangents = loop_of(op), (*given, *op.results[len(given) :])
            if loop is None or (alone and loop.hi is None) or op in self._replayed:
                self._again(op, cotangents, adjoints, before)
            else:
                self._loop_once(loop, cotangents, adjoints, alone=alone)

        if alone:
            self._retried(op, before, once, adjoints)
        else:
            once(op)

    def _retried(self, op: Op, before: Op | None, run: Callable[[Op], None], adjoints: Adjoints) -> None:
        """Reverse a nest; once more for every loop that must run again by itself, or whose iterations must be
        counted. ``run`` gets the nest as it is then."""
        size, sums = len(adjoints.b.ops), adjoints.copy()
        while True:
            try:
                return run(op)
            except UnboundedError as error:
                del adjoints.b.ops[size:]
                adjoints.restore(sums)
                self._replayed.add(error.op)
            except UncountedError as error:
                del adjoints.b.ops[size:]
                adjoints.restore(sums)
                op = self._count(op, error.loops, before, adjoints.b)
                size = len(adjoints.b.ops)

    def _count(self, op: Op, loops: Sequence[Op], before: Op | None, b: Builder) -> Op:
        """Count the iterations of inner loops of a nest. Returns the nest with the counts, which takes its place."""
        at = b.ops.index(op)
        origin, state, handles = self._origins.get(op, (op, before, {}))
        with b.region() as scratch, b.at(op.loc):
            restored = replayed(b, origin, state)
            handles = {handles.get(old, old): new for old, new in restored.items()}
            new, counters, changed = with_counters(b, op, loops, handles)
        b.ops[at : at + 1] = [*scratch.ops, new]
        self._counters = {changed.get(loop, loop): counter for loop, counter in self._counters.items()} | counters
        self._origins = {changed.get(loop, loop): origin for loop, origin in self._origins.items()}
        return new

    def _loop_once(self, loop: Loop, given: Sequence[Value], adjoints: Adjoints, *, alone: bool) -> None:
        active, b, op, body = self.active, adjoints.b, loop.op, loop.body
        carries = [k for k, r in enumerate(op.results) if r in active]
        if not any(adjoints.get(given[k]) is not None for k in carries):
            return
        params = carried(op, body)
        free = [v for v in free_values(body) if v in active]
        with b.at(op.loc):
            starts = [adjoints.value(given[k]).value for k in carries]
            sums = [adjoints.value(v).value for v in free]
        assert loop.end is not None
        lo, hi, step = reversed_range(loop.lo, loop.end, loop.step)
        with b.region() as region:
            index = region.param(TensorType(i64), loop.index.name)
            set_limits(index, lo, hi, step)
            inner = Adjoints(b, local=True)
            for k, start in zip(carries, starts, strict=True):
                inner.add(body.results[k], _cotangent(b, region.param(start.type, _name(op.results[k]))))
            for v, start in zip(free, sums, strict=True):
                inner.add(v, _cotangent(b, region.param(start.type, _name(v))))
            self.block(body.ops, inner, alone=False)
            with b.at(op.loc):
                ends = [inner.value(params[k]).value for k in carries]
                ends += [inner.value(v).value for v in free]
            _finish(region, ends, self.links)
        self.links[region.block] = Link(op, body, region.block, index)
        with b.at(op.loc):
            reverse = b.emit_op("for", [*starts, *sums], {"lo": lo, "hi": hi, "step": step}, (region.block,))
        self._deliver([op.operands[k] for k in carries], free, reverse.results, adjoints)
        if alone:
            self._resolve(b, op, reverse)

    def _resolve(self, b: Builder, op: Op, reverse: Op, cotangents: Sequence[Value] = ()) -> None:
        trials: dict[Op, Counter] = {}
        while True:
            try:
                plan = Plan(op, reverse, self.links, cotangents, {**self._counters, **trials})
                plan.check_room(self.room)
                plan.check_counted()
                break
            except UnboundedError as error:
                if error.op is op or error.op in trials or error.op in self._counters:
                    raise
                trials[error.op] = trial()
        if trials:
            raise UncountedError(tuple(trials))
        self.taped[op] = resolve(b, plan, op, reverse, self.notes)

    def _again(self, op: Op, given: Sequence[Value], adjoints: Adjoints, before: Op | None) -> None:
        """A loop whose length only it knows, or whose tapes would be too large for the longest that it may be, runs a
        second time, as a ``for`` with tapes, and that is reversed."""
        if not any(r in self.active and adjoints.get(v) is not None for r, v in zip(op.results, given, strict=True)):
            return
        b = adjoints.b
        with b.at(op.loc):
            env = replayed(b, op, before)
            if op.name == "while":
                again, kept = as_for(op)
                given = [given[k] for k in kept]
                again = copied_op(again, env) if env else again
            else:
                again = copied_op(op, env)
            again = silent(again)
            b.ops.append(again)
        self._origins[again] = (op, before, env)
        mark_active((again,), self.active)
        self._loop(again, given, adjoints, alone=True)

    def _checkpoint(self, op: Op, adjoints: Adjoints, before: Op | None) -> None:
        """The region runs again, and that is reversed, in a region of its own: so no pass merges it with the first
        run. It draws the same random numbers again, from generators in the states of the first run."""
        wanted = [k for k, r in enumerate(op.results) if r in self.active and adjoints.get(r) is not None]
        if not wanted:
            return
        b, (forward,) = adjoints.b, op.regions
        free = [v for v in free_values(forward) if v in self.active]
        with b.at(op.loc):
            sums = [adjoints.get(v) for v in free]
            given = [adjoints.value(op.results[k]) for k in wanted]
        with b.region() as region:
            env = replayed(b, op, before)
            again = [silent(copied_op(inner, env)) for inner in forward.ops if inner.name != "show"]
            b.ops.extend(again)
            mark_active(again, self.active)
            inner = Adjoints(b, local=True)
            for v, total in zip(free, sums, strict=True):
                if total is not None:
                    inner.set(v, Cotangent(total.value))
            for k, g in zip(wanted, given, strict=True):
                result = forward.results[k]
                inner.add(env.get(result, result), Cotangent(g))
            self.block(again, inner)
            _finish(region, [inner.value(v).value for v in free], self.links)
        with b.at(op.loc):
            reverse = b.emit_op(op.opdef, [], {}, (region.block,))
        self._deliver([], free, reverse.results, adjoints)

    def _branches(self, op: Op, adjoints: Adjoints, before: Op | None, *, alone: bool) -> None:
        if alone:
            self._retried(op, before, lambda op: self._branches_once(op, adjoints, alone=True), adjoints)
        else:
            self._branches_once(op, adjoints, alone=False)

    def _branches_once(self, op: Op, adjoints: Adjoints, *, alone: bool) -> None:
        active, b = self.active, adjoints.b
        wanted = [k for k, r in enumerate(op.results) if r in active and adjoints.get(r) is not None]
        if not wanted:
            return
        free = [v for v in free_values(*op.regions) if v in active]
        with b.at(op.loc):
            sums = [adjoints.get(v) for v in free]
            given = [adjoints.value(op.results[k]) for k in wanted]
        blocks = []
        for forward in op.regions:
            with b.region() as region:
                inner = Adjoints(b, local=True)
                for v, total in zip(free, sums, strict=True):
                    if total is not None:
                        inner.set(v, Cotangent(total.value))
                for k, g in zip(wanted, given, strict=True):
                    if forward.results[k] in active:
                        inner.add(forward.results[k], Cotangent(g))
                self.block(forward.ops, inner, alone=False)
                _finish(region, [inner.value(v).value for v in free], self.links)
            self.links[region.block] = Link(op, forward, region.block, None)
            blocks.append(region.block)
        with b.at(op.loc):
            reverse = b.emit_op(op.opdef, [op.operands[0]], {}, tuple(blocks))
        self._deliver([], free, reverse.results, adjoints)
        if alone:
            cotangents = [g.value.value for g in sums if g is not None] + [g.value for g in given]
            self._resolve(b, op, reverse, cotangents)

    def _deliver(
        self, inits: Sequence[Value], free: Sequence[Value], results: Sequence[Value], adjoints: Adjoints
    ) -> None:
        """Enter what a reversed loop gives into the sums of the block around it."""
        for v, total in zip(free, results[len(inits) :], strict=True):
            adjoints.set(v, _cotangent(adjoints.b, total))
        for v, total in zip(inits, results, strict=False):
            if v in self.active:
                adjoints.add(v, _cotangent(adjoints.b, total))


def _finish(region: Region, results: Sequence[Value], links: Links) -> None:
    """Finish a reversed region without the ops that it does not need, so that they ask for nothing."""
    block = Block(region.params, region.ops, results)
    changed: dict[Block, Block] = {}
    block = pruned(block, live_values(Block((), region.ops, ()), results), regions=changed)
    for old, new in changed.items():
        if old in links:
            links[new] = links[old]._replace(backward=new, index=new.params[0] if links[old].index else None)
    region.ops[:] = block.ops
    region.finish(*block.results)


def number_loops(ops: Sequence[Op], b: Builder, active: set[Value]) -> list[Op]:
    """The ops with every active ``while``, in regions too, as a loop with numbered iterations: one that doesn't count
    gets a count. Results stay the same values."""
    new = []
    for op in ops:
        if any(r in active for r in op.results) and op.regions:
            regions = tuple(Block(r.params, number_loops(r.ops, b, active), r.results) for r in op.regions)
            if any(r.ops != q.ops for r, q in zip(regions, op.regions, strict=True)):
                op = Op(op.opdef, op.operands, op.attrs, op.results, regions, op.loc)
            if op.name == "while":
                with b.region() as before:
                    op = numbered(op, b)
                mark_active((op,), active)
                new.extend(before.ops)
        new.append(op)
    return new


def numbered(op: Op, b: Builder) -> Op:
    """A ``while`` whose index has the limits that its condition sets. One without an index counts its iterations, as
    its last result. The other results stay the same values."""
    test, body = op.regions
    loop = loop_of(op)
    if loop is not None:
        if loop.hi is None or None not in symbol_of(loop.index).limits:
            return op
        return Op(op.opdef, op.operands, op.attrs, op.results, (test, _copied_body(loop, loop.hi)), op.loc)
    with b.region() as new:
        new.params = [*body.params, Value(TensorType(i64), "k")]
        b.ops.extend(body.ops)
        one = b.constant(1, i64)
        new.finish(*body.results, b.emit("add", new.params[-1], one))
    test = Block((*test.params, Value(TensorType(i64), "k")), test.ops, test.results)
    zero = b.constant(0, i64)
    count = Value(TensorType(i64), "count")
    return Op(op.opdef, (*op.operands, zero), op.attrs, (*op.results, count), (test, new.block), op.loc)


def as_for(op: Op) -> tuple[Op, list[int]]:
    """A fresh copy of a ``while`` with numbered iterations as a ``for`` over those that it had, and which of the
    results that has: not the index."""
    loop = loop_of(op)
    assert loop is not None and loop.end is not None
    kept = [k for k in range(len(op.results)) if k != loop.place]
    body = _copied_body(loop, loop.end)
    params = [body.params[loop.place], *(body.params[k] for k in kept)]
    block = Block(params, body.ops, [body.results[k] for k in kept])
    results = tuple(Value(op.results[k].type, op.results[k].name) for k in kept)
    attrs = {"lo": loop.lo, "hi": loop.end, "step": loop.step}
    return Op(OPS["for"], tuple(op.operands[k] for k in kept), attrs, results, (block,), op.loc), kept


def _copied_body(loop: Loop, hi: Dim) -> Block:
    """A fresh copy of the body, where the index is known to be in ``range(lo, hi, step)``."""
    env: dict[Value, Value] = {}
    for p in loop.body.params:
        env[p] = renamed_param(p, env)
    set_limits(env[loop.index], loop.lo, hi, loop.step)
    ops = [copied_op(inner, env) for inner in loop.body.ops]
    return Block([env[p] for p in loop.body.params], ops, [env.get(v, v) for v in loop.body.results])


def _name_adjoints(values: Sequence[Value], adjoints: Adjoints) -> None:
    """Call the cotangent of the user's ``w`` ``d_w``, for reading."""
    for value in values:
        g = adjoints.get(value)
        if value.name and g is not None and g.value.value.name is None:
            g.value.value.name = f"d_{value.name}"


def free_values(*regions: Block) -> list[Value]:
    """The values that the regions of an op see from outside, in the order of first use."""
    inside = {v for region in regions for v in inner_values(region)}
    found: dict[Value, None] = {}
    for region in regions:
        for v in (*(u for inner in region.ops for u in used_values(inner)), *region.results):
            if v not in inside:
                found.setdefault(v)
    return list(found)


def reversed_range(lo: Dim, hi: Dim, step: int) -> tuple[Dim, Dim, int]:
    """The same numbers in the opposite order."""
    last = add(lo, mul(add(trip_count(lo, hi, step), -1), step))
    return last, add(lo, -1 if step > 0 else 1), -step


def _cotangent(b: Builder, value: Value) -> Cotangent:
    return Cotangent(Var(b, value))


def _name(value: Value) -> str | None:
    return f"d_{value.name}" if value.name else None
