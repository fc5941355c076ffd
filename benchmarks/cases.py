"""The programs that are timed, and their inputs.

A case's ``fun`` is plain NumPy and returns a scalar. jitgrad runs it as it is; JAX and autograd run the same code with
``np`` bound to their own NumPy (see ``peers.py``); torch has its own version, with its fused operations where it has
them (``layer_norm``, ``cross_entropy``), since that is how a torch user writes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    """One program: ``fun(*inputs(rng))`` is a scalar, differentiated with respect to the arguments ``argnums``.

    ``torch_fun(torch, *tensors)`` is the same for torch. ``with_value`` is False where only the gradient is asked for.
    ``tolerance`` is relative to the largest element of an array.
    """

    name: str
    fun: Callable[..., Any]
    torch_fun: Callable[..., Any]
    inputs: Callable[[np.random.Generator], tuple]
    argnums: tuple[int, ...]
    with_value: bool = True
    tolerance: float = 1e-9


def scalar(x):
    """One float."""
    return np.sin(x) * np.exp(-x * x)


def scalar_torch(torch, x):
    """``scalar`` for torch."""
    return torch.sin(x) * torch.exp(-x * x)


def elementwise(x):
    """A chain of elementwise functions under one sum."""
    return np.sum(np.tanh(0.5 * x + 1) * np.exp(-x * x) / (1 + np.abs(x)))


def elementwise_torch(torch, x):
    """``elementwise`` for torch."""
    return torch.sum(torch.tanh(0.5 * x + 1) * torch.exp(-x * x) / (1 + torch.abs(x)))


def softmax_cross_entropy(z, labels):
    """Mean cross-entropy of integer labels under the softmax of each row."""
    z = z - np.max(z, axis=1, keepdims=True)
    log_total = np.log(np.sum(np.exp(z), axis=1))
    return np.mean(log_total - z[np.arange(len(labels)), labels])


def softmax_cross_entropy_torch(torch, z, labels):
    """``softmax_cross_entropy`` for torch."""
    return torch.nn.functional.cross_entropy(z, labels)


def layer_norm(x, scale, shift, weight):
    """Each row to zero mean and unit variance, then a weighted mean of all."""
    centred = x - np.mean(x, axis=1, keepdims=True)
    variance = np.mean(centred**2, axis=1, keepdims=True)
    y = scale * centred / np.sqrt(variance + 1e-5) + shift
    return np.mean(weight * y)


def layer_norm_torch(torch, x, scale, shift, weight):
    """``layer_norm`` for torch."""
    return torch.mean(weight * torch.nn.functional.layer_norm(x, scale.shape, scale, shift, 1e-5))


def logistic_regression(w, b, x, y):
    """Mean log-loss with a ridge penalty."""
    score = x @ w + b
    return np.mean(np.logaddexp(0, score) - y * score) + 0.5e-3 * np.sum(w * w)


def logistic_regression_torch(torch, w, b, x, y):
    """``logistic_regression`` for torch."""
    log_loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ w + b, y)
    return log_loss + 0.5e-3 * torch.sum(w * w)


def mlp(w1, b1, w2, b2, x, y):
    """Two-layer tanh network with softmax cross-entropy against one-hot targets."""
    z = np.tanh(x @ w1 + b1) @ w2 + b2
    z = z - np.max(z, axis=1, keepdims=True)
    log_p = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
    return -np.mean(np.sum(y * log_p, axis=1))


def mlp_torch(torch, w1, b1, w2, b2, x, y):
    """``mlp`` for torch."""
    z = torch.addmm(b2, torch.tanh(torch.addmm(b1, x, w1)), w2)
    return torch.nn.functional.cross_entropy(z, y)


def rosenbrock(x):
    """Rosenbrock's function of n variables."""
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_torch(torch, x):
    """``rosenbrock`` for torch."""
    return torch.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def _scalar_inputs(rng):
    return (float(rng.normal()),)


def _vector(n, dtype):
    return lambda rng: (rng.normal(size=n).astype(dtype),)


def _softmax_inputs(rng):
    return 3 * rng.normal(size=(256, 1000)).astype(np.float32), rng.integers(0, 1000, 256)


def _layer_norm_inputs(rng):
    x, weight = rng.normal(size=(2, 512, 768)).astype(np.float32)
    scale, shift = rng.normal(size=(2, 768)).astype(np.float32)
    return x, scale, shift, weight


def _logistic_inputs(rng):
    x = rng.normal(size=(10_000, 64))
    return rng.normal(size=64), 0.1 * rng.normal(), x, (rng.random(len(x)) < 0.5).astype(np.float64)


def _mlp_inputs(batch, n_in, n_hidden, n_out):
    def inputs(rng):
        w1 = rng.normal(size=(n_in, n_hidden)) / np.sqrt(n_in)
        w2 = rng.normal(size=(n_hidden, n_out)) / np.sqrt(n_hidden)
        b1, b2 = 0.1 * rng.normal(size=n_hidden), 0.1 * rng.normal(size=n_out)
        x, y = rng.normal(size=(batch, n_in)), np.eye(n_out)[rng.integers(0, n_out, batch)]
        return tuple(a.astype(np.float32) for a in (w1, b1, w2, b2, x, y))

    return inputs


def _mlp_case(*sizes: int) -> Case:
    name = "mlp_{}x{}-{}-{}".format(*sizes)
    return Case(name, mlp, mlp_torch, _mlp_inputs(*sizes), (0, 1, 2, 3), tolerance=1e-4)


_LISTED = (
    Case("scalar", scalar, scalar_torch, _scalar_inputs, (0,), with_value=False),
    Case("elementwise_1e6", elementwise, elementwise_torch, _vector(1_000_000, np.float32), (0,), tolerance=1e-4),
    Case("softmax_256x1000", softmax_cross_entropy, softmax_cross_entropy_torch, _softmax_inputs, (0,), tolerance=1e-4),
    Case("layer_norm_512x768", layer_norm, layer_norm_torch, _layer_norm_inputs, (0, 1, 2), tolerance=1e-4),
    Case("logistic_10000x64", logistic_regression, logistic_regression_torch, _logistic_inputs, (0, 1)),
    _mlp_case(16, 32, 64, 8),
    _mlp_case(128, 784, 256, 10),
    _mlp_case(512, 1024, 1024, 100),
    Case("rosenbrock_1000", rosenbrock, rosenbrock_torch, _vector(1000, np.float64), (0,)),
)
CASES = {case.name: case for case in _LISTED}


def inputs(case: Case) -> tuple:
    """The inputs of a case: NumPy arrays and floats, the same in every process."""
    return case.inputs(np.random.default_rng(12345))
