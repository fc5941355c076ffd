"""``vjp`` and ``jvp`` of a function at a point, and the Jacobian that is built of them.

Each of these compiles two or one programs for a function and the structure, dtypes and shapes of its arguments. They
are kept for the functions used last; a lambda expression that is evaluated again over the same variables counts as
the same function.
"""

from __future__ import annotations

import collections
import functools
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from jitgrad import config as _config
from jitgrad.autodiff import residuals
from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.compiler import Compiled, compile_graph, optimise
from jitgrad.errors import ArgumentError
from jitgrad.frontend.capture import Recorder
from jitgrad.frontend.concrete import adopt, unwrap
from jitgrad.frontend.guards import Guard
from jitgrad.frontend.randomness import is_stand_in
from jitgrad.frontend.reads import reads_of
from jitgrad.frontend.signature import Call, LeafSpec, flatten, leaves_like, spec_of, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, has_traced, innermost_trace
from jitgrad.guesses import attempt
from jitgrad.ir.core import Graph
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType, is_float, kind_letter, type_of
from jitgrad.loopir.lower import check_result
from jitgrad.reading import Readable
from jitgrad.specialisation import Specialisation
from jitgrad.tracing import current_recorder, current_trace
from jitgrad.transformed import Arguments, BoundTransformed, CapturesTracer, Transformed, enclosing_trace
from jitgrad.transforms import Function, Pointwise, Traced, check_wrt


class Backward:
    """The backward half of a split program: a graph, compiled when it is first called with plain values."""

    guards: tuple[Guard, ...] = ()  # the forward part has them

    def __init__(self, traced: Traced, joint: Graph, split: residuals.Split) -> None:
        self.stages = [*traced.stages, ("differentiated", joint), ("backward", split.backward)]
        self.notes = _notes(traced, split)
        self.graph, self.function, self.result = split.backward, traced.function, traced.result
        self.outputs = tuple(r.type for r in traced.graph.results)
        self.trees = traced.wrt_trees
        self.target = _config.current().target

    @functools.cached_property
    def compiled(self) -> Compiled:
        scalars = tuple(not p.type.shape for p in self.graph.params)
        return compile_graph(self.graph, scalars, target=self.target)


