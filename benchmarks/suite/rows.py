"""Reductions along rows: log-sum-exp, cross-entropy, normalisations, running sums, sorting."""

from __future__ import annotations

import numpy as np

from benchmarks.program import Program

ROWS = {"tiny": (3, 5), "small": (8, 32), "cache": (64, 768), "memory": (8192, 1024)}


def logsumexp(x):
    """Mean of the rows' log-sum-exp."""
    top = np.max(x, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(x - top), axis=1)) + top[:, 0])


def logsumexp_torch(torch, x):
    """``logsumexp`` for torch."""
    return torch.mean(torch.logsumexp(x, 1))


def logsumexp_jax(jax, x):
    """``logsumexp`` for JAX."""
    return jax.numpy.mean(jax.nn.logsumexp(x, axis=1))


def logsumexp_pytensor(pt, x):
    """``logsumexp`` for PyTensor, which makes it stable itself."""
    return pt.mean(pt.logsumexp(x, axis=1))


def softmax_cross_entropy(z, labels):
    """Mean cross-entropy of integer labels under the softmax of each row."""
    z = z - np.max(z, axis=1, keepdims=True)
    log_total = np.log(np.sum(np.exp(z), axis=1))
    return np.mean(log_total - z[np.arange(len(labels)), labels])


def softmax_cross_entropy_torch(torch, z, labels):
    """``softmax_cross_entropy`` for torch."""
    return torch.nn.functional.cross_entropy(z, labels)


def softmax_cross_entropy_pytensor(pt, z, labels):
    """``softmax_cross_entropy`` for PyTensor."""
    return -pt.mean(pt.special.log_softmax(z, axis=1)[pt.arange(labels.shape[0]), labels])


def layer_norm(x, scale, shift, weight):
    """Each row to zero mean and unit variance, then a weighted mean of all."""
    centred = x - np.mean(x, axis=1, keepdims=True)
    variance = np.mean(centred**2, axis=1, keepdims=True)
    y = scale * centred / np.sqrt(variance + 1e-5) + shift
    return np.mean(weight * y)


def layer_norm_torch(torch, x, scale, shift, weight):
    """``layer_norm`` for torch."""
    return torch.mean(weight * torch.nn.functional.layer_norm(x, scale.shape, scale, shift, 1e-5))


def layer_norm_pytensor(pt, x, scale, shift, weight):
    """``layer_norm`` for PyTensor."""
    centred = x - pt.mean(x, axis=1, keepdims=True)
    variance = pt.mean(centred**2, axis=1, keepdims=True)
    return pt.mean(weight * (scale * centred / pt.sqrt(variance + 1e-5) + shift))


def rms_norm(x, scale, weight):
    """Each row to unit mean square, then a weighted mean of all."""
    return np.mean(weight * (scale * x / np.sqrt(np.mean(x * x, axis=1, keepdims=True) + 1e-5)))


def rms_norm_torch(torch, x, scale, weight):
    """``rms_norm`` for torch."""
    return torch.mean(weight * torch.nn.functional.rms_norm(x, scale.shape, scale, 1e-5))


def batch_norm(x, scale, shift, weight):
    """Each channel of images (batch, channels, height, width) to zero mean and unit variance."""
    centred = x - np.mean(x, axis=(0, 2, 3), keepdims=True)
    variance = np.mean(centred**2, axis=(0, 2, 3), keepdims=True)
    y = scale[:, None, None] * centred / np.sqrt(variance + 1e-5) + shift[:, None, None]
    return np.mean(weight * y)


def batch_norm_torch(torch, x, scale, shift, weight):
    """``batch_norm`` for torch."""
    y = torch.nn.functional.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5)
    return torch.mean(weight * y)


def cumulative_sum(steps, target):
    """Squared distance of each row's path, the running sum of its steps, from a target."""
    return np.mean((np.cumsum(steps, axis=1) - target) ** 2)


def sorted_distance(x, y):
    """Wasserstein distance, squared, of the samples in each pair of rows."""
    return np.mean((np.sort(x, axis=1) - np.sort(y, axis=1)) ** 2)


def sorted_distance_torch(torch, x, y):
    """``sorted_distance`` for torch."""
    return torch.mean((torch.sort(x, dim=1).values - torch.sort(y, dim=1).values) ** 2)


def _rows(rng, n, k):
    return (3 * rng.normal(size=(n, k)),)


def _labelled(rng, n, k):
    return 3 * rng.normal(size=(n, k)), rng.integers(0, k, n)


def _layer(rng, n, k):
    x, weight = rng.normal(size=(2, n, k))
    scale, shift = rng.normal(size=(2, k))
    return x, scale, shift, weight


def _rms(rng, n, k):
    x, scale, _, weight = _layer(rng, n, k)
    return x, scale, weight


def _images(rng, n, channels, side):
    x, weight = rng.normal(size=(2, n, channels, side, side))
    scale, shift = rng.normal(size=(2, channels))
    return x, scale, shift, weight


def _pair(rng, n, k):
    return rng.normal(size=(n, k)), rng.normal(size=(n, k))


PROGRAMS = (
    Program(
        name="logsumexp", fun=logsumexp, inputs=_rows, sizes=ROWS, memory_bound=True,
        torch=logsumexp_torch, jax=logsumexp_jax, pytensor=logsumexp_pytensor,
    ),
    Program(
        name="softmax_cross_entropy", fun=softmax_cross_entropy, inputs=_labelled, sizes=ROWS, memory_bound=True,
        torch=softmax_cross_entropy_torch, pytensor=softmax_cross_entropy_pytensor,
    ),
    Program(
        name="ten_classes", fun=softmax_cross_entropy, inputs=_labelled, memory_bound=True,
        sizes={"tiny": (3, 10), "small": (16, 10), "cache": (3000, 10), "memory": (800_000, 10)},
        torch=softmax_cross_entropy_torch, pytensor=softmax_cross_entropy_pytensor,
    ),
    Program(
        name="layer_norm", fun=layer_norm, inputs=_layer, sizes=ROWS, argnums=(0, 1, 2), memory_bound=True,
        torch=layer_norm_torch, pytensor=layer_norm_pytensor,
    ),
    Program(
        name="rms_norm", fun=rms_norm, inputs=_rms, sizes=ROWS, argnums=(0, 1), memory_bound=True,
        torch=rms_norm_torch,
    ),
    Program(
        name="batch_norm", fun=batch_norm, inputs=_images, argnums=(0, 1, 2), torch=batch_norm_torch,
        sizes={"tiny": (2, 2, 3), "small": (4, 4, 6), "cache": (8, 16, 20), "memory": (32, 64, 64)}, memory_bound=True,
    ),
    Program(
        name="cumulative_sum", fun=cumulative_sum, inputs=_pair, sizes=ROWS, memory_bound=True,
    ),
    Program(
        name="sorted_distance", fun=sorted_distance, inputs=_pair, argnums=(0, 1), torch=sorted_distance_torch,
        sizes={"tiny": (2, 6), "small": (4, 64), "cache": (16, 2000), "memory": (64, 50_000)}, autograd=False,
    ),
)  # fmt: skip
