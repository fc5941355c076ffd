"""``and``, ``or`` and ``not`` of traced values, as rewritten functions call them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from jitgrad.errors import UnsupportedError
from jitgrad.frontend import fixed, users_protocols
from jitgrad.frontend.branching import record_branches
from jitgrad.frontend.optional import Optional, OptionalTuple, is_true
from jitgrad.frontend.recording import condition
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, innermost_trace, is_traced
from jitgrad.ir.location import user_location

#: Ops that a recorded operand of ``and`` may have for both operands to be evaluated.
_EAGER_OPS = 8


def truth(test: Any) -> Any:
    """A condition; a list that is traced is whether it has items, an object of the user's what its class says."""
    if type(test) in (Optional, OptionalTuple):
        return is_true(test)
    return test.truth() if isinstance(test, Collection) else users_protocols.truth(test)


def not_(value: Any) -> Any:
    """``not value``."""
    value = truth(value)
    if not is_traced(value):
        return not value
    trace = HOOKS["current_trace"]() or innermost_trace(value)
    (result,) = trace.emit("logical_not", [condition(trace, value, "not")], {})
    return Tracer(trace, result, "bool")


def is_same(a: Any, b: Any) -> Any:
    """``a is b``. Of True and False that is the truth of a Python bool. Which of those that are traced are NumPy's,
    and so neither of the two, is not always known."""
    if isinstance(b, bool) and isinstance(a, Tracer) and a.weak == "bool":
        return a if b else not_(a)
    if isinstance(b, bool) and (type(a) is Optional or (isinstance(a, Tracer) and not a.dims and a.dtype.kind == "b")):
        raise UnsupportedError(
            f"a traced bool is compared with {b} by 'is'. A bool of NumPy is never {b} itself, and whether this one is "
            f"Python's or NumPy's is not known. Compare by '== {b}', or leave the comparison away.",
            user_location(),
        )
    return fixed.is_same(a, b)


def and_(a: Any, b: Callable[[], Any], decides: bool = False) -> Any:
    """``a and b()``; ``decides``: it is a condition, so whether it is true is all that matters."""
    test = truth(a)
    if is_traced(test):
        return _junction(test, b, "and", "logical_and", decides)
    return b() if test else a


def or_(a: Any, b: Callable[[], Any], decides: bool = False) -> Any:
    """``a or b()``; ``decides`` as for :func:`and_`."""
    test = truth(a)
    if is_traced(test):
        return _junction(test, b, "or", "logical_or", decides)
    return a if test else b()


def _junction(a: Tracer, b: Callable[[], Any], word: str, op: str, decides: bool) -> Any:
    """A traced first operand. The second one is evaluated beside it where that is cheap and can't fail; else only in
    its branch. Of other than bools the result is one of the operands, as in Python, unless it is a condition."""
    trace = HOOKS["current_trace"]() or innermost_trace(a)
    first = condition(trace, a, word)
    if decides:
        a, b = first, functools.partial(_decided, trace, b, word)
    with trace.region(f"an operand of {word!r}") as scope:
        second = b()
        changes = scope.outer_changes()  # takes them back
        eager = len(scope.ops) <= _EAGER_OPS and not scope.written and not changes
        eager &= all(not inner.regions and not inner.effects and inner.name != "wrap_index" for inner in scope.ops)
        logical = _is_bool(a) and _is_bool(second)
    if eager and logical and type(second) is bool:  # the result is known, or the first operand
        return Tracer(trace, first.value, "bool") if second == (word == "and") else second
    if eager and logical:
        second = b()
        (result,) = trace.emit(op, [first, condition(trace, second, word)], {})
        return Tracer(trace, result, "bool")
    branches = [b, lambda: a] if word == "and" else [lambda: a, b]
    if logical:
        branches = [b, lambda: False] if word == "and" else [lambda: True, b]
    (value,) = record_branches(
        trace, "cond", first, [lambda f=f: (f(),) for f in branches], (f"the value of {word!r}",)
    )
    return value


def _decided(trace: Trace, operand: Callable[[], Any], word: str) -> Any:
    """Whether an operand is true."""
    value = truth(operand())
    if not is_traced(value):
        return bool(value)
    return value if _is_bool(value) and not value.dims else Tracer(trace, condition(trace, value, word).value, "bool")


def _is_bool(value: Any) -> bool:
    return type(value) is bool or (isinstance(value, Tracer) and value.dtype.kind == "b")
