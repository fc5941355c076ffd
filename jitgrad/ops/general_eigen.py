"""Eigenvalues and eigenvectors of general real matrices: pairs of real arrays, the real and the imaginary parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.ir.types import TensorType
from jitgrad.ops.complex_matrices import Z, product
from jitgrad.ops.eigen import columns, gaps, on_diagonal
from jitgrad.ops.elementwise import select
from jitgrad.ops.linalg import WORK_COLUMNS, check_square, iota, matmul, over_matrix, transposed
from jitgrad.ops.op import OpRule, Sample, Var, apply, apply_all, register
from jitgrad.ops.orthogonal import part


def _rows(x: Var) -> Var:
    """The sums of the columns."""
    return apply("reduce_sum", x, axes=(x.ndim - 2,))


def _over(re: Var, im: Var) -> Z:
    """``1 / (re + i im)``, and 0 for 0."""
    size = re * re + im * im
    none = size.eq(0)
    size = select(none, 1.0, size)
    return select(none, 0.0, re / size), select(none, 0.0, -im / size)


def complex_gaps(w: Z, like: Var) -> Z:
    """As ``gaps``, for complex values: ``1 / (w[j] - w[i])`` at (i, j), and 0 where the two are equal."""
    re, im = (columns(x, like) for x in w)
    re, im = re - transposed(re), im - transposed(im)
    n = like.shape[-1]
    if isinstance(n, int) and n:
        sizes = apply("hypot", *w)
        greatest = apply("reduce_max", sizes, axes=(sizes.ndim - 1,)) * (n * float(np.finfo(like.dtype).eps))
        same = apply("hypot", re, im) <= over_matrix(greatest, like)
        re, im = select(same, 0.0, re), select(same, 0.0, im)
    return _over(re, im)


def solved(a: Z, right: Z, *, adjoint: bool = False) -> Z:
    """The solution of ``a x = right``, or with the adjoint of ``a``, by the real matrix of twice the size."""
    n: Any = a[0].shape[-1]
    axis = a[0].ndim - 1
    rows = (apply("concatenate", x, y, axis=axis) for x, y in ((a[0], -a[1]), (a[1], a[0])))
    both = apply("concatenate", *right, axis=axis - 1)
    x = apply("solve", apply("concatenate", *rows, axis=axis - 1), both, trans=adjoint)
    return part(x, -2, 0, n), part(x, -2, n, 2 * n)


def _anchors(v: Z) -> tuple[Var, Var]:
    """``1 / v[k, j]`` at (k, j), and 0 elsewhere, where k is the component that LAPACK makes real: of those that are,
    the greatest. And where that is."""
    size = select(v[1].eq(0), apply("absolute", v[0]), -1.0)
    shape: Any = size.shape[-2:]
    at = columns(apply("argmax", size, axis=size.ndim - 2), size).eq(iota(size, shape, 0))
    return select(at, 1.0 / select(at, v[0], 1.0), 0.0), at


def _moved(v: Z, t: Z) -> Z:
    """How the vectors move where they would by ``t`` if they had any length and phase: they keep length 1, and the
    component that is real stays so."""
    anchors, at = _anchors(v)
    along = _rows(v[0] * t[0] + v[1] * t[1])
    turn = _rows(select(at, t[1] * anchors, 0.0))
    along, turn = columns(along, v[0]), columns(turn, v[0])
    return t[0] - v[0] * along + v[1] * turn, t[1] - v[1] * along - v[0] * turn


def _moved_adjoint(v: Z, g: Z) -> Z:
    """The adjoint of ``t -> _moved(v, t)``."""
    anchors, at = _anchors(v)
    along = columns(_rows(v[0] * g[0] + v[1] * g[1]), v[0])
    turn = columns(_rows(v[0] * g[1] - v[1] * g[0]), v[0])
    return g[0] - v[0] * along, g[1] - v[1] * along - select(at, anchors * turn, 0.0)


def _lower_eigen(b: Any, a: Any, vectors: bool) -> tuple[Any, Any, Any]:
    """The parts of the eigenvalues, and the eigenvectors as the library call packs them, of matrices that are not
    empty."""
    n, stack = a.shape[-1], a.shape[:-2]
    m = b.pointwise(a.shape, a.dtype, lambda *i: a[(*i[:-2], i[-1], i[-2])])
    wr, wi = (b.empty(a.shape[:-1], a.dtype) for _ in range(2))
    z = b.empty((*stack, n + 2, n) if vectors else (math.prod(stack),), a.dtype)
    work = b.empty((n * (WORK_COLUMNS + 4) + 65 * WORK_COLUMNS,), a.dtype)
    b.libcall("geev", [m, wr, wi, z, work], [m], n=n, count=math.prod(stack), vectors=vectors)
    return wr, wi, z


def _general_samples(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.standard_normal(s) for s in ((3, 3), (2, 4, 4), (1, 1), (0, 0), (2, 0, 0), (0, 3, 3))]


@register
class Eig(OpRule):
    """``eig(a){real} -> (w_re, w_im, v_re, v_im)``: eigenvalues of matrices in the order in which LAPACK's geev finds
    them, and the eigenvectors in the columns of ``v``: of length 1, and the greatest component of each is real.
    LinAlgError at run time where LAPACK finds none. ``real`` says that all values are real, and the imaginary parts
    not used: then the derivative is computed with real matrices.

    With ``dA``, the values change by the diagonal of ``T = V^-1 dA V``, and the vectors by V times T over the gaps
    (M. Giles, An extended collection of matrix derivative results, 2008, section 3.1), less what would change their
    lengths and phases. Vectors of equal values have no derivative: see ``gaps``.
    """

    name = "eig"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        arrays = _general_samples(rng)
        result = [Sample((a,), {"real": False}, grad=a.size > 0) for a in arrays]
        return [*result, Sample((np.diag([1.0, 2.0, 4.0]) + 0.1 * arrays[0],), {"real": True})]

    def infer(self, a: TensorType, *, real: bool) -> tuple[TensorType, ...]:
        check_square(self.name, a)
        w = TensorType(a.dtype, a.shape[:-1])
        return w, w, a, a

    def eval(self, a: np.ndarray, *, real: bool) -> tuple[np.ndarray, ...]:
        return tuple(np.array(f(x), a.dtype) for x in np.linalg.eig(a) for f in (np.real, np.imag))

    def vjp(self, g: Any, out: Any, a: Var, *, real: bool) -> Sequence[Var | None]:
        (wr, wi, *v), (gr, gi, *gv) = out, g
        if real:
            x, at = v[0], gv[0]
            at = at - x * columns(_rows(x * at), x)
            t = matmul(x, at, tx=True) * gaps(wr, x) + on_diagonal(columns(gr, x))
            return (apply("solve", x, matmul(t, x, ty=True), trans=True),)
        pair = v[0], v[1]
        p, q = product(pair, _moved_adjoint(pair, (gv[0], gv[1])), left=True)
        away = complex_gaps((wr, wi), a)
        re = p * away[0] + q * away[1] + on_diagonal(columns(gr, a))
        im = q * away[0] - p * away[1] + on_diagonal(columns(gi, a))
        return (solved(pair, product((re, im), pair, right=True), adjoint=True)[0],)

    def jvp(self, ts: Sequence[Var | None], out: Any, a: Var, *, real: bool) -> Any:
        (t,), (wr, wi, *v) = ts, out
        if t is None:
            return None, None, None, None
        if real:
            x = v[0]
            moved = apply("solve", x, matmul(t, x), trans=False)
            dx = matmul(x, moved * gaps(wr, x))
            return _rows(on_diagonal(moved)), None, dx - x * columns(_rows(x * dx), x), None
        pair = v[0], v[1]
        p, q = solved(pair, (matmul(t, v[0]), matmul(t, v[1])))
        away = complex_gaps((wr, wi), a)
        turned = p * away[0] - q * away[1], p * away[1] + q * away[0]
        return _rows(on_diagonal(p)), _rows(on_diagonal(q)), *_moved(pair, product(pair, turned))

    def lower(self, b: Any, a: Any, *, real: bool) -> tuple[Any, ...]:
        if not math.prod(a.shape):
            none = b.pointwise(a.shape[:-1], a.dtype, lambda *i: b.const(0, a.dtype))
            return none, none, b.empty(a.shape, a.dtype), b.empty(a.shape, a.dtype)
        wr, wi, z = _lower_eigen(b, a, vectors=True)
        zero = b.const(0, a.dtype)

        def packed(i: Any, k: int) -> Any:
            """The component in the column that LAPACK has ``k`` behind that of a value."""
            return z[(*i[:-2], i[-1] + (1 + k), i[-2])]

        def real_part(*i: Any) -> Any:
            second = wi[(*i[:-2], i[-1])] < zero
            return b.scalar("where", second, packed(i, -1), packed(i, 0))

        def imaginary_part(*i: Any) -> Any:
            value = wi[(*i[:-2], i[-1])]
            of_second = b.scalar("where", value < zero, b.scalar("negative", packed(i, 0)), zero)
            return b.scalar("where", zero < value, packed(i, 1), of_second)

        return wr, wi, b.pointwise(a.shape, a.dtype, real_part), b.pointwise(a.shape, a.dtype, imaginary_part)


@register
class Eigvals(OpRule):
    """``eigvals(a) -> (w_re, w_im)``: the eigenvalues of eig alone. An ``eig`` of whose vectors nothing is needed
    becomes this one."""

    name = "eigvals"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [Sample((a,), grad=a.size > 0) for a in _general_samples(rng)]

    def infer(self, a: TensorType) -> tuple[TensorType, TensorType]:
        check_square(self.name, a)
        w = TensorType(a.dtype, a.shape[:-1])
        return w, w

    def eval(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = np.linalg.eigvals(a)
        return np.array(w.real, a.dtype), np.array(w.imag, a.dtype)

    def vjp(self, g: Any, out: Any, a: Var) -> Sequence[Var | None]:
        _, _, *v = apply_all("eig", a, real=False)
        pair, (gr, gi) = (v[0], v[1]), (on_diagonal(columns(x, a)) for x in g)
        return (solved(pair, product((gr, gi), pair, right=True), adjoint=True)[0],)

    def jvp(self, ts: Sequence[Var | None], out: Any, a: Var) -> Any:
        (t,) = ts
        if t is None:
            return None, None
        _, _, *v = apply_all("eig", a, real=False)
        p, q = solved((v[0], v[1]), (matmul(t, v[0]), matmul(t, v[1])))
        return _rows(on_diagonal(p)), _rows(on_diagonal(q))

    def lower(self, b: Any, a: Any) -> tuple[Any, Any]:
        if not math.prod(a.shape):
            none = b.pointwise(a.shape[:-1], a.dtype, lambda *i: b.const(0, a.dtype))
            return none, none
        wr, wi, _ = _lower_eigen(b, a, vectors=False)
        return wr, wi
