"""What rewritten functions call for loops, branches and conditions (see ``jitgrad.frontend.syntax``).

Where nothing is traced, each does what Python does. A traced condition is recorded as a ``cond``; a loop is recorded
as a ``for`` or ``while`` when its length is traced, or when it is longer than ``config.unroll_limit`` and its body can
be recorded once for all iterations. Other loops are unrolled: Python runs them while the function is traced.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import starmap
from typing import Any

from jitgrad.errors import JitgradError, RollError
from jitgrad.frontend import assign, attributes, iteration, python_functions, texts
from jitgrad.frontend.branches import assert_ as assert_
from jitgrad.frontend.branches import current_trace
from jitgrad.frontend.bucket_tables import dict_of as dict_of
from jitgrad.frontend.bucket_tables import set_of as set_of
from jitgrad.frontend.bucket_tables import table as table
from jitgrad.frontend.callees import callee as callee
from jitgrad.frontend.carries import UNBOUND as UNBOUND
from jitgrad.frontend.collected import OfObjects, Own, own_lists, record_collecting
from jitgrad.frontend.comprehensions import collect as collect
from jitgrad.frontend.consumable import consumable
from jitgrad.frontend.consumed import consume, loop_key, with_consumers
from jitgrad.frontend.consumed import sent as sent
from jitgrad.frontend.consumed import unrolled as _unrolled
from jitgrad.frontend.container_changes import augitem as augitem
from jitgrad.frontend.container_changes import augmented as augmented
from jitgrad.frontend.container_changes import delitem as delitem
from jitgrad.frontend.container_changes import setitem as setitem
from jitgrad.frontend.filtered import expression as expression
from jitgrad.frontend.filtered import filtered as filtered
from jitgrad.frontend.filtered import first as first
from jitgrad.frontend.filtered import flattened as flattened
from jitgrad.frontend.filtered import quantified as quantified
from jitgrad.frontend.fixed import ItemChanged
from jitgrad.frontend.grown_arrays import NotGrown, Watch
from jitgrad.frontend.grown_loops import grow_for, grow_while
from jitgrad.frontend.growth import Held, OpenEnd
from jitgrad.frontend.held_lists import UsedOtherwise, with_held_lists
from jitgrad.frontend.iteration import Nest, Steps, numbers_in, steps_of
from jitgrad.frontend.junctions import and_ as and_
from jitgrad.frontend.junctions import is_same as is_same
from jitgrad.frontend.junctions import not_, truth
from jitgrad.frontend.junctions import or_ as or_
from jitgrad.frontend.list_holders import (
    Variable,
    changes_lists,
    changes_plain_lists,
    has_open_end,
    indexed,
    lists_of,
    may_grow,
    only_names,
    used_otherwise,
    with_lists,
)
from jitgrad.frontend.list_trials import NoItems, is_of_loop_around
from jitgrad.frontend.loop_choices import (
    LONGEST,
    UNROLLABLE,
    accept,
    copied,
    failure,
    first_apart,
    is_short,
    is_static,
    is_unrollable,
    is_unrollable_once,
    may_stream,
    note_loop,
    refuse_first_values,
    refuse_items,
    refuse_streams,
)
from jitgrad.frontend.loops import For, While
from jitgrad.frontend.optional import is_none as is_none
from jitgrad.frontend.places import ChangesPlaces
from jitgrad.frontend.raising import handled as handled
from jitgrad.frontend.raising import thrown as thrown
from jitgrad.frontend.recording import attempt, condition, record_for, record_while
from jitgrad.frontend.references import forget_frames
from jitgrad.frontend.references import owned as owned
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.repeating import unrolled_if_small, unrolled_until_alike
from jitgrad.frontend.resized_arrays import with_resized_arrays
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.staying import bound as bound
from jitgrad.frontend.staying import bound_free as bound_free
from jitgrad.frontend.staying import comprehension_iter as comprehension_iter
from jitgrad.frontend.staying import opaque_iter as opaque_iter
from jitgrad.frontend.staying import opaque_test as opaque_test
from jitgrad.frontend.subscripts_calls import appender as appender
from jitgrad.frontend.subscripts_calls import hint as hint
from jitgrad.frontend.subscripts_calls import s_ as s_
from jitgrad.frontend.subscripts_calls import show as show
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, innermost_trace, is_traced
from jitgrad.frontend.uneven import if_ as if_
from jitgrad.frontend.uneven import if_return as if_return
from jitgrad.frontend.uneven import ifexp as ifexp
from jitgrad.frontend.users_operators import binary as binary
from jitgrad.frontend.users_operators import in_place as in_place
from jitgrad.frontend.users_operators import unary as unary
from jitgrad.frontend.users_protocols import iterated
from jitgrad.frontend.users_protocols import managed as managed
from jitgrad.ir.core import Value
from jitgrad.ir.index import add
from jitgrad.ir.location import user_location

State = tuple[Any, ...]
Listed = tuple[Sequence[Any], Sequence[Any], Sequence[tuple[Any, ...]]]

#: A ``while`` whose condition is known is recorded from this iteration on.
_LONG_WHILE = 64
#: What says that a list may be changed which no variable holds.
_OF_LISTS = (ChangesPlaces, UsedOtherwise, OfObjects)

#: The references to an iterable that only a loop over it refers to.
_LONE = 2


class _BreakIsTraced(Exception):
    """The flag that ends a loop depends on traced values: the loop has no fixed length."""


# -- loops -------------------------------------------------------------------------------------------------------------


def for_(
    iterable: Any,
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    flag: str | None,
    writes: Callable[[], Sequence[Any]],
    line: int,
    size: int,
    lists: Callable[[], Listed],
    *,
    settled: bool = False,
) -> State:
    """``for item in iterable: state = body(item, *state)``; ``flag`` names the variable that ends it. ``size``
    counts the operations that are written in the body; ``lists()`` are objects that it does nothing with but call their
    ``append``, those of which it reads the last item besides, and the variables whose lists it may change. ``settled``:
    the variables have the types that the first iteration gives them."""
    iterable, trace = iterated(iterable), current_trace()
    if isinstance(iterable, Nest):
        return _nested(iterable, (), body, state, names, flag, writes, line, size, lists)
    if trace is not None and trace.options.loops != "unroll" and consumable(iterable):
        kept = sys.getrefcount(iterable) > _LONE  # else nobody can use it again
        after = consume(trace, iterable, body, state, names, flag, lists, kept=kept)
        if after is not None:
            return after
    lists = with_consumers(trace, lists)
    steps = steps_of(iterable)
    numbers = numbers_in(iterable) if steps is None and trace is not None else None
    if numbers is not None:
        steps = Steps(0, len(iterable), 1, iterable.__getitem__)
    if steps is None or trace is None:
        return _unrolled(iterable, body, state, names, flag)
    known = isinstance(steps.count, int)
    mode = trace.options.loops
    short = known and mode == "auto" and is_short(trace, len(steps), size)
    may = changes_lists if numbers is None else changes_plain_lists
    some = numbers is not None and numbers.traced
    tried = (short or some) and len(steps) > 1 and ((flag is not None and not numbers) or may(lists(), state, names))
    if tried:
        # A branch of it may make a list longer: its length is followed only where the loop is recorded.
        first = Steps(0, 2, 1, steps.item) if some else steps
        with copied(trace, len(steps)):
            key, run = loop_key(trace, body, len(steps)), partial(_unrolled, first, body, state, names, flag)
            short = is_unrollable_once(trace, key, run)
    if numbers is not None:
        if short or not tried:
            return _unrolled(iterable, body, state, names, flag)
        steps = numbers.steps(trace)
    if short or (known and mode == "unroll"):
        state, left = _begun(trace, iterable, steps, body, state, names, flag, line, small=short)
        if not left:
            return state
        iterable = steps = left
    variables = only_names(trace, list(starmap(Variable, lists()[2])), state, names)
    only, read = ([*own_lists(trace, objects)] for objects in lists()[:2]) if known else ([], [])
    own = Own([*only, *read], [x for x in read if x])
    del only, read
    hints = tuple(writes())
    if known and mode == "auto" and is_static(trace, steps, body, state, hints):
        return _unrolled(iterable, body, state, names, flag)

    look = refuse_streams if known and may_stream(trace, len(steps)) else accept
    peels = known and len(steps) > 1 and mode == "auto" and not settled
    missing = len(trace.missing)
    try:
        once = refuse_first_values(body, state, names) if peels and any(v is None for v in state) else body
        if known and mode == "auto" and len(steps) <= LONGEST:
            once = refuse_items(trace, once)
        loop = For(trace, steps, once, state, names, flag, hints, look, peels)
        result = with_resized_arrays(loop, lambda loop: _recorded_with_lists(loop, own, variables), UNROLLABLE)
    except (UnboundLocalError, AttributeError, *UNROLLABLE) as error:
        if is_of_loop_around(trace, error):
            raise  # the loop around that counts its iterations is recorded again
        after = first_apart(trace, steps, body, state, line, error, missing, peels=peels)
        if after is not None:
            if flag is not None and after[names.index(flag)] is True:
                return after
            own.clear()  # they are looked at again, by their references
            forget_frames(error)
            return for_(steps.behind(1), body, after, names, flag, writes, line, size, lists, settled=True)
        if not isinstance(error, UNROLLABLE) or not known or mode == "roll" or len(steps) > LONGEST:
            raise
        return _unrolled_instead(For(trace, steps, body, state, names, flag, hints, look), error, line, size)
    note_loop(trace, line, "for", "rolled")
    return result


def _begun(
    trace: Trace,
    iterable: Iterable[Any],
    steps: Steps,
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    flag: str | None,
    line: int,
    *,
    small: bool,
) -> tuple[State, Steps | None]:
    """The state after a loop that Python runs, and the steps left to record, if it isn't ``small`` after all."""

    def run(items: Iterable[Any], state: State) -> State:
        return _unrolled(items, body, state, names, flag)

    ends, left = None if flag is None else names.index(flag), None
    with copied(trace, len(steps)):
        if small:
            state, left = unrolled_if_small(trace, iterable, steps, run, state, ends)
        else:
            state = run(iterable, state)
    apart = "the first iteration apart, and the others recorded, as an iteration has many ops"
    note_loop(trace, line, "for", apart if left else f"unrolled, {len(steps)} iterations")
    return state, left


