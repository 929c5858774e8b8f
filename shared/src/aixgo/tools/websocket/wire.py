"""One open WebSocket: messages go out, and come back to the request that they belong to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import msgspec

from aixgo.errors import OutcomeUnknown, ToolError, ToolUnavailable

log = logging.getLogger("aixgo.tools.websocket")

_TOO_BIG = aiohttp.WSCloseCode.MESSAGE_TOO_BIG


class Inbox:
    """Messages for one request, at most `max_bytes` of them waiting."""

    def __init__(self, max_bytes: int) -> None:
        self._max, self._size = max_bytes, 0
        self._queue: asyncio.Queue[str | bytes | ToolError] = asyncio.Queue()

    def put(self, message: str | bytes | ToolError) -> None:
        """Add a message, or why there are no more."""
        self._queue.put_nowait(message)

    async def get(self) -> str | bytes:
        """Return the next message.

        Raises:
            OutcomeUnknown: the connection is lost.
            ToolError: too much has come.
        """
        found = await self._queue.get()
        if isinstance(found, ToolError):
            raise found
        self._size += len(found)
        if self._size > self._max:
            raise ToolError(
                f"more than {self._max:,} bytes came, which is the limit; ask for less, or raise "
                "`max_body`"
            )
        return found


class Wire:
    """One open connection.

    Args:
        what: it is for, in errors.
        origin: of the far side, in errors.
        id_field: member by which the far side says to which request a message belongs; empty when
            there is one request at a time.
        max_bytes: of all messages for one request.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        what: str,
        origin: str,
        *,
        id_field: str,
        max_bytes: int,
    ) -> None:
        self._socket, self._what, self._origin = socket, what, origin
        self._id_field, self._max_bytes = id_field, max_bytes
        self._inboxes: dict[str, Inbox] = {}
        self._ended = ""
        self._reader = asyncio.create_task(self._read(), name=f"{what}: websocket")

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return not self._ended and not self._socket.closed

    @property
    def over(self) -> bool:
        """Whether nothing of it is left to close."""
        return self._reader.done() and self._socket.closed

    @contextmanager
    def listening(self, request: str) -> Generator[Inbox, None, None]:
        """Yield what gets the messages for a request."""
        inbox = self._inboxes[request] = Inbox(self._max_bytes)
        try:
            yield inbox
        finally:
            del self._inboxes[request]

    async def send(self, text: str) -> None:
        """Send a message.

        Raises:
            ToolUnavailable: the connection is gone, and nothing was sent.
            OutcomeUnknown: it was lost meanwhile.
        """
        if not self.usable:
            raise ToolUnavailable(
                f"{self._what}: the connection to {self._origin} was lost before anything was sent"
            )
        try:
            await self._socket.send_str(text)
        except (ConnectionError, aiohttp.ClientError, RuntimeError) as error:
            raise self._lost(type(error).__name__) from error

    def drop(self) -> None:
        """Use the connection no more: what still comes would be taken for another answer."""
        self._ended = self._ended or "given up"
        self._reader.cancel()

    async def close(self) -> None:
        """Close the connection."""
        self.drop()
        with suppress(asyncio.CancelledError):
            await self._reader
        await self._socket.close()  # if the reader was stopped before it began

    async def _read(self) -> None:
        reason = "given up"
        try:
            while not reason_of(message := await self._socket.receive()):
                self._dispatch(message.data)
            reason = reason_of(message)
        finally:
            self._ended = self._ended or reason
            for inbox in self._inboxes.values():
                inbox.put(self._failure(reason))
            if self._inboxes or reason != "given up":
                log.info("websocket.gone", extra={"tool": self._what, "error": reason})
            await self._socket.close()

    def _dispatch(self, data: str | bytes) -> None:
        inbox = self._inboxes.get(self._request_of(data))
        if inbox is None:
            log.debug("websocket.unasked", extra={"tool": self._what, "bytes": len(data)})
        else:
            inbox.put(data)

    def _request_of(self, data: str | bytes) -> str:
        if not self._id_field:
            return ""
        try:
            found: Any = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
        known = found.get(self._id_field) if isinstance(found, dict) else None
        return known if isinstance(known, str) else ""

    def _failure(self, reason: str) -> ToolError:
        if reason == _REASON_TOO_BIG:
            return ToolError(
                f"{self._what}: {self._origin} sent a message of more than {self._max_bytes:,} "
                "bytes, which is the limit; ask for less, or raise `max_body`"
            )
        return self._lost(reason)

    def _lost(self, reason: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"{self._what}: lost the connection to {self._origin} after the message was sent "
            f"({reason}); whether it was done is not known"
        )


_REASON_TOO_BIG = "a message is too long"


def reason_of(message: aiohttp.WSMessage) -> str:
    """Return why a connection ended, by what was received last; empty for a message."""
    match message.type:
        case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
            return ""
        case aiohttp.WSMsgType.CLOSE:
            return f"closed with code {message.data}"
        case aiohttp.WSMsgType.ERROR if getattr(message.data, "code", None) == _TOO_BIG:
            return _REASON_TOO_BIG
        case aiohttp.WSMsgType.ERROR:
            return f"{type(message.data).__name__}"
        case _:
            return "closed"
