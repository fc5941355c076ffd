"""Running a user's function for tracing: with our NumPy in place of NumPy, and a record of all that it captured.

:meth:`Recorder.prepare` copies a function. The copy has the same code, but its globals are a dictionary that looks
names up in the original one when they are first read, notes a guard, and hands out a substitute: ``jitgrad.numpy``
for ``numpy``, our function for a SciPy function that NumPy's protocols can't route, a copy for a function of the
user's own (and so on, as they are called). CPython looks global names up by ``__getitem__`` when the dictionary is of
a subclass of dict, so only names that are really read are noted. Closure variables are noted and substituted at once.

Attributes of objects (``net.w1``) are found in the bytecode, as nobody sees them being read. Functions that can't be
copied (they assign to globals), and methods that are reached through an object, run as they are; what they read is
found in their bytecode as well.

Modules that are not the user's are not guarded, so that the usual ``np`` costs nothing at each call.
"""

from __future__ import annotations

import array
import builtins
import collections
import functools
import inspect
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jitgrad.frontend import control_flow
from jitgrad.frontend.attributes import keeping_globals
from jitgrad.frontend.concrete import captured
from jitgrad.frontend.guards import MISSING, Guard, Same, has_open_attributes, snapshot
from jitgrad.frontend.python_functions import BUILTINS
from jitgrad.frontend.reads import Chain, reads_of
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.syntax import rewrite
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.frontend.usercode import call_method, is_user_class, is_user_function, is_user_module

#: Methods that change a container and tell nothing of what is in it.
_WRITES = frozenset(("append", "extend", "insert", "add", "update", "clear", "appendleft", "write"))
#: Special methods that no operator, call or loop runs.
_NOT_CALLED = frozenset(("__init__", "__new__", "__repr__", "__str__", "__del__", "__reduce__", "__getstate__"))
_CONTAINERS = (
    np.ndarray, bytearray, array.array, list, tuple, collections.deque, dict, types.MappingProxyType, set, frozenset,
)  # fmt: skip
_DATA = (bool, int, float, complex, str, bytes, type(None), np.generic, *_CONTAINERS)


