"""Lowering of linear algebra on small matrices: LU and Cholesky factors and solutions as straight lines of code.

A call of LAPACK takes longer than the arithmetic of a small matrix. Here every entry is a local, and rows change places
by compare and select, so that a loop over a stack computes several matrices at once, each in a lane.

Pivoting is partial: of the entries below and on the diagonal the first of the largest comes there. Rows are exchanged
pair by pair on the way, so the others may be left in another order than LAPACK leaves them in. A zero pivot is no error
in the factors, and neither is a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from jitgrad.ir.types import bool_

Rows = list[list[Any]]

#: The largest orders that are written out: of one matrix, and in a stack of at least so many. Measured, ns for a solve
#: in a loop by LAPACK and so: order 3 135 and 45, 6 274 and 145; in a stack: 3 119 and 5, 6 258 and 33, 8 381 and 107.
#: LLVM takes 0.3 s for order 8.
ALONE, STACKED, LEAST = 6, 8, 16
#: The same in multiply-adds and selections. Right sides beyond that are a loop.
MOST_ALONE, MOST_STACKED = 320, 700
#: Statuses of a program, see ``jitgrad.loopir.failures.FAILURES``.
SINGULAR, NOT_POSITIVE_DEFINITE = 2, 3


def is_small(n: int, stack: Sequence[int]) -> bool:
    """Whether matrices of order ``n`` are written out."""
    return 0 < n <= (STACKED if math.prod(stack) >= LEAST else ALONE) and 0 not in stack


# Factors and solutions of one matrix, of locals


class Factors(NamedTuple):
    """LU factors. ``rows`` has both, without the ones on the diagonal. ``swaps[k]`` are the exchanges before step k, as
    ``(whether, i)`` for rows k and i, in order. The multipliers of earlier steps stay where they were, as in LINPACK:
    a right side goes through the exchanges and multipliers of each step in turn."""

    rows: Rows
    swaps: list[list[tuple[Any, int]]]


def factorize(b: Any, a: Rows, singular: bool = False) -> Factors:
    """LU factors with partial pivoting. With ``singular``, those of a matrix with a zero pivot are right too, as LAPACK
    has them; otherwise they are NaN behind it."""
    n, rows = len(a), [list(row) for row in a]
    swaps: list[list[tuple[Any, int]]] = [[] for _ in rows]
    for k in range(n):
        for i in range(k + 1, n):
            larger = b.let(b.scalar("absolute", rows[i][k]) > b.scalar("absolute", rows[k][k]))
            swaps[k].append((larger, i))
            rows[k][k:], rows[i][k:] = _exchanged(b, larger, rows[k][k:], rows[i][k:])
        pivot = rows[k][k]
        if singular and k < n - 1:
            pivot = b.let(b.scalar("where", pivot.eq(0), b.const(1, pivot.dtype), pivot))
        for i in range(k + 1, n):
            factor = rows[i][k] = b.let(rows[i][k] / pivot)
            for j in range(k + 1, n):
                rows[i][j] = b.let(rows[i][j] - factor * rows[k][j])
    return Factors(rows, swaps)


def _exchanged(b: Any, whether: Any, x: Sequence[Any], y: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The two, or the second one first."""
    first = [b.let(b.scalar("where", whether, q, p)) for p, q in zip(x, y, strict=True)]
    return first, [b.let(b.scalar("where", whether, p, q)) for p, q in zip(x, y, strict=True)]


def _has_zero(diagonal: Sequence[Any]) -> Any:
    """Whether an entry is exactly zero."""
    first, *others = diagonal
    found = first.eq(0)
    for pivot in others:
        found = found | pivot.eq(0)
    return found


def _diagonal(rows: Rows) -> list[Any]:
    return [row[k] for k, row in enumerate(rows)]


def _substituted(b: Any, a: Rows, x: Sequence[Any], lower: bool, trans: bool, unit: bool) -> list[Any]:
    """The solution of a triangular system."""
    n, x = len(x), list(x)
    forward = lower != trans
    for k in range(n) if forward else reversed(range(n)):
        if not unit:
            x[k] = b.let(x[k] / a[k][k])
        for i in range(k + 1, n) if forward else range(k):
            x[i] = b.let(x[i] - (a[k][i] if trans else a[i][k]) * x[k])
    return x


