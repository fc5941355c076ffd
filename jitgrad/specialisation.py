"""One compiled program of a transformed function: for one structure, dtypes, shapes and static values of arguments."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad import config as _config
from jitgrad.compiler import Compiled, compile_graph
from jitgrad.errors import MutationError
from jitgrad.frontend.guards import Guard, first_change
from jitgrad.frontend.signature import Known, LeafSpec, kind_of, python_converter
from jitgrad.frontend.unpacking import builder, unpacker
from jitgrad.ir.core import Block, Graph, Value
from jitgrad.known import can_be_known
from jitgrad.rooms import ROOM, Rooms, rooms_for
from jitgrad.runtime.direct import matcher

#: The stage in which results of unknown shapes have got rooms.
_ROOMS = "with rooms"


class Specialisation:
    """A compiled program with the structure of its result and the guards that it stands on.

    ``keys`` are those of the leaves that it was compiled for, ``converters`` are ``(position, function)`` for Python
    integers and bools, and generators. ``written`` are the positions of leaves that get new contents: the last results
    of the program, which are written into them by the program itself where it can't fail before it is done, and copied
    into them otherwise. Results of shapes that only the run tells have ``rooms``, unless that is False.
    """

    __slots__ = (
        "build",
        "call",
        "compiled",
        "converters",
        "draws",
        "extra",
        "guards",
        "keys",
        "notes",
        "other",
        "single",
        "specs",
        "stages",
        "target",
        "tree",
        "written",
    )

    def __init__(
        self,
        stages: Sequence[tuple[str, Graph]],
        specs: Sequence[LeafSpec],
        keys: Sequence[Hashable],
        tree: optree.PyTreeSpec,
        guards: tuple[Guard, ...],
        extra: Any = None,
        written: tuple[int, ...] = (),
        target: str | None = None,
        *,
        rooms: bool = True,
    ) -> None:
        self.stages: list[tuple[str, Any]] = list(stages)
        graph = stages[-1][1]
        self.specs, self.written, self.keys, self.target = tuple(specs), written, tuple(keys), target
        self.tree, self.guards, self.extra = tree, guards, extra
        self.single = tree.is_leaf()
        self.build: Callable[[Sequence[Any]], Any] = builder(tree)
        found = ((k, python_converter(key)) for k, key in enumerate(keys))
        self.converters = tuple((k, convert) for k, convert in found if convert is not None)
        #: Whether the program draws random numbers that it is not seeded for.
        self.draws = draws(graph)
        self.notes: list[str] = []
        #: Gives the program for arguments for which this one raises NotRealError: see ``guesses``.
        self.other: Callable[[], Specialisation] | None = None
        self.compiled: Compiled
        self.call: Callable[[tuple[Any, ...]], Sequence[Any]]
        made = rooms_for(graph, numbers(graph, keys), len(written)) if rooms else None
        if made is None:
            self._compile(graph)
        else:
            self._compile_with(made)

    def _compile(self, graph: Graph) -> None:
        first = len(graph.results) - len(self.written)
        donated = {k: first + n for n, k in enumerate(self.written) if not self.specs[k].scalar}
        self.compiled = compile_graph(graph, tuple(s.scalar for s in self.specs), donated, self.target)
        self.call = self._call_and_write if self.written else self.compiled.call

    def _compile_with(self, rooms: Rooms) -> None:
        """Compile the program with these rooms for its results: see ``rooms``."""
        graph = rooms.filled()
        self._compile(graph)
        call, cut = self.call, rooms.cutter()

        def call_and_cut(leaves: tuple[Any, ...]) -> Sequence[Any]:
            results = call(leaves)
            larger = rooms.larger(results)
            if larger is None:
                return cut(results)
            self._compile_with(larger)
            return self.call(leaves)

        self.call = call_and_cut
        self.stages = [*(s for s in self.stages if s[0] != _ROOMS), (_ROOMS, graph)]
        self.notes = [*(n for n in self.notes if not n.startswith(ROOM)), *rooms.notes()]

    def convert(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """Python integers and bools as the NumPy scalars that native code takes."""
        converted = list(leaves)
        for k, function in self.converters:
            converted[k] = function(converted[k])
        return tuple(converted)

    def _call_and_write(self, leaves: tuple[Any, ...]) -> Sequence[Any]:
        """Run the program and give the leaves that it assigns into their new contents."""
        check_written(leaves, self.written)
        results = self.compiled.call(leaves)
        count = len(results) - len(self.written)
        for k, new in zip(self.written, results[count:], strict=True):
            if new is not leaves[k]:
                write(leaves[k], new)
        return results[:count]

    def holds(self) -> bool:
        """Are all captured values what they were?"""
        return not self.guards or first_change(self.guards) is None

    def run(self, leaves: tuple[Any, ...]) -> Any:
        """Call the program with leaves as :func:`~jitgrad.frontend.signature.prepare_leaf` gives them."""
        results = self.call(leaves)
        return results[0] if self.single else self.build(results)


def numbers(graph: Graph, keys: Sequence[Hashable]) -> list[Value]:
    """The parameters for integers and bools, which a program may be compiled for the values of."""
    return [p for p, key in zip(graph.params, keys, strict=False) if can_be_known(key)]


def draws(graph: Graph) -> bool:
    """Whether a program draws random numbers, and so gives others at each call."""

    def inside(block: Block) -> bool:
        return any(op.name in ("draw", "make_generator") or any(map(inside, op.blocks)) for op in block.ops)

    return inside(graph.block)


def write(target: Any, new: Any) -> None:
    """Give an array new contents: one of the host, or one on a device (by its own method)."""
    if isinstance(target, np.ndarray):
        target[...] = new if isinstance(new, np.ndarray | np.generic) else new.numpy()
    else:
        from jitgrad.cuda.devices import put_leaf

        put_leaf(target, None).assign(new)


def check_written(leaves: Sequence[Any], written: Sequence[int]) -> None:
    """Raise MutationError unless the leaves that a program assigns into are arrays that can be written, and share no
    memory with others: the program was traced as if they did not."""
    for k in written:
        target = leaves[k]
        if hasattr(target, "__cuda_array_interface__"):
            continue
        if not isinstance(target, np.ndarray):
            raise MutationError(
                f"the function assigns into an argument that is a {type(target).__name__} (number {k} of its leaves). "
                "What is written would be lost. Pass a NumPy array."
            )
        if not target.flags.writeable:
            raise MutationError(
                f"the function assigns into an argument (number {k} of its leaves) whose flag writeable is off: "
                "assignment destination is read-only. Pass a copy."
            )
        for j, other in enumerate(leaves):
            if j != k and isinstance(other, np.ndarray) and _overlap(target, other):
                raise MutationError(
                    f"the function assigns into an argument (number {k} of its leaves) that shares memory with "
                    f"another one (number {j}). It was compiled for arrays that do not. Pass a copy of one."
                )


def run_and_write(program: Specialisation, leaves: Sequence[Any], used: tuple[Any, ...]) -> Any:
    """Run a program that assigns into its arguments; where a leaf was converted, what was written is copied back."""
    check_written(leaves, program.written)
    result = program.run(used)
    for k in program.written:
        if used[k] is not leaves[k]:
            write(leaves[k], used[k])
    return result


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=1000)  # pyright: ignore[reportArgumentType]
    except np.exceptions.TooHardError:
        return True


class Route(NamedTuple):
    """The fast way to a program: ``unpack(args, kwargs)`` gives the leaves, or None if the arguments have another
    structure; ``accepts(leaves)`` tells whether they have the right types, dtypes and shapes, as they are."""

    unpack: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Any, ...] | None]
    accepts: Callable[[tuple[Any, ...]], bool]
    program: Specialisation


def route_to(program: Specialisation, tree: optree.PyTreeSpec, order: Sequence[int]) -> Route | None:
    """The route for arguments of that structure; None if there is no native code. ``order`` are the positions of the
    program's leaves among those of the tree."""
    backend = program.compiled.executable.backend
    if backend not in ("cuda", "llvm"):
        return None
    kinds = [kind_of(key) for key in program.keys]
    accepts = _on_device(kinds) if backend == "cuda" else matcher(map(_expected, kinds))
    known = {k: key.value for k, key in enumerate(program.keys) if isinstance(key, Known)}
    return Route(unpacker(tree, order), _with_numbers(accepts, known) if known else accepts, program)


