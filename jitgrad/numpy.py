"""NumPy's namespace for traced programs: ``import jitgrad.numpy as np``.

Every name of NumPy is here. With plain arrays each function is NumPy's own; with traced values the functions that
NumPy's protocols can't route work as well: ``np.array([x, y])`` of traced x and y, ``np.asarray``, ``np.full`` with a
traced value, lists with traced values in them as operands. Two functions are added: :func:`set_at` and :func:`add_at`,
the functional forms of ``x[index] = v`` and ``x[index] += v``.

Functions decorated by jitgrad may use ``import numpy as np`` instead: capture substitutes this namespace.
"""

from __future__ import annotations

from typing import Any

import numpy as _numpy

from jitgrad import frontend as _frontend  # fills the table of handlers
from jitgrad.frontend.assign import add_at, set_at
from jitgrad.frontend.functions_creation import fromiter
from jitgrad.frontend.joiners import c_, r_
from jitgrad.frontend.namespace import Mirror as _Mirror
from jitgrad.frontend.namespace import stand_in as _stand_in
from jitgrad.frontend.randomness import FUNCTIONS as _RANDOM
from jitgrad.frontend.vectorized import Vectorized as vectorize
from jitgrad.frontend.vectorized import frompyfunc

linalg = _Mirror(_numpy.linalg, "jitgrad.numpy.linalg", {}, {})
_stride_tricks = _Mirror(_numpy.lib.stride_tricks, "jitgrad.numpy.lib.stride_tricks", {}, {})
lib = _Mirror(_numpy.lib, "jitgrad.numpy.lib", {"stride_tricks": _stride_tricks}, {})
fft = _Mirror(_numpy.fft, "jitgrad.numpy.fft", {}, {})
random = _Mirror(_numpy.random, "jitgrad.numpy.random", {}, dict(_RANDOM))

__all__ = ["add_at", "c_", "fft", "fromiter", "frompyfunc", "lib", "linalg", "r_", "random", "set_at", "vectorize"]
_modules = (_frontend,)


def __getattr__(name: str) -> Any:
    if name == "polynomial":  # loaded when a program uses it
        from jitgrad.frontend import functions_polynomials

        value = functions_polynomials.stand_in(_numpy.polynomial)
    else:
        value = _stand_in(getattr(_numpy, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*dir(_numpy), "add_at", "set_at"})
