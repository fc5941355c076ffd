"""QR, singular values and what is made of them, on traced values: ``np.linalg.svd``, ``pinv``, ``lstsq``, ``cond``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.functions_index import take_along_axis
from jitgrad.frontend.functions_linalg import eigh, eigvalsh, inv, matmul, norm, solve
from jitgrad.frontend.functions_reduce import any_, argsort, count_nonzero, max_, sort
from jitgrad.frontend.primitives import (
    axis_index,
    cast,
    constant_like,
    emit,
    emit_all,
    full,
    inexact,
    insert_axes,
    lift_one,
    matrix_floats,
    reduce,
    reshape,
    static_int,
    transpose,
    where,
)
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import i64


def flipped(x: Tracer) -> Tracer:
    """The transposed matrices."""
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def matrices(function: str, *operands: ArrayLike) -> list[Tracer]:
    """Operands as floats of one dtype, the first a (stack of) matrices of known extents. Raises ShapeError and
    UnsupportedError."""
    tracers = matrix_floats(function, *operands)
    shape = tracers[0].dims
    if len(shape) < 2:
        raise ShapeError(
            f"{function} of an array of shape {shape}. It takes matrices in the last two axes. Reshape the array.",
            user_location(),
        )
    if not all(isinstance(d, int) for d in shape[-2:]):
        raise UnsupportedError(
            f"{function} of an array of shape {shape}, an extent of which depends on traced values. Factorizations are "
            "compiled for one shape. Pad the array with zeros to a known extent.",
            user_location(),
        )
    return tracers


def cutoff_number(function: str, name: str, value: Any) -> float:
    """The relative size below which a singular value counts as 0. Raises UnsupportedError for a traced one."""
    if isinstance(value, Tracer) or np.ndim(value) != 0:
        raise UnsupportedError(
            f"{function} on traced values with {name}={value!r}. The rank that it decides is part of the derivative's "
            f"formula, so it must be one number that is known while the function is traced. Give {name} a float.",
            user_location(),
        )
    return float(value)


# -- singular values ---------------------------------------------------------------------------------------------------


@implements(np.linalg.svd)
def svd(a: ArrayLike, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """Computed in the dtype of ``a``, where NumPy computes in float64. ``hermitian`` reads the lower triangle."""
    if hermitian:
        u, s, vh = _symmetric_svd(a, compute_uv)
    else:
        u, s, vh = emit_all("svd", *matrices("np.linalg.svd", a), full=bool(full_matrices))
    if not compute_uv:
        return s
    kind: Any = type(np.linalg.svd(np.eye(1)))  # the named tuple is not public
    return kind(u, s, vh)


def _symmetric_svd(a: ArrayLike, vectors: bool) -> tuple[Any, Tracer, Any]:
    """From eigenvalues, as NumPy does it."""
    if not vectors:
        return None, sort(emit("absolute", eigvalsh(a)))[..., ::-1], None
    w, u = eigh(a)
    sign = call_ufunc(np.copysign, 1.0, w)
    order = argsort(emit("absolute", w))[..., ::-1]
    sign, s = (take_along_axis(x, order, axis=-1) for x in (sign, emit("absolute", w)))
    u = take_along_axis(u, insert_axes(order, [order.ndim - 1]), axis=-1)
    return u, s, flipped(u * insert_axes(sign, [sign.ndim - 1]))


@implements(np.linalg.svdvals)
def svdvals(x: ArrayLike, /) -> Tracer:
    return svd(x, compute_uv=False)


@implements(np.linalg.pinv)
def pinv(a: ArrayLike, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Tracer:  # pyright: ignore[reportAttributeAccessIssue]
    """The cutoff is a number. Where none is given it is NumPy's 1e-15 in float64, and ``max(m, n) * eps`` in float32,
    in which NumPy does not compute."""
    (m,) = matrices("np.linalg.pinv", a)
    if rcond is not None and rtol is not np._NoValue:  # pyright: ignore[reportAttributeAccessIssue]
        raise ArgumentError("np.linalg.pinv got both rcond and rtol. They mean the same. Give one.", user_location())
    smallest = max(m.dims[-2:]) * float(np.finfo(m.dtype).eps)
    if rcond is None:
        plain = 1e-15 if m.dtype == np.float64 else smallest
        rcond = plain if rtol is np._NoValue else smallest if rtol is None else rtol  # pyright: ignore[reportAttributeAccessIssue]
    cutoff = cutoff_number("np.linalg.pinv", "rcond", rcond)
    return symmetric_pinv(m, cutoff) if hermitian else emit("pinv", m, cutoff=cutoff)


def symmetric_pinv(a: Tracer, cutoff: float, uplo: str = "L") -> Tracer:
    """The pseudo-inverse of symmetric matrices, of which one triangle is read."""
    w, v = eigh(a, uplo)
    size = emit("absolute", w)
    large = call_ufunc(np.greater, size, max_(size, -1, keepdims=True, initial=0) * cutoff)
    one, zero = constant_like(w, 1.0), constant_like(w, 0.0)
    inverse = where(large, emit("divide", one, where(large, w, one)), zero)
    return matmul(v * insert_axes(inverse, [w.ndim - 1]), flipped(v))


def rank_of(s: Tracer, tol: Any) -> Tracer:
    """How many of the singular values in the last axis are greater than ``tol``."""
    return count_nonzero(call_ufunc(np.greater, s, tol), axis=s.ndim - 1)


@implements(np.linalg.matrix_rank)
def matrix_rank(A: ArrayLike, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Tracer:
    if tol is not None and rtol is not None:
        raise ArgumentError("np.linalg.matrix_rank got both tol and rtol. Give one of them.", user_location())
    x = lift_one(A, tol, rtol)
    if x.ndim < 2:
        return cast(any_(call_ufunc(np.not_equal, x, 0)), i64)
    s = svd(x, compute_uv=False, hermitian=hermitian)
    if tol is not None:
        return rank_of(s, insert_axes(lift_one(tol, s), [np.ndim(tol)]))
    if rtol is None:
        rtol = max(x.dims[-2:]) * float(np.finfo(s.dtype).eps)
    relative = insert_axes(lift_one(rtol, s), [np.ndim(rtol)])
    return rank_of(s, cast(relative, s.dtype) * max_(s, -1, keepdims=True, initial=0))


@implements(np.linalg.cond)
def cond(x: ArrayLike, p: Any = None) -> Tracer:
    """Of an exactly singular matrix it is inf for ``p`` None, 2 and -2; for the others the inverse raises
    LinAlgError, where NumPy returns inf."""
    (m,) = matrices("np.linalg.cond", x)
    if 0 in m.dims[-2:]:
        raise ShapeError(
            f"np.linalg.cond of an array of shape {m.dims}. It is not defined for empty matrices. Check the shape.",
            user_location(),
        )
    if p is None or p in (2, -2):
        s = svd(m, compute_uv=False)
        first, last = s[..., 0], s[..., -1]
        out = emit("divide", last, first) if p == -2 else emit("divide", first, last)
    else:
        out = norm(m, p, (-2, -1)) * norm(inv(m), p, (-2, -1))
    had_nan = any_(emit("isnan", m), axis=(m.ndim - 2, m.ndim - 1))
    undefined = emit("logical_and", emit("isnan", out), emit("logical_not", had_nan))
    return where(undefined, constant_like(out, np.inf), out)


# -- least squares and systems -----------------------------------------------------------------------------------------


@implements(np.linalg.lstsq)
def lstsq(a: ArrayLike, b: ArrayLike, rcond: Any = None) -> tuple[Tracer, Tracer, Tracer, Tracer]:
    """``(x, residuals, rank, s)``, with x the shortest of the solutions, by the pseudo-inverse.

    ``residuals`` has the squared norm of each column of ``b - a x`` where a has more rows than columns. NumPy leaves it
    empty where the rank is lower than that too; here the rank is known only when the program runs.
    """
    m, v = matrices("np.linalg.lstsq", a, b)
    return least_squares("np.linalg.lstsq", m, v, rcond, max(m.dims), np.dtype(np.int32))


def least_squares(
    function: str, m: Tracer, v: Tracer, rcond: Any, multiple: int, rank_dtype: np.dtype
) -> tuple[Tracer, Tracer, Tracer, Tracer]:
    """As :func:`lstsq`. Singular values below ``rcond`` times the greatest are 0; by default ``multiple`` times eps."""
    if m.ndim != 2 or v.ndim not in (1, 2) or v.dims[0] != m.dims[0]:
        raise ShapeError(
            f"{function} of arrays of shapes {m.dims} and {v.dims}. It takes one matrix and a right-hand side of as "
            "many rows, a vector or a matrix. Use np.linalg.pinv(a) @ b for stacks.",
            user_location(),
        )
    eps = float(np.finfo(m.dtype).eps)
    cutoff = eps * multiple if rcond is None else cutoff_number(function, "rcond", rcond)
    cutoff = eps if cutoff < 0 else cutoff
    rows, columns = m.dims
    x = matmul(emit("pinv", m, cutoff=cutoff), v)
    _, s, _ = emit_all("svd", m, full=False)
    rank = rank_of(s, max_(s, -1, keepdims=True, initial=0) * cutoff)
    if rows <= columns:
        return x, full(m, (0,), 0.0), cast(rank, rank_dtype), s
    squares = reduce("sum", emit("square", v - matmul(m, x)), [0])
    return x, squares if v.ndim == 2 else reshape(squares, (1,)), cast(rank, rank_dtype), s


@implements(np.linalg.tensorsolve)
def tensorsolve(a: ArrayLike, b: ArrayLike, axes: Any = None) -> Tracer:
    m, v = matrix_floats("np.linalg.tensorsolve", a, b)
    order = list(range(m.ndim))
    for axis in () if axes is None else axes:
        k = axis_index(axis, m.ndim, "axes")
        order.remove(k)
        order.append(k)
    m = transpose(m, order)
    shape = m.dims[v.ndim :]
    n = math.prod(shape)
    if m.count != n * n or v.count != n:
        raise ShapeError(
            f"np.linalg.tensorsolve of shapes {m.dims} and {v.dims}. The axes of a that b has and the others must have "
            "as many elements. Check the shapes, or give axes=.",
            user_location(),
        )
    return reshape(solve(reshape(m, (n, n)), reshape(v, (n,))), shape)


@implements(np.linalg.tensorinv)
def tensorinv(a: ArrayLike, ind: int = 2) -> Tracer:
    x, ind = inexact(lift_one(a)), static_int(ind, "ind")
    if ind <= 0:
        raise ArgumentError(f"np.linalg.tensorinv got ind={ind}. It must be at least 1.", user_location())
    n = math.prod(x.dims[ind:])
    if n * n != x.count:
        raise ShapeError(
            f"np.linalg.tensorinv of an array of shape {x.dims} with ind={ind}. The first {ind} axes and the others "
            "must have as many elements. Give another ind.",
            user_location(),
        )
    return reshape(inv(reshape(x, (n, n))), (*x.dims[ind:], *x.dims[:ind]))


# -- QR ----------------------------------------------------------------------------------------------------------------


@implements(np.linalg.qr)
def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(
            f"np.linalg.qr on traced values got mode={mode!r}. Use 'reduced', 'complete' or 'r'.", user_location()
        )
    q, r = emit_all("qr", *matrices("np.linalg.qr", a), full=mode == "complete")
    if mode == "r":
        return r
    kind: Any = type(np.linalg.qr(np.eye(1)))  # the named tuple is not public
    return kind(q, r)
