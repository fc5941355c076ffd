"""The operators of traced values: each is one call of the ufunc's operator form (see ``ufuncs.operator``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.frontend.registry import HOOKS

if TYPE_CHECKING:
    from jitgrad.frontend.tracer import Tracer


class Operators:
    """Arithmetic, comparison and bit operators; forward, reflected and in place."""

    __slots__ = ()
    __hash__ = None  # pyright: ignore[reportAssignmentType]  # as ndarray: == is elementwise

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Any:
        raise NotImplementedError

    def _repeats(self, other: Any) -> bool:
        """Whether this is a number of times that a product repeats a list, a tuple or a text. Python asks for the
        number then, and what it raises makes an argument static."""
        return False

    def __add__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.add, self, other)

    def __radd__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.add, other, self)

    def __iadd__(self, other: Any) -> Any:
        return self._in_place(np.add, other)

    def __sub__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.subtract, self, other)

    def __rsub__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.subtract, other, self)

    def __isub__(self, other: Any) -> Any:
        return self._in_place(np.subtract, other)

    def __mul__(self, other: Any) -> Tracer:
        if self._repeats(other):
            return NotImplemented
        return HOOKS["operator"](np.multiply, self, other)

    def __rmul__(self, other: Any) -> Tracer:
        if self._repeats(other):
            return NotImplemented
        return HOOKS["operator"](np.multiply, other, self)

    def __imul__(self, other: Any) -> Any:
        return self._in_place(np.multiply, other)

    def __truediv__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.divide, other, self)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place(np.divide, other)

    def __floordiv__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.floor_divide, other, self)

    def __ifloordiv__(self, other: Any) -> Any:
        return self._in_place(np.floor_divide, other)

    def __mod__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.remainder, self, other)

    def __rmod__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.remainder, other, self)

    def __imod__(self, other: Any) -> Any:
        return self._in_place(np.remainder, other)

    def __pow__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.power, self, other)

    def __rpow__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.power, other, self)

    def __ipow__(self, other: Any) -> Any:
        return self._in_place(np.power, other)

    def __matmul__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.matmul, other, self)

    def __imatmul__(self, other: Any) -> Any:
        return self._in_place(np.matmul, other)

    def __and__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.bitwise_and, self, other)

    def __rand__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.bitwise_and, other, self)

    def __iand__(self, other: Any) -> Any:
        return self._in_place(np.bitwise_and, other)

    def __or__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.bitwise_or, self, other)

    def __ror__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.bitwise_or, other, self)

    def __ior__(self, other: Any) -> Any:
        return self._in_place(np.bitwise_or, other)

    def __xor__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.bitwise_xor, self, other)

    def __rxor__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.bitwise_xor, other, self)

    def __ixor__(self, other: Any) -> Any:
        return self._in_place(np.bitwise_xor, other)

    def __lshift__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.left_shift, self, other)

    def __rlshift__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.left_shift, other, self)

    def __ilshift__(self, other: Any) -> Any:
        return self._in_place(np.left_shift, other)

    def __rshift__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.right_shift, self, other)

    def __rrshift__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.right_shift, other, self)

    def __irshift__(self, other: Any) -> Any:
        return self._in_place(np.right_shift, other)

    def __divmod__(self, other: Any) -> tuple[Tracer, Tracer]:
        return HOOKS["operator"](np.divmod, self, other)

    def __rdivmod__(self, other: Any) -> tuple[Tracer, Tracer]:
        return HOOKS["operator"](np.divmod, other, self)

    def __lt__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.less, self, other)

    def __le__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.less_equal, self, other)

    def __gt__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.greater, self, other)

    def __ge__(self, other: Any) -> Tracer:
        return HOOKS["operator"](np.greater_equal, self, other)

    def __eq__(self, other: object) -> Tracer:  # pyright: ignore[reportIncompatibleMethodOverride]
        return HOOKS["operator"](np.equal, self, other)

    def __ne__(self, other: object) -> Tracer:  # pyright: ignore[reportIncompatibleMethodOverride]
        return HOOKS["operator"](np.not_equal, self, other)

    def __neg__(self) -> Tracer:
        return HOOKS["operator"](np.negative, self)

    def __pos__(self) -> Tracer:
        return HOOKS["operator"](np.positive, self)

    def __abs__(self) -> Tracer:
        return HOOKS["operator"](np.absolute, self)

    def __invert__(self) -> Tracer:
        return HOOKS["operator"](np.invert, self)

    def __round__(self, ndigits: int | None = None) -> Tracer:
        return HOOKS["python_round"](self, ndigits)

    def __floor__(self) -> Tracer:
        return HOOKS["python_round"](HOOKS["operator"](np.floor, self), None)

    def __ceil__(self) -> Tracer:
        return HOOKS["python_round"](HOOKS["operator"](np.ceil, self), None)

    def __trunc__(self) -> Tracer:
        return HOOKS["python_round"](HOOKS["operator"](np.trunc, self), None)
