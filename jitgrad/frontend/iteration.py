"""What a recorded loop can run over: ranges and arrays, and zip, enumerate and reversed of those.

:class:`Steps` has bounds and gives the item of an iteration from the loop's index. :class:`Nest` is what is as good as
several loops: ``itertools.product``, ``np.ndindex``, ``np.ndenumerate``. Everything else is iterated over by Python,
which unrolls the loop.
"""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.errors import ArgumentError, ConcretizationError, UnsupportedError
from jitgrad.frontend.assign import getitem
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.consumable import consumable
from jitgrad.frontend.indexing import as_value, count_by
from jitgrad.frontend.items import as_items
from jitgrad.frontend.primitives import cast
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, contains_tracer, innermost_trace
from jitgrad.frontend.users_protocols import Started, backwards, iterated
from jitgrad.ir.index import Dim, add, as_sym, expr, interval, mul, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of, symbol_of, trip_count
from jitgrad.ir.types import i64


class Steps:
    """``item(i) for i in range(lo, hi, step)``. ``count`` is how many there are, never negative."""

    def __init__(self, lo: Dim, hi: Dim, step: int, item: Callable[[Any], Any]) -> None:
        self.lo, self.hi, self.step, self.item = lo, hi, step, item
        self.count = trip_count(lo, hi, step)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.count, int) and not isinstance(self.lo, int):
            first = bound_value(self.lo, None)
            return (self.item(first + k * self.step) for k in range(self.count))
        if not isinstance(self.lo, int) or not isinstance(self.hi, int):
            raise ConcretizationError(
                "Python was to iterate over a range whose bounds are traced. Their values are not known while the "
                "function is traced. Use a for loop of its own, or make the argument static with "
                "jit(static_argnames=...).",
                user_location(),
            )
        return (self.item(i) for i in range(self.lo, self.hi, self.step))

    def __len__(self) -> int:
        if not isinstance(self.count, int):
            raise ConcretizationError("len() of a range whose bounds are traced is not known.", user_location())
        return self.count

    def behind(self, number: int) -> Steps:
        """The steps after the first so many, which are not more than there are."""
        return Steps(add(self.lo, number * self.step), self.hi, self.step, self.item)

    def at(self, number: Any) -> Any:
        """The item of iteration ``number``, from 0."""
        return self.item(number * self.step + bound_value(self.lo, number))


class Nest:
    """Loops in each other, as one iterable: ``item(values)`` for the values of all axes, the last one running
    fastest."""

    def __init__(self, axes: Sequence[Steps], item: Callable[[tuple[Any, ...]], Any]) -> None:
        self.axes, self.item = axes, item
        self._items: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        if self._items is None:
            self._items = map(self.item, itertools.product(*self.axes))
        return self._items

    def __next__(self) -> Any:
        return next(iter(self))

    def is_fresh(self) -> bool:
        """Has nothing been taken from it?"""
        return self._items is None

    def numbered(self, start: Any) -> Nest:
        """``enumerate`` of it."""

        def item(places: tuple[Any, ...]) -> Any:
            number = 0
            for steps, place in zip(self.axes, places, strict=True):
                number = number * bound_value(steps.count, place) + place
            return number + start, self.item(tuple(s.at(n) for s, n in zip(self.axes, places, strict=True)))

        return Nest([Steps(0, s.count, 1, lambda n: n) for s in self.axes], item)


def _product(*iterables: Any, repeat: Any = 1) -> Any:
    """``itertools.product``."""
    axes = [s for s in map(steps_of, iterables) if s is not None]
    if len(axes) < len(iterables) or not isinstance(repeat, int):
        return itertools.product(*iterables, repeat=repeat)
    return Nest(axes * repeat, lambda values: values)


def _ndindex(*shape: Any) -> Any:
    """``np.ndindex``."""
    extents = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
    axes = [steps_of(range_(builtins.range, n)) for n in extents]
    return Nest([s for s in axes if s is not None], lambda index: index)


def _ndenumerate(arr: Any) -> Any:
    """``np.ndenumerate``."""
    array = arr if isinstance(arr, (Tracer, Pair)) else np.asarray(arr)
    dims = array.dims if isinstance(array, (Tracer, Pair)) else array.shape
    return Nest([Steps(0, n, 1, lambda i: i) for n in dims], lambda index: (index, getitem(array, index)))


def _nditer(op: Any, *args: Any, **kwargs: Any) -> Any:
    """``np.nditer``: the elements of one array, in the order of its memory."""
    if not contains_tracer(op):
        return np.nditer(op, *args, **kwargs)
    if isinstance(op, Tracer) and not args and not kwargs:
        return call(np.ravel, (op,), {"order": "K"})
    raise UnsupportedError(
        "np.nditer with flags, or of several arrays, is not supported on traced values. It points into the memory of "
        "an array, and walks on when iternext() is called. Loop over np.ndindex(*x.shape), or np.ndenumerate(x).",
        user_location(),
    )


