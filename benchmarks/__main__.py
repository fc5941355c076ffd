"""``python -m benchmarks``: time jitgrad against JAX, torch, autograd, PyTensor and NumPy, or CuPy on a GPU.

    python -m benchmarks                                  the default cases against what is installed
    python -m benchmarks --sizes small cache memory       all of them
    python -m benchmarks --cases mlp attention-f32 --peers jitgrad jax --json out.json --plot out.png
    python -m benchmarks --python pytensor=path/to/python --peers jitgrad pytensor
    python -m benchmarks --target cuda                    on an NVIDIA GPU, arrays being there already

A case is a program in one dtype at one size: ``layer_norm-f32-memory``. Every peer runs in processes of its own, with
the same number of threads: 2, unless ``--threads`` says otherwise. Results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
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
    parser.add_argument(
        "--sizes", nargs="+", metavar="SIZE", help="of small, cache and memory (default: all, if dtypes are given)"
    )
    parser.add_argument(
        "--dtypes", nargs="+", metavar="DTYPE", help="of f32 and f64 (default: all, if sizes are given)"
    )
    parser.add_argument("--target", choices=["cpu", "cuda"], default="cpu", help="where programs run (default: cpu)")
    parser.add_argument(
        "--peers", nargs="+", metavar="NAME", help="default: jitgrad jax torch torch.compile, and numpy or cupy"
    )
    parser.add_argument("--python", nargs="+", default=[], metavar="PEER=PATH", help="a peer's own interpreter")
    parser.add_argument("--repeat", type=int, default=30, help="most samples a case and peer (default 30)")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for the samples of a case and peer")
    parser.add_argument("--no-extras", action="store_true", help="neither warm starts nor memory")
    parser.add_argument("--no-machine", action="store_true", help="neither bandwidth nor rate of products")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything measured as JSON")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="write a plot of the ratios")
    parser.add_argument("--list", action="store_true", help="list cases and peers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write JSON and plot; the exit status: 1 where anything failed."""
    args = parse(argv)
    pin_threads(args.threads)
    # Only now: the libraries read the environment when they are imported.
    from benchmarks import harness, machine, peers, plot, process, program, report, suite
    from jitgrad import errors

    def wrong(message: str) -> int:
        print(f"{message}; see --list", file=sys.stderr)
        return 2

    cases = suite.select(args.cases, args.sizes, args.dtypes)
    if args.list:
        print("cases (those of the default selection are marked):")
        default = suite.select()
        print(*(f"  {c.name}{' *' if c in default else ''}" for c in program.select(suite.PROGRAMS.values())), sep="\n")
        print("peers:", *peers.PEERS, sep="\n  ")
        return 0
    for given, known in ((args.sizes, program.TIMED_SIZES), (args.dtypes, program.DTYPES), (args.peers, peers.PEERS)):
        unknown = [name for name in given or () if name not in known]
        if unknown:
            return wrong(f"there is no {unknown[0]}")
    if not cases:
        return wrong(f"no such case: {args.cases}")
    pythons = dict(item.partition("=")[::2] for item in args.python)
    gpu = None
    if args.target == "cuda":
        try:
            gpu = machine.gpu()
        except errors.DeviceError as error:
            print(f"nothing is measured: {error}", file=sys.stderr)
            return 1
        print(f"on {gpu}")
    default = list(peers.DEFAULT_PEERS[args.target])
    names = args.peers or default + [n for n in pythons if n not in default]
    for name in list(names):
        peer = peers.PEERS[name]
        missing = None if name in pythons and args.target in peer.targets else peer.missing(args.target)
        if missing:
            print(f"{name} is left out: {missing}")
            names.remove(name)
    load = report.load()
    if load is not None and load > 0.5:
        print(f"other processes are running (load {load}): times will be too long, those of threaded calls most")
    limits = {} if args.no_machine else machine.measure(args.threads, args.target)
    results: report.Results = {}
    with tempfile.TemporaryDirectory() as directory:
        remotes = [process.Remote(n, args.threads, Path(directory), pythons.get(n), args.target) for n in names]
        options = {"repeat": args.repeat, "seconds": args.seconds, "extras": not args.no_extras}
        try:
            results.update(harness.run(cases, remotes, **options, say=lambda text: print(text, flush=True)))
        except KeyboardInterrupt:
            print("interrupted: the tables have what was measured before")
        finally:
            for remote in remotes:
                remote.close()
    if not results:
        return 1
    print("\n" + report.tables(results, limits, gpu))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report.as_json(results, args.threads, load, limits, gpu), indent=1) + "\n")
        print(f"\nwritten: {args.json}")
    if args.plot:
        plot.draw(results, args.plot)
        print(f"written: {args.plot}")
    return 1 if any(row.errors for row in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
