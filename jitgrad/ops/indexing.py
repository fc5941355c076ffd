"""Reading and writing at computed positions: wrap_index, gather, scatter_add, scatter_set.

``idx`` are int64 arrays of one shape B; they index the ``axes`` of ``x``, one each. The piece has the remaining axes
of ``x`` in order, with B's axes inserted at position ``at``. Negative indices count from the end. An index out of
bounds ends the compiled program with an IndexError, before anything is accessed through it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, IndexBoundsError, ShapeError
from jitgrad.ir.index import Dim, add, mul
from jitgrad.ir.types import SHORT_NAMES, TensorType, bool_, i64
from jitgrad.ops.op import Cotangent, Linear, OpRule, Sample, Var, apply, register, zeros
from jitgrad.ops.shape import constant_mask, fail, show

#: The status code of a compiled program that stands for an IndexError.
OUT_OF_BOUNDS = 1


def _check_indices(name: str, x: TensorType, idx: Sequence[TensorType], axes: tuple[int, ...], at: int) -> None:
    """Raise unless the index arrays, ``axes`` and ``at`` fit ``x``."""
    if len(idx) != len(axes) or not idx:
        fail(
            ShapeError,
            f"{name}: {len(idx)} index arrays for the axes {tuple(axes)}. There is one index array for each axis, and "
            "at least one. Pass as many as there are axes.",
        )
    if len(idx) > x.ndim or any(not 0 <= k < x.ndim for k in axes) or len(set(axes)) != len(axes):
        fail(
            ShapeError,
            f"{name}: too many indices for array: array is {x.ndim}-dimensional, but the axes {tuple(axes)} were "
            "indexed. Each axis is indexed once. Name distinct axes that the array has.",
        )
    for t in idx:
        if t.dtype != i64:
            fail(
                DtypeError,
                f"{name}: arrays used as indices must be of integer type, here int64, not {SHORT_NAMES[t.dtype]}. "
                "Rounding a float to an index is left to you. Convert it with astype(np.int64).",
            )
        if t.shape != idx[0].shape:
            fail(
                ShapeError,
                f"{name}: shape mismatch: indexing arrays could not be broadcast together with shapes "
                f"{show(idx[0].shape)} {show(t.shape)}. The IR takes index arrays of one shape. Broadcast them.",
            )
    if not 0 <= at <= x.ndim - len(axes):
        fail(
            ShapeError,
            f"{name}: position {at} is out of bounds for the indexed axes. The array keeps {x.ndim - len(axes)} other "
            "axes, and the new ones go before, between or after those. Choose a position from 0 to their number.",
        )


def _piece_shape(shape: Sequence[Any], batch: Sequence[Any], axes: tuple[int, ...], at: int) -> tuple[Any, ...]:
    rest = [n for k, n in enumerate(shape) if k not in axes]
    return (*rest[:at], *batch, *rest[at:])


def along_axis(places: Var, axis: int) -> tuple[Var, ...]:
    """Index arrays, one an axis and all of one shape, of the elements at ``places`` along an axis."""
    b, shape = places.b, places.shape
    return tuple(
        places if k == axis else Var(b, b.emit("iota", shape=shape, axis=k, dtype=i64)) for k in range(len(shape))
    )


def elements_at(x: Var, index: Sequence[Var]) -> Var:
    """The elements of ``x`` that there is an index array for each axis of."""
    return apply("gather", x, *index, axes=tuple(range(x.ndim)), at=0)


def from_elements_at(g: Cotangent, x: Var, index: Sequence[Var]) -> Cotangent:
    """The cotangent of ``x``, of that of :func:`elements_at`."""

    def back(v: Var) -> Var:
        return apply(
            "scatter_add", zeros(v.b, TensorType(v.dtype, x.shape)), v, *index, axes=tuple(range(x.ndim)), at=0
        )

    return Cotangent(back(g.value), None if g.mask is None else back(g.mask))


def _axes_first(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A view with the indexed axes in front, in the order of ``axes``."""
    return np.moveaxis(x, axes, range(len(axes)))


def _batch_first(v: np.ndarray, batch: int, at: int) -> np.ndarray:
    """A view of a piece with the axes of the index arrays in front."""
    return np.moveaxis(v, range(at, at + batch), range(batch))


