"""From the text of kernels to machine code: Numba to LLVM, NVVM to PTX, nvJitLink to a cubin.

No GPU and no driver is needed. All kernels of a text go through NVVM and the linker together. Cubins are kept on disk;
one that is found there is taken without importing Numba's CUDA compiler.

Arithmetic is IEEE's, but a product and a sum may be rounded as one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jitgrad.config import current
from jitgrad.cuda import text
from jitgrad.cuda.driver import Code, Driver, Module
from jitgrad.cuda.namespace import kernel_globals, numba_cuda, numba_module, pointer_type
from jitgrad.errors import ArgumentError, CompilationError
from jitgrad.ir.location import Location
from jitgrad.runtime import cache

#: A parameter: a dtype for a pointer to its elements, ``("const", dtype)`` for one to elements that nobody writes while
#: the kernel runs, ``("scalar", dtype)`` for a number.
Parameter = np.dtype | tuple[str, np.dtype]

#: What cubins depend on beside jitgrad, by the names of distributions for CUDA 12 and 13.
_COMPILERS = ("numba-cuda", "cuda-bindings")
_NVVM = ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12", "nvidia-nvvm-cu12")
_LINKER = ("nvidia-nvjitlink", "nvidia-nvjitlink-cu12")

#: Numba compiles one thing at a time, and what is put in its place meanwhile is seen by all threads.
_lock = threading.RLock()


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel of a cubin: its name there, and what a thread (registers, stack, spills) and a block (shared memory)
    take, as the linker counts it: on sm_90, 1024 bytes of shared memory are the system's. A number is -1 where the
    linker does not tell."""

    name: str
    symbol: str
    signature: tuple[Parameter, ...]
    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int


@dataclasses.dataclass(frozen=True)
class Cubin:
    """Machine code of the kernels of one text, for one architecture."""

    code: bytes
    arch: str
    kernels: dict[str, Kernel]


def compile_kernels(
    source: str,
    signatures: Mapping[str, tuple[Parameter, ...]],
    arch: str = "sm_90",
    *,
    threads: Mapping[str, int] | None = None,
) -> Cubin:
    """The kernels of a text that have signatures, as machine code for an architecture.

    ``threads`` has the most threads that blocks of a kernel are launched with: it then takes no more registers than
    so many threads can have.
    """
    threads = threads or {}
    capability = _capability(arch)
    key = _key(source, signatures, arch, threads) if current().cache else None
    entry = cache.find(key) if key else None
    if key and entry is not None:
        try:
            return _loaded(entry, signatures, arch)
        except (LookupError, TypeError):
            cache.reject(key)
    cubin = _link(_nvvm(_front(source, signatures, capability, threads), capability), signatures, arch)
    if key:
        cache.keep(key, _stored(cubin))
    return cubin


def load(driver: Driver, code: Code) -> Module:
    """Load kernels on a device, compiled for its architecture where its driver needs that."""
    if driver.needs_cubin:
        code = code._replace(cubin=compile_kernels(code.source, code.signatures, driver.properties.arch))
    return driver.load(code)


def ptx(source: str, signatures: Mapping[str, tuple[Parameter, ...]], arch: str = "sm_90") -> dict[str, str]:
    """The PTX of each kernel, for reading."""
    capability = _capability(arch)
    found = _front(source, signatures, capability, {})
    return {name: _nvvm({name: modules}, capability) for name, modules in found.items()}


def symbol_of(name: str) -> str:
    """The name of a kernel in its cubin, which must not be an instruction's."""
    return f"jitgrad_{name}"


# What is kept on disk.


def _key(
    source: str, signatures: Mapping[str, tuple[Parameter, ...]], arch: str, threads: Mapping[str, int]
) -> str | None:
    bounds = repr(sorted(threads.items()))
    return cache.key_of(["cubin", source, *_described(signatures), arch, bounds, *_versions()])


def _described(signatures: Mapping[str, tuple[Parameter, ...]]) -> Iterator[str]:
    for name, parameters in signatures.items():
        yield json.dumps([name, *[(p[0], p[1].name) if isinstance(p, tuple) else p.name for p in parameters]])


