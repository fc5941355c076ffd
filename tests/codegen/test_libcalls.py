"""Library calls: the native form and the Python form agree on the same storage."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from native import run_native

from jitgrad.codegen import externs, lapack, lapack_complex, lapack_orthogonal, libcalls
from jitgrad.errors import CompilationError


def both(name: str, outs: list[np.ndarray], ins: list[np.ndarray], tol: float = 1e-12, **static: Any) -> int:
    """Run both forms; ``ins`` are positions for arrays in ``outs``. The native results end in ``outs``."""
    copies = [a.copy() for a in outs]
    shared = [next((c for a, c in zip(outs, copies, strict=True) if a is x), x) for x in ins]
    expected = libcalls.get(name).python(copies, shared, **static)
    status = run_native(name, outs, ins, **static)
    assert status == expected
    if status == 0:
        np.testing.assert_allclose(outs[0], copies[0], rtol=tol, atol=tol)
    return status


DTYPES = [(np.float64, 1e-12), (np.float32, 2e-4)]


@pytest.mark.parametrize(("dtype", "tol"), DTYPES)
@pytest.mark.parametrize("by_rows", list(itertools.product([True, False], repeat=3)))
def test_gemm_layouts(by_rows: tuple[bool, ...], dtype: type, tol: float) -> None:
    rng = np.random.default_rng(0)
    m, n, k = 5, 4, 3

    def strides(rows: int, cols: int, across: bool) -> tuple[int, int]:
        return (cols, 1) if across else (1, rows)

    a, b = rng.standard_normal(2 * m * k).astype(dtype), rng.standard_normal(k * n).astype(dtype)
    c = np.full(2 * m * n, np.nan, dtype)
    static = {"m": m, "n": n, "k": k, "batch": (2,), "a_batch": (m * k,), "b_batch": (0,), "c_batch": (m * n,)}
    layouts = zip("abc", ((m, k), (k, n), (m, n)), by_rows, strict=True)
    static |= {name: strides(*shape, across) for name, shape, across in layouts}
    assert both("gemm", [c], [a, b], tol, **static) == 0
    left = a.reshape(2, m, k) if by_rows[0] else a.reshape(2, k, m).swapaxes(1, 2)
    right = b.reshape(k, n) if by_rows[1] else b.reshape(n, k).T
    out = c.reshape(2, m, n) if by_rows[2] else c.reshape(2, n, m).swapaxes(1, 2)
    np.testing.assert_allclose(out, left @ right, rtol=tol, atol=tol)


@pytest.mark.parametrize("sizes", list(itertools.product([1, 3], repeat=3)))
def test_gemm_of_thin_matrices(sizes: tuple[int, int, int]) -> None:
    m, n, k = sizes
    rng = np.random.default_rng(1)
    a, b, c = rng.standard_normal((m, k)), rng.standard_normal((k, n)), np.empty((m, n))
    both("gemm", [c], [a, b], m=m, n=n, k=k, a=(k, 1), b=(n, 1), c=(n, 1))
    np.testing.assert_allclose(c, a @ b, rtol=1e-12)


@pytest.mark.parametrize("sizes", [(3, 4, 5), (3, 1, 5), (1, 4, 5), (1, 1, 5), (3, 4, 0)])
def test_gemm_that_adds(sizes: tuple[int, int, int]) -> None:
    m, n, k = sizes
    rng = np.random.default_rng(3)
    a, b, c = rng.standard_normal((m, k)), rng.standard_normal((k, n)), rng.standard_normal((m, n))
    expected = c + a @ b
    lda, ldb = (max(k, 1), 1), (n, 1)
    both("gemm", [c], [a, b, c], m=m, n=n, k=k, a=lda, b=ldb, c=(n, 1), add=True)
    np.testing.assert_allclose(c, expected, rtol=1e-12)


@pytest.mark.parametrize("a_by_rows", [True, False])
@pytest.mark.parametrize("row", [True, False])
def test_gemm_of_strided_vectors(row: bool, a_by_rows: bool) -> None:
    rng = np.random.default_rng(9)
    a, v, out = rng.standard_normal((4, 5)), rng.standard_normal((5, 3)), np.zeros((4, 2))
    stored, strides = (a.copy(), (5, 1)) if a_by_rows else (a.T.copy(), (1, 4))
    if row:  # v^T A^T
        both("gemm", [out], [v, stored], m=1, n=4, k=5, a=(1, 3), b=strides[::-1], c=(1, 2))
    else:
        both("gemm", [out], [stored, v], m=4, n=1, k=5, a=strides, b=(3, 1), c=(2, 1))
    np.testing.assert_allclose(out[:, 0], a @ v[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(out[:, 1], 0)


def test_gemm_of_pieces_of_larger_rows() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 6, 3, 4)), rng.standard_normal((2, 5, 3, 4))
    out = np.empty((2, 3, 6, 5))
    both(
        "gemm", [out], [x, y], m=6, n=5, k=4, a=(12, 1), b=(1, 12), c=(5, 1),
        batch=(2, 3), a_batch=(72, 4), b_batch=(60, 4), c_batch=(90, 30),
    )  # fmt: skip
    np.testing.assert_allclose(out, np.einsum("bihd,bjhd->bhij", x, y), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "tol"), DTYPES)
@pytest.mark.parametrize("n", [1, 2, 5, 70])
def test_factorizations(n: int, dtype: type, tol: float) -> None:
    rng = np.random.default_rng(n)
    a = (rng.standard_normal((3, n, n)) + 2 * np.sqrt(n) * np.eye(n)).astype(dtype)
    factor = np.tril(a @ a.swapaxes(1, 2))
    assert both("potrf", [factor], [factor], tol, n=n, count=3) == 0
    lu, pivots = a.swapaxes(1, 2).copy(), np.empty((3, n), np.int32)
    assert both("getrf", [lu, pivots], [lu], tol, n=n, count=3) == 0
    for k, trans in itertools.product((1, 4), (False, True)):
        x = rng.standard_normal((2, 3, n, k)).astype(dtype)
        right = x.copy()
        static = {"n": n, "k": k, "batch": (2, 3), "lu_batch": (0, 1), "trans": trans}
        assert both("getrs", [x], [x, lu, pivots], tol, **static) == 0
        np.testing.assert_allclose((a.swapaxes(1, 2) if trans else a) @ x, right, rtol=10 * tol, atol=10 * tol)
    adjugate, work = np.empty_like(a), np.empty(n * lapack.BLOCK, dtype)
    scratch, swaps = np.empty((n, n), dtype), np.empty(2 * n, np.int32)
    if n < 70:  # the determinant of the larger one is beyond float32
        scale = np.abs(np.linalg.det(a)).max()
        columns = np.ascontiguousarray((a / scale ** (1 / n)).swapaxes(1, 2), dtype)
        scaled, rows = columns.copy(), np.empty_like(pivots)
        run_native("getrf", [scaled, rows], [scaled], n=n, count=3)
        both("adjugate", [adjugate, work, scratch, swaps], [columns, scaled, rows], 10 * tol, n=n, count=3)
    z, w = (a + a.swapaxes(1, 2)), np.empty((3, n), dtype)
    vectors, spare, numbers = z.copy(), np.empty(1 + 6 * n + 2 * n * n, dtype), np.empty(3 + 5 * n, np.int32)
    assert run_native("syevd", [vectors, w, spare, numbers], [vectors], n=n, count=3, vectors=True) == 0
    again, also = z.copy(), w.copy()
    assert lapack.syevd_python([again, also, spare, numbers], [again], n=n, count=3, vectors=True) == 0
    np.testing.assert_allclose(w, also, rtol=tol, atol=10 * tol)
    np.testing.assert_allclose(z @ vectors.swapaxes(1, 2), (vectors * w[..., None]).swapaxes(1, 2), atol=100 * tol)
    spare, alone = np.empty(n * (lapack.BLOCK + 2), dtype), np.empty_like(w)
    assert run_native("syevd", [z.copy(), alone, spare, numbers], [z.copy()], n=n, count=3, vectors=False) == 0
    np.testing.assert_allclose(alone, w, rtol=tol, atol=100 * tol)
    inverse = lu.copy()
    assert both("getri", [inverse, work], [inverse, pivots], tol, n=n, count=3) == 0
    np.testing.assert_allclose(inverse.swapaxes(1, 2) @ a, np.broadcast_to(np.eye(n), a.shape), atol=10 * tol)


@pytest.mark.parametrize(("dtype", "tol"), DTYPES)
@pytest.mark.parametrize("n", [1, 2, 5, 70])
def test_complex_factorizations(n: int, dtype: type, tol: float) -> None:
    rng = np.random.default_rng(n)
    parts = (rng.standard_normal((3, n, n, 2)) + 2 * np.sqrt(n) * np.eye(n)[..., None]).astype(dtype)
    lu, pivots = parts.copy(), np.empty((3, n), np.int32)
    assert both("getrf_complex", [lu, pivots], [lu], tol, n=n, count=3) == 0
    a = (parts + parts.swapaxes(1, 2) * np.array([1, -1], dtype)).astype(dtype)
    z, w = (a[..., 0] + 1j * a[..., 1]).swapaxes(1, 2), np.empty((3, n), dtype)
    work, rwork, iwork = lapack_complex.heevd_sizes(n)
    spare = [np.empty(2 * work, dtype), np.empty(rwork, dtype), np.empty(iwork, np.int32)]
    for run in (functools.partial(run_native, "heevd"), lapack_complex.heevd_python):
        vectors = a.copy()
        assert run([vectors, w, *spare], [vectors], n=n, count=3) == 0
        v = (vectors[..., 0] + 1j * vectors[..., 1]).swapaxes(1, 2)
        np.testing.assert_allclose(w, np.linalg.eigvalsh(z), rtol=tol, atol=100 * tol)
        np.testing.assert_allclose(z @ v, v * w[:, None], atol=100 * tol)


@pytest.mark.parametrize(("dtype", "tol"), DTYPES)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 3), (3, 5), (70, 40), (40, 70)])
def test_orthogonal_factorizations(m: int, n: int, dtype: type, tol: float) -> None:
    rng, k = np.random.default_rng(m), min(m, n)
    a = rng.standard_normal((3, n, m)).astype(dtype)  # by columns
    factored, tau, work = a.copy(), np.empty((3, k), dtype), np.empty(n * lapack.BLOCK, dtype)
    assert both("geqrf", [factored, tau, work], [factored], 10 * tol, m=m, n=n, count=3) == 0
    q, work = factored[:, :k].copy(), np.empty(k * lapack.BLOCK, dtype)
    assert both("orgqr", [q, work], [q, tau], 10 * tol, m=m, n=k, k=k, count=3) == 0
    r = np.triu(factored.swapaxes(1, 2))[:, :k]
    np.testing.assert_allclose(q.swapaxes(1, 2) @ r, a.swapaxes(1, 2), atol=20 * tol)
    values = np.linalg.svd(a, compute_uv=False)
    for job, rows, columns in (("N", 0, 0), ("S", k, k), ("A", n, m)):
        size = lapack_orthogonal.svd_work(m, n, job)
        outs = [a.copy(), np.empty((3, k), dtype), np.empty(size, dtype), np.empty(8 * k, np.int32)]
        if job != "N":
            outs += [np.empty((3, columns, m), dtype), np.empty((3, n, rows), dtype)]
        for run in (run_native, lambda _, *args, **static: lapack_orthogonal.gesdd_python(*args, **static)):
            outs[0][...] = a
            assert run("gesdd", outs, [outs[0]], m=m, n=n, job=job, count=3) == 0
            np.testing.assert_allclose(outs[1], values, rtol=10 * tol, atol=10 * tol)
            if job == "N":
                continue
            u, vt = outs[4].swapaxes(1, 2), outs[5].swapaxes(1, 2)
            np.testing.assert_allclose((u[..., :k] * outs[1][:, None]) @ vt[:, :k], a.swapaxes(1, 2), atol=20 * tol)
            np.testing.assert_allclose(
                u.swapaxes(1, 2) @ u, np.broadcast_to(np.eye(columns), u.shape[:1] + (columns,) * 2), atol=20 * tol
            )
    outs[0][...] = np.nan
    assert run_native("gesdd", outs, [outs[0]], m=m, n=n, job="A", count=3) == lapack_orthogonal.NO_SVD


def test_statuses_and_that_later_matrices_are_left_alone() -> None:
    bad = np.stack([np.eye(3), -np.eye(3), np.full((3, 3), 7.0)])
    assert both("potrf", [bad], [bad], n=3, count=3) == 3
    np.testing.assert_array_equal(bad[2], 7.0)
    lu, pivots = np.stack([np.eye(3), np.zeros((3, 3))]), np.ones((2, 3), np.int32)
    x = np.ones((2, 3, 1))
    static = {"n": 3, "k": 1, "batch": (2,), "lu_batch": (1,), "trans": False}
    assert both("getrs", [x], [x, lu, pivots], **static) == 2
    assert both("getri", [lu, np.empty(3 * lapack.BLOCK)], [lu, pivots], n=3, count=2) == 2
    a = np.zeros((3, 3))
    static = {"n": 3, "k": 1, "batch": (), "a_batch": (), "lower": True, "trans": False}
    assert both("trtrs", [x[0]], [x[0], a], unit=False, **static) == 2
    assert both("trtrs", [x[0]], [x[0], a], unit=True, **static) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, np.uint16, np.bool_])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 200])
def test_sorts(n: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    keys = rng.integers(-50, 50, (4, n)).astype(dtype)
    if keys.dtype.kind == "f":
        keys[rng.random(keys.shape) < 0.1] = np.nan
    index = np.empty(keys.shape, np.int64)
    again = keys.copy()
    both("sort_rows", [keys, np.empty(n, dtype)], [keys], rows=4, n=n)
    both("argsort_rows", [index, again, np.empty(n, np.int64), np.empty(n, dtype)], [again], rows=4, n=n)
    np.testing.assert_array_equal(again, keys)


def test_unknown_function() -> None:
    with pytest.raises(CompilationError, match="no library function named 'gesvd'"):
        libcalls.get("gesvd")


def test_signatures_with_long_integers_are_refused() -> None:
    assert externs.parse_signature("void (char *, int *, double *, int *)", "f") == "ciri"
    for text in ("void (char *, long *, double *)", "double (int *, double *)", "void (int64_t *)"):
        with pytest.raises(CompilationError, match="32-bit integers"):
            externs.parse_signature(text, "f")


def test_emitted_code_names_symbols_not_addresses() -> None:
    module = ir.Module("m")
    fn = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.DoubleType().as_pointer()] * 3), "f")
    builder = ir.IRBuilder(fn.append_basic_block())
    static = {"m": 2, "n": 2, "k": 2, "a": (2, 1), "b": (2, 1), "c": (2, 1)}
    from jitgrad.loopir.nodes import Buffer

    buffer = Buffer("t", np.dtype(np.float64), (2, 2))
    libcalls.get("gemm").emit(builder, fn.args[:1], fn.args[1:], static, [buffer], [buffer, buffer])
    builder.ret_void()
    assert '@"jitgrad.gemm.f64"' in str(module) and "inttoptr" not in str(module)


def test_every_symbol_can_be_bound() -> None:
    real = [name for name in externs.ROUTINES if name != "heevd"]
    names = [f"jitgrad_{letter}{name}" for letter, name in itertools.product("sd", real)]
    names += [f"jitgrad_{letter}{name}" for letter, name in itertools.product("cz", ("heevd", "getrf"))]
    libcalls.register_symbols([*names, "jitgrad_threads", "malloc", "not_ours"])
    assert all(map(externs.binding.address_of_symbol, [*names, "jitgrad_threads"]))
