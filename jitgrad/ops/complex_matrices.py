"""Eigenvectors and determinants of complex matrices, which are pairs of real arrays of one shape and dtype.

Most linear algebra of complex matrices is that of real ones of twice the size (``frontend.complex_linalg``). These two
are not: each eigenvalue would be there twice, with vectors that span no two complex ones where it is multiple, and the
determinant of the larger matrix is the squared modulus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.ir.types import TensorType
from jitgrad.ops.eigen import columns, gaps, on_diagonal
from jitgrad.ops.linalg import check_square, contract, matmul, matrices, over_matrix, transposed
from jitgrad.ops.op import OpRule, Sample, Var, apply, register
from jitgrad.ops.orthogonal import part

_i32 = np.dtype(np.int32)
_i64 = np.dtype(np.int64)

#: A complex matrix.
Z = tuple[Any, Any]


def product(x: Z, y: Z, *, left: bool = False, right: bool = False) -> Z:
    """``x @ y``, with the adjoint of x (``left``) or of y (``right``) in its place."""
    (a, b), (c, d) = x, y
    b, d = (-b if left else b), (-d if right else d)
    kinds = {"tx": left, "ty": right}
    re = matmul(a, c, **kinds) - matmul(b, d, **kinds)
    return re, matmul(a, d, **kinds) + matmul(b, c, **kinds)


def _hermitian(x: Z) -> Z:
    return (x[0] + transposed(x[0])) * 0.5, (x[1] - transposed(x[1])) * 0.5


def _packed(b: Any, re: Any, im: Any, *, lower: bool) -> Any:
    """The matrices by columns, the parts side by side, with zeros above the diagonal where only the rest is read."""

    def entry(*i: Any) -> Any:
        column, row = i[-3], i[-2]
        at = (*i[:-3], row, column)
        value = b.scalar("where", b.index(i[-1]).ne(b.const(0, _i64)), im[at], re[at])
        return b.scalar("where", b.index(column) <= b.index(row), value, b.const(0, re.dtype)) if lower else value

    return b.pointwise((*re.shape, 2), re.dtype, entry)


def _check(op: str, re: TensorType, im: TensorType) -> None:
    check_square(op, re)
    assert re == im, f"{op}: the parts are {re} and {im}"


def _pair(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    return matrices(rng, *shape), rng.standard_normal(shape)


@register
class EighComplex(OpRule):
    """``eigh_complex(re, im) -> (w, v_re, v_im)``: eigenvalues of Hermitian matrices in ascending order, and in the
    columns of ``v`` the eigenvectors. Reads the lower triangle only, and no imaginary part on the diagonal; LinAlgError
    at run time where LAPACK finds none.

    The derivative is that of ``eigh``. A vector may be multiplied by any number of modulus 1: LAPACK's choice has no
    derivative of its own, so what depends on it is differentiated as if vectors moved at right angles to themselves.
    """

    name = "eigh_complex"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        """Not for the gradient check: moving one entry alone leaves the Hermitian matrices."""
        pairs = [_pair(rng, *s) for s in ((3, 3), (2, 4, 4), (1, 1), (0, 0), (2, 0, 0), (0, 3, 3))]
        swapped = [(np.swapaxes(x, -1, -2), np.swapaxes(y, -1, -2)) for x, y in pairs]
        return [Sample((x + u, y - v), grad=False) for (x, y), (u, v) in zip(pairs, swapped, strict=True)]

    def infer(self, re: TensorType, im: TensorType) -> tuple[TensorType, TensorType, TensorType]:
        _check(self.name, re, im)
        return TensorType(re.dtype, re.shape[:-1]), re, re

    def eval(self, re: np.ndarray, im: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        w: Any
        v: Any
        w, v = np.linalg.eigh(re + np.asarray(1j, np.result_type(re, np.complex64)) * im)
        return w, np.ascontiguousarray(v.real), np.ascontiguousarray(v.imag)

    def vjp(self, g: Any, out: Any, re: Var, im: Var) -> Sequence[Var | None]:
        (w, *v), (gw, *gv) = out, g
        away = gaps(w, v[0])
        p, q = product((v[0], v[1]), (gv[0], gv[1]), left=True)
        turned = p * away + on_diagonal(columns(gw, v[0])), q * away
        return _hermitian(product(product((v[0], v[1]), turned), (v[0], v[1]), right=True))

    def jvp(self, ts: Sequence[Var | None], out: Any, re: Var, im: Var) -> Any:
        w, *v = out
        if ts[0] is None and ts[1] is None:
            return None, None, None
        t: Any = tuple(x * 0.0 if y is None else y for x, y in zip((re, im), ts, strict=True))
        moved = product((v[0], v[1]), product(_hermitian(t), (v[0], v[1])), left=True)
        away = gaps(w, v[0])
        dv = product((v[0], v[1]), (moved[0] * away, moved[1] * away))
        return apply("reduce_sum", on_diagonal(moved[0]), axes=(re.ndim - 2,)), *dv

    def lower(self, b: Any, re: Any, im: Any) -> tuple[Any, Any, Any]:
        n, dtype = re.shape[-1], re.dtype
        if not math.prod(re.shape):
            nothing = b.pointwise(re.shape[:-1], dtype, lambda *i: b.const(0, dtype))
            return nothing, b.empty(re.shape, dtype), b.empty(re.shape, dtype)
        z, w = _packed(b, re, im, lower=True), b.empty(re.shape[:-1], dtype)
        sizes = 2 * (2 * n + n * n), 1 + 5 * n + 2 * n * n
        spaces = [*(b.empty((s,), dtype) for s in sizes), b.empty((3 + 5 * n,), _i32)]
        b.libcall("heevd", [z, w, *spaces], [z], n=n, count=math.prod(re.shape[:-2]))
        v = [
            b.pointwise(re.shape, dtype, lambda *i, k=k: z[(*i[:-2], i[-1], i[-2], k)]) for k in range(2)
        ]  # fmt: skip
        return w, *v


@register
class SlogdetComplex(OpRule):
    """``slogdet_complex(re, im) -> (sign_re, sign_im, logdet)``: the determinant is ``sign * exp(logdet)``, and sign
    has modulus 1; (0, 0, -inf) for a singular matrix.

    ``d log det(A) = tr(A^-1 dA)``, of which the real part belongs to ``logdet``, the imaginary one to the angle. At an
    exactly singular matrix the derivative raises LinAlgError.
    """

    name = "slogdet_complex"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        result = [Sample(_pair(rng, *s)) for s in ((3, 3), (2, 4, 4), (1, 1))]
        fixed = [np.zeros((4, 4)), np.ones((2, 0, 0)), np.ones((2, 2)), np.ones((0, 2, 2))]
        return result + [Sample((a, -a), grad=False) for a in fixed]

    def infer(self, re: TensorType, im: TensorType) -> tuple[TensorType, TensorType, TensorType]:
        _check(self.name, re, im)
        result = TensorType(re.dtype, re.shape[:-2])
        return result, result, result

    def eval(self, re: np.ndarray, im: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sign, logdet = np.linalg.slogdet(re + np.asarray(1j, np.result_type(re, np.complex64)) * im)
        return np.asarray(np.real(sign), re.dtype), np.asarray(np.imag(sign), re.dtype), np.asarray(logdet, re.dtype)

    @staticmethod
    def _inverse(re: Var, im: Var) -> Z:
        """By the real matrix ``[[re, -im], [im, re]]``."""
        n: Any = re.shape[-1]
        axis = re.ndim - 1
        rows = apply("concatenate", re, -im, axis=axis), apply("concatenate", im, re, axis=axis)
        left = part(apply("inv", apply("concatenate", *rows, axis=axis - 1)), -1, 0, n)
        return part(left, -2, 0, n), part(left, -2, n, 2 * n)

    def vjp(self, g: Any, out: Any, re: Var, im: Var) -> Sequence[Var | None]:
        (sign_re, sign_im, _), (gr, gi, size) = out, g
        turn = over_matrix(gi * sign_re - gr * sign_im, re)
        p, q = map(transposed, self._inverse(re, im))
        size = over_matrix(size, re)
        return size * p + turn * q, turn * p - size * q

    def jvp(self, ts: Sequence[Var | None], out: Any, re: Var, im: Var) -> Any:
        if ts[0] is None and ts[1] is None:
            return None, None, None
        t, u = (x * 0.0 if y is None else y for x, y in zip((re, im), ts, strict=True))
        p, q = self._inverse(re, im)
        size = contract(p, t, transpose=True) - contract(q, u, transpose=True)
        turn = contract(p, u, transpose=True) + contract(q, t, transpose=True)
        return -out[1] * turn, out[0] * turn, size

    def lower(self, b: Any, re: Any, im: Any) -> tuple[Any, Any, Any]:
        n, stack, dtype = re.shape[-1], re.shape[:-2], re.dtype
        if not math.prod(re.shape):
            return tuple(b.pointwise(stack, dtype, lambda *i, k=k: b.const(k, dtype)) for k in (1, 0, 0))
        lu, pivots = _packed(b, re, im, lower=False), b.empty(re.shape[:-1], _i32)
        b.libcall("getrf_complex", [lu, pivots], [lu], n=n, count=math.prod(stack))

        def total(term: Any) -> Any:
            def at(*i: Any) -> Any:
                x, y = (lu[(*i, i[-1], k)] for k in range(2))
                return term(x, y, b.cast(pivots[i], _i64).ne(b.index(i[-1] + 1)))

            return b.reduce((*stack, n), (len(stack),), "+=", dtype, at)

        def angle(x: Any, y: Any, swapped: Any) -> Any:
            return b.scalar("arctan2", y, x) + b.scalar("where", swapped, b.const(math.pi, dtype), b.const(0, dtype))

        logs = total(lambda x, y, _: b.scalar("log", b.scalar("hypot", x, y)))
        angles = total(angle)

        def direction(function: str) -> Any:
            def at(*i: Any) -> Any:
                singular = logs[i].eq(b.const(-math.inf, dtype))
                return b.scalar("where", singular, b.const(0, dtype), b.scalar(function, angles[i]))

            return b.pointwise(stack, dtype, at)

        return direction("cos"), direction("sin"), logs
