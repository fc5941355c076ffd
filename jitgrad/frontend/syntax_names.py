"""Scopes of a function that is to be rewritten: which names are its own, and which of them closures share.

A name of the function is *captured* when a nested function, lambda, class or stored generator expression reads it
later, and *shared* when such a thing also writes it (``nonlocal``). List, set and dict comprehensions run at once, so
what they read counts as read by the function itself.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

#: Calls that see or change the local variables behind the compiler's back.
DELICATE = frozenset({"locals", "exec", "eval", "vars", "dir"})
#: Functions that consume a generator expression before they return.
CONSUMERS = frozenset({"sum", "any", "all", "min", "max", "list", "tuple", "set", "frozenset", "dict", "sorted"})

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
ComprehensionNode = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(eq=False)
class Scope:
    """One scope and those inside it. ``kind`` is "comprehension" for what runs at once, else who owns the scope."""

    node: ast.AST
    kind: Literal["function", "class", "generator", "comprehension"]
    parameters: list[str] = field(default_factory=list)
    binds: dict[str, None] = field(default_factory=dict)  # ordered; parameters included
    loads: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    children: list[Scope] = field(default_factory=list)
    suspends: str | None = None  # why the function is no plain function: "a generator", "a coroutine"
    given: frozenset[str] = frozenset()  # names of functions around, inside the root, that closures write

    @cached_property
    def locals(self) -> frozenset[str]:
        """The names that live in this scope."""
        return frozenset(self.binds) - self.globals - self.nonlocals

    @cached_property
    def free(self) -> frozenset[str]:
        """The names that this scope, or one inside it, looks up outside."""
        inner = frozenset().union(*(child.free for child in self.children))
        if self.kind == "class":  # a class body may fall back on the outer name, and does not shield its methods
            return (inner | self.loads | self.nonlocals) - self.globals
        return (inner | self.loads | self.nonlocals) - self.locals - self.globals

    @cached_property
    def writes(self) -> frozenset[str]:
        """The names outside that this scope, or one inside it, assigns by ``nonlocal``."""
        inner = frozenset().union(*(child.writes for child in self.children))
        return (inner - self.locals) | (self.nonlocals & self.binds.keys())

    @cached_property
    def closures(self) -> list[Scope]:
        """The scopes inside that outlive the expression or statement that makes them."""
        found = []
        for child in self.children:
            if child.kind == "comprehension":
                found.extend(child.closures)
            else:
                found.append(child)
        return found

    @cached_property
    def captured(self) -> frozenset[str]:
        """The own names that closures read or write."""
        return self.locals & frozenset().union(*(child.free for child in self.closures))

    @cached_property
    def shared(self) -> frozenset[str]:
        """The own names that closures write."""
        return self.locals & frozenset().union(*(child.writes for child in self.children))

    @property
    def written_elsewhere(self) -> frozenset[str]:
        """The variables that calls may read and write: those that closures share, and those of a function around."""
        return self.shared | self.given


class Scopes(ast.NodeVisitor):
    """The scopes of a ``def`` or ``lambda`` and of everything inside it.

    ``of`` maps each scope's node to its `Scope`; ``mentioned`` has every identifier, so that new ones don't clash;
    ``plain_loads`` the names that are read other than to be called at once; ``delicate`` is the name of a call that
    makes rewriting unsafe, if there is one; ``walrus`` tells whether ``:=`` occurs at all. ``implicit_super``, for the
    caller to set: ``super()`` without arguments means what it does in a method.
    """

    def __init__(self, root: FunctionNode) -> None:
        self.of: dict[ast.AST, Scope] = {}
        self.mentioned: set[str] = set()
        self.plain_loads: set[str] = set()
        self.delicate: str | None = None
        self.walrus = False
        self.implicit_super = False
        self._consumed: set[ast.AST] = set()
        outside = Scope(root, "function")
        self._stack = [outside]
        self.visit(root)
        self.root = outside.children[0]
        _give(self.root, frozenset())

    @property
    def _here(self) -> Scope:
        return self._stack[-1]

    def _enter(self, node: ast.AST, kind: Literal["function", "class", "generator", "comprehension"]) -> Scope:
        scope = Scope(node, kind)
        self._here.children.append(scope)
        self.of[node] = scope
        return scope

    def _bind(self, name: str, scope: Scope | None = None) -> None:
        (scope or self._here).binds[name] = None
        self.mentioned.add(name)

    def _visit_all(self, nodes: list[ast.expr] | list[ast.stmt] | list[ast.keyword]) -> None:
        for node in nodes:
            self.visit(node)

    def _function(self, node: FunctionNode) -> None:
        arguments = node.args
        self._visit_all(arguments.defaults)
        self._visit_all([d for d in arguments.kw_defaults if d is not None])
        scope = self._enter(node, "function")
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
        if not isinstance(node, ast.Lambda):
            annotations = [a.annotation for a in every if a.annotation is not None]
            self._visit_all(annotations + ([node.returns] if node.returns is not None else []))
        self._stack.append(scope)
        for argument in every:
            scope.parameters.append(argument.arg)
            self._bind(argument.arg)
        for parameter in getattr(node, "type_params", ()):
            self._bind(parameter.name)
        if isinstance(node, ast.AsyncFunctionDef):
            scope.suspends = "a coroutine"
        if isinstance(node, ast.Lambda):
            self.visit(node.body)
        else:
            self._visit_all(node.body)
        self._stack.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._bind(node.name)
        self._visit_all(node.decorator_list)
        if node.decorator_list:
            self.plain_loads.add(node.name)  # whatever the decorators return may be kept anywhere
        self._function(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        self.plain_loads.add(node.name)
        self._visit_all(node.decorator_list)
        self._visit_all(node.bases)
        self._visit_all(node.keywords)
        self._stack.append(self._enter(node, "class"))
        self._visit_all(node.body)
        self._stack.pop()

    def _comprehension(self, node: ComprehensionNode) -> None:
        first, *others = node.generators
        self.visit(first.iter)
        lazy = isinstance(node, ast.GeneratorExp) and node not in self._consumed
        self._stack.append(self._enter(node, "generator" if lazy else "comprehension"))
        for generator in node.generators:
            self.visit(generator.target)
            self._visit_all(generator.ifs)
            if generator.is_async:
                self._suspend("a coroutine")
        for generator in others:
            self.visit(generator.iter)
        if isinstance(node, ast.DictComp):
            self.visit(node.key)
            self.visit(node.value)
        else:
            self.visit(node.elt)
        self._stack.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.walrus = True
        self.visit(node.value)
        self._bind(node.target.id, next(s for s in reversed(self._stack) if s.kind in ("function", "class")))

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        joined = isinstance(node.func, ast.Attribute) and node.func.attr == "join"
        if name in CONSUMERS or joined:
            self._consumed.update(a for a in node.args if isinstance(a, ast.GeneratorExp))
        if name is None:
            self.visit(node.func)
        else:
            self._here.loads.add(name)
            self.mentioned.add(name)
            if name in DELICATE and (name in ("locals", "exec", "eval") or not node.args):
                self.delicate = name
        self._visit_all(node.args)
        self._visit_all(node.keywords)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._here.loads.add(node.id)
            self.plain_loads.add(node.id)
            self.mentioned.add(node.id)
        else:
            self._bind(node.id)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self._bind((alias.asname or alias.name).split(".")[0])

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name is not None:
            self._bind(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest is not None:
            self._bind(node.rest)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self._here.globals.update(node.names)
        self.mentioned.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self._here.nonlocals.update(node.names)
        self.mentioned.update(node.names)

    def _suspend(self, what: str) -> None:
        next(s for s in reversed(self._stack) if s.kind == "function").suspends = what

    def visit_Yield(self, node: ast.Yield | ast.YieldFrom) -> None:
        self._suspend("a generator")
        self.generic_visit(node)

    visit_YieldFrom = visit_Yield

    def visit_Await(self, node: ast.Await) -> None:
        self._suspend("a coroutine")
        self.generic_visit(node)


def _give(scope: Scope, shared: frozenset[str]) -> None:
    """Let the scopes inside know which names of functions around them closures write: ``shared`` for this one. What it
    calls may write them, whether it does so itself or not."""
    if isinstance(scope.node, ast.FunctionDef):
        scope.given = shared - scope.locals - scope.globals
    if scope.kind != "class":  # a class does not shield its methods
        shared = (shared - scope.locals) | scope.shared
    for child in scope.children:
        _give(child, shared)


def called_only(scope: Scope, scopes: Scopes) -> tuple[dict[str, frozenset[str]], set[Scope]]:
    """Local functions that are only ever called by name, with what they read of the own names, directly or through each
    other; and their scopes. They can't outlive the scope, so what they read is read where they are called."""
    if not isinstance(scope.node, ast.FunctionDef) or not scope.closures:
        return {}, set()
    made: dict[str, list[Scope]] = {}
    other: set[str] = set(scope.parameters) | scope.shared
    todo: list[ast.AST] = list(scope.node.body)
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef(name=name, decorator_list=[]):
                made.setdefault(name, []).append(scopes.of[node])
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
                made.setdefault(name, []).append(scopes.of[value])
            case _:
                other.update(_binds(node))
                todo.extend(_inside(node))
    reads = {
        name: scope.locals & frozenset().union(*(s.free for s in closures))
        for name, closures in made.items()
        if name in scope.locals and name not in other and name not in scopes.plain_loads
    }
    changed = True
    while changed:
        changed = False
        for name, names in reads.items():
            wider = names.union(*(reads[n] for n in names if n in reads))
            if wider != names:
                reads[name] = wider
                changed = True
    return reads, {s for name in reads for s in made[name]}


def assigned_names(statement: ast.stmt) -> set[str]:
    """What a statement with everything inside it binds, by whatever syntax; nested functions left out."""
    names: set[str] = set()
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        names.update(_binds(node))
        todo.extend(_inside(node))
    return names


def _binds(node: ast.AST) -> list[str]:
    """The names that the node itself binds."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return [name]
        case ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.alias(name=name, asname=asname):
            return [(asname or name).split(".")[0]]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
    return []


def _inside(node: ast.AST) -> list[ast.AST]:
    """The children that run in the scope of the node."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return []
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.comprehension):
        children.remove(node.target)
    return children
