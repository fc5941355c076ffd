"""Which trace is running in this thread, and tracing a Python function into a graph."""

from __future__ import annotations

import collections
import contextlib
import linecache
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optree

from jitgrad.errors import (
    ArgumentError,
    ConcretizationError,
    DtypeError,
    EndlessRecursionError,
    JitgradWarning,
    MutationError,
    RollError,
    UnsupportedError,
)
from jitgrad.frontend import buckets
from jitgrad.frontend.bucket_tables import TracedKey
from jitgrad.frontend.capture import Recorder
from jitgrad.frontend.keyed_tables import KeyedDict, KeyedSet
from jitgrad.frontend.listed import listed, with_nodes
from jitgrad.frontend.optional import without_none
from jitgrad.frontend.raising import ends
from jitgrad.frontend.randomness import shared_states, warn_of_draws
from jitgrad.frontend.references import given
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.signature import LeafSpec, flatten, prepare_leaf, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer
from jitgrad.frontend.usercode import call_method
from jitgrad.ir.core import Graph
from jitgrad.ir.location import Location, lines_of
from jitgrad.transforms import Function


class _State(threading.local):
    trace: Trace | None = None
    recorder: Recorder | None = None


_state = _State()
_lock = threading.Lock()
#: A line that is so often in a traceback calls itself.
_MANY_CALLS = 10


class _Activity:
    """``count`` is how many traces run, in all threads: while it is 0, calls need not look at the thread's state."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


ACTIVITY = _Activity()


def current_trace() -> Trace | None:
    """The innermost trace that this thread runs."""
    return _state.trace


HOOKS["current_trace"] = current_trace


def current_recorder() -> Recorder | None:
    """The recorder of what the traced function captures."""
    return _state.recorder


HOOKS["current_recorder"] = current_recorder


@contextlib.contextmanager
def running(trace: Trace, recorder: Recorder) -> Iterator[None]:
    """Make ``trace`` this thread's innermost trace."""
    before = _state.trace, _state.recorder
    _state.trace, _state.recorder = trace, recorder
    with _lock:
        ACTIVITY.count += 1
    try:
        yield
    finally:
        _state.trace, _state.recorder = before
        with _lock:
            ACTIVITY.count -= 1


@contextlib.contextmanager
def emitting_for(trace: Trace) -> Iterator[None]:
    """Make ``trace`` the innermost one for a while: for what is computed in a function inside it, and belongs to it."""
    before = _state.trace
    _state.trace = trace
    try:
        yield
    finally:
        _state.trace = before


HOOKS["emitting_for"] = emitting_for


def declare(trace: Trace, specs: Sequence[LeafSpec], paths: Sequence[str]) -> list[Tracer]:
    """One parameter a leaf; ``params['w1']`` is named ``params_w1``."""
    params = []
    for s, path in zip(specs, paths, strict=True):
        params.append(trace.param(s.type, re.sub(r"\W+", "_", path).strip("_") or None, s.weak))
        params[-1].boxed = not s.scalar
    return params


def run_traced(
    fun: Callable[..., Any],
    trace: Trace,
    recorder: Recorder,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    name: str,
    watched: Sequence[Tracer] = (),
    unreached: Any = 0.0,
    *,
    packs: bool = False,
) -> tuple[Graph, optree.PyTreeSpec, tuple[int, ...]]:
    """Run ``fun`` under ``trace``; returns the finished graph and the structure of the result, and which of the
    parameters ``watched`` were assigned into: their new values are further results of the graph, after those.
    ``unreached`` stands for the result where the program always ends with an exception. ``packs``: lists of many
    numbers in the result are arrays."""
    before = [p.value for p in watched]
    states = shared_states() if current_trace() is None else None
    try:
        with running(trace, recorder):
            out = _called(recorder.prepare(fun), trace, args, kwargs, unreached)
            out = without_none(out, name)
            out = with_nodes(trace, out) if packs else out
            leaves, tree = flatten(out)
            if states is not None and any(isinstance(x, Collection) for x in leaves):
                leaves, tree = flatten(unflatten(tree, [buckets.result(x) for x in leaves]))
                leaves, tree = flatten(unflatten(tree, [_as_result(x) for x in leaves]))
            _check_results(leaves, tree, name, fun)
            written = tuple(k for k, (p, v) in enumerate(zip(watched, before, strict=True)) if p.value is not v)
            graph = trace.finish([*leaves, *(watched[k] for k in written)])
            recorder.drop_gone()
            _forget_attributes(trace, name)
            if states is not None:
                warn_of_draws(states, name)
            return graph, tree, written
    except BaseException as error:
        trace.close()
        if isinstance(error, TracedKey):
            trace.top.forget_attributes()
        trace.top.forget_traced_attributes()
        if _was_written_into_array(error):
            raise MutationError(
                "a traced value was written into an element of a NumPy array (y[...] = v) that was made outside of the "
                "traced function. The array holds numbers. Make it inside with np.zeros, or copy it with np.copy(y).",
                error.__cause__.location,  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
            ) from error
        raise


