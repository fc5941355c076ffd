"""Running sums: in warps, in blocks and over the grid, forwards, backwards and exclusive, and what would go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.cuda.grid import LEAST
from jitgrad.cuda.program import CudaExecutable
from jitgrad.errors import KernelError
from jitgrad.ir.index import Sym, expr
from jitgrad.ir.types import f64
from jitgrad.loopir.nodes import Assign, Block, Buffer, Const, Let, Load, Local, Loop, Program, Store
from tests.cuda.device_programs import check, close, executable, normal, ran


def compiled(function: Callable[..., Any], *args: np.ndarray, least: int = 0) -> CudaExecutable:
    """A program, which gives what NumPy gives."""
    program = executable(jg.trace(function, *args), least)
    want = function(*args)
    for found, y in zip(program.call(args), want if isinstance(want, tuple) else (want,), strict=True):
        close(found.numpy(), np.asarray(y))
    return program


def exclusive(x: Any) -> Any:
    return np.concatenate([np.zeros((x.shape[0], 1)), np.cumsum(x, axis=1)[:, :-1]], axis=1)


def backwards(x: Any) -> Any:
    return np.cumsum(x[:, ::-1], axis=1)[:, ::-1]


def products(x: Any) -> Any:
    return np.cumprod(1 + x / 100, axis=1)


def running(x: Any) -> Any:
    return np.cumsum(x, axis=1)


@pytest.mark.parametrize("shape", [(3, 20), (5, 64), (4, 65), (2, 129), (3, 300), (1, 257), (2, 1025)])
@pytest.mark.parametrize("function", [running, backwards, exclusive, products])
def test_rows(function: Callable[..., Any], shape: tuple[int, int]) -> None:
    source = compiled(function, normal(*shape, dtype=np.float64), least=LEAST).source()
    assert "_scan_" in source
    compiled(function, normal(*shape, dtype=np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.int16, np.uint64, bool])
def test_dtypes(dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 2 if dtype is bool else 9, (3, 150)).astype(dtype)
    compiled(running, x)
    compiled(np.cumsum, x.reshape(-1))


@pytest.mark.parametrize("length", [1, 2, 5, 33, 100, 1000])
@pytest.mark.parametrize("function", [np.cumsum, lambda x: np.cumsum(x[::-1])[::-1]])
def test_over_the_grid(function: Callable[..., Any], length: int) -> None:
    source = compiled(function, normal(length, dtype=np.float64)).source()
    assert ("_starts" in source) == (length > 4), "totals of chunks, the sums of those before each, the chunks"


def test_long_scans_are_three_launches() -> None:
    program = compiled(np.cumsum, normal(40_000), least=LEAST)
    totals, starts, run = (s.describe() for s in program.plans.steps)  # pyright: ignore[reportAttributeAccessIssue]
    assert totals == run == "39 blocks of 128 threads: 39 rows, a block each" and "all together" in starts


@pytest.mark.parametrize("least", [LEAST, 0])
def test_gradients(least: int) -> None:
    def loss(x: Any) -> Any:
        return (np.sin(np.cumsum(x)) ** 2).sum()

    x = normal(2500, dtype=np.float64) / 50
    program = executable(jg.trace(jg.grad(loss), x), least)
    assert "_starts" in program.source()
    close(program.call([x])[0].numpy(), jg.grad(loss)(x))


def fibonacci(x: Any) -> Any:
    """Not a sum: what an iteration adds depends on the sum."""
    y = np.zeros(x.shape)
    a = b = 0.0
    for i in range(x.shape[0]):
        a, b = b, a + b * 0.5 + x[i]
        y[i] = b
    return y


def logistic(x: Any) -> Any:
    """Not a line in what is carried."""
    y = np.zeros(x.shape)
    s = 0.5
    for i in range(x.shape[0]):
        s = 0.3 * s * (1 - s) + 0.1 * x[i]
        y[i] = s
    return y


def branching(x: Any) -> Any:
    """A line on either side, but which one depends on what is carried."""
    y = np.zeros(x.shape)
    s = 0.5
    for i in range(x.shape[0]):
        s = np.where(s > 0, 0.5 * s, 0.9 * s) + x[i]
        y[i] = s
    return y


@pytest.mark.parametrize("function", [fibonacci, logistic, branching])
def test_other_recurrences_are_run_in_order(function: Callable[..., Any]) -> None:
    assert "_scan_" not in compiled(function, normal(150, dtype=np.float64)).source()


def decaying(x: Any, k: Any) -> Any:
    y = np.zeros(x.shape)
    s = 1.5
    for i in range(x.shape[0]):
        s = 0.9 * s + x[i]
        y[i] = s
    return y


def averages(x: Any, k: Any) -> Any:
    y, s = np.zeros(x.shape), 0.0
    for i in range(x.shape[0]):
        change = x[i] - s
        s = s + k[i] * change
        y[i] = s
    return y


def averages_in_place(x: Any, k: Any) -> Any:
    y = np.zeros(x.shape)
    y[0] = x[0]
    for i in range(1, x.shape[0]):
        y[i] = k[i] * x[i] + (1 - k[i]) * y[i - 1]
    return y


def returns(x: Any, k: Any) -> Any:
    """Backwards, and from 0 wherever an episode ends."""
    y, s = np.zeros(x.shape), 0.0
    for i in range(x.shape[0] - 1, -1, -1):
        s = np.where(k[i] > 0.8, x[i], x[i] + 0.99 * s)
        y[i] = s
    return y


def before_and_after(x: Any, k: Any) -> Any:
    """What is carried is used before it changes and after."""
    y, z, s = np.zeros(x.shape), np.zeros(x.shape), 0.25
    for i in range(x.shape[0]):
        y[i] = s * x[i]
        t = -s / 4
        s = t * k[i] - (x[i] - s) * 0.5
        z[i] = s - t
    return y, z


def filtered(x: Any, k: Any) -> Any:
    """A delay line, as that of ``scipy.signal.lfilter``."""
    y, z = np.zeros(x.shape), np.zeros(x.shape[0] + 1)
    for i in range(x.shape[0]):
        z[i + 1] = 0.1 * x[i] + 0.9 * z[i]
        y[i] = z[i] - x[i]
    return y


AFFINE = [decaying, averages, averages_in_place, returns, before_and_after, filtered]


def weights(n: int) -> np.ndarray:
    return np.random.default_rng(n).uniform(size=n)


@pytest.mark.parametrize("length", [3, 31, 70, 300])
@pytest.mark.parametrize("function", AFFINE)
def test_affine_recurrences(function: Callable[..., Any], length: int) -> None:
    x, k = normal(length, dtype=np.float64), weights(length)
    for least in (LEAST, 0):
        source = compiled(function, x, k, least=least).source()
    assert ("_factors" in source) == (length > 3), "in chunks"
    assert length < 70 or "_scan_affine_" in source


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
def test_affine_dtypes(dtype: Any) -> None:
    def function(x: Any) -> Any:
        y = np.zeros(x.shape, x.dtype)
        for i in range(1, x.shape[0]):
            y[i] = x[i] - y[i - 1] * x[i - 1]
        return y

    x = np.random.default_rng(0).integers(-1, 2, 300).astype(dtype)
    for least in (LEAST, 0):
        assert "_scan_affine_" in compiled(function, x, least=least).source()


@pytest.mark.parametrize("function", [averages, returns, averages_in_place])
def test_affine_gradients(function: Callable[..., Any]) -> None:
    def loss(x: Any, k: Any) -> Any:
        return (function(x, k) ** 2).sum()

    x, k = normal(200, dtype=np.float64), weights(200)
    for least in (LEAST, 0):
        program = executable(jg.trace(jg.grad(loss, (0, 1)), x, k), least)
        assert "_scan_affine_" in program.source()
        for found, want in zip(program.call([x, k]), jg.grad(loss, (0, 1))(x, k), strict=True):
            close(found.numpy(), np.asarray(want))


def coupled(x: Any, k: Any) -> Any:
    """Two recurrences, of which the second needs the first."""
    y, z = x.copy(), x.copy()
    for i in range(1, x.shape[0]):
        y[i] += k[i] * y[i - 1]
        z[i] += y[i] * 0.5 + k[i] * z[i - 1]
    return y * z


@pytest.mark.parametrize("rows", [None, 3])
def test_loops_of_several_recurrences_are_scans(rows: int | None) -> None:
    def loss(x: Any, k: Any) -> Any:
        if rows is None:
            return (coupled(x, k) ** 2).sum()
        y, z = x.copy(), x.copy()
        for r in range(rows):
            for i in range(1, x.shape[1]):
                y[r, i] += k[i] * y[r, i - 1]
                z[r, i] += y[r, i] * 0.5 + k[i] * z[r, i - 1]
        return (y * z).sum()

    x, k = normal(*((200,) if rows is None else (rows, 200)), dtype=np.float64), weights(200)
    for least in (LEAST, 0):
        program = executable(jg.trace(loss, x, k), least)
        assert "_scan_affine_" in program.source()
        close(program.call([x, k])[0].numpy(), np.asarray(loss(x, k)))
        program = executable(jg.trace(jg.grad(loss, (0, 1)), x, k), least)
        assert "_scan_affine_" in program.source()
        for found, want in zip(program.call([x, k]), jg.grad(loss, (0, 1))(x, k), strict=True):
            close(found.numpy(), np.asarray(want))


def test_gradients_of_running_products_are_scans() -> None:
    def loss(x: Any) -> Any:
        return (np.cumprod(x) ** 2).sum()

    x = 1 + normal(300, dtype=np.float64) / 50
    x[100] = 0.0
    program = executable(jg.trace(jg.grad(loss), x), 0)
    assert "_scan_affine_" in program.source()
    close(program.call([x])[0].numpy(), jg.grad(loss)(x))


def growing(x: Any, k: Any) -> Any:
    y, s = np.zeros(x.shape, x.dtype), np.float32(0)
    for i in range(x.shape[0]):
        s = k[i] * s + x[i]
        y[i] = s
    return y


def test_products_of_factors_may_overflow() -> None:
    x, k = np.zeros(400, np.float32), np.full(400, 2, np.float32)
    x[390] = 1  # 2 ** 390 is infinite, but what it is multiplied by is 0
    for least in (LEAST, 0):
        compiled(growing, x, k, least=least)


def test_what_is_not_a_number_stays_so() -> None:
    for value, at in ((np.inf, "factor"), (np.nan, "factor"), (np.nan, "part")):
        x, k = np.zeros(200, np.float32), np.full(200, 0.5, np.float32)
        (k if at == "factor" else x)[20] = value
        with np.errstate(all="ignore"):
            want = growing(x, k)
        for least in (LEAST, 0):
            np.testing.assert_array_equal(executable(jg.trace(growing, x, k), least).call([x, k])[0].numpy(), want)


def test_long_recurrences_are_three_launches() -> None:
    x, k = normal(20_000, dtype=np.float64), weights(20_000)
    program = compiled(averages, x, k, least=LEAST)
    totals, starts, run = (s.describe() for s in program.plans.steps[-3:])  # pyright: ignore[reportAttributeAccessIssue]
    assert totals == run == "19 blocks of 128 threads: 19 rows, a block each" and "all together" in starts


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    cuda.syncthreads()\n    inside", "    inside"),  # no barrier: the totals of warps are not there yet
        ("    cuda.syncthreads()  # those", "    # those"),  # nor here: they are overwritten
        ("        f = float64(f * f0)\n", ""),  # factors don't multiply
        ("a = float64(f * a0 + a)", "a = float64(f0 * a0 + a)"),  # in the wrong order
        ("xFFFFFFFF, f, 8)", "xFFFFFFFF, f, 7)"),  # the factor of another lane
        ("if lane >= 4:", "if lane > 4:"),  # a lane is left out
        ("(f if lane >= 1 else", "(f if lane >= 0 else"),
        ("f0, warp))", "f0, lane))"),  # the start of another warp
        ("factors[warp] = total_f", "factors[warp] = f"),
        ("_own = (s if s == 0.0 else before * s) + before1", "_own = s + before1"),
        ("total * s) + total1", "before * s) + before1"),  # each thread has another sum
        ("= s_starts[i]", "= s_parts[i]"),
        ("s_factors[i] = s_factor", "s_factors[i] = s_factor_part"),  # a thread's factors only
        ("s_factor_part *= factor", "s_factor_part = factor"),
    ],
)
def test_planted_bugs_in_recurrences_are_caught(right: str, wrong: str) -> None:
    x, k = normal(960, dtype=np.float64), 0.2 * weights(960)
    program = compiled(lagged, x, k)
    text = program.source()
    assert right in text, text
    close(ran(program, text, x, k)[0], lagged(x, k))
    with pytest.raises((AssertionError, KernelError)):
        close(ran(program, text.replace(right, wrong), x, k)[0], lagged(x, k))


def lagged(x: Any, k: Any) -> Any:
    """What is long ago still counts."""
    y, s = np.zeros(x.shape), 1.5
    for i in range(x.shape[0]):
        s = (1 - k[i] / 100) * s + x[i]
        y[i] = s
    return y


def two_sums(x: Any, y: Any) -> Any:
    """Two numbers carried at once, one that is only summed, and what an iteration adds takes a loop."""
    s, most, total = 1.0, -1e9, 0.0
    sums, mosts = np.zeros(x.shape[0]), np.zeros(x.shape[0])
    for i in range(x.shape[0]):
        norm = 0.0
        for j in range(y.shape[1]):
            norm += y[i, j] * x[i]
        sums[i] = s
        s = s + norm - x[i]
        most = np.maximum(most, norm)
        mosts[i] = most * s
        total += s * most
    return sums, mosts, total + s


def sums_of_sums(x: Any) -> Any:
    s = t = 0.0
    y = np.zeros(x.shape)
    for i in range(x.shape[0]):
        s = s + x[i]
        t = t + s
        y[i] = t
    return y


def in_place(x: Any) -> Any:
    y = x * 2
    for i in range(1, y.shape[0]):
        y[i] = y[i] + y[i - 1]
    return y


def two_in_place(x: Any) -> Any:
    y, z = x * 2, np.abs(x) / 50 + 1
    for i in range(1, y.shape[0]):
        y[i] = y[i] + y[i - 1]
        z[i] = y[i] + z[i] * z[i - 1]
    for i in range(y.shape[0] - 2, -1, -1):
        z[i] += z[i + 1]
        y[i] = y[i + 1] - y[i] * 3
    return y, z


def until(x: Any, k: Any) -> Any:
    """As many iterations as a value says, which lie in each other."""
    y = np.zeros(x.shape)
    s = 0.0
    for i in range(k):
        s += x[i]
        y[i] = s
    return y, s


def downwards(x: Any) -> Any:
    y, s = np.zeros(x.shape), 0.0
    for i in range(x.shape[0] - 1, 0, -3):
        s += x[i]
        y[i] = s
    return y


@pytest.mark.parametrize("length", [7, 45, 150])
def test_written_as_loops(length: int) -> None:
    x, y = normal(length, dtype=np.float64), normal(length, 40, dtype=np.float64)
    for function, args in (
        (two_sums, (x, y)),
        (sums_of_sums, (x,)),
        (in_place, (x,)),
        (two_in_place, (x,)),
        (until, (x, np.array(length - 3))),
        (downwards, (x,)),
        (columns, (y,)),
    ):
        for least in (LEAST, 0):
            compiled(function, *args, least=least)


def columns(x: Any) -> Any:
    return np.cumsum(x[:, :2], axis=0) + np.cumsum(x[:, :2] * 2, axis=0)[::-1]


def test_which_loops_are_scans() -> None:
    x, y = normal(150, dtype=np.float64), normal(150, 40, dtype=np.float64)
    for function, args in ((two_sums, (x, y)), (in_place, (x,)), (two_in_place, (x,)), (downwards, (x,))):
        assert "_scan_" in compiled(function, *args, least=LEAST).source(), function.__name__


@pytest.mark.parametrize("shape", [(150, 2), (3000, 3)])
def test_columns(shape: tuple[int, int]) -> None:
    program = compiled(columns, normal(*shape, dtype=np.float64), least=LEAST)
    assert ("_scan_" in program.source()) == (shape[0] > 1000), "a block for each column"


def test_random_scans() -> None:
    rng = np.random.default_rng(1)
    for _ in range(8):
        n, m = int(rng.integers(1, 6)), int(rng.integers(2, 400))
        x = rng.normal(size=(n, m))
        weights = rng.normal(size=m)

        def function(x: Any, w: Any) -> Any:
            c = np.cumsum(np.tanh(x) * w, axis=1)
            return c * w + c[:, ::-1], np.cumsum(c[:, -1])

        check(jg.trace(function, x, weights), [x, weights])


PLANTED = [
    ("    cuda.syncthreads()\n    a, total", "    a, total"),  # no barrier: the totals of warps are not there yet
    ("    cuda.syncthreads()  # those", "    # those"),  # nor here: they are overwritten
    ("< 300:\n            acc_part", "<= 300:\n            acc_part"),  # one too many is added
    ("< 300:\n            acc_own", "<= 300:\n            acc_own"),  # and stored
    ("        acc += total\n", ""),  # steps start anew
    ("acc_own = acc + before", "acc_own = before"),
    ("if lane >= 4 else b", "if lane > 4 else b"),  # a lane is left out
    ("xFFFFFFFF, b, 8)", "xFFFFFFFF, b, 7)"),  # one is taken for another
    ("a if lane >= 1 else", "a if lane >= 0 else"),  # the first one has its own number twice
    ("a, warp))", "a, lane))"),  # the start of another warp
    ("xFFFFFFFF, b, 31)", "xFFFFFFFF, b, 30)"),  # the last one does not count
    ("parts[warp] = total", "parts[lane] = total"),
]


@pytest.mark.parametrize(("right", "wrong"), PLANTED)
def test_planted_bugs_are_caught(right: str, wrong: str) -> None:
    x = normal(2, 300, dtype=np.float64)
    program = compiled(running, x)
    text = program.source()
    assert right in text, text
    close(ran(program, text, x)[0], running(x))
    with pytest.raises((AssertionError, KernelError)):
        close(ran(program, text.replace(right, wrong), x)[0], running(x))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("acc = acc0_starts[i]", "acc = acc0_parts[i]"),  # its own total for that of those before
        ("        acc0_parts[i] = acc", "        acc0_parts[i] = acc_part"),  # a part of the total
        ("+ 1 + lane", "+ lane"),  # chunks overlap
    ],
)
def test_planted_bugs_in_chunks_are_caught(right: str, wrong: str) -> None:
    x = normal(200, dtype=np.float64)
    program = compiled(np.cumsum, x)
    text = program.source()
    assert right in text, text
    close(ran(program, text, x)[0], np.cumsum(x))
    with pytest.raises((AssertionError, KernelError)):
        close(ran(program, text.replace(right, wrong), x)[0], np.cumsum(x))


def test_what_is_added_is_computed_where_it_was() -> None:
    """A local that changes between two sums, as no program above has one."""
    x, y, z = (Buffer(name, f64, (70,), kind) for name, kind in (("x", "arg"), ("y", "out"), ("z", "out")))
    i, j = Sym("i", 0, 69), Sym("j", 0, 4)
    v, s, t = (Local(name, f64) for name in "vst")
    body = (
        Let(v, Load(x, (expr(i),))),
        Assign(s, s + v),
        Store(y, (expr(i),), s),
        Loop(j, 0, 5, (Assign(v, v * 0.5 + 1.0),)),
        Assign(t, t - v),
        Store(z, (expr(i),), t * v),
    )
    zero = Const(0.0, f64)
    program = Program("f", (x,), (y, z), (Block((Let(s, zero), Let(t, zero), Loop(i, 0, 70, body))),))
    given = normal(70, dtype=np.float64)
    w = given / 32 + (1 - 1 / 32) * 2
    for least in (LEAST, 0):
        compiled = CudaExecutable(program, least)
        assert "_scan_" in compiled.source()
        found = compiled.call([given])
        close(found[0].numpy(), np.cumsum(given))
        close(found[1].numpy(), -np.cumsum(w) * w)
