"""Pauses of a loop that tries again: each twice as long as the one before, up to a longest one."""

from __future__ import annotations

import asyncio
import random


class Pauses:
    """The pauses of one loop.

    Args:
        first, longest: seconds.
        jitter: make each pause random, between half of it and it, so that many who lost the same
            server do not come back at the same moment.
    """

    __slots__ = ("_first", "_jitter", "_longest", "_next")

    def __init__(self, first: float, longest: float, *, jitter: bool = False) -> None:
        self._first, self._longest, self._jitter = first, longest, jitter
        self._next = first

    @property
    def next(self) -> float:
        """Seconds of the next pause, at most."""
        return self._next

    def reset(self) -> None:
        """Begin with the first pause again: something has succeeded."""
        self._next = self._first

    def take(self) -> float:
        """Return the seconds of the next pause."""
        seconds, self._next = self._next, min(2 * self._next, self._longest)
        return seconds * random.uniform(0.5, 1.0) if self._jitter else seconds

    async def wait(self) -> None:
        """Wait for the next pause."""
        await asyncio.sleep(self.take())
