"""What a traced function's globals are replaced with, so that it can be written with plain NumPy and SciPy.

Modules become their mirrors; functions that NumPy's protocols can't route (``from numpy import zeros``,
``from scipy.linalg import solve_triangular``) become the wrapped ones. Everything else stays.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import scipy
import scipy.linalg
import scipy.special

from jitgrad.frontend.registry import ADVICE, FUNCTIONS


@functools.cache
def table() -> dict[int, tuple[Any, Any]]:
    """``id(original) -> (original, replacement)``. The original is kept, so that its id stays its own."""
    import jitgrad.numpy as jnp  # here, because that module imports this package
    import jitgrad.scipy as jsp
    from jitgrad.frontend.namespace import stand_in

    modules = [
        (np, jnp), (np.linalg, jnp.linalg), (np.lib, jnp.lib), (np.lib.stride_tricks, jnp.lib.stride_tricks),
        (np.fft, jnp.fft), (scipy, jsp), (scipy.linalg, jsp.linalg), (scipy.special, jsp.special),
    ]  # fmt: skip
    pairs: list[tuple[Any, Any]] = list(modules)
    pairs += [(f, stand_in(f)) for f in (*FUNCTIONS, *ADVICE)]
    return {id(a): (a, b) for a, b in pairs}


def substitute(obj: Any) -> Any:
    """The replacement of a module or function, or the object itself."""
    found = table().get(id(obj))
    return found[1] if found is not None and found[0] is obj else obj