class Pullback(Readable):
    """What :func:`jitgrad.vjp` returns: call it with a cotangent of the result to get those of the primals, a tuple.

    It can be called any number of times. ``ir``, ``source``, ``llvm``, ``asm`` and ``explain`` show its program; it is
    compiled already, so they take no arguments but ``stage``.
    """

    def __init__(self, backward: Backward, saved: Sequence[Any]) -> None:
        self._backward, self._saved = backward, list(saved)
        self._history = []

    def _specialise(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Backward:
        if args or kwargs:
            raise ArgumentError(
                f"the pullback of {self._backward.function.name} was asked to show its program for arguments. It has "
                "one program, for the point where it was made. Leave the arguments out.",
                user_location(),
            )
        return self._backward

    def __call__(self, cotangent: Any) -> tuple[Any, ...]:
        backward = self._backward
        result, outputs, function = backward.result, backward.outputs, backward.function
        leaves = matching_leaves(cotangent, result, outputs, "cotangent", "the result", function)
        seeds = [x for x, t in zip(leaves, backward.outputs, strict=True) if is_float(t.dtype)]
        arguments = (*self._saved, *seeds)
        trace = current_trace()
        if trace is not None and has_traced(arguments):
            gradients: Sequence[Any] = trace.inline(backward.graph, arguments)
        else:
            gradients = backward.compiled.call(arguments)
        found: list[Any] = []
        start = 0
        for tree in backward.trees:
            found.append(unflatten(tree, gradients[start : start + tree.num_leaves]))
            start += tree.num_leaves
        return adopt(tuple(found))

    def __repr__(self) -> str:
        return f"<pullback of {self._backward.function.name}, {len(self._saved)} saved arrays>"


def matching_leaves(
    tree: Any, spec: optree.PyTreeSpec, expected: Sequence[TensorType], what: str, of: str, function: Function
) -> list[Any]:
    """The leaves of a tangent or cotangent, in the dtypes that they must have.

    Raises ArgumentError unless it has the structure and the shapes of what it is a tangent of.
    """
    leaves = leaves_like(tree, spec)
    if leaves is None:
        raise ArgumentError(
            f"the {what} of {function.name} has the structure {flatten(tree)[1]}, and {of} has {spec}. They must "
            f"agree. Give one array for each array of {of}.",
            user_location(),
        )
    converted: list[Any] = []
    for k, (leaf, t) in enumerate(zip(leaves, expected, strict=True)):
        if not is_float(t.dtype):  # takes no cotangent: whatever was given is not looked at
            converted.append(leaf)
            continue
        leaf = unwrap(leaf)
        shape = leaf.dims if isinstance(leaf, Tracer) else np.shape(leaf)
        if shape != t.shape:
            raise ArgumentError(
                f"array {k} of the {what} of {function.name} has shape {shape}, and that of {of} has {t.shape}. "
                "They must agree. Broadcast or reshape it.",
                user_location(),
            )
        converted.append(_convert(leaf, t))
    return converted


def _convert(leaf: Any, t: TensorType) -> Any:
    if isinstance(leaf, Tracer):
        return leaf if leaf.dtype == t.dtype else leaf.astype(t.dtype)
    dtype = np.asarray(leaf).dtype
    if kind_letter(dtype) not in "fiub":
        raise ArgumentError(
            f"a tangent or cotangent has dtype {dtype}. It must be real. Convert it first.", user_location()
        )
    array = np.array(leaf, t.dtype, order="C")
    return array if t.shape else array[()]


class VjpFunction(Transformed):
    """``VjpFunction(fun).at(args, kwargs)`` is ``(out, pullback)``, with respect to ``argnums`` (None: all)."""

    def __init__(self, fun: Callable[..., Any], argnums: tuple[int, ...] | None = None) -> None:
        super().__init__(fun, Pointwise("vjp", argnums))

    def at(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> tuple[Any, Pullback]:
        """The value and the pullback at a point."""
        call = self._signature.split(args, kwargs or {})
        leaves, tree = flatten((call.args, call.kwargs))
        if has_traced(leaves) or any(map(is_stand_in, leaves)):
            return self._inline(call, current_trace() or innermost_trace(leaves))
        arguments = self._prepare(call, leaves, tree)
        try:
            program = self._program(arguments)
        except CapturesTracer:
            return self._inline(call, enclosing_trace())
        if program.draws and current_trace() is not None:
            return self._inline(call, enclosing_trace())
        out, pullback = attempt(program, lambda p: _pair(p.call(arguments.leaves), p.extra))
        return adopt(out), pullback

    def _build(self, arguments: Arguments, recorder: Recorder) -> Specialisation:
        specs = [spec_of(k) for k in arguments.keys]
        traced = self._trace(arguments, specs, recorder)
        joint, split = _split(traced, optimised=True)
        backward = Backward(traced, joint, split)
        flat = flatten([0] * len(split.forward.results))[1]
        stages = [*backward.stages, ("forward", split.forward)]
        program = Specialisation(stages, specs, arguments.keys, flat, recorder.guards, backward, rooms=False)
        program.notes += backward.notes
        return program

    def _inline(self, call: Call, outer: Trace) -> tuple[Any, Pullback]:
        traced, inputs = self._trace_inner(call, outer, current_recorder() or Recorder())
        joint, split = _split(traced, optimised=False)
        return _pair(outer.inline(split.forward, inputs), Backward(traced, joint, split))


def _notes(traced: Traced, split: residuals.Split) -> list[str]:
    """What ``explain`` says of the two halves."""
    saved = ", ".join(f"{p.name or 'unnamed'} {p.type}" for p in split.backward.params[: split.n_residuals])
    again = ", ".join(dict.fromkeys(op.name for op in split.recomputed))
    return [
        *traced.notes,
        f"saved between forward and backward: {saved or 'nothing'}",
        f"recomputed in the backward part: {again or 'nothing'}",
    ]


def _pair(results: Sequence[Any], backward: Backward) -> tuple[Any, Pullback]:
    n = len(backward.outputs)
    return unflatten(backward.result, results[:n]), Pullback(backward, results[n:])


def _split(traced: Traced, *, optimised: bool) -> tuple[Graph, residuals.Split]:
    """The joint graph and its two halves. Raises UnsupportedError for results without a known shape: the cotangents,
    which have the same shapes, are parameters."""
    for value in traced.graph.results:
        check_result(value)
    outputs = [k for k, r in enumerate(traced.graph.results) if is_float(r.type.dtype)]
    budget = traced.options.memory_budget
    joint = vjp_graph(traced.graph, traced.wrt, seed="param", outputs=outputs, memory_budget=budget)
    work = optimise(joint) if optimised else joint
    return joint, residuals.split(work, len(traced.graph.results), len(outputs))


class JvpFunction(Transformed):
    """``JvpFunction(fun).at(args, kwargs, tangents)`` is ``(out, tangents_out)``; one tangent an argument
    in ``argnums`` (None: all)."""

    def __init__(self, fun: Callable[..., Any], argnums: tuple[int, ...] | None = None) -> None:
        super().__init__(fun, Pointwise("jvp", argnums))

    def at(self, args: tuple[Any, ...], kwargs: dict[str, Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """The value and its derivative along ``tangents``."""
        call = self._signature.split(args, kwargs)
        leaves, tree = flatten((call.args, call.kwargs))
        directions = self._directions(call, tangents)
        if has_traced([*leaves, *directions]) or any(map(is_stand_in, leaves)):
            return self._inline_at(call, directions, current_trace() or innermost_trace([*leaves, *directions]))
        arguments = self._prepare(call, leaves, tree)
        try:
            program = self._program(arguments)
        except CapturesTracer:
            return self._inline_at(call, directions, enclosing_trace())
        if program.draws and current_trace() is not None:
            return self._inline_at(call, directions, enclosing_trace())
        return adopt(program.run((*arguments.leaves, *directions)))

    def _directions(self, call: Call, tangents: Sequence[Any]) -> list[Any]:
        """The leaves of the tangents, checked against those of the primals."""
        chosen = self._argument_positions(call)
        primals, tree = flatten(tuple(call.args[k] for k in chosen))
        found = [t.type if isinstance(t, Tracer) else type_of(t) for t in primals]
        if not found or not all(is_float(t.dtype) for t in found):  # naming the leaves takes time
            whole = flatten((call.args, call.kwargs))[1]
            paths = self._signature.leaf_paths(whole, call)
            check_wrt(found, [paths[k] for k in self._wrt(call, whole)[0]], self._function, "jvp")
        return matching_leaves(tuple(tangents), tree, found, "tangent", "the primals", self._function)

    def _build(self, arguments: Arguments, recorder: Recorder) -> Specialisation:
        specs = [spec_of(k) for k in arguments.keys]
        traced = self._trace(arguments, specs, recorder)
        graph, result = _derive_jvp(traced)
        tangents = [LeafSpec(specs[k].type, False, not specs[k].type.shape) for k in traced.wrt]
        stages = [*traced.stages, ("differentiated", graph)]
        program = Specialisation(stages, [*specs, *tangents], arguments.keys, result, recorder.guards)
        program.notes += traced.notes
        return program

    def _inline_at(self, call: Call, directions: list[Any], outer: Trace) -> tuple[Any, Any]:
        traced, inputs = self._trace_inner(call, outer, current_recorder() or Recorder())
        graph, result = _derive_jvp(traced)
        return unflatten(result, outer.inline(graph, [*inputs, *directions]))


def _derive_jvp(traced: Traced) -> tuple[Graph, optree.PyTreeSpec]:
    tree = unflatten(traced.result, [0] * traced.result.num_leaves)
    return jvp_graph(traced.graph, traced.wrt), flatten((tree, tree))[1]


#: Pointwise functions by what they do, the most recently used last.
_kept_functions: collections.OrderedDict[Any, Transformed] = collections.OrderedDict()
_kept_lock = threading.Lock()
_KEPT = 128


def vjp_function(fun: Callable[..., Any], argnums: tuple[int, ...] | None = None) -> VjpFunction:
    """The VjpFunction of a function. It is kept, so that the next call with the same function finds its programs."""
    return _kept(fun, ("vjp", argnums), lambda f: VjpFunction(f, argnums))


def jvp_function(fun: Callable[..., Any], argnums: tuple[int, ...] | None = None) -> JvpFunction:
    """The JvpFunction of a function. It is kept, so that the next call with the same function finds its programs."""
    return _kept(fun, ("jvp", argnums), lambda f: JvpFunction(f, argnums))


def _kept(fun: Any, kind: Any, make: Callable[[Any], Any]) -> Any:
    if current_trace() is not None:
        return make(fun)
    parts = _parts(fun)
    key = (kind, *(("code", p) if isinstance(p, types.CodeType) else id(p) for p in parts))
    with _kept_lock:
        found = _kept_functions.get(key)
        if found is None:
            found = _kept_functions[key] = make(_frozen(fun))
            found._parts = parts  # pyright: ignore[reportAttributeAccessIssue]  # keeps alive what the ids were taken of
        _kept_functions.move_to_end(key)
        while len(_kept_functions) > _KEPT:
            _kept_functions.popitem(last=False)
    return found


def _parts(fun: Any) -> tuple[Any, ...]:
    """What a callable is made of. Two callables with identical parts do the same, as two evaluations of one lambda
    expression over the same variables."""
    if isinstance(fun, types.MethodType):
        return ("method", *_parts(fun.__func__), fun.__self__)
    if isinstance(fun, BoundTransformed):
        return ("method", fun._transformed, fun.__self__)
    if not _can_freeze(fun):
        return (fun,)
    cells = [cell.cell_contents for cell in fun.__closure__ or ()]
    defaults = [*(fun.__defaults__ or ()), *(fun.__kwdefaults__ or {}).values()]
    return (fun.__code__, fun.__globals__, *cells, "defaults", *defaults)


def _can_freeze(fun: Any) -> bool:
    """Is it a plain function that does not assign to its closure variables, all of which have values?"""
    if not isinstance(fun, types.FunctionType) or fun.__dict__:
        return False
    if reads_of(fun.__code__).stored.intersection(fun.__code__.co_freevars):
        return False
    try:
        return all(cell.cell_contents is not fun for cell in fun.__closure__ or ())
    except ValueError:
        return False


def _frozen(fun: Any) -> Any:
    """A copy of a function with closure variables of its own: they keep the values that they have now."""
    if not _can_freeze(fun) or not fun.__closure__:
        return fun
    cells = tuple(types.CellType(cell.cell_contents) for cell in fun.__closure__)
    copy = types.FunctionType(fun.__code__, fun.__globals__, fun.__name__, fun.__defaults__, cells)
    copy.__kwdefaults__, copy.__qualname__, copy.__module__ = fun.__kwdefaults__, fun.__qualname__, fun.__module__
    return copy
