"""``solve_ivp`` and ``odeint``: SciPy's values, and gradients against central differences."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import scipy.integrate
from scipy.integrate import odeint, solve_ivp

import jitgrad as jg
from jitgrad.errors import JitgradError, ShapeError, UnsupportedError

TIMES = np.linspace(0.0, 4.0, 21)
START = np.array([1.5, 0.8])
RATES = np.array([1.1, 0.6, 0.9, 0.5])


def prey(t, z, rates):
    x, y = z
    return [rates[0] * x - rates[1] * x * y, -rates[2] * y + rates[3] * x * y]


def slope(fun, x, direction, eps=1e-6):
    return (fun(x + eps * direction) - fun(x - eps * direction)) / (2 * eps)


def check_gradient(fun, *args, tol=1e-6):
    """Of the sum of a smooth function of the result, along a direction for each argument."""

    def total(*a):
        return np.sum(np.sin(fun(*a)))

    grads = jg.grad(total, argnums=tuple(range(len(args))))(*args)
    rng = np.random.default_rng(0)
    for k, (grad, x) in enumerate(zip(grads, args, strict=True)):
        direction = rng.normal(size=np.shape(x))
        want = slope(lambda v, k=k: total(*args[:k], v, *args[k + 1 :]), x, direction)
        np.testing.assert_allclose(np.sum(grad * direction), want, rtol=tol, atol=tol)


@pytest.mark.parametrize("method", ["RK45", "RK23"])
@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_the_steps_are_scipys(method, rtol):
    def at_times(z, rates):
        s = solve_ivp(prey, (0, 4), z, method, TIMES, args=(rates,), rtol=rtol, atol=1e-9)
        return s.y, s.nfev, s.t

    def all_steps(z, rates):
        s = solve_ivp(prey, [0, 4], z, method, args=(rates,), rtol=rtol, atol=1e-9)
        return np.sum(s.y, axis=1), s.y[:, -1], s.nfev, s.t[-1], s.t[1]

    for fun in (at_times, all_steps):
        for a, b in zip(jg.jit(fun)(START, RATES), fun(START, RATES), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_options():
    def steps(z):
        a = solve_ivp(lambda t, y: -y * t, (0, 2), z, t_eval=[0.5, 2.0], first_step=0.01, max_step=0.05)
        b = solve_ivp(lambda t, y: np.cos(y) + t, (2, -1), z, method="RK23", t_eval=TIMES[:0:-5] / 4)
        c = solve_ivp(lambda t, y: -y, (0, 1), z, t_eval=(1.0,), atol=np.array([1e-3, 1e-9]))
        return a.y, a.nfev, b.y, c.y, c.nfev, c.success * 1, c.status

    for a, b in zip(jg.jit(steps)(START), steps(START), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_gradients_of_solve_ivp():
    def fun(z, rates, end):
        s = solve_ivp(prey, (0, end), z, t_eval=[0.1 * end, 0.5, end], args=(rates,), rtol=1e-10, atol=1e-11)
        return s.y

    def last(z, rates, end):
        return solve_ivp(lambda t, y: prey(t, y, rates), (0, end), z, rtol=1e-10, atol=1e-11).y[:, -1]

    check_gradient(fun, START, RATES, 2.0)
    check_gradient(last, START, RATES, 2.0)


def test_odeint():
    def fun(z, rates, t):
        return odeint(lambda y, t, r: prey(t, y, r), z, t, args=(rates,))

    def first(z, rates, t):
        return odeint(prey, z, t, (rates,), tfirst=True, rtol=1e-11, atol=1e-11)

    np.testing.assert_allclose(jg.jit(fun)(START, RATES, TIMES), fun(START, RATES, TIMES), rtol=1e-6)
    np.testing.assert_allclose(jg.jit(first)(START, RATES, TIMES), first(START, RATES, TIMES), rtol=1e-9)
    check_gradient(first, START, RATES, TIMES)


def test_parameters_in_a_closure_and_scalars():
    @jg.value_and_grad
    def decay(rate):
        return scipy.integrate.odeint(lambda y, t: -rate * y, 2.0, np.array([0.0, 0.5, 1.5]))[-1, 0]

    value, grad = decay(0.7)
    np.testing.assert_allclose([value, grad], [2 * np.exp(-1.05), -3 * np.exp(-1.05)], rtol=1e-6)


def test_the_gradient_is_that_of_the_adjoint_equation():
    jax = pytest.importorskip("jax")
    ode = pytest.importorskip("jax.experimental.ode")
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():

        def theirs(z, rates):
            found = ode.odeint(lambda y, t, r: jax.numpy.stack(prey(t, y, r)), z, TIMES, rates, rtol=1e-10, atol=1e-10)
            return jax.numpy.sum(found**2)

        want = jax.grad(theirs, argnums=(0, 1))(START, RATES)

    def ours(z, rates):
        return np.sum(odeint(prey, z, TIMES, args=(rates,), tfirst=True, rtol=1e-10, atol=1e-10) ** 2)

    for a, b in zip(jg.grad(ours, argnums=(0, 1))(START, RATES), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_arrays_and_loops_in_the_equation():
    """The heat equation on a line."""

    def heat(t, u, k):
        du = np.zeros_like(u)
        for i in range(1, len(u) - 1):
            du[i] = k * (u[i - 1] - 2 * u[i] + u[i + 1])
        return du

    def fun(u, k):
        return solve_ivp(heat, (0.0, 0.5), u, t_eval=[0.5], args=(k,), rtol=1e-9, atol=1e-10).y[:, 0]

    u = np.random.default_rng(1).normal(size=20)  # all modes: the steps are chosen for those that there are
    np.testing.assert_allclose(jg.jit(fun)(u, 3.0), fun(u, 3.0), rtol=1e-9)
    check_gradient(fun, u, 3.0)


def test_nothing_traced_is_scipys():
    @jg.jit
    def fun(x):
        return x * solve_ivp(lambda t, y: -y, (0, 1), [1.0], method="BDF", t_eval=[1.0]).y[0, 0]

    want = solve_ivp(lambda t, y: -y, (0, 1), [1.0], method="BDF", t_eval=[1.0]).y[0, 0]
    np.testing.assert_allclose(fun(2.0), 2 * want, rtol=1e-12)


def test_what_fails_raises():
    @jg.jit
    def blows_up(y):
        return solve_ivp(lambda t, y: y * y, (0, 2), y, t_eval=[2.0]).y

    with pytest.raises(RuntimeError, match="step size became too small"):
        blows_up(np.array([1.0]))
    np.testing.assert_allclose(blows_up(np.array([0.1])), 0.125, rtol=1e-3)

    @jg.jit
    def caught(y):
        try:
            return solve_ivp(lambda t, y: y * y, (0, 2), y, t_eval=[2.0]).y
        except RuntimeError:
            return y

    assert np.isnan(caught(np.array([1.0]))).all()

    @jg.jit
    def stiff(y):
        return odeint(lambda y, t: -1e7 * (y - np.cos(t)), y, np.array([0.0, 10.0]))

    with pytest.raises(RuntimeError, match="stiff"):
        stiff(np.array([1.0]))


@pytest.mark.parametrize("span", [(0.0, 1.0), (1.0, 0.0)])
def test_times_outside_of_the_span_or_not_sorted(span):
    def solve(y, times, end):
        return solve_ivp(lambda t, y: -y, (span[0], end), y, t_eval=times).y

    known = jg.jit(lambda y, n: solve(y, [0.0, 0.5, 1.0, 1.5][n : n + 2][:: (-1) ** int(span[0])], span[1]))
    with pytest.raises(ValueError, match="not within"):
        known(START, 2)
    compiled = jg.jit(solve)
    for times in ([0.0, 0.5, 1.0], [0.5, 0.25], [0.5, 0.5], [0.5, 1.1], [-0.1, 0.5], [1.0, 0.0]):
        with contextlib.suppress(ValueError):
            expected = solve(START, np.array(times), span[1])
            np.testing.assert_allclose(compiled(START, np.array(times), span[1]), expected, rtol=1e-10)
            continue
        with pytest.raises(ValueError) as wanted:
            solve(START, np.array(times), span[1])
        with pytest.raises(ValueError) as found:
            compiled(START, np.array(times), span[1])
        assert str(found.value) == str(wanted.value)


@pytest.mark.parametrize(
    ("fun", "error", "words"),
    [
        (lambda y: solve_ivp(lambda t, y: -y, (0, 1), y, method="Radau").y, UnsupportedError, "Radau"),
        (lambda y: solve_ivp(lambda t, y: -y, (0, 1), y, events=lambda t, y: y[0]).y, UnsupportedError, "events"),
        (lambda y: solve_ivp(lambda t, y: -y, (0, 1), y, dense_output=True).y, UnsupportedError, "dense_output"),
        (lambda y: solve_ivp(lambda t, y: y[:1], (0, 1), y).y, ShapeError, r"shape \(1,\) for 2"),
        (lambda y: solve_ivp(lambda t, y: -y, (0, 1), y[0]).y, ShapeError, "y0 has shape"),
        (lambda y: odeint(lambda y, t: -y, y, np.array([0, 1.0]), full_output=True), UnsupportedError, "full_output"),
        (lambda y: odeint(lambda y, t: -y, y * 1j, np.array([0, 1.0])), JitgradError, "complex"),
    ],
    ids=["Radau", "events", "dense_output", "shape", "scalar", "full_output", "complex"],
)
def test_errors(fun, error, words):
    with pytest.raises(error, match=words):
        jg.jit(fun)(START)
