"""What LLVM is told of unrolling a loop, and of vectors of its iterations.

Where LLVM knows how often loops in each other run, it would unroll all of them, to thousands of instructions; around a
long loop that gains nothing, and each copy is vectorised anew. It would unroll long innermost loops too, and then
compute many vectors at once. A few at once are as fast, and are compiled in three quarters of the time (layer_norm: in
half). One is enough if it takes many instructions: the processor works on the next one meanwhile, and each copy is
compiled anew.

Short innermost loops, over the elements of a row, LLVM unrolls before it vectorises anything. Of rows of very few
elements it then computes several at once, each in a lane, if their loops are simple (``loopir.rows`` unrolls others);
of longer ones it computes one element after the other, which takes up to 6 times as long as vectors along the row
(softmax of rows of 10 to 32 float32). So those stay loops.

A long loop over rows that computes much more than it reads (``ops.small_matrices``) LLVM leaves as it is, for it takes
loads of elements that lie apart to cost more than they do. It is told how many iterations to compute at once there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set

from jitgrad.codegen.llvm_metadata import Hint, in_lanes, interleaved, keep_rolled
from jitgrad.ir.index import Dim, IndexExpr, coefficients
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.costs import price
from jitgrad.loopir.deps import varies
from jitgrad.loopir.nodes import Assign, Buffer, Const, Let, Load, Loop, Scalar, Store, While
from jitgrad.loopir.walk import expressions, loads, statements, subexpressions, written

#: Iterations of a loop with loops in it that may be unrolled, and of one without.
UNROLLED, UNROLLED_INNERMOST = 8, 64
#: Vectors of iterations that are computed at once; of each sum, if there are several, so many together.
AT_ONCE = 4
#: What an iteration takes that is computed alone, of a vector's time, and what part longer a vector takes of which
#: that is true: it waits for its own results. Rows of 80 float32 take 0.7 of the time with one vector at once that
#: they take with four, rows of 100 take 0.75 with two; rows of 128 and 200 are best with four.
LEFT, PAUSE = 0.5, 0.6
#: Instructions of an iteration, as they come from here, beyond which its vectors are computed one by one.
ALONE = 128
#: Rows of fewer elements are best computed several at a time; sums of rows of so many float32, too.
SHORTEST_ROW = 8
#: Where that can't be, rows of so many elements may be loops too, if an iteration takes so many instructions.
FEWEST, LONG = 4, 50
#: The longest row that is kept a loop for its own sake, and the longest that is added to others: sums that are longer
#: stay in registers from row to row if LLVM unrolls the loop. It does not unroll much longer ones.
LONGEST_ROW, LONGEST_ADDED = 48, 11
#: Up to so many elements a row is two vectors at once, and one of this multiple is any number of two.
TWO_VECTORS, PAIRS = 17, 32
#: The sums of a loop in which several rows are summed, see ``loopir.jam``.
SEVERAL_ROWS = 4
#: Bytes of the iterations that are computed at once where LLVM is told how many, and what an iteration costs then, at
#: least, for each element that it touches.
LANES, HEAVY = 64, 2


def unrolling(s: Loop, size: int, around: Loop | None = None) -> list[Hint]:
    """What LLVM is told of a loop that has so many instructions, in the loop ``around``."""
    trips, inside = _trips(s), [x for x in statements(s.body) if isinstance(x, (Loop, While))]
    if inside:
        rolled = trips > UNROLLED or any(UNROLLED_INNERMOST < _trips(x) < math.inf for x in inside)
        return [keep_rolled] if rolled else []
    if trips <= UNROLLED_INNERMOST:
        return _of_row(s, int(trips), size, around)
    lanes = heavy_lanes(s)
    if lanes:
        return [keep_rolled, interleaved(1), in_lanes(lanes)]
    if trips == math.inf:
        return [interleaved(1)] if size > ALONE else []
    sums = {x.local for x in s.body if isinstance(x, Assign)}
    most = 1 if size > ALONE else max(AT_ONCE // max(len(sums), 1), 1)
    return [keep_rolled, interleaved(_at_once(s, int(trips), most))]


def _at_once(s: Loop, trips: int, most: int) -> int:
    """How many vectors to compute at once, so that few iterations are left, which are computed one by one."""
    widest = max((t.dtype.itemsize for t, _ in _touched(s)), default=8)

    def steps(count: int) -> float:
        vectors, left = divmod(trips, count * LANES // widest)
        return (vectors * count + left * LEFT) * (1 + PAUSE / count)

    return min((k for k in (4, 2, 1) if k <= most), key=steps, default=1)


def heavy_lanes(s: Loop) -> int:
    """How many iterations of a loop are to be computed at once because each has a row of its own and much to compute;
    0 where that is for LLVM to say, or it may not be able to: it would complain on the standard error stream."""
    if s.step != 1 or _trips(s) <= UNROLLED_INNERMOST or not _is_straight(s):
        return 0
    touched = set(_touched(s))
    if len(touched) < FEWEST or not any(_is_apart(t, index, s) for t, index in touched):
        return 0
    prices = [price(e.op) for e in subexpressions(e for x in s.body for e in expressions(x)) if isinstance(e, Scalar)]
    if max(prices, default=0) > price("sqrt") or sum(prices) < HEAVY * len(touched):
        return 0
    return LANES // max(t.dtype.itemsize for t, _ in touched)


def _is_straight(s: Loop) -> bool:
    """Whether each iteration stores what it computes at places of its own, known without looking at any array, and adds
    to numbers that it does not read."""
    sums = [x.local for x in s.body if isinstance(x, Assign)]
    if not all(isinstance(x, (Let, Store)) or (isinstance(x, Assign) and x.mode != "=") for x in s.body):
        return False
    used = subexpressions(e for x in s.body for e in expressions(x))
    if len(set(sums)) < len(sums) or not set(sums).isdisjoint(used):
        return False
    stores = [x for x in s.body if isinstance(x, Store)]
    read = {e.buffer.root for e in loads(s.body)}
    places = [*(x.index for x in stores), *(e.index for e in loads(s.body))]
    if any(v.payload is not None for index in places for d in index if isinstance(d, IndexExpr) for v in d.syms()):
        return False
    return all(
        x.mode == "=" and x.buffer.root not in read and not isinstance(x.value, Const) and _depends(x.index, s, set())
        for x in stores
    )


def _of_row(s: Loop, trips: int, size: int, around: Loop | None) -> list[Hint]:
    """As :func:`unrolling`, of a short loop with no loop in it."""
    touched = list(_touched(s))
    width = max((t.dtype.itemsize for t, _ in touched), default=0)
    several = around is not None and _rows_in_lanes(around)
    if several and (trips < SHORTEST_ROW or (trips == SHORTEST_ROW and width == 4)):
        return []
    if trips < FEWEST or (trips < SHORTEST_ROW and size < LONG):
        return []
    longest = LONGEST_ADDED if any(isinstance(x, Store) and x.mode != "=" for x in s.body) else LONGEST_ROW
    if not 4 <= width <= 8 or trips > longest or not all(_is_contiguous(t, index, s) for t, index in touched):
        return []
    if not all(isinstance(x, (Let, Store)) or (isinstance(x, Assign) and x.mode != "=") for x in s.body):
        return []  # it is not vectorised
    if width == 4 and (around is None or all(_is_extreme(x) for x in around.body if isinstance(x, Loop))):
        return []  # there are no rows, or LLVM finds the extremes of several at once
    return [keep_rolled, interleaved(2 if trips <= TWO_VECTORS or trips % PAIRS == 0 else 1)]


def _rows_in_lanes(around: Loop) -> bool:
    """Whether LLVM computes several iterations of a loop at once, each in a lane, once the loops in it are unrolled:
    loops that sum a row, each for one row, in a loop that only stores what is its own."""
    inner = [s for s in around.body if isinstance(s, Loop)]
    if not any(0 < sum(isinstance(x, Assign) for x in s.body) < SEVERAL_ROWS for s in inner):
        return False
    found = [x for s in around.body for x in (s.body if isinstance(s, Loop) else (s,))]
    return all(isinstance(x, (Let, Assign)) or (isinstance(x, Store) and _is_own(x, around)) for x in found)


def _is_own(x: Store, s: Loop) -> bool:
    """Whether an iteration stores where no other one does, or into a temporary that it sets first."""
    symbols = {v for d in x.index if isinstance(d, IndexExpr) for v in d.syms()}
    if any(v.payload is not None for v in symbols):
        return False
    return s.var in symbols or (x.mode == "=" and x.buffer.kind == "temp")


def _is_extreme(s: Loop) -> bool:
    """Whether a loop does nothing but find the largest or the smallest of some numbers."""
    return all(isinstance(x, Assign) and x.mode in ("max=", "min=") for x in s.body)


def _trips(s: Loop | While) -> float:
    """How often a loop runs; infinity where that is not known here."""
    if isinstance(s, Loop) and isinstance(s.lo, int) and isinstance(s.hi, int):
        return len(range(s.lo, s.hi, s.step))
    return math.inf


def _touched(s: Loop) -> Iterator[tuple[Buffer, tuple[Dim, ...]]]:
    """The elements that iterations of a loop read and write, but for those that are the same for all."""
    found = [(e.buffer, e.index) for x in s.body for e in subexpressions(expressions(x)) if isinstance(e, Load)]
    found += [(x.buffer, x.index) for x in s.body if isinstance(x, Store)]
    changed = written((s,))
    yield from (at for at in found if _depends(at[1], s, changed))


def _depends(index: Sequence[Dim], s: Loop, changed: Set[object]) -> bool:
    """Whether an index is another one in another iteration."""
    return any(varies(v, {s.var}, changed) for d in index if isinstance(d, IndexExpr) for v in d.syms())


def _is_apart(t: Buffer, index: tuple[Dim, ...], s: Loop) -> bool:
    """Whether iterations touch elements that do not lie side by side."""
    affine = coefficients(flatten_index(t.shape, index))
    return affine is not None and abs(affine[1].get(s.var, 0)) > 1


def _is_contiguous(t: Buffer, index: tuple[Dim, ...], s: Loop) -> bool:
    """Whether an iteration touches the element next to that of the iteration before."""
    affine = coefficients(flatten_index(t.shape, index))
    return affine is not None and abs(affine[1].get(s.var, 0) * s.step) == 1
