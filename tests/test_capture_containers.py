"""Functions that a traced function finds in containers, in partials and among static arguments."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import jitgrad as jg

SCALE = np.ones(2)


def scaled(x):
    return x * SCALE


def stacked(x):
    return np.array([x, 2 * x])


TABLE = {"scaled": scaled, "both": [scaled, stacked]}
PAIR = (scaled, stacked)


def apply(function, x):
    return function(x)


class Layer:
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)

    def forward(self, x):
        return SCALE * x

    def unused(self):
        return UNUSED


UNUSED = 0.0
LAYERS = [Layer(scaled)]
BOUND = {"forward": Layer(scaled).forward}


def of_dict(x):
    return TABLE["scaled"](x)


def of_list(x):
    return TABLE["both"][0](x)


def of_loop(x):
    for function in PAIR[:1]:
        x = function(x)
    return x


def of_reduce(x):
    return functools.reduce(lambda value, function: function(value), PAIR[:1], x)


def of_objects(x):
    for layer in LAYERS:
        x = layer(x)
    return x


def of_methods(x):
    for layer in LAYERS:
        x = layer.forward(x)
    return x


def of_bound(x):
    return BOUND["forward"](x)


def of_closure():
    functions = [scaled]
    return lambda x: next(f(x) for f in functions)


CASES = {
    "dict": of_dict,
    "list": of_list,
    "loop": of_loop,
    "reduce": of_reduce,
    "objects": of_objects,
    "methods": of_methods,
    "bound": of_bound,
    "closure": of_closure(),
    "partial": functools.partial(apply, scaled),
    "keyword of a partial": functools.partial(apply, function=scaled),
}


@pytest.mark.parametrize("name", CASES)
def test_what_functions_in_containers_read_is_guarded(name, monkeypatch):
    case = CASES[name]
    compiled = jg.jit(lambda x: case(x=x)) if name.startswith("keyword") else jg.jit(case)
    np.testing.assert_array_equal(compiled(3.0), [3.0, 3.0])
    array = np.array([2.0, 5.0])
    monkeypatch.setitem(globals(), "SCALE", array)
    np.testing.assert_array_equal(compiled(3.0), [6.0, 15.0])
    array[0] = 7.0
    np.testing.assert_array_equal(compiled(3.0), [21.0, 15.0])


def test_what_a_static_function_reads_is_guarded(monkeypatch):
    compiled = jg.jit(apply, static_argnums=0)
    np.testing.assert_array_equal(compiled(scaled, 3.0), [3.0, 3.0])
    monkeypatch.setitem(globals(), "SCALE", np.array([2.0, 5.0]))
    np.testing.assert_array_equal(compiled(scaled, 3.0), [6.0, 15.0])


def test_a_method_that_nobody_calls_is_not_watched(monkeypatch):
    compiled = jg.jit(of_methods)
    compiled(3.0)
    monkeypatch.setitem(globals(), "UNUSED", 1.0)
    compiled(3.0)
    assert compiled.cache_info().compilations == 1


def test_functions_in_containers_see_our_numpy():
    expected = [3.0, 6.0]
    np.testing.assert_array_equal(jg.jit(lambda x: TABLE["both"][1](x))(3.0), expected)
    np.testing.assert_array_equal(jg.jit(lambda x: [f(x) for f in PAIR][1])(3.0), expected)
    np.testing.assert_array_equal(jg.jit(functools.partial(apply, stacked))(3.0), expected)
    np.testing.assert_array_equal(jg.jit(apply, static_argnames="function")(stacked, 3.0), expected)


def test_a_container_without_functions_is_the_same_object():
    log = []

    def f(x):
        log.append("called")
        return x

    jg.jit(f)(1.0)
    assert log == ["called"]


def test_an_attribute_of_a_function_is_guarded():
    def f(x):
        return x * f.factor

    f.factor = 2.0
    compiled = jg.jit(f)
    assert compiled(1.0) == 2
    f.factor = 3.0
    assert compiled(1.0) == 3
