"""float16 and bfloat16 on a device: their bits in memory, arithmetic and sums in float32, products by cuBLAS on short
operands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import testing
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.compiler import compile_graph, optimise
from jitgrad.cuda import devices
from jitgrad.ir.interpret import interpret
from jitgrad.loopir.scalars import SCALARS
from jitgrad.passes.pipeline import prepare
from tests.cuda.device_programs import PROGRAMS, check, executable, floats, products
from tests.short_floats import EACH, WITHOUT, cast, draw, eps, samples

pytestmark = EACH


@pytest.mark.parametrize("name", [n for n in testing.op_names() if n not in WITHOUT and n != "generator_state"])
def test_every_op(short: Any, name: str) -> None:
    if name in SCALARS and SCALARS[name].scipy is not None:
        pytest.skip("computed on the host only")
    found = samples(name, short)
    if not found:
        pytest.skip("takes no floats")
    check(testing.op_graph(name, found[0]), found[0].args)


@pytest.mark.parametrize("name", ["layer_norm", "attended", "mlp", "scan", "transposes", "embedding", "columns"])
def test_programs_and_their_gradients(short: Any, name: str) -> None:
    function, args = PROGRAMS[name]
    arrays = [cast(a, short) for a in args]
    check(jg.trace(jg.value_and_grad(function, floats(args)), *arrays), arrays, 12 * eps(short))


def test_products_take_short_floats_and_add_up_in_float32(short: Any) -> None:
    x, y = np.ones((64, 48), short), np.ones((48, 32), short)
    graph = jg.trace(lambda x, y: np.tanh(np.dot(x, y)), x, y)
    (call,) = products(graph)
    assert [t.dtype for t in call.ins] == [short, short]
    assert call.outs[0].dtype == np.float32
    check(graph, [x, y])
    calls = products(vjp_graph(prepare(graph), [0, 1], seed="param"))
    assert len(calls) >= 2
    assert all(t.dtype == short for call in calls for t in call.ins)


def test_a_product_of_both_dtypes_is_of_float32(short: Any) -> None:
    x, y = np.ones((64, 48), short), np.ones((48, 32), np.float32)
    (call,) = products(jg.trace(lambda x, y: x @ y, x, y))
    assert [t.dtype for t in call.ins] == [np.float32, np.float32]


def test_small_products_are_loops_over_short_floats(short: Any) -> None:
    x, y = np.arange(6).reshape(2, 3).astype(short), np.arange(12).reshape(3, 4).astype(short)
    graph = jg.trace(lambda x, y: np.dot(x, y), x, y)
    assert not products(graph)
    (product,) = (op for op in optimise(graph, target="cuda").ops if op.name == "einsum")
    assert [v.type.dtype for v in (*product.operands, *product.results)] == [short, short, np.float32]
    (product,) = (op for op in optimise(graph).ops if op.name == "einsum")
    assert [v.type.dtype for v in product.operands] == [np.float32, np.float32]
    check(graph, [x, y])


def test_a_sum_of_products_is_not_rounded_on_the_way(short: Any) -> None:
    """2048 + 1 is not a float16, nor 256 + 1 a bfloat16: sums there would stop."""
    n = 4096
    x, y = np.ones((33, n), short), np.ones((n, 32), short)
    with jg.config.using(target="cuda", cuda_driver="simulated"):
        found = np.asarray(jg.jit(np.dot)(x, y))
    assert found.dtype == short
    np.testing.assert_array_equal(found, np.full((33, 32), n, short))


def test_a_loop_and_scattered_sums(short: Any) -> None:
    def f(v: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, ...]:
        a = np.zeros(9, short)
        a[0] = v[0]
        for k in range(1, 9):
            a[k] = a[k - 1] * short(0.5) + v[k]
        b = np.zeros(5, short)
        np.add.at(b, i, v)
        return a, b

    arrays = [draw(short, 9), np.arange(9) % 5]
    check(jg.trace(f, *arrays), arrays)


def test_the_host_computes_what_the_device_does(short: Any) -> None:
    x, y = np.ones((64, 48), short), np.ones((48, 32), short)
    graph = jg.trace(lambda x, y: np.dot(x, y) + short(0.5), x, y)
    (found,) = compile_graph(graph, target="cpu")(x, y)
    np.testing.assert_array_equal(found, interpret(graph, x, y)[0])


def test_four_elements_in_one_access(short: Any) -> None:
    x, y = np.linspace(-1, 1, 64).astype(short), np.linspace(0, 1, 64).astype(np.float32)
    graph = jg.trace(lambda x, y: (x * x + x, x * y), x, y)
    text = executable(graph, 0).module.text
    assert "= load4(x, " in text and "= load4(y, " in text and text.count("store4(") == 2
    check(graph, [x, y])


def test_conversions_and_choices(short: Any) -> None:
    def f(x: np.ndarray, k: np.ndarray, w: np.ndarray, h: np.ndarray) -> tuple[Any, ...]:
        return (
            x.astype(np.int32), x.astype(np.float64), x.astype(np.float16), x.astype(bool), k.astype(short),
            w.astype(short), h.astype(short), (x > 0).astype(short), np.where(x > 0, x, short(0.3)), np.max(x),
            np.where(k > 3, x, 1), np.min(x, axis=0), np.sum(x), x > 1, np.any(x), np.argmax(x), np.cumsum(x),
        )  # fmt: skip

    x = np.linspace(-3, 3, 77).astype(short)
    arrays = [x, np.arange(77), np.linspace(-1, 1, 77), np.linspace(-1, 1, 77).astype(np.float16)]
    check(jg.trace(f, *arrays), arrays)


def test_arrays_stay_on_the_device(short: Any) -> None:
    """A result is an argument of the next call, and is exchanged as PyTorch exchanges its own."""
    x = np.linspace(-1, 1, 12).astype(short)
    with jg.config.using(target="cuda", cuda_driver="simulated"):
        f = jg.jit(lambda x: x * 2)
        once = f(x)
        twice = f(once)
        assert type(once) is type(twice) and once.dtype == twice.dtype == short
        np.testing.assert_array_equal(twice.numpy(), x * 4)
        np.testing.assert_array_equal(np.asarray(once[2:5]), x[2:5] * 2)
        assert once.__cuda_array_interface__["typestr"] == np.dtype(short).str
        assert devices.device(0).put(x).dtype == short