def _solved(b: Any, f: Factors, x: Sequence[Any], trans: bool) -> list[Any]:
    """The solution of ``A x = b``, or of ``A^T x = b``."""
    n, x = len(x), list(x)
    if trans:
        x = _substituted(b, f.rows, x, lower=False, trans=True, unit=False)
        for k in reversed(range(n)):
            for i in range(k + 1, n):
                x[k] = b.let(x[k] - f.rows[i][k] * x[i])
            for whether, i in reversed(f.swaps[k]):
                (x[k],), (x[i],) = _exchanged(b, whether, [x[k]], [x[i]])
        return x
    for k in range(n):
        for whether, i in f.swaps[k]:
            (x[k],), (x[i],) = _exchanged(b, whether, [x[k]], [x[i]])
        for i in range(k + 1, n):
            x[i] = b.let(x[i] - f.rows[i][k] * x[k])
    return _substituted(b, f.rows, x, lower=False, trans=False, unit=False)


# Stacks


class _Failing:
    """Ends the program with ``code`` if one of the matrices of a stack has failed."""

    def __init__(self, b: Any, stack: Sequence[int], code: int) -> None:
        self.b, self.code, self.alone = b, code, math.prod(stack) == 1
        self.failed = None if self.alone else b.pointwise((), bool_, lambda: b.const(False, bool_))

    def note(self, failed: Any) -> None:
        """In the loop: whether this one has."""
        if self.alone:
            self.b.fail_unless(~failed, self.code)
        else:
            self.b.store(self.failed, (), failed, "or=")

    def check(self) -> None:
        """Behind the loop, which vectors of matrices go through to the end."""
        if self.failed is not None:
            self.b.fail_unless(~self.failed[()], self.code)


def _entries(b: Any, n: int, entry: Callable[[int, int], Any]) -> Rows:
    """The entries of a matrix as locals."""
    return [[b.let(entry(i, j)) for j in range(n)] for i in range(n)]


def _columns(b: Any, n: int, k: int, stack: Sequence[int]) -> Iterator[Any]:
    """The numbers of the right sides: one after the other, or the variable of a loop."""
    most = MOST_STACKED if math.prod(stack) >= LEAST else MOST_ALONE
    if k == 1 or n**3 + 2 * k * n**2 <= most:
        yield from range(k)
        return
    with b.loop(k) as c:
        yield c


def lower_solve(b: Any, a: Any, right: Any, stack: Sequence[int], trans: bool) -> Any:
    """``solve``; the result has that stack."""
    n, k = right.shape[-2:]
    x, failing = b.empty((*stack, n, k), a.dtype), _Failing(b, stack, SINGULAR)
    with b.kernel():
        with b.loops(stack) as z:
            f = factorize(b, _entries(b, n, lambda i, j: a.at((*z, i, j))))
            failing.note(_has_zero(_diagonal(f.rows)))
            for c in _columns(b, n, k, stack):
                found = _solved(b, f, [b.let(right.at((*z, i, c))) for i in range(n)], trans)
                for i in range(n):
                    b.store(x, (*z, i, c), found[i])
        failing.check()
    return x


def lower_triangular_solve(
    b: Any, a: Any, right: Any, stack: Sequence[int], lower: bool, trans: bool, unit: bool
) -> Any:
    """``triangular_solve``; the result has that stack."""
    n, k = right.shape[-2:]
    x, failing = b.empty((*stack, n, k), a.dtype), _Failing(b, stack, SINGULAR)

    def is_read(i: int, j: int) -> bool:
        return (i > j) if lower else (i < j)

    with b.kernel():
        with b.loops(stack) as z:
            rows = [
                [b.let(a.at((*z, i, j))) if is_read(i, j) or (i == j and not unit) else None for j in range(n)]
                for i in range(n)
            ]
            if not unit:
                failing.note(_has_zero(_diagonal(rows)))
            for c in _columns(b, n, k, stack):
                right_side = [b.let(right.at((*z, i, c))) for i in range(n)]
                found = _substituted(b, rows, right_side, lower, trans, unit)
                for i in range(n):
                    b.store(x, (*z, i, c), found[i])
        if not unit:
            failing.check()
    return x


