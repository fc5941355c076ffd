"""Which loops are parallel, and why others are not.

The proofs behind it are checked against an enumeration: every iteration of a parallel loop is walked through, with the
elements that it touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.codegen.python import compile_python
from jitgrad.compiler import optimise
from jitgrad.ir.core import Graph
from jitgrad.ir.index import Dim, IndexExpr, Sym, evaluate
from jitgrad.ir.interpret import interpret
from jitgrad.loopir import schedule as module
from jitgrad.loopir import strips
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.deps import root_index
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import Assign, Buffer, Let, Load, Loop, Program, Stmt, Store
from jitgrad.loopir.schedule import parallel_loops, schedule
from jitgrad.loopir.verify import verify
from jitgrad.loopir.walk import expressions, lists_of, statements, subexpressions
from jitgrad.runtime.compiled import Executable
from tests.fuzz.random_loops import Features, Loops
from tests.fuzz.random_regions import RegionGraphs, arguments

Element = tuple[Buffer, int | None]
Env = dict[Sym, int]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop that can be parallel is."""
    for name, value in {"FEW": 1, "CHUNKED": 0, "COMBINED": 1e-9, "LEAST_CHUNKS": 1}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(strips, "WIDTH", 1)


def scheduled(graph: Graph, least: int = 1, notes: list[str] | None = None) -> Program:
    return schedule(fuse(lower(optimise(graph))), notes, least)


# Enumeration


def element(t: Buffer, index: Iterable[Dim], env: Env) -> Element:
    """An element by its offset; None where the offset depends on data: any element."""
    at = root_index(t, tuple(index))
    try:
        return t.root, None if at is None else evaluate(flatten_index(t.root.shape, at), env)
    except KeyError:
        return t.root, None


def number(e: Dim, env: Env) -> int | None:
    try:
        return evaluate(e, env)
    except KeyError:
        return None


def indices(s: Loop, env: Env) -> range:
    """The values of a loop's variable; a few where they depend on data."""
    lo, hi = number(s.lo, env), number(s.hi, env)
    return range(3) if lo is None or hi is None else range(lo, hi, s.step)


def touched(s: Stmt, env: Env) -> Iterator[tuple[Element, bool]]:
    """The elements that a statement touches, and whether it writes them."""
    for e in subexpressions(expressions(s)):
        if isinstance(e, Load):
            yield element(e.buffer, e.index, env), False
    if isinstance(s, Store):
        yield element(s.buffer, s.index, env), True
    for body in lists_of(s):
        for value in indices(s, env) if isinstance(s, Loop) else (None,):
            inner = env if value is None or not isinstance(s, Loop) else {**env, s.var: value}
            for x in body:
                yield from touched(x, inner)


def conflicts(stmts: Iterable[Stmt], env: Env) -> Iterator[str]:
    """What two iterations of a parallel loop share and one of them writes."""
    for s in stmts:
        if isinstance(s, Loop) and s.kind == "parallel":
            yield from shared_locals(s)
            yield from shared_elements(s, env)
            continue
        for body in lists_of(s):
            for value in indices(s, env) if isinstance(s, Loop) else (None,):
                yield from conflicts(body, env if not isinstance(s, Loop) or value is None else {**env, s.var: value})


def shared_locals(s: Loop) -> Iterator[str]:
    own = {x.local for x in statements(s.body) if isinstance(x, Let)}
    yield from (f"{x.local.name} is shared" for x in statements(s.body) if isinstance(x, Assign) and x.local not in own)


def shared_elements(s: Loop, env: Env) -> Iterator[str]:
    users: dict[Buffer, dict[int | None, set[int]]] = {}
    writers: dict[Buffer, dict[int | None, set[int]]] = {}
    for value in indices(s, env):
        for x in s.body:
            for (root, at), writes in touched(x, {**env, s.var: value}):
                users.setdefault(root, {}).setdefault(at, set()).add(value)
                if writes:
                    writers.setdefault(root, {}).setdefault(at, set()).add(value)
    for root, places in writers.items():
        for at, these in places.items():
            same = [k for k in users[root] if k == at or k is None or at is None]
            if len(these.union(*(users[root][k] for k in same))) > 1:
                yield f"{root.name}[{at}] is shared by iterations of {s.var.name}"


def random_programs() -> Iterator[tuple[Graph, Program]]:
    for seed in range(40):
        yield (g := Loops(seed, Features(whiles=False, traced=False)).graph), scheduled(g)
    for seed in range(10):
        yield (g := RegionGraphs(seed).graph()), scheduled(g)


def test_iterations_of_parallel_loops_share_nothing(eager: None) -> None:
    count = 0
    for graph, program in random_programs():
        count += sum(1 for _ in parallel_loops(program))
        assert list(conflicts(program.body, {})) == [], str(graph)
    assert count > 50


def test_the_enumeration_finds_wrong_proofs(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "independent", lambda *_: True)
    assert any(any(True for _ in conflicts(program.body, {})) for _, program in random_programs())


