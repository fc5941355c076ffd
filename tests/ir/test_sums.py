"""Closed forms of iteration counts and places, against counting."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad.ir.index import Dim, Sym, add, evaluate, expr, mod, mul
from jitgrad.ir.sums import Polynomial, sum_below


def number(e: Dim, env: dict[Sym, int] | None = None) -> int:
    return evaluate(e, env or {})


def polynomial(e: Dim) -> Polynomial:
    found = Polynomial.of(e)
    assert found is not None
    return found


@pytest.mark.parametrize("power", range(5))
def test_power_sums(power: int) -> None:
    s, n = Sym("s"), Sym("n", 0, None)
    f: Dim = 1
    for _ in range(power):
        f = mul(f, expr(s))
    closed = sum_below(polynomial(f), s, polynomial(expr(n))).dim()
    for count in range(8):
        assert number(closed, {n: count}) == sum(k**power for k in range(count))


def test_of_a_triangle() -> None:
    i, n = Sym("i", 0, None), Sym("n", 0, None)
    assert number(sum_below(polynomial(expr(i)), i, polynomial(expr(n))).dim(), {n: 6}) == 15


def test_random_polynomials() -> None:
    rng = np.random.default_rng(3)
    s, t, n = Sym("s"), Sym("t"), Sym("n")
    for _ in range(60):
        f: Dim = int(rng.integers(-5, 6))
        for _ in range(3):
            term: Dim = int(rng.integers(-3, 4))
            for _ in range(int(rng.integers(1, 3))):
                term = mul(term, expr([s, t][int(rng.integers(2))]))
            f = add(f, term)
        closed = sum_below(polynomial(f), s, polynomial(add(expr(n), expr(t))))
        for a, b in ((0, 0), (1, 3), (4, 1), (2, 5)):
            expected = sum(number(f, {s: k, t: a}) for k in range(a + b))
            assert number(closed.dim(), {t: a, n: b}) == expected


def test_places_in_a_triangular_nest_are_the_numbers_of_iterations() -> None:
    """for i in range(n): for j in range(i, n): for k in range(j - i)"""
    n, i, j = Sym("n", 0, None), Sym("i"), Sym("j")
    t, u = Sym("t"), Sym("u")
    # Iterations of the innermost loop in iteration j of the second one, then of all of it.
    inner = polynomial(add(expr(j), mul(expr(i), -1)))
    from_i = inner.at(j, polynomial(add(expr(i), expr(t))))
    whole_j = sum_below(from_i, t, polynomial(add(expr(n), mul(expr(i), -1))))
    before_j = sum_below(from_i, t, polynomial(add(expr(j), mul(expr(i), -1))))
    before_i = sum_below(whole_j.at(i, polynomial(expr(u))), u, polynomial(expr(i)))
    place = (before_i + before_j).dim()
    for size in range(6):
        count = 0
        for a in range(size):
            for b in range(a, size):
                assert number(place, {n: size, i: a, j: b}) == count
                count += b - a
        assert number(sum_below(whole_j.at(i, polynomial(expr(u))), u, polynomial(expr(n))).dim(), {n: size}) == count


def test_quotients_and_remainders_are_no_polynomials() -> None:
    n = expr(Sym("n"))
    assert Polynomial.of(mod(n, 3)) is None
    assert Polynomial.of(add(n, n // 2)) is None


def test_arithmetic() -> None:
    a, b = Sym("a"), Sym("b")
    f = polynomial(add(mul(expr(a), expr(b)), 2))
    assert set(f.by_powers(a)) == {0, 1}
    assert number((f + f).dim(), {a: 3, b: 5}) == 34
    assert number((f * f).dim(), {a: 3, b: 5}) == 289
    assert number(f.at(a, polynomial(add(expr(b), 1))).dim(), {b: 5}) == 32
    assert Polynomial({}).dim() == 0
