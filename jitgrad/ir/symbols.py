"""Values in index expressions: ``A[i, :j]`` has the type ``f64[%j]``, and a slice starts at ``%i``.

Every integer scalar value has at most one symbol, whose payload is the value. What limits it is known where the value
is made: a loop index has the bounds of its loop, the result of ``wrap_index`` those of its extent. A value that is
computed from others by sums and constant factors is written in terms of those, so that the positions of two accesses
can be compared.

A loop whose iterations are numbered by such a value is a :class:`Loop`: every ``for``, and a ``while`` that counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jitgrad.ir.core import Block, Op, Value
from jitgrad.ir.index import Dim, IndexExpr, Sym, add, as_sym, expr, floordiv, interval, mul, never_negative, substitute
from jitgrad.ir.types import TensorType, bool_, i64

#: Longest chain of sums and products that is looked through.
_DEPTH = 16
#: Ops that an index expression may look through, and those whose results their operands limit.
_LINEAR = frozenset(("add", "subtract", "negative", "multiply", "cast", "minimum", "maximum"))
_LIMITED = frozenset(("minimum", "maximum", "remainder", "floor_divide"))


def symbol_of(value: Value) -> Sym:
    """The symbol of a value, made when first asked for."""
    if value.symbol is None:
        for v in _limiting(value):  # first those that limit others: they may be a chain longer than Python's stack
            if v.symbol is None:
                lo, hi = (None, None) if v.op is None else _limits(v, v.op)
                v.symbol = Sym(v.name or "v", lo, hi, payload=v)
    assert value.symbol is not None
    return value.symbol


def _limiting(value: Value) -> list[Value]:
    """The values without symbols that limit this one, and it: each behind those that limit it."""
    found: dict[Value, None] = {}
    stack, seen = [(value, _DEPTH, False)], set[tuple[Value, int]]()
    while stack:
        v, depth, done = stack.pop()
        if done:
            found.setdefault(v)
            continue
        if (v, depth) in seen:
            continue
        seen.add((v, depth))
        limited = v.op is not None and v.op.name in _LIMITED and v.symbol is None and v.type == TensorType(i64)
        if limited or v is value:
            stack.append((v, depth, True))
        if v.op is not None and (limited or (v.op.name in _LINEAR and depth > 0)):
            stack += [(x, _DEPTH if limited else depth - 1, False) for x in v.op.operands]
    return list(found)


def _limits(value: Value, op: Op) -> tuple[Dim | None, Dim | None]:
    """What limits a result of an op: a wrapped index, the clipped bound of a slice, a remainder or a quotient, a
    count, the index of a ``while`` that has ended."""
    if op.name == "while":
        loop = loop_of(op)
        return _end_limits(loop) if loop is not None and value is op.results[loop.place] else (None, None)
    if op.name == "wrap_index":
        return 0, add(op.attrs["extent"], -1)
    if op.name == "reduce_sum" and value.type == TensorType(i64):
        return _count_limits(op.operands[0])
    if op.name in ("remainder", "floor_divide") and op.results[0].type == TensorType(i64):
        return _division_limits(op.name, *(index_of(v) for v in op.operands))
    if op.name not in ("minimum", "maximum") or op.results[0].type != TensorType(i64):
        return None, None
    a, b = (index_of(v) for v in op.operands)
    if op.name == "minimum":
        return _extreme([_limit(a, 0), _limit(b, 0)], 0), a if isinstance(a, int) else b
    return a if isinstance(a, int) else b, _extreme([_limit(a, 1), _limit(b, 1)], 1)


def _division_limits(name: str, a: Dim, divisor: Dim) -> tuple[int | None, int | None]:
    if not isinstance(divisor, int) or divisor <= 0:
        return None, None
    if name == "remainder":
        return 0, divisor - 1
    lo, hi = interval(a)
    return None if lo is None else lo // divisor, None if hi is None else hi // divisor


def _count_limits(summed: Value) -> tuple[Dim | None, Dim | None]:
    """A sum of bools counts them."""
    counts = summed.op is not None and summed.op.name == "cast" and summed.op.operands[0].type.dtype == bool_
    return (0, summed.type.size) if counts else (None, None)


def _end_limits(loop: Loop) -> tuple[Dim | None, Dim | None]:
    """What limits the index of a ``while`` that has ended: it starts at ``lo``, and takes no step from ``hi`` on."""
    side = 1 if loop.step > 0 else 0
    last = None if loop.hi is None else _extreme([loop.lo, add(loop.hi, loop.step - (1 if side else -1))], side)
    return (loop.lo, last) if side else (last, loop.lo)


def _limit(e: Dim, side: int) -> Dim:
    """A bound of an expression: that of the symbol which it is, else the expression itself."""
    symbol = as_sym(e)
    limit = None if symbol is None else symbol.limits[side]
    return e if limit is None else limit


def _extreme(limits: list[Dim], side: int) -> Dim | None:
    """The lesser (``side`` 0) or greater of two expressions; a number where only the numbers that bound them tell."""
    a, b = limits
    difference = add(a, mul(b, -1))
    if never_negative(difference):
        return (b, a)[side]
    if never_negative(mul(difference, -1)):
        return (a, b)[side]
    x, y = interval(a)[side], interval(b)[side]
    if x is None or y is None:
        return None
    return max(x, y) if side else min(x, y)


def set_limits(index: Value, lo: Dim, hi: Dim, step: int) -> None:
    """Make the symbol of a loop index that runs over ``range(lo, hi, step)``."""
    if step > 0:
        low, high = lo, add(hi, -1)
        if isinstance(lo, int) and isinstance(hi, int) and hi > lo:
            high = lo + (hi - lo - 1) // step * step
    else:
        low, high = add(hi, 1), lo
    index.symbol = Sym(index.name or "i", *_interval(low, high), payload=index)


def _interval(low: Dim | None, high: Dim | None) -> tuple[Dim | None, Dim | None]:
    """Limits of a loop index. Those of an empty loop must still be an interval."""
    return (low, low) if isinstance(low, int) and isinstance(high, int) and high < low else (low, high)


def index_of(value: Value) -> Dim:
    """An i64 scalar as an index expression: a number, a sum of others, or its own symbol."""
    return _index_of(value, _DEPTH, {})


def _index_of(value: Value, depth: int, known: dict[tuple[Value, int], Dim]) -> Dim:
    """``known`` has what was found: a value that is added to itself, and the sum to itself, is asked for once."""
    key = value, depth
    if key not in known:
        known[key] = _computed(value, depth, known)
    return known[key]


def _computed(value: Value, depth: int, known: dict[tuple[Value, int], Dim]) -> Dim:
    op = value.op
    if op is None or depth == 0 or value.type != TensorType(i64):
        return expr(symbol_of(value))
    if op.name == "constant":
        return int(op.attrs["value"])
    if op.name == "index":
        return op.attrs["value"]
    if op.name == "cast" and op.operands[0].type == TensorType(i64):
        return _index_of(op.operands[0], depth - 1, known)
    if op.name not in ("add", "subtract", "negative", "multiply", "minimum", "maximum"):
        return expr(symbol_of(value))
    a, b = (_index_of(v, depth - 1, known) for v in (*op.operands, *op.operands)[:2])
    if op.name in ("add", "subtract"):
        return add(a, b if op.name == "add" else mul(b, -1))
    if op.name == "negative":
        return mul(a, -1)
    if op.name == "multiply":
        return mul(a, b) if isinstance(a, int) or isinstance(b, int) else expr(symbol_of(value))
    larger = a if never_negative(add(a, mul(b, -1))) else b if never_negative(add(b, mul(a, -1))) else None
    if larger is None:
        return expr(symbol_of(value))
    return larger if op.name == "maximum" else b if larger is a else a


class Loop(NamedTuple):
    """A loop whose iterations have numbers: in its body, ``index`` goes through ``range(lo, hi, step)``. A ``while``
    may end before it has gone through all of it; its index is number ``place`` of what it carries, and ``hi`` is None
    where no number limits how often it runs."""

    op: Op
    index: Value
    lo: Dim
    hi: Dim | None
    step: int
    place: int = -1

    @property
    def body(self) -> Block:
        return self.op.regions[-1]

    @property
    def end(self) -> Dim | None:
        """The upper bound of what the loop did go through, once it has ended."""
        return self.hi if self.op.name == "for" else expr(symbol_of(self.op.results[self.place]))

    def most(self) -> Dim | None:
        """How often the loop runs at most; None where that is not known before it ran."""
        return None if self.hi is None else trip_count(self.lo, self.hi, self.step)

    def number(self) -> Dim:
        """The number of an iteration, from 0."""
        index = expr(symbol_of(self.index))
        distance = add(index, mul(self.lo, -1)) if self.step > 0 else add(self.lo, mul(index, -1))
        return floordiv(distance, abs(self.step))


def loop_of(op: Op) -> Loop | None:
    """A loop as one with numbered iterations; None for a ``while`` that doesn't count, and where ``op`` is no loop."""
    if op.name == "for":
        return Loop(op, op.regions[0].params[0], op.attrs["lo"], op.attrs["hi"], op.attrs["step"])
    if op.name != "while":
        return None
    test, body = op.regions
    found: Loop | None = None
    for k, param in enumerate(body.params):
        if param.type != TensorType(i64):
            continue
        step = add(index_of(body.results[k]), mul(expr(symbol_of(param)), -1))
        if not isinstance(step, int) or step == 0:
            continue
        lo = index_of(op.operands[k])
        hi = _end_by_test(test, k, lo, step)
        if hi is not None:
            return Loop(op, param, lo, hi, step, k)
        found = found or Loop(op, param, lo, None, step, k)
    return found


