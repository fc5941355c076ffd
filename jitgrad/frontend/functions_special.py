"""Functions of scipy.special and scipy.linalg that do not dispatch, on traced values."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg as spl
import scipy.special as sps

from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.frontend.functions_linalg import eigh as numpy_eigh
from jitgrad.frontend.functions_linalg import norm as numpy_norm
from jitgrad.frontend.functions_linalg import solve_system, square_matrix
from jitgrad.frontend.functions_reduce import max_, sum_
from jitgrad.frontend.functions_shape import atleast_2d
from jitgrad.frontend.primitives import (
    axis_tuple,
    broadcast_to,
    broadcast_together,
    cast,
    common_dtype,
    concatenate,
    constant_like,
    emit,
    floating,
    floats,
    lift,
    lift_one,
    reshape,
    strong,
    transpose,
    where,
)
from jitgrad.frontend.registry import ADVICE, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.ir.location import user_location

# -- scipy.special -----------------------------------------------------------------------------------------------------


def _shift(x: Tracer, axes: tuple[int, ...]) -> Tracer:
    """The maximum, without derivative: subtracting it changes the rounding, not the function. Finite always."""
    m = emit("stop_gradient", max_(x, axes, keepdims=True, initial=-np.inf if 0 in x.dims else None))
    return where(emit("isfinite", m), m, constant_like(m, 0.0))


@implements(sps.logsumexp)
def logsumexp(
    a: ArrayLike, axis: Any = None, b: ArrayLike = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """``log(sum(b * exp(a)))``, shifted by the maximum. A row that is all -inf gives -inf, with gradient 0."""
    if b is None:
        x, weights = floating(lift_one(a)), None
    else:
        x, weights = floats(a, b)
        shape = broadcast_together(x.dims, weights.dims)
        x, weights = broadcast_to(x, shape), broadcast_to(weights, shape)
        # Where the weight is zero the exponent may be infinite, and 0 * inf is NaN.
        x = where(emit("equal", weights, constant_like(weights, 0.0)), constant_like(x, -np.inf), x)
    axes = axis_tuple(axis, x.ndim)
    shift = _shift(x, axes)
    terms = emit("exp", emit("subtract", x, shift))
    total = sum_(terms if weights is None else emit("multiply", terms, weights), axes, keepdims=True)
    zero = constant_like(total, 0.0)
    sign = emit("sign", total)
    size = emit("absolute", total) if return_sign else total
    # log has an infinite derivative at 0; the select turns it off for rows that are all -inf.
    out = where(emit("equal", size, zero), constant_like(total, -np.inf), emit("log", size))
    out = emit("add", out, shift)
    if not keepdims:
        shape = [d for k, d in enumerate(x.dims) if k not in axes]
        out, sign = reshape(out, shape), reshape(sign, shape)
    return (out, sign) if return_sign else out


@implements(sps.softmax)
def softmax(x: ArrayLike, axis: Any = None) -> Tracer:
    t = floating(lift_one(x))
    axes = axis_tuple(axis, t.ndim)
    e = emit("exp", emit("subtract", t, emit("stop_gradient", max_(t, axes, keepdims=True))))
    return emit("divide", e, sum_(e, axes, keepdims=True))


@implements(sps.log_softmax)
def log_softmax(x: ArrayLike, axis: Any = None) -> Tracer:
    t = floating(lift_one(x))
    axes = axis_tuple(axis, t.ndim)
    shifted = emit("subtract", t, _shift(t, axes))
    return emit("subtract", shifted, emit("log", sum_(emit("exp", shifted), axes, keepdims=True)))


@implements(sps.polygamma)
def polygamma(n: Any, x: ArrayLike) -> Tracer:
    """Orders 0 to 4."""
    if np.ndim(n) or n not in range(5):
        raise UnsupportedError(
            f"scipy.special.polygamma of order {n!r} is not supported on traced values. Only orders 0 to 4 are. "
            "Compute it outside the traced function.",
            user_location(),
        )
    # SciPy computes it in float64 whatever the argument.
    op = {0: "digamma", 1: "trigamma"}.get(int(n), f"polygamma{int(n)}")
    return emit(op, cast(lift_one(x), np.float64))


@implements(sps.multigammaln)  # pyright: ignore[reportAttributeAccessIssue]
def multigammaln(a: ArrayLike, d: Any) -> Tracer:
    """The logarithm of the gamma function of dimension ``d``."""
    t = floating(lift_one(a))
    total = constant_like(t, 0.25 * d * (d - 1) * np.log(np.pi))
    for k in range(int(d)):
        total = emit("add", total, emit("gammaln", emit("subtract", t, constant_like(t, 0.5 * k))))
    return total


@implements(np.i0)
def i0(x: ArrayLike) -> Tracer:
    return emit("i0", floating(lift_one(x)))


if hasattr(sps, "softplus"):

    @implements(sps.softplus)
    def softplus(x: ArrayLike) -> Tracer:
        return emit("softplus", floating(lift_one(x)))


# -- scipy.linalg ------------------------------------------------------------------------------------------------------


def _swapped(x: Tracer) -> Tracer:
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


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
    return solve_system("solve", _swapped(m) if transposed else m, v, "scipy.linalg.solve")


@implements(spl.cholesky)
def cholesky(a: ArrayLike, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Tracer:
    """The upper factor unless ``lower``, read from that half, as SciPy does."""
    (m,) = square_matrix("scipy.linalg.cholesky", a)
    return emit("cholesky", m) if lower else _swapped(emit("cholesky", _swapped(m)))


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


@implements(spl.eigvalsh)
def eigvalsh(
    a: ArrayLike, b: ArrayLike = None, *, lower: bool = True, overwrite_a: bool = False, overwrite_b: bool = False,
    check_finite: bool = True, driver: Any = None,
) -> Tracer:  # fmt: skip
    return eigh(a, b, lower=lower)[0]


@implements(spl.eigh)
def eigh(
    a: ArrayLike, b: ArrayLike = None, *, lower: bool = True, eigvals_only: bool = False, overwrite_a: bool = False,
    overwrite_b: bool = False, check_finite: bool = True, driver: Any = None,
) -> Any:  # fmt: skip
    """By LAPACK's syevd, whatever ``driver`` says: eigenvectors may have the other sign."""
    if b is not None:
        raise UnsupportedError(
            "scipy.linalg.eigh of two matrices is not supported on traced values. Solved for the Cholesky factor of "
            "the second one on both sides, it is a problem of one matrix.",
            user_location(),
        )
    w, v = numpy_eigh(a, "L" if lower else "U")
    return w if eigvals_only else (w, v)


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
    return strong(values[np.arange(n - 1, -1, -1)[:, None] + np.arange(m)])


for _f in (spl.eig, spl.eigvals, spl.svd, spl.qr, spl.lu, spl.lu_factor, spl.lu_solve,
           spl.schur, spl.expm, spl.logm, spl.sqrtm, spl.pinv, spl.lstsq):  # fmt: skip
    ADVICE[_f] = "It is not supported yet. Use eigh, solve, cholesky, solve_triangular, inv or det where they will do."
