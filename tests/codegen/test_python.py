"""The Python renderer against a reference that walks the statements one by one, and the text it writes."""

import numpy as np
import pytest

from jitgrad.codegen.python import compile_numba, compile_python, generate, render, run
from jitgrad.codegen.python_expr import Names
from jitgrad.errors import ArgumentError, CompilationError
from jitgrad.ir.index import Dim, IndexExpr, Product, Quotient, Remainder, Sym, evaluate, expr, floordiv, mod, mul
from jitgrad.ir.location import Location
from jitgrad.ir.types import DTYPES, bool_, f32, f64, i32, i64
from jitgrad.loopir.build import LoopBuilder, Tensor
from jitgrad.loopir.nodes import (
    Assign,
    Block,
    Buffer,
    Const,
    Expr,
    If,
    Index,
    Let,
    Load,
    Local,
    Loop,
    Program,
    Store,
    While,
    scalar,
)
from jitgrad.loopir.printer import Text, index_text
from jitgrad.loopir.scalars import SCALARS


class Reference:
    """Executes Loop IR literally: every expression is evaluated anew each time it is met."""

    def __init__(self, program: Program, arrays: list[np.ndarray]) -> None:
        self.memory = dict(zip(program.params, (a.copy() for a in arrays), strict=True))
        self.env: dict[Sym, int] = {}
        self.locals: dict[Local, np.generic] = {}
        with np.errstate(all="ignore"):
            self.block(program.body)
        self.results = [self.array(t) for t in program.results]

    def array(self, t: Buffer) -> np.ndarray:
        if t.root not in self.memory:
            data = t.root.data if t.root.kind == "const" else np.zeros(t.root.shape, t.root.dtype)
            self.memory[t.root] = np.array(data)
        return self.memory[t.root].reshape(t.shape)

    def dim(self, e: Dim) -> int:
        if not isinstance(e, IndexExpr):
            return e
        return e.constant + sum(c * self.term(t) for t, c in e.terms)

    def term(self, t: object) -> int:
        if isinstance(t, Sym):
            return self.env[t] if t.payload is None else int(self.expr(t.payload))
        if isinstance(t, Product):
            return self.dim(t.left) * self.dim(t.right)
        assert isinstance(t, (Quotient, Remainder))
        return self.dim(t.base) // t.divisor if isinstance(t, Quotient) else self.dim(t.base) % t.divisor

    def expr(self, e: Expr) -> np.generic:
        if isinstance(e, Const):
            return e.value
        if isinstance(e, Local):
            return self.locals[e]
        if isinstance(e, Load):
            return self.array(e.buffer)[tuple(self.dim(k) for k in e.index)]
        if isinstance(e, Index):
            return np.int64(self.dim(e.index))
        args = [self.expr(a) for a in e.args]
        value = args[0] if e.op == "cast" else SCALARS[e.op].numpy(*args)
        return np.asarray(value).astype(e.dtype)[()]

    def combine(self, mode: str, old: np.generic, new: np.generic) -> np.generic:
        functions = {"+=": np.add, "*=": np.multiply, "max=": np.maximum, "min=": np.minimum}
        functions |= {"or=": np.logical_or, "and=": np.logical_and}
        return new if mode == "=" else functions[mode](old, new)

    def block(self, stmts: tuple) -> None:
        for s in stmts:
            if isinstance(s, Loop):
                for k in range(self.dim(s.lo), self.dim(s.hi), s.step):
                    self.env[s.var] = k
                    self.block(s.body)
            elif isinstance(s, Block):
                self.block(s.body)
            elif isinstance(s, If):
                self.block(s.then if self.expr(s.cond) else s.orelse)
            elif isinstance(s, While):
                while self.expr(s.cond):
                    self.block(s.body)
            elif isinstance(s, Store):
                where = tuple(self.dim(k) for k in s.index)
                a = self.array(s.buffer)
                a[where] = self.combine(s.mode, a[where], self.expr(s.value))
            elif isinstance(s, (Let, Assign)):
                old = self.locals.get(s.local, s.local.dtype.type(0))
                self.locals[s.local] = self.combine(getattr(s, "mode", "="), old, self.expr(s.value))


