"""The kernels of matrix products, which programs share: compiled once, and kept in the cache on disk.

Programs refer to them by symbols. One that no program needs is not compiled.
"""

from __future__ import annotations

from collections.abc import Iterable

from llvmlite import binding

from jitgrad.codegen import gemm
from jitgrad.codegen.gemm_kernels import emit_product
from jitgrad.config import current
from jitgrad.runtime import cache, target
from jitgrad.runtime.linker import Linked, link

#: The kernels of this process, for good: code that refers to them may be called as long as it lives.
_bound: dict[str, Linked] = {}
#: Of the target machines, the one for kernels: programs may be compiled at the same time.
_MACHINE = -1


def bind(names: Iterable[str]) -> None:
    """Bind those of the symbols that are kernels. Call it before code is linked that refers to them; not for use by two
    threads at once."""
    for name in names:
        if name.startswith(gemm.PREFIX) and name not in _bound:
            linked = link((_code(name),), (name,), ())
            binding.add_symbol(name, linked.addresses[name])
            _bound[name] = linked


def needed(names: Iterable[str]) -> bool:
    """Whether there is a kernel among some symbols that is not bound yet."""
    return any(name.startswith(gemm.PREFIX) and name not in _bound for name in names)


def _code(name: str) -> bytes:
    """The object file of a kernel, from the cache if it is there."""
    shape = gemm.shape_here(int(name.removeprefix(gemm.PREFIX)))
    key = cache.key_of(["kernel", name, repr(shape)]) if current().cache else None
    found = cache.find(key, count=False) if key else None
    if found is not None:
        return bytes(found.parts[0])
    module = target.new_module(name)
    emit_product(module, shape, name)
    code = target.compile_as_written(str(module), target.machine(_MACHINE))
    if key:
        cache.keep(key, cache.Entry({}, (code,)))
    return code
