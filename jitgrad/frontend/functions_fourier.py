"""``np.fft`` on traced values. What ``scipy.fft`` has beyond that is in ``functions_fourier_scipy``.

A transform of real numbers is computed as one, whatever it is called: ``fft`` of a real array is ``rfft``, and the
other half are conjugates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.errors import ArgumentError, DtypeError, ShapeError
from jitgrad.frontend.complex_calls import as_whole, special
from jitgrad.frontend.complex_pair import is_complex
from jitgrad.frontend.complex_tracer import make, parts
from jitgrad.frontend.primitives import (
    axis_index,
    cast,
    concatenate,
    emit,
    emit_all,
    floating,
    full,
    lift_one,
    static_int,
    take_slice,
)
from jitgrad.frontend.registry import call, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f32, is_short

Function = Callable[..., Any]


class Signal(NamedTuple):
    """An array to transform: its parts, real traced arrays of one float dtype; ``im`` is None for a real one."""

    re: Tracer
    im: Tracer | None = None

    def map(self, f: Callable[[Tracer], Tracer]) -> Signal:
        return Signal(f(self.re), None if self.im is None else f(self.im))

    @property
    def pair(self) -> tuple[Tracer, Tracer]:
        return self.re, full(self.re, self.re.dims, 0) if self.im is None else self.im

    def conj(self) -> Signal:
        return self if self.im is None else Signal(self.re, -self.im)

    def value(self) -> Any:
        return self.re if self.im is None else make(self.re, self.im)


def both(*functions: Any) -> Callable[[Function], Function]:
    """Decorator: the function computes these functions of NumPy or SciPy, of real and of complex arguments."""

    def decorate(function: Function) -> Function:
        implements(*functions)(function)
        special(*functions)(function)
        return function

    return decorate


def signal(x: Any) -> Signal:
    """An array-like as the parts of it."""
    x = as_whole(x)
    if not is_complex(x):
        return Signal(_transformable(lift_one(x)))
    re, im = parts(x)
    return Signal(*(_transformable(lift_one(p, re, im)) for p in (re, im)))


def _transformable(x: Tracer) -> Tracer:
    """x as float32 or float64; as in NumPy and SciPy, float16 and bfloat16 are transformed in float32."""
    return cast(x, f32) if is_short(x.dtype) else floating(x)


def real_signal(name: str, x: Any) -> Tracer:
    """A real array-like. Raises DtypeError for a complex one."""
    x = as_whole(x)
    if is_complex(x):
        raise DtypeError(
            f"{name} of a complex array. It transforms real numbers. Take x.real if the imaginary part is 0, or use "
            "the transform of complex ones.",
            user_location(),
        )
    return _transformable(lift_one(x))


def one_axis(name: str, x: Tracer, axis: Any) -> int:
    if not x.ndim:
        raise ShapeError(f"{name} of a number. It takes an array. Use np.atleast_1d.", user_location())
    return axis_index(axis, x.ndim)


def length(name: str, n: Any) -> int:
    """A length that is asked for, at least 1."""
    n = static_int(n, "n")
    if n < 1:
        raise ArgumentError(
            f"{name}: invalid number of data points ({n}) specified. A transform has at least one. Give a positive n.",
            user_location(),
        )
    return n


def fitted(x: Tracer, n: int, axis: int) -> Tracer:
    """Cut, or padded with zeros, to n elements along an axis."""
    extent = x.dims[axis]
    if n <= extent:
        return take_slice(x, axis, 0, n)
    shape = list(x.dims)
    shape[axis] = n - extent
    return concatenate([x, full(x, shape, 0)], axis)


def factor(norm: Any, n: int, inverse: bool) -> float:
    """What a transform of n elements is multiplied by. Raises ArgumentError for an unknown norm."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise ArgumentError(
            f"norm is {norm!r}. It says which transform is divided by the number of elements. Use 'backward', 'ortho' "
            "or 'forward'.",
            user_location(),
        )
    if norm == "ortho":
        return 1.0 / math.sqrt(n)
    return 1.0 / n if inverse == (norm != "forward") else 1.0


def scaled(x: Signal, by: float) -> Signal:
    return x if by == 1.0 else x.map(lambda p: p * by)


def swapped(norm: Any) -> Any:
    """The norm that gives a forward transform the factor of the inverse one."""
    return {None: "forward", "backward": "forward", "forward": "backward"}.get(norm, norm)


# -- transforms without a factor ---------------------------------------------------------------------------------------


