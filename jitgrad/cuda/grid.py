"""From a fused loop program to launches of kernels.

Every statement of the program becomes one or more :class:`Launch`. Loops whose iterations are independent are its
*rows*: each team of threads runs the body for one of them. In the body the threads of a team share out the loops that
allow it (``teams``). A loop over rows that also sums something up for all of them is cut into chunks with sums of their
own, as on the CPU; a second launch adds those up. A loop that carries sums is cut likewise, with the sums of the chunks
before each as a launch in between. What has too little work for many teams runs in one team, and neighbours of that
kind in one launch.

At last rows are put into tiles or groups where that makes threads read memory in order (``tiles``, ``groups``), and
temporaries of one team into shared memory (``shared``).

Loops whose iterations need each other, but have enough work in them, become a :class:`Repeat`: a sequence of launches.

The mapping depends on the program only, so results do not depend on the device.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from jitgrad.cuda import fourier
from jitgrad.cuda.groups import LEAST_GROUPS, grouped, wants_groups
from jitgrad.cuda.joins import joined
from jitgrad.cuda.shared import with_shared
from jitgrad.cuda.sorting import SORTS
from jitgrad.cuda.steps import Launch, Repeat, Step, mapped, row_count
from jitgrad.cuda.teams import (
    MOST_THREADS,
    WARP,
    atomics,
    distributable,
    scanned,
    shares_nothing,
    static_trips,
    streams,
    streams_inside,
    summable,
    widest,
)
from jitgrad.cuda.tiles import tiled
from jitgrad.cuda.vectors import width
from jitgrad.errors import CompilationError, JitgradWarning, describe_location
from jitgrad.ir.index import Dim, IndexExpr, Sym, interval, mul
from jitgrad.loopir.build import IDENTITIES
from jitgrad.loopir.deps import span, trips
from jitgrad.loopir.fission import parts_of
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    IN_ORDER,
    Alloc,
    Assign,
    Block,
    Buffer,
    Comment,
    Const,
    Expr,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    payloads,
)
from jitgrad.loopir.private import uses_of
from jitgrad.loopir.scalars import SCALARS
from jitgrad.loopir.scans import carried_in_locals, in_chunks, sums_beside
from jitgrad.loopir.schedule import Plan, chunked, loop_sums, needs, own_sums, work
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, loads, statements, subexpressions, with_lists

#: Work (as in ``schedule``: operations on bytes) of a nest that pays for a launch with more than one team.
LEAST = 1 << 16
#: Most chunks of a loop with sums: of teams of many threads, and of single threads.
CHUNKS, THREAD_CHUNKS = 1024, 1 << 15
#: Chunks that there are at least, if there are as many iterations, where teams share out what is in those.
BLOCKS = 128
#: Iterations of a chunk of a scan: each is run twice, by more blocks.
SCANNED = 1 << 10
#: Bytes that the chunks of one loop may have for themselves.
PRIVATE_BYTES = 1 << 26
#: Arrays that chunks add up for themselves have at most this many elements; larger ones are updated atomically.
TOTALS = 1 << 14
#: Threads of a block whose teams are single threads.
BLOCK = 256
#: Rows that are enough for teams of single threads.
MANY_ROWS = 1 << 14
#: Work of a row that one thread may do where there are fewer.
SHORT_ROW = 1 << 12
#: Most iterations of a loop that is a sequence of launches.
REPEATS = 1 << 12
#: Library calls that only the host can do.
ON_HOST = {
    "heevd": "Eigenvalues of a complex matrix have",
    "getrf_complex": "A determinant of a complex matrix has",
    "geev": "Eigenvalues of a general matrix have",
    "gbsv": "A solve with a banded matrix has",
    **dict.fromkeys(IN_ORDER - {"show"}, "Drawing random numbers has"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Plans:
    """A program as steps. ``distributed`` has what is known of loops that teams share out or not."""

    program: Program
    steps: tuple[Step, ...]
    distributed: dict[Loop, bool]


def _without_prints(program: Program) -> Program:
    """The program without texts to be written, which only the host can do. Warns where there are some."""
    calls = [s for s in statements(program.body) if isinstance(s, LibCall) and s.fn == "show"]
    if not calls:
        return program
    text = "print, warnings and loggers do nothing on a GPU. Return what is to be shown, or leave out target='cuda'."
    warnings.warn(text + describe_location(calls[0].loc), JitgradWarning, stacklevel=2)

    def kept(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(with_lists(s, kept) for s in body if s not in calls)

    return with_body(program, kept(program.body))


class NotOnDevice(CompilationError):
    """A program has a statement that no kernel can run."""


def plan(program: Program, least: int = LEAST) -> Plans:
    """The steps of a program. ``least`` is the work that makes a nest a launch of its own.

    Raises NotOnDevice for arrays whose size is known only when the program runs, and for what only the host computes.
    """
    program = _without_prints(program)
    for s in statements(program.body):
        for e in subexpressions(expressions(s)):
            if isinstance(e, Scalar) and e.op in SCALARS and SCALARS[e.op].scipy is not None:
                raise NotOnDevice(f"scipy.special.{e.op} has no form for a GPU.")
        if isinstance(s, LibCall) and s.fn in ON_HOST:
            raise NotOnDevice(f"{ON_HOST[s.fn]} no form for a GPU.", s.loc)
        if isinstance(s, LibCall) and s.fn in SORTS and dict(s.static)["n"] is None:
            raise NotOnDevice("A sort of as many elements as only the run tells has no form for a GPU.", s.loc)
        if isinstance(s, LibCall) and s.fn == "fourier" and s.outs[0].dtype.name not in fourier.DTYPES:
            raise NotOnDevice(f"A Fourier transform of {s.outs[0].dtype} has no form for a GPU.", s.loc)
        if isinstance(s, Alloc):
            raise NotOnDevice(
                f"{s.buffer.name} is an array whose size depends on values. Kernels can't allocate memory.",
                s.buffer.loc,
            )
    planner = _Planner(program, least)
    known = planner.distributed
    steps = mapped(planner.list(program.body, {}), lambda s: grouped(tiled(s, known), known, least=planner.groups))
    return Plans(program, with_shared(steps), known)


class _Part(NamedTuple):
    """The rows and the body of a kernel that is being made."""

    rows: tuple[Loop, ...]
    body: list[Stmt]


class _Planner:
    def __init__(self, program: Program, least: int) -> None:
        self.least, self.groups = least, LEAST_GROUPS if least else 1
        self.uses = uses_of(program.body)
        self.names: dict[str, int] = {}
        self.distributed: dict[Loop, bool] = {}

    def list(self, body: Sequence[Stmt], outside: dict[Local, Buffer]) -> list[Step]:
        """The steps of some statements. ``outside`` are the locals declared around them, with where they are kept."""
        steps: list[Step] = []
        pending: list[Stmt] = []

        def flush() -> None:
            if pending:
                steps.extend(self.kernels(tuple(pending), outside))
                pending.clear()

        for s in body:
            if isinstance(s, LibCall):
                flush()
                steps.append(s)
            elif _calls(s):
                flush()
                steps += self.around_calls(s, outside)
            elif isinstance(s, Block):
                flush()
                steps += self.kernels(s.body, outside)
            elif not isinstance(s, Comment):
                pending.append(s)
        flush()
        return joined(steps)

    def around_calls(self, s: Stmt, outside: dict[Local, Buffer]) -> list[Step]:
        """The steps of a statement with library calls in it."""
        if isinstance(s, Block):
            return self.list(s.body, self.kept(s.body, outside))
        n = static_trips(s) if isinstance(s, Loop) else None
        if not isinstance(s, Loop) or n is None:
            call = next(x for x in statements((s,)) if isinstance(x, LibCall))
            raise NotOnDevice(
                f"{call.fn} is called in a loop or branch that depends on values. The host would have to wait for the "
                "device to know which kernels to launch.",
                call.loc,
            )
        return [Repeat(s, tuple(self.list(s.body, self.kept(s.body, outside))))] if n else []

    def kept(self, body: Sequence[Stmt], outside: dict[Local, Buffer]) -> dict[Local, Buffer]:
        """A place in memory for every local that some statements declare themselves."""
        own = {s.local: Buffer(s.local.name, s.local.dtype, ()) for s in body if isinstance(s, Let)}
        return {**own, **outside}

    # Kernels

    def kernels(self, body: tuple[Stmt, ...], outside: dict[Local, Buffer]) -> list[Step]:
        """The steps of statements without library calls, with the locals that they share."""
        around = frozenset(outside)  # other lists of statements use these
        body = tuple(x for s in body for x in _as_scan(s))
        outside = self.kept(body, outside)
        parts: list[_Part | Repeat] = []
        held: list[Let] = []  # first values of locals wait for the kernel that uses them

        def narrow(stmts: list[Stmt]) -> None:
            """One team runs this, together with what is before."""
            if stmts and parts and isinstance(parts[-1], _Part) and not parts[-1].rows:
                parts[-1].body.extend(stmts)
            elif stmts:
                parts.append(_Part((), stmts))

        def used(by: Sequence[Stmt] | None) -> list[Stmt]:
            """What is held and used by some statements, or all of it; it is held no longer."""
            mentioned = None if by is None else set(_locals(by))
            found = [x for x in held if mentioned is None or x.local in mentioned]
            held[:] = [x for x in held if x not in found]
            return [*found]

        queue: list[Stmt | _Part] = list(body)
        while queue:
            s = queue.pop(0)
            if isinstance(s, _Part):
                parts.append(s)
                continue
            if isinstance(s, Let) and isinstance(s.value, Const):
                held.append(s)
                continue
            found = self.wide(s, outside) if isinstance(s, Loop) else None
            if found is None:
                narrow([*used([s]), s])
                continue
            first, rest = found
            narrow(used(None if isinstance(first, Repeat) else first.body))
            parts.append(first)
            queue[:0] = rest
        narrow([x for x in held if x.local in around])
        steps: list[Step] = []
        for k, part in enumerate(parts):
            if isinstance(part, Repeat):
                steps.append(part)
                continue
            later = parts[k + 1 :]
            if any(isinstance(x, Repeat) for x in parts):
                needed = frozenset(outside)
            else:
                needed = around.union(*(_locals((*x.rows, *x.body)) for x in later if isinstance(x, _Part)))
            steps.append(self.launch(part.rows, self.with_locals(part.body, outside, needed)))
        return steps

    def with_locals(
        self, stmts: list[Stmt], outside: dict[Local, Buffer], needed: frozenset[Local]
    ) -> tuple[Stmt, ...]:
        """The statements of one kernel, with the locals of others loaded before and those that others need stored."""
        own = _own(stmts)
        used = [local for local in _locals(stmts) if local in outside]
        before = [Let(local, Load(outside[local], ())) for local in used if local not in own]
        changed = {x.local for x in statements(stmts) if isinstance(x, (Let, Assign))}
        after = [Store(outside[local], (), local) for local in used if local in changed and local in needed]
        return (*before, *stmts, *after)

    def wide(self, s: Loop, outside: dict[Local, Buffer]) -> tuple[_Part | Repeat, list[Stmt | _Part]] | None:
        """What a loop becomes if more than one team runs it, and the statements to run after it."""
        total = mul(static_trips(s) or int(trips(s)), _at_most(work(s.body)))
        if isinstance(total, int) and total < self.least:
            return None
        sums = loop_sums(s)
        plain = not isinstance(sums, str) and not sums
        rows, body = self.rows(s, atomic=False) if plain else ((), ())
        if rows and not (self.few(rows, body) and self.cut(s)):
            return _Part(rows, list(body)), []
        cut = self.cut(s)
        if cut is not None:
            return cut[0], [*cut[1]]
        scan = self.scan(s)
        if scan is not None:
            return scan
        rows, body = self.rows(s, atomic=True) if plain else ((), ())
        if rows:
            return _Part(rows, list(body)), []
        again = self.repeated(s, outside, total)
        return None if again is None else (again, [])

    def few(self, rows: tuple[Loop, ...], body: tuple[Stmt, ...]) -> bool:
        """Whether a kernel has too few rows for single threads, and teams would not read memory in order."""
        if row_count(rows) >= MANY_ROWS or widest(body, self.distributed) <= 4 * CHUNKS:
            return False  # never so for the sums of chunks
        return streams(body, rows[-1].var) > streams_inside(body, self.distributed)

    def rows(self, s: Loop, *, atomic: bool) -> tuple[tuple[Loop, ...], tuple[Stmt, ...]]:
        """The loops of a perfect nest whose iterations are independent, and what is left when they are outermost."""
        chain = [s]
        while len(chain[-1].body) == 1 and isinstance(chain[-1].body[0], Loop):
            chain.append(chain[-1].body[0])
        chosen: list[Loop] = []
        for x in chain:
            if static_trips(x) is not None and _independent(s, x, [c.var for c in chosen], atomic):
                chosen.append(x)
        return tuple(chosen), _in_register(chain[-1].body, [x for x in chain if x not in chosen])

    def turned(self, s: Stmt) -> Stmt:
        """A nest with its independent loops outside, and what the others add up in a register."""
        if not isinstance(s, Loop):
            return s
        rows, body = self.rows(s, atomic=False)
        if len(rows) == 1 and rows[0] is not s:
            return dataclasses.replace(rows[0], body=body)
        return s

    def cut(self, s: Loop) -> tuple[_Part, list[Stmt]] | None:
        """A loop in chunks with sums and arrays of their own."""
        n, found = static_trips(s), needs(s, self.uses)
        if n is None or s.step < -1 or isinstance(found, str):
            return None
        large = {t for t, _ in found.totals if (t.capacity or 0) > TOTALS}
        if not large <= atomics(s.body):
            return None
        found = found._replace(totals=tuple(x for x in found.totals if x[0] not in large))
        if found == Plan():
            return None
        summed = sum(t.nbytes for t, _ in found.totals)
        shared = widest(s.body, self.distributed) > 0
        if found.sums and not found.totals and not found.private and not shared:
            each = 1 << 10  # iterations that keep a block busy
            chunks = min(CHUNKS, -(-n // each)) if self.least else min(3, n)
        else:
            chunks = min(n, CHUNKS if shared else THREAD_CHUNKS)
        own = summed + sum(t.nbytes for t in found.private)
        # Several iterations each, so that there is less to add up after them than they compute, and the sums of chunks
        # are not cut for ever: nothing in those is shared out. A few blocks are worth more than that.
        most = n // 4 if self.least else n // 2
        chunks = min(chunks, max(most, min(n, BLOCKS)) if shared else most)
        if not found.totals and n <= THREAD_CHUNKS and wants_groups(s, n, self.groups):
            chunks = n  # a row each: groups of them read memory in order
        if own:
            chunks = min(chunks, PRIVATE_BYTES // own)
        if chunks < 2:
            return None
        first, *after = chunked(s, found._replace(chunks=chunks), 0)
        assert isinstance(first, Loop)
        return _Part((first,), [y for x in first.body for y in _once(x) for y in _once(self.turned(y))]), after

    def scan(self, s: Loop) -> tuple[_Part, list[Stmt | _Part]] | None:
        """A loop that carries sums, in chunks that start with the sums of those before."""
        n, scan = static_trips(s), scanned(s)
        if n is None or scan is None:
            return None
        chunks = min(CHUNKS, n // SCANNED) if self.least else min(3, n // 2)
        if chunks < 2:
            return None
        totals, starts, run = in_chunks(s, scan, chunks)
        last, *after = own_sums(run, sums_beside(scan))
        assert isinstance(last, Loop)
        return _Part((totals,), [*totals.body]), [starts, _Part((last,), [*last.body]), *after]

    def repeated(self, s: Loop, outside: dict[Local, Buffer], total: Dim) -> Repeat | None:
        """A loop as a sequence of launches, where an iteration is worth at least one."""
        n = static_trips(s)
        if n is None or n > REPEATS or not isinstance(total, int) or total < 8 * self.least * n:
            return None
        steps = tuple(self.list(s.body, outside))
        return Repeat(s, steps) if any(isinstance(x, Launch) and x.rows for x in steps) else None

    def launch(self, rows: tuple[Loop, ...], body: tuple[Stmt, ...]) -> Launch:
        """A kernel with the threads that fit it."""
        body = _with_scans(body)
        team, block = self.threads(rows, body)
        lanes = width(rows, body) if team == 1 and (row_count(rows) >= MANY_ROWS or not self.least) else 1
        return Launch(self.name(body), rows, body, team, block, lanes)

    def threads(self, rows: tuple[Loop, ...], body: tuple[Stmt, ...]) -> tuple[int, int]:
        """Threads of a team and of a block."""
        width = widest(body, self.distributed)
        count = row_count(rows)
        if width < 2:
            return 1, (BLOCK if rows else 1)
        short = width <= 2 * WARP <= count and _at_most(work(body)) <= SHORT_ROW
        if rows and (count >= MANY_ROWS or short):
            across, along = streams(body, rows[-1].var), streams_inside(body, self.distributed)
            if across > along or (across == along and count >= MANY_ROWS):
                return 1, BLOCK
        if width <= 8 * WARP:
            return WARP, (4 * WARP if count > 1 else WARP)
        team = 4 * WARP
        while team < MOST_THREADS and team * 16 < width:
            team *= 2
        return team, team

    def name(self, body: Sequence[Stmt]) -> str:
        """A kernel's name, after what it writes."""
        targets = [x.buffer.root for x in statements(body) if isinstance(x, Store)]
        outs = [t for t in targets if t.kind in ("out", "inout")] or targets
        stem = outs[-1].name if outs else "check"
        self.names[stem] = self.names.get(stem, 0) + 1
        return f"{stem}_kernel" if self.names[stem] == 1 else f"{stem}_kernel{self.names[stem]}"