def lower_inv(b: Any, a: Any) -> Any:
    """``inv``: the solutions for the columns of the identity."""
    n, stack = a.shape[-1], a.shape[:-2]
    x, failing = b.empty(a.shape, a.dtype), _Failing(b, stack, SINGULAR)
    with b.kernel():
        with b.loops(stack) as z:
            f = factorize(b, _entries(b, n, lambda i, j: a[(*z, i, j)]))
            failing.note(_has_zero(_diagonal(f.rows)))
            for c in _columns(b, n, n, stack):
                one = [b.cast(b.index(c).eq(i), a.dtype) for i in range(n)]
                found = _solved(b, f, one, trans=False)
                for i in range(n):
                    b.store(x, (*z, i, c), found[i])
        failing.check()
    return x


def lower_cholesky(b: Any, a: Any) -> Any:
    """``cholesky``."""
    n, stack = a.shape[-1], a.shape[:-2]
    out, failing = b.empty(a.shape, a.dtype), _Failing(b, stack, NOT_POSITIVE_DEFINITE)
    with b.kernel():
        with b.loops(stack) as z:
            rows = [[b.let(a[(*z, i, j)]) for j in range(i + 1)] for i in range(n)]
            # LLVM would make a call of memset of zeros side by side, which no vectors of matrices go through.
            one, zero = (b.const(c, a.dtype) for c in (1, 0))
            zero = b.let(b.scalar("where", rows[0][0] <= 0, one, zero))  # the program ends if it is not
            failed = b.const(False, bool_)
            for k in range(n):
                failed = failed | (rows[k][k] <= 0)
                root = rows[k][k] = b.let(b.scalar("sqrt", rows[k][k]))
                for i in range(k + 1, n):
                    rows[i][k] = b.let(rows[i][k] / root)
                for i in range(k + 1, n):
                    for j in range(k + 1, i + 1):
                        rows[i][j] = b.let(rows[i][j] - rows[i][k] * rows[j][k])
            failing.note(failed)
            for i in range(n):
                for j in range(n):
                    b.store(out, (*z, i, j), rows[i][j] if j <= i else zero)
        failing.check()
    return out


def _pivots(b: Any, a: Any, z: Sequence[Any]) -> tuple[list[Any], Any]:
    """The pivots of a matrix, and whether its rows have been exchanged an odd number of times."""
    f = factorize(b, _entries(b, a.shape[-1], lambda i, j: a[(*z, i, j)]), singular=True)
    odd = b.const(False, bool_)
    for whether, _ in (swap for step in f.swaps for swap in step):
        odd = b.let(b.scalar("logical_xor", odd, whether))
    return _diagonal(f.rows), odd


def _signed(b: Any, odd: Any, x: Any) -> Any:
    return b.scalar("where", odd, -x, x)


def lower_det(b: Any, a: Any) -> Any:
    """``det``."""
    out = b.empty(a.shape[:-2], a.dtype)
    with b.kernel(), b.loops(out.shape) as z:
        pivots, odd = _pivots(b, a, z)
        b.store(out, z, _signed(b, odd, math.prod(pivots[1:], start=pivots[0])))
    return out


def lower_slogdet(b: Any, a: Any) -> tuple[Any, Any]:
    """``slogdet``."""
    signs, logs = b.empty(a.shape[:-2], a.dtype), b.empty(a.shape[:-2], a.dtype)
    with b.kernel(), b.loops(signs.shape) as z:
        pivots, odd = _pivots(b, a, z)
        sign = [b.scalar("sign", p) for p in pivots]
        log = [b.let(b.scalar("log", b.scalar("absolute", p))) for p in pivots]
        b.store(signs, z, _signed(b, odd, math.prod(sign[1:], start=sign[0])))
        b.store(logs, z, sum(log[1:], start=log[0]))
    return signs, logs
