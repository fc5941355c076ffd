"""Traced values: a :class:`Tracer` stands for an array while the user's function runs, and every operation on it emits
an op in its :class:`~jitgrad.frontend.trace.Trace`.

A tracer is a mutable handle on an array. Writing into it changes which SSA value the handle stands for, so all names
of the object see the change, as in NumPy. A view (see ``views``) has no value of its own: it reads a piece of what it
is a view of, and a write through it writes there. An array whose contents are known while the function is traced
(see ``concrete``) is computed with by NumPy.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from jitgrad.errors import (
    ArgumentError,
    ConcretizationError,
    IRError,
    JitgradError,
    LeakedTracerError,
    MutationError,
    UnsupportedAttributeError,
)
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.methods import ArrayMethods
from jitgrad.frontend.operators import Operators
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.shown import Shown
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType

if TYPE_CHECKING:
    import optree

    from jitgrad.frontend.trace import Trace

#: What makes the text of a traced value, by a format, while something is printed or a message is written.
SHOWING: contextvars.ContextVar[Callable[[Any, str], str] | None] = contextvars.ContextVar("SHOWING", default=None)

ArrayLike = Any  # a Tracer, NumPy array or scalar, Python number, or nested list of those


class Tracer(Operators, ArrayMethods):
    """Stands for an array inside a traced function. It has ndarray's attributes, operators and methods.

    ``weak`` is ``"bool"``, ``"int"`` or ``"float"`` for what is a Python scalar in plain Python, else None; Python
    scalars take the dtype of the array that they meet (NEP 50). ``owner`` is the Trace (``trace()`` is ndarray's),
    ``scope`` the region in which the handle was made. ``dims`` is the shape of the IR; ``shape`` is that of NumPy,
    with traced integers for extents that are not known. ``boxed`` is True for a 0-d array, which can be written into;
    False for a scalar. ``order`` are the axes from the one with the largest stride to that with the smallest, as NumPy
    would lay the array out; None is C order. The subclasses are :class:`~jitgrad.frontend.views.View` and
    :class:`~jitgrad.frontend.concrete.Concrete`; a handle may change from one to another.
    """

    __slots__ = (
        "__weakref__",
        "_array",
        "_base",
        "_lens",
        "_notes",
        "boxed",
        "order",
        "owner",
        "scope",
        "value",
        "weak",
    )
    __array_priority__ = 1000.0

    value: Value
    #: The contents, where they are known while the function is traced.
    concrete: np.ndarray | None = None

    def __init__(self, trace: Trace, value: Value, weak: str | None = None) -> None:
        self.owner, self.value, self.weak, self.scope, self.boxed = trace, value, weak, trace.scope, False
        self.order: tuple[int, ...] | None = None

    # -- attributes ---------------------------------------------------------------------------------------------

    @property
    def __class__(self) -> Any:
        """What ``isinstance`` goes by: an array is a ``np.ndarray``. ``type(x)`` is what it is."""
        return np.ndarray if self.dims or self.boxed else type(self)

    @property
    def type(self) -> TensorType:
        """Dtype and extents, as the IR has them."""
        return self.value.type

    @property
    def dtype(self) -> np.dtype:
        return self.value.type.dtype

    @property
    def dims(self) -> tuple[Any, ...]:
        """The extents as the IR has them: numbers, and index expressions where they are not known."""
        return self.value.type.shape

    @property
    def shape(self) -> tuple[Any, ...]:
        dims = self.dims
        for d in dims:
            if type(d) is not int:
                return tuple(extent(self.owner, d) for d in dims)
        return dims

    @shape.setter
    def shape(self, shape: Any) -> NoReturn:
        raise MutationError(
            "x.shape = ... changes what a traced array is in place. Its shape is fixed. Use x = x.reshape(...).",
            user_location(),
        )

    @property
    def ndim(self) -> int:
        return len(self.dims)

    @property
    def count(self) -> Any:
        """The number of elements, as the IR has it."""
        return self.type.size

    @property
    def size(self) -> Any:
        return extent(self.owner, self.type.size)

    @property
    def real(self) -> Tracer:
        return self

    @property
    def imag(self) -> Tracer:
        return call(np.zeros_like, (self,), {})

    @property
    def flat(self) -> Tracer:
        """All elements in C order: a 1-d view, not an iterator object."""
        return HOOKS["flat"](self)

    @flat.setter
    def flat(self, values: Any) -> None:
        self.flat[...] = values

    @property
    def base(self) -> Tracer | None:
        """The array that this is a view of, if it is one."""
        return None

    @property
    def root(self) -> Tracer:
        """The array that holds the elements: this one, unless it is a view."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        if name in ("append", "extend", "insert", "remove"):
            raise UnsupportedAttributeError(
                f"a traced array has no method {name!r}, as lists have. A list that a traced index takes out of "
                "another is an array: which of them would change is not known while the function is traced. Append to "
                "it in one expression, xs[k].append(x), or keep the keys in an array, and select: x[keys == k].",
                user_location(),
            )
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a traced array has no attribute {name!r}")
        raise UnsupportedAttributeError(
            f"ndarray.{name} is not supported on traced values. A traced array has no data while the function is "
            "traced, only a shape and a dtype. Use a NumPy function instead, or do this outside the traced function.",
            user_location(),
        )

    def __repr__(self) -> str:
        shown = SHOWING.get()
        return self.described() if shown is None else shown(self, "")

    def described(self) -> str:
        """What it is, in words."""
        name = f" {self.value.name}" if type(self) is Tracer and self.value.name else ""
        weak = f" (Python {self.weak})" if self.weak else ""
        return f"<traced{name}: {self.type}{weak}>"

    def __str__(self) -> str:
        if SHOWING.get() is not None:
            return repr(self)
        if self.weak == "int" and self.scope.region is not None:
            raise self._as_text("In a loop that is unrolled it is a number: jit(..., loops='unroll').")
        return Shown.of_value(repr(self), self._as_text)

    def _as_text(self, instead: str = "It can be printed, and shown in messages.") -> JitgradError:
        return self._no_number("made into a text whose characters are needed", instead)

    def __format__(self, spec: str) -> str:
        shown = SHOWING.get()
        if shown is not None:
            return shown(self, spec)
        if not spec:
            return str(self)
        raise self._no_number(f"formatted as a number (format {spec!r})", "Print it after the function has returned.")

    def __len__(self) -> int:
        if not self.dims:
            raise ArgumentError(
                "len() of a traced scalar. It has no axes. Use x.size, or np.atleast_1d(x).", user_location()
            )
        if not isinstance(self.dims[0], int):
            raise self._no_number("asked for its length", "Its extent depends on a traced integer: use x.shape[0].")
        return self.dims[0]

    def __iter__(self) -> Iterator[Tracer]:
        if not self.dims:
            raise self._no_number("iterated over", "It is a scalar; iterate over a value with at least one axis.")
        if not isinstance(self.dims[0], int):
            raise self._no_number("iterated over", "Its extent is not known. Loop over range(len(x)), and index.")
        return (self[k] for k in range(self.dims[0]))

    def __getitem__(self, index: Any) -> Tracer:
        return HOOKS["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        HOOKS["setitem"](self, index, value)

    def __copy__(self) -> Tracer:
        return Tracer(self.owner, self.value, self.weak)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tracer:
        return self.__copy__()

    # -- where Python or NumPy wants the number -----------------------------------------------------------------

    def _no_number(self, use: str, instead: str) -> JitgradError:
        if not self.scope.open:
            return leaked(self)
        made = _made(self)
        return ConcretizationError(
            f"the traced value {self!r}{made} was {use}. While the function is traced its value is not known: one "
            f"program is compiled for all values. {instead}",
            user_location(),
        )

    def __hash__(self) -> int:
        raise self._no_number(
            "hashed, which makes it unhashable (a key of a dict, a member of a set, an argument of lru_cache)",
            "Use something else for a key, or make the argument static with jit(static_argnames=...).",
        )

    def __bool__(self) -> bool:
        raise self._no_number(
            "used as a condition (if, while, and, or, not, assert, min, max, sorted)",
            "Use np.where(condition, a, b), np.maximum, np.minimum or np.clip to choose between values, or make the "
            "argument static with jit(static_argnames=...).",
        )

    def __float__(self) -> float:
        raise self._no_number(
            "converted to a Python float (float(), a function of the math module, '%f')",
            "Leave the conversion out, use x.astype(np.float64), or np.sin for math.sin and so on.",
        )

    def __int__(self) -> int:
        raise self._no_number("converted to a Python int", "Use x.astype(np.int64), or make the argument static.")

    def __complex__(self) -> complex:
        raise self._no_number("converted to a Python complex", "Use x + 0j, or x.astype(complex).")

    def __index__(self) -> int:
        raise self._no_number(
            "used where Python needs an integer (range(), an index of a list, a list times a number, a shape, an axis)",
            "Sizes must be known at trace time: take them from x.shape, or make the argument static with "
            "jit(static_argnames=...).",
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise self._no_number(
            "converted to a NumPy array (np.array of it, assignment into a NumPy array, or a function that NumPy "
            "can't dispatch)",
            "Use jitgrad.numpy for np.array and np.asarray, x.astype(np.float32) for np.float32(x), and make arrays "
            "that are assigned into with np.zeros inside the traced function.",
        )

    def item(self, *args: Any) -> Any:
        return HOOKS["item"](self, *args)

    def tolist(self) -> Any:
        return HOOKS["tolist"](self)

    def tobytes(self, order: str = "C") -> NoReturn:
        raise self._no_number("converted to bytes by tobytes()", "Do this outside the traced function.")

    def __reduce__(self) -> NoReturn:
        raise self._no_number("pickled", "Return it from the traced function and pickle the result.")

    # -- NumPy's protocols --------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return HOOKS["array_ufunc"](ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return call(function, args, kwargs)

    # -- in place -----------------------------------------------------------------------------------------------

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Any:
        """``x op= y``: the array takes the new value; shape and dtype stay, as in NumPy."""
        if self.weak or not (self.dims or self.boxed):
            return NotImplemented  # scalars are immutable in NumPy as well: Python falls back to x = x op y
        return HOOKS["in_place"](self, ufunc, other)

    def _repeats(self, other: Any) -> bool:
        scalar = not (self.dims or self.boxed) and (self.weak == "bool" or self.dtype.kind in "iu")
        return scalar and isinstance(other, (list, tuple, str, bytes))

    # -- writing ------------------------------------------------------------------------------------------------

    def store(self, new: Tracer) -> None:
        """Give the array new contents, of its dtype and extents. The regions that are left by that take note.

        Raises MutationError where the value belongs to a function inside the one that the array belongs to.
        """
        trace = self.owner
        if new.owner is not trace or not self.scope.open:
            if not self.scope.open:
                raise leaked(self)
            raise MutationError(
                "a write into an array of an enclosing traced function. The inner function's values can't be stored "
                "in it. Return the new value from the inner function, or copy() the array in it.",
                user_location(),
            )
        value = trace.own(new)
        if value.type != self.value.type:
            raise IRError(f"{value.type} was written into an array of {self.value.type}. This is a bug in jitgrad.")
        if trace.scope is not self.scope:
            self._note_write()
        self.value = value

    def rebind(self, value: Value) -> None:
        """Let the array stand for another value in the region that is recorded now: a carried one for example. It has
        its old value again after the region."""
        self.owner.scope.saved.setdefault(self, self.value)
        self.value = value

    def restore(self, value: Value) -> None:
        """Stand for the value from before a region again, which was left."""
        self.value = value

    def _note_write(self) -> None:
        before = self.value
        for scope in reversed(self.owner.scopes):
            if scope is self.scope:
                break
            scope.written.setdefault(self, before)
            before = scope.saved.setdefault(self, before)  # what it was in the scope around


class Collection:
    """What stands for a list in recorded code: it counts as traced, and ``isinstance`` says that it is a list.

    Its class is always :class:`~jitgrad.frontend.growing.Growing`: this one is for the modules that come before that.
    """

    if TYPE_CHECKING:
        root: Any
        weak: Any

        def length(self) -> Any: ...
        def truth(self) -> Any: ...
        def array(self) -> Tracer: ...
        def columns(self) -> tuple[optree.PyTreeSpec, list[Tracer]]: ...
        def as_items(self) -> tuple[Dim, Callable[[Any], Any]]: ...
        def __getitem__(self, index: Any) -> Any: ...


def extent(trace: Trace, d: Dim) -> Any:
    """An extent as users see it: an int, or a traced integer."""
    if isinstance(d, int):
        return d
    (value,) = trace.emit("index", (), {"value": d})
    return Tracer(trace, value, "int")


def contains_tracer(obj: Any) -> bool:
    """Is there a tracer in these nested lists, tuples and dicts?"""
    if isinstance(obj, (Tracer, Pair, Collection)):
        return True
    if isinstance(obj, (list, tuple)):
        return any(contains_tracer(o) for o in obj)
    if isinstance(obj, dict):
        return any(contains_tracer(o) for o in obj.values())
    return False


def is_traced(value: Any) -> bool:
    """Is it a value that is not known while the function is traced?"""
    return isinstance(value, Tracer) and value.concrete is None


def has_traced(obj: Any) -> bool:
    """Is there a value that is not known in these nested lists, tuples, dicts and slices?"""
    if isinstance(obj, Tracer):
        return obj.concrete is None
    if isinstance(obj, Pair):
        return has_traced((obj.re, obj.im))
    if isinstance(obj, Collection):
        return True
    if isinstance(obj, (list, tuple)):
        return any(map(has_traced, obj))
    if isinstance(obj, dict):
        return any(map(has_traced, obj.values()))
    if isinstance(obj, slice):
        return has_traced((obj.start, obj.stop, obj.step))
    return False


def innermost_trace(*objects: Any) -> Trace:
    """The innermost open trace among the tracers in these nested lists. Raises LeakedTracerError for a closed one."""
    found: Trace | None = None
    known = False  # is there an array whose contents are known, of a region that was left?
    stack = list(objects)
    while stack:
        obj = stack.pop()
        if isinstance(obj, Tracer):
            if not obj.scope.open:
                if obj.concrete is not None:
                    known = True
                    continue
                raise leaked(obj)
            if found is None or obj.owner.serial > found.serial:
                found = obj.owner
        elif isinstance(obj, Collection):
            stack.append(obj.root)
        elif isinstance(obj, (list, tuple)):
            stack.extend(obj)
        elif isinstance(obj, Pair):
            stack += (obj.re, obj.im)
    running = HOOKS["current_trace"]()
    if found is None and known and running is not None:
        return running
    if found is None:
        raise ArgumentError("no argument is a traced value. Call the NumPy function instead.", user_location())
    # What an inner function computes is its own, even from values of outer functions only: it may write into it.
    return running if running is not None and running.serial > found.serial and not running.closed else found


def leaked(tracer: Tracer) -> LeakedTracerError:
    """The error for a tracer that outlived its trace, or its region."""
    made = _made(tracer)
    if not tracer.owner.closed:
        return LeakedTracerError(
            f"{tracer!r}{made} was used outside {tracer.scope.what} that it was made in. That code is recorded once "
            "and runs many times or not at all, so its values do not exist outside. Assign to a variable that exists "
            "before, or into an array that was made before.",
            user_location(),
        )
    return LeakedTracerError(
        f"{tracer!r}{made} was used outside the traced function {tracer.owner.name!r} that it belongs to. Traced "
        "values exist only while their function runs, so one that is stored in a global, an attribute or a closure "
        "means nothing later. Return the value from the function instead.",
        user_location(),
    )


def _made(tracer: Tracer) -> str:
    """Where a value comes from, for messages: `` (made at file:line)``."""
    if type(tracer) is not Tracer:
        return ""
    value = tracer.value
    if value.op is None:
        return f" (argument {value.name})" if value.name else ""
    return f" (made by {value.op.name} at {value.op.loc.short()})" if value.op.loc else ""
