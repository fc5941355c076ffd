"""Systems of affine constraints over integers, and a test for whether one can be met.

It answers what loop analysis asks: may two accesses touch one element, given the limits of the loops? A system is
emptied by substituting equations with a unit coefficient, by the GCD test, and by Fourier-Motzkin elimination with
integer tightening (each inequality is divided by the GCD of its coefficients and its constant rounded down; W. Pugh,
"The Omega test", 1991). The answer "empty" is a proof; "not empty" may be wrong, which is the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, coefficients, expr, mul, substitute

Row = tuple[dict[Hashable, int], int]  # sum(c * x) + constant

#: More inequalities than this are not looked at: the system counts as one that can be met.
_LIMIT = 600
#: Nor are coefficients of more bits. Each variable that is eliminated may double how many they have.
_BITS = 256


class _TooLarge(Exception):
    """A coefficient has too many bits."""


class System:
    """Constraints over the symbols of index expressions, all integers.

    Expressions that are not affine are left out, which makes the system larger, never smaller. The limits of every
    symbol that is named are added.
    """

    def __init__(self) -> None:
        self._equations: list[Row] = []
        self._inequalities: list[Row] = []
        self._known: set[Sym] = set()
        self._false = False

    def copy(self) -> System:
        """An independent copy."""
        new = System()
        new._equations, new._inequalities = list(self._equations), list(self._inequalities)
        new._known, new._false = set(self._known), self._false
        return new

    def equal(self, a: Dim, b: Dim) -> None:
        """``a == b``."""
        row = self._row(add(a, mul(b, -1)))
        if row is not None:
            self._equations.append(row)

    def at_least(self, a: Dim, b: Dim) -> None:
        """``a >= b``."""
        row = self._row(add(a, mul(b, -1)))
        if row is not None:
            self._inequalities.append(row)

    def _row(self, e: Dim) -> Row | None:
        if isinstance(e, IndexExpr):
            for s in e.syms():
                self._limit(s)
        found = coefficients(e)
        return None if found is None else ({**found[1]}, found[0])

    def _limit(self, s: Sym) -> None:
        """Add the limits of a symbol, once."""
        if s in self._known:
            return
        self._known.add(s)
        lo, hi = s.limits
        this = IndexExpr(0, ((s, 1),))
        if lo is not None:
            self.at_least(this, lo)
        if hi is not None:
            self.at_least(hi, this)

    def is_empty(self) -> bool:
        """True if no integers meet all constraints; False where that is not known."""
        try:
            rows = _substitute_equations(self._equations, self._inequalities)
            return rows is None or _eliminate(rows)
        except _TooLarge:
            return False


def _tighten(row: Row) -> Row | None:
    """An inequality with the common factor taken out; None where it always holds."""
    c, k = row
    c = {x: v for x, v in c.items() if v}
    if not c:
        return None if k >= 0 else ({}, -1)
    g = math.gcd(*c.values())
    return ({x: v // g for x, v in c.items()}, k // g) if g > 1 else (c, k)


def _substitute_equations(equations: Iterable[Row], inequalities: Iterable[Row]) -> list[Row] | None:
    """The inequalities that are left when the equations are solved; None if they contradict each other."""
    todo, rows = [(dict(c), k) for c, k in equations], [(dict(c), k) for c, k in inequalities]
    while todo:
        c, k = todo.pop(0)
        c = {x: v for x, v in c.items() if v}
        if not c:
            if k:
                return None
            continue
        g = math.gcd(*c.values())
        if k % g:
            return None
        c, k = {x: v // g for x, v in c.items()}, k // g
        unit = next((x for x, v in c.items() if abs(v) == 1), None)
        if unit is None:
            rows.append((c, k))
            rows.append(({x: -v for x, v in c.items()}, -k))
            continue
        sign = c.pop(unit)  # x = -sign * (rest)
        value = {x: -sign * v for x, v in c.items()}, -sign * k
        todo = [_replaced(row, unit, value) for row in todo]
        rows = [_replaced(row, unit, value) for row in rows]
    return rows


def _replaced(row: Row, x: Hashable, value: Row) -> Row:
    c, k = row
    if not c.get(x):
        return row
    c = dict(c)
    factor = c.pop(x)
    for y, v in value[0].items():
        c[y] = c.get(y, 0) + factor * v
    return _checked((c, k + factor * value[1]))


def _checked(row: Row) -> Row:
    if any(v.bit_length() > _BITS for v in row[0].values()):
        raise _TooLarge
    return row


def _eliminate(rows: list[Row]) -> bool:
    """Fourier-Motzkin; True if the inequalities contradict each other."""
    current: dict[Hashable, Row] = {}
    if _absorb(rows, current):
        return True
    while current:
        counts: dict[Hashable, list[int]] = {}
        for c, _ in current.values():
            for x, v in c.items():
                counts.setdefault(x, [0, 0])[v > 0] += 1
        x = min(counts, key=lambda x: (counts[x][0] * counts[x][1] - sum(counts[x]), str(x)))
        below = [r for r in current.values() if r[0].get(x, 0) > 0]
        above = [r for r in current.values() if r[0].get(x, 0) < 0]
        rest = [r for r in current.values() if not r[0].get(x, 0)]
        new = [_combine(a, b, x) for a in below for b in above]
        if len(rest) + len(new) > _LIMIT:
            return False
        current = {}
        if _absorb([*rest, *new], current):
            return True
    return False


def _absorb(rows: Iterable[Row], into: dict[Hashable, Row]) -> bool:
    """Enter inequalities, the strongest for each left side; True at a contradiction."""
    for row in rows:
        tight = _tighten(row)
        if tight is None:
            continue
        c, k = tight
        if not c:
            return True
        key = frozenset(c.items())
        if key not in into or into[key][1] > k:
            into[key] = tight
    return False


def _combine(a: Row, b: Row, x: Hashable) -> Row:
    """The inequality that follows from one that bounds ``x`` from below and one that bounds it from above."""
    p, q = a[0][x], -b[0][x]
    c: dict[Hashable, int] = {}
    for row, factor in ((a, q), (b, p)):
        for y, v in row[0].items():
            if y != x:
                c[y] = c.get(y, 0) + factor * v
    return _checked((c, q * a[1] + p * b[1]))


def primed(e: Dim, fresh: dict[Sym, Sym], keep: Callable[[Sym], bool]) -> Dim:
    """``e`` with every symbol replaced by one of its own, with limits replaced likewise, but those to ``keep``.

    ``fresh`` remembers the replacements.
    """
    if not isinstance(e, IndexExpr):
        return e
    env = {s: expr(prime(s, fresh, keep)) for s in e.syms() if not keep(s)}
    return substitute(e, env) if env else e


def prime(s: Sym, fresh: dict[Sym, Sym], keep: Callable[[Sym], bool]) -> Sym:
    """The replacement of one symbol."""
    if s not in fresh:
        lo, hi = (None if x is None else primed(x, fresh, keep) for x in s.limits)
        fresh[s] = Sym(s.name + "'", lo, hi)
    return fresh[s]
