"""The libraries that are compared. Each runs a case in the form that suits it best.

A peer turns a case into a function of converted inputs that does all the work of one call, waiting for asynchronous
results included. Inputs are device arrays for JAX, tensors for torch, NumPy arrays otherwise. For the target "cuda"
they are on the GPU, and so are the results; float32 products are computed in float32 by all, not in TF32.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from benchmarks.program import DTYPES, SAME, Case, leaves, tree_map


class UnsupportedError(Exception):
    """A peer has no version of a case."""


class Peer:
    """Base. ``directory``: a folder, empty at the start of a run, for what the library keeps on disk.

    ``target`` is "cpu" or "cuda". ``probe`` is a program that fails where the library has no GPU.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    keeps_dtypes: ClassVar[bool] = True  # is a gradient of its argument's dtype?
    gradients: ClassVar[bool] = True  # or the value alone
    on_disk: ClassVar[bool] = True  # does it keep what it compiles?
    targets: ClassVar[tuple[str, ...]] = ("cpu",)
    probe: ClassVar[str] = ""

    def __init__(self, threads: int, directory: str | None = None, target: str = "cpu") -> None:
        self.threads, self.directory, self.target = threads, directory, target
        self.load()

    def load(self) -> None:
        """Import the library, set its number of threads and its cache. It must not start threads, compile, or use the
        GPU: none of that survives a fork."""
        raise NotImplementedError

    def arrays(self, case: Case, inputs: tuple) -> tuple:
        """The inputs in the library's own form."""
        return inputs

    def transform(self, case: Case) -> Callable[..., Any]:
        """``f(*arrays)``: a pair of value and gradients, or for a step of training its results."""
        raise NotImplementedError

    def flat(self, result: Any) -> list[np.ndarray]:
        """A result as NumPy arrays: the value, then the gradients in order of the case's ``argnums``."""
        return [np.asarray(leaf) for leaf in leaves(result)]

    def release(self) -> None:
        """Give back to the system what the library keeps from call to call, as far as it can be told to."""

    @classmethod
    def missing(cls, target: str = "cpu") -> str | None:
        """What is needed for this peer and not there."""
        if target not in cls.targets:
            return f"it does not run on the target {target}"
        if not importlib.util.find_spec(cls.module):
            return f"{cls.module} is not installed"
        return failure(cls.probe) if target == "cuda" else None


def failure(code: str) -> str | None:
    """The error that ends a program, run in a process of its own; None where it ends well."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def available(peer: type[Peer]) -> bool:
    """Is all there that a peer needs?"""
    return peer.missing() is None


def waiting(fun: Callable[..., Any], wait: Callable[[], Any]) -> Callable[..., Any]:
    """``fun``, and then ``wait``: a call ends when its results are there."""

    def call(*args: Any) -> Any:
        result = fun(*args)
        wait()
        return result

    return call


def on_gpu(inputs: tuple, put: Callable[[np.ndarray], Any]) -> tuple:
    """The inputs with NumPy's arrays moved by ``put``."""
    return tuple(tree_map(lambda x: put(x) if isinstance(x, np.ndarray) else x, tree) for tree in inputs)


def rebound(fun: Callable, **names: Any) -> Callable:
    """``fun`` with ``np`` and others meaning another library's; a new function, so that nothing compiled for the old
    one is reused."""
    assert isinstance(fun, types.FunctionType)
    return types.FunctionType(fun.__code__, {**fun.__globals__, **names}, fun.__name__, fun.__defaults__)


def version(fun: Callable[..., Any] | str, library: Any) -> Callable[..., Any] | None:
    """A library's own version of a program as a function of the arguments; None where it is the same code."""
    return None if isinstance(fun, str) else functools.partial(fun, library)


def only_or_tuple(argnums: tuple[int, ...]) -> int | tuple[int, ...]:
    """An int for a single argument, as all the libraries like it."""
    return argnums[0] if len(argnums) == 1 else argnums


class NumPy(Peer):
    """Plain NumPy, which gives the value alone."""

    name, module = "numpy", "numpy"
    gradients, on_disk = False, False

    def load(self) -> None:
        """Nothing to set: threads come from the environment variables that ``__main__`` sets."""

    def transform(self, case: Case) -> Callable[..., Any]:
        """The function itself."""
        return case.program.fun


