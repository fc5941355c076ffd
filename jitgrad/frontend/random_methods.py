"""What methods of generators become in a traced function: ``draw`` ops, with arithmetic around them where the
derivative is to go through it.

``loc + scale * z`` is computed here where ``loc`` or ``scale`` is traced, of the ``z`` that the standard distribution
gives: NumPy computes it so, and the numbers are the same bit by bit. Where it is not known that they are (a NumPy that
was compiled to fuse multiply-adds), the method itself gives the value.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitgrad.errors import ConcretizationError, UnsupportedError
from jitgrad.frontend.assign import getitem
from jitgrad.frontend.primitives import cast, emit, static_int, static_shape
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, contains_tracer
from jitgrad.ir.generators import Draw
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, check_dtype, f64, is_float, kind_letter
from jitgrad.ops.random import DISCRETE, PARTIALS

#: Parameters that are no numbers to compute with.
_OPTIONS = frozenset(
    ("size", "dtype", "method", "replace", "shuffle", "axis", "endpoint", "check_valid", "tol", "k", "how", "extents")
)

#: The methods that draw, with their parameters in order.
_COMMON = """
beta a b size; binomial n p size; chisquare df size; dirichlet alpha size; exponential scale size; f dfnum dfden size;
gamma shape scale size; geometric p size; gumbel loc scale size; hypergeometric ngood nbad nsample size;
laplace loc scale size; logistic loc scale size; lognormal mean sigma size; logseries p size; multinomial n pvals size;
negative_binomial n p size; noncentral_chisquare df nonc size; noncentral_f dfnum dfden nonc size;
normal loc scale size;
pareto a size; poisson lam size; power a size; rayleigh scale size; standard_cauchy size; standard_t df size;
triangular left mode right size; uniform low high size; vonmises mu kappa size; wald mean scale size; weibull a size;
zipf a size
"""
_GENERATOR = """
random size dtype out; standard_normal size dtype out; standard_exponential size dtype method out;
standard_gamma shape size dtype out; integers low high size dtype endpoint; choice a size replace p axis shuffle;
multivariate_hypergeometric colors nsample size method; multivariate_normal mean cov size check_valid tol method;
permutation x axis; permuted x axis out; shuffle x axis
"""
_LEGACY = """
random size; random_sample size; standard_normal size; standard_exponential size; standard_gamma shape size;
randint low high size dtype; choice a size replace p; multivariate_normal mean cov size check_valid tol; permutation x;
shuffle x; seed seed; rand; randn
"""
_PYTHON = """
random; uniform a b; gauss mu sigma; normalvariate mu sigma; randint a b; randrange start stop step; choice seq;
choices population weights cum_weights k; sample population k counts; shuffle x; triangular low high mode;
betavariate alpha beta; expovariate lambd; gammavariate alpha beta; lognormvariate mu sigma; vonmisesvariate mu kappa;
paretovariate alpha; weibullvariate alpha beta; binomialvariate n p; getrandbits k; seed a
"""


def _table(text: str) -> dict[str, tuple[str, ...]]:
    rows = (row.split() for row in text.split(";"))
    return {row[0]: tuple(row[1:]) for row in rows}


#: Kind of generator -> method -> its parameters.
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "Generator": _table(_COMMON + ";" + _GENERATOR),
    "RandomState": _table(_COMMON + ";" + _LEGACY),
    "Random": {k: v for k, v in _table(_PYTHON).items() if hasattr(random.Random, k)},
}
#: Names that a generator may have for others of its methods.
ALIASES = {("RandomState", "sample"): "random_sample", ("RandomState", "ranf"): "random_sample"}

#: Generators whose results tell dtypes and shapes. What they draw is not used.
_SCRATCH: dict[str, Any] = {
    "Generator": np.random.default_rng(0),
    "RandomState": np.random.RandomState(0),
    "Random": random.Random(0),
}
#: Parameters that are valid for every method which has one of that name; the others are 1.
_VALID = {"p": 0.5, "left": 0.0, "mode": 0.5, "right": 1.0, "a": 2.0, "start": 0, "step": 1, "stop": 2, "kappa": 1.0}
_VALID |= {"sigma": 0.5}
#: Draws beyond this size are not made to learn a dtype.
_MANY = 1024


class Family(NamedTuple):
    """``loc + scale * z``: the names of the two parameters ("" for none) and their defaults, the method that draws
    ``z``, and arguments of it that are always the same. ``sign``: a negative scale is an error."""

    loc: str
    scale: str
    method: str
    fixed: tuple[tuple[str, Any], ...] = ()
    sign: bool = True


_STANDARD = (("loc", 0.0), ("scale", 1.0))
_FAMILIES: dict[str, dict[str, Family]] = {
    "Generator": {
        "normal": Family("loc", "scale", "standard_normal"),
        **{name: Family("loc", "scale", name, _STANDARD) for name in ("laplace", "gumbel", "logistic")},
        "exponential": Family("", "scale", "standard_exponential"),
        "rayleigh": Family("", "scale", "rayleigh", (("scale", 1.0),)),
        "gamma": Family("", "scale", "standard_gamma"),
    },
    "Random": {
        **{
            name: Family("mu", "sigma", name, (("mu", 0.0), ("sigma", 1.0)), False)
            for name in ("gauss", "normalvariate")
        },
        "gammavariate": Family("", "beta", "gammavariate", (("beta", 1.0),), False),
        "weibullvariate": Family("", "alpha", "weibullvariate", (("alpha", 1.0),), False),
    },
}
_FAMILIES["RandomState"] = _FAMILIES["Generator"]


class Target(NamedTuple):
    """What is drawn from: the trace, the handle in it, and the kind of the generator."""

    trace: Trace
    handle: Tracer
    kind: str

    def name(self, method: str) -> str:
        return f"{self.kind}.{method}"


def drawn(target: Target, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``generator.method(*args, **kwargs)``. Raises UnsupportedError for a method that can't be traced, TypeError for
    arguments that it does not have."""
    method = ALIASES.get((target.kind, method), method)
    parameters = METHODS[target.kind].get(method)
    if parameters is None:
        raise UnsupportedError(
            f"{target.name(method)} is not supported while a function is traced. jitgrad records methods that draw "
            "numbers. Call it outside of the function, and pass in what it gives.",
            user_location(),
        )
    if method in ("rand", "randn"):
        method, args = ("random_sample" if method == "rand" else "standard_normal"), ((args,) if args else ())
        parameters = ("size",)
    given = _bound(target.name(method), parameters, args, kwargs)
    special = _SPECIAL.get((target.kind, method)) or _SPECIAL.get(("", method))
    if special is not None:
        return special(target, method, given)
    out = given.pop("out", None)
    if out is not None:
        given.setdefault("size", np.shape(out))
    family = _FAMILIES[target.kind].get(method)
    if not separately_rounded():
        result = draw(target, method, given)
    elif family is not None and any(_is_traced(given.get(name)) for name in (family.loc, family.scale)):
        result = _shifted(target, method, family, given)
    elif method == "uniform" and any(_is_traced(x) for x in given.values()):
        result = _between(target, given)
    else:
        result = draw(target, method, given)
    return result if out is None else HOOKS["write_out"](out, result, target.name(method))


