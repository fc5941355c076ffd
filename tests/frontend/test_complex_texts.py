"""What programs print of complex values, and what exceptions say of them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.ir.parser import parse


def report(z: Any, w: Any, s: Any) -> Any:
    """All ways to write a value; the last ones in a recorded loop."""
    print("z", z, w, f"{s:.2f}|{s!r}|{z[0]:.3f}", "%s and %-12s." % (s, s), [s], {"a": s})  # noqa: UP031
    known = np.zeros(2, complex)
    print("known", known, f"{known[0]:.1f}", 2j)
    known[0] = s
    print(known)
    for i in range(12):
        s = s * 1j
        if i % 4 == 0:
            print(i, s, s.real)
    logging.getLogger("complex").warning("at the end %s", s)
    return s


@pytest.mark.parametrize("loops", ["roll", "unroll"])
def test_printed(loops: Any, capsys: Any, caplog: Any) -> None:
    compiled = jg.jit(report, loops=loops)
    for z in (np.array([1 + 2j, 3.5]), np.array([-1j, 2e-9])):
        args = z, np.ones(2, np.complex64) / 3, 0.5 - 1j
        report(*args)
        expected = capsys.readouterr().out, caplog.text
        caplog.clear()
        compiled(*args)
        found = capsys.readouterr().out, caplog.text
        caplog.clear()
        assert found[0] == expected[0]
        assert found[1].split()[-1] == expected[1].split()[-1]


def checked(z: Any) -> Any:
    if abs(z) > 2:
        raise ValueError(f"too large: {z:.1f} of {z}, {z.real}")
    if z.real < 0:
        raise ValueError("negative", z, z.imag)
    if z.imag < 0:
        raise AssertionError(z)
    return z


def test_exceptions() -> None:
    compiled = jg.jit(checked)
    assert compiled(1 + 0.5j) == 1 + 0.5j
    for z in (3j, -1 + 0.5j, 0.5 - 1j):
        with pytest.raises((ValueError, AssertionError)) as expected:
            checked(z)
        with pytest.raises(expected.type) as found:
            compiled(z)
        assert tuple(map(str, found.value.args)) == tuple(map(str, expected.value.args))


def test_messages_in_the_ir_are_read() -> None:
    text = jg.jit(checked).ir(1j, stage="traced")
    assert "of {2:&3}, {4}" in text
    assert str(parse(text)) == str(parse(str(parse(text))))
    assert "of {2:&3}, {4}" in str(parse(text))
