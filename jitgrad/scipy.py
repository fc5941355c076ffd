"""The parts of SciPy that take traced values: ``from jitgrad.scipy import special, linalg, stats``.

``special``: the ufuncs erf, erfc, expit, logit, xlogy, gammaln, ... (which dispatch by themselves), logsumexp, softmax,
log_softmax. ``linalg``: solves, factorizations, expm, norms and matrices of a form. ``stats``: densities and
distribution functions. ``signal``, ``ndimage``, ``interpolate``, ``spatial`` and more are loaded when they are used.
All other names are SciPy's own.
"""

from __future__ import annotations

from types import ModuleType as _ModuleType
from typing import Any

import scipy as _scipy
import scipy.linalg as _linalg
import scipy.special as _special

from jitgrad import frontend as _frontend  # fills the table of handlers
from jitgrad.frontend.namespace import Mirror as _Mirror

linalg = _Mirror(_linalg, "jitgrad.scipy.linalg", {}, {})
special = _Mirror(_special, "jitgrad.scipy.special", {}, {})

__all__ = ["linalg", "special"]
_modules = (_frontend,)


class Part(_Mirror):
    """A part of SciPy, whose functions are replaced where there is something to replace them with."""

    def __getattr__(self, name: str) -> Any:
        self.__dict__[name] = found = _of(getattr(self.__dict__["_original"], name))
        return found


def _of(value: Any) -> Any:
    from jitgrad.frontend.substitute_table import replacement

    found = replacement(value)
    if found is None and isinstance(value, _ModuleType):
        return Part(value, f"jitgrad.{value.__name__}", {}, {})
    return value if found is None else found


def __getattr__(name: str) -> Any:
    globals()[name] = found = _of(getattr(_scipy, name))
    return found


def __dir__() -> list[str]:
    return sorted({*dir(_scipy), *__all__})
