"""Functions written out for one structure do what optree's do for any."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jitgrad as jg
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.unpacking import builder, unpacker

Point = collections.namedtuple("Point", "x y")
KEYS = st.sampled_from(["a", "b", "class", 0, 1, ("t", 2)])
TREES = st.recursive(
    st.one_of(st.floats(allow_nan=False), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.builds(Point, inner, inner),
    ),
    max_leaves=8,
)
ARGS = st.lists(TREES, max_size=3).map(tuple)
KWARGS = st.dictionaries(st.sampled_from(["p", "q"]), TREES, max_size=2)


@settings(max_examples=150, deadline=None)
@given(ARGS, KWARGS)
def test_unpacks_and_builds_as_optree_does(args, kwargs):
    leaves, tree = flatten((args, kwargs))
    unpack = unpacker(tree, range(len(leaves)))
    found = unpack(args, kwargs)
    assert type(found) is tuple and list(found) == leaves
    for part in (*args, *kwargs.values()):
        flat, shape = flatten(part)
        made = builder(shape)(flat)
        assert made == part and type(made) is type(part)
        assert flatten(made)[1] == shape


@settings(max_examples=150, deadline=None)
@given(ARGS, KWARGS, ARGS, KWARGS)
def test_another_structure_is_seen(args, kwargs, other, others):
    """Of what has equal types of arguments and equal names: the function is looked up by those."""
    leaves, tree = flatten((args, kwargs))
    if [*map(type, args)] != [*map(type, other)] or [*kwargs] != [*others]:
        return
    found = unpacker(tree, range(len(leaves)))(other, others)
    assert found is None or flatten((other, others))[1] == tree or any(flatten(x)[1] != flatten(0)[1] for x in found)


def test_leaves_in_another_order():
    tree = flatten(((1, [2, 3]), {"k": 4}))[1]
    assert unpacker(tree, [3, 0, 2, 1])((1, [2, 3]), {"k": 4}) == (4, 1, 3, 2)
    point = flatten(((Point(1, 2),), {}))[1]
    assert unpacker(point, [1, 0])((Point(1, 2),), {}) == (2, 1)


def test_dicts_in_another_order_are_another_structure():
    unpack = unpacker(flatten((({"a": 1, "b": 2},), {}))[1], range(2))
    assert unpack(({"a": 3, "b": 4},), {}) == (3, 4)
    assert unpack(({"b": 3, "a": 4},), {}) is None
    assert unpack(({"a": 3},), {}) is None
    assert unpack((collections.OrderedDict(a=3, b=4),), {}) is None


def test_large_structures():
    big = [[float(k)] for k in range(300)]
    leaves, tree = flatten(((big,), {}))
    assert unpacker(tree, range(300))((big,), {}) == tuple(leaves)
    assert builder(flatten(big)[1])(leaves) == unflatten(flatten(big)[1], leaves)


@pytest.mark.parametrize("transform", [jg.jit, lambda f: jg.grad(f, argnums=(0, 1))])
def test_arguments_by_name_in_any_order(transform):
    fun = transform(lambda x, y: np.sum(x * x * y))
    x, y = np.array([1.0, 2.0]), np.array([5.0, 7.0])
    expected = fun(x, y)
    for _ in range(3):
        np.testing.assert_array_equal(fun(y=y, x=x), expected)
        np.testing.assert_array_equal(fun(x=x, y=y), expected)
        np.testing.assert_array_equal(fun(x, y=y), expected)


def test_many_shapes_keep_their_fast_ways():
    fun = jg.jit(lambda tree: {"sum": np.sum(tree["x"]), "rest": (tree["y"], None)})
    trees = [{"x": np.arange(float(n)), "y": float(n)} for n in range(2, 8)]
    for _ in range(3):
        for tree in trees:
            assert fun(tree) == {"sum": np.sum(tree["x"]), "rest": (tree["y"], None)}
    assert fun.cache_info().compilations == len(trees)
