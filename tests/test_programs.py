"""Realistic programs: values, derivatives of both modes to second order, precisions, backends, peers, threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest
from programs import PROGRAMS, Program
from threads import check_calls

import jitgrad as jg
from jitgrad import config

Arrays = list[np.ndarray]


def _leaves(tree: Any) -> Arrays:
    return [np.asarray(x) for x in optree.tree_leaves(tree)]


def _primals(p: Program) -> Arrays:
    return _leaves(p.args[: p.wrt])


def _flat(p: Program) -> Callable[..., Any]:
    """The program as a function of its differentiated leaves."""
    tree = optree.tree_structure(p.args[: p.wrt])
    fun, rest = p.fun, p.args[p.wrt :]
    return lambda *xs: fun(*optree.tree_unflatten(tree, xs), *rest)


def _direction(p: Program, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    xs = [rng.normal(size=x.shape) for x in _primals(p)]
    norm = np.sqrt(sum(np.sum(x * x) for x in xs))
    return [x / norm for x in xs]


def _inner(xs: Any, ys: Any) -> float:
    return float(sum(np.sum(x * y) for x, y in zip(xs, ys, strict=True)))


def _central(f: Callable[..., Any], xs: Arrays, t: Arrays, eps: float = 1e-3) -> Any:
    """The derivative of f along t, by differences of fourth order."""

    def slope(h: float) -> Any:
        up, down = (f(*(x + s * h * v for x, v in zip(xs, t, strict=True))) for s in (1, -1))
        return [(np.asarray(a) - np.asarray(b)) / (2 * h) for a, b in zip(up, down, strict=True)]

    return [(4 * fine - coarse) / 3 for coarse, fine in zip(slope(eps), slope(eps / 2), strict=True)]


def _second_order(p: Program) -> Callable[..., Any]:
    """(value, gradient, derivative of the value along t, of the gradient along t), in one program."""
    f = _flat(p)
    gradient = jg.value_and_grad(f, tuple(range(len(_primals(p)))))

    @jg.jit
    def run(xs: Any, t: Any) -> Any:
        return jg.jvp(gradient, tuple(xs), tuple(t))

    return run


@pytest.mark.parametrize("name", PROGRAMS)
def test_derivatives(name: str) -> None:
    p = PROGRAMS[name]
    f, xs, t = _flat(p), _primals(p), _direction(p, 1)
    run = _second_order(p)
    before = [x.copy() for x in xs]
    (value, gradient), (slope, curvature) = run(xs, t)
    np.testing.assert_allclose(value, f(*xs), rtol=1e-11)
    scale = max(1.0, abs(float(value)))
    expected = _central(lambda *args: [f(*args)], xs, t, 1e-4 if not p.smooth else 1e-3)[0]
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-8 * scale, err_msg="forward")
    np.testing.assert_allclose(_inner(gradient, t), slope, rtol=1e-10, atol=1e-11 * scale, err_msg="reverse")
    if p.smooth:
        expected = _central(lambda *args: run(list(args), t)[0][1], xs, t)
        size = max(np.max(np.abs(c), initial=0) for c in curvature)
        for found, wanted in zip(curvature, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * size, err_msg="second order")
        s = _direction(p, 2)
        other = run(xs, s)[1][1]
        np.testing.assert_allclose(_inner(curvature, s), _inner(other, t), rtol=1e-8, atol=1e-9 * size)
    for x, y in zip(xs, before, strict=True):
        np.testing.assert_array_equal(x, y)


def _cast(tree: Any, dtype: Any) -> Any:
    def leaf(x: Any) -> Any:
        return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x

    return optree.tree_map(leaf, tree)


def _joint(p: Program, dtype: Any = np.float64) -> tuple[jg.Graph, Arrays]:
    """The graph of value and gradient, and its arguments."""
    args = _cast(p.args, dtype)
    return jg.trace(jg.value_and_grad(p.fun, tuple(range(p.wrt))), *args), _leaves(args)


def _same(found: Any, wanted: Any, tolerance: float = 1e-11) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert (np.shape(a), a.dtype) == (b.shape, b.dtype)
        size = np.max(np.abs(b), initial=0, where=np.isfinite(b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * (1 + size))


@pytest.mark.parametrize("name", PROGRAMS)
def test_backends_and_precisions(name: str) -> None:
    """Value and gradient: the Python rendering gives what the interpreter gives; machine code in float32 gives the same
    to rounding, as float32."""
    p = PROGRAMS[name]
    graph, arrays = _joint(p)
    wanted = jg.interpret(graph, *arrays)
    with config.using(backend="python"):
        _same(jg.compile(graph)(*arrays), wanted)
    narrow, arrays = _joint(p, np.float32)
    found = jg.compile(narrow)(*arrays)
    size = max(np.max(np.abs(x)) for x in wanted[1:])
    for a, b, x in zip(found[1:], wanted[1:], _primals(p), strict=True):
        assert a.dtype == (np.float32 if x.shape else np.float64)  # a Python float is a float64 0-d array in NumPy
        np.testing.assert_allclose(a, b, rtol=p.single, atol=p.single * size)
    np.testing.assert_allclose(found[0], wanted[0], rtol=p.single)
    _same(found, jg.interpret(narrow, *arrays), p.single)


def _perturbed(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    return [a * (1 + 0.01 * rng.normal(size=a.shape)) if a.dtype.kind == "f" else a for a in arrays]


def test_calls_do_not_disturb_each_other() -> None:
    """Programs called in turn, with other data each time and from several threads, share arenas but no data."""
    jobs = []
    rng = np.random.default_rng(5)
    for name in (
        "softmax_cross_entropy",
        "layer_norm",
        "causal_attention",
        "embedding",
        "sorting_loss",
    ):
        graph, arrays = _joint(PROGRAMS[name])
        inputs = [_perturbed(arrays, rng) for _ in range(4)]
        jobs.append((jg.compile(graph), [(x, jg.interpret(graph, *x)) for x in inputs]))
    check_calls(jobs, _same, 60)


# Programs that differentiate inside


def _network(p: Any, t: Any) -> Any:
    return np.dot(np.tanh(np.tanh(t * p["a"] + p["b"]) @ p["m"]), p["c"])


def _residual_loss(p: Any, ts: Any) -> Any:
    """u'' + u = 0, u(0) = 0, u'(0) = 1, by a network for u."""

    def u(t: Any) -> Any:
        return _network(p, t)

    du = jg.grad(u)
    ddu = jg.grad(du)
    loss = u(0.0) ** 2 + (du(0.0) - 1.0) ** 2
    for t in ts:
        loss = loss + (ddu(t) + u(t)) ** 2
    return loss


