"""The benchmarks measure what they say: on jitgrad alone, and against the peers where they are installed."""

import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from jitgrad import config

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # after site-packages: an installed jitgrad stays the one that is tested

from benchmarks import (  # noqa: E402
    accuracy,
    dispatch,
    fourier,
    harness,
    layouts,
    machine,
    minimax,
    peers,
    plot,
    process,
    program,
    report,
    session,
    suite,
)


def tiny(name, dtype="f64"):
    return program.Case(suite.PROGRAMS[name], dtype, "tiny")


@pytest.fixture(scope="module")
def jitgrad():
    return session.Session(peers.Jitgrad(threads=1))


@pytest.mark.parametrize("name", suite.PROGRAMS)
def test_jitgrad_is_right_on_every_program(name, jitgrad):
    case = tiny(name)
    _, results = jitgrad.start(case)
    harness.check_result(harness.Reference(case), results, peers.Jitgrad)


@pytest.mark.parametrize("case", program.select(suite.PROGRAMS.values(), sizes=("tiny",)), ids=lambda case: case.name)
def test_jitgrad_is_right_on_a_gpu(case):
    """The values, on the simulated device."""
    with config.using(cuda_driver="simulated"):
        one = session.Session(peers.Jitgrad(threads=1, target="cuda"))
        _, results = one.start(case)
        assert one.sample(1) > 0
        assert one.growth() is None
    harness.check_result(harness.Reference(case), results, peers.Jitgrad)


@pytest.mark.parametrize("other", ["jax", "torch"])
@pytest.mark.parametrize("name", suite.PROGRAMS)
@pytest.mark.peers
def test_peers_are_right_on_every_program(name, other):
    pytest.importorskip(other)
    case = tiny(name)
    peer = peers.PEERS[other](threads=1)
    _, results = session.Session(peer).start(case)
    harness.check_result(harness.Reference(case), results, type(peer))


class Fake(peers.Peer):
    """A peer with the gradient of Rosenbrock's function by hand, wrong by ``error`` in one element."""

    name, module = "fake", "numpy"

    def __init__(self, error=0.0, dtype=np.float64, name="fake"):
        self.error, self.dtype, self.name = error, dtype, name
        super().__init__(1)

    def load(self):
        pass

    def transform(self, case):
        def value_and_grad(x):
            inner = x[1:] - x[:-1] ** 2
            grad = np.zeros_like(x)
            grad[:-1] = -400 * x[:-1] * inner - 2 * (1 - x[:-1])
            grad[1:] += 200 * inner
            grad[1] += self.error
            return case.program.fun(x), grad.astype(self.dtype)

        return value_and_grad


def checked(peer):
    case = tiny("rosenbrock")
    _, results = session.Session(peer).start(case)
    harness.check_result(harness.Reference(case), results, type(peer))


def test_a_wrong_gradient_is_noticed():
    checked(Fake())
    with pytest.raises(harness.MismatchError, match="central difference"):
        checked(Fake(error=1e3))
    with pytest.raises(harness.MismatchError, match="dtypes"):
        checked(Fake(dtype=np.float32))


def measured(*fakes, **options):
    options = {"repeat": 5, "seconds": 1.0, "warm": False, "growth": False, **options}
    return harness.measure(tiny("rosenbrock"), [session.Session(peer) for peer in fakes], **options)


def test_who_differs_from_the_first_is_not_timed():
    row = measured(Fake(), Fake(name="same"), Fake(error=1e-3, name="other"))
    assert set(row.timings) == {"fake", "same"}
    assert "fake and other differ" in row.errors["other"]


def test_who_is_wrong_is_not_timed_and_not_the_reference():
    row = measured(Fake(error=1e3), Fake(name="right"))
    assert set(row.timings) == {"right"}
    assert "central difference" in row.errors["fake"]


def test_measure_counts_and_orders_times():
    timing = measured(Fake()).timings["fake"]
    assert timing.samples == 5
    assert 0 < timing.minimum <= timing.median
    assert timing.calls_per_sample >= 1
    assert timing.warm_call is None
    few = measured(Fake(), seconds=0.0, warm=True).timings["fake"]
    assert few.samples == harness.FEWEST_SAMPLES
    assert few.warm_call > 0


