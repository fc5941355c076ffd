"""Arguments and results as trees, and the kinds of leaves."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, DtypeError
from jitgrad.frontend.signature import Identity, Signature, flatten, is_tree, prepare_leaf, spec_of, unflatten

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Layer:
    w: np.ndarray
    b: float
    activation: str = "tanh"
    size: int = dataclasses.field(default=3, metadata={"static": True})

    def __call__(self, x):
        assert isinstance(self.size, int)
        h = self.w * x + self.b
        return np.tanh(h) if self.activation == "tanh" else h


@dataclasses.dataclass(frozen=True)
class Frozen:
    inner: Layer
    rate: float

    def __post_init__(self):
        if not isinstance(self.rate, float):
            raise TypeError("rate must be a float")


X = np.array([1.0, 2.0, 3.0])
TREES = {
    "dict": {"b": 1.0, "a": X},
    "list": [X, 2.0],
    "tuple": (X, (2.0,)),
    "named tuple": Point(X, 2.0),
    "None inside": {"x": X, "nothing": None},
    "ordered dict": collections.OrderedDict([("z", X), ("a", 1.0)]),
    "dataclass": Layer(X, 1.0),
    "nested dataclass": Frozen(Layer(X, 1.0), 0.5),
    "empty containers": {"x": X, "list": [], "tuple": ()},
}


def leaves_of(tree):
    return flatten(tree)[0]


@pytest.mark.parametrize("name", TREES)
def test_trees_in_and_out(name):
    tree = TREES[name]
    f = jg.jit(lambda t: t)
    for _ in range(2):
        found = f(tree)
        assert type(found) is type(tree)
        assert flatten(found)[1] == flatten(tree)[1]
        for a, b in zip(leaves_of(found), leaves_of(tree), strict=True):
            np.testing.assert_array_equal(a, b)
    assert f.cache_info().compilations == 1


@pytest.mark.parametrize("name", TREES)
def test_gradients_have_the_structure_of_the_argument(name):
    tree = TREES[name]

    def f(t):
        return sum(np.sum(x**2) for x in leaves_of(t))

    found = jg.grad(f)(tree)
    assert flatten(found)[1] == flatten(tree)[1]
    for g, x in zip(leaves_of(found), leaves_of(tree), strict=True):
        np.testing.assert_allclose(g, 2 * np.asarray(x))


def test_dicts_keep_their_order():
    assert list(jg.jit(lambda d: d)({"z": 1.0, "a": 2.0})) == ["z", "a"]
    assert list(jg.jit(lambda x: {"z": x, "a": x})(1.0)) == ["z", "a"]


def test_the_order_of_keys_does_not_matter():
    f = jg.jit(lambda d: d["a"] - d["b"])
    assert f({"a": 3.0, "b": 1.0}) == 2 and f({"b": 1.0, "a": 3.0}) == 2


def test_the_order_of_keys_belongs_to_the_structure():
    f = jg.jit(lambda d: list(d.values()))
    assert f({"b": 1.0, "a": 2.0}) == [1.0, 2.0]
    assert f({"a": 2.0, "b": 1.0}) == [2.0, 1.0]
    g = jg.grad(lambda d: d["a"] * d["b"])
    assert list(g({"b": 1.0, "a": 2.0}).items()) == [("b", 2.0), ("a", 1.0)]
    assert list(g({"a": 2.0, "b": 1.0}).items()) == [("a", 1.0), ("b", 2.0)]


def test_cotangents_and_tangents_may_have_their_keys_in_another_order():
    _, pullback = jg.vjp(lambda d: {"x": 2 * d["a"], "y": 3 * d["b"]}, {"b": 1.0, "a": 2.0})
    assert pullback({"y": 10.0, "x": 1.0}) == ({"b": 30.0, "a": 2.0},)
    with pytest.raises(jg.errors.ArgumentError, match="structure"):
        pullback({"x": 1.0, "y": [1.0]})
    assert jg.jvp(lambda d: 10 * d["a"] + d["b"], ({"b": 1.0, "a": 2.0},), ({"a": 1.0, "b": 0.0},))[1] == 10


def test_no_result():
    assert jg.jit(lambda x: None)(1.0) is None
    assert jg.jit(lambda x: ())(1.0) == ()
    assert jg.jit(lambda: np.float64(3.0))() == 3


def test_static_fields_of_dataclasses():
    f = jg.jit(lambda layer, x: layer(x))
    np.testing.assert_allclose(f(Layer(X, 1.0), X), np.tanh(X * X + 1))
    np.testing.assert_allclose(f(Layer(X, 2.0), X), np.tanh(X * X + 2))
    assert f.cache_info().compilations == 1
    np.testing.assert_allclose(f(Layer(X, 1.0, "none"), X), X * X + 1)
    assert f.cache_info().compilations == 2


def kind(n):
    return ("bool", "int", "float").index(type(n).__name__)


@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: (n,), lambda n: ((n, 2), "a")])
def test_static_values_that_python_takes_for_equal(wrap):
    def inner(n):
        return inner(n[0]) if isinstance(n, tuple) else n

    f = jg.jit(lambda x, n: x * kind(inner(n)), static_argnums=1)
    assert [f(1.0, wrap(n)) for n in (True, 1, 1.0)] == [0, 1, 2]
    g = jg.jit(lambda x, n: np.copysign(x, inner(n)), static_argnums=1)
    assert [g(1.0, wrap(n)) for n in (0.0, -0.0)] == [1, -1]
    h = jg.jit(lambda x, n: x + 1, static_argnums=1)
    h(1.0, wrap(float("nan")))
    h(1.0, wrap(float("nan")))
    assert h.cache_info().compilations == 1


def test_static_fields_that_python_takes_for_equal():
    f = jg.jit(lambda s: s.x * kind(s.n))
    assert [f(Counted(1.0, n)) for n in (True, 1, 1.0)] == [0, 1, 2]


@dataclasses.dataclass
class Counted:
    x: object
    n: object = dataclasses.field(default=1, metadata={"static": True})


def test_a_dataclass_as_the_object_of_a_method_is_traced():
    @dataclasses.dataclass
    class Model:
        w: np.ndarray

        @jg.jit
        def apply(self, x):
            return self.w * x

        @jg.grad
        def loss(self, x):
            return np.sum(self.apply(x) ** 2)

    model = Model(X)
    np.testing.assert_array_equal(model.apply(2.0), 2 * X)
    model.w = X + 1
    np.testing.assert_array_equal(model.apply(2.0), 2 * (X + 1))
    assert vars(Model)["apply"]._method.cache_info().compilations == 1
    assert model.loss(1.0) == pytest.approx(2 * np.sum((X + 1) ** 2))  # with respect to x, not to the model
    assert jg.grad(lambda m, x: np.sum(m.w * x))(model, 2.0) == Model(pytest.approx(np.full(3, 2.0)))


def test_keyword_arguments_are_trees_too():
    f = jg.jit(lambda x, *, params: x * params["scale"])
    assert f(2.0, params={"scale": 3.0}) == 6
    assert f(x=2.0, params={"scale": 4.0}) == 8
    assert f.cache_info().compilations == 1


def test_variadic_functions():
    assert jg.jit(lambda *xs, **named: sum(xs) + named["y"])(1.0, 2.0, y=3.0) == 6
    assert jg.grad(lambda *xs: xs[0] * xs[1], argnums=1)(2.0, 3.0) == 2


def test_defaults_are_python_values():
    f = jg.jit(lambda x, axis=0, how="sum": np.sum(x, axis=axis))
    np.testing.assert_array_equal(f(np.ones((2, 3))), [2, 2, 2])


def test_leaf_paths():
    signature = Signature(lambda params, x, *, s: None, static_argnames=["s"])
    call = signature.split(({"w": [1.0, 2.0]}, Point(1.0, 2.0)), {"s": "q"})
    tree = flatten((call.args, call.kwargs))[1]
    assert signature.leaf_paths(tree, call) == ["params['w'][0]", "params['w'][1]", "x.x", "x.y"]
    shifted = Signature(lambda n, x: None, static_argnums=[0])
    call = shifted.split((3, [1.0]), {})
    assert shifted.leaf_paths(flatten((call.args, call.kwargs))[1], call) == ["x[0]"]
    assert call.rebuild(["new"], {}) == ([3, "new"], {})


def test_keys_of_leaves():
    for leaf in (1.5, 2, True, np.float32(1), np.int8(2), X, X.astype(np.float32), np.zeros((0, 2))):
        key, value = prepare_leaf(leaf, lambda: "x")
        spec = spec_of(key)
        assert spec.type.shape == np.shape(leaf) and spec.type.dtype == np.asarray(value).dtype
        assert spec.scalar != isinstance(value, np.ndarray)
        assert spec.weak == (type(leaf) in (float, int, bool))


def test_subclasses_of_numbers():
    class Metres(float):
        pass

    key, value = prepare_leaf(Metres(2.0), lambda: "x")
    assert key is float and type(value) is float


def test_identity():
    class Thing:
        __hash__ = None

        def __eq__(self, other):
            return True

    a, b = Thing(), Thing()
    assert Identity(a) == Identity(a) and hash(Identity(a)) == hash(Identity(a))
    assert Identity(a) != Identity(b)
    kept = Identity(a)
    del a
    assert kept.object is None and kept != Identity(b)


def test_is_tree():
    assert all(is_tree(t) for t in TREES.values())
    assert not any(is_tree(x) for x in (1.0, X, "text", object(), Layer))
    assert unflatten(flatten(TREES["nested dataclass"])[1], [X, 1.0, "any leaf"]).rate == "any leaf"


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        ("text", ArgumentError, r"argument p\['a'\] of f is of type str.*static_argnames"),
        (object(), ArgumentError, r"of type object"),
        (np.clongdouble(1j), DtypeError, r"p\['a'\] of f has dtype complex256"),
        (np.ones(2, np.longdouble), DtypeError, "float128"),
        (np.array(["a"]), DtypeError, "<U1"),
        (np.array([None]), DtypeError, "object"),
        (2**70, ArgumentError, "does not fit"),
        (np.ma.masked_array([1.0], [True]), ArgumentError, "masked"),
        (np.datetime64("2020-01-01"), DtypeError, "datetime64"),
    ],
)
def test_leaves_that_cannot_be_traced(bad, error, text):
    @jg.jit
    def f(p):
        return p["b"]

    with pytest.raises(error, match=text):
        f({"a": bad, "b": 1.0})


def test_integers_that_do_not_fit_on_the_fast_path():
    f = jg.jit(lambda n: n + 1)
    f(1)
    with pytest.raises(ArgumentError, match="does not fit"):
        f(2**63)
    assert f(2**63 - 2) == 2**63 - 1
