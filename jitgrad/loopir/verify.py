"""Checks that a program obeys the rules of Loop IR. Run after every pass when ``config.verify`` is on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from jitgrad.errors import IRError
from jitgrad.ir.index import Dim, Sym, add, bounds, coefficients, expr, interval, mul, without_quotients
from jitgrad.ir.location import Location
from jitgrad.ir.polyhedra import System
from jitgrad.ir.types import bool_, i64
from jitgrad.loopir.build import loop_limits
from jitgrad.loopir.failures import FAILURES
from jitgrad.loopir.nodes import (
    Alloc,
    Assign,
    Block,
    Buffer,
    Comment,
    Expr,
    Fail,
    Fetch,
    If,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    While,
    loop_syms,
    payloads,
)
from jitgrad.loopir.printer import StatementPrinter, roots
from jitgrad.loopir.scalars import SCALARS
from jitgrad.loopir.walk import written_roots

#: How many lines to show before and after the offending statement.
CONTEXT = 4
#: Scalar operations that only decomposed programs have, and how many operands they take.
_DECOMPOSED = {"bitcast": 1}
_MODES = ("=", "+=", "*=", "max=", "min=", "or=", "and=")


def verify(program: Program, stage: str = "") -> None:
    """Raise IRError unless the program is well formed.

    Checked: locals are declared before their use and loop variables used inside their loop; at top level a local is
    visible inside its own statement only; an index has one entry an axis and lies within the extents (see
    :meth:`_Verifier.in_bounds`); stores and assignments keep the dtype; scalar functions exist and take that many
    operands; arguments and constants are never written; every result is written, and nothing is read before some
    statement may have written it. The error shows the statement inside its neighbours; ``stage`` is the name of the
    pass that was just run.
    """
    _Verifier(program, stage).program_()


class _Verifier:
    def __init__(self, program: Program, stage: str) -> None:
        self.program, self.stage = program, stage
        self.locals: set[Local] = set()
        self.loops: dict[Sym, Loop] = {}  # loops around the current statement, outermost first
        self.stored: set[Buffer] = set()
        self.allocated: set[Buffer] = set()
        self.conditions = 0  # how many If and While are around the current statement
        self.current: Stmt | None = None

    # The program

    def program_(self) -> None:
        p = self.program
        for t in p.params:
            if t.kind not in ("arg", "inout") or t.base is not None:
                self.fail(f"the parameter {t!r} is of kind {t.kind!r}, not 'arg'")
            if t.kind == "inout" and t not in p.results:
                self.fail(f"the parameter {t!r} is of kind {t.kind!r}, and no result")
            if t.kind == "inout":
                self.stored.add(t)
        owners = [t.root for t in p.results]
        if len(set(owners)) != len(owners):
            self.fail("two results share one buffer")
        for t in owners:
            if t.kind not in ("out", "inout"):
                self.fail(f"the result {t!r} is of kind {t.kind!r}, not 'out'")
        for s in p.body:
            self.locals.clear()  # every top-level statement is a kernel of its own
            self.statement(s, top=True)
        self.current = None
        for t in p.results:
            if t.size and t.root not in self.stored:
                self.fail(f"the result {t!r} is never written")

    def block(self, stmts: Iterable[Stmt]) -> None:
        visible = set(self.locals)
        for s in stmts:
            self.statement(s)
        self.locals = visible

    def statement(self, s: Stmt, *, top: bool = False) -> None:
        self.current = s
        for e in roots(s):
            self.expression(e)
        if isinstance(s, Loop):
            self.loop(s)
        elif isinstance(s, Block):
            if not top:
                self.fail("a block is not at top level")
            self.block(s.body)
        elif isinstance(s, (If, While)):
            self.conditional(s)
        elif isinstance(s, Store):
            self.store(s)
        elif isinstance(s, Let):
            if s.local in self.locals:
                self.fail(f"{s.local.name} is declared twice")
            self.assignable(s.local.name, s.local.dtype, s.value, "=")
            self.locals.add(s.local)
        elif isinstance(s, Assign):
            if s.local not in self.locals:
                self.fail(f"{s.local.name} is assigned before it is declared")
            self.assignable(s.local.name, s.local.dtype, s.value, s.mode)
        elif isinstance(s, LibCall):
            self.libcall(s)
        elif isinstance(s, Fail):
            if s.error is None and s.code not in FAILURES:
                self.fail(f"the status {s.code} has no meaning")
        elif isinstance(s, Alloc):
            self.alloc(s)
        elif isinstance(s, Fetch):
            for e in s.index:
                self.in_scope(e)
        elif not isinstance(s, Comment):
            self.fail(f"{s!r} is not a statement")

    def loop(self, s: Loop) -> None:
        for e in (s.lo, s.hi):
            self.in_scope(e)
        if s.step == 0:
            self.fail("the step of a loop is 0")
        if s.kind not in ("serial", "parallel"):
            self.fail(f"{s.kind!r} is not a kind of loop")
        if s.var in self.loops:
            self.fail(f"{s.var.name} is the variable of two loops, one in the other")
        if s.var.payload is not None:
            self.fail(f"{s.var.name} is a value, so it can't be a loop variable")
        self.check_variable(s)
        if _never_runs(s):
            return
        self.loops[s.var] = s
        before = set(self.stored)
        self.stored |= written_roots(s.body)  # an earlier iteration may have written what this one reads
        self.block(s.body)
        self.stored = before | written_roots(s.body)
        del self.loops[s.var]

    def check_variable(self, s: Loop) -> None:
        """The bounds of the variable, which simplification relies on, hold for every iteration."""
        if _never_runs(s):
            return
        first, last = loop_limits(s.lo, s.hi, s.step)
        lo, hi = s.var.bounds
        if (lo is not None and self.goes_below(s, first, lo)) or (
            hi is not None and self.goes_below(s, mul(last, -1), -hi)
        ):
            self.fail(f"{s.var.name} is declared to lie in [{lo}, {hi}], and the loop goes further")

    def goes_below(self, s: Loop, end: Dim, limit: int) -> bool:
        """Whether an end of the loop is less than a limit of its variable. The interval of the end comes from the
        limits of other variables; where those depend on each other, it is too wide to tell."""
        least, most = bounds(end)
        if least is None or least >= limit:
            return False
        if most is not None and most < limit:
            return True
        if self.conditions or coefficients(end) is None:
            return False
        return self.may_be_at_least(limit - 1, end, s)

    def conditional(self, s: If | While) -> None:
        if s.cond.dtype != bool_:
            self.fail(f"the condition has dtype {s.cond.dtype}, not bool")
        self.conditions += 1
        if isinstance(s, While):
            self.stored |= written_roots(s.body)
            self.block(s.body)
        else:
            self.block(s.then)
            self.block(s.orelse)
        self.conditions -= 1

    def store(self, s: Store) -> None:
        if len(s.index) != len(s.buffer.shape):
            self.fail(f"{s.buffer!r} has {len(s.buffer.shape)} axes, and the index {len(s.index)} entries")
        for e in s.index:
            self.in_scope(e)
        self.in_bounds(s.buffer, s.index)
        self.assignable(s.buffer.name, s.buffer.dtype, s.value, s.mode)
        self.writable(s.buffer)
        if s.mode != "=":
            self.readable(s.buffer)
        self.stored.add(s.buffer.root)

    def libcall(self, s: LibCall) -> None:
        for t in s.ins:
            self.readable(t)
        for t in s.outs:
            self.writable(t)
            self.stored.add(t.root)

    def alloc(self, s: Alloc) -> None:
        if s.buffer.base is not None or s.buffer.kind != "temp":
            self.fail(f"{s.buffer!r} is no temporary, so it has no storage of its own in the heap")
        for e in s.buffer.shape:
            self.in_scope(e)
        self.allocated.add(s.buffer)

    # Buffers

    def writable(self, t: Buffer) -> None:
        if t.root.kind not in ("out", "temp", "inout"):
            self.fail(f"{t!r} is of kind {t.root.kind!r} and may not be written")
        if t.root.capacity is None and t.root not in self.allocated:
            self.fail(f"{t!r} is written before there is room for it")

    def readable(self, t: Buffer) -> None:
        if t.root.kind in ("arg", "inout") and t.root not in self.program.params:
            self.fail(f"{t!r} is not a parameter of this program")
        if t.root.kind in ("out", "temp") and t.size and t.root not in self.stored:
            self.fail(f"{t!r} is read before it is written")

    def assignable(self, name: str, dtype: object, value: Expr, mode: str) -> None:
        if mode not in _MODES:
            self.fail(f"{mode!r} is not a mode of assignment")
        if value.dtype != dtype:
            self.fail(f"{name} has dtype {dtype}, and its new value {value.dtype}")

    # Expressions

    def expression(self, root: Expr) -> None:
        """Check all subexpressions once, without recursion."""
        seen: set[Expr] = {root}
        stack = [root]
        while stack:
            e = stack.pop()
            self.node(e)
            for c in e.children():
                if c not in seen:
                    seen.add(c)
                    stack.append(c)

    def node(self, e: Expr) -> None:
        if isinstance(e, Local) and e not in self.locals:
            self.fail(f"{e.name} is used before it is declared, or outside its block")
        if isinstance(e, Load):
            self.readable(e.buffer)
            self.in_bounds(e.buffer, e.index)
        for s in e._own_syms():
            if s not in self.loops:
                self.fail(f"the loop variable {s.name} is used outside its loop")
        if isinstance(e, Load):
            for extent in e.buffer.shape:
                self.in_scope(extent)
        for s in e.children() if not isinstance(e, Scalar) else ():
            if s.dtype != i64:
                self.fail(f"{s!r} is used as an index and has dtype {s.dtype}, not int64")
        if isinstance(e, Scalar):
            self.scalar(e)

    def scalar(self, e: Scalar) -> None:
        if e.op not in SCALARS and e.op not in _DECOMPOSED:
            self.fail(f"there is no scalar function named {e.op!r}")
        arity = SCALARS[e.op].arity if e.op in SCALARS else _DECOMPOSED[e.op]
        if len(e.args) != arity:
            self.fail(f"{e.op} takes {arity} operands, not {len(e.args)}")
        values = e.args[1:] if e.op == "where" else e.args
        if e.op == "where" and e.args[0].dtype != bool_:
            self.fail(f"the condition of where has dtype {e.args[0].dtype}, not bool")
        if len({a.dtype for a in values}) > 1:
            self.fail(f"the operands of {e.op} have dtypes {' and '.join(str(a.dtype) for a in values)}")
        if e.op == "where" and e.dtype != values[0].dtype:
            self.fail(f"where selects {values[0].dtype} values and is of dtype {e.dtype}")

    def in_scope(self, e: Dim) -> None:
        for s in loop_syms(e):
            if s not in self.loops:
                self.fail(f"the loop variable {s.name} is used outside its loop")
        for p in payloads(e):
            if p.dtype != i64:
                self.fail(f"{p!r} is used as an index and has dtype {p.dtype}, not int64")

    def in_bounds(self, t: Buffer, index: Sequence[Dim]) -> None:
        """Every entry of the index is within its axis.

        The interval of an index comes from the limits of its symbols. Dynamic parts are trusted to lie in their own
        interval. Under a condition, which may exclude what the interval contains, only an index that is never within
        the axis is refused; so is one whose interval is not known at all.
        """
        for k, (e, extent) in enumerate(zip(index, t.shape, strict=True)):
            lo, hi = interval(e)
            least, most = interval(add(extent, mul(e, -1)))  # at least 1 within the axis
            surely_outside = (most is not None and most < 1) or (hi is not None and hi < 0)
            maybe_outside = (lo is not None and lo < 0) or (least is not None and least < 1)
            # The interval of a product, as in a flat tape of a triangular nest, is too wide to tell.
            rough = self.conditions or not isinstance(extent, int) or coefficients(e) is None
            refused = surely_outside or (maybe_outside and not rough)
            if refused and (self.may_be_at_least(mul(e, -1), 1) or self.may_be_at_least(e, extent)):
                self.fail(f"index {k} of {t!r} is {e}, in [{lo}, {hi}], and the extent is {extent}")

    def may_be_at_least(self, a: Dim, b: Dim, inner: Loop | None = None) -> bool:
        """Whether ``a >= b`` is possible where every loop around runs, and the ``inner`` one: one that is empty for
        some iterations of those around it may only be right for the others."""
        system = System()
        for s in (*self.loops.values(), *(() if inner is None else (inner,))):
            below, above = (s.lo, s.hi) if s.step > 0 else (s.hi, s.lo)
            system.at_least(without_quotients(add(above, mul(below, -1)), 1), 1)
            if s is inner:
                continue  # its variable has the limits that are in question
            # Bounds that were replaced, as by what a buffer in them holds, are narrower than the variable's limits.
            first, last = (0, -1) if s.step > 0 else (1, 0)
            system.at_least(without_quotients(add(expr(s.var), add(mul(below, -1), -first)), 1), 0)
            system.at_least(without_quotients(add(above, add(mul(expr(s.var), -1), last)), 1), 0)
        system.at_least(a, b)
        return not system.is_empty()

    # The error

    def fail(self, why: str) -> NoReturn:
        after = f" after {self.stage}" if self.stage else ""
        raise IRError(
            f"the loop program {self.program.name} is not well formed{after}: {why}. A pass or an op's lower "
            f"made it so. Correct the rule that emits this statement.{self.context()}",
            self.location(),
        )

    def location(self) -> Location | None:
        s = self.current
        targets = (s.buffer,) if isinstance(s, Store) else s.outs if isinstance(s, LibCall) else ()
        return next((t.loc or t.root.loc for t in targets), None)

    def context(self) -> str:
        """The current statement inside its neighbours."""
        if self.current is None:
            return ""
        printer = StatementPrinter(self.program.body)
        place = printer.places[self.current]
        shown = range(max(place.start - CONTEXT, 0), min(place.stop + CONTEXT, len(printer.lines)))
        return "".join(f"\n{'>' if n in place else ' '} {printer.lines[n]}" for n in shown)


def _never_runs(s: Loop) -> bool:
    """Whether the loop provably has no iteration; then nothing in it is checked."""
    lo, hi = (s.lo, s.hi) if s.step > 0 else (s.hi, s.lo)
    low, high = bounds(lo)[0], bounds(hi)[1]
    return low is not None and high is not None and high <= low
