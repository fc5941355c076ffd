"""Random Python programs in which what lists hold has other names, as source text.

They work on a vector ``V`` of 20 and a matrix ``M`` of 20 by 3, a number ``s`` and a small integer ``k``. The lists
hold numbers (``xs``), short lists (``rs``), arrays and rows of the matrix (``qs``), tuples (``ts``) and objects
(``os``); a dict and an object hold more lists. Other names, views, copies and slices change the items before and after
they are appended, inside and outside of branches and loops.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from random_statements import StatementGenerator, templates

#: In templates ``L`` is a list of that kind or another name of one, ``J`` a place in it.
OVER_NUMBERS = """
xs.append(E)|xs.append(E)|L.append(E)|xs[-1] = E|L[J] += E|ys = xs|ys = xs[:]|ys = list(xs)|s += L[-1]
xs.extend([E, E])
xs.insert(0, E)|s += xs.pop()|xs += [E]|ys = xs + [E]|xs[J] = E|s += of_numbers(L)|xs = [E, s]|ys = xs.copy()
rs.append(xs)|xs = rs[J]|xs, ys = ys, xs
"""
OVER_ROWS = """
row = [E, E]|row = [E, 1.0]|rs.append(row)|rs.append(row)|L.append(row)|row[0] = E|row[1] += E|row[J2] = E|other = row
other[0] = E|other = L[J]|L[-1][0] = E|L[J][1] += E|L.append(list(row))|L.append(row[:])|row = L[J]|L.append([E, E])
rs.insert(0, row)|row = rs.pop()|rs.extend([row])|rs.extend([row, [E, E]])|rs += [row]|s += L[-1][0]|s += of_rows(L)
for z in L: z[0] = E|for z in L: s += z[1]|us = rs[:]|us = rs|us = list(rs)|us = rs.copy()|L[J] = row|us = [row]
rs[0], rs[-1] = rs[-1], rs[0]|row, other = other, row|row = list(other)|rs.append(other)|rs = [row, [E, E]]
row[:] = [E, E]|row.reverse()|row.sort()|us = [row, row]|us = [list(z) for z in rs]|us = [z for z in rs]|row += []
us = [z for z in rs if z[0] > E]|us = [row for z in rs]|us = [[E, E]] * 3|other = row if C else [E, E]
row[0], row[1] = row[1], row[0]|write(row, E)|write(L[J], E)|row = fresh(E)|rs.append(fresh(E))|rs.append(same(row))
"""
OVER_ARRAYS = """
a = E * M[I]|a = M[I]|a = M[I].copy()|qs.append(a)|qs.append(a)|L.append(a)|qs.append(M[I])|a[0] = E|a[J3] += E|a += E
a *= 0.5|b = a|b = a[:]|b = a[::-1]|b[0] = E|b += E|c = a[1:]|c[0] = E|M[I] = E|M[I, 0] = E|M[:, 1] += E|L[-1][0] = E
L[J][1] += E|a = L[J]|b = L[J]|s += np.sum(L[-1])|qs.append(a.copy())|qs.append(np.asarray(a))|qs.append(a.ravel())
qs.append(b)|qs.insert(0, a)|a = qs.pop()|qs.extend([a, E * a])|qs.extend([a])|qs += [M[I]]|vs = qs[:]|vs = qs
vs = list(qs)|for z in L: z[0] = E|for z in L: s += z[1]|s += of_arrays(L)|L[J] = a|L[J] += E|qs.append(E * a)
a, b = b, a
a = a * 0.5|np.add(a, E, out=a)|a[:] = E|a[a > E] = 0.25|vs = [M[i] for i in range(20)]|vs = [a for z in qs]
vs = [a, b]
vs = [M[i] for i in range(20) if V[i] > E]|a = b if C else E * M[I]|a = np.array([E, E, E])|write(a, E)|write(L[J], E)
qs.append(same(a))|c = M[I, 1:]|qs.append(M.T[:, I])|G = M[5:15]|qs.append(G[I % 10])|G[I % 10, 1] = E
vs = [z * 1.0 for z in qs]
vs = [z for z in qs if z[0] > E]|a = np.array(row + [E])|a[:2] = row|qs[0], qs[-1] = qs[-1], qs[0]
"""
OVER_TUPLES = """
ts.append((E, a))|ts.append((E, a))|ts.append((E, M[I]))|a[0] = E|a += E|u, a = ts[J]|ts[-1][1][0] = E
ts[J][1][J3] += E
b = ts[J][1]|b[1] = E|M[I, 0] = E|a = E * M[I]|pair = (E, a)|ts.append(pair)|pair[1][0] = E|pair = ts[J]
s += ts[J][1][0]
for x, z in ts: z[0] = E|for x, z in ts: s += x * z[1]|ts.insert(0, (E, a))|u, a = ts.pop()|ts.extend([pair])
s += of_tuples(ts)
ns.append((E, row))|ns.append([row, E])|row = [E, E]|row[0] = E|ns[-1][1][0] = E|b = a|ts[J] = pair
qs.append(ts[J][1])
"""
OVER_OBJECTS = """
p = P(E, a)|p = P(E, E * M[I])|os.append(p)|os.append(p)|L.append(p)|p.v = E|p.w[0] = E|p.w = a|a[0] = E|p.v += E
p.w += E
q = p|q.v = E|q.w[J3] = E|L[-1].v = E|L[J].w[0] += E|p = L[J]|q = L[J]|s += L[-1].v|os.append(P(E, a))|b = p.w
b[0] = E
os.insert(0, p)|p = os.pop()|os.extend([p, P(E, E * M[I])])|ps = os[:]|ps = os|for z in L: z.v = E|s += of_objects(L)
for z in L: s += z.v|a = E * M[I]|p = P(E, M[I])|M[I, 0] = E|os.append(p.copy())|a = L[J].w|p, q = q, p|L[J] = p
row = [E, E]
hs.append(H(row))|hs.append(H([E, E]))|row[0] = E|hs[-1].r[0] = E|h = H(row)|hs.append(h)|h.r[1] = E|h.r = row
row = hs[J].r
"""
OVER_HOLDERS = """
d['k'].append(row)|d['k'].append(row)|d['m'].append(a)|g.log.append(a)|g.rows.append(row)|row[0] = E|row = [E, E]
a[0] = E
a = E * M[I]|a = M[I]|M[I, 0] = E|d['k'][-1][0] = E|d['m'][J][1] += E|row = d['k'][J]|a = d['m'][J]|g.log[-1][0] = E
g.rows[J][1] = E|d['k'] = rs|rs = d['k']|g.rows = d['k']|g.log = d['m']|s += d['k'][-1][0]|s += g.rows[J][1]
g.put(row, a)
g.put([E, E], E * a)|g.last = row|g.last[0] = E|d['last'] = a|d['last'][0] = E|d['m'].append(M[I])|g.log.append(M[I])
B[k % 2].append(row)|B[k % 2].append([E, E])|B[I % 2].append(row)|s += of_rows(B[1])|row[1] += E|D[I % 2].append(a)
other = row|other[1] = E|b = a|b[1] = E|a += E|s += of_arrays(D[0])|d['k'].append(list(row))|d['m'].append(a.copy())
e = {'x': E}|es.append(e)|e['x'] = E|es[-1]['x'] = E|s += es[J]['x']|e = es[J]
"""
EXPRESSIONS = "s|V[I]|V[I]|0.5|9.0|E * E|E + E|np.sin(E)|M[I, 1]|row[0]|a[1]"
CONDITIONS = "V[I] > -10|V[I] > -10|V[I] > 0|V[I] > 5|s < 0.3|k > 2|I % 2 == 0|E > 0|E < E"
LOOPS = """
for i in range(20):|for i in range(20):|for i in range(20):|for i in range(3):|for i in range(k):
for i, x in enumerate(V):
for i in range(k, 20):|for i in range(2):|while C and n < 30:
"""
#: Of each kind: its statements, the names of its lists, and what is returned of it.
KINDS = {
    "numbers": (OVER_NUMBERS, ("xs", "ys"), ("of_numbers(xs)", "of_numbers(ys)", "np.sum(np.array(xs))")),
    "rows": (
        OVER_ROWS,
        ("rs", "us"),
        ("of_rows(rs)", "of_rows(us)", "np.sum(np.array(rs)[:, 0])", "other[0] + row[1]"),
    ),
    "arrays": (
        OVER_ARRAYS,
        ("qs", "vs"),
        ("of_arrays(qs)", "of_arrays(vs)", "np.sum(np.array(qs)[:, 0])", "b[0]", "c[0]"),
    ),
    "tuples": (OVER_TUPLES, ("ts", "ts"), ("of_tuples(ts)", "pair[1][0]", "b[0]", "len(ns)")),
    "objects": (
        OVER_OBJECTS,
        ("os", "ps"),
        ("of_objects(os)", "of_objects(ps)", "p.v + p.w[0]", "q.v", "h.r[0]", "of_held(hs)"),
    ),
    "holders": (
        OVER_HOLDERS,
        ("rs", "us"),
        (
            "of_rows(d['k'])",
            "of_arrays(d['m'])",
            "of_arrays(g.log)",
            "of_rows(g.rows)",
            "of_rows(B[0])",
            "of_rows(B[1])",
            "of_arrays(D[0])",
            "of_mapped(es)",
            "e['x']",
            "other[1]",
            "b[1]",
        ),
    ),
}
#: What makes the names of a kind that not all programs need.
FIRST = {
    "xs": "xs = [s, 0.5, V[0]]",
    "ys": "ys = [s, 0.25]",
    "rs": "rs = [[s, 1.0], [0.5, V[1]]]",
    "us": "us = [[s, 2.0], [1.0, s]]",
    "other": "other = [0.25, s]",
    "qs": "qs = [s * M[0], M[14] * 1.0]",
    "vs": "vs = [M[3] * 1.0, M[4] * s]",
    "b": "b = M[5] * 1.0",
    "c": "c = M[6] * 1.0",
    "G": "G = M[5:15]",
    "ts": "ts = [(s, M[1] * 1.0), (0.5, M[15] * s)]",
    "pair": "pair = (s, M[2] * 1.0)",
    "ns": "ns = []",
    "os": "os = [P(s, M[7] * 1.0), P(0.5, M[16] * s)]",
    "ps": "ps = [P(s, M[8] * 1.0), P(0.5, M[17] * s)]",
    "p": "p = P(s, M[9] * 1.0)",
    "q": "q = P(s, M[10] * 1.0)",
    "h": "h = H([s, 1.0])",
    "hs": "hs = [H([s, 2.0]), H([0.5, s])]",
    "d": "d = {'k': [[s, 1.0]], 'm': [M[11] * s], 'last': M[12] * 1.0}",
    "g": "g = G_(M[13] * s, [s, 3.0])",
    "B": "B = [[], []]",
    "D": "D = {0: [], 1: []}",
    "e": "e = {'x': s}",
    "es": "es = [{'x': 1.0}]",
}
BEFORE = """
class P:
    def __init__(self, v, w):
        self.v, self.w = v, w

    def copy(self):
        return P(self.v, self.w.copy())

