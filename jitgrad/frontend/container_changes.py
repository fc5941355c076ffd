"""Statements of rewritten functions that change a list, dict or set in place: what it held is noted before, so that
recorded code can carry it, or be refused."""

from __future__ import annotations

from typing import Any

from jitgrad.frontend import assign, plain_lists
from jitgrad.frontend.attributes import note_change


def setitem(a: Any, index: Any, value: Any) -> None:
    """``a[index] = value``. A list or dict from outside can't be changed in a recorded region."""
    note_change(a)
    assign.setitem(a, index, value)


def augitem(a: Any, index: Any, op: str, value: Any) -> None:
    """``a[index] op= value``."""
    note_change(a)
    assign.augitem(a, index, op, value)


def delitem(a: Any, index: Any) -> None:
    """``del a[index]``."""
    note_change(a)
    if not plain_lists.delete(a, index):
        del a[index]


def augmented(a: Any) -> Any:
    """``a``, before ``a op= b``, which changes it in place if it is a container."""
    note_change(a)
    return a
