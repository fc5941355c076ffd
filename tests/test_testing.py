"""The checks themselves: a planted wrong rule must fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from jitgrad import testing
from jitgrad.ir.core import OPS
from jitgrad.ops.elementwise import Ufunc, unary
from jitgrad.ops.op import Cotangent, Var, apply

SAMPLES = unary(0.5, 2.0)


class Cube(Ufunc):
    """Right in everything; the tests break one rule at a time."""

    name, scalar = "cube", "square"
    samples = SAMPLES

    @staticmethod
    def numpy(x: np.ndarray) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        return x * x * x

    def partials(self, *xs: Var, out: Var) -> Sequence[Var]:
        return (xs[0] * xs[0] * 3.0,)

    def lower(self, b: Any, *tensors: Any) -> Any:
        (x,) = tensors
        return b.pointwise(x.shape, x.dtype, lambda *i: x[i] * x[i] * x[i])


@pytest.fixture
def plant() -> Iterator[Callable[[type[Cube]], None]]:
    """Enters an op into the table for the time of a test."""

    def enter(cls: type[Cube]) -> None:
        OPS["cube"] = cls()

    yield enter
    OPS.pop("cube", None)


def test_right_rules_pass(plant: Callable[[type[Cube]], None]) -> None:
    plant(Cube)
    testing.check_op("cube")
    assert testing.missing_rules("cube") == []


class WrongPartial(Cube):
    def partials(self, *xs: Var, out: Var) -> Sequence[Var]:
        return (xs[0] * xs[0] * 3.01,)


class WrongPullback(Cube):
    def pullback(self, g: Cotangent, out: Var, *xs: Var, **attrs: Any) -> Sequence[Cotangent | None]:
        return [Cotangent(g.value * out)]


class ZeroPullback(Cube):
    def pullback(self, g: Cotangent, out: Var, *xs: Var, **attrs: Any) -> Sequence[Cotangent | None]:
        return [None]


class WrongTangent(Cube):
    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, **attrs: Any) -> Var | None:
        (t,) = ts
        return None if t is None else t * xs[0]


class WrongSecondOrder(Cube):
    """Its first derivative has the right value, but is cut off from x."""

    def partials(self, *xs: Var, out: Var) -> Sequence[Var]:
        return (apply("stop_gradient", xs[0] * xs[0] * 3.0),)


@pytest.mark.parametrize("cls", [WrongPartial, WrongPullback, ZeroPullback, WrongTangent, WrongSecondOrder])
def test_a_wrong_derivative_fails(plant: Callable[[type[Cube]], None], cls: type[Cube]) -> None:
    plant(cls)
    with pytest.raises(AssertionError):
        testing.check_op("cube", compiled=False)


def test_the_second_order_is_what_fails_there(plant: Callable[[type[Cube]], None]) -> None:
    plant(WrongSecondOrder)
    testing.check_op("cube", compiled=False, order=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wrong_derivative_fails_in_each_precision(plant: Callable[[type[Cube]], None], dtype: Any) -> None:
    plant(WrongPullback)
    sample = testing.Sample((np.array([0.7, 1.3], dtype),))
    with pytest.raises(AssertionError, match="reverse"):
        testing.check_op("cube", sample, compiled=False)
    plant(WrongTangent)
    with pytest.raises(AssertionError, match="forward"):
        testing.check_op("cube", sample, compiled=False)


def test_a_wrong_lowering_fails(plant: Callable[[type[Cube]], None]) -> None:
    class WrongLowering(Cube):
        def lower(self, b: Any, *tensors: Any) -> Any:
            return b.elementwise("square", *tensors)

    plant(WrongLowering)
    testing.check_op("cube", compiled=False)
    with pytest.raises(AssertionError, match="compiled"):
        testing.check_op("cube")


def test_an_eval_that_writes_its_argument_fails(plant: Callable[[type[Cube]], None]) -> None:
    class Writes(Cube):
        def eval(self, *arrays: np.ndarray) -> Any:
            arrays[0][...] = 0.0
            return arrays[0]

    plant(Writes)
    with pytest.raises(AssertionError, match="changed its argument"):
        testing.check_op("cube", testing.Sample((np.ones(3),), grad=False), compiled=False)


def test_missing_rules_are_named(plant: Callable[[type[Cube]], None]) -> None:
    class Bare(Ufunc):
        name = "cube"

    plant(Bare)  # pyright: ignore[reportArgumentType]
    assert testing.missing_rules("cube") == ["samples", "pullback", "jvp"]


def test_differences_are_of_fourth_order() -> None:
    x = np.array([0.3, 0.8])
    v = np.array([1.0, -2.0])
    errors = [
        np.abs(testing.differences(lambda x: [np.exp(3 * x)], [x], [v], eps)[0] - 3 * v * np.exp(3 * x)).max()
        for eps in (0.1, 0.05)
    ]
    assert 14 < errors[0] / errors[1] < 18


def test_check_compiled_sees_a_different_dtype_shape_and_integer() -> None:
    one = np.ones(2)
    same = testing._check_same
    same([one], [one], None, None, "x")
    for other in (one.astype(np.float32), np.ones(3), one + 1e-9):
        with pytest.raises(AssertionError):
            same([other], [one], None, None, "x")
    with pytest.raises(AssertionError):
        same([np.array([1, 2])], [np.array([1, 3])], None, None, "x")
    with pytest.raises(AssertionError):
        same([], [one], None, None, "x")
