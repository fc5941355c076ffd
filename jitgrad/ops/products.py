"""Products of two arrays: the op ``einsum``, and its lowering to loops or to calls of matrix products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.errors import DtypeError, IRError, ShapeError
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType, bool_, is_float
from jitgrad.ops.op import Cotangent, OpRule, Sample, Var, apply, register

#: Multiply-adds from which one matrix product is a call, and the least rows and columns that its result has then.
#: Below, loops cost about the same and fuse with their neighbours. Measured in a loop (one core, AVX-512), ns a
#: product, loops | call, A B then A B^T: float64 6x6x6 49|78, 65|94; 8x8x8 28|97, 45|115; 10x10x10 380|167, 183|162;
#: 32x32x32 1317|907, 1417|900; rows x terms x columns 10000x3x3 6600|68000; 3x10000x3 9700|45000; 1000x1000x3
#: 339000|798000; 3x1000x1000 485000|156000; 4x200x200 11400|6900; 200x200x4 12500|13000; 6x1000x6 4300|5000.
GEMM_MIN, GEMM_SIDE = 600, 4

# A matrix times a vector is always loops: they are bound by memory, as BLAS is, and fuse. Microseconds on two cores,
# OpenBLAS | loops: float64 1000x1000 114|65, transposed 115|78; 200000x64 5400|5460, transposed 10640|4960;
# 4096x4096 3490|2800, transposed 3790|3190. float32 200000x64 1620|1980, transposed 5320|790.


def parse_spec(spec: str) -> tuple[str, str, str]:
    """The letters of ``x``, of ``y`` and of the result. Raises IRError for a spec that ``einsum`` does not take."""
    operands, arrow, out = spec.partition("->")
    x, comma, y = operands.partition(",")
    letters = x + y + out
    if not (arrow and comma) or (letters and not (letters.isascii() and letters.isalpha())):
        raise IRError(
            f"einsum does not take the spec {spec!r}. It has the form 'ij,jk->ik'. Write all three lists of letters."
        )
    for part in (x, y, out):
        if len(set(part)) != len(part):
            raise IRError(
                f"einsum does not take the spec {spec!r}. A letter is repeated in {part!r}. "
                "Take the diagonal of the operand first."
            )
    if not (set(x) <= set(y) | set(out) and set(y) <= set(x) | set(out) and set(out) <= set(x) | set(y)):
        raise IRError(
            f"einsum does not take the spec {spec!r}. Every letter has to occur in two of the three lists. "
            "Sum an operand over a letter that is in no other list first."
        )
    return x, y, out


def extents_of(spec: str, x: Sequence[Any], y: Sequence[Any]) -> dict[str, Any]:
    """The extent of each letter from the operands' shapes. Raises ShapeError."""
    xl, yl, _ = parse_spec(spec)
    extents: dict[str, Any] = {}
    for letters, shape in ((xl, x), (yl, y)):
        if len(letters) != len(shape):
            raise ShapeError(
                f"a product got an operand of shape {tuple(shape)} for the axes {letters!r} of {spec!r}. "
                f"It has {len(shape)} axes, not {len(letters)}. Reshape the operand.",
                user_location(),
            )
        for letter, extent in zip(letters, shape, strict=True):
            if extents.setdefault(letter, extent) != extent:
                raise ShapeError(
                    f"shapes {tuple(x)} and {tuple(y)} do not fit in the product {spec!r}. "
                    f"The axis {letter!r} has extent {extents[letter]} in one and {extent} in the other. "
                    "Transpose or reshape an operand.",
                    user_location(),
                )
    return extents


def einsum(spec: str, x: Var, y: Var) -> Var:
    """The op on Vars."""
    return apply("einsum", x, y, spec=spec)


def _samples(rng: np.random.Generator) -> list[Sample]:
    cases = [
        ("ij,jk->ik", (3, 4), (4, 2)),
        ("ij,kj->ki", (3, 4), (2, 4)),
        ("ji,jk->ik", (4, 3), (4, 2)),
        ("ij,j->i", (3, 4), (4,)),
        ("i,ij->j", (3,), (3, 4)),
        ("i,i->", (5,), (5,)),
        ("i,j->ji", (3,), (2,)),
        ("ij,ij->ij", (2, 3), (2, 3)),
        ("ij,ij->", (2, 3), (2, 3)),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
        ("bihd,bjhd->bhij", (2, 3, 2, 4), (2, 5, 2, 4)),
        ("abc,cbd->da", (2, 3, 4), (4, 3, 2)),
        ("ij,jk->ik", (1, 4), (4, 1)),
        (",i->i", (), (3,)),
        ("ij,jk->ik", (12, 13), (13, 14)),
    ]
    result = [Sample((rng.standard_normal(x), rng.standard_normal(y)), {"spec": s}) for s, x, y in cases]
    result += [
        Sample((np.ones((3, 0)), np.ones((0, 2))), {"spec": "ij,jk->ik"}, grad=False),
        Sample((np.ones((0, 3)), np.ones((3, 2))), {"spec": "ij,jk->ik"}, grad=False),
        Sample((rng.integers(-9, 9, (3, 4)), rng.integers(-9, 9, (4, 2))), {"spec": "ij,jk->ik"}, grad=False),
        Sample((rng.random((3, 4)) < 0.5, rng.random((4, 2)) < 0.3), {"spec": "ij,jk->ik"}, grad=False),
    ]
    return result


