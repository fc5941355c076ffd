"""What can't be traced: each case has its own error, with what, why, what to do, and the user's line."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import scipy.special as sps
from traced import trace

import jitgrad.numpy as jnp
from jitgrad.errors import (
    ArgumentError,
    ConcretizationError,
    DtypeError,
    JitgradError,
    LeakedTracerError,
    MutationError,
    ShapeError,
    UnsupportedError,
)
from jitgrad.frontend.registry import ADVICE, FUNCTIONS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.types import TensorType, f64

X = np.arange(1.0, 4.0)


def use_if(x):
    return x if x[0] > 0 else -x


def use_while(x):
    while x[0] > 0:
        x = x - 1
    return x


def assign_to_a_scalar(x):
    x[0][...] = 1.0
    return x


def assign_into_numpy(x):
    out = np.zeros(3)
    out[:] = x
    return out


def add_into_numpy(x):
    out = np.zeros(3)
    out += x
    return out


def grow(x):
    y = x * 2
    y[:2] += np.ones((2, 2))
    return y


def add_floats_to_integers(x):
    y = x.astype(int)
    y += 0.5
    return y


def write_into_a_broadcast(x):
    y = np.broadcast_to(x, (2, 3))
    y[0] = 1.0
    return y


def sort_a_diagonal(x):
    np.diagonal(np.stack([x, x, x])).sort()


CASES = {
    "if": (use_if, ConcretizationError, "np.where"),
    "while": (use_while, ConcretizationError, "used as a condition"),
    "and": (lambda x: (x[0] > 0) and x, ConcretizationError, "condition"),
    "not": (lambda x: not x[0], ConcretizationError, "condition"),
    "in": (lambda x: 1.0 in list(x), ConcretizationError, "condition"),
    "max": (lambda x: max(x[0], 1.0), ConcretizationError, "np.maximum"),
    "sorted": (lambda x: sorted(x), ConcretizationError, "condition"),
    "float": (lambda x: float(x[0]), ConcretizationError, "Python float"),
    "math": (lambda x: math.gamma(x[0]), ConcretizationError, "np.sin for math.sin"),
    "int": (lambda x: int(x[0]), ConcretizationError, "Python int"),
    "complex": (lambda x: complex(x[0]), ConcretizationError, "complex"),
    "range": (lambda x: range(x[0]), ConcretizationError, "Sizes must be known"),
    "list index": (lambda x: [1, 2][x[0]], ConcretizationError, "index of a list"),
    "array": (lambda x: np.array(x), ConcretizationError, "NumPy array"),
    "asarray": (lambda x: np.asarray(x), ConcretizationError, "jitgrad.numpy"),
    "scalar type": (lambda x: np.float32(x), ConcretizationError, r"x\.astype\(np\.float32\)"),
    "into numpy": (assign_into_numpy, ConcretizationError, "with np.zeros inside"),
    "item": (lambda x: x.item(), ConcretizationError, "one element"),
    "tobytes": (lambda x: x.tobytes(), ConcretizationError, "bytes"),
    "format": (lambda x: f"{x[0]:.3f}", ConcretizationError, "formatted"),
    "percent": (lambda x: "%f" % x[0], ConcretizationError, "Python float"),  # noqa: UP031
    "pickle": (lambda x: pickle.dumps(x), ConcretizationError, "pickled"),
    "iterate scalar": (lambda x: list(x[0]), ConcretizationError, "scalar"),
    "len of scalar": (lambda x: len(x[0]), ArgumentError, "scalar"),
    "axis": (lambda x: np.sum(x, axis=x[0].astype(int)), ConcretizationError, "axis is the traced value"),
    "shape": (lambda x: jnp.zeros(x[0]), ConcretizationError, "known at trace time"),
    "setitem": (assign_to_a_scalar, MutationError, "Only arrays have items"),
    "grow": (grow, ShapeError, "can't grow"),
    "add floats": (add_floats_to_integers, DtypeError, "can't be stored"),
    "read-only": (write_into_a_broadcast, MutationError, "read-only"),
    "sort read-only": (sort_a_diagonal, MutationError, "read-only"),
    "add into numpy": (add_into_numpy, MutationError, "NumPy array"),
    "resize": (lambda x: x.resize(2), MutationError, "np.reshape"),
    "ufunc at": (lambda x: np.add.at(np.zeros(3), [0], x), MutationError, r"np\.add\.at would write"),
    "ufunc out": (lambda x: np.add(x, 1.0, out=np.zeros(3)), MutationError, "np.add would write"),
    "ufunc out dtype": (lambda x: np.add(x, 1.0, out=x.astype(int)), DtypeError, "same_kind"),
    "ufunc where": (lambda x: np.add(x, 1.0, where=x > 0), UnsupportedError, "where="),
    "scipy ufunc": (lambda x: sps.tklmbda(x, x), UnsupportedError, "scipy.special.tklmbda"),
    "function": (lambda x: np.is_busday(x), UnsupportedError, "np.is_busday"),
    "argument": (lambda x: np.mean(x, out=np.zeros(())), MutationError, "np.mean would write"),
    "method": (lambda x: x.view(np.int64), UnsupportedError, "ndarray.view"),
    "attribute": (lambda x: x.strides, UnsupportedError, "ndarray.strides"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_errors(case) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        trace(f, X)
    text = str(info.value)
    assert "test_errors_tracing.py" in text  # the user's line ...
    assert info.value.location is not None
    assert len(info.value.message.split(". ")) >= 2  # ... and more than the bare fact


def test_a_scalar_assigned_into_a_numpy_array() -> None:
    def f(x):
        out = np.zeros(3)
        out[0] = x[0]

    with pytest.raises(ValueError, match="array element") as info:  # NumPy wraps the error that it meets
        trace(f, X)
    assert isinstance(info.value.__cause__, ConcretizationError)


def test_unknown_attributes_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'foo'"):
        trace(lambda x: x.foo, X)
    with pytest.raises(AttributeError):
        trace(lambda x: x.ctypes, X)


def test_errors_name_where_the_value_was_made() -> None:
    def f(x):
        y = np.tanh(x)
        return float(y[0])

    with pytest.raises(ConcretizationError, match=r"made by reshape at test_errors_tracing\.py"):
        trace(f, X)
    with pytest.raises(ConcretizationError, match="argument x0"):
        trace(lambda x: float(x), 1.0)


def test_leaked_values() -> None:
    kept: list[Tracer] = []

    def f(x):
        kept.extend([x, x * 2])
        return x

    trace(f, X)
    for use in (lambda t: t + 1, lambda t: np.sin(t), lambda t: t[0], lambda t: t.sum(), lambda t: 1.0 * t,
                lambda t: jnp.array([t, t])):  # fmt: skip
        with pytest.raises(LeakedTracerError, match="argument x0"):
            use(kept[0])
        with pytest.raises(LeakedTracerError, match=r"made by multiply at test_errors_tracing\.py:\d+.*'f'"):
            use(kept[1])
    with pytest.raises(LeakedTracerError):
        trace(lambda x: x + kept[1], X)
    assert repr(kept[1]).startswith("<traced")


def test_a_closed_trace() -> None:
    t = Trace("f")
    x = t.param(TensorType(f64, (3,)), "x")
    t.close()
    with pytest.raises(LeakedTracerError):
        _ = x + 1


def test_every_advice_is_for_an_unsupported_function() -> None:
    assert not set(ADVICE) & set(FUNCTIONS)


def test_every_dispatching_function_of_numpy_is_handled_or_refused() -> None:
    """None of NumPy's functions may fall through to NumPy's own code with a traced argument."""
    for name in dir(np):
        function = getattr(np, name)
        if not hasattr(function, "_implementation") or function in FUNCTIONS:
            continue
        with pytest.raises((JitgradError, TypeError)):
            trace(lambda x: function(x), X)  # noqa: B023
