"""Arguments that a program must know as numbers.

An integer argument is traced: one program serves all its values. Some functions can't be compiled so, because the
number decides what the program is: the extent of a result (``np.zeros(n)``), the structure of one, how often Python
runs a comprehension. Such a function is traced again with the number itself in the place of the argument, and is
compiled for that value. Which arguments that takes is found by trying, and kept for later calls.

Integers and bools are taken so, never floats: a new value compiles anew, and floats seldom come twice. Python runs the
loops of a function without source, and with a number it may run them long: nobody has asked for such a program, so it
has a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
import optree

from jitgrad.errors import DeviceError, IRError, JitgradError, LeakedTracerError, OutOfMemoryError
from jitgrad.frontend.signature import Known
from jitgrad.frontend.trace import Trace

#: Ops of a function that is traced for numbers: a few in each of the most iterations that are unrolled by themselves.
MOST_OPS = 30_000

Keys = tuple[Hashable, ...]
T = TypeVar("T")

#: Errors that a number may mend, or a list: jitgrad's, and what Python and NumPy raise where they get no integer.
MENDED = (JitgradError, TypeError, ValueError, LookupError, AttributeError)
#: Those among them that neither would change.
FINAL = (DeviceError, IRError, LeakedTracerError, OutOfMemoryError)


class KnownLeaves:
    """The leaves of the arguments that one function must know, for each structure of its arguments: their positions,
    and the reason for each."""

    def __init__(self) -> None:
        self._reasons: dict[optree.PyTreeSpec, dict[int, str]] = {}

    def applied(self, tree: optree.PyTreeSpec, keys: Keys, leaves: Sequence[object]) -> Keys:
        """The keys of the leaves of a call, with those that are known to be needed as :class:`Known`."""
        found = self._reasons.get(tree)
        return with_known(keys, leaves, found) if found else keys

    def keep(self, tree: optree.PyTreeSpec, keys: Keys, reason: str) -> None:
        """Later calls with arguments of that structure need the numbers that these keys hold."""
        found = dict(self._reasons.get(tree, {}))
        for k, key in enumerate(keys):
            if isinstance(key, Known):
                found.setdefault(k, reason)
        self._reasons[tree] = found

    def notes(self, tree: optree.PyTreeSpec, keys: Keys, paths: Sequence[str]) -> list[str]:
        """What ``explain`` says of a program with these keys."""
        reasons = self._reasons.get(tree, {})
        return [
            f"argument {paths[k]} is the number {key.value} in this program, and another value compiles anew: "
            f"{reasons[k]}"
            for k, key in enumerate(keys)
            if isinstance(key, Known)
        ]


def limit(trace: Trace, keys: Keys, paths: Sequence[str]) -> None:
    """Let a trace end with an error when it is long, if it is one for numbers that these keys hold."""
    known = [f"{path}={key.value}" for key, path in zip(keys, paths, strict=True) if isinstance(key, Known)]
    if known:
        message = (
            f"{trace.name} is traced for {', '.join(known)}, as Python needs the number, and has more than {MOST_OPS} "
            "operations. Python runs the loops that jitgrad does not see, those of functions without source for one, "
            "and all iterations become part of the program. Use jg.fori_loop, put the function into a file, or name "
            "the argument in static_argnames if that is meant."
        )
        trace.limit = MOST_OPS, message


def with_known(keys: Keys, leaves: Sequence[object], chosen: object) -> Keys:
    """The keys with :class:`Known` in the place of those, at the positions ``chosen``, that are integers or bools."""
    chosen = set(chosen)  # pyright: ignore[reportArgumentType]
    return tuple(
        Known.of(key, leaf) if k in chosen and can_be_known(key) else key
        for k, (key, leaf) in enumerate(zip(keys, leaves, strict=True))
    )


def can_be_known(key: Hashable) -> bool:
    """Is it the key of an integer or a bool?"""
    return isinstance(key, type) and issubclass(key, (int, np.integer, np.bool_))


def with_least_known(
    keys: Keys, leaves: Sequence[object], trace: Callable[[Keys], object], build: Callable[[Keys], T]
) -> tuple[Keys, T, str]:
    """What ``build`` gives for keys of which as few as possible are :class:`Known`; with those keys, and the reason, an
    empty text where no more were needed than before.

    ``trace`` is the part of ``build`` that takes little time, and tells whether some of the leaves can stay traced.
    Where all that could be known does not help, the error is that of the last attempt: what is wrong then is not that
    something is traced.
    """
    try:
        return keys, build(keys), ""
    except MENDED as error:
        candidates = [k for k, key in enumerate(keys) if can_be_known(key)]
        if isinstance(error, FINAL) or not candidates:
            raise
        reason = _reason(error)
    every = with_known(keys, leaves, candidates)
    least = _fewer(keys, every, candidates, trace) if len(candidates) > 1 else every
    try:
        return least, build(least), reason
    except MENDED:
        if least == every:
            raise
    return every, build(every), reason


def _fewer(keys: Keys, every: Keys, candidates: Sequence[int], trace: Callable[[Keys], object]) -> Keys:
    """As few :class:`Known` of ``every`` as the function can be traced with. Raises what tracing it with all raises."""
    trace(every)
    least = every
    for k in candidates:
        fewer = (*least[:k], keys[k], *least[k + 1 :])
        if fewer == keys:  # which is known to fail
            break
        try:
            trace(fewer)
        except MENDED:
            continue
        least = fewer
    return least


def _reason(error: Exception) -> str:
    """What happened, without what to do about it, and where."""
    if not isinstance(error, JitgradError):
        return f"{type(error).__name__}: {error}".splitlines()[0]
    place = f" ({error.location.short()})" if error.location else ""
    return error.message.split(". ")[0].rstrip(".") + place
