"""Random numbers in traced functions: each call of the program draws anew, from the very generators.

Found are generators of the closure and the module, of attributes and arguments, those that the function makes itself,
and the ones behind the functions of ``np.random`` and ``random``. In a traced function a method of theirs emits a
``draw`` (``jitgrad.frontend.random_methods``); nothing is drawn while the function is traced.
"""

from __future__ import annotations

import functools
import operator
import pickle
import random
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import JitgradWarning, UnsupportedError
from jitgrad.frontend.python_functions import CLASSES
from jitgrad.frontend.random_methods import METHODS, Target, drawn
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.generators import GENERATORS, MAKERS, Source, is_generator, new_site
from jitgrad.ir.location import user_location
from jitgrad.ir.types import i64

_GLOBAL: Any = np.random.mtrand._rand  # pyright: ignore[reportAttributeAccessIssue]
_PYTHON: Any = random._inst  # pyright: ignore[reportAttributeAccessIssue]


#: The classes with methods that draw.
_BASES = (np.random.Generator, np.random.RandomState, random.Random)


def kind_of(generator: Any) -> str:
    """Generator, RandomState or Random: whose methods it has."""
    for kind, cls in (("Generator", np.random.Generator), ("RandomState", np.random.RandomState)):
        if isinstance(generator, cls):
            return kind
    return "Random"


def _handle(trace: Trace, generator: Any) -> Tracer:
    """The handle of a generator in a trace."""
    if isinstance(generator, STAND_INS):
        found = object.__getattribute__(generator, "found")
        if isinstance(found, Tracer):
            return trace.lift(found)
        generator = found
    key = ("generator", id(generator))
    value = trace.remembered(key)
    if value is None:
        with trace.emitting_in(trace.top):
            (value,) = trace.emit("generator", (), {"source": Source.of(generator)})
            trace.remember(key, value)
    return Tracer(trace, value)


