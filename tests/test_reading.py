"""Every stage of a transformed function as text, and what ``explain`` says."""

from __future__ import annotations

import re

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError

X = np.linspace(0.1, 1.2, 6)


def total(x):
    return np.sum(np.tanh(x) ** 2)


def test_all_stages():
    text = jg.grad(total).ir(X)
    titles = [line for line in text.splitlines() if line.startswith("== ")]
    assert titles == ["== traced ==", "== differentiated ==", "== optimised ==", "== loop =="]
    assert "differentiated" not in jg.jit(total).ir(X)


@pytest.mark.parametrize(
    "stage, head",
    [
        ("traced", "graph total(%x: f64[6]) {"),
        ("differentiated", "graph grad_total(%x: f64[6]) {"),
        ("optimised", "graph grad_total(%x: f64[6]) {"),
        ("loop", "program grad_total: 1 parameter, 1 result, 0 temporaries"),
    ],
)
def test_one_stage(stage, head):
    text = jg.grad(total).ir(X, stage=stage)
    assert text.splitlines()[0] == head
    assert text.rstrip() in jg.grad(total).ir(X)


def test_graph_stages_can_be_read_back():
    f = jg.grad(total)
    for stage in ("traced", "differentiated", "optimised"):
        text = f.ir(X, stage=stage)
        assert str(jg.parse(text)) == text
    (gradient,) = jg.interpret(jg.parse(f.ir(X, stage="differentiated")), X)
    np.testing.assert_allclose(f(X), gradient, rtol=1e-14)


def test_an_unknown_stage_is_refused_with_the_known_ones():
    with pytest.raises(ArgumentError, match="traced, differentiated, optimised, loop"):
        jg.grad(total).ir(X, stage="best")


def test_lines_of_the_users_file():
    line = total.__code__.co_firstlineno + 1
    for stage in ("traced", "differentiated", "optimised", "loop"):
        assert f"test_reading.py:{line}" in jg.grad(total).ir(X, stage=stage), stage


def test_source_runs_on_its_own():
    source = jg.grad(total).source(X)
    namespace = {"np": np}
    exec(source, namespace)
    out = np.empty_like(X)
    assert namespace["grad_total"](X, out) == 0
    np.testing.assert_allclose(out, jg.grad(total)(X), rtol=1e-14)


def test_llvm_and_assembly():
    f, x = jg.jit(lambda x: x * 3 + 1), np.ones(100)
    assert re.search(r"fmul .*<\d+ x double>", f.llvm(x))
    assert re.search(r"\b(v?mulpd|vfmadd\w*pd)\b|\bfm(ul|la)\s+v\d", f.asm(x))


@pytest.mark.parametrize("method", ["ir", "source", "llvm", "asm", "explain"])
@pytest.mark.parametrize("make", [jg.jit, jg.grad, jg.value_and_grad, jg.jacobian, jg.hessian])
def test_every_transformed_function_has_all_methods(make, method):
    text = getattr(make(total), method)(X)
    assert len(text.splitlines()) > 1 and text.endswith("\n")


class Model:
    scale = 2.0

    @jg.grad
    def loss(self, x):
        return np.sum(x * x) * self.scale


def test_methods_of_objects_can_be_read():
    assert "reduce_sum" in Model().loss.ir(X, stage="traced")
    assert "self.scale" in Model().loss.explain(X)


def test_a_pullback_can_be_read():
    _, pull = jg.vjp(lambda x: np.tanh(x) * x, X)
    assert "tanh" in pull.ir(stage="traced") and "d_out0" in pull.ir(stage="backward")
    assert "for " in pull.source() and "define " in pull.llvm() and pull.asm()
    assert "saved between forward and backward: " in pull.explain()
    with pytest.raises(ArgumentError, match="Leave the arguments out"):
        pull.ir(X)


def test_reading_compiles_and_does_not_run():
    runs = []

    @jg.jit
    def f(x):
        runs.append(1)
        return x + 1

    f.ir(X), f.source(X), f.explain(X)
    f(X)
    assert len(runs) == 1


# What explain() says


def test_explain_tells_of_fusion_and_of_what_is_kept():
    def f(x, w):
        h = np.tanh(x @ w)
        return np.sum(h * h)

    text = jg.value_and_grad(f).explain(np.ones((4, 3)), np.ones((3, 5)))
    assert re.search(r"kernels and library calls: \d+", text)
    assert re.search(r"arena \d+ bytes for [1-9]\d* temporar", text)
    assert re.search(r"\d+ ops before optimisation, \d+ after", text)
    assert re.search(r"nests merged into earlier ones: \d+", text)
    assert re.search(r"is stored: |is kept", text)


def test_explain_names_copies_with_their_line():
    def f(x):
        return jg.set_at(x, 0, 1.0)

    line = f.__code__.co_firstlineno + 1
    copies = [s for s in jg.jit(f).explain(X).splitlines() if s.startswith("copy")]
    assert len(copies) == 1 and f"test_reading.py:{line}" in copies[0]


def test_explain_names_stable_rewrites():
    assert "log" in jg.grad(lambda x: np.log(1 + np.exp(x))).explain(1.0)
    assert re.search("softplus", jg.grad(lambda x: np.log(1 + np.exp(x))).explain(1.0))


def test_explain_names_converted_inputs():
    f = jg.jit(total)
    assert "argument x is copied at each call: its byte order" in f.explain(X.astype(">f8"))
    assert "argument x is copied at each call: it is not C-contiguous" in f.explain(X[::-1])
    assert "copied at each call" not in f.explain(X)


WEIGHTS = np.ones(6)


def test_explain_names_captures_and_recompilations():
    @jg.grad
    def f(x):
        return np.sum(WEIGHTS * x)

    f(X)
    assert "captured as constants:\n  WEIGHTS: array float64(6,)" in f.explain(X)
    assert "recompiled" not in f.explain(X)
    WEIGHTS[0] = 3.0
    try:
        assert f(X)[0] == 3.0
        assert "recompiled, because WEIGHTS changed its contents" in f.explain(X)
    finally:
        WEIGHTS[0] = 1.0
