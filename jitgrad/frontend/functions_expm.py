"""The exponential of matrices."""

from __future__ import annotations

import numpy as np
import scipy.linalg as spl

from jitgrad.frontend.control_flow import current_trace
from jitgrad.frontend.functions_linalg import matmul, square_matrix
from jitgrad.frontend.functions_reduce import max_
from jitgrad.frontend.iteration import range_, steps_of
from jitgrad.frontend.primitives import broadcast_to, cast, constant_like, emit, insert_axes, iota, reduce, where
from jitgrad.frontend.recording import record_for
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.ir.types import bool_, i64

#: Coefficients of the diagonal Pade approximants, from the constant on, and the greatest 1-norm at which their backward
#: error is a unit roundoff: degree 13 for float64, 7 for float32 (Higham 2005, table 2.3; 2008, table 10.2).
PADE = {
    np.dtype(np.float64): (
        (64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
         670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1),
        5.371920351148152,
    ),
    np.dtype(np.float32): ((17297280, 8648640, 1995840, 277200, 25200, 1512, 56, 1), 3.925724783138660),
}  # fmt: skip


@implements(spl.expm)
def expm(A: ArrayLike) -> Tracer:
    """By scaling and squaring: ``exp(a) = r(a / 2^s)^(2^s)`` with a Pade approximant r (N. J. Higham, The scaling and
    squaring method for the matrix exponential revisited, SIAM Journal on Matrix Analysis and Applications 26, 2005).

    s depends on the norm, so the squarings are a recorded loop; each matrix of a stack has its own s. The derivative
    goes through the loop, as that of any program.
    """
    (a,) = square_matrix("scipy.linalg.expm", A)
    if 0 in a.dims:
        return a
    coefficients, theta = PADE[a.dtype]
    squarings = _squarings(a, theta)
    scale = emit("exp2", emit("negative", cast(squarings, a.dtype)))
    x = _approximant(emit("multiply", a, _over_matrices(scale, a)), coefficients)
    return _squared(x, squarings)


def _squarings(a: Tracer, theta: float) -> Tracer:
    """How often to halve each matrix so that its 1-norm is at most ``theta``; 0 where that is not finite."""
    columns = reduce("sum", emit("absolute", emit("stop_gradient", a)), [a.ndim - 2])
    ratio = emit("divide", max_(columns, -1), constant_like(a, theta))
    usable = emit("logical_and", emit("isfinite", ratio), emit("greater", ratio, constant_like(a, 1.0)))
    one = constant_like(a, 1.0)
    return cast(emit("ceil", emit("log2", where(usable, ratio, one))), i64)


def _over_matrices(x: Tracer, like: Tracer) -> Tracer:
    """A value for each matrix, repeated over its elements."""
    return broadcast_to(insert_axes(x, [x.ndim, x.ndim + 1]), like.dims)


def _approximant(a: Tracer, coefficients: tuple[int, ...]) -> Tracer:
    """``(v - u)^-1 (v + u)`` for the odd part u and the even part v of the numerator, in powers of the square."""
    rows, columns = iota(a, a.dims, a.ndim - 2), iota(a, a.dims, a.ndim - 1)
    identity = cast(emit("equal", rows, columns), a.dtype)
    powers = [identity, matmul(a, a)]
    while len(powers) < 4:
        powers.append(matmul(powers[-1], powers[1]))

    def combined(numbers: tuple[int, ...]) -> Tracer:
        total = None
        for number, power in zip(numbers, powers, strict=False):
            term = emit("multiply", power, constant_like(a, number))
            total = term if total is None else emit("add", total, term)
        assert total is not None
        return total

    def polynomial(numbers: tuple[int, ...]) -> Tracer:
        """Of the square, of degree 3, or 6 with the higher half multiplied by the cube."""
        if len(numbers) <= 4:
            return combined(numbers)
        return emit("add", matmul(powers[3], combined((0, *numbers[4:]))), combined(numbers[:4]))

    u, v = matmul(a, polynomial(coefficients[1::2])), polynomial(coefficients[::2])
    return emit("solve", emit("subtract", v, u), emit("add", v, u))


def _squared(x: Tracer, squarings: Tracer) -> Tracer:
    """Each matrix to the power of 2 to its number."""
    most = max_(squarings) if squarings.ndim else squarings
    steps = steps_of(range_(range, 0, most))
    assert steps is not None

    def square(i: Tracer, x: Tracer) -> tuple[Tracer]:
        if not squarings.ndim:
            return (matmul(x, x),)
        due = emit("less", broadcast_to(cast(i, i64), squarings.dims), squarings)
        return (where(cast(_over_matrices(due, x), bool_), matmul(x, x), x),)

    trace = current_trace() or x.owner
    (result,) = record_for(trace, steps.lo, steps.hi, steps.step, square, (x,), ("the power",))
    return result
