"""einsum: values in every rendering, derivatives, and which products become library calls, with which copies."""

from __future__ import annotations

import numpy as np
import pytest
from native_checks import check_derivatives, check_value, graph_of, run_everywhere

import jitgrad as jg
from jitgrad.errors import DtypeError, IRError, ShapeError
from jitgrad.ir.core import OPS
from jitgrad.ir.types import TensorType, f32, f64
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import LibCall, Loop
from jitgrad.ops import products
from jitgrad.ops.op import Sample
from jitgrad.runtime.compiled import Executable

SAMPLES = products.Einsum.samples(np.random.default_rng(0))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s.attrs['spec']}-{s.args[0].dtype}")
def test_values(sample: Sample) -> None:
    check_value("einsum", sample)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.grad], ids=lambda s: s.attrs["spec"])
def test_derivatives(sample: Sample) -> None:
    check_derivatives("einsum", sample)


#: spec, extents of the letters, number of nests that copy an operand or the result.
GEMMS = [
    ("ij,jk->ik", 0),
    ("ji,jk->ik", 0),
    ("ij,kj->ik", 0),
    ("ji,kj->ik", 0),
    ("ij,jk->ki", 0),
    ("ji,kj->ki", 0),
    ("bij,jk->bik", 0),
    ("bij,bjk->bik", 0),
    ("bji,bkj->bki", 0),
    ("bihd,bjhd->bhij", 0),
    ("bhij,bjhd->bihd", 0),
    ("ijkl,klm->ijm", 0),
    ("ijkl,kml->ijm", 1),
    ("ijkl,lkm->ijm", 1),
    ("ij,jkl->ikl", 0),
    ("ij,jkl->lik", 1),
    ("ijb,jkb->bik", 2),
    ("ibj,bjk->kib", 1),
]
EXTENTS = {"i": 12, "j": 11, "k": 13, "l": 3, "b": 2, "h": 4, "d": 14, "m": 10}