@register
class Einsum(OpRule):
    """``einsum(x, y){spec}``: the sum over the letters that are not in the result of the products of elements.

    Both operands have one dtype; the result has it too. The spec names the axes of ``x``, of ``y`` and of the result;
    no letter is repeated in one list, and each occurs in at least two. For bool, sums are ``or`` and products ``and``.

    With ``dtype``, which no graph has before the last pass (``jitgrad.passes.widen.narrow``), the operands are float16
    or bfloat16 and the result, and what is summed, is of that dtype.
    """

    name = "einsum"
    samples = staticmethod(_samples)

    def infer(self, x: TensorType, y: TensorType, *, spec: str, dtype: np.dtype | None = None) -> TensorType:
        if x.dtype != y.dtype:
            raise DtypeError(
                f"einsum of {x.dtype} and {y.dtype}. Both operands have one dtype in the IR. Insert a cast."
            )
        extents = extents_of(spec, x.shape, y.shape)
        return TensorType(dtype or x.dtype, tuple(extents[c] for c in parse_spec(spec)[2]))

    def eval(self, x: np.ndarray, y: np.ndarray, *, spec: str, dtype: np.dtype | None = None) -> np.ndarray:
        # optimize=True means BLAS. It is for floats only: integers wrap in their own dtype without it.
        with np.errstate(all="ignore"):
            return np.asarray(np.einsum(spec, x, y, optimize=is_float(x.dtype)), dtype=dtype or x.dtype)

    def vjp(self, g: Var, out: Var, x: Var, y: Var, *, spec: str) -> Sequence[Var | None]:
        xl, yl, ol = parse_spec(spec)
        return einsum(f"{ol},{yl}->{xl}", g, y), einsum(f"{xl},{ol}->{yl}", x, g)

    def pullback(self, g: Cotangent, out: Var, *xs: Var, spec: str) -> Sequence[Cotangent | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if g.mask is None:
            return [Cotangent(v) for v in self.vjp(g.value, out, *xs, spec=spec) if v is not None]
        xl, yl, ol = parse_spec(spec)
        x, y = xs
        mask, ml = _core(g.mask, ol)
        left = einsum(f"{ol},{yl}->{xl}", g.value, _kept(y, yl, mask, ml))
        right = einsum(f"{xl},{ol}->{yl}", _kept(x, xl, mask, ml), g.value)
        return [Cotangent(v, _moved(mask, ml, v, vl)) for v, vl in ((left, xl), (right, yl))]

    def jvp(self, ts: Sequence[Var | None], out: Var, x: Var, y: Var, *, spec: str) -> Var | None:
        tx, ty = ts
        left = None if tx is None else einsum(spec, tx, y)
        right = None if ty is None else einsum(spec, x, ty)
        return left + right if left is not None and right is not None else left if right is None else right

    def lower(self, b: Any, x: Any, y: Any, *, spec: str, dtype: np.dtype | None = None) -> Any:
        summed: np.dtype = dtype or x.dtype
        extents = extents_of(spec, x.shape, y.shape)
        xl, yl, ol = ("".join(c for c in part if extents[c] != 1) for part in parse_spec(spec))
        shape = tuple(extents[c] for c in parse_spec(spec)[2])
        x = b.reshape(x, tuple(extents[c] for c in xl))
        y = b.reshape(y, tuple(extents[c] for c in yl))
        if not all(isinstance(n, int) for n in extents.values()):
            return b.reshape(lower_loops(b, x, y, xl, yl, ol, extents, summed), shape)
        groups = classify(xl, yl, ol)
        sizes = [math.prod(extents[c] for c in group) for group in (groups.m, groups.n, groups.k)]
        suited = is_float(x.dtype) and 0 not in extents.values()
        large = math.prod(sizes) >= GEMM_MIN and min(sizes[:2]) >= GEMM_SIDE and sizes[2] > 1
        lowered = lower_gemm if suited and large else lower_loops
        return b.reshape(lowered(b, x, y, xl, yl, ol, extents, summed), shape)


# Masks of cotangents


def _core(mask: Var, letters: str) -> tuple[Var, str]:
    """The mask before it was broadcast, without the axes along which it is constant, and the letters that remain."""
    op = mask.value.op
    if op is None or op.name != "broadcast_to":
        return mask, letters
    source = Var(mask.b, op.operands[0])
    padded = (1,) * (mask.ndim - source.ndim) + source.shape
    kept = [k for k, extent in enumerate(padded) if extent != 1]
    return apply("reshape", source, shape=tuple(padded[k] for k in kept)), "".join(letters[k] for k in kept)


def _kept(x: Var, letters: str, mask: Var, mask_letters: str) -> Var:
    """The operand that multiplies a cotangent: 0 where the mask turns the cotangent off, as it may be infinite there.

    Where no axis of the mask is missing in the operand, that is one pass that fuses. Otherwise an element of the
    operand meets cotangents that are on and off alike, and stays: it is in the value of the program too.
    """
    if not set(mask_letters) <= set(letters):
        return x
    return apply("where", _moved(mask, mask_letters, x, letters), x, 0)


def _moved(mask: Var, mask_letters: str, like: Var, letters: str) -> Var:
    """True for the elements of ``like`` that meet a True of the mask: ``any`` over the axes it has no letters for."""
    missing = tuple(k for k, c in enumerate(mask_letters) if c not in letters)
    if missing:
        mask = apply("reduce_any", mask, axes=missing)
        mask_letters = "".join(c for c in mask_letters if c in letters)
    order = [c for c in letters if c in mask_letters]
    if order != list(mask_letters):
        mask = apply("transpose", mask, perm=tuple(mask_letters.index(c) for c in order))
    shape = tuple(n if c in mask_letters else 1 for n, c in zip(like.shape, letters, strict=True))
    if mask.shape != shape:
        mask = apply("reshape", mask, shape=shape)
    return mask if shape == like.shape else apply("broadcast_to", mask, shape=like.shape)


class Groups(NamedTuple):
    """The letters of a product by where they occur: in all three lists, in x and the result, in y and the result, in x
    and y."""

    batch: str
    m: str
    n: str
    k: str


def classify(x: str, y: str, out: str) -> Groups:
    """Sort the letters into :class:`Groups`; each group in the order of the first list it occurs in."""
    return Groups(
        "".join(c for c in out if c in x and c in y),
        "".join(c for c in x if c in out and c not in y),
        "".join(c for c in y if c in out and c not in x),
        "".join(c for c in x if c in y and c not in out),
    )


def strides_of(letters: str, extents: Mapping[str, int]) -> dict[str, int]:
    """The strides, in elements, of a contiguous array whose axes these letters name."""
    strides, step = {}, 1
    for c in reversed(letters):
        strides[c] = step
        step *= extents[c]
    return strides


# Plain loops


#: What an extent that is not a number is taken for, when loops are ordered.
USUAL = 64


def lower_loops(b: Any, x: Any, y: Any, xl: str, yl: str, ol: str, extents: Mapping[str, int], dtype: np.dtype) -> Any:
    """A loop nest that accumulates in a register (a dot product) or along rows of the result, whichever streams."""
    order = loop_order(xl, yl, ol, {c: n if isinstance(n, int) else USUAL for c, n in extents.items()})
    reduced = [c for c in order if c not in ol]
    is_bool = x.dtype == bool_

    def product(*index: Dim) -> Any:
        at = dict(zip(order, index, strict=True))
        left, right = (b.cast(t[tuple(at[c] for c in letters)], dtype) for t, letters in ((x, xl), (y, yl)))
        return left & right if is_bool else left * right

    shape = [extents[c] for c in order]
    if not reduced:
        return b.pointwise(shape, dtype, product)
    axes = tuple(k for k, c in enumerate(order) if c in reduced)
    return b.reduce(shape, axes, "or=" if is_bool else "+=", dtype, product)


def loop_order(xl: str, yl: str, ol: str, extents: Mapping[str, int]) -> str:
    """The letters from the outermost loop to the innermost; those of the result keep their order.

    The innermost loop is either over a summed letter, or over the result's last one. It costs nothing where an
    operand does not depend on it, one where it walks through memory in order, more where it jumps; a loop over the
    result's last letter loads and stores the result too.
    """
    xs, ys = strides_of(xl, extents), strides_of(yl, extents)

    def cost(c: str) -> float:
        per_step = sum({0: 0, 1: 1}.get(strides.get(c, 0), 8) for strides in (xs, ys))
        return (per_step + (2 if c in ol else 0)) * (4 if extents[c] < 4 else 1)

    # Long strides outside, short ones inside.
    reduced = sorted((c for c in xl if c not in ol), key=lambda c: -max(xs[c], ys[c]))
    if not reduced or not ol:
        return ol + "".join(reduced)
    inner = min(reduced, key=cost)
    if cost(ol[-1]) < cost(inner):
        return ol[:-1] + "".join(reduced) + ol[-1]
    reduced.remove(inner)
    return ol + "".join(reduced) + inner


# Matrix products


class View(NamedTuple):
    """How the letters of an operand, in memory order ``letters``, are read as a stack of matrices: the strides of the
    row group, of the column group and of each batch letter."""

    rows: int
    cols: int
    batch: tuple[int, ...]


def merged_stride(group: str, strides: Mapping[str, int], extents: Mapping[str, int]) -> int | None:
    """The stride of a group of letters read as one axis, or None where it takes more than one."""
    for outer, inner in itertools.pairwise(group):
        if strides[outer] != strides[inner] * extents[inner]:
            return None
    return strides[group[-1]] if group else 1


def matrix_view(letters: str, rows: str, cols: str, batch: str, extents: Mapping[str, int]) -> View | None:
    """The view that a product can read without a copy, or None."""
    strides = strides_of(letters, extents)
    r, c = merged_stride(rows, strides, extents), merged_stride(cols, strides, extents)
    if r is None or c is None or 1 not in (r, c):
        return None
    return View(r, c, tuple(strides[z] for z in batch))


def plan_gemm(xl: str, yl: str, ol: str, extents: Mapping[str, int]) -> tuple[Groups, str, str, str]:
    """The order of the letters in each group, and the layouts of the operands and the result.

    A layout that differs from the given one means a copy. Of the possible orders, the one that copies least is taken.
    """
    g = classify(xl, yl, ol)

    def both(group: str, other: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys((group, "".join(c for c in other if c in group))))

    def copied(layout: str, rows: str, cols: str) -> int:
        view = matrix_view(layout, rows, cols, g.batch, extents)
        return 0 if view is not None else math.prod(extents[c] for c in layout)

    def cost(mnk: tuple[str, str, str]) -> int:
        m, n, k = mnk
        return copied(xl, m, k) + copied(yl, k, n) + copied(ol, m, n)

    m, n, k = min(itertools.product(both(g.m, ol), both(g.n, ol), both(g.k, yl)), key=cost)
    layouts = [
        layout if copied(layout, rows, cols) == 0 else g.batch + rows + cols
        for layout, rows, cols in ((xl, m, k), (yl, k, n), (ol, m, n))
    ]
    return Groups(g.batch, m, n, k), layouts[0], layouts[1], layouts[2]


def permuted(b: Any, t: Any, letters: str, target: str) -> Any:
    """The tensor with its axes in the order ``target``; itself where they are."""
    if letters == target:
        return t
    shape = [t.shape[letters.index(c)] for c in target]
    return b.pointwise(shape, t.dtype, lambda *i: t[tuple(i[target.index(c)] for c in letters)])


def _operand(b: Any, t: Any, letters: str, layouts: Sequence[str]) -> tuple[Any, str]:
    """An operand in one of these layouts, and which: as it is, as an earlier product of the same list has it, or as a
    copy in the first."""
    if letters in layouts:
        return t, letters
    state = b.state(type(t)(t.buffer.root)), t.shape

    def key(layout: str) -> Hashable:
        return state, tuple(letters.index(c) for c in layout)

    layout = next((layout for layout in layouts if key(layout) in b.known), layouts[0])
    if key(layout) not in b.known:
        b.known[key(layout)] = permuted(b, t, letters, layout)
    return b.known[key(layout)], layout


def lower_gemm(b: Any, x: Any, y: Any, xl: str, yl: str, ol: str, extents: Mapping[str, int], dtype: np.dtype) -> Any:
    """One library call, after copies where a group of letters can't be read as one axis."""
    g, x_layout, y_layout, out_layout = plan_gemm(xl, yl, ol, extents)
    x, x_layout = _operand(b, x, xl, (x_layout, g.batch + g.m + g.k, g.batch + g.k + g.m))
    y, y_layout = _operand(b, y, yl, (y_layout, g.batch + g.k + g.n, g.batch + g.n + g.k))
    out = b.empty([extents[c] for c in out_layout], dtype)
    views = [
        matrix_view(layout, rows, cols, g.batch, extents)
        for layout, rows, cols in ((x_layout, g.m, g.k), (y_layout, g.k, g.n), (out_layout, g.m, g.n))
    ]
    a, c, d = views
    assert a and c and d, (xl, yl, ol)
    b.libcall(
        "gemm",
        [out],
        [x, y],
        m=math.prod(extents[z] for z in g.m),
        n=math.prod(extents[z] for z in g.n),
        k=math.prod(extents[z] for z in g.k),
        a=a[:2],
        b=c[:2],
        c=d[:2],
        batch=tuple(extents[z] for z in g.batch),
        a_batch=a.batch,
        b_batch=c.batch,
        c_batch=d.batch,
    )
    return permuted(b, out, out_layout, ol)
