"""The transformations as functions from graph to graph, with the trees of their arguments and results.

A transformation sees a function as its traced graph and the structure of its result. ``derive`` gives the graph to
compile and the structure of what it returns; it is the same whether the result is compiled on its own or becomes part
of an outer trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import optree

from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.errors import ArgumentError, DifferentiationError
from jitgrad.frontend.options import Options
from jitgrad.frontend.signature import flatten, is_complex_node, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.ir.core import Block, Graph
from jitgrad.ir.custom import resolve
from jitgrad.ir.location import Location
from jitgrad.ir.types import TensorType, is_float
from jitgrad.passes import pipeline


class Function(NamedTuple):
    """What messages call the user's function, and where it is."""

    name: str
    location: Location | None


class Traced(NamedTuple):
    """A function's graph, and the structure of its result. Results of the graph are the leaves of that structure.

    ``wrt`` are the parameters that belong to the differentiated arguments, ``wrt_trees`` one structure an argument.
    ``original`` is the graph as it was traced; ``graph`` has the stable rewrites, which ``notes`` lists. The last
    results are the new values of the parameters ``written``, which the function assigns into; they are no leaves.
    """

    function: Function
    graph: Graph
    result: optree.PyTreeSpec
    wrt: tuple[int, ...]
    wrt_trees: tuple[optree.PyTreeSpec, ...]
    original: Graph
    notes: tuple[str, ...]
    written: tuple[int, ...] = ()
    options: Options = Options()

    @classmethod
    def prepared(
        cls,
        function: Function,
        graph: Graph,
        result: optree.PyTreeSpec,
        wrt: Sequence[int],
        wrt_trees: Sequence[optree.PyTreeSpec],
        written: tuple[int, ...] = (),
        *,
        trace: Trace,
        final: bool = False,
    ) -> Traced:
        """Rewrite a traced graph into its stable form, which must come before differentiation. ``final``: nothing will
        be differentiated."""
        notes: list[str] = []
        stable = pipeline.prepare(resolve(graph) if final else graph, notes)
        notes = [*trace.notes, *notes]
        return cls(function, stable, result, tuple(wrt), tuple(wrt_trees), graph, tuple(notes), written, trace.options)

    @property
    def stages(self) -> list[tuple[str, Graph]]:
        """The traced graph, and the rewritten one if anything was rewritten that is not optimised later as well: what
        is told in notes, and loops."""
        rewritten = self.notes or any(op.regions for op in self.original.ops)
        return [("traced", self.original)] + ([("prepared", self.graph)] if rewritten else [])


class Derived(NamedTuple):
    """The graph to compile and the structure of its results. ``notes`` say how it was made."""

    graph: Graph
    result: optree.PyTreeSpec
    notes: tuple[str, ...] = ()


class Transform:
    """``argnums`` are the differentiated arguments, by position; None is all of them."""

    name: str
    argnums: tuple[int, ...] | None
    options: Options | None = None  # None: those of the function around
    #: What a function counts as having returned that never returns, as its program always ends with an exception.
    unreached: Any = 0.0
    #: Whether lists of many numbers among the arguments are arrays.
    packs = False

    def derive(self, traced: Traced) -> Derived:
        raise NotImplementedError


class Jit(Transform):
    """Nothing is differentiated."""

    name = "jit"
    argnums = ()
    packs = True

    def __init__(self, options: Options | None = None) -> None:
        self.options = options

    def derive(self, traced: Traced) -> Derived:
        return Derived(traced.graph, traced.result)


