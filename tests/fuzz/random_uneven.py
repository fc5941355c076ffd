"""Random programs about branches that give lists and arrays of different lengths: by return, by assignment, in loops;
with other names for them, and changes afterwards."""

from __future__ import annotations

import random

#: Lists of known length, and of one that only the run tells.
LISTS = ("[]", "[x[0]]", "[x[1], 2.0]", "[v for v in x if v > t]", "[v * 2 for v in x[:3]]", "ways(x, t)")
ARRAYS = ("x[:2]", "x[x > t]", "x * 2", "np.zeros(3)", "x", "np.concatenate([x, x])")
TESTS = ("x[0] > t", "x[1] > 0.5", "t > 0.3", "x.sum() > 3")


def program(seed: int) -> str:
    """The text of ``program(x, t)``: ``x`` has six numbers between 0 and 1, as ``t`` is."""
    return _Uneven(seed).text


class _Uneven:
    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        lines = ["def ways(x, t):", *(f"    {x}" for x in self.guards(LISTS[:5]))]
        lines += ["def arrays(x, t):", *(f"    {x}" for x in self.guards(ARRAYS))]
        body = [f"a = {rng.choice(LISTS)}", f"b = {rng.choice(LISTS)}", "u = x * 1.0", "v = x[:2]", "s = 0.0"]
        for _ in range(rng.randrange(1, 6)):
            body += self.statement()
        lines += [*body, "return s, sum(a), len(a), sum(b), len(b), u.sum(), len(u), v.sum(), len(v)"]
        self.text = "\n".join(["def program(x, t):", *(f"    {x}" for x in lines)]) + "\n"

    def guards(self, values: tuple[str, ...]) -> list[str]:
        rng, lines = self.rng, list[str]()
        for _ in range(rng.randrange(1, 3)):
            lines += [f"if {rng.choice(TESTS)}:", f"    return {rng.choice(values)}"]
        if values[0] != "[]" or rng.random() < 0.4:
            return [*lines, f"return {rng.choice(values)}"]
        loop = rng.choice(["for q in x:", "while len(out) < 8 * t:"])
        leave = ["    if len(out) > 3 * x[2]:", f"        {rng.choice(['return out', 'break', 'return out + [1.0]'])}"]
        item = "q + t" if loop[0] == "f" else "t * len(out)"
        return [
            "out = []",
            *lines,
            loop,
            *(leave if rng.random() < 0.6 else []),
            f"    out.append({item})",
            "return out",
        ]

    def statement(self, depth: int = 0) -> list[str]:
        rng = self.rng
        a, b = rng.choice(["ab", "ba"])
        u, v = rng.choice(["uv", "vu"])
        test, kind = rng.choice(TESTS), rng.randrange(16 if depth < 2 else 11)
        if kind >= 13:
            inner = [x for _ in range(rng.randrange(1, 3)) for x in self.statement(depth + 1)]
            head = f"if {test}:" if kind > 13 else f"for i in range({rng.choice([2, 12])}):"
            other = ["else:", *(f"    {x}" for x in self.statement(depth + 1))] if kind == 15 else []
            return [head, *(f"    {x}" for x in inner), *other]
        return [
            [f"{a} = {b} if {test} else {rng.choice(LISTS)}"],
            [f"{a} = {rng.choice(LISTS)} if {test} else {rng.choice(LISTS)}"],
            [f"{u} = {v} if {test} else {rng.choice(ARRAYS)}"],
            [f"{u} = {rng.choice([*ARRAYS, 'arrays(x, t)'])}"],
            [f"{a} = ways(x, t)"],
            [f"{a}.append({rng.choice(['1.0', 't', 'x[3]'])})"],
            [f"{a}.extend({rng.choice([b, 'ways(x, t)', '[t, 2.0]', 'x[x > t]'])})"],
            [f"s += sum({a}) + len({b})"],
            [f"s += {u}.sum() * 0.5"],
            [f"if len({a}) > 0:", f"    {a}[0] = {a}[-1] + 1.0"],
            [f"if len({u}) > 0:", f"    {u}[0] += 1.0"],
            [f"if {test}:", f"    {a} = {rng.choice(LISTS)}"],
            [f"if {test}:", f"    {u} = {rng.choice(ARRAYS)}", "else:", f"    {u} = {u} * 2"],
        ][min(kind, 12)]
