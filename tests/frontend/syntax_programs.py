"""Functions to be rewritten, with arguments to call them with. Not a test module: pytest leaves its assertions alone.

Many are odd on purpose: the rewritten function has to do what the original does, mistakes included.
"""

# ruff: noqa
# fmt: off

from __future__ import annotations

import contextlib
import functools
import math
import types
from collections.abc import Callable
from typing import Any

#: The function and its argument tuples.
PROGRAMS: list[tuple[Callable, list[tuple]]] = []
GLOBAL = 3
counter = 0


def case(*arguments: tuple) -> Callable:
    def register(fun: Callable) -> Callable:
        PROGRAMS.append((fun, list(arguments)))
        return fun

    return register


# Loops and jumps


@case((0,), (1,), (5,))
def for_simple(n):
    s = 0
    for i in range(n):
        s += i * i
    return s


@case((0,), (3,))
def for_target_after(n):
    for i in range(n):
        pass
    return i


@case(([],), ([1, 2],), ([1, 5, 2],))
def for_break_else(xs):
    for x in xs:
        if x > 3:
            found = x
            break
    else:
        found = None
    return found, x


@case((10, 3), (10, 30), (0, 1))
def for_continue(n, k):
    out = []
    for i in range(n):
        if i % 2:
            continue
        if i > k:
            break
        out.append(i)
    return out


@case((5,), (0,))
def for_continue_in_the_middle(n):
    a = b = c = 0
    for i in range(n):
        a += 1
        if i > 1:
            b += 1
            if i > 2:
                continue
            b += 10
        c += 1
    return a, b, c


@case(([[1, 2], [3, -1, 4]],), ([[1], [2]],), ([],))
def for_return_nested(rows):
    for row in rows:
        for x in row:
            if x < 0:
                return row, x
        last = row
    return last


@case((6, 6), (3, 1), (0, 0))
def nested_break_continue_else(n, m):
    log = []
    for i in range(n):
        for j in range(m):
            if j == i:
                continue
            if j > i + 1:
                break
            log.append((i, j))
        else:
            log.append("else")
            if i == 2:
                continue
            log.append("more")
        log.append(("end", i, j))
        if i == 4:
            break
    else:
        log.append("outer else")
    return log


@case((8,), (2,), (0,))
def return_from_else(n):
    for i in range(n):
        for j in range(i):
            if i * j == 6:
                return "found", i, j
        else:
            if i == 5:
                return "else", i
    return "none"


@case((7,), (1,), (0,))
def while_loop(n):
    k, steps = 1, 0
    while k < n:
        k *= 2
        steps += 1
    return k, steps


@case((27,), (1,))
def collatz(n):
    steps = 0
    while True:
        if n == 1:
            break
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


@case((2.0, 1e-9), (0.5, 1e-3))
def newton(x, tol):
    y = x
    while True:
        z = 0.5 * (y + x / y)
        if abs(z - y) < tol:
            return z
        y = z


@case((5,), (0,), (50,))
def while_else_break_continue(n):
    i = 0
    out = []
    while i < n:
        i += 1
        if i == 3:
            continue
        if i == 10:
            break
        out.append(i)
    else:
        out.append("else")
    return out


@case((3,), (9,))
def while_with_jump_only(n):
    while n:
        n -= 1
        if n == 4:
            return "four"
        continue
    else:
        return "zero"
    return "never"


@case((0,), (1,), (2,), (3,))
def loops_that_run_once(n):
    for i in range(3):
        if n == 0:
            return "a"
        elif n == 1:
            break
        elif n == 2:
            continue
        return "b", i
    return "c", i


@case((4,), (1,))
def three_deep(n):
    s = 0
    for i in range(n):
        for j in range(n):
            for k in range(n):
                if k == j:
                    break
                if i == k:
                    continue
                if i + j + k == 7:
                    return s
                s += i * j + k
    return -s


@case((4,))
def loop_rebinds_its_iterable(n):
    xs = range(n)
    s = 0
    for xs in xs:
        s += xs
    return s, xs


@case((3,))
def bound_changes_in_the_loop(n):
    s = 0
    for i in range(n):
        n = n + 1
        s += n
    return s, n


@case(([1, 2, 3],))
def list_grows(xs):
    for x in xs:
        if len(xs) < 6:
            xs.append(x * 10)
    return xs


@case((5,))
def dead_code(n):
    for i in range(n):
        if i > 2:
            break
            i = 100
        else:
            continue
            i = 200
        i = 300
    return i
    n = 3


