"""Python's own functions, classes and operators on traced values do what they do on numbers."""

import functools
import itertools
import math
import numbers
import operator
from itertools import product

import numpy as np
import optree
import pytest
from numpy import ndindex

import jitgrad as jg
from jitgrad.errors import ConcretizationError, UnsupportedError

V = np.array([1.5, -2.0, 0.5, 0.75])
K = np.array([3, 1, 2])
M = np.arange(600.0).reshape(30, 20) / 100


def same(plain, compiled):
    """Are two results equal, in structure, dtypes and values?"""
    a, b = optree.tree_flatten(plain), optree.tree_flatten(compiled)
    assert a[1] == b[1]
    for x, y in zip(a[0], b[0], strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-12)


def check(fun, *args):
    same(fun(*args), jg.jit(fun)(*args))


# -- the operator in ---------------------------------------------------------------------------------------------------


def within(n):
    kinds = {1: "a", 2: "b"}
    return (
        n in (1, 2), n not in [1, 2], n in {1, 2}, n in kinds, n in kinds.values(), n in range(0, 10, 2),
        n in range(9, 0, -3), n in dict.fromkeys([]),
        n in (1, "a", None, (2, 3)), 0 < n in (2, 5), n in (n, 7), n in [2.0, 3.5],
    )  # fmt: skip


@pytest.mark.parametrize("n", [-3, 0, 1, 2, 3, 8, 9, 10, 2.0, 2.5])
def test_in(n):
    check(within, n)


def test_in_of_arrays_and_traced_ranges():
    check(lambda a, x: (x in a, 7.0 in a, x not in a, a[1] in (0.0, -2.0), 0.5 in list(a)), V, 0.5)
    for n in (-1, 0, 4, 5, 6):
        check(lambda n, m: (n in range(m), n in range(1, m, 2), n in range(m, 0, -2)), n, 6)


def test_in_decides():
    @jg.value_and_grad
    def f(x, n):
        if n in (1, 2):
            return x * x
        return 3.0 * x if n not in (5, 6) else -x

    assert [f(4.0, n) for n in (2, 3, 5)] == [(16.0, 8.0), (12.0, 3.0), (-4.0, -1.0)]


def test_in_a_loop_that_is_recorded():
    def f(a, skip):
        s = 0.0
        for i in range(len(a)):
            if i in (3, 5) or i == skip or i % 10 in range(7, 9):
                continue
            s += a[i]
        return s

    check(f, np.arange(40.0), 11)


def test_in_compares_numbers():
    with pytest.raises(ConcretizationError, match="compares arrays"):
        jg.jit(lambda a: a in [1.0, 2.0])(V)


def test_contains_of_a_users_class():
    class Interval:
        def __contains__(self, x):
            return 0 <= 1

    check(lambda x: x in Interval(), 2.0)


# -- math --------------------------------------------------------------------------------------------------------------

UNARY = [
    "sqrt", "exp", "expm1", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "cbrt", "exp2",
    "degrees", "radians", "atan", "asinh", "fabs", "erf", "erfc", "lgamma", "gamma", "log", "floor", "ceil", "trunc",
    "isnan", "isinf", "isfinite", "modf",
]  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("x", [0.3, 2.5, np.float32(1.5), np.float64(0.5), 3, np.array(0.7)])
def test_math_of_a_number(name, x):
    function = getattr(math, name)
    if name == "trunc" and not isinstance(x, (float, int)):
        pytest.skip("math.trunc takes Python's numbers only")
    check(lambda x: function(x), x)


@pytest.mark.parametrize("x", [-0.5, -1.5, -2.25, -7.75, 0.25, 5.0])
def test_gamma(x):
    check(lambda x: math.gamma(x), x)


@pytest.mark.parametrize(
    ("x", "y"), [(5.0, 2.0), (-7.5, 2.0), (3.0, 2.0), (1.0, 2.0), (5.0, -2.0), (-1.0, 2.0), (0.3, 0.1)]
)
def test_math_of_two_numbers(x, y):
    check(
        lambda x, y: (
            math.fmod(x, y), math.remainder(x, y), math.hypot(x, y), math.atan2(x, y), math.copysign(x, y),
            math.pow(abs(x), y), math.log(abs(x), 3), math.log(abs(x), abs(y) + 1), math.isclose(x, y),
            math.isclose(x, x + 1e-12), math.isclose(x, x + 0.1, abs_tol=0.2), math.ldexp(x, 3),
        ),
        x,
        y,
    )  # fmt: skip


def test_math_of_many_numbers():
    check(lambda a: (math.hypot(a[0], a[1], a[2]), math.hypot(*a), math.fsum(a), math.fsum([a[0], 1, a[1]])), V)
    check(lambda a: (math.prod(a), math.prod([a[0], 2, a[1]]), math.prod(a, start=3.0), math.dist(a, a * a)), V)
    check(lambda a: math.fsum(x * x for x in a) + math.isclose(1.0, 2.0, abs_tol=5.0), V)