def _lower_indices(b: Any, extents: Sequence[int], idx: Sequence[Any]) -> list[Any]:
    """Index tensors that are known to be in bounds and not negative.

    What is known at compile time is checked here. The rest goes through one nest, which ends the program at an index
    out of bounds and stores the others, wrapped. Accesses read what that nest stores, so no pass that keeps data
    dependences can move one before its check. Another op of the same list that uses the same indices reads it too.
    """
    ready: list[Any] = []
    for n, t in zip(extents, idx, strict=True):
        data = t.buffer.data if t.buffer.kind == "const" else None
        line = b.line(t)
        if line is not None and _is_within(line, t.shape, n):
            ready.append(t)
        elif data is None or not isinstance(n, int) or not np.all((data >= -n) & (data < n)):
            ready.append(None)
        elif np.all(data >= 0):
            ready.append(t)
        else:
            ready.append(b.constant(np.where(data < 0, data + n, data).reshape(t.shape)))
    keys = [(b.state(t), n) for t, n in zip(idx, extents, strict=True)]  # see ``indices_of``
    ready = [b.known.get(key) if t is None else t for t, key in zip(ready, keys, strict=True)]
    todo = [k for k, t in enumerate(ready) if t is None]
    if not todo:
        return ready
    hint, b.hint = b.hint, "index"
    for k in todo:
        ready[k] = b.empty(idx[k].shape, i64)
    b.hint = hint
    with b.loops(idx[0].shape) as index:
        for k in todo:
            e, n = idx[k][index], extents[k]
            low, high = (-n, n) if isinstance(n, int) else (b.index(-n), b.index(n))
            b.fail_unless((e >= low) & (e < high), OUT_OF_BOUNDS)
        for k in todo:
            e, n = idx[k][index], extents[k]
            b.store(ready[k], index, b.scalar("where", e < 0, e + (n if isinstance(n, int) else b.index(n)), e))
    b.known.update((keys[k], ready[k]) for k in todo)
    return ready


def _source_index(
    b: Any, shape: Sequence[int], idx: Sequence[Any], axes: tuple[int, ...], at: int, index: Sequence[Any]
) -> tuple[Any, ...]:
    """Where in ``x`` the element ``index`` of the piece lies."""
    batch = idx[0].ndim
    rest = iter((*index[:at], *index[at + batch :]))
    where = tuple(index[at : at + batch])
    return tuple(
        _position(b, idx[axes.index(axis)], where, n) if axis in axes else next(rest) for axis, n in enumerate(shape)
    )


def _position(b: Any, indices: Any, where: tuple[Any, ...], extent: Dim) -> Any:
    """An element of an index tensor, as an index on an axis of that extent."""
    data = indices.buffer.data if indices.buffer.kind == "const" else None
    line = b.line(indices) if data is None else affine(data.reshape(indices.shape))
    if line is None:
        return b.dynamic(indices[where], extent)
    start, steps = line
    return functools.reduce(add, (mul(i, step) for i, step in zip(where, steps, strict=True)), start)


def _is_within(line: tuple[int, tuple[int, ...]], shape: Sequence[Dim], extent: Dim) -> bool:
    """Are all elements of a :meth:`line` places on an axis of that extent?"""
    start, steps = line
    ends = [(n - 1) * step for n, step in zip(shape, steps, strict=True) if isinstance(n, int)]
    if not isinstance(extent, int) or len(ends) < len(shape):
        return False
    return start + sum(min(e, 0) for e in ends) >= 0 and start + sum(max(e, 0) for e in ends) < extent


def affine(data: np.ndarray) -> tuple[int, tuple[int, ...]] | None:
    """``(start, steps)`` of numbers that grow by a fixed step along each axis, as those of ``np.arange`` do; else
    None."""
    if data.size == 0:
        return None
    start = int(data.flat[0])
    line = np.full(data.shape, start)
    steps: list[int] = []
    for axis, n in enumerate(data.shape):
        step = int(np.moveaxis(data, axis, 0)[(1, *[0] * (data.ndim - 1))]) - start if n > 1 else 0
        line += (np.arange(n) * step).reshape([-1 if k == axis else 1 for k in range(data.ndim)])
        steps.append(step)
    return (start, tuple(steps)) if np.array_equal(line, data) else None


