"""Jumps become data: ``break``, ``continue`` and ``return`` as flags, early returns as branches.

`lower` takes the body of a function and gives statements in which every ``for``, ``while`` and ``if`` that can reach
the runtime is free of jumps, and a `Plan` that says what becomes of each. The rules:

* A branch that ends in a jump takes nothing of what follows; the rest of the block moves into the other branch.
* Where neither branch ends in a jump, a flag is set and the rest of the block goes under a test of it.
* A ``return`` inside a loop stores the value, sets a flag and leaves all loops; the flag is tested behind them.
* In a loop that has to stay Python's, and under ``try``, jumps stay what they are.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
from dataclasses import dataclass, field

from jitgrad.frontend.syntax_names import Scope, assigned_names
from jitgrad.frontend.syntax_nodes import call, changed_lists, is_static, load, place, runtime, store

Branching = ast.If | ast.For | ast.While
Jumps = frozenset[str]
_NONE: Jumps = frozenset()
_LOOP_JUMPS: Jumps = frozenset({"break", "continue"})


class Kind(enum.Enum):
    """What becomes of an ``if``, ``for`` or ``while``."""

    PYTHON = "stays, its test is no traced value"
    ROLL = "becomes a call of the runtime"
    RETURN = "becomes a call of the runtime whose value the function returns"
    OPAQUE = "stays, but the runtime sees its test or iterable"


@dataclass
class Plan:
    """``kinds`` of all branching statements (`Kind`), ``reasons`` of the opaque ones, the break ``flags`` of loops, and
    the names that were ``generated``."""

    kinds: dict[ast.AST, Kind] = field(default_factory=dict)
    reasons: dict[ast.AST, str] = field(default_factory=dict)
    flags: dict[ast.AST, str] = field(default_factory=dict)
    generated: set[str] = field(default_factory=set)


@dataclass
class _Late:
    """Returns whose expressions are computed behind the loops, with their flags."""

    returns: list[tuple[str, ast.expr]] = field(default_factory=list)


@dataclass(frozen=True)
class _Returned:
    """The variables of a return that is carried out later. What it returns is in ``value``, or is computed then, where
    it has one of ``lists``: a list that is longer at every return is no value of a loop. ``late`` is None in a block
    that has something to do at its end."""

    flag: str
    value: str
    lists: frozenset[str]
    late: _Late | None = field(default_factory=_Late)

    def is_late(self, value: ast.expr) -> bool:
        """Is this computed behind the loops? They are left at once, so it is the same there."""
        nodes = list(ast.walk(value))
        if any(isinstance(n, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom) for n in nodes):
            return False
        return any(isinstance(n, ast.Name) and n.id in self.lists for n in nodes)


@dataclass(frozen=True)
class _Loop:
    rolled: bool
    break_flag: str | None = None
    continue_flag: str | None = None
    outer: _Loop | None = None


@dataclass(frozen=True)
class _Context:
    """``tail``: the end of the block is the end of the function. ``returns``: None where a ``return`` stays one."""

    tail: bool = False
    returns: _Returned | None = None
    loop: _Loop | None = None

    def inner(self) -> _Context:
        return dataclasses.replace(self, tail=False)

    def ending(self) -> _Context:
        """Of a block with something to do at its end."""
        if self.returns is None:
            return self
        return dataclasses.replace(self, returns=dataclasses.replace(self.returns, late=None))

    def stay(self, jumps: Jumps) -> bool:
        """Do some of the jumps stay Python's?"""
        if self.loop is not None and not self.loop.rolled:
            return bool(jumps)
        return "return" in jumps and self.returns is None


def lower(body: list[ast.stmt], scope: Scope, taken: set[str]) -> tuple[list[ast.stmt], Plan]:
    """The statements without jumps, and the plan. Nodes of ``body`` are changed in place. New names are added to
    ``taken``, which has the names that can't be used."""
    lowering = _Lowering(scope, taken)
    lowering.find_lists(body)
    lowered = lowering.block(body, _Context(tail=True))
    lowering.drop_untested()
    return lowered, lowering.plan


