"""Traced values. A :class:`Trace` records a graph; a :class:`Tracer` stands for an array while the user's function
runs, and every operation on it emits an op.

A tracer is a mutable handle on an array. Writing into it changes which SSA value the handle stands for, so all names
of the object see the change, as in NumPy. A view (see ``views``) has no value of its own: it reads a piece of what it
is a view of, and a write through it writes there. An array whose contents are known while the function is traced
(see ``concrete``) is computed with by NumPy.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from jitgrad.errors import (
    ArgumentError,
    ConcretizationError,
    DtypeError,
    IRError,
    JitgradError,
    LeakedTracerError,
    MutationError,
    ShapeError,
    UnsupportedAttributeError,
    UnsupportedError,
)
from jitgrad.frontend.methods import ArrayMethods
from jitgrad.frontend.operators import Operators
from jitgrad.frontend.options import Options
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.scopes import Scope
from jitgrad.ir.core import Builder, Graph, Value
from jitgrad.ir.index import Dim, interval
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of, named_values, renamed_type, symbol_of
from jitgrad.ir.types import TensorType, check_dtype, i64

ArrayLike = Any  # a Tracer, NumPy array or scalar, Python number, or nested list of those

#: Python scalar types, which promote weakly (NEP 50), and the dtype they have on their own.
WEAK_DTYPES = {"bool": np.dtype(np.bool_), "int": np.dtype(np.int64), "float": np.dtype(np.float64)}

_serials = itertools.count()


class Trace:
    """The recording of one function.

    Traces nest: a value of an outer trace that meets one of an inner trace becomes an extra parameter of the inner
    graph. ``captures`` lists ``(outer tracer, inner value)``, in the order of those parameters, which come after the
    declared ones.

    ``scopes`` are the regions that are being recorded, innermost last; ``scope`` is the innermost, or ``top``.
    """

    def __init__(self, name: str = "graph", options: Options | None = None) -> None:
        self.name = name
        self.options = options or Options()
        self.builder = Builder(name)
        self.closed = False
        self.captures: list[tuple[Tracer, Value]] = []
        self.serial = next(_serials)  # an inner trace starts later, so it has the larger serial
        self.top = self.scope = Scope(self, self.builder.ops)
        self.scopes: list[Scope] = []
        self.notes: list[str] = []  # how each loop was traced
        self._captured: dict[Value, Value] = {}
        self._remembered: dict[Hashable, tuple[Value, Scope]] = {}
        self._scalars: dict[tuple[np.dtype, bytes], Value] = {}
        self._arrays: dict[int, tuple[Any, Value]] = {}

    def param(self, type: TensorType, name: str | None = None, weak: bool | str | None = False) -> Tracer:
        """A parameter of the graph. ``weak`` is True (or ``"int"``, ``"float"``, ``"bool"``) for a Python scalar."""
        if self.captures:
            raise IRError("parameters must be declared before the traced function runs. This is a bug in jitgrad.")
        if weak is True:
            weak = {"b": "bool", "f": "float"}.get(type.dtype.kind, "int")
        return Tracer(self, self.builder.param(type, name), weak or None)

    def lift(self, obj: ArrayLike) -> Tracer:
        """A traced value for any array-like: tracers stay (captured where they belong to an outer trace), arrays and
        numbers become constants, lists that hold tracers are stacked. Raises DtypeError."""
        if isinstance(obj, Tracer):
            return obj if obj.owner is self else Tracer(self, self.own(obj), obj.weak)
        if type(obj) in (bool, int, float):
            weak = type(obj).__name__
            return Tracer(self, self.scalar(obj, WEAK_DTYPES[weak]), weak)
        if isinstance(obj, (list, tuple)) and contains_tracer(obj):
            return HOOKS["array"](obj)
        return Tracer(self, self.array(obj))

    def scalar(self, number: Any, dtype: np.dtype) -> Value:
        """The constant for a number; one for each dtype and bit pattern. Raises OverflowError as NumPy does."""
        array = np.array(number, dtype)
        key = (array.dtype, array.tobytes())
        if key not in self._scalars:
            self._scalars[key] = self._constant(array)
        return self._scalars[key]

    def array(self, obj: Any) -> Value:
        """The constant for an array; one for each array object, unless its contents were changed in between."""
        array = as_numpy(obj)
        if array.ndim == 0:
            return self.scalar(array, array.dtype)
        kept, value = self._arrays.get(id(obj), (None, None))
        if kept is obj and value is not None and value.op is not None and _same_bits(value.op.attrs["value"], array):
            return value
        value = self._constant(array)
        self._arrays[id(obj)] = (obj, value)
        return value

    def _constant(self, array: np.ndarray) -> Value:
        """A new constant. It stands outside of all regions, so that every later use sees it."""
        self._check_open()
        if not self.scopes:
            return self.builder.constant(array)
        with self.emitting_in(self.top):
            return self.builder.constant(array)

    def note(self, text: str) -> None:
        """Say something for ``explain()``, once."""
        if text not in self.notes:
            self.notes.append(text)

    def remember(self, key: Hashable, value: Value) -> None:
        """Keep a value for :meth:`remembered`, as long as the scope that is recorded now is open."""
        self._remembered[key] = (value, self.scope)

    def remembered(self, key: Hashable) -> Value | None:
        """A value that was computed before under the same key, if it can be used here."""
        value, scope = self._remembered.get(key, (None, None))
        return value if scope is not None and scope.open else None

    @contextlib.contextmanager
    def emitting_in(self, scope: Scope) -> Iterator[None]:
        """Append ops to an open scope, before the op with the region that is being recorded in it."""
        before, scope_before = self.builder.ops, self.scope
        self.builder.ops, self.scope = scope.ops, scope
        try:
            yield
        finally:
            self.builder.ops, self.scope = before, scope_before

    @contextlib.contextmanager
    def region(self, what: str = "a loop body or a branch") -> Iterator[Scope]:
        """Record a region: ops that are emitted inside the ``with`` block belong to it.

        Arrays made outside and written inside have their old values again afterwards; ``scope.written`` lists them.
        """
        with self.builder.region() as region:
            scope = Scope(self, region.ops, self.scope, region, what)
            self.scopes.append(scope)
            self.scope = scope
            try:
                yield scope
            except BaseException:
                scope.restore()
                raise
            finally:
                self.scopes.pop()
                self.scope = scope.leave()

    def own(self, tracer: Tracer) -> Value:
        """The value of a tracer in this trace, captured first where it belongs to an outer one.

        Raises LeakedTracerError for a value of a finished trace or of an inner one.
        """
        if tracer.owner is self and tracer.scope.open:
            return tracer.value
        if tracer.concrete is not None:
            return HOOKS["as_constant"](self, tracer)
        if not tracer.scope.open or tracer.owner.serial >= self.serial:
            raise leaked(tracer)
        outer = tracer.value
        if outer not in self._captured:
            self._captured[outer] = self._capture(tracer, outer)
        return self._captured[outer]

    def _capture(self, tracer: Tracer, outer: Value) -> Value:
        """A parameter for a value of an outer trace."""
        owner = tracer.owner
        extents = {v: self.own(Tracer(owner, v)) for v in named_values(outer.type.shape)}
        inner = self.builder.param(renamed_type(outer.type, extents), outer.name or f"captured{len(self.captures)}")
        if outer.type == TensorType(i64):
            lo, hi = interval(index_of(outer))
            inner.symbol = type(symbol_of(outer))(inner.name or "v", lo, hi, payload=inner)
        # An alias of the outer value: a later write through the tracer must not change what was captured.
        self.captures.append((Tracer(owner, outer, tracer.weak), inner))
        return inner

    def emit(self, name: str, tracers: Sequence[Tracer], attrs: dict[str, Any]) -> tuple[Value, ...]:
        """Append an op at the user's line. Errors of the op's type rule get that line too."""
        operands = [self.own(t) for t in tracers]
        self._check_open()
        self.builder.loc = user_location()
        try:
            return self.builder.emit_op(name, operands, attrs).results
        except JitgradError as error:
            if error.location is not None or self.builder.loc is None:
                raise
            raise type(error)(error.message, self.builder.loc) from None

    def inline(self, graph: Graph, args: Sequence[ArrayLike]) -> list[Tracer]:
        """Append a graph's ops with ``args`` for its parameters; returns its results. Raises IRError."""
        values = [self.own(self.lift(a)) for a in args]
        for param, value in zip(graph.params, values, strict=False):
            if param.type != value.type:
                raise IRError(f"{graph.name} takes {param.type} for {param.name or 'a parameter'}, not {value.type}")
        self._check_open()
        return [Tracer(self, v) for v in self.builder.inline(graph, values)]

    def finish(self, outputs: Sequence[ArrayLike]) -> Graph:
        """The graph with these results. The trace is closed: its tracers can't be used any more."""
        self._check_open()
        values = [self.own(self.lift(o)) for o in outputs]
        self.close()
        return self.builder.build(*values)

    def close(self) -> None:
        """End the trace without a graph (the traced function raised). Its tracers can't be used any more."""
        self.closed, self.top.open = True, False

    def _check_open(self) -> None:
        if self.closed:
            raise IRError(f"the trace of {self.name} is finished. Trace the function again to add to it.")


