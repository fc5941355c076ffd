"""Every op against its own samples: value, both derivative modes to second order, compiled code."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad import testing
from jitgrad.errors import DifferentiationError
from jitgrad.ir.core import OPS

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
    if not OPS[name].differentiable or name in NO_GRADIENT_SAMPLE:  # pyright: ignore[reportAttributeAccessIssue]
        return
    smooth = {np.asarray(a).dtype for s in samples if s.grad for a in s.args}
    assert {np.dtype(np.float64), np.dtype(np.float32)} <= smooth, "no sample checks a derivative in this precision"


#: Ops that can't be checked along random directions to second order, and where they are checked instead.
NO_GRADIENT_SAMPLE = {
    "cholesky": "test_linalg: on symmetric matrices, on which alone it is defined",
    "eigh": "test_numpy_linalg: on symmetric matrices, on which alone it is defined",
    "eigvalsh": "test_numpy_linalg: on symmetric matrices, on which alone it is defined",
    "eigh_complex": "test_complex_matrices: on Hermitian matrices, on which alone it is defined",
    "heaviside": "test_elementwise: at x = 0, where alone it has a derivative",
    "polygamma3": "test_elementwise: its second derivative is not there",
    **dict.fromkeys(
        (
            "no_derivative",
            "jv",
            "yv",
            "iv",
            "ive",
            "kv",
            "kve",
            "gammainc",
            "gammaincc",
            "betainc",
            "betaincc",
            "stdtr",
            "gammaincinv",
            "gammainccinv",
            "betaincinv",
            "betainccinv",
            "stdtrit",
            "hyp2f1",
            "hyp1f1",
            "hyp0f1",
            "hyperu",
            "expn",
            "struve",
            "modstruve",
        ),
        "test_special_scipy: with the order or parameter held, which has no derivative",
    ),
    "polygamma4": "test_elementwise: its derivative is not there",
}


def test_gammaln_can_be_differentiated_five_times() -> None:
    sample = testing.op_samples("gammaln")[0]
    graph, arrays = testing.op_graph("gammaln", sample), list(sample.args)
    with pytest.raises(DifferentiationError, match="five times"):
        testing.check_graph(graph, arrays, order=6, rtol=1e-3)
