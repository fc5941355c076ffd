"""Assignment into arrays: compiled functions against NumPy, results and arguments, and their gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg

RNG = np.random.default_rng(7)
M = RNG.normal(size=(3, 4))
V = RNG.normal(size=4)
T3 = RNG.normal(size=(2, 3, 4))
N = np.arange(5)
GLOBAL = np.arange(12.0).reshape(3, 4)


def element(A):
    A[1, 2] = 5.0
    A[-1, -1] = A[0, 0] * 2
    return A.sum()


def slices(A, v):
    A[1:, ::2] = v[:2]
    A[0] = v
    A[:, -1] = 0.0
    return A * 2


def negative_steps(A):
    A[::-1, 3:0:-2] = np.arange(6.0).reshape(3, 2)
    return A


def overlapping(A):
    A[1:] = A[:-1]
    A[:, 1:] += A[:, :-1]
    return A


def alias_of_a_slice(A):
    B = A[1:]
    B[0] = 3.0
    C = B[:, 1:3]
    C *= 2.0
    C[-1, -1] += 1.0
    return A, B, C


def alias_of_a_transpose(A):
    B = A.T
    B += 1.0
    B[2] = np.arange(3.0)
    A[0, 0] = -7.0
    return B * 1.0


def alias_of_a_reshape(A):
    flat = A.reshape(-1)
    flat[::5] = 9.0
    again = flat.reshape(2, 6)
    again[1, 1:4] -= 1.0
    copied = A.T.reshape(-1)
    copied[:] = 0.0
    return copied, again.copy()


def alias_of_new_axes(A):
    B = A[None, :, None]
    B[0, 1, 0] = 2.0
    C = np.squeeze(B)
    C[0] += 1.0
    D = np.expand_dims(A, 1)
    D[2, 0, 3] = 8.0
    return B.shape[0] * C


def alias_through_functions(A, v):
    for part in np.split(A, 2, axis=1):
        part[0] += 1.0
    np.asarray(A)[1] *= 2.0
    np.atleast_2d(v)[0, 1] = 4.0
    np.moveaxis(A, 0, 1)[0, 0] = 5.0
    np.swapaxes(A, 0, 1)[1, 1] = 6.0
    np.flip(A)[0, 0] = 7.0
    np.rot90(A)[0, 1] = 8.0
    np.array(A, copy=False)[0, 2] = 9.0
    np.array(A)[0, 2] = 10.0
    return A.sum()


def rows(A):
    for k, row in enumerate(A):
        row[...] = row * k
    return A


def three_axes(A):
    A[..., 1] = 0.0
    A[0, :, ::2] += A[1, :, 1::2]
    A.transpose(2, 0, 1)[3, 1] = 2.0
    A[1].T[:, 0] *= 3.0
    return A.sum(axis=1)


def copies_are_apart(A):
    B = A.copy()
    C = A.flatten()
    D = A.astype(float)
    E = np.copy(A)
    F = A + 0
    for X in (B, C, D, E, F):
        X[...] = -1.0
    return A


def made_inside(v):
    A = np.zeros((3, 4))
    A[1] = v
    B = np.empty(4)
    B[:2] = v[:2]
    B[2:] = 1.0
    C = np.ones_like(A)
    C[:, 0] = v[:3]
    D = np.full((2, 2), 3.0)
    D[0, 0] *= v[0]
    E = np.arange(4.0)
    E -= v
    F = np.array([1.0, 2.0, 3.0])
    F[1] = v[1]
    G = np.eye(3)
    G[0] += v[:3]
    H = np.linspace(0.0, 1.0, 4)
    H[::2] = v[::2]
    return A, B, C, D, E, F, G, H


def known_before_it_is_traced(v):
    A = np.zeros((3, 4))
    row, column, corner = A[1], A[:, 2], A[1:, ::2]
    flat, turned, diagonal = A.reshape(-1), A.T, A.reshape(-1)[::5]
    A[0, 0] = 1.0
    if A[0, 0] == 1.0 and float(A.sum()) == 1.0 and int(A[0, 0]) == 1:
        row[:] = v
    column[0] += 1.0
    corner *= 2.0
    flat[1] = v[3]
    turned[3, 2] = -1.0
    diagonal[1] = 4.0
    return A, row, column, corner, flat, turned, diagonal


def known_all_the_way(v):
    A = np.arange(6).reshape(2, 3)
    A[0] *= 2
    A.sort(axis=0)
    table = [int(k) for k in A.ravel()]
    mask = A > 2
    order = np.argsort(-A[0])
    return v[: len(table) // 2].sum() + v[order[0]] + A[mask].sum() * v, A


def lists_and_dicts(v):
    state = {"x": np.zeros(4), "n": [0, 1]}
    state["x"][1:3] = v[1:3]
    state["n"][0] += 2
    parts = [v[:2], np.zeros(2)]
    parts[1] += v[2:]
    return state, parts


def integer_arrays(A, i):
    A[i] = A[i] * 2
    A[i, 1] += 10.0
    A[:, i[:2]] -= 1.0
    A[[0, 2], [1, 3]] = 5.0
    A[i[:2], None, 0] = 2.0
    return A


def duplicates(v, i):
    v[i] += 1.0
    v[i] *= 2.0
    return v


def masks(A):
    A[A > 0.3] = 0.5
    A[A < 0] *= 2.0
    A[np.array([True, False, True])] += 1.0
    A[:, np.array([True, False, False, True])] = 3.0
    return A


def traced_mask_in_place(A):
    A[A > 0] += 1.0
    A[A < -0.5] = 0.25
    return A


def augmented(A):
    A[0] += 1.0
    A[1] -= A[0]
    A[:, 1] *= 3.0
    A[2, 1:] /= 2.0
    A[0] //= 0.5
    A[0] %= 3.0
    A[1, 2:] **= 2
    return A


def whole(A, v):
    A[...] = v
    A[:] += 1.0
    B = A
    B *= v
    return A is B, A


def integers(n):
    n[0] = 2.7
    n[1:3] = np.array([1.9, -1.9])
    n[3] += 5
    n //= 2
    n[4] <<= 2
    n &= 7
    return n


def integer_element_times_float(n):
    n[1] *= 2.5
    return n


def booleans(A):
    found = A > 0
    found[0] = False
    found[1] |= True
    found &= A < 1
    return found


def single_precision(x, v):
    x[1:] += v[1:]
    x[0] = v[0]
    return x


def out_arguments(A, v):
    B = np.empty_like(A)
    np.multiply(A, v, out=B)
    np.add(B, 1.0, out=B)
    np.sin(A[0], out=A[1])
    np.sum(A, axis=0, out=v)
    np.cumsum(A, axis=1, out=B)
    A.max(axis=1, out=B[:, 0])
    np.add(A, 1.0, out=A, where=A > 0)
    return B


def ufunc_at(v, i):
    np.add.at(v, i, 1.5)
    np.subtract.at(v, [0, 0], np.array([1.0, 2.0]))
    np.multiply.at(v, [1, 1, 2], 2.0)
    np.maximum.at(v, i, np.arange(5.0))
    np.minimum.at(v, (np.array([3, 3]),), np.array([0.5, 0.25]))
    np.negative.at(v, [0])
    return v


def functions_that_write(A, v):
    np.fill_diagonal(A, 9.0)
    np.fill_diagonal(A.T, v[:3])
    np.copyto(v, A[0])
    np.copyto(A, 0.5, where=A > 1.0)
    np.put(A, [0, -1], v[:2])
    np.place(v, np.array([True, False, True, False]), [1.0, 2.0])
    np.putmask(A, A < 0, np.arange(5.0))
    np.put_along_axis(A, np.array([[0], [1], [2]]), -3.0, axis=1)
    return A


def methods_that_write(A, v):
    A.sort()
    A[0, ::2].sort()
    v[::-1].sort()
    A[1].fill(2.0)
    A.put([1, 2], [7.0, 8.0])
    A.flat[-2:] = 4.0
    A.T.flat[:3] = v[:3]
    A.flat = A.flat[::-1].copy()
    return A


def zero_dimensional(v):
    total = np.zeros(())
    total += v.sum()
    total[...] = total * 2
    s = v[0]
    s += 1.0  # a scalar: v stays
    piece = v[1, ...]
    piece += 1.0  # an array: v changes
    return total, s, v


def swap(v):
    v[0], v[1] = v[1], v[0]
    v[[2, 3]] = v[[3, 2]]
    return v


def traced_indices(A, k):
    A[k] = 1.0
    A[k, 0] += 2.0
    A[:, k] *= 3.0
    A[-k, 1] -= A[k, 2]
    B = A[k]
    B[1:] = 0.25
    return A[k, k], B


def traced_slices(A, k):
    A[:k] = 1.0
    A[k:, 1] += 2.0
    A[k - 1 : k + 1] *= 2.0
    A[:, :k] -= A[:, :1]
    A[::-1][:k, 0] = 7.0
    B = A[: k + 1, 1:]
    B[0] = 8.0
    return A[:k].sum(), B.sum(), A[k:, k:].sum()


def traced_row_of_a_known_array(v, k):
    A = np.zeros((3, 4))
    A[k] = v
    B = np.arange(12.0).reshape(3, 4)
    row = B[k]
    row[1] = 5.0
    return A, B, row, GLOBAL[k] * v


def copy_of_a_captured_array(v, k):
    A = GLOBAL.copy()
    A[k] = v
    B = np.array(GLOBAL)
    B[0] += v
    C = GLOBAL * 1.0
    C[:, k] = 0.0
    return A, B, C


def the_same_array_where_nothing_changes(A, v):
    A.astype(float, copy=False)[0] = 1.0
    A.astype(np.float32, copy=False)[1] = 2.0
    A.conj()[1, 1] = 3.0
    v.conjugate()[0] = 4.0
    np.nan_to_num(A, copy=False)[2] = 5.0
    np.nan_to_num(A)[2] = 6.0
    np.asarray(A, order="C")[0, 0] = 7.0
    np.asarray(A.T, order="F")[1, 0] = 8.0
    np.ascontiguousarray(v)[1] = 9.0
    np.require(A, requirements="C")[0, 2] = 10.0
    np.asfortranarray(A.T)[3, 0] = 11.0
    return A


def another_array_where_the_order_changes(A, v):
    B, C, D = np.ascontiguousarray(A.T), np.asfortranarray(A), np.asarray(A.T, order="C")
    E, F = np.require(A.T, requirements=["C"]), np.ascontiguousarray(v[::2])
    G, H = np.require(A[0], requirements="O"), np.array(A, copy=None, order="F")
    for copied in (B, C, D, E, F, G, H):
        copied[0] = 9.0
    return A, B, C, D, E, F, G, H


def order_in_memory(A, v):
    """A reshape of what was made from a transposed array is a copy, as that lies in memory in its order."""
    made = [A.T * 2, A.T + v[:3], np.copy(A.T), np.array(A.T), A.T.astype(float), np.where(A.T > 0, A.T, 0.0)]
    made += [np.zeros_like(A.T), A.T.clip(0.0, 1.0), np.sort(A.T, axis=0), A.T.round(1), np.cumsum(A.T, axis=0), -A.T]
    made += [A[:, [0, 1]], A.T[1:] * A.T[:-1], np.concatenate([A.T, A.T]), A.T.copy(order="F"), (A.T * 2)[1:]]
    for B in made:
        B.reshape(-1)[0] = 50.0
        B.ravel()[1] = 60.0
    return made


def order_in_memory_of_copies(A, v):
    """What lies in C order is shared by its reshapes, and so is what a transpose turns back."""
    made = [A.T.copy(), A.T @ A, A * 2, A[::-1] * 2, np.zeros((4, 3)), A[[0, 1]], A[:, None] + A, A[:, :1] * v]
    for B in made:
        B.reshape(-1)[0] = 50.0
        B.ravel()[1] = 60.0
    turned = [A.T * 2, np.asfortranarray(A), A[:, [0, 1]]]
    for B in turned:
        B.T.reshape(-1)[0] = 50.0
        B.ravel(order="K")[1] = 60.0
        B.ravel(order="F")[2] = 70.0
        B.ravel(order="A")[3] = 80.0
    return made, turned, A.T.ravel(order="K")


def order_in_memory_of_known_arrays(v):
    z, y, t = np.zeros((2, 3), order="F"), np.copy(np.ones((2, 3)).T), np.arange(6.0).reshape(2, 3).T + 1.0
    for B in (z, y, t):
        B.reshape(-1)[0] = v[0]
        B.T.reshape(-1)[1] = v[1]
    return z, y, t


CASES: dict[Callable[..., Any], tuple[Any, ...]] = {
    element: (M,),
    slices: (M, V),
    negative_steps: (M,),
    overlapping: (M,),
    alias_of_a_slice: (M,),
    alias_of_a_transpose: (M,),
    alias_of_a_reshape: (M,),
    alias_of_new_axes: (M,),
    alias_through_functions: (M, V),
    rows: (M,),
    three_axes: (T3,),
    copies_are_apart: (M,),
    made_inside: (V,),
    known_before_it_is_traced: (V,),
    known_all_the_way: (V,),
    lists_and_dicts: (V,),
    integer_arrays: (RNG.normal(size=(4, 4)), np.array([2, 0, 1])),
    duplicates: (V, np.array([1, 1, 3, 0, 1])),
    masks: (M,),
    traced_mask_in_place: (M,),
    augmented: (M,),
    whole: (M, V),
    integers: (N,),
    integer_element_times_float: (N,),
    booleans: (M,),
    single_precision: (V.astype(np.float32), RNG.normal(size=4)),
    out_arguments: (M, V),
    ufunc_at: (V, np.array([1, 1, 3, 0, 1])),
    functions_that_write: (M, V),
    methods_that_write: (M, V),
    zero_dimensional: (V,),
    swap: (V,),
    traced_indices: (M, 2),
    traced_slices: (M, 1),
    traced_row_of_a_known_array: (V, 1),
    copy_of_a_captured_array: (V, 2),
    the_same_array_where_nothing_changes: (M, V),
    another_array_where_the_order_changes: (M, V),
    order_in_memory: (M, V),
    order_in_memory_of_copies: (M, V),
    order_in_memory_of_known_arrays: (V,),
}


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [x for v in tree.values() for x in leaves(v)]
    if isinstance(tree, (list, tuple)):
        return [x for v in tree for x in leaves(v)]
    return [tree]


@pytest.mark.parametrize("f", CASES, ids=lambda f: f.__name__)
def test_results_and_arguments(f) -> None:
    args = CASES[f]
    plain, ours = copy.deepcopy(args), copy.deepcopy(args)
    expected = f(*plain)
    compiled = jg.jit(f)
    for _ in range(2):  # compiled, and by the fast path
        ours = copy.deepcopy(args)
        found = compiled(*ours)
        for a, e in zip(leaves(found), leaves(expected), strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-6 if np.asarray(e).dtype == np.float32 else 1e-12)
            assert np.asarray(a).dtype == np.asarray(e).dtype
        for a, e in zip(ours, plain, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-6 if np.asarray(e).dtype == np.float32 else 1e-12)


def total(f: Callable[..., Any]) -> Callable[..., Any]:
    """A smooth number made of all that a function returns and writes."""

    def loss(x, *rest):
        result = f(x, *rest)
        floats = [r for r in leaves([result, x]) if getattr(r, "dtype", None) is not None and r.dtype.kind == "f"]
        return sum(np.sum(np.sin(r) * (k + 1)) for k, r in enumerate(floats))

    return loss


#: Where NumPy's program is not smooth at the point, or has no float argument.
NO_GRADIENT = (integers, integer_element_times_float, booleans, single_precision)


@pytest.mark.parametrize("f", [f for f in CASES if f not in NO_GRADIENT], ids=lambda f: f.__name__)
def test_gradients(f) -> None:
    x, *rest = CASES[f]
    loss = total(f)
    before = x.copy()
    g = jg.grad(loss)(x, *rest)
    np.testing.assert_array_equal(x, before)  # the caller's array stays as it was
    direction = np.random.default_rng(3).normal(size=x.shape)

    def at(h: float) -> float:
        return loss(x + h * direction, *copy.deepcopy(rest))

    h = 1e-6
    assert np.vdot(g, direction) == pytest.approx((at(h) - at(-h)) / (2 * h), rel=2e-6, abs=1e-8)