class H:
    def __init__(self, r):
        self.r = r

class G_:
    def __init__(self, x, r):
        self.log, self.rows, self.last = [x], [r], [0.5, 0.25]

    def put(self, row, x):
        self.rows.append(row)
        self.log.append(x)

def write(z, x):
    z[0] = x

def same(z):
    return z

def fresh(x):
    return [x, 1.0]

def of_numbers(z):
    t = 0.0
    for j, x in enumerate(z):
        t = t + np.cos(j) * x
    return t

def of_rows(z):
    t = 0.0
    for j, x in enumerate(z):
        t = t + np.cos(j) * (x[0] + 2.0 * x[1])
    return t

def of_arrays(z):
    t = 0.0
    for j, x in enumerate(z):
        t = t + np.cos(j) * np.sum(x * np.arange(1.0, 4.0))
    return t

def of_tuples(z):
    t = 0.0
    for j, (x, y) in enumerate(z):
        t = t + np.cos(j) * (x + np.sum(y * np.arange(1.0, 4.0)))
    return t

def of_objects(z):
    t = 0.0
    for j, x in enumerate(z):
        t = t + np.cos(j) * (x.v + np.sum(x.w * np.arange(1.0, 4.0)))
    return t

def of_held(z):
    t = 0.0
    for j, x in enumerate(z):
        t = t + np.cos(j) * (x.r[0] + 2.0 * x.r[1])
    return t

