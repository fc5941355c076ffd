"""The rules of differentiation, each checked against its closed form and drawn.

    python examples/chain_rule.py [--no-plot] [--output DIR]

Prints one line a case with the largest error over its points. Saves ``chain_rule_compositions.png`` (functions and
their derivatives) and ``chain_rule_tangents.png`` (every elementary function, its derivative and a tangent line).
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import jitgrad as jg


class Case(NamedTuple):
    """A function of one variable, its derivative as a textbook gives it, and the interval where both are compared."""

    name: str
    fun: Callable
    closed_form: Callable
    low: float
    high: float

    def points(self):
        """120 points of the interval."""
        return np.linspace(self.low, self.high, 120)


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def sigmoid_prime(x):
    """The derivative of ``sigmoid``, by hand."""
    return sigmoid(x) * (1 - sigmoid(x))


CHAIN_RULE = [
    Case("sin(exp(2x))", lambda x: np.sin(np.exp(2 * x)), lambda x: 2 * np.exp(2 * x) * np.cos(np.exp(2 * x)), -2, 1),
    Case(
        "3 exp(2x) sin(x)",
        lambda x: 3 * np.exp(2 * x) * np.sin(x),
        lambda x: 3 * np.exp(2 * x) * (2 * np.sin(x) + np.cos(x)),
        -2,
        2,
    ),
    Case("(3x^2 + 1)^5", lambda x: (3 * x**2 + 1) ** 5, lambda x: 30 * x * (3 * x**2 + 1) ** 4, -1, 1),
    Case("sqrt(1 + x^4)", lambda x: np.sqrt(1 + x**4), lambda x: 2 * x**3 / np.sqrt(1 + x**4), -2, 2),
]

COMPOSITIONS = [
    Case("sigmoid(x^2)", lambda x: sigmoid(x**2), lambda x: 2 * x * sigmoid_prime(x**2), -3, 3),
    Case("sigmoid(x)^2", lambda x: sigmoid(x) ** 2, lambda x: 2 * sigmoid(x) * sigmoid_prime(x), -3, 3),
]


def first(x):
    """u in the rules for two functions."""
    return np.sin(x) + x


def second(x):
    """v in the rules for two functions; never 0."""
    return np.exp(x / 2) + 1


def first_prime(x):
    """u', by hand."""
    return np.cos(x) + 1


def second_prime(x):
    """v', by hand."""
    return np.exp(x / 2) / 2


TWO_FUNCTIONS = [
    Case("u + v", lambda x: first(x) + second(x), lambda x: first_prime(x) + second_prime(x), -3, 3),
    Case("u - v", lambda x: first(x) - second(x), lambda x: first_prime(x) - second_prime(x), -3, 3),
    Case(
        "u v",
        lambda x: first(x) * second(x),
        lambda x: first_prime(x) * second(x) + first(x) * second_prime(x),
        -3,
        3,
    ),
    Case(
        "u / v",
        lambda x: first(x) / second(x),
        lambda x: (first_prime(x) * second(x) - first(x) * second_prime(x)) / second(x) ** 2,
        -3,
        3,
    ),
]

