"""Complex arguments, results, constants, writes and loops: what programs with complex numbers do, they do compiled."""

from __future__ import annotations

import cmath
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config, testing
from jitgrad.errors import (
    ArgumentError,
    DifferentiationError,
    DtypeError,
    JitgradError,
    MutationError,
    UnsupportedError,
)

TABLE = np.array([1 + 1j, 2 - 1j, 3j, 4.0])
PHASE = 0.5j


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def as_numpy(fun: Callable[..., Any], *args: Any, rtol: float = 1e-12, **options: Any) -> None:
    """The compiled function gives what NumPy does, in the same dtypes, and does the same to its arguments."""
    ours = [np.copy(a) if isinstance(a, np.ndarray) else a for a in args]
    theirs = [np.copy(a) if isinstance(a, np.ndarray) else a for a in args]
    compiled = jg.jit(fun, **options)
    for _ in range(2):  # the second call takes the fast way
        found, expected = compiled(*ours), fun(*theirs)
        f, e = jg.frontend.signature.flatten(found), jg.frontend.signature.flatten(expected)
        assert f[1] == e[1]
        for a, b in zip((*f[0], *ours), (*e[0], *theirs), strict=True):
            if not isinstance(b, (int, float, complex)):
                assert np.asarray(a).dtype.newbyteorder("=") == np.asarray(b).dtype.newbyteorder("=")
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


# -- arguments and results ---------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Signal:
    z: Any
    gain: Any


def test_arguments_and_results_in_trees() -> None:
    @jg.jit
    def both(params: dict[str, Any], s: Signal, pair: tuple[Any, Any]) -> Any:
        return {"sum": params["w"] + s.z, "same": params["w"]}, Signal(s.z * s.gain, s.gain), [pair[0] * pair[1], None]

    w, z = np.array([1j, 2]), np.array([3 + 1j, 4], np.complex64)
    for _ in range(2):
        out, s, rest = both({"w": w}, Signal(z, 2.0), (1j, np.complex64(2)))
        np.testing.assert_array_equal(out["sum"], w + z)
        assert out["same"] is not w
        assert isinstance(s, Signal)
        assert s.z.dtype == np.complex64
        assert rest == [2j, None]
        assert type(rest[0]) is np.complex64


@pytest.mark.parametrize(
    "z",
    [1 + 2j, np.complex64(1 + 2j), np.complex128(1j), np.array(1 + 2j), np.zeros((0, 2), complex),
     np.arange(6).reshape(2, 3)[:, ::-1] * (1 + 1j), np.array([1j, 2]).astype(">c16"), np.ones((2, 3), np.complex64).T],
)  # fmt: skip
def test_kinds_of_arguments(z: Any) -> None:
    as_numpy(lambda z: (z * 2, z.real, z.imag, z + np.float32(1.5), abs(z)), z)


def test_a_real_argument_is_not_a_complex_one() -> None:
    f = jg.jit(lambda z: z * 2)
    for z in (np.array([1j]), np.array([1.0]), np.array([1j], np.complex64), np.array([1j]), 1j, 1.0, 2j):
        assert np.asarray(f(z)).dtype == np.asarray(z * 2).dtype
    assert f.cache_info().programs == 5
    assert f.cache_info().compilations == 5


def test_promotion_is_that_of_numpy() -> None:
    values = [2, 1.5, 1j, True, np.float32(2), np.float64(2), np.complex64(1j), np.complex128(1j), np.int8(3),
              np.arange(2), np.arange(2.0, dtype=np.float32), np.ones(2), np.array([1j, 2], np.complex64),
              np.array([1j, 2]), np.array([True, False])]  # fmt: skip

    def of_all(*values: Any) -> Any:
        return [(x * y,) for x in values for y in values
                if any(np.asarray(v).dtype.kind == "c" for v in (x, y))]  # fmt: skip

    expected = of_all(*values)
    for found, wanted in zip(jg.jit(of_all)(*values), expected, strict=True):
        for f, e in zip(found, wanted, strict=True):
            assert np.asarray(f).dtype == np.asarray(e).dtype, (f, e)
            np.testing.assert_allclose(f, e, rtol=1e-6)


