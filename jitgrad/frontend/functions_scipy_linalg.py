"""Functions of scipy.linalg on traced values. What they share with ``np.linalg`` is done there."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg as spl

from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.functions_factors import (
    cutoff_number,
    flipped,
    least_squares,
    matrices,
    rank_of,
    symmetric_pinv,
)
from jitgrad.frontend.functions_index import take_along_axis
from jitgrad.frontend.functions_kind import zeros_like
from jitgrad.frontend.functions_linalg import eigh as numpy_eigh
from jitgrad.frontend.functions_linalg import matmul, solve_system, square_matrix
from jitgrad.frontend.functions_linalg import norm as numpy_norm
from jitgrad.frontend.functions_reduce import argsort, max_
from jitgrad.frontend.functions_shape import atleast_2d, tril, triu
from jitgrad.frontend.primitives import (
    broadcast_to,
    broadcast_together,
    cast,
    common_dtype,
    concatenate,
    emit,
    emit_all,
    insert_axes,
    iota,
    lift,
    matrix_floats,
    reshape,
    static_int,
    strong,
    take_slice,
    windows,
)
from jitgrad.frontend.registry import ADVICE, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import i64

# -- systems -----------------------------------------------------------------------------------------------------------


@implements(spl.solve_triangular)
def solve_triangular(
    a: ArrayLike, b: ArrayLike, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False,
    overwrite_b: bool = False, check_finite: bool = True,
) -> Tracer:  # fmt: skip
    """``trans`` is 0 or "N", 1 or "T" (2 and "C" are the same for real matrices)."""
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ArgumentError(f"solve_triangular got trans={trans!r}. Use 0, 1, 'N' or 'T'.", user_location())
    m, v = square_matrix("scipy.linalg.solve_triangular", a, b)
    attrs = {"lower": bool(lower), "trans": trans not in (0, "N"), "unit": bool(unit_diagonal)}
    return solve_system("triangular_solve", m, v, "scipy.linalg.solve_triangular", **attrs)


@implements(spl.solve)
def solve(
    a: ArrayLike, b: ArrayLike, lower: bool = False, overwrite_a: bool = False, overwrite_b: bool = False,
    check_finite: bool = True, assume_a: str | None = None, transposed: bool = False,
) -> Tracer:  # fmt: skip
    """A general solve; what ``assume_a`` promises is not used, but symmetric matrices are read from both halves."""
    m, v = square_matrix("scipy.linalg.solve", a, b)
    if assume_a in ("lower triangular", "upper triangular"):
        attrs = {"lower": assume_a == "lower triangular", "trans": bool(transposed), "unit": False}
        return solve_system("triangular_solve", m, v, "scipy.linalg.solve", **attrs)
    return solve_system("solve", flipped(m) if transposed else m, v, "scipy.linalg.solve")


@implements(spl.cholesky)
def cholesky(a: ArrayLike, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Tracer:
    """The upper factor unless ``lower``, read from that half, as SciPy does."""
    (m,) = square_matrix("scipy.linalg.cholesky", a)
    return emit("cholesky", m) if lower else flipped(emit("cholesky", flipped(m)))


@implements(spl.cho_factor)
def cho_factor(
    a: ArrayLike, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Tracer, bool]:
    """As SciPy's, but the other half of the factor is zero, not leftovers."""
    return cholesky(a, lower), bool(lower)


@implements(spl.cho_solve)
def cho_solve(
    c_and_lower: tuple[ArrayLike, bool], b: ArrayLike, overwrite_b: bool = False, check_finite: bool = True
) -> Tracer:
    c, lower = c_and_lower
    half = solve_triangular(c, b, trans=0 if lower else 1, lower=lower)
    return solve_triangular(c, half, trans=1 if lower else 0, lower=lower)


@implements(spl.inv)
def inv(
    a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True, *, assume_a: Any = None, lower: Any = False
) -> Tracer:
    return emit("inv", *square_matrix("scipy.linalg.inv", a))


@implements(spl.det)
def det(a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True) -> Tracer:
    """In float64, as SciPy."""
    (m,) = square_matrix("scipy.linalg.det", a)
    return emit("det", cast(m, np.float64))


