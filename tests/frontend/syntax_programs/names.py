"""Names: unbound, deleted, global, nonlocal, in closures."""

# ruff: noqa
# fmt: off

from __future__ import annotations

import math

from .registry import case

GLOBAL = 3
counter = 0


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
