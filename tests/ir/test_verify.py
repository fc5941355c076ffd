"""The verifier: each rule of the IR, broken once."""

import numpy as np
import pytest

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.errors import IRError
from jitgrad.ir import index
from jitgrad.ir.core import OPS, Block, Builder, Graph, Op, OpDef, Value
from jitgrad.ir.location import Location
from jitgrad.ir.parser import parse
from jitgrad.ir.types import TensorType, f64
from jitgrad.ir.verify import verify

T = TensorType(f64, (3,))


def graph_of(*ops: Op, params: tuple[Value, ...] = (), results: tuple[Value, ...] = ()) -> Graph:
    return Graph("g", Block(params, ops, results))


def exp(x: Value, type: TensorType = T, **attrs) -> Op:
    return Op(OPS["exp"], (x,), attrs, (Value(type),))


def test_a_good_graph_passes() -> None:
    b = Builder()
    x = b.param(T, "x")
    verify(b.build(b.emit("exp", x), x))


def test_wrong_type_shows_the_op_its_neighbours_and_the_line() -> None:
    lines = [f"  %v{k}: f64[3] = exp(%x)" for k in range(8)]
    lines[4] = "  %v4: f64[4] = exp(%x)  # model.py:17"
    graph = parse("\n".join(["graph loss(%x: f64[3]) {", *lines, "  return %v0", "}"]))
    with pytest.raises(IRError) as caught:
        verify(graph, "cse")
    text = str(caught.value)
    assert "graph loss is not well formed after cse: result 0 of exp is f64[4] where infer gives f64[3]" in text
    assert "\n  >   %v4: f64[4] = exp(%x)  # model.py:17\n      %v5" in text
    assert "%v1" in text and "%v0" not in text and "%v7" in text
    assert "at model.py:17" in text


def test_use_before_definition() -> None:
    x = Value(T, "x")
    first = exp(x)
    second = exp(first.result)
    with pytest.raises(IRError, match="operand 0 of exp is not defined before it"):
        verify(graph_of(second, first, params=(x,), results=(second.result,)))


def test_value_of_another_graph() -> None:
    with pytest.raises(IRError, match="operand 0 of exp is not defined before it"):
        verify(graph_of(exp(Value(T))))
    with pytest.raises(IRError, match=r"returns .* which is not defined in it"):
        verify(graph_of(results=(Value(T),)))


def test_double_definition() -> None:
    x = Value(T, "x")
    op = exp(x)
    with pytest.raises(IRError, match="is defined twice"):
        verify(graph_of(op, op, params=(x,)))
    with pytest.raises(IRError, match="is defined twice"):
        verify(graph_of(params=(x, x)))
    with pytest.raises(IRError, match="is the result of an op"):
        verify(graph_of(params=(op.result,)))


def test_result_of_another_op() -> None:
    x = Value(T, "x")
    op = exp(x)
    exp(x).results[0].op = None
    taken = Op(OPS["exp"], (x,), {}, op.results)
    assert op.result.op is taken
    with pytest.raises(IRError, match="result 0 of exp belongs to another op"):
        verify(graph_of(op, params=(x,)))


def test_op_that_is_not_registered() -> None:
    class Other(OpDef):
        name = "exp"

    x = Value(T, "x")
    with pytest.raises(IRError, match="'exp' is not the registered one"):
        verify(graph_of(Op(Other(), (x,), {}, (Value(T),)), params=(x,)))


def test_operands_and_attributes_that_infer_refuses() -> None:
    x = Value(T, "x")
    with pytest.raises(IRError, match="does not take these operands and attributes"):
        verify(graph_of(exp(x, axes=(0,)), params=(x,)))
    two = Op(OPS["exp"], (x, x), {}, (Value(T),))
    with pytest.raises(IRError, match="does not take these operands"):
        verify(graph_of(two, params=(x,)))


def test_number_of_results() -> None:
    x = Value(T, "x")
    with pytest.raises(IRError, match="exp has 0 results where infer gives 1"):
        verify(graph_of(Op(OPS["exp"], (x,), {}, ()), params=(x,)))


@pytest.mark.parametrize(
    ("value", "problem"),
    [([0], "is a list"), (np.int64(0), "is a int64"), (np.zeros(2), "is a writeable array"), ((0, [1]), "is a list")],
    ids=str,
)
def test_attributes_are_immutable(value, problem) -> None:
    x = Value(T, "x")
    op = Op(OPS["reduce_sum"], (x,), {"axes": value}, (Value(TensorType(f64)),))
    with pytest.raises(IRError, match=problem):
        verify(graph_of(op, params=(x,)))


@pytest.mark.parametrize("shape", [(-1,), (2.0,), (True,)], ids=str)
def test_extents(shape) -> None:
    with pytest.raises(IRError, match="has the extent"):
        verify(graph_of(params=(Value(TensorType(f64, shape)),)))


def test_dtype_that_is_not_known() -> None:
    with pytest.raises(IRError, match="which is not a TensorType of a known dtype"):
        verify(graph_of(params=(Value(TensorType(np.dtype(np.complex128), ())),)))


def test_extent_that_names_a_value_of_another_graph() -> None:
    n = index.sym("n", 0, 8, payload=Value(TensorType(f64), "n"))
    with pytest.raises(IRError, match=r"an extent names .* which is not defined before"):
        verify(graph_of(params=(Value(TensorType(f64, (n,)), "x"),)))


class Loop(OpDef):
    name = "test.loop"

    def infer(self, *types, regions):
        return types


@pytest.mark.parametrize("inside", [True, False])
def test_values_of_a_region_stay_in_it(monkeypatch, inside) -> None:
    monkeypatch.setitem(OPS, "test.loop", Loop())
    x, carry = Value(T, "x"), Value(T, "carry")
    step = Op(OPS["add"], (carry, x), {}, (Value(T),), loc=Location("t.py", 3, "f"))
    region = Block((carry,), (step,), step.results)
    loop = Op(OPS["test.loop"], (x,), {}, (Value(T),), (region,))
    after = exp(loop.result if inside else step.result)
    graph = graph_of(loop, after, params=(x,), results=(after.result,))
    if inside:
        verify(graph)
        return
    with pytest.raises(IRError, match="operand 0 of exp is not defined before it"):
        verify(graph)


def test_ops_that_are_known_are_looked_at_again_in_their_place_only() -> None:
    x = Value(T, "x")
    first = exp(x)
    second = exp(first.result)
    good = graph_of(first, second, params=(x,), results=(second.result,))
    known: set[Op] = set()
    verify(good, known=known)
    assert known == {first, second}
    verify(good, known=known)
    with pytest.raises(IRError, match="operand 0 of exp is not defined before it"):
        verify(graph_of(second, first, params=(x,), results=(second.result,)), known=known)
    with pytest.raises(IRError, match="defined twice"):
        verify(graph_of(first, first, params=(x,), results=(first.result,)), known=known)
    with pytest.raises(IRError, match="where infer gives"):
        verify(graph_of(first, exp(x, TensorType(f64, (4,))), params=(x,), results=(first.result,)), known=known)
    Op(OPS["exp"], (x,), {}, first.results)
    with pytest.raises(IRError, match="belongs to another op"):
        verify(good, known=known)
