"""Singular values and vectors of stacks of matrices, and what is made of them: the pseudo-inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.ir.core import OPS
from jitgrad.ir.types import TensorType
from jitgrad.ops.eigen import columns, gaps, on_diagonal
from jitgrad.ops.elementwise import select
from jitgrad.ops.linalg import WORK_COLUMNS, matmul, stack_letters, transposed
from jitgrad.ops.op import OpRule, Sample, Var, apply, apply_all, register
from jitgrad.ops.orthogonal import check_matrices, extents, join, lower_identity, part

_i32 = np.dtype(np.int32)


def _reciprocal(x: Var) -> Var:
    """``1 / x``, and 0 where x is 0."""
    zero = x.eq(0)
    return select(zero, 0.0, 1.0 / select(zero, 1.0, x))


def _lower_svd(b: Any, a: Any, job: str) -> tuple[Any, ...]:
    """``(s,)`` for job "N", else ``(s, u, vh)``, the vectors by columns as LAPACK leaves them."""
    stack, m, n, k = extents(a)
    scratch = b.pointwise((*stack, n, m), a.dtype, lambda *i: a[(*i[:-2], i[-1], i[-2])])
    least = 10 * k if job == "N" else 4 * k * k + 7 * k
    work = b.empty((least + max(m, n) + WORK_COLUMNS * (m + n),), a.dtype)
    outs = [scratch, b.empty((*stack, k), a.dtype), work, b.empty((8 * k,), _i32)]
    if job != "N":
        rows, cols = (k, k) if job == "S" else (n, m)
        outs += [b.empty((*stack, cols, m), a.dtype), b.empty((*stack, n, rows), a.dtype)]
    b.libcall("gesdd", outs, [scratch], m=m, n=n, job=job, count=math.prod(stack))
    return outs[1], *outs[4:]


def _lower_thin_svd(b: Any, a: Any) -> tuple[Any, ...]:
    """:func:`_lower_svd` with job "S", once for each matrix in a block of a program. The pseudo-inverse and the
    singular values share it."""
    found = _known_svd(b, a)
    if found is None:
        found = _lower_svd(b, a, "S")
        b.known["svd", b.state(a)] = found, [b.state(t) for t in found]
    return found


def _known_svd(b: Any, a: Any) -> tuple[Any, ...] | None:
    """What :func:`_lower_thin_svd` has found before, where nobody has written into it."""
    found, states = b.known.get(("svd", b.state(a)), (None, []))
    return found if found is not None and [b.state(t) for t in found] == states else None


def _matrices(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random matrices whose singular values lie well apart."""
    u, s, vh = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    return (u * (s + 1.5 * np.arange(s.shape[-1], 0, -1))[..., None, :]) @ vh


