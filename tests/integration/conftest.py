"""A real nats-server for each test that asks, and a proxy that injects faults in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Self

import pytest

from aixgo.broker.nats import NatsBroker
from aixgo.testing.nats_server import NatsServer


class FaultProxy:
    """A TCP proxy on loopback that can cut, refuse, freeze and lose what servers answer."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.refuse = False
        self.frozen: set[asyncio.StreamWriter] = set()
        """Connections of these clients stay open, and nothing passes."""
        self.lose_answers = False
        self.reads = asyncio.Event()
        """Cleared: what clients send is left in their sockets."""
        self.reads.set()
        self.lost = asyncio.Event()
        """Set when an answer was lost."""
        self.sent = bytearray()
        """What clients have sent."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Let nothing pass on the connections that there are now; new ones work."""
        self.frozen |= self._writers

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, to_server, writer))
                group.create_task(self._pump(from_server, writer, None))
        finally:
            self._writers.discard(writer)
            self.frozen.discard(writer)
            for end in (writer, to_server):
                end.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter | None,
    ) -> None:
        """Copy; `client` is None for the direction from the server to the client `writer`."""
        try:
            while data := await reader.read(65_536):
                if (client or writer) in self.frozen:
                    await asyncio.Event().wait()
                if client is not None:
                    await self.reads.wait()
                    self.sent += data
                elif self.lose_answers:
                    self.lost.set()
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # cut
        finally:
            writer.transport.abort()


@pytest.fixture
def server() -> Iterator[NatsServer]:
    """A server of its own for a test that kills or pauses it."""
    with NatsServer() as started:
        yield started


@pytest.fixture
async def proxy(server: NatsServer) -> AsyncIterator[FaultProxy]:
    """A proxy in front of `server`."""
    async with FaultProxy(server.port) as started:
        yield started


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def fast(request: pytest.FixtureRequest) -> bool:
    """Both links of the adapter."""
    return bool(request.param)


@pytest.fixture
async def broker(server: NatsServer, fast: bool) -> AsyncIterator[NatsBroker]:
    """A connection straight to `server`."""
    opened = await NatsBroker.connect(server.url, fast=fast)
    try:
        yield opened
    finally:
        await opened.close(drain=False)


@pytest.fixture
async def proxied(proxy: FaultProxy, fast: bool) -> AsyncIterator[NatsBroker]:
    """A connection through `proxy`."""
    opened = await NatsBroker.connect(proxy.url, fast=fast)
    try:
        yield opened
    finally:
        await opened.close(drain=False)