def _cases() -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]]:
    """``(shape of x, shape of the index arrays, axes, at)``."""
    return [
        ((5,), (), (0,), 0),
        ((5,), (3,), (0,), 0),
        ((5,), (2, 3), (0,), 0),
        ((5,), (0,), (0,), 0),
        ((0, 3), (0,), (0,), 0),
        ((4, 3), (6,), (0,), 0),
        ((4, 3), (6,), (1,), 1),
        ((4, 3), (6,), (1,), 0),
        ((4, 3), (5,), (0, 1), 0),
        ((4, 3), (2, 2), (1, 0), 0),
        ((2, 3, 4), (), (1,), 1),
        ((2, 3, 4), (5,), (0, 2), 0),
        ((2, 3, 4), (5,), (1, 2), 1),
        ((2, 3, 4), (2, 2), (1,), 1),
        ((2, 3, 4, 2), (3,), (3, 1), 2),
    ]


def _indices(
    rng: np.random.Generator, shape: tuple[int, ...], batch: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    """Indices in bounds, about half of them negative, with duplicates."""
    return tuple(np.asarray(rng.integers(-shape[k], max(shape[k], 1), size=batch)) for k in axes)


@register
class WrapIndex(OpRule):
    """An i64 scalar as a position on an axis of ``extent``: a negative one counts from the end. One that is out of
    bounds is an IndexError where ``check`` is True; else nothing is promised."""

    name = "wrap_index"
    differentiable = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample((np.asarray(k),), {"extent": 5, "check": check}, grad=False)
            for k in (0, 4, -1, -5, 2)
            for check in (True, False)
        ]

    def infer(self, *types: TensorType, extent: Dim, check: bool) -> TensorType:
        if types != (TensorType(i64),):
            fail(DtypeError, f"wrap_index of {types}. It takes one int64 scalar. Convert it.")
        return TensorType(i64)

    def eval(self, *arrays: np.ndarray, extent: int, check: bool) -> np.ndarray:
        k = int(arrays[0])
        if check and not -extent <= k < extent:
            raise IndexBoundsError(f"index {k} is out of bounds for an axis of extent {extent}")
        return np.asarray(k + extent if k < 0 else k, np.int64)

    def lower(self, b: Any, *tensors: Any, extent: Dim, check: bool) -> Any:
        k, n = tensors[0][()], b.index(extent)
        wrapped = b.scalar("where", k < 0, k + n, k)
        if not check:
            return b.pointwise((), i64, lambda: wrapped)
        # Under the check, so that nothing that uses the result can be moved before it.
        out = b.empty((), i64)
        with b.require((k >= -n) & (k < n), OUT_OF_BOUNDS):
            b.store(out, (), wrapped)
        return out


@register
class Positions(OpRule):
    """Where a mask of one axis is true, in order; ``count`` is how often it is."""

    name = "positions"
    differentiable = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        masks = [rng.random(n) < share for n in (1, 7, 40) for share in (0.0, 0.4, 1.0)] + [np.zeros(0, bool)]
        return [Sample((mask,), {"count": int(mask.sum())}, grad=False) for mask in masks]

    def infer(self, *types: TensorType, count: Dim) -> TensorType:
        if len(types) != 1 or types[0].dtype != bool_ or types[0].ndim != 1:
            fail(DtypeError, f"positions of {types}. It takes one array of bools with one axis. Reshape it.")
        return TensorType(i64, (count,))

    def eval(self, *arrays: np.ndarray, count: int) -> np.ndarray:
        return np.flatnonzero(arrays[0])

    def lower(self, b: Any, *tensors: Any, count: Dim) -> Any:
        (mask,) = tensors
        out = b.empty((count,), i64)
        if count == 0:
            return out
        # Every index is stored behind the last one that was found, and only stays if it is one itself: the branch goes
        # the other way once, not at random.
        with b.kernel():
            found = b.let(b.const(0, i64), "found")
            with b.loop(mask.shape[0]) as i:
                place = b.let(found, "place")
                with b.when(place < b.index(count)):
                    b.store(out, (b.dynamic(place, count),), b.index(i))
                b.assign(found, b.cast(mask[i], i64), "+=")
        b.indices_of(out, mask.shape[0])
        return out


