"""The text of kernels as a file that errors and tracebacks can show."""

from __future__ import annotations

import itertools
import linecache
from typing import Any

_serial = itertools.count()


def register(source: str) -> str:
    """A name for the text, under which its lines are found."""
    name = f"<kernels {next(_serial)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    return name


def forget(name: str) -> None:
    """Drop a text that nobody asks for any more."""
    linecache.cache.pop(name, None)


def execute(source: str, name: str, namespace: dict[str, Any]) -> None:
    """Define the functions of a text."""
    exec(compile(source, name, "exec", dont_inherit=True), namespace)
