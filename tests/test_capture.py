"""Captured values are constants with guards; NumPy means jitgrad.numpy in traced functions."""

from __future__ import annotations

import array
import collections
import functools
import math
import types

import numpy as np
import pytest
from numpy import zeros as make_zeros

import jitgrad as jg
from jitgrad.frontend.capture import Recorder
from jitgrad.frontend.guards import Array, Equal, first_change, snapshot
from jitgrad.frontend.reads import reads_of
from jitgrad.frontend.usercode import is_user_class, is_user_file, is_user_function, is_user_module

WEIGHTS = np.array([1.0, 2.0, 3.0])
SCALE = 2.0
TABLE = {"a": [1.0, np.ones(2)], "name": "relu"}
X = np.ones(3)


class Settings:
    factor = 3.0

    def __init__(self):
        self.rate = 0.5
        self.unused = 1.0
        self.inner = types.SimpleNamespace(depth=2.0)

    @property
    def double(self):
        return 2 * self.rate

    def times(self, x):
        return x * self.rate * SCALE


settings = Settings()


def helper(x):
    return x * SCALE


def compilations(f):
    return f.cache_info().compilations


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    """Tests rebind globals of this module; bring them back."""
    for name in ("WEIGHTS", "SCALE", "TABLE", "settings", "helper"):
        monkeypatch.setitem(globals(), name, globals()[name])
    monkeypatch.setitem(globals(), "WEIGHTS", np.array([1.0, 2.0, 3.0]))
    monkeypatch.setitem(globals(), "settings", Settings())
    monkeypatch.setitem(globals(), "TABLE", {"a": [1.0, np.ones(2)], "name": "relu"})


# -- guards -----------------------------------------------------------------------------------------------------------


def test_a_global_array_that_is_rebound_or_written():
    f = jg.jit(lambda x: x * WEIGHTS)
    for _ in range(3):
        np.testing.assert_array_equal(f(X), [1, 2, 3])
    assert compilations(f) == 1
    WEIGHTS[0] = 7
    np.testing.assert_array_equal(f(X), [7, 2, 3])
    globals()["WEIGHTS"] = np.zeros(3)
    np.testing.assert_array_equal(f(X), [0, 0, 0])
    assert compilations(f) == 3
    text = f.explain(X)
    assert "recompiled, because WEIGHTS changed its contents" in text
    assert "recompiled, because WEIGHTS was rebound" in text


def test_a_big_array_that_is_written_at_its_end():
    big = np.zeros(10_000)
    f = jg.jit(lambda x: np.sum(big * x))
    assert f(2.0) == 0
    big[-1] = 1
    assert f(2.0) == 2
    big[-1] = np.nan
    assert np.isnan(f(2.0)) and np.isnan(f(2.0))
    assert compilations(f) == 3


def test_a_value_that_changes_back_finds_its_program():
    f = jg.jit(lambda x: x * SCALE)
    for scale in (2.0, 5.0, 2.0, 5.0):
        globals()["SCALE"] = scale
        assert f(1.0) == scale
    assert compilations(f) == 2


@pytest.mark.parametrize("path", ["fast", "tree", "static"])
def test_guards_on_every_path(path):
    f = jg.jit(lambda x, how="": x[0] * SCALE, static_argnames="how")
    call = {"fast": lambda: f(X), "tree": lambda: f([2.0]), "static": lambda: f(X, how="s")}[path]
    before = call()
    assert call() == before
    globals()["SCALE"] = 10.0
    assert call() == 5 * before


def test_functions_that_are_called():
    f = jg.jit(lambda x: helper(x) + 1)
    assert f(1.0) == 3
    globals()["SCALE"] = 5.0
    assert f(1.0) == 6
    globals()["helper"] = lambda x: -x
    assert f(1.0) == 0
    assert "recompiled, because helper was rebound" in f.explain(1.0)


def test_code_that_is_replaced_in_place():
    def g(x):
        return x + 1

    f = jg.jit(lambda x: g(x))
    assert f(1.0) == 2
    g.__code__ = (lambda x: x + 5).__code__
    assert f(1.0) == 6


def test_closures():
    a = np.ones(3)

    def scaled(x):
        return x * a

    f = jg.jit(scaled)
    np.testing.assert_array_equal(f(X), X)
    a[1] = 4
    np.testing.assert_array_equal(f(X), [1, 4, 1])
    a = np.zeros(3)
    np.testing.assert_array_equal(f(X), [0, 0, 0])
    assert compilations(f) == 3


