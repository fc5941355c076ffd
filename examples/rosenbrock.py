"""Rosenbrock's function minimised by SciPy, with the gradient and Hessian-vector products from jitgrad.

    python examples/rosenbrock.py [--n 20]

``scipy.optimize.minimize(jac=True)`` wants a function that returns value and gradient: that is ``jg.value_and_grad``.
For n > 3 the function has a second, local minimum near (-1, 1, ..., 1); the start here leads to the global one.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.optimize import minimize, rosen_der, rosen_hess_prod

import jitgrad as jg


def rosenbrock(x):
    """Sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2 for x (n,); its minimum is 0 at (1, ..., 1)."""
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


value_and_grad = jg.value_and_grad(rosenbrock)


@jg.jit
def hessian_product(x, v):
    """Hessian times v, by forward mode over reverse mode; no Hessian is built."""
    return jg.jvp(jg.grad(rosenbrock), (x,), (v,))[1]


def main(argv=None):
    """Minimise with BFGS and Newton-CG, with and without derivatives; returns the largest error of the solutions."""
    parser = argparse.ArgumentParser(description="Rosenbrock's function minimised by SciPy.")
    parser.add_argument("--n", type=int, default=20, help="number of variables")
    args = parser.parse_args(argv)

    start = np.resize([1.3, 0.7, 0.8, 1.9, 1.2], args.n)
    direction = np.cos(np.arange(args.n))
    np.testing.assert_allclose(value_and_grad(start)[1], rosen_der(start), rtol=1e-12)
    np.testing.assert_allclose(hessian_product(start, direction), rosen_hess_prod(start, direction), rtol=1e-12)
    print("gradient and Hessian-vector product equal SciPy's hand-written ones")

    runs = {
        "BFGS, jac=True": {"fun": value_and_grad, "jac": True, "method": "BFGS"},
        "Newton-CG, jac=True, hessp": {
            "fun": value_and_grad, "jac": True, "hessp": hessian_product, "method": "Newton-CG",
        },
        "BFGS, finite differences": {"fun": rosenbrock, "method": "BFGS"},
    }  # fmt: skip
    errors = {}
    for name, options in runs.items():
        begin = time.perf_counter()
        result = minimize(x0=start, **options)
        seconds = time.perf_counter() - begin
        errors[name] = float(np.max(np.abs(result.x - 1)))
        counts = f"{result.nit:4} steps, {result.nfev:5} evaluations"
        print(f"{name:28} {counts}, {1e3 * seconds:6.1f} ms, largest error {errors[name]:.1e}")
    return max(error for name, error in errors.items() if "jac=True" in name)


if __name__ == "__main__":
    main()
