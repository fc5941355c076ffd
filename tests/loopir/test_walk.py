"""Keys of statements."""

from __future__ import annotations

import numpy as np

from jitgrad.ir.index import Sym, add, expr, mul
from jitgrad.loopir.nodes import Buffer, Index, Load, Store
from jitgrad.loopir.walk import statement_key

I64 = np.dtype(np.int64)


def test_keys_do_not_depend_on_where_objects_lie_in_memory():
    def statement():
        total = 0
        for k in range(5):
            read = Load(Buffer(f"n{k}", I64, (), "arg"), ())
            total = add(total, mul(expr(Sym("e", 0, 9, read)), k + 1))
        return Store(Buffer("out", I64, (), "out"), (), Index(total))

    kept = [statement() for _ in range(20)]
    assert len({repr(statement_key(s)) for s in kept}) == 1
