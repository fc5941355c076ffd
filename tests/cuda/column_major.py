"""cuBLAS and cuSOLVER as their documentation describes them, on the memory of a simulated device.

Every function checks its arguments as the library does (leading dimensions, enumerations) and works by columns. It
reads and writes the elements that the arguments name and no others.
"""

import ctypes
from typing import Any

import numpy as np
from scipy.linalg import lapack, solve_triangular

from jitgrad.cuda.driver_simulated import SimulatedDriver

_TYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 2: np.dtype(np.float16)}


class Through:
    """A library whose functions are called through ctypes, as those of a file are: numbers and pointers are
    converted as declared."""

    def __init__(self, library: Any, functions: dict[str, tuple[Any, ...]]) -> None:
        self.library, self._functions = library, functions

    def __getattr__(self, name: str) -> Any:
        raised: list[BaseException] = []

        def guarded(*args: Any) -> int:
            try:
                return getattr(self.library, name)(*args)
            except BaseException as error:  # noqa: BLE001  (raised again, on the other side of ctypes)
                raised.append(error)
                return 99

        through = ctypes.CFUNCTYPE(ctypes.c_int, *self._functions[name])(guarded)

        def call(*args: Any) -> int:
            status = through(*args)
            if raised:
                raise raised[0]
            return status

        return call


def routine(name: str, dtype: np.dtype) -> Any:
    """One of LAPACK's, by SciPy."""
    return lapack.get_lapack_funcs(name, dtype=dtype)


def _value(address: int, dtype: Any) -> float:
    """The number of the host that a pointer points to."""
    return (ctypes.c_double if dtype == np.float64 else ctypes.c_float).from_address(address).value


