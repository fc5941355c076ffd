"""Texts that show traced values. They can be printed, joined and raised, but have no characters before the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Shown(str):
    """A text with the description of a traced value in it. What asks for its characters raises what ``unknown``
    makes: ``len(str(n))`` would count those of the description."""

    __slots__ = ("unknown",)
    unknown: Callable[[], Exception]

    @classmethod
    def of_value(cls, description: str, unknown: Callable[[], Exception]) -> Shown:
        made = cls(description)
        made.unknown = unknown
        return made

    def __hash__(self) -> int:
        raise self.unknown()

    def __add__(self, other: str) -> str:
        return Shown.of_value(str.__add__(self, other), self.unknown)

    def __radd__(self, other: str) -> str:
        return Shown.of_value(str.__add__(other, self), self.unknown)


def _refused(self: Shown, *args: Any, **kwargs: Any) -> Any:
    raise self.unknown()


#: What looks at characters. Formatting, joining and encoding (a stream does that) pass the description on.
_OF_CHARACTERS = (
    "__len__ __iter__ __getitem__ __contains__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __int__ __float__ __mul__ "
    "__rmul__ capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii isdecimal "
    "isdigit islower isnumeric isspace istitle isupper ljust lower lstrip partition removeprefix removesuffix replace "
    "rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title translate upper zfill"
)
for _name in _OF_CHARACTERS.split():
    setattr(Shown, _name, _refused)
