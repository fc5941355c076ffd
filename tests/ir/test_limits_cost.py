"""What index expressions cost whose symbols have limits that name others: never exponentially much.

Each test compares work with that of a case half as large, or counts calls, so that a slow machine does not fail it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from jitgrad.ir.core import Builder, Value
from jitgrad.ir.index import Dim, Sym, add, bounds, evaluate, expr, floordiv, interval, mod, mul, substitute
from jitgrad.ir.polyhedra import System
from jitgrad.ir.symbols import index_of
from jitgrad.ir.types import TensorType, i64


def calls(run: Callable[[], Any]) -> int:
    """How many Python functions a run calls."""
    count = 0

    def look(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def chain(length: int, width: int) -> list[Sym]:
    """Symbols of which each is limited by a sum of ``width`` earlier ones."""
    syms = [Sym(f"s{k}", 0, 10) for k in range(width)]
    for k in range(length):
        hi: Dim = 1
        for s in syms[-width:]:
            hi = add(hi, expr(s))
        syms.append(Sym(f"c{k}", 0, hi))
    return syms


@pytest.mark.parametrize("width", [1, 2, 5])
def test_chains_of_limits(width):
    """An interval costs no more where the chain of limits goes on for longer."""

    def asked(length: int) -> int:
        syms = chain(length, width)
        return calls(lambda: [interval(add(expr(syms[-1]), mul(expr(syms[-2 - k]), -1))) for k in range(10)])

    asked(100)
    assert asked(400) <= 2 * asked(100)


def random_limits(rng: random.Random, count: int) -> list[Sym]:
    """Symbols with random limits in terms of earlier ones, that leave no interval empty."""
    syms: list[Sym] = []

    def some() -> Dim:
        e: Dim = rng.randrange(0, 3)
        for s in rng.sample(syms, min(len(syms), rng.randrange(4))):
            part: Dim = mul(expr(s), rng.choice([1, 1, 2]))
            kind = rng.randrange(6)
            if kind == 0:
                part = floordiv(add(part, rng.randrange(3)), rng.choice([2, 3]))
            elif kind == 1:
                part = mod(part, rng.choice([2, 5]))
            e = add(e, part)
        return e

    for k in range(count):
        lo = some() if rng.random() < 0.3 else 0
        syms.append(Sym(f"s{k}", lo, add(lo, some())))
    return syms


def values(rng: random.Random, syms: list[Sym]) -> dict[Sym, int]:
    """Random values within the limits."""
    found: dict[Sym, int] = {}
    for s in syms:
        lo, hi = (evaluate(x, found) for x in s.limits if x is not None)
        found[s] = rng.choice([lo, hi, rng.randint(lo, hi)])
    return found


@pytest.mark.parametrize("seed", range(20))
def test_intervals_of_random_nests(seed):
    """They hold all values, are no wider than what the numbers alone give, and cost a limited number of calls."""
    rng = random.Random(seed)
    syms = random_limits(rng, 30)
    for _ in range(10):
        chosen = rng.sample(syms, 5)
        e: Dim = sum((mul(expr(s), rng.choice([-2, -1, 1, 3])) for s in chosen), start=0)
        found: list[Any] = []
        assert calls(lambda e=e, found=found: found.append(interval(e))) < 20_000
        lo, hi = found[0]
        plain = bounds(e)
        assert (lo is None) <= (plain[0] is None) and (hi is None) <= (plain[1] is None)
        for _ in range(20):
            value = evaluate(e, values(rng, syms))
            assert (lo is None or lo <= value) and (hi is None or value <= hi)


def test_an_interval_uses_limits_of_limits():
    """k <= j - 1 <= i - 1: the deepest symbol is replaced first, wherever it stands."""
    i = Sym("i", 0, 9)
    j = Sym("j", 0, add(expr(i), -1))
    k = Sym("k", 0, add(expr(j), -1))
    for e in (expr(i) - expr(j) - 1, expr(j) - expr(k) - 1, add(mul(expr(k), -1), add(expr(i), -2))):
        assert interval(e)[0] == 0


def test_substitution_into_shared_quotients():
    """Each quotient has the one before in it twice."""

    def nested(depth: int) -> tuple[Sym, Dim]:
        x = Sym("x")
        e: Dim = expr(x)
        for k in range(depth):
            e = add(floordiv(add(e, 1), 3 + k), mod(add(e, 2), 5 + k))
        return x, e

    def asked(depth: int) -> int:
        x, e = nested(depth)
        y = expr(Sym("y"))
        return calls(lambda: substitute(e, {x: y}))

    asked(10)
    assert asked(40) < 8 * asked(20)
    x, e = nested(12)
    expected = 7
    for k in range(12):
        expected = (expected + 1) // (3 + k) + (expected + 2) % (5 + k)
    assert substitute(e, {x: 7}) == expected


def emitted(build: Callable[[Builder, Value], Value]) -> Value:
    """What ``build`` emits, of a parameter."""
    b = Builder()
    with b.region() as region:
        x = region.param(TensorType(i64), "x")
        result = build(b, x)
        region.finish(result)
    return result


@pytest.mark.parametrize("names", [("add",), ("minimum", "add"), ("maximum", "subtract"), ("multiply", "add")])
def test_values_that_are_used_twice(names):
    """A value that two operands of the next one both need: 2**16 ways lead to the first one."""

    def asked(length: int) -> int:
        def build(b: Builder, x: Value) -> Value:
            y = b.emit("add", x, b.constant(1, i64))
            for k in range(length):
                name = names[k % len(names)]
                x, y = y, b.emit(name, y, x if k % 3 else y)
            return y

        return calls(lambda: index_of(emitted(build)))

    asked(20)
    assert asked(80) < 8 * asked(40) < 8_000_000


def test_a_long_chain_of_limits():
    """It is longer than Python's stack."""

    def build(b: Builder, x: Value) -> Value:
        zero, most = b.constant(0, i64), b.constant(100, i64)
        for k in range(1500):
            x = b.emit("minimum", b.emit("add", b.emit("maximum", x, zero), b.constant(k, i64)), most)
        return x

    assert index_of(emitted(build)) == 100


def test_coefficients_that_double_their_bits():
    """Elimination gives up, and says that the system may be met: it is met by zeros."""

    def system(count: int) -> System:
        rng = random.Random(3)
        syms = [Sym(f"x{k}") for k in range(count)]
        found = System()
        for k in range(count):
            others = rng.sample(syms, 3)
            a: Dim = mul(expr(syms[k]), rng.randrange(10**5, 10**6))
            b: Dim = sum((mul(expr(s), rng.randrange(10**5, 10**6)) for s in others), start=0)
            found.at_least(a, b)
            found.at_least(mul(b, 3), mul(a, 2))
        return found

    assert not system(12).is_empty()
    assert calls(lambda: system(40).is_empty()) < 2_000_000
