"""What a traced function's globals are replaced with, so that it can be written with plain NumPy and SciPy.

Modules become their mirrors; functions that NumPy's protocols can't route (``from numpy import zeros``,
``from scipy.linalg import solve_triangular``) become the wrapped ones. Everything else stays.

Not imported by ``jitgrad.frontend`` itself: ``jitgrad.numpy`` imports that package.
"""

from __future__ import annotations

import bisect
import cmath
import functools
import heapq
import importlib
import math
import random
import types
from typing import Any

import numpy as np
import scipy
import scipy.linalg
import scipy.special

import jitgrad.numpy as jnp
import jitgrad.scipy as jsp
from jitgrad.frontend.bisections import BISECT, BISECT_FUNCTIONS
from jitgrad.frontend.complex_python import CMATH, CMATH_FUNCTIONS
from jitgrad.frontend.heaps import HEAPQ, HEAPQ_FUNCTIONS
from jitgrad.frontend.iterators import FUNCTOOLS, FUNCTOOLS_FUNCTIONS
from jitgrad.frontend.namespace import Mirror, stand_in, tried
from jitgrad.frontend.python_math import MATH, MATH_FUNCTIONS
from jitgrad.frontend.randomness import FUNCTIONS as RANDOM
from jitgrad.frontend.randomness import PYTHON_FUNCTIONS, is_generator, passed
from jitgrad.frontend.randomness import stand_in as generator_stand_in
from jitgrad.frontend.registry import ADVICE, FUNCTIONS

#: Module or function -> its replacement in traced functions. Those with handlers are not listed: they are wrapped when
#: they are met.
TABLE: dict[Any, Any] = {
    np: jnp,
    np.linalg: jnp.linalg,
    np.lib: jnp.lib,
    np.lib.stride_tricks: jnp.lib.stride_tricks,
    np.fft: jnp.fft,
    np.random: jnp.random,
    np.r_: jnp.r_,
    np.c_: jnp.c_,
    np.vectorize: jnp.vectorize,
    np.frompyfunc: jnp.frompyfunc,
    np.fromiter: jnp.fromiter,
    math: MATH,
    **MATH_FUNCTIONS,
    heapq: HEAPQ,
    **HEAPQ_FUNCTIONS,
    functools: FUNCTOOLS,
    **FUNCTOOLS_FUNCTIONS,
    bisect: BISECT,
    **BISECT_FUNCTIONS,
    cmath: CMATH,
    **CMATH_FUNCTIONS,
    scipy: jsp,
    scipy.linalg: jsp.linalg,
    scipy.special: jsp.special,
    **{getattr(np.random, name): function for name, function in RANDOM.items()},
    random: Mirror(random, "random", {}, dict(PYTHON_FUNCTIONS)),
    **{getattr(random, name): function for name, function in PYTHON_FUNCTIONS.items()},
}

_BY_ID = {id(original): ours for original, ours in TABLE.items()}
_WITH_HANDLERS = frozenset(map(id, (*FUNCTIONS, *ADVICE)))
#: Parts of NumPy and SciPy that take long to load, and what sees to them once a program uses one: by name, as solvers
#: are above the transformations.
LATER = {
    "numpy.polynomial": "jitgrad.frontend.functions_polynomials",
    "scipy.cluster": "jitgrad.frontend.functions_cluster",
    "scipy.fft": "jitgrad.frontend.functions_fourier_scipy",
    "scipy.fftpack": "jitgrad.frontend.functions_fftpack",
    "scipy.integrate": "jitgrad.solvers.integrate",
    "scipy.interpolate": "jitgrad.frontend.functions_interpolate",
    "scipy.ndimage": "jitgrad.frontend.functions_ndimage",
    "scipy.optimize": "jitgrad.solvers.optimize",
    "scipy.signal": "jitgrad.frontend.functions_signal",
    "scipy.spatial": "jitgrad.frontend.functions_spatial",
    "scipy.stats": "jitgrad.frontend.functions_stats",
}


def replacement(value: Any) -> Any:
    """Our module, function or object for one of NumPy or SciPy; None for anything else."""
    if is_generator(value):
        return generator_stand_in(value)
    if isinstance(value, (types.BuiltinMethodType, types.MethodType)) and is_generator(value.__self__):
        found = passed(value)
        return None if found is value else found
    if type(value) is np.vectorize:
        return jnp.vectorize.of(value)
    found = _BY_ID.get(id(value))
    if found is None and id(value) in _WITH_HANDLERS:
        return stand_in(value)
    if found is not None:
        return found
    part = _part(value)
    if part in LATER:
        found = importlib.import_module(LATER[part]).stand_in(value)
    if found is None and isinstance(value, types.FunctionType) and part.startswith("scipy."):
        return tried(value)
    return found


def _part(value: Any) -> str:
    """The part of a package that a module, function or object is from: ``scipy.stats``."""
    if isinstance(value, types.ModuleType):
        name = value.__name__
        return "numpy.polynomial" if name.startswith("numpy.polynomial.") else name
    # Of a function its own; the functions of scipy.fft are objects that have one too. Of any other object its class's.
    module = getattr(value, "__module__", None)
    return ".".join(str(module).split(".")[:2])
