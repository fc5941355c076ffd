"""cuSOLVER's orthogonal factorizations: QR, singular values and vectors, eigenvalues and eigenvectors of symmetric
matrices, for the library calls of :mod:`jitgrad.codegen.lapack_orthogonal` and ``syevd`` of
:mod:`jitgrad.codegen.lapack`.

As in ``solver`` there is a call for each matrix of a stack. Singular values are found by ``gesvd``, which takes
matrices of at least as many rows as columns, by columns: others are transposed before and their vectors after. Signs of
vectors are cuSOLVER's, not LAPACK's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.cuda.blas import LOWER, check
from jitgrad.cuda.driver import ALIGNMENT, Code, Stream, aligned
from jitgrad.cuda.solver import BLOCK, Solver

#: The library functions that are here.
CALLS = frozenset(("geqrf", "orgqr", "gesdd", "syevd"))
#: cuSOLVER's numbers for eigenvalues alone, and with vectors.
_VALUES, _VECTORS = 0, 1


def kernels(dtype: np.dtype) -> Code:
    """What the library lacks: transposed copies of one matrix, a thread for each element, and marking matrices that
    have a NaN, a block for each."""
    source = """
def transposed(target, source, rows, columns):
    i = int64(cuda.blockIdx.x) * int64(cuda.blockDim.x) + int64(cuda.threadIdx.x)
    if i >= rows * columns:
        return
    target[i % columns * rows + i // columns] = source[i]


def has_nan(a, info, size):
    z = int64(cuda.blockIdx.x)
    i = int64(cuda.threadIdx.x)
    while i < size:
        value = a[z * size + i]
        if value != value:
            atomic_max(info, z, int32(1))
        i = i + int64(cuda.blockDim.x)
"""
    extent = ("scalar", np.dtype(np.int64))
    signatures = {"transposed": (dtype, dtype, extent, extent), "has_nan": (dtype, np.dtype(np.int32), extent)}
    return Code(source, signatures)


class Orthogonal:
    """These functions on one device. Arguments are addresses; all matrices are by columns. Calls are made inside
    :meth:`Driver.enqueue`, one thread at a time."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def _work(self, name: str, dtype: np.dtype, *arguments: Any) -> int:
        """Elements of workspace that a routine asks for."""
        elements = ctypes.c_int()
        ask = self._solver.function(f"{name}_bufferSize", dtype)
        check(ask(self._solver.handle, *arguments, ctypes.byref(elements)), "asking cuSOLVER for its needs")
        return elements.value

    def _call(self, name: str, dtype: np.dtype, what: str, *arguments: Any) -> None:
        check(self._solver.function(name, dtype)(self._solver.handle, *arguments), what)

    def _needs(self, name: str, dtype: np.dtype, static: dict[str, Any]) -> int:
        """Elements of workspace for one matrix."""
        n = static["n"]
        if name == "syevd":
            return self._work(name, dtype, _VECTORS if static["vectors"] else _VALUES, LOWER, n, None, n, None)
        m = static["m"]
        if name == "geqrf":
            return self._work(name, dtype, m, n, None, m)
        if name == "orgqr":
            return self._work(name, dtype, m, n, static["k"], None, m, None)
        return self._work("gesvd", dtype, max(m, n), min(m, n))

    def scratch(self, name: str, dtype: np.dtype, static: dict[str, Any]) -> int:
        """Bytes of scratch memory for a call. Loads the kernels that it will need."""
        nbytes = aligned(self._needs(name, dtype, static) * dtype.itemsize)
        if name == "syevd":
            return nbytes
        if name != "gesdd":
            return nbytes + ALIGNMENT  # a flag
        self._solver.kernels_of(dtype, kernels)
        return nbytes + sum(_svd_parts(dtype, **static))

    def run(
        self,
        stream: Stream,
        name: str,
        outs: Sequence[int],
        ins: Sequence[int],
        info: int,
        scratch: int,
        dtype: np.dtype,
        static: dict[str, Any],
    ) -> None:
        """One call: the addresses of the results and operands, and ``info`` and ``scratch`` as in ``solver``."""
        self._solver.enter(stream)
        work = self._needs(name, dtype, static)
        after = scratch + aligned(work * dtype.itemsize)
        if name == "geqrf":
            self._geqrf(outs[0], outs[1], scratch, work, after, dtype, **static)
        elif name == "orgqr":
            self._orgqr(outs[0], ins[1], scratch, work, after, dtype, **static)
        elif name == "syevd":
            self._syevd(outs[0], outs[1], info, scratch, work, dtype, **static)
        else:
            vectors = (outs[4], outs[5]) if static["job"] != "N" else None
            self._gesdd(stream, outs[0], outs[1], vectors, info, (scratch, work, after), dtype, **static)

    def _geqrf(
        self, a: int, tau: int, scratch: int, work: int, flag: int, dtype: np.dtype, *, m: int, n: int, count: int
    ) -> None:
        """Replace matrices (m, n) by R and Householder vectors."""
        for z in range(count):
            one, factors = a + z * m * n * dtype.itemsize, tau + z * min(m, n) * dtype.itemsize
            self._call("geqrf", dtype, "a QR factorization", m, n, one, m, factors, scratch, work, flag)

    def _orgqr(
        self,
        q: int,
        tau: int,
        scratch: int,
        work: int,
        flag: int,
        dtype: np.dtype,
        *,
        m: int,
        n: int,
        k: int,
        count: int,
    ) -> None:
        """Replace k Householder vectors by the first n columns of orthogonal matrices of order m."""
        for z in range(count):
            one, factors = q + z * m * n * dtype.itemsize, tau + z * k * dtype.itemsize
            self._call("orgqr", dtype, "a QR factorization", m, n, k, one, m, factors, scratch, work, flag)

    def _syevd(
        self, a: int, w: int, info: int, scratch: int, work: int, dtype: np.dtype, *, n: int, count: int, vectors: bool
    ) -> None:
        """Replace lower triangles by eigenvectors. A status that is not 0: no convergence."""
        job = _VECTORS if vectors else _VALUES
        for z in range(count):
            one, values = a + z * n * n * dtype.itemsize, w + z * n * dtype.itemsize
            operands = (job, LOWER, n, one, n, values, scratch, work, info + 4 * z)
            self._call("syevd", dtype, "finding eigenvalues", *operands)

    def _gesdd(
        self,
        stream: Stream,
        a: int,
        s: int,
        vectors: tuple[int, int] | None,
        info: int,
        room: tuple[int, int, int],
        dtype: np.dtype,
        *,
        m: int,
        n: int,
        count: int,
        job: str,
    ) -> None:
        """Singular values of matrices (m, n), which are overwritten, and vectors. There are two statuses for each of
        them, first cuSOLVER's for all, then whether they have a NaN: what the library does with one is not said."""
        itemsize, k = dtype.itemsize, min(m, n)
        columns, rows = (m, n) if job == "A" else (k, k)
        scratch, work, rest = room
        superdiagonal, turned, left, right = (rest + at for at in _starts(_svd_parts(dtype, m=m, n=n, job=job)))
        self._solver.driver.fill(info + 4 * count, 0, 4 * count, stream)
        self._solver.launch("has_nan", dtype, count, [a, info + 4 * count, m * n], stream, kernels)
        code = ord(job)
        for z in range(count):
            one, values = a + z * m * n * itemsize, s + z * k * itemsize
            u = vt = None
            if vectors is not None:
                u, vt = vectors[0] + z * m * columns * itemsize, vectors[1] + z * rows * n * itemsize
            target, places, shape = one, (u, vt), (m, n)
            if m < n:  # A^T = V S U^T
                self._transpose(stream, turned, one, n, m, dtype)
                target, shape = turned, (n, m)
                places = (None, None) if vectors is None else (left, right)
            matrix = (code, code, *shape, target, shape[0], values)
            store = (places[0], shape[0], places[1], shape[1], scratch, work, superdiagonal, info + 4 * z)
            self._call("gesvd", dtype, "finding singular values", *matrix, *store)
            if m < n and u is not None and vt is not None:
                self._transpose(stream, u, right, m, m, dtype)
                self._transpose(stream, vt, left, rows, n, dtype)

    def _transpose(self, stream: Stream, target: int, source: int, rows: int, columns: int, dtype: np.dtype) -> None:
        """Copy a matrix (rows, columns), by rows, so that it lies by columns."""
        blocks = -(-rows * columns // BLOCK)
        self._solver.launch("transposed", dtype, blocks, [target, source, rows, columns], stream, kernels)


def _svd_parts(dtype: np.dtype, *, m: int, n: int, job: str, **_: Any) -> list[int]:
    """Bytes of the parts of the scratch memory for singular values, after the library's workspace: a superdiagonal,
    and where there are fewer rows than columns a transposed matrix, and its left and right vectors."""
    turned = [m * n, n * (n if job == "A" else m), m * m] if m < n else [0, 0, 0]
    if job == "N":
        turned[1:] = [0, 0]
    return [aligned(elements * dtype.itemsize) for elements in (min(m, n), *turned)]


def _starts(parts: Sequence[int]) -> list[int]:
    """Where each part begins."""
    return [sum(parts[:k]) for k in range(len(parts))]
