"""Reading and writing by index: ``a[index]``, ``a[index] = v``, ``a[index] op= v``, ``set_at`` and ``add_at``.

:func:`getitem`, :func:`setitem` and :func:`augitem` are what rewritten code calls; they do what Python does where
nothing is traced.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, MutationError, ShapeError, UnsupportedError
from jitgrad.frontend.attributes import note_change
from jitgrad.frontend.bucket_tables import refuse_traced_key, refuse_traced_number
from jitgrad.frontend.chosen import Chosen
from jitgrad.frontend.chosen_containers import note_choice
from jitgrad.frontend.complex_pair import Pair, holds_complex, is_complex, is_plain_complex
from jitgrad.frontend.fixed import is_object, refuse_key
from jitgrad.frontend.indexing import (
    INT,
    NEW,
    RANGE,
    Index,
    as_value,
    index_parts,
    index_values,
    normalise,
    position,
)
from jitgrad.frontend.items import as_items
from jitgrad.frontend.masks import is_mask, without_masks
from jitgrad.frontend.primitives import broadcast_to, cast, common_dtype, emit, reshape, strong, where
from jitgrad.frontend.rebound import Rebound
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import ArrayLike, Collection, Tracer, contains_tracer, has_traced, innermost_trace
from jitgrad.frontend.users_operators import USUAL, method
from jitgrad.frontend.users_operators import in_place as after_in_place
from jitgrad.frontend.views import Box, View, view_box
from jitgrad.ir.location import user_location
from jitgrad.ir.types import kind_letter

#: Types of the numbers of a list, ``[0, 2.5]``, of which a traced index takes one as a float.
_INTEGERS_AND_FLOATS = {(np.dtype(np.int64), ()), (np.dtype(np.float64), ())}
#: The operators of augmented assignment: the ufunc, and Python's function.
OPERATORS: dict[str, tuple[np.ufunc, Callable[[Any, Any], Any]]] = {
    "+": (np.add, operator.iadd),
    "-": (np.subtract, operator.isub),
    "*": (np.multiply, operator.imul),
    "/": (np.divide, operator.itruediv),
    "//": (np.floor_divide, operator.ifloordiv),
    "%": (np.remainder, operator.imod),
    "**": (np.power, operator.ipow),
    "@": (np.matmul, operator.imatmul),
    "&": (np.bitwise_and, operator.iand),
    "|": (np.bitwise_or, operator.ior),
    "^": (np.bitwise_xor, operator.ixor),
    "<<": (np.left_shift, operator.ilshift),
    ">>": (np.right_shift, operator.irshift),
}


# -- reading -----------------------------------------------------------------------------------------------------------


def read(x: Tracer, index: Any) -> Any:
    """``x[index]`` of a traced array: a view for slices and integers, a scalar for integers on every axis, else a new
    array. Raises IndexBoundsError where a static index is out of bounds; a traced one is checked at run time."""
    parts = index_parts(index)
    if any(map(is_mask, parts)):
        trace = innermost_trace(x, *parts)
        x, parts = without_masks(trace, x if x.owner is trace else Tracer(trace, trace.own(x)), parts)
        index = tuple(parts)
    normal = normalise(x, index)
    box = normal.box(x.dims)
    if normal.arrays:
        return _gather(x, normal, box)
    if not box.axes and not _has_ellipsis(index):
        piece = box if x.owner is normal.trace else None
        source = x if piece is not None else Tracer(normal.trace, normal.trace.own(x))
        return strong(_element(source, box))
    return view_box(x, box, normal.trace)


def _has_ellipsis(index: Any) -> bool:
    return index is Ellipsis or (isinstance(index, tuple) and any(p is Ellipsis for p in index))


def _element(x: Tracer, box: Box) -> Tracer:
    """One element as a scalar, by one slice of the array that holds it."""
    while type(x) is View and isinstance(x._lens, Box) and x._base.owner is x.owner and x._array is None:
        whole = x._lens.then(box)
        if whole is None:
            break
        x, box = x._base, whole
    result = box.read(x)
    return Tracer(result.owner, result.value)


def _gather(x: Tracer, index: Index, box: Box) -> Tracer:
    trace = index.trace
    source = x if x.owner is trace else Tracer(trace, trace.own(x))
    batch, at = index_values(index), index.at()
    kept = [e for e in index.entries if e.kind != INT]
    piece = box.read(source)
    axes = tuple(k for k, e in enumerate(kept) if e.kind not in (NEW, RANGE))
    result = emit("gather", piece, *(Tracer(trace, v) for v in batch), axes=axes, at=at)
    count = result.ndim - piece.ndim + len(axes)  # of the axes of the index arrays, along which NumPy goes first
    if at:
        rest = [k for k in range(result.ndim) if not at <= k < at + count]
        result.order = (*range(at, at + count), *rest)
    return result


# -- writing -----------------------------------------------------------------------------------------------------------


def set_at(x: ArrayLike, index: Any, values: ArrayLike) -> Any:
    """A copy of x in which ``x[index] = values`` was done: the functional form of item assignment.

    ``index`` may be whatever NumPy takes. ``values`` are broadcast and converted to x's dtype. Where index arrays name
    an element twice, the last value stays. Works on plain arrays too. Raises IndexBoundsError, ShapeError.
    """
    if not contains_tracer((x, values)) and not has_traced(index):
        out = np.array(x)
        out[index] = values
        return out
    return _copy_written("set", x, index, values)


def add_at(x: ArrayLike, index: Any, values: ArrayLike) -> Any:
    """A copy of x in which ``np.add.at(x, index, values)`` was done: as :func:`set_at`, but added, and elements that
    index arrays name twice get both values. Raises DtypeError where the sum does not fit x's dtype."""
    if not contains_tracer((x, values)) and not has_traced(index):
        out = np.array(x)
        np.add.at(out, index, values)
        return out
    return _copy_written("add", x, index, values)


