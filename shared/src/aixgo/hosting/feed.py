"""What a started agent may do outside of a run: publish events until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from aixgo.calls.events import publish_event
from aixgo.calls.space import Space
from aixgo.clock import now
from aixgo.config.agents import OnFull
from aixgo.envelope import Envelope, new_id
from aixgo.payloads import to_meta, to_payload
from aixgo.telemetry import tracing


class ServiceFeed:
    """The `aixgo.agents.role.Feed` of one agent."""

    def __init__(self, space: Space, agent: str, on_full: OnFull = "wait") -> None:
        self.space, self._agent, self._on_full = space, agent, on_full
        self.stopping = asyncio.Event()

    async def emit(self, data: Any, *, meta: Mapping[str, Any] | None = None, key: str = "") -> str:
        """Publish an event, the beginning of a new run; returns the run id once it is stored."""
        run = new_id()
        event = Envelope(
            id=new_id(),
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

    async def sleep(self, seconds: float) -> bool:
        """Wait; True when the time is over, False when the agent should stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return True
        return False
