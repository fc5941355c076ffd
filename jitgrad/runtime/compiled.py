"""Executables: a compiled program with its call path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.codegen import python
from jitgrad.codegen.llvm import failure
from jitgrad.config import current
from jitgrad.errors import ArgumentError, CompilationError, describe_location
from jitgrad.loopir.buffers import place
from jitgrad.loopir.build import FAILURES
from jitgrad.loopir.decompose import decompose
from jitgrad.loopir.nodes import Program
from jitgrad.loopir.schedule import parallel_loops
from jitgrad.runtime import threads
from jitgrad.runtime.direct import allocator
from jitgrad.runtime.native import compile_native
from jitgrad.runtime.workspace import arena_address


class Executable:
    """A compiled program.

    ``call`` is the fast entry: leaves that fit the parameters exactly, results in a sequence. Calling the object itself
    converts its arguments first and returns a tuple.
    """

    def __init__(self, program: Program, scalar_params: tuple[bool, ...] | None = None) -> None:
        self.program = program
        self.scalar_params = scalar_params or (False,) * len(program.params)
        self.placement = place(program)
        #: Results that are written into an argument, with the number of that.
        self._donated = tuple((k, program.params.index(r)) for k, r in enumerate(program.results) if r.kind == "inout")
        specs = tuple(((0,) if r.kind == "inout" else r.static_shape, r.dtype) for r in program.results)
        self._scalars = tuple(k for k, r in enumerate(program.results) if r.shape == () and r.kind != "inout")
        self._nbytes = self.placement.nbytes
        self._native: Any = None
        self.shared_kernels = 0
        backend = current().backend
        self.backend = backend
        if backend == "llvm":
            if any(True for _ in parallel_loops(program)):
                threads.start()
            native = decompose(program)
            self._consts = tuple(c.data for c in native.constants)
            self._native_program = native
            self._native = compile_native(native, self.scalar_params, self.placement.offsets)
            self.shared_kernels = self._native.shared
            self._entry = self._native.entry
            self._allocate = allocator(specs)
        else:
            compile_source = python.compile_numba if backend == "numba" else python.compile_python
            self._runner = compile_source(program)
            self.call = self._call_source

    def _call_source(self, leaves: tuple[Any, ...]) -> list[Any]:
        """As :meth:`call`, by the Python rendering."""
        outs = [r[()] if r.shape == () else r for r in self._runner(*map(np.asarray, leaves))]
        for k, p in self._donated:
            outs[k] = leaves[p]
        return outs

    def call(self, leaves: tuple[Any, ...]) -> Sequence[Any]:
        """Run on leaves that are right already: C-contiguous aligned native arrays, or scalar objects.

        Results are fresh arrays, or the arguments that they are written into; a 0-d result is a NumPy scalar. Raises
        what :data:`FAILURES` says; arguments that change have any values then.
        """
        if type(leaves) is not tuple:
            leaves = tuple(leaves)  # native code reads the items where a tuple has them
        outs: Sequence[Any] = self._allocate()
        if self._donated:
            donated = dict(self._donated)
            outs = tuple([leaves[donated[k]] if k in donated else out for k, out in enumerate(outs)])
        arena = arena_address(self._nbytes) if self._nbytes else 0
        status = self._entry(leaves, outs, self._consts, arena)
        if status:
            raise self._failure(status)
        if self._scalars:
            outs = list(outs)
            for k in self._scalars:
                outs[k] = outs[k][()]
        return outs

    def alone(self, leaves: tuple[Any, ...]) -> Callable[[], int]:
        """The native code without what :meth:`call` does around it, on one set of arrays: for measuring that."""
        entry, consts = self._require_native().entry, self._consts
        outs, arena = self._allocate(), np.empty(self._nbytes + 64, np.uint8)
        address = -(-arena.__array_interface__["data"][0] // 64) * 64

        def run(arena: np.ndarray = arena) -> int:  # the arena lives as long as the function
            return entry(leaves, outs, consts, address)

        return run

    def _failure(self, status: int) -> Exception:
        """What to raise for a nonzero status."""
        code, places = failure(self._native_program, status)
        error, text = FAILURES[code]
        *others, place = places or [None]
        return error(text + "".join(map(describe_location, others)), place)

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """Run on arrays; each is converted to the parameter's dtype and to contiguous storage if need be."""
        if len(arrays) != len(self.program.params):
            raise ArgumentError(
                f"{self.program.name} takes {len(self.program.params)} arrays, not {len(arrays)}. Compiled graphs take "
                "one array for each parameter. Pass them in the order of the parameters."
            )
        leaves = []
        for a, p, is_scalar in zip(arrays, self.program.params, self.scalar_params, strict=True):
            array = np.asarray(a)
            if array.shape != p.shape or not np.can_cast(array.dtype, p.dtype, "same_kind"):
                raise ArgumentError(
                    f"{p.name} is {array.dtype}{list(array.shape)}, but the program was compiled for {p!r}. A compiled "
                    "graph is for one shape and dtype. Convert the array, or compile a graph for this one."
                )
            # ascontiguousarray would turn 0-d into 1-d.
            array = np.require(array.astype(p.dtype, copy=False), requirements=["C", "A"])
            array = array if array.shape == p.shape else array.reshape(p.static_shape)
            if p.kind == "inout" and not (array is a and array.flags.writeable and not is_scalar):
                raise ArgumentError(
                    f"{p.name} changes, so it must be a writable contiguous array of dtype {p.dtype}. The new value is "
                    "written into the argument. Pass such an array."
                )
            leaves.append(array[()] if is_scalar else array)
        return tuple(self.call(tuple(leaves)))

    def llvm(self) -> str:
        """The optimised LLVM text of the program."""
        return self._require_native().library.get_llvm_str()

    def asm(self) -> str:
        """The machine code as assembly text."""
        return self._require_native().library.get_asm_str()

    def _require_native(self) -> Any:
        if self._native is None:
            raise CompilationError(
                f"there is no machine code under the backend {self.backend!r}. That backend runs the Python source. "
                "Use config.using(backend='llvm')."
            )
        return self._native
