"""Arrays whose contents are known while the function is traced: what it makes with ``np.zeros`` and the like.

A :class:`Concrete` has an ndarray of its own. Operations on such arrays and on numbers are done by NumPy at once and
give such arrays again; beside traced values they are constants. Writing a traced value into one, or writing at a
traced index, or from inside a loop body or branch that is recorded, turns it and its views into traced arrays
(:func:`thaw`). Arrays that the function captures from outside are read-only here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jitgrad.errors import LeakedTracerError, MutationError
from jitgrad.frontend.complex_pair import PARTS as COMPLEX
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.methods import ArrayMethods
from jitgrad.frontend.primitives import emit, reshape
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, has_traced
from jitgrad.frontend.views import Box, Derived, Lens, Reshaped, View, box_of, contiguous_strides
from jitgrad.ir.core import Value
from jitgrad.ir.location import user_location
from jitgrad.ir.types import SHORT_NAMES, TensorType

#: The ``fill`` of an array whose contents do not matter.
ANYTHING = object()


class Notes:
    """What is kept of an array that owns its elements: ``fill`` is the number that all of them are, where it is
    known, but for the pieces in ``log``, which were written later; ``captured`` says that it comes from outside;
    ``views`` are its views."""

    __slots__ = ("captured", "fill", "log", "views")

    def __init__(self, fill: Any = None, captured: bool = False) -> None:
        self.fill, self.captured = fill, captured
        self.log: list[tuple[Box, np.ndarray]] = []
        self.views: list[weakref.ref[Concrete]] = []


class Concrete(Tracer):
    """An array whose contents are known. Without a base it owns its ndarray, which is C-contiguous."""

    __slots__ = ()

    def __init__(self, trace: Trace, array: np.ndarray, base: Any = None, notes: Notes | None = None):
        self.owner, self.scope, self.weak, self.boxed = trace, trace.scope, None, True
        self._array, self._base, self._notes = array, base, notes
        if base is not None:
            live = [ref for ref in base._notes.views if ref() is not None]
            base._notes.views = [*live, weakref.ref(self)]

    @property
    def concrete(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._array

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        return as_constant(home(self), self)

    @property
    def type(self) -> TensorType:
        return TensorType(self._array.dtype, self._array.shape)

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def dims(self) -> Any:
        return self._array.shape

    @property
    def shape(self) -> Any:
        return self._array.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self._array = self._array.reshape(shape)

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def base(self) -> Tracer | None:
        return self._base

    @property
    def root(self) -> Tracer:
        return self if self._base is None else self._base

    @property
    def flat(self) -> Tracer:
        if not self._array.flags.c_contiguous:
            thaw(self)
            return self.flat
        return adopt(self._array.reshape(-1), self)

    @flat.setter
    def flat(self, values: Any) -> None:
        self.flat[...] = values

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._array, name)
        if not callable(found):
            return found

        def method(*args: Any, **kwargs: Any) -> Any:
            return run(found, args, kwargs, self)

        return method

    # -- Python's protocols -------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return repr(self._array)

    def __str__(self) -> str:
        return str(self._array)

    def __format__(self, spec: str) -> str:
        return format(self._array, spec)

    def __hash__(self) -> int:
        return hash(self._array)  # a TypeError, as for every array

    def __bool__(self) -> bool:
        return bool(self._array)

    def __int__(self) -> int:
        return int(self._array)

    def __float__(self) -> float:
        return float(self._array)

    def __complex__(self) -> complex:
        return complex(self._array)

    def __index__(self) -> int:
        return self._array.__index__()

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        if not self._array.ndim:
            return iter(self._array)  # a TypeError
        return (self[k] for k in range(len(self._array)))

    def __contains__(self, item: Any) -> Any:
        return (self == item).any()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.root._notes.fill = None  # whoever has the ndarray may write into it
        return np.array(self._array, dtype, copy=copy)

    def __copy__(self) -> Any:
        return adopt(self._array.copy())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return adopt(self._array.copy())

    def __reduce__(self) -> Any:
        return self._array.__reduce__()

    def __getitem__(self, index: Any) -> Any:
        if has_traced(index):
            return HOOKS["getitem"](self, index)
        return adopt(self._array[plain_index(index)], self)

    # -- writing ------------------------------------------------------------------------------------------------

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Any:
        if not has_traced(other) and writable(self):
            plain = unwrap(other)
            ufunc(self._array, plain, out=self._array)
            return self
        thaw(self)
        return Tracer._in_place(self, ufunc, other)

    def store(self, new: Tracer) -> None:
        thaw(self)
        self.store(new)

    def rebind(self, value: Value) -> None:
        thaw(self)
        self.rebind(value)


def home(c: Concrete) -> Trace:
    """The trace in which a known array is used now: its own, or the one that runs, if that is finished."""
    return c.owner if not c.owner.closed else HOOKS["current_trace"]() or c.owner


def as_constant(trace: Trace, c: Concrete) -> Value:
    """The contents as a constant of a trace; a number that fills an array is broadcast."""
    fill, log = c.root._notes.fill, c.root._notes.log
    if fill is None or fill is ANYTHING or log or c._array.size < 2 or fill.dtype != c._array.dtype:
        return trace.array(c._array)
    key = ("filled", c._array.shape, c._array.dtype, fill.tobytes())
    found = trace.remembered(key)
    if found is None:
        with trace.emitting_in(trace.top):
            found = _filled(trace, c._array, fill)
            trace.remember(key, found)
    return found


def _filled(trace: Trace, array: np.ndarray, fill: Any) -> Value:
    if fill is ANYTHING:
        (value,) = trace.emit("empty", (), {"shape": array.shape, "dtype": array.dtype})
        return value
    scalar = Tracer(trace, trace.scalar(fill, array.dtype))
    if not array.ndim:
        return scalar.value
    (value,) = trace.emit("broadcast_to", (scalar,), {"shape": array.shape})
    return value


# -- in and out --------------------------------------------------------------------------------------------------------


def unwrap(obj: Any, found: list[Concrete] | None = None) -> Any:
    """The ndarrays in place of known arrays, in nested lists, tuples and dicts; those met are added to ``found``."""
    if type(obj) is Concrete:
        if found is not None:
            found.append(obj)
        return obj._array
    if isinstance(obj, Tracer):
        return obj
    if isinstance(obj, Pair):
        return HOOKS["complex_value"](obj) if HOOKS["complex_known"](obj) else obj
    if type(obj) in (list, tuple):
        new = [unwrap(o, found) for o in obj]
        if all(a is b for a, b in zip(obj, new, strict=True)):
            return obj
        return type(obj)(new)
    if type(obj) is dict:
        return {k: unwrap(v, found) for k, v in obj.items()}
    if type(obj) is slice:
        return slice(*(unwrap(v, found) for v in (obj.start, obj.stop, obj.step)))
    return obj


plain_index = unwrap


def adopt(result: Any, *sources: Concrete, fill: Any = None) -> Any:
    """What NumPy returned, with arrays as known arrays of the trace that runs: those that share memory with one of
    ``sources`` as views of it. Outside of a trace, and for what is no array of a supported dtype, the result itself."""
    trace = HOOKS["current_trace"]()
    return result if trace is None else _adopt(trace, result, sources, fill)


def _adopt(trace: Trace, result: Any, sources: tuple[Concrete, ...], fill: Any) -> Any:
    if type(result) is np.ndarray:
        if result.dtype not in SHORT_NAMES:
            return HOOKS["complex_adopted"](trace, result, fill) if result.dtype in COMPLEX else result
        for c in sources:
            if result is c._array:
                return c
        for c in sources:
            root = c if c._base is None else c._base
            if np.may_share_memory(result, root._array):
                return Concrete(trace, result, root)  # pyright: ignore[reportArgumentType]
        if result.base is not None or not result.flags.writeable:
            result = np.copy(result)
        order = sorted(range(result.ndim), key=lambda k: -abs(result.strides[k]))
        held = result.transpose(order)
        if held.flags.c_contiguous and order != [*range(result.ndim)] and not result.flags.c_contiguous:
            return Concrete(trace, result, Concrete(trace, held, None, Notes(fill)))  # a view of an array in C order
        return Concrete(trace, np.asarray(result, order="C"), None, Notes(fill))
    if isinstance(result, (list, tuple)):
        parts = [_adopt(trace, r, sources, None) for r in result]
        if all(a is b for a, b in zip(result, parts, strict=True)):
            return result
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def adopt_made(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a NumPy function of untraced arguments. In a trace, the arrays that it makes can be assigned into; one that
    is an argument, or shares memory with one, is captured."""
    result = function(*args, **kwargs)
    trace = HOOKS["current_trace"]()
    if trace is None or not isinstance(result, (np.ndarray, list, tuple)):
        return result
    given = [item for a in (*args, *kwargs.values()) for item in (a if isinstance(a, (list, tuple)) else (a,))]
    if type(result) is np.ndarray and result.dtype in COMPLEX:
        shared = any(type(a) is np.ndarray and np.may_share_memory(a, result) for a in given)
        return HOOKS["complex_adopted"](trace, result, _fill_of(function, result), captured=shared)
    outside = [Concrete(trace, a, None, Notes(captured=True)) for a in given
               if type(a) is np.ndarray and a.dtype in SHORT_NAMES]  # fmt: skip
    return _adopt(trace, result, tuple(outside), _fill_of(function, result))


