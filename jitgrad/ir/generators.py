"""Generators of random numbers as programs see them, and what the ops of ``jitgrad.ops.random`` do when they run.

A program holds a generator as a handle, an int64: the address of the Python object (its ``id``). Whoever runs a program
keeps those objects alive that he passes in; a :class:`Source` does that for those that a traced function found in its
closure, and a table of the thread for those that a program makes itself.

The numbers are drawn by the methods of the very object, so they are NumPy's, in NumPy's order, and the methods take the
lock of their generator as always.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import pickle
import random
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

#: The generators behind the functions of ``np.random`` and ``random``, which every process has.
_SHARED: dict[str, Any] = {"np.random": np.random.mtrand._rand, "random": random._inst}

_BIT_GENERATORS: dict[str, Callable[..., Any]] = {
    name: getattr(np.random, name) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
}
#: The classes that a program can draw from.
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, random.SystemRandom)
#: What makes a generator, by the name of its kind. Each takes a seed, or nothing.
MAKERS: dict[str, Callable[..., Any]] = {
    "default_rng": np.random.default_rng,
    "RandomState": np.random.RandomState,
    "Random": random.Random,
    **{
        name: lambda *seed, make=make: np.random.Generator(make(*seed))  # pyright: ignore[reportArgumentType]
        for name, make in _BIT_GENERATORS.items()
    },
}
#: Bytes that the state of one generator takes at most.
STATE_BYTES = 6144


def is_generator(obj: Any) -> bool:
    """Whether a program can draw from an object: it is of one of these classes, or of one derived from them that leaves
    their methods as they are."""
    return type(obj) in GENERATORS or (isinstance(obj, GENERATORS) and _leaves_methods(type(obj)))


@functools.cache
def _leaves_methods(cls: type) -> bool:
    lineage = cls.__mro__
    base = next(c for c in lineage if c in GENERATORS)
    own = {name for c in lineage[: lineage.index(base)] for name in vars(c)}
    public = {name for name in dir(base) if not name.startswith("_")}
    return own.isdisjoint(public | {"__getattribute__", "__getattr__", "_randbelow"})


class Source:
    """A generator that a traced function found outside: an attribute of an op. ``array`` holds the handle, which is
    read when the program runs: code has no addresses in it."""

    __slots__ = ("__weakref__", "array", "generator", "number")
    _known: weakref.WeakValueDictionary[int, Source] = weakref.WeakValueDictionary()
    _count = 0
    _lock = threading.Lock()

    def __init__(self, generator: Any, number: int) -> None:
        self.generator, self.number = generator, number
        self.array = np.array([id(generator)], np.int64)
        self.array.flags.writeable = False

    @classmethod
    def of(cls, generator: Any) -> Source:
        """The one of a generator."""
        with cls._lock:
            found = next((s for s in list(cls._known.values()) if s.generator is generator), None)
            if found is None:
                cls._count += 1
                found = cls._known[cls._count] = cls(generator, cls._count)
            return found

    @property
    def text(self) -> str:
        """How it prints: ``PCG64 3``."""
        return f"{self.kind} {self.number}"

    @property
    def kind(self) -> str:
        """The text without what tells it from other generators of this process."""
        name = next((k for k, g in _SHARED.items() if g is self.generator), None)
        return name or type(getattr(self.generator, "_bit_generator", self.generator)).__name__

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Source:
        """The one that prints as this text, in this process. Raises ValueError."""
        found = re.fullmatch(r"(.+) ([0-9]+)", text)
        if found and found[1] in _SHARED:
            return cls.of(_SHARED[found[1]])
        source = cls._known.get(int(found[2])) if found else None
        if source is None or source.text != text:
            raise ValueError("no generator of this process, or one that nobody holds any more")
        return source


def handle(generator: Any) -> np.int64:
    """The handle of a generator, for as long as somebody holds that."""
    return np.int64(id(generator))


def generator_of(number: int) -> Any:
    """The generator with a handle."""
    return ctypes.cast(number, ctypes.py_object).value


_sites = itertools.count()


def new_site() -> int:
    """A number for an op that makes generators, which no other has."""
    return next(_sites)


class _Made(threading.local):
    """The generators that programs of this thread have made last, by the number of the op."""

    def __init__(self) -> None:
        self.by_site: dict[int, Any] = {}


_made = _Made()


def make(kind: str, site: int, seed: np.ndarray | None = None) -> np.int64:
    """Make a generator; the handle is good until the same op of a program makes another one."""
    arguments = () if seed is None else (seed.item() if seed.ndim == 0 else seed,)
    if kind in ("default_rng", *_BIT_GENERATORS) and seed is not None and seed.ndim:
        arguments = (list(map(int, seed)),)
    made = _made.by_site[site] = MAKERS[kind](*arguments)
    return handle(made)


def saved(handles: Sequence[int], nbytes: int) -> np.ndarray:
    """The states of generators, as bytes. Two handles of one generator stay two of one."""
    data = pickle.dumps([generator_of(int(h)) for h in handles], pickle.HIGHEST_PROTOCOL)
    if len(data) > nbytes:
        raise ValueError(
            f"the state of a generator takes {len(data)} bytes, more than the {nbytes} that there is room for. A loop "
            "that runs again in reverse saves it. Use one of NumPy's own bit generators."
        )
    found = np.zeros(nbytes, np.uint8)
    found[: len(data)] = np.frombuffer(data, np.uint8)
    return found


def restored(state: np.ndarray, site: int) -> list[np.int64]:
    """The handles of new generators in the states that :func:`saved` found."""
    found = _made.by_site[site] = pickle.loads(state.tobytes())
    return [handle(g) for g in found]


# -- drawing -----------------------------------------------------------------------------------------------------------

#: An argument of a method: its name ("" where it is passed by position), and its value; None stands for an operand.
Argument = tuple[str, Any]


class Draw:
    """A call of a method of a generator: ``draw(handle, operands)`` gives the result as an array, None for a method
    that has none. ``dtype`` and ``shape`` are those of the result."""

    def __init__(
        self, method: str, args: Sequence[Argument], dtype: np.dtype | None = None, shape: tuple[int, ...] = ()
    ) -> None:
        self.method, self.dtype, self.shape = method, dtype, tuple(shape)
        self.call = _CALLS.get(method)
        self.positional: list[Any] = []
        self.named: dict[str, Any] = {}
        self.places: list[int | str] = []
        for name, value in args:
            value = tuple(value) if isinstance(value, list) else value
            if name:
                self.named[name] = value
            if value is None:
                self.places.append(name or len(self.positional))
            if not name:
                self.positional.append(value)

    def __call__(self, generator: Any, operands: Sequence[np.ndarray]) -> Any:
        """The result as the method gives it."""
        positional, named = self.positional, self.named
        if self.places:
            positional, named = list(positional), dict(named)
            for place, x in zip(self.places, operands, strict=True):
                value = x.item() if x.ndim == 0 else x
                if isinstance(place, str):
                    named[place] = value
                else:
                    positional[place] = value
        if self.call is not None:
            return self.call(generator, *positional, **named)
        return getattr(generator, self.method)(*positional, **named)

    def bound(self, generator: Any) -> Callable[[], Any]:
        """The call without operands as a function without arguments."""
        if self.call is not None:
            return functools.partial(self.call, generator, *self.positional, **self.named)
        method = getattr(generator, self.method)
        return functools.partial(method, *self.positional, **self.named) if self.positional or self.named else method

    def array(self, generator: Any, operands: Sequence[np.ndarray]) -> np.ndarray:
        """The result as an array of the known dtype and shape."""
        found = np.asarray(self(generator, operands))
        if found.dtype != self.dtype:
            found = found.astype(self.dtype)
        if found.shape != self.shape:
            raise ValueError(f"{self.method} gave an array of shape {found.shape} where {self.shape} was expected")
        return np.ascontiguousarray(found).reshape(self.shape)


def _order(generator: Any, *, n: int) -> np.ndarray:
    """The order into which ``shuffle`` brings an array of length ``n``."""
    order = np.arange(n)
    generator.shuffle(order)
    return order


def _places(generator: Any, *, extents: tuple[int, ...], how: str, axis: int | None = None) -> np.ndarray:
    """Where each element of an array of these extents comes from, by its number, in ``permuted`` or ``permutation``."""
    numbers = np.arange(int(np.prod(extents))).reshape(extents)
    return getattr(generator, how)(numbers, axis=axis)


def _list_order(generator: Any, *, n: int) -> np.ndarray:
    order = list(range(n))
    generator.shuffle(order)
    return np.asarray(order, np.int64).reshape(n)


def _list_sample(generator: Any, *, n: int, k: int) -> np.ndarray:
    return np.asarray(generator.sample(range(n), k), np.int64).reshape(k)


def _list_choices(generator: Any, *, n: int, k: int) -> np.ndarray:
    return np.asarray(generator.choices(range(n), k=k), np.int64).reshape(k)


def _list_choice(generator: Any, *, n: int) -> int:
    return generator.choice(range(n))


#: What is no plain method, by the name that it has as an attribute of a draw.
_CALLS: dict[str, Callable[..., Any]] = {
    "shuffle order": _order,
    "places": _places,
    "list order": _list_order,
    "list sample": _list_sample,
    "list choices": _list_choices,
    "list choice": _list_choice,
}