@implements(spl.norm)
def norm(a: ArrayLike, ord: Any = None, axis: Any = None, keepdims: bool = False, check_finite: bool = True) -> Tracer:
    return numpy_norm(a, ord, axis, keepdims)


def _bands(function: str, ab: Tracer, rows: int) -> None:
    """Raise ShapeError unless a matrix in diagonal form has that many diagonals."""
    if ab.ndim == 2 and ab.dims[0] == rows and ab.dims[1] != 0:
        return
    raise ShapeError(
        f"{function} of bands of shape {ab.dims}. They are a matrix with a row for each of the {rows} diagonals. Check "
        "the number of diagonals.",
        user_location(),
    )


@implements(spl.solve_banded)
def solve_banded(
    l_and_u: tuple[int, int], ab: ArrayLike, b: ArrayLike, overwrite_ab: bool = False, overwrite_b: bool = False,
    check_finite: bool = True,
) -> Tracer:  # fmt: skip
    """By LAPACK's gbtrf, in time proportional to the bands."""
    below, above = (static_int(n, "l_and_u") for n in l_and_u)
    bands, v = matrix_floats("scipy.linalg.solve_banded", ab, b)
    _bands("scipy.linalg.solve_banded", bands, below + above + 1)
    return _banded("scipy.linalg.solve_banded", bands, v, below, above)


def _banded(function: str, bands: Tracer, v: Tracer, below: int, above: int) -> Tracer:
    """The solution for a vector or a matrix."""
    if v.ndim not in (1, 2) or v.dims[0] != bands.dims[1]:
        raise ShapeError(
            f"{function} of bands of shape {bands.dims} and a right side of shape {v.dims}. The right side is a vector "
            f"or a matrix of {bands.dims[1]} rows. Transpose or reshape it.",
            user_location(),
        )
    right = reshape(v, (v.dims[0], 1)) if v.ndim == 1 else v
    return reshape(emit("banded_solve", bands, right, below=below, above=above, trans=False), v.dims)


@implements(spl.solveh_banded)
def solveh_banded(
    ab: ArrayLike, b: ArrayLike, overwrite_ab: bool = False, overwrite_b: bool = False, lower: bool = False,
    check_finite: bool = True,
) -> Tracer:  # fmt: skip
    """By LU of both halves of the bands, so a matrix that is not positive definite is no error."""
    bands, v = matrix_floats("scipy.linalg.solveh_banded", ab, b)
    _bands("scipy.linalg.solveh_banded", bands, bands.dims[0] if bands.ndim else 0)
    count, n = bands.dims[0] - 1, bands.dims[1]
    half = [take_slice(bands, 0, k, k + 1) for k in range(count + 1)]  # from the main diagonal out
    half = half if lower else half[::-1]
    other = []
    for d, row in enumerate(half[1:], 1):
        near = take_slice(row, 1, 0, n - d) if lower else take_slice(row, 1, d, n)
        other.append(emit("pad", near, low=(0, d if lower else 0), high=(0, 0 if lower else d)))
    above, below = (other, half[1:]) if lower else (half[1:], other)
    full = concatenate([*above[::-1], half[0], *below], 0)
    return _banded("scipy.linalg.solveh_banded", full, v, count, count)


@implements(spl.solve_toeplitz)
def solve_toeplitz(c_or_cr: Any, b: ArrayLike, check_finite: bool = True) -> Tracer:
    """As a dense system: n^3 operations, and partial pivoting, where SciPy's recursion takes n^2 and has none."""
    column, row = c_or_cr if isinstance(c_or_cr, tuple) else (c_or_cr, None)
    m, v = square_matrix("scipy.linalg.solve_toeplitz", toeplitz(column, row), b)
    return solve_system("solve", m, v, "scipy.linalg.solve_toeplitz")


@implements(spl.circulant)
def circulant(c: ArrayLike) -> Tracer:
    """Of a vector, its first column."""
    (x,) = lift(c)
    n = x.dims[-1]
    return x[..., (np.arange(n)[:, None] - np.arange(n)) % n]