class Jitgrad(Peer):
    """This library, on NumPy arrays or arrays on the GPU."""

    name, module = "jitgrad", "jitgrad"
    targets, probe = ("cpu", "cuda"), "import jitgrad; jitgrad.device()"

    def load(self) -> None:
        """Threads come from the environment, as does the place of the cache."""
        if self.directory:
            os.environ["JITGRAD_CACHE_DIR"] = self.directory
        self.jg = importlib.import_module("jitgrad")
        if self.target == "cuda":
            with contextlib.suppress(self.jg.errors.CompilationError):  # said when something is compiled
                importlib.import_module("jitgrad.cuda.namespace").numba_cuda()

    def arrays(self, case: Case, inputs: tuple) -> tuple:
        """The inputs, with arrays on the device; numbers stay Python's."""
        return inputs if self.target == "cpu" else on_gpu(inputs, self.jg.device_put)

    def transform(self, case: Case) -> Callable[..., Any]:
        """``jg.value_and_grad`` of the function as it is written."""
        program = case.program
        fun = rebound(program.fun) if program.jitgrad == SAME else self._own(program.jitgrad)
        if program.step:
            call = self.jg.jit(fun, target=self.target)
        else:
            call = self.jg.value_and_grad(fun, argnums=only_or_tuple(program.argnums), target=self.target)
        return call if self.target == "cpu" else waiting(call, self.jg.device().synchronise)

    def release(self) -> None:
        """The memory of results, and this thread's of temporaries."""
        self.jg.release_memory()

    def _own(self, fun: Any) -> Callable[..., Any]:
        jg = self.jg
        return lambda *args: fun(jg, *args)


class Jax(Peer):
    """``jax.jit`` of ``jax.value_and_grad``, on device arrays, waiting for every result."""

    name, module = "jax", "jax"
    targets, probe = ("cpu", "cuda"), "import jax; jax.devices('cuda')"

    def load(self) -> None:
        """float64 is switched on, so that float64 cases compute in float64. A GPU's memory is shared."""
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        self.jax = importlib.import_module("jax")
        update = self.jax.config.update
        update("jax_enable_x64", True)
        update("jax_platforms", self.target)
        if self.target == "cuda":
            update("jax_default_matmul_precision", "highest")
        if self.directory:
            update("jax_compilation_cache_dir", self.directory)
            update("jax_persistent_cache_min_compile_time_secs", 0.0)
            update("jax_persistent_cache_min_entry_size_bytes", -1)
        self.jnp = importlib.import_module("jax.numpy")
        self.modules = {
            "np": self.jnp,
            "special": importlib.import_module("jax.scipy.special"),
            "linalg": importlib.import_module("jax.scipy.linalg"),
        }

    def arrays(self, case: Case, inputs: tuple) -> tuple:
        """Arrays on JAX's device."""
        return self.jax.block_until_ready(self.jax.tree.map(self.jnp.asarray, inputs))

    def transform(self, case: Case) -> Callable[..., Any]:
        """Compiled by XLA as one program."""
        program = case.program
        fun = version(program.jax, self.jax) or rebound(program.fun, **self.modules)
        if not program.step:
            fun = self.jax.value_and_grad(fun, argnums=only_or_tuple(program.argnums))
        compiled, block = self.jax.jit(fun), self.jax.block_until_ready
        return lambda *args: block(compiled(*args))


class Torch(Peer):
    """torch, eager."""

    name, module = "torch", "torch"
    on_disk = False
    targets, probe = ("cpu", "cuda"), "import torch; torch.zeros(1, device='cuda')"

    def load(self) -> None:
        """Sets torch's number of threads. Products of matrices are in float32 anyway, convolutions because it is
        said."""
        self.torch = importlib.import_module("torch")
        self.torch.set_num_threads(self.threads)
        self.torch.backends.cudnn.allow_tf32 = False

    def arrays(self, case: Case, inputs: tuple) -> tuple:
        """Tensors; leaves that need a gradient where it is asked for."""

        def tensor(x: Any) -> Any:
            return self.torch.from_numpy(np.array(x)).to(self.target) if isinstance(x, (np.ndarray, float)) else x

        tensors = tuple(tree_map(tensor, x) for x in inputs)
        wanted = self.differentiated(case)
        for t in (leaf for k in wanted for leaf in leaves(tensors[k])):
            t.requires_grad_(True)
        return tensors

    def differentiated(self, case: Case) -> tuple[int, ...]:
        """The arguments whose tensors need a gradient: for a step of training, its parameters."""
        return (0,) if case.program.step else case.program.argnums

    def forward(self, case: Case) -> Callable[..., Any]:
        """The function itself."""
        fun = version(case.program.torch, self.torch)
        return fun or rebound(case.program.fun, np=self.torch, special=self.torch.special)

    def transform(self, case: Case) -> Callable[..., Any]:
        """Forward pass, then ``torch.autograd.grad``."""
        fun, grad, argnums = self.forward(case), self.torch.autograd.grad, case.program.argnums

        def value_and_grad(*tensors):
            value = fun(*tensors)
            return value, grad(value, [tensors[k] for k in argnums])

        call = fun if case.program.step else value_and_grad
        return call if self.target == "cpu" else waiting(call, self.torch.cuda.synchronize)

    def flat(self, result: Any) -> list[np.ndarray]:
        """As NumPy arrays."""
        return [t.detach().cpu().numpy() for t in leaves(result)]


