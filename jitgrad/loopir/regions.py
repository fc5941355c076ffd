"""From the graph IR to Loop IR: every op's ``lower`` under one builder, and loops and branches for region ops.

Arrays are values in the graph and storage here. What is decided here, from the order of the ops:

* **In place.** An op that updates an array (``b.copy`` in its ``lower``) takes the storage of its operand if no value
  in that storage is used later in the block. What a loop's body sees from outside is used in the next iteration too,
  so it is never taken there; a branch may take what its op could.
* **Carries.** What a loop carries has one buffer, which the body updates. The initial value's storage is taken for it
  where that may be; else it is copied once. What the body yields is moved there at the end of an iteration, all at
  once: ``a, b = b, a`` goes through a third buffer.
* **Indices.** Where an index or an extent names a value, loop variables stand for loop indices, and locals (at top
  level: buffers that stay as they are) for other integers, so that no later pass has to rewrite extents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jitgrad.errors import CompilationError
from jitgrad.ir.core import Block, Op, Value
from jitgrad.ir.index import Dim, IndexExpr, Sym, add, as_sym, interval, mul, substitute
from jitgrad.ir.symbols import index_of, named_values
from jitgrad.ir.types import TensorType, bool_
from jitgrad.loopir.build import LoopBuilder, Tensor
from jitgrad.loopir.nodes import Buffer, Const, If, Index, Load, Stmt, dynamic_between


def used_outside(op: Op) -> Iterator[Value]:
    """The values around an op that its regions use."""
    for region in op.regions:
        inside = set(region.params)
        for inner in region.ops:
            for v in uses(inner):
                if v not in inside:
                    yield v
            inside.update(inner.results)
        for v in region.results:
            if v not in inside:
                yield v


def uses(op: Op) -> Iterator[Value]:
    """The values that an op uses, those that its regions use from around it included."""
    yield from op.operands
    yield from used_outside(op)


class Frame:
    """What is known of the block that is being lowered: which roots its ops may take over, and where each value is used
    last (counted in ops; what the block yields is used after all of them)."""

    def __init__(self, block: Block, captured: Mapping[Op, tuple[Value, ...]], owned: set[Buffer]) -> None:
        self.owned = owned
        self.last: dict[Value, int] = {}
        for k, op in enumerate(block.ops):
            for v in (*op.operands, *captured.get(op, ())):
                self.last[v] = k
        for v in block.results:
            self.last[v] = len(block.ops)


class GraphLowering:
    """Lowers blocks into a builder. ``env`` gives the tensor of every value that is in scope."""

    def __init__(self, b: LoopBuilder) -> None:
        self.b = b
        self.env: dict[Value, Tensor] = {}
        self.dims: dict[Value, Dim] = {}  # what stands for an integer in index expressions
        self.values: dict[Buffer, set[Value]] = {}  # the values in the storage of a root
        self.pinned: set[Buffer] = set()  # roots that extents depend on
        self.blank: set[Buffer] = set()  # roots of arrays that nobody has written
        self.captured: dict[Op, tuple[Value, ...]] = {}
        self.frame: Frame = Frame(Block((), (), ()), {}, set())

    # Values

    def bind(self, value: Value, t: Tensor) -> None:
        """Let a tensor be the value."""
        self.env[value] = t
        self.dims.pop(value, None)
        self.values.setdefault(t.buffer.root, set()).add(value)

    def own(self, t: Tensor) -> None:
        """Let the ops of the current block take over the storage of a tensor."""
        if t.buffer.root.kind == "temp":
            self.frame.owned.add(t.buffer.root)

    def dim(self, d: Dim) -> Dim:
        """An index expression of the graph in terms of Loop IR."""
        if not isinstance(d, IndexExpr):
            return d
        return substitute(d, {s: self.symbol(s) for s in d.syms() if isinstance(s.payload, Value)})

    def symbol(self, s: Sym) -> Dim:
        """What stands for the value that a symbol names."""
        value = s.payload
        found = self.dims.get(value)
        if found is None:
            plain = index_of(value)
            if as_sym(plain) is s:
                found = self.element(value, self.env[value][()])
            else:
                found = self.dim(plain)
            self.dims[value] = found
        return found

    def element(self, value: Value, e: Any) -> Dim:
        """An integer expression as an index, with the limits of the value."""
        lo, hi = (None, None) if value.symbol is None else value.symbol.limits
        return dynamic_between(e, None if lo is None else self.dim(lo), None if hi is None else self.dim(hi))

    def attribute(self, item: Any) -> Any:
        """An attribute with its index expressions in terms of Loop IR."""
        if isinstance(item, IndexExpr):
            return self.dim(item)
        if isinstance(item, tuple) and named_values(item):
            return tuple(map(self.attribute, item))
        return item

    def shape(self, t: TensorType) -> tuple[Dim, ...]:
        return tuple(map(self.dim, t.shape))

    # Storage

    def keeps(self, root: Buffer, k: int, op: Op, of: Buffer | None = None) -> str | None:
        """Why op number ``k`` may not take over the storage of one of its operands, or of what its own lowering
        computed from the operand in ``of``; None if it may."""
        if root in self.blank:
            return ""
        if root.kind not in ("temp", "inout"):
            return "it is an argument, a constant or a result"
        if root not in self.values:
            later = of is not None and any(self.frame.last.get(v, -1) > k for v in self.values.get(of, ()))
            return "it is used again" if later else None
        if root in self.pinned:
            return "an extent depends on it"
        if root not in self.frame.owned:
            return "it is used in other iterations"
        here = [v for v in self.values[root] if self.frame.last.get(v, -1) >= k]
        if any(self.frame.last[v] > k for v in here):
            return "its old value is read later"
        inside = self.captured.get(op, ())
        operands = [v for v in op.operands if v in self.env and self.env[v].buffer.root is root]
        if len(operands) > 1 or any(v in inside for v in here):
            return "its old value is read meanwhile"
        return None

    # Blocks

    def block(self, block: Block, owned: set[Buffer]) -> tuple[Tensor, ...]:
        """Lower the ops of a block; the tensors that it yields."""
        for op in block.ops:
            if op.regions and op not in self.captured:
                self._capture(op)
        outer, self.frame = self.frame, Frame(block, self.captured, owned)
        for k, op in enumerate(block.ops):
            self.op(op, k)
        self.frame = outer
        return tuple(self.env[v] for v in block.results)

    def _capture(self, op: Op) -> None:
        self.captured[op] = tuple(dict.fromkeys(used_outside(op)))

    def op(self, op: Op, k: int) -> None:
        b = self.b
        b.loc = op.loc
        b.hint = op.results[0].name if op.results else None
        b.keeps = lambda root, of: self.keeps(root, k, op, of)
        attrs = {name: self.attribute(a) for name, a in op.attrs.items()}
        if op.regions:
            getattr(self, f"{op.name}_")(op, k, **attrs)
            for r in op.results:
                self.define(r, self.env[r])
            return
        if op.name == "wrap_index" and _is_wrapped(op.operands[0], op.attrs["extent"]):
            lowered: Any = self.env[op.operands[0]]
        else:
            with b.kernel():
                lowered = op.opdef.lower(b, *(self.env[v] for v in op.operands), **attrs)  # pyright: ignore[reportAttributeAccessIssue]
        tensors = lowered if isinstance(lowered, tuple) else (lowered,)
        for r, t in zip(op.results, tensors, strict=True):
            if not _same_shape(t.shape, self.shape(r.type)) or t.dtype != r.type.dtype:
                raise CompilationError(f"{op.name} was lowered to {t.buffer!r}, but its type is {r.type}", op.loc)
            if op.name == "empty":
                self.blank.add(t.buffer.root)
            elif not any(self.env[v].buffer.root is t.buffer.root for v in op.operands):
                self.own(t)  # a view of what is defined outside of a loop does not belong to an iteration
            self.define(r, t)

    def define(self, value: Value, t: Tensor) -> None:
        """Enter a result. Where an index names it inside a kernel, it gets a local; at top level its storage stays."""
        self.bind(value, t)
        if value.symbol is None or as_sym(index_of(value)) is not value.symbol or isinstance(t[()], Const):
            return
        if self.b.in_kernel:
            self.dims[value] = self.element(value, self.b.let(t[()], value.name or "k"))
        else:
            self.pinned.add(t.buffer.root)

    # Loops

    def carry(self, value: Value, name: str | None, k: int, op: Op, taken: set[Buffer]) -> Tensor:
        """The buffer of something that a loop carries, holding its initial value."""
        b, t = self.b, self.env[value]
        reason = self.keeps(t.buffer.root, k, op)
        if t.buffer.root in taken:
            reason = "two values that a loop carries start as it"
        if reason is None:
            return t
        b.hint = name or value.name
        new = b.empty(t.shape, t.dtype)
        if reason:
            with b.loops(t.shape) as index:
                b.store(new, index, t[index])
            b.note_copy(t.buffer, new.buffer, reason)
        return new

    def carries(self, op: Op, k: int, names: Sequence[str | None]) -> list[Tensor]:
        found: list[Tensor] = []
        taken: set[Buffer] = set()
        for value, name in zip(op.operands, names, strict=True):
            found.append(self.carry(value, name, k, op, taken))
            taken.add(found[-1].buffer.root)
        return found

    def enter(self, params: Sequence[Value], carries: Sequence[Tensor]) -> None:
        """Let the parameters of a region be what the loop carries."""
        for p, c in zip(params, carries, strict=True):
            self.define(p, c)

    def leave(self, op: Op, carries: Sequence[Tensor]) -> None:
        for r, c in zip(op.results, carries, strict=True):
            self.bind(r, c)
            self.own(c)

    def move(self, targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
        """``targets = sources``, all at once."""
        pending = [(t, s) for t, s in zip(targets, sources, strict=True) if t.buffer.root is not s.buffer.root]
        while pending:
            read = [s.buffer.root for _, s in pending]
            ready = next((p for p in pending if p[0].buffer.root not in read), None)
            if ready is None:
                target, source = pending[0]
                self.b.hint = source.buffer.name
                saved = self.assign(None, source)
                pending[0] = (target, saved)
                continue
            pending.remove(ready)
            self.assign(*ready)

    def assign(self, target: Tensor | None, source: Tensor) -> Tensor:
        b = self.b
        if target is None:
            target = b.empty(source.shape, source.dtype)
            b.note_copy(source.buffer, target.buffer, "it is exchanged with another array")
        if source.buffer.root not in self.blank:
            with b.loops(source.shape) as index:
                b.store(Tensor(target.buffer), _fit(index, target), source[index])
        return target

    def for_(self, op: Op, k: int, *, lo: Dim, hi: Dim, step: int) -> None:
        (body,) = op.regions
        index, *params = body.params
        if isinstance(lo, int) and isinstance(hi, int) and (hi - lo) * step <= 0:
            for r, v in zip(op.results, op.operands, strict=True):
                self.bind(r, self.env[v])
            return
        carries = self.carries(op, k, [p.name for p in params])
        used = any(index in (*inner.operands, *used_outside(inner)) for inner in body.ops) or index in body.results
        with self.b.loop(hi, lo, step, name=index.name or "i", fresh=True) as i:
            if used:
                self.b.hint = index.name
                self.bind(index, self.b.pointwise((), index.type.dtype, lambda: Index(i)))
            self.dims[index] = i
            self.enter(params, carries)
            yields = self.block(body, {c.buffer.root for c in carries})
            self.b.loc = op.loc
            self.move(carries, yields)
        self.leave(op, carries)

    def while_(self, op: Op, k: int) -> None:
        test, body = op.regions
        carries = self.carries(op, k, [p.name for p in body.params])
        self.b.hint = "going"
        going = self.b.empty((), bool_)

        def check() -> None:
            self.enter(test.params, carries)
            (result,) = self.block(test, set())
            self.b.store(going, (), result[()])

        with self.b.kernel():
            check()
            with self.b.repeat(Load(going.buffer, ())):
                self.enter(body.params, carries)
                yields = self.block(body, {c.buffer.root for c in carries})
                self.b.loc = op.loc
                self.move(carries, yields)
                check()
        self.leave(op, carries)

    # Branches

    def branches(self, op: Op, k: int) -> list[tuple[Stmt, ...]]:
        """Lower every region of ``cond`` or ``switch``; each ends by moving what it yields into the results."""
        free = {
            root
            for root in {self.env[v].buffer.root for v in self.captured[op] if v in self.env}
            if root in self.frame.owned
            and root not in self.pinned | self.blank
            and all(self.frame.last.get(v, -1) <= k for v in self.values[root])
        }
        before = set(self.values)
        lists: list[list[Stmt]] = []
        yielded: list[tuple[Tensor, ...]] = []
        for region in op.regions:
            with self.b.collect() as stmts:
                yielded.append(self.block(region, set(free)))
            lists.append(stmts)
        self.b.loc = op.loc
        targets: list[Tensor] = []
        for n, r in enumerate(op.results):
            options = [y[n] for y in yielded]
            first = options[0]
            if first.buffer.root in before - free and all(t.buffer is first.buffer for t in options):
                self.bind(r, first)  # every branch yields the same value from outside
                targets.append(first)
                continue
            taken = {t.buffer.root for t in targets}
            chosen = next((t for t in options if t.buffer.root in free - taken), None)
            if chosen is None:
                self.b.hint = r.name
                chosen = self.b.empty(self.shape(r.type), r.type.dtype)
            targets.append(chosen)
            self.bind(r, chosen)
            self.own(chosen)
        for stmts, y in zip(lists, yielded, strict=True):
            with self.b.collect() as moves:
                self.move(targets, y)
            stmts.extend(moves)
        return [tuple(stmts) for stmts in lists]

    def cond_(self, op: Op, k: int) -> None:
        pred = self.env[op.operands[0]][()]
        then, orelse = self.branches(op, k)
        self.b.emit(If(pred, then, orelse))

    def switch_(self, op: Op, k: int) -> None:
        choice = self.env[op.operands[0]][()]
        *others, last = self.branches(op, k)
        for number in reversed(range(len(others))):
            last = (If(choice <= number, others[number], last),)
        for s in last:
            self.b.emit(s)


def _fit(index: Sequence[Dim], target: Tensor) -> tuple[Dim, ...]:
    """The index as it is; a carried array and what is moved into it have one shape."""
    assert len(index) == len(target.shape)
    return tuple(index)


def _is_wrapped(value: Value, extent: Dim) -> bool:
    """Whether an index is known to lie on its axis."""
    position = index_of(value)
    low = interval(position)[0]
    room = interval(add(extent, mul(position, -1)))[0]
    return low is not None and low >= 0 and room is not None and room >= 1


def _same_shape(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    """Whether two shapes may be equal: extents that are not numbers are trusted."""
    return len(a) == len(b) and all(
        x == y or not (isinstance(x, int) and isinstance(y, int)) for x, y in zip(a, b, strict=True)
    )
