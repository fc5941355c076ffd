"""Lists of an array's elements along its first axis, as ``list(x)`` and recorded loops make them: seen as arrays again.

The elements are views, which are read when they are used. Where such a list becomes an array, or is looped over, none
of them has to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.frontend.chosen_containers import note_chosen
from jitgrad.frontend.fixed import fix, is_object
from jitgrad.frontend.objects import closed, flatten_opened
from jitgrad.frontend.opening import opens
from jitgrad.frontend.primitives import cast, common_dtype, concatenate, insert_axes, reshape, strong, transpose
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.signature import unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer
from jitgrad.frontend.views import Box, View, view_slice
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim

#: Fewer elements that follow each other are taken one by one.
_FEW = 4
#: Numbers of a list that are one array in the program, at least: fewer are better off in registers.
MANY = 32


class Run(NamedTuple):
    """The elements ``first``, ``first + 1``, ... of an array."""

    array: Tracer
    first: int
    count: int

    def whole(self, trace: Trace) -> Tracer:
        """An array of these elements."""
        x = self.array
        if self.count != x.dims[0]:
            x = view_slice(x, 0, self.first, self.count)
        return strong(trace.lift(x))


def element(x: Tracer, number: int, *, scalar: bool, weak: str | None = None) -> View:
    """``x[number]``, which is read when it is used. ``scalar`` says that it is a number, and not an array of no axes;
    ``weak`` that it counts as one of Python's."""
    dims = x.dims
    view = View(x, Box((number, *[0] * (len(dims) - 1)), (1, *dims[1:]), (1,) * len(dims), tuple(range(1, len(dims)))))
    view.boxed, view.weak = not scalar, weak
    return view


def _place(x: Any) -> tuple[Tracer, int] | None:
    """The array that this is an element of, and its number."""
    if type(x) is not View or not isinstance(x._lens, Box):
        return None
    box, base = x._lens, x._base
    n = len(box.starts)
    first = box.starts[0] if n else None
    if not isinstance(first, int) or box.sizes != (1, *base.dims[1:]) or box.axes != tuple(range(1, n)):
        return None
    return (base, first) if not any(box.starts[1:]) and set(box.steps) == {1} else None


def runs(parts: Sequence[Any]) -> list[Run | Any]:
    """The parts, with elements that follow each other as one :class:`Run`."""
    found: list[Run | Any] = []
    for part in parts:
        place = _place(part)
        last = found[-1] if found else None
        if place is None:
            found.append(part)
        elif isinstance(last, Run) and last.array is place[0] and last.first + last.count == place[1]:
            found[-1] = last._replace(count=last.count + 1)
        else:
            found.append(Run(*place, 1))
    return found


def elements(x: Tracer, *, scalar: bool, weak: str | None = None) -> list[View]:
    """``list(x)``, of elements that are read when they are used."""
    return [element(x, k, scalar=scalar, weak=weak) for k in range(x.dims[0])]


def nested(x: Tracer, weak: str | None, depth: int) -> list[Any]:
    """Lists in lists of the numbers of an array of so many axes, each read when it is used."""
    if depth == 1:
        return elements(x, scalar=True, weak=weak)  # pyright: ignore[reportReturnType]
    return [nested(element(x, k, scalar=False), weak, depth - 1) for k in range(x.dims[0])]


def table(items: list[Any]) -> tuple[list[Any], tuple[int, ...]] | None:
    """What a list holds, or lists in it of equal lengths, one behind the other, and the extents; None for others."""
    shape: list[int] = []
    level = [items]
    while type(level[0]) is list:
        n = len(level[0])
        if not n or any(type(x) is not list or len(x) != n for x in level):
            return None
        shape.append(n)
        level = [y for x in level for y in x]
    return level, tuple(shape)


