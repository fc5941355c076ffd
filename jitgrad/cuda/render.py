"""Launches rendered as Python source for ``numba-cuda``, one function a kernel.

A kernel takes flat pointers, one a buffer and dtype; extents are numbers in the text. Its threads first find their row.
In a body that a team of several threads runs, all of them compute what is outside distributed loops, one of them stores
it, and they meet at a barrier wherever one may touch what another one has touched since the last barrier, and one of
them writes: in another statement, or in the next iteration of a loop around (``teams.may_meet``).

A failure sets a number in ``status`` and ends the row. Kernels that come later see that and do nothing: an index that
was checked once need not be checked again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from jitgrad.codegen.python import Renderer
from jitgrad.codegen.python_expr import count_uses
from jitgrad.cuda.grid import Plans
from jitgrad.cuda.spelling import FUNCTIONS, CudaSpelling, called, carrier, team_function
from jitgrad.cuda.steps import TEAM, Launch, Repeat, Step
from jitgrad.cuda.teams import WARP, Touch, conflicting, may_meet, shared_out, static_trips, touches
from jitgrad.cuda.vectors import is_wide, wide_loads
from jitgrad.ir.index import Dim, IndexExpr, Sym, add, expr
from jitgrad.ir.types import SHORT_NAMES, bool_, i64
from jitgrad.loopir.build import IDENTITIES, flatten_index
from jitgrad.loopir.nodes import (
    Assign,
    Block,
    Buffer,
    Comment,
    Const,
    Expr,
    Fail,
    If,
    Let,
    Load,
    Local,
    Loop,
    Stmt,
    Store,
    While,
    loop_syms,
    rewrite,
    substitute_index,
)
from jitgrad.loopir.printer import COMPARE, PRODUCT, Text, index_text
from jitgrad.loopir.schedule import loop_sums
from jitgrad.loopir.walk import buffers_of, expressions, loads, statements, written

_U8 = np.dtype(np.uint8)
_I32 = np.dtype(np.int32)
_UPDATES = {"+=": "add", "*=": "mul", "max=": "max", "min=": "min"}
#: What rendered names must not hide.
_TAKEN = (
    *("cuda", "libdevice", "inf", "nan", "device", "lane", "row", "warp", "uint8", "bool_", "grid_sync"),
    *("atomic_add", "atomic_max", "atomic_min", "atomic_mul", "load2", "load4", "store2", "store4"),
    *(dtype.name for dtype in SHORT_NAMES),
    *FUNCTIONS,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """A rendered launch. Its parameters are pointers to ``pointers`` (a root and the dtype that it is read as, a bool
    being a byte), then, if ``status`` is a number, the status words, of which it sets that one on failure (-1: it only
    reads them), then the values of ``variables``, int64."""

    launch: Launch
    pointers: tuple[tuple[Buffer, np.dtype], ...]
    status: int | None
    variables: tuple[Sym, ...]

    @property
    def name(self) -> str:
        return self.launch.name

    @property
    def signature(self) -> tuple[np.dtype | tuple[str, np.dtype], ...]:
        """The types of the parameters, as the kernel compiler takes them."""
        pointers = [_U8 if dtype == bool_ else dtype for _, dtype in self.pointers]
        status = [] if self.status is None else [_I32]
        return (*pointers, *status, *(("scalar", i64) for _ in self.variables))


@dataclasses.dataclass(frozen=True, eq=False)
class Module:
    """All kernels of a program in one text. ``failures`` says what the numbers in the status words mean: a word n is
    ``failures[-n]``, and an earlier failure has a greater number."""

    text: str
    kernels: dict[Launch, Kernel]
    failures: tuple[Fail, ...]
    slots: int


def launches(steps: Sequence[Step], around: tuple[Sym, ...] = ()) -> Iterator[tuple[Launch, tuple[Sym, ...]]]:
    """All launches, with the variables of the sequences that they lie in."""
    for s in steps:
        if isinstance(s, Launch):
            yield s, around
        elif isinstance(s, Repeat):
            yield from launches(s.steps, (*around, s.loop.var))


def render(plans: Plans) -> Module:
    """The source of all kernels of a program, each with the lines that it computes."""
    found = list(launches(plans.steps))
    failures = tuple(dict.fromkeys(x for s, _ in found for x in statements(s.body) if isinstance(x, Fail)))
    texts: list[str] = []
    helpers: dict[str, str] = {}
    kernels: dict[Launch, Kernel] = {}
    slots = 0
    for launch, around in found:
        fails = any(isinstance(x, Fail) for x in statements(launch.body))
        slot = slots if fails else -1 if slots else None
        renderer = _KernelRenderer(plans, launch, around, failures, slot, slots)
        slots += fails
        text, kernels[launch] = renderer.kernel()
        helpers |= renderer.helpers
        texts.append(text)
    body = "\n\n".join([*(f"@device\n{text}" for _, text in sorted(helpers.items())), *texts])
    own = {name: f"@device\n{FUNCTIONS[name]}" for name in called(body)}
    return Module("\n\n".join([*own.values(), body]), kernels, failures, slots)


class _Frame:
    """A loop that is being rendered: what its body touches before the first barrier in it."""

    def __init__(self) -> None:
        self.entry: list[Touch] = []
        self.met = False


class _KernelRenderer(Renderer):
    def __init__(
        self,
        plans: Plans,
        launch: Launch,
        around: tuple[Sym, ...],
        failures: tuple[Fail, ...],
        slot: int | None,
        slots: int,
    ) -> None:
        super().__init__(plans.program, CudaSpelling())
        self.launch, self.failures, self.slot, self.slots = launch, failures, slot, slots
        self.helpers: dict[str, str] = {}
        self.distributing: Loop | None = None
        self.known = plans.distributed  # see ``shared_out``
        self.pending: list[Touch] = []
        self.frames: list[_Frame] = []
        self.closed: frozenset[Sym] = frozenset()
        self.failed = ""  # the flag of a thread in the loop that is shared out
        self.changed = written(launch.body)
        self.atomic = self.updating = _atomic_roots(launch)
        used = _mentioned((*launch.rows, *launch.body))
        self.around = tuple(v for v in around if v in used)
        for name in _TAKEN:
            self.names.fresh(name, "taken")

    def kernel(self) -> tuple[str, Kernel]:
        """The text of the kernel, and what it takes."""
        found: dict[tuple[Buffer, np.dtype], str] = {}
        for t in self.touched():
            if t.kind == "shared":
                self.buffers[t] = self.buffers.get(t.root) or self.names.fresh(t.root.name, "buffer")
                self.buffers[t.root] = self.buffers[t]
                continue
            key = (t.root, t.dtype)
            if key not in found:
                found[key] = self.names.fresh(t.root.name, "buffer")
            self.buffers[t] = found[key]
            self.buffers.setdefault(t.root, found[key])
        names = list(found.values())
        if self.slot is not None:
            names.append("status")  # a reserved name
        for v in self.around:
            self.variables[v] = self.names.fresh(v.name, "loop")
            names.append(self.variables[v])
        listed = [f"{name}: {SHORT_NAMES[dtype]}[{root.capacity}]" for (root, dtype), name in found.items()]
        self.lines.append(f"def {self.launch.name}({', '.join(names)}):")
        self.line(f"# {self.launch.describe()}")
        for k in range(0, len(listed), 6):
            self.line(f"# {', '.join(listed[k : k + 6])}")
        self.origin(Block(self.launch.body))
        if self.slots:
            self.line(f"if {' or '.join(f'status[{k}] != 0' for k in range(self.slots))}:")
            self.line("    return")
        for t in self.launch.shared:
            dtype = "uint8" if t.dtype == bool_ else t.dtype.name
            self.line(f"{self.buffers[t]} = cuda.shared.array({t.capacity}, {dtype})")
        self.find_row()
        if self.launch.lanes > 1:
            self.several_rows()
        else:
            self.block(self.launch.body)
        return "\n".join([*self.lines, ""]), Kernel(self.launch, tuple(found), self.slot, self.around)

    def touched(self) -> list[Buffer]:
        """The buffers of the body, aliases included, in an order that depends on its structure only."""
        found: dict[Buffer, None] = {}
        order = {root: k for k, root in enumerate(buffers_of(Block(self.launch.body)))}
        for s in statements(self.launch.body):
            if isinstance(s, Store):
                found.setdefault(s.buffer)
        found.update(dict.fromkeys(e.buffer for e in loads(self.launch.body)))
        return sorted(found, key=lambda t: (order[t.root], t.dtype.str, t.name))

    def origin(self, s: Stmt) -> None:
        super().origin(s)
        self.lines = [text for text in self.lines if text]

    def find_row(self) -> None:
        """What a thread's row and its place in the team are, and the variables of the row."""
        team, block, count = self.launch.team, self.launch.block, self.launch.count
        index = "int64(cuda.threadIdx.x)"
        if team > 1:
            self.line(f"lane = {index}{' & 31' if team < block else ''}")
        if not self.launch.rows:
            return
        first = "int64(cuda.blockIdx.x)"
        teams = block // team
        if teams > 1:
            own = index if team == 1 else f"({index} >> 5)"
            if team > 1 and self.launch.shared:
                self.line(f"warp = {own[1:-1]}")
                self.variables[TEAM] = own = "warp"
            self.line(f"row = {first} * {teams} + {own}")
            if count % teams:
                self.line(f"if row >= {count}:")
                self.line("    return")
        else:
            self.line(f"row = {first}")
        self.variables_of_row(count)

    def variables_of_row(self, count: int) -> None:
        """The variables of the loops whose iterations are the rows, the last one changing fastest."""
        rest = "row"
        inner = count
        word = "uint32" if count < 1 << 32 else "uint64"
        for k, s in enumerate(self.launch.rows):
            last = k + 1 == len(self.launch.rows)
            inner //= (static_trips(s) or 1) // (self.launch.lanes if last else 1)
            name = self.names.first("ijklmnpqr", "loop")
            self.variables[s.var] = name
            text = rest if last else f"int64({word}({rest}) // {word}({inner}))"
            if last and self.launch.lanes > 1:
                text = f"{self.launch.lanes} * ({text})"
            elif (s.lo, s.step) != (0, 1):
                scaled = text if s.step == 1 else f"{s.step} * ({text})"
                text = f"{s.lo} + {scaled}" if s.lo != 0 else scaled
            self.line(f"{name} = {text}")
            if not last:
                rest = f"int64({word}({rest}) % {word}({inner}))"

    def several_rows(self) -> None:
        """The rows of one thread, side by side: what is loaded first, then statement by statement for all of them."""
        var, lanes, body = self.launch.rows[-1].var, self.launch.lanes, self.launch.body
        steps = [{var: add(expr(var), k)} for k in range(lanes)]
        for e in wide_loads(body, var, lanes):
            names = [self.names.fresh(f"{self.buffers[e.buffer]}_{k}", e.dtype) for k in range(lanes)]
            for name, step in zip(names, steps, strict=True):
                one = rewrite(e, step, {})
                self.bound[one, self.versions.of(one)] = name
            self.line(f"{', '.join(names)} = load{lanes}({self.buffers[e.buffer]}, {self.offset(e.buffer, e.index)})")
        made = [[_moved(s, step) for step in steps] for s in body]
        self.uses = count_uses([s for group in made for s in group], self.expressions, self.versions)
        for first, *others in made:
            t = first.buffer
            if not is_wide(t, first.index, var, lanes):
                for s in (first, *others):
                    self.statement(s)
                continue
            values: list[str] = []
            for s in (first, *others):
                text = self.expr(s.value).text
                values.append(self.names.fresh("value", t.dtype))
                self.line(f"{values[-1]} = {text}")
            self.line(f"store{lanes}({self.buffers[t]}, {self.offset(t, first.index)}, {', '.join(values)})")

    def offset(self, t: Buffer, index: Sequence[Dim]) -> str:
        """The place of an element in memory."""
        return self.index(flatten_index(t.shape, index), self.symbol).text

    # Statements of a team

    def alone(self) -> bool:
        """Whether what is rendered is run by one thread, or by each for itself."""
        return self.launch.team == 1 or self.distributing is not None

    def statement(self, s: Stmt) -> None:
        if isinstance(s, Fail):
            self.fail(s)
        elif isinstance(s, _End):
            self.end(s)
        elif isinstance(s, Store) and self.alone() and s.buffer.root in self.updating and s.mode in _UPDATES:
            at = self.offset(s.buffer, s.index)
            self.line(f"atomic_{_UPDATES[s.mode]}({self.buffers[s.buffer]}, {at}, {self.expr(s.value).text})")
            self.versions.after(s)
        elif self.alone() or isinstance(s, (Comment, Block)):
            super().statement(s)
        elif isinstance(s, Loop) and shared_out(s, self.known):
            updating = self.atomic | conflicting(s)
            self.meet(touches(s, s, updating))
            self.distributed(s, updating)
        elif isinstance(s, (Loop, While)):
            self.together(s)
        elif isinstance(s, If):
            self.branch(s)
        elif isinstance(s, Store):
            self.meet(touches(s, None, self.atomic))
            self.by_one((s,))
        else:
            assert isinstance(s, (Let, Assign)), s
            self.meet(touches(s, None, self.atomic))
            super().statement(s)

    def by_one(self, stmts: Sequence[Stmt]) -> None:
        """Statements that one thread of the team runs."""
        self.line("if lane == 0:")
        outer, self.distributing = self.distributing, Loop(Sym("one"), 0, 1, tuple(stmts))
        self.nested(stmts)
        self.distributing = outer

    def fail(self, s: Fail) -> None:
        number = len(self.failures) - self.failures.index(s)
        text = f"atomic_max(status, {self.slot}, int32({number}))"
        if self.launch.team > 1 and self.distributing is None:
            self.line("if lane == 0:")
            self.line(f"    {text}")
        else:
            self.line(text)
        if self.distributing is None:
            self.line("return")
        else:
            self.line(f"{self.failed} = int32(1)")
            self.line("continue")

    def distributed(self, s: Loop, updating: frozenset[Buffer]) -> None:
        """A loop whose iterations the team shares out, updating some arrays by atomic operations, and its sums."""
        sums = loop_sums(s)
        assert not isinstance(sums, str)
        whole = {local: self.locals[local] for local, _ in sums}
        for local, mode in sums:
            self.locals[local] = self.names.fresh(f"{whole[local]}_part", local.dtype)
            zero = Const(IDENTITIES[mode](local.dtype), local.dtype)
            self.line(f"{self.locals[local]} = {self.spelling.literal(zero).text}")
        fails = any(isinstance(x, Fail) for x in statements(s.body))
        if fails:
            self.failed = self.names.fresh("failed", _I32)
            self.line(f"{self.failed} = int32(0)")
        lo, hi = self.dim(s.lo), self.dim(s.hi)
        name = self.names.first("ijklmnpqr", "loop")
        self.variables[s.var] = name
        changed = written(s.body)
        self.versions.touch(changed)
        step = "lane" if s.step == 1 else f"{s.step} * lane"
        first = step if lo.text == "0" else f"{lo.text} + {step}"
        self.distributing, self.updating = s, updating
        if static_trips(s) == self.launch.team and not fails:  # an iteration for each thread
            self.line(f"{name} = {first}")
            self.block(s.body)
        else:
            self.line(f"for {name} in range({first}, {hi.text}, {self.launch.team * s.step}):")
            self.nested(s.body)
        self.distributing, self.updating = None, self.atomic
        self.names.release((name,))
        if fails:  # what comes next relies on the checks of all threads
            self.line(f"if {self.over_team(self.failed, _I32, 'or=')} != 0:")
            self.line("    return")
            self.names.release((self.failed,))
        for local, mode in sums:
            part = self.locals[local]
            self.locals[local] = whole[local]
            total = Local("total", local.dtype)
            self.locals[total] = self.over_team(part, local.dtype, mode)
            self.update(whole[local], local.dtype, mode, total)
            self.names.release((part,))
        self.versions.touch(changed)

    def over_team(self, part: str, dtype: np.dtype, mode: str) -> str:
        """The text of the sum of a number of each thread over the team."""
        if dtype == bool_:
            mode = {"+=": "or=", "max=": "or=", "*=": "and=", "min=": "and="}.get(mode, mode)
        name, source = team_function(mode, dtype, self.launch.team)
        self.helpers[name] = source
        if self.launch.team > WARP:  # the threads meet there
            self.ordered()
        if dtype == bool_:
            return f"({name}(int32(1) if {part} else int32(0)) != 0)"
        own = carrier(dtype)
        return f"{name}({part})" if own == dtype else f"{dtype.name}({name}({own.name}({part})))"

    def together(self, s: Loop | While) -> None:
        """A loop whose iterations the whole team runs, one after the other."""
        header = touches(dataclasses.replace(s, body=()), None, self.atomic)
        self.meet(header)
        before = list(self.pending)
        outer = [f.met for f in self.frames]
        frame = _Frame()
        frame.entry += header
        self.frames.append(frame)
        if isinstance(s, Loop):
            super().loop(dataclasses.replace(s, body=(*s.body, _End(s, frame))))
        else:
            super().repeat(While(s.cond, (*s.body, _End(s, frame))))
        self.frames.pop()
        for f, met in zip(self.frames, outer, strict=True):
            f.met = met  # there may be no iteration
        self.pending = [*before, *(x for x in self.pending if x not in before)]
        if isinstance(s, Loop):
            self.closed |= {s.var}

    def end(self, s: _End) -> None:
        """The end of an iteration: a barrier, if the next one may touch what this one did."""
        varying = self.closed | ({s.loop.var} if isinstance(s.loop, Loop) else set())
        if any(may_meet(x, y, self.changed, varying) for x in self.pending for y in s.frame.entry):
            self.sync()

    def branch(self, s: If) -> None:
        self.meet(touches(If(s.cond, ()), None, self.atomic))
        before, outer = list(self.pending), [f.met for f in self.frames]
        self.line(f"if {self.expr(s.cond).text}:")
        self.nested(s.then)
        after, self.pending = self.pending, before
        met = [f.met for f in self.frames]
        for f, was in zip(self.frames, outer, strict=True):
            f.met = was
        if s.orelse:
            self.line("else:")
            self.nested(s.orelse)
        for f, was, then in zip(self.frames, outer, met, strict=True):
            f.met = was or (f.met and then)
        self.pending = [*self.pending, *(x for x in after if x not in self.pending)]

    # Barriers

    def meet(self, found: list[Touch]) -> None:
        """A barrier, if what comes next may touch what another thread has touched."""
        if any(may_meet(x, y, self.changed, self.closed) for x in self.pending for y in found):
            self.sync()
        self.pending += found
        for f in self.frames:
            if not f.met:
                f.entry += found

    def sync(self) -> None:
        self.line("cuda.syncwarp()" if self.launch.team == WARP else "cuda.syncthreads()")
        self.ordered()

    def ordered(self) -> None:
        """All threads of the team have been here."""
        self.pending = []
        for f in self.frames:
            f.met = True

    # Text

    def element(self, t: Buffer, index: Sequence[Dim], symbol: Callable[[Sym], Text]) -> str:
        return f"{self.buffers[t]}[{self.index(flatten_index(t.shape, index), symbol).text}]"

    def index(self, e: Dim, symbol: Callable[[Sym], Text]) -> Text:
        return index_text(e, symbol, _divided)

    def plain(self, e: Expr, texts: dict[Expr, Text]) -> Text:
        text = super().plain(e, texts)
        return Text(f"{text.text} != 0", COMPARE) if isinstance(e, Load) and e.dtype == bool_ else text

    def update(self, target: str, dtype: np.dtype, mode: str, value: Expr) -> None:
        stored = target.endswith("]")
        if not stored or dtype != bool_:
            super().update(target, dtype, mode, value)
            return
        text = self.expr(value).within(COMPARE + 1)
        if mode != "=":
            word = "or" if mode in ("or=", "+=", "max=") else "and"
            text = f"({target} != 0 {word} {text})"
        self.line(f"{target} = uint8(1) if {text} else uint8(0)")