def _copy_written(mode: str, x: ArrayLike, index: Any, values: ArrayLike) -> Tracer:
    parts = index if isinstance(index, tuple) else (index,)
    trace = innermost_trace(x, values, *parts)
    copy = Tracer(trace, trace.own(trace.lift(x)))
    v = strong(trace.lift(values))
    if mode == "add":
        _check_sum(copy, v)
    write(mode, copy, index, v)
    return copy


def _check_sum(x: Tracer, v: Tracer) -> None:
    if not np.can_cast(v.dtype, x.dtype, "same_kind"):
        raise DtypeError(
            f"{v.dtype} values are added to an array of {x.dtype} in place. The sum can't be stored in it. Convert the "
            "array with astype() first.",
            user_location(),
        )


def write(mode: str, x: Tracer, index: Any, values: ArrayLike) -> None:
    """``x[index] = values`` (mode ``set``) or ``np.add.at(x, index, values)`` (``add``) for a traced array or view."""
    trace = x.owner
    v = cast(trace.lift(values), x.dtype)
    parts = index_parts(index)
    if any(map(is_mask, parts)):
        if _is_select(x, parts, v):
            x.store(_write_mask(None if mode == "set" else np.add, x, parts, v))
            return
        if innermost_trace(x, *parts) is not trace:
            raise _enclosing()
        merged, parts = without_masks(trace, x, parts)
        copy = Tracer(trace, merged.value)
        write(mode, copy, tuple(parts), v)
        x.store(reshape(copy, x.dims))
        return
    normal = normalise(x, index)
    box = normal.box(x.dims)
    if normal.trace is not trace:
        raise _enclosing()
    if normal.arrays:
        x.store(_scatter(mode, x, normal, box, v))
    else:
        write_box(mode, x, box, fit(v, box.dims))


def _enclosing() -> MutationError:
    return MutationError(
        "a write into an array of an enclosing traced function, at an index of the inner one. Return the new values "
        "from the inner function, or copy() the array in it.",
        user_location(),
    )