def _end_by_test(test: Block, k: int, lo: Dim, step: int) -> Dim | None:
    """The bound that the condition of a ``while`` sets to number ``k`` of what it carries, if it is known before the
    loop, and some number limits how often the loop can run."""
    index = expr(symbol_of(test.params[k]))
    for positive in positives(test.results[0]):
        hi = add(positive, index) if step > 0 else add(index, mul(positive, -1))
        known = not any(v in test.params or _is_made_in(test, v) for v in named_values(hi))
        if known and interval(trip_count(lo, hi, step))[1] is not None:
            return hi
    return None


def _is_made_in(block: Block, value: Value) -> bool:
    return any(value.op is op or any(_is_made_in(region, value) for region in op.regions) for op in block.ops)


#: Comparisons of integers: whether the operands change places to give ``less``, and whether they may be equal.
COMPARISONS = {"less": (0, 0), "less_equal": (0, 1), "greater": (1, 0), "greater_equal": (1, 1)}


def positives(condition: Value, holds: bool = True) -> Iterator[Dim]:
    """Index expressions that are positive where a condition holds (or doesn't)."""
    op = condition.op
    if op is None:
        return
    if op.name == ("logical_and" if holds else "logical_or"):
        for v in op.operands:
            yield from positives(v, holds)
    elif op.name == "logical_not":
        yield from positives(op.operands[0], not holds)
    elif op.name == "cond" and holds:  # `a and b` where b is only evaluated if a holds
        then, orelse = (region.results[op.results.index(condition)] for region in op.regions)
        if orelse.op is not None and orelse.op.name == "constant" and not orelse.op.attrs["value"]:
            yield from positives(op.operands[0])
            yield from positives(then)
    elif op.name in COMPARISONS and all(v.type == TensorType(i64) for v in op.operands):
        swapped, equal = COMPARISONS[op.name]
        if not holds:
            swapped, equal = 1 - swapped, 1 - equal
        a, b = (index_of(v) for v in (reversed(op.operands) if swapped else op.operands))
        yield add(add(b, mul(a, -1)), equal)


