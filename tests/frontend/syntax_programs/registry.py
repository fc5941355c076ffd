"""The table of the programs."""

from __future__ import annotations

from collections.abc import Callable

#: The function and its argument tuples.
PROGRAMS: list[tuple[Callable, list[tuple]]] = []


def case(*arguments: tuple) -> Callable:
    def register(fun: Callable) -> Callable:
        PROGRAMS.append((fun, list(arguments)))
        return fun

    return register
