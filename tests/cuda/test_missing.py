"""What is said where Numba's CUDA compiler, or a part of it, is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from jitgrad import config
from jitgrad.cuda import compiler, namespace
from jitgrad.errors import CompilationError


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """It is not known yet what there is."""
    caches = (namespace.numba_cuda, compiler._versions)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def compile_one() -> None:
    compiler.compile_kernels("def k(x):\n    x[0] = x[1]\n", {"k": (np.dtype("f4"),)}, "sm_80")


def test_without_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    with pytest.raises(CompilationError, match=r'pip install "jitgrad\[cuda\]"'):
        compile_one()


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba_cuda", reason="this is about what numba-cuda needs")
    from cuda.bindings import nvjitlink  # pyright: ignore

    def missing() -> None:
        raise RuntimeError("libnvJitLink.so is not found.\nIt was sought in many places.")

    monkeypatch.setattr(nvjitlink, "version", missing)
    with pytest.raises(CompilationError, match=r"CUDA \(libnvJitLink\.so is not found\)"):
        compile_one()


def test_a_toolkit_that_is_no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba_cuda", reason="this is about what numba-cuda needs")
    monkeypatch.setattr(compiler, "_NVVM", ("no-such-distribution",))
    assert any(version.startswith("NVVM") for version in compiler._versions())


def test_the_cache_does_without_numba_cuda_too(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """With the cache on, the versions are asked for first."""
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    monkeypatch.setattr(compiler, "_COMPILERS", ("no-such-distribution",))
    with (
        config.using(cache=True, cache_dir=str(tmp_path)),
        pytest.raises(CompilationError, match="can't be compiled for CUDA"),
    ):
        compile_one()
