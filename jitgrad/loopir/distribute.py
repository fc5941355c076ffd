"""Distribution: a loop whose iterations call functions between loops of their own runs over strips of iterations,
within which each part of the body has a loop of its own, so that the functions are vectorised.

    for i < n:                              for i in 0 .. n step 64:
        for j < 100:                            for ii < 64:
            z += x[i, j] * w[j]                     for j < 100:
        r = exp(z)                        =>            z += x[i + ii, j] * w[j]
        for j < 100:                                z_strip[ii] = z
            g[j] += r * x[i, j]                 for ii < 64:
                                                    r_strip[ii] = exp(z_strip[ii])
                                                for ii < 64:
                                                    for j < 100:
                                                        g[j] += r_strip[ii] * x[i + ii, j]

What the loops of a strip read stays in the cache from one to the next. That may be done where the iterations may run in
any order. See Allen and Kennedy, Optimizing Compilers for Modern Architectures, 2001: loop distribution, strip mining
and scalar expansion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from jitgrad.ir.index import Dim, Sym, add, expr, floordiv, interval, mul
from jitgrad.loopir.checks import checked_after
from jitgrad.loopir.costs import TRANSCENDENTAL, price
from jitgrad.loopir.deps import span, trips
from jitgrad.loopir.jam import flat
from jitgrad.loopir.lower import with_loops
from jitgrad.loopir.nodes import Assign, Buffer, Expr, Let, Load, Local, Loop, Program, Scalar, Stmt, Store
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.rewrite import rewrite
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, rebuild, statements, subexpressions, written

#: Iterations in a strip, at most and at least.
STRIP, LEAST = 64, 8
#: Bytes that the loops of a strip may read: so many stay in the second cache.
CACHE = 1 << 17
#: The functions, as a part of all operations of an iteration, at least. One at a time they take several times what
#: their price says.
WORTH = 1 / 128


def distribute(program: Program, notes: list[str]) -> Program:
    """Distribute all loops for which that pays."""
    return with_loops(program, _distributed, notes, "loops over strips, with functions between loops vectorised")


def _distributed(s: Stmt) -> list[Stmt] | None:
    """A loop as one over strips and one over the rest; None where it should or may not be."""
    if not isinstance(s, Loop) or s.step != 1 or s.kind == "parallel" or not any(isinstance(x, Loop) for x in s.body):
        return None
    checked = checked_after(s)
    if checked is None or not all(map(flat, checked.loop.body)):
        return None
    s = checked.loop
    count = span(s)
    least = interval(count)[0]
    if least is None or least < 0:
        return None
    body = list(_hoisted(s.body))
    rows = _rows(s)
    if rows < LEAST or trips(s) < 2 * rows or not _pays(body):
        return None
    if shapes_depend(s, s.var) or not any_order(s, nested=True):
        return None
    groups = _groups(body)
    crossing = None if groups is None else _crossing(groups)
    if groups is None or crossing is None or len(groups) < 2:
        return None
    strip = Sym("strip", s.lo, add(s.hi, -rows))
    own = {t: Buffer(f"{t.name}_strip", t.dtype, (rows,)) for t in crossing}
    parts = tuple(_part(s.var, strip, rows, group, own) for group in groups)
    main = Loop(strip, s.lo, add(s.hi, 1 - rows), parts, rows)
    if isinstance(count, int) and count % rows == 0:
        return [*checked.before, main, *checked.after]
    rest = Loop(s.var, add(s.lo, mul(floordiv(count, rows), rows)), s.hi, s.body)
    return [*checked.before, main, rest, *checked.after]


def _part(var: Sym, strip: Sym, rows: int, group: Sequence[Stmt], own: dict[Local, Buffer]) -> Loop:
    """The loop over one part of the body in a strip."""
    k = Sym(var.name, 0, rows - 1)
    mine = [s.local for s in group if isinstance(s, Let)]
    env: dict[Sym, Dim] = {var: add(expr(strip), expr(k))}
    memo: dict[Expr, Expr] = {t: Load(b, (expr(k),)) for t, b in own.items() if t not in mine}
    body = [substituted(x, env, memo) for x in group]
    body += [Store(own[t], (expr(k),), t) for t in mine if t in own]
    return Loop(k, 0, rows, tuple(body))


# Whether it pays


def _heavy(stmts: Sequence[Stmt]) -> int:
    """What the functions in statements that take long cost."""
    found = subexpressions(e for s in stmts for e in expressions(s))
    return sum(price(e.op) for e in found if isinstance(e, Scalar) and price(e.op) >= TRANSCENDENTAL)


def _pays(body: Sequence[Stmt]) -> bool:
    """Whether there are functions outside inner loops, of some weight."""
    work = 0.0
    for s in body:
        if isinstance(s, Loop):
            ops = sum(isinstance(e, (Scalar, Load)) for x in s.body for e in subexpressions(expressions(x)))
            work += trips(s) * ops
    heavy = _heavy([s for s in body if not isinstance(s, Loop)])
    return heavy > 0 and heavy >= WORTH * work


def _rows(loop: Loop) -> int:
    """How many iterations a strip has: a power of 2."""
    found: dict[Buffer, float] = {}
    for s in loop.body:
        if isinstance(s, Loop):
            for e in subexpressions(e for x in s.body for e in expressions(x)):
                if isinstance(e, Load) and {s.var, loop.var} <= e.syms():
                    root = e.buffer.root
                    found[root] = max(found.get(root, 0), trips(s) * root.dtype.itemsize)
    fitting = int(CACHE / max(sum(found.values()), 1))
    return min(STRIP, 1 << max(fitting, 1).bit_length() - 1)


# Parts


def _hoisted(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """The statements with functions that stay the same all through an inner loop computed before it."""
    for s in body:
        if not isinstance(s, Loop):
            yield s
            continue
        memo: dict[Expr, Expr] = {}
        changed = written((s,)) | {s.var}
        for x in s.body:
            for e in expressions(x):
                _find(e, s.var, changed, memo)
        for e, local in list(memo.items()):
            assert isinstance(local, Local)
            yield Let(local, e)

        def visit(e: Expr, memo: dict[Expr, Expr] = memo) -> Expr:
            return rewrite(e, {}, memo)

        yield rebuild(s, visit, lambda x: x) if memo else s


def _find(e: Expr, var: Sym, changed: Set[object], memo: dict[Expr, Expr]) -> None:
    """Put the largest parts of an expression that stay the same and take long into ``memo``."""
    if e in memo or not isinstance(e, Scalar):
        return
    parts = list(subexpressions((e,)))
    if not any(isinstance(x, Scalar) and price(x.op) >= TRANSCENDENTAL for x in parts):
        return
    fixed = var not in e.syms() and not any(
        x in changed if isinstance(x, Local) else isinstance(x, Load) and x.buffer.root in changed for x in parts
    )
    if fixed:
        memo[e] = Local("fixed", e.dtype)
        return
    for x in e.args:
        _find(x, var, changed, memo)


def _groups(body: Sequence[Stmt]) -> list[list[Stmt]] | None:
    """The statements cut into parts: those with functions that take long, and those with loops, in turn. A local is
    declared in the part that updates it."""
    updated = {x.local for x in statements(body) if isinstance(x, Assign)}
    waiting: dict[Local, Let] = {}
    groups: list[list[Stmt]] = [[]]
    kind: type | None = None
    for s in body:
        if isinstance(s, Let) and s.local in updated:
            waiting[s.local] = s
            continue
        mine = Loop if isinstance(s, Loop) else Scalar if _heavy((s,)) else None
        if mine is not None:
            if kind is not None and kind is not mine:
                groups.append([])
            kind = mine
        touched = {e for x in statements((s,)) for e in subexpressions(expressions(x)) if isinstance(e, Local)}
        touched |= {x.local for x in statements((s,)) if isinstance(x, Assign)}
        groups[-1] += [waiting.pop(t) for t in list(waiting) if t in touched]
        groups[-1].append(s)
    return None if waiting else groups


def _crossing(groups: Sequence[Sequence[Stmt]]) -> list[Local] | None:
    """The locals that parts behind their own read; None where one is updated there."""
    home = {s.local: k for k, group in enumerate(groups) for s in group if isinstance(s, Let)}
    found: dict[Local, None] = {}
    for k, group in enumerate(groups):
        for s in statements(group):
            if isinstance(s, Assign) and home.get(s.local, k) != k:
                return None
            for e in subexpressions(expressions(s)):
                if isinstance(e, Local) and home.get(e, k) != k:
                    found[e] = None
    return list(found)
