"""Linear algebra on stacks of square matrices: cholesky, solve, triangular_solve, inv, det, slogdet, adjugate.

The matrix axes are the last two; the axes before them are the stack. In ``solve`` and ``triangular_solve`` the stacks
of the two operands broadcast. The dtype is float32 or float64. LU factors of one matrix are computed once in a program,
however many of these ops (those of the derivatives included) need them; small matrices (``small_matrices``) are
factorized where they are used.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, NotSquareError, ShapeError
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType, broadcast_shapes, i64
from jitgrad.ops import small_matrices as small
from jitgrad.ops.checks import check_float, check_static
from jitgrad.ops.op import OpRule, Sample, Var, apply, full_like, register, unbroadcast
from jitgrad.ops.products import einsum

#: Orders up to this have their determinant written out: exact where it is 0, and differentiable there any number of
#: times.
WRITTEN_OUT = 3

#: Columns of workspace, as many as LAPACK takes at a time.
WORK_COLUMNS = 64

_i32 = np.dtype(np.int32)


def check_square(name: str, a: TensorType) -> None:
    """Raise a ShapeError or DtypeError unless ``a`` is a stack of square float matrices, and an UnsupportedError unless
    their order is known."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise NotSquareError(
            f"{name} got an array of shape {tuple(a.shape)}. It takes square matrices in the last two axes. "
            "Reshape or slice the array.",
            user_location(),
        )
    check_float(name, a)
    check_static(name, a.shape[-2:], "Factorizations")


def check_system(name: str, a: TensorType, b: TensorType) -> TensorType:
    """The type of the solution of ``a x = b``; raises a ShapeError or DtypeError where they do not fit."""
    check_square(name, a)
    if a.dtype != b.dtype:
        raise DtypeError(f"{name} of {a.dtype} and {b.dtype}. Both operands have one dtype in the IR. Insert a cast.")
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(
            f"{name} got shapes {tuple(a.shape)} and {tuple(b.shape)}. The right side needs as many rows as the "
            "matrix. Transpose or reshape it.",
            user_location(),
        )
    stack = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return TensorType(a.dtype, (*stack, *b.shape[-2:]))


# Helpers for derivative rules


def transposed(x: Var) -> Var:
    """The last two axes exchanged."""
    n = x.ndim
    return apply("transpose", x, perm=(*range(n - 2), n - 1, n - 2))


def stack_letters(count: int) -> str:
    """Letters for the axes of a stack in an einsum spec."""
    return string.ascii_uppercase[:count]


def matmul(x: Var, y: Var, tx: bool = False, ty: bool = False) -> Var:
    """Matrix product of two stacks that broadcast by rank and extent; ``tx`` and ``ty`` transpose an operand."""
    stack = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (v if v.shape[:-2] == stack else apply("broadcast_to", v, shape=(*stack, *v.shape[-2:])) for v in (x, y))
    z = stack_letters(len(stack))
    return einsum(f"{z}{'ki' if tx else 'ik'},{z}{'jk' if ty else 'kj'}->{z}ij", x, y)


def iota(x: Var, shape: tuple[int, ...], axis: int) -> Var:
    """int64 indices along one axis, in x's graph."""
    return Var(x.b, x.b.emit("iota", shape=shape, axis=axis, dtype=i64))


def triangle(x: Var, lower: bool, strict: bool = False) -> Var:
    """The matrices with zeros outside a triangle; ``strict`` leaves the diagonal out too."""
    shape = x.shape[-2:]
    row, col = iota(x, shape, 0), iota(x, shape, 1)  # pyright: ignore[reportArgumentType]
    big, small = (row, col) if lower else (col, row)
    return apply("where", big > small if strict else big >= small, x, 0)


def half_diagonal(x: Var) -> Var:
    """The lower triangle with the diagonal halved."""
    shape = x.shape[-2:]
    on_diagonal = iota(x, shape, 0).eq(iota(x, shape, 1))  # pyright: ignore[reportArgumentType]
    return apply("where", on_diagonal, x * 0.5, triangle(x, lower=True, strict=True))


def over_matrix(g: Var, like: Var) -> Var:
    """A value for each matrix, repeated over its elements."""
    return apply("broadcast_to", apply("reshape", g, shape=(*g.shape, 1, 1)), shape=like.shape)


