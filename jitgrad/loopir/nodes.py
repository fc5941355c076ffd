"""Loop IR: an explicit tree of loops, stores and library calls over flat buffers.

Scalar expressions are hash-consed: equal expressions are one object, so a shared subexpression is computed once and
comparing is ``is``. Statements are plain frozen records. Index expressions are those of ``jitgrad.ir.index``; their
symbols are loop variables, or (see :func:`dynamic`) integer scalar expressions, as a gather needs.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, as_sym, expr, interval, mul
from jitgrad.ir.location import Location
from jitgrad.ir.thrown import Thrown
from jitgrad.ir.types import SHORT_NAMES, bool_, i64


class Buffer:
    """Contiguous row-major storage for one array. Equal only to itself.

    kind : ``"arg"`` (read only), ``"inout"`` (an argument that becomes a result), ``"const"`` (read only, ``data``
        holds the values), ``"out"`` (a result, written before it is read), ``"temp"`` (lives in the arena) or
        ``"shared"`` (in a GPU, one for each team of threads that runs the statements).
    base : for an alias (a reshape of contiguous storage), the buffer that owns the storage.

    An extent may be an index expression in what is known where the buffer is used: loop variables around it, locals,
    arguments. ``capacity`` then bounds the number of elements, or is None: such a buffer lies in the heap, and an
    :class:`Alloc` comes before its first use.
    """

    __slots__ = ("base", "data", "dtype", "kind", "loc", "name", "shape")

    def __init__(
        self,
        name: str,
        dtype: np.dtype,
        shape: tuple[Dim, ...],
        kind: str = "temp",
        *,
        data: np.ndarray | None = None,
        base: Buffer | None = None,
        loc: Location | None = None,
    ) -> None:
        self.name, self.dtype, self.shape, self.kind = name, dtype, shape, kind
        self.data, self.base, self.loc = data, base, loc

    @property
    def root(self) -> Buffer:
        """The buffer that owns the storage."""
        return self if self.base is None else self.base.root

    @property
    def size(self) -> Dim:
        """Number of elements."""
        total: Dim = 1
        for extent in self.shape:
            total = mul(total, extent)
        return total

    @property
    def capacity(self) -> int | None:
        """The greatest number of elements that it may have, as far as the limits of its extents tell."""
        total = 1
        for extent in self.shape:
            most = interval(extent)[1]
            if most is None:
                return None
            total *= max(most, 0)
        return total

    @property
    def is_static(self) -> bool:
        """Whether every extent is a number."""
        return all(isinstance(extent, int) for extent in self.shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape of a buffer whose extents are numbers."""
        assert self.is_static, self
        return self.shape  # pyright: ignore[reportReturnType]

    @property
    def nbytes(self) -> int:
        """Bytes to set aside; 0 for a buffer in the heap."""
        return (self.capacity or 0) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"{self.name}: {SHORT_NAMES[self.dtype]}[{','.join(map(str, self.shape))}]"


_interned: weakref.WeakValueDictionary[Any, Expr] = weakref.WeakValueDictionary()


#: Longest chain of operations in one expression. The passes give a longer one a buffer or a local in between, so that
#: no walk over expressions is deep.
MAX_DEPTH = 32


