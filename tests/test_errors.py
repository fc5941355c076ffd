"""The errors of the transformations: what, why, what to do, and where."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import numpy as np
import pytest
import scipy.special

import jitgrad as jg
from jitgrad.errors import (
    ArgumentError,
    DifferentiationError,
    DtypeError,
    JitgradError,
    LeakedTracerError,
    ShapeError,
    UnsupportedError,
)

X = np.ones(3)


def vector(x):
    return x * 2


def test_errors_name_the_function_and_its_line():
    with pytest.raises(DifferentiationError) as caught:
        jg.grad(vector)(X)
    error = caught.value
    assert error.location is not None
    assert error.location.file == __file__ and error.location.function == "vector"
    assert error.location.line == vector.__code__.co_firstlineno
    assert "def vector(x):" in str(error)


def test_the_line_is_that_of_def_under_decorators():
    @jg.grad
    @jg.jit
    def twice(x):
        return x * 2

    with pytest.raises(DifferentiationError, match=r"def twice\(x\):"):
        twice(X)


CASES = {
    "array result": (lambda: jg.grad(vector)(X), "returns an array of type f64\\[3\\].*np.sum or np.mean"),
    "tuple result": (lambda: jg.grad(lambda x: (x, x))(1.0), "a tuple of 2 arrays.*has_aux=True"),
    "no result": (lambda: jg.grad(lambda x: None)(1.0), "returns None"),
    "no pair": (lambda: jg.grad(lambda x: x, has_aux=True)(1.0), "must return a pair"),
    "aux first": (lambda: jg.grad(lambda x: ({"a": x, "b": x}, x), has_aux=True)(1.0), "must return a pair"),
    "integer argument": (lambda: jg.grad(vector)(3), "respect to x, which has type i64.*1.0"),
    "bool argument": (lambda: jg.grad(vector)(True), "which has type bool"),
    "integer leaf": (
        lambda: jg.grad(lambda p: p["w"][0] * 2.0)({"w": [1.0, 2]}),
        r"respect to p\['w'\]\[1\], which has type i64",
    ),
    "complex argument": (lambda: jg.grad(vector)(1j), r"returns a complex value.*Return z\.real"),
    "complex array": (lambda: jg.value_and_grad(vector)(np.ones(2, complex)), "returns a complex value"),
    "nothing": (lambda: jg.grad(lambda p, x: x)(None, 1.0), "nothing to differentiate"),
    "integer result": (lambda: jg.grad(lambda x: np.argmax(x))(X), "returns a value of type i64.*Only floats"),
    "bool result": (lambda: jg.grad(lambda x: x > 0)(1.0), "type bool"),
    "integer inside": (lambda: jg.jit(lambda n: jg.grad(vector)(n))(3), "respect to x, which has type i64"),
    "vjp of integers": (lambda: jg.vjp(vector, 3), "vjp of vector with respect to x, which has type i64"),
    "jvp of integers": (lambda: jg.jvp(vector, (3,), (1.0,)), "jvp of vector with respect to x"),
    "jacobian of integers": (lambda: jg.jacobian(lambda x: np.argmax(x))(X), "Only floats"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_differentiated(name):
    call, text = CASES[name]
    with pytest.raises(DifferentiationError, match=text) as caught:
        call()
    assert caught.value.message.count(". ") >= 1  # what and why, then what to do
    assert caught.value.location is not None


ARGUMENTS = {
    "argnums out of range": (lambda: jg.grad(vector, argnums=2)(1.0), "argnums has 2"),
    "argnums twice": (lambda: jg.grad(lambda x, y: x, argnums=(0, -2))(1.0, 2.0), "twice"),
    "argnums empty": (lambda: jg.grad(vector, argnums=()), "argnums is \\(\\)"),
    "argnums a name": (lambda: jg.grad(vector, argnums="x"), "argnums is 'x'"),
    "argnums of a keyword": (lambda: jg.grad(lambda *, x: x)(x=1.0), "positional arguments of <lambda> is 0"),
    "argnums of a static argument": (
        lambda: jg.grad(jg.jit(lambda n, x: x * n, static_argnums=0))(2.0, 1.0),
        "is static",
    ),
    "no function": (lambda: jg.grad(3), "not an object of type int"),
    "unhashable static": (lambda: jg.jit(lambda x, n: x, static_argnums=1)(1.0, [1]), "unhashable list"),
    "unknown static name": (lambda: jg.jit(lambda x: x, static_argnames="y"), "no parameter of that name"),
    "static number out of range": (lambda: jg.jit(lambda x: x, static_argnums=1), "has 1 positional"),
    "result of a wrong type": (
        lambda: jg.jit(lambda x: {"a": "text"})(1.0),
        r"the result\['a'\] of <lambda> is of type str",
    ),
    "jvp without tuples": (lambda: jg.jvp(vector, X, X), "Write jvp\\(f, \\(x,\\), \\(t,\\)\\)"),
    "jvp of unequal lengths": (lambda: jg.jvp(vector, (X,), ()), "1 primals and 0 tangents"),
    "tangent shape": (lambda: jg.jvp(vector, (X,), (np.ones(2),)), r"tangent of vector has shape \(2,\)"),
    "tangent structure": (lambda: jg.jvp(vector, (X,), ([X],)), "the tangent of vector has the structure"),
    "cotangent shape": (lambda: jg.vjp(vector, X)[1](1.0), r"cotangent of vector has shape \(\)"),
    "cotangent structure": (lambda: jg.vjp(vector, X)[1]((X,)), "the cotangent of vector has the structure"),
    "complex cotangent": (lambda: jg.vjp(vector, X)[1](X * 1j), "must be real"),
    "compile a function": (lambda: jg.compile(vector), "jg.trace"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_that_do_not_fit(name):
    call, text = ARGUMENTS[name]
    with pytest.raises(ArgumentError, match=text):
        call()


def test_shapes_that_depend_on_values():
    def trapezoids(n):
        return np.zeros((n, 2)) + 1.0

    with pytest.raises(UnsupportedError, match=r"f64\[n,2\] has an extent \(n\) that is traced.*room for all") as error:
        jg.compile(jg.trace(trapezoids, np.array(3)))
    assert error.value.location is not None and error.value.location.function == "trapezoids"
    np.testing.assert_array_equal(jg.jit(trapezoids)(np.array(3)), np.ones((3, 2)))
    assert jg.jit(trapezoids, static_argnums=0)(3).shape == (3, 2)
    with pytest.raises(ShapeError, match=r"Some extents are traced.*static_argnames"):
        jg.jit(lambda x, n: np.sum(x.reshape(n, -1)))(X, np.array(1))
    with pytest.raises(UnsupportedError, match=r"f64\[count\] has an extent \(count\) that is traced"):
        jg.vjp(lambda x: x[x > 0], X)


class NoConvergence(Exception):
    pass


def root(a):
    x, steps = a, 0
    while abs(x * x - a) > 1e-12:
        x, steps = 0.5 * (x + a / x), steps + 1
        if steps > 50:
            raise NoConvergence
    return x


def root_of_a_positive_number(a):
    try:
        if a < 0:
            raise ValueError("negative")
    except ValueError:
        return 0.0
    return np.sqrt(a)


def root_after(a):
    x = a
    for _ in range(50):
        x = 0.5 * (x + a / x)
        if abs(x * x - a) < 1e-12:
            return x
    raise NoConvergence("50 steps")


@pytest.mark.parametrize(
    ("fun", "error"),
    [
        (root, ""),
        (root_after, "50 steps"),
        (jg.grad(root), ""),
        (lambda a: jg.grad(root)(a), ""),
    ],
)
def test_an_exception_that_depends_on_values(fun, error):
    assert jg.jit(fun)(2.0) > 0
    with pytest.raises(NoConvergence) as caught:
        jg.jit(fun)(-2.0)
    assert str(caught.value) == error
    assert "    raise " in caught.value.__notes__[0]


def test_an_exception_that_depends_on_values_and_may_be_caught():
    with pytest.raises(UnsupportedError, match=r"ValueError \(negative\) is raised in a branch") as caught:
        jg.jit(root_of_a_positive_number)(2.0)
    assert "    raise " in str(caught.value)


def test_an_exception_that_depends_on_what_is_known():
    def total(x, last):
        s = 0.0
        for i in range(20):
            if i == last:
                raise ValueError("the last one")
            try:
                raise KeyError
            except KeyError:
                s = s + x[i % 3]
        return s

    assert jg.jit(total, static_argnums=1)(X, 20) == 20
    with pytest.raises(ValueError, match="the last one"):
        jg.jit(total, static_argnums=1)(X, 10)


def test_missing_arguments_are_reported_by_python():
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        jg.jit(lambda x, y: x)(1.0)


def test_errors_derive_from_what_numpy_code_catches():
    with pytest.raises(TypeError):
        jg.grad(vector)(X)
    with pytest.raises(JitgradError):
        jg.grad(vector)(X)


def test_a_leaked_value():
    leaked = []
    jg.jit(lambda x: (leaked.append(x), x)[1])(1.0)
    with pytest.raises(LeakedTracerError, match="was used outside"):
        leaked[0] + 1
    with pytest.raises(LeakedTracerError, match="was used outside"):
        jg.jit(lambda x: x + 1)(leaked[0])


def test_a_function_that_raises_can_be_called_again():
    broken = [True]

    @jg.jit
    def f(x):
        if broken[0]:
            raise RuntimeError("not yet")
        return x + 1

    with pytest.raises(RuntimeError, match="not yet"):
        f(1.0)
    broken[0] = False
    assert f(1.0) == 2


def test_an_error_inside_can_be_caught_there():
    inner = jg.jit(lambda x: x["missing"])

    @jg.jit
    def f(x):
        try:
            return inner({"x": x})
        except KeyError:
            return x * 2

    assert f(3.0) == 6


class Holder:
    array = np.zeros(3)


def assign_an_element(x):
    Holder.array[0] = x[0]  # here
    return Holder.array


PLACES = {
    "argument": lambda: jg.jit(vector)("text"),
    "dtype of an argument": lambda: jg.jit(vector)(np.ones(2, np.longdouble)),
    "large integer": lambda: jg.jit(vector)(2**70),
    "result": lambda: jg.jit(lambda x: "text")(1.0),
    "dtype of the result": lambda: jg.jit(lambda x: np.longdouble(1))(1.0),
    "unhashable static": lambda: jg.jit(lambda x, n: x, static_argnums=1)(1.0, [1]),
    "static name": lambda: jg.jit(lambda x: x, static_argnames="y"),
    "cotangent": lambda: jg.vjp(vector, X)[1](np.ones(2)),
    "tangent": lambda: jg.jvp(vector, (X,), (np.ones(2),)),
    "argnums": lambda: jg.grad(vector, argnums=(0, 0))(X),
    "no function": lambda: jg.jit(3),
    "element of an array": lambda: jg.jit(assign_an_element)(X),
    "shape": lambda: jg.jit(lambda x: setattr(x, "shape", (3, 1)))(X),
    "key of a dict": lambda: jg.jit(lambda x: {1: "text"}[x])(np.array(1)),
    "standard library": lambda: jg.jit(lambda x: statistics.fmean([x[0], x[1]]))(X),
    "SciPy": lambda: jg.jit(lambda x: scipy.special.tklmbda(x, x))(X),
}


@pytest.mark.parametrize("name", PLACES)
def test_errors_show_the_users_line(name):
    with pytest.raises(JitgradError) as caught:
        PLACES[name]()
    assert caught.value.location is not None
    assert caught.value.location.file == __file__
    assert f"at {__file__}:" in str(caught.value)


def test_an_element_assigned_to_a_numpy_array():
    with pytest.raises(jg.errors.MutationError, match=r"with\s+np\.zeros") as caught:
        jg.jit(assign_an_element)(X)
    assert "# here" in str(caught.value)


@pytest.mark.parametrize("use", [bool, float, int, hash, np.asarray, list], ids=lambda f: f.__name__)
def test_a_leaked_value_says_so_where_a_number_is_wanted(use):
    leaked = []
    jg.jit(lambda x: (leaked.append(x), x)[1])(X if use is list else 1.0)
    with pytest.raises(LeakedTracerError, match="was used outside"):
        use(leaked[0])


def test_dtype_errors_name_the_argument():
    with pytest.raises(DtypeError, match="argument x of vector has dtype float128"):
        jg.jit(vector)(np.ones(2, np.longdouble))


def _line_of(text: str) -> int:
    """The only line of this file that reads so."""
    (line,) = (k for k, found in enumerate(Path(__file__).read_text().splitlines(), 1) if found.strip() == text)
    return line


def test_failures_at_run_time_name_the_line() -> None:
    @jg.grad
    def solved(a, b):
        b = b * 2.0
        y = np.linalg.solve(a, b)
        return np.sum(y)

    @jg.value_and_grad
    def gathered(x, first, second):
        y = x[first]
        z = np.cos(x)[second]
        return np.sum(y) + np.sum(z)

    def place(of):
        return re.escape(f"{__file__}:{_line_of(of)}, ")

    solved(np.eye(3), np.ones(3))
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix\n  at " + place("y = np.linalg.solve(a, b)")):
        solved(np.zeros((3, 3)), np.ones(3))
    fine, bad = np.array([0, 2]), np.array([0, 3])
    gathered(np.ones(3), fine, fine)
    with pytest.raises(IndexError, match="out of bounds for an axis\n(.|\n)*" + place("y = x[first]")):
        gathered(np.ones(3), bad, fine)
    with pytest.raises(IndexError, match="out of bounds for an axis\n(.|\n)*" + place("z = np.cos(x)[second]")):
        gathered(np.ones(3), fine, bad)


M = np.ones((2, 3))
LIKE_NUMPY = {
    "axis": (lambda x: x.sum(axis=3), M),
    "axis twice": (lambda x: x.sum(axis=(0, 0)), M),
    "transpose": (lambda x: np.transpose(x, (0, 0)), M),
    "einsum": (lambda x: np.einsum("ijk->i", x), M),
    "step": (lambda x: x[::0], M),
    "integer power": (lambda x: x**-1, np.arange(1, 4)),
    "not square": (np.linalg.inv, M),
    "singular": (np.linalg.inv, np.zeros((2, 2))),
    "not positive definite": (np.linalg.cholesky, -np.eye(2)),
    "index": (lambda x: x[3], M),
    "traced index": (lambda x: np.take(np.arange(3.0), x), np.array([5])),
    "reshape": (lambda x: x.reshape(4), M),
    "broadcast": (lambda x: x + np.ones(2), M),
    "matmul": (lambda x: x @ x, M),
    "split": (lambda x: np.split(x, 2, axis=1), M),
}


@pytest.mark.parametrize("case", LIKE_NUMPY)
def test_errors_are_those_of_numpy_too(case: str) -> None:
    fun, x = LIKE_NUMPY[case]
    with pytest.raises(Exception) as expected:
        fun(x)
    with pytest.raises(type(expected.value)) as found:
        jg.jit(fun)(x)
    assert isinstance(found.value, JitgradError) and found.value.location is not None


def test_unknown_settings_are_refused() -> None:
    before = jg.config.current()
    with pytest.raises(ArgumentError, match="no setting 'nosuch'"):
        jg.config.update(nosuch=1)
    assert jg.config.current() is before
