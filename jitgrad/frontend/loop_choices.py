"""Which loops with a known length are unrolled, and which are recorded."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from jitgrad import config
from jitgrad.errors import (
    CarryError,
    ConcretizationError,
    JitgradError,
    LeakedTracerError,
    MutationError,
    RollError,
    ShapeError,
    UnsupportedError,
)
from jitgrad.frontend.carries import UNBOUND
from jitgrad.frontend.fixed import fixed
from jitgrad.frontend.iteration import Steps
from jitgrad.frontend.objects import attributes
from jitgrad.frontend.optional import is_none
from jitgrad.frontend.references import forget_frames
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import is_traced
from jitgrad.ir.core import Block, Op, operations
from jitgrad.ir.location import user_location
from jitgrad.ops.op import Elementwise

State = tuple[Any, ...]

#: A loop that can't be recorded is unrolled up to this length.
LONGEST = 10_000
#: What says that a body can't be recorded, or needs numbers that only an unrolled loop has. Shapes do not fit where a
#: variable has another shape in each iteration.
UNROLLABLE = (
    RollError,
    CarryError,
    ConcretizationError,
    LeakedTracerError,
    UnsupportedError,
    MutationError,
    ShapeError,
)
#: How many of the first iterations tell whether a loop involves traced values.
_FIRST = 3
#: Loops in each other are unrolled up to so many times the usual length, all together.
_NESTED = 4
#: Operations that all copies of a body may have, for each iteration of a loop of the usual length.
_WRITTEN = 16
#: Ops that all iterations of a short loop but the first may record, those of the functions that it calls among them.
_RECORDED = 512
#: A loop that does little to large arrays is unrolled up to so many times the usual length.
_STREAMED = 4
#: Elements of a large array, which leaves a core's first cache; and how many operations on arrays are little.
_LARGE, _FEW_OPS = 1 << 13, 8
#: Ops that take a number out of an array.
_SCALARS = frozenset(("constant", "index", "wrap_index", "slice", "reshape", "broadcast_to"))


def is_short(trace: Trace, count: int, size: int) -> bool:
    """Is a loop unrolled? Not if that makes too many copies, with the unrolled loops around it, or much code."""
    limit = config.current().unroll_limit
    return count <= min(1, limit) or (
        count <= limit and trace.copies * count <= _NESTED * limit and count * size <= _WRITTEN * limit
    )


def is_much(ops: Sequence[Op], count: int) -> bool:
    """Is it too much to record these ops so many times?"""
    return count > 1 and count * sum(1 for _ in operations(ops)) > _RECORDED


def note_loop(trace: Trace, line: int, what: str, how: str) -> None:
    """Say for ``explain()`` how a loop was traced."""
    location = user_location()
    where = f"{location.short().rpartition(':')[0]}:{line}" if location else f"line {line}"
    trace.note(f"{what} at {where}: {how}")


@contextlib.contextmanager
def copied(trace: Trace, count: int) -> Iterator[None]:
    """While so many iterations are unrolled."""
    copies, trace.copies = trace.copies, trace.copies * max(1, count)
    try:
        yield
    finally:
        trace.copies = copies


def accept(block: Block) -> None:
    """Any body may be a loop."""


def may_stream(trace: Trace, count: int) -> bool:
    """May a loop of that many iterations be unrolled to become one walk through memory?"""
    return trace.options.loops == "auto" and count <= _STREAMED * config.current().unroll_limit


def refuse_streams(block: Block) -> None:
    """Raise RollError for a small body that computes large arrays element by element: run one after the other, its
    iterations walk through memory each time; unrolled, they become one walk."""
    sizes = [p.type.size for p in block.params]
    if max((n for n in sizes if isinstance(n, int)), default=0) < _LARGE:
        return
    if any(op.regions or not (isinstance(op.opdef, Elementwise) or op.name in _SCALARS) for op in block.ops):
        return
    if sum(isinstance(op.opdef, Elementwise) and bool(op.results[0].type.shape) for op in block.ops) <= _FEW_OPS:
        raise RollError("its iterations fused walk through the large arrays once.", user_location())


def is_static(trace: Trace, steps: Steps, body: Callable[..., State], state: State, hints: State) -> bool:
    """Does an iteration involve no traced value? Then the loop computes something for the tracing itself. In a triangle
    of iterations the first one may do nothing at all, and a loop that compares what it has put into a list does nothing
    else before there are two. So some more have to agree, and the last one behind them."""
    if any(is_traced(leaf) for part in (state, hints) for leaf in flatten(part)[0]):
        return False
    if len(steps) == 0:
        return True
    if not _leaves_no_trace(trace, lambda: body(steps.at(0), *state)):
        return False

    def some() -> State:
        new = state
        for k in range(min(len(steps) - 1, _FIRST)):
            new = body(steps.at(k), *new)
        return body(steps.at(len(steps) - 1), *new)

    try:
        return _leaves_no_trace(trace, some)
    except Exception:  # noqa: BLE001  (it needs what the iterations before it have done)
        return True


def is_unrollable(trace: Trace, run: Callable[[], Any]) -> bool:
    """Can Python run a loop while the function is traced? A trial of it is put back."""
    return failure(trace, run) is None


def is_unrollable_once(trace: Trace, key: Hashable, run: Callable[[], Any]) -> bool:
    """Likewise, for the loop that ``key`` names. In trials of loops over generators only the first one is tried: else
    that would take time exponential in their depth."""
    known = trace.tried.get(key) if trace.trials and trace.consuming else None
    if known is None:
        known = trace.tried[key] = is_unrollable(trace, run)
    return known


def failure(trace: Trace, run: Callable[[], Any]) -> type[JitgradError] | None:
    """Why Python can't run a loop while the function is traced; None where it can. A trial of it is put back."""
    notes = len(trace.notes)
    with trace.region("a trial of a loop") as scope:
        trace.trials += 1
        try:
            run()
        except JitgradError as error:
            forget_frames(error)
            return type(error)
        finally:
            trace.trials -= 1
            del trace.notes[notes:]
            scope.restore()
    return None


