"""``custom``: a function whose derivative the user gives.

The op stays whole while graphs are differentiated. Before a graph is compiled, the function's own ops take its place
(``jitgrad.ir.custom.resolve``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DifferentiationError
from jitgrad.ir.custom import CustomRule
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, is_float
from jitgrad.ops.op import OpRule, Var, register, zeros


@register
class Custom(OpRule):
    """``custom(*args) {rule}``: the results of ``rule.graph``, and the residuals where the rule saves some."""

    name = "custom"
    structural = True

    def infer(self, *types: TensorType, rule: CustomRule) -> Any:
        found = tuple(r.type for r in rule.whole.results)
        return found[0] if len(found) == 1 else found

    def eval(self, *arrays: np.ndarray, rule: CustomRule) -> Any:
        found = interpret(rule.whole, *arrays)
        return found[0] if len(found) == 1 else tuple(found)

    def vjp(self, g: Any, out: Any, *xs: Var, rule: CustomRule) -> Sequence[Var | None]:
        gs, outs = ((x,) if isinstance(x, Var) else x for x in (g, out))
        count = len(rule.graph.results)
        cotangents = [g for g in gs[:count] if is_float(g.dtype)]
        b = xs[0].b
        assert rule.pullback is not None
        found = b.inline(rule.pullback, [v.value for v in (*xs, *outs[count:], *cotangents)])
        return list(_floats(xs, [Var(b, v) for v in found]))

    def jvp(self, ts: Sequence[Var | None], out: Any, *xs: Var, rule: CustomRule) -> Any:
        b = xs[0].b
        if rule.pushforward is None:
            raise DifferentiationError(
                f"{rule.name} can't be differentiated in forward mode: custom_vjp gives its derivative in reverse. "
                "Use jg.grad, or give its derivative by jg.custom_jvp, which serves both.",
                b.loc,
            )
        tangents = [t or zeros(b, x.type) for t, x in zip(ts, xs, strict=True) if is_float(x.dtype)]
        found = b.inline(rule.pushforward, [v.value for v in (*xs, *tangents)])
        outs = (out,) if isinstance(out, Var) else out
        result = tuple(_floats(outs, [Var(b, v) for v in found]))
        return result[0] if isinstance(out, Var) else result


def _floats(values: Sequence[Var], found: Sequence[Var]) -> Iterator[Var | None]:
    """What was found for each float value, and None for the others."""
    given = iter(found)
    return (next(given, None) if is_float(v.dtype) else None for v in values)
