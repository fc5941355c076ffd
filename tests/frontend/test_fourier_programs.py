"""Programs with Fourier transforms, as they are written: values against plain NumPy, gradients against central
differences, and against JAX where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg

N = 32
GRID = np.arange(N) * (2 * np.pi / N)
RNG = np.random.default_rng(0)
SIGNAL = RNG.normal(size=N)
IMAGE = RNG.normal(size=(12, 16))


def derivative(u):
    """Of a periodic function, by its transform."""
    k = np.fft.fftfreq(len(u), 1 / len(u))
    k[len(u) // 2] = 0.0
    return np.real(np.fft.ifft(1j * k * np.fft.fft(u)))


def burgers_residual(u):
    return np.mean((u * derivative(u) - 0.1 * derivative(derivative(u))) ** 2)


def poisson(f):
    """The solution of -(d/dx)^2 u - (d/dy)^2 u = f on a periodic grid, whose mean is 0."""
    kx = np.fft.fftfreq(f.shape[0], 1 / f.shape[0])[:, None]
    ky = np.fft.rfftfreq(f.shape[1], 1 / f.shape[1])
    square = kx**2 + ky**2
    square[0, 0] = 1.0
    spectrum = np.fft.rfft2(f) / square
    spectrum[0, 0] = 0.0
    return np.fft.irfft2(spectrum, f.shape)


def poisson_energy(f):
    return np.sum(f * poisson(f) ** 2)


def nls(amplitude):
    """The nonlinear Schroedinger equation by split steps: 40 of them, in a recorded loop."""
    k = np.fft.fftfreq(N, 1 / N)
    half = np.exp(-0.25j * 0.01 * k**2)
    psi = amplitude * (1.0 + 0.1 * np.cos(GRID)) + 0j
    for _ in range(40):
        psi = np.fft.ifft(half * np.fft.fft(psi))
        psi = psi * np.exp(1j * 0.01 * np.abs(psi) ** 2)
        psi = np.fft.ifft(half * np.fft.fft(psi))
    return psi


def nls_loss(amplitude):
    psi = nls(amplitude)
    return np.sum(np.cos(GRID) * np.abs(psi) ** 2) + psi[3].imag


def wiener(observed, kernel, noise):
    """Deconvolution by Wiener's filter."""
    h = np.fft.fft(kernel, len(observed))
    return np.real(np.fft.ifft(np.conj(h) / (np.abs(h) ** 2 + noise) * np.fft.fft(observed)))


def wiener_loss(kernel, noise):
    return np.mean((wiener(SIGNAL, kernel, noise) - np.roll(SIGNAL, 1)) ** 2)


def power_loss(x):
    """The logarithms of two power spectra, compared."""
    wanted = np.abs(np.fft.rfft(np.cos(3 * GRID) + 0.1 * SIGNAL)) ** 2
    return np.mean((np.log(np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2 + 1e-3) - np.log(wanted + 1e-3)) ** 2)


def circular(x, y):
    """Convolution of periodic arrays."""
    return np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(y), len(x))


def circular_loss(x, y):
    return np.sum(circular(x, y) ** 3)


def low_pass(image, cut):
    """With a smooth edge at a frequency."""
    fx, fy = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])
    mask = 1 / (1 + np.exp(40 * (np.hypot(fx, fy) - cut)))
    shifted = np.fft.fftshift(np.fft.fft2(image)) * np.fft.fftshift(mask)
    return np.real(np.fft.ifft2(np.fft.ifftshift(shifted)))


def low_pass_loss(image, cut):
    return np.sum(low_pass(image, cut) ** 2 * np.cos(image))


