"""Idioms of machine learning and statistics written in NumPy, as they are met in public code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import CarryError, ConcretizationError, UnsupportedError


def agree(fun: Any, *args: Any) -> None:
    """What jit gives is what Python gives."""
    np.testing.assert_allclose(jg.jit(fun)(*args), fun(*args), rtol=1e-10)


# -- right sides that stay the same ------------------------------------------------------------------------------------


def test_a_right_side_from_outside_is_not_solved_in_place() -> None:
    def ridge(x: Any, y: Any) -> Any:
        """MacKay's iteration for the precision of the prior."""
        a, b, alpha = x.T @ x, x.T @ y, 1.0
        for _ in range(20):
            w = np.linalg.solve(a + alpha * np.eye(3), b)
            alpha = 0.5 * alpha + np.sum(w**2)
        if alpha > 0:
            w = np.linalg.solve(a, b)
        return np.concatenate([w, b, [alpha]])

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    agree(ridge, x, y)
    jg.testing.check_grads(lambda x, y: np.sum(ridge(x, y)), (x, y), order=1, modes=("rev",))


# -- state that the first step makes -----------------------------------------------------------------------------------


class Asked:
    def step(self, p: Any, g: Any) -> Any:
        if not hasattr(self, "v"):
            self.v = np.zeros_like(p)
        self.v = 0.9 * self.v - 0.1 * g
        return p + self.v


class Caught:
    def step(self, p: Any, g: Any) -> Any:
        try:
            self.v = 0.9 * self.v - 0.1 * g
        except AttributeError:
            self.v = -0.1 * g
        return p + self.v


class Default:
    def step(self, p: Any, g: Any) -> Any:
        self.v = 0.9 * getattr(self, "v", 0.0) - 0.1 * g
        return p + self.v


class Listed:
    def step(self, p: Any, g: Any) -> Any:
        if "v" not in self.__dict__:
            self.v = np.zeros_like(p)
        self.v = 0.9 * self.v - 0.1 * g
        return p + self.v


@pytest.mark.parametrize("kind", [Asked, Caught, Default, Listed])
def test_an_attribute_that_the_first_iteration_makes_and_looks_for(kind: Any) -> None:
    def descend(p: Any) -> Any:
        optimiser = kind()
        for _ in range(30):
            p = optimiser.step(p, 2 * p)
        return p

    agree(descend, np.array([1.0, 2.0]))


def test_an_attribute_that_later_iterations_use() -> None:
    class Holder:
        pass

    def differences(x: Any) -> Any:
        held, total = Holder(), 0.0
        for k in range(len(x)):
            if k > 0:
                total = total + (x[k] - held.before) ** 2
            held.before = x[k]
        return total

    x = np.sin(np.arange(20.0))
    agree(differences, x)
    jg.testing.check_grads(differences, (x,), order=1, modes=("rev",))


def test_an_attribute_that_is_looked_for_in_a_while_loop_is_refused() -> None:
    def descend(p: Any) -> Any:
        optimiser = Asked()
        while np.sum(p**2) > 0.01:
            p = optimiser.step(p, 2 * p)
        return p

    with pytest.raises(CarryError, match="attribute 'v' of a Asked is looked for in a loop"):
        jg.jit(descend)(np.array([1.0, 2.0]))


# -- conditions --------------------------------------------------------------------------------------------------------


def test_a_known_operand_of_and_decides() -> None:
    class Cache:
        last: Any = None

    def cached(x: Any) -> Any:
        cache, seen = Cache(), {}
        if x[0] > 0 and cache.last is not None:
            return x + cache.last
        cache.last = 2 * x
        if x[0] > 0 and "mean" in seen:
            return seen["mean"]
        if x[0] > 1 or cache.last is None:
            return 3 * x
        return x - cache.last if x[1] > 0 and cache.last is not None else x

    for x in ([0.5, 1.0], [2.0, 1.0], [-1.0, 1.0], [0.5, -1.0]):
        agree(cached, np.array(x))


