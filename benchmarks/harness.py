"""Measuring: results are compared first, then peers are timed in turn, sample by sample.

Times are wall-clock seconds of one call, everything included. A sample is as many calls as take about
``SAMPLE_SECONDS``; the garbage collector is off in it, and it starts when the threads of the peer before it have come
to rest.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from benchmarks.peers import PEERS, Peer, UnsupportedError
from benchmarks.process import FAILURES, first_line
from benchmarks.program import DTYPES, Case, leaves

SAMPLE_SECONDS = 2e-3
FEWEST_SAMPLES = 3
#: A shorter call is made once before each sample, to wake threads and fill caches.
WAKE_SECONDS = 20e-3


class MismatchError(AssertionError):
    """A peer's result differs from the reference: its time would mean nothing."""


class Contestant(Protocol):
    """What is measured: ``session.Session``, or ``process.Remote``."""

    name: str

    def start(self, case: Case) -> tuple[float, list[np.ndarray]]: ...
    def sample(self, count: int, wake: bool = True) -> float: ...
    def growth(self) -> int | None: ...
    def end(self) -> None: ...


@dataclasses.dataclass
class Timing:
    """What was measured of one peer on one case, in seconds and bytes.

    first_call : transformation, compilation and one call in a fresh process, the import not counted.
    warm_call : the same in the next process, which finds what the first one has left on disk.
    growth : the most by which the process grows during a call, results included, inputs not.
    """

    minimum: float
    median: float
    samples: int
    calls_per_sample: int
    first_call: float
    warm_call: float | None = None
    growth: int | None = None


@dataclasses.dataclass
class Row:
    """All that was measured of a case, by peer; and what failed, with the reason."""

    timings: dict[str, Timing] = dataclasses.field(default_factory=dict)
    errors: dict[str, str] = dataclasses.field(default_factory=dict)
    flops: float | None = None
    least_traffic: int | None = None


class Reference:
    """Plain NumPy in float64 on a case's inputs, computed when it is first asked for."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.inputs = case.arguments()
        self.args = case.cast(self.inputs, np.float64)

    @functools.cached_property
    def results(self) -> list[np.ndarray]:
        """What the function itself returns: the value, or all results of a step of training."""
        return [np.asarray(leaf) for leaf in leaves(self.case.program.fun(*self.args))]


def check_result(reference: Reference, results: list[np.ndarray], peer: type[Peer]) -> None:
    """Compare with plain NumPy in float64: what the function returns itself, the gradient by a central difference, and
    its dtypes. Raises MismatchError.

    The direction of the difference is the gradient's own, for which the slope is largest.
    """
    case, expected = reference.case, reference.results
    floor = 1.0 if not case.program.step else 0.0
    for k, (a, b) in enumerate(zip(expected, results, strict=False)):
        error = float(np.max(np.abs(a - b))) / max(floor, float(np.max(np.abs(a))))
        if not error <= case.tolerance:
            raise MismatchError(f"result {k}: off by {error:.1e} from NumPy's in float64")
    if case.program.step:
        return check_dtypes(case, results, peer)
    if not peer.gradients:
        return None
    check_dtypes(case, results[1:], peer)
    check_slope(reference, results[1:])
    return None


def check_dtypes(case: Case, arrays: list[np.ndarray], peer: type[Peer]) -> None:
    """Raises MismatchError for results of another dtype than the case's."""
    dtypes = sorted({str(a.dtype) for a in arrays})
    if peer.keeps_dtypes and dtypes != [np.dtype(DTYPES[case.dtype]).name]:
        raise MismatchError(f"results of dtypes {dtypes}")


def check_slope(reference: Reference, grads: list[np.ndarray]) -> None:
    """Compare gradients with a central difference. Raises MismatchError."""
    case, args = reference.case, reference.args
    argnums = case.program.argnums
    for k, grad in zip(argnums, grads, strict=True):
        if np.shape(grad) != np.shape(args[k]):
            raise MismatchError(f"gradient of shape {np.shape(grad)} for argument {k}")
    slope = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in grads))
    scale = min(1.0, max(float(np.max(np.abs(args[k]))) for k in argnums))
    largest = max(float(np.max(np.abs(g))) for g in grads) / slope
    h = 1e-5 * scale / largest  # the largest move of an element is 1e-5 of the scale
    moved = []
    for sign in (1, -1):
        shifted = list(args)
        for k, grad in zip(argnums, grads, strict=True):
            shifted[k] = args[k] + sign * h * grad.astype(np.float64) / slope
        moved.append(float(case.program.fun(*shifted)))
    difference = (moved[0] - moved[1]) / (2 * h)
    if not abs(difference - slope) <= 1e-3 * slope:
        raise MismatchError(f"slope {slope:.6g}, central difference {difference:.6g}")


