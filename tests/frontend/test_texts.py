"""Texts of traced values: what print shows, keys made of the numbers of layers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ConcretizationError

X = np.array([0.5, 1.0, 2.0])


def test_a_loop_that_prints_is_recorded(capsys) -> None:
    def descend(x):
        for i in range(20):
            loss = np.sum(x * x)
            x = x - 0.1 * x
            if i % 5 == 0:
                print(f"step {i:3d}: loss {loss:.3f}")
                print("step %3d: loss %.3f, %s of %d" % (i, loss, x, 20), end=" |\n")  # noqa: UP031
                print("step", i, "loss {:.3f}".format(loss))  # noqa: UP032
        print("%.2f" % loss)  # noqa: UP031
        return loss

    step = jg.jit(descend)
    want = descend(X)
    capsys.readouterr()
    np.testing.assert_allclose(step(X), want, rtol=1e-12)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("step <traced") and lines[1].endswith(" of 20 |")
    assert "rolled" in step.explain(X) and "unrolled" not in step.explain(X)


def test_what_is_known_is_printed_as_python_does(capsys) -> None:
    def f(x):
        n = np.arange(3.0)
        print("n = %d, sum %.1f" % (len(x), n.sum()), *[1, 2], sep=", ")  # noqa: UP031
        return x * n

    jg.jit(f)(X)
    assert capsys.readouterr().out == "n = 3, sum 3.0, 1, 2\n"


@pytest.mark.parametrize(
    "key",
    [lambda k: "w" + str(k), lambda k: f"w{k}", lambda k: "w%d" % k, lambda k: "w{}".format(k)],  # noqa: UP031, UP032
)
def test_keys_of_layers(key) -> None:
    def network(x, weights):
        for k in range(12):
            x = np.tanh(weights[key(k)] * x)
        return x

    weights = {f"w{k}": 1.0 + 0.1 * k for k in range(12)}
    np.testing.assert_allclose(jg.jit(network)(X, weights), network(X, weights), rtol=1e-12)


def test_texts_that_need_a_number_are_refused() -> None:
    def formatted(x):
        return x * len("%d" % x[0])  # noqa: UP031

    with pytest.raises(ConcretizationError, match=r"was formatted \('%d' % \.\.\.\)"):
        jg.jit(formatted)(X)

    def named(x, n):
        for k in range(n):
            x = x * len(str(k))
        return x

    with pytest.raises(ConcretizationError, match="made into text"):
        jg.jit(named)(X, np.array(3))
