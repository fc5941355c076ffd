"""cuBLAS, by ctypes: matrix products, triangular solves and transposes on device pointers.

cuBLAS has matrices by columns. A row-major matrix is the transpose of the column-major one in the same memory, so that
C = A B by rows is C^T = B^T A^T by columns: the operands are exchanged, and a matrix that lies by columns is
transposed. :func:`plan` says which calls a product is.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.codegen.gemm import Strides
from jitgrad.cuda.driver import Driver
from jitgrad.errors import DeviceError, DtypeError, JitgradError

# Values of cuBLAS's enumerations.
NO, TRANSPOSED = 0, 1
RIGHT = 1
LOWER, UPPER = 0, 1
NON_UNIT, UNIT = 0, 1
_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
COMPUTE_32F, COMPUTE_64F, COMPUTE_TF32 = 68, 70, 77
_DEFAULT_ALGORITHM = -1

#: Bytes of workspace that cuBLAS asks for on devices of capability 9 and later, and on others.
_WORKSPACE = (32 << 20, 4 << 20)

_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_MATRIX = (_P, _I, _L, _L)  # address, type, leading dimension, elements from one matrix to the next
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (_P,),
    "cublasSetStream_v2": (_P, _P),
    "cublasSetWorkspace_v2": (_P, _P, ctypes.c_size_t),
    "cublasGemmStridedBatchedEx_64": (
        *(_P, _I, _I, _L, _L, _L, _P),
        *(*_MATRIX, *_MATRIX, _P, *_MATRIX),
        *(_L, _I, _I),
    ),
    "cublasStrsm_v2": (_P, _I, _I, _I, _I, _I, _I, _P, _P, _I, _P, _I),
    "cublasSgeam": (_P, _I, _I, _I, _I, _P, _P, _I, _P, _P, _I, _P, _I),
}
for _name in ("cublasStrsm_v2", "cublasSgeam"):
    _FUNCTIONS[_name.replace("cublasS", "cublasD")] = _FUNCTIONS[_name]


def load_library(name: str, functions: dict[str, tuple[Any, ...]]) -> Any:
    """A library of NVIDIA's with its functions declared. Raises DeviceError where it is missing."""
    package = f"nvidia-{name}"
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        path = pathfinder.load_nvidia_dynamic_lib(name).abs_path
        if path is None:
            raise OSError("it has no file")
        library = ctypes.CDLL(path)
        for function, arguments in functions.items():
            getattr(library, function).argtypes = arguments
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DeviceError(
            f"the library {name} can't be used ({reason}). Matrix products, factorizations and Fourier transforms "
            f'on the GPU need it (package {package}). Install it with: pip install "jitgrad[cuda]".'
        ) from error
    return library


def check(status: int, what: str) -> None:
    """Raise DeviceError for a status of one of NVIDIA's libraries that is not 0."""
    if status:
        raise DeviceError(
            f"{what} failed with status {status}. The library reported it when the work was given to the device. An "
            "earlier error of the device, or too little memory, can be the cause; run again with smaller arrays."
        )


class Matrix(NamedTuple):
    """An operand as cuBLAS has it: elements from the start of the buffer, whether it is transposed, its leading
    dimension, and the elements from one matrix of a batch to the next."""

    offset: int
    operation: int
    leading: int
    step: int


class Product(NamedTuple):
    """One call of cuBLAS: ``rows`` by ``columns`` results, sums over ``depth``, all by columns."""

    rows: int
    columns: int
    depth: int
    first: Matrix
    second: Matrix
    result: Matrix
    count: int
    exchanged: bool  # the first operand is B and the second A


class _Axis(NamedTuple):
    """An axis of the batch: its extent, and the strides of the three matrices along it."""

    extent: int
    a: int
    b: int
    c: int


