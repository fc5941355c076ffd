"""The verifier of Loop IR: each rule, broken once, and programs that it must accept."""

import dataclasses

import numpy as np
import pytest

from jitgrad.errors import IRError
from jitgrad.ir.index import Dim, Sym, expr
from jitgrad.ir.location import Location
from jitgrad.ir.types import bool_, f32, f64, i32, i64
from jitgrad.loopir.build import LoopBuilder, Tensor
from jitgrad.loopir.nodes import (
    Assign,
    Block,
    Buffer,
    Const,
    Fail,
    If,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Store,
    dynamic,
)
from jitgrad.loopir.verify import verify

X = Buffer("x", f64, (4,), "arg")
IDX = Buffer("idx", i64, (4,), "arg")
ONE = Const(1.0, f64)


def out(shape=(4,), dtype=f64) -> Buffer:
    return Buffer("y", dtype, shape, "out")


def loop(body, extent: Dim = 4, lo: Dim = 0, hi: Dim | None = None, step: int = 1):
    """A loop; ``body`` is called with its index and returns statements."""
    top = hi if hi is not None else extent - 1
    var = Sym("i", 0, top)
    return Loop(var, lo, extent, tuple(body(expr(var))), step)


def check(y: Buffer, *stmts) -> None:
    verify(Program("f", (X, IDX), (y,), stmts), "test")


def fill(y: Buffer) -> Loop:
    return loop(lambda i: [Store(y, (i,), Load(X, (i,)))])


def bad(message: str, y: Buffer, *stmts) -> None:
    with pytest.raises(IRError, match=message):
        check(y, *stmts)


def test_a_plain_program_is_accepted():
    y = out()
    check(y, fill(y))


def test_locals_are_declared_before_their_use_in_a_block_around_it():
    y, v = out(), Local("v", f64)
    bad("v is used before it is declared", y, fill(y), loop(lambda i: [Store(y, (i,), v)]))
    bad("v is assigned before", y, fill(y), loop(lambda i: [Assign(v, ONE)]))
    bad("v is used before", y, loop(lambda i: [Let(v, ONE)]), loop(lambda i: [Store(y, (i,), v)]))
    bad("v is used before", y, Let(v, ONE), loop(lambda i: [Store(y, (i,), v)]))
    bad("declared twice", y, fill(y), Block((Let(v, ONE), Let(v, ONE))))
    check(y, Block((Let(v, ONE), loop(lambda i: [Store(y, (i,), v)]))))


def test_loop_variables_stay_in_their_loop():
    y, other = out(), expr(Sym("k", 0, 3))
    bad("variable k is used outside", y, loop(lambda i: [Store(y, (i,), Load(X, (other,)))]))
    bad("variable k is used outside", y, loop(lambda i: [Store(y, (other,), ONE)]))
    bad("variable k is used outside", y, fill(y), loop(lambda i: [], extent=other))
    inner = loop(lambda i: [Store(y, (i,), ONE)])
    bad("variable of two loops", y, Loop(inner.var, 0, 4, (inner,)))
    wide = Sym("i", 0, 2)
    bad("declared to lie in", y, Loop(wide, 0, 4, (Store(y, (expr(wide),), ONE),)))


def test_limits_of_variables_that_depend_on_each_other():
    """``for i in range(4): for j in range(4 - i): for k in range(j, j + i + 1)``: k is at most 3, and the limits of i
    and j alone allow 6."""
    y, i, j = out(), Sym("i", 0, 3), Sym("j", 0, 3)

    def nest(k: Sym, hi: Dim, step: int = 1) -> Loop:
        first, last = (expr(j), hi) if step > 0 else (hi - 1, expr(j) - 1)
        inner = Loop(k, first, last, (Store(y, (expr(k),), ONE),), step)
        return Loop(i, 0, 4, (Loop(j, 0, 4 - expr(i), (inner,)),))

    for step in (1, -1):
        check(y, nest(Sym("k", 0, 3), expr(j) + expr(i) + 1, step))
        bad("k is declared to lie in", y, nest(Sym("k", 0, 3), expr(j) + expr(i) + 2, step))
        bad("k is declared to lie in", y, nest(Sym("k", 0, 2), expr(j) + expr(i) + 1, step))
        bad("k is declared to lie in", y, nest(Sym("k", 1, 3), expr(j) + expr(i) + 1, step))


