"""Functions that assign ``global`` names, called in branches and loops of traced functions: what recorded code can't do
is refused, and changes nothing."""

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import RollError

calls = 0
table = None


def count():
    global calls
    calls += 1
    return calls


def lazily():
    global table
    if table is None:
        table = np.arange(3.0)
    return table


@pytest.fixture(autouse=True)
def reset():
    global calls, table
    calls, table = 0, None


def in_a_branch(x):
    if x > 0:
        count()
    return x * 2


def in_a_loop(x, n):
    for _ in range(n):
        x = np.sin(x) + count()
    return x


def in_an_expression(x):
    return count() if x > 0 else 0.0


def in_a_while(x):
    while x < 10:
        x = x + count()
    return x


@pytest.mark.parametrize("fun", [in_a_branch, in_an_expression, in_a_while])
def test_refused(fun):
    for x in (0.5, -0.5):
        with pytest.raises(RollError, match=r"count assigns the global variable 'calls' in .*nonlocal") as caught:
            jg.jit(fun)(x)
        assert "test_global_variables.py" in str(caught.value)
        assert calls == 0


def test_a_loop_of_known_length_is_unrolled():
    global calls
    expected = in_a_loop(0.5, 20)
    calls = 0
    f = jg.jit(in_a_loop, static_argnames="n")
    assert f(0.5, 20) == pytest.approx(expected, rel=1e-14)
    assert calls == 20
    assert "unrolled" in f.explain(0.5, 20)


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(RollError, match="assigns the global variable 'calls'"):
        jg.jit(in_a_loop)(0.5, np.array(20))
    assert calls == 0


def test_outside_of_branches_it_runs():
    def f(x):
        count()
        return x * calls

    assert jg.jit(f)(2.0) == 2.0
    assert calls == 1


def test_what_is_made_once_is_kept():
    def f(x):
        if x > 0:
            return np.sum(lazily() * x)
        return x

    assert jg.jit(f)(2.0) == 6.0
    assert jg.grad(f)(2.0) == 3.0
    np.testing.assert_array_equal(table, np.arange(3.0))
