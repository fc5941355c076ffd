"""Measuring: results are compared first, then peers are timed in turn, sample by sample.

Times are wall-clock seconds of one call, everything included. A sample is as many calls as take about
``SAMPLE_SECONDS``; the garbage collector is off in it, and a short sleep before it lets the threads of the peer before
it come to rest.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case, inputs
from benchmarks.peers import PEERS, Peer

SAMPLE_SECONDS = 2e-3
REST_SECONDS = 1e-3
ROOT = Path(__file__).resolve().parent.parent


class MismatchError(AssertionError):
    """A peer's result differs from the reference: its time would mean nothing."""


@dataclasses.dataclass
class Timing:
    """What was measured of one peer on one case, in seconds.

    first_call : transformation, compilation and one call, in a process where the peer has already compiled something.
    fresh_first_call : the same in processes of their own, the import not counted.
    fresh_import : the import of the peer's library in those processes.
    """

    minimum: float
    median: float
    samples: int
    calls_per_sample: int
    first_call: float
    fresh_first_call: list[float] = dataclasses.field(default_factory=list)
    fresh_import: list[float] = dataclasses.field(default_factory=list)


def warm_up(peer: Peer) -> None:
    """Compile and run one trivial function, so that a peer's one-time work is not counted in a first call."""
    trivial = Case("trivial", lambda x: x * x, lambda torch, x: x * x, lambda rng: (3.0,), (0,), with_value=False)
    result = peer.flat(trivial, peer.call(trivial, (3.0,))())
    if result[0] != 6.0:
        raise MismatchError(f"{peer.name}: the derivative of x * x at 3 is {result[0]}")


def first_call(peer: Peer, case: Case, args: tuple) -> tuple[float, Callable[[], Any], Any]:
    """``(seconds, call, result)`` of transforming a case and calling it once; converting the inputs is not counted."""
    arrays = peer.arrays(args, case.argnums)
    start = time.perf_counter()
    fun = peer.transform(case)
    result = fun(*arrays)
    seconds = time.perf_counter() - start

    def call():
        return fun(*arrays)

    return seconds, call, result


def check_result(case: Case, args: tuple, result: list[np.ndarray], peer: Peer) -> None:
    """Compare with plain NumPy in float64: the value itself, the gradient by a central difference; and its dtypes.

    The direction of the difference is the gradient's own, for which the slope is largest. Raises MismatchError.
    """
    name, dtypes = peer.name, [np.asarray(args[k]).dtype for k in case.argnums]
    args = tuple(np.asarray(a, np.float64) if np.asarray(a).dtype.kind == "f" else a for a in args)
    grads = result[1:] if case.with_value else result
    for k, grad in zip(case.argnums, grads, strict=True):
        if np.shape(grad) != np.shape(args[k]):
            raise MismatchError(f"{name} on {case.name}: gradient of shape {np.shape(grad)} for argument {k}")
    if peer.keeps_dtypes and [g.dtype for g in grads] != dtypes:
        raise MismatchError(f"{name} on {case.name}: gradients of dtypes {[str(g.dtype) for g in grads]}")
    slope = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in grads))
    scale = max(1.0, *(float(np.max(np.abs(args[k]))) for k in case.argnums))
    largest = max(float(np.max(np.abs(g))) for g in grads) / slope
    h = 1e-5 * scale / largest
    moved = []
    for sign in (1, -1):
        shifted = list(args)
        for k, grad in zip(case.argnums, grads, strict=True):
            shifted[k] = args[k] + sign * h * grad.astype(np.float64) / slope
        moved.append(float(case.fun(*shifted)))
    difference = (moved[0] - moved[1]) / (2 * h)
    if not abs(difference - slope) <= 1e-3 * slope:
        raise MismatchError(f"{name} on {case.name}: slope {slope:.6g}, central difference {difference:.6g}")
    value = float(case.fun(*args))
    if case.with_value and not abs(float(result[0]) - value) <= case.tolerance * max(1.0, abs(value)):
        raise MismatchError(f"{name} on {case.name}: value {float(result[0]):.9g}, NumPy has {value:.9g}")


def check_equal(case: Case, results: dict[str, list[np.ndarray]]) -> None:
    """Compare every peer's arrays with the first peer's, to the case's tolerance. Raises MismatchError."""
    names = list(results)
    for name in names[1:]:
        for k, (a, b) in enumerate(zip(results[names[0]], results[name], strict=True)):
            error = float(np.max(np.abs(a.astype(np.float64) - b))) / max(float(np.max(np.abs(a))), 1e-30)
            if not error <= case.tolerance:
                raise MismatchError(f"{case.name}, result {k}: {names[0]} and {name} differ by {error:.1e}")


def sample(call: Callable[[], Any], count: int) -> float:
    """Seconds a call, over ``count`` calls."""
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count
    finally:
        if gc_was_on:
            gc.enable()


def measure(case: Case, peers: Sequence[Peer], repeat: int) -> dict[str, Timing]:
    """Time the peers on one case, in turn. Their results are compared before; raises MismatchError."""
    args = inputs(case)
    calls, first, results = {}, {}, {}
    for peer in peers:
        first[peer.name], calls[peer.name], result = first_call(peer, case, args)
        results[peer.name] = peer.flat(case, result)
        check_result(case, args, results[peer.name], peer)
    check_equal(case, results)

    counts = {}
    for name, call in calls.items():
        call()
        once = min(sample(call, 1) for _ in range(3))
        counts[name] = max(1, min(2000, round(SAMPLE_SECONDS / once)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeat):
        order = list(calls)
        order = order[turn % len(order) :] + order[: turn % len(order)]
        for name in order:
            time.sleep(REST_SECONDS)
            calls[name]()
            times[name].append(sample(calls[name], counts[name]))
    return {
        name: Timing(min(times[name]), statistics.median(times[name]), repeat, counts[name], first[name])
        for name in calls
    }


def fresh(peer_name: str, case: Case, threads: int) -> dict[str, float]:
    """First call in this process, which has done nothing else yet: ``{"import": s, "first_call": s}``."""
    args = inputs(case)
    start = time.perf_counter()
    peer = PEERS[peer_name](threads)
    imported = time.perf_counter() - start
    return {"import": imported, "first_call": first_call(peer, case, args)[0]}


def fresh_in_subprocess(peer_name: str, case: Case, threads: int) -> dict[str, float]:
    """``fresh`` in a new Python process."""
    command = [sys.executable, "-m", "benchmarks", "--fresh-one", peer_name, case.name, "--threads", str(threads)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run(
    cases: Sequence[Case], peers: Sequence[Peer], *, repeat: int, fresh_repeat: int, say: Callable[[str], None] = print
) -> dict[str, dict[str, Timing]]:
    """Measure all cases: ``{case: {peer: Timing}}``. ``say`` is told of the progress."""
    for peer in peers:
        warm_up(peer)
    results = {}
    for case in cases:
        results[case.name] = timings = measure(case, peers, repeat)
        for peer in peers:
            timing = timings[peer.name]
            for _ in range(fresh_repeat):
                seconds = fresh_in_subprocess(peer.name, case, peer.threads)
                timing.fresh_first_call.append(seconds["first_call"])
                timing.fresh_import.append(seconds["import"])
        say(f"{case.name}: " + ", ".join(f"{name} {1e6 * t.minimum:.1f} us" for name, t in timings.items()))
    return results
