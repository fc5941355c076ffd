"""Arrays from nothing: constants, index ramps, arrays whose contents do not matter, and index expressions."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.index import Dim, add, mul
from jitgrad.ir.location import user_location
from jitgrad.ir.types import SHORT_NAMES, TensorType, i64, type_of
from jitgrad.ops.op import OpRule, Sample, register


@register
class Constant(OpRule):
    """An array known when the graph is built. ``value`` is a read-only, contiguous array of a supported dtype."""

    name = "constant"
    wide = False
    differentiable = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        values: list[Any] = [
            np.array(2.5),
            np.array(True),
            rng.normal(size=(2, 3)),
            rng.normal(size=4).astype(np.float32),
            np.arange(5),
            np.zeros((0, 2)),
            np.array([np.nan, np.inf, -0.0]),
        ]
        for value in values:
            value.flags.writeable = False
        return [Sample((), {"value": value}, grad=False) for value in values]

    def infer(self, *types: TensorType, value: np.ndarray) -> TensorType:
        return type_of(value)

    def eval(self, *arrays: np.ndarray, value: np.ndarray) -> np.ndarray:
        return value

    def lower(self, b: Any, *tensors: Any, value: np.ndarray) -> Any:
        return b.constant(value)


@register
class Iota(OpRule):
    """The index along one axis: ``out[i, j, ...]`` is the ``axis``-th of ``i, j, ...``, as ``dtype`` (not bool)."""

    name = "iota"
    wide = False
    differentiable = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        cases = [((5,), 0, np.int64), ((2, 3), 0, np.float64), ((2, 3), 1, np.float32), ((0, 3), 1, np.int64)]
        cases += [((2, 3, 4), 1, np.int32), ((1,), 0, np.uint8)]
        return [
            Sample((), {"shape": shape, "axis": axis, "dtype": np.dtype(dtype)}, grad=False)
            for shape, axis, dtype in cases
        ]

    def infer(self, *types: TensorType, shape: tuple[Dim, ...], axis: int, dtype: np.dtype) -> TensorType:
        if not 0 <= axis < len(shape):
            raise ShapeError(
                f"iota: axis {axis} is out of bounds for array of dimension {len(shape)}. It counts along one axis of "
                "its result. Pass an axis that the shape has.",
                user_location(),
            )
        if dtype not in SHORT_NAMES or dtype.kind == "b":
            raise DtypeError(
                f"iota does not take {dtype}. An index is a number. Use an integer or float dtype and cast.",
                user_location(),
            )
        return TensorType(dtype, tuple(shape))

    def eval(self, *arrays: np.ndarray, shape: tuple[int, ...], axis: int, dtype: np.dtype) -> np.ndarray:
        along = np.arange(shape[axis], dtype=dtype).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        return np.array(np.broadcast_to(along, shape))

    def lower(self, b: Any, *tensors: Any, shape: tuple[int, ...], axis: int, dtype: np.dtype) -> Any:
        out = b.pointwise(shape, dtype, lambda *index: b.cast(b.index(index[axis]), dtype))
        b.indices_of(out, shape[axis])
        return out


@register
class Ramp(OpRule):
    """``ramp(){shape, start, steps}``: the int64 numbers ``start + i * steps[0] + j * steps[1] + ...``. As indices they
    are never made: what they select is read in place."""

    name = "ramp"
    wide = False
    differentiable = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        cases = [((5,), 3, (2,)), ((4, 3), 0, (1, 1)), ((2, 3, 4), 7, (-3, 0, 1)), ((0, 2), 0, (1, 1)), ((), 4, ())]
        return [Sample((), {"shape": s, "start": start, "steps": steps}, grad=False) for s, start, steps in cases]

    def infer(self, *types: TensorType, shape: tuple[int, ...], start: int, steps: tuple[int, ...]) -> TensorType:
        if len(shape) != len(steps):
            raise ShapeError(f"ramp of shape {shape} with {len(steps)} steps. Each axis has one.", user_location())
        return TensorType(i64, tuple(shape))

    def eval(self, *arrays: np.ndarray, shape: tuple[int, ...], start: int, steps: tuple[int, ...]) -> np.ndarray:
        along = (np.arange(n, dtype=np.int64) * step for n, step in zip(shape, steps, strict=True))
        return start + sum(np.ix_(*along), np.zeros(shape, np.int64))

    def lower(self, b: Any, *tensors: Any, shape: tuple[int, ...], start: int, steps: tuple[int, ...]) -> Any:
        def number(*index: Dim) -> Any:
            return b.index(functools.reduce(add, map(mul, index, steps), start))

        out = b.pointwise(shape, i64, number)
        b.has_line(out, start, steps)
        return out


@register
class Empty(OpRule):
    """An array that is written before it is read, as ``np.empty``. The interpreter fills it with zeros."""

    name = "empty"
    wide = False
    differentiable = False
    structural = True

    def infer(self, *types: TensorType, shape: tuple[Dim, ...], dtype: np.dtype) -> TensorType:
        return TensorType(dtype, tuple(shape))

    def eval(self, *arrays: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.zeros(shape, dtype)

    def lower(self, b: Any, *tensors: Any, shape: tuple[Dim, ...], dtype: np.dtype) -> Any:
        return b.empty(shape, dtype)


@register
class Index(OpRule):
    """An index expression as an i64 scalar."""

    name = "index"
    differentiable = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [Sample((), {"value": v}, grad=False) for v in (0, -3, 7)]

    def infer(self, *types: TensorType, value: Dim) -> TensorType:
        return TensorType(i64)

    def eval(self, *arrays: np.ndarray, value: int) -> np.ndarray:
        return np.asarray(value, np.int64)

    def lower(self, b: Any, *tensors: Any, value: Dim) -> Any:
        return b.pointwise((), i64, lambda: b.index(value))
