"""``vmap``: what a loop over the examples gives, at any axis, in trees, nested, differentiated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.testing import check_grads

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 3))
W = RNG.normal(size=(3, 4))
LABELS = np.array([0, 2, 1, -1, 1, 0])


def loss(w, x, y):
    return np.sum((np.tanh(w @ x) - y) ** 2)


def entropy(w, x, label):
    z = w @ x
    top = np.max(z)
    return np.log(np.sum(np.exp(z - top))) + top - z[label]


def stacked(fun, *columns):
    """The function of each example, one after another."""
    return np.stack([fun(*example) for example in zip(*columns, strict=True)])


def loops_in(text: str) -> int:
    """How many loops the optimised graph has."""
    return text.split("== optimised ==")[1].split("== loop ==")[0].count(" = for(") if "== optimised ==" in text else 0


# -- values ------------------------------------------------------------------------------------------------------------


def test_what_all_examples_share():
    many = jg.vmap(loss, (None, 0, 0))
    np.testing.assert_allclose(many(W, X, Y), stacked(lambda x, y: loss(W, x, y), X, Y), rtol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_any_axis_in_and_out(axis: int):
    x = RNG.normal(size=(3, 4, 5))
    got = jg.vmap(lambda x: np.sin(x) * 2, axis, axis)(x)
    np.testing.assert_allclose(got, 2 * np.sin(x), rtol=1e-14)
    got = jg.vmap(lambda x: np.cumsum(x, axis=0), axis)(x)
    np.testing.assert_allclose(got, np.cumsum(np.moveaxis(x, axis, 0), axis=1), rtol=1e-13)


def test_trees_of_axes_and_of_results():
    @dataclasses.dataclass
    class Layer:
        w: object
        b: object

    def layers(layer, x, *, y):
        return {"z": layer.w @ x + layer.b, "rest": (y, 3, x[0] > 0)}

    layer = Layer(W, RNG.normal(size=(3, 6)))
    many = jg.vmap(layers, (Layer(None, 1), 0), {"z": 1, "rest": 0})
    got = many(layer, X, y=Y)
    want = [layers(Layer(W, layer.b[:, k]), X[k], y=Y[k]) for k in range(6)]
    np.testing.assert_allclose(got["z"], np.stack([w["z"] for w in want], axis=1), rtol=1e-13)
    for part, column in zip(got["rest"], zip(*(w["rest"] for w in want), strict=True), strict=True):
        np.testing.assert_array_equal(part, np.stack(column))
        assert part.dtype == np.stack(column).dtype


def test_nested():
    def kernel(x, y):
        return np.exp(-np.sum((x - y) ** 2))

    gram = jg.vmap(jg.vmap(kernel, (None, 0)), (0, None))
    np.testing.assert_allclose(gram(X, X), [[kernel(x, y) for y in X] for x in X], rtol=1e-13)


def test_as_a_decorator_and_in_traced_functions():
    @jg.vmap
    def norm(x):
        return np.sqrt(x @ x)

    @jg.vmap(in_axes=1)
    def column(x):
        return np.sqrt(x @ x)

    np.testing.assert_allclose(norm(X), np.linalg.norm(X, axis=1), rtol=1e-14)
    np.testing.assert_allclose(column(X), np.linalg.norm(X, axis=0), rtol=1e-14)
    np.testing.assert_allclose(jg.jit(lambda x: np.sum(norm(x) * 2))(X), 2 * np.sum(np.linalg.norm(X, axis=1)))


def test_each_example_runs_its_own_iterations():
    @jg.vmap
    def root(a):
        x, steps = a, 0
        while abs(x * x - a) > 1e-12:
            x, steps = 0.5 * (x + a / x), steps + 1
        return (x, steps) if a < 6 else (-x, steps)

    a = np.arange(1.0, 9.0)
    roots, steps = root(a)
    np.testing.assert_allclose(roots, np.where(a < 6, 1, -1) * np.sqrt(a), rtol=1e-12)
    assert steps[0] == 0 and steps[-1] > 3


def test_complex_numbers_and_matrices():
    z = X + 1j * X[::-1]
    np.testing.assert_allclose(jg.vmap(lambda z: z * np.conj(z) + 1j)(z), z * np.conj(z) + 1j, rtol=1e-14)
    m = RNG.normal(size=(5, 3, 3)) + 4 * np.eye(3)
    np.testing.assert_allclose(jg.vmap(np.linalg.inv)(m), np.linalg.inv(m), rtol=1e-11)
    np.testing.assert_allclose(jg.vmap(np.linalg.svd)(m)[1], np.linalg.svd(m)[1], rtol=1e-11)


def test_examples_are_copies():
    def cleared(x, shared):
        x[0] = 0
        shared[1] += x[1]
        return x.sum() + shared.sum()

    x, shared = X.copy(), np.ones(3)
    got = jg.vmap(cleared, (0, None))(x, shared)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(shared, np.ones(3))
    np.testing.assert_allclose(got, stacked(lambda x: cleared(x.copy(), np.ones(3)), X), rtol=1e-13)


def test_a_global_that_changes_is_seen():
    table = {"scale": 2.0}
    scaled = jg.vmap(lambda x: x * table["scale"])
    np.testing.assert_array_equal(scaled(X), 2 * X)
    table["scale"] = 3.0
    np.testing.assert_array_equal(scaled(X), 3 * X)


# -- derivatives -------------------------------------------------------------------------------------------------------


def test_gradients_of_each_example():
    per_example = jg.vmap(jg.grad(loss, argnums=(0, 1)), in_axes=(None, 0, 0))
    by_w, by_x = per_example(W, X, Y)
    one = jg.grad(loss, argnums=(0, 1))
    np.testing.assert_allclose(by_w, stacked(lambda x, y: one(W, x, y)[0], X, Y), rtol=1e-12)
    np.testing.assert_allclose(by_x, stacked(lambda x, y: one(W, x, y)[1], X, Y), rtol=1e-12)
    assert loops_in(per_example.ir(W, X, Y)) == 0


def test_gradients_through_it():
    def mean_loss(w, x):
        return np.mean(jg.vmap(loss, (None, 0, 0))(w, x, Y))

    check_grads(mean_loss, (W, X))


def test_hessians_of_each_example():
    def rosenbrock(x):
        return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    np.testing.assert_allclose(
        jg.vmap(jg.hessian(rosenbrock))(X), stacked(jg.hessian(rosenbrock), X), rtol=1e-11, atol=1e-11
    )


# -- what becomes of the loop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fun", "axes", "args"),
    [
        (loss, (None, 0, 0), (W, X, Y)),
        (entropy, (None, 0, 0), (W, X, LABELS)),
        (jg.grad(entropy), (None, 0, 0), (W, X, LABELS)),
        (lambda w, k: w[k] * 2, (None, 0), (W, LABELS)),
        (lambda w, k: np.sum(w[:, k] ** 2), (None, 0), (W, LABELS)),
        (lambda x, k: x[k, k + 1], (None, 0), (RNG.normal(size=(5, 6, 2)), LABELS)),
        (jg.grad(lambda x, k: np.sum(np.sin(x[k]) * x[k + 1, 1])), (0, 0), (RNG.normal(size=(6, 4, 2)), LABELS)),
    ],
    ids=["products", "label", "label_gradient", "row", "column", "two_indices", "row_gradient"],
)
def test_independent_examples_are_no_loop(fun, axes, args):
    many = jg.vmap(fun, axes)
    examples = [tuple(a if axis is None else a[k] for a, axis in zip(args, axes, strict=True)) for k in range(6)]
    np.testing.assert_allclose(many(*args), np.stack([fun(*example) for example in examples]), rtol=1e-12, atol=1e-14)
    assert loops_in(many.ir(*args)) == 0


def test_an_index_that_is_out_of_bounds():
    labels = LABELS.copy()
    labels[4] = 3
    for fun in (entropy, jg.grad(entropy)):
        with pytest.raises(IndexError):
            jg.vmap(fun, (None, 0, 0))(W, X, labels)


def test_a_written_element_at_a_computed_index():
    def one_hot(k, v):
        row = np.zeros(4)
        row[k] = v
        row[k - 1] += 2 * v
        return row

    v = np.arange(1.0, 7.0)
    many = jg.vmap(one_hot)
    np.testing.assert_array_equal(many(LABELS, v), stacked(one_hot, LABELS, v))
    assert loops_in(many.ir(LABELS, v)) == 0


#: Steps of random functions of one example: from a vector ``v`` of 4, a matrix ``m`` of (4, 3), indices ``k`` and
#: ``j``, and what all share (``w`` of (3, 4), ``t`` of (3, 4, 2)), the next vector and matrix.
STEPS = [
    lambda v, m, k, j, w, t: (np.sin(v), m * v[:, None]),
    lambda v, m, k, j, w, t: (v + m[:, k], m),
    lambda v, m, k, j, w, t: (v * w[k], m - w[k, j]),
    lambda v, m, k, j, w, t: (w.T @ m[j], m),
    lambda v, m, k, j, w, t: (v, m @ w[:, :3]),
    lambda v, m, k, j, w, t: (v * t[k, :, 1], m + t[k, j, 0]),
    lambda v, m, k, j, w, t: (np.where(v > v[j], v, m[j, k]), m),
    lambda v, m, k, j, w, t: (v - np.max(m, axis=1), m / (1 + m[j] ** 2)),
    lambda v, m, k, j, w, t: (added(v, j, m[k, 2]), m),
    lambda v, m, k, j, w, t: (v, added(m, (j, k), v[j])),
    lambda v, m, k, j, w, t: (v, written(m, (slice(None), k), v)),
    lambda v, m, k, j, w, t: (written(v, j, 2.0), written(m, k, w[k, 1:])),
]


def added(a, at, value):
    a = a.copy()
    a[at] += value
    return a


def written(a, at, value):
    a = a.copy()
    a[at] = value
    return a


@pytest.mark.parametrize("seed", range(8))
def test_random_functions(seed: int):
    rng = np.random.default_rng(seed)
    chosen = [STEPS[k] for k in rng.integers(0, len(STEPS), 4)]

    def fun(v, m, k, j, w, t):
        for step in chosen:
            v, m = step(v, m, k, j, w, t)
        return np.sum(np.sin(v)) + np.sum(m * m[0])

    n = 5
    v, m, w, t = (rng.normal(size=shape) for shape in ((n, 4), (n, 4, 3), (3, 4), (3, 4, 2)))
    k, j = rng.integers(-3, 3, n), rng.integers(-4, 4, n)
    axes, args = (0, 0, 0, 0, None, None), (v, m, k, j, w, t)
    one = jg.value_and_grad(fun, argnums=(0, 1, 4, 5))
    values, gradients = jg.vmap(one, axes)(*args)
    np.testing.assert_allclose(values, jg.vmap(fun, axes)(*args), rtol=1e-11)
    total = jg.grad(lambda *args: np.sum(jg.vmap(fun, axes)(*args)), argnums=(0, 1, 4, 5))(*args)
    for i in range(n):
        value, expected = one(v[i], m[i], k[i], j[i], w, t)
        np.testing.assert_allclose(value, fun(v[i], m[i], k[i], j[i], w, t), rtol=1e-11)
        np.testing.assert_allclose(values[i], value, rtol=1e-11)
        for got, want in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(got[i], want, rtol=1e-10, atol=1e-11)
    for k, got in enumerate(total):
        np.testing.assert_allclose(got, gradients[k] if k < 2 else gradients[k].sum(axis=0), rtol=1e-10, atol=1e-11)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: jg.vmap(loss, None), ArgumentError, "maps no argument"),
        (lambda: jg.vmap(loss, (None, None, None)), ArgumentError, "maps no argument"),
        (lambda: jg.vmap(loss, "x"), ArgumentError, "in_axes of vmap holds 'x'"),
        (lambda: jg.vmap(loss, True), ArgumentError, "in_axes of vmap holds True"),
        (lambda: jg.vmap(loss, 0, None), ArgumentError, "out_axes of vmap holds None"),
        (lambda: jg.vmap(3), ArgumentError, "vmap takes a function"),
        (lambda: jg.vmap(loss, (None, 0))(W, X, Y), ArgumentError, "in_axes has 2 entries"),
        (lambda: jg.vmap(loss, (None, 0, 0))(W, X, Y[:3]), ShapeError, r"different lengths \[3, 6\]"),
        (lambda: jg.vmap(loss, (None, 0, 2))(W, X, Y), ShapeError, r"axis 2 of an array of shape \(6, 3\)"),
        (lambda: jg.vmap(np.sin)(3.0), ShapeError, "axis 0 of an array of shape"),
        (lambda: jg.vmap(np.sin)(X[:0]), ShapeError, "no examples"),
        (lambda: jg.vmap(np.sum, out_axes=1)(X), ShapeError, "out_axes has 1"),
        (lambda: jg.vmap(lambda p: p["a"], ({"b": 0},))({"a": X}), ArgumentError, r"in_axes\[0\] is \{'b': 0\}"),
        (lambda: jg.vmap(lambda p: p, ({"a": 0},))((X,)), ArgumentError, "object of type tuple"),
        (lambda: jg.vmap(np.sin, out_axes=(0, 0))(X), ArgumentError, "out_axes is"),
    ],
)
def test_what_does_not_fit_is_told(call, error, match):
    with pytest.raises(error, match=match):
        call()
