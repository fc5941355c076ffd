"""Algebraic simplification: replace ops by fewer, cheaper or plainer ones with the same value.

Rules are looked up by the op's name, tried in order, and what they emit is offered to the rules again, so one forward
walk brings every op to a fixpoint. The rules live in ``rules_arithmetic``, ``rules_shape`` and ``rules_products``.

What is kept. NaN and infinity flow as before: ``x * 0``, ``x - x`` and ``x / x`` stay for floats. The sign of zero is
kept: ``x - 0.0`` and ``x + -0.0`` are x, but ``x + 0.0`` is only where x is known never to be -0.0. Which NaN comes out
(its sign and payload) is not kept. Three kinds of rules change the rounding, never for the worse by more than an ulp or
two: constant powers (see ``power_constant``), merged or reordered sums, and merged scale factors. Sums of n equal
elements become a product, which rounds once.

Ops are not moved past each other for speed, except that what works on fewer elements comes first: a broadcast is done
after the elementwise op that it feeds, and not at all where that op broadcasts by itself.
"""

from __future__ import annotations

import functools

from jitgrad.ir.core import OPS, Graph, OpDef
from jitgrad.ops.op import Elementwise
from jitgrad.passes import rules_arithmetic, rules_products, rules_shape
from jitgrad.passes.rewrite import Rewriter, Rule, Rules


def simplify(graph: Graph, *, final: bool = True) -> Graph:
    """The graph with every rule applied as often as it applies. Dead ops remain; see ``dce``.

    final : the graph will not be differentiated (again). Without it, selects are not moved through other ops, since
        that changes which branch a derivative goes through.
    """
    return Rewriter(graph, rules(final=final)).run(graph)


def rules(*, final: bool = True) -> Rules:
    """The rewrite table: for each op name its rules, in order."""
    return _table(final, tuple(OPS.items()))


@functools.lru_cache(maxsize=2)
def _table(final: bool, ops: tuple[tuple[str, OpDef], ...]) -> Rules:
    """The table for these ops: programs may add to them."""
    table: dict[str, list[Rule]] = {}
    parts = [rules_arithmetic.RULES, rules_shape.RULES, rules_products.RULES]
    for part in [*parts, rules_arithmetic.FINAL_RULES] if final else parts:
        for name, entries in part.items():
            table.setdefault(name, []).extend(entries)
    for name, opdef in ops:
        if isinstance(opdef, Elementwise) or name in ("cast", "where"):
            table.setdefault(name, []).append(rules_arithmetic.drop_broadcasts)
    return table
