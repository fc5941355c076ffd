"""The printer and the parser: what round-trips, what is shortened, and the errors."""

import numpy as np
import pytest

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.errors import ParseError
from jitgrad.ir import index
from jitgrad.ir.core import OPS, Block, Builder, Graph, Op, OpDef, Value
from jitgrad.ir.location import Location
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import print_graph
from jitgrad.ir.types import DTYPES, TensorType, f32, f64, i64


class Anything(OpDef):
    """A stand-in that takes any attributes, operands and regions."""

    name = "test.anything"

    def infer(self, *types, **attrs):
        return ()


@pytest.fixture
def anything(monkeypatch):
    monkeypatch.setitem(OPS, Anything.name, Anything())
    return Anything.name


def round_trip(graph: Graph) -> Graph:
    text = print_graph(graph)
    again = parse(text)
    assert print_graph(again) == text
    return again


def attribute_round_trip(value):
    b = Builder()
    b.emit_op(Anything.name, (), {"a": value})
    (op,) = round_trip(b.build()).ops
    return op.attrs["a"]


def test_text_of_a_graph() -> None:
    b = Builder("loss")
    x = b.param(TensorType(f64, (4, 3)), "x")
    w = b.param(TensorType(f64, (3,)), "w")
    b.loc = Location("/home/me/train.py", 12, "loss")
    h = b.emit("tanh", b.emit("einsum", x, w, spec="ij,j->i"))
    h.name = "h"
    b.loc = Location("/home/me/train.py", 13, "loss")
    assert print_graph(b.build(b.emit("reduce_sum", h, axes=(0,)))) == (
        "graph loss(%x: f64[4,3], %w: f64[3]) {\n"
        '  %0: f64[4] = einsum(%x, %w) {spec="ij,j->i"}  # train.py:12\n'
        "  %h: f64[4] = tanh(%0)  # train.py:12\n"
        "  %1: f64[] = reduce_sum(%h) {axes=(0,)}  # train.py:13\n"
        "  return %1\n"
        "}\n"
        '# train.py:12 = "/home/me/train.py" in "loss"\n'
        '# train.py:13 = "/home/me/train.py" in "loss"'
    )


SCALARS = [0, -7, 2**63 - 1, 0.1, -1e-300, 5e-324, float("inf"), float("-inf"), True, False, None]


@pytest.mark.parametrize(
    "value", [*SCALARS, 'a "quoted" \\ string\nwith é', f32, (), (1,), (1, (2.5, "x"), ()), ((1,),)]
)
def test_attributes(value, anything) -> None:
    again = attribute_round_trip(value)
    assert again == value and type(again) is type(value)


@pytest.mark.parametrize("value", [0.0, -0.0, float("nan"), -float("nan")])
def test_bits_of_float_attributes(value, anything) -> None:
    assert np.float64(attribute_round_trip(value)).tobytes() == np.float64(value).tobytes()


def awkward(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(3)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 0.1, 1e-45, 1e30, 16777217.0])
    values = rng.choice(special, shape) if rng.random() < 0.5 else rng.normal(size=shape)
    with np.errstate(over="ignore"):  # in float16 the great ones are infinite
        return np.asarray(values).astype(dtype)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,), (0, 3), (3, 0), (2, 1, 2), (65,), (9, 8)])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_arrays_round_trip_bit_by_bit(dtype, shape) -> None:
    b = Builder()
    array = awkward(dtype, shape)
    b.constant(array)
    (op,) = round_trip(b.build()).ops
    again = op.attrs["value"]
    assert again.dtype == array.dtype and again.shape == array.shape
    assert again.tobytes() == array.tobytes()
    assert not again.flags.writeable


def test_bits_of_a_nan_are_kept() -> None:
    b = Builder()
    odd = np.array([0x7FF8000000000123], np.uint64).view(np.float64)
    b.constant(odd)
    assert round_trip(b.build()).ops[0].attrs["value"].tobytes() == odd.tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_short_text_of_float32_is_exact(seed) -> None:
    bits = np.random.default_rng(seed).integers(0, 2**32, 60, dtype=np.uint32)
    array = bits.view(np.float32)
    array = array[np.isfinite(array)]
    b = Builder()
    b.constant(array)
    assert round_trip(b.build()).ops[0].attrs["value"].tobytes() == array.tobytes()


def test_names_are_made_unique() -> None:
    b = Builder()
    for name in ["x", "x", "x_1", None, "0", "a b", "w['k']", None]:
        b.param(TensorType(f64), name)
    text = print_graph(b.build())
    names = [v.name for v in parse(text).params]
    assert names == ["x", "x_1", "x_1_1", None, "_0", "a_b", "w_k_", None]
    round_trip(b.build())


def test_locations_round_trip() -> None:
    b = Builder()
    x = b.param(TensorType(f64), "x")
    places = [
        Location(f, n, g)
        for f in ("/a/t.py", "/b/t.py", "<stdin>", "a b.py")
        for n in (3, 4)
        for g in ("f", "<lambda>")
    ]
    for place in places:
        b.loc = place
        b.emit("exp", x)
    b.loc = None
    b.emit("exp", x)
    assert [op.loc for op in round_trip(b.build()).ops] == [*places, None]


def test_without_locations() -> None:
    b = Builder()
    b.loc = Location("/a/t.py", 3, "f")
    x = b.emit("exp", b.param(TensorType(f64), "x"))
    assert "#" not in print_graph(b.build(x), locations=False)


