"""Products and linear algebra on traced values."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, NotSquareError, ShapeError
from jitgrad.frontend.einsum import contract
from jitgrad.frontend.functions_reduce import max_, min_
from jitgrad.frontend.primitives import (
    axis_index,
    axis_tuple,
    broadcast_to,
    broadcast_together,
    cast,
    common_dtype,
    constant_like,
    dtype_argument,
    emit,
    emit_all,
    inexact,
    insert_axes,
    lift,
    lift_one,
    matrix_floats,
    move_axis,
    reduce,
    reshape,
    static_int,
    strong,
    transpose,
    where,
)
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.frontend.ufuncs import call_ufunc, resolve
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, i64, is_bfloat16

# -- products ----------------------------------------------------------------------------------------------------------


def _product(a: Tracer, b: Tracer, left: str, right: str, out: str, dtype: Any = None) -> Tracer:
    """A contraction after promotion; bool products are "or of ands"."""
    target = dtype_argument(dtype) or common_dtype(a, b)
    work = i64 if target == bool_ else target
    return cast(contract([left, right], out, [cast(a, work), cast(b, work)]), target)


def _mismatch(function: str, a: Tracer, b: Tracer, why: str) -> ShapeError:
    return ShapeError(
        f"{function} of shapes {a.dims} and {b.dims}. {why} Transpose or reshape one operand.", user_location()
    )


def _batched(function: str, x: ArrayLike, y: ArrayLike, left: str, right: str, out: str, dtype: Any) -> Tracer:
    """A product of the last axes (named by letters), broadcast over the axes before them."""
    a, b = lift(x, y)
    if a.ndim < len(left) or b.ndim < len(right):
        raise _mismatch(function, a, b, f"The operands need {len(left)} and {len(right)} axes.")
    shared = next(c for c in left if c in right)
    n, m = a.dims[a.ndim - len(left) + left.index(shared)], b.dims[b.ndim - len(right) + right.index(shared)]
    if n != m:
        raise _mismatch(function, a, b, f"The axes that are summed have extents {n} and {m}, which must be equal.")
    broadcast_together(a.dims[: a.ndim - len(left)], b.dims[: b.ndim - len(right)])
    if dtype is None and (is_bfloat16(a.dtype) or is_bfloat16(b.dtype)):  # NumPy's loop is another, often float32's
        dtype = resolve(np.matmul, (a.dtype, b.dtype), None)[-1]
    batch = string.ascii_uppercase[: max(a.ndim - len(left), b.ndim - len(right))]
    first, second = batch[len(batch) - (a.ndim - len(left)) :], batch[len(batch) - (b.ndim - len(right)) :]
    return _product(a, b, first + left, second + right, batch + out, dtype)


@implements(np.matmul, np.linalg.matmul)
def matmul(x1: ArrayLike, x2: ArrayLike, /, *, dtype: Any = None) -> Tracer:
    a, b = lift(x1, x2)
    if a.ndim == 0 or b.ndim == 0:
        raise _mismatch("@", a, b, "It takes no scalars; use * for those.")
    left, right = ("k" if a.ndim == 1 else "ik"), ("k" if b.ndim == 1 else "kj")
    return _batched("@", a, b, left, right, left[:-1] + right[1:], dtype)


@implements(np.vecdot, np.linalg.vecdot)
def vecdot(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1, dtype: Any = None) -> Tracer:
    a, b = lift(x1, x2)
    if axis != -1:
        a, b = (move_axis(t, axis_index(axis, t.ndim), t.ndim - 1) for t in (a, b))
    return _batched("np.vecdot", a, b, "k", "k", "", dtype)


@implements(getattr(np, "matvec", None))  # NumPy 2.2
def matvec(x1: ArrayLike, x2: ArrayLike, /, *, dtype: Any = None) -> Tracer:
    return _batched("np.matvec", x1, x2, "ik", "k", "i", dtype)


@implements(getattr(np, "vecmat", None))  # NumPy 2.2
def vecmat(x1: ArrayLike, x2: ArrayLike, /, *, dtype: Any = None) -> Tracer:
    return _batched("np.vecmat", x1, x2, "k", "kj", "j", dtype)


@implements(np.dot)
def dot(a: ArrayLike, b: ArrayLike) -> Tracer:
    x, y = lift(a, b)
    if x.ndim == 0 or y.ndim == 0:
        return call_ufunc(np.multiply, x, y)
    return _tensordot("np.dot", x, y, [x.ndim - 1], [max(y.ndim - 2, 0)])


@implements(np.inner)
def inner(a: ArrayLike, b: ArrayLike, /) -> Tracer:
    x, y = lift(a, b)
    if x.ndim == 0 or y.ndim == 0:
        return call_ufunc(np.multiply, x, y)
    return _tensordot("np.inner", x, y, [x.ndim - 1], [y.ndim - 1])


def _tensordot(function: str, x: Tracer, y: Tracer, xs: Sequence[int], ys: Sequence[int]) -> Tracer:
    if len(xs) != len(ys) or any(x.dims[i] != y.dims[j] for i, j in zip(xs, ys, strict=False)):
        raise _mismatch(function, x, y, f"The axes {tuple(xs)} and {tuple(ys)} that are summed differ in extent.")
    left = list(string.ascii_lowercase[: x.ndim])
    right = list(string.ascii_uppercase[: y.ndim])
    for i, j in zip(xs, ys, strict=True):
        right[j] = left[i]
    out = [c for k, c in enumerate(left) if k not in xs] + [c for k, c in enumerate(right) if k not in ys]
    return _product(x, y, "".join(left), "".join(right), "".join(out))


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: ArrayLike, b: ArrayLike, axes: Any = 2) -> Tracer:
    x, y = lift(a, b)
    if np.ndim(axes) == 0 and not isinstance(axes, (tuple, list)):
        n = static_int(axes, "axes")
        if n > min(x.ndim, y.ndim):
            raise _mismatch("np.tensordot", x, y, f"There are no {n} axes to sum.")
        return _tensordot("np.tensordot", x, y, range(x.ndim - n, x.ndim), range(n))
    first, second = ([k] if np.ndim(k) == 0 else list(k) for k in axes)
    xs, ys = [axis_index(k, x.ndim, "axes") for k in first], [axis_index(k, y.ndim, "axes") for k in second]
    return _tensordot("np.tensordot", x, y, xs, ys)


@implements(np.outer)
def outer(a: ArrayLike, b: ArrayLike) -> Tracer:
    x, y = lift(a, b)
    return call_ufunc(np.multiply, reshape(x, (x.count, 1)), reshape(y, (1, y.count)))


@implements(np.linalg.outer)
def linalg_outer(x1: ArrayLike, x2: ArrayLike, /) -> Tracer:
    a, b = lift(x1, x2)
    if a.ndim != 1 or b.ndim != 1:
        raise _mismatch("np.linalg.outer", a, b, "It takes vectors; np.outer flattens.")
    return outer(a, b)


@implements(np.vdot)
def vdot(a: ArrayLike, b: ArrayLike, /) -> Tracer:
    x, y = lift(a, b)
    return _tensordot("np.vdot", reshape(x, (x.count,)), reshape(y, (y.count,)), [0], [0])


@implements(np.kron)
def kron(a: ArrayLike, b: ArrayLike) -> Tracer:
    x, y = lift(a, b)
    ndim = max(x.ndim, y.ndim)
    xs, ys = (*[1] * (ndim - x.ndim), *x.dims), (*[1] * (ndim - y.ndim), *y.dims)
    left = reshape(x, [e for d in xs for e in (d, 1)])
    right = reshape(y, [e for d in ys for e in (1, d)])
    return reshape(call_ufunc(np.multiply, left, right), [m * n for m, n in zip(xs, ys, strict=True)])


@implements(np.cross)
def cross(
    a: ArrayLike, b: ArrayLike, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Tracer:
    x, y = lift(a, b)
    if axis is not None:
        axisa = axisb = axisc = axis
    x = move_axis(x, axis_index(axisa, x.ndim, "axisa"), x.ndim - 1)
    y = move_axis(y, axis_index(axisb, y.ndim, "axisb"), y.ndim - 1)
    if x.dims[-1] not in (2, 3) or y.dims[-1] not in (2, 3):
        raise _mismatch("np.cross", x, y, "Vectors must have 2 or 3 components.")

    def component(t: Tracer, k: int) -> Any:
        return t[..., k] if k < t.dims[-1] else None

    def minor(i: int, j: int) -> Tracer:
        """``x_i y_j - x_j y_i``, where a missing third component is zero."""
        xi, xj, yi, yj = component(x, i), component(x, j), component(y, i), component(y, j)
        first = None if xi is None or yj is None else xi * yj
        second = None if xj is None or yi is None else xj * yi
        if first is None or second is None:
            return first if first is not None else -second  # pyright: ignore[reportOptionalOperand, reportReturnType]
        return first - second

    if x.dims[-1] == y.dims[-1] == 2:
        return minor(0, 1)
    parts = [minor(1, 2), minor(2, 0), minor(0, 1)]
    shape = broadcast_together(*(p.dims for p in parts))
    joined = emit("concatenate", *(insert_axes(broadcast_to(p, shape), [len(shape)]) for p in parts), axis=len(shape))
    return move_axis(joined, joined.ndim - 1, axis_index(axisc, joined.ndim, "axisc"))


@implements(np.linalg.cross)
def linalg_cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Tracer:
    return cross(x1, x2, axis=axis)


# -- norms -------------------------------------------------------------------------------------------------------------


@implements(np.linalg.norm)
def norm(x: ArrayLike, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tracer:
    """Vector norms of any order; matrix norms fro, nuc, 2, -2, 1, -1, inf and -inf. The derivative at 0 is 0."""
    t = inexact(lift_one(x))
    if axis is None:
        if ord is None or (t.ndim == 2 and ord in ("f", "fro")) or (t.ndim == 1 and ord == 2):
            out = emit("safe_sqrt", reduce("sum", emit("square", t), range(t.ndim)))
            return reshape(out, (1,) * t.ndim) if keepdims else out
        axes = tuple(range(t.ndim))
    else:
        axes = tuple(axis_index(k, t.ndim) for k in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(axes) == 1:
        return _vector_norm(t, ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(t, ord, axes, keepdims)
    raise ArgumentError(
        f"np.linalg.norm with ord={ord!r} over {len(axes)} axes. A norm with an order takes one or two. Give axis=.",
        user_location(),
    )


def _vector_norm(t: Tracer, order: Any, axes: tuple[int, ...], keepdims: bool) -> Tracer:
    size = emit("absolute", t)
    if order is None or order == 2:
        return emit("safe_sqrt", reduce("sum", emit("square", t), axes, keepdims))
    if isinstance(order, str):
        raise ArgumentError(f"np.linalg.norm: {order!r} is no order of a vector norm. Use a number.", user_location())
    if order == np.inf:
        empty = 0 in [t.dims[k] for k in axes]
        return max_(size, axes, keepdims=keepdims, initial=0 if empty else None)
    if order == -np.inf:
        return min_(size, axes, keepdims=keepdims)
    if order == 0:
        return reduce("sum", cast(cast(t, bool_), t.dtype), axes, keepdims)
    if order == 1:
        return reduce("sum", size, axes, keepdims)
    total = reduce("sum", emit("power", size, constant_like(t, order)), axes, keepdims)
    root = emit("power", total, constant_like(t, 1.0 / order))
    # At 0 the root has an infinite derivative; the select turns it off.
    return where(emit("equal", total, constant_like(t, 0.0)), total, root) if order > 0 else root


def _matrix_norm(t: Tracer, order: Any, axes: tuple[int, ...], keepdims: bool) -> Tracer:
    rows, columns = axes
    if rows == columns:
        raise ArgumentError("np.linalg.norm got the same axis twice. Give two axes.", user_location())
    if order in (None, "fro", "f"):
        return emit("safe_sqrt", reduce("sum", emit("square", t), axes, keepdims))
    if order in (2, -2, "nuc") and 1 in (t.dims[rows], t.dims[columns]):  # it has one singular value
        size = emit("safe_sqrt", reduce("sum", emit("square", t), axes, keepdims))
        infinite = reduce("any", emit("isinf", t), axes, keepdims)
        return where(infinite, constant_like(t, np.nan), size)  # what LAPACK makes of it
    if order in (1, -1, np.inf, -np.inf):
        along, other = (rows, columns) if order in (1, -1) else (columns, rows)
        sums = reduce("sum", emit("absolute", t), [along], keepdims=True)
        extreme = max_ if order > 0 else min_
        empty = order > 0 and t.dims[other] == 0
        out = extreme(sums, (other,), keepdims=True, initial=0 if empty else None)
        return out if keepdims else reshape(out, [d for k, d in enumerate(t.dims) if k not in axes])
    if order in (2, -2, "nuc"):
        return _spectral_norm(t, order, axes, keepdims)
    raise ArgumentError(
        f"np.linalg.norm: {order!r} is no order of a matrix norm. Use 'fro', 'nuc', 2, -2, 1, -1, np.inf or -np.inf.",
        user_location(),
    )


def _spectral_norm(t: Tracer, order: Any, axes: tuple[int, ...], keepdims: bool) -> Tracer:
    """The greatest (2) or least (-2) singular value, or the sum of all ("nuc")."""
    last = transpose(t, [*(k for k in range(t.ndim) if k not in axes), *axes])
    s = emit("absolute", emit_all("svd", last, full=False)[1])  # its derivative at 0 is 0
    if order == "nuc":
        out = reduce("sum", s, [s.ndim - 1])
    else:
        extreme = max_ if order == 2 else min_
        out = extreme(s, (s.ndim - 1,), initial=0 if order == 2 and s.dims[-1] == 0 else None)
    return reshape(out, [1 if k in axes else d for k, d in enumerate(t.dims)]) if keepdims else out


@implements(np.linalg.vector_norm)
def vector_norm(x: ArrayLike, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tracer:
    t = inexact(lift_one(x))
    axes = axis_tuple(axis, t.ndim)
    return _vector_norm(t, ord, axes, keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: ArrayLike, /, *, keepdims: bool = False, ord: Any = "fro") -> Tracer:
    t = inexact(lift_one(x))
    return _matrix_norm(t, ord, (t.ndim - 2, t.ndim - 1), keepdims)


# -- systems and factorisations ----------------------------------------------------------------------------------------


def square_matrix(function: str, *operands: ArrayLike) -> list[Tracer]:
    """Operands as floats of one dtype, the first a (stack of) square matrices. Raises NotSquareError."""
    tracers = matrix_floats(function, *operands)
    shape = tracers[0].dims
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise NotSquareError(
            f"{function} of an array of shape {shape}. The last two axes must be a square matrix. Check the shape.",
            user_location(),
        )
    return tracers


@implements(np.linalg.solve)
def solve(a: ArrayLike, b: ArrayLike) -> Tracer:
    """As NumPy 2: a one-dimensional b is one vector, otherwise b is a (stack of) matrices."""
    m, v = square_matrix("np.linalg.solve", a, b)
    return solve_system("solve", m, v, "np.linalg.solve")


def solve_system(op: str, m: Tracer, v: Tracer, function: str, **attrs: Any) -> Tracer:
    """``op(m, v)`` for a vector or a (stack of) matrices, batches broadcast. Raises ShapeError."""
    if v.ndim == 0 or v.dims[-2 if v.ndim > 1 else 0] != m.dims[-1]:
        raise _mismatch(function, m, v, f"The right-hand side needs {m.dims[-1]} rows.")
    right = reshape(v, (v.dims[0], 1)) if v.ndim == 1 else v
    batch = broadcast_together(m.dims[:-2], right.dims[:-2])
    out = emit(op, m, broadcast_to(right, (*batch, *right.dims[-2:])), **attrs)
    return reshape(out, out.dims[:-1]) if v.ndim == 1 else out


@implements(np.linalg.inv)
def inv(a: ArrayLike) -> Tracer:
    return emit("inv", *square_matrix("np.linalg.inv", a))


@implements(np.linalg.det)
def det(a: ArrayLike) -> Tracer:
    return emit("det", *square_matrix("np.linalg.det", a))


@implements(np.linalg.slogdet)
def slogdet(a: ArrayLike) -> Any:
    sign, logdet = emit_all("slogdet", *square_matrix("np.linalg.slogdet", a))
    kind = type(np.linalg.slogdet(np.eye(1)))  # the named tuple is not public
    return kind(sign, logdet)


@implements(np.linalg.cholesky)
def cholesky(a: ArrayLike, /, *, upper: bool = False) -> Tracer:
    (m,) = square_matrix("np.linalg.cholesky", a)
    swapped = (*range(m.ndim - 2), m.ndim - 1, m.ndim - 2)
    if not upper:
        return emit("cholesky", m)
    # NumPy reads the upper triangle then.
    return transpose(emit("cholesky", transpose(m, swapped)), swapped)


@implements(np.linalg.matrix_power)
def matrix_power(a: ArrayLike, n: int) -> Tracer:
    n = static_int(n, "n")
    x = lift_one(a)
    if x.ndim < 2 or x.dims[-1] != x.dims[-2]:
        square_matrix("np.linalg.matrix_power", x)
    if n == 0:
        return strong(broadcast_to(x.owner.lift(np.eye(x.dims[-1], dtype=x.dtype)), x.dims))
    if n < 0:
        x, n = inv(x), -n
    result: Tracer | None = None
    while True:
        if n & 1:
            result = x if result is None else matmul(result, x)
        n >>= 1
        if not n:
            return result if result is not None else x
        x = matmul(x, x)


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Any) -> Tracer:
    """The chain product in the cheapest order (by dynamic programming, as NumPy)."""
    tracers = lift(*arrays)
    if len(tracers) < 2:
        raise ArgumentError("np.linalg.multi_dot of fewer than two arrays. Pass at least two.", user_location())
    if len(tracers) == 2:
        return dot(*tracers)
    for k, t in enumerate(tracers):
        if t.ndim != 2 and not (t.ndim == 1 and k in (0, len(tracers) - 1)):
            raise ShapeError(
                f"np.linalg.multi_dot of an array of shape {t.dims} at position {k}. It takes matrices; only the "
                "first and the last may be vectors. Use np.matmul for stacks of matrices.",
                user_location(),
            )
    first, last = tracers[0].ndim == 1, tracers[-1].ndim == 1
    if first:
        tracers[0] = insert_axes(tracers[0], [0])
    if last:
        tracers[-1] = insert_axes(tracers[-1], [1])
    out = _chain(tracers, _splits([t.dims[0] for t in tracers] + [tracers[-1].dims[1]]), 0, len(tracers) - 1)
    drop = ([0] if first else []) + ([1] if last else [])
    return reshape(out, [d for k, d in enumerate(out.dims) if k not in drop])


def _splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to split each subchain. Cormen et al., Introduction to Algorithms, matrix-chain multiplication."""
    n = len(sizes) - 1
    cost = {(k, k): 0 for k in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = [(cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i, j], split[i, j] = min(options)
    return split


def _chain(tracers: Sequence[Tracer], split: dict[tuple[int, int], int], i: int, j: int) -> Tracer:
    if i == j:
        return tracers[i]
    k = split[i, j]
    return matmul(_chain(tracers, split, i, k), _chain(tracers, split, k + 1, j))


@implements(np.linalg.eigh)
def eigh(a: ArrayLike, UPLO: str = "L") -> Any:
    w, v = emit_all("eigh", _half(a, UPLO))
    kind: Any = type(np.linalg.eigh(np.eye(1)))  # the named tuple is not public
    return kind(w, v)


@implements(np.linalg.eigvalsh)
def eigvalsh(a: ArrayLike, UPLO: str = "L") -> Tracer:
    return emit_all("eigh", _half(a, UPLO))[0]


def _half(a: ArrayLike, uplo: str) -> Tracer:
    """The matrix with what is read of it in the lower triangle."""
    (m,) = square_matrix("np.linalg.eigh", a)
    if str(uplo).upper() not in ("L", "U"):
        raise ArgumentError(f"np.linalg.eigh got UPLO={uplo!r}. Use 'L' or 'U'.", user_location())
    return m if str(uplo).upper() == "L" else transpose(m, (*range(m.ndim - 2), m.ndim - 1, m.ndim - 2))
