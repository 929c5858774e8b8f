"""A nats-server as a backend of the checks; an example for adapters that speak over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aixgo.broker import Broker
from aixgo.broker.nats import NatsBroker
from aixgo.testing.broker_checks._proxy import Proxy


class NatsBackend:
    """A real nats-server on loopback.

    Args:
        url: of a user who may do everything.
        limited_url: of a user who may publish and subscribe only below `allowed.`.
        restart: kills the server as `kill -9` does and starts it again; may block.
        fast: whether the adapter's fast path is on.
    """

    kind = "nats"

    def __init__(
        self,
        *,
        host: str,
        port: int,
        credentials: str = "",
        limited_credentials: str = "",
        restart: Callable[[], None],
        fast: bool = True,
    ) -> None:
        self._address, self._restart, self._fast = (host, port), restart, fast
        self._credentials, self._limited = credentials, limited_credentials
        self._proxies: dict[int, Proxy] = {}

    @asynccontextmanager
    async def connect(self, *, breakable: bool = False) -> AsyncGenerator[Broker, None]:
        """Open a connection, through a proxy when it is going to be cut."""
        if not breakable:
            async with self._connected(*self._address, self._credentials) as broker:
                yield broker
            return
        proxy = await Proxy.start(*self._address)
        try:
            async with self._connected("127.0.0.1", proxy.port, self._credentials) as broker:
                self._proxies[id(broker)] = proxy
                yield broker
        finally:
            await proxy.close()

    def connect_limited(self) -> AbstractAsyncContextManager[Broker]:
        """Open a connection of the user with few permissions."""
        return self._connected(*self._address, self._limited)

    @asynccontextmanager
    async def _connected(self, host: str, port: int, user: str) -> AsyncGenerator[Broker, None]:
        address = f"nats://{user}{'@' if user else ''}{host}:{port}"
        broker = await NatsBroker.connect(address, fast=self._fast)
        try:
            yield broker
        finally:
            await broker.close(drain=False)

    @asynccontextmanager
    async def cut(self, broker: Broker) -> AsyncGenerator[None, None]:
        """Cut the connection at the proxy and refuse new ones."""
        proxy = self._proxies[id(broker)]
        proxy.up = False
        try:
            yield
        finally:
            proxy.up = True

    async def restart(self) -> None:
        """Kill and start the server in a thread, because starting a process blocks."""
        await asyncio.to_thread(self._restart)
