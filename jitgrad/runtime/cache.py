"""Compiled programs on disk, for the next process.

Each entry is a file of its own, named by its key: a hash of all that the program depends on. It holds a header (JSON)
and parts (bytes), after a checksum of both; nothing in it is unpickled. What fails a check is removed, and the program
compiled anew. Files appear under their names whole, by renaming, so any number of processes may share a directory.

Entries are code that will be executed, so a directory or file that another user could have written is not read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import operator
import os
import platform
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import numba
import numpy as np
import scipy
from llvmlite import binding
from numba.core import config as numba_config
from numba.core.codegen import get_host_cpu_features

from jitgrad.codegen import blas_threads
from jitgrad.config import current
from jitgrad.errors import JitgradWarning
from jitgrad.ir.location import user_location

#: Bytes in a directory beyond which entries are removed, those that were used longest ago first.
LIMIT = 1 << 30
#: Part of the limit that is left when some have been removed, and part that one entry may take.
_KEPT, _LARGEST = 0.8, 0.25

_MAGIC = b"jitgrad 1\n"
_SUFFIX, _SOURCES, _TEMPORARY = ".jitgrad", ".sources", ".tmp"
#: Seconds after which a file's times tell whether it is written again; those of FAT are in steps of two.
_SETTLED = 4
#: Seconds after which a temporary file belongs to a process that has ended.
_ABANDONED = 3600
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: What turns a graph into machine code. Of what makes graphs, only the graph counts.
_COMPILER = ("compiler.py", "config.py", "codegen", "cuda", "ir", "loopir", "ops", "passes", "runtime")
#: What Numba's code generator depends on beside its version.
_NUMBA_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE")


class DiskCacheInfo(NamedTuple):
    """``entries`` of ``nbytes`` together are in ``directory``. Of the programs that this process looked up there,
    ``hits`` were found and ``misses`` were not."""

    entries: int
    nbytes: int
    hits: int
    misses: int
    directory: Path


class Entry(NamedTuple):
    """``header`` can be written as JSON. Parts are copied."""

    header: dict[str, Any]
    parts: Sequence[Any]


_hits = _misses = 0


def key_of(text: Iterable[str]) -> str | None:
    """The key of what these texts describe, for this version of everything on this processor. None where jitgrad's
    sources are no files, so that it can't be told whether they are the same."""
    try:
        digest = hashlib.sha256(fingerprint().encode())
    except OSError:
        return None
    for part in text:
        data = part.encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


@functools.cache
def fingerprint() -> str:
    """What machine code depends on beside the program: versions, jitgrad's own sources, the processor."""
    settings = [(name, str(getattr(numba_config, name, None))) for name in _NUMBA_SETTINGS]
    cpu = [numba_config.CPU_NAME or binding.get_host_cpu_name()]  # pyright: ignore[reportAttributeAccessIssue]
    features = numba_config.CPU_FEATURES  # pyright: ignore[reportAttributeAccessIssue]
    cpu.append(get_host_cpu_features() if features is None else features)
    versions = [x.__version__ for x in (numba, llvmlite, np, scipy)]
    layout = (tuple.__basicsize__, object.__basicsize__, sys.implementation.cache_tag, getattr(sys, "abiflags", ""))
    facts = [_sources(), versions, sys.version, layout, binding.llvm_version_info, platform.machine(), sys.platform]
    return repr([*facts, cpu, settings, blas_threads.available()])


