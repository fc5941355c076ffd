"""Random programs about rows of tables: swapped, replaced, read under other names before and after."""

from __future__ import annotations

import random

#: Indices of rows; ``k`` and ``j`` are traced.
ROWS = ("k", "j", "0", "2", "(i % 5)")


def program(seed: int) -> str:
    """The text of ``program(A, ks)``: ``A`` has five rows of three numbers, ``ks`` 21 numbers of rows."""
    return _Rows(seed).text


class _Rows:
    def __init__(self, seed: int) -> None:
        self.rng, self.names = random.Random(seed), list[str]()
        before = ["M = [list(r) for r in A]", "N = [[float(i), 1.0, 2.0] for i in range(5)]", "t = 0.0"]
        keeps = self.rng.random() < 0.3
        if keeps:
            before.append(f"keep = M[{self.rng.randrange(5)}]")
        body = ["k = ks[i]", "j = ks[i + 1]"]
        for _ in range(self.rng.randrange(1, 6)):
            if self.rng.random() < 0.25:
                body.append(f"if {self.rng.choice(['k != j', 'M[k][0] > M[j][1]', 'k > 2'])}:")
                body += [f"    {x}" for _ in range(self.rng.randrange(1, 3)) for x in self.statement()]
            else:
                body += self.statement()
        after = ["M[1][0] += 10"] if self.rng.random() < 0.3 else []
        loop = [f"for i in range({self.rng.choice([3, 20])}):", *(f"    {x}" for x in body)]
        lines = [*before, *loop, *after, f"return M, N, t{', keep' if keeps else ''}"]
        self.text = "\n".join(["def program(A, ks):", *(f"    {x}" for x in lines)]) + "\n"

    def statement(self) -> list[str]:
        rng = self.rng
        table, a, b, n = rng.choice("MMMN"), rng.choice(ROWS), rng.choice(ROWS), rng.randrange(3)
        name = rng.choice(self.names) if self.names else ""
        kind = rng.randrange(13)
        if kind == 7:
            self.names.append(rng.choice("rs"))
            return [f"{self.names[-1]} = {table}[{a}]"]
        if kind in (8, 9, 10) and name:
            return [(f"t += {name}[{n}]", f"{name}[{n}] -= 1.5", f"{table}[{a}] = {name}")[kind - 8]]
        swap = f"{table}[{a}], {table}[{b}] = {table}[{b}], {table}[{a}]"
        return {
            2: [f"tmp = {table}[{a}]", f"{table}[{a}] = {table}[{b}]", f"{table}[{b}] = tmp"],
            3: [f"{table}[{a}] = [x + {n} for x in {table}[{b}]]"],
            4: [f"{table}[{a}] = [t, 1.0, i * 0.5]"],
            5: [f"{table}[{a}][{n}] += 2"],
            6: [f"{table}[{a}][{n}] *= 0.5"],
            11: [f"{table}[{a}] = {table}[{b}]"],
            12: [f"t += {table}[{a}][{n}] * 0.5"],
        }.get(kind, [swap] if kind < 2 else [f"t += sum({table}[{a}])"])
