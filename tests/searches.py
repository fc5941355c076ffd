"""A search of a graph, for the tests of lists and those of what gradients of loops save."""

from __future__ import annotations

import numpy as np


def graph_search(w, start, neighbours):
    """In breadth. The edges of node ``v`` lead to ``neighbours[start[v]:start[v + 1]]``."""
    distance, gain = np.full(len(w), -1), np.zeros(len(w))
    distance[0], gain[0] = 0, w[0]
    queue = [0]
    while queue:
        v = queue.pop(0)
        for e in range(start[v], start[v + 1]):
            u = neighbours[e]
            if distance[u] < 0:
                distance[u] = distance[v] + 1
                gain[u] = gain[v] * np.cos(w[u]) + w[u]
                queue.append(u)
    return np.sum(gain * distance)
