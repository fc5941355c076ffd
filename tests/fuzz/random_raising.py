"""Random programs with ``raise`` and ``assert`` that traced values decide about, as source text.

They work on vectors ``a`` and ``b``, scalars ``x`` and ``y``, a small integer ``k``, an object ``m`` with state, and
functions that may raise themselves.
"""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np

N = 6
#: In templates ``E`` is an expression, ``C`` a condition, ``B`` a bound and ``I`` a position.
EXPRESSIONS = """
x|y|s|a[I]|0.3|np.sin(E)|E * E|E + E|E - E|np.sum(a[:k])|np.max(a)|abs(E)|helper(E)|m.get(E)|float(k)|np.tanh(E)
(E if C else E)
""".strip().replace("\n", "|")
CONDITIONS = """
E < B|E > B|k % 2 == 0|B < E < 0.9|E > B and helper(E) < B|not E > B|np.any(a > 0.9)|E > B or m.get(E) > B|k > 2
checked(E) > B
""".strip().replace("\n", "|")
STATEMENTS = """
a[I] = E|a[I] += E|s = E|s += 0.3 * E|a *= np.cos(E)|a = a * 0.9 + E|m.v = E|m.put(E)|s += checked(E)|x, y = y, x|b = a
s = sum([checked(z) for z in a])|b[I] -= E|s += m.get(E)|assert C|assert C, f"assert {E:.3f}"|m.w[I] = E|m.w = m.w * 0.8
""".strip().replace("\n", "|")
RAISES = """
raise ValueError("plain")|raise ValueError(f"x {E:.4f} and {k}")|raise KeyError(E)|raise ArithmeticError("two", E, k)
raise RuntimeError|raise Own("own %.3f" % (E), E)|raise ZeroDivisionError(f"{k=} {s:.3e}")
""".strip().replace("\n", "|")
LOOPS = """
for i in range(N):|for i in range(k):|for x in a:|while C and n < 9:|for i, y in enumerate(b):|for i in range(k, N):
""".strip()
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


class RaisingGenerator:
    """``text`` is the source of a function ``f(a, b, x, y, k)``; ``args(number)`` are arguments for it."""

    def __init__(self, seed: int, statements: int = 9) -> None:
        self.draw = random.Random(seed)
        self.left, self.indices = statements, ["k"]
        before = BEFORE.replace("SMALL", self.draw.choice(("0.7", "1.2", "2.0")))
        self.lines = before.replace("LARGE", self.draw.choice(("0.9", "1.5", "3.0"))).splitlines()
        while self.left > 0:
            self.statement(1, in_loop=False)
        self.text = "\n".join([*self.lines, f"    {RETURN}", ""])

    def args(self, number: int) -> list[Any]:
        rng = np.random.default_rng(number)
        scale = (0.6, 1.0, 1.5, 0.3)[number % 4]
        floats = [rng.uniform(-scale, scale, shape) for shape in (N, N, (), ())]
        return [*floats[:2], *map(float, floats[2:]), int(rng.integers(0, 5))]

    def filled(self, template: str, depth: int = 2) -> str:
        def fill(match: re.Match[str]) -> str:
            letter = match.group()
            if letter == "E":
                options = EXPRESSIONS.split("|")
                return self.filled(self.draw.choice(options if depth else options[:5]), max(depth - 1, 0))
            if letter == "C":
                return self.filled(self.draw.choice(CONDITIONS.split("|")), 0)
            if letter == "B":
                return self.draw.choice(("1.1", "-0.8", "0.2", "1.6", "0.7"))
            return str(N) if letter == "N" else self.draw.choice([*self.indices, "0", "-1", "2"])

        return re.sub(r"\b[ECBIN]\b", fill, template)

    def emit(self, depth: int, templates: str) -> None:
        self.lines.append("    " * depth + self.filled(self.draw.choice(templates.split("|"))))

    def block(self, depth: int, most: int, in_loop: bool) -> None:
        for _ in range(self.draw.randint(1, most)):
            self.statement(depth, in_loop)

    def statement(self, depth: int, in_loop: bool) -> None:
        self.left -= 1
        pick = self.draw.random() if depth < 4 and self.left > 0 else 0.0
        if pick < 0.45:
            self.emit(depth, STATEMENTS)
        elif pick < 0.8:
            self.branch(depth, in_loop)
        else:
            self.loop(depth)

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
                self.emit(depth, "break|continue")
            return
        if self.draw.random() < 0.4:
            self.block(depth, 1, in_loop)
        self.emit(depth, RAISES)

    def loop(self, depth: int) -> None:
        before, index = list(self.indices), f"i{depth}"
        self.emit(depth, re.sub(r"\bi\b", index, LOOPS))
        if index in self.lines[-1]:
            self.indices.append(index)
        if "while" in self.lines[-1]:
            self.emit(depth + 1, "n += 1")
        self.block(depth + 1, 3, in_loop=True)
        self.indices = before
