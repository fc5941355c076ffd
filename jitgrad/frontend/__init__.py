"""Tracing: from Python functions to graphs.

Importing the package fills the table of NumPy functions (``registry.FUNCTIONS``) and loads the ops.
"""

import jitgrad.ops  # noqa: F401  # the op table, which the tracer emits into
from jitgrad.frontend import (  # noqa: F401
    buckets,
    complex_functions,
    complex_linalg,
    functions_bits,
    functions_count,
    functions_creation,
    functions_edit,
    functions_eigen,
    functions_expm,
    functions_factors,
    functions_fourier,
    functions_index,
    functions_join,
    functions_kind,
    functions_linalg,
    functions_numeric,
    functions_order,
    functions_poly,
    functions_quantiles,
    functions_reduce,
    functions_scipy_linalg,
    functions_scipy_matrices,
    functions_select,
    functions_sets,
    functions_shape,
    functions_special,
    functions_special_ufuncs,
    functions_write,
    keyed_calls,
    ufunc_methods,
    ufunc_numbers,
    ufuncs,
)
