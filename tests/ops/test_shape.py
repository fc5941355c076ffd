"""Ops that move elements: NumPy's values, messages, and derivatives with their masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from opcheck import cotangents, pull_back, tangent, value

from jitgrad.errors import DtypeError, IndexBoundsError, ShapeError
from jitgrad.ir.core import OPS, Builder
from jitgrad.ir.index import sym
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f64
from jitgrad.ops.op import Var

X = np.arange(12.0).reshape(3, 4)


def test_reshape_and_transpose() -> None:
    np.testing.assert_array_equal(value("reshape", X, shape=(2, 6)), X.reshape(2, 6))
    np.testing.assert_array_equal(value("transpose", X, perm=(1, 0)), X.T)
    y = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(value("transpose", y, perm=(2, 0, 1)), y.transpose(2, 0, 1))
    np.testing.assert_array_equal(cotangents("transpose", X.T, X, perm=(1, 0))[0], X)


def test_symbolic_extents() -> None:
    n = sym("n", 0)
    b = Builder("g")
    x = b.param(TensorType(f64, (n, 4)), "x")
    flat = b.emit("reshape", x, shape=(4 * n,))
    turned = b.emit("transpose", x, perm=(1, 0))
    joined = b.emit("concatenate", x, x, axis=0)
    assert (flat.type.shape, turned.type.shape, joined.type.shape) == ((4 * n,), (4, n), (2 * n, 4))
    found = interpret(b.build(flat, joined), X)
    np.testing.assert_array_equal(found[0], X.ravel())
    np.testing.assert_array_equal(found[1], np.concatenate([X, X]))
    with pytest.raises(ShapeError, match=r"cannot reshape array of size 4\*n into shape"):
        b.emit("reshape", x, shape=(3 * n,))


@pytest.mark.parametrize(
    ("old", "new"), [((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 1), (4, 0)), ((2, 1, 3), (4, 2, 5, 3))]
)
def test_broadcast(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=old)
    np.testing.assert_array_equal(value("broadcast_to", x, shape=new), np.broadcast_to(x, new))
    np.testing.assert_allclose(cotangents("broadcast_to", np.ones(new), x, shape=new)[0], np.prod(new) / x.size)


def test_concatenate() -> None:
    a, b, c = np.ones((2, 1)), np.zeros((2, 0)), np.full((2, 3), 2.0)
    np.testing.assert_array_equal(value("concatenate", a, b, c, axis=1), np.concatenate([a, b, c], 1))
    g = np.arange(8.0).reshape(2, 4)
    pieces = cotangents("concatenate", g, a, b, c, axis=1)
    for piece, part in zip(pieces, (g[:, :1], g[:, :0], g[:, 1:]), strict=True):
        np.testing.assert_array_equal(piece, part)
    masked = pull_back("concatenate", g, g > 5, a, b, c, axis=1)
    np.testing.assert_array_equal(masked[2][1], g[:, 1:] > 5)


SLICES = [np.s_[:, :], np.s_[1:, ::2], np.s_[::-1, 3:0:-2], np.s_[::-2, ::-1], np.s_[2:2, :], np.s_[0:1, 1:4:3]]


def attributes(index: tuple[slice, ...], shape: tuple[int, ...]) -> dict[str, Any]:
    ranges = [range(n)[s] for s, n in zip(index, shape, strict=True)]
    starts = tuple(r.start if len(r) else 0 for r in ranges)
    return {"starts": starts, "sizes": tuple(map(len, ranges)), "steps": tuple(r.step for r in ranges)}


@pytest.mark.parametrize("index", SLICES, ids=str)
def test_pieces(index: tuple[slice, ...]) -> None:
    attrs = attributes(index, X.shape)
    piece = X[index]
    np.testing.assert_array_equal(value("slice", X, **attrs), piece)
    expected = np.zeros_like(X)
    expected[index] = 1 + piece
    np.testing.assert_array_equal(cotangents("slice", 1 + piece, X, **attrs)[0], expected)
    del attrs["sizes"]
    v = 1 + np.random.default_rng(1).normal(size=piece.shape)
    added, written = X.copy(), X.copy()
    added[index] += v
    written[index] = v
    np.testing.assert_array_equal(value("add_slice", X, v, **attrs), added)
    np.testing.assert_array_equal(value("set_slice", X, v, **attrs), written)
    g = X + 1
    kept = g.copy()
    kept[index] = 0
    for name, gx in [("add_slice", g), ("set_slice", kept)]:
        found = cotangents(name, g, X, v, **attrs)
        np.testing.assert_array_equal(found[0], gx)
        np.testing.assert_array_equal(found[1], g[index])
        np.testing.assert_array_equal(tangent(name, [X, v], X, v, **attrs), value(name, X, v, **attrs))


def test_what_is_overwritten_is_masked_out() -> None:
    attrs = {"starts": (1,), "steps": (2,)}
    x, v, g = np.zeros(4), np.zeros(2), np.array([1.0, 2.0, 3.0, 4.0])
    (gx, mask), (gv, none) = pull_back("set_slice", g, None, x, v, **attrs)
    np.testing.assert_array_equal(gx, [1, 0, 3, 0])
    np.testing.assert_array_equal(mask, [True, False, True, False])
    np.testing.assert_array_equal(gv, [2, 4])
    assert none is None
    (_, mask), (_, piece) = pull_back("set_slice", g, [False, True, True, False], x, v, **attrs)
    np.testing.assert_array_equal(mask, [False, False, True, False])
    np.testing.assert_array_equal(piece, [True, False])


def test_masks_move_with_the_elements() -> None:
    g = np.array([[1.0, 0.0], [2.0, 0.0]])
    mask = g > 0
    ((_, moved),) = pull_back("transpose", g, mask, X[:2, :2], perm=(1, 0))
    np.testing.assert_array_equal(moved, mask.T)
    ((_, moved),) = pull_back("broadcast_to", g, mask, X[0, :2], shape=(2, 2))
    np.testing.assert_array_equal(moved, [True, False])
    ((_, moved),) = pull_back("slice", g, mask, X, starts=(2, 3), sizes=(2, 2), steps=(-2, -1))
    expected = np.zeros((3, 4), bool)
    expected[::2, 3] = True
    np.testing.assert_array_equal(moved, expected)
    ((_, moved),) = pull_back("pad", g, mask, X[:1, :1], low=(1, 0), high=(0, 1))
    np.testing.assert_array_equal(moved, [[True]])


def test_reads_of_pieces_add_up_in_one_buffer() -> None:
    b = Builder("g")
    acc, g = Var(b, b.constant(X[0])), Var(b, b.constant([10.0, 20.0]))
    x = Var(b, b.constant(np.zeros(4)))
    rule: Any = OPS["slice"]
    total = rule.accumulate(acc, g, x, starts=(3,), sizes=(2,), steps=(-2,))
    np.testing.assert_array_equal(interpret(b.build(total.value))[0], [0, 21, 2, 13])


def test_pad() -> None:
    np.testing.assert_array_equal(value("pad", X, low=(1, 0), high=(2, 3)), np.pad(X, ((1, 2), (0, 3))))
    g = np.arange(30.0).reshape(6, 5)
    np.testing.assert_array_equal(cotangents("pad", g, X, low=(1, 0), high=(2, 1))[0], g[1:4, :4])


def test_creation() -> None:
    np.testing.assert_array_equal(value("iota", shape=(2, 3), axis=1, dtype=np.dtype(np.int32)), [[0, 1, 2]] * 2)
    assert value("iota", shape=(4,), axis=0, dtype=np.dtype(np.float32)).dtype == np.float32
    b = Builder("g")
    with pytest.raises(ShapeError, match="axis 1 is out of bounds for array of dimension 1"):
        b.emit("iota", shape=(2,), axis=1, dtype=np.dtype(int))
    with pytest.raises(DtypeError, match="does not take bool"):
        b.emit("iota", shape=(2,), axis=0, dtype=np.dtype(bool))


FAILURES: list[tuple[str, type[Exception], str, dict[str, Any]]] = [
    ("reshape", ShapeError, r"cannot reshape array of size 12 into shape \(5,\).* product is 12", {"shape": (5,)}),
    ("reshape", ShapeError, "cannot reshape", {"shape": (-3, -4)}),
    ("transpose", ShapeError, "axes don't match array", {"perm": (0, 0)}),
    ("transpose", ShapeError, "axes don't match array", {"perm": (0,)}),
    ("broadcast_to", ShapeError, r"cannot broadcast array of shape \(3, 4\) to shape \(4,\)", {"shape": (4,)}),
    ("broadcast_to", ShapeError, "cannot broadcast", {"shape": (3, 5)}),
    ("concatenate", ShapeError, "axis 2 is out of bounds", {"axis": 2}),
    ("slice", IndexBoundsError, "out of bounds for axis 0", {"starts": (1, 0), "sizes": (3, 1), "steps": (1, 1)}),
    ("slice", IndexBoundsError, "out of bounds for axis 1", {"starts": (0, 1), "sizes": (1, 3), "steps": (1, -1)}),
    ("slice", ShapeError, "slice step cannot be zero", {"starts": (0, 0), "sizes": (1, 1), "steps": (1, 0)}),
    ("slice", ShapeError, "steps has 1 entries", {"starts": (0, 0), "sizes": (1, 1), "steps": (1,)}),
    ("pad", ShapeError, "index can't contain negative values", {"low": (0, -1), "high": (0, 0)}),
]


@pytest.mark.parametrize(("name", "kind", "message", "attrs"), FAILURES)
def test_messages(name: str, kind: type[Exception], message: str, attrs: dict[str, Any]) -> None:
    with pytest.raises(kind, match=message) as caught:
        value(name, X, **attrs)
    assert "opcheck.py" in str(caught.value)  # the user's line


def test_messages_of_operands_that_do_not_fit() -> None:
    with pytest.raises(
        ShapeError, match="along dimension 1, the array at index 0 has size 4 and the array at index 1 h"
    ):
        value("concatenate", X, X.T, axis=0)
    with pytest.raises(ShapeError, match="must have same number of dimensions"):
        value("concatenate", X, X[0], axis=0)
    with pytest.raises(DtypeError, match="concatenate of float64 and float32"):
        value("concatenate", X, X.astype(np.float32), axis=0)
    with pytest.raises(DtypeError, match="add_slice of f64 and i64"):
        value("add_slice", X, np.ones((1, 1), int), starts=(0, 0), steps=(1, 1))
    with pytest.raises(IndexBoundsError, match="set_slice: elements 2 to 3 are out of bounds for axis 0 with size 3"):
        value("set_slice", X, np.ones((2, 1)), starts=(2, 0), steps=(1, 1))
