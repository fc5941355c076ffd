"""Functions rewritten from their source behave as the originals, and their control flow reaches the runtime."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import linecache
import time
import traceback
import types
import weakref
from collections.abc import Callable

import pytest
from plain_runtime import PlainRuntime, outcome, rewritten
from syntax_programs import PROGRAMS
from syntax_programs.blocks import jumps_in_try, matches, return_in_finally, return_in_loop_in_try
from syntax_programs.expressions import comprehensions
from syntax_programs.names import global_behind_an_early_return, writes_global

from jitgrad.frontend import syntax
from jitgrad.ir.location import user_location


def run(fun: Callable, *arguments: object) -> PlainRuntime:
    """The runtime after a call of the rewritten function, which must give what the original gives."""
    assert isinstance(fun, types.FunctionType)
    runtime = PlainRuntime()
    given = copy.deepcopy(arguments)
    assert outcome(rewritten(fun, runtime), given) == outcome(fun, arguments)
    return runtime


def lines_from(fun: Callable, calls: list[str]) -> list[str]:
    """Lines counted from the ``def``."""
    first = fun.__code__.co_firstlineno
    return [f"{word} {int(line) - first}" for word, line in map(str.split, calls)]


def from_text(text: str, name: str = "f", file: str = "<text>") -> types.FunctionType:
    """A function from source that the line cache knows."""
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    variables: dict = {}
    exec(compile(text, file, "exec"), variables)
    return variables[name]


@pytest.mark.parametrize("fun, arguments", PROGRAMS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_rewritten_function_does_what_the_original_does(fun: types.FunctionType, arguments: list[tuple]) -> None:
    new = rewritten(fun)
    for given in arguments:
        expected = outcome(fun, copy.deepcopy(given))
        assert outcome(new, copy.deepcopy(given)) == expected, syntax.rewritten_source(fun)


# What reaches the runtime


def test_the_state_has_what_matters_later() -> None:
    def f(n):
        s = product = 0
        last = None
        for i in range(n):
            t = i + 1  # a temporary
            product = t * 2  # written anew in each iteration, read below
            s += product
            if s > 3:
                last = t
                t = s
        return s, product, last

    states = [(what.split()[0], names) for what, names in run(f, 4).states]
    assert states[0] == ("for", ("s", "product", "last"))
    assert set(states[1:]) == {("if", ("last",))}


def test_flags_of_jumps_are_part_of_the_state() -> None:
    def f(xs):
        for x in xs:
            if x > 2:
                break
            if x == 1:
                continue
        for x in xs:
            if x > 2:
                return x
        return None

    names = [names for what, names in run(f, [0, 1, 5]).states if what.startswith("for")]
    assert names == [("_break_1",), ("_return_1", "_value_1")]


def test_a_continue_that_nothing_follows_needs_no_flag() -> None:
    def f(xs):
        s = 0
        for x in xs:
            if x < 0:
                continue
            s += x
        return s

    assert run(f, [1, -1, 2]).states[0][1] == ("s",)


def test_generated_names_keep_away_from_the_users() -> None:
    def f(xs):
        _break_1 = "mine"
        for x in xs:
            if x > 1:
                break
        return _break_1, x

    assert run(f, [1, 2, 3]).states[0][1] == ("x", "_break_2")


def test_returns_of_branches() -> None:
    def f(x):
        if x > 0:
            return 1
        if x < -5:
            y = 2
        else:
            y = 3
        return y

    assert lines_from(f, run(f, 1).calls) == ["return 1"]
    assert lines_from(f, run(f, -1).calls) == ["return 1", "if 3"]


def test_branches_without_variables_are_called_for_their_effects() -> None:
    def f(a, x):
        if x > 0:
            a.append(x)
        for i in range(x):
            a[i] = i

    first = f.__code__.co_firstlineno
    assert run(f, [], 1).states == [(f"if {first + 1}", ()), (f"for {first + 3}", ())]


def test_static_tests_stay_python() -> None:
    def f(x, mode):
        if x is mode or mode == "fast":
            return 0
        if isinstance(x, list) and hasattr(x, "append") and not callable(x):
            x = 3
        while x != 3:
            break
        return x

    assert [c.split()[0] for c in run(f, [1, 2, 3], "slow").calls] == ["while"]


def test_hints_about_writes() -> None:
    class Holder:
        data = [1, 2, 3]

    def f(a, b, c, d, holder, np):
        total = 0
        for i in range(1):
            row = a[i]
            row[0] = 1
            b[i][0] += 1
            t = [0]
            t[0] = 1
            holder.data[i] = 2
            np.copyto(c, c)
            np.maximum(c, c, out=d)
            total += 1
        else:
            later = 3
            while later < 0:
                never[0] = 1  # noqa: F821
        return total

    numpy = types.SimpleNamespace(copyto=lambda *a: None, maximum=lambda *a, out: None)
    given = [[1]], [[2]], [3], [4], Holder(), numpy
    runtime = PlainRuntime()
    rewritten(f, runtime)(*given)
    a, b, c, d, holder, _ = given
    found = runtime.hints[0]
    for value in (a, b, c, d, holder.data):
        assert any(value is h for h in found)
    assert len(found) < 9 and runtime.hints[1] == []


def test_loops_know_their_iterables() -> None:
    seen = []

    class Runtime(PlainRuntime):
        def for_(self, iterable, *others):
            seen.append(iterable)
            return super().for_(iterable, *others)

        def range_(self, function, *arguments):
            assert function is range
            return ("range", *arguments)

        def enumerate_(self, function, *arguments, **keywords):
            return ("enumerate", *arguments, keywords)

        def zip_(self, function, *arguments, **keywords):
            return ("zip", *arguments)

        def reversed_(self, function, *arguments):
            return ("reversed", *arguments)

        def collect(self, iterable, element, line, size):
            seen.append(iterable)
            return []

    def f(n):
        for _ in enumerate(zip(range(n), reversed(range(1, n, 2))), start=1):  # noqa: B905
            pass
        return [i + 1 for i in range(n)]

    rewritten(f, Runtime())(3)
    pairs = ("zip", ("range", 3), ("reversed", ("range", 1, 3, 2)))
    assert seen == [("enumerate", pairs, {"start": 1}), ("range", 3)]


def test_subscripts_reach_the_runtime() -> None:
    seen = []

    class Runtime(PlainRuntime):
        def getitem(self, value, index):
            seen.append(("get", index))
            return super().getitem(value, index)

        def setitem(self, target, index, value):
            seen.append(("set", index, value))

        def augitem(self, target, index, op, value):
            seen.append((op, index, value))

    class Anything:
        def __getitem__(self, index):
            return 7

    def f(a, i):
        a[i, :i] = a[i:, ..., None]
        a[i] @= a[0] + a[1:2, ::-1]
        a[3] -= i
        return [i, i][i]

    rewritten(f, Runtime())(Anything(), 1)
    assert seen == [
        ("get", (slice(1, None), ..., None)),
        ("set", (1, slice(None, 1)), 7),
        ("get", 0),
        ("get", (slice(1, 2), slice(None, None, -1))),
        ("@", 1, 14),
        ("-", 3, 1),
        ("get", 1),
    ]


@pytest.mark.parametrize(
    "fun, given, expected",
    [
        (writes_global, (2,), "it assigns 'counter', which is global"),
        (jumps_in_try, (1,), "it has 'break' inside 'try'"),
        (return_in_finally, (1,), "it has 'return' inside 'try'"),
        (return_in_loop_in_try, (7,), "it has 'return' inside 'try'"),
        (global_behind_an_early_return, (1,), "what follows assigns 'counter', which is global"),
        (comprehensions, (3,), "it is the condition of a comprehension"),
        (matches, ([1, 2, 3],), "it is the guard of a 'case'"),
    ],
)
def test_what_stays_python_says_why(fun: Callable, given: tuple, expected: str) -> None:
    assert expected in [reason for reason, _ in run(fun, *given).reasons]


def test_nonlocal_names_in_a_loop_are_named() -> None:
    total = 0

    def add(n):
        nonlocal total
        for i in range(n):
            total = i
        return total

    reasons = run(add, 4).reasons  # the function that owns the name is not rewritten
    assert reasons == [("it assigns 'total', which is nonlocal", add.__code__.co_firstlineno + 2)]


def test_nonlocal_names_of_a_rewritten_function_are_handed_over() -> None:
    def f(n):
        def outer(k):
            def add(k):
                nonlocal total, last
                for i in range(k):
                    if i % 2:
                        total += i
                        continue
                    while total > 5 * i:
                        total -= k
                        last = i
                    skip()

            def skip():
                nonlocal total
                total = total + 1 if total else total

            add(k)
            return total

        last = total = 10
        return outer(n), total, last

    def late(n):  # bound only by the closure, which may not do so
        def find():
            nonlocal found
            for i in range(n):
                if i > 3:
                    found = i
                    break

        find()
        return found  # noqa: F821
        found = 0

    assert run(f, 5).reasons == run(late, 6).reasons == run(late, 2).reasons == []


# Code objects


def test_the_code_fits_the_function() -> None:
    def f(a, /, b, *rest, c=3, **others):
        for i in range(b):
            rest += (outer, i)
        return rest

    outer = "outer"
    code = syntax.rewrite(f)
    assert code is not None
    names = ("co_name", "co_qualname", "co_filename", "co_firstlineno", "co_flags", "co_freevars", "co_argcount")
    for name in (*names, "co_posonlyargcount", "co_kwonlyargcount"):
        assert getattr(code, name) == getattr(f.__code__, name), name
    assert inspect.signature(rewritten(f)).parameters.keys() == inspect.signature(f).parameters.keys()
    assert rewritten(f)(1, 2) == ("outer", 0, "outer", 1)


def test_a_decorated_function_starts_where_it_did() -> None:
    def decorate(fun):
        return fun

    @decorate
    @functools.partial(
        lambda fun: fun,
    )
    def f(x):
        return 1 if x else 2

    code = syntax.rewrite(f)
    assert code is not None and code.co_firstlineno == f.__code__.co_firstlineno
    assert list(code.co_lines())[-1][2] == list(f.__code__.co_lines())[-1][2]


def test_errors_show_the_users_lines() -> None:
    def f(n):
        for i in range(n):
            while i < 3:
                if i == 0:
                    return 1 // i
        return 0

    with pytest.raises(ZeroDivisionError) as caught:
        rewritten(f)(1)
    frames = [s for s in traceback.extract_tb(caught.tb) if s.filename == __file__][1:]
    first = f.__code__.co_firstlineno
    assert [(s.name, s.lineno - first) for s in frames if s.lineno] == [
        ("f", 1),
        (f"f.for_{first + 1}", 2),
        (f"f.while_{first + 2}", 3),
        (f"f.if_{first + 3}", 4),
    ]
    assert frames[-1].line == "return 1 // i"
    columns = frames[-1].colno, frames[-1].end_colno
    assert columns == (27, 33)


def test_user_location_inside_of_generated_functions() -> None:
    def f(found, n):
        for _ in range(n):
            found.append(user_location())
            found.append(n and user_location())

    found: list = []
    rewritten(f)(found, 1)
    first = f.__code__.co_firstlineno
    assert [(p.file, p.line - first) for p in found] == [(__file__, 2), (__file__, 3)]
    assert found[0].function == f"f.for_{first + 1}" and found[1].function == "f"


def test_assertions_rewritten_by_pytest_are_no_obstacle() -> None:
    def f(x):
        assert x > 0, "small"
        return x

    code = syntax.rewrite(f)
    assert code is not None
    with pytest.raises(AssertionError, match=r"^small$"):
        rewritten(f)(0)


def test_results_are_cached_and_not_rewritten_again() -> None:
    def f(n):
        def inner(k):
            return k and n

        return inner

    code = syntax.rewrite(f)
    assert code is not None and syntax.rewrite(f) is code
    new = rewritten(f)
    assert syntax.rewrite(new) is None and syntax.why_not(code) is None
    assert syntax.rewrite(new(1)) is None and new(1)(2) == 1


def test_equal_functions_of_two_files_are_kept_apart() -> None:
    text = "def f(x):\n    return x and 1\n"
    one, two = from_text(text, file="<one>"), from_text(text, file="<two>")
    for fun in (one, two, one):
        code = syntax.rewrite(fun)
        assert code is not None and code.co_filename == fun.__code__.co_filename


def test_the_cache_holds_no_functions() -> None:
    fun = from_text("def f(x):\n    return x and 1\n", file="<dropped>")
    assert syntax.rewrite(fun) is not None
    code = weakref.ref(fun.__code__)
    del fun
    gc.collect()
    assert code() is None


# What is left alone


def test_nothing_to_do() -> None:
    def f(x, y):
        z = max(x, 2 * 3), x
        return max(y, z)

    assert syntax.rewrite(f) is None and syntax.why_not(f.__code__) is None


def test_no_source() -> None:
    variables: dict = {}
    exec(compile("def f(x):\n    return x and 1", "<nowhere>", "exec"), variables)
    assert syntax.rewrite(variables["f"]) is None
    assert syntax.why_not(variables["f"].__code__) == "its source is not available"


def test_another_source() -> None:
    text = "def f(x):\n    return x and {}\n"
    fun = from_text(text.format(1), file="<changed>")
    changed = text.format(1.0)
    linecache.cache["<changed>"] = (len(changed), None, changed.splitlines(keepends=True), "<changed>")
    assert syntax.rewrite(fun) is None
    assert syntax.why_not(fun.__code__) == "its source is not the one that it was compiled from"


def test_generators_and_coroutines() -> None:
    def generator(n):
        for i in range(n):
            yield i + 1

    async def coroutine(n):
        return n and 1

    async def both(n):
        yield n and 1

    for fun, reason in ((generator, "a generator"), (coroutine, "a coroutine"), (both, "an asynchronous generator")):
        assert syntax.rewrite(fun) is None
        assert syntax.why_not(fun.__code__) == f"it is {reason}"


def test_functions_that_look_at_their_variables() -> None:
    def f(n):
        for _ in range(n):
            x = locals()
        return x

    def g(n):
        return n and eval("n")

    assert syntax.rewrite(f) is None and syntax.why_not(f.__code__) == "it calls locals()"
    assert syntax.rewrite(g) is None and syntax.why_not(g.__code__) == "it calls eval()"


def test_reserved_names() -> None:
    fun = from_text("def f(_jg_x):\n    return _jg_x and 1\n")
    assert syntax.rewrite(fun) is None
    assert "'_jg_'" in (syntax.why_not(fun.__code__) or "")


def test_lambdas_of_one_line_are_told_apart() -> None:
    one, two = (lambda x: x and 1), (lambda x: x and 1)  # fmt: skip
    three, four = (lambda x: x and 1), (lambda x: x or 1)
    for fun in (one, two, three, four):
        code = syntax.rewrite(fun)
        assert code is not None
        columns = {p[2] for p in fun.__code__.co_positions() if p[2] is not None}
        assert columns & {p[2] for p in code.co_positions()} == columns
    assert rewritten(four)(0) == 1 and rewritten(three)(0) == 0


@pytest.mark.parametrize(
    "text",
    [
        "f = lambda x: x and 1\n",
        "g, f = [lambda x: (x\n    and 1), lambda x: x or\\\n 2]\n",
        "class C:\n  if 1:\n    f = lambda self, é='é', x=1: 'é' and é and x\nf = C.f\n",
        "class C:\n\tdef f(self, x=1):\n\t\ts = '''\n  text'''\n\t\treturn x and s\nf = C.f\n",
        "def f(x): return x and 1\n",
    ],
)
def test_source_in_odd_places(text: str) -> None:
    fun = from_text(text, file=f"<odd {text}>")
    for x in (0, 5):
        assert rewritten(fun)(x) == fun(x)


def test_private_names_of_a_class() -> None:
    class Private:
        __scale = 3

        def value(self, __n):
            __total = 0
            for __i in range(__n):
                __total += self.__scale * __i
            return __total

    assert rewritten(Private.value)(Private(), 4) == Private().value(4) == 18


def test_time_grows_with_the_length_of_the_source() -> None:
    part = """
    for i in range(n):
        for j in range(i):
            if A[i, j] > b and not s < 3:
                s += A[i, j - 1] * 0.5 + A[i, :j] @ A[j, :j]
            A[i, j] = s / (A[j, j] + 1)
    x = s if s > 3 else b
"""

    def seconds(parts: int, attempt: int) -> float:
        text = "def f(A, b, n):\n    s = 0.0" + part * parts + "    return s\n"
        fun = from_text(text, file=f"<long {parts} {attempt}>")
        start = time.process_time()
        assert syntax.rewrite(fun) is not None
        return time.process_time() - start

    short, long = (min(seconds(parts, k) for k in range(3)) for parts in (5, 40))
    assert long < 25 * short
    assert long < 1.0


def test_what_is_nested_too_deeply_is_left_alone() -> None:
    text = "def f(x):\n" + "    if x < 1:\n        return x\n    x = x - 1\n" * 400
    fun = from_text(text)
    assert syntax.rewrite(fun) is None
    assert syntax.why_not(fun.__code__) == "it is nested too deeply"
