"""Python's control flow in traced functions: every program gives what it gives without jitgrad, recorded as loops and
unrolled, and its gradients agree with central differences."""

# ruff: noqa: F841

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from control_programs import PROGRAMS, X

import jitgrad as jg
from jitgrad import config
from jitgrad.errors import (
    ArgumentError,
    CarryError,
    ConcretizationError,
    IndexBoundsError,
    RollError,
    UnsupportedError,
)
from jitgrad.ir.core import Block, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.passes.pipeline import prepare
from jitgrad.testing import check_grads, differences

#: Loops up to this length are unrolled, in each mode.
MODES = {"rolled": 0, "unrolled": 10_000}
every_program = pytest.mark.parametrize("name", PROGRAMS)
every_mode = pytest.mark.parametrize("mode", MODES)


def copied(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)


def tolerance(result: Any) -> float:
    return 1e-5 if np.asarray(result).dtype == np.float32 else 1e-11


def expect_same(found: Any, expected: Any) -> None:
    assert np.shape(found) == np.shape(expected)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance(expected), atol=tolerance(expected))


def ops_of(block: Block) -> int:
    return sum(1 + sum(map(ops_of, op.regions)) for op in block.ops)


@every_program
def test_compiled_value_of_recorded_loops(name: str) -> None:
    fun, args = PROGRAMS[name]
    with config.using(unroll_limit=0):
        found = jg.jit(fun)(*copied(args))
    expect_same(found, fun(*copied(args)))


@every_mode
@every_program
def test_value_and_gradient(name: str, mode: str) -> None:
    fun, args = PROGRAMS[name]
    with config.using(unroll_limit=MODES[mode]):
        graph = jg.trace(fun, *args)
    arrays = [np.asarray(a) for a in args]
    expected = fun(*copied(args))
    (found,) = interpret(graph, *arrays)
    expect_same(found, expected)
    rng = np.random.default_rng(1)
    wrt = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]
    seed = np.asarray(rng.normal(size=np.shape(expected)), np.asarray(expected).dtype)
    reverse = jg.vjp_graph(prepare(graph), wrt, seed="param", with_value=False)
    gradients = interpret(reverse, *arrays, seed)
    directions = [np.asarray(rng.normal(size=arrays[k].shape), arrays[k].dtype) for k in wrt]
    forward = jg.jvp_graph(graph, wrt, with_value=False)
    (tangent,) = interpret(forward, *arrays, *directions)

    def plain(*floats: Any) -> list[Any]:
        given = list(copied(args))
        for k, x in zip(wrt, floats, strict=True):
            given[k] = x if isinstance(args[k], np.ndarray) else float(x)
        return [fun(*given)]

    single = any(arrays[k].dtype == np.float32 for k in wrt)
    (slope,) = differences(plain, [arrays[k] for k in wrt], directions, 2e-2 if single else 1e-4)
    close = {"rtol": 1e-2, "atol": 1e-2} if single else {"rtol": 1e-6, "atol": 1e-7}
    np.testing.assert_allclose(tangent, slope, **close)
    along = sum(np.sum(g * d) for g, d in zip(gradients, directions, strict=True))
    np.testing.assert_allclose(along, np.sum(seed * slope), **close)


def test_a_long_loop_is_rolled_and_a_short_one_unrolled() -> None:
    def long(x):
        for _ in range(9):
            x = np.sin(x)
        return x

    def short(x):
        for _ in range(8):
            x = np.sin(x)
        return x

    assert [op.name for op in jg.trace(long, X).ops] == ["for"]
    assert [op.name for op in jg.trace(short, X).ops] == ["sin"] * 8
    assert [op.name for op in jg.trace(jg.jit(short, loops="roll"), X).ops] == ["for"]
    assert [op.name for op in jg.trace(jg.jit(long, loops="unroll"), X).ops] == ["sin"] * 9


def test_a_loop_that_can_not_be_recorded_is_unrolled_unless_it_must_be() -> None:
    def grow(x):
        parts = {}
        for i in range(12):
            parts[len(parts)] = x[0] * i
        return np.array(list(parts.values()))

    np.testing.assert_allclose(jg.jit(grow)(X), grow(X))
    with pytest.raises(CarryError, match="a dict has the key 0"):
        jg.jit(grow, loops="roll")(X)


