"""Scans along an axis: cumsum, cumprod, cummax, cummin, and the linear recurrence that their derivatives are made of.

The derivative of a running product is a linear recurrence, ``s[k] = b[k] + a[k] * s[k-1]``, and the derivative of a
linear recurrence is one in the other direction. So all orders of derivative of ``cumprod`` and ``prod`` are exact,
take O(n), and never divide: zeros among the factors need no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.index import add, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.types import SHORT_NAMES, TensorType, bool_, i64, is_float
from jitgrad.ops.indexing import along_axis, elements_at, from_elements_at
from jitgrad.ops.op import Cotangent, Linear, OpRule, Sample, Var, apply, register


def shifted(x: Var, axis: int, reverse: bool, fill: float) -> Var:
    """``x`` moved one step along ``axis``: element k becomes x[k-1] (x[k+1] if ``reverse``), the first one ``fill``."""
    size = x.shape[axis]
    if size == 0:
        return x

    def piece(v: Var, start: int, extent: Any) -> Var:
        starts = tuple(start if k == axis else 0 for k in range(v.ndim))
        sizes = tuple(extent if k == axis else n for k, n in enumerate(v.shape))
        return apply("slice", v, starts=starts, sizes=sizes, steps=(1,) * v.ndim)

    def with_edge(v: Var) -> Var:
        if fill == 0:
            one = tuple(int(k == axis) for k in range(v.ndim))
            none = (0,) * v.ndim
            return apply("pad", v, low=none if reverse else one, high=one if reverse else none)
        shape = (*v.shape[:axis], 1, *v.shape[axis + 1 :])
        edge = apply("broadcast_to", Var(v.b, v.b.constant(fill, v.dtype)), shape=shape)
        return apply("concatenate", v, edge, axis=axis) if reverse else apply("concatenate", edge, v, axis=axis)

    start = 1 if reverse else 0
    if never_negative(size - 1):
        return with_edge(piece(x, start, size - 1))
    return piece(with_edge(x), start, size)  # there may be no elements when the program runs, and so no first one


def exclusive_products(x: Var, axis: int) -> Var:
    """For each element, the product of all others along ``axis``. No division, so zeros are no special case."""
    left = apply("cumprod", shifted(x, axis, False, 1), axis=axis)
    right = apply("cumprod", shifted(x, axis, True, 1), axis=axis, reverse=True)
    return left * right


def _adjoint(g: Cotangent, factors: Var, axis: int, reverse: bool) -> tuple[Var, Var | None]:
    """The cotangents of what a linear recurrence adds at each step, ``l[k] = g[k] + a[k+1] * l[k+1]``, and their mask.

    An element reaches every later one, so the mask is a running "or" from the end. Factors that only meet cotangents
    that were turned off are left out: they may be infinite.
    """
    mask = None
    if g.mask is not None:
        mask = apply("cumsum", g.mask, axis=axis, reverse=not reverse)
        factors = apply("where", mask, factors, 0)
    return apply("linear_scan", shifted(factors, axis, not reverse, 0), g.value, axis=axis, reverse=not reverse), mask


def _select(value: Var, mask: Var | None) -> Cotangent:
    return Cotangent(value if mask is None else apply("where", mask, value, 0), mask)


class Scan(OpRule):
    """Shared parts: shapes, and a sequential loop along the axis."""

    def infer(self, *types: TensorType, axis: int, reverse: bool = False) -> TensorType:
        x = types[0]
        if not 0 <= axis < x.ndim:
            raise ShapeError(
                f"{self.name}: axis {axis} is out of bounds for array of dimension {x.ndim}. A scan runs along one "
                "axis of its operand. Pass an axis that the array has.",
                user_location(),
            )
        return x

    def first(self, b: Any, *now: Any) -> Any:
        """The first result, from the operands' first elements."""
        return now[-1]

    def step(self, b: Any, before: Any, *now: Any) -> Any:
        """The next result, from the last one and the operands' elements."""
        raise NotImplementedError

    def lower(self, b: Any, *tensors: Any, axis: int, reverse: bool = False) -> Any:
        shape = tensors[0].shape
        size = shape[axis]
        out = b.empty(shape, tensors[0].dtype)
        if 0 in shape:
            return out

        if isinstance(size, int):
            self._scan(b, out, tensors, axis, reverse)
        else:
            with b.when(b.index(size) > 0):
                self._scan(b, out, tensors, axis, reverse)
        return out

    def _scan(self, b: Any, out: Any, tensors: Sequence[Any], axis: int, reverse: bool) -> None:
        """The loops, for an axis that is not empty."""
        shape = out.shape
        size = shape[axis]

        def at(outer: tuple[Any, ...], k: Any, inner: tuple[Any, ...]) -> tuple[Any, ...]:
            return (*outer, size - 1 - k if reverse else k, *inner)

        if axis == len(shape) - 1:
            with b.loops(shape[:axis]) as outer:
                start = at(outer, 0, ())
                acc = b.let(self.first(b, *(t[start] for t in tensors)), "acc")
                b.store(out, start, acc)
                with b.loop(size, lo=1) as k:
                    index = at(outer, k, ())
                    b.assign(acc, self.step(b, acc, *(t[index] for t in tensors)))
                    b.store(out, index, acc)
            return
        # The axis outside, so that the innermost loop still runs along contiguous elements.
        with b.loops(shape[:axis]) as outer:
            with b.loops(shape[axis + 1 :]) as inner:
                start = at(outer, 0, inner)
                b.store(out, start, self.first(b, *(t[start] for t in tensors)))
            with b.loop(size, lo=1) as k, b.loops(shape[axis + 1 :]) as inner:
                index, before = at(outer, k, inner), at(outer, k - 1, inner)
                b.store(out, index, self.step(b, out[before], *(t[index] for t in tensors)))