def test_containers_are_compared_leaf_by_leaf():
    f = jg.jit(lambda x: x * TABLE["a"][0] + np.sum(TABLE["a"][1]))
    assert f(1.0) == 3
    TABLE["a"][1][0] = 5
    assert f(1.0) == 7
    TABLE["a"][0] = 2.0
    assert f(1.0) == 8
    TABLE["a"].append(1)
    assert f(1.0) == 8
    assert compilations(f) == 4
    assert "TABLE['a'][1] changed its contents" in f.explain(1.0)


def test_attributes_that_are_read():
    f = jg.jit(lambda x: x * settings.rate * settings.inner.depth * settings.factor)
    assert f(1.0) == 3
    settings.unused = 5.0
    assert f(1.0) == 3 and compilations(f) == 1
    settings.rate = 1.0
    assert f(1.0) == 6
    settings.inner.depth = 1.0
    assert f(1.0) == 3
    settings.factor = 1.0  # hides that of the class
    assert f(1.0) == 1
    assert "recompiled, because settings.inner.depth changed from 2.0 to 1.0" in f.explain(1.0)


def test_properties_and_methods():
    f = jg.jit(lambda x: settings.times(x) + settings.double)
    assert f(1.0) == 2
    settings.rate = 1.0
    assert f(1.0) == 4
    globals()["SCALE"] = 0.0  # read by the method
    assert f(1.0) == 2
    assert compilations(f) == 3


def test_an_object_that_is_passed_on_is_compared_whole():
    def use(s, x):
        return x * s.rate

    f = jg.jit(lambda x: use(settings, x))
    assert f(1.0) == 0.5
    settings.rate = 2.0
    assert f(1.0) == 2


def test_callable_objects():
    class Scaler:
        def __init__(self, k):
            self.k = k

        def __call__(self, x):
            return x * self.k

    scaler = Scaler(2.0)
    direct, through = jg.jit(scaler), jg.jit(lambda x: scaler(x))
    assert direct(1.0) == through(1.0) == 2
    scaler.k = 3.0
    assert direct(1.0) == through(1.0) == 3


def test_bound_methods_and_partials():
    method, partial = jg.jit(settings.times), jg.jit(functools.partial(lambda a, x: a * x, WEIGHTS))
    assert method(1.0) == 1
    settings.rate = 2.0
    assert method(1.0) == 4
    np.testing.assert_array_equal(partial(X), [1, 2, 3])
    WEIGHTS[0] = 5
    np.testing.assert_array_equal(partial(X), [5, 2, 3])


def test_default_arrays_are_guarded():
    a = np.ones(3)
    f = jg.jit(lambda x, a=a: x * a)
    np.testing.assert_array_equal(f(X), X)
    a[0] = 9
    np.testing.assert_array_equal(f(X), [9, 1, 1])


def test_what_inner_transformed_functions_capture():
    inner = jg.grad(lambda x: x**2 * SCALE)
    f = jg.jit(lambda x: inner(x) + inner(3.0))
    assert f(1.0) == 16
    globals()["SCALE"] = 1.0
    assert f(1.0) == 8