def test_arrays_of_one_element_as_conditions() -> None:
    def doublings(x: Any) -> Any:
        n = 0
        while x[:1, None] < 100:
            x, n = 2 * x, n + 1
        return n if x[:, None].T @ x[:, None] > 3 else -n

    agree(doublings, np.array([3.0, 1.0]))


# -- data that objects hold --------------------------------------------------------------------------------------------


class Regression:
    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def loss(self, w: Any) -> Any:
        error = self.x.dot(w) - self.y
        return np.mean(error**2) + self.y.clip(w[0], w[1]).sum() + self.x.sum(where=w > 0)


def test_methods_of_arrays_that_an_object_holds() -> None:
    model = Regression(np.arange(12.0).reshape(4, 3), np.arange(4.0))
    w = np.array([0.5, 1.1, 2.0])
    agree(model.loss, w)
    jg.testing.check_grads(model.loss, (w,), order=1)
    gradient = jg.grad(model.loss)
    before = gradient(w)
    model.x = 2 * model.x
    assert not np.allclose(before, gradient(w))
    agree(lambda z: model.x.dot(z * 1j).imag, w)


# -- tuples as keys ----------------------------------------------------------------------------------------------------

X = np.array([3.0, 1.0, 2.0, 1.0, 5.0, 0.5, 7.0, 3.0, 2.0, 9.0, 4.0])


def best(x: Any) -> Any:
    """A path of states, each the best one with its value, as in Viterbi's algorithm."""
    v = [(x[0], 0)]
    for t in range(1, 30):
        v.append(max((v[t - 1][0] * 0.9 + x[k], k) for k in range(3)))
    return np.array([value + k for value, k in v])


def extremes(x: Any) -> Any:
    a = max((v * v, -i) for i, v in enumerate(x) if v < 4)
    b = min(enumerate(x), key=lambda pair: (pair[1] > 2, -pair[1], pair[0]))
    c = max([[x[0], 3.0, 2], [x[7], 1, 1], [x[0], 3.0, 3]])
    d = max([(v, i) for i, v in enumerate(x) if v > 100], default=(1.0, 2))
    return np.concatenate([a, b, c, d, min(zip(x, range(len(x))))])  # noqa: B905


def neighbours(x: Any) -> Any:
    labels = np.arange(len(x)) % 3
    near = sorted(zip(np.abs(x - 2.5), labels, strict=True))[:4]
    pairs = [(v, k) for k, v in enumerate(x)]
    pairs.sort(reverse=True)
    last = sorted(enumerate(x), key=lambda pair: (-pair[1], pair[0]))
    return np.array([*(k for _, k in near), *(k for _, k in pairs), *(k for k, _ in last)])


@pytest.mark.parametrize("fun", [best, extremes, neighbours])
def test_tuples_are_compared_number_by_number(fun: Any) -> None:
    agree(fun, X)


def test_gradients_of_what_tuples_choose() -> None:
    x = X + 0.01 * np.arange(11)
    jg.testing.check_grads(lambda x: np.sum(best(x)) + min((v, i) for i, v in enumerate(x))[0], (x,), order=1)


def test_keys_of_several_lengths_are_refused() -> None:
    with pytest.raises(ConcretizationError, match="tuples of as many numbers"):
        jg.jit(lambda x: sorted([(x[0],), (x[1], 2.0)])[0][0])(X)


# -- others ------------------------------------------------------------------------------------------------------------


def test_a_known_array_is_rolled_by_a_traced_number() -> None:
    agree(lambda x: np.roll(np.arange(4.0), 1 if x[0] > x[1] else -1), X)


def test_the_spectral_norm_of_an_infinite_column_is_nan() -> None:
    found = jg.jit(lambda x: (np.linalg.norm(x, 2), np.linalg.norm(x[:1], 2)))(np.array([[1.0], [np.inf]]))
    np.testing.assert_array_equal(found, (np.nan, 1.0))


