"""The op base classes, and :class:`Var`, the handle that derivative rules compute with.

One class holds all that is known of an op. What an op must have:

* ``infer(*types, **attrs)``: result types (errors meant for users);
* ``eval(*arrays, **attrs)``: the value, by NumPy (the oracle for everything below);
* ``pullback`` (reverse mode) and ``jvp`` (forward mode), unless ``differentiable`` is False. Elementwise ops give
  ``partials`` and linear ops give ``transpose``, and get both from it;
* ``lower(b, *tensors, **attrs)``: Loop IR, through the builder of ``jitgrad.loopir.build`` that it is handed;
* ``samples``: arguments to test it with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from jitgrad.errors import DtypeError
from jitgrad.ir.core import OPS, Builder, OpDef, Value
from jitgrad.ir.index import Dim
from jitgrad.ir.types import SHORT_NAMES, TensorType, bool_, broadcast_shapes, is_float, kind_letter

Number = int | float | bool | np.generic


class Var:
    """A graph value with operators, for use inside derivative and rewrite rules.

    The rules of arithmetic are the IR's, not NumPy's: both operands have one dtype, a Python number takes the dtype
    of the other operand, and shapes broadcast.
    """

    __slots__ = ("b", "value")

    def __init__(self, b: Builder, value: Value) -> None:
        self.b, self.value = b, value

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def dtype(self) -> np.dtype:
        return self.value.type.dtype

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.value.type.shape

    @property
    def ndim(self) -> int:
        return len(self.value.type.shape)

    def __add__(self, other: Var | Number) -> Var:
        return apply("add", self, other)

    def __radd__(self, other: Number) -> Var:
        return apply("add", other, self)

    def __sub__(self, other: Var | Number) -> Var:
        return apply("subtract", self, other)

    def __rsub__(self, other: Number) -> Var:
        return apply("subtract", other, self)

    def __mul__(self, other: Var | Number) -> Var:
        return apply("multiply", self, other)

    def __rmul__(self, other: Number) -> Var:
        return apply("multiply", other, self)

    def __truediv__(self, other: Var | Number) -> Var:
        return apply("divide", self, other)

    def __rtruediv__(self, other: Number) -> Var:
        return apply("divide", other, self)

    def __neg__(self) -> Var:
        return apply("negative", self)

    def __lt__(self, other: Var | Number) -> Var:
        return apply("less", self, other)

    def __le__(self, other: Var | Number) -> Var:
        return apply("less_equal", self, other)

    def __gt__(self, other: Var | Number) -> Var:
        return apply("greater", self, other)

    def __ge__(self, other: Var | Number) -> Var:
        return apply("greater_equal", self, other)

    def eq(self, other: Var | Number) -> Var:
        return apply("equal", self, other)

    def ne(self, other: Var | Number) -> Var:
        return apply("not_equal", self, other)

    def __and__(self, other: Var) -> Var:
        return apply("logical_and", self, other)

    def __or__(self, other: Var) -> Var:
        return apply("logical_or", self, other)

    def __invert__(self) -> Var:
        return apply("logical_not", self)


def apply_all(name: str, *args: Var | Number, **attrs: Any) -> tuple[Var, ...]:
    """Emit an op into the builder of its first Var argument; Python numbers become constants of its peers' dtype."""
    first = next(a for a in args if isinstance(a, Var))
    b = first.b
    # `where(cond, x, 0.0)`: the number must match x, not the bool condition; so the last Var gives the dtype.
    dtype = next(a for a in reversed(args) if isinstance(a, Var)).dtype
    values = [a.value if isinstance(a, Var) else b.constant(a, dtype) for a in args]
    return tuple(Var(b, r) for r in b.emit_op(name, values, attrs).results)


def apply(name: str, *args: Var | Number, **attrs: Any) -> Var:
    """:func:`apply_all` for an op with one result."""
    (result,) = apply_all(name, *args, **attrs)
    return result


def full_like(x: Var, fill: Number) -> Var:
    """An array of x's shape and dtype."""
    c = Var(x.b, x.b.constant(fill, x.dtype))
    return apply("broadcast_to", c, shape=x.shape) if x.shape else c


