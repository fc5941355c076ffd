"""How a program fails: the codes of ``Fail`` statements and library calls, and the exceptions they stand for."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator

import numpy as np

from jitgrad.errors import (
    CompilationError,
    IndexBoundsError,
    JitgradError,
    LinAlgError,
    OutOfMemoryError,
    describe_location,
)
from jitgrad.loopir.nodes import Fail, LibCall

#: How many bits a status code has. The bits above say which statement of the program failed.
CODE_BITS = 16
#: Status codes of a compiled program, and the exception each raises.
FAILURES: dict[int, tuple[type[JitgradError], str]] = {
    1: (IndexBoundsError, "index out of bounds for an axis"),
    2: (LinAlgError, "Singular matrix"),
    3: (LinAlgError, "Matrix is not positive definite"),
    4: (LinAlgError, "LAPACK reported an invalid argument"),
    5: (OutOfMemoryError, "there is no memory for an array whose size depends on the arguments"),
    6: (LinAlgError, "Eigenvalues did not converge"),
    7: (LinAlgError, "SVD did not converge"),
}
OUT_OF_MEMORY = 5
#: The code of an exception that a call of Python has raised, which is kept for the thread.
RAISED_OUTSIDE = 8
PENDING = threading.local()
#: The codes from here on say with which of the user's exceptions a program ends; the last one stands for all that are
#: left.
FIRST_RAISED, LAST_CODE = 64, (1 << CODE_BITS) - 1
#: How many numbers a program keeps for the message of an exception.
RECORDED = 32


def exception(code: int, failing: Iterable[Fail | LibCall], record: np.ndarray | None) -> BaseException:
    """What to raise for a code. ``failing`` are the statements that may have ended the program, and ``record`` is what
    it kept for the message."""
    if code == RAISED_OUTSIDE:
        return PENDING.__dict__.pop("error")
    statements = list(failing)
    places = [loc for loc in dict.fromkeys(s.loc for s in statements) if loc is not None]
    own = next((s for s in statements if isinstance(s, Fail) and s.error is not None), None)
    if own is not None and own.error is not None:
        found = own.error.exception(list(_values(own, record)))
        found.add_note(describe_location(own.loc).strip())
        return found
    error, text = FAILURES.get(code, (CompilationError, f"the program ended with the status {code}"))
    if code >= FIRST_RAISED:
        text = "the program ended at a raise or assert. The program that was loaded from the cache is not the one that "
        text += "is compiled now, so it is not known which. Call jitgrad.clear_cache() and run it again."
    *others, place = places or [None]
    return error(text + "".join(map(describe_location, others)), place)


def _values(s: Fail, record: np.ndarray | None) -> Iterator[object]:
    """What fills the holes of a message."""
    place = 0
    for kept in s.values:
        if kept is None or record is None:
            yield "?"
            continue
        dtype, shape = kept
        size = math.prod(shape)
        yield record[place : place + size].astype(dtype).reshape(shape)[()]
        place += size
