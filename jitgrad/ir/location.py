"""Places in the user's program."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

import numpy as np

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep


class Location(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    def short(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


def user_location() -> Location | None:
    """The innermost stack frame that belongs neither to jitgrad nor to NumPy; None where there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE) and not file.startswith(_NUMPY):
            return Location(file, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None
