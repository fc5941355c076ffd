"""Integer index expressions: linear combinations, in normal form, of atoms and of floor quotients and remainders.

An expression is ``constant + sum(coefficient * term)``. A term is a :class:`Sym` (a loop variable or an SSA value with
bounds), a :class:`Quotient`, a :class:`Remainder` or a :class:`Product`. All of them are hash-consed: equal
expressions are the same object, so comparing is ``is`` and hashing is free. A constant expression is a plain ``int``;
every function here takes and returns ``Dim = int | IndexExpr``.

Quotient and remainder simplify by bounds: with ``0 <= j < 8``, ``(8*i + j) // 8`` is ``i`` and ``(8*i + j) % 8`` is
``j``. That is what turns a reshape of a reshape back into the plain index.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Union

Dim = Union[int, "IndexExpr"]
Bounds = tuple[int | None, int | None]
#: What expressions became in a substitution.
_Done = dict["IndexExpr", Dim]

#: So many symbols are replaced by their limits before the numbers that bound what is left are taken.
_REPLACED = 16
#: An expression with more terms than this is left as it is then: limits with several symbols each, of which the limits
#: have several again, would make it twice as long with every step.
_LONGEST = 64

_interned: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()


def _intern(cls: type, key: tuple[Any, ...], build: Callable[[Any], None]) -> Any:
    full = (cls, *key)
    found = _interned.get(full)
    if found is None:
        found = object.__new__(cls)
        found.alone = None
        build(found)
        found = _interned.setdefault(full, found)
    return found


class Term:
    """What an index expression is linear in. ``bounds`` is an inclusive interval; None is unbounded. ``alone`` refers
    to the expression that is the term and nothing else, once there has been one."""

    __slots__ = ("__weakref__", "alone", "bounds")
    bounds: Bounds
    alone: weakref.ref[IndexExpr] | None

    def substitute(self, env: Mapping[Term, Dim], done: _Done) -> Dim:
        raise NotImplementedError

    def syms(self) -> frozenset[Sym]:
        raise NotImplementedError


class Sym(Term):
    """An atom. Unique by identity: two symbols of the same name differ. ``payload`` is what it stands for (an SSA
    value, a scalar expression), or None for a loop variable.

    ``lo`` and ``hi`` are inclusive. They may be expressions in other symbols (those of the loops around); ``limits``
    holds them as given, ``bounds`` as numbers. ``depth`` is 0 where they name no symbols, else one more than the
    greatest depth of those: so the limits of a symbol, and theirs, name only symbols of lesser depths.
    """

    __slots__ = ("depth", "limits", "name", "payload")

    def __init__(self, name: str, lo: Dim | None = None, hi: Dim | None = None, payload: Any = None) -> None:
        self.name, self.payload, self.alone = name, payload, None
        self.limits: tuple[Dim | None, Dim | None] = (lo, hi)
        named = [s.depth for limit in self.limits if isinstance(limit, IndexExpr) for s in limit.syms()]
        self.depth: int = 1 + max(named, default=-1)
        self.bounds = (
            None if lo is None else interval(lo)[0],
            None if hi is None else interval(hi)[1],
        )

    def substitute(self, env: Mapping[Term, Dim], done: _Done) -> Dim:
        return env.get(self, expr(self))

    def syms(self) -> frozenset[Sym]:
        return frozenset((self,))

    def __repr__(self) -> str:
        return self.name


class Quotient(Term):
    """``base // divisor``, rounded towards minus infinity; the divisor is a positive int."""

    __slots__ = ("base", "divisor")
    base: IndexExpr
    divisor: int

    def __new__(cls, base: IndexExpr, divisor: int) -> Quotient:
        def build(self: Quotient) -> None:
            self.base, self.divisor = base, divisor
            lo, hi = base.bounds
            self.bounds = (None if lo is None else lo // divisor, None if hi is None else hi // divisor)

        return _intern(cls, (base, divisor), build)

    def substitute(self, env: Mapping[Term, Dim], done: _Done) -> Dim:
        return floordiv(_substituted(self.base, env, done), self.divisor)

    def syms(self) -> frozenset[Sym]:
        return self.base.syms()

    def __repr__(self) -> str:
        return f"({self.base} // {self.divisor})"


class Remainder(Term):
    """``base % divisor`` with the sign of the (positive) divisor."""

    __slots__ = ("base", "divisor")
    base: IndexExpr
    divisor: int

    def __new__(cls, base: IndexExpr, divisor: int) -> Remainder:
        def build(self: Remainder) -> None:
            self.base, self.divisor, self.bounds = base, divisor, (0, divisor - 1)

        return _intern(cls, (base, divisor), build)

    def substitute(self, env: Mapping[Term, Dim], done: _Done) -> Dim:
        return mod(_substituted(self.base, env, done), self.divisor)

    def syms(self) -> frozenset[Sym]:
        return self.base.syms()

    def __repr__(self) -> str:
        return f"({self.base} % {self.divisor})"


class Product(Term):
    """A product of two non-constant expressions."""

    __slots__ = ("left", "right")
    left: IndexExpr
    right: IndexExpr

    def __new__(cls, left: IndexExpr, right: IndexExpr) -> Product:
        if id(left) > id(right):
            left, right = right, left

        def build(self: Product) -> None:
            self.left, self.right = left, right
            corners = [None if a is None or b is None else a * b for a in left.bounds for b in right.bounds]
            known = [c for c in corners if c is not None]
            self.bounds = (min(known), max(known)) if len(known) == 4 else (None, None)

        return _intern(cls, (left, right), build)

    def substitute(self, env: Mapping[Term, Dim], done: _Done) -> Dim:
        return mul(_substituted(self.left, env, done), _substituted(self.right, env, done))

    def syms(self) -> frozenset[Sym]:
        return self.left.syms() | self.right.syms()

    def __repr__(self) -> str:
        return f"({self.left})*({self.right})"


class IndexExpr:
    """``constant + sum(c * term)``; never constant (a constant is an ``int``)."""

    __slots__ = ("__weakref__", "_greatest", "_least", "_syms", "bounds", "constant", "terms")
    constant: int
    terms: tuple[tuple[Term, int], ...]
    bounds: Bounds
    _least: int | None
    _greatest: int | None

    def __new__(cls, constant: int, terms: tuple[tuple[Term, int], ...]) -> IndexExpr:
        key = (cls, constant, frozenset(terms))
        found = _interned.get(key)
        if found is not None:
            return found
        self = object.__new__(cls)
        self.constant, self.terms, self._syms = constant, terms, None
        lo: int | None = constant
        hi: int | None = constant
        for term, c in terms:
            a, b = term.bounds if c > 0 else term.bounds[::-1]
            lo = None if lo is None or a is None else lo + c * a
            hi = None if hi is None or b is None else hi + c * b
        self.bounds = (lo, hi)
        return _interned.setdefault(key, self)

    def syms(self) -> frozenset[Sym]:
        if self._syms is None:
            self._syms = frozenset().union(*(term.syms() for term, _ in self.terms))
        return self._syms

    def __add__(self, other: Dim) -> Dim:
        return add(self, other)

    def __sub__(self, other: Dim) -> Dim:
        return combined(((self, 1), (other, -1)))

    def __rsub__(self, other: Dim) -> Dim:
        return combined(((other, 1), (self, -1)))

    def __mul__(self, other: Dim) -> Dim:
        return mul(self, other)

    def __floordiv__(self, other: int) -> Dim:
        return floordiv(self, other)

    def __mod__(self, other: int) -> Dim:
        return mod(self, other)

    def __neg__(self) -> Dim:
        return mul(self, -1)

    __radd__ = __add__
    __rmul__ = __mul__

    def __repr__(self) -> str:
        text = ""
        for term, c in self.terms:
            sign = (" - " if c < 0 else " + ") if text else ("-" if c < 0 else "")
            text += sign + (repr(term) if abs(c) == 1 else f"{abs(c)}*{term!r}")
        if self.constant:
            text += f" {'-' if self.constant < 0 else '+'} {abs(self.constant)}"
        return text


def expr(term: Term) -> IndexExpr:
    """A term as an expression."""
    found = None if term.alone is None else term.alone()
    if found is None:
        found = IndexExpr(0, ((term, 1),))
        term.alone = weakref.ref(found)
    return found


def sym(name: str, lo: int | None = None, hi: int | None = None, payload: Any = None) -> IndexExpr:
    """A fresh symbol with inclusive bounds, as an expression."""
    return expr(Sym(name, lo, hi, payload))


def as_sym(e: Dim) -> Sym | None:
    """The symbol that an expression consists of, or None."""
    if isinstance(e, IndexExpr) and e.constant == 0 and len(e.terms) == 1:
        term, c = e.terms[0]
        if c == 1 and isinstance(term, Sym):
            return term
    return None


def _make(constant: int, coefficients: Mapping[Term, int]) -> Dim:
    for term, c in coefficients.items():
        # c*d*(e // d) + c*(e % d) == c*e
        if c and isinstance(term, Remainder):
            quotient = Quotient(term.base, term.divisor)
            if coefficients.get(quotient) == c * term.divisor:
                rest = {t: k for t, k in coefficients.items() if t is not term and t is not quotient}
                return add(_make(constant, rest), mul(term.base, c))
    terms = tuple((t, c) for t, c in coefficients.items() if c)
    return IndexExpr(constant, terms) if terms else constant


def add(a: Dim, b: Dim) -> Dim:
    if not isinstance(a, IndexExpr):
        if not isinstance(b, IndexExpr):
            return a + b
        a, b = b, a
    if not isinstance(b, IndexExpr):
        return a if b == 0 else IndexExpr(a.constant + b, a.terms)
    coefficients = dict(a.terms)
    for term, c in b.terms:
        coefficients[term] = coefficients.get(term, 0) + c
    return _make(a.constant + b.constant, coefficients)


def combined(parts: Iterable[tuple[Dim, int]]) -> Dim:
    """The sum of ``c * e`` over pairs ``(e, c)``: as with :func:`add` and :func:`mul`, without the expressions between,
    where the terms are symbols."""
    parts = tuple(parts)
    constant = 0
    coefficients: dict[Term, int] = {}
    for e, c in parts:
        if not isinstance(e, IndexExpr):
            constant += c * e
            continue
        constant += c * e.constant
        for term, k in e.terms:
            if term.__class__ is not Sym:
                break  # what becomes of quotients and remainders depends on the order of the sums
            coefficients[term] = coefficients.get(term, 0) + c * k
        else:
            continue
        total: Dim = 0
        for e, c in parts:
            total = add(total, mul(e, c))
        return total
    terms = tuple([(t, c) for t, c in coefficients.items() if c])
    return IndexExpr(constant, terms) if terms else constant


def mul(a: Dim, b: Dim) -> Dim:
    if isinstance(a, IndexExpr) and isinstance(b, IndexExpr):
        if len(a.terms) + bool(a.constant) == 1 and len(b.terms) + bool(b.constant) == 1:
            (ta, ca), (tb, cb) = a.terms[0], b.terms[0]
            return IndexExpr(0, ((Product(expr(ta), expr(tb)), ca * cb),))
        total: Dim = 0
        for left in (*((expr(t), c) for t, c in a.terms), (1, a.constant)):
            for right in (*((expr(t), c) for t, c in b.terms), (1, b.constant)):
                total = add(total, mul(mul(left[0], right[0]), left[1] * right[1]))
        return total
    if not isinstance(a, IndexExpr):
        a, b = b, a
    if not isinstance(a, IndexExpr):
        return a * b  # pyright: ignore[reportReturnType]
    assert not isinstance(b, IndexExpr)
    if b == 1:
        return a
    return IndexExpr(a.constant * b, tuple([(t, c * b) for t, c in a.terms])) if b else 0


def _split(a: IndexExpr, d: int) -> tuple[Dim, Dim]:
    """``(q, r)`` with ``a == q*d + r``, moving every multiple of ``d`` into ``q``."""
    q = _make(a.constant // d, {t: c // d for t, c in a.terms if c % d == 0})
    r = _make(a.constant % d, {t: c for t, c in a.terms if c % d})
    return q, r


def floordiv(a: Dim, d: int) -> Dim:
    """``a // d`` for ``d >= 1``."""
    if not isinstance(a, IndexExpr):
        return a // d
    if d == 1:
        return a
    q, r = _split(a, d)
    if not isinstance(r, IndexExpr):
        return add(q, r // d)
    lo, hi = r.bounds
    if lo is not None and hi is not None and lo // d == hi // d:
        return add(q, lo // d)
    return add(q, expr(Quotient(r, d)))


def mod(a: Dim, d: int) -> Dim:
    """``a % d`` for ``d >= 1``."""
    if not isinstance(a, IndexExpr):
        return a % d
    if d == 1:
        return 0
    _, r = _split(a, d)
    if not isinstance(r, IndexExpr):
        return r % d
    lo, hi = r.bounds
    if lo is not None and hi is not None and lo // d == hi // d:
        return add(r, -d * (lo // d))
    return expr(Remainder(r, d))


def substitute(e: Dim, env: Mapping[Any, Dim]) -> Dim:
    """Replace symbols; everything is brought to normal form again."""
    return _substituted(e, env, {})


def _substituted(e: Dim, env: Mapping[Any, Dim], done: _Done) -> Dim:
    """``done`` has what was made of other parts: one that several quotients share is looked at once."""
    if not isinstance(e, IndexExpr):
        return e
    if e in done:
        return done[e]
    total: Dim = e
    if any(s in env for s in e.syms()):
        total = e.constant
        for term, c in e.terms:
            total = add(total, mul(term.substitute(env, done), c))
    done[e] = total
    return total


def bounds(e: Dim) -> Bounds:
    """Inclusive interval of the values."""
    return e.bounds if isinstance(e, IndexExpr) else (e, e)


def interval(e: Dim) -> Bounds:
    """Inclusive interval of the values, as narrow as the limits of the symbols give it.

    Where ``e`` is affine in a symbol whose limits name other symbols, the limit takes the symbol's place, innermost
    symbols first: with ``0 <= i <= k - 1`` the least value of ``k - 1 - i`` is 0. That is exact for affine limits.
    """
    return (least(e), greatest(e)) if isinstance(e, IndexExpr) else (e, e)


def least(e: IndexExpr) -> int | None:
    """The lower end of :func:`interval`. It is kept with the expression: neither that nor the limits ever change, and
    passes ask again and again."""
    try:
        return e._least
    except AttributeError:
        found = e._least = _extreme(e, 0)
        return found


def greatest(e: IndexExpr) -> int | None:
    """The upper end of :func:`interval`."""
    try:
        return e._greatest
    except AttributeError:
        found = e._greatest = _extreme(e, 1)
        return found


def _extreme(e: Dim, side: int) -> int | None:
    """The least (``side`` 0) or greatest value, or None."""
    plain = bounds(e)[side]
    for _ in range(_REPLACED):
        e = without_quotients(e, side)
        if not isinstance(e, IndexExpr):
            return e if plain is None else max(e, plain) if side == 0 else min(e, plain)
        found = _innermost(e)
        if found is None:
            break
        symbol, c = found
        limit = symbol.limits[side if c > 0 else 1 - side]
        if limit is None:
            break
        e = combined(((e, 1), (limit, c), (expr(symbol), -c)))
    tight = bounds(e)[side]
    if tight is None or plain is None:
        return plain if tight is None else tight
    return max(tight, plain) if side == 0 else min(tight, plain)


def without_quotients(e: Dim, side: int) -> Dim:
    """A bound of ``e`` in which ``d * (x // d)`` is ``x``, or ``x - (d - 1)``: the last position of a strided slice."""
    if not isinstance(e, IndexExpr) or not any(isinstance(t, Quotient) for t, _ in e.terms):
        return e
    total: Dim = e.constant
    for t, c in e.terms:
        if isinstance(t, Quotient) and c % t.divisor == 0:
            k = c // t.divisor
            total = add(total, mul(t.base if (k > 0) == (side == 1) else add(t.base, 1 - t.divisor), k))
        else:
            total = add(total, mul(expr(t), c))
    return total


def _innermost(e: IndexExpr) -> tuple[Sym, int] | None:
    """The symbol of ``e``, with its coefficient, whose limits name others and which no limit of the others names: the
    deepest one that is in no quotient, remainder or product. None where there is none, and where ``e`` is long."""
    if len(e.terms) > _LONGEST:
        return None
    inside: frozenset[Sym] = frozenset().union(*(t.syms() for t, _ in e.terms if not isinstance(t, Sym)))
    found: tuple[Sym, int] | None = None
    for t, c in e.terms:
        if isinstance(t, Sym) and t not in inside and t.depth > (0 if found is None else found[0].depth):
            found = t, c
    return found


def never_negative(e: Dim) -> bool:
    """True where the value is known to be at least 0."""
    if not isinstance(e, IndexExpr):
        return e >= 0
    plain = e.bounds[0]
    if plain is not None and plain >= 0:
        return True
    lo = least(e)
    return lo is not None and lo >= 0


def coefficients(e: Dim) -> tuple[int, dict[Sym, int]] | None:
    """The affine view ``(constant, {symbol: coefficient})``, or None where the expression is not affine in symbols."""
    if not isinstance(e, IndexExpr):
        return e, {}
    if not all(isinstance(t, Sym) for t, _ in e.terms):
        return None
    return e.constant, dict(e.terms)  # pyright: ignore[reportReturnType]


def evaluate(e: Dim, env: Mapping[Sym, int]) -> int:
    """The value with every symbol bound to an int."""
    value = substitute(e, env)
    if isinstance(value, IndexExpr):
        raise KeyError(f"unbound symbols in {value}")
    return value
