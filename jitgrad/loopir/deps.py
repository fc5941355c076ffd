"""Dependences: may two accesses of one buffer touch the same element, and in which order.

The tests are intervals of differences of positions, with the limits that symbols have in terms of each other, and
divisibility. What they can't tell counts as "they may".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Remainder, Sym, add, combined, expr, interval, mod, mul
from jitgrad.loopir.build import flatten_index, reshaped_index
from jitgrad.loopir.nodes import Alloc, Buffer, Fail, LibCall, Load, Local, Loop, Stmt, Store, While
from jitgrad.loopir.walk import expressions, lists_of, statements, subexpressions, written

#: ``None`` in an interval is unbounded.
Interval = tuple[int | None, int | None]

#: Modes of stores whose order does not matter.
COMMUTE = ("+=", "*=", "max=", "min=", "or=", "and=")

#: How often a loop runs of which nothing is known.
USUAL_TRIPS = 64.0

#: More accesses than this in one statement are not compared pair by pair.
MANY = 400


def root_index(buffer: Buffer, index: Sequence[Dim]) -> tuple[Dim, ...] | None:
    """An access through an alias as an access of its root; None where that can't be told."""
    root = buffer.root
    return tuple(index) if root is buffer else reshaped_index(root.shape, buffer.shape, index)


