"""After fusion: stored values that are loaded again in the same iteration, stores that nobody reads, and temporaries
that live within one iteration."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set

from jitgrad.ir.index import Dim, as_sym
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.deps import never_equal, root_index
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    MAX_DEPTH,
    Alloc,
    Assign,
    Block,
    Buffer,
    Expr,
    If,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    While,
    payloads,
)
from jitgrad.loopir.rewrite import rewrite, substitute_index
from jitgrad.loopir.walk import (
    expressions,
    loads,
    read_roots,
    rebuild,
    statements,
    subexpressions,
    with_lists,
    written,
)

Key = tuple[Buffer, Dim]


def _key(buffer: Buffer, index: Sequence[Dim]) -> Key:
    return buffer.root, flatten_index(buffer.shape, index)


class _Known:
    """Elements whose value is known, with what each value was computed from."""

    def __init__(self) -> None:
        self.values: dict[Key, Expr] = {}
        self.sources: dict[Key, frozenset[Load | Local]] = {}
        self.keys: dict[Buffer | Local, set[Key]] = {}  # what to look at when one of these is written

    def copy(self) -> _Known:
        new = _Known()
        new.values, new.sources = dict(self.values), dict(self.sources)
        new.keys = {t: set(keys) for t, keys in self.keys.items()}
        return new

    def inside(self) -> _Known:
        """What is known inside a loop. A number that takes computing stays one that was computed before."""
        new = self.copy()
        for key in [k for k, v in self.values.items() if isinstance(v, Scalar) and k[0].size == 1]:
            new._drop(key)
        return new

    def forget(self, changed: Iterable[Buffer | Local], offset: Dim | None = None) -> None:
        """Drop what depends on anything in ``changed``. With an offset only that element of the buffer is written."""
        for thing in changed:
            for key in self.keys.get(thing, frozenset()) - self._kept(thing, offset):
                self._drop(key)

    def _kept(self, thing: Buffer | Local, offset: Dim | None) -> set[Key]:
        if offset is None:
            return set()

        def at(key: Key) -> Iterator[Dim]:
            """The elements of the buffer that matter to what is known of a key."""
            if key[0] is thing:
                yield key[1]
            for e in self.sources[key]:
                if isinstance(e, Load) and e.buffer.root is thing:
                    yield _key(e.buffer, e.index)[1]

        keys = self.keys.get(thing, ())
        return {key for key in keys if all(never_equal((element,), (offset,)) for element in at(key))}

    def _drop(self, key: Key) -> None:
        del self.values[key]
        for thing in self._things(key, self.sources.pop(key)):
            self.keys[thing].discard(key)

    def _things(self, key: Key, sources: Iterable[Load | Local]) -> set[Buffer | Local]:
        return {key[0], *(e.buffer.root if isinstance(e, Load) else e for e in sources)}

    def learn(self, key: Key, value: Expr) -> None:
        if key in self.values:  # it is found no more through what the old value was computed from
            self._drop(key)
        parts = subexpressions((value, *payloads(key[1])))
        sources = frozenset(p for p in parts if isinstance(p, (Load, Local)))
        self.values[key] = value
        self.sources[key] = sources
        for thing in self._things(key, sources):
            self.keys.setdefault(thing, set()).add(key)


def forward(program: Program) -> Program:
    """Replace loads of elements that were stored earlier in the same iteration by the stored value, then drop stores
    to temporaries that nothing reads.

    A known value ends when its element, or anything that it was computed from, may be written: also by a store to
    another index of the same buffer, unless the two are surely different.
    """
    return drop_dead_stores(with_body(program, (_forward(s, _Known()) for s in program.body)))


def _apply(e: Expr, known: _Known) -> Expr:
    """The expression with known elements replaced."""
    hits: dict[Expr, Expr] = {
        p: known.values[k]
        for p in subexpressions((e,))
        if isinstance(p, Load) and (k := _key(p.buffer, p.index)) in known.values
    }
    return rewrite(e, {}, hits) if hits else e


def _forward(s: Stmt, known: _Known) -> Stmt:
    if isinstance(s, Block):
        return Block(_forward_all(s.body, known))
    if isinstance(s, (Loop, While)):
        known.forget(written(s.body))
        inner = _forward_all(s.body, known.inside())
        if isinstance(s, While):
            return While(s.cond, inner)
        return dataclasses.replace(s, body=inner)
    if isinstance(s, If):
        cond = _apply(s.cond, known)
        new = If(cond, _forward_all(s.then, known.copy()), _forward_all(s.orelse, known.copy()), s.rare)
        known.forget(written((s,)))
        return new
    new = rebuild(s, lambda e: _apply(e, known))
    if isinstance(new, Store):
        key = _key(new.buffer, new.index)
        known.forget((new.buffer.root,), key[1])
        if new.mode == "=" and not _reads(new.value, key):
            known.learn(key, new.value)
    else:
        known.forget(written((new,)))
    return new


def _reads(value: Expr, key: Key) -> bool:
    """Whether a value may read the element that it is stored into."""
    own = (p for p in subexpressions((value,)) if isinstance(p, Load) and p.buffer.root is key[0])
    return any(not never_equal((_key(p.buffer, p.index)[1],), (key[1],)) for p in own)


def _forward_all(stmts: Iterable[Stmt], known: _Known) -> tuple[Stmt, ...]:
    """As :func:`_forward`. A value that has become a long chain of operations gets a local, which is forwarded in its
    place: without that, a fused nest of many steps would be one expression, too deep to walk."""
    result: list[Stmt] = []
    for s in stmts:
        new = _forward(s, known)
        if isinstance(new, Store) and new.mode == "=" and new.value.depth > MAX_DEPTH:
            local = Local(f"{new.buffer.name}_", new.value.dtype)
            result.append(Let(local, new.value))
            new = dataclasses.replace(new, value=local)
            known.learn(_key(new.buffer, new.index), local)
        result.append(new)
    return tuple(result)


#: Library calls that never end a program, so that they may be left out: the vectors of a QR factorization.
NEVER_FAIL = frozenset(("orgqr",))


def drop_dead_stores(program: Program) -> Program:
    """Drop stores to temporaries that are never read, calls that compute nothing else, and the loops and locals that
    become empty."""
    body: tuple[Stmt, ...] = program.body
    while True:
        alive = {e.buffer.root for e in loads(body)}
        calls = [s for s in statements(body) if isinstance(s, LibCall)]
        users = Counter(t for s in calls for t in {t.root for t in s.ins + s.outs})
        for s in calls:
            if s.fn not in NEVER_FAIL or any(t.root in alive or users[t.root] > 1 for t in s.outs):
                alive.update(t.root for t in s.ins + s.outs)
        used = _used_locals(body)
        new = _prune_all(body, alive, used)
        if new == body:
            return with_body(program, body)
        body = new


def _used_locals(body: Iterable[Stmt]) -> set[Expr]:
    return {e for s in statements(body) for e in subexpressions(expressions(s)) if isinstance(e, Local)}


def _prune_all(stmts: Iterable[Stmt], alive: set[Buffer], used: set[Expr]) -> tuple[Stmt, ...]:
    pruned = (_prune(s, alive, used) for s in stmts)
    return tuple(s for s in pruned if s is not None)


def _prune(s: Stmt, alive: set[Buffer], used: set[Expr]) -> Stmt | None:
    if isinstance(s, Store):
        return None if s.buffer.root.kind == "temp" and s.buffer.root not in alive else s
    if isinstance(s, LibCall):
        return s if not s.outs or any(t.root.kind != "temp" or t.root in alive for t in s.outs) else None
    if isinstance(s, (Loop, Block, While)):
        body = _prune_all(s.body, alive, used)
        if body == s.body:
            return s
        if not body and not isinstance(s, While):
            return None
        return dataclasses.replace(s, body=body)
    if isinstance(s, If):
        then, orelse = _prune_all(s.then, alive, used), _prune_all(s.orelse, alive, used)
        if not then and not orelse:
            return None
        return s if (then, orelse) == (s.then, s.orelse) else dataclasses.replace(s, then=then, orelse=orelse)
    if isinstance(s, (Let, Assign)):
        return s if s.local in used else None
    if isinstance(s, Alloc):
        return s if s.buffer in alive else None
    return s


def contract(program: Program) -> Program:
    """Drop the first axis (after those of extent 1) of every temporary that is written and read at the loop variable
    only.

    Such an element lives within one iteration of that loop, so all iterations can use one slice. Repeated for inner
    loops, a matrix that was needed one row at a time becomes a row, which stays in cache.
    """
    return with_body(program, _contract_all(program.body, frozenset(program.results)))


def _contract_all(body: tuple[Stmt, ...], outside: Set[Buffer]) -> tuple[Stmt, ...]:
    """A list of statements; buffers in ``outside`` are used elsewhere as well."""
    homes: dict[Buffer, int] = {}
    shared: set[Buffer] = set()
    for k, s in enumerate(body):
        for t in _buffers(s):
            if homes.setdefault(t, k) != k:
                shared.add(t)
    outside = outside | shared
    new = tuple(_contract(s, outside) for s in body)
    return body if all(a is b for a, b in zip(new, body, strict=True)) else new


def _contract(s: Stmt, outside: Set[Buffer]) -> Stmt:
    if isinstance(s, Loop):
        shrunk: dict[Buffer, Buffer] = {}
        for t in _buffers(s):
            if t.kind == "temp" and t.capacity is not None and t not in outside and t.shape and _only_at(s, t):
                shrunk[t] = Buffer(t.name, t.dtype, t.shape[_first(t) + 1 :], loc=t.loc)
        if shrunk:
            s = _shrink(s, shrunk)
    if isinstance(s, If):
        # What both branches use is looked at in neither.
        both = set().union(*(_buffers(x) for x in s.then)) & set().union(*(_buffers(x) for x in s.orelse))
        outside = outside | both
    return with_lists(s, lambda body: _contract_all(body, outside))


def _buffers(s: Stmt) -> set[Buffer]:
    return {x for x in (read_roots((s,)) | written((s,))) if isinstance(x, Buffer)}


def _first(t: Buffer) -> int:
    """The first axis that is not of extent 1; the last one if all are."""
    return next((k for k, n in enumerate(t.shape) if n != 1), len(t.shape) - 1)


def _only_at(loop: Loop, t: Buffer) -> bool:
    """Whether the first index of every access is the loop's variable, and no library call sees the buffer."""
    axis = _first(t)
    for s in statements((loop,)):
        if isinstance(s, LibCall) and any(b.root is t for b in s.outs + s.ins):
            return False
        if isinstance(s, Store) and s.buffer.root is t:
            index = root_index(s.buffer, s.index)
            if not index or as_sym(index[axis]) is not loop.var:
                return False
    for e in loads((loop,)):
        if e.buffer.root is t:
            index = root_index(e.buffer, e.index)
            if not index or as_sym(index[axis]) is not loop.var:
                return False
    return True


