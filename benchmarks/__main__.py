"""``python -m benchmarks``: time jitgrad against JAX, torch and autograd.

    python -m benchmarks                                  all cases against JAX and torch, where installed
    python -m benchmarks --cases scalar mlp --peers jitgrad jax --json benchmarks/results/today.json

Results are compared before anything is timed. Threads are the same for all: 2, unless ``--threads`` says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def pin_threads(threads: int) -> None:
    """The same number of threads for every library, and as many cores; before any of them is imported."""
    for variable in (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
        "NPROC",  # the size of XLA's thread pool
    ):  # fmt: skip
        os.environ[variable] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="cases whose name starts so (default: all)")
    parser.add_argument("--peers", nargs="+", metavar="NAME", help="default: jitgrad jax torch, where installed")
    parser.add_argument("--repeat", type=int, default=50, help="samples a case and peer (default 50)")
    parser.add_argument("--fresh", type=int, default=1, help="fresh processes a case and peer for the first call")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything measured as JSON")
    parser.add_argument("--list", action="store_true", help="list cases and peers")
    parser.add_argument("--fresh-one", nargs=2, metavar=("PEER", "CASE"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write the JSON; the exit status."""
    args = parse(argv)
    pin_threads(args.threads)
    # Only now: the libraries read the environment when they are imported.
    from benchmarks import cases, harness, peers, report

    if args.list:
        print("cases:", *cases.CASES, sep="\n  ")
        print("peers:", *peers.PEERS, sep="\n  ")
        return 0
    if args.fresh_one:
        name, case = args.fresh_one
        print(json.dumps(harness.fresh(name, cases.CASES[case], args.threads)))
        return 0
    chosen = [c for c in cases.CASES.values() if not args.cases or c.name.startswith(tuple(args.cases))]
    unknown = [name for name in args.peers or () if name not in peers.PEERS]
    if not chosen or unknown or args.repeat < 1:
        print(f"no such case or peer: {args.cases if not chosen else unknown}; see --list", file=sys.stderr)
        return 2
    names = args.peers or [name for name in peers.DEFAULT_PEERS if peers.available(peers.PEERS[name])]
    missing = [name for name in names if not peers.available(peers.PEERS[name])]
    if missing:
        print(f"not installed: {', '.join(missing)}; pip install '.[bench]'", file=sys.stderr)
        return 2
    load = report.load()
    if load is not None and load > 0.5:
        print(f"other processes are running (load {load}): times will be too long, those of threaded calls most")
    running = [peers.PEERS[name](args.threads) for name in names]
    results = harness.run(chosen, running, repeat=args.repeat, fresh_repeat=args.fresh)
    print("\n" + report.tables(results))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report.as_json(results, args.threads, load), indent=1) + "\n")
        print(f"\nwritten: {args.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