def write_box(mode: str, x: Tracer, box: Box, v: Tracer) -> None:
    """Write or add ``v``, which has the box's extents, by one op on the array that holds the elements."""
    if type(x) is View:
        x.check_writable()
        whole = x._lens.then(box) if isinstance(x._lens, Box) else None
        if whole is not None and x._base.owner is x.owner:
            write_box(mode, x._base, whole, v)
            return
    if type(x) is Rebound:
        x.update(box, v, mode, write_box)
        return
    x.store(box.update(mode, x, v))


def fit(v: Tracer, dims: Any) -> Tracer:
    """Values broadcast to the selected shape; as in NumPy's assignment, leading axes of extent 1 may be dropped."""
    dims = tuple(dims)
    while v.ndim > len(dims) and v.dims[0] == 1:
        v = reshape(v, v.dims[1:])
    if v.ndim > len(dims) or any(a not in (1, b) for a, b in zip(v.dims[::-1], dims[::-1], strict=False)):
        known = all(isinstance(d, int) for d in (*v.dims, *dims))
        raise ShapeError(
            f"values of shape {v.dims} can't be broadcast to the shape {dims} that the index selects. Each extent "
            "must be equal or 1. Reshape the values."
            + (
                ""
                if known
                else " Extents that depend on traced values must be known to be equal: take both by one slice or by "
                "one mask."
            ),
            user_location(),
        )
    return broadcast_to(v, dims)


def _scatter(mode: str, x: Tracer, index: Index, box: Box, v: Tracer) -> Tracer:
    """Write through index arrays; around them, ranges and integers select a box that is written back."""
    batch, at, trace = index.batch_shape(), index.at(), index.trace
    plain = Box(box.starts, box.sizes, box.steps, tuple(a for a in box.axes if a is not None))
    piece = plain.read(x)
    # The shape of x[index] with its new axes, then without them.
    rest = [1 if e.kind == NEW else e.size for e in index.entries if e.kind in (NEW, RANGE)]
    new = [e.kind == NEW for e in index.entries if e.kind in (NEW, RANGE)]
    v = fit(v, (*rest[:at], *batch, *rest[at:]))
    plain_at = at - sum(new[:at])
    kept_rest = [d for d, is_new in zip(rest, new, strict=True) if not is_new]
    v = reshape(v, (*kept_rest[:plain_at], *batch, *kept_rest[plain_at:]))
    kept = [e for e in index.entries if e.kind not in (INT, NEW)]
    axes = tuple(k for k, e in enumerate(kept) if e.kind != RANGE)
    idx = (Tracer(trace, k) for k in index_values(index))
    written = emit(f"scatter_{mode}", piece, v, *idx, axes=axes, at=plain_at)
    return plain.write(x, written)


def _is_select(x: Tracer, parts: list[Any], v: Tracer) -> bool:
    """Is the index a mask on the leading axes alone, and do all elements that it selects get the same values?"""
    mask, rest = parts[0], parts[1:]
    plain = all(p is Ellipsis or (isinstance(p, slice) and p == slice(None)) for p in rest)
    if not is_mask(mask) or not plain or mask.dims != x.dims[: mask.ndim]:
        return False
    more = v.ndim - (x.ndim - mask.ndim)
    return more <= 0 or v.dims[:more] == (1,) * more


def _write_mask(ufunc: np.ufunc | None, x: Tracer, parts: list[Any], v: Tracer) -> Tracer:
    """``x`` after ``x[mask] = v``, or ``x[mask] op= v``, where that is a select."""
    mask = parts[0]
    tail = x.dims[mask.ndim :]
    if ufunc is None:
        v = fit(cast(v, x.dtype), tail)
    else:
        fit(v, tail)  # raises what there is to raise
        v = _stored(x, HOOKS["operator"](ufunc, x, v))
    spread = reshape(mask, (*mask.dims, *[1] * len(tail)))
    return where(spread, v, x)


# -- assignment --------------------------------------------------------------------------------------------------------


