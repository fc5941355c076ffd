"""``scipy.fftpack`` on traced values, by ``scipy.fft``. Loaded when a program uses it.

Its inverse cosine and sine transforms are not divided by the length, unless they are orthonormal: an inverse is the
transform of the other type. ``rfft`` and ``irfft``, which pack the parts into one real array, are not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import scipy.fft
import scipy.fftpack

from jitgrad.frontend import functions_fourier as ff
from jitgrad.frontend import functions_fourier_scipy as later
from jitgrad.frontend.registry import call

#: The type of the transform that is the inverse of one of a type.
_INVERSE = {2: 3, 3: 2}


def _along(transform: Any) -> Callable[..., Any]:
    def function(x: Any, n: Any = None, axis: Any = -1, overwrite_x: bool = False) -> Any:
        return call(transform, (x, n, axis), {})

    return function


def _over(transform: Any, default: Any) -> Callable[..., Any]:
    def function(x: Any, shape: Any = None, axes: Any = default, overwrite_x: bool = False) -> Any:
        return call(transform, (x, shape, axes), {})

    return function


def _trigonometric(transform: Any, inverse: bool) -> Callable[..., Any]:
    def function(
        x: Any, type: Any = 2, n: Any = None, axis: Any = -1, norm: Any = None, overwrite_x: bool = False
    ) -> Any:
        return call(transform, (x, _INVERSE.get(type, type) if inverse else type, n, axis, norm), {})

    return function


def _trigonometric_over(transform: Any, inverse: bool) -> Callable[..., Any]:
    def function(
        x: Any, type: Any = 2, shape: Any = None, axes: Any = None, norm: Any = None, overwrite_x: bool = False
    ) -> Any:
        return call(transform, (x, _INVERSE.get(type, type) if inverse else type, shape, axes, norm), {})

    return function


for _name in ("fft", "ifft"):
    _transforms = (getattr(scipy.fft, _name + end) for end in ("", "2", "n"))
    ff.both(getattr(scipy.fftpack, _name))(_along(next(_transforms)))
    ff.both(getattr(scipy.fftpack, _name + "2"))(_over(next(_transforms), (-2, -1)))
    ff.both(getattr(scipy.fftpack, _name + "n"))(_over(next(_transforms), None))
for _name in ("dct", "dst"):
    for _i in ("", "i"):
        _one, _all = getattr(scipy.fft, _name), getattr(scipy.fft, _name + "n")
        ff.both(getattr(scipy.fftpack, _i + _name))(_trigonometric(_one, bool(_i)))
        ff.both(getattr(scipy.fftpack, _i + _name + "n"))(_trigonometric_over(_all, bool(_i)))

stand_in = later.stand_in
