"""What the loops of a function may write into in place, going by its text: names, attributes of them, and what they
were taken from."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from jitgrad.frontend.syntax_nodes import attribute_chain, load


class Writes:
    """What the loops of a function may write into in place. ``own`` are the names of the function."""

    def __init__(self, body: list[ast.stmt], own: frozenset[str]) -> None:
        self._own = own
        self._found: list[tuple[str | None, ast.expr]] = []  # (name, what it is taken from) or (None, what is written)
        self._ranges: dict[ast.AST, tuple[int, int]] = {}
        for node in body:
            self._collect(node)

    def _collect(self, node: ast.AST) -> None:
        start = len(self._found)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                return
            case ast.Name() | ast.Constant():
                return
            case ast.Subscript(value=value, ctx=ast.Store()):
                self._found.append((None, value))
            case ast.AugAssign(target=target):
                self._found.append((None, target))
            case ast.Assign(targets=targets, value=value):
                self._found += [(target.id, value) for target in targets if isinstance(target, ast.Name)]
            case ast.For(target=ast.Name(id=name), iter=iterable):
                self._found.append((name, iterable))
            case ast.Call():
                self._found += [(None, written) for written in _written_by(node)]
        for child in ast.iter_child_nodes(node):
            self._collect(child)
        if isinstance(node, ast.For | ast.While):
            self._ranges[node] = (start, len(self._found))

    def hints(self, loop: ast.For | ast.While, temporary: frozenset[str]) -> Iterator[ast.expr]:
        """Expressions for the objects that the loop's body may write into, each of them once.

        A name in ``temporary`` is bound anew in every iteration: what it was taken from stands for it (``row = A[i]``).
        """
        sources: dict[str, list[ast.expr]] = {}
        todo: list[ast.expr] = []
        for name, value in self._found[slice(*self._ranges[loop])]:
            if name is None:
                todo.append(value)
            elif name in temporary:
                sources.setdefault(name, []).append(value)
        todo.reverse()
        seen: set[str] = set()
        while todo:
            for path in _paths(todo.pop(), self._own):
                text = _text(path)
                if text in seen:
                    continue
                seen.add(text)
                root = text.partition(".")[0]
                if root in temporary:
                    todo.extend(sources.get(root, ()))
                else:
                    yield path


def _text(path: ast.expr) -> str:
    if isinstance(path, ast.Attribute):
        return f"{_text(path.value)}.{path.attr}"
    assert isinstance(path, ast.Name)
    return path.id


_METHODS = frozenset({"fill", "sort", "partition", "put", "itemset", "resize"})
_FUNCTIONS = frozenset({"at", "fill_diagonal", "copyto", "put", "place", "putmask", "put_along_axis"})


def _written_by(node: ast.Call) -> Iterator[ast.expr]:
    """What a call of a NumPy function or method writes into, going by its name."""
    for keyword in node.keywords:
        if keyword.arg == "out":
            yield from keyword.value.elts if isinstance(keyword.value, ast.Tuple) else [keyword.value]
    name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
    if name in _METHODS and isinstance(node.func, ast.Attribute):
        yield node.func.value
    if name in _FUNCTIONS and node.args:
        yield node.args[0]


def _paths(node: ast.expr, own: frozenset[str]) -> Iterator[ast.expr]:
    """The names and attributes that an expression takes a piece of: for ``self.a.T[i]`` self.a.T, self.a and self."""
    direct = True
    while True:
        match node:
            case ast.Attribute(value=value):
                chain = attribute_chain(node)
                if chain is not None:
                    yield chain
            case ast.Name(id=name):
                if direct or name in own:  # not the np of np.zeros(n)
                    yield load(name)
                return
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name)), args=[first, *_]) if name not in own:
                value = first
            case ast.Call(func=ast.Attribute(value=value)) | ast.Call(args=[value, *_]):
                pass
            case ast.Subscript(value=value) | ast.Starred(value=value):
                node = value
                continue
            case _:
                return
        node, direct = value, False
