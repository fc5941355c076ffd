"""One peer on one case: the first call, samples of later calls, and the memory that a call takes."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Peer
from benchmarks.program import Case

#: A process is at rest when it has used no more than this part of a core for so many seconds.
AT_REST = 0.05
QUIET_SECONDS = 5e-3
#: But it is waited for no longer than this.
LONGEST_REST = 0.5


def come_to_rest() -> None:
    """Wait until this process uses no processor any more.

    The threads of a library wait for its next call in a loop for a while, and take a core from whoever is measured
    next: those of OpenBLAS for a tenth of a second, those of torch for 10 ms.
    """
    end = time.perf_counter() + LONGEST_REST
    quiet = False
    while not quiet and time.perf_counter() < end:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(QUIET_SECONDS)
        quiet = time.process_time() - used <= AT_REST * (time.perf_counter() - start)


def sample(call: Callable[[], Any], count: int) -> float:
    """Seconds a call, over ``count`` calls; the garbage collector is off."""
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


class Session:
    """A peer at work on a case, in this process."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.name = peer.name
        self.call: Callable[[], Any] | None = None

    def start(self, case: Case) -> tuple[float, list[np.ndarray]]:
        """Seconds of transforming the case and calling it once, converting the inputs not counted; and the results."""
        arrays = self.peer.arrays(case, case.arguments())
        start = time.perf_counter()
        fun = self.peer.transform(case)
        result = fun(*arrays)
        seconds = time.perf_counter() - start
        self.call = lambda: fun(*arrays)
        return seconds, self.peer.flat(result)

    def sample(self, count: int, wake: bool = True) -> float:
        """Seconds a call, over ``count`` calls; with ``wake`` after one that is not counted. Returns when all threads
        have come to rest."""
        assert self.call is not None
        if wake:
            self.call()
        seconds = sample(self.call, count)
        come_to_rest()
        return seconds

    def growth(self) -> int | None:
        """The most bytes by which this process grows during a call, over what it holds before. None for a GPU, whose
        memory is not the process's."""
        assert self.call is not None
        if self.peer.target == "cuda":
            return None
        self.peer.release()
        return resident_growth(self.call)

    def end(self) -> None:
        """Let go of the case."""
        self.call = None


def resident_growth(call: Callable[[], Any]) -> int | None:
    """The peak of the resident set during two calls, less what is resident before; None where Linux doesn't tell.

    The calls are in a new thread: what a library keeps from call to call for a thread is counted as well. Memory that
    was freed before is first given back to the system, so that its use is seen.
    """
    clear = Path("/proc/self/clear_refs")
    if sys.platform != "linux" or not clear.exists():
        return None

    def calls() -> None:
        call()
        call()

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    try:
        clear.write_text("5")  # sets the peak to what is resident now
    except OSError:
        return None
    before = _status("VmRSS")
    thread = threading.Thread(target=calls)
    thread.start()
    thread.join()
    return max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(field)
