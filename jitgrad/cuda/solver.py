"""cuSOLVER, by ctypes: Cholesky and LU factorization, and solves, inverses and adjugates with the factors, on device
pointers. Orthogonal factorizations are in ``orthogonal``.

cuSOLVER has no stacks for these, so there is a call for each matrix. Statuses go to int32 on the device, one a matrix;
none is waited for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.codegen.lapack import offsets
from jitgrad.cuda import adjugates
from jitgrad.cuda.blas import NO, TRANSPOSED, UPPER, Blas, check, load_library
from jitgrad.cuda.compiler import load
from jitgrad.cuda.driver import ALIGNMENT, Code, Driver, Stream, aligned

_P, _I, _C = ctypes.c_void_p, ctypes.c_int, ctypes.c_byte
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cusolverDnCreate": (_P,),
    "cusolverDnSetStream": (_P, _P),
    "cusolverDnSpotrf_bufferSize": (_P, _I, _I, _P, _I, _P),
    "cusolverDnSpotrf": (_P, _I, _I, _P, _I, _P, _I, _P),
    "cusolverDnSgetrf_bufferSize": (_P, _I, _I, _P, _I, _P),
    "cusolverDnSgetrf": (_P, _I, _I, _P, _I, _P, _P, _P),
    "cusolverDnSgetrs": (_P, _I, _I, _I, _P, _I, _P, _P, _I, _P),
    "cusolverDnSgeqrf_bufferSize": (_P, _I, _I, _P, _I, _P),
    "cusolverDnSgeqrf": (_P, _I, _I, _P, _I, _P, _P, _I, _P),
    "cusolverDnSorgqr_bufferSize": (_P, _I, _I, _I, _P, _I, _P, _P),
    "cusolverDnSorgqr": (_P, _I, _I, _I, _P, _I, _P, _P, _I, _P),
    "cusolverDnSgesvd_bufferSize": (_P, _I, _I, _P),
    "cusolverDnSgesvd": (_P, _C, _C, _I, _I, _P, _I, _P, _P, _I, _P, _I, _P, _I, _P, _P),
    "cusolverDnSsyevd_bufferSize": (_P, _I, _I, _I, _P, _I, _P, _P),
    "cusolverDnSsyevd": (_P, _I, _I, _I, _P, _I, _P, _P, _I, _P),
}
for _name in [name for name in _FUNCTIONS if name.startswith("cusolverDnS") and name != "cusolverDnSetStream"]:
    _FUNCTIONS[_name.replace("cusolverDnS", "cusolverDnD")] = _FUNCTIONS[_name]

#: Threads of a block of the kernels of jitgrad that go with it.
BLOCK = 256


def _kernels(dtype: np.dtype) -> Code:
    """What the libraries lack: marking matrices that have a zero on the diagonal, and unit matrices. There is a block
    for each matrix."""
    name = dtype.name
    source = f"""
def zero_diagonal(a, info, n):
    z = int64(cuda.blockIdx.x)
    i = int64(cuda.threadIdx.x)
    while i < n:
        if a[z * n * n + i * (n + int64(1))] == {name}(0.0):
            atomic_max(info, z, int32(1))
        i = i + int64(cuda.blockDim.x)


def identity(a, n):
    z = int64(cuda.blockIdx.x)
    i = int64(cuda.threadIdx.x)
    while i < n * n:
        a[z * n * n + i] = {name}(1.0) if i % (n + int64(1)) == int64(0) else {name}(0.0)
        i = i + int64(cuda.blockDim.x)
