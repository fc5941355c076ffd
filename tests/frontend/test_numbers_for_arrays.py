"""Arrays of no axes as first values of loops: NumPy's arithmetic makes numbers of them."""

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.testing import check_grads


def counted(b, c, n):
    for _ in range(n):
        b = b + 1.0
    return b * c


def looked_at(b, c, n):
    k = 0
    while k < n:
        b = b * c
        k = k + 1
    return b


def exchanged(b, c, n):
    for _ in range(n):
        b, c = c, b + c
    return b, c


def sometimes(b, c, n):
    for k in range(n):
        if k % 2 == 1:
            b = b + c
    return b, c


def of_a_list(b, c, n):
    found = []
    for k in range(n):
        if b > 0.1 * k:
            found.append(b + c)  # noqa: PERF401
    for x in found:
        c = c + x
    return c


@pytest.mark.parametrize("fun", [counted, looked_at, exchanged, sometimes, of_a_list], ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", [np.asarray, float, lambda x: np.array([x])], ids=["array", "number", "one axis"])
def test_numbers_in_the_places_of_arrays(fun, kind):
    b, c = kind(0.53), kind(1.7)
    compiled = jg.jit(fun)
    for n in (0, 1, 4, 7):
        found, wanted = compiled(b, c, np.asarray(n)), fun(b, c, n)
        np.testing.assert_allclose(found, wanted, rtol=1e-13)
        assert np.shape(found) == np.shape(wanted)
    check_grads(lambda b, c: np.sum(np.array(fun(b, c, np.asarray(4)))), (b, c), order=1)
