"""Texts of traced values: what print shows, keys made of the numbers of layers, and what is refused."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config
from jitgrad.errors import ConcretizationError
from jitgrad.ir.parser import parse
from tests.fuzz.random_sources import make

X = np.array([0.5, 1.0, 2.0])


def descends(x):
    print("start", x.shape, x, sep=" | ")
    for i in range(20):
        loss = np.sum(x * x)
        x = x - 0.1 * x
        if i % 5 == 0:
            print(f"step {i:3d}: loss {loss:.3f} {{}} {x}")
            print("step %3d: loss %.3f, %s of %d" % (i, loss, x, 20), end=" |\n")
            print("step", i, "loss {:.3f}".format(loss))
    print("%.2f" % loss)
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
    print("n = %d, sum %.1f" % (len(x), n.sum()), *[1, 2], sep=", ")
    return (x * n).sum()


def formats_of_all_kinds(x):
    v, k = x[0] - 3, x.astype(int)[2]
    print("50%% done: %.2f, 5%%d" % v)
    print("%(a)8.2f 100%% %(b)s|" % {"a": v, "b": 3})
    print("%*d|%.*f|%-8.3f|%+-9.1e|%05d|% d|%i" % (5, k, 3, v, v, v, k, k, v))
    print("%s and %5.1f and %r, %d%%" % ("k", v, 2.5, 100 * v))
    return v


PRINTING = [
    descends,
    formats_of_all_kinds,
    prints_the_same_twice,
    prints_before_it_raises,
    prints_in_branches,
    prints_what_is_known,
]


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
    assert "show(" in text and 'text="step {0:3d}: loss {1:.3f} {{}} {2}\\n", to=("print",)' in text
    assert str(parse(text)) == text


def test_an_exception_of_a_stream_ends_the_program(monkeypatch) -> None:
    compiled = jg.jit(prints_the_same_twice)
    compiled(X)
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(ValueError, match="closed file"):
        compiled(X)


def test_warnings_of_branches_come_when_they_are_taken() -> None:
    @jg.jit
    def fun(x):
        if x[0] > 1:
            warnings.warn(f"large: {x[0]:.2f}", RuntimeWarning, stacklevel=2)
        if x[0] > 5:
            warnings.warn(DeprecationWarning("too large"), stacklevel=1)
        if x[0] < 0:
            warnings.warn("negative")
        return x.sum()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fun(X) == X.sum()
        with pytest.raises(RuntimeWarning, match=r"large: 2\.50"):
            fun(5 * X)
    with pytest.warns() as found:
        fun(20 * X)
    assert [(w.category, str(w.message)) for w in found] == [
        (RuntimeWarning, "large: 10.00"),
        (DeprecationWarning, "too large"),
    ]
    assert found[0].filename == __file__
    with pytest.warns(UserWarning, match="negative"):
        fun(-X)


def test_a_warning_is_shown_once_for_each_place() -> None:
    text = "import warnings\ndef hot(x):\n    if x > 0: warnings.warn('hot', stacklevel=1)\n    return x\n"
    functions = [jg.jit(make(text, "hot")) for _ in range(2)]  # of two files
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        for f in functions:
            f(1.0)
            f(2.0)
    assert len(found) == len({w.filename for w in found}) == 2


def test_loggers(caplog) -> None:
    log = logging.getLogger("jitgrad.tests")

    def fun(x):
        for i in range(30):
            x = x * 0.9
            log.debug("never %s", x)
            if i % 10 == 0:
                log.info("step %d: %.3f of %s", i, x[0], "x")
                logging.warning(f"root {x[1]:.1e}")
        return x.sum()

    class Quiet:
        def info(self, x):
            return x + 1

    def other(x):
        return Quiet().info(x)

    compiled = jg.jit(fun)
    caplog.set_level(logging.INFO)
    for x in (X, 3 * X):
        fun(x)
        expected = [(r.name, r.levelno, r.getMessage(), r.filename, r.lineno) for r in caplog.records]
        caplog.clear()
        compiled(x)
        assert [(r.name, r.levelno, r.getMessage(), r.filename, r.lineno) for r in caplog.records] == expected
        assert len(expected) == 6
        caplog.clear()
    assert "rolled" in compiled.explain(X)
    np.testing.assert_array_equal(jg.jit(other)(X), X + 1)


@pytest.mark.parametrize(
    "key",
    [lambda k: "w" + str(k), lambda k: f"w{k}", lambda k: "w%d" % k, lambda k: "w{}".format(k)],
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
        return x * len("%d" % x[0])

    with pytest.raises(ConcretizationError, match=r"was formatted \('%d' % \.\.\.\)"):
        jg.jit(formatted)(X)

    def named(x, n):
        for k in range(n):
            x = x * len(str(k))
        return x

    with pytest.raises(ConcretizationError, match="made into a text whose characters are needed"):
        jg.jit(named)(X, np.array(3))


class Failed(Exception):
    def __init__(self, what, text):
        super().__init__(f"{what}: {text}!")
        self.text = text


def tells(x, limit):
    """Messages that are made before they are printed or raised, some of them in recorded code."""
    s = 0.0
    for v in x:
        s = s + v * v
        if v > 1.5:
            print("large " + f"{v:.2f} " * 2, end="")
            note = f"{v:.1f} of {s:.1f}"
            print(note, f"[{note:>12}]")
    message = f"s is {s:.3f}" + " in all, " + f"{x[0]:>5} at first"
    if s > limit:
        raise Failed("limit", message)
    print(message + ".", {"not": "this"}[f"{'not'}"])
    warnings.warn(f"sum: {s:g}", stacklevel=1)
    error = ValueError(message, s)
    if s > limit - 1:
        raise error
    return s


def test_texts_made_before_they_are_shown():
    for limit in (4.0, 6.0, 9.0):
        found = []
        for f in (tells, jg.jit(tells), jg.value_and_grad(tells)):
            with contextlib.redirect_stdout(io.StringIO()) as out, warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                try:
                    f(X, limit)
                    error = None
                except (Failed, ValueError) as caught:
                    error = type(caught), str(caught), getattr(caught, "text", "")
            found.append((out.getvalue(), [str(w.message) for w in seen], error))
        assert found[0] == found[1] == found[2]
    assert "traced" not in str(found)