def _directed(run: Callable[..., np.ndarray], axis: int, reverse: bool, *arrays: np.ndarray) -> np.ndarray:
    """Run a scan backwards by flipping its operands and its result."""
    if not reverse:
        return run(*arrays)
    return np.ascontiguousarray(np.flip(run(*(np.flip(a, axis) for a in arrays)), axis))


def _scan_samples(rng: np.random.Generator) -> list[Sample]:
    zeros = rng.normal(size=(3, 5))
    zeros[0, 1] = zeros[1, 0] = zeros[1, 3] = zeros[2, 4] = 0.0
    small = rng.integers(-3, 4, size=(3, 4))
    samples = [
        *(Sample((rng.normal(size=(2, 3, 4)),), {"axis": k, "reverse": r}) for k in range(3) for r in (False, True)),
        *(Sample((zeros,), {"axis": k, "reverse": r}) for k in range(2) for r in (False, True)),
        Sample((rng.normal(size=1),), {"axis": 0, "reverse": False}),
        Sample((np.array([-0.0, -0.0, 1.0]),), {"axis": 0, "reverse": False}),
        Sample((np.zeros((0, 3)),), {"axis": 0, "reverse": False}),
        Sample((np.zeros((0, 3)),), {"axis": 1, "reverse": True}),
        Sample((small.astype(np.float32),), {"axis": 1, "reverse": False}, grad=False),
        *(Sample((small.astype(d),), {"axis": 0, "reverse": True}, grad=False) for d in (np.int64, np.int8)),
        Sample((small > 0,), {"axis": 1, "reverse": False}, grad=False),
        Sample((np.array([1.0, np.inf, 0.0, np.nan, 2.0]),), {"axis": 0, "reverse": False}, grad=False),
    ]
    return samples


