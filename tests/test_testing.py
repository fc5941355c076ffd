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


def network(params: dict[str, np.ndarray], scale: int, x: np.ndarray) -> dict[str, Any]:
    """Uses what the protocols can't route (np.zeros), an integer leaf, a bool result, and trees on both sides."""
    total = np.zeros(3)
    total = total + np.tanh(params["w"] * x) * scale
    return {"loss": np.sum(total**2), "parts": (total, np.maximum(x, 0.3)), "flags": x > 0}


ARGUMENTS = ({"w": np.array([0.1, -0.2, 0.3])}, 3, np.array([1.0, 0.5, 0.7]))


def test_check_grads_passes_on_trees() -> None:
    testing.check_grads(network, ARGUMENTS)


@pytest.mark.parametrize("mode", ["rev", "fwd"])
def test_check_grads_takes_one_mode_and_single_precision(mode: str) -> None:
    x = np.array([0.5, 1.5], np.float32)
    testing.check_grads(lambda x: np.exp(x) * 2, (x,), modes=(mode,))
    testing.check_grads(lambda x: x * x, (1.5,), order=3, modes=(mode,))


@pytest.mark.parametrize("mode", ["rev", "fwd"])
def test_check_grads_fails_on_a_wrong_rule(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, *xs: Var, out: Var) -> Sequence[Var]:
        return (1.0 - out,)

    monkeypatch.setattr(type(OPS["tanh"]), "partials", wrong)
    with pytest.raises(AssertionError, match=mode):
        testing.check_grads(lambda x: np.tanh(x), (np.array([0.3, 0.9]),), modes=(mode,))


def test_check_grads_finds_an_error_in_the_second_order_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: Any, *xs: Var, out: Var) -> Sequence[Var]:
        return (1.0 - apply("stop_gradient", out * out),)

    monkeypatch.setattr(type(OPS["tanh"]), "partials", cut)
    testing.check_grads(lambda x: np.tanh(x), (np.array([0.3, 0.9]),), order=1)
    with pytest.raises(AssertionError, match="over"):
        testing.check_grads(lambda x: np.tanh(x), (np.array([0.3, 0.9]),))


def test_check_grads_refuses_what_it_cannot_check() -> None:
    with pytest.raises(ValueError, match="modes are 'rev' and 'fwd'"):
        testing.check_grads(np.sin, (1.0,), modes=("backward",))
    with pytest.raises(ValueError, match="needs a float argument"):
        testing.check_grads(lambda n: n, (3,))


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