@case(([3, 4],), ([],))
def temporaries(xs):
    s = 0
    for x in xs:
        t = x + 1
        u = t * t
        s = s + u
    t = "other"
    return s, t


@case((3,), (0,))
def temporary_read_after(n):
    for i in range(n):
        t = i * 2
    return t


# Branches and returns


@case((1,), (-1,), (0,))
def early_returns(x):
    if x > 0:
        return "positive"
    if x < 0:
        return "negative"
    y = x + 1
    return y


@case((1, 2), (2, 1), (1, 1))
def elif_chain(a, b):
    if a > b:
        c = 1
    elif a < b:
        c = 2
        d = 5
    else:
        c = 3
    return c


@case((1,), (-1,))
def bound_in_one_branch(x):
    if x > 0:
        y = 1
    return y


@case((1,), (-1,))
def returns_in_both_and_rest(x):
    if x > 0:
        x = x + 1
        return x
    else:
        x = x - 1
    z = x * 2
    return z


@case((1, 1), (1, -1), (-1, 1), (-1, -1))
def returns_that_may_fall(a, b):
    if a > 0:
        if b > 0:
            return "both"
        a = 10
    else:
        a = 20
    if b > a:
        return "big"
    return a, b


@case((1, None), (-1, None), (1, 2), (-1, 2))
def static_test_around_return(x, option):
    if option is None:
        if x > 0:
            return "none"
        x = 5
    x = x + 1
    if option is not None:
        x = x + option
    return x


@case((1,), (-1,))
def no_value(x):
    if x > 0:
        return
    x = 3


@case((1,), (-1,))
def swaps_in_branches(x):
    a, b = 1, 2
    if x > 0:
        a, b = b, a
        t = a
    else:
        t = b
        b = a + b
    return a, b, t


@case((1,), (-1,))
def rebinds_what_the_other_branch_reads(x):
    t = 5
    if x > 0:
        t = t + 1
        y = t
    else:
        y = t
    return y


@case((1,), (-1,))
def return_branches_rebind(x):
    if x > 0:
        x = x + 1
        return x
    return x


@case((3,), (5,), (-2,))
def nested_ifs_with_jumps_in_loop(n):
    total = 0
    for i in range(10):
        if i > n:
            if i % 2:
                if n < 0:
                    return "negative"
                break
            elif n == 4:
                continue
            total += 100
        total += 1
    return total, i


@case((2,))
def only_static(n):
    if n is None:
        return 0
    if isinstance(n, int):
        n = n + 1
    for _ in range(2):
        n += 1
    return n


# Names: unbound, deleted, global, nonlocal, closures


@case((True,), (False,))
def unbound_read(flag):
    if flag:
        x = 1
    for i in range(2):
        y = x + i
    return y


@case((0,), (2,))
def unbound_augmented(n):
    for i in range(n):
        if i == 1:
            total = 0
    total += 1
    return total


@case((1,), (0,))
def deletes(n):
    x = 1
    if n:
        del x
    return x


@case((3,),)
def deletes_in_loop(n):
    out = []
    for i in range(n):
        t = i
        out.append(t)
        del t
    try:
        t
    except NameError as e:
        out.append(str(e))
    return out


@case((3,),)
def deletes_twice(n):
    t = 1
    for i in range(n):
        del t
    return n


@case(({"a": 1, "b": 2},))
def deletes_items(d):
    for k in list(d):
        if k == "a":
            del d[k]
    return d


@case((2,))
def reads_globals(n):
    s = 0
    for i in range(n):
        s += GLOBAL + i
    return math.floor(s + 0.5)


@case((2,))
def writes_global(n):
    global counter
    counter = 0
    for i in range(n):
        counter += i
        if counter > 100:
            return -1
    while counter < 10:
        counter += 4
    if n > 1:
        counter += 1
    return counter


@case((4,))
def closure_reads(n):
    k = 2

    def scaled(x):
        return k * x

    out = []
    for i in range(n):
        k = i
        out.append(scaled(10))
    return out, k


@case((4,), (0,))
def closure_writes(n):
    total = 0

    def add(x):
        nonlocal total
        if x > 1:
            total += x
        return total

    for i in range(n):
        add(i)
        if total > 4:
            break
    return total


@case((3,))
def late_binding(n):
    fs = []
    for i in range(n):
        t = i * 2
        fs.append(lambda: (i, t))
    return [f() for f in fs]