def assign(x: Tracer, index: Any, value: Any) -> None:
    """``x[index] = value``."""
    if holds_complex(value):
        raise complex_into_real(x)
    if x.concrete is not None and HOOKS["assign_concrete"](x, index, value):
        return
    _check_array(x)
    if type(value) is View and _is_same_piece(x, index, value):
        return  # x[index] op= v has written through the view already
    trace = _trace_of_write(x, value)
    write("set", x, index, value if isinstance(value, Tracer) else _converted(trace, value, x))


def _check_array(x: Tracer) -> None:
    if x.weak or not (x.dims or x.boxed):
        kind = f"Python {x.weak}" if x.weak else "NumPy scalar"
        raise MutationError(
            f"item assignment into a {kind}. Only arrays have items. Make an array with np.array(x).",
            user_location(),
        )


def _trace_of_write(x: Tracer, value: Any) -> Trace:
    if contains_tracer(value) and innermost_trace(x, value) is not x.owner:
        raise _enclosing()
    return x.owner


def _converted(trace: Trace, value: Any, x: Tracer) -> Tracer:
    """An untraced value in x's dtype, by NumPy's rules of assignment."""
    if contains_tracer(value):
        return trace.lift(value)
    array = np.asarray(value)
    with np.errstate(all="ignore"):
        if kind_letter(array.dtype) in "fiub":
            return Tracer(trace, trace.array(value)) if array.ndim else _scalar(trace, value, x)
        return trace.lift(array.astype(x.dtype))


def complex_into_real(x: Any) -> DtypeError:
    """The error for a complex value that is stored in a real array."""
    return DtypeError(
        f"a complex value is assigned into an array of {x.dtype}. The array is real, and the imaginary part would be "
        "lost (NumPy raises TypeError, or warns). Make the array complex, or assign the real part.",
        user_location(),
    )


def _scalar(trace: Trace, value: Any, x: Tracer) -> Tracer:
    """A number in x's dtype; a Python integer that does not fit is an OverflowError, as in NumPy."""
    if type(value) in (int, bool):
        return Tracer(trace, trace.scalar(np.array(value, x.dtype), x.dtype))
    return Tracer(trace, trace.scalar(np.asarray(value).astype(x.dtype), x.dtype))


def _is_same_piece(x: Tracer, index: Any, value: View) -> bool:
    """Is ``value`` a view of ``x[index]``?"""
    if value.root is not x.root or (has_traced(index) and value.owner is not x.owner):
        return False
    if any(map(is_mask, index_parts(index))):
        return False
    normal = normalise(x, index)
    if normal.arrays:
        return False
    target = view_box(x, normal.box(x.dims), normal.trace)
    if target._base is not value._base or type(target._lens) is not type(value._lens):
        return False
    return isinstance(target._lens, Box) and isinstance(value._lens, Box) and target._lens.key() == value._lens.key()


def in_place(x: Tracer, ufunc: np.ufunc, other: Any) -> Any:
    """``x op= other`` for an array: shape and dtype stay, as in NumPy. Raises ShapeError, DtypeError."""
    if holds_complex(other):
        raise complex_into_real(x)
    if _adds(x, ufunc, other):
        whole = Box((0,) * x.ndim, x.dims, (1,) * x.ndim, tuple(range(x.ndim)))
        write_box("add", x, whole, _addend(x, ufunc, other, x.dims))
        return x
    result = HOOKS["operator"](ufunc, x, other)
    if result is NotImplemented:
        return result
    x.store(_stored(x, result))
    return x


def _stored(x: Tracer, result: Tracer) -> Tracer:
    """The result of an in-place operator as it is stored in its left operand."""
    if result.dims != x.dims:
        raise ShapeError(
            f"the result of an in-place operator has shape {result.dims}, not that of its left operand, "
            f"{x.dims}. In place the left operand can't grow. Write x = x op y.",
            user_location(),
        )
    if not np.can_cast(result.dtype, x.dtype, "same_kind"):
        raise DtypeError(
            f"the result of an in-place operator has dtype {result.dtype}, which can't be stored in "
            f"{x.dtype}. In place the left operand keeps its dtype. Write x = x op y.",
            user_location(),
        )
    return cast(result, x.dtype)


