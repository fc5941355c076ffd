"""Rows of a table, a list of lists of numbers in recorded code, that get other places in it, or are replaced.

The table is one array. A row that was read, ``row = M[i]``, shows a part of it, and in Python is a list of its own. So
what ``M[i] = ...`` replaces becomes one: the row that was read there, with the numbers that it had. Of other rows that
were read it is not known whether they lie there; they can't be used any more. A row that is put where another one lies,
``M[i] = M[p]``, is in the table twice until something replaces it at the place that it came from, as in a swap. While
it is, nothing may be written into the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from jitgrad.errors import RollError
from jitgrad.frontend.fixed import fix
from jitgrad.frontend.list_methods import refused
from jitgrad.frontend.primitives import strong
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim, IndexExpr
from jitgrad.ir.location import user_location

if TYPE_CHECKING:
    from jitgrad.frontend.growing import Growing


class _Gone:
    """In the place of the array of a row that can't be used any more."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise RollError(
            "it uses a row of a table by a name of before a row of the table was replaced.", user_location()
        )

    __len__ = __iter__ = __getitem__ = __bool__ = _refuse


def replace(table: Growing, at: Dim, value: Any) -> None:
    """``table[at] = value`` for a row. Raises RollError where Python would have one list in two places."""
    item, trace = table.item, table.trace
    if table.whole is not None or table.window is not None or item is None:
        raise refused()
    doubled = table.doubled
    table.doubled = None
    moves = type(value) is type(table)
    if moves:
        content, doubled_now = _content(table, value), value.place if value.whole is not None else None
    else:
        (content,), doubled_now = table._accepted(value), None
    if doubled is not None and not _same(doubled, at):
        raise _twice()
    rows = [x for r in table.readers if (x := r()) is not None and x is not value]
    here = [x for x in rows if x.home is trace.scope and x.whole is table and _same(x.place, at)]
    for row in rows:
        if here == [row]:
            _detach(row)
        else:  # among them several that are one list in Python
            row.rooms = _Gone()  # pyright: ignore[reportAttributeAccessIssue]
    table.readers.clear()
    table._rewrite()
    table.moved = True
    table._store(at, [content])
    if moves:
        value.rooms = _Gone()  # pyright: ignore[reportAttributeAccessIssue]
    else:
        fix(trace, value, table, appended=at)
    table.doubled = doubled_now


def refuse_doubled(table: Growing) -> None:
    """Raise RollError where a row lies in a table twice: a change of one would have to show in the other."""
    if table.doubled is not None:
        raise _twice()


def _twice() -> RollError:
    return RollError("it puts one row into a table twice, or one that has another name.", user_location())


def _content(table: Growing, value: Growing) -> Tracer:
    """The numbers of a row that another place of the table gets."""
    item, room = table.item, table.rooms[0]
    if value.whole is not None and value.whole is not table:
        raise _twice()
    same = value.item is not None and item is not None and value.item.depth == item.depth - 1
    if not same or value.size != room.dims[1] or value.rooms[0].dtype != room.dtype or not value.was_row:
        raise refused()
    return strong(Tracer(table.trace, table.trace.own(value._columns()[0])))


def _detach(row: Growing) -> None:
    """Let a row be a list of its own."""
    own = Tracer(row.trace, row.rooms[0].value)
    own.boxed = True
    row.rooms, row.whole = [own], None


def _same(a: Dim | None, b: Dim) -> bool:
    """Are two places the same, as far as it is known?"""
    if a == b:
        return True
    first, second = _checked(a), _checked(b)
    return first is not None and first == second


def _checked(d: Dim | None) -> tuple[Value, Any] | None:
    """The index, and the extent, that a place is checked for."""
    if not isinstance(d, IndexExpr) or len(d.syms()) != 1:
        return None
    (sym,) = d.syms()
    value = sym.payload
    op = value.op if isinstance(value, Value) else None
    if op is None or op.name != "wrap_index":
        return None
    return op.operands[0], op.attrs["extent"]
