"""Results whose extents only the run tells, against plain NumPy."""

from __future__ import annotations

import copy
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ShapeError, UnsupportedError
from jitgrad.frontend.signature import flatten
from tests.threads import in_threads

X = np.sin(1 + np.arange(12.0))


def same(found: Any, expected: Any) -> None:
    """Trees of equal structure, with leaves of equal dtypes, shapes and values."""
    f, tree = flatten(found)
    e, other = flatten(expected)
    assert tree == other
    for x, y in zip(f, e, strict=True):
        assert (np.asarray(x).dtype, np.shape(x)) == (np.asarray(y).dtype, np.shape(y))
        np.testing.assert_allclose(x, y, rtol=1e-14)


def filtered(x):
    return [v for v in x if v > 0]


def appended(x):
    out = {"pairs": [], "n": 0}
    for i, v in enumerate(x):
        if v > 0:
            out["pairs"].append((np.int64(i), v * 2))
            out["n"] += 1
    return out["pairs"], np.int64(out["n"])


def rows(x):
    out = []
    for v in x:
        if v > 0.5:
            out.append(np.array([v, v * v]))  # noqa: PERF401
    return out, x[x > 0.5]


def records(x):
    return [{"at": np.int64(i), "value": (v, v * v)} for i, v in enumerate(x) if v < 0]


def peaks(x):
    inner = x[1:-1]
    where = np.flatnonzero((inner > x[:-2]) & (inner > x[2:])) + 1
    return where, x[where]


def assigned(x):
    x[x > 0] *= 2
    return x[x > 1]


def matrices(x):
    m = x.reshape(3, 4)
    return m[m[:, 0] > 0], m[:, m[1] < 0], m[m > 0], np.outer(x[x > 0], x[x < 0])


def never(x):
    out: list[float] = []
    for _ in range(3):
        if x[0] > 100:
            out.append(x[0])  # noqa: PERF401
    return out, x[x > 100]


def of_columns(x):
    return np.concatenate([x[x > 0], x]), np.pad(x[x > 0], 1), np.repeat(x[x > 0], 2), np.append(x[x < 0], 1.0)


class Particle:
    def __init__(self, x, number):
        self.x, self.number = x, number


def particles(x):
    found = []
    for t in range(len(x)):
        if x[t] > -0.5:
            found.append(Particle(x[t], np.int64(t)))  # noqa: PERF401
    return [p.x for p in found], sorted([p.number for p in found])[::-1], max(found, key=lambda p: p.x).number


