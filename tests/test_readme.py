"""The README's Python blocks run as they are and print what the README says they print.

All ``python`` blocks share one namespace, in order. A ``text`` block right after a ``python`` block is what that block
prints; ``...`` in it stands for any text. An expression followed by ``# -> result`` has that repr.

Blocks for a GPU run on the simulated device. ``python tests/test_readme.py`` puts what the blocks print now into the
README.
"""

import ast
import contextlib
import doctest
import importlib.util
import io
import linecache
import math
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from jitgrad import config

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Packages that are imported in a block of their own, which is left out where they are not installed.
OPTIONAL = ("ml_dtypes",)
FLOAT = re.compile(r"\d*\.\d+(?:e[+-]?\d+)?|\d+\.(?:e[+-]?\d+)?")


class Block(NamedTuple):
    """A fenced block: its language and text, where that starts, and whether only blanks are between it and the last."""

    language: str
    text: str
    start: int
    line: int
    follows: bool


def blocks(markdown: str) -> list[Block]:
    """The fenced blocks of a Markdown text."""
    found, end = [], 0
    for match in BLOCK.finditer(markdown):
        line = markdown.count("\n", 0, match.start(2)) + 1
        found.append(
            Block(match[1], match[2], match.start(2), line, bool(found) and not markdown[end : match.start()].strip())
        )
        end = match.end()
    return found


def matches(expected: str, found: str) -> bool:
    """Is the text as expected, up to ``...``, white space and the last digits of numbers with a decimal point?"""
    if doctest.OutputChecker().check_output(expected, found, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE):
        return True
    if FLOAT.sub("#", expected).split() != FLOAT.sub("#", found).split():
        return False
    pairs = zip(FLOAT.findall(expected), FLOAT.findall(found), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=1e-12) for a, b in pairs)


def file_name(block: Block) -> str:
    """Each block is a file of its own, which tracebacks and the IR quote; named after the first function in it."""
    functions = [s.name for s in ast.parse(block.text).body if isinstance(s, ast.FunctionDef)]
    return f"{functions[0] if functions else 'example'}.py"


def run(block: Block, namespace: dict) -> tuple[str, str]:
    """Run a block statement by statement: its text with the results behind ``# ->``, and what it prints."""
    filename = file_name(block)
    linecache.cache[filename] = (len(block.text), None, block.text.splitlines(keepends=True), filename)
    lines = block.text.splitlines()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for statement in ast.parse(block.text, filename).body:
            last = statement.end_lineno - 1
            code, arrow, _ = lines[last].partition("# -> ")
            if not arrow:
                exec(compile(ast.Module([statement], []), filename, "exec"), namespace)
                continue
            assert isinstance(statement, ast.Expr), f"line {block.line}: '# ->' behind something without a value"
            value = eval(compile(ast.Expression(statement.value), filename, "eval"), namespace)
            lines[last] = code + arrow + " ".join(repr(value).split())
    return "\n".join(lines) + "\n", "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines()) + "\n"


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def updated(markdown: str) -> list[tuple[Block, str]]:
    """The blocks that are checked, each with the text that it should have: Python blocks, and what they print."""
    namespace: dict = {"__name__": "readme"}
    found, all_blocks = [], blocks(markdown)
    for block, following in zip(all_blocks, [*all_blocks[1:], None], strict=True):
        if block.language != "python" or any(f"import {p}\n" in block.text and not installed(p) for p in OPTIONAL):
            continue
        with config.using(cuda_driver="simulated"):
            text, printed = run(block, namespace)
        found.append((block, text))
        if following is not None and following.follows and following.language == "text":
            found.append((following, printed))
    return found


def check(markdown: str) -> int:
    """Run all Python blocks of a text; returns how many printed texts were compared."""
    pairs = updated(markdown)
    for block, text in pairs:
        assert matches(block.text, text), f"README line {block.line} should be:\n{text}"
    return sum(block.language == "text" for block, _ in pairs)


def test_readme_runs_as_printed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert check(README.read_text(encoding="utf-8")) >= 3


def test_readme_opens_with_the_two_commands():
    first = blocks(README.read_text(encoding="utf-8"))[0]
    assert first.text.splitlines() == [
        'pip install ".[examples]" && python examples/train_digits.py',
        'pip install ".[test]" && pytest',
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\n1 + 1  # -> 3\n```\n",
        "```python\n0.25  # -> 0.26\n```\n",
        "```python\nprint('a b')\n```\n\n```text\na c\n```\n",
        "```python\nx = 1  # -> 1\n```\n",
    ],
)
def test_a_wrong_readme_is_noticed(wrong):
    with pytest.raises(AssertionError):
        check(wrong)


def test_names_in_the_readme_exist():
    """Files and commands that the README names are there."""
    text = README.read_text(encoding="utf-8")
    root = README.parent
    for path in re.findall(r"\b(?:examples|benchmarks|jitgrad|tests)/[\w/]+\.py\b", text):
        assert (root / path).exists(), path


def rewrite() -> None:
    """Put what the blocks print now into the README."""
    markdown = README.read_text(encoding="utf-8")
    for block, text in reversed(updated(markdown)):
        if not matches(block.text, text):
            markdown = markdown[: block.start] + text + markdown[block.start + len(block.text) :]
    README.write_text(markdown, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
