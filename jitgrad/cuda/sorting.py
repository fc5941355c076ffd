"""Library calls ``sort_rows`` and ``argsort_rows`` on a device: a stable merge sort by kernels of its own, NaN last.

``sort_tiles`` sorts in shared memory: whole rows where they are short, several in a block if they are very short, and
tiles of rows otherwise. ``merge_runs`` merges neighbouring sorted runs of a row from one array into another; each
launch doubles their length. A tile of its result is merged by one block, which reads only what belongs there: where
that starts and ends in the two runs is found by binary search along a diagonal of the "merge path" (Green, McColl and
Bader, "GPU merge path", ICS 2012, https://doi.org/10.1145/2304576.2304621). The threads of a block share out a merge in
the same way.

Elements of the left run come before equal ones of the right run: that makes the sort stable. An element is a key, or a
key and its index in the row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.cuda.compiler import load
from jitgrad.cuda.driver import Code, Driver, Kernel, Span, Stream, aligned
from jitgrad.cuda.spelling import FUNCTIONS
from jitgrad.ir.types import bool_, i64

#: The library functions of this module.
SORTS = frozenset(("sort_rows", "argsort_rows"))
#: Threads of a block: a power of two, and at least two.
THREADS = 256
#: Elements of a thread. With an odd number threads that go through theirs side by side use different banks of shared
#: memory; more take more shared memory, so that fewer blocks fit.
EACH = 7

_BEFORE = {"f": "x == x and not x >= y", "i": "x < y", "u": "x < y"}

# Without indices, parameters and lines that name one are left out.
_SOURCE = """\
@device
def before(x, y):
    return {before}


@device
def split(keys, left, right, lefts, rights, diagonal):
    # How many of the first elements of a merge, as many as the diagonal says, come from the left run.
    low = diagonal - minimum(diagonal, rights)
    high = minimum(diagonal, lefts)
    while low < high:
        k = (low + high) >> 1
        if before(keys[right + diagonal - 1 - k], keys[left + k]):
            high = k
        else:
            low = k + 1
    return low


@device
def merge(key, index, source, target, left, middle, end, low, high):
    # key[target + low : target + high] of the merge of the runs key[source + left : source + middle] and the next one.
    lefts = split(key, source + left, source + middle, middle - left, end - middle, low - left)
    i = left + lefts
    j = middle + low - left - lefts
    for k in range(low, high):
        p = i
        if i < middle and (j == end or not before(key[source + j], key[source + i])):
            i += 1
        else:
            p = j
            j += 1
        key[target + k] = key[source + p]
        index[target + k] = index[source + p]


def sort_tiles(keys, result, result_index, rows, n, group):
    # Each group of threads sorts a tile of a row.
    key = cuda.shared.array({both}, {dtype})
    index = cuda.shared.array({both}, int16)
    thread = int64(cuda.threadIdx.x)
    lane = thread & (group - 1)
    size = group * {each}
    tiles = (n + size - 1) // size
    tile = (int64(cuda.blockIdx.x) * int64(cuda.blockDim.x) + thread) // group
    row = tile // tiles
    first = tile % tiles * size
    count = minimum(size, n - first) if row < rows else 0
    start = row * n + first
    source = (thread - lane) * {each}
    target = source + {tile}
    for i in range(lane, count, group):
        key[source + i] = keys[start + i]
        index[source + i] = i
    cuda.syncthreads()
    low = lane * {each}
    high = minimum(low + {each}, count)
    for i in range(low + 1, high):  # by insertion
        moving = key[source + i]
        moving_index = index[source + i]
        k = i
        while k > low and before(moving, key[source + k - 1]):
            key[source + k] = key[source + k - 1]
            index[source + k] = index[source + k - 1]
            k -= 1
        key[source + k] = moving
        index[source + k] = moving_index
    cuda.syncthreads()
    half = int64(1)  # the threads that a run belongs to
    while half < group:
        left = (lane & -(2 * half)) * {each}
        middle = minimum(left + half * {each}, count)
        end = minimum(middle + half * {each}, count)
        if low < count:
            merge(key, index, source, target, left, middle, end, low, high)
        cuda.syncthreads()
        source, target = target, source
        half = 2 * half
    for i in range(lane, count, group):
        result[start + i] = key[source + i]
        result_index[start + i] = first + index[source + i]


def merge_runs(keys, keys_index, result, result_index, n, width):
    # Each block computes a tile of a row from two runs of the given width, or what is there of them.
    key = cuda.shared.array({both}, {dtype})
    index = cuda.shared.array({both}, int16)
    parts = cuda.shared.array(2, int64)
    thread = int64(cuda.threadIdx.x)
    tiles = (n + {tile} - 1) // {tile}
    row = int64(cuda.blockIdx.x) // tiles * n
    first = int64(cuda.blockIdx.x) % tiles * {tile}
    count = minimum({tile}, n - first)
    left = first // (2 * width) * (2 * width)
    middle = minimum(left + width, n)
    end = minimum(middle + width, n)
    if thread < 2:
        diagonal = first - left + thread * count
        parts[thread] = split(keys, row + left, row + middle, middle - left, end - middle, diagonal)
    cuda.syncthreads()
    lefts = parts[1] - parts[0]
    i = row + left + parts[0]
    j = row + middle + first - left - parts[0] - lefts
    for k in range(thread, count, {threads}):
        key[k] = keys[i + k] if k < lefts else keys[j + k]
        index[k] = k
    cuda.syncthreads()
    low = thread * {each}
    if low < count:
        merge(key, index, 0, {tile}, 0, lefts, count, low, minimum(low + {each}, count))
    cuda.syncthreads()
    for k in range(thread, count, {threads}):
        result[row + first + k] = key[{tile} + k]
        p_index = int64(index[{tile} + k])
        result_index[row + first + k] = keys_index[i + p_index] if p_index < lefts else keys_index[j + p_index]
