"""Expressions that have one value wherever they are computed.

A compiler may fuse a product with the sum that it goes into, which rounds once in place of twice, and it does so at one
place and not at another. An array that is computed anew at each of its uses must be the same numbers at all of them:
its greatest element is looked for by comparing with it. So it is said there which sums are fused with which products.
"""

from __future__ import annotations

from jitgrad.ir.types import is_float
from jitgrad.loopir.nodes import Expr, Scalar, scalar
from jitgrad.loopir.walk import postorder


def rounded(e: Expr) -> Expr:
    """The expression with every product of floats either fused with the sum that it goes into, or rounded."""
    memo: dict[Expr, Expr] = {}
    for part in postorder(e, memo.__contains__):
        memo[part] = _rounded(part, memo) if isinstance(part, Scalar) else part
    return _product(memo[e])


def _rounded(e: Scalar, memo: dict[Expr, Expr]) -> Expr:
    args = tuple(memo[a] for a in e.args)
    if is_float(e.dtype) and e.op in ("add", "subtract"):
        left, right = args
        if factors := _factors(left):
            return Scalar("fma", (*factors, _product(right) if e.op == "add" else _negative(_product(right))), e.dtype)
        if factors := _factors(right):
            first, second = factors
            return Scalar("fma", (first if e.op == "add" else _negative(first), second, left), e.dtype)
    return e if args == e.args else Scalar(e.op, args, e.dtype)


def _factors(e: Expr) -> tuple[Expr, Expr] | None:
    """What a product that may be fused is of."""
    if not isinstance(e, Scalar):
        return None
    if e.op == "negative":
        factors = _factors(e.args[0])
        return None if factors is None else (_negative(factors[0]), factors[1])
    if e.op == "square":
        return e.args[0], e.args[0]
    return (e.args[0], e.args[1]) if e.op == "multiply" else None


def _negative(e: Expr) -> Expr:
    return scalar("negative", e)


def _product(e: Expr) -> Expr:
    """The expression; a product of floats rounded, whatever is done with it."""
    if not isinstance(e, Scalar) or not is_float(e.dtype):
        return e
    if e.op == "negative":
        return Scalar(e.op, (_product(e.args[0]),), e.dtype)
    factors = _factors(e)
    return e if factors is None else Scalar("product", factors, e.dtype)
