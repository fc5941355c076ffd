"""Branches and returns."""

# ruff: noqa
# fmt: off

from __future__ import annotations

from .registry import case


@case((1,), (-1,), (0,))
def early_returns(x):
    if x > 0:
        return "positive"
    if x < 0:
        return "negative"
    y = x + 1
    return y


@case((1, 2), (2, 1), (1, 1))
def elif_chain(a, b):
    if a > b:
        c = 1
    elif a < b:
        c = 2
        d = 5
    else:
        c = 3
    return c


@case((1,), (-1,))
def bound_in_one_branch(x):
    if x > 0:
        y = 1
    return y


@case((1,), (-1,))
def returns_in_both_and_rest(x):
    if x > 0:
        x = x + 1
        return x
    else:
        x = x - 1
    z = x * 2
    return z


@case((1, 1), (1, -1), (-1, 1), (-1, -1))
def returns_that_may_fall(a, b):
    if a > 0:
        if b > 0:
            return "both"
        a = 10
    else:
        a = 20
    if b > a:
        return "big"
    return a, b


@case((1, None), (-1, None), (1, 2), (-1, 2))
def static_test_around_return(x, option):
    if option is None:
        if x > 0:
            return "none"
        x = 5
    x = x + 1
    if option is not None:
        x = x + option
    return x


@case((1,), (-1,))
def no_value(x):
    if x > 0:
        return
    x = 3


@case((1,), (-1,))
def swaps_in_branches(x):
    a, b = 1, 2
    if x > 0:
        a, b = b, a
        t = a
    else:
        t = b
        b = a + b
    return a, b, t


@case((1,), (-1,))
def rebinds_what_the_other_branch_reads(x):
    t = 5
    if x > 0:
        t = t + 1
        y = t
    else:
        y = t
    return y


@case((1,), (-1,))
def return_branches_rebind(x):
    if x > 0:
        x = x + 1
        return x
    return x


@case((3,), (5,), (-2,))
def nested_ifs_with_jumps_in_loop(n):
    total = 0
    for i in range(10):
        if i > n:
            if i % 2:
                if n < 0:
                    return "negative"
                break
            elif n == 4:
                continue
            total += 100
        total += 1
    return total, i


@case((2,))
def only_static(n):
    if n is None:
        return 0
    if isinstance(n, int):
        n = n + 1
    for _ in range(2):
        n += 1
    return n