def test_a_process_is_at_rest_when_its_threads_are():
    def busy():
        end = time.perf_counter() + 0.1
        while time.perf_counter() < end:
            pass

    thread = threading.Thread(target=busy)
    start = time.perf_counter()
    thread.start()
    session.come_to_rest()
    assert time.perf_counter() - start >= 0.1
    thread.join()
    session.come_to_rest()
    assert time.perf_counter() - start < 0.1 + session.LONGEST_REST


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak of the resident set")
def test_growth_counts_what_a_call_takes_and_gives_back():
    def touch():  # new pages: an array may lie in some that the process has kept
        with mmap.mmap(-1, 32_000_000) as pages:
            for at in range(0, len(pages), mmap.PAGESIZE):
                pages[at] = 1

    def growths(call):  # several, as the system may take pages of others back meanwhile
        return [session.resident_growth(call) for _ in range(5)]

    assert 30e6 < max(growths(touch)) < 45e6
    assert max(growths(lambda: None)) < 5e6


def test_inputs_are_the_same_every_time_and_of_the_cases_dtype():
    for case in program.select(suite.PROGRAMS.values(), sizes=("tiny",)):
        one, two = program.leaves(case.arguments()), program.leaves(case.arguments())
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
            if isinstance(a, np.ndarray) and a.dtype.kind == "f":
                assert a.dtype == program.DTYPES[case.dtype]


def test_cases_are_chosen_by_name_size_and_dtype():
    names = [case.name for case in suite.select(["mlp", "attention-f32"], ["cache"])]
    assert names == ["mlp-f32-cache", "mlp-f64-cache", "attention-f32-cache"]
    every = suite.select(sizes=program.TIMED_SIZES)
    assert len({case.program.name for case in every}) >= 30
    assert {(case.dtype, case.size) for case in every} == {(d, s) for d in program.DTYPES for s in program.TIMED_SIZES}
    assert {case.program.name for case in suite.select()} == set(suite.PROGRAMS)


def timing(minimum, first, growth=None, warm=None):
    return harness.Timing(minimum, 2 * minimum, 5, 10, first, warm, growth)


def test_tables_and_json():
    results = {
        "chain_exp-f32-memory": harness.Row(
            {"jitgrad": timing(1e-6, 0.5, 10**6, 0.1), "jax": timing(4e-6, 1.0, 4 * 10**6)}, least_traffic=1000
        ),
        "bilinear-f64-cache": harness.Row(
            {"jitgrad": timing(2e-6, 0.5), "jax": timing(1e-6, 1.0)}, {"torch": "broken"}, flops=2000
        ),
    }
    machine = {"bandwidth": 2e9, "f32": 1e9, "f64": 4e9}
    text = report.tables(results, machine)
    lines = [line.split() for line in text.splitlines()]
    assert lines[3][:6] == ["chain_exp-f32-memory", "1", "4", "0.25", "0.50", "of"]
    assert lines[4][:6] == ["bilinear-f64-cache", "2", "1", "2.00", "0.25", "of"]
    assert ["geometric", "mean", "0.71"] in lines
    assert "  bilinear-f64-cache: 2.00 of jax's time" in text
    assert "  bilinear-f64-cache, torch: broken" in text
    data = json.loads(json.dumps(report.as_json(results, 2, None, machine)))
    assert data["cases"]["chain_exp-f32-memory"]["timings"]["jax"]["minimum"] == 4e-6
    assert data["cases"]["bilinear-f64-cache"]["reached"] == [0.25, "of product rate"]
    assert data["machine"]["threads"] == 2
    assert data["versions"]["numpy"] == np.__version__


def test_plot(tmp_path):
    results = {"scalar-f64-small": harness.Row({"jitgrad": timing(1e-6, 1.0), "jax": timing(4e-6, 1.0)})}
    plot.draw(results, tmp_path / "ratios.svg")
    text = (tmp_path / "ratios.svg").read_text()
    assert "</svg>" in text
    assert len(text) > 5000