def _fill_of(function: Any, result: Any) -> Any:
    if function is np.empty or function is np.empty_like:
        result.fill(0)
        return ANYTHING
    if function in _FILLING and type(result) is np.ndarray and result.size:
        return result.reshape(-1)[0]
    return None


_FILLING = frozenset((np.zeros, np.ones, np.full, np.zeros_like, np.ones_like, np.full_like))


def captured(trace: Trace, array: np.ndarray) -> Any:
    """An array from outside of the traced function: it can be read at traced indices, and not be written."""
    if type(array) is not np.ndarray or array.dtype not in SHORT_NAMES:
        if type(array) is np.ndarray and array.dtype in COMPLEX:
            return HOOKS["complex_adopted"](trace, array, captured=True)
        return array
    return Concrete(trace, array, None, Notes(captured=True))


def own_copy(trace: Trace, x: Tracer) -> Tracer:
    """An array of another trace as one of this trace, which can be written here alone."""
    if isinstance(x, Concrete):
        return Concrete(trace, x._array.copy(), None, Notes())
    copy = Tracer(trace, trace.own(x), x.weak)
    copy.boxed = x.boxed
    return copy


# -- running -----------------------------------------------------------------------------------------------------------


def survey(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, bool]:
    """Are there traced values among the arguments, and known arrays?"""
    traced = known = False
    for a in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(a, Tracer):
            if type(a) is Concrete:
                known = True
            else:
                traced = True
        elif isinstance(a, Pair):
            t, k = survey((a.re, a.im), {})
            traced, known = traced or t, known or k
        elif type(a) in (list, tuple):
            t, k = survey(a if type(a) is tuple else tuple(a), {})
            traced, known = traced or t, known or k
    return traced, known


