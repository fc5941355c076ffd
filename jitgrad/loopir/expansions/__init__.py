"""Transcendental functions as scalar arithmetic of Loop IR, free of branches, so that LLVM vectorises the loop around
them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jitgrad.loopir.expansions import error_functions, exponentials, gamma, inverses, logarithms, powers, trigonometric
from jitgrad.loopir.nodes import Expr


@dataclasses.dataclass(frozen=True)
class Expansion:
    """A function as arithmetic; ``outside`` tells of the operands whether it does not hold for them."""

    expand: Callable[..., Expr]
    outside: Callable[..., Expr] | None = None


_WHOLE = (
    *(getattr(exponentials, n) for n in ("cosh", "exp", "exp2", "expit", "expm1", "sinh", "tanh")),
    *(getattr(logarithms, n) for n in ("arccosh", "arcsinh", "arctanh", "log", "log10", "log1p", "log1p_unit", "log2")),
    *(getattr(inverses, n) for n in ("arccos", "arcsin", "arctan", "arctan2")),
    *(getattr(powers, n) for n in ("cbrt", "hypot", "power")),
    *(error_functions.erf, error_functions.erfc, gamma.gammaln),
)
#: By name of the scalar function; all hold for float32 and float64.
EXPANSIONS: dict[str, Expansion] = {f.__name__: Expansion(f) for f in _WHOLE} | {
    f.__name__: Expansion(f, trigonometric.outside) for f in (trigonometric.sin, trigonometric.cos, trigonometric.tan)
}
