"""The text form of loop programs."""

import numpy as np

from jitgrad.ir.location import Location
from jitgrad.ir.types import bool_, f32, f64, i64
from jitgrad.loopir.build import LoopBuilder, Tensor
from jitgrad.loopir.nodes import Buffer, Program, scalar
from jitgrad.loopir.printer import StatementPrinter, print_program


def test_buffers_then_statements():
    b = LoopBuilder()
    b.loc = Location("/home/me/model.py", 7, "f")
    x = Tensor(Buffer("x", f64, (4,), "arg"))
    idx = Tensor(Buffer("idx", i64, (2,), "arg"))
    weights = b.constant(np.array([0.5, 2.0], f32))

    def value(i):
        e = scalar("exp", x[i])
        return e * e + 1

    b.hint = "h"
    h = b.pointwise((4,), f64, value)
    b.hint = None
    flat = b.reshape(h, (2, 2))
    y = b.empty((2,), f32)
    with b.loop(2) as i:
        acc = b.let(b.const(0.1, f32), "acc")
        with b.when(~(idx[i] < 4)):
            b.fail_unless(b.const(False, bool_), 1)
        b.assign(acc, b.cast(x[b.dynamic(idx[i], 4)] * (flat[i, 0] - flat[i, 1]), f32) * weights[i], "max=")
        b.store(y, i, -acc)
    b.libcall("sort", [h], [x], axis=0)
    b.comment("the end")
    y.buffer.kind = "out"
    program = Program("f", (x.buffer, idx.buffer), (y.buffer,), b.body)
    assert print_program(program) == (
        "program f: 2 parameters, 1 result, 1 temporary\n"
        "  arg    x    f64[4]    32 bytes\n"
        "  arg    idx  i64[2]    16 bytes\n"
        "  const  c0   f32[2]    8 bytes  model.py:7\n"
        "  out    t0   f32[2]    8 bytes  model.py:7\n"
        "  temp   h    f64[4]    32 bytes  model.py:7\n"
        "  view   h1   f64[2,2]  of h  model.py:7\n"
        "for i0 < 4:\n"
        "  %0 = exp(x[i0])\n"
        "  h[i0] = %0 * %0 + 1.0\n"
        "for i1 < 2:\n"
        "  let acc0: f32 = 0.1\n"
        "  if logical_not(idx[i1] < 4):\n"
        "    if logical_not(False):\n"
        "      fail 1\n"
        "  acc0 max= f32(x[idx[i1]] * (h1[i1, 0] - h1[i1, 1])) * c0[i1]\n"
        "  t0[i1] = -acc0\n"
        "call sort(x, axis=0) -> h\n"
        "# the end"
    )


def test_loop_heads():
    b = LoopBuilder()
    x = b.empty((9,), f64)
    with b.loop(9, 2) as i, b.loop(i + 1, name="j") as j, b.repeat(x[j] < 1.0):
        b.store(x, i, x[j], "+=")
    with b.loop(-1, 8, -2) as i:
        b.store(x, i, x[i] * 2)
    assert StatementPrinter(b.body).lines == [
        "for i0 in 2 .. 9:",
        "  for j < i0 + 1:",
        "    while t0[j] < 1.0:",
        "      t0[i0] += t0[j]",
        "for i1 in 8 .. -1 step -2:",
        "  t0[i1] = t0[i1] * 2.0",
    ]


def test_shared_expressions_do_not_blow_up():
    b = LoopBuilder()
    x = Tensor(Buffer("x", f64, (), "arg"))
    e = x[()]
    for _ in range(2000):
        e = e * e
    y = b.empty((), f64)
    b.store(y, (), e)
    lines = StatementPrinter(b.body).lines
    assert len(lines) == 2000 and lines[-1] == "t0[] = %1998 * %1998"


def test_long_expressions_are_split():
    b = LoopBuilder()
    x = Tensor(Buffer("x", f64, (), "arg"))
    e = x[()]
    for _ in range(1000):
        e = scalar("sin", e)
    y = b.empty((), f64)
    b.store(y, (), e)
    printer = StatementPrinter(b.body)
    assert max(map(len, printer.lines)) < 120
    assert printer.places[b.body[0]] == range(len(printer.lines))
