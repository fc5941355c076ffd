"""Programs for a guess: that eigenvalues of general matrices are real (``frontend.functions_eigen``).

Where they are not the program ends with NotRealError, and another one is made and run, for complex ones. So a call may
run two programs: the first may have no other effects, as those with guessed ``rooms``.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from jitgrad.errors import NotRealError
from jitgrad.frontend.capture import Recorder
from jitgrad.frontend.functions_eigen import complex_values
from jitgrad.frontend.signature import unflatten
from jitgrad.ir.core import Graph, Op, operations
from jitgrad.rooms import runs_again
from jitgrad.specialisation import Specialisation

T = TypeVar("T")
A = TypeVar("A", bound=Any)
#: A program and the recorder of what it captured.
Built = tuple[Specialisation, Recorder]


def with_guess(build: Callable[[A], Built], arguments: A, lock: contextlib.AbstractContextManager[Any]) -> Built:
    """What ``build`` gives for the arguments of a call; where that is a program for a guess, one that needs none.
    ``lock`` is held while the other program is built."""
    program, recorder = build(arguments)
    graph = program.stages[-1][1]
    if not _guesses(graph) or not runs_again(graph, 0):
        return program, recorder
    # The leaves are not needed, and would live as long as the program.
    args, kwargs = unflatten(arguments.tree, [0] * arguments.tree.num_leaves)
    bare = arguments._replace(call=arguments.call._replace(args=args, kwargs=kwargs), leaves=())
    program.other = _Other(lambda: build(bare), lock)
    return (program if program.extra is not None else _either(program)), recorder


def attempt(program: Specialisation, use: Callable[[Specialisation], T]) -> T:
    """What ``use`` gives for the program, or for that which takes its place where the guess is wrong."""
    try:
        return use(program)
    except NotRealError:
        if program.other is None:
            raise
    return use(program.other())


def _guesses(graph: Graph) -> bool:
    return any(map(_is_guess, operations(graph.ops)))


def _is_guess(op: Op) -> bool:
    return op.name == "check" and isinstance(op.attrs["error"].error, NotRealError)


class _Other:
    """Gives the program for complex eigenvalues, made when it is first needed, and anew where its guards fail."""

    def __init__(self, build: Callable[[], Built], lock: contextlib.AbstractContextManager[Any]) -> None:
        self.build, self.lock = build, lock
        self.program: Specialisation | None = None

    def __call__(self) -> Specialisation:
        program = self.program
        if program is not None and program.holds():
            return program
        with self.lock, complex_values():
            program, recorder = self.build()
        recorder.settle()
        program.guards = recorder.guards
        self.program = program
        return program


def _either(program: Specialisation) -> Specialisation:
    """A program whose result is that of one of the two, put together."""
    both = copy.copy(program)

    def call(leaves: tuple[Any, ...]) -> Sequence[Any]:
        return [attempt(program, lambda p: p.run(leaves))]

    both.call, both.single = call, True
    both.notes.append("the eigenvalues are real in this program: where one is not, another one runs, with complex ones")
    return both