class _End(Comment):
    """Marks the end of an iteration that a team runs together."""

    def __init__(self, loop: Loop | While, frame: _Frame) -> None:
        super().__init__("")
        object.__setattr__(self, "loop", loop)
        object.__setattr__(self, "frame", frame)

    loop: Loop | While
    frame: _Frame


def _divided(base: IndexExpr, text: Text, operator: str, divisor: int) -> Text:
    """Division of what is not negative is unsigned, with 32 bits where they are enough."""
    lo, hi = base.bounds
    if lo is None or lo < 0:
        return Text(f"{text.within(PRODUCT)} {operator} {divisor}", PRODUCT)
    word = "uint32" if hi is not None and hi < 1 << 32 else "uint64"
    return Text(f"int64({word}({text.text}) {operator} {word}({divisor}))")


def _moved(s: Stmt, step: Mapping[Sym, Dim]) -> Store:
    """A store in another iteration."""
    assert isinstance(s, Store)
    return Store(s.buffer, tuple(substitute_index(i, step, {}) for i in s.index), rewrite(s.value, step, {}))


def _mentioned(stmts: Sequence[Stmt]) -> set[Sym]:
    """The variables of loops that some statements depend on, those of their own loops included."""
    found: set[Sym] = set()
    for s in statements(stmts):
        dims: list[Dim] = [s.lo, s.hi] if isinstance(s, Loop) else []
        if isinstance(s, Store):
            dims = [*s.index, *s.buffer.shape[1:]]
        for e in expressions(s):
            found |= e.syms()
        for k in dims:
            found.update(loop_syms(k))
    return found


def _atomic_roots(launch: Launch) -> frozenset[Buffer]:
    """What rows update by atomic operations."""
    found: frozenset[Buffer] = frozenset()
    body = launch.body
    for s in reversed(launch.rows):
        nest = dataclasses.replace(s, body=body)
        found |= conflicting(nest)
        body = (nest,)
    return frozenset(t for t in found if t.kind != "shared")
