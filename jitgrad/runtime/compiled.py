"""Executables: a compiled program with its call path."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.codegen import python
from jitgrad.codegen.llvm import failure
from jitgrad.config import current
from jitgrad.errors import ArgumentError, CompilationError
from jitgrad.ir.generators import handle, is_generator
from jitgrad.ir.types import TensorType, dtype_of_text
from jitgrad.loopir.buffers import Placement, place
from jitgrad.loopir.decompose import decompose
from jitgrad.loopir.failures import exception
from jitgrad.loopir.nodes import Program
from jitgrad.loopir.schedule import uses_threads
from jitgrad.runtime import threads
from jitgrad.runtime.cache import Entry
from jitgrad.runtime.direct import allocator
from jitgrad.runtime.native import NativeCode, compile_native, compiling, digest, program_key
from jitgrad.runtime.objects import ObjectCode, load
from jitgrad.runtime.workspace import arena_address


class Parameter(NamedTuple):
    """``scalar``: it comes as a scalar object. ``changes``: it is written, and is a result too."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    scalar: bool
    changes: bool

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.shape)


class Interface(NamedTuple):
    """What a call must know of a program. ``results`` are dtype, shape, and the number of the parameter that is the
    result (None: an array of its own); ``arena`` is the size of the temporaries together. ``record`` says that the last
    result is the program's record."""

    name: str
    params: tuple[Parameter, ...]
    results: tuple[tuple[np.dtype, tuple[int, ...], int | None], ...]
    arena: int
    record: bool


def _interface(program: Program, scalar_params: tuple[bool, ...], arena: int) -> Interface:
    params = tuple(
        Parameter(p.name, p.dtype, p.static_shape, scalar, p.kind == "inout")
        for p, scalar in zip(program.params, scalar_params, strict=True)
    )
    results = tuple(
        (r.dtype, r.static_shape, program.params.index(r) if r.kind == "inout" else None) for r in program.results
    )
    return Interface(program.name, params, results, arena, program.record is not None)


def _identity(array: np.ndarray) -> tuple[int, str, tuple[int, ...]]:
    """The same for arrays that are the same memory, read in the same way."""
    return array.__array_interface__["data"][0], array.dtype.str, array.shape