def of_mapped(z):
    t = 0.0
    for j, x in enumerate(z):
        t = t + np.cos(j) * x['x']
    return t

def program(V, M, s, k):
    row = [s, 0.75]
    a = M[2] * 0.5
""".strip().splitlines()


#: What a statement does: it adds an item, reads, gives a name, or else it changes something.
ADDS, READS, NAMES = (
    re.compile(x) for x in (r"\.(append|extend|insert|put)\(|^\ws \+= \[", r"^s |: s \+=", r"^[\w, ]+ = ")
)


def role(template: str) -> str:
    return next((n for n, x in (("add", ADDS), ("read", READS), ("name", NAMES)) if x.search(template)), "change")


class AliasGenerator(StatementGenerator):
    """``text`` is the source of a function ``program(V, M, s, k)``, ``args`` are arguments for it."""

    SIMPLE, LOOPS, ODDS = 6, templates(LOOPS), (0.7, 0.84)

    def __init__(self, seed: int, statements: int = 3) -> None:
        super().__init__(seed, statements, list(BEFORE))
        self.kinds = self.draw.sample(sorted(KINDS), self.draw.choice((1, 1, 1, 1, 2)))
        self.EXPRESSIONS, self.CONDITIONS = templates(EXPRESSIONS), templates(CONDITIONS)
        self.STATEMENTS = [x for kind in self.kinds for x in templates(KINDS[kind][0])]
        self.endings = []
        head, results = len(self.lines), [x for kind in self.kinds for x in KINDS[kind][2]]
        self.first_loop()
        results = self.draw.sample(results, self.draw.randint(1, len(results)))
        self.write(f"return {', '.join(['s', 'row[0]', 'a[0]', 'M[2, 0]', *dict.fromkeys(results)])}")
        body = self.text.splitlines()[head:]
        words = set(re.findall(r"\w+", "\n".join(body)))
        used = [f"    {line}" for name, line in FIRST.items() if name in words]
        self.text = "\n".join([*self.lines[:head], *used, "    n = 0", *body, ""])
        rng = np.random.default_rng(seed)
        vector, matrix = (np.round(rng.uniform(-1, 1, shape), 3) for shape in (20, (20, 3)))
        self.args: list[Any] = [vector, matrix, 0.375, int(rng.integers(1, 6))]

    def first_loop(self) -> None:
        """A loop that makes things, adds them to lists, and changes them or reads them behind that."""
        depth = self.draw.choice((1, 1, 1, 1, 2))
        if depth == 2:
            self.emit(1, "for i1 in range(2):")
            self.indices.append("i1")
        index = f"i{depth}"
        self.emit(depth, f"for {index} in range({self.draw.choice(('20', '20', '20', '20', 'k', 'k + 1, 20', '3'))}):")
        self.indices.append(index)
        steps = (("name", 0.8), ("name", 0.3), ("change", 0.25), ("add", 1.0), ("name", 0.2), ("change", 0.55),
                 ("add", 0.15), ("change", 0.2), ("read", 0.3))  # fmt: skip
        for kind, odds in steps:
            if self.draw.random() < odds:
                branches = self.draw.random() < (0.45 if kind == "add" else 0.2)
                if branches:
                    self.emit(depth + 1, "if C:")
                choices = [x for x in self.STATEMENTS if role(x) == kind]
                self.emit(depth + 1 + branches, self.draw.choice(choices))
        del self.indices[1:]

    def words(self) -> dict[str, str | Callable[[], str]]:
        names = KINDS[self.draw.choice(self.kinds)][1]
        return {
            "L": self.draw.choice((names[0], names[0], names[1])),
            "J": lambda: self.draw.choice((*(f"{i} // 9" for i in self.indices[1:]), "0", "-1", "-1", "-2")),
            "J2": lambda: self.draw.choice(("0", "1", "k % 2")),
            "J3": lambda: self.draw.choice(("0", "2", "k % 3")),
        }

    def position(self) -> str:
        name = self.draw.choice(self.indices)
        return self.draw.choice((name, name, name, f"({name} + 1) % 20", "0", "2", "-1"))
