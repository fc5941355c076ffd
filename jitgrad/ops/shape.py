"""Ops that move elements: reshape, transpose, broadcast_to, concatenate, slice, pad, add_slice, set_slice.

Attributes are tuples with one entry an axis; axes are non-negative. All of these are linear, and none computes, so a
cotangent's mask moves along with its value: what adds cotangents combines their masks by "or".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from jitgrad.errors import DtypeError, IndexBoundsError, JitgradError, ShapeError
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location
from jitgrad.ir.types import SHORT_NAMES, TensorType, bool_
from jitgrad.ops.op import Cotangent, Linear, OpRule, Sample, Var, apply, register, unbroadcast, zeros


def fail(kind: type[JitgradError], message: str) -> NoReturn:
    """Raise with the user's location."""
    raise kind(message, user_location())


def show(shape: Sequence[Dim]) -> str:
    """A shape as NumPy writes it."""
    return str(tuple(shape))


def _check_length(name: str, ndim: int, **attrs: Sequence[Any]) -> None:
    for attr, entries in attrs.items():
        if len(entries) != ndim:
            fail(
                ShapeError,
                f"{name}: {attr} has {len(entries)} entries, but the array is {ndim}-dimensional. "
                f"There is one entry for each axis. Pass {ndim} of them.",
            )


def _known(*dims: Dim) -> bool:
    """True where all extents are numbers. Symbolic ones are checked when they are bound."""
    return all(isinstance(d, int) for d in dims)


def check_piece(
    name: str, shape: tuple[Dim, ...], starts: Sequence[Dim], sizes: Sequence[Dim], steps: Sequence[int]
) -> None:
    """Raise unless ``start + k*step`` for ``0 <= k < size`` lies inside the array, along every axis."""
    _check_length(name, len(shape), starts=starts, sizes=sizes, steps=steps)
    for axis, (n, start, size, step) in enumerate(zip(shape, starts, sizes, steps, strict=True)):
        if step == 0:
            fail(ShapeError, f"{name}: slice step cannot be zero (axis {axis}). Use a step of 1 for every element.")
        if not _known(n, start, size):
            continue
        last = start + (size - 1) * step
        if size < 0 or (size > 0 and not (0 <= start < n and 0 <= last < n)):  # pyright: ignore[reportOperatorIssue]
            fail(
                IndexBoundsError,
                f"{name}: elements {start} to {last} are out of bounds for axis {axis} with size {n}. "
                "A piece must lie inside the array. Clip its start and size.",
            )


def constant_mask(like: Var, value: bool) -> Var:
    """A bool array of the shape of ``like``, all ``value``."""
    c = Var(like.b, like.b.constant(value, bool_))
    return apply("broadcast_to", c, shape=like.shape) if like.shape else c