def transformed(x: Signal, axes: Sequence[int], inverse: bool) -> Signal:
    """The complex transform along axes, the last one first."""
    if not axes:
        return Signal(*x.pair)
    if x.im is not None:
        return Signal(*emit_all("fft", x.re, x.im, axes=tuple(axes), inverse=inverse))
    *others, last = axes
    n = x.re.dims[last]
    half = Signal(*emit_all("rfft", x.re, axis=last))
    if others:
        half = Signal(*emit_all("fft", *half.pair, axes=tuple(others), inverse=False))

    def rest(p: Tracer) -> Tracer:
        """Element -k for each k that has none."""
        p = take_slice(p, last, (n + 1) // 2 - 1, 0, -1)
        for axis in others:
            p = concatenate([take_slice(p, axis, 0, 1), take_slice(p, axis, p.dims[axis] - 1, 0, -1)], axis)
        return p

    re, im = half.pair
    if n > 2:
        re, im = concatenate([re, rest(re)], last), concatenate([im, -rest(im)], last)
    return Signal(re, -im if inverse else im)


def to_real(x: Signal, n: int, axis: int) -> Tracer:
    """n real numbers from the first n // 2 + 1 elements of their transform."""
    return emit("irfft", *(fitted(p, n // 2 + 1, axis) for p in x.pair), n=n, axis=axis)


# -- along one axis ----------------------------------------------------------------------------------------------------


def _along(name: str, inverse: bool) -> Function:
    def transform(a: Any, n: Any = None, axis: Any = -1, norm: Any = None) -> Any:
        x = signal(a)
        axis = one_axis(name, x.re, axis)
        n = x.re.dims[axis] if n is None else length(name, n)
        x = x.map(lambda p: fitted(p, n, axis))
        by = factor(norm, n, inverse)
        return scaled(transformed(x, (axis,), inverse), by).value()

    return transform


def rfft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None, name: str = "rfft") -> Any:
    x = real_signal(name, a)
    axis = one_axis(name, x, axis)
    n = x.dims[axis] if n is None else length(name, n)
    by = factor(norm, n, inverse=False)
    return scaled(Signal(*emit_all("rfft", fitted(x, n, axis), axis=axis)), by).value()


def irfft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None, name: str = "irfft") -> Any:
    x = signal(a)
    axis = one_axis(name, x.re, axis)
    n = length(name, 2 * (x.re.dims[axis] - 1) if n is None else n)
    by = factor(norm, n, inverse=True)
    return scaled(Signal(to_real(x, n, axis)), by).value()


def hfft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None) -> Any:
    return irfft(signal(a).conj().value(), n, axis, swapped(norm), "hfft")


def ihfft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None) -> Any:
    return signal(rfft(a, n, axis, swapped(norm), "ihfft")).conj().value()


# -- along several axes ------------------------------------------------------------------------------------------------


def extents(x: Tracer, s: Any, axes: Any, name: str, *, once: bool) -> tuple[list[int | None], list[int]]:
    """The lengths that are asked for (None for all: as they are) and the axes, as many of each. Raises ShapeError where
    they do not fit, and with ``once`` where an axis is named twice."""
    if s is not None:
        s = [static_int(n, "s") for n in (s if isinstance(s, (list, tuple, np.ndarray)) else (s,))]
    if axes is None:
        found = list(range(x.ndim) if s is None else range(-len(s), 0))
    else:
        found = list(axes) if isinstance(axes, (list, tuple, np.ndarray)) else [axes]
    found = [axis_index(k, x.ndim, "axes") for k in found]
    if s is not None and len(s) != len(found):
        raise ShapeError(
            f"{name} of {len(s)} lengths along {len(found)} axes. There is one length for each axis. Check s= and "
            "axes=.",
            user_location(),
        )
    if once and _repeats(found):
        raise ShapeError(f"{name} along axes {found}. Each axis is named once. Check axes=.", user_location())
    if s is None:
        return [None] * len(found), found
    return [x.dims[k] if n == -1 else length(name, n) for n, k in zip(s, found, strict=True)], found


def _repeats(axes: Sequence[int]) -> bool:
    return len(set(axes)) < len(axes)


def _in_turn(a: Any, steps: Sequence[tuple[str, int | None, int]], norm: Any) -> Any:
    """Transforms one after the other, by name, length and axis: what NumPy does where an axis is named twice."""
    for name, n, axis in steps:
        a = TRANSFORMS[name](a, n, axis, norm)
    return a


def _resized(x: Tracer, sizes: Sequence[int | None], axes: Sequence[int]) -> Tracer:
    for n, axis in zip(sizes, axes, strict=True):
        x = x if n is None else fitted(x, n, axis)
    return x


def _count(x: Tracer, axes: Sequence[int]) -> int:
    return math.prod(x.dims[k] for k in axes)