def draw_from(generator: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``generator.method(*args, **kwargs)``, in a trace or not."""
    trace = HOOKS["current_trace"]()
    if trace is None:
        if isinstance(generator, STAND_INS):
            raise UnsupportedError(
                "a generator of a traced function is used after that was traced. It stands for one that is there only "
                "when the program runs. Keep the generator itself, and not what the traced function has of it.",
                user_location(),
            )
        return getattr(generator, method)(*args, **kwargs)
    return drawn(Target(trace, _handle(trace, generator), kind_of(generator)), method, args, kwargs)


# -- what stands for a generator in a traced function ------------------------------------------------------------------


def _attribute(self: Any, name: str) -> Any:
    if name.startswith("__"):
        return object.__getattribute__(self, name)
    kind = kind_of(self)
    if name in METHODS[kind] or name == "sample":
        return lambda *args, **kwargs: draw_from(self, name, args, kwargs)
    if not hasattr(_EXAMPLES[kind], name):
        raise AttributeError(f"{kind!r} object has no attribute {name!r}")
    raise UnsupportedError(
        f"{name} of a generator is used in a traced function. The generator is there when the program runs; jitgrad "
        "records methods that draw numbers. Use it outside of the function.",
        user_location(),
    )


_EXAMPLES: dict[str, Any] = {
    "Generator": np.random.default_rng(0),
    "RandomState": np.random.RandomState(0),
    "Random": random.Random(0),
}


def _refused(self: Any, *_: Any) -> Any:
    raise UnsupportedError(
        "a generator of a traced function can't be copied. Copy it outside, and pass the copy in.", user_location()
    )


_COMMON = {"__getattribute__": _attribute, "__reduce__": _refused, "__deepcopy__": _refused, "__copy__": _refused}


class TracedGenerator(np.random.Generator):
    """Stands for a Generator: ``found`` is the generator itself, or its handle."""

    def __init__(self, found: Any) -> None:
        super().__init__(np.random.PCG64(0))
        self.found = found


class TracedRandomState(np.random.RandomState):
    """Stands for a RandomState."""

    def __init__(self, found: Any) -> None:
        super().__init__(0)
        self.found = found


class TracedRandom(random.Random):
    """Stands for a random.Random."""

    def __init__(self, found: Any) -> None:
        self.found = found  # Random's own __init__ would seed it


STAND_INS = (TracedGenerator, TracedRandomState, TracedRandom)
_BY_KIND: dict[str, Any] = {"Generator": TracedGenerator, "RandomState": TracedRandomState, "Random": TracedRandom}
for _cls in STAND_INS:
    for _name, _function in _COMMON.items():
        setattr(_cls, _name, _function)


def stand_in(generator: Any) -> Any:
    """What a traced function has in the place of a generator from outside."""
    return _BY_KIND[kind_of(generator)](generator)


def for_handle(handle: Tracer, cls: type) -> Any:
    """What a traced function has in the place of a generator of class ``cls``, with this handle."""
    kind = next(k for k, c in (("Generator", np.random.Generator), ("RandomState", np.random.RandomState),
                               ("Random", random.Random)) if issubclass(cls, c))  # fmt: skip
    return _BY_KIND[kind](handle)


def is_stand_in(obj: Any) -> bool:
    """Whether an object stands for a generator in a traced function."""
    return isinstance(obj, STAND_INS)


def drawing(function: Callable[..., Any]) -> Callable[..., Any]:
    """What to call in the place of a function: a method of a generator emits a draw. Raises UnsupportedError for one of
    an object of a class that changes how generators draw."""
    owner = getattr(function, "__self__", None)
    if not isinstance(owner, _BASES) or is_stand_in(owner) or HOOKS["current_trace"]() is None:
        return function
    name = getattr(function, "__name__", "")
    if is_generator(owner):
        return lambda *args, **kwargs: draw_from(owner, name, args, kwargs)
    if name in METHODS[kind_of(owner)]:
        base = kind_of(owner)
        raise UnsupportedError(
            f"{type(owner).__name__}.{name} draws in a traced function, and {type(owner).__name__} overrides methods "
            f"of {base}. A compiled program calls the methods of the generator itself, and can't see what others make "
            f"of it. Use a plain {base}, with functions that take it.",
            user_location(),
        )
    return function


def refuse_new(function: Any, made: Any) -> None:
    """Raise UnsupportedError for a generator that a function made which is not rewritten: it would go on at the next
    call of the program, where plain Python makes a new one. New is what nothing else holds."""
    if not isinstance(made, _BASES):
        return
    known, holders = made, 4  # the caller's variable, the two of this function, and the parameter of getrefcount
    if is_stand_in(made):
        known, holders = object.__getattribute__(made, "found"), 3  # the stand-in, the variable, and the parameter
    if is_generator(known) and sys.getrefcount(known) <= holders:
        raise UnsupportedError(
            f"{getattr(function, '__name__', function)} makes a generator while a function is traced, once for all "
            "calls of the program. Make it with np.random.default_rng in the function, or outside and use it here.",
            user_location(),
        )


def passed(x: Any) -> Any:
    """What code that is not rewritten gets in the place of a generator, or of a method of one."""
    if is_generator(x):
        return stand_in(x)
    if isinstance(x, (types.BuiltinMethodType, types.MethodType)):
        return drawing(x)
    if type(x) is functools.partial:
        func = passed(x.func)
        args, kwargs = tuple(map(passed, x.args)), {k: passed(v) for k, v in x.keywords.items()}
        same = func is x.func and all(map(operator.is_, (*args, *kwargs.values()), (*x.args, *x.keywords.values())))
        return x if same else functools.partial(func, *args, **kwargs)
    return x


def shared_states() -> tuple[Any, Any]:
    """The states of the generators behind the functions of ``np.random`` and ``random``."""
    return pickle.dumps(_GLOBAL.get_state(legacy=False)), _PYTHON.getstate()


def warn_of_draws(before: tuple[Any, Any], name: str) -> None:
    """Warn if code that is not rewritten has drawn from them since, while ``name`` was traced."""
    if before == shared_states():
        return
    warnings.warn(
        f"random numbers are drawn while {name} is traced, by code that jitgrad does not rewrite (or by another "
        "thread). They become constants of the compiled program, the same ones at each call. Draw them in the "
        "function itself, or outside and pass them in.",
        JitgradWarning,
        stacklevel=3,
    )


# -- generators that the function makes --------------------------------------------------------------------------------


class _BitGenerator:
    """What stands for a bit generator that a traced function makes."""

    def __init__(self, kind: str, seed: Any) -> None:
        self.kind, self.seed = kind, seed


def _made(kind: str, seed: Any) -> Any:
    """A new generator."""
    trace = HOOKS["current_trace"]()
    operands = [] if seed is None else [trace.lift(_seed(kind, seed))]
    (value,) = trace.emit("make_generator", operands, {"kind": kind, "site": new_site()})
    classes = {"RandomState": np.random.RandomState, "Random": random.Random}
    return for_handle(Tracer(trace, value), classes.get(kind, np.random.Generator))


def _seed(kind: str, seed: Any) -> Any:
    """A seed as an integer or an array of integers."""
    traced = isinstance(seed, Tracer) or contains_tracer(seed)
    if not traced:
        try:
            found = np.asarray(seed)
        except (ValueError, OverflowError):
            found = np.asarray(None)
        if isinstance(seed, (np.random.SeedSequence, np.random.BitGenerator)) or found.dtype.kind not in "iub":
            raise UnsupportedError(
                f"{kind} is seeded with a {type(seed).__name__} in a traced function. A program takes integers of 64 "
                "bits, and arrays of them. Make the generator outside, and use it here.",
                user_location(),
            )
        return found.astype(i64) if found.dtype.kind == "b" else seed if isinstance(seed, int) else found
    return seed


def _default_rng(seed: Any = None) -> Any:
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, np.random.RandomState):
        raise UnsupportedError(
            "default_rng of a RandomState in a traced function. Make the generator outside, and use it here.",
            user_location(),
        )
    return _made("default_rng", seed)


def _generator(bit_generator: Any) -> Any:
    if isinstance(bit_generator, _BitGenerator):
        return _made(bit_generator.kind, bit_generator.seed)
    return np.random.Generator(bit_generator)


def _random_state(seed: Any = None) -> Any:
    return np.random.RandomState(seed) if isinstance(seed, np.random.BitGenerator) else _made("RandomState", seed)


def _python_random(x: Any = None) -> Any:
    return _made("Random", x)


def _in_trace(original: Any, traced: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        return (original if HOOKS["current_trace"]() is None else traced)(*args, **kwargs)

    return call


def _of_shared(generator: Any, name: str, original: Any) -> Callable[..., Any]:
    return _in_trace(original, lambda *args, **kwargs: draw_from(generator, name, args, kwargs))


#: Function of ``np.random`` -> the same for traced functions.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _of_shared(_GLOBAL, name, getattr(np.random, name))
    for name in np.random.__all__
    if not isinstance(getattr(np.random, name), type) and name != "default_rng"
}
FUNCTIONS["default_rng"] = _in_trace(np.random.default_rng, _default_rng)
#: Function of ``random`` -> the same for traced functions.
PYTHON_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _of_shared(_PYTHON, name, getattr(random, name))
    for name in random.__all__
    if not isinstance(getattr(random, name), type)
}

CLASSES[np.random.Generator] = _in_trace(np.random.Generator, _generator)
CLASSES[np.random.RandomState] = _in_trace(np.random.RandomState, _random_state)
CLASSES[random.Random] = _in_trace(random.Random, _python_random)
for _kind in MAKERS:
    _bits = getattr(np.random, _kind, None)
    if isinstance(_bits, type) and issubclass(_bits, np.random.BitGenerator):
        CLASSES[_bits] = _in_trace(_bits, lambda seed=None, kind=_kind: _BitGenerator(kind, seed))

__all__ = [
    "FUNCTIONS",
    "GENERATORS",
    "PYTHON_FUNCTIONS",
    "drawing",
    "for_handle",
    "is_stand_in",
    "passed",
    "refuse_new",
    "shared_states",
    "stand_in",
    "warn_of_draws",
]
