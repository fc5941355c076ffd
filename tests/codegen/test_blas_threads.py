"""Small factorizations run on one BLAS thread, and the number of threads is what it was afterwards."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg._fblas as fblas
from llvmlite import binding
from threads import in_threads

from jitgrad.codegen import blas_threads, openblas
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


CORE = """
import ctypes, os
{first}
import jitgrad
from jitgrad.codegen.openblas import fblas
name = ctypes.CDLL(fblas.__file__).scipy_openblas_get_corename
name.restype = ctypes.c_char_p
print(name().decode(), os.environ.get("OPENBLAS_CORETYPE"))
"""


@pytest.mark.skipif(binding.get_host_cpu_name() not in openblas.KERNELS, reason="OpenBLAS knows this processor")
@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("", f"{openblas.KERNELS.get(binding.get_host_cpu_name())} None"),
        ("os.environ['OPENBLAS_CORETYPE'] = 'Haswell'", "Haswell Haswell"),
    ],
)
def test_the_kernels_of_a_processor_that_openblas_does_not_know(first: str, expected: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    command = [sys.executable, "-c", CORE.format(first=first)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
