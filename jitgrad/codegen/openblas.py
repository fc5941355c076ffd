"""SciPy's BLAS and LAPACK, imported so that OpenBLAS uses all of the processor.

OpenBLAS chooses its kernels when it is loaded. The one in SciPy's wheels (0.3.31) does not know AMD's Zen 5, and takes
its kernels for AVX2 there: ``eigh`` of a matrix of 1000x1000 took 186 ms on one core and 114 ms with those for AVX-512,
``svd`` 528 and 351, ``cholesky`` 9.7 and 8.2. ``OPENBLAS_CORETYPE`` names the ones to take. It is set here while the
library is loaded, unless the user has set it, or has loaded the library before.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from llvmlite import binding

_VARIABLE, _MODULE = "OPENBLAS_CORETYPE", "scipy.linalg._fblas"
#: Processors that OpenBLAS takes for lesser ones, in LLVM's names, and the kernels that suit them, in OpenBLAS's.
KERNELS = {"znver4": "SkylakeX", "znver5": "SkylakeX"}


def _load() -> Any:
    wanted = KERNELS.get(binding.get_host_cpu_name())
    if wanted is None or _VARIABLE in os.environ or _MODULE in sys.modules:
        return importlib.import_module(_MODULE)
    os.environ[_VARIABLE] = wanted
    try:
        return importlib.import_module(_MODULE)
    finally:
        del os.environ[_VARIABLE]


fblas = _load()