def in_rows(leaves: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Lists in lists of these extents."""
    found = list(leaves)
    for n in reversed(shape[1:]):
        found = [found[k : k + n] for k in range(0, len(found), n)]
    return found


def listed(parts: Any) -> Tracer | None:
    """The array that these are all elements of, in order; None where there is none."""
    if isinstance(parts, Collection) or not isinstance(parts, (list, tuple)) or not parts or _place(parts[0]) is None:
        return None
    found = runs(parts)
    run = found[0]
    return run.array if len(found) == 1 and run.first == 0 and run.count == run.array.dims[0] else None


def picked(trace: Trace, leaves: Sequence[Any], shape: Sequence[int]) -> Tracer | None:
    """Numbers that are elements of one array, at known places, as an array of this shape: its transpose, a slice of it
    or a selection. None for others, and for few."""
    if len(leaves) < MANY or not (first := _origin(trace, leaves[0])):
        return None
    places = [_origin(trace, x) for x in leaves]
    if not all(p is not None and p[0] is first[0] for p in places):
        return None
    base = Tracer(trace, first[0])
    at = np.array([p[1] for p in places if p is not None])
    dims: Any = first[0].type.shape  # numbers: see _origin
    size = math.prod(dims)
    if at.size == size and np.array_equal(at, np.arange(size).reshape(dims).T.reshape(-1)):
        return reshape(transpose(base, range(len(dims))[::-1]), tuple(shape))
    flat, step = reshape(base, (size,)), int(at[1] - at[0])
    if step > 0 and np.array_equal(at, at[0] + step * np.arange(at.size)):
        return reshape(view_slice(flat, 0, int(at[0]), at.size, step), tuple(shape))
    return reshape(flat[at], tuple(shape))


def _origin(trace: Trace, x: Any) -> tuple[Value, int] | None:
    """The array that a number is an element of, and its place there, in C order. Views and slices on the way are
    passed."""
    if not isinstance(x, Tracer) or x.dims or type(x) not in (Tracer, View):
        return None
    place = 0
    while type(x) is View and isinstance(x._lens, Box):  # without reading it
        box, index = x._lens, np.unravel_index(place, x.dims)
        if not all(isinstance(n, int) for n in (*x._base.dims, *box.starts)):
            break
        at = {a: int(k) for a, k in zip(box.axes, index, strict=True)}
        place, x = 0, x._base
        for a, n in enumerate(x.dims):
            place = place * n + box.starts[a] + box.steps[a] * at.get(a, 0)
    if x.owner is not trace:
        return None
    value = x.value
    while (op := value.op) is not None and op.name in ("reshape", "slice"):
        (before,) = op.operands
        shape = before.type.shape
        if not all(isinstance(n, int) for n in shape):
            break
        if op.name == "slice":
            starts = op.attrs["starts"]
            if not all(isinstance(n, int) for n in starts):
                break
            index = np.unravel_index(place, value.type.shape)  # pyright: ignore[reportCallIssue, reportArgumentType]
            place = 0
            for n, start, step, k in zip(shape, starts, op.attrs["steps"], index, strict=True):
                place = place * n + start + step * int(k)
        value = before
    return (value, place) if value.type.shape else None


def as_array(trace: Trace, parts: Any) -> Tracer | None:
    """An array of the parts, along its first axis; None where they are not mostly elements of other arrays, or not all
    of one shape."""
    if isinstance(parts, Collection):
        return parts.array()
    if not isinstance(parts, (list, tuple)) or any(isinstance(p, Collection) for p in parts) or len(parts) < _FEW:
        return None
    parts = [p if (x := listed(p)) is None else x for p in parts]
    if _place(parts[-1]) is None:
        return None
    found = runs(parts)
    if 2 * len(found) > len(parts):
        return None
    joined = [r.whole(trace) if isinstance(r, Run) else insert_axes(strong(trace.lift(r)), [0]) for r in found]
    if any(t.dims[1:] != joined[0].dims[1:] for t in joined):
        return None
    dtype = common_dtype(*joined)
    return concatenate([cast(t, dtype) for t in joined], 0)


def as_items(parts: Any) -> tuple[Dim, Callable[[Any], Any]] | None:
    """How many there are, and a function of an index that gives a part; None where they are not all elements of one
    array, or tuples or objects of such."""
    if isinstance(parts, Collection):
        return parts.as_items()
    if not isinstance(parts, (list, tuple)) or len(parts) < _FEW:
        return None
    if is_object(parts[0]):
        return _as_objects(parts)
    if all(type(p) is tuple and len(p) == len(parts[0]) for p in parts) and type(parts[0]) is tuple:
        columns = [as_items(column) for column in zip(*parts, strict=True)]
        if not columns or any(c is None for c in columns):
            return None
        return len(parts), lambda i: tuple(c[1](i) for c in columns if c is not None)
    found = runs(parts)
    if len(found) != 1 or not isinstance(found[0], Run):
        return None
    x, first, count = found[0]
    weak, boxed = parts[0].weak, parts[0].boxed
    if any((p.weak, p.boxed) != (weak, boxed) for p in parts):
        return None

    def item(i: Any) -> Any:
        got = x[i + first]
        if weak is not None:
            return Tracer(got.owner, got.value, weak)
        return got

    return count, item


def _as_objects(parts: Sequence[Any]) -> tuple[Dim, Callable[[Any], Any]] | None:
    """The same for objects of one class, whose attributes are elements of an array each, or the same in all. They stay
    as they are while a part is used."""
    if len({id(p) for p in parts}) < len(parts) or any(type(p) is not type(parts[0]) for p in parts):
        return None
    opened = [flatten_opened(p) for p in parts]
    tree = opened[0][1]
    if any(other != tree for _, other in opened):
        return None
    columns: list[Callable[[Any], Any]] = []
    traced = False
    for column in zip(*(leaves for leaves, _ in opened), strict=True):
        first = column[0]
        if all(x is first or (type(x) is type(first) and type(x) in (bool, int, float) and x == first) for x in column):
            columns.append(lambda _, first=first: first)
            continue
        found = as_items(column) or _copied(column)
        if found is None:
            return None
        traced = True
        columns.append(found[1])
    if not traced or not opens():
        return None
    kept = list(parts)

    def item(i: Any) -> Any:
        if isinstance(i, int):  # Python iterates
            return kept[i]
        trace: Trace = HOOKS["current_trace"]()
        for p in kept if trace.scopes else ():
            fix(trace, p, kept, lasts=False)
        made = closed(unflatten(tree, [column(i) for column in columns]))
        fix(trace, made, kept)
        if not trace.scopes:  # they may change as soon as it is gone
            note_chosen(trace, [made], kept)
        return made

    return len(parts), item


def _copied(column: Sequence[Any]) -> tuple[Dim, Callable[[Any], Any]] | None:
    """Numbers of which most are elements of arrays."""
    weak = column[-1].weak if isinstance(column[-1], Tracer) else None
    for x in column:
        if isinstance(x, Tracer) and (x.dims or x.boxed or x.weak != weak):
            return None
        if not isinstance(x, Tracer) and (type(x) not in (int, float) or weak != type(x).__name__):
            return None
    found = as_array(column[-1].owner, column)
    return None if found is None else (found.dims[0], lambda i: Tracer(found.owner, found[i].value, weak))
