"""The methods that show what a transformed function compiled to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from jitgrad.compiler import Compiled
from jitgrad.errors import ArgumentError
from jitgrad.frontend.guards import Guard


class Shown(Protocol):
    """A compiled program, the graphs that led to it, what it captured, and notes on it."""

    @property
    def stages(self) -> Sequence[tuple[str, Any]]: ...
    @property
    def compiled(self) -> Compiled: ...
    @property
    def guards(self) -> tuple[Guard, ...]: ...
    @property
    def notes(self) -> list[str]: ...


class Readable:
    """Mixin: every stage of the program for given arguments, as text. Compiles, but does not run it."""

    _history: list[str]

    def _specialise(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Shown:
        raise NotImplementedError

    def _input_notes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        """What is done to these arguments at each call before the program runs."""
        return []

    def ir(self, *args: Any, stage: str | None = None, **kwargs: Any) -> str:
        """The graph and the loop program, stage by stage, each with its title; or one stage.

        Stages are ``"traced"``, ``"differentiated"`` (where something is), ``"optimised"`` and ``"loop"``. Raises
        ArgumentError for another name.
        """
        program = self._specialise(args, kwargs)
        stages = {title: str(content) for title, content in (*program.stages, *program.compiled.stages)}
        if stage is None:
            return "\n\n".join(f"== {title} ==\n{text.rstrip()}" for title, text in stages.items()) + "\n"
        if stage not in stages:
            raise ArgumentError(
                f"there is no stage {stage!r}. This program has the stages {', '.join(stages)}. "
                "Leave stage out to see them all."
            )
        return stages[stage]

    def source(self, *args: Any, **kwargs: Any) -> str:
        """The fused kernels as readable Python."""
        return self._specialise(args, kwargs).compiled.source()

    def llvm(self, *args: Any, **kwargs: Any) -> str:
        """The optimised LLVM IR."""
        return self._specialise(args, kwargs).compiled.llvm()

    def asm(self, *args: Any, **kwargs: Any) -> str:
        """The machine code, as assembly."""
        return self._specialise(args, kwargs).compiled.asm()

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """What was fused, kept, copied and placed, and why; which values were captured; what was recompiled."""
        program = self._specialise(args, kwargs)
        lines = [program.compiled.explain().rstrip()]
        if program.guards:
            lines.append("captured as constants:")
            lines += [f"  {guard.describe()}" for guard in program.guards]
        lines += self._input_notes(args, kwargs) + program.notes + self._history
        return "\n".join(lines) + "\n"