@register
class CumSum(Linear, Scan):
    """``np.cumsum`` without widening, or from the other end if ``reverse``. Of bool, a running "or"."""

    name = "cumsum"
    moves = True  # on a mask it is the running "or", which is what the mask of its operand needs
    samples = staticmethod(_scan_samples)

    def eval(self, *arrays: np.ndarray, axis: int, reverse: bool = False) -> np.ndarray:
        (x,) = arrays
        with np.errstate(all="ignore"):
            return _directed(lambda a: np.add.accumulate(a, axis=axis, dtype=x.dtype), axis, reverse, x)

    def transpose(self, g: Var, *xs: Var, axis: int, reverse: bool = False) -> Var:
        return apply("cumsum", g, axis=axis, reverse=not reverse)

    def step(self, b: Any, before: Any, *now: Any) -> Any:
        return b.scalar("logical_or" if before.dtype == bool_ else "add", before, now[0])


@register
class CumProd(Scan):
    """``np.cumprod`` without widening, or from the other end if ``reverse``. Of bool, a running "and".

    With y the result, the derivative is dy[k] = y[k-1] dx[k] + x[k] dy[k-1], a linear recurrence.
    """

    name = "cumprod"
    samples = staticmethod(_scan_samples)

    def eval(self, *arrays: np.ndarray, axis: int, reverse: bool = False) -> np.ndarray:
        (x,) = arrays
        with np.errstate(all="ignore"):
            return _directed(lambda a: np.multiply.accumulate(a, axis=axis, dtype=x.dtype), axis, reverse, x)

    def pullback(
        self, g: Cotangent, out: Var, *xs: Var, axis: int, reverse: bool = False
    ) -> Sequence[Cotangent | None]:
        (x,) = xs
        sums, mask = _adjoint(g, x, axis, reverse)
        return [_select(shifted(out, axis, reverse, 1) * sums, mask)]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, axis: int, reverse: bool = False) -> Var | None:
        (t,), (x,) = ts, xs
        if t is None:
            return None
        return apply("linear_scan", x, t * shifted(out, axis, reverse, 1), axis=axis, reverse=reverse)

    def step(self, b: Any, before: Any, *now: Any) -> Any:
        return b.scalar("logical_and" if before.dtype == bool_ else "multiply", before, now[0])


def _extremum_samples(rng: np.random.Generator) -> list[Sample]:
    """Where elements are equal there is no derivative to compare with."""
    every = [(s, np.asarray(s.args[0])) for s in _scan_samples(rng)]
    return [s._replace(grad=s.grad and len(np.unique(x)) == x.size) for s, x in every]


class RunningExtremum(Scan):
    """Of NaN and what follows it, NaN. Of bool, a running "or" or "and".

    The derivative goes to the element that the result is, the first one of equal ones.
    """

    samples = staticmethod(_extremum_samples)
    ufunc: ClassVar[np.ufunc]
    #: The op by which an element takes over, the combination of elements, and that of bools.
    better: ClassVar[str]
    combine: ClassVar[str]
    bool_combine: ClassVar[str]

    def eval(self, *arrays: np.ndarray, axis: int, reverse: bool = False) -> np.ndarray:
        (x,) = arrays
        with np.errstate(all="ignore"):
            return _directed(lambda a: self.ufunc.accumulate(a, axis=axis), axis, reverse, x)

    def step(self, b: Any, before: Any, *now: Any) -> Any:
        return b.scalar(self.bool_combine if before.dtype == bool_ else self.combine, before, now[0])

    def pullback(
        self, g: Cotangent, out: Var, *xs: Var, axis: int, reverse: bool = False
    ) -> Sequence[Cotangent | None]:
        (x,) = xs
        return [from_elements_at(g, x, self._sources(out, x, axis, reverse))]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, axis: int, reverse: bool = False) -> Var | None:
        (t,), (x,) = ts, xs
        return None if t is None else elements_at(t, self._sources(out, x, axis, reverse))

    def _sources(self, out: Var, x: Var, axis: int, reverse: bool) -> tuple[Var, ...]:
        """Index arrays of the elements that the results are: those of the last one that took over."""
        place = Var(x.b, x.b.emit("iota", shape=x.shape, axis=axis, dtype=i64))
        end = Var(x.b, x.b.emit("index", value=add(x.shape[axis], -1))) if reverse else 0
        before = shifted(out, axis, reverse, 0)
        takes = place.eq(end) | apply(self.better, x, before)
        if is_float(x.dtype):
            takes = takes | (x.ne(x) & before.eq(before))
        last = "cummin" if reverse else "cummax"
        return along_axis(apply(last, apply("where", takes, place, end), axis=axis, reverse=reverse), axis)


