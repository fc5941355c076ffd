"""Densities and distribution functions of ``scipy.stats`` on traced values.

A distribution is a row of a table in ``distribution_formulas``. The rest is the same for all: location and scale, what
is outside the support, and the methods that follow from others. As in SciPy everything is computed in float64, and is
NaN for parameters that are not valid.

Loaded when a program uses ``scipy.stats``, which takes long to import.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.stats

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.frontend import (  # noqa: F401  # they fill the table of handlers
    functions_multivariate,
    functions_summaries,
    functions_tests,
)
from jitgrad.frontend.distribution_formulas import CONTINUOUS, DISCRETE, Formula, Formulas, probability
from jitgrad.frontend.functions_kde import GaussianKde, of_fixed
from jitgrad.frontend.functions_rvs import name_of, sample
from jitgrad.frontend.namespace import Mirror, wrap
from jitgrad.frontend.primitives import cast, lift
from jitgrad.frontend.registry import FUNCTIONS
from jitgrad.ir.location import user_location
from jitgrad.scipy import Part

# -- the methods -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Case:
    """One call: the number with location and scale taken out, and the parameters, all traced and in float64."""

    formulas: Formulas
    x: Any
    shapes: Sequence[Any]
    scale: Any
    default_scale: bool

    def apply(self, formula: Formula | None) -> Any:
        assert formula is not None
        return formula(self.x, *self.shapes)

    def chosen(self, inside: Any, below: float, above: float) -> Any:
        """The value: ``inside`` on the support, which is open here, and the others outside. NaN of a NaN."""
        low, high = self.formulas.support(*self.shapes)
        if high is not None:
            inside = jnp.where(self.x >= high, above, inside)
        if low is not None:
            inside = jnp.where(self.x < low, below, inside)
        return self.checked(inside)

    def on_support(self, inside: Any, outside: float) -> Any:
        """The same for a support that has its ends."""
        low, high = self.formulas.support(*self.shapes)
        if high is not None:
            inside = jnp.where(self.x > high, outside, inside)
        if low is not None:
            below = self.x <= low if self.formulas.open else self.x < low
            inside = jnp.where(below, outside, inside)
        return self.checked(inside)

    def checked(self, value: Any) -> Any:
        """NaN where a parameter is not valid."""
        conditions = [*self.formulas.valid(*self.shapes), *([] if self.default_scale else [self.scale > 0])]
        for condition in conditions:
            value = jnp.where(condition, value, np.nan)
        return value


def _arguments(dist: Any, x: Any, args: Sequence[Any], kwds: dict[str, Any], discrete: bool) -> list[Any]:
    """The number and the parameters in SciPy's order, location and scale last."""
    shapes = [name.strip() for name in (dist.shapes or "").split(",") if name.strip()]
    names = [*shapes, "loc", *([] if discrete else ["scale"])]
    given = dict(zip(names, args, strict=False)) | kwds
    missing = [name for name in shapes if name not in given]
    if len(args) > len(names) or missing or set(given) - set(names) or set(names[: len(args)]) & set(kwds):
        raise ArgumentError(
            f"scipy.stats.{dist.name} got parameters that do not fit. It takes {', '.join(names)}; location and scale "
            "may be left out. Give each shape parameter once.",
            user_location(),
        )
    values = [given.get(name, 0.0 if name == "loc" else 1.0) for name in names]
    return [cast(v, np.float64) for v in lift(x, *values)]


def _continuous_case(dist: Any, formulas: Formulas, x: Any, args: Sequence[Any], kwds: dict[str, Any]) -> _Case:
    x, *shapes, loc, scale = _arguments(dist, x, args, kwds, discrete=False)
    default_scale = "scale" not in kwds and len(args) < len(shapes) + 2
    default_loc = "loc" not in kwds and len(args) < len(shapes) + 1
    x = x if default_loc else x - loc
    return _Case(formulas, x if default_scale else x / scale, shapes, scale, default_scale)


def _log_density(c: _Case) -> Any:
    log = c.apply(c.formulas.log)
    # The logarithm of a scale that is not positive, and what is divided by it, make NaN of themselves.
    return c.on_support(log if c.default_scale else log - jnp.log(c.scale), -np.inf)


def _density(c: _Case) -> Any:
    value = jnp.exp(c.apply(c.formulas.log))
    return c.on_support(value if c.default_scale else value / c.scale, 0.0)


def _cdf(c: _Case) -> Any:
    f = c.formulas
    return c.chosen(c.apply(f.cdf) if f.cdf is not None else 1.0 - c.apply(f.sf), 0.0, 1.0)


