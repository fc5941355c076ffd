"""NumPy's functions that write: ``out=``, ``ufunc.at``, ``copyto``, ``put`` and their kin."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, DtypeError, MutationError, ShapeError, UnsupportedError
from jitgrad.frontend.assign import fit, write
from jitgrad.frontend.complex_pair import is_complex
from jitgrad.frontend.concrete import Concrete, made_writable, unwrap
from jitgrad.frontend.functions_index import along, along_axis, in_bounds
from jitgrad.frontend.indexing import index_parts
from jitgrad.frontend.primitives import cast, emit, reshape
from jitgrad.frontend.primitives import where as select
from jitgrad.frontend.registry import HOOKS, WRITERS, call, qualified_name
from jitgrad.frontend.tracer import ArrayLike, Tracer, has_traced
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.frontend.views import view_flat
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, kind_letter

#: Longest run of writes at traced indices that is written out one by one.
_MAX_UNROLLED = 64


def _into_plain(name: str) -> MutationError:
    return MutationError(
        f"{name} would write a traced value into a NumPy array that was made outside of the traced function. The "
        "array holds numbers, which traced values are not. Make it inside with np.zeros, or copy it with np.copy(a).",
        user_location(),
    )


def write_out(out: Any, result: Any, name: str, where: Any = True) -> Any:
    """Store a result in ``out=``, an array or a tuple of them; returns ``out``. Raises ShapeError, DtypeError."""
    if isinstance(out, tuple):
        stored = [r if o is None else write_out(o, r, name, where) for o, r in zip(out, result, strict=True)]
        return tuple(stored)
    if is_complex(out) or is_complex(result):
        return HOOKS["complex_write_out"](out, result, name, where)
    if not isinstance(out, Tracer):
        if has_traced(result) or has_traced(where):
            raise _into_plain(name)
        np.copyto(out, unwrap(result), where=unwrap(where))
        return out
    dtype = result.dtype if isinstance(result, Tracer) else np.asarray(result).dtype
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise DtypeError(
            f"the result of {name} has dtype {dtype}, which can't be stored in out= of dtype {out.dtype}. NumPy's "
            "rule is 'same_kind'. Give an array of another dtype, or convert the result with astype().",
            user_location(),
        )
    dims = result.dims if isinstance(result, Tracer) else np.shape(result)
    if len(dims) > out.ndim:
        raise ShapeError(
            f"the result of {name} has shape {dims}, and out= has {out.dims}. They must agree. Reshape one of them.",
            user_location(),
        )
    if where is True:
        out[...] = result
    else:
        copyto(out, result, where=where)
    return out


# -- functions ---------------------------------------------------------------------------------------------------------


def _writer(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the function does what a NumPy function does to its first argument, where that is traced."""

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def run(*args: Any, **kwargs: Any) -> Any:
            target = args[0] if args else next(iter(kwargs.values()))
            if not isinstance(target, Tracer):
                if has_traced(args) or has_traced(kwargs):
                    raise _into_plain(qualified_name(function))
                return function(*unwrap(args), **unwrap(kwargs))
            if type(target) is Concrete and not has_traced(args) and not has_traced(kwargs) and made_writable(target):
                return function(*unwrap(args), **unwrap(kwargs))
            made_writable(target)
            return handler(*args, **kwargs)

        WRITERS[function] = run
        return run

    return decorate


@_writer(np.copyto)
def copyto(dst: Tracer, src: ArrayLike, casting: str = "same_kind", where: Any = True) -> None:
    source = dst.owner.lift(src)
    if not source.weak and not np.can_cast(source.dtype, dst.dtype, casting):  # pyright: ignore[reportArgumentType]
        raise ArgumentError(
            f"np.copyto from {source.dtype} to {dst.dtype} with casting {casting!r}. The rule forbids it. Convert the "
            "source with astype().",
            user_location(),
        )
    if where is True:
        dst[...] = src
        return
    mask = fit(dst.owner.lift(where), dst.dims)
    dst[...] = select(mask, fit(cast(source, dst.dtype), dst.dims), dst)


