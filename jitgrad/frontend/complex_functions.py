"""NumPy functions of complex arrays that are neither linear nor products: reductions, comparisons, making arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


from jitgrad.frontend.complex_calls import as_whole, drops_imaginary, special
from jitgrad.frontend.complex_pair import PARTS, Pair, is_complex, names_complex
from jitgrad.frontend.complex_tracer import make, parts
from jitgrad.frontend.complex_ufuncs import refused
from jitgrad.frontend.concrete import adopt
from jitgrad.frontend.primitives import axis_tuple, dtype_argument
from jitgrad.frontend.registry import call, unsupported_argument
from jitgrad.frontend.tracer import Tracer, innermost_trace


def whole(x: Any) -> Any:
    """Any array-like as a traced complex array, or a real one."""
    x = as_whole(x)
    return make(*parts(x)) if is_complex(x) else x


# -- parts -------------------------------------------------------------------------------------------------------------


@special(np.real)
def real(val: Any) -> Any:
    return whole(val).real


@special(np.imag)
def imag(val: Any) -> Any:
    return whole(val).imag


@special(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    z = whole(z)
    out = np.arctan2(z.im, z.re)
    return out * (180.0 / np.pi) if deg else out


@special(np.isreal)
def isreal(x: Any) -> Any:
    return whole(x).im == 0


@special(np.iscomplex)
def iscomplex(x: Any) -> Any:
    return whole(x).im != 0


@special(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    raise refused(np.real_if_close, "Whether the result is real is known when the program runs. Use z.real.")


def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    target = np.dtype(dtype)
    x = as_whole(x)
    if is_complex(x) and target.kind == "b":
        return x != 0
    if is_complex(x) and target not in PARTS:
        raise drops_imaginary("astype", target)
    dtype_argument(PARTS.get(target, target))
    if is_complex(x) and x.dtype == target and not x.weak:
        return x.copy() if copy else x
    re, im = parts(x)
    trace = innermost_trace(x)
    return make(*((p if isinstance(p, Tracer) else trace.lift(p)).astype(PARTS[target]) for p in (re, im)))


special(np.astype)(_astype)


# -- reductions --------------------------------------------------------------------------------------------------------


def _axes(axis: Any, z: Any) -> tuple[int, ...]:
    return axis_tuple(axis, z.ndim)


@special(np.prod)
def prod(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: Any = False, initial: Any = None, where: Any = True):
    """By halves: the first half of the elements times the second, as often as it takes."""
    z = whole(a)
    z = z if dtype is None else z.astype(dtype)
    if where is not True:
        z = np.where(where, z, _one(z))
    axes = _axes(axis, z)
    rest = [k for k in range(z.ndim) if k not in axes]
    shape = z.shape
    flat = z.transpose([*axes, *rest]).reshape((-1, *(shape[k] for k in rest)))
    n = len(flat)
    while n > 1:
        half = n // 2
        both = flat[:half] * flat[half : 2 * half]
        flat = np.concatenate([both, flat[2 * half :]]) if n % 2 else both
        n = len(flat)
    out = flat[0] if n else make(np.ones_like(flat.re.sum(0)), np.zeros_like(flat.re.sum(0)))
    if keepdims:
        out = out.reshape([1 if k in axes else d for k, d in enumerate(shape)])
    return out if initial is None else out * initial


def _one(z: Any) -> Any:
    return z.dtype.type(1)


@special(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """By log2(n) products of the array with itself, moved by 1, 2, 4, ..."""
    z = whole(a)
    z = z if dtype is None else z.astype(dtype)
    if axis is None:
        z, axis = z.reshape(-1), 0
    z = np.moveaxis(z, axis, 0)
    shift = 1
    while shift < len(z):
        z = np.concatenate([z[:shift], z[:-shift] * z[shift:]])
        shift *= 2
    return np.moveaxis(z, 0, axis)


def _squared(z: Any, axis: Any, mean: Any, where: dict[str, Any]) -> Any:
    """The squared distances from the mean."""
    center = np.mean(z, axis=axis, keepdims=True, **where) if mean is None else mean
    d = z - center
    return d.real * d.real + d.imag * d.imag


def _variance(function: Any) -> Callable[..., Any]:
    def handler(
        a: Any, axis: Any = None, dtype: Any = None, *, ddof: Any = 0, keepdims: Any = False, where: Any = True,
        mean: Any = None, correction: Any = None,
    ) -> Any:  # fmt: skip
        if dtype is not None:
            raise unsupported_argument(function.__name__, "dtype")
        chosen = {} if where is True else {"where": where}
        squared = _squared(whole(a), axis, mean, chosen)
        count = np.sum(np.broadcast_to(where, squared.shape), axis=axis, keepdims=keepdims) if chosen else None
        total = np.sum(squared, axis=axis, keepdims=keepdims, **chosen)
        if count is None:
            count = float(np.prod([squared.shape[k] for k in axis_tuple(axis, squared.ndim)]))
        out = total / (count - (ddof if correction is None else correction))
        return np.sqrt(out) if function is np.std else out

    return handler


special(np.var)(_variance(np.var))
special(np.std)(_variance(np.std))


def _without_nan(function: Any, number: float) -> Callable[..., Any]:
    """``np.nansum`` and ``np.nanprod``: ``number`` stands for what is not a number."""

    def handler(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: Any = False) -> Any:
        z = whole(a)
        z = np.where(np.isnan(z), z.dtype.type(number), z)
        return function(z, axis=axis, dtype=dtype, keepdims=keepdims)

    return handler


special(np.nansum)(_without_nan(np.sum, 0.0))
special(np.nanprod)(_without_nan(np.prod, 1.0))


def _of_truth(function: Any) -> Callable[..., Any]:
    """A function of which elements are not zero."""

    def handler(a: Any, *args: Any, **kwargs: Any) -> Any:
        return call(function, (whole(a) != 0, *args), kwargs)

    return handler


for _function in (np.any, np.all, np.count_nonzero, np.nonzero, np.flatnonzero, np.argwhere):
    special(_function)(_of_truth(_function))


# -- comparisons -------------------------------------------------------------------------------------------------------


@special(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    x, y = as_whole(a), as_whole(b)
    finite = np.logical_and(np.isfinite(x), np.isfinite(y))
    near = np.logical_and(finite, np.abs(x - y) <= atol + rtol * np.abs(y))
    same = np.logical_or(near, x == y)
    return np.logical_or(same, np.logical_and(np.isnan(x), np.isnan(y))) if equal_nan else same


@special(np.allclose)
def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    return np.all(isclose(a, b, rtol, atol, equal_nan))


@special(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    x, y = as_whole(a1), as_whole(a2)
    if np.shape(x) != np.shape(y):
        return False
    same = x == y
    return np.all(np.logical_or(same, np.logical_and(np.isnan(x), np.isnan(y))) if equal_nan else same)


# -- making arrays -----------------------------------------------------------------------------------------------------


def _like(function: Any) -> Callable[..., Any]:
    """``np.zeros_like`` and its kin, for a complex prototype or dtype."""

    def handler(a: Any, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        fill = ()
        if function is np.full_like:
            fill, args = (args[0] if args else kwargs.pop("fill_value"),), args[1:]
        if args:
            dtype, args = args[0], args[1:]
        x = as_whole(a)
        target = np.dtype(x.dtype if dtype is None else dtype)
        prototype = x.re if isinstance(x, Pair) else parts(x)[0]
        if target not in PARTS:
            if fill and is_complex(fill[0]):
                raise drops_imaginary("np.full_like", target)
            return call(function, (prototype, *fill, target, *args), kwargs)
        given = [(p,) for p in parts(fill[0])] if fill else [(), ()]
        of_imaginary = function if fill else np.zeros_like
        re = call(function, (prototype, *given[0], PARTS[target], *args), kwargs)
        return adopt(make(re, call(of_imaginary, (prototype, *given[1], PARTS[target], *args), kwargs)))

    return handler


for _function in (np.zeros_like, np.ones_like, np.empty_like, np.full_like):
    special(_function)(_like(_function))


@special(np.ones)
def ones(shape: Any, dtype: Any = complex, order: str = "C", *, device: Any = None) -> Any:
    re = call(np.ones, (shape, PARTS[np.dtype(dtype)]), {})
    return make(re, np.zeros_like(re))


# -- products ----------------------------------------------------------------------------------------------------------


@special(np.einsum)
def einsum(*operands: Any, optimize: Any = False, dtype: Any = None) -> Any:
    """Linear in each operand: the sum over the parts of each."""
    subscripts, *arrays = operands
    if not isinstance(subscripts, str):
        raise refused(np.einsum, "Give the subscripts as one string.")
    if dtype is not None and not names_complex(dtype):
        raise drops_imaginary("np.einsum", dtype)

    def of(done: tuple[Any, ...], rest: list[Any]) -> Any:
        if not rest:
            return call(np.einsum, (subscripts, *done), {})
        re, im = parts(rest[0])
        first = of((*done, re), rest[1:])
        if not is_complex(rest[0]):
            return first
        second = of((*done, im), rest[1:])
        return make(first.re - second.im, first.im + second.re) if is_complex(first) else make(first, second)

    out = of((), list(map(as_whole, arrays)))
    return out if dtype is None else out.astype(dtype)


@special(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Horner's scheme."""
    p = as_whole(p)
    x = as_whole(x)
    out: Any = None
    for k in range(len(p)):
        out = p[k] + 0 * x if out is None else out * x + p[k]
    return 0 * x if out is None else out


@special(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    x = as_whole(x)
    x = x.astype(np.result_type(x.dtype, np.int64))
    n = len(x) if N is None else N
    columns = [x**k for k in range(n)]
    return np.stack(columns if increasing else columns[::-1], axis=-1)


