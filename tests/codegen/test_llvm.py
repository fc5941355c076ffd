"""The LLVM renderer: vector code, shared kernels, scalar operations, statuses."""

from __future__ import annotations

import re

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.compiler import compile_graph
from jitgrad.ir.core import Builder
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.types import DTYPES, TensorType

#: Packed arithmetic on x86 (AVX or SSE), or on Arm.
PACKED = re.compile(
    r"\bv?(?:add|mul|sub|fmadd\d+|max|fnmadd\d+|fmsub\d+)p[sd]\b.*[xyz]mm|\bfadd\s+v\d+\.\d[sd]|\bfm(?:ul|la)\s+v\d+"
)


def compiled(text: str):
    return compile_graph(parse(text))


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(
    ("name", "body", "result"),
    [
        ("elementwise", "%0: T[1000] = multiply(%x, %y)\n%1: T[1000] = add(%0, %y)", "%1"),
        ("full sum", "%0: T[1000] = multiply(%x, %y)\n%1: T[] = reduce_sum(%0) {axes=(0,)}", "%1"),
        ("maximum", "%0: T[1000] = maximum(%x, %y)\n%1: T[1000] = add(%0, %x)", "%1"),
        ("dot product", '%0: T[] = einsum(%x, %y) {spec="i,i->"}', "%0"),
        ("exp", "%0: T[1000] = exp(%x)\n%1: T[1000] = multiply(%0, %y)", "%1"),
        ("tanh", "%0: T[1000] = tanh(%x)\n%1: T[1000] = multiply(%0, %y)", "%1"),
        ("log", "%0: T[1000] = log(%x)\n%1: T[1000] = multiply(%0, %y)", "%1"),
    ],
)
def test_loops_are_vectorised(dtype, name, body, result):
    text = f"graph f(%x: T[1000], %y: T[1000]) {{\n{body}\nreturn {result}\n}}".replace("T[", f"{dtype}[")
    assert PACKED.search(compiled(text).asm()), name


def test_what_arguments_out_of_range_need_is_compiled_small():
    text = "graph f(%x: f32[1000], %y: f32[1000]) {\n%0: f32[1000] = sin(%x)\n%1: f32[] = reduce_sum(%0) {axes=(0,)}"
    program = compiled(text + "\n%2: f32[1000] = multiply(%0, %y)\nreturn %1, %2\n}")
    assert PACKED.search(program.asm())
    assert len(re.findall(r"call .*@(?:sinf|llvm\.sin\.f32)\(", program.llvm())) == 1  # the calls are not vectorised
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-5, 5, 1000).astype(np.float32) for _ in range(2))
    usual = program(x, y)[1]
    x[[3, 500, 999]] = 1e20, np.inf, np.nan
    with np.errstate(invalid="ignore"):
        expected = np.sin(x.astype(np.float64))
    total, scaled = program(x, y)
    np.testing.assert_allclose(scaled, (expected * y).astype(np.float32), rtol=1e-6, atol=1e-7)
    assert np.isnan(total)
    same = np.isfinite(x) & (np.abs(x) < 10)
    assert np.array_equal(scaled[same], usual[same])  # neighbours have no influence


@pytest.mark.parametrize(("n", "left"), [(1 << 20, False), ((1 << 20) + 1, True)])
def test_shares_of_a_parallel_loop_are_whole_vectors(n, left):
    program = compiled(f"graph f(%x: f32[{n}]) {{\n%0: f32[{n}] = tanh(%x)\nreturn %0\n}}")
    text = program.llvm()
    assert "jitgrad.launch" in text and re.search(r"fdiv [a-z ]*<\d+ x", text)
    assert bool(re.search(r"fdiv [a-z ]*(?:float|double) ", text)) == left  # one iteration at a time
    x = np.linspace(-3, 3, n, dtype=np.float32)
    np.testing.assert_allclose(program(x)[0], np.tanh(x), rtol=1e-6)