def _called(fun: Callable[..., Any], trace: Trace, args: Sequence[Any], kwargs: dict[str, Any], unreached: Any) -> Any:
    trace.given = given(args)
    try:
        return fun(*args, **kwargs)
    except RecursionError as error:
        raise _without_end(error) from None
    except Exception as error:
        if not ends(trace, error):
            raise
        return unreached


def _without_end(error: RecursionError) -> Exception:
    """What to raise where functions of the user's have called themselves too often."""
    lines = collections.Counter(lines_of(error.__traceback__))
    ((line, times),) = lines.most_common(1) or [(None, 0)]
    if line is None or times < _MANY_CALLS:
        return error
    return EndlessRecursionError(
        f"{line.function} calls itself without end while it is traced. Where a traced value decides whether it goes "
        "on, the call is traced in any case, and in it the next one. Write it as a loop, with a list for a stack if "
        "need be, or make what decides static with jit(static_argnames=...).",
        line,
    )


def _as_result(leaf: Any) -> Any:
    """What stands in the structure of a result for a list of unknown length; another leaf, and a list of which only the
    function itself knows what its items are, as it is."""
    try:
        return listed(leaf) if isinstance(leaf, Collection) else leaf
    except RollError:
        return leaf


def _forget_attributes(trace: Trace, name: str) -> None:
    """Warn of attributes that the function set to traced values; they get back what they held."""
    lost = trace.top.forget_traced_attributes()
    if lost:
        warnings.warn(
            f"{name} sets {', '.join(sorted(set(lost)))} to a traced value, which exists only while the function is "
            "traced. The attribute keeps what it held before. Return the value, and assign it outside.",
            JitgradWarning,
            stacklevel=2,
        )


def _was_written_into_array(error: BaseException) -> bool:
    """NumPy hides the error of a traced value that was assigned to an element behind one of its own."""
    return isinstance(error.__cause__, ConcretizationError) and str(error).startswith("setting an array element")


def _check_results(leaves: list[Any], tree: optree.PyTreeSpec, name: str, fun: Any) -> None:
    """Raise ArgumentError or DtypeError for a result that is no array and no number, UnsupportedError for a list of
    unknown length."""
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, Tracer):
            continue
        what = f"the result{optree.treespec_accessors(tree)[k].codify('')} of {name}"
        if isinstance(leaf, (KeyedDict, KeyedSet)):
            raise UnsupportedError(
                f"{what} is a dict or set with traced keys. Which keys it has is known when the program runs only, and "
                "what a compiled program returns has one structure. Return np.array(list(d.keys())) and "
                "np.array(list(d.values())), or sorted(s).",
                describe_function(fun).location,
            )
        if isinstance(leaf, Collection):
            raise UnsupportedError(
                f"{what} is a list, and how long it is gets known when the program runs. What a compiled program "
                "returns has one structure for all values of its arguments. Return what you compute of it, or an array "
                "with room for all and the number of items.",
                describe_function(fun).location,
            )
        try:
            prepare_leaf(leaf, lambda what=what: what)
        except DtypeError as error:
            raise DtypeError(error.message, describe_function(fun).location) from None
        except ArgumentError:
            raise ArgumentError(
                f"{what} is of type {type(leaf).__name__}. A compiled function returns arrays, numbers, or trees "
                "(dict, list, tuple, named tuple, dataclass, None) of them. Return other things from a function around "
                "it.",
                describe_function(fun).location,
            ) from None


def describe_function(fun: Any) -> Function:
    """Name and place of a user's function, looking through transformations, methods and partials."""
    name = getattr(fun, "__name__", None) or type(fun).__name__
    inner = fun
    for _ in range(32):
        following = getattr(inner, "__wrapped__", None) or getattr(inner, "func", None)
        if following is None:
            break
        inner = following
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    if code is None:
        code = getattr(call_method(inner), "__code__", None)
    if code is None:
        return Function(name, None)
    return Function(name, Location(code.co_filename, _def_line(code.co_filename, code.co_firstlineno), code.co_name))


def _def_line(file: str, first: int) -> int:
    """The line with ``def``, after the decorators."""
    for line in range(first, first + 50):
        text = linecache.getline(file, line).lstrip()
        if text.startswith(("def ", "async def ")) or "lambda" in text:
            return line
        if not text.startswith(("@", ")", "#")) and line > first and not text:
            break
    return first