@case((3,))
def late_binding_of_what_changes_later(n):
    x = 1
    f = lambda: x
    out = [f()]
    for i in range(n):
        x = i * 10
        out.append(f())
    x = "end"
    out.append(f())
    return out


@case((3,))
def closure_called_in_loop(n):
    s = 0
    for i in range(n):
        t = i + 1

        def square(x):
            return x * t

        s += square(square(2))
    return s


@case((1,), (-1,))
def closure_in_branches(x):
    if x > 0:
        y = 1
        get = lambda: y
    else:
        y = 2
        get = lambda: y * 10
    y += 1
    return get()


@case((1,), (-1,))
def closure_made_in_a_branch_that_returns(x):
    fs = []
    if x > 0:
        y = 5
        fs.append(lambda: y)
        y = 6
        return fs[0]()
    return y


@case((3,))
def closure_of_unbound(n):
    def get():
        return late

    try:
        get()
    except NameError as e:
        message = str(e)
    for i in range(n):
        late = i
    return message, get()


@case((4,))
def recursion_of_inner(n):
    def fact(k):
        if k <= 1:
            return 1
        return k * fact(k - 1)

    return [fact(i) for i in range(n)]


@case((10,))
def fibonacci(n):
    if n < 2:
        return n
    return fibonacci(n - 1) + fibonacci(n - 2)


@case((3,))
def nested_defs_with_loops(n):
    def inner(k, *rest, scale=GLOBAL, **others):
        s = 0
        for i in range(k):
            if i == 2:
                continue
            s += i * scale
        return s, rest, others

    return [inner(i, i, scale=i, other=i) for i in range(n)], inner(4)


@case((3,))
def generator_inside(n):
    def gen(k):
        for i in range(k):
            if i % 2:
                yield i * n

    return list(gen(5)), sum(x for x in range(n) if x > 1)


@case((3,))
def class_inside(n):
    class Box:
        size = n

        def method(self, k):
            for i in range(k):
                self.size += i
            return self.size

    b = Box()
    s = 0
    for i in range(n):
        s += b.method(i)
    return s, Box.__qualname__, Box.method.__qualname__


@case((3,))
def class_inside_a_loop(n):
    out = []
    for i in range(n):

        class Item:
            value = i

        out.append(Item)
    return [(c.value, c.__qualname__) for c in out]


@case((3,))
def names_of_inner(n):
    out = []
    for i in range(n):
        def inner():
            return i

        out.append(inner.__qualname__)
        out.append((lambda: i).__qualname__)
    if n > 1 and (lambda: n)():
        out.append((n > 2 and (lambda: n)).__qualname__)
    return out


@case((1,), (5,))
def global_behind_an_early_return(n):
    global counter
    counter = n
    if n > 3:
        return counter
    counter += 1
    return counter


@case((0,), (2,))
def unbound_in_classes_and_generators(n):
    for i in range(n):
        t = i

    class Reader:
        def get(self):
            return t

    def gen(k=5):
        yield t + k

    def call(f):
        try:
            return f()
        except NameError as e:
            return str(e)

    class Box:
        read = call(lambda: t)

    return call(Reader().get), call(lambda: next(gen())), Box.read, call(lambda: [t for _ in range(1)])


def make_closure(a, b):
    @case((3,), (0,))
    def inner(n):
        s = a
        for i in range(n):
            s += b
        if False:
            print(unused)
        return s

    unused = 3
    return inner


make_closure(1, 2)


@case((1,), (2,))
def stored_generator(n):
    g = (x * n for x in range(3))
    if n > 1:
        n = 10
    return list(g)


# Parameters and kinds of functions


@case((1,), (2, 3), (2, 3, 4, 5))
def with_defaults(a, b=2, *rest):
    while a < b:
        a += 1
        for r in rest:
            b += r if r < 10 else 0
            if b > 50:
                return "big"
    return a, b, rest


@case((1,))
def with_keywords(a, /, b=2, *, c=3, **others):
    if a < c:
        a = c
    return a, b, c, others


class Base:
    def value(self, n):
        return n

    @case()
    def _registered(self):
        return 1