@pytest.mark.parametrize("seed", range(12))
def test_chunks_compute_the_same(eager: None, seed: int) -> None:
    graph = RegionGraphs(seed).graph()
    args = arguments(graph, seed)
    program = scheduled(graph)
    verify(program, "scheduled")
    for found, expected in zip(compile_python(program)(*args), interpret(graph, *args), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n", [8191, 8192, 8193, 10_007, 50_000])
def test_chunks_of_innermost_loops_are_whole_grains(n: int) -> None:
    x = np.random.default_rng(n).standard_normal(n)
    graph = jg.trace(lambda x: (np.sum(np.exp(x)), np.exp(x) * 2), x)
    program = scheduled(graph)
    verify(program, "scheduled")
    (outer,) = [s for s in parallel_loops(program) if s.hi == module.CHUNKS]
    (inner,) = [s for s in outer.body if isinstance(s, Loop) and isinstance(s.lo, IndexExpr)]
    bounds = [[evaluate(e, {outer.var: k}) for e in (inner.lo, inner.hi)] for k in range(module.CHUNKS)]
    starts, ends = zip(*bounds, strict=True)
    assert starts[0] == 0 and ends[-1] == n and ends[:-1] == starts[1:]
    whole = n >= module.CHUNKS * module.GRAINS * module.GRAIN
    assert all(k % module.GRAIN == 0 for k in starts) == whole
    longest, shortest = (f(b - a for a, b in bounds) for f in (max, min))
    assert longest - shortest < (2 * module.GRAIN if whole else 2)
    for found, expected in zip(Executable(program)(x), (np.exp(x).sum(), np.exp(x) * 2), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


# Choices


def kinds(program: Program) -> list[tuple[str, str]]:
    """The outermost parallel loops and the loops around them, by extent."""

    def visit(stmts: Iterable[Stmt], around: str) -> Iterator[tuple[str, str]]:
        for s in stmts:
            if isinstance(s, Loop) and s.kind == "parallel":
                yield around, str(s.hi)
                continue
            inside = f"{around} {s.hi}".strip() if isinstance(s, Loop) else around
            for body in lists_of(s):
                yield from visit(body, inside)

    return list(visit(program.body, ""))


def sweeps(u, steps=50):
    for _ in range(steps):
        v = u.copy()
        v[1:-1, 1:-1] = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])
        u = v
    return u


def eliminate(a):
    n = len(a)
    for k in range(n - 1):
        for i in range(k + 1, n):
            a[i, k + 1 :] -= a[i, k] / a[k, k] * a[k, k + 1 :]
    return a


def row_after_row(a):
    for i in range(1, len(a)):
        a[i, :] += 0.5 * np.sin(a[i - 1, :])
    return a


def pairs(x):
    f = np.zeros_like(x)
    for i in range(len(x)):
        d = x - x[i]
        f[i] = np.sum(d / (d * d + 0.1))
    return f


def running(x):
    total = 0.0
    for i in range(len(x)):
        total += np.sum(np.cumsum(x[i]) ** 2)
    return total


def program_of(fun: Callable, *args: np.ndarray, least: int = 1 << 12) -> tuple[Program, list[str]]:
    notes: list[str] = []
    program = scheduled(jg.trace(fun, *args), least, notes)
    verify(program, "scheduled")
    return program, notes


@pytest.mark.parametrize(
    ("fun", "shape", "expected"),
    [
        (sweeps, (40, 40), [("50", "38")]),
        (row_after_row, (20, 200), [("", "3")]),
        (row_after_row, (20, 100), []),
        (pairs, (65,), [("", "65")]),
    ],
)
def test_the_outermost_loop_that_can_be_is_parallel(fun: Callable, shape: tuple[int, ...], expected: object) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    assert kinds(program_of(fun, x, least=1 << 16)[0]) == expected  # copies of arguments take less


def test_a_temporary_that_is_filled_in_pieces_is_one_for_each_chunk() -> None:
    x = np.random.default_rng(0).normal(size=(64, 300))
    graph = jg.trace(jg.value_and_grad(running), x)
    program, notes = program_of(jg.value_and_grad(running), x)
    assert any("has its own" in note for note in notes), notes
    for found, expected in zip(compile_python(program)(x), interpret(graph, x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_work_that_depends_on_loops_around_is_an_expression() -> None:
    program, _ = program_of(eliminate, np.random.default_rng(0).normal(size=(60, 60)))
    (s,) = (x for x in parallel_loops(program) if isinstance(x.work, IndexExpr))
    (outer,) = (x for x in statements(program.body) if isinstance(x, Loop) and s in x.body)
    assert s.work.syms() == {outer.var}  # pyright: ignore[reportAttributeAccessIssue]
    work = [evaluate(s.work, {outer.var: k}) for k in range(59)]
    assert work == sorted(work, reverse=True) and work[-1] > 0


def reason(fun: Callable, *args: np.ndarray) -> str:
    return "\n".join(program_of(fun, *args, least=1 << 17)[1])


def recurrence(x):
    s = 0.0
    for k in range(len(x)):
        s = np.sin(s) + x[k]
    return s


def factorizations(x):
    for _ in range(100):
        x = np.linalg.cholesky(x)
    return x


def checked(x, k):
    for i in range(len(x)):
        x[k[i]] = np.sin(x[k[i]])
    return x


@pytest.mark.parametrize(
    ("fun", "args", "why"),
    [
        (recurrence, (np.ones(3000),), "each iteration needs s of the one before"),
        (factorizations, (np.eye(20),), "it calls potrf, which has threads of its own"),
        (checked, (np.ones(3000), np.arange(3000)), "an iteration may need what another one writes into x"),
        (np.exp, (np.ones(7),), "1 loop is serial: too little work for threads"),
    ],
)
def test_reasons(fun: Callable, args: tuple[np.ndarray, ...], why: str) -> None:
    assert why in reason(fun, *args)


def test_explain_lists_them() -> None:
    f = jg.jit(lambda x: np.sum(np.exp(x)))
    text = f.explain(np.ones((1000, 1000)))
    assert "over 1000000 runs on threads, in 32 chunks: each sums up" in text
    with jg.config.using(parallel=False):
        assert "threads" not in jg.jit(lambda x: np.sum(np.exp(x))).explain(np.ones((1000, 1000)))
