"""Settings: one frozen dataclass, the only reader of the ``JITGRAD_*`` environment variables."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from jitgrad.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings. Change them for a block of code with :func:`using`, or for good with :func:`update`.

    verify : check every graph and loop program after every pass (slow; the test suite turns it on).
    backend : ``"llvm"`` (the default), ``"numba"`` (Python source through ``numba.njit``) or ``"python"`` (the Python
        source run by CPython; slow, for reading and as an oracle).
    check_bounds : check traced indices when the program runs. Without it one that is out of bounds reads or writes
        whatever is there.
    unroll_limit : loops of a known length up to this one are unrolled while a function is traced; longer ones are
        recorded as loops, if their body allows it.
    parallel : let threads share loops whose iterations are independent, where there is enough work in them.
    cache : keep compiled programs on disk, and take them from there.
    cache_dir : the directory for that; empty for the one that the system has for such files, the user's own.
    pool : keep the memory of large results when they are dropped, for those of the next call. It is what
        :func:`jitgrad.release_memory` gives back.
    target : where programs run: ``"cpu"`` (the default) or ``"cuda"``, an NVIDIA GPU.
    strict_device : raise an error for a program that has no form for the GPU. Without it, it runs on the host, with a
        warning.
    tf32 : let float32 matrix products on the GPU round their operands to TF32 (10 bits of mantissa), which is faster.
    cuda_driver : ``"cuda"`` (the default), or ``"simulated"``: devices that exist only in the memory of the host, for
        tests without a GPU.
    warn_recompiles : warn when one function has been compiled for this many different signatures; 0 never warns.
    """

    verify: bool = False
    backend: str = "llvm"
    check_bounds: bool = True
    warn_recompiles: int = 64
    unroll_limit: int = 8
    parallel: bool = True
    cache: bool = True
    cache_dir: str = ""
    pool: bool = True
    target: str = "cpu"
    strict_device: bool = False
    tf32: bool = False
    cuda_driver: str = "cuda"

    def __post_init__(self) -> None:
        if isinstance(self.cache_dir, os.PathLike):
            object.__setattr__(self, "cache_dir", os.fspath(self.cache_dir))
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if type(value) is not kind:
                raise ArgumentError(f"{field.name} can't be {value!r}. The setting is {_KINDS[kind]}. Pass that.")
            if kind is int and value < 0:
                raise ArgumentError(f"{field.name} can't be {value}. It is a number of things. Pass 0 or more.")
            if field.name in _CHOICES and value not in _CHOICES[field.name]:
                choices = " or ".join(map(repr, _CHOICES[field.name]))
                raise ArgumentError(f"{field.name} can't be {value!r}. There is no such {field.name}. Use {choices}.")


_KINDS = {bool: "True or False", int: "an integer", str: "a string"}
_CHOICES = {
    "backend": ("llvm", "numba", "python"),
    "target": ("cpu", "cuda"),
    "cuda_driver": ("cuda", "simulated"),
}


def _from_environment() -> Config:
    """Each setting from the variable of its name, or as it is by default."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        text = os.environ.get(f"JITGRAD_{field.name.upper()}")
        if text is None:
            continue
        if isinstance(field.default, bool):
            found[field.name] = text not in ("", "0", "false")
        elif isinstance(field.default, int):
            if not text.isdecimal():
                raise ArgumentError(
                    f"the environment variable JITGRAD_{field.name.upper()} can't be {text!r}. It is an integer of at "
                    "least 0. Set it to one, or unset it."
                )
            found[field.name] = int(text)
        else:
            found[field.name] = text
    return Config(**found)


_current = _from_environment()


def current() -> Config:
    """The settings in force."""
    return _current


def update(**changes: object) -> None:
    """Change settings for the rest of the process: ``config.update(verify=True)``."""
    global _current
    known = [field.name for field in dataclasses.fields(Config)]
    for name in changes:
        if name not in known:
            raise ArgumentError(
                f"there is no setting {name!r}. The settings are {', '.join(known)}. Choose one of them."
            )
    _current = dataclasses.replace(_current, **changes)  # pyright: ignore[reportArgumentType]


@contextlib.contextmanager
def using(**changes: object) -> Iterator[Config]:
    """Change settings inside a ``with`` block."""
    global _current
    before = _current
    update(**changes)
    try:
        yield _current
    finally:
        _current = before
