"""Systems of equations with a banded matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import is_static
from jitgrad.ir.types import TensorType, is_float, is_short
from jitgrad.ops.op import OpRule, Sample, Var, apply, full_like, register

_i32 = np.dtype(np.int32)


def _shifted(x: Var, by: int) -> Var:
    """``x[by:]``, with zeros behind it; or zeros before ``x[:by]`` for a negative number."""
    n, rest = x.shape[0], x.shape[1:]
    assert isinstance(n, int)
    if abs(by) >= n:
        return full_like(x, 0.0)
    zeros = (0,) * len(rest)
    part = apply("slice", x, starts=(max(by, 0), *zeros), sizes=(n - abs(by), *rest), steps=(1,) * x.ndim)
    return apply("pad", part, low=(max(-by, 0), *zeros), high=(max(by, 0), *zeros))


def _row(x: Var, k: int) -> Var:
    """A row of a matrix, as a column."""
    n = x.shape[1]
    return apply("reshape", apply("slice", x, starts=(k, 0), sizes=(1, n), steps=(1, 1)), shape=(n, 1))


@register
class BandedSolve(OpRule):
    """``banded_solve(ab, b){below, above, trans}``: x with ``a x = b``, or ``a^T x = b``, for a matrix a of (n, n) with
    that many diagonals below and above the main one; ``ab[above + i - j, j]`` is ``a[i, j]``, so ab is (below + above +
    1, n). b is (n, k). What ab has outside of the matrix is not read. By LU with partial pivoting; LinAlgError at run
    time where a pivot is exactly zero."""

    name = "banded_solve"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        result = []
        for below, above, n, k in ((1, 1, 4, 1), (2, 1, 5, 2), (0, 2, 4, 1), (1, 0, 3, 2), (3, 2, 3, 1), (0, 0, 2, 1)):
            ab = rng.standard_normal((below + above + 1, n))
            ab[above] += 4.0
            for trans in (False, True):
                attrs = {"below": below, "above": above, "trans": trans}
                result.append(Sample((ab, rng.standard_normal((n, k))), attrs))
        attrs = {"below": 1, "above": 1, "trans": False}
        return [*result, *(Sample((np.ones((3, n)), np.ones((n, k))), attrs, grad=False) for n, k in ((0, 2), (3, 0)))]

    def infer(self, ab: TensorType, b: TensorType, *, below: int, above: int, trans: bool) -> TensorType:
        if not is_float(ab.dtype) or is_short(ab.dtype) or ab.dtype != b.dtype:
            raise DtypeError(
                f"{self.name} got dtypes {ab.dtype} and {b.dtype}. It takes float32 or float64. Convert with astype().",
                user_location(),
            )
        if not is_static(*ab.shape) or ab.ndim != 2 or ab.shape[0] != below + above + 1 or b.shape[:-1] != ab.shape[1:]:
            raise ShapeError(
                f"{self.name} got shapes {tuple(ab.shape)} and {tuple(b.shape)} with {below} diagonals below and "
                f"{above} above. The first has a row for each of the {below + above + 1} diagonals and a column for "
                "each row of the right side. Check the bands.",
                user_location(),
            )
        return b

    def eval(self, ab: np.ndarray, b: np.ndarray, *, below: int, above: int, trans: bool) -> np.ndarray:
        n = ab.shape[1]
        a = np.zeros((n, n), ab.dtype)
        for i in range(n):
            for j in range(max(i - below, 0), min(i + above + 1, n)):
                a[i, j] = ab[above + i - j, j]
        return np.linalg.solve(a.T if trans else a, b)

    def vjp(self, g: Var, out: Var, ab: Var, b: Var, *, below: int, above: int, trans: bool) -> Sequence[Var | None]:
        gb = apply("banded_solve", ab, g, below=below, above=above, trans=not trans)
        rows, columns = (out, gb) if trans else (gb, out)  # the cotangent of a is -rows @ columns^T
        diagonals = [
            apply("reshape", apply("reduce_sum", -(_shifted(rows, d) * columns), axes=(1,)), shape=(1, ab.shape[1]))
            for d in range(-above, below + 1)
        ]
        return (apply("concatenate", *diagonals, axis=0) if len(diagonals) > 1 else diagonals[0]), gb

    def jvp(
        self, ts: Sequence[Var | None], out: Var, ab: Var, b: Var, *, below: int, above: int, trans: bool
    ) -> Var | None:
        tab, right = ts
        if tab is not None:
            for k, d in enumerate(range(-above, below + 1)):
                diagonal = apply("broadcast_to", _row(tab, k), shape=out.shape)
                moved = diagonal * _shifted(out, d) if trans else _shifted(diagonal * out, -d)
                right = -moved if right is None else right - moved
        return None if right is None else apply("banded_solve", ab, right, below=below, above=above, trans=trans)

    def lower(self, b: Any, ab: Any, right: Any, *, below: int, above: int, trans: bool) -> Any:
        n, k = right.shape
        if not math.prod(right.shape):
            return b.pointwise(right.shape, right.dtype, lambda *i: b.const(0, right.dtype))

        def columns(j: Any, row: Any) -> Any:
            """The diagonals, behind as many rows of workspace as are below the main one."""
            inside = b.index(row) >= b.index(below)
            at = b.dynamic(b.scalar("maximum", b.index(row) - b.index(below), b.index(0)), below + above + 1)
            return b.scalar("where", inside, ab[(at, j)], b.const(0, ab.dtype))

        bands = b.pointwise((n, 2 * below + above + 1), ab.dtype, columns)
        x = b.pointwise((k, n), right.dtype, lambda i, j: right[(j, i)])
        pivots = b.empty((n,), _i32)
        b.libcall("gbsv", [x, bands, pivots], [x, bands], n=n, k=k, below=below, above=above, trans=trans)
        return b.pointwise(right.shape, right.dtype, lambda i, j: x[(j, i)])
