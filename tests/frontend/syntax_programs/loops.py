"""Loops and jumps."""

# ruff: noqa
# fmt: off

from __future__ import annotations

from .registry import case


@case((0,), (1,), (5,))
def for_simple(n):
    s = 0
    for i in range(n):
        s += i * i
    return s


@case((0,), (3,))
def for_target_after(n):
    for i in range(n):
        pass
    return i


@case(([],), ([1, 2],), ([1, 5, 2],))
def for_break_else(xs):
    for x in xs:
        if x > 3:
            found = x
            break
    else:
        found = None
    return found, x


@case((10, 3), (10, 30), (0, 1))
def for_continue(n, k):
    out = []
    for i in range(n):
        if i % 2:
            continue
        if i > k:
            break
        out.append(i)
    return out


@case((5,), (0,))
def for_continue_in_the_middle(n):
    a = b = c = 0
    for i in range(n):
        a += 1
        if i > 1:
            b += 1
            if i > 2:
                continue
            b += 10
        c += 1
    return a, b, c


@case(([[1, 2], [3, -1, 4]],), ([[1], [2]],), ([],))
def for_return_nested(rows):
    for row in rows:
        for x in row:
            if x < 0:
                return row, x
        last = row
    return last


@case((6, 6), (3, 1), (0, 0))
def nested_break_continue_else(n, m):
    log = []
    for i in range(n):
        for j in range(m):
            if j == i:
                continue
            if j > i + 1:
                break
            log.append((i, j))
        else:
            log.append("else")
            if i == 2:
                continue
            log.append("more")
        log.append(("end", i, j))
        if i == 4:
            break
    else:
        log.append("outer else")
    return log


@case((8,), (2,), (0,))
def return_from_else(n):
    for i in range(n):
        for j in range(i):
            if i * j == 6:
                return "found", i, j
        else:
            if i == 5:
                return "else", i
    return "none"


@case((7,), (1,), (0,))
def while_loop(n):
    k, steps = 1, 0
    while k < n:
        k *= 2
        steps += 1
    return k, steps


@case((27,), (1,))
def collatz(n):
    steps = 0
    while True:
        if n == 1:
            break
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


@case((2.0, 1e-9), (0.5, 1e-3))
def newton(x, tol):
    y = x
    while True:
        z = 0.5 * (y + x / y)
        if abs(z - y) < tol:
            return z
        y = z


@case((5,), (0,), (50,))
def while_else_break_continue(n):
    i = 0
    out = []
    while i < n:
        i += 1
        if i == 3:
            continue
        if i == 10:
            break
        out.append(i)
    else:
        out.append("else")
    return out


@case((3,), (9,))
def while_with_jump_only(n):
    while n:
        n -= 1
        if n == 4:
            return "four"
        continue
    else:
        return "zero"
    return "never"


@case((0,), (1,), (2,), (3,))
def loops_that_run_once(n):
    for i in range(3):
        if n == 0:
            return "a"
        elif n == 1:
            break
        elif n == 2:
            continue
        return "b", i
    return "c", i


@case((4,), (1,))
def three_deep(n):
    s = 0
    for i in range(n):
        for j in range(n):
            for k in range(n):
                if k == j:
                    break
                if i == k:
                    continue
                if i + j + k == 7:
                    return s
                s += i * j + k
    return -s


@case((4,))
def loop_rebinds_its_iterable(n):
    xs = range(n)
    s = 0
    for xs in xs:
        s += xs
    return s, xs


@case((3,))
def bound_changes_in_the_loop(n):
    s = 0
    for i in range(n):
        n = n + 1
        s += n
    return s, n


@case(([1, 2, 3],))
def list_grows(xs):
    for x in xs:
        if len(xs) < 6:
            xs.append(x * 10)
    return xs


@case((5,))
def dead_code(n):
    for i in range(n):
        if i > 2:
            break
            i = 100
        else:
            continue
            i = 200
        i = 300
    return i
    n = 3


@case(([3, 4],), ([],))
def temporaries(xs):
    s = 0
    for x in xs:
        t = x + 1
        u = t * t
        s = s + u
    t = "other"
    return s, t


@case((3,), (0,))
def temporary_read_after(n):
    for i in range(n):
        t = i * 2
    return t
