"""Which code is the user's own: not of jitgrad, NumPy, the standard library or an installed package."""

from __future__ import annotations

import builtins
import functools
import os
import sys
import sysconfig
import types
import weakref
from functools import lru_cache
from typing import Any

from jitgrad.ir.thrown import MADE_IN_PYTHON

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: Files of jitgrad that are rewritten as the user's own.
_REWRITTEN = frozenset({os.path.join(_PACKAGE, "frontend", "keyed_tables.py")})
_STDLIB = tuple({os.path.abspath(sysconfig.get_paths()[k]) + os.sep for k in ("stdlib", "platstdlib")})
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
#: The comparisons that ``functools.total_ordering`` adds to a class, which call the class's own.
_DERIVED = frozenset(f for found in getattr(functools, "_convert", {}).values() for _, f in found)
#: What :func:`is_user_class` has found.
_classes: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


@lru_cache(maxsize=4096)
def is_user_file(file: str) -> bool:
    """True for a file (or ``<stdin>``, ``<ipython-input-...>``) that is none of those."""
    if file.startswith("<frozen"):
        return False
    if file.startswith("<"):
        return True
    path = os.path.abspath(file)
    if path in _REWRITTEN:
        return True
    return not path.startswith((_PACKAGE, *_STDLIB)) and not any(part in path for part in _INSTALLED)


def is_user_function(obj: Any) -> bool:
    """A plain Python function that the user wrote, or that ``functools.total_ordering`` added to a class of his."""
    return isinstance(obj, types.FunctionType) and (is_user_file(obj.__code__.co_filename) or obj in _DERIVED)


def call_method(obj: Any) -> Any:
    """The function that runs when an object is called; None for a class or a function."""
    return None if isinstance(obj, type) else getattr(type(obj), "__call__", None)  # noqa: B004  (which, not whether)


def is_user_module(obj: Any) -> bool:
    """A module that the user wrote, in Python."""
    if not isinstance(obj, types.ModuleType) or obj.__name__ in sys.builtin_module_names:
        return False
    file = getattr(obj, "__file__", None)
    return file is not None and file.endswith(".py") and is_user_file(file)


def is_user_class(cls: type) -> bool:
    """A class that the user wrote: its module is his, or is the running program, or it has none."""
    if not cls.__flags__ & MADE_IN_PYTHON:
        return False
    found = _classes.get(cls)
    if found is None:
        found = _classes[cls] = _is_user_class(cls)
    return found


def _is_user_class(cls: type) -> bool:
    if cls.__module__ == "builtins":  # what ``exec`` runs in a namespace without a name says so too
        return getattr(builtins, cls.__name__, None) is not cls
    module = sys.modules.get(cls.__module__)
    if module is None or cls.__module__ == "__main__":
        return True
    file = getattr(module, "__file__", None)
    return file is None or (is_user_file(file) and not file.endswith(".so"))
