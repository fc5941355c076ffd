"""The computation graph of a function as a picture: DOT text, and SVG where graphviz is installed.

In a scalar program every edge shows the value that flows along it and its cotangent, the derivative of the result
with respect to what is used there. The contributions of all uses of a value add up to its own cotangent, which is
shown at the arguments. In other programs an edge shows the type of the value.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.autodiff.activity import active_values
from jitgrad.autodiff.adjoints import Adjoints, pull_back
from jitgrad.errors import ArgumentError, JitgradError
from jitgrad.ir.core import Builder, Graph, Op, Value
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import is_float
from jitgrad.jacobians import Jacobian
from jitgrad.ops.op import Cotangent, Var
from jitgrad.passes.dce import dce
from jitgrad.transformed import BoundTransformed, Transformed
from jitgrad.transforms import Jit


class DrawingError(JitgradError, RuntimeError):
    """A picture needs graphviz, and it is not installed or failed."""


class Drawing:
    """A picture of a graph. ``dot`` is its DOT text; notebooks show it as SVG where graphviz is installed."""

    def __init__(self, dot: str) -> None:
        self.dot = dot

    def __str__(self) -> str:
        return self.dot

    def svg(self) -> str:
        """The picture as SVG text. Raises DrawingError without graphviz."""
        try:
            import graphviz
        except ImportError as error:
            raise DrawingError(_missing("the Python package graphviz", "pip install graphviz")) from error
        if shutil.which("dot") is None:
            raise DrawingError(_missing("graphviz's program 'dot'", "apt install graphviz, or brew install graphviz"))
        try:
            return graphviz.Source(self.dot).pipe(format="svg", encoding="utf-8")
        except graphviz.CalledProcessError as error:
            raise DrawingError(f"graphviz failed: {error}. The DOT text may hold why. Save it as .dot.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture; the suffix says what: ``.dot`` (or ``.gv``) or ``.svg``, which needs graphviz."""
        suffix = os.path.splitext(os.fspath(path))[1].lower()
        if suffix not in (".dot", ".gv", ".svg"):
            raise ArgumentError(
                f"a drawing can't be saved as {suffix or 'a file without suffix'!r}. It is DOT text or SVG. "
                "Name the file .dot or .svg."
            )
        text = self.svg() if suffix == ".svg" else self.dot
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def _repr_svg_(self) -> str | None:
        try:
            return self.svg()
        except DrawingError:
            return None  # notebooks take the HTML form then

    def _repr_html_(self) -> str:
        svg = self._repr_svg_()
        return svg if svg is not None else f"<pre>{_escape_html(self.dot)}</pre>"


def _missing(what: str, how: str) -> str:
    return f"there is no {what} here. Graphviz turns a drawing into SVG. Install it ({how}), or use the DOT text."


def draw(fun: Callable[..., Any] | Graph, *args: Any, **kwargs: Any) -> Drawing:
    """Draw the computation graph of a function for these arguments, or a graph.

    Parameters
    ----------
    fun : a function; a transformed function, of which the function inside is drawn (to see the derivative, draw
        ``jg.trace(jg.grad(f), x)``); or a :class:`Graph`.
    args, kwargs : arguments of the function. For a graph: one array a parameter, or none.

    A program in which every value is a scalar is run, and its edges show values and cotangents; the cotangent is that
    of the sum of the float results. Other edges show types.
    """
    if isinstance(fun, Graph):
        if kwargs or len(args) not in (0, len(fun.params)):
            raise ArgumentError(
                f"draw of a graph takes one array for each of its {len(fun.params)} parameters, or none. It was given "
                f"{len(args) + len(kwargs)}. Leave them out to see types only."
            )
        graph, leaves = fun, [np.asarray(a) for a in args]
        known = len(leaves) == len(graph.params)
    else:
        function = _underlying(fun)
        graph = function.traced_graph(*args, **kwargs)
        leaves = [np.asarray(leaf) for leaf in function._arguments(args, kwargs).leaves]
        known = True
    if known and _all_scalar(graph):
        return Drawing(_Dot(graph, *_values(graph, leaves)).text())
    return Drawing(_Dot(graph, {}, {}, {}).text())


def _underlying(fun: Any) -> Transformed:
    """The function inside all transformations, ready to be traced."""
    while isinstance(fun, (Transformed, BoundTransformed, Jacobian)):
        if isinstance(fun, BoundTransformed):
            fun = fun.__wrapped__
            continue
        inner = fun._fun
        plain = not isinstance(inner, (Transformed, Jacobian))
        if plain and isinstance(fun, Transformed) and isinstance(fun._transform, Jit):
            return fun  # it knows what is static
        fun = inner
    if not callable(fun):
        raise ArgumentError(
            f"draw takes a function or a Graph, not an object of type {type(fun).__name__}. It traces the function for "
            "the arguments that follow. Write jg.draw(f, x)."
        )
    return Transformed(fun, Jit())


# Values and cotangents


def _all_scalar(graph: Graph) -> bool:
    values = [*graph.params, *(r for op in graph.ops for r in op.results)]
    return all(v.type.shape == () for v in values) and not any(op.regions for op in graph.ops)