@register
class SVD(OpRule):
    """``svd(a){full} -> (u, s, vh)``: orthonormal columns ``u``, singular values ``s`` in descending order, orthonormal
    rows ``vh``, with ``a = u diag(s) vh``. LinAlgError at run time where LAPACK's iteration does not converge, or a
    matrix has a NaN.

    For a of shape (..., m, n) and k = min(m, n), u is (..., m, k), s (..., k) and vh (..., k, n); with ``full``, u is
    (..., m, m) and vh (..., n, n).

    The derivative is that of J. Townsend (Differentiating the singular value decomposition, 2016), with the fraction
    ``1 / (s[j]^2 - s[i]^2)`` split in two, so that no squares cancel. Singular vectors of equal singular values (up to
    the rounding of LAPACK: see ``gaps``), those of singular value 0, and those that ``full`` adds can be turned among
    themselves. No such turn counts in the derivative: it is right for what would not depend on it if the values
    differed either (the projection onto the vectors), and for what turns u and v alike (``u @ vh``).
    """

    name = "svd"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        shapes = ((3, 3), (4, 2), (2, 4), (2, 3, 2), (1, 1), (1, 3))
        result = [Sample((_matrices(rng, *s),), {"full": False}) for s in shapes]
        result.append(Sample((_matrices(rng, 3, 3),), {"full": True}))
        # What is added to the vectors may be turned at will, so it has no derivative of its own.
        result += [Sample((_matrices(rng, *s),), {"full": True}, grad=False) for s in ((4, 2), (2, 4), (2, 3, 1))]
        empty = ((3, 0), (0, 3), (0, 0), (0, 3, 2), (2, 0, 2))
        return result + [Sample((np.ones(s),), {"full": f}, grad=False) for s in empty for f in (False, True)]

    def infer(self, a: TensorType, *, full: bool) -> tuple[TensorType, TensorType, TensorType]:
        check_matrices(self.name, a)
        stack, m, n, k = extents(a)
        left, right = (m, n) if full else (k, k)
        shapes = (*stack, m, left), (*stack, k), (*stack, right, n)
        return tuple(TensorType(a.dtype, s) for s in shapes)  # pyright: ignore[reportReturnType]

    def eval(self, a: np.ndarray, *, full: bool) -> tuple[np.ndarray, ...]:
        return tuple(np.linalg.svd(a, full_matrices=full))

    def vjp(self, g: Any, out: Any, a: Var, *, full: bool) -> Sequence[Var | None]:
        (gu, gs, gvh), (u, s, vh) = g, out
        v, gv = transposed(vh), transposed(gvh)
        u, gu, gu2 = self._thin(u, gu, s.shape[-1])
        v, gv, gv2 = self._thin(v, gv, s.shape[-1])
        # With W = u^T da v, u turns by sym(W) E + skew(W) G and v by sym(W) E - skew(W) G: see _gaps_and_sums.
        apart, together = _gaps_and_sums(s, s.shape)
        p, q = matmul(u, gu, tx=True), matmul(v, gv, tx=True)
        even, odd = (p + q) * apart, (p - q) * together
        inner = (even + transposed(even) + odd - transposed(odd)) * 0.5 + on_diagonal(columns(gs, p))
        total = matmul(matmul(u, inner), v, ty=True)
        inverse = _reciprocal(s)
        for x, gx, p_, gx2, other, swap in ((u, gu, p, gu2, v, False), (v, gv, q, gv2, u, True)):
            if x.shape[-2] == x.shape[-1]:
                continue  # there is nothing outside of the space of x
            away = gx - matmul(x, p_)
            if gx2 is not None:
                away = away - matmul(gx2[0], matmul(gx2[1], x, tx=True))
            away = away * columns(inverse, away)
            total = total + (matmul(other, away, ty=True) if swap else matmul(away, other, ty=True))
        return (total,)

    @staticmethod
    def _thin(x: Var, gx: Var, k: int) -> tuple[Var, Var, tuple[Var, Var] | None]:
        """The first k vectors with their cotangents, and the others with theirs if there are any."""
        n = x.shape[-1]
        if n == k:
            return x, gx, None
        assert isinstance(n, int)
        return part(x, -1, 0, k), part(gx, -1, 0, k), (part(x, -1, k, n), part(gx, -1, k, n))

    def jvp(self, ts: Sequence[Var | None], out: Any, a: Var, *, full: bool) -> Any:
        (t,), (u, s, vh) = ts, out
        if t is None:
            return None, None, None
        v, k = transposed(vh), s.shape[-1]
        u1, v1 = (part(x, -1, 0, k) for x in (u, v))
        apart, together = _gaps_and_sums(s, s.shape)
        right = matmul(t, v1)
        w = matmul(u1, right, tx=True)
        even, odd = (w + transposed(w)) * 0.5 * apart, (w - transposed(w)) * 0.5 * together
        inverse = _reciprocal(s)
        tu = self._moved(u, u1, even + odd, right, w, inverse)
        tv = self._moved(v, v1, even - odd, matmul(t, u1, tx=True), transposed(w), inverse)
        return tu, apply("reduce_sum", on_diagonal(w), axes=(w.ndim - 2,)), transposed(tv)

    @staticmethod
    def _moved(x: Var, x1: Var, turn: Var, moved: Var, inside: Var, inverse: Var) -> Var:
        """The tangents of vectors: ``x1`` turns among itself and moves away, and what is left of ``x`` makes room."""
        tx = matmul(x1, turn)
        m, n, k = x.shape[-2], x.shape[-1], x1.shape[-1]
        if m == k:
            return tx
        away = moved - matmul(x1, inside)
        tx = tx + away * columns(inverse, away)
        if n == k:
            return tx
        return join(-1, tx, -matmul(x1, matmul(tx, part(x, -1, k, n), tx=True)))  # pyright: ignore[reportArgumentType]

    def lower(self, b: Any, a: Any, *, full: bool) -> tuple[Any, Any, Any]:
        stack, m, n, k = extents(a)
        left, right = (m, n) if full else (k, k)
        if not math.prod(a.shape):
            u, vh = lower_identity(b, (*stack, m, left), a.dtype), lower_identity(b, (*stack, right, n), a.dtype)
            return u, b.pointwise((*stack, k), a.dtype, lambda *i: b.const(0, a.dtype)), vh
        s, u, vh = _lower_svd(b, a, "A") if full and m != n else _lower_thin_svd(b, a)

        def swapped(x: Any) -> Any:
            shape = (*stack, *x.shape[:-3:-1])
            return b.pointwise(shape, a.dtype, lambda *i: x[(*i[:-2], i[-1], i[-2])])

        return swapped(u), s, swapped(vh)


def _gaps_and_sums(s: Var, shape: Any) -> tuple[Var, Var]:
    """``1 / (s[j] - s[i])`` and ``1 / (s[j] + s[i])`` at (i, j), and 0 where they would be infinite.

    Where sym(W) and skew(W) are the parts of ``W = u^T da v``, one step of ``da`` turns u by ``sym(W) / (s[j] - s[i]) +
    skew(W) / (s[j] + s[i])``, and v by the difference of the two. Multiplied out it is Townsend's formula.
    """
    like = apply("broadcast_to", apply("reshape", s, shape=(*shape[:-1], 1, shape[-1])), shape=(*shape, shape[-1]))
    return gaps(s, like), _reciprocal(like + transposed(like))