def _recorded_with_lists(loop: For, own: Own, variables: Sequence[Variable]) -> State:
    """The loop recorded with the lists and arrays that it makes longer: what it only appends to lists is collected
    behind it, or else it works on what takes their places."""

    def record(body: Callable[..., State], arrays: Sequence[Held]) -> State:
        if not arrays:
            return _with_growing_lists(loop._replace(body=body), own, variables)
        own.clear()
        return _with_all_growing(loop, variables, arrays)

    return _with_growing_arrays(loop, record)


def _with_lists(loop: For, variables: Sequence[Variable]) -> State:
    """The loop recorded with the lists of some variables, and with arrays that get other lengths."""
    return with_resized_arrays(loop, lambda loop: _recorded_with_lists(loop, Own([], []), variables), UNROLLABLE)


def _with_growing_arrays(loop: For | While, record: Callable[[Callable[..., State], Sequence[Held]], State]) -> State:
    """``record(body, arrays)`` with those arrays that the body makes longer, if it can't be recorded without."""
    trace, notes, watch = loop.trace, len(loop.trace.notes), Watch(loop.trace, loop.state)
    try:
        with watch.looking():
            return record(watch.body(loop.body), ())
    except UNROLLABLE as error:
        arrays = [Held(x, None, None, how) for x, how in watch.found()]
        if not arrays:
            raise
        forget_frames(error)
    while arrays:
        del trace.notes[notes:]
        try:
            return record(loop.body, arrays)
        except NotGrown as error:
            forget_frames(error)
            arrays = error.without(arrays)
    return record(loop.body, ())