def _over(name: str, inverse: bool, default: Any, once: bool) -> Function:
    def transform(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        x = signal(a)
        sizes, axes = extents(x.re, s, axes, name, once=once)
        if not axes:
            return x.value()
        if _repeats(axes):
            sizes = [x.re.dims[k] if n is None else n for n, k in zip(sizes, axes, strict=True)]
            steps = [("ifft" if inverse else "fft", n, k) for n, k in zip(sizes, axes, strict=True)]
            return _in_turn(x.value(), steps[::-1], norm)
        x = x.map(lambda p: _resized(p, sizes, axes))
        by = factor(norm, _count(x.re, axes), inverse)
        return scaled(transformed(x, axes, inverse), by).value()

    return transform


def _real_over(name: str, default: Any, once: bool) -> Function:
    def transform(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        x = real_signal(name, a)
        sizes, axes = extents(x, s, axes, name, once=once)
        if not axes:
            raise ShapeError(f"{name} along no axis. It transforms one at least. Check axes=.", user_location())
        if _repeats(axes):
            sizes = [x.dims[k] if n is None else n for n, k in zip(sizes, axes, strict=True)]
            kinds = ["fft"] * (len(axes) - 1) + ["rfft"]
            return _in_turn(x, list(zip(kinds, sizes, axes, strict=True))[::-1], norm)
        x = _resized(x, sizes, axes)
        by = factor(norm, _count(x, axes), inverse=False)
        half = Signal(*emit_all("rfft", x, axis=axes[-1]))
        return scaled(transformed(half, axes[:-1], inverse=False), by).value()

    return transform


def _to_real_over(name: str, default: Any, once: bool) -> Function:
    def transform(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        x = signal(a)
        sizes, axes = extents(x.re, s, axes, name, once=once)
        if not axes:
            raise ShapeError(f"{name} along no axis. It transforms one at least. Check axes=.", user_location())
        if _repeats(axes):
            kinds = ["ifft"] * (len(axes) - 1) + ["irfft"]
            return _in_turn(x.value(), list(zip(kinds, sizes, axes, strict=True)), norm)
        last = sizes[-1]
        n = length(name, 2 * (x.re.dims[axes[-1]] - 1) if last is None else last)
        x = x.map(lambda p: fitted(_resized(p, sizes[:-1], axes[:-1]), n // 2 + 1, axes[-1]))
        by = factor(norm, n * _count(x.re, axes[:-1]), inverse=True)
        return scaled(Signal(to_real(transformed(x, axes[:-1], inverse=True), n, axes[-1])), by).value()

    return transform


def several_axes(once: bool) -> dict[str, Function]:
    """The transforms along several axes; SciPy wants each to be named ``once``, NumPy transforms along one again."""
    return {
        "fft2": _over("fft2", False, (-2, -1), once),
        "ifft2": _over("ifft2", True, (-2, -1), once),
        "fftn": _over("fftn", False, None, once),
        "ifftn": _over("ifftn", True, None, once),
        "rfft2": _real_over("rfft2", (-2, -1), once),
        "rfftn": _real_over("rfftn", None, once),
        "irfft2": _to_real_over("irfft2", (-2, -1), once),
        "irfftn": _to_real_over("irfftn", None, once),
    }


#: The transforms by their names. Those of NumPy and of SciPy have the same first parameters.
TRANSFORMS: dict[str, Function] = {
    "fft": _along("fft", inverse=False),
    "ifft": _along("ifft", inverse=True),
    "rfft": rfft,
    "irfft": irfft,
    "hfft": hfft,
    "ihfft": ihfft,
    **several_axes(once=False),
}

for _name, _function in TRANSFORMS.items():
    both(getattr(np.fft, _name))(_function)


# -- frequencies and shifts --------------------------------------------------------------------------------------------


@implements(np.fft.fftfreq)
def fftfreq(n: Any, d: Any = 1.0) -> Any:
    return np.fft.fftfreq(length("fftfreq", n)) / d


@implements(np.fft.rfftfreq)
def rfftfreq(n: Any, d: Any = 1.0) -> Any:
    return np.fft.rfftfreq(length("rfftfreq", n)) / d


def _shift(back: bool) -> Function:
    def shift(x: Any, axes: Any = None) -> Any:
        x = as_whole(x)
        axes = tuple(range(x.ndim)) if axes is None else axes
        axes = [axis_index(k, x.ndim, "axes") for k in (axes if isinstance(axes, (list, tuple)) else (axes,))]
        by = [x.shape[k] // 2 for k in axes]
        return call(np.roll, (x, [-k for k in by] if back else by, axes), {})

    return shift


fftshift, ifftshift = both(np.fft.fftshift)(_shift(back=False)), both(np.fft.ifftshift)(_shift(back=True))