@register
class Gather(Linear):
    """The elements, or pieces, of ``x`` at computed positions: ``x[idx0, :, idx1]``."""

    name = "gather"
    wide = False
    moves = True

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        samples = []
        for shape, batch, axes, at in _cases():
            args = (rng.normal(size=shape), *_indices(rng, shape, batch, axes))
            samples.append(Sample(args, {"axes": axes, "at": at}))
        for dtype in (np.float32, np.int64, np.bool_):
            x = rng.integers(0, 2, size=(4, 3)).astype(dtype)
            samples.append(Sample((x, np.array([3, -4, 0, 0])), {"axes": (0,), "at": 0}, grad=False))
        return samples

    def infer(self, *types: TensorType, axes: tuple[int, ...], at: int) -> TensorType:
        x, *idx = types
        _check_indices(self.name, x, idx, axes, at)
        return TensorType(x.dtype, _piece_shape(x.shape, idx[0].shape, axes, at))

    def eval(self, *arrays: np.ndarray, axes: tuple[int, ...], at: int) -> np.ndarray:
        x, *idx = arrays
        batch = idx[0].ndim
        piece = np.asarray(_axes_first(x, axes)[tuple(idx)])
        return np.array(np.moveaxis(piece, range(batch), range(at, at + batch)), order="C")

    def transpose(self, g: Var, *xs: Var, **attrs: Any) -> Var:
        return self.accumulate(zeros(g.b, TensorType(g.dtype, xs[0].shape)), g, *xs, **attrs)

    def accumulate(self, acc: Var, g: Var, *xs: Var, **attrs: Any) -> Var:
        """``acc`` with the piece's cotangent (or mask) added where the piece was read."""
        return apply("scatter_add", acc, g, *xs[1:], **attrs)

    def lower(self, b: Any, *tensors: Any, axes: tuple[int, ...], at: int) -> Any:
        x, *idx = tensors
        idx = _lower_indices(b, [x.shape[k] for k in axes], idx)
        shape = _piece_shape(x.shape, idx[0].shape, axes, at)
        return b.pointwise(shape, x.dtype, lambda *index: x[_source_index(b, x.shape, idx, axes, at, index)])


class Scatter(OpRule):
    """Shared by scatter_add and scatter_set: ``x``, the new values (the shape of the piece), and the index arrays."""

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        samples = []
        for shape, batch, axes, at in _cases():
            v = rng.normal(size=_piece_shape(shape, batch, axes, at))
            args = (rng.normal(size=shape), v, *_indices(rng, shape, batch, axes))
            samples.append(Sample(args, {"axes": axes, "at": at}))
        for dtype in (np.float32, np.int64, np.bool_):
            x, v = (rng.integers(0, 2, size=(4, 3)).astype(dtype) for _ in range(2))
            samples.append(Sample((x, v, np.array([3, -4, 0, 0])), {"axes": (0,), "at": 0}, grad=False))
        return samples

    def infer(self, *types: TensorType, axes: tuple[int, ...], at: int) -> TensorType:
        x, v, *idx = types
        _check_indices(self.name, x, idx, axes, at)
        if x.dtype != v.dtype:
            fail(
                DtypeError,
                f"{self.name} of {SHORT_NAMES[x.dtype]} and {SHORT_NAMES[v.dtype]}. Both operands have one dtype. "
                "Convert the new values with astype().",
            )
        shape = _piece_shape(x.shape, idx[0].shape, axes, at)
        if v.shape != shape:
            fail(
                ShapeError,
                f"{self.name}: shape mismatch: value array of shape {show(v.shape)} could not be broadcast to indexing "
                f"result of shape {show(shape)}. The IR takes values of exactly that shape. Broadcast them.",
            )
        return x

    def mode(self, dtype: np.dtype) -> str:
        """The mode of the store."""
        raise NotImplementedError

    def lower(self, b: Any, *tensors: Any, axes: tuple[int, ...], at: int) -> Any:
        x, v, *idx = tensors
        idx = _lower_indices(b, [x.shape[k] for k in axes], idx)
        out = b.copy(x)
        if 0 not in v.shape:
            with b.loops(v.shape) as index:
                target = _source_index(b, x.shape, idx, axes, at, index)
                b.store(out, target, v[tuple(index)], self.mode(x.dtype))
        return out


