"""What takes records, many at once when they come faster than they are written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from aixgo.errors import AixgoError
from aixgo_services.logger.lines import Record


class SinkUnavailable(AixgoError):
    """A sink did not take a record; it may later."""

    code = "sink_unavailable"
    retryable = True


class SinkRefused(AixgoError):
    """A sink will never take a record."""

    code = "sink_refused"


class Sink(Protocol):
    """Takes records; what it has taken survives this process."""

    async def put(self, record: Record) -> None:
        """Return when the record is taken.

        Raises:
            AixgoError: it was not.
        """
        ...

    async def close(self) -> None:
        """Let go of what is held; it opens again when it is used."""
        ...


class Entry:
    """A record that waits to be taken."""

    __slots__ = ("done", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def settle(batch: Iterable[Entry], refused: Exception | None = None) -> None:
    """Say of records that they are taken, or why they are not."""
    for entry in batch:
        if entry.done.done():
            continue
        if refused is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(refused)


class Together:
    """Hands records over in batches: what comes while one is written is the next one.

    There is no task behind it: the first one that waits writes for all, so nothing is lost with it
    when it is cancelled, and those that wait are the back-pressure.

    Args:
        write: takes a batch and settles its entries. What it raises is the error of all that it
            has not settled.
        most: records of a batch.
    """

    def __init__(self, write: Callable[[list[Entry]], Awaitable[None]], most: int) -> None:
        self._write, self._most = write, most
        self._waiting: deque[Entry] = deque()
        self._writing = asyncio.Lock()

    async def put(self, record: Record) -> None:
        """See `Sink.put`."""
        entry = Entry(record)
        self._waiting.append(entry)
        try:
            async with self._writing:
                while not entry.done.done():
                    await self._write_some()
        except asyncio.CancelledError:
            if not entry.done.done():
                entry.done.cancel()
            raise
        error = entry.done.exception()
        if isinstance(error, (SinkUnavailable, SinkRefused)):
            raise type(error)(str(error)) from error  # each that waits has an error of its own
        entry.done.result()

    async def _write_some(self) -> None:
        batch: list[Entry] = []
        while self._waiting and len(batch) < self._most:
            entry = self._waiting.popleft()
            if not entry.done.done():
                batch.append(entry)
        try:
            await self._write(batch)
        except Exception as error:  # noqa: BLE001 - each of those who wait raises it
            settle(batch, error)
        finally:
            # after a cancel: the next one that waits writes them
            self._waiting.extendleft(entry for entry in reversed(batch) if not entry.done.done())