def contract(x: Var, y: Var, transpose: bool = False) -> Var:
    """The sum of products of the elements of two matrices, ``sum x[i, j] y[i, j]`` (or ``y[j, i]``), for each of the
    stack."""
    z = stack_letters(x.ndim - 2)
    return einsum(f"{z}ij,{z}{'ji' if transpose else 'ij'}->{z}", x, y)


# Helpers for lowering


def lu_factors(b: Any, a: Any) -> tuple[Any, Any]:
    """``(lu, pivots)`` of a stack of matrices, by ``getrf``, each matrix column-major.

    A builder remembers what it has factored: the op and its derivative share the factors. The key is the buffer in its
    present state, and the block, in which the first use comes before the others.
    """
    key = "lu", b.state(a)
    if key not in b.known:
        # The transpose, so that LAPACK, which reads by columns, pivots as NumPy does.
        lu = b.pointwise(a.shape, a.dtype, lambda *i: a[(*i[:-2], i[-1], i[-2])])
        pivots = b.empty(a.shape[:-1], _i32)
        b.libcall("getrf", [lu, pivots], [lu], n=a.shape[-1], count=math.prod(a.shape[:-2]))
        b.known[key] = lu, pivots
    return b.known[key]


def stack_strides(stack: Sequence[int], batch: Sequence[int]) -> tuple[int, ...]:
    """For each axis of ``batch``, how far apart (in matrices) its items are in ``stack``, which broadcasts to it."""
    strides, step = [0] * len(batch), 1
    for k in range(1, len(stack) + 1):
        if stack[-k] != 1:
            strides[-k] = step
            step *= stack[-k]
    return tuple(strides)


def broadcast_copy(b: Any, t: Any, shape: Sequence[int]) -> Any:
    """A mutable copy, repeated over the stack where ``shape`` is larger."""
    return b.copy(t) if tuple(shape) == t.shape else b.pointwise(shape, t.dtype, lambda *i: t.at(i))


