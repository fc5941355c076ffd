"""Views of arrays: slices, transposes, reshapes and what else shares memory with its argument in NumPy.

A :class:`View` has a base and a lens that says how to read the view's elements from the base and how to write them
back. Lenses that pick a strided box and permute its axes compose to one :class:`Box`, so ``A.T[1:][0]`` reads and
writes a row of A by one op. A reshape is a lens of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import MutationError
from jitgrad.frontend.primitives import emit, reshape, transpose
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, leaked
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim, IndexExpr, add, mul
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType

Dims = tuple[Dim, ...]


class Lens:
    """How a view reads its base, and writes to it. ``dims`` are the extents of the view."""

    __slots__ = ("dims",)
    dims: Dims
    #: What it is called, where nobody may write into views of this kind; and why that is so.
    read_only: str | None = None
    why_read_only = (
        "which is read-only in NumPy too: assignment destination is read-only. Write into the array that it is a view "
        "of, or copy() it first."
    )

    def read(self, x: Tracer) -> Tracer:
        """The elements of the view."""
        raise NotImplementedError

    def write(self, x: Tracer, v: Tracer) -> Tracer:
        """``x`` with ``v``, which has the view's extents and dtype, for the elements of the view."""
        raise NotImplementedError

    def strides(self, strides: Dims | None) -> Dims | None:
        """The strides in memory, in elements, from those of the base; None where they are not known."""
        return None


class Box(Lens):
    """On each axis of the base the positions ``start + k*step`` for ``0 <= k < size``. ``axes`` are the axes of the
    view, as numbers of axes of the base; None is a new axis. An axis that is not among them has size 1."""

    __slots__ = ("axes", "sizes", "starts", "steps")

    def __init__(self, starts: Dims, sizes: Dims, steps: tuple[int, ...], axes: tuple[int | None, ...]) -> None:
        self.starts, self.sizes, self.steps, self.axes = starts, sizes, steps, axes
        self.dims = tuple(1 if a is None else sizes[a] for a in axes)

    def key(self) -> Any:
        """Equal for equal boxes."""
        return self.starts, self.sizes, self.steps, self.axes

    def is_whole(self, dims: Dims) -> bool:
        """Does it cover a base of these extents, in order? A computed position has to be read for its check, even where
        the axis has one element."""
        return self.sizes == dims and all(s == 1 for s in self.steps) and all(s == 0 for s in self.starts)

    def kept(self) -> list[int]:
        """The axes of the base that the view has, in the view's order."""
        return [a for a in self.axes if a is not None]

    def read(self, x: Tracer) -> Tracer:
        piece = x
        if not self.is_whole(x.dims):
            piece = emit("slice", x, starts=self.starts, sizes=self.sizes, steps=self.steps)
        kept = self.kept()
        order = sorted(kept)
        if kept != order:
            piece = reshape(piece, [self.sizes[a] for a in order])
            piece = transpose(piece, [order.index(a) for a in kept])
        return reshape(piece, self.dims)

    def to_base(self, v: Tracer) -> Tracer:
        """Elements of the view with the axes that the box has on the base."""
        kept = self.kept()
        order = sorted(kept)
        if kept != order:
            v = reshape(v, [self.sizes[a] for a in kept])
            v = transpose(v, [kept.index(a) for a in order])
        return reshape(v, self.sizes)

    def write(self, x: Tracer, v: Tracer) -> Tracer:
        return self.update("set", x, v)

    def update(self, mode: str, x: Tracer, v: Tracer) -> Tracer:
        """``x`` with ``v`` written (``set``) or added (``add``) to the box."""
        v = self.to_base(v)
        if 0 in self.sizes:
            return x
        if mode == "set" and self.is_whole(x.dims):
            return v
        if mode == "add" and self.is_whole(x.dims):
            return emit("add", x, v)
        return emit(f"{mode}_slice", x, v, starts=self.starts, steps=self.steps)

    def strides(self, strides: Dims | None) -> Dims | None:
        if strides is None:
            return None
        return tuple(0 if a is None else mul(strides[a], self.steps[a]) for a in self.axes)

    def then(self, other: Box) -> Box | None:
        """The box on this view's base that ``other`` is on the view; None where it is no box (it drops or empties a
        new axis in a way that has no counterpart)."""
        starts, sizes, steps = list(self.starts), list(self.sizes), list(self.steps)
        for k, a in enumerate(self.axes):
            if a is None:
                if other.sizes[k] != 1:
                    return None
                continue
            starts[a] = add(starts[a], mul(other.starts[k], steps[a]))
            sizes[a] = other.sizes[k]
            steps[a] *= other.steps[k]
        axes = tuple(None if k is None else self.axes[k] for k in other.axes)
        return Box(tuple(starts), tuple(sizes), tuple(steps), axes)


