"""Random programs that change attributes of objects, and items of lists and dicts, as source text.

They work on vectors ``a`` and ``b``, scalars ``x`` and ``y``, a small integer ``k``, and objects ``p``, ``r`` and ``q``
of which some are the same, or hold the same arrays: ``q.inner`` is an object, the list ``L`` has three, the dict ``d``
and the list ``l`` have numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from random_statements import StatementGenerator, templates, vectors_and_numbers

N = 4
#: In templates ``O`` is an object, ``R`` one that is not ``q``, ``U`` one that is often bound to a new one,
#: ``J`` a place in a list, ``K`` a key and ``N`` the length of the vectors.
EXPRESSIONS = """
x|y|O.v|O.v|O.w[I]|d['K']|a[I]|0.3|E * E|E + E|np.sin(E)|np.tanh(O.total)|abs(E)|L[J].v|np.sum(O.w[:k])|l[J]
(E if C else E)
"""
CONDITIONS = "E > 0.2|E < O.v|k % 2 == 0|O is O|-0.5 < E < 0.4|E > 0 and O.v > E|np.any(O.w > 0.8)|not E > 0"
STATEMENTS = """
O.v = E|O.v += E|O.w[I] = E|O.w = O.w * 0.7 + E|O.w += E|O.scale(np.cos(E))|x = O.step(E)|O.total = E|y = O.deep(E, 2)
d['K'] = E|d['K'] += E|L[J].v = E|L[J].w[I] += E|L[J].step(E)|L[0], L[1] = L[1], L[0]|O.v, O.v = O.v, O.v
q.inner, L[1] = L[1], q.inner|p, r = r, p|x = E|y += 0.3 * E|l[J] = E|l[J] += E|O.w, O.w = O.w, O.w|O.w = a|a = O.w
a[I] = E|O.w = O.w.copy()|q.inner = R|L[J] = O|setattr(O, 'v', E)|for o in L: o.v = o.v * 0.9 + E|d['new'] = E
d.pop('new', None)|x += d.get('new', 0.1)|R = P(E, O.w.copy())|R = P(E, a * 1.0)|u = u + V(E, R)|u = u.moved(E)|t = u
U.x = E|u.x += E|x = U.norm() + t.x|u = V(E, P(E, a * 1.0))|R = U.p|U.p.v = E|U.p = O|u, t = t, u|u = u if C else t
R = P(E, O.w)|u = V(U.x + E, U.p)|q.inner = P(E, R.w)|L[J] = P(E, a * 1.0)|U.p.w[I] = E|u = t.moved(E)
"""
LOOPS = """
for i in range(N):|for i in range(k):|for x in a:|while C and n < 9:|for i, o in enumerate(L):|for i in range(2):
for _ in range(12):
"""
RETURN = """
return a, x, y, p.v, p.w, r.v, r.w, q.v, q.w, q.inner.v, L[0].v, L[1].w, L[2].v, d['g'], l[0], u.x, t.x, u.p.v, t.p.w
""".strip()
BEFORE = """
import dataclasses

class P:
    __slots__ = ("v", "w")

    def __init__(self, v, w):
        self.v, self.w = v, w

    def step(self, z):
        self.v = self.v * 0.5 + z
        return self.v

    def scale(self, z):
        self.w *= z

    @property
    def total(self):
        return self.v + self.w.sum()

    @total.setter
    def total(self, z):
        self.v = z * 0.3

    def deep(self, z, n):
        if n == 0:
            return z
        self.v = self.v * 0.9 + 0.1 * z
        return self.deep(self.v, n - 1)

@dataclasses.dataclass
class Q:
    v: float
    w: np.ndarray
    inner: object = None

    def step(self, z):
        if z > 0.4:
            self.w = self.w * 0.5 + z
            return z
        self.v += 0.3 * z
        return self.inner.step(z)

    def scale(self, z):
        self.inner.w, self.w = self.w, self.inner.w

    @property
    def total(self):
        return self.inner.v - self.v

    @total.setter
    def total(self, z):
        self.inner.v, self.v = self.v, z

    def deep(self, z, n):
        for i in range(n):
            self.w[i] = z + self.inner.deep(z, 1)
        return self.w[0]

class V:
    scale = 0.9

    def __init__(self, x, p, kind="v"):
        self.x, self.p, self.kind = x, p, kind

    def __add__(self, other):
        return V(self.x * self.scale + np.sin(other.x), other.p, self.kind)

    def moved(self, z):
        return V(self.x - 0.1 * z, P(self.p.v + z, self.p.w * 0.9), self.kind)

    def norm(self):
        return np.tanh(self.x + self.p.v)

def f(a, b, x, y, k):
    n = 0
    p = P(x, b * 1.0)
"""
#: How the other objects begin.
BEGINNINGS = (
    ("    r = {}", ("P(y, a * 2)", "p", "P(0.5, p.w)", "P(x, a)")),
    ("    q = Q({}, {}, {})", ("y", "0.1", "x"), ("b", "np.ones(4)", "p.w", "a + b"), ("p", "r", "P(y, b)")),
    (
        "    L = [{}, {}, {}]",
        ("p", "P(x, np.zeros(4))"),
        ("r", "P(y, b + 1)"),
        ("q.inner", "P(x, a * 1.0)", "p"),
    ),
    ("    d = {{'g': x, 'h': y}}",),
    ("    l = {}", ("[x, y, 0.5]", "[0.0, x, 1.0]")),
    ("    u = V({}, {})", ("x", "0.5"), ("p", "P(y, a * 0.5)")),
    ("    t = {}", ("u", "V(y, r)", "V(0.1, P(x, b * 1.0))")),
)


class ObjectGenerator(StatementGenerator):
    """``text`` is the source of a function ``f(a, b, x, y, k)``; ``args(number)`` are arguments for it."""

    EXPRESSIONS, SIMPLE, CONDITIONS = templates(EXPRESSIONS), 8, templates(CONDITIONS)
    STATEMENTS, LOOPS, ODDS = templates(STATEMENTS), templates(LOOPS), (0.58, 0.78)
    endings = [(0.1, RETURN), (0.1, 'raise ValueError(f"at {O.v:.4f}")')]

    def __init__(self, seed: int, statements: int = 9) -> None:
        super().__init__(seed, statements, BEFORE.splitlines())
        for line, *choices in BEGINNINGS:
            self.lines.append(line.format(*map(self.draw.choice, choices)))
        self.write(RETURN)

    def args(self, number: int) -> list[Any]:
        return vectors_and_numbers(number, 1.0, N, 4)

    def words(self) -> dict[str, str | Callable[[], str]]:
        choice = self.draw.choice
        return {
            "O": lambda: choice(("p", "r", "q", "q.inner", "L[0]")),
            "R": lambda: choice(("p", "r")),
            "U": lambda: choice(("u", "t")),
            "J": lambda: choice(("0", "1", "2", "-1")),
            "K": lambda: choice("gh"),
            "N": str(N),
        }