def test_elide_shortens_arrays_and_leaves_the_table_out() -> None:
    b = Builder()
    b.loc = Location("/a/t.py", 3, "f")
    b.constant(np.arange(1000.0))
    text = print_graph(b.build(), elide=True)
    assert "f64[1000] [0.0, 1.0, 2.0, ...]}  # t.py:3" in text and "/a/t.py" not in text
    with pytest.raises(ParseError, match="shortened for reading"):
        parse(text)


def test_symbols() -> None:
    text = (
        "graph f(%n: i64[], %x: f64[$b,%n], %y: f64[2*$b + (%n // 2) - 1,(%n % 3)]) where $b in 1.., %n in 0..8 {\n"
        "  %0: f64[$b,%n] = exp(%x)\n"
        "  return %0\n"
        "}"
    )
    graph = parse(text)
    assert print_graph(graph) == text
    n, x, _ = graph.params
    b, extent = x.type.shape
    symbol = index.as_sym(extent)
    assert symbol is not None and symbol.payload is n and symbol.bounds == (0, 8)
    assert index.bounds(b) == (1, None)
    assert graph.ops[0].result.type == x.type


@pytest.mark.parametrize("text", ["%n", "2*%n - 1", "(%n // 4)", "((%n // 4), 3)", "(($b)*(%n) + 1, (2,))", "-%n"])
def test_extents_in_attributes(text, anything) -> None:
    source = f"graph f(%n: i64[], %x: f64[$b]) {{\n  test.anything() {{a={text}}}\n  return\n}}"
    assert print_graph(parse(source)) == source


def test_regions(anything) -> None:
    x, inner = Value(TensorType(f64, (3,)), "x"), Value(TensorType(f64, (3,)), "x")
    step = Op(OPS["add"], (inner, x), {}, (Value(TensorType(f64, (3,))),))
    body = Block((inner,), (step,), step.results)
    empty = Block((), (), ())
    place = Location("/a/t.py", 3, "f")
    loop = Op(OPS[anything], (x,), {"n": 3}, (Value(TensorType(f64, (3,)), "y"),), (body, empty), place)
    graph = Graph("f", Block((x,), (loop,), loop.results))
    assert print_graph(graph, elide=True) == (
        "graph f(%x: f64[3]) {\n"
        "  %y: f64[3] = test.anything(%x) {n=3}  # t.py:3\n"
        "    (%x_1: f64[3]) {\n"
        "      %0: f64[3] = add(%x_1, %x)\n"
        "      yield %0\n"
        "    }\n"
        "    () {\n"
        "      yield\n"
        "    }\n"
        "  return %y\n"
        "}"
    )
    again = round_trip(graph)
    (op,) = again.ops
    assert op.regions[0].ops[0].operands == (op.regions[0].params[0], again.params[0])


ERRORS = {
    "graph f() {\n  return\n": (3, 1, "expected a value such as %x, found 'the end'"),
    "graph f(%x: f63[]) {\n  return\n}": (1, 13, "there is no dtype 'f63'"),
    "graph f(%x: f64[]) {\n  %y: f64[] = tanj(%x)\n  return %y\n}": (
        2,
        15,
        "there is no op named 'tanj'; did you mean",
    ),
    "graph f(%x: f64[]) {\n  %y: f64[] = tanh(%z)\n  return %y\n}": (2, 20, "%z is not defined before this use"),
    "graph f(%x: f64[], %x: f64[]) {\n  return\n}": (1, 20, "%x is defined twice"),
    "graph f(%x: f64[]) {\n  %x: f64[] = exp(%x)\n  return\n}": (2, 3, "%x is defined twice"),
    "graph f() {\n  %c: f64[2] = constant() {value=f64[2] [1.0]}\n  return\n}": (2, 42, "expected 2 elements"),
    "graph f() {\n  %c: i8[] = constant() {value=i8[] 300}\n  return\n}": (2, 32, "these numbers are not i8[]"),
    'graph f() {\n  %c: f64[] = constant() {value=f64[] base64"AAA="}\n  return\n}': (
        2,
        33,
        "a payload that does not fit its type",
    ),
    "graph f(%x: f64[]) {\n  return %x %x\n}": (2, 13, "expected '}'"),
    "graph f(%x: f64[%n]) {\n  return %x\n}": (3, 2, "an extent names %n, which is not defined"),
    "graph f() { ? }": (1, 13, "unexpected character '?'"),
    "graph f() {\n  return\n}\nmore": (4, 1, "expected the end"),
    "": (1, 1, "expected 'graph'"),
}


@pytest.mark.parametrize("text", ERRORS, ids=range(len(ERRORS)))
def test_errors_show_the_place(text) -> None:
    line, column, message = ERRORS[text]
    with pytest.raises(ParseError) as caught:
        parse(text)
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith(f"line {line}, column {column}: {message}")
    assert caret.index("^") == column + 3
    assert shown.strip() in text


def test_deep_nesting_is_an_error_of_ours(anything) -> None:
    deep = "(" * 30_000
    with pytest.raises(ParseError, match="nested too deeply"):
        parse(f"graph f() {{\n  test.anything() {{a={deep}}}\n  return\n}}")


def test_integers_of_python_stay_integers(anything) -> None:
    assert attribute_round_trip((np.int64(3),)) == (3,)
    assert i64 == attribute_round_trip(i64)
