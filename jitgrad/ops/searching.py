"""Places in sorted arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType, bool_, i64, is_float
from jitgrad.ops.op import OpRule, Sample, register

#: ``below(k)``: does the element at k come before the place that is looked for?
Below = Callable[[Dim], Any]


def _samples(rng: np.random.Generator) -> list[Sample]:
    result = []
    for n in (0, 1, 2, 3, 7, 8, 40):
        a = np.sort(np.round(rng.standard_normal(n), 1))
        v = np.concatenate([a, a + 0.05, [-np.inf, np.inf, np.nan, 0.0]])
        result += [Sample((a, v), {"side": side}, grad=False) for side in ("left", "right")]
    integers = np.array([-3, 0, 0, 5]), np.arange(-4, 8).reshape(3, 4)
    others = [(np.sort(rng.integers(0, 9, 20)).astype(np.uint8), np.arange(12, dtype=np.uint8)), integers]
    others += [(np.array([1.0, 2.0, np.nan, np.nan]), np.array([[2.0, np.nan]])), (np.array([False, True]),) * 2]
    return result + [Sample(args, {"side": side}, grad=False) for args in others for side in ("left", "right")]


@register
class Searchsorted(OpRule):
    """``searchsorted(a, v){side}``: for each element of v how many elements of the ascending vector a are less than it
    (side ``left``), or not greater (``right``); NaN is greater than any number. Both have one dtype.

    By bisection without branches: as many steps for all elements, so that several may be looked for at a time.
    """

    name = "searchsorted"
    differentiable = False
    samples = staticmethod(_samples)

    def infer(self, a: TensorType, v: TensorType, *, side: str) -> TensorType:
        if a.ndim != 1:
            raise ShapeError(
                f"searchsorted in an array of shape {tuple(a.shape)}. It takes one that is sorted, with one axis.",
                user_location(),
            )
        if a.dtype != v.dtype:
            raise DtypeError(f"searchsorted of dtypes {a.dtype} and {v.dtype}, which must be equal.", user_location())
        return TensorType(i64, v.shape)

    def eval(self, a: np.ndarray, v: np.ndarray, *, side: str) -> np.ndarray:
        return np.asarray(np.searchsorted(a, v, "left" if side == "left" else "right"), np.int64)

    def lower(self, b: Any, a: Any, v: Any, *, side: str) -> Any:
        n = a.shape[0]
        if n == 0:
            return b.pointwise(v.shape, i64, lambda *_: b.const(0, i64))
        out = b.empty(v.shape, i64)
        with b.loops(v.shape) as index:
            x = b.let(v[index], "x")
            below = _comparison(b, a, x, side)
            found = _in_steps(b, n, below) if isinstance(n, int) else _while_apart(b, n, below)
            b.store(out, index, found)
        return out


def _comparison(b: Any, a: Any, x: Any, side: str) -> Below:
    compare = "less" if side == "left" else "less_equal"
    if not is_float(a.dtype):
        wide = np.dtype(np.uint8) if a.dtype == bool_ else a.dtype
        return lambda k: b.scalar(compare, b.cast(a[k], wide), b.cast(x, wide), dtype=bool_)
    last = b.let(b.scalar("isnan", x, dtype=bool_), "last")

    def below(k: Dim) -> Any:
        e = a[k]
        here = last if side == "right" else b.scalar("logical_and", last, b.scalar("equal", e, e, dtype=bool_))
        return b.scalar("logical_or", b.scalar(compare, e, x, dtype=bool_), here)

    return below


def _halves(n: int) -> Iterator[int]:
    """By how much the place may move in each step but the last."""
    while n > 1:
        yield n // 2
        n -= n // 2


def _in_steps(b: Any, n: int, below: Below) -> Any:
    """Among a known number of elements: the place lies between ``low`` and as many behind it as are left."""
    low = b.const(0, i64)
    for half in _halves(n):
        here = b.cast(below(b.dynamic(low + b.const(half - 1, i64), n)), i64)
        low = b.let(low + here * b.const(half, i64), "low")
    return low + b.cast(below(b.dynamic(low, n)), i64)


def _while_apart(b: Any, n: Dim, below: Below) -> Any:
    """Among as many elements as the run tells: the place lies between ``low`` and ``high``."""
    low, high = b.let(b.const(0, i64), "low"), b.let(b.index(n), "high")
    with b.repeat(low < high):
        middle = b.let(b.scalar("floor_divide", low + high, b.const(2, i64)), "middle")
        here = b.let(below(b.dynamic(middle, n)), "here")
        b.assign(low, b.scalar("where", here, middle + b.const(1, i64), low))
        b.assign(high, b.scalar("where", here, high, middle))
    return low