def run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *more: Concrete) -> Any:
    """Call NumPy with ndarrays in place of known arrays."""
    sources = list(more)
    plain, named = unwrap(args, sources), {k: unwrap(v, sources) for k, v in kwargs.items()}
    return adopt(function(*plain, **named), *sources)


def prepared(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, tuple[Any, ...], dict[str, Any]] | None:
    """None where no argument is a known array. Else: is any argument traced, and the arguments; known arrays among
    them are ndarrays if so."""
    traced, known = survey(args, kwargs)
    if not known:
        return None
    if not traced:
        return False, args, kwargs
    return True, unwrap(args), {k: unwrap(v) for k, v in kwargs.items()}


# -- writing -----------------------------------------------------------------------------------------------------------


def writable(c: Concrete) -> bool:
    """Can it be written by NumPy now? It must have been made in the region that is recorded now. Raises MutationError
    for an array that is captured. The caller does write: what filled the array is forgotten."""
    root: Any = c.root
    if root._notes.captured:
        raise _is_captured()
    if root.owner.closed or root.owner.scope is not root.scope or HOOKS["current_trace"]() not in (None, root.owner):
        return False
    root._notes.fill = None
    return True


def _is_captured() -> MutationError:
    return MutationError(
        "a write into an array that the traced function captures from outside (a global, a closure variable or an "
        "attribute). It is a constant of the compiled program. Copy it with np.copy first, or pass it as an argument.",
        user_location(),
    )


def assign_concrete(c: Concrete, index: Any, value: Any) -> bool:
    """``c[index] = value`` by NumPy, if all is known; else the array becomes a traced one, and the answer is False."""
    if has_traced(index) or has_traced(value):
        thaw(c)
        return False
    notes = c.root._notes
    fill, index = notes.fill, plain_index(index)
    if not writable(c):
        thaw(c)
        return False
    c._array[index] = unwrap(value)
    if fill is not None and _log(c, index):
        notes.fill = fill
    return True


#: Elements of an array from which on it is not made a constant because a few pieces of it were written, and how many.
_LARGE, _MANY = 1024, 16


def _log(c: Concrete, index: Any) -> bool:
    """Remember that a piece of a large array, whose elements are equal elsewhere, was written."""
    root: Any = c.root
    memory, log = root._array, root._notes.log
    if memory.size < _LARGE or len(log) == _MANY or c._array.dtype != memory.dtype:
        return False
    try:
        piece = c._array[(*index, ...) if isinstance(index, tuple) else (index, ...)]
    except IndexError:  # two ellipses
        return False
    if not piece.size or 4 * piece.size > memory.size or not np.may_share_memory(piece, memory):
        return False
    lens = place(root, piece, memory)
    if lens[0] is not root or not isinstance(lens[1], Box):
        return False
    log.append((lens[1], piece.copy()))
    return True