class Derived(Base):
    __hidden = 5

    def __init__(self):
        self.total = 0

    def __repr__(self):
        return f"Derived({self.total})"

    def value(self, n):
        for i in range(n):
            if i > 1:
                self.total += super().value(i)
        self.__hidden += 1
        return self.total + super().value(n) * self.__hidden

    def early(self, n):
        if n > 3:
            return super().value(n) + self.__secret(n)
        return __class__.__name__

    def __secret(self, n):
        return n if n < 5 else -n

    def inner_super(self, n):
        def twice(me, k):
            return super().value(k) * 2 if k > 0 else n

        values = [k for k in range(n) if k != 1]
        if n > 2:
            return [twice(self, v) for v in values]
        return super(Derived, self).value(n)

    @staticmethod
    def static(n):
        return [i for i in range(n) if i % 2]

    @functools.lru_cache
    def cached(self, n):
        return n and self.total


@case((5,))
def uses_methods(n):
    d = Derived()
    if n < 0:
        return d
    return d.value(n), d.early(n), d.early(1), d.static(n)


# with, try, match


@contextlib.contextmanager
def tracked(log):
    log.append("enter")
    try:
        yield log
    finally:
        log.append("exit")


@case((3, []), (0, []))
def with_in_loop(n, log):
    for i in range(n):
        with tracked(log) as inner, tracked(inner):
            if i == 1:
                continue
            inner.append(i)
    return len(log)


@case((1, []), (5, []), (-1, []))
def return_in_with(n, log):
    with tracked(log):
        if n < 0:
            return "negative"
        for i in range(n):
            if i == 3:
                return i
        n = n + 1
    log.append("after")
    if n > 5:
        return "after"
    return n


@case((0,), (2,))
def suppressed(n):
    with contextlib.suppress(ZeroDivisionError):
        for i in range(3):
            last = i
            1 // (i - n)
            done = i
    return last, done


@case((0,), (2,), (9,))
def exception_leaves_loop(n):
    try:
        for i in range(5):
            t = i * 2
            1 // (i - n)
            u = t
    except ZeroDivisionError as e:
        return i, t, str(e)
    else:
        t = "else"
    finally:
        if n > 3:
            n = -1
    return n, i, t, u


@case((0,), (2,))
def only_the_handler_reads(n):
    t = "start"
    try:
        for i in range(3):
            t = i
            1 // (i - n)
        t = "end"
        return t
    except ZeroDivisionError:
        return t


@case((0,), (2,), (7,))
def read_behind_a_suppressed_exception(n):
    with contextlib.suppress(ZeroDivisionError):
        for i in range(3):
            t = i
            1 // (i - n)
        t = "end"
    return t


@case((0,), (3,), (9,))
def assigned_again_behind_a_break(n):
    global counter
    t = "start"
    for counter in range(5):
        if n < 10:
            t = counter
        if counter == n:
            break
        t = "lost"
    for counter in range(5):
        if n < 10:
            u = counter
        if n % 2 == 0:
            if counter == n:
                break
            u = "lost"
        else:
            u = "odd"
    return t, u


@case((0,), (2,), (9,))
def return_from_two_loops_one_of_which_breaks(n):
    out = []
    for i in range(4):
        for j in range(4):
            if i + j == n:
                return out
            out.append((i, j))
        if i == 2:
            break
        out.append(i)
    return "end"


