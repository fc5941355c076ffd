"""``python -m benchmarks.loops``: time NumPy programs with loops, and their gradients.

    python -m benchmarks.loops                              the whole corpus
    python -m benchmarks.loops cholesky lu --json out.json  some of it
    python -m benchmarks.loops --quick                      small sizes, few samples

Value and gradient of jitgrad against JAX and against Numba by hand; the value alone against ``numba.njit`` of the same
source. Results are compared before anything is timed; what fails is reported in its row. All have the same number of
threads: 2, unless ``--threads`` says otherwise; the functions by hand are serial.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.__main__ import pin_threads

if TYPE_CHECKING:
    from benchmarks.loops_measure import Row

CONTESTANTS = ("jitgrad", "jax", "hand")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loops", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="kernels (default: all)")
    parser.add_argument("--peers", nargs="+", choices=CONTESTANTS, help="default: all that are installed")
    parser.add_argument("--quick", action="store_true", help="small sizes, 5 samples")
    parser.add_argument("--repeat", type=int, help="samples a kernel and contestant (default 20)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured as JSON")
    parser.add_argument("--list", action="store_true", help="list the kernels with their sizes")
    return parser.parse_args(argv)


def ratios(row: Row) -> dict[str, float | None]:
    """The ratios of minima that the table shows; None where one of the two is missing."""

    def ratio(times, a, b):
        return times[a].minimum / times[b].minimum if a in times and b in times else None

    return {
        "jax/jitgrad": ratio(row.gradient, "jax", "jitgrad"),
        "jitgrad/hand": ratio(row.gradient, "jitgrad", "hand"),
        "jax/hand": ratio(row.gradient, "jax", "hand"),
        "fwd jitgrad/numba": ratio(row.forward, "jitgrad", "numba"),
    }


def geometric_means(rows: dict[str, Row]) -> dict[str, float | None]:
    """Of each ratio over the kernels that have it."""
    every = [ratios(row) for row in rows.values()]
    means: dict[str, float | None] = {}
    for name in every[0]:
        found = [r for r in (one[name] for one in every) if r is not None]
        means[name] = math.exp(sum(map(math.log, found)) / len(found)) if found else None
    return means


def table(rows: dict[str, Row]) -> str:
    """Times in milliseconds (minimum and median), first calls, ratios, their geometric means, and what failed."""
    lines = [["ms", "size"]]
    lines[0] += [f"{name} {what}" for name in CONTESTANTS for what in ("min", "med")]
    lines[0] += ["fwd jitgrad", "fwd numba", "first jitgrad", "first jax", *ratios(next(iter(rows.values())))]

    def cell(times, name: str, get: Callable) -> str:
        return f"{1e3 * get(times[name]):.4g}" if name in times else "-"

    def text(ratio: float | None) -> str:
        return "-" if ratio is None else f"{ratio:.2f}"

    def minimum(t):
        return t.minimum

    def median(t):
        return t.median

    def first(t):
        return t.first_call

    for name, row in rows.items():
        line = [name, "x".join(map(str, row.size))]
        line += [cell(row.gradient, c, get) for c in CONTESTANTS for get in (minimum, median)]
        line += [cell(row.forward, c, minimum) for c in ("jitgrad", "numba")]
        line += [cell(row.gradient, c, first) for c in ("jitgrad", "jax")]
        lines.append(line + [text(r) for r in ratios(row).values()])
    means = [text(r) for r in geometric_means(rows).values()]
    lines.append(["geometric mean", *[""] * (len(lines[0]) - 1 - len(means)), *means])
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    shown = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    failed = [f"{name}, {who}: {why}" for name, row in rows.items() for who, why in row.errors.items()]
    return "\n".join(shown + (["", "failed:", *failed] if failed else []))


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the JSON; the exit status: 1 where anything failed."""
    args = parse(argv)
    pin_threads(args.threads)
    # Only now: the libraries read the environment when they are imported.
    from benchmarks import loops_measure, peers, report
    from benchmarks.corpus import KERNELS

    if args.list:
        print(*(f"{k.name:22} quick {k.quick}, full {k.full}" for k in KERNELS.values()), sep="\n")
        return 0
    unknown = [name for name in args.names if name not in KERNELS]
    if unknown:
        print(f"no such kernel: {', '.join(unknown)}; see --list", file=sys.stderr)
        return 2
    installed = tuple(c for c in CONTESTANTS if c == "hand" or peers.available(peers.PEERS[c]))
    missing = [c for c in args.peers or () if c not in installed]
    if missing:
        print(f"not installed: {', '.join(missing)}; pip install '.[bench]'", file=sys.stderr)
        return 2
    load = report.load()
    if load is not None and load > 0.5:
        print(f"other processes are running (load {load}): times will be too long, those of threaded calls most")
    contestants = loops_measure.Contestants(tuple(args.peers or installed), args.threads)
    rows = {}
    for name in args.names or KERNELS:
        kernel = KERNELS[name]
        size = kernel.quick if args.quick else kernel.full
        rows[name] = row = loops_measure.measure(kernel, size, contestants, args.repeat or (5 if args.quick else 20))
        print(f"{name}: " + ", ".join(f"{c} {1e3 * t.minimum:.3f} ms" for c, t in row.gradient.items()), flush=True)
    print("\n" + table(rows))
    if args.json:
        data = report.as_json({}, args.threads, load, {})
        data["cases"] = {name: {**dataclasses.asdict(row), "ratios": ratios(row)} for name, row in rows.items()}
        data["geometric_means"] = geometric_means(rows)
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(data, indent=1) + "\n")
        print(f"\nwritten: {args.json}")
    return 1 if any(row.errors for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