def _with_growing_lists(loop: For, own: Own, variables: Sequence[Variable]) -> State:
    trace, state, names = loop.trace, loop.state, loop.names
    notes, known = len(trace.notes), isinstance(loop.steps.count, int)

    def grow(held: Sequence[Held], *, open_end: bool) -> State:
        with attempt(trace):
            return grow_for(loop, held, open_end=open_end)

    if tables := indexed(variables, state, names):
        try:
            return with_lists(trace, lambda held: grow(held, open_end=False), lists_of(tables, state, names))
        except UNROLLABLE as error:
            forget_frames(error)
            del trace.notes[notes:]
    if not used_otherwise(variables, state, names):

        def run(body: Callable[..., State], appended: Own) -> State:
            with attempt(trace):
                return _recorded(loop._replace(body=body), appended)

        try:
            return with_held_lists(trace, loop.body, run, own, known=known)
        except UNROLLABLE as error:
            if not (lists_of(variables, state, names).sure or trace.growing or isinstance(error, _OF_LISTS)):
                raise
        del trace.notes[notes:]
    own.clear()
    return _with_all_growing(loop, variables, ())


def _with_all_growing(loop: For, variables: Sequence[Variable], arrays: Sequence[Held]) -> State:
    """The loop recorded with what takes the places of its lists, and of arrays."""
    trace, state, names = loop.trace, loop.state, loop.names

    def grow(*, open_end: bool) -> State:
        def run(held: Sequence[Held]) -> State:
            with attempt(trace):
                return grow_for(loop, [*held, *arrays], open_end=open_end)

        return with_lists(trace, run, lists_of(variables, state, names))

    def known_ends(item: Any, *values: Any) -> State:
        after = loop.body(item, *values)
        if has_open_end(variables, after, names):
            raise RollError("how long a list is gets known when the program runs.", user_location())
        if arrays and any(
            isinstance(x, Tracer) and not all(isinstance(n, int) for n in x.dims) for v in after for x in flatten(v)[0]
        ):
            raise RollError("the extent of an array is not known.", user_location())
        return after

    known = isinstance(loop.steps.count, int)
    unrollable = known and trace.options.loops == "auto" and len(loop.steps) <= LONGEST
    try:
        return grow(open_end=not unrollable)
    except OpenEnd:  # iterations that know their numbers may know how long it is
        if is_unrollable(trace, lambda: _unrolled(loop.steps, known_ends, state, names, loop.flag)):
            raise
    return grow(open_end=True)


