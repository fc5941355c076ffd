"""Simplification rules for ops that move elements, and for reductions. All exact but where the rule says otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim
from jitgrad.passes.rewrite import Node, Rewriter, Rule, made_by


def _reshaped(r: Rewriter, x: Value, shape: tuple[Dim, ...]) -> Value:
    return x if x.type.shape == shape else r.emit("reshape", x, shape=shape)


def _padded(r: Rewriter, x: Value, ndim: int) -> Value:
    """x with unit axes in front, up to ``ndim`` of them."""
    return _reshaped(r, x, (1,) * (ndim - len(x.type.shape)) + x.type.shape)


# reshape


def reshape_reshape(r: Rewriter, node: Node) -> Value | None:
    """A reshape to the same shape; a reshape of a reshape."""
    (x,) = node.operands
    if x.type.shape == node.type.shape:
        return x
    inner = made_by(x, "reshape")
    return None if inner is None else _reshaped(r, inner.operands[0], node.type.shape)


def reshape_broadcast(r: Rewriter, node: Node) -> Value | None:
    """A reshape of a broadcast that only adds or removes unit axes, or of a single element: reshape, then broadcast."""
    (x,) = node.operands
    op = made_by(x, "broadcast_to")
    if op is None:
        return None
    source, new = op.operands[0], node.type.shape
    if source.type.size == 1:
        return r.emit("broadcast_to", _reshaped(r, source, ()), shape=new)
    wide = x.type.shape
    if [n for n in wide if n != 1] != [n for n in new if n != 1]:
        return None
    small = iter([n for n, m in zip(_padded(r, source, len(wide)).type.shape, wide, strict=True) if m != 1])
    shape = tuple(1 if n == 1 else next(small) for n in new)
    return r.emit("broadcast_to", _reshaped(r, source, shape), shape=new)


# transpose


def transpose_transpose(r: Rewriter, node: Node) -> Value | None:
    """An identity; a transpose of a transpose; one that only moves unit axes, which is a reshape."""
    (x,) = node.operands
    perm: tuple[int, ...] = node.attrs["perm"]
    moved = [k for k in perm if x.type.shape[k] != 1]
    if moved == sorted(moved):
        return _reshaped(r, x, node.type.shape)
    inner = made_by(x, "transpose")
    if inner is None:
        return None
    before = inner.attrs["perm"]
    return r.emit("transpose", inner.operands[0], perm=tuple(before[k] for k in perm))


def transpose_broadcast(r: Rewriter, node: Node) -> Value | None:
    """Transpose what is broadcast, then broadcast."""
    (x,) = node.operands
    op = made_by(x, "broadcast_to")
    if op is None:
        return None
    small = r.emit("transpose", _padded(r, op.operands[0], len(x.type.shape)), perm=node.attrs["perm"])
    return r.emit("broadcast_to", small, shape=node.type.shape)


# broadcast_to


def broadcast_broadcast(r: Rewriter, node: Node) -> Value | None:
    """A broadcast to the same shape; a broadcast of a broadcast; of a reshape that only adds unit axes in front."""
    (x,) = node.operands
    if x.type.shape == node.type.shape:
        return x
    op = made_by(x, "broadcast_to", "reshape")
    if op is None:
        return None
    source = op.operands[0]
    ndim = len(source.type.shape)
    front = x.type.shape[: len(x.type.shape) - ndim]
    if op.name == "reshape" and (any(n != 1 for n in front) or front + source.type.shape != x.type.shape):
        return None
    return r.emit("broadcast_to", source, shape=node.type.shape)


# slice, pad, concatenate


def slice_slice(r: Rewriter, node: Node) -> Value | None:
    """The whole array; a slice of a slice."""
    (x,) = node.operands
    starts, sizes, steps = (node.attrs[k] for k in ("starts", "sizes", "steps"))
    if sizes == x.type.shape and all(
        s == 0 and (d == 1 or n == 1) for s, d, n in zip(starts, steps, sizes, strict=True)
    ):
        return x
    inner = made_by(x, "slice")
    if inner is None or any(n == 0 for n in sizes):
        return None
    first, step = inner.attrs["starts"], inner.attrs["steps"]
    return r.emit(
        "slice",
        inner.operands[0],
        starts=tuple(a + s * b for a, b, s in zip(first, step, starts, strict=True)),
        sizes=sizes,
        steps=tuple(s * d for s, d in zip(step, steps, strict=True)),
    )


def slice_concatenate(r: Rewriter, node: Node) -> Value | None:
    """A slice that lies inside one of the arrays that were concatenated."""
    op = made_by(node.operands[0], "concatenate")
    if op is None or node.type.size == 0:
        return None
    axis = op.attrs["axis"]
    starts, sizes, steps = (node.attrs[k] for k in ("starts", "sizes", "steps"))
    ends = (starts[axis], starts[axis] + (sizes[axis] - 1) * steps[axis])
    offset = 0
    for part in op.operands:
        extent = part.type.shape[axis]
        if not all(isinstance(n, int) for n in (*ends, extent)):
            return None
        if offset <= min(ends) and max(ends) < offset + extent:
            inside = tuple(s - offset if k == axis else s for k, s in enumerate(starts))
            return r.emit("slice", part, starts=inside, sizes=sizes, steps=steps)
        offset += extent
    return None


def pad_nothing(r: Rewriter, node: Node) -> Value | None:
    """A pad of no elements."""
    return node.operands[0] if node.operands[0].type == node.type else None


def concatenate_one(r: Rewriter, node: Node) -> Value | None:
    """The concatenation of one array; empty parts go."""
    axis = node.attrs["axis"]
    parts = [v for v in node.operands if v.type.shape[axis] != 0]
    if not parts:
        return node.operands[0]
    if len(parts) == 1:
        return parts[0]
    return r.emit("concatenate", *parts, axis=axis) if len(parts) < len(node.operands) else None


# Reductions


def reduce_nothing(r: Rewriter, node: Node) -> Value | None:
    """A reduction over axes of extent 1 (or none) is a reshape; such axes beside others are removed first."""
    (x,) = node.operands
    if x.type.dtype != node.type.dtype:
        return None
    axes: tuple[int, ...] = node.attrs["axes"]
    units = [k for k in axes if x.type.shape[k] == 1]
    if len(units) == len(axes):
        return _reshaped(r, x, node.type.shape)
    if not units:
        return None
    kept = [k for k in range(len(x.type.shape)) if k not in units]
    small = _reshaped(r, x, tuple(x.type.shape[k] for k in kept))
    return r.emit(node.name, small, axes=tuple(kept.index(k) for k in axes if k not in units))


def reduce_reduce(r: Rewriter, node: Node) -> Value | None:
    """A reduction of the same reduction. For sums and products only the order of rounding changes."""
    (x,) = node.operands
    inner = made_by(x, node.name)
    if inner is None or not r.single(x):
        return None
    source = inner.operands[0]
    if source.type.dtype != node.type.dtype:
        return None
    left = [k for k in range(len(source.type.shape)) if k not in inner.attrs["axes"]]
    axes = sorted([*inner.attrs["axes"], *(left[k] for k in node.attrs["axes"])])
    return r.emit(node.name, source, axes=tuple(axes))


def reduce_moved(r: Rewriter, node: Node) -> Value | None:
    """A reduction of a transpose that leaves the other axes in order, or of everything in a reshape or transpose.

    For sums and products the order of rounding may change.
    """
    (x,) = node.operands
    axes: tuple[int, ...] = node.attrs["axes"]
    op = made_by(x, "transpose", "reshape")
    if op is None:
        return None
    source = op.operands[0]
    if len(axes) == len(x.type.shape):
        return r.emit(node.name, source, axes=tuple(range(len(source.type.shape))))
    if op.name == "reshape":
        return None
    perm = op.attrs["perm"]
    kept = [perm[k] for k in range(len(perm)) if k not in axes]
    if kept != sorted(kept):
        return None
    return r.emit(node.name, source, axes=tuple(sorted(perm[k] for k in axes)))


def reduce_broadcast(r: Rewriter, node: Node) -> Value | None:
    """A reduction over axes that a broadcast stretched: max, min, any and all of equal elements are that element, and a
    sum of n equal elements is n times it (rounded once instead of n times)."""
    (x,) = node.operands
    op = made_by(x, "broadcast_to")
    if op is None or x.type.dtype != node.type.dtype or (node.name == "reduce_sum" and x.type.dtype.kind == "b"):
        return None
    source, wide = op.operands[0], x.type.shape
    narrow: tuple[Dim, ...] = (1,) * (len(wide) - len(source.type.shape)) + source.type.shape
    axes: tuple[int, ...] = node.attrs["axes"]
    equal = [k for k in axes if narrow[k] == 1 and wide[k] != 1]
    count = _product([wide[k] for k in equal])
    if not equal or count is None or count == 0:
        return None
    small = _padded(r, source, len(wide))
    shape = tuple(1 if k in equal else n for k, n in enumerate(wide))
    small = small if shape == small.type.shape else r.emit("broadcast_to", small, shape=shape)
    reduced = r.emit(node.name, small, axes=axes)
    if node.name != "reduce_sum":
        return reduced
    return r.emit("multiply", reduced, r.constant(np.array(count).astype(x.type.dtype)))


def _product(extents: Sequence[Dim]) -> int | None:
    return math.prod(n for n in extents if isinstance(n, int)) if all(isinstance(n, int) for n in extents) else None


def sum_negative(r: Rewriter, node: Node) -> Value | None:
    """The sum of -x is minus the sum of x."""
    (x,) = node.operands
    op = made_by(x, "negative")
    if op is None or not r.single(x) or x.type.dtype != node.type.dtype:
        return None
    return r.emit("negative", r.emit("reduce_sum", op.operands[0], axes=node.attrs["axes"]))


def sum_selected(r: Rewriter, node: Node) -> Value | None:
    """The sum of what a mask selects, with 0 for the others in its place: one walk through memory."""
    (x,) = node.operands
    op = made_by(x, "gather")
    if op is None or not r.single(x) or x.type.ndim != 1 or len(op.operands) != 2:
        return None
    whole, index = op.operands
    places = made_by(index, "positions")
    if places is None or whole.type.shape != places.operands[0].type.shape or whole.type.dtype != node.type.dtype:
        return None
    zero = r.constant(np.zeros((), whole.type.dtype))
    return r.emit("reduce_sum", r.emit("where", places.operands[0], whole, zero), axes=node.attrs["axes"])


_REDUCE: list[Rule] = [reduce_nothing, reduce_reduce, reduce_moved]

RULES: dict[str, list[Rule]] = {
    "reshape": [reshape_reshape, reshape_broadcast],
    "transpose": [transpose_transpose, transpose_broadcast],
    "broadcast_to": [broadcast_broadcast],
    "slice": [slice_slice, slice_concatenate],
    "pad": [pad_nothing],
    "concatenate": [concatenate_one],
    "reduce_prod": _REDUCE,
    "reduce_sum": [*_REDUCE, reduce_broadcast, sum_negative, sum_selected],
    **{name: [*_REDUCE, reduce_broadcast] for name in ("reduce_max", "reduce_min", "reduce_any", "reduce_all")},
}