def matrices(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Well-conditioned random matrices."""
    return rng.standard_normal(shape) + 3.0 * np.eye(shape[-2], shape[-1])


def _positive(rng: np.random.Generator, *shape: int) -> np.ndarray:
    a = rng.standard_normal(shape)
    return a @ np.swapaxes(a, -1, -2) + np.eye(shape[-1])


@register
class Cholesky(OpRule):
    """``cholesky(a)``: lower triangular L with ``a = L L^T``. Reads the lower triangle of ``a`` only; LinAlgError at
    run time where ``a`` is not positive definite.

    The derivative is that of the symmetric matrix: the cotangent is symmetric, half of an off-diagonal entry's on
    either side, and a tangent is symmetrised first. (S. F. Smith's rule in the form of I. Murray, arXiv:1602.07527.)
    """

    name = "cholesky"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        # Not for the gradient check: moving one entry alone leaves the symmetric matrices, where the rule holds.
        shapes = ((3, 3), (2, 4, 4), (1, 1), (0, 0), (2, 0, 0), (0, 3, 3))
        return [Sample((_positive(rng, *s),), grad=False) for s in shapes]

    def infer(self, a: TensorType) -> TensorType:
        check_square(self.name, a)
        return a

    def eval(self, a: np.ndarray) -> np.ndarray:
        return np.linalg.cholesky(a)

    def vjp(self, g: Var, out: Var, a: Var) -> Sequence[Var | None]:
        inner = half_diagonal(matmul(out, g, tx=True))
        left = apply("triangular_solve", out, inner, lower=True, trans=True, unit=False)
        s = apply("triangular_solve", out, transposed(left), lower=True, trans=True, unit=False)
        return ((s + transposed(s)) * 0.5,)

    def jvp(self, ts: Sequence[Var | None], out: Var, a: Var) -> Var | None:
        (t,) = ts
        if t is None:
            return None
        t = (t + transposed(t)) * 0.5
        left = apply("triangular_solve", out, t, lower=True, trans=False, unit=False)
        both = apply("triangular_solve", out, transposed(left), lower=True, trans=False, unit=False)
        return matmul(out, half_diagonal(both))

    def lower(self, b: Any, a: Any) -> Any:
        n = a.shape[-1]
        if small.is_small(n, a.shape[:-2]):
            return small.lower_cholesky(b, a)

        def lower_triangle(*i: Any) -> Any:
            row, col = b.index(i[-2]), b.index(i[-1])
            return b.scalar("where", col <= row, a[i], b.const(0, a.dtype))

        factor = b.pointwise(a.shape, a.dtype, lower_triangle)
        if math.prod(a.shape):
            b.libcall("potrf", [factor], [factor], n=n, count=math.prod(a.shape[:-2]))
        return factor


@register
class Solve(OpRule):
    """``solve(a, b){trans}``: X with ``a X = b``, or ``a^T X = b``; ``b`` is (..., n, k). LinAlgError at run time
    where a pivot is exactly zero."""

    name = "solve"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        shapes = [((3, 3), (3, 2)), ((4, 4), (4, 1)), ((2, 3, 3), (2, 3, 2)), ((1, 1), (1, 1))]
        shapes += [((3, 3), (2, 3, 2)), ((2, 1, 3, 3), (2, 3, 1)), ((2, 3, 3), (3, 2))]
        result = [
            Sample((matrices(rng, *a), rng.standard_normal(b)), {"trans": t}) for a, b in shapes for t in (False, True)
        ]
        empty = [((0, 0), (0, 2)), ((3, 3), (3, 0)), ((0, 3, 3), (0, 3, 1))]
        return result + [Sample((matrices(rng, *a), np.ones(b)), grad=False) for a, b in empty]

    def infer(self, a: TensorType, b: TensorType, *, trans: bool = False) -> TensorType:
        return check_system(self.name, a, b)

    def eval(self, a: np.ndarray, b: np.ndarray, *, trans: bool = False) -> np.ndarray:
        return np.linalg.solve(np.swapaxes(a, -1, -2) if trans else a, b)

    def vjp(self, g: Var, out: Var, a: Var, b: Var, *, trans: bool = False) -> Sequence[Var | None]:
        gb = apply("solve", a, g, trans=not trans)
        ga = matmul(out, gb, ty=True) if trans else matmul(gb, out, ty=True)
        return unbroadcast(-ga, a.shape), unbroadcast(gb, b.shape)

    def jvp(self, ts: Sequence[Var | None], out: Var, a: Var, b: Var, *, trans: bool = False) -> Var | None:
        ta, tb = ts
        right = None if ta is None else matmul(ta, out, tx=trans)
        if right is None:
            right = tb
        elif tb is None:
            right = -right
        else:
            right = tb - right
        if right is None:
            return None
        result = apply("solve", a, right, trans=trans)
        return result if result.shape == out.shape else apply("broadcast_to", result, shape=out.shape)

    def lower(self, b: Any, a: Any, right: Any, *, trans: bool = False) -> Any:
        n, k = right.shape[-2:]
        stack = np.broadcast_shapes(a.shape[:-2], right.shape[:-2])
        if k and small.is_small(n, stack):
            return small.lower_solve(b, a, right, stack, trans)
        x = broadcast_copy(b, right, (*stack, n, k))
        if math.prod(x.shape):
            lu, pivots = lu_factors(b, a)
            strides = stack_strides(a.shape[:-2], stack)
            b.libcall("getrs", [x], [x, lu, pivots], n=n, k=k, batch=stack, lu_batch=strides, trans=trans)
        return x


@register
class TriangularSolve(OpRule):
    """``triangular_solve(a, b){lower, trans, unit}``: X with ``op(a) X = b``, where ``op(a)`` is the lower (or upper)
    triangle of ``a``, transposed with ``trans``; with ``unit`` its diagonal counts as 1. The rest of ``a`` is not read
    and has derivative 0. LinAlgError at run time where a diagonal entry is exactly zero."""

    name = "triangular_solve"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        flags = [(lower, trans, unit) for lower in (False, True) for trans in (False, True) for unit in (False, True)]
        shapes = [((3, 3), (3, 2)), ((2, 3, 3), (2, 3, 1)), ((3, 3), (2, 3, 2)), ((2, 3, 3), (3, 1))]
        result = []
        for k, (lower, trans, unit) in enumerate(flags):
            attrs = {"lower": lower, "trans": trans, "unit": unit}
            a, b = shapes[k % len(shapes)]
            result.append(Sample((matrices(rng, *a), rng.standard_normal(b)), attrs))
        attrs = {"lower": True, "trans": False, "unit": False}
        return [*result, Sample((np.ones((0, 0)), np.ones((0, 2))), attrs, grad=False)]

    def infer(self, a: TensorType, b: TensorType, *, lower: bool, trans: bool, unit: bool) -> TensorType:
        return check_system(self.name, a, b)

    def eval(self, a: np.ndarray, b: np.ndarray, *, lower: bool, trans: bool, unit: bool) -> np.ndarray:
        a = np.tril(a) if lower else np.triu(a)
        if unit:
            a = np.where(np.eye(a.shape[-1], dtype=bool), a.dtype.type(1), a)
        if not np.all(np.diagonal(a, axis1=-2, axis2=-1)):
            raise np.linalg.LinAlgError("Singular matrix")
        return np.linalg.solve(np.swapaxes(a, -1, -2) if trans else a, b)

    def vjp(self, g: Var, out: Var, a: Var, b: Var, *, lower: bool, trans: bool, unit: bool) -> Sequence[Var | None]:
        gb = apply("triangular_solve", a, g, lower=lower, trans=not trans, unit=unit)
        ga = matmul(out, gb, ty=True) if trans else matmul(gb, out, ty=True)
        ga = triangle(unbroadcast(-ga, a.shape), lower, strict=unit)
        return ga, unbroadcast(gb, b.shape)

    def jvp(
        self, ts: Sequence[Var | None], out: Var, a: Var, b: Var, *, lower: bool, trans: bool, unit: bool
    ) -> Var | None:
        ta, right = ts
        if ta is not None:
            moved = matmul(triangle(ta, lower, strict=unit), out, tx=trans)
            right = -moved if right is None else right - moved
        if right is None:
            return None
        result = apply("triangular_solve", a, right, lower=lower, trans=trans, unit=unit)
        return result if result.shape == out.shape else apply("broadcast_to", result, shape=out.shape)

    def lower(self, b: Any, a: Any, right: Any, *, lower: bool, trans: bool, unit: bool) -> Any:
        n, k = right.shape[-2:]
        stack = np.broadcast_shapes(a.shape[:-2], right.shape[:-2])
        if k and small.is_small(n, stack):
            return small.lower_triangular_solve(b, a, right, stack, lower, trans, unit)
        x = broadcast_copy(b, right, (*stack, n, k))
        if math.prod(x.shape):
            strides = stack_strides(a.shape[:-2], stack)
            flags = {"lower": lower, "trans": trans, "unit": unit}
            b.libcall("trtrs", [x], [x, a], n=n, k=k, batch=stack, a_batch=strides, **flags)
        return x


@register
class Inv(OpRule):
    """``inv(a)``. LinAlgError at run time where a pivot is exactly zero."""

    name = "inv"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        result = [Sample((matrices(rng, *s),)) for s in ((3, 3), (2, 4, 4), (1, 1))]
        return result + [Sample((np.ones(s),), grad=False) for s in ((0, 0), (0, 2, 2))]

    def infer(self, a: TensorType) -> TensorType:
        check_square(self.name, a)
        return a

    def eval(self, a: np.ndarray) -> np.ndarray:
        return np.linalg.inv(a)

    def vjp(self, g: Var, out: Var, a: Var) -> Sequence[Var | None]:
        return (-matmul(matmul(out, g, tx=True), out, ty=True),)

    def jvp(self, ts: Sequence[Var | None], out: Var, a: Var) -> Var | None:
        (t,) = ts
        return None if t is None else -matmul(matmul(out, t), out)

    def lower(self, b: Any, a: Any) -> Any:
        if not math.prod(a.shape):
            return b.empty(a.shape, a.dtype)
        n = a.shape[-1]
        if small.is_small(n, a.shape[:-2]):
            return small.lower_inv(b, a)
        lu, pivots = lu_factors(b, a)
        inverse = b.copy(lu, of=a)
        work = b.empty((n * WORK_COLUMNS,), a.dtype)
        b.libcall("getri", [inverse, work], [inverse, pivots], n=n, count=math.prod(a.shape[:-2]))
        return b.pointwise(a.shape, a.dtype, lambda *i: inverse[(*i[:-2], i[-1], i[-2])])


@register
class Adjugate(OpRule):
    """``adjugate(a)``: ``det(a) * inv(a)``, a polynomial in the entries of ``a`` and so defined for singular matrices
    too. Its own derivative divides by the determinant and is NaN at a singular matrix."""

    name = "adjugate"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        singular = rng.standard_normal((5, 5))
        singular[:, 2] = 0.0
        result = [Sample((matrices(rng, *s),)) for s in ((3, 3), (2, 4, 4), (1, 1))]
        result += [Sample((a,), grad=False) for a in (singular, np.zeros((4, 4)), np.ones((0, 0)), np.ones((0, 2, 2)))]
        return result

    def infer(self, a: TensorType) -> TensorType:
        check_square(self.name, a)
        return a

    def eval(self, a: np.ndarray) -> np.ndarray:
        n = a.shape[-1]
        if n == 0:
            return a.copy()
        u, s, vh = np.linalg.svd(a)
        rest = np.where(np.eye(n, dtype=bool), a.dtype.type(1), s[..., None, :]).prod(axis=-1)
        sign = np.linalg.det(u) * np.linalg.det(vh)
        scaled = np.swapaxes(vh, -1, -2) * (sign[..., None] * rest)[..., None, :]
        return scaled @ np.swapaxes(u, -1, -2)

    def vjp(self, g: Var, out: Var, a: Var) -> Sequence[Var | None]:
        # dD = (tr(D da) D - D da D) / det
        scaled = g / over_matrix(apply("det", a), a)
        along = over_matrix(contract(scaled, out), a) * transposed(out)
        return (along - matmul(matmul(out, scaled, tx=True), out, ty=True),)

    def jvp(self, ts: Sequence[Var | None], out: Var, a: Var) -> Var | None:
        (t,) = ts
        if t is None:
            return None
        scaled = t / over_matrix(apply("det", a), a)
        return over_matrix(contract(out, scaled, transpose=True), a) * out - matmul(matmul(out, scaled), out)

    def lower(self, b: Any, a: Any) -> Any:
        if not math.prod(a.shape):
            return b.empty(a.shape, a.dtype)
        n = a.shape[-1]
        columns = b.pointwise(a.shape, a.dtype, lambda *i: a[(*i[:-2], i[-1], i[-2])])
        lu, pivots = lu_factors(b, a)
        outs = [b.empty(a.shape, a.dtype), b.empty((n * WORK_COLUMNS,), a.dtype), b.empty((n, n), a.dtype)]
        outs.append(b.empty((2 * n,), _i32))
        b.libcall("adjugate", outs, [columns, lu, pivots], n=n, count=math.prod(a.shape[:-2]))
        return b.pointwise(a.shape, a.dtype, lambda *i: outs[0][(*i[:-2], i[-1], i[-2])])


def written_determinant(n: int, entry: Any) -> Any:
    """The determinant as a polynomial; ``entry(i, j)`` gives an entry with operators. ``1 <= n <= 3``."""
    if n == 1:
        return entry(0, 0)
    if n == 2:
        return entry(0, 0) * entry(1, 1) - entry(0, 1) * entry(1, 0)
    minors = [
        entry(1, (j + 1) % 3) * entry(2, (j + 2) % 3) - entry(1, (j + 2) % 3) * entry(2, (j + 1) % 3) for j in range(3)
    ]
    return entry(0, 0) * minors[0] + entry(0, 1) * minors[1] + entry(0, 2) * minors[2]


def written_cofactors(a: Var) -> Var:
    """The gradient of the determinant for ``1 <= n <= 3``, from polynomials in the entries."""
    n, stack = a.shape[-1], a.shape[:-2]

    def entry(i: int, j: int) -> Var:
        starts = (*(0 for _ in stack), i % 3, j % 3)
        return apply("slice", a, starts=starts, sizes=(*stack, 1, 1), steps=(1,) * a.ndim)

    if n == 1:
        return full_like(a, 1.0)
    if n == 2:
        cells = [[entry(1, 1), -entry(1, 0)], [-entry(0, 1), entry(0, 0)]]
    else:
        cells = [
            [entry(i + 1, j + 1) * entry(i + 2, j + 2) - entry(i + 1, j + 2) * entry(i + 2, j + 1) for j in range(3)]
            for i in range(3)
        ]
    rows = [apply("concatenate", *row, axis=a.ndim - 1) for row in cells]
    return apply("concatenate", *rows, axis=a.ndim - 2)


def cofactors(a: Var) -> Var:
    """The gradient of the determinant: the transposed adjugate."""
    n = a.shape[-1]
    if isinstance(n, int) and 1 <= n <= WRITTEN_OUT:
        return written_cofactors(a)
    return transposed(apply("adjugate", a))


def lower_diagonal(b: Any, a: Any, mode: str, term: Any) -> Any:
    """Combine ``term(pivot, swapped)`` over the diagonal of each matrix's LU factors; ``swapped`` is a bool."""
    n = a.shape[-1]
    if not math.prod(a.shape):
        return b.reduce(a.shape[:-1], (a.ndim - 2,), mode, a.dtype, lambda *i: b.const(1, a.dtype))
    lu, pivots = lu_factors(b, a)

    def at(*i: Any) -> Any:
        own = b.index(i[-1] + 1)
        return term(lu[(*i, i[-1])], b.cast(pivots[i], i64).ne(own))

    return b.reduce((*a.shape[:-2], n), (a.ndim - 2,), mode, a.dtype, at)


@register
class Det(OpRule):
    """``det(a)``: the determinant; 0 for a singular matrix, 1 for an empty one.

    The derivative is the matrix of cofactors, right at singular matrices too. Second derivatives at an exactly
    singular matrix are right up to order 3 (where the polynomial is written out), and NaN above.
    """

    name = "det"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        result = [Sample((matrices(rng, *s),)) for s in ((3, 3), (2, 4, 4), (5, 5), (1, 1), (2, 2, 2))]
        result += [Sample((np.ones((3, 3)),)), Sample((np.zeros((2, 2)),))]
        return result + [Sample((np.ones(s),), grad=False) for s in ((0, 0), (2, 0, 0), (0, 4, 4), (5, 5))]

    def infer(self, a: TensorType) -> TensorType:
        check_square(self.name, a)
        return TensorType(a.dtype, a.shape[:-2])

    def eval(self, a: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.det(a), a.dtype)

    def vjp(self, g: Var, out: Var, a: Var) -> Sequence[Var | None]:
        return (over_matrix(g, a) * cofactors(a),)

    def jvp(self, ts: Sequence[Var | None], out: Var, a: Var) -> Var | None:
        (t,) = ts
        return None if t is None else contract(cofactors(a), t)

    def lower(self, b: Any, a: Any) -> Any:
        n, stack = a.shape[-1], a.shape[:-2]
        if 1 <= n <= WRITTEN_OUT:
            return b.pointwise(stack, a.dtype, lambda *z: written_determinant(n, lambda i, j: a[(*z, i, j)]))
        if small.is_small(n, stack):
            return small.lower_det(b, a)
        return lower_diagonal(b, a, "*=", lambda pivot, swapped: b.scalar("where", swapped, -pivot, pivot))


@register
class Slogdet(OpRule):
    """``slogdet(a) -> (sign, logdet)``: sign and logarithm of the absolute value of the determinant; (0, -inf) for a
    singular matrix.

    The derivative of ``logdet`` is the transposed inverse; at an exactly singular matrix, where it does not exist, the
    program raises LinAlgError. ``sign`` has derivative 0.
    """

    name = "slogdet"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        result = [Sample((matrices(rng, *s),)) for s in ((3, 3), (2, 4, 4), (1, 1))]
        result += [
            Sample((a,), grad=False) for a in (np.zeros((4, 4)), np.ones((2, 0, 0)), np.ones((2, 2)), -np.eye(3))
        ]
        return result

    def infer(self, a: TensorType) -> tuple[TensorType, TensorType]:
        check_square(self.name, a)
        result = TensorType(a.dtype, a.shape[:-2])
        return result, result

    def eval(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sign, logdet = np.linalg.slogdet(a)
        return np.asarray(sign, a.dtype), np.asarray(logdet, a.dtype)

    def vjp(self, g: Any, out: Any, a: Var) -> Sequence[Var | None]:
        return (over_matrix(g[1], a) * transposed(apply("inv", a)),)

    def jvp(self, ts: Sequence[Var | None], out: Any, a: Var) -> Any:
        (t,) = ts
        if t is None:
            return None, None
        return None, contract(apply("inv", a), t, transpose=True)

    def lower(self, b: Any, a: Any) -> tuple[Any, Any]:
        if small.is_small(a.shape[-1], a.shape[:-2]):
            return small.lower_slogdet(b, a)

        def sign(pivot: Any, swapped: Any) -> Any:
            s = b.scalar("sign", pivot)
            return b.scalar("where", swapped, -s, s)

        signs = lower_diagonal(b, a, "*=", sign)
        if not math.prod(a.shape):
            zero = b.pointwise(a.shape[:-2], a.dtype, lambda *i: b.const(0, a.dtype))
            return signs, zero
        logs = lower_diagonal(b, a, "+=", lambda pivot, _: b.scalar("log", b.scalar("absolute", pivot)))
        return signs, logs
