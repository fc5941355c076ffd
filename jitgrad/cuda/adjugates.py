"""Kernels that finish adjugates: ``det(A) * A^-1``, and its limit where ``A`` is singular. A block has one matrix.

A regular matrix has its inverse from LU factors already, and ``scale_by_determinant`` multiplies it by the determinant.

For a singular one, whose LU factors have a zero pivot, ``adjugate_of_singular`` factorizes anew, with complete
pivoting: ``P A Q = L D U`` with units on the diagonals of ``L`` and ``U``. The zero is the last element of ``D`` then,
and ``adj(D)`` has the product ``p`` of the others there, and no other element. So ``adj(A) = det(P) det(Q) p (Q z)
(y^T P)``, where ``U z`` and ``L^T y`` are the last unit vector. If there is another zero, ``p`` is zero. What rounding
leaves of the last element of ``D`` is not read.
"""

from __future__ import annotations

import numpy as np

from jitgrad.cuda.driver import Code
from jitgrad.ir.types import i32, i64

_SOURCE = """\
@device
def ratio(x, y):
    return x / y if y != 0 else y


def scale_by_determinant(adj, lu, pivots, n):
    block = int64(cuda.blockIdx.x)
    first = block * n * n
    det = {dtype}(1.0)
    for i in range(n):
        pivot = lu[first + i * (n + 1)]
        det *= pivot if pivots[block * n + i] == i + 1 else -pivot
    for e in range(int64(cuda.threadIdx.x), n * n, {threads}):
        adj[first + e] *= det


def adjugate_of_singular(adj, a, singular, lu, vectors, order, n):
    block = int64(cuda.blockIdx.x)
    if singular[block] == 0:
        return
    thread = int64(cuda.threadIdx.x)
    first = block * n * n
    z = 2 * block * n  # where it starts in vectors, and the order of the columns in order
    y = z + n  # the same for the rows
    sizes = cuda.shared.array({threads}, {dtype})
    places = cuda.shared.array({threads}, int64)
    for e in range(thread, n * n, {threads}):
        lu[first + e] = a[first + e]
    for e in range(thread, n, {threads}):
        order[z + e] = int32(e)
        order[y + e] = int32(e)
        vectors[z + e] = {dtype}(1.0) if e == n - 1 else {dtype}(0.0)
        vectors[y + e] = {dtype}(1.0) if e == n - 1 else {dtype}(0.0)
    cuda.syncthreads()
    product = {dtype}(1.0)
    for k in range(n - 1):
        rest = n - k
        best = {dtype}(-1.0)
        place = int64(0)
        for e in range(thread, rest * rest, {threads}):
            size = libdevice.fabs{suffix}(lu[first + int64(order[z + k + e // rest]) * n + order[y + k + e % rest]])
            if size > best:
                best = size
                place = e
        sizes[thread] = best
        places[thread] = place
        cuda.syncthreads()
        half = int64({threads} // 2)
        while half > 0:
            if thread < half and sizes[thread + half] > sizes[thread]:
                sizes[thread] = sizes[thread + half]
                places[thread] = places[thread + half]
            cuda.syncthreads()
            half = half >> 1
        i = k + places[0] % rest
        j = k + places[0] // rest
        if thread == 0:
            other = order[y + i]
            order[y + i] = order[y + k]
            order[y + k] = other
            other = order[z + j]
            order[z + j] = order[z + k]
            order[z + k] = other
        cuda.syncthreads()
        row = first + order[y + k]
        column = first + int64(order[z + k]) * n
        pivot = lu[column + order[y + k]]
        product *= pivot if (i == k) == (j == k) else -pivot
        for e in range(k + 1 + thread, n, {threads}):
            lu[column + order[y + e]] = ratio(lu[column + order[y + e]], pivot)
            lu[row + int64(order[z + e]) * n] = ratio(lu[row + int64(order[z + e]) * n], pivot)
        cuda.syncthreads()
        rest -= 1
        # The next step searches the same elements by the same threads, so that no barrier is needed before it.
        for e in range(thread, rest * rest, {threads}):
            i = int64(order[y + k + 1 + e % rest])
            j = int64(order[z + k + 1 + e // rest]) * n
            lu[first + j + i] -= lu[column + i] * pivot * lu[row + j]
    for e in range(n - 1):
        k = n - 1 - e
        for i in range(thread, k, {threads}):
            vectors[z + i] -= vectors[z + k] * lu[first + int64(order[z + k]) * n + order[y + i]]
            vectors[y + i] -= vectors[y + k] * lu[first + int64(order[z + i]) * n + order[y + k]]
        cuda.syncthreads()
    for e in range(thread, n * n, {threads}):
        i = e // n
        j = e % n
        adj[first + int64(order[y + i]) * n + order[z + j]] = product * vectors[z + j] * vectors[y + i]
"""


def kernels(dtype: np.dtype, threads: int) -> Code:
    """The kernels for float32 or float64, in blocks of ``threads`` threads, a power of two.

    Matrices are column-major, and pivots int32, from 1, as LAPACK has them. ``scale_by_determinant`` takes the
    inverses, their LU factors, the pivots, and the order ``n``. ``adjugate_of_singular`` takes the results, the
    matrices, an int32 for each that is 0 where it is regular, room for as many matrices, for 2 n numbers and for 2 n
    int32 each, and ``n``.
    """
    suffix = "f" if dtype == np.float32 else ""
    number = ("scalar", i64)
    signatures = {
        "scale_by_determinant": (dtype, dtype, i32, number),
        "adjugate_of_singular": (dtype, dtype, i32, dtype, dtype, i32, number),
    }
    return Code(_SOURCE.format(dtype=dtype.name, suffix=suffix, threads=threads), signatures)