def zeros(b: Builder, t: TensorType) -> Var:
    """An array of zeros (of False, for bool)."""
    c = Var(b, b.constant(0, t.dtype))
    return apply("broadcast_to", c, shape=t.shape) if t.shape else c


class Cotangent(NamedTuple):
    """The cotangent of a value, and where it may be nonzero.

    ``mask`` is a bool Var of the same shape, or None (anywhere). Where it is False the value is zero because a
    select upstream took another branch; there the partial derivative must not be multiplied in, because it may be
    infinite and 0 * inf is NaN.
    """

    value: Var
    mask: Var | None = None


class OpRule(OpDef):
    """Base of all ops. See the module's docstring for what a subclass gives."""

    #: False for ops whose results never carry a derivative (comparisons, argmax, ...).
    differentiable: ClassVar[bool] = True
    #: True for ops that no samples can be given for: those with regions, and ``empty``.
    structural: ClassVar[bool] = False
    #: Arguments to test the op with: a callable ``samples(rng) -> iterable of Sample``.
    samples: ClassVar[Callable[[np.random.Generator], Sequence[Sample]] | None] = None

    def eval(self, *arrays: np.ndarray, **attrs: Any) -> Any:
        raise NotImplementedError

    def vjp(self, g: Var, out: Var, *xs: Var, **attrs: Any) -> Sequence[Var | None]:
        """Cotangents of the operands from that of the result (None: zero).

        For an op with several results, ``g`` is a tuple of Var (zeros filled in) and ``out`` a tuple.
        """
        raise NotImplementedError

    def pullback(self, g: Cotangent, out: Var, *xs: Var, **attrs: Any) -> Sequence[Cotangent | None]:
        """As :meth:`vjp`, with masks. By default masks end here: ``vjp`` is applied to the plain cotangent."""
        return [None if x is None else Cotangent(x) for x in self.vjp(g.value, out, *xs, **attrs)]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, **attrs: Any) -> Var | None:
        """Tangent of the result from those of the operands (None: zero). With several results, a tuple of them."""
        raise NotImplementedError

    def lower(self, b: Any, *tensors: Any, **attrs: Any) -> Any:
        raise NotImplementedError


class Sample(NamedTuple):
    """Arguments to test an op with. ``grad`` False: check the value only (a kink, an infinity, integer dtypes)."""

    args: tuple[np.ndarray, ...]
    attrs: dict[str, Any] = {}
    grad: bool = True


def register(cls: type[OpRule]) -> type[OpRule]:
    """Class decorator: make an instance of the op and enter it into the table."""
    if cls.name in OPS:
        raise ValueError(f"two ops are named {cls.name}")
    OPS[cls.name] = cls()
    return cls


def unbroadcast(g: Var, shape: tuple[Dim, ...]) -> Var:
    """The transpose of broadcasting to g's shape: sum over the axes that were added or stretched.

    A bool Var (a mask) is combined by ``any`` instead.
    """
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(k for k in range(g.ndim) if k < extra or (shape[k - extra] == 1 and g.shape[k] != 1))
    if axes:
        g = apply("reduce_any" if g.dtype == bool_ else "reduce_sum", g, axes=axes)
    return g if g.shape == shape else apply("reshape", g, shape=shape)


