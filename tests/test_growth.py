"""What the compiler does for a straight-line program grows with its length, and not faster."""

from __future__ import annotations

import collections
import gc
import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config


def scalars(n: int) -> Any:
    def f(x):
        y = [x[0], x[1]]
        for k in range(n):
            y.append(y[-1] * 0.5 + np.maximum(y[-2], 0.1 * k))
        return y[-1]

    return f


def stores(n: int) -> Any:
    def f(x):
        a = np.zeros(8)
        for k in range(n):
            a[k % 8] = a[(k + 3) % 8] * x[k % 8] + 1.0
        return np.sum(a)

    return f


def calls(fun: Any) -> collections.Counter[str]:
    """How often functions of each of jitgrad's files are called when the gradient is compiled."""
    found: collections.Counter[str] = collections.Counter()

    def count(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and "jitgrad" in frame.f_code.co_filename:
            found[frame.f_code.co_filename] += 1

    compiled = jg.jit(jg.grad(fun), loops="unroll")
    sys.setprofile(count)
    try:
        compiled(np.linspace(0.0, 1.0, 8))
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("program", [scalars, stores])
def test_calls_grow_with_the_program(program: Any) -> None:
    with config.using(cache=False, verify=False):
        short, long = calls(program(50)), calls(program(150))
    assert sum(long.values()) > 2 * sum(short.values())
    faster = {name: (short[name], n) for name, n in long.items() if n > 3.5 * max(short[name], 1000)}
    assert not faster


def test_the_garbage_collector_is_left_as_it_was() -> None:
    def fails(x):
        raise KeyError("while it is traced")

    seen = []
    before = gc.get_threshold()
    with pytest.raises(KeyError):
        jg.jit(fails)(1.0)
    assert gc.get_threshold() == before
    gc.set_threshold(0)
    try:
        jg.jit(lambda x: seen.append(gc.get_threshold()[0]) or x)(1.0)
        assert gc.get_threshold()[0] == seen[0] == 0
    finally:
        gc.set_threshold(*before)