def _known_root_index(buffer: Buffer, index: Sequence[Dim]) -> tuple[Dim, ...]:
    found = root_index(buffer, index)
    assert found is not None, buffer  # looked at by _only_at
    return found


def _shrink(s: Stmt, shrunk: dict[Buffer, Buffer]) -> Stmt:
    """The statement with these buffers replaced by ones without the first axis."""
    done: dict[Expr, Expr] = {}

    def visit(e: Expr) -> Expr:
        if e in done:
            return done[e]
        hits: dict[Expr, Expr] = {}
        for p in subexpressions((e,)):
            if isinstance(p, Load) and p.buffer.root in shrunk:
                index = tuple(substitute_index(i, {}, hits) for i in _known_root_index(p.buffer, p.index))
                hits[p] = Load(shrunk[p.buffer.root], index[_first(p.buffer.root) + 1 :])
        done[e] = rewrite(e, {}, dict(hits)) if hits else e
        return done[e]

    def store(x: Store) -> Stmt:
        # The index of a scatter holds loads of its own.
        memo = {p: visit(p) for i in x.index for p in payloads(i)}
        if memo:
            x = dataclasses.replace(x, index=tuple(substitute_index(i, {}, memo) for i in x.index))
        if x.buffer.root not in shrunk:
            return x
        index = _known_root_index(x.buffer, x.index)[_first(x.buffer.root) + 1 :]
        return Store(shrunk[x.buffer.root], index, x.value, x.mode)

    return rebuild(s, visit, store)
