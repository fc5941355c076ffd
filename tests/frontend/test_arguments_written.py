"""Arrays that traced functions write: their arguments, those of inner functions, captured and new ones."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import MutationError, ShapeError
from jitgrad.frontend.assign import augitem, setitem
from jitgrad.testing import check_grads

RNG = np.random.default_rng(7)
M = RNG.normal(size=(3, 4))


def test_arguments_that_are_copied_get_their_values_back() -> None:
    @jg.jit
    def f(tree, n):
        tree["a"][0] = n
        tree["b"][1].T[...] += 1.0
        return tree["a"].sum()

    base = np.zeros((4, 4))
    tree = {"a": base[:, 1], "b": [base[2:, 2:], np.asfortranarray(np.zeros((2, 3)))]}
    for n in (1.0, 2.0):
        assert f(tree, n) == n
    assert base[0, 1] == 2.0
    assert (tree["b"][1] == 2.0).all()
    swapped = np.zeros(3, ">f8")
    f({"a": swapped, "b": [0, np.zeros((2, 2))]}, 3.0)
    assert swapped.tolist() == [3.0, 0.0, 0.0]


def test_arguments_that_cannot_be_written() -> None:
    @jg.jit
    def f(x, y):
        x += 1.0
        return x + y

    frozen = np.zeros(3)
    frozen.flags.writeable = False
    x = np.zeros(3)
    with pytest.raises(MutationError, match="read-only"):
        f(frozen, np.zeros(3))
    with pytest.raises(MutationError, match="shares memory"):
        f(x, x)
    f(x, np.zeros(3))
    with pytest.raises(MutationError, match="shares memory"):
        f(x, x)
    assert x.tolist() == [1.0] * 3
    base = np.zeros((2, 3))
    f(base[0], base[1])
    assert base.tolist() == [[1.0] * 3, [0.0] * 3]


def test_scalars_are_not_written() -> None:
    def f(x, n):
        x += 1.0
        n += 1
        return x, n

    assert jg.jit(f)(2.0, 3) == (3.0, 4)
    assert jg.jit(f)(np.float32(2.0), 3) == (3.0, 4)
    array = np.array(2.0)
    assert jg.jit(f)(array, 3) == (3.0, 4)
    assert array == 3.0


def test_captured_arrays_are_constants() -> None:
    weights = np.ones(3)

    def write(x):
        weights[0] = x[0]

    def write_known(x):
        weights[0] = 5.0

    def write_view(x):
        weights[1:] *= 2.0

    for f in (write, write_known, write_view):
        with pytest.raises(MutationError, match="captures from outside"):
            jg.jit(f)(np.zeros(3))
    assert weights.tolist() == [1.0] * 3


def test_inner_functions() -> None:
    def loss(p, q):
        p[0] *= 2.0
        return (p * q).sum()

    @jg.jit
    def outer(x):
        y = x * 1.0
        jg.jit(lambda a: setitem(a, 0, 7.0))(y)  # an inlined function writes as it does outside
        return jg.grad(loss)(x, np.arange(3.0) + 1), y

    x = np.ones(3)
    g, y = outer(x)
    assert g.tolist() == [2.0, 2.0, 3.0]
    assert (x == 1.0).all()
    assert y.tolist() == [7.0, 1.0, 1.0]

    def write_outer(x):
        y = x * 1.0
        return jg.grad(lambda a: (setitem(y, 0, a[0]), y.sum())[1])(x)

    with pytest.raises(MutationError, match="enclosing"):
        jg.jit(write_outer)(np.ones(3))


def test_second_derivatives_through_assignment() -> None:
    def f(x):
        y = np.zeros(4)
        y[1:] = x**3
        y[0] = y[1] * y[2]
        y[::2] *= y[1::2]
        return y.sum()

    check_grads(f, (np.array([0.5, 1.5, -0.7]),), order=2)


def test_errors_of_shape() -> None:
    for f in (
        lambda A: setitem(A, 0, np.ones(3)),
        lambda A: setitem(A, (slice(None), 0), np.ones((3, 3))),
        lambda A: augitem(A, 0, "+", np.ones((2, 4))),
        lambda A: np.add(A, 1.0, out=A[0]),
    ):
        with pytest.raises(ShapeError):
            jg.jit(f)(M.copy())


def test_arguments_of_inner_functions_that_are_not_differentiated() -> None:
    def loss(p, q, c):
        q[0] = 5.0
        c[1] = p[0]
        return (p * q).sum() + c.sum()

    def f(x):
        y = x * 2.0
        known = np.ones(3)
        g = jg.grad(loss)(x, y, known)
        return g, y, known

    g, y, known = jg.jit(f)(np.array([1.0, 2.0, 3.0]))
    assert g.tolist() == [6.0, 4.0, 6.0]
    assert y.tolist() == [2.0, 4.0, 6.0]
    assert known.tolist() == [1.0] * 3


def test_large_arrays_do_not_become_constants() -> None:
    def f(x):
        A = np.zeros((50, 60))
        A[0] = 1.0
        A[1:, -1] = np.arange(49.0)
        A.T[3, 4] = 2.0
        A[2, 5] = x[0]
        B = np.empty((40, 40))
        B[:2] = 3.0
        B[2:] = x[1]
        C = np.full((40, 40), 2.0)
        D = C[1:]
        D[0, 0] = 4.0
        D[1] = x
        return A, B, C

    x = np.linspace(0.0, 1.0, 40)
    for a, e in zip(jg.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(a, e)
    graph = jg.jit(f).traced_graph(x)
    assert max(op.attrs["value"].size for op in graph.ops if op.name == "constant") <= 80
    assert "empty" in [op.name for op in graph.ops]


def test_complex_values() -> None:
    with pytest.raises(jg.errors.DtypeError, match="complex"):
        jg.jit(lambda A: setitem(A, 0, 1j))(M.copy())


def test_what_is_assigned_is_written_into_the_argument_at_once() -> None:
    def f(a, b):
        a *= 2.0
        b[1:] += a[:-1]
        return a.sum()

    def exchange(a, b):
        old = a.copy()
        a[:] = b
        b[:] = old
        return old

    for fun in (f, exchange):
        x, y = RNG.normal(size=(2, 300))
        u, v = x.copy(), y.copy()
        compiled = jg.jit(fun)
        for _ in range(3):
            np.testing.assert_allclose(compiled(x, y), fun(u, v), rtol=1e-13)
            np.testing.assert_allclose(x, u, rtol=1e-13)
            np.testing.assert_allclose(y, v, rtol=1e-13)
    program = jg.jit(f)
    program(x, y)
    assert "copy of a" not in program.explain(x, y)


def test_a_function_that_fails_has_not_written_into_its_arguments() -> None:
    @jg.jit
    def f(a, k):
        a *= 2.0
        a[k] = 7.0

    a = np.ones(5)
    f(a, 2)
    assert a.tolist() == [2.0, 2.0, 7.0, 2.0, 2.0]
    with pytest.raises(IndexError):
        f(a, 9)
    assert a.tolist() == [2.0, 2.0, 7.0, 2.0, 2.0]
