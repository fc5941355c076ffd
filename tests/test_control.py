"""Control flow by functions: fori_loop, while_loop, scan, cond and switch, traced and as plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, CarryError, ConcretizationError, ShapeError
from jitgrad.testing import check_grads

X = np.array([0.5, -1.2, 0.8, 1.5, -0.3, 0.7])
M = np.array([[0.5, -0.2, 0.9], [1.1, 0.4, -0.6], [-0.7, 0.8, 0.1]])


def fori(x):
    return jg.fori_loop(1, 6, lambda i, s: np.sin(s * x[i]) + i * 0.1, x[0])


def fori_of_a_tree(x):
    def body(i, state):
        a, rest = state["a"], state["b"]
        return {"a": a * x[i] + rest[0], "b": [rest[0] * 0.5, rest[1] + x]}

    final = jg.fori_loop(0, 6, body, {"a": x[0], "b": [x[1], x * 0]})
    return final["a"] + np.sum(final["b"][1]) * final["b"][0]


def fori_with_numbers(x):
    total, count = jg.fori_loop(0, 6, lambda i, c: (c[0] + x[i], c[1] + 1), (0.0, 0))
    return total * count


def fori_nested(m):
    def row(i, s):
        return jg.fori_loop(0, i + 1, lambda j, t: np.tanh(t + m[i, j]), s)

    return jg.fori_loop(0, 3, row, 0.0)


def fori_that_never_runs(x):
    return jg.fori_loop(3, 3, lambda i, s: s * x[i], x[0]) + jg.fori_loop(5, 2, lambda i, s: s * x[i], x[1])


def while_(x):
    return jg.while_loop(lambda s: s < 10.0, lambda s: s * 1.5 + x[0] ** 2, x[2])


def while_of_a_tree(x):
    def body(c):
        k, s = c
        return k + 1, np.sin(s * x[k])

    return jg.while_loop(lambda c: c[0] < 5, body, (0, x[0]))[1]


def while_that_never_runs(x):
    return jg.while_loop(lambda s: s > 100.0, lambda s: s * s, x[0]) * x[1]


def scan_cumulative(x):
    last, partial = jg.scan(lambda c, v: (c * 0.5 + v, c * v), 0.0, x)
    return last + np.sum(partial**2)


def scan_backwards(x):
    last, ys = jg.scan(lambda c, v: (np.sin(c + v), c - v), x[0], x, reverse=True)
    return last * ys[0] + ys[-1]


def scan_of_trees(x):
    def f(carry, item):
        h, n = carry
        h = np.tanh(h + item["v"] * item["w"])
        return (h, n + 1), {"h": h, "twice": (2 * h, item["v"])}

    (h, n), ys = jg.scan(f, (np.zeros(3), 0), {"v": M, "w": M[:, 0] * x[:3]})
    return np.sum(h) * n + np.sum(ys["h"] * ys["twice"][0]) + np.sum(ys["twice"][1])


def scan_without_xs(x):
    last, ys = jg.scan(lambda c, _: (np.sin(c), c), x, length=4)
    return np.sum(last) + np.sum(ys * ys)


def scan_of_rows(m):
    last, _ = jg.scan(lambda h, row: (np.tanh(h @ m + row), None), np.zeros(3), m)
    return np.sum(last)


def cond_(x):
    return jg.cond(x[0] > x[1], lambda a, b: a * b, lambda a, b: a + b, x[2], x[3] * 2)


def cond_other_way(x):
    return jg.cond(x[0] < x[1], lambda a: np.exp(a), lambda a: np.sin(a) * a, x[2])


def cond_of_trees(x):
    out = jg.cond(x[0] > 0, lambda: {"a": x, "b": x[0]}, lambda: {"a": x * 2, "b": x[1]})
    return np.sum(out["a"] ** 2) * out["b"]


def cond_in_fori(x):
    def body(i, s):
        return jg.cond(x[i] > 0, lambda: s + x[i] ** 2, lambda: s * 0.5)

    return jg.fori_loop(0, 6, body, 0.0)


def switch_(x):
    def body(i, s):
        k = i % 3
        return jg.switch(k, [lambda t: t + x[i], lambda t: t * x[i], lambda t: np.sin(t)], s)

    return jg.fori_loop(0, 6, body, 0.5)


def switch_clamps(x):
    def body(i, s):
        return jg.switch(i - 2, [lambda t: t * x[0], lambda t: t + x[1]], s)

    return jg.fori_loop(0, 6, body, 1.0)


def in_place(x):
    def body(i, a):
        a = a.copy()
        a[i] += a[i - 1] * x[i]
        return a

    return np.sum(jg.fori_loop(1, 6, body, x) ** 2)


PROGRAMS: dict[Callable[..., Any], np.ndarray] = {
    fori: X,
    fori_of_a_tree: X,
    fori_with_numbers: X,
    fori_nested: M,
    fori_that_never_runs: X,
    while_: X,
    while_of_a_tree: X,
    while_that_never_runs: X,
    scan_cumulative: X,
    scan_backwards: X,
    scan_of_trees: X,
    scan_without_xs: X,
    scan_of_rows: M,
    cond_: X,
    cond_other_way: X,
    cond_of_trees: X,
    cond_in_fori: X,
    switch_: X,
    switch_clamps: X,
    in_place: X,
}
every_program = pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)


@every_program
def test_traced_as_plain(fun: Callable[..., Any]) -> None:
    x = PROGRAMS[fun]
    expected = fun(x)
    found = jg.jit(fun)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert np.asarray(found).dtype == np.asarray(expected).dtype


@every_program
def test_derivatives(fun: Callable[..., Any]) -> None:
    check_grads(fun, (PROGRAMS[fun],), order=1)


@pytest.mark.parametrize("fun", [while_of_a_tree, scan_backwards, cond_in_fori], ids=lambda f: f.__name__)
def test_second_derivatives(fun: Callable[..., Any]) -> None:
    check_grads(fun, (PROGRAMS[fun],), order=2)
    columns = [jg.grad(lambda x, k=k: jg.grad(fun)(x)[k])(X) for k in range(len(X))]
    np.testing.assert_allclose(jg.hessian(fun)(X), np.stack(columns), atol=1e-12)


@every_program
def test_loops_are_recorded(fun: Callable[..., Any]) -> None:
    names = {op.name for op in jg.trace(fun, PROGRAMS[fun]).ops}
    if fun not in (fori_that_never_runs, scan_without_xs, in_place):
        assert names & {"for", "while", "cond", "switch"}


def test_bounds_may_be_traced() -> None:
    def f(x, lo, hi):
        return jg.fori_loop(lo, hi, lambda i, s: np.sin(s + x[i]), 0.0)

    compiled = jg.jit(f)
    for lo, hi in ((0, 6), (2, 4), (3, 3), (4, 1)):
        assert compiled(X, lo, hi) == pytest.approx(f(X, lo, hi))
        expected = jg.grad(lambda x, lo=lo, hi=hi: f(x, lo, hi))(X)
        np.testing.assert_allclose(jg.grad(f)(X, lo, hi), expected)


def test_a_selector_may_be_traced() -> None:
    branches = [lambda v: v * v, np.sin, lambda v: v + 1]

    def f(k, v):
        return jg.switch(k, branches, v)

    compiled = jg.jit(f)
    for k in (-3, 0, 1, 2, 9):
        assert compiled(k, 0.3) == pytest.approx(f(k, 0.3))
        assert jg.grad(f, 1)(k, 0.3) == pytest.approx([0.6, np.cos(0.3), 1.0][min(max(k, 0), 2)])


def test_only_one_branch_runs() -> None:
    def f(x, k):
        return jg.cond(k < 6, lambda: x[k], lambda: -1.0)

    compiled = jg.jit(f)
    assert compiled(X, 2) == X[2]
    assert compiled(X, 77) == -1.0


def test_what_is_carried_is_promoted() -> None:
    assert jg.jit(lambda x: jg.fori_loop(0, 6, lambda i, s: s + x[i], 0))(X) == pytest.approx(np.sum(X))
    single = X.astype(np.float32)
    found = jg.jit(lambda x: jg.fori_loop(0, 6, lambda i, s: s + x[i], 0))(single)
    assert np.asarray(found).dtype == np.float32


def test_results_of_scan_are_stacked() -> None:
    def f(x):
        return jg.scan(lambda c, v: (c + v, (c * v, v > 0)), 0.0, x)

    for run in (f, jg.jit(f)):
        last, (products, positive) = run(X)
        assert last == pytest.approx(np.sum(X))
        before = np.cumsum(X) - X
        np.testing.assert_allclose(products, before * X, atol=1e-15)
        assert positive.dtype == np.bool_
        np.testing.assert_array_equal(positive, X > 0)


def test_reverse_scan_keeps_the_order_of_xs() -> None:
    def f(x):
        return jg.scan(lambda c, v: (c + v, c), 0.0, x, reverse=True)

    for run in (f, jg.jit(f)):
        last, ys = run(X)
        assert last == pytest.approx(np.sum(X))
        np.testing.assert_allclose(ys, np.cumsum(X[::-1])[::-1] - X, atol=1e-15)


def test_the_length_of_a_loop_is_not_in_its_size() -> None:
    def size(n: int) -> int:
        graph = jg.trace(lambda x: jg.fori_loop(0, n, lambda i, s: np.sin(s) * x[0], x[1]), X)
        return len(str(graph).splitlines())

    assert size(10) == size(10**6)


# What is refused


def test_a_carry_keeps_its_shape_and_structure() -> None:
    with pytest.raises(CarryError, match=r"the carry is f64\[6\] before and f64\[12\] after"):
        jg.jit(lambda x, n: jg.fori_loop(0, n, lambda i, a: np.concatenate([a, x]), x))(X, np.array(3))
    with pytest.raises(CarryError, match="tuple of 2"):
        jg.jit(lambda x, n: jg.fori_loop(0, n, lambda i, a: (a, a), x))(X, np.array(3))
    with pytest.raises(CarryError, match="branch"):
        jg.jit(lambda x: jg.cond(x[0] > 0, lambda: x, lambda: x[None]))(X)
    with pytest.raises(CarryError, match="branch"):
        jg.jit(lambda x, k: jg.switch(k, [lambda: x[0], lambda: (x[0], x[1])]))(X, np.array(1))


def test_conditions_are_scalars() -> None:
    with pytest.raises(ConcretizationError, match=r"\(6,\).*np.any"):
        jg.jit(lambda x: jg.while_loop(lambda a: a < 1, lambda a: a * 2, x))(X)
    with pytest.raises(ConcretizationError, match=r"\(6,\)"):
        jg.jit(lambda x: jg.cond(x > 0, lambda: 1.0, lambda: 2.0))(X)


@pytest.mark.parametrize("wrap", [lambda f: f, jg.jit])
def test_lengths_of_scan(wrap: Callable[..., Any]) -> None:
    with pytest.raises(ShapeError, match="lengths"):
        wrap(lambda x: jg.scan(lambda c, v: (c, v), 0.0, (x, x[:3])))(X)
    with pytest.raises(ShapeError, match="lengths"):
        wrap(lambda x: jg.scan(lambda c, v: (c, v), 0.0, x, length=5))(X)
    with pytest.raises(ArgumentError, match="length"):
        wrap(lambda x: jg.scan(lambda c, v: (c, v), x))(X)
    with pytest.raises(ShapeError, match="first axis"):
        wrap(lambda x: jg.scan(lambda c, v: (c, v), 0.0, x[0]))(X)


def test_switch_needs_branches() -> None:
    with pytest.raises(ArgumentError, match="at least one"):
        jg.switch(0, [])


def test_a_float_is_no_bound() -> None:
    with pytest.raises(ArgumentError, match="integer"):
        jg.jit(lambda x: jg.fori_loop(0, x[0], lambda i, s: s, 1.0))(X)


# As JAX does it


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "fun",
    [fori, scan_cumulative, scan_backwards, scan_without_xs, cond_, switch_],
    ids=lambda f: f.__name__,
)
def test_as_jax(fun: Callable[..., Any]) -> None:
    jax = pytest.importorskip("jax")
    jnp, lax = jax.numpy, jax.lax
    expected = jg.jit(jg.value_and_grad(fun))(PROGRAMS[fun])

    class ThisAsJax:
        fori_loop, scan, cond, switch = lax.fori_loop, lax.scan, lax.cond, lax.switch

    jax.config.update("jax_enable_x64", True)
    try:
        copy = type(fun)(fun.__code__, {**fun.__globals__, "jg": ThisAsJax, "np": jnp})
        value, grad = jax.value_and_grad(copy)(jnp.asarray(PROGRAMS[fun]))
    finally:
        jax.config.update("jax_enable_x64", False)
    np.testing.assert_allclose(expected[0], value, rtol=1e-12)
    np.testing.assert_allclose(expected[1], grad, rtol=1e-10, atol=1e-12)
