"""Cotangents of the values of a block, and how one op passes them on to its operands.

The cotangent of a value is an accumulator: nothing (a symbolic zero) until first touched, then summed. Ops that read a
piece of an array (slices, gathers) add their piece into the accumulator, so that any number of reads share one adjoint
buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitgrad.errors import DifferentiationError, IRError
from jitgrad.ir.core import Builder, Op, Value
from jitgrad.ir.types import TensorType, bool_
from jitgrad.ops.op import Cotangent, OpRule, Var, apply, zeros


class Adjoints:
    """The cotangents of the values of one block, while it is walked backwards.

    ``env`` maps the values of the original graph to their copies in the graph that ``b`` builds; without it they are
    used themselves. ``local``: the block is a region, where no masks are kept for arrays that are read and written
    piece by piece: they would have to be carried along with each of them.
    """

    def __init__(self, b: Builder, env: dict[Value, Value] | None = None, *, local: bool = False) -> None:
        self.b, self.env, self.local = b, env, local
        self._sums: dict[Value, Cotangent] = {}

    def copy(self) -> dict[Value, Cotangent]:
        """All sums so far."""
        return dict(self._sums)

    def restore(self, sums: dict[Value, Cotangent]) -> None:
        """Go back to the sums of an earlier copy."""
        self._sums = dict(sums)

    def var(self, value: Value) -> Var:
        """The handle of an original value."""
        return Var(self.b, value if self.env is None else self.env[value])

    def get(self, value: Value) -> Cotangent | None:
        """The sum so far; None is zero."""
        return self._sums.get(value)

    def value(self, value: Value) -> Var:
        """The sum so far, with zeros filled in."""
        found = self._sums.get(value)
        return zeros(self.b, value.type) if found is None else found.value

    def set(self, value: Value, g: Cotangent) -> None:
        """Put a sum in the place of the one so far."""
        self._sums[value] = g

    def add(self, value: Value, g: Cotangent) -> None:
        """Add a cotangent. The sum may be nonzero where either addend may."""
        _check_type(value, g)
        old = self._sums.get(value)
        if old is None:
            self._sums[value] = g
            return
        mask = None if old.mask is None or g.mask is None else old.mask | g.mask
        self._sums[value] = Cotangent(old.value + g.value, mask)

    def add_piece(self, value: Value, g: Cotangent, op: Op) -> None:
        """Add the cotangent ``g`` of a piece of ``value`` that ``op`` read, in place of a whole array of zeros.

        The mask follows: elements that were not read have no cotangent.
        """
        rest = [self.var(v) for v in op.operands]
        accumulate: Any = op.opdef.accumulate  # pyright: ignore[reportAttributeAccessIssue]
        old = self._sums.get(value)
        total = accumulate(self.value(value), g.value, *rest, **op.attrs)
        mask = None
        if not self.local and value.op is not None and (old is None or old.mask is not None):
            before = zeros(self.b, TensorType(bool_, value.type.shape)) if old is None else old.mask
            piece = g.mask if g.mask is not None else _everywhere(g.value)
            mask = accumulate(before, piece, *rest, **op.attrs)
        self._sums[value] = Cotangent(total, mask)


#: Ops that write a part of an array.
_PIECEWISE = frozenset(("set_slice", "add_slice", "scatter_set", "scatter_add"))


def _everywhere(x: Var) -> Var:
    """A mask of True, of x's shape."""
    true = Var(x.b, x.b.constant(True, bool_))
    return apply("broadcast_to", true, shape=x.shape) if x.shape else true


def _check_type(value: Value, g: Cotangent) -> None:
    if g.value.type != value.type:
        by = value.op.name if value.op is not None else "a parameter"
        raise IRError(
            f"the cotangent of a value of type {value.type} (from {by}) has type {g.value.type}. A derivative rule "
            "of one of its users is wrong: cotangents have the type of the operand."
        )


def pull_back(op: Op, adjoints: Adjoints, active: set[Value]) -> None:
    """Propagate the cotangents of the results of one op to its active operands."""
    if not any(r in active and adjoints.get(r) is not None for r in op.results):
        return
    if not any(v in active for v in op.operands):
        return
    rule = op.opdef
    if not isinstance(rule, OpRule):
        raise DifferentiationError(
            f"{op.name} can't be differentiated in reverse. It has no derivative rule. "
            "Use jg.stop_gradient on its result if its derivative is not wanted.",
            op.loc,
        )
    with adjoints.b.at(op.loc):
        if len(op.results) == 1 and hasattr(rule, "accumulate") and op.operands[0] in active:
            g = adjoints.get(op.result)
            assert g is not None
            adjoints.add_piece(op.operands[0], g, op)
            return
        for operand, g in zip(op.operands, _apply_rule(op, rule, adjoints), strict=True):
            if g is not None and operand in active:
                adjoints.add(operand, Cotangent(g.value) if adjoints.local and op.name in _PIECEWISE else g)


def _apply_rule(op: Op, rule: OpRule, adjoints: Adjoints) -> Sequence[Cotangent | None]:
    xs = [adjoints.var(v) for v in op.operands]
    if len(op.results) == 1:
        g = adjoints.get(op.result)
        assert g is not None
        return rule.pullback(g, adjoints.var(op.result), *xs, **op.attrs)
    gs: Any = tuple(adjoints.value(r) for r in op.results)
    outs: Any = tuple(adjoints.var(r) for r in op.results)
    return rule.pullback(Cotangent(gs), outs, *xs, **op.attrs)