def test_infinite_numbers():
    for x in (np.inf, -np.inf, np.nan):
        check(lambda x: (math.isnan(x), math.isinf(x), math.isfinite(x), math.isclose(x, x), math.isclose(x, 1.0)), x)
    check(lambda x: math.modf(x), -np.inf)


def test_math_takes_no_arrays():
    for fun in (lambda a: math.sqrt(a), lambda a: math.floor(a), lambda a: math.hypot(a, 1.0), lambda a: math.isnan(a)):
        with pytest.raises(TypeError):
            fun(V)
        with pytest.raises(ConcretizationError, match="Only 0-dimensional arrays"):
            jg.jit(fun)(V)


@pytest.mark.parametrize("name", ["factorial", "isqrt", "frexp", "ulp"])
def test_math_that_needs_the_number(name):
    function = getattr(math, name)
    with pytest.raises(ConcretizationError, match=rf"math\.{name}\(\) of a traced value"):
        jg.jit(lambda n: function(n))(np.array(4))
    assert jg.jit(lambda n, x: x * function(n), static_argnames="n")(4, 1.0) is not None


def test_math_differentiates():
    def f(x):
        return (
            math.gamma(x) + math.hypot(x, 1.0, 2.0) * math.remainder(x, 0.7) + math.modf(x)[0] + math.fsum([x, x * x])
        )

    for x in (1.3, 2.6, -1.4):
        h = 1e-6
        np.testing.assert_allclose(jg.grad(f)(x), (f(x + h) - f(x - h)) / (2 * h), rtol=1e-7)


# -- classes -----------------------------------------------------------------------------------------------------------

CLASSES = [
    float, int, bool, np.ndarray, np.generic, np.floating, np.integer, np.float64, np.float32, np.int64,
    numbers.Number, numbers.Real, numbers.Integral, (int, float), (list, np.ndarray), int | float,
]  # fmt: skip


@pytest.mark.parametrize("x", [2.0, 2, True, np.float64(2.0), np.float32(2.0), np.int64(2), V, K, np.array(2.0)])
def test_isinstance_and_type(x):
    plain = [isinstance(x, c) for c in CLASSES], type(x), np.isscalar(x)
    seen = []

    @jg.jit
    def f(x):
        seen.append(([isinstance(x, c) for c in CLASSES], type(x), np.isscalar(x)))
        return x

    f(x)
    assert seen == [plain]


def test_isinstance_of_results():
    def f(a, k):
        return (
            isinstance(a[0], float), isinstance(k[0], int), isinstance(k.sum(), np.int64), isinstance(k.mean(), float),
            isinstance(float(a[0]), float), isinstance(a[:1], float), isinstance(len(a), int), type(a[0]) is np.float64,
            isinstance(a.item(0), float), isinstance(k.tolist()[0], int), isinstance(a > 0, np.ndarray),
            isinstance(int(a[0]), int), type(bool(a[0])) is bool, isinstance([a], list),
            isinstance(a[0] * 2, numbers.Real),
        )  # fmt: skip

    check(f, V, K)


def test_conversions():
    def f(a, k):
        return (
            float(a[0]), float(k[0]), int(a[1]), int(k[1]), bool(a[0]), bool(k[0] - 3), float(a[0] > 0), int(a[0] > 0),
            np.float64(k[0]), np.float32(a[0]), np.int64(a[1]), np.float32(a), np.bool_(a[0]), np.float64([a[0], 1.0]),
            a[0].item(), k.sum().item(), a.item(2), a.reshape(2, 2).item(1, 0), a[1:2].item(), a.tolist(),
            a.reshape(2, 2).tolist(), float("1.5"), int("7"), int("11", 2), float(a[0]) + np.ones(2, np.float32),
            int(-0.5 + a[3]), round(a[0], 1), divmod(a[0], 0.7), pow(a[0], 2), pow(2, k[0]), abs(a[1]),
        )  # fmt: skip

    check(f, V, K)


def test_conversions_in_loops():
    def f(x, n):
        s = 0.0
        for i in range(n):
            k = int(i / 2)
            s += x[k] * float(i)
        return s

    check(f, np.arange(20.0), 30)
    np.testing.assert_allclose(jg.grad(f)(np.arange(20.0), 30)[:16], [4.0 * k + 1 for k in range(15)] + [0.0])


def test_conversions_take_one_number():
    for fun in (lambda a: float(a), lambda a: int(a), lambda a: bool(a), lambda a: a.item()):
        with pytest.raises(ConcretizationError, match=r"0-dimensional|one element"):
            jg.jit(fun)(V)


