"""Settings count for functions that are compiled already."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.config import _from_environment
from jitgrad.errors import ArgumentError


@pytest.mark.parametrize(("setting", "value"), [("parallel", False), ("unroll_limit", 50), ("check_bounds", False)])
def test_a_setting_counts_for_functions_that_are_compiled_already(setting, value):
    @jg.jit
    def fun(x):
        total = 0.0
        for i in range(20):
            total = total + x[i] * i
        return total

    x = np.ones(20)
    before = fun(x), fun.cache_info().compilations
    with jg.config.using(**{setting: value}):
        assert (fun(x), fun.cache_info().compilations) == (before[0], before[1] + 1)
    assert (fun(x), fun.cache_info().compilations) == (before[0], before[1] + 1)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("backend", "c"),
        ("target", "tpu"),
        ("cuda_driver", "none"),
        ("unroll_limit", -1),
        ("unroll_limit", "8"),
        ("parallel", "no"),
        ("cache_dir", 3),
    ],
)
def test_a_value_that_a_setting_does_not_take(setting, value):
    before = jg.config.current()
    with pytest.raises(ArgumentError, match=f"{setting} can't be {value!r}"):
        jg.config.update(**{setting: value})
    assert jg.config.current() is before


def test_a_directory_may_be_a_path(tmp_path):
    with jg.config.using(cache_dir=tmp_path) as settings:
        assert settings.cache_dir == str(tmp_path)


def test_settings_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("JITGRAD_UNROLL_LIMIT", "12")
    monkeypatch.setenv("JITGRAD_POOL", "0")
    monkeypatch.setenv("JITGRAD_BACKEND", "python")
    found = _from_environment()
    assert (found.unroll_limit, found.pool, found.backend) == (12, False, "python")
    monkeypatch.setenv("JITGRAD_UNROLL_LIMIT", "many")
    with pytest.raises(ArgumentError, match="JITGRAD_UNROLL_LIMIT can't be 'many'"):
        _from_environment()
