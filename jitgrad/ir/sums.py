"""Sums of polynomials in loop indices, in closed form: where the iterations of a loop nest lie in one flat array.

A nest ``for i in range(n): for j in range(i)`` has ``n*(n - 1)/2`` iterations, and ``(i, j)`` is number
``i*(i - 1)/2 + j``. Coefficients are fractions; an index expression has them as a division at the end, which is exact.
Power sums by Faulhaber's formula, in the form of J. Riordan: ``sum(x**p for x < n)`` from those of lower powers.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

from jitgrad.ir.index import Dim, IndexExpr, Product, Sym, add, expr, floordiv, mul

#: Monomials, each the sorted powers of symbols, and their coefficients.
Monomial = tuple[tuple[Sym, int], ...]


class Polynomial:
    """A polynomial in symbols with rational coefficients."""

    def __init__(self, terms: dict[Monomial, Fraction]) -> None:
        self.terms = {m: c for m, c in terms.items() if c}

    @classmethod
    def of(cls, e: Dim) -> Polynomial | None:
        """An index expression as a polynomial; None if it holds quotients or remainders."""
        if not isinstance(e, IndexExpr):
            return cls({(): Fraction(e)})
        total = cls({(): Fraction(e.constant)})
        for term, c in e.terms:
            if isinstance(term, Sym):
                factor: Polynomial | None = cls({((term, 1),): Fraction(1)})
            elif isinstance(term, Product):
                left, right = cls.of(term.left), cls.of(term.right)
                factor = None if left is None or right is None else left * right
            else:
                factor = None
            if factor is None:
                return None
            total = total + factor * cls({(): Fraction(c)})
        return total

    def __add__(self, other: Polynomial) -> Polynomial:
        terms = dict(self.terms)
        for m, c in other.terms.items():
            terms[m] = terms.get(m, Fraction(0)) + c
        return Polynomial(terms)

    def __mul__(self, other: Polynomial) -> Polynomial:
        terms: dict[Monomial, Fraction] = {}
        for m, c in self.terms.items():
            for n, d in other.terms.items():
                powers: dict[Sym, int] = dict(m)
                for s, p in n:
                    powers[s] = powers.get(s, 0) + p
                key = tuple(sorted(powers.items(), key=lambda item: id(item[0])))
                terms[key] = terms.get(key, Fraction(0)) + c * d
        return Polynomial(terms)

    def scaled(self, factor: Fraction) -> Polynomial:
        return Polynomial({m: c * factor for m, c in self.terms.items()})

    def by_powers(self, s: Sym) -> dict[int, Polynomial]:
        """The coefficients, polynomials in the other symbols, of the powers of ``s``."""
        parts: dict[int, dict[Monomial, Fraction]] = {}
        for m, c in self.terms.items():
            power = dict(m).get(s, 0)
            rest = tuple(item for item in m if item[0] is not s)
            group = parts.setdefault(power, {})
            group[rest] = group.get(rest, Fraction(0)) + c
        return {power: Polynomial(terms) for power, terms in parts.items()}

    def at(self, s: Sym, value: Polynomial) -> Polynomial:
        """With ``value`` in the place of ``s``."""
        total = Polynomial({})
        for power, coefficient in self.by_powers(s).items():
            term = coefficient
            for _ in range(power):
                term = term * value
            total = total + term
        return total

    def dim(self) -> Dim:
        """As an index expression; whole for the arguments that it is meant for."""
        denominator = math.lcm(*(c.denominator for c in self.terms.values())) if self.terms else 1
        total: Dim = 0
        for m, c in self.terms.items():
            term: Dim = int(c * denominator)
            for s, power in m:
                for _ in range(power):
                    term = mul(term, expr(s))
            total = add(total, term)
        return floordiv(total, denominator)


@cache
def _power_sum(p: int) -> tuple[Fraction, ...]:
    """Coefficients, from the constant on, of ``sum(x**p for x in range(n))`` as a polynomial in n."""
    # (n)**(p+1) = sum over x < n of (x+1)**(p+1) - x**(p+1) = sum_k binomial(p+1, k) * S_k(n), k = 0..p
    result = [Fraction(0)] * (p + 2)
    result[p + 1] = Fraction(1)
    for k in range(p):
        for j, c in enumerate(_power_sum(k)):
            result[j] -= math.comb(p + 1, k) * c
    return tuple(c / (p + 1) for c in result)


def sum_below(f: Polynomial, s: Sym, n: Polynomial) -> Polynomial:
    """``sum(f(s) for s in range(n))``, for n >= 0."""
    total = Polynomial({})
    for power, coefficient in f.by_powers(s).items():
        value = Polynomial({})
        for c in reversed(_power_sum(power)):
            value = value * n + Polynomial({(): c})
        total = total + coefficient * value
    return total