def argument(name: str, shape: tuple[int, ...], dtype: np.dtype = f64) -> Tensor:
    return Tensor(Buffer(name, dtype, shape, "arg"))


def program(b: LoopBuilder, params: list[Tensor], results: list[Tensor], name: str = "f") -> Program:
    for t in results:
        t.buffer.root.kind = "out"
    return Program(name, tuple(t.buffer for t in params), tuple(t.buffer for t in results), b.body)


def body_of(p: Program) -> list[str]:
    """The rendered statements, without comments and indentation of the function."""
    lines = [text[4:] for text in render(p).splitlines()[1:]]
    return [text for text in lines if text.strip() and not text.startswith("#")]


def test_a_pointwise_nest_reads_like_hand_written_python():
    b = LoopBuilder()
    b.loc, b.hint = Location("/home/me/mlp.py", 12, "loss"), "h"
    x = argument("x", (2, 3), f32)
    h = b.pointwise((2, 3), f32, lambda i, j: scalar("tanh", x[i, j]) + 0.5)
    text = render(program(b, [x], [h], "loss"))
    assert text == (
        "def loss(x, h):\n"
        "    # arguments: x: f32[2,3]\n"
        "    # results: h: f32[2,3]\n"
        "\n"
        "    # h: mlp.py:12\n"
        "    for i in range(2):\n"
        "        for j in range(3):\n"
        "            h[i, j] = np.tanh(x[i, j]) + np.float32(0.5)\n"
        "    return 0\n"
    )


def test_a_shared_subexpression_is_computed_once():
    b = LoopBuilder()
    x = argument("x", (4,))

    def value(i):
        e = scalar("exp", x[i])
        return e * e + x[i]

    y = b.pointwise((4,), f64, value)
    assert body_of(program(b, [x], [y])) == [
        "for i in range(4):",
        "    x_i = x[i]",
        "    v = np.exp(x_i)",
        "    t0[i] = v * v + x_i",
        "return 0",
    ]


def test_a_load_is_repeated_after_a_store_to_its_buffer_and_only_then():
    b = LoopBuilder()
    x = argument("x", (4,))
    y, z = b.empty((4,), f64), b.empty((4,), f64)
    with b.loop(4) as i:
        b.store(y, i, x[i] * x[i])
        b.store(z, i, x[i] + y[i])
        b.store(y, i, y[i] + x[i])
        b.store(z, i, y[i] * y[i], "+=")
    p = program(b, [x], [y, z])
    assert body_of(p)[1:-1] == [
        "    x_i = x[i]",
        "    t0[i] = x_i * x_i",
        "    t0_i = t0[i]",
        "    t1[i] = x_i + t0_i",
        "    t0[i] = t0_i + x_i",
        "    t0_i1 = t0[i]",
        "    t1[i] += t0_i1 * t0_i1",
    ]
    a = np.arange(4.0)
    np.testing.assert_array_equal(run(p, a)[1], a + a * a + (a * a + a) ** 2)


def test_parentheses_only_where_needed():
    b = LoopBuilder()
    x, y, z = (argument(n, (), f64) for n in "xyz")
    a, c, d = x[()], y[()], z[()]
    cases = [
        (a + c * d, "x[()] + y[()] * z[()]"),
        ((a + c) * d, "(x[()] + y[()]) * z[()]"),
        (a - (c - d), "x[()] - (y[()] - z[()])"),
        (a - c - d, "x[()] - y[()] - z[()]"),
        (a / (c * d), "x[()] / (y[()] * z[()])"),
        (-(a + c), "-(x[()] + y[()])"),
        (-a * c, "-x[()] * y[()]"),
        (a * -2.0, "x[()] * -2.0"),
        (scalar("where", a < c, a, d + 1), "x[()] if x[()] < y[()] else z[()] + 1.0"),
        (scalar("where", (a < c) & (c < d), c, d), "y[()] if (x[()] < y[()]) & (y[()] < z[()]) else z[()]"),
    ]
    for value, expected in cases:
        b = LoopBuilder()
        out = b.empty((), f64)
        # No subexpression may get a name here, so that the text is one line.
        b.store(out, (), value)
        text = body_of(program(b, [x, y, z], [out]))[-2]
        names = {"x_value": "x[()]", "y_value": "y[()]", "z_value": "z[()]"}
        for name, load in names.items():
            text = text.replace(name, load)
        assert text == f"t0[()] = {expected}"