def _sf(c: _Case) -> Any:
    f = c.formulas
    return c.chosen(c.apply(f.sf) if f.sf is not None else 1.0 - c.apply(f.cdf), 1.0, 0.0)


def _logcdf(c: _Case) -> Any:
    if c.formulas.logcdf is None:
        return jnp.log(_cdf(c))
    return c.chosen(c.apply(c.formulas.logcdf), -np.inf, 0.0)


def _logsf(c: _Case) -> Any:
    if c.formulas.logsf is None:
        return jnp.log(_sf(c))
    return c.chosen(c.apply(c.formulas.logsf), 0.0, -np.inf)


_METHODS = {"logpdf": _log_density, "pdf": _density, "cdf": _cdf, "sf": _sf, "logcdf": _logcdf, "logsf": _logsf}
_OF_CDF = ("cdf", "sf", "logcdf", "logsf")


def _define_continuous(name: str, formulas: Formulas) -> None:
    dist = getattr(scipy.stats, name)

    def define(method: str, compute: Callable[[_Case], Any]) -> None:
        def handler(x: Any, *args: Any, **kwds: Any) -> Any:
            return compute(_continuous_case(dist, formulas, x, args, kwds))

        FUNCTIONS[getattr(dist, method)] = handler

    for method, compute in _METHODS.items():
        if method not in _OF_CDF or formulas.cdf is not None:
            define(method, compute)
    if formulas.ppf is not None:
        _define_quantiles(dist, formulas)
    _define_moments(dist, formulas, discrete=False)


def _define_quantiles(dist: Any, formulas: Formulas) -> None:
    def value(q: Any, args: Sequence[Any], kwds: dict[str, Any], formula: Formula | None, upper: bool) -> Any:
        q, *shapes, loc, scale = _arguments(dist, q, args, kwds, discrete=False)
        case = _Case(formulas, q, shapes, scale, False)
        ends = formulas.support(*shapes)
        low, high = (infinite if end is None else end for end, infinite in zip(ends, (-np.inf, np.inf), strict=True))
        inside = jnp.where(q == 0, high if upper else low, case.apply(formula))
        inside = jnp.where(q == 1, low if upper else high, inside)
        return case.checked(jnp.where(probability(q), inside * scale + loc, np.nan))

    def quantile(q: Any, *args: Any, **kwds: Any) -> Any:
        return value(q, args, kwds, formulas.ppf, upper=False)

    def upper_quantile(q: Any, *args: Any, **kwds: Any) -> Any:
        return value(q, args, kwds, formulas.isf, upper=True)

    def median(*args: Any, **kwds: Any) -> Any:
        return quantile(0.5, *args, **kwds)

    def interval(confidence: Any, *args: Any, **kwds: Any) -> tuple[Any, Any]:
        return quantile((1.0 - confidence) / 2.0, *args, **kwds), quantile((1.0 + confidence) / 2.0, *args, **kwds)

    FUNCTIONS.update({dist.ppf: quantile, dist.isf: upper_quantile, dist.median: median, dist.interval: interval})


def _define_moments(dist: Any, formulas: Formulas, *, discrete: bool) -> None:
    """Mean, variance, what follows from them, and entropy, where there is a formula."""

    def case(args: Sequence[Any], kwds: dict[str, Any]) -> tuple[_Case, Any]:
        _, *shapes, loc = _arguments(dist, 0.0, args, kwds, discrete)
        shapes, loc, scale = (shapes, loc, 1.0) if discrete else (shapes[:-1], shapes[-1], loc)
        return _Case(formulas, None, shapes, scale, discrete), loc

    def mean(*args: Any, **kwds: Any) -> Any:
        c, loc = case(args, kwds)
        return c.checked(formulas.mean(*c.shapes) * c.scale + loc)  # pyright: ignore[reportOptionalCall]

    def var(*args: Any, **kwds: Any) -> Any:
        c, loc = case(args, kwds)
        return c.checked(formulas.var(*c.shapes) * c.scale**2 + 0.0 * loc)  # pyright: ignore[reportOptionalCall]

    def std(*args: Any, **kwds: Any) -> Any:
        return jnp.sqrt(var(*args, **kwds))

    def stats(*args: Any, moments: str = "mv", **kwds: Any) -> Any:
        if set(moments) - set("mv"):
            raise UnsupportedError(
                f"scipy.stats.{dist.name}.stats with moments={moments!r} is not supported on traced values. The mean "
                "and the variance are. Use moments='mv'.",
                user_location(),
            )
        found = [f(*args, **kwds) for letter, f in (("m", mean), ("v", var)) if letter in moments]
        return found[0] if len(found) == 1 else tuple(found)

    def entropy(*args: Any, **kwds: Any) -> Any:
        c, loc = case(args, kwds)
        return c.checked(formulas.entropy(*c.shapes) + jnp.log(c.scale) + 0.0 * loc)  # pyright: ignore[reportOptionalCall]

    if formulas.mean is not None:
        FUNCTIONS.update({dist.mean: mean, dist.var: var, dist.std: std, dist.stats: stats})
    if formulas.entropy is not None:
        FUNCTIONS[dist.entropy] = entropy


