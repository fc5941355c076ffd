"""What a benchmark is: a program, and the sizes and dtypes that make cases of it.

A program's ``fun`` is plain NumPy. jitgrad runs it as it is; other libraries run the same code with ``np``, ``special``
and ``linalg`` bound to their own modules, or a version of their own where their users would write it otherwise.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

DTYPES = {"f32": np.float32, "f64": np.float64}
#: Of tests only; for the overhead of a call; within a core's cache; more than the last cache holds.
SIZES = ("tiny", "small", "cache", "memory")
TIMED_SIZES = SIZES[1:]

SAME = "the same code, on the library's own functions"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A scalar function of arrays and its inputs.

    fun : ``fun(*args)`` in NumPy; differentiated with respect to the arguments ``argnums``.
    inputs : ``inputs(rng, *size)`` gives the arguments; floats become the case's dtype, integers stay.
    sizes : what ``inputs`` takes, by a name of ``SIZES``; a program may leave some out.
    jitgrad, torch, jax, pytensor : ``version(library, *args)``, or SAME. jitgrad has its own only for derivatives
        inside of the program. ``torch_compile`` is torch's where that can't be
        compiled. PyTensor runs only what has a version for it.
    step : ``fun`` is a step of training and not differentiated from outside. It returns arrays, a tuple of trees.
    autograd : can autograd run it?
    memory_bound : is the least traffic (inputs read, gradients written) what bounds it, where it is memory-sized?
    flops : ``flops(*size)``, of the matrix products of value and gradient, for programs that these bound.
    jumps : has the gradient jumps? Then rounding may change elements, and peers are compared by the norm of an array.
    default : the dtypes and sizes that are timed without other wishes. All of them take more than an hour.
    tolerance : by dtype, relative to the largest element of an array, or to its norm.
    """

    name: str
    fun: Callable[..., Any]
    inputs: Callable[..., tuple]
    sizes: dict[str, tuple[int, ...]]
    argnums: tuple[int, ...] = (0,)
    jitgrad: Callable[..., Any] | str = SAME
    torch: Callable[..., Any] | str = SAME
    torch_compile: Callable[..., Any] | None = None
    jax: Callable[..., Any] | str = SAME
    pytensor: Callable[..., Any] | str | None = None
    step: bool = False
    autograd: bool = True
    memory_bound: bool = False
    flops: Callable[..., float] | None = None
    jumps: bool = False
    dtypes: tuple[str, ...] = ("f32", "f64")
    default: tuple[tuple[str, str], ...] = (("f32", "cache"), ("f64", "memory"))
    tolerance: dict[str, float] = dataclasses.field(default_factory=lambda: {"f32": 1e-3, "f64": 1e-9})


@dataclasses.dataclass(frozen=True)
class Case:
    """One program at one size in one dtype."""

    program: Program
    dtype: str
    size: str

    @property
    def name(self) -> str:
        """``program-dtype-size``."""
        return f"{self.program.name}-{self.dtype}-{self.size}"

    @property
    def tolerance(self) -> float:
        """That of the program for this dtype."""
        return self.program.tolerance[self.dtype]

    @property
    def flops(self) -> float | None:
        """Operations of the matrix products, where they bound the program."""
        return self.program.flops(*self.program.sizes[self.size]) if self.program.flops else None

    def arguments(self) -> tuple:
        """The inputs: NumPy arrays and numbers, the same in every process."""
        rng = np.random.default_rng(zlib.crc32(self.program.name.encode()))
        return self.cast(self.program.inputs(rng, *self.program.sizes[self.size]), DTYPES[self.dtype])

    def cast(self, tree: Any, dtype: Any) -> Any:
        """A tree with its floating-point arrays in a dtype; Python numbers stay as they are."""

        def one(x: Any) -> Any:
            return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x

        return tree_map(one, tree)

    def least_traffic(self) -> int | None:
        """Bytes that must move at least: inputs read, gradients written; None where that does not bound the case."""
        if not (self.program.memory_bound and self.size == "memory"):
            return None
        args = self.arguments()
        written = sum(np.asarray(x).nbytes for k in self.program.argnums for x in leaves(args[k]))
        return written + sum(np.asarray(x).nbytes for x in leaves(args))


def tree_map(fun: Callable[[Any], Any], tree: Any) -> Any:
    """A tree of dicts, lists and tuples with ``fun`` applied to its leaves."""
    if isinstance(tree, dict):
        return {key: tree_map(fun, tree[key]) for key in tree}
    if isinstance(tree, (list, tuple)):
        return type(tree)(tree_map(fun, item) for item in tree)
    return fun(tree)


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, those of a dict in the order of its sorted keys."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, (list, tuple)):
        return [leaf for item in tree for leaf in leaves(item)]
    return [tree]


def select(
    programs: Iterable[Program],
    names: Sequence[str] | None = None,
    sizes: Sequence[str] = TIMED_SIZES,
    dtypes: Sequence[str] = tuple(DTYPES),
) -> list[Case]:
    """The cases whose name starts with one of ``names`` (all without), of some sizes and dtypes."""
    cases = [Case(p, d, s) for p in programs for s in sizes if s in p.sizes for d in dtypes if d in p.dtypes]
    return [case for case in cases if names is None or case.name.startswith(tuple(names))]
