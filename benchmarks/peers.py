"""The libraries that are compared. Each runs a case in the form that suits it best.

A peer turns a case into a callable without arguments that does all the work of one call, waiting for asynchronous
results included. Inputs are converted beforehand: device arrays for JAX, tensors for torch, NumPy arrays otherwise.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import types
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from benchmarks.cases import Case


class Peer:
    """Base: ``arrays`` converts inputs, ``transform`` makes value-and-gradient, ``finish`` flattens a result."""

    name: ClassVar[str]
    module: ClassVar[str]
    keeps_dtypes: ClassVar[bool] = True  # is a gradient of its argument's dtype?

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.load()

    def load(self) -> None:
        """Import the library and set its number of threads."""
        raise NotImplementedError

    def arrays(self, inputs: tuple, argnums: tuple[int, ...]) -> tuple:
        """The inputs in the library's own form; those of ``argnums`` are differentiated."""
        return inputs

    def transform(self, case: Case) -> Callable[..., Any]:
        """``f(*arrays) -> (value, gradients)``, or the gradients alone for a case without value."""
        raise NotImplementedError

    def flat(self, case: Case, result: Any) -> list[np.ndarray]:
        """A result as NumPy arrays: the value where there is one, then the gradients in order of ``argnums``."""
        value, grads = result if case.with_value else (None, result)
        grads = list(grads) if isinstance(grads, (tuple, list)) else [grads]
        return [np.asarray(a) for a in ([] if value is None else [value]) + grads]

    def call(self, case: Case, inputs: tuple) -> Callable[[], Any]:
        """A call of the case on inputs, ready to be timed; nothing is compiled until it is called."""
        return functools.partial(self.transform(case), *self.arrays(inputs, case.argnums))


def available(peer: type[Peer]) -> bool:
    """Is the peer's library installed?"""
    return importlib.util.find_spec(peer.module) is not None


def rebound(fun: Callable, namespace: Any) -> Callable:
    """``fun`` with ``np`` meaning another NumPy; a new function, so that nothing compiled for the old one is reused."""
    assert isinstance(fun, types.FunctionType)
    return types.FunctionType(fun.__code__, {**fun.__globals__, "np": namespace}, fun.__name__, fun.__defaults__)


def only_or_tuple(argnums: tuple[int, ...]) -> int | tuple[int, ...]:
    """An int for a single argument, as all the libraries like it."""
    return argnums[0] if len(argnums) == 1 else argnums


class Jitgrad(Peer):
    """This library, on NumPy arrays."""

    name, module = "jitgrad", "jitgrad"

    def load(self) -> None:
        """Threads come from the environment variables that ``__main__`` sets."""
        self.jg = importlib.import_module("jitgrad")

    def transform(self, case: Case) -> Callable[..., Any]:
        """``jg.value_and_grad`` or ``jg.grad`` of the function as it is written."""
        make = self.jg.value_and_grad if case.with_value else self.jg.grad
        return make(rebound(case.fun, np), argnums=only_or_tuple(case.argnums))


class Jax(Peer):
    """``jax.jit`` of ``jax.value_and_grad``, on device arrays, waiting for every result."""

    name, module = "jax", "jax"

    def load(self) -> None:
        """float64 is switched on, so that float64 cases compute in float64."""
        self.jax = importlib.import_module("jax")
        self.jax.config.update("jax_enable_x64", True)
        self.jax.config.update("jax_platforms", "cpu")
        self.jnp = importlib.import_module("jax.numpy")

    def arrays(self, inputs: tuple, argnums: tuple[int, ...]) -> tuple:
        """Arrays on JAX's device."""
        return tuple(self.jax.block_until_ready(self.jnp.asarray(a)) for a in inputs)

    def transform(self, case: Case) -> Callable[..., Any]:
        """Compiled by XLA as one program."""
        make = self.jax.value_and_grad if case.with_value else self.jax.grad
        compiled = self.jax.jit(make(rebound(case.fun, self.jnp), argnums=only_or_tuple(case.argnums)))
        if len(case.argnums) == 1 and not case.with_value:
            return lambda *args: compiled(*args).block_until_ready()  # the quickest way to wait for one array
        block = self.jax.block_until_ready
        return lambda *args: block(compiled(*args))


class Torch(Peer):
    """torch, eager."""

    name, module = "torch", "torch"

    def load(self) -> None:
        """Sets torch's number of threads."""
        self.torch = importlib.import_module("torch")
        self.torch.set_num_threads(self.threads)

    def arrays(self, inputs: tuple, argnums: tuple[int, ...]) -> tuple:
        """Tensors; leaves that need a gradient where it is asked for."""
        tensors = [self.torch.from_numpy(np.array(a)) for a in inputs]
        return tuple(t.requires_grad_(True) if k in argnums else t for k, t in enumerate(tensors))

    def forward(self, case: Case) -> Callable[..., Any]:
        """The function itself."""
        return functools.partial(case.torch_fun, self.torch)

    def transform(self, case: Case) -> Callable[..., Any]:
        """Forward pass, then ``torch.autograd.grad``."""
        fun, grad, argnums = self.forward(case), self.torch.autograd.grad, case.argnums

        def value_and_grad(*tensors):
            value = fun(*tensors)
            return value, grad(value, [tensors[k] for k in argnums])

        return value_and_grad

    def flat(self, case: Case, result: Any) -> list[np.ndarray]:
        """As NumPy arrays; the value is always computed, and dropped where the case has none."""
        value, grads = result
        return [t.detach().numpy() for t in (value, *grads)][0 if case.with_value else 1 :]


class TorchCompile(Torch):
    """torch with ``torch.compile``; needs a C++ compiler."""

    name = "torch.compile"

    def forward(self, case: Case) -> Callable[..., Any]:
        """Compiled afresh for each case."""
        self.torch._dynamo.reset()
        torch, fun = self.torch, case.torch_fun
        return torch.compile(lambda *tensors: fun(torch, *tensors))


class Autograd(Peer):
    """HIPS autograd: interpreted NumPy."""

    name, module = "autograd", "autograd"
    keeps_dtypes = False

    def load(self) -> None:
        """Nothing to set."""
        self.autograd = importlib.import_module("autograd")
        self.np = importlib.import_module("autograd.numpy")

    def transform(self, case: Case) -> Callable[..., Any]:
        """``autograd.value_and_grad`` or ``autograd.grad``."""
        make = self.autograd.value_and_grad if case.with_value else self.autograd.grad
        return make(rebound(case.fun, self.np), only_or_tuple(case.argnums))


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Jitgrad, Jax, Torch, TorchCompile, Autograd)}
DEFAULT_PEERS = ("jitgrad", "jax", "torch")
