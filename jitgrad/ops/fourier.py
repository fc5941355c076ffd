"""Discrete Fourier, cosine and sine transforms. The IR has real arrays only: a complex array is a pair of them.

None of the transforms is scaled: ``ifft`` of NumPy is ``fft{inverse}`` divided by the length. All are linear, so the
derivative of each is a transform too. As maps of pairs of real arrays, the transpose of ``fft`` is ``fft`` with the
other sign, and those of the others differ from a transform by factors for the first and the last elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType
from jitgrad.ops.checks import check_float, check_static
from jitgrad.ops.op import OpRule, Sample, Var, apply, apply_all, register, zeros


def check_transform(name: str, axes: Sequence[int], *types: TensorType) -> None:
    """Raise a DtypeError, ShapeError or UnsupportedError unless the arrays are float ones, of one type, with elements
    along ``axes`` to transform."""
    x = types[0]
    if any(t != x for t in types):
        raise DtypeError(
            f"{name} of {' and '.join(map(str, types))}. The real and the imaginary parts have one dtype and shape. "
            "Cast or broadcast one of them.",
            user_location(),
        )
    check_float(name, x)
    check_static(name, x.shape, "Fourier transforms")
    if not axes or len(set(axes)) != len(axes) or not all(0 <= k < x.ndim for k in axes):
        raise ShapeError(
            f"{name} along axes {tuple(axes)} of an array of shape {tuple(x.shape)}. Each axis is named once, and is "
            "one of the array's. Check axis= or axes=.",
            user_location(),
        )
    if any(x.shape[k] == 0 for k in axes):
        raise ShapeError(
            f"{name} of 0 elements, of an array of shape {tuple(x.shape)}. There is nothing to transform. Give n=, or "
            "an array that is not empty.",
            user_location(),
        )


def _pair(z: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    return np.real(z).astype(dtype), np.imag(z).astype(dtype)


def _complex(re: np.ndarray, im: np.ndarray) -> np.ndarray:
    """In the precision of the parts: ``re + 1j * im`` would make NaN of an infinite part."""
    z = np.empty(np.shape(re), np.result_type(re, np.complex64))
    z.real, z.imag = re, im
    return z


def _scaled(x: Var, axis: int, inner: float, ends: dict[int, float]) -> Var:
    """``x`` with its elements along an axis multiplied: those at the places in ``ends`` by the factors there, all
    others by ``inner``."""
    n = x.shape[axis]
    assert isinstance(n, int)
    factors = np.full(n, inner, x.dtype)
    for place, factor in ends.items():
        factors[place] = factor
    shape = [1] * x.ndim
    shape[axis] = n
    return x * Var(x.b, x.b.constant(factors.reshape(shape)))


#: Bytes that a transform along an axis that is not the last one works on at a time.
_BLOCK = 1 << 18


def radices(n: int) -> tuple[int, ...]:
    """The passes of a transform of n elements: 4 and one 8 or 2, then 3 and 5. Empty where n has other factors."""
    found: list[int] = []
    twos = (n & -n).bit_length() - 1
    rest = n >> twos
    if twos % 2:
        found, twos = ([8], twos - 3) if twos > 1 else ([2], 0)
    found = [4] * (twos // 2) + found
    for r in (3, 5):
        while rest % r == 0:
            found.append(r)
            rest //= r
    return tuple(found) if rest == 1 else ()


def _lower_call(
    b: Any, kind: str, ins: Sequence[Any], shapes: Sequence[Sequence[int]], axes: tuple[int, ...], inverse: bool
) -> list[Any]:
    """Compiled for one axis and a length with small prime factors, else a call of SciPy."""
    shape, dtype = tuple(ins[0].shape), ins[0].dtype
    outs = [b.empty(tuple(s), dtype) for s in shapes]
    static: dict[str, Any] = {"kind": kind, "shape": shape, "axes": axes, "inverse": inverse}
    if not math.prod(shape):
        return outs
    axis, *others = axes
    n = max(shape[axis], shapes[0][axis])
    passes: tuple[int, ...] = ()
    if kind == "fft" and not others:
        passes = radices(n)
    elif kind in ("rfft", "irfft") and n % 2 == 0:  # half as many pairs of numbers
        passes = radices(n // 2)
    if not passes:
        b.libcall("fourier", outs, ins, **static)
        return outs
    length, inner = math.prod(passes), math.prod(shape[axis + 1 :])
    # Two arrays of pairs are workspace.
    columns = min(inner, max(8, _BLOCK // (4 * length * dtype.itemsize) & -8))
    work = b.empty((4 * length * columns,), dtype)
    b.libcall("fourier", [*outs, work], ins, **static, passes=passes, columns=columns)
    return outs


def _random(rng: np.random.Generator, *shape: int, dtype: Any = np.float64) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


@register
class Fft(OpRule):
    """``fft(re, im){axes, inverse} -> (re, im)``: the complex transform along each of ``axes``,

        out[k] = sum over j of x[j] exp(-2 pi i j k / n)

    with the other sign in the exponent for ``inverse``, and no factor in either case.
    """

    name = "fft"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        cases = [((n,), (0,), False) for n in (1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 30)]
        cases += [((8,), (0,), True), ((2, 6), (1,), False), ((6, 2), (0,), True), ((2, 3, 4), (1,), False)]
        cases += [((4, 3), (0, 1), False), ((2, 3, 4), (2, 0), True)]
        result = [
            Sample((_random(rng, *shape), _random(rng, *shape)), {"axes": axes, "inverse": inverse})
            for shape, axes, inverse in cases
        ]
        one = {"axes": (1,), "inverse": False}
        single = Sample((_random(rng, 2, 4, dtype=np.float32), _random(rng, 2, 4, dtype=np.float32)), one)
        return [*result, single, Sample((np.ones((0, 3)), np.ones((0, 3))), one, grad=False)]

    def infer(self, re: TensorType, im: TensorType, *, axes: tuple[int, ...], inverse: bool) -> Any:
        check_transform(self.name, axes, re, im)
        return re, re

    def eval(self, re: np.ndarray, im: np.ndarray, *, axes: tuple[int, ...], inverse: bool) -> Any:
        z = _complex(re, im)
        found = np.fft.ifftn(z, axes=axes, norm="forward") if inverse else np.fft.fftn(z, axes=axes)
        return _pair(found, re.dtype)

    def vjp(self, g: Any, out: Any, re: Var, im: Var, *, axes: tuple[int, ...], inverse: bool) -> Sequence[Var]:
        return apply_all("fft", *g, axes=axes, inverse=not inverse)

    def jvp(self, ts: Sequence[Var | None], out: Any, re: Var, im: Var, **attrs: Any) -> Any:
        if ts[0] is None and ts[1] is None:
            return None, None
        return apply_all("fft", *(zeros(re.b, re.type) if t is None else t for t in ts), **attrs)

    def lower(self, b: Any, re: Any, im: Any, *, axes: tuple[int, ...], inverse: bool) -> Any:
        # One axis after the other, the last one first; SciPy gets all that are left for it at once.
        own = [k for k in axes if radices(re.shape[k])]
        pair = [re, im]
        for steps in (*((k,) for k in reversed(own)), tuple(k for k in axes if k not in own)):
            if steps:
                pair = _lower_call(b, "fft", pair, [re.shape] * 2, steps, inverse)
        return tuple(pair)


@register
class Rfft(OpRule):
    """``rfft(x){axis} -> (re, im)``: elements 0 to n // 2 of the transform of n real numbers along an axis. The others
    are the conjugates of these. The imaginary parts of element 0, and of element n / 2, are exactly 0."""

    name = "rfft"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        cases = [((n,), 0) for n in (1, 2, 3, 4, 5, 6, 8, 9, 14, 16)] + [((2, 6), 1), ((5, 2), 0), ((2, 4, 3), 1)]
        result = [Sample((_random(rng, *shape),), {"axis": axis}) for shape, axis in cases]
        single = Sample((_random(rng, 2, 6, dtype=np.float32),), {"axis": 1})
        return [*result, single, Sample((np.ones((0, 3)),), {"axis": 1}, grad=False)]

    def infer(self, x: TensorType, *, axis: int) -> tuple[TensorType, TensorType]:
        check_transform(self.name, (axis,), x)
        n = x.shape[axis]
        assert isinstance(n, int)
        t = TensorType(x.dtype, (*x.shape[:axis], n // 2 + 1, *x.shape[axis + 1 :]))
        return t, t

    def eval(self, x: np.ndarray, *, axis: int) -> tuple[np.ndarray, np.ndarray]:
        return _pair(np.fft.rfft(x, axis=axis), x.dtype)

    def vjp(self, g: Any, out: Any, x: Var, *, axis: int) -> Sequence[Var]:
        # irfft counts what has a conjugate twice.
        n = x.shape[axis]
        assert isinstance(n, int)
        halves = [_scaled(part, axis, 0.5, {-1: 0.5 if n % 2 else 1.0, 0: 1.0}) for part in g]
        return (apply("irfft", *halves, n=n, axis=axis),)

    def jvp(self, ts: Sequence[Var | None], out: Any, x: Var, *, axis: int) -> Any:
        return (None, None) if ts[0] is None else apply_all("rfft", ts[0], axis=axis)

    def lower(self, b: Any, x: Any, *, axis: int) -> Any:
        shape = (*x.shape[:axis], x.shape[axis] // 2 + 1, *x.shape[axis + 1 :])
        return tuple(_lower_call(b, "rfft", [x], [shape] * 2, axes=(axis,), inverse=False))


@register
class Irfft(OpRule):
    """``irfft(re, im){n, axis}``: n real numbers whose transform has the elements 0 to n // 2 given, times n. The
    imaginary parts of element 0, and of element n / 2, count as 0."""

    name = "irfft"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        cases = [((n // 2 + 1,), n, 0) for n in (1, 2, 3, 4, 5, 6, 8, 9, 14, 16)]
        cases += [((2, 4), 6, 1), ((3, 2), 5, 0), ((2, 3, 3), 4, 1)]
        result = [
            Sample((_random(rng, *shape), _random(rng, *shape)), {"n": n, "axis": axis}) for shape, n, axis in cases
        ]
        attrs = {"n": 6, "axis": 1}
        single = Sample((_random(rng, 2, 4, dtype=np.float32), _random(rng, 2, 4, dtype=np.float32)), attrs)
        return [*result, single, Sample((np.ones((0, 4)), np.ones((0, 4))), attrs, grad=False)]

    def infer(self, re: TensorType, im: TensorType, *, n: int, axis: int) -> TensorType:
        check_transform(self.name, (axis,), re, im)
        if n < 1 or re.shape[axis] != n // 2 + 1:
            raise ShapeError(
                f"irfft to {n} elements of an array of shape {tuple(re.shape)} along axis {axis}. That takes n // 2 + "
                "1 elements, and n of at least 1. Cut the array, or pad it with zeros.",
                user_location(),
            )
        return TensorType(re.dtype, (*re.shape[:axis], n, *re.shape[axis + 1 :]))

    def eval(self, re: np.ndarray, im: np.ndarray, *, n: int, axis: int) -> np.ndarray:
        return np.fft.irfft(_complex(re, im), n, axis=axis, norm="forward").astype(re.dtype)

    def vjp(self, g: Var, out: Var, re: Var, im: Var, *, n: int, axis: int) -> Sequence[Var]:
        found = apply_all("rfft", g, axis=axis)
        return [_scaled(part, axis, 2.0, {-1: 2.0 if n % 2 else 1.0, 0: 1.0}) for part in found]

    def jvp(self, ts: Sequence[Var | None], out: Var, re: Var, im: Var, *, n: int, axis: int) -> Any:
        if ts[0] is None and ts[1] is None:
            return None
        return apply("irfft", *(zeros(re.b, re.type) if t is None else t for t in ts), n=n, axis=axis)

    def lower(self, b: Any, re: Any, im: Any, *, n: int, axis: int) -> Any:
        shape = (*re.shape[:axis], n, *re.shape[axis + 1 :])
        return _lower_call(b, "irfft", [re, im], [shape], axes=(axis,), inverse=True)[0]


class _Trigonometric(OpRule):
    """What the cosine and the sine transforms have in common. A subclass says, as :func:`_scaled` takes them, what
    factors the elements of the cotangent have before the transform of type ``transposed[type]``, and after it."""

    transposed: ClassVar[dict[int, int]] = {1: 1, 2: 3, 3: 2, 4: 4}
    before: ClassVar[dict[int, tuple[float, dict[int, float]]]]
    after: ClassVar[dict[int, tuple[float, dict[int, float]]]]

    @classmethod
    def samples(cls, rng: np.random.Generator) -> list[Sample]:  # pyright: ignore[reportIncompatibleVariableOverride]
        cases = [((n,), 0, t) for n in (2, 3, 5, 8) for t in (1, 2, 3, 4)]
        cases += [((1,), 0, t) for t in (2, 3, 4)] + [((2, 5), 1, 2), ((4, 2), 0, 3), ((2, 3, 2), 1, 1)]
        result = [Sample((_random(rng, *shape),), {"type": t, "axis": axis}) for shape, axis, t in cases]
        single = Sample((_random(rng, 2, 6, dtype=np.float32),), {"type": 2, "axis": 1})
        return [*result, single, Sample((np.ones((0, 3)),), {"type": 2, "axis": 1}, grad=False)]

    def infer(self, x: TensorType, *, type: int, axis: int) -> TensorType:
        check_transform(self.name, (axis,), x)
        return x

    def eval(self, x: np.ndarray, *, type: int, axis: int) -> np.ndarray:
        import scipy.fft

        return getattr(scipy.fft, self.name)(x, type, axis=axis)

    def vjp(self, g: Var, out: Var, x: Var, *, type: int, axis: int) -> Sequence[Var]:
        if type in self.before:
            g = _scaled(g, axis, *self.before[type])
        found = apply(self.name, g, type=self.transposed[type], axis=axis)
        return (_scaled(found, axis, *self.after[type]) if type in self.after else found,)

    def jvp(self, ts: Sequence[Var | None], out: Var, x: Var, *, type: int, axis: int) -> Var | None:
        return None if ts[0] is None else apply(self.name, ts[0], type=type, axis=axis)

    def lower(self, b: Any, x: Any, *, type: int, axis: int) -> Any:
        return _lower_call(b, f"{self.name}{type}", [x], [x.shape], axes=(axis,), inverse=False)[0]


@register
class Dct(_Trigonometric):
    """``dct(x){type, axis}``: the cosine transform of type 1 to 4 of ``scipy.fft.dct``, without a factor. Type 1 takes
    two elements at least."""

    name = "dct"
    # Type 1 is C W with a symmetric C, and weights W of 1 at both ends and 2 between: its transpose is W C. Types 2 and
    # 3 are each other's transpose but for element 0, which type 2 counts twice as type 3 would have it.
    before = {1: (0.5, {0: 1.0, -1: 1.0}), 2: (1.0, {0: 2.0})}
    after = {1: (2.0, {0: 1.0, -1: 1.0}), 3: (1.0, {0: 0.5})}

    def infer(self, x: TensorType, *, type: int, axis: int) -> TensorType:
        super().infer(x, type=type, axis=axis)
        if type == 1 and x.shape[axis] == 1:
            raise ShapeError(
                f"dct of type 1 of an array of shape {tuple(x.shape)} along axis {axis}. It takes at least 2 elements. "
                "Use type 2.",
                user_location(),
            )
        return x


@register
class Dst(_Trigonometric):
    """``dst(x){type, axis}``: the sine transform of type 1 to 4 of ``scipy.fft.dst``, without a factor."""

    name = "dst"
    # As for the cosine transform, but it is the last element.
    before = {2: (1.0, {-1: 2.0})}
    after = {3: (1.0, {-1: 0.5})}
