"""Texts that compiled programs write: calls of Python (``callbacks``) with the arrays that are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.codegen.callbacks import Function, Kind, python_libcall
from jitgrad.ir.messages import deliver
from jitgrad.ir.thrown import formatted


def _showing(_: Sequence[Kind], *, text: str, to: Sequence[Any]) -> Function:
    """The library call ``show``: fills the holes of a text, and hands it to its receiver."""

    def run(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray]) -> None:
        deliver(to, formatted(text, [a[()] for a in ins]))

    return run


show_python, show_emit = python_libcall("show", _showing)
