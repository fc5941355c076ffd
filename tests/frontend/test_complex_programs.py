"""Programs of physics and signal processing with complex numbers: values against NumPy, gradients against central
differences, and against torch, whose convention for gradients is the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg as sla

import jitgrad as jg
from jitgrad import testing


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


# -- quantum mechanics -------------------------------------------------------------------------------------------------


def crank_nicolson(potential: Any, psi: Any, steps: int) -> Any:
    """A wave packet in a potential: (1 + i dt H / 2) psi' = (1 - i dt H / 2) psi."""
    n, dt = len(potential), 0.05
    h = np.diag(potential + 2.0) - np.eye(n, k=1) - np.eye(n, k=-1)
    forward, backward = np.eye(n) - 0.5j * dt * h, np.eye(n) + 0.5j * dt * h
    for _ in range(steps):
        psi = np.linalg.solve(backward, forward @ psi)
    return np.sum(np.arange(n) * np.abs(psi) ** 2), np.vdot(psi, psi).real


def by_matrix_products(field: Any, steps: int) -> Any:
    """A spin in a field that turns: exp(-i H dt) for 2 x 2 matrices, in closed form."""
    x, y, z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1.0, -1.0])
    u = np.eye(2, dtype=complex)
    for t in range(steps):
        a, b, c = field[0] * np.cos(0.1 * t), field[1] * np.sin(0.1 * t), field[2]
        size = np.sqrt(a * a + b * b + c * c)
        step = np.cos(0.1 * size) * np.eye(2) - 1j * np.sin(0.1 * size) / size * (a * x + b * y + c * z)
        u = step @ u
    return np.abs(u[1, 0]) ** 2, u


def lindblad(rate: Any, omega: Any, steps: int) -> Any:
    """A decaying two-level atom that is driven: the density matrix, by Euler's method."""
    h = 0.5 * omega * np.array([[0, 1], [1, 0]], dtype=complex)
    low = np.array([[0, 1], [0, 0]], dtype=complex)
    rho = np.array([[0, 0], [0, 1]], dtype=complex)
    for _ in range(steps):
        commutator = h @ rho - rho @ h
        decay = low @ rho @ low.conj().T - 0.5 * (low.conj().T @ low @ rho + rho @ low.conj().T @ low)
        rho = rho + 0.01 * (-1j * commutator + rate * decay)
    return rho[1, 1].real, rho


# -- signals -----------------------------------------------------------------------------------------------------------