@pytest.mark.parametrize(("spec", "copies"), GEMMS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_larger_products_are_one_library_call(spec: str, copies: int, dtype: type) -> None:
    rng = np.random.default_rng(1)
    x, y, _ = products.parse_spec(spec)
    args = tuple(rng.standard_normal([EXTENTS[c] for c in part]).astype(dtype) for part in (x, y))
    graph = graph_of("einsum", args, {"spec": spec})
    body = lower(graph).body
    assert [s.fn for s in body if isinstance(s, LibCall)] == ["gemm"]
    assert sum(isinstance(s, Loop) for s in body) == copies
    run_everywhere(graph, *args, tol=1e-12 if dtype is np.float64 else 1e-5)


@pytest.mark.parametrize("spec", [spec for spec, _ in GEMMS])
def test_small_products_are_loops(spec: str) -> None:
    rng = np.random.default_rng(2)
    x, y, _ = products.parse_spec(spec)
    args = tuple(rng.standard_normal([2 + ord(c) % 2 for c in part]) for part in (x, y))
    graph = graph_of("einsum", args, {"spec": spec})
    assert not any(isinstance(s, LibCall) for s in lower(graph).body)
    run_everywhere(graph, *args)


def test_integers_are_always_loops_and_wrap() -> None:
    x = np.full((20, 20), 100, np.int8)
    graph = graph_of("einsum", (x, x), {"spec": "ij,jk->ik"})
    assert not any(isinstance(s, LibCall) for s in lower(graph).body)
    (out,) = run_everywhere(graph, x, x)
    assert out[0, 0] == np.int64(20 * 100 * 100).astype(np.int8)


@pytest.mark.parametrize(
    ("spec", "order"),
    [
        ("ij,jk->ik", "ijk"),  # axpy along rows of y and of the result
        ("ij,kj->ik", "ikj"),  # dot products along rows of both
        ("ji,jk->ik", "ijk"),
        ("ij,j->i", "ij"),
        ("ij,i->j", "ij"),
        ("ij,ij->", "ij"),
        ("i,j->ji", "ji"),
    ],
)
def test_loops_stream(spec: str, order: str) -> None:
    assert products.loop_order(*products.parse_spec(spec), dict.fromkeys("ijk", 8)) == order


def test_errors_name_the_axis() -> None:
    einsum = OPS["einsum"]
    with pytest.raises(
        ShapeError, match=r"\(3, 4\) and \(5, 2\) do not fit.*'j' has extent 4 in one and 5 in the other"
    ):
        einsum.infer(TensorType(f64, (3, 4)), TensorType(f64, (5, 2)), spec="ij,jk->ik")
    with pytest.raises(ShapeError, match="It has 1 axes, not 2"):
        einsum.infer(TensorType(f64, (3,)), TensorType(f64, (5, 2)), spec="ij,jk->ik")
    with pytest.raises(DtypeError, match="float64 and float32"):
        einsum.infer(TensorType(f64, (3, 4)), TensorType(f32, (4, 2)), spec="ij,jk->ik")


@pytest.mark.parametrize("spec", ["ij->i", "ii,ij->j", "ij,j->", "i,i->j", "i.,i->", "ij,jk-ik"])
def test_specs_that_are_not_taken(spec: str) -> None:
    with pytest.raises(IRError, match="einsum does not take"):
        products.parse_spec(spec)


def test_nan_and_infinity_flow() -> None:
    x = np.ones((16, 16))
    x[0, 0], x[1, 1] = np.nan, np.inf
    (out,) = run_everywhere(graph_of("einsum", (x, x), {"spec": "ij,jk->ik"}), x, x)
    assert np.isnan(out[0]).all() and np.isinf(out[1, 1])


@pytest.mark.parametrize("spec", ["ij,j->i", "ij,i->j", "j,ij->i", "bij,bj->bi", "bij,jb->ib", "ijb,jb->bi"])
def test_large_matrix_vector_products_are_loops(spec: str) -> None:
    """They are bound by memory, where loops are as fast as a library, and fuse."""
    extents = {"i": 500, "j": 410, "b": 2}
    x, y, _ = products.parse_spec(spec)
    rng = np.random.default_rng(3)
    args = tuple(rng.standard_normal([extents[c] for c in part]) for part in (x, y))
    graph = graph_of("einsum", args, {"spec": spec})
    assert not any(isinstance(s, LibCall) for s in lower(graph).body)
    (out,) = Executable(lower(graph))(*args)
    np.testing.assert_allclose(out, np.einsum(spec, *args), rtol=1e-10, atol=1e-10)


def copies_of(fun, *args) -> int:
    """How many buffers of the size of the first argument a lowered program fills."""
    program = lower(jg.trace(fun, *args))
    return sum(t.size == args[0].size for t in program.temporaries)


def test_products_share_copies_of_an_operand() -> None:
    rng = np.random.default_rng(0)
    x, u, v = rng.standard_normal((6, 30, 7)), rng.standard_normal((20, 30)), rng.standard_normal((6, 7, 40))

    def several(x, u, v):
        """All of them want the middle axis last or first; the last one wants the other two together."""
        a = np.einsum("bct,oc->bto", x, u)
        b = np.einsum("bct,oc->bto", x, u + 1)
        return a, b, np.einsum("bct,bto->co", x, v)

    assert copies_of(several, x, u, v) == 1
    for found, expected in zip(jg.jit(several)(x, u, v), several(x, u, v), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_copies_are_not_shared_across_changes() -> None:
    rng = np.random.default_rng(0)
    x, u = rng.standard_normal((6, 30, 7)), rng.standard_normal((20, 30))

    def changed(x, u):
        x = x * 1.0
        a = np.einsum("bct,oc->bto", x, u)
        x[2, 3] += 1.0
        b = np.einsum("bct,oc->bto", x, u)
        for k in range(20):
            x[k % 6, k] *= 2.0
            b = b + np.einsum("bct,oc->bto", x, u)
        return a, b

    with jg.config.using(unroll_limit=0):
        found = jg.jit(changed)(x, u)
    for one, expected in zip(found, changed(x, u), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-10, atol=1e-10)
