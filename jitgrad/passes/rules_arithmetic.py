"""Simplification rules for elementwise ops. See ``simplify`` for what "exact" means; rules that are not say so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jitgrad.ir.core import Value
from jitgrad.ir.index import add, mul, never_negative
from jitgrad.ir.symbols import index_of
from jitgrad.ir.types import TensorType, i64, is_float, is_short, kind_letter, smallest_normal
from jitgrad.passes.rewrite import Node, Rewriter, Rule, array_of, fit, full, is_number, made_by, scalar_of


def _constant_operand(node: Node) -> tuple[Value, Any] | None:
    """``(x, number)`` for a commutative op of x and a constant number, on whichever side."""
    x, y = node.operands
    number = scalar_of(y)
    if number is not None:
        return x, number
    number = scalar_of(x)
    return None if number is None else (y, number)


def _is_float(v: Value) -> bool:
    return is_float(v.type.dtype)


def never_negative_zero(v: Value, depth: int = 8) -> bool:
    """True where no element can be -0.0, as far as the few ops behind the value tell.

    The sign of a zero that a sum or a product of matrices gives depends on the order of summation, which is not
    specified, so those count as never being -0.0.
    """
    op = v.op
    if not _is_float(v):
        return True
    if op is None or depth == 0:
        return False
    match op.name:
        case "exp" | "exp2" | "cosh" | "square" | "absolute" | "expit" | "softplus" | "reduce_sum" | "einsum":
            return True
        case "constant":
            array: np.ndarray = op.attrs["value"]
            return not bool(np.any((array == 0) & np.signbit(array)))
        case "cast":
            return not _is_float(op.operands[0])
        case "reshape" | "transpose" | "broadcast_to" | "slice" | "subtract":
            return never_negative_zero(op.operands[0], depth - 1)
        case "add":
            return any(never_negative_zero(x, depth - 1) for x in op.operands)
        case "where":
            return all(never_negative_zero(x, depth - 1) for x in op.operands[1:])
        case _:
            return False


# Sums


def add_zero(r: Rewriter, node: Node) -> Value | None:
    """x + -0.0 = x. x + 0.0 = x where x is never -0.0 (-0.0 + 0.0 is 0.0), and for integers."""
    split = _constant_operand(node)
    if split is None or split[1] != 0:
        return None
    x, number = split
    exact = not _is_float(x) or np.signbit(number) or never_negative_zero(x)
    return fit(r, x, node.type) if exact else None


def add_negative(r: Rewriter, node: Node) -> Value | None:
    """x + -y = x - y."""
    x, y = node.operands
    if neg := made_by(y, "negative"):
        return r.emit("subtract", x, neg.operands[0])
    if neg := made_by(x, "negative"):
        return r.emit("subtract", y, neg.operands[0])
    return None


def subtract_zero(r: Rewriter, node: Node) -> Value | None:
    """x - 0 = x; x - -0.0 where x is never -0.0."""
    x, y = node.operands
    exact = is_number(y, 0.0) or (is_number(y, -0.0) and never_negative_zero(x))
    return fit(r, x, node.type) if exact else None


def subtract_from_zero(r: Rewriter, node: Node) -> Value | None:
    """-0.0 - x = -x, and 0 - x = -x for signed integers; 0.0 - 0.0 is 0.0, so not for +0.0."""
    x, y = node.operands
    exact = is_number(x, -0.0) if _is_float(x) else x.type.dtype.kind == "i" and is_number(x, 0)
    return fit(r, r.emit("negative", y), node.type) if exact else None


def subtract_negative(r: Rewriter, node: Node) -> Value | None:
    """x - -y = x + y."""
    x, y = node.operands
    neg = made_by(y, "negative")
    return None if neg is None else r.emit("add", x, neg.operands[0])


def subtract_self(r: Rewriter, node: Node) -> Value | None:
    """x - x = 0 for integers; for floats it is NaN where x is infinite or NaN."""
    x, y = node.operands
    return full(r, 0, node.type) if x is y and not _is_float(x) else None


def negative_negative(r: Rewriter, node: Node) -> Value | None:
    """--x = x."""
    neg = made_by(node.operands[0], "negative")
    return None if neg is None else neg.operands[0]


def negative_product(r: Rewriter, node: Node) -> Value | None:
    """-(x * c) = x * -c and -(x / c) = x / -c for a constant number c."""
    (x,) = node.operands
    op = made_by(x, "multiply", "divide")
    if op is None or not r.single(x):
        return None
    a, b = op.operands
    if _is_float(x) and (c := scalar_of(b)) is not None:
        return fit(r, r.emit(op.name, a, r.constant(-c)), node.type)
    if _is_float(x) and (c := scalar_of(a)) is not None:
        return fit(r, r.emit(op.name, r.constant(-c), b), node.type)
    return None


# Products


def multiply_one(r: Rewriter, node: Node) -> Value | None:
    """x * 1 = x, x * -1 = -x; for integers x * 0 = 0. (For floats x * 0 is NaN where x is infinite or NaN.)"""
    split = _constant_operand(node)
    if split is None:
        return None
    x, number = split
    if number == 1:
        return fit(r, x, node.type)
    if number == -1 and kind_letter(x.type.dtype) in "fi":
        return fit(r, r.emit("negative", x), node.type)
    if number == 0 and x.type.dtype.kind in "iu":
        return full(r, 0, node.type)
    return None


def multiply_negatives(r: Rewriter, node: Node) -> Value | None:
    """-x * -y = x * y and -x * c = x * -c; the same for quotients."""
    x, y = node.operands
    nx, ny = made_by(x, "negative"), made_by(y, "negative")
    if nx and ny:
        return r.emit(node.name, nx.operands[0], ny.operands[0])
    if nx and _is_float(y) and (c := scalar_of(y)) is not None:
        return fit(r, r.emit(node.name, nx.operands[0], r.constant(-c)), node.type)
    if ny and _is_float(x) and (c := scalar_of(x)) is not None:
        return fit(r, r.emit(node.name, r.constant(-c), ny.operands[0]), node.type)
    return None


def multiply_self(r: Rewriter, node: Node) -> Value | None:
    """x * x = square(x)."""
    x, y = node.operands
    return r.emit("square", x) if x is y and kind_letter(x.type.dtype) in "fiu" else None


def multiply_scales(r: Rewriter, node: Node) -> Value | None:
    """(x * c) * d = x * (c * d) where c or d is a power of two and c * d neither overflows nor underflows.

    Exact unless x * c overflows or underflows; then the result is the better one.
    """
    split = _constant_operand(node)
    if split is None or not _is_float(node.operands[0]) or is_short(node.type.dtype):  # float16 overflows soon
        return None
    x, d = split
    inner = made_by(x, "multiply")
    if inner is None or not r.single(x):
        return None
    inner_split = _constant_operand(Node(inner.name, inner.operands, inner.attrs, inner.result.type))
    if inner_split is None or not (_is_power_of_two(inner_split[1]) or _is_power_of_two(d)):
        return None
    with np.errstate(all="ignore"):
        product = inner_split[1] * d
    if not (np.isfinite(product) and abs(product) >= smallest_normal(product.dtype)):
        return None
    return fit(r, r.emit("multiply", inner_split[0], r.constant(product)), node.type)


def _is_power_of_two(number: Any) -> bool:
    return bool(np.isfinite(number)) and number != 0 and abs(math.frexp(float(number))[0]) == 0.5


def divide_constant(r: Rewriter, node: Node) -> Value | None:
    """x / 1 = x, x / -1 = -x, and x / c = x * (1/c) where c is a power of two and 1/c a normal number."""
    x, y = node.operands
    c = scalar_of(y)
    if c is None or not _is_float(x):
        return None
    if c == 1:
        return fit(r, x, node.type)
    if c == -1:
        return fit(r, r.emit("negative", x), node.type)
    with np.errstate(all="ignore"):
        inverse = np.reciprocal(c)
    tiny = smallest_normal(inverse.dtype)
    if not _is_power_of_two(c) or not np.isfinite(inverse) or min(abs(inverse), abs(c)) < tiny:
        return None
    return fit(r, r.emit("multiply", x, r.constant(inverse)), node.type)


def one_over(r: Rewriter, node: Node) -> Value | None:
    """1 / x = reciprocal(x)."""
    x, y = node.operands
    return fit(r, r.emit("reciprocal", y), node.type) if _is_float(x) and is_number(x, 1) else None


def power_constant(r: Rewriter, node: Node) -> Value | None:
    """Powers with a constant exponent.

    Correctly rounded, so at least as good as ``pow``: 0, 1, 2, -1, 0.5. Within an ulp or two of it: 3, 4, -2, 1.5,
    -0.5. For 0.5, 1.5 and -0.5 the base -inf gives NaN, and -0.0 keeps its sign, as in NumPy's own ``x ** 0.5``.
    Integers: 0, 1, 2, 3 only, exact.
    """
    x, y = node.operands
    n = scalar_of(y)
    if n is None or is_short(x.type.dtype):  # one rounding, not one a factor: ``widen`` makes it a power of float32
        return None
    if n == 0:
        return full(r, 1, node.type)
    value = _whole_power(r, x, float(n)) if _is_float(x) else _integer_power(r, x, int(n))
    return None if value is None else fit(r, value, node.type)


def _integer_power(r: Rewriter, x: Value, n: int) -> Value | None:
    if n == 1:
        return x
    if n not in (2, 3):
        return None
    square = r.emit("square", x)
    return square if n == 2 else r.emit("multiply", square, x)


def _whole_power(r: Rewriter, x: Value, n: float) -> Value | None:
    match n:
        case 1.0 | 2.0 | 3.0:
            return _integer_power(r, x, int(n))
        case 4.0:
            return r.emit("square", r.emit("square", x))
        case -1.0:
            return r.emit("reciprocal", x)
        case -2.0:  # in this order it neither overflows nor underflows before the result does
            return r.emit("square", r.emit("reciprocal", x))
        case 0.5:
            return r.emit("sqrt", x)
        case -0.5:
            return r.emit("reciprocal", r.emit("sqrt", x))
        case 1.5:
            return r.emit("multiply", x, r.emit("sqrt", x))
        case _:
            return None


# Unary ops


def even(r: Rewriter, node: Node) -> Value | None:
    """f(-x) = f(|x|) = f(x) for absolute and square."""
    op = made_by(node.operands[0], "negative", "absolute")
    return None if op is None else r.emit(node.name, op.operands[0])


def idempotent(r: Rewriter, node: Node) -> Value | None:
    """floor(floor(x)) = floor(x), and so on."""
    (x,) = node.operands
    return x if made_by(x, node.name) else None


def idempotent_pair(r: Rewriter, node: Node) -> Value | None:
    """maximum(x, x) = x, and so on."""
    x, y = node.operands
    return x if x is y else None


def not_not(r: Rewriter, node: Node) -> Value | None:
    """not not x = x, not (x == y) = x != y. (Not for <: not (x < y) is True at NaN, x >= y is not.)"""
    op = made_by(node.operands[0], "logical_not", "equal", "not_equal")
    if op is None:
        return None
    if op.name == "logical_not":
        return op.operands[0]
    return r.emit("not_equal" if op.name == "equal" else "equal", *op.operands)


def decided(r: Rewriter, node: Node) -> Value | None:
    """A comparison of indices that their limits decide: of a loop index with a bound of its loop."""
    if any(v.type != TensorType(i64) for v in node.operands):
        return None
    x, y = map(index_of, node.operands)
    if node.name in ("greater", "greater_equal"):
        x, y = y, x
    strict = node.name in ("less", "greater")
    if never_negative(add(add(y, mul(x, -1)), -1 if strict else 0)):
        return full(r, True, node.type)
    if never_negative(add(add(x, mul(y, -1)), 0 if strict else -1)):
        return full(r, False, node.type)
    return None


def logical_constant(r: Rewriter, node: Node) -> Value | None:
    """x and True = x, x and False = False; x or False = x, x or True = True."""
    split = _constant_operand(node)
    if split is None:
        return None
    x, value = split
    neutral = node.name == "logical_and"
    return fit(r, x, node.type) if bool(value) == neutral else full(r, value, node.type)


def cast_cast(r: Rewriter, node: Node) -> Value | None:
    """A cast to the dtype that the value has; a cast of a lossless cast; a cast of an integer cast that keeps more."""
    (x,) = node.operands
    to: np.dtype = node.attrs["dtype"]
    if x.type.dtype == to:
        return x
    inner = made_by(x, "cast")
    if inner is None:
        return None
    source = inner.operands[0]
    # A float that does not fit an integer dtype becomes no particular number, an integer wraps around.
    fits = is_float(to) or not is_float(x.type.dtype) or _lossless(source.type.dtype, to)
    if _lossless(source.type.dtype, x.type.dtype) and fits:
        return r.emit("cast", source, dtype=to)
    kinds = source.type.dtype.kind + x.type.dtype.kind + to.kind
    if all(k in "iu" for k in kinds) and x.type.dtype.itemsize >= to.itemsize:
        return r.emit("cast", source, dtype=to)  # both keep the low bits
    return None


def _lossless(a: np.dtype, b: np.dtype) -> bool:
    """True where every value of dtype a is one of dtype b. (NumPy calls i64 -> f64 safe, though it rounds.)"""
    rounds = a.kind in "iu" and is_float(b) and a.itemsize >= b.itemsize
    return bool(np.can_cast(a, b, "safe")) and not rounds


# Selection


def where_constant(r: Rewriter, node: Node) -> Value | None:
    """where(True, x, y) = x; where(c, x, x) = x; where(not c, x, y) = where(c, y, x)."""
    c, x, y = node.operands
    if x is y:
        return fit(r, x, node.type)
    array = array_of(c)
    known = scalar_of(c)
    if known is None and array is not None and array.size and (array.all() or not array.any()):
        known = bool(array.reshape(-1)[0])
    if known is not None:
        return fit(r, x if known else y, node.type)
    if op := made_by(c, "logical_not"):
        return r.emit("where", op.operands[0], y, x)
    return None


def where_where(r: Rewriter, node: Node) -> Value | None:
    """A branch knows its condition: where(c, where(c, a, b), y) = where(c, a, y).

    Also through one elementwise op: where(c, where(c, a, b) * z, y) = where(c, a * z, y). What ``a * z`` is where c is
    False does not matter, for it is not selected there; but its derivative might, so this is for graphs that will not
    be differentiated.
    """
    c, *branches = node.operands
    for side, branch in enumerate(branches):
        new = _given(r, branch, c, side)
        if new is not None:
            branches[side] = new
            return fit(r, r.emit("where", c, *branches), node.type)
    return None


def _given(r: Rewriter, branch: Value, c: Value, side: int) -> Value | None:
    """The branch simplified under the assumption that c is True (side 0) or False (side 1); None: no change."""
    op = branch.op
    if op is None:
        return None
    if op.name == "where" and op.operands[0] is c:
        return fit(r, op.operands[1 + side], branch.type)
    if op.name not in _THROUGH or not r.single(branch):
        return None
    operands = [_given_where(v, c, side) or v for v in op.operands]
    if all(a is b for a, b in zip(operands, op.operands, strict=True)):
        return None
    return fit(r, r.emit(op.opdef, *operands, **op.attrs), branch.type)


def _given_where(v: Value, c: Value, side: int) -> Value | None:
    op = made_by(v, "where")
    return op.operands[1 + side] if op is not None and op.operands[0] is c else None


#: Ops that selection is moved through.
_THROUGH = frozenset(("multiply", "divide", "add", "subtract", "negative", "square", "sqrt", "exp", "log", "cast"))


# Broadcasting


def drop_broadcasts(r: Rewriter, node: Node) -> Value | None:
    """An elementwise op broadcasts by itself: compute at the smallest shape, then broadcast the result if need be."""
    inner = [op.operands[0] if (op := made_by(v, "broadcast_to")) else v for v in node.operands]
    if all(a is b for a, b in zip(inner, node.operands, strict=True)):
        return None
    small = r.emit(node.name, *inner, **node.attrs)
    return fit(r, small, node.type)


RULES: dict[str, list[Rule]] = {
    **{name: [decided] for name in ("less", "less_equal", "greater", "greater_equal")},
    "add": [add_zero, add_negative],
    "subtract": [subtract_zero, subtract_from_zero, subtract_negative, subtract_self],
    "negative": [negative_negative, negative_product],
    "multiply": [multiply_one, multiply_negatives, multiply_self, multiply_scales],
    "divide": [divide_constant, one_over, multiply_negatives],
    "power": [power_constant],
    "absolute": [even, idempotent],
    "square": [even],
    "logical_not": [not_not],
    "logical_and": [logical_constant, idempotent_pair],
    "logical_or": [logical_constant, idempotent_pair],
    "cast": [cast_cast],
    "where": [where_constant],
    **{name: [idempotent] for name in ("floor", "ceil", "rint", "trunc", "sign")},
    **{name: [idempotent_pair] for name in ("maximum", "minimum", "fmax", "fmin")},
}

#: Rules for graphs that will not be differentiated.
FINAL_RULES: dict[str, list[Rule]] = {"where": [where_where]}
