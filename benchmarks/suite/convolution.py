"""A layer of a convolutional network: 3x3 convolution of images (batch, channels, height, width), ReLU, 2x2 pooling."""

from __future__ import annotations

import numpy as np

from benchmarks.program import Program


def conv_im2col(x, w, b, weight):
    """The patches as rows of one matrix, and one product."""
    n, channels, height, width = x.shape
    h, v = height - 2, width - 2
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    rows = patches.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * v, channels * 9)
    y = np.maximum(rows @ w.reshape(len(w), -1).T + b, 0)
    pooled = np.max(y.reshape(n, h // 2, 2, v // 2, 2, len(w)), axis=(2, 4))
    return np.mean(weight * pooled.transpose(0, 3, 1, 2))


def conv_direct(x, w, b, weight):
    """The sum over the nine offsets."""
    n, _, height, width = x.shape
    h, v = height - 2, width - 2
    y = b[:, None, None]
    for i in range(3):
        for j in range(3):
            y = y + np.einsum("nchv,oc->nohv", x[:, :, i : i + h, j : j + v], w[:, :, i, j])
    pooled = np.max(np.maximum(y, 0).reshape(n, len(w), h // 2, 2, v // 2, 2), axis=(3, 5))
    return np.mean(weight * pooled)


def conv_torch(torch, x, w, b, weight):
    """The layer for torch."""
    functional = torch.nn.functional
    return torch.mean(weight * functional.max_pool2d(torch.relu(functional.conv2d(x, w, b)), 2))


def conv_jax(jax, x, w, b, weight):
    """The layer for JAX."""
    y = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID") + b[:, None, None]
    window = (1, 1, 2, 2)
    pooled = jax.lax.reduce_window(jax.nn.relu(y), -np.inf, jax.lax.max, window, window, "VALID")
    return jax.numpy.mean(weight * pooled)


def _images(rng, n, channels, side, filters):
    w = rng.normal(size=(filters, channels, 3, 3)) / np.sqrt(9 * channels)
    pooled = rng.normal(size=(n, filters, (side - 2) // 2, (side - 2) // 2))
    return rng.normal(size=(n, channels, side, side)), w, 0.1 * rng.normal(size=filters), pooled


def _flops(n, channels, side, filters):
    return 3 * 2 * 9 * n * channels * filters * (side - 2) ** 2


SIZES = {"tiny": (2, 2, 6, 3), "small": (1, 1, 14, 4), "cache": (8, 8, 18, 16), "memory": (32, 16, 66, 32)}

PROGRAMS = tuple(
    Program(
        name=fun.__name__, fun=fun, inputs=_images, sizes=SIZES, argnums=(0, 1, 2), torch=conv_torch, jax=conv_jax,
        flops=_flops,
        jumps=True, autograd=fun is conv_direct,
        tolerance={"f32": 1e-2, "f64": 1e-9},
    )
    for fun in (conv_im2col, conv_direct)
)  # fmt: skip