# -- handlers that end a loop ------------------------------------------------------------------------------------------


def newton(a: Any) -> Any:
    w = np.zeros(3)
    for _ in range(100):
        before = np.copy(w)
        try:
            w = w - 0.5 * np.linalg.solve(a, a @ w - np.arange(3.0))
        except np.linalg.LinAlgError:
            break
        if np.allclose(w, before):
            break
    return w


def skipping(a: Any) -> Any:
    class Store:
        pass

    held, total = Store(), 0.0
    for _ in range(30):
        try:
            total = total + held.step
        except AttributeError:
            held.step = a[0, 0]
            continue
        if total > 10:
            break
        total = total + 1
    return total


def returning(a: Any) -> Any:
    found, total = {"a": a[0, 0]}, 0.0
    for _ in range(30):
        try:
            total = total + found["a"]
        except KeyError:
            return total - 1
        else:
            total = total * 0.99
        finally:
            total = total + 0.5
        if total > 12:
            return total + 100
    return total


def in_a_branch(a: Any) -> Any:
    if a[0, 0] > 0:
        try:
            y = {}["b"]
        except KeyError:
            if a[0, 1] > 100:
                return a[0, 1]
            y = a[0, 2]
        z = y + 1
    else:
        z = a[0, 1]
    return 2 * z


@pytest.mark.parametrize("fun", [newton, skipping, returning, in_a_branch])
def test_jumps_out_of_handlers(fun: Any) -> None:
    a = 2 * np.eye(3) + 0.1
    agree(fun, a)
    agree(fun, -a)


# -- as often as there are others --------------------------------------------------------------------------------------


def pairs(x: Any) -> Any:
    """Kernels of all points with those that support a machine, as sums."""
    points, chosen = x.reshape(-1, 1), x[x > 2]
    left = np.tile(points, (len(chosen), 1, 1)).transpose(1, 0, 2)
    right = np.tile(chosen[:, None], (len(points), 1, 1))
    kernel = np.exp(-np.sum((left - right) ** 2, axis=-1))
    flat = np.tile(chosen, len(chosen)) * np.repeat(chosen, len(chosen))
    rows = np.repeat(points, len(chosen), axis=0)
    return np.concatenate([kernel.sum(axis=1), [flat.sum(), rows.sum(), len(rows)]])


def test_arrays_are_repeated_as_often_as_a_mask_selects() -> None:
    agree(pairs, X)
    jg.testing.check_grads(lambda x: np.sum(pairs(x)), (X + 0.01 * np.arange(11),), order=1, modes=("rev",))


def test_a_number_of_repeats_that_the_run_tells() -> None:
    agree(lambda x: np.repeat(np.tile(x, (np.argmin(x) - 3, 1)), np.argmax(x) - 8, axis=1), X)
    with pytest.raises(ConcretizationError, match="one for each element"):
        jg.jit(lambda x: np.repeat(x, np.argsort(x)))(X)


def slopes(x: Any) -> Any:
    """Central differences, element by element."""
    found, x = np.zeros_like(x), x.copy()
    for index in np.ndindex(*x.shape):
        before = x[index]
        x[index] = before + 0.1
        above = np.sum(x**3)
        x[index] = before - 0.1
        found[index] = (above - np.sum(x**3)) / 0.2
        x[index] = before
    return found + sum(v * v for v in np.nditer(x))


def test_elements_of_an_array_one_by_one() -> None:
    agree(slopes, X.reshape(11, 1))

    def walked(x: Any) -> Any:
        it = np.nditer(x, flags=["multi_index"], op_flags=["readwrite"])
        while not it.finished:
            it.iternext()
        return x

    with pytest.raises(UnsupportedError, match="Loop over"):
        jg.jit(walked)(X)
