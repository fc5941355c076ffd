"""Random loops, branches and writes into arrays with several names: values, arguments afterwards, and derivatives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from random_imperative import ImperativeGenerator
from random_sources import make

import jitgrad as jg
from jitgrad.errors import CarryError, MutationError, RollError

#: What says that the names of arrays, or types, can't be followed.
REFUSED = (CarryError, MutationError, RollError)
FLOATS = (0, 1, 2, 3, 4)


def copied(args: list[Any]) -> list[Any]:
    return [np.array(a) if isinstance(a, np.ndarray) else a for a in args]


def total(outcome: tuple[Any, ...]) -> Any:
    """A number that depends on all results, on each element in another way."""
    parts = [np.sum(np.cos(np.arange(np.size(x)).reshape(np.shape(x))) * x) for x in outcome]
    return parts[0] + parts[1] + 2 * parts[2] - parts[3] + 3 * parts[4] - parts[5]


def in_numpy(f: Any, args: list[Any]) -> tuple[Any, ...] | None:
    """What a program returns; None where its values are not moderate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = f(*args)
    return outcome if all(np.all(np.abs(x) < 50) for x in outcome) else None


def check_values(f: Any, args: list[Any], what: str) -> bool:
    """Do results and arguments agree with NumPy? False where the program is refused, or its values are large."""
    plain, traced = copied(args), copied(args)
    expected = in_numpy(f, plain)
    if expected is None:
        return False
    try:
        found = jg.jit(f)(*traced)
    except REFUSED:
        return False
    for x, y in zip([*found, *traced], [*expected, *plain], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9, err_msg=what)
    return True


def check_derivatives(f: Any, args: list[Any], seed: int, what: str) -> bool:
    """Do both modes agree with differences? False where those with two steps don't."""
    rng = np.random.default_rng(seed)
    direction = [rng.normal(size=np.shape(args[k])) for k in FLOATS]

    def at(step: float) -> Any:
        moved = [args[k] + step * d for k, d in zip(FLOATS, direction, strict=True)]
        outcome = in_numpy(f, [*moved, args[5]])
        return np.nan if outcome is None else total(outcome)

    coarse, fine = ((at(h) - at(-h)) / (2 * h) for h in (1e-5, 2.5e-6))
    if not abs(coarse - fine) <= 1e-6 * max(1.0, abs(fine)):
        return False
    gradients = jg.grad(lambda *xs: total(f(*xs)), argnums=FLOATS)(*copied(args))
    products = [np.sum(g * d) for g, d in zip(gradients, direction, strict=True)]
    scale = max(1.0, sum(map(abs, products)))
    assert abs(sum(products) - fine) <= 1e-5 * scale, f"reverse mode: {sum(products)}, differences {fine}: {what}"
    primals, tangents = tuple(copied(args)[:5]), tuple(direction)
    _, forward = jg.jvp(lambda *xs: total(f(*xs, args[5])), primals, tangents)
    assert abs(forward - fine) <= 1e-5 * scale, f"forward mode: {forward}, differences {fine}: {what}"
    return True


def check_seeds(seeds: range) -> None:
    right = derived = 0
    for seed in seeds:
        program = ImperativeGenerator(seed)
        f, args = make(program.text), program.args
        what = f"seed {seed}\n{program.text}"
        with jg.config.using(unroll_limit=(8, 0, 20)[seed % 3]):
            if check_values(f, args, what):
                right += 1
                derived += check_derivatives(f, args, seed, what)
    assert right > 0.3 * len(seeds) and derived > 0.2 * len(seeds), f"{right} compared, {derived} with derivatives"


@pytest.mark.parametrize("start", [0, 100])
def test_random_imperative_programs(start: int) -> None:
    check_seeds(range(start, start + 10))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 2000, 50))
def test_many_random_imperative_programs(start: int) -> None:
    check_seeds(range(start, start + 50))


def test_a_name_that_is_lost_is_found() -> None:
    text = "def f(a, b, A, s, t, k):\n    u = a\n    u[0] = s\n    return a, b, u, A, s, t\n"
    program = ImperativeGenerator(0)
    assert check_values(make(text), program.args, text)
    calls = []

    def apart(a, *args):
        calls.append(a)
        return make(text)(a if len(calls) == 1 else a.copy(), *args)

    with pytest.raises(AssertionError, match="u = a"):
        check_values(apart, program.args, text)
