"""Matrix products of one thread, written for the vectors of the processor: blocks, packing, and a kernel in registers.

    C[i, j] (+)= sum over p of A[i, p] * B[p, j]        i < m, j < n, p < k

The structure is that of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM TOMS 34, 2008),
and of Van Zee and van de Geijn, "BLIS" (ACM TOMS 41, 2015). The kernel keeps a tile of C in registers: ``rows`` times
``columns`` vectors of ``lanes`` elements. It takes one number of A and one row of vectors of B at a time, and of each
pair one fused multiply-add.

    for a block of columns, and in it for a block of terms p:
        pack B: panels as wide as the tile, in each the rows p one after the other     (stays in the second-level cache)
        for a strip of rows as high as the tile:
            pack A: for each p, the numbers of the strip                               (stays in the first-level cache)
            for a panel: the kernel

An element of C is one chain of fused multiply-adds in the order of p, from 0 or from what was there. So its bits depend
neither on where it lies nor on how the work is divided.

Where B's rows are contiguous, and few rows of A meet them or they are short, packing B costs more than it saves; it is
read in place then: 64x256 by 256x256 at 222 GFlop/s in place of 202. The rows of a panel must not lie so far apart that
they meet in a few sets of the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir

from jitgrad.codegen.llvm_metadata import loop
from jitgrad.codegen.llvm_scalar import I1, I8, I32, I64
from jitgrad.loopir.failures import OUT_OF_MEMORY

I8P = I8.as_pointer()


class Shape(NamedTuple):
    """How the kernel of an element type is cut for a processor.

    lanes : elements of a vector.
    rows : of the tile. A power of two.
    columns : of the tile, in vectors.
    depth : terms of a block.
    panels : of a block of B, each as wide as the tile.
    near : elements from a row of B to the next one up to which it is read in place.
    """

    bits: int
    lanes: int
    rows: int
    columns: int
    depth: int
    panels: int
    near: int

    @property
    def width(self) -> int:
        """Elements of a row of the tile."""
        return self.lanes * self.columns

    @property
    def type(self) -> ir.Type:
        return ir.DoubleType() if self.bits == 64 else ir.FloatType()

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(self.type, self.lanes)


#: Strips of rows beyond which packing a block of B may pay where its rows are contiguous.
PACKED = 4


def shape_for(bits: int, vector_bits: int, registers: int) -> Shape:
    """The tile fills the registers but for one row of B's vectors and a number of A; its width is a multiple of its
    height. A strip of A takes 16 KB or less of the first-level cache, and a block of B three quarters of a second-level
    cache of 1 MB where vectors have 512 bits, of 256 KB where they have less."""
    lanes = vector_bits // bits
    rows = 8 if vector_bits >= 512 else 4
    columns = 3 if vector_bits >= 512 else 6 if registers >= 32 else 3 if lanes > 2 else 2
    depth = 256 * 64 // bits
    room, near = (768 * 1024, 2048) if vector_bits >= 512 else (192 * 1024, 1024)
    panels = max(room // (depth * columns * lanes * bits // 8), 2)
    return Shape(bits, lanes, rows, columns, depth, panels, 8 * near // bits)


class _Emitter:
    """What all the functions of one element type share."""

    def __init__(self, module: ir.Module, shape: Shape, name: str) -> None:
        self.module, self.shape, self.name = module, shape, name
        self.pointer = shape.type.as_pointer()

    def helper(self, suffix: str, args: Sequence[ir.Type], names: str) -> tuple[ir.Function, Any]:
        """An internal function that returns nothing, and a builder at its start."""
        f, b = self.function(suffix, ir.FunctionType(ir.VoidType(), args), names)
        f.linkage = "internal"
        f.attributes.add("noinline")
        return f, b

    def function(self, suffix: str, type: ir.FunctionType, names: str) -> tuple[ir.Function, Any]:
        """A function of the module, and a builder at its start. What it writes, no other of its pointers leads to."""
        function = ir.Function(self.module, type, f"{self.name}{suffix}")
        function.attributes.add("nounwind")
        for arg, name in zip(function.args, names.split(), strict=True):
            arg.name = name
            if isinstance(arg.type, ir.PointerType):
                arg.add_attribute("noalias")
        return function, ir.IRBuilder(function.append_basic_block("entry"))

    def at(self, b: Any, pointer: Any, elements: Any) -> Any:
        return b.gep(pointer, [elements], inbounds=True)

    def vector_at(self, b: Any, pointer: Any, lanes: int) -> Any:
        return b.bitcast(pointer, ir.VectorType(self.shape.type, lanes).as_pointer())

    def load_vector(self, b: Any, pointer: Any) -> Any:
        return b.load(self.vector_at(b, pointer, self.shape.lanes), align=self.shape.bits // 8)

    def store_vector(self, b: Any, value: Any, pointer: Any) -> None:
        b.store(value, self.vector_at(b, pointer, value.type.count), align=self.shape.bits // 8)

    def splat(self, b: Any, value: Any, lanes: int) -> Any:
        vector = ir.VectorType(value.type, lanes)
        first = b.insert_element(ir.Constant(vector, ir.Undefined), value, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        return b.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    def mask(self, b: Any, count: Any, lanes: int) -> Any:
        """The first ``count`` lanes of a vector."""
        columns = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
        return b.icmp_signed("<", columns, self.splat(b, count, lanes))

    def intrinsic(self, name: str, result: ir.Type, args: Sequence[ir.Type]) -> ir.Function:
        known = self.module.globals.get(name)
        return ir.Function(self.module, ir.FunctionType(result, args), name) if known is None else known

    def masked(self, operation: str, mask: Any) -> tuple[str, ir.VectorType]:
        """The name of an intrinsic, and the type of its vectors."""
        lanes = mask.type.count
        suffix = f"v{lanes}f{self.shape.bits}"
        return f"llvm.masked.{operation}.{suffix}.p0{suffix}", ir.VectorType(self.shape.type, lanes)

    def masked_load(self, b: Any, pointer: Any, mask: Any) -> Any:
        name, v = self.masked("load", mask)
        f = self.intrinsic(name, v, [v.as_pointer(), I32, mask.type, v])
        place = self.vector_at(b, pointer, v.count)
        return b.call(f, [place, I32(self.shape.bits // 8), mask, ir.Constant(v, None)])

    def masked_store(self, b: Any, value: Any, pointer: Any, mask: Any) -> None:
        name, v = self.masked("store", mask)
        f = self.intrinsic(name, ir.VoidType(), [v, v.as_pointer(), I32, mask.type])
        b.call(f, [value, self.vector_at(b, pointer, v.count), I32(self.shape.bits // 8), mask])

    def fma(self, b: Any, x: Any, y: Any, z: Any) -> Any:
        v = self.shape.vector
        return b.call(self.intrinsic(f"llvm.fmuladd.v{v.count}f{self.shape.bits}", v, [v, v, v]), [x, y, z])


def least(b: Any, x: Any, y: Any) -> Any:
    """The lesser one of two numbers."""
    return b.select(b.icmp_signed("<", x, y), x, y)


def _transposed(b: Any, vectors: Sequence[Any], lanes: int) -> list[Any]:
    """The numbers of some vectors, column after column. The count of vectors is a power of two.

    Taken as one sequence of ``2^r`` vectors, its two halves are interleaved; that turns the bits of the place of each
    number by one, so ``r`` times exchange the number of the vector and the place in it.
    """
    count = len(vectors)
    low = [x for k in range(lanes // 2) for x in (k, lanes + k)]
    high = [x + lanes // 2 for x in low]
    orders = [ir.Constant(ir.VectorType(I32, lanes), x) for x in (low, high)]
    found = list(vectors)
    for _ in range(count.bit_length() - 1):
        found = [b.shuffle_vector(found[k], found[k + count // 2], x) for k in range(count // 2) for x in orders]
    return found


def _emit_kernel(e: _Emitter, columns: int) -> ir.Function:
    """``kernel(terms, a, b, ldb, c, ldc, add)``: a tile of ``columns`` vectors, over a strip of A and rows of B."""
    s = e.shape
    types = [I64, e.pointer, e.pointer, I64, e.pointer, I64, I1]
    f, b = e.helper(f".tile{columns}", types, "terms a b ldb c ldc add")
    terms, a, rows, ldb, c, ldc, add = f.args
    cells = [(i, v) for i in range(s.rows) for v in range(columns)]
    places = {}
    for i, v in cells:
        row = places[i - 1, 0] if i else c
        places[i, v] = e.at(b, places[i, 0], I64(v * s.lanes)) if v else e.at(b, row, ldc) if i else c
    with b.if_then(add):
        before = {x: e.load_vector(b, places[x]) for x in cells}
        added = b.block
    zero = ir.Constant(s.vector, None)
    sums = {}
    for x in cells:
        sums[x] = b.phi(s.vector)
        sums[x].add_incoming(zero, f.entry_basic_block)
        sums[x].add_incoming(before[x], added)

    head, body, done = (f.append_basic_block(x) for x in ("head", "body", "done"))
    start = b.block
    b.branch(head)
    b.position_at_end(head)
    firsts = [terms, a, rows, *sums.values()]
    left, a, row, *now = phis = [b.phi(x.type) for x in firsts]
    b.cbranch(b.icmp_signed("!=", left, I64(0)), body, done)
    b.position_at_end(body)
    vectors = [e.load_vector(b, e.at(b, row, I64(v * s.lanes))) for v in range(columns)]
    numbers = [e.splat(b, b.load(e.at(b, a, I64(i))), s.lanes) for i in range(s.rows)]
    totals = [e.fma(b, numbers[i], vectors[v], x) for (i, v), x in zip(cells, now, strict=True)]
    nexts = [b.sub(left, I64(1)), e.at(b, a, I64(s.rows)), e.at(b, row, ldb), *totals]
    for phi, first, following in zip(phis, firsts, nexts, strict=True):
        phi.add_incoming(first, start)
        phi.add_incoming(following, body)
    b.branch(head)
    b.position_at_end(done)
    for x, value in zip(cells, now, strict=True):
        e.store_vector(b, value, places[x])
    b.ret_void()
    return f


def _emit_transposition(e: _Emitter) -> ir.Function:
    """``transpose(terms, source, ld, count, target, stride)``: ``target[p * stride + i] = source[i * ld + p]`` for as
    many ``i`` as a strip has rows, of which ``count`` exist; in the place of the others is the last one."""
    s = e.shape
    types = [I64, e.pointer, I64, I64, e.pointer, I64]
    f, b = e.helper(".transpose", types, "terms source ld count target stride")
    terms, source, ld, count, target, stride = f.args
    last = b.sub(count, I64(1))
    rows = [e.at(b, source, b.mul(least(b, I64(i), last), ld)) for i in range(s.rows)]
    whole = b.and_(terms, I64(-s.lanes))
    piece = min(s.rows, s.lanes)
    with loop(b, I64(0), whole, s.lanes) as p:
        found = _transposed(b, [e.load_vector(b, e.at(b, row, p)) for row in rows], s.lanes)
        to = e.at(b, target, b.mul(p, stride))
        for k in range(0, s.rows * s.lanes, piece):
            vector, first = found[k // s.lanes], k % s.lanes
            if piece < s.lanes:
                order = ir.Constant(ir.VectorType(I32, piece), list(range(first, first + piece)))
                vector = b.shuffle_vector(vector, vector, order)
            i = k % s.rows
            e.store_vector(b, vector, e.at(b, to, I64(i)) if i else to)
            if i + piece == s.rows:
                to = e.at(b, to, stride)
    with loop(b, whole, terms) as p:
        to = e.at(b, target, b.mul(p, stride))
        for i, row in enumerate(rows):
            b.store(b.load(e.at(b, row, p)), e.at(b, to, I64(i)))
    b.ret_void()
    return f


def _emit_copy(e: _Emitter, stored: str) -> ir.Function:
    """``copy(rows, source, source_ld, target, target_ld, width, count)``: of each row the first ``count`` columns, at
    most ``width``. Where ``stored`` is "filled", zeros follow up to ``width`` and to the end of the last vector; where
    it is "masked", the other columns stay as they are."""
    lanes = e.shape.lanes
    types = [I64, e.pointer, I64, e.pointer, I64, I64, I64]
    f, b = e.helper(f".{stored}", types, "rows source source_ld target target_ld width count")
    rows, source, source_ld, target, target_ld, width, count = f.args
    with loop(b, I64(0), rows) as i:
        start, to = e.at(b, source, b.mul(i, source_ld)), e.at(b, target, b.mul(i, target_ld))
        with loop(b, I64(0), width, lanes) as v:
            mask = e.mask(b, b.sub(count, v), lanes)
            value = e.masked_load(b, e.at(b, start, v), mask)
            if stored == "masked":
                e.masked_store(b, value, e.at(b, to, v), mask)
            else:
                e.store_vector(b, value, e.at(b, to, v))
    b.ret_void()
    return f


def emit_product(module: ir.Module, shape: Shape, name: str) -> None:
    """``i64 name(m, n, k, a, a_row, a_column, b, b_row, b_column, c, c_row, add)``.

    Strides count elements. One of A's is 1, and one of B's; C's columns have stride 1. With ``add`` the product is
    added to what is in C. The result is 0, or OUT_OF_MEMORY where there is no room for a block of B.
    """
    _Product(module, shape, name).emit()


def signature(shape: Shape) -> ir.FunctionType:
    """The type of what :func:`emit_product` emits."""
    p = shape.type.as_pointer()
    return ir.FunctionType(I64, [I64, I64, I64, p, I64, I64, p, I64, I64, p, I64, I1])


class _Product(_Emitter):
    """The function around the kernels."""

    def emit(self) -> None:
        s = self.shape
        self.kernels = {columns: _emit_kernel(self, columns) for columns in sorted({1, s.columns})}
        self.transpose = _emit_transposition(self)
        self.pack, self.copy = _emit_copy(self, "filled"), _emit_copy(self, "masked")
        f, b = self.function("", signature(s), "m n k a a_row a_column b b_row b_column c c_row add")
        m, n, k, a, self.a_row, self.a_column, source, self.b_row, self.b_column, c, self.c_row, add = f.args
        self.by_rows = b.icmp_signed("==", self.b_column, I64(1))
        few, near = (b.icmp_signed("<=", x, I64(most)) for x, most in ((m, PACKED * s.rows), (self.b_row, s.near)))
        in_place = b.and_(self.by_rows, b.or_(few, near))
        width = I64(s.width)
        # Of what is read in place a last panel that is no whole one is packed.
        wide = b.select(in_place, b.urem(n, width), least(b, n, I64(s.panels * s.width)))
        wide = b.mul(b.udiv(b.add(wide, I64(s.width - 1)), width), width)
        line = 512 // s.bits  # elements of a cache line
        deep = least(b, k, I64(s.depth))
        strip = b.and_(b.add(b.mul(deep, I64(s.rows)), I64(s.lanes + line - 1)), I64(-line))
        tile = -(-s.rows * s.width // line) * line
        heap, self.tile = self.allocate(b, b.add(b.add(b.mul(wide, deep), strip), I64(tile)))
        self.strip = self.at(b, self.tile, I64(tile))
        room = self.at(b, self.strip, strip)
        with loop(b, I64(0), n, s.panels * s.width) as j0, loop(b, I64(0), k, s.depth) as p0:
            columns = least(b, b.sub(n, j0), I64(s.panels * s.width))
            terms = least(b, b.sub(k, p0), I64(s.depth))
            adds = b.or_(add, b.icmp_signed(">", p0, I64(0)))
            block = self.at(b, source, b.add(b.mul(p0, self.b_row), b.mul(j0, self.b_column)))
            aside = b.select(in_place, b.sub(columns, b.urem(columns, width)), I64(0))

            def packed(j: Any, aside: Any = aside, terms: Any = terms) -> Any:
                return self.at(b, room, b.mul(b.sub(j, aside), terms))

            with loop(b, aside, columns, s.width) as j:
                count = least(b, b.sub(columns, j), width)
                self.pack_panel(b, self.at(b, block, b.mul(j, self.b_column)), count, terms, packed(j))
            with loop(b, I64(0), m, s.rows) as i:
                rows = least(b, b.sub(m, i), I64(s.rows))
                self.pack_strip(b, self.at(b, a, b.add(b.mul(i, self.a_row), b.mul(p0, self.a_column))), rows, terms)
                target = self.at(b, c, b.add(b.mul(i, self.c_row), j0))
                with loop(b, I64(0), columns, s.width) as j:
                    count = least(b, b.sub(columns, j), width)
                    is_packed = b.icmp_signed(">=", j, aside)
                    panel = b.select(is_packed, packed(j), self.at(b, block, j))
                    ldb = b.select(is_packed, width, self.b_row)
                    self.compute(b, panel, ldb, terms, self.at(b, target, j), rows, count, adds)
        b.call(self.intrinsic("free", ir.VoidType(), [I8P]), [heap])
        b.ret(I64(0))

    def allocate(self, b: Any, elements: Any) -> tuple[Any, Any]:
        """Room in the heap: what is to be freed, and where the first element is, at a multiple of 64 bytes. If there is
        none, the function returns."""
        wanted = b.add(b.mul(elements, I64(self.shape.bits // 8)), I64(64))
        heap = b.call(self.intrinsic("malloc", I8P, [I64]), [wanted])
        with b.if_then(b.icmp_unsigned("==", heap, I8P(None)), likely=False):
            b.ret(I64(OUT_OF_MEMORY))
        address = b.and_(b.add(b.ptrtoint(heap, I64), I64(63)), I64(-64))
        return heap, b.inttoptr(address, self.pointer)

    def pack_panel(self, b: Any, source: Any, count: Any, terms: Any, target: Any) -> None:
        s = self.shape
        width = I64(s.width)
        with b.if_else(self.by_rows) as (then, otherwise):
            with then:
                b.call(self.pack, [terms, source, self.b_row, target, width, width, count])
            with otherwise, loop(b, I64(0), count, s.rows) as v:
                start, to = self.at(b, source, b.mul(v, self.b_column)), self.at(b, target, v)
                b.call(self.transpose, [terms, start, self.b_column, b.sub(count, v), to, width])

    def pack_strip(self, b: Any, source: Any, count: Any, terms: Any) -> None:
        height = I64(self.shape.rows)
        with b.if_else(b.icmp_signed("==", self.a_column, I64(1))) as (then, otherwise):
            with then:
                b.call(self.transpose, [terms, source, self.a_row, count, self.strip, height])
            with otherwise:  # a vector may be higher than the strip: the next term, or what is left, lies there
                b.call(self.pack, [terms, source, self.a_column, self.strip, height, height, count])

    def compute(self, b: Any, panel: Any, ldb: Any, terms: Any, c: Any, rows: Any, count: Any, adds: Any) -> None:
        """A tile of C. One that is not whole is computed aside."""
        s = self.shape
        width = I64(s.width)
        whole = b.and_(b.icmp_signed("==", rows, I64(s.rows)), b.icmp_signed("==", count, width))
        with b.if_else(whole) as (then, otherwise):
            with then:
                b.call(self.kernels[s.columns], [terms, self.strip, panel, ldb, c, self.c_row, adds])
            with otherwise:
                with b.if_then(adds):
                    b.call(self.copy, [rows, c, self.c_row, self.tile, width, count, count])
                wide = b.icmp_signed(">", count, I64((s.columns - 1) * s.lanes))
                with b.if_else(wide) as (then, otherwise):
                    with then:
                        b.call(self.kernels[s.columns], [terms, self.strip, panel, ldb, self.tile, width, adds])
                    with otherwise, loop(b, I64(0), count, s.lanes) as v:
                        args = [self.at(b, panel, v), ldb, self.at(b, self.tile, v), width, adds]
                        b.call(self.kernels[1], [terms, self.strip, *args])
                b.call(self.copy, [rows, self.tile, width, c, self.c_row, count, count])