def _as_scan(s: Stmt) -> Sequence[Stmt]:
    """A statement; of a loop that carries sums in memory, the loop with those in locals, and what declares them. Where
    only a part of its statements does, or each a sum of its own, several loops."""
    if not isinstance(s, Loop):
        return (s,)
    new = _in_locals(s)
    if new is not None:
        return new
    parts = [] if distributable(s) else parts_of(s)
    scans = [_in_locals(part) for part in parts]
    if len(parts) < 2 or not any(scans):
        return (s,)
    return [x for part, scan in zip(parts, scans, strict=True) for x in scan or (part,)]


def _in_locals(s: Loop) -> list[Stmt] | None:
    """A loop that carries sums in memory with those in locals, if it is a scan then."""
    new = carried_in_locals(s)
    last = new[-1]
    return new if len(new) > 1 and isinstance(last, Loop) and scanned(last) is not None else None


def _with_scans(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    """Statements with all loops in them as in :func:`_as_scan`."""
    return tuple(y for x in body for y in _as_scan(with_lists(x, _with_scans)))


def _once(s: Stmt) -> Sequence[Stmt]:
    """A statement; of a loop that runs once, its body."""
    if not isinstance(s, Loop) or span(s) != 1 or s.step < 1 or shapes_depend(s, s.var):
        return (s,)
    memo: dict[Expr, Expr] = {}
    return [substituted(x, {s.var: s.lo}, memo) for x in s.body]


def _calls(s: Stmt) -> bool:
    return any(isinstance(x, LibCall) for x in statements((s,)))


def _own(body: Sequence[Stmt]) -> frozenset[Local]:
    """The locals that some statements declare themselves."""
    return frozenset(s.local for s in body if isinstance(s, Let))


def _locals(body: Sequence[Stmt]) -> list[Local]:
    """The locals that some statements mention, each once."""
    found: dict[Local, None] = {}
    for s in statements(body):
        if isinstance(s, (Let, Assign)):
            found.setdefault(s.local)
        found.update((e, None) for e in subexpressions(expressions(s)) if isinstance(e, Local))
    return list(found)


def _in_register(body: tuple[Stmt, ...], loops: Sequence[Loop]) -> tuple[Stmt, ...]:
    """Loops around a body; if all that they do is to update one element, its updates are added up in a local."""
    s = body[0]
    before: tuple[Stmt, ...] = ()
    after: tuple[Stmt, ...] = ()
    variables = {x.var for x in loops}
    if loops and len(body) == 1 and isinstance(s, Store) and s.mode in IDENTITIES and summable(s.buffer.dtype):
        moves = any(variables & _syms(k) for k in s.index)
        if not moves and all(e.buffer.root is not s.buffer.root for e in loads((s,))):
            local = Local("acc", s.buffer.dtype)
            before = (Let(local, Const(IDENTITIES[s.mode](local.dtype), local.dtype)),)
            after = (dataclasses.replace(s, value=local),)
            body = (Assign(local, s.value, s.mode),)
    for x in reversed(loops):
        body = (dataclasses.replace(x, body=body),)
    return (*before, *body, *after)


def _syms(k: Dim) -> frozenset[Sym]:
    """The variables of loops that an index depends on, through dynamic parts too."""
    if not isinstance(k, IndexExpr):
        return frozenset()
    own = frozenset(v for v in k.syms() if v.payload is None)
    return own.union(*(e.syms() for e in payloads(k)))


def _independent(nest: Loop, x: Loop, fixed: Sequence[Sym], atomic: bool) -> bool:
    """Whether iterations of one loop of a nest are independent of each other, whatever those of the others are, but
    for the fixed ones."""
    # Of the nest as if that loop were the outermost one: its variable is compared, all others vary.
    outermost = dataclasses.replace(nest, var=x.var, lo=x.lo, hi=x.hi, step=x.step, body=(nest,))
    return shares_nothing(outermost, fixed, atomic=atomic)


def _at_most(e: Dim) -> int:
    """The greatest value of the work of an iteration."""
    if isinstance(e, IndexExpr):
        hi = interval(e)[1]
        return 1 << 20 if hi is None else hi
    return e
