"""What a function reads from outside: global names, closure variables and attribute chains, found in its bytecode.

``np.tanh(x @ net.w1) * SCALE`` reads the chains ``np: {("tanh",)}``, ``net: {("w1",)}`` and ``SCALE: {()}``. The
empty chain means that the object itself is used: passed on, called, indexed, iterated over.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

Chain = tuple[str, ...]

_BY_NAME = frozenset(("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"))
_GLOBAL = _BY_NAME | {"LOAD_GLOBAL"}
_LOCAL = frozenset(
    (
        "LOAD_FAST",
        "LOAD_FAST_CHECK",
        "LOAD_FAST_BORROW",
        "LOAD_DEREF",
        "LOAD_CLASSDEREF",
        "LOAD_FROM_DICT_OR_DEREF",
    )
)
_PAIRS = frozenset(("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST_LOAD_FAST"))
_ATTRIBUTE = frozenset(("LOAD_ATTR", "LOAD_METHOD"))
_SILENT = frozenset(("CACHE", "NOP", "EXTENDED_ARG", "PRECALL"))


class Reads(NamedTuple):
    """``globals`` and ``locals`` (parameters and closure variables alike): chains by name. ``stored``: names of closure
    variables and globals that the code assigns to. ``uses_super``: it calls ``super()``. ``in_classes``: names that the
    bodies of classes read, which may be global."""

    globals: dict[str, frozenset[Chain]]
    locals: dict[str, frozenset[Chain]]
    stored: frozenset[str]
    stores_globals: frozenset[str]
    uses_super: bool
    in_classes: frozenset[str]


@lru_cache(maxsize=4096)
def reads_of(code: types.CodeType) -> Reads:
    """Scan a code object, with the functions, comprehensions and classes nested in it."""
    global_chains: dict[str, set[Chain]] = {}
    local_chains: dict[str, set[Chain]] = {}
    stored: set[str] = set()
    stores_globals: set[str] = set()
    in_classes: set[str] = set()
    uses_super = False
    for kind, name, chain in _loads(code):
        (global_chains if kind == "global" else local_chains).setdefault(name, set()).add(chain)
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            stores_globals.add(instruction.argval)
        elif instruction.opname in ("STORE_DEREF", "DELETE_DEREF"):
            stored.add(instruction.argval)
        elif instruction.opname in _BY_NAME:
            in_classes.add(instruction.argval)
        uses_super = uses_super or instruction.opname == "LOAD_SUPER_ATTR"
    uses_super = uses_super or "super" in global_chains
    for nested in code.co_consts:
        if not isinstance(nested, types.CodeType):
            continue
        inner = reads_of(nested)
        for name, chains in inner.globals.items():
            global_chains.setdefault(name, set()).update(chains)
        for name in nested.co_freevars:
            local_chains.setdefault(name, set()).update(inner.locals.get(name, ()))
        stored.update(inner.stored.intersection(nested.co_freevars))
        stores_globals |= inner.stores_globals
        in_classes |= inner.in_classes
    return Reads(
        {k: frozenset(v) for k, v in global_chains.items()},
        {k: frozenset(v) for k, v in local_chains.items()},
        frozenset(stored),
        frozenset(stores_globals),
        uses_super,
        frozenset(in_classes),
    )


def _loads(code: types.CodeType) -> Iterator[tuple[str, str, Chain]]:
    """Every load of a name, with the attributes that are read from it at once. From Python 3.13 on, a variable that
    functions inside use is put into them by instructions that load other variables; that reads nothing."""
    instructions = [i for i in dis.get_instructions(code) if i.opname not in _SILENT]
    cells = {*code.co_cellvars, *code.co_freevars}
    for k, instruction in enumerate(instructions):
        op, name = instruction.opname, instruction.argval
        if op in _GLOBAL:
            yield "global", name, _chain(instructions, k + 1)
        elif op in _LOCAL and ("FAST" not in op or name not in cells):
            yield "local", name, _chain(instructions, k + 1)
        elif op in _PAIRS:
            first, second = name
            if op != "STORE_FAST_LOAD_FAST" and first not in cells:
                yield "local", first, ()
            if second not in cells:
                yield "local", second, _chain(instructions, k + 1)


def _chain(instructions: list[dis.Instruction], start: int) -> Chain:
    names: list[str] = []
    for instruction in instructions[start:]:
        if instruction.opname not in _ATTRIBUTE:
            break
        names.append(instruction.argval)
    return tuple(names)
