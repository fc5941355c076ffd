"""Random nests of statements: the rewritten program does what the original does, whatever the runtime runs besides."""

from __future__ import annotations

import linecache
import random
import types

import pytest
from plain_runtime import PlainRuntime, TracingRuntime, outcome, rewritten

from jitgrad.frontend import syntax

VARIABLES = ["a", "b", "c", "d"]


class Generator:
    """Source text of a function over a few integers. ``total``: it raises nothing, reads nothing unbound, and has no
    effects beside its variables."""

    def __init__(self, seed: int, total: bool) -> None:
        self.draw = random.Random(seed)
        self.total = total
        self.lines: list[str] = []
        self.counters = 0
        self.size = 0
        self.closures: list[str] = []

    def program(self) -> str:
        self.lines = ["def program(a, b, log):"]
        outside = not self.total and self.draw.random() < 0.1
        if outside:
            self.emit(1, "global d")
        if self.total or outside or self.draw.random() < 0.5:
            self.emit(1, "c, d = 1, 2")
        if self.draw.random() < 0.4:
            name = self.draw.choice(VARIABLES[2:])
            self.emit(1, "def peek(k):")
            self.emit(2, f"return {name} + k")
            self.closures.append("peek")
            if self.total and self.draw.random() < 0.5:
                self.emit(1, "kept = [peek]")
        if not outside and self.draw.random() < 0.3:
            name = self.draw.choice(VARIABLES[2:])
            self.emit(1, "def poke(k):")
            self.emit(2, f"nonlocal {name}")
            self.emit(2, f"{name} = k % 7")
            if self.draw.random() < 0.5:
                self.emit(2, "for j in range(k % 4):")
                self.emit(3, f"if j + {name} > 3:")
                self.emit(4, self.draw.choice(("break", "continue", f"return {name}", f"{name} -= 2")))
                self.emit(3, f"{name} += j")
            self.emit(2, f"return {name}")
            self.closures.append("poke")
        self.block(1, 4, loop=False, jumps=True)
        if self.draw.random() < 0.8:
            self.emit(1, f"return {', '.join(VARIABLES[: self.draw.randint(1, 4)])}")
        self.emit(1, "c = d = 0")  # whatever happens before, these are local
        return "\n".join(self.lines) + "\n"

    def emit(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def expression(self, depth: int = 2) -> str:
        pick = self.draw.random()
        if depth == 0 or pick < 0.3:
            return self.draw.choice([*VARIABLES, str(self.draw.randint(0, 9))])
        left, right = self.expression(depth - 1), self.expression(depth - 1)
        if pick < 0.6:
            return f"({left} {self.draw.choice('+-*')} {right}) % 11"
        if pick < 0.7:
            return f"({left} if {self.test(1)} else {right})"
        if pick < 0.75 and self.closures:
            return f"{self.draw.choice(self.closures)}({left})"
        if pick < 0.8 and not self.total:
            return f"{left} // {right}"
        if pick < 0.85:
            return f"({left} {self.draw.choice(['and', 'or'])} {right})"
        return f"sum([k + {left} for k in range({right} % 4) if {self.test(0)}])"

    def test(self, depth: int = 1) -> str:
        left, right = self.expression(depth), self.expression(depth)
        pick = self.draw.random()
        if pick < 0.5:
            return f"{left} < {right}"
        if pick < 0.65:
            return f"{left} <= {right} < {self.expression(depth)}"
        if pick < 0.8:
            return f"not {left} > {right}"
        return f"({left} % 2 {self.draw.choice(['and', 'or'])} {right} > 3)"

    def block(self, depth: int, most: int, loop: bool, jumps: bool) -> None:
        for _ in range(self.draw.randint(1, most)):
            self.statement(depth, loop, jumps)

    def statement(self, depth: int, loop: bool, jumps: bool) -> None:
        self.size += 1
        pick = self.draw.random()
        deep = depth > 4 or self.size > 40
        name = self.draw.choice(VARIABLES)
        if deep or pick < 0.25:
            self.emit(depth, f"{name} = {self.expression()}")
        elif pick < 0.3:
            self.emit(depth, f"{name} {self.draw.choice(['+', '-'])}= {self.expression()}")
        elif pick < 0.35 and not self.total:
            self.emit(depth, f"log.append(({name}, {self.expression(1)}))")
        elif pick < 0.38 and not self.total:
            self.emit(depth, f"del {name}")
        elif pick < 0.41:
            self.emit(depth, f"{name}, {self.draw.choice(VARIABLES)} = {self.expression(1)}, {self.expression(1)}")
        elif pick < 0.5 and jumps and loop:
            self.emit(depth, f"if {self.test()}:")
            self.emit(depth + 1, self.draw.choice(["break", "continue"]))
        elif pick < 0.54 and jumps:
            self.emit(depth, f"if {self.test()}:")
            self.emit(depth + 1, f"return {self.expression()}")
        elif pick < 0.56 and jumps:
            self.emit(depth, self.draw.choice(["break", "continue"]) if loop else f"return {self.expression(1)}")
        elif pick < 0.75:
            self.emit(depth, f"if {self.test()}:")
            self.block(depth + 1, 3, loop, jumps)
            if self.draw.random() < 0.3:
                self.emit(depth, f"elif {self.test()}:")
                self.block(depth + 1, 2, loop, jumps)
            if self.draw.random() < 0.6:
                self.emit(depth, "else:")
                self.block(depth + 1, 3, loop, jumps)
        elif pick < 0.85:
            self.emit(depth, f"for {name} in range({self.expression(1)} % 4):")
            self.loop_body(depth, jumps)
        elif pick < 0.94 or self.total:
            self.while_loop(depth, jumps)
        else:
            self.guarded(depth, loop, jumps)

    def loop_body(self, depth: int, jumps: bool) -> None:
        self.block(depth + 1, 4, True, jumps)
        if self.draw.random() < 0.25:
            self.emit(depth, "else:")
            self.block(depth + 1, 2, False, False)

    def while_loop(self, depth: int, jumps: bool) -> None:
        self.counters += 1
        counter = f"n{self.counters}"
        self.emit(depth, f"{counter} = 0")
        if self.draw.random() < 0.3:
            self.emit(depth, "while True:")
            self.emit(depth + 1, f"{counter} += 1")
            self.emit(depth + 1, f"if {counter} > 3:")
            self.emit(depth + 2, "break")
        else:
            self.emit(depth, f"while {counter} < 3 and {self.test()}:")
            self.emit(depth + 1, f"{counter} += 1")
        self.loop_body(depth, jumps)

    def guarded(self, depth: int, loop: bool, jumps: bool) -> None:
        """``try`` in one of its forms."""
        self.emit(depth, "try:")
        self.block(depth + 1, 3, loop, jumps)
        form = self.draw.random()
        if form < 0.7:
            name = self.draw.choice(VARIABLES)
            caught = self.draw.choice(["ZeroDivisionError", "UnboundLocalError", "Exception"])
            self.emit(depth, f"except {caught} as {name}:" if form < 0.2 else f"except {caught}:")
            self.block(depth + 1, 2, loop, jumps)
            if form < 0.3:
                self.emit(depth, "else:")
                self.block(depth + 1, 2, loop, jumps)
        if form > 0.5:
            self.emit(depth, "finally:")
            self.block(depth + 1, 2, False, False)


# Both branches and additional iterations run: what the state leaves out must not matter.


def captured_in_both_branches(a, b):
    def peek():
        return x

    kept = [peek]
    x = 1
    if a > b:
        x = 2
        y = kept[0]()
    else:
        y = kept[0]()
    if a > 1:
        x = 5
        return y, kept[0]()
    return x, y, kept[0]()


def shared_in_branches_and_loops(a, b):
    def add(k):
        nonlocal x
        x = x + k
        return x

    x = 0
    for i in range(a):
        add(i)
    while add(1) < 9:
        add(b)
    if add(2) > 10:
        return add(3), x
    if a > b:
        add(100)
    return x


def kept_functions_see_the_last_iteration(a, b):
    kept = []
    x = 0
    for i in range(a):
        x = i + b
        f = lambda: x * 10  # noqa: B023, E731
        kept = [f]
    return [k() for k in kept]


def assigned_in_both_branches_of_a_branch(a, b):
    c, d = 1, 2
    if a > d:
        if b > 1:
            d = 8
        else:
            d = a
            if c > 5:
                return 4
            a = 3
        if d > 4:
            return a
    else:
        d = 4
    return a, b


@pytest.mark.parametrize(
    "fun",
    [
        captured_in_both_branches,
        shared_in_branches_and_loops,
        kept_functions_see_the_last_iteration,
        assigned_in_both_branches_of_a_branch,
    ],
)
def test_what_is_not_taken_leaves_nothing_behind(fun: types.FunctionType) -> None:
    for runtime in (PlainRuntime(), TracingRuntime()):
        new = rewritten(fun, runtime)
        for given in ((0, 0), (1, 2), (3, 1), (2, 5), (5, 0)):
            assert outcome(new, given) == outcome(fun, given), syntax.rewritten_source(fun)


def function(source: str, number: int) -> types.FunctionType:
    file = f"<random program {number}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    variables: dict = {}
    exec(compile(source, file, "exec"), variables)
    return variables["program"]


@pytest.mark.parametrize("start", [0, 30, *(pytest.param(k, marks=pytest.mark.slow) for k in range(60, 240, 30))])
@pytest.mark.parametrize("total", [False, True], ids=["any", "total"])
def test_random_programs(start: int, total: bool) -> None:
    compared = 0
    for seed in range(start, start + 30):
        source = Generator(seed, total).program()
        fun = function(source, seed)
        if syntax.rewrite(fun) is None:
            assert syntax.why_not(fun.__code__) is None, source
            continue
        for runtime in (PlainRuntime(), TracingRuntime()) if total else (PlainRuntime(),):
            new = rewritten(fun, runtime)
            for given in ((1, 2), (0, 5), (4, 3)):
                expected = outcome(fun, (*given, []))
                found = outcome(new, (*given, []))
                assert found == expected, f"{source}\n{syntax.rewritten_source(fun)}\n{given} {type(runtime).__name__}"
                compared += 1
    assert compared > 40
