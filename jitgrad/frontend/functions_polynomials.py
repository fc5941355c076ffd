"""``numpy.polynomial`` on traced values: NumPy's own functions and classes, in the rewritten form that traced functions
have.

They are Python code over arrays, which is recorded as any other. Only what looks at the values of coefficients is
replaced: zeros at the high end stay, since whether a traced coefficient is zero is not known while the function is
traced.

Loaded when a program uses ``numpy.polynomial``.
"""

from __future__ import annotations

import abc
import builtins
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import _polybase, chebyshev, hermite, hermite_e, laguerre, legendre, polynomial, polyutils

import jitgrad.numpy as jnp
from jitgrad.errors import ShapeError
from jitgrad.frontend.namespace import Mirror, wrap
from jitgrad.frontend.python_functions import BUILTINS
from jitgrad.frontend.registry import FUNCTIONS, HOOKS
from jitgrad.frontend.syntax import rewrite
from jitgrad.frontend.syntax_nodes import RUNTIME
from jitgrad.ir.location import user_location

#: NumPy's modules, with what the names of their functions begin with, and their classes.
_FAMILIES = {
    polynomial: ("poly", np.polynomial.Polynomial),
    chebyshev: ("cheb", np.polynomial.Chebyshev),
    legendre: ("leg", np.polynomial.Legendre),
    hermite: ("herm", np.polynomial.Hermite),
    hermite_e: ("herme", np.polynomial.HermiteE),
    laguerre: ("lag", np.polynomial.Laguerre),
}
_MODULES = {m.__name__: m for m in (*_FAMILIES, polyutils, _polybase)}


# -- what is replaced --------------------------------------------------------------------------------------------------


def _as_series(alist: Any, trim: bool = True) -> list[Any]:
    """Series of coefficients in one float dtype, with all of their zeros."""
    arrays = [jnp.atleast_1d(jnp.asarray(a)) for a in alist]
    if any(a.ndim != 1 or a.size == 0 for a in arrays):
        raise ShapeError(
            f"coefficients of shapes {', '.join(str(a.shape) for a in arrays)}. A series is one axis of them, and has "
            "at least one. Check the arguments.",
            user_location(),
        )
    dtype = np.common_type(*(np.empty(0, a.dtype) for a in arrays))
    return [jnp.array(a, dtype=dtype, copy=True) for a in arrays]


def _line(module: Any, name: str) -> Callable[..., Any]:
    """``polyline`` and its like: NumPy's have one coefficient where the slope is 0, and two elsewhere."""
    constant, slope = (np.pad(c, (0, 2 - len(c))) for c in (getattr(module, name)(*p) for p in ((1, 0), (0, 1))))

    def line(off: Any, scl: Any) -> Any:
        return off * constant + scl * slope

    return line


def _lengthened(function: Any) -> Callable[..., Any]:
    """Integrals, and products with x: NumPy asks whether the only coefficient is 0. With another one it does not."""

    def of_series(c: Any, *args: Any, **kwargs: Any) -> Any:
        series = jnp.atleast_1d(jnp.asarray(c))
        axis = kwargs.get("axis", args[4] if len(args) > 4 else 0)
        if series.shape[axis] != 1 or args[:1] == (0,) or kwargs.get("m") == 0:
            return function(c, *args, **kwargs)
        series = jnp.concatenate([series, series * 0], axis=axis)
        return jnp.moveaxis(jnp.moveaxis(function(series, *args, **kwargs), axis, 0)[:-1], 0, axis)

    return of_series


def _cut(function: Any) -> Callable[..., Any]:
    """``poly2cheb`` and its like begin with a 0, which NumPy's leave out later."""

    def of_series(pol: Any) -> Any:
        return function(pol)[: jnp.asarray(pol).size]

    return of_series


# -- NumPy's code, rewritten -------------------------------------------------------------------------------------------


@functools.cache
def _scope(name: str) -> dict[str, Any]:
    """The globals of a module of NumPy's, for its rewritten functions."""
    return {
        **vars(_MODULES[name]),
        "__builtins__": dict(vars(builtins)) | BUILTINS | {"__import__": _import},
        RUNTIME: HOOKS["runtime"](),
        "np": jnp,
        "warnings": types.SimpleNamespace(warn=lambda *args, **kwargs: None),  # of fits, when the program runs
    }


def _import(name: str, *args: Any) -> Any:
    """``from .polynomial import polyadd`` in a function of NumPy's."""
    module = builtins.__import__(name, *args)
    known = isinstance(module, types.ModuleType) and module.__name__ in _MODULES
    return types.SimpleNamespace(**_scope(module.__name__)) if known else module


@functools.cache
def _rewritten(function: Any) -> Any:
    """A function that calls others of NumPy's in their rewritten form, too."""
    function = getattr(function, "_implementation", function)  # without NumPy's dispatcher around it
    scope = _scope(function.__module__)
    code = rewrite(function) or function.__code__
    found = types.FunctionType(code, scope, function.__name__, function.__defaults__, function.__closure__)
    found.__kwdefaults__ = function.__kwdefaults__
    return found


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type) and getattr(value, "__module__", None) in _MODULES


