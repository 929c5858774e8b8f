"""Many deadlines on one timer of the event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K", int, str)

SLACK = 1024
"""Outdated heap entries that are tolerated before the heap is rebuilt."""


class Deadlines(Generic[K]):
    """Calls `on_due(key)` when the deadline of a key has come; moving or dropping one is O(1).

    However many keys there are, the loop has one timer. `on_due` must not raise.
    """

    __slots__ = ("_armed_for", "_heap", "_loop", "_on_due", "_timer", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[K], None]) -> None:
        self._loop = loop
        self._on_due: Callable[[K], None] = on_due
        self.when: dict[K, float] = {}
        self._heap: list[tuple[float, K]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = float("inf")

    def set(self, key: K, when: float) -> None:
        """Set or move the deadline of a key to the loop's time `when`."""
        self.when[key] = when
        heap = self._heap
        if len(heap) > SLACK and len(heap) > 2 * len(self.when) + SLACK:
            heap[:] = [(moment, each) for each, moment in self.when.items()]
            heapq.heapify(heap)
        else:
            heapq.heappush(heap, (when, key))
        if when < self._armed_for:
            self._arm(when)

    def discard(self, key: K) -> None:
        """Drop the deadline of a key, if it has one."""
        self.when.pop(key, None)

    def clear(self) -> None:
        """Drop every deadline and the timer."""
        self.when.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_for = float("inf")

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        now, heap, when = self._armed_for, self._heap, self.when
        self._timer, self._armed_for = None, float("inf")
        now = max(now, self._loop.time())
        due: list[K] = []
        while heap and (heap[0][0] <= now or when.get(heap[0][1]) != heap[0][0]):
            moment, key = heapq.heappop(heap)
            if when.get(key) == moment:
                del when[key]
                due.append(key)
        if heap:
            self._arm(heap[0][0])
        for key in due:
            self._on_due(key)