def test_index_text():
    i, j, k = (expr(Sym(n, 0, 9)) for n in "ijk")

    def text(e: Dim) -> str:
        return index_text(e, lambda s: Text(s.name)).text

    assert text(2 * i + j - 1) == "2 * i + j - 1"
    assert text(floordiv(i + j, 3)) == "(i + j) // 3"
    assert text(mul(floordiv(i, 3), 2)) == "2 * (i // 3)"
    assert text(mod(mul(i, 2), 7) + k) in ("2 * i % 7 + k", "k + 2 * i % 7")
    assert text(5 - i) == "-i + 5"
    assert text(i - mul(i, j)) in ("i - i * j", "i - j * i")
    assert text(mul(floordiv(i, 3), j)) in ("i // 3 * j", "j * (i // 3)")
    env = {"i": 5, "j": 4, "k": 3}
    for e in (5 - i, mul(floordiv(i, 3), j), i - mul(i, j) - k, mul(floordiv(i, 2) - mod(j, 3), -3) - 7):
        values = {s: env[s.name] for s in e.syms()}
        assert eval(text(e), {}, env) == evaluate(e, values)


@pytest.mark.parametrize("dtype", [d for d in DTYPES.values() if d != bool_], ids=str)
def test_literals_keep_their_dtype(dtype):
    values = [0, 1, 2, 3, 100]
    if dtype.kind == "f":
        values = [0.1, -0.0, np.inf, -np.inf, np.nan, 1e-40, 1e30, 16777216.0, 1 / 3]
        if dtype.itemsize == 2:
            values = [v for v in values if not 65504 < abs(v) < np.inf]  # those that do not overflow
    elif dtype.kind == "i":
        values += [-1, np.iinfo(dtype).min, np.iinfo(dtype).max]
    else:
        values += [np.iinfo(dtype).max]
    x = argument("x", (1,), dtype)
    b = LoopBuilder()
    direct = [b.empty((), dtype) for _ in values]
    added = [b.empty((), dtype) for _ in values]
    for v, t, u in zip(values, direct, added, strict=True):
        b.store(t, (), Const(v, dtype))
        b.store(u, (), x[0] + Const(v, dtype))
    p = program(b, [x], direct + added)
    one = np.ones(1, dtype)
    with np.errstate(all="ignore"):
        expected = [np.array(v, dtype) for v in values] + [(np.array([v], dtype) + one)[0] for v in values]
    compilers = (compile_python,) if dtype.itemsize == 2 and dtype.kind == "f" else (compile_python, compile_numba)
    for runner in (compile(p) for compile in compilers):
        for got, want in zip(runner(one), expected, strict=True):
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [d for d in DTYPES.values() if d.kind in "iu"], ids=str)
def test_integers_wrap_in_the_middle_of_an_expression(dtype):
    x = argument("x", (3,), dtype)
    b = LoopBuilder()
    y = b.pointwise((3,), f64, lambda i: b.cast((x[i] + x[i]) * 3 - 1, f64))
    total = b.reduce((3,), (0,), "+=", dtype, lambda i: x[i])
    product = b.reduce((3,), (0,), "*=", dtype, lambda i: x[i])
    p = program(b, [x], [y, total, product])
    a = np.array([np.iinfo(dtype).max, 5, 100], dtype)
    with np.errstate(all="ignore"):
        expected = [((a + a) * dtype.type(3) - dtype.type(1)).astype(f64), a.sum(dtype=dtype), a.prod(dtype=dtype)]
    for runner in (compile_python(p), compile_numba(p)):
        for got, want in zip(runner(a), expected, strict=True):
            np.testing.assert_array_equal(got, want)


NAMES = [n for n in SCALARS if n not in ("where", "cast")]


