"""Traced complex values. The IR is real: a :class:`ComplexTracer` is a pair of real traced values, the real and the
imaginary part, and each operation on it is some on those. So differentiation, fusion and code generation know nothing
of complex numbers, and what is printed shows what is computed.

To trees of values a complex one is a node with two leaves (it is registered with optree): arguments and results,
variables of loops and branches, items of lists that a loop appends to are taken apart and put together as all trees
are. The gradient of a real function is a tree like its argument, so that of a complex number x + iy is
``dL/dx + 1j * dL/dy``.

:func:`make` makes one of two real values. A module that computes complex results (a Fourier transform) needs no more:
``make(real, imaginary)`` of two traced arrays of one shape, and ``z.re`` and ``z.im`` of one that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from jitgrad.errors import ArgumentError, ConcretizationError, DtypeError, MutationError, UnsupportedAttributeError
from jitgrad.frontend.complex_pair import WHOLE, Pair, is_plain_complex, joined, whole_dtype
from jitgrad.frontend.concrete import Concrete, Notes
from jitgrad.frontend.methods import ArrayMethods
from jitgrad.frontend.operators import Operators
from jitgrad.frontend.primitives import broadcast_to, broadcast_together, cast
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.signature import register_node
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import SHOWING, Collection, Tracer, contains_tracer, innermost_trace
from jitgrad.ir.location import user_location
from jitgrad.ir.types import is_float


class ComplexTracer(Pair, Operators, ArrayMethods):
    """A traced complex array or number, with ndarray's attributes, operators and methods.

    ``re`` and ``im`` are traced real values of one float dtype and shape. Those of an array are arrays, that can be
    written into, and those of a view are views.
    """

    __slots__ = ()
    __array_priority__ = 1000.0

    def __init__(self, re: Any, im: Any) -> None:
        self.re, self.im = re, im

    # -- attributes ---------------------------------------------------------------------------------------------

    @property
    def owner(self) -> Trace:
        return self.re.owner

    @property
    def dtype(self) -> np.dtype:
        return WHOLE.get(self.re.dtype) or whole_dtype(self.re.dtype)

    @property
    def weak(self) -> str | None:
        """``"complex"`` for what is a Python number in plain Python."""
        return "complex" if self.re.weak and self.im.weak else None

    @property
    def boxed(self) -> bool:
        return self.re.boxed

    @boxed.setter
    def boxed(self, boxed: bool) -> None:
        self.re.boxed = self.im.boxed = boxed

    @property
    def dims(self) -> tuple[Any, ...]:
        return self.re.dims

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.re.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self.re.shape = shape  # raises what there is to raise
        self.im.shape = shape

    @property
    def ndim(self) -> int:
        return self.re.ndim

    @property
    def size(self) -> Any:
        return self.re.size

    @property
    def real(self) -> Any:
        return self.re

    @real.setter
    def real(self, value: Any) -> None:
        self._check_array()
        self.re[...] = value

    @property
    def imag(self) -> Any:
        return self.im

    @imag.setter
    def imag(self, value: Any) -> None:
        self._check_array()
        self.im[...] = value

    @property
    def flat(self) -> Any:
        return ComplexTracer(self.re.flat, self.im.flat)

    @flat.setter
    def flat(self, values: Any) -> None:
        self.flat[...] = values

    @property
    def base(self) -> Any:
        base, other = self.re.base, self.im.base
        return None if base is None or other is None else ComplexTracer(base, other)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a traced complex array has no attribute {name!r}")
        raise UnsupportedAttributeError(
            f"ndarray.{name} is not supported on traced complex values. They are pairs of real arrays, and have no "
            "data while the function is traced. Use .real and .imag, or a NumPy function.",
            user_location(),
        )

    def __repr__(self) -> str:
        if known(self):
            return repr(value_of(self))
        shown = SHOWING.get()
        return self.described() if shown is None else shown(self, "")

    def described(self) -> str:
        """What it is, in words."""
        return f"<traced complex: {self.dtype}{list(self.dims)}>"

    def __format__(self, spec: str) -> str:
        if known(self):
            return format(value_of(self), spec)
        shown = SHOWING.get()
        if shown is not None:
            return shown(self, spec)
        raise ConcretizationError(
            "a traced complex value is formatted. Its parts are not known while the function is traced. Print or "
            "format z.real and z.imag.",
            user_location(),
        )

    def __str__(self) -> str:
        return self.__format__("")

    # -- as a sequence ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.re)

    def __iter__(self) -> Iterator[Any]:
        return map(make, self.re, self.im)

    def __getitem__(self, index: Any) -> Any:
        return make(self.re[index], self.im[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._check_array()
        re, im = parts(value)
        self.re[index] = re
        self.im[index] = im

    def __copy__(self) -> Any:
        return make(self.re.__copy__(), self.im.__copy__())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.__copy__()

    # -- methods that are not those of real arrays --------------------------------------------------------------

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True
    ) -> Any:
        return call(np.astype, (self, dtype), {"copy": copy})

    def copy(self, order: str = "C") -> Any:
        return make(self.re.copy(order), self.im.copy(order))

    def conj(self) -> Any:
        return HOOKS["operator"](np.conjugate, self)

    conjugate = conj

    def item(self, *index: Any) -> Any:
        return make(self.re.item(*index), self.im.item(*index))

    def tolist(self) -> Any:
        return [row.tolist() for row in self] if self.dims else self.item()

    def view(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedAttributeError(
            "ndarray.view is not supported on traced complex values. The parts are two arrays, and do not lie next to "
            "each other. Use np.stack([z.real, z.imag], -1) for what z.view(float) has in pairs.",
            user_location(),
        )

    # -- where Python wants the number --------------------------------------------------------------------------

    def _no_number(self, use: str, instead: str) -> ConcretizationError:
        return ConcretizationError(
            f"a traced complex value was {use}. {instead}",
            user_location(),
        )

    def __hash__(self) -> int:
        raise self._no_number("hashed", "While the function is traced its value is not known.")

    def __bool__(self) -> bool:
        raise self._no_number("used as a condition", "Compare it: z != 0.")

    def __float__(self) -> float:
        raise self._no_number("converted to a float", "Python and NumPy have no such conversion. Use z.real or abs(z).")

    __int__ = __index__ = __float__  # pyright: ignore[reportAssignmentType]

    def __complex__(self) -> complex:
        raise self._no_number(
            "converted to a Python complex", "While the function is traced its value is not known. Leave it out."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise self._no_number(
            "converted to a NumPy array",
            "A function that NumPy can't dispatch took it, or it was assigned into an array that was made outside of "
            "the traced function. Make arrays with np.zeros(n, complex) inside, and use jitgrad.numpy for np.array.",
        )

    def __reduce__(self) -> NoReturn:
        raise self._no_number("pickled", "Return it from the traced function and pickle the result.")

    # -- NumPy's protocols --------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return HOOKS["array_ufunc"](ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return call(function, args, kwargs)

    def __round__(self, ndigits: int | None = None) -> NoReturn:
        raise self._no_number("rounded by round()", "Python has no such function of complex numbers. Use np.round.")

    __floor__ = __ceil__ = __trunc__ = __round__  # pyright: ignore[reportAssignmentType]

    # -- in place -----------------------------------------------------------------------------------------------

    def _check_array(self) -> None:
        if self.weak or not (self.dims or self.boxed):
            raise MutationError(
                "a write into a complex number. Only arrays have items that change. Make an array with np.array(z).",
                user_location(),
            )

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Any:
        """``z op= w``: the array takes the new value; shape and dtype stay, as in NumPy."""
        if self.weak or not (self.dims or self.boxed):
            return NotImplemented  # numbers are immutable
        if ufunc in (np.add, np.subtract):
            re, im = parts(other)
            self.re = self.re._in_place(ufunc, re)
            if isinstance(other, Pair) or is_plain_complex(other):
                self.im = self.im._in_place(ufunc, im)
            return self
        result = HOOKS["operator"](ufunc, self, other)
        if result is NotImplemented:
            return result
        return stored(self, result)


def stored(z: ComplexTracer, result: Any) -> ComplexTracer:
    """``z`` with a result for its contents, as an in-place operator stores it. Raises DtypeError, ArgumentError."""
    if tuple(result.dims if hasattr(result, "dims") else np.shape(result)) != tuple(z.dims):
        raise ArgumentError(
            f"the result of an in-place operator has shape {result.shape}, not that of its left operand, {z.shape}. In "
            "place the left operand can't grow. Write z = z op w.",
            user_location(),
        )
    if not np.can_cast(result.dtype, z.dtype, "same_kind"):
        raise DtypeError(
            f"the result of an in-place operator has dtype {result.dtype}, which can't be stored in {z.dtype}.",
            user_location(),
        )
    re, im = parts(result)
    z.re[...] = re
    z.im[...] = im
    return z


# -- making them -------------------------------------------------------------------------------------------------------


def make(re: Any, im: Any) -> Any:
    """The complex value with these parts, real array-likes. They are promoted to one float dtype and broadcast; where
    neither is a traced value the result is NumPy's. Parts that need neither stay the same objects: a write into the
    complex array is a write into them."""
    if not isinstance(re, Tracer) and not isinstance(im, Tracer):
        return joined(re, im)
    same = type(re) is Concrete and type(im) is Concrete and re.dtype == im.dtype and re.dims == im.dims
    if same and re.dtype in WHOLE:
        return ComplexTracer(re, im)
    trace = innermost_trace(re, im)
    a, b = (x if isinstance(x, Tracer) else trace.lift(x) for x in (re, im))
    dtype = np.result_type(a.dtype, b.dtype)
    if a.weak and not b.weak:
        dtype = b.dtype if is_float(b.dtype) else dtype
    elif b.weak and not a.weak:
        dtype = a.dtype if is_float(a.dtype) else dtype
    weak = "float" if a.weak and b.weak else None
    if not is_float(dtype):
        dtype = np.dtype(np.float64)
    dims = a.dims if a.dims == b.dims else broadcast_together(a.dims, b.dims)
    boxed = a.boxed or b.boxed
    return ComplexTracer(*(_fitted(x, dtype, dims, weak, boxed=boxed) for x in (a, b)))


def _fitted(x: Tracer, dtype: np.dtype, dims: Any, weak: str | None, *, boxed: bool) -> Tracer:
    if x.dtype == dtype and x.dims == dims and x.weak == weak and (x.boxed == boxed or dims):
        return x
    out = broadcast_to(cast(x, dtype), dims)
    out = Tracer(out.owner, out.value, weak)
    out.boxed = boxed and weak is None
    return out


def parts(x: Any) -> tuple[Any, Any]:
    """The real and the imaginary part of any array-like; that of a real one is zero."""
    if isinstance(x, Pair) or is_plain_complex(x):
        re, im = (x.re, x.im) if isinstance(x, Pair) else (x.real, x.imag)
        if type(re) is np.ndarray:
            return np.ascontiguousarray(re).reshape(re.shape), np.ascontiguousarray(im).reshape(im.shape)
        return re, im
    if isinstance(x, (list, tuple)):
        whole = call(np.array, (x,), {}) if contains_tracer(x) else np.asarray(x)
        return parts(whole)
    return x, 0.0


def known(z: Any) -> bool:
    """Are both parts known while the function is traced?"""
    return not any(isinstance(p, Tracer) and p.concrete is None for p in (z.re, z.im))


def value_of(z: Any) -> Any:
    """The NumPy array of a complex value whose parts are known."""
    return joined(*(p.concrete if isinstance(p, Tracer) else p for p in (z.re, z.im)))


def adopted(trace: Trace, array: np.ndarray, fill: Any = None, *, captured: bool = False) -> ComplexTracer:
    """A complex array of NumPy as one whose contents are known."""
    z: Any = array
    re, im = (np.array(p, order="C") for p in (z.real, z.imag))
    fills = (None, None) if fill is None else (fill, fill) if not isinstance(fill, np.complexfloating) else (
        fill.real, fill.imag)  # fmt: skip
    notes = [Notes(f, captured=captured) for f in fills]
    return ComplexTracer(Concrete(trace, re, None, notes[0]), Concrete(trace, im, None, notes[1]))


# -- as nodes of trees -------------------------------------------------------------------------------------------------


def _leaf(z: Any) -> ComplexTracer:
    """A complex number or array of NumPy as a node: its parts are views of it."""
    return ComplexTracer(z.real, z.imag)


def _split(z: Any) -> tuple[Any, None, tuple[str, str]]:
    return (z.re, z.im), None, ("real", "imag")


def _rejoined(_: Any, children: Any) -> Any:
    re, im = children
    grown = isinstance(re, Collection) or isinstance(im, Collection)  # it stands for an array that a loop makes longer
    if not grown and (isinstance(re, Tracer) or isinstance(im, Tracer)):
        return make(re, im)
    numbers = (np.ndarray, np.floating, float)
    if isinstance(re, numbers) and isinstance(im, numbers):
        return joined(re, im)
    return ComplexTracer(re, im)  # what stands for the leaves of a structure


register_node(ComplexTracer, _split, _rejoined)

HOOKS["complex_leaf"] = _leaf
HOOKS["complex_known"] = known
HOOKS["complex_value"] = value_of
HOOKS["complex_adopted"] = adopted
HOOKS["complex_parts"] = parts
HOOKS["complex_make"] = make
