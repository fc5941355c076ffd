"""The benchmarks measure what they say: on jitgrad alone, and against the peers where they are installed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # after site-packages: an installed jitgrad stays the one that is tested

from benchmarks import accuracy, cases, dispatch, harness, minimax, peers, report  # noqa: E402


@pytest.fixture(scope="module")
def jitgrad_peer():
    return peers.Jitgrad(threads=1)


@pytest.mark.parametrize("name", cases.CASES)
def test_jitgrad_is_right_on_every_case(name, jitgrad_peer):
    case = cases.CASES[name]
    args = cases.inputs(case)
    _, _, result = harness.first_call(jitgrad_peer, case, args)
    harness.check_result(case, args, jitgrad_peer.flat(case, result), jitgrad_peer)


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.peers
@pytest.mark.parametrize("other", ["jax", "torch"])
def test_jitgrad_equals_peer(name, other, jitgrad_peer):
    pytest.importorskip(other)
    case = cases.CASES[name]
    args = cases.inputs(case)
    results = {}
    for peer in (jitgrad_peer, peers.PEERS[other](threads=1)):
        _, _, result = harness.first_call(peer, case, args)
        results[peer.name] = peer.flat(case, result)
    harness.check_equal(case, results)


class Fake(peers.Peer):
    """A peer with the gradient of Rosenbrock's function by hand, wrong by ``error`` in one element."""

    name, module = "fake", "numpy"

    def __init__(self, error=0.0, dtype=np.float64):
        self.error, self.dtype = error, dtype
        super().__init__(1)

    def load(self):
        pass

    def transform(self, case):
        def value_and_grad(x):
            inner = x[1:] - x[:-1] ** 2
            grad = np.zeros_like(x)
            grad[:-1] = -400 * x[:-1] * inner - 2 * (1 - x[:-1])
            grad[1:] += 200 * inner
            grad[3] += self.error
            return case.fun(x), grad.astype(self.dtype)

        return value_and_grad


def checked(peer, case):
    args = cases.inputs(case)
    _, _, result = harness.first_call(peer, case, args)
    harness.check_result(case, args, peer.flat(case, result), peer)


def test_a_wrong_gradient_is_noticed():
    case = cases.CASES["rosenbrock_1000"]
    checked(Fake(), case)
    with pytest.raises(harness.MismatchError, match="central difference"):
        checked(Fake(error=1e4), case)
    with pytest.raises(harness.MismatchError, match="dtypes"):
        checked(Fake(dtype=np.float32), case)


def test_a_small_difference_between_peers_is_noticed():
    case = cases.CASES["rosenbrock_1000"]
    args = cases.inputs(case)
    right, wrong = (peer.flat(case, harness.first_call(peer, case, args)[2]) for peer in (Fake(), Fake(error=1e-3)))
    harness.check_equal(case, {"a": right, "b": right})
    with pytest.raises(harness.MismatchError, match="a and b differ"):
        harness.check_equal(case, {"a": right, "b": wrong})


def test_a_wrong_result_is_never_timed():
    with pytest.raises(harness.MismatchError):
        harness.measure(cases.CASES["rosenbrock_1000"], [Fake(error=1e4)], repeat=1)


def test_measure_counts_and_orders_times():
    timing = harness.measure(cases.CASES["rosenbrock_1000"], [Fake()], repeat=5)["fake"]
    assert timing.samples == 5
    assert 0 < timing.minimum <= timing.median
    assert timing.calls_per_sample >= 1


def test_inputs_are_the_same_every_time():
    for case in cases.CASES.values():
        for a, b in zip(cases.inputs(case), cases.inputs(case), strict=True):
            np.testing.assert_array_equal(a, b)


def test_tables_and_json():
    timing = harness.Timing(1e-6, 2e-6, 5, 10, 0.5, [0.7], [0.1])
    slower = harness.Timing(4e-6, 6e-6, 5, 10, 1.0, [1.4], [0.2])
    results = {"scalar": {"jitgrad": timing, "jax": slower}}
    text = report.tables(results)
    row = next(line for line in text.splitlines() if line.startswith("scalar"))
    assert row.split() == ["scalar", "1", "2", "4", "6", "0.25"]
    assert text.count("0.50") == 2  # both kinds of first call
    data = json.loads(json.dumps(report.as_json(results, 2)))
    assert data["cases"]["scalar"]["jax"]["minimum"] == 4e-6
    assert data["machine"]["threads"] == 2
    assert data["versions"]["numpy"] == np.__version__


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *args], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_command_line(tmp_path):
    path = tmp_path / "folder" / "out.json"
    done = command("--peers", "jitgrad", "--cases", "scalar", "--repeat", "3", "--fresh", "1", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "time of a call, us" in done.stdout
    timing = json.loads(path.read_text())["cases"]["scalar"]["jitgrad"]
    assert len(timing["fresh_first_call"]) == 1
    assert timing["fresh_first_call"][0] > 0


def test_command_line_refuses_unknown_names():
    done = command("--cases", "no_such_case")
    assert done.returncode == 2
    assert "no_such_case" in done.stderr
    assert command("--peers", "no_such_peer").returncode == 2


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


def test_dispatch_is_measured_above_the_kernel():
    rows = [dispatch.measure(case, 3, with_jax=False) for case in dispatch.cases()]
    assert all(0 < row.kernel < row.call and row.jax is None for row in rows)
    lines = dispatch.table(rows).splitlines()
    assert [line[:18].rstrip() for line in lines[1:]] == [case.name for case in dispatch.cases()]