@pytest.mark.skipif(not process.FORKS, reason="each case has a main process of its own")
def test_a_peer_whose_process_dies_fails_and_comes_back(tmp_path):
    remote = process.Remote("numpy", 1, tmp_path)
    case = tiny("rosenbrock")
    try:
        _, (value,) = remote.start(case)
        assert value == case.program.fun(*case.arguments())
        assert remote.sample(3) > 0
        main = remote.process.pid
        (child,) = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        with pytest.raises(process.PeerError, match="ended with status -9"):
            remote.sample(3)
        remote.end()
        assert len(remote.start(case)[1]) == 1
        os.killpg(remote.process.pid, signal.SIGKILL)
        with pytest.raises(process.PeerError, match="the process ended"):
            remote.sample(3)
        assert len(remote.start(case)[1]) == 1
    finally:
        remote.close()


def test_what_a_peer_says_of_a_failure_is_reported(tmp_path):
    remote = process.Remote("no_such_peer", 1, tmp_path)
    with pytest.raises(process.PeerError, match="KeyError: 'no_such_peer'"):
        remote.open()


def command(*args, **environment):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *args],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_layouts_are_checked_and_timed(capsys):
    """Every expression, and every layout, once; values and gradients are compared with NumPy's inside."""
    rows = layouts.main(["--quick"])
    assert {row.expression for row in rows} == set(layouts.EXPRESSIONS)
    assert {row.layout for row in rows} == set(layouts.LAYOUTS)
    assert all(row.jitgrad > 0 for row in rows)
    marked = [layouts.Row("e", "n", "value", ns, numpy, jax) for ns, numpy, jax in ((3, 1, 9), (3, 9, 1), (3, 3, None))]
    assert [row.is_cliff for row in marked] == [True, True, False]
    assert layouts.table(marked).count(" <") == 2
    assert "of 52 are marked" in capsys.readouterr().out
    x = layouts.LAYOUTS["n,10"](np.arange(20.0))
    fun = layouts.EXPRESSIONS["2x + 1"].of(np, x.shape)
    for value, gradient in ((2 * x, None), (2 * x + 1, (np.sum((2 * x + 1) ** 2), 4 * x))):
        with pytest.raises(AssertionError):
            layouts.check("2x + 1", fun, x, value, gradient)


def test_command_line(tmp_path):
    path = tmp_path / "folder" / "out.json"
    done = command(
        *("--peers", "jitgrad", "numpy", "--cases", "scalar", "--repeat", "3", "--json", str(path)),
        *("--plot", str(tmp_path / "out.svg"), "--no-machine"),
    )
    assert done.returncode == 0, done.stderr
    assert "us a call" in done.stdout
    timings = json.loads(path.read_text())["cases"]["scalar-f64-small"]["timings"]
    assert set(timings) == {"jitgrad", "numpy"}
    assert timings["jitgrad"]["first_call"] > timings["jitgrad"]["minimum"]
    assert timings["jitgrad"]["warm_call"] > 0
    assert (tmp_path / "out.svg").exists()


def test_command_line_refuses_unknown_names():
    done = command("--cases", "no_such_case")
    assert done.returncode == 2
    assert "no_such_case" in done.stderr
    assert command("--peers", "no_such_peer").returncode == 2
    assert command("--sizes", "huge").returncode == 2


def test_without_a_gpu_one_message_says_so():
    done = command("--target", "cuda", JITGRAD_CUDA_DRIVER="cuda", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert done.stdout == ""
    (message,) = done.stderr.splitlines()
    assert message.startswith("nothing is measured: ")
    assert "doctor" in message or 'target="cpu"' in message


def test_command_line_for_a_gpu(tmp_path):
    """On the simulated device, in a process of the peer's own."""
    path = tmp_path / "out.json"
    done = command(
        *("--target", "cuda", "--peers", "jitgrad", "numpy", "--cases", "scalar", "--repeat", "1"),
        *("--no-machine", "--no-extras", "--json", str(path), "--python", f"numpy={sys.executable}"),
        JITGRAD_CUDA_DRIVER="simulated",
    )
    assert done.returncode == 0, done.stderr
    assert "which is simulated: its times mean nothing" in done.stdout
    assert "numpy is left out: it does not run on the target cuda" in done.stdout
    data = json.loads(path.read_text())
    assert set(data["cases"]["scalar-f64-small"]["timings"]) == {"jitgrad"}
    assert "simulated" in data["machine"]["gpu"]


def test_what_a_gpu_can_do_is_measured(monkeypatch):
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 12)
    monkeypatch.setattr(machine, "PRODUCT_SIZE", 8)
    with config.using(cuda_driver="simulated"):
        limits = machine.measure(1, "cuda")
        assert "simulated" in machine.gpu()
    assert set(limits) == {"bandwidth", "f32", "f64"} and min(limits.values()) > 0
    assert "the GPU: copy on the device" in report.tables({"scalar-f64-small": harness.Row()}, limits, "a GPU")


