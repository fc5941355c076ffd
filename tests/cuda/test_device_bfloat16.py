"""What is special to bfloat16 on a device: the bits of conversions, and products that give float32."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.cuda.simulator import Simulator
from jitgrad.cuda.spelling import FUNCTIONS
from tests.cuda.device_programs import check, products
from tests.short_floats import draw

SHORT = pytest.importorskip("ml_dtypes").bfloat16


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


def test_the_operator_gives_float32_without_a_conversion() -> None:
    """Stacks too, transposed, and cast back to bfloat16."""
    x, y = draw(SHORT, 2, 3, 40, 32), np.ones((3, 33, 32), SHORT)
    graph = jg.trace(lambda x, y: ((x @ y.mT), (x @ y.mT).astype(SHORT)), x, y)
    calls = products(graph)
    assert calls and all(t.dtype == SHORT for call in calls for t in call.ins)
    check(graph, [x, y])
