"""A nats-server as a backend of the checks; an example for adapters that speak over sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aixgo.broker import Broker
from aixgo.broker.nats import NatsBroker
from aixgo.testing.broker_checks._proxy import Proxy
from aixgo.testing.nats_server import NatsServer

PASSWORD = "checks"
"""Of both users; the server listens on loopback only, and ends with the tests."""

USERS = f"""
authorization {{
  timeout: 60
  users: [
    {{ user: full, password: {PASSWORD} }}
    {{
      user: limited, password: {PASSWORD}
      permissions: {{
        publish: {{ allow: ["allowed.>"] }}
        subscribe: {{ allow: ["allowed.>", "_INBOX.>"] }}
        allow_responses: true
      }}
    }}
  ]
}}
"""
"""Lines of the server's configuration that the checks need."""


class NatsBackend:
    """A real nats-server on loopback, with the users of `USERS`.

    Args:
        server: started with `USERS` as its configuration.
        fast: whether the adapter's fast path is on.
    """

    kind = "nats"

    def __init__(self, server: NatsServer, *, fast: bool = True) -> None:
        self._server, self._fast = server, fast
        self._proxies: dict[int, Proxy] = {}

    @asynccontextmanager
    async def connect(self, *, breakable: bool = False) -> AsyncGenerator[Broker, None]:
        """Open a connection, through a proxy when it is going to be cut."""
        if not breakable:
            async with self._connected("full", self._server.port) as broker:
                yield broker
            return
        proxy = Proxy("127.0.0.1", self._server.port)
        await proxy.open()
        try:
            async with self._connected("full", proxy.port) as broker:
                self._proxies[id(broker)] = proxy
                yield broker
        finally:
            await proxy.cut()

    def connect_limited(self) -> AbstractAsyncContextManager[Broker]:
        """Open a connection of the user with few permissions."""
        return self._connected("limited", self._server.port)

    @asynccontextmanager
    async def _connected(self, user: str, port: int) -> AsyncGenerator[Broker, None]:
        address = f"nats://{user}:{PASSWORD}@127.0.0.1:{port}"
        broker = await NatsBroker.connect(address, fast=self._fast)
        try:
            yield broker
        finally:
            await broker.close(drain=False)

    @asynccontextmanager
    async def cut(self, broker: Broker) -> AsyncGenerator[None, None]:
        """Cut the connection at the proxy and refuse new ones."""
        proxy = self._proxies[id(broker)]
        await proxy.cut()
        try:
            yield
        finally:
            await proxy.open()

    async def restart(self) -> None:
        """Kill the server and start it again with its store."""
        await self._server.restart()
