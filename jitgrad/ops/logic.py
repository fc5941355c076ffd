"""Elementwise comparisons, predicates, logic on bools, and bit operations on integers. None has a derivative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jitgrad.ops.elementwise import Samples, Ufunc, binary, unary
from jitgrad.ops.op import Number, Var, register


class _NoDerivative(Ufunc):
    differentiable = False
    singular = False

    def partials(self, *xs: Var, out: Var) -> Sequence[Var | Number | None]:
        return (None,) * self.arity


class _Predicate(_NoDerivative):
    """An op whose result is bool."""

    def result_dtype(self, *dtypes: np.dtype) -> np.dtype:
        return np.dtype(np.bool_)


def _define(base: type[_NoDerivative], name: str, arity: int, kinds: str, samples: Samples) -> None:
    """Register an op that has no rules of its own."""
    members = {"name": name, "numpy": getattr(np, name), "arity": arity, "kinds": kinds, "samples": samples}
    register(type(name.title().replace("_", ""), (base,), members))


for _name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"):
    _define(_Predicate, _name, 2, "fiub", binary((-2, 2), kinds="fiub", grad=False))
for _name in ("isnan", "isinf", "isfinite", "signbit"):
    _define(_Predicate, _name, 1, "f", unary(-2, 2, grad=False))
for _name in ("logical_and", "logical_or", "logical_xor"):
    _define(_Predicate, _name, 2, "b", binary((0, 1), kinds="b", grad=False))
_define(_Predicate, "logical_not", 1, "b", unary(0, 1, kinds="b", grad=False))
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    _define(_NoDerivative, _name, 2, "iu", binary((0, 1), kinds="iu", grad=False))
_define(_NoDerivative, "invert", 1, "iu", unary(0, 1, kinds="iu", grad=False))
for _name in ("left_shift", "right_shift"):
    _define(_NoDerivative, _name, 2, "iu", binary((0, 1), kinds="iu", grad=False))
