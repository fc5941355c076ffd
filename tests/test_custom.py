"""Functions whose derivative the user gives: ``custom_vjp`` and ``custom_jvp``."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config
from jitgrad.errors import ArgumentError, DifferentiationError, ShapeError, UnsupportedError
from jitgrad.ir.interpret import interpret

X = np.array([1.0, -2.0, 0.5])


@jg.custom_jvp
def log1pexp(x):
    return np.log(1 + np.exp(x))


@log1pexp.defjvp
def log1pexp_rule(primals, tangents):
    (x,), (t,) = primals, tangents
    return log1pexp(x), (1 - 1 / (1 + np.exp(x))) * t


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@jg.custom_vjp
def doubled(x, y):
    """``sin(x) * y`` with twice its derivative in ``x``."""
    return np.sin(x) * y


def doubled_fwd(x, y):
    return doubled(x, y), {"cos": np.cos(x), "sin": np.sin(x), "y": y}


def doubled_bwd(saved, g):
    return 2 * saved["cos"] * g * saved["y"], saved["sin"] * g


doubled.defvjp(doubled_fwd, doubled_bwd)


def total(x):
    return np.sum(doubled(x, x**2) * x)


def slope_of_total(x):
    return 2 * np.cos(x) * x**3 + np.sin(x) * 2 * x * x + np.sin(x) * x**2


# -- forward rules -----------------------------------------------------------------------------------------------------


def test_a_forward_rule_serves_both_modes():
    x = np.array([-3.0, 0.2, 900.0])
    np.testing.assert_allclose(jg.grad(lambda x: np.sum(log1pexp(x)))(x), sigmoid(x), rtol=1e-13)
    _, tangent = jg.jvp(log1pexp, (x,), (np.ones(3),))
    np.testing.assert_allclose(tangent, sigmoid(x), rtol=1e-13)
    np.testing.assert_allclose(jg.jacobian(log1pexp)(x), np.diag(sigmoid(x)), rtol=1e-13)


def test_second_derivatives_differentiate_the_rule():
    x = np.array([-3.0, 0.2, 2.0])
    want = sigmoid(x) * (1 - sigmoid(x))
    np.testing.assert_allclose(np.diag(jg.hessian(lambda x: np.sum(log1pexp(x)))(x)), want, rtol=1e-12)
    twice = jg.grad(lambda x: np.sum(jg.grad(lambda x: np.sum(log1pexp(x)))(x)))
    np.testing.assert_allclose(twice(x), want, rtol=1e-12)


def test_a_rule_that_uses_the_function_uses_its_rule():
    @jg.custom_jvp
    def grow(x):
        return np.exp(x)

    @grow.defjvp
    def _(primals, tangents):
        value = grow(*primals)
        return value, 3 * value * tangents[0]

    for order, f in enumerate([jg.grad(grow), jg.grad(jg.grad(grow)), jg.grad(jg.grad(jg.grad(grow)))], 1):
        np.testing.assert_allclose(f(0.3), 3**order * np.exp(0.3), rtol=1e-13)
    np.testing.assert_allclose(jg.hessian(lambda x: np.sum(grow(x)))(X), np.diag(9 * np.exp(X)), rtol=1e-13)


def test_what_is_not_float_has_no_tangent():
    seen = []

    @jg.custom_jvp
    def picked(x, k):
        return x[k] * 2, k + 1

    @picked.defjvp
    def _(primals, tangents):
        x, k = primals
        seen.append(tangents[1])
        return picked(x, k), (5 * tangents[0][k], None)

    np.testing.assert_array_equal(jg.grad(lambda x, k: picked(x, k)[0] * picked(x, k)[1])(X, 1), [0, 10, 0])
    assert set(seen) == {None}


# -- reverse rules -----------------------------------------------------------------------------------------------------


def test_a_reverse_rule_is_used():
    np.testing.assert_allclose(jg.grad(total)(X), slope_of_total(X), rtol=1e-13)
    value, grad = jg.value_and_grad(total)(X)
    np.testing.assert_allclose([value, *grad], [total(X), *slope_of_total(X)], rtol=1e-13)
    np.testing.assert_allclose(jg.jit(total)(X), total(X), rtol=1e-14)
    assert doubled(1.0, 2.0) == np.sin(1.0) * 2


def test_derivatives_of_gradients_differentiate_what_the_rule_does():
    # x -> 2 cos(x) x^3 + 3 sin(x) x^2, where doubled's own use in fwd is by its rule again.
    want = -2 * np.sin(X) * X**3 + 10 * np.cos(X) * X**2 + 6 * np.sin(X) * X
    np.testing.assert_allclose(jg.grad(lambda x: np.sum(jg.grad(total)(x)))(X), want, rtol=1e-12)
    np.testing.assert_allclose(np.diag(jg.hessian(total)(X)), want, rtol=1e-12)


def test_a_solver_runs_once():
    @jg.custom_vjp
    def root(a):
        return newton(a)

    def newton(a):
        x = a
        while abs(x * x - a) > 1e-13:
            x = 0.5 * (x + a / x)
        return x

    def forward(a):
        x = root(a)
        return x, x

    root.defvjp(forward, lambda x, g: (g / (2 * x),))
    gradient = jg.grad(lambda a: root(a) * a)
    np.testing.assert_allclose(gradient(2.0), 1.5 * np.sqrt(2), rtol=1e-12)
    assert gradient.ir(2.0).split("== optimised ==")[1].count("= while(") == 1
    np.testing.assert_allclose(jg.grad(jg.grad(root))(2.0), -0.25 * 2**-1.5, rtol=1e-12)


def test_residuals_that_nothing_uses_are_not_computed():
    assert "cos" not in jg.jit(total).ir(X).split("== optimised ==")[1]


def test_trees_and_values_that_are_fixed():
    @jg.custom_vjp(nondiff_argnums=(0, 2))
    def applied(f, p, name, x=2.0):
        return {"y": f(p["w"] * x), "name": p["n"] + len(name)}

    def forward(f, p, name, x):
        return applied(f, p, name, x), (p, x)

    def backward(f, name, saved, g):
        _, x = saved
        assert g["name"] is None and name == "ab" and f is np.sin
        return {"w": 7 * g["y"] * x, "n": None}, None

    applied.defvjp(forward, backward)

    def loss(w):
        out = applied(np.sin, {"w": w, "n": 3}, "ab")
        return out["y"] * out["name"]

    assert jg.value_and_grad(loss)(0.5) == (np.sin(1.0) * 5, 70.0)


def test_gradients_can_be_clipped_and_passed_through():
    @jg.custom_vjp
    def clipped(x):
        return x

    clipped.defvjp(lambda x: (x, None), lambda _, g: (np.clip(g, -1, 1),))
    np.testing.assert_array_equal(jg.grad(lambda x: np.sum(clipped(x) ** 2))(X), [1, -1, 1])

    @jg.custom_vjp
    def rounded(x):
        return np.round(x)

    rounded.defvjp(lambda x: (rounded(x), None), lambda _, g: (g,))
    np.testing.assert_array_equal(jg.grad(lambda x: np.sum(rounded(x) * 3))(X), [3, 3, 3])


# -- inside of programs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [3, 300])
def test_in_loops_and_branches(length: int):
    def looped(x):
        s = x[0]
        for k in range(length):
            if x[k % 3] > 0:
                s = s + doubled(s, x[k % 3]) / (k + 1)
            else:
                s = s - log1pexp(s) / (k + 1)
        return s

    def by_hand(x):
        s, ds = x[0], np.eye(3)[0]
        for k in range(length):
            at = np.eye(3)[k % 3]
            if x[k % 3] > 0:
                step = 2 * np.cos(s) * x[k % 3] * ds + np.sin(s) * at
                s, ds = s + np.sin(s) * x[k % 3] / (k + 1), ds + step / (k + 1)
            else:
                s, ds = s - np.log(1 + np.exp(s)) / (k + 1), ds - sigmoid(s) * ds / (k + 1)
        return s, ds

    value, grad = jg.value_and_grad(looped)(X)
    want, slope = by_hand(X)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(grad, slope, rtol=1e-11)


def test_under_vmap_and_scan():
    x = np.random.default_rng(0).normal(size=(6, 3))
    np.testing.assert_allclose(jg.vmap(jg.grad(total))(x), [slope_of_total(row) for row in x], rtol=1e-12)
    many = jg.vmap(total)
    np.testing.assert_allclose(many(x), [total(row) for row in x], rtol=1e-13)
    assert "= for(" not in many.ir(x).split("== optimised ==")[1]

    def scanned(x):
        return jg.scan(lambda c, v: (c + doubled(c, v), None), 0.3, x)[0]

    def steps(x):
        c, dc = 0.3, np.zeros(3)
        for k in range(3):
            c, dc = c + np.sin(c) * x[k], dc + 2 * np.cos(c) * x[k] * dc + np.sin(c) * np.eye(3)[k]
        return dc

    np.testing.assert_allclose(jg.grad(scanned)(X), steps(X), rtol=1e-12)


def test_the_graph_can_be_read_and_interpreted():
    graph = jg.trace(total, X)
    assert 'custom(%x, %0) {rule=rule of "doubled"}' in str(graph)
    np.testing.assert_allclose(interpret(graph, X)[0], total(X), rtol=1e-13)
    np.testing.assert_allclose(jg.compile(graph)(X), total(X), rtol=1e-13)
    joint = jg.vjp_graph(graph, [0])
    np.testing.assert_allclose(interpret(joint, X)[1], slope_of_total(X), rtol=1e-12)


def test_a_program_is_kept_on_disk(tmp_path):
    with config.using(cache=True, cache_dir=str(tmp_path / "store")):
        first, second = jg.grad(total), jg.grad(lambda x: total(x))
        np.testing.assert_allclose(first(X), second(X), rtol=1e-14)
        assert "the machine code is from the cache on disk" in jg.grad(total).explain(X)


def test_a_global_in_a_rule_that_changes_is_seen():
    scale = {"by": 2.0}

    @jg.custom_vjp
    def same(x):
        return x

    same.defvjp(lambda x: (x, None), lambda _, g: (g * scale["by"],))
    gradient = jg.grad(same)
    assert gradient(1.0) == 2.0
    scale["by"] = 3.0
    assert gradient(1.0) == 3.0


# -- bad input ---------------------------------------------------------------------------------------------------------


def vjp_of(fwd, bwd):
    @jg.custom_vjp
    def f(x):
        return x * 2

    f.defvjp(fwd, bwd)
    return jg.grad(lambda x: np.sum(f(x)))


def jvp_of(rule):
    @jg.custom_jvp
    def f(x):
        return x * 2

    f.defjvp(rule)
    return jg.grad(lambda x: np.sum(f(x)))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: jg.custom_vjp(3), ArgumentError, "custom_vjp takes functions"),
        (lambda: jg.custom_jvp(nondiff_argnums=(-1,))(np.sin), ArgumentError, "positions of arguments"),
        (
            lambda: jg.grad(jg.custom_vjp(lambda x: x))(1.0),
            ArgumentError,
            r"no rule for its derivative yet.*defvjp\(fwd",
        ),
        (lambda: jg.grad(jg.custom_jvp(lambda x: x))(1.0), ArgumentError, r"no rule.*defjvp\(rule\)"),
        (lambda: vjp_of(lambda x: x, lambda r, g: (g,))(X), ArgumentError, "fwd returns a pair"),
        (lambda: vjp_of(lambda x: (x[0], None), lambda r, g: (g,))(X), ArgumentError, "Both return the same"),
        (lambda: vjp_of(lambda x: ((x, x), None), lambda r, g: (g,))(X), ArgumentError, "Both return the same"),
        (lambda: vjp_of(lambda x: (x, None), lambda r, g: g)(X), ArgumentError, "a cotangent for each of 1 arguments"),
        (lambda: vjp_of(lambda x: (x, None), lambda r, g: (g, g))(X), ArgumentError, "It returned 2 items"),
        (lambda: vjp_of(lambda x: (x, None), lambda r, g: ((g, g),))(X), ArgumentError, "cotangent of argument 0"),
        (lambda: vjp_of(lambda x: (x, None), lambda r, g: (g[0],))(X), ShapeError, r"shape \(\), .* shape \(3,\)"),
        (lambda: jvp_of(lambda p, t: p[0] * 2)(X), ArgumentError, "returns a pair"),
        (lambda: jvp_of(lambda p, t: ((p[0], 1), t[0]))(X), ArgumentError, "structure of the function's"),
        (lambda: jvp_of(lambda p, t: (p[0] * 2, np.sum(t[0])))(X), ShapeError, "a tangent of the result"),
        (lambda: jg.jvp(total, (X,), (X,)), DifferentiationError, "gives its derivative in reverse"),
        (lambda: jg.grad(lambda x: doubled(x, y=x, z=1))(1.0), TypeError, "unexpected keyword"),
    ],
)
def test_what_is_wrong_is_told(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_values_that_are_no_arguments():
    @jg.custom_vjp(nondiff_argnums=(1,))
    def scaled(x, k):
        return x * k

    scaled.defvjp(lambda x, k: (x * k, None), lambda k, _, g: (g * k,))
    assert jg.grad(lambda x: scaled(x, 3))(1.0) == 3.0
    with pytest.raises(ArgumentError, match="nondiff_argnums, and holds a traced value"):
        jg.grad(lambda x: scaled(x, x))(1.0)

    def around(y):
        @jg.custom_vjp
        def inner(x):
            return x * y

        inner.defvjp(lambda x: (x * y, None), lambda _, g: (g,))
        return inner(y)

    with pytest.raises(ArgumentError, match="uses a traced value that is none of its arguments"):
        jg.grad(around)(1.0)

    with pytest.raises(UnsupportedError, match="known only when the program runs"):
        jg.grad(lambda x: np.sum(log1pexp(x[x > 0])))(X)