def _merged(axes: Sequence[_Axis]) -> list[_Axis]:
    """The same batch with as few axes as possible."""
    merged: list[_Axis] = []
    for inner in axes:
        if inner.extent == 1:
            continue
        if merged:
            outer = merged[-1]
            if all(o == i * inner.extent for o, i in zip(outer[1:], inner[1:], strict=True)):
                merged[-1] = _Axis(outer.extent * inner.extent, *inner[1:])
                continue
        merged.append(inner)
    return merged


def _leading(rows: int, columns: int, strides: Strides) -> tuple[bool, int]:
    """Whether a matrix lies by rows, and its leading dimension."""
    if (strides[1] == 1 or columns == 1) and (strides[0] >= columns or rows == 1):
        return True, max(strides[0], columns, 1)
    if (strides[0] == 1 or rows == 1) and (strides[1] >= rows or columns == 1):
        return False, max(strides[1], rows, 1)
    raise JitgradError(
        f"a matrix with the strides {strides} can't be multiplied by cuBLAS. One of the two has to be 1, and rows "
        "must not overlap. Copy it to contiguous memory first."
    )


def plan(
    *,
    m: int,
    n: int,
    k: int,
    a: Strides,
    b: Strides,
    c: Strides,
    batch: tuple[int, ...] = (),
    a_batch: tuple[int, ...] = (),
    b_batch: tuple[int, ...] = (),
    c_batch: tuple[int, ...] = (),
    add: bool = False,
) -> Iterator[Product]:
    """The calls for a product as :mod:`jitgrad.codegen.gemm` describes it."""
    if m == 0 or n == 0 or math.prod(batch) == 0:
        return
    axes = _merged([_Axis(*axis) for axis in zip(batch, a_batch, b_batch, c_batch, strict=True)])
    c_rows, ldc = _leading(m, n, c)
    a_rows, lda = _leading(m, k, a)
    b_rows, ldb = _leading(k, n, b)
    if axes and axes[-1].b == 0 and a_rows and c_rows and axes[-1].a == m * lda and axes[-1].c == m * ldc:
        m *= axes.pop().extent  # one B for all: the matrices A and C are one tall matrix each
    # The longest axis goes through the batch of one call, the others through a loop.
    inner = max(axes, default=_Axis(1, 0, 0, 0))
    outer = [axis for axis in axes if axis is not inner]
    for index in itertools.product(*(range(axis.extent) for axis in outer)):
        at = [sum(i * axis[1 + q] for i, axis in zip(index, outer, strict=True)) for q in range(3)]
        if c_rows:  # C^T = B^T A^T; a matrix that lies by rows is transposed already
            first = Matrix(at[1], NO if b_rows else TRANSPOSED, ldb, inner.b)
            second = Matrix(at[0], NO if a_rows else TRANSPOSED, lda, inner.a)
            yield Product(n, m, k, first, second, Matrix(at[2], NO, ldc, inner.c), inner.extent, True)
        else:
            first = Matrix(at[0], TRANSPOSED if a_rows else NO, lda, inner.a)
            second = Matrix(at[1], TRANSPOSED if b_rows else NO, ldb, inner.b)
            yield Product(m, n, k, first, second, Matrix(at[2], NO, ldc, inner.c), inner.extent, False)


