"""The README's Python blocks run as they are and print what the README says they print.

All ``python`` blocks share one namespace, in order. A ``text`` block right after a ``python`` block is what that block
prints; ``...`` in it stands for any text. An expression followed by ``# -> result`` has that repr.
"""

import ast
import contextlib
import doctest
import io
import linecache
import re
from pathlib import Path
from typing import NamedTuple

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, its text, the line of its first line, and whether only blanks stand before it."""

    language: str
    text: str
    line: int
    follows: bool


def blocks(markdown: str) -> list[Block]:
    """The fenced blocks of a Markdown text."""
    found, end = [], 0
    for match in BLOCK.finditer(markdown):
        line = markdown.count("\n", 0, match.start(2)) + 1
        found.append(Block(match[1], match[2], line, bool(found) and not markdown[end : match.start()].strip()))
        end = match.end()
    return found


def matches(expected: str, found: str) -> bool:
    """Is the printed text as expected, up to ``...`` and space at the ends of lines?"""
    expected, found = ("\n".join(line.rstrip() for line in text.strip().splitlines()) for text in (expected, found))
    return doctest.OutputChecker().check_output(expected + "\n", found + "\n", doctest.ELLIPSIS)


def run(block: Block, namespace: dict, filename: str) -> str:
    """Run a block statement by statement, check its ``# ->`` comments, and return what it prints."""
    lines = block.text.splitlines()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for statement in ast.parse(block.text, filename).body:
            _, arrow, promised = lines[statement.end_lineno - 1].partition("# -> ")
            if not arrow:
                exec(compile(ast.Module([statement], []), filename, "exec"), namespace)
                continue
            assert isinstance(statement, ast.Expr), f"line {block.line}: '# ->' behind something without a value"
            value = eval(compile(ast.Expression(statement.value), filename, "eval"), namespace)
            assert matches(promised, repr(value)), f"{lines[statement.end_lineno - 1]}\nis {value!r}"
    return printed.getvalue()


def check(markdown: str) -> int:
    """Run all Python blocks of a text; returns how many printed texts were compared."""
    namespace: dict = {"__name__": "readme"}
    compared, all_blocks = 0, blocks(markdown)
    for number, block in enumerate(all_blocks):
        if block.language != "python":
            continue
        filename = f"example{number}.py"  # a file of its own, whose source tracebacks and the IR can quote
        linecache.cache[filename] = (len(block.text), None, block.text.splitlines(keepends=True), filename)
        printed = run(block, namespace, filename)
        following = all_blocks[number + 1] if number + 1 < len(all_blocks) else None
        if following is not None and following.follows and following.language == "text":
            compared += 1
            assert matches(following.text, printed), f"README line {block.line} prints:\n{printed}"
    return compared


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