def _nested(
    nest: Nest,
    outer: tuple[Any, ...],
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    flag: str | None,
    writes: Callable[[], Sequence[Any]],
    line: int,
    size: int,
    lists: Callable[[], Listed],
) -> State:
    """A loop for each axis, in each other; ``outer`` are the values of the axes further out."""
    if len(outer) == len(nest.axes):
        return body(nest.item(outer), *state)

    def inner(value: Any, *s: Any) -> State:
        return _nested(nest, (*outer, value), body, s, names, flag, writes, line, size, lists)

    return for_(nest.axes[len(outer)], inner, state, names, flag, writes, line, size, lists)


def _unrolled_instead(loop: For, error: JitgradError, line: int, size: int) -> State:
    """A loop of known length that can't be recorded, because of ``error``."""
    forget_frames(error)
    try:
        result, unrolled = _unrolled_until_alike(loop, size)
    except UNROLLABLE as later:
        if isinstance(error, ItemChanged) and not is_of_loop_around(loop.trace, later):
            raise error from None  # that is what has to be mended
        raise
    note = f"{len(loop.steps)} iterations: {error.message.split('. ')[0]}"
    if unrolled < len(loop.steps):
        note += f". The later {len(loop.steps) - unrolled} are alike: rolled"
    note_loop(loop.trace, line, "for", f"unrolled, {note}")
    return result


