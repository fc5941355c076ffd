"""Exact functions of mpmath and arguments for the tests of expanded functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

EXACT: dict[str, Callable[..., Any]] = {
    **{n: getattr(mpmath, n) for n in ("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{n: getattr(mpmath, n) for n in ("power", "erf")},
    "erfc": lambda x: mpmath.erfc(x) if abs(x) < 1000 else mpmath.mpf(0 if x > 0 else 2),
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "log10": mpmath.log10,
    "arcsin": mpmath.asin,
    "arccos": mpmath.acos,
    "arctan": mpmath.atan,
    "arctan2": mpmath.atan2,
    "arcsinh": mpmath.asinh,
    "arccosh": mpmath.acosh,
    "arctanh": mpmath.atanh,
    "hypot": lambda x, y: mpmath.sqrt(x * x + y * y),
    "gammaln": lambda x: mpmath.loggamma(x).real,
    "expit": lambda x: 1 / (1 + mpmath.exp(-x)),
}
#: Where functions are not defined on the whole line.
_DOMAINS = {
    "log": (0, np.inf), "log2": (0, np.inf), "log10": (0, np.inf), "log1p": (-1, np.inf), "arccosh": (1, np.inf),
    "arcsin": (-1, 1), "arccos": (-1, 1), "arctanh": (-1, 1), "gammaln": (0, np.inf),
}  # fmt: skip
_SPECIAL = [
    0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 10.0, 1e-310, -1e-310, 5e-324,
    1e-40, -1e-40, 1e-45, 88.7, 88.73, -87.4, -103.9, -104.0, 709.78, 709.79, -745.0, -746.0, 710.4, 710.5, 89.4, 89.5,
    1e30, -1e30, 1e300, -1e300, 3e38, 1.7e308, 127.0, 128.0, -149.0, -150.0, 1023.0, 1024.0, -1074.0, -1075.0,
]  # fmt: skip


def special(name: str, dtype: Any) -> list[np.ndarray]:
    """Special values and thresholds; all pairs of them for a function of two arguments."""
    with np.errstate(all="ignore"):
        x = np.array(_SPECIAL).astype(dtype)
    if name in ("power", "arctan2", "hypot"):
        return [g.ravel() for g in np.meshgrid(x, x)]
    return [x]


def arguments(name: str, dtype: Any) -> list[np.ndarray]:
    """Finite arguments inside the domain, over the whole range and where the function has features."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    lo, hi = np.log(float(info.smallest_subnormal)), np.log(float(info.max))
    parts = [
        rng.uniform(-1, 1, 60), rng.uniform(-10, 10, 60), rng.uniform(-100, 100, 60), rng.uniform(-750, 750, 40),
        np.exp(rng.uniform(lo, hi, 120)) * rng.choice([-1, 1], 120), np.arange(1, 30) * np.pi / 4,
        1 + np.exp(rng.uniform(-36, 0, 60)) * rng.choice([-1, 1], 60),
    ]  # fmt: skip
    x = np.concatenate(parts).astype(dtype)
    x = rng.permutation(x[np.isfinite(x)])
    if name == "power":
        x = np.abs(x[x != 0])
        with np.errstate(all="ignore"):
            y = (rng.uniform(-1, 1, x.size) * hi / np.abs(np.log(x.astype(float)))).astype(dtype)
        fine = np.isfinite(y)
        return [x[fine], y[fine]]
    if name in ("arctan2", "hypot"):
        y = (x / 4 * rng.uniform(-3, 3, x.size)).astype(dtype)
        return [x, np.where(np.arange(x.size) % 3 == 0, rng.permutation(y), y)]
    low, high = _DOMAINS.get(name, (-np.inf, np.inf))
    return [x[(x > low) & (x < high)]]
