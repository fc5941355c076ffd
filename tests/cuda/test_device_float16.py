"""float16 on a device: storage in float16, arithmetic and sums in float32, products by cuBLAS on float16 operands."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import testing
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.compiler import compile_graph, optimise
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.loopir.nodes import LibCall
from jitgrad.loopir.scalars import SCALARS
from jitgrad.loopir.walk import statements
from jitgrad.passes.pipeline import prepare
from tests.cuda.device_programs import PROGRAMS, check, executable, floats
from tests.test_float16 import WITHOUT, halved

HALF = np.dtype(np.float16)


def gradient(name: str) -> tuple[Graph, list[np.ndarray]]:
    """The value and gradient of a program in float16, and arguments."""
    function, args = PROGRAMS[name]
    arrays = [halved(a) for a in args]
    return jg.trace(jg.value_and_grad(function, floats(args)), *arrays), arrays


def products(graph: Graph) -> list[LibCall]:
    return [s for s in statements(executable(graph).program.body) if isinstance(s, LibCall) and s.fn == "gemm"]


@pytest.mark.parametrize("name", [n for n in testing.op_names() if n not in WITHOUT and n != "generator_state"])
def test_every_op(name: str) -> None:
    if name in SCALARS and SCALARS[name].scipy is not None:
        pytest.skip("computed on the host only")
    found = [s for s in testing.op_samples(name) if any(np.asarray(a).dtype == np.float64 for a in s.args)]
    if not found:
        pytest.skip("takes no floats")
    s = found[0]
    attrs = {k: HALF if isinstance(v, np.dtype) and v.kind == "f" else v for k, v in s.attrs.items()}
    sample = s._replace(args=tuple(halved(np.asarray(a)) for a in s.args), attrs=attrs)
    check(testing.op_graph(name, sample), sample.args)


@pytest.mark.parametrize("name", ["layer_norm", "attended", "mlp", "scan", "transposes", "embedding", "columns"])
def test_programs_and_their_gradients(name: str) -> None:
    graph, arrays = gradient(name)
    check(graph, arrays, 2e-2)


def test_products_take_float16_and_add_up_in_float32() -> None:
    x, y = np.ones((64, 48), HALF), np.ones((48, 32), HALF)
    graph = jg.trace(lambda x, y: np.tanh(x @ y), x, y)
    (call,) = products(graph)
    assert [t.dtype for t in call.ins] == [HALF, HALF]
    assert call.outs[0].dtype == np.float32
    check(graph, [x, y])
    reverse = vjp_graph(prepare(graph), [0, 1], seed="param")
    calls = products(reverse)
    assert len(calls) >= 2
    assert all(t.dtype == HALF for call in calls for t in call.ins)


def test_a_product_of_both_dtypes_is_of_float32() -> None:
    x, y = np.ones((64, 48), HALF), np.ones((48, 32), np.float32)
    (call,) = products(jg.trace(lambda x, y: x @ y, x, y))
    assert [t.dtype for t in call.ins] == [np.float32, np.float32]


def test_small_products_are_loops_over_float16() -> None:
    x, y = np.arange(6).reshape(2, 3).astype(HALF), np.arange(12).reshape(3, 4).astype(HALF)
    graph = jg.trace(lambda x, y: x @ y, x, y)
    assert not products(graph)
    (product,) = (op for op in optimise(graph, target="cuda").ops if op.name == "einsum")
    assert [v.type.dtype for v in (*product.operands, *product.results)] == [HALF, HALF, np.float32]
    (product,) = (op for op in optimise(graph).ops if op.name == "einsum")
    assert [v.type.dtype for v in product.operands] == [np.float32, np.float32]
    check(graph, [x, y])


def test_a_sum_of_products_is_not_rounded_on_the_way() -> None:
    """2048 + 1 is not a float16: sums there would stop."""
    n = 4096
    x, y = np.ones((33, n), HALF), np.ones((n, 32), HALF)
    with jg.config.using(target="cuda", cuda_driver="simulated"):
        found = np.asarray(jg.jit(lambda x, y: x @ y)(x, y))
    np.testing.assert_array_equal(found, np.full((33, 32), n, HALF))


def test_a_loop_and_scattered_sums() -> None:
    def f(v: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, ...]:
        a = np.zeros(9, HALF)
        a[0] = v[0]
        for k in range(1, 9):
            a[k] = a[k - 1] * np.float16(0.5) + v[k]
        b = np.zeros(5, HALF)
        np.add.at(b, i, v)
        return a, b

    v = np.random.default_rng(0).standard_normal(9).astype(HALF)
    check(jg.trace(f, v, np.arange(9) % 5), [v, np.arange(9) % 5])


def test_the_host_computes_what_the_device_does() -> None:
    x, y = np.ones((64, 48), HALF), np.ones((48, 32), HALF)
    graph = jg.trace(lambda x, y: x @ y + np.float16(0.5), x, y)
    (found,) = compile_graph(graph, target="cpu")(x, y)
    np.testing.assert_array_equal(found, interpret(graph, x, y)[0])


def test_four_elements_in_one_access() -> None:
    x, y = np.linspace(-1, 1, 64).astype(HALF), np.linspace(0, 1, 64).astype(np.float32)
    graph = jg.trace(lambda x, y: (x * x + x, x * y), x, y)
    text = executable(graph, 0).module.text
    assert "= load4(x, " in text and "= load4(y, " in text and text.count("store4(") == 2
    check(graph, [x, y])
