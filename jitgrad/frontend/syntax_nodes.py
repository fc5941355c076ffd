"""Making AST nodes that carry a place in the user's source, and knowing which tests can't be traced values."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

#: The global name under which rewritten code finds the runtime.
RUNTIME = "__jitgrad__"
#: What generated functions, parameters and temporaries start with. The user's names can't: see `syntax.rewrite`.
PREFIX = "_jg_"
#: What the names of generated functions start with.
FUNCTION = PREFIX + "f_"

N = TypeVar("N", bound=ast.AST)
Span = tuple[int, int, int, int]
_PLACE = ("lineno", "col_offset", "end_lineno", "end_col_offset")

_STATIC_CALLS = frozenset({"isinstance", "issubclass", "callable", "hasattr"})


def span(node: ast.AST) -> Span:
    """Line, column, end line and end column of a node; of a statement with a body, those of its header."""
    last: ast.AST = node
    match node:
        case ast.If(test=test) | ast.While(test=test):
            last = test
        case ast.For(iter=iterable):
            last = iterable
        case ast.With(items=items):
            last = items[-1].context_expr
    line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
    if last is node and isinstance(node, ast.FunctionDef | ast.Try | ast.Match | ast.ClassDef):
        return line, column, line, column
    end_line, end_column = getattr(last, "end_lineno", None), getattr(last, "end_col_offset", None)
    return line, column, end_line or line, column if end_column is None else end_column


#: How binary operators are written.
OPERATORS: dict[type[ast.operator] | type[ast.cmpop], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "@",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
#: How those with one operand are written, but for ``not``.
SIGNS: dict[type[ast.unaryop], str] = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}
#: What is an operation of a program, as it is written.
_OPERATIONS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Subscript, ast.AugAssign)


def operations(body: Sequence[ast.stmt]) -> int:
    """How many operations are written in some statements."""
    return sum(isinstance(node, _OPERATIONS) for stmt in body for node in ast.walk(stmt))


def place(node: N, like: ast.AST) -> N:
    """``node`` with the place of ``like`` in every part that has none yet."""
    where: dict[str, Any] = dict(zip(_PLACE, span(like), strict=True))
    todo: list[ast.AST] = [node]
    while todo:
        part = todo.pop()
        if "lineno" in part._attributes:
            if hasattr(part, "lineno"):
                continue  # comes from the source, with everything inside
            vars(part).update(where)
        for name in part._fields:
            value = getattr(part, name, None)
            if isinstance(value, list):
                todo += [v for v in value if isinstance(v, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                todo.append(value)
    return node


def load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def store(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def runtime(name: str, like: ast.AST) -> ast.expr:
    """``__jitgrad__.name``. Its place is one point: the line of a call is taken from the end of what is called."""
    start = span(like)[:2]
    where: dict[str, Any] = dict(zip(_PLACE, start + start, strict=True))
    return ast.Attribute(ast.Name(RUNTIME, ast.Load(), **where), name, ast.Load(), **where)


def call(name: str, arguments: Sequence[ast.expr], like: ast.AST) -> ast.Call:
    """``__jitgrad__.name(*arguments)`` at the place of ``like``."""
    return place(ast.Call(runtime(name, like), list(arguments), []), like)


def constant(value: Any) -> ast.Constant:
    return ast.Constant(value)


def names_tuple(names: Sequence[str], context: ast.expr_context) -> ast.Tuple:
    return ast.Tuple([ast.Name(n, type(context)()) for n in names], context)


def no_parameters() -> ast.arguments:
    return ast.arguments(posonlyargs=[], args=[], vararg=None, kwonlyargs=[], kw_defaults=[], kwarg=None, defaults=[])


def parameters(names: Sequence[str], defaults: Sequence[ast.expr] = ()) -> ast.arguments:
    """Positional parameters; the last ones have the defaults."""
    made = no_parameters()
    made.args = [ast.arg(n) for n in names]
    made.defaults = list(defaults)
    return made


def thunk(body: ast.expr, like: ast.AST) -> ast.Lambda:
    """``lambda: body``. The parameter tells it from the user's lambdas, so that it can be given a better name."""
    made = no_parameters()
    made.vararg = ast.arg(PREFIX + "thunk")
    return place(ast.Lambda(made, body), like)


D = TypeVar("D", bound=ast.FunctionDef | ast.ClassDef)


def definition(node: D) -> D:
    """The definition without type parameters, by the empty list that newer Python versions want."""
    if "type_params" in node._fields:
        vars(node)["type_params"] = []
    return node