def test_physics_informed_network() -> None:
    rng = np.random.default_rng(0)
    p = {"a": rng.normal(size=4), "b": rng.normal(size=4), "m": rng.normal(size=(4, 3)), "c": rng.normal(size=3)}
    ts = np.linspace(0.1, 1.0, 3)
    value, gradient = jg.value_and_grad(_residual_loss)(p, ts)

    def by_differences(p: Any) -> float:
        def u(t: float) -> Any:
            return _network(p, t)

        def first(t: float, h: float = 1e-2) -> float:
            return sum(c * (u(t + k * h) - u(t - k * h)) for k, c in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))) / h

        def second(t: float, h: float = 1e-2) -> float:
            parts = ((1, 3 / 2), (2, -3 / 20), (3, 1 / 90))
            return (-49 / 18 * u(t) + sum(c * (u(t + k * h) + u(t - k * h)) for k, c in parts)) / h**2

        return u(0.0) ** 2 + (first(0.0) - 1) ** 2 + sum((second(t) + u(t)) ** 2 for t in ts)

    np.testing.assert_allclose(value, by_differences(p), rtol=1e-7)
    t = {k: rng.normal(size=v.shape) for k, v in p.items()}
    expected = _central(
        lambda *xs: [by_differences(dict(zip(p, xs, strict=True)))], list(p.values()), list(t.values()), 1e-3
    )[0]
    np.testing.assert_allclose(_inner(gradient.values(), t.values()), expected, rtol=1e-5)


