"""Every exception that jitgrad raises on purpose, and its warning.

A message has three sentences: what happened, why, what to do instead. The user's file and line follow on lines of
their own. Each class also derives from the built-in exception that NumPy code would expect, so ``except ValueError``
around a shape error keeps working.
"""

from __future__ import annotations

import linecache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jitgrad.ir.location import Location


class JitgradError(Exception):
    """Base of all jitgrad errors.

    Parameters: ``message`` is the text; ``location``, where known, is the place in the user's program.
    """

    def __init__(self, message: str, location: Location | None = None) -> None:
        self.message = message
        self.location = location
        super().__init__(message + describe_location(location))


class ConcretizationError(JitgradError, TypeError):
    """A traced value was used where Python needs a number: ``if``, ``while``, ``float()``, ``int()``, ``range()``."""


class LeakedTracerError(JitgradError, RuntimeError):
    """A traced value was used after the function that it belongs to had returned."""


class UnsupportedError(JitgradError, NotImplementedError, TypeError):
    """A NumPy function, argument or dtype that jitgrad does not support on traced values."""


class UnsupportedAttributeError(UnsupportedError, AttributeError):
    """A method or attribute of ndarray that traced values do not have. ``hasattr`` answers False."""


class ShapeError(JitgradError, ValueError):
    """Shapes that do not fit together."""


class DtypeError(JitgradError, TypeError):
    """A dtype that an operation does not take."""


class IndexBoundsError(JitgradError, IndexError):
    """An index that is out of bounds, or an indexing expression with too many indices."""


class AxisError(IndexBoundsError, np.exceptions.AxisError):
    """An axis that an array does not have."""


class EndlessRecursionError(JitgradError, RecursionError):
    """A function calls itself while it is traced until Python allows no more calls."""


class OutOfMemoryError(JitgradError, MemoryError):
    """There is no memory for an array whose size is known only when the program runs, or none on a device."""


class DeviceError(JitgradError, RuntimeError):
    """A GPU that is not there, can't be used, or reported an error; an array on another device than the others."""


class LinAlgError(JitgradError, np.linalg.LinAlgError):
    """A matrix that is singular, or not positive definite. Raised when the compiled program runs."""


class NotRealError(UnsupportedError):
    """Eigenvalues that are not real, in a program for real ones that can't be run again for complex ones."""


class NotSquareError(ShapeError, LinAlgError):
    """A matrix that is not square, where it must be."""


class DifferentiationError(JitgradError, TypeError):
    """A function or argument that can't be differentiated as asked: non-scalar output, integer argument, ..."""


class MutationError(JitgradError, TypeError):
    """A write that can't be done: into a captured constant, a read-only view, a NumPy array that is not traced."""


class CarryError(JitgradError, TypeError):
    """A variable that a loop or a branch changes in a way that has no one type: another shape, dtype or structure from
    one iteration to the next, or in one of two branches. ``unlike``: it is the shape or structure."""

    unlike = False


class RollError(JitgradError, TypeError):
    """A loop body that can't be recorded once for all iterations: it changes a list, or something else that only
    Python knows. Such a loop is unrolled, where its length is known."""


class ArgumentError(JitgradError, TypeError, ValueError):
    """Arguments of a function of jitgrad or NumPy, or of a compiled program, that it does not take."""


class IRError(JitgradError, ValueError):
    """A graph or loop program that breaks the rules of its IR. Raised by the verifiers; always a bug in a pass, or in
    a graph built by hand."""


class ParseError(IRError):
    """Text that is not a graph."""


class CompilationError(JitgradError, RuntimeError):
    """Code generation failed."""


class KernelError(JitgradError, RuntimeError):
    """A CUDA kernel does what no kernel may. Raised by the simulator; always a bug in the kernel.

    ``kernel``, ``block`` and ``thread`` say which thread of which kernel it was; ``location`` is the kernel's line.
    """

    kernel, block, thread = "", 0, 0


class KernelBoundsError(KernelError, IndexError):
    """A thread touched memory outside an array."""


class KernelAlignmentError(KernelError):
    """A vector access to an address that is no multiple of its size."""


class KernelRaceError(KernelError):
    """Threads touched the same element, and nothing says in which order."""


class KernelBarrierError(KernelError):
    """Not all threads that a barrier or a shuffle waits for came to it."""


class JitgradWarning(UserWarning):
    """What works, but hardly as meant: random numbers drawn while a function is traced, ever new compilations."""


def describe_location(location: Location | None) -> str:
    """``"\\n  at file:line, in function\\n    source text"``, or an empty string for an unknown place."""
    if location is None:
        return ""
    source = linecache.getline(location.file, location.line).strip()
    text = f"\n  at {location.file}:{location.line}, in {location.function}"
    return text + (f"\n    {source}" if source else "")
