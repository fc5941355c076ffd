"""Programs for the tests of the CUDA target, and how they are run on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.cuda.grid import LEAST
from jitgrad.cuda.program import CudaExecutable
from jitgrad.cuda.simulator import Simulator
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import LibCall, Program
from jitgrad.loopir.walk import statements
from jitgrad.passes.pipeline import optimise

#: What two ways to compute the same may differ by, in each dtype of floats.
ROUNDING = {"bfloat16": 1.6e-2, "float16": 2e-3, "float32": 2e-5, "float64": 1e-10}


def executable(graph: Graph, least: int = LEAST) -> CudaExecutable:
    """A graph compiled for CUDA; with ``least`` 0 every nest that can run on many teams does."""
    return CudaExecutable(device_program(graph), least)


def device_program(graph: Graph) -> Program:
    """The loops that are cut into kernels."""
    return fuse(lower(optimise(graph, target="cuda")), wide=True)


def check(graph: Graph, arrays: Sequence[np.ndarray], rtol: float | None = None) -> None:
    """On a device, a graph gives what the interpreter gives: by one team where that is enough, and by many."""
    expected, program = interpret(graph, *arrays), device_program(graph)
    for least in (LEAST, 0):
        for want, found in zip(expected, CudaExecutable(program, least).call(arrays), strict=True):
            close(found.numpy(), want, rtol)


def close(found: np.ndarray, want: np.ndarray, rtol: float | None = None) -> None:
    """Equal up to rounding: relative to the greatest element, as sums have another order."""
    assert (found.dtype, found.shape) == (want.dtype, want.shape)
    if want.dtype.name not in ROUNDING:
        np.testing.assert_array_equal(found, want)
        return
    rtol = rtol or ROUNDING[want.dtype.name]
    found, want = found.astype(np.float64), want.astype(np.float64)
    scale = float(np.max(np.abs(want), initial=0.0, where=np.isfinite(want)))
    np.testing.assert_allclose(found, want, rtol=rtol, atol=rtol * scale)


def products(graph: Graph) -> list[LibCall]:
    """The calls of cuBLAS that a graph becomes."""
    return [s for s in statements(executable(graph).program.body) if isinstance(s, LibCall) and s.fn == "gemm"]


def ran(program: CudaExecutable, text: str, *args: np.ndarray) -> list[np.ndarray]:
    """The results of a program that launches kernels only, which cannot fail, if their text is that. Temporaries are
    garbage at first."""
    memory = {t: a.reshape(-1) for t, a in zip(program.program.params, args, strict=True)}
    results = [np.zeros(t.static_shape, t.dtype) for t in program.program.results]
    memory |= {t.root: a.reshape(-1) for t, a in zip(program.program.results, results, strict=True)}
    simulator = Simulator(text)
    for launch, kernel in program.module.kernels.items():
        for t, dtype in kernel.pointers:
            memory.setdefault(t, np.full(t.capacity or 0, np.nan if dtype.kind == "f" else 99, dtype))
        arrays = [memory[t] for t, _ in kernel.pointers]
        simulator.launch(launch.name, launch.grid, launch.block, arrays)
    return results


def layer_norm(x: Any, scale: Any, shift: Any, weight: Any) -> Any:
    mean = x.mean(1, keepdims=True)
    centred = x - mean
    variance = (centred**2).mean(1, keepdims=True)
    return ((centred / np.sqrt(variance + 1e-5) * scale + shift) * weight).mean()


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attended(x: Any) -> Any:
    return (softmax(x)[:, ::-1] * x).sum()


def rms_norm(x: Any, scale: Any, weight: Any) -> Any:
    return (x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5) * scale * weight).mean()


def bags(table: Any, index: Any, weight: Any) -> Any:
    return (table[index].sum(1) * weight).mean()


def cross_entropy(z: Any, labels: Any) -> Any:
    z = z - z.max(1, keepdims=True)
    return -np.mean(z[np.arange(len(labels)), labels] - np.log(np.exp(z).sum(1)))


def mlp(w1: Any, b1: Any, w2: Any, x: Any, y: Any) -> Any:
    return ((np.tanh(x @ w1 + b1) @ w2 - y) ** 2).mean()


def attention(q: Any, k: Any, v: Any) -> Any:
    s = q @ k.T * 0.5
    p = np.exp(s - s.max(1, keepdims=True))
    return ((p / p.sum(1, keepdims=True) @ v) ** 2).sum()


def scan(x: Any) -> Any:
    return (np.cumsum(x, axis=1) ** 2).sum()


def totals(x: Any) -> Any:
    return (np.cumsum(x) ** 2).sum() + (np.cumsum(x[::-1]) * x).sum()


def discounted(x: Any, k: Any) -> Any:
    s = np.float32(0)
    y = np.zeros(x.shape, x.dtype)
    for i in range(x.shape[0] - 1, -1, -1):
        s = x[i] + k[i] * s
        y[i] = s
    return (y**2).sum()


def transposes(x: Any, y: Any) -> Any:
    z = np.tanh(x).T * y
    return (z**2).sum() + (z * x.T).mean()


def transposed_softmax(x: Any, y: Any) -> Any:
    z = x.T - y
    e = np.exp(z - z.max(1, keepdims=True))
    return ((e / e.sum(1, keepdims=True)) ** 2).sum() + (np.tanh(x.T) * y).sum()


def embedding(table: Any, index: Any) -> Any:
    return (table[index] ** 2).sum()


def recurrence(w: Any, x: Any) -> Any:
    h = np.zeros(w.shape[0])
    for t in range(x.shape[0]):
        h = np.tanh(w @ h + x[t])
    return (h**2).sum()


def columns(x: Any) -> Any:
    return (x.sum(0) ** 3).sum()


def log_likelihood(a: Any, y: Any) -> Any:
    k = a @ a.T + 3.0 * np.eye(a.shape[0])
    c = np.linalg.cholesky(k)
    return np.sum(y * np.linalg.solve(k, y)) + np.sum(np.log(np.diag(c)))


def heat(u: Any) -> Any:
    for _ in range(12):
        u = u + 0.1 * (np.roll(u, 1) - 2 * u + np.roll(u, -1))
    return np.sum(u**2)


def normal(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


#: Functions with their arguments.
PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "layer_norm": (layer_norm, (normal(8, 33), normal(33), normal(1, 33)[0], normal(8, 33))),
    "rms_norm": (rms_norm, (normal(9, 70), normal(70), normal(9, 70))),
    "attended": (attended, (normal(9, 40),)),
    "bags": (bags, (normal(11, 5), np.arange(24).reshape(8, 3) % 11, normal(8, 5))),
    "cross_entropy": (cross_entropy, (normal(7, 10), np.arange(7) * 3 % 10)),
    "mlp": (mlp, (normal(5, 8), normal(8), normal(8, 3), normal(6, 5), normal(6, 3))),
    "attention": (attention, (normal(9, 4), normal(9, 4), normal(9, 4))),
    "scan": (scan, (normal(5, 37),)),
    "totals": (totals, (normal(70),)),
    "discounted": (discounted, (normal(70), normal(70) / 2)),
    "transposes": (transposes, (normal(40, 33), normal(33, 40))),
    "transposed_softmax": (transposed_softmax, (normal(70, 20), normal(20, 70))),
    "embedding": (embedding, (normal(10, 3), np.array([1, 1, 5, 9, 0, 1]))),
    "recurrence": (recurrence, (normal(4, 4, dtype=np.float64), normal(20, 4, dtype=np.float64))),
    "columns": (columns, (normal(40, 7),)),
    "log_likelihood": (log_likelihood, (normal(5, 5, dtype=np.float64), normal(5, dtype=np.float64))),
    "heat": (heat, (normal(50),)),
}


def floats(args: Sequence[Any]) -> tuple[int, ...]:
    """The arguments that are differentiated."""
    return tuple(k for k, a in enumerate(args) if a.dtype.kind == "f")
