"""Index expressions: normal form, bounds, and that every simplification keeps the value."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from jitgrad.ir.index import (
    IndexExpr,
    Sym,
    add,
    bounds,
    coefficients,
    evaluate,
    expr,
    floordiv,
    mod,
    mul,
    substitute,
    sym,
)

P, Q = Sym("i", 0, 3), Sym("j", -2, 2)


def combine(children):
    pair = st.tuples(children, children)
    divided = st.tuples(children, st.integers(1, 6))
    return st.one_of(
        pair.map(lambda p: (add(p[0][0], p[1][0]), lambda env: p[0][1](env) + p[1][1](env))),
        pair.map(lambda p: (mul(p[0][0], p[1][0]), lambda env: p[0][1](env) * p[1][1](env))),
        divided.map(lambda p: (floordiv(p[0][0], p[1]), lambda env: p[0][1](env) // p[1])),
        divided.map(lambda p: (mod(p[0][0], p[1]), lambda env: p[0][1](env) % p[1])),
    )


LEAVES = st.one_of(
    st.integers(-5, 5).map(lambda n: (n, lambda env: n)),
    st.sampled_from([P, Q]).map(lambda s: (expr(s), lambda env: env[s])),
)


@settings(max_examples=400, deadline=None)
@given(st.recursive(LEAVES, combine, max_leaves=8))
def test_simplified_expressions_keep_their_value_and_bounds(case):
    e, meaning = case
    lo, hi = bounds(e)
    for i, j in itertools.product(range(4), range(-2, 3)):
        value = meaning({P: i, Q: j})
        assert evaluate(e, {P: i, Q: j}) == value
        assert (lo is None or lo <= value) and (hi is None or value <= hi)


def test_equal_expressions_are_one_object():
    i, j = expr(P), expr(Q)
    assert 2 * i + j - i is i + j
    assert (i + 1) * (j - 1) is i * j - i + j - 1


def test_reshapes_undo_each_other():
    i, j = sym("i", 0, 9), sym("j", 0, 7)
    flat = add(mul(i, 8), j)
    assert floordiv(flat, 8) is i
    assert mod(flat, 8) is j


def test_quotient_and_remainder_of_one_expression_join():
    k = sym("k", 0, 99)
    assert add(mul(floordiv(k, 6), 6), mod(k, 6)) is k
    assert add(mul(floordiv(k, 6), 24), mul(mod(k, 6), 4)) is mul(k, 4)


def test_affine_view():
    e = add(mul(expr(P), 3), 5)
    assert coefficients(e) == (5, {P: 3})
    assert coefficients(floordiv(expr(Q), 2)) is None
    assert coefficients(7) == (7, {})


def test_substitution_is_simultaneous():
    swapped = substitute(add(expr(P), mul(expr(Q), 10)), {P: expr(Q), Q: expr(P)})
    assert isinstance(swapped, IndexExpr)
    assert evaluate(swapped, {P: 1, Q: 2}) == 12