class Recorder:
    """Guards and substitutes of one tracing. ``guards`` is filled while the prepared function runs."""

    def __init__(self) -> None:
        self._guards: dict[tuple[Any, ...], Guard] = {}
        self._copies: dict[int, Any] = {}
        self._globals: dict[int, _Globals] = {}
        self._cells: dict[int, Any] = {}
        self._arrays: dict[int, Any] = {}
        self._watched: set[tuple[int, int]] = set()
        self._names: set[str] = set()  # all attributes and globals that the functions met so far mention
        self._classes: set[type] = set()  # of objects that were found in containers
        self._keep: list[Any] = []  # what ids were taken of

    @property
    def guards(self) -> tuple[Guard, ...]:
        return tuple(self._guards.values())

    def merge(self, guards: Iterable[Guard]) -> None:
        """Take over the guards of another program whose results became constants of this one."""
        for guard in guards:
            self._guards.setdefault((id(guard),), guard)

    def settle(self) -> list[str]:
        """Drop the guards of state that the function itself changed while it was traced; says which."""
        changes = {key: guard.change() for key, guard in self._guards.items()}
        for key, change in changes.items():
            if change is not None:
                del self._guards[key]
        return [change for change in changes.values() if change is not None]

    def drop_gone(self) -> None:
        """Drop the guards of what objects held that have gone, as those that a function makes for itself do: nobody can
        read it any more, and guards would keep it."""
        while gone := [key for key, guard in self._guards.items() if guard.has_gone]:
            for key in gone:
                del self._guards[key]

    # -- guards -------------------------------------------------------------------------------------------------

    def _note(self, key: tuple[Any, ...], name: str, look_up: Callable[[], Any], value: Any, chains: Any) -> None:
        """Guard a value that was found under a name, as far as ``chains`` say that it is read."""
        if key in self._guards or isinstance(value, Tracer) or contains_tracer(value):
            return
        if isinstance(value, types.ModuleType) and not is_user_module(value):
            return
        if isinstance(value, _DATA):
            only_written = chains and all(chain and chain[0] in _WRITES for chain in chains)
            self._guards[key] = Guard(name, look_up, Same(value) if only_written else snapshot(value))
            if not only_written:
                self.watch_contents(value)
            return
        whole = () in chains and has_open_attributes(value)
        if whole:
            self.watch_contents(value)
        self._guards[key] = Guard(name, look_up, snapshot(value) if whole or callable(value) else Same(value))
        if isinstance(value, types.MethodType):
            self.watch(value.__func__, value.__self__, name)
        elif not isinstance(value, types.ModuleType):
            self._note_attributes(value, name, chains)
            call = call_method(value)
            if () in chains and is_user_function(call):
                self.watch(call, value, f"{name}.__call__")

    def _note_attributes(self, obj: Any, name: str, chains: Iterable[Chain]) -> None:
        """Guard the attributes that are read from an object: from its ``__dict__``, its slots or its class.

        The object of a method is not kept alive by that; other objects are, by the guards of the names they have.
        """
        rest: dict[str, set[Chain]] = {}
        for chain in chains:
            if chain:
                rest.setdefault(chain[0], set()).add(chain[1:])
        owner = _reference(obj)
        for attribute, tails in rest.items():
            self._note_attribute(obj, owner, name, attribute, tails)

    def _note_attribute(self, obj: Any, owner: Callable[[], Any], name: str, attribute: str, tails: set[Chain]) -> None:
        described = next((vars(c)[attribute] for c in _lineage(obj) if attribute in vars(c)), None)
        full = f"{name}.{attribute}"
        in_instance = attribute in getattr(obj, "__dict__", {})
        if not in_instance and isinstance(described, property):
            if described.fget is not None:
                self.watch(described.fget, obj, full)
            return
        if not in_instance and isinstance(described, (types.FunctionType, classmethod, staticmethod)):
            function = described if isinstance(described, types.FunctionType) else described.__func__
            bound = obj if isinstance(described, types.FunctionType) and not isinstance(obj, type) else None
            self.watch(function, bound, full)
            cls = obj if isinstance(obj, type) else type(obj)

            def look_up() -> Any:
                found = getattr(cls, attribute)
                return getattr(found, "__func__", found)

            self._guards.setdefault(("method", id(cls), attribute), Guard(full, look_up, snapshot(look_up())))
            return
        if not in_instance and described is None:
            return  # made up by __getattr__: unknown until it runs
        try:
            value = getattr(obj, attribute)
        except AttributeError:
            return
        key = ("attribute", id(obj), attribute)
        self._keep.append(owner)

        def read() -> Any:
            current = owner()
            if current is None:
                raise ReferenceError
            return getattr(current, attribute)

        self._note(key, full, read, value, tails)

    def watch(self, function: Any, bound: Any = None, name: str = "") -> None:
        """Guard what a function reads that runs as it is. ``bound`` is the object that its first parameter holds."""
        if not is_user_function(function):  # as of ``jitgrad.checkpoint``: what it stands for runs
            function = inspect.unwrap(function) if callable(function) else function
        if not is_user_function(function) or (function, id(bound)) in self._watched:
            return
        self._watched.add((function, id(bound)))
        self._keep.append(function)
        self._learn(function.__code__)
        reads = reads_of(function.__code__)
        for global_name, chains in reads.globals.items():
            if global_name in function.__globals__:
                self._note_global(function.__globals__, global_name, chains)
                value = function.__globals__[global_name]
                if is_user_function(value):
                    self.watch(value)
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._note_cell(variable, cell, reads.locals.get(variable, frozenset()))
        self._note_defaults(function)
        if bound is not None:
            self._note_bound(function, bound, name)

    def watch_contents(self, value: Any) -> None:
        """Watch the functions and methods that can be reached through containers, partials and objects of the user's
        classes. They run as they are, and nobody sees how they are taken out and called."""
        seen: set[int] = set()
        pending = [value]
        while pending:
            item = pending.pop()
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, (list, tuple, collections.deque, set, frozenset)):
                pending.extend(item)
            elif isinstance(item, (dict, types.MappingProxyType)):
                pending.extend(item.values())
            elif isinstance(item, functools.partial):
                pending.extend((item.func, *item.args, *item.keywords.values()))
            elif isinstance(item, types.MethodType):
                pending.extend((item.__func__, item.__self__))
            elif is_user_function(item):
                self.watch(item)
            elif has_open_attributes(item):
                pending.extend(vars(item).values())
                self._meet(type(item))

    def _meet(self, cls: type) -> None:
        """Watch the methods of a class that are mentioned somewhere, or that Python calls by itself."""
        self._classes.add(cls)
        for member in _lineage(cls):
            for name, found in vars(member).items():
                if name not in self._names and not (name.startswith("__") and name not in _NOT_CALLED):
                    continue
                if isinstance(found, property):
                    self.watch(found.fget)
                else:
                    self.watch(getattr(found, "__func__", found))

    def _learn(self, code: types.CodeType) -> None:
        """Take note of the names in the code of a function that may run."""
        new = _names_in(code) - self._names
        if new:
            self._names |= new
            for cls in tuple(self._classes):
                self._meet(cls)

    def note_value(self, value: Any, name: str) -> None:
        """Guard what a function reads from an object that it is given."""
        if has_open_attributes(value):
            self._keep.append(value)
            self._note(("value", id(value)), name, lambda: value, value, {()})

    def note_contents(self, value: Any) -> None:
        """Guard all attributes of an object for which another one stands in the traced function."""
        self._keep.append(value)
        self._note(("contents", id(value)), type(value).__name__, lambda: vars(value), vars(value), {()})

    def note_self(self, function: Any, bound: Any) -> None:
        """Guard what a method reads from its object, without keeping the object alive."""
        if is_user_function(function):
            self._note_bound(function, bound, "")

    def _note_bound(self, function: Any, bound: Any, name: str) -> None:
        code = function.__code__
        if not code.co_argcount:
            return
        variable = code.co_varnames[0]
        reads = reads_of(code)
        chains = set(reads.locals.get(variable, ()))
        label = name.rpartition(".")[0] or variable
        if () in chains or reads.uses_super:
            chains.update((attribute,) for attribute in getattr(bound, "__dict__", {}))
        self._note_attributes(bound, label, chains)

    def _note_global(self, scope: dict[str, Any], name: str, chains: Any) -> None:
        key = ("global", id(scope), name)
        self._keep.append(scope)
        self._note(key, name, lambda: scope[name], scope[name], chains)

    def note_absent(self, scope: dict[str, Any], name: str) -> None:
        """Guard that a name is not defined: it was looked up, and the function caught the NameError."""
        self._keep.append(scope)
        key = ("global", id(scope), name)
        self._guards.setdefault(key, Guard(name, lambda: scope.get(name, MISSING), Same(MISSING)))

    def _note_cell(self, name: str, cell: types.CellType, chains: Any) -> None:
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            return
        self._keep.append(cell)
        self._note(("cell", id(cell)), name, lambda: cell.cell_contents, value, chains)

    def _note_defaults(self, function: types.FunctionType) -> None:
        """Guard default values that can change in place; numbers and strings can't."""
        code = function.__code__
        names = code.co_varnames[: code.co_argcount][-len(function.__defaults__ or ()) :]
        defaults = dict(zip(names, function.__defaults__ or (), strict=False)) | (function.__kwdefaults__ or {})
        for name, value in defaults.items():
            if _can_change(value):
                where = f"{function.__name__}({name}=...)"
                self._note(("default", id(function), name), where, lambda v=value: v, value, {()})

    # -- substitution -------------------------------------------------------------------------------------------

    def prepare(self, fun: Any) -> Any:
        """What to call in place of ``fun`` while tracing."""
        if isinstance(getattr(fun, "__globals__", None), _Globals):
            return self._inner(fun)  # prepared already, or made by a function that is
        if isinstance(fun, types.MethodType):
            found = replacement(fun)
            if found is not None:
                return found
            copy = self.prepare(fun.__func__)
            if is_user_function(fun.__func__):
                self.watch(fun.__func__, fun.__self__, f"{type(fun.__self__).__name__}.{fun.__name__}")
            return types.MethodType(copy, fun.__self__)
        if isinstance(fun, functools.partial):
            values = [*fun.args, *fun.keywords.values()]
            self._note(("partial", id(fun)), "partial arguments", lambda: values, values, {()})
            args = map(self.substitute, fun.args)
            return functools.partial(
                self.prepare(fun.func), *args, **{k: self.substitute(v) for k, v in fun.keywords.items()}
            )
        if is_user_function(fun):
            return self._copy(fun)
        call = call_method(fun)
        if is_user_function(call):
            self.watch(call, fun, f"{type(fun).__name__}.__call__")
            return types.MethodType(self._copy(call), fun)
        return self.substitute(fun)

    def substitute(self, value: Any) -> Any:
        """What a name means in a traced function, given what it means outside."""
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if is_user_function(value):
            return self._copy(value)
        if isinstance(value, functools.partial):
            of = value.func
            return self.prepare(value) if is_user_function(of) or replacement(of) is not None else value
        if isinstance(value, types.MethodType) and is_user_function(value.__func__):
            return self.prepare(value)
        if type(value) in (list, tuple, dict):
            return self._container(value)
        if type(value) is np.ndarray:
            return self._array(value)
        found = replacement(value)
        return value if found is None else found

    def _array(self, array: np.ndarray) -> Any:
        """A captured array can be read at traced indices, and its copies can be assigned into."""
        trace = HOOKS["current_trace"]()
        if trace is None:
            return array
        found = self._arrays.get(id(array))
        if found is None:
            self._keep.append(array)
            found = self._arrays[id(array)] = captured(trace, array)
        return found

    def _container(self, value: Any, inside: tuple[int, ...] = ()) -> Any:
        """A container with functions in it that have substitutes becomes a copy with those; any other one is left as it
        is, so that the traced function can write into it."""

        def of(item: Any) -> Any:
            if callable(item):
                return self.substitute(item)
            nested = type(item) in (list, tuple, dict) and id(item) not in inside
            return self._container(item, (*inside, id(value))) if nested else item

        items = list(value.values() if isinstance(value, dict) else value)
        new = list(map(of, items))
        if all(a is b for a, b in zip(items, new, strict=True)):
            return value
        return dict(zip(value, new, strict=True)) if isinstance(value, dict) else type(value)(new)

    def _module(self, module: types.ModuleType) -> Any:
        found = replacement(module)
        if found is not None:
            return found
        if is_user_module(module):
            return _ModuleView(module, self._view(vars(module)).__getitem__)
        if module.__name__.partition(".")[0] == "scipy":
            return _ModuleView(module, lambda name: self.substitute(getattr(module, name)))
        return module

    def _view(self, scope: dict[str, Any]) -> _Globals:
        view = self._globals.get(id(scope))
        if view is None:
            view = self._globals[id(scope)] = _Globals(self, scope)
        return view

    def rewritten(self, fun: Any) -> Any:
        """One of jitgrad's own functions, for it to be recorded as the user's are."""
        return self._copy(fun)

    def _copy(self, fun: Any) -> Any:
        """A copy of a function that sees substitutes; the function itself if it can't be copied."""
        found = self._copies.get(id(fun))
        if found is not None:
            return found
        self._keep.append(fun)
        code = fun.__code__
        self._learn(code)
        reads = reads_of(code)
        if reads.stores_globals:
            found = keeping_globals(fun, reads.stores_globals)
            self._copies[id(fun)] = self._copies[id(found)] = found
            self._keep.append(found)
            self.watch(fun)
            return found
        view = self._view(fun.__globals__)
        view.add_chains(reads.globals)
        view.look_up(reads.in_classes)
        cells: list[Any] = []
        copy: Any
        for name, cell in zip(code.co_freevars, fun.__closure__ or (), strict=True):
            cells.append(cell if name in reads.stored else self._cells.setdefault(id(cell), types.CellType()))
        copy = types.FunctionType(rewrite(fun) or code, view, fun.__name__, fun.__defaults__, tuple(cells))
        copy.__dict__.update(fun.__dict__)
        copy.__qualname__, copy.__module__, copy.__doc__ = fun.__qualname__, fun.__module__, fun.__doc__
        self._copies[id(fun)] = copy
        # Default values mean what names mean: ``lambda x, f=helper: f(x)``.
        copy.__defaults__ = fun.__defaults__ and tuple(map(self.substitute, fun.__defaults__))
        copy.__kwdefaults__ = fun.__kwdefaults__ and {k: self.substitute(v) for k, v in fun.__kwdefaults__.items()}
        # Cells are filled after the copy is known, as a function may be its own closure variable.
        for name, cell, new in zip(code.co_freevars, fun.__closure__ or (), cells, strict=True):
            self._note_cell(name, cell, reads.locals.get(name, frozenset()))
            if new is not cell:
                self._fill(new, cell)
        self._note_defaults(fun)
        return copy

    def _inner(self, fun: Any) -> Any:
        """A function that a prepared one made: as it is, unless it stands in a class, where it is not rewritten yet."""
        if isinstance(fun, types.MethodType):
            return types.MethodType(self._inner(fun.__func__), fun.__self__)
        found = self._copies.get(id(fun))
        if found is None and isinstance(fun, types.FunctionType) and (code := rewrite(fun)) is not None:
            found = types.FunctionType(code, fun.__globals__, fun.__name__, fun.__defaults__, fun.__closure__)
            functools.update_wrapper(found, fun)
            del found.__wrapped__
            found.__kwdefaults__ = fun.__kwdefaults__
            self._keep.append(fun)
            self._copies[id(fun)] = self._copies[id(found)] = found
            self._keep.append(found)
        return fun if found is None else found

    def _fill(self, new: types.CellType, cell: types.CellType) -> None:
        try:
            new.cell_contents = self.substitute(cell.cell_contents)
        except ValueError:  # not assigned yet
            return