def mangle(node: ast.AST, class_name: str | None) -> None:
    """Give private attributes inside of a class, ``self.__x``, the names that Python gives them, in place."""
    if isinstance(node, ast.ClassDef):
        class_name = node.name
    prefix = (class_name or "").lstrip("_")
    if prefix and isinstance(node, ast.Attribute) and node.attr.startswith("__") and not node.attr.endswith("__"):
        node.attr = f"_{prefix}{node.attr}"
    for child in ast.iter_child_nodes(node):
        mangle(child, class_name)


def is_static(test: ast.expr) -> bool:
    """Is the truth of the expression surely known while a function is traced? On the safe side: False if unsure."""
    match test:
        case ast.Constant():
            return True
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return is_static(operand)
        case ast.BoolOp(values=values):
            return all(map(is_static, values))
        case ast.Call(func=ast.Name(id=name)):
            return name in _STATIC_CALLS
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            if all(isinstance(op, ast.Is | ast.IsNot) for op in ops):
                return not _may_be_traced(test)
            operands = [left, *comparators]
            return any(map(_is_text, operands)) or all(map(_is_plain, operands))
    return False


def _may_be_traced(test: ast.Compare) -> bool:
    """Is it ``x is None``, ``x is True`` or ``x is False``, or the opposite?"""
    match test:
        case ast.Compare(left=left, ops=[_], comparators=[ast.Constant(value=None | True | False)]):
            return not isinstance(left, ast.Constant)
    return False


def only_appended(block: Sequence[ast.stmt]) -> tuple[list[str], list[str]]:
    """The names that a block has in statements ``name.append(value)`` and nowhere else, and those that it has in
    ``name[-1]`` besides."""
    used: Counter[str] = Counter()
    appended: Counter[str] = Counter()
    read: Counter[str] = Counter()
    for node in (n for statement in block for n in ast.walk(statement)):
        match node:
            case ast.Name(id=name):
                used[name] += 1
            case ast.Expr(value=ast.Call(func=ast.Attribute(ast.Name(id=name), "append"), args=[one], keywords=[])):
                appended[name] += not isinstance(one, ast.Starred)
            case ast.Subscript(ast.Name(id=name), ast.UnaryOp(ast.USub(), ast.Constant(1)), ast.Load()):
                read[name] += 1
    only = [name for name, n in appended.items() if n and used[name] == n + read[name]]
    return [name for name in only if not read[name]], [name for name in only if read[name]]


def may_be_list(node: ast.expr) -> bool:
    """May the expression give a list, as far as can be seen?"""
    match node:
        case ast.Constant() | ast.UnaryOp() | ast.Compare() | ast.Lambda():
            return False
        case ast.BinOp(left=left, right=right):
            return any(
                isinstance(x, ast.List | ast.ListComp) or (isinstance(x, ast.BinOp) and may_be_list(x))
                for x in (left, right)
            )
    return True


#: Methods that make a list longer or shorter.
_RESIZING = frozenset(("append", "extend", "insert", "pop", "clear", "appendleft", "extendleft", "popleft", "rotate"))

#: Functions that make the list longer or shorter which they are given first.
_HEAPS = frozenset(("heappush", "heappop"))