def _fill(module: Any) -> None:
    scope = _scope(module.__name__)
    for name, value in vars(module).items():
        if _is_function(value):
            scope[name] = _rewritten(value)
    family = _FAMILIES.get(module, ("",))[0]
    if family:
        scope[f"{family}line"] = _line(module, f"{family}line")
        for name in (f"{family}int", f"{family}mulx", f"poly2{family}"):
            if name in scope:
                scope[name] = (_cut if name.startswith("poly2") else _lengthened)(scope[name])
    scope |= {"as_series": _as_series, "trimseq": lambda seq: seq} if module is polyutils else {}


for _module in _MODULES.values():
    _fill(_module)
for _module in _FAMILIES:
    _scope(_module.__name__)["pu"] = types.SimpleNamespace(**_scope(polyutils.__name__))
_scope(_polybase.__name__)["pu"] = types.SimpleNamespace(**_scope(polyutils.__name__))


# -- classes -----------------------------------------------------------------------------------------------------------


class _OfOne(abc.ABCMeta):
    """The objects of NumPy's class count as such of the class with rewritten methods."""

    def __instancecheck__(cls, obj: Any) -> bool:
        return isinstance(obj, cls.__mro__[1])


def _member(value: Any, module: str) -> Any:
    if isinstance(value, (staticmethod, classmethod)):
        return type(value)(_member(value.__func__, module))
    if _is_function(value):
        return _scope(module).get(value.__name__, None) or _rewritten(value)
    return value


def _reflected(name: str, plain: Any) -> Callable[..., Any]:
    """A polynomial of NumPy's class beside one of this."""

    def operator(self: Any, other: Any) -> Any:
        if isinstance(other, type(self)):
            return getattr(type(self)(other.coef, other.domain, other.window, other.symbol), name)(self)
        return plain(self, other)

    return operator


def _made(init: Any) -> Callable[..., None]:
    """Attributes of a new object need no looking after."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        trace = HOOKS["current_trace"]()
        if trace is not None:
            trace.scope.forget(self)

    return __init__


def _divmod(self: Any, other: Any) -> Any:
    quotient, rest = self._div(self.coef, self._get_coefficients(other))
    given = self.domain, self.window, self.symbol
    return type(self)(quotient, *given), type(self)(rest, *given)


def _converted(convert: Any) -> Callable[..., Any]:
    """NumPy's leave out the zeros that come of multiplying what begins with a 0."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = convert(self, *args, **kwargs)
        found.coef = found.coef[: len(self.coef)]
        return found

    return method


def _class(original: Any) -> Any:
    base = {k: _member(v, _polybase.__name__) for k, v in vars(_polybase.ABCPolyBase).items() if _is_code(v)}
    own = {k: _member(v, original.__module__) for k, v in vars(original).items() if _is_code(v)}
    members = base | own | {"__doc__": original.__doc__, "__module__": original.__module__, "__hash__": None}
    members |= {
        "__init__": _made(members["__init__"]),
        "__divmod__": _divmod,
        "convert": _converted(members["convert"]),
    }
    for name in ("add", "sub", "mul"):
        members[f"__r{name}__"] = _reflected(f"__{name}__", members[f"__r{name}__"])
    return _OfOne(original.__name__, (original,), members)


def _is_code(value: Any) -> bool:
    return isinstance(value, (types.FunctionType, staticmethod, classmethod))


# -- handlers ----------------------------------------------------------------------------------------------------------


def _implement(name: str, module: Any) -> None:
    FUNCTIONS[getattr(module, name)] = _scope(module.__name__)[name]


CLASSES = {original: _class(original) for _, original in _FAMILIES.values()}
for _module, (_family, _original) in _FAMILIES.items():
    _scope(_module.__name__)[_original.__name__] = CLASSES[_original]
    for _name in _module.__all__:
        if _is_function(getattr(_module, _name)) and not _name.endswith((f"{_family}roots", "gauss")):
            _implement(_name, _module)
for _name in ("getdomain", "mapdomain", "mapparms"):
    _implement(_name, polyutils)
_parts = {m.__name__.rpartition(".")[2]: Mirror(m, f"jitgrad.{m.__name__}", {}, {}) for m in (*_FAMILIES, polyutils)}
for _module, (_, _original) in _FAMILIES.items():
    _parts[_module.__name__.rpartition(".")[2]].__dict__[_original.__name__] = CLASSES[_original]
_mirror = Mirror(np.polynomial, "jitgrad.numpy.polynomial", _parts, {c.__name__: c for c in CLASSES.values()})


def stand_in(value: Any) -> Any:
    """What stands for a module, a function, a class or an object of ``numpy.polynomial``; None for anything else."""
    if value is np.polynomial:
        return _mirror
    if isinstance(value, types.ModuleType):
        return _parts.get(value.__name__.rpartition(".")[2])
    if isinstance(value, type):
        return CLASSES.get(value)
    if type(value) in CLASSES:
        HOOKS["current_recorder"]().note_contents(value)
        return CLASSES[type(value)](value.coef, value.domain, value.window, value.symbol)
    return wrap(value) if _is_function(value) and value in FUNCTIONS else None
