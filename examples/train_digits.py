"""A two-layer network on scikit-learn's handwritten digits, trained with mini-batches and Adam.

    python examples/train_digits.py [--epochs 40] [--seed 0] [--no-plot] [--target cuda]

The network, the loss and Adam are plain NumPy. ``step`` is compiled as one native function: forward pass, gradient and
update. With ``--target cuda`` it runs on an NVIDIA GPU: parameters and the state of Adam stay there, and batches are
copied to it. Prints loss and accuracy, and the time of a step; saves the learning curve where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import jitgrad as jg


def logits(params, x):
    """Scores of the ten classes, (n, 10), for images x (n, 64)."""
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def loss(params, x, y):
    """Mean cross-entropy of labels y (n,) under the softmax of the logits, with a little weight decay."""
    z = logits(params, x)
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
    decay = np.sum(params["w1"] ** 2) + np.sum(params["w2"] ** 2)
    return -np.mean(log_p[np.arange(len(y)), y]) + 1e-4 * decay


class Adam(NamedTuple):
    """State of the Adam optimiser (Kingma and Ba, 2015): step count and two moving averages, trees like the params."""

    count: np.float32
    mean: dict
    square: dict


@jg.jit
def step(params, adam, x, y, rate=2e-3):
    """One step of Adam on a batch: ``(new params, new state, loss)``."""
    value, grad = jg.value_and_grad(loss)(params, x, y)
    count = adam.count + 1
    new, mean, square = {}, {}, {}
    for name, g in grad.items():
        mean[name] = 0.9 * adam.mean[name] + 0.1 * g
        square[name] = 0.999 * adam.square[name] + 0.001 * g**2
        m = mean[name] / (1 - 0.9**count)
        s = square[name] / (1 - 0.999**count)
        new[name] = params[name] - rate * m / (np.sqrt(s) + 1e-8)
    return new, Adam(count, mean, square), value


def initial_params(rng, sizes=(64, 128, 10)):
    """Random float32 weights, scaled by the square root of the number of inputs; zero biases."""
    n_in, n_hidden, n_out = sizes
    weights = {
        "w1": rng.normal(size=(n_in, n_hidden)) / np.sqrt(n_in),
        "b1": np.zeros(n_hidden),
        "w2": rng.normal(size=(n_hidden, n_out)) / np.sqrt(n_hidden),
        "b2": np.zeros(n_out),
    }
    return {name: w.astype(np.float32) for name, w in weights.items()}


def load_data(seed):
    """The 1797 digits as float32 images (n, 64) of about unit variance and labels (n,): train and test part (20 %)."""
    x, y = load_digits(return_X_y=True)
    x = ((x - 8) / 6).astype(np.float32)
    return train_test_split(x, y, test_size=0.2, random_state=seed, stratify=y)


def accuracy(params, x, y):
    """The fraction of the images that the network puts in the right class."""
    params = {name: np.asarray(w) for name, w in params.items()}  # a copy, where they are on a GPU
    return float(np.mean(np.argmax(logits(params, x), axis=1) == y))


def save_curve(path, history):
    """Draw loss and test accuracy over the epochs as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    losses, accuracies = zip(*history, strict=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    left.semilogy(losses)
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot(accuracies)
    right.set(xlabel="epoch", ylabel="test accuracy")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv=None):
    """Train, print, plot; returns the test accuracy. Exits with status 1 for ``--target cuda`` without a GPU."""
    parser = argparse.ArgumentParser(description="A two-layer network on the digits, trained with Adam.")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-plot", action="store_true", help="save no learning curve")
    parser.add_argument("--output", default="train_digits.png", help="where the learning curve goes")
    parser.add_argument("--target", choices=["cpu", "cuda"], default="cpu", help="where to train (default: cpu)")
    args = parser.parse_args(argv)
    if args.target == "cuda":
        try:
            jg.device()
        except jg.errors.DeviceError as error:
            parser.exit(1, f"{parser.prog}: {error}\n")
    with jg.config.using(target=args.target):
        return train(args)


def train(args):
    """Train, print and plot as the command line says; returns the test accuracy."""
    put = jg.device_put if args.target == "cuda" else lambda tree: tree
    rng = np.random.default_rng(args.seed)
    x_train, x_test, y_train, y_test = load_data(args.seed)
    params = initial_params(rng)
    zeros = {name: np.zeros_like(w) for name, w in params.items()}
    params, adam = put((params, Adam(np.float32(0), zeros, zeros)))

    start = time.perf_counter()
    step(params, adam, put(x_train[: args.batch]), put(y_train[: args.batch]))  # compiles; the result is not used
    print(f"first step (compiles): {time.perf_counter() - start:.2f} s")

    history, times = [], []
    progress = tqdm(range(args.epochs), unit="epoch")
    for _ in progress:
        losses = []
        order = rng.permutation(len(x_train))
        for first in range(0, len(order) - args.batch + 1, args.batch):
            batch = order[first : first + args.batch]
            x, y = put((x_train[batch], y_train[batch]))
            start = time.perf_counter()
            params, adam, value = step(params, adam, x, y)
            losses.append(float(value))  # waits for a GPU
            times.append(time.perf_counter() - start)
        history.append((float(np.mean(losses)), accuracy(params, x_test, y_test)))
        progress.set_postfix(loss=f"{history[-1][0]:.4f}", test=f"{history[-1][1]:.1%}")

    print(f"training loss {history[0][0]:.4f} -> {history[-1][0]:.4f}")
    print(f"accuracy: {accuracy(params, x_train, y_train):.2%} on {len(y_train)} training digits, ", end="")
    print(f"{history[-1][1]:.2%} on {len(y_test)} test digits")
    print(f"time of a step (batch of {args.batch}): {1e6 * np.median(times):.0f} us, median of {len(times)}")
    if not args.no_plot and importlib.util.find_spec("matplotlib"):
        save_curve(args.output, history)
        print(f"learning curve: {args.output}")
    return history[-1][1]


if __name__ == "__main__":
    main()
