"""Random trees as arguments, by position and by name, and as results; gradients are trees like their arguments."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from random_trees import Pair, leaves, mapped, random_tree, shape_of

import jitgrad as jg


def fun(a: Any, b: Any = 1.5, *rest: Any, key: Any = None, **others: Any) -> Any:
    total = 0.0
    for x in leaves((a, b, rest, key, others)):
        total = total + np.sum(np.sin(x))
    return total, mapped(lambda x: x * 2, Pair([a, key], {"others": others, "rest": rest}))


def check_same(found: Any, expected: Any, what: str) -> None:
    """Structures, values, dtypes and shapes."""
    assert shape_of(found) == shape_of(expected), what
    for x, y in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, err_msg=what)
        assert np.asarray(x).dtype == np.asarray(y).dtype and np.shape(x) == np.shape(y), what


def check(seed: int) -> bool:
    """Do values and gradients agree? False where there is nothing to differentiate."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    a, b, c, d = (random_tree(draw, rng) for _ in range(4))
    args, kwargs = draw.choice(
        [((a,), {}), ((a, b), {}), ((a, b, c), {"key": d}), ((a,), {"key": d, "extra": c}), ((a,), {"b": b})]
    )
    what = f"seed {seed}: {args}, {kwargs}"
    expected = fun(*args, **kwargs)
    check_same(jg.jit(fun)(*args, **kwargs), expected, what)
    if not leaves(a):
        return False
    (value, results), gradient = jg.value_and_grad(fun, has_aux=True)(*args, **kwargs)
    check_same((value, results), expected, what)
    check_same(gradient, mapped(np.cos, a), what)
    return True


def test_random_trees() -> None:
    assert sum(map(check, range(25))) > 12


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 3000, 200))
def test_many_random_trees(start: int) -> None:
    assert sum(map(check, range(start, start + 200))) > 100