def _leaves_no_trace(trace: Trace, iteration: Callable[[], State]) -> bool:
    """Does a trial of an iteration record nothing? What it changes is put back."""
    notes = len(trace.notes)
    with trace.region("a trial of a loop body") as scope:
        try:
            new = iteration()
        except JitgradError:
            scope.restore()
            return False
        finally:
            del trace.notes[notes:]
        scope.outer_changes()
        scope.restore_lists()
        traced = any(is_traced(leaf) for leaf in flatten(new)[0])
    return not (scope.ops or scope.written or traced)


def refuse_first_values(body: Callable[..., State], state: State, names: Sequence[str]) -> Callable[..., State]:
    """The body, for a loop whose first iteration can stand apart: raises CarryError where one of the variables that are
    None before it always has a value after it."""

    def run(item: Any, *values: Any) -> State:
        new = body(item, *values)
        for name, before, after in zip(names, state, new, strict=True):
            if before is None and is_none(after) is False:
                raise CarryError(f"{name} is None before and has a value after an iteration.", user_location())
        return new

    return run


def first_apart(
    trace: Trace,
    steps: Steps,
    body: Callable[..., State],
    state: State,
    line: int,
    error: Exception,
    missing: int,
    *,
    peels: bool,
) -> State | None:
    """The state behind the first iteration, if a loop that can't be recorded for the ``error`` may be without it. From
    number ``missing`` on are the attributes that it has not found."""
    if not isinstance(error, UNROLLABLE):
        several = isinstance(steps.count, int) and len(steps) > 1
        unbound = isinstance(error, UnboundLocalError)
        binding = _binding if unbound else functools.partial(_assigning, trace.missing[missing:])
        after = binding(steps, body, state) if several else None
        why = "it binds what later ones use"
    else:
        after = body(steps.at(0), *state) if peels and isinstance(error, CarryError) else None
        why = "later ones begin with values of other types"
    if after is not None:
        note_loop(trace, line, "for", f"the first iteration apart, as {why}")
    return after


def _binding(steps: Steps, body: Callable[..., State], state: State) -> State | None:
    """The state after the first iteration; None if it binds no variable that was unbound."""
    unbound = sum(value is UNBOUND for value in state)
    after = body(steps.at(0), *state) if unbound else state
    return after if sum(value is UNBOUND for value in after) < unbound else None


def _assigning(
    missing: Sequence[tuple[weakref.ref[Any], str]], steps: Steps, body: Callable[..., State], state: State
) -> State | None:
    """The state after the first iteration; None if it assigns none of the attributes that were not found."""
    looked_for = [(obj, name) for owner, name in missing if (obj := owner()) is not None]
    after = body(steps.at(0), *state) if looked_for else state
    return after if any(name in attributes(obj) for obj, name in looked_for) else None


def refuse_items(trace: Trace, body: Callable[..., State]) -> Callable[..., State]:
    """The body, for a loop that can be unrolled: raises RollError where a variable stands for an item of a list behind
    it that is an object, as Python knows then which one that is."""

    def run(item: Any, *values: Any) -> State:
        new = body(item, *values)
        if any(one is not None and type(one.source) is list for one in (fixed(trace, x) for x in new)):
            raise RollError("a variable stands for an object behind it that is an item of a list.", user_location())
        return new

    return run