PROGRAMS: dict[str, Callable[..., Any]] = {
    "mask": lambda x: x[x > 0],
    "empty": lambda x: (x[x > 100], x[x > -100]),
    "places": lambda x: (np.nonzero(x > 0), np.argwhere(x > 0), np.flatnonzero(x < 0), np.where(x > 0)),
    "selected": lambda x: (np.compress(x > 0, x), np.extract(x < 0, x), x[x > 0] > 0.5),
    "unique": lambda x: np.unique(np.round(x), return_counts=True),
    "sorted": lambda x: (np.sort(x[x > 0]), np.argsort(x[x > 0]), sorted(x[x < 0])),
    "complex": lambda x: (x + 1j * x)[x > 0],
    "short": lambda x: x.astype(np.float16)[x > 0],
    "beside known ones": lambda x: (np.sum(x), x[x > 0], x * 2, 3 * x[x < 0][1:]),
    "bounds": lambda x: x[: np.sum(x > 0)],
    **{
        f.__name__: f
        for f in (filtered, appended, rows, records, peaks, assigned, matrices, never, of_columns, particles)
    },
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("backend", ["llvm", "python"])
def test_values(name: str, backend: str) -> None:
    f = PROGRAMS[name]
    with jg.config.using(backend=backend):
        run = jg.jit(f)
        for x in (X, -X, np.ones(12), X[::-1].copy()):
            mine, theirs = x.copy(), x.copy()
            same(run(mine), f(theirs))
            same(mine, theirs)
        assert run.cache_info().compilations == 1


def halves(x, least):
    """How many there are, nothing limits."""
    steps = []
    while x > least:
        steps.append((x, np.int64(len(steps))))
        x = x / 2
    return steps, np.int64(len(steps))


def test_more_than_there_is_room_for() -> None:
    run = jg.jit(halves)
    for least in (0.1, 1e-300, 1e-3, 5e-324):
        same(run(np.float64(1e300), least), halves(np.float64(1e300), least))
    assert "compiled anew for more" in run.explain(np.float64(1e300), 0.1)


@pytest.mark.parametrize("n", [0, 1, 1024, 1025, 9000])
def test_unlimited_extents(n: int) -> None:
    def f(x):
        count = np.sum(x).astype(int)
        return np.zeros(count) + x[0], np.arange(count), np.bincount(x.astype(int))

    x = np.array([n / 2, n / 2])
    same(jg.jit(f)(x), f(x))


def test_rooms_larger_than_memory_are_guessed() -> None:
    x = np.full(1 << 20, -1.0)
    x[5:40] = 2.0
    found = jg.jit(lambda x: np.outer(x[x > 0], x[x > 0]))(x)
    same(found, np.full((35, 35), 4.0))


def test_small_parts_do_not_keep_the_room() -> None:
    f = jg.jit(lambda x: (x[x > 5], x[x < 5]))
    few, many = f(np.arange(1000.0) % 5.01)
    assert few.base is None or few.base.size < 1000
    assert many.size > 900


def test_results_are_fresh() -> None:
    f = jg.jit(lambda x: (x[x > 0], x[x > 0]))
    a, b = f(X)
    c, _ = f(X)
    a[:] = 7.0
    same(b, X[X > 0])
    same(c, X[X > 0])
    assert a.flags.writeable and a.flags.c_contiguous


# With the other transformations


def test_auxiliary_results() -> None:
    def f(x):
        return np.sum(x[x > 0] ** 2), {"chosen": x[x > 0], "list": [v for v in x if v > 0.5]}

    (value, aux), slope = jg.value_and_grad(f, has_aux=True)(X)
    same((value, aux), f(X))
    same(slope, np.where(X > 0, 2 * X, 0))


def test_tangents() -> None:
    out, tangent = jg.jvp(lambda x: x[x > 0] ** 2, (X,), (np.arange(12.0),))
    same(out, X[X > 0] ** 2)
    same(tangent, (2 * X * np.arange(12.0))[X > 0])


def test_inside_of_other_functions() -> None:
    inner = jg.jit(lambda x: [v for v in x if v > 0])
    other = jg.jit(lambda x: x[x > 0])
    same(jg.jit(lambda x: (sum(inner(x)), np.sum(other(x)), other(x)))(X), (X[X > 0].sum(), X[X > 0].sum(), X[X > 0]))
    same(jg.grad(lambda x: np.sum(other(x) ** 2))(X), np.where(X > 0, 2 * X, 0))


def test_what_needs_known_shapes_says_so() -> None:
    def f(x):
        return x[x > 0]

    for run in (lambda: jg.vjp(f, X), lambda: jg.jacobian(f)(X), lambda: jg.compile(jg.trace(f, X))):
        with pytest.raises(UnsupportedError, match=r"a result of type f64\[count\]"):
            run()
    with pytest.raises(ShapeError, match="each example decides") as caught:
        jg.vmap(f)(X.reshape(3, 4))
    assert caught.value.location is not None


def test_a_list_of_objects_as_a_result_is_refused() -> None:
    def f(x):
        found = []
        for t in range(len(x)):
            if x[t] > 0:
                found.append(Particle(x[t], t))  # noqa: PERF401
        return found

    with pytest.raises(UnsupportedError, match="the result of f is a list") as caught:
        jg.jit(f)(X)
    assert caught.value.location is not None


def test_a_program_that_prints_is_not_run_twice(capfd: pytest.CaptureFixture[str]) -> None:
    def f(x):
        print(x)
        return np.zeros(np.sum(x).astype(int))

    with pytest.raises(UnsupportedError, match=r"extent \(v\) that nothing limits") as caught:
        jg.jit(f)(X)
    assert caught.value.location is not None
    assert not capfd.readouterr().out


def test_a_program_that_writes_is_not_run_twice() -> None:
    def f(x):
        x += 1
        return np.zeros(np.sum(x).astype(int))

    with pytest.raises(UnsupportedError, match="can't be run again"):
        jg.jit(f)(X.copy())


def test_draws_and_rooms() -> None:
    """A program that draws has a limit, or is refused."""

    def f(x, rng):
        return x[rng.random(len(x)) > 0.5]

    x, mine, theirs = np.arange(50.0), np.random.default_rng(3), np.random.default_rng(3)
    run = jg.jit(f)
    for _ in range(3):
        same(run(x, mine), f(x, theirs))


# Which programs there are


def test_integers_that_alone_decide_are_known() -> None:
    f = jg.jit(lambda x, n: (x[x > 0], x[:n]))
    for n in (2, 3):
        same(f(X, n), (X[X > 0], X[:n]))
    assert f.cache_info().programs == 2
    assert "argument n is the number 3 in this program" in f.explain(X, 3)


def test_integers_that_do_not_decide_are_traced() -> None:
    f = jg.jit(lambda x, n: x[x * 10 > n])
    for n in (2, 3):
        same(f(X, n), X[n < X * 10])
    assert f.cache_info().programs == 1


def test_notes_and_stages() -> None:
    f = jg.jit(lambda x: x[x > 0])
    assert "the result of type f64[count] is a part of an array of shape (12,)" in f.explain(X)
    assert "== with rooms ==" in f.ir(X)


def test_threads_that_need_more_room_at_once() -> None:
    run = jg.jit(halves)
    run(np.float64(1.0), 0.5)

    def call(k: int) -> None:
        for _ in range(5):
            same(run(np.float64(1e300), 10.0 ** -(40 * k)), halves(np.float64(1e300), 10.0 ** -(40 * k)))

    in_threads(call, 8)


def test_lists_of_arguments_stay_themselves() -> None:
    given = [1.0, 2.0]
    found = jg.jit(lambda x, items: ([v for v in x if v > 0], items))(X, given)
    same(found, ([v for v in X if v > 0], given))
    same(copy.deepcopy(found), found)


def test_the_cache_on_disk(tmp_path) -> None:
    program = textwrap.dedent("""
        import sys
        import numpy as np
        import jitgrad as jg
        jg.config.update(cache=True, cache_dir=sys.argv[1])

        def f(x, least):
            steps = []
            while x > least:
                steps.append(x)
                x = x / 2
            return steps

        run = jg.jit(f)
        for least in (0.1, 1e-250):
            assert run(1e10, least) == f(1e10, least)
        print(run.explain(1e10, 0.1).count("from the cache on disk"))
        """)
    path = tmp_path / "program.py"
    path.write_text(program)
    found = [
        subprocess.run(
            [sys.executable, str(path), str(tmp_path / "cache")], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert found == ["0\n", "1\n"]
