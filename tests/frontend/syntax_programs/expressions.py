"""Expressions."""

# ruff: noqa
# fmt: off

from __future__ import annotations

from .registry import PROGRAMS, case


@case((1, 2, 3), (0, 2, 3), (3, 0, 1), ([], 0, ""))
def boolean(a, b, c):
    return a and b, a or b, a and b and c, a or b or c, not a, (a or b) and not c, a and (b or c)


@case((0,), (1,))
def short_circuit(n):
    log = []

    def note(x):
        log.append(x)
        return x

    value = note(n) and note(2) or note(0) or note(4)
    chained = note(0) < note(n) < note(3) <= note(3) != note(9)
    return value, chained, log, n and undefined


@case((1, 2, 3), (2, 1, 0), (1.5, 1.5, 1.5))
def chained(a, b, c):
    d = a < b < c, a <= b + 0 <= c, a < b > c, 1 < a < 2, (a, b) < (b, c) < (c, c)
    return d, a is not b is not c, a in (1, 2) in [True]


@case((1,), (-1,))
def conditional(x):
    y = 1 if x > 0 else 2 if x < 0 else 3
    return (lambda v: v if v > y else -v)(x), [k if k % 2 else -k for k in range(3)]


@case((3,), (0,))
def walrus(n):
    out = []
    while (k := n - len(out)) > 0:
        out.append(k)
    if (m := len(out)) > 1 and (z := m * 2):
        out.append(z)
    if [last := x for x in out]:
        out.append(last)
    return out, m, k


@case((3,), (0,))
def walrus_may_be_unbound(n):
    if n > 1 and (z := n):
        pass
    return z


@case((5,),)
def walrus_while_else(n):
    while (n := n - 1) > 0:
        if n == 7:
            break
    else:
        n = "else"
    return n


@case((3,))
def comprehensions(n):
    i = "outer"
    a = [i * j for i in range(n) for j in range(i) if i > 0 if not j]
    b = {k: v for k, v in enumerate(zip(range(n), reversed(range(n)))) if v[0] < n}
    c = {x for x in a if x is not None and x >= 0}
    d = [[y for y in range(x)] for x in range(n) if 0 <= x < n]
    return i, a, b, c, d, sum(x for x in range(n) if x or n)


@case((3,), (0,))
def comprehension_of_unbound(n):
    for i in range(n):
        t = i
    return [t + k for k in range(2)]


@case((3,))
def shadowed_range(n):
    range = lambda k: [k, k + 1]
    s = []
    for i in range(n):
        s.append(i)
    return s, [j for j in range(n)]


@case(([1, 2, 3], [4, 5, 6]))
def iterables(xs, ys):
    out = []
    for k, (x, y) in enumerate(zip(xs, reversed(ys)), start=1):
        out.append((k, x, y))
    for i in reversed(range(0, 10, 3)):
        out.append(i)
    for x, y in zip(xs, ys, strict=True):
        out.append(x * y)
    for c in "ab":
        out.append(c)
    for key, value in {"a": 1}.items():
        out.append((key, value))
    return out


@case((3,), ("ab",), (None,))
def not_iterable(n):
    for i in n:
        pass
    return i


@case(([(1, 2), (3,)],), ([(1, 2)],))
def bad_unpacking(xs):
    for a, b in xs:
        c = a
    return c


@case((0,), (1,))
def asserts(n):
    for i in range(2):
        assert n < 1
        assert n < 1, (
            f"n is {n}"
        )
    assert n is not None
    return n


@case((0,))
def assert_message(n):
    assert n > 0, [n]


@case((3,))
def formatted(n):
    return f"{n if n > 2 else -n:>{n and 4}} {[n for n in range(n)]} {n=}"


ODD = [lambda x: x if x > 0 else -x, lambda x: x and 1, lambda x: [x][x:] or (x < 3 < x + 9)]
for _fun in ODD:
    PROGRAMS.append((_fun, [(1,), (-1,), (0,)]))
MULTILINE = (
    lambda x, y=2: (
        x < y < 5
        and x
    )
)
PROGRAMS.append((MULTILINE, [(1,), (7,), ("a",)]))
