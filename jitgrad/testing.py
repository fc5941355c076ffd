"""Checks of derivatives against central differences, public: users test their own functions and ops with them.

:func:`check_grads` takes a Python function; :func:`check_graph` a graph; :func:`check_op` an op with sample arguments.
All of them raise AssertionError with the first mismatch. Differences are taken along one random direction, with one
step of Richardson extrapolation, so their error is of fourth order in the step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad import ops  # noqa: F401  (fills the table of ops)
from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.ir.core import OPS, Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import digits, f32, f64, is_float, type_of
from jitgrad.ops.op import OpRule, Sample

#: Step and tolerances of central differences where everything is float64, where something is float32, float16, and
#: bfloat16.
_DOUBLE = {"eps": 1e-3, "rtol": 1e-6, "atol": 1e-7}
_SINGLE = {"eps": 2e-2, "rtol": 1e-2, "atol": 5e-3}
_HALF = {"eps": 0.125, "rtol": 5e-2, "atol": 5e-2}
_BRAIN = {"eps": 0.25, "rtol": 1e-1, "atol": 1e-1}
#: What two ways to compute the same in one precision may differ by.
#: By the binary digits of that.
_ROUNDING = {
    53: {"rtol": 1e-11, "atol": 1e-12},
    24: {"rtol": 2e-5, "atol": 2e-6},
    11: {"rtol": 2e-3, "atol": 1e-6},
    8: {"rtol": 1.6e-2, "atol": 1e-6},
}

Arrays = Sequence[np.ndarray]
#: A function of arrays that returns a list of them.
Flat = Callable[..., list[Any]]


def differences(fun: Callable[..., Sequence[Any]], primals: Arrays, direction: Arrays, eps: float) -> list[np.ndarray]:
    """The directional derivative of a function of arrays that returns a sequence of arrays.

    Central differences with steps ``eps`` and ``eps / 2``, extrapolated; computed in float64 from the results.
    """

    def central(h: float) -> list[np.ndarray]:
        shifted = [
            [(np.asarray(x, np.float64) + s * h * v).astype(x.dtype) for x, v in zip(primals, direction, strict=True)]
            for s in (1.0, -1.0)
        ]
        up, down = (fun(*xs) for xs in shifted)
        return [
            (np.asarray(a, np.float64) - np.asarray(b, np.float64)) / (2 * h) for a, b in zip(up, down, strict=True)
        ]

    coarse, fine = central(eps), central(eps / 2)
    return [(4.0 * f - c) / 3.0 for c, f in zip(coarse, fine, strict=True)]


def _direction(rng: np.random.Generator, like: Sequence[Any]) -> list[np.ndarray]:
    """A random array of the dtype and shape of each array, of unit length all together."""
    arrays = [rng.standard_normal(np.shape(x)) for x in like]
    norm = np.sqrt(sum(np.sum(a * a) for a in arrays)) or 1.0
    return [np.asarray(a / norm, dtype=x.dtype) for a, x in zip(arrays, like, strict=True)]


def _close(found: Any, expected: Any, what: str, rtol: float, atol: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=what)


def _inner(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    return float(
        sum(np.sum(np.asarray(x, np.float64) * np.asarray(y, np.float64)) for x, y in zip(xs, ys, strict=True))
    )


def _settings(narrowest: int, given: dict[str, float | None]) -> dict[str, float]:
    """Those that are given, and the others for floats of which the narrowest has so many binary digits."""
    defaults = {8: _BRAIN, 11: _HALF, 24: _SINGLE}.get(narrowest, _DOUBLE)
    return {k: default if given.get(k) is None else float(given[k] or 0.0) for k, default in defaults.items()}


# User functions


def check_grads(
    fun: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("rev", "fwd"),
    rtol: float | None = None,
    atol: float | None = None,
    eps: float | None = None,
    seed: int = 0,
) -> None:
    """Check the derivatives of ``fun`` at ``args`` against central differences.

    Parameters
    ----------
    fun : a function of trees of arrays and numbers that returns such a tree.
    args : its arguments. Float leaves are differentiated, and both parts of complex ones; all others are held constant.
    order : how often to differentiate. Order 2 checks every mode over every mode.
    modes : ``"rev"`` checks :func:`jitgrad.vjp`, ``"fwd"`` checks :func:`jitgrad.jvp`.
    rtol, atol, eps : tolerances and step; by default for float64, or looser where a leaf is float32, float16 or
        bfloat16.
    seed : of the random directions.

    Raises AssertionError at the first derivative that is off.
    """
    from jitgrad.api import jit

    unknown = set(modes) - {"rev", "fwd"}
    if unknown:
        raise ValueError(f"modes are 'rev' and 'fwd', not {sorted(unknown)}")
    arguments: Any = tuple(args)
    leaves, tree = flatten(arguments)
    places = [k for k, leaf in enumerate(leaves) if _is_float_leaf(leaf)]
    primals = [np.asarray(leaves[k]) for k in places]
    if not primals:
        raise ValueError("check_grads needs a float argument. None of the leaves of args is a float. Pass one.")
    settings = _settings(min(digits(p.dtype) for p in primals), {"rtol": rtol, "atol": atol, "eps": eps})

    def flat(call: Callable[..., Any]) -> Flat:
        def run(*xs: Any) -> list[Any]:
            filled = list(leaves)
            for k, x in zip(places, xs, strict=True):
                filled[k] = x
            result = call(*unflatten(tree, filled))
            return [leaf for leaf in flatten(result)[0] if _is_float_leaf(leaf)]

        return run

    # Differences are taken of the plain function. The traced one goes through jit, which knows the user's code.
    rng = np.random.default_rng(seed)
    _check_function(flat(fun), flat(jit(fun)), primals, order, tuple(modes), settings, rng, "")


def _is_float_leaf(leaf: Any) -> bool:
    """Whether a leaf, traced or not, is differentiated."""
    dtype = getattr(leaf, "dtype", None)
    return isinstance(leaf, float) if dtype is None else is_float(np.dtype(dtype))


def _check_function(
    plain: Flat,
    traced: Flat,
    primals: Arrays,
    order: int,
    modes: tuple[str, ...],
    settings: dict[str, float],
    rng: np.random.Generator,
    path: str,
) -> None:
    """:func:`check_grads` of a function from arrays to a list of arrays, as run by NumPy and as traced. ``path`` names
    the modes applied before."""
    from jitgrad.api import jvp, vjp

    if order == 0:
        return
    tolerance = {"rtol": settings["rtol"], "atol": settings["atol"]}
    direction = _direction(rng, primals)
    expected = differences(plain, primals, direction, settings["eps"])
    if "fwd" in modes:
        where = f"{path}fwd"
        found = jvp(traced, tuple(primals), tuple(direction))[1]
        for k, (f, e) in enumerate(zip(found, expected, strict=True)):
            _close(f, e, f"{where}: tangent of output {k}", **tolerance)

        def pushed(*xs: Any) -> list[Any]:
            return list(jvp(traced, tuple(xs), tuple(direction))[1])

        _check_function(pushed, pushed, primals, order - 1, modes, settings, rng, f"{where} over ")
    if "rev" in modes:
        where = f"{path}rev"
        out, pull = vjp(traced, *primals)
        seeds = _direction(rng, [np.asarray(o) for o in out])
        gradients = pull(list(seeds))
        _close(_inner(gradients, direction), _inner(seeds, expected), f"{where}: <cotangents, direction>", **tolerance)

        def pulled(*xs: Any) -> list[Any]:
            return list(vjp(traced, *xs)[1](list(seeds)))

        _check_function(pulled, pulled, primals, order - 1, modes, settings, rng, f"{where} over ")


# Graphs


def check_graph(
    graph: Graph,
    arrays: Sequence[Any],
    *,
    order: int = 2,
    rtol: float | None = None,
    atol: float | None = None,
    eps: float | None = None,
    seed: int = 0,
) -> list[tuple[Graph, list[np.ndarray]]]:
    """Check both derivative modes of a graph against central differences of the interpreter, to ``order``.

    Forward mode is compared element by element along one random direction, reverse mode by inner products; order 2 does
    the same for the graphs of both. Returns the first-order derivative graphs with arguments to run them on.
    """
    inputs = [np.asarray(a) for a in arrays]
    settings = _settings(_narrowest(graph), {"rtol": rtol, "atol": atol, "eps": eps})
    return _check_graph(graph, inputs, order, settings, np.random.default_rng(seed), graph.name)


def _narrowest(graph: Graph) -> int:
    """The binary digits of the narrowest float in a graph."""
    dtypes = [v.type.dtype for op in graph.ops for v in (*op.operands, *op.results)]
    return min((digits(d) for d in dtypes if is_float(d)), default=53)


def _check_graph(
    graph: Graph, arrays: list[np.ndarray], order: int, settings: dict[str, float], rng: np.random.Generator, path: str
) -> list[tuple[Graph, list[np.ndarray]]]:
    wrt = [k for k, p in enumerate(graph.params) if is_float(p.type.dtype)]
    outputs = [k for k, r in enumerate(graph.results) if is_float(r.type.dtype)]
    if order == 0 or not wrt or not outputs:
        return []
    tolerance = {"rtol": settings["rtol"], "atol": settings["atol"]}
    primals = [arrays[k] for k in wrt]

    def floats(*xs: np.ndarray) -> list[np.ndarray]:
        filled = list(arrays)
        for k, x in zip(wrt, xs, strict=True):
            filled[k] = x
        results = interpret(graph, *filled)
        return [results[k] for k in outputs]

    direction = _direction(rng, primals)
    expected = differences(floats, primals, direction, settings["eps"])
    forward = jvp_graph(graph, wrt, with_value=False)
    forward_args = [*arrays, *direction]
    tangents = interpret(forward, *forward_args)
    for k, e in zip(outputs, expected, strict=True):
        _close(tangents[k], e, f"{path}, forward: tangent of result {k}", **tolerance)
    seeds = _direction(rng, floats(*primals))
    reverse = vjp_graph(graph, wrt, with_value=False, seed="param", outputs=outputs)
    reverse_args = [*arrays, *seeds]
    cotangents = interpret(reverse, *reverse_args)
    found = _inner(cotangents, direction)
    _close(found, _inner(seeds, expected), f"{path}, reverse: <cotangents, direction>", **tolerance)
    derived = [(forward, forward_args), (reverse, reverse_args)]
    for derivative, args in derived:
        _check_graph(derivative, args, order - 1, settings, rng, f"{path} -> {derivative.name}")
    return derived


def merge_graphs(graphs: Sequence[Graph], name: str = "merged") -> Graph:
    """One graph that computes several: their parameters one after the other, then their results likewise."""
    b = Builder(name)
    results = []
    for graph in graphs:
        results += b.inline(graph, [b.param(p.type, p.name) for p in graph.params])
    return b.build(*results)


def check_compiled(
    graph: Graph,
    arrays: Sequence[Any],
    *,
    rtol: float | None = None,
    atol: float | None = None,
    what: str = "",
) -> None:
    """Compile a graph, run it, and compare the results with the interpreter's: dtypes and shapes exactly, integers and
    bools exactly, floats to rounding (by default 1e-11 in float64 and 2e-5 in float32), NaN with NaN."""
    from jitgrad.compiler import compile_graph

    expected = interpret(graph, *arrays)
    found = compile_graph(graph)(*arrays)
    _check_same(found, expected, rtol, atol, f"{what or graph.name}, compiled")


def _check_same(
    found: Sequence[Any], expected: Sequence[np.ndarray], rtol: float | None, atol: float | None, what: str
) -> None:
    if len(found) != len(expected):
        raise AssertionError(f"{what}: {len(found)} results, not {len(expected)}")
    for k, (f, e) in enumerate(zip(found, expected, strict=True)):
        f = np.asarray(f)
        if (f.dtype, f.shape) != (e.dtype, e.shape):
            raise AssertionError(f"{what}: result {k} is {f.dtype}{f.shape}, not {e.dtype}{e.shape}")
        if is_float(e.dtype):
            default = _ROUNDING[digits(e.dtype)]
            _close(
                f,
                e,
                f"{what}: result {k}",
                default["rtol"] if rtol is None else rtol,
                default["atol"] if atol is None else atol,
            )
        else:
            np.testing.assert_array_equal(f, e, err_msg=f"{what}: result {k}")


# Ops


def op_graph(name: str, sample: Sample) -> Graph:
    """The graph of one op, with a parameter for each operand."""
    b = Builder(name)
    params = [b.param(type_of(a), f"x{k}") for k, a in enumerate(sample.args)]
    return b.build(*b.emit_op(name, params, sample.attrs).results)


def op_samples(name: str, seed: int = 0) -> list[Sample]:
    """The samples of an op. Where all that have derivatives are float64, one more is added: the first, in float32."""
    make = type(OPS[name]).samples  # pyright: ignore[reportAttributeAccessIssue]
    samples: list[Sample] = [] if make is None else list(make(np.random.default_rng(seed)))
    smooth = [s for s in samples if s.grad]
    if not smooth or any(np.asarray(a).dtype == f32 for s in smooth for a in s.args):
        return samples
    args = tuple(a.astype(f32) if np.asarray(a).dtype == f64 else a for a in smooth[0].args)
    return [*samples, smooth[0]._replace(args=args)]


def check_op(
    name: str,
    samples: Sample | Sequence[Sample] | None = None,
    *,
    order: int = 2,
    compiled: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    eps: float | None = None,
) -> None:
    """Check an op on sample arguments (by default its own).

    For each sample: ``eval`` agrees with ``infer`` and changes none of its arguments; where the sample asks for it and
    the op is differentiable, both modes agree with central differences to ``order``. Then the compiled op, and its
    compiled first derivatives, agree with the interpreter on all samples at once.

    ``rtol``, ``atol`` and ``eps`` are those of :func:`check_graph`. Raises AssertionError.
    """
    opdef = OPS[name]
    if not isinstance(opdef, OpRule):
        raise AssertionError(f"{name} is not an OpRule: it has no rules to check")
    if samples is None:
        samples = op_samples(name)
    elif isinstance(samples, Sample):
        samples = [samples]
    jobs: list[tuple[Graph, list[np.ndarray]]] = []
    for number, sample in enumerate(samples):
        graph = op_graph(name, sample)
        graph.name = f"{name} sample {number}"
        arrays = [np.asarray(a) for a in sample.args]
        before = [a.copy() for a in arrays]
        interpret(graph, *arrays)
        for a, b in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name}: eval changed its argument")
        jobs.append((graph, arrays))
        if sample.grad and opdef.differentiable:
            jobs += check_graph(graph, arrays, order=order, rtol=rtol, atol=atol, eps=eps)
    if compiled and jobs:
        merged = merge_graphs([g for g, _ in jobs], name)
        check_compiled(merged, [a for _, arrays in jobs for a in arrays], what=name)


def missing_rules(name: str) -> list[str]:
    """What an op lacks: ``eval``, ``lower``, ``samples``, and where it is differentiable ``pullback`` and ``jvp``.

    A rule counts where a class of the op gives it, or gives what it is derived from (``partials``, ``transpose``,
    ``vjp``, ``routes``).
    """
    from jitgrad.ops.elementwise import Selecting
    from jitgrad.ops.op import Elementwise, Linear

    cls = type(OPS[name])
    if not issubclass(cls, OpRule):
        return ["eval", "lower"]

    def own(method: str, *bases: type) -> bool:
        return all(getattr(cls, method, None) is not getattr(base, method, None) for base in bases)

    missing = [m for m in ("eval", "lower") if not own(m, OpRule)]
    if cls.samples is None:
        missing.append("samples")
    if not cls.differentiable:
        return missing
    source = None
    if issubclass(cls, Selecting):
        source = own("routes", Selecting)
    elif issubclass(cls, Elementwise) and not (own("pullback", Elementwise) and own("jvp", Elementwise)):
        source = own("partials", Elementwise)
    elif issubclass(cls, Linear) and not own("pullback", Linear):
        source = own("transpose", Linear)
    if source is not None:
        return missing if source else [*missing, "pullback", "jvp"]
    if not (own("pullback", OpRule) or own("vjp", OpRule)):
        missing.append("pullback")
    if not own("jvp", OpRule):
        missing.append("jvp")
    return missing


@functools.cache
def op_names() -> tuple[str, ...]:
    """All ops that samples can be given for, by name: not those with regions, nor ``empty``, which has no value."""
    return tuple(sorted(name for name, op in OPS.items() if not getattr(op, "structural", False)))