def test_a_loop_whose_arrays_shrink_by_one_is_recorded() -> None:
    def average(x):
        for k in reversed(range(len(x) - 1)):
            x = np.maximum(0.5 * (x[:-1] + x[1:]), 0.1 * np.arange(k + 1))
        return x[0]

    x = np.sin(np.arange(12.0))
    np.testing.assert_allclose(jg.jit(average)(x), average(x), rtol=1e-12)
    check_grads(average, (x,))
    assert "for" in [op.name for op in jg.trace(jg.jit(average, loops="roll"), x).ops]


def test_a_loop_whose_arrays_shrink_by_other_numbers_is_unrolled() -> None:
    def average(x):
        for k in range(10):
            x = 0.5 * (x[k:] + np.sum(x[:k] ** 2))
        return x[0]

    x = np.sin(np.arange(60.0))
    np.testing.assert_allclose(jg.jit(average)(x), average(x), rtol=1e-12)
    check_grads(average, (x,))
    with pytest.raises(CarryError, match="keeps its shape"):
        jg.jit(average, loops="roll")(x)


def euler(x):
    t, n = 0.0, 0
    while t < 1.0:
        x = x + 0.01 * np.sin(x)
        t, n = t + 0.01, n + 1
    return np.sum(x), n


def until_break(x):
    a, b, k = x.copy(), np.zeros_like(x), 0
    while True:
        b[1:], b[0] = 0.9 * a[:-1] + 0.001 * k, a[-1]
        a, b, k = b, a, k + 1
        if k >= 90:
            break
    return np.sum(np.sin(a - b)), k


def trajectory(x):
    points, n = [], 0
    while n < 70:
        x, n = x + 0.01 * np.cos(x), n + 1
        points.append(x[0])
    return np.sum(np.array(points)), n


@pytest.mark.parametrize(("fun", "rolled"), [(euler, True), (until_break, True), (trajectory, False)])
def test_a_long_while_whose_condition_is_known(fun, rolled) -> None:
    """Python could run it; but compile time would grow with its length."""
    value, count = jg.jit(fun)(X)
    want, n = fun(X)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    assert count == n
    check_grads(lambda x: fun(x)[0], (X,), order=1, modes=("rev",))
    loops = [op.name for op in jg.trace(fun, X).ops if op.regions]
    assert loops == (["while"] if rolled else [])
    assert not [op for op in jg.trace(jg.jit(fun, loops="unroll"), X).ops if op.regions]


def test_a_long_while_over_numbers_stays_python() -> None:
    def primes_beside(x):
        n, found = 2, []
        while n < 200:
            if all(n % p for p in found):
                found.append(n)
            n += 1
        return np.zeros(len(found)) + x[0], np.zeros(n)

    assert [a.shape for a in jg.jit(primes_beside)(X)] == [(46,), (200,)]


def jacobi(x, steps):
    a, b = x.copy(), np.zeros_like(x)
    for _ in range(steps):
        for i in range(1, len(x) - 1):
            b[i] = (a[i - 1] + a[i] + a[i + 1]) / 3.0
        a, b = b, a
    return np.sum(a * a)


def branches(x, steps):
    s, count = 0.0, 0
    for i in range(steps):
        if s > 1.0:
            s = s * 0.5
            continue
        if count > 10_000:
            break
        s = s + x[i % len(x)] ** 2
        count += 1
    return s


@pytest.mark.parametrize("fun", [jacobi, branches])
def test_graphs_do_not_grow_with_trip_counts(fun: Callable[..., Any]) -> None:
    def size(graph: Graph) -> int:
        return ops_of(graph.block)

    few, many = (jg.trace(lambda x, n=n: fun(x, n), X) for n in (10, 10**6))
    assert size(few) == size(many)
    assert size(jg.vjp_graph(prepare(few), [0])) == size(jg.vjp_graph(prepare(many), [0]))


def test_tracing_does_not_take_longer_for_more_iterations() -> None:
    def elapsed(n: int) -> float:
        start = time.perf_counter()
        jg.trace(lambda x: jacobi(x, n), X)
        return time.perf_counter() - start

    elapsed(10)
    assert elapsed(10**9) < 20 * elapsed(20) + 0.5


def test_arguments_are_written_under_jit_and_kept_under_grad() -> None:
    def relax(a, n):
        for _ in range(n):
            for i in range(1, 5):
                a[i] = 0.5 * (a[i - 1] + a[i + 1])
        return np.sum(a * a)

    mine, plain = X.copy(), X.copy()
    np.testing.assert_allclose(jg.jit(relax)(mine, 12), relax(plain, 12))
    np.testing.assert_allclose(mine, plain)
    kept = X.copy()
    jg.grad(relax)(kept, 12)
    np.testing.assert_array_equal(kept, X)


