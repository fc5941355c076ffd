"""The recording of a traced function: a :class:`Trace` owns the graph that is being built, and makes tracers."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, IRError, JitgradError, ShapeError, UnsupportedError
from jitgrad.frontend.complex_pair import holds_complex
from jitgrad.frontend.options import Options
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer, leaked
from jitgrad.ir.core import Builder, Graph, Value, attributes_key
from jitgrad.ir.index import interval
from jitgrad.ir.location import Location, user_location
from jitgrad.ir.symbols import index_of, named_values, renamed_type, symbol_of
from jitgrad.ir.types import TensorType, check_dtype, i64, kind_letter

#: Python scalar types, which promote weakly (NEP 50), and the dtype they have on their own.
WEAK_DTYPES = {"bool": np.dtype(np.bool_), "int": np.dtype(np.int64), "float": np.dtype(np.float64)}

#: How many ops deep two values are compared.
_DEPTH = 8

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
        self.growing: list[Any] = []  # what stands for lists in the loops that are being recorded
        self.consumers: list[Any] = []  # the loops whose bodies the generators that run now call
        self.consuming = 0  # how many loops over generators are recorded, or tried, in each other
        self.trials = 0  # how many trials of loops run, in each other
        self.tried: dict[Hashable, bool] = {}  # what has come of trials
        self.top = self.scope = Scope(self, self.builder.ops)
        self.scopes: list[Scope] = []
        self.copies = 1  # of what is traced now, by loops that are unrolled
        #: The variables of functions that closures assign, by the ids of their cells, and where they were made.
        self.shared: dict[int, tuple[Any, Scope]] = {}
        self.given: dict[int, int] = {}  # the references of the call to lists among the arguments (``references``)
        self.collecting: list[Sequence[list[Any]]] = []  # the lists that loops which are being recorded append to
        #: Lists and dicts that stand for one of several others, each with those (``chosen_containers``).
        self.alternatives: list[tuple[Any, ...]] = []
        #: Attributes that recorded code has looked for in vain: references to the objects, and the names.
        self.missing: list[tuple[weakref.ref[Any], str]] = []
        self.chosen_items: list[Any] = []  # of lists, by traced values (``chosen_containers``)
        self.tables: dict[int, Location] = {}  # where tables of lists were made, by identity (``bucket_tables``)
        self.tables_carried: dict[Hashable, Any] = {}  # what tables of buckets have in common (``buckets``)
        self.outcomes: list[tuple[Any, ...]] = []  # what the ways give that are recorded of a branch
        self.uneven: dict[Any, Any] = {}  # branches that give what differs in length, and what that is
        self.sought: list[tuple[Sequence[list[Any]], list[Any]]] = []  # lists, and the places found that hold them
        self.notes: list[str] = []  # how each loop was traced
        self.limit: tuple[int, str] | None = None  # how many ops it may have at top level, and what to say of more
        self.joined: list[list[Any]] = []  # who wants to know of arrays that become parts of others
        self.printed: set[str] = set()  # the places that have printed traced values
        self._captured: dict[Value, Value] = {}
        self._remembered: dict[Hashable, tuple[Value, Scope]] = {}
        self._scalars: dict[tuple[np.dtype, bytes], Value] = {}
        self._arrays: dict[int, tuple[Any, Value]] = {}

    def param(self, type: TensorType, name: str | None = None, weak: bool | str | None = False) -> Tracer:
        """A parameter of the graph. ``weak`` is True (or ``"int"``, ``"float"``, ``"bool"``) for a Python scalar."""
        if self.captures:
            raise IRError("parameters must be declared before the traced function runs. This is a bug in jitgrad.")
        if weak is True:
            weak = {"b": "bool", "f": "float"}.get(kind_letter(type.dtype), "int")
        return Tracer(self, self.builder.param(type, name), weak or None)

    def lift(self, obj: ArrayLike) -> Tracer:
        """A traced value for any array-like: tracers stay (captured where they belong to an outer trace), arrays and
        numbers become constants, lists that hold tracers are stacked. Raises DtypeError."""
        if isinstance(obj, Tracer):
            return obj if obj.owner is self else Tracer(self, self.own(obj), obj.weak)
        if type(obj) in (bool, int, float):
            weak = type(obj).__name__
            return Tracer(self, self.scalar(obj, WEAK_DTYPES[weak]), weak)
        if holds_complex(obj):
            raise DtypeError(
                "a complex value stands where a real one is needed. The function is not supported for complex numbers. "
                "Use the real and the imaginary part, z.real and z.imag.",
                user_location(),
            )
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
        if isinstance(obj, np.ndarray):  # a list may have only one name, which matters (``growth``)
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

    def first_of(self, value: Value, depth: int = _DEPTH) -> Value:
        """The value that was first computed in the same way as this one, and can be used here: the same element read
        twice, the same comparison made twice. So what two of them stand for is known to be equal."""
        op = value.op
        if op is None or op.regions or len(op.results) != 1 or op.name == "constant" or depth == 0:
            return value
        found = self.remembered(("first of", value))
        if found is None:
            operands = tuple(self.first_of(v, depth - 1) for v in op.operands)
            key = ("computed", op.name, operands, attributes_key(op.attrs), value.type)
            found = self.remembered(key)
            if found is None:
                found = value
                self.remember(key, value)
            self.remember(("first of", value), found)
        return found

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
            except BaseException as error:
                scope.restore()
                if HOOKS["was_raised"](error):
                    raise HOOKS["never_raised"](error, what) from error
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
        if self.limit is not None and len(self.top.ops) > self.limit[0]:
            raise UnsupportedError(self.limit[1], self.builder.loc)
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


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
