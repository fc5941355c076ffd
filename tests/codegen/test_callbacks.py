"""Calls from compiled programs back into Python, where they fail."""

from __future__ import annotations

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.codegen import callbacks

FOLDER = str(Path(callbacks.__file__).parent)


def test_frames_of_an_error_hold_no_arrays_of_the_program():
    """They would lie in memory that is given back."""
    f = jg.jit(lambda g, rate, x: x + g.poisson(rate * x))
    x = np.full(1000, -1.0)
    with pytest.raises(ValueError, match="lam < 0") as caught:
        f(np.random.default_rng(0), 2.0, x)
    inside = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__) if FOLDER in frame.f_code.co_filename]
    assert len(inside) >= 2
    held = [v for frame in inside for v in frame.f_locals.values()]
    assert not any(isinstance(v, (np.ndarray, list, tuple)) for v in held)


def test_an_action_that_could_not_be_made_is_made_by_the_next_call(monkeypatch):
    f = jg.jit(lambda g, x: x + g.beta(2.125, 3.0625))  # no other program draws so
    make = callbacks._MAKERS["number"]

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    for what in (lambda g: f(g, 1.0), lambda g: f(g, 2.0)):
        monkeypatch.setitem(callbacks._MAKERS, "number", interrupted)
        with pytest.raises(KeyboardInterrupt):
            what(np.random.default_rng(0))
    monkeypatch.setitem(callbacks._MAKERS, "number", make)
    assert f(np.random.default_rng(0), 1.0) == 1.0 + np.random.default_rng(0).beta(2.125, 3.0625)


def test_threads_that_ask_at_once_get_numbers_of_their_own():
    """Two programs do not get each other's actions, and equal descriptions are one."""
    numbers, asked = callbacks._Numbers(), threading.Barrier(8)
    texts = [f'["draw", {{"method": "random", "args": [["size", [{k}]]]}}, [["<f8", [{k}]]], []]' for k in range(1, 5)]

    def ask(k):
        asked.wait()
        return numbers.number(texts[k % 4].encode())

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert found[:4] == found[4:] and len(set(found)) == 4
    for k, number in enumerate(found[:4], 1):
        (array,) = callbacks._actions[number].arrays  # pyright: ignore[reportAttributeAccessIssue]
        assert array[0] == (k,)