def test_an_empty_traced_range_leaves_everything() -> None:
    def f(x, n):
        s = x[0]
        for i in range(n):
            s = s * x[i]
        return s

    compiled = jg.jit(f)
    for n in (-3, 0, 1, 4):
        assert compiled(X, n) == pytest.approx(f(X, n))
    assert jg.grad(f)(X, 0) == pytest.approx([1, 0, 0, 0, 0, 0])


def test_an_array_is_not_overwritten_where_it_is_read_later() -> None:
    def f(x):
        a = x * 1.0
        b = a
        c = a.copy()
        for i in range(5):
            a[i + 1] += a[i]
        return np.sum(b * 2 + c)

    for limit in MODES.values():
        with config.using(unroll_limit=limit):
            assert jg.jit(f)(X) == pytest.approx(f(X))


@pytest.mark.parametrize(("size", "how"), [(50_000, "unrolled, 12 iterations: its iterations fused"), (50, "rolled")])
def test_short_loops_over_large_arrays_are_unrolled(size: int, how: str) -> None:
    def polynomial(c, x):
        y = np.zeros_like(x)
        for a in c:
            y = y * x + a
        return np.sum(y)

    rng = np.random.default_rng(0)
    c, x = rng.normal(size=12), rng.uniform(-1, 1, size)
    compiled = jg.grad(polynomial)
    np.testing.assert_allclose(compiled(c, x), [np.sum(x**k) for k in range(11, -1, -1)], rtol=1e-9)
    assert how in compiled.explain(c, x)


# What is refused, and how


def grows(x, n):
    a = x
    for _ in range(n):
        a = np.concatenate([a, x])
    return a


def grows_otherwise(x, n):
    a = x
    for _ in range(n):
        a = 2 * np.concatenate([a, a])
    return a


def changes_structure(x, n):
    s = 0.0
    for _ in range(n):
        s = (s, 1.0)
    return s


def was_none(x, n):
    best = None
    for i in range(n):
        best = [x[i], i]
    return best


def may_be_none(x, n):
    best = None
    for i in range(n):
        if x[i] > 0.6 and (best is None or x[i] < best):
            best = x[i]
    return best


def test_a_result_that_is_none_for_some_arguments():
    f = jg.value_and_grad(may_be_none)
    value, slope = f(X, np.array(3))
    assert (value, slope.tolist()) == (0.8, [0, 0, 1, 0, 0, 0])
    with pytest.raises(TypeError, match="a result of may_be_none is None for these arguments"):
        f(X, np.array(2))


def test_a_loop_that_gives_none_a_value_at_once_has_its_first_iteration_apart():
    def best_of(x):
        best = None
        for k in range(6):
            if best is None or x[k] ** 2 < best:
                best = x[k] ** 2
        return best

    with config.using(unroll_limit=0):
        f = jg.jit(best_of)
        assert f(X) == best_of(X)
        assert "the first iteration apart" in f.explain(X)


def is_text(x, n):
    word = "a"
    for _ in range(n):
        word = word + "b"
    return x, word


def array_condition(x):
    while x > 0:
        x = x - 1
    return x


def array_test(x):
    return x if x > 0 else -x


def wants_a_number(x, n):
    s = 0.0
    for i in range(n):
        s += x[0] * ord(chr(i))
    return s


def inserts(x, n):
    parts = []
    for i in range(n):
        parts.insert(1, x[i])
    return sum(parts)


def float_bound(x, n):
    for _ in range(x[0]):
        n = n + 1
    return n


def comprehension(x, n):
    return np.array([x[i] for i in range(n)])


def return_in_try(x, n):
    for i in range(n):
        try:
            if x[i] > 1:
                return x[i]
        except ValueError:
            pass
    return x[0]


def matches(x, n):
    match x[0] > 0:
        case True:
            return x
    return -x


def other_shape(x, n):
    if x[0] > 0:
        a = x
    else:
        a = x.reshape(2, 3)
    return a


def other_structure(x, n):
    if x[0] > 0:
        return x[0]
    return x[0], x[1]


