"""The ops that draw: their text, what no pass does to them, and how they fail."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.autodiff.replays import with_states
from jitgrad.errors import DtypeError, IRError, ParseError
from jitgrad.ir.generators import Draw, Source, is_generator, restored, saved
from jitgrad.ir.types import f64, i64
from jitgrad.ir.verify import verify
from jitgrad.passes.cse import cse
from jitgrad.passes.dce import dce
from jitgrad.passes.fold import fold
from jitgrad.passes.licm import licm
from jitgrad.passes.pipeline import optimise, prepare

NORMAL = {"method": "standard_normal", "args": (("size", (3,)),), "dtype": f64, "shape": (3,)}


def names(graph):
    found = []

    def visit(block):
        for op in block.ops:
            found.append(op.name)
            for region in op.regions:
                visit(region)

    visit(graph.block)
    return found


def two_draws(generator):
    b = jg.Builder("g")
    h = b.emit("generator", source=Source.of(generator))
    return b.build(b.emit("draw", h, **NORMAL), b.emit("draw", h, **NORMAL))


def test_a_graph_reads_back():
    generator = np.random.default_rng(0)
    graph = two_draws(generator)
    text = str(graph)
    assert 'draws from "PCG64' in text
    assert str(jg.parse(text)) == text
    first = jg.interpret(jg.parse(text))
    np.testing.assert_array_equal(np.concatenate(first), np.random.default_rng(0).standard_normal(6))
    shared = jg.trace(lambda x: x + np.random.rand() + random.random(), 1.0)
    assert '"np.random ' in str(shared) and '"random ' in str(shared)
    assert str(jg.parse(str(shared))) == str(shared)


def test_a_generator_that_is_gone_can_not_be_read_back():
    graph = two_draws(np.random.default_rng(0))
    text = str(graph)
    del graph
    gc.collect()
    with pytest.raises(ParseError, match="no generator of this process"):
        jg.parse(text)


def test_no_pass_merges_moves_or_drops_a_draw():
    graph = two_draws(np.random.default_rng(0))
    for run in (cse, dce, fold, licm, prepare, optimise):
        assert names(run(graph)).count("draw") == 2
    dead = jg.trace(lambda g, x: (g.normal(size=3), x)[1], np.random.default_rng(0), 1.0)
    assert names(optimise(prepare(dead))).count("draw") == 1


def test_a_draw_stays_in_its_loop():
    def f(g, x):
        total = 0.0
        for _ in range(50):
            total = total + g.normal() * x
        return total

    graph = optimise(prepare(jg.trace(f, np.random.default_rng(0), 1.0)))
    assert "draw" not in [op.name for op in graph.ops] and names(graph).count("draw") == 1


def test_generators_that_nobody_draws_from_are_not_made():
    graph = jg.trace(lambda x: (np.random.default_rng(3), x)[1], 1.0)
    assert "make_generator" not in names(dce(graph))
    states = with_states(jg.trace(looping, np.random.default_rng(0), 1.0).ops)
    assert "generator_state" in [op.name for op in states]
    assert "generator_state" not in names(optimise(prepare(jg.trace(looping, np.random.default_rng(0), 1.0))))


def looping(g, x):
    for _ in range(50):
        x = np.sin(x + g.normal())
    return x


def test_reverse_mode_of_a_plain_loop_saves_no_state():
    text = jg.grad(looping, argnums=1).ir(np.random.default_rng(0), 1.0, stage="optimised")
    assert text.count("draw(") == 1 and "generator_state" not in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.random.default_rng(3),
        lambda: np.random.RandomState(3),
        lambda: random.Random(3),
        lambda: np.random.Generator(np.random.MT19937(3)),
        lambda: np.random.Generator(np.random.SFC64(3)),
    ],
)
def test_a_state_gives_a_generator_that_draws_the_same(make):
    a, b = make(), make()
    state = saved([id(a), id(b), id(a)], 3 * 6144)
    from jitgrad.ir.generators import generator_of

    x, y, z = (generator_of(int(h)) for h in restored(state, -1))
    assert x is z and x is not y and x is not a
    assert x.random() == y.random() == a.random()
    with pytest.raises(ValueError, match="more than the 10"):
        saved([id(a)], 10)


def test_types_are_checked():
    b = jg.Builder("g")
    x = b.param(jg.TensorType(f64, (3,)), "x")
    h = b.param(jg.TensorType(i64), "h")
    with pytest.raises(DtypeError, match="the handle of a generator"):
        b.emit("draw", x, **NORMAL)
    with pytest.raises(DtypeError, match="its arguments name 0"):
        b.emit("draw", h, x, **NORMAL)
    with pytest.raises(DtypeError, match="A seed is an integer"):
        b.emit("make_generator", x, kind="default_rng", site=0)
    with pytest.raises(DtypeError, match="It takes handles"):
        b.emit("generator_state", x, nbytes=64)


def test_a_result_of_another_shape_is_an_error():
    draw = Draw("normal", [("size", (3,))], np.dtype(np.float64), (4,))
    with pytest.raises(ValueError, match="shape"):
        draw.array(np.random.default_rng(0), ())


def test_the_verifier_knows_the_attribute():
    graph = two_draws(np.random.default_rng(0))
    verify(graph)
    graph.ops[1].attrs = {**graph.ops[1].attrs, "args": object()}
    with pytest.raises(IRError):
        verify(graph)


def test_what_is_a_generator():
    class Mine(np.random.Generator):
        pass

    assert is_generator(np.random.default_rng(0)) and is_generator(Mine(np.random.PCG64(0)))
    assert not is_generator(np.random.PCG64(0)) and not is_generator(None)


def test_integers_that_do_not_fit_are_an_error():
    g = random.Random(0)
    f = jg.jit(lambda a: g.randint(a, 2**63 - 1))
    assert f(2**63 - 2) in (2**63 - 2, 2**63 - 1)
