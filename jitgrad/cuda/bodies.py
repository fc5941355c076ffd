"""What a team of threads does with its row, rendered as statements of a kernel.

In a body that a team of several threads runs, all of them compute what is outside distributed loops, one of them stores
it, and they meet at a barrier wherever one may touch what another one has touched since the last barrier, and one of
them writes: in another statement, or in the next iteration of a loop around (``teams.may_meet``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jitgrad.codegen.python import Renderer
from jitgrad.cuda.grid import Plans
from jitgrad.cuda.spelling import (
    CudaSpelling,
    affine_scan_functions,
    carrier,
    conversion,
    scan_functions,
    team_function,
)
from jitgrad.cuda.steps import Launch
from jitgrad.cuda.teams import (
    WARP,
    Touch,
    conflicting,
    may_meet,
    scanned,
    shared_out,
    static_trips,
    touches,
)
from jitgrad.ir.index import Dim, IndexExpr, Sym
from jitgrad.ir.types import bool_, f32, is_short
from jitgrad.loopir.affine import scaled
from jitgrad.loopir.build import IDENTITIES, flatten_index
from jitgrad.loopir.nodes import (
    UPDATES,
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
    scalar,
)
from jitgrad.loopir.printer import COMPARE, PRODUCT, Text, index_text
from jitgrad.loopir.scans import OPERATIONS, Carried, Scan, sums_beside
from jitgrad.loopir.schedule import loop_sums
from jitgrad.loopir.walk import statements, written

_I32 = np.dtype(np.int32)
_UPDATES = {"+=": "add", "*=": "mul", "max=": "max", "min=": "min"}


class _Frame:
    """A loop that is being rendered: what its body touches before the first barrier in it."""

    def __init__(self) -> None:
        self.entry: list[Touch] = []
        self.met = False


class BodyRenderer(Renderer):
    """Renders the body of a launch. A failure sets word ``slot`` of the status to the number of one of ``failures``."""

    def __init__(self, plans: Plans, launch: Launch, failures: tuple[Fail, ...], slot: int | None) -> None:
        super().__init__(plans.program, CudaSpelling())
        self.launch, self.failures, self.slot = launch, failures, slot
        self.helpers: dict[str, str] = {}
        self.distributing: Loop | None = None
        self.known = plans.distributed  # see ``shared_out``
        self.pending: list[Touch] = []
        self.frames: list[_Frame] = []
        self.closed: frozenset[Sym] = frozenset()
        self.failed = ""  # the flag of a thread in the loop that is shared out
        self.changed = written(launch.body)
        self.atomic = self.updating = _atomic_roots(launch)

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
            scan = scanned(s)
            if scan is None:
                self.distributed(s, updating)
            else:
                self.scan(s, scan, updating)
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
        whole = self.begin_sums(sums)
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
        self.end_sums(sums, whole)
        self.versions.touch(changed)

    def scan(self, s: Loop, scan: Scan, updating: frozenset[Buffer]) -> None:
        """A loop that carries sums: as many iterations at once as the team has threads. Each thread computes what its
        iteration adds, is told what those before it have added, and runs the rest of the iteration."""
        sums = sums_beside(scan)
        whole = self.begin_sums(sums)
        lo, hi = self.dim(s.lo), self.dim(s.hi)
        first, name = (self.names.first("ijklmnpqr", "loop") for _ in range(2))
        self.variables[s.var] = name
        changed = written(s.body) | {x for c in scan.carried for x in c.parts}
        self.versions.touch(changed)
        self.line(f"for {first} in range({lo.text}, {hi.text}, {self.launch.team * s.step}):")
        self.depth += 1
        self.line(f"{name} = {first} + {'' if s.step == 1 else f'{s.step} * '}lane")
        n = static_trips(s)
        inside = (
            "" if n is not None and n % self.launch.team == 0 else f"if {name} {'<' if s.step > 0 else '>'} {hi.text}:"
        )
        for c in scan.carried:
            self.locals[c.part] = self.names.fresh(f"{self.locals[c.local]}_part", c.part.dtype)
            self.line(f"{self.locals[c.part]} = {self.zero(c.mode, c.part.dtype)}")
            if c.factor is not None:
                self.locals[c.factor] = self.names.fresh(f"{self.locals[c.local]}_factor", c.factor.dtype)
                self.line(f"{self.locals[c.factor]} = {self.zero('*=', c.factor.dtype)}")
        self.distributing, self.updating = s, updating
        self.where(inside, scan.first)
        carried = [(c, self.locals[c.local], self.so_far(c)) for c in scan.carried]
        self.where(inside, scan.rest)
        self.distributing, self.updating = None, self.atomic
        for c, all_threads, total in carried:
            self.locals[c.local] = all_threads
            self.update(all_threads, c.local.dtype, "=" if c.factor is not None else c.mode, total)
        self.depth -= 1
        self.names.release((first, name))
        self.end_sums(sums, whole)
        self.versions.touch(changed)

    def so_far(self, c: Carried) -> Expr:
        """Give a local the value that it has for a thread, before its iteration; returns what all threads add to it,
        or where it is multiplied too, what it is after that."""
        dtype, function_of = c.local.dtype, scan_functions if c.factor is None else affine_scan_functions
        before, total = ([Local(name, dtype) for _ in c.parts] for name in ("before", "total"))
        for local in (*before, *total):
            self.locals[local] = self.names.fresh(local.name, dtype)
        function, sources = function_of(c.mode, dtype, self.launch.team)
        self.helpers |= sources
        names = ", ".join(self.locals[x] for x in (*before, *total))
        self.line(f"{names} = {function}({', '.join(self.locals[x] for x in c.parts)})")

        def combined(parts: Sequence[Local]) -> Expr:
            if c.factor is None:
                return scalar(OPERATIONS[c.mode], c.local, parts[0])
            return scaled(parts[0], c.local) + parts[1]

        value = self.expr(combined(before)).text
        self.locals[c.local] = self.names.fresh(f"{self.locals[c.local]}_own", dtype)
        self.line(f"{self.locals[c.local]} = {value}")
        return total[0] if c.factor is None else combined(total)

    def where(self, condition: str, stmts: Sequence[Stmt]) -> None:
        """Statements under a condition, if there is one."""
        if condition:
            self.line(condition)
            self.nested(stmts)
        else:
            self.block(stmts)

    def zero(self, mode: str, dtype: np.dtype) -> str:
        return self.spelling.literal(Const(IDENTITIES[mode](dtype), dtype)).text

    def begin_sums(self, sums: Sequence[tuple[Local, str]]) -> dict[Local, str]:
        """Names of the locals that a loop adds up, which from now on have those of what a thread adds."""
        whole = {local: self.locals[local] for local, _ in sums}
        for local, mode in sums:
            self.locals[local] = self.names.fresh(f"{whole[local]}_part", local.dtype)
            self.line(f"{self.locals[local]} = {self.zero(mode, local.dtype)}")
        return whole

    def end_sums(self, sums: Sequence[tuple[Local, str]], whole: Mapping[Local, str]) -> None:
        """What all threads have added up is added to the locals of the team."""
        for local, mode in sums:
            part = self.locals[local]
            self.locals[local] = whole[local]
            total = Local("total", local.dtype)
            self.locals[total] = self.over_team(part, local.dtype, mode)
            self.update(whole[local], local.dtype, mode, total)
            self.names.release((part,))

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
        if own == dtype:
            return f"{name}({part})"
        return conversion(own, dtype).format(f"{name}({conversion(dtype, own).format(part)})")

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
        if is_short(dtype) and mode != "=":  # kernels have no arithmetic on float16 and bfloat16
            old, wide = Local("old", f32), conversion(dtype, f32)
            combined = scalar(UPDATES[mode], old, old, dtype=f32)
            both = (Text(wide.format(target)), Text(wide.format(self.expr(value).text)))
            self.line(f"{target} = {conversion(f32, dtype).format(self.spelling.scalar(combined, both).text)}")
            return
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


def _atomic_roots(launch: Launch) -> frozenset[Buffer]:
    """What rows update by atomic operations."""
    found: frozenset[Buffer] = frozenset()
    body = launch.body
    for s in reversed(launch.rows):
        nest = dataclasses.replace(s, body=body)
        found |= conflicting(nest)
        body = (nest,)
    return frozenset(t for t in found if t.kind != "shared")
