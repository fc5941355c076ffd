"""What ``jit`` is told about loops and memory; it holds for everything that is traced inside."""

from __future__ import annotations

from typing import NamedTuple

from jitgrad.errors import ArgumentError
from jitgrad.ir.location import user_location


class Options(NamedTuple):
    """``loops``: "auto", "roll" or "unroll"; see :func:`jitgrad.jit`. ``memory_budget``: bytes that the tapes of
    reversed loops may take; None is no limit."""

    loops: str = "auto"
    memory_budget: int | None = None

    def check(self) -> Options:
        """These options. Raises ArgumentError for what they can't be."""
        if self.loops not in ("auto", "roll", "unroll"):
            raise ArgumentError(
                f"loops is {self.loops!r}. It says what is done with loops of a known length. Give 'auto', 'roll' or "
                "'unroll'.",
                user_location(),
            )
        budget = self.memory_budget
        if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 0):
            raise ArgumentError(
                f"memory_budget is {budget!r}. It is the number of bytes that saved values of loops may take. Give an "
                "integer from 0 on, or None.",
                user_location(),
            )
        return self