def test_conversions_pass_the_gradient():
    np.testing.assert_array_equal(
        jg.grad(lambda a: float(a[0]) * a[1].item() + int(a[2]) + a.tolist()[3])(V), [-2, 1.5, 0, 1]
    )


# -- sorting and choosing ----------------------------------------------------------------------------------------------


def test_min_and_max():
    check(lambda a: (min(a), max(a), min(a[0], a[1]), max(a[0], 0), min([a[0], 1.0]), max(2, 3)), V)
    check(lambda a: (max(a[0], a[1], key=abs), max(a, key=lambda v: -v), min(list(a), key=lambda v: v * v)), V)
    check(lambda a: (max(a, default=0.0), max([], default=a[0]), min(enumerate(a), key=lambda p: p[1])), V)
    check(lambda a: max(range(len(a)), key=lambda k: a[k]), V)
    check(lambda a: max((x, -x) for x in range(3)), V)
    np.testing.assert_array_equal(jg.grad(lambda a: max(a, key=abs) ** 2)(V), [0, -4, 0, 0])


@pytest.mark.parametrize("reverse", [False, True])
def test_sorted(reverse):
    def f(a, k):
        places = sorted(range(4), key=lambda i: a[i], reverse=reverse)
        pairs = sorted(zip(a, range(4), strict=True), key=lambda p: p[0] ** 2, reverse=reverse)
        steady = sorted(enumerate([k[0] // 3, k[1] // 3, k[2] // 3]), key=lambda p: p[1], reverse=reverse)
        items = [a[0], 1.0, 0.25]
        items.sort(key=lambda v: -v, reverse=reverse)
        words = ["b", "c", "a"]
        words.sort(reverse=reverse)
        return sorted(a, reverse=reverse), places, pairs, steady, items, sorted([3, 1, 2]), words == sorted(words)

    check(f, V, K)


def test_sorted_differentiates():
    def f(a):
        low, *_, high = sorted(a)
        return low * 2 + high * high

    np.testing.assert_array_equal(jg.grad(f)(V), [3, 2, 0, 0])


def test_sorted_compares_numbers():
    with pytest.raises(ConcretizationError, match="keys that are no numbers"):
        jg.jit(lambda a: sorted(enumerate(a), key=lambda p: (p[1], "name")))(V)
    with pytest.raises(ConcretizationError, match="different structure"):
        jg.jit(lambda a: sorted([(a[0],), a[1]], key=lambda p: a[0] if p is a else a[1]))(V)


def test_any_all_sum_map():
    check(lambda a: (any(a > 0), all(a > 0), any(x > 1 for x in a), all([a[0] > 0, a[1] > 0]), sum(a), sum(a, 10.0)), V)
    check(
        lambda a: (list(map(lambda v, w: v * w, a, a)), sum(map(abs, a)), list(map(float, a)), list(map(max, a, -a))), V
    )
    check(
        lambda a: (
            sum(x * y for x, y in zip(a, a[::-1], strict=True)),
            list(itertools.accumulate(a)),
            sum(map(int, a)),
        ),
        V,
    )
    check(
        lambda a: (
            functools.reduce(operator.mul, a),
            list(filter(None, [1, 0, 2])),
            sum(filter(lambda k: k > 1, [1, 2])),
        ),
        V,
    )


def test_what_depends_on_the_numbers_says_so():
    with pytest.raises(ConcretizationError, match=r"filter\(\) keeps items by a traced condition"):
        jg.jit(lambda a: sum(tuple(filter(lambda v: v > 0, a))))(V)
    with pytest.raises(UnsupportedError, match="modulus"):
        jg.jit(lambda n: pow(n, 3, 7))(np.array(5))


# -- iterables ---------------------------------------------------------------------------------------------------------


def every(a):
    out, s = np.zeros_like(a), 0.0
    for (i, j), v in np.ndenumerate(a):
        s += (i - j) * v
    for i, j in np.ndindex(a.shape):
        out[i, j] += a[i, j] ** 2 + i
    for index in ndindex(*a.shape):
        out[index] += 1.0
    for i, j in product(range(1, a.shape[0]), range(a.shape[1])):
        out[i, j] += a[i - 1, j]
    for x, y in itertools.product(a[0], repeat=2):
        s += x * y
    return s, out


def until(a, limit):
    found = (-1, -1)
    steps = 0
    for i, j in np.ndindex(a.shape):
        if (i + j) % 2 == 0:
            continue
        steps += 1
        if a[i, j] > limit:
            found = (i, j)
            break
    else:
        steps = -steps
    return found, steps


def test_nests_of_loops():
    check(every, M)
    for limit in (0.0, 1.234, 3.456, 100.0):
        check(until, M, limit)
    notes = jg.jit(every).explain(M)
    assert (notes.count(": rolled"), notes.count("unrolled")) == (5, 0)


def test_nests_differentiate():
    weights = np.cos(np.arange(600.0)).reshape(30, 20)

    def f(a):
        s, out = every(a)
        return s + np.sum(out * weights)

    step, h = np.sin(np.arange(600.0)).reshape(30, 20), 1e-6
    slope = (f(M + h * step) - f(M - h * step)) / (2 * h)
    np.testing.assert_allclose(np.sum(jg.grad(f)(M) * step), slope, rtol=1e-7)


def test_nests_of_unusual_shapes():
    def f(a, n):
        s = 0.0
        for index, v in np.ndenumerate(np.sum(a)):
            s += v + len(index)
        for i, j in np.ndindex(n, 3):
            s += i * a[j]
        for i, j in np.ndindex((0, 3)):
            s += a[i] * j
        for i in itertools.product("ab", range(2)):
            s += i[1]
        indices = np.ndindex(2, 2)
        return s, next(indices), [i + j for i, j in indices], [v for _, v in np.ndenumerate(a[:2])]

    check(lambda a: f(a, 5), V)
    assert jg.jit(lambda a, n: sum(i * a[j] for i, j in np.ndindex(2, 2)))(V, 5) == -0.5

    def traced(a, n):
        s = 0.0
        for i, j in np.ndindex(n, 3):
            s += i * a[j]
        return s

    check(traced, V, 5)


# -- of many items -----------------------------------------------------------------------------------------------------


def reductions(x):
    k, v = min(enumerate(x), key=lambda pair: pair[1])
    at = max(range(len(x)), key=lambda i: x[i] * x[i])
    up, down = sorted(x, key=lambda v: v * v), sorted(x, key=lambda v: round(v), reverse=True)
    flags = any(v > 2.5 for v in x), all(v > -9 for v in x), any(v > 99 for v in x), all(v > 0 for v in x)
    pairs = max(zip(x, reversed(x), strict=True), key=lambda pair: pair[0] - pair[1])
    return k, v, at, x[at], up[0] * up[-1], down[3], flags, pairs, max(enumerate(x[:3]), key=lambda t: -t[1])


def of_some(x, limit):
    few = max((v * v for v in x if v > limit), default=-1.0), min((v for v in x if v < limit), default=0.0)
    where = next((i for i, v in enumerate(x) if v > limit), -1)
    return *few, where, next((2 * v for v in x if v > limit), limit), next(v for v in x if v > -9)


def test_many_items_are_reduced_by_one_loop():
    x = np.round(3 * np.sin(np.arange(40.0) ** 2), 1)  # some are equal
    check(reductions, x)
    assert "unrolled" not in jg.jit(reductions).explain(x).replace("unrolled, 3 iterations", "")
    for limit in (-1.0, 2.0, 99.0):
        check(of_some, x, limit)
    with pytest.raises(StopIteration):
        jg.jit(lambda x: next(v for v in x if v > 99))(x)

    def total(x):
        k, v = min(enumerate(x), key=lambda pair: pair[1])
        up = sorted(x, key=lambda v: -v)
        return v * k + up[0] * up[1] ** 2 + sum(of_some(x, 1.5)) * max(range(40), key=lambda i: x[i])

    x = np.random.default_rng(0).normal(size=40)
    jg.testing.check_grads(total, (x,), order=1)


def test_next_of_what_is_known():
    def f(x, words):
        first = next(w for w in words if w.startswith("b"))
        return next(i for i in range(9) if i > 3), next((i for i in ()), 7) * x[0], len(first)

    check(lambda x: f(x, ["abc", "bc"]), V)


def short_circuits(x, n):
    """``any`` and ``all`` stop where Python's do, as long as what they look at is known."""
    seen = []

    def look(k):
        seen.append(k)
        return k == 2

    some = any(look(k) for k in range(10)), any(k > 5 for k in itertools.count())
    every = all(k < 4 for k in itertools.count()), all(look(k) for k in (2, 2, 3, 2))
    none = any(v for v in []), all(v for v in []), any(v for v in (0, 0.0, ""))
    mixed = any(look(k) or x[k % 3] > k for k in (2, 0, 1)), any(x[k] > 1 for k in range(3) if k != 1)
    pairs = any(x[i] > x[j] for i in range(3) for j in range(i)), all(v < 9 for v in x if v > 1)
    steps = any(x[i] > 2 for i in range(n)), all(x[i] < 2 for i in range(n))
    return x * len(seen), some, every, none, mixed, pairs, steps


@pytest.mark.parametrize("x", [[1.0, 2.0, 3.0], [-1.0, 2.0, 9.5], [-1.0, -2.0, -3.0]])
def test_any_and_all_of_generators(x):
    x = np.array(x)
    for n in (0, 2, 3):
        expected = short_circuits(x, n)
        for found in (jg.jit(short_circuits)(x, n), jg.jit(short_circuits)(x, np.array(n))):
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)
