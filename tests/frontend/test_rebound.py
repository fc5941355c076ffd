"""Names that a loop binds to new arrays, where it is not known whether it runs: they stand for the first ones else."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import MutationError

B = np.array([0.5, 1.0, 2.0])
GLOBAL = np.ones(3)


def written_by_the_new_name(b, n):
    u = b
    for _ in range(n):
        u = u * 2
    u[0] = 5.0
    return b


def written_by_the_old_name(b, n):
    u = b
    while n > 0:
        u, n = u * 2, n - 1
    b[1:] += 1.0
    return u


def written_by_both_in_a_loop(b, n):
    u = b
    while n > 0:
        u, n = u * 2, n - 1
    u[0] += 5.0
    for i in range(1, len(b)):
        u[i] += u[i - 1] * 0.5
        b[i] *= u[i]
    return u


def written_in_branches(b, n):
    u = b
    for _ in range(n):
        u = np.sin(u)
    if u[0] > 0.48:
        u *= 3.0
    else:
        b[2] = u[1]
    return u + b


def a_view_of_a_view(b, n):
    u = b[1:]
    for _ in range(n):
        u = u + 1.0
    tail = u[1:]
    tail[0] = 9.0
    u[:1] += 2.0
    return u


def two_loops(b, n):
    u = b
    for _ in range(n):
        u = u * 2
    w = u
    for _ in range(n - 1):
        w = w + 1.0
    w[0] = 7.0
    b[2] = 3.0
    return u * 10 + w


def a_break(b, n):
    u = b
    for _ in range(n):
        u = u * 2
        if u[0] > 3.0:
            break
    u[u > 1.5] = 0.25
    return u


class Holder:
    def __init__(self, x):
        self.x = x


def an_attribute(b, n):
    h = Holder(b)
    for _ in range(n):
        h.x = h.x * 2
    h.x[1] = -1.0
    return h.x


def of_another_dtype(b, n):
    u = k = np.array([1, 2, 3])
    for _ in range(n):
        u = u * 1.5 * b
    u[0] = 2.0
    return u + k


def no_other_name(b, n):
    u = b + 1.0
    while n > 0:
        u, n = u * 2, n - 1
    u[0] = 5.0
    u += b
    return u


def carried_by_another_loop(b, n):
    u = b
    while n > 0:
        u, n = u * 2, n - 1
    for i in range(12):
        u[i % 3] += u[0]
        u = u * 0.5
    return u


def written_by_another_name(b, n):
    u = b
    while n > 0:
        u, n = u * 2, n - 1
    w, s = u, 0.0
    for i in range(12):
        w[i % 3] += 0.1
        s += u[0]
    return u + s


PROGRAMS = [
    written_by_the_new_name,
    written_by_the_old_name,
    written_by_both_in_a_loop,
    written_in_branches,
    a_view_of_a_view,
    two_loops,
    a_break,
    an_attribute,
    of_another_dtype,
    no_other_name,
    written_by_another_name,
]


@pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)
def test_values_arguments_and_derivatives(fun):
    compiled = jg.jit(fun)
    gradient = jg.grad(lambda b, n: np.sum(np.cos(fun(b, n))))
    for n in (0, 1, 3):
        plain, traced = B.copy(), B.copy()
        expected = fun(plain, n)
        np.testing.assert_allclose(compiled(traced, n), expected, err_msg=f"{n}")
        np.testing.assert_allclose(traced, plain, err_msg=f"the argument, {n}")

        def total(x, n=n):
            return np.sum(np.cos(fun(x, n)))

        steps = 1e-6 * np.eye(3)
        differences = [(total(B + d) - total(B - d)) / 2e-6 for d in steps]
        np.testing.assert_allclose(gradient(B, n), differences, atol=1e-7, err_msg=f"{n}")


def test_nothing_is_selected_where_no_other_name_sees_the_array():
    assert "where" not in jg.jit(no_other_name).ir(B, 3, stage="traced")
    assert "where" in jg.jit(written_by_the_new_name).ir(B, 3, stage="traced")


def an_array_from_outside(b, n):
    u = GLOBAL
    for _ in range(n):
        u = u + b
    u[0] = 5.0
    return u


def a_read_only_view(b, n):
    u = np.broadcast_to(b[:1], (3,))
    for _ in range(n):
        u = u + b
    u[0] = 5.0
    return u


@pytest.mark.parametrize("fun", [an_array_from_outside, a_read_only_view], ids=lambda f: f.__name__)
def test_an_array_that_cannot_be_written_ends_the_program_where_the_loop_did_not_run(fun):
    compiled = jg.jit(fun)
    np.testing.assert_allclose(compiled(B, 2), fun(B, 2))
    with pytest.raises(MutationError, match=r"read-only|captures from outside"):
        compiled(B, 0)


def test_such_an_array_that_another_loop_writes_and_binds_anew():
    compiled = jg.jit(lambda b, n: carried_by_another_loop(b.copy(), n))
    for n in (0, 2):
        np.testing.assert_allclose(compiled(B, n), carried_by_another_loop(B.copy(), n))
