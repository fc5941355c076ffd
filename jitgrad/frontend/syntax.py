"""Functions rewritten from their source, so that their control flow reaches a runtime object.

`rewrite` gives a code object to run in the place of a function's own: same name, parameters, closure, file and lines.
In it, loops, branches, ``and``/``or``/``not``, chained comparisons, assertions and subscripts call methods of the
global ``__jitgrad__``, which the caller supplies. With a runtime that does what Python does, the function does what it
did. In the table, ``state`` is the tuple of the variables that the statement may rebind and whose values matter later,
and ``names`` has their names; ``then``, ``orelse`` and bodies are functions of the state that return the new state;
``UNBOUND`` stands for a variable without a value.

====================================================== =============================================================
``if_(test, then, orelse, state, names, line[, lists])`` ``if``; returns the new state. ``lists`` as of a loop, where it
                                                        makes some longer or shorter
``if_return(test, then, orelse, line)``                 an ``if`` both branches of which return (functions without
                                                        arguments); returns what the function returns
``for_(iterable, body, state, names, flag, writes,     ``for``; ``body(item, *state)``. ``flag`` is None or the name of
line, size, lists)``                                    the variable that ends the loop when true, tested after each
                                                        iteration; ``writes()`` is a tuple of objects which the body may
                                                        write into; ``size`` counts the operations in the body
``while_(test, body, state, names, flag, writes,       ``while``; ``test(*state)`` is not called once the flag is true
line, lists)``
``range_(range, ...)``, ``enumerate_``, ``zip_``,      as iterables of loops; first, what the name means there
``reversed_``
``and_(a, thunk)``, ``or_(a, thunk)``, ``not_(a)``,    thunks are functions without arguments; a further argument True
                                                        says that the result is a condition
``ifexp(test, thunk, thunk, line)``
``assert_(test, thunk or None, line)``                 the thunk gives the message
``thrown(thunk)``                                      what ``raise`` raises, which the thunk makes
``handled()``                                          a context: the body of a ``try`` that has handlers
``getitem(a, index)``, ``setitem(a, index, value)``,   ``op`` is "+", "-", ... ``augitem`` gets its value before the
``augitem(a, index, op, value)``, ``s_[...]``           element is read; ``s_[...]`` gives back what is in the brackets
``delitem(a, index)``, ``delete_attribute(a, name)``   ``del`` of an item or attribute
``binary(a, op, b)``, ``unary(op, a)``,                operators, but for those in the other lines; what ``a`` is after
``in_place(a, op, b)``                                  ``a op= b``
``unpacked(a)``, ``managed(a)``                        what is taken apart (``x, y = a``, ``f(*a)``); the context of a
                                                        ``with``
``read(owner, name)``, ``called(owner, name)``          ``owner.name``; what to call for ``owner.name(...)``
``augmented(a)``                                       before ``a op= b``, which changes ``a`` if it is a container
``contains(a, container)``, ``is_none(a)``              ``a in container``, ``a is None``
``is_same(a, b)``                                      ``a is b``, where they may be objects or bools
``callee(function)``                                   what to call in the place of a method, of a function that
                                                        a variable or container holds, of ``float``, ``int``, ``bool``
                                                        and ``type``
``show(function, thunk)``, ``percent(text, values)``,  a call of what may print or warn, whose arguments the thunk
``text(thunk)``                                         gives; ``text % values``; the f-string that the thunk gives
``attribute(owner, name)``,                            the owner of an attribute that is about to be assigned to; the
``augmented_attribute(owner, name)``                    second before ``owner.name op= b``
``own_variables(thunk)``, ``note_variables(thunk)``     at the start of a function: its variables that closures assign,
``handed_over(noted, state)``                          and those of functions around it that may be assigned; the state
                                                        of a statement, with what was noted at the start of its part
``bound(value, name)``, ``bound_free(value, name)``    the value; UnboundLocalError and NameError for ``UNBOUND``
``collect(iterable, element, line, size)``              a list comprehension; ``element`` is a function of an item,
                                                        ``size`` counts the operations in it
``filtered(iterable, choose, line)``                   one with conditions; ``choose`` is a function of an item that
                                                        gives the test, and a function that gives the element
``first(iterable, choose, line[, default])``            ``next`` of a generator with one loop; ``choose`` likewise
``quantified(function, iterable, choose, line, size)`` ``any`` or ``all`` of one; ``function`` is what the name means
``comprehension_iter(iterable, line)``                 the iterable of another one, which stays Python's
``opaque_iter(iterable, reason, line)``,               iterable and test of a statement that has to stay Python's
``opaque_test(test, reason, line)``
``hint(thunk, ...)``                                   the values of those thunks that have one
``expression(iterable, choose, line)``                  a generator expression with one loop; ``choose`` likewise
``sent(value)``                                        hands on what a consumed generator yields: does the loop end?
====================================================== =============================================================

What stays Python's, whole: functions without source, generators that no loop consumes, coroutines, callers of
``locals``, ``exec`` and ``eval``; classes inside functions, until a method is called. A loop or branch stays
Python's with an opaque iterable or test if it assigns ``global`` names, or ``nonlocal`` ones of a function that is not
rewritten, or jumps out of a ``try``. A part of an expression with ``:=`` stays where it is.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import inspect
import itertools
import linecache
import re
import types
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from jitgrad.frontend.syntax_names import FunctionNode, Scopes
from jitgrad.frontend.syntax_nodes import (
    FUNCTION,
    PREFIX,
    RUNTIME,
    constant,
    definition,
    load,
    mangle,
    parameters,
    place,
    span,
    store,
)
from jitgrad.frontend.syntax_rewrite import rewrite_function
from jitgrad.frontend.syntax_yields import NotPlain, without_yields

_FUTURES = 0
for _name in __future__.all_feature_names:
    _FUTURES |= getattr(__future__, _name).compiler_flag

#: An import at the start of a line, with what it has in parentheses.
_IMPORT = re.compile(r"^(?:import|from)\b(?:[^\n(\\]|\\\n|\([^)]*\))*", re.MULTILINE)

_SUSPENDS = {
    inspect.CO_GENERATOR: "it is a generator",
    inspect.CO_COROUTINE: "it is a coroutine",
    inspect.CO_ASYNC_GENERATOR: "it is an asynchronous generator",
}
#: What makes it worth while to run rewritten code; the checks of unbound variables alone don't.
_CALLS = frozenset(
    {"if_", "if_return", "for_", "while_", "range_", "enumerate_", "zip_", "reversed_", "and_", "or_", "not_", "ifexp"}
    | {
        "assert_",
        "thrown",
        "handled",
        "getitem",
        "setitem",
        "augitem",
        "delitem",
        "delete_attribute",
        "collect",
        "filtered",
        "first",
        "quantified",
        "comprehension_iter",
        "opaque_iter",
        "opaque_test",
        "callee",
        "appender",
        "set_of",
        "dict_of",
        "table",
        "note_variables",
        "own_variables",
        "contains",
        "is_none",
        "is_same",
        "attribute",
        "augmented_attribute",
        "show",
        "text",
        "percent",
        "binary",
        "unary",
        "in_place",
        "read",
        "called",
        "unpacked",
        "managed",
        "sent",
        "expression",
    }
)


class _Result(NamedTuple):
    file: str
    code: types.CodeType | None
    reason: str | None


class _Refused(Exception):
    """The function stays as it is, for the reason given."""


_results: weakref.WeakKeyDictionary[types.CodeType, _Result] = weakref.WeakKeyDictionary()
_consumed: weakref.WeakKeyDictionary[types.CodeType, _Result] = weakref.WeakKeyDictionary()
_produced: weakref.WeakSet[types.CodeType] = weakref.WeakSet()


def rewrite(fun: types.FunctionType) -> types.CodeType | None:
    """The code to run in the place of ``fun.__code__``, or None where that is to stay (`why_not` has the reason, unless
    there is nothing to rewrite). Functions inside are rewritten with it. Results are cached by code object."""
    code = fun.__code__
    if code in _produced:
        return None
    result = _results.get(code)
    if result is None or result.file != code.co_filename:  # equal code objects may come from two files
        try:
            result = _Result(code.co_filename, _rewritten(code, fun.__globals__), None)
        except _Refused as refusal:
            result = _Result(code.co_filename, None, str(refusal))
        except RecursionError:
            result = _Result(code.co_filename, None, "it is nested too deeply")
        _results[code] = result
        if result.code is not None:
            _produced.update(_codes(result.code))
    return result.code


def rewrite_generator(fun: types.FunctionType) -> types.CodeType | None:
    """The rewritten code of a plain function that hands on what the generator function yields (``syntax_yields``); None
    where that can't be done. Cached by code object."""
    code = fun.__code__
    result = _consumed.get(code)
    if result is None or result.file != code.co_filename:
        try:
            result = _Result(code.co_filename, _rewritten(code, fun.__globals__, consumed=True), None)
        except (_Refused, RecursionError) as refusal:
            result = _Result(code.co_filename, None, str(refusal))
        _consumed[code] = result
        if result.code is not None:
            _produced.update(_codes(result.code))
    return result.code