def _adds(x: Tracer, ufunc: np.ufunc, other: Any) -> bool:
    """Can ``x op= other`` be done by adding to a part of an array: is the sum computed in x's dtype, and x a part?"""
    if ufunc is not np.add and ufunc is not np.subtract:
        return False
    if type(x) is not View or not isinstance(x._lens, Box) or kind_letter(x.dtype) not in "fi":
        return False
    if isinstance(other, (list, tuple)) or not (
        isinstance(other, Tracer) or kind_letter(np.asarray(other).dtype) in "fiub"
    ):
        return False
    return common_dtype(x, other) == x.dtype


def _addend(x: Tracer, ufunc: np.ufunc, other: Any, dims: Any) -> Tracer:
    """What is added to the elements, in their dtype and extents."""
    v = x.owner.lift(other)
    v = Tracer(x.owner, x.owner.scalar(other, x.dtype)) if type(other) in (int, float, bool) else cast(v, x.dtype)
    if ufunc is np.subtract:
        v = emit("negative", v)
    if len(v.dims) > len(dims):
        raise ShapeError(
            f"the result of an in-place operator has shape {v.dims}, not that of its left operand, {tuple(dims)}. In "
            "place the left operand can't grow. Write x = x op y.",
            user_location(),
        )
    return fit(v, dims)


# -- what rewritten code calls -----------------------------------------------------------------------------------------


def getitem(a: Any, index: Any) -> Any:
    """``a[index]``, also where ``a`` is an untraced array, list or tuple and the index is traced."""
    if (type(index) is int and type(a) in USUAL) or isinstance(a, (Tracer, Collection)):
        return a[index]
    if isinstance(a, dict):
        refuse_key(index, a)
        refuse_traced_key(a, index)
        if refuse_traced_number(a, index, reads=True):
            a = HOOKS["keyed_table"](a)
    if (of_users := method(a, "__getitem__")) is not None:
        return of_users(index)
    return a[index] if not has_traced(index) else _lifted_item(a, index)


