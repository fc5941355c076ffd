"""``scipy.fft`` on traced values: the transforms of ``np.fft``, and cosine and sine transforms. Loaded when a program
uses it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import scipy.fft

from jitgrad.errors import ArgumentError
from jitgrad.frontend import functions_fourier as ff
from jitgrad.frontend.namespace import tried, wrap
from jitgrad.frontend.primitives import concatenate, emit, static_int, take_slice
from jitgrad.frontend.registry import FUNCTIONS, implements, unsupported_argument
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location

# ``workers`` and ``overwrite_x`` only say how: a program has its own threads, and its arguments stay as they are.


def _no_plan(name: str, plan: Any) -> None:
    if plan is not None:
        raise unsupported_argument(f"scipy.fft.{name}", "plan")


def _along(name: str, transform: Callable[..., Any]) -> Callable[..., Any]:
    def function(
        x: Any, n: Any = None, axis: Any = -1, norm: Any = None, overwrite_x: bool = False, workers: Any = None,
        *, plan: None = None,
    ) -> Any:  # fmt: skip
        _no_plan(name, plan)
        return transform(x, n, axis, norm)

    return function


def _over(name: str, transform: Callable[..., Any]) -> Callable[..., Any]:
    default = (-2, -1) if name.endswith("2") else None

    def function(
        x: Any, s: Any = None, axes: Any = default, norm: Any = None, overwrite_x: bool = False, workers: Any = None,
        *, plan: None = None,
    ) -> Any:  # fmt: skip
        _no_plan(name, plan)
        return transform(x, s, axes, norm)

    return function


_TRANSFORMS = {**ff.TRANSFORMS, **ff.several_axes(once=True)}


def _hfftn(x: Any, s: Any, axes: Any, norm: Any) -> Any:
    """From ``irfftn``, as ``hfft`` from ``irfft``."""
    return _TRANSFORMS["irfftn"](ff.signal(x).conj().value(), s, axes, ff.swapped(norm))


def _ihfftn(x: Any, s: Any, axes: Any, norm: Any) -> Any:
    return ff.signal(_TRANSFORMS["rfftn"](x, s, axes, ff.swapped(norm))).conj().value()


_HERMITIAN = {"hfft2": _hfftn, "hfftn": _hfftn, "ihfft2": _ihfftn, "ihfftn": _ihfftn}

for _name, _function in {**_TRANSFORMS, **_HERMITIAN}.items():
    _form = _over if _name[-1] in "2n" else _along
    ff.both(getattr(scipy.fft, _name))(_form(_name, _function))


# -- cosine and sine transforms ----------------------------------------------------------------------------------------


def _ends(x: Tracer, axis: int, first: float | None, last: float | None) -> Tracer:
    """With the first and the last element along an axis multiplied; one alone is both."""
    n = x.dims[axis]
    for at, by in ((0, first), (n - 1, last)):
        if by is not None:
            pieces = [take_slice(x, axis, lo, hi) for lo, hi in ((0, at), (at, at + 1), (at + 1, n))]
            pieces[1] = pieces[1] * by
            x = concatenate([p for p in pieces if p.dims[axis]], axis)
    return x


def _trigonometric(kind: str, x: Tracer, type: int, axis: int, orthogonal: bool) -> Tracer:
    """The transform without a factor for all elements. Where ``orthogonal``, those at the ends have the factors that
    make its matrix, but for one factor of all, orthogonal."""
    root, first, last = math.sqrt(2.0), None, None
    if orthogonal and type == 1 and kind == "dct":
        first = last = root
    elif orthogonal and type in (2, 3):
        by = root if type == 3 else 1.0 / root
        first, last = (by, None) if kind == "dct" else (None, by)
    if type in (1, 3):
        x = _ends(x, axis, first, last)
    x = emit(kind, x, type=type, axis=axis)
    if type == 1 and first is not None:
        return _ends(x, axis, 1.0 / root, 1.0 / root)
    return _ends(x, axis, first, last) if type == 2 else x


def _period(kind: str, type: int, n: int) -> int:
    return 2 * (n + {"dct": -1, "dst": 1}[kind]) if type == 1 else 2 * n


def _type(name: str, type: Any, inverse: bool) -> int:
    type = static_int(type, "type")
    if type not in (1, 2, 3, 4):
        raise ArgumentError(
            f"scipy.fft.{name} of type {type}. There are the types 1, 2, 3 and 4. Check type=.", user_location()
        )
    return {2: 3, 3: 2}.get(type, type) if inverse else type


def _dct(kind: str, inverse: bool) -> Callable[..., Any]:
    name = "i" * inverse + kind

    def transform(
        x: Any, type: Any = 2, n: Any = None, axis: Any = -1, norm: Any = None, overwrite_x: bool = False,
        workers: Any = None, orthogonalize: bool | None = None,
    ) -> Any:  # fmt: skip
        return over(x, type, n, axis, norm, orthogonalize, name)

    def over(x: Any, type: Any, s: Any, axes: Any, norm: Any, orthogonalize: Any, name: str) -> Any:
        z = ff.signal(x)
        type = _type(name, type, inverse)
        sizes, axes = ff.extents(z.re, s, axes, name, once=True)
        orthogonal = norm == "ortho" if orthogonalize is None else bool(orthogonalize)
        for n, axis in zip(sizes, axes, strict=True):
            n = z.re.dims[axis] if n is None else n
            z = z.map(lambda p, n=n, axis=axis: _trigonometric(kind, ff.fitted(p, n, axis), type, axis, orthogonal))
            z = ff.scaled(z, ff.factor(norm, _period(kind, type, n), inverse))
        return z.value()

    def several(
        x: Any, type: Any = 2, s: Any = None, axes: Any = None, norm: Any = None, overwrite_x: bool = False,
        workers: Any = None, *, orthogonalize: bool | None = None,
    ) -> Any:  # fmt: skip
        return over(x, type, s, axes, norm, orthogonalize, name + "n")

    ff.both(getattr(scipy.fft, name))(transform)
    ff.both(getattr(scipy.fft, name + "n"))(several)
    return transform


for _kind in ("dct", "dst"):
    for _inverse in (False, True):
        _dct(_kind, _inverse)

ff.both(scipy.fft.fftshift)(ff.fftshift)
ff.both(scipy.fft.ifftshift)(ff.ifftshift)
implements(scipy.fft.fftfreq)(ff.fftfreq)
implements(scipy.fft.rfftfreq)(ff.rfftfreq)


def stand_in(value: Any) -> Any:
    """The wrapped function; None for the module, and for classes and other objects."""
    if not callable(value) or isinstance(value, type):
        return None
    return wrap(value) if value in FUNCTIONS else tried(value)