def why_not(code: types.CodeType) -> str | None:
    """Why `rewrite` has left a function with this code as it is, to be read after "because"; None if it has rewritten
    it, found nothing to rewrite, or was never asked."""
    result = _results.get(code)
    return None if result is None or result.file != code.co_filename else result.reason


def rewritten_source(fun: types.FunctionType) -> str | None:
    """The rewritten function as text, to look at; None where `rewrite` gives None."""
    if rewrite(fun) is None:
        return None
    found, scopes = _understood(fun.__code__, fun.__globals__)
    rewrite_function(found.node, scopes)
    if isinstance(found.node, ast.FunctionDef):
        found.node.decorator_list = []
    return ast.unparse(found.node)


def _rewritten(code: types.CodeType, variables: dict, *, consumed: bool = False) -> types.CodeType | None:
    """``consumed``: the code is that of a generator function, to be made a plain one."""
    for flag, reason in _SUSPENDS.items():
        if code.co_flags & flag and not (consumed and flag == inspect.CO_GENERATOR):
            raise _Refused(reason)
    found, scopes = _understood(code, variables, consumed=consumed)
    node = found.node
    rewrite_function(node, scopes)
    try:
        made = _compile(found, code)
        lost = set(code.co_freevars) - set(made.co_freevars)
        if lost and isinstance(node, ast.FunctionDef):  # read only by what can't be reached
            reads: list[ast.stmt] = [ast.Expr(load(name)) for name in sorted(lost)]
            node.body.append(place(ast.If(ast.Constant(False), reads, []), node))
            made = _compile(found, code)
    except SyntaxError as error:
        raise _Refused(f"its rewritten form does not compile ({error})") from error
    if made.co_freevars != code.co_freevars:
        raise _Refused("its rewritten form has another closure")
    if not any(RUNTIME in c.co_names and not _CALLS.isdisjoint(c.co_names) for c in _codes(made)):
        return None
    return made


