"""``np.vectorize`` in traced functions: a function of numbers, applied element by element.

The function is recorded as the body of a loop over the elements, so branches in it are taken by each element, as in
NumPy. Differences to NumPy: the dtype of the result is that of all elements, not of the first one, and ``signature``
is not supported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.frontend import control_flow
from jitgrad.frontend.namespace import stand_in
from jitgrad.frontend.registry import HOOKS
from jitgrad.ir.location import user_location

#: What counts as the size of the function, when it is decided whether the loop is unrolled.
_SIZE = 4


class Vectorized:
    """What ``np.vectorize(pyfunc)`` means in a traced function; the parameters are NumPy's."""

    def __init__(
        self,
        pyfunc: Callable[..., Any] | None = None,
        otypes: Any = None,
        doc: str | None = None,
        excluded: Iterable[int | str] | None = None,
        cache: bool = False,
        signature: str | None = None,
    ) -> None:
        if signature is not None:
            raise UnsupportedError(
                f"np.vectorize with the signature {signature!r} on traced values. Only functions of numbers are "
                "applied element by element. Write a loop over the first axis.",
                user_location(),
            )
        self.pyfunc: Any = pyfunc if pyfunc is None else HOOKS["callee"](pyfunc)
        self.otypes, self.excluded, self.cache = otypes, frozenset(excluded or ()), cache

    @classmethod
    def of(cls, original: np.vectorize) -> Vectorized:
        """The same as an object that NumPy made."""
        signature = getattr(original, "signature", None)
        return cls(original.pyfunc, original.otypes, None, original.excluded, original.cache, signature)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        pyfunc = self.pyfunc
        if pyfunc is None:  # a decorator with arguments
            return Vectorized(args[0], self.otypes, excluded=self.excluded, cache=self.cache)
        named = {**dict(enumerate(args)), **kwargs}
        varied = [k for k in named if k not in self.excluded]
        arrays = stand_in(np.broadcast_arrays)(*(named[k] for k in varied))
        if not arrays:
            return pyfunc(*args, **kwargs)
        shape = arrays[0].shape
        rows = [stand_in(np.ravel)(a) for a in arrays]

        def at(k: Any) -> Any:
            numbers = {name: control_flow.getitem(r, k) for name, r in zip(varied, rows, strict=True)}
            given = [numbers.get(n, a) for n, a in enumerate(args)]
            return pyfunc(*given, **{name: numbers.get(name, a) for name, a in kwargs.items()})

        count = rows[0].size
        if count == 0:
            return self._empty(shape)
        if self.otypes is None and not self.cache:
            at(0)  # NumPy calls it once more to learn the dtype: a function that draws shows that
        location = user_location()
        line = 0 if location is None else location.line
        found = control_flow.collect(control_flow.range_(range, count), at, line, _SIZE)
        if type(found[0]) is not tuple:
            return self._joined(found, shape, 0)
        return tuple(self._joined(column, shape, k) for k, column in enumerate(zip(*found, strict=True)))

    def _joined(self, numbers: Any, shape: Any, place: int) -> Any:
        out = stand_in(np.array)(list(numbers))
        if out.ndim != 1:
            raise ArgumentError(
                f"the function of np.vectorize returns arrays of shape {out.shape[1:]}. It must return a number, or a "
                "tuple of numbers. Write a loop over the elements.",
                user_location(),
            )
        out = out.reshape(shape)
        return out if self.otypes is None else out.astype(self.otypes[place])

    def _empty(self, shape: Any) -> Any:
        if self.otypes is None:
            raise ArgumentError(
                "np.vectorize of no elements. The function is not called, so it is not known what it returns. Set "
                "otypes.",
                user_location(),
            )
        empty = [stand_in(np.zeros)(shape, kind) for kind in self.otypes]
        return tuple(empty) if len(empty) > 1 else empty[0]


def frompyfunc(func: Callable[..., Any], /, nin: int, nout: int, *, identity: Any = None) -> Any:
    """``np.frompyfunc``. The result has the dtype of its numbers, where NumPy's holds objects."""
    return Vectorized(func)