class Expr:
    """A scalar expression of type ``dtype``. Operators build :class:`Scalar` nodes; numbers become constants."""

    __slots__ = ("__weakref__", "_below", "_children", "_syms", "depth", "dtype")
    dtype: np.dtype
    _children: tuple[Expr, ...]
    _below: tuple[Expr, ...] | None
    depth: int  # operations on the longest path to a leaf

    @classmethod
    def _make(cls, key: tuple[Any, ...], **fields: Any) -> Any:
        full = (cls, *key)
        found = _interned.get(full)
        if found is None:
            found = object.__new__(cls)
            found._syms = found._below = None
            for name, value in fields.items():
                setattr(found, name, value)
            found._children = found._own_children()
            found.depth = 1 + max((c.depth for c in found._children), default=0)
            _interned[full] = found
        return found

    def children(self) -> tuple[Expr, ...]:
        """Direct subexpressions, those inside dynamic indices included."""
        return self._children

    def below(self) -> tuple[Expr, ...]:
        """Every distinct subexpression, without the expression itself: a parent before its operands, the last operand
        first. Kept, since passes walk over the same expressions again and again."""
        if self._below is None:
            found: dict[Expr, None] = {}
            stack = list(self._children)
            while stack:
                e = stack.pop()
                if e not in found:
                    found[e] = None
                    stack.extend(e._children)
            self._below = tuple(found)
        return self._below

    def _own_children(self) -> tuple[Expr, ...]:
        return ()

    def _own_syms(self) -> frozenset[Sym]:
        return frozenset()

    def syms(self) -> frozenset[Sym]:
        """The loop variables that the value depends on (through dynamic indices too)."""
        if self._syms is None:
            self._syms = self._own_syms().union(*(c.syms() for c in self.children()))
        return self._syms

    def _binary(self, name: str, other: Expr | int | float | bool, swap: bool = False) -> Scalar:
        if not isinstance(other, Expr):
            other = Const(other, self.dtype)
        return scalar(name, other, self) if swap else scalar(name, self, other)

    def __add__(self, other: Any) -> Expr:
        return self._binary("add", other)

    def __radd__(self, other: Any) -> Expr:
        return self._binary("add", other, swap=True)

    def __sub__(self, other: Any) -> Expr:
        return self._binary("subtract", other)

    def __rsub__(self, other: Any) -> Expr:
        return self._binary("subtract", other, swap=True)

    def __mul__(self, other: Any) -> Expr:
        return self._binary("multiply", other)

    def __rmul__(self, other: Any) -> Expr:
        return self._binary("multiply", other, swap=True)

    def __truediv__(self, other: Any) -> Expr:
        return self._binary("divide", other)

    def __rtruediv__(self, other: Any) -> Expr:
        return self._binary("divide", other, swap=True)

    def __neg__(self) -> Expr:
        return scalar("negative", self)

    def __lt__(self, other: Any) -> Expr:
        return self._binary("less", other)

    def __le__(self, other: Any) -> Expr:
        return self._binary("less_equal", other)

    def __gt__(self, other: Any) -> Expr:
        return self._binary("greater", other)

    def __ge__(self, other: Any) -> Expr:
        return self._binary("greater_equal", other)

    def eq(self, other: Any) -> Expr:
        return self._binary("equal", other)

    def ne(self, other: Any) -> Expr:
        return self._binary("not_equal", other)

    def __and__(self, other: Any) -> Expr:
        return self._binary("logical_and", other)

    def __or__(self, other: Any) -> Expr:
        return self._binary("logical_or", other)

    def __invert__(self) -> Expr:
        return scalar("logical_not", self)


class Const(Expr):
    """A literal; ``value`` is a NumPy scalar of ``dtype``."""

    __slots__ = ("value",)
    value: np.generic

    def __new__(cls, value: Any, dtype: np.dtype) -> Const:
        v = np.asarray(value).astype(dtype).reshape(())[()]
        return cls._make((dtype, v.tobytes()), dtype=dtype, value=v)

    def __repr__(self) -> str:
        return repr(self.value.item())


class Load(Expr):
    """``buffer[index]``, one index an axis, each in bounds."""

    __slots__ = ("buffer", "index")
    buffer: Buffer
    index: tuple[Dim, ...]

    def __new__(cls, buffer: Buffer, index: tuple[Dim, ...]) -> Load:
        assert len(index) == len(buffer.shape), (buffer, index)
        return cls._make((buffer, index), dtype=buffer.dtype, buffer=buffer, index=index)

    def _own_children(self) -> tuple[Expr, ...]:
        return tuple(p for e in (*self.index, *self.buffer.shape[1:]) for p in payloads(e))

    def _own_syms(self) -> frozenset[Sym]:
        return frozenset(s for e in (*self.index, *self.buffer.shape[1:]) for s in loop_syms(e))

    def __repr__(self) -> str:
        return f"{self.buffer.name}[{', '.join(map(repr, self.index))}]"


class Scalar(Expr):
    """``op(*args)``; ``op`` is a name of ``jitgrad.loopir.scalars``."""

    __slots__ = ("args", "op")
    op: str
    args: tuple[Expr, ...]

    def __new__(cls, op: str, args: tuple[Expr, ...], dtype: np.dtype) -> Scalar:
        return cls._make((op, args, dtype), dtype=dtype, op=op, args=args)

    def _own_children(self) -> tuple[Expr, ...]:
        return self.args

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(map(repr, self.args))})"