def _understood(code: types.CodeType, variables: dict, *, consumed: bool = False) -> tuple[_Found, Scopes]:
    """The function in its source, and its scopes, if it can be rewritten."""
    found = _locate(code, variables)
    mangle(found.node, found.class_name)
    scopes = Scopes(found.node)
    if scopes.delicate is not None:
        raise _Refused(f"it calls {scopes.delicate}()")
    if any(name.startswith(PREFIX) for name in scopes.mentioned) or RUNTIME in scopes.mentioned:
        raise _Refused(f"it uses a name that starts with {PREFIX!r}, which rewritten code needs for itself")
    if consumed:
        try:
            without_yields(found.node)
        except NotPlain as reason:
            raise _Refused(str(reason)) from None
        scopes = Scopes(found.node)
    scopes.implicit_super = "__class__" in code.co_freevars and "super" not in variables
    return found, scopes


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of the functions inside. Those of classes inside are rewritten when they are called."""
    yield code
    for value in code.co_consts:
        if isinstance(value, types.CodeType) and value.co_flags & inspect.CO_OPTIMIZED:
            yield from _codes(value)


# From code to source


class _Found(NamedTuple):
    """A function in a source: ``node`` is the caller's to change, ``class_name`` the innermost class around it,
    ``imported`` the names that the module imports (calls of their attributes are compiled in another way)."""

    node: FunctionNode
    class_name: str | None
    imported: tuple[str, ...]


def _locate(code: types.CodeType, variables: dict) -> _Found:
    """The function in its source that has the code."""
    lines = linecache.getlines(code.co_filename, variables)
    found = _matching(code, lines)
    if not found:
        linecache.checkcache(code.co_filename)
        again = linecache.getlines(code.co_filename, variables)
        if again != lines:
            found = _matching(code, again)
        if not again and not lines:
            raise _Refused("its source is not available")
    if not found:
        raise _Refused("its source is not the one that it was compiled from")
    if len(found) > 1:
        raise _Refused("several functions in its line look the same")
    return found[0]


def _matching(code: types.CodeType, lines: list[str]) -> list[_Found]:
    """The functions in a source that compile to the code. Where several do, the one with the columns of the code."""
    near = _near(code, lines)
    if near is not None:
        return [near]
    parsed = _parse("".join(lines))
    if parsed is None:
        return []
    tree, imported = parsed
    matches: list[tuple[_Found, types.CodeType]] = []
    for node, class_name in _functions_at(tree, code):
        try:
            found = _Found(_own_tree(node, lines, code), class_name, imported)
            compiled = _compile(found, code)
        except SyntaxError:
            continue
        if _same(compiled, code):
            matches.append((found, compiled))
    if len(matches) > 1:
        matches = [m for m in matches if list(m[1].co_positions()) == list(code.co_positions())]
    return [found for found, _ in matches]


def _near(code: types.CodeType, lines: list[str]) -> _Found | None:
    """The definition in the lines of the code, if it compiles to the code: no other starts there. Only its own lines
    are parsed, as a module may be long."""
    if not code.co_name.isidentifier():  # a lambda, of which a line may have several
        return None
    last = max(_last_line(c) for c in _codes(code))
    try:
        node = _definition(code.co_firstlineno, last, lines, code)
        found = _Found(node, _class_around(code), _imported("".join(lines)))
        return found if node.name == code.co_name and _same(_compile(found, code), code) else None
    except (SyntaxError, ValueError):
        return None


def _last_line(code: types.CodeType) -> int:
    return max((end for _, end, _, _ in code.co_positions() if end is not None), default=code.co_firstlineno)


def _class_around(code: types.CodeType) -> str | None:
    """The innermost class around a function: what is followed by ``<locals>`` in its name is a function."""
    outer = code.co_qualname.split(".")
    classes = [name for name, inner in itertools.pairwise(outer) if "<locals>" not in (name, inner)]
    return classes[-1] if classes else None


@lru_cache(maxsize=16)
def _imported(source: str) -> tuple[str, ...]:
    """The names that the module imports outside of other statements, found without parsing it."""
    names: set[str] = set()
    for statement in _IMPORT.findall(source):
        with contextlib.suppress(SyntaxError, ValueError):
            names.update(name for node in ast.parse(statement).body for name in _names_imported(node))
    return tuple(sorted(names))


def _names_imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names if alias.name != "*")


@lru_cache(maxsize=16)
def _parse(source: str) -> tuple[ast.Module, tuple[str, ...]] | None:
    """The module and the names that it imports; None for what is no module."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    imported: set[str] = set()
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        imported.update(_names_imported(node))
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While | ast.ExceptHandler):
            todo.extend(ast.iter_child_nodes(node))
    return tree, tuple(sorted(imported))


