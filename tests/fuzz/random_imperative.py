"""Random Python programs that loop, branch and write into arrays with several names, as source text.

They work on vectors ``a``, ``b`` and ``u``, of which ``u`` is another name of an array, a part of one or a new one, on
a matrix ``A``, scalars ``s`` and ``t``, and a small integer ``k``. The names keep their shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from random_statements import StatementGenerator, templates

#: In templates ``V`` and ``W`` are vectors, ``S`` and ``T`` scalars; ``N`` is the length of the vectors.
STATEMENTS = """
V[I] = E|V[I] += E|V[I] *= np.cos(E)|S = 0.6 * E|S += 0.3 * E|V += E|V *= np.cos(E)|V = 0.7 * W + E|V = np.tanh(W)
V[1:] += 0.5 * W[:-1]|V[::2] = W[::2] * E|V[k:] = np.cos(W[k:]) * E|V[::-1] -= 0.5 * W|V[V > E] = S|V[:] = W
A[I] = W|A[:, I] += V|A[I, I] -= E|A[I] *= np.cos(E)|A[I, 1:] += E|np.add.at(V, [0, 2, 0], E)|np.sin(V, out=W)
V, W = W, V|S, T = T, 0.5 * S|V = W|V = A[I]|V = W[::-1]|V = W.copy()|V = A[:, I]|V, S = W, 0.5 * E|V = W = V * 0.5
"""
EXPRESSIONS = """
s|t|V[I]|V[I]|A[I, I]|0.3|np.sin(E)|np.tanh(E)|E * E|E + E|E - E|np.sum(V[:k])|np.max(V)|np.tanh(V @ W)|abs(E)|min(E, E)
(E if C else E)|0.2 * sum(V)|np.tanh(sum(z * E for z in V))|0.1 * k|np.mean(A[:, I])
"""
CONDITIONS = "E < 0.2|E > -0.3|k % 2 == 0|-0.5 < E < 0.6|E > 0 and E < 0.5|not E > 0|np.any(V > 0.8)"
LOOPS = """
for i in range(N):|for i in range(N - 1, -1, -1):|for i in range(k):|for i in range(k, N):|for i in range(1, N, 2):
for x in V:|for x, y in zip(V, W):|for i, x in enumerate(V):|for v in A:|for i in range(2):|while C and n < 9:
"""
OTHER_NAMES = ("a", "b", "a[::-1]", "A[1]", "A[:, 0]", "a * 2")
RETURN = "return a, b, u, A, s, t"


class ImperativeGenerator(StatementGenerator):
    """``text`` is the source of a function ``f(a, b, A, s, t, k)``, ``args`` are arguments for it."""

    EXPRESSIONS, SIMPLE, CONDITIONS = templates(EXPRESSIONS), 6, templates(CONDITIONS)
    STATEMENTS, LOOPS, ODDS = templates(STATEMENTS), templates(LOOPS), (0.6, 0.78)
    OTHERWISE, endings = (0.2, 0.5), [(0.1, RETURN)]

    def __init__(self, seed: int, statements: int = 10) -> None:
        super().__init__(seed, statements, ["def f(a, b, A, s, t, k):"])
        self.length = self.draw.choice((3, 4, 9, 12))
        self.lines += [f"    u = {self.draw.choice(OTHER_NAMES)}", "    n = 0"]
        self.write(RETURN)
        rng, n = np.random.default_rng(seed), self.length
        vectors = [rng.uniform(-1, 1, n), rng.uniform(-1, 1, n), rng.uniform(-1, 1, (n, n))]
        self.args: list[Any] = [*vectors, *rng.uniform(-1, 1, 2), int(rng.integers(0, 3))]

    def words(self) -> dict[str, str | Callable[[], str]]:
        v, w = self.draw.sample(("a", "b", "u"), 2)
        s, t = self.draw.sample(("s", "t"), 2)
        return {"V": v, "W": w, "S": s, "T": t, "N": str(self.length)}

    def position(self) -> str:
        name = self.draw.choice(self.indices)
        return self.draw.choice((name, name, f"{name} - 1", f"-1 - {name}", "0", "-1", str(self.length // 2)))
