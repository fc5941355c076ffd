"""What assignments record: ops, views, checks of indices, and what regions write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import IndexBoundsError, LeakedTracerError, MutationError
from jitgrad.frontend.assign import augitem, getitem, setitem
from jitgrad.frontend.trace import Trace
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f64, i64

RNG = np.random.default_rng(7)
M = RNG.normal(size=(3, 4))


def index_trace() -> tuple[Trace, Any, Any]:
    trace = Trace("f")
    return trace, trace.param(TensorType(f64, (3, 4)), "A"), trace.param(TensorType(i64), "k", "int")


def test_untraced_items_are_pythons() -> None:
    things: Any = [1, [2, 3], {"a": 4}]
    setitem(things[2], "b", 5)
    augitem(things, 0, "+", 10)
    augitem(things[1], slice(0, 1), "*", 2)
    assert things == [11, [2, 2, 3], {"a": 4, "b": 5}]
    A = np.arange(4.0)
    augitem(A, slice(1, 3), "**", 2)
    augitem(A, 0, "-", 1)
    setitem(A, -1, 9)
    assert A.tolist() == [-1.0, 1.0, 4.0, 9.0]
    assert getitem(things, 1) == [2, 2, 3]
    with pytest.raises(IndexError):
        getitem(things, 7)


def test_traced_items_of_untraced_things() -> None:
    trace, _, k = index_trace()
    found = [
        getitem(np.arange(12.0).reshape(3, 4), (k, slice(None, k))),
        getitem([np.ones(2), np.zeros(2), np.full(2, 3.0)], k),
        getitem((10, 20, 30), k),
        getitem(range(5, 50, 10), k),
    ]
    results = interpret(trace.finish(found), M, np.asarray(2))
    assert [r.tolist() for r in results] == [[8.0, 9.0], [3.0, 3.0], 30, 25]
    with pytest.raises(IndexError):
        interpret(index_trace_of(lambda A, k: getitem([1, 2], k)), M, np.asarray(2))
    with pytest.raises(jg.errors.UnsupportedError, match="one dtype and shape"):
        index_trace_of(lambda A, k: getitem([np.ones(2), np.ones(3)], k))


def index_trace_of(f: Callable[..., Any]) -> Any:
    trace, A, k = index_trace()
    return trace.finish([f(A, k)])


def test_traced_values_into_untraced_arrays() -> None:
    _, A, k = index_trace()
    plain = np.zeros(4)
    for write in (
        lambda: setitem(plain, 0, A[0, 0]),
        lambda: setitem(plain, k, 1.0),
        lambda: augitem(plain, k, "+", 1.0),
        lambda: augitem(plain, 0, "*", A[0, 0]),
    ):
        with pytest.raises(MutationError, match=r"np\.zeros"):
            write()
    assert plain.tolist() == [0.0] * 4


def test_an_addition_is_one_op() -> None:
    trace, A, k = index_trace()
    augitem(A, (k, slice(1, 3)), "+", 2.0)
    augitem(A.T, k, "-", A[:, 0])
    graph = trace.finish([A])
    assert [op.name for op in graph.ops if op.name.endswith("_slice")] == ["add_slice", "add_slice"]
    expected = M.copy()
    expected[1, 1:3] += 2.0
    expected.T[1] -= expected[:, 0]
    np.testing.assert_allclose(interpret(graph, M, np.asarray(1))[0], expected)


def test_views_of_views_write_once() -> None:
    trace, A, k = index_trace()
    A.T[1:][::-1, k][0] = 5.0  # a scalar of a view is no view
    A.T[1:, ::-1][1:, :2][0][...] = 7.0
    graph = trace.finish([A])
    assert [op.name for op in graph.ops].count("set_slice") == 2
    expected = M.copy()
    expected.T[1:][::-1, 2][0] = 5.0
    expected.T[1:, ::-1][1:, :2][0][...] = 7.0
    np.testing.assert_allclose(interpret(graph, M, np.asarray(2))[0], expected)


@pytest.mark.parametrize("k", range(-5, 6))
def test_indices_and_bounds_are_pythons(k) -> None:
    def f(A, k):
        return (
            A[k:].sum(), A[:k].sum(), A[k::2].sum(), A[:k:2].sum(), A[::-1][:k].sum(), A[k::-1].sum(), A[:k:-1].sum(),
            A[k : k + 2].sum(), A[k - 1 : k + 1 : 3].sum(), A[3:k:-2].sum(), A[k:1:-1].sum(),
        )  # fmt: skip

    A = np.arange(24.0).reshape(4, 6)
    np.testing.assert_allclose(jg.jit(f)(A, k), f(A, k))


def test_indices_out_of_bounds() -> None:
    write = jg.jit(lambda A, k: (setitem(A, k, 1.0), A)[1])
    assert write(M.copy(), -3)[0].tolist() == [1.0] * 4
    for k in (3, -4, 100):
        with pytest.raises(IndexError):
            write(M.copy(), k)
    with pytest.raises(IndexBoundsError, match="out of bounds"):
        jg.jit(lambda A: setitem(A, 3, 1.0))(M.copy())


def test_limits_make_checks_needless() -> None:
    from jitgrad.ir.symbols import set_limits

    trace, A, _ = index_trace()
    with trace.region() as body:
        i = body.param(TensorType(i64), "i")
        set_limits(i.value, 1, 3, 1)
        _ = A[i, :i].sum() + A[i - 1, i] + A[i + 1 :].sum() + A[3 - i, i - 1 : i + 2].sum() + A[i - 3, 0]
        assert {op.name for op in body.ops} == {"slice", "reshape", "reduce_sum", "add", "subtract"}
        _ = A[i + 1, 0]  # may be 3
        assert "wrap_index" in {op.name for op in body.ops}


def test_a_region_notes_what_it_writes() -> None:
    trace, A, _k = index_trace()
    B = A.copy()
    before = A.value
    with trace.region() as outer:
        C = A * 2
        row = A[1]
        with trace.region() as inner:
            row[:] = 1.0
            C[0] = 2.0
        assert A.value is before
        assert [id(x) for x in inner.written] == [id(A), id(C)]
        assert A in outer.written
        assert C not in outer.written
        assert outer.written[A] is before
        B[0] = C[0]
    assert A.value is before
    assert B in outer.written
    with pytest.raises(LeakedTracerError, match="loop body"):
        _ = C + 1.0
    assert (A + B).owner is trace


def test_known_arrays_and_regions() -> None:
    from jitgrad.frontend.capture import Recorder
    from jitgrad.frontend.concrete import Concrete, adopt
    from jitgrad.tracing import running

    trace, A, _k = index_trace()
    with running(trace, Recorder()):
        Z = adopt(np.zeros((3, 4)), fill=np.float64(0.0))
        row = Z[1]
        assert type(Z) is Concrete
        assert isinstance(Z, np.ndarray)
        with trace.region() as body:
            inside = adopt(np.ones(2))
            inside[0] = 5.0  # made here: still known
            assert type(inside) is Concrete
            row[2] = 1.0  # made outside: recorded
            assert Z in body.written
            body.finish([Z])
        assert Z.value.op.name == "broadcast_to"
        graph = trace.finish([Z, inside * A[0, 0]])
    assert interpret(graph, np.ones((3, 4)), np.asarray(0))[0].sum() == 0.0


def test_constants_of_a_region_stand_outside() -> None:
    trace, A, _ = index_trace()
    ramp = np.arange(4.0)
    with trace.region() as body:
        _ = A * 3.0 + ramp
        assert "constant" not in {op.name for op in body.ops}
    assert (A * 3.0 + ramp).owner is trace
    graph = trace.finish([A])
    assert [op.name for op in graph.ops].count("constant") == 2


def test_shared_memory() -> None:
    _, A, _ = index_trace()
    B = A[1:]
    assert np.shares_memory(A, B)
    assert np.shares_memory(A[0], A[:, 1])
    assert not np.shares_memory(A[0], B)
    assert not np.shares_memory(A, A.copy())
    assert B.base is A
    assert B.T[0].base is A
    assert A.base is None