class Elementwise(OpRule):
    """An op that acts element by element on broadcast operands of one dtype.

    A subclass gives ``numpy`` (the ufunc), ``scalar`` (the name of the scalar function in Loop IR, by default the
    op's name) and ``partials(*xs, out) -> tuple`` with one entry an operand: a Var, a number, or None where the
    operand takes no derivative. ``active(*xs, out)`` may name, for each operand, a bool Var that is False where the
    partial is zero by selection (``where``, ``maximum``); None means everywhere.
    """

    numpy: ClassVar[Any]
    scalar: ClassVar[str]
    arity: ClassVar[int] = 1
    #: What dtypes it takes, as NumPy kind letters.
    kinds: ClassVar[str] = "f"
    #: True where a partial can be infinite or NaN at finite operands; then masks are applied after the product.
    singular: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__ and "scalar" not in cls.__dict__:
            cls.scalar = cls.name

    def result_dtype(self, *dtypes: np.dtype) -> np.dtype:
        return dtypes[-1]

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != self.arity:
            raise DtypeError(f"{self.name} takes {self.arity} operands, not {len(types)}")
        first = types[0].dtype
        for t in types:
            if t.dtype != first:
                raise DtypeError(
                    f"{self.name} of {first} and {t.dtype}. The IR's elementwise ops take one dtype. Insert a cast."
                )
        if kind_letter(first) not in self.kinds:
            raise DtypeError(f"{self.name} does not take {SHORT_NAMES[first]}. Convert the operand with astype().")
        return TensorType(self.result_dtype(*(t.dtype for t in types)), broadcast_shapes(*(t.shape for t in types)))

    def eval(self, *arrays: np.ndarray) -> Any:
        dtype = self.result_dtype(*(np.asarray(a).dtype for a in arrays))
        with np.errstate(all="ignore"):
            return np.asarray(self.numpy(*arrays)).astype(dtype, copy=False)

    def partials(self, *xs: Var, out: Var) -> Sequence[Var | Number | None]:
        raise NotImplementedError

    def active(self, *xs: Var, out: Var) -> Sequence[Var | None]:
        return (None,) * len(xs)

    def _scaled(self, t: Var, partial: Var | Number, mask: Var | None) -> Var:
        """``t * partial``, and zero where the mask is False."""
        if isinstance(partial, (int, float)) and partial == 1:
            product = t
        elif isinstance(partial, (int, float)) and partial == -1:
            product = -t
        else:
            product = t * partial
        if mask is None or not (self.singular and isinstance(partial, Var)):
            return product
        return apply("where", mask, product, 0)

    def pullback(self, g: Cotangent, out: Var, *xs: Var, **attrs: Any) -> Sequence[Cotangent | None]:
        result: list[Cotangent | None] = []
        for x, p, active in zip(xs, self.partials(*xs, out=out), self.active(*xs, out=out), strict=True):
            if p is None or not is_float(x.dtype) or (isinstance(p, (int, float)) and p == 0):
                result.append(None)
                continue
            value = unbroadcast(self._scaled(g.value, p, g.mask), x.shape)
            mask = g.mask if active is None else active if g.mask is None else active & g.mask
            if mask is not None:
                if mask.shape != out.shape:
                    mask = apply("broadcast_to", mask, shape=out.shape)
                mask = unbroadcast(mask, x.shape)
            result.append(Cotangent(value, mask))
        return result

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, **attrs: Any) -> Var | None:
        total: Var | None = None
        partials = self.partials(*xs, out=out)
        for t, p, active in zip(ts, partials, self.active(*xs, out=out), strict=True):
            if t is None or p is None or (isinstance(p, (int, float)) and p == 0):
                continue
            term = self._scaled(t, p, None)
            if active is not None:
                # A tangent that the select turned off may be infinite: select, do not multiply by zero.
                term = apply("where", active, term, 0)
            total = term if total is None else total + term
        if total is not None and total.shape != out.shape:
            total = apply("broadcast_to", total, shape=out.shape)
        return total

    def lower(self, b: Any, *tensors: Any) -> Any:
        return b.elementwise(self.scalar, *tensors)


class Linear(OpRule):
    """An op that is linear in its first operand; the others (indices) take no derivative.

    A subclass gives ``transpose(g, *xs, **attrs)``, the cotangent of the first operand. ``moves`` is True where the op
    only moves elements, so that masks can be moved along by the same transpose.
    """

    moves: ClassVar[bool] = False

    def transpose(self, g: Var, *xs: Var, **attrs: Any) -> Var:
        raise NotImplementedError

    def pullback(self, g: Cotangent, out: Var, *xs: Var, **attrs: Any) -> Sequence[Cotangent | None]:
        value = self.transpose(g.value, *xs, **attrs)
        mask = self.transpose(g.mask, *xs, **attrs) if g.mask is not None and self.moves else None
        return [Cotangent(value, mask), *([None] * (len(xs) - 1))]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, **attrs: Any) -> Var | None:
        t = ts[0]
        return None if t is None else apply(self.name, t, *xs[1:], **attrs)