@implements(spl.hankel)
def hankel(c: ArrayLike, r: ArrayLike = None) -> Tracer:
    """Of vectors: ``c`` is the first column, ``r`` the last row, by default zeros; ``r[0]`` is not read."""
    column, row = lift(c, 0 if r is None else r)
    column = reshape(column, (column.count,))
    row = zeros_like(column) if r is None else reshape(row, (row.count,))
    dtype = common_dtype(column, row)
    values = concatenate([cast(column, dtype), cast(row[1:], dtype)], 0)
    return strong(windows(values, (column.count, row.count)))


# -- factorizations ----------------------------------------------------------------------------------------------------


@implements(spl.lu_factor)
def lu_factor(a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Tracer, Tracer]:
    """Of square matrices. The derivative takes the pivots as they are."""
    lu, pivots = emit_all("lu", *square_matrix("scipy.linalg.lu_factor", a))
    return lu, pivots


@implements(spl.lu_solve)
def lu_solve(
    lu_and_piv: tuple[ArrayLike, ArrayLike], b: ArrayLike, trans: Any = 0, overwrite_b: bool = False,
    check_finite: bool = True,
) -> Tracer:  # fmt: skip
    if trans not in (0, 1, 2):
        raise ArgumentError(f"lu_solve got trans={trans!r}. Use 0, 1 or 2.", user_location())
    lu, v = square_matrix("scipy.linalg.lu_solve", lu_and_piv[0], b)
    (pivots,) = lift(lu_and_piv[1])
    order = emit("pivot_order", cast(pivots, np.int32))
    if not trans:
        half = solve_triangular(lu, _rows(v, order), lower=True, unit_diagonal=True)
        return solve_triangular(lu, half)
    half = solve_triangular(lu, v, trans=1)
    return _rows(solve_triangular(lu, half, trans=1, lower=True, unit_diagonal=True), argsort(order))


def _rows(x: Tracer, order: Tracer) -> Tracer:
    """The rows of matrices, or the elements of a vector, in another order."""
    if x.ndim == 1:
        return take_along_axis(x, order, axis=0)
    index = insert_axes(order, [order.ndim])
    batch = broadcast_together(x.dims[:-2], index.dims[:-2])
    x, index = broadcast_to(x, (*batch, *x.dims[-2:])), broadcast_to(index, (*batch, *x.dims[-2:]))
    return take_along_axis(x, index, axis=-2)


@implements(spl.lu)
def lu(
    a: ArrayLike, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True,
    p_indices: bool = False,
) -> Any:  # fmt: skip
    """Of square matrices: ``(p, l, u)`` with ``a = p l u``, or ``(p l, u)`` with ``permute_l``. With ``p_indices`` p is
    an index array, ``a = l[p] u``."""
    packed, pivots = emit_all("lu", *square_matrix("scipy.linalg.lu", a))
    order = emit("pivot_order", pivots)
    ones = emit("equal", iota(packed, packed.dims, packed.ndim - 2), iota(packed, packed.dims, packed.ndim - 1))
    l, u = tril(packed, -1) + cast(ones, packed.dtype), triu(packed)  # noqa: E741
    inverse = argsort(order)
    if permute_l:
        return _rows(l, inverse), u
    if p_indices:
        return cast(inverse, np.int32), l, u
    column = insert_axes(inverse, [inverse.ndim])
    p = emit("equal", broadcast_to(column, packed.dims), iota(packed, packed.dims, packed.ndim - 1))
    return cast(p, packed.dtype), l, u


@implements(spl.qr)
def qr(
    a: ArrayLike, overwrite_a: bool = False, lwork: Any = None, mode: str = "full", pivoting: bool = False,
    check_finite: bool = True,
) -> Any:  # fmt: skip
    if pivoting or mode not in ("full", "r", "economic"):
        raise UnsupportedError(
            f"scipy.linalg.qr with mode={mode!r} and pivoting={pivoting!r} is not supported on traced values. Use mode "
            "'full', 'economic' or 'r' without pivoting.",
            user_location(),
        )
    q, r = emit_all("qr", *matrices("scipy.linalg.qr", a), full=mode != "economic")
    return (r,) if mode == "r" else (q, r)