def test_indices_lie_within_the_extents():
    y = out()
    bad("axes, and the index", y, loop(lambda i: [Store(y, (i, 0), ONE)]))
    bad(r"index 0 of x.* is i \+ 1, in \[1, 4\]", y, loop(lambda i: [Store(y, (i,), Load(X, (i + 1,)))]))
    bad("extent is 4", y, loop(lambda i: [Store(y, (i - 1,), ONE)]))
    bad("extent is 4", y, Store(y, (4,), ONE))
    bad("extent is 4", y, Store(y, (-1,), ONE))
    check(y, loop(lambda i: [Store(y, (3 - i,), ONE)]))
    # Under a condition the interval is too wide to tell, unless it is all outside.
    guard = Load(X, (0,)) < 1.0
    check(y, fill(y), loop(lambda i: [If(guard, (Store(y, (i + 1,), ONE),))]))
    bad("extent is 4", y, fill(y), loop(lambda i: [If(guard, (Store(y, (i + 4,), ONE),))]))


def test_triangular_loops_are_proved_by_their_bounds():
    y = out()

    def rows(i):
        return [loop(lambda j: [Store(y, (i - j,), Load(X, (j,)))], extent=i + 1)]

    check(y, fill(y), loop(rows))
    bad("extent is 4", y, fill(y), loop(lambda i: [loop(lambda j: [Store(y, (i - j,), ONE)], extent=i + 2)]))


def test_bounds_may_be_narrower_than_the_limits_of_a_variable():
    y, start = out(), dynamic(Load(IDX, (0,)), 4)

    def rest(extent):
        return loop(lambda i: [Store(y, (start + i,), ONE)], extent=extent, hi=9)

    check(y, fill(y), rest(4 - start))
    bad("extent is 4", y, fill(y), rest(5 - start))