VIEWS = {
    "slice": lambda a, i: a[i : i + 4],
    "row": lambda a, i: a.reshape(10, 4)[i // 4],
    "reversed": lambda a, i: a[::-1][i : i + 4],
    "transposed": lambda a, i: a.reshape(4, 10).T[i // 4],
    "reshaped": lambda a, i: a[i : i + 4].reshape(2, 2).ravel(),
}


@pytest.mark.parametrize("loops", ["roll", "unroll"])
@pytest.mark.parametrize("name", VIEWS)
def test_views_that_an_inner_function_reads_first(name, loops):
    """What it reads is computed outside, and the outer function may read it again."""
    x, view = np.random.default_rng(0).normal(size=40), VIEWS[name]

    def descend(w, order, slope):
        total = 0.0
        for i in range(0, 40, 4):
            batch = view(order, i)
            w = w - 0.1 * slope(lambda v, batch=batch: np.sum((x[batch] * v - 1) ** 2), w, batch)
            total = total + np.sum(batch)
        return w, total

    order = np.random.default_rng(1).permutation(40)
    traced = jg.jit(lambda w: descend(w, order + 0, lambda f, w, batch: jg.grad(f)(w)), loops=loops)
    expected = descend(0.5, order, lambda f, w, batch: np.sum(2 * (x[batch] * w - 1) * x[batch]))
    np.testing.assert_allclose(traced(0.5), expected)


def test_read_only_arrays_are_not_compared():
    fixed = np.frombuffer(np.ones(3).tobytes())
    assert not Array(fixed).writable
    assert Array(np.ones(3)).writable
    view = np.ones(3)[:2]
    view.flags.writeable = False
    assert Array(view).writable, "its base can be written"
    f = jg.jit(lambda x: x * fixed)
    assert "fixed: array float64(3,), read-only" in f.explain(X)


def test_state_that_the_function_changes_itself_is_not_guarded():
    log, count = [], {"n": 0}

    @jg.jit
    def f(x):
        log.append(x.shape)
        count["n"] += 1
        return x

    f(1.0), f(2.0)
    assert log == [()] and count == {"n": 1} and compilations(f) == 1
    assert "count['n'] changed from 0 to 1 while f was traced: not guarded" in f.explain(1.0)


def test_the_usual_function_has_no_guards():
    recorder = Recorder()
    f = recorder.prepare(lambda x: np.sum(np.linalg.norm(x) * math.pi) + len("ab"))
    assert f(np.array([3.0, 4.0])) == pytest.approx(5 * math.pi + 2)
    assert recorder.guards == ()


def test_equal_scalars():
    for a, b, same in [
        (1.0, 1.0, True),
        (1.0, 1, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        ("a", "b", False),
        (True, 1, False),
        (np.float32(1), np.float64(1), False),
        (slice(1, 2), slice(1, 2), True),
    ]:
        assert (Equal(a).change(b) is None) == same, (a, b)


def test_snapshots_of_cycles_end():
    loop = [1.0]
    loop.append(loop)
    before = snapshot(loop)
    assert before.change(loop) is None
    loop[0] = 2.0
    assert before.change(loop) == "[0] changed from 1.0 to 2.0"


def test_a_value_that_is_gone():
    holder = types.SimpleNamespace(k=2.0)
    f = jg.jit(lambda x: x * holder.k)
    assert f(1.0) == 2
    program = next(iter(f._programs.values()))[0]
    assert first_change(program.guards) is None
    del holder.k
    assert first_change(program.guards) == "holder.k is gone"
    with pytest.raises(AttributeError):
        f(1.0)


# -- substitution -----------------------------------------------------------------------------------------------------


def build(x):
    out = np.zeros(3)
    return np.array([x, 2 * x, x**2]) + out


def test_numpy_functions_that_do_not_dispatch():
    np.testing.assert_array_equal(jg.jit(build)(3.0), [3, 6, 9])
    np.testing.assert_array_equal(jg.jacobian(build)(3.0), [1, 2, 6])


def test_called_functions_are_substituted_too():
    def outer(x):
        return [np.sum(build(y)) for y in (x, x + 1)]

    assert jg.jit(outer)(1.0) == [4.0, 10.0]


def test_names_imported_from_numpy():
    @jg.jit
    def f(x):
        import numpy.linalg as la
        from numpy import array

        return la.norm(array([x, x])) + make_zeros(2)[0]

    assert f(3.0) == pytest.approx(np.sqrt(18))


def test_recursive_functions():
    def power(x, n):
        return x if n == 1 else np.array([x])[0] * power(x, n - 1)

    assert jg.jit(power, static_argnums=1)(2.0, 5) == 32

    def local(x):
        def inner(y, n):
            return y if n == 0 else inner(np.asarray([y])[0] + 1, n - 1)

        return inner(x, 3)

    assert jg.jit(local)(1.0) == 4


def test_decorated_user_functions():
    def twice(g):
        @functools.wraps(g)
        def wrapper(x):
            return g(np.asarray(g(x)))

        return wrapper

    @twice
    def add(x):
        return np.array([x, x])[0] + 1

    assert jg.jit(lambda x: add(x))(1.0) == 3


counter = 0


def counting(x):
    global counter
    counter += 1
    return x * SCALE


def test_functions_that_assign_globals_run_as_they_are():
    before = counter
    f = jg.jit(counting)
    assert f(1.0) == 2 and f(1.0) == 2
    assert counter == before + 1
    globals()["SCALE"] = 4.0
    assert f(1.0) == 4


def test_nonlocal_variables_are_shared():
    total = 0.0

    def add(x):
        nonlocal total
        total = total + 1
        return x

    jg.jit(lambda x: add(x) * 2)(1.0)
    assert total == 1


def test_classes_and_comprehensions_inside():
    @jg.jit
    def f(x):
        class Box:
            def __init__(self, v):
                self.v = np.array([v])

        return sum(Box(x * k).v[0] for k in range(3))

    assert f(2.0) == 6


def test_functions_in_default_values_see_substitutes(monkeypatch):
    def total(n):
        return np.sum(np.array([n, 2 * n]))

    def f(x, inner=total, *, outer=total):
        return inner(x) + outer(x)

    assert jg.grad(f)(2.0) == 6.0

    def scaled(x):
        return x * settings.rate

    gradient = jg.grad(lambda x, g=scaled: g(x))
    for rate in (3.0, 4.0):
        monkeypatch.setattr(settings, "rate", rate)
        assert gradient(1.0) == rate


# -- reading bytecode -------------------------------------------------------------------------------------------------


def test_reads():
    def f(a, b):
        local = a.first.second + settings.rate
        return [SCALE * b[k].size for k in range(3)], local.real, lambda: a.third

    reads = reads_of(f.__code__)
    assert reads.globals["settings"] == {("rate",)}
    assert reads.globals["SCALE"] == {()}
    assert reads.locals["a"] == {("first", "second"), ("third",)}
    assert reads.locals["b"] == {()}
    assert not reads.stores_globals and not reads.uses_super
    assert reads_of(counting.__code__).stores_globals


def test_user_code():
    assert is_user_file(__file__) and is_user_file("<stdin>") and not is_user_file(np.__file__)
    assert not is_user_file(functools.__file__) and not is_user_file(jg.__file__)
    assert is_user_function(helper) and not is_user_function(np.mean) and not is_user_function(np.sin)
    assert is_user_class(Settings) and not is_user_class(np.ndarray) and not is_user_class(jg.Builder)
    assert not is_user_module(np) and not is_user_module(math) and not is_user_module(jg)


# -- guards found wanting once ----------------------------------------------------------------------------------------


class Rates:
    lr = 2.0

    def scale(self):
        return 2.0


@pytest.fixture
def rates(monkeypatch):
    monkeypatch.setattr(Rates, "lr", 2.0)
    return Rates()


@pytest.mark.parametrize("form", ["attribute", "getattr", "in a list", "nested", "the class", "the class in a list"])
def test_class_attributes_are_guarded(rates, form, monkeypatch):
    box, classes, outer, cls = [rates], [Rates], types.SimpleNamespace(inner=rates), Rates
    f = jg.jit(
        {
            "attribute": lambda x: x * rates.lr,
            "getattr": lambda x: x * getattr(rates, "lr"),  # noqa: B009
            "in a list": lambda x: x * box[0].lr,
            "nested": lambda x: x * outer.inner.lr,
            "the class": lambda x: x * cls.lr,
            "the class in a list": lambda x: x * classes[0].lr,
        }[form]
    )
    assert f(1.0) == 2
    monkeypatch.setattr(Rates, "lr", 3.0)
    assert f(1.0) == 3
    assert f.cache_info().compilations == 2
    rates.lr = 4.0
    assert f(1.0) == (3 if "class" in form else 4)


def test_a_method_that_is_replaced(rates, monkeypatch):
    f = jg.jit(lambda x: x * rates.scale())
    assert f(1.0) == 2
    monkeypatch.setattr(Rates, "scale", lambda self: 5.0)
    assert f(1.0) == 5


def test_other_containers_are_guarded():
    for box in (types.MappingProxyType({0: np.ones(2)}), collections.deque([np.ones(2)])):
        f = jg.jit(lambda x, box=box: x * box[0])
        g = jg.jit(functools.partial(lambda box, x: x * box[0], box))
        for h in (f, g):
            box[0][0] = 1
            np.testing.assert_array_equal(h(np.ones(2)), [1, 1])
            box[0][0] = 3
            np.testing.assert_array_equal(h(np.ones(2)), [3, 1])
    for raw in (bytearray([1, 2]), array.array("d", [1.0, 2.0])):
        f = jg.jit(lambda x, raw=raw: x * raw[0])
        assert f(2.0) == 2
        raw[0] = 5
        assert f(2.0) == 10


def test_a_name_that_was_not_defined(monkeypatch):
    @jg.jit
    def f(x):
        try:
            return x * NOT_YET_DEFINED
        except NameError:
            return x

    assert f(2.0) == 2
    assert "NOT_YET_DEFINED: not defined" in f.explain(2.0)
    monkeypatch.setitem(globals(), "NOT_YET_DEFINED", 3.0)
    assert f(2.0) == 6


def test_defaults_that_can_change_are_guarded_and_others_cost_nothing():
    weights = np.ones(2)

    def f(x, axes=(0, 1), names=frozenset("ab"), pair=(weights, 2.0)):
        return np.sum(x * pair[0]) + len(axes) + len(names)

    g = jg.jit(f)
    assert g(np.ones(2)) == 6
    assert [guard.name for guard in next(iter(g._programs.values()))[0].guards] == ["f(pair=...)"]
    weights[0] = 5
    assert g(np.ones(2)) == 10
