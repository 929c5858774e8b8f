"""Reads a stream for ever."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from aixgo.broker.memory.roles import Server, Shelf
from aixgo.broker.port import Record
from aixgo.errors import ConnectionClosed

BATCH = 256
"""Records that are read ahead. It remembers where it stands, so a slow reader costs no memory."""


class FollowerLink(Protocol):
    """What a follower needs of its connection."""

    followers: dict[Callable[[], None], None]

    @property
    def server(self) -> Server:
        """What the connection is to."""
        ...

    async def ready(self) -> None:
        """Return when the server can be asked."""
        ...

    async def passable(self) -> None:
        """Return when the connection is up and the server reads."""
        ...

    async def breathe(self) -> None:
        """Give the event loop a turn."""
        ...


class Follower:
    """Context manager and iterator of `Log.follow`; the iteration ends when the broker closes."""

    def __init__(self, link: FollowerLink, stream: str, pattern: str, start: int) -> None:
        self._link, self._name, self._pattern = link, stream, pattern
        self._next = start
        self._left = False
        self._stream: Shelf | None = None
        self._batch: deque[Record] = deque()
        self._wake: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        await self._link.ready()
        self._attach()
        if self._next < 1:
            self._next = self._link.server.stream(self._name).records.last + 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left = True
        self._detach()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        """Return the next record.

        Raises:
            StreamNotFound: the stream was deleted.
        """
        if self._batch:
            return self._batch.popleft()
        while not self._left:
            try:
                await self._link.passable()
            except ConnectionClosed:
                raise StopAsyncIteration from None
            records = self._attach().records
            self._batch.extend(records.select(self._pattern, self._next, BATCH))
            if self._batch:
                self._next = self._batch[-1].sequence + 1
                await self._link.breathe()  # a long stream must not starve the others
                return self._batch.popleft()
            self._next = max(self._next, records.last + 1)
            self._wake = self._link.server.loop.create_future()
            await self._wake
        raise StopAsyncIteration

    def _attach(self) -> Shelf:
        """Return the stream; it is another one after it was deleted and declared again."""
        stream = self._stream
        if stream is None or stream.closed:
            self._detach()
            stream = self._stream = self._link.server.stream(self._name)
            stream.followers[self._ring] = None
            self._link.followers[self._ring] = None
        return stream

    def _detach(self) -> None:
        self._link.followers.pop(self._ring, None)
        if self._stream is not None:
            self._stream.followers.pop(self._ring, None)
            self._stream = None

    def _ring(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