def _with_numbers(
    accepts: Callable[[tuple[Any, ...]], bool], known: dict[int, Any]
) -> Callable[[tuple[Any, ...]], bool]:
    """Whether leaves are accepted, and are the known numbers at their positions."""
    chosen = operator.itemgetter(*known)
    numbers = chosen(known)
    return lambda leaves: accepts(leaves) and chosen(leaves) == numbers


def _on_device(keys: Sequence[Hashable]) -> Callable[[tuple[Any, ...]], bool]:
    """Whether leaves are numbers and arrays on a device, of the right types, dtypes and shapes. Arrays of the host are
    not: they take the general way."""
    from jitgrad.cuda.array import DeviceArray

    expected = [(DeviceArray, *key) if isinstance(key, tuple) else (key, None, None) for key in keys]

    def accepts(leaves: tuple[Any, ...]) -> bool:
        for leaf, (kind, dtype, shape) in zip(leaves, expected, strict=True):
            if type(leaf) is not kind:
                return False
            if kind is DeviceArray and (leaf.dtype != dtype or leaf.shape != shape):
                return False
        return True

    return accepts


def _expected(key: Any) -> tuple[type, np.dtype | None, tuple[int, ...]]:
    """A leaf as :func:`matcher` takes it. The key of a number is its type, that of an array its dtype and shape."""
    return (key, None, ()) if isinstance(key, type) else (np.ndarray, *key)


def backend_key() -> Hashable:
    """The settings that a compiled program depends on."""
    settings = _config.current()
    own = settings.backend, settings.check_bounds, settings.parallel, settings.unroll_limit, settings.pool
    return (*own, settings.target, settings.cuda_driver, settings.strict_device, settings.tf32)