def inverse(perm: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes ``perm``."""
    result = [0] * len(perm)
    for k, axis in enumerate(perm):
        result[axis] = k
    return tuple(result)


def slices(starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> tuple[slice, ...]:
    """The piece as Python slices, for NumPy."""
    result = []
    for start, size, step in zip(starts, sizes, steps, strict=True):
        stop = start + size * step
        # With a negative step the end may pass the first element; -1 would count from the end.
        result.append(slice(start, None if stop < 0 else stop, step) if size else slice(0, 0))
    return tuple(result)


def _matrix(rng: np.random.Generator, *shape: int, dtype: Any = np.float64) -> np.ndarray:
    if dtype == np.bool_:
        return rng.integers(0, 2, size=shape).astype(bool)
    return (rng.normal(size=shape) * 8).astype(dtype)


#: Dtypes for samples beyond float64; they are for the value only.
_OTHERS = (np.float32, np.int64, np.int32, np.bool_)


def _over_dtypes(rng: np.random.Generator, shape: tuple[int, ...], attrs: dict[str, Any]) -> list[Sample]:
    """One sample of each dtype that moves through the same attributes."""
    return [
        Sample((_matrix(rng, *shape),), attrs),
        *(Sample((_matrix(rng, *shape, dtype=d),), attrs, grad=False) for d in _OTHERS),
    ]


@register
class Reshape(Linear):
    """``np.reshape`` in row-major order; no -1 in ``shape``."""

    name = "reshape"
    wide = False
    moves = True

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        pairs = [
            ((), (1, 1)),
            ((1,), ()),
            ((6,), (2, 3)),
            ((2, 3, 4), (4, 6)),
            ((4, 6), (2, 2, 3, 2)),
            ((0, 3), (5, 0)),
        ]
        samples = [Sample((_matrix(rng, *old),), {"shape": new}) for old, new in pairs]
        return [*samples, *_over_dtypes(rng, (2, 6), {"shape": (3, 4)})]

    def infer(self, *types: TensorType, shape: tuple[Dim, ...]) -> TensorType:
        (x,) = types
        new = TensorType(x.dtype, tuple(shape))
        if x.size != new.size or any(_known(n) and n < 0 for n in shape):  # pyright: ignore[reportOperatorIssue]
            fail(
                ShapeError,
                f"cannot reshape array of size {x.size} into shape {show(shape)}. The operand has shape "
                f"{show(x.shape)}, and reshaping keeps the number of elements. "
                f"Choose extents whose product is {x.size}.",
            )
        return new

    def eval(self, *arrays: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.reshape(arrays[0], shape)

    def transpose(self, g: Var, *xs: Var, shape: tuple[Dim, ...]) -> Var:
        return apply("reshape", g, shape=xs[0].shape)

    def lower(self, b: Any, *tensors: Any, shape: tuple[int, ...]) -> Any:
        return b.reshape(tensors[0], shape)


@register
class Transpose(Linear):
    """``np.transpose``: axis ``k`` of the result is axis ``perm[k]`` of the operand."""

    name = "transpose"
    wide = False
    moves = True

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        cases = [((), ()), ((3,), (0,)), ((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((2, 3, 4), (1, 0, 2))]
        cases += [((2, 1, 3, 2), (3, 0, 2, 1)), ((0, 3), (1, 0))]
        samples = [Sample((_matrix(rng, *shape),), {"perm": perm}) for shape, perm in cases]
        return [*samples, *_over_dtypes(rng, (3, 4), {"perm": (1, 0)})]

    def infer(self, *types: TensorType, perm: tuple[int, ...]) -> TensorType:
        (x,) = types
        if sorted(perm) != list(range(x.ndim)):
            fail(
                ShapeError,
                f"axes don't match array: {tuple(perm)} for shape {show(x.shape)}. A transpose names every axis from 0 "
                f"to {x.ndim - 1} once. Pass a permutation of them.",
            )
        return TensorType(x.dtype, tuple(x.shape[k] for k in perm))

    def eval(self, *arrays: np.ndarray, perm: tuple[int, ...]) -> np.ndarray:
        return np.ascontiguousarray(np.transpose(arrays[0], perm)).reshape([arrays[0].shape[k] for k in perm])

    def transpose(self, g: Var, *xs: Var, perm: tuple[int, ...]) -> Var:
        return apply("transpose", g, perm=inverse(perm))

    def lower(self, b: Any, *tensors: Any, perm: tuple[int, ...]) -> Any:
        (x,) = tensors
        back = inverse(perm)
        shape = tuple(x.shape[k] for k in perm)
        return b.pointwise(shape, x.dtype, lambda *index: x[tuple(index[k] for k in back)])


@register
class BroadcastTo(Linear):
    """``np.broadcast_to``: repeat along new leading axes and along axes of extent 1."""

    name = "broadcast_to"
    wide = False
    moves = True

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        pairs = [((), ()), ((), (3,)), ((), (2, 0)), ((1,), (4,)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 1), (2, 3))]
        pairs += [((2, 1, 3), (4, 2, 5, 3)), ((1, 3), (0, 3)), ((0,), (2, 0))]
        samples = [Sample((_matrix(rng, *old),), {"shape": new}) for old, new in pairs]
        return [*samples, *_over_dtypes(rng, (3, 1), {"shape": (2, 3, 4)})]

    def infer(self, *types: TensorType, shape: tuple[Dim, ...]) -> TensorType:
        (x,) = types
        extra = len(shape) - x.ndim
        if extra < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[extra:], strict=True)):
            fail(
                ShapeError,
                f"cannot broadcast array of shape {show(x.shape)} to shape {show(shape)}. Aligned at the last axis, "
                "each extent must be 1 or equal to the new one. Reshape the array, or insert an axis with None.",
            )
        return TensorType(x.dtype, tuple(shape))

    def eval(self, *arrays: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.array(np.broadcast_to(arrays[0], shape))

    def transpose(self, g: Var, *xs: Var, shape: tuple[Dim, ...]) -> Var:
        return unbroadcast(g, xs[0].shape)

    def lower(self, b: Any, *tensors: Any, shape: tuple[int, ...]) -> Any:
        (x,) = tensors
        return b.pointwise(shape, x.dtype, lambda *index: x.at(index))


@register
class Concatenate(OpRule):
    """``np.concatenate`` of one or more arrays of one dtype along ``axis``."""

    name = "concatenate"
    wide = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        def case(axis: int, *shapes: tuple[int, ...], dtype: Any = np.float64) -> Sample:
            args = tuple(_matrix(rng, *s, dtype=dtype) for s in shapes)
            return Sample(args, {"axis": axis}, grad=dtype == np.float64)

        return [
            case(0, (3,)),
            case(0, (2,), (0,), (3,)),
            case(0, (1, 3), (2, 3)),
            case(1, (2, 3), (2, 1), (2, 4)),
            case(1, (2, 3, 2), (2, 1, 2)),
            case(1, (0, 2), (0, 3)),
            *(case(0, (2, 2), (3, 2), dtype=d) for d in _OTHERS),
        ]

    def infer(self, *types: TensorType, axis: int) -> TensorType:
        if not types:
            fail(ShapeError, "need at least one array to concatenate. The sequence is empty. Pass an array.")
        first = types[0]
        if not 0 <= axis < first.ndim:
            fail(
                ShapeError,
                f"axis {axis} is out of bounds for array of dimension {first.ndim}. Arrays are concatenated along an "
                "axis that they have. Pass such an axis, or use np.stack to make a new one.",
            )
        total: Dim = 0
        for k, t in enumerate(types):
            if t.dtype != first.dtype:
                fail(
                    DtypeError,
                    f"concatenate of {first.dtype} and {t.dtype}. The IR's op takes one dtype. Insert a cast.",
                )
            if t.ndim != first.ndim:
                fail(
                    ShapeError,
                    "all the input arrays must have same number of dimensions, but the array at index 0 has "
                    f"{first.ndim} dimension(s) and the array at index {k} has {t.ndim} dimension(s). Reshape one.",
                )
            for j, (n, m) in enumerate(zip(first.shape, t.shape, strict=True)):
                if j != axis and n != m:
                    fail(
                        ShapeError,
                        "all the input array dimensions except for the concatenation axis must match exactly, but "
                        f"along dimension {j}, the array at index 0 has size {n} and the array at index {k} has size "
                        f"{m}. Concatenate along axis {j}, or broadcast one of them.",
                    )
            total = total + t.shape[axis]
        return TensorType(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))

    def eval(self, *arrays: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate(arrays, axis=axis)

    def pullback(self, g: Cotangent, out: Var, *xs: Var, axis: int) -> Sequence[Cotangent | None]:
        result: list[Cotangent | None] = []
        offset: Dim = 0
        for x in xs:
            starts = tuple(offset if k == axis else 0 for k in range(x.ndim))
            attrs: dict[str, Any] = {"starts": starts, "sizes": x.shape, "steps": (1,) * x.ndim}
            mask = None if g.mask is None else apply("slice", g.mask, **attrs)
            result.append(Cotangent(apply("slice", g.value, **attrs), mask))
            offset = offset + x.shape[axis]
        return result

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, axis: int) -> Var | None:
        if all(t is None for t in ts):
            return None
        full = [zeros(x.b, x.type) if t is None else t for t, x in zip(ts, xs, strict=True)]
        return apply("concatenate", *full, axis=axis)

    def lower(self, b: Any, *tensors: Any, axis: int) -> Any:
        first = tensors[0]
        total = sum(t.shape[axis] for t in tensors)
        out = b.empty((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)
        offset = 0
        for t in tensors:
            if 0 not in t.shape:
                with b.loops(t.shape) as index:
                    b.store(out, (*index[:axis], index[axis] + offset, *index[axis + 1 :]), t[index])
            offset += t.shape[axis]
        return out


def _pieces() -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    """Shapes of arrays, and pieces of them: plain, strided, backwards, empty."""

    def piece(shape: tuple[int, ...], *axes: tuple[int, int, int]) -> tuple[tuple[int, ...], dict[str, Any]]:
        starts, sizes, steps = tuple(zip(*axes, strict=True)) if axes else ((), (), ())
        return shape, {"starts": starts, "sizes": sizes, "steps": steps}

    return [
        piece(()),
        piece((5,), (0, 5, 1)),
        piece((5,), (1, 3, 1)),
        piece((6,), (1, 3, 2)),
        piece((6,), (5, 6, -1)),
        piece((7,), (6, 3, -3)),
        piece((5,), (2, 0, 1)),
        piece((0,), (0, 0, 1)),
        piece((3, 4), (2, 1, 1), (0, 4, 1)),
        piece((3, 4), (0, 3, 1), (3, 2, -2)),
        piece((3, 4, 5), (0, 2, 2), (1, 2, 1), (4, 3, -2)),
    ]


@register
class Slice(Linear):
    """A piece of an array: ``out[k] = x[start + k*step]`` along each axis; steps are not zero."""

    name = "slice"
    wide = False
    moves = True

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        samples = [Sample((_matrix(rng, *shape),), attrs) for shape, attrs in _pieces()]
        return [*samples, *_over_dtypes(rng, (3, 4), {"starts": (2, 1), "sizes": (2, 3), "steps": (-2, 1)})]

    def infer(
        self, *types: TensorType, starts: tuple[Dim, ...], sizes: tuple[Dim, ...], steps: tuple[int, ...]
    ) -> TensorType:
        (x,) = types
        check_piece(self.name, x.shape, starts, sizes, steps)
        return TensorType(x.dtype, tuple(sizes))

    def eval(
        self, *arrays: np.ndarray, starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]
    ) -> np.ndarray:
        if 0 in sizes:  # along the other axes it may lie outside
            return np.empty(sizes, arrays[0].dtype)
        return np.array(arrays[0][slices(starts, sizes, steps)])

    def transpose(self, g: Var, *xs: Var, **attrs: Any) -> Var:
        return self.accumulate(zeros(g.b, TensorType(g.dtype, xs[0].shape)), g, *xs, **attrs)

    def accumulate(self, acc: Var, g: Var, *xs: Var, **attrs: Any) -> Var:
        """``acc`` with the piece's cotangent (or mask) added where the piece was read."""
        return apply("add_slice", acc, g, starts=attrs["starts"], steps=attrs["steps"])

    def lower(
        self, b: Any, *tensors: Any, starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]
    ) -> Any:
        (x,) = tensors
        return b.pointwise(sizes, x.dtype, lambda *index: x[_positions(starts, steps, index)])


