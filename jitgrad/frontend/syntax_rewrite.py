"""Statements: loops, branches, assertions and writes into arrays become calls of the runtime.

The body of a branch or loop becomes a function inside the user's. It writes the variables of the state where they
live, by ``nonlocal``, so closures and handlers of exceptions see what they see in Python, and hands them over as
parameters and results as well, so the runtime sees them. Variables that don't matter outside are local to it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from jitgrad.frontend.syntax_exprs import Expressions
from jitgrad.frontend.syntax_flow import Kind, Plan, lower
from jitgrad.frontend.syntax_live import Analysis, Frame
from jitgrad.frontend.syntax_names import FunctionNode, Scopes
from jitgrad.frontend.syntax_nodes import (
    FUNCTION,
    OPERATORS,
    PREFIX,
    call,
    changed_lists,
    constant,
    definition,
    junctions_that_decide,
    load,
    may_be_list,
    may_resize,
    names_tuple,
    only_appended,
    operations,
    parameters,
    place,
    runtime,
    store,
    thunk,
)
from jitgrad.frontend.syntax_tables import tables_in
from jitgrad.frontend.syntax_writes import Writes

#: Operators that change a list, set or dict in place.
_IN_PLACE = (ast.Add, ast.Mult, ast.Sub, ast.BitAnd, ast.BitOr, ast.BitXor)
_GUARD = "it is the guard of a 'case'"
_SUBJECT = "it is the subject of a 'match' statement"


def rewrite_function(node: FunctionNode, scopes: Scopes, foreign: frozenset[str] = frozenset()) -> None:
    """Rewrite a function in place, and the functions inside. ``foreign`` are names of the functions around it that may
    hold the sentinel for unbound ones."""
    if scopes.of[node].suspends is not None:
        _guard_inside(node, scopes, foreign)
        return
    _Function(node, scopes, foreign).rewrite()


def _guard_inside(node: ast.AST, scopes: Scopes, foreign: frozenset[str]) -> None:
    """Check the names of the functions around a class, generator or coroutine, and leave it alone otherwise."""
    if foreign & scopes.of[node].free:
        _ForeignNames(scopes, foreign).inside(node)


class _ForeignNames(ast.NodeTransformer):
    def __init__(self, scopes: Scopes, foreign: frozenset[str]) -> None:
        self._scopes = scopes
        self._foreign = foreign

    def inside(self, node: ast.AST) -> ast.AST:
        before = self._foreign
        self._foreign = before - self._scopes.of[node].locals
        self.generic_visit(node)
        self._foreign = before
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = inside
    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = inside

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._foreign or not isinstance(node.ctx, ast.Load):
            return node
        return call("bound_free", [place(load(node.id), node), constant(node.id)], node)


class _Function:
    def __init__(self, node: FunctionNode, scopes: Scopes, foreign: frozenset[str]) -> None:
        self._node = node
        self._scopes = scopes
        self._scope = scopes.of[node]
        self._foreign = foreign - self._scope.locals
        self._plan = Plan()
        self._temporaries = 0

    def rewrite(self) -> None:
        node, scope = self._node, self._scope
        if isinstance(node, ast.Lambda):
            body: list[ast.stmt] = [place(ast.Return(node.body), node.body)]
        else:
            body, self._plan = lower(node.body, scope, self._scopes.mentioned)
        self._written = Writes(body, scope.locals)
        self._analysis = Analysis(body, scope, self._scopes, self._plan)
        first = scope.parameters[0] if node.args.posonlyargs or node.args.args else None
        own = scope.locals - scope.shared
        conditions = junctions_that_decide([node.body] if isinstance(node, ast.Lambda) else body)
        self._expressions = Expressions(
            self._scopes, self._analysis.unbound, own, self._foreign, first, conditions, self._nested, tables_in(body)
        )
        if isinstance(node, ast.Lambda):
            node.body = self._expressions.visit(node.body)
            return
        documentation = [body.pop(0)] if ast.get_docstring(node, clean=False) is not None else []
        node.body = [*documentation, *self._declarations(), *self._block(body)]

    def _nested(self, node: FunctionNode) -> None:
        inner = self._foreign | (self._analysis.sentinel & self._scope.captured)
        rewrite_function(node, self._scopes, frozenset(inner))

    def _declarations(self) -> list[ast.stmt]:
        """The ``global`` and ``nonlocal`` statements, and the variables that start as unbound."""
        out: list[ast.stmt] = []
        if self._scope.globals:
            out.append(ast.Global(sorted(self._scope.globals)))
        if names := self._scope.nonlocals | self._scope.given:
            out.append(ast.Nonlocal(sorted(names)))
        names = sorted(self._analysis.initialise)
        if names:
            out.append(ast.Assign([store(n) for n in names], runtime("UNBOUND", self._node)))
        for what, names in ("own", self._scope.shared), ("note", self._scope.nonlocals | self._scope.given):
            if names:
                out.append(ast.Expr(self._variables(what, names, self._node)))
        return [place(statement, self._node) for statement in out]

    def _variables(self, what: str, names: Iterable[str], like: ast.AST) -> ast.Call:
        """``__jitgrad__.note_variables(lambda: (name, ...))``, for what is assigned here and belongs to other functions
        too; or ``own_variables``."""
        return call(f"{what}_variables", [thunk(names_tuple(sorted(names), ast.Load()), like)], like)

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"{PREFIX}t{self._temporaries}"

    def _visit(self, node: ast.expr) -> ast.expr:
        return self._expressions.visit(node)

    # Blocks and statements

    def _block(self, block: list[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for node in block:
            out += self._statement(node)
        return out

    def _body(self, block: list[ast.stmt], like: ast.AST) -> list[ast.stmt]:
        """A block that may not be empty."""
        return self._block(block) or [place(ast.Pass(), like)]

    def _statement(self, node: ast.stmt) -> list[ast.stmt]:
        match node:
            case ast.If():
                return self._if(node)
            case ast.For():
                return self._for(node)
            case ast.While():
                return self._while(node)
            case ast.Assign(targets=targets, value=value):
                return self._assign_all(targets, self._visit(value), value, node) if targets else []
            case ast.AnnAssign(target=target, value=value):
                if value is None and isinstance(target, ast.Name):
                    return []
                if value is not None:
                    return self._assign_all([target], self._visit(value), value, node)
            case ast.AugAssign():
                return self._augmented(node)
            case ast.Delete(targets=targets):
                return [s for target in targets for s in self._delete(target, node)]
            case ast.Assert() if __debug__:
                message = constant(None) if node.msg is None else self._visit(node.msg)
                if node.msg is None or not self._expressions.has_walrus(node.msg):
                    thrown = message if node.msg is None else thunk(message, message)
                    test = self._visit(node.test)
                    made = call("assert_", [test, thrown, constant(node.lineno)], node)
                    return [place(ast.Expr(made), node)]
                node.test, node.msg = self._visit(node.test), None if node.msg is None else message
                return [node]
            case ast.Raise(exc=error) if error is not None:
                return self._raise(node, self._visit(error))
            case ast.Global() | ast.Nonlocal():
                return []
            case ast.Try() | ast.TryStar() | ast.With() | ast.Match():
                return self._container(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._definition(node)
                return [node]
        self._expressions.generic_visit(node)
        return [node]

    def _raise(self, node: ast.Raise, error: ast.expr) -> list[ast.stmt]:
        before: list[ast.stmt] = []
        if node.exc is not None and self._expressions.has_walrus(node.exc):
            name = self._temporary()
            before.append(place(ast.Assign([store(name)], error), node))
            error = place(load(name), node)
        node.exc = call("thrown", [thunk(error, error)], node)
        node.cause = None if node.cause is None else self._visit(node.cause)
        return [*before, node]

    def _container(self, node: ast.Try | ast.TryStar | ast.With | ast.Match) -> list[ast.stmt]:
        if isinstance(node, ast.With):
            return [self._with(node)]
        if isinstance(node, ast.Match):
            patterns = (p for case in node.cases for p in ast.walk(case.pattern))
            if any(isinstance(p, ast.MatchSingleton) and p.value is not None for p in patterns):  # compared by "is"
                node.subject = self._expressions.test(node.subject, _SUBJECT)
            else:
                node.subject = self._visit(node.subject)
            for case in node.cases:
                if case.guard is not None:
                    case.guard = self._expressions.test(case.guard, _GUARD)
                case.body = self._body(case.body, node)
            return [node]
        node.body = self._body(node.body, node)
        if node.handlers:
            node.body = [place(ast.With([ast.withitem(call("handled", [], node))], node.body), node)]
        node.orelse = self._block(node.orelse)
        node.finalbody = self._body(node.finalbody, node) if node.finalbody else []
        for handler in node.handlers:
            if handler.type is not None:
                handler.type = self._visit(handler.type)
            handler.body = self._body(handler.body, handler)
            name = handler.name
            if name is not None and name in self._analysis.sentinel:
                # Python deletes the name behind the handler; here it goes back to the sentinel.
                handler.name = self._temporary()
                caught = ast.Assign([store(name)], load(handler.name))
                cleared = ast.Assign([store(name)], runtime("UNBOUND", handler))
                inside = ast.Try(body=handler.body, handlers=[], orelse=[], finalbody=[cleared])
                handler.body = [place(caught, handler), place(inside, handler)]
        return [node]

    def _with(self, node: ast.With) -> ast.With:
        for k, item in enumerate(node.items):
            item.context_expr = call("managed", [self._visit(item.context_expr)], item.context_expr)
            target = item.optional_vars
            if target is None:
                continue
            if not _has_subscript(target):
                item.optional_vars = self._visit(target)
                continue
            name = self._temporary()
            item.optional_vars = place(store(name), target)
            inside: list[ast.stmt] = node.body
            if k + 1 < len(node.items):
                inside = [place(ast.With(node.items[k + 1 :], inside), node)]
            written = self._assign(target, place(load(name), target), node)
            node.items, node.body = node.items[: k + 1], written + self._body(inside, node)
            return node
        node.body = self._body(node.body, node)
        return node

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        node.decorator_list = [self._visit(d) for d in node.decorator_list]
        if isinstance(node, ast.ClassDef):
            node.bases = [self._visit(b) for b in node.bases]
            for keyword in node.keywords:
                keyword.value = self._visit(keyword.value)
            _guard_body(node, self._scopes, frozenset(self._foreign | self._analysis.sentinel))
            return
        self._expressions.defaults(node.args)
        self._nested(node)

    # Assignment

    def _assign_all(
        self, targets: list[ast.expr], value: ast.expr, original: ast.expr, node: ast.stmt
    ) -> list[ast.stmt]:
        """Assign a value, already rewritten, to targets from left to right."""
        if not any(map(_is_nested, targets)):
            apart = [isinstance(t, ast.Tuple | ast.List) for t in targets]
            if len(targets) == 1 or not any(apart):
                visited = [self._visit(t) for t in targets]
                return [place(ast.Assign(visited, self._expressions.unpacked(value) if any(apart) else value), node)]
        if len(targets) == 1 and isinstance(targets[0], ast.Subscript):
            # The value comes first in Python, but here that shows only if something else can fail or has effects.
            target = targets[0]
            quiet = self._expressions.quiet
            if quiet(value) or (quiet(target.value) and quiet(target.slice)):
                return self._assign(target, value, node)
        name = self._temporary()
        out: list[ast.stmt] = [place(ast.Assign([store(name)], value), node)]
        for target in targets:
            out += self._assign(target, place(load(name), original), node)
        return out

    def _assign(self, target: ast.expr, value: ast.expr, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(target, ast.Subscript):
            arguments = [self._visit(target.value), self._expressions.index(target.slice), value]
            return [place(ast.Expr(call("setitem", arguments, target)), node)]
        apart = isinstance(target, ast.Tuple | ast.List)
        if apart:
            value = self._expressions.unpacked(value)
        if not _is_nested(target):
            return [place(ast.Assign([self._visit(target)], value), node)]
        assert apart, "the compiler has refused other targets"
        names = [self._temporary() for _ in target.elts]
        parts: list[ast.expr] = []
        after: list[ast.stmt] = []
        for part, name in zip(target.elts, names, strict=True):
            if isinstance(part, ast.Starred):
                parts.append(place(ast.Starred(store(name), ast.Store()), part))
                part = part.value
            else:
                parts.append(place(store(name), part))
            after += self._assign(part, place(load(name), part), node)
        return [place(ast.Assign([place(ast.Tuple(parts, ast.Store()), target)], value), node), *after]

    def _augmented(self, node: ast.AugAssign) -> list[ast.stmt]:
        target = node.target
        if isinstance(target, ast.Subscript):
            arguments = [self._visit(target.value), self._expressions.index(target.slice)]
            arguments += [constant(OPERATORS[type(node.op)]), self._visit(node.value)]
            return [place(ast.Expr(call("augitem", arguments, node)), node)]
        out: list[ast.stmt] = []
        before: ast.expr
        if isinstance(target, ast.Name):
            if target in self._analysis.unbound:
                out.append(place(ast.Expr(self._expressions.checked(target)), node))
            if isinstance(node.op, _IN_PLACE) and (not isinstance(node.op, ast.Add) or may_be_list(node.value)):
                out.append(place(ast.Expr(call("augmented", [place(load(target.id), node)], node)), node))
            before = place(load(target.id), target)
        else:
            target.value = self._visit(target.value)
            name = self._temporary()
            how = "augmented_attribute" if isinstance(node.op, _IN_PLACE) else "attribute"
            out.append(place(ast.Assign([store(name)], self._expressions.owner(target, how)), node))
            target.value = place(load(name), target)
            before = call("read", [place(load(name), target), constant(target.attr)], target)
        after = call("in_place", [before, constant(OPERATORS[type(node.op)]), self._visit(node.value)], node)
        return [*out, place(ast.Assign([target], after), node)]

    def _delete(self, target: ast.expr, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(target, ast.Tuple | ast.List):
            return [s for part in target.elts for s in self._delete(part, node)]
        if not isinstance(target, ast.Name) or target.id not in self._analysis.sentinel:
            return [self._deleted(target, node)]
        out: list[ast.stmt] = []
        if target in self._analysis.unbound:
            out.append(place(ast.Expr(self._expressions.checked(target)), node))
        return [*out, place(ast.Assign([store(target.id)], runtime("UNBOUND", node)), node)]

    def _deleted(self, target: ast.expr, node: ast.stmt) -> ast.stmt:
        match target:
            case ast.Subscript(value=owner, slice=index):
                made = call("delitem", [self._visit(owner), self._expressions.index(index)], node)
            case ast.Attribute(value=owner, attr=name):
                made = call("delete_attribute", [self._visit(owner), constant(name)], node)
            case _:
                return place(ast.Delete([self._visit(target)]), node)
        return place(ast.Expr(made), node)

    # Branches and loops

    def _generate(
        self,
        word: str,
        node: ast.stmt,
        frame: Frame,
        body: list[ast.stmt],
        result: ast.expr | None,
        part: int | None = None,
        item: str | None = None,
    ) -> ast.FunctionDef:
        """A function for a part of a statement, named after it. It takes the item of the loop, if there is one, and the
        state; then the copies of the frame, by default values of the moment when it is made. The result is the state,
        if the part has a number."""
        carries = part is not None
        copies = frame.copies[part] if part is not None and frame.copies else ()
        starts = sorted(self._analysis.starts.get((node, part), ())) if part is not None else []
        names = [f"{PREFIX}s_{n}" for n in frame.state + copies]
        first: list[ast.stmt] = []
        written = [*frame.state, *frame.outer]
        if written:
            first.append(ast.Nonlocal(written))
        for name, given in zip(frame.state + copies, names, strict=True):
            first.append(ast.Assign([store(name)], load(given)))
        if starts:
            first.append(ast.Assign([store(n) for n in starts], runtime("UNBOUND", node)))
        elsewhere = self._scope.written_elsewhere.intersection(written)
        if elsewhere:
            noted: ast.expr = self._variables("note", elsewhere, node)
            if carries and result is not None:
                first.append(ast.Assign([store(PREFIX + "noted")], noted))
                result = call("handed_over", [load(PREFIX + "noted"), result], node)
            else:
                first.append(ast.Expr(noted))
        last: list[ast.stmt] = [] if result is None else [ast.Return(result)]
        made = ast.FunctionDef(
            name=f"{FUNCTION}{word}_{node.lineno}",
            args=parameters(([item] if item is not None else []) + names, [load(n) for n in copies]),
            body=first + body + last or [ast.Pass()],
            decorator_list=[],
            returns=None,
            type_comment=None,
        )
        return place(definition(made), node)

    def _call_with_state(self, name: str, frame: Frame, arguments: list[ast.expr], node: ast.stmt) -> ast.stmt:
        """``state = __jitgrad__.name(*arguments)``"""
        made = call(name, arguments, node)
        if not frame.state:
            return place(ast.Expr(made), node)
        return place(ast.Assign([names_tuple(frame.state, ast.Store())], made), node)

    def _state(self, frame: Frame) -> list[ast.expr]:
        """The state and its names, as arguments."""
        return [names_tuple(frame.state, ast.Load()), constant(frame.state)]

    def _if(self, node: ast.If) -> list[ast.stmt]:
        kind = self._plan.kinds[node]
        if kind is Kind.PYTHON:
            node.test = self._visit(node.test)
        elif kind is Kind.OPAQUE:
            node.test = self._expressions.test(node.test, self._plan.reasons[node])
        if kind is Kind.PYTHON or kind is Kind.OPAQUE:
            node.body, node.orelse = self._body(node.body, node), self._block(node.orelse)
            return [node]
        frame = self._analysis.frames[node]
        effects = bool(self._scope.written_elsewhere) or self._expressions.has_walrus(node.test)
        test = self._visit(node.test)
        out: list[ast.stmt] = []
        if any(frame.copies) and effects:
            name = self._temporary()
            out.append(place(ast.Assign([store(name)], test), test))
            test = place(load(name), test)
        lists: list[ast.expr] = []
        if kind is Kind.ROLL and may_resize([*node.body, *node.orelse]):
            setters, changed = self._appended(node, [*node.body, *node.orelse], frame)
            out += setters
            lists.append(changed)
        branches: list[ast.expr] = []
        for part, (word, block) in enumerate((("if", node.body), ("else", node.orelse))):
            result = names_tuple(frame.state, ast.Load()) if kind is Kind.ROLL else None
            made = self._generate(word, node, frame, self._block(block), result, part)
            out.append(made)
            branches.append(load(made.name))
        line = constant(node.lineno)
        if kind is Kind.ROLL:
            arguments = [test, *branches, *self._state(frame), line, *lists]
            return [*out, self._call_with_state("if_", frame, arguments, node)]
        return [*out, place(ast.Return(call("if_return", [test, *branches, line], node)), node)]

    def _for(self, node: ast.For) -> list[ast.stmt]:
        if self._plan.kinds[node] is Kind.OPAQUE:
            return self._opaque_for(node)
        frame = self._analysis.frames[node]
        size = operations(node.body)
        writes = self._writes(node, frame)
        setters, lists = self._appended(node, node.body, frame)
        iterable = self._expressions.iterable(node.iter)
        item = PREFIX + "item"
        body = self._assign(node.target, place(load(item), node.target), node) + self._block(node.body)
        made = self._generate("for", node, frame, body, names_tuple(frame.state, ast.Load()), 0, item)
        flag = constant(self._plan.flags.get(node))
        arguments = [iterable, load(made.name), *self._state(frame), flag, writes]
        arguments += [constant(node.lineno), constant(size), lists]
        return [made, *setters, self._call_with_state("for_", frame, arguments, node)]

    def _opaque_for(self, node: ast.For) -> list[ast.stmt]:
        reason = constant(self._plan.reasons[node])
        arguments = [self._expressions.iterable(node.iter), reason, constant(node.lineno)]
        node.iter = call("opaque_iter", arguments, node.iter)
        first: list[ast.stmt] = []
        if _has_subscript(node.target):
            name = self._temporary()
            first = self._assign(node.target, place(load(name), node.target), node)
            node.target = place(store(name), node.target)
        else:
            node.target = self._visit(node.target)
        node.body = first + self._body(node.body, node)
        node.orelse = self._block(node.orelse)
        return [node]

    def _while(self, node: ast.While) -> list[ast.stmt]:
        if self._plan.kinds[node] is Kind.OPAQUE:
            node.test = self._expressions.test(node.test, self._plan.reasons[node])
            node.body, node.orelse = self._body(node.body, node), self._block(node.orelse)
            return [node]
        frame = self._analysis.frames[node]
        writes = self._writes(node, frame)
        setters, lists = self._appended(node, node.body, frame)
        test = self._generate("test", node, frame, [], self._visit(node.test))
        state = names_tuple(frame.state, ast.Load())
        body = self._generate("while", node, frame, self._block(node.body), state, 0)
        flag = constant(self._plan.flags.get(node))
        arguments = [load(test.name), load(body.name), *self._state(frame), flag, writes, constant(node.lineno), lists]
        return [test, body, *setters, self._call_with_state("while_", frame, arguments, node)]

    def _writes(self, node: ast.For | ast.While, frame: Frame) -> ast.expr:
        """``lambda: __jitgrad__.hint(lambda: A, ...)`` for what the body may write into."""
        temporary = self._analysis.assigned(node) - frozenset(frame.state)
        return self._hints([place(h, node) for h in self._written.hints(node, temporary)], node)

    def _hints(self, objects: Sequence[ast.expr], node: ast.AST) -> ast.expr:
        return thunk(place(self._hinted(objects, node), node), node)

    def _hinted(self, objects: Sequence[ast.expr], node: ast.AST) -> ast.expr:
        if not objects:
            return ast.Tuple([], ast.Load())
        return call("hint", [thunk(_read(o, node), node) for o in objects], node)

    def _appended(self, node: ast.stmt, block: Sequence[ast.stmt], frame: Frame) -> tuple[list[ast.stmt], ast.expr]:
        """``lambda: (__jitgrad__.hint(lambda: A, ...), __jitgrad__.hint(lambda: B, ...), ((name, lambda: C, set C,
        use), ...))`` for lists that the body does nothing with but append to them, those of which it reads the last
        item besides, and all that it may change. Before it the functions that set the variables."""
        own = self._scope.locals - self._scope.captured
        inside = self._analysis.assigned(node) - frozenset(frame.state)
        only = only_appended(block)
        found = [[place(load(n), node) for n in names if n in own] for names in only]
        setters: list[ast.stmt] = []
        changed: list[ast.expr] = []
        for name, use in changed_lists(block).items():
            if name not in own or name in inside:
                continue
            if any(name in names for names in only):
                use = "appended"
            put, given = constant(None), PREFIX + "given"
            if name not in frame.state:
                body = [ast.Nonlocal([name]), ast.Assign([store(name)], load(given))]
                made = ast.FunctionDef(
                    name=f"{FUNCTION}put_{name}_{node.lineno}", args=parameters([given]), body=body, decorator_list=[],
                    returns=None, type_comment=None,
                )  # fmt: skip
                setters.append(place(definition(made), node))
                put = load(made.name)
            changed.append(ast.Tuple([constant(name), thunk(load(name), node), put, constant(use)], ast.Load()))
        objects = [*(self._hinted(x, node) for x in found), ast.Tuple(changed, ast.Load())]
        return setters, thunk(place(ast.Tuple(objects, ast.Load()), node), node)


def _guard_body(node: ast.ClassDef, scopes: Scopes, foreign: frozenset[str]) -> None:
    """Check the names of functions around a class in its body."""
    if foreign & scopes.of[node].free:
        guard = _ForeignNames(scopes, foreign - scopes.of[node].locals)
        node.body = [guard.visit(statement) for statement in node.body]


def _read(path: ast.expr, like: ast.AST) -> ast.expr:
    """A name with attributes, as rewritten code reads it."""
    if not isinstance(path, ast.Attribute):
        return path
    return call("read", [_read(path.value, like), constant(path.attr)], like)


def _is_nested(target: ast.expr) -> bool:
    """Has the target a part that is assigned to by more than a name?"""
    parts = target.elts if isinstance(target, ast.Tuple | ast.List) else []
    return _has_subscript(target) or any(isinstance(p, ast.Tuple | ast.List) for p in parts)


def _has_subscript(target: ast.expr) -> bool:
    match target:
        case ast.Subscript():
            return True
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return any(map(_has_subscript, elements))
        case ast.Starred(value=value):
            return _has_subscript(value)
    return False
