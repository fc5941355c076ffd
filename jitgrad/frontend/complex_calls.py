"""NumPy functions with complex arguments.

Most are computed by the function itself, once for the real and once for the imaginary parts: those that put elements
elsewhere (``reshape``, ``concatenate``, ``where``), and those that are linear (``sum``, ``diff``, ``interp``).
:data:`LINEAR` says which of their parameters hold numbers; the others are the same for both. Products (``matmul``,
``einsum``) are sums of products of parts. What is neither has a function in :data:`SPECIAL` (``complex_functions``,
``complex_linalg``), and all others are refused by name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, UnsupportedError
from jitgrad.frontend.complex_pair import PARTS, Pair, holds_complex, is_complex, names_complex
from jitgrad.frontend.complex_tracer import make, parts
from jitgrad.frontend.complex_ufuncs import compute, refused
from jitgrad.frontend.concrete import adopt, made_writable, unwrap
from jitgrad.frontend.registry import (
    ADVICE,
    FUNCTIONS,
    HOOKS,
    WRITERS,
    accepted_by,
    call,
    qualified_name,
    unsupported,
)
from jitgrad.frontend.tracer import Tracer, contains_tracer, has_traced
from jitgrad.ir.location import user_location

Function = Callable[..., Any]

#: Function -> the parameters of its handler that hold numbers.
LINEAR: dict[Any, tuple[str, ...]] = {}
#: Function of two operands in which it is linear -> which of them is conjugated: 0, 1, or None.
BILINEAR: dict[Any, int | None] = {}
#: Function -> the function for complex arguments. They take what NumPy's takes.
SPECIAL: dict[Any, Function] = {}

_FIRST = """reshape ravel transpose swapaxes moveaxis rollaxis squeeze expand_dims flip fliplr flipud rot90 roll tile
repeat resize broadcast_to copy diag diagonal diagflat trace tril triu take take_along_axis delete split array_split
hsplit vsplit dsplit unstack matrix_transpose mean cumsum cumulative_sum around round nan_to_num average trapezoid
gradient polyder concatenate stack vstack hstack dstack column_stack block"""
for _name in _FIRST.split():
    LINEAR[getattr(np, _name)] = ()
for _function in (np.linalg.diagonal, np.linalg.trace, np.linalg.matrix_transpose):
    LINEAR[_function] = ()
LINEAR[np.lib.stride_tricks.sliding_window_view] = ()
LINEAR |= {
    np.sum: ("a", "initial"),
    np.diff: ("a", "prepend", "append"),
    np.ediff1d: ("ary", "to_end", "to_begin"),
    np.interp: ("fp", "left", "right"),
    np.polyint: ("p", "k"),
    np.polyadd: ("a1", "a2"),
    np.polysub: ("a1", "a2"),
    np.append: ("arr", "values"),
    np.insert: ("arr", "values"),
    np.pad: ("array", "constant_values", "end_values"),
    np.where: ("x", "y"),
    np.select: ("choicelist", "default"),
    np.choose: ("choices",),
    np.compress: ("a",),
    np.extract: ("arr",),
    np.meshgrid: ("xi",),
    np.broadcast_arrays: ("args",),
    np.atleast_1d: ("arys",),
    np.atleast_2d: ("arys",),
    np.atleast_3d: ("arys",),
    np.linspace: ("start", "stop"),
    np.full: ("fill_value",),
    np.array: ("object",),
    np.asarray: ("a",),
    np.asanyarray: ("a",),
    np.ascontiguousarray: ("a",),
    np.asfortranarray: ("a",),
    np.require: ("a",),
}
LINEAR |= dict.fromkeys((np.zeros, np.empty, np.eye, np.identity, np.arange), ("",))

for _name in ["dot", "inner", "outer", "tensordot", "kron", "convolve", "polymul", "cross", "matmul", "matvec"]:
    BILINEAR[getattr(np, _name)] = None
for _name in ["matmul", "outer", "tensordot", "cross"]:
    BILINEAR[getattr(np.linalg, _name)] = None
BILINEAR |= {np.vdot: 0, np.vecdot: 0, np.linalg.vecdot: 0, np.vecmat: 0, np.correlate: 1}

#: Functions that give one result an argument.
_SEPARATE = (np.meshgrid, np.broadcast_arrays, np.atleast_1d, np.atleast_2d, np.atleast_3d)
#: Functions that only look at dtypes and shapes, and what stands for a complex array there.
_OF_KIND = frozenset((np.result_type, np.can_cast, np.common_type, np.min_scalar_type, np.isscalar, np.iscomplexobj,
                      np.isrealobj))  # fmt: skip
_OF_SHAPE = frozenset((np.shape, np.ndim, np.size, np.diag_indices_from, np.tril_indices_from, np.triu_indices_from))


def special(*functions: Any) -> Callable[[Function], Function]:
    """Decorator: the function computes these NumPy functions of complex arguments."""

    def decorate(function: Function) -> Function:
        for f in functions:
            SPECIAL[f] = function
        return function

    return decorate


def complex_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a NumPy function with complex values among its arguments, or for a complex dtype. Raises UnsupportedError."""
    if function in WRITERS:
        return _write(function, args, kwargs)
    out = kwargs.get("out")
    if out is not None:
        result = call(function, args, {k: v for k, v in kwargs.items() if k != "out"})
        return write_out(out, result, qualified_name(function))
    if function in _OF_SHAPE:
        return call(function, *_of_parts(args, kwargs, 0))
    if function in LINEAR:
        return _linear(function, args, kwargs)
    if not has_traced(args) and not has_traced(kwargs):
        return adopt(function(*unwrap(args), **unwrap(kwargs)))
    if function in _OF_KIND:
        return function(*(_kind_of(a) for a in args), **{k: _kind_of(v) for k, v in kwargs.items()})
    if isinstance(function, np.ufunc) and function not in FUNCTIONS:
        return compute(function, *args, **kwargs)
    if function in SPECIAL:
        return SPECIAL[function](*args, **accepted_by(SPECIAL[function], function, kwargs))
    if function in BILINEAR:
        return _bilinear(function, args, kwargs)
    if function not in FUNCTIONS or function in ADVICE:
        raise unsupported(function)
    raise refused(function)


