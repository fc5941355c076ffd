"""Systems of constraints against enumeration: "empty" is never wrong, and seldom missed."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, evaluate, expr, mul
from jitgrad.ir.polyhedra import System, prime

small = st.integers(-4, 4)


def symbols(bounds: list[tuple[int, int]]) -> list[Sym]:
    return [Sym(f"x{k}", lo, lo + size) for k, (lo, size) in enumerate(bounds)]


def affine(syms: list[Sym], coefficients: list[int], constant: int) -> Dim:
    total: Dim = constant
    for s, c in zip(syms, coefficients, strict=False):
        total = add(total, mul(expr(s), c))
    return total


def points(syms: list[Sym]) -> list[dict[Sym, int]]:
    ranges = [range(*(s.bounds[0], s.bounds[1] + 1)) for s in syms]  # pyright: ignore
    return [dict(zip(syms, p, strict=True)) for p in itertools.product(*ranges)]


boxes = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=3)
rows = st.lists(st.tuples(st.booleans(), st.lists(small, min_size=3, max_size=3), st.integers(-8, 8)), max_size=4)


@settings(max_examples=300, deadline=None)
@given(boxes, rows)
def test_empty_is_a_proof(box: list[tuple[int, int]], constraints: list[tuple[bool, list[int], int]]) -> None:
    syms = symbols(box)
    system = System()
    tests = []
    for equation, c, k in constraints:
        e = affine(syms, c, k)
        (system.equal if equation else system.at_least)(e, 0)
        tests.append((equation, e))
    if system.is_empty():
        for p in points(syms):
            assert not all(evaluate(e, p) == 0 if eq else evaluate(e, p) >= 0 for eq, e in tests)


def test_most_empty_systems_are_found() -> None:
    """Over random systems with two symbols: hardly one that is empty goes unnoticed."""
    rng = np.random.default_rng(0)
    found = missed = 0
    for _ in range(400):
        syms = symbols([(int(rng.integers(-3, 3)), int(rng.integers(0, 5))) for _ in range(2)])
        rows = [(rng.random() < 0.4, affine(syms, list(map(int, rng.integers(-3, 4, 2))), int(rng.integers(-6, 7))))
                for _ in range(3)]  # fmt: skip
        system = System()
        for equation, e in rows:
            (system.equal if equation else system.at_least)(e, 0)
            for s in syms:  # also symbols that no constraint names
                system.at_least(expr(s), s.limits[0] or 0)
        empty = not any(all(evaluate(e, p) == 0 if eq else evaluate(e, p) >= 0 for eq, e in rows) for p in points(syms))
        assert empty or not system.is_empty()
        found += empty and system.is_empty()
        missed += empty and not system.is_empty()
    assert found > 100
    assert missed <= found / 20


def meet(a: Dim, b: Dim) -> bool:
    system = System()
    system.equal(a, b)
    return not system.is_empty()


def test_what_loop_analysis_asks() -> None:
    i, j = expr(Sym("i", 0, 9)), expr(Sym("j", 0, 9))
    assert meet(add(i, 1), j)
    assert not meet(mul(i, 2), add(mul(j, 2), 1))  # even and odd
    assert not meet(i, add(j, 10))  # too far
    assert not meet(mul(i, 6), add(mul(j, 4), 3))  # by the GCD
    k = Sym("k", 0, 9)
    below = expr(Sym("l", 0, add(expr(k), -1)))  # l < k
    assert not meet(below, expr(k))
    system = System()
    system.at_least(expr(k), 3)
    system.at_least(2, expr(k))
    assert system.is_empty()


def test_an_inner_symbol_brings_the_limits_of_the_outer_ones() -> None:
    i = Sym("i", 0, 5)
    j = Sym("j", add(expr(i), 1), 7)
    system = System()
    system.equal(expr(j), 0)  # j > i >= 0
    assert system.is_empty()


def test_symbols_without_limits() -> None:
    n = expr(Sym("n"))
    assert meet(n, 100)
    assert not meet(mul(n, 2), 7)
    system = System()
    system.at_least(n, 10)
    system.at_least(mul(n, -1), -9)
    assert system.is_empty()


def test_what_is_not_affine_is_left_out() -> None:
    i, j = expr(Sym("i", 0, 3)), expr(Sym("j", 0, 3))
    system = System()
    system.equal(mul(i, j), 100)
    assert not system.is_empty()
    system.equal(i, 5)
    assert system.is_empty()


def test_a_copy_is_independent() -> None:
    i = expr(Sym("i", 0, 3))
    first = System()
    first.equal(i, 2)
    second = first.copy()
    second.equal(i, 3)
    assert second.is_empty()
    assert not first.is_empty()


def test_a_primed_symbol_has_primed_limits() -> None:
    i = Sym("i", 0, 5)
    j = Sym("j", 0, add(expr(i), -1))
    fresh: dict[Sym, Sym] = {}
    other = prime(j, fresh, lambda s: False)
    assert other is not j
    limit = other.limits[1]
    assert isinstance(limit, IndexExpr)
    assert limit.syms() == {fresh[i]}
    kept = prime(j, {}, lambda s: s is i)
    limit = kept.limits[1]
    assert isinstance(limit, IndexExpr)
    assert limit.syms() == {i}
