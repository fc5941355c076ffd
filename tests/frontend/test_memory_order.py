"""Which results lie in memory in C order decides whether ``reshape`` gives a view: writes through it show."""

import numpy as np
import pytest

import jitgrad as jg

A, B = np.arange(24.0).reshape(2, 3, 4) + 1, np.arange(12.0).reshape(3, 4) + 1
RESULTS = {
    "sum of the first axis": lambda a, b: a.T.sum(0),
    "sum of the last axis": lambda a, b: np.sum(a.T, -1),
    "sum that stays": lambda a, b: a.transpose(1, 0, 2).sum(0),
    "sum, axes kept": lambda a, b: a.transpose(2, 0, 1).sum(1, keepdims=True),
    "mean": lambda a, b: a.transpose(1, 2, 0).mean(1),
    "max": lambda a, b: a.transpose(2, 0, 1).max(1),
    "argmax": lambda a, b: a.T.argmax(0),
    "any": lambda a, b: (a.T > 3).any(0),
    "std": lambda a, b: a.T.std(0),
    "median": lambda a, b: np.median(a.T, axis=1),
    "norm": lambda a, b: np.linalg.norm(a.T, axis=0),
    "nansum": lambda a, b: np.nansum(a.T, axis=0),
    "reduce": lambda a, b: np.minimum.reduce(a.T, 1),
    "logaddexp.reduce": lambda a, b: np.logaddexp.reduce(a.T, axis=1),
    "cumsum": lambda a, b: np.cumsum(a.T, 1),
    "accumulate": lambda a, b: np.maximum.accumulate(a.T, 1),
    "outer": lambda a, b: np.add.outer(b.T, b[0]),
    "stack": lambda a, b: np.stack([b.T, b.T]),
    "stack in between": lambda a, b: np.stack([b.T, b.T], 1),
    "stack behind": lambda a, b: np.stack([b.T, b.T], -1),
    "stack of both": lambda a, b: np.stack([b.T, b.reshape(4, 3)], 1),
    "vstack": lambda a, b: np.vstack([b.T, b.T]),
    "hstack": lambda a, b: np.hstack([b.T, b.T]),
    "dstack": lambda a, b: np.dstack([b.T, b.T]),
    "column_stack": lambda a, b: np.column_stack([b.T, b[0]]),
    "block": lambda a, b: np.block([[b.T, b.T]]),
    "append": lambda a, b: np.append(b.T, b.T, 0),
    "pad": lambda a, b: np.pad(b.T, 1),
    "pad of no order": lambda a, b: np.pad(a.transpose(1, 0, 2), 1),
    "diff": lambda a, b: np.diff(b.T, axis=0),
    "gradient": lambda a, b: np.gradient(b.T)[0],
    "trapezoid": lambda a, b: np.trapezoid(a.T, axis=0),
    "turned by einsum": lambda a, b: np.einsum("ij->ji", b),
    "turned back by einsum": lambda a, b: np.einsum("ij->ji", b.T),
    "einsum of one": lambda a, b: np.einsum("ijk->kj", a),
    "elementwise einsum": lambda a, b: np.einsum("ij,ij->ji", b, b),
    "product by einsum": lambda a, b: np.einsum("ij,jk->ki", b.T, b),
    "products by einsum": lambda a, b: np.einsum("ij,jk,kl->il", b.T, b, b.T),
    "larger einsum": lambda a, b: np.einsum("ijk,jl->kli", a, b),
    "matmul": lambda a, b: b.T @ b,
    "float32": lambda a, b: np.float32(b.T),
    "where": lambda a, b: np.where(b.T > 3, b.T, 0),
    "take": lambda a, b: np.take(b.T, [0, 1], 0),
}


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_reshape_gives_a_view_where_numpys_does(make):
    def f(a, b):
        made = make(a, b)
        made.reshape(-1)[...] = 7
        return made

    plain_a, plain_b, a, b = A.copy(), B.copy(), A.copy(), B.copy()
    expected, found = f(plain_a, plain_b), jg.jit(f)(a, b)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(a, plain_a)
    np.testing.assert_array_equal(b, plain_b)


def test_einsum_that_turns_is_a_view():
    def f(b, v):
        np.einsum("ij->ji", b)[0] = v
        return np.sum(b * b)

    np.testing.assert_array_equal(jg.grad(f, argnums=1)(B, np.ones(3)), 2 * np.ones(3))
    changed = B.copy()
    jg.jit(f)(changed, np.ones(3))
    np.testing.assert_array_equal(changed[:, 0], 1)


def test_pieces_of_different_extents_that_are_turned() -> None:
    a, b = np.arange(12.0).reshape(3, 4), np.arange(6.0).reshape(3, 2)

    def f(a, b):
        whole = np.concatenate([a.T, b.T])
        return whole, np.ravel(whole, order="K"), np.ravel(np.concatenate([a, b], axis=1), order="K")

    for got, want in zip(jg.jit(f)(a, b), f(a, b), strict=True):
        np.testing.assert_array_equal(got, want)