class ReadOnly(Box):
    """The box of an item that is an array: it is the array that was appended only as long as nobody writes into it."""

    __slots__ = ()
    read_only = "an array that is an item of a list in a recorded loop"

    def then(self, other: Box) -> Box | None:
        whole = super().then(other)
        return whole and ReadOnly(whole.starts, whole.sizes, whole.steps, whole.axes)


class Reshaped(Lens):
    """The elements in C order under another shape. ``layout`` are the strides, where they are known."""

    __slots__ = ("layout",)

    def __init__(self, dims: Dims, layout: Dims | None = None) -> None:
        self.dims, self.layout = dims, layout

    def read(self, x: Tracer) -> Tracer:
        return reshape(x, self.dims)

    def write(self, x: Tracer, v: Tracer) -> Tracer:
        return reshape(v, x.dims)

    def strides(self, strides: Dims | None) -> Dims | None:
        return self.layout


class Derived(Lens):
    """A view that NumPy makes read-only: of a diagonal, of a broadcast array. ``layout`` are its strides."""

    __slots__ = ("compute", "layout", "read_only")

    def __init__(self, dims: Dims, compute: Callable[[Tracer], Tracer], what: str, layout: Dims | None = None) -> None:
        self.dims, self.compute, self.read_only, self.layout = dims, compute, what, layout

    def read(self, x: Tracer) -> Tracer:
        return self.compute(x)

    def strides(self, strides: Dims | None) -> Dims | None:
        return self.layout


class View(Tracer):
    """A view: reads and writes go to its base, an array or another view."""

    __slots__ = ()

    def __init__(self, base: Tracer, lens: Lens, trace: Trace | None = None) -> None:
        self.owner = trace or base.owner
        self.scope, self.boxed = self.owner.scope, True
        self.weak: str | None = None
        self._base, self._lens, self._array = base, lens, None

    @property
    def type(self) -> TensorType:
        return TensorType(self._base.dtype, self._lens.dims)

    @property
    def dtype(self) -> Any:
        return self._base.dtype

    @property
    def dims(self) -> tuple[Any, ...]:
        return self._lens.dims

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the elements are now. It is read again after the base has changed."""
        if not self.scope.open:
            raise leaked(self)
        current = self._base.value
        if self._array is not None:
            seen, value, scope = self._array
            if seen is current and scope.open:
                return value
        with HOOKS["emitting_for"](self.owner):  # a function that is traced inside may be the one that reads it
            value = self._lens.read(self._current()).value
        self._array = (current, value, self.owner.scope)
        return value

    def _current(self) -> Tracer:
        """The base as a value of this view's trace."""
        base, owner = self._base, self.owner
        return base if base.owner is owner else Tracer(owner, owner.own(base))

    @property
    def base(self) -> Tracer:
        return self.root

    @property
    def root(self) -> Tracer:
        return self._base.root

    def store(self, new: Tracer) -> None:
        self.check_writable()
        self._base.store(self._lens.write(self._current(), new))

    def check_writable(self) -> None:
        """Raise MutationError for a view that NumPy makes read-only."""
        what = self._lens.read_only
        if what is not None:
            raise MutationError(f"a write into {what}, {self._lens.why_read_only}", user_location())
        if isinstance(self._base, View):
            self._base.check_writable()

    def rebind(self, value: Value) -> None:
        raise TypeError("a view is not carried, the array that it is a view of is. This is a bug in jitgrad.")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tracer:
        return Tracer(self.owner, self.value)


