"""Compiled programs called in turn and from several threads at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

#: A program, and ``(arguments, wanted results)`` of calls of it.
Job = tuple[Callable[..., Any], Sequence[tuple[Sequence[Any], Any]]]


def in_threads(work: Callable[[int], None], n: int = 4) -> None:
    """``work(0)`` to ``work(n - 1)``, each in a thread; raises what one of them raised."""
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(work, range(n)))


def check_calls(jobs: Sequence[Job], check: Callable[[Any, Any], None], calls: int) -> None:
    """Call the programs at random from four threads. Results are checked only at the end: they are the caller's, and
    later calls must leave them alone."""

    def work(seed: int) -> None:
        order = np.random.default_rng(seed)
        kept = []
        for _ in range(calls):
            program, cases = jobs[order.integers(len(jobs))]
            arguments, wanted = cases[order.integers(len(cases))]
            kept.append((program(*arguments), wanted))
        for found, wanted in kept:
            check(found, wanted)

    in_threads(work)
