"""bfloat16 on a device: its bits in memory, arithmetic and sums in float32, products by cuBLAS on bfloat16 operands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import testing
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.compiler import compile_graph, optimise
from jitgrad.cuda import devices
from jitgrad.cuda.simulator import Simulator
from jitgrad.cuda.spelling import FUNCTIONS
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.loopir.scalars import SCALARS
from jitgrad.passes.pipeline import prepare
from tests.cuda.device_programs import PROGRAMS, executable, floats
from tests.cuda.test_device_float16 import products
from tests.test_float16 import WITHOUT

ml_dtypes = pytest.importorskip("ml_dtypes")
SHORT = np.dtype(ml_dtypes.bfloat16)


def shortened(a: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return a.astype(SHORT) if np.asarray(a).dtype.kind == "f" else np.asarray(a)


def check(graph: Graph, arrays: list[np.ndarray], rtol: float = 1.6e-2) -> None:
    """On a device, a graph gives what the interpreter gives: by one team where that is enough, and by many."""
    expected = interpret(graph, *arrays)
    for program in (executable(graph), executable(graph, 0)):
        for want, result in zip(expected, program.call(arrays), strict=True):
            found = result.numpy()
            assert (found.dtype, found.shape) == (want.dtype, want.shape)
            if want.dtype != SHORT and want.dtype.kind != "f":
                np.testing.assert_array_equal(found, want)
                continue
            f, w = found.astype(np.float64), want.astype(np.float64)
            scale = float(np.max(np.abs(w), initial=0.0, where=np.isfinite(w)))
            np.testing.assert_allclose(f, w, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("name", [n for n in testing.op_names() if n not in WITHOUT and n != "generator_state"])
def test_every_op(name: str) -> None:
    if name in SCALARS and SCALARS[name].scipy is not None:
        pytest.skip("computed on the host only")
    found = [s for s in testing.op_samples(name) if any(np.asarray(a).dtype == np.float64 for a in s.args)]
    if not found:
        pytest.skip("takes no floats")
    s = found[0]
    attrs = {k: SHORT if isinstance(v, np.dtype) and v.kind == "f" else v for k, v in s.attrs.items()}
    sample = s._replace(args=tuple(map(shortened, s.args)), attrs=attrs)
    check(testing.op_graph(name, sample), list(sample.args))


@pytest.mark.parametrize("name", ["layer_norm", "attended", "mlp", "scan", "transposes", "embedding", "columns"])
def test_programs_and_their_gradients(name: str) -> None:
    function, args = PROGRAMS[name]
    arrays = [shortened(a) for a in args]
    check(jg.trace(jg.value_and_grad(function, floats(args)), *arrays), arrays, 1e-1)


def test_the_bits_of_conversions() -> None:
    """What kernels convert with is exact one way and rounds to nearest even the other way, as ml_dtypes."""
    text = "".join(f"@device\n{FUNCTIONS[f'bfloat16_{name}']}\n" for name in ("value", "bits"))
    text += "def k(a, b, c, d):\n    i = int64(cuda.threadIdx.x)\n    b[i] = bfloat16_value(a[i])\n"
    text += "    d[i] = bfloat16_bits(c[i])\n"
    rng = np.random.default_rng(0)
    bits = np.concatenate([[0, 1, 0x7F80, 0xFF80, 0x7FC0, 0x7F7F, 0x8000], rng.integers(0, 65536, 249)])
    short = bits.astype(np.uint16)
    whole = rng.integers(0, 2**32, 256, dtype=np.uint32)
    special = [0x7F800001, 0xFF800001, 0x7FFFFFFF, 0x7F7FFFFF, 0x3F808000, 0x3F818000, 0x3F808001, 0x80000000, 0x8000]
    whole[: len(special)] = special
    single = whole.view(np.float32)
    values, back = np.zeros(256, np.float32), np.zeros(256, np.uint16)
    Simulator(text).launch("k", 1, 256, [short, values, single, back])
    np.testing.assert_array_equal(values.view(np.uint32), bits.astype(np.uint32) << 16)
    nan = np.isnan(single)
    with np.errstate(all="ignore"):
        expected = single.astype(SHORT).view(np.uint16)
    np.testing.assert_array_equal(back[~nan], expected[~nan])
    assert ((back[nan] & 0x7FC0) == 0x7FC0).all()


def test_products_take_bfloat16_and_add_up_in_float32() -> None:
    x, y = np.ones((64, 48), SHORT), np.ones((48, 32), SHORT)
    graph = jg.trace(lambda x, y: np.tanh(np.dot(x, y)), x, y)
    (call,) = products(graph)
    assert [t.dtype for t in call.ins] == [SHORT, SHORT]
    assert call.outs[0].dtype == np.float32
    check(graph, [x, y])
    calls = products(vjp_graph(prepare(graph), [0, 1], seed="param"))
    assert len(calls) >= 2
    assert all(t.dtype == SHORT for call in calls for t in call.ins)


def test_the_operator_gives_float32_without_a_conversion() -> None:
    """Stacks too, transposed, and cast back to bfloat16."""
    x, y = shortened(np.random.default_rng(0).standard_normal((2, 3, 40, 32))), np.ones((3, 33, 32), SHORT)
    graph = jg.trace(lambda x, y: ((x @ y.mT), (x @ y.mT).astype(SHORT)), x, y)
    calls = products(graph)
    assert calls and all(t.dtype == SHORT for call in calls for t in call.ins)
    check(graph, [x, y])


def test_a_product_of_both_dtypes_is_of_float32() -> None:
    x, y = np.ones((64, 48), SHORT), np.ones((48, 32), np.float32)
    (call,) = products(jg.trace(lambda x, y: x @ y, x, y))
    assert [t.dtype for t in call.ins] == [np.float32, np.float32]


def test_small_products_are_loops_over_bfloat16() -> None:
    x, y = np.arange(6).reshape(2, 3).astype(SHORT), np.arange(12).reshape(3, 4).astype(SHORT)
    graph = jg.trace(lambda x, y: np.dot(x, y), x, y)
    assert not products(graph)
    (product,) = (op for op in optimise(graph, target="cuda").ops if op.name == "einsum")
    assert [v.type.dtype for v in (*product.operands, *product.results)] == [SHORT, SHORT, np.float32]
    (product,) = (op for op in optimise(graph).ops if op.name == "einsum")
    assert [v.type.dtype for v in product.operands] == [np.float32, np.float32]
    check(graph, [x, y])


def test_a_sum_of_products_is_not_rounded_on_the_way() -> None:
    """256 + 1 is not a bfloat16: sums there would stop."""
    n = 4096
    x, y = np.ones((33, n), SHORT), np.ones((n, 32), SHORT)
    with jg.config.using(target="cuda", cuda_driver="simulated"):
        found = np.asarray(jg.jit(np.dot)(x, y))
    assert found.dtype == SHORT
    np.testing.assert_array_equal(found, np.full((33, 32), n, SHORT))


def test_a_loop_and_scattered_sums() -> None:
    def f(v: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, ...]:
        a = np.zeros(9, SHORT)
        a[0] = v[0]
        for k in range(1, 9):
            a[k] = a[k - 1] * SHORT.type(0.5) + v[k]
        b = np.zeros(5, SHORT)
        np.add.at(b, i, v)
        return a, b

    v = shortened(np.random.default_rng(0).standard_normal(9))
    check(jg.trace(f, v, np.arange(9) % 5), [v, np.arange(9) % 5], 2e-2)


def test_the_host_computes_what_the_device_does() -> None:
    x, y = np.ones((64, 48), SHORT), np.ones((48, 32), SHORT)
    graph = jg.trace(lambda x, y: np.dot(x, y) + SHORT.type(0.5), x, y)
    (found,) = compile_graph(graph, target="cpu")(x, y)
    np.testing.assert_array_equal(found, interpret(graph, x, y)[0])


def test_four_elements_in_one_access() -> None:
    x, y = np.linspace(-1, 1, 64).astype(SHORT), np.linspace(0, 1, 64).astype(np.float32)
    graph = jg.trace(lambda x, y: (x * x + x, x * y), x, y)
    text = executable(graph, 0).module.text
    assert "= load4(x, " in text and "= load4(y, " in text and text.count("store4(") == 2
    check(graph, [x, y])


def test_conversions_and_choices() -> None:
    def f(x: np.ndarray, k: np.ndarray, w: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, ...]:
        return (
            x.astype(np.int32), x.astype(np.float64), x.astype(np.float16), x.astype(bool), k.astype(SHORT),
            w.astype(SHORT), h.astype(SHORT), (x > 0).astype(SHORT), np.where(x > 0, x, SHORT.type(0.3)), np.max(x),
            np.where(k > 3, x, 1), np.min(x, axis=0), np.sum(x), x > 1, np.any(x), np.argmax(x), np.cumsum(x),
        )  # fmt: skip

    x = shortened(np.linspace(-3, 3, 77))
    arrays = [x, np.arange(77), np.linspace(-1, 1, 77), np.linspace(-1, 1, 77).astype(np.float16)]
    check(jg.trace(f, *arrays), arrays)


def test_arrays_stay_on_the_device() -> None:
    """A result is an argument of the next call, and is exchanged as PyTorch exchanges its own."""
    x = shortened(np.linspace(-1, 1, 12))
    with jg.config.using(target="cuda", cuda_driver="simulated"):
        f = jg.jit(lambda x: x * 2)
        once = f(x)
        twice = f(once)
        assert type(once) is type(twice) and once.dtype == twice.dtype == SHORT
        np.testing.assert_array_equal(twice.numpy(), x * 4)
        np.testing.assert_array_equal(np.asarray(once[2:5]), x[2:5] * 2)
        assert once.__cuda_array_interface__["typestr"] == SHORT.str
        assert devices.device(0).put(x).dtype == SHORT