def _define_discrete(name: str, formulas: Formulas) -> None:
    dist = getattr(scipy.stats, name)

    def define(method: str, compute: Callable[[_Case], Any], mass: bool) -> None:
        def handler(k: Any, *args: Any, **kwds: Any) -> Any:
            k, *shapes, loc = _arguments(dist, k, args, kwds, discrete=True)
            k = k - loc
            case = _Case(formulas, k if mass else jnp.floor(k), shapes, 1.0, True)
            value = compute(case)
            if not mass:
                return value
            return case.checked(jnp.where(k == jnp.floor(k), value, -np.inf if method == "logpmf" else 0.0))

        FUNCTIONS[getattr(dist, method)] = handler

    define("logpmf", _log_density, True)
    define("pmf", _density, True)
    for method in _OF_CDF:
        if formulas.cdf is not None:
            define(method, _METHODS[method], False)
    _define_moments(dist, formulas, discrete=True)


for _distribution, _formulas in CONTINUOUS.items():
    _define_continuous(_distribution, _formulas)
for _distribution, _formulas in DISCRETE.items():
    _define_discrete(_distribution, _formulas)


# -- the objects -------------------------------------------------------------------------------------------------------


class Distribution(Mirror):
    """A distribution of SciPy whose methods take traced values. All have an error that says so where they don't."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__dict__["_original"], name)
        if name == "rvs":
            value = functools.partial(sample, self.__dict__["_original"])
        elif callable(value) and not name.startswith("_"):
            value = wrap(value)
        self.__dict__[name] = value
        return value

    def __call__(self, *args: Any, **kwds: Any) -> Any:
        return Frozen(self, args, kwds)


class Frozen:
    """A distribution with its parameters given."""

    def __init__(self, distribution: Distribution, args: tuple[Any, ...], kwds: dict[str, Any]) -> None:
        self._distribution, self.args, self.kwds = distribution, args, kwds
        self.random_state: Any = None

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Random numbers."""
        state = self.random_state if random_state is None else random_state
        named = self.kwds if size is None else {**self.kwds, "size": size}
        return self._distribution.rvs(*self.args, **named, random_state=state)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._distribution, name)
        if not callable(method) or name.startswith("_"):
            return method
        return lambda *args, **kwds: method(*args, *self.args, **self.kwds, **kwds)


_KINDS = (scipy.stats.rv_continuous, scipy.stats.rv_discrete, type(scipy.stats.multivariate_normal).__mro__[1])
_FROZEN = type(scipy.stats.norm()).__mro__[1]
_distributions: dict[str, Distribution] = {}


def stand_in(value: Any) -> Any:
    """What takes the place of a distribution, frozen or not, of a method of one, of a function with a handler, of a
    density estimate or its class, or of the module; None for others."""
    if value is scipy.stats:
        return stats
    if value is scipy.stats.gaussian_kde:
        return GaussianKde
    if type(value) is scipy.stats.gaussian_kde:
        return of_fixed(value)
    if isinstance(value, _FROZEN):
        frozen = Frozen(stand_in(getattr(scipy.stats, value.dist.name)), value.args, value.kwds)
        frozen.random_state = value.random_state
        return frozen
    if isinstance(value, types.MethodType) and isinstance(value.__self__, _KINDS):
        return getattr(stand_in(value.__self__), value.__name__)
    if isinstance(value, types.FunctionType):
        return wrap(value) if value in FUNCTIONS else None
    if not isinstance(value, _KINDS):
        return None
    name = name_of(value)
    if name not in _distributions:
        _distributions[name] = Distribution(value, f"jitgrad.scipy.stats.{name}", {}, {})
    return _distributions[name]


stats = Part(scipy.stats, "jitgrad.scipy.stats", {}, {})
