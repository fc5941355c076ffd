"""Eigenvectors and determinants of complex matrices: values against NumPy, gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import testing
from jitgrad.errors import ArgumentError, LinAlgError


def numbers(seed: int, *shape: int, dtype: Any = complex) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


def hermitian(a: Any) -> Any:
    return (a + np.swapaxes(a, -1, -2).conj()) / 2


SHAPES = [(1, 1), (3, 3), (2, 4, 4), (40, 40), (0, 0), (0, 2, 2)]


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", SHAPES)
def test_determinants(shape: tuple[int, ...], dtype: Any) -> None:
    a = numbers(len(shape), *shape, dtype=dtype)
    tol = {"rtol": 1e-11 if dtype is np.complex128 else 1e-3, "atol": 0}
    found, expected = jg.jit(np.linalg.slogdet)(a), np.linalg.slogdet(a)
    assert type(found) is type(expected)
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == e.dtype
        np.testing.assert_allclose(f, e, **tol)
    if shape[-1] < 40 or dtype is np.complex128:
        det = jg.jit(np.linalg.det)(a)
        assert det.dtype == dtype
        np.testing.assert_allclose(det, np.linalg.det(a), **tol)


def test_singular_matrices() -> None:
    a = np.array([[1, 1j], [1j, -1]])
    sign, size = jg.jit(np.linalg.slogdet)(a)
    assert sign == 0 and size == -np.inf
    assert jg.jit(np.linalg.det)(a) == 0
    with pytest.raises(LinAlgError):
        jg.grad(lambda a: np.linalg.det(a).real)(a)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("triangle", ["L", "U"])
def test_eigenvectors(shape: tuple[int, ...], dtype: Any, triangle: str) -> None:
    """Of a matrix of which only one triangle counts, and no imaginary part on the diagonal."""
    a = numbers(len(shape), *shape, dtype=dtype)
    tol = 1e-10 if dtype is np.complex128 else 1e-3
    found, expected = jg.jit(lambda a: np.linalg.eigh(a, triangle))(a), np.linalg.eigh(a, triangle)
    assert type(found) is type(expected)
    w, v = found
    assert w.dtype == expected[0].dtype and v.dtype == dtype
    np.testing.assert_allclose(w, expected[0], rtol=tol, atol=tol)
    low = np.tril(a, -1) if triangle == "L" else np.swapaxes(np.triu(a, 1), -1, -2).conj()
    diagonal = np.eye(shape[-1]) * np.diagonal(a, axis1=-2, axis2=-1).real[..., None]
    whole = low + np.swapaxes(low, -1, -2).conj() + diagonal
    np.testing.assert_allclose(whole @ v, v * w[..., None, :], atol=50 * tol)


def test_vectors_of_equal_values_are_orthogonal() -> None:
    q, _ = np.linalg.qr(numbers(3, 5, 5))
    a = q @ np.diag([1.0, 1, 1, 2, 2]) @ q.conj().T
    w, v = jg.jit(np.linalg.eigh)(a)
    np.testing.assert_allclose(w, [1, 1, 1, 2, 2], atol=1e-12)
    np.testing.assert_allclose(v.conj().T @ v, np.eye(5), atol=1e-12)


def music(x: Any, angles: Any) -> Any:
    """The pseudo-spectrum of an array: the inverse of what lies in the space of the noise."""
    n = len(x)
    w, v = np.linalg.eigh(x @ x.conj().T / x.shape[1])
    noise = v[:, : n - 2]
    steering = np.exp(1j * np.pi * np.outer(np.arange(n), np.sin(angles)))
    return 1 / np.sum(np.abs(noise.conj().T @ steering) ** 2, axis=0), w


def propagator(a: Any, psi: Any) -> Any:
    """exp(-i H t) psi by the eigenvectors."""
    w, v = np.linalg.eigh(hermitian(a))
    return v @ (np.exp(-0.7j * w) * (v.conj().T @ psi))


def entropy(a: Any) -> Any:
    rho = a @ np.swapaxes(a, -1, -2).conj()
    w, v = np.linalg.eigh(rho)
    return -np.sum(w * np.log(w)), np.abs(v) ** 2


def slater(orbitals: Any, x: Any) -> Any:
    """The logarithm and the phase of a Slater determinant of plane waves, electron by electron in a loop."""
    total = 0j
    for t in range(12):
        sign, size = np.linalg.slogdet(orbitals * np.exp(0.1j * t * x))
        total += sign * (1 + 0.1 * size)
    return total


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "MUSIC": (music, (numbers(0, 4, 20), np.linspace(-1, 1, 7))),
    "propagator": (propagator, (numbers(1, 4, 4), numbers(2, 4))),
    "entropy of a stack": (entropy, (numbers(3, 2, 3, 3),)),
    "Slater determinant": (slater, (numbers(4, 3, 3), np.array([0.1, 0.5, 0.9]))),
    "det": (np.linalg.det, (numbers(5, 2, 4, 4),)),
    "slogdet": (lambda a: tuple(np.linalg.slogdet(a)), (numbers(6, 5, 5),)),
    "cond": (lambda a: (np.linalg.cond(a), np.linalg.cond(a, -2), np.linalg.cond(a, 1)), (numbers(7, 3, 3),)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    fun, args = PROGRAMS[name]
    found, expected = jg.jit(fun)(*args), fun(*args)
    for f, e in zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, expected)), strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-10, atol=1e-12)
    testing.check_grads(fun, args, order=2 if name in ("det", "propagator") else 1, rtol=1e-4, atol=1e-5)


def test_what_is_no_square_matrix() -> None:
    for function in (np.linalg.det, np.linalg.slogdet, np.linalg.eigh):
        with pytest.raises((ArgumentError, ValueError), match=rf"np\.linalg\.{function.__name__}"):
            jg.jit(function)(numbers(0, 2, 3))
    with pytest.raises(ArgumentError, match="UPLO"):
        jg.jit(lambda a: np.linalg.eigh(a, "X"))(numbers(0, 2, 2))