def scalar_program(
    name: str, dtype: np.dtype, b: LoopBuilder
) -> tuple[list[Tensor], Tensor, list[np.ndarray], np.ndarray]:
    """Parameters, result, arguments (all pairs or triples of a few values) and NumPy's value of a scalar function."""
    entry = SCALARS[name]
    grid = np.array([0.5, -0.5, 0.0, 1.0, 2.5, -3.0, 0.25, np.inf, np.nan, 7.0], dtype)
    if name.startswith("bitwise") or name in ("invert", "left_shift", "right_shift"):
        grid = np.array([0, 1, 2, 3, -1, 5, 60, -7])
    elif name.startswith("logical"):
        grid = np.array([False, True])
    elif name.startswith("polygamma"):
        grid = np.array([0.5, -0.5, 1.0, 2.5, np.inf, 7.0], dtype)  # at a pole the two sides have different limits
    elif name == "expn":  # SciPy warns of orders that are no integers
        grid = np.array([0.0, 1.0, 2.0, 3.0, 7.0, np.nan], dtype)
    elif name == "hyp1f1":  # SciPy's never returns from some at infinity
        grid = grid[np.isfinite(grid)]
    columns = [np.ravel(axis) for axis in np.meshgrid(*[grid] * entry.arity, indexing="ij")]
    params = [argument(f"x{k}", c.shape, c.dtype) for k, c in enumerate(columns)]
    out = b.elementwise(name, *params)
    # Of SciPy's functions the one in double precision is called, for float32 too.
    wide = [c.astype(f64) for c in columns] if entry.scipy is not None else columns
    with np.errstate(all="ignore"):
        expected = np.asarray(entry.numpy(*wide)).astype(out.dtype)
    return params, out, columns, expected


def assert_near(got: np.ndarray, want: np.ndarray, dtype: np.dtype, name: str) -> None:
    assert got.dtype == want.dtype
    rtol, atol = (1e-12, 1e-13) if dtype == f64 else (2e-5, 1e-5)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_scalar_function_of_floats(name, dtype):
    b = LoopBuilder()
    params, out, arrays, expected = scalar_program(name, dtype, b)
    assert_near(run(program(b, params, [out]), *arrays)[0], expected, dtype, name)


GROUPS = [NAMES[k : k + 12] for k in range(0, len(NAMES), 12)]


@pytest.mark.parametrize(
    ("names", "dtype"),
    [
        *(pytest.param(names, f64, id=f"{names[0]}-float64") for names in GROUPS),
        *(
            pytest.param(names, f32, id=f"{names[0]}-float32", marks=[pytest.mark.slow] if k % 3 else [])
            for k, names in enumerate(GROUPS)
        ),
    ],
)
def test_every_scalar_function_of_floats_under_numba(names, dtype):
    b = LoopBuilder()
    cases = [scalar_program(name, dtype, b) for name in names]
    p = program(b, [t for case in cases for t in case[0]], [case[1] for case in cases])
    results = compile_numba(p)(*(a for case in cases for a in case[2]))
    for name, got, (_, _, arrays, want) in zip(names, results, cases, strict=True):
        if name == "floor_divide":  # Numba's own differs at infinities
            finite = np.isfinite(arrays[0]) & np.isfinite(arrays[1])
            got, want = got[finite], want[finite]
        assert_near(got, want, dtype, name)


def test_dynamic_indices_control_flow_aliases_and_constants():
    b = LoopBuilder()
    x, idx = argument("x", (3, 4)), argument("idx", (5,), i64)
    table = b.constant(np.arange(12.0))
    flat = b.reshape(x, (12,))
    out = b.empty((5,), f64)
    count = b.empty((), i32)
    with b.loop(5) as k:
        v = b.let(b.const(0.0, f64))
        j = b.dynamic(idx[k], 12)
        with b.when(idx[k] > 3):
            b.assign(v, flat[j] * table[j])
        b.store(out, k, v)
    n, steps = b.let(b.const(100, i64), "n"), b.let(b.const(0, i32), "steps")
    with b.repeat((n > 1) & (n * n > 7)):
        b.assign(n, scalar("floor_divide", n, b.const(3, i64)))
        b.assign(steps, b.const(1, i32), "+=")
    b.store(count, (), steps)
    p = program(b, [x, idx], [out, count])
    a, i = np.random.default_rng(0).normal(size=(3, 4)), np.array([0, 11, 4, 3, 7])
    expected = np.where(i > 3, a.reshape(-1)[i] * i, 0.0)
    for runner in (compile_python(p), compile_numba(p)):
        got, steps_taken = runner(a, i)
        np.testing.assert_array_equal(got, expected)
        assert steps_taken == 4 and steps_taken.dtype == i32
    assert "x_flat = x.reshape(12)" in render(p)