def _repeated(x: Tracer, values: ArrayLike, count: int) -> Tracer:
    """Values in C order, repeated or cut to ``count``, in x's dtype."""
    v = cast(x.owner.lift(values), x.dtype)
    v = reshape(v, (v.count,))
    if v.dims == (count,) or v.dims == (1,):
        return fit(v, (count,))
    if not isinstance(v.count, int) or (v.count == 0 and count):
        raise ShapeError(f"values of shape {v.dims} for {count} elements. Give at least one.", user_location())
    return v[np.arange(count) % v.count] if count else v[:0]


def _known_count(x: Tracer, function: Any) -> int:
    if not all(isinstance(d, int) for d in x.dims):
        raise UnsupportedError(
            f"{qualified_name(function)} of an array whose shape is not known while the function is traced. Use a loop "
            "or slices.",
            user_location(),
        )
    return math.prod(x.dims)  # pyright: ignore[reportArgumentType, reportReturnType]


@_writer(np.fill_diagonal)
def fill_diagonal(a: Tracer, val: ArrayLike, wrap: bool = False) -> None:
    size = _known_count(a, np.fill_diagonal)
    shape: Any = a.dims
    if a.ndim < 2:
        raise ShapeError("np.fill_diagonal of an array with less than two axes. Use a matrix.", user_location())
    if a.ndim == 2:
        step, end = shape[1] + 1, size if wrap else shape[1] * shape[1]
    else:
        if len(set(shape)) > 1:
            raise ShapeError(
                f"np.fill_diagonal of shape {shape}. With more than two axes, all must be of equal extent.",
                user_location(),
            )
        step, end = 1 + int(np.cumprod(shape[:-1]).sum()), size
    piece = view_flat(a)[:end:step]
    piece[...] = _repeated(a, val, piece.shape[0])


@_writer(np.put)
def put(a: Tracer, ind: ArrayLike, v: ArrayLike, mode: str = "raise") -> None:
    n = _known_count(a, np.put)
    if mode != "raise":
        ind = in_bounds(ind, n, mode)
    index = call(np.ravel, (ind,), {}) if has_traced(ind) else np.ravel(unwrap(ind)).astype(np.int64)
    flat = view_flat(a)
    flat[index] = _repeated(a, v, index.shape[0])


@_writer(np.place)
def place(arr: Tracer, mask: Any, vals: ArrayLike) -> None:
    if has_traced(mask):
        v = arr.owner.lift(vals)
        chosen: Any = cast(arr.owner.lift(mask), bool_)
        if v.count != 1:  # the first value goes to the first place, and so on, over and over
            number: Any = np.cumsum(chosen) - 1
            v = reshape(v, (v.count,))[np.where(number < 0, 0, number) % v.count]
            arr[...] = select(chosen, cast(reshape(v, chosen.dims), arr.dtype), arr)
            return
        arr[chosen] = reshape(v, ())
        return
    index = np.flatnonzero(np.asarray(unwrap(mask)))
    view_flat(arr)[index] = _repeated(arr, vals, len(index))


@_writer(np.putmask)
def putmask(a: Tracer, mask: Any, values: ArrayLike) -> None:
    v = reshape(_repeated(a, values, _known_count(a, np.putmask)), a.dims)
    a[...] = select(reshape(cast(a.owner.lift(mask), bool_), a.dims), v, a)


@_writer(np.put_along_axis)
def put_along_axis(arr: Tracer, indices: ArrayLike, values: ArrayLike, axis: int | None = -1) -> None:
    target, i, axis = along_axis(arr, indices, axis, flat=view_flat)
    target[along(target, i, axis)] = values


# -- ufunc.at ----------------------------------------------------------------------------------------------------------


