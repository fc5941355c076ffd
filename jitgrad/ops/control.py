"""Control flow: ``for``, ``while``, ``cond``, ``switch`` and ``checkpoint``, the ops with regions.

A region is a block that sees the values around it. What changes from one iteration to the next is carried: it goes in
as an operand, is a parameter of the region, and comes out as what the region yields; the results of the op are the
last ones. There is no other control flow. No op has an effect but ``check`` (``jitgrad.ops.effects``), and the ops here
where a region has one.

Their derivatives are in ``jitgrad.autodiff.loops``, their lowering in ``jitgrad.loopir.regions``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, IRError, ShapeError
from jitgrad.ir.core import Block, Value
from jitgrad.ir.index import Dim, IndexExpr
from jitgrad.ir.symbols import set_limits
from jitgrad.ir.types import TensorType, bool_, i64
from jitgrad.ops.op import OpRule, register

#: What :meth:`eval` gets for a region: a function from arrays to a tuple of arrays.
RegionFunction = Callable[..., tuple[np.ndarray, ...]]


def _yields(name: str, region: Block, types: Sequence[TensorType], what: str) -> None:
    """Raise ShapeError unless a region yields values of these types."""
    found = [v.type for v in region.results]
    if found != list(types):
        raise ShapeError(
            f"{name}: its region yields {_show(found)}, and {what} are {_show(types)}. What is carried keeps its type. "
            "Convert the new values with astype() or reshape()."
        )


def _show(types: Sequence[TensorType]) -> str:
    return f"({', '.join(map(str, types))})"


def _takes(name: str, region: Block, types: Sequence[TensorType]) -> None:
    """Raise IRError unless a region has parameters of these types."""
    found = [p.type for p in region.params]
    if found != list(types):
        raise IRError(f"{name}: its region takes {_show(found)}, and is given {_show(types)}. They must be equal.")


def _expect_regions(name: str, regions: Sequence[Block], n: int) -> None:
    if len(regions) != n:
        raise IRError(f"{name} has {len(regions)} regions, and needs {n}. Build the op with all of them.")


class RegionOp(OpRule):
    """Shared by the ops with regions. They have no rule of their own: passes go into the regions."""

    structural = True
    wide = False

    def infer(self, *types: TensorType, regions: Sequence[Block] = (), **attrs: Any) -> tuple[TensorType, ...]:
        raise NotImplementedError


@register
class For(RegionOp):
    """``for i in range(lo, hi, step)``: the region takes the index, an i64 scalar, and the carried values."""

    name = "for"

    def infer(
        self, *types: TensorType, regions: Sequence[Block] = (), lo: Dim, hi: Dim, step: int
    ) -> tuple[TensorType, ...]:
        _expect_regions(self.name, regions, 1)
        for what, bound in (("lo", lo), ("hi", hi)):
            if isinstance(bound, bool) or not isinstance(bound, (int, IndexExpr)):
                raise DtypeError(f"for: {what} is {bound!r}. Bounds are integers or index expressions. Convert it.")
        if not isinstance(step, int) or step == 0:
            raise DtypeError(f"for: step is {step!r}. It is an integer other than 0, known at compile time.")
        _takes(self.name, regions[0], (TensorType(i64), *types))
        _yields(self.name, regions[0], types, "the carried values")
        return types

    def bind_params(self, params: Sequence[Value], attrs: Mapping[str, Any]) -> None:
        if params and {"lo", "hi", "step"} <= set(attrs):
            set_limits(params[0], attrs["lo"], attrs["hi"], attrs["step"])

    def eval(
        self, *arrays: np.ndarray, regions: Sequence[RegionFunction] = (), lo: int, hi: int, step: int
    ) -> tuple[np.ndarray, ...]:
        for i in range(lo, hi, step):
            arrays = regions[0](np.asarray(i, np.int64), *arrays)
        return arrays


@register
class While(RegionOp):
    """``while cond(carried): carried = body(carried)``; the first region is the condition, a bool scalar."""

    name = "while"

    def infer(self, *types: TensorType, regions: Sequence[Block] = ()) -> tuple[TensorType, ...]:
        _expect_regions(self.name, regions, 2)
        for region in regions:
            _takes(self.name, region, types)
        _yields(self.name, regions[0], (TensorType(bool_),), "the types of a condition")
        _yields(self.name, regions[1], types, "the carried values")
        return types

    def eval(self, *arrays: np.ndarray, regions: Sequence[RegionFunction] = ()) -> tuple[np.ndarray, ...]:
        test, body = regions
        while test(*arrays)[0]:
            arrays = body(*arrays)
        return arrays


@register
class Cond(RegionOp):
    """The first region where the operand, a bool scalar, is True, else the second. Only that one runs."""

    name = "cond"

    def infer(self, *types: TensorType, regions: Sequence[Block] = ()) -> tuple[TensorType, ...]:
        _expect_regions(self.name, regions, 2)
        if types != (TensorType(bool_),):
            raise DtypeError(f"cond of {_show(types)}. It takes one bool scalar. Compare, or use np.any or np.all.")
        return _branch_types(self.name, regions)

    def eval(self, *arrays: np.ndarray, regions: Sequence[RegionFunction] = ()) -> tuple[np.ndarray, ...]:
        return regions[0 if arrays[0] else 1]()


@register
class Switch(RegionOp):
    """The region whose number the operand, an i64 scalar, is; clamped to those there are."""

    name = "switch"

    def infer(self, *types: TensorType, regions: Sequence[Block] = ()) -> tuple[TensorType, ...]:
        if not regions:
            raise IRError("switch has no regions. It needs at least one.")
        if types != (TensorType(i64),):
            raise DtypeError(f"switch of {_show(types)}. It takes one int64 scalar. Convert it with astype(np.int64).")
        return _branch_types(self.name, regions)

    def eval(self, *arrays: np.ndarray, regions: Sequence[RegionFunction] = ()) -> tuple[np.ndarray, ...]:
        return regions[min(max(int(arrays[0]), 0), len(regions) - 1)]()


def _branch_types(name: str, regions: Sequence[Block]) -> tuple[TensorType, ...]:
    types = tuple(v.type for v in regions[0].results)
    for region in regions:
        _takes(name, region, ())
        _yields(name, region, types, "those of the first branch")
    return types


@register
class Checkpoint(RegionOp):
    """What its only region yields. In reverse the region is run again rather than that its values are saved."""

    name = "checkpoint"

    def infer(self, *types: TensorType, regions: Sequence[Block] = ()) -> tuple[TensorType, ...]:
        _expect_regions(self.name, regions, 1)
        if types:
            raise IRError(f"checkpoint of {_show(types)}. It takes no operands: its region sees what is around it.")
        return _branch_types(self.name, regions)

    def eval(self, *arrays: np.ndarray, regions: Sequence[RegionFunction] = ()) -> tuple[np.ndarray, ...]:
        return regions[0]()
