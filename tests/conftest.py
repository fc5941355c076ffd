"""Settings of the whole suite: every graph and loop program is verified after every pass, and the cache on disk is off,
in the processes that tests start too."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jitgrad import config
from jitgrad.ir.core import OPS

# Test modules share helpers (`tests.fuzz`, ...) and the corpus of the benchmarks. At the end of the path, so that the
# installed package is the one that is tested.
sys.path.append(str(Path(__file__).resolve().parent.parent))

config.update(verify=True, cache=False)
os.environ["JITGRAD_CACHE"] = "0"

#: Objects that tests make before the garbage collector runs, and how many such runs until it looks through all of them.
_COLLECTED = (50_000, 10, 50)


def pytest_collection_finish() -> None:
    """Modules, and the tests themselves, are there to the end: not to look through them each time saves a twentieth of
    the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED)


@pytest.fixture(autouse=True, scope="module")
def memory_is_given_back() -> Iterator[None]:
    """JAX keeps what it has compiled, and glibc what its threads have freed: together half a gigabyte and more."""
    yield
    jax = sys.modules.get("jax")
    if jax is None:
        return
    jax.clear_caches()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@pytest.fixture
def empty_arrays_hold_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read before it was written shows."""

    def full(self: Any, *arrays: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.full(shape, np.nan if dtype.kind == "f" else 77, dtype)

    monkeypatch.setattr(type(OPS["empty"]), "eval", full)