def _positions(starts: Sequence[int], steps: Sequence[int], index: Sequence[Dim]) -> tuple[Dim, ...]:
    return tuple(start + step * k for start, step, k in zip(starts, steps, index, strict=True))


@register
class Pad(Linear):
    """``low`` zeros (False, for bool) before the array and ``high`` after it, along each axis; both non-negative."""

    name = "pad"
    wide = False
    moves = True

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        cases = [
            ((), (), ()),
            ((3,), (0,), (0,)),
            ((3,), (2,), (0,)),
            ((2, 3), (0, 1), (2, 0)),
            ((0, 2), (1, 0), (1, 1)),
        ]
        samples = [Sample((_matrix(rng, *shape),), {"low": low, "high": high}) for shape, low, high in cases]
        return [*samples, *_over_dtypes(rng, (2, 2), {"low": (1, 0), "high": (0, 2)})]

    def infer(self, *types: TensorType, low: tuple[int, ...], high: tuple[int, ...]) -> TensorType:
        (x,) = types
        _check_length(self.name, x.ndim, low=low, high=high)
        if any(_known(n) and n < 0 for n in (*low, *high)):
            fail(
                ShapeError,
                f"index can't contain negative values: pad by {tuple(low)} before and {tuple(high)} after. "
                "Padding never removes elements. Slice the array instead.",
            )
        return TensorType(x.dtype, tuple(lo + n + hi for lo, n, hi in zip(low, x.shape, high, strict=True)))

    def eval(self, *arrays: np.ndarray, low: tuple[int, ...], high: tuple[int, ...]) -> np.ndarray:
        (x,) = arrays
        out = np.zeros([lo + n + hi for lo, n, hi in zip(low, x.shape, high, strict=True)], x.dtype)
        out[slices(low, x.shape, (1,) * x.ndim)] = x
        return out

    def transpose(self, g: Var, *xs: Var, low: tuple[int, ...], high: tuple[int, ...]) -> Var:
        return apply("slice", g, starts=low, sizes=xs[0].shape, steps=(1,) * g.ndim)

    def lower(self, b: Any, *tensors: Any, low: tuple[int, ...], high: tuple[int, ...]) -> Any:
        (x,) = tensors
        shape = tuple(lo + n + hi for lo, n, hi in zip(low, x.shape, high, strict=True))
        out = b.pointwise(shape, x.dtype, lambda *index: b.const(0, x.dtype))
        with b.loops(x.shape) as index:
            b.store(out, _positions(low, (1,) * x.ndim, index), x[index])
        return out