@pytest.mark.parametrize(("n", "left"), [(200_000, False), (200_001, True)])
def test_nothing_is_compiled_for_what_whole_vectors_leave(n, left):
    text = f"""graph f(%x: f32[{n}], %y: f32[{n}]) {{
      %0: f32[{n}] = power(%x, %y)
      %1: f32[] = reduce_sum(%0) {{axes=(0,)}}
      %2: f32[{n}] = sin(%0)
      return %1, %2
    }}"""
    program = compiled(text)
    llvm = program.llvm()
    assert "jitgrad.launch" in llvm and re.search(r"fmul [a-z ]*<\d+ x double>", llvm)
    # One iteration at a time: where numbers are left, and where arguments of the sine are out of range.
    assert len(re.findall(r"^loop\.\d+:", llvm, re.MULTILINE)) == 1 + left
    rng = np.random.default_rng(1)
    x, y = (rng.uniform(0.5, 2.0, n).astype(np.float32) for _ in range(2))
    total, sines = program(x, y)
    expected = x.astype(np.float64) ** y
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(sines, np.sin(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loops_whose_length_is_a_multiple_of_a_number(dtype):
    @jg.jit
    def f(x, a, b):
        y = np.zeros_like(x)
        for i in range(16 * a, 48 * b):
            y[i] = np.exp(x[i]) + y[i]
        return y

    x = np.random.default_rng(2).standard_normal(200).astype(dtype)
    for a, b in (0, 0), (0, 1), (3, 1), (4, 1), (9, 1), (1, 4), (12, 4), (0, 4):
        expected = np.zeros_like(x)
        expected[16 * a : 48 * b] = np.exp(x[16 * a : 48 * b])
        np.testing.assert_allclose(f(x, a, b), expected, rtol=1e-6, err_msg=f"{a} {b}")


def test_long_bodies_are_computed_one_vector_at_a_time():
    loads = []
    for count in 1, 8:
        ops = ("erf", "tanh") * count
        lines = [f"%{k}: f32[4096] = {op}(%{k - 1 if k else 'x'})" for k, op in enumerate(ops)]
        text = "\n".join([*lines, f"return %{len(ops) - 1}"])
        program = compiled(f"graph f(%x: f32[4096]) {{\n{text}\n}}")
        loads.append(len(re.findall(r"= load <\d+ x float>", program.llvm())))
    assert loads == [4, 1]


def test_loops_around_long_loops_are_not_unrolled():
    program = compiled(
        """graph f(%x: f32[8,4,400]) {
          %0: f32[4] = reduce_sum(%x) {axes=(0,2)}
          return %0
        }"""
    )
    assert len(re.findall(r"^vector\.body.*:", program.llvm(), re.MULTILINE)) == 1
    x = np.random.default_rng(0).standard_normal((8, 4, 400)).astype(np.float32)
    np.testing.assert_allclose(program(x)[0], x.sum((0, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_row_and_column_sums_are_vectorised(dtype):
    for axes, kept in ("(0,)", 256), ("(1,)", 64):
        text = f"""graph f(%x: {dtype}[64,256]) {{
          %0: {dtype}[{kept}] = reduce_sum(%x) {{axes={axes}}}
          return %0
        }}"""
        assert PACKED.search(compiled(text).asm()), axes


def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


@pytest.mark.parametrize(("dtype", "n"), [("f4", 5), ("f4", 7), ("f4", 20), ("f8", 7), ("f8", 20), ("f8", 33)])
def test_short_rows_are_vectorised(dtype, n):
    """Several of the shortest rows at once, others along the row."""
    x = np.random.default_rng(n).normal(size=(300, n)).astype(dtype)
    f = jg.jit(softmax)
    np.testing.assert_allclose(f(x), softmax(x), rtol=1e-5 if dtype == "f4" else 1e-13)
    assert re.search(r"^vector\.body", f.llvm(x), re.MULTILINE)


def test_equal_nests_share_code():
    text = """
    graph f(%x: f64[40,40], %w: f64[40,40]) {
      %0: f64[40,40] = einsum(%x, %w) {spec="ij,jk->ik"}
      %1: f64[40,40] = tanh(%0)
      %2: f64[40,40] = einsum(%1, %w) {spec="ij,jk->ik"}
      %3: f64[40,40] = tanh(%2)
      %4: f64[40,40] = einsum(%3, %w) {spec="ij,jk->ik"}
      %5: f64[40,40] = tanh(%4)
      return %5
    }"""
    program = compiled(text)
    assert program.executable.shared_kernels == 4  # two products and two tanh nests
    rng = np.random.default_rng(0)
    args = rng.standard_normal((40, 40)), rng.standard_normal((40, 40))
    np.testing.assert_allclose(program(*args)[0], interpret(parse(text), *args)[0], rtol=1e-12, atol=1e-13)


INTS = [-128, -7, -3, -1, 0, 1, 2, 5, 100, 127]


BINARY = """add subtract multiply floor_divide remainder fmod maximum minimum bitwise_and bitwise_or bitwise_xor
left_shift right_shift less greater_equal equal not_equal"""


@pytest.mark.parametrize("dtype", ["i8", "i16", "i32", "i64", "u8", "u32", "u64"])
@pytest.mark.parametrize("name", BINARY.split())
def test_integers_as_in_numpy(name, dtype):
    t = DTYPES[dtype]
    pairs = np.array([(a, b) for a in INTS for b in INTS])
    if name.endswith("shift"):
        pairs = pairs[pairs[:, 1] >= 0]
    x, y = pairs.astype(t).T.copy()
    b = Builder("f")
    types = TensorType(t, x.shape)
    graph = b.build(b.emit(name, b.param(types), b.param(types)))
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x, y)
    np.testing.assert_array_equal(compile_graph(graph)(x, y)[0], want)


def test_the_smallest_integer_over_minus_one_does_not_trap():
    x = np.array([np.iinfo(np.int64).min]), np.array([-1])
    for name in ("floor_divide", "remainder", "fmod"):
        b = Builder("f")
        t = TensorType(DTYPES["i64"], (1,))
        (got,) = compile_graph(b.build(b.emit(name, b.param(t), b.param(t))))(*x)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got, getattr(np, name)(*x))


@pytest.mark.parametrize("source", sorted(DTYPES))
@pytest.mark.parametrize("target", sorted(DTYPES))
def test_casts(source, target):
    values = np.array([0, 1, 2, 100, 127, 3.7 if source[0] == "f" else 3])
    if source[0] in "fi" and target[0] in "fib":
        values = np.concatenate([values, [-1, -5, -3.7 if source[0] == "f" else -3]])
    x = values.astype(DTYPES[source])
    b = Builder("f")
    graph = b.build(b.emit("cast", b.param(TensorType(x.dtype, x.shape)), dtype=DTYPES[target]))
    got = compile_graph(graph)(x)[0]
    assert got.dtype == DTYPES[target]
    np.testing.assert_array_equal(got, x.astype(DTYPES[target]))


def test_a_failed_status_raises():
    text = """graph f(%x: f64[5], %k: i64[2]) {
      %0: f64[2] = gather(%x, %k) {axes=(0,), at=0}
      return %0
    }"""
    program = compiled(text)
    np.testing.assert_array_equal(program(np.arange(5.0), np.array([1, -1]))[0], [1, 4])
    with pytest.raises(IndexError):
        program(np.arange(5.0), np.array([1, 5]))
