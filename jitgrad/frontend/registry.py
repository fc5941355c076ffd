"""The table from NumPy functions to the handlers that run them on traced values.

Handlers register themselves with :func:`implements`; the tracer's ``__array_function__`` and ``jitgrad.numpy`` look
them up here. Handlers of functions that NumPy can't dispatch (``np.zeros``, ``scipy.linalg.solve_triangular``) are in
the same table: ``jitgrad.numpy`` and the substitution of plain NumPy in traced functions reach them.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.complex_pair import asks_for_complex
from jitgrad.ir.location import user_location

F = TypeVar("F", bound=Callable[..., Any])

#: NumPy or SciPy function -> handler with the same parameters.
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
#: NumPy function that writes into its first argument -> handler for any array.
WRITERS: dict[Any, Callable[..., Any]] = {}
#: NumPy function -> why it can't be traced and what to use instead.
ADVICE: dict[Any, str] = {}
#: Filled by ``ufuncs``, ``functions_creation`` and ``jitgrad.tracing``; here so that lower modules need not import
#: them.
HOOKS: dict[str, Callable[..., Any]] = {}

#: NumPy functions that return their argument, the same object, where there is nothing to do.
ALIASING = frozenset(
    (np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray, np.require, np.asarray_chkfinite,
     np.atleast_1d, np.atleast_2d, np.atleast_3d, np.real, np.real_if_close, np.nan_to_num)
)  # fmt: skip

#: NumPy functions whose result lies in memory in the order of their arguments ("K").
IN_ORDER = frozenset(
    (np.where, np.clip, np.round, np.sort, np.cumsum, np.cumprod, np.roll,
     np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.nan_to_num)
)  # fmt: skip

#: NumPy functions of which only NumPy tells in which order their results lie in memory.
LAID_OUT_BY_NUMPY = frozenset(
    (np.sum, np.prod, np.max, np.min, np.any, np.all, np.mean, np.std, np.var, np.ptp, np.average, np.median,
     np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanstd, np.nanvar, np.linalg.norm, np.trapezoid,
     np.concatenate, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack, np.block, np.append, np.pad, np.einsum,
     np.diff, np.gradient)
)  # fmt: skip

_accepted: dict[Any, frozenset[str] | None] = {}

#: Keyword arguments that mean nothing for traced values when they have these values.
_IGNORABLE: dict[str, tuple[Any, ...]] = {
    "order": ("K", "C", "A", None),
    "casting": ("same_kind", "safe"),
    "subok": (True, False),
    "like": (None,),
    "kind": (None, "quicksort", "stable", "mergesort", "heapsort"),
    "stable": (None, True, False),
    "device": (None, "cpu"),
    "optimize": (True, False, "greedy", "optimal"),
    "where": (True,),
    "overwrite_input": (True, False),
    "overwrite_a": (True, False),
    "overwrite_b": (True, False),
    "check_finite": (True, False),
}


def implements(*functions: Any) -> Callable[[F], F]:
    """Decorator: the function handles these NumPy or SciPy functions for traced values.

    None is skipped: it stands for a function that the installed version does not have.
    """

    def decorate(handler: F) -> F:
        for function in functions:
            if function is not None:
                FUNCTIONS[function] = handler
        return handler

    return decorate


def qualified_name(function: Any) -> str:
    """``np.linalg.norm``, ``scipy.special.erf``: the name a user writes."""
    module = getattr(function, "__module__", None) or ("scipy.special" if isinstance(function, np.ufunc) else "")
    module = ".".join(part for part in module.split(".") if not part.startswith("_"))
    name = getattr(function, "__name__", repr(function))
    if module == "scipy.stats" and isinstance(function, types.MethodType):
        of = function.__self__
        name = f"{getattr(of, 'name', None) or type(of).__name__.removesuffix('_gen')}.{name}"
    if isinstance(function, np.ufunc) and getattr(np, name, None) is function:
        module = "numpy"
    return f"{module}.{name}".replace("numpy.", "np.", 1) if module else name


def unsupported(function: Any) -> UnsupportedError:
    """The error for a function without a handler."""
    name = qualified_name(function)
    if isinstance(function, np.ufunc) and name.endswith("(vectorized)"):
        return UnsupportedError(
            f"{function.__name__}, which np.frompyfunc made, is not supported on traced values: it tells nobody its "
            "Python function. Call np.frompyfunc inside the traced function, or use np.vectorize.",
            user_location(),
        )
    advice = ADVICE.get(function, "Write it with supported functions, or compute it outside the traced function.")
    return UnsupportedError(f"{name} is not supported on traced values. {advice}", user_location())


def call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function's handler, or NumPy's function where the contents of all arrays are known. Raises
    UnsupportedError for an unknown function or keyword argument."""
    if asks_for_complex(args, kwargs):
        return HOOKS["complex_call"](function, args, kwargs)
    if function in WRITERS:
        return WRITERS[function](*args, **kwargs)
    out = kwargs.get("out")
    if out is not None:
        result = call(function, args, {k: v for k, v in kwargs.items() if k != "out"})
        return HOOKS["write_out"](out, result, qualified_name(function))
    prepared = HOOKS["prepared"](args, kwargs)
    if prepared is not None:
        traced, args, kwargs = prepared
        if not traced:
            return HOOKS["run"](function, args, kwargs)
    handler = FUNCTIONS.get(function)
    if handler is None:
        raise unsupported(function)
    kwargs = accepted_by(handler, function, kwargs)
    return _finished(function, _run(function, handler, args, kwargs), args, kwargs)


