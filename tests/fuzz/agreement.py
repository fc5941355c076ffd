"""Do compiled programs do what Python does? What the tests with random programs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import jitgrad as jg


def copied(args: Sequence[Any]) -> list[Any]:
    """The arguments, with arrays of their own."""
    return [np.array(a) if isinstance(a, np.ndarray) else a for a in args]


def outcome(f: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, list[Any]]:
    """What a call returns or raises, and what it leaves in its arguments."""
    given = copied(args)
    try:
        with np.errstate(all="ignore"):
            return f(*given), given
    except Exception as error:  # noqa: BLE001  (what a program raises is what is compared)
        return error, given


def check_same(found: tuple[Any, list[Any]], expected: tuple[Any, list[Any]], what: str) -> None:
    """Two outcomes agree: the exceptions with their arguments, or the numbers that are returned and left behind."""
    error = expected[0]
    if isinstance(error, Exception):
        assert type(found[0]) is type(error), f"{found[0]!r} instead of {error!r}: {what}"
        assert len(found[0].args) == len(error.args), f"{found[0]!r} instead of {error!r}: {what}"
        for x, y in zip(found[0].args, error.args, strict=True):
            assert x == y or abs(x - y) < 1e-8, f"{found[0]!r} instead of {error!r}: {what}"
        return
    assert not isinstance(found[0], Exception), f"{found[0]!r} instead of a result: {what}"
    for x, y in zip([*found[0], *found[1]], [*error, *expected[1]], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9, err_msg=what)


def check_seeds(check: Callable[[int], tuple[int, int]], seeds: range, *, values: float, derivatives: float) -> None:
    """``check`` tells of each seed how many values and derivatives were compared: enough, for so many seeds?"""
    right, derived = map(sum, zip(*map(check, seeds), strict=True))
    assert right > values * len(seeds) and derived > derivatives * len(seeds), f"{right} values, {derived} derivatives"


def weighted(results: Sequence[Any]) -> Any:
    """A number that depends on all results, on each element in another way."""
    return sum((1 + k) * np.sum(np.cos(np.arange(np.size(x)).reshape(np.shape(x))) * x) for k, x in enumerate(results))


def check_derivatives(
    total: Callable[..., Any],
    plain: Callable[..., Any],
    args: Sequence[Any],
    rest: Sequence[Any],
    seed: int,
    what: str,
    *,
    tolerance: float = 1e-5,
) -> bool:
    """Do both modes of ``total(*args, *rest)`` agree with differences along a random direction of ``args``?

    ``plain`` gives the number for the differences, NaN where it should not be compared. False where differences with
    two steps don't agree.
    """
    rng = np.random.default_rng(seed)
    direction = [rng.normal(size=np.shape(x)) for x in args]

    def at(step: float) -> Any:
        return plain(*(x + step * d for x, d in zip(args, direction, strict=True)), *rest)

    coarse, fine = ((at(h) - at(-h)) / (2 * h) for h in (1e-5, 2.5e-6))
    if not abs(coarse - fine) <= 0.1 * tolerance * max(1.0, abs(fine)):
        return False
    gradients = jg.grad(total, argnums=tuple(range(len(args))))(*copied(args), *rest)
    products = [np.sum(g * d) for g, d in zip(gradients, direction, strict=True)]
    scale = max(1.0, sum(map(abs, products)))
    assert abs(sum(products) - fine) <= tolerance * scale, f"reverse mode: {sum(products)}, differences {fine}: {what}"
    _, forward = jg.jvp(lambda *xs: total(*xs, *rest), tuple(copied(args)), tuple(direction))
    assert abs(forward - fine) <= tolerance * scale, f"forward mode: {forward}, differences {fine}: {what}"
    return True
