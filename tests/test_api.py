"""The transformations: values, gradients, composition, calling, reading."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
from threads import in_threads

import jitgrad as jg

X = np.linspace(0.1, 1.2, 6)


def total(x):
    """Sum of squares of tanh."""
    return np.sum(np.tanh(x) ** 2)


def gradient_of_total(x):
    t = np.tanh(x)
    return 2 * t * (1 - t**2)


def central(f, x, eps=1e-6):
    """Gradient of a scalar function by central differences."""
    x = np.asarray(x, float)
    g = np.zeros_like(x)
    for k in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[k] = eps
        g[k] = (f(x + step) - f(x - step)) / (2 * eps)
    return g


def test_the_version_is_that_of_the_changelog():
    changes = (Path(__file__).parent.parent / "CHANGELOG.md").read_text()
    assert f"\n## {jg.__version__}" in changes


# -- jit --------------------------------------------------------------------------------------------------------------


def test_jit_gives_what_numpy_gives():
    f = jg.jit(lambda x, y: np.exp(x) * y + 1)
    np.testing.assert_allclose(f(X, X[::-1].copy()), np.exp(X) * X[::-1] + 1, rtol=1e-14)


def test_one_compilation_a_signature():
    f = jg.jit(lambda x: x * 2)
    for x in (1.0, 2.0, X, X + 1, X.astype(np.float32), np.ones((2, 3)), 3):
        np.testing.assert_array_equal(f(x), x * 2)
    assert f.cache_info() == (5, 5, 0)
    f.clear_cache()
    assert f.cache_info().programs == 0
    assert f(1.0) == 2.0


def test_the_python_function_runs_once_a_signature():
    runs = []

    @jg.jit
    def f(x):
        runs.append(x.shape)
        return x + 1

    f(X), f(X + 1), f(2.0), f(3.0)
    assert runs == [(6,), ()]


@pytest.mark.parametrize(
    "x", [2.5, np.float64(2.5), np.float32(2.5), np.int32(3), 3, True, np.bool_(True), np.array(2.5), np.array([1, 2])]
)
def test_dtypes_and_scalars_as_numpy(x):
    found, expected = jg.jit(lambda x: x * 2 + x)(x), np.asarray(x * 2 + x)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    assert isinstance(found, np.ndarray) == bool(expected.shape)


def test_python_numbers_are_weak():
    f = jg.jit(lambda x, s: x * s)
    assert f(np.float32(2), 1.5).dtype == np.float32
    assert f(X.astype(np.float32), 2).dtype == np.float32
    assert f(X.astype(np.float32), np.float64(1.5)).dtype == np.float64


def test_the_second_call_takes_python_integers_too():
    f = jg.jit(lambda n, flag, x: np.where(flag, n * x, x))
    for n, flag in ((2, True), (3, False), (-4, True)):
        np.testing.assert_array_equal(f(n, flag, X), n * X if flag else X)
    assert f.cache_info().compilations == 1


def test_an_argument_that_is_returned_is_copied():
    x = X.copy()
    y = jg.jit(lambda x: x)(x)
    y[0] = 99
    assert x[0] == X[0]
    a, b = jg.jit(lambda x: (x, x))(x)
    assert not np.shares_memory(a, x) and not np.shares_memory(a, b)


def test_results_are_fresh_and_writable():
    f = jg.jit(lambda x: x + 1)
    a, b = f(X), f(X)
    a[:] = 0
    np.testing.assert_array_equal(b, X + 1)


ODD = {
    "strided": np.arange(12.0)[::2],
    "reversed": np.arange(6.0)[::-1],
    "big-endian": np.arange(6.0).astype(">f8"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "unaligned": np.frombuffer(b"x" + np.arange(6.0).tobytes(), np.uint8)[1:].view(np.float64),
    "broadcast": np.broadcast_to(np.arange(3.0), (2, 3)),
    "empty": np.zeros((0, 3)),
    "0-d": np.array(3.0),
    "one element": np.arange(4.0)[::4],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_arrays_work_and_are_not_written(name):
    x = ODD[name]
    before = x.copy()
    f = jg.jit(lambda x: np.exp(x) + x)
    for _ in range(2):
        np.testing.assert_allclose(f(x), np.exp(x) + x, rtol=1e-14)
    np.testing.assert_allclose(jg.grad(lambda x: np.sum(x**2))(x), 2 * x)
    np.testing.assert_array_equal(x, before)


def test_a_read_only_argument_takes_the_fast_path():
    x = X.copy()
    x.flags.writeable = False
    f = jg.jit(lambda x: x * 2)
    for _ in range(3):
        np.testing.assert_array_equal(f(x), x * 2)
    assert f.cache_info().compilations == 1


def test_explain_names_the_inputs_that_are_copied():
    f = jg.jit(lambda x, y: x + y)
    text = f.explain(ODD["reversed"], ODD["big-endian"])
    assert "argument x is copied at each call: it is not C-contiguous" in text
    assert "argument y is copied at each call: its byte order" in text
    assert "copied at each call" not in f.explain(X, X)


def test_matrices_are_refused_as_their_product_is_another_one():
    with pytest.warns(PendingDeprecationWarning):
        m = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(jg.errors.ArgumentError, match="matrix product"):
        jg.jit(lambda x: x * x)(m)


def test_array_likes_are_converted():
    class Column:
        def __array__(self, dtype=None, copy=None):
            return np.array([1.0, 2.0])

    np.testing.assert_array_equal(jg.jit(lambda x: x + 1)(Column()), [2, 3])


def test_static_arguments():
    @jg.jit(static_argnames=("axis", "how"))
    def reduce(x, axis=0, how="sum"):
        return np.sum(x, axis=axis) if how == "sum" else np.max(x, axis=axis)

    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(reduce(x, 1), x.sum(1))
    np.testing.assert_array_equal(reduce(x, axis=1), x.sum(1))
    np.testing.assert_array_equal(reduce(x, how="max"), x.max(0))
    np.testing.assert_array_equal(reduce(x), x.sum(0))
    by_number = jg.jit(lambda x, n: sum(x for _ in range(n)), static_argnums=1)
    assert by_number(2.0, 3) == 6 and by_number(2.0, 4) == 8
    assert jg.jit(lambda n, x: x * n, static_argnums=-2)(2, 3.0) == 6


def test_equal_static_values_of_other_types_are_not_mixed_up():
    f = jg.jit(lambda x, n: x * (2.0 if isinstance(n, bool) else 3.0), static_argnums=1)
    assert f(1.0, 1) == 3
    assert f(1.0, True) == 2
    assert f(1.0, 1.0) == 3


def test_metadata():
    f = jg.jit(total)
    assert f.__name__ == "total" and f.__doc__ == total.__doc__ and f.__wrapped__ is total
    assert inspect.signature(f) == inspect.signature(total)
    assert repr(jg.grad(total)) == "<jitgrad.grad of total>"


@jg.grad
def decorated(x):
    return x**2


def test_copies_and_pickles():
    assert copy.deepcopy(decorated) is decorated
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    made = pickle.loads(pickle.dumps(jg.value_and_grad(total)))
    assert made(X)[0] == pytest.approx(total(X))


# -- gradients --------------------------------------------------------------------------------------------------------


def test_grad_of_an_array():
    np.testing.assert_allclose(jg.grad(total)(X), gradient_of_total(X), rtol=1e-13)


def test_value_and_grad():
    value, gradient = jg.value_and_grad(total)(X)
    assert value == pytest.approx(total(X))
    np.testing.assert_allclose(gradient, gradient_of_total(X), rtol=1e-13)


def test_gradients_have_the_dtype_of_the_argument():
    g = jg.grad(total)
    assert g(X.astype(np.float32)).dtype == np.float32
    assert type(g(0.5)) is np.float64
    assert type(g(np.float32(0.5))) is np.float32


def test_argnums():
    def f(x, y, z):
        return x * y**2 * z**3

    assert jg.grad(f)(2.0, 3.0, 1.0) == 9
    assert jg.grad(f, argnums=1)(2.0, 3.0, 1.0) == 12
    assert jg.grad(f, argnums=-1)(2.0, 3.0, 1.0) == 54
    assert jg.grad(f, argnums=(2, 0))(2.0, 3.0, 1.0) == (54, 9)
    assert jg.grad(f, argnums=(1,))(2.0, 3.0, 1.0) == (12,)
    assert jg.grad(f, argnums=1)(2.0, z=1.0, y=3.0) == 12


def test_integers_that_are_not_differentiated_are_fine():
    assert jg.grad(lambda x, n: x * n)(2.0, 3) == 3
    np.testing.assert_array_equal(jg.grad(lambda x, i: x[i] * 2)(np.ones(3), np.array(1)), [0, 2, 0])


def test_has_aux():
    def f(x):
        return np.sum(x**2), {"double": 2 * x, "name": None}

    gradient, aux = jg.grad(f, has_aux=True)(X)
    np.testing.assert_allclose(gradient, 2 * X)
    np.testing.assert_array_equal(aux["double"], 2 * X)
    (value, aux), gradient = jg.value_and_grad(f, has_aux=True)(X)
    assert value == pytest.approx(np.sum(X**2)) and aux["name"] is None
    np.testing.assert_allclose(gradient, 2 * X)


def test_a_constant_function_has_gradient_zero():
    np.testing.assert_array_equal(jg.grad(lambda x: 3.0)(X), np.zeros(6))
    assert jg.value_and_grad(lambda x, y: y, argnums=0)(1.0, 2.0) == (2.0, 0.0)


def test_decorators_with_and_without_arguments():
    @jg.grad
    def one(x):
        return x**2

    @jg.grad(argnums=1)
    def two(x, y):
        return x * y**2

    @jg.value_and_grad(has_aux=True)
    def three(x):
        return x**2, x

    @jg.jit()
    def four(x):
        return x + 1

    assert one(3.0) == 6 and two(2.0, 3.0) == 12 and three(3.0) == ((9.0, 3.0), 6.0) and four(1.0) == 2


def test_grad_of_numpys_own_functions():
    assert jg.grad(np.sin)(0.3) == pytest.approx(np.cos(0.3))
    np.testing.assert_array_equal(jg.grad(np.sum)(X), np.ones(6))


# -- composition ------------------------------------------------------------------------------------------------------


def cube(x):
    return x**3


@pytest.mark.parametrize(
    "make",
    [
        lambda f: jg.grad(jg.jit(f)),
        lambda f: jg.jit(jg.grad(f)),
        lambda f: jg.jit(jg.jit(jg.grad(jg.jit(f)))),
        lambda f: lambda x: jg.vjp(f, x)[1](1.0)[0],
        lambda f: lambda x: jg.jvp(f, (x,), (1.0,))[1],
        lambda f: jg.jit(lambda x: jg.vjp(f, x)[1](1.0)[0]),
        lambda f: jg.jit(lambda x: jg.jvp(f, (x,), (1.0,))[1]),
        lambda f: jg.jacobian(f),
        lambda f: jg.jit(jg.jacobian(f)),
        lambda f: lambda x: jg.value_and_grad(f)(x)[1],
    ],
)
def test_all_ways_to_a_first_derivative(make):
    assert make(cube)(2.0) == pytest.approx(12.0)


@pytest.mark.parametrize("outer", [jg.grad, jg.jacobian, lambda f: lambda x: jg.jvp(f, (x,), (1.0,))[1]])
@pytest.mark.parametrize(
    "inner",
    [
        jg.grad,
        lambda f: jg.jit(jg.grad(f)),
        lambda f: lambda x: jg.jvp(f, (x,), (1.0,))[1],
        lambda f: lambda x: jg.vjp(f, x)[1](1.0)[0],
        jg.jacobian,
    ],
)
def test_all_ways_to_a_second_derivative(inner, outer):
    assert outer(inner(cube))(2.0) == pytest.approx(12.0)
    assert outer(inner(np.sin))(0.3) == pytest.approx(-np.sin(0.3))


def test_third_derivative():
    assert jg.grad(jg.grad(jg.grad(lambda x: x**4)))(2.0) == pytest.approx(48.0)


def test_inner_functions_close_over_outer_values():
    # d/dx [x * d/dy (x y^2) at y = 3] = d/dx [6 x^2] = 12 x
    assert jg.grad(lambda x: x * jg.grad(lambda y: x * y**2)(3.0))(2.0) == pytest.approx(24.0)


def test_perturbations_are_not_confused():
    # The inner derivative is 1, so the outer one is of x * 1.
    def outer(x):
        return x * jg.jvp(lambda y: x + y, (1.0,), (1.0,))[1]

    assert jg.jvp(outer, (1.0,), (1.0,))[1] == 1.0
    assert jg.grad(outer)(1.0) == 1.0


def test_transformed_functions_inside_traced_ones():
    inner = jg.value_and_grad(total)

    @jg.jit
    def step(x, rate):
        value, gradient = inner(x)
        return value, x - rate * gradient

    value, moved = step(X, 0.1)
    assert value == pytest.approx(total(X))
    np.testing.assert_allclose(moved, X - 0.1 * gradient_of_total(X), rtol=1e-13)


def test_inside_a_trace_plain_values_stay_plain():
    inner = jg.jit(lambda n: n * 2.0)
    seen = []

    @jg.jit
    def f(x):
        seen.append(inner(3.0))
        return x * inner(3.0)

    assert f(2.0) == 12
    assert seen == [6.0] and isinstance(seen[0], np.float64)


def test_static_arguments_pass_through():
    inner = jg.jit(lambda x, how: x**2 if how == "square" else x, static_argnames="how")
    assert jg.grad(inner)(3.0, how="square") == 6
    outer = jg.jit(lambda x, how: inner(x, how) + 1, static_argnames="how")
    assert outer(3.0, "square") == 10 and outer(3.0, "id") == 4


# -- vjp and jvp ------------------------------------------------------------------------------------------------------


def pair(x, y):
    return {"product": x * y, "sum": np.sum(x) + y}


def test_vjp():
    out, pullback = jg.vjp(pair, X, 2.0)
    np.testing.assert_array_equal(out["product"], X * 2)
    for scale in (1.0, 3.0):  # the pullback can be used again
        dx, dy = pullback({"product": scale * np.ones(6), "sum": 1.0})
        np.testing.assert_allclose(dx, 2 * scale + np.ones(6))
        assert dy == pytest.approx(scale * X.sum() + 1)


def test_a_pullback_does_not_see_later_writes():
    x = X.copy()
    out, pullback = jg.vjp(lambda x: x**2 * np.sin(x), x)
    (expected,) = pullback(np.ones(6))
    x[:] = 0
    out[:] = 0
    np.testing.assert_array_equal(pullback(np.ones(6))[0], expected)
    np.testing.assert_allclose(expected, central(lambda x: np.sum(x**2 * np.sin(x)), X), rtol=1e-8)


def test_cotangents_are_converted():
    x = X.astype(np.float32)
    _, pullback = jg.vjp(lambda x: x * 2, x)
    (dx,) = pullback(np.arange(6))
    assert dx.dtype == np.float32
    np.testing.assert_array_equal(dx, 2 * np.arange(6))


def test_integer_results_take_any_cotangent():
    out, pullback = jg.vjp(lambda x: (np.sum(x**2), np.argmax(x)), X)
    assert out[1] == 5
    np.testing.assert_allclose(pullback((1.0, None) if False else (1.0, 0))[0], 2 * X)


def test_jvp():
    out, tangent = jg.jvp(pair, (X, 2.0), (np.ones(6), 3.0))
    np.testing.assert_array_equal(out["product"], X * 2)
    np.testing.assert_allclose(tangent["product"], 2 + 3 * X)
    assert tangent["sum"] == pytest.approx(9.0)


def test_vjp_and_jvp_of_one_lambda_compile_once(monkeypatch):
    built = []
    original = jg.pullbacks.VjpFunction._build
    monkeypatch.setattr(
        jg.pullbacks.VjpFunction, "_build", lambda self, *args: (built.append(1), original(self, *args))[1]
    )
    for scale in (2.0, 2.0, 3.0):
        _, pullback = jg.vjp(lambda x, scale=scale: x**2 * scale, 3.0)
        assert pullback(1.0) == (6 * scale,)
    assert len(built) == 2


# -- Jacobians --------------------------------------------------------------------------------------------------------

A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])


@pytest.mark.parametrize("transform", [lambda f: f, jg.jit])
def test_jacobian_of_a_linear_map(transform):
    x = np.array([0.5, -1.0, 2.0])
    np.testing.assert_allclose(transform(jg.jacobian(lambda x: np.sum(A * x, axis=1)))(x), A)
    np.testing.assert_allclose(transform(jg.jacobian(lambda x: np.sum(A.T * x, axis=1)))(x[:2]), A.T)


def test_jacobian_shapes():
    x = np.arange(1.0, 7.0).reshape(2, 3)
    found = jg.jacobian(lambda x: np.stack([x * x, x]).reshape(4, 3))(x)
    assert found.shape == (4, 3, 2, 3)
    expected = np.concatenate([np.diag(2 * x.ravel()), np.eye(6)]).reshape(4, 3, 2, 3)
    np.testing.assert_allclose(found, expected)
    assert jg.jacobian(lambda x: np.sum(x))(x).shape == (2, 3)
    assert jg.jacobian(lambda x: x * 2)(1.5) == 2


def test_jacobian_of_trees():
    found = jg.jacobian(lambda p: {"out": p["a"] * p["b"]})({"a": np.array([1.0, 2.0]), "b": 3.0})
    np.testing.assert_allclose(found["out"]["a"], 3 * np.eye(2))
    np.testing.assert_allclose(found["out"]["b"], [1, 2])
    first, second = jg.jacobian(lambda x, y: x * y, argnums=(0, 1))(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.testing.assert_allclose(first, np.diag([3.0, 4.0]))
    np.testing.assert_allclose(second, np.diag([1.0, 2.0]))


def test_jacobian_of_nothing():
    assert jg.jacobian(lambda x: x * 2)(np.zeros(0)).shape == (0, 0)
    assert jg.jacobian(lambda x: np.sum(x))(np.zeros(0)).shape == (0,)
    assert jg.jacobian(lambda x: x[:0])(np.ones(3)).shape == (0, 3)


def test_hessian():
    def f(x):
        return np.sum(x**3) + x[0] * x[1] * x[2]

    x = np.array([1.0, 2.0, 3.0])
    expected = np.diag(6 * x) + np.array([[0, 3, 2], [3, 0, 1], [2, 1, 0]])
    np.testing.assert_allclose(jg.hessian(f)(x), expected)
    np.testing.assert_allclose(jg.jit(jg.hessian(f))(x), expected)


def test_hessian_of_two_arguments():
    found = jg.hessian(lambda x, y: x**2 * y, argnums=(0, 1))(2.0, 3.0)
    assert found == ((6.0, 4.0), (4.0, 0.0))


# -- methods ----------------------------------------------------------------------------------------------------------


class Model:
    scale = 2.0

    def __init__(self):
        self.w = np.array([1.0, 2.0, 3.0])

    def forward(self, x):
        return self.w * x * self.scale

    @jg.value_and_grad
    def loss(self, x):
        return np.sum(self.forward(x) ** 2)

    @jg.jit(static_argnames="k")
    def power(self, x, k=2):
        return self.forward(x) ** k

    @jg.jacobian
    def slope(self, x):
        return self.forward(x)


def test_methods_bind_their_object():
    model, x = Model(), np.ones(3)
    value, gradient = model.loss(x)
    assert value == 4 * 14
    np.testing.assert_array_equal(gradient, 8 * np.array([1.0, 4.0, 9.0]))
    np.testing.assert_array_equal(model.power(x, k=3), (2 * model.w) ** 3)
    np.testing.assert_array_equal(model.slope(x), np.diag(2 * model.w))
    assert "self.w" in model.loss.explain(x)


def test_methods_see_changed_attributes():
    model, x = Model(), np.ones(3)
    model.loss(x)
    model.w = np.zeros(3)
    assert model.loss(x)[0] == 0
    model.w[1] = 1
    assert model.loss(x)[0] == 4
    assert Model().loss(x)[0] == 4 * 14


def test_methods_do_not_keep_their_object_alive():
    import gc
    import weakref

    model = Model()
    model.loss(np.ones(3))
    before = Model.__dict__["loss"]._method.cache_info().programs
    ref = weakref.ref(model)
    del model
    gc.collect()
    assert ref() is None
    assert Model.__dict__["loss"]._method.cache_info().programs == before - 1


# -- threads ----------------------------------------------------------------------------------------------------------


def test_many_threads_call_and_compile_at_once():
    f = jg.value_and_grad(lambda x: np.sum(np.exp(x) * x))
    g = jg.jit(lambda x: jg.grad(lambda y: np.sum(y**3))(x))
    failures = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for k in range(40):
            x = rng.normal(size=1 + (seed + k) % 3)
            value, gradient = f(x)
            ok = np.allclose(value, np.sum(np.exp(x) * x)) and np.allclose(gradient, np.exp(x) * (1 + x))
            if not (ok and np.allclose(g(x), 3 * x**2)):
                failures.append((seed, k))

    in_threads(work, 8)
    assert not failures
    assert f.cache_info() == (3, 3, 0) and g.cache_info() == (3, 3, 0)


def test_warns_of_many_compilations():
    f = jg.jit(lambda x: x + 1)
    with jg.config.using(warn_recompiles=3):
        f(np.ones(1)), f(np.ones(2))
        with pytest.warns(jg.errors.JitgradWarning, match="compiled 3 times"):
            f(np.ones(3))


def test_the_backend_is_part_of_the_signature():
    f = jg.grad(total)
    expected = f(X)
    with jg.config.using(backend="python"):
        np.testing.assert_allclose(f(X), expected, rtol=1e-13)
    np.testing.assert_array_equal(f(X), expected)
    assert f.cache_info().compilations == 2