def test_peers_without_a_gpu_say_why(monkeypatch):
    assert peers.failure("pass") is None
    assert peers.failure("raise ValueError('no\\nGPU')") == "GPU"
    assert peers.failure("raise SystemExit(1)") == "it said nothing"
    monkeypatch.setattr(peers.NumPy, "targets", ("cpu", "cuda"))
    monkeypatch.setattr(peers.NumPy, "probe", "raise RuntimeError('there is no GPU')")
    assert peers.NumPy.missing() is None
    assert peers.NumPy.missing("cuda") == "RuntimeError: there is no GPU"
    assert peers.CuPy.missing() == "it does not run on the target cpu"


def test_cupy_gives_values_and_waits(monkeypatch):
    """On a stand-in that is NumPy."""
    waits = []
    cupy = types.ModuleType("cupy")
    vars(cupy).update({name: value for name, value in vars(np).items() if not name.startswith("__")})
    device = types.SimpleNamespace(synchronize=lambda: waits.append(1))
    vars(cupy).update(asnumpy=np.asarray, cuda=types.SimpleNamespace(Device=lambda: device))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for part in ("special", "linalg"):
        monkeypatch.setitem(sys.modules, f"cupyx.scipy.{part}", types.ModuleType(part))
    one = session.Session(peers.CuPy(threads=1, target="cuda"))
    case = tiny("layer_norm")
    _, results = one.start(case)
    harness.check_result(harness.Reference(case), results, peers.CuPy)
    one.sample(3, wake=False)
    assert len(waits) == 4


def test_accuracy_finds_a_wrong_digit(monkeypatch, capsys):
    monkeypatch.setattr(accuracy, "_jax", lambda: None)
    accuracy.main(["exp", "--points", "800", "--compared", "60"])
    header, single, double = capsys.readouterr().out.splitlines()[-3:]
    assert header.split()[:4] == ["function", "dtype", "jitgrad", "NumPy"]
    for line in (single, double):
        assert 0.3 < float(line.split()[2]) <= 1.0
    x = np.linspace(-3, 3, 50)
    value = np.exp(x)
    value[7] = np.nextafter(np.nextafter(value[7], 0), 0)
    (error,) = accuracy.errors("exp", [x], value)
    assert error.argmax() == 7
    assert 1.4 < error[7] < 2.6


@pytest.mark.parametrize("name", ["EXP_F32", "SIN_LOW", "ATAN_LOW", "ERFC_LOW"])
def test_coefficients_are_those_that_the_fit_finds(name):
    from jitgrad.loopir.expansions import coefficients

    (wanted,) = (p for p in minimax.fits() if p.name == name)
    found, error = minimax.fit(wanted)
    assert tuple(found) == pytest.approx(getattr(coefficients, name), rel=1e-6)
    assert error < -24


def test_fourier_transforms_are_measured(capsys):
    rows = fourier.main(["--samples", "2", "--largest", "64", "--alone"])
    assert [list(row) for row in rows] == [["jitgrad", "call", "numpy", "scipy"]] * 2 + [["jitgrad"]]
    assert all(seconds > 0 for row in rows for seconds in row.values())
    assert capsys.readouterr().out.count("axis 0") == 2


def test_dispatch_is_measured_above_the_kernel():
    rows = [dispatch.measure(case, 3, with_jax=False) for case in dispatch.cases()]
    assert all(0 < row.kernel < row.call and row.jax is None for row in rows)
    lines = dispatch.table(rows).splitlines()
    assert [line[:18].rstrip() for line in lines[1:]] == [case.name for case in dispatch.cases()]