def renamed_dim(d: Dim, env: Mapping[Value, Value]) -> Dim:
    """An index expression with the values that it names replaced."""
    if not isinstance(d, IndexExpr):
        return d
    changes: dict[Any, Dim] = {}
    for s in d.syms():
        if isinstance(s.payload, Value):
            new = env.get(s.payload)
            if new is not None and new is not s.payload:
                changes[s] = index_of(new)
    return substitute(d, changes) if changes else d


def renamed_attribute(item: Any, env: Mapping[Value, Value]) -> Any:
    """An attribute with the values that its index expressions name replaced; the same object where there are none."""
    if isinstance(item, tuple):
        for part in item:  # most name no values
            if isinstance(part, (tuple, IndexExpr)) and renamed_attribute(part, env) is not part:
                return tuple([renamed_attribute(part, env) for part in item])
        return item
    return renamed_dim(item, env) if isinstance(item, IndexExpr) else item


def renamed_attributes(attrs: Mapping[str, Any], env: Mapping[Value, Value]) -> Mapping[str, Any]:
    """All attributes of an op, renamed."""
    for v in attrs.values():
        if renamed_attribute(v, env) is not v:
            return {k: renamed_attribute(v, env) for k, v in attrs.items()}
    return attrs


def renamed_type(t: TensorType, env: Mapping[Value, Value]) -> TensorType:
    """A type with the values that its extents name replaced."""
    shape = renamed_attribute(t.shape, env)
    return t if shape is t.shape else TensorType(t.dtype, shape)