def ufunc_at(ufunc: np.ufunc, a: Any, indices: Any, *operands: Any) -> None:
    """``ufunc.at(a, indices, b)``: elements that are named several times are worked on several times."""
    name = f"{qualified_name(ufunc)}.at"
    traced = has_traced(indices) or has_traced(operands)
    if not isinstance(a, Tracer):
        if traced:
            raise _into_plain(name)
        ufunc.at(a, unwrap(indices), *unwrap(operands))
        return
    if type(a) is Concrete and not traced and made_writable(a):
        ufunc.at(unwrap(a), unwrap(indices), *unwrap(operands))
        return
    made_writable(a)
    if ufunc in (np.add, np.subtract) and kind_letter(a.dtype) in "fiu":
        (b,) = operands
        v = a.owner.lift(b)
        if not v.weak and not np.can_cast(v.dtype, a.dtype, "same_kind"):
            raise DtypeError(
                f"{name} of {v.dtype} values to an array of {a.dtype}. The result can't be stored in it. Convert the "
                "array with astype() first.",
                user_location(),
            )
        v = cast(v, a.dtype)
        write("add", a, indices, emit("negative", v) if ufunc is np.subtract else v)
        return
    for index, parts in _rounds(a, indices, operands, name):
        result = call_ufunc(ufunc, a[index], *parts)
        a[index] = result


def _rounds(a: Tracer, indices: Any, operands: Sequence[Any], name: str) -> list[tuple[Any, list[Any]]]:
    """Indices without duplicates, one after the other, with the operands that belong to them."""
    parts = index_parts(indices)
    arrays = [k for k, p in enumerate(parts) if isinstance(p, (np.ndarray, Tracer)) and p.ndim and p.dtype != bool_]
    if not arrays:
        return [(indices, list(operands))]
    if len(arrays) != len(parts):
        raise UnsupportedError(
            f"{name} with index arrays beside slices. Only index arrays alone, or slices and integers, are supported. "
            "Use a loop.",
            user_location(),
        )
    shapes = [np.shape(p) if isinstance(p, np.ndarray) else p.dims for p in parts]
    batch: Any = np.broadcast_shapes(*shapes)  # pyright: ignore[reportArgumentType]
    count = int(np.prod(batch))
    rest = a.dims[len(parts) :]
    values = [fit(a.owner.lift(b), (*batch, *rest)) for b in operands]
    values = [reshape(v, (count, *rest)) for v in values]
    flat = [call(np.ravel, (call(np.broadcast_to, (p, batch), {}),), {}) if isinstance(p, Tracer)
            else np.broadcast_to(p, batch).reshape(-1) for p in parts]  # fmt: skip
    if not any(isinstance(p, Tracer) for p in parts):
        return [(tuple(f[chosen] for f in flat), [v[chosen] for v in values])
                for chosen in _without_duplicates(np.stack(flat, axis=1) % np.array(a.dims[: len(parts)]))]  # fmt: skip
    if count > _MAX_UNROLLED:
        raise UnsupportedError(
            f"{name} at {count} traced indices. Some may be equal, so they are worked on one by one, which is done for "
            f"up to {_MAX_UNROLLED}. Use a loop.",
            user_location(),
        )
    return [(tuple(f[k] for f in flat), [v[k] for v in values]) for k in range(count)]


def _without_duplicates(rows: np.ndarray) -> list[np.ndarray]:
    """The numbers of rows, in rounds: the k-th has the k-th occurrence of each row."""
    seen: dict[tuple[int, ...], int] = {}
    rounds: list[list[int]] = []
    for number, row in enumerate(map(tuple, rows.tolist())):
        k = seen[row] = seen.get(row, -1) + 1
        if k == len(rounds):
            rounds.append([])
        rounds[k].append(number)
    return [np.array(r) for r in rounds]


HOOKS["write_out"] = write_out
HOOKS["ufunc_at"] = ufunc_at