@functools.cache
def _versions() -> tuple[str, ...]:
    """The versions of all that makes cubins."""
    found = [*_installed(_COMPILERS), *_installed(_NVVM), *_installed(_LINKER)]
    if not all(map(_installed, (_COMPILERS[:1], _NVVM, _LINKER))):  # some belong to a CUDA toolkit, or are missing
        numba_cuda()
        from cuda.bindings import nvjitlink, nvvm  # pyright: ignore[reportMissingImports]

        found.append(f"NVVM {nvvm.version()} nvJitLink {nvjitlink.version()}")
    return tuple(found)


def _installed(names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found


def _stored(cubin: Cubin) -> cache.Entry:
    kernels = []
    for kernel in cubin.kernels.values():
        facts = dataclasses.asdict(kernel)
        del facts["signature"]  # part of the key
        kernels.append(facts)
    return cache.Entry({"kernels": kernels}, [cubin.code])


def _loaded(entry: cache.Entry, signatures: Mapping[str, tuple[Parameter, ...]], arch: str) -> Cubin:
    kernels = {facts["name"]: Kernel(signature=signatures[facts["name"]], **facts) for facts in entry.header["kernels"]}
    return Cubin(bytes(entry.parts[0]), arch, kernels)


# Numba: from Python to LLVM.


def _capability(arch: str) -> tuple[Any, ...]:
    """``(9, 0)`` for sm_90, ``(9, 0, "a")`` for sm_90a."""
    match = re.fullmatch(r"sm_(\d+)(\d)([af]?)", arch)
    if match is None:
        raise ArgumentError(f"{arch!r} is no architecture. They have names as sm_80 or sm_90. Take that of the device.")
    major, minor, suffix = match.groups()
    return (int(major), int(minor), suffix) if suffix else (int(major), int(minor))


@contextlib.contextmanager
def _compiling_for(capability: tuple[Any, ...]) -> Iterator[None]:
    """Numba's device functions are compiled for the device that is there. Here that need not be the one that is meant,
    and there may be none: while kernels are compiled, the question is answered with what is meant."""
    dispatcher = numba_module("dispatcher")

    class Device:
        compute_capability = capability

    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = dispatcher.get_current_device
        dispatcher.get_current_device = Device
        try:
            yield
        finally:
            dispatcher.get_current_device = asked


def _front(
    source: str,
    signatures: Mapping[str, tuple[Parameter, ...]],
    capability: tuple[Any, ...],
    threads: Mapping[str, int],
) -> dict[str, list[str]]:
    """The LLVM modules of each kernel."""
    found: dict[str, list[str]] = {}
    file = text.register(source)
    with _compiling_for(capability):
        names = kernel_globals()
        name = ""
        try:
            text.execute(source, file, names)
            for name, signature in signatures.items():
                found[name] = _lowered(names[name], name, signature, capability, threads.get(name))
        except Exception as error:  # whatever a compiler raises
            raise _refused(error, file, name) from error
    text.forget(file)
    return found


def _lowered(
    function: Any, name: str, signature: tuple[Parameter, ...], capability: tuple[Any, ...], threads: int | None
) -> list[str]:
    compiler = numba_module("compiler")
    types = tuple(_numba_type(parameter) for parameter in signature)
    compiled = compiler.compile_cuda(
        function, None, types, nvvm_options={"opt": 3, "fastmath": False}, cc=capability, abi="numba"
    )
    if compiled.signature.return_type != numba_cuda().types.none:
        raise TypeError("a kernel returns no value")
    mangled = compiled.fndesc.llvm_func_name
    kernel = compiled.library.get_function(mangled)
    compiler.kernel_fixup(kernel, False)
    numba_module("cudadrv.nvvm").set_launch_bounds(kernel, threads)
    return [module.replace(mangled, symbol_of(name)) for module in compiled.library.llvm_strs]


def _numba_type(parameter: Parameter) -> Any:
    kind, dtype = parameter if isinstance(parameter, tuple) else ("pointer", parameter)
    types = numba_cuda().types
    scalar = types.boolean if dtype == np.bool_ else getattr(types, np.dtype(dtype).name)
    return scalar if kind == "scalar" else pointer_type(scalar, kind == "const")


def _refused(error: Exception, file: str, kernel: str) -> CompilationError:
    """What a compiler says of a text, with the line that it is about."""
    message = re.sub(r"\x1b\[\d*m", "", str(error))  # colours
    told = [line.strip() for line in message.splitlines() if line.strip()]
    if len(told) > 1 and told[0].startswith("Failed in"):
        told = told[1:]  # the first line names a pass of Numba only
    reason = told[0].rstrip(".") if told else type(error).__name__
    if reason.endswith("signature:") and len(told) > 1:
        reason += " " + told[1].removeprefix(">>> ")
    line = _line(error, message, file)
    return CompilationError(
        f"kernel {kernel!r} can't be compiled: {reason.rstrip('.')}. Its text is not in the language of kernels, or "
        "mixes types that don't go together. Correct the line; the error that caused this one has more.",
        Location(file, line, kernel) if line else None,
    )


def _line(error: Exception, message: str, file: str) -> int:
    """The line of the text that an error is about, 0 where nothing tells."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    named = re.findall(rf'File "[^"]*{re.escape(file)}", line (\d+)', message)
    if named:
        return int(named[-1])
    line, traceback = 0, error.__traceback__
    while traceback is not None:  # what Numba was at work on
        local = traceback.tb_frame.f_locals
        for value in (error, *[local.get(name) for name in ("self", "inst", "stmt")]):
            place = getattr(value, "loc", None)
            line = getattr(place, "line", line) if getattr(place, "filename", "").endswith(file) else line
        traceback = traceback.tb_next
    return line


# NVVM and the linker: from LLVM to machine code.


def _nvvm(modules: Mapping[str, list[str]], capability: tuple[Any, ...]) -> str:
    """PTX of all modules together."""
    nvrtc, nvvm = numba_module("cudadrv.nvrtc"), numba_module("cudadrv.nvvm")
    together = dict.fromkeys(module for several in modules.values() for module in several)
    with _compiling_for(capability):
        try:
            code = nvvm.compile_ir(list(together), opt=3, arch=nvrtc.get_arch_option(*capability))
        except Exception as error:  # whatever a compiler raises
            raise CompilationError(
                f"NVVM can't compile {', '.join(modules)} for compute capability {capability}: {error}. The "
                "architecture is none that this version of CUDA knows, or the LLVM that Numba made is wrong. Update "
                'with pip install -U "jitgrad[cuda]".'
            ) from error
    return code.decode().strip("\0").strip() + "\n"


def _link(code: str, signatures: Mapping[str, tuple[Parameter, ...]], arch: str) -> Cubin:
    from cuda.bindings import nvjitlink  # pyright: ignore[reportMissingImports]

    options = [f"-arch={arch}", "-verbose"]
    with _lock:
        handle = nvjitlink.create(len(options), options)
        try:
            data = code.encode()
            nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernels")
            nvjitlink.complete(handle)
            binary = bytearray(nvjitlink.get_linked_cubin_size(handle))
            nvjitlink.get_linked_cubin(handle, binary)
            log = _log(nvjitlink.get_info_log_size, nvjitlink.get_info_log, handle)
        except nvjitlink.nvJitLinkError as error:
            log = _log(nvjitlink.get_error_log_size, nvjitlink.get_error_log, handle)
            raise CompilationError(
                f"the kernels can't be linked for {arch}: {log or error}. They ask for more than the architecture has, "
                "or this version of CUDA does not know it. Split the kernels, or update CUDA."
            ) from error
        finally:
            nvjitlink.destroy(handle)
    kernels = {name: Kernel(name, symbol_of(name), tuple(s), *_facts(log, name)) for name, s in signatures.items()}
    return Cubin(bytes(binary), arch, kernels)


def _log(size: Any, get: Any, handle: int) -> str:
    data = bytearray(size(handle))
    get(handle, data)
    return data.decode(errors="replace").strip("\0 \n")


def _facts(log: str, name: str) -> tuple[int, int, int, int]:
    """Registers, shared memory, stack and spills from what the linker says. It names each function twice: after
    ptxas, and at the end."""
    symbol = re.escape(symbol_of(name))
    parts = re.findall(rf"Function properties for '?{symbol}'?:?\s*$(.*?)(?=Function properties|\Z)", log, re.M | re.S)
    about = " ".join(parts)

    def number(pattern: str) -> int:
        found = [int(n) for n in re.findall(pattern, about)]
        return sum(found) if "spill" in pattern and found else max(found, default=-1)

    return (
        number(r"[Uu]sed (\d+) registers"),
        number(r"(\d+) bytes smem"),
        number(r"(\d+)(?: bytes stack frame| stack)"),
        number(r"(\d+) bytes spill"),
    )