"""
    count = ("scalar", np.dtype(np.int64))
    signatures = {"zero_diagonal": (dtype, np.dtype(np.int32), count), "identity": (dtype, count)}
    return Code(source, signatures)


def _adjugate_kernels(dtype: np.dtype) -> Code:
    return adjugates.kernels(dtype, BLOCK)


class Solver:
    """cuSOLVER on one device. ``a``, ``x``, ``info``, ``scratch`` and the rest are addresses; ``info`` has an int32
    for each matrix of the stack, and :meth:`scratch` says how many bytes of scratch memory a call needs."""

    def __init__(self, driver: Driver, blas: Blas, library: Any = None) -> None:
        self.driver, self._blas = driver, blas
        self._library = library or load_library("cusolver", _FUNCTIONS)
        self.handle = _P()
        check(self._library.cusolverDnCreate(ctypes.byref(self.handle)), "starting cuSOLVER")
        self._loaded: dict[tuple[Callable[[np.dtype], Code], np.dtype], Any] = {}

    def function(self, name: str, dtype: np.dtype) -> Any:
        """A routine of the library for a dtype."""
        return getattr(self._library, f"cusolverDn{'D' if dtype == np.float64 else 'S'}{name}")

    def enter(self, stream: Stream) -> None:
        """Let the calls that follow go to a stream."""
        check(self._library.cusolverDnSetStream(self.handle, stream.handle), "choosing a stream for cuSOLVER")

    def kernels_of(self, dtype: np.dtype, make: Callable[[np.dtype], Code]) -> Any:
        """Kernels for a dtype, loaded."""
        if (make, dtype) not in self._loaded:
            self._loaded[make, dtype] = load(self.driver, make(dtype))
        return self._loaded[make, dtype].kernels

    def launch(
        self,
        name: str,
        dtype: np.dtype,
        count: int,
        args: list[Any],
        stream: Stream,
        make: Callable[[np.dtype], Code] = _kernels,
    ) -> None:
        """Run one of those kernels, in ``count`` blocks."""
        self.driver.launch(self.kernels_of(dtype, make)[name], count, BLOCK, args, stream=stream)

    def _work(self, name: str, dtype: np.dtype, n: int) -> int:
        """Elements of workspace for a factorization."""
        elements = _I()
        sizes = (UPPER, n) if name == "potrf" else (n, n)
        ask = self.function(f"{name}_bufferSize", dtype)
        check(ask(self.handle, *sizes, None, n, ctypes.byref(elements)), "asking cuSOLVER for its needs")
        return elements.value

    def scratch(self, name: str, dtype: np.dtype, static: dict[str, Any]) -> int:
        """Bytes of scratch memory for a call of the library function of that name. Loads what the call will need."""
        n = static["n"]
        if name in ("getrs", "trtrs", "getri", "adjugate"):
            self.kernels_of(dtype, _kernels)
        if name == "adjugate":
            self.kernels_of(dtype, _adjugate_kernels)
            return sum(map(aligned, _adjugate_parts(dtype, n, static["count"])))
        if name in ("potrf", "getrf"):
            return aligned(self._work(name, dtype, n) * dtype.itemsize) + ALIGNMENT
        if name == "getrs":
            return aligned(n * static["k"] * dtype.itemsize) + ALIGNMENT
        if name == "getri":
            return aligned(n * n * dtype.itemsize) + ALIGNMENT
        return 0

    def potrf(self, stream: Stream, a: int, info: int, scratch: int, dtype: np.dtype, *, n: int, count: int) -> None:
        """Replace lower triangles, by rows, by Cholesky factors. A status that is not 0: not positive definite."""
        self.enter(stream)
        work, size = self._work("potrf", dtype, n), n * n * dtype.itemsize
        for z in range(count):
            # The lower triangle by rows is the upper one by columns; U^T U = A there is L L^T = A here.
            operands = (UPPER, n, a + z * size, n, scratch, work, info + 4 * z)
            check(self.function("potrf", dtype)(self.handle, *operands), "a Cholesky factorization")

    def getrf(
        self, stream: Stream, a: int, pivots: int, info: int, scratch: int, dtype: np.dtype, *, n: int, count: int
    ) -> None:
        """Replace matrices, by columns, by their LU factors. ``info`` is 0 after it: a zero pivot is no error here."""
        self.enter(stream)
        work, size = self._work("getrf", dtype, n) * dtype.itemsize, n * n * dtype.itemsize
        for z in range(count):
            operands = (n, n, a + z * size, n, scratch, pivots + 4 * n * z, scratch + aligned(work))
            check(self.function("getrf", dtype)(self.handle, *operands), "an LU factorization")
        self.driver.fill(info, 0, 4 * count, stream)

    def getrs(
        self,
        stream: Stream,
        x: int,
        lu: int,
        pivots: int,
        info: int,
        scratch: int,
        dtype: np.dtype,
        *,
        n: int,
        k: int,
        batch: tuple[int, ...],
        lu_batch: tuple[int, ...],
        trans: bool,
    ) -> None:
        """Solve with LU factors in place: x (..., n, k) by rows, the factors by columns. A status that is not 0: a zero
        pivot. There is one for each of the matrices ``lu``."""
        places = offsets(batch, lu_batch)
        self._check_diagonals(stream, lu, info, dtype, n, max(places, default=-1) + 1)
        self.enter(stream)
        size, right = n * n * dtype.itemsize, n * k * dtype.itemsize
        flag = scratch + aligned(right)
        for z, at in enumerate(places):
            one = x + z * right
            by_columns = one if k == 1 else scratch
            if k > 1:
                self._blas.transpose(stream.handle, scratch, one, dtype, n, k)
            factors = (lu + at * size, n, pivots + 4 * n * at)
            operands = (TRANSPOSED if trans else NO, n, k, *factors, by_columns, n, flag)
            check(self.function("getrs", dtype)(self.handle, *operands), "a solve")
            if k > 1:
                self._blas.transpose(stream.handle, one, scratch, dtype, k, n)

    def trtrs(
        self,
        stream: Stream,
        x: int,
        a: int,
        info: int,
        dtype: np.dtype,
        *,
        n: int,
        k: int,
        batch: tuple[int, ...],
        a_batch: tuple[int, ...],
        lower: bool,
        trans: bool,
        unit: bool,
    ) -> None:
        """Solve with triangular matrices in place, everything by rows. A status that is not 0: a zero on the diagonal.
        There is one for each of the matrices ``a``."""
        places = offsets(batch, a_batch)
        matrices = max(places, default=-1) + 1
        if unit:
            self.driver.fill(info, 0, 4 * matrices, stream)
        else:
            self._check_diagonals(stream, a, info, dtype, n, matrices)
        size, right = n * n * dtype.itemsize, n * k * dtype.itemsize
        for z, at in enumerate(places):
            self._blas.solve_triangular(stream.handle, x + z * right, a + at * size, dtype, n, k, lower, trans, unit)

    def getri(
        self, stream: Stream, a: int, pivots: int, info: int, scratch: int, dtype: np.dtype, *, n: int, count: int
    ) -> None:
        """Replace LU factors by the inverse, both by columns. A status that is not 0: a zero pivot."""
        self._check_diagonals(stream, a, info, dtype, n, count)
        self.enter(stream)
        size = n * n * dtype.itemsize
        flag = scratch + aligned(size)
        for z in range(count):
            one = a + z * size
            self.driver.copy(scratch, one, size, stream)
            self.launch("identity", dtype, 1, [one, n], stream)
            self._inverse(one, scratch, pivots + 4 * n * z, flag, dtype, n)

    def _inverse(self, unit: int, lu: int, pivots: int, flag: int, dtype: np.dtype, n: int) -> None:
        """Replace a unit matrix by the inverse of the matrix with some LU factors."""
        operands = (NO, n, n, lu, n, pivots, unit, n, flag)
        check(self.function("getrs", dtype)(self.handle, *operands), "an inverse")

    def adjugate(
        self,
        stream: Stream,
        adj: int,
        a: int,
        lu: int,
        pivots: int,
        scratch: int,
        dtype: np.dtype,
        *,
        n: int,
        count: int,
    ) -> None:
        """The adjugates of matrices with the given LU factors, everything by columns. It can't fail."""
        parts = [aligned(nbytes) for nbytes in _adjugate_parts(dtype, n, count)]
        flag, singular, factors, vectors, order = (scratch + sum(parts[:k]) for k in range(len(parts)))
        self._check_diagonals(stream, lu, singular, dtype, n, count)
        self.launch("identity", dtype, count, [adj, n], stream)
        self.enter(stream)
        size = n * n * dtype.itemsize
        for z in range(count):
            self._inverse(adj + z * size, lu + z * size, pivots + 4 * n * z, flag, dtype, n)
        self.launch("scale_by_determinant", dtype, count, [adj, lu, pivots, n], stream, _adjugate_kernels)
        args = [adj, a, singular, factors, vectors, order, n]
        self.launch("adjugate_of_singular", dtype, count, args, stream, _adjugate_kernels)

    def _check_diagonals(self, stream: Stream, a: int, info: int, dtype: np.dtype, n: int, count: int) -> None:
        if count and n:
            self.driver.fill(info, 0, 4 * count, stream)
            self.launch("zero_diagonal", dtype, count, [a, info, n], stream)


def matrices(static: dict[str, Any]) -> int:
    """How many int32 a call of a library function needs at ``info``."""
    if "count" in static:
        return static["count"]
    return max(offsets(static["batch"], static.get("lu_batch", static.get("a_batch", ()))), default=-1) + 1


def _adjugate_parts(dtype: np.dtype, n: int, count: int) -> Sequence[int]:
    """Bytes of the parts of the scratch memory of adjugates: a flag of the library, flags of singular matrices, their
    factors, vectors, and the order of rows and columns."""
    return 4, 4 * count, count * n * n * dtype.itemsize, 2 * count * n * dtype.itemsize, 8 * count * n