def test_adam_under_jit() -> None:
    """A training step over trees, compiled as a whole, against the same step in NumPy."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(16, 3)), rng.normal(size=16)
    params = {"w": [rng.normal(size=(3, 5)), rng.normal(size=(5,))], "b": (np.zeros(5), 0.1)}

    def loss(p: Any, x: Any, y: Any) -> Any:
        return np.mean((np.tanh(x @ p["w"][0] + p["b"][0]) @ p["w"][1] + p["b"][1] - y) ** 2)

    def update(gradient: Any, state: Any) -> Any:
        p, m, v, k = state
        k = k + 1
        m = optree.tree_map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = optree.tree_map(lambda v, g: 0.999 * v + 0.001 * g**2, v, gradient)
        rate = 0.01 * np.sqrt(1 - 0.999**k) / (1 - 0.9**k)
        return optree.tree_map(lambda p, m, v: p - rate * m / (np.sqrt(v) + 1e-8), p, m, v), m, v, k

    value_and_grad = jg.value_and_grad(loss)

    def step(state: Any, x: Any, y: Any) -> Any:
        value, gradient = value_and_grad(state[0], x, y)
        return value, update(gradient, state)

    zero = optree.tree_map(lambda p: np.zeros(np.shape(p)), params)
    compiled = jg.jit(step)
    state = plain = (params, zero, zero, 0.0)
    values = []
    for _ in range(20):
        value, state = compiled(state, x, y)
        wanted, plain = step(plain, x, y)  # here only the gradient is compiled
        np.testing.assert_allclose(value, wanted, rtol=1e-9)
        values.append(value)
    for a, b in zip(_leaves(state), _leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11)
    assert values[-1] < values[0]


def test_greeks() -> None:
    """Derivatives of the Black-Scholes price against their closed forms, second order included."""
    s, k, sigma, r, t = 101.0, 95.0, 0.23, 0.03, 0.7
    price = PROGRAMS["black_scholes"].fun
    d1 = (np.log(s / k) + (r + sigma**2 / 2) * t) / (sigma * np.sqrt(t))
    density = np.exp(-0.5 * d1**2) / np.sqrt(2 * np.pi)
    vega = s * density * np.sqrt(t)
    d2 = d1 - sigma * np.sqrt(t)
    args = (s, k, sigma, r, t)
    np.testing.assert_allclose(jg.grad(price, 2)(*args), vega, rtol=1e-10)
    np.testing.assert_allclose(jg.grad(jg.grad(price))(*args), density / (s * sigma * np.sqrt(t)), rtol=1e-9)
    np.testing.assert_allclose(jg.grad(jg.grad(price), 2)(*args), -density * d2 / sigma, rtol=1e-9)
    np.testing.assert_allclose(jg.grad(jg.grad(price, 2), 2)(*args), vega * d1 * d2 / sigma, rtol=1e-9)


# Peers


JAX_CASES = (
    "softmax_cross_entropy",
    "cross_entropy_by_gather",
    "logistic_regression",
    "layer_norm",
    "swiglu_and_gelu",
    "embedding",
    "gaussian_process",
    "rbf_kernel",
    "sorting_loss",
    "rosenbrock",
    "black_scholes",
    "total_variation",
)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", JAX_CASES)
def test_gradients_are_those_of_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    p = PROGRAMS[name]
    jax.config.update("jax_enable_x64", True)
    try:
        names = {**p.fun.__globals__, "np": jax.numpy, "special": jax.scipy.special, "scipy": jax.scipy}
        fun = type(p.fun)(p.fun.__code__, names, p.fun.__name__)
        args = optree.tree_map(jax.numpy.asarray, p.args)
        value, wanted = jax.value_and_grad(fun, tuple(range(p.wrt)))(*args)
    finally:
        jax.config.update("jax_enable_x64", False)
    found_value, found = jg.value_and_grad(p.fun, tuple(range(p.wrt)))(*p.args)
    np.testing.assert_allclose(found_value, value, rtol=1e-10)
    size = max(np.max(np.abs(x)) for x in _leaves(wanted))
    for a, b in zip(_leaves(found), _leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10 * size)
