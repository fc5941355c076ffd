"""Small factorizations run on one BLAS thread, and the number of threads is what it was afterwards."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import scipy.linalg._fblas as fblas
from threads import in_threads

from jitgrad.codegen import blas_threads
from jitgrad.compiler import compile_graph
from jitgrad.ir.parser import parse

pytestmark = pytest.mark.skipif(not blas_threads.available(), reason="SciPy's BLAS is not OpenBLAS")


def count() -> int:
    setter = ctypes.CDLL(fblas.__file__).openblas_set_num_threads_local
    now = setter(1)
    setter(now)
    return now


def factorization(n: int):
    text = f"""graph f(%x: f64[{n},{n}]) {{
      %0: f64[{n},{n}] = cholesky(%x)
      return %0
    }}"""
    return compile_graph(parse(text))


def test_only_small_factorizations_pass_the_gate():
    assert "jitgrad_blas_set_threads" in factorization(40).llvm()
    assert "jitgrad_blas_set_threads" not in factorization(250).llvm()


def test_the_number_of_threads_is_set_back():
    small, before = factorization(40), count()
    x = np.eye(40)

    def work(_: int) -> None:
        for _ in range(300):
            small(x)

    in_threads(work)
    assert count() == before
    assert list(blas_threads._gate[:2]) == [0, 0]