class Blas:
    """cuBLAS on one device. Its calls are made inside :meth:`Driver.enqueue`, one thread at a time."""

    def __init__(self, driver: Driver, library: Any = None) -> None:
        self._library = library or load_library("cublas", _FUNCTIONS)
        self._handle = _P()
        check(self._library.cublasCreate_v2(ctypes.byref(self._handle)), "starting cuBLAS")
        # A workspace of our own, as a captured graph keeps using it. It lives as long as the process.
        self._workspace_size = _WORKSPACE[driver.properties.capability < (9, 0)]
        self._workspace = driver.allocate(self._workspace_size) or 0

    def _enter(self, stream: int) -> Any:
        check(self._library.cublasSetStream_v2(self._handle, stream), "choosing a stream for cuBLAS")
        if self._workspace:  # choosing a stream takes the workspace away
            size = self._workspace_size
            check(self._library.cublasSetWorkspace_v2(self._handle, self._workspace, size), "giving cuBLAS memory")
        return self._library

    def gemm(
        self,
        stream: int,
        c: int,
        a: int,
        b: int,
        dtypes: tuple[np.dtype, np.dtype, np.dtype],
        static: dict[str, Any],
        tf32: bool = False,
    ) -> None:
        """C = A B, or C + A B with ``add``; addresses, and the dtypes of C, A and B. ``static`` as in
        :mod:`jitgrad.codegen.gemm`. Sums of float16 and bfloat16 are float32's; with ``tf32``, float32 operands are
        rounded to TF32."""
        c_type, a_type, b_type = map(_type, dtypes)
        compute, real = COMPUTE_32F, ctypes.c_float
        if dtypes[1] == np.float64:
            compute, real = COMPUTE_64F, ctypes.c_double
        elif tf32 and dtypes[1] == np.float32:
            compute = COMPUTE_TF32
        alpha, beta = real(1), real(bool(static.get("add", False)))
        library = self._enter(stream)
        for p in plan(**static):
            firsts, seconds = (a, a_type, dtypes[1].itemsize), (b, b_type, dtypes[2].itemsize)
            if p.exchanged:
                firsts, seconds = seconds, firsts
            status = library.cublasGemmStridedBatchedEx_64(
                self._handle,
                *(p.first.operation, p.second.operation, p.rows, p.columns, p.depth, ctypes.byref(alpha)),
                *(firsts[0] + p.first.offset * firsts[2], firsts[1], p.first.leading, p.first.step),
                *(seconds[0] + p.second.offset * seconds[2], seconds[1], p.second.leading, p.second.step),
                ctypes.byref(beta),
                *(c + p.result.offset * dtypes[0].itemsize, c_type, p.result.leading, p.result.step),
                *(p.count, compute, _DEFAULT_ALGORITHM),
            )
            check(status, "a matrix product")

    def solve_triangular(
        self, stream: int, x: int, a: int, dtype: np.dtype, n: int, k: int, lower: bool, trans: bool, unit: bool
    ) -> None:
        """``op(A) x = b`` in place: A (n, n) and x (n, k), both by rows; only one triangle of A is read."""
        # By columns the memory holds A^T, whose triangle is the other one, and x^T op(A)^T = b^T.
        solve = getattr(self._enter(stream), f"cublas{_letter(dtype)}trsm_v2")
        one = ctypes.byref(_real(dtype)(1))
        sides = (RIGHT, UPPER if lower else LOWER, TRANSPOSED if trans else NO, UNIT if unit else NON_UNIT)
        check(solve(self._handle, *sides, k, n, one, a, n, x, k), "a triangular solve")

    def transpose(self, stream: int, target: int, source: int, dtype: np.dtype, rows: int, columns: int) -> None:
        """Copy a matrix (rows, columns), by rows, so that it lies by columns."""
        geam = getattr(self._enter(stream), f"cublas{_letter(dtype)}geam")
        one, zero = ctypes.byref(_real(dtype)(1)), ctypes.byref(_real(dtype)(0))
        # target = 1 source^T + 0 target, where the second term is not read
        operands = (one, source, columns, zero, target, rows, target, rows)
        check(geam(self._handle, TRANSPOSED, NO, rows, columns, *operands), "a transpose")


def _type(dtype: np.dtype) -> int:
    if dtype.name not in _TYPES:
        raise DtypeError(
            f"cuBLAS has no matrix product for {dtype}. It has float16, bfloat16, float32 and float64. Convert the "
            "operands."
        )
    return _TYPES[dtype.name]


def _letter(dtype: np.dtype) -> str:
    return {"float32": "S", "float64": "D"}[dtype.name]


def _real(dtype: np.dtype) -> Any:
    return {"float32": ctypes.c_float, "float64": ctypes.c_double}[dtype.name]
