"""What is known of elements while stores are forwarded to loads."""

import numpy as np

from jitgrad.loopir.forward import _Known
from jitgrad.loopir.nodes import Buffer, Load

F64 = np.dtype(np.float64)


def test_a_value_that_is_learned_anew_depends_on_its_new_sources_only():
    old, new, made = (Buffer(name, F64, (2,)) for name in ("old", "new", "made"))
    known = _Known()
    known.learn((made, 0), Load(old, (0,)))
    known.learn((made, 0), Load(new, (1,)))
    known.forget([old], 0)
    assert known.values == {(made, 0): Load(new, (1,))}
    known.forget([new], 0)
    assert known.values
    known.forget([new], 1)
    assert not known.values
    for thing in (old, new, made):
        known.forget([thing], 0)
        known.forget([thing])