def test_what_stands_in_a_loop_need_not_be_right_where_that_is_empty():
    y = out()

    def nest(extent):
        return loop(lambda i: [loop(lambda j: [Store(y, (i - 2,), ONE)], extent=extent(i))])

    check(y, fill(y), nest(lambda i: 2 * i - 3))
    bad("extent is 4", y, fill(y), nest(lambda i: 2 * i - 1))
    check(y, fill(y), nest(lambda i: 3 * ((2 * i + 2) // 3) - 5))
    bad("extent is 4", y, fill(y), nest(lambda i: 3 * ((2 * i + 2) // 3) - 2))


def test_dynamic_indices_are_trusted_and_must_be_int64():
    y = out()
    check(y, loop(lambda i: [Store(y, (i,), Load(X, (dynamic(Load(IDX, (i,)), 4),)))]))
    bad("extent is 4", y, loop(lambda i: [Store(y, (i,), Load(X, (dynamic(Load(IDX, (i,)), 9),)))]))
    narrow = expr(Sym("n", 0, 3, Const(1, i32) + 1))
    bad("not int64", y, loop(lambda i: [Store(y, (narrow,), ONE)]))


def test_dtypes_agree():
    y = out()
    bad("dtype float64, and its new value float32", y, Store(y, (0,), Const(1, f32)))
    bad("dtype float32, and its new value float64", y, fill(y), Block((Let(Local("v", f32), ONE),)))
    bad("not bool", y, fill(y), If(ONE, (Fail(1),)))
    bad("operands of add", y, Store(y, (0,), Scalar("add", (ONE, Const(1, f32)), f64)))
    bad("condition of where", y, Store(y, (0,), Scalar("where", (ONE, ONE, ONE), f64)))
    bad("where selects", y, Store(y, (0,), Scalar("where", (Const(True, bool_), Const(1, f32), Const(1, f32)), f64)))


def test_scalar_functions_modes_and_codes_exist():
    y = out()
    bad("named 'sinus'", y, Store(y, (0,), Scalar("sinus", (ONE,), f64)))
    bad("sin takes 1 operands, not 2", y, Store(y, (0,), Scalar("sin", (ONE, ONE), f64)))
    bad("not a mode", y, Store(y, (0,), ONE, "-="))
    bad("status 99", y, fill(y), Fail(99))
    bad("step of a loop is 0", y, Loop(Sym("i", 0, 3), 0, 4, (), 0))
    bad("not a kind of loop", y, dataclasses.replace(fill(y), kind="warp"))
    bad("block is not at top level", y, Block((Block(()),)))
    bad("not a statement", y, "store")


def test_what_may_be_written_and_read():
    y, t = out(), Buffer("t", f64, (4,))
    c = Buffer("c", f64, (4,), "const", data=np.zeros(4))
    bad("kind 'arg'.* may not be written", y, Store(X, (0,), ONE))
    bad("kind 'const'.* may not be written", y, Store(c, (0,), ONE))
    bad("may not be written", y, Store(Buffer("x1", f64, (2, 2), "arg", base=X), (0, 0), ONE))
    bad("may not be written", y, LibCall("f", (X,), ()))
    bad("result y.* is never written", y)
    bad("t.* is read before it is written", y, loop(lambda i: [Store(y, (i,), Load(t, (i,)))]), fill(t))
    bad("t.* is read before", y, fill(y), Store(t, (0,), ONE, "+="))
    bad("t.* is read before", y, LibCall("f", (y,), (t,)))
    bad("not a parameter", y, Store(y, (0,), Load(Buffer("z", f64, (1,), "arg"), (0,))))
    check(y, fill(t), loop(lambda i: [Store(y, (i,), Load(Buffer("t1", f64, (2, 2), base=t), (0, 1)))]))
    check(y, LibCall("f", (t,), (X,)), LibCall("f", (y,), (t,)))
    # An earlier iteration may have written what a later one reads.
    first = If(Load(X, (0,)) < 1.0, (Store(y, (0,), Load(t, (0,))),))
    check(y, loop(lambda i: [first, Store(t, (i,), ONE)]))


def test_results_are_distinct_buffers_of_kind_out():
    y = out()
    with pytest.raises(IRError, match="share one buffer"):
        verify(Program("f", (X,), (y, y), (fill(y),)))
    with pytest.raises(IRError, match="not 'out'"):
        verify(Program("f", (X,), (X,), ()))
    with pytest.raises(IRError, match="not 'arg'"):
        verify(Program("f", (y,), (y,), ()))


def test_empty_loops_and_arrays_have_nothing_to_check():
    y = out((0,))
    var = Sym("i", 0, 0)
    check(y, Loop(var, 0, 0, (Store(y, (expr(var),), ONE),)))
    check(y)


def test_the_error_shows_the_statement_inside_its_neighbours_and_the_users_line():
    y, v = out(), Local("v", f64)
    y.loc = Location(__file__, 1, "loss")
    with pytest.raises(IRError) as caught:
        check(y, fill(y), loop(lambda i: [Store(y, (i,), v + 1)]), fill(y))
    text = str(caught.value)
    assert ">   y[i] = v + 1.0" in text
    assert "\n    y[i] = x[i]\n  for i < 4:\n>   y[i] = v + 1.0\n  for i < 4:\n    y[i] = x[i]" in text
    assert "after test" in text and "test_loop_verify.py:1, in loss" in text


def test_every_lowering_helper_passes():
    b = LoopBuilder()
    x = Tensor(Buffer("x", f64, (3, 4), "arg"))
    results = [
        b.elementwise("exp", x),
        b.reduce((3, 4), (0,), "max=", f64, lambda i, j: x[i, j]),
        b.reduce((3, 4), (1,), "+=", f64, lambda i, j: x[i, j]),
        b.copy(x),
    ]
    with b.kernel():
        results.append(b.reduce((3, 4), (0, 1), "+=", f64, lambda i, j: x[i, j]))
    for t in results:
        t.buffer.kind = "out"
    verify(Program("f", (x.buffer,), tuple(t.buffer for t in results), b.body))
