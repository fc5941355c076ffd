"""Every op against its own samples: value, both derivative modes to second order, compiled code."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad import testing
from jitgrad.errors import DifferentiationError
from jitgrad.ir.core import OPS
from jitgrad.ir.types import TensorType, type_of

OP_NAMES = testing.op_names()


@pytest.mark.parametrize("name", OP_NAMES)
def test_op_has_every_rule(name: str) -> None:
    assert testing.missing_rules(name) == []


@pytest.mark.parametrize("name", OP_NAMES)
def test_op_agrees_with_its_samples(name: str) -> None:
    testing.check_op(name)


@pytest.mark.parametrize("name", OP_NAMES)
def test_op_has_enough_samples(name: str) -> None:
    samples = testing.op_samples(name)
    assert samples
    results = [OPS[name].infer(*map(type_of, s.args), **s.attrs) for s in samples]
    dtypes = {t.dtype for r in results for t in ((r,) if isinstance(r, TensorType) else r)}
    operands = {np.asarray(a).dtype for s in samples for a in s.args}
    if OPS[name].differentiable:  # pyright: ignore[reportAttributeAccessIssue]
        assert any(s.grad for s in samples) or name in NO_GRADIENT_SAMPLE, "no sample checks a derivative"
        assert {np.dtype(np.float64), np.dtype(np.float32)} <= dtypes | operands


#: Ops that can't be checked along random directions to second order, and where they are checked instead.
NO_GRADIENT_SAMPLE = {
    "heaviside": "test_elementwise: at x = 0, where alone it has a derivative",
    "polygamma3": "test_elementwise: its second derivative is not there",
    "polygamma4": "test_elementwise: its derivative is not there",
}


def test_gammaln_can_be_differentiated_five_times() -> None:
    sample = testing.op_samples("gammaln")[0]
    graph, arrays = testing.op_graph("gammaln", sample), list(sample.args)
    with pytest.raises(DifferentiationError, match="five times"):
        testing.check_graph(graph, arrays, order=6, rtol=1e-3)
