"""The cache on disk: hits, and everything that must not be one."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llvmlite import binding
from llvmlite.binding import orcjit

import jitgrad as jg
from jitgrad import config
from jitgrad.compiler import Compiled, compile_graph
from jitgrad.errors import JitgradWarning
from jitgrad.ir.core import OPS
from jitgrad.runtime import cache, direct, linker, pool

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).parent / "cache_script.py"
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are those of POSIX")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """The cache is on, in a directory of its own."""
    directory = tmp_path / "store"
    direct.allocator([((1 << 17,), np.dtype(float))])  # what is compiled once a process is no program
    with config.using(cache=True, cache_dir=str(directory)):
        yield directory
    cache.fingerprint.cache_clear()


def start(directory: Path, code: str = "", **environment: str) -> subprocess.Popen[str]:
    """A process that runs ``code`` and then the script, with its own cache."""
    env = os.environ | {"JITGRAD_CACHE": "1", "JITGRAD_CACHE_DIR": str(directory), "NUMBA_NUM_THREADS": "2"}
    env |= environment | {"PYTHONPATH": os.pathsep.join((*sys.path, str(ROOT)))}
    code = f"{code}\nimport runpy; runpy.run_path({str(SCRIPT)!r})"
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def program(scale: float = 2.0, fun: Callable[..., Any] = np.tanh) -> tuple[Compiled, Any]:
    """A function compiled anew, and its result."""
    traced = jg.value_and_grad(lambda x: np.sum(fun(x) * scale))
    x = np.linspace(0.0, 1.0, 7)
    value = traced(x)
    np.testing.assert_allclose(value[0], np.sum(fun(x) * scale), rtol=1e-14)
    return traced._specialise((x,), {}).compiled, value  # pyright: ignore


def from_disk(scale: float = 2.0) -> bool:
    """Whether the program is in the cache; it is afterwards."""
    before = jg.cache_info()
    loaded = program(scale)[0].executable.is_loaded
    after = jg.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == ((1, 0) if loaded else (0, 1))
    return loaded


def entries(store: Path) -> list[Path]:
    return sorted(store.glob("*.jitgrad"))


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    cold = finish(start(tmp_path))
    warm = finish(start(tmp_path))
    assert cold["hits"] == 1  # the last function is compiled twice
    own = 2 + pool.available()  # what looks at arguments, a product's kernel, and the pool, as a result is large
    assert cold["compiled"] > 0 and cold["misses"] == cold["entries"] - own == 7
    assert (warm["compiled"], warm["misses"], warm["hits"]) == (0, 0, 8)
    assert warm["results"] == cold["results"]
    assert warm["launches"] > 0, "loops of code from the cache run on threads"


def test_two_processes_at_once(tmp_path: Path) -> None:
    first, second = map(finish, [start(tmp_path), start(tmp_path)])
    assert first["results"] == second["results"]
    names = {path.suffix for path in tmp_path.iterdir()}
    assert names == {".jitgrad", ".sources"}, "no temporary file is left"
    assert finish(start(tmp_path))["compiled"] == 0


def test_a_process_that_is_killed_while_it_writes(tmp_path: Path, store: Path) -> None:
    kill = "import os, signal\nos.replace = lambda *paths: os.kill(os.getpid(), signal.SIGTERM)"
    process = start(store, kill)
    process.communicate(timeout=300)
    assert process.returncode != 0
    (left,) = store.iterdir()
    assert left.suffix == ".tmp" and jg.cache_info().entries == 0
    assert not from_disk() and from_disk()
    assert left.exists(), "it could be at work"
    os.utime(left, (time.time() - 7200,) * 2)
    cache._store_at.cache_clear()  # as in a new process
    assert not from_disk(3.0)
    assert not left.exists() and len(entries(store)) == 2


def test_cold_and_warm_results_are_the_same_bits(store: Path) -> None:
    (cold, expected), (warm, value) = program(), program()
    assert not cold.executable.is_loaded and warm.executable.is_loaded
    np.testing.assert_array_equal(value[0], expected[0])
    np.testing.assert_array_equal(value[1], expected[1])


def test_code_from_the_cache_can_be_read(store: Path) -> None:
    (cold, _), (warm, _) = program(), program()
    assert warm.executable.is_loaded
    assert warm.stages == cold.stages and warm.source() == cold.source() and warm.notes == cold.notes
    assert "define " in warm.llvm() and warm.llvm() == cold.llvm() and warm.asm() == cold.asm()
    loaded = "the machine code is from the cache on disk"
    assert loaded not in cold.explain().splitlines() and loaded in warm.explain().splitlines()
    assert warm.explain().replace(loaded + "\n", "") == cold.explain().replace(loaded + "\n", "")
    np.testing.assert_array_equal(warm(np.ones(7))[1], cold(np.ones(7))[1])
    with pytest.raises(TypeError, match=r"compiled for x: f64\[7\]"):
        warm(np.ones(8))


def test_errors_of_code_from_the_cache_name_the_line(store: Path) -> None:
    def pick(x, k):
        y = np.sin(x)
        return y[k]

    places = []
    for _ in range(2):
        f = jg.jit(pick)
        with pytest.raises(IndexError) as caught:
            f(np.ones(5), 9)
        places.append(caught.value.location)  # pyright: ignore
    assert f._specialise((np.ones(5), 9), {}).compiled.executable.is_loaded
    assert places[0] == places[1] and places[0].file == __file__


def test_lines_are_left_out_where_the_program_is_another_one(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pick(x, k):
        return np.sin(x)[k]

    jg.jit(pick)(np.ones(5), 1)
    f = jg.jit(pick)
    f(np.ones(5), 1)
    executable = f._specialise((np.ones(5), 1), {}).compiled.executable
    assert executable.is_loaded
    monkeypatch.setattr(executable, "_digest", "another")
    with pytest.raises(IndexError) as caught:
        f(np.ones(5), 9)
    assert caught.value.location is None  # pyright: ignore


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def altered(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def longer(data: bytes) -> bytes:
    return data + b"more"


def empty(data: bytes) -> bytes:
    return b""


def other(data: bytes) -> bytes:
    return b"something else altogether\n" * 100


def foreign(data: bytes) -> bytes:
    content = b"not JSON, though the checksum is right"
    return cache._MAGIC + hashlib.sha256(content).digest() + content


@pytest.mark.parametrize("damage", [truncated, altered, longer, empty, other, foreign])
def test_a_damaged_entry_is_replaced(store: Path, damage: Callable[[bytes], bytes]) -> None:
    assert not from_disk()
    (path,) = entries(store)
    path.write_bytes(damage(path.read_bytes()))
    assert not from_disk() and from_disk()
    assert entries(store) == [path]


def test_an_entry_under_the_name_of_another_one_is_replaced(store: Path) -> None:
    assert not from_disk(2.0)
    (first,) = entries(store)
    assert not from_disk(3.0)
    (second,) = set(entries(store)) - {first}
    shutil.copy(first, second)
    assert not from_disk(3.0) and from_disk(3.0) and from_disk(2.0)


@pytest.mark.parametrize("part", ["code", "header"])
def test_an_entry_that_can_not_be_loaded_is_replaced(store: Path, part: str) -> None:
    assert not from_disk()
    (path,) = entries(store)
    found = cache._decoded(path.stem, path.read_bytes())
    assert found is not None
    header, (code, *more) = found
    broken = cache.Entry(header, [b"no object file", *more]) if part == "code" else cache.Entry({}, [code])
    path.write_bytes(cache._encoded(path.stem, broken))
    assert not from_disk() and from_disk()


def test_another_version_is_not_used(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(target: Any, name: str, value: Any) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(target, name, value)
            cache.fingerprint.cache_clear()
            found = from_disk()
        cache.fingerprint.cache_clear()
        return found

    assert not from_disk() and from_disk()
    for package in (cache.numba, cache.llvmlite, cache.np, cache.scipy):
        assert not changed(package, "__version__", "0.0.1")
    assert not changed(binding, "get_host_cpu_name", lambda: "abacus")
    assert not changed(cache, "get_host_cpu_features", lambda: "+beads")
    assert not changed(cache.numba_config, "OPT", 1)
    assert not changed(sys, "version", "2.7")
    assert from_disk()


def test_the_compiler_s_own_sources_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "jitgrad"
    shutil.copytree(cache._PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = cache._sources()
    monkeypatch.setattr(cache, "_PACKAGE", str(copy))
    assert cache._sources() == before
    for name in ("codegen/llvm.py", "loopir/expansions/powers.py", "passes/cse.py", "compiler.py"):
        text = (copy / name).read_text()
        (copy / name).write_text(text.replace("the", "teh", 1))
        assert cache._sources() != before
        (copy / name).write_text(text)
    assert cache._sources() == before


def test_sources_are_read_once_for_all_processes(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "jitgrad"
    shutil.copytree(cache._PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "_PACKAGE", str(copy))
    read: list[str] = []
    digest_of_sources = cache._digest_of_sources
    monkeypatch.setattr(cache, "_digest_of_sources", lambda: read.append(digest_of_sources()) or read[-1])

    def sources(reads: bool) -> str:
        before = len(read)
        found = cache._sources()
        assert found == digest_of_sources() and (len(read) > before) == reads
        return found

    first = sources(True)
    assert sources(True) == first, "the copies were just written"
    monkeypatch.setattr(cache, "_SETTLED", -60)
    assert sources(True) == sources(False) == first
    changed = copy / "passes" / "cse.py"
    status = changed.stat()
    time.sleep(0.02)
    changed.write_text(changed.read_text().replace("the", "teh", 1))
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    if posix.args[0]:
        return  # such times are all that Windows has
    second = sources(True)
    assert second != first and sources(False) == second
    (kept,) = store.glob("*.sources")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert sources(True) == sources(False) == second
    jg.clear_cache()
    assert not kept.exists() and sources(True) == second


def test_constants_and_settings_count(store: Path) -> None:
    assert not from_disk(2.0) and not from_disk(-2.0) and from_disk(2.0)
    big = np.linspace(0.0, 1.0, 300).reshape(100, 3)
    for constant in (big, -big, big.astype(np.float32), big.T):
        for found in (False, True):
            f = jg.jit(lambda x: np.sum(x * constant))  # noqa: B023
            np.testing.assert_allclose(f(3.0), 3 * np.sum(constant, dtype=np.float64), rtol=1e-5, atol=1e-4)
            assert f._specialise((3.0,), {}).compiled.executable.is_loaded == found


@pytest.mark.parametrize(("setting", "value"), [("parallel", False), ("unroll_limit", 50), ("check_bounds", False)])
def test_code_is_for_its_settings(store: Path, setting: str, value: object) -> None:
    def fun(x, k):
        total = 0.0
        for i in range(20):
            total = total + x[i] * x[k]
        return total, np.exp(np.ones((300, 300)) * x[0])

    def loaded() -> bool:
        f = jg.jit(fun)
        f(np.ones(20), 3)
        return f._specialise((np.ones(20), 3), {}).compiled.executable.is_loaded

    assert not loaded() and loaded()
    with config.using(**{setting: value}):
        assert not loaded() and loaded()
    assert loaded()


@pytest.mark.parametrize("backend", ["numba", "python"])
def test_other_backends_have_no_cache(store: Path, backend: str) -> None:
    program()
    before = jg.cache_info()
    with config.using(backend=backend):
        compiled = program()[0]
    assert compiled.executable.backend == backend and not compiled.executable.is_loaded
    assert jg.cache_info() == before


def test_constants_of_a_graph_are_not_written_twice(store: Path) -> None:
    table = np.random.default_rng(0).normal(size=100_000)
    for found in (False, True):
        f = jg.jit(lambda x: np.sum(x * table))
        np.testing.assert_allclose(f(2.0), 2 * table.sum())
        assert f._specialise((2.0,), {}).compiled.executable.is_loaded == found
    assert 0 < jg.cache_info().nbytes < 100_000


def test_constants_that_the_compiler_makes_are_kept(store: Path) -> None:
    table = np.random.default_rng(0).normal(size=(30, 30))
    expected = np.sum(np.sin(table @ table) * 2.0)
    for found in (False, True):
        f = jg.jit(lambda x: np.sum(np.sin(np.asarray(table) @ table) * x))
        np.testing.assert_allclose(f(2.0), expected)
        assert f._specialise((2.0,), {}).compiled.executable.is_loaded == found


def test_the_user_s_own_ops_are_not_kept(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(type(OPS["tanh"])):
        pass

    def loaded() -> bool:
        b = jg.Builder("f")
        x = b.param(jg.TensorType(jg.f64, (3,)), "x")
        compiled = compile_graph(b.build(b.emit("tanh", x)))
        np.testing.assert_allclose(compiled(np.ones(3))[0], np.tanh(np.ones(3)))
        return compiled.executable.is_loaded

    with monkeypatch.context() as patch:
        patch.setitem(OPS, "tanh", Mine())
        assert not loaded() and not loaded()
    assert entries(store) == []
    assert not loaded() and loaded()


def test_off(store: Path) -> None:
    with config.using(cache=False):
        before = jg.cache_info()
        assert not any(program()[0].executable.is_loaded for _ in range(2))
        assert jg.cache_info() == before
    assert not store.exists()


def test_info_and_clear(store: Path) -> None:
    empty = jg.cache_info()
    assert (empty.entries, empty.nbytes, empty.directory) == (0, 0, store)
    compiled, _ = program(2.0)
    program(3.0)
    (store / "notes.txt").write_text("not the cache's")
    info = jg.cache_info()
    assert (info.entries, info.misses - empty.misses) == (2, 2)
    assert info.nbytes == sum(path.stat().st_size for path in entries(store)) > 0
    jg.clear_cache()
    assert [path.name for path in store.iterdir()] == ["notes.txt"]
    assert jg.cache_info().entries == 0
    compiled(np.ones(7))
    assert not from_disk() and from_disk()


def test_what_was_not_used_for_long_is_removed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k, scale in enumerate((2.0, 3.0, 4.0)):
        assert not from_disk(scale)
        (new,) = (path for path in entries(store) if path.stat().st_mtime > time.time() - 100)
        os.utime(new, (time.time() - 1000 + k,) * 2)
    assert from_disk(2.0)  # used now
    size = max(path.stat().st_size for path in entries(store))
    monkeypatch.setattr(cache, "_LARGEST", 1.0)
    monkeypatch.setattr(cache, "LIMIT", 3 * size + 100)
    assert not from_disk(5.0)
    assert [from_disk(scale) for scale in (2.0, 5.0)] == [True, True]
    assert len(entries(store)) == 2
    monkeypatch.setattr(cache, "_LARGEST", 0.1)
    assert not from_disk(6.0) and not from_disk(6.0)  # too large to be kept


@posix
def test_entries_are_private(store: Path) -> None:
    program()
    assert store.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in entries(store)] == [0o600]


@posix
def test_a_directory_that_others_can_write_to_is_refused(store: Path) -> None:
    store.mkdir()
    store.chmod(0o777)
    with pytest.warns(JitgradWarning, match="others can write to it") as warned:
        assert not program()[0].executable.is_loaded
    assert [w.filename for w in warned] == [__file__] and entries(store) == []
    assert not program()[0].executable.is_loaded  # without another warning


@posix
def test_a_directory_of_another_user_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: store.stat().st_uid + 1)
    with pytest.warns(JitgradWarning, match="belongs to another user"):
        program()
    assert entries(store) == []


@posix
def test_entries_that_others_can_write_are_replaced(store: Path) -> None:
    assert not from_disk()
    (path,) = entries(store)
    path.chmod(0o666)
    assert not from_disk() and from_disk()
    assert path.stat().st_mode & 0o777 == 0o600
    target = path.rename(store / "elsewhere")
    path.symlink_to(target)
    assert not from_disk() and from_disk()
    assert not path.is_symlink()


def test_a_directory_that_can_not_be_made(store: Path) -> None:
    store.write_text("a file")
    with pytest.warns(JitgradWarning, match="Every process compiles for itself") as warned:
        assert not program()[0].executable.is_loaded
    assert len(warned) == 1
    assert not program()[0].executable.is_loaded  # without another warning
    assert jg.cache_info().entries == 0
    jg.clear_cache()


def test_a_directory_that_can_not_be_written(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    assert not from_disk(2.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.warns(JitgradWarning, match="No space left") as warned:
            program(3.0)
    assert len(warned) == 1 and len(entries(store)) == 1
    assert not program(4.0)[0].executable.is_loaded
    assert len(entries(store)) == 1


def test_the_place_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jg.cache_info().directory == tmp_path / "xdg" / "jitgrad"
    for invalid in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", invalid)
        assert jg.cache_info().directory == tmp_path / ".cache" / "jitgrad"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert jg.cache_info().directory == tmp_path / "Library" / "Caches" / "jitgrad"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert jg.cache_info().directory == tmp_path / "local" / "jitgrad" / "cache"
    with config.using(cache_dir="~/mine"):
        assert jg.cache_info().directory == tmp_path / "mine"


@posix
def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with config.using(cache=True):
        assert not from_disk() and from_disk()
    assert len(entries(tmp_path / f"jitgrad-{os.geteuid()}" / ".cache" / "jitgrad")) == 1


def test_without_sources_nothing_is_kept(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_PACKAGE", str(tmp_path / "package.zip"))
    cache.fingerprint.cache_clear()
    assert not any(program()[0].executable.is_loaded for _ in range(2))
    assert not store.exists()


def test_code_of_dropped_functions_is_given_back(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries: list[weakref.ref[Any]] = []
    link = orcjit.JITLibraryBuilder.link

    def recorded(*args: Any) -> Any:
        library = link(*args)
        libraries.append(weakref.ref(library))
        return library

    monkeypatch.setattr(orcjit.JITLibraryBuilder, "link", recorded)
    program()
    compiled, _ = program()
    call = compiled.call
    library = libraries[-1]
    libraries.clear()
    del compiled
    for _ in range(2 * linker.UNITS):  # more than one linker has
        assert from_disk()
    gc.collect()
    assert len(libraries) == 2 * linker.UNITS and not any(x() for x in libraries)
    assert library() is not None
    call((np.ones(7),))
    del call
    gc.collect()
    assert library() is None


def test_programs_that_draw_in_a_second_process(tmp_path: Path) -> None:
    """Handles are no part of the code: another process draws from its own generators."""
    env = os.environ | {"JITGRAD_CACHE": "1", "JITGRAD_CACHE_DIR": str(tmp_path / "store")}
    env |= {"PYTHONPATH": os.pathsep.join((*sys.path, str(ROOT)))}
    script = Path(__file__).parent / "random_script.py"

    def run(ballast: str) -> dict[str, Any]:
        code = f"{ballast}\nimport runpy; runpy.run_path({str(script)!r})"
        command = [sys.executable, "-W", "error", "-c", code]
        return finish(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))

    first, second = run(""), run("kept = [object() for _ in range(12345)]")
    assert first["hits"] == 0 and second["hits"] == 2
    assert first["found"] == second["found"]