class Executable:
    """A compiled program.

    ``call`` is the fast entry: leaves that fit the parameters exactly, results in a sequence. Calling the object itself
    converts its arguments first and returns a tuple.

    One that was :meth:`loaded` has its program made when it is first asked for.
    """

    def __init__(self, program: Program, scalar_params: tuple[bool, ...] | None = None) -> None:
        scalar_params = scalar_params or (False,) * len(program.params)
        self._program: Callable[[], Program] = lambda: program
        self._digest: str | None = None  # of the program, where the machine code is from the cache
        self.backend = current().backend
        self.shared_kernels = 0
        self._set_interface(_interface(program, scalar_params, self.placement.nbytes))
        if self.backend == "llvm":

            def meanwhile() -> None:
                if uses_threads(program):
                    threads.start()
                self._prepare()

            native = self._native = self._compiled(meanwhile)
            self._consts = tuple(np.asarray(c.data) for c in self._decomposed.constants)
            self._entry = native.entry
            self.shared_kernels = native.shared
        else:
            compile_source = python.compile_numba if self.backend == "numba" else python.compile_python
            self._runner = compile_source(program)
            self.call = self._call_source

    def _set_interface(self, interface: Interface) -> None:
        self.interface = interface
        #: Results that are written into an argument, with the number of that.
        self._donated = {k: p for k, (_, _, p) in enumerate(interface.results) if p is not None}
        self._scalars = tuple(k for k, (_, shape, p) in enumerate(interface.results) if shape == () and p is None)
        self._nbytes = interface.arena
        self._record = interface.record

    def _prepare(self) -> None:
        """Have the function that makes a call's results: machine code that every program needs."""
        specs = (((0,) if p is not None else shape, dtype) for dtype, shape, p in self.interface.results)
        self._allocate = allocator(specs)

    @functools.cached_property
    def program(self) -> Program:
        """The loop program."""
        return self._program()

    @functools.cached_property
    def placement(self) -> Placement:
        """Where the program's temporaries lie."""
        return place(self.program)

    @functools.cached_property
    def _decomposed(self) -> Program:
        """The program that machine code is made of."""
        return decompose(self.program)

    @functools.cached_property
    def _native(self) -> NativeCode:
        return self._compiled()

    def _compiled(self, meanwhile: Callable[[], object] | None = None) -> NativeCode:
        return compile_native(self._decomposed, self._scalar_params, self.placement.places, meanwhile)

    @property
    def _scalar_params(self) -> tuple[bool, ...]:
        return tuple(p.scalar for p in self.interface.params)

    def _call_source(self, leaves: tuple[Any, ...]) -> list[Any]:
        """As :meth:`call`, by the Python rendering."""
        outs = [r[()] if r.shape == () else r for r in self._runner(*map(np.asarray, leaves))]
        for k, p in self._donated.items():
            outs[k] = leaves[p]
        return outs

    def call(self, leaves: tuple[Any, ...]) -> Sequence[Any]:
        """Run on leaves that are right already: C-contiguous aligned native arrays, or scalar objects.

        Results are fresh arrays, or the arguments that they are written into; a 0-d result is a NumPy scalar. Raises
        what the program raises or :data:`jitgrad.loopir.failures.FAILURES` says; arguments that change have any values
        then.
        """
        if type(leaves) is not tuple:
            leaves = tuple(leaves)  # native code reads the items where a tuple has them
        outs: Sequence[Any] = self._allocate()
        donated = self._donated
        if donated:
            outs = tuple([leaves[donated[k]] if k in donated else out for k, out in enumerate(outs)])
        arena = arena_address(self._nbytes) if self._nbytes else 0
        status = self._entry(leaves, outs, self._consts, arena)
        if status:
            raise self._failure(status, outs)
        if self._record:
            outs = outs[:-1]
        if self._scalars:
            outs = list(outs)
            for k in self._scalars:
                outs[k] = outs[k][()]
        return outs

    def alone(self, leaves: tuple[Any, ...]) -> Callable[[], int]:
        """The native code without what :meth:`call` does around it, on one set of arrays: for measuring that."""
        entry, consts = self._entry, self._consts
        outs, arena = self._allocate(), np.empty(self._nbytes + 64, np.uint8)
        address = -(-arena.__array_interface__["data"][0] // 64) * 64

        def run(arena: np.ndarray = arena) -> int:  # the arena lives as long as the function
            return entry(leaves, outs, consts, address)

        return run

    def _failure(self, status: int, outs: Sequence[Any]) -> BaseException:
        """What to raise for a nonzero status."""
        with compiling:
            code, failing = failure(self._decomposed, status)
            if not self._has_code_of_program():
                failing = []
        return exception(code, failing, outs[-1] if self._record else None)

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """Run on arrays; each is converted to the parameter's dtype and to contiguous storage if need be."""
        params = self.interface.params
        if len(arrays) != len(params):
            raise ArgumentError(
                f"{self.interface.name} takes {len(params)} arrays, not {len(arrays)}. Compiled graphs take "
                "one array for each parameter. Pass them in the order of the parameters."
            )
        leaves = []
        for a, p in zip(arrays, params, strict=True):
            array = np.asarray(handle(a) if is_generator(a) else a)
            if array.shape != p.shape or not np.can_cast(array.dtype, p.dtype, "same_kind"):
                found = f"{array.dtype}{list(array.shape)}"
                raise ArgumentError(
                    f"{p.name} is {found}, but the program was compiled for {p.name}: {p.type}. "
                    "A compiled graph is for one shape and dtype. Convert the array, or compile a graph for this one."
                )
            # ascontiguousarray would turn 0-d into 1-d.
            array = np.require(array.astype(p.dtype, copy=False), requirements=["C", "A"])
            array = array if array.shape == p.shape else array.reshape(p.shape)
            if p.changes and not (array is a and array.flags.writeable and not p.scalar):
                raise ArgumentError(
                    f"{p.name} changes, so it must be a writable contiguous array of dtype {p.dtype}. The new value is "
                    "written into the argument. Pass such an array."
                )
            leaves.append(array[()] if p.scalar else array)
        return tuple(self.call(tuple(leaves)))

    def stored(self, known: Sequence[np.ndarray]) -> Entry:
        """What another process needs to have this executable by :meth:`loaded`, for the cache. Constants that are
        among the ``known`` arrays are written as their numbers."""
        native = self._native
        numbers = {_identity(array): k for k, array in reversed(list(enumerate(known)))}
        consts = [numbers.get(_identity(c), [c.dtype.str, c.shape]) for c in self._consts]
        name, params, results, arena, record = self.interface
        header = {
            "name": name,
            "params": [(p.name, p.dtype.str, p.shape, p.scalar, p.changes) for p in params],
            "results": [(dtype.str, shape, p) for dtype, shape, p in results],
            "arena": arena,
            "record": record,
            "externals": native.unit.externals,
            "shared": native.shared,
            "program": digest(native.key),
            "parts": len(native.unit.code),
            "consts": consts,
        }
        written = [c for c, found in zip(self._consts, consts, strict=True) if not isinstance(found, int)]
        return Entry(header, [*native.unit.code, *(np.ascontiguousarray(c).tobytes() for c in written)])

    @classmethod
    def loaded(cls, entry: Entry, known: Sequence[np.ndarray], program: Callable[[], Program]) -> Executable:
        """An executable of machine code from the cache; ``known`` as they were when it was stored.

        Raises RuntimeError where the code can't be linked, and KeyError, TypeError, ValueError or IndexError for what
        :meth:`stored` would not have made.
        """
        header, parts = entry
        self = cls.__new__(cls)
        self._program, self._digest, self.backend = program, header["program"], "llvm"
        params = tuple(Parameter(n, dtype_of_text(d), tuple(s), *flags) for n, d, s, *flags in header["params"])
        results = tuple((dtype_of_text(d), tuple(s), p) for d, s, p in header["results"])
        self._set_interface(Interface(header["name"], params, results, header["arena"], header["record"]))
        self._prepare()
        self.shared_kernels = header["shared"]
        code, written = parts[: header["parts"]], iter(parts[header["parts"] :])
        self._consts = tuple(
            known[c] if isinstance(c, int) else np.frombuffer(next(written), dtype_of_text(c[0])).reshape(c[1]).copy()
            for c in header["consts"]
        )
        self._entry = load(ObjectCode(tuple(map(bytes, code)), tuple(header["externals"])))
        return self

    @property
    def is_loaded(self) -> bool:
        """Whether the machine code is from the cache on disk."""
        return self._digest is not None

    def _has_code_of_program(self) -> bool:
        """Whether the machine code is that of ``program``, which is made anew for code from the cache."""
        return self._digest is None or self._digest == digest(
            program_key(self._decomposed, self._scalar_params, self.placement.places)
        )

    def llvm(self) -> str:
        """The optimised LLVM text of the program."""
        return self._readable().llvm()

    def asm(self) -> str:
        """The machine code as assembly text."""
        return self._readable().asm()

    def _readable(self) -> NativeCode:
        """The code with its LLVM; where it was loaded, it is compiled now. The caller holds ``compiling``."""
        if self.backend != "llvm":
            raise CompilationError(
                f"there is no machine code under the backend {self.backend!r}. That backend runs the Python source. "
                "Use config.using(backend='llvm')."
            )
        return self._native