@register
class ScatterAdd(Scatter):
    """``x`` with ``v`` added at the given positions, as ``np.add.at``: duplicates accumulate. Of bool, "or"."""

    name = "scatter_add"

    def mode(self, dtype: np.dtype) -> str:
        return "or=" if dtype == bool_ else "+="

    def eval(self, *arrays: np.ndarray, axes: tuple[int, ...], at: int) -> np.ndarray:
        x, v, *idx = arrays
        out = np.array(x)
        np.add.at(_axes_first(out, axes), tuple(idx), _batch_first(v, idx[0].ndim, at))
        return out

    def pullback(self, g: Cotangent, out: Var, *xs: Var, axes: tuple[int, ...], at: int) -> Sequence[Cotangent | None]:
        idx = xs[2:]
        mask = None if g.mask is None else apply("gather", g.mask, *idx, axes=axes, at=at)
        return [g, Cotangent(apply("gather", g.value, *idx, axes=axes, at=at), mask), *([None] * len(idx))]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, axes: tuple[int, ...], at: int) -> Var | None:
        tx, tv = ts[:2]
        if tv is None:
            return tx
        return apply("scatter_add", zeros(tv.b, xs[0].type) if tx is None else tx, tv, *xs[2:], axes=axes, at=at)


@register
class ScatterSet(Scatter):
    """``x`` with ``v`` written at the given positions; of duplicates the last, in row-major order, wins."""

    name = "scatter_set"
    wide = False

    def mode(self, dtype: np.dtype) -> str:
        return "="

    def eval(self, *arrays: np.ndarray, axes: tuple[int, ...], at: int) -> np.ndarray:
        x, v, *idx = arrays
        out = np.array(x)
        _axes_first(out, axes)[tuple(idx)] = _batch_first(v, idx[0].ndim, at)
        return out

    def _winners(self, x: Var, v: Var, idx: Sequence[Var], axes: tuple[int, ...], at: int) -> Var | None:
        """Which values of ``v`` stay in the result: False for those that a later duplicate overwrites; None for all.

        Every position's number is written at its index, and read back: it is still there if no later one followed.
        """
        batch = idx[0].shape
        size = idx[0].type.size
        if size in (0, 1):
            return None
        numbers = Var(x.b, x.b.emit("iota", shape=(size,), axis=0, dtype=i64))
        if len(batch) != 1:
            numbers = apply("reshape", numbers, shape=batch)
        board = zeros(x.b, TensorType(i64, tuple(x.shape[k] for k in axes)))
        all_axes = tuple(range(len(axes)))
        board = apply("scatter_set", board, numbers, *idx, axes=all_axes, at=0)
        winners = apply("gather", board, *idx, axes=all_axes, at=0).eq(numbers)
        rest: tuple[Dim, ...] = (1,) * (x.ndim - len(axes))
        winners = apply("reshape", winners, shape=(*rest[:at], *batch, *rest[at:])) if rest else winners
        return winners if winners.shape == v.shape else apply("broadcast_to", winners, shape=v.shape)

    def pullback(self, g: Cotangent, out: Var, *xs: Var, axes: tuple[int, ...], at: int) -> Sequence[Cotangent | None]:
        x, v, *idx = xs
        attrs: dict[str, Any] = {"axes": axes, "at": at}
        before = constant_mask(x, True) if g.mask is None else g.mask
        # Read first: then the update of g is the last use of g, and can be made in its place.
        read = apply("gather", g.value, *idx, **attrs)
        alive = None if g.mask is None else apply("gather", g.mask, *idx, **attrs)
        kept = apply("scatter_set", g.value, zeros(v.b, v.type), *idx, **attrs)
        # What was overwritten has no influence at all: the mask keeps infinite partials away from it.
        mask = apply("scatter_set", before, constant_mask(v, False), *idx, **attrs)
        winners = self._winners(x, v, idx, axes, at)
        if winners is not None:
            read = apply("where", winners, read, 0)
            alive = winners if alive is None else alive & winners
        return [Cotangent(kept, mask), Cotangent(read, alive), *([None] * len(idx))]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, axes: tuple[int, ...], at: int) -> Var | None:
        tx, tv = ts[:2]
        if tx is None and tv is None:
            return None
        tx = zeros(out.b, xs[0].type) if tx is None else tx
        tv = zeros(out.b, xs[1].type) if tv is None else tv
        return apply("scatter_set", tx, tv, *xs[2:], axes=axes, at=at)