@implements(spl.svd)
def svd(
    a: ArrayLike, full_matrices: bool = True, compute_uv: bool = True, overwrite_a: bool = False,
    check_finite: bool = True, lapack_driver: str = "gesdd",
) -> Any:  # fmt: skip
    """By LAPACK's gesdd, whatever ``lapack_driver`` says."""
    u, s, vh = emit_all("svd", *matrices("scipy.linalg.svd", a), full=bool(full_matrices))
    return (u, s, vh) if compute_uv else s


@implements(spl.svdvals)
def svdvals(a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True) -> Tracer:
    return svd(a, compute_uv=False)


@implements(spl.polar)
def polar(a: ArrayLike, side: str = "right") -> tuple[Tracer, Tracer]:
    """``(u, p)`` with ``a = u p``, or ``a = p u`` for ``side="left"``."""
    if side not in ("right", "left"):
        raise ArgumentError(f"scipy.linalg.polar got side={side!r}. Use 'right' or 'left'.", user_location())
    w, s, vh = emit_all("svd", *matrices("scipy.linalg.polar", a), full=False)
    row = insert_axes(s, [s.ndim - 1])
    p = matmul(flipped(vh) * row, vh) if side == "right" else matmul(w * row, flipped(w))
    return matmul(w, vh), p


# -- least squares -----------------------------------------------------------------------------------------------------


@implements(spl.lstsq)
def lstsq(
    a: ArrayLike, b: ArrayLike, cond: Any = None, overwrite_a: bool = False, overwrite_b: bool = False,
    check_finite: bool = True, lapack_driver: Any = None,
) -> tuple[Tracer, Tracer, Tracer, Tracer]:  # fmt: skip
    """As ``np.linalg.lstsq``; the residuals of a vector are a number, as SciPy's."""
    m, v = matrices("scipy.linalg.lstsq", a, b)
    x, residuals, rank, s = least_squares("scipy.linalg.lstsq", m, v, cond, 1, i64)
    if v.ndim == 1 and residuals.dims == (1,):
        residuals = reshape(residuals, ())
    return x, residuals, rank, s


@implements(spl.pinv)
def pinv(
    a: ArrayLike, *, atol: Any = None, rtol: Any = None, return_rank: bool = False, check_finite: bool = True
) -> Any:
    (m,) = matrices("scipy.linalg.pinv", a)
    _no_atol("scipy.linalg.pinv", atol)
    cutoff = _relative("scipy.linalg.pinv", m, rtol)
    inverse = emit("pinv", m, cutoff=cutoff)
    if not return_rank:
        return inverse
    s = svd(m, full_matrices=False)[1]
    return inverse, rank_of(s, max_(s, -1, keepdims=True, initial=0) * cutoff)


@implements(spl.pinvh)
def pinvh(
    a: ArrayLike, atol: Any = None, rtol: Any = None, lower: bool = True, return_rank: bool = False,
    check_finite: bool = True,
) -> Any:  # fmt: skip
    (m,) = square_matrix("scipy.linalg.pinvh", a)
    _no_atol("scipy.linalg.pinvh", atol)
    cutoff, uplo = _relative("scipy.linalg.pinvh", m, rtol), "L" if lower else "U"
    inverse = symmetric_pinv(m, cutoff, uplo)
    if not return_rank:
        return inverse
    size = emit("absolute", numpy_eigh(m, uplo)[0])
    return inverse, rank_of(size, max_(size, -1, keepdims=True, initial=0) * cutoff)


def _relative(function: str, m: Tracer, rtol: Any) -> float:
    """``rtol`` as a number; by default the greater extent times eps."""
    return max(m.dims[-2:]) * float(np.finfo(m.dtype).eps) if rtol is None else cutoff_number(function, "rtol", rtol)


def _no_atol(function: str, atol: Any) -> None:
    if atol is None or (not isinstance(atol, Tracer) and atol == 0):
        return
    raise UnsupportedError(
        f"{function} with atol= is not supported on traced values. What counts as 0 is relative to the greatest "
        "singular value. Give rtol=.",
        user_location(),
    )


