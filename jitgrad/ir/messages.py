"""Where the texts go that a program writes: to ``print``, to ``warnings.warn``, or to a logger.

A receiver is a tuple, so that it can be an attribute of an op: ``("print",)``, ``("warn", category, file, line)`` with
the category as ``module:class``, or ``("log", logger, level, file, line)``.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

#: What the filters of warnings remember of places that have warned, for each file.
_WARNED: dict[str, dict[Any, Any]] = {}


def deliver(to: Sequence[Any], text: str) -> None:
    """Hand a text to its receiver. Raises what that raises: a warning that a filter makes an error, for one."""
    if to[0] == "print":
        print(text, end="")
    elif to[0] == "warn":
        _, category, file, line = to
        warnings.warn_explicit(text, _category(category), file, line, registry=_WARNED.setdefault(file, {}))
    else:
        _, name, level, file, line = to
        logger = logging.getLogger(name)
        if logger.isEnabledFor(level):
            logger.handle(logger.makeRecord(name, level, file, line, text, (), None))


def _category(name: str) -> type[Warning]:
    module, _, path = name.partition(":")
    found = getattr(sys.modules.get(module), path, None)
    return found if isinstance(found, type) and issubclass(found, Warning) else UserWarning
