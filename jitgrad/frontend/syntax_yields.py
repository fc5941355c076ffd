"""A generator function as a plain function that hands on what it yields: ``yield x`` becomes
``if __jitgrad__.sent(x): return``, where ``sent`` runs the body of the loop that consumes the generator, and says
whether that loop has ended. So the loops and branches around a ``yield`` can be recorded as any others."""

from __future__ import annotations

import ast

from jitgrad.frontend.syntax_nodes import call, constant, load, place, store

#: The variable that takes the items of a ``yield from``.
_GIVEN = "_given"
_Suspending = ast.Yield | ast.YieldFrom


class NotPlain(Exception):
    """The generator can't be rewritten, for the reason given."""


def without_yields(node: ast.AST) -> None:
    """Rewrite a generator function in place. Raises NotPlain where a ``yield`` is part of an expression that needs what
    it gives, or under ``try`` or ``with``, which would see the exceptions of the loop's body too."""
    if not isinstance(node, ast.FunctionDef):
        raise NotPlain("it yields in a lambda")
    node.body = _Yields().block(node.body)


class _Yields:
    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [new for statement in body for new in self._statement(statement)]

    def _statement(self, s: ast.stmt) -> list[ast.stmt]:
        match s:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return [s]
            case ast.Expr(ast.Yield() | ast.YieldFrom() as given):
                return [self._sent(given, s)]
            case ast.Assign(targets, ast.Yield() as given):
                return [self._sent(given, s), place(ast.Assign(targets, constant(None)), s)]
            case ast.Return(value) if value is not None:
                self._refuse(value)
                return [place(ast.Expr(value), s), place(ast.Return(None), s)]
            case ast.For() | ast.While() | ast.If():
                self._refuse(s.iter if isinstance(s, ast.For) else s.test)
                s.body = self.block(s.body)
                s.orelse = self.block(s.orelse)
                return [s]
        self._refuse(s)
        return [s]

    def _sent(self, given: _Suspending, s: ast.stmt) -> ast.stmt:
        if given.value is not None:
            self._refuse(given.value)
        if isinstance(given, ast.Yield):
            return self._ends(constant(None) if given.value is None else given.value, s)
        return place(ast.For(store(_GIVEN), given.value, [self._ends(load(_GIVEN), s)], []), s)

    def _ends(self, value: ast.expr, s: ast.stmt) -> ast.stmt:
        return place(ast.If(call("sent", [value], s), [place(ast.Return(None), s)], []), s)

    def _refuse(self, node: ast.AST) -> None:
        """Raise NotPlain for a ``yield`` inside."""
        if isinstance(node, _Suspending):
            raise NotPlain("a yield of it is part of an expression, or under try or with")
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                self._refuse(child)