class _Lowering:
    def __init__(self, scope: Scope, taken: set[str]) -> None:
        self.plan = Plan()
        self._outside = scope.globals | (scope.nonlocals - scope.given)
        self._scope = scope
        self._lists: frozenset[str] = _NONE
        self._nonlocals = scope.nonlocals
        self._shared = scope.written_elsewhere
        self._taken = taken
        self._escapes: dict[ast.AST, tuple[Jumps, Jumps]] = {}
        self._tested: set[str] = set()
        self._continues: set[str] = set()
        self._values: set[str] = set()  # those of returns that some return sets
        self._sets: list[ast.Assign] = []

    def find_lists(self, body: list[ast.stmt]) -> None:
        """Variables that are lists from a statement of the body on, and of no function but this."""
        made = [t.id for s in body if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)]
        self._lists = frozenset(made) - self._outside - self._shared - self._scope.captured - self._scope.given

    # What jumps out of a statement, and may it become a call

    def escapes(self, node: ast.AST) -> tuple[Jumps, Jumps]:
        """The jumps out of a statement, and those of them that pass a ``try`` on their way."""
        known = self._escapes.get(node)
        if known is None:
            known = self._escapes[node] = self._find_escapes(node)
        return known

    def _find_escapes(self, node: ast.AST) -> tuple[Jumps, Jumps]:
        match node:
            case ast.Return():
                return frozenset({"return"}), _NONE
            case ast.Break():
                return frozenset({"break"}), _NONE
            case ast.Continue():
                return frozenset({"continue"}), _NONE
            case ast.For() | ast.While():
                jumps, hard = self._of_blocks(node.body)
                jumps_else, hard_else = self._of_blocks(node.orelse)
                return (jumps - _LOOP_JUMPS) | jumps_else, (hard - _LOOP_JUMPS) | hard_else
            case ast.If():
                return self._of_blocks(node.body, node.orelse)
            case ast.With() | ast.ExceptHandler() | ast.match_case():
                return self._of_blocks(node.body)
            case ast.Match():
                return self._of_blocks(node.cases)
            case ast.Try() | ast.TryStar():
                jumps, hard = self._of_blocks(node.body, node.handlers, node.orelse, node.finalbody)
                return jumps, hard if self._only_handlers_jump(node) else jumps
        return _NONE, _NONE

    def _of_blocks(self, *blocks: list) -> tuple[Jumps, Jumps]:
        every = [self.escapes(node) for block in blocks for node in block]
        return _NONE.union(*(e[0] for e in every)), _NONE.union(*(e[1] for e in every))

    def _only_handlers_jump(self, node: ast.Try | ast.TryStar) -> bool:
        """Are the jumps out of a ``try`` in its handlers? They end it as those of a branch end that: a flag will do."""
        return isinstance(node, ast.Try) and not self._of_blocks(node.body, node.orelse, node.finalbody)[0]

    def kind(self, node: Branching) -> Kind:
        """The kind of a statement, as far as it doesn't depend on where it stands."""
        known = self.plan.kinds.get(node)
        if known is not None:
            return known
        kind = Kind.ROLL
        if isinstance(node, ast.If) and is_static(node.test):
            kind = Kind.PYTHON
        else:
            reason = self._obstacle(node)
            if reason is not None:
                self.plan.reasons[node] = reason
                kind = Kind.OPAQUE
        self.plan.kinds[node] = kind
        return kind

    def _obstacle(self, node: Branching) -> str | None:
        """Why the body can't be a function of its own."""
        reason = self._writes_outside([node])
        if reason is not None:
            return reason
        own = self._of_blocks(node.body)[1] | self.escapes(node)[1]
        if own:
            return f"it has {sorted(own)[0]!r} inside 'try'"
        if isinstance(node, ast.While) and self._has_effects(node.test):
            jumps = sorted(self._of_blocks(node.orelse)[0] & _LOOP_JUMPS)
            if jumps:
                return f"its test assigns a name and it has {jumps[0]!r} in its 'else'"
        return None

    def _writes_outside(self, block: list[ast.stmt], what: str = "it") -> str | None:
        """The name that a block assigns by ``global`` or ``nonlocal``, in words; None if it assigns none."""
        if not self._outside:
            return None
        names = sorted(name for node in block for name in assigned_names(node) & self._outside)
        if not names:
            return None
        return f"{what} assigns {names[0]!r}, which is {'nonlocal' if names[0] in self._nonlocals else 'global'}"

    def _has_effects(self, test: ast.expr) -> bool:
        """May a test change variables of the function?"""
        kinds = (ast.NamedExpr, ast.Call) if self._shared else ast.NamedExpr
        return any(isinstance(n, kinds) for n in ast.walk(test))

    def never_falls(self, block: list[ast.stmt]) -> bool:
        """Does no path reach the end of the block? An answer on the safe side: False where it isn't clear."""
        for node in block:
            match node:
                case ast.Return() | ast.Raise() | ast.Break() | ast.Continue():
                    return True
                case ast.If() if self.never_falls(node.body) and self.never_falls(node.orelse):
                    return True
                case ast.While() if _is_true(node.test) and "break" not in self._of_blocks(node.body)[0]:
                    return True
        return False

    def _needs_flag(self, node: ast.AST) -> bool:
        """Does a ``return`` stand where it can't stay, inside a branch or loop that becomes a function?"""
        if "return" not in self.escapes(node)[0]:
            return False
        match node:
            case ast.If() if self.kind(node) is Kind.PYTHON:
                return any(map(self._needs_flag, node.body + node.orelse))
            case ast.If() | ast.For() | ast.While():
                return self.kind(node) is Kind.ROLL
            case ast.With() | ast.match_case():
                return any(map(self._needs_flag, node.body))
            case ast.Match():
                return any(map(self._needs_flag, node.cases))
        return False

    # Lowering

    def block(self, statements: list[ast.stmt], context: _Context) -> list[ast.stmt]:
        """The statements of a block, without jumps as far as the context asks for it."""
        out: list[ast.stmt] = []
        rest = list(statements)
        while rest:
            node = rest.pop(0)
            jumps = self.escapes(node)[0]
            match node:
                case ast.Return() | ast.Break() | ast.Continue():
                    return out + self._jump(node, context)
                case ast.Raise():
                    return [*out, node]
                case ast.For() | ast.While():
                    emitted, rest = self._loop(node, context, rest)
                    out += emitted
                case ast.If() if jumps and self.kind(node) is Kind.ROLL:
                    emitted, rest = self._branch(node, jumps, context, rest)
                    out += emitted
                case ast.If() | ast.With() | ast.Match() | ast.Try() | ast.TryStar():
                    emitted, rest = self._nest(node, jumps, context, rest)
                    out += emitted
                case _:
                    out.append(node)
        return out

    def _branch(
        self, node: ast.If, jumps: Jumps, context: _Context, rest: list[ast.stmt]
    ) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """An ``if`` with jumps inside that is to become a call."""
        if context.stay(jumps):
            reason = self._writes_outside(rest, "what follows")
            if not context.tail:
                where = "'try'" if context.loop is None else "a loop that Python runs"
                reason = f"it has {sorted(jumps)[0]!r} inside {where}"
            if reason is not None:
                self.plan.kinds[node] = Kind.OPAQUE
                self.plan.reasons[node] = reason
                return self._nest(node, jumps, context.inner(), rest)
            if rest and not self.never_falls(node.body) and not self.never_falls(node.orelse):
                return self._region(node, context, rest)
            self.plan.kinds[node] = Kind.RETURN
        if self.never_falls(node.body):
            body, orelse, rest = node.body, node.orelse + rest, []
        elif self.never_falls(node.orelse):
            body, orelse, rest = node.body + rest, node.orelse, []
        else:
            body, orelse = node.body, node.orelse
        returns = self.plan.kinds[node] is Kind.RETURN
        node.body = [*(self._own_lists(body) if returns else ()), *self.block(body, context)]
        node.orelse = [*(self._own_lists(orelse) if returns else ()), *self.block(orelse, context)]
        if returns:
            return [node], []
        return [node], self._guard(node, jumps, context, rest)

    def _own_lists(self, block: list[ast.stmt]) -> list[ast.stmt]:
        """Statements that let lists of the function which a block makes longer be its own. It ends with a return, so
        nobody sees the variables afterwards."""
        stored = {n.id for s in block for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        changed = [name for name, use in changed_lists(block).items() if use == "otherwise"]
        names = [name for name in changed if name in self._lists and name not in stored]
        return [self._assign(name, call("owned", [load(name)], block[0]), block[0]) for name in names]

    def _nest(
        self, node: ast.stmt, jumps: Jumps, context: _Context, rest: list[ast.stmt]
    ) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """A statement that stays Python's, or one without jumps: lower what is inside."""
        inner = context.inner()
        if context.tail and self._needs_flag(node):
            blocks: list[list[ast.stmt]] = []
            match node:
                case ast.If() | ast.With():
                    blocks = [node.body, node.orelse] if isinstance(node, ast.If) else [node.body]
                case ast.Match():
                    blocks = [case.body for case in node.cases]
            if rest and not all(self.never_falls(b) for b in blocks if any(map(self._needs_flag, b))):
                return self._region(node, context, rest)
            inner = context
        match node:
            case ast.If():
                self.kind(node)
                node.body, node.orelse = self.block(node.body, inner), self.block(node.orelse, inner)
            case ast.With():
                node.body = self.block(node.body, inner.ending())
            case ast.Match():
                for case in node.cases:
                    case.body = self.block(case.body, inner)
            case ast.Try() | ast.TryStar():
                soft = self._only_handlers_jump(node)
                if not soft:
                    # A loop or branch around it would be opaque if it held a return: here a return is the function's.
                    inner = dataclasses.replace(inner, returns=None)
                inner = inner.ending()
                node.body, node.orelse = self.block(node.body, inner), self.block(node.orelse, inner)
                node.finalbody = self.block(node.finalbody, inner)
                for handler in node.handlers:
                    handler.body = self.block(handler.body, inner)
                if not soft:
                    return [node], rest
        return [node], self._guard(node, jumps, context, rest)

    def _region(self, node: ast.stmt, context: _Context, rest: list[ast.stmt]) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """A statement that may return or not: its returns set a flag that is tested behind it."""
        returned = self._new_return(node)
        block = self.block([node], dataclasses.replace(context, tail=False, returns=returned))
        return [*self._before(returned, node), *block], [
            self._test(returned.flag, self._return(returned, node), rest, node)
        ]

    def _loop(
        self, node: ast.For | ast.While, context: _Context, rest: list[ast.stmt]
    ) -> tuple[list[ast.stmt], list[ast.stmt]]:
        jumps = self.escapes(node)[0]
        if self.kind(node) is Kind.OPAQUE:
            inside = dataclasses.replace(context, tail=False, loop=_Loop(False, outer=context.loop))
            node.body = self.block(node.body, inside)
            node.orelse = self.block(node.orelse, context.inner())
            if "return" in jumps and context.returns is not None and context.loop and not context.loop.rolled:
                rest = [self._test(context.returns.flag, [place(ast.Break(), node)], rest, node)]
            return [node], self._guard(node, jumps, context, rest)
        if isinstance(node, ast.While) and self._has_effects(node.test):
            # The runtime takes tests to change nothing. So: while True: if not test: [else] break
            leave = ast.If(ast.UnaryOp(ast.Not(), node.test), [*node.orelse, ast.Break()], [])
            node.body.insert(0, place(leave, node.test))
            node.test, node.orelse = place(ast.Constant(True), node.test), []
        own = self._of_blocks(node.body)[0]
        emitted: list[ast.stmt] = []
        returned, owner = context.returns, False
        if "return" in own and returned is None:
            returned, owner = self._new_return(node), True
        flag = None
        if "break" in own:
            flag = self._fresh("_break")
            emitted.append(self._assign(flag, ast.Constant(False), node))
        elif "return" in own and returned is not None:
            flag = returned.flag
        again = self._fresh("_continue") if "continue" in own else None
        if again is not None:
            self._continues.add(again)
        inside = _Context(False, returned, _Loop(True, flag, again, context.loop))
        node.body = self.block(node.body, inside)
        if again is not None and again in self._tested:
            node.body.insert(0, self._assign(again, ast.Constant(False), node))
        if flag is not None:
            self.plan.flags[node] = flag
        orelse, node.orelse = node.orelse, []
        if orelse and "break" in own:  # a return alone is tested below
            assert flag is not None
            orelse = [self._test(flag, [place(ast.Pass(), node)], orelse, node)]
        rest = orelse + rest
        if "return" in own and returned is not None:
            endless = isinstance(node, ast.While) and _is_true(node.test) and "break" not in own
            if owner:
                emitted = self._before(returned, node) + emitted
            rest = self._after_return(node, returned, owner, endless, context, rest)
        return [*emitted, node], rest

    def _after_return(
        self, node: ast.stmt, returned: _Returned, owner: bool, endless: bool, context: _Context, rest: list[ast.stmt]
    ) -> list[ast.stmt]:
        """What follows a loop with a ``return`` inside; ``endless`` if there is no other way out of it."""
        leave: list[ast.stmt]
        if owner:
            leave = self._return(returned, node)
        elif context.loop is not None and not context.loop.rolled:
            leave = [place(ast.Break(), node)]
        else:
            leave = [place(ast.Pass(), node)]
        if endless:
            return leave
        if not rest and isinstance(leave[0], ast.Pass):
            return rest
        return [self._test(returned.flag, leave, rest, node)]

    def _guard(self, node: ast.stmt, jumps: Jumps, context: _Context, rest: list[ast.stmt]) -> list[ast.stmt]:
        """The rest of a block behind a statement that may have set flags."""
        if not rest or not jumps or (context.loop is not None and not context.loop.rolled):
            return rest
        if context.loop is None:
            if "return" not in jumps or context.returns is None:
                return rest
            flag = context.returns.flag
        elif "continue" in jumps:
            flag = context.loop.continue_flag
        elif "break" in jumps:
            flag = context.loop.break_flag
        else:
            flag = context.returns.flag if context.returns is not None else None
        assert flag is not None, "a jump out of a rolled loop has a flag"
        return [self._test(flag, [place(ast.Pass(), node)], rest, node)]

    def _jump(self, node: ast.stmt, context: _Context) -> list[ast.stmt]:
        loop = context.loop
        if isinstance(node, ast.Return):
            if context.returns is None:
                return [node]
            flags = [context.returns.flag]
            while loop is not None:
                flags += [f for f in (loop.break_flag, loop.continue_flag) if f is not None and f not in flags]
                loop = loop.outer
            value = node.value if node.value is not None else place(ast.Constant(None), node)
            out: list[ast.stmt] = []
            late = context.returns.late
            if late is not None and context.returns.is_late(value):
                flags.append(self._fresh("_late"))
                late.returns.append((flags[-1], value))
            else:
                self._values.add(context.returns.value)
                out.append(self._assign(context.returns.value, value, node))
            out.append(self._set(flags, node))
            if context.loop is not None and not context.loop.rolled:
                out.append(place(ast.Break(), node))
            return out
        assert loop is not None, "the compiler has refused a jump outside of loops"
        if not loop.rolled:
            return [node]
        wanted = [loop.continue_flag] if isinstance(node, ast.Continue) else [loop.break_flag, loop.continue_flag]
        return [self._set([f for f in wanted if f is not None], node)]

    # Small statements

    def _new_return(self, node: ast.stmt) -> _Returned:
        lists = frozenset(name for name, use in changed_lists([node]).items() if use == "otherwise")
        return _Returned(self._fresh("_return"), self._fresh("_value"), lists)

    def _before(self, returned: _Returned, node: ast.stmt) -> list[ast.stmt]:
        """What stands before the statement whose returns are carried out later."""
        assert returned.late is not None
        flags = [returned.flag, *(flag for flag, _ in returned.late.returns)]
        out = [self._assign(flag, ast.Constant(False), node) for flag in flags]
        return [*out, self._assign(returned.value, runtime("UNBOUND", node), node)]

    def _return(self, returned: _Returned, node: ast.stmt) -> list[ast.stmt]:
        assert returned.late is not None
        out: list[ast.stmt] = []
        if returned.value in self._values:
            out = [place(ast.Return(load(returned.value)), node)]
        for flag, value in reversed(returned.late.returns):
            leave: list[ast.stmt] = [place(ast.Return(value), value)]
            out = [self._test(flag, leave, out, node)] if out else leave
        return out

    def _test(self, flag: str, body: list[ast.stmt], orelse: list[ast.stmt], node: ast.stmt) -> ast.If:
        self._tested.add(flag)
        return place(ast.If(load(flag), body, orelse), node)

    def _assign(self, name: str, value: ast.expr, node: ast.stmt) -> ast.stmt:
        return place(ast.Assign([store(name)], value), node)

    def _set(self, flags: list[str], node: ast.stmt) -> ast.stmt:
        assign = place(ast.Assign([store(f) for f in flags], ast.Constant(True)), node)
        self._sets.append(assign)
        return assign

    def drop_untested(self) -> None:
        """Take the flags of ``continue`` that nothing tests out of the assignments. One without targets does
        nothing."""
        dead = self._continues - self._tested
        for assign in self._sets:
            assign.targets = [t for t in assign.targets if not (isinstance(t, ast.Name) and t.id in dead)]

    def _fresh(self, stem: str) -> str:
        number = 1
        while f"{stem}_{number}" in self._taken:
            number += 1
        name = f"{stem}_{number}"
        self._taken.add(name)
        self.plan.generated.add(name)
        return name


def _is_true(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant) and bool(test.value)
