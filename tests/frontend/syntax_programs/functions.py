"""Parameters and kinds of functions."""

# ruff: noqa
# fmt: off

from __future__ import annotations

import functools

from .registry import PROGRAMS, case


@case((1,), (2, 3), (2, 3, 4, 5))
def with_defaults(a, b=2, *rest):
    while a < b:
        a += 1
        for r in rest:
            b += r if r < 10 else 0
            if b > 50:
                return "big"
    return a, b, rest


@case((1,))
def with_keywords(a, /, b=2, *, c=3, **others):
    if a < c:
        a = c
    return a, b, c, others


class Base:
    def value(self, n):
        return n

    @case()
    def _registered(self):
        return 1


class Derived(Base):
    __hidden = 5

    def __init__(self):
        self.total = 0

    def __repr__(self):
        return f"Derived({self.total})"

    def value(self, n):
        for i in range(n):
            if i > 1:
                self.total += super().value(i)
        self.__hidden += 1
        return self.total + super().value(n) * self.__hidden

    def early(self, n):
        if n > 3:
            return super().value(n) + self.__secret(n)
        return __class__.__name__

    def __secret(self, n):
        return n if n < 5 else -n

    def inner_super(self, n):
        def twice(me, k):
            return super().value(k) * 2 if k > 0 else n

        values = [k for k in range(n) if k != 1]
        if n > 2:
            return [twice(self, v) for v in values]
        return super(Derived, self).value(n)

    @staticmethod
    def static(n):
        return [i for i in range(n) if i % 2]

    @functools.lru_cache
    def cached(self, n):
        return n and self.total


@case((5,))
def uses_methods(n):
    d = Derived()
    if n < 0:
        return d
    return d.value(n), d.early(n), d.early(1), d.static(n)


PROGRAMS.append((Derived.early, [(Derived(), 1), (Derived(), 4), (Derived(), 9)]))
PROGRAMS.append((Derived.inner_super, [(Derived(), 4), (Derived(), 1)]))
PROGRAMS.append((Derived.value, [(Derived(), 4)]))
PROGRAMS.append((Derived.cached.__wrapped__, [(Derived(), 4), (Derived(), 0)]))
PROGRAMS.remove((Base._registered, []))