def check_equal(tolerance: float, results: dict[str, list[np.ndarray]], by_norm: bool = False) -> None:
    """Compare every peer's arrays with the first peer's, relative to the largest element or to the norm.

    Raises MismatchError.
    """
    size = np.linalg.norm if by_norm else np.max
    names = list(results)
    for name in names[1:]:
        for k, (a, b) in enumerate(zip(results[names[0]], results[name], strict=True)):
            error = float(size(np.abs(a.astype(np.float64) - b))) / max(float(size(np.abs(a))), 1e-30)
            if not error <= tolerance:
                raise MismatchError(f"result {k}: {names[0]} and {name} differ by {error:.1e}")


def started(case: Case, contestants: Sequence[Contestant], row: Row) -> dict[str, tuple[Contestant, float]]:
    """Those whose first call gives the right results, with its seconds; the others are noted in the row."""
    reference = Reference(case)
    found: dict[str, tuple[Contestant, float]] = {}
    trusted: dict[str, list[np.ndarray]] = {}
    for contestant in contestants:
        name, peer = contestant.name, PEERS.get(contestant.name, Peer)
        try:
            seconds, results = contestant.start(case)
            if not trusted or not peer.gradients:
                check_result(reference, results, peer)
            if peer.gradients:
                check_equal(case.tolerance, {**trusted, name: results}, case.program.jumps)
                trusted = trusted or {name: results}
        except UnsupportedError:
            continue
        except FAILURES as error:
            row.errors[name] = first_line(error)
            continue
        found[name] = contestant, seconds
    return found


def measure(
    case: Case, contestants: Sequence[Contestant], *, repeat: int, seconds: float, warm: bool, growth: bool
) -> Row:
    """Time some contestants on one case, in turn, their results being compared before.

    Each gets ``repeat`` samples, or as many as ``seconds`` allow, rests not counted. With ``growth`` and ``warm``,
    memory and a warm start are measured as well. What fails is noted in the row and not timed.
    """
    row = Row(flops=case.flops, least_traffic=case.least_traffic())
    try:
        running = started(case, contestants, row)
        interleave(running, row, repeat, seconds)
        for name, timing in row.timings.items():
            contestant = running[name][0]
            try:
                if growth:
                    timing.growth = contestant.growth()
                if warm and PEERS.get(name, Peer).on_disk:
                    contestant.end()
                    timing.warm_call = contestant.start(case)[0]
            except FAILURES as error:
                row.errors[name] = first_line(error)
    finally:
        for contestant in contestants:
            contestant.end()
    return row


def interleave(running: dict[str, tuple[Contestant, float]], row: Row, repeat: int, seconds: float) -> None:
    """Take samples in turn; who fails drops out."""
    counts: dict[str, int] = {}
    wakes: dict[str, bool] = {}
    wanted: dict[str, int] = {}
    times: dict[str, list[float]] = {}

    def take(name: str, count: int, wake: bool) -> float | None:
        try:
            return running[name][0].sample(count, wake)
        except FAILURES as error:
            row.errors[name] = first_line(error)
            times.pop(name, None)
            return None

    for name in running:
        first = [take(name, 1, False) for _ in range(2)]
        once = min((t for t in first if t is not None), default=None)
        if once is None or name in row.errors:
            continue
        counts[name] = max(1, min(2000, round(SAMPLE_SECONDS / once)))
        wakes[name] = once < WAKE_SECONDS
        each = (counts[name] + wakes[name]) * once
        wanted[name] = max(min(FEWEST_SAMPLES, repeat), min(repeat, round(seconds / each)))
        times[name] = []
    for turn in range(max(wanted.values(), default=0)):
        order = [name for name in times if len(times[name]) < wanted[name]]
        start = turn % max(1, len(order))
        for name in order[start:] + order[:start]:
            found = take(name, counts[name], wakes[name])
            if found is not None:
                times[name].append(found)
    for name, found in times.items():
        first_call = running[name][1]
        row.timings[name] = Timing(min(found), statistics.median(found), len(found), counts[name], first_call)


def run(
    cases: Sequence[Case],
    contestants: Sequence[Contestant],
    *,
    repeat: int,
    seconds: float,
    extras: bool = True,
    say: Callable[[str], Any] = print,
) -> Iterator[tuple[str, Row]]:
    """Measure all cases, one after the other: ``(name, row)``. ``say`` is told of the progress.

    With ``extras`` memory is measured, and a warm start for the first case of each program.
    """
    seen: set[str] = set()
    for k, case in enumerate(cases):
        warm = extras and case.program.name not in seen
        seen.add(case.program.name)
        row = measure(case, contestants, repeat=repeat, seconds=seconds, warm=warm, growth=extras)
        texts = [f"{name} {1e6 * timing.minimum:.1f} us" for name, timing in row.timings.items()]
        texts += [f"{name} failed: {why}" for name, why in row.errors.items()]
        say(f"[{k + 1}/{len(cases)}] {case.name}: " + ", ".join(texts))
        yield case.name, row
