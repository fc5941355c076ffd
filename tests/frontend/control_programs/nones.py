"""Variables that are None until a traced condition gives them a value."""

from __future__ import annotations

import numpy as np

from .registry import X, program


def first_above(x, limit):
    for v in x:
        if v > limit:
            return v
    return None


class Tracker:
    def __init__(self):
        self.best = None
        self.seen = {"last": None}

    def see(self, v):
        if self.best is None or v > self.best:
            self.best = v
        self.seen["last"] = v if v > 0 else None


@program(X, 6)
def best_of_some(x, n):
    """The best value, its number, and an array that goes with it; n is traced."""
    best, number, point = None, None, None
    p = x[:2] * 1.0
    for i in range(n):
        p = 0.9 * p + np.array([x[i], x[i] ** 2])
        f = np.sum(p * p)
        if x[i] > 0 and (best is None or f < best):
            best, number, point = f, i, p.copy()
    return best + np.sum(point**3) * x[number]


@program(X, 6)
def set_at_once(x, n):
    previous, total = None, 0.0
    for i in range(n):
        if previous is not None:
            total += (x[i] - previous) ** 2
        previous = x[i]
    return total if previous is None else total * previous


@program(X, 6)
def set_back(x, n):
    """Sums of runs of positive numbers."""
    run, total = None, 0.0
    for i in range(n):
        if x[i] > 0:
            run = x[i] if not run else run + x[i]
        elif run is not None:
            total += run * run
            run = None
    return total if run is None else total + run


@program(X)
def of_functions_and_objects(x):
    found, none = first_above(x, 0.6), first_above(x, 100.0)
    tracker = Tracker()
    for v in x:
        if v < 1.0:
            tracker.see(np.sin(v))
    s = tracker.best * (2.0 if none is None else none)
    if tracker.seen["last"] is not None:
        s += tracker.seen["last"]
    return s * found


@program(X)
def in_a_while(x):
    before, a, n = None, x[0] + 3.0, 0
    while before is None or abs(a - before) > 1e-9:
        before, a, n = a, 0.5 * (a + x[3] / a), n + 1
    return a * n
