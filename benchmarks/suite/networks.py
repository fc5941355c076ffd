"""Blocks of neural networks: perceptrons with several activations, attention."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from benchmarks.program import Program


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


def mlp_pytensor(pt, w1, b1, w2, b2, x, y):
    """``mlp`` for PyTensor."""
    log_p = pt.special.log_softmax(pt.tanh(x @ w1 + b1) @ w2 + b2, axis=1)
    return -pt.mean(pt.sum(y * log_p, axis=1))


def gelu_mlp(w1, b1, w2, b2, x, weight):
    """The feed-forward block of a transformer, with its residual."""
    h = x @ w1 + b1
    h = 0.5 * h * (1 + special.erf(0.7071067811865476 * h))
    return np.mean(weight * (x + h @ w2 + b2))


def gelu_mlp_torch(torch, w1, b1, w2, b2, x, weight):
    """``gelu_mlp`` for torch."""
    h = torch.nn.functional.gelu(torch.addmm(b1, x, w1))
    return torch.mean(weight * (x + torch.addmm(b2, h, w2)))


def gelu_mlp_jax(jax, w1, b1, w2, b2, x, weight):
    """``gelu_mlp`` for JAX."""
    h = jax.nn.gelu(x @ w1 + b1, approximate=False)
    return jax.numpy.mean(weight * (x + h @ w2 + b2))


def swiglu_mlp(gate, up, down, x, weight):
    """The gated feed-forward block."""
    g = x @ gate
    return np.mean(weight * ((g * special.expit(g) * (x @ up)) @ down))


def swiglu_mlp_torch(torch, gate, up, down, x, weight):
    """``swiglu_mlp`` for torch."""
    return torch.mean(weight * ((torch.nn.functional.silu(x @ gate) * (x @ up)) @ down))


def swiglu_mlp_jax(jax, gate, up, down, x, weight):
    """``swiglu_mlp`` for JAX."""
    return jax.numpy.mean(weight * ((jax.nn.silu(x @ gate) * (x @ up)) @ down))


def attention(q, k, v, weight):
    """Softmax attention of one head; the rows of ``q``, ``k`` and ``v`` are positions."""
    scores = q @ k.T / math.sqrt(q.shape[1])
    p = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    return np.mean(weight * ((p / np.sum(p, axis=1, keepdims=True)) @ v))


def multi_head_attention(q, k, v, weight):
    """Softmax attention for arrays (batch, heads, positions, channels)."""
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[3])
    p = np.exp(scores - np.max(scores, axis=3, keepdims=True))
    out = np.einsum("bhqk,bhkd->bhqd", p / np.sum(p, axis=3, keepdims=True), v)
    return np.mean(weight * out)


def attention_torch(torch, q, k, v, weight):
    """Attention for torch, for one head and many."""
    return torch.mean(weight * torch.nn.functional.scaled_dot_product_attention(q, k, v))


def attention_jax(jax, q, k, v, weight):
    """Attention for JAX, for one head and many."""
    p = jax.nn.softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]), axis=-1)
    return jax.numpy.mean(weight * (p @ v))


def bilinear(x, a, y):
    """Sum of ``x' a y`` over a batch."""
    return np.sum((x @ a) * y)


def bilinear_pytensor(pt, x, a, y):
    """``bilinear`` for PyTensor."""
    return pt.sum((x @ a) * y)


def _mlp(rng, batch, n_in, n_hidden, n_out):
    w1 = rng.normal(size=(n_in, n_hidden)) / np.sqrt(n_in)
    w2 = rng.normal(size=(n_hidden, n_out)) / np.sqrt(n_hidden)
    b1, b2 = 0.1 * rng.normal(size=n_hidden), 0.1 * rng.normal(size=n_out)
    return w1, b1, w2, b2, rng.normal(size=(batch, n_in)), np.eye(n_out)[rng.integers(0, n_out, batch)]


def _block(rng, batch, width, hidden):
    w1, b1, w2, b2, x, _ = _mlp(rng, batch, width, hidden, width)
    return w1, b1, w2, b2, x, rng.normal(size=(batch, width))


def _gated(rng, batch, width, hidden):
    gate, up = rng.normal(size=(2, width, hidden)) / np.sqrt(width)
    down = rng.normal(size=(hidden, width)) / np.sqrt(hidden)
    return gate, up, down, rng.normal(size=(batch, width)), rng.normal(size=(batch, width))


def _heads(rng, *shape):
    return tuple(rng.normal(size=(4, *shape)))


def _bilinear(rng, batch, n, m):
    return rng.normal(size=(batch, n)), rng.normal(size=(n, m)), rng.normal(size=(batch, m))


BLOCK = {"tiny": (3, 4, 5), "small": (16, 32, 64), "cache": (64, 256, 512), "memory": (512, 1024, 4096)}

PROGRAMS = (
    Program(
        name="mlp", fun=mlp, inputs=_mlp, argnums=(0, 1, 2, 3), torch=mlp_torch, pytensor=mlp_pytensor,
        sizes={"tiny": (3, 4, 5, 3), "small": (16, 32, 64, 8), "cache": (128, 784, 256, 10),
               "memory": (512, 1024, 4096, 1024)},
        # The first layer has a product forward and one backward, the second has two backward.
        flops=lambda batch, n, hidden, out: 2 * batch * hidden * (2 * n + 3 * out),
    ),
    Program(
        name="gelu_mlp", fun=gelu_mlp, inputs=_block, sizes=BLOCK, argnums=(0, 1, 2, 3),
        torch=gelu_mlp_torch, jax=gelu_mlp_jax, flops=lambda batch, width, hidden: 10 * batch * width * hidden,
    ),
    Program(
        name="swiglu_mlp", fun=swiglu_mlp, inputs=_gated, sizes=BLOCK, argnums=(0, 1, 2),
        torch=swiglu_mlp_torch, jax=swiglu_mlp_jax, flops=lambda batch, width, hidden: 14 * batch * width * hidden,
    ),
    Program(
        name="attention", fun=attention, inputs=_heads, argnums=(0, 1, 2), torch=attention_torch, jax=attention_jax,
        sizes={"tiny": (4, 3), "small": (16, 16), "cache": (256, 64), "memory": (3000, 64)},
        flops=lambda n, d: 12 * n * n * d,
    ),
    Program(
        name="multi_head_attention", fun=multi_head_attention, inputs=_heads, argnums=(0, 1, 2),
        torch=attention_torch, jax=attention_jax,
        sizes={"tiny": (2, 2, 3, 2), "small": (2, 2, 16, 8), "cache": (2, 8, 64, 32), "memory": (4, 8, 512, 64)},
        flops=lambda batch, heads, n, d: 12 * batch * heads * n * n * d,
    ),
    Program(
        name="bilinear", fun=bilinear, inputs=_bilinear, argnums=(0, 1, 2), pytensor=bilinear_pytensor,
        sizes={"tiny": (3, 4, 5), "small": (16, 16, 16), "cache": (128, 256, 256), "memory": (1024, 2048, 2048)},
        flops=lambda batch, n, m: 6 * batch * n * m,
    ),
)  # fmt: skip
