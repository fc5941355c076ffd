"""A small convolutional network on scikit-learn's handwritten digits, written with NumPy slicing.

    python examples/conv_net.py [--epochs 12] [--seed 0]

Two 3x3 convolutions with ReLU, one 2x2 max pooling and a dense layer, trained by gradient descent with momentum. A
convolution is a matrix product with the shifted copies of the image; pooling is a reshape and a ``max``.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import jitgrad as jg


def conv3x3(x, w, b):
    """Valid 3x3 convolution: x (n, h, w, c_in), w (3 * 3 * c_in, c_out), b (c_out,) -> (n, h - 2, w - 2, c_out)."""
    n, height, width, _ = x.shape
    rows, columns = height - 2, width - 2
    shifted = [x[:, i : i + rows, j : j + columns, :] for i in range(3) for j in range(3)]
    patches = np.concatenate(shifted, axis=-1)
    return (patches.reshape(n * rows * columns, -1) @ w + b).reshape(n, rows, columns, -1)


def max_pool2x2(x):
    """Largest value of each 2x2 block: (n, h, w, c) -> (n, h / 2, w / 2, c)."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def logits(params, images):
    """Scores of the ten classes, (n, 10), for images (n, 8, 8)."""
    x = images[:, :, :, np.newaxis]
    x = np.maximum(conv3x3(x, params["conv1"], params["b1"]), 0)
    x = np.maximum(conv3x3(x, params["conv2"], params["b2"]), 0)
    x = max_pool2x2(x)
    return x.reshape(len(images), -1) @ params["dense"] + params["b3"]


@jg.value_and_grad
def loss(params, images, labels):
    """Mean cross-entropy of the labels under the softmax of the logits."""
    z = logits(params, images)
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
    return -np.mean(log_p[np.arange(len(labels)), labels])


predict = jg.jit(lambda params, images: np.argmax(logits(params, images), axis=1))


def initial_params(rng, channels=(8, 16)):
    """Random float32 weights with variance 2 / (number of inputs), as suits ReLU; zero biases."""
    first, second = channels
    shapes = {"conv1": (9, first), "conv2": (9 * first, second), "dense": (4 * second, 10)}
    params = {name: rng.normal(size=shape) * np.sqrt(2 / shape[0]) for name, shape in shapes.items()}
    params |= {"b1": np.zeros(first), "b2": np.zeros(second), "b3": np.zeros(10)}
    return {name: w.astype(np.float32) for name, w in params.items()}


def main(argv=None):
    """Train and print; returns the test accuracy."""
    parser = argparse.ArgumentParser(description="A small convolutional network on the digits.")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)

    rng = np.random.default_rng(args.seed)
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 8, 8) / 16).astype(np.float32)
    split = train_test_split(images, labels, test_size=0.2, random_state=args.seed, stratify=labels)
    x_train, x_test, y_train, y_test = split

    params = initial_params(rng)
    velocity = {name: np.zeros_like(w) for name, w in params.items()}
    times = []
    history = []
    for epoch in tqdm(range(args.epochs), unit="epoch"):
        rate = args.rate * 0.5 * (1 + np.cos(np.pi * epoch / args.epochs))
        losses = []
        order = rng.permutation(len(x_train))
        for first in range(0, len(order) - args.batch + 1, args.batch):
            batch = order[first : first + args.batch]
            start = time.perf_counter()
            value, grad = loss(params, x_train[batch], y_train[batch])
            times.append(time.perf_counter() - start)
            losses.append(value)
            for name, g in grad.items():
                velocity[name] = 0.9 * velocity[name] - np.float32(rate) * g
                params[name] = params[name] + velocity[name]
        history.append(float(np.mean(losses)))

    correct = float(np.mean(predict(params, x_test) == y_test))
    print(f"training loss {history[0]:.4f} -> {history[-1]:.4f}")
    print(f"accuracy on {len(y_test)} test digits: {correct:.2%}")
    print(f"value and gradient, batch of {args.batch}: {1e6 * np.median(times):.0f} us; first call {times[0]:.2f} s")
    return correct


if __name__ == "__main__":
    main()
