"""The tables that are printed and the JSON that is written."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Timing

PACKAGES = ("jitgrad", "numpy", "scipy", "numba", "llvmlite", "jax", "jaxlib", "torch", "autograd")

Results = dict[str, dict[str, Timing]]


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


def as_json(results: Results, threads: int, load_before: float | None = None) -> dict[str, Any]:
    """Everything measured, with what is needed to judge it. All times are seconds."""
    machine = {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform(), "threads": threads}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {**machine, "load_before": load_before, "load_after": load()},
        "python": platform.python_version(),
        "versions": versions(),
        "cases": {
            case: {name: dataclasses.asdict(timing) for name, timing in timings.items()}
            for case, timings in results.items()
        },
    }


def _table(title: str, results: Results, columns: dict[str, Callable[[Timing], float]], unit: float) -> str:
    """One table: for each peer its times in ``unit``, and for each other peer the first peer's time over its own."""
    peers = list(next(iter(results.values())))
    width = max(len(case) for case in results)
    headings = [f"{name} {column}".strip() for name in peers for column in columns]
    headings += [f"{peers[0]}/{name}" for name in peers[1:]]
    lines = [title, " " * width + "".join(f"{h:>{len(h) + 3}}" for h in headings)]
    measure = next(iter(columns.values()))
    for case, timings in results.items():
        cells = [column(timings[name]) / unit for name in peers for column in columns.values()]
        texts = [f"{value:.4g}" for value in cells]
        texts += [f"{measure(timings[peers[0]]) / measure(timings[name]):.2f}" for name in peers[1:]]
        row = "".join(f"{text:>{len(h) + 3}}" for text, h in zip(texts, headings, strict=True))
        lines.append(f"{case:{width}}" + row)
    return "\n".join(lines)


def tables(results: Results) -> str:
    """The tables of times and first calls; the ratios are of minima, below 1 where the first peer is faster."""
    time = {"min": lambda t: t.minimum, "median": lambda t: t.median}
    parts = [_table("time of a call, us", results, time, 1e-6)]
    parts.append(_table("first call, same process, ms", results, {"": lambda t: t.first_call}, 1e-3))
    if all(t.fresh_first_call for timings in results.values() for t in timings.values()):
        fresh: dict[str, Callable[[Timing], float]] = {"": lambda t: min(t.fresh_first_call)}
        parts.append(_table("first call, fresh process, import not counted, ms", results, fresh, 1e-3))
    return "\n\n".join(parts)
