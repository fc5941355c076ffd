"""Statements and methods that change a list, dict or set in a traced branch or a recorded loop: each gives what plain
Python gives, or is refused; a change made on one way only must not be seen on the other."""

import types

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradError

STATEMENTS = [
    *("del a[-1]", "del a[0]", "del a[:1]", "del a[:1], a[0]", "a.pop()", "a.pop(0)", "a.insert(0, x)", "a.append(x)"),
    *("a.extend([x, x])", "a += [x]", "a += b", "t = a; t += [x]", "a *= 2", "a.reverse()", "a.clear()", "a[:] = [x]"),
    *("a[0:2] = [x]", "a[0], a[1] = a[1], a[0]", "a.sort(key=lambda v: -v)", "d.pop('p')", "del d['p']"),
    *("d['p'] += 1", "d.update(p=5 * x)", "d['z'] = x", "d.clear()", "d |= {'z': x}", "d.popitem()", "s.add(3)"),
    *("s.remove(1)", "s |= {9}", "s -= {1}", "s ^= {1, 5}", "o.list += [x]", "o.list *= 2", "o.dict |= {'z': x}"),
    *("del o.list[0]", "e['k'] += [x]", "e['k'] *= 2"),
]
PROGRAM = """
def program(x):
    a, b = [x, 2 * x, 3 * x], [x, x]
    d, e, s = {{"p": x, "q": 2 * x}}, {{"k": [x]}}, {{1, 2}}
    o = types.SimpleNamespace(list=[x, 2 * x], dict={{"p": x}})
    {head}
        {statement}
    return a, d, len(s), sum(s), o.list, o.dict, e
"""
HEADS = {
    "branch": "if x > 0:",
    "loop": "for i in range(12):\n      if x > 10 * i:",
    "while": "while x > 0 and len(a) > 2 and x < 5 and a[0] < 3:\n        x += 4",
}


def made(path, head, statement):
    """The program, from a file: jitgrad reads the source."""
    path.write_text(PROGRAM.format(head=head, statement=statement))
    scope = {"types": types}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return scope["program"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_change_on_one_way_is_not_seen_on_the_other(tmp_path, head, statement):
    program = made(tmp_path / "program.py", HEADS[head], statement)
    for x in (1.0, -2.0):
        try:
            got = jg.jit(program)(x)
        except JitgradError:
            assert head != "branch" or statement not in ("a[0], a[1] = a[1], a[0]", "d['p'] += 1", "a.reverse()")
            continue
        assert rounded(got) == rounded(program(x))


def rounded(tree):
    """The tree with Python's numbers, rounded."""
    if isinstance(tree, dict):
        return {k: rounded(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(v) for v in tree]
    return round(float(np.asarray(tree)), 9)
