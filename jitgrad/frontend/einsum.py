"""``np.einsum`` in full, as a chain of two-operand products of the IR's strict ``einsum`` op.

The IR's op takes two operands without repeated letters, and only sums over letters that both have. What einsum allows
beyond that is taken apart first: ellipses become letters, repeated letters diagonals, letters that only one operand
has are summed, and more than two operands are multiplied in the order that ``np.einsum_path`` finds.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend.functions_shape import diagonal_last
from jitgrad.frontend.primitives import (
    broadcast_to,
    cast,
    common_dtype,
    dtype_argument,
    emit,
    lift,
    reduce,
    reshape,
    strong,
    transpose,
)
from jitgrad.frontend.registry import call, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, i64


def _bad(text: str) -> ArgumentError:
    return ArgumentError(f"np.einsum: {text}", user_location())


@implements(np.einsum)
def einsum(*operands: Any, optimize: Any = False, dtype: Any = None) -> Tracer:
    """All of ``np.einsum``'s forms, for real dtypes. Raises ArgumentError, ShapeError."""
    spec, arrays = _specification(operands)
    if len(arrays) == 1 and isinstance(arrays[0], Tracer) and dtype is None:
        (letters,), output = _letters(spec, arrays)
        if len(set(letters)) == len(letters) == len(output):  # only turned: a view, as in NumPy
            return call(np.transpose, (arrays[0], [letters.index(c) for c in output]), {})
    tracers = lift(*arrays)
    target = dtype_argument(dtype) or common_dtype(*tracers)
    inputs, output = _letters(spec, tracers)
    # Bool products are "or of ands": count in int64 and compare with 0.
    tracers = [cast(t, i64 if target == bool_ else target) for t in tracers]
    result = contract(inputs, output, tracers)
    return cast(result, target) if target == bool_ else result


