"""with, try and match."""

# ruff: noqa
# fmt: off

from __future__ import annotations

import contextlib

from .registry import case

counter = 0


@contextlib.contextmanager
def tracked(log):
    log.append("enter")
    try:
        yield log
    finally:
        log.append("exit")


@case((3, []), (0, []))
def with_in_loop(n, log):
    for i in range(n):
        with tracked(log) as inner, tracked(inner):
            if i == 1:
                continue
            inner.append(i)
    return len(log)


@case((1, []), (5, []), (-1, []))
def return_in_with(n, log):
    with tracked(log):
        if n < 0:
            return "negative"
        for i in range(n):
            if i == 3:
                return i
        n = n + 1
    log.append("after")
    if n > 5:
        return "after"
    return n


@case((0,), (2,))
def suppressed(n):
    with contextlib.suppress(ZeroDivisionError):
        for i in range(3):
            last = i
            1 // (i - n)
            done = i
    return last, done


@case((0,), (2,), (9,))
def exception_leaves_loop(n):
    try:
        for i in range(5):
            t = i * 2
            1 // (i - n)
            u = t
    except ZeroDivisionError as e:
        return i, t, str(e)
    else:
        t = "else"
    finally:
        if n > 3:
            n = -1
    return n, i, t, u


@case((0,), (2,))
def only_the_handler_reads(n):
    t = "start"
    try:
        for i in range(3):
            t = i
            1 // (i - n)
        t = "end"
        return t
    except ZeroDivisionError:
        return t


@case((0,), (2,), (7,))
def read_behind_a_suppressed_exception(n):
    with contextlib.suppress(ZeroDivisionError):
        for i in range(3):
            t = i
            1 // (i - n)
        t = "end"
    return t


@case((0,), (3,), (9,))
def assigned_again_behind_a_break(n):
    global counter
    t = "start"
    for counter in range(5):
        if n < 10:
            t = counter
        if counter == n:
            break
        t = "lost"
    for counter in range(5):
        if n < 10:
            u = counter
        if n % 2 == 0:
            if counter == n:
                break
            u = "lost"
        else:
            u = "odd"
    return t, u


@case((0,), (2,), (9,))
def return_from_two_loops_one_of_which_breaks(n):
    out = []
    for i in range(4):
        for j in range(4):
            if i + j == n:
                return out
            out.append((i, j))
        if i == 2:
            break
        out.append(i)
    return "end"


@case((0,), (1,), (5,))
def try_in_loop(n):
    out = []
    for i in range(3):
        try:
            if i == n:
                raise ValueError(i)
            out.append(1 // (i - 2))
        except ValueError as e:
            out.append(str(e))
        except ZeroDivisionError:
            out.append("zero")
            continue
        else:
            out.append("else")
        finally:
            out.append("finally")
    return out


@case((0,), (1,), (5,))
def jumps_in_try(n):
    out = []
    for i in range(4):
        try:
            if i == n:
                break
            if i == 2:
                return out, "two"
        finally:
            out.append(i)
        for j in range(3):
            if j == i:
                break
            out.append((i, j))
    else:
        out.append("else")
    return out


@case((0,), (1,), (7,))
def return_in_loop_in_try(n):
    try:
        for i in range(4):
            if i == n:
                return i
        if n > 5:
            return "n"
    finally:
        n = 3
    return "end"


@case((0,), (1,), (7,))
def return_in_finally(n):
    for k in range(3):
        try:
            if n == k:
                raise KeyError(k)
        except KeyError:
            pass
        finally:
            if n > 5:
                return "finally", k
    return k


@case((1,), (2,))
def handler_name(n):
    e = "before"
    for i in range(n):
        try:
            if i == 1:
                raise ValueError("bad")
        except ValueError as e:
            message = str(e)
    return e


@case((1,), (2,))
def handler_rebinds_its_name(n):
    for i in range(n):
        try:
            raise ValueError("bad")
        except ValueError as e:
            e = "rebound"
            if i > 0:
                s = e
    return s, e


@case((3,))
def raises_in_loop(n):
    for i in range(n):
        if i == 2:
            raise RuntimeError(
                f"at {i}",
            )
    return n


@case(((1, 2),), ([1, 2, 3],), ({"k": 5, "z": 6},), (7,), ("text",))
def matches(x):
    for i in range(2):
        match x:
            case (a, b):
                return a + b
            case [a, *rest] if len(rest) > 1 and a > 0:
                r = rest
                break
            case {"k": v, **others}:
                if v > 4:
                    continue
                r = others
            case int() as r:
                pass
            case _:
                r = None
    return r, i


@case((0,), (1,))
def exception_in_test(n):
    while 1 // n:
        n = n - 1
    return n
