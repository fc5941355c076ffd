"""Functions found in their source by their own lines, as in the whole module."""

from __future__ import annotations

import argparse
import ast
import fractions
import linecache
import statistics
import textwrap
import types
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.optimize._optimize

from jitgrad.frontend import control_flow, syntax


def functions_of(module: types.ModuleType) -> Iterator[types.CodeType]:
    """The code of the functions and methods of a module, and of the functions inside."""
    for value in vars(module).values():
        for member in vars(value).values() if isinstance(value, type) else (value,):
            function = getattr(member, "__wrapped__", member)
            if isinstance(function, types.FunctionType) and function.__code__.co_filename == module.__file__:
                yield from syntax._codes(function.__code__)


@pytest.mark.parametrize(
    "module",
    [argparse, fractions, statistics, textwrap, scipy.optimize._optimize, control_flow],
    ids=lambda m: m.__name__,
)
def test_the_lines_of_a_function_give_what_the_module_gives(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = linecache.getlines(str(module.__file__))
    near = {code: syntax._near(code, lines) for code in functions_of(module)}
    monkeypatch.setattr(syntax, "_near", lambda code, lines: None)
    found = 0
    for code, by_lines in near.items():
        if by_lines is not None:
            (whole,) = syntax._matching(code, lines)
            assert ast.dump(by_lines.node) == ast.dump(whole.node)
            assert by_lines.class_name == whole.class_name
            found += 1
    assert found > 0.8 * sum(code.co_name.isidentifier() for code in near)


def test_lines_that_do_not_hold_the_whole_function() -> None:
    def ends_in_a_class(x):
        class Last:
            value = (x,)

        return Last.value

    def ends_without_code(x):
        try:
            np.sin(x)
        finally:
            pass

    for function in (ends_in_a_class, ends_without_code):
        lines = linecache.getlines(__file__)
        assert len(syntax._matching(function.__code__, lines)) == 1


def test_imports_are_found_without_parsing() -> None:
    source = textwrap.dedent(
        '''\
        """Text.
        import nothing_here
        """
        import os, sys as system
        import a.b.c
        from m import (  # why
            one,
            two as other,
        )
        from n import p, \\
            q
        if True:
            import inner
        from r import *
        '''
    )
    assert syntax._imported(source) == ("a", "nothing_here", "one", "os", "other", "p", "q", "system")
