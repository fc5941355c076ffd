"""The tables that are printed and the JSON that is written."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import math
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, Timing

PACKAGES = (
    "jitgrad", "numpy", "scipy", "numba", "numba-cuda", "llvmlite", "jax", "jaxlib", "torch", "autograd", "pytensor",
)  # fmt: skip
#: They give values alone.
VALUES_ALONE = ("numpy", "cupy")
#: The peers whose faster one is to be beaten.
COMPILERS = ("jax", "torch.compile")

Results = dict[str, Row]


def cpu_name() -> str:
    """The processor's name as Linux tells it, or Python's word for it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of the packages that matter, where they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load() -> float | None:
    """Processes that wanted a core in the last minute, this one included; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def geometric_mean(values: Iterable[float]) -> float | None:
    """None for no values."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


def ratio(row: Row, peer: str, get: Callable[[Timing], float | None]) -> float | None:
    """jitgrad over a peer; None where one of the two was not measured."""
    a, b = row.timings.get("jitgrad"), row.timings.get(peer)
    above, below = a and get(a), b and get(b)
    return above / below if above and below else None


def minimum(timing: Timing) -> float:
    """The least time of a call."""
    return timing.minimum


def geometric_means(results: Results, get: Callable[[Timing], float | None] = minimum) -> dict[str, float | None]:
    """Of the ratios of each peer, over the cases that both have."""
    found = {peer: [ratio(row, peer, get) for row in results.values()] for peer in peers(results) if peer != "jitgrad"}
    return {peer: geometric_mean(r for r in ratios if r is not None) for peer, ratios in found.items()}


def peers(results: Results) -> list[str]:
    """All peers that were measured on some case, in the order of the first that has them."""
    return list(dict.fromkeys(name for row in results.values() for name in row.timings))


def fraction(case: str, row: Row, machine: dict[str, float]) -> tuple[float, str] | None:
    """How much of what the machine can do jitgrad reaches: of the bandwidth, or of the rate of products."""
    timing = row.timings.get("jitgrad")
    if timing is None or not machine:
        return None
    if row.least_traffic:
        return row.least_traffic / timing.minimum / machine["bandwidth"], "of bandwidth"
    if row.flops:
        return row.flops / timing.minimum / machine[case.split("-")[-2]], "of product rate"
    return None


def to_beat(row: Row) -> tuple[str, Timing] | None:
    """The faster one of the compilers that were measured."""
    found = [(name, row.timings[name]) for name in COMPILERS if name in row.timings]
    return min(found, key=lambda item: item[1].minimum, default=None)


def behind(results: Results) -> list[tuple[float, str, str]]:
    """``(ratio, case, peer)`` of the cases where jitgrad takes longer than the better compiler, the worst first."""
    found = []
    for case, row in results.items():
        other = to_beat(row)
        if other and "jitgrad" in row.timings:
            found.append((row.timings["jitgrad"].minimum / other[1].minimum, case, other[0]))
    return sorted((item for item in found if item[0] > 1), reverse=True)


def as_json(
    results: Results, threads: int, load_before: float | None, machine: dict[str, float], gpu: str | None = None
) -> dict[str, Any]:
    """Everything measured, with what is needed to judge it. Times are seconds. ``gpu`` is what programs ran on."""
    about = {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform(), "threads": threads, "gpu": gpu}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {**about, "load_before": load_before, "load_after": load(), **machine},
        "python": platform.python_version(),
        "versions": versions(),
        "cases": {c: {**dataclasses.asdict(r), "reached": fraction(c, r, machine)} for c, r in results.items()},
        "geometric_means": geometric_means(results) if results else {},
    }


def aligned(lines: list[list[str]]) -> str:
    """Cells in columns, the first one to the left."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    )


def _number(value: float | None, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value / unit:.4g}"


def _quotient(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def time_table(results: Results, machine: dict[str, float]) -> str:
    """The least time of a call, jitgrad's over each peer's, and what jitgrad reaches of what the machine can do."""
    names = peers(results)
    others = [name for name in names if name != "jitgrad"]
    lines = [["us a call", *names, *(f"/{n}" for n in others), "reached"]]
    for case, row in results.items():
        found = [row.timings.get(name) for name in names]
        line = [case, *(_number(t and t.minimum, 1e-6) for t in found)]
        line += [_quotient(ratio(row, name, minimum)) for name in others]
        reached = fraction(case, row, machine)
        lines.append([*line, f"{reached[0]:.2f} {reached[1]}" if reached else ""])
    means = geometric_means(results)
    lines.append(["geometric mean", *[""] * len(names), *(_quotient(means[n]) for n in others), ""])
    return aligned(lines)


def extra_table(title: str, results: Results, get: Callable[[Timing], float | None], unit: float) -> str:
    """One number a peer, and jitgrad's over each peer's, for the cases where it was measured; with gradients only."""
    chosen = {case: row for case, row in results.items() if any(get(t) is not None for t in row.timings.values())}
    names = [n for n in peers(chosen) if any(n in r.timings and get(r.timings[n]) is not None for r in chosen.values())]
    names = [n for n in names if n not in VALUES_ALONE]
    others = [name for name in names if name != "jitgrad"]
    lines = [[title, *names, *(f"/{n}" for n in others)]]
    for case, row in chosen.items():
        values = [row.timings[n] and get(row.timings[n]) if n in row.timings else None for n in names]
        ratios = [_quotient(ratio(row, n, get)) for n in others]
        lines.append([case, *(_number(v, unit) for v in values), *ratios])
    means = geometric_means(chosen, get)
    lines.append(["geometric mean", *[""] * len(names), *(_quotient(means[n]) for n in others)])
    return aligned(lines)


def tables(results: Results, machine: dict[str, float], gpu: str | None = None) -> str:
    """All tables. Ratios are below 1 where jitgrad is faster or takes less. ``gpu`` is what programs ran on."""
    parts = []
    if machine:
        rates = ", ".join(f"{machine[d] / 1e9:.0f} GFlop/s in {d}" for d in ("f32", "f64"))
        what = "the GPU: copy on the device" if gpu else "the machine: triad"
        parts.append(f"{what} {machine['bandwidth'] / 1e9:.1f} GB/s, products {rates}")
    parts.append(time_table(results, machine))
    parts += [
        f"{name} computes the value alone, all others the value and the gradient"
        for name in VALUES_ALONE
        if name in peers(results)
    ]
    parts.append(extra_table("us a call, median", results, lambda t: t.median, 1e-6))
    parts.append(extra_table("first call, ms", results, lambda t: t.first_call, 1e-3))
    if any(t.warm_call for row in results.values() for t in row.timings.values()):
        parts.append(extra_table("first call, warm, ms", results, lambda t: t.warm_call, 1e-3))
    if any(t.growth is not None for row in results.values() for t in row.timings.values()):
        parts.append(extra_table("peak memory, MB", results, lambda t: t.growth, 1e6))
    slower = [f"  {case}: {value:.2f} of {peer}'s time" for value, case, peer in behind(results)]
    if slower:
        parts.append("\n".join([f"slower than the better of {' and '.join(COMPILERS)}:", *slower]))
    failed = [f"  {case}, {name}: {why}" for case, row in results.items() for name, why in row.errors.items()]
    if failed:
        parts.append("\n".join(["failed:", *failed]))
    return "\n\n".join(parts)
