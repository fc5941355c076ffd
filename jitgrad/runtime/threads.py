"""The number of threads, and the threading layer that they belong to.

Parallel loops run on Numba's threading layer (``NUMBA_THREADING_LAYER`` chooses it), which is started when the first
program with such a loop is compiled. The number of threads is one of the whole process; it is at most Numba's, which
``NUMBA_NUM_THREADS`` sets and which is the number of cores otherwise.

A child process that is forked when the layer runs has none of its threads, and GNU's OpenMP ends a child that uses it:
there, loops run serially.
"""

from __future__ import annotations

import operator
import os
import sys
from typing import Any

from numba.core import config

from jitgrad.codegen import threads
from jitgrad.errors import ArgumentError, CompilationError
from jitgrad.loopir.schedule import LEAST

#: How many times ``LEAST`` a loop's work must be on each layer: a launch takes about 2 microseconds on OpenMP, and
#: about 100 on the layer that is always there (measured on two cores).
FACTORS = {"omp": 1, "tbb": 4, "workqueue": 40}

#: What was asked for; None is as many as there are.
_wanted: int | None = None
_started = False
_forked = False


def _setting(name: str) -> Any:
    """One of Numba's settings, which it reads from the environment."""
    return getattr(config, name)


def get_num_threads() -> int:
    """The number of threads that parallel loops run on."""
    return _setting("NUMBA_NUM_THREADS") if _wanted is None else _wanted


def set_num_threads(n: int) -> None:
    """Let parallel loops run on ``n`` threads, in the whole process and from the next loop on.

    ``n`` is an integer from 1 to Numba's number of threads (``NUMBA_NUM_THREADS``, or the number of cores). Results
    do not depend on it. Factorizations of matrices have threads of their own, those of LAPACK.
    """
    global _wanted
    most = _setting("NUMBA_NUM_THREADS")
    try:
        number = operator.index(n)
    except TypeError:
        number = 0
    if isinstance(n, bool) or not 1 <= number <= most:
        raise ArgumentError(
            f"the number of threads can't be {n!r}. It is an integer from 1 to {most}, as many as Numba starts. Pass "
            "such a number, or set the environment variable NUMBA_NUM_THREADS before Numba is imported."
        )
    _wanted = number
    _apply()


def start() -> None:
    """Start the layer, unless it runs. Raises CompilationError where there is none of the kind that is asked for."""
    global _started
    from numba.np.ufunc import parallel

    try:
        parallel._launch_threads()
    except (ValueError, ImportError) as error:
        raise CompilationError(
            f"the threads of parallel loops can't be started: {str(error).strip()} They belong to Numba's threading "
            f"layer, which is set to {_setting('THREADING_LAYER')!r}. Set the environment variable "
            "NUMBA_THREADING_LAYER to 'default', or use config.update(parallel=False)."
        ) from error
    _started = True
    threads.control.least = FACTORS.get(parallel.threading_layer(), 40) * LEAST
    _apply()


def _apply() -> None:
    """Tell compiled code the number of threads."""
    threads.control.threads = get_num_threads() if _started and not _forked else 1


def _after_fork() -> None:
    """In the child: no launch is under way, and there is no launch any more if the layer has been started."""
    global _forked
    parallel: Any = sys.modules.get("numba.np.ufunc.parallel")
    _forked = _forked or _started or getattr(parallel, "_is_initialized", False)
    threads.control.busy = 0
    _apply()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