def never_equal(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    """Whether two indices of one array, at one moment, are of different elements."""
    return any(_excludes_zero(combined(((x, 1), (y, -1)))) for x, y in zip(a, b, strict=True))


def _excludes_zero(d: Dim) -> bool:
    lo, hi = interval(d)
    if (lo is not None and lo > 0) or (hi is not None and hi < 0):
        return True
    return isinstance(d, IndexExpr) and (_indivisible(d) or _incongruent(d))


def _incongruent(d: IndexExpr) -> bool:
    """Whether an expression with remainders by a number is known not to be a multiple of that number."""
    for divisor in {t.divisor for t, _ in d.terms if isinstance(t, Remainder)}:
        same: Dim = d.constant  # as d, modulo the divisor
        for t, c in d.terms:
            base = t.base if isinstance(t, Remainder) and t.divisor == divisor else expr(t)
            same = add(same, mul(base, c))
        if mod(same, divisor) in range(1, divisor):
            return True
    return False


def _indivisible(d: IndexExpr) -> bool:
    divisor = 0
    for _, c in d.terms:
        divisor = _gcd(divisor, abs(c))
    return divisor > 1 and d.constant % divisor != 0


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


def distance(
    first: Sequence[Dim], second: Sequence[Dim], var: Sym, varies: Callable[[Sym], bool], step: int = 1
) -> Interval | None:
    """How much larger ``var``, which goes in steps of ``step``, may be at the second access than at the first, if both
    are of one element; None if they never are.

    ``varies`` tells of a symbol whether it may have another value at the second access: ``var`` itself, the variables
    of loops inside, and whatever is written meanwhile.
    """
    lo: int | None = None
    hi: int | None = None
    for x, y in zip(first, second, strict=True):
        whole = x, y
        a, x = without(x, var)
        b, y = without(y, var)
        if a is None or b is None or a != b:
            if _excludes_zero(_apart(*whole, lambda v: v is var or varies(v))):
                return None
            continue
        rest = _apart(x, y, varies)
        low, high = interval(rest)
        if a == 0:
            if _excludes_zero(rest):
                return None
            continue
        if isinstance(rest, IndexExpr) and _gcd_excludes(rest, a):
            return None
        if a < 0:
            a, low, high = -a, None if high is None else -high, None if low is None else -low
        low = None if low is None else -(-low // a)
        high = None if high is None else high // a
        low = None if low is None else -(-low // abs(step)) * abs(step)
        high = None if high is None else high // abs(step) * abs(step)
        lo = low if lo is None else lo if low is None else max(lo, low)
        hi = high if hi is None else hi if high is None else min(hi, high)
        if lo is not None and hi is not None and lo > hi:
            return None
    return lo, hi


def _gcd_excludes(rest: IndexExpr, a: int) -> bool:
    divisor = abs(a)
    for _, c in rest.terms:
        divisor = _gcd(divisor, abs(c))
    return divisor > 1 and rest.constant % divisor != 0


def without(e: Dim, var: Sym) -> tuple[int | None, Dim]:
    """``(c, rest)`` with ``e == c*var + rest`` and ``rest`` free of ``var``; c is None where that is not possible."""
    if not isinstance(e, IndexExpr) or var not in e.syms():
        return 0, e
    c = dict(e.terms).get(var, 0)
    rest = combined(((e, 1), (expr(var), -c)))
    if isinstance(rest, IndexExpr) and var in rest.syms():
        return None, rest
    return c, rest


def _apart(x: Dim, y: Dim, varies: Callable[[Sym], bool]) -> Dim:
    """``x - y``, where a symbol that varies stands for two different numbers in ``x`` and in ``y``."""
    if isinstance(y, IndexExpr):
        changing = [v for v in y.syms() if varies(v)]
        terms = dict(y.terms)
        if not all(v in terms for v in changing):
            return expr(Sym("unknown"))
        for v in changing:
            y = add(y, mul(add(expr(_renamed(v, varies)), mul(expr(v), -1)), terms[v]))
    return combined(((x, 1), (y, -1)))


def _renamed(v: Sym, varies: Callable[[Sym], bool]) -> Sym:
    """A symbol like ``v``, whose limits are numbers where what they name varies too."""
    limits = [
        bound if isinstance(limit, IndexExpr) and any(map(varies, limit.syms())) else limit
        for limit, bound in zip(v.limits, v.bounds, strict=True)
    ]
    return Sym(v.name, *limits)


class Access(NamedTuple):
    """One load or store: where it is in a statement (for each statement around it, outermost first, the place in the
    list and the statement), and of what element."""

    path: tuple[tuple[int, Stmt], ...]
    root: Buffer
    index: tuple[Dim, ...] | None  # None: any element
    mode: str | None  # that of a store; None for a load


def offset(buffer: Buffer, index: Sequence[Dim]) -> tuple[Dim, ...]:
    """An access as one of the storage, element by element; for aliases too."""
    return (flatten_index(buffer.shape, index),)


class Touch(NamedTuple):
    """One load or store, as :class:`Access`, with the buffer or view that it goes through and the index there."""

    path: tuple[tuple[int, Stmt], ...]
    buffer: Buffer
    index: tuple[Dim, ...] | None
    mode: str | None

    def access(self, place: Callable[[Buffer, Sequence[Dim]], tuple[Dim, ...] | None]) -> Access:
        """With the index that ``place`` gives."""
        index = None if self.index is None else place(self.buffer, self.index)
        return Access(self.path, self.buffer.root, index, self.mode)


def touches(stmts: Sequence[Stmt], around: tuple[tuple[int, Stmt], ...] = (), first: int = 0) -> Iterator[Touch]:
    """Every access in a list of statements, in order; the loads of a statement before its store. ``first`` is the place
    of the first statement in its list."""
    for k, s in enumerate(stmts, first):
        path = (*around, (k, s))
        for e in subexpressions(expressions(s)):
            if isinstance(e, Load):
                yield Touch(path, e.buffer, e.index, None)
        if isinstance(s, Store):
            yield Touch(path, s.buffer, s.index, s.mode)
        elif isinstance(s, LibCall):
            for t in s.ins:
                yield Touch(path, t, None, None)
            for t in s.outs:
                yield Touch(path, t, None, "=")
        elif isinstance(s, Alloc):
            yield Touch(path, s.buffer, None, "=")
        lists = lists_of(s)
        for n, body in enumerate(lists):
            yield from touches(body, path if len(lists) == 1 else (*path, (n, s)))


def accesses(stmts: Sequence[Stmt], first: int = 0) -> Iterator[Access]:
    """Every access in a list of statements, as one of the root, in the order of :func:`touches`."""
    return (t.access(root_index) for t in touches(stmts, first=first))


def by_root(stmts: Sequence[Stmt]) -> dict[Buffer, list[Access]]:
    """As :func:`accesses`, those of each root together."""
    found: dict[Buffer, list[Access]] = {}
    for a in accesses(stmts):
        found.setdefault(a.root, []).append(a)
    return found


def may_come_later(first: Access, second: Access, changed: Set[object]) -> bool:
    """Whether the second access may happen after the first, and be of the same element; both lie in one statement.

    Of two accesses in one statement that is no loop the store comes last. ``changed`` is what that statement writes:
    roots and locals.
    """
    if first.index is None or second.index is None:
        return True
    inner = _variables(first.path) | _variables(second.path)

    def may_vary(v: Sym) -> bool:
        return varies(v, inner, changed)

    for (i, s), (j, other) in zip(first.path, second.path, strict=False):
        if i != j or s is not other:
            # In different statements of one list, in the same iteration of all loops around both.
            return i < j and not _never(first.index, second.index, may_vary)
        if isinstance(s, While):
            return True
        if isinstance(s, Loop):
            found = distance(first.index, second.index, s.var, may_vary, s.step)
            if found is None:
                return False
            lo, hi = found
            if s.step < 0:
                lo, hi = None if hi is None else -hi, None if lo is None else -lo
            if hi is None or hi > 0:
                return True
            if hi < 0:
                return False
            inner.discard(s.var)
    return first.mode is None and second.mode is not None and not _never(first.index, second.index, may_vary)


def never_at_any_time(a: Sequence[Dim], b: Sequence[Dim], inner: Set[Sym], changed: Set[object]) -> bool:
    """Whether two indices are of different elements, also in different iterations of the loops over ``inner``, which
    write what is ``changed``."""
    return _never(a, b, lambda v: varies(v, inner, changed))


def _never(a: Sequence[Dim], b: Sequence[Dim], varies: Callable[[Sym], bool]) -> bool:
    return any(_excludes_zero(_apart(x, y, varies)) for x, y in zip(a, b, strict=True))


def _variables(path: Sequence[tuple[int, Stmt]]) -> set[Sym]:
    return {s.var for _, s in path if isinstance(s, Loop)}


def carries_nothing(loop: Loop) -> bool:
    """Whether no iteration of an innermost loop touches an element that another one writes, though it may look so:
    two rows of one array, for example, that may or may not be the same. False also where nothing looks so."""
    for s in statements(loop.body):
        if isinstance(s, (Loop, While, LibCall, Alloc, Fail)):
            return False
    found = list(accesses(loop.body))
    stores = [x for x in found if x.mode is not None]
    if len(found) * len(stores) > MANY * MANY:
        return False
    changed, inner = written(loop.body), frozenset((loop.var,))
    doubtful = False
    for x in stores:
        for y in found:
            if x.root is not y.root:
                continue
            if x.index is None or y.index is None:
                return False
            apart = distance(x.index, y.index, loop.var, lambda v: varies(v, inner, changed), loop.step)
            if apart not in (None, (0, 0)):
                return False
            doubtful |= x.index != y.index
    return doubtful


def independent(found: Sequence[Access], var: Sym, may_vary: Callable[[Sym], bool], step: int = 1) -> bool:
    """Whether no two iterations touch one element of an array, unless both only read it."""
    stores = [a for a in found if a.mode is not None]
    if len(found) * len(stores) > MANY * MANY:
        return False
    return all(only_at_once(x, y, var, may_vary, step) for x in stores for y in found)


def only_at_once(x: Access, y: Access, var: Sym, may_vary: Callable[[Sym], bool], step: int = 1) -> bool:
    """Whether two accesses of one array are of one element in the same iteration only, if ever."""
    if x.index is None or y.index is None:
        return False
    if distance(x.index, y.index, var, may_vary, step) in (None, (0, 0)):
        return True
    # Offsets tell more where an array is used in another shape.
    first, second = ((flatten_index(a.root.shape, a.index or ()),) for a in (x, y))
    return distance(first, second, var, may_vary, step) in (None, (0, 0))


def varies(v: Sym, inner: Set[Sym], changed: Set[object]) -> bool:
    """Whether a symbol may have another value in another iteration: one of the ``inner`` variables, or a scalar
    expression that depends on one, or on what is ``changed`` (roots and locals)."""
    if v.payload is None:
        return v in inner
    if v.payload.syms() & inner:
        return True
    parts = subexpressions((v.payload,))
    return any((p.buffer.root if isinstance(p, Load) else p) in changed for p in parts if isinstance(p, (Load, Local)))


def upwards(s: Loop) -> tuple[Dim, Dim]:
    """The range of a loop whose step is 1 or -1, as of one that counts up."""
    return (s.lo, s.hi) if s.step > 0 else (add(s.hi, 1), add(s.lo, 1))


def span(s: Loop) -> Dim:
    """How far the variable of a loop goes."""
    return add(s.hi, mul(s.lo, -1)) if s.step > 0 else add(s.lo, mul(s.hi, -1))


def trips(s: Loop) -> float:
    """About how often a loop runs."""
    lo, hi = interval(span(s))
    if hi is None:
        return USUAL_TRIPS
    usual = hi if lo == hi else hi / 2
    return float(max(-(-usual // abs(s.step)), 0))
