"""The parts of SciPy that take traced values: ``from jitgrad.scipy import special, linalg, stats``.

``special``: the ufuncs erf, erfc, expit, logit, xlogy, gammaln, ... (which dispatch by themselves), logsumexp, softmax,
log_softmax. ``linalg``: solve_triangular, solve, cholesky, cho_factor, cho_solve, inv, det, norm. ``stats``: densities
and distribution functions. All other names are SciPy's own.
"""

from __future__ import annotations

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


def __getattr__(name: str) -> Any:
    if name == "stats":  # it takes long to import
        from jitgrad.frontend.functions_stats import stats

        return stats
    return getattr(_scipy, name)


def __dir__() -> list[str]:
    return sorted({*dir(_scipy), *__all__})