def test_scalars_empty_arrays_and_zero_extent_loops():
    b = LoopBuilder()
    x, e = argument("x", ()), argument("e", (0, 3))
    y = b.pointwise((), f64, lambda: x[()] * 2)
    s = b.reduce((0, 3), (0,), "+=", f64, lambda i, j: e[i, j])
    back = b.reshape(b.reshape(y, (1, 1)), ())
    z = b.pointwise((), f64, lambda: back[()] + 1)
    p = program(b, [x, e], [y, s, z])
    for runner in (compile_python(p), compile_numba(p)):
        got = runner(np.array(1.5), np.empty((0, 3)))
        assert [a.tolist() for a in got] == [3.0, [0.0, 0.0, 0.0], 4.0]


def test_a_failure_raises_what_its_code_means():
    b = LoopBuilder()
    x = argument("x", (2,), i64)
    y = b.pointwise((2,), i64, lambda i: x[i])
    with b.loop(2) as i:
        b.fail_unless(x[i] < 2, 1)
    p = program(b, [x], [y])
    assert run(p, np.array([0, 1]))[0].tolist() == [0, 1]
    for runner in (compile_python(p), compile_numba(p)):
        with pytest.raises(IndexError, match="out of bounds"):
            runner(np.array([0, 2]))


def test_arguments_are_checked_and_never_written():
    b = LoopBuilder()
    x = argument("x", (2,))
    p = program(b, [x], [b.pointwise((2,), f64, lambda i: x[i] + 1)])
    with pytest.raises(ArgumentError, match="takes 1 arrays, not 2"):
        run(p, np.zeros(2), np.zeros(2))
    with pytest.raises(ArgumentError, match="float32 array"):
        run(p, np.zeros(2, f32))
    with pytest.raises(ArgumentError, match=r"shape \(3,\)"):
        run(p, np.zeros(3))
    frozen = np.arange(4.0)[::2]
    frozen.flags.writeable = False
    assert run(p, frozen)[0].tolist() == [1.0, 3.0]


def test_library_calls_need_another_backend_than_numba():
    b = LoopBuilder()
    x = argument("x", (2,))
    y = b.empty((2,), f64)
    b.libcall("sort", [y], [x], axis=0)
    p = program(b, [x], [y])
    assert "status = lib.sort((t0,), (x,), axis=0)" in render(p)
    with pytest.raises(CompilationError, match="sort"):
        compile_numba(p)


def test_names_that_python_or_the_renderer_uses_are_changed():
    b = LoopBuilder()
    params = [argument(n, (2,)) for n in ("np", "lambda", "i", "x y", "1st", "range")]
    y = b.pointwise((2,), f64, lambda i: sum((t[i] for t in params[1:]), params[0][i]))
    p = program(b, params, [y], name="<lambda>")
    arrays = [np.full(2, 10.0**k) for k in range(6)]
    assert run(p, *arrays)[0].tolist() == [111111.0] * 2
    names = [text.split(":")[0] for text in generate(p).text.split("arguments: ")[1].split("\n")[0].split(", ")]
    assert len(set(names)) == 6 and all(n.isidentifier() for n in names)


def test_a_name_comes_back_only_for_the_same_dtype():
    names = Names()
    first = names.fresh("v", f64)
    names.release([first])
    assert names.fresh("v", f64) == first
    names.release([first])
    assert names.fresh("v", f32) != first


