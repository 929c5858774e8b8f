"""Pauses of a loop that tries again: each twice as long as the one before, up to a longest one."""

from __future__ import annotations

import asyncio


class Pauses:
    """The pauses of one loop.

    Args:
        first, longest: seconds.
    """

    __slots__ = ("_first", "_longest", "_next")

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest, self._next = first, longest, first

    def reset(self) -> None:
        """Begin with the first pause again: something has succeeded."""
        self._next = self._first

    def take(self) -> float:
        """Return the seconds of the next pause."""
        seconds, self._next = self._next, min(2 * self._next, self._longest)
        return seconds

    async def wait(self) -> None:
        """Wait for the next pause."""
        await asyncio.sleep(self.take())
