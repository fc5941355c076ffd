"""``np.fft`` and ``scipy.fft``: values of every function and argument against NumPy and SciPy, derivatives, errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.fftpack
from scipy.fft import dct as plain_dct

import jitgrad as jg
from jitgrad.errors import ArgumentError, AxisError, DtypeError, ShapeError, UnsupportedError
from jitgrad.testing import check_grads

RNG = np.random.default_rng(0)
NORMS = (None, "backward", "ortho", "forward")
ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
SEVERAL = ("fft2", "ifft2", "fftn", "ifftn", "rfft2", "rfftn", "irfft2", "irfftn")
MODULES = {"numpy": np.fft, "scipy": scipy.fft}


def array(name: str, *shape: int) -> list[np.ndarray]:
    """What a transform takes: a real array, and a complex one if that may be."""
    x = RNG.normal(size=shape)
    return (
        [x] if name in ("rfft", "ihfft", "rfft2", "rfftn", "ihfft2", "ihfftn") else [x, x + 1j * RNG.normal(size=shape)]
    )


def same(function: Callable[..., Any], *args: Any) -> None:
    all_same([function], *args)


def all_same(functions: Sequence[Callable[..., Any]], *args: Any) -> None:
    """Each function has the values and dtypes that it has without; they are compiled as one program."""
    compiled = jg.jit(lambda *args: [f(*args) for f in functions])(*args)
    for k, (found, f) in enumerate(zip(compiled, functions, strict=True)):
        wanted = f(*args)
        assert np.asarray(found).dtype == np.asarray(wanted).dtype, k
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12, err_msg=f"function {k}")


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", ONE)
def test_along_one_axis(name: str, module: str) -> None:
    transform = getattr(MODULES[module], name)
    for shape in ((6,), (7,), (2,), (4, 5)):
        for x in array(name, *shape):
            same(lambda x: transform(x), x)
    for x in array(name, 4, 6):
        lengths = itertools.product((None, 3, 4, 9), (0, -1))
        all_same([partial(transform, n=n, axis=axis) for n, axis in lengths], x)
        all_same([lambda x, norm=norm: transform(x, 5, -1, norm) for norm in NORMS], x)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", SEVERAL)
def test_along_several_axes(name: str, module: str) -> None:
    transform = getattr(MODULES[module], name)
    for x in array(name, 3, 4, 6):
        same(lambda x: transform(x), x)
        for axes in ((0, 1), (-1, 0), (1, 2)):
            all_same([partial(transform, axes=axes, norm=norm) for norm in NORMS], x)
        same(lambda x: transform(x, (5, 2), axes=(0, 2)), x)
    for x in array(name, 5, 7):
        same(lambda x: transform(x), x)


@pytest.mark.parametrize("name", ["hfft2", "hfftn", "ihfft2", "ihfftn"])
def test_hermitian_ones_of_scipy(name: str) -> None:
    transform = getattr(scipy.fft, name)
    for x in array(name, 4, 6):
        all_same([partial(transform, norm=norm) for norm in NORMS], x)


@pytest.mark.parametrize("kind", ["dct", "idct", "dst", "idst"])
def test_cosine_and_sine_transforms(kind: str) -> None:
    transform, several = getattr(scipy.fft, kind), getattr(scipy.fft, kind + "n")
    x = RNG.normal(size=(4, 6))
    for type_ in (1, 2, 3, 4):
        options = itertools.product(NORMS, (None, True, False))
        all_same([partial(transform, type=type_, norm=norm, orthogonalize=o) for norm, o in options], x)
    all_same([partial(transform, n=n, axis=axis) for n, axis in itertools.product((3, 8), (0, 1))], x)
    same(lambda x: several(x, norm="ortho"), x)
    same(lambda x: several(x, 3, s=(5, 4), axes=(1, 0)), x)
    same(lambda z: transform(z), x + 2j * x[::-1])
    same(lambda x: plain_dct(x, norm="ortho"), x)


@pytest.mark.parametrize("name", SEVERAL)
def test_repeated_axes(name: str) -> None:
    """NumPy transforms along an axis again; SciPy does not."""
    for x in array(name, 4, 6):
        arguments: list[dict[str, Any]] = [
            {"axes": (0, 0)},
            {"axes": (1, 0, -1)},
            {"s": (3, 8), "axes": (0, 0)},
            {"s": (8, 3), "axes": (1, 1)},
        ]
        all_same([partial(getattr(np.fft, name), **kw) for kw in arguments], x)
        for f in (getattr(scipy.fft, name), scipy.fft.dctn):
            with pytest.raises(ShapeError, match="named once"):
                jg.jit(lambda x, f=f: f(x, axes=(1, -1)))(x)
            with pytest.raises(ValueError, match="unique"):
                f(x, axes=(1, -1))


@pytest.mark.filterwarnings("ignore:`axes` should not be:DeprecationWarning")
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", SEVERAL)
def test_lengths_of_the_array_and_too_many(name: str, module: str) -> None:
    transform = getattr(MODULES[module], name)
    for x in array(name, 4, 6):
        all_same([lambda x, s=s: transform(x, s, (0, 1)) for s in ((-1, -1), (3, -1), (-1, 5))], x)
        with pytest.raises(AxisError, match="-3 is out of bounds"):
            jg.jit(lambda x: transform(x, (2, 3, 4), None))(x)
        with pytest.raises(ValueError):
            transform(x, (2, 3, 4), None)


@pytest.mark.parametrize("name", ["fft2", "ifftn"])
def test_along_no_axis(name: str) -> None:
    for x in array(name, 2, 3):
        all_same([partial(getattr(module, name), axes=()) for module in MODULES.values()], x)


def test_dtypes() -> None:
    for dtype in (np.float32, np.int64, np.bool_, np.complex64):
        x = (RNG.normal(size=8) > 0).astype(dtype)
        found = jg.jit(lambda x: np.fft.fft(x))(x)
        wanted = np.fft.fft(x)
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    same(lambda x: np.fft.fft([x[0], x[1], 3.0]), np.ones(2))
    same(lambda x: np.fft.ifft([x[0], x[1] * 1j, 3.0]), np.ones(2))


def test_frequencies_and_shifts() -> None:
    x, z = RNG.normal(size=(5, 6)), RNG.normal(size=(5, 6)) * 1j + 1
    for module in MODULES.values():
        for f in (module.fftfreq, module.rfftfreq):
            same(lambda x, f=f: x * f(len(x), 0.5)[0] + f(6, d=0.1)[1], x)
            same(lambda d, f=f: f(6, d), 0.25)
        shifts = itertools.product((None, 0, (1,), (0, -1)), (module.fftshift, module.ifftshift))
        moved = [partial(f, axes=axes) for axes, f in shifts]
        for a in (x, z):
            all_same(moved, a)
    same(lambda x: np.pad(x, (0, scipy.fft.next_fast_len(len(x)) - len(x))), np.ones(17))


def test_scipys_options() -> None:
    x = RNG.normal(size=8)
    same(lambda x: scipy.fft.fft(x, workers=2, overwrite_x=True), x)
    same(lambda x: scipy.fft.dctn(x, workers=1, overwrite_x=True), x)
    with pytest.raises(UnsupportedError, match="plan="):
        jg.jit(lambda x: scipy.fft.fft(x, plan=1))(x)


def test_a_real_signal_costs_a_real_transform() -> None:
    """Also under fft and fft2, in the gradient too."""
    text = jg.value_and_grad(lambda x: np.sum(np.abs(np.fft.fft(x)) ** 2)).ir(np.ones(16), stage="optimised")
    assert " fft(" not in text and text.count(" rfft(") == text.count(" irfft(") == 1


def _loss(z: Any) -> Any:
    weights = np.cos(np.arange(z.size)).reshape(z.shape)
    return np.sum(weights * np.real(z)) + np.sum(weights**2 * np.imag(z) ** 2)


@pytest.mark.parametrize("name", [*ONE, *SEVERAL])
def test_gradients(name: str) -> None:
    """Along random directions, to second order, in both modes."""
    f = getattr(np.fft, name)
    real, *pairs = array(name, 4, 5)
    parts = [part.copy() for z in pairs for part in (z.real, z.imag)]

    def total(x: Any, *parts: Any) -> Any:
        loss = _loss(f(x, norm="ortho"))
        return loss + _loss(f(parts[0] + 1j * parts[1])) if parts else loss

    check_grads(total, (real, *parts), order=2)


@pytest.mark.parametrize("kind", ["dct", "idct", "dst", "idst"])
def test_gradients_of_cosine_and_sine_transforms(kind: str) -> None:
    x, f = RNG.normal(size=(3, 4)), getattr(scipy.fft, kind)
    kinds = list(itertools.product((1, 2, 3, 4), (None, "ortho")))
    check_grads(lambda x: [_loss(f(x, t, norm=norm)) for t, norm in kinds], (x,), order=1)


def test_the_gradient_of_a_complex_argument() -> None:
    """By Parseval: the sum of squares of the transform is n times that of the array."""
    z = RNG.normal(size=(4, 6)) + 1j * RNG.normal(size=(4, 6))
    found = jg.grad(lambda z: np.sum(np.abs(np.fft.fft2(z)) ** 2))(z)
    np.testing.assert_allclose(found, 2 * z.size * z, rtol=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("name", [*ONE, *SEVERAL])
def test_gradients_as_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        for x in array(name, 4, 6):

            def loss(z: Any, np: Any, f: Any) -> Any:
                y = f(z)
                return np.sum(np.abs(y) ** 2 * np.cos(np.real(y)))

            found = jg.grad(lambda z: loss(z, np, getattr(np.fft, name)))(x)
            wanted = jax.grad(lambda z: loss(z, jax.numpy, getattr(jax.numpy.fft, name)))(x)
            np.testing.assert_allclose(found, np.conj(wanted), rtol=1e-9, atol=1e-9)  # JAX gives the conjugate


def test_errors() -> None:
    x = np.ones((4, 3))
    cases: list[tuple[Callable[..., Any], type[Exception], str]] = [
        (lambda x: np.fft.fft(x, 0), ArgumentError, r"invalid number of data points \(0\)"),
        (lambda x: np.fft.irfft(x[:, :1]), ArgumentError, r"data points \(0\)"),
        (lambda x: np.fft.fft(x, norm="other"), ArgumentError, "norm is 'other'"),
        (lambda x: np.fft.fft(x, axis=2), AxisError, "out of bounds"),
        (lambda x: np.fft.rfft(x * 1j), DtypeError, "rfft of a complex array"),
        (lambda x: np.fft.rfft2(x * 1j), DtypeError, "rfft2 of a complex array"),
        (lambda x: np.fft.fft(x[0, 0]), ShapeError, "fft of a number"),
        (lambda x: np.fft.fftn(x, (2,), (0, 1)), ShapeError, "1 lengths along 2 axes"),
        (lambda x: np.fft.rfftn(x, axes=()), ShapeError, "along no axis"),
        (lambda x: np.fft.fft(x[:0], axis=0), ShapeError, "of 0 elements"),
        (lambda x: np.fft.fft(x[x > 0]), UnsupportedError, "depends on traced values"),
        (lambda x: scipy.fft.dct(x, 5), ArgumentError, "of type 5"),
        (lambda x: scipy.fft.dct(x, 1, n=1), ShapeError, "at least 2 elements"),
        (lambda x: scipy.fft.fht(x, 0.1, 0.0), UnsupportedError, "scipy.fft.fht"),
    ]
    for function, error, text in cases:
        with pytest.raises(error, match=text) as caught:
            jg.jit(function)(x)
        assert "test_numpy_fourier.py" in str(caught.value)


# -- scipy.fftpack -----------------------------------------------------------------------------------------------------


def packed(x, z):
    p = scipy.fftpack
    found = [p.fft(x), p.ifft(z, 5), p.fft(x, axis=0), p.fft2(x), p.ifft2(z, (4, 3)), p.fftn(z, axes=(0,)), p.ifftn(x)]
    for f in (p.dct, p.idct, p.dst, p.idst):
        found += [f(x), f(x, type=3), f(x, 2, n=6, axis=0, norm="ortho")]
    found += [f(x, norm=norm) for f in (p.dctn, p.idctn, p.dstn, p.idstn) for norm in (None, "ortho")]
    return [*found, p.fftshift(p.fftfreq(len(x), 0.1))]


def test_fftpack():
    x = RNG.normal(size=(4, 3))
    z = x + 1j * RNG.normal(size=(4, 3))
    for got, expected in zip(jg.jit(packed)(x, z), packed(x, z), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    assert jg.jit(scipy.fftpack.fft)(x.astype(np.float32)).dtype == np.complex64
    check_grads(lambda x: scipy.fftpack.idct(scipy.fftpack.dct(x) ** 2), (x,))
