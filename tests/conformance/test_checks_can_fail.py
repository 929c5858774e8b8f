"""Every check fails on a broker that breaks its promise: a check that cannot fail proves nothing.

Each sabotage is a wrapper around the memory broker that does one thing wrong. A check must fail under
at least one of them.
"""

from __future__ import annotations

from typing import Any

from aixgo.errors import BrokerError


class Wrapper:
    """Passes everything on; a sabotage overrides what it breaks."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


# -- the bus -----------------------------------------------------------------------------------


class SwapsNeighbours(Wrapper):
    """Sends every second message before the first."""

    held: tuple[Any, ...] | None = None

    async def publish(self, *args: Any, **options: Any) -> None:
        if self.held is None:
            self.held = (args, options)
            return
        (first, first_options), self.held = self.held, None
        await self.real.publish(*args, **options)
        await self.real.publish(*first, **first_options)


class PublishesTwice(Wrapper):
    async def publish(self, *args: Any, **options: Any) -> None:
        await self.real.publish(*args, **options)
        await self.real.publish(*args, **options)


class LosesPublishes(Wrapper):
    async def publish(self, *args: Any, **options: Any) -> None:
        return


class ChecksNothingBeforeSending(Wrapper):
    """Swallows what the broker refuses."""

    async def publish(self, *args: Any, **options: Any) -> None:
        try:
            await self.real.publish(*args, **options)
        except BrokerError:
            return

    async def subscribe(self, *args: Any, **options: Any) -> Any:
        try:
            return await self.real.subscribe(*args, **options)
        except BrokerError:
            return None
