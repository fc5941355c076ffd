"""Logistic regression by Newton's method, on scikit-learn's breast cancer data.

    python examples/logistic_regression.py [--steps 12] [--penalty 1.0]

``jg.value_and_grad`` and ``jg.hessian`` give Newton's method its derivatives. Both are checked against their closed
forms, and the solution against scikit-learn's own solver.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import jitgrad as jg


def loss(w, x, y, penalty):
    """Penalised negative log-likelihood: w (k + 1,) with the bias last, x (n, k), y (n,) zeros and ones."""
    score = x @ w[:-1] + w[-1]
    return np.sum(np.logaddexp(0, score) - y * score) + 0.5 * penalty * np.sum(w[:-1] ** 2)


def closed_forms(w, x, y, penalty):
    """Gradient and Hessian of ``loss`` as a textbook gives them."""
    design = np.column_stack([x, np.ones(len(x))])
    p = 1 / (1 + np.exp(-design @ w))
    ridge = np.full(len(w), penalty)
    ridge[-1] = 0
    return design.T @ (p - y) + ridge * w, (design.T * (p * (1 - p))) @ design + np.diag(ridge)


def main(argv=None):
    """Fit, check and print; returns the largest difference from scikit-learn's coefficients."""
    parser = argparse.ArgumentParser(description="Logistic regression by Newton's method.")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--penalty", type=float, default=1.0)
    args = parser.parse_args(argv)

    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = y.astype(float)
    value_and_grad, hessian = jg.value_and_grad(loss), jg.hessian(loss)

    w = np.zeros(x.shape[1] + 1)
    for number in range(args.steps):
        value, grad = value_and_grad(w, x, y, args.penalty)
        curvature = hessian(w, x, y, args.penalty)
        grad_form, hessian_form = closed_forms(w, x, y, args.penalty)
        np.testing.assert_allclose(grad, grad_form, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(curvature, hessian_form, rtol=1e-9, atol=1e-9)
        print(f"step {number:2}: loss {value:.9f}, |gradient| {np.linalg.norm(grad):.2e}")
        if np.linalg.norm(grad) < 1e-9:
            break
        w = w - np.linalg.solve(curvature, grad)

    reference = LogisticRegression(C=1 / args.penalty, solver="newton-cholesky", tol=1e-10, max_iter=200).fit(x, y)
    difference = np.max(np.abs(w - np.append(reference.coef_, reference.intercept_)))
    correct = np.mean((x @ w[:-1] + w[-1] > 0) == y)
    print("gradient and Hessian equal their closed forms at every step")
    print(f"accuracy {correct:.1%} on the {len(y)} rows that it was fitted to")
    print(f"largest difference from scikit-learn's coefficients: {difference:.1e}")
    return float(difference)


if __name__ == "__main__":
    main()
