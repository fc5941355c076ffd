"""What rewritten functions call for subscripts, and for calls that may write a text or append to a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.frontend import texts
from jitgrad.frontend.bucket_tables import refuse_traced_key
from jitgrad.frontend.callees import callee
from jitgrad.frontend.carries import UNBOUND
from jitgrad.frontend.held_lists import held_list


class _Subscript:
    """Gives back what is in the brackets."""

    def __getitem__(self, index: Any) -> Any:
        return index


s_ = _Subscript()


def hint(*values: Callable[[], Any]) -> list[Any]:
    """The objects that there are, of some that a loop may write into."""
    found = []
    for value in values:
        try:
            obj = value()
        except (NameError, AttributeError, LookupError, TypeError):
            continue
        if obj is not UNBOUND:
            found.append(obj)
    return found


def show(function: Any, arguments: texts.Arguments) -> Any:
    """``function(*args, **kwargs)`` for what may write a text; ``arguments()`` gives ``args`` and ``kwargs``."""
    to = texts.receiver(function)
    if to is not None:
        return texts.show(to, function, arguments)
    called = callee(function)
    args, kwargs = arguments()
    return called(*args, **kwargs)


def appender(owner: Any, key: Any, item: bool) -> Any:
    """``owner.key.append``, or ``owner[key].append``."""
    if item:
        refuse_traced_key(owner, key)
    return callee(held_list(owner, key, item).append)