def frames_loss(x):
    """A spectrogram by hand: windows that overlap, appended to a list in a recorded loop."""
    rows = []
    for t in range(12):
        rows.append(np.abs(np.fft.rfft(x[2 * t : 2 * t + 8] * np.hanning(8))))  # noqa: PERF401
    spectrogram = np.array(rows)
    return np.sum(spectrogram**2 * np.arange(5.0))


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "burgers_residual": (burgers_residual, (SIGNAL,)),
    "poisson_energy": (poisson_energy, (IMAGE,)),
    "nls_loss": (nls_loss, (0.7,)),
    "wiener_loss": (wiener_loss, (np.array([0.5, 1.0, 0.3]), 0.05)),
    "power_loss": (power_loss, (SIGNAL,)),
    "circular_loss": (circular_loss, (SIGNAL, np.roll(SIGNAL, 5) + 1.0)),
    "low_pass_loss": (low_pass_loss, (IMAGE, 0.2)),
    "frames_loss": (frames_loss, (SIGNAL,)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_value_and_gradient(name: str) -> None:
    fun, args = PROGRAMS[name]
    value, grads = jg.value_and_grad(fun, argnums=tuple(range(len(args))))(*args)
    np.testing.assert_allclose(value, fun(*args), rtol=1e-11)
    rng = np.random.default_rng(1)
    for k, (grad, x) in enumerate(zip(grads, args, strict=True)):
        direction = rng.normal(size=np.shape(x))

        def along(t: float, k: int = k, x: Any = x, direction: Any = direction) -> float:
            return fun(*args[:k], x + t * direction, *args[k + 1 :])

        step = 1e-4
        wanted = (along(-2 * step) - 8 * along(-step) + 8 * along(step) - along(2 * step)) / (12 * step)
        np.testing.assert_allclose(np.sum(grad * direction), wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("fun", [derivative, poisson, nls, circular, low_pass, wiener])
def test_results_as_numpy(fun: Callable[..., Any]) -> None:
    args = {
        derivative: (np.sin(GRID),),
        poisson: (IMAGE,),
        nls: (0.7,),
        circular: (SIGNAL, SIGNAL),
        low_pass: (IMAGE, 0.2),
        wiener: (SIGNAL, np.array([0.5, 1.0]), 0.1),
    }[fun]
    np.testing.assert_allclose(jg.jit(fun)(*args), fun(*args), rtol=1e-11, atol=1e-12)


def test_what_they_stand_for() -> None:
    """By mathematics, not by another transform."""
    np.testing.assert_allclose(jg.jit(derivative)(np.sin(3 * GRID)), 3 * np.cos(3 * GRID), atol=1e-12)
    wanted = [np.sum(SIGNAL * np.roll(GRID[::-1], k + 1)) for k in range(N)]
    np.testing.assert_allclose(jg.jit(circular)(SIGNAL, GRID), wanted, rtol=1e-11)
    x, y = np.meshgrid(np.arange(16) * np.pi / 8, np.arange(16) * np.pi / 8, indexing="ij")
    u = np.sin(2 * x) * np.cos(3 * y)
    np.testing.assert_allclose(jg.jit(poisson)(13 * u), u, atol=1e-13)
    psi = jg.jit(nls)(0.7)
    start = 0.7 * (1.0 + 0.1 * np.cos(GRID))
    np.testing.assert_allclose(np.sum(np.abs(psi) ** 2), np.sum(start**2), rtol=1e-12)  # the norm stays


def test_the_loops_are_recorded() -> None:
    for fun, args in (PROGRAMS["nls_loss"], PROGRAMS["frames_loss"]):
        assert ": rolled" in jg.grad(fun).explain(*args)


def test_modes_and_orders_agree() -> None:
    """Forward over reverse is the product with the Hessian, which is symmetric."""
    hessian = jg.hessian(power_loss)(SIGNAL)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-10)
    direction = np.cos(GRID)
    _, forward = jg.jvp(jg.grad(power_loss), (SIGNAL,), (direction,))
    np.testing.assert_allclose(forward, hessian @ direction, rtol=1e-9, atol=1e-10)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["burgers_residual", "power_loss", "circular_loss", "low_pass_loss", "wiener_loss"])
def test_gradients_as_jax(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jax = pytest.importorskip("jax")
    fun, args = PROGRAMS[name]
    found = jg.grad(fun, argnums=tuple(range(len(args))))(*args)
    with jax.enable_x64(True):
        if name == "burgers_residual":  # JAX has no assignment
            jk = np.fft.fftfreq(N, 1 / N)
            jk[N // 2] = 0.0
            monkeypatch.setitem(
                globals(), "derivative", lambda u: jax.numpy.fft.ifft(1j * jk * jax.numpy.fft.fft(u)).real
            )
        monkeypatch.setitem(globals(), "np", jax.numpy)
        wanted = jax.grad(fun, argnums=tuple(range(len(args))))(*args)
        wanted = [np.asarray(w) for w in wanted]
    monkeypatch.undo()
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-8, atol=1e-9)
