"""Assignment into arrays: compiled functions against NumPy, results and arguments, and their gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import IndexBoundsError, LeakedTracerError, MutationError, ShapeError
from jitgrad.frontend.assign import augitem, getitem, setitem
from jitgrad.frontend.trace import Trace
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f64, i64
from jitgrad.testing import check_grads

RNG = np.random.default_rng(7)
M = RNG.normal(size=(3, 4))
V = RNG.normal(size=4)
T3 = RNG.normal(size=(2, 3, 4))
N = np.arange(5)
GLOBAL = np.arange(12.0).reshape(3, 4)


def element(A):
    A[1, 2] = 5.0
    A[-1, -1] = A[0, 0] * 2
    return A.sum()


def slices(A, v):
    A[1:, ::2] = v[:2]
    A[0] = v
    A[:, -1] = 0.0
    return A * 2


def negative_steps(A):
    A[::-1, 3:0:-2] = np.arange(6.0).reshape(3, 2)
    return A


def overlapping(A):
    A[1:] = A[:-1]
    A[:, 1:] += A[:, :-1]
    return A


def alias_of_a_slice(A):
    B = A[1:]
    B[0] = 3.0
    C = B[:, 1:3]
    C *= 2.0
    C[-1, -1] += 1.0
    return A, B, C


def alias_of_a_transpose(A):
    B = A.T
    B += 1.0
    B[2] = np.arange(3.0)
    A[0, 0] = -7.0
    return B * 1.0


def alias_of_a_reshape(A):
    flat = A.reshape(-1)
    flat[::5] = 9.0
    again = flat.reshape(2, 6)
    again[1, 1:4] -= 1.0
    copied = A.T.reshape(-1)
    copied[:] = 0.0
    return copied, again.copy()


def alias_of_new_axes(A):
    B = A[None, :, None]
    B[0, 1, 0] = 2.0
    C = np.squeeze(B)
    C[0] += 1.0
    D = np.expand_dims(A, 1)
    D[2, 0, 3] = 8.0
    return B.shape[0] * C


def alias_through_functions(A, v):
    for part in np.split(A, 2, axis=1):
        part[0] += 1.0
    np.asarray(A)[1] *= 2.0
    np.atleast_2d(v)[0, 1] = 4.0
    np.moveaxis(A, 0, 1)[0, 0] = 5.0
    np.swapaxes(A, 0, 1)[1, 1] = 6.0
    np.flip(A)[0, 0] = 7.0
    np.rot90(A)[0, 1] = 8.0
    np.array(A, copy=False)[0, 2] = 9.0
    np.array(A)[0, 2] = 10.0
    return A.sum()


def rows(A):
    for k, row in enumerate(A):
        row[...] = row * k
    return A


def three_axes(A):
    A[..., 1] = 0.0
    A[0, :, ::2] += A[1, :, 1::2]
    A.transpose(2, 0, 1)[3, 1] = 2.0
    A[1].T[:, 0] *= 3.0
    return A.sum(axis=1)


def copies_are_apart(A):
    B = A.copy()
    C = A.flatten()
    D = A.astype(float)
    E = np.copy(A)
    F = A + 0
    for X in (B, C, D, E, F):
        X[...] = -1.0
    return A


def made_inside(v):
    A = np.zeros((3, 4))
    A[1] = v
    B = np.empty(4)
    B[:2] = v[:2]
    B[2:] = 1.0
    C = np.ones_like(A)
    C[:, 0] = v[:3]
    D = np.full((2, 2), 3.0)
    D[0, 0] *= v[0]
    E = np.arange(4.0)
    E -= v
    F = np.array([1.0, 2.0, 3.0])
    F[1] = v[1]
    G = np.eye(3)
    G[0] += v[:3]
    H = np.linspace(0.0, 1.0, 4)
    H[::2] = v[::2]
    return A, B, C, D, E, F, G, H


def known_before_it_is_traced(v):
    A = np.zeros((3, 4))
    row, column, corner = A[1], A[:, 2], A[1:, ::2]
    flat, turned, diagonal = A.reshape(-1), A.T, A.reshape(-1)[::5]
    A[0, 0] = 1.0
    if A[0, 0] == 1.0 and float(A.sum()) == 1.0 and int(A[0, 0]) == 1:
        row[:] = v
    column[0] += 1.0
    corner *= 2.0
    flat[1] = v[3]
    turned[3, 2] = -1.0
    diagonal[1] = 4.0
    return A, row, column, corner, flat, turned, diagonal


def known_all_the_way(v):
    A = np.arange(6).reshape(2, 3)
    A[0] *= 2
    A.sort(axis=0)
    table = [int(k) for k in A.ravel()]
    mask = A > 2
    order = np.argsort(-A[0])
    return v[: len(table) // 2].sum() + v[order[0]] + A[mask].sum() * v, A


def lists_and_dicts(v):
    state = {"x": np.zeros(4), "n": [0, 1]}
    state["x"][1:3] = v[1:3]
    state["n"][0] += 2
    parts = [v[:2], np.zeros(2)]
    parts[1] += v[2:]
    return state, parts


def integer_arrays(A, i):
    A[i] = A[i] * 2
    A[i, 1] += 10.0
    A[:, i[:2]] -= 1.0
    A[[0, 2], [1, 3]] = 5.0
    A[i[:2], None, 0] = 2.0
    return A


def duplicates(v, i):
    v[i] += 1.0
    v[i] *= 2.0
    return v


def masks(A):
    A[A > 0.3] = 0.5
    A[A < 0] *= 2.0
    A[np.array([True, False, True])] += 1.0
    A[:, np.array([True, False, False, True])] = 3.0
    return A


def traced_mask_in_place(A):
    A[A > 0] += 1.0
    A[A < -0.5] = 0.25
    return A


def augmented(A):
    A[0] += 1.0
    A[1] -= A[0]
    A[:, 1] *= 3.0
    A[2, 1:] /= 2.0
    A[0] //= 0.5
    A[0] %= 3.0
    A[1, 2:] **= 2
    return A


def whole(A, v):
    A[...] = v
    A[:] += 1.0
    B = A
    B *= v
    return A is B, A


def integers(n):
    n[0] = 2.7
    n[1:3] = np.array([1.9, -1.9])
    n[3] += 5
    n //= 2
    n[4] <<= 2
    n &= 7
    return n


def integer_element_times_float(n):
    n[1] *= 2.5
    return n


def booleans(A):
    found = A > 0
    found[0] = False
    found[1] |= True
    found &= A < 1
    return found


def single_precision(x, v):
    x[1:] += v[1:]
    x[0] = v[0]
    return x


def out_arguments(A, v):
    B = np.empty_like(A)
    np.multiply(A, v, out=B)
    np.add(B, 1.0, out=B)
    np.sin(A[0], out=A[1])
    np.sum(A, axis=0, out=v)
    np.cumsum(A, axis=1, out=B)
    A.max(axis=1, out=B[:, 0])
    np.add(A, 1.0, out=A, where=A > 0)
    return B


def ufunc_at(v, i):
    np.add.at(v, i, 1.5)
    np.subtract.at(v, [0, 0], np.array([1.0, 2.0]))
    np.multiply.at(v, [1, 1, 2], 2.0)
    np.maximum.at(v, i, np.arange(5.0))
    np.minimum.at(v, (np.array([3, 3]),), np.array([0.5, 0.25]))
    np.negative.at(v, [0])
    return v


def functions_that_write(A, v):
    np.fill_diagonal(A, 9.0)
    np.fill_diagonal(A.T, v[:3])
    np.copyto(v, A[0])
    np.copyto(A, 0.5, where=A > 1.0)
    np.put(A, [0, -1], v[:2])
    np.place(v, np.array([True, False, True, False]), [1.0, 2.0])
    np.putmask(A, A < 0, np.arange(5.0))
    np.put_along_axis(A, np.array([[0], [1], [2]]), -3.0, axis=1)
    return A


def methods_that_write(A, v):
    A.sort()
    A[0, ::2].sort()
    v[::-1].sort()
    A[1].fill(2.0)
    A.put([1, 2], [7.0, 8.0])
    A.flat[-2:] = 4.0
    A.T.flat[:3] = v[:3]
    A.flat = A.flat[::-1].copy()
    return A


def zero_dimensional(v):
    total = np.zeros(())
    total += v.sum()
    total[...] = total * 2
    s = v[0]
    s += 1.0  # a scalar: v stays
    piece = v[1, ...]
    piece += 1.0  # an array: v changes
    return total, s, v


def swap(v):
    v[0], v[1] = v[1], v[0]
    v[[2, 3]] = v[[3, 2]]
    return v


def traced_indices(A, k):
    A[k] = 1.0
    A[k, 0] += 2.0
    A[:, k] *= 3.0
    A[-k, 1] -= A[k, 2]
    B = A[k]
    B[1:] = 0.25
    return A[k, k], B


def traced_slices(A, k):
    A[:k] = 1.0
    A[k:, 1] += 2.0
    A[k - 1 : k + 1] *= 2.0
    A[:, :k] -= A[:, :1]
    A[::-1][:k, 0] = 7.0
    B = A[: k + 1, 1:]
    B[0] = 8.0
    return A[:k].sum(), B.sum(), A[k:, k:].sum()


def traced_row_of_a_known_array(v, k):
    A = np.zeros((3, 4))
    A[k] = v
    B = np.arange(12.0).reshape(3, 4)
    row = B[k]
    row[1] = 5.0
    return A, B, row, GLOBAL[k] * v


def copy_of_a_captured_array(v, k):
    A = GLOBAL.copy()
    A[k] = v
    B = np.array(GLOBAL)
    B[0] += v
    C = GLOBAL * 1.0
    C[:, k] = 0.0
    return A, B, C


CASES: dict[Callable[..., Any], tuple[Any, ...]] = {
    element: (M,),
    slices: (M, V),
    negative_steps: (M,),
    overlapping: (M,),
    alias_of_a_slice: (M,),
    alias_of_a_transpose: (M,),
    alias_of_a_reshape: (M,),
    alias_of_new_axes: (M,),
    alias_through_functions: (M, V),
    rows: (M,),
    three_axes: (T3,),
    copies_are_apart: (M,),
    made_inside: (V,),
    known_before_it_is_traced: (V,),
    known_all_the_way: (V,),
    lists_and_dicts: (V,),
    integer_arrays: (RNG.normal(size=(4, 4)), np.array([2, 0, 1])),
    duplicates: (V, np.array([1, 1, 3, 0, 1])),
    masks: (M,),
    traced_mask_in_place: (M,),
    augmented: (M,),
    whole: (M, V),
    integers: (N,),
    integer_element_times_float: (N,),
    booleans: (M,),
    single_precision: (V.astype(np.float32), RNG.normal(size=4)),
    out_arguments: (M, V),
    ufunc_at: (V, np.array([1, 1, 3, 0, 1])),
    functions_that_write: (M, V),
    methods_that_write: (M, V),
    zero_dimensional: (V,),
    swap: (V,),
    traced_indices: (M, 2),
    traced_slices: (M, 1),
    traced_row_of_a_known_array: (V, 1),
    copy_of_a_captured_array: (V, 2),
}


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [x for v in tree.values() for x in leaves(v)]
    if isinstance(tree, (list, tuple)):
        return [x for v in tree for x in leaves(v)]
    return [tree]


@pytest.mark.parametrize("f", CASES, ids=lambda f: f.__name__)
def test_results_and_arguments(f) -> None:
    args = CASES[f]
    plain, ours = copy.deepcopy(args), copy.deepcopy(args)
    expected = f(*plain)
    compiled = jg.jit(f)
    for _ in range(2):  # compiled, and by the fast path
        ours = copy.deepcopy(args)
        found = compiled(*ours)
        for a, e in zip(leaves(found), leaves(expected), strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-6 if np.asarray(e).dtype == np.float32 else 1e-12)
            assert np.asarray(a).dtype == np.asarray(e).dtype
        for a, e in zip(ours, plain, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-6 if np.asarray(e).dtype == np.float32 else 1e-12)


def total(f: Callable[..., Any]) -> Callable[..., Any]:
    """A smooth number made of all that a function returns and writes."""

    def loss(x, *rest):
        result = f(x, *rest)
        floats = [r for r in leaves([result, x]) if getattr(r, "dtype", None) is not None and r.dtype.kind == "f"]
        return sum(np.sum(np.sin(r) * (k + 1)) for k, r in enumerate(floats))

    return loss


#: Where NumPy's program is not smooth at the point, or has no float argument.
NO_GRADIENT = (integers, integer_element_times_float, booleans, single_precision)


@pytest.mark.parametrize("f", [f for f in CASES if f not in NO_GRADIENT], ids=lambda f: f.__name__)
def test_gradients(f) -> None:
    x, *rest = CASES[f]
    loss = total(f)
    before = x.copy()
    g = jg.grad(loss)(x, *rest)
    np.testing.assert_array_equal(x, before)  # the caller's array stays as it was
    direction = np.random.default_rng(3).normal(size=x.shape)

    def at(h: float) -> float:
        return loss(x + h * direction, *copy.deepcopy(rest))

    h = 1e-6
    assert np.vdot(g, direction) == pytest.approx((at(h) - at(-h)) / (2 * h), rel=2e-6, abs=1e-8)


# -- what rewritten code calls -----------------------------------------------------------------------------------------


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


# -- traced indices ----------------------------------------------------------------------------------------------------


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


# -- regions -----------------------------------------------------------------------------------------------------------


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


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_arguments_that_are_copied_get_their_values_back() -> None:
    @jg.jit
    def f(tree, n):
        tree["a"][0] = n
        tree["b"][1].T[...] += 1.0
        return tree["a"].sum()

    base = np.zeros((4, 4))
    tree = {"a": base[:, 1], "b": [base[2:, 2:], np.asfortranarray(np.zeros((2, 3)))]}
    for n in (1.0, 2.0):
        assert f(tree, n) == n
    assert base[0, 1] == 2.0
    assert (tree["b"][1] == 2.0).all()
    swapped = np.zeros(3, ">f8")
    f({"a": swapped, "b": [0, np.zeros((2, 2))]}, 3.0)
    assert swapped.tolist() == [3.0, 0.0, 0.0]


def test_arguments_that_cannot_be_written() -> None:
    @jg.jit
    def f(x, y):
        x += 1.0
        return x + y

    frozen = np.zeros(3)
    frozen.flags.writeable = False
    x = np.zeros(3)
    with pytest.raises(MutationError, match="read-only"):
        f(frozen, np.zeros(3))
    with pytest.raises(MutationError, match="shares memory"):
        f(x, x)
    f(x, np.zeros(3))
    with pytest.raises(MutationError, match="shares memory"):
        f(x, x)
    assert x.tolist() == [1.0] * 3
    base = np.zeros((2, 3))
    f(base[0], base[1])
    assert base.tolist() == [[1.0] * 3, [0.0] * 3]


def test_scalars_are_not_written() -> None:
    def f(x, n):
        x += 1.0
        n += 1
        return x, n

    assert jg.jit(f)(2.0, 3) == (3.0, 4)
    assert jg.jit(f)(np.float32(2.0), 3) == (3.0, 4)
    array = np.array(2.0)
    assert jg.jit(f)(array, 3) == (3.0, 4)
    assert array == 3.0


def test_captured_arrays_are_constants() -> None:
    weights = np.ones(3)

    def write(x):
        weights[0] = x[0]

    def write_known(x):
        weights[0] = 5.0

    def write_view(x):
        weights[1:] *= 2.0

    for f in (write, write_known, write_view):
        with pytest.raises(MutationError, match="captures from outside"):
            jg.jit(f)(np.zeros(3))
    assert weights.tolist() == [1.0] * 3


def test_inner_functions() -> None:
    def loss(p, q):
        p[0] *= 2.0
        return (p * q).sum()

    @jg.jit
    def outer(x):
        y = x * 1.0
        jg.jit(lambda a: setitem(a, 0, 7.0))(y)  # an inlined function writes as it does outside
        return jg.grad(loss)(x, np.arange(3.0) + 1), y

    x = np.ones(3)
    g, y = outer(x)
    assert g.tolist() == [2.0, 2.0, 3.0]
    assert (x == 1.0).all()
    assert y.tolist() == [7.0, 1.0, 1.0]

    def write_outer(x):
        y = x * 1.0
        return jg.grad(lambda a: (setitem(y, 0, a[0]), y.sum())[1])(x)

    with pytest.raises(MutationError, match="enclosing"):
        jg.jit(write_outer)(np.ones(3))


def test_second_derivatives_through_assignment() -> None:
    def f(x):
        y = np.zeros(4)
        y[1:] = x**3
        y[0] = y[1] * y[2]
        y[::2] *= y[1::2]
        return y.sum()

    check_grads(f, (np.array([0.5, 1.5, -0.7]),), order=2)


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


def test_errors_of_shape() -> None:
    for f in (
        lambda A: setitem(A, 0, np.ones(3)),
        lambda A: setitem(A, (slice(None), 0), np.ones((3, 3))),
        lambda A: augitem(A, 0, "+", np.ones((2, 4))),
        lambda A: np.add(A, 1.0, out=A[0]),
    ):
        with pytest.raises(ShapeError):
            jg.jit(f)(M.copy())


def test_arguments_of_inner_functions_that_are_not_differentiated() -> None:
    def loss(p, q, c):
        q[0] = 5.0
        c[1] = p[0]
        return (p * q).sum() + c.sum()

    def f(x):
        y = x * 2.0
        known = np.ones(3)
        g = jg.grad(loss)(x, y, known)
        return g, y, known

    g, y, known = jg.jit(f)(np.array([1.0, 2.0, 3.0]))
    assert g.tolist() == [6.0, 4.0, 6.0]
    assert y.tolist() == [2.0, 4.0, 6.0]
    assert known.tolist() == [1.0] * 3


def test_large_arrays_do_not_become_constants() -> None:
    def f(x):
        A = np.zeros((50, 60))
        A[0] = 1.0
        A[1:, -1] = np.arange(49.0)
        A.T[3, 4] = 2.0
        A[2, 5] = x[0]
        B = np.empty((40, 40))
        B[:2] = 3.0
        B[2:] = x[1]
        C = np.full((40, 40), 2.0)
        D = C[1:]
        D[0, 0] = 4.0
        D[1] = x
        return A, B, C

    x = np.linspace(0.0, 1.0, 40)
    for a, e in zip(jg.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(a, e)
    graph = jg.jit(f).traced_graph(x)
    assert max(op.attrs["value"].size for op in graph.ops if op.name == "constant") <= 80
    assert "empty" in [op.name for op in graph.ops]


def test_complex_values() -> None:
    with pytest.raises(jg.errors.DtypeError, match="complex"):
        jg.jit(lambda A: setitem(A, 0, 1j))(M.copy())
