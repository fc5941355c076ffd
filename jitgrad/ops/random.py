"""Random numbers that are drawn when the program runs: ops with effects.

A generator is a handle, an i64 scalar (``jitgrad.ir.generators``): that of a parameter, or what ``generator``,
``make_generator`` or ``restore_generators`` gives. ``draw`` calls one of its methods. Draws happen in the order of the
program, in that of its other effects too, and once each: no pass merges, moves or drops them.

What is run again in reverse (a checkpoint, a loop of unknown length) draws the same numbers again from a copy:
``generator_state`` saves the state of the generators before the region, and ``restore_generators`` makes others of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError
from jitgrad.ir.generators import Draw, Source, generator_of, make, restored, saved
from jitgrad.ir.index import Dim
from jitgrad.ir.types import TensorType, i64, is_float
from jitgrad.ops.op import Elementwise, OpRule, Sample, Var, apply, register, unbroadcast, zeros

_HANDLE = TensorType(i64)
_STATE = np.dtype(np.uint8)


def _known_shapes(name: str, types: Sequence[TensorType]) -> None:
    unknown = next((t for t in types if not isinstance(t.size, int)), None)
    if unknown is not None:
        raise DtypeError(f"{name} of {unknown}. Its arguments have shapes that are known when the program is made.")


@register
class Generator(OpRule):
    """The handle of a generator that was found outside of the program."""

    name = "generator"
    differentiable = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [Sample((), {"source": Source.parse("np.random 0")}, grad=False)]

    def infer(self, *types: TensorType, source: Source) -> TensorType:
        return _HANDLE

    def eval(self, *arrays: np.ndarray, source: Source) -> np.ndarray:
        return source.array[0]

    def lower(self, b: Any, *tensors: Any, source: Source) -> Any:
        return b.reshape(b.constant(source.array), ())


@register
class MakeGenerator(OpRule):
    """The handle of a new generator of a ``kind`` (``jitgrad.ir.generators.MAKERS``), seeded with the operand; without
    one, by the system. ``site`` tells the op from others of the program."""

    name = "make_generator"
    differentiable = False
    structural = True  # the handle is another one each time
    effects = discardable = True

    def infer(self, *types: TensorType, kind: str, site: int) -> TensorType:
        _known_shapes(self.name, types)
        if len(types) > 1 or any(t.dtype.kind not in "iu" for t in types):
            raise DtypeError(f"{kind} of {', '.join(map(str, types))}. A seed is an integer, or an array of integers.")
        return _HANDLE

    def eval(self, *arrays: np.ndarray, kind: str, site: int) -> np.ndarray:
        return np.asarray(make(kind, site, *arrays))

    def lower(self, b: Any, *tensors: Any, kind: str, site: int) -> Any:
        out = b.empty((), i64)
        b.libcall("make_generator", [out], tensors, kind=kind, site=site)
        return out


@register
class GeneratorState(OpRule):
    """The states of generators, as ``nbytes`` bytes."""

    name = "generator_state"
    differentiable = False
    effects = discardable = True

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        source = Source.parse("random 0")
        return [Sample((source.array[0], source.array[0]), {"nbytes": 8192}, grad=False)]

    def infer(self, *types: TensorType, nbytes: int) -> TensorType:
        if any(t != _HANDLE for t in types):
            raise DtypeError(f"generator_state of {', '.join(map(str, types))}. It takes handles of generators.")
        return TensorType(_STATE, (nbytes,))

    def eval(self, *arrays: np.ndarray, nbytes: int) -> np.ndarray:
        return saved([int(a) for a in arrays], nbytes)

    def lower(self, b: Any, *tensors: Any, nbytes: int) -> Any:
        out = b.empty((nbytes,), _STATE)
        b.libcall("generator_state", [out], tensors)
        return out


@register
class RestoreGenerators(OpRule):
    """The handles of ``count`` new generators in the states of the operand."""

    name = "restore_generators"
    differentiable = False
    structural = True  # the handles are others each time
    effects = discardable = True

    def infer(self, *types: TensorType, count: int, site: int) -> tuple[TensorType, ...]:
        return (_HANDLE,) * count

    def eval(self, *arrays: np.ndarray, count: int, site: int) -> tuple[np.ndarray, ...]:
        return tuple(map(np.asarray, restored(arrays[0], site)))

    def lower(self, b: Any, *tensors: Any, count: int, site: int) -> Any:
        outs = tuple(b.empty((), i64) for _ in range(count))
        b.libcall("restore_generators", outs, tensors, site=site)
        return outs


@register
class RoundedMultiply(Elementwise):
    """``x * y``, rounded whatever is done with it. It is never fused with a sum: that is how NumPy computes
    ``loc + scale * z``."""

    name, scalar, numpy, arity = "rounded_multiply", "product", np.multiply, 2

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        pairs = [(rng.normal(size=a), rng.normal(size=b)) for a, b in (((3,), (3,)), ((), ()), ((2, 3), (3,)))]
        return [Sample(tuple(x.astype(d) for x in pair)) for pair in pairs for d in (np.float64, np.float32)]

    def partials(self, *xs: Var, out: Var) -> Sequence[Var]:
        x, y = xs
        return y, x


@register
class DrawOp(OpRule):
    """What a method of a generator gives. The first operand is the handle; the others are arguments of the method.

    ``args`` are its arguments, ``(name, value)`` each; None as the value stands for the next operand, no name for an
    argument by position. ``dtype`` and ``shape`` are those of the result; no dtype, no result.

    Derivatives go through the value that was drawn, where the distribution has a formula for that (:data:`PARTIALS`).
    """

    name = "draw"
    effects = True
    structural = True  # it draws others each time; tests/frontend/test_random_methods.py compares them with NumPy's

    def infer(
        self,
        *types: TensorType,
        method: str,
        args: tuple[Any, ...],
        dtype: np.dtype | None = None,
        shape: tuple[Dim, ...] = (),
    ) -> TensorType | tuple[TensorType, ...]:
        _known_shapes(method, types)
        if types[:1] != (_HANDLE,):
            raise DtypeError(f"draw of {', '.join(map(str, types))}. Its first operand is the handle of a generator.")
        given = sum(value is None for _, value in args)
        if len(types) - 1 != given:
            raise DtypeError(f"{method} of {len(types) - 1} operands, and its arguments name {given}")
        return () if dtype is None else TensorType(dtype, shape)

    def eval(self, *arrays: np.ndarray, method: str, args: Any, dtype: Any = None, shape: Any = ()) -> Any:
        call = Draw(method, args, dtype, shape)
        generator = generator_of(int(arrays[0]))
        if dtype is None:
            call(generator, arrays[1:])
            return ()
        return call.array(generator, arrays[1:])

    def vjp(self, g: Var, out: Var, *xs: Var, method: str, args: Any, **_: Any) -> Sequence[Var | None]:
        found: list[Var | None] = [None]
        partials = _partials(method, args, out, xs[1:])
        for name, x in _operands(args, xs[1:]):
            if not is_float(x.dtype):
                found.append(None)
            elif name not in partials:
                found.append(zeros(x.b, x.type))  # a no_derivative refuses it; nothing else gets here
            else:
                partial = partials[name]
                product = g if partial is None else _cast(g, x.dtype) * _cast(partial, x.dtype)
                found.append(unbroadcast(_cast(product, x.dtype), x.shape))
        return found

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, method: str, args: Any, **_: Any) -> Var | None:
        total: Var | None = None
        partials = _partials(method, args, out, xs[1:])
        for t, (name, _x) in zip(ts[1:], _operands(args, xs[1:]), strict=True):
            if t is None or name not in partials:
                continue
            partial, term = partials[name], _cast(t, out.dtype)
            term = term if partial is None else term * _cast(partial, out.dtype)
            total = term if total is None else total + term
        if total is not None and total.shape != out.shape:
            total = apply("broadcast_to", total, shape=out.shape)
        return total

    def lower(self, b: Any, *tensors: Any, method: str, args: Any, dtype: Any = None, shape: Any = ()) -> Any:
        outs = () if dtype is None else (b.empty(shape, dtype),)
        b.libcall("draw", outs, tensors, method=method, args=args)
        return outs[0] if outs else ()


def _cast(x: Var, dtype: np.dtype) -> Var:
    return x if x.dtype == dtype else apply("cast", x, dtype=dtype)


def _log_ratio(v: Var, a: Var) -> Var:
    """``v * log(v) / a``, 0 where v is."""
    tiny = apply("maximum", v, np.finfo(v.dtype).tiny)
    return v * apply("log", tiny) / a


def _lognormal(v: Var, mean: Any, sigma: Any) -> tuple[Var, Var]:
    """Of ``v = exp(mean + sigma * z)``."""
    tiny = apply("maximum", v, np.finfo(v.dtype).tiny)
    return v, v * (apply("log", tiny) - mean) / sigma


#: Derivatives with respect to parameters, by name; None stands for 1.
Partials = dict[str, Var | None]


def _moved(loc: str, scale: str) -> tuple[tuple[str, str], Callable[[Var, dict[str, Any]], Partials]]:
    """``v = loc + scale * z``."""
    return (loc, scale), lambda v, p: {loc: None, scale: (v - p[loc]) / p[scale]}


def _stretched(scale: str) -> tuple[tuple[str], Callable[[Var, dict[str, Any]], Partials]]:
    """``v = scale * z``."""
    return (scale,), lambda v, p: {scale: v / p[scale]}


def _between(low: str, high: str) -> tuple[tuple[str, str], Callable[[Var, dict[str, Any]], Partials]]:
    """``v = low + (high - low) * z``."""

    def rule(v: Var, p: dict[str, Any]) -> Partials:
        z = (v - p[low]) / (p[high] - p[low])
        return {low: 1.0 - z, high: z}

    return (low, high), rule


#: Method -> its parameters that a derivative goes through, and the derivatives of what it drew, from the value and the
#: parameters. Those of the first lines are only used where the frontend has not written them as arithmetic.
PARTIALS: dict[str, tuple[tuple[str, ...], Callable[[Var, dict[str, Any]], Partials]]] = {
    **{name: _moved("loc", "scale") for name in ("normal", "laplace", "gumbel", "logistic")},
    **{name: _moved("mu", "sigma") for name in ("gauss", "normalvariate")},
    **{name: _stretched("scale") for name in ("exponential", "rayleigh", "gamma")},
    "uniform": _between("low", "high"),
    "lognormal": (
        ("mean", "sigma"),
        lambda v, p: dict(zip(("mean", "sigma"), _lognormal(v, p["mean"], p["sigma"]), strict=True)),
    ),
    "lognormvariate": (
        ("mu", "sigma"),
        lambda v, p: dict(zip(("mu", "sigma"), _lognormal(v, p["mu"], p["sigma"]), strict=True)),
    ),
    # v = e ** (1 / a)
    "weibull": (("a",), lambda v, p: {"a": -_log_ratio(v, p["a"])}),
    # v = alpha * e ** (1 / beta)
    "weibullvariate": (
        ("alpha", "beta"),
        lambda v, p: {"alpha": v / p["alpha"], "beta": -_log_ratio(v / p["alpha"], p["beta"]) * p["alpha"]},
    ),
    # v = exp(e / a) - 1
    "pareto": (("a",), lambda v, p: {"a": -(v + 1.0) * apply("log1p", v) / p["a"]}),
    # v = (1 - exp(-e)) ** (1 / a)
    "power": (("a",), lambda v, p: {"a": -_log_ratio(v, p["a"])}),
    "paretovariate": (("alpha",), lambda v, p: {"alpha": -_log_ratio(v, p["alpha"])}),
    "expovariate": (("lambd",), lambda v, p: {"lambd": -v / p["lambd"]}),
    # v = mean + z @ factor(cov)
    "multivariate_normal": (("mean",), lambda v, p: {"mean": None}),
}
#: Parameters that have a value where none is given, for the methods above.
_DEFAULTS = {"mean": 0.0, "mu": 0.0, "sigma": 1.0, "lambd": 1.0, "loc": 0.0, "scale": 1.0, "low": 0.0, "high": 1.0}
#: Methods whose results are integers, or are chosen by integers: they do not change with small changes of parameters.
DISCRETE = frozenset(
    (
        *(
            "poisson",
            "binomial",
            "geometric",
            "negative_binomial",
            "hypergeometric",
            "logseries",
            "zipf",
            "multinomial",
        ),
        *("multivariate_hypergeometric", "integers", "randint", "randrange", "choice", "binomialvariate"),
    )
)


def _operands(args: Any, xs: Sequence[Var]) -> list[tuple[str, Var]]:
    """The operands with the names of the parameters that they are for."""
    return list(zip((name for name, value in args if value is None), xs, strict=True))


def _partials(method: str, args: Any, out: Var, xs: Sequence[Var]) -> Partials:
    if method not in PARTIALS:
        return {}
    _, rule = PARTIALS[method]
    values = {**_DEFAULTS, **dict(args)}
    values.update({name: _cast(x, out.dtype) for name, x in _operands(args, xs) if is_float(x.dtype)})
    return rule(out, values)