@case((0,), (1,), (5,))
def try_in_loop(n):
    out = []
    for i in range(3):
        try:
            if i == n:
                raise ValueError(i)
            out.append(1 // (i - 2))
        except ValueError as e:
            out.append(str(e))
        except ZeroDivisionError:
            out.append("zero")
            continue
        else:
            out.append("else")
        finally:
            out.append("finally")
    return out


@case((0,), (1,), (5,))
def jumps_in_try(n):
    out = []
    for i in range(4):
        try:
            if i == n:
                break
            if i == 2:
                return out, "two"
        finally:
            out.append(i)
        for j in range(3):
            if j == i:
                break
            out.append((i, j))
    else:
        out.append("else")
    return out


@case((0,), (1,), (7,))
def return_in_loop_in_try(n):
    try:
        for i in range(4):
            if i == n:
                return i
        if n > 5:
            return "n"
    finally:
        n = 3
    return "end"


@case((0,), (1,), (7,))
def return_in_finally(n):
    for k in range(3):
        try:
            if n == k:
                raise KeyError(k)
        except KeyError:
            pass
        finally:
            if n > 5:
                return "finally", k
    return k


@case((1,), (2,))
def handler_name(n):
    e = "before"
    for i in range(n):
        try:
            if i == 1:
                raise ValueError("bad")
        except ValueError as e:
            message = str(e)
    return e


@case((1,), (2,))
def handler_rebinds_its_name(n):
    for i in range(n):
        try:
            raise ValueError("bad")
        except ValueError as e:
            e = "rebound"
            if i > 0:
                s = e
    return s, e


@case((3,))
def raises_in_loop(n):
    for i in range(n):
        if i == 2:
            raise RuntimeError(
                f"at {i}",
            )
    return n


@case(((1, 2),), ([1, 2, 3],), ({"k": 5, "z": 6},), (7,), ("text",))
def matches(x):
    for i in range(2):
        match x:
            case (a, b):
                return a + b
            case [a, *rest] if len(rest) > 1 and a > 0:
                r = rest
                break
            case {"k": v, **others}:
                if v > 4:
                    continue
                r = others
            case int() as r:
                pass
            case _:
                r = None
    return r, i


@case((0,), (1,))
def exception_in_test(n):
    while 1 // n:
        n = n - 1
    return n


# Expressions


@case((1, 2, 3), (0, 2, 3), (3, 0, 1), ([], 0, ""))
def boolean(a, b, c):
    return a and b, a or b, a and b and c, a or b or c, not a, (a or b) and not c, a and (b or c)


@case((0,), (1,))
def short_circuit(n):
    log = []

    def note(x):
        log.append(x)
        return x

    value = note(n) and note(2) or note(0) or note(4)
    chained = note(0) < note(n) < note(3) <= note(3) != note(9)
    return value, chained, log, n and undefined


@case((1, 2, 3), (2, 1, 0), (1.5, 1.5, 1.5))
def chained(a, b, c):
    d = a < b < c, a <= b + 0 <= c, a < b > c, 1 < a < 2, (a, b) < (b, c) < (c, c)
    return d, a is not b is not c, a in (1, 2) in [True]


@case((1,), (-1,))
def conditional(x):
    y = 1 if x > 0 else 2 if x < 0 else 3
    return (lambda v: v if v > y else -v)(x), [k if k % 2 else -k for k in range(3)]


@case((3,), (0,))
def walrus(n):
    out = []
    while (k := n - len(out)) > 0:
        out.append(k)
    if (m := len(out)) > 1 and (z := m * 2):
        out.append(z)
    if [last := x for x in out]:
        out.append(last)
    return out, m, k


@case((3,), (0,))
def walrus_may_be_unbound(n):
    if n > 1 and (z := n):
        pass
    return z


@case((5,),)
def walrus_while_else(n):
    while (n := n - 1) > 0:
        if n == 7:
            break
    else:
        n = "else"
    return n


@case((3,))
def comprehensions(n):
    i = "outer"
    a = [i * j for i in range(n) for j in range(i) if i > 0 if not j]
    b = {k: v for k, v in enumerate(zip(range(n), reversed(range(n))))}
    c = {x for x in a if x is not None and x >= 0}
    d = [[y for y in range(x)] for x in range(n) if 0 <= x < n]
    return i, a, b, c, d, sum(x for x in range(n) if x or n)


@case((3,), (0,))
def comprehension_of_unbound(n):
    for i in range(n):
        t = i
    return [t + k for k in range(2)]


@case((3,))
def shadowed_range(n):
    range = lambda k: [k, k + 1]
    s = []
    for i in range(n):
        s.append(i)
    return s, [j for j in range(n)]


@case(([1, 2, 3], [4, 5, 6]))
def iterables(xs, ys):
    out = []
    for k, (x, y) in enumerate(zip(xs, reversed(ys)), start=1):
        out.append((k, x, y))
    for i in reversed(range(0, 10, 3)):
        out.append(i)
    for x, y in zip(xs, ys, strict=True):
        out.append(x * y)
    for c in "ab":
        out.append(c)
    for key, value in {"a": 1}.items():
        out.append((key, value))
    return out


@case((3,), ("ab",), (None,))
def not_iterable(n):
    for i in n:
        pass
    return i


@case(([(1, 2), (3,)],), ([(1, 2)],))
def bad_unpacking(xs):
    for a, b in xs:
        c = a
    return c


@case((0,), (1,))
def asserts(n):
    for i in range(2):
        assert n < 1
        assert n < 1, (
            f"n is {n}"
        )
    assert n is not None
    return n


@case((0,))
def assert_message(n):
    assert n > 0, [n]


@case((3,))
def formatted(n):
    return f"{n if n > 2 else -n:>{n and 4}} {[n for n in range(n)]} {n=}"


# Subscripts and assignments


@case(([1, 2, 3], 1), ([1], 5), ((1, 2), 0))
def items(a, i):
    a[i] = a[i - 1] + a[-1]
    a[i] += 5
    a[0], a[i] = a[i], a[0]
    return a, a[i:], a[: i + 1], a[::-1], a[i : i + 1 : 1], a[0:1]


@case(([0] * 6,))
def targets(a):
    i = 0
    i, a[i] = 1, 10
    a[i], i = i, 2
    a[i], (a[i + 1], *a[4:]), b = 1, (2, 3, 4, 5), 6
    [a[0], c] = a[5] = 7, 8
    *a[:1], d = 1, 2, 3
    for a[1] in range(3):
        pass
    for a[i], j in [(5, 6), (7, 8)]:
        i += 1
    x = a[0] = y = 9
    return a, i, j, x, y, b, c, d


class Point:
    x = 1

    def __init__(self):
        self.data = [1, 2, 3]
        self.inner = self.__dict__


@case((2,))
def attributes(n):
    p = Point()
    for p.x in range(n):
        p.data[p.x] += 10
    p.x, p.data[0] = 5, p.x
    p.x += 1
    p.inner["z"], p.y = 1, 2
    if n > 1:
        p.w = p.x
    return p.data, p.x, p.y, p.w, p.z


@case((5, 3), (0, 3), (5, 0))
def augmented(x, y):
    a = [x]
    a[0] += y
    a[0] -= 1
    a[0] *= 2
    a[0] **= 2
    a[0] //= y
    a[0] %= 7
    a[0] <<= 2
    a[0] >>= 1
    a[0] &= 5
    a[0] |= 2
    a[0] ^= 3
    a[0] /= 2
    x += y
    x -= 1
    a += [x]
    b = {"k": [1]}
    b["k"] += [2]
    return a, b, x


@case(([1, 2],))
def order_of_evaluation(a):
    log = []

    def note(name, value):
        log.append(name)
        return value

    note("target", a)[note("index", 0)] = note("value", 5)
    note("a", a)[note("b", 0)], note("c", a)[note("d", 1)] = note("v", (1, 2))
    note("x", a)[note("y", 0) : note("z", 1)] = note("w", [9, 9])
    note("p", a)[note("q", 0)] += note("r", 1)
    return a, log


@case((3,))
def annotated(n):
    x: int = 0
    y: undefined_type
    a: list = [0, 0, 0, 0]
    for i in range(n):
        z: "int" = i
        x += z
        a[i]: int = x
    p = Point()
    p.q: float = 1.5
    return x, a, p.q


@case((3,))
def annotated_only(n):
    x: int
    if n > 5:
        x = 1
    return x


@case((2,), (0,))
def with_targets(n):
    a = [0, 0]
    log = []
    for i in range(n):
        with tracked(log) as a[i], tracked(log) as (a[0], *rest):
            a[1] = i
    return len(log), i


@case((2,))
def imports(n):
    for i in range(n):
        import math as m
        from os import path
    if n > 1:
        import os.path
    return m.pi, path.sep, os.sep


@case(([[1, 2], [3, 4]],))
def slices_of_names(a):
    i, j = 0, 1
    rows = a[i][j], a[i:j], a[i : j + 1][0], a[-j:], a[:], a[...] if i else None
    return rows, {"a": 1}["a"], "text"[i:j], (1, 2)[j]


@case((1,), (3,))
def index_error_line(n):
    xs = [1, 2]
    for i in range(n):
        y = (
            xs[
                i
            ]
        )
    return y


@case((1,), (3,))
def multiline_errors(n):
    if (
        n > 2
        and [1][n]
    ):
        return 1
    z = (1
         if n < 3
         else undefined)
    return (
        z <
        n <
        "text"
    )


ODD = [lambda x: x if x > 0 else -x, lambda x: x and 1, lambda x: [x][x:] or (x < 3 < x + 9)]
for _fun in ODD:
    PROGRAMS.append((_fun, [(1,), (-1,), (0,)]))
MULTILINE = (
    lambda x, y=2: (
        x < y < 5
        and x
    )
)
PROGRAMS.append((MULTILINE, [(1,), (7,), ("a",)]))
PROGRAMS.append((Derived.early, [(Derived(), 1), (Derived(), 4), (Derived(), 9)]))
PROGRAMS.append((Derived.inner_super, [(Derived(), 4), (Derived(), 1)]))
PROGRAMS.append((Derived.value, [(Derived(), 4)]))
PROGRAMS.append((Derived.cached.__wrapped__, [(Derived(), 4), (Derived(), 0)]))
PROGRAMS.remove((Base._registered, []))