def spectrum(x: Any, shift: Any) -> Any:
    """The discrete Fourier transform by its matrix; the energy of the upper half."""
    n = len(x)
    k = np.arange(n)
    f = np.exp(-2j * np.pi * np.outer(k, k) / n) @ (x * np.exp(1j * shift * k))
    return np.sum(np.abs(f[n // 2 :]) ** 2) / n, f


def circuit(r: Any, l: Any, c: Any, omega: Any) -> Any:  # noqa: E741
    """A series resonant circuit beside a resistor: the voltage ratio in decibels, and its phase."""
    z = r + 0.01j * omega * l + 1 / (0.001j * omega * c)
    parallel = 1 / (1 / z + 1 / 50.0)
    ratio = parallel / (parallel + 50.0)
    return 20 * np.log10(np.abs(ratio)), np.angle(ratio), ratio


def phase_retrieval(z: Any, a: Any, intensities: Any, steps: int) -> Any:
    """Wirtinger flow: steepest descent for |a z|**2 = intensities."""
    for _ in range(steps):
        r = a @ z
        z = z - 0.01 * (a.conj().T @ ((np.abs(r) ** 2 - intensities) * r)) / len(intensities)
    return z


def constant_modulus(taps: Any, received: Any) -> Any:
    """The equaliser of Godard for symbols of modulus 1, and what it makes of the signal."""
    out = np.zeros(len(received) - len(taps) + 1, dtype=complex)
    error = 0.0
    for t in range(len(out)):
        out[t] = np.dot(taps, received[t : t + len(taps)][::-1])
        error += (np.abs(out[t]) ** 2 - 1.0) ** 2
    return error / len(out), out


def kalman(q: Any, r: Any, ys: Any, turn: Any) -> Any:
    """A phasor that turns, seen through noise: the innovations' likelihood."""
    state, p, likelihood, path = 1 + 0j, 1.0, 0.0, []
    for y in ys:
        state, p = turn * state, np.abs(turn) ** 2 * p + q
        s = p + r
        e = y - state
        gain = p / s
        state, p = state + gain * e, (1 - gain) * p
        likelihood += np.log(s) + np.abs(e) ** 2 / s
        path.append(state)
    return likelihood, np.array(path)


# -- linear algebra by hand --------------------------------------------------------------------------------------------


def householder(a: Any) -> Any:
    """The triangle of QR by reflections, written into the matrix."""
    r = a.copy()
    n = r.shape[1]
    for k in range(n):
        x = r[k:, k].copy()
        size = np.sqrt(np.sum(np.abs(x) ** 2))
        x[0] += np.exp(1j * np.angle(x[0])) * size
        x /= np.sqrt(np.sum(np.abs(x) ** 2))
        r[k:, k:] -= 2.0 * np.outer(x, x.conj() @ r[k:, k:])
    return r[:n]


def elimination(a: Any, b: Any) -> Any:
    """Gaussian elimination in place, entry by entry."""
    a, b = a.copy(), b.copy()
    n = len(b)
    for k in range(n):
        for i in range(k + 1, n):
            f = a[i, k] / a[k, k]
            for j in range(k, n):
                a[i, j] -= f * a[k, j]
            b[i] -= f * b[k]
    for i in range(n - 1, -1, -1):
        b[i] = (b[i] - a[i, i + 1 :] @ b[i + 1 :]) / a[i, i]
    return b


def newton(p: Any, z: Any) -> Any:
    """Newton's method for a root of a polynomial."""
    for _ in range(50):
        value, slope = 0j, 0j
        for c in p:
            slope = slope * z + value
            value = value * z + c
        if abs(value) < 1e-13:
            break
        z = z - value / slope
    return z


def joukowski(center: Any, n: int) -> Any:
    """The outline of a wing, and the area in it."""
    t = 2 * np.pi * np.arange(n) / n
    w = center + np.abs(1 - center) * np.exp(1j * t)
    z = w + 1 / w
    return 0.5 * np.sum((z.conj() * np.roll(z, -1)).imag), z


RNG = np.random.default_rng(0)
PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "Crank-Nicolson": (crank_nicolson, (RNG.random(6), numbers(RNG, 6), 12)),
    "matrix products": (by_matrix_products, (np.array([0.5, 1.0, 0.3]), 20)),
    "Lindblad": (lindblad, (0.3, 1.1, 25)),
    "spectrum": (spectrum, (RNG.normal(size=8), 0.3)),
    "circuit": (circuit, (5.0, 1.3, 0.8, np.linspace(100.0, 1000.0, 7) / 10)),
    "phase retrieval": (phase_retrieval, (numbers(RNG, 3), numbers(RNG, 12, 3), RNG.random(12), 15)),
    "constant modulus": (constant_modulus, (numbers(RNG, 4), numbers(RNG, 20))),
    "Kalman": (kalman, (0.1, 0.5, numbers(RNG, 15), np.exp(0.2j))),
    "Householder": (householder, (numbers(RNG, 5, 3),)),
    "elimination": (elimination, (numbers(RNG, 10, 10) + 8 * np.eye(10), numbers(RNG, 10))),
    "Newton": (newton, (np.array([1.0, 0.3j, -0.2, 2 + 1j]), 0.5 + 1j)),
    "Joukowski": (joukowski, (-0.1 + 0.15j, 40)),
}


def parts_of(value: Any) -> list[Any]:
    return [np.asarray(x) for x in (value if isinstance(value, tuple) else (value,))]


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    fun, args = PROGRAMS[name]
    compiled = jg.jit(fun)
    for _ in range(2):
        for found, expected in zip(parts_of(compiled(*args)), parts_of(fun(*args)), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)
    testing.check_grads(fun, args, order=1, rtol=1e-5, atol=1e-6)


def test_descent_finds_the_signal() -> None:
    """Gradient descent with the gradient as it is: `z - rate * g` goes downhill."""
    rng = np.random.default_rng(1)
    truth, a = numbers(rng, 3), numbers(rng, 30, 3)
    seen = np.abs(a @ truth) ** 2

    @jg.value_and_grad
    def loss(z: Any) -> Any:
        return np.mean((np.abs(a @ z) ** 2 - seen) ** 2)

    z = truth + 0.3 * numbers(rng, 3)
    first = loss(z)[0]
    for _ in range(300):
        z = z - 0.005 * loss(z)[1]
    assert loss(z)[0] < 1e-6 * first
    assert np.abs(np.vdot(z, truth)) > 0.999 * np.linalg.norm(z) * np.linalg.norm(truth)


def test_the_ir_is_real() -> None:
    text = jg.grad(lambda z: np.sum(np.abs(np.exp(1j * z) * z) ** 2)).ir(np.array([1j, 2]))
    assert "z_real: f64[2], %z_imag: f64[2]" in text
    assert set(re.findall(r": ([a-z]\w*)\[", text)) <= {"f64", "bool", "b1", "i64"}


# -- random programs ---------------------------------------------------------------------------------------------------

UNARY: list[Callable[[Any], Any]] = [
    np.exp, np.sin, np.cos, np.tanh, np.conj, np.negative, np.square, np.sinh, np.arctan, np.sign,
    lambda z: z * 1j, lambda z: np.log(z + 3), lambda z: np.sqrt(z - 0.3), lambda z: z / (1 + np.abs(z)),
    lambda z: z.real + 0.5 * z, lambda z: z.imag * 1j - z, lambda z: z[::-1], lambda z: np.roll(z, 1), np.cumsum,
    lambda z: z**2.0, lambda z: 1 / (z + 2.5), lambda z: z - z.mean(), lambda z: np.where(z.real > 0, z, 1j * z),
    lambda z: np.fliplr(z.reshape(2, 2)).ravel(), lambda z: 0.3 * z**3, lambda z: np.abs(z) + 0j,
]  # fmt: skip
BINARY: list[Callable[[Any, Any], Any]] = [
    np.add, np.subtract, np.multiply, lambda z, w: z / (w + 3j), lambda z, w: z * np.vdot(z, w) * 0.1,
    lambda z, w: np.outer(z, w) @ z.conj() * 0.1, lambda z, w: np.concatenate([z[:2], w[2:]]),
    lambda z, w: np.where(np.abs(z) > np.abs(w), z, w), lambda z, w: z.real * w, lambda z, w: (z + 2) ** (0.1 * w),
    lambda z, w: np.convolve(z, w, "same") * 0.2, lambda z, w: z * np.exp(1j * w.real),
]  # fmt: skip


def random_program(seed: int) -> Callable[..., Any]:
    """A program of 7 operations on the arrays before them, some of which are written into, half of it in a loop."""
    rng = np.random.default_rng(seed)
    moves = [
        (int(rng.integers(3)), int(rng.integers(len(UNARY))), int(rng.integers(len(BINARY))), *rng.integers(0, 3, 2))
        for _ in range(7)
    ]

    def run(z: Any, w: Any, x: Any) -> Any:
        values = [z, w, x * (1 + 0.5j)]

        def do(kind: int, one: int, two: int, i: int, j: int) -> None:
            new = UNARY[one](values[i]) if kind == 0 else BINARY[two](values[i], values[j])
            new = new / (1 + np.abs(new))  # keep it bounded
            if kind == 2:
                new = new.copy()
                new[1:3] += values[j][:2]
                new.real[0] *= 0.5
                new *= 1 - 0.5j
            values[i] = new

        for move in moves[:4]:
            do(*move)
        for _ in range(2):
            for move in moves[4:]:
                do(*move)
        return values

    return run


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(k, marks=pytest.mark.slow) for k in range(3, 20))])
def test_random_programs(seed: int) -> None:
    run = random_program(seed)
    rng = np.random.default_rng(100 + seed)
    args = numbers(rng, 4), numbers(rng, 4), rng.normal(size=4)
    expected = run(*args)
    found = jg.jit(run)(*args)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-7, atol=1e-9)
    _check_direction(lambda *xs: np.sum(np.abs(sum(run(*xs))) ** 2), args, rng)


