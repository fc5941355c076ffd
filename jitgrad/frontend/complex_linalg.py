"""Linear algebra with complex matrices, by real ones of twice the size.

``A + iB`` becomes ``[[A, -B], [B, A]]``, which maps products to products: what is made of products and inverses alone
(``solve``, ``inv``, ``pinv``, ``expm``) is read off the same function of the real matrix. Its eigenvalues, where ``A +
iB`` is Hermitian, and its singular values are those of the complex one, each twice. With rows and columns in the order
re, im, re, im, ... the real matrix of a triangular one with a real diagonal is triangular, so Cholesky factors agree.
Eigenvectors of Hermitian matrices and determinants are ops of their own (``jitgrad.ops.complex_matrices``). The factors
of QR and SVD are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg as sla

from jitgrad.errors import ArgumentError
from jitgrad.frontend.complex_calls import special
from jitgrad.frontend.complex_functions import whole
from jitgrad.frontend.complex_pair import is_complex
from jitgrad.frontend.complex_tracer import make, parts
from jitgrad.frontend.complex_ufuncs import refused
from jitgrad.frontend.functions_linalg import square_matrix
from jitgrad.frontend.primitives import emit_all
from jitgrad.frontend.registry import call, unsupported_argument
from jitgrad.ir.location import user_location


def _embedded(a: Any) -> Any:
    """``[[A, -B], [B, A]]``, on stacks of matrices."""
    re, im = _both(a)
    return np.concatenate([np.concatenate([re, -im], -1), np.concatenate([im, re], -1)], -2)


def _both(a: Any) -> tuple[Any, Any]:
    """The parts as arrays."""
    z = whole(a)
    re, im = parts(z)
    return (re, im) if is_complex(z) else (re, np.zeros_like(re))


def _extracted(x: Any) -> Any:
    """The complex matrix whose real one this is, by its left half."""
    rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
    return make(x[..., :rows, :columns], x[..., rows:, :columns])


def _stacked(b: Any, *, vector: bool) -> Any:
    """The parts of a right-hand side below each other."""
    re, im = _both(b)
    return np.concatenate([re, im], -1 if vector else -2)


def _unstacked(x: Any, *, vector: bool) -> Any:
    half = x.shape[-1 if vector else -2] // 2
    return make(x[..., :half], x[..., half:]) if vector else make(x[..., :half, :], x[..., half:, :])


def _solved(function: Any, a: Any, b: Any, **kwargs: Any) -> Any:
    vector = len(np.shape(b)) == 1
    return _unstacked(call(function, (_embedded(a), _stacked(b, vector=vector)), kwargs), vector=vector)


@special(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    return _solved(np.linalg.solve, a, b)


@special(sla.solve)
def scipy_solve(a: Any, b: Any, lower: bool = False, *, assume_a: Any = None, **kwargs: Any) -> Any:
    if lower or assume_a not in (None, "gen", "general"):
        raise refused(sla.solve, "Leave assume_a and lower out.")
    return _solved(np.linalg.solve, a, b)


def _of_embedded(function: Any) -> Callable[..., Any]:
    return lambda a, *args, **kwargs: _extracted(call(function, (_embedded(a), *args), kwargs))


for _function in (np.linalg.inv, sla.inv, sla.expm, np.linalg.pinv, sla.pinv):
    special(_function)(_of_embedded(_function))


@special(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    vector = len(np.shape(b)) == 1
    x, residuals, rank, s = call(np.linalg.lstsq, (_embedded(a), _stacked(b, vector=vector)), {"rcond": rcond})
    return _unstacked(x, vector=vector), residuals, rank // 2, s[::2]


def _hermitian(a: Any, UPLO: str) -> Any:
    """The real matrix of the Hermitian one of which a triangle is given."""
    re, im = _both(a)
    low = UPLO == "L"
    keep, strict = (np.tril, np.tril(np.ones(re.shape[-2:]), -1)) if low else (
        np.triu, np.triu(np.ones(re.shape[-2:]), 1))  # fmt: skip
    lower, upper = keep(re), keep(im) * strict.astype(im.dtype)
    other = np.swapaxes(lower * strict.astype(re.dtype), -1, -2)
    return _embedded(make(lower + other, upper - np.swapaxes(upper, -1, -2)))


@special(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return call(np.linalg.eigvalsh, (_hermitian(a, UPLO.upper()),), {})[..., ::2]


@special(np.linalg.svdvals, sla.svdvals)
def svdvals(x: Any) -> Any:
    return call(np.linalg.svdvals, (_embedded(x),), {})[..., ::2]


@special(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    if compute_uv:
        raise refused(np.linalg.svd, "The singular values are: compute_uv=False, or np.linalg.svdvals.")
    return svdvals(a)


@special(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    re, im = _square("np.linalg.eigh", a)
    if str(UPLO).upper() not in ("L", "U"):
        raise ArgumentError(f"np.linalg.eigh got UPLO={UPLO!r}. Use 'L' or 'U'.", user_location())
    if str(UPLO).upper() == "U":
        re, im = np.swapaxes(re, -1, -2), -np.swapaxes(im, -1, -2)
    w, *v = emit_all("eigh_complex", re, im)
    kind: Any = type(np.linalg.eigh(np.eye(1)))  # the named tuple is not public
    return kind(w, make(*v))


def _square(name: str, a: Any) -> tuple[Any, Any]:
    """The parts of square matrices, as traced arrays of one dtype. Raises what ``square_matrix`` raises."""
    re, im = _both(a)
    (re,), (im,) = square_matrix(name, re), square_matrix(name, im)
    return re, im


@special(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    re, im, size = emit_all("slogdet_complex", *_square("np.linalg.slogdet", a))
    kind: Any = type(np.linalg.slogdet(np.eye(1)))
    return kind(make(re, im), size)


@special(np.linalg.det, sla.det)
def det(a: Any) -> Any:
    """By its logarithm."""
    re, im, size = emit_all("slogdet_complex", *_square("np.linalg.det", a))
    return make(re, im) * np.exp(size)


@special(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """Of the Hermitian matrix whose lower triangle (or the upper one) is given."""
    re, im = _both(a)
    if upper:
        re, im = np.swapaxes(re, -1, -2), -np.swapaxes(im, -1, -2)
    n = re.shape[-1]
    rows = np.stack([np.stack([re, -im], -1), np.stack([im, re], -1)], -2)  # [..., i, j, part, part]
    mixed = np.swapaxes(rows, -3, -2).reshape((*re.shape[:-2], 2 * n, 2 * n))
    # The real function reads the lower triangle: on the diagonal that is the imaginary part, which is to be 0.
    on = np.eye(n, dtype=re.dtype)
    nothing = np.zeros((2, 2), re.dtype)
    nothing[1, 0] = 1
    factor = call(np.linalg.cholesky, (mixed * (1 - np.kron(on, nothing)).astype(re.dtype),), {})
    z = make(factor[..., ::2, ::2], factor[..., 1::2, ::2])
    return np.swapaxes(z, -1, -2).conj() if upper else z


# -- norms and powers --------------------------------------------------------------------------------------------------


@special(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    z = whole(x)
    ndim = z.ndim if axis is None else len(axis) if isinstance(axis, (tuple, list)) else 1
    if ord is None or ord == "fro" or (ord == 2 and ndim == 1):
        squares = call(np.linalg.norm, (np.stack([z.re, z.im], -1),), {"axis": -1})
        return call(np.linalg.norm, (_of_parts(z, axis),), {"axis": axis}) if axis is None and not keepdims else call(
            np.linalg.norm, (squares,), {"ord": ord, "axis": axis, "keepdims": keepdims})  # fmt: skip
    if ndim == 2 and ord in (2, -2, "nuc"):
        if axis is not None or keepdims:
            raise unsupported_argument("np.linalg.norm", "axis")
        s = svdvals(z)
        return s.sum(-1) if ord == "nuc" else s.max(-1) if ord == 2 else s.min(-1)
    return call(np.linalg.norm, (np.abs(z),), {"ord": ord, "axis": axis, "keepdims": keepdims})


def _of_parts(z: Any, axis: Any) -> Any:
    """All parts in one vector: its norm is that of the array, and has derivative 0 at 0."""
    return np.concatenate([z.re.reshape(-1), z.im.reshape(-1)])


@special(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    return call(np.linalg.vector_norm, (np.abs(whole(x)),), {"axis": axis, "keepdims": keepdims, "ord": ord})


@special(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return norm(x, ord, (-2, -1), keepdims)


@special(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    z = whole(a)
    if n < 0:
        z, n = call(np.linalg.inv, (z,), {}), -n
    result: Any = None
    while n:
        if n & 1:
            result = z if result is None else result @ z
        n >>= 1
        z = z @ z if n else z
    if result is None:
        ones = np.broadcast_to(np.eye(z.shape[-1], dtype=z.re.dtype), z.shape)
        return make(z.re * 0 + ones, z.im * 0)
    return result


@special(np.linalg.multi_dot)
def multi_dot(arrays: Any) -> Any:
    """From the left, or from the right where the last one is a vector."""
    found = [whole(a) for a in arrays]
    if found[-1].ndim == 1:
        out = found.pop()
        while found:
            out = found.pop() @ out
        return out
    out, *rest = found
    for a in rest:
        out = out @ a
    return out


@special(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    if p in (None, 2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, (-2, -1)) * norm(call(np.linalg.inv, (x,), {}), p, (-2, -1))


@special(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    raise refused(np.linalg.qr, "Of complex matrices solve, lstsq, pinv, cholesky, eigh, svdvals are.")


@special(np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    raise refused(np.linalg.matrix_rank, "Count the singular values, np.linalg.svdvals, above a bound.")
