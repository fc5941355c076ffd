"""Random Python programs whose loops make lists longer and shorter, and write into lists and tables, as source text.

They work on a vector ``a``, scalars ``s`` and ``t``, an integer ``k``, lists ``xs`` and ``ys`` of floats, a list ``ps``
of pairs, a list ``rs`` of arrays, a list ``f`` of fixed length and a table ``T``. A few of the lists are drawn for a
program; others stay out of its text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from random_statements import StatementGenerator, templates

#: The templates over each list. ``L`` is a list of floats, ``M`` perhaps another one.
OVER_FLOATS = """
L.append(E)|L.append(E)|L.append(L[-1] * 0.5 + E)|L.append(np.sin(L[-1]) + 0.3 * L[-2])|L.extend([E, E])|L += [E]
L += [E, 0.5 * L[-1]]|L[-1] = E|L[-2] += 0.3 * E|L[0] = E|L[J] = E|L[J] += 0.2 * E|S = L[-1] * E|S += 0.2 * L[J]
L.append(0.1 * len(L))|S = 0.1 * sum(L)|S += 0.3 * np.mean(L[-2:])|L.append(L[J] * 0.5)|L.append(0.5 * M[-1])
L.append(0.1 * len(M) + E)|S = L[-1] if len(L) > 4 else E|S = 0.2 * np.sum(np.array(L))|S = np.tanh(max(L))
L[-1], L[-2] = L[-2], L[-1]|S = 0.3 * L.pop()|L.append(0.5 * L.pop() + E)|L[-1] *= np.cos(E)|L.extend(M[-2:])
"""
OVER_PAIRS = """
ps.append((E, E))|ps.append((ps[-1][0] * 0.5, E))|S = ps[-1][1]|S += 0.3 * ps[J][0]|p, q = ps[-1]|ps.append((p, E))
"""
OVER_ARRAYS = """
rs.append(E * a)|rs.append(np.sin(rs[-1]) * E)|rs.append(rs[-1] * 0.5 + 0.2 * rs[-2])|S = 0.3 * np.sum(rs[-1])
r = rs[-1] * 0.5|rs.append(r)|r = np.cos(r) * a|S = rs[-1][I % N]|r = r + 0.3 * rs[J]|rs.append(r * E)
"""
OVER_FIXED = """
f[I % N] = E|f[I % N] += 0.3 * E|f[I % N] = 0.5 * f[I % N] + E|S = f[I % N]|f[I % N], f[0] = f[0], f[I % N]
S += 0.2 * sum(f)|f[I % N] = max(f[I % N], E)
"""
OVER_TABLE = """
T[I % 3][I % N] = E|T[I % 3][I % N] += 0.3 * E|T[I % 3][I % N] = 0.5 * T[I % 3][I % N] + E|S = T[I % 3][I % N]
w = T[I % 3]|w[I % N] = E|S += 0.3 * w[I % N]
"""
ALWAYS = "S = 0.6 * E|S += 0.2 * E|S = np.tanh(S) + 0.3 * E"
EXPRESSIONS = "s|t|a[I % N]|a[I % N]|0.3|np.sin(E)|np.tanh(E)|E * E|E + E|E - E|(E if C else E)|abs(E)|0.1 * k"
CONDITIONS = "E < 0.2|E > -0.3|k % 2 == 0|I % 2 == 0|-0.5 < E < 0.6|E > 0 and E < 0.5|not E > 0|E > 0.4"
OF_FLOATS = "len(L) > 5|L[-1] > 0.1|L[-1] > L[-2]"
LOOPS = """
for i in range(N):|for i in range(N):|for i in range(N - 1, -1, -1):|for i in range(k):|for i in range(k, N):
for i in range(1, N, 2):|for i, x in enumerate(a):|for i in range(2):|while C and n < 9:|while s < 3.0 and n < 9:
"""
KINDS = {
    "xs": (OVER_FLOATS, ["xs = [a[0], s, 0.3]"], "of(xs), len(xs)"),
    "ys": (OVER_FLOATS, ["ys = [t, a[1]]"], "of(ys), len(ys)"),
    "ps": (OVER_PAIRS, ["ps = [(s, t)]", "p, q = ps[0]"], "of(ps), p + 2 * q"),
    "rs": (OVER_ARRAYS, ["rs = [a * s, a + t]", "r = a * 0.5"], "of(rs), r"),
    "f": (OVER_FIXED, ["f = [0.0] * N"], "np.array(f)"),
    "T": (OVER_TABLE, ["T = [[0.1] * N for _ in range(3)]", "w = T[0]"], "np.array(T), np.array(w)"),
}


#: A number that depends on all items of a list, the length of which may be known only when the program runs.
OF = [
    "def of(items):",
    "    z = np.array(items)",
    "    return np.sum(z.T * np.cos(np.arange(len(items)))) + 0.1 * len(z)",
]


class ListGenerator(StatementGenerator):
    """``text`` is the source of a function ``f(a, s, t, k)``, ``args`` are arguments for it."""

    SIMPLE, LOOPS, ODDS = 6, templates(LOOPS), (0.6, 0.76)

    def __init__(self, seed: int, statements: int = 8) -> None:
        super().__init__(seed, statements, [*OF, "def program(a, s, t, k):"])
        self.length = self.draw.choice((3, 9, 12))
        self.kinds = self.draw.sample(sorted(KINDS), self.draw.choice((1, 1, 2, 2, 3)))
        self.floats = [name for name in self.kinds if name in ("xs", "ys")]
        self.EXPRESSIONS, self.CONDITIONS = templates(EXPRESSIONS), templates(CONDITIONS)
        self.STATEMENTS = templates(ALWAYS)
        for name in self.kinds:
            text, first, _ = KINDS[name]
            self.STATEMENTS = [*self.STATEMENTS, *templates(text)]
            self.lines += [f"    {self.filled(line)}" for line in first]
        if self.floats:
            self.CONDITIONS += templates(OF_FLOATS)
        self.lines.append("    n = 0")
        result = f"return {', '.join(['s, t', *(KINDS[name][2] for name in self.kinds)])}"
        self.endings = [(0.06, result)]
        self.write(result)
        rng = np.random.default_rng(seed)
        self.args: list[Any] = [rng.uniform(-1, 1, self.length), *rng.uniform(-1, 1, 2), int(rng.integers(0, 3))]

    def words(self) -> dict[str, str | Callable[[], str]]:
        names = self.floats or ["xs"]
        return {
            "L": self.draw.choice(names),
            "M": self.draw.choice(names),
            "S": self.draw.choice(("s", "t")),
            "N": str(self.length),
            "J": lambda: self.draw.choice((*(f"{i} % 2" for i in self.indices), "0", "1", "-1", "-2")),
        }

    def position(self) -> str:
        name = self.draw.choice(self.indices)
        return self.draw.choice((name, name, f"({name} + 1)", f"({name} + 2)", "0", "1", "-1"))
