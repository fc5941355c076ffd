"""Random graphs: interpreter = Python renderer = LLVM renderer, and gradients = central differences.

Every result of a graph is a program of its own; they share a graph so that they share a compilation. On a mismatch the
seed and the graph of that one result are shown.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from random_graphs import Case, Generator, in_double, only, shrink

from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.codegen.python import compile_python
from jitgrad.compiler import compile_graph
from jitgrad.ir.core import Graph, Value
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.types import f32, f64
from jitgrad.loopir.lower import lower
from jitgrad.testing import differences

#: Programs in a graph, graphs in a test, tests in the normal suite: 8 * 4 * 10 = 320 programs.
PROGRAMS, GRAPHS, BATCHES = 10, 4, 6
Results = Sequence[np.ndarray]
Backend = Callable[[Graph, list[np.ndarray]], Results]
#: How many derivatives may be left out because differences with two steps disagree.
MAX_SKIPPED = 0.05


@dataclasses.dataclass
class Tally:
    """How many derivatives were compared, and how many left out."""

    compared: int = 0
    skipped: int = 0


def wide(a: np.ndarray) -> np.ndarray:
    return np.asarray(a, np.float64)


def close(got: np.ndarray, want: np.ndarray, exact: np.ndarray, single: bool) -> bool:
    """Whether two ways to compute the same agree to rounding.

    ``single``: some of it is computed in single precision; ``exact`` is the value in double precision throughout. An
    ill-conditioned program loses digits in any order of operations: then ``got`` may be as far from the exact value
    as ten times what ``want`` is.
    """
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    if got.dtype.kind != "f":
        return bool(np.array_equal(got, want))
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    if not np.all(same | (np.isfinite(got) & np.isfinite(want))):
        return False
    rtol = 2e-5 if single else 1e-10
    finite = np.isfinite(want) & np.isfinite(exact)
    scale = max(1.0, float(np.max(abs(wide(want[finite])), initial=0.0)))
    error = float(np.max(abs(wide(got[~same]) - wide(want[~same])), initial=0.0))
    known = float(np.max(abs(wide(want[finite]) - wide(exact[finite])), initial=0.0)) if single else 0.0
    return error <= rtol * scale + 10.0 * known


@functools.lru_cache(maxsize=64)
def values_in_single(graph: Graph) -> frozenset[Value]:
    """The values that are computed from anything in single precision."""
    found = {p for p in graph.params if p.type.dtype == f32}
    for op in graph.ops:
        if any(v in found for v in op.operands) or any(r.type.dtype == f32 for r in op.results):
            found.update(op.results)
    return frozenset(found)


def uses_single(graph: Graph, result: int) -> bool:
    return graph.results[result] in values_in_single(graph)


def compare(what: str, seed: object, case: Case, found: Results, expected: Results, exact: Results) -> None:
    for k, (got, want, true) in enumerate(zip(found, expected, exact, strict=True)):
        single = uses_single(case.graph, k)
        if not close(np.asarray(got), want, true, single):
            raise AssertionError(
                f"{what} differs from the interpreter at result {k}, seed {seed}:\n{got!r}\nnot\n{want!r}\n"
                f"{only(case.graph, k)}"
            )


def check_backend(what: str, seed: object, case: Case, run: Backend, expected: Results, exact: Results) -> None:
    """Hold what a backend computes against the interpreter; on a mismatch look for a smaller graph that has one."""
    try:
        compare(what, seed, case, run(case.graph, case.arrays), expected, exact)
    except AssertionError as error:

        def fails(smaller: Case) -> bool:
            want = interpret(smaller.graph, *smaller.arrays)
            got = np.asarray(run(smaller.graph, smaller.arrays)[0])
            return not close(got, want[0], exactly(smaller)[0], uses_single(smaller.graph, 0))

        small = shrink(case, fails)
        raise AssertionError(f"{error}\nreduced:\n{small.graph}\nwith {small.arrays}") from None


def run_lowered(graph: Graph, arrays: list[np.ndarray]) -> Results:
    return compile_python(lower(graph))(*arrays)


def run_fused(graph: Graph, arrays: list[np.ndarray]) -> Results:
    return compile_python(compile_graph(graph).program)(*arrays)


def run_llvm(graph: Graph, arrays: list[np.ndarray]) -> Results:
    return compile_graph(graph)(*arrays)


def joint_case(case: Case, rng: np.random.Generator) -> tuple[Case, list[int]]:
    """The case's values and the cotangents of its float parameters, and which results take a cotangent."""
    wrt = [k for k, p in enumerate(case.graph.params) if p.type.dtype.kind == "f"]
    floats = [k for k, r in enumerate(case.graph.results) if r.type.dtype.kind == "f"]
    graph = vjp_graph(case.graph, wrt, seed="param")
    seeds = [np.asarray(rng.normal(size=p.type.shape), p.type.dtype) for p in graph.params[len(case.arrays) :]]
    return Case(graph, [*case.arrays, *seeds]), floats


def check_case(seed: tuple[int, ...], case: Case, tally: Tally) -> None:
    rng = np.random.default_rng(seed)
    single = bool(values_in_single(case.graph))
    assert str(parse(str(case.graph))) == str(case.graph)
    values = interpret(case.graph, *case.arrays)
    exact = exactly(case) if single else values
    check_backend("the Python rendering", seed, case, run_lowered, values, exact)
    joint, floats = joint_case(case, rng)
    expected = interpret(joint.graph, *joint.arrays)
    exact = exactly(joint) if single else expected
    compare("the value beside the gradient", seed, case, expected[: len(values)], values, exact[: len(values)])
    compiled = compile_graph(joint.graph)  # once for both
    try:
        compare("the LLVM kernel", seed, joint, compiled(*joint.arrays), expected, exact)
    except AssertionError:
        check_backend("the LLVM kernel", seed, joint, run_llvm, expected, exact)
        raise
    try:
        compare("the fused program", seed, joint, compile_python(compiled.program)(*joint.arrays), expected, exact)
    except AssertionError:
        check_backend("the fused program", seed, joint, run_fused, expected, exact)
        raise
    check_derivatives(seed, case, joint, floats, rng, tally)


