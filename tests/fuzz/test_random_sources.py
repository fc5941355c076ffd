"""Random NumPy functions: what jit computes = what NumPy computes, and cotangents = central differences."""

import numpy as np
import pytest
from random_sources import SourceCase, SourceGenerator, alone, make

import jitgrad as jg
from jitgrad.testing import differences

#: Programs in a function, functions in a test, tests in the normal suite: 10 * 2 * 5 = 100 programs.
PROGRAMS, FUNCTIONS, BATCHES = 10, 2, 4
#: How many derivatives may be left out because differences with two steps disagree.
MAX_SKIPPED = 0.05


def explain(case: SourceCase, k: int, seed: object) -> str:
    return f"seed {seed}, result {k}\n{alone(case, k).text}"


def check_values(case: SourceCase, seed: object) -> None:
    with np.errstate(all="ignore"):
        expected = case.function(*case.args)
    found = jg.jit(case.function)(*case.args)
    single = case.args[0].dtype == np.float32
    for k, (got, want) in enumerate(zip(found, expected, strict=True)):
        what = explain(case, k, seed)
        assert np.asarray(got).dtype == np.asarray(want).dtype, what
        scale = float(np.max(abs(np.asarray(want)), initial=1.0))
        tolerance = (2e-4 if single else 1e-10) * scale
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=what)


def check_cotangents(case: SourceCase, seed: tuple[int, ...]) -> tuple[int, int]:
    """Every result on its own; returns how many derivatives were compared and left out."""
    rng = np.random.default_rng(seed)
    args = [np.asarray(a, np.float64) for a in case.args]
    direction = [np.asarray(rng.normal(size=a.shape)) for a in args]
    length = np.sqrt(sum(np.sum(d * d) for d in direction))
    direction = [d / length for d in direction]

    def values(*xs: np.ndarray) -> tuple:
        with np.errstate(all="ignore"):
            return case.function(*xs)

    coarse, fine = (differences(values, args, direction, eps) for eps in (4e-4, 1e-4))
    out, pullback = jg.vjp(case.function, *case.args)
    rtol = 2e-3 if case.args[0].dtype == np.float32 else 1e-6
    compared = skipped = 0
    for k in range(len(out)):
        seeds = [np.zeros(np.shape(r), np.asarray(r).dtype) for r in out]
        seeds[k] = np.asarray(rng.normal(size=seeds[k].shape)).astype(seeds[k].dtype)
        gradients = [np.asarray(g, np.float64) for g in pullback(tuple(seeds))]
        got = float(sum(np.sum(g * d) for g, d in zip(gradients, direction, strict=True)))
        size = float(sum(np.sum(abs(g * d)) for g, d in zip(gradients, direction, strict=True)))
        wants = [float(np.sum(seeds[k] * d[k])) for d in (coarse, fine)]
        scale = max(1.0, size, float(np.sum(abs(seeds[k] * fine[k]))))
        if not abs(wants[0] - wants[1]) <= 0.1 * rtol * scale:
            skipped += 1
            continue
        if not np.isfinite(got) and len(out) > 1:
            # A cotangent of zero met an infinite derivative of another result.
            c, s = check_cotangents(alone(case, k), seed)
            compared, skipped = compared + c, skipped + s
            continue
        compared += 1
        assert abs(got - wants[1]) <= rtol * scale, f"{got}, differences say {wants}: {explain(case, k, seed)}"
    return compared, skipped


def check_seeds(batch: int, functions: int) -> None:
    compared = skipped = 0
    for n in range(functions):
        seed = (batch, n)
        case = SourceGenerator(seed, np.float32 if n % 4 == 3 else np.float64).case(PROGRAMS)
        check_values(case, seed)
        c, s = check_cotangents(case, seed)
        compared, skipped = compared + c, skipped + s
    assert compared > 0 and skipped <= max(3, MAX_SKIPPED * compared), f"{skipped} left out, {compared} compared"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_functions(batch):
    check_seeds(batch, FUNCTIONS)


@pytest.mark.parametrize("batch", range(2))
def test_random_functions_in_single_precision(batch):
    case = SourceGenerator((500, batch), np.float32).case(PROGRAMS)
    check_values(case, (500, batch))
    check_cotangents(case, (500, batch))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "functions"), [*((k, FUNCTIONS) for k in range(BATCHES, 10)), *((k, 20) for k in range(1000, 1040))]
)
def test_many_random_functions(batch, functions):
    check_seeds(batch, functions)


def test_a_wrong_value_and_a_wrong_gradient_are_found():
    text = "def f(a0):\n    t0 = np.sin(a0)\n    t1 = a0 * 2\n    t2 = t0 * a0\n    return t1, t2,\n"
    good = make(text)
    case = SourceCase(text, good, (np.array([0.3, 0.4]),))
    check_values(case, 0)
    assert check_cotangents(case, (0,)) == (2, 0)
    calls = []

    def unsteady(a0):
        calls.append(a0)
        return tuple(r * (1 + 1e-5 * len(calls)) for r in good(a0))

    with pytest.raises(AssertionError, match="result 0"):
        check_values(SourceCase(text, unsteady, case.args), 0)

    def stopped(a0):
        return good(a0)[0], jg.stop_gradient(good(a0)[1])

    with pytest.raises(AssertionError, match=r"differences say[^$]*result 1\s+def f"):
        check_cotangents(SourceCase(text, stopped, case.args), (0,))


def test_what_is_shown_are_the_lines_that_matter():
    text = "def f(a0):\n    t0 = np.sin(a0)\n    t1 = a0 * 2\n    t2 = t0 * a0\n    return t1, t2,\n"
    shown = explain(SourceCase(text, make(text), (np.ones(2),)), 1, 7)
    assert shown == "seed 7, result 1\ndef f(a0):\n    t0 = np.sin(a0)\n    t2 = t0 * a0\n    return t2,\n"