#: What to call in the place of a class whose instances are iterated over.
CLASSES: dict[type, Callable[..., Any]] = {
    itertools.product: _product,
    np.ndindex: _ndindex,
    np.ndenumerate: _ndenumerate,
    np.nditer: _nditer,
}


def bound_value(d: Dim, peer: Any = None) -> Any:
    """A bound as something that can be added to an index. Without a tracer as ``peer`` it belongs to the trace that
    runs."""
    if isinstance(d, int):
        return d
    trace = peer.owner if isinstance(peer, Tracer) else HOOKS["current_trace"]()
    symbol = as_sym(d)
    if symbol is not None and symbol.payload is not None:
        return Tracer(trace, symbol.payload, "int")
    (value,) = trace.emit("index", (), {"value": d})
    return Tracer(trace, value, "int")


def steps_of(obj: Any) -> Steps | None:
    """The steps of a range, an array, a list of its elements or what :func:`range_` and its like made; None for
    anything else."""
    if isinstance(obj, Steps):
        return obj
    if isinstance(obj, range):
        return Steps(obj.start, obj.stop, obj.step, lambda i: i)
    if isinstance(obj, (Tracer, Pair)) and obj.dims:
        return Steps(0, obj.dims[0], 1, lambda i: obj[i])  # pyright: ignore[reportIndexIssue]
    if isinstance(obj, np.ndarray) and obj.ndim:
        return Steps(0, obj.shape[0], 1, lambda i: getitem(obj, i))
    found = as_items(obj)
    if found is not None:
        return Steps(0, found[0], 1, found[1])
    return None


class Numbers(NamedTuple):
    """The numbers in a list or tuple, or in tuples in it, of which each has as many: ``columns`` has those of each
    place, ``kinds`` their dtype and the type of Python's as which they count."""

    items: Sequence[Any]
    columns: Sequence[Sequence[Any]]
    kinds: Sequence[tuple[np.dtype, str | None]]

    @property
    def traced(self) -> bool:
        return contains_tracer(self.columns)

    def steps(self, trace: Trace) -> Steps:
        """A loop over them, which finds them in tables that are made now."""
        rows = type(self.items[0]) is tuple
        tables = [
            cast(HOOKS["array"](column), dtype) if contains_tracer(column) else np.array(column)
            for column, (dtype, _) in zip(self.columns, self.kinds, strict=True)
        ]

        def item(i: Any) -> Any:
            if isinstance(i, int):
                return self.items[i]
            pairs = zip(tables, self.kinds, strict=True)
            found = [Tracer(trace, trace.own(getitem(table, i)), weak) for table, (_, weak) in pairs]
            return tuple(found) if rows else found[0]

        return Steps(0, len(self.items), 1, item)


def numbers_in(obj: Any) -> Numbers | None:
    """The numbers of a list or tuple, as offsets to neighbours are, or points; None for anything else, for an array's,
    and where those of a place are not of one type."""
    if type(obj) not in (list, tuple) or len(obj) < 2:
        return None
    rows = type(obj[0]) is tuple
    if rows and any(type(row) is not tuple or len(row) != len(obj[0]) for row in obj):
        return None
    columns = [list(column) for column in zip(*obj, strict=True)] if rows else [list(obj)]
    kinds = [{_kind_of(x) for x in column} for column in columns]
    found = [kind.pop() for kind in kinds if len(kind) == 1]
    known = [kind for kind in found if kind is not None]
    return Numbers(list(obj), columns, known) if known and len(known) == len(columns) else None


def _kind_of(x: Any) -> tuple[np.dtype, str | None] | None:
    """The dtype of a number that is traced or one of Python's, and as which of those it counts."""
    if isinstance(x, Tracer):
        return None if is_array(x) else (x.dtype, x.weak)
    if type(x) not in (int, float) or (type(x) is int and not -(1 << 63) <= x < 1 << 63):
        return None
    return np.dtype(np.int64 if type(x) is int else np.float64), type(x).__name__


def range_(function: Any, *args: Any, **kwargs: Any) -> Any:
    """``range`` that takes traced integers."""
    if function is not builtins.range or kwargs or not contains_tracer(args) or not 1 <= len(args) <= 3:
        return function(*args, **kwargs)
    start, stop, step = (0, args[0], 1) if len(args) == 1 else (*args, 1)[:3]
    trace = innermost_trace(*args)
    lo, hi, by = (_bound(trace, x) for x in (start, stop, step))
    if not isinstance(by, int):
        return _with_traced_step(trace, *(_value(trace, d) for d in (lo, hi, by)))
    if by == 0:
        raise ArgumentError("range() arg 3 must not be zero", user_location())
    if isinstance(lo, int) and isinstance(hi, int):
        return range(lo, hi, by)
    return Steps(lo, _clipped(trace, lo, hi, by), by, lambda i: i)


