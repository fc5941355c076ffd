"""Programs that are hard to fuse and to place: results returned at many stages, reversed and shifted reads, transposes
of one array, reductions over several axes, scatters and gathers on one buffer; and shapes beyond the unit tests'.

Values and gradients, compiled, are those of the interpreter for several inputs one after the other, so that nothing
stale of an earlier call can be in them; then from several threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threads import check_calls

import jitgrad as jg
from jitgrad import config

Shapes = tuple[tuple[int, ...], ...]


def shifts(x: Any) -> Any:
    a = np.sin(x)
    b = a[::-1] + a
    c = b[1:] - b[:-1]
    d = np.cumsum(c[::-1])
    e = a[2:] * c[:-1]
    return a, b, c, d, e, (d[::2]).sum(), e[::-1] + d[:-1]


def transposes(x: Any) -> Any:
    y = np.exp(x)
    t, s0, s1 = y.T, y.sum(0), y.sum(1)
    rows = y / s1[:, None]
    return (
        y / s0,
        rows,
        t * s1,
        rows @ t,
        t @ rows,
        (t / s0[:, None]).max(1),
        (y - y.mean())[::-1].T,
        np.outer(s1, s0) - y,
    )


def scatters(x: Any) -> Any:
    i = np.array([0, 2, 2, 1])
    a = x * 2
    b = jg.add_at(a, i, a[:4] * a[i])
    c = jg.set_at(b, slice(None, None, -2), b[::2])
    d = jg.add_at(c, i, c[::-1][:4])
    return a, b, c, d, b[i], c[i[::-1]], d[::-1] * a, jg.add_at(d, slice(1, 4), a[:3]), jg.set_at(b, 0, b[-1])


def stencils(x: Any) -> Any:
    a = np.tanh(x)
    u = np.roll(a, 1, 0) + np.roll(a, -1, 0) + np.roll(a, 1, 1) + np.roll(a, -1, 1) - 4 * a
    v = np.roll(u, 1, 1) - u[::-1, ::-1]
    m, n = v.max(0), v.min(1, keepdims=True)
    q = (v - m) / (1 + np.abs(n))
    k = np.argmax(q, 1)
    return u, v, m, n, q, k, np.take_along_axis(q, k[:, None], 1), np.sort(q, 0), q[:, k]


def sweeps(x: Any) -> Any:
    a, seen = x, []
    for _ in range(5):
        a = jg.set_at(a, slice(1, -1), 0.5 * (a[:-2] + a[2:]))
        seen.append(a[::-1])
    return seen


def axes(x: Any) -> Any:
    a = x.reshape(3, 2, -1)
    b = a.transpose(2, 0, 1)
    d = np.concatenate([a, a[:, ::-1]], 1)
    f = np.cumsum(d, 1)[:, ::-1]
    g = np.pad(a, ((0, 0), (1, 0), (0, 2)))
    products = np.einsum("abc,abd->dc", a, a * 2) + np.einsum("abc,abd->cd", a, f[:, :2])
    return b + 1, b.reshape(-1, 2, 3) * b.sum(), d, d.sum((0, 2)), f, g, g[:, 1:, :-2] - a, products


def orders(x: Any) -> Any:
    y, i = np.sort(x), np.argsort(x)
    w = jg.add_at(np.zeros_like(x), i, y)
    c = np.cumprod(1 + 0.1 * np.tanh(w))[::-1]
    s = jg.add_at(jg.add_at(w, i[::-1], c), i, w)
    return y, i, x[i] - y, w, c, s, w - x, s[i] - s[::-1]


def pairs(x: Any) -> Any:
    y = x[:, None] - x[None, :]
    n = np.sqrt((y**2).sum(1))
    k = np.where(y > 0, y, y.T**2)
    return (
        y * y.T,
        n,
        k,
        k.sum(0) - k.sum(1),
        np.triu(k) + np.tril(y).T,
        np.diag(k) + n,
        (k @ y)[::-1],
        np.max(k, 0)[::-1],
    )


def products(a: Any, b: Any, c: Any) -> Any:
    p = a @ b
    s = np.tanh(p) * (b.T @ a.T).T
    return s, s.sum(0), s.max(1), c @ s.T, (a.T @ a)[::-1], a.T[::2] @ p[:, ::3], s.T @ p[:, :5], (b @ b.T).sum()


def vectors(a: Any, x: Any, y: Any) -> Any:
    return (
        a @ x,
        y @ a,
        a.T @ (a @ x),
        (a * x) @ x,
        np.linalg.norm(a, axis=1),
        a[:, ::-1] @ x,
        a[::2].T @ y[::2],
        a * y[:, None],
    )


def batches(a: Any, b: Any) -> Any:
    gram = a.swapaxes(1, 2) @ a
    return (
        a @ b,
        gram,
        (b @ b.swapaxes(-1, -2)).sum(0),
        np.matmul(a, b[0]),
        np.einsum("bij,bjk->kbi", a, b),
        gram[0] + gram.T[..., 0],
    )


def ranks(a: Any, b: Any) -> Any:
    mixed = np.concatenate([a, a[::-1]], 2).max((0, 3))
    moved = (a * b[0][:, None, :]).transpose(2, 0, 3, 1)[::-1]
    return (
        np.einsum("abcd,ebd->aec", a, b),
        a.sum((1, 3)),
        moved,
        np.std(a, axis=(0, 2)),
        a.reshape(-1)[::7].cumsum(),
        mixed,
    )


def lookups(t: Any, w: Any) -> Any:
    i = (np.arange(240).reshape(-1, 2) * 37) % t.shape[0]
    e = t[i]
    return np.tanh(e @ w).sum(1), jg.add_at(t, i, e * 2), e.max(0), t[i[::-1, 0]] * t[i[:, 1]], np.sort(t, 0)[::5]


def long(x: Any, y: Any) -> Any:
    parts = np.exp(-x * x) @ y, (x * y).cumsum(), x[::-1] * y, np.sort(x)[:10], (x > y).sum()
    return *parts, np.clip(x, -1, 1).std(), np.diff(x) ** 2, np.argmax(x), np.outer(x[:9], y[:11])


CASES: dict[str, tuple[Callable[..., Any], Shapes]] = {
    "shifts": (shifts, ((11,),)),
    "shifts, long": (shifts, ((4001,),)),
    "transposes": (transposes, ((5, 7),)),
    "transposes, large": (transposes, ((33, 65),)),
    "scatters": (scatters, ((9,),)),
    "stencils": (stencils, ((6, 5),)),
    "sweeps": (sweeps, ((12,),)),
    "axes": (axes, ((6, 5),)),
    "orders": (orders, ((1500,),)),
    "pairs": (pairs, ((61,),)),
    "products": (products, ((31, 77), (77, 29), (13, 29))),
    "products, thin": (products, ((1000, 1), (1, 57), (3, 57))),
    "products, one row": (products, ((7, 500), (500, 23), (1, 23))),
    "vectors": (vectors, ((460, 461), (461,), (460,))),
    "vectors, tall": (vectors, ((3001, 7), (7,), (3001,))),
    "batches": (batches, ((9, 17, 5), (9, 5, 17))),
    "batches of one": (batches, ((1, 40, 41), (1, 41, 40))),
    "ranks": (ranks, ((5, 6, 7, 9), (3, 6, 9))),
    "ranks with ones": (ranks, ((33, 1, 17, 8), (1, 1, 8))),
    "all ones": (ranks, ((1, 1, 1, 1), (1, 1, 1))),
    "lookups": (lookups, ((1001, 12), (12, 5))),
    "long": (long, ((70007,), (70007,))),
}


def _joint(name: str, rng: np.random.Generator) -> tuple[jg.Graph, list[tuple[list[np.ndarray], list[np.ndarray]]]]:
    """All stages and the gradients of a weighted sum of them; inputs, each with what the interpreter makes of it."""
    f, shapes = CASES[name]

    def loss(*xs: Any) -> Any:
        total, stages = 0.0, f(*xs)
        for k, stage in enumerate(stages):
            if stage.dtype.kind == "f":
                total = total + np.sum(stage * np.cos(np.arange(stage.size).reshape(stage.shape) + k))
        return total, tuple(stages)

    inputs = [[rng.normal(size=s) for s in shapes] for _ in range(3)]
    graph = jg.trace(jg.value_and_grad(loss, tuple(range(len(shapes))), has_aux=True), *inputs[0])
    return graph, [(x, jg.interpret(graph, *x)) for x in inputs]


def _check(found: Any, wanted: Any) -> None:
    for k, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert (np.shape(a), a.dtype) == (b.shape, b.dtype)
        size = np.max(np.abs(b), initial=0)
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11 * (1 + size), err_msg=f"result {k}")


@pytest.mark.parametrize("name", CASES)
def test_stages(name: str) -> None:
    graph, cases = _joint(name, np.random.default_rng(0))
    compiled = jg.compile(graph)
    results = [compiled(*x) for x, _ in cases]
    for found, (_, wanted) in zip(results, cases, strict=True):
        _check(found, wanted)
    for x, wanted in cases[::-1]:
        _check(compiled(*x), wanted)
    if sum(x.size for x in cases[0][0]) < 50:
        with config.using(backend="python"):
            _check(jg.compile(graph)(*cases[0][0]), cases[0][1])


def test_stages_from_several_threads() -> None:
    """Programs with arenas of other sizes, in turn and at once."""
    rng = np.random.default_rng(1)
    jobs = []
    for name in ("transposes", "products, one row", "scatters", "stencils", "ranks", "axes"):
        graph, cases = _joint(name, rng)
        jobs.append((jg.compile(graph), cases))
    check_calls(jobs, _check, 50)
