"""``numpy.polynomial`` on traced values: its functions, and objects of its classes."""

from __future__ import annotations

import numpy as np
import numpy.polynomial as npp
import pytest
from numpy.polynomial import Chebyshev, Polynomial
from numpy.polynomial import polynomial as P

import jitgrad as jg
from jitgrad.errors import ShapeError, UnsupportedError
from jitgrad.testing import check_grads

FAMILIES = {
    "poly": (npp.polynomial, npp.Polynomial),
    "cheb": (npp.chebyshev, npp.Chebyshev),
    "leg": (npp.legendre, npp.Legendre),
    "herm": (npp.hermite, npp.Hermite),
    "herme": (npp.hermite_e, npp.HermiteE),
    "lag": (npp.laguerre, npp.Laguerre),
}
C = np.array([0.3, -1.5, 2.5, 4.0])
X = np.linspace(-1.0, 1.0, 5)
FIXED = Polynomial([1.0, 2.0, 3.0], domain=[0, 2])


def same(f, *args) -> None:
    for k, (found, want) in enumerate(zip(jg.jit(f)(*args), f(*args), strict=True)):
        assert found.dtype == np.asarray(want).dtype
        np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-9, err_msg=str(k))


@pytest.mark.parametrize("family", ["poly", "cheb", "lag"])
def test_functions(family: str) -> None:
    module, cls = FAMILIES[family]
    names = ("val", "der", "int", "mul", "add", "sub", "vander", "mulx", "div", "pow", "line", "fromroots", "val2d")
    val, der, int_, mul, add, sub, vander, mulx, div, pow_, line, fromroots, val2d = (
        getattr(module, family + name) for name in names
    )
    to_poly = getattr(module, f"{family}2poly", lambda c: c)
    of_poly = getattr(module, f"poly2{family}", lambda c: c)

    def f(c, x):
        p, q = cls(c), cls(c[:2])
        return (
            *(val(x, c), val(x, c[:1]), val(x[0], c), val(x, np.outer(c, c)), der(c), der(c, 2, scl=3.0), int_(c)),
            *(int_(c, 2, [1, 2], lbnd=-1), int_(c[:1]), int_(c.reshape(2, 2), axis=1), mul(c, c[:2]), mulx(c)),
            *(mulx(c[:1]), add(c, c[:2]), sub(c[:2], c), *div(c, c[:2]), pow_(c, 2), line(c[0], c[1]), vander(x, 3)),
            *(fromroots(c), val2d(x[:2], x[1:3], np.outer(c, c)), to_poly(c), of_poly(c), val(x, c.astype(np.float32))),
            *((p * q + 3 - p / 2)(x), p.deriv().integ(k=2)(x), (-(p**2)).coef, (p // q).coef, (p % q)(x), p(x[0])),
        )

    same(f, C, X)


def test_all_families() -> None:
    functions = [
        (*(getattr(module, family + name) for name in ("val", "int", "mul")), cls)
        for family, (module, cls) in FAMILIES.items()
    ]

    def f(c, x):
        return tuple(
            found
            for val, int_, mul, cls in functions
            for found in (val(x, c), int_(c), mul(c, c[:2]), cls(c).deriv()(x))
        )

    same(f, C, X)


def test_objects() -> None:
    def f(c, x):
        p = Polynomial(c, domain=[0, 2])
        return (
            *((FIXED + p)(x), (p - FIXED).coef, (FIXED * p)(x), (2 * FIXED)(x[0]), FIXED(x), p.truncate(2).coef),
            *(
                Chebyshev(c).convert(kind=Polynomial).coef,
                Chebyshev.fit(x, x**2 * c[0], 2)(x),
                np.polynomial.Legendre(c)(x),
            ),
            *(P.polyfit(x, x**3 * c[0], [1, 3]), *p.linspace(3), np.polynomial.hermite.hermval(x, c)),
        )

    same(f, C, X)
    long = np.linspace(-1.0, 1.0, 30)
    same(lambda c, x: (npp.chebyshev.chebval(x, c), npp.chebyshev.chebval(x, c.reshape(10, 3))), long, X)
    np.testing.assert_allclose(jg.vmap(lambda c: Polynomial(c)(2.0))(np.outer(X, C)), Polynomial(C)(2.0) * X)


def test_a_changed_polynomial_is_seen() -> None:
    p = Polynomial([1.0, 2.0])
    f = jg.jit(lambda x: p(x))
    assert f(2.0) == 5.0
    p.coef[0] = 5.0
    assert f(2.0) == 9.0


def test_derivatives() -> None:
    def f(c, x):
        return np.sum(Chebyshev(c).integ()(x) * Polynomial(c)(x) + npp.laguerre.lagval(x, c))

    check_grads(f, (C, X), order=1)
    check_grads(lambda c: np.sum(npp.legendre.legval(X, c) ** 2), (np.linspace(-1.0, 1.0, 12),), order=1)


def test_refused() -> None:
    with pytest.raises(UnsupportedError, match="is not supported on traced complex values"):
        jg.jit(lambda c: Polynomial(c).roots())(C)
    with pytest.raises(ShapeError, match="A series is one axis"):
        jg.jit(lambda c: npp.chebyshev.chebadd(c, c[:, None]))(C)
    with pytest.raises(ZeroDivisionError):
        jg.jit(lambda c: P.polydiv(c, c * 0)[0])(C)