class Index(Expr):
    """An index expression as an int64 value."""

    __slots__ = ("index",)
    index: IndexExpr

    def __new__(cls, index: Dim) -> Expr:  # pyright: ignore[reportInconsistentConstructor]
        if not isinstance(index, IndexExpr):
            return Const(index, i64)
        s = as_sym(index)
        if s is not None and s.payload is not None:
            return s.payload
        return cls._make((index,), dtype=i64, index=index)

    def _own_children(self) -> tuple[Expr, ...]:
        return tuple(payloads(self.index))

    def _own_syms(self) -> frozenset[Sym]:
        return frozenset(loop_syms(self.index))

    def __repr__(self) -> str:
        return f"({self.index!r})"


class Local(Expr):
    """A mutable scalar variable, declared by :class:`Let`. Equal only to itself."""

    __slots__ = ("name",)

    def __init__(self, name: str, dtype: np.dtype) -> None:
        self.name, self.dtype, self._syms, self._children, self._below, self.depth = name, dtype, frozenset(), (), (), 1

    def __repr__(self) -> str:
        return self.name


#: Scalar functions whose result is a bool.
PREDICATES = frozenset(
    (
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "equal",
        "not_equal",
        "logical_and",
        "logical_or",
        "logical_not",
        "logical_xor",
        "isnan",
        "isinf",
        "isfinite",
        "signbit",
    )
)


def scalar(op: str, *args: Expr, dtype: np.dtype | None = None) -> Scalar:
    """A scalar operation; the result has the dtype of the last operand, or bool for a predicate."""
    if dtype is None:
        dtype = bool_ if op in PREDICATES else args[-1].dtype
    return Scalar(op, args, dtype)


def cast(e: Expr, dtype: np.dtype) -> Expr:
    """Conversion as by ``astype``."""
    return e if e.dtype == dtype else Scalar("cast", (e,), dtype)


_dynamic: weakref.WeakKeyDictionary[Expr, dict[tuple[Dim | None, Dim | None], Sym]] = weakref.WeakKeyDictionary()


def dynamic(e: Expr, extent: Dim) -> Dim:
    """An index that is the value of an int64 expression, known to lie in ``[0, extent)``."""
    hi = add(extent, -1)
    return dynamic_between(e, 0, max(hi, 0) if isinstance(hi, int) else hi)


def dynamic_between(e: Expr, lo: Dim | None, hi: Dim | None, name: str | None = None) -> Dim:
    """An index that is the value of an int64 expression, with inclusive limits (None: unknown)."""
    if isinstance(e, Index):
        return e.index
    if isinstance(e, Const):
        return int(e.value)
    known = _dynamic.setdefault(e, {})
    if (lo, hi) not in known:
        known[lo, hi] = Sym(name or (repr(e) if e.depth <= 4 else "index"), lo, hi, payload=e)
    return expr(known[lo, hi])


def payloads(e: Dim) -> Iterator[Expr]:
    """The scalar expressions that an index depends on."""
    if isinstance(e, IndexExpr):
        for s in e.syms():
            if s.payload is not None:
                yield s.payload


def loop_syms(e: Dim) -> Iterator[Sym]:
    """The loop variables that an index depends on directly."""
    if isinstance(e, IndexExpr):
        for s in e.syms():
            if s.payload is None:
                yield s


@dataclasses.dataclass(frozen=True, eq=False)
class Loop:
    """``for var in range(lo, hi, step)``.

    kind : ``"serial"``, or ``"parallel"``: no iteration touches what another one writes, and threads may share them.
    work : about what an iteration of a parallel loop costs, in operations on bytes and in terms of the variables of
        loops around. Threads get the loop if that, times the iterations, pays for a launch.
    """

    var: Sym
    lo: Dim
    hi: Dim
    body: tuple[Stmt, ...]
    step: int = 1
    kind: str = "serial"
    work: Dim = 0


