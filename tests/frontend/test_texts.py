"""Texts of traced values: what print shows, keys made of the numbers of layers, and what is refused."""

from __future__ import annotations

import contextlib
import io
import sys

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config
from jitgrad.errors import ConcretizationError
from jitgrad.ir.parser import parse

X = np.array([0.5, 1.0, 2.0])


def descends(x):
    print("start", x.shape, x, sep=" | ")
    for i in range(20):
        loss = np.sum(x * x)
        x = x - 0.1 * x
        if i % 5 == 0:
            print(f"step {i:3d}: loss {loss:.3f} {{}} {x}")
            print("step %3d: loss %.3f, %s of %d" % (i, loss, x, 20), end=" |\n")  # noqa: UP031
            print("step", i, "loss {:.3f}".format(loss))  # noqa: UP032
    print("%.2f" % loss)  # noqa: UP031
    print()
    return loss


def prints_the_same_twice(x):
    for _ in range(2):
        print("twice", x[0])
    print("twice", x[0])
    return x.sum()


def prints_before_it_raises(x):
    while x[0] > 0.1:
        x = x / 2
        print("now", x[0], flush=True)
        if x[0] < 0.2:
            raise ValueError("too small")
    return x.sum()


def prints_in_branches(x):
    for i in range(30):
        if x[i % 3] > 0.7:
            print("large", x[i % 3] > 0, i)
        else:
            print("small:", x.astype(np.float32))
    return x.sum()


def prints_what_is_known(x):
    n = np.arange(3.0)
    print("n = %d, sum %.1f" % (len(x), n.sum()), *[1, 2], sep=", ")  # noqa: UP031
    return (x * n).sum()


PRINTING = [descends, prints_the_same_twice, prints_before_it_raises, prints_in_branches, prints_what_is_known]


def printed(capsys, fun, x):
    capsys.readouterr()
    with contextlib.suppress(ValueError):
        fun(x)
    return capsys.readouterr().out


@pytest.mark.parametrize("fun", PRINTING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("backend", ["llvm", "python"])
def test_print_prints_when_the_program_runs(capsys, fun, backend) -> None:
    with config.using(backend=backend):
        compiled, gradient = jg.jit(fun), jg.grad(fun)
        compiled.explain(X)
        for x in (X, 2 * X, X):
            expected = printed(capsys, fun, x)
            assert expected
            assert printed(capsys, compiled, x) == expected
            assert printed(capsys, gradient, x) == expected


def test_a_loop_that_prints_is_recorded(capsys) -> None:
    explained = jg.jit(descends).explain(X)
    assert "rolled" in explained and "unrolled" not in explained
    assert capsys.readouterr().out == ""


def test_what_goes_to_a_file_is_shown_once_while_it_is_traced() -> None:
    file = io.StringIO()

    @jg.jit
    def fun(x):
        for i in range(30):
            x = x * 0.9
            print("element", i, x[0], file=file)
        return x

    fun(X)
    fun(X)
    assert file.getvalue() == "element <traced: i64[] (Python int)> <traced: f64[]>\n"


def test_the_text_of_a_graph_that_prints() -> None:
    text = jg.jit(descends).ir(X, stage="optimised")
    assert "show(" in text and 'text="step {0:3d}: loss {1:.3f} {{}} {2}\\n"' in text
    assert str(parse(text)) == text


def test_a_stream_that_is_closed_ends_nothing(monkeypatch) -> None:
    compiled = jg.jit(prints_the_same_twice)
    compiled(X)
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    assert compiled(X) == X.sum()
    assert len(unraisable) == 3


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
        jg.jit(named)(X, 3)
