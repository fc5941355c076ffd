"""Places in the user's program."""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
_SCIPY = os.path.join(os.path.dirname(os.path.dirname(_NUMPY)), "scipy") + os.sep
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = (os.path.join(_STDLIB, "site-packages"), os.path.join(_STDLIB, "dist-packages"))


class Location(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    def short(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


@functools.lru_cache(maxsize=4096)
def _is_internal(file: str) -> bool:
    """Is it a file of jitgrad, NumPy, SciPy or the standard library?"""
    if file.startswith((_PACKAGE, _NUMPY, _SCIPY, "<frozen ")):
        return True
    return file.startswith(_STDLIB) and not file.startswith(_INSTALLED)


def user_location() -> Location | None:
    """The innermost stack frame that belongs to none of those; None where there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        if not _is_internal(frame.f_code.co_filename):
            return Location(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None


def lines_of(traceback: types.TracebackType | None) -> Iterator[Location]:
    """The lines of the user's program in a traceback."""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not _is_internal(code.co_filename):
            yield Location(code.co_filename, traceback.tb_lineno, code.co_name)
        traceback = traceback.tb_next
