"""Stable rewrites: replace formulas that overflow, or whose derivative is NaN, by equal ones that do not.

Each is an identity of real numbers, so only what rounding, overflow and underflow had spoilt changes. Run before
differentiation, so that the derivatives profit too. Every rewrite is noted, for ``explain()``.

| as written | becomes |
| --- | --- |
| log(1 + exp(x)), log1p(exp(x)), logaddexp(x, 0) | softplus(x) |
| 1 / (1 + exp(-x)), exp(x) / (1 + exp(x)) | expit(x) |
| log(expit(x)), log(1 - expit(x)), log1p(-expit(x)) | log_expit(x), log_expit(-x) |
| a / (1 + exp(-x)), as in x / (1 + exp(-x)) | a * expit(x) |
| log(exp(x) + exp(y)), also with more terms | logaddexp(x, y) |
| log(cosh(x)) | logaddexp(x, -x) - log(2) |
| log(sum(exp(x))), also with a constant positive factor | the same with max(x) taken out |
| log(exp(x) / s) where s is a sum of exponentials | x - log(s) |
| log(exp(x)) | x |
| log(p[i]), where a rule above or below takes log(p) | log(p)[i]; also for slices, reshapes and transposes |
| sqrt or power 0.5 of a sum of squares | safe_sqrt, whose derivative at 0 is 0 |

A softmax that is written out stays: exp(x) / sum(exp(x)) has no equal form that is cheaper and always better.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.ir.core import Graph, Op, Value
from jitgrad.passes.rewrite import Node, Rewriter, fit, is_number, made_by, scalar_of


def stable(graph: Graph, notes: list[str] | None = None) -> Graph:
    """The graph with stable formulas. A line for each rewrite is appended to ``notes``."""
    return _Stable(graph, notes if notes is not None else []).run(graph)


class _Stable(Rewriter):
    """The rules, with what they remember from op to op."""

    def __init__(self, graph: Graph, notes: list[str]) -> None:
        super().__init__(
            graph,
            {
                "log": [
                    *(_log_of_exp, _log_of_sigmoid, _softplus, _log_of_quotient, _log_sum_exp),
                    *(_log_add_exp, _log_cosh, _log_of_moved),
                ],
                "log1p": [_softplus, _log_of_sigmoid],
                "logaddexp": [_logaddexp_zero],
                "divide": [_sigmoid],
                "reciprocal": [_sigmoid],
                "sqrt": [_safe_sqrt],
                "power": [_safe_sqrt],
            },
        )
        self.notes = notes
        self.squares: dict[Value, bool] = {}

    def note(self, text: str) -> None:
        where = f"{self.loc.file}:{self.loc.line}: " if self.loc else ""
        line = where + text
        if line not in self.notes:
            self.notes.append(line)


def _note(r: Rewriter, text: str) -> None:
    assert isinstance(r, _Stable)
    r.note(text)


# Recognizing


def _through_broadcast(v: Value) -> Value:
    """What is behind broadcasts and reshapes."""
    while (op := made_by(v, "broadcast_to", "reshape")) is not None:
        (v,) = op.operands
    return v


def _exponent(v: Value) -> Value | None:
    """x, where the value is exp(x)."""
    op = made_by(v, "exp")
    return None if op is None else op.operands[0]


def _one_plus(v: Value) -> Value | None:
    """u, where the value is 1 + u and has the shape of u."""
    op = made_by(v, "add")
    if op is None:
        return None
    for one, other in (op.operands, op.operands[::-1]):
        if is_number(one, 1) and other.type == v.type:
            return other
    return None


def _one_minus(v: Value) -> Value | None:
    """u, where the value is 1 - u and has the shape of u."""
    op = made_by(v, "subtract")
    if op is None or not is_number(op.operands[0], 1) or op.operands[1].type != v.type:
        return None
    return op.operands[1]


def _negated(r: Rewriter, v: Value) -> Value:
    """-v, without a double negation."""
    if op := made_by(v, "negative"):
        return op.operands[0]
    if (op := made_by(v, "multiply")) is not None:
        for c, other in (op.operands, op.operands[::-1]):
            if is_number(c, -1) and other.type == v.type:
                return other
    return r.emit("negative", v)


# Logistic functions


def _sigmoid(r: Rewriter, node: Node) -> Value | None:
    """1 / (1 + exp(-x)) and exp(x) / (1 + exp(x)) are expit(x); a / (1 + exp(-x)) is a * expit(x)."""
    denominator = node.operands[-1]
    power = _one_plus(denominator)
    x = None if power is None else _exponent(power)
    if power is None or x is None or x.type != node.type:
        return None
    if node.name == "reciprocal" or is_number(node.operands[0], 1):
        _note(r, "1 / (1 + exp(-x)) is computed as expit(x)")
        return r.emit("expit", _negated(r, x))
    if node.operands[0] is power or _exponent(node.operands[0]) is x:
        _note(r, "exp(x) / (1 + exp(x)) is computed as expit(x), which does not overflow")
        return r.emit("expit", x)
    _note(r, "a / (1 + exp(-x)) is computed as a * expit(x), whose derivative does not overflow")
    return r.emit("multiply", node.operands[0], r.emit("expit", _negated(r, x)))


def _softplus(r: Rewriter, node: Node) -> Value | None:
    """log(1 + exp(x)) and log1p(exp(x)) are softplus(x)."""
    (u,) = node.operands
    power = u if node.name == "log1p" else _one_plus(u)
    x = None if power is None else _exponent(power)
    if x is None:
        return None
    _note(r, "log(1 + exp(x)) is computed as softplus(x), which does not overflow")
    return r.emit("softplus", x)


def _logaddexp_zero(r: Rewriter, node: Node) -> Value | None:
    """logaddexp(x, 0) is softplus(x)."""
    for zero, x in (node.operands, node.operands[::-1]):
        if scalar_of(zero) == 0 and x.type == node.type:
            _note(r, "logaddexp(x, 0) is computed as softplus(x)")
            return r.emit("softplus", x)
    return None


def _log_of_sigmoid(r: Rewriter, node: Node) -> Value | None:
    """log(expit(x)) is log_expit(x); log(1 - expit(x)) and log1p(-expit(x)) are log_expit(-x)."""
    (u,) = node.operands
    if node.name == "log" and (op := made_by(u, "expit")):
        _note(r, "log(expit(x)) is computed as log_expit(x), which does not underflow")
        return r.emit("log_expit", op.operands[0])
    inner = made_by(u, "negative") if node.name == "log1p" else None
    minus = inner.operands[0] if inner else _one_minus(u) if node.name == "log" else None
    op = None if minus is None else made_by(minus, "expit")
    if op is None:
        return None
    _note(r, "log(1 - expit(x)) is computed as log_expit(-x), which does not underflow")
    return r.emit("log_expit", _negated(r, op.operands[0]))


# Logarithms of exponentials


def _log_of_exp(r: Rewriter, node: Node) -> Value | None:
    """log(exp(x)) is x."""
    x = _exponent(node.operands[0])
    if x is not None:
        _note(r, "log(exp(x)) is computed as x, which does not overflow")
    return x


def _log_of_quotient(r: Rewriter, node: Node) -> Value | None:
    """log(exp(x) / s) is x - log(s), where s is a sum of exponentials (as in a softmax)."""
    op = made_by(node.operands[0], "divide")
    if op is None:
        return None
    x, total = _exponent(op.operands[0]), op.operands[1]
    if x is None or _sum_of_exponentials(_through_broadcast(total)) is None:
        return None
    _note(r, "log(exp(x) / sum(exp(x))) is computed as x - log(sum(exp(x)))")
    return fit(r, r.emit("subtract", x, _log_through(r, total)), node.type)


#: The most terms of a sum that is taken for a chain of logaddexp.
_TERMS = 8


def _log_add_exp(r: Rewriter, node: Node) -> Value | None:
    """log(exp(x) + exp(y) + ...) is logaddexp(logaddexp(x, y), ...); positive constants among the terms join in."""
    pending, exponents, constants = [node.operands[0]], [], []
    while pending:
        v = pending.pop()
        if op := made_by(v, "add"):
            pending += reversed(op.operands)
        elif (x := _exponent(v)) is not None:
            exponents.append(x)
        elif (c := scalar_of(v)) is not None and np.isfinite(c) and c > 0:
            constants.append(r.constant(np.log(c), node.type.dtype))
        else:
            return None
        if len(pending) + len(exponents) + len(constants) > _TERMS:
            return None
    if not exponents or len(exponents) + len(constants) < 2:
        return None
    _note(r, "log(exp(x) + exp(y)) is computed as logaddexp(x, y), which does not overflow")
    total, *rest = exponents + constants
    for x in rest:
        total = r.emit("logaddexp", total, x)
    return fit(r, total, node.type)


def _log_cosh(r: Rewriter, node: Node) -> Value | None:
    """log(cosh(x)) is logaddexp(x, -x) - log(2)."""
    op = made_by(node.operands[0], "cosh")
    if op is None:
        return None
    (x,) = op.operands
    _note(r, "log(cosh(x)) is computed as logaddexp(x, -x) - log(2), which does not overflow")
    total = r.emit("logaddexp", x, r.emit("negative", x))
    return r.emit("subtract", total, r.constant(np.log(2.0), x.type.dtype))


def _log_of_moved(r: Rewriter, node: Node) -> Value | None:
    """log(p[i]) is log(p)[i], where log(p) has a stable form: p is a softmax, sigmoid, exponential, or a sum of those.

    So ``-np.log(softmax(z)[np.arange(n), labels])`` is a cross-entropy that does not underflow.
    """
    moves, v = [], node.operands[0]
    while (op := made_by(v, "gather", "slice", "reshape", "transpose", "broadcast_to")) is not None:
        moves.append(op)
        v = op.operands[0]
    root = v.op
    if not moves or root is None:
        return None
    match root.name:
        case "exp" | "expit":
            known = True
        case "divide":
            known = _exponent(root.operands[0]) is not None
            known = known and _sum_of_exponentials(_through_broadcast(root.operands[1])) is not None
        case "subtract":
            inner = _one_minus(v)
            known = inner is not None and made_by(inner, "expit") is not None
        case "reduce_sum":
            known = not made_by(node.operands[0], "reshape") and _sum_of_exponentials(v) is not None
        case _:
            known = False
    if not known:
        return None
    _note(r, "log of a part of an array is computed as that part of its log, which has a stable form")
    result = r.emit("log", v)
    for op in reversed(moves):
        result = r.emit(op.name, result, *op.operands[1:], **op.attrs)
    return result


def _log_through(r: Rewriter, v: Value) -> Value:
    """log(v), taken before broadcasts and reshapes."""
    op = made_by(v, "broadcast_to", "reshape")
    if op is None:
        return r.emit("log", v)
    return r.emit(op.name, _log_through(r, op.operands[0]), **op.attrs)


def _sum_of_exponentials(v: Value) -> Op | None:
    """The reduce_sum over at least one element, where the value is the sum of an exp."""
    op = made_by(v, "reduce_sum")
    if op is None or _exponent(op.operands[0]) is None or not op.attrs["axes"]:
        return None
    shape = op.operands[0].type.shape
    return op if all(isinstance(shape[k], int) and shape[k] != 0 for k in op.attrs["axes"]) else None


def _positive_factor(v: Value) -> tuple[Value, Any]:
    """``(u, c)`` where the value is u * c with a constant number c > 0; c is 1 where there is none."""
    op = made_by(v, "multiply", "divide")
    if op is None:
        return v, 1
    x, y = op.operands
    c = scalar_of(y)
    if op.name == "multiply" and c is None:
        c, x = scalar_of(x), y
    if c is None or not (np.isfinite(c) and c > 0) or x.type != v.type:
        return v, 1
    return x, (c if op.name == "multiply" else 1 / c)


def _log_sum_exp(r: Rewriter, node: Node) -> Value | None:
    """log(c * sum(exp(x))) is log(sum(exp(x - m))) + m + log(c), where m is the maximum of x, or 0 if it is infinite.

    m is a constant for derivatives: the result does not depend on it. With m = 0 an infinite maximum gives what the
    plain formula gives: inf for inf, -inf where every x is -inf.
    """
    scaled, factor = _positive_factor(node.operands[0])
    outer = made_by(scaled, "reshape")
    op = _sum_of_exponentials(outer.operands[0] if outer else scaled)
    if op is None:
        return None
    x, axes = made_by(op.operands[0], "exp").operands[0], op.attrs["axes"]  # pyright: ignore[reportOptionalMemberAccess]
    if _already_shifted(x):
        return None
    _note(r, "log(sum(exp(x))) is computed with max(x) taken out, so that exp does not overflow")
    m = r.emit("stop_gradient", r.emit("reduce_max", x, axes=axes))
    m = r.emit("where", r.emit("isfinite", m), m, r.constant(0, x.type.dtype))
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.type.shape))
    shifted = r.emit("exp", r.emit("subtract", x, r.emit("reshape", m, shape=kept)))
    # ``append``: this log must not be looked at by this rule again.
    total = r.append("log", r.emit("reduce_sum", shifted, axes=axes))
    result = r.emit("add", total, m)
    if factor != 1:
        result = r.emit("add", result, r.constant(np.log(factor), x.type.dtype))
    return r.emit("reshape", result, shape=node.type.shape) if outer else result


def _already_shifted(x: Value) -> bool:
    """True where x is a - max(a), as people write it by hand and as :func:`_log_sum_exp` does."""
    op = made_by(x, "subtract")
    if op is None:
        return False
    m = op.operands[1]
    while (through := made_by(m, "broadcast_to", "reshape", "stop_gradient", "where")) is not None:
        m = through.operands[1 if through.name == "where" else 0]
    top = made_by(m, "reduce_max")
    return top is not None and top.operands[0] is op.operands[0]


# Norms


def _safe_sqrt(r: Rewriter, node: Node) -> Value | None:
    """The square root of a sum of squares is a norm; its derivative where it is 0 is taken as 0."""
    x = node.operands[0]
    if node.name == "power" and not is_number(node.operands[1], 0.5):
        return None
    assert isinstance(r, _Stable)
    if x.type != node.type or not _is_sum_of_squares(x, r.squares):
        return None
    _note(r, "the derivative of the square root of a sum of squares is taken as 0 where it is 0")
    return r.emit("safe_sqrt", x)


#: Ops that move or add elements, or scale them by equal positive numbers: of a sum of squares they make another.
_KEEPS_SQUARES = (
    *("reduce_sum", "add", "reshape", "transpose", "broadcast_to", "slice", "gather", "concatenate", "cumsum", "pad"),
    *("reduce_max", "reduce_min", "maximum", "minimum"),
)


def _is_sum_of_squares(v: Value, known: dict[Value, bool]) -> bool:
    """True where the value is made of squares by sums, moves and positive factors. Linear time: answers are kept."""
    pending = [v]
    while pending:
        top = pending[-1]
        if top in known:
            pending.pop()
            continue
        direct = _directly_square(top)
        parts = [] if direct is not None else _parts(top)
        unknown = [p for p in parts if p not in known]
        if unknown:
            pending += unknown
            continue
        known[top] = direct if direct is not None else bool(parts) and all(known[p] for p in parts)
        pending.pop()
    return known[v]


def _directly_square(v: Value) -> bool | None:
    """True or False where the op alone decides; None where its operands do."""
    op = v.op
    if op is None:
        return False
    match op.name:
        case "square":
            return True
        case "multiply" if op.operands[0] is op.operands[1]:
            return True
        case "power":
            n = scalar_of(op.operands[1])
            return n is not None and bool(n > 0) and float(n) % 2 == 0
        case "einsum":
            inputs = op.attrs["spec"].split("->")[0].split(",")
            return op.operands[0] is op.operands[1] and inputs[0] == inputs[1]
        case _:
            return None


def _parts(v: Value) -> list[Value]:
    """The operands that all have to be sums of squares for the value to be one; none: it is not."""
    op = v.op
    assert op is not None
    if op.name in ("multiply", "divide"):
        x, factor = _positive_factor(v)
        return [] if x is v and factor == 1 else [x]
    if op.name == "gather":
        return [op.operands[0]]
    return list(op.operands) if op.name in _KEEPS_SQUARES else []
