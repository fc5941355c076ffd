"""Functions of ``scipy.special`` that are made of others, and those that SciPy's code computes: values at ends of
domains, for dtypes and forms of a call; derivatives, where plain formulas divide 0 by 0 too; what is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import special

import jitgrad as jg
from jitgrad.errors import UnsupportedError
from jitgrad.testing import check_grads

X = np.array([0.3, 0.9, 1.7, 3.1])
LAMBDA = np.array([0.0, 0.5, -1.3, 2.0])
#: At the ends of domains, and beyond.
ENDS = np.array([-np.inf, -800.0, -2.5, -1.0, -1e-3, -0.0, 0.0, 1e-9, 0.5, 1.0, 1.5, 3.0, 20.0, 800.0, np.inf, np.nan])
NUMBERS = ENDS[np.isfinite(ENDS)]
CHANCES = np.array([0.0, 0.1, 0.5, 0.9, 1.0, np.nan, -0.5, 1.5])
COUNTS = np.array([-2, -1, 0, 1, 2, 3, 5, 6, 10, 20])
FAMILIES = ("legendre", "chebyt", "chebyu", "hermite", "hermitenorm", "laguerre", "sh_legendre", "sh_chebyu")


def each(names: str, *args: Any) -> list[Any]:
    return [getattr(special, name)(*args) for name in names.split()]


def compare(fun: Any, *args: Any, rtol: float = 1e-11) -> None:
    for dtype, tolerance in ((np.float64, rtol), (np.float32, 2e-5)):
        given = [x.astype(dtype) if x.dtype == np.float64 else x for x in map(np.asarray, args)]
        found = jg.jit(fun)(*given)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            wanted = fun(*given)
        for k, (value, expected) in enumerate(zip(found, wanted, strict=True)):
            assert value.dtype == np.asarray(expected).dtype, k
            np.testing.assert_allclose(value, expected, rtol=tolerance, atol=1e-9 * tolerance, err_msg=f"{k}")


def test_functions_of_one_number() -> None:
    compare(lambda x: each("cosm1 round exprel ellipk ellipkm1 ellipe erfi kolmogorov", x), ENDS)
    compare(
        lambda x: [special.zeta(x)], np.array([-7.0, -3.3, -2, -0.5, 0, 0.2, 1, 1.001, 1.5, 10, 1e3, np.inf, np.nan])
    )
    compare(
        lambda s, q: [special.zeta(s, q)], np.array([[1, 1.001, 2, 10, 0.5]]).T, np.array([1e-3, 1, 30, 1e5, -1, 0])
    )
    compare(lambda x: each("j0", x) + [special.expn(n, x) for n in (0, 1, 5)], np.array([0.0, 1e-3, 1.0, 20.0]))


def test_transformations_and_losses() -> None:
    rows = NUMBERS[:, None]
    compare(lambda x, y: each("boxcox boxcox1p", x, y), ENDS[:, None], NUMBERS)
    compare(lambda x, y: each("inv_boxcox inv_boxcox1p huber agm owens_t", x, y), ENDS[:, None], ENDS)
    compare(lambda x, y: each("pseudo_huber", x, y), rows, ENDS, rtol=1e-7)  # where SciPy's loses digits


def test_distribution_functions() -> None:
    a, k, p = np.array([[0.5, 1.0, 2.3, 7.0]]).T, np.array([[0.0, 0.5, 2, 4, 5, 7]]).T, np.array([0.0, 0.1, 0.5, 1.0])
    compare(lambda x: each("gammaincinv gammainccinv stdtrit chdtri", a, x), CHANCES)
    compare(lambda x: each("betaincinv betainccinv fdtri", a, a + 1.0, x), CHANCES)
    compare(lambda x: each("chdtr chdtrc", a, x) + each("fdtr gdtr gdtrc", a, 2.5, x), ENDS)
    compare(lambda x: each("pdtr pdtrc", k, x), np.array([0.0, 0.1, 2.0, 9.0]))
    compare(lambda k, p: each("nbdtr nbdtrc", 2.0, 5.0, p) + each("bdtr bdtrc", np.floor(k), 5.0, p), k, p)


def test_polynomials_and_counts() -> None:
    x = np.array([-2.0, -1.0, -0.3, 0.0, 0.2, 0.9, 1.0, 3.0])
    compare(lambda x: [getattr(special, f"eval_{name}")(n, x) for name in FAMILIES for n in (0, 1, 2, 9)], x)
    compare(lambda x: [f(n, 0.7, *b, x) for n in (0, 1, 5) for f, b in (
        (special.eval_genlaguerre, ()), (special.eval_gegenbauer, ()), (special.eval_jacobi, (1.2,)))], x)  # fmt: skip
    compare(lambda n, k: [special.comb(n, k), special.comb(n, k, repetition=True), special.perm(n, k),
                          special.factorial(n), special.factorial2(n)], COUNTS[2:, None], COUNTS)  # fmt: skip
    compare(lambda n, k: each("comb perm binom poch", n, k), X[:, None] + 3.0, X)
    compare(lambda x: [special.diric(x, n) for n in (1, 2, 3, 8)], np.array([0.0, 1e-9, 0.3, np.pi, -2 * np.pi, 5.0]))


def test_derivatives() -> None:
    """At the limits of quotients, too; those are checked to second order."""
    check_grads(lambda x: each("exprel ellipk ellipe", x), (np.array([0.0, 1e-7, -2.0, 0.9]),))
    check_grads(special.boxcox, (X, LAMBDA))
    x, q = np.array([0.3, 0.6, 0.99, 1.01, 2.0]), np.array([0.1, 0.4, 0.8])
    y = X[::-1].copy() + 0.2
    for fun, args in (
        (lambda x, a: [special.boxcox1p(x, a), *each("inv_boxcox inv_boxcox1p", 0.2 * x, a)], (X, LAMBDA)),
        (lambda x, a: [*each("huber pseudo_huber owens_t", a, x), special.agm(a, np.abs(x))], (X - 1.0, y)),
        (
            lambda x, q: [*each("kolmogorov cosm1", x), *each("bdtr bdtrc", 2, 5, x / 4), special.fdtri(2.0, 3.0, q)],
            (x, q),
        ),
        (lambda x: special.ellipkm1(x * x + 1e-3), (x,)),
        (lambda x: [getattr(special, f"eval_{name}")(3, x) for name in FAMILIES], (x - 1.0,)),
        (lambda x, a: [special.eval_genlaguerre(3, a, x), special.eval_jacobi(3, a, 1.2, x)], (x, 0.7)),
        (lambda n, k: [*each("comb perm poch", n, k), special.factorial(n)], (X + 3.0, X / 2)),
        (lambda s, q: special.zeta(s, q), (X + 1.2, X)),
        (lambda s: [special.zeta(s), special.diric(s, 4)], (np.array([-2.3, 0.0, 0.4, np.pi]),)),
    ):
        check_grads(fun, args, order=1)
    np.testing.assert_allclose(jg.hessian(lambda x: special.diric(x, 3))(0.0), -2 / 3, rtol=1e-12)


def test_what_is_refused() -> None:
    for call, match in (
        (lambda x: special.comb(x, 2, exact=True), "with exact=True"),
        (lambda x: special.factorial2(x), "Give integers"),
        (lambda x: special.eval_legendre(x, 0.3), "of degree"),
        (lambda x: special.eval_chebyt(1.5, x), "of degree 1.5"),
        (lambda x: special.diric(x, x), "Give an integer"),
        (lambda x: special.sici(x), r"scipy\.special\.sici is not supported .* several results"),
        (lambda x: special.lambertw(x), "result is complex"),
    ):
        with pytest.raises(UnsupportedError, match=match):
            jg.jit(call)(0.7)