"""


def _source(dtype: np.dtype, indexed: bool, threads: int) -> str:
    tile = threads * EACH
    values = {"dtype": dtype.name, "before": _BEFORE[dtype.kind], "threads": threads, "each": EACH, "tile": tile}
    text = _SOURCE.format(both=2 * tile, **values)
    if not indexed:
        text = re.sub(r"\w*index, ", "", text)
        text = "".join(line for line in text.splitlines(keepends=True) if "index" not in line)
    return f"@device\n{FUNCTIONS['minimum']}\n\n{text}"


def kernels(name: str, dtype: np.dtype, threads: int = THREADS) -> Code:
    """The kernels of a library function for keys of a dtype, in blocks of ``threads`` threads, as :data:`THREADS`.

    ``sort_tiles`` takes keys and where to put them, with ``argsort_rows`` also where to put the indices, the numbers of
    rows and of their elements, and how many threads sort a tile together, a power of two. ``merge_runs`` takes keys
    (and indices), where to put them, the number of elements of a row, and the length of the runs. Numbers are int64.
    """
    own = np.dtype(np.uint8) if dtype == bool_ else dtype
    indexed = name == "argsort_rows"
    array = (own, i64) if indexed else (own,)
    number = ("scalar", i64)
    signatures = {
        "sort_tiles": (own, *array, number, number, number),
        "merge_runs": (*array, *array, number, number),
    }
    return Code(_source(own, indexed, threads), signatures)


class _Launch(NamedTuple):
    """A launch for one call. ``size`` is that of the groups of threads, or of the runs."""

    kernel: str
    grid: int
    block: int
    size: int


def _launches(rows: int, n: int, threads: int) -> list[_Launch]:
    """What sorts ``rows`` rows of ``n`` elements."""
    if not rows or not n:
        return []
    group = min(threads, _power(-(-n // EACH)))
    tile = threads * EACH
    teams = rows * -(-n // (group * EACH))
    block = min(threads, group * _power(teams))
    found = [_Launch("sort_tiles", -(-teams * group // block), block, group)]
    width = tile
    while width < n:
        found.append(_Launch("merge_runs", rows * -(-n // tile), threads, width))
        width *= 2
    return found


def _power(n: int) -> int:
    """The least power of two that is not less."""
    return 1 << (n - 1).bit_length()


def describe(static: dict[str, Any], threads: int = THREADS) -> str:
    """What a call launches, in words."""
    found = _launches(static["rows"], static["n"], threads)
    if not found:
        return "nothing to sort"
    text = f"sort_tiles, {_blocks(found[0])}"
    if len(found) > 1:
        times = len(found) - 1
        text += f"; {'once' if times == 1 else f'{times} times'} merge_runs, {_blocks(found[1])}"
    return text


def _blocks(s: _Launch) -> str:
    return f"{s.grid} {'block' if s.grid == 1 else 'blocks'} of {s.block} threads"


class Sorter:
    """The sorts of one device. ``threads`` are those of a block, as :data:`THREADS`."""

    def __init__(self, driver: Driver, threads: int = THREADS) -> None:
        self.threads = threads
        self._driver = driver
        self._loaded: dict[tuple[str, np.dtype, int], Any] = {}

    def scratch(self, name: str, dtype: np.dtype, static: dict[str, Any]) -> int:
        """Bytes of scratch memory for a call with keys of a dtype. Loads its kernels, for a stream that is captured
        can't wait for the compiler."""
        self._kernels(name, dtype)
        rows, n = static["rows"], static["n"]
        if n <= self.threads * EACH or static.get("slots", 1) >= rows:
            return 0  # nothing to merge, or there is room in the workspaces of the call
        return aligned(rows * n * dtype.itemsize) + (rows * n * i64.itemsize if name == "argsort_rows" else 0)

    def call(
        self, name: str, dtype: np.dtype, outs: Sequence[int], static: dict[str, Any], scratch: int, stream: Stream
    ) -> None:
        """Sort rows of keys of a dtype. ``outs`` are addresses, as in :mod:`jitgrad.codegen.rowsort`."""
        rows, n = static["rows"], static["n"]
        sizes = (rows * n * dtype.itemsize, rows * n * i64.itemsize)
        given, work = ([outs[0]], [outs[1]]) if name == "sort_rows" else ([outs[1], outs[0]], [outs[3], outs[2]])
        if static.get("slots", 1) < rows:
            work = [scratch, scratch + aligned(sizes[0])][: len(given)]
        result, other = ([Span(*x) for x in zip(p, sizes[: len(given)], strict=True)] for p in (given, work))
        steps = _launches(rows, n, self.threads)
        keys = result[:1]
        if len(steps) % 2 == 0:  # the last one is to write the result
            result, other = other, result
        loaded = self._kernels(name, dtype)
        for s in steps:
            args = [*keys, *result, rows, n, s.size] if s.kernel == "sort_tiles" else [*other, *result, n, s.size]
            self._driver.launch(loaded[s.kernel], s.grid, s.block, args, stream=stream)
            result, other = other, result

    def _kernels(self, name: str, dtype: np.dtype) -> dict[str, Kernel]:
        key = (name, dtype, self.threads)
        if key not in self._loaded:
            self._loaded[key] = load(self._driver, kernels(name, dtype, self.threads)).kernels
        return self._loaded[key]