def _bound(name: str, parameters: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, but for None."""
    if len(args) > len(parameters):
        raise TypeError(f"{name}() takes at most {len(parameters)} arguments ({len(args)} given)")
    given = dict(zip(parameters, args, strict=False))
    for key, value in kwargs.items():
        if key not in parameters:
            raise TypeError(f"{name}() got an unexpected keyword argument {key!r}")
        if key in given:
            raise TypeError(f"{name}() got multiple values for argument {key!r}")
        given[key] = value
    return {key: value for key, value in given.items() if value is not None}


def _is_traced(x: Any) -> bool:
    return isinstance(x, Tracer) or (isinstance(x, (list, tuple)) and contains_tracer(x))


def _size(given: dict[str, Any], name: str) -> tuple[int, ...] | None:
    """The argument ``size``; None where there is none. Raises ConcretizationError for one that is traced."""
    size = given.get("size")
    if size is None:
        return None
    if isinstance(size, Tracer) and size.concrete is not None:
        size = size.concrete
    if isinstance(size, np.ndarray) and not isinstance(size, Tracer):
        return tuple(int(n) for n in np.atleast_1d(size))
    sizes = size if isinstance(size, (tuple, list)) else (size,)
    try:
        return tuple(static_int(n, f"the size of {name}") for n in sizes)
    except ConcretizationError:
        raise ConcretizationError(
            f"the size of {name} is known only when the program runs: {size!r}. A compiled program has room for a "
            "number of draws that is known while it is made. Draw one number at a time in a loop, or make the size "
            "static with jit(static_argnames=...).",
            user_location(),
        ) from None


# -- the op ------------------------------------------------------------------------------------------------------------


def draw(target: Target, method: str, given: dict[str, Any]) -> Any:
    """Emit a draw. What is traced, and arrays, are operands; numbers are part of the call."""
    name, trace = target.name(method), target.trace
    size = _size(given, name)
    args: list[tuple[str, Any]] = []
    operands: list[Tracer] = []
    for key, value in given.items():
        if key == "size":
            value = size
        elif key == "dtype":
            value = np.dtype(value).str
        elif key in _OPTIONS or (type(value) in (bool, int, float) and _fits(value)):
            pass
        elif isinstance(value, (np.bool_, np.integer, np.floating)) and _fits(value.item()):
            value = value.item()
        else:
            operand = trace.lift(value)
            if not all(isinstance(n, int) for n in operand.dims):
                raise UnsupportedError(
                    f"{name} of an array whose shape is known only when the program runs. How many numbers are drawn "
                    "must be known while the function is traced. Draw for all elements, and use np.where.",
                    user_location(),
                )
            operands.append(_guarded(operand, method, key))
            value = None
        args.append((key if method != "getrandbits" else "", value))
    found = _example(target.kind, method, args, operands)
    if method == "seed":
        trace.emit("draw", [target.handle, *operands], {"method": method, "args": tuple(args)})
        return None
    array = np.asarray(found)
    attrs = {"method": method, "args": tuple(args), "dtype": check_dtype(array.dtype), "shape": array.shape}
    (value,) = trace.emit("draw", [target.handle, *operands], attrs)
    weak = type(found).__name__ if type(found) in (bool, int, float) else None
    result = Tracer(trace, value, weak)
    result.boxed = isinstance(found, np.ndarray)
    return result


def _fits(value: float) -> bool:
    return type(value) is float or -(2**63) <= value < 2**63


def _guarded(x: Tracer, method: str, parameter: str) -> Tracer:
    """A parameter for a draw that has no derivative with respect to it, or one that is zero."""
    if not is_float(x.dtype) or parameter in PARTIALS.get(method, ((), None))[0]:
        return x
    return emit("stop_gradient" if method in DISCRETE else "no_derivative", x)


def _example(kind: str, method: str, args: list[tuple[str, Any]], operands: list[Tracer]) -> Any:
    """What such a call gives, for other parameters. Errors of ``size`` and of the other options are NumPy's own."""
    shapes = iter([x.dims for x in operands])
    valid: list[tuple[str, Any]] = []
    names = [name for name, _ in args]
    scalars, size = True, None
    for name, value in args:
        shape = next(shapes) if value is None else None
        if name == "size":
            size = value
        elif name == "n" and method.startswith(("list", "shuffle")):
            value = 1 if value is None else value
        elif name not in _OPTIONS and name != "":
            scalars &= not shape
            value = _valid(method, name, names, shape or (), value, size=dict(args).get("size"))
        valid.append((name, value))
    if method == "seed":
        return None
    many = size is not None and math.prod(size) > _MANY and scalars and dict(args).get("replace", True)
    if many:
        valid = [(name, (0,) if name == "size" else value) for name, value in valid]
    found = Draw(method, valid)(_SCRATCH[kind], ())
    return np.empty((*size, *found.shape[1:]), found.dtype) if many and size is not None else found


def _valid(method: str, name: str, names: list[str], shape: tuple[int, ...], value: Any, *, size: Any) -> Any:
    if name == "pvals" or (method == "choice" and name == "p"):
        return np.full(shape, 1.0 / max(shape[-1], 1)) if shape else 1.0
    if method == "choice" and name == "a" and value is None:
        return max(math.prod(size or ()), 2)
    if name in ("a", "x", "b") and type(value) is int and method in ("choice", "permutation", "randint"):
        return value
    if name == "cov":
        return np.eye(shape[-1]) if len(shape) == 2 else np.ones(shape)
    if name in ("low", "high"):
        number: float = 1 if name == "high" else 0
        if name == "low" and method in ("integers", "randint") and "high" not in names:
            number = 1
        if name == "high" and method == "randint":
            number = 2
    elif name == "a" and method == "randint":
        number = 0
    elif name == "start" and "stop" not in names:
        number = 2
    else:
        number = _VALID.get(name, 1)
    return np.full(shape, number) if shape else number


# -- distributions that are moved and stretched ------------------------------------------------------------------------


def _shifted(target: Target, method: str, family: Family, given: dict[str, Any]) -> Any:
    trace = target.trace
    loc = trace.lift(given.pop(family.loc, 0.0)) if family.loc else None
    scale = trace.lift(given.pop(family.scale, 1.0))
    if family.sign:
        _demand_sign(trace, scale, f"{family.scale} < 0")
    others = {**given, **dict(family.fixed)}
    shapes = [x.dims for x in (loc, scale) if x is not None]
    shapes += [trace.lift(x).dims for key, x in given.items() if key not in _OPTIONS]
    shape = _shape(target, method, given, shapes)
    if shape is not None:
        others["size"] = shape
    z = draw(target, family.method, others)
    product = emit("rounded_multiply", _as_float(scale), _as_float(z))
    return _finished(product if loc is None else emit("add", _as_float(loc), product), z)


def _between(target: Target, given: dict[str, Any]) -> Any:
    """``uniform(low, high)``."""
    python = target.kind == "Random"
    names = ("a", "b") if python else ("low", "high")
    low, high = (
        _as_float(target.trace.lift(given.pop(n, default))) for n, default in zip(names, (0.0, 1.0), strict=True)
    )
    extent = emit("subtract", high, low)
    if target.kind == "Generator":
        _demand_sign(target.trace, extent, "high - low < 0")
    shape = _shape(target, "uniform", given, [low.dims, high.dims])
    method = "random_sample" if target.kind == "RandomState" else "random"
    z = draw(target, method, {} if shape is None else {"size": shape})
    return _finished(emit("add", low, emit("rounded_multiply", extent, _as_float(z))), z)


def _shape(target: Target, method: str, given: dict[str, Any], shapes: list[Any]) -> tuple[int, ...] | None:
    """The shape of a result: ``size``, or that of the parameters together; None for a number."""
    size = _size(given, target.name(method))
    if not all(isinstance(n, int) for shape in shapes for n in shape):
        raise UnsupportedError(
            f"{target.name(method)} of an array whose shape is known only when the program runs. How many numbers are "
            "drawn must be known while the function is traced. Draw for all elements, and use np.where.",
            user_location(),
        )
    together = np.broadcast_shapes(*shapes)
    if size is None:
        return together or None
    if np.broadcast_shapes(together, size) != size:
        raise ValueError(f"Output size {size} is not compatible with broadcast dimensions of inputs {together}.")
    return size


def _as_float(x: Tracer) -> Tracer:
    return Tracer(x.owner, cast(x, f64).value)


def _finished(value: Tracer, z: Tracer) -> Tracer:
    """The result, of the kind that the draw had."""
    result = Tracer(value.owner, value.value, z.weak)
    result.boxed = z.boxed
    return result


def _demand_sign(trace: Trace, x: Tracer, text: str) -> None:
    """Raise ValueError when the program runs, before the draw, for a number with a sign, as NumPy does."""
    if x.concrete is not None and not np.any(np.signbit(x.concrete)):
        return
    ok = call(np.all, (np.logical_or(np.isnan(x), np.logical_not(np.signbit(_as_float(x)))),), {})
    demand(Tracer(trace, trace.own(cast(ok, bool_))), ValueError(text))


# -- choosing and shuffling --------------------------------------------------------------------------------------------


def _choice(target: Target, method: str, given: dict[str, Any]) -> Any:
    """``choice``: from ``range(a)``, or places in an array and then what is there."""
    a, axis = given["a"], given.pop("axis", 0)
    if isinstance(a, Tracer) and not a.dims and a.dtype.kind in "iu":
        if "replace" in given and not given["replace"]:
            a = given["a"] = static_int(a, "the number that choice() without replacement takes")
        return draw(target, method, given)
    if isinstance(a, (int, np.integer)):
        return draw(target, method, {**given, "a": int(a)})
    if isinstance(a, Collection):
        if given.keys() == {"a"}:
            return getitem(a, draw(target, method, {"a": a.length()}))
        a = HOOKS["array"](a)
    if isinstance(a, (list, tuple, range)) and "size" not in given:
        return getitem(list(a), draw(target, method, {**given, "a": len(a)}))
    array = _array(target, method, a)
    if given.keys() <= {"a", "size"} and not isinstance(array.dims[axis], int):
        return call(np.take, (array, draw(target, method, {**given, "a": array.shape[axis]})), {"axis": axis})
    places = draw(target, method, {**given, "a": static_int(array.shape[axis], "the length of the array")})
    return call(np.take, (array, places), {"axis": axis})


def _array(target: Target, method: str, a: Any) -> Tracer:
    if isinstance(a, (set, dict, str)) or (isinstance(a, (list, tuple)) and not _numeric(a)):
        raise UnsupportedError(
            f"{target.name(method)} of a {type(a).__name__} of what are no numbers, several at once. They can't be an "
            "array of a compiled program. Draw indices, and return those.",
            user_location(),
        )
    return target.trace.lift(a)


def _numeric(a: Any) -> bool:
    return contains_tracer(a) or kind_letter(np.asarray(a).dtype) in "fiub"


def _length(x: Any, axis: int) -> int:
    return static_int(np.shape(x)[axis] if not isinstance(x, Tracer) else x.shape[axis], "the length of the array")


def _permutation(target: Target, method: str, given: dict[str, Any]) -> Any:
    x, axis = given["x"], given.get("axis", 0)
    if isinstance(x, (int, np.integer)) or (isinstance(x, Tracer) and not x.dims):
        return draw(target, method, {"x": static_int(x, "the length of a permutation")})
    array = _array(target, method, x)
    order = draw(target, method, {"x": _length(array, axis)})
    return call(np.take, (array, order), {"axis": axis})


def _shuffle(target: Target, method: str, given: dict[str, Any]) -> None:
    x, axis = given["x"], given.get("axis", 0)
    if isinstance(x, list):
        _shuffle_list(target, "shuffle order", x)
        return
    if not isinstance(x, Tracer):
        raise UnsupportedError(
            f"{target.name('shuffle')} of a {type(x).__name__}. A traced function can shuffle its own arrays and "
            "lists. Use permutation(), which gives a new array.",
            user_location(),
        )
    order = draw(target, "shuffle order", {"n": _length(x, axis)})
    x[...] = call(np.take, (x, order), {"axis": axis})


def _shuffle_list(target: Target, method: str, x: list[Any]) -> None:
    order = draw(target, method, {"n": len(x)})
    before = list(x)
    if target.trace.scopes:
        target.trace.scopes[-1].note_change(x)
    x[:] = [getitem(before, order[k]) for k in range(len(before))]


def _permuted(target: Target, method: str, given: dict[str, Any]) -> Any:
    x = _array(target, method, given["x"])
    shape = static_shape(x.shape, "the shape of the array")
    places = draw(
        target, "places", {"extents": shape, "how": "permuted", **({"axis": given["axis"]} if "axis" in given else {})}
    )
    result = call(np.take, (x, places), {})
    return HOOKS["write_out"](given["out"], result, target.name(method)) if "out" in given else result


def _list_choice(target: Target, method: str, given: dict[str, Any]) -> Any:
    seq = given["seq"]
    if isinstance(seq, Collection):
        count = seq.length()
    else:
        seq = seq if isinstance(seq, Tracer) else list(seq)
        count = seq.shape[0] if isinstance(seq, Tracer) and seq.dims else len(seq)
    return getitem(seq, draw(target, "list choice", {"n": count}))


def _list_choices(target: Target, method: str, given: dict[str, Any]) -> Any:
    population, k = given.pop("population"), static_int(given.pop("k", 1), "k")
    if given:
        raise UnsupportedError(
            "Random.choices with weights is not supported while a function is traced. The draw is not recorded. Use "
            "np.random.choice with p=.",
            user_location(),
        )
    return _taken(target, "list choices", population, k)


def _list_sample(target: Target, method: str, given: dict[str, Any]) -> Any:
    if "counts" in given:
        raise UnsupportedError(
            "Random.sample with counts is not supported while a function is traced. Repeat the elements.",
            user_location(),
        )
    return _taken(target, "list sample", given["population"], static_int(given["k"], "k"))


def _taken(target: Target, method: str, population: Any, k: int) -> list[Any]:
    places = draw(target, method, {"n": len(population), "k": k})
    items = population if isinstance(population, Tracer) else list(population)
    return [getitem(items, places[j]) for j in range(k)]


def _few_bits(target: Target, method: str, given: dict[str, Any]) -> Any:
    k = static_int(given["k"], "the number of bits")
    if k > 63:
        raise UnsupportedError(
            f"getrandbits({k}) in a traced function. A compiled program has integers of 64 bits. Ask for at most 63.",
            user_location(),
        )
    return draw(target, method, {"k": k})


def _no_numbers(target: Target, method: str, given: dict[str, Any]) -> Any:
    return draw(target, method, given)


_SPECIAL: dict[tuple[str, str], Callable[[Target, str, dict[str, Any]], Any]] = {
    ("Random", "choice"): _list_choice,
    ("Random", "choices"): _list_choices,
    ("Random", "sample"): _list_sample,
    ("Random", "getrandbits"): _few_bits,
    ("Random", "uniform"): lambda target, method, given: (
        _between(target, given) if any(map(_is_traced, given.values())) else draw(target, method, given)
    ),
    ("Random", "shuffle"): lambda target, method, given: (
        _shuffle_list(target, "list order", given["x"])
        if isinstance(given["x"], list)
        else _shuffle(target, method, given)
    ),
    ("", "choice"): _choice,
    ("", "permutation"): _permutation,
    ("", "shuffle"): _shuffle,
    ("", "permuted"): _permuted,
    ("", "seed"): _no_numbers,
}


@functools.cache
def separately_rounded() -> bool:
    """Whether NumPy rounds the product in ``loc + scale * z``, as is taken for granted here."""
    a, b = (np.random.Generator(np.random.PCG64(0)) for _ in range(2))
    return np.array_equal(a.normal(0.3, 1.7, size=256), 0.3 + 1.7 * b.standard_normal(256))
