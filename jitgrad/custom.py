"""``custom_vjp`` and ``custom_jvp``: functions whose derivative the user gives."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optree

from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.control import recording_trace
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend import control_flow
from jitgrad.frontend.capture import Recorder
from jitgrad.frontend.namespace import stand_in
from jitgrad.frontend.signature import LeafSpec, flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.core import Builder, Graph
from jitgrad.ir.custom import CustomRule
from jitgrad.ir.location import user_location
from jitgrad.ir.types import is_float
from jitgrad.ops.op import zeros
from jitgrad.passes.pipeline import prepare
from jitgrad.tracing import current_recorder, declare, run_traced

Function = Callable[..., Any]


class _Function:
    """A function that has a rule: what both kinds of rules share."""

    def __init__(self, fun: Any, kind: str, nondiff_argnums: Sequence[int]) -> None:
        self.kind, self.defined = kind, {"custom_vjp": "defvjp(fwd, bwd)", "custom_jvp": "defjvp(rule)"}[kind]
        self.fun, self.name = self.callable(fun), getattr(fun, "__name__", type(fun).__name__)
        self.fixed = tuple(nondiff_argnums)
        if any(isinstance(k, bool) or not isinstance(k, int) or k < 0 for k in self.fixed):
            raise ArgumentError(
                f"nondiff_argnums is {nondiff_argnums!r}. It holds positions of arguments, counted from 0.",
                user_location(),
            )
        self.rules: tuple[Function, ...] = ()
        #: The rules that are being traced now, by their calls, with the structures of the results.
        self.making: list[tuple[Any, CustomRule, optree.PyTreeSpec]] = []

    def callable(self, fun: Any) -> Function:
        """The function itself. Raises ArgumentError for what is none."""
        if not callable(fun):
            raise ArgumentError(
                f"{self.kind} takes functions, not an object of type {type(fun).__name__}. Pass a function.",
                user_location(),
            )
        return fun

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position."""
        try:
            signature = inspect.signature(self.fun)
        except (TypeError, ValueError):
            signature = None
        if signature is None:
            if not kwargs:
                return args
        else:
            found = signature.bind(*args, **kwargs)
            found.apply_defaults()
            if not found.kwargs:
                return found.args
        raise ArgumentError(
            f"{self.name} has a rule for its derivative, and takes all arguments by position. It was given some that "
            "are passed by keyword only.",
            user_location(),
        )

    def apart(self, args: tuple[Any, ...]) -> tuple[dict[int, Any], tuple[Any, ...]]:
        """The arguments that are Python values, by position, and the others."""
        fixed = {k: args[k] for k in self.fixed if k < len(args)}
        for k, x in fixed.items():
            if contains_tracer(flatten(x)[0]):
                raise ArgumentError(
                    f"argument {k} of {self.name} is in nondiff_argnums, and holds a traced value. Those are Python "
                    "values. Take it out of nondiff_argnums, and return None for its cotangent.",
                    user_location(),
                )
        return fixed, tuple(x for k, x in enumerate(args) if k not in fixed)

    def together(self, fixed: Mapping[int, Any], free: Sequence[Any]) -> list[Any]:
        """All arguments."""
        rest = iter(free)
        return [fixed[k] if k in fixed else next(rest) for k in range(len(fixed) + len(free))]

    def wrong(self, rule: str, found: Any) -> ArgumentError:
        """The error for a rule that returned something else."""
        kind = f"{len(found)} items" if isinstance(found, tuple) else f"an object of type {type(found).__name__}"
        return ArgumentError(f"the rule of {self.name} is not right: {rule}. It returned {kind}.", user_location())

    def pair(self, found: Any, rule: str) -> tuple[Any, Any]:
        """What a rule returned, if it is a pair."""
        if not isinstance(found, tuple) or len(found) != 2:
            raise self.wrong(rule, found)
        return found


