"""Objects of plain Python classes as trees of their attributes, where a loop or a branch carries them.

Elsewhere an object is a leaf that stays the same. A variable that is bound to another object of the same class in each
iteration, or by each branch, is carried attribute by attribute: what stands for an object then is an :class:`Opened`,
and the object is made again of what its attributes are, without ``__init__``. That needs a class which Python makes
instances of by ``object.__new__`` alone: one that a user wrote, without bases in C or a metaclass.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import types
from collections.abc import Iterator, Sequence
from typing import Any

import optree

from jitgrad.frontend.signature import NAMESPACE, flatten, is_tree, unflatten
from jitgrad.frontend.tracer import Collection
from jitgrad.frontend.usercode import is_user_class

#: Objects in each other are opened so deep.
_DEPTH = 16


#: Classes of jitgrad's whose instances are carried likewise: ``opened`` gives what they hold, by name, and ``made``
#: makes one of that.
OPENED: set[type] = set()


class Opened:
    """An object as a node of a tree: its class, and the attributes that it has."""

    __slots__ = ("cls", "names", "values")

    def __init__(self, cls: type, names: tuple[str, ...], values: Sequence[Any]) -> None:
        self.cls, self.names, self.values = cls, names, values

    @classmethod
    def of(cls, obj: Any) -> Opened:
        """The object as it is."""
        found = opened(obj)
        return cls(type(obj), tuple(found), tuple(found.values()))

    def made(self) -> Any:
        """The object that has these attributes."""
        if self.cls in OPENED:
            return self.cls.made(*map(closed, self.values))  # pyright: ignore[reportAttributeAccessIssue]
        obj = object.__new__(self.cls)
        for name, value in zip(self.names, self.values, strict=True):
            put(obj, name, closed(value))
        return obj


optree.register_pytree_node(
    Opened,  # pyright: ignore[reportArgumentType]
    lambda node: (node.values, (node.cls, node.names), node.names),  # pyright: ignore[reportAttributeAccessIssue]
    lambda metadata, values: Opened(*metadata, tuple(values)),  # pyright: ignore[reportArgumentType, reportCallIssue]
    namespace=NAMESPACE,
)


def attributes(obj: Any) -> dict[str, Any]:
    """What an object holds, by name: in slots and in its ``__dict__``. Properties and class attributes are no part."""
    found: dict[str, Any] = {}
    for name, slot in _slots(type(obj)).items():
        with contextlib.suppress(AttributeError):  # it holds nothing
            found[name] = slot.__get__(obj)
    return found | getattr(obj, "__dict__", {})


def opened(obj: Any) -> dict[str, Any]:
    """What an object is carried as, by name."""
    return obj.opened() if type(obj) in OPENED else attributes(obj)


def put(obj: Any, name: str, value: Any) -> None:
    """Let an object hold a value, whatever its class makes of assignments."""
    slot = _slots(type(obj)).get(name)
    if slot is not None:
        slot.__set__(obj, value)
    else:
        obj.__dict__[name] = value


@functools.lru_cache(maxsize=1024)
def _slots(cls: type) -> dict[str, Any]:
    members = [x for base in reversed(cls.__mro__) for x in vars(base).items()]
    return {name: x for name, x in members if type(x) is types.MemberDescriptorType}


@functools.lru_cache(maxsize=1024)
def is_plain(cls: type) -> bool:
    """Does ``object.__new__`` make the instances of a class, which a user wrote?"""
    if type(cls) not in (type, abc.ABCMeta) or cls.__new__ is not object.__new__ or hasattr(cls, "__del__"):
        return False
    return is_user_class(cls) and not dataclasses.is_dataclass(cls)


def may_open(obj: Any) -> bool:
    """Can an object be made again of its attributes? Not if it holds itself, at whatever depth."""
    return type(obj) in OPENED or (is_plain(type(obj)) and not is_tree(obj) and _is_finite(obj, ()))


def _is_finite(value: Any, around: tuple[Any, ...]) -> bool:
    if any(value is x for x in around) or len(around) > _DEPTH:
        return False
    if is_plain(type(value)) and not is_tree(value):
        return all(_is_finite(x, (*around, value)) for x in attributes(value).values())
    if type(value) in (list, tuple, dict):
        items = value.values() if type(value) is dict else value
        return all(_is_finite(x, (*around, value)) for x in items)
    return True


def closed(tree: Any) -> Any:
    """The tree with the objects themselves in the places of opened ones."""
    leaves, spec = optree.tree_flatten(tree, lambda x: type(x) is Opened, namespace=NAMESPACE)
    if not any(type(x) is Opened for x in leaves):
        return tree
    return unflatten(spec, [x.made() if type(x) is Opened else x for x in leaves])


def flatten_opened(tree: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    """The leaves of a tree and its structure, with all objects opened that can be."""
    while True:
        leaves, spec = flatten(tree)
        where = [is_plain(type(x)) and may_open(x) for x in leaves]
        if not any(where):
            return leaves, spec
        tree = unflatten(spec, [Opened.of(x) if w else x for x, w in zip(leaves, where, strict=True)])


def flatten_like(tree: Any, like: optree.PyTreeSpec) -> tuple[list[Any], optree.PyTreeSpec]:
    """The leaves of a tree and its structure, with those objects opened that are opened in ``like``."""
    while True:
        leaves, spec = flatten(tree)
        if spec == like:
            return leaves, spec
        pairs = zip(leaves, _beside(spec, like), strict=True)
        where = [other is not None and other.type is Opened and may_open(leaf) for leaf, other in pairs]
        if not any(where):
            return leaves, spec
        tree = unflatten(spec, [Opened.of(x) if w else x for x, w in zip(leaves, where, strict=True)])


def _beside(spec: optree.PyTreeSpec, like: optree.PyTreeSpec) -> Iterator[optree.PyTreeSpec | None]:
    """For each leaf of a structure what another one has in its place; None where they differ further out."""
    if spec.is_leaf():
        yield like
    elif spec.type is not like.type or spec.num_children != like.num_children:
        yield from [None] * spec.num_leaves
    else:
        pairs = zip(optree.treespec_children(spec), optree.treespec_children(like), strict=True)
        for child, other in pairs:
            yield from _beside(child, other)


def held_by(values: Any) -> list[Any]:
    """What containers and objects in some values hold, each as often as it is held."""
    found, seen, left = [], set[int](), [values]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        inside: Sequence[Any] = ()
        if isinstance(one, (list, tuple)) and not isinstance(one, Collection):
            inside = list(one)
        elif type(one) is dict:
            inside = list(one.values())
        elif is_plain(type(one)) or dataclasses.is_dataclass(one) or type(one) in OPENED:
            inside = list(attributes(one).values())
        found += inside
        left += inside
    return found


def all_leaves(tree: Any) -> list[Any]:
    """The leaves of a tree and of all objects in it that can be opened."""
    found: list[Any] = []
    for leaf in flatten(tree)[0]:
        if type(leaf) in OPENED:
            found += flatten(Opened.of(leaf))[0]
        elif is_plain(type(leaf)) and may_open(leaf):
            found += [x for value in attributes(leaf).values() for x in all_leaves(value)]
        else:
            found.append(leaf)
    return found