class _Globals(dict):
    """The globals of copied functions: filled name by name, as they are read."""

    def __init__(self, recorder: Recorder, scope: dict[str, Any]) -> None:
        names = dict(vars(builtins)) | BUILTINS
        names["__import__"] = functools.partial(_import, recorder)
        name = scope.get("__name__", "__main__")
        super().__init__(__builtins__=names, __name__=name, __jitgrad__=control_flow)
        self._recorder, self._scope = recorder, scope
        self._chains: dict[str, set[Chain]] = {}

    def add_chains(self, reads: dict[str, frozenset[Chain]]) -> None:
        """Say what another function reads from these names."""
        for name, chains in reads.items():
            known = self._chains.setdefault(name, set())
            new = chains - known
            known.update(new)
            if new and name in self:  # read before: see to the new attributes
                value = self._scope.get(name)
                if value is not None and not isinstance(value, (_DATA, types.ModuleType)):
                    self._recorder._note_attributes(value, name, new)

    def look_up(self, names: Iterable[str]) -> None:
        """Fill in names that Python looks up as in a plain dict: those in the bodies of classes."""
        for name in names:
            if name in self._scope:
                self[name]

    def __missing__(self, name: str) -> Any:
        if name not in self._scope and not hasattr(builtins, name):
            self._recorder.note_absent(self._scope, name)
        value = self._scope[name]  # a KeyError sends Python on to the builtins
        self._recorder._note_global(self._scope, name, self._chains.get(name) or {()})
        found = self[name] = self._recorder.substitute(value)
        return found


