"""Simplification rules for einsum: transposes and broadcasts of its operands and result cost nothing."""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.ir.core import Value
from jitgrad.passes.rewrite import Node, Rewriter, Rule, made_by


def _letters(spec: str) -> tuple[str, str, str]:
    inputs, out = spec.split("->")
    x, y = inputs.split(",")
    return x, y, out


def operand_transpose(r: Rewriter, node: Node) -> Value | None:
    """A transposed operand: permute its letters instead."""
    *letters, out = _letters(node.attrs["spec"])
    operands = list(node.operands)
    changed = False
    for k, v in enumerate(operands):
        if op := made_by(v, "transpose"):
            new = [""] * len(letters[k])
            for axis, source in enumerate(op.attrs["perm"]):
                new[source] = letters[k][axis]
            letters[k], operands[k], changed = "".join(new), op.operands[0], True
    return r.emit("einsum", *operands, spec=f"{letters[0]},{letters[1]}->{out}") if changed else None


def result_transpose(r: Rewriter, node: Node) -> Value | None:
    """A transposed result: permute the letters of the output instead."""
    (x,) = node.operands
    op = made_by(x, "einsum")
    if op is None or not r.single(x):
        return None
    a, b, out = _letters(op.attrs["spec"])
    return r.emit("einsum", *op.operands, spec=f"{a},{b}->{''.join(out[k] for k in node.attrs['perm'])}")


def operand_negative(r: Rewriter, node: Node) -> Value | None:
    """A negated operand: negate the result where that is the smaller array."""
    for k, v in enumerate(node.operands):
        op = made_by(v, "negative")
        size, old = node.type.size, v.type.size
        if op and r.single(v) and isinstance(size, int) and isinstance(old, int) and size <= old:
            operands = [op.operands[0] if i == k else u for i, u in enumerate(node.operands)]
            return r.emit("negative", r.emit("einsum", *operands, spec=node.attrs["spec"]))
    return None


def operand_broadcast(r: Rewriter, node: Node) -> Value | None:
    """An operand that a broadcast stretched: leave the stretched axes out.

    ``einsum("ij,jk->ik", broadcast(x: [1,j]), y)`` is ``einsum("j,jk->k", x, y)`` broadcast over i. A letter that is
    then in the other operand only and summed over is summed there first. Only the order of rounding changes.
    """
    *letters, out = _letters(node.attrs["spec"])
    for k in (0, 1):
        op = made_by(node.operands[k], "broadcast_to")
        if op is None:
            continue
        wide, other = node.operands[k].type.shape, node.operands[1 - k]
        source = op.operands[0]
        narrow = (1,) * (len(wide) - len(source.type.shape)) + source.type.shape
        gone = [c for c, n, m in zip(letters[k], narrow, wide, strict=True) if n == 1 and m != 1]
        if not gone or any(n == 0 for n in (*wide, *other.type.shape)):
            continue
        kept = [(c, n) for c, n in zip(letters[k], narrow, strict=True) if c not in gone]
        x = _reshaped(r, source, tuple(n for _, n in kept))
        mine, theirs = "".join(c for c, _ in kept), letters[1 - k]
        summed = tuple(i for i, c in enumerate(theirs) if c in gone and c not in out)
        if summed:
            other = r.emit("reduce_sum", other, axes=summed)
            theirs = "".join(c for i, c in enumerate(theirs) if i not in summed)
        small = "".join(c for c in out if c in mine or c in theirs)
        specs = (mine, theirs) if k == 0 else (theirs, mine)
        operands = (x, other) if k == 0 else (other, x)
        value = r.emit("einsum", *operands, spec=f"{specs[0]},{specs[1]}->{small}")
        if small == out:
            return value
        shape = tuple(n if c in small else 1 for c, n in zip(out, node.type.shape, strict=True))
        return r.emit("broadcast_to", _reshaped(r, value, shape), shape=node.type.shape)
    return None


def no_contraction(r: Rewriter, node: Node) -> Value | None:
    """Without a letter that is summed over, einsum is an elementwise product."""
    *letters, out = _letters(node.attrs["spec"])
    if any(c not in out for c in letters[0] + letters[1]) or node.type.dtype.kind == "b":
        return None
    x, y = (_aligned(r, v, own, out) for v, own in zip(node.operands, letters, strict=True))
    return r.emit("multiply", x, y)


def _aligned(r: Rewriter, v: Value, letters: str, out: str) -> Value:
    """The operand with its axes in the order of the output's, and unit axes for the letters that it lacks."""
    order = [c for c in out if c in letters]
    v = _transposed(r, v, [letters.index(c) for c in order])
    extents = dict(zip(order, v.type.shape, strict=True))
    return _reshaped(r, v, tuple(extents.get(c, 1) for c in out))


def _transposed(r: Rewriter, v: Value, perm: Sequence[int]) -> Value:
    return v if list(perm) == sorted(perm) else r.emit("transpose", v, perm=tuple(perm))


def _reshaped(r: Rewriter, v: Value, shape: tuple) -> Value:
    return v if v.type.shape == shape else r.emit("reshape", v, shape=shape)


RULES: dict[str, list[Rule]] = {
    "einsum": [operand_transpose, operand_broadcast, no_contraction, operand_negative],
    "transpose": [result_transpose],
}
