"""Three nats-servers that replicate to each other, and what can happen to one of them.

The servers reach each other only through links of this process, so that one can be cut off from the
others while its clients still reach it: the worst kind of partition, because whoever is connected
to it is told nothing.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import nats
from nats.errors import Error as NatsError
from nats.js.api import StreamInfo

from aixgo.broker.embedded import ServerProcess

SIZE = 3
CHUNK = 64 * 1024
"""Bytes that a link passes on at once."""

SETTLE_SECONDS = 60.0
"""For a cluster to choose leaders and for every copy to catch up, on a busy machine."""

POLL_SECONDS = 0.1
ASK_SECONDS = 2.0
"""For one question about a stream; a server without its majority does not answer."""

DEAD_PORT = 1
"""What the servers tell each other as their address, so that they cannot go around the links."""


class Link:
    """A connection from one server to another that can be held: nothing passes, nothing is reset.

    That is what a network does that drops packets; when it passes them again, nothing is missing.
    """

    def __init__(self, target: int) -> None:
        self._target, self.port = target, 0
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._listener = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End every connection."""
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> None:
        """Pass nothing on."""
        self._open.clear()

    def release(self) -> None:
        """Pass everything on again, and what was held first."""
        self._open.set()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass(reader, writer), name="link")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._open.wait()
            other, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is not there: it is tried again
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, onward))
                group.create_task(self._pump(other, writer))
        finally:
            writer.transport.abort()
            onward.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


class Cluster:
    """Three servers with JetStream; `url` names all of them."""

    def __init__(self, servers: Sequence[ServerProcess], links: dict[tuple[int, int], Link]):
        self.servers, self._links = servers, links

    @property
    def url(self) -> str:
        """Address of the cluster."""
        return ",".join(self._url(server) for server in self.servers)

    def _url(self, server: ServerProcess) -> str:
        return f"nats://127.0.0.1:{server.port}"

    # -- what it looks like ----------------------------------------------------------------------

    async def leader(self, stream: str) -> int:
        """Return the number of the server that leads a stream, once there is one."""
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                info = await self._info(stream)
                if info is not None and info.cluster is not None and info.cluster.leader:
                    return int(info.cluster.leader.removeprefix("n"))
                await asyncio.sleep(POLL_SECONDS)

    async def settled(self, streams: Sequence[str]) -> None:
        """Return when every copy of the streams is current: then one server may fail again."""
        async with asyncio.timeout(SETTLE_SECONDS):
            for stream in streams:
                while not _current(await self._info(stream)):  # noqa: ASYNC110 - a server
                    await asyncio.sleep(POLL_SECONDS)

    async def _info(self, stream: str) -> StreamInfo | None:
        """Ask every server in turn; None when no one knows."""
        for server in self.servers:
            if server.pid is None:
                continue
            with suppress(NatsError, OSError, TimeoutError):
                async with asyncio.timeout(ASK_SECONDS):
                    client = await nats.connect(
                        self._url(server), allow_reconnect=False, connect_timeout=1
                    )
                    try:
                        return await client.jetstream(timeout=1).stream_info(stream)
                    finally:
                        await client.close()
        return None

    # -- what happens to it ----------------------------------------------------------------------

    async def kill(self, number: int, away: float) -> None:
        """Kill a server and start it again after `away` seconds, with what it had stored."""
        server = self.servers[number]
        await asyncio.to_thread(server.end, signal.SIGKILL)
        await self._return(server, away)

    async def restart(self, number: int, away: float) -> None:
        """End a server in order and start it again after `away` seconds."""
        server = self.servers[number]
        await asyncio.to_thread(server.end)
        await self._return(server, away)

    async def _return(self, server: ServerProcess, away: float) -> None:
        await asyncio.sleep(away)
        await asyncio.to_thread(server.spawn)
        await server.ready()

    async def freeze(self, number: int, away: float) -> None:
        """Stop a server's clock for `away` seconds: its connections stay open, nothing answers."""
        server = self.servers[number]
        server.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(away)
        finally:
            server.send(signal.SIGCONT)

    async def cut_off(self, number: int, away: float) -> None:
        """Cut a server off from the others for `away` seconds; its clients still reach it."""
        links = [link for pair, link in self._links.items() if number in pair]
        for link in links:
            link.hold()
        try:
            await asyncio.sleep(away)
        finally:
            for link in links:
                link.release()


def _current(info: StreamInfo | None) -> bool:
    """Whether a stream has a leader and every other copy is up to date."""
    cluster = None if info is None else info.cluster
    if cluster is None or not cluster.leader:
        return False
    replicas = cluster.replicas or []
    return len(replicas) == SIZE - 1 and all(one.current and not one.offline for one in replicas)


@asynccontextmanager
async def cluster() -> AsyncGenerator[Cluster, None]:
    """Start three servers in temporary folders; they end with the block."""
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="aixgo-cluster-", ignore_cleanup_errors=True)
            )
        )
        ports, routes = _free_ports(SIZE), _free_ports(SIZE)
        links: dict[tuple[int, int], Link] = {}
        for one in range(SIZE):  # a ring, because a server must dial somebody to be in a cluster
            other = (one + 1) % SIZE
            link = links[one, other] = Link(routes[other])
            await link.start()
            stack.push_async_callback(link.close)
        servers = []
        for number in range(SIZE):
            own = folder / f"n{number}"
            await asyncio.to_thread(own.mkdir)
            dialled = [links[pair].port for pair in links if pair[0] == number]
            server = ServerProcess(
                own, port=ports[number], config=_config(number, routes[number], dialled)
            )
            servers.append(server)
            stack.callback(server.end, signal.SIGKILL)
            await asyncio.to_thread(server.spawn)
        for server in servers:
            await server.ready()
        yield Cluster(servers, links)


def _config(number: int, port: int, dialled: Sequence[int]) -> str:
    routes = ", ".join(f'"nats-route://127.0.0.1:{link}"' for link in dialled)
    return (
        f"server_name: n{number}\n"
        "cluster {\n"
        "  name: matrix\n"
        f'  listen: "127.0.0.1:{port}"\n'
        f'  advertise: "127.0.0.1:{DEAD_PORT}"\n'
        "  no_advertise: true\n"
        "  pool_size: -1\n"
        f"  routes: [{routes}]\n"
        "}"
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
