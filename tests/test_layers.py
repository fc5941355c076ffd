"""The layers: a lower package never imports a higher one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jitgrad"

#: What each package or top-level module may import, besides itself. What is not listed here may import everything.
ALLOWED: dict[str, frozenset[str]] = {
    name: frozenset(others.split())
    for name, others in {
        "version": "",
        "errors": "",
        "config": "errors",
        "ir": "errors config",
        "ops": "errors config ir",
        "autodiff": "errors config ir ops",
        "passes": "errors config ir ops",
        "loopir": "errors config ir",
        "codegen": "errors config ir loopir",
        "runtime": "errors config ir loopir codegen",
        "cuda": "version errors config ir loopir codegen runtime",
        # jitgrad.numpy and jitgrad.scipy are the frontend's public face: they are one layer.
        "frontend": "errors config ir ops numpy scipy",
        "numpy": "errors config ir ops frontend",
        "scipy": "errors config ir ops frontend numpy",
        # Above the transformations; what a part of SciPy is replaced with is loaded by name.
        "solvers": "errors config ir ops passes frontend numpy scipy tracing control custom api",
    }.items()
}

FILES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


def runtime_imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every module that a file imports, at any depth, but for type checking only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from runtime_imports(other, package)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield node.lineno, module
            # `from jitgrad import ops` imports the module jitgrad.ops.
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        else:
            yield from runtime_imports(node, package)


def violations(file: str, source: str) -> list[str]:
    """The imports of a file (its path inside the package) that go up."""
    parts = file.removesuffix(".py").split("/")
    room = parts[0]
    if room not in ALLOWED:
        return []
    allowed = ALLOWED[room] | {room}
    found = []
    for line, name in runtime_imports(ast.parse(source), ("jitgrad", *parts[:-1])):
        pieces = name.split(".")
        if pieces[0] != "jitgrad" or len(pieces) == 1:
            continue
        if pieces[1] not in allowed:
            found.append(f"{file}:{line} imports {name}; {room} may import {', '.join(sorted(allowed))}")
    return found


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down(file: str) -> None:
    assert violations(file, (PACKAGE / file).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import jitgrad.loopir.nodes",
        "from jitgrad.loopir import nodes",
        "from jitgrad import loopir",
        "from ..loopir import nodes",
        "from .. import api",
        "def f():\n    from jitgrad.codegen import llvm",
        "if True:\n    import jitgrad.compiler",
    ],
)
def test_a_planted_upward_import_is_found(source: str) -> None:
    assert violations("ops/planted.py", source)


@pytest.mark.parametrize(
    "source",
    [
        "from jitgrad.ir.core import OPS",
        "from . import op",
        "from .op import Var",
        "from ..ir import core",
        "import numpy, jitgrad",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jitgrad.loopir import nodes",
    ],
)
def test_downward_imports_are_allowed(source: str) -> None:
    assert violations("ops/planted.py", source) == []


def test_every_package_has_its_layer() -> None:
    packages = {f.split("/")[0] for f in FILES if "/" in f}
    assert packages <= set(ALLOWED)
