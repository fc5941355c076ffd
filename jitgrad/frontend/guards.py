"""Guards: what a compiled program assumes about values that it captured as constants.

A guard looks a name up again and compares what it finds with a snapshot. Numbers, strings and other immutable values
are compared by type and value; arrays by identity, and by their bytes where anybody may write into them; containers
leaf by leaf; functions, classes and modules by identity. Comparing a writable array costs a pass over it at each call:
big data should be passed as an argument, or be made read-only.
"""

from __future__ import annotations

import array
import collections
import ctypes
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jitgrad.frontend.tracer import Tracer

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "nothing"})()
_IMMUTABLE = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, type(Ellipsis), slice, range)
_SMALL = 2048
#: Classes that are containers of attributes and nothing else.
_NAMESPACES = (types.SimpleNamespace,)

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memcmp.restype = ctypes.c_int


class Snapshot:
    """What a value was. ``change(value)`` is None where it still is that, or says in words what changed."""

    __slots__ = ()

    def change(self, value: Any) -> str | None:
        raise NotImplementedError


class _Holder:
    """The one reference by which all snapshots hold an object, so that who counts references knows theirs."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


#: The holders by the ids of their objects, which live as long as they do.
_HOLDERS: weakref.WeakValueDictionary[int, _Holder] = weakref.WeakValueDictionary()


def references_by_guards(obj: Any) -> int:
    """How many references there are to an object by which guards remember what a name or attribute stood for. Not for
    functions, arrays, and what can't be changed."""
    return int(id(obj) in _HOLDERS)


class Same(Snapshot):
    """The same object."""

    __slots__ = ("holder",)

    def __init__(self, value: Any) -> None:
        found = _HOLDERS.get(id(value))
        self.holder = found or _HOLDERS.setdefault(id(value), _Holder(value))

    @property
    def value(self) -> Any:
        return self.holder.value

    def change(self, value: Any) -> str | None:
        return None if value is self.holder.value else "was rebound"


class Function(Snapshot):
    """The same function, with the same code (notebooks reload code in place)."""

    __slots__ = ("code", "value")

    def __init__(self, value: types.FunctionType) -> None:
        self.value, self.code = value, value.__code__

    def change(self, value: Any) -> str | None:
        if value is not self.value:
            return "was rebound"
        return None if value.__code__ is self.code else "has new code"


class Equal(Snapshot):
    """An immutable value, equal in type and value (a NaN is equal to itself, 0.0 is not -0.0)."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        self.value, self.key = value, _scalar_key(value)

    def change(self, value: Any) -> str | None:
        if value is self.value:
            return None
        if type(value) is type(self.value) and _scalar_key(value) == self.key:
            return None
        return f"changed from {_short(self.value)} to {_short(value)}"


def _scalar_key(value: Any) -> Any:
    if isinstance(value, (float, complex, np.generic)):
        return np.asarray(value).tobytes()
    return (value.start, value.stop, value.step) if isinstance(value, slice) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"another {type(value).__name__}"


def _joined(name: str, change: str) -> str:
    """``a`` and ``[0] was rebound`` make ``a[0] was rebound``."""
    return name + ("" if change[0] in ".[" else " ") + change


class Array(Snapshot):
    """An array: the same object, with the same bytes."""

    __slots__ = ("address", "array", "bytes", "contiguous", "dtype", "pointer", "shape", "size", "strides", "writable")

    def __init__(self, value: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.strides = value, value.shape, value.dtype, value.strides
        self.writable = _is_writable(value)
        self.bytes = value.tobytes() if self.writable else b""
        self.size = len(self.bytes)
        self.contiguous = value.flags.c_contiguous
        if self.writable and self.contiguous and self.size > _SMALL:
            self.address = value.__array_interface__["data"][0]
            self.pointer = ctypes.cast(ctypes.c_char_p(self.bytes), ctypes.c_void_p).value

    def change(self, value: Any) -> str | None:
        if value is not self.array:
            return "was rebound"
        if not self.writable:
            return None
        if value.shape != self.shape or value.dtype != self.dtype or value.strides != self.strides:
            return "changed its shape"
        if self.contiguous and self.size > _SMALL:
            same = _memcmp(self.address, self.pointer, self.size) == 0
        else:
            same = value.tobytes() == self.bytes
        return None if same else "changed its contents"


def _is_writable(array: np.ndarray) -> bool:
    """Can anybody write into it? A read-only view of a writable array, or of foreign memory, can change."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return True
        base = base.base
    return base is not None and not isinstance(base, bytes)


class Raw(Same):
    """A mutable sequence of bytes or numbers: the same object, with the same bytes."""

    __slots__ = ("bytes",)

    def __init__(self, value: bytearray | array.array) -> None:
        super().__init__(value)
        self.bytes = bytes(memoryview(value))

    def change(self, value: Any) -> str | None:
        if value is not self.value:
            return "was rebound"
        return None if bytes(memoryview(value)) == self.bytes else "changed its contents"


class Items(Same):
    """A list, tuple or deque (or a subclass): the same elements in the same order. A mutable one must be the same
    object."""

    __slots__ = ("items",)

    def __init__(self, value: Any, seen: dict[int, Snapshot]) -> None:
        super().__init__(value)
        self.items = [snapshot(v, seen) for v in value]

    def change(self, value: Any) -> str | None:
        if value is not self.value and (type(value) is not type(self.value) or not isinstance(value, tuple)):
            return "was rebound"
        if len(value) != len(self.items):
            return f"changed its length from {len(self.items)} to {len(value)}"
        for k, (item, old) in enumerate(zip(value, self.items, strict=True)):
            change = old.change(item)
            if change is not None:
                return _joined(f"[{k}]", change)
        return None