def _check_direction(loss: Callable[..., Any], args: tuple[Any, ...], rng: np.random.Generator) -> None:
    """The gradient along a random direction against differences, unless those say that there is a kink nearby."""
    direction = [rng.normal(size=4) + (1j * rng.normal(size=4) if np.iscomplexobj(a) else 0) for a in args]

    def slope(h: float) -> float:
        up, down = (loss(*(a + s * h * d for a, d in zip(args, direction, strict=True))) for s in (1, -1))
        return float(up - down) / (2 * h)

    coarse, fine = slope(2e-6), slope(1e-6)
    gradients = jg.grad(loss, argnums=(0, 1, 2))(*args)
    found = sum(np.sum(np.conj(g) * d).real for g, d in zip(gradients, direction, strict=True))
    assert np.isfinite(found)
    if abs(coarse - fine) < 1e-5 * (1 + abs(fine)):
        np.testing.assert_allclose(found, fine, rtol=1e-4, atol=1e-4)


# -- peers -------------------------------------------------------------------------------------------------------------

LOSSES: list[Callable[[Any, Any], Any]] = [
    lambda n, z: abs(z * z + z.conj()) ** 2,
    lambda n, z: n.exp(1j * z).real * z.imag,
    lambda n, z: n.sqrt(z).imag + n.log(z).real,
    lambda n, z: abs(n.sin(z) / (z + 2)) + n.tanh(z).real,
    lambda n, z: n.angle(z) + (z**3).imag + (z ** (0.5 + 0.3j)).real,
    lambda n, z: (1 / z).imag + n.arctan(z).real + n.cosh(z).imag,
]


@pytest.mark.peers
@pytest.mark.parametrize("number", range(len(LOSSES)))
def test_gradients_are_those_of_torch(number: int) -> None:
    torch = pytest.importorskip("torch")
    z = numbers(np.random.default_rng(number), 6)
    t = torch.tensor(z, requires_grad=True)
    LOSSES[number](torch, t).sum().backward()
    gradient = jg.grad(lambda z: np.sum(LOSSES[number](np, z)))(z)
    np.testing.assert_allclose(gradient, t.grad.numpy(), rtol=1e-10)


def test_expm_of_a_hamiltonian() -> None:
    """The gradient through exp(-i H t), which is embedded into a real matrix."""
    rng = np.random.default_rng(2)
    a, psi = numbers(rng, 3, 3), numbers(rng, 3)

    def loss(a: Any, psi: Any) -> Any:
        return np.abs((sla.expm(-0.3j * (a + a.conj().T)) @ psi)[0]) ** 2

    np.testing.assert_allclose(jg.jit(loss)(a, psi), loss(a, psi), rtol=1e-12)
    testing.check_grads(loss, (a, psi), order=1)