def _unrolled_until_alike(loop: For, size: int) -> tuple[State, int]:
    trace = loop.trace

    def one(item: Any, state: State) -> State:
        return _unrolled((item,), loop.body, state, loop.names, loop.flag)

    def record(rest: For) -> State:
        notes = len(trace.notes)
        try:
            with attempt(trace):
                rest = rest._replace(body=refuse_items(trace, rest.body))
                return _recorded(rest, Own([], []), resizing=True)
        except UNROLLABLE:
            del trace.notes[notes:]
            raise

    return unrolled_until_alike(loop, one, record, lambda count: not is_short(trace, count, size), UNROLLABLE)


def _recorded(loop: For, own: Own, *, resizing: bool = False) -> State:
    trace, steps, body, state, names, _, hints, look, begins = loop
    place = loop.flagged

    def checked(index: Tracer, *values: Any) -> State:
        new = body(steps.item(index), *values)
        if place is not None and new[place] is not False:
            raise _BreakIsTraced
        return new

    if own.lists:

        def whole(item: Any, *values: Any) -> State:
            new = body(item, *values)
            if place is not None and new[place] is not False:
                raise UsedOtherwise("it appends to a list and may end early.", user_location())
            return new

        return record_collecting(loop._replace(body=whole), own)
    try:
        bounds = steps.lo, steps.hi, steps.step
        return record_for(trace, *bounds, checked, state, names, hints, look=look, begins=begins, resizing=resizing)
    except _BreakIsTraced:
        assert place is not None
    count = Tracer(trace, _index_value(trace, steps.count), "int")

    def test(k: Tracer, *values: Any) -> Any:
        return and_(k < count, lambda: not_(values[place]))

    def step(k: Tracer, *values: Any) -> State:
        return (k + 1, *body(steps.at(k), *values))

    limits = {0: (0, add(steps.count, -1))}
    start = Tracer(trace, _index_value(trace, 0), "int")
    start_state, names = (start, *state), ("k", *names)
    return record_while(trace, test, step, start_state, names, hints, limits=limits, resizing=resizing)[1:]


def _index_value(trace: Trace, d: Any) -> Value:
    (value,) = trace.emit("index", (), {"value": d})
    return value


