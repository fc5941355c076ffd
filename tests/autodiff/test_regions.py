"""Derivatives of loops and branches: values from text, in both modes and of second order; what is saved, and what not.

The reference is the straight-line program that runs for the arguments; programs of a few lines are held against
central differences too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.compiler import compile_graph
from jitgrad.errors import DifferentiationError
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.verify import verify
from jitgrad.passes.pipeline import optimise, prepare
from jitgrad.testing import differences
from tests.loopir.region_graphs import GRAPHS as LOOPS
from tests.regions import arguments, floats, forward, reverse
from tests.straight import straight

pytestmark = pytest.mark.usefixtures("empty_arrays_hold_nan")

GRAPHS: dict[str, str] = dict(LOOPS)

GRAPHS["steps of three, downwards"] = """
graph f(%x: f64[9], %s: f64[]) {
  %y: f64[] = for(%s) {lo=8, hi=-1, step=-3}
    (%i: i64[], %a: f64[]) {
      %e: f64[1] = slice(%x) {starts=(%i,), sizes=(1,), steps=(1,)}
      %r: f64[] = reshape(%e) {shape=()}
      %t: f64[] = multiply(%a, %r)
      %b: f64[] = sin(%t)
      yield %b
    }
  return %y
}
"""

GRAPHS["triangular, both ways"] = """
graph f(%x: f64[5,6], %s: f64[]) {
  %y: f64[] = for(%s) {lo=0, hi=5, step=1}
    (%i: i64[], %a: f64[]) {
      %b: f64[] = for(%a) {lo=4, hi=%i - 1, step=-1}
        (%j: i64[], %c: f64[]) {
          %e: f64[1,1] = slice(%x) {starts=(%i, %j), sizes=(1, 1), steps=(1, 1)}
          %r: f64[] = reshape(%e) {shape=()}
          %d: f64[] = multiply(%c, %r)
          %g: f64[] = cos(%d)
          yield %g
        }
      %h: f64[] = for(%b) {lo=%i, hi=2*%i, step=2}
        (%k: i64[], %l: f64[]) {
          %m: f64[] = multiply(%l, %s)
          %n: f64[] = sin(%m)
          yield %n
        }
      yield %h
    }
  return %y
}
"""

GRAPHS["extents between two indices"] = """
graph f(%x: f64[6], %s: f64[]) {
  %y: f64[] = for(%s) {lo=0, hi=3, step=1}
    (%i: i64[], %a: f64[]) {
      %b: f64[] = for(%a) {lo=%i, hi=6, step=1}
        (%j: i64[], %c: f64[]) {
          %p: f64[%j - %i + 1] = slice(%x) {starts=(%i,), sizes=(%j - %i + 1,), steps=(1,)}
          %q: f64[%j - %i + 1] = multiply(%p, %c)
          %t: f64[%j - %i + 1] = sin(%q)
          %u: f64[] = reduce_sum(%t) {axes=(0,)}
          yield %u
        }
      yield %b
    }
  return %y
}
"""

GRAPHS["a value is written and read back"] = """
graph f(%x: f64[6]) {
  %zero: f64[] = constant() {value=f64[] 0.0}
  %t: f64[6] = broadcast_to(%zero) {shape=(6,)}
  %y: f64[6], %s: f64[] = for(%t, %zero) {lo=0, hi=6, step=1}
    (%i: i64[], %a: f64[6], %c: f64[]) {
      %e: f64[1] = slice(%x) {starts=(%i,), sizes=(1,), steps=(1,)}
      %g: f64[1] = exp(%e)
      %b: f64[6] = set_slice(%a, %g) {starts=(-%i + 5,), steps=(1,)}
      %h: f64[1] = slice(%b) {starts=(-%i + 5,), sizes=(1,), steps=(1,)}
      %k: f64[] = reshape(%h) {shape=()}
      %l: f64[] = multiply(%k, %k)
      %m: f64[] = add(%c, %l)
      yield %b, %m
    }
  return %y, %s
}
"""

GRAPHS["an element is overwritten twice in an iteration"] = """
graph f(%x: f64[5]) {
  %y: f64[5] = for(%x) {lo=1, hi=4, step=1}
    (%i: i64[], %a: f64[5]) {
      %e: f64[1] = slice(%a) {starts=(%i,), sizes=(1,), steps=(1,)}
      %g: f64[1] = sin(%e)
      %b: f64[5] = set_slice(%a, %g) {starts=(%i,), steps=(1,)}
      %h: f64[1] = slice(%b) {starts=(%i - 1,), sizes=(1,), steps=(1,)}
      %k: f64[1] = slice(%b) {starts=(%i,), sizes=(1,), steps=(1,)}
      %l: f64[1] = multiply(%h, %k)
      %c: f64[5] = set_slice(%b, %l) {starts=(%i,), steps=(1,)}
      %m: f64[1] = slice(%c) {starts=(%i,), sizes=(1,), steps=(1,)}
      %n: f64[1] = multiply(%m, %m)
      %d: f64[5] = set_slice(%c, %n) {starts=(%i + 1,), steps=(1,)}
      yield %d
    }
  return %y
}
"""

GRAPHS["two arrays are swapped and updated"] = """
graph f(%x: f64[6], %z: f64[6]) {
  %y: f64[6], %w: f64[6] = for(%x, %z) {lo=0, hi=5, step=1}
    (%t: i64[], %a: f64[6], %b: f64[6]) {
      %n: f64[6] = for(%b) {lo=1, hi=5, step=1}
        (%i: i64[], %c: f64[6]) {
          %p: f64[1] = slice(%a) {starts=(%i - 1,), sizes=(1,), steps=(1,)}
          %q: f64[1] = slice(%a) {starts=(%i + 1,), sizes=(1,), steps=(1,)}
          %r: f64[1] = multiply(%p, %q)
          %u: f64[1] = tanh(%r)
          %d: f64[6] = set_slice(%c, %u) {starts=(%i,), steps=(1,)}
          yield %d
        }
      yield %n, %a
    }
  return %y, %w
}
"""

GRAPHS["an inner loop captures the version before"] = """
graph f(%x: f64[5]) {
  %y: f64[5] = for(%x) {lo=0, hi=3, step=1}
    (%t: i64[], %a: f64[5]) {
      %b: f64[5] = for(%a) {lo=0, hi=4, step=1}
        (%i: i64[], %c: f64[5]) {
          %p: f64[1] = slice(%a) {starts=(%i + 1,), sizes=(1,), steps=(1,)}
          %q: f64[1] = slice(%c) {starts=(%i,), sizes=(1,), steps=(1,)}
          %r: f64[1] = multiply(%p, %q)
          %d: f64[5] = set_slice(%c, %r) {starts=(%i + 1,), steps=(1,)}
          yield %d
        }
      yield %b
    }
  return %y
}
"""

GRAPHS["while inside for"] = """
graph f(%x: f64[5]) {
  %zero: f64[] = constant() {value=f64[] 0.0}
  %two: f64[] = constant() {value=f64[] 2.0}
  %y: f64[] = for(%zero) {lo=0, hi=5, step=1}
    (%i: i64[], %a: f64[]) {
      %e: f64[1] = slice(%x) {starts=(%i,), sizes=(1,), steps=(1,)}
      %r: f64[] = reshape(%e) {shape=()}
      %s: f64[] = while(%r)
        (%b: f64[]) {
          %go: bool[] = less(%b, %two)
          yield %go
        }
        (%c: f64[]) {
          %g: f64[] = multiply(%c, %c)
          %h: f64[] = add(%g, %r)
          yield %h
        }
      %k: f64[] = add(%a, %s)
      yield %k
    }
  return %y
}
"""

GRAPHS["branch inside while"] = """
graph f(%x: f64[], %w: f64[]) {
  %one: f64[] = constant() {value=f64[] 1.0}
  %five: f64[] = constant() {value=f64[] 5.0}
  %y: f64[] = while(%x)
    (%a: f64[]) {
      %go: bool[] = less(%a, %five)
      yield %go
    }
    (%b: f64[]) {
      %p: bool[] = less(%b, %one)
      %c: f64[] = cond(%p)
        () {
          %d: f64[] = add(%b, %w)
          yield %d
        }
        () {
          %e: f64[] = multiply(%b, %b)
          %g: f64[] = add(%e, %w)
          yield %g
        }
      yield %c
    }
  return %y
}
"""

GRAPHS["while in while"] = """
graph f(%x: f64[], %w: f64[]) {
  %three: f64[] = constant() {value=f64[] 3.0}
  %nine: f64[] = constant() {value=f64[] 9.0}
  %y: f64[] = while(%x)
    (%a: f64[]) {
      %go: bool[] = less(%a, %nine)
      yield %go
    }
    (%b: f64[]) {
      %c: f64[] = while(%w)
        (%d: f64[]) {
          %on: bool[] = less(%d, %three)
          yield %on
        }
        (%e: f64[]) {
          %g: f64[] = multiply(%w, %b)
          %h: f64[] = add(%e, %g)
          yield %h
        }
      %k: f64[] = add(%c, %b)
      yield %k
    }
  return %y
}
"""

GRAPHS["loops whose length the data gives"] = """
graph f(%x: f64[6], %m: i64[3]) {
  %zero: f64[] = constant() {value=f64[] 0.0}
  %y: f64[] = for(%zero) {lo=0, hi=3, step=1}
    (%i: i64[], %a: f64[]) {
      %k1: i64[1] = slice(%m) {starts=(%i,), sizes=(1,), steps=(1,)}
      %n: i64[] = reshape(%k1) {shape=()}
      %b: f64[] = for(%a) {lo=0, hi=%n, step=1}
        (%j: i64[], %c: f64[]) {
          %e: f64[1] = slice(%x) {starts=(%j,), sizes=(1,), steps=(1,)}
          %r: f64[] = reshape(%e) {shape=()}
          %g: f64[] = multiply(%c, %r)
          %h: f64[] = cos(%g)
          yield %h
        }
      yield %b
    }
  return %y
}
"""

GRAPHS["a branch over all of it"] = """
graph f(%x: f64[4], %p: bool[]) {
  %y: f64[4] = cond(%p)
    () {
      %a: f64[4] = for(%x) {lo=0, hi=3, step=1}
        (%i: i64[], %b: f64[4]) {
          %c: f64[4] = multiply(%b, %x)
          yield %c
        }
      yield %a
    }
    () {
      %d: f64[4] = sin(%x)
      yield %d
    }
  return %y
}
"""


def more(graph: Graph, args: list[np.ndarray]) -> list[np.ndarray]:
    """The arguments, and random ones for the further parameters."""
    rng = np.random.default_rng(2)
    return [*args, *(np.asarray(rng.normal(size=p.type.shape)) for p in graph.params[len(args) :])]


def close(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9 * max(1.0, float(np.max(np.abs(y), initial=0.0))))


@pytest.mark.parametrize("name", GRAPHS)
def test_first_order(name: str) -> None:
    graph = parse(GRAPHS[name])
    args = arguments(graph)
    line = straight(graph, *args)
    prepared = prepare(graph, verify=True)
    for mode in (reverse, forward):
        expected = mode(line)
        given = more(expected, args)
        want = interpret(expected, *given)
        derived = mode(graph)
        verify(derived)
        close(interpret(derived, *given), want)
        best = optimise(mode(prepared), verify=True)
        close(interpret(best, *given), want)


@pytest.mark.parametrize("name", GRAPHS)
def test_compiled(name: str) -> None:
    graph = parse(GRAPHS[name])
    args = arguments(graph)
    joint = vjp_graph(prepare(graph), floats(graph), seed="param")
    given = more(joint, args)
    close(compile_graph(joint)(*given), interpret(joint, *given))


#: Graphs whose second derivatives take long for what they add.
BIG = (
    *("seidel", "cholesky by dot products", "library call in a loop", "row times matrix in a loop"),
    *("columns of matrices", "pushed down columns of a triangle", "dot products with columns"),
)


@pytest.mark.parametrize("name", [n for n in GRAPHS if n not in BIG])
def test_second_order(name: str) -> None:
    graph = parse(GRAPHS[name])
    args = arguments(graph)
    line, prepared = straight(graph, *args), prepare(graph)
    for outer, inner in ((reverse, reverse), (forward, reverse), (reverse, forward)):
        expected = outer(inner(line))
        given = more(expected, args)
        derived = outer(inner(prepared))
        verify(derived)
        close(interpret(derived, *given), interpret(expected, *given))


@pytest.mark.parametrize("name", GRAPHS)
def test_against_differences(name: str) -> None:
    graph = parse(GRAPHS[name])
    args = arguments(graph)
    wrt = floats(graph)
    rng = np.random.default_rng(3)
    directions = [np.asarray(rng.normal(size=args[k].shape)) for k in wrt]

    def values(*arrays: np.ndarray) -> list[np.ndarray]:
        given = list(args)
        for k, a in zip(wrt, arrays, strict=True):
            given[k] = a
        return [r for r in interpret(graph, *given) if r.dtype.kind == "f"]

    slopes = differences(values, [args[k] for k in wrt], directions, 1e-5)
    tangents = [t for t in interpret(forward(graph), *args, *directions) if t.dtype.kind == "f"]
    for t, s in zip(tangents, slopes, strict=True):
        np.testing.assert_allclose(t, s, rtol=1e-5, atol=1e-6)


def test_lengths_that_are_traced_may_be_zero() -> None:
    graph = parse(GRAPHS["loops whose length the data gives"])
    x = np.linspace(0.2, 1.0, 6)
    joint = reverse(graph)
    for m in ([0, 0, 0], [0, 3, 1], [6, 0, 2]):
        args = [x, np.array(m)]
        expected = reverse(straight(graph, *args))
        close(interpret(joint, *args, np.asarray(1.0)), interpret(expected, *args, np.asarray(1.0)))


def test_several_results_that_share_a_loop() -> None:
    graph = parse(GRAPHS["fibonacci"])
    joint = vjp_graph(graph, [0, 1], seed="param", outputs=[1], with_value=False)
    dx, dy = interpret(joint, np.asarray(2.0), np.asarray(3.0), np.asarray(1.0))
    assert (dx, dy) == (13, 21)


def test_integers_carried_along_have_no_derivative() -> None:
    graph = parse(GRAPHS["nested carries"])
    joint = vjp_graph(graph, [0], outputs=[0])
    verify(joint)
    with pytest.raises(DifferentiationError, match="i64"):
        vjp_graph(graph, [0], outputs=[1])


# What is saved


def tapes(graph: Graph) -> list[str]:
    """The notes about tapes, without what precedes them."""
    notes: list[str] = []
    vjp_graph(prepare(graph), floats(graph), seed="param", notes=notes)
    return [note.split(": ", 1)[1] for note in notes if "tape" in note]


def traced(fun: Any, *args: Any) -> Graph:
    return jg.trace(jg.jit(fun, loops="roll"), *args)


def cholesky(a):
    n = a.shape[0]
    L = a.copy()
    for i in range(n):
        for j in range(i):
            for k in range(j):
                L[i, j] -= L[i, k] * L[j, k]
            L[i, j] /= L[j, j]
        for k in range(i):
            L[i, i] -= L[i, k] * L[i, k]
        L[i, i] = np.sqrt(L[i, i])
    return np.sum(np.tril(L))


def lu(a):
    n = a.shape[0]
    A = a.copy()
    for k in range(n):
        for i in range(k + 1, n):
            A[i, k] /= A[k, k]
            for j in range(k + 1, n):
                A[i, j] -= A[i, k] * A[k, j]
    return np.sum(A)


def solve(L, b):
    x = np.zeros_like(b)
    for i in range(len(b)):
        s = b[i]
        for j in range(i):
            s -= L[i, j] * x[j]
        x[i] = s / L[i, i]
    return np.sum(x)


def seidel(a):
    A = a.copy()
    n = A.shape[0]
    for _ in range(12):
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                A[i, j] = (A[i - 1, j] + A[i, j - 1] + A[i, j] + A[i, j + 1] + A[i + 1, j]) / 5.0
    return np.sum(A)


def trmm(a, b):
    B = b.copy()
    n, m = b.shape
    for i in range(n):
        for j in range(m):
            for k in range(i + 1, n):
                B[i, j] += a[k, i] * B[k, j]
    return np.sum(B)


def jacobi(x):
    a, b = x.copy(), np.zeros_like(x)
    for _ in range(12):
        b[1:-1] = (a[:-2] + a[1:-1] + a[2:]) / 3.0
        a, b = b, a
    return np.sum(a)


S = np.eye(10) * 5 + 0.1
NO_TAPE = {cholesky: (S,), lu: (S,), solve: (S, S[0]), seidel: (S,), trmm: (S, S), jacobi: (S[0],)}


@pytest.mark.parametrize("fun", NO_TAPE, ids=lambda f: f.__name__)
def test_no_tape(fun: Any) -> None:
    found = tapes(traced(fun, *NO_TAPE[fun]))
    assert found
    assert set(found) == {"no tape"}


def durbin(r):
    n = len(r)
    y = np.zeros(n)
    z = np.zeros(n)
    y[0] = -r[0]
    alpha, beta = -r[0], 1.0
    for k in range(1, n):
        beta = (1.0 - alpha * alpha) * beta
        s = r[k]
        for i in range(k):
            s += r[k - i - 1] * y[i]
        alpha = -s / beta
        for i in range(k):
            z[i] = y[i] + alpha * y[k - i - 1]
        for i in range(k):
            y[i] = z[i]
        y[k] = alpha
    return np.sum(y)


def doubles(notes: list[str]) -> int:
    return sum(int(note.rsplit(", ", 1)[1].split()[0]) // 8 for note in notes)


def test_the_tape_of_durbin_is_triangular() -> None:
    n = 12
    r = 0.5 ** np.arange(1.0, n + 1)
    graph = traced(durbin, r)
    found = tapes(graph)
    assert doubles(found) <= n * (n - 1) // 2 + 3 * n, found
    args = [r]
    expected = reverse(straight(graph, *args))
    joint = reverse(prepare(graph))
    close(interpret(joint, r, np.asarray(1.0)), interpret(expected, r, np.asarray(1.0)))


def test_a_power_tapes_one_number_an_iteration() -> None:
    def power(x):
        s = 1.0
        for _ in range(20):
            s = np.sin(s * x)
        return s

    assert doubles(tapes(traced(power, 0.7))) == 20


def test_a_number_that_is_stored_needs_no_tape() -> None:
    def recurrence(x):
        y = np.zeros(20)
        s = 0.3
        for i in range(20):
            s = np.sin(s * x[i])
            y[i] = s
        return np.sum(y * y)

    assert doubles(tapes(traced(recurrence, np.ones(20)))) <= 20


def test_what_is_captured_is_not_taped() -> None:
    def weighted(x, w):
        s = 0.0
        for i in range(20):
            s = s * 0.5 + np.exp(w[i]) * x[i] * x[i]
        return s

    assert tapes(traced(weighted, np.ones(20), np.ones(20))) == ["no tape"]
