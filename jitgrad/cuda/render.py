"""Launches rendered as Python source for ``numba-cuda``, one function a kernel.

A kernel takes flat pointers, one a buffer and dtype; extents are numbers in the text. Its threads first find their row,
and then run its body (``bodies``).

A failure sets a number in ``status`` and ends the row. Kernels that come later see that and do nothing: an index that
was checked once need not be checked again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jitgrad.codegen.python_expr import count_uses
from jitgrad.cuda.bodies import BodyRenderer
from jitgrad.cuda.grid import Plans
from jitgrad.cuda.spelling import FUNCTIONS, called, in_memory
from jitgrad.cuda.steps import TEAM, Launch, Repeat, Step
from jitgrad.cuda.teams import (
    static_trips,
)
from jitgrad.cuda.vectors import is_wide, wide_loads
from jitgrad.ir.index import Dim, Sym, add, expr
from jitgrad.ir.types import SHORT_NAMES, i64
from jitgrad.loopir.nodes import Block, Buffer, Fail, Loop, Stmt, Store, loop_syms
from jitgrad.loopir.rewrite import rewrite, substitute_index
from jitgrad.loopir.walk import buffers_of, expressions, loads, statements

_I32 = np.dtype(np.int32)

#: What rendered names must not hide.
_TAKEN = (
    *("cuda", "libdevice", "inf", "nan", "device", "lane", "row", "warp", "uint8", "uint16", "bool_", "grid_sync"),
    *("atomic_add", "atomic_max", "atomic_min", "atomic_mul", "load2", "load4", "store2", "store4"),
    *(dtype.name for dtype in SHORT_NAMES),
    *FUNCTIONS,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """A rendered launch. Its parameters are pointers to ``pointers`` (a root and the dtype that it is read as, a bool
    being a byte and bfloat16 its bits), then, if ``status`` is a number, the status words, of which it sets that one on
    failure (-1: it only reads them), then the values of ``variables``, int64."""

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
        pointers = [in_memory(dtype) for _, dtype in self.pointers]
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


class _KernelRenderer(BodyRenderer):
    def __init__(
        self,
        plans: Plans,
        launch: Launch,
        around: tuple[Sym, ...],
        failures: tuple[Fail, ...],
        slot: int | None,
        slots: int,
    ) -> None:
        super().__init__(plans, launch, failures, slot)
        self.slots = slots
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
            self.line(f"{self.buffers[t]} = cuda.shared.array({t.capacity}, {in_memory(t.dtype).name})")
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