def _with_bound(node: ast.AST, bound: frozenset[str]) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """A node and all in it, each with the names that comprehensions and functions around it bind."""
    yield node, bound
    match node:
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            targets = (n for g in node.generators for n in ast.walk(g.target))
            bound |= {n.id for n in targets if isinstance(n, ast.Name)}
        case ast.Lambda() | ast.FunctionDef():
            inside = list(ast.walk(node))
            bound |= {n.arg for n in inside if isinstance(n, ast.arg)}
            bound |= {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            bound -= {name for n in inside if isinstance(n, ast.Nonlocal) for name in n.names}
    for child in ast.iter_child_nodes(node):
        yield from _with_bound(child, bound)


def may_resize(block: Sequence[ast.stmt]) -> bool:
    """May a block make lists longer or shorter, by itself or by a function that it calls for nothing else?"""
    for node in (n for statement in block for n in ast.walk(statement)):
        match node:
            case ast.Expr(value=ast.Call()) | ast.Delete() | ast.Call(func=ast.Attribute(attr="pop" | "popleft")):
                return True
            case ast.AugAssign(op=ast.Add(), value=ast.List() | ast.ListComp() | ast.Tuple()):
                return True
    return False


def changed_lists(block: Sequence[ast.stmt]) -> dict[str, str]:
    """The names whose lists a block may change, and how it uses them: ``"otherwise"``, where it makes them longer or
    shorter; ``"items"`` and ``"indexed"``, where it assigns to items only, at constant indices or at others;
    ``"replaced"``, where it gives one's name to another list that becomes longer; ``"passed"``, where other functions
    may do either."""
    found: dict[str, str] = {}
    resized, written, indexed, passed = set[str](), set[str](), set[str](), set[str]()
    root: ast.expr
    parts: list[tuple[str, str]] = []
    names: list[tuple[str, str]] = []
    for node, bound in (pair for statement in block for pair in _with_bound(statement, frozenset())):
        match node:
            case ast.Call(func=ast.Attribute(ast.Name(id=name), attr=attr)) if attr in _RESIZING and name not in bound:
                resized.add(name)
            case ast.Call(func=ast.Attribute(attr=attr) | ast.Name(id=attr), args=[ast.Name(id=name), *_]) if (
                attr in _HEAPS and name not in bound
            ):
                resized.add(name)
            case ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=ast.List() | ast.ListComp() | ast.Tuple()):
                resized.add(name)
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Del()):
                resized.add(name)
            case ast.Subscript(ctx=ast.Store()):
                root, known = node, True
                while isinstance(root, ast.Subscript):
                    root, known = root.value, known and is_constant(root.slice)
                if isinstance(root, ast.Name):
                    (written if known else indexed).add(root.id)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript(value=ast.Name(id=base))):
                parts.append((name, base))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=base)):
                names.append((name, base))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                pairs = zip(targets, values, strict=False)
                names += [(a.id, b.id) for a, b in pairs if isinstance(a, ast.Name) and isinstance(b, ast.Name)]
        if isinstance(node, ast.Call):
            passed.update(a.id for a in node.args if isinstance(a, ast.Name) and a.id not in bound)
    indexed.update([base for name, base in parts if name in written | indexed])
    replaced = {name for name, base in names if base in resized}
    uses = (passed, "passed"), (replaced, "replaced"), (written, "items"), (indexed, "indexed"), (resized, "otherwise")
    for those, use in uses:
        found.update(dict.fromkeys(sorted(those), use))
    return found


def is_constant(node: ast.expr | None) -> bool:
    """Constants, and what is made of nothing else."""
    match node:
        case None | ast.Constant():
            return True
        case ast.UnaryOp(operand=operand):
            return is_constant(operand)
        case ast.BinOp(left=left, right=right):
            return is_constant(left) and is_constant(right)
        case ast.Slice(lower=lower, upper=upper, step=step):
            return is_constant(lower) and is_constant(upper) and is_constant(step)
        case ast.Tuple(elts=elements):
            return all(map(is_constant, elements))
    return False


def _is_text(node: ast.expr) -> bool:
    """A string, or a tuple of strings: what is compared with it is a string, or anyhow no number."""
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return bool(elements) and all(map(_is_text, elements))
    return False


def _is_plain(node: ast.expr) -> bool:
    """A number that Python knows: a constant, a number of dimensions."""
    match node:
        case ast.Constant() | ast.Attribute(attr="ndim"):
            return True
        case ast.UnaryOp(operand=operand):
            return _is_plain(operand)
        case ast.BinOp(left=left, right=right):
            return _is_plain(left) and _is_plain(right)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return all(map(_is_plain, elements))
    return False


def junctions_that_decide(nodes: Iterable[ast.AST]) -> set[ast.expr]:
    """The ``and`` and ``or`` that are conditions, or operands of such and of ``not``: what they give is asked for its
    truth only."""
    found: set[ast.expr] = set()
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        match node:
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
                found |= _deciding(test)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                found |= _deciding(operand)
            case ast.comprehension(ifs=tests):
                found = found.union(*map(_deciding, tests))
    return found


def _deciding(test: ast.expr) -> set[ast.expr]:
    """Those of one condition."""
    return {test}.union(*map(_deciding, test.values)) if isinstance(test, ast.BoolOp) else set()


def attribute_chain(node: ast.expr) -> ast.expr | None:
    """A fresh copy, for reading, of a name with attributes; None for anything else."""
    if isinstance(node, ast.Name):
        return load(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    base = attribute_chain(node.value)
    return None if base is None else ast.Attribute(base, node.attr, ast.Load())


def is_identity(node: ast.Compare) -> bool:
    """May it ask whether two objects are the same one?"""
    operands = [node.left, node.comparators[0]]
    return isinstance(node.ops[0], ast.Is | ast.IsNot) and not any(isinstance(x, ast.Constant) for x in operands)