ELEMENTARY = [
    Case("5", lambda x: 5.0, lambda x: np.zeros_like(x), -2, 2),
    Case("x", lambda x: x, lambda x: np.ones_like(x), -2, 2),
    Case("x^2", lambda x: x**2, lambda x: 2 * x, -2, 2),
    Case("x^5", lambda x: x**5, lambda x: 5 * x**4, -1.5, 1.5),
    Case("1 / x", lambda x: 1 / x, lambda x: -1 / x**2, 0.3, 3),
    Case("x^-3", lambda x: x**-3.0, lambda x: -3 / x**4, 0.6, 3),
    Case("sqrt(x)", np.sqrt, lambda x: 0.5 / np.sqrt(x), 0.05, 4),
    Case("x^(2/3)", lambda x: x ** (2 / 3), lambda x: 2 / 3 * x ** (-1 / 3), 0.05, 4),
    Case("x^x", lambda x: x**x, lambda x: x**x * (np.log(x) + 1), 0.1, 2),
    Case("|x|", np.abs, np.sign, -2, 2),
    Case("exp(x)", np.exp, np.exp, -2, 2),
    Case("2^x", lambda x: 2**x, lambda x: np.log(2) * 2**x, -2, 3),
    Case("10^x", lambda x: 10**x, lambda x: np.log(10) * 10**x, -1, 1),
    Case("log(x)", np.log, lambda x: 1 / x, 0.1, 4),
    Case("log_2(x)", np.log2, lambda x: 1 / (x * np.log(2)), 0.1, 4),
    Case("log_10(x)", np.log10, lambda x: 1 / (x * np.log(10)), 0.1, 4),
    Case("log_3(x)", lambda x: np.log(x) / np.log(3), lambda x: 1 / (x * np.log(3)), 0.1, 4),
    Case("sin(x)", np.sin, np.cos, -4, 4),
    Case("cos(x)", np.cos, lambda x: -np.sin(x), -4, 4),
    Case("tan(x)", np.tan, lambda x: 1 / np.cos(x) ** 2, -1.3, 1.3),
    Case("cot(x)", lambda x: 1 / np.tan(x), lambda x: -1 / np.sin(x) ** 2, 0.3, 2.8),
    Case("sec(x)", lambda x: 1 / np.cos(x), lambda x: np.sin(x) / np.cos(x) ** 2, -1.3, 1.3),
    Case("csc(x)", lambda x: 1 / np.sin(x), lambda x: -np.cos(x) / np.sin(x) ** 2, 0.3, 2.8),
    Case("arcsin(x)", np.arcsin, lambda x: 1 / np.sqrt(1 - x**2), -0.95, 0.95),
    Case("arccos(x)", np.arccos, lambda x: -1 / np.sqrt(1 - x**2), -0.95, 0.95),
    Case("arctan(x)", np.arctan, lambda x: 1 / (1 + x**2), -4, 4),
    Case("arccot(x)", lambda x: np.pi / 2 - np.arctan(x), lambda x: -1 / (1 + x**2), -4, 4),
    Case("sinh(x)", np.sinh, np.cosh, -2, 2),
    Case("cosh(x)", np.cosh, np.sinh, -2, 2),
    Case("tanh(x)", np.tanh, lambda x: 1 / np.cosh(x) ** 2, -3, 3),
    Case("coth(x)", lambda x: 1 / np.tanh(x), lambda x: -1 / np.sinh(x) ** 2, 0.3, 3),
    Case("arsinh(x)", np.arcsinh, lambda x: 1 / np.sqrt(x**2 + 1), -4, 4),
    Case("arcosh(x)", np.arccosh, lambda x: 1 / np.sqrt(x**2 - 1), 1.1, 4),
    Case("artanh(x)", np.arctanh, lambda x: 1 / (1 - x**2), -0.95, 0.95),
    Case("sigmoid(x)", sigmoid, sigmoid_prime, -5, 5),
]


def derivative(fun, points):
    """The derivative of ``fun`` at each of the points: the gradient of the sum of its values."""
    return jg.grad(lambda x: np.sum(fun(x)))(points)


def check(case, points):
    """Compare a case with its closed form at the points, and print the largest error; returns the derivative."""
    found, expected = derivative(case.fun, points), case.closed_form(points)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    print(f"{case.name:18} largest error {np.max(np.abs(found - expected)):.1e} at {len(points)} points")
    return found


