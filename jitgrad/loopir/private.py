"""Temporary arrays that each iteration of a loop fills before it reads them: there can be one for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from jitgrad.ir.index import Dim, Sym, add, expr, substitute
from jitgrad.loopir.deps import varies, without
from jitgrad.loopir.nodes import Alloc, Buffer, LibCall, Load, Loop, Stmt, Store
from jitgrad.loopir.substitute import with_accesses
from jitgrad.loopir.walk import expressions, lists_of, loads, statements, subexpressions, written

#: Elements of an array: from a number to a number, along each axis.
Box = tuple[tuple[int, int], ...]


def uses_of(body: Sequence[Stmt]) -> Counter[Buffer]:
    """How many statements touch a root."""
    found: Counter[Buffer] = Counter()
    for s in statements(body):
        roots = {e.buffer.root for e in subexpressions(expressions(s)) if isinstance(e, Load)}
        if isinstance(s, (Store, Alloc)):
            roots.add(s.buffer.root)
        elif isinstance(s, LibCall):
            roots.update(t.root for t in s.ins + s.outs)
        found.update(roots)
    return found


def own(root: Buffer, body: Sequence[Stmt]) -> bool:
    """Whether an array can be one for each run of a list of statements: its shape is known, and each run fills it
    before it does anything else with it."""
    used = [e.buffer for e in loads(body)] + [x.buffer for x in statements(body) if isinstance(x, Store)]
    return root.is_static and all(t is root for t in used if t.root is root) and _filled_first(root, body)


def own_part(root: Buffer, s: Loop) -> bool:
    """As :func:`own`, of the iterations of a loop and the part of an array that they touch: where an index is the same
    in all accesses and iterations, as that of a chunk of a parallel loop around."""
    found = [e.index for e in loads(s.body) if e.buffer is root]
    found += [x.index for x in statements(s.body) if isinstance(x, Store) and x.buffer is root]
    if not found or not root.is_static:
        return False
    changed = written((s,))
    inner = {s.var, *(x.var for x in statements(s.body) if isinstance(x, Loop))}

    def is_fixed(i: Dim) -> bool:
        return isinstance(i, int) or not any(varies(v, inner, changed) for v in i.syms())

    kept = [k for k in range(len(root.shape)) if len({i[k] for i in found}) > 1 or not is_fixed(found[0][k])]
    part = Buffer(root.name, root.dtype, tuple(root.shape[k] for k in kept))

    def place(t: Buffer, index: tuple[Dim, ...]) -> tuple[Buffer, tuple[Dim, ...]] | None:
        return (part, tuple(index[k] for k in kept)) if t is root else None

    body = [with_accesses(x, place) for x in s.body]
    return not uses_of(body)[root] and own(part, body)


def _filled_first(root: Buffer, body: Sequence[Stmt]) -> bool:
    touching = [s for s in body if uses_of((s,))[root]]
    filled: list[Box] = []
    for s in touching:
        box = _filled(s, root)
        if box is None:
            break
        filled.append(box)
        if _cover(filled, root):
            return True
    if not touching:
        return True
    header = {e.buffer.root for e in subexpressions(expressions(touching[0])) if isinstance(e, Load)}
    lists = lists_of(touching[0])
    return bool(lists) and len(touching) == 1 and root not in header and all(_filled_first(root, x) for x in lists)


def _cover(boxes: Sequence[Box], root: Buffer) -> bool:
    """Whether boxes that lie one behind the other along one axis, and are whole along all others, are all of an
    array."""
    shape = root.static_shape
    whole = tuple((0, n) for n in shape)
    if whole in boxes or not shape:
        return True
    for axis in range(len(shape)):
        if any(box[k] != whole[k] for box in boxes for k in range(len(shape)) if k != axis):
            continue
        end = 0
        for lo, hi in sorted(box[axis] for box in boxes):
            if lo <= end:
                end = max(end, hi)
        if end >= shape[axis]:
            return True
    return False


def _filled(s: Stmt, root: Buffer) -> Box | None:
    """The elements of an array that a nest writes, every one, where it does nothing else with the array."""
    ranges: dict[Sym, tuple[int, int]] = {}
    while isinstance(s, Loop):
        touching = [x for x in s.body if uses_of((x,))[root]]
        if s.step < 1 or not touching or not isinstance(s.lo, int) or not isinstance(s.hi, int) or s.hi <= s.lo:
            return None
        last = s.lo + (s.hi - 1 - s.lo) // s.step * s.step
        ranges[s.var] = s.lo, last + s.step
        if not _side_by_side(touching, s.var, s.step):
            return None
        s = touching[0]
    if not isinstance(s, Store) or s.mode != "=" or any(e.buffer.root is root for e in loads((s,))):
        return None
    box: list[tuple[int, int]] = []
    for i in s.index:
        found = _range(i, ranges)
        if found is None:
            return None
        box.append(found)
    return tuple(box)


def _range(i: Dim, ranges: dict[Sym, tuple[int, int]]) -> tuple[int, int] | None:
    """The range of an index that is a number, or one of the variables and a number: that variable is taken out."""
    if isinstance(i, int):
        return i, i + 1
    for var, (lo, hi) in ranges.items():
        c, rest = without(i, var)
        if c in (1, -1) and isinstance(rest, int):
            del ranges[var]
            return (lo + rest, hi + rest) if c == 1 else (rest - hi + 1, rest - lo + 1)
    return None


def _side_by_side(touching: Sequence[Stmt], var: Sym, step: int) -> bool:
    """Whether the iterations of a loop of that step are those of several iterations of a loop of step 1: one statement
    for each, which stores what the first one does, so many places on."""
    first = touching[0]
    if step == 1 or len(touching) != step or not isinstance(first, Store):
        return len(touching) == step == 1
    root = first.buffer.root
    for k, x in enumerate(touching):
        if not isinstance(x, Store) or x.mode != "=" or any(e.buffer.root is root for e in loads((x,))):
            return False
        if x.index != tuple(substitute(i, {var: add(expr(var), k)}) for i in first.index):
            return False
    return True