def accepted_by(handler: Callable[..., Any], function: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments that the handler of a function takes. Raises UnsupportedError for one that it does not take
    and that matters."""
    accepted = _accepted_keywords(handler)
    if accepted is None or all(k in accepted for k in kwargs):
        return kwargs
    kept = {}
    for name, value in kwargs.items():
        if name in accepted:
            kept[name] = value
        elif not ignorable(name, value):
            raise unsupported_argument(qualified_name(function), name)
    return kept


def _finished(function: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if function in IN_ORDER:
        operands = (b for a in args for b in (a if isinstance(a, (list, tuple)) else (a,)))
        HOOKS["laid_out_like"](result, operands)
    elif function in LAID_OUT_BY_NUMPY:
        HOOKS["laid_out_by"](function, result, args, kwargs)
    return result if function in ALIASING else fresh(result, args)


def _run(function: Any, handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return handler(*args, **kwargs)
    except TypeError as error:
        if "IndexExpr" not in str(error):
            raise
        # The handler compared an extent, or made a list of that length.
        raise UnsupportedError(
            f"{qualified_name(function)} needs to know the extents of its arguments while the function is traced, and "
            "one of them depends on a traced integer. Write it with functions that work element by element, with "
            "reductions and products, or with a loop.",
            user_location(),
        ) from None


def fresh(result: Any, args: Any) -> Any:
    """A new handle where the result is one of the arguments: in-place operators on it must not reach the argument."""
    for a in args:
        if result is a and hasattr(result, "owner"):
            return result.__copy__()
        if isinstance(a, (list, tuple)) and any(result is b for b in a):
            return result.__copy__()
    return result


def ignorable(name: str, value: Any) -> bool:
    """True for a keyword argument that is at its default, or that does not matter for traced values."""
    if value is None or value is np._NoValue:  # pyright: ignore[reportAttributeAccessIssue]
        return True
    return isinstance(value, (bool, str)) and any(value is v or value == v for v in _IGNORABLE.get(name, ()))


def unsupported_argument(function: str, argument: str) -> UnsupportedError:
    """The error for an argument that can't be traced."""
    return UnsupportedError(
        f"{function} on traced values does not take {argument}=. The traced form of the function has no such argument. "
        "Leave it out, or apply its effect separately (np.where for where=, astype for dtype=).",
        user_location(),
    )


def _accepted_keywords(handler: Callable[..., Any]) -> frozenset[str] | None:
    if handler not in _accepted:
        parameters = inspect.signature(handler).parameters.values()
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
        _accepted[handler] = None if anything else frozenset(p.name for p in parameters)
    return _accepted[handler]
