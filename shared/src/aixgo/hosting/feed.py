"""What a started agent may do outside of a run: publish events until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from aixgo.agents.role import Listening, Remembered
from aixgo.broker.topology import ACK_WAIT_SECONDS
from aixgo.calls.events import event_id, publish_event
from aixgo.calls.space import Space
from aixgo.clock import now
from aixgo.config.agents import OnFull
from aixgo.envelope import Envelope, new_id
from aixgo.errors import BodyTooLarge
from aixgo.hosting.listening import Take, from_stream, from_subject
from aixgo.payloads import to_meta, to_payload
from aixgo.telemetry import tracing

__all__ = ["MAX_REMEMBERED_BYTES", "ServiceFeed"]

MAX_REMEMBERED_BYTES = 256 * 1024
"""Of a record: it is read and written whole, often at every event."""


class ServiceFeed:
    """The `aixgo.agents.role.Feed` of one agent."""

    def __init__(
        self,
        space: Space,
        agent: str,
        on_full: OnFull = "wait",
        *,
        ack_wait: float = ACK_WAIT_SECONDS,
    ) -> None:
        self.space, self._agent, self._on_full = space, agent, on_full
        self._ack_wait = ack_wait
        self.stopping = asyncio.Event()

    async def emit(self, data: Any, *, meta: Mapping[str, Any] | None = None, key: str = "") -> str:
        """See `aixgo.agents.role.Feed.emit`."""
        # subscribers handle an event as a step that its run and its id name, so what is the same
        # event has the same ones
        run = event_id(self._agent, key, "") if key else new_id()
        event = Envelope(
            id=run if key else new_id(),
            kind="event",
            source=self._agent,
            run=run,
            payload=to_payload(data),
            meta=to_meta(meta) if meta else {},
            traceparent=tracing.root_context(run),
            sent_at=now(),
        )
        with tracing.span(
            f"publish evt.{self._agent}", "producer", traceparent=event.traceparent
        ) as span:
            event = replace(event, traceparent=span.traceparent, tracestate=span.tracestate)
            await publish_event(
                self.space,
                self._agent,
                event,
                msg_id=f"{self._agent}.{key or run}",
                on_full=self._on_full,
            )
        return run

    async def recall(self) -> Remembered:
        """See `aixgo.agents.role.Feed.recall`."""
        entry = await self.space.feeds.get(self._agent)
        if entry is None:
            return Remembered()
        return Remembered(value=msgspec.json.decode(entry.value), revision=entry.revision)

    async def remember(self, value: Any, *, revision: int) -> int:
        """See `aixgo.agents.role.Feed.remember`."""
        body = bytes(to_payload(value))
        if len(body) > MAX_REMEMBERED_BYTES:
            what = f"what agent {self._agent!r} remembers"
            raise BodyTooLarge(what, len(body), MAX_REMEMBERED_BYTES)
        if revision:
            return await self.space.feeds.update(self._agent, body, revision)
        return await self.space.feeds.create(self._agent, body)

    async def listen(self, to: Listening, take: Take) -> None:
        """See `aixgo.agents.role.Feed.listen`."""
        if to.stream:
            await from_stream(self.space, self._agent, to, take, self.stopping, self._ack_wait)
        else:
            await from_subject(self.space, self._agent, to, take, self.stopping)

    async def sleep(self, seconds: float) -> bool:
        """Wait; True when the time is over, False when the agent should stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return True
        return False