def _sources() -> str:
    """A hash of the files that turn graphs into machine code.

    Reading them takes longer than loading a program. So the hash lies in the store beside what the system says of the
    files, of which any write changes the time of the last change (``st_ctime``; on Windows ``st_mtime``). As such times
    are only so fine, that of files just written may stay the same when they are written again: those are read.
    """
    files = [(name, os.stat(name)) for name in _source_files()]
    state = [(name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in files]
    key = hashlib.sha256(repr(state).encode()).hexdigest()
    store = _store()
    known = store.find(key, _name_of_sources()) if store else None
    if known is not None:
        return known.header["sources"]
    found = _digest_of_sources()
    if store and max(max(s.st_mtime, s.st_ctime) for _, s in files) < time.time() - _SETTLED:
        store.keep(key, Entry({"sources": found}, ()), _name_of_sources())
    return found


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for name in _source_files():
        with open(name, "rb", buffering=0) as file:
            text = file.read()
        digest.update(b"%s:%d:" % (name.removeprefix(_PACKAGE).encode(), len(text)))
        digest.update(text)
    return digest.hexdigest()


def _name_of_sources() -> str:
    """The name of the file that tells of the sources of this installation: there is one of each."""
    return hashlib.sha256(os.fsencode(_PACKAGE)).hexdigest() + _SOURCES


def _source_files() -> Iterator[str]:
    for part in _COMPILER:
        path = os.path.join(_PACKAGE, part)
        yield from [path] if part.endswith(".py") else _python_files(path)


def _python_files(directory: str) -> Iterator[str]:
    for file in sorted(os.scandir(directory), key=lambda file: file.name):
        if file.is_dir():
            yield from _python_files(file.path)
        elif file.name.endswith(".py"):
            yield file.path


def find(key: str, count: bool = True) -> Entry | None:
    """The entry of a key, if there is one. What is no program does not ``count`` in :func:`cache_info`."""
    global _hits, _misses
    store = _store()
    entry = store.find(key) if store else None
    if count:
        _hits += entry is not None
        _misses += entry is None
    return entry


def keep(key: str, entry: Entry) -> None:
    """Write an entry."""
    store = _store()
    if store:
        store.keep(key, entry)


def reject(key: str) -> None:
    """Remove an entry that was found and turned out to be of no use: the program was a miss."""
    global _hits, _misses
    _hits, _misses = _hits - 1, _misses + 1
    store = _store()
    if store:
        store.remove(store.path(key))


def cache_info() -> DiskCacheInfo:
    """What the cache on disk holds, and how often it was of use to this process."""
    sizes = [status.st_size for _, status in _files(_directory(), _SUFFIX)]
    return DiskCacheInfo(len(sizes), sum(sizes), _hits, _misses, _directory())


def clear_cache() -> None:
    """Remove all programs from the cache on disk. Functions that are compiled already stay as they are."""
    for suffix in (_SUFFIX, _SOURCES, _TEMPORARY):
        for path, _ in list(_files(_directory(), suffix)):
            with contextlib.suppress(OSError):
                path.unlink()


def _directory() -> Path:
    """Where entries lie: what the settings say, else the system's place for such files."""
    if current().cache_dir:
        return Path(os.path.expanduser(current().cache_dir)).absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return (Path(local) if local else _in_home("AppData/Local")) / "jitgrad" / "cache"
    if sys.platform == "darwin":
        return _in_home("Library/Caches/jitgrad")
    named = os.environ.get("XDG_CACHE_HOME", "")  # the specification says that relative paths are invalid
    return (Path(named) if os.path.isabs(named) else _in_home(".cache")) / "jitgrad"


def _in_home(path: str) -> Path:
    """A path in the user's home directory; for a user without one, as in some containers, among temporary files."""
    try:
        return Path.home() / path
    except RuntimeError:
        user = os.geteuid() if hasattr(os, "geteuid") else "user"
        return Path(tempfile.gettempdir(), f"jitgrad-{user}") / path


def _files(directory: Path, suffix: str) -> Iterator[tuple[Path, os.stat_result]]:
    """The cache's own files of one kind, with their status."""
    with contextlib.suppress(OSError), os.scandir(directory) as found:
        for file in found:
            if file.name.endswith(suffix):
                with contextlib.suppress(FileNotFoundError):  # another process may be at work
                    yield Path(file.path), file.stat(follow_symlinks=False)


def _is_private(status: os.stat_result) -> bool:
    """Whether nobody but this user (and the administrator) can write what has this status. On Windows the directories
    of a user are such."""
    return not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)


def _store() -> _Store | None:
    """The store to use now."""
    if not current().cache:
        return None
    store = _store_at(_directory())
    return store if store.usable else None


@functools.cache
def _store_at(directory: Path) -> _Store:
    return _Store(directory)


