"""The methods of traced values: those of ndarray, each a call of the function's handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from jitgrad.errors import MutationError
from jitgrad.frontend.complex_pair import names_complex
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.ir.location import user_location

if TYPE_CHECKING:
    from jitgrad.frontend.tracer import Tracer


def _mutates(method: str, instead: str) -> MutationError:
    return MutationError(
        f"x.{method} changes what a traced array is in place. Its dtype and shape are fixed. Use {instead}.",
        user_location(),
    )


class ArrayMethods:
    """ndarray's methods, and attributes that follow from others. Arguments mean what they mean in NumPy."""

    __slots__ = ()

    if TYPE_CHECKING:  # of the classes that have the methods
        boxed: bool
        dims: Any
        dtype: Any
        size: Any

        def __setitem__(self, index: Any, value: Any) -> None: ...

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> Any:
        return self.size * self.itemsize

    @property
    def T(self) -> Tracer:
        return call(np.transpose, (self,), {})

    @property
    def mT(self) -> Tracer:
        return call(np.matrix_transpose, (self,), {})

    def _is_array(self) -> bool:
        """Is it an array, which a method may return as it is, and no scalar?"""
        return bool(self.dims or self.boxed)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Tracer:
        return call(np.reshape, (self, shape[0] if len(shape) == 1 else shape), {"order": order})

    def transpose(self, *axes: Any) -> Tracer:
        return call(np.transpose, (self, None if not axes else axes[0] if len(axes) == 1 else axes), {})

    def flatten(self, order: str = "C") -> Tracer:
        return call(np.copy, (call(np.ravel, (self,), {"order": order}),), {})

    def copy(self, order: str = "C") -> Tracer:
        out = call(np.copy, (self,), {"order": order})
        out.boxed = self.boxed  # a copy of a scalar is one
        return out

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True
    ) -> Tracer:
        if names_complex(dtype):
            return call(np.astype, (self, dtype), {"copy": copy})
        return HOOKS["astype"](self, dtype, casting, order, copy)

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Tracer:
        return call(np.sum, (self,), {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims, **kw})

    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Tracer:
        return call(np.prod, (self,), {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims, **kw})

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Tracer:
        return call(np.mean, (self,), {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims, **kw})

    def var(
        self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: bool = False, **kw: Any
    ) -> Tracer:
        return call(
            np.var, (self,), {"axis": axis, "dtype": dtype, "out": out, "ddof": ddof, "keepdims": keepdims, **kw}
        )

    def std(
        self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: bool = False, **kw: Any
    ) -> Tracer:
        return call(
            np.std, (self,), {"axis": axis, "dtype": dtype, "out": out, "ddof": ddof, "keepdims": keepdims, **kw}
        )

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Tracer:
        return call(np.max, (self,), {"axis": axis, "out": out, "keepdims": keepdims, **kw})

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Tracer:
        return call(np.min, (self,), {"axis": axis, "out": out, "keepdims": keepdims, **kw})

    def any(self, axis: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Tracer:
        return call(np.any, (self,), {"axis": axis, "out": out, "keepdims": keepdims, **kw})

    def all(self, axis: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Tracer:
        return call(np.all, (self,), {"axis": axis, "out": out, "keepdims": keepdims, **kw})

    def argmax(self, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Tracer:
        return call(np.argmax, (self,), {"axis": axis, "out": out, "keepdims": keepdims})

    def argmin(self, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Tracer:
        return call(np.argmin, (self,), {"axis": axis, "out": out, "keepdims": keepdims})

    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Tracer:
        return call(np.cumsum, (self,), {"axis": axis, "dtype": dtype, "out": out})

    def cumprod(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Tracer:
        return call(np.cumprod, (self,), {"axis": axis, "dtype": dtype, "out": out})

    def ravel(self, order: str = "C") -> Tracer:
        return call(np.ravel, (self,), {"order": order})

    def swapaxes(self, axis1: int, axis2: int) -> Tracer:
        return call(np.swapaxes, (self, axis1, axis2), {})

    def squeeze(self, axis: Any = None) -> Tracer:
        return call(np.squeeze, (self,), {"axis": axis})

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> Tracer:
        return call(np.clip, (self, min, max), {"out": out})

    def dot(self, b: Any, out: Any = None) -> Tracer:
        return call(np.dot, (self, b), {"out": out})

    def take(self, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Tracer:
        return call(np.take, (self, indices), {"axis": axis, "out": out, "mode": mode})

    def repeat(self, repeats: Any, axis: int | None = None) -> Tracer:
        return call(np.repeat, (self, repeats), {"axis": axis})

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tracer:
        return call(np.diagonal, (self, offset, axis1, axis2), {})

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Tracer:
        return call(np.trace, (self, offset, axis1, axis2), {"dtype": dtype, "out": out})

    def argsort(
        self, axis: int | None = -1, kind: str | None = None, order: Any = None, *, stable: bool | None = None
    ) -> Tracer:
        return call(np.argsort, (self,), {"axis": axis, "kind": kind, "order": order, "stable": stable})

    def argpartition(self, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Tracer:
        return call(np.argpartition, (self, kth), {"axis": axis, "order": order})

    def round(self, decimals: int = 0, out: Any = None) -> Tracer:
        return call(np.round, (self, decimals), {"out": out})

    def conj(self) -> Tracer:
        return self if self._is_array() else self.copy()  # pyright: ignore[reportReturnType]

    conjugate = conj

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> Tracer:
        return call(np.searchsorted, (self, v), {"side": side, "sorter": sorter})

    def nonzero(self) -> Tracer:
        return call(np.nonzero, (self,), {})

    def compress(self, condition: Any, axis: int | None = None, out: Any = None) -> Tracer:
        return call(np.compress, (condition, self), {"axis": axis, "out": out})

    def choose(self, choices: Any, out: Any = None, mode: str = "raise") -> Tracer:
        return call(np.choose, (self, choices), {"out": out, "mode": mode})

    def sort(self, axis: int = -1, kind: str | None = None, order: Any = None, *, stable: bool | None = None) -> None:
        self[...] = call(np.sort, (self,), {"axis": axis, "order": order})

    def partition(self, kth: Any, axis: int = -1, kind: str | None = None, order: Any = None) -> None:
        self[...] = call(np.partition, (self, kth), {"axis": axis, "order": order})

    def put(self, indices: Any, values: Any, mode: str = "raise") -> None:
        call(np.put, (self, indices, values), {"mode": mode})

    def resize(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _mutates("resize()", "np.reshape or np.pad")

    def setfield(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _mutates("setfield()", "x[index] = v")

    def setflags(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _mutates("setflags()", "a copy outside the traced function")

    def byteswap(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _mutates("byteswap()", "astype outside the traced function")

    def fill(self, value: Any) -> None:
        self[...] = value