def view_box(x: Tracer, box: Box, trace: Trace | None = None) -> View:
    """The view of a box of an array or of a view."""
    if type(x) is View and isinstance(x._lens, Box) and (trace is None or trace is x.owner):
        whole = x._lens.then(box)
        if whole is not None:
            return View(x._base, whole)
    return View(x, box, trace)


def whole_box(dims: Dims, axes: Sequence[int | None]) -> Box:
    """All of an array, with its axes in another order, some of extent 1 left out, or new ones put in."""
    return Box((0,) * len(dims), dims, (1,) * len(dims), tuple(axes))


def view_all(x: Tracer) -> View:
    """A view of all of an array: another object with the same elements."""
    return view_box(x, whole_box(x.dims, range(x.ndim)))


def view_transposed(x: Tracer, perm: Sequence[int]) -> View:
    """A view with the axes in another order."""
    return view_box(x, whole_box(x.dims, perm))


def view_slice(x: Tracer, axis: int, start: Dim, size: Dim, step: int = 1) -> View:
    """A view of a range of positions on one axis."""
    ndim = x.ndim
    starts: Dims = tuple(start if k == axis else 0 for k in range(ndim))
    sizes = tuple(size if k == axis else d for k, d in enumerate(x.dims))
    return view_box(x, Box(starts, sizes, tuple(step if k == axis else 1 for k in range(ndim)), tuple(range(ndim))))


def view_reshaped(x: Tracer, shape: Sequence[Dim]) -> Tracer:
    """``np.reshape``: a view where NumPy gives one, else a new array."""
    shape = tuple(shape)
    axes = _same_but_ones(x.dims, shape)
    if axes is not None:
        return view_box(x, whole_box(x.dims, axes))
    contiguous = is_contiguous(x)
    layout = contiguous_strides(shape) if contiguous else reshaped_strides(x.dims, strides_of(x), shape)
    if layout is None:
        return Tracer(x.owner, reshape(x, shape).value)
    if type(x) is View and isinstance(x._lens, Reshaped):
        return View(x._base, Reshaped(shape, layout))
    return View(x, Reshaped(shape, layout))


def view_flat(x: Tracer) -> View:
    """``x.flat``: all elements in C order, to read and to write, whatever their places in memory."""
    return View(x, Reshaped((x.count,)))


def _same_but_ones(dims: Dims, shape: Dims) -> list[int | None] | None:
    """The axes of ``dims`` for each of ``shape``, where they differ by axes of extent 1 only; else None."""
    old = [k for k, d in enumerate(dims) if d != 1]
    new = [k for k, d in enumerate(shape) if d != 1]
    if [dims[k] for k in old] != [shape[k] for k in new]:
        return None
    axes: list[int | None] = [None] * len(shape)
    for a, b in zip(old, new, strict=True):
        axes[b] = a
    return axes


def strides_of(x: Tracer) -> Dims | None:
    """Strides in elements; None where a view has none."""
    if type(x) is View:
        return x._lens.strides(strides_of(x._base))
    if type(x) is not Tracer or x.order is None:
        return contiguous_strides(x.dims)
    strides = dict(zip(x.order, contiguous_strides(tuple(x.dims[k] for k in x.order)), strict=True))
    return tuple(strides[k] for k in range(x.ndim))


def laid_out_like(result: Any, operands: Iterable[Any]) -> Any:
    """The result of a function that computes element by element, with the order in memory that NumPy gives it ("K"):
    that of its operands, where they agree."""
    if type(result) is not Tracer or result.ndim < 2 or result.order is not None:
        return result
    arrays = [a for a in operands if isinstance(a, (Tracer, np.ndarray))]
    if any(_is_turned(a) for a in arrays):
        flags: Any = [["readonly"]] * len(arrays) + [["writeonly", "allocate"]]
        small: Any = [*map(_small_copy, arrays), None]
        made = np.nditer(small, ["zerosize_ok"], flags, order="K").operands[-1]
        if made.ndim == result.ndim:
            result.order = _order(made.strides)
    return result


