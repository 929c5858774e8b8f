"""Reading a whole stream, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from aixgo.broker.port import Log, Record

PAGE = 1_000
"""Records that are read, or removed, at once: a few milliseconds of a broker's time."""


async def pages(
    broker: Log, stream: str, start: int = 1, subject: str = ">"
) -> AsyncGenerator[Sequence[Record], None]:
    """Yield all records of a stream that match a filter, from a sequence on, a page at a time."""
    while records := await broker.read(stream, subject, start=start, limit=PAGE):
        yield records
        start = records[-1].sequence + 1