class _Uses(Adjoints):
    """Cotangents, with what each use of a value contributes."""

    def __init__(self, b: Builder, env: dict[Value, Value]) -> None:
        super().__init__(b, env)
        self.user: Op | None = None
        self.contributions: dict[tuple[Op | None, int], Value] = {}

    def add(self, value: Value, g: Cotangent) -> None:
        super().add(value, g)
        if self.user is not None:
            # Operands are visited in order, so the first use of the value that has no entry yet is this one.
            places = [k for k, v in enumerate(self.user.operands) if v is value]
            place = next(k for k in places if (self.user, k) not in self.contributions)
            self.contributions[self.user, place] = g.value.value


Values = dict[Value, np.ndarray]
Contributions = dict[tuple[Op | None, int], np.ndarray]


def _values(graph: Graph, leaves: Sequence[np.ndarray]) -> tuple[Values, Values, Contributions]:
    """The value of everything; the cotangents of the values; and what each use contributes to them."""
    b = Builder(graph.name)
    env: dict[Value, Value] = {p: b.param(p.type, p.name) for p in graph.params}
    for op in graph.ops:
        b.copy(op, env)
    wrt = [k for k, p in enumerate(graph.params) if is_float(p.type.dtype)]
    active = active_values(graph, wrt)
    uses = _Uses(b, env)
    for r in graph.results:
        if r in active:
            uses.add(r, Cotangent(Var(b, b.constant(1, r.type.dtype))))
    for op in reversed(graph.ops):
        uses.user = op
        pull_back(op, uses, active)
    wanted = list(env)
    cotangents = {v: g.value.value for v in wanted if (g := uses.get(v)) is not None}
    places = list(uses.contributions)
    outputs = [env[v] for v in wanted] + list(cotangents.values()) + [uses.contributions[p] for p in places]
    found = iter(interpret(dce(b.build(*outputs)), *leaves))
    values = {v: next(found) for v in wanted}
    adjoints = {v: next(found) for v in cotangents}
    return values, adjoints, {p: next(found) for p in places}


# Text


class _Dot:
    """Writes one graph: a node an op, argument and result, an edge a use."""

    def __init__(self, graph: Graph, values: Values, cotangents: Values, contributions: Contributions) -> None:
        self.graph, self.values = graph, values
        self.cotangents, self.contributions = cotangents, contributions
        self.nodes: dict[Value, str] = {}

    def text(self) -> str:
        lines = [f"digraph {_quote(self.graph.name)} {{", "  rankdir=LR;"]
        lines += ['  node [shape=box, style="rounded,filled", fillcolor=white, fontname=Helvetica, fontsize=11];']
        lines += ["  edge [fontname=Helvetica, fontsize=9];"]
        for k, p in enumerate(self.graph.params):
            self.nodes[p] = f"p{k}"
            lines.append(self.node(f"p{k}", [p.name or f"argument {k}", *self.details(p)], fill="lightblue"))
        for k, op in enumerate(self.graph.ops):
            self.nodes.update(dict.fromkeys(op.results, f"op{k}"))
            constant = op.name == "constant"
            lines.append(self.node(f"op{k}", self.op_label(op), fill="gray95" if constant else "white"))
            lines += [self.edge(v, f"op{k}", self.use_label(v, op, n)) for n, v in enumerate(op.operands)]
        for k, r in enumerate(self.graph.results):
            several = len(self.graph.results) > 1
            lines.append(self.node(f"r{k}", [f"result {k}" if several else "result"], fill="palegreen"))
            one = np.ones((), r.type.dtype) if r in self.cotangents else None
            lines.append(self.edge(r, f"r{k}", self.label(r, one)))
        return "\n".join([*lines, "}", ""])

    def op_label(self, op: Op) -> list[str]:
        if op.name == "constant":
            value = op.attrs["value"]
            return [_number(value) if value.shape == () else f"constant {op.result.type}"]
        attributes = ", ".join(f"{name}={value}" for name, value in op.attrs.items())
        names = [r.name for r in op.results if r.name]
        head = f"{', '.join(names)} = {op.name}" if names else op.name
        return [head, *([attributes] if attributes else []), *([op.loc.short()] if op.loc is not None else [])]

    def details(self, v: Value) -> list[str]:
        """What an argument shows: its value and cotangent, or its type."""
        return [self.label(v, self.cotangents.get(v))]

    def use_label(self, v: Value, op: Op, place: int) -> str:
        return self.label(v, self.contributions.get((op, place)))

    def label(self, v: Value, cotangent: np.ndarray | None) -> str:
        if v not in self.values:
            return str(v.type)
        text = _number(self.values[v])
        return text if cotangent is None else f"{text}\n∂ {_number(cotangent)}"

    def node(self, name: str, lines: Sequence[str], fill: str) -> str:
        return f"  {name} [label={_quote(chr(10).join(lines))}, fillcolor={fill}];"

    def edge(self, v: Value, target: str, label: str) -> str:
        return f"  {self.nodes[v]} -> {target} [label={_quote(label)}];"


def _number(value: Any) -> str:
    a = np.asarray(value)
    return f"{float(a):.6g}" if is_float(a.dtype) else str(a.item())


def _quote(text: str) -> str:
    """A quoted DOT string; line breaks are centred ones."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _escape_html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