class _Store:
    """The entries of one directory. ``usable`` is False from the first error on."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.usable = True
        self.nbytes: int | None = None  # of all entries, where they have been counted
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            private = _is_private(directory.stat())
        except OSError as error:
            self._give_up(f"{error}.")
            return
        if not private:
            self._give_up("it belongs to another user, or others can write to it, and what is in it is executed.")

    def _give_up(self, reason: str) -> None:
        self.usable = False
        message = (
            f"compiled programs are not cached in {self.directory}: {reason} Every process compiles for itself now. "
            "Set JITGRAD_CACHE_DIR to a directory of your own, or JITGRAD_CACHE=0 to do without."
        )
        location = user_location()
        if location is None:
            warnings.warn(message, JitgradWarning, stacklevel=2)
        else:
            warnings.warn_explicit(message, JitgradWarning, location.file, location.line)

    def path(self, key: str, name: str | None = None) -> Path:
        return self.directory / (name or key + _SUFFIX)

    def find(self, key: str, name: str | None = None) -> Entry | None:
        """The entry of a key, in the file of its name or another; a bad one is removed."""
        path = self.path(key, name)
        try:
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(path, flags), "rb") as file:
                status = os.fstat(file.fileno())
                data = file.read() if stat.S_ISREG(status.st_mode) and _is_private(status) else b""
        except OSError:  # nearly always: there is none
            return None
        entry = _decoded(key, data)
        if entry is None:
            self.remove(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
        return entry

    def remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()

    def keep(self, key: str, entry: Entry, name: str | None = None) -> None:
        """Write an entry, in the file of its key or of another name, and remove old ones where there are too many."""
        data = _encoded(key, entry)
        if len(data) > _LARGEST * LIMIT:
            return
        try:
            self._write(self.path(key, name), data)
        except OSError as error:
            self._give_up(f"{error}.")
            return
        self.nbytes = None if self.nbytes is None else self.nbytes + len(data)
        if self.nbytes is None or self.nbytes > LIMIT:
            self.nbytes = self._make_room()

    def _write(self, path: Path, data: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self.directory, suffix=_TEMPORARY)  # readable by this user only
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(name)
            if isinstance(error, PermissionError) and path.exists():
                return  # Windows, while another process reads the same entry
            raise

    def _make_room(self) -> int:
        """Remove the entries that were used longest ago if there is too much, and what processes that ended left.
        Returns the size of the rest."""
        for path, status in list(_files(self.directory, _TEMPORARY)):
            if status.st_mtime < time.time() - _ABANDONED:
                self.remove(path)
        found = sorted(_files(self.directory, _SUFFIX), key=lambda pair: pair[1].st_mtime)
        total = sum(status.st_size for _, status in found)
        if total > LIMIT:
            for path, status in found:
                if total <= _KEPT * LIMIT:
                    break
                self.remove(path)
                total -= status.st_size
        return total


def _encoded(key: str, entry: Entry) -> bytes:
    header = {"key": key, "sizes": [memoryview(part).nbytes for part in entry.parts], "header": entry.header}
    text = json.dumps(header, default=operator.index).encode()  # NumPy's integers are numbers too
    content = b"".join([len(text).to_bytes(8, "little"), text, *entry.parts])
    return _MAGIC + hashlib.sha256(content).digest() + content


def _decoded(key: str, data: bytes) -> Entry | None:
    """The entry in a file's bytes; None for anything but an undamaged entry of this key."""
    view = memoryview(data)
    start = len(_MAGIC) + 32
    if view[: len(_MAGIC)] != _MAGIC or hashlib.sha256(view[start:]).digest() != view[len(_MAGIC) : start]:
        return None
    end = start + 8 + int.from_bytes(view[start : start + 8], "little")
    try:
        found = json.loads(bytes(view[start + 8 : end]))
        parts = []
        for size in found["sizes"]:
            parts.append(view[end : end + size])
            end += size
        return Entry(found["header"], parts) if found["key"] == key else None
    except (ValueError, LookupError, TypeError):  # the checksum is right, but this was not written here
        return None
