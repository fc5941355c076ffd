"""Where a function makes lists and dicts of lists (see ``bucket_tables``)."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from jitgrad.frontend.syntax_nodes import place


def tables_in(block: Sequence[ast.stmt]) -> set[ast.expr]:
    """The expressions of a block that make a list or dict of lists that are written there, or a ``defaultdict(list)``,
    and the empty ones, ``x = []``, that such lists are put into: ``x.append([])``, ``x[key] = []``."""
    found, filled, empty = set[ast.expr](), set[str](), list[tuple[str, ast.expr]]()
    for node in (inner for statement in block for inner in ast.walk(statement)):
        match node:
            case ast.ListComp(elt=ast.List()) | ast.DictComp(value=ast.List()):
                found.add(node)
            case ast.Dict(values=[]) | ast.DictComp(value=ast.Constant(int() | float())):
                found.add(node)
            case ast.List(elts=lists, ctx=ast.Load()) | ast.Dict(values=lists) if lists:
                numbers = isinstance(node, ast.Dict) and all(map(_is_number, (*node.keys, *lists)))
                if numbers or all(isinstance(x, ast.List) for x in lists):
                    found.add(node)
            case ast.Call(ast.Name(id="defaultdict") | ast.Attribute(attr="defaultdict"), [ast.Name(id="list")]):
                found.add(node)
            case ast.Call(ast.Attribute(target, "append"), [ast.List(elts=[])]):
                filled.add(ast.unparse(target))
            case ast.Assign([ast.Subscript(target)], ast.List(elts=[])):
                filled.add(ast.unparse(target))
            case ast.Assign([ast.Tuple(targets)], ast.Tuple(values)) if len(targets) == len(values):
                empty += [(ast.unparse(t), x) for t, x in zip(targets, values, strict=True) if _is_empty(x)]
            case ast.Assign([target], value) if _is_empty(value):
                empty.append((ast.unparse(target), value))
    return found | {value for target, value in empty if target in filled}


def _is_empty(value: ast.expr) -> bool:
    return (isinstance(value, ast.List) and not value.elts) or (isinstance(value, ast.Dict) and not value.values)


def _is_number(value: ast.expr | None) -> bool:
    if isinstance(value, ast.UnaryOp):
        value = value.operand
    return isinstance(value, ast.Constant) and isinstance(value.value, (int, float))


def pairs_of(node: ast.Dict) -> list[ast.expr]:
    """What is in a dict, as tuples in a list: the keys may be traced. Those without a key are dicts, ``**d``."""
    items = [v if k is None else ast.Tuple([k, v], ast.Load()) for k, v in zip(node.keys, node.values, strict=True)]
    return [place(ast.List([place(x, node) for x in items], ast.Load()), node)]
