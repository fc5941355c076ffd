"""A module of LLVM cut into parts, which are compiled at the same time and then linked.

A part has some of the functions that the module's entry calls, and all that they refer to. What several parts need is
in each of them: it is internal, and a part is optimised without looking at the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from llvmlite import ir

#: Characters of text that are worth a part of their own: LLVM takes 10 to 20 ms for them, and 2 for an empty module.
LEAST = 6000

_REFERENCE = re.compile(r'@"[^"]*"')


def split(module: ir.Module, entry: ir.Function, most: int) -> list[str]:
    """The text of a module as the texts of at most ``most`` modules, of about the same length."""
    known = {g.get_reference(): g for g in module.global_values}
    text = {name: str(g) for name, g in known.items()}
    count = min(most, sum(map(len, text.values())) // LEAST)
    if count < 2:
        return [_join(module, text.values())]
    uses = {name: _REFERENCE.findall(t) for name, t in text.items()}
    start = entry.get_reference()
    # The functions that the entry calls: every part knows their names, one has what they do.
    called = {name: known[name] for name in uses[start] if not known[name].is_declaration and name != start}
    declared = {name: _declaration(f) for name, f in called.items()}
    for name in called:
        text[name] = text[name].replace("define internal", "define", 1)

    def needed(root: str) -> dict[str, str]:
        """A function and what it refers to, and so on."""
        found: dict[str, str] = {}
        pending = [root]
        while pending:
            name = pending.pop()
            if name == root or name not in declared:
                found[name] = text[name]
                pending += (x for x in uses[name] if x not in found)
            else:
                found[name] = declared[name]
        return found

    pieces = sorted((needed(name) for name in (start, *called)), key=_length, reverse=True)
    parts: list[dict[str, str]] = [{} for _ in range(count)]
    for piece in pieces:
        least = min(parts, key=_length)
        for name, t in piece.items():
            # What is only declared may be there already, and the other way round.
            if name not in least or t is text[name]:
                least[name] = t
    return [_join(module, part.values()) for part in parts]


def _length(part: dict[str, str]) -> int:
    return sum(map(len, part.values()))


def _declaration(f: ir.Function) -> str:
    arguments = ", ".join(str(a.type) for a in f.args)
    return f"declare {f.return_value.type} {f.get_reference()}({arguments})\n"


def _join(module: ir.Module, values: Iterable[str]) -> str:
    """A module of these functions and variables, with the metadata of a module."""
    frame = ir.Module(module.name)
    frame.triple, frame.data_layout = module.triple, module.data_layout
    frame.namedmetadata, frame.metadata = module.namedmetadata, module.metadata
    return "\n".join((str(frame), *values))