def _functions_at(tree: ast.Module, code: types.CodeType) -> Iterator[tuple[FunctionNode, str | None]]:
    """The functions of that name which start in that line, each with the name of the innermost class around it."""
    line = code.co_firstlineno
    todo: list[tuple[ast.AST, str | None]] = [(tree, None)]
    while todo:
        node, class_name = todo.pop()
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name and _first_line(node) == line:
            yield node, class_name
        if isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno == line:
            yield node, class_name
        if isinstance(node, ast.ClassDef):
            class_name = node.name
        for child in ast.iter_child_nodes(node):
            end = getattr(child, "end_lineno", None)
            if end is None or _first_line(child) <= line <= end:
                todo.append((child, class_name))


def _first_line(node: ast.AST) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([span(node)[0], *(d.lineno for d in decorators)])


def _own_tree(node: FunctionNode, lines: list[str], code: types.CodeType) -> FunctionNode:
    """The function parsed again, with all lines and columns as they are in the file."""
    last = node.end_lineno or node.lineno
    if isinstance(node, ast.Lambda):
        flags = ast.PyCF_ONLY_AST | (code.co_flags & _FUTURES)
        piece = [line.encode() for line in lines[node.lineno - 1 : last]]
        piece[-1] = piece[-1][: node.end_col_offset]
        piece[0] = piece[0][node.col_offset :]
        text = b"".join(piece).decode()
        before = "(" + "\n" * (node.lineno - 1)
        before += " " * (node.col_offset - (node.lineno == 1))
        tree = compile(f"{before}{text}\n)", code.co_filename, "eval", flags, dont_inherit=True)
        assert isinstance(tree, ast.Expression) and isinstance(tree.body, ast.Lambda)
        return _bare(tree.body)
    return _definition(_first_line(node), last, lines, code)


def _definition(first: int, last: int, lines: list[str], code: types.CodeType) -> ast.FunctionDef:
    """The definition that is in these lines. Raises SyntaxError where there is none."""
    flags = ast.PyCF_ONLY_AST | (code.co_flags & _FUTURES)
    text = "".join(lines[first - 1 : last])
    indented = text[:1].isspace()
    before = "\n" * (first - 2) + "if 1:\n" if indented else "\n" * (first - 1)
    module = compile(before + text, code.co_filename, "exec", flags, dont_inherit=True)
    assert isinstance(module, ast.Module)
    statement = module.body[0] if module.body else None
    if indented and isinstance(statement, ast.If):
        statement = statement.body[0]
    if not isinstance(statement, ast.FunctionDef):
        raise SyntaxError("not a function")
    _bare(statement)
    return statement


