"""What is said where numba-cuda is not installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from jitgrad.cuda import compiler, namespace
from jitgrad.errors import CompilationError


def test_without_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    namespace.numba_cuda.cache_clear()
    try:
        with pytest.raises(CompilationError, match=r'pip install "jitgrad\[cuda\]"'):
            compiler.compile_kernels("def k(x):\n    x[0] = x[1]\n", {"k": (np.dtype("f4"),)}, "sm_80")
    finally:
        namespace.numba_cuda.cache_clear()
