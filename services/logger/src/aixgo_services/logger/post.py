"""A server that gets the messages in batches, each until it has taken them."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from pydantic import Field

from aixgo.errors import ToolError
from aixgo.pauses import Pauses
from aixgo.tools.net.outbound import AddressOptions, Outbound
from aixgo.web.retry_after import retry_after_of
from aixgo_services.logger.lines import Record
from aixgo_services.logger.sink import Entry, SinkRefused, Together, settle

log = logging.getLogger("aixgo.logger")

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
"""Between two tries."""

LONGEST_RETRY_AFTER = 300.0
"""Seconds: a server may ask for a longer pause, but not for ever."""

_NEVER = frozenset({400, 413, 415, 422})
"""The server says that it will never take this, which may be about one message of a batch."""


class PostOptions(AddressOptions):
    """A server that takes the messages, such as a collector of logs."""

    format: Literal["json", "ndjson"] = "json"
    """Body of a request: an array of objects, or an object in each line."""
    batch: int = Field(default=500, ge=1, le=10_000)
    """Most messages of one request. There are as many as came during the request before; never more
    than the agent's `concurrency`."""


class HttpSink:
    """Sends records to a server (`Sink`); one request at a time, in order."""

    def __init__(self, agent: str, options: PostOptions) -> None:
        self._agent, self._format = agent, options.format
        self._server = Outbound(f"agent {agent!r}: http", options, method="POST")
        self._together = Together(self._write, options.batch)
        self._open = False

    async def put(self, record: Record) -> None:
        """See `Sink.put`; waits for a server that is away.

        Raises:
            SinkRefused: the server will never take it.
        """
        if not self._open:
            self._open = True
            await self._server.open()
        await self._together.put(record)

    async def close(self) -> None:
        """See `Sink.close`."""
        if self._open:
            self._open = False
            await self._server.close()

    async def _write(self, batch: list[Entry]) -> None:
        refused = await self._until_taken([entry.record for entry in batch])
        if refused is None or len(batch) == 1:
            settle(batch, refused)
            return
        for entry in batch:  # which one is it?
            if not entry.done.done():
                settle([entry], await self._until_taken([entry.record]))

    async def _until_taken(self, records: list[Record]) -> SinkRefused | None:
        """Return None when the server has taken them, or why it never will."""
        body, kind = self._body(records)
        pauses = Pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            reply = None
            try:
                reply = await self._server.send(headers={"Content-Type": kind}, body=body)
                if 200 <= reply.status < 300:
                    return None
                self._server.value(reply)  # raises, with the server's words
            except ToolError as error:
                said = str(error)
            wait = pauses.take()
            if reply is not None:
                if reply.status in _NEVER:
                    return SinkRefused(f"{said}; it will never take this message")
                wait = max(wait, min(retry_after_of(reply.headers) or 0.0, LONGEST_RETRY_AFTER))
            log.warning(
                "logger.sink_waits",
                extra={
                    "agent": self._agent,
                    "records": len(records),
                    "retry_in": wait,
                    "detail": said,
                },
            )
            await asyncio.sleep(wait)

    def _body(self, records: list[Record]) -> tuple[bytes, str]:
        lines = [record.json() for record in records]
        if self._format == "ndjson":
            return b"\n".join(lines) + b"\n", "application/x-ndjson"
        return b"[" + b",".join(lines) + b"]", "application/json"
