"""A step of training: the gradient of a network and Adam's update of a tree of parameters."""

from __future__ import annotations

import numpy as np

from benchmarks.program import Program
from benchmarks.suite.networks import _mlp

RATE, DECAY, DECAY_SQUARES, SMALL = 1e-3, 0.9, 0.999, 1e-8


def loss(params, x, y):
    """Mean squared error of a two-layer network."""
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    return np.mean((hidden @ params["w2"] + params["b2"] - y) ** 2)


def loss_and_gradient(params, x, y):
    """``loss`` and its gradient by hand."""
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    error = hidden @ params["w2"] + params["b2"] - y
    d_out = 2 * error / error.size
    d_hidden = (d_out @ params["w2"].T) * (1 - hidden * hidden)
    gradient = {"w1": x.T @ d_hidden, "b1": d_hidden.sum(0), "w2": hidden.T @ d_out, "b2": d_out.sum(0)}
    return np.mean(error**2), gradient


def updated(params, mean, squares, step, grad, sqrt):
    """Adam's new parameters and moments, for trees that are dicts."""
    mean = {k: DECAY * mean[k] + (1 - DECAY) * grad[k] for k in params}
    squares = {k: DECAY_SQUARES * squares[k] + (1 - DECAY_SQUARES) * grad[k] ** 2 for k in params}
    rate, scale = RATE / (1 - DECAY**step), 1 / (1 - DECAY_SQUARES**step)
    params = {k: params[k] - rate * mean[k] / (sqrt(scale * squares[k]) + SMALL) for k in params}
    return params, mean, squares


def adam(params, mean, squares, step, x, y):
    """A step with the gradient by hand."""
    value, grad = loss_and_gradient(params, x, y)
    return (value, *updated(params, mean, squares, step, grad, np.sqrt))


def adam_jitgrad(jg, params, mean, squares, step, x, y):
    """A step with the library's own gradient."""
    value, grad = jg.value_and_grad(loss)(params, x, y)
    return (value, *updated(params, mean, squares, step, grad, np.sqrt))


def adam_jax(jax, params, mean, squares, step, x, y):
    """``adam`` for JAX."""
    jnp = jax.numpy

    def loss(params):
        hidden = jnp.tanh(x @ params["w1"] + params["b1"])
        return jnp.mean((hidden @ params["w2"] + params["b2"] - y) ** 2)

    value, grad = jax.value_and_grad(loss)(params)
    return (value, *updated(params, mean, squares, step, grad, jnp.sqrt))


def adam_torch(torch, params, mean, squares, step, x, y):
    """``adam`` for torch, as its users have it: the fused update, in place. Only the first call starts from the case's
    arguments."""
    names = sorted(params)
    hidden = torch.tanh(torch.addmm(params["b1"], x, params["w1"]))
    value = torch.nn.functional.mse_loss(torch.addmm(params["b2"], hidden, params["w2"]), y)
    grads = list(torch.autograd.grad(value, [params[k] for k in names]))
    state = [[tree[k] for k in names] for tree in (params, mean, squares)]
    steps = [torch.full((), float(step), device=x.device)] * len(names)
    with torch.no_grad():
        torch._fused_adam_(
            state[0], grads, state[1], state[2], [], steps, lr=RATE, beta1=DECAY, beta2=DECAY_SQUARES,
            weight_decay=0.0, eps=SMALL, amsgrad=False, maximize=False,
        )  # fmt: skip
    return value, params, mean, squares


def adam_torch_compile(torch, params, mean, squares, step, x, y):
    """``adam`` for torch.compile, which fuses the update itself."""

    def loss(params):
        hidden = torch.tanh(torch.addmm(params["b1"], x, params["w1"]))
        return torch.nn.functional.mse_loss(torch.addmm(params["b2"], hidden, params["w2"]), y)

    grad, value = torch.func.grad_and_value(loss)(params)
    return (value, *updated(params, mean, squares, step, grad, torch.sqrt))


def _state(rng, batch, n_in, n_hidden, n_out):
    w1, b1, w2, b2, x, y = _mlp(rng, batch, n_in, n_hidden, n_out)
    params = {"w1": w1, "b1": b1, "w2": w2, "b2": b2}
    mean = {k: 1e-3 * rng.normal(size=p.shape) for k, p in params.items()}
    return params, mean, {k: 1e-5 * rng.random(p.shape) for k, p in params.items()}, 7, x, y


PROGRAMS = (
    Program(
        name="adam", fun=adam, jitgrad=adam_jitgrad, jax=adam_jax, torch=adam_torch,
        torch_compile=adam_torch_compile, inputs=_state, step=True,
        argnums=(0, 1, 2), memory_bound=True,
        sizes={"tiny": (3, 4, 5, 2), "small": (16, 32, 64, 8), "cache": (32, 128, 256, 16),
               "memory": (16, 2048, 4096, 512)},
    ),
)  # fmt: skip