class TorchCompile(Torch):
    """torch with ``torch.compile``; needs a C++ compiler, for a GPU too."""

    name = "torch.compile"
    on_disk = True

    def load(self) -> None:
        """Its compiler is imported as well, and compiles in this process."""
        if self.directory:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = self.directory
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        super().load()
        language = "triton" if self.target == "cuda" else "cpp"
        for module in ("torch._dynamo", "torch._inductor.compile_fx", f"torch._inductor.codegen.{language}"):
            importlib.import_module(module)

    def forward(self, case: Case) -> Callable[..., Any]:
        """Compiled for the shapes of the case."""
        own = case.program.torch_compile
        fun = functools.partial(own, self.torch) if own else super().forward(case)
        return self.torch.compile(lambda *tensors: fun(*tensors), dynamic=False)

    def differentiated(self, case: Case) -> tuple[int, ...]:
        """None for a step of training: that is compiled as a whole."""
        return () if case.program.step else case.program.argnums

    @classmethod
    def missing(cls, target: str = "cpu") -> str | None:
        """torch, its GPU, or a C++ compiler."""
        compilers = (os.environ.get("CXX"), "g++", "clang++", "cl")
        return super().missing(target) or (None if any(c and shutil.which(c) for c in compilers) else "no C++ compiler")


class Autograd(Peer):
    """HIPS autograd: interpreted NumPy."""

    name, module = "autograd", "autograd"
    keeps_dtypes, on_disk = False, False

    def load(self) -> None:
        """Nothing to set."""
        self.autograd = importlib.import_module("autograd")
        modules = {"np": "autograd.numpy", "special": "autograd.scipy.special", "linalg": "autograd.scipy.linalg"}
        self.modules = {name: importlib.import_module(module) for name, module in modules.items()}

    def transform(self, case: Case) -> Callable[..., Any]:
        """``autograd.value_and_grad``."""
        program = case.program
        if program.step or not program.autograd:
            raise UnsupportedError
        return self.autograd.value_and_grad(rebound(program.fun, **self.modules), only_or_tuple(program.argnums))


class PyTensor(Peer):
    """PyTensor, compiled by Numba; the programs that have a version for it."""

    name, module = "pytensor", "pytensor"
    keeps_dtypes = False

    def load(self) -> None:
        """Its cache of C code and Numba's are put into the run's folder."""
        if self.directory:
            os.environ["PYTENSOR_FLAGS"] = f"base_compiledir={self.directory}"
            os.environ["NUMBA_CACHE_DIR"] = self.directory
        self.pytensor = importlib.import_module("pytensor")
        self.pt = importlib.import_module("pytensor.tensor")
        importlib.import_module("pytensor.tensor.special")
        importlib.import_module("pytensor.link.numba.dispatch")

    def arrays(self, case: Case, inputs: tuple) -> tuple:
        """NumPy arrays, numbers too, as PyTensor's functions check their arguments' types."""
        arrays = tuple(np.asarray(x) for x in inputs)
        self.types = [(x.dtype, x.shape) for x in arrays]
        return arrays

    def transform(self, case: Case) -> Callable[..., Any]:
        """A function with the value and the gradients as its outputs."""
        program = case.program
        if program.pytensor is None:
            raise UnsupportedError
        self.pytensor.config.floatX = np.dtype(DTYPES[case.dtype]).name
        fun = version(program.pytensor, self.pt) or rebound(program.fun, np=self.pt, special=self.pt)
        inputs = [self.pt.tensor(dtype=dtype, shape=shape) for dtype, shape in self.types]
        value = fun(*inputs)
        grads = self.pt.grad(value, [inputs[k] for k in program.argnums])
        return self.pytensor.function(inputs, [value, *grads], mode="NUMBA", on_unused_input="ignore")


class CuPy(Peer):
    """CuPy, which gives the value alone."""

    name, module = "cupy", "cupy"
    gradients, on_disk = False, False
    targets, probe = ("cuda",), "import cupy; cupy.zeros(1)"

    def load(self) -> None:
        """Its kernels are kept in the run's folder."""
        if self.directory:
            os.environ["CUPY_CACHE_DIR"] = self.directory
        self.cupy = importlib.import_module("cupy")
        modules = {"np": "cupy", "special": "cupyx.scipy.special", "linalg": "cupyx.scipy.linalg"}
        self.modules = {name: importlib.import_module(module) for name, module in modules.items()}

    def arrays(self, case: Case, inputs: tuple) -> tuple:
        """CuPy's arrays."""
        return on_gpu(inputs, self.cupy.asarray)

    def transform(self, case: Case) -> Callable[..., Any]:
        """The function itself."""
        return waiting(rebound(case.program.fun, **self.modules), self.cupy.cuda.Device().synchronize)

    def flat(self, result: Any) -> list[np.ndarray]:
        """As NumPy arrays."""
        return [self.cupy.asnumpy(leaf) for leaf in leaves(result)]


_ALL = (Jitgrad, Jax, Torch, TorchCompile, Autograd, PyTensor, NumPy, CuPy)
PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in _ALL}
#: Those that are asked for by default, by target.
DEFAULT_PEERS = {
    "cpu": ("jitgrad", "jax", "torch", "torch.compile", "numpy"),
    "cuda": ("jitgrad", "jax", "torch", "torch.compile", "cupy"),
}
