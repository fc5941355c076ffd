"""Eigenvalues of general matrices on traced values: ``eig``, ``eigvals`` and ``np.roots``.

In NumPy the values decide the dtype: real where all eigenvalues are, else complex. A program has one, so it is traced
for real ones first, with a check. Where that fails it is traced once more, for complex ones (``jitgrad.guesses``), and
:func:`complex_values` is around that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import scipy.linalg as spl

from jitgrad.errors import NotRealError, ShapeError, UnsupportedError
from jitgrad.frontend.complex_tracer import make
from jitgrad.frontend.functions_kind import zeros_like
from jitgrad.frontend.functions_linalg import square_matrix
from jitgrad.frontend.functions_reduce import all_
from jitgrad.frontend.primitives import cast, concatenate, emit_all, insert_axes, lift, matrix_floats
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import implements, unsupported_argument
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64

_COMPLEX: ContextVar[bool] = ContextVar("complex eigenvalues", default=False)


@contextlib.contextmanager
def complex_values() -> Iterator[None]:
    """What is traced inside has complex eigenvalues."""
    token = _COMPLEX.set(True)
    try:
        yield
    finally:
        _COMPLEX.reset(token)


def _demand_finite(m: Tracer, error: Exception) -> None:
    demand(all_(call_ufunc(np.isfinite, m)), error)


def _matrix(function: str, a: ArrayLike) -> Tracer:
    (m,) = square_matrix(function, a)
    _demand_finite(m, np.linalg.LinAlgError("Array must not contain infs or NaNs"))
    return m


def _are_real(function: str, m: Tracer, imaginary: Tracer) -> bool:
    """Are the eigenvalues of the program real? Then it ends where one is not."""
    if m.count == 0:
        return True
    if _COMPLEX.get():
        return False
    error = NotRealError(
        f"{function} found eigenvalues that are not real. In NumPy their dtype depends on their values; the program is "
        "made for real ones, and it can't be run again for complex ones, as it prints or draws random numbers. Do "
        "that outside of the compiled function.",
        user_location(),
    )
    demand(all_(call_ufunc(np.equal, imaginary, 0)), error)
    return True


@implements(np.linalg.eig)
def eig(a: ArrayLike) -> Any:
    """Computed in float64, as NumPy does it: the signs of the vectors are those of that computation."""
    w, v = _values_and_vectors("np.linalg.eig", _matrix("np.linalg.eig", a), f64)
    kind: Any = type(np.linalg.eig(np.eye(1)))  # the named tuple is not public
    return kind(w, v)


def _values_and_vectors(function: str, m: Tracer, dtype: np.dtype) -> tuple[Any, Any]:
    """Computed in a dtype, in that of the matrix."""
    found = emit_all("eig", cast(m, dtype), real=not _COMPLEX.get())
    wr, wi, vr, vi = (cast(x, m.dtype) for x in found)
    return (wr, vr) if _are_real(function, m, wi) else (make(wr, wi), make(vr, vi))


@implements(np.linalg.eigvals)
def eigvals(a: ArrayLike) -> Any:
    return _values("np.linalg.eigvals", _matrix("np.linalg.eigvals", a))


def _values(function: str, m: Tracer) -> Any:
    return _values_and_vectors(function, m, f64)[0]


@implements(np.roots)
def roots(p: ArrayLike) -> Any:
    """The eigenvalues of the companion matrix (R. A. Horn, C. R. Johnson, Matrix Analysis, section 3.3). Roots that are
    0 may stand elsewhere than in NumPy, which puts them last."""
    (c,) = matrix_floats("np.roots", p)
    if c.ndim != 1:
        raise ShapeError(
            f"np.roots of an array of shape {c.dims}. It takes the coefficients of one polynomial. Pass a vector.",
            user_location(),
        )
    n = c.dims[0]
    if not isinstance(n, int):
        raise UnsupportedError(
            f"np.roots of {n} coefficients, a number that depends on traced values. Eigenvalues are compiled for one "
            "shape. Pad the coefficients with zeros at the end: each adds a root that is 0.",
            user_location(),
        )
    if n < 2:
        return c[:0]
    first = UnsupportedError(
        "np.roots of traced coefficients of which the first is 0. NumPy drops it, and finds fewer roots, but how many "
        "there are is part of the program. Leave leading zeros out.",
        user_location(),
    )
    demand(call_ufunc(np.not_equal, c[0], 0), first)
    row = insert_axes(-c[1:] / c[0], [0])
    m = concatenate(lift(row, np.eye(n - 2, n - 1, dtype=c.dtype)), 0)
    _demand_finite(m, np.linalg.LinAlgError("Array must not contain infs or NaNs"))
    return _values("np.roots", m)


# -- SciPy -------------------------------------------------------------------------------------------------------------


@implements(spl.eig)
def scipy_eig(
    a: ArrayLike, b: Any = None, left: bool = False, right: bool = True, overwrite_a: bool = False,
    overwrite_b: bool = False, check_finite: bool = True, homogeneous_eigvals: bool = False,
) -> Any:  # fmt: skip
    """The eigenvalues are complex in any case, the vectors where one of those is not real."""
    for name, value in (("b", b is not None), ("left", left), ("homogeneous_eigvals", homogeneous_eigvals)):
        if value:
            raise unsupported_argument("scipy.linalg.eig", name)
    m = _scipy_matrix("scipy.linalg.eig", a)
    if not right:
        return _scipy_values(m)
    w, v = _values_and_vectors("scipy.linalg.eig", m, m.dtype)
    return (make(w, zeros_like(w)) if isinstance(w, Tracer) else w), v


@implements(spl.eigvals)
def scipy_eigvals(
    a: ArrayLike, b: Any = None, overwrite_a: bool = False, check_finite: bool = True, homogeneous_eigvals: bool = False
) -> Any:
    return scipy_eig(a, b, right=False, homogeneous_eigvals=homogeneous_eigvals)


def _scipy_matrix(function: str, a: ArrayLike) -> Tracer:
    (m,) = square_matrix(function, a)
    _demand_finite(m, ValueError("array must not contain infs or NaNs"))
    return m


def _scipy_values(m: Tracer) -> Any:
    wr, wi, _, _ = emit_all("eig", m, real=False)
    return make(wr, wi)