def thaw(c: Tracer) -> None:
    """Turn a known array, and all of its views, into traced ones. Raises MutationError for a captured one."""
    if type(c) is not Concrete:
        return
    root: Any = c.root
    if root._notes.captured:
        raise _is_captured()
    if not root.scope.open:  # made in a region or trace that is finished: each run makes the same, so it lives here
        trace = home(root)
        if trace.closed:
            raise LeakedTracerError("an array of a traced function was written after the function had returned.")
        root.owner, root.scope = trace, trace.scope
    trace: Trace = root.owner
    array, notes = root._array, root._notes
    with trace.emitting_in(root.scope):
        value = trace.array(array.copy()) if notes.fill is None else _filled(trace, array, notes.fill)
        for box, piece in notes.log if notes.fill is not None else ():
            value = box.update("set", Tracer(trace, value), Tracer(trace, trace.array(piece))).value
    _become(root, Tracer)
    root.value = value
    for ref in notes.views:
        view = ref()
        if view is not None:
            _become_view(view, root, array)


def is_captured(obj: Any) -> bool:
    """Is it a known array from outside of the traced function?"""
    return type(obj) is Concrete and obj.root._notes.captured


def made_writable(obj: Any) -> bool:
    """Can NumPy write into it now? A known array for which it can't becomes a traced one."""
    if type(obj) is not Concrete:
        return not isinstance(obj, Tracer)
    if writable(obj):
        return True
    thaw(obj)
    return False


#: How the class of an object is set; the classes themselves pretend to be ndarray.
_set_class = object.__dict__["__class__"].__set__


def _become(c: Tracer, cls: type) -> None:
    c._array = c._base = c._notes = None
    c.order = None
    _set_class(c, cls)


def _become_view(c: Any, root: Tracer, memory: np.ndarray) -> None:
    """Turn a view of a known array into one of a traced array, by its place in memory."""
    array = c._array
    c.owner = root.owner
    if array.dtype != memory.dtype or array.size == 0:
        c._base, c._notes = None, Notes(captured=array.size > 0)  # nothing to share, or nothing that could be
        c._array = array.copy()
        return
    base, lens = place(root, array, memory)
    _become(c, View)
    c._base, c._lens = base, lens


def place(root: Tracer, array: np.ndarray, memory: np.ndarray) -> tuple[Tracer, Lens]:
    """The base and the lens of a view whose elements lie at the places of ``array`` in ``memory``, the elements of
    ``root`` in C order."""
    offset = (array.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // memory.itemsize
    strides = tuple(s // memory.itemsize for s in array.strides)
    base, box = root, box_of(memory.shape, offset, strides, array.shape)
    if box is None:
        base = View(root, Reshaped((memory.size,), (1,)))
        box = box_of((memory.size,), offset, strides, array.shape)
    lens: Lens
    if box is not None:
        lens = box
    elif array.flags.c_contiguous:
        base = View(base, Box((offset,), (array.size,), (1,), (0,)))
        lens = Reshaped(array.shape, contiguous_strides(array.shape))
    else:
        numbers = np.lib.stride_tricks.as_strided(
            np.arange(memory.size)[offset:], array.shape, tuple(8 * s for s in strides)
        )
        lens = Positions(np.array(numbers))
    if not array.flags.writeable:
        lens = Derived(array.shape, lens.read, "a view")
    return base, lens


class Positions(Lens):
    """The elements at given places of a flat base: what is no box."""

    __slots__ = ("places",)

    def __init__(self, places: np.ndarray) -> None:
        self.places, self.dims = places, places.shape

    def _index(self, x: Tracer) -> Tracer:
        return Tracer(x.owner, x.owner.array(self.places))

    def read(self, x: Tracer) -> Tracer:
        return emit("gather", reshape(x, (x.count,)), self._index(x), axes=(0,), at=0)

    def write(self, x: Tracer, v: Tracer) -> Tracer:
        return reshape(emit("scatter_set", reshape(x, (x.count,)), v, self._index(x), axes=(0,), at=0), x.dims)


#: Methods that write into their array.
_WRITING = ("fill", "sort", "partition", "put")


def _method(name: str) -> Callable[..., Any]:
    """A method of ndarray, by NumPy where all is known."""
    generic = getattr(Tracer, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if has_traced(args) or (kwargs and has_traced(kwargs)):
            if name in _WRITING:
                thaw(self)
            return generic(self, *args, **kwargs)
        if kwargs.get("out") is not None:
            return generic(self, *args, **kwargs)
        if name in _WRITING and not made_writable(self):
            return getattr(self, name)(*args, **kwargs)
        return run(getattr(self._array, name), args, kwargs, self)

    method.__name__ = name
    return method


for _name, _found in {**vars(ArrayMethods), **vars(Tracer)}.items():
    if not _name.startswith("_") and callable(_found) and hasattr(np.ndarray, _name):
        setattr(Concrete, _name, _method(_name))

HOOKS["prepared"] = prepared
HOOKS["as_constant"] = as_constant
HOOKS["run"] = run
HOOKS["assign_concrete"] = assign_concrete
