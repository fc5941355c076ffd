"""Arrays whose extents change by the same number in each iteration of a recorded loop: option trees, triangular
schemes, ``np.diff``, ``np.convolve``."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradError
from tests.frontend.growing_lists import W, X, check, check_recorded, loops

# -- trees -------------------------------------------------------------------------------------------------------------


def european(x, w):
    n, p = 19, 0.5 + 0.1 * np.tanh(x[0])
    v = np.maximum(w[:, 0] + x, 0.1)
    for _ in range(n):
        v = 0.99 * (p * v[1:] + (1 - p) * v[:-1])
    return v[0], v


def american(x, w):
    s, up, q = np.exp(x), 1.1 + 0.1 * w[0, 0], 0.45 + 0.1 * x[1]
    v = np.maximum(1.2 - s, 0)
    for _ in range(19):
        s = s[:-1] * up
        v = np.maximum(0.98 * (q * v[:-1] + (1 - q) * v[1:]), 1.2 - s)
    return v[0], s


def american_with_slices(x, w):
    n, s = 19, np.exp(x)
    v = np.maximum(1.2 - s, 0)
    for i in range(n):
        v = np.maximum(w[i, 0] * v[:-1] + (1 - w[i, 0]) * v[1:], 1.2 - s[: n - i])
    return v


def american_backwards(x, w):
    n = 19
    v = np.maximum(1.2 - np.exp(x), 0)
    for i in range(n - 1, -1, -1):
        s = np.exp(x[1]) * 1.1 ** (2 * np.arange(i + 1) - i)
        v = np.maximum(0.9 * (0.5 * v[:-1] + 0.5 * v[1:]) + w[i, 1], 1.2 - s)
    return v


def trinomial(x, w):
    v = x**2
    for t in range(9):
        v = w[t, 0] * v[2:] + 0.5 * v[1:-1] + 0.25 * v[:-2] * v[0]
    return v


def on_a_plane(x, w):
    v = np.outer(x, np.cos(x))
    for t in range(15):
        v = 0.25 * (v[1:, 1:] + v[1:, :-1] + v[:-1, 1:] + w[t, 0] * v[:-1, :-1])
    return v


def along_one_axis(x, w):
    v = w
    for t in range(15):
        v = np.sin(v[1:] * x[t]) + v[:-1]
    return v, v.shape[0]


def along_the_last_axis(x, w):
    v = w.T
    for t in range(15):
        v = np.tanh(v[:, 1:] * v[:, :-1]) + x[t]
    return v


def barrier(x, w):
    v = np.maximum(x + 1, 0)
    for t in range(15):
        v = 0.5 * (v[1:] + v[:-1])
        v[0] = 0.1 * x[t]
        v[-1] *= 2.0
    return v


def where_it_pays(x, w):
    v = np.maximum(x + 1, 0)
    for t in range(15):
        held = 0.5 * (v[1:] + v[:-1])
        v = np.where(held > 0.7 * x[t], held, x[t] ** 2)
    return v


# -- triangular schemes ------------------------------------------------------------------------------------------------


def de_casteljau(x, w):
    b, t = w, 0.3 + 0.1 * np.sin(x[0])
    for _ in range(19):
        b = (1 - t) * b[:-1] + t * b[1:]
    return b[0]


def neville(x, w):
    nodes, p = np.arange(20.0) + 0.1 * w[:, 0], np.sin(x)
    for k in range(1, 20):
        p = ((x[0] - nodes[k:]) * p[:-1] + (nodes[:-k] - x[0]) * p[1:]) / (nodes[:-k] - nodes[k:])
        p = p * 0.3
    return p[0]


def divided_differences(x, w):
    nodes, d = np.arange(20.0) + 0.1 * w[:, 0], np.sin(x)
    found = []
    for k in range(1, 16):
        d = (d[1:] - d[:-1]) / (nodes[k:] - nodes[:-k])
        found.append(d[0])
    return np.array(found)


def divided_differences_in_an_array(x, w):
    nodes, d = np.arange(20.0), x
    found = np.zeros(20)
    found[0] = d[0]
    for k in range(1, 20):
        d = np.diff(d) / (nodes[k:] - nodes[:-k])
        found[k] = d[0]
    return found * w[:, 0]


def richardson(x, w):
    table, best = np.exp(x), x[:1]
    for k in range(1, 12):
        table = (4.0**k * table[1:] - table[:-1]) / (4.0**k - 1)
        best = np.append(best, table[-1] * w[k, 0])
    return best


def differences(x, w):
    d = x * w[:, 0]
    for _ in range(12):
        d = np.diff(d) * 0.5
    return d


def only_shorter(x, w):
    v, total = x, 0.0
    for t in range(15):
        total = total + np.sum(v * v[::-1]) * len(v) / v.size + v.mean() - v.max() + w[t, 0]
        v = v[1:]
    return total, v


def from_both_ends(x, w):
    v, total = x, 0.0
    for _ in range(9):
        total = total + v[0] * v[-1]
        v = v[1:-1]
    return total, v


def inner_loops(x, w):
    v = x
    for t in range(12):
        total = 0.0
        for j in range(len(v)):
            total = total + v[j] * np.cos(j)
        v = v[:-1] * 0.5 + 0.01 * total * w[t, 0]
    return v


def in_a_loop(x, w):
    total = 0.0
    for t in range(10):
        v = x * w[t, 0]
        for _ in range(12):
            v = np.tanh(v[1:] + v[:-1])
        total = total + np.sum(v)
    return total


def a_triangle(x, w):
    total = 0.0
    for t in range(12):
        v = x[: t + 1] * w[t, 0]
        for k in range(t):
            v = np.sin(v[1:]) + v[:-1] * x[k]
        total = total + v[0]
    return total


def step(v, a):
    return a * v[1:] + (1 - a) * v[:-1]


def by_a_function(x, w):
    state = {"v": x, "t": 0.0}
    for t in range(15):
        state = {"v": step(state["v"], w[t, 0]), "t": state["t"] + 1}
    return state["v"], state["t"]


def of_a_tuple(x, w):
    pair = (x, w)
    for t in range(15):
        pair = (pair[0][1:] + pair[1][:-1, 0], pair[1][1:] * x[t])
    return pair


def two_that_swap(x, w):
    a, b = x, w[:, 0]
    for _ in range(12):
        a, b = b[1:] + a[1:], a[:-1] * 0.5
    return a, b


def integers(x, w):
    v = np.arange(20)
    for t in range(12):
        v = v[1:] - 2 * v[:-1] * (x[t] > 0)
    return v, x * v[0] * 0.01


def bools(x, w):
    v = x > 0.0
    for _ in range(12):
        v = v[1:] ^ v[:-1]
    return np.where(v[0], x, w[:, 0])


def becomes_float(x, w):
    v = np.arange(20)
    for t in range(12):
        v = v[1:] * x[t] - v[:-1]
    return v


def complex_numbers(x, w):
    z = x + 1j * w[:, 0]
    for _ in range(12):
        z = z[1:] * 0.5j + z[:-1]
    return z.real, z.imag


def later_uses(x, w):
    v = x
    for t in range(12):
        v = v[1:] * w[t, 0] + v[:-1]
    v[2] = 1.5
    v *= x[0]
    return v, x, v[::-1]


def enumerated(x, w):
    v = x
    for t, row in enumerate(w[:15]):
        v = v[1:] * row[0] + v[:-1] * row[1] + t
    return v


# -- longer ------------------------------------------------------------------------------------------------------------


def pascal(x, w):
    row = np.array([1.0])
    for t in range(15):
        row = np.concatenate([[0.0], row]) * x[t] + np.concatenate([row, [w[t, 0]]])
    return row


def forward_lattice(x, w):
    p = np.ones(1)
    for t in range(15):
        q = 0.5 + 0.1 * np.sin(x[t])
        new = np.zeros(t + 2)
        new[1:] = q * p
        new[:-1] += (1 - q) * p
        p = new
    return p


def one_shorter_one_longer(x, w):
    left, right = x, x[:1]
    for t in range(12):
        right = 0.5 * np.concatenate([[0.0], right]) + 0.1 * left[0] * np.concatenate([right, w[t, :1]])
        left = 0.4 * np.diff(left)
    return left, right


RECORDED = [
    european, american, american_with_slices, american_backwards, trinomial, on_a_plane, along_one_axis,
    along_the_last_axis, barrier, where_it_pays, de_casteljau, neville, divided_differences,
    divided_differences_in_an_array, richardson, differences, only_shorter, from_both_ends, inner_loops, in_a_loop,
    a_triangle, by_a_function, of_a_tuple, two_that_swap, integers, bools, becomes_float, complex_numbers, later_uses,
    enumerated, pascal, forward_lattice, one_shorter_one_longer,
]  # fmt: skip


@pytest.mark.parametrize("fun", RECORDED)
def test_recorded(fun):
    check_recorded(fun)


# -- other names -------------------------------------------------------------------------------------------------------


def written_at_the_start(x, w):
    v = x * 1.0
    total = 0.0
    for t in range(15):
        v[0] = w[t, 0]
        total = total + np.sum(v)
        v = v[1:] * x[t]
    return v, total


def written_by_a_name_from_before(x, w):
    v = u = x * 1.0
    for t in range(12):
        u[t] = w[t, 0]
        v = v[1:] * v[:-1]
    return v, u


def written_by_a_variable_of_the_loop(x, w):
    v = u = x * 1.0
    for t in range(12):
        u *= w[t, 0]
        v = v[1:] + v[:-1] * 0.1
    return v, u


def part_of_what_is_written(x, w):
    a, total = x * 1.0, 0.0
    v = a[:15]
    for t in range(12):
        a[3] += w[t, 0]
        total = total + np.sum(v * v)
        v = a[: 14 - t]
    return total, v


def part_of_another_variable(x, w):
    a, total, v = x * 1.0, 0.0, x[:15]
    for t in range(12):
        a[1] = total
        total = total + np.sum(np.sin(v))
        a = a * w[t, 0]
        v = a[: 14 - t]
    return total, v, a


class Holder:
    def __init__(self, a):
        self.a = a


def part_of_an_attribute(x, w):
    held, total, v = Holder(x * 1.0), 0.0, x[:15]
    for t in range(12):
        held.a[1] = total
        total = total + np.sum(np.sin(v))
        held.a = held.a * w[t, 0]
        v = held.a[: 14 - t]
    return total, v


UNROLLED = [
    written_at_the_start, written_by_a_name_from_before, written_by_a_variable_of_the_loop, part_of_what_is_written,
    part_of_another_variable, part_of_an_attribute,
]  # fmt: skip


def halves(x, w):
    v = np.concatenate([x, x, w[:, 0], w[:, 1]])[:64]
    total = 0.0
    for _ in range(6):
        v = v[::2] + v[1::2]
        total = total + v[0]
    for t in range(10):
        v = np.concatenate([v, v])[: t // 2 + 2] * 1.5
    return total, v


def where_the_number_says(x, w):
    v = x
    for t in range(18):
        if t % 3 == 0:
            v = v[1:] * w[t, 0]
    return v


def ever_more(x, w):
    v = np.concatenate([x, x, x, w[:, 0], w[:, 1], w[:, 2]])
    for t in range(12):
        v = v[t + 1 :] * x[t]
    return v


def to_nothing(x, w):
    v, total = x[:10], 0.0
    for t in range(15):
        total = total + np.sum(v) * x[t]
        v = v[1:]
    return total, v


def solved(x, w):
    """LAPACK is called for matrices of one size."""
    a, total = np.outer(x[:12], w[:12, 0]) + 9 * np.eye(12), 0.0
    for _ in range(10):
        total = total + np.linalg.solve(a, a[0])[-1] + np.linalg.det(a / 9) + np.sum(np.maximum.accumulate(a[0]))
        a = a[1:, 1:]
    return total


def of_another_rank(x, w):
    v = w
    for t in range(12):
        v = v[1:] * x[t] if t < 11 else v[0]
    return v


def ends_early(x, w):
    v, total = x, 0.0
    for t in range(15):
        v = v[1:] + v[:-1]
        if t == 11:
            break
        total = total + v[0] * w[t, 0]
    return v, total


@pytest.mark.parametrize(
    "fun", [*UNROLLED, halves, where_the_number_says, ever_more, to_nothing, solved, of_another_rank, ends_early]
)
def test_unrolled(fun):
    assert any("unrolled" in how for how in loops(check(fun)))


def names_that_stay(x, w):
    """Others keep what they stand for: the array from before, and views of it."""
    v = x * 1.0
    whole, tail = v, v[5:]
    for t in range(12):
        v = v[1:] * w[t, 0]
    whole[3] = 7.0
    v[1] = x[2]
    return v, whole, tail


def the_one_before(x, w):
    v = before = x
    for t in range(12):
        before = v
        v = np.tanh(v[1:] * before[:-1]) + w[t, 0]
    return v, before


@pytest.mark.parametrize("fun", [names_that_stay, the_one_before])
def test_names(fun):
    check_recorded(fun)


# -- lengths, derivatives, what it costs -------------------------------------------------------------------------------


def test_a_traced_length():
    def f(x):
        n = int(np.sum(x > 0))
        v = x
        for k in range(n):
            v = v[1:] * x[0] + v[:-1] * np.cos(k)
        return np.sum(v**2)

    for n in (0, 1, 5, 19):
        x = np.linspace(1.0, 2.0, 20) * np.where(np.arange(20) < n, 1, -0.1)
        np.testing.assert_allclose(jg.jit(f)(x), f(x), rtol=1e-12)
        slopes = [(f(x + d) - f(x - d)) / 2e-6 for d in 1e-6 * np.eye(20)]
        np.testing.assert_allclose(jg.grad(f)(x), slopes, rtol=1e-5, atol=1e-6 * np.max(np.abs(slopes)))


def test_what_a_traced_length_does_not_allow():
    def f(x):
        v = x * 1.0
        for _ in range(int(np.sum(x > 0))):
            v[0] = 0.0
            v = v[1:] * x[0]
        return np.sum(v)

    def ends(x):
        v = x * 1.0
        for _ in range(int(np.sum(x > 0))):
            v = v[1:] * 0.5
            if v[0] < 0.1:
                break
        return np.sum(v)

    with pytest.raises(JitgradError, match="of which a recorded loop makes a longer or shorter one") as caught:
        jg.jit(f)(X)
    assert "v[0] = 0.0" in str(caught.value)
    with pytest.raises(JitgradError, match="may end early"):
        jg.jit(ends)(X)


def test_second_derivatives():
    def f(x):
        return european(x, W)[0] ** 2 + de_casteljau(x, W)[0] + american(x, W)[0]

    found, gradient = jg.hessian(f)(X), jg.grad(f)
    slopes = [(gradient(X + d) - gradient(X - d)) / 2e-6 for d in 1e-6 * np.eye(20)]
    np.testing.assert_allclose(found, slopes, rtol=1e-5, atol=1e-7)


def test_batches():
    xs = np.stack([X, 0.5 * X, -X])
    found = jg.jacobian(lambda a: american(a * X, W)[0])(1.1)
    np.testing.assert_allclose(
        found, (american((1.1 + 1e-6) * X, W)[0] - american((1.1 - 1e-6) * X, W)[0]) / 2e-6, rtol=1e-6
    )

    def prices(xs):
        v = np.maximum(xs, 0.1)
        for _ in range(19):
            v = 0.6 * v[:, 1:] + 0.5 * v[:, :-1] * xs[:, :1]
        return v[:, 0]

    np.testing.assert_allclose(jg.jit(prices)(xs), prices(xs), rtol=1e-12)
    found = jg.grad(lambda xs: np.sum(prices(xs) ** 2))(xs)
    for k in range(3):
        np.testing.assert_allclose(found[k], jg.grad(lambda x: prices(x[None])[0] ** 2)(xs[k]), rtol=1e-10)


def test_compile_time_does_not_grow_with_the_number_of_iterations():
    def ops(fun, n):
        return len(str(jg.grad(lambda x: np.sum(fun(x, n) ** 2)).ir(0.9)).splitlines())

    def tree(x, n):
        v = np.maximum(np.arange(n + 1.0) * x - 3, 0)
        for _ in range(n):
            v = x * v[1:] + (1 - x) * v[:-1]
        return v

    def differences(x, n):
        d = np.sin(np.arange(n + 1.0) * x)
        for i in range(n):
            d = np.diff(d) / np.arange(1, n - i + 1)
        return d

    for fun in (tree, differences):
        assert ops(fun, 500) == ops(fun, 50)


def test_a_gradient_keeps_what_an_iteration_reads():
    """A linear tree whose weights are known keeps nothing; one with traced weights keeps a triangle."""

    def taped(fun, *args):
        text = str(jg.grad(fun).ir(*args))
        return "20100" in text or "20300" in text or "20200" in text

    def known(x):
        v = np.maximum(x, 0)
        for _ in range(200):
            v = 0.5 * v[1:] + 0.45 * v[:-1]
        return v[0]

    def traced(x):
        v = np.maximum(x, 0)
        for _ in range(200):
            v = x[0] * v[1:] + 0.45 * v[:-1]
        return v[0]

    x = np.linspace(-1.0, 1.0, 201)
    assert not taped(known, x)
    assert taped(traced, x)
