"""Random Python programs as source text, of statements that are drawn from templates.

In a template ``E`` is an expression, ``C`` a condition and ``I`` a position; a generator gives other words their
meanings. Templates of one kind are separated by ``|``, as none of them has a bitwise or.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np


def templates(text: str) -> list[str]:
    """The templates of a text, which may have several lines."""
    return text.strip().replace("\n", "|").split("|")


class StatementGenerator:
    """``lines`` are those of the program; a class sets its templates, and how often it draws which."""

    EXPRESSIONS: list[str]
    #: How many of the expressions, from the first on, have no parts.
    SIMPLE: int
    CONDITIONS: list[str]
    STATEMENTS: list[str]
    LOOPS: list[str]
    #: Random numbers below the first are simple statements, those below the second branches, the others loops.
    ODDS: tuple[float, float]
    #: How often a branch has an ``elif``, and an ``else``.
    OTHERWISE: tuple[float, float] = (0.0, 0.4)
    #: Lines that a branch may end with, and how often; each is tried if those before it were not drawn.
    endings: list[tuple[float, str]]

    def __init__(self, seed: int, statements: int, lines: list[str]) -> None:
        self.draw, self.lines = random.Random(seed), lines
        self.left, self.indices = statements, ["k"]

    def write(self, last: str) -> None:
        """The statements, and a last line."""
        while self.left > 0:
            self.statement(1, in_loop=False)
        self.text = "\n".join([*self.lines, f"    {last}", ""])

    def words(self) -> dict[str, str | Callable[[], str]]:
        """What other words of a template stand for: the same at all its places, or drawn for each."""
        return {}

    def position(self) -> str:
        return self.draw.choice([*self.indices, "0", "-1", "2"])

    def filled(self, template: str, depth: int = 2) -> str:
        """The template with expressions and names in the places of its words."""
        words = self.words()

        def fill(match: re.Match[str]) -> str:
            word = match.group()
            if word == "E":
                options = self.EXPRESSIONS if depth else self.EXPRESSIONS[: self.SIMPLE]
                return self.filled(self.draw.choice(options), max(depth - 1, 0))
            if word == "C":
                return self.filled(self.draw.choice(self.CONDITIONS), 0)
            if word == "I":
                return self.position()
            meaning = words[word]
            return meaning if isinstance(meaning, str) else meaning()

        return re.sub(rf"\b({'|'.join(['E', 'C', 'I', *words])})\b", fill, template)

    def emit(self, depth: int, template: str) -> None:
        self.lines.append("    " * depth + self.filled(template))

    def block(self, depth: int, most: int, in_loop: bool) -> None:
        for _ in range(self.draw.randint(1, most)):
            self.statement(depth, in_loop)

    def statement(self, depth: int, in_loop: bool) -> None:
        self.left -= 1
        pick = self.draw.random() if depth < 4 and self.left > 0 else 0.0
        if pick < self.ODDS[0]:
            self.emit(depth, self.draw.choice(self.STATEMENTS))
        elif pick < self.ODDS[1]:
            self.branch(depth, in_loop)
        else:
            self.loop(depth)

    def branch(self, depth: int, in_loop: bool) -> None:
        self.emit(depth, "if C:")
        self.block(depth + 1, 2, in_loop)
        if in_loop and self.draw.random() < 0.2:
            self.emit(depth + 1, self.draw.choice(("break", "continue")))
        else:
            ending = next((line for odds, line in self.endings if self.draw.random() < odds), None)
            if ending is not None:
                self.emit(depth + 1, ending)
        for odds, head in zip(self.OTHERWISE, ("elif C:", "else:"), strict=True):
            if odds and self.draw.random() < odds:
                self.emit(depth, head)
                self.block(depth + 1, 2, in_loop)

    def loop(self, depth: int) -> None:
        before, index = list(self.indices), f"i{depth}"
        self.emit(depth, re.sub(r"\bi\b", index, self.draw.choice(self.LOOPS)))
        head = self.lines[-1]
        if index in head.split(" in ")[0]:
            self.indices.append(index)
        if head.lstrip().startswith("while"):
            self.emit(depth + 1, "n += 1")
        self.block(depth + 1, 3, in_loop=True)
        self.indices = before


def vectors_and_numbers(seed: int, scale: float, length: int, most: int) -> list[Any]:
    """Two vectors, two floats and an integer below ``most``, as arguments."""
    rng = np.random.default_rng(seed)
    floats = [rng.uniform(-scale, scale, shape) for shape in (length, length, (), ())]
    return [*floats[:2], *map(float, floats[2:]), int(rng.integers(0, most))]
