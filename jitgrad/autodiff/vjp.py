"""Reverse mode: from a graph to the joint graph of its values and cotangents.

The block is walked backwards. The cotangent of a value is an accumulator: nothing (a symbolic zero) until first
touched, then summed. Ops that read a piece of an array (slices, gathers) add their piece into the accumulator, so
that any number of reads share one adjoint buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitgrad.errors import ArgumentError, DifferentiationError, IRError
from jitgrad.ir.core import Builder, Graph, Op, Value
from jitgrad.ir.types import TensorType, bool_, is_float
from jitgrad.ops.op import Cotangent, OpRule, Var, apply, zeros


def active_values(graph: Graph, wrt: Sequence[int]) -> set[Value]:
    """The float values that depend differentiably on the parameters ``wrt``."""
    active = {graph.params[k] for k in wrt}
    for op in graph.ops:
        if getattr(op.opdef, "differentiable", True) and any(v in active for v in op.operands):
            active.update(r for r in op.results if is_float(r.type.dtype))
    return active


class Adjoints:
    """The cotangents of the values of one block, while it is walked backwards.

    ``env`` maps the values of the original graph to their copies in the graph that ``b`` builds.
    """

    def __init__(self, b: Builder, env: dict[Value, Value]) -> None:
        self.b, self.env = b, env
        self._sums: dict[Value, Cotangent] = {}

    def var(self, value: Value) -> Var:
        """The handle of an original value."""
        return Var(self.b, self.env[value])

    def get(self, value: Value) -> Cotangent | None:
        """The sum so far; None is zero."""
        return self._sums.get(value)

    def value(self, value: Value) -> Var:
        """The sum so far, with zeros filled in."""
        found = self._sums.get(value)
        return zeros(self.b, value.type) if found is None else found.value

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
        if value.op is not None and (old is None or old.mask is not None):
            before = zeros(self.b, TensorType(bool_, value.type.shape)) if old is None else old.mask
            piece = g.mask if g.mask is not None else _everywhere(g.value)
            mask = accumulate(before, piece, *rest, **op.attrs)
        self._sums[value] = Cotangent(total, mask)


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
    if op.regions or not isinstance(rule, OpRule):
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
                adjoints.add(operand, g)


def _apply_rule(op: Op, rule: OpRule, adjoints: Adjoints) -> Sequence[Cotangent | None]:
    xs = [adjoints.var(v) for v in op.operands]
    if len(op.results) == 1:
        g = adjoints.get(op.result)
        assert g is not None
        return rule.pullback(g, adjoints.var(op.result), *xs, **op.attrs)
    gs: Any = tuple(adjoints.value(r) for r in op.results)
    outs: Any = tuple(adjoints.var(r) for r in op.results)
    return rule.pullback(Cotangent(gs), outs, *xs, **op.attrs)


def vjp_graph(
    graph: Graph,
    wrt: Sequence[int],
    *,
    with_value: bool = True,
    seed: str = "ones",
    outputs: Sequence[int] | None = None,
) -> Graph:
    """The joint graph: the results of ``graph``, then the cotangents of the parameters ``wrt``.

    Parameters
    ----------
    wrt : indices of float parameters.
    with_value : False leaves the results out.
    seed : ``"ones"``: the cotangent of the outputs is 1; they must be scalar. ``"param"``: the cotangents of the
        outputs are extra parameters, after those of the graph.
    outputs : which results take a cotangent. By default the first one (``"ones"``) or all float ones (``"param"``).

    Raises DifferentiationError if a parameter or output isn't float, or an output isn't scalar where it must be;
    ArgumentError for a number that is no parameter or result.
    """
    if seed not in ("ones", "param"):
        raise ArgumentError(
            f"seed is {seed!r}. It says where the cotangents of the outputs come from. Give 'ones' or 'param'."
        )
    if outputs is None:
        outputs = [0] if seed == "ones" else [k for k, r in enumerate(graph.results) if is_float(r.type.dtype)]
    _check_differentiable(graph, wrt, outputs, scalar=seed == "ones")
    b = Builder(f"{graph.name}_vjp")
    env: dict[Value, Value] = {p: b.param(p.type, p.name) for p in graph.params}
    seeds = [b.param(graph.results[k].type, f"d_out{k}") for k in outputs] if seed == "param" else None
    for op in graph.ops:
        b.copy(op, env)
    adjoints = Adjoints(b, env)
    active = active_values(graph, wrt)
    for n, k in enumerate(outputs):
        result = graph.results[k]
        if result in active:
            adjoints.add(result, Cotangent(Var(b, seeds[n]) if seeds else Var(b, b.constant(1, result.type.dtype))))
    for op in reversed(graph.ops):
        pull_back(op, adjoints, active)
        _name_adjoints(op.operands, adjoints)
    gradients = [adjoints.value(graph.params[k]).value for k in wrt]
    values = [env[r] for r in graph.results] if with_value else []
    return b.build(*values, *gradients)


def _name_adjoints(values: Sequence[Value], adjoints: Adjoints) -> None:
    """Call the cotangent of the user's ``w`` ``d_w``, for reading."""
    for value in values:
        g = adjoints.get(value)
        if value.name and g is not None and g.value.value.name is None:
            g.value.value.name = f"d_{value.name}"


def check_parameters(graph: Graph, wrt: Sequence[int]) -> None:
    """Raise ArgumentError for a number that is no parameter of ``graph``, DifferentiationError for one that is not
    float."""
    for k in wrt:
        if not 0 <= k < len(graph.params):
            raise ArgumentError(
                f"wrt has {k}, and {graph.name} has {len(graph.params)} parameters. Parameters are counted from 0. "
                "Choose one of them."
            )
        p = graph.params[k]
        if not is_float(p.type.dtype):
            raise DifferentiationError(
                f"parameter {k} ({p.name or 'unnamed'}) of {graph.name} has type {p.type}. Only floats are "
                "differentiated. Leave it out of wrt, or make it float."
            )


def _check_differentiable(graph: Graph, wrt: Sequence[int], outputs: Sequence[int], *, scalar: bool) -> None:
    check_parameters(graph, wrt)
    for k in outputs:
        if not 0 <= k < len(graph.results):
            raise ArgumentError(
                f"outputs has {k}, and {graph.name} has {len(graph.results)} results. Results are counted from 0. "
                "Choose one of them."
            )
        r = graph.results[k]
        if not is_float(r.type.dtype):
            raise DifferentiationError(
                f"result {k} of {graph.name} has type {r.type}. Only floats are differentiated. "
                "Leave it out of outputs, or cast it to float."
            )
        if scalar and r.type.shape:
            raise DifferentiationError(
                f"result {k} of {graph.name} has type {r.type}. A gradient needs a scalar. "
                "Reduce it (sum, mean), or give the cotangent with seed='param'."
            )
