"""Streamed tokens: best effort, in order, coalesced so that a token costs nearly nothing."""

from __future__ import annotations

import asyncio

import msgspec

from aixgo.broker.port import Broker
from aixgo.errors import BrokerError
from aixgo.models.bus import TokenBatch

_COALESCE_SECONDS = 0.03
"""Pieces that come within it travel together: below what an eye notices."""

_COALESCE_PIECES = 32
"""A batch goes at once when it has so many pieces."""

_encoder = msgspec.json.Encoder()


class TokenWriter:
    """Publishes one step's text to the TOKENS stream, unacknowledged."""

    def __init__(self, broker: Broker, subject: str) -> None:
        self._broker, self._subject = broker, subject
        self._pieces: list[str] = []
        self._batches = 0
        self._again = False
        self._flushing: asyncio.Task[None] | None = None

    async def write(self, text: str, *, again: bool = False) -> None:
        """Add a piece; it goes with what comes within `_COALESCE_SECONDS`.

        Args:
            again: the text begins again with it: the next batch says so, and nothing that waits to
                be sent goes.
        """
        if again:
            self._pieces.clear()
            self._again = True
        if not text:
            return
        self._pieces.append(text)
        if len(self._pieces) >= _COALESCE_PIECES:
            await self._flush()
        elif self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_later(), name="tokens: flush")

    async def end(self) -> None:
        """Send what is left, and say that nothing follows."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        await self._flush(end=True)

    async def _flush_later(self) -> None:
        await asyncio.sleep(_COALESCE_SECONDS)
        self._flushing = None
        await self._flush()

    async def _flush(self, *, end: bool = False) -> None:
        if not self._pieces and not end:
            return
        text = "".join(self._pieces)
        batch = TokenBatch(n=self._batches, text=text, again=self._again, end=end)
        self._batches += 1
        self._again = False
        self._pieces.clear()
        try:
            await self._broker.publish(self._subject, _encoder.encode(batch))
        except BrokerError:
            return  # the result carries the whole text
