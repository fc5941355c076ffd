"""Functions to be rewritten, with arguments to call them with. Not test modules: pytest leaves their assertions alone.

Many are odd on purpose: the rewritten function has to do what the original does, mistakes included.
"""

from . import assignments, blocks, branches, expressions, functions, loops, names  # noqa: F401  # fill the table
from .registry import PROGRAMS

__all__ = ["PROGRAMS"]