class _ModuleView(types.ModuleType):
    """A module whose names are looked up by a function."""

    def __init__(self, module: types.ModuleType, look_up: Callable[[str], Any]) -> None:
        super().__init__(module.__name__, module.__doc__)
        self.__dict__["_look_up"] = look_up

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_look_up"](name)
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def _import(recorder: Recorder, name: str, *args: Any, **kwargs: Any) -> Any:
    """``__import__`` inside a traced function."""
    module = builtins.__import__(name, *args, **kwargs)
    return recorder.substitute(module)


@functools.lru_cache(maxsize=4096)
def _names_in(code: types.CodeType) -> frozenset[str]:
    nested = [_names_in(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return frozenset(code.co_names).union(*nested)


def _can_change(value: Any) -> bool:
    """Can the value change in place, or something in it?"""
    if isinstance(value, (tuple, frozenset)):
        return any(map(_can_change, value))
    return isinstance(value, _CONTAINERS) or has_open_attributes(value)


def _reference(obj: Any) -> Callable[[], Any]:
    """A weak reference, where the object has them."""
    try:
        return weakref.ref(obj)
    except TypeError:
        return lambda: obj


def _lineage(obj: Any) -> tuple[type, ...]:
    """The classes in which an attribute of an object is looked up, but for those of Python itself."""
    classes: list[type] = [*(inspect.getmro(obj) if isinstance(obj, type) else ()), *inspect.getmro(type(obj))]
    return tuple(c for c in classes if c is not object and (is_user_class(c) or c.__module__ != "builtins"))


def replacement(value: Any) -> Any:
    """Our module or function for a NumPy or SciPy one; None for anything else."""
    from jitgrad.frontend import substitute_table

    return substitute_table.replacement(value)
