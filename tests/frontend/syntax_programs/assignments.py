"""Subscripts and assignments."""

# ruff: noqa
# fmt: off

from __future__ import annotations

from .blocks import tracked
from .registry import case


@case(([1, 2, 3], 1), ([1], 5), ((1, 2), 0))
def items(a, i):
    a[i] = a[i - 1] + a[-1]
    a[i] += 5
    a[0], a[i] = a[i], a[0]
    return a, a[i:], a[: i + 1], a[::-1], a[i : i + 1 : 1], a[0:1]


@case(([0] * 6,))
def targets(a):
    i = 0
    i, a[i] = 1, 10
    a[i], i = i, 2
    a[i], (a[i + 1], *a[4:]), b = 1, (2, 3, 4, 5), 6
    [a[0], c] = a[5] = 7, 8
    *a[:1], d = 1, 2, 3
    for a[1] in range(3):
        pass
    for a[i], j in [(5, 6), (7, 8)]:
        i += 1
    x = a[0] = y = 9
    return a, i, j, x, y, b, c, d


class Point:
    x = 1

    def __init__(self):
        self.data = [1, 2, 3]
        self.inner = self.__dict__


@case((2,))
def attributes(n):
    p = Point()
    for p.x in range(n):
        p.data[p.x] += 10
    p.x, p.data[0] = 5, p.x
    p.x += 1
    p.inner["z"], p.y = 1, 2
    if n > 1:
        p.w = p.x
    return p.data, p.x, p.y, p.w, p.z


@case((5, 3), (0, 3), (5, 0))
def augmented(x, y):
    a = [x]
    a[0] += y
    a[0] -= 1
    a[0] *= 2
    a[0] **= 2
    a[0] //= y
    a[0] %= 7
    a[0] <<= 2
    a[0] >>= 1
    a[0] &= 5
    a[0] |= 2
    a[0] ^= 3
    a[0] /= 2
    x += y
    x -= 1
    a += [x]
    b = {"k": [1]}
    b["k"] += [2]
    return a, b, x


@case(([1, 2],))
def order_of_evaluation(a):
    log = []

    def note(name, value):
        log.append(name)
        return value

    note("target", a)[note("index", 0)] = note("value", 5)
    note("a", a)[note("b", 0)], note("c", a)[note("d", 1)] = note("v", (1, 2))
    note("x", a)[note("y", 0) : note("z", 1)] = note("w", [9, 9])
    note("p", a)[note("q", 0)] += note("r", 1)
    return a, log


@case((3,))
def annotated(n):
    x: int = 0
    y: undefined_type
    a: list = [0, 0, 0, 0]
    for i in range(n):
        z: "int" = i
        x += z
        a[i]: int = x
    p = Point()
    p.q: float = 1.5
    return x, a, p.q


@case((3,))
def annotated_only(n):
    x: int
    if n > 5:
        x = 1
    return x


@case((2,), (0,))
def with_targets(n):
    a = [0, 0]
    log = []
    for i in range(n):
        with tracked(log) as a[i], tracked(log) as (a[0], *rest):
            a[1] = i
    return len(log), i


@case((2,))
def imports(n):
    for i in range(n):
        import math as m
        from os import path
    if n > 1:
        import os.path
    return m.pi, path.sep, os.sep


@case(([[1, 2], [3, 4]],))
def slices_of_names(a):
    i, j = 0, 1
    rows = a[i][j], a[i:j], a[i : j + 1][0], a[-j:], a[:], a[...] if i else None
    return rows, {"a": 1}["a"], "text"[i:j], (1, 2)[j]


@case((1,), (3,))
def index_error_line(n):
    xs = [1, 2]
    for i in range(n):
        y = (
            xs[
                i
            ]
        )
    return y


@case((1,), (3,))
def multiline_errors(n):
    if (
        n > 2
        and [1][n]
    ):
        return 1
    z = (1
         if n < 3
         else undefined)
    return (
        z <
        n <
        "text"
    )