def _lifted_item(a: Any, index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    trace = innermost_trace(*(v for p in parts for v in ((p.start, p.stop) if isinstance(p, slice) else (p,))))
    scalar: Any = isinstance(index, Tracer) and index.ndim == 0
    if is_plain_complex(a):
        return HOOKS["complex_adopted"](trace, a)[index]
    if isinstance(a, np.ndarray):
        return read(Tracer(trace, trace.array(a)), index)
    if isinstance(a, range) and scalar:
        k = as_value(trace, position(trace, index, len(a)))  # pyright: ignore[reportArgumentType]
        return a.start + Tracer(trace, k.value, "int") * a.step
    if isinstance(a, list) and scalar and all(type(x) is list and not x for x in a):
        refuse_traced_key(a, index)
    if isinstance(a, (list, tuple)) and a and scalar and holds_complex(a):
        return call(np.array, (list(a),), {})[index]
    if isinstance(a, list) and a and scalar and is_object(a[0]):
        if (found := as_items(a)) is None:
            raise UnsupportedError(
                f"a list of objects, {type(a[0]).__name__} among them, at a traced index. Which one is taken is not "
                "known while the function is traced, and what they hold does not lie in one array for each attribute. "
                "Use a loop that is unrolled, or arrays.",
                user_location(),
            )
        at = as_value(trace, position(trace, index, len(a)))  # pyright: ignore[reportArgumentType]
        return found[1](Tracer(trace, at.value, "int"))
    if isinstance(a, (list, tuple)) and a and scalar:
        parts = [trace.lift(item) for item in a]
        if {(p.dtype, p.dims) for p in parts} == _INTEGERS_AND_FLOATS:  # as a variable that is one or the other
            parts = [cast(p, np.dtype(np.float64)) for p in parts]
        if len({p.type for p in parts}) != 1:
            shown = ", ".join(str(p.type) for p in parts)
            raise UnsupportedError(
                f"a {type(a).__name__} of {shown} at a traced index. Which item is taken is not known while the "
                "function is traced, so all must have one dtype and shape. Convert them first.",
                user_location(),
            )
        taken = HOOKS["stack"](parts)[index]
        sources = [item for item in a if isinstance(item, Tracer) and (item.dims or item.boxed) and not item.weak]
        if not taken.dims:
            return taken
        if lists := [item for item in a if type(item) is list]:
            with trace.emitting_in(trace.top):  # it stands for the lists, which would not see what is written
                sources.append(Tracer(trace, trace.scalar(0, np.dtype(np.int64))))
        chosen = Chosen(trace, trace.own(taken), sources)
        note_choice(trace, chosen, lists)
        return chosen
    return a[index]  # pyright: ignore[reportCallIssue, reportArgumentType]


def setitem(a: Any, index: Any, value: Any) -> None:
    """``a[index] = value``. Raises MutationError where traced values meet an array that is not traced."""
    if isinstance(a, np.ndarray) and type(a) is not Tracer and not isinstance(a, Tracer):
        _check_plain(a, index, value)
    if (of_users := method(a, "__setitem__")) is not None:
        of_users(index, value)
        return
    if isinstance(a, dict):
        refuse_traced_number(a, index, value)
    if type(a) is not list or not HOOKS["assign_item"](a, index, value):
        a[index] = value


def _check_plain(a: np.ndarray, index: Any, value: Any) -> None:
    if a.dtype == object or not (has_traced(index) or has_traced(value)):
        return
    raise MutationError(
        "a traced value is assigned into a NumPy array that was made outside of the traced function, or by a function "
        "that jitgrad does not see. The array holds numbers, which traced values are not. Make it inside with "
        "np.zeros or np.array, or copy it with np.copy(a), and assign into that.",
        user_location(),
    )


def augitem(a: Any, index: Any, op: str, value: Any) -> None:
    """``a[index] op= value``; ``op`` is the operator without ``=``."""
    ufunc, _ = OPERATORS[op]
    if isinstance(a, Pair) and op in ("+", "-"):
        re, im = HOOKS["complex_parts"](value)
        augitem(a.re, index, op, re)
        if is_complex(value):
            augitem(a.im, index, op, im)
        return
    if type(a) is Tracer or type(a) is View:
        if _augment(a, index, ufunc, value):
            return
    elif isinstance(a, np.ndarray) and not isinstance(a, Tracer):
        _check_plain(a, index, value)
    own = method(a, "_item_to_change")
    item = getitem(a, index) if own is None else own(index)
    note_change(item)
    setitem(a, index, after_in_place(item, op, value))


def _augment(a: Tracer, index: Any, ufunc: np.ufunc, value: Any) -> bool:
    """Do it by one op, where the operator adds to a piece of the array, or the index is a traced mask."""
    if holds_complex(value):
        raise complex_into_real(a)
    if contains_tracer(value) and innermost_trace(a, value) is not a.owner:
        return False
    parts = index_parts(index)
    if any(map(is_mask, parts)):
        v = a.owner.lift(value)
        if _is_select(a, parts, v):
            a.store(_write_mask(ufunc, a, parts, v))
            return True
        return False
    if ufunc is not np.add and ufunc is not np.subtract:
        return False
    normal = normalise(a, index)
    if normal.arrays or normal.trace is not a.owner:
        return False
    piece = view_box(a, normal.box(a.dims))
    if not _adds(piece, ufunc, value):
        return False
    piece.check_writable()
    write_box("add", piece._base, piece._lens, _addend(piece, ufunc, value, piece.dims))  # pyright: ignore[reportArgumentType]
    return True


HOOKS["getitem"] = read
HOOKS["setitem"] = assign
HOOKS["in_place"] = in_place
