"""What all elementwise ops share, and the ops that choose, convert or stop: where, cast, stop_gradient.

The ops themselves are in ``arithmetic``, ``transcendental``, ``logic`` and ``special``.

About ``singular``: a cotangent is zero wherever its mask is False, and must stay so. A partial that is infinite or NaN
there would make it NaN, and operands there may be infinite or NaN themselves (``where(x > 0, x * log(x), 0)``
multiplies by log(0)). So ``singular`` stays True for every op whose partial can be infinite or NaN at any operand at
all, products included; partials that are known finite constants need no select.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from jitgrad.errors import DtypeError
from jitgrad.ir.core import Value
from jitgrad.ir.types import TensorType, bool_, broadcast_shapes, check_dtype, is_float
from jitgrad.ops.op import Cotangent, Elementwise, Number, Sample, Var, apply, register, unbroadcast

Samples = Callable[[np.random.Generator], Sequence[Sample]]

#: Values that every function of floats is compared with NumPy at.
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 1e300, -1e300, 1e-300, np.inf, -np.inf, np.nan])


def select(cond: Var, x: Var | Number, y: Var | Number, like: Var | None = None) -> Var:
    """``where(cond, x, y)``; give ``like`` for the dtype where both branches are numbers."""
    if not isinstance(x, Var) and not isinstance(y, Var):
        assert like is not None
        y = Var(like.b, like.b.constant(y, like.dtype))
    return apply("where", cond, x, y)


def constant_value(value: Value, depth: int = 4) -> np.ndarray | None:
    """The elements of a value that is built from constants alone (its shape may differ), or None.

    Looks only a few ops up, through elementwise ops on single numbers and through ops that spread a constant.
    """
    op = value.op
    if op is None or depth == 0:
        return None
    if op.name == "constant":
        return op.attrs["value"]
    if op.name in ("broadcast_to", "reshape"):
        return constant_value(op.operands[0], depth - 1)
    if not isinstance(op.opdef, Elementwise):
        return None
    arrays = [constant_value(v, depth - 1) for v in op.operands]
    known = [a for a in arrays if a is not None and a.size == 1]
    if len(known) != len(arrays):
        return None
    return np.asarray(op.opdef.eval(*known, **op.attrs))


def constant_number(x: Var) -> float | None:
    """The number that fills a constant operand, or None."""
    array = constant_value(x.value)
    if array is None or array.size == 0 or not (array == array.flat[0]).all():
        return None
    return float(array.flat[0])


class Ufunc(Elementwise):
    """An elementwise op of ``jitgrad``. ``on_bool`` names the scalar function that does its work on bools."""

    on_bool: ClassVar[str | None] = None

    def _scaled(self, t: Var, partial: Var | Number, mask: Var | None) -> Var:
        if mask is not None and isinstance(partial, Var):
            known = constant_value(partial.value)
            if known is not None and np.isfinite(known).all():
                mask = None  # zero times a finite constant is zero
        return super()._scaled(t, partial, mask)

    def lower(self, b: Any, *tensors: Any) -> Any:
        if self.on_bool is not None and tensors[-1].dtype == bool_:
            return b.elementwise(self.on_bool, *tensors)
        return b.elementwise(self.scalar, *tensors)


class Selecting(Ufunc):
    """An op whose result is, element by element, one of its operands (or half of each, at a tie).

    ``routes(*xs)`` gives for each operand a pair of bool Vars, or None where it takes no derivative: where the
    derivative with respect to it is not zero, and where there it is 1/2 instead of 1 (None: nowhere). Cotangents and
    tangents are selected, not multiplied by zero, so infinite ones do no harm.
    """

    singular = False

    def routes(self, *xs: Var) -> Sequence[tuple[Var, Var | None] | None]:
        raise NotImplementedError

    @staticmethod
    def _part(t: Var, on: Var, tie: Var | None) -> Var:
        return apply("where", on, t if tie is None else apply("where", tie, t * 0.5, t), 0)

    def pullback(self, g: Cotangent, out: Var, *xs: Var, **attrs: Any) -> Sequence[Cotangent | None]:
        result: list[Cotangent | None] = []
        for x, route in zip(xs, self.routes(*xs), strict=True):
            if route is None or not is_float(x.dtype):
                result.append(None)
                continue
            mask = route[0] if g.mask is None else route[0] & g.mask
            if mask.shape != out.shape:
                mask = apply("broadcast_to", mask, shape=out.shape)
            result.append(Cotangent(unbroadcast(self._part(g.value, *route), x.shape), unbroadcast(mask, x.shape)))
        return result

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, **attrs: Any) -> Var | None:
        total: Var | None = None
        for t, route in zip(ts, self.routes(*xs), strict=True):
            if t is None or route is None:
                continue
            term = self._part(t, *route)
            total = term if total is None else total + term
        if total is not None and total.shape != out.shape:
            total = apply("broadcast_to", total, shape=out.shape)
        return total


# Samples


def off_integers(x: np.ndarray) -> np.ndarray:
    """Moves numbers away from the integers, where rounding functions jump."""
    return np.floor(x) + 0.2 + 0.6 * (x - np.floor(x))


def off_zero(x: np.ndarray) -> np.ndarray:
    """Moves numbers away from zero."""
    return x + np.copysign(0.3, x)


def _integers(kinds: str, arity: int, low: int = -7) -> list[Sample]:
    """Value checks on integers and bools, pairs with zeros and negative numbers included."""
    result = []
    names = [n for n in ("int64", "int32", "int8", "uint8", "uint64") if n[0] in kinds]
    for name in names:
        row = np.arange(max(low, 0 if name[0] == "u" else low), 8).astype(name)
        operands = (row,) if arity == 1 else (row[:, None], row[::-1].copy())
        result.append(Sample(operands, grad=False))
    if "b" in kinds:
        row = np.array([False, True])
        result.append(Sample((row,) if arity == 1 else (row[:, None], row), grad=False))
    return result


def unary(
    lo: float,
    hi: float,
    *,
    kinds: str = "f",
    special: np.ndarray = SPECIAL,
    fix: Callable[[np.ndarray], np.ndarray] = np.asarray,
    grad: bool = True,
) -> Samples:
    """Samples of an op with one operand: numbers between ``lo`` and ``hi``, and special values.

    ``fix`` moves the numbers away from kinks. ``kinds`` adds integers (i, u) and bools (b).
    """

    def samples(rng: np.random.Generator) -> list[Sample]:
        def draw(*shape: int, dtype: Any = np.float64) -> np.ndarray:
            return np.asarray(fix(rng.uniform(lo, hi, shape))).astype(dtype)

        with np.errstate(over="ignore"):
            narrow = special.astype(np.float32)
        floats = [
            Sample((draw(2, 3),), grad=grad),
            Sample((draw(4, dtype=np.float32),), grad=grad),
            Sample((draw(),), grad=grad),
            Sample((special,), grad=False),
            Sample((narrow,), grad=False),
        ]
        return (floats if "f" in kinds else []) + _integers(kinds, 1)

    return staticmethod(samples)  # pyright: ignore[reportReturnType]


def binary(
    first: tuple[float, float],
    second: tuple[float, float] | None = None,
    *,
    kinds: str = "f",
    special: np.ndarray = SPECIAL,
    fix: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] = lambda x, y: (x, y),
    grad: bool = True,
    low: int = -7,
) -> Samples:
    """Samples of an op with two operands, broadcast in several ways. ``low`` is the smallest integer; else as unary."""

    def samples(rng: np.random.Generator) -> list[Sample]:
        def draw(a: tuple[int, ...], b: tuple[int, ...], dtype: Any = np.float64) -> Sample:
            x, y = fix(rng.uniform(*first, a), rng.uniform(*(second or first), b))
            return Sample((np.asarray(x).astype(dtype), np.asarray(y).astype(dtype)), grad=grad)

        floats = [
            draw((2, 3), (2, 3)),
            draw((2, 1), (3,)),
            draw((), (2, 2)),
            draw((3,), (2, 1, 3), np.float32),
            draw((0, 3), (3,)),
            Sample((special[:, None], special), grad=False),
        ]
        return (floats if "f" in kinds else []) + _integers(kinds, 2, low)

    return staticmethod(samples)  # pyright: ignore[reportReturnType]


# Ops


@register
class Where(Selecting):
    """``where(cond, x, y)``: x where cond is True, else y. The branch not taken gets a zero cotangent, always."""

    name, numpy, arity, kinds = "where", np.where, 3, "fiub"
    wide = False

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != 3:
            raise DtypeError(f"where takes 3 operands, not {len(types)}")
        cond, x, y = types
        if cond.dtype != bool_:
            raise DtypeError(f"the condition of where is {cond.dtype}. It must be bool. Compare it with 0 first.")
        if x.dtype != y.dtype:
            raise DtypeError(
                f"where of {x.dtype} and {y.dtype}. Both branches must have one dtype in the IR. Insert a cast."
            )
        return TensorType(x.dtype, broadcast_shapes(cond.shape, x.shape, y.shape))

    def eval(self, *arrays: np.ndarray) -> Any:
        return np.where(*arrays)

    def routes(self, *xs: Var) -> Sequence[tuple[Var, Var | None] | None]:
        cond = xs[0]
        return None, (cond, None), (~cond, None)

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        flags = np.array([[True, False, True], [False, False, True]])
        x, y = rng.normal(size=(2, 3)), rng.normal(size=3)
        infinite = np.array([np.inf, np.nan, -np.inf])
        return [
            Sample((flags, x, y)),
            Sample((flags[0], x, np.array(2.0))),
            Sample((np.array(True), x.astype(np.float32), y.astype(np.float32))),
            Sample((flags, infinite, y), grad=False),
            Sample((flags, np.arange(3), np.arange(3, 6)[::-1].copy()), grad=False),
            Sample((flags, ~flags, flags[1]), grad=False),
            Sample((flags[:0], x[:0], y)),
        ]


@register
class Cast(Ufunc):
    """``cast(x){dtype}``: conversion as by ``astype``. Differentiable from float to float."""

    name, numpy, kinds = "cast", np.asarray, "fiub"
    wide = False
    singular = False

    def infer(self, *types: TensorType, dtype: np.dtype) -> TensorType:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = types
        return TensorType(check_dtype(np.dtype(dtype)), x.shape)

    def eval(self, *arrays: np.ndarray, dtype: np.dtype) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        with np.errstate(all="ignore"):
            return np.asarray(arrays[0]).astype(dtype)

    def pullback(self, g: Cotangent, out: Var, *xs: Var, **attrs: Any) -> Sequence[Cotangent | None]:
        (x,) = xs
        if not (is_float(x.dtype) and is_float(out.dtype)):
            return [None]
        return [Cotangent(apply("cast", g.value, dtype=x.dtype), g.mask)]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, **attrs: Any) -> Var | None:
        t = ts[0]
        if t is None or not is_float(out.dtype):
            return None
        return apply("cast", t, dtype=out.dtype)

    def lower(self, b: Any, *tensors: Any, dtype: np.dtype) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = tensors
        return b.pointwise(x.shape, np.dtype(dtype), lambda *index: b.cast(x[index], np.dtype(dtype)))

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        x = rng.normal(size=(2, 3)) * 10
        small = np.arange(-3, 4)
        result = [
            Sample((x,), {"dtype": np.dtype(np.float32)}),
            Sample((x.astype(np.float32),), {"dtype": np.dtype(np.float64)}),
            Sample((x,), {"dtype": np.dtype(np.float64)}),
        ]
        result += [Sample((x,), {"dtype": np.dtype(d)}, grad=False) for d in ("int64", "int32", "int8", "bool")]
        for source in ("int64", "int32", "int8", "uint8", "uint64", "bool"):
            for target in ("float64", "float32", "int64", "uint8", "bool"):
                result.append(Sample((small.astype(source),), {"dtype": np.dtype(target)}, grad=False))
        return result


@register
class StopGradient(Ufunc):
    """The identity, with derivative zero."""

    name, kinds = "stop_gradient", "fiub"
    wide = False
    numpy = staticmethod(np.copy)
    differentiable = False
    singular = False
    samples = unary(-2.0, 2.0, grad=False)

    def partials(self, *xs: Var, out: Var) -> Sequence[Var | Number | None]:
        return (None,)

    def lower(self, b: Any, *tensors: Any) -> Any:
        return tensors[0]