def _specification(operands: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The subscripts as a string and the operands, from either calling form."""
    if not operands:
        raise _bad("no subscripts. The first argument must be a string such as 'ij,jk->ik'. Pass one.")
    if isinstance(operands[0], str):
        return operands[0].replace(" ", ""), list(operands[1:])
    pairs = len(operands) // 2
    arrays, lists = list(operands[0 : 2 * pairs : 2]), list(operands[1 : 2 * pairs : 2])
    spec = ",".join(_sublist(s) for s in lists)
    if len(operands) % 2:
        spec += "->" + _sublist(operands[-1])
    return spec, arrays


def _sublist(axes: Any) -> str:
    return "".join("..." if a is Ellipsis else string.ascii_letters[a] for a in axes)


def _letters(spec: str, tracers: Sequence[Tracer]) -> tuple[list[str], str]:
    """Inputs and output without ellipses, the output explicit. Raises ArgumentError, ShapeError."""
    left, arrow, right = spec.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(tracers):
        raise _bad(f"{spec!r} names {len(inputs)} operands, but there are {len(tracers)}. Give one for each.")
    free = [c for c in string.ascii_letters if c not in spec]
    dots = max((t.ndim - len(s.replace("...", "")) for s, t in zip(inputs, tracers, strict=True) if "..." in s),
               default=0)  # fmt: skip
    rest = "".join(free[: max(dots, 0)])
    expanded = []
    for s, t in zip(inputs, tracers, strict=True):
        named = len(s.replace("...", ""))
        if named > t.ndim or ("..." not in s and named != t.ndim):
            raise _bad(f"the operand {s!r} has {t.ndim} axes (shape {t.dims}). Give one letter for each axis.")
        expanded.append(s.replace("...", rest[len(rest) - (t.ndim - named) :] if t.ndim > named else ""))
    letters = "".join(expanded)
    if not all(c in string.ascii_letters for c in letters):
        raise _bad(f"{spec!r} holds a character that is no letter. Use letters, commas, '...' and '->'.")
    if arrow:
        output = right.replace("...", rest)
    else:
        named = "".join(sorted(c for c in set(letters) if letters.count(c) == 1 and c not in rest))
        output = rest + named
    if len(set(output)) != len(output) or any(c not in letters for c in output):
        raise _bad(f"the output {right!r} of {spec!r} repeats a letter, or has one that no operand has. Name each "
                   "letter of the operands at most once.")  # fmt: skip
    return expanded, output


def contract(inputs: Sequence[str], output: str, tracers: Sequence[Tracer]) -> Tracer:
    """The einsum of operands of one dtype, letters only. Extents of 1 stretch, as in NumPy. Raises ShapeError."""
    extents: dict[str, Any] = {}
    for s, t in zip(inputs, tracers, strict=True):
        for c, d in zip(s, t.dims, strict=True):
            if extents.get(c, 1) == 1:
                extents[c] = d
            elif d not in (1, extents[c]):
                raise ShapeError(
                    f"np.einsum: the letter {c!r} stands for extents {extents[c]} and {d}. Equal letters need equal "
                    "extents. Check the shapes of the operands.",
                    user_location(),
                )
    work = [_single(s, t, extents) for s, t in zip(inputs, tracers, strict=True)]
    for pair in _order(work, output, extents):
        taken = [work[k] for k in pair]
        work = [w for k, w in enumerate(work) if k not in pair]
        product = taken[0]
        for other in taken[1:]:
            later = set(output).union(*(s for s, _ in work), *(s for s, _ in taken[2:]))
            last = not work and other is taken[-1]
            product = _multiply(product, other, later, output if last else None)
        work.append(product)
    letters, t = work[0]
    letters, t = _sum_out(letters, t, set(output))
    missing = [c for c in output if c not in letters]  # letters whose extents were all 1
    t = reshape(t, (*[1] * len(missing), *t.dims))
    letters = "".join(missing) + letters
    out = transpose(t, [letters.index(c) for c in output])
    return strong(broadcast_to(out, [extents[c] for c in output]))


def _order(work: Sequence[tuple[str, Tracer]], output: str, extents: dict[str, Any]) -> list[tuple[int, ...]]:
    """Which operands to multiply, step by step: positions in the shrinking list of operands."""
    if len(work) == 1:
        return []
    if len(work) == 2:
        return [(0, 1)]
    zero = np.zeros(())
    fakes = [np.broadcast_to(zero, t.dims) for _, t in work]
    present = set("".join(s for s, _ in work))
    spec = ",".join(s for s, _ in work) + "->" + "".join(c for c in output if c in present)
    path, _ = np.einsum_path(spec, *fakes, optimize="optimal" if len(work) <= 6 else "greedy")
    return [tuple(sorted(step)) for step in path[1:]]


def _single(letters: str, t: Tracer, extents: dict[str, Any]) -> tuple[str, Tracer]:
    """One operand without repeated letters, and without axes of extent 1 that others stretch."""
    keep = [k for k, c in enumerate(letters) if t.dims[k] != 1 or extents[c] == 1]
    t = reshape(t, [t.dims[k] for k in keep])
    letters = "".join(letters[k] for k in keep)
    while len(set(letters)) != len(letters):
        c = next(c for c in letters if letters.count(c) > 1)
        i = letters.index(c)
        j = letters.index(c, i + 1)
        rest = [k for k in range(t.ndim) if k not in (i, j)]
        t = diagonal_last(transpose(t, (*rest, i, j)))
        letters = "".join(letters[k] for k in rest) + c
    return letters, t


def _sum_out(letters: str, t: Tracer, needed: set[str]) -> tuple[str, Tracer]:
    """Sum over the letters that nothing else needs."""
    axes = [k for k, c in enumerate(letters) if c not in needed]
    if not axes:
        return letters, t
    return "".join(c for c in letters if c in needed), reduce("sum", t, axes)


def _multiply(x: tuple[str, Tracer], y: tuple[str, Tracer], later: set[str], output: str | None) -> tuple[str, Tracer]:
    """The product of two operands, summed over what is not needed later."""
    (xs, a), (ys, b) = x, y
    xs, a = _sum_out(xs, a, later | set(ys))
    ys, b = _sum_out(ys, b, later | set(xs))
    kept = [c for c in xs if c in later] + [c for c in ys if c in later and c not in xs]
    if output is not None and set(output) == set(kept):
        kept = list(output)
    out = "".join(kept)
    if all(c in later for c in xs + ys):
        # Nothing is summed: an elementwise product, which fuses with its neighbours.
        return out, emit("multiply", _spread(xs, a, out), _spread(ys, b, out))
    return out, emit("einsum", a, b, spec=f"{xs},{ys}->{out}")


def _spread(letters: str, t: Tracer, out: str) -> Tracer:
    """The operand with axes in the output's order, extent 1 where it has none."""
    order = [letters.index(c) for c in out if c in letters]
    t = transpose(t, order)
    extents = iter(t.dims)
    return reshape(t, [next(extents) if c in letters else 1 for c in out])
