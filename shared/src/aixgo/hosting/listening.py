"""Messages of other systems, given to an agent one after another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aixgo.agents.role import Heard, Listening
from aixgo.broker.port import Delivery
from aixgo.calls.space import Space

__all__ = ["Take", "from_stream", "from_subject"]

log = logging.getLogger("aixgo.hosting")

Take = Callable[[Heard], Awaitable[bool]]
"""Takes a message; False to end."""

_HEARTBEATS = 3
"""In the time after which an unanswered delivery goes to another instance."""


async def from_subject(
    space: Space, agent: str, to: Listening, take: Take, stopping: asyncio.Event
) -> None:
    """Take what is sent to a subject while this process listens; see `Feed.listen`."""
    subscription = await space.broker.subscribe(
        to.subject, queue=space.names.foreign_consumer(agent), pending=to.buffer
    )

    async def stop() -> None:
        await stopping.wait()
        await subscription.drain()

    dropped = 0
    ending = asyncio.create_task(stop(), name=f"{agent}: listening")
    try:
        async for message in subscription:
            going_on = await take(Heard(subject=message.subject, data=message.data))
            if subscription.dropped > dropped:
                log.warning(
                    "feed.messages_dropped",
                    extra={
                        "agent": agent,
                        "subject": to.subject,
                        "dropped": subscription.dropped - dropped,
                        "buffer": to.buffer,
                    },
                )
                dropped = subscription.dropped
            if not going_on:
                return
    finally:
        ending.cancel()
        await asyncio.wait({ending})
        await subscription.unsubscribe()


async def from_stream(
    space: Space,
    agent: str,
    to: Listening,
    take: Take,
    stopping: asyncio.Event,
    ack_wait: float,
) -> None:
    """Take what a stream keeps, each message to the end; see `Feed.listen`."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def on_delivery(delivery: Delivery) -> None:
        if ended.done():
            return  # unanswered, so it is handed back when the consumption stops
        key = f"{delivery.stream}.{delivery.sequence}"
        heard = Heard(subject=delivery.subject, data=delivery.data, key=key)
        try:
            going_on = await _held(delivery, take(heard), ack_wait)
        except Exception as error:  # noqa: BLE001 - `from_stream` raises it
            if not ended.done():
                ended.set_exception(error)
            return
        await delivery.ack()
        if not going_on and not ended.done():
            ended.set_result(None)

    # one at a time, so that the order of the stream is the order of the events
    consumption = await space.broker.consume(
        to.stream, space.names.foreign_consumer(agent), on_delivery, slots=1
    )

    async def stop() -> None:
        await stopping.wait()
        if not ended.done():
            ended.set_result(None)

    ending = asyncio.create_task(stop(), name=f"{agent}: listening")
    try:
        await ended
    finally:
        ending.cancel()
        await consumption.stop()


async def _held(delivery: Delivery, work: Awaitable[bool], ack_wait: float) -> bool:
    """Return what the work returns; the delivery stays ours for as long as that takes."""
    task = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=ack_wait / _HEARTBEATS)
            if done:
                return task.result()
            await delivery.in_progress()
    finally:
        task.cancel()
