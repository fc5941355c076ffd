"""Programs for CUDA against the CPU: every op with its gradient, random loops, whole functions, errors."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.special

import jitgrad as jg
from jitgrad import config, testing
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.cuda import bodies, grid
from jitgrad.cuda import program as programs
from jitgrad.cuda.array import DeviceArray
from jitgrad.cuda.grid import LEAST, Launch, NotOnDevice, Repeat
from jitgrad.errors import (
    ArgumentError,
    DeviceError,
    IndexBoundsError,
    JitgradWarning,
    KernelBoundsError,
    KernelRaceError,
    LinAlgError,
)
from jitgrad.ir.types import is_float
from jitgrad.loopir.scalars import SCALARS
from jitgrad.passes.pipeline import prepare
from tests.cuda.device_programs import PROGRAMS, check, close, executable, floats, normal
from tests.fuzz.random_loops import random_loops

#: Computed by routines of LAPACK for which there is no call of cuSOLVER here, and by NumPy's generators.
_HOST_ONLY = (
    *("banded_solve", "eig", "eigh_complex", "eigvals", "slogdet_complex"),
    "generator_state",
)


def _on_host(name: str) -> bool:
    """Does only the host compute it?"""
    return name in _HOST_ONLY or (name in SCALARS and SCALARS[name].scipy is not None)


@pytest.mark.parametrize("name", [n for n in testing.op_names() if not _on_host(n)])
def test_every_op(name: str) -> None:
    rng = np.random.default_rng(0)
    for sample in testing.op_samples(name):
        graph, arrays = testing.op_graph(name, sample), [np.asarray(a) for a in sample.args]
        with np.errstate(all="ignore"):
            check(graph, arrays)
            wrt = floats(arrays)
            if not sample.grad or not wrt:
                continue
            gradient = vjp_graph(prepare(graph), wrt, seed="param")
            seeds = [r.type for r in graph.results if is_float(r.type.dtype)]
            check(gradient, [*arrays, *(rng.normal(size=t.shape).astype(t.dtype) for t in seeds)])  # pyright: ignore


def _random(first: int, count: int) -> int:
    """Run random nests; returns how many a device can run."""
    done = 0
    for seed in range(first, first + count):
        graph, arrays = random_loops(seed)
        try:
            with np.errstate(all="ignore"):
                check(graph, arrays)
        except NotOnDevice:
            continue
        done += 1
    return done


def test_random_loops() -> None:
    assert _random(0, 30) >= 10


@pytest.mark.slow
def test_many_random_loops() -> None:
    assert _random(30, 500) >= 200


@pytest.mark.parametrize("least", [LEAST, 0])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients(name: str, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.CudaExecutable.__init__, "__defaults__", (least,))
    function, args = PROGRAMS[name]
    on_device = jg.value_and_grad(function, floats(args), target="cuda")
    value, gradients = jg.value_and_grad(function, floats(args))(*args)
    for _ in range(3):  # at first, captured, replayed
        found, cotangents = on_device(*args)
        close(found.numpy(), np.asarray(value))
        for x, y in zip(cotangents, gradients, strict=True):
            close(x.numpy(), y, 5e-5 if y.dtype == np.float32 else 1e-9)


@jg.jit(target="cuda")
def _scaled(x: Any, y: Any) -> Any:
    return {"sum": x + 2.0 * y, "big": np.sum(x) > 3}


def test_arrays_stay_on_the_device() -> None:
    x = np.arange(6.0)
    out = _scaled(jg.device_put(x), 1.5)
    assert isinstance(out["sum"], DeviceArray) and out["sum"].dtype == np.float64
    np.testing.assert_array_equal(out["sum"].numpy(), x + 3.0)
    assert bool(out["big"]) and out["big"].dtype == np.bool_
    again = _scaled(out["sum"][::-1], out["sum"])  # a view that is not contiguous
    np.testing.assert_array_equal(again["sum"].numpy(), (x + 3.0)[::-1] + 2.0 * (x + 3.0))
    assert _scaled.cache_info().programs >= 2


def test_the_target_of_the_settings() -> None:
    f = jg.jit(lambda x: x * 3)
    assert isinstance(f(np.ones(3)), np.ndarray)
    with config.using(target="cuda"):
        assert isinstance(f(np.ones(3)), DeviceArray)
    assert isinstance(f(np.ones(3)), np.ndarray)
    with pytest.raises(ArgumentError, match="'cpu' or 'cuda'"):
        jg.jit(lambda x: x, target="tpu")


def test_all_transformations_on_a_device() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.sin(x) * x[::-1])

    x, t = np.arange(4.0), np.ones(4)
    value, pullback = jg.vjp(np.sin, x)
    out, tangent = jg.jvp(f, (x,), (t,))
    with config.using(target="cuda"):
        close(jg.hessian(f)(x).numpy(), jg.jit(jg.hessian(f), target="cpu")(x))
        close(jg.jacobian(np.sin)(x).numpy(), np.diag(np.cos(x)))
        found, back = jg.vjp(np.sin, x)
        close(found.numpy(), value)
        close(back(t)[0].numpy(), pullback(t)[0])
        y, along = jg.jvp(f, (x,), (t,))
        close(y.numpy(), np.asarray(out))
        close(along.numpy(), np.asarray(tangent))


def test_arguments_that_are_assigned_into() -> None:
    @jg.jit(target="cuda")
    def clip(x: Any) -> None:
        x[x < 0] = 0

    on_host = np.array([1.0, -2.0, 3.0])
    clip(on_host)
    np.testing.assert_array_equal(on_host, [1, 0, 3])
    on_device = jg.device_put(np.array([-1.0, 2.0]))
    clip(on_device)
    np.testing.assert_array_equal(on_device.numpy(), [0, 2])


def test_a_loop_of_calls_replays_one_graph() -> None:
    step = jg.jit(lambda w, g: w - 0.1 * g, target="cuda")
    w, g = jg.device_put(np.ones(1000)), jg.device_put(np.ones(1000))
    for _ in range(12):
        w = step(w, g)
    np.testing.assert_allclose(w.numpy(), 1 - 1.2, atol=1e-12)
    loaded = _loaded(step, w, g)
    assert sum(graphs is not None for graphs in loaded.graphs.values()) >= 1


def _loaded(program: Any, *args: Any) -> Any:
    """A program on its device."""
    (loaded,) = program._specialise(args, {}).compiled.executable._loaded.values()
    return loaded


def test_what_is_between_factorizations_is_replayed() -> None:
    def whitened(a: Any, y: Any) -> Any:
        factor = np.linalg.cholesky(a @ a.T + np.exp(y[0]) * np.eye(9))
        return np.tanh(np.linalg.solve(factor, y)).sum() + np.log(np.diag(factor)).sum()

    program = jg.value_and_grad(whitened, target="cuda")
    a, y = normal(9, 9, dtype=np.float64), normal(9, dtype=np.float64)
    held = [jg.device_put(x) for x in (a, y)]
    for shift in (0.0, 0.5, -2.0, 1.0):  # step by step, captured, and replayed with other numbers
        held[1].device.driver.copy_in(held[1].address, y + shift)
        found, slope = program(*held)
        want, wanted = jg.value_and_grad(whitened)(*(x.numpy() for x in held))
        close(found.numpy(), want)
        close(slope.numpy(), wanted)
        del found, slope
    loaded = _loaded(program, *held)
    assert {part.captured for part in loaded.parts} == {True, False} and not loaded.captured
    (graphs,) = loaded.graphs.values()
    assert [graph is not None for graph in graphs] == [part.captured for part in loaded.parts]


def test_failures_are_found_between_graphs() -> None:
    program = jg.jit(lambda a: np.linalg.cholesky(a * 2.0)[::-1] + 1.0, target="cuda")
    good, bad = np.eye(3), -np.eye(3)
    held = jg.device_put(good)
    for k in range(6):
        held.device.driver.copy_in(held.address, bad if k % 2 else good)
        if k % 2:
            with pytest.raises(LinAlgError, match="not positive definite"):
                program(held)
        else:
            close(program(held).numpy(), np.sqrt(2.0) * good[::-1] + 1)
    assert any(graphs is not None for graphs in _loaded(program, held).graphs.values())


def test_results_are_arrays_of_their_own() -> None:
    f = jg.jit(lambda x: (x + 1, np.sum(x), x[:0] * 2, np.tile(x, 50000), x * 2), target="cuda")
    x = jg.device_put(np.arange(4.0))
    first, second = f(x), f(x)
    y = np.arange(4.0)
    for found, want in zip(first, (y + 1, 6.0, np.zeros(0), np.tile(y, 50000), y * 2), strict=True):
        np.testing.assert_array_equal(found.numpy(), want)
    kept = second[0]
    del first, second
    f(jg.device_put(np.full(4, 9.0)))
    np.testing.assert_array_equal(kept.numpy(), np.arange(4.0) + 1)  # its memory is not given to others


def test_slices_that_start_anywhere() -> None:
    f = jg.jit(lambda x: x * 2, target="cuda")
    x = np.arange(64, dtype=np.float32)
    for start in range(1, 5):
        np.testing.assert_array_equal(f(jg.device_put(x)[start : start + 32]).numpy(), 2 * x[start : start + 32])


def test_failures_say_where() -> None:
    def pick(x: Any, k: Any) -> Any:
        return np.sum(x[k] ** 2)

    g = jg.grad(pick, target="cuda")
    np.testing.assert_array_equal(g(np.ones(4), np.array([1, 3])).numpy(), [0, 2, 0, 2])
    with pytest.raises(IndexBoundsError, match=r"out of bounds(.|\n)*test_device_programs\.py"):
        g(np.ones(4), np.array([1, 4]))
    with pytest.raises(IndexBoundsError):
        g(np.ones(4), np.array([-5, 1]))
    np.testing.assert_array_equal(g(np.ones(4), np.array([0, 0])).numpy(), [4, 0, 0, 0])
    solve = jg.jit(np.linalg.cholesky, target="cuda")
    with pytest.raises(LinAlgError, match="not positive definite"):
        solve(-np.eye(3))


@pytest.mark.parametrize("least", [LEAST, 0])
def test_what_follows_a_failed_check_does_not_run(least: int) -> None:
    def pick(x: Any, k: Any) -> Any:
        y, z = x.copy(), x.copy()
        y[k] += 1.0
        z[k] = 3.0
        return y, z, np.cumsum(x[k])

    k = np.arange(80) % 5
    k[17] = 99
    with pytest.raises(IndexBoundsError):  # one thread of a team finds out
        executable(jg.trace(pick, np.ones(5), k), least).call([np.ones(5), k])


def test_names_of_the_kernel_language() -> None:
    def f(maximum: Any, float32: Any, int64: Any) -> Any:
        return np.maximum(maximum, float32) + np.float32(0.5), int64 * 2

    x = normal(40)
    check(jg.trace(f, x, x, np.arange(40)), [x, -x, np.arange(40)])


def test_determinants_of_singular_matrices() -> None:
    a = np.random.default_rng(0).normal(size=(3, 5, 5))
    a[0, :, 2] = 0
    a[1, 3] = 0
    want = jg.grad(lambda a: np.sum(np.linalg.det(a) * np.arange(3)))(a)
    found = jg.grad(lambda a: np.sum(np.linalg.det(a) * np.arange(3)), target="cuda")(a)
    close(found.numpy(), want)
    assert np.all(np.any(want[1:], (1, 2)))


def test_arrays_on_two_devices() -> None:
    x, y = jg.device_put(np.ones(3), jg.device(0)), jg.device_put(np.ones(3), jg.device(1))
    f = jg.jit(lambda x, y: x + y, target="cuda")
    with pytest.raises(DeviceError, match=r"array 0 of the arguments is on .*, array 1 on "):
        f(x, y)
    found = f(y, np.ones(3))
    assert found.device is jg.device(1)
    np.testing.assert_array_equal(found.numpy(), [2, 2, 2])


def halved(x: np.ndarray) -> np.ndarray:
    while np.sum(x * x) > 1:
        x = np.linalg.solve(2 * np.eye(9), x)
    return x


def doubled(x: np.ndarray) -> np.ndarray:
    total = 0.0
    while total < 3:
        x = np.sin(x) + x
        total = total + np.sum(x)
    return total


def bessel(x):
    return scipy.special.jv(2, x) + 1.0


def test_what_has_no_form_for_a_device_runs_on_the_host() -> None:
    x = np.random.default_rng(0).normal(size=(9, 9))
    program = jg.jit(halved, target="cuda")
    with pytest.warns(
        JitgradWarning, match=r"getrf is called in a loop(.|\n)*on the host(.|\n)*test_device_programs\.py"
    ):
        found = program(jg.device_put(x, jg.device(1)))
    close(found.numpy(), halved(x))
    assert found.device is jg.device(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        close(program(x).numpy(), halved(x))  # said once
    assert program.explain(x).startswith("halved runs on the host: getrf")
    with pytest.warns(JitgradWarning, match=r"scipy\.special\.jv has no form(.|\n)*on the host"):
        close(jg.jit(bessel, target="cuda")(x).numpy(), bessel(x))
    gradient = jg.value_and_grad(doubled, target="cuda")
    with pytest.warns(JitgradWarning, match="size depends on values"):
        value, slope = gradient(np.full(2, 0.1))
    want, wanted = jg.value_and_grad(doubled)(np.full(2, 0.1))
    close(value.numpy(), want)
    close(slope.numpy(), wanted)


@pytest.mark.parametrize(
    ("f", "what"),
    [
        (lambda x: np.abs(np.linalg.eigh(x + x.T + 1j * (x - x.T))[1]), "Eigenvalues of a complex matrix have"),
        (lambda x: np.linalg.slogdet(x + 1j * x.T)[1], "A determinant of a complex matrix has"),
        (
            lambda x: scipy.linalg.solve_banded((1, 1), x + np.array([[0], [5], [0]]), x[0]),
            "A solve with a banded matrix has",
        ),
    ],
)
def test_what_runs_on_the_host(f: Any, what: str) -> None:
    x = np.random.default_rng(2).normal(size=(3, 3))
    program = jg.jit(f, target="cuda")
    with pytest.warns(JitgradWarning, match=rf"{what} no form(.|\n)*test_device_programs\.py") as found:
        close(program(x).numpy(), f(x))
        close(program(x).numpy(), f(x))
    assert len(found) == 1
    with (
        config.using(strict_device=True),
        pytest.raises(DeviceError, match=rf"{what} no form(.|\n)*forbids(.|\n)*test_device_programs\.py"),
    ):
        jg.jit(f, target="cuda")(x)


def test_what_runs_on_the_host_and_writes_into_its_argument() -> None:
    def f(x: np.ndarray) -> None:
        x[:] = halved(x)

    x = np.random.default_rng(1).normal(size=(9, 9))
    on_device, want = jg.device_put(x), halved(x)
    with pytest.warns(JitgradWarning, match="on the host"):
        jg.jit(f, target="cuda")(on_device)
    close(on_device.numpy(), want)


def test_strict_devices() -> None:
    with (
        config.using(strict_device=True),
        pytest.raises(DeviceError, match=r"config\.strict_device forbids(.|\n)*test_device_programs\.py"),
    ):
        jg.jit(halved, target="cuda")(np.eye(9))


@pytest.mark.parametrize(
    ("name", "where", "what", "planted"),
    [
        ("cross_entropy", bodies, "may_meet", lambda *_: False),  # no barriers
        ("bags", bodies, "conflicting", lambda _: frozenset()),  # plain updates for atomic ones
        ("heat", grid, "_independent", lambda *_: True),  # rows that need each other
    ],
)
def test_planted_bugs_are_caught(
    name: str, where: Any, what: str, planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, args = PROGRAMS[name]
    graph = jg.trace(jg.grad(function, floats(args)), *args)
    executable(graph, 0).call(args)
    monkeypatch.setattr(where, what, planted)
    with pytest.raises((KernelRaceError, KernelBoundsError)):
        executable(graph, 0).call(args)


def test_what_is_printed() -> None:
    function, args = PROGRAMS["layer_norm"]
    g = jg.grad(function, target="cuda")
    source = g.source(*args)
    assert source.count("\ndef ") >= 1 and "libdevice.sqrtf" in source and "programs.py" in source
    assert re.search(r"launches and library calls: \d", g.explain(*args))


def test_rows_with_all_that_is_summed_over_them_are_one_launch() -> None:
    function, _ = PROGRAMS["layer_norm"]
    graph = jg.trace(jg.value_and_grad(function, (0, 1, 2)), *(np.ones((64, 768), np.float32),
        np.ones(768, np.float32), np.ones(768, np.float32), np.ones((64, 768), np.float32)))  # fmt: skip
    steps = executable(graph).plans.steps
    wide = [s for s in steps if isinstance(s, Launch) and s.count > 1]
    assert len(wide) == 2, "one for the rows, and one for the sums of scale and shift"
    assert len(steps) == 3, "and what is before and after, by one team"
    assert all(not isinstance(s, Repeat) for s in steps)


def _wide(name: str, *args: np.ndarray) -> tuple[list[Launch], str]:
    """The launches of value and gradient of a program with more than one row, and the source."""
    function, _ = PROGRAMS[name]
    program = executable(jg.trace(jg.value_and_grad(function, floats(args)), *args))
    return [s for s in program.plans.steps if isinstance(s, Launch) and s.count > 1], program.source()


def test_teams_share_out_the_loops_along_rows() -> None:
    wide, source = _wide("rms_norm", normal(64, 768), normal(768), normal(64, 768))
    assert any(s.count == 64 and s.team > 32 for s in wide), "a team for each row"
    assert "atomic" not in source and "range(lane, 768, 128)" in source


def test_temporaries_of_rows() -> None:
    wide, _ = _wide("scan", normal(256, 512))
    assert max(s.count for s in wide) >= 128, "each chunk of rows has a running sum of its own"


def test_large_sums_are_updated_while_small_ones_are_not() -> None:
    wide, source = _wide("bags", normal(1000, 32), np.arange(2048).reshape(128, 16) % 1000, normal(128, 32))
    assert any(s.team > 1 and s.count == 128 for s in wide) and source.count("atomic_add") == 1


def test_exceptions_of_the_program() -> None:
    @jg.grad
    def fun(x: np.ndarray) -> Any:
        if np.any(x < 0):
            raise ValueError(f"the least element is {x.min():.2f}")
        s = 0.0
        for i in range(len(x)):
            assert x[i] < 100, (i, x[i])
            s += np.sqrt(x[i])
        return s

    x = np.linspace(1, 4, 70)
    device = jg.grad(fun.__wrapped__, target="cuda")
    np.testing.assert_allclose(device(x).numpy(), fun(x))
    for bad in (np.where(x > 3, -x, x), np.where(x > 3, 50 * x, x)):
        with pytest.raises((ValueError, AssertionError)) as plain:
            fun(bad)
        with pytest.raises((ValueError, AssertionError)) as found:
            device(bad)
        assert (type(found.value), str(found.value)) == (type(plain.value), str(plain.value))


def test_print_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    @jg.jit(target="cuda")
    def fun(x: np.ndarray) -> Any:
        print("x is", x)
        for _ in range(30):
            x = x * 0.9
            print(x[0])
        return x

    x = np.linspace(1, 2, 70)
    with pytest.warns(JitgradWarning, match="print, warnings and loggers do nothing on a GPU"):
        found = fun(x).numpy()
    np.testing.assert_allclose(found, x * 0.9**30)
    assert capsys.readouterr().out == ""
