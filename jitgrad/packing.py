"""Which lists among the arguments of a function its programs take as arrays: those of many numbers, unless the function
can't be traced so. It may need integers among them as numbers, for one (``known``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import optree

from jitgrad.frontend.given import packed
from jitgrad.frontend.references import forget_frames
from jitgrad.frontend.signature import Call, flatten
from jitgrad.known import FINAL, MENDED

T = TypeVar("T")


class GivenLists:
    """Of one function. Without ``packs`` it takes none so."""

    def __init__(self, *, packs: bool) -> None:
        self._packs = packs
        self._refused: set[optree.PyTreeSpec] = set()  # structures of arguments that it can't be traced with

    def packed(self, call: Call) -> Call:
        """The call with its lists as arrays; the call itself where there are none to take so."""
        if not self._packs:
            return call
        args, kwargs = packed(call.args), packed(call.kwargs)
        if args is call.args and kwargs is call.kwargs:
            return call
        found = call._replace(args=args, kwargs=kwargs)
        return call if self._refused and _structure(found) in self._refused else found

    def used(self, call: Call, found: Call, use: Callable[[Call], T]) -> T:
        """What ``use`` gives for ``found``, which is the packed call; where that fails and the call itself does not,
        for the call itself, as for all such calls from then on."""
        if found is call:
            return use(call)
        try:
            return use(found)
        except MENDED as error:
            if isinstance(error, FINAL):
                raise
            forget_frames(error)  # references count
        made = use(call)
        self._refused.add(_structure(found))
        return made


def _structure(call: Call) -> optree.PyTreeSpec:
    return flatten((call.args, call.kwargs))[1]