class Mapped(Same):
    """A dict, or a view of one: the same keys with the same values, in the same order."""

    __slots__ = ("items",)

    def __init__(self, value: Mapping[Any, Any], seen: dict[int, Snapshot]) -> None:
        super().__init__(value)
        self.items = {k: snapshot(v, seen) for k, v in value.items()}

    def change(self, value: Any) -> str | None:
        if value is not self.value:
            return "was rebound"
        if list(value) != list(self.items):
            return "changed its keys"
        for k, old in self.items.items():
            change = old.change(value[k])
            if change is not None:
                return _joined(f"[{k!r}]", change)
        return None


class Members(Same):
    """A set: the same members."""

    __slots__ = ("members",)

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.members = frozenset(value)

    def change(self, value: Any) -> str | None:
        if type(value) is not type(self.value):
            return "was rebound"
        return None if self.members == value else "changed its members"


class Attributes(Same):
    """An object of a user's class, or such a class: the same object, with the same attributes, all the way down, and
    the data that it has from its classes."""

    __slots__ = ("inherited", "items")

    def __init__(self, value: Any, seen: dict[int, Snapshot]) -> None:
        super().__init__(value)
        is_class = isinstance(value, type)
        self.items = {} if is_class else {k: snapshot(v, seen) for k, v in vars(value).items()}
        names = [k for k in class_data(value if is_class else type(value)) if k not in self.items]
        self.inherited = {k: snapshot(getattr(value, k, MISSING), seen) for k in names}

    def change(self, value: Any) -> str | None:
        if value is not self.value:
            return "was rebound"
        attributes = {} if isinstance(value, type) else vars(value)
        if len(attributes) != len(self.items):
            return "gained or lost attributes"
        for name, old in self.items.items():
            change = old.change(attributes.get(name, MISSING))
            if change is not None:
                return _joined(f".{name}", change)
        for name, old in self.inherited.items():
            change = old.change(getattr(value, name, MISSING))
            if change is not None:
                return _joined(f".{name}", change)
        return None


def class_data(cls: type) -> list[str]:
    """Names of the data that instances have from the user's classes among the bases: numbers, arrays, containers."""
    from jitgrad.frontend.usercode import is_user_class

    return [
        name
        for base in cls.__mro__
        if is_user_class(base)
        for name, found in vars(base).items()
        if not name.startswith("__") and not callable(found) and not hasattr(type(found), "__get__")
    ]


class _Pending(Snapshot):
    """Stands for an object that is being visited: a cycle ends here, as the object is compared further up."""

    __slots__ = ()

    def change(self, value: Any) -> str | None:
        return None


def snapshot(value: Any, seen: dict[int, Snapshot] | None = None) -> Snapshot:
    """The snapshot of a value, with all that is reachable from it through containers and objects of user's classes."""
    if isinstance(value, _IMMUTABLE):
        return Equal(value)
    if isinstance(value, Tracer):
        return Same(value)  # in an object that the traced function makes, and nobody will look up again
    if isinstance(value, np.ndarray):
        return Array(value)
    if isinstance(value, types.FunctionType):
        return Function(value)
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = _Pending()
    if isinstance(value, (list, tuple, collections.deque)):
        found: Snapshot = Items(value, seen)
    elif isinstance(value, (bytearray, array.array)):
        found = Raw(value)
    elif isinstance(value, (dict, types.MappingProxyType)):
        found = Mapped(value, seen)
    elif isinstance(value, (set, frozenset)):
        found = Members(value)
    elif has_open_attributes(value) or (isinstance(value, type) and class_data(value)):
        found = Attributes(value, seen)
    else:
        found = Same(value)
    seen[id(value)] = found
    return found


def has_open_attributes(value: Any) -> bool:
    """Is it an instance of a class that the user wrote, with a ``__dict__``?"""
    from jitgrad.frontend.usercode import is_user_class

    if isinstance(value, _NAMESPACES):
        return True
    callables = (type, types.FunctionType, types.MethodType, types.ModuleType)
    return hasattr(value, "__dict__") and not isinstance(value, callables) and is_user_class(type(value))


class Guard:
    """One captured value: its name as the user wrote it, how to look it up again, and what it was.

    ``look_up`` raises ReferenceError where the object that holds the value has gone.
    """

    __slots__ = ("look_up", "name", "snapshot")

    def __init__(self, name: str, look_up: Callable[[], Any], snapshot: Snapshot) -> None:
        self.name, self.look_up, self.snapshot = name, look_up, snapshot

    def change(self) -> str | None:
        """None while the assumption holds; otherwise a sentence."""
        try:
            value = self.look_up()
        except ReferenceError:
            return None  # what nobody can read any more has not changed
        except (AttributeError, KeyError, IndexError, ValueError):
            return f"{self.name} is gone"
        change = self.snapshot.change(value)
        if change is None:
            return None
        return _joined(self.name, change)

    @property
    def has_gone(self) -> bool:
        """Has the object gone that holds the value?"""
        try:
            self.look_up()
        except ReferenceError:
            return True
        except (AttributeError, KeyError, IndexError, ValueError):
            return False
        return False

    def describe(self) -> str:
        """``W: array f64(3, 3), compared at each call``."""
        s = self.snapshot
        if isinstance(s, Array):
            how = "its contents are compared at each call" if s.writable else "read-only"
            return f"{self.name}: array {s.dtype}{s.shape}, {how}"
        value = getattr(s, "value", None)
        if value is MISSING:
            return f"{self.name}: not defined"
        return f"{self.name} = {_short(value)}" if isinstance(s, Equal) else f"{self.name}: {type(value).__name__}"


def first_change(guards: tuple[Guard, ...]) -> str | None:
    """The first failed guard, in words; None if all hold."""
    for guard in guards:
        change = guard.change()
        if change is not None:
            return change
    return None