def laid_out_by(function: Any, result: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of a NumPy function, or each of several, with the order in memory that NumPy gives it: that of what
    the function makes of small arrays in the order of its operands."""
    several = isinstance(result, (list, tuple))
    parts = [r for r in (result if several else (result,)) if type(r) is Tracer and r.ndim > 1 and r.order is None]
    turned = function is np.einsum  # may turn what is not

    def small(x: Any) -> Any:
        nonlocal turned
        if isinstance(x, (Tracer, np.ndarray)):
            turned = turned or _is_turned(x)
            return _small_copy(x)
        return type(x)(map(small, x)) if type(x) in (list, tuple) else x

    if not parts:
        return result
    args, kwargs = small(args), {name: small(x) for name, x in kwargs.items()}
    if not turned:
        return result
    try:
        made = function(*args, **kwargs)
    except (ValueError, IndexError, TypeError):  # it goes by extents or contents, which are others
        return result
    for x, y in zip(result if several else (result,), made if several else (made,), strict=False):
        if any(x is part for part in parts) and x.ndim == y.ndim:
            x.order = _order(y.strides)
    return result


def _is_turned(x: Any) -> bool:
    """Is it known that memory runs along the axes in another order than C's?"""
    if not isinstance(x, Tracer) or x.ndim < 2 or (type(x) is Tracer and x.order is None):
        return False
    strides: Any = strides_of(x)
    if strides is None or not all(isinstance(n, int) for n in (*strides, *x.dims)):
        return False
    long = [s for s, d in zip(strides, x.dims, strict=True) if d != 1 and s]
    return any(abs(a) < abs(b) for a, b in itertools.pairwise(long))


def _small_copy(x: Tracer | np.ndarray) -> np.ndarray:
    """An array of ones with the order in memory of another, and extents of at most 4."""
    strides: Any = strides_of(x) if isinstance(x, Tracer) else x.strides
    dims: Any = x.dims if isinstance(x, Tracer) else x.shape
    if strides is None or not all(isinstance(n, int) for n in (*strides, *dims)):
        strides = contiguous_strides(tuple(range(2, 2 + len(dims))))
    shape = [min(d, 4) if isinstance(d, int) else 4 for d in dims]
    order = _order(strides)
    held = np.ones([shape[k] if strides[k] else 1 for k in order]).transpose(np.argsort(order))
    return np.broadcast_to(held, shape)


def _order(strides: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(strides)), key=lambda k: -abs(strides[k])))


def memory_order(x: Tracer, order: str = "K") -> tuple[int, ...]:
    """The axes from the slowest to the fastest for C or Fortran order, for that of the memory (K), or for Fortran's
    where the array is contiguous in that order alone and C's else (A)."""
    forwards = tuple(range(x.ndim))
    if order == "F":
        return forwards[::-1]
    if order == "C" or not _is_turned(x):
        return forwards
    if order == "A":
        return forwards[::-1] if is_contiguous(view_transposed(x, forwards[::-1])) else forwards
    return _order(strides_of(x))  # pyright: ignore[reportArgumentType]


def is_contiguous(x: Tracer) -> bool:
    """Do the elements lie behind each other, in C order?"""
    strides, dims = strides_of(x), x.dims
    if strides is None:
        return False
    return 0 in dims or all(d == 1 or s == c for d, s, c in zip(dims, strides, contiguous_strides(dims), strict=True))


def contiguous_strides(dims: Dims) -> Dims:
    """Strides of an array in C order."""
    strides: list[Dim] = []
    step: Dim = 1
    for d in reversed(dims):
        strides.append(step)
        step = mul(step, d)
    return tuple(reversed(strides))


