"""What loops carry: numbers, arrays, trees of them, and objects of Python."""

# ruff: noqa: B007, F841, PERF401

from __future__ import annotations

import numpy as np

from .registry import X, program


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


@program(X.astype(np.float32))
def bool_becomes_int(x):
    seen, product = False, x[0]
    for i in range(6):
        seen = seen + 1
        product = product * x[i]
    return x * seen * product


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
