"""Promises about the life of subscriptions and connections: slow readers, limits, draining."""

from __future__ import annotations

import asyncio
from collections import Counter

from aixgo.broker import BusMessage, Delivery
from aixgo.errors import (
    ConnectionClosed,
    NoResponders,
)
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import Collected, equal, refused, within
from aixgo.testing.waiting import PATIENCE_SECONDS


async def a_slow_reader_loses_messages_and_is_told(stage: Stage) -> None:
    """Promise 9: over its bound they are dropped, counted and announced; others get theirs."""
    broker, sender = await stage.connect(), await stage.connect()
    subject = stage.unique("slow")
    events = stage.events(broker)
    slow = await broker.subscribe(subject, pending=10)
    quick = await stage.listen(broker, subject)
    for number in range(100):
        await sender.publish(subject, str(number).encode())
    await quick.count(100)
    await stage.event(events, "slow_consumer")
    await sender.publish(subject, b"end")
    await quick.count(101)
    equal("dropped messages", slow.dropped, 91)
    await slow.drain()
    kept = [message.data async for message in slow]
    equal("kept messages", kept, [b"%d" % number for number in range(10)])


async def a_subscription_with_a_limit_ends_by_itself(stage: Stage) -> None:
    """Promise 10: exactly `limit` messages, then iteration ends, and callbacks stop."""
    broker = await stage.connect()
    subject = stage.unique("limit")
    called = await stage.listen(broker, subject, limit=2)
    read = await broker.subscribe(subject, limit=3)
    await broker.flush()
    for number in range(5):
        await broker.publish(subject, str(number).encode())
    async with within(PATIENCE_SECONDS, "the end of a subscription with a limit"):
        equal("iterated", [message.data async for message in read], [b"0", b"1", b"2"])
    equal("called back", [message.data for message in await called.exactly(2)], [b"0", b"1"])


async def an_unsubscribed_reader_gets_nothing_more(stage: Stage) -> None:
    """Promise 10: after `unsubscribe` no handler listens."""
    broker, sender = await stage.connect(), await stage.connect()
    subject = stage.unique("unsubscribed")
    inbox = Collected[BusMessage]("messages after unsubscribe")
    subscription = await broker.subscribe(subject, inbox)
    await broker.flush()
    await subscription.unsubscribe()
    await broker.flush()
    with refused(NoResponders, what="request after unsubscribe"):
        await sender.request(subject, b"", timeout=PATIENCE_SECONDS)
    await inbox.exactly(0)


async def a_drained_subscription_can_be_read_to_its_end(stage: Stage) -> None:
    """Promise 11: nothing new arrives; what was queued can be read; then iteration ends."""
    broker, sender = await stage.connect(), await stage.connect()
    subject = stage.unique("drain")
    subscription = await broker.subscribe(subject)
    marker = await stage.listen(broker, subject)
    for number in range(20):
        await sender.publish(subject, str(number).encode())
    await marker.count(20)
    await subscription.drain()
    await sender.publish(subject, b"too late")
    await marker.count(21)
    async with within(PATIENCE_SECONDS, "the end of a drained subscription"):
        read = [message.data async for message in subscription]
    equal("read after drain", read, [b"%d" % number for number in range(20)])


async def closing_with_drain_finishes_what_was_begun(stage: Stage) -> None:
    """Promise 11: published messages go out, running handlers finish and answer."""
    broker, other = await stage.connect(), await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    outcome = await stage.listen(other, f"{stream.name}-outcome")
    begun = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        begun.set()
        await asyncio.sleep(0.1)
        await broker.publish(f"{stream.name}-outcome", b"handled")
        await delivery.ack()

    await broker.consume(stream.name, consumer.name, handle, slots=1)
    await broker.append(f"{stream.name}.a", b"work")
    await begun.wait()
    for _ in range(50):
        await broker.publish(f"{stream.name}-outcome", b"queued")
    await broker.close(drain=True)
    bodies = Counter(message.data for message in await outcome.exactly(51))
    equal("what came out", bodies, Counter({b"queued": 50, b"handled": 1}))
    await stage.until_messages(other, stream, 0)


async def a_closed_connection_refuses_everything(stage: Stage) -> None:
    """Promise 11: ConnectionClosed, at once, and closing twice is harmless."""
    broker = await stage.connect()
    await broker.close()
    await broker.close()
    equal("connected", broker.connected, False)
    with refused(ConnectionClosed, what="publish after close"):
        await broker.publish("a", b"")
    with refused(ConnectionClosed, what="request after close"):
        await broker.request("a", b"", timeout=PATIENCE_SECONDS)
    with refused(ConnectionClosed, what="append after close"):
        await broker.append("a", b"", timeout=PATIENCE_SECONDS)
    with refused(ConnectionClosed, what="subscribe after close"):
        await broker.subscribe("a")


async def closing_ends_the_iteration_of_subscriptions(stage: Stage) -> None:
    """Promise 11: an iteration is not left waiting for ever."""
    broker = await stage.connect()
    subscription = await broker.subscribe(stage.unique("ending"))

    async def read() -> int:
        return sum([1 async for _ in subscription])

    reader = asyncio.ensure_future(read())
    await broker.flush()
    await broker.close()
    async with within(PATIENCE_SECONDS, "the end of an iteration after close"):
        equal("messages read", await reader, 0)
