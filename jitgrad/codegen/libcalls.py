"""The table of library functions that Loop IR may call.

A function has two forms. ``python(outs, ins, **static)`` works on contiguous NumPy arrays, writes ``outs`` in place and
returns a status. ``emit(builder, outs, ins, static, out_buffers, in_buffers)`` writes LLVM at the builder's position:
``outs`` and ``ins`` are typed element pointers (``double*``, ``i64*``, ``i8*`` for bool) to contiguous row-major
storage, ``static`` is a dict, and the buffers give dtypes and shapes. It returns the status as an i64, or None where
the call can't fail.

A nonzero status is a key of ``jitgrad.loopir.failures.FAILURES``. An array that a function updates is given both in
``outs`` and in ``ins``; the emitted code may be handed the same pointer twice then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jitgrad.codegen import (
    drawing,
    fourier,
    gemm,
    lapack,
    lapack_complex,
    lapack_general,
    lapack_orthogonal,
    printing,
    rowsort,
)
from jitgrad.codegen.externs import register_symbols
from jitgrad.errors import CompilationError

__all__ = ["LIBRARY", "LibFn", "get", "register_symbols"]


class LibFn(NamedTuple):
    """The two forms of a library function; see the module's docstring. ``work(**static)`` is about how many
    multiply-adds BLAS does for one matrix of a stack; None for a function that calls no BLAS."""

    python: Callable[..., int]
    emit: Callable[..., Any]
    work: Callable[..., int] | None = None


def _factorization(*, n: int, **_: Any) -> int:
    return n**3 // 3


def _eigenvectors(*, n: int, vectors: bool, **_: Any) -> int:
    return 9 * n**3 if vectors else 2 * n**3 // 3


def _complex_factorization(*, n: int, **_: Any) -> int:
    return 4 * n**3 // 3


def _complex_eigenvectors(*, n: int, **_: Any) -> int:
    return 36 * n**3


def _general_eigenvectors(*, n: int, vectors: bool, **_: Any) -> int:
    return (25 if vectors else 10) * n**3


def _orthogonal(*, m: int, n: int, **_: Any) -> int:
    return m * n * min(m, n)


def _singular_vectors(*, m: int, n: int, job: str, **_: Any) -> int:
    return (2 if job == "N" else 11) * m * n * min(m, n)


def _banded(*, n: int, k: int, below: int, above: int, **_: Any) -> int:
    return n * (below + 2 * k) * (below + above + 1)


def _substitution(*, n: int, k: int, **_: Any) -> int:
    return n * n * k


#: Every library function by name.
LIBRARY: dict[str, LibFn] = {
    "gemm": LibFn(gemm.gemm_python, gemm.gemm_emit),
    "potrf": LibFn(lapack.potrf_python, lapack.potrf_emit, _factorization),
    "getrf": LibFn(lapack.getrf_python, lapack.getrf_emit, _factorization),
    "getrs": LibFn(lapack.getrs_python, lapack.getrs_emit, _substitution),
    "trtrs": LibFn(lapack.trtrs_python, lapack.trtrs_emit, _substitution),
    "getri": LibFn(lapack.getri_python, lapack.getri_emit, _factorization),
    "adjugate": LibFn(lapack.adjugate_python, lapack.adjugate_emit, _factorization),
    "syevd": LibFn(lapack.syevd_python, lapack.syevd_emit, _eigenvectors),
    "getrf_complex": LibFn(lapack_complex.getrf_python, lapack_complex.getrf_emit, _complex_factorization),
    "heevd": LibFn(lapack_complex.heevd_python, lapack_complex.heevd_emit, _complex_eigenvectors),
    "geev": LibFn(lapack_general.geev_python, lapack_general.geev_emit, _general_eigenvectors),
    "gbsv": LibFn(lapack.gbsv_python, lapack.gbsv_emit, _banded),
    "geqrf": LibFn(lapack_orthogonal.geqrf_python, lapack_orthogonal.geqrf_emit, _orthogonal),
    "orgqr": LibFn(lapack_orthogonal.orgqr_python, lapack_orthogonal.orgqr_emit, _orthogonal),
    "gesdd": LibFn(lapack_orthogonal.gesdd_python, lapack_orthogonal.gesdd_emit, _singular_vectors),
    "sort_rows": LibFn(rowsort.sort_rows_python, rowsort.sort_rows_emit),
    "show": LibFn(printing.show_python, printing.show_emit),
    **{name: LibFn(*forms) for name, forms in drawing.FUNCTIONS.items()},
    "argsort_rows": LibFn(rowsort.argsort_rows_python, rowsort.argsort_rows_emit),
    "fourier": LibFn(fourier.fourier_python, fourier.fourier_emit),
}


def get(name: str) -> LibFn:
    """A library function by name. Raises CompilationError for an unknown one."""
    if name not in LIBRARY:
        raise CompilationError(f"there is no library function named {name!r}. The known ones are {', '.join(LIBRARY)}.")
    return LIBRARY[name]
