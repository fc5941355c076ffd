"""``check`` and ``show``: the ops with effects."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, IRError
from jitgrad.ir.messages import deliver
from jitgrad.ir.thrown import Thrown, formatted
from jitgrad.ir.types import TensorType, bool_
from jitgrad.ops.op import OpRule, Sample, register

_SAMPLE = Thrown(ValueError("a sample"))


@register
class Check(OpRule):
    """The first operand, a bool scalar; where it is False the program ends, and the exception ``error`` is raised. The
    other operands are the values that fill its holes."""

    name = "check"
    wide = False
    differentiable = False
    effects = True

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [Sample((np.asarray(True),), {"error": _SAMPLE}, grad=False)]

    def infer(self, *types: TensorType, error: Thrown) -> TensorType:
        if types[:1] != (TensorType(bool_),):
            raise DtypeError(f"check of {types}. It takes one bool scalar first. Use np.all or np.any.")
        if len(types) - 1 != len(error.specs):
            raise IRError(f"check of {len(types) - 1} values for the {len(error.specs)} holes of {error}")
        return TensorType(bool_)

    def eval(self, *arrays: np.ndarray, error: Thrown) -> np.ndarray:
        if not arrays[0]:
            raise error.exception([a[()] for a in arrays[1:]])
        return arrays[0]

    def lower(self, b: Any, *tensors: Any, error: Thrown) -> Any:
        ok, *values = tensors
        with b.kernel():
            b.raise_unless(ok[()], error, values)
        return ok


@register
class Show(OpRule):
    """Writes the text that the operands make of a format string (that of ``str.format``), to a receiver: see
    ``jitgrad.ir.messages``."""

    name = "show"
    wide = False
    differentiable = False
    effects = True
    structural = True  # it has no results to test

    def infer(self, *types: TensorType, text: str, to: tuple[Any, ...]) -> tuple[TensorType, ...]:
        unknown = next((t for t in types if not isinstance(t.size, int)), None)
        if unknown is not None:
            raise DtypeError(f"show of {unknown}. What is shown has a shape that is known when the program is made.")
        return ()

    def eval(self, *arrays: np.ndarray, text: str, to: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
        deliver(to, formatted(text, [a[()] for a in arrays]))
        return ()

    def lower(self, b: Any, *tensors: Any, text: str, to: tuple[Any, ...]) -> tuple[Any, ...]:
        b.libcall("show", [], tensors, text=text, to=to)
        return ()
