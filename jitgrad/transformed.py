"""The object that ``jit``, ``grad`` and the others return: a function that compiles itself for the arguments it meets.

A call takes the leaves out of its arguments, compares their types, dtypes and shapes with those of the programs that
it knows for such arguments, and calls the native program. Other calls (static arguments, arrays that must be
converted, methods) look the program up by structure, leaves and static values. Lookups take no lock; tracing and
compiling take one lock for the whole process.

Inside a traced function, a transformed function adds its derived graph to the trace instead. Called there with plain
values only, it computes plain values.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import optree

from jitgrad import config as _config
from jitgrad.errors import ArgumentError, IRError, JitgradWarning, UnsupportedError
from jitgrad.frontend.bucket_tables import with_tables
from jitgrad.frontend.capture import Recorder
from jitgrad.frontend.concrete import adopt, own_copy, unwrap
from jitgrad.frontend.guards import first_change
from jitgrad.frontend.opening import opened_if_possible
from jitgrad.frontend.randomness import for_handle, is_stand_in
from jitgrad.frontend.signature import (
    Call,
    Identity,
    Known,
    LeafSpec,
    Signature,
    complex_leaves,
    flatten,
    is_handle,
    is_tree,
    prepare_leaf,
    spec_of,
    static_key,
    unflatten,
    why_converted,
)
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, has_traced, innermost_trace
from jitgrad.guesses import with_guess
from jitgrad.ir.core import Graph
from jitgrad.ir.generators import GENERATORS
from jitgrad.known import Keys, KnownLeaves, limit, with_least_known
from jitgrad.loopir.lower import check_result
from jitgrad.packing import GivenLists
from jitgrad.reading import Readable
from jitgrad.rooms import check_results
from jitgrad.specialisation import Route, Specialisation, backend_key, numbers, route_to, run_and_write
from jitgrad.tracing import (
    ACTIVITY,
    current_recorder,
    current_trace,
    declare,
    describe_function,
    run_traced,
    running,
)
from jitgrad.transforms import Jit, Traced, Transform, check_wrt, positions

T = TypeVar("T")

#: Programs kept for one signature: a captured value that changes back finds its program again.
_VERSIONS = 4
#: Programs that the fast path looks through, of those for arguments of the same types.
_RECENT = 16
_compiling = threading.RLock()
#: Objects that the compiler makes before the garbage collector runs.
_COLLECTED = 100_000


class CacheInfo(NamedTuple):
    """``programs`` are in the cache; of ``compilations``, ``recompilations`` were made as captured values changed."""

    programs: int
    compilations: int
    recompilations: int


class Arguments(NamedTuple):
    """Arguments of one call, taken apart: ``keys`` and ``leaves`` as :func:`prepare_leaf` gives them."""

    call: Call
    tree: optree.PyTreeSpec
    keys: tuple[Hashable, ...]
    leaves: tuple[Any, ...]


class CapturesTracer(Exception):
    """A function was to be compiled on its own, but it uses values of an outer trace. Internal: never reaches users."""


class Transformed(Readable):
    """A function, transformed and compiled when it is called.

    Made by :func:`jitgrad.jit`, :func:`jitgrad.grad` and :func:`jitgrad.value_and_grad`. It can be called from any
    number of threads. As a method it binds its object, which ``argnums`` does not count; an object that is no tree is
    static by identity, and the attributes that the method reads are captured and guarded. One that is a tree (a
    dataclass, a named tuple) is traced like an argument.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        transform: Transform,
        static_argnums: Sequence[int] = (),
        static_argnames: Sequence[str] = (),
        *,
        method: bool = False,
        target: str | None = None,
    ) -> None:
        functools.update_wrapper(self, fun, updated=())
        self.__wrapped__ = fun
        self._fun, self._transform, self._target = fun, transform, target
        if isinstance(fun, Transformed):  # what is static inside is static outside
            static_argnames = (*static_argnames, *fun._signature.static_names)
        self._static = tuple(static_argnums), tuple(static_argnames)
        self._signature = Signature(fun, static_argnums, static_argnames, method=method)
        self._function = describe_function(fun)
        self._fast: dict[Hashable, tuple[Route, ...]] = {}
        self._fast_settings = _config.current()
        self._programs: dict[Hashable, tuple[Specialisation, ...]] = {}
        self._history: list[str] = []
        self._compilations = 0
        self._known, self._lists = KnownLeaves(), GivenLists(packs=transform.packs)
        self._method: Transformed | None = None

    # -- calling ------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if ACTIVITY.count or self._fast_settings is not _config._current:
            return self._call(args, kwargs)
        for unpack, accepts, program in self._fast.get((*map(type, args), *kwargs), ()):
            leaves = unpack(args, kwargs)
            if leaves is None or not accepts(leaves):
                continue
            if program.guards and not program.holds():
                continue
            if program.converters:
                return program.run(program.convert(leaves))
            results = program.call(leaves)
            return results[0] if program.single else program.build(results)
        return self._call(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The general call: any tree of arguments, inside a trace or not."""
        call = self._signature.split(args, kwargs)
        packed = self._lists.packed(call)
        leaves, tree = flatten((packed.args, packed.kwargs))
        if any(isinstance(leaf, Tracer) or is_stand_in(leaf) for leaf in leaves):
            if any(map(is_stand_in, leaves)):
                return self._inline(call, enclosing_trace())
            if isinstance(self._transform, Jit) or has_traced(leaves):
                return self._inline(call, current_trace() or innermost_trace(leaves))
            leaves = unwrap(leaves)  # their contents are known while the function around is traced

        def ready(c: Call) -> tuple[list[Any], Arguments, Specialisation]:
            own = (leaves, tree) if c is packed else _unwrapped(c)
            arguments = self._prepare(c, *own)
            return own[0], arguments, self._program(arguments)

        try:
            taken, arguments, program = self._lists.used(call, packed, ready)
        except CapturesTracer:
            return self._inline(call, enclosing_trace())
        if program.draws and current_trace() is not None:
            return self._inline(call, enclosing_trace())  # it draws when the program around it runs
        if current_recorder() is None and not call.static and packed is call:
            self._remember(args, kwargs, leaves, arguments, program)
        if program.written:
            return adopt(run_and_write(program, taken, arguments.leaves))
        return adopt(program.run(arguments.leaves))

    def _program(self, arguments: Arguments) -> Specialisation:
        """The compiled program for these arguments."""
        program = self._find(arguments) or self._compile(arguments)
        recorder = current_recorder()
        if recorder is not None:  # the result becomes a constant of the function that is being traced
            recorder.merge(program.guards)
        return program

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self
        if self._method is None:
            numbers = tuple(k + 1 if k >= 0 else k for k in self._static[0])
            self._method = type(self)(
                self._fun, self._transform, numbers, self._static[1], method=True, target=self._target
            )
        return BoundTransformed(self._method, obj)

    def __deepcopy__(self, memo: dict[int, Any]) -> Transformed:
        return self  # as a function

    def __reduce__(self) -> Any:
        """Pickled by name where it is found under its name, as a function is; else by what it was made of."""
        found: Any = sys.modules.get(self.__module__)
        name: str = getattr(self, "__qualname__", "")
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is self:
            return name
        made = functools.partial(type(self), target=self._target) if self._target else type(self)
        return made, (self._fun, self._transform, *self._static)

    def __repr__(self) -> str:
        return f"<jitgrad.{self._transform.name} of {self._function.name}>"

    # -- finding and compiling a program ------------------------------------------------------------------------

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        call = self._signature.split(args, kwargs)
        return self._prepare(call, *flatten((call.args, call.kwargs)))

    def _for(self, args: tuple[Any, ...], kwargs: dict[str, Any], use: Callable[[Arguments], T]) -> T:
        """What ``use`` gives for the arguments of a call, as the program takes them."""
        call = self._signature.split(args, kwargs)
        found = self._lists.packed(call)
        return self._lists.used(call, found, lambda c: use(self._prepare(c, *flatten((c.args, c.kwargs)))))

    def _prepare(self, call: Call, leaves: list[Any], tree: optree.PyTreeSpec) -> Arguments:
        keys: list[Hashable] = []
        prepared: list[Any] = []
        on_device = self._where() == "cuda"

        def path() -> str:  # of the leaf that is prepared now
            return f"argument {self._signature.leaf_paths(tree, call)[len(keys)]} of {self._function.name}"

        for leaf in leaves:
            key, value = prepare_leaf(leaf, path, on_device)
            keys.append(key)
            prepared.append(value)
        return Arguments(call, tree, self._known.applied(tree, tuple(keys), prepared), tuple(prepared))

    def _key(self, arguments: Arguments) -> Hashable:
        static = tuple((where, static_key(value)) for where, value in arguments.call.static)
        return (backend_key(), self._where(), arguments.tree, arguments.keys, static)

    def _where(self) -> str:
        """The target: that which was given, else that of the settings."""
        return self._target or _config.current().target

    def _find(self, arguments: Arguments) -> Specialisation | None:
        for program in self._programs.get(self._key(arguments), ()):
            if program.holds():
                return program
        return None

    def _compile(self, arguments: Arguments) -> Specialisation:
        """Trace, transform and compile, unless another thread just did."""
        with _compiling, _collecting_seldom():
            # Another thread may have found which numbers must be known.
            arguments = arguments._replace(keys=self._known.applied(*arguments[1:]))
            found = self._find(arguments)
            if found is not None:
                return found
            arguments, (program, recorder) = self._with_known(arguments, self._build_guarded)
            key = self._key(arguments)
            versions = self._programs.get(key, ())
            changes = [c for c in (first_change(p.guards) for p in versions) if c is not None]
            ignored = recorder.settle()
            program.guards = recorder.guards
            self._compilations += 1
            if changes:
                self._history.append(f"recompiled, because {changes[0]}")
            program.notes += [f"{c} while {self._function.name} was traced: not guarded" for c in ignored]
            program.notes += self._known.notes(
                arguments.tree, arguments.keys, self._signature.leaf_paths(arguments.tree, arguments.call)
            )
            self._programs[key] = (program, *versions)[:_VERSIONS]
            self._forget_with_object(key, arguments.call)
            self._warn_often()
            return program

    def _with_known(self, arguments: Arguments, build: Callable[[Arguments], T]) -> tuple[Arguments, T]:
        """What ``build`` gives for the arguments; where they can't all be traced, for their numbers."""

        def at(keys: Keys) -> T:
            return build(arguments._replace(keys=keys))

        def trace(keys: Keys) -> None:
            self._check_shapes(arguments._replace(keys=keys))

        keys, built, reason = with_least_known(arguments.keys, arguments.leaves, trace, at)
        if reason:
            self._known.keep(arguments.tree, keys, reason)
        return arguments._replace(keys=keys), built

    def _build_guarded(self, arguments: Arguments) -> tuple[Specialisation, Recorder]:
        """The program, and the recorder of what it captured."""

        def build(given: Arguments) -> tuple[Specialisation, Recorder]:
            return with_tables(lambda: opened_if_possible(lambda: (self._build(given, r := Recorder()), r)))

        return with_guess(build, arguments, _compiling)

    def _build(self, arguments: Arguments, recorder: Recorder) -> Specialisation:
        specs = [spec_of(k) for k in arguments.keys]
        traced = self._trace(arguments, specs, recorder, final=isinstance(self._transform, Jit))
        derived = self._transform.derive(traced)
        if self._where() == "cuda" and any(map(any, map(complex_leaves, (arguments.tree, derived.result)))):
            raise UnsupportedError(
                f"{self._function.name} takes or returns complex values, which have no arrays on a device. Pass and "
                "return the real and the imaginary part; inside of the function complex numbers work.",
                self._function.location,
            )
        stages = traced.stages
        if derived.graph is not traced.graph:
            stages.append(("differentiated", derived.graph))
        program = Specialisation(
            stages, specs, arguments.keys, derived.result, recorder.guards, written=traced.written, target=self._where()
        )
        program.notes += (*traced.notes, *derived.notes)
        return program

    def _trace(
        self, arguments: Arguments, specs: Sequence[LeafSpec], recorder: Recorder, *, final: bool = False
    ) -> Traced:
        call, tree = arguments.call, arguments.tree
        paths = self._signature.leaf_paths(tree, call)
        wrt, wrt_trees = self._wrt(call, tree)
        if not isinstance(self._transform, Jit):
            check_wrt([specs[k].type for k in wrt], [paths[k] for k in wrt], self._function, self._transform.name)
        around = current_trace()
        trace = Trace(self._function.name, self._transform.options or (around.options if around else None))
        limit(trace, arguments.keys, paths)
        params = declare(trace, specs, paths)
        values = [_value(k, p) for k, p in zip(arguments.keys, params, strict=True)]
        args, kwargs = unflatten(tree, values)
        recorder.watch_contents([v for _, v in call.static])
        static = tuple((where, recorder.substitute(v)) for where, v in call.static)
        args, kwargs = call._replace(static=static).rebuild(args, kwargs)
        if self._signature.method and args and not is_tree(args[0]):
            recorder.note_self(self._fun, args[0])
        # Under jit the caller's arrays change as they do in NumPy; the others are functions of the values on entry.
        watched = params if isinstance(self._transform, Jit) else ()
        name, unreached = self._function.name, self._transform.unreached
        graph, result, written = run_traced(
            self._fun, trace, recorder, args, kwargs, name, watched, unreached, packs=isinstance(self._transform, Jit)
        )
        if trace.captures:
            raise CapturesTracer
        return Traced.prepared(self._function, graph, result, wrt, wrt_trees, written, trace=trace, final=final)

    def _wrt(self, call: Call, tree: optree.PyTreeSpec) -> tuple[list[int], list[optree.PyTreeSpec]]:
        """The leaves of the differentiated arguments, and the structures of those."""
        positional = optree.treespec_children(optree.treespec_children(tree)[0])
        starts = [0]
        for t in positional:
            starts.append(starts[-1] + t.num_leaves)
        leaves: list[int] = []
        trees: list[optree.PyTreeSpec] = []
        for k in self._argument_positions(call):
            leaves.extend(range(starts[k], starts[k + 1]))
            trees.append(positional[k])
        return leaves, trees

    def _argument_positions(self, call: Call) -> list[int]:
        """The positions, among traced arguments, of those that are differentiated."""
        static = [where for where, _ in call.static if isinstance(where, int)]
        first = 1 if self._signature.method else 0
        if self._transform.argnums is None:
            return list(range(first, len(call.args)))
        numbers = positions(
            self._transform.argnums,
            len(call.args) + len(static) - first,
            self._function,
        )
        for k in numbers:
            if k + first in static:
                raise ArgumentError(
                    f"argnums has {k}, but that argument of {self._function.name} is static. Static arguments are "
                    "constants of the program. Choose another argument, or don't make it static.",
                    self._function.location,
                )
        return [call.position(k + first) for k in numbers]

    # -- inside a trace -----------------------------------------------------------------------------------------

    def _inline(self, call: Call, outer: Trace) -> Any:
        """Add this function's graph to the trace that runs. Only differentiated arguments become its parameters; the
        others, and what it closes over, are what they are outside."""
        recorder = current_recorder() or Recorder()
        args, kwargs = call.rebuild(call.args, call.kwargs)
        if self._signature.method and not is_tree(args[0]):
            recorder.note_self(self._fun, args[0])
        if isinstance(self._transform, Jit):
            before, outer.options = outer.options, self._transform.options or outer.options
            try:
                with running(outer, recorder):
                    return recorder.prepare(self._fun)(*args, **kwargs)
            finally:
                outer.options = before
        traced, inputs = self._trace_inner(call, outer, recorder)
        derived = self._transform.derive(traced)
        for text in (*traced.notes, *derived.notes):
            outer.note(text)
        return unflatten(derived.result, outer.inline(derived.graph, inputs))

    def _trace_inner(self, call: Call, outer: Trace, recorder: Recorder) -> tuple[Traced, list[Tracer]]:
        """Trace the function inside ``outer``; returns it with the outer values for the parameters of its graph."""
        tree = flatten((call.args, call.kwargs))[1]
        paths = self._signature.leaf_paths(tree, call)
        wrt, trees = self._wrt(call, tree)
        names = [paths[k] for k in wrt]
        chosen = self._argument_positions(call)
        lifted = [outer.lift(leaf) for k in chosen for leaf in flatten(call.args[k])[0]]
        check_wrt([t.value.type for t in lifted], names, self._function, self._transform.name)
        inner = Trace(self._function.name, self._transform.options or outer.options)
        params = iter(declare(inner, [LeafSpec(t.type, bool(t.weak), not (t.dims or t.boxed)) for t in lifted], names))
        traced_args = list(call.args)
        for k, shape in zip(chosen, trees, strict=True):
            traced_args[k] = unflatten(shape, [next(params) for _ in range(shape.num_leaves)])
        for k in range(len(call.args)):
            if k not in chosen:
                traced_args[k] = _own_copies(inner, call.args[k])
        args, kwargs = call.rebuild(traced_args, _own_copies(inner, call.kwargs))
        unreached = self._transform.unreached
        graph, result, _ = run_traced(
            self._fun, inner, recorder, args, kwargs, self._function.name, unreached=unreached
        )
        traced = Traced.prepared(self._function, graph, result, range(len(lifted)), trees, trace=inner)
        return traced, lifted + [c for c, _ in inner.captures]

    # -- the cache ----------------------------------------------------------------------------------------------

    def _remember(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        leaves: list[Any],
        arguments: Arguments,
        program: Specialisation,
    ) -> None:
        """Enter the program into the table of the fast path, by the types of the arguments, if the leaves are used as
        they are (but for Python integers)."""
        same = (int, bool, *GENERATORS)
        if any(a is not b and type(b) not in same for a, b in zip(arguments.leaves, leaves, strict=True)):
            halves = complex_leaves(arguments.tree)
            used = zip(arguments.leaves, leaves, halves, strict=True)
            if any(a is not b and type(b) not in same and not half for a, b, half in used):
                return
            if any(halves[k] for k in program.written):  # the halves that the fast way takes are copies
                return
        if self._fast_settings is not _config.current():
            self._fast, self._fast_settings = {}, _config.current()
        tree = flatten((args, kwargs))[1]
        numbered = self._signature.split(*unflatten(tree, range(len(leaves))))
        route = route_to(program, tree, flatten((numbered.args, numbered.kwargs))[0])
        if route is not None:
            key = (*map(type, args), *kwargs)
            others = (r for r in self._fast.get(key, ()) if r.program is not program and r.program.holds())
            self._fast[key] = (route, *others)[:_RECENT]

    def _forget_with_object(self, key: Hashable, call: Call) -> None:
        """Drop the program of a method when its object dies."""
        for _, value in call.static:
            if isinstance(value, Identity) and value.is_weak:
                weakref.finalize(value.object, self._programs.pop, key, None).atexit = False

    def _warn_often(self) -> None:
        limit = _config.current().warn_recompiles
        if limit and self._compilations == limit:
            warnings.warn(
                f"{self._function.name} has been compiled {limit} times, for {len(self._programs)} signatures. Each "
                "new shape, dtype, static value or captured value compiles anew. Pad shapes, or pass what changes as "
                "an argument; explain() lists the reasons.",
                JitgradWarning,
                stacklevel=8,
            )

    def cache_info(self) -> CacheInfo:
        """How many programs there are, and how many were compiled."""
        return CacheInfo(sum(map(len, self._programs.values())), self._compilations, len(self._history))

    def clear_cache(self) -> None:
        """Forget all compiled programs."""
        with _compiling:
            self._fast, self._programs = {}, {}

    # -- reading ------------------------------------------------------------------------------------------------

    def _specialise(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Specialisation:
        return self._for(args, kwargs, lambda arguments: self._find(arguments) or self._compile(arguments))

    def _input_notes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        call = self._signature.split(args, kwargs)
        leaves, tree = flatten((call.args, call.kwargs))
        prepared = self._prepare(call, leaves, tree).leaves
        paths = self._signature.leaf_paths(tree, call)
        return [
            f"argument {path} is copied at each call: {why_converted(leaf)}"
            for path, leaf, used in zip(paths, leaves, prepared, strict=True)
            if used is not leaf and type(leaf) not in (int, bool, *GENERATORS)
        ]

    def traced_graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The graph as it was traced, before differentiation. Nothing is compiled."""
        return self._for(args, kwargs, lambda arguments: self._with_known(arguments, self._trace_alone)[1])

    def result_sizes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
        """How many elements each result has. Nothing is compiled. Raises UnsupportedError where only the run tells."""
        return self._for(args, kwargs, lambda arguments: self._with_known(arguments, self._sizes)[1])

    def _trace_alone(self, arguments: Arguments) -> Graph:
        specs = [spec_of(k) for k in arguments.keys]
        return with_tables(lambda: opened_if_possible(lambda: self._trace(arguments, specs, Recorder()).graph))

    def _check_shapes(self, arguments: Arguments) -> None:
        """Raise UnsupportedError for a result of which it is not known how large it may be."""
        graph = self._trace_alone(arguments)
        check_results(graph, numbers(graph, arguments.keys))

    def _sizes(self, arguments: Arguments) -> list[int]:
        results = self._trace_alone(arguments).results
        for value in results:
            check_result(value)
        return [int(value.type.size) for value in results]  # pyright: ignore[reportArgumentType]


def _unwrapped(call: Call) -> tuple[list[Any], optree.PyTreeSpec]:
    leaves, tree = flatten((call.args, call.kwargs))
    return unwrap(leaves), tree


def _value(key: Hashable, param: Tracer) -> Any:
    """What a traced function gets for a leaf."""
    if is_handle(key):
        return for_handle(param, cast("type", key))
    return key.value if isinstance(key, Known) else param


def _own_copies(trace: Trace, tree: Any) -> Any:
    """Traced arguments that are not differentiated: the inner function may write into them, and the outer arrays stay
    as they are."""
    leaves, shape = flatten(tree)
    if not any(isinstance(leaf, Tracer) for leaf in leaves):
        return tree
    return unflatten(shape, [own_copy(trace, x) if isinstance(x, Tracer) else x for x in leaves])


@contextlib.contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Let the garbage collector run when many objects have been made, not every few hundred: most of those that the
    compiler makes live until it is done, and each time it would look through them and all modules."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], _COLLECTED) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def enclosing_trace() -> Trace:
    """The trace that runs in this thread; there must be one."""
    trace = current_trace()
    if trace is None:
        raise IRError("values of an outer trace were captured where no trace runs. This is a bug in jitgrad.")
    return trace


class BoundTransformed:
    """A transformed method with its object, as ``obj.method`` gives it."""

    def __init__(self, transformed: Transformed, obj: Any) -> None:
        self._transformed, self.__self__ = transformed, obj
        self.__name__ = getattr(transformed, "__name__", "method")
        self.__doc__ = transformed.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._transformed._call((self.__self__, *args), kwargs)

    @property
    def __wrapped__(self) -> Any:
        return self._transformed.__wrapped__.__get__(self.__self__)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._transformed, name)
        if name in ("ir", "source", "llvm", "asm", "explain", "traced_graph"):
            return functools.partial(value, self.__self__)
        return value

    def __repr__(self) -> str:
        return f"<bound {self._transformed!r}>"