REFUSED: dict[Callable[..., Any], tuple[type[Exception], list[str], str]] = {
    grows_otherwise: (CarryError, ["a is", "f64[6]", "f64[12]", "np.zeros"], "for _ in range(n)"),
    changes_structure: (CarryError, ["s is", "one value", "tuple of 2"], "for _ in range(n)"),
    was_none: (CarryError, ["best is", "None"], "for i in range(n)"),
    is_text: (CarryError, ["word is", "'a'", "str"], "for _ in range(n)"),
    array_condition: (ConcretizationError, ["condition of while", "(6,)", "np.any"], "while x > 0"),
    array_test: (ConcretizationError, ["condition of if", "(6,)", "np.any"], "return x if x > 0"),
    wants_a_number: (ConcretizationError, ["Python needs an integer", "static"], "s += x[0] * ord(chr(i))"),
    inserts: (RollError, ["list", "the list itself"], "parts.insert(1, x[i])"),
    float_bound: (ArgumentError, ["bound of range()", "f64[]", "astype(np.int64)"], "range(x[0])"),
    return_in_try: (UnsupportedError, ["'return' inside 'try'"], "for i in range(n)"),
    matches: (UnsupportedError, ["'match'", "np.where"], "match x[0] > 0"),
    other_shape: (CarryError, ["a is", "f64[6]", "f64[2,3]", "branch"], "if x[0] > 0"),
    other_structure: (CarryError, ["result is", "one value", "tuple of 2"], "if x[0] > 0"),
}


@pytest.mark.parametrize("fun", REFUSED, ids=lambda f: f.__name__)
def test_what_is_refused_says_what_and_where(fun: Callable[..., Any]) -> None:
    kind, words, line = REFUSED[fun]
    args = (X,) if fun.__code__.co_argcount == 1 else (X, np.array(3))
    with pytest.raises(kind) as caught:
        jg.jit(fun)(*args)
    message = str(caught.value)
    for word in (*words, __file__, line):
        assert word in message, f"{word!r} is not in\n{message}"


@pytest.mark.parametrize("fun", [grows, comprehension])
def test_results_as_long_as_an_array_says(fun: Callable[..., Any]) -> None:
    compiled = jg.jit(fun)
    for n in (1, 3, 6, 0) if fun is grows else (1, 3, 6):
        np.testing.assert_array_equal(compiled(X, np.array(n)), fun(X, n))
    assert compiled.cache_info().programs == 1


def test_an_index_out_of_bounds_ends_the_loop() -> None:
    def f(x, n):
        s = 0.0
        for i in range(n):
            s += x[i]
        return s

    compiled = jg.jit(f)
    assert compiled(X, 6) == pytest.approx(np.sum(X))
    with pytest.raises(IndexBoundsError, match="out of bounds"):
        compiled(X, 7)
    with pytest.raises(IndexError):
        jg.grad(f)(X, 7)
    with pytest.raises(IndexBoundsError, match="index 6 is out of bounds"):
        jg.jit(lambda x: x[6])(X)


def test_a_variable_that_is_not_bound_is_named() -> None:
    def f(x, n):
        for i in range(n):
            if i > 0:
                x = x * previous  # noqa: F821
            previous = x[i]
        return x

    with pytest.raises(UnboundLocalError, match="previous"):
        jg.jit(f)(X, 3)


def test_values_of_a_loop_body_do_not_leave_it() -> None:
    found = []

    def f(x, n):
        for i in range(n):
            keep(x[i])
        return found[0] * 2

    def keep(v):
        found.append(v)

    with pytest.raises((RollError, jg.errors.LeakedTracerError)):
        jg.jit(f)(X, np.array(3))


def test_comprehensions_over_traced_ranges() -> None:
    def total(x, n):
        return sum(x[i] * i for i in range(n)) + sum([x[i] for i in range(n)])

    def pieces(x, n):
        return np.array(
            [x[i] for i in range(2) for _ in range(n)],
        )

    def table(x, n):
        return {i: x[i] for i in range(n)}

    for n in 0, 3:
        np.testing.assert_allclose(jg.jit(total)(X, np.array(n)), total(X, n), rtol=1e-14)
        np.testing.assert_allclose(jg.grad(total)(X, np.array(n)), np.arange(1, len(X) + 1) * (np.arange(len(X)) < n))
        np.testing.assert_array_equal(jg.jit(pieces)(X, np.array(n)), pieces(X, n))
    line = table.__code__.co_firstlineno + 1
    with pytest.raises(UnsupportedError, match=rf"at line {line} runs over a range .* for"):
        jg.jit(table)(X, np.array(3))


def test_an_early_return_of_a_tuple_with_an_array() -> None:
    def search(x):
        u = x * 0
        for k in range(30):
            u = u + x
            if u[0] > 3:
                return k, u
        return -1, u

    for x in (X, -X):
        for got, want in zip(jg.jit(search, loops="roll")(x), search(x), strict=True):
            np.testing.assert_allclose(got, want)