def test_kinds_are_known() -> None:
    def kinds(z: Any, p: Any) -> Any:
        assert isinstance(z, np.ndarray)
        assert isinstance(p, complex)
        assert type(z[0]) is np.complex64
        assert isinstance(z[0], np.complexfloating)
        assert z.dtype == np.complex64
        assert (z.shape, z.ndim, z.size, z.nbytes, len(z)) == ((2,), 1, 2, 16, 2)
        assert np.iscomplexobj(z)
        assert np.result_type(z, 1.0) == np.complex64
        assert np.result_type(z, np.float64) == np.complex128
        return z

    jg.jit(kinds)(np.array([1j, 2], np.complex64), 1j)


# -- derivatives -------------------------------------------------------------------------------------------------------


def test_gradient_points_uphill() -> None:
    """dL/dx + i dL/dy: for |z - a|**2 it is 2 (z - a)."""
    a = np.array([1 + 2j, -3j])
    z = np.array([0.5j, 1 - 1j])
    value, gradient = jg.value_and_grad(lambda z: np.sum(np.abs(z - a) ** 2))(z)
    np.testing.assert_allclose(gradient, 2 * (z - a), rtol=1e-14)
    np.testing.assert_allclose(value, np.sum(np.abs(z - a) ** 2))
    assert jg.grad(lambda z: (z * z).real)(np.complex64(1 + 2j)) == np.conj(2 * (1 + 2j))


def test_gradients_are_trees_like_the_arguments() -> None:
    def loss(params: dict[str, Any], x: Any) -> Any:
        return np.sum(np.abs(params["c"] * x + params["r"]) ** 2)

    params = {"c": np.array([1j, 2]), "r": np.ones(2)}
    gc, gx = jg.grad(loss, argnums=(0, 1))(params, np.array([1j, -1]))
    assert gc["c"].dtype == np.complex128
    assert gc["r"].dtype == np.float64
    assert gx.dtype == np.complex128
    (value, aux), gradient = jg.value_and_grad(lambda z: (abs(z), z * 2), has_aux=True)(3 + 4j)
    assert (value, aux) == (5.0, 6 + 8j)
    np.testing.assert_allclose(gradient, 0.6 + 0.8j)


def test_vjp_and_jvp_are_those_of_the_real_pair() -> None:
    rng = np.random.default_rng(0)
    z, dz, ct = (numbers(rng, 3) for _ in range(3))

    def f(z: Any) -> Any:
        return np.exp(z) * np.conj(z)

    out, pull = jg.vjp(f, z)
    np.testing.assert_allclose(out, f(z))
    tangent = jg.jvp(f, (z,), (dz,))[1]
    h = 1e-6
    np.testing.assert_allclose(tangent, (f(z + h * dz) - f(z - h * dz)) / (2 * h), rtol=1e-7)
    np.testing.assert_allclose(np.sum(np.conj(ct) * tangent).real, np.sum(np.conj(pull(ct)[0]) * dz).real)
    np.testing.assert_allclose(jg.jvp(f, (z,), (dz.real,))[1], jg.jvp(f, (z,), (dz.real + 0j,))[1])
    np.testing.assert_allclose(pull(np.ones(3))[0], pull(np.ones(3) + 0j)[0])


def test_derivatives_compose() -> None:
    z = np.array([0.3 + 0.2j, 1 - 0.5j])

    def loss(z: Any) -> Any:
        return np.sum(np.sin(z).real ** 2 * z.imag)

    def directional(z: Any) -> Any:
        return np.sum(jg.grad(loss)(z).real) + np.sum(jg.grad(loss)(z).imag)

    testing.check_grads(loss, (z,))
    testing.check_grads(directional, (z,), order=1)
    step = jg.jit(lambda z: z - 0.1 * jg.grad(loss)(z))
    np.testing.assert_allclose(step(z), z - 0.1 * jg.grad(loss)(z))
    assert loss(step(z)) < loss(z)


@pytest.mark.parametrize("transform", [jg.grad, jg.value_and_grad])
def test_gradient_of_a_complex_value_is_an_error(transform: Any) -> None:
    with pytest.raises(DifferentiationError, match=r"returns a complex value.*Return z\.real") as error:
        transform(lambda z: z * z)(1j)
    assert error.value.location is not None


@pytest.mark.parametrize("transform", [jg.jacobian, jg.hessian])
def test_jacobians_of_complex_functions_are_an_error(transform: Any) -> None:
    with pytest.raises(DifferentiationError, match="complex"):
        transform(lambda z: np.abs(z))(np.array([1j, 2]))
    with pytest.raises(DifferentiationError, match="complex"):
        transform(lambda x: x * 1j)(np.array([1.0, 2]))


