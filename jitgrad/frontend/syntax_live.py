"""Which variables a branch or loop hands over, and which may be unbound where they are read.

Works on statements whose jumps are gone (`syntax_flow.lower`); those that stay are in Python's loops and under ``try``.
Liveness is over-approximated and boundness under-approximated, so both err on the side of carrying and checking more.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from jitgrad.frontend.syntax_flow import Kind, Plan
from jitgrad.frontend.syntax_names import ComprehensionNode, FunctionNode, Scope, Scopes, called_only

Names = frozenset[str]
_NONE: Names = frozenset()


class Do(enum.Enum):
    """What happens to a variable. ``MAYBE``: it is assigned, but not on every path."""

    LOAD = 0
    STORE = 1
    MAYBE = 2
    DELETE = 3


class Event(NamedTuple):
    """``node`` is the name in the source, where there is one."""

    do: Do
    name: str
    node: ast.Name | None = None


@dataclass(frozen=True)
class Facts:
    """Of a statement or block: names read before they are assigned, assigned on every path, assigned at all, deleted;
    and whether a ``break`` or ``continue`` leaves it."""

    reads: Names = _NONE
    kills: Names = _NONE
    assigned: Names = _NONE
    deleted: Names = _NONE
    jumps: bool = False

    def then(self, after: Facts) -> Facts:
        """Of one thing after another."""
        return Facts(
            self.reads | (after.reads - self.kills),
            self.kills if self.jumps else self.kills | after.kills,
            self.assigned | after.assigned,
            self.deleted | after.deleted,
            self.jumps or after.jumps,
        )

    def either(self, other: Facts) -> Facts:
        """Of one thing or another."""
        return Facts(
            self.reads | other.reads,
            self.kills & other.kills,
            self.assigned | other.assigned,
            self.deleted | other.deleted,
            self.jumps or other.jumps,
        )

    def perhaps(self) -> Facts:
        """Of something that may be left out, or break off."""
        return Facts(self.reads, _NONE, self.assigned, self.deleted, self.jumps)

    def without_jumps(self) -> Facts:
        return Facts(self.reads, self.kills, self.assigned, self.deleted)


@dataclass(frozen=True)
class Frame:
    """What a statement that becomes a call hands over: the ``state``, and for each branch the names that it reads
    before they change in it or in its sibling, and that don't matter later (``copies``). ``outer`` are names beside the
    state that the generated functions write in the function around them, because closures see them."""

    state: tuple[str, ...]
    outer: tuple[str, ...] = ()
    copies: tuple[tuple[str, ...], ...] = ()


class Analysis:
    """Results: ``frames`` of all statements that become calls; ``unbound``, the nodes that read a name which may be
    unbound there; ``sentinel``, the names that may hold the sentinel for unbound ones, ``initialise``, those that start
    with it, and ``starts``, for each part of a statement that becomes a function, the same of the names that are local
    to that."""

    def __init__(self, body: list[ast.stmt], scope: Scope, scopes: Scopes, plan: Plan) -> None:
        self.frames: dict[ast.AST, Frame] = {}
        self.unbound: set[ast.Name] = set()
        self.sentinel: set[str] = set()
        self.initialise: set[str] = set()
        self.starts: dict[tuple[ast.AST, int], set[str]] = {}
        self._owners: list[tuple[Names, set[str]]] = []
        self._plan = plan
        self._scopes = scopes
        self._scope = scope
        self._tracked = scope.locals | scope.given | plan.generated
        self._rank = {name: k for k, name in enumerate([*scope.binds, *sorted(scope.given | plan.generated)])}
        self._reads, kept = called_only(scope, scopes)
        self._events: dict[ast.AST, list[Event]] = {}
        self._facts: dict[ast.AST, Facts] = {}
        escaping: Names = scope.locals & _NONE.union(*(c.free for c in scope.closures if c not in kept))
        escaping = escaping.union(*(self._reads[n] for n in escaping if n in self._reads))
        always = escaping | scope.written_elsewhere
        assigned = self._of_block(body).assigned
        self._live(body, always, always)
        self._bind(body, frozenset(scope.parameters) - scope.shared)
        # What generated functions and closures write must be assigned here too, whatever code can't be reached.
        self.initialise |= scope.shared | (scope.captured - assigned)
        self.initialise |= {name for frame in self.frames.values() for name in frame.outer}
        self.initialise -= scope.given.union(scope.parameters)  # the function around starts its own
        self.sentinel |= self.initialise

    def assigned(self, node: ast.stmt) -> Names:
        """All names that a statement, or anything inside it, assigns."""
        return self._of(node).assigned

    def _ordered(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(names, key=self._rank.__getitem__))

    # Events of expressions and simple statements, in the order of evaluation

    def events(self, node: ast.AST, within: str = "") -> list[Event]:
        """What an expression, target or simple statement does to the variables; of ``for``, ``if``, ... the part
        named."""
        part = getattr(node, within) if within else node
        known = self._events.get(part)
        if known is None:
            known = self._events[part] = []
            self._scan(part, known, _NONE, True)
        return known

    def _scan(self, node: ast.AST, out: list[Event], hidden: Names, sure: bool) -> None:
        match node:
            case ast.Name(id=name):
                self._scan_name(node, name, out, hidden, sure)
            case ast.Constant():
                pass
            case ast.Assign(targets=targets, value=value):
                self._scan(value, out, hidden, sure)
                for target in targets:
                    self._scan(target, out, hidden, sure)
            case ast.AugAssign(target=target, value=value):
                if isinstance(target, ast.Name) and target.id in self._tracked:
                    out.append(Event(Do.LOAD, target.id, target))
                    self._scan(value, out, hidden, sure)
                    out.append(Event(Do.STORE, target.id))
                else:
                    self._scan(target, out, hidden, sure)
                    self._scan(value, out, hidden, sure)
            case ast.AnnAssign(target=target, value=value):
                if value is not None:
                    self._scan(value, out, hidden, sure)
                if value is not None or not isinstance(target, ast.Name):
                    self._scan(target, out, hidden, sure)
            case ast.NamedExpr(target=target, value=value):
                self._scan(value, out, hidden, sure)
                if target.id in self._tracked:
                    out.append(Event(Do.STORE if sure else Do.MAYBE, target.id))
            case ast.BoolOp(values=[first, *others]):
                self._scan(first, out, hidden, sure)
                for other in others:
                    self._scan(other, out, hidden, False)
            case ast.Compare(left=left, comparators=[first, *others]):
                self._scan(left, out, hidden, sure)
                self._scan(first, out, hidden, sure)
                for other in others:
                    self._scan(other, out, hidden, False)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self._scan(test, out, hidden, sure)
                self._scan(body, out, hidden, False)
                self._scan(orelse, out, hidden, False)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._scan_comprehension(node, out, hidden, sure)
            case ast.Lambda() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._scan_definition(node, out, hidden, sure)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                for alias in aliases:
                    name = (alias.asname or alias.name).split(".")[0]
                    if name in self._tracked:
                        out.append(Event(Do.STORE, name))
            case _:
                for child in ast.iter_child_nodes(node):
                    self._scan(child, out, hidden, sure)

    def _scan_name(self, node: ast.Name, name: str, out: list[Event], hidden: Names, sure: bool) -> None:
        if name not in self._tracked or name in hidden:
            return
        if isinstance(node.ctx, ast.Load):
            out.append(Event(Do.LOAD, name, node))
            out.extend(Event(Do.LOAD, n) for n in self._reads.get(name, ()))
        elif isinstance(node.ctx, ast.Store):
            out.append(Event(Do.STORE if sure else Do.MAYBE, name))
        else:
            out.append(Event(Do.DELETE, name, node))

    def _scan_comprehension(self, node: ComprehensionNode, out: list[Event], hidden: Names, sure: bool) -> None:
        self._scan(node.generators[0].iter, out, hidden, sure)
        scope = self._scopes.of[node]
        if scope.kind == "generator":
            return
        hidden = hidden | scope.locals
        for k, generator in enumerate(node.generators):
            if k:
                self._scan(generator.iter, out, hidden, False)
            for test in generator.ifs:
                self._scan(test, out, hidden, False)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self._scan(part, out, hidden, False)

    def _scan_definition(self, node: FunctionNode | ast.ClassDef, out: list[Event], hidden: Names, sure: bool) -> None:
        if isinstance(node, ast.Lambda):
            self._scan(node.args, out, hidden, sure)
            return
        parts: list[ast.AST] = [*node.decorator_list]
        if isinstance(node, ast.ClassDef):
            parts += [*node.bases, *node.keywords]
        else:
            parts += [node.args] if node.returns is None else [node.args, node.returns]
        for part in parts:
            self._scan(part, out, hidden, sure)
        if isinstance(node, ast.ClassDef):
            names = self._scopes.of[node].free & self._tracked
            out.extend(Event(Do.LOAD, name) for name in sorted(names - hidden))
        if node.name in self._tracked:
            out.append(Event(Do.STORE, node.name))

    # Facts, from the inside out

    def _of_events(self, events: list[Event]) -> Facts:
        reads: set[str] = set()
        kills: set[str] = set()
        assigned: set[str] = set()
        deleted: set[str] = set()
        for do, name, _ in events:
            if do is Do.LOAD or do is Do.DELETE:
                if name not in kills:
                    reads.add(name)
                if do is Do.LOAD:
                    continue
                deleted.add(name)
            if do is not Do.MAYBE:
                kills.add(name)
            assigned.add(name)
        return Facts(frozenset(reads), frozenset(kills), frozenset(assigned), frozenset(deleted))

    def _of_block(self, block: list[ast.stmt]) -> Facts:
        facts = Facts()
        for node in reversed(block):
            facts = self._of(node).then(facts)
        return facts

    def _of(self, node: ast.stmt) -> Facts:
        known = self._facts.get(node)
        if known is None:
            known = self._facts[node] = self._find(node)
        return known

    def _find(self, node: ast.stmt) -> Facts:
        match node:
            case ast.If():
                branches = self._of_block(node.body).either(self._of_block(node.orelse))
                facts = self._of_events(self.events(node.test)).then(branches)
                return self._ending(facts) if self._plan.kinds.get(node) is Kind.RETURN else facts
            case ast.For() | ast.While():
                return self._find_loop(node)
            case ast.Try() | ast.TryStar():
                facts = Facts()
                handlers = map(self._of_handler, node.handlers)
                for part in (self._of_block(node.body), *handlers, self._of_block(node.orelse)):
                    facts = facts.then(part.perhaps())
                facts = facts.then(self._of_block(node.finalbody))
                return facts
            case ast.With():
                facts = Facts()
                for item in node.items:
                    facts = facts.then(self._of_events(self.events(item)))
                return facts.then(self._of_block(node.body)).perhaps()
            case ast.Match():
                facts = Facts()
                for case in node.cases:
                    guard = [] if case.guard is None else self.events(case.guard)
                    test = self._of_events(self._captures(case.pattern) + guard)
                    facts = facts.either(test.then(self._of_block(case.body)))
                return self._of_events(self.events(node.subject)).then(facts.perhaps())
            case ast.Return() | ast.Raise():
                return self._ending(self._of_events(self.events(node)))
            case ast.Break() | ast.Continue():
                return Facts(jumps=True)
        return self._of_events(self.events(node))

    def _of_handler(self, handler: ast.ExceptHandler) -> Facts:
        facts = Facts() if handler.type is None else self._of_events(self.events(handler.type))
        name: Names = frozenset(() if handler.name is None else (handler.name,)) & self._tracked
        return facts.then(Facts(_NONE, name, name, name)).then(self._of_block(handler.body))

    def _find_loop(self, node: ast.For | ast.While) -> Facts:
        body = self._of_block(node.body)
        if isinstance(node, ast.For):
            head = self._of_events(self.events(node.iter))
            body = self._of_events(self.events(node.target)).then(body)
        else:
            head = self._of_events(self.events(node.test))
        facts = head.then(body.without_jumps().perhaps()).then(self._of_block(node.orelse).perhaps())
        flag = self._plan.flags.get(node)
        if flag is None:
            return facts
        return Facts(facts.reads | {flag}, facts.kills, facts.assigned | {flag}, facts.deleted, facts.jumps)

    def _captures(self, pattern: ast.pattern) -> list[Event]:
        """A pattern may bind its names and fail nevertheless."""
        events = []
        for node in ast.walk(pattern):
            name = getattr(node, "name", None) or getattr(node, "rest", None)
            if isinstance(node, ast.expr):
                events += self.events(node)
            elif isinstance(name, str) and name in self._tracked:
                events.append(Event(Do.STORE, name))
        return events

    def _ending(self, facts: Facts) -> Facts:
        """Of something behind which nothing runs."""
        return Facts(facts.reads, self._tracked, facts.assigned, facts.deleted, facts.jumps)

    # Liveness, from the end to the start

    def _live(self, block: list[ast.stmt], live: Names, thrown: Names) -> None:
        """``live`` is what is read behind the block, ``thrown`` what is read where an exception leads."""
        leaving = live
        live = live | thrown
        for node in reversed(block):
            facts = self._of(node)
            if facts.jumps:
                live |= leaving
            match node:
                case ast.If():
                    self._frame_if(node, live)
                    inside = thrown if self._plan.kinds.get(node) is Kind.RETURN else live
                    self._live(node.body, inside, thrown)
                    self._live(node.orelse, inside, thrown)
                case ast.For() | ast.While():
                    head = live | self._of_block(node.orelse).reads | self._loop_reads(node)
                    if node in self._plan.flags:
                        head |= {self._plan.flags[node]}
                    if self._plan.kinds.get(node) is Kind.ROLL:
                        self._frame_loop(node, head)
                    self._live(node.body, head, thrown)
                    self._live(node.orelse, live, thrown)
                case ast.Try() | ast.TryStar():
                    self._live_try(node, live, thrown)
                case ast.With():
                    self._live(node.body, live, thrown | live)
                case ast.Match():
                    for case in node.cases:
                        self._live(case.body, live, thrown)
            live = thrown | facts.reads | (live - facts.kills)

    def _loop_reads(self, node: ast.For | ast.While) -> Names:
        body = self._of_block(node.body)
        if isinstance(node, ast.While):
            return self._of_events(self.events(node.test)).then(body).reads
        return self._of_events(self.events(node.target)).then(body).reads

    def _live_try(self, node: ast.Try | ast.TryStar, live: Names, thrown: Names) -> None:
        final = self._of_block(node.finalbody).reads
        caught = live | thrown | final
        for handler in node.handlers:
            caught |= self._of_handler(handler).reads
        self._live(node.body, caught | self._of_block(node.orelse).reads, caught)
        self._live(node.orelse, live | final, thrown | final | live)
        for handler in node.handlers:
            self._live(handler.body, live | final, thrown | final | live)
        self._live(node.finalbody, live, thrown)

    def _frame_if(self, node: ast.If, live: Names) -> None:
        kind = self._plan.kinds.get(node)
        if kind is not Kind.ROLL and kind is not Kind.RETURN:
            return
        facts = [self._of_block(node.body), self._of_block(node.orelse)]
        assigned = facts[0].assigned | facts[1].assigned
        shared = self._scope.written_elsewhere
        state = (assigned & live) | shared if kind is Kind.ROLL else _NONE
        outer = ((assigned & (self._scope.captured | self._scope.given)) | shared) - state
        copies = tuple(self._ordered(((f.assigned & f.reads) - state) | outer) for f in facts)
        self.frames[node] = Frame(self._ordered(state), self._ordered(outer), copies)

    def _frame_loop(self, node: ast.For | ast.While, head: Names) -> None:
        body = self._of_block(node.body)
        if isinstance(node, ast.For):
            body = self._of_events(self.events(node.target)).then(body)
        state = (body.assigned & head) | self._scope.written_elsewhere
        if node in self._plan.flags:
            state |= {self._plan.flags[node]}
        outer = (body.assigned & (self._scope.captured | self._scope.given)) - state
        self.frames[node] = Frame(self._ordered(state), self._ordered(outer))

    # Boundness, from the start to the end

    def _need(self, names: Iterable[str], bound: Names) -> None:
        """The names are read as they are, as part of a state: those that may be unbound get a value to start with, in
        the function that they are local to."""
        for name in names:
            if name in bound:
                continue
            self.sentinel.add(name)
            for own, starts in reversed(self._owners):
                if name in own:
                    starts.add(name)
                    break
            else:
                self.initialise.add(name)

    def _bind_part(self, node: ast.stmt, k: int, facts: Facts, block: list[ast.stmt], bound: Names) -> Names:
        """`_bind` for a block that becomes a function, if it does."""
        frame = self.frames.get(node)
        if frame is None:
            return self._bind(block, bound)
        copies = frame.copies[k] if frame.copies else ()
        own = facts.assigned.difference(frame.state, frame.outer, copies)
        starts = self.starts[node, k] = set()
        self._owners.append((own, starts))
        end = self._bind(block, bound - own)
        self._owners.pop()
        self._need(frame.state, end)
        return end

    def _follow(self, events: list[Event], bound: Names) -> Names:
        now = set(bound)
        for do, name, node in events:
            if do is Do.STORE:
                if name not in self._scope.written_elsewhere:
                    now.add(name)
            elif do is not Do.MAYBE:
                if name not in now and name not in self._plan.generated:
                    self._need((name,), _NONE)
                    if node is not None and name not in self._scope.given:
                        self.unbound.add(node)
                if do is Do.DELETE:
                    now.discard(name)
        return frozenset(now)

    def _bind(self, block: list[ast.stmt], bound: Names) -> Names:
        """The names that are surely bound behind the block; all of them where nothing gets there."""
        for node in block:
            bound = self._bind_one(node, bound)
        return bound

    def _bind_one(self, node: ast.stmt, bound: Names) -> Names:
        match node:
            case ast.If():
                return self._bind_if(node, bound)
            case ast.For() | ast.While():
                return self._bind_loop(node, bound)
            case ast.Try() | ast.TryStar():
                return self._bind_try(node, bound)
            case ast.With():
                before = bound
                for item in node.items:
                    bound = self._follow(self.events(item), bound)
                self._bind(node.body, bound)
                return before - self._of(node).deleted
            case ast.Match():
                bound = self._follow(self.events(node.subject), bound)
                after = bound
                for case in node.cases:
                    inside = self._follow(self._captures(case.pattern), bound)
                    if case.guard is not None:
                        inside = self._follow(self.events(case.guard), inside)
                    after &= self._bind(case.body, inside)
                return after
            case ast.Return() | ast.Raise():
                self._follow(self.events(node), bound)
                return self._tracked
            case ast.Break() | ast.Continue():
                return self._tracked
        return self._follow(self.events(node), bound)

    def _bind_if(self, node: ast.If, bound: Names) -> Names:
        bound = self._follow(self.events(node.test), bound)
        frame = self.frames.get(node)
        if frame is not None:
            self._need([*frame.state, *(n for names in frame.copies for n in names)], bound)
        blocks = [node.body, node.orelse]
        ends = [self._bind_part(node, k, self._of_block(b), b, bound) for k, b in enumerate(blocks)]
        if self._plan.kinds.get(node) is Kind.RETURN:
            return self._tracked
        return self._after(frame, bound, ends[0] & ends[1])

    def _bind_loop(self, node: ast.For | ast.While, bound: Names) -> Names:
        body = self._of_block(node.body)
        frame = self.frames.get(node)
        if isinstance(node, ast.For):
            bound = self._follow(self.events(node.iter), bound)
            body = self._of_events(self.events(node.target)).then(body)
        before = bound - body.deleted
        if frame is not None:
            self._need(frame.state, before)
        if isinstance(node, ast.While):
            bound = before = self._follow(self.events(node.test), before)
        inside: list[ast.stmt] = list(node.body)
        if isinstance(node, ast.For):
            inside.insert(0, ast.Expr(node.target))
        self._bind_part(node, 0, body, inside, before)
        before = self._after(frame, bound, before)
        # Behind a loop that is left by `break`, its `else` has not run.
        after = self._bind(node.orelse, before)
        return before & after if body.jumps else after

    def _after(self, frame: Frame | None, before: Names, after: Names) -> Names:
        """The bound names behind a statement: if it becomes a call, only those that it hands back can have changed."""
        if frame is None:
            return after
        written = frozenset(frame.state + frame.outer)
        return (after & written) | (before - written)

    def _bind_try(self, node: ast.Try | ast.TryStar, bound: Names) -> Names:
        start = bound - self._of_block(node.body).deleted
        end = self._bind(node.orelse, self._bind(node.body, bound))
        for handler in node.handlers:
            inside = start
            if handler.type is not None:
                inside = self._follow(self.events(handler.type), inside)
            if handler.name is not None:
                inside = inside | {handler.name}
            inside = self._bind(handler.body, inside)
            end &= inside - {handler.name} if handler.name is not None else inside
        if not node.finalbody:
            return end
        facts = self._of(node)
        self._bind(node.finalbody, bound - facts.deleted)
        final = self._of_block(node.finalbody)
        return (end | (final.kills - final.deleted)) - final.deleted