class Tracer(Operators, ArrayMethods):
    """Stands for an array inside a traced function. It has ndarray's attributes, operators and methods.

    ``weak`` is ``"bool"``, ``"int"`` or ``"float"`` for what is a Python scalar in plain Python, else None; Python
    scalars take the dtype of the array that they meet (NEP 50). ``owner`` is the Trace (``trace()`` is ndarray's),
    ``scope`` the region in which the handle was made. ``dims`` is the shape of the IR; ``shape`` is that of NumPy,
    with traced integers for extents that are not known. ``boxed`` is True for a 0-d array, which can be written into;
    False for a scalar. The subclasses are :class:`~jitgrad.frontend.views.View` and
    :class:`~jitgrad.frontend.concrete.Concrete`; a handle may change from one to another.
    """

    __slots__ = ("__weakref__", "_array", "_base", "_lens", "_notes", "boxed", "owner", "scope", "value", "weak")
    __array_priority__ = 1000.0

    value: Value
    #: The contents, where they are known while the function is traced.
    concrete: np.ndarray | None = None

    def __init__(self, trace: Trace, value: Value, weak: str | None = None) -> None:
        self.owner, self.value, self.weak, self.scope, self.boxed = trace, value, weak, trace.scope, False

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
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> Any:
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> Tracer:
        return call(np.transpose, (self,), {})

    @property
    def mT(self) -> Tracer:
        return call(np.matrix_transpose, (self,), {})

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
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a traced array has no attribute {name!r}")
        raise UnsupportedAttributeError(
            f"ndarray.{name} is not supported on traced values. A traced array has no data while the function is "
            "traced, only a shape and a dtype. Use a NumPy function instead, or do this outside the traced function.",
            user_location(),
        )

    def __repr__(self) -> str:
        name = f" {self.value.name}" if type(self) is Tracer and self.value.name else ""
        weak = f" (Python {self.weak})" if self.weak else ""
        return f"<traced{name}: {self.type}{weak}>"

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
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
        raise self._no_number("converted to a Python complex", "Complex numbers are not supported.")

    def __index__(self) -> int:
        raise self._no_number(
            "used where Python needs an integer (range(), an index of a list, a shape, an axis)",
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

    def item(self, *args: Any) -> NoReturn:
        raise self._no_number("converted to a Python scalar by item()", "Leave item() out, or index the array.")

    def tolist(self) -> NoReturn:
        raise self._no_number("converted to a list by tolist()", "Use list(x), which gives traced rows.")

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

    def _note_write(self) -> None:
        before = self.value
        for scope in reversed(self.owner.scopes):
            if scope is self.scope:
                break
            scope.written.setdefault(self, before)
            before = scope.saved.setdefault(self, before)  # what it was in the scope around


def extent(trace: Trace, d: Dim) -> Any:
    """An extent as users see it: an int, or a traced integer."""
    if isinstance(d, int):
        return d
    (value,) = trace.emit("index", (), {"value": d})
    return Tracer(trace, value, "int")


def contains_tracer(obj: Any) -> bool:
    """Is there a tracer in these nested lists, tuples and dicts?"""
    if isinstance(obj, Tracer):
        return True
    if isinstance(obj, (list, tuple)):
        return any(contains_tracer(o) for o in obj)
    if isinstance(obj, dict):
        return any(contains_tracer(o) for o in obj.values())
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
        elif isinstance(obj, (list, tuple)):
            stack.extend(obj)
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


def as_numpy(obj: Any) -> np.ndarray:
    """Any untraced array-like as an array of a supported dtype in native byte order. Raises DtypeError."""
    if isinstance(obj, (np.ma.MaskedArray, np.matrix)):
        raise UnsupportedError(
            f"{type(obj).__name__} can't be combined with traced values. Its operators differ from those of ndarray. "
            "Convert it with np.asarray() first.",
            user_location(),
        )
    if isinstance(obj, Tracer) and obj.concrete is not None:
        obj = obj.concrete
    try:
        array = np.asarray(obj)
    except ValueError as error:
        raise ShapeError(f"{error} Give rows of equal length.", user_location()) from None
    try:
        return array.astype(check_dtype(array.dtype), copy=False)
    except DtypeError as error:
        raise DtypeError(error.message, user_location()) from None


def _made(tracer: Tracer) -> str:
    """Where a value comes from, for messages: `` (made at file:line)``."""
    if type(tracer) is not Tracer:
        return ""
    value = tracer.value
    if value.op is None:
        return f" (argument {value.name})" if value.name else ""
    return f" (made by {value.op.name} at {value.op.loc.short()})" if value.op.loc else ""


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