def reshaped_strides(dims: Dims, strides: Dims | None, shape: Dims) -> Dims | None:
    """The strides of a reshaped array that shares its memory, or None where it has to be copied.

    As ``_attempt_nocopy_reshape`` in NumPy: groups of axes of equal size are found on both sides, and the old ones of
    a group must lie behind each other in memory.
    """
    if strides is None:
        return None
    if 0 in dims or 0 in shape:
        return contiguous_strides(shape)
    pairs = [(d, s) for d, s in zip(dims, strides, strict=True) if d != 1]
    result: list[Dim] = []
    old = new = 0
    while new < len(shape):
        if shape[new] == 1:
            result.append(0)
            new += 1
            continue
        if old >= len(pairs):
            return None
        first_old, first_new = old, new
        a, b = pairs[old][0], shape[new]
        old, new = old + 1, new + 1
        while a != b:
            smaller = _is_less(a, b)
            if smaller is None or (smaller and old >= len(pairs)) or (not smaller and new >= len(shape)):
                return None
            if smaller:
                a, old = mul(a, pairs[old][0]), old + 1
            else:
                b, new = mul(b, shape[new]), new + 1
        for k in range(first_old, old - 1):
            if pairs[k][1] != mul(pairs[k + 1][0], pairs[k + 1][1]):
                return None
        step = pairs[old - 1][1]
        group: list[Dim] = []
        for d in reversed(shape[first_new:new]):
            group.append(step)
            step = mul(step, d)
        result += reversed(group)
    return tuple(result)


def _is_less(a: Dim, b: Dim) -> bool | None:
    """``a < b`` for numbers; for products the side with fewer factors is the lesser. None where it is not known."""
    if isinstance(a, int) and isinstance(b, int):
        return a < b
    if isinstance(a, IndexExpr) != isinstance(b, IndexExpr):
        return isinstance(b, IndexExpr)
    return None


def box_of(dims: Dims, offset: int, strides: tuple[int, ...], shape: tuple[int, ...]) -> Box | None:
    """The box on a C-contiguous array of these extents whose elements lie at ``offset + sum(k*stride)``, or None.

    Equal addresses are equal elements, so any way to write the strides as steps along distinct axes will do, as long
    as no position leaves its axis.
    """
    steps_of: Any = contiguous_strides(dims)
    starts, rest = [], offset
    for s in steps_of:
        k, rest = divmod(rest, s)
        starts.append(k)
    sizes, steps = [1] * len(dims), [1] * len(dims)
    axes: list[int | None] = []
    for n, stride in zip(shape, strides, strict=True):
        if n == 1:
            axes.append(None)
            continue
        found = None
        for k, s in enumerate(steps_of):
            step = stride // s
            last = starts[k] + (n - 1) * step
            if stride and stride % s == 0 and k not in axes and 0 <= last < dims[k]:
                found = k
                break
        if found is None:
            return None
        axes.append(found)
        sizes[found], steps[found] = n, stride // steps_of[found]
    return Box(tuple(starts), tuple(sizes), tuple(steps), tuple(axes))


def share_memory(a: Tracer, b: Tracer) -> bool:
    """May two arrays share elements? Of boxes on one array it is known."""
    if a.root is not b.root:
        return False
    boxes = []
    for x in (a, b):
        while type(x) is View and not (isinstance(x._lens, Box) and type(x._base) is not View):
            x = x._base
        boxes.append(x._lens if type(x) is View else None)
    p, q = boxes
    if not isinstance(p, Box) or not isinstance(q, Box):
        return True
    return all(_overlap(*pq) for pq in zip(zip(p.starts, p.sizes, p.steps, strict=True),
                                           zip(q.starts, q.sizes, q.steps, strict=True), strict=True))  # fmt: skip


def _overlap(p: tuple[Dim, Dim, int], q: tuple[Dim, Dim, int]) -> bool:
    """May two ranges of positions on one axis have one in common?"""
    numbers = [n for r in (p, q) for n in r]
    if not all(isinstance(n, int) for n in numbers):
        return True
    first, second = (range(s, s + n * step, step) for s, n, step in (p, q))  # pyright: ignore[reportOperatorIssue, reportArgumentType, reportCallIssue]
    return bool(set(first) & set(second))


HOOKS["flat"] = view_flat
HOOKS["laid_out_like"] = laid_out_like
HOOKS["laid_out_by"] = laid_out_by