@register
class SingularValues(OpRule):
    """``svdvals(a)``: the singular values of matrices (..., m, n) in descending order, (..., min(m, n)). LinAlgError as
    for svd. An ``svd`` of whose vectors nothing is needed becomes this one."""

    name = "svdvals"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        result = [Sample((_matrices(rng, *s),)) for s in ((3, 3), (4, 2), (2, 2, 4), (1, 1))]
        return result + [Sample((np.ones(s),), grad=False) for s in ((3, 0), (0, 3, 2))]

    def infer(self, a: TensorType) -> TensorType:
        check_matrices(self.name, a)
        stack, _, _, k = extents(a)
        return TensorType(a.dtype, (*stack, k))

    def eval(self, a: np.ndarray) -> np.ndarray:
        return np.linalg.svd(a, compute_uv=False)

    def vjp(self, g: Var, out: Var, a: Var) -> Sequence[Var | None]:
        u, _, vh = apply_all("svd", a, full=False)
        return (matmul(u * columns(g, u), vh),)

    def jvp(self, ts: Sequence[Var | None], out: Var, a: Var) -> Var | None:
        (t,) = ts
        if t is None:
            return None
        u, _, vh = apply_all("svd", a, full=False)
        return apply("reduce_sum", u * matmul(t, vh, ty=True), axes=(u.ndim - 2,))

    def lower(self, b: Any, a: Any) -> Any:
        stack, _, _, k = extents(a)
        if not math.prod(a.shape):
            return b.pointwise((*stack, k), a.dtype, lambda *i: b.const(0, a.dtype))
        return (_known_svd(b, a) or _lower_svd(b, a, "N"))[0]


@register
class PseudoInverse(OpRule):
    """``pinv(a){cutoff}``: the Moore-Penrose inverse (..., n, m) of matrices (..., m, n). Singular values of at most
    ``cutoff`` times the greatest one count as 0. LinAlgError as for svd.

    The derivative is that of G. H. Golub and V. Pereyra (SIAM Journal on Numerical Analysis 10, 1973), which holds
    where the rank does not change. It divides by no difference of singular values.
    """

    name = "pinv"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        shapes = ((3, 3), (4, 2), (2, 4), (2, 3, 2), (1, 1))
        result = [Sample((_matrices(rng, *s),), {"cutoff": 1e-15}) for s in shapes]
        singular = _matrices(rng, 4, 2) @ _matrices(rng, 2, 3)
        others = (singular, np.zeros((3, 2)), np.ones((3, 0)), np.ones((0, 3, 2)))
        return result + [Sample((a,), {"cutoff": 1e-12}, grad=False) for a in others]

    def infer(self, a: TensorType, *, cutoff: float) -> TensorType:
        check_matrices(self.name, a)
        stack, m, n, _ = extents(a)
        return TensorType(a.dtype, (*stack, n, m))

    def eval(self, a: np.ndarray, *, cutoff: float) -> np.ndarray:
        return np.linalg.pinv(a, cutoff)

    def vjp(self, g: Var, out: Var, a: Var, *, cutoff: float) -> Sequence[Var | None]:
        main = matmul(out, matmul(g, out, ty=True), tx=True)
        left = matmul(g, matmul(out, out, ty=True), tx=True)
        right = matmul(out, matmul(out, g, ty=True), tx=True)
        left = left - matmul(a, matmul(out, left))
        right = right - matmul(right, matmul(out, a))
        return (left + right - main,)

    def jvp(self, ts: Sequence[Var | None], out: Var, a: Var, *, cutoff: float) -> Var | None:
        (t,) = ts
        if t is None:
            return None
        left = matmul(matmul(out, out, ty=True), t, ty=True)
        right = matmul(matmul(t, out, tx=True, ty=True), out)
        left = left - matmul(matmul(left, a), out)
        right = right - matmul(out, matmul(a, right))
        return left + right - matmul(matmul(out, t), out)

    def lower(self, b: Any, a: Any, *, cutoff: float) -> Any:
        stack, m, n, k = extents(a)
        if not math.prod(a.shape):
            return b.pointwise((*stack, n, m), a.dtype, lambda *i: b.const(0, a.dtype))
        s, u, vh = _lower_thin_svd(b, a)
        zero, one = b.const(0, a.dtype), b.const(1, a.dtype)

        def scaled(*i: Any) -> Any:
            """``v / s`` by its columns: element (column, row)."""
            value = s[(*i[:-2], i[-2])]
            # the first one is the greatest
            large = b.scalar("greater", value, s[(*i[:-2], 0)] * b.const(cutoff, a.dtype))
            return b.scalar("where", large, vh[(*i[:-2], i[-1], i[-2])] / b.scalar("where", large, value, one), zero)

        v = b.pointwise((*stack, k, n), a.dtype, scaled)
        z = stack_letters(len(stack))
        return OPS["einsum"].lower(b, v, u, spec=f"{z}ki,{z}kj->{z}ij")  # pyright: ignore[reportAttributeAccessIssue]