class PieceUpdate(OpRule):
    """Shared by add_slice and set_slice, which take an array and the new part, both of one dtype."""

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        samples = []
        for shape, attrs in _pieces():
            args = (_matrix(rng, *shape), _matrix(rng, *attrs["sizes"]))
            samples.append(Sample(args, {"starts": attrs["starts"], "steps": attrs["steps"]}))
        for dtype in _OTHERS:
            args = (_matrix(rng, 4, 5, dtype=dtype), _matrix(rng, 2, 3, dtype=dtype))
            samples.append(Sample(args, {"starts": (3, 0), "steps": (-2, 2)}, grad=False))
        return samples

    def infer(self, *types: TensorType, starts: tuple[Dim, ...], steps: tuple[int, ...]) -> TensorType:
        x, v = types
        if x.dtype != v.dtype:
            fail(
                DtypeError,
                f"{self.name} of {SHORT_NAMES[x.dtype]} and {SHORT_NAMES[v.dtype]}. Both operands have one dtype. "
                "Convert the new values with astype().",
            )
        check_piece(self.name, x.shape, starts, v.shape, steps)
        return x

    def lower(self, b: Any, *tensors: Any, starts: tuple[int, ...], steps: tuple[int, ...]) -> Any:
        x, v = tensors
        out = b.copy(x)
        if 0 not in v.shape:
            with b.loops(v.shape) as index:
                b.store(out, _positions(starts, steps, index), v[index], self.mode(x.dtype))
        return out

    def mode(self, dtype: np.dtype) -> str:
        """The mode of the store."""
        raise NotImplementedError

    def _read(self, g: Var, v: Var, starts: tuple[Dim, ...], steps: tuple[int, ...]) -> Var:
        return apply("slice", g, starts=starts, sizes=v.shape, steps=steps)