def exactly(case: Case) -> Results:
    """The results in double precision."""
    arrays = [a.astype(f64) if a.dtype == f32 else a for a in case.arrays]
    return interpret(in_double(case.graph), *arrays)


def check_derivatives(
    seed: object, case: Case, joint: Case, floats: list[int], rng: np.random.Generator, tally: Tally
) -> None:
    """Each result on its own: its cotangents along a random direction against differences, in double precision."""
    wrt = [k for k, a in enumerate(case.arrays) if a.dtype.kind == "f"]
    double = in_double(case.graph)
    arrays = [a.astype(f64) if a.dtype == f32 else a for a in case.arrays]
    direction = [np.asarray(rng.normal(size=arrays[k].shape)) for k in wrt]
    length = np.sqrt(sum(np.sum(d * d) for d in direction))
    direction = [d / length for d in direction]

    def values(*xs: np.ndarray) -> list[np.ndarray]:
        full = list(arrays)
        for k, x in zip(wrt, xs, strict=True):
            full[k] = x
        return [r for r in interpret(double, *full) if r.dtype.kind == "f"]

    primals = [arrays[k] for k in wrt]
    coarse, fine = (differences(values, primals, direction, eps) for eps in (4e-4, 1e-4))
    seeds = joint.arrays[len(arrays) :]
    rtol = 2e-3 if any(a.dtype == f32 for a in case.arrays) else 1e-6
    for n, k in enumerate(floats):
        one = [s if m == n else np.zeros_like(s) for m, s in enumerate(seeds)]
        gradients = interpret(joint.graph, *case.arrays, *one)[len(case.graph.results) :]
        got = float(sum(np.sum(wide(g) * d) for g, d in zip(gradients, direction, strict=True)))
        size = float(sum(np.sum(abs(wide(g) * d)) for g, d in zip(gradients, direction, strict=True)))
        wants = [float(np.sum(wide(seeds[n]) * d[n])) for d in (coarse, fine)]
        scale = max(1.0, size, abs(wants[1]), float(np.sum(abs(wide(seeds[n]) * fine[n]))))
        if not abs(wants[0] - wants[1]) <= 0.1 * rtol * scale:
            tally.skipped += 1  # a kink within reach, or too strongly curved
            continue
        tally.compared += 1
        assert abs(got - wants[1]) <= rtol * scale, (
            f"the gradient of result {k} along a direction is {got}, differences say {wants}, seed {seed}\n"
            f"{only(case.graph, k)}"
        )


DTYPES = ((f64,), (f64,), (f64, f32), (f32,))


@functools.cache
def totals() -> Tally:
    """Over all tests of this process."""
    return Tally()


def check_seeds(first: int, graphs: int) -> None:
    tally = totals()
    for g in range(graphs):
        seed = (first, g)
        check_case(seed, Generator(seed, DTYPES[g % len(DTYPES)]).case(PROGRAMS), tally)
    total = tally.compared + tally.skipped
    assert tally.compared > 0
    assert tally.skipped <= max(3, MAX_SKIPPED * total), f"{tally.skipped} of {total} derivatives were left out"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_programs(batch):
    check_seeds(batch, GRAPHS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "graphs"), [*((b, GRAPHS) for b in range(BATCHES, 20)), *((b, 25) for b in range(1000, 1040))]
)
def test_many_random_programs(batch, graphs):
    check_seeds(batch, graphs)


def test_a_wrong_derivative_is_found(monkeypatch):
    from jitgrad.ir.core import OPS

    def wrong(self, x, *, out):
        return (1.0 + out * out,)

    monkeypatch.setattr(type(OPS["tanh"]), "partials", wrong)
    with pytest.raises(AssertionError, match="differences say"):
        for seed in range(200):
            case = Generator(seed).case(PROGRAMS)
            if any(op.name == "tanh" for op in case.graph.ops):
                joint, floats = joint_case(case, np.random.default_rng(seed))
                check_derivatives(seed, case, joint, floats, np.random.default_rng(seed), Tally())


def test_a_wrong_kernel_is_found():
    case = Generator(7).case(1)
    values = interpret(case.graph, *case.arrays)
    changed = tuple(v * (1 + 1e-6) + 1e-6 for v in values)
    with pytest.raises(AssertionError, match=r"differs from the interpreter at result 0, seed 7:[\s\S]*graph fuzz"):
        compare("this", 7, case, changed, values, values)


def test_the_generator_reaches_most_ops():
    seen: set[str] = set()
    for seed in range(60):
        graph: Graph = Generator(seed, (f64, f32)).case(PROGRAMS).graph
        for k in range(PROGRAMS):
            seen.update(op.name for op in only(graph, k).ops)
    missing = {"argmax", "argsort", "sort", "gather", "scatter_add", "scatter_set", "einsum", "cumprod", "where", "pad"}
    missing |= {"set_slice", "add_slice", "concatenate", "cast", "solve", "cholesky", "det", "slogdet"}
    assert not missing - seen, missing - seen