@register
class CumMax(RunningExtremum):
    """``np.maximum.accumulate``, or from the other end if ``reverse``."""

    name, ufunc, better, combine, bool_combine = "cummax", np.maximum, "greater", "maximum", "logical_or"


@register
class CumMin(RunningExtremum):
    """``np.minimum.accumulate``, or from the other end if ``reverse``."""

    name, ufunc, better, combine, bool_combine = "cummin", np.minimum, "less", "minimum", "logical_and"


def _linear_scan_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for k in range(3):
        for reverse in (False, True):
            a, b = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
            a[0, 1, 1] = a[1, 2, 3] = 0.0
            samples.append(Sample((a, b), {"axis": k, "reverse": reverse}))
    a, b = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)
    return [
        *samples,
        Sample((np.array([np.nan]), np.array([2.0])), {"axis": 0, "reverse": False}, grad=False),
        Sample((np.zeros((2, 0)), np.zeros((2, 0))), {"axis": 1, "reverse": False}),
        Sample((a, b), {"axis": 1, "reverse": True}, grad=False),
    ]


@register
class LinearScan(Scan):
    """``s[k] = b[k] + a[k] * s[k-1]`` along ``axis``, with ``s[0] = b[0]`` (``a[0]`` is not read); floats only.

    From the other end if ``reverse``. ``a`` and ``b`` have one shape and dtype.
    """

    name = "linear_scan"
    samples = staticmethod(_linear_scan_samples)

    def infer(self, *types: TensorType, axis: int, reverse: bool = False) -> TensorType:
        a, b = types
        if a != b:
            raise ShapeError(
                f"linear_scan of {a} and {b}. Both operands have one dtype and shape. Cast or broadcast one of them.",
                user_location(),
            )
        if not is_float(a.dtype):
            raise DtypeError(
                f"linear_scan does not take {SHORT_NAMES[a.dtype]}. It computes with floats. "
                "Convert the operands with astype().",
                user_location(),
            )
        return super().infer(*types, axis=axis, reverse=reverse)

    def eval(self, *arrays: np.ndarray, axis: int, reverse: bool = False) -> np.ndarray:
        def run(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            out = np.array(b)
            a, s = np.moveaxis(a, axis, 0), np.moveaxis(out, axis, 0)
            for k in range(1, len(s)):
                s[k] += a[k] * s[k - 1]
            return out

        with np.errstate(all="ignore"):
            return _directed(run, axis, reverse, *arrays)

    def pullback(
        self, g: Cotangent, out: Var, *xs: Var, axis: int, reverse: bool = False
    ) -> Sequence[Cotangent | None]:
        sums, mask = _adjoint(g, xs[0], axis, reverse)
        return [_select(shifted(out, axis, reverse, 0) * sums, mask), _select(sums, mask)]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, axis: int, reverse: bool = False) -> Var | None:
        ta, tb = ts
        if ta is None and tb is None:
            return None
        drive = None if ta is None else ta * shifted(out, axis, reverse, 0)
        drive = tb if drive is None else drive if tb is None else drive + tb
        return apply("linear_scan", xs[0], drive, axis=axis, reverse=reverse)  # pyright: ignore[reportArgumentType]

    def step(self, b: Any, before: Any, *now: Any) -> Any:
        return now[1] + now[0] * before