#: The modes of updates, and the operation on the old value and a new one that each is.
UPDATES = {
    "+=": "add",
    "*=": "multiply",
    "max=": "maximum",
    "min=": "minimum",
    "or=": "logical_or",
    "and=": "logical_and",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Store:
    """``buffer[index] mode value`` with mode ``=``, ``+=``, ``*=``, ``max=``, ``min=``, ``or=``, ``and=``.

    One that is ``streamed`` goes past the caches, see ``jitgrad.loopir.stream``. It is in the body of a loop with no
    loop in it, that writes elements one behind the other."""

    buffer: Buffer
    index: tuple[Dim, ...]
    value: Expr
    mode: str = "="
    streamed: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Let:
    """Declare a local variable with its first value."""

    local: Local
    value: Expr


@dataclasses.dataclass(frozen=True, eq=False)
class Assign:
    """``local mode value``, with the modes of :class:`Store`."""

    local: Local
    value: Expr
    mode: str = "="


@dataclasses.dataclass(frozen=True, eq=False)
class If:
    """``rare`` says that ``then`` hardly ever runs: its loops are compiled as they are, without vectors."""

    cond: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()
    rare: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class While:
    """Repeat ``body`` while ``cond``, which is evaluated anew each time (it reads locals and buffers)."""

    cond: Expr
    body: tuple[Stmt, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Statements in order, with the locals that they share. Only at top level, where it makes them one kernel."""

    body: tuple[Stmt, ...]


#: Library functions with effects, which happen in the order of the program.
IN_ORDER = frozenset(("show", "draw", "make_generator", "generator_state", "restore_generators"))


@dataclasses.dataclass(frozen=True, eq=False)
class LibCall:
    """Call ``fn`` of ``jitgrad.codegen.libcalls`` on whole buffers. It writes ``outs``, reads ``ins``, and may return a
    nonzero status, which ends the program and raises. ``static`` are compile-time parameters; ``loc`` is the user's
    line."""

    fn: str
    outs: tuple[Buffer, ...]
    ins: tuple[Buffer, ...]
    static: tuple[tuple[str, Any], ...] = ()
    loc: Location | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Fail:
    """End the program with a nonzero status; ``code`` is a key of ``jitgrad.loopir.failures.FAILURES``, and ``loc`` the
    user's line.

    With an ``error`` that is what is raised, and the code only tells it from others. ``values`` are the dtypes and
    shapes of what fills its holes, which is in the program's record, one after the other; None for one that is not.
    """

    code: int
    loc: Location | None = None
    error: Thrown | None = None
    values: tuple[tuple[np.dtype, tuple[int, ...]] | None, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Alloc:
    """Make room in the heap for a buffer whose extents are known only here. One that is there already and large enough
    is kept, so that an iteration costs no allocation; all are freed when the program ends."""

    buffer: Buffer


@dataclasses.dataclass(frozen=True, eq=False)
class Fetch:
    """Bring ``buffer[index]`` from memory into the caches, for an iteration that comes later; past the end of the array
    as well, where it does nothing. It is in the body of a loop with no loop in it, whose variable counts elements that
    lie one behind the other; see ``jitgrad.loopir.fetch``."""

    buffer: Buffer
    index: tuple[Dim, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Comment:
    text: str


Stmt = Loop | Store | Let | Assign | If | While | Block | LibCall | Fail | Alloc | Fetch | Comment


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A whole compiled function. ``params`` and ``results`` are in the order of the graph's; a result buffer is of kind
    ``"out"``, or a parameter of kind ``"inout"``, and no two results share one. ``record`` is the last result of a
    program that keeps there what it says when it fails; the graph has no such result."""

    name: str
    params: tuple[Buffer, ...]
    results: tuple[Buffer, ...]
    body: tuple[Stmt, ...]
    record: Buffer | None = None

    @functools.cached_property
    def constants(self) -> tuple[Buffer, ...]:
        """Root buffers of kind ``"const"`` that the body reads, in a fixed order."""
        from jitgrad.loopir.walk import buffers_of

        return tuple(dict.fromkeys(t for s in self.body for t in buffers_of(s) if t.kind == "const"))

    @functools.cached_property
    def temporaries(self) -> tuple[Buffer, ...]:
        """Root buffers of kind ``"temp"`` that the body touches, in a fixed order."""
        from jitgrad.loopir.walk import buffers_of

        return tuple(dict.fromkeys(t for s in self.body for t in buffers_of(s) if t.kind == "temp"))