def _with_traced_step(trace: Trace, lo: Tracer, hi: Tracer, step: Tracer) -> Steps:
    """``range(lo, hi, step)`` as the numbers of its iterations, which run upwards whatever the step's sign. Raises
    ValueError where the step is 0 when the program runs."""
    demand(step != 0, ValueError("range() arg 3 must not be zero"))
    first, by = Tracer(trace, trace.own(lo), "int"), Tracer(trace, trace.own(step), "int")
    return Steps(0, count_by(lo, hi, step), 1, lambda i: first + i * by)


def _bound(trace: Trace, x: Any) -> Dim:
    if not isinstance(x, Tracer):
        return x.__index__()
    if x.dtype.kind not in "iub" or x.dims:
        raise ArgumentError(
            f"a bound of range() is {x!r}. Bounds are integer scalars. Convert it with astype(np.int64).",
            user_location(),
        )
    return index_of(trace.own(cast(x, i64)))


def _clipped(trace: Trace, lo: Dim, hi: Dim, step: int) -> Dim:
    """``hi``, moved to ``lo`` where the range is empty, so that the number of iterations is never negative."""
    distance = add(hi, mul(lo, -1)) if step > 0 else add(lo, mul(hi, -1))
    if never_negative(distance):
        return hi
    operands = [_value(trace, d) for d in (hi, lo)]
    (clipped,) = trace.emit("maximum" if step > 0 else "minimum", operands, {})
    return expr(symbol_of(clipped))


def _value(trace: Trace, d: Dim) -> Tracer:
    if isinstance(d, int):
        return Tracer(trace, trace.scalar(d, i64))
    symbol = as_sym(d)
    if symbol is not None and symbol.payload is not None:
        return Tracer(trace, symbol.payload)
    (value,) = trace.emit("index", (), {"value": d})
    return Tracer(trace, value)


def enumerate_(function: Any, *args: Any, **kwargs: Any) -> Any:
    """``enumerate`` of what can be recorded is so too."""
    iterable, start = (*args, 0)[:2] if args else (None, 0)
    start = kwargs.get("start", start)
    if args and function is builtins.enumerate:
        iterable = iterated(iterable)
        args = (iterable, *args[1:])
    plain = function is builtins.enumerate and not set(kwargs) - {"start"}
    if plain and isinstance(iterable, Nest) and iterable.is_fresh():
        return iterable.numbered(start)
    if plain and consumable(iterable):
        return HOOKS["numbered"](iterable, start)
    steps = steps_of(iterable) if plain else None
    if steps is None:
        return function(*args, **kwargs)
    return Steps(0, steps.count, 1, lambda n: (n + start, steps.at(n)))


def zip_(function: Any, *args: Any, **kwargs: Any) -> Any:
    """``zip`` of what can be recorded is so too. Raises ConcretizationError where ``strict`` lengths are not known."""
    if function is not builtins.zip or not args:
        return function(*args, **kwargs)
    args = tuple(map(iterated, args))
    if not kwargs and any(map(consumable, args)) and (found := HOOKS["zipped"](args)) is not None:
        return found
    steps = [steps_of(a) for a in args]
    if any(s is None for s in steps):
        return function(*args, **kwargs)
    known = [s for s in steps if s is not None]
    count = known[0].count
    for s in known[1:]:
        longer = interval(add(s.count, mul(count, -1)))
        if longer[0] is not None and longer[0] >= 0:
            continue
        if longer[1] is not None and longer[1] <= 0:
            count = s.count
            continue
        if kwargs.get("strict"):
            raise ConcretizationError(
                "zip(strict=True) of ranges, arrays or lists of which it is not known whether they have one length. "
                "Leave strict out, or use one index for all of them.",
                user_location(),
            )
        trace = HOOKS["current_trace"]()
        (least,) = trace.emit("minimum", [as_value(trace, count), as_value(trace, s.count)], {})
        count = index_of(least)
    if kwargs.get("strict") and any(s.count != count for s in known):
        raise ArgumentError("zip() arguments have different lengths", user_location())
    return Steps(0, count, 1, lambda n: tuple(s.at(n) for s in known))


def iter_(*args: Any) -> Any:
    """``iter``."""
    if len(args) != 1:
        return builtins.iter(*args)
    found = iterated(args[0])
    traced = isinstance(found, (Steps, Tracer)) and HOOKS["current_trace"]() is not None
    steps = steps_of(found) if traced else None
    return builtins.iter(found) if steps is None else Started(steps)


def reversed_(function: Any, *args: Any, **kwargs: Any) -> Any:
    """``reversed`` of what can be recorded is so too."""
    if function is builtins.reversed and len(args) == 1 and (found := backwards(args[0])) is not None:
        return found
    steps = steps_of(args[0]) if function is builtins.reversed and len(args) == 1 and not kwargs else None
    if steps is None:
        return function(*args, **kwargs)
    last = add(steps.lo, mul(add(steps.count, -1), steps.step))
    return Steps(last, add(last, mul(steps.count, -steps.step)), -steps.step, steps.item)


HOOKS["steps"] = lambda lo, hi, item: Steps(lo, hi, 1, item)
