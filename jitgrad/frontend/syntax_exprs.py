"""Expressions: ``and``, ``or``, ``not``, conditional expressions, chained comparisons, subscripts and iterables become
calls of the runtime (`syntax.rewrite` has the list)."""

from __future__ import annotations

import ast
import builtins
import itertools
import sys
from collections.abc import Callable
from typing import Any

from jitgrad.frontend.syntax_names import ComprehensionNode, Scopes
from jitgrad.frontend.syntax_nodes import (
    OPERATORS,
    PREFIX,
    RUNTIME,
    SIGNS,
    call,
    constant,
    is_constant,
    is_identity,
    is_static,
    load,
    operations,
    parameters,
    place,
    runtime,
    thunk,
)
from jitgrad.frontend.syntax_tables import pairs_of

#: Functions that are passed on to the runtime where they make what a loop iterates over.
ITERABLES = frozenset({"range", "enumerate", "zip", "reversed"})
#: Built-in classes that are called with traced values.
CLASSES = frozenset({"bool", "complex", "float", "frozenset", "int", "list", "set", "tuple", "type"})
#: Functions that are built in and change attributes.
_CHANGING = frozenset(("setattr", "delattr"))
#: Functions that look at everything that a generator gives.
_OF_ALL = frozenset({"list", "max", "min", "sorted", "sum", "tuple"})
_COMPREHENSIONS_ARE_INLINE = sys.version_info >= (3, 12)
_COMPREHENSION = "it is the condition of a comprehension"


