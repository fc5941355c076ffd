"""Programs of loops and branches, with arguments: what Python users write. Each returns float arrays or numbers.

Arguments that are Python ints are traced too, so ranges over them have traced bounds.
"""

# ruff: noqa: B007, B905, E731, F841, PERF401, RUF021

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

X = np.array([0.5, -1.2, 0.8, 1.5, -0.3, 0.7])
M = np.array([[0.5, -0.2, 0.9, 0.3], [1.1, 0.4, -0.6, 0.2], [-0.7, 0.8, 0.1, 0.6]])
TABLE = np.array([0.3, 1.7, -0.4, 0.9, 2.0, -1.0, 0.1, 0.6, 1.3, 0.2, 0.5, 0.8])
WEIGHTS = [0.5, 2.0, -1.0]


def program(*args: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(f: Callable[..., Any]) -> Callable[..., Any]:
        assert f.__name__ not in PROGRAMS
        PROGRAMS[f.__name__] = (f, args)
        return f

    return enter


# Ranges


@program(X)
def range_of_one(x):
    s = 0.0
    for i in range(6):
        s += x[i] * x[i]
    return s


@program(X)
def range_with_start(x):
    s = 0.0
    for i in range(2, 6):
        s += x[i] * i
    return s


@program(X)
def range_with_step(x):
    s = 1.0
    for i in range(1, 6, 2):
        s = s * x[i] + i
    return s


@program(X)
def range_downwards(x):
    s = 0.0
    for i in range(5, -1, -1):
        s = s * 0.5 + x[i]
    return s


@program(X)
def range_downwards_by_two(x):
    s = 0.0
    for i in range(5, 0, -2):
        s = np.sin(s + x[i])
    return s


@program(X)
def empty_range(x):
    s = x[0]
    for i in range(3, 3):
        s = s * x[i]
    for i in range(3, 5, -1):
        s = s * x[i]
    return s


@program(X, 5)
def traced_length(x, n):
    s = 0.0
    for i in range(n):
        s = s * 0.9 + x[i]
    return s


@program(X, 2, 5)
def traced_bounds(x, lo, hi):
    s = 0.0
    for i in range(lo, hi):
        s += np.exp(x[i])
    return s


@program(X, 1, 6)
def traced_bounds_with_step(x, lo, hi):
    s = 0.0
    for i in range(lo, hi, 2):
        s += x[i] * s + x[i]
    return s


@program(X, 5, 0)
def traced_bounds_downwards(x, lo, hi):
    s = 0.0
    for i in range(lo, hi, -1):
        s = s * x[i] + i
    return s


@program(X, 5)
def traced_bounds_downwards_by_three(x, lo):
    s = 1.0
    for i in range(lo, -1, -3):
        s = s * x[i] + i
    return s


@program(X, 4)
def traced_range_that_is_empty(x, n):
    s = x[1] * 2
    for i in range(n, 2):
        s = s * x[i]
    return s


@program(X, 3)
def range_over_sums_of_traced(x, n):
    s = 0.0
    for i in range(n - 2, n + 2):
        s = s * x[i] + x[i - 1]
    return s


@program(M, 3)
def triangular(m, n):
    s = 0.0
    for i in range(n):
        for j in range(i + 1):
            s = s * 0.5 + m[i, j] * m[j, i]
    return s


@program(M)
def triangular_downwards(m):
    s = 0.0
    for i in range(2, -1, -1):
        for j in range(3, i, -1):
            s += m[i, j] * s + m[i, j]
    return s


@program(X, 3)
def length_that_is_computed(x, n):
    m = n * 2
    s = 0.0
    for i in range(min(m, 6)):
        s += x[i] ** 2
    return s


@program(X)
def index_after_the_loop(x):
    i = 0
    for i in range(6):
        pass
    return x[i] * i


@program(X)
def index_arithmetic(x):
    s = 0.0
    for i in range(1, 5):
        s += x[i - 1] * x[i + 1] + x[-i] * x[2 * i % 6] + x[i // 2]
    return s


@program(X)
def index_as_number(x):
    s = 0.0
    for i in range(6):
        s += x[i] / (i + 1) + i**2 * 0.1 + float(i) * 0.5
    return s


# Iteration over arrays


@program(X)
def over_elements(x):
    s = 0.0
    for v in x:
        s = s * 0.5 + v * v
    return s


@program(M)
def over_rows(m):
    total = np.zeros(4)
    for row in m:
        total = total * 0.5 + np.sin(row)
    return total


@program(M)
def over_rows_and_elements(m):
    s = 0.0
    for row in m:
        for v in row:
            s = s * 0.9 + v
    return s


@program(X)
def with_enumerate(x):
    s = 0.0
    for i, v in enumerate(x):
        s += i * v * v
    return s


@program(X)
def with_enumerate_from_one(x):
    s = 0.0
    for i, v in enumerate(x, 1):
        s = s * 0.5 + v / i
    return s


@program(X, X[::-1].copy())
def with_zip(x, y):
    s = 0.0
    for a, b in zip(x, y):
        s += a * b * b
    return s


@program(X, M)
def with_zip_of_different_lengths(x, m):
    s = 0.0
    for a, row in zip(x, m):
        s += a * np.sum(row * row)
    return s


@program(X)
def with_reversed(x):
    s = 0.0
    for v in reversed(x):
        s = s * 0.5 + v
    return s


@program(X)
def with_reversed_range(x):
    s = 0.0
    for i in reversed(range(1, 6, 2)):
        s = s * 0.5 + x[i] * i
    return s


@program(X, X + 1)
def enumerate_of_zip(x, y):
    s = 0.0
    for k, (a, b) in enumerate(zip(x, y)):
        s = s * 0.3 + k * a * b
    return s


@program(X, X + 1)
def zip_of_enumerate_and_reversed(x, y):
    s = 0.0
    for (k, a), b in zip(enumerate(x), reversed(y)):
        s = s * 0.3 + k * a * b
    return s


@program(X)
def zip_of_range_and_slices(x):
    s = 0.0
    for i, a, b in zip(range(1, 6), x[1:], x[:-1]):
        s += a * b * i
    return s


@program(X)
def over_a_slice(x):
    s = 0.0
    for v in x[4:0:-1]:
        s = s * x[0] + v
    return s


@program(X)
def over_a_list_of_arrays(x):
    s = 0.0
    for a in [x, x * 2, np.sin(x)]:
        s += np.sum(a * a)
    return s


@program(X)
def over_a_python_list(x):
    s = 0.0
    for w in WEIGHTS:
        s = s + w * x[1] * s + x[2] * w
    return s


# While


@program(2.0)
def newton_square_root(a):
    x = a
    while abs(x * x - a) > 1e-12:
        x = 0.5 * (x + a / x)
    return x


@program(X, 5)
def while_with_a_counter(x, n):
    i = 0
    s = 1.0
    while i < n:
        s = np.sin(s * x[i])
        i += 1
    return s


@program(X)
def while_that_never_runs(x):
    s = x[0]
    while s > 100.0:
        s = s * 0.5
    return s * x[1]


@program(X)
def while_with_else(x):
    i, s = 0, 1.0
    while s < 20.0:
        s = s * (1.5 + x[i] * x[i])
        i += 1
    else:
        s = s + x[0]
    return s


@program(X)
def while_with_else_and_break(x):
    i, s = 0, 1.0
    while s < 20.0:
        s = s * (1.5 + x[i] * x[i])
        if i >= 2:
            break
        i += 1
    else:
        s = s + 100.0
    return s


@program(X)
def while_in_for(x):
    total = 0.0
    for i in range(6):
        v = x[i] * x[i]
        while v < 1.0:
            v = v * 1.7 + 0.1
        total += v
    return total


@program(X)
def for_in_while(x):
    s = 0.1
    while s < 3.0:
        for i in range(3):
            s = s + 0.5 * x[i] * x[i]
    return s


@program(X)
def while_in_while(x):
    s, t = 0.1, 0.0
    while s < 3.0:
        t = s
        while t < 2.0:
            t = t * 1.5 + x[0] * x[0]
        s = s + t * 0.3
    return s + t


@program(X)
def while_true_with_break(x):
    i, s = 0, 0.0
    while True:
        s = s + x[i] * x[i]
        if s > 2.0:
            break
        i = i + 1
    return s * i


@program(X)
def while_with_an_array_condition(x):
    while np.max(np.abs(x)) > 0.5:
        x = x * 0.7
    return x


# Branches


@program(X)
def if_in_loop(x):
    s = 0.0
    for i in range(6):
        if x[i] > 0:
            s += x[i] * x[i]
        else:
            s -= 2 * x[i]
    return s


@program(X)
def if_without_else(x):
    s = 1.0
    for v in x:
        if v < 0:
            s = s * v
    return s


@program(X)
def elif_chain(x):
    s = 0.0
    for v in x:
        if v > 1:
            s += v * v
        elif v > 0:
            s += np.sin(v)
        elif v > -1:
            s = s * v
        else:
            s -= v
    return s


@program(X)
def if_on_the_index(x):
    s = 0.0
    for i in range(6):
        if i % 2 == 0:
            s += x[i]
        if i > 2 and i != 4:
            s = s * x[i]
        elif i == 4:
            s = s - 1
    return s


@program(X)
def nested_ifs(x):
    s = 0.0
    for i in range(6):
        if x[i] > 0:
            if x[i] > 0.6:
                s = s + x[i]
            else:
                s = s - x[i]
            s = s * 1.1
    return s


@program(X)
def variables_bound_in_both_branches(x):
    if x[0] > 0:
        a = x[1] * 2
        b = x[2]
    else:
        a = x[3]
        b = x[4] * x[4]
    return a * b


@program(X)
def variable_bound_in_one_branch(x):
    s = 0.0
    for v in x:
        if v > 0:
            t = v * v
            s += t
    return s


@program(X)
def early_return(x):
    if x[0] < 0:
        return x[1] * 2
    y = x[2] * x[0]
    if y > 10:
        return y
    return y * y


@program(X)
def early_return_on_both_sides(x):
    if x[0] > 0:
        if x[1] > 0:
            return x[0] * x[1]
        else:
            return x[0] / x[1]
    else:
        return x[0] * 3


@program(X)
def conditional_expression(x):
    s = 0.0
    for v in x:
        s += v * v if v > 0 else -0.5 * v
    return s


@program(X)
def nested_conditional_expressions(x):
    s = 0.0
    for i in range(6):
        s += x[i] if x[i] > 1 else x[i] ** 2 if x[i] > 0 else (2.0 if i > 2 else x[i] ** 3)
    return s


@program(X)
def chained_comparison(x):
    s = 0.0
    for v in x:
        if -0.5 < v <= 0.75:
            s += v**3
        if not 0 < v < 1:
            s *= 1.1
    return s


@program(X)
def boolean_operators(x):
    s = 0.0
    for i in range(1, 6):
        if x[i] > 0 and x[i - 1] > 0 or i == 3:
            s += x[i] * x[i - 1]
        if not (x[i] > 1 or x[i] < -1) and s < 3:
            s += 0.5 * x[i]
    return s


@program(X)
def short_circuit_guards_an_index(x):
    i, s = 0, 0.0
    while i < 6 and x[i] > -2.0:
        s += x[i] * x[i]
        i += 1
    return s


@program(X)
def value_of_or(x):
    s = 0.0
    for v in x:
        t = (v > 0) or (v < -1)
        if t:
            s += v * 2
    return s


@program(X)
def boolean_flag(x):
    seen = False
    s = 0.0
    for v in x:
        if seen:
            s += v * v
        if v < 0:
            seen = True
    return s


@program(X)
def negated_flag(x):
    flag = True
    s = 0.0
    for v in x:
        s = s + v if flag else s - v * v
        flag = not flag
    return s


@program(X)
def maximum_by_comparison(x):
    best = x[0]
    for v in x:
        if v > best:
            best = v
    return best * best


@program(X)
def position_of_the_maximum(x):
    best = 0
    for i in range(6):
        if x[i] > x[best]:
            best = i
    return x[best] * 3 + best


@program(X)
def if_that_writes_arrays(x):
    y = np.zeros(6)
    for i in range(6):
        if x[i] > 0:
            y[i] = x[i] ** 2
        else:
            y[i] -= x[i]
    return y


@program(X)
def ternary_of_arrays(x):
    y = x * 2 if np.sum(x) > 0 else x * 3
    return y


# break, continue, return


@program(X)
def with_break(x):
    s = 0.0
    for v in x:
        if v > 1:
            break
        s += v * v
    return s


@program(X)
def break_before_and_after(x):
    s, k = 0.0, 0
    for i in range(6):
        s += x[i] * x[i]
        if s > 2.2:
            k = i
            break
        s *= 1.1
    return s * (k + 1)


@program(X)
def break_on_the_index(x):
    s = 0.0
    for i in range(100):
        if i >= 6:
            break
        s += x[i] * i
    return s


@program(X)
def with_continue(x):
    s = 0.0
    for v in x:
        if v < 0:
            continue
        s = s * 0.5 + v
    return s


@program(X)
def break_and_continue(x):
    s = 0.0
    for i in range(6):
        if x[i] < -1:
            continue
        if x[i] > 1.2:
            break
        s += x[i]
    return s


@program(X)
def for_else(x):
    s = 0.0
    for v in x:
        s += v
        if s > 100:
            break
    else:
        s = s * x[0]
    return s


@program(X)
def for_else_that_breaks(x):
    s = 0.0
    for v in x:
        s += v * v
        if s > 2:
            break
    else:
        s = s + 1000.0
    return s


@program(X)
def return_in_loop(x):
    for v in x:
        if v > 1:
            return v * v
    return x[0] * 0.1


@program(M)
def return_in_nested_loops(m):
    s = 0.0
    for i in range(3):
        for j in range(4):
            s += m[i, j]
            if s > 1.8:
                return s * m[i, j]
    return s


@program(M)
def break_of_the_inner_loop(m):
    total = 0.0
    for i in range(3):
        s = 0.0
        for j in range(4):
            s += m[i, j] * m[i, j]
            if s > 0.8:
                break
        total += s * (j + 1)
    return total


@program(M)
def break_of_both_loops(m):
    total, done = 0.0, False
    for i in range(3):
        for j in range(4):
            total += m[i, j] * m[i, j]
            if total > 2.0:
                done = True
                break
        if done:
            break
    return total


@program(M)
def continue_of_the_outer_loop(m):
    total = 0.0
    for i in range(3):
        if m[i, 0] < 0:
            continue
        for j in range(4):
            if m[i, j] < 0:
                continue
            total += m[i, j] ** 2
    return total


@program(X, 6)
def break_of_a_traced_range(x, n):
    s = 0.0
    for i in range(n):
        if x[i] > 1:
            break
        s += x[i] * x[i]
    return s


@program(X, 6)
def return_of_a_traced_range(x, n):
    s = 1.0
    for i in range(n):
        s = s * (1 + x[i] * x[i])
        if s > 4:
            return s * i
    return s


# What is carried


@program(X)
def tuple_carry(x):
    state = (0.0, 1.0)
    for v in x:
        a, b = state
        state = (b + v, a * 0.5 - v)
    return state[0] * state[1]


@program(X)
def dict_carry(x):
    state = {"position": 0.0, "velocity": 1.0}
    for v in x:
        state = {
            "position": state["position"] + 0.1 * state["velocity"],
            "velocity": state["velocity"] - v * state["position"],
        }
    return state["position"]


@program(X)
def nested_carry(x):
    state = {"a": (x[0], x * 2), "b": [x[1]]}
    for i in range(6):
        s, v = state["a"]
        state = {"a": (s + v[i], v * 0.9), "b": [state["b"][0] + s]}
    return state["b"][0] + np.sum(state["a"][1])


@program(X)
def list_carry(x):
    state = [0.0, x[0]]
    for v in x:
        state = [state[1], state[0] + v]
    return state[0] * state[1]


@program(X)
def swap(x):
    a, b = x[0], x[1]
    for i in range(5):
        a, b = b, a * 0.5 + x[i]
    return a * b


@program(X)
def swap_of_arrays(x):
    a, b = x, x * x
    for i in range(5):
        a, b = b, np.sin(a)
    return a * b


@program(X)
def first_bound_in_the_body(x):
    for i in range(6):
        t = x[i] * x[i]
        last = t + i
    return last * t


@program(X)
def bound_in_the_body_and_used_in_the_next_iteration(x):
    s = 0.0
    for i in range(6):
        if i > 0:
            s += previous * x[i]  # noqa: F821
        previous = x[i]
    return s


@program(X)
def int_becomes_float(x):
    s = 0
    for v in x:
        s += v
    return s


@program(X)
def int_that_stays(x):
    count = 0
    for v in x:
        if v > 0:
            count += 1
    return x * count


@program(X.astype(np.float32))
def single_precision(x):
    s = 0
    for i in range(6):
        s += x[i] * 0.5
    return s


@program(X.astype(np.float32))
def single_precision_arrays(x):
    y = np.zeros_like(x)
    for i in range(1, 6):
        y[i] = y[i - 1] * 0.5 + x[i] ** 2
    return y


@program(X)
def zero_becomes_an_array(x):
    total = 0
    for i in range(4):
        total = total + x * i
    return total


@program(X)
def captured_values(x):
    a = np.exp(x)
    b = x[0] * 2
    s = 0.0
    for i in range(6):
        s += a[i] * b
    return s


@program(X)
def none_until_bound(x):
    best = None
    for i in range(6):
        v = x[i] * x[i]
        best = v if best is None else best + v
    return best


@program(X)
def list_that_grows(x):
    parts = []
    for i in range(6):
        parts.append(x[i] * i)
    return np.array(parts)


@program(X)
def list_that_is_read_back(x):
    parts = [x[0]]
    for i in range(1, 12):
        parts.append(np.sin(parts[-1]) + x[i % 6])
    return np.stack(parts)


@program(X)
def list_comprehension(x):
    return np.array([x[i] ** i for i in range(1, 6)])


@program(X)
def sum_of_generator(x):
    return sum(v * v for v in x) + max(v for v in x)


@program(X)
def dictionary_of_arrays(x):
    d = {}
    for k, name in enumerate(["a", "b", "c"]):
        d[name] = x * (k + 1)
    return d["a"] * d["b"] + d["c"]


# Arrays


@program(X)
def prefix_sums(x):
    y = np.zeros(6)
    y[0] = x[0]
    for i in range(1, 6):
        y[i] = y[i - 1] + x[i]
    return y


@program(X)
def in_place_updates(x):
    y = x.copy()
    for i in range(1, 6):
        y[i] *= y[i - 1]
        y[i] += x[i]
        y[i - 1] /= 2.0
    return y


@program(M)
def slices_that_depend_on_the_index(m):
    y = np.zeros((3, 4))
    for i in range(1, 4):
        y[:i, i] = m[:i, i] * m[0, :i]
        y[i - 1, : i + 1] += np.sum(m[i - 1, :i])
    return y


@program(M)
def rows_in_place(m):
    a = m.copy()
    for i in range(1, 3):
        a[i] -= a[i - 1] * a[i, 0]
        a[i, 1:] = a[i, 1:] * 0.5
    return a


@program(M)
def views_in_loops(m):
    a = m.copy()
    for i in range(3):
        row = a[i]
        row[1:] += row[:-1]
        row[0] = row[-1] * 2
    return a


@program(X)
def ping_pong(x):
    a, b = x.copy(), np.zeros(6)
    for t in range(5):
        for i in range(1, 5):
            b[i] = (a[i - 1] + a[i] * a[i] + a[i + 1]) / 3.0
        a, b = b, a
    return a


@program(X)
def stencil_by_slices(x):
    a = x.copy()
    for t in range(4):
        a[1:-1] = 0.3 * (a[:-2] + a[1:-1] ** 2 + a[2:])
    return a


@program(X)
def array_made_in_the_body(x):
    total = np.zeros(3)
    for i in range(4):
        t = np.zeros(3)
        for k in range(3):
            t[k] = x[i + k] * k
        total = total + np.sin(t)
    return total


@program(M)
def matrix_products(m):
    h = np.ones(4) * 0.1
    for t in range(4):
        h = np.tanh(m.T @ (m @ h))
    return h


@program(X, np.array([2, 0, 5, 1]))
def indirect(x, order):
    s = 0.0
    for k in range(4):
        s = s * 0.5 + x[order[k]] * x[order[k] - 1]
    return s


@program(X, np.array([2, 0, 2, 1]))
def indirect_writes(x, bins):
    y = np.zeros(3)
    for k in range(4):
        y[bins[k]] += x[k] * x[k]
    return y


@program(X)
def reads_a_global_array(x):
    s = 0.0
    for i in range(6):
        s += TABLE[2 * i] * x[i] + TABLE[i] * x[i] ** 2
    return s


@program(X)
def reads_a_global_list(x):
    s = 0.0
    for k in range(3):
        s += WEIGHTS[k] * x[k]
    return s


@program(np.array([0.1, 2.0, 0.0, 1.5, 0.4, 0.2, 1.1]), np.array([0, 2, 2, 5, 7]), np.array([0, 2, 1, 3, 0, 2, 1]))
def sparse_matrix_vector(data, start, columns):
    y = np.zeros(4)
    for i in range(4):
        for k in range(start[i], start[i + 1]):
            y[i] += data[k] * np.sin(data[columns[k]])
    return y


@program(X)
def function_that_writes(x):
    def push(a, i, v):
        a[i] = v
        a[i - 1] += v

    y = x.copy()
    for i in range(1, 6):
        push(y, i, y[i] * y[i - 1])
    return y


# Functions


def _square_if_positive(v):
    if v > 0:
        return v * v
    return 0.5 * v


def _sum_until(x, limit):
    s = 0.0
    for v in x:
        if s > limit:
            break
        s += v * v
    return s


@program(X)
def calls_functions_with_control_flow(x):
    s = 0.0
    for v in x:
        s += _square_if_positive(v)
    return s * _sum_until(x, 1.0)


@program(X)
def nested_function(x):
    scale = x[0]

    def f(v):
        if v > 0:
            return v * scale
        return v - scale

    s = 0.0
    for v in x:
        s += f(v)
    return s


@program(X)
def lambda_with_a_branch(x):
    f = lambda v: v * v if v > 0 else -v
    s = 0.0
    for i in range(6):
        s += f(x[i])
    return s


def _power(v, n):
    if n == 0:
        return 1.0
    return v * _power(v, n - 1)


@program(X)
def recursion(x):
    return _power(x[0], 3) + _power(x[1], 2)


@program(X)
def python_functions(x):
    s = 0.0
    for i in range(1, 6):
        s += max(x[i], x[i - 1]) * min(x[i], 0.5) + abs(x[i])
        s += math.sin(x[i]) * math.exp(-abs(x[i])) + math.sqrt(x[i] * x[i] + 1.0)
    return s


@program(X)
def clipped_by_max_and_min(x):
    s = 0.0
    for v in x:
        s += max(0.0, min(1.0, v)) ** 2 * v
    return s


@program(X)
def extremes_of_collections(x):
    named = {"low": x[0], "high": x[3]}
    longest = max(named, key=len)
    return max(named.values()) * min(v for v in (x[1], x[2])) * max({1, 2}) + named[longest] + named[min(named)]


@program(X)
def round_to_integers(x):
    s = 0.0
    for i in range(6):
        k = int(i / 2)
        s += x[k] * math.floor(i * 0.4)
    return s


def _pairs(x):
    for i in range(5):
        yield x[i], x[i + 1]


@program(X)
def generator_function(x):
    s = 0.0
    for a, b in _pairs(x):
        s += a * b * b
    return s


@program(X)
def with_statement(x):
    s = 0.0
    for i in range(6):
        with np.errstate(all="ignore"):
            s += np.sqrt(x[i] * x[i] + 1)
    return s


@program(X)
def try_around_a_loop(x):
    s = 0.0
    try:
        for i in range(6):
            s += x[i] * x[i]
    finally:
        s = s * 2
    return s


@program(X)
def assertion(x):
    s = 0.0
    for i in range(6):
        assert x[i] < 10, "too large"
        assert i < 6
        s += x[i] ** 2
    return s


@program(X)
def walrus(x):
    s = 0.0
    for i in range(6):
        if (v := x[i] * x[i]) > 0.5:
            s += v
    return s


@program(X)
def augmented_operators(x):
    a = x.copy()
    for i in range(1, 6):
        a[i] += 1.0
        a[i] -= x[0]
        a[i] *= 2.0
        a[i] /= 3.0
        a[i] **= 2
    return a


@program(X)
def delete_a_variable(x):
    s = 0.0
    for i in range(6):
        t = x[i] * 2
        s += t
        del t
    return s


@program(X)
def draws_random_numbers(x):
    rng = np.random.default_rng(0)
    s = 0.0
    for i in range(12):
        s += np.sum(x * rng.normal(size=6))
    return s
