"""Branches and conditions."""

from __future__ import annotations

import numpy as np

from .registry import X, program


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
        if (x[i] > 0 and x[i - 1] > 0) or i == 3:
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
def branches_that_write_or_bind_anew(x):
    y = np.zeros(6)
    if x[0] > 0:
        y[0] = 1.0
        if x[1] > 0:
            y[1] = x[0]
        else:
            y = y + x
    return y * x


@program(X)
def any_and_all(x):
    s = 0.0
    for i in range(3):
        if any(v > 0.5 for v in x[i : i + 2]) and not all([x[i] > 0, x[i + 1] < 0, True]):
            s += x[i] ** 2
    if any(x > 1.4):
        s *= x[1]
    return s


@program(X)
def ternary_of_arrays(x):
    y = x * 2 if np.sum(x) > 0 else x * 3
    return y


# break, continue, return
