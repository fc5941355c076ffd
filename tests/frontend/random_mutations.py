"""Random sequences of views, assignments and in-place operations on a pool of arrays that may share memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

Op = tuple[Any, ...]
#: A program is a list of ops; each works on arrays of the pool, given by number, and may append new ones.
Program = list[Op]


def build_index(parts: Any, ints: Any) -> tuple[Any, ...]:
    """An index; ``("traced", k)`` stands for the k-th of the integers that are arguments."""

    def number(b: Any) -> Any:
        return ints[b[1]] if isinstance(b, tuple) else b

    result: list[Any] = []
    for kind, *rest in parts:
        if kind == "int":
            result.append(rest[0])
        elif kind == "traced":
            result.append(ints[rest[0]])
        elif kind == "slice":
            result.append(slice(number(rest[0]), number(rest[1]), rest[2]))
        elif kind == "array":
            result.append(np.array(rest[0], int))
        else:
            result.append(None if kind == "new" else Ellipsis)
    return tuple(result)


def _augment(op: str, x: Any, index: Any, v: Any) -> None:
    if op == "+":
        x[index] += v
    elif op == "-":
        x[index] -= v
    else:
        x[index] *= v


def _in_place(op: str, x: Any, v: Any) -> None:
    if op == "+":
        x += v
    elif op == "-":
        x -= v
    else:
        x *= v


#: Ops that make a new array or view of the first one they name.
MAKERS: dict[str, Callable[..., Any]] = {
    "transpose": lambda x: x.T,
    "reshape": lambda x, shape: np.reshape(x, shape),
    "ravel": lambda x: x.ravel(),
    "swapaxes": lambda x: np.swapaxes(x, 0, -1),
    "squeeze": lambda x: np.squeeze(x),
    "expand_dims": lambda x, k: np.expand_dims(x, k),
    "flip": lambda x: np.flip(x),
    "diagonal": lambda x: np.diagonal(x),
    "atleast_2d": lambda x: np.atleast_2d(x),
    "asarray": lambda x: np.asarray(x),
    "copy": lambda x: x.copy(),
    "zeros": lambda x, shape: np.zeros(shape),
    "arange": lambda x, n: np.arange(float(n)),
}
#: Ops that write into the array.
WRITERS: dict[str, Callable[..., Any]] = {
    "fill": lambda x, v: x.fill(v),
    "out": lambda x, v: np.add(x, v, out=x),
    "sort": lambda x: x.sort(),
    "fill_diagonal": lambda x, v: np.fill_diagonal(x, v),
    "copyto": lambda x, v: np.copyto(x, v),
    "put": lambda x, k, v: np.put(x, k, v),
    "at": lambda x, k, v: np.add.at(x, (np.array(k),), v),
}


def step(pool: list[Any], op: Op, ints: Any) -> None:
    """Do one op."""
    kind, number, *rest = op
    x = pool[number]
    if kind in MAKERS:
        pool.append(MAKERS[kind](x, *rest))
    elif kind in WRITERS:
        WRITERS[kind](x, *rest)
    elif kind == "view":
        pool.append(x[build_index(rest[0], ints)])
    elif kind == "set":
        x[build_index(rest[0], ints)] = rest[1] if rest[1] is not None else pool[rest[2]]
    elif kind == "piece":
        x[build_index(rest[0], ints)] = x[build_index(rest[1], ints)]
    elif kind == "augment":
        _augment(rest[0], x, build_index(rest[1], ints), rest[2] if rest[2] is not None else pool[rest[3]])
    elif kind == "in place":
        _in_place(rest[0], x, rest[1] if rest[1] is not None else pool[rest[2]])
    elif kind == "rows":
        for row in x:
            row[...] = rest[0]
    elif kind == "flat":
        x.flat[rest[0] :] = rest[1]
    elif kind == "mask":
        x[x > rest[0]] = rest[1]
    else:
        pool.append((x * 2 + pool[rest[0]].sum()).copy())


def _random_index(r: random.Random, shape: tuple[int, ...]) -> list[Op]:
    parts: list[Op] = []

    def bound(n: int) -> Any:
        return r.choice([None, None, r.randint(-n - 1, n + 1), r.randint(-n - 1, n + 1), ("traced", r.randrange(2))])

    for n in shape[: r.randint(0, len(shape))]:
        kind = r.random()
        if kind < 0.3 and n:
            parts.append(("int", r.randrange(-n, n)))
        elif kind < 0.5 and n:
            parts.append(("traced", r.randrange(2)))
        elif kind < 0.9:
            parts.append(("slice", bound(n), bound(n), r.choice([None, 1, 2, -1, -2])))
        else:
            parts.append(("array", [r.randrange(-n, n) for _ in range(r.randint(1, 3))] if n else []))
        if r.random() < 0.12:
            parts.append(("new",))
    if r.random() < 0.1:
        parts.append(("dots",))
    return parts


def propose(r: random.Random, pool: list[np.ndarray]) -> Op:
    """An op that may or may not make sense."""
    a, b = r.randrange(len(pool)), r.randrange(len(pool))
    x, v, op = pool[a], r.choice([-1.0, 2.0, 0.5, None]), r.choice("+-*")
    kind = r.choice(("view", "set", "make", "write", "augment", "in place", "view", "set", "make", "other"))
    if kind == "view":
        return "view", a, _random_index(r, x.shape)
    if kind == "set":
        return "set", a, _random_index(r, x.shape), v, b
    if kind == "augment":
        return "augment", a, op, _random_index(r, x.shape), v, b
    if kind == "in place":
        return "in place", a, op, v, b
    if kind == "make":
        name = r.choice(list(MAKERS))
        shapes = [(-1,), (2, -1), (-1, 2), (1, -1), (3, 4), (2, 3, 2), (6, 2)]
        extra = {"reshape": [r.choice(shapes)], "zeros": [r.choice([(2, 3), (4,), (3, 4)])],
                 "expand_dims": [r.randint(0, x.ndim)], "arange": [r.randint(1, 6)]}  # fmt: skip
        return name, a, *extra.get(name, [])
    if kind == "write":
        name = r.choice(list(WRITERS))
        if name == "at" and (not x.ndim or not x.shape[0] or not x.flags.writeable):
            name = "fill"
        if name == "at":
            return "at", a, [r.randrange(x.shape[0]) for _ in range(3)], 0.75
        extra = {"sort": [], "put": [[0, -1], [5.0, 6.0]]}
        return name, a, *extra.get(name, [r.choice([2.5, 4.0])])
    pieces = ("piece", a, _random_index(r, x.shape), _random_index(r, x.shape))
    return r.choice(
        [pieces, ("rows", a, 1.5), ("flat", a, r.randint(0, 4), 3.5), ("mask", a, 0.5, -0.25), ("sum", a, b)]
    )


def run(program: Program, A: Any, B: Any, i: Any, j: Any) -> list[Any]:
    """All arrays of the pool in the end."""
    pool = [A, B]
    for op in program:
        step(pool, op, (i, j))
    return pool


def random_program(seed: int, length: int) -> tuple[Program, tuple[Any, ...]]:
    """A program that NumPy runs without an error, and arguments for it."""
    r, rng = random.Random(seed), np.random.default_rng(seed)
    args = (np.round(rng.normal(size=(3, 4)), 3), np.round(rng.normal(size=4), 3), r.randrange(-3, 3), r.randrange(3))
    program: Program = []
    pool: list[Any] = list(args[:2])
    for _ in range(200):
        if len(program) == length:
            break
        op = propose(r, pool)
        try:
            found = run([*program, op], args[0].copy(), args[1].copy(), *args[2:])
        except (ValueError, IndexError, TypeError):
            continue
        if all(isinstance(x, np.ndarray) and np.abs(x).max(initial=0.0) < 1e6 for x in found):
            program.append(op)
            pool = found
    return program, args


def has_unknown_extents(program: Program) -> bool:
    """Is there a slice with an integer argument for a bound?"""
    return any("slice" in str(op) and "('traced'" in str(op) for op in program)
