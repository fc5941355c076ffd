"""Whether lists in recorded code may hold objects (``fixed``), which their arrays then have copies of.

A list of objects lies in arrays if nothing shows that what stands for an item is a copy. What would show it is refused
where it happens, which may be far behind the loop that was recorded. The function is traced once more then, and no list
of objects is opened: loops over them are unrolled, as Python runs them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from jitgrad.errors import JitgradError
from jitgrad.frontend.references import forget_frames

T = TypeVar("T")


class _State(threading.local):
    """``closed``: objects are not opened, for the reason ``why``. ``opened``: some were, in what is traced now."""

    closed = False
    opened = False
    why = ""


_state = _State()


def opens() -> bool:
    """May objects of a list be opened now? It is noted that they are."""
    if not _state.closed:
        _state.opened = True
    return not _state.closed


def why_closed() -> str:
    """What has shown that objects can't be opened."""
    return _state.why


def opened_if_possible(build: Callable[[], T]) -> T:
    """What ``build`` gives, which traces a function; once more without lists of objects if it fails with them. Where
    that fails too, the error is the first one, unless either is not jitgrad's."""
    if _state.closed:
        return build()
    before, _state.opened = _state.opened, False
    try:
        return build()
    except Exception as error:
        if not _state.opened:
            raise
        forget_frames(error)
        first = error
    finally:
        _state.opened |= before
    _state.closed, _state.why = True, str(getattr(first, "message", first)).split(". ")[0]
    try:
        return build()
    except Exception as error:
        if isinstance(first, JitgradError) and isinstance(error, JitgradError):
            raise first from None
        raise
    finally:
        _state.closed = False
        del first  # its frames refer to it
