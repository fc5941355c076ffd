"""What the threads of a team share out, and where they meet."""

from __future__ import annotations

from jitgrad.cuda.teams import conflicting, distributable, may_meet, touches
from jitgrad.ir.index import Sym, expr
from jitgrad.ir.types import f64, i64
from jitgrad.loopir.nodes import Buffer, Load, Loop, Store, cast, dynamic, dynamic_between
from jitgrad.loopir.walk import written

K, V, Y = Buffer("k", i64, (64,), "arg"), Buffer("v", f64, (64,), "arg"), Buffer("y", f64, (8,))


def scatter(mode: str) -> Loop:
    """Updates of ``y[k[i]]``."""
    i = Sym("i", 0, 63)
    at = dynamic(Load(K, (expr(i),)), 8)
    return Loop(i, 0, 64, (Store(Y, (at,), Load(V, (expr(i),)), mode),))


def test_updates_of_two_kinds_meet_in_between() -> None:
    total, greatest = scatter("+="), scatter("max=")
    changed = written((total, greatest))

    def meet(first: Loop, second: Loop) -> bool:
        found = [touches(s, s, conflicting(s)) for s in (first, second)]
        return any(may_meet(a, b, changed) for a in found[0] for b in found[1])

    assert distributable(total) and distributable(greatest)
    assert not meet(total, scatter("+=")), "sums may come in any order"
    assert meet(total, greatest) and meet(greatest, total)


def test_threads_do_not_move_the_end_of_their_loop() -> None:
    n = Buffer("n", i64, (64,))
    i = Sym("i", 0, 63)
    end = dynamic_between(Load(n, (0,)), 0, 64)
    moving = Loop(i, 0, end, (Store(n, (expr(i),), cast(Load(V, (expr(i),)), i64)),))
    assert not distributable(moving)
    assert distributable(Loop(i, 0, end, (Store(Buffer("m", i64, (64,)), (expr(i),), Load(K, (expr(i),))),)))
