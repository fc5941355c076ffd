"""Programs with loops, as they are written in NumPy; ``python -m benchmarks.loops`` times them."""

from benchmarks.corpus import sequences, simulations, stencils, triangular
from benchmarks.corpus.kernel import Kernel

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel for module in (stencils, triangular, simulations, sequences) for kernel in module.KERNELS
}

__all__ = ["KERNELS", "Kernel"]