def _bare(node: FunctionNode) -> FunctionNode:
    """Without what is no part of the function's code: default values, annotations, decorators."""
    none = place(ast.Constant(None), node)
    arguments = node.args
    arguments.defaults = [none for _ in arguments.defaults]
    arguments.kw_defaults = [None if d is None else none for d in arguments.kw_defaults]
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if argument is not None:
            argument.annotation = None
    if isinstance(node, ast.FunctionDef):
        node.returns = None
        # One decorator, never run, keeps the first line of the code object.
        node.decorator_list = [place(ast.Constant(None), d) for d in node.decorator_list[:1]]
        definition(node)
    return node


# From a tree to code


def _compile(found: _Found, code: types.CodeType) -> types.CodeType:
    """The code of a function that has the same free variables as ``code``, compiled where they exist."""
    node, class_name, imported = found
    body: list[ast.stmt] = [place(ast.Expr(node), node) if isinstance(node, ast.Lambda) else node]
    if class_name is not None:
        body = [definition(ast.ClassDef(class_name, bases=[], keywords=[], body=body, decorator_list=[]))]
    names = [n for n in code.co_freevars if n != "__class__"]
    if names:
        body.insert(0, ast.Assign([store(n) for n in names], constant(None)))
    defined = class_name if class_name is not None else code.co_name
    if defined not in names and defined != "<lambda>":
        body.insert(0, ast.Global([defined]))  # in the function, it means what it means in the module
    factory = definition(ast.FunctionDef("_factory", args=parameters([]), body=body, decorator_list=[]))
    first: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in imported]
    module = place(ast.Module([*first, factory], type_ignores=[]), node)
    made = compile(module, code.co_filename, "exec", code.co_flags & _FUTURES, dont_inherit=True)
    for _ in range(2 if class_name is None else 3):
        made = next(value for value in made.co_consts if isinstance(value, types.CodeType))
    flags = made.co_flags & ~inspect.CO_NESTED | code.co_flags & inspect.CO_NESTED
    made = _renamed(made, code.co_name, code.co_qualname)
    return made.replace(co_name=code.co_name, co_qualname=code.co_qualname, co_flags=flags)


def _same(ours: types.CodeType, theirs: types.CodeType) -> bool:
    """Do two code objects do the same? Places in the source are not compared.

    pytest compiles the assertions of test modules in its own way: a function that has some only has to agree in its
    variables and the names that it uses.
    """
    head = ("co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_freevars")
    if any(getattr(ours, name) != getattr(theirs, name) for name in head):
        return False
    if any("@pytest_ar" in code.co_names for code in _codes(theirs)):
        own = [name for name in theirs.co_varnames if not name.startswith("@")]
        return list(ours.co_varnames) == own and set(ours.co_names) <= set(theirs.co_names)
    rest = ("co_code", "co_names", "co_varnames", "co_cellvars")
    return all(getattr(ours, name) == getattr(theirs, name) for name in rest) and _same_constant(
        ours.co_consts, theirs.co_consts
    )


def _same_constant(ours: object, theirs: object) -> bool:
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, types.CodeType) and isinstance(theirs, types.CodeType):
        return _same(ours, theirs)
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return len(ours) == len(theirs) and all(map(_same_constant, ours, theirs))
    return ours == theirs or repr(ours) == repr(theirs)


def _renamed(code: types.CodeType, name: str, qualified: str) -> types.CodeType:
    """The code with readable names for what was generated, and the user's own ones for the rest.

    ``name`` and ``qualified`` are the names of the user's function that the code is a part of.
    """
    constants: list[object] = []
    in_class = not code.co_flags & inspect.CO_NEWLOCALS
    for value in code.co_consts:
        if not isinstance(value, types.CodeType):
            constants.append(qualified if in_class and value == code.co_qualname else value)
            continue
        label = _label(value, name)
        if label is None:
            inner = f"{qualified}.{value.co_name}" if in_class else f"{qualified}.<locals>.{value.co_name}"
            made = _renamed(value, value.co_name, inner).replace(co_qualname=inner)
        else:
            outer = qualified[: len(qualified) - len(name)]
            made = _renamed(value, name, qualified).replace(co_name=label, co_qualname=outer + label)
        constants.append(made)
    return code.replace(co_consts=tuple(constants))


def _label(code: types.CodeType, name: str) -> str | None:
    """The readable name of a generated function inside the function ``name``; None for the user's functions."""
    if code.co_name.startswith(FUNCTION):
        return f"{name}.{code.co_name.removeprefix(FUNCTION)}"
    return name if code.co_varnames[:1] and code.co_varnames[0].startswith(PREFIX) else None
