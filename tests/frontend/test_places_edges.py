"""Edges of attributes and items in recorded code: setters, ``setattr``, keys that there may be or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import CarryError


class State:
    def __init__(self, x: Any) -> None:
        self.value, self.other = x, 1.0

    @property
    def total(self) -> Any:
        return self.value * 2 + self.other

    @total.setter
    def total(self, new: Any) -> None:
        self.other = self.value
        if new > 0.5:
            self.value = new * 0.3
        else:
            self.value -= new


def setter_that_is_no_inverse(x: Any, n: int) -> Any:
    state = State(x)
    for _ in range(n):
        state.total = state.other * 0.7
    if x > 0.4:
        state.total += 0.25
    return state.value + 3 * state.other


def setattr_in_a_branch(x: Any, n: int) -> Any:
    state = State(x)
    for k in range(n):
        if x > 0.4:
            setattr(state, "val" + "ue", state.value * 0.5 + k)
    return state.value


def delattr_in_both_branches(x: Any, n: int) -> Any:
    state = State(x)
    if x > 0.4:
        delattr(state, "other")
    else:
        del state.other
    return state.value if hasattr(state, "other") else state.value * n


def a_key_that_the_first_iteration_makes(x: Any, n: int) -> Any:
    d = {"a": x}
    for _ in range(12):
        d["a"] = d["a"] * 0.5 + d.get("new", n)
        d["new"] = d["a"] * 0.1
    return d["a"] + len(d)


PROGRAMS = [
    setter_that_is_no_inverse,
    setattr_in_a_branch,
    delattr_in_both_branches,
    a_key_that_the_first_iteration_makes,
]


@pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)
def test_values_and_derivatives(fun: Any) -> None:
    for x in (0.25, 0.75):
        for n in (1, 3, 12):
            np.testing.assert_allclose(jg.jit(fun)(x, n), fun(x, n), rtol=1e-12)
            difference = (fun(x + 1e-6, n) - fun(x - 1e-6, n)) / 2e-6
            np.testing.assert_allclose(jg.grad(fun)(x, n), difference, atol=1e-6)


def key_of_one_branch(x: Any, n: int) -> Any:
    d = {"a": x}
    if x > 0:
        d["new"] = x
    return d.get("new", 5.0)


def key_of_a_loop_that_may_not_run(x: Any, n: int) -> Any:
    d = {"a": x}
    for _ in range(n):
        d["new"] = x
    return d.get("new", 5.0)


@pytest.mark.parametrize("fun", [key_of_one_branch, key_of_a_loop_that_may_not_run], ids=lambda f: f.__name__)
def test_a_key_that_there_may_be_is_refused(fun: Any) -> None:
    with pytest.raises(CarryError, match="key 'new'"):
        jg.jit(fun)(-1.0, np.array(0))
