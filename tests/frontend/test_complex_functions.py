"""NumPy functions of complex arguments: values, dtypes and shapes are NumPy's, derivatives those of differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg as sla

import jitgrad as jg
from jitgrad import config, testing
from jitgrad.errors import DtypeError, UnsupportedError

Function = Callable[..., Any]


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def same(found: Any, expected: Any, rtol: float, what: str) -> None:
    """Values close, dtypes and shapes equal, in nested tuples and lists."""
    if isinstance(expected, (tuple, list)):
        assert len(found) == len(expected), what
        for k, (f, e) in enumerate(zip(found, expected, strict=True)):
            same(f, e, rtol, f"{what}[{k}]")
        return
    assert np.asarray(found).dtype == np.asarray(expected).dtype, what
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol, err_msg=what)


def check(functions: dict[str, Function], args: tuple[Any, ...], *, grads: bool = True) -> None:
    """All functions at once, in complex128 and complex64; the derivatives in complex128.

    complex64 is run as Python: machine code of real float32 is what other tests are of.
    """
    table = list(functions.values())

    def everything(*xs: Any) -> Any:
        return [f(*xs) for f in table]

    def single(x: Any) -> Any:
        narrow = {np.dtype(np.complex128): np.complex64, np.dtype(np.float64): np.float32}
        return x.astype(narrow[x.dtype]) if isinstance(x, np.ndarray) and x.dtype in narrow else x

    for given, rtol, backend in ((args, 1e-12, "llvm"), (tuple(map(single, args)), 2e-5, "python")):
        with config.using(backend=backend):
            found = jg.jit(everything)(*given)
        for name, f, value in zip(functions, table, found, strict=True):
            same(value, f(*given), rtol, name)
    if grads:
        testing.check_grads(everything, args, order=1)


ELEMENTWISE: dict[str, Function] = {
    "add": lambda z, w, x: z + w,
    "add real": lambda z, w, x: z + x,
    "real subtract": lambda z, w, x: x - z,
    "multiply": lambda z, w, x: z * w,
    "python": lambda z, w, x: 2.0 * z - 1j * w + 3,
    "divide": lambda z, w, x: z / w,
    "over real": lambda z, w, x: z / x,
    "real over": lambda z, w, x: x / z,
    "negative": lambda z, w, x: -z,
    "positive": lambda z, w, x: +z,
    "conj": lambda z, w, x: np.conj(z) + w.conj() + x.conj(),
    "square": lambda z, w, x: np.square(z) + w**2,
    "reciprocal": lambda z, w, x: np.reciprocal(z) + w**-1,
    "integer power": lambda z, w, x: z**5 + w**-3 + z**0 + w**1,
    "power": lambda z, w, x: z**w,
    "real power": lambda z, w, x: z**2.5 + x**z + 2.0**w,
    "np.power": lambda z, w, x: np.power(z, w) + np.power(z, x),
    "root": lambda z, w, x: np.sqrt(z) + w**0.5,
    "exp": lambda z, w, x: np.exp(z),
    "exp2": lambda z, w, x: np.exp2(z),
    "expm1": lambda z, w, x: np.expm1(z),
    "log": lambda z, w, x: np.log(z),
    "log1p": lambda z, w, x: np.log1p(z) + np.log1p(0.1 * w),
    "log2": lambda z, w, x: np.log2(z),
    "log10": lambda z, w, x: np.log10(z),
    "sin": lambda z, w, x: np.sin(z),
    "cos": lambda z, w, x: np.cos(z),
    "tan": lambda z, w, x: np.tan(z),
    "sinh": lambda z, w, x: np.sinh(z),
    "cosh": lambda z, w, x: np.cosh(z),
    "tanh": lambda z, w, x: np.tanh(z),
    "arcsin": lambda z, w, x: np.arcsin(z),
    "arccos": lambda z, w, x: np.arccos(z),
    "arctan": lambda z, w, x: np.arctan(z),
    "arcsinh": lambda z, w, x: np.arcsinh(z),
    "arccosh": lambda z, w, x: np.arccosh(z),
    "arctanh": lambda z, w, x: np.arctanh(z),
    "abs": lambda z, w, x: np.abs(z) + abs(w) + np.absolute(z),
    "angle": lambda z, w, x: np.angle(z) + np.angle(w, deg=True),
    "parts": lambda z, w, x: (z.real, np.imag(w), np.real(x), np.imag(x)),
    "sign": lambda z, w, x: np.sign(z),
    "where": lambda z, w, x: np.where(x > 1.5, z, w * 1j),
    "where number": lambda z, w, x: np.where(x > 1.5, z, 2j),
    "clipped size": lambda z, w, x: z * np.minimum(1.0, 1.0 / np.abs(z)),
    "nan_to_num": lambda z, w, x: np.nan_to_num(z),
    "maximum": lambda z, w, x: np.maximum(z, w) - np.minimum(z, 0.1),
    "complex": lambda z, w, x: x + 1j * (x * x) + (z + 0j),
    "astype": lambda z, w, x: x.astype(complex) * z.astype(np.complex128),
}

TESTS: dict[str, Function] = {
    "isnan": lambda z, w: (np.isnan(z), np.isinf(z), np.isfinite(z)),
    "equal": lambda z, w: (z == w, z != w, z == 0, z == z.real),
    "order": lambda z, w: (z < w, z <= w, z > w, z >= w),
    "isreal": lambda z, w: (np.isreal(z), np.iscomplex(z), np.iscomplexobj(z), np.isrealobj(z.real)),
    "logical": lambda z, w: (np.logical_and(z, w), np.logical_or(z, w), np.logical_not(z), np.logical_xor(z, w)),
    "close": lambda z, w: (np.isclose(z, w), np.allclose(z, w), np.allclose(z, z), np.array_equal(z, w)),
    "count": lambda z, w: (np.count_nonzero(z), np.any(z), np.all(z), z.all(axis=0)),
    "rint": lambda z, w: (np.rint(z), np.round(z, 1)),
}

SHAPES: dict[str, Function] = {
    "reshape": lambda z, v: z.reshape(-1, 2),
    "ravel": lambda z, v: z.ravel() + z.flatten(),
    "transpose": lambda z, v: (z.T, np.transpose(z), np.swapaxes(z, 0, 1), np.moveaxis(z, 0, 1)),
    "index": lambda z, v: (z[1], z[:, 0], z[1, 2], z[..., None], z[::-1, 1:3], z[-1, ::2]),
    "index arrays": lambda z, v: (z[[0, 2, 0]], z[[0, 1], [2, 3]], z[:, np.array([3, 0])]),
    "mask": lambda z, v: z[np.array([True, False, True])],
    "concatenate": lambda z, v: np.concatenate([z, z.real, np.ones((1, 4))], 0),
    "stack": lambda z, v: (np.stack([v, v.imag]), np.vstack([z, v]), np.hstack([v, 1j]), np.dstack([v, v])),
    "tile": lambda z, v: (np.tile(v, 3), np.repeat(z, 2, axis=1), np.roll(z, 1, axis=0), np.flip(z)),
    "pad": lambda z, v: (np.pad(z, 1), np.pad(v, 2, constant_values=1j), np.pad(v, 1, mode="edge")),
    "broadcast": lambda z, v: np.broadcast_to(v, (2, 4)) * 1,
    "diagonal": lambda z, v: (np.diag(v), np.diag(z), np.trace(z), np.tril(z), np.triu(z, 1), z.diagonal(1)),
    "take": lambda z, v: (np.take(v, [3, 1]), np.squeeze(z[None]), np.expand_dims(v, 1), z.take([1], axis=1)),
    "split": lambda z, v: (np.split(v, 2), np.array_split(v, 3), np.hsplit(z, 2)),
    "array": lambda z, v: (np.array([v[0], 1.0, 2j]), np.array([[v[0], 0], [0, v[1]]]), np.asarray(v)),
    "insert": lambda z, v: (np.append(v, 1j), np.insert(v, 1, 2.0), np.delete(v, 1)),
    "meshgrid": lambda z, v: np.meshgrid(v, v.real),
    "select": lambda z, v: np.select([v.real > 0, v.imag > 0], [v, 1j * v], default=2j),
    "likes": lambda z, v: (np.zeros_like(z), np.ones_like(v), np.full_like(v, 1 + 2j), np.full(3, v[0])),
    "linspace": lambda z, v: np.linspace(v[0], v[1], 5),
    "block": lambda z, v: np.block([[z, z.conj()], [z.real, z]]),
    "rot90": lambda z, v: (np.rot90(z), np.fliplr(z), np.flipud(z), np.atleast_2d(v)),
    "iterate": lambda z, v: [row.sum() for row in z],
}

REDUCTIONS: dict[str, Function] = {
    "sum": lambda z, v, u: (z.sum(), np.sum(z, axis=0), z.sum(axis=1, keepdims=True), sum(v)),
    "mean": lambda z, v, u: (z.mean(), np.mean(z, axis=1)),
    "sum where": lambda z, v, u: np.sum(z, where=z.real > 0, initial=1j),
    "cumsum": lambda z, v, u: (np.cumsum(v), z.cumsum(axis=1)),
    "diff": lambda z, v, u: (np.diff(z), np.diff(v, n=2), np.diff(v, prepend=0), np.ediff1d(v)),
    "prod": lambda z, v, u: (z.prod(), np.prod(z, axis=1), np.prod(v, keepdims=True)),
    "cumprod": lambda z, v, u: (np.cumprod(v), np.cumprod(z, axis=0)),
    "var": lambda z, v, u: (z.var(), np.var(z, axis=0), np.std(v, ddof=1), z.std(axis=1, keepdims=True)),
    "nansum": lambda z, v, u: np.nansum(z),
    "average": lambda z, v, u: np.average(v, weights=np.abs(u)),
    "dot": lambda z, v, u: (z @ v, np.dot(z, u), v @ u, np.inner(v, u), z.dot(v)),
    "matmul": lambda z, v, u: (z @ z.T, z.real @ v, z.conj() @ u.real, np.matmul(z, z.imag.T)),
    "vdot": lambda z, v, u: (np.vdot(v, u), np.vdot(v.real, u), np.vdot(z, z)),
    "outer": lambda z, v, u: (np.outer(v, u), np.multiply.outer(v, u.real), np.kron(v, u)),
    "einsum": lambda z, v, u: (
        np.einsum("ij,j->i", z, v),
        np.einsum("ij,kj->ik", z, z.conj()),
        np.einsum("i,i,i->", v, u, v.real),
    ),
    "tensordot": lambda z, v, u: np.tensordot(z, z.conj(), axes=([1], [1])),
    "convolve": lambda z, v, u: (np.convolve(v, u), np.convolve(v.real, u, "same"), np.correlate(v, u, "full")),
    "polyval": lambda z, v, u: (np.polyval(v, u), np.polyval([1.0, 2.0, 3.0], u), np.polyval(v.real, u)),
    "polynomials": lambda z, v, u: (np.polyadd(v, u), np.polyder(v), np.polymul(v, u), np.polyint(v)),
    "gradient": lambda z, v, u: (np.gradient(v), np.gradient(z, axis=1)),
    "trapezoid": lambda z, v, u: (np.trapezoid(v), np.trapezoid(z, np.array([0.0, 1.0, 3.0, 4.0]))),
    "interp": lambda z, v, u: np.interp(u.real, np.arange(4.0), v),
    "reduce": lambda z, v, u: (np.add.reduce(z), np.multiply.accumulate(v), np.add.accumulate(z, axis=1)),
    "cross": lambda z, v, u: np.cross(v[:3], u[:3]),
    "vander": lambda z, v, u: np.vander(v, 3),
    "norm": lambda z, v, u: (
        np.linalg.norm(z),
        np.linalg.norm(v),
        np.linalg.norm(z, axis=1),
        np.linalg.norm(v, 1),
        np.linalg.norm(z, "fro", axis=(0, 1), keepdims=True),
    ),
}

MATRICES: dict[str, Function] = {
    "solve": lambda a, b, v: (np.linalg.solve(a, v), np.linalg.solve(a, b), np.linalg.solve(a.real, v)),
    "real right": lambda a, b, v: (np.linalg.solve(a, v.real), sla.solve(a, b)),
    "inv": lambda a, b, v: (np.linalg.inv(a), np.linalg.pinv(b[:, :2])),
    "power": lambda a, b, v: (np.linalg.matrix_power(a, 3), np.linalg.matrix_power(a, -2)),
    "cholesky": lambda a, b, v: np.linalg.cholesky(a @ a.conj().T),
    "eigvalsh": lambda a, b, v: np.linalg.eigvalsh(a + a.conj().T),
    "svdvals": lambda a, b, v: (np.linalg.svdvals(b), np.linalg.svd(b, compute_uv=False), np.linalg.norm(b, 2)),
    "expm": lambda a, b, v: sla.expm(0.2 * a),
    "multi_dot": lambda a, b, v: (np.linalg.multi_dot([a, b, v]), np.linalg.multi_dot([a, b, a])),
    "lstsq": lambda a, b, v: np.linalg.lstsq(b[:, :2], v, rcond=None)[0],
}


def test_elementwise() -> None:
    rng = np.random.default_rng(0)
    check(ELEMENTWISE, (numbers(rng, 5), numbers(rng, 5), 1.0 + rng.random(5)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tests_and_comparisons() -> None:
    rng = np.random.default_rng(1)
    z, w = numbers(rng, 3, 4), numbers(rng, 3, 4)
    z[0], z[1, 0], z[2, 1], z[2, 2] = w[0].real + 2j, complex(np.nan, 1), complex(0, np.inf), 0
    z[1, 2:] = z[1, 2:].real
    w[1] = z[1]
    check(TESTS, (z, w), grads=False)


def test_shapes() -> None:
    rng = np.random.default_rng(2)
    check(SHAPES, (numbers(rng, 3, 4), numbers(rng, 4)))


def test_reductions_and_products() -> None:
    rng = np.random.default_rng(3)
    check(REDUCTIONS, (numbers(rng, 3, 4), numbers(rng, 4), numbers(rng, 4)))


def test_linear_algebra() -> None:
    rng = np.random.default_rng(4)
    check(MATRICES, (numbers(rng, 3, 3) + 3 * np.eye(3), numbers(rng, 3, 3), numbers(rng, 3)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos",
                                  "arctan", "arcsinh", "arccosh", "arctanh", "square", "abs", "angle", "log1p", "expm1",
                                  "reciprocal", "conj"])  # fmt: skip
def test_special_values(name: str) -> None:
    """Signed zeros on both sides of the branch cuts, infinities and large numbers. Points where NumPy's value is not
    finite are compared where C99 says what it is."""
    function = getattr(np, name)
    reals = [0.0, -0.0, 1e-300, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 30.0, -30.0, 1e150, -1e150]
    z = np.array([complex(a, b) for a in reals for b in reals])
    if name in ("sin", "cos", "sinh", "cosh", "exp", "expm1", "tan", "tanh"):
        z = z[(abs(z.real) < 100) & (abs(z.imag) < 100)]
    found, expected = jg.jit(function)(z), function(z)
    ok = np.isfinite(expected)
    assert np.sum(ok) > 0.8 * z.size
    _same_parts(found[ok], expected[ok], z[ok])


def _same_parts(found: np.ndarray, expected: np.ndarray, at: np.ndarray) -> None:
    size = 1e-13 * np.abs(expected)
    for part in ("real", "imag"):
        f, e = getattr(found, part), getattr(expected, part)
        bad = np.abs(f - e) > size + 1e-300
        bad |= (np.signbit(f) != np.signbit(e)) & ((np.abs(e) > size) | (e == 0) & (f == 0))
        assert not bad.any(), list(zip(at[bad], found[bad], expected[bad], strict=True))[:8]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_infinities() -> None:
    inf, nan = np.inf, np.nan
    z = np.array([complex(-inf, 1), complex(-inf, inf), complex(inf, 0), complex(1, inf), complex(1, -inf), complex(
        -inf, 1.0), complex(inf, -0.0), complex(-inf, nan)])  # fmt: skip
    functions = {"exp": z[[0, 1, 2, 6, 7]], "sqrt": z[:7], "log": z[:7], "abs": z, "tanh": z[[0, 2, 5, 6]]}
    for name, points in functions.items():
        function = getattr(np, name)
        np.testing.assert_array_equal(jg.jit(function)(points), function(points), err_msg=name)


def test_logical_functions_of_two_dtypes() -> None:
    z = np.array([0, 1j, 2, complex(np.nan, 0)], np.complex64)
    others: list[Any] = [np.array([0.0, 1.0, 0.0, 2.0]), np.array([True, False, True, True]), z.astype(complex)]
    for other in (*others, np.array([0, 3, 0, 1]), 2, 0.0, 1j, False):
        for function in (np.logical_and, np.logical_or, np.logical_xor):
            for f in (
                lambda z, f=function, other=other: f(z, other),
                lambda z, f=function, other=other: f(other, z),
            ):
                found = jg.jit(f)(z)
                assert found.dtype == bool
                np.testing.assert_array_equal(found, f(z), err_msg=f"{function} {other}")


def test_signs_and_powers_of_what_is_not_finite() -> None:
    inf, nan = np.inf, np.nan
    parts = [(inf, 1), (-inf, -1), (0, -inf), (2, inf), (inf, inf), (nan, 1), (inf, nan), (nan, -inf), (0, 0), (3, 4)]
    z = np.array([complex(*p) for p in parts])
    with np.errstate(all="ignore"):
        for f in (np.sign, lambda z: z**0, lambda z: z**0.0):
            np.testing.assert_allclose(jg.jit(f)(z), f(z), rtol=1e-15)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_division_does_not_overflow() -> None:
    a = np.array([1e200 + 1e200j, 1e-200j, 1e308 + 0j, 1.0 + 1j, 1 + 0j, -1j, complex(0, 0), complex(2, -3)])
    b = np.array([1e200 - 1e199j, 1e-200 + 1e-210j, 1e308 + 1e308j, 1e-300j, 0j, complex(-0.0, 0), 0j, -2 + 0j])
    np.testing.assert_allclose(jg.jit(np.divide)(a, b), a / b, rtol=1e-15)
    np.testing.assert_allclose(jg.jit(lambda z: 1 / z)(b), 1 / b, rtol=1e-15)


def test_powers_at_zero() -> None:
    z = np.zeros(5, complex)
    p = np.array([0, 1, 2, 2.5, 0.5 + 0j])
    np.testing.assert_array_equal(jg.jit(np.power)(z, p), np.power(z, p))
    np.testing.assert_array_equal(jg.jit(lambda z: (z**0, z**2))(z), [z**0, z**2])


@pytest.mark.parametrize("z", [1.5, -1.5, 1.5j, -1.5j, complex(-1.5, -0.0), 0.25, -0.25, 0.3j])
def test_derivatives_on_the_axes(z: complex) -> None:
    """Where the sign or the absolute value of a part has no derivative; on a cut, by the sign of its zero."""
    derivatives: list[tuple[Any, Function]] = [
        (np.exp, np.exp),
        (np.log, lambda z: 1 / z),
        (np.sqrt, lambda z: 0.5 / np.sqrt(z)),
        (np.sinh, np.cosh),
        (np.cosh, np.sinh),
        (np.sin, np.cos),
        (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
        (np.arctan, lambda z: 1 / (1 + z * z)),
        (np.arcsinh, lambda z: 1 / np.sqrt(1 + z * z) if abs(np.imag(z)) < 1 else None),
        (np.square, lambda z: 2 * z),
        (np.reciprocal, lambda z: -1 / z**2),
        (lambda z: z**3, lambda z: 3 * z**2),
        (lambda z: 1j / z, lambda z: -1j / z**2),
        (np.expm1, np.exp),
        (np.log1p, lambda z: 1 / (1 + z)),
    ]
    for function, derivative in derivatives:
        expected = derivative(np.complex128(z))
        if expected is None:
            continue
        _, pull = jg.vjp(function, complex(z))
        np.testing.assert_allclose(pull(1.0 + 0j)[0], np.conj(expected), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(pull(1j)[0], 1j * np.conj(expected), rtol=1e-12, atol=1e-14)


def test_absolute_value_has_derivative_0_at_0() -> None:
    z = np.array([0j, 3 + 4j])
    np.testing.assert_allclose(jg.grad(lambda z: np.sum(np.abs(z)))(z), [0, 0.6 + 0.8j])
    np.testing.assert_allclose(jg.grad(lambda z: np.linalg.norm(z))(0 * z), [0, 0])


REFUSED: dict[str, Function] = {
    "np.sort": np.sort,
    "np.max": np.max,
    "np.argmin": np.argmin,
    "np.median": np.median,
    "np.cov": np.cov,
    "np.clip": lambda z: np.clip(z, 0, 1),
    "np.histogram": np.histogram,
    "np.linalg.matrix_rank": lambda z: np.linalg.matrix_rank(z[None] * np.eye(3)),
    "np.linalg.qr": lambda z: np.linalg.qr(z[None] * np.eye(3)),
    "np.interp": lambda z: np.interp(z, np.arange(3.0), np.arange(3.0)),
    "np.fmax": lambda z: np.fmax(z, 1.0),
    "np.real_if_close": np.real_if_close,
    "np.unwrap": np.unwrap,
    "np.percentile": lambda z: np.percentile(z, 50),
    "np.sinc": np.sinc,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=name.replace(".", r"\.")):
        jg.jit(REFUSED[name])(np.array([1 + 1j, 2, 3j]))


@pytest.mark.parametrize(
    "function",
    [
        np.floor,
        np.arctan2,
        np.hypot,
        np.mod,
        np.floor_divide,
        np.cbrt,
        np.copysign,
        np.logaddexp,
        np.signbit,
        np.heaviside,
    ],
)
def test_ufuncs_that_numpy_has_for_real_numbers_only(function: np.ufunc) -> None:
    args = (np.array([1 + 1j, 2]),) * function.nin
    with pytest.raises(TypeError):
        function(*args)
    with pytest.raises(DtypeError, match=function.__name__):
        jg.jit(function)(*args)


def test_nothing_drops_the_imaginary_part() -> None:
    z = np.array([1 + 1j, 2])
    for function in (lambda z: z.astype(float), lambda z: np.array(z, float), lambda z: np.sum(z, dtype=float)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            assert function(z).dtype == float
        with pytest.raises(DtypeError, match="imaginary part"):
            jg.jit(function)(z)


def test_a_filter_of_a_complex_signal() -> None:
    """It is linear in the signal; complex coefficients are refused."""
    import scipy.signal

    b, a = np.array([1, 0.5]), np.array([2, -0.3, 0.1])
    z = np.exp(1j * np.arange(20.0) ** 2).reshape(2, 10)
    found = jg.jit(lambda z: (scipy.signal.lfilter(b, a, z), scipy.signal.lfilter(b, a, z, axis=0)))(z)
    for f, axis in zip(found, (-1, 0), strict=True):
        np.testing.assert_allclose(f, scipy.signal.lfilter(b, a, z, axis=axis), rtol=1e-13)
    testing.check_grads(lambda b, a, z: scipy.signal.lfilter(b, a, z), (b, a, z), order=1)
    with pytest.raises(UnsupportedError, match="lfilter with a complex value for b"):
        jg.jit(lambda z: scipy.signal.lfilter(z[0], a, z))(z)
