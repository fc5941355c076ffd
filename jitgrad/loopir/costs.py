"""What scalar functions cost."""

from __future__ import annotations

from jitgrad.loopir.nodes import PREDICATES

#: See :func:`price`.
COSTS = {"divide": 4, "sqrt": 5, "safe_sqrt": 5, "remainder": 10, "floor_divide": 10, "fmod": 20, "cast": 1, "where": 1}
TRANSCENDENTAL = 16
_CHEAP = PREDICATES | {
    "add",
    "subtract",
    "multiply",
    "negative",
    "absolute",
    "square",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "floor",
    "ceil",
    "rint",
    "trunc",
    "copysign",
    "where",
    "cast",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "invert",
    "left_shift",
    "right_shift",
    "stop_gradient",
    "sign",
    "fma",
    "product",
    "bitcast",
}


def price(op: str) -> int:
    """What one evaluation of a scalar function costs, in simple arithmetic operations."""
    return COSTS.get(op, 1 if op in _CHEAP else TRANSCENDENTAL)