def while_(
    test: Callable[..., Any],
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    flag: str | None,
    writes: Callable[[], Sequence[Any]],
    line: int,
    lists: Callable[[], Listed],
) -> State:
    """``while test(*state): state = body(*state)``; ``flag`` names the variable that ends it. Python runs it until its
    condition is traced, or until it has run for long: then what is left of it is recorded, if it can be."""
    place = None if flag is None else names.index(flag)
    lists = with_consumers(current_trace(), lists)

    def decided(*values: Any) -> Any:
        found = truth(test(*values))
        return found if is_traced(found) else bool(found)  # not a list itself: its references count

    def decision(*values: Any) -> Any:
        if place is None:
            return decided(*values)
        return and_(not_(values[place]), lambda: decided(*values))

    try:
        longest, grows = _LONG_WHILE, False
        for done in itertools.count(1):
            known = current_trace()
            first = 0 if known is None else len(known.builder.ops)
            go_on = decision(*state)
            if is_traced(go_on):
                break
            if not go_on:
                return state
            trace = current_trace()
            # A list may meet a traced condition in a later iteration only, and is followed where that is recorded.
            if trace is not None and (done == 1 or (grows and not trace.trials)):
                grows = grows or may_grow(lists()[2], state, names)
                why = failure(trace, lambda state=state: body(*state))
                if why is None and grows:  # arrays whose contents were known so far may be traced by now
                    why = failure(trace, lambda state=state: body(*state))
                if why is ChangesPlaces or (why is not None and grows):
                    break
            before = 0 if trace is None else len(trace.builder.ops)
            state = body(*state)
            if done < longest or trace is None or trace.options.loops == "unroll":
                continue
            if len(trace.builder.ops) > before and any(is_traced(leaf) for leaf in flatten(state)[0]):
                try:
                    result = record_while(trace, decision, body, state, names, tuple(writes()))
                except UNROLLABLE:
                    longest *= 16
                    continue
                note_loop(trace, line, "while", f"rolled after {done} iterations, as it is long")
                return result
        trace = current_trace() or innermost_trace(go_on)
        if is_traced(go_on) and any(op.effects for op in trace.builder.ops[first:]):
            result = _rotated_while(While(trace, decision, body, state, names, ()), writes, lists, go_on)
        else:
            result = _recorded_while(While(trace, decision, body, state, names, ()), writes, lists)
        note_loop(trace, line, "while", "rolled")
        return result
    except NoItems as error:
        if not error.of.probing:
            raise
        return state  # the trial goes on, to find what the loop around it puts into the list


def _rotated_while(loop: While, writes: Callable[[], Sequence[Any]], lists: Callable[[], Listed], go_on: Any) -> State:
    """A ``while`` whose condition draws random numbers or prints. It is asked once for each iteration: it was asked
    at the start, is carried, and is asked again at the end of the body."""
    trace, test, body, state, names, _ = loop

    def with_test(*values: Any) -> State:
        new = body(*values[:-1])
        return *new, condition(trace, test(*new), "while")

    start = (*state, condition(trace, go_on, "while"))
    names = (*names, "the condition of the loop")
    rotated = While(trace, lambda *values: values[-1], with_test, start, names, ())
    return _recorded_while(rotated, writes, lists)[:-1]


def _recorded_while(loop: While, writes: Callable[[], Sequence[Any]], lists: Callable[[], Listed]) -> State:
    trace, state, names = loop.trace, loop.state, loop.names
    variables = only_names(trace, list(starmap(Variable, lists()[2])), state, names)
    loop = loop._replace(hints=tuple(writes()))

    def record(body: Callable[..., State], arrays: Sequence[Held]) -> State:
        return _while_with_growing(loop._replace(body=body), variables, arrays)

    return _with_growing_arrays(loop, record)


def _while_with_growing(loop: While, variables: Sequence[Variable], arrays: Sequence[Held]) -> State:
    """A ``while`` recorded with what takes the places of its lists, and of arrays."""
    trace, state, names = loop.trace, loop.state, loop.names
    if not arrays and not used_otherwise(variables, state, names):
        notes = len(trace.notes)
        try:
            with attempt(trace):
                return record_while(*loop)
        except UNROLLABLE as error:
            if not (lists_of(variables, state, names).sure or trace.growing or isinstance(error, _OF_LISTS)):
                raise
        del trace.notes[notes:]
    found = lists_of(variables, state, names)
    return with_lists(trace, lambda held: grow_while(loop, [*held, *arrays]), found)


contains = python_functions.contains
attribute, augmented_attribute = attributes.attribute, attributes.augmented_attribute
delete_attribute, read, called = attributes.delete_attribute, attributes.read, attributes.called
own_variables, note_variables = attributes.own_variables, attributes.note_variables
handed_over = attributes.handed_over
getitem, unpacked = assign.getitem, iterated
percent, text = texts.percent, texts.text
range_, enumerate_ = iteration.range_, iteration.enumerate_
zip_, reversed_ = iteration.zip_, iteration.reversed_
HOOKS["record_with_lists"] = _with_lists
HOOKS["runtime"] = lambda: sys.modules[__name__]
