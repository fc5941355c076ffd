"""Minimum cuts, by Dinic's algorithm (E. A. Dinic, 1970)."""

from __future__ import annotations

from collections import deque


class Network:
    """A flow network: edge ``e`` and its reverse ``e ^ 1`` lie side by side."""

    def __init__(self, n: int) -> None:
        self.out: list[list[int]] = [[] for _ in range(n)]
        self.head: list[int] = []
        self.left: list[int] = []

    def edge(self, a: int, b: int, capacity: int) -> None:
        for tail, head, c in ((a, b, capacity), (b, a, 0)):
            self.out[tail].append(len(self.head))
            self.head.append(head)
            self.left.append(c)

    def maximise(self, source: int, sink: int) -> None:
        """Dinic: shortest augmenting paths, level by level."""
        while True:
            level = self._levels(source)
            if level[sink] < 0:
                return
            cursor = [0] * len(self.out)
            while self._augment(source, sink, level, cursor):
                pass

    def _levels(self, source: int) -> list[int]:
        level = [-1] * len(self.out)
        level[source] = 0
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for e in self.out[node]:
                if self.left[e] > 0 and level[self.head[e]] < 0:
                    level[self.head[e]] = level[node] + 1
                    queue.append(self.head[e])
        return level

    def _augment(self, source: int, sink: int, level: list[int], cursor: list[int]) -> bool:
        """Push flow along one path; False where none is left. A loop, as paths may be longer than Python's stack."""
        path: list[int] = []
        node = source
        while node != sink:
            while cursor[node] < len(self.out[node]):
                e = self.out[node][cursor[node]]
                if self.left[e] > 0 and level[self.head[e]] == level[node] + 1:
                    break
                cursor[node] += 1
            else:
                if not path:
                    return False
                node = self.head[path.pop() ^ 1]
                cursor[node] += 1
                continue
            path.append(e)
            node = self.head[e]
        amount = min(self.left[e] for e in path)
        for e in path:
            self.left[e] -= amount
            self.left[e ^ 1] += amount
        return True

    def reaching(self, sink: int) -> set[int]:
        """The nodes from which the sink can still be reached."""
        found = {sink}
        queue = deque([sink])
        while queue:
            for e in self.out[queue.popleft()]:
                tail = self.head[e]
                if self.left[e ^ 1] > 0 and tail not in found:
                    found.add(tail)
                    queue.append(tail)
        return found
