"""A TCP proxy whose connections can be cut, for adapters that speak over sockets."""

from __future__ import annotations

import asyncio
from typing import Self

CHUNK = 64 * 1024
"""Bytes that are read at once."""


class Proxy:
    """Stands between a client and a server on loopback; `up = False` cuts and refuses."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._up = True
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, host: str, port: int) -> Self:
        """Listen on a free port of the loopback interface."""
        proxy = cls(host, port)
        proxy._server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        return proxy

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def up(self) -> bool:
        """Whether connections are passed on."""
        return self._up

    @up.setter
    def up(self, up: bool) -> None:
        self._up = up
        if not up:
            for writer in self._writers:
                writer.transport.abort()

    async def close(self) -> None:
        """Cut everything and stop listening."""
        self.up = False
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            out_reader, out_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, out_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, out_writer))
                group.create_task(self._pump(out_reader, writer))
        finally:
            self._writers -= pair
            for end in pair:
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy until one side is gone, then close the other, whose own copying ends by that."""
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        except OSError:  # a cut connection; the client finds out by itself
            pass
        finally:
            writer.close()