def renamed_param(param: Value, env: Mapping[Value, Value]) -> Value:
    """A fresh block parameter in place of another; its symbol, if it has one, gets the same limits."""
    new = Value(renamed_type(param.type, env), param.name)
    if param.symbol is not None:
        lo, hi = (None if x is None else renamed_dim(x, env) for x in param.symbol.limits)
        new.symbol = Sym(param.symbol.name, *_interval(lo, hi), payload=new)
    return new


def copied_op(op: Op, env: dict[Value, Value]) -> Op:
    """A fresh copy of an op and its regions, renamed; its results are entered into ``env``."""
    operands = tuple(env.get(v, v) for v in op.operands)
    attrs = renamed_attributes(op.attrs, env)
    regions = tuple(copied_block(region, env) for region in op.regions)
    results = tuple(Value(renamed_type(r.type, env), r.name) for r in op.results)
    new = Op(op.opdef, operands, attrs, results, regions, op.loc)
    env.update(zip(op.results, results, strict=True))
    return new


def copied_block(block: Block, outer: Mapping[Value, Value]) -> Block:
    """A fresh copy of a block, with the values around it renamed by ``outer``."""
    env = dict(outer)
    params = []
    for p in block.params:
        env[p] = renamed_param(p, env)
        params.append(env[p])
    ops = [copied_op(op, env) for op in block.ops]
    return Block(params, ops, [env.get(v, v) for v in block.results])


def named_values(item: Any) -> set[Value]:
    """The values that an attribute, a shape or an extent names."""
    found: set[Value] = set()
    if isinstance(item, tuple):
        for part in item:
            if isinstance(part, (tuple, IndexExpr)):  # most name no values
                found |= named_values(part)
    elif isinstance(item, IndexExpr):
        found.update(s.payload for s in item.syms() if isinstance(s.payload, Value))
    return found


def used_values(op: Op) -> Iterator[Value]:
    """Every value that an op uses: its operands, those that its attributes name, and those used in its regions."""
    yield from op.operands
    for attr in op.attrs.values():
        if isinstance(attr, (tuple, IndexExpr)):
            yield from named_values(attr)
    for region in op.regions:
        yield from block_uses(region)
    for r in op.results:
        for extent in r.type.shape:
            if isinstance(extent, IndexExpr):
                yield from named_values(r.type.shape)
                break


def block_uses(block: Block) -> Iterator[Value]:
    """Every value that the ops of a block use, or that it yields; those of the block itself among them."""
    for p in block.params:
        yield from named_values(p.type.shape)
        if p.symbol is not None:
            yield from named_values(p.symbol.limits)
    for inner in block.ops:
        yield from used_values(inner)
    yield from block.results


def is_static(*dims: Dim) -> bool:
    """True where all are numbers."""
    return all(isinstance(d, int) for d in dims)


def trip_count(lo: Dim, hi: Dim, step: int) -> Dim:
    """How often ``range(lo, hi, step)`` runs. Symbolic bounds give a number below 1 where the range is empty."""
    distance = add(hi, mul(lo, -1)) if step > 0 else add(lo, mul(hi, -1))
    size = abs(step)
    if isinstance(distance, int):
        return max(0, -(-distance // size))
    return distance if size == 1 else add(distance, size - 1) // size  # pyright: ignore[reportReturnType]


def may_be_empty(lo: Dim, hi: Dim, step: int) -> bool:
    """True unless the loop is known to run at least once."""
    low = interval(trip_count(lo, hi, step))[0]
    return low is None or low < 1


def never_runs(lo: Dim, hi: Dim, step: int) -> bool:
    """True where the loop is known to be empty."""
    high = interval(trip_count(lo, hi, step))[1]
    return high is not None and high < 1