class Columns:
    """Matrices by columns on a simulated device."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self.calls: list[str] = []

    def matrix(self, address: int, dtype: Any, rows: int, columns: int, leading: int) -> np.ndarray:
        """A view; all of its elements lie inside one allocation."""
        assert leading >= max(1, rows), "leading dimension"
        if rows == 0 or columns == 0:
            return np.empty((rows, columns), dtype)
        itemsize = np.dtype(dtype).itemsize
        flat = self.driver.view(address, ((columns - 1) * leading + rows) * itemsize, dtype)
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), (itemsize, leading * itemsize))

    def _log(self, name: str) -> None:
        self.calls.append(name)


class FakeBlas(Columns):
    workspace = stream = None

    def cublasCreate_v2(self, handle: Any) -> int:
        ctypes.c_void_p.from_address(handle).value = 7
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: int) -> int:
        self.stream, self.workspace = stream, None
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, address: int, nbytes: int) -> int:
        self.driver.view(address, nbytes)
        self.workspace = address
        return 0

    def cublasGemmStridedBatchedEx_64(
        self, handle: Any, ta: int, tb: int, m: int, n: int, k: int, alpha: Any, a: int, a_type: int, lda: int,
        a_step: int, b: int, b_type: int, ldb: int, b_step: int, beta: Any, c: int, c_type: int, ldc: int,
        c_step: int, count: int, compute: int, algorithm: int,
    ) -> int:  # fmt: skip
        assert handle == 7 and self.workspace and {ta, tb} <= {0, 1} and algorithm == -1
        a_dtype, b_dtype, c_dtype = _TYPES[a_type], _TYPES[b_type], _TYPES[c_type]
        assert a_dtype == b_dtype and (compute == 70) == (a_dtype == np.float64)
        assert count == 1 or c_step, "results overlap"
        self._log("tf32" if compute == 77 else "gemm")
        for z in range(count):
            first = self.matrix(a + z * a_step * a_dtype.itemsize, a_dtype, *((k, m) if ta else (m, k)), lda)
            second = self.matrix(b + z * b_step * b_dtype.itemsize, b_dtype, *((n, k) if tb else (k, n)), ldb)
            result = self.matrix(c + z * c_step * c_dtype.itemsize, c_dtype, m, n, ldc)
            wide = np.float64 if compute == 70 else np.float32
            product = (first.T if ta else first).astype(wide) @ (second.T if tb else second).astype(wide)
            old = _value(beta, wide) * result.astype(wide) if _value(beta, wide) else 0  # with 0, C is not read
            result[...] = _value(alpha, wide) * product + old
        return 0

    def _trsm(self, dtype: Any, side: int, uplo: int, trans: int, diag: int, m: int, n: int, alpha: Any, a: int,
              lda: int, b: int, ldb: int) -> int:  # fmt: skip
        assert side in (0, 1) and uplo in (0, 1) and trans in (0, 1) and diag in (0, 1) and _value(alpha, dtype) == 1
        self._log("trsm")
        order = n if side else m
        factor, x = self.matrix(a, dtype, order, order, lda), self.matrix(b, dtype, m, n, ldb)
        with np.errstate(all="ignore"):
            options = {"lower": uplo == 0, "unit_diagonal": bool(diag), "check_finite": False}
            if np.all(np.diagonal(factor)) or diag:
                if side:  # X op(A) = B
                    x[...] = solve_triangular(factor, x.T, trans=1 - trans, **options).T
                else:
                    x[...] = solve_triangular(factor, x, trans=trans, **options)
        return 0

    def cublasStrsm_v2(self, handle: Any, *args: Any) -> int:
        return self._trsm(np.float32, *args)

    def cublasDtrsm_v2(self, handle: Any, *args: Any) -> int:
        return self._trsm(np.float64, *args)

    def _geam(self, dtype: Any, ta: int, tb: int, m: int, n: int, alpha: Any, a: int, lda: int, beta: Any, b: int,
              ldb: int, c: int, ldc: int) -> int:  # fmt: skip
        assert _value(beta, dtype) == 0 and (b != c or (ldb == ldc and tb == 0))
        source = self.matrix(a, dtype, *((n, m) if ta else (m, n)), lda).copy()
        self.matrix(c, dtype, m, n, ldc)[...] = _value(alpha, dtype) * (source.T if ta else source)
        return 0

    def cublasSgeam(self, handle: Any, *args: Any) -> int:
        return self._geam(np.float32, *args)

    def cublasDgeam(self, handle: Any, *args: Any) -> int:
        return self._geam(np.float64, *args)


class _Orthogonal(Columns):
    """Signs of vectors are not those of LAPACK. A matrix with an infinity does not converge, and one with a NaN seems
    to: nothing is documented."""

    def _info(self, address: int, value: int) -> int:
        self.driver.view(address, 4, np.int32)[0] = value
        return 0

    def _use(self, work: int, elements: int, dtype: Any) -> None:
        """A library writes to its workspace."""
        self.driver.view(work, elements * np.dtype(dtype).itemsize, dtype).fill(np.nan)

    def _asked(self, address: Any, elements: int) -> int:
        ctypes.c_int.from_address(address).value = elements
        return 0

    def cusolverDnSgeqrf_bufferSize(self, handle: Any, m: int, n: int, a: Any, lda: int, size: Any) -> int:
        assert lda >= m
        return self._asked(size, 2 * n + 1)

    def cusolverDnSorgqr_bufferSize(
        self, handle: Any, m: int, n: int, k: int, a: Any, lda: int, tau: Any, size: Any
    ) -> int:
        assert m >= n >= k and lda >= m
        return self._asked(size, 3 * n + 2)

    def cusolverDnSgesvd_bufferSize(self, handle: Any, m: int, n: int, size: Any) -> int:
        assert m >= n, "gesvd only supports m >= n"
        return self._asked(size, m + 7 * n)

    def cusolverDnSsyevd_bufferSize(
        self, handle: Any, job: int, uplo: int, n: int, a: Any, lda: int, w: Any, size: Any
    ) -> int:
        assert job in (0, 1) and uplo in (0, 1) and lda >= n
        return self._asked(size, (job + 1) * n + 3)

    cusolverDnDgeqrf_bufferSize = cusolverDnSgeqrf_bufferSize
    cusolverDnDorgqr_bufferSize = cusolverDnSorgqr_bufferSize
    cusolverDnDgesvd_bufferSize = cusolverDnSgesvd_bufferSize
    cusolverDnDsyevd_bufferSize = cusolverDnSsyevd_bufferSize

    def _geqrf(self, dtype: Any, m: int, n: int, a: int, lda: int, tau: int, work: int, elements: int,
               info: int) -> int:  # fmt: skip
        assert elements == 2 * n + 1
        self._use(work, elements, dtype)
        matrix = self.matrix(a, dtype, m, n, lda)
        matrix[...], factors, _, flag = routine("geqrf", dtype=np.dtype(dtype))(matrix)
        self.driver.view(tau, min(m, n) * np.dtype(dtype).itemsize, dtype)[...] = factors
        return self._info(info, flag)

    def _orgqr(self, dtype: Any, m: int, n: int, k: int, a: int, lda: int, tau: int, work: int, elements: int,
               info: int) -> int:  # fmt: skip
        assert m >= n >= k and elements == 3 * n + 2
        self._use(work, elements, dtype)
        matrix, factors = self.matrix(a, dtype, m, n, lda), self.driver.view(tau, k * np.dtype(dtype).itemsize, dtype)
        matrix[...], _, flag = routine("orgqr", dtype=np.dtype(dtype))(matrix, factors)
        return self._info(info, flag)

    def _gesvd(self, dtype: Any, left: int, right: int, m: int, n: int, a: int, lda: int, s: int, u: int, ldu: int,
               vt: int, ldvt: int, work: int, elements: int, superdiagonal: int, info: int) -> int:  # fmt: skip
        assert m >= n and elements == m + 7 * n and left == right and chr(left) in "ASN"
        self._use(work, elements, dtype)
        self._use(superdiagonal, n - 1, dtype) if n > 1 else None
        matrix, values = self.matrix(a, dtype, m, n, lda), self.driver.view(s, n * np.dtype(dtype).itemsize, dtype)
        finite = np.where(np.isfinite(matrix), matrix, 1)
        vectors, values[...], rows = np.linalg.svd(finite, full_matrices=left == ord("A"))
        if left != ord("N"):
            self.matrix(u, dtype, m, vectors.shape[1], ldu)[...] = -vectors
            self.matrix(vt, dtype, n, n, ldvt)[...] = -rows
        flag = int(np.isinf(matrix).sum())
        matrix[...] = np.nan
        return self._info(info, flag)

    def _syevd(self, dtype: Any, job: int, uplo: int, n: int, a: int, lda: int, w: int, work: int, elements: int,
               info: int) -> int:  # fmt: skip
        assert job in (0, 1) and uplo in (0, 1) and elements == (job + 1) * n + 3
        self._use(work, elements, dtype)
        matrix, values = self.matrix(a, dtype, n, n, lda), self.driver.view(w, n * np.dtype(dtype).itemsize, dtype)
        flag = int(np.isinf(matrix).sum())
        values[...], vectors = np.linalg.eigh(np.where(np.isfinite(matrix), matrix, 1), "U" if uplo else "L")
        matrix[...] = -vectors if job else np.nan
        return self._info(info, flag)

    def __getattr__(self, name: str) -> Any:
        """The routines of a library by their names there."""
        prefix, routine = name[:11], name[11:]
        if prefix not in ("cusolverDnS", "cusolverDnD") or not hasattr(type(self), f"_{routine}"):
            raise AttributeError(name)
        dtype = np.float32 if prefix[-1] == "S" else np.float64
        return lambda handle, *args: getattr(self, f"_{routine}")(dtype, *args)


class FakeSolver(_Orthogonal):
    def cusolverDnCreate(self, handle: Any) -> int:
        ctypes.c_void_p.from_address(handle).value = 9
        return 0

    def cusolverDnSetStream(self, handle: Any, stream: int) -> int:
        return 0

    def _size(self, handle: Any, *args: Any) -> int:
        ctypes.c_int.from_address(args[-1]).value = 3 * args[1] + 5
        return 0

    cusolverDnSpotrf_bufferSize = cusolverDnDpotrf_bufferSize = _size
    cusolverDnSgetrf_bufferSize = cusolverDnDgetrf_bufferSize = _size

    def _potrf(self, dtype: Any, uplo: int, n: int, a: int, lda: int, work: int, elements: int, info: int) -> int:
        assert uplo in (0, 1) and elements == 3 * n + 5
        self._use(work, elements, dtype)
        matrix = self.matrix(a, dtype, n, n, lda)
        factor, flag = routine("potrf", dtype=np.dtype(dtype))(matrix, lower=uplo == 0, clean=0)
        if not flag:
            matrix[...] = factor
        return self._info(info, flag)

    def _getrf(self, dtype: Any, m: int, n: int, a: int, lda: int, work: int, pivots: int, info: int) -> int:
        self._use(work, 3 * n + 5, dtype)
        matrix = self.matrix(a, dtype, m, n, lda)
        lu, swaps, flag = routine("getrf", dtype=np.dtype(dtype))(matrix)
        matrix[...] = lu
        self.driver.view(pivots, 4 * n, np.int32)[...] = swaps + 1
        return self._info(info, flag)

    def _getrs(self, dtype: Any, trans: int, n: int, k: int, a: int, lda: int, pivots: int, b: int, ldb: int,
               info: int) -> int:  # fmt: skip
        lu, x = self.matrix(a, dtype, n, n, lda), self.matrix(b, dtype, n, k, ldb)
        swaps = self.driver.view(pivots, 4 * n, np.int32) - 1
        with np.errstate(all="ignore"):
            x[...], flag = routine("getrs", dtype=np.dtype(dtype))(lu, swaps, x, trans=trans)
        return self._info(info, flag)