def check_neuron(rng):
    """One sigmoid neuron with log-loss: the gradients of weights and bias are (p - y) x and p - y."""

    def loss(w, b, x, y):
        p = sigmoid(x @ w + b)
        return -(y * np.log(p) + (1 - y) * np.log(1 - p))

    w, b, x = rng.normal(size=3), 0.3, rng.normal(size=3)
    gradient = jg.grad(loss, argnums=(0, 1))
    for y in (0.0, 1.0):
        w_grad, b_grad = gradient(w, b, x, y)
        error = sigmoid(x @ w + b) - y
        np.testing.assert_allclose(w_grad, error * x, rtol=1e-10)
        np.testing.assert_allclose(b_grad, error, rtol=1e-10)
        print(f"neuron, y = {y:.0f}      gradient of the weights {np.round(w_grad, 4)}, of the bias {b_grad:.4f}")


def check_several_variables():
    """(x^2 + x y) y^3 at (1, 2), and 2 x.x at (0, 1, 2, 3)."""
    pair = jg.grad(lambda x, y: (x**2 + x * y) * y**3, argnums=(0, 1))(1.0, 2.0)
    np.testing.assert_allclose(pair, (32, 44), rtol=1e-14)
    print(f"(x^2 + x y) y^3    gradient at (1, 2): ({pair[0]:g}, {pair[1]:g})")
    twice = jg.grad(lambda x: 2 * np.dot(x, x))(np.arange(4.0))
    np.testing.assert_array_equal(twice, [0, 4, 8, 12])
    print(f"2 x.x              gradient at (0, 1, 2, 3): {twice}")


def draw_compositions(plt, path, drawn):
    """Draw each (case, points, derivative) with the curves of function and derivative."""
    figure, axes = plt.subplots(1, len(drawn), figsize=(5 * len(drawn), 3.5), layout="constrained", squeeze=False)
    for axis, (case, points, slope) in zip(axes[0], drawn, strict=True):
        axis.plot(points, case.fun(points), label=case.name)
        axis.plot(points, slope, "--", label="derivative")
        axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_tangents(plt, path, drawn):
    """Draw each (case, points, derivative) with the derivative and the tangent line at one of the points."""
    columns = 7
    rows = -(-len(drawn) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.1 * rows), layout="constrained")
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    for axis, (case, points, slope) in zip(axes.flat, drawn, strict=False):
        values = np.broadcast_to(case.fun(points), points.shape)
        at = len(points) * 2 // 3
        axis.plot(points, values, label="function")
        axis.plot(points, slope, "--", linewidth=0.8, label="derivative")
        axis.plot(points, values[at] + slope[at] * (points - points[at]), linewidth=0.8, label="tangent")
        axis.plot(points[at], values[at], "k.")
        axis.set_ylim(*np.percentile(np.concatenate([values, slope]), [2, 98]) + np.array([-0.5, 0.5]))
        axis.set_title(case.name, fontsize=9)
        axis.tick_params(labelsize=6)
    axes.flat[0].legend(fontsize=6)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv=None):
    """Check every case, print, draw; returns the number of cases checked."""
    parser = argparse.ArgumentParser(description="The rules of differentiation, checked and drawn.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-plot", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder for the pictures")
    args = parser.parse_args(argv)

    for case in CHAIN_RULE + TWO_FUNCTIONS:
        check(case, case.points())
    x = np.arange(-3, 3, 0.01)
    compositions = [(case, x, check(case, x)) for case in COMPOSITIONS]
    elementary = [(case, case.points(), check(case, case.points())) for case in ELEMENTARY]
    check_neuron(np.random.default_rng(args.seed))
    check_several_variables()
    count = len(CHAIN_RULE) + len(TWO_FUNCTIONS) + len(compositions) + len(elementary) + 4
    print(f"{count} cases agree with their closed forms")

    if not args.no_plot and importlib.util.find_spec("matplotlib"):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        args.output.mkdir(parents=True, exist_ok=True)
        draw_compositions(plt, args.output / "chain_rule_compositions.png", compositions)
        draw_tangents(plt, args.output / "chain_rule_tangents.png", elementary)
        print(f"pictures: {args.output}/chain_rule_compositions.png, {args.output}/chain_rule_tangents.png")
    return count


if __name__ == "__main__":
    main()