class _Call:
    """One call of such a function in a traced function: its leaves, and the graphs that are made of it."""

    def __init__(self, function: _Function, trace: Trace, args: tuple[Any, ...]) -> None:
        self.function, self.trace = function, trace
        self.fixed, free = function.apart(args)
        leaves, self.tree = flatten(free)
        self.leaves = [trace.lift(x) for x in leaves]
        self.recorder = current_recorder() or Recorder()
        if any(not isinstance(n, int) for x in self.leaves for n in x.dims):
            raise UnsupportedError(
                f"{function.name} has a rule for its derivative, and an argument whose extent is known only when the "
                "program runs. Give it arrays of known shapes.",
                user_location(),
            )
        fixed = tuple((k, id(x)) for k, x in self.fixed.items())
        self.key = (self.tree, tuple((x.type, x.weak) for x in self.leaves), fixed)
        self.moving = [k for k, x in enumerate(self.leaves) if is_float(x.type.dtype)]
        self.result: Any = None

    def graph(self, fun: Function, like: Sequence[Any], what: str) -> tuple[Graph, optree.PyTreeSpec]:
        """The graph of a function of leaves of the same types, and the structure of its result."""
        inner = Trace(what, self.trace.options)
        specs = [LeafSpec(t.type, bool(getattr(t, "weak", None)), not t.type.shape) for t in like]
        params = declare(inner, specs, [f"a{k}" for k in range(len(specs))])
        graph, tree, _ = run_traced(fun, inner, self.recorder, params, {}, what)
        if inner.captures:
            raise ArgumentError(
                f"{what} uses a traced value that is none of its arguments. Its derivative with respect to that is not "
                "given. Pass the value as an argument.",
                user_location(),
            )
        notes: list[str] = []
        graph = prepare(graph, notes)
        for text in (*inner.notes, *notes):
            self.trace.note(text)
        return graph, tree

    def body(self) -> CustomRule:
        """The function without its derivative."""
        run = control_flow.callee(self.function.fun)
        graph, self.result = self.graph(lambda *xs: run(*self.args(xs)), self.leaves, self.function.name)
        return CustomRule(self.function.name, graph)

    def args(self, leaves: Sequence[Any]) -> list[Any]:
        """All arguments, with other leaves."""
        return self.function.together(self.fixed, self.free(leaves))

    def free(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments that are differentiated, with other leaves."""
        return unflatten(self.tree, leaves)

    def tangents(self, given: Sequence[Any]) -> tuple[Any, ...]:
        """Tangents of those, of the leaves that are float; None for the others."""
        rest = iter(given)
        return self.free([next(rest) if k in self.moving else None for k in range(len(self.leaves))])

    def cotangent(self, rule: CustomRule, given: Sequence[Any]) -> Any:
        """The cotangent of the result; None for what is not float."""
        rest = iter(given)
        return unflatten(self.result, [next(rest) if is_float(r.type.dtype) else None for r in rule.graph.results])

    def matched(self, found: Any) -> list[Any]:
        """The cotangents that a rule returned, for each float leaf."""
        count = optree.treespec_children(self.tree)
        if not isinstance(found, (tuple, list)) or len(found) != len(count):
            raise self.function.wrong(
                f"its bwd returns a tuple with a cotangent for each of {len(count)} arguments", found
            )
        given: list[Any] = []
        for k, (tree, x) in enumerate(zip(count, found, strict=True)):
            leaves = [None] * tree.num_leaves if x is None else _leaves_of(x, tree)
            if leaves is None:
                raise self.function.wrong(
                    f"the cotangent of argument {k} has the structure of the argument, or is None", x
                )
            given += leaves
        return [self.like(given[k], self.leaves[k], f"the cotangent of leaf {k} of the arguments") for k in self.moving]

    def like(self, x: Any, value: Any, what: str) -> Any:
        """A cotangent or tangent as an array of the type of its value; None is zero."""
        t = value.type
        if x is None:
            return stand_in(np.zeros)(t.shape, t.dtype)
        shape = tuple(x.dims) if isinstance(x, Tracer) else np.shape(x)
        if shape != t.shape:
            raise ShapeError(
                f"{what} of {self.function.name} has shape {shape}, and what it belongs to has shape {t.shape}. Both "
                "have the same shape: sum it over the axes that were broadcast, or broadcast it.",
                user_location(),
            )
        return stand_in(np.asarray)(x, t.dtype)

    def apply(self, rule: CustomRule) -> Any:
        """The function's result in the trace."""
        found = self.trace.emit("custom", self.leaves, {"rule": rule})
        return unflatten(self.result, [Tracer(self.trace, v) for v in found[: len(rule.graph.results)]])


def _with_rule(function: _Function, make: Callable[[_Call, CustomRule], CustomRule]) -> Any:
    """The function to call. ``make`` completes the rule that the function's own rule sees; returns the one to use."""

    @functools.wraps(function.fun)
    def custom(*args: Any, **kwargs: Any) -> Any:
        args = function.bound(args, kwargs)
        trace = recording_trace(args)
        if trace is None:
            return function.fun(*args)
        if not function.rules:
            raise ArgumentError(
                f"{function.name} has no rule for its derivative yet. Give it by {function.name}.{function.defined}.",
                user_location(),
            )
        call = _Call(function, trace, args)
        for key, rule, result in function.making:
            if key == call.key:
                call.result = result
                return call.apply(rule)
        rule = call.body()
        function.making.append((call.key, rule, call.result))
        try:
            rule = make(call, rule)
        finally:
            function.making.pop()
        return call.apply(rule)

    return custom


def custom_vjp(fun: Function | None = None, *, nondiff_argnums: Sequence[int] = ()) -> Any:
    """A function with a derivative of its own in reverse mode, given by ``defvjp``.

    ``f.defvjp(fwd, bwd)``: ``fwd`` takes the arguments of ``f`` and returns its result and a tree of residuals;
    ``bwd(residuals, cotangent)`` returns a tuple with one cotangent an argument, each in the structure of its argument,
    None for zero. The cotangent has the structure of the result, with None in the place of what is not float.
    ``nondiff_argnums`` are positions of arguments that are Python values (functions, strings, numbers that decide what
    is computed); ``bwd`` gets them first.

    Where nothing is differentiated the function runs as it is. Forward mode is an error, but for derivatives of
    gradients: those differentiate ``fwd`` and ``bwd``. Source: ``jax.custom_vjp``.

    >>> @jg.custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, g: (np.clip(g, -1, 1),))

    Raises ArgumentError, when called in a traced function, for rules that are missing or return something else, and for
    a function that uses traced values which are none of its arguments; ShapeError for a cotangent of another shape.
    """
    if fun is None:
        return functools.partial(custom_vjp, nondiff_argnums=nondiff_argnums)
    function = _Function(fun, "custom_vjp", nondiff_argnums)
    custom = _with_rule(function, _reverse_rule)

    def defvjp(fwd: Function, bwd: Function) -> None:
        """Give the rule."""
        function.rules = (function.callable(fwd), function.callable(bwd))

    custom.defvjp = defvjp
    return custom


def custom_jvp(fun: Function | None = None, *, nondiff_argnums: Sequence[int] = ()) -> Any:
    """A function with a derivative of its own, given in forward mode by ``defjvp``; it serves reverse mode as well.

    ``f.defjvp(rule)``, also as a decorator: ``rule(primals, tangents)`` returns the result and its tangent. Both
    arguments are tuples with one entry an argument of ``f``; tangents have None in the place of what is not float, and
    the tangent of the result must be linear in them. ``nondiff_argnums`` are positions of arguments that are Python
    values; ``rule`` gets them first. Source: ``jax.custom_jvp``.

    >>> @jg.custom_jvp
    ... def softplus(x):
    ...     return np.log1p(np.exp(x))
    >>> @softplus.defjvp
    ... def softplus_rule(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return softplus(x), t / (1 + np.exp(-x))

    Raises ArgumentError, when called in a traced function, for a rule that is missing or returns something else, and
    for a function that uses traced values which are none of its arguments.
    """
    if fun is None:
        return functools.partial(custom_jvp, nondiff_argnums=nondiff_argnums)
    function = _Function(fun, "custom_jvp", nondiff_argnums)
    custom = _with_rule(function, _forward_rule)

    def defjvp(rule: Function) -> Function:
        """Give the rule; returns it."""
        function.rules = (function.callable(rule),)
        return rule

    custom.defjvp = defjvp
    return custom


def _reverse_rule(call: _Call, own: CustomRule) -> CustomRule:
    """The rule by ``fwd`` and ``bwd``. Where these call the function itself, its residuals are computed again in
    reverse: ``own`` has no room for them. Derivatives of that call are by the rule as well; in forward mode, which
    derivatives of gradients may use, by its transpose."""
    fwd, bwd = map(control_flow.callee, call.function.rules)
    trees: list[optree.PyTreeSpec] = []

    def saving(*xs: Any) -> Any:
        pair = "its fwd returns a pair, the result and the residuals"
        out, residuals = call.function.pair(fwd(*call.args(xs)), pair)
        trees[:] = [flatten(out)[1], flatten(residuals)[1]]
        return out, residuals

    saved, _ = call.graph(saving, call.leaves, f"fwd of {call.function.name}")
    count = len(own.graph.results)
    types = [r.type for r in own.graph.results]
    if trees[0] != call.result or [r.type for r in saved.results[:count]] != types:
        raise ArgumentError(
            f"fwd of {call.function.name} returns a result of the structure {trees[0]} and types "
            f"{[str(r.type) for r in saved.results[:count]]}, and the function itself {call.result} and "
            f"{list(map(str, types))}. Both return the same.",
            user_location(),
        )
    residuals = saved.results[count:]
    given = [r for r in own.graph.results if is_float(r.type.dtype)]
    first, second = len(call.leaves), len(call.leaves) + len(residuals)

    def cotangents(*xs: Any) -> Any:
        kept = unflatten(trees[1], xs[first:second])
        return call.matched(bwd(*call.fixed.values(), kept, call.cotangent(own, xs[second:])))

    pullback, _ = call.graph(cotangents, [*call.leaves, *residuals, *given], f"bwd of {call.function.name}")
    b = Builder(pullback.name)
    args = [b.param(x.type) for x in call.leaves]
    seeds = [b.param(g.type) for g in given]
    own.pullback = b.build(*b.inline(pullback, [*args, *b.inline(saved, args)[count:], *seeds]))
    own.pushforward = _transposed(own.pullback, first)
    return CustomRule(own.name, own.graph, saved, pullback)


def _forward_rule(call: _Call, own: CustomRule) -> CustomRule:
    """The rule by a function of primals and tangents, and its transpose."""
    (rule,) = map(control_flow.callee, call.function.rules)
    count = len(call.leaves)

    def tangents(*xs: Any) -> Any:
        pair = "it returns a pair, the result and its tangent"
        found = rule(*call.fixed.values(), call.free(xs[:count]), call.tangents(xs[count:]))
        out, tangent = call.function.pair(found, pair)
        if flatten(out)[1] != call.result:
            raise call.function.wrong(f"the result has the structure of the function's, {call.result}", out)
        leaves = _leaves_of(tangent, call.result)
        if leaves is None:
            raise call.function.wrong(f"the tangent has the structure of the result, {call.result}", tangent)
        pairs = zip(leaves, own.graph.results, strict=True)
        return [call.like(t, r, "a tangent of the result") for t, r in pairs if is_float(r.type.dtype)]

    moving = [call.leaves[k] for k in call.moving]
    own.pushforward, _ = call.graph(tangents, [*call.leaves, *moving], f"rule of {call.function.name}")
    own.pullback = _transposed(own.pushforward, count)
    return own


def _transposed(linear: Graph, count: int) -> Graph:
    """The transpose of a graph in what its parameters after the first ``count`` are, in which it is linear: from those
    and cotangents of the results."""
    wrt = range(count, len(linear.params))
    transposed = vjp_graph(linear, wrt, with_value=False, seed="param", outputs=range(len(linear.results)))
    b = Builder(transposed.name)
    args = [b.param(p.type, p.name) for p in linear.params[:count]]
    seeds = [b.param(r.type) for r in linear.results]
    anywhere = [zeros(b, linear.params[k].type).value for k in wrt]
    return b.build(*b.inline(transposed, [*args, *anywhere, *seeds]))


def _leaves_of(x: Any, tree: optree.PyTreeSpec) -> list[Any] | None:
    """The leaves of a tree of that structure, in which None may stand for a leaf; None where it has another."""
    try:
        leaves = tree.flatten_up_to(x)
    except (TypeError, ValueError):
        return None
    return leaves if all(leaf is None or flatten(leaf)[1].is_leaf() for leaf in leaves) else None