class Expressions(ast.NodeTransformer):
    """Rewrites the expressions of one function.

    ``unbound`` are the nodes that read a name which may be unbound, ``own`` the local names that no closure assigns,
    ``foreign`` names of the functions around this one that may hold the sentinel for unbound ones, ``first`` the first
    parameter, ``conditions`` the ``and`` and ``or`` of which only the truth matters, ``tables`` the lists and dicts of
    lists. ``nested`` rewrites lambdas.
    """

    def __init__(
        self,
        scopes: Scopes,
        unbound: set[ast.Name],
        own: frozenset[str],
        foreign: frozenset[str],
        first: str | None,
        conditions: set[ast.expr],
        nested: Callable[[ast.Lambda], None],
        tables: set[ast.expr],
    ) -> None:
        self.scopes = scopes
        self._unbound = unbound
        self._own = own
        self._foreign = foreign
        self._first = first
        self._conditions = conditions
        self._nested = nested
        self._tables = tables
        self._depth = 0  # of comprehensions that are functions of their own
        self._generators: set[ast.expr] = set()  # comprehensions that were generator expressions
        self._quantify: set[ast.expr] = set()  # generator expressions of ``any`` and ``all``
        self._numbers = itertools.count(1)

    def fresh(self, letter: str) -> str:
        return f"{PREFIX}{letter}{next(self._numbers)}"

    def has_walrus(self, *nodes: ast.expr) -> bool:
        return self.scopes.walrus and any(isinstance(n, ast.NamedExpr) for node in nodes for n in ast.walk(node))

    def quiet(self, node: ast.expr | None) -> bool:
        """Does it neither matter nor show when the expression is evaluated?"""
        match node:
            case None | ast.Constant():
                return True
            case ast.Name(id=name):
                return name in self._own and node not in self._unbound and not self.scopes.walrus
            case ast.Tuple(elts=elements):
                return all(map(self.quiet, elements))
            case ast.Slice(lower=lower, upper=upper, step=step):
                return self.quiet(lower) and self.quiet(upper) and self.quiet(step)
        return False

    def checked(self, node: ast.Name, free: bool = False) -> ast.expr:
        """The value of a name that may be unbound."""
        check = "bound_free" if free else "bound"
        return call(check, [place(load(node.id), node), constant(node.id)], node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if not isinstance(node.ctx, ast.Load):
            return node
        if node in self._unbound:
            return self.checked(node, self._depth > 0)
        if node.id in self._foreign:
            return self.checked(node, True)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if not (isinstance(node.value, ast.Name) and node.value.id == RUNTIME):
            node.value = self.visit(node.value)
            if isinstance(node.ctx, ast.Store):
                node.value = self.owner(node)
            elif isinstance(node.ctx, ast.Load):
                return call("read", [node.value, constant(node.attr)], node)
        return node

    def owner(self, target: ast.Attribute, how: str = "attribute") -> ast.expr:
        """The object whose attribute is assigned to; ``how`` names the function of the runtime that gives it."""
        return call(how, [target.value, constant(target.attr)], target)

    def visit_Starred(self, node: ast.Starred) -> ast.expr:
        node.value = self.visit(node.value)
        if isinstance(node.ctx, ast.Load):
            node.value = self.unpacked(node.value)
        return node

    def unpacked(self, value: ast.expr) -> ast.expr:
        """What is taken apart, already rewritten: an object of the user's may have a method for it."""
        if isinstance(value, ast.Tuple | ast.List | ast.ListComp | ast.Constant):
            return value
        return call("unpacked", [value], value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        node.value = self.visit(node.value)
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        self.defaults(node.args)
        self._nested(node)
        return node

    def defaults(self, arguments: ast.arguments) -> None:
        """Rewrite the default values of a function inside; they are evaluated in this one."""
        arguments.defaults = [self.visit(d) for d in arguments.defaults]
        arguments.kw_defaults = [None if d is None else self.visit(d) for d in arguments.kw_defaults]

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.SetComp):
            return call("set_of", [self.visit(self._listed(node))], node)
        made = super().visit(node)
        if isinstance(made, ast.Set):  # its members may be traced
            return call("set_of", [place(ast.List(made.elts, ast.Load()), made)], made)
        if isinstance(made, ast.Dict) and not all(isinstance(k, ast.Constant | None) for k in made.keys):
            return call("dict_of", pairs_of(made), made)
        return call("table", [made], made) if node in self._tables else made

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id in _OF_ALL - self._own and node.args:
            node.args[0] = self._as_list(node.args[0])
            if _is_iterable(node.args[0]):
                rest, keywords = [self.visit(a) for a in node.args[1:]], [self.visit(k) for k in node.keywords]
                made = ast.Call(self.visit(node.func), [self.iterable(node.args[0]), *rest], keywords)
                return place(made, node)
        if (found := self._next(node) or self._quantified(node)) is not None:
            return found
        implicit = isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args and not node.keywords
        self._function(node)
        node.args = [self.visit(a) for a in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        if implicit and self.scopes.implicit_super and self._first is not None and not self._depth:
            node.args = [place(load("__class__"), node), place(load(self._first), node)]
        elif _may_write(node.func) and not self.has_walrus(node):
            return self._shown(node)
        elif (owner := _holder(node.func)) is not None:
            node.func = call("appender", owner, node.func)
        elif isinstance(node.func, ast.Attribute):
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == RUNTIME):
                node.func = call("called", [node.func.value, constant(node.func.attr)], node.func)
        elif self._may_be_the_users(node.func):
            node.func = call("callee", [node.func], node.func)
        return node

    def _function(self, node: ast.Call) -> None:
        """Rewrite what is called, but for the last attribute of it."""
        if isinstance(node.func, ast.Attribute):
            node.func.value = self.visit(node.func.value)
        else:
            node.func = self.visit(node.func)

    def _shown(self, node: ast.Call) -> ast.expr:
        """A call of ``print``, or of what may be ``warnings.warn`` or a method of a logger; its arguments are evaluated
        when that is known."""
        keywords = ast.Dict(
            [None if k.arg is None else constant(k.arg) for k in node.keywords], [k.value for k in node.keywords]
        )
        arguments = place(ast.Tuple([ast.Tuple(node.args, ast.Load()), keywords], ast.Load()), node)
        function = node.func
        if isinstance(function, ast.Attribute):
            function = call("read", [function.value, constant(function.attr)], function)
        return call("show", [function, thunk(arguments, node)], node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        stays = self.has_walrus(node) or not any(isinstance(v, ast.FormattedValue) for v in node.values)
        node.values = [self.visit(v) for v in node.values]
        return node if stays else call("text", [thunk(node, node)], node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        node.value = self.visit(node.value)
        if isinstance(node.format_spec, ast.JoinedStr):  # part of this text
            node.format_spec.values = [self.visit(v) for v in node.format_spec.values]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.BinOp(left=ast.Constant(value=str()), op=ast.Mod()):
                return call("percent", [node.left, node.right], node)
        return self._operator(node.left, node.op, node.right, node)

    def _operator(self, left: ast.expr, op: ast.operator | ast.cmpop, right: ast.expr, node: ast.expr) -> ast.expr:
        """``left op right``, of operands that are rewritten already; objects of the user's may have methods for it."""
        if is_constant(left) and is_constant(right):
            return node
        return call("binary", [left, constant(OPERATORS[type(op)]), right], node)

    def _next(self, node: ast.Call) -> ast.expr | None:
        """``next(element for target in iterable if test)``, with or without a default: a call of the runtime with the
        iterable and the function of an item that :meth:`_filtered` makes."""
        match node:
            case ast.Call(ast.Name("next"), [ast.GeneratorExp() as inner, *default], []) if len(default) < 2:
                arguments = self._choices(inner) if "next" not in self._own else None
                return None if arguments is None else call("first", [*arguments, *map(self.visit, default)], node)
        return None

    def _quantified(self, node: ast.Call) -> ast.expr | None:
        """``any(element for target in iterable if test)``, or ``all``: a call of the runtime with what the name means,
        and as in :meth:`_next`."""
        match node:
            case ast.Call(ast.Name("any" | "all" as name), [ast.GeneratorExp() as inner], []) if name not in self._own:
                size = constant(operations([ast.Expr(inner.elt)]))
                self._quantify.add(inner)  # they may end early
                if (arguments := self._choices(inner)) is not None:
                    return call("quantified", [self.visit(node.func), *arguments, size], node)
        return None

    def _choices(self, node: ast.GeneratorExp, *, lazy: bool = False) -> list[ast.expr] | None:
        """The iterable of a generator expression, the function of an item that :meth:`_filtered` makes, and the line;
        None where that has to stay Python's. ``lazy``: it may be used later."""
        (first, *others) = node.generators
        if others or first.is_async or (self.scopes.walrus and not lazy) or _binds(node):
            return None
        first.ifs = first.ifs or [constant(True)]
        found = self._filtered(self._listed(node))
        assert isinstance(found, ast.Call)
        return found.args

    def _as_list(self, node: ast.expr) -> ast.expr:
        """A generator expression as the list of what it gives."""
        return self._listed(node) if isinstance(node, ast.GeneratorExp) else node

    def _listed(self, node: ast.GeneratorExp | ast.SetComp) -> ast.ListComp:
        made = self._made(node, node.elt, node.generators)
        self._generators.add(made)
        return made

    def _may_be_the_users(self, function: ast.expr) -> bool:
        """Is it anything but a function of the runtime, or one that is built in, changes nothing and is no class of
        numbers?"""
        if isinstance(function, ast.Name):
            name = function.id
            return name in self._own or name in CLASSES or name in _CHANGING or not hasattr(builtins, name)
        return isinstance(function, (ast.Subscript, ast.Call))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        stays = all(map(is_static, node.values[:-1])) or self.has_walrus(*node.values[1:])
        self.generic_visit(node)
        if stays:
            return node
        name = "and_" if isinstance(node.op, ast.And) else "or_"
        *others, result = node.values
        for value in reversed(others):
            decides = [constant(True)] if node in self._conditions else []
            result = call(name, [value, thunk(result, result), *decides], node)
        return result

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        stays = is_constant(node.operand) or (isinstance(node.op, ast.Not) and is_static(node.operand))
        self.generic_visit(node)
        if stays:
            return node
        if isinstance(node.op, ast.Not):
            return call("not_", [node.operand], node)
        return call("unary", [constant(SIGNS[type(node.op)]), node.operand], node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        stays = is_static(node.test) or self.has_walrus(node.body, node.orelse)
        self.generic_visit(node)
        if stays:
            return node
        branches = [thunk(node.body, node.body), thunk(node.orelse, node.orelse)]
        return call("ifexp", [node.test, *branches, constant(node.lineno)], node)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        single = len(node.ops) == 1
        stays = (is_static(node) and not is_identity(node)) or self.has_walrus(node)
        operands = [node.left, *node.comparators]
        plain = [isinstance(c, ast.Constant | ast.Name) and self.quiet(c) for c in operands]
        node.left = self.visit(node.left)
        pairs = zip(node.ops, node.comparators, strict=True)
        node.comparators = [
            self.iterable(c) if isinstance(op, ast.In | ast.NotIn) else self.visit(c) for op, c in pairs
        ]
        if stays:
            return node
        if single:
            return self._comparison(node.left, node.ops[0], node.comparators[0], node)
        return self._chain(node, node.left, plain[0], list(zip(node.ops, node.comparators, plain[1:], strict=True)))

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr, node: ast.Compare) -> ast.expr:
        if isinstance(op, ast.Is | ast.IsNot) and isinstance(right, ast.Constant) and right.value is None:
            found = call("is_none", [left], node)
            return found if isinstance(op, ast.Is) else call("not_", [found], node)
        if isinstance(op, ast.Is | ast.IsNot):
            found = call("is_same", [left, right], node)
            return found if isinstance(op, ast.Is) else call("not_", [found], node)
        if not isinstance(op, ast.In | ast.NotIn):
            return self._operator(left, op, right, place(ast.Compare(left, [op], [right]), node))
        found = call("contains", [left, right], node)
        return found if isinstance(op, ast.In) else call("not_", [found], node)

    def _chain(
        self, node: ast.Compare, left: ast.expr, plain: bool, rest: list[tuple[ast.cmpop, ast.expr, bool]]
    ) -> ast.expr:
        """``left op right op ...``; ``plain``: ``left`` can be evaluated at any time."""
        (op, right, right_plain), *others = rest
        if not others:
            return self._comparison(left, op, right, node)
        if right_plain:
            test = self._comparison(left, op, right, node)
            tail = self._chain(node, right, True, others)
            return call("and_", [test, thunk(tail, tail)], node)
        # (lambda left, right: left op right and ...)(left, right)
        names, values = [self.fresh("m")], [right]
        inside = left
        if not plain:
            names, values = [self.fresh("m"), *names], [left, right]
            inside = place(load(names[0]), left)
        test = self._comparison(inside, op, place(load(names[-1]), right), node)
        tail = self._chain(node, place(load(names[-1]), right), True, others)
        body = call("and_", [test, thunk(tail, tail)], node)
        return place(ast.Call(ast.Lambda(parameters(names), body), values, []), node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        node.value = self.visit(node.value)
        if not isinstance(node.ctx, ast.Load):
            node.slice = self.visit(node.slice)
            return node
        return call("getitem", [node.value, self.index(node.slice)], node)

    def index(self, node: ast.expr) -> ast.expr:
        """The value of what stands in brackets."""
        sliced = any(isinstance(e, ast.Slice) for e in (node.elts if isinstance(node, ast.Tuple) else (node,)))
        value = self.visit(node)
        if sliced:
            return place(ast.Subscript(runtime("s_", node), value, ast.Load()), node)
        return value

    def iterable(self, node: ast.expr) -> ast.expr:
        """What a loop iterates over: ``range`` and the like, by name, go to the runtime."""
        if not _is_iterable(node):
            return self.visit(node)
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        arguments = [self.iterable(a) if node.func.id != "range" else self.visit(a) for a in node.args]
        keywords = [self.visit(k) for k in node.keywords]
        made = call(node.func.id + "_", [self.visit(node.func), *arguments], node)
        made.keywords = keywords
        return made

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        """``[element for target in iterable]`` is a call of the runtime with the iterable and a function of an item:
        ``lambda item: [element for target in (item,)][0]``."""
        first, *others = node.generators
        if any(g.is_async for g in node.generators) or self.scopes.walrus:
            return self._visit_comprehension(node)
        if others:
            return self._flattened(node)
        if first.ifs:
            return self._filtered(node)
        iterable, item, size = self.iterable(first.iter), PREFIX + "item", operations([ast.Expr(node.elt)])
        with self._inside(node):
            first.target = self.visit(first.target)
            first.iter = place(ast.Tuple([load(item)], ast.Load()), first.iter)
            node.elt = self.visit(node.elt)
        element = thunk(ast.Subscript(node, constant(0), ast.Load()), node)
        element.args.args = [place(ast.arg(item), node)]
        return call("collect", [iterable, element, constant(node.lineno), constant(size)], node)

    def _flattened(self, node: ast.ListComp) -> ast.expr:
        """``[element for a in xs if test for b in ys]`` as ``[*[element for b in ys] for a in xs if test]``, if one
        could write that: a call of the runtime as in :meth:`_filtered`, but for lists."""
        first, *others = node.generators
        size = operations([ast.Expr(node.elt)])
        first.ifs = first.ifs or [constant(True)]
        found = self._filtered(self._made(node, self._made(node, node.elt, others), [first]))
        assert isinstance(found, ast.Call)
        return call("flattened", [*found.args, constant(size)], node)

    def _made(self, node: ast.expr, elt: ast.expr, generators: list[ast.comprehension]) -> ast.ListComp:
        """A comprehension that takes the place of another one."""
        made = place(ast.ListComp(elt, generators), node)
        self.scopes.of[made] = self.scopes.of[node]
        if node in self._generators:
            self._generators.add(made)
        return made

    def _filtered(self, node: ast.ListComp) -> ast.expr:
        """``[element for target in iterable if test]`` is a call of the runtime with the iterable and a function of an
        item: ``lambda item: [(test, lambda: element) for target in (item,)][0]``."""
        (first,) = node.generators
        iterable, item = self.iterable(first.iter), PREFIX + "item"
        with self._inside(node):
            first.target = self.visit(first.target)
            first.iter = place(ast.Tuple([load(item)], ast.Load()), first.iter)
            tests, first.ifs = first.ifs, []
            self._conditions.add(both := tests[0] if len(tests) == 1 else place(ast.BoolOp(ast.And(), tests), node))
            test = self.visit(both)
            element = self.visit(node.elt)
            node.elt = place(ast.Tuple([test, thunk(element, element)], ast.Load()), node.elt)
        choose = thunk(ast.Subscript(node, constant(0), ast.Load()), node)
        choose.args.args = [place(ast.arg(item), node)]
        return call("filtered", [iterable, choose, constant(node.lineno)], node)

    def _visit_comprehension(self, node: ComprehensionNode) -> ast.expr:
        first = node.generators[0]
        first.iter = call("comprehension_iter", [self.iterable(first.iter), constant(first.iter.lineno)], first.iter)
        with self._inside(node):
            for k, generator in enumerate(node.generators):
                if k:
                    line = constant(generator.iter.lineno)
                    generator.iter = call("comprehension_iter", [self.iterable(generator.iter), line], generator.iter)
                generator.target = self.visit(generator.target)
                generator.ifs = [self.test(t, _COMPREHENSION) for t in generator.ifs]
            if isinstance(node, ast.DictComp):
                node.key, node.value = self.visit(node.key), self.visit(node.value)
            else:
                node.elt = self.visit(node.elt)
        return node

    visit_SetComp = visit_DictComp = _visit_comprehension

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        """``(element for target in iterable if test)`` likewise, as in :meth:`_next`."""
        if len(node.generators) > 1 and self.scopes.of[node].kind == "comprehension" and node not in self._quantify:
            return self.visit_ListComp(self._listed(node))
        arguments = self._choices(node, lazy=True)
        return self._visit_comprehension(node) if arguments is None else call("expression", arguments, node)

    def _inside(self, node: ComprehensionNode) -> _Inside:
        lazy = isinstance(node, ast.GeneratorExp) or node in self._generators
        return _Inside(self, self.scopes.of[node].locals, lazy or not _COMPREHENSIONS_ARE_INLINE)

    def test(self, node: ast.expr, reason: str) -> ast.expr:
        """A test that Python itself makes: no traced value may get there."""
        stays = is_static(node)
        line = constant(node.lineno)
        value = self.visit(node)
        return value if stays else call("opaque_test", [value, constant(reason), line], node)


def _binds(node: ast.expr) -> bool:
    """Is there a ``:=`` in it?"""
    return any(isinstance(inner, ast.NamedExpr) for inner in ast.walk(node))


def _is_iterable(node: ast.expr) -> bool:
    """Is it a call of ``range`` or the like, by name?"""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ITERABLES


def _holder(function: ast.expr) -> list[ast.expr] | None:
    """For ``owner.key.append`` and ``owner[key].append``, already rewritten: the owner, the key, and whether it is in
    brackets; None for anything else."""
    match function:
        case ast.Attribute(ast.Call(ast.Attribute(ast.Name(id=name), how), [owner, key]), "append"):
            known = name == RUNTIME and how in ("read", "getitem")
            return [owner, key, constant(how == "getitem")] if known else None
    return None


class _Inside:
    """While the inside of a comprehension is rewritten: its names hide those of functions further out."""

    def __init__(self, owner: Expressions, names: frozenset[str], own_frame: bool) -> None:
        self._owner, self._names, self._own_frame = owner, names, own_frame

    def __enter__(self) -> None:
        self._before = self._owner._foreign, self._owner._depth
        self._owner._foreign -= self._names
        self._owner._depth += self._own_frame

    def __exit__(self, *_: object) -> None:
        self._owner._foreign, self._owner._depth = self._before


def _may_write(function: ast.expr) -> bool:
    """May it be ``print``, ``warnings.warn``, or a method of a logger?"""
    if isinstance(function, ast.Attribute):
        return function.attr in ("warn", "debug", "info", "warning", "error", "critical")
    return isinstance(function, ast.Name) and function.id in ("print", "warn")
