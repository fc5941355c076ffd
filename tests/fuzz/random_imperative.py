"""Random Python programs that loop, branch and write into arrays with several names, as source text.

They work on vectors ``a``, ``b`` and ``u``, of which ``u`` is another name of an array, a part of one or a new one, on
a matrix ``A``, scalars ``s`` and ``t``, and a small integer ``k``. The names keep their shapes.
"""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np

#: In templates ``V`` and ``W`` are vectors, ``S`` and ``T`` scalars, ``I`` a position, ``E`` an expression and ``C`` a
#: condition. ``N`` is the length of the vectors.
STATEMENTS = """
V[I] = E|V[I] += E|V[I] *= np.cos(E)|S = 0.6 * E|S += 0.3 * E|V += E|V *= np.cos(E)|V = 0.7 * W + E|V = np.tanh(W)
V[1:] += 0.5 * W[:-1]|V[::2] = W[::2] * E|V[k:] = np.cos(W[k:]) * E|V[::-1] -= 0.5 * W|V[V > E] = S|V[:] = W
A[I] = W|A[:, I] += V|A[I, I] -= E|A[I] *= np.cos(E)|A[I, 1:] += E|np.add.at(V, [0, 2, 0], E)|np.sin(V, out=W)
V, W = W, V|S, T = T, 0.5 * S|V = W|V = A[I]|V = W[::-1]|V = W.copy()|V = A[:, I]|V, S = W, 0.5 * E|V = W = V * 0.5
""".strip().replace("\n", "|")
EXPRESSIONS = """
s|t|V[I]|V[I]|A[I, I]|0.3|np.sin(E)|np.tanh(E)|E * E|E + E|E - E|np.sum(V[:k])|np.max(V)|np.tanh(V @ W)|abs(E)|min(E, E)
(E if C else E)|0.2 * sum(V)|np.tanh(sum(z * E for z in V))|0.1 * k|np.mean(A[:, I])
""".strip().replace("\n", "|")
CONDITIONS = "E < 0.2|E > -0.3|k % 2 == 0|-0.5 < E < 0.6|E > 0 and E < 0.5|not E > 0|np.any(V > 0.8)"
LOOPS = """
for i in range(N):|for i in range(N - 1, -1, -1):|for i in range(k):|for i in range(k, N):|for i in range(1, N, 2):
for x in V:|for x, y in zip(V, W):|for i, x in enumerate(V):|for v in A:|for i in range(2):|while C and n < 9:
""".strip().replace("\n", "|")
OTHER_NAMES = ("a", "b", "a[::-1]", "A[1]", "A[:, 0]", "a * 2")
RETURN = "return a, b, u, A, s, t"


class ImperativeGenerator:
    """``text`` is the source of a function ``f(a, b, A, s, t, k)``, ``args`` are arguments for it."""

    def __init__(self, seed: int, statements: int = 10) -> None:
        self.draw = random.Random(seed)
        self.length = self.draw.choice((3, 4, 9, 12))
        self.left = statements
        self.indices = ["k"]
        self.lines = ["def f(a, b, A, s, t, k):", f"    u = {self.draw.choice(OTHER_NAMES)}", "    n = 0"]
        while self.left > 0:
            self.statement(1, in_loop=False)
        self.lines.append(f"    {RETURN}")
        self.text = "\n".join(self.lines) + "\n"
        rng, n = np.random.default_rng(seed), self.length
        vectors = [rng.uniform(-1, 1, n), rng.uniform(-1, 1, n), rng.uniform(-1, 1, (n, n))]
        self.args: list[Any] = [*vectors, *rng.uniform(-1, 1, 2), int(rng.integers(0, 3))]

    def filled(self, template: str, depth: int = 2) -> str:
        """The template with names and expressions in the places of its capital letters."""
        v, w = self.draw.sample(("a", "b", "u"), 2)
        s, t = self.draw.sample(("s", "t"), 2)

        def fill(match: re.Match[str]) -> str:
            letter = match.group()
            if letter == "E":
                options = EXPRESSIONS.split("|")
                return self.filled(self.draw.choice(options if depth else options[:6]), max(depth - 1, 0))
            if letter == "C":
                return self.filled(self.draw.choice(CONDITIONS.split("|")), 0)
            if letter == "I":
                return self.position()
            return {"V": v, "W": w, "S": s, "T": t, "N": str(self.length)}[letter]

        return re.sub(r"\b[VWSTIECN]\b", fill, template)

    def position(self) -> str:
        name = self.draw.choice(self.indices)
        return self.draw.choice((name, name, f"{name} - 1", f"-1 - {name}", "0", "-1", str(self.length // 2)))

    def block(self, depth: int, most: int, in_loop: bool) -> None:
        for _ in range(self.draw.randint(1, most)):
            self.statement(depth, in_loop)

    def statement(self, depth: int, in_loop: bool) -> None:
        self.left -= 1
        pick = self.draw.random() if depth < 4 and self.left > 0 else 0.0
        if pick < 0.6:
            self.emit(depth, self.draw.choice(STATEMENTS.split("|")))
        elif pick < 0.78:
            self.branch(depth, in_loop)
        else:
            self.loop(depth)

    def emit(self, depth: int, template: str) -> None:
        self.lines.append("    " * depth + self.filled(template))

    def branch(self, depth: int, in_loop: bool) -> None:
        self.emit(depth, "if C:")
        self.block(depth + 1, 2, in_loop)
        if in_loop and self.draw.random() < 0.2:
            self.emit(depth + 1, self.draw.choice(("break", "continue")))
        elif self.draw.random() < 0.1:
            self.emit(depth + 1, RETURN)
        if self.draw.random() < 0.2:
            self.emit(depth, "elif C:")
            self.block(depth + 1, 2, in_loop)
        if self.draw.random() < 0.5:
            self.emit(depth, "else:")
            self.block(depth + 1, 2, in_loop)

    def loop(self, depth: int) -> None:
        head = self.draw.choice(LOOPS.split("|"))
        before = list(self.indices)
        index = f"i{depth}"
        self.emit(depth, re.sub(r"\bi\b", index, head))
        if index in self.lines[-1].split(" in ")[0]:
            self.indices.append(index)
        if head.startswith("while"):
            self.emit(depth + 1, "n += 1")
        self.block(depth + 1, 3, in_loop=True)
        self.indices = before
