"""Graphs in the user's hands: traced or built, printed, parsed, verified, interpreted, differentiated, compiled."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, DifferentiationError, IRError

X = np.linspace(0.1, 1.2, 6)


def pair(x, y):
    return x * y, np.sum(x) + y


def built() -> jg.Graph:
    """The sum of tanh(x)."""
    b = jg.Builder("f")
    x = b.param(jg.TensorType(jg.f64, (6,)), "x")
    return b.build(b.emit("reduce_sum", b.emit("tanh", x), axes=(0,)))


def test_public_names_exist():
    missing = [name for name in jg.__all__ if not hasattr(jg, name)]
    assert not missing
    for name in ("draw", "numpy", "scipy", "testing", "set_at", "add_at", "stop_gradient", "verify", "vjp_graph"):
        assert name in jg.__all__
    assert all(getattr(jg, name).__doc__ for name in jg.__all__ if callable(getattr(jg, name)))


def test_trace_gives_a_graph():
    graph = jg.trace(pair, X, 2.0)
    assert [p.name for p in graph.params] == ["x", "y"]
    product, total = jg.interpret(graph, X, np.array(2.0))
    np.testing.assert_array_equal(product, X * 2)
    assert total == X.sum() + 2
    assert str(jg.parse(str(graph))) == str(graph)
    product, total = jg.compile(graph)(X, 2.0)
    np.testing.assert_array_equal(product, X * 2)


def test_trace_gives_the_graph_of_a_gradient():
    graph = jg.trace(jg.grad(lambda x: np.sum(x**3)), X)
    (found,) = jg.interpret(graph, X)
    np.testing.assert_allclose(found, 3 * X**2, rtol=1e-14)


def test_built_parsed_verified_interpreted_and_compiled():
    graph = built()
    jg.verify(graph)
    again = jg.parse(str(graph))
    assert str(again) == str(graph)
    for g in (graph, again):
        np.testing.assert_allclose(jg.interpret(g, X), [np.tanh(X).sum()], rtol=1e-14)
        np.testing.assert_allclose(jg.compile(g)(X), [np.tanh(X).sum()], rtol=1e-14)


def test_a_graph_is_differentiated_in_reverse():
    joint = jg.vjp_graph(built(), [0])
    jg.verify(joint)
    value, gradient = jg.compile(joint)(X)
    np.testing.assert_allclose(value, np.tanh(X).sum(), rtol=1e-14)
    np.testing.assert_allclose(gradient, 1 - np.tanh(X) ** 2, rtol=1e-12)
    second = jg.vjp_graph(jg.vjp_graph(built(), [0], with_value=False), [0], with_value=False, seed="param")
    (along,) = jg.compile(second)(X, np.ones(6))
    np.testing.assert_allclose(along, -2 * np.tanh(X) * (1 - np.tanh(X) ** 2), rtol=1e-12)


def test_a_graph_is_differentiated_forward():
    graph = jg.jvp_graph(built(), [0])
    jg.verify(graph)
    value, tangent = jg.compile(graph)(X, np.full(6, 2.0))
    np.testing.assert_allclose(value, np.tanh(X).sum(), rtol=1e-14)
    np.testing.assert_allclose(tangent, 2 * (1 - np.tanh(X) ** 2).sum(), rtol=1e-12)


def test_a_compiled_graph_shows_its_stages():
    compiled = jg.compile(built())
    assert [title for title, _ in compiled.stages] == ["optimised", "loop"]
    assert "for " in compiled.source() and "define " in compiled.llvm() and compiled.asm() and compiled.explain()


def test_a_graph_that_breaks_the_rules_is_refused():
    other = jg.Builder("other")
    stray = other.param(jg.TensorType(jg.f64, (6,)))
    b = jg.Builder("f")
    with pytest.raises(IRError, match=r"graph f uses .*no value of its builder"):
        b.build(b.emit("tanh", stray))
    with pytest.raises(IRError, match="no op named 'tahn'"):
        b.emit("tahn", stray)


REFUSED = {
    "no such parameter": (lambda: jg.vjp_graph(built(), [1]), ArgumentError, "wrt has 1, and f has 1 parameters"),
    "forward": (lambda: jg.jvp_graph(built(), [-1]), ArgumentError, "wrt has -1"),
    "no such result": (lambda: jg.vjp_graph(built(), [0], outputs=[1]), ArgumentError, "outputs has 1"),
    "seed": (lambda: jg.vjp_graph(built(), [0], seed="zeros"), ArgumentError, "seed is 'zeros'"),
    "integers": (
        lambda: jg.jvp_graph(jg.trace(lambda n: n + 1, 3), [0]),
        DifferentiationError,
        "type i64.*Only floats",
    ),
    "no scalar": (lambda: jg.vjp_graph(jg.trace(lambda x: x + 1, X), [0]), DifferentiationError, "needs a scalar"),
    "too few arrays": (lambda: jg.compile(built())(), ArgumentError, "takes 1 arrays, not 0"),
    "other shape": (lambda: jg.compile(built())(X[:2]), ArgumentError, "one shape and dtype"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, error, text = REFUSED[name]
    with pytest.raises(error, match=text):
        call()


def test_misuse_of_a_builder_is_an_ir_error():
    b = jg.Builder("f")
    x = b.param(jg.TensorType(jg.f64, (3,)), "x")
    with pytest.raises(IRError, match=r"reduce_sum of 1 operands with the attributes axis: .*attributes are: axes"):
        b.emit("reduce_sum", x, axis=0)
    with pytest.raises(IRError, match=r"inv of 2 operands with the attributes none: too many positional"):
        b.emit("inv", x, x)