def _kind_of(x: Any) -> Any:
    if isinstance(x, (Tracer, Pair)):
        weak: Any = {"int": 0, "float": 0.0, "complex": 0j, "bool": False}
        return weak[x.weak] if x.weak else np.empty((0,) * x.ndim, x.dtype)
    return x


# -- part by part ------------------------------------------------------------------------------------------------------


def _of_parts(args: tuple[Any, ...], kwargs: dict[str, Any], which: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with one part of each complex value, 0 or 1."""
    return tuple(part_of(a, which) for a in args), {k: part_of(v, which) for k, v in kwargs.items()}


def part_of(x: Any, which: int, *, number: bool = False) -> Any:
    """One part, 0 or 1, of complex values in nested lists. The imaginary part of a real one, where it is a ``number``,
    is zero."""
    if isinstance(x, (list, tuple)):
        found = [part_of(v, which, number=number) for v in x]
        return type(x)(*found) if hasattr(x, "_fields") else type(x)(found)
    if is_complex(x):
        return parts(x)[which]
    if not number or which == 0 or x is None:
        return x
    if isinstance(x, Tracer) or np.ndim(x):
        return call(np.zeros_like, (x,), {}) if isinstance(x, Tracer) else np.zeros_like(x)
    return 0.0 if type(x) in (bool, int, float) else type(x)(0)


@functools.cache
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(FUNCTIONS[function])


def _linear(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The function of the real parts, and of the imaginary parts."""
    name = qualified_name(function)
    bound = _signature(function).bind(*args, **accepted_by(FUNCTIONS[function], function, kwargs))
    names = LINEAR[function] or (next(iter(bound.signature.parameters)),)
    given, wanted = bound.arguments, None
    extra = given.get("kwargs") or {}  # of a handler that takes any
    dtype = given.get("dtype")
    if dtype is not None:
        wanted = np.dtype(dtype)
        if wanted not in PARTS:
            raise drops_imaginary(name, wanted)
        given["dtype"] = PARTS[wanted]
    _check_linear(function, given, extra, names)
    results = []
    for which in (0, 1):
        here = {k: part_of(v, which, number=True) if k in names else v for k, v in given.items()}
        if extra:
            here["kwargs"] = {k: part_of(v, which, number=k in names) for k, v in extra.items()}
        if names == ("",) and which:
            results.append(call(np.zeros_like, (results[0],), {}))
            continue
        one = inspect.BoundArguments(bound.signature, here)
        results.append(call(function, one.args, one.kwargs))
    if function in _SEPARATE and not isinstance(results[0], Tracer):
        several = zip(map(as_whole, given[names[0]]), *results, strict=True)
        found = [_paired(a, b, given) if is_complex(x) else a for x, a, b in several]
        return tuple(found) if isinstance(results[0], tuple) else found
    return _paired(results[0], results[1], given)


def _check_linear(function: Any, given: Any, extra: dict[str, Any], names: Sequence[str]) -> None:
    """Raise UnsupportedError where a complex value stands for a parameter that is the same for both parts, or the
    function is not linear for its options."""
    for parameter, value in {**given, **extra}.items():
        if parameter not in names and parameter != "kwargs" and holds_complex(value):
            raise UnsupportedError(
                f"{qualified_name(function)} with a complex value for {parameter} is not supported on traced values. "
                "Give a real one, or write it with products and sums.",
                user_location(),
            )
    if function in (np.pad, np.insert) and not holds_complex(given[names[0]]):
        raise drops_imaginary(qualified_name(function), "the dtype of the array")
    nonlinear = function is np.pad and given.get("mode") in ("maximum", "minimum", "median")
    if nonlinear or (function is np.average and given.get("returned")):
        raise refused(function, "With these options it is no sum of its argument's elements.")
    if function is np.where and given.get("x") is None:
        raise refused(function, "Its condition is complex: compare it with 0.")


def _paired(re: Any, im: Any, given: Any) -> Any:
    """The complex results of which these are the parts."""
    if isinstance(re, (list, tuple)):
        found = [_paired(a, b, given) for a, b in zip(re, im, strict=True)]
        return type(re)(*found) if hasattr(re, "_fields") else type(re)(found)
    for x in given.values():
        if isinstance(x, Pair) and x.re is re and x.im is im:
            return x
    if not isinstance(re, (Tracer, np.ndarray)):
        return make(re, im)
    return adopt(make(re, im))


def drops_imaginary(name: str, dtype: Any) -> DtypeError:
    """The error for a complex value that is converted to a real dtype."""
    return DtypeError(
        f"{name} converts complex values to {dtype}, which drops the imaginary part (NumPy warns of that). Take the "
        "real part, z.real, if that is meant.",
        user_location(),
    )


# -- products ----------------------------------------------------------------------------------------------------------


def product(compute: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """The value at ``a`` and ``b`` of a function that is linear in either."""
    (p, q), (r, s) = parts(a), parts(b)
    if not is_complex(a):
        return make(compute(p, r), compute(p, s))
    if not is_complex(b):
        return make(compute(p, r), compute(q, r))
    return make(compute(p, r) - compute(q, s), compute(p, s) + compute(q, r))


def conjugated(x: Any) -> Any:
    return compute(np.conjugate, x) if is_complex(x) and has_traced(x) else np.conjugate(x) if is_complex(x) else x


def as_whole(x: Any) -> Any:
    """A list as an array."""
    if not isinstance(x, (list, tuple)):
        return x
    return call(np.array, (x,), {}) if contains_tracer(x) else np.asarray(x)


def _bilinear(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    a, b, *rest = (as_whole(x) if k < 2 else x for k, x in enumerate(args))
    conjugate = BILINEAR[function]
    a, b = conjugated(a) if conjugate == 0 else a, conjugated(b) if conjugate == 1 else b
    kwargs = accepted_by(FUNCTIONS[function], function, kwargs)
    dtype = kwargs.get("dtype")
    kwargs = {k: v for k, v in kwargs.items() if k != "dtype"}
    if dtype is not None and not names_complex(np.dtype(dtype)):
        raise drops_imaginary(qualified_name(function), np.dtype(dtype))
    if holds_complex(rest) or holds_complex(kwargs):
        raise refused(function)
    result = product(lambda x, y: call(function, (x, y, *rest), kwargs), a, b)
    return result if dtype is None else result.astype(dtype)


# -- writing -----------------------------------------------------------------------------------------------------------


def _write(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """``np.copyto``, ``np.put`` and their kin, part by part."""
    name = qualified_name(function)
    target = args[0] if args else next(iter(kwargs.values()))
    if not isinstance(target, Pair):
        if is_complex(target) and not has_traced(args) and not has_traced(kwargs):
            function(*unwrap(args), **unwrap(kwargs))
            return
        raise DtypeError(
            f"{name} writes complex values into an array that is real, or was made outside of the traced function. "
            "Make it inside, with np.zeros(n, complex).",
            user_location(),
        )
    numbers = {np.copyto: ("src",), np.put: ("v", "values"), np.place: ("vals",), np.putmask: ("values",),
               np.fill_diagonal: ("val",), np.put_along_axis: ("values",)}[function]  # fmt: skip
    names = list(_signature_of(WRITERS[function]).parameters)
    given = dict(zip(names, args, strict=False)) | kwargs
    for part in (target.re, target.im):
        made_writable(part)
    for which in (0, 1):
        here = {k: part_of(v, which, number=k in numbers) for k, v in given.items()}
        WRITERS[function](**here)


def _signature_of(function: Any) -> inspect.Signature:
    return inspect.signature(inspect.unwrap(function))


def write_out(out: Any, result: Any, name: str, where: Any = True) -> Any:
    """Store a result in ``out=``, where one of them is complex."""
    if isinstance(out, tuple):
        (out,) = out
    if not isinstance(out, Pair):
        if is_complex(out) and not has_traced(result) and not has_traced(where):
            np.copyto(out, unwrap(result), where=unwrap(where))
            return out
        raise DtypeError(
            f"{name} gives a complex result, and out= is a real array, or one that was made outside of the traced "
            "function. Make it inside, with np.zeros(n, complex).",
            user_location(),
        )
    for target, part in zip((out.re, out.im), parts(result), strict=True):
        value = part if isinstance(part, Tracer) or np.ndim(part) else np.asarray(part, out.re.dtype)
        HOOKS["write_out"](target, value, name, where)
    return out


HOOKS["complex_call"] = complex_call
HOOKS["complex_write_out"] = write_out
