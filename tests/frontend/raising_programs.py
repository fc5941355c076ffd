"""Programs that raise, or assert, where their argument says so; here, as pytest changes assertions in its own files."""

from __future__ import annotations

from typing import Any

import numpy as np


class CustomError(Exception):
    def __init__(self, element: Any, place: Any) -> None:
        super().__init__(f"element {place} is {element}")
        self.element, self.hint = element, "look there"


class MadeByNew(ValueError):
    """Its constructor takes what ``args`` does not hold."""

    def __new__(cls, element: Any, *, bound: Any) -> MadeByNew:
        return super().__new__(cls, element)

    def __init__(self, element: Any, *, bound: Any) -> None:
        super().__init__(f"{element} is over {bound}")
        self.bound = bound


class NoFile(OSError):
    def __init__(self, name: str) -> None:
        super().__init__(2, "no such file", name)


def guarded(x: np.ndarray) -> Any:
    if np.any(x < 0):
        raise ValueError("x must be positive")
    return np.sqrt(x).sum()


def with_value(x: np.ndarray) -> Any:
    r = np.linalg.norm(x)
    if r > 2:
        raise ValueError(f"norm {r:.3f} of {x}, {x[0]:>9.2e} first, {len(x)} elements {{}}")
    return x / r


def converges(x: np.ndarray) -> Any:
    y, tol, steps = 1.0, x[0], 0
    while True:
        d = y * y - 2
        if abs(d) < tol:
            return y, steps
        y = y - d / (2 * y)
        steps += 1
        if steps > 20:
            raise RuntimeError("no convergence after %s steps" % steps)


def for_else(x: np.ndarray) -> Any:
    y = 1.0
    for _ in range(5):
        y = 0.5 * (y + 2 / y)
        if abs(y * y - 2) < x[0]:
            break
    else:
        raise RuntimeError(f"the last value is {y}")
    return y


def in_a_loop(x: np.ndarray) -> Any:
    s = 0.0
    for i in range(len(x)):
        if x[i] < 0:
            raise CustomError(x[i], i)
        s += np.sqrt(x[i])
    return s


def in_an_unrolled_loop(x: np.ndarray) -> Any:
    s = 0.0
    for i in range(3):
        if x[i] < 0:
            raise CustomError(x[i], i)
        s += np.sqrt(x[i])
    return s


def nested(x: np.ndarray) -> Any:
    y = x[0]
    if y > 0:
        if y > 10:
            raise ValueError("big", y)
        elif y > 5:
            raise KeyError("mid")
        z = y * 2
    elif y < -1:
        raise RuntimeError
    else:
        z = -y
    return z


def both_in_a_branch(x: np.ndarray) -> Any:
    y = x.sum()
    if y > 5:
        if x[0] > 1:
            raise ValueError(f"first {x[0]}")
        raise IndexError(f"sum {y}")
    return y


def check_in_a_raising_branch(x: np.ndarray) -> Any:
    y = x.copy()
    if x.sum() > 5:
        y[0] = 7.0
        assert x[0] > 1, f"first {y[0]}"
        raise IndexError(f"sum {y.sum()}")
    return y


def helper(v: np.ndarray, name: str) -> np.ndarray:
    if not np.all(np.isfinite(v)):
        raise FloatingPointError(f"{name} has {np.sum(~np.isfinite(v))} bad values")
    return v


def by_a_helper(x: np.ndarray) -> Any:
    return helper(np.log(x), "log x").sum()


def asserted(x: np.ndarray) -> Any:
    assert len(x) > 1
    assert (x > 0).all(), f"min {x.min():g}"
    return x.sum()


def only_asserted(x: np.ndarray) -> None:
    assert x[0] > 0


def asserted_in_a_loop(x: np.ndarray) -> Any:
    for i in range(len(x)):
        assert x[i] > 0, i
    return 1.0


def conditional_assertion(x: np.ndarray) -> Any:
    if x[1] > 0:
        assert x[0] > 0, "in the branch"
    return x.sum()


def as_an_expression(x: np.ndarray) -> Any:
    def fail(v: Any) -> Any:
        raise IndexError(f"it is {v}")

    return x.sum() if x[0] > 0 else fail(x[0])


def ends_an_infinite_loop(x: np.ndarray) -> Any:
    k = 0
    while x[0] < 1:
        k += 1
        if k == 1000:
            raise OverflowError(k)
    return k


def finally_runs(x: np.ndarray) -> Any:
    try:
        if x[0] < 0:
            raise ValueError("negative")
    finally:
        y = x * 2
    return y


def caused(x: np.ndarray) -> Any:
    if x[0] < 0:
        raise ValueError("negative") from KeyError("the cause")
    return x.sum()


def walrus(x: np.ndarray) -> Any:
    if x[0] < 0:
        raise ValueError(m := "negative")
    m = "positive"
    return x.sum() + len(m)


def of_classes_with_constructors(x: np.ndarray) -> Any:
    if x[0] > 5:
        raise MadeByNew(x[0], bound=5)
    if x[0] < 0:
        raise NoFile("there")
    if x[1] > 5:
        raise UnicodeDecodeError("utf-8", b"abc", 0, 1, "bad")
    return x.sum()


PROGRAMS = [
    guarded,
    with_value,
    converges,
    for_else,
    in_a_loop,
    in_an_unrolled_loop,
    nested,
    both_in_a_branch,
    check_in_a_raising_branch,
    by_a_helper,
    asserted,
    only_asserted,
    asserted_in_a_loop,
    conditional_assertion,
    as_an_expression,
    ends_an_infinite_loop,
    finally_runs,
    caused,
    walrus,
    of_classes_with_constructors,
]
ARGUMENTS = [
    np.array([1.25, 1.0, 1.0]),
    np.array([1e-3, 0.5, 0.5]),
    np.array([-0.5, 2.0, 1.0]),
    np.array([-3.0, -1.0, 0.25]),
    np.array([7.0, 0.5, 2.0]),
    np.array([0.3, 9.0, -2.0]),
    np.array([20.0, 1.0, 1.0]),
]


def both_ways(x: float) -> Any:
    if x > 0:
        raise ValueError(f"positive {x}")
    else:
        raise KeyError("negative", x)


def always(x: float) -> Any:
    raise ValueError(f"always, for {x}")


def last_of_several(x: float) -> Any:
    if x > 0:
        assert x < 1, f"large: {x:.2f}"
    if x > 0.5:
        raise KeyError(x)
    raise ValueError


def nothing_shown(x: float) -> Any:
    raise ValueError("nothing can be done")


def noted(x: float) -> Any:
    if x < 0:
        error = ValueError("negative", x)
        error.add_note("a note")
        raise error
    return x


ALWAYS = [both_ways, always, last_of_several, nothing_shown]


def in_one_branch(x: float) -> Any:
    if x > 0:
        y = np.sqrt(x)
    else:
        assert False, f"not positive: {x}"
    return y


def of_types(x: float) -> Any:
    if x < 0:
        assert isinstance(x, list), "no list"
    return x * 2.0


KNOWN_TO_FAIL = [in_one_branch, of_types]
