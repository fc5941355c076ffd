"""Random programs with ``raise`` and ``assert`` that traced values decide about, as source text.

They work on vectors ``a`` and ``b``, scalars ``x`` and ``y``, a small integer ``k``, an object ``m`` with state, and
functions that may raise themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from random_statements import StatementGenerator, templates, vectors_and_numbers

N = 6
#: In templates ``B`` is a bound, and ``N`` the length of the vectors.
EXPRESSIONS = """
x|y|s|a[I]|0.3|np.sin(E)|E * E|E + E|E - E|np.sum(a[:k])|np.max(a)|abs(E)|helper(E)|m.get(E)|float(k)|np.tanh(E)
(E if C else E)
"""
CONDITIONS = """
E < B|E > B|k % 2 == 0|B < E < 0.9|E > B and helper(E) < B|not E > B|np.any(a > 0.9)|E > B or m.get(E) > B|k > 2
checked(E) > B
"""
STATEMENTS = """
a[I] = E|a[I] += E|s = E|s += 0.3 * E|a *= np.cos(E)|a = a * 0.9 + E|m.v = E|m.put(E)|s += checked(E)|x, y = y, x|b = a
s = sum([checked(z) for z in a])|b[I] -= E|s += m.get(E)|assert C|assert C, f"assert {E:.3f}"|m.w[I] = E|m.w = m.w * 0.8
"""
RAISES = """
raise ValueError("plain")|raise ValueError(f"x {E:.4f} and {k}")|raise KeyError(E)|raise ArithmeticError("two", E, k)
raise RuntimeError|raise Own("own %.3f" % (E), E)|raise ZeroDivisionError(f"{k=} {s:.3e}")
"""
LOOPS = """
for i in range(N):|for i in range(k):|for x in a:|while C and n < 9:|for i, y in enumerate(b):|for i in range(k, N):
"""
RETURN = "return a, b, x, y, s, m.v, m.w"
BEFORE = """
class Own(Exception):
    def __init__(self, text, value):
        super().__init__(text, value)
        self.value = value

class M:
    def __init__(self, v):
        self.v, self.w = v, np.ones(6) * v

    def get(self, z):
        if z > SMALL:
            raise Own("get %.3f" % z, self.v)
        return self.v * z

    def put(self, z):
        self.v = self.v * 0.5 + z
        assert self.v < LARGE, "too big {:.4f}".format(self.v)

def helper(z):
    if z < -SMALL:
        raise ArithmeticError(f"helper {z:.3f}")
    return z * 0.5

def checked(z):
    assert z < LARGE, f"checked {z:.4f}"
    return np.sqrt(z * z + 0.5)

def f(a, b, x, y, k):
    m = M(x)
    s = y
    n = 0
"""


class RaisingGenerator(StatementGenerator):
    """``text`` is the source of a function ``f(a, b, x, y, k)``; ``args(number)`` are arguments for it."""

    EXPRESSIONS, SIMPLE, CONDITIONS = templates(EXPRESSIONS), 5, templates(CONDITIONS)
    STATEMENTS, LOOPS, ODDS = templates(STATEMENTS), templates(LOOPS), (0.45, 0.8)

    def __init__(self, seed: int, statements: int = 9) -> None:
        super().__init__(seed, statements, [])
        before = BEFORE.replace("SMALL", self.draw.choice(("0.7", "1.2", "2.0")))
        self.lines += before.replace("LARGE", self.draw.choice(("0.9", "1.5", "3.0"))).splitlines()
        self.write(RETURN)

    def args(self, number: int) -> list[Any]:
        return vectors_and_numbers(number, (0.6, 1.0, 1.5, 0.3)[number % 4], N, 5)

    def words(self) -> dict[str, str | Callable[[], str]]:
        return {"B": lambda: self.draw.choice(("1.1", "-0.8", "0.2", "1.6", "0.7")), "N": str(N)}

    def branch(self, depth: int, in_loop: bool) -> None:
        self.emit(depth, "if C:")
        self.ending(depth + 1, 0.45, in_loop)
        if self.draw.random() < 0.3:
            self.emit(depth, "else:")
            self.ending(depth + 1, 0.3, in_loop)

    def ending(self, depth: int, raising: float, in_loop: bool) -> None:
        if self.draw.random() > raising:
            self.block(depth, 2, in_loop)
            if in_loop and self.draw.random() < 0.15:
                self.emit(depth, self.draw.choice(("break", "continue")))
            return
        if self.draw.random() < 0.4:
            self.block(depth, 1, in_loop)
        self.emit(depth, self.draw.choice(templates(RAISES)))
