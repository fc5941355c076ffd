"""What a traced array is (shape, size, dtype), constants of its shape, and conversion to another dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError
from jitgrad.frontend.functions_shape import array_of, boxed, ordered_copy
from jitgrad.frontend.primitives import (
    axis_tuple,
    broadcast_to,
    cast,
    dtype_argument,
    element_count,
    full,
    lift_one,
    promotion_sample,
    static_shape,
)
from jitgrad.frontend.registry import HOOKS, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.frontend.views import share_memory
from jitgrad.ir.location import user_location

# -- what an array is --------------------------------------------------------------------------------------------------


@implements(np.shape)
def shape(a: ArrayLike) -> tuple[Any, ...]:
    return a.shape if isinstance(a, Tracer) else lift_one(a).shape


@implements(np.ndim)
def ndim(a: ArrayLike) -> int:
    return len(shape(a))


@implements(np.size)
def size(a: ArrayLike, axis: Any = None) -> Any:
    extents = shape(a)
    return element_count([extents[k] for k in axis_tuple(axis, len(extents))])


@implements(np.isscalar)
def isscalar(element: ArrayLike) -> bool:
    return isinstance(element, Tracer) and not element.dims and not element.boxed


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    return np.result_type(*(promotion_sample(a) if isinstance(a, Tracer) else a for a in arrays_and_dtypes))


@implements(np.can_cast)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    return np.can_cast(from_.dtype if isinstance(from_, Tracer) else from_, to, casting)


@implements(np.min_scalar_type)
def min_scalar_type(a: ArrayLike, /) -> np.dtype:
    return lift_one(a).dtype


@implements(np.common_type)
def common_type(*arrays: ArrayLike) -> type:
    return np.common_type(*(np.empty(0, a.dtype) if isinstance(a, Tracer) else a for a in arrays))


@implements(np.iscomplexobj)
def iscomplexobj(x: ArrayLike) -> bool:
    return False


@implements(np.isrealobj)
def isrealobj(x: ArrayLike) -> bool:
    return True


@implements(np.isreal)
def isreal(x: ArrayLike) -> Tracer:
    t = lift_one(x)
    return full(t, t.dims, True, np.bool_)


@implements(np.iscomplex)
def iscomplex(x: ArrayLike) -> Tracer:
    t = lift_one(x)
    return full(t, t.dims, False, np.bool_)


@implements(np.real, np.real_if_close)
def real(val: ArrayLike, tol: float = 100) -> Tracer:
    return array_of(val)


@implements(np.imag)
def imag(val: ArrayLike) -> Tracer:
    x = lift_one(val)
    return full(x, x.dims, 0)


@implements(np.may_share_memory, np.shares_memory)
def may_share_memory(a: ArrayLike, b: ArrayLike, max_work: Any = None) -> bool:
    return isinstance(a, Tracer) and isinstance(b, Tracer) and share_memory(a, b)


# -- constants of a traced array's shape -------------------------------------------------------------------------------


@implements(np.zeros_like)
def zeros_like(
    a: ArrayLike, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Tracer:
    return _full_like(a, 0, dtype, shape)


@implements(np.ones_like)
def ones_like(
    a: ArrayLike, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Tracer:
    return _full_like(a, 1, dtype, shape)


@implements(np.empty_like)
def empty_like(
    prototype: ArrayLike,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Tracer:
    return _full_like(prototype, 0, dtype, shape)


@implements(np.full_like)
def full_like(
    a: ArrayLike,
    fill_value: ArrayLike,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Tracer:
    return _full_like(a, fill_value, dtype, shape)


def _full_like(a: ArrayLike, fill: ArrayLike, dtype: Any, shape: Any) -> Tracer:
    base = lift_one(a, fill)
    target = base.dims if shape is None else static_shape(shape)
    filled = cast(lift_one(fill, base), dtype_argument(dtype) or base.dtype)
    return boxed(broadcast_to(filled, target))


@implements(getattr(np, "astype", None))  # NumPy 2.1
def astype_function(x: ArrayLike, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tracer:
    return astype(lift_one(x), dtype, copy=copy)


def astype(x: Tracer, dtype: Any, casting: str = "unsafe", order: str = "K", copy: bool = True) -> Tracer:
    """``x.astype(dtype)``. Raises DtypeError for dtypes without support, or that ``casting`` forbids."""
    target = np.dtype(dtype)
    if not np.can_cast(x.dtype, target, casting):  # pyright: ignore[reportArgumentType]
        raise ArgumentError(
            f"can't cast {x.dtype} to {target} with casting {casting!r}. The rule forbids it. Use casting='unsafe'.",
            user_location(),
        )
    if not copy and target == x.dtype and (x.dims or x.boxed):
        return x
    out = ordered_copy(x, order)
    out.value, out.boxed = cast(x, target).value, x.boxed
    return out


HOOKS["astype"] = astype
