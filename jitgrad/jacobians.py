"""Jacobians and Hessians, direction by direction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from jitgrad import config as _config
from jitgrad.errors import DifferentiationError
from jitgrad.frontend.signature import complex_leaves, flatten, unflatten
from jitgrad.frontend.tracer import Tracer, has_traced
from jitgrad.ir.types import is_float
from jitgrad.pullbacks import jvp_function, vjp_function
from jitgrad.reading import Readable
from jitgrad.specialisation import Specialisation, draws
from jitgrad.tracing import current_trace, describe_function
from jitgrad.transformed import CapturesTracer, Transformed, enclosing_trace
from jitgrad.transforms import Jit


class Jacobian(Readable):
    """``Jacobian(fun, argnums)(*args)``: derivatives of shape ``(output shape..., input shape...)``.

    The result has the structure of the output, with the structure of the differentiated argument (a tuple of them for
    a tuple ``argnums``) at each array. Forward mode is used unless there are fewer outputs than inputs. The program
    for one direction is compiled; it is called once a direction.
    """

    def __init__(self, fun: Callable[..., Any], argnums: tuple[int, ...], *, single: bool) -> None:
        self._fun, self._single = fun, single
        self._forward, self._reverse = jvp_function(fun, argnums), vjp_function(fun, argnums)
        self._function = describe_function(fun)
        self._modes: dict[Any, bool] = {}
        self.__wrapped__ = fun
        self.__name__ = getattr(fun, "__name__", type(fun).__name__)
        self.__doc__ = getattr(fun, "__doc__", None)

    @property
    def _history(self) -> list[str]:
        return self._forward._history + self._reverse._history

    @functools.cached_property
    def _whole(self) -> Transformed:
        """All of it as one program: arrays on a device are not put together by NumPy."""
        return Transformed(self, Jit())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _config.current().target == "cuda" and current_trace() is None:
            return self._whole(*args, **kwargs)
        call = self._forward._signature.split(args, kwargs)
        trees = [call.args[k] for k in self._forward._argument_positions(call)]
        inputs, tree = flatten(trees[0] if self._single else tuple(trees))
        self._check_real(tree)
        if self._uses_forward(args, kwargs, inputs):
            found = self._by_columns(args, kwargs, inputs, tree, [flatten(t)[1] for t in trees])
        else:
            found = self._by_rows(args, kwargs, inputs, tree)
        leaves, shape = flatten(found)
        return unflatten(shape, [x[()] if type(x) is np.ndarray else x for x in leaves])

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        return self if obj is None else Jacobian(self._fun.__get__(obj), self._forward_argnums, single=self._single)

    @property
    def _forward_argnums(self) -> tuple[int, ...]:
        return self._forward._transform.argnums or ()

    def _uses_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: Sequence[Any]) -> bool:
        """Are there at most as many inputs as outputs? Decided once for each signature."""
        n_inputs = sum(_size(x) for x in inputs)
        if n_inputs <= 1:
            return True
        if has_traced(flatten((args, kwargs))[0]):
            return self._is_wide(args, kwargs, n_inputs)
        key = self._forward._key(self._forward._arguments(args, kwargs))
        if key not in self._modes:
            try:
                sizes = self._forward.result_sizes(args, kwargs)
            except CapturesTracer:
                return self._is_wide(args, kwargs, n_inputs)
            # A program that draws runs once: the pullback of one set of numbers is called for each row.
            self._modes[key] = n_inputs <= sum(sizes) and not draws(self._forward.traced_graph(*args, **kwargs))
        return self._modes[key]

    def _is_wide(self, args: tuple[Any, ...], kwargs: dict[str, Any], n_inputs: int) -> bool:
        with enclosing_trace().region("a Jacobian") as scope:  # what is recorded here is dropped
            out, _ = self._reverse.at(args, kwargs)
            once = any(op.effects for op in scope.ops)
        return not once and n_inputs <= sum(_size(x) for x in flatten(out)[0])

    def _by_columns(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: Sequence[Any],
        tree: optree.PyTreeSpec,
        trees: Sequence[optree.PyTreeSpec],
    ) -> Any:
        """One call of the forward program for each element of the inputs."""
        zeros = [np.zeros(np.shape(x), x.dtype if hasattr(x, "dtype") else float) for x in inputs]
        columns: list[list[list[Any]]] = []  # input, element, output
        shape: Any = None
        outs: list[Any] = []
        for k in range(len(inputs)):
            columns.append([])
            for unit in _units(zeros[k]):
                leaves = [unit if j == k else z for j, z in enumerate(zeros)]
                tangents = unflatten(tree, leaves)
                out, derivative = self._forward.at(args, kwargs, (tangents,) if self._single else tangents)
                outs, shape = flatten(out)
                columns[-1].append(flatten(derivative)[0])
        if shape is None:  # no elements at all
            outs, shape = flatten(self._reverse.at(args, kwargs)[0])
        self._check_float(outs, shape)
        blocks = [
            [
                _stack([c[o] for c in columns[k]], -1, out).reshape(np.shape(out) + np.shape(x))
                for k, x in enumerate(inputs)
            ]
            for o, out in enumerate(outs)
        ]
        return unflatten(shape, [unflatten(tree, row) for row in blocks])

    def _by_rows(self, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: Sequence[Any], tree: Any) -> Any:
        """One call of the pullback for each element of the outputs."""
        out, pullback = self._reverse.at(args, kwargs)
        outs, shape = flatten(out)
        self._check_float(outs, shape)
        zeros = [np.zeros(np.shape(x), x.dtype) for x in outs]
        blocks: list[Any] = []
        for o, zero in enumerate(zeros):
            rows: list[list[Any]] = []
            for unit in _units(zero):
                leaves = [unit if j == o else z for j, z in enumerate(zeros)]
                gradients = pullback(unflatten(shape, leaves))
                rows.append(flatten(gradients[0] if self._single else gradients)[0])
            block = [_stack([r[k] for r in rows], 0, x).reshape(zero.shape + np.shape(x)) for k, x in enumerate(inputs)]
            blocks.append(unflatten(tree, block))
        return unflatten(shape, blocks)

    def _check_real(self, tree: optree.PyTreeSpec) -> None:
        if any(complex_leaves(tree)):
            raise DifferentiationError(
                f"jacobian of {self._function.name}, which takes or returns complex values. Its entries would be "
                "derivatives of parts by parts. Give it the real and the imaginary part as two arrays, or use jg.vjp "
                "or jg.jvp.",
                self._function.location,
            )

    def _check_float(self, outs: Sequence[Any], tree: optree.PyTreeSpec) -> None:
        self._check_real(tree)
        for x in outs:
            if not is_float(x.dtype):
                raise DifferentiationError(
                    f"jacobian of {self._function.name}, which returns an array of dtype {x.dtype}. Only floats have "
                    "derivatives. Return float arrays only.",
                    self._function.location,
                )

    def _specialise(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Specialisation:
        call = self._forward._signature.split(args, kwargs)
        inputs = flatten([call.args[k] for k in self._forward._argument_positions(call)])[0]
        chosen = self._forward if self._uses_forward(args, kwargs, inputs) else self._reverse
        return chosen._specialise(args, kwargs)

    def __repr__(self) -> str:
        return f"<jitgrad.jacobian of {self._function.name}>"


def _size(x: Any) -> int:
    return x.size if isinstance(x, Tracer) else int(np.size(x))


def _units(zero: np.ndarray) -> list[np.ndarray]:
    """The unit vectors of the space of arrays of that shape."""
    units: list[np.ndarray] = []
    for k in range(zero.size):
        unit = np.zeros_like(zero)
        unit.reshape(-1)[k] = 1
        units.append(unit)
    return units


def _stack(arrays: Sequence[Any], axis: int, like: Any) -> Any:
    if arrays:
        return np.stack(arrays, axis)
    shape = np.shape(like)
    return np.zeros((*shape, 0) if axis else (0, *shape), getattr(like, "dtype", float))
