"""Traces and tracers: constants, captures, inlining, in-place operators, attributes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from traced import check, params, trace

import jitgrad.numpy as jnp
from jitgrad.errors import DtypeError, IRError, LeakedTracerError, MutationError, ShapeError, UnsupportedError
from jitgrad.frontend.trace import Trace
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f32, f64, i64

VEC = TensorType(f64, (3,))


def names(graph) -> list[str]:
    return [op.name for op in graph.ops]


def test_locations_are_the_users_lines() -> None:
    graph, _ = trace(lambda x: np.mean(np.tanh(x)), np.ones(3))
    assert {op.loc.file for op in graph.ops if op.loc} == {__file__}
    assert {op.loc.function for op in graph.ops if op.loc} == {"<lambda>"}


def test_one_constant_for_one_array() -> None:
    w = np.arange(3.0)
    graph, _ = trace(lambda x: x * w + w, np.ones(3))
    assert names(graph) == ["constant", "multiply", "add"]
    graph, _ = trace(lambda x: x * 2.0 + 2.0, np.ones(3))
    assert names(graph) == ["constant", "multiply", "add"]


def test_a_changed_array_is_a_new_constant() -> None:
    def f(x):
        w = np.zeros(3)
        y = x + w
        w[0] = 5.0
        return y, x + w

    check(f, np.ones(3))


def test_constants_are_copies() -> None:
    w = np.zeros(3)
    graph, _ = trace(lambda x: x + w, np.ones(3))
    w[:] = 7.0
    assert interpret(graph, np.ones(3))[0].tolist() == [1.0, 1.0, 1.0]


def test_odd_constants() -> None:
    big = np.arange(3.0).astype(">f8")
    backwards = np.arange(6.0)[::-2]
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    check(lambda x: x + big + backwards + frozen + np.float32(1.5) + np.array(2), np.ones(3))


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_unsupported_constants() -> None:
    for bad, error in [
        (np.array(["a"] * 3), DtypeError),
        (np.ones(3, np.longdouble), DtypeError),
        (np.ma.masked_array(np.ones(3)), UnsupportedError),
        (np.matrix([1.0, 2, 3]), UnsupportedError),
        (np.array([None] * 3), DtypeError),
    ]:
        with pytest.raises(error):
            trace(lambda x: x + bad, np.ones(3))  # noqa: B023


def test_finish_takes_anything() -> None:
    t = Trace("f")
    x = t.param(VEC, "x")
    graph = t.finish([x, 2.0, np.arange(2), x * 2, [x[0], 1.0], 3, True])
    results = interpret(graph, np.ones(3))
    assert [r.dtype for r in results] == [f64, f64, i64, f64, f64, i64, np.bool_]
    with pytest.raises(IRError, match="finished"):
        t.finish([1.0])


def test_inline() -> None:
    inner, _ = trace(lambda a, b: (a + b, a * b), np.ones(3), np.ones(3))
    t = Trace("outer")
    x = t.param(VEC, "x")
    total, product = t.inline(inner, [x, np.arange(3.0)])
    graph = t.finish([total - product])
    assert interpret(graph, np.full(3, 2.0))[0].tolist() == [2.0, 1.0, 0.0]
    with pytest.raises(IRError, match="takes f64"):
        Trace("g").inline(inner, [np.ones(3), np.ones(2)])


def test_captures_of_an_outer_trace() -> None:
    outer = Trace("outer")
    x = outer.param(VEC, "x")
    w = x * 2.0
    inner = Trace("inner")
    y = inner.param(VEC, "y")
    z = y * w + w + x  # both are captured, each once
    hoisted = w + x  # only outer values: belongs to the outer trace
    assert hoisted.owner is outer
    graph = inner.finish([z])
    assert [c.value for c, _ in inner.captures] == [w.value, x.value]
    assert [p.name for p in graph.params] == ["y", "captured0", "x"]
    (result,) = outer.inline(graph, [x, *(c for c, _ in inner.captures)])
    total = outer.finish([result])
    v = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(interpret(total, v)[0], v * 2 * v + 2 * v + v)


def test_captures_through_two_levels() -> None:
    (a,) = (Trace("a"),)
    x = a.param(VEC, "x")
    b = Trace("b")
    y = b.param(VEC, "y")
    c = Trace("c")
    z = c.param(VEC, "z")
    inner = c.finish([z + y + x])
    (mid,) = b.inline(inner, [y, *(t for t, _ in c.captures)])
    middle = b.finish([mid])
    assert [t.value for t, _ in b.captures] == [x.value]
    (out,) = a.inline(middle, [x, *(t for t, _ in b.captures)])
    assert interpret(a.finish([out]), np.ones(3))[0].tolist() == [3.0, 3.0, 3.0]


def test_lifting_an_outer_tracer_captures_it() -> None:
    outer = Trace("outer")
    x = outer.param(VEC, "x")
    inner = Trace("inner")
    assert inner.lift(x).owner is inner
    graph = inner.finish([x])
    assert len(graph.params) == 1


def test_an_inner_value_may_not_escape() -> None:
    outer = Trace("outer")
    x = outer.param(VEC, "x")
    inner = Trace("inner")
    y = inner.param(VEC, "y")
    with pytest.raises(LeakedTracerError):
        outer.finish([y])
    inner.finish([y])
    with pytest.raises(LeakedTracerError):
        _ = x + y


def test_parameters_come_first() -> None:
    outer = Trace("outer")
    x = outer.param(VEC, "x")
    inner = Trace("inner")
    inner.lift(x)
    with pytest.raises(IRError, match="declared before"):
        inner.param(VEC, "late")


def test_attributes_and_representation() -> None:
    _, (x,) = params(TensorType(f32, (2, 3)))
    assert (x.shape, x.ndim, x.size, x.dtype, x.itemsize, x.nbytes, len(x)) == ((2, 3), 2, 6, f32, 4, 24, 2)
    assert repr(x) == "<traced x0: f32[2,3]>"
    assert "".join([f"{x}"]) == repr(x) == "".join([str(x)])
    assert not hasattr(x, "strides")
    assert not hasattr(x, "no_such_attribute")
    assert copy.copy(x).value is x.value
    assert copy.deepcopy([x])[0].value is x.value
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


def test_in_place_operators_rebind_the_object() -> None:
    def f(x):
        h = x * 2
        same = h
        h += 1.0
        h *= x
        h -= 0.5
        h /= 2.0
        h **= 2
        h //= 0.25
        h %= 3.0
        return same, h

    check(f, np.array([0.5, 1.5, 2.5]))

    def g(x):
        h = x + 0
        h <<= 2
        h |= 1
        h ^= x
        h &= 13
        h >>= 1
        return h

    check(g, np.arange(5))

    def matmul(x):
        h = x + 0
        h @= x
        return h

    check(matmul, np.arange(9.0).reshape(3, 3))


def test_in_place_keeps_the_dtype() -> None:
    def f(x):
        h = x * 1
        h += np.ones(3)  # float64 into float32
        return h

    check(f, np.ones(3, np.float32))


def test_in_place_on_scalars_is_plain_assignment() -> None:
    def f(a, s):
        a += 1
        t = s
        t += 0.5
        total = s * 0
        for k in range(3):
            total += s * k
        return a, t, total

    check(f, 2, np.float64(3.0))


def test_in_place_on_results_that_are_the_argument_itself() -> None:
    def f(x):
        y = np.copy(x)
        y += 1
        z = x + 0
        w = +z
        w *= 3
        v = z**1
        v -= 7
        u = jnp.concatenate([z])
        u += 9
        c = np.clip(z, None, None) if False else np.round(z.astype(int))
        return x, y, z, w, v, u, c

    check(f, np.arange(3.0))


def test_in_place_refusals() -> None:
    _, (x,) = params(VEC)
    y = x * 2
    with pytest.raises(ShapeError, match="can't grow"):
        y += np.ones((2, 3))
    with pytest.raises(ShapeError, match="can't grow"):
        row = y[1:]
        row += np.ones((2, 2))
    n = x.astype(int)
    with pytest.raises(DtypeError, match="can't be stored"):
        n += 0.5
    view = np.broadcast_to(y, (2, 3))
    with pytest.raises(MutationError, match="read-only"):
        view += 1.0


def test_in_place_across_traces() -> None:
    outer = Trace("outer")
    total = outer.param(VEC, "x") * 0.0
    inner = Trace("inner")
    y = inner.param(VEC, "y")
    total += 1.0
    with pytest.raises(MutationError, match="enclosing"):
        total += y


def test_a_capture_keeps_the_value_it_captured() -> None:
    outer = Trace("outer")
    total = outer.param(VEC, "x") * 1.0
    inner = Trace("inner")
    y = inner.param(VEC, "y") + total
    total += 100.0
    graph = inner.finish([y])
    (out,) = outer.inline(graph, [np.zeros(3), *(c for c, _ in inner.captures)])
    assert interpret(outer.finish([out]), np.ones(3))[0].tolist() == [1.0, 1.0, 1.0]


def test_numpy_scalars_and_arrays_on_the_left() -> None:
    check(
        lambda x: (
            np.float32(2.0) * x,
            np.int64(3) - x,
            np.arange(3) / x,
            np.ones((3, 3)) @ x,
            np.bool_(True) * x,
            np.float64(2.0) ** x,
            np.float32(1.0) < x,
            np.arange(3.0) == x,
        ),
        np.ones(3, np.float32),
    )


def test_iteration_and_unpacking() -> None:
    def f(x):
        a, b, c = x
        return a + b, sum(x), [r * 2 for r in x], c

    check(f, np.arange(6.0).reshape(3, 2))


def test_weak_parameters() -> None:
    t = Trace("f")
    a = t.param(TensorType(f64), "a", True)
    n = t.param(TensorType(i64), "n", True)
    b = t.param(TensorType(np.dtype(bool)), "b", True)
    assert (a.weak, n.weak, b.weak, t.param(VEC).weak) == ("float", "int", "bool", None)
    assert (np.ones(2, np.float32) * a).dtype == f32
    assert (np.ones(2, np.float32) * n).dtype == f32
    assert (np.ones(2, np.float32) * np.sin(a)).dtype == f64