class Grad(Transform):
    """Gradient of a scalar function with respect to the arguments ``argnums``.

    ``single`` is True where argnums was a number rather than a tuple: then the gradient is not wrapped in a tuple.
    """

    packs = True

    def __init__(self, argnums: tuple[int, ...], *, single: bool, has_aux: bool, with_value: bool) -> None:
        self.argnums, self.single = argnums, single
        self.has_aux, self.with_value = has_aux, with_value
        self.unreached = (0.0, None) if has_aux else 0.0
        self.name = "value_and_grad" if with_value else "grad"

    def derive(self, traced: Traced) -> Derived:
        """The joint graph. Raises DifferentiationError unless the result is one float scalar (and ``aux``)."""
        aux = self._split_result(traced)
        self._check_value(traced)
        notes: list[str] = []
        budget = traced.options.memory_budget
        joint = vjp_graph(traced.graph, traced.wrt, seed="ones", notes=notes, memory_budget=budget)
        n = len(traced.graph.results)
        value, extra, gradients = joint.results[:1], joint.results[1:n], joint.results[n:]
        order = (*value, *extra, *gradients) if self.with_value else (*gradients, *extra)
        graph = Graph(f"{self.name}_{traced.function.name}", Block(joint.params, joint.ops, order))
        return Derived(graph, self._result_tree(traced, aux), tuple(notes))

    def _split_result(self, traced: Traced) -> optree.PyTreeSpec | None:
        """The structure of ``aux``."""
        if not self.has_aux:
            return None
        children = optree.treespec_children(traced.result)
        if (
            traced.result.type is not tuple
            or len(children) != 2
            or (children[0].num_leaves != 1 and not is_complex_node(children[0]))
        ):
            raise DifferentiationError(
                f"{traced.function.name} returns {_describe(traced.result)}. With has_aux=True it must return a pair "
                "(loss, aux). Return such a pair, or leave has_aux out.",
                traced.function.location,
            )
        return children[1]

    def _check_value(self, traced: Traced) -> None:
        name, location = traced.function
        value = optree.treespec_children(traced.result)[0] if self.has_aux else traced.result
        if is_complex_node(value):
            raise DifferentiationError(
                f"{name} returns a complex value. A gradient needs a real one: a complex value has no steepest "
                "direction. Return z.real, z.imag or abs(z), or use jg.vjp or jg.jvp.",
                location,
            )
        if not self.has_aux and (not traced.result.is_leaf() or traced.result.num_leaves != 1):
            raise DifferentiationError(
                f"{name} returns {_describe(traced.result)}. A gradient needs one scalar. Return only the loss, or "
                "(loss, aux) with has_aux=True; for several outputs use jg.jacobian or jg.vjp.",
                location,
            )
        t = traced.graph.results[0].type
        if t.shape:
            raise DifferentiationError(
                f"{name} returns an array of type {t}. A gradient needs a scalar. Reduce it, with np.sum or np.mean "
                "for example, or use jg.jacobian or jg.vjp.",
                location,
            )
        if not is_float(t.dtype):
            raise DifferentiationError(
                f"{name} returns a value of type {t}. Only floats have derivatives. "
                "Return a float; comparisons and integer results are piecewise constant.",
                location,
            )

    def _result_tree(self, traced: Traced, aux: optree.PyTreeSpec | None) -> optree.PyTreeSpec:
        trees = [unflatten(t, [0] * t.num_leaves) for t in traced.wrt_trees]
        gradient: Any = trees[0] if self.single else tuple(trees)
        extra = None if aux is None else unflatten(aux, [0] * aux.num_leaves)
        if self.with_value:
            return flatten(((0, extra) if aux is not None else 0, gradient))[1]
        return flatten((gradient, extra) if aux is not None else gradient)[1]


def _describe(tree: optree.PyTreeSpec) -> str:
    if tree.is_leaf():
        return "one array"
    if tree.type is type(None):
        return "None"
    kind = getattr(tree.type, "__name__", "tree")
    return f"a {kind} of {tree.num_leaves} arrays"


def check_wrt(types: Sequence[TensorType], paths: Sequence[str], function: Function, what: str) -> None:
    """Raise DifferentiationError unless there is a leaf to differentiate and every one is float."""
    if not types:
        raise DifferentiationError(
            f"{what} of {function.name} has nothing to differentiate. The chosen arguments hold no arrays or numbers. "
            "Choose others with argnums.",
            function.location,
        )
    for t, path in zip(types, paths, strict=True):
        if is_float(t.dtype):
            continue
        raise DifferentiationError(
            f"{what} of {function.name} with respect to {path}, which has type {t}. Only floats are differentiated. "
            "Make it float (1.0, astype(float)), choose other arguments with argnums, or close over it.",
            function.location,
        )


def positions(argnums: Sequence[int], n_args: int, function: Function) -> list[int]:
    """Non-negative, distinct argument numbers; raises ArgumentError for those that were not passed."""
    found: list[int] = []
    for k in argnums:
        n = k + n_args if k < 0 else k
        if not 0 <= n < n_args:
            raise ArgumentError(
                f"argnums has {k}, but the number of positional arguments of {function.name} is {n_args}. "
                "Only arguments passed by position, or by the name of a positional parameter, can be differentiated.",
                function.location,
            )
        if n in found:
            raise ArgumentError(
                f"argnums {tuple(argnums)} names argument {n} of {function.name} twice. Each has one gradient. Name it "
                "once.",
                function.location,
            )
        found.append(n)
    return found


class Pointwise(Transform):
    """``vjp`` and ``jvp``: what is done at a point is up to the caller (see :mod:`jitgrad.pullbacks`)."""

    def __init__(self, name: str, argnums: tuple[int, ...] | None) -> None:
        self.name, self.argnums = name, argnums

    def derive(self, traced: Traced) -> Derived:
        raise NotImplementedError