def test_long_chains_render_in_lines_that_python_can_parse():
    b = LoopBuilder()
    x = argument("x", (2,))

    def chain(i):
        e = x[i]
        for _ in range(3000):
            e = scalar("sin", e) + 1
        return e

    p = program(b, [x], [b.pointwise((2,), f64, chain)])
    assert max(map(len, render(p).splitlines())) < 150
    want = np.array([0.3, 0.4])
    for _ in range(3000):
        want = np.sin(want) + 1
    np.testing.assert_allclose(run(p, np.array([0.3, 0.4]))[0], want, rtol=1e-12)


def random_program(rng: np.random.Generator) -> Program:
    """Stores, locals, branches and loops over a few small buffers, with much sharing between the expressions."""
    b = LoopBuilder()
    x, idx = argument("x", (4,)), argument("idx", (4,), i64)
    outs = [b.empty((4,), f64) for _ in range(3)]
    alias = b.reshape(outs[0], (2, 2))
    pool: list = []
    locals_: list = []

    def index(i: list) -> Dim:
        choice = rng.integers(4)
        if choice == 0 or not i:
            return int(rng.integers(4))
        return i[-1] if choice < 3 else b.dynamic(idx[i[-1]], 4)

    def value(i: list, depth: int = 3) -> Expr:
        # What was made before is used again, which is where stale values would show.
        candidates = [e for e, need in pool if need <= len(i)]
        if candidates and rng.random() < 0.4:
            return candidates[rng.integers(len(candidates))]
        kind = rng.integers(6) if depth else rng.integers(3)
        if kind == 0:
            t = [x, *outs][rng.integers(4)]
            e = t[index(i)]
        elif kind == 1:
            e = locals_[rng.integers(len(locals_))] if locals_ else b.const(0.5, f64)
        elif kind == 2:
            e = alias[int(rng.integers(2)), int(rng.integers(2))]
        elif kind == 3:
            e = value(i, depth - 1) * 0.5 + value(i, depth - 1) * 0.25
        elif kind == 4:
            e = scalar("where", value(i, depth - 1) < value(i, depth - 1), value(i, depth - 1), b.const(0.25, f64))
        else:
            e = scalar("minimum", scalar("square", value(i, depth - 1)), b.const(3.0, f64))
        pool.append((e, len(i)))
        return e

    def block(i: list, depth: int) -> None:
        mark, seen = len(pool), len(locals_)
        for _ in range(rng.integers(1, 5)):
            kind = rng.integers(8)
            if kind < 3:
                t = outs[rng.integers(3)]
                b.store(t, index(i), value(i), ["=", "+=", "max="][rng.integers(3)])
            elif kind == 3:
                b.store(alias, (int(rng.integers(2)), int(rng.integers(2))), value(i))
            elif kind == 4:
                locals_.append(b.let(value(i)))
            elif kind == 5 and locals_:
                b.assign(locals_[rng.integers(len(locals_))], value(i), ["=", "+=", "min="][rng.integers(3)])
            elif kind == 6 and depth:
                with b.when(value(i) < 1.0):
                    block(i, depth - 1)
            elif depth:
                with b.loop(4) as k:
                    block([*i, k], depth - 1)
        del pool[mark:], locals_[seen:]

    for t in outs:
        with b.loop(4) as k:
            b.store(t, k, x[k])
    block([], 3)
    return program(b, [x, idx], outs)


@pytest.mark.parametrize("seed", range(10))
def test_random_statements_against_the_reference(seed):
    rng = np.random.default_rng(seed)
    for _ in range(30):
        p = random_program(rng)
        arrays = [rng.normal(size=4), rng.integers(0, 4, 4)]
        expected = Reference(p, arrays).results
        for got, want in zip(run(p, *arrays), expected, strict=True):
            np.testing.assert_array_equal(got, want, err_msg=render(p))


def test_random_statements_under_numba():
    rng = np.random.default_rng(99)
    for _ in range(4):
        p = random_program(rng)
        arrays = [rng.normal(size=4), rng.integers(0, 4, 4)]
        for got, want in zip(compile_numba(p)(*arrays), run(p, *arrays), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12)
