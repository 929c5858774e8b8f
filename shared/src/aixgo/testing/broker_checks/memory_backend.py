"""The memory broker as a backend of the checks; also the shortest example of one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aixgo.broker import Broker
from aixgo.broker.memory import MemoryBroker, MemoryServer


class MemoryBackend:
    """A broker inside the process."""

    kind = "memory"

    def __init__(self) -> None:
        self._server = MemoryServer()

    @asynccontextmanager
    async def connect(self, *, breakable: bool = False) -> AsyncGenerator[Broker, None]:
        """Open a connection; every one can be cut."""
        broker = MemoryBroker(self._server)
        try:
            yield broker
        finally:
            await broker.close(drain=False)

    def connect_limited(self) -> AbstractAsyncContextManager[Broker]:
        """Refuse: there are no users."""
        raise LookupError("the memory broker has no users; the checks that need one say `not_on`")

    @asynccontextmanager
    async def cut(self, broker: Broker) -> AsyncGenerator[None, None]:
        """Disconnect on the server's side."""
        if not isinstance(broker, MemoryBroker):
            raise TypeError(f"expected a connection of this backend, got {broker!r}")
        self._server.faults.disconnect(broker)
        try:
            yield
        finally:
            self._server.faults.reconnect(broker)

    async def restart(self) -> None:
        """Lose what a killed server loses."""
        await self._server.restart()