# -- eigenvalues, and matrices of a form -------------------------------------------------------------------------------


@implements(spl.eigvalsh)
def eigvalsh(
    a: ArrayLike, b: ArrayLike = None, *, lower: bool = True, overwrite_a: bool = False, overwrite_b: bool = False,
    type: int = 1, check_finite: bool = True, driver: Any = None,
) -> Tracer:  # fmt: skip
    return eigh(a, b, lower=lower, type=type)[0]


@implements(spl.eigh)
def eigh(
    a: ArrayLike, b: ArrayLike = None, *, lower: bool = True, eigvals_only: bool = False, overwrite_a: bool = False,
    overwrite_b: bool = False, type: int = 1, check_finite: bool = True, driver: Any = None,
) -> Any:  # fmt: skip
    """By LAPACK's syevd, whatever ``driver`` says: eigenvectors may have the other sign. Of two matrices by the
    Cholesky factor of the second (G. H. Golub, C. F. Van Loan, Matrix Computations, section 8.7.2)."""
    uplo = "L" if lower else "U"
    if b is None:
        w, v = numpy_eigh(a, uplo)
        return w if eigvals_only else (w, v)
    if type not in (1, 2, 3):
        raise ValueError('"type" keyword only accepts 1, 2, and 3.')
    m, n = square_matrix("scipy.linalg.eigh", a, b)
    factor = emit("cholesky", n if lower else flipped(n))
    m = tril(m) + flipped(tril(m, -1)) if lower else triu(m) + flipped(triu(m, 1))
    if type == 1:
        half = solve_triangular(factor, m, lower=True)
        m = solve_triangular(factor, flipped(half), lower=True)
    else:
        m = matmul(matmul(flipped(factor), m), factor)
    w, v = numpy_eigh(m, "L")
    if eigvals_only:
        return w
    return w, matmul(factor, v) if type == 3 else solve_triangular(factor, v, trans=1, lower=True)


@implements(spl.block_diag)
def block_diag(*arrs: ArrayLike) -> Tracer:
    """A vector is a row."""
    blocks = [atleast_2d(t) for t in lift(*arrs)]
    dtype = common_dtype(*blocks)
    width, at = sum(t.dims[1] for t in blocks), 0
    rows = []
    for t in blocks:
        after = width - at - t.dims[1]
        rows.append(emit("pad", cast(t, dtype), low=(0, at), high=(0, after)) if at or after else cast(t, dtype))
        at += t.dims[1]
    return strong(concatenate(rows, 0))


@implements(spl.toeplitz)
def toeplitz(c: ArrayLike, r: ArrayLike = None) -> Tracer:
    """Of vectors: ``c`` is the first column, ``r`` the first row, by default the same; ``r[0]`` is not read."""
    column, row = lift(c, c if r is None else r)
    column, row = reshape(column, (column.count,)), reshape(row, (row.count,))
    dtype = common_dtype(column, row)
    values = concatenate([cast(column[::-1], dtype), cast(row[1:], dtype)], 0)
    n, m = column.count, row.count
    return strong(windows(values, (n, m), (-1, 1), n - 1))


_SYMMETRIC = "For a symmetric matrix, w, v = eigh(a) gives it: (v * f(w)) @ v.T is f of the matrix."
_COMPLEX = "Its results may be complex, and jitgrad does not compute those."
_RANK = "The shape of its result depends on the rank, which is known only when the program runs."
for _f, _advice in {
    spl.schur: f"{_COMPLEX} Use eigh where the matrix is symmetric.",
    spl.logm: f"{_COMPLEX} {_SYMMETRIC}",
    spl.sqrtm: f"{_COMPLEX} {_SYMMETRIC}",
    spl.null_space: f"{_RANK} With a known rank r take svd(a)[2][r:].T.",
    spl.orth: f"{_RANK} With a known rank r take svd(a, full_matrices=False)[0][:, :r].",
}.items():
    ADVICE[_f] = _advice