@register
class AddSlice(PieceUpdate):
    """``x`` with ``v`` added at ``start + k*step`` along each axis. Addition of bool is "or"."""

    name = "add_slice"
    wide = False

    def mode(self, dtype: np.dtype) -> str:
        return "or=" if dtype == bool_ else "+="

    def eval(self, *arrays: np.ndarray, starts: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
        x, v = arrays
        out = np.array(x)
        out[slices(starts, v.shape, steps)] += v
        return out

    def pullback(
        self, g: Cotangent, out: Var, *xs: Var, starts: tuple[Dim, ...], steps: tuple[int, ...]
    ) -> Sequence[Cotangent | None]:
        mask = None if g.mask is None else self._read(g.mask, xs[1], starts, steps)
        return [g, Cotangent(self._read(g.value, xs[1], starts, steps), mask)]

    def jvp(
        self, ts: Sequence[Var | None], out: Var, *xs: Var, starts: tuple[Dim, ...], steps: tuple[int, ...]
    ) -> Var | None:
        tx, tv = ts
        if tv is None:
            return tx
        return apply("add_slice", zeros(tv.b, xs[0].type) if tx is None else tx, tv, starts=starts, steps=steps)


@register
class SetSlice(PieceUpdate):
    """``x`` with ``v`` in place of what was at ``start + k*step`` along each axis."""

    name = "set_slice"
    wide = False

    def mode(self, dtype: np.dtype) -> str:
        return "="

    def eval(self, *arrays: np.ndarray, starts: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
        x, v = arrays
        out = np.array(x)
        out[slices(starts, v.shape, steps)] = v
        return out

    def pullback(
        self, g: Cotangent, out: Var, *xs: Var, starts: tuple[Dim, ...], steps: tuple[int, ...]
    ) -> Sequence[Cotangent | None]:
        x, v = xs
        before = constant_mask(x, True) if g.mask is None else g.mask
        # Read first: then the update of g is the last use of g, and can be made in its place.
        value = self._read(g.value, v, starts, steps)
        read = None if g.mask is None else self._read(g.mask, v, starts, steps)
        kept = apply("set_slice", g.value, zeros(v.b, v.type), starts=starts, steps=steps)
        # What was overwritten has no influence at all: the mask keeps infinite partials away from it.
        mask = apply("set_slice", before, constant_mask(v, False), starts=starts, steps=steps)
        return [Cotangent(kept, mask), Cotangent(value, read)]

    def jvp(
        self, ts: Sequence[Var | None], out: Var, *xs: Var, starts: tuple[Dim, ...], steps: tuple[int, ...]
    ) -> Var | None:
        tx, tv = ts
        if tx is None and tv is None:
            return None
        tx = zeros(out.b, xs[0].type) if tx is None else tx
        tv = zeros(out.b, xs[1].type) if tv is None else tv
        return apply("set_slice", tx, tv, starts=starts, steps=steps)