# -- constants ---------------------------------------------------------------------------------------------------------


def test_captured_values_are_guarded() -> None:
    table, scale = np.array([1j, 2.0]), [2j]

    @jg.jit
    def f(x: Any) -> Any:
        return table * x * scale[0] * PHASE + TABLE[:2]

    def expected(x: Any) -> Any:
        return table * x * scale[0] * PHASE + TABLE[:2]

    x = np.array([1.0, 2.0])
    np.testing.assert_allclose(f(x), expected(x))
    table[0] = 7 - 1j
    np.testing.assert_allclose(f(x), expected(x))
    scale[0] = 3 + 1j
    np.testing.assert_allclose(f(x), expected(x))
    assert f.cache_info().compilations == 3


def test_captured_arrays_at_traced_indices() -> None:
    as_numpy(lambda k: TABLE[k] * 2 + TABLE[np.array([0, 1])][k // 2], np.int64(2))


class Holder:
    def __init__(self) -> None:
        self.table = np.array([1j, 2])


def test_a_captured_array_is_not_written() -> None:
    holder = Holder()
    with pytest.raises(MutationError, match="captures from outside"):
        jg.jit(lambda x: np.asarray(holder.table).__setitem__(0, x))(1j)
    np.testing.assert_array_equal(jg.jit(lambda x, k: holder.table[k] + holder.table * x)(1j, 0), [-1 + 1j, 3j])
    with pytest.raises(MutationError, match="captures from outside"):
        jg.jit(lambda x: TABLE.__setitem__(0, x))(1j)


def test_arrays_made_inside() -> None:
    def make(x: Any, n: Any) -> Any:
        z = np.zeros(4, complex)
        z[1] = x
        z[2:] = [1j, x * 2]
        e = np.empty((2, 2), np.complex64)
        e[...] = 1j
        e[0, 0] = x
        ones, eye = np.ones(3, dtype=np.complex64), np.eye(2, dtype=complex)
        ones[0] *= x
        eye[1] += x
        return z, e, ones, eye, np.full(2, 1j) * x, np.arange(3, dtype=complex) + x, np.array([x, 1, 2j])

    as_numpy(make, 0.5, 3)
    as_numpy(make, 0.5 - 1j, 3)


def test_known_complex_arrays_are_computed_while_tracing() -> None:
    def steps(x: Any) -> Any:
        z = np.exp(2j * np.pi * np.arange(4) / 4)
        count = 0
        while abs(z[0] + count) < 3.5:
            count += 1
        w = z.reshape(2, 2)[1]
        w[0] = 5.0
        return z * x, count, w.real.sum() + x

    as_numpy(steps, 2.0)
    assert "cos" not in str(jg.jit(steps).traced_graph(2.0))


# -- writing -----------------------------------------------------------------------------------------------------------


def test_writes_reach_the_argument() -> None:
    def write(z: Any, w: Any) -> None:
        z[0] = w[1]
        z[1:3] *= 1j
        z[3] += 2
        z.real[1] = 7.0
        z.imag[...] -= 1.0
        view = z[::2]
        view += w[:2]
        z.T[1] /= 2

    rng = np.random.default_rng(1)
    as_numpy(write, numbers(rng, 4), numbers(rng, 4))
    as_numpy(write, numbers(rng, 4).astype(np.complex64), numbers(rng, 4), rtol=1e-6)


def test_writes_into_views_and_strided_arguments() -> None:
    def write(z: Any) -> Any:
        z[1] = z[0].conj()
        z.imag = 0.5
        z.flat[2] = 9j
        np.multiply(z, 2.0, out=z)
        np.add(z[0], 1j, out=z[0])
        return z.sum()

    whole, plain = (np.arange(12).reshape(3, 4) * (1 + 2j) for _ in range(2))
    jg.jit(write)(whole[:, ::2])
    write(plain[:, ::2])
    np.testing.assert_array_equal(whole, plain)


def test_gradient_through_writes() -> None:
    def loss(z: Any, x: Any) -> Any:
        a = np.zeros((3, 3), dtype=complex)
        a[0] = z
        a[1, 1:] = z[:2] * x
        a[2] += a[0] * a[1]
        a[a.real > 0.3] *= 2j
        a[[0, 2], 1] -= z[1]
        np.add.at(a, (np.array([0, 0]), np.array([1, 1])), z[:2])
        a.imag[1] *= x
        return np.sum(np.abs(a) ** 2)

    rng = np.random.default_rng(2)
    z = numbers(rng, 3)
    as_numpy(loss, z, 0.5)
    testing.check_grads(loss, (z, 0.5), order=1)


def test_writers() -> None:
    def write(z: Any, w: Any) -> Any:
        a = z.copy()
        np.copyto(a, w, where=w.real > 0)
        np.fill_diagonal(a, 1j)
        np.put(a, [1, 2], [3j, 4])
        a.fill(2j) if a.shape[0] > 5 else None
        return a

    rng = np.random.default_rng(3)
    as_numpy(write, numbers(rng, 3, 3), numbers(rng, 3, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, z: x.__setitem__(0, z[0]),
        lambda x, z: x.__setitem__(0, 1j),
        lambda x, z: x.__iadd__(z),
        lambda x, z: x.__imul__(1j),
        lambda x, z: np.zeros(2).__setitem__(slice(None), z),
        lambda x, z: np.add(x, z, out=x),
        lambda x, z: np.copyto(x, z),
        lambda x, z: np.add.at(x, [0], z[0]),
    ],
)
def test_complex_values_do_not_fit_into_real_arrays(function: Callable[..., Any]) -> None:
    with pytest.raises(DtypeError):
        jg.jit(lambda x, z: function(np.copy(x), z))(np.ones(2), np.array([1j, 2]))


# -- loops and branches ------------------------------------------------------------------------------------------------


def mandelbrot(c: Any, most: int) -> Any:
    z, count = 0j, 0
    while abs(z) <= 2 and count < most:
        z = z * z + c
        count += 1
    return z, count


def test_mandelbrot_while() -> None:
    for c in (0.1 + 0.2j, 0.5 + 0.5j, -2 + 0.1j):
        as_numpy(mandelbrot, c, 100)
    testing.check_grads(lambda c: mandelbrot(c, 100)[0], (0.5 + 0.5j,), order=1)


def test_mandelbrot_arrays() -> None:
    def escape(c: Any, steps: int) -> Any:
        z = np.zeros_like(c)
        count = np.zeros(c.shape, int)
        for _ in range(steps):
            inside = np.abs(z) <= 2
            z[inside] = z[inside] ** 2 + c[inside]
            count += inside
        return count, z

    x = np.linspace(-2, 0.5, 9)
    as_numpy(escape, x[:, None] + 1j * x, 30)
    as_numpy(escape, x[:, None] + 1j * x, 30, loops="roll")


def test_a_number_becomes_complex_in_a_loop() -> None:
    def horner(p: Any, z: Any) -> Any:
        total, product, largest = 0, 1.0, 0.0
        for c in p:
            total = total * z + c
            product *= z
            if abs(product) > abs(largest):
                largest = product
        return total, product, largest

    rng = np.random.default_rng(4)
    as_numpy(horner, numbers(rng, 20), 0.7 + 0.6j)
    testing.check_grads(lambda p, z: horner(p, z)[:2], (numbers(rng, 20), 0.7 + 0.6j), order=1)


def test_branches() -> None:
    def f(z: Any, x: Any) -> Any:
        if x > 0:
            w = z * 2
            s = 1.0
        else:
            w = z.conjugate()
            s = 1j
        if abs(z) > 100:
            return w
        return w * s if x != 3 else x + 0j

    for x in (1.0, -1.0, 3.0):
        as_numpy(f, 1 + 2j, x)
        as_numpy(lambda z, x: np.sum(f(z[0], x)), np.array([1 + 2j]), x)


class Resonator:
    def __init__(self, pole: Any) -> None:
        self.pole, self.state, self.log = pole, 0.0, []

    def step(self, x: Any) -> None:
        self.state = self.pole * self.state + x
        self.log.append(self.state)


def test_state_lists_and_swaps() -> None:
    def run(pole: Any, xs: Any) -> Any:
        r = Resonator(pole)
        gains = {"g": 1.0}
        u, v = np.zeros(2, complex), xs[:2] * 1j
        for t in range(len(xs)):
            r.step(xs[t])
            gains["g"] = gains["g"] * pole
            u, v = v, u * 0.5 + v * 1j
        return np.array(r.log), r.state, gains["g"], u, v, [abs(w) for w in r.log]

    rng = np.random.default_rng(5)
    as_numpy(run, 0.9 + 0.1j, rng.normal(size=30))
    testing.check_grads(lambda p, xs: run(p, xs)[:5], (0.9 + 0.1j, rng.normal(size=30)), order=1)


def test_control_functions() -> None:
    def f(z: Any, xs: Any) -> Any:
        a = jg.fori_loop(0, 5, lambda i, s: s * z + i, 1j)
        b, outs = jg.scan(lambda s, x: (s * x, s + x), z, xs)
        c = jg.cond(xs[0].real > 0, lambda z: z * 2, lambda z: z.conj(), z)
        d = jg.while_loop(lambda s: abs(s) < 10, lambda s: s * (1.1 + 0.3j), z)
        return a, b, outs, c, d

    rng = np.random.default_rng(6)
    z, xs = 0.3 + 0.5j, numbers(rng, 12)
    found = jg.jit(f)(z, xs)
    a, b, c, d, outs = 1j, z, z * 2 if xs[0].real > 0 else z.conjugate(), z, []
    for i in range(5):
        a = a * z + i
    for x in xs:
        outs.append(b + x)
        b = b * x
    while abs(d) < 10:
        d *= 1.1 + 0.3j
    for x, y in zip(found, (a, b, np.array(outs), c, d), strict=True):
        np.testing.assert_allclose(x, y)


def test_loops_over_complex_arrays() -> None:
    def f(zs: Any, ws: Any) -> Any:
        total = 0
        for z, w in zip(zs, ws, strict=True):
            total += z * w.conjugate()
        for i, z in enumerate(zs):
            total -= i * z
        for row in zs.reshape(4, 5):
            total = total + row[0]
        return total, [z * 2 for z in zs], sum(zs), sum(z for z in zs)

    rng = np.random.default_rng(7)
    as_numpy(f, numbers(rng, 20), numbers(rng, 20))


# -- Python's numbers --------------------------------------------------------------------------------------------------


def test_python_functions() -> None:
    def f(x: Any, z: Any) -> Any:
        w = complex(x, 2.0) + complex(z) + complex(x)
        return w, w.real, w.imag, abs(w), w.conjugate(), np.complex64(w), np.complex128(x), pow(w, 2), w == z, -w

    as_numpy(f, 0.5, 1 + 2j, rtol=1e-6)


def test_cmath() -> None:
    names = "sqrt exp log log10 sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh phase isnan isfinite"

    def f(z: Any, x: Any) -> Any:
        r, phi = cmath.polar(z)
        return [getattr(cmath, name)(z) for name in names.split()], cmath.rect(r, phi), cmath.sqrt(x), cmath.isclose(
            z, z + 1e-12), cmath.log(z, 2)  # fmt: skip

    as_numpy(f, 0.3 - 0.4j, -2.0)


@pytest.mark.parametrize(
    "function",
    [float, int, lambda z: float(z) + 1, lambda z: [1, 2][z], hash, lambda z: round(z), lambda z: z.view(float)],
)
def test_conversions_that_python_does_not_have(function: Callable[..., Any]) -> None:
    with pytest.raises(JitgradError):
        jg.jit(function)(1 + 2j)


def test_complex_arrays_on_a_device() -> None:
    with config.using(target="cuda", cuda_driver="simulated"):
        f = jg.jit(lambda re, im: np.exp(1j * (re + 1j * im)).real)
        x = np.arange(3.0)
        np.testing.assert_allclose(f(x, 0.5 * x).numpy(), np.exp(1j * (x + 0.5j * x)).real)
        with pytest.raises(UnsupportedError, match="complex"):
            jg.jit(lambda z: z)(np.array([1j]))


def test_a_complex_condition_says_what_to_do() -> None:
    with pytest.raises(JitgradError, match="z != 0"):
        jg.jit(lambda z: 1.0 if z else 2.0)(1j)


def test_complex_dtypes_that_are_not_there() -> None:
    with pytest.raises(DtypeError, match=r"complex256|clongdouble"):
        jg.jit(lambda z: z)(np.ones(2, np.clongdouble))


def test_real_functions_refuse_complex_arguments() -> None:
    import scipy.special

    for function in (scipy.special.gammaln, scipy.special.logsumexp, np.trunc, np.linalg.qr):
        with pytest.raises((UnsupportedError, DtypeError, ArgumentError)):
            jg.jit(function)(np.eye(2) * 1j)
