"""Energies, and a network that is trained to solve a differential equation."""

from __future__ import annotations

import numpy as np

from benchmarks.program import Program


def lennard_jones(x):
    """Energy of all pairs of particles; a particle's term with itself is zero, as its distance is made 1."""
    offsets = x[:, None, :] - x
    squares = np.sum(offsets * offsets, axis=2) + np.eye(len(x), dtype=x.dtype)
    inverse = 1 / squares**3
    return 2 * np.sum(inverse * inverse - inverse)


def lennard_jones_torch(torch, x):
    """``lennard_jones`` for torch."""
    offsets = x[:, None, :] - x
    squares = torch.sum(offsets * offsets, 2) + torch.eye(len(x), dtype=x.dtype, device=x.device)
    inverse = 1 / squares**3
    return 2 * torch.sum(inverse * inverse - inverse)


def pinn(w1, b1, w2, b2, w3, x):
    """Mean squared residual of ``u'' + u = x`` for a network ``u``, whose derivatives are carried through by hand."""
    a, da = x[:, None] * w1 + b1, w1
    h = np.tanh(a)
    slope = 1 - h * h
    dh, ddh = slope * da, -2 * h * slope * da * da
    a, da, dda = h @ w2 + b2, dh @ w2, ddh @ w2
    h = np.tanh(a)
    slope = 1 - h * h
    u = h @ w3
    ddu = (slope * dda - 2 * h * slope * da * da) @ w3
    return np.mean((ddu + u - x) ** 2)


def pinn_jitgrad(jg, w1, b1, w2, b2, w3, x):
    """The same by second derivatives of the network. ``u`` of a point depends on that point alone, so the gradient of
    the sum is the derivative at each."""

    def u(x):
        return np.tanh(np.tanh(x[:, None] * w1 + b1) @ w2 + b2) @ w3

    def slope(x):
        return jg.grad(lambda x: np.sum(u(x)))(x)

    curvature = jg.grad(lambda x: np.sum(slope(x)))(x)
    return np.mean((curvature + u(x) - x) ** 2)


def pinn_jax(jax, w1, b1, w2, b2, w3, x):
    """``pinn`` for JAX."""
    jnp = jax.numpy

    def u(x):
        return jnp.tanh(jnp.tanh(x * w1 + b1) @ w2 + b2) @ w3

    curvature = jax.vmap(jax.grad(jax.grad(u)))(x)
    return jnp.mean((curvature + jax.vmap(u)(x) - x) ** 2)


def pinn_torch(torch, w1, b1, w2, b2, w3, x):
    """``pinn`` for torch."""

    def u(x):
        return torch.tanh(torch.tanh(x * w1 + b1) @ w2 + b2) @ w3

    func = torch.func
    curvature = func.vmap(func.grad(func.grad(u)))(x)
    return torch.mean((curvature + func.vmap(u)(x) - x) ** 2)


def _particles(rng, n):
    side = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:n]
    return (1.2 * grid + 0.05 * rng.normal(size=(n, 3)),)


def _network(rng, n, hidden):
    w1, b1, b2 = rng.normal(size=(3, hidden))
    w2 = rng.normal(size=(hidden, hidden)) / np.sqrt(hidden)
    return w1, b1, w2, b2, rng.normal(size=hidden) / np.sqrt(hidden), np.linspace(-2, 2, n)


PROGRAMS = (
    Program(
        name="lennard_jones", fun=lennard_jones, inputs=_particles, torch=lennard_jones_torch,
        sizes={"tiny": (5,), "small": (16,), "cache": (200,), "memory": (3000,)},
    ),
    Program(
        name="pinn", fun=pinn, jitgrad=pinn_jitgrad, inputs=_network, argnums=(0, 1, 2, 3, 4),
        torch=pinn_torch, jax=pinn_jax,
        sizes={"tiny": (6, 3), "small": (32, 8), "cache": (500, 32), "memory": (20_000, 64)},
    ),
)  # fmt: skip
