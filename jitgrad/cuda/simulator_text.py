"""The text of kernels made ready for the simulator.

Literals become NumPy scalars, operators calls of functions that know the compiler's types. Where threads wait for each
other (barriers, shuffles) a function becomes a generator that yields what it waits for; calls of such a function become
``yield from``. Functions that never wait stay plain, and run faster.

Names that kernels can't contain, as ``<Add>`` or ``<0.5>``, stand for what is put in.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from jitgrad.cuda.simulator_scalars import CONVERSIONS, OPERATORS
from jitgrad.cuda.text import register
from jitgrad.errors import ArgumentError

#: Calls that wait for other threads.
WAITS = {
    "cuda.syncthreads": "syncthreads",
    "cuda.syncwarp": "syncwarp",
    "grid_sync": "grid_sync",
    "cuda.shfl_sync": "shfl_sync",
    "cuda.shfl_up_sync": "shfl_up_sync",
    "cuda.shfl_down_sync": "shfl_down_sync",
    "cuda.shfl_xor_sync": "shfl_xor_sync",
}
#: What a call that waits takes.
_ARITY = {"syncthreads": 0, "grid_sync": 0, "syncwarp": 0}


class Kernel(NamedTuple):
    """A function of the text. ``waits`` where it is a generator."""

    function: Callable[..., Any]
    parameters: tuple[str, ...]
    waits: bool


def load(source: str, namespace: dict[str, Any]) -> tuple[str, dict[str, Kernel]]:
    """The file name that the text has in tracebacks, and its kernels, which see ``namespace``."""
    filename = register(source)
    tree = ast.parse(source, filename)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    waiting = _waiting(functions)
    rewrite = _Rewrite(waiting, namespace)
    tree = ast.fix_missing_locations(rewrite.visit(tree))
    exec(compile(tree, filename, "exec"), namespace)
    kernels = {}
    for name, node in functions.items():
        function = namespace[name]
        assert isinstance(function, FunctionType)
        if not rewrite.devices.get(name):
            kernels[name] = Kernel(function, tuple(a.arg for a in node.args.args), name in waiting)
    return filename, kernels


def _dotted(node: ast.AST) -> str:
    """``cuda.syncthreads`` for such an expression."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _waiting(functions: dict[str, ast.FunctionDef]) -> set[str]:
    """The functions that wait for other threads, themselves or in one that they call."""
    calls = {
        name: {_dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for name, tree in functions.items()
    }
    waiting = {name for name, called in calls.items() if called & set(WAITS)}
    while True:
        more = {name for name, called in calls.items() if called & waiting} - waiting
        if not more:
            return waiting
        waiting |= more


class _Rewrite(ast.NodeTransformer):
    def __init__(self, waiting: set[str], namespace: dict[str, Any]) -> None:
        self.waiting = waiting
        self.namespace = namespace
        self.devices: dict[str, bool] = {}
        self.sites = itertools.count()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.devices[node.name] = [_dotted(d) for d in node.decorator_list] == ["device"]
        if node.decorator_list and not self.devices[node.name]:
            raise self.refused(node, "a decorator that is not @device")
        node.decorator_list = []
        self.generic_visit(node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, bool):
            return self.named(node, np.bool_(node.value))
        if isinstance(node.value, int):
            kind = np.int64 if node.value < 2**63 else np.uint64
            return self.named(node, kind(node.value))
        return self.named(node, np.float64(node.value)) if isinstance(node.value, float) else node

    def named(self, node: ast.expr, value: Any) -> ast.expr:
        """A name for a constant."""
        name = f"<{value!r}>"
        self.namespace[name] = value
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def called(self, node: ast.expr, name: str, *arguments: ast.expr) -> ast.expr:
        call = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
        return ast.copy_location(call, node)

    def operator(self, node: ast.expr, op: ast.AST, *operands: ast.expr) -> ast.expr:
        kind = type(op).__name__
        if kind not in OPERATORS:
            raise self.refused(node, f"the operator {kind}")
        self.namespace[f"<{kind}>"] = OPERATORS[kind]
        return self.called(node, f"<{kind}>", *operands)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return self.operator(node, node.op, self.visit(node.left), self.visit(node.right))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Not):
            return ast.copy_location(ast.UnaryOp(ast.Not(), self.visit(node.operand)), node)
        return self.operator(node, node.op, self.visit(node.operand))

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        """``x += v`` is ``x = x + v``; the pointer and index of an element are computed once."""
        value = self.visit(node.value)
        if isinstance(node.target, ast.Name):
            before = ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
            return ast.copy_location(ast.Assign([node.target], self.operator(node.value, node.op, before, value)), node)
        if not isinstance(node.target, ast.Subscript):
            raise self.refused(node, "such an assignment")
        places = [self.visit(node.target.value), self.visit(node.target.slice)]
        kept = [ast.Name(name, ast.Store()) for name in ("<pointer>", "<index>")]
        targets = ast.Tuple(list(kept), ast.Store())
        names = [ast.Name(name.id, ast.Load()) for name in kept]
        element = ast.copy_location(ast.Subscript(names[0], names[1], ast.Load()), node.target)
        target = ast.Subscript(names[0], names[1], ast.Store())
        result = self.operator(node.value, node.op, element, value)
        statements = [ast.Assign([targets], ast.Tuple(places, ast.Load())), ast.Assign([target], result)]
        return [ast.copy_location(statement, node) for statement in statements]

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = _dotted(node.func)
        if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            raise self.refused(node, "an argument by name or by star")
        if name == "cuda.shared.array":
            return self.shared(node)
        arguments = [self.visit(argument) for argument in node.args]
        if name in WAITS:
            return self.wait(node, WAITS[name], arguments)
        call = ast.copy_location(ast.Call(self.visit(node.func), arguments, []), node)
        if name in self.waiting:
            return ast.copy_location(ast.YieldFrom(call), node)
        only = node.args[0] if len(node.args) == 1 else None
        if name in CONVERSIONS and isinstance(only, ast.Constant):
            literal = self.visit(only)
            assert isinstance(literal, ast.Name)
            return self.named(node, CONVERSIONS[name](self.namespace[literal.id]))
        return call

    def shared(self, node: ast.Call) -> ast.expr:
        """The number of the place in the text goes before the arguments: it tells a block's arrays apart."""
        if len(node.args) != 2 or not isinstance(node.args[0], ast.Constant) or type(node.args[0].value) is not int:
            raise self.refused(node, "a shared array whose length is no literal")
        place = [ast.Constant(next(self.sites)), ast.Constant(node.lineno)]
        return self.called(node, "<shared>", *place, *node.args)

    def wait(self, node: ast.Call, kind: str, arguments: list[ast.expr]) -> ast.expr:
        if len(arguments) != _ARITY.get(kind, 3):
            raise self.refused(node, f"{kind} with {len(arguments)} arguments")
        what = [ast.Constant(kind), ast.Constant(node.lineno), *arguments]
        return ast.copy_location(ast.Yield(ast.Tuple(what, ast.Load())), node)

    def refused(self, node: Any, what: str) -> ArgumentError:
        return ArgumentError(
            f"line {node.lineno} of the kernels has {what}. The language of kernels has no such thing. Write it in "
            "what the language has."
        )
