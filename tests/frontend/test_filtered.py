"""Comprehensions with conditions, and short loops whose branches append, against plain Python."""

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ConcretizationError


def counted(x):
    return sum(1 for v in x if v > 0)


def squares(x):
    return sum(v * v for v in x if v > 0)


def least(x):
    return min(abs(v) for v in x if v != 0)


def chosen(x):
    i = [k for k in range(len(x)) if x[k] > 0]
    return len(i) + x[i[0]] + sum(i)


def contrast(x):
    return np.mean([v for v in x if v > 0]) - np.mean([v for v in x if v <= 0])


def in_a_loop(x):
    total = 0.0
    for k in range(20):
        total += sum(v * k for v in x if v > k - 10)
    return total


def nested(x):
    return sum([sum(u for u in np.outer(x, x)[i] if u > 0) for i in range(len(x))])


def two_tests(x):
    return sum(v for i, v in enumerate(x) if i % 2 == 0 if v > 0)


def known_first(x):
    return sum(x[i] for i in range(len(x)) if i != 1 and (i < 3 or x[i] > 1))


def of_a_filtered_one(x):
    found = [v for v in x if v > 0]
    squares = [v * v for v in found]
    return sum(squares) + sum([i * v for i, v in enumerate(found)])


def of_a_range(x):
    return sum([x[i] * i for i in range(int(np.sum(x > 0)))])


def by_key(x):
    found = [v for v in x if v > 0]
    nearest = min((v for v in x if v > 0), key=lambda v: (v - 0.55) ** 2)
    return nearest + 2 * max(found, key=lambda v: -((v - 1) ** 2))


def by_key_of_pairs(x):
    return max([(v, i) for i, v in enumerate(x) if v > 0], key=lambda pair: pair[0])[1] * x[0]


def by_key_with_default(x):
    return max([v for v in x if v > 100], key=lambda v: -v, default=x[0])


def neighbours(x):
    found = [v for v in x if v > 0]
    return sum(a * b for a, b in zip(found, found[1:], strict=False))  # noqa: RUF007


def pairs_of_masks(x):
    total = 0.0
    for k, (v, w) in enumerate(zip(x[x > 0], x[x < 0.5], strict=False)):
        total += k * v * w
    return total


def slices(x):
    found = [v for v in x if v > 0]
    pairs = [(v, i * 1.0) for i, v in enumerate(x) if v > 0]
    return sum(found[::-1][:2]) + sum(v * i for v, i in pairs[1:]) + sum(k * v for k, v in enumerate(found[::2]))


def slices_are_copies(x):
    found = [v for v in x if v > 0]
    backwards = found[::-1]
    return backwards[0] * 3 + found[0] + sum(found[1:-1])


def in_order(x):
    found = sorted([v for v in x if v > 0], reverse=True)
    return found[0] * 2 + found[-1] + sum(k * v for k, v in enumerate(found))


def looped_over(x):
    total = 0.0
    for v in [w for w in x if w > 0]:
        total = total + v**3
    return total


def appended(x):
    out = []
    for v in x:
        if v > 0:
            out.append(v * v)  # noqa: PERF401 - the loop is what is tested
    return sum(out) / len(out)


@pytest.mark.parametrize("n", [5, 12])
@pytest.mark.parametrize(
    "program",
    [
        counted,
        squares,
        least,
        chosen,
        contrast,
        in_a_loop,
        nested,
        two_tests,
        known_first,
        looped_over,
        appended,
        of_a_filtered_one,
        neighbours,
        pairs_of_masks,
        slices,
        slices_are_copies,
        in_order,
        of_a_range,
        by_key,
        by_key_of_pairs,
        by_key_with_default,
    ],
)
def test_values_and_gradients(program, n):
    run = jg.jit(program)
    for seed in range(2):
        x = np.random.default_rng(seed).permutation(np.arange(n) - n // 2 + 0.25)
        np.testing.assert_allclose(run(x), program(x), rtol=1e-12)
    if program is not counted:
        step = 1e-6 * np.random.default_rng(3).normal(size=n)
        slope = (program(x + step) - program(x - step)) / 2
        np.testing.assert_allclose(jg.grad(program)(x) @ step, slope, rtol=1e-5, atol=1e-12)


def test_a_condition_that_is_known_leaves_a_plain_list():
    x = np.arange(5.0)
    got = jg.jit(lambda x: np.array([x[i] for i in range(len(x)) if i != 2]))(x)
    np.testing.assert_array_equal(got, [0.0, 1.0, 3.0, 4.0])  # a result of a known shape


def test_a_strict_zip_of_unknown_lengths_is_refused():
    with pytest.raises(ConcretizationError, match="not known whether they have one length") as caught:
        jg.jit(lambda x: sum(a * b for a, b in zip(x[x > 0], x[x < 0], strict=True)))(np.arange(-3.0, 4.0))
    assert caught.value.location is not None
