"""Renaming loop variables in scalar expressions."""

from __future__ import annotations

from jitgrad.ir.index import as_sym, sym
from jitgrad.ir.types import f64
from jitgrad.loopir.nodes import Buffer, Load
from jitgrad.loopir.rewrite import rewrite


def test_exchanging_two_variables_is_simultaneous() -> None:
    i, j = sym("i", 0, 2), sym("j", 0, 2)
    a = Buffer("a", f64, (3, 3))
    e = Load(a, (i, j)) - Load(a, (j, i))
    exchanged = rewrite(e, {as_sym(i): j, as_sym(j): i}, {})  # pyright: ignore
    assert exchanged is Load(a, (j, i)) - Load(a, (i, j))
