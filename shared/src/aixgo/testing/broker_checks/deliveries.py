"""Promises about one delivery: redelivery, answers, attempts, dead ends."""

from __future__ import annotations

import asyncio
import json

from aixgo.broker import Delivery
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import (
    SOON_SECONDS,
    Collected,
    Stopwatch,
    equal,
    expect,
)
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

ACK_WAIT = 2.0
"""Seconds; short, because real time passes, and long beside what an answer takes: some checks
answer a delivery before it comes back by itself."""

ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER"


async def a_delivery_says_what_it_is(stage: Stage) -> None:
    """Promise 22: subject, body, headers, stream, sequence, attempt 1 and what waits behind."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    consumer = await stage.consumer(broker, stream, max_ack_pending=1)
    for body in (b"1", b"2", b"3"):
        await broker.append(f"{stream.name}.a", body, headers={"k": "v"})
    (first,) = await (await stage.deliveries(broker, stream, consumer)).count(1)
    equal("subject", first.subject, f"{stream.name}.a")
    equal("body and header", (first.data, first.headers.get("k")), (b"1", "v"))
    equal("stream and sequence", (first.stream, first.sequence), (stream.name, 1))
    equal("attempt and pending", (first.attempt, first.pending), (1, 2))


async def an_unacked_message_comes_back_after_ack_wait(stage: Stage) -> None:
    """Promise 22: the same message, one attempt more, not before `ack_wait`."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=ACK_WAIT)
    inbox = await stage.deliveries(broker, stream, consumer)
    watch = Stopwatch()
    await broker.append(f"{stream.name}.a", b"again")
    first, second = await inbox.count(2)
    expect(watch.seconds >= 0.9 * ACK_WAIT, f"redelivered after {watch.seconds:.3f} s")
    equal("attempts", (first.attempt, second.attempt), (1, 2))
    equal("second delivery", (second.sequence, second.data), (first.sequence, b"again"))
    await second.ack()
    await inbox.exactly(2, silence=1.5 * ACK_WAIT)


async def a_redelivery_goes_to_whoever_has_a_free_slot(stage: Stage) -> None:
    """Promise 22: a stuck worker does not keep its message."""
    stuck, free = await stage.connect(), await stage.connect()
    stream = await stage.stream(stuck, retention="workqueue")
    consumer = await stage.consumer(stuck, stream, ack_wait=ACK_WAIT)
    held = Collected[Delivery]("deliveries of the stuck worker")

    async def never_ends(delivery: Delivery) -> None:
        held(delivery)
        await asyncio.Event().wait()

    await stuck.consume(stream.name, consumer.name, never_ends, slots=1)
    await free.append(f"{stream.name}.a", b"")
    await held.count(1)
    inbox = await stage.deliveries(free, stream, consumer)
    (delivery,) = await inbox.count(1)
    equal("attempt", delivery.attempt, 2)


async def a_handler_that_raises_leaves_its_delivery_for_later(stage: Stage) -> None:
    """Promise 42: the error is reported, the message comes back, others are served."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=ACK_WAIT)
    events = stage.events(broker)
    done = Collected[tuple[bytes, int]]("handled (body, attempt)")

    async def handle(delivery: Delivery) -> None:
        if delivery.data == b"bad" and delivery.attempt == 1:
            raise RuntimeError("a bug in a handler")
        await delivery.ack()
        done((delivery.data, delivery.attempt))

    await broker.consume(stream.name, consumer.name, handle, slots=1)
    for body in (b"bad", b"good"):
        await broker.append(f"{stream.name}.a", body)
    equal("handled", await done.exactly(2), [(b"good", 1), (b"bad", 2)])
    event = await stage.event(events, "error")
    expect("a bug in a handler" in event.detail, f"the event says what, got {event.detail!r}")


async def in_progress_starts_the_wait_anew(stage: Stage) -> None:
    """Promise 23: a heartbeat keeps a delivery for as long as the work takes."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=ACK_WAIT)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    (delivery,) = await inbox.count(1)
    longest, watch = 0.0, Stopwatch()
    for _ in range(6):
        await asyncio.sleep(ACK_WAIT / 3)
        await delivery.in_progress()
        longest = max(longest, watch.seconds)
        watch.restart()
    # on a machine that stood still for that long the heartbeat came too late, rightly
    expect(
        len(inbox.items) == 1 or longest > 0.9 * ACK_WAIT,
        f"two ack_waits of heartbeats, none over {longest:.2f} s apart, kept the delivery",
    )
    await delivery.ack()
    await stage.until_messages(broker, stream, 0)


async def an_ack_of_an_older_delivery_is_accepted(stage: Stage) -> None:
    """Promise 23: acknowledgements fence nothing; the first to finish ends it."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=ACK_WAIT)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    first, _second = await inbox.count(2)
    await first.ack()
    await stage.until_messages(broker, stream, 0)
    await inbox.exactly(2, silence=1.5 * ACK_WAIT)


async def a_nak_of_an_older_delivery_acts(stage: Stage) -> None:
    """Promise 23: it redelivers at once, although a newer delivery is out."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=ACK_WAIT)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    first, _second = await inbox.count(2)
    watch = Stopwatch()
    await first.nak()
    third = (await inbox.count(3))[2]
    expect(watch.seconds < 0.75 * ACK_WAIT, f"redelivered after {watch.seconds:.3f} s")
    equal("attempt", third.attempt, 3)


async def a_nak_hands_the_message_back_at_once(stage: Stage) -> None:
    """Promise 24: redelivered without waiting, one attempt more."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=PATIENCE_SECONDS)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    (first,) = await inbox.count(1)
    watch = Stopwatch()
    await first.nak()
    second = (await inbox.count(2))[1]
    expect(watch.seconds < SOON_SECONDS, f"redelivered after {watch.seconds:.3f} s")
    equal("attempt", second.attempt, 2)


async def a_nak_with_delay_waits_that_long(stage: Stage) -> None:
    """Promise 24: not before the delay, and soon after it."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=PATIENCE_SECONDS)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    (first,) = await inbox.count(1)
    watch = Stopwatch()
    await first.nak(delay=0.5)
    await inbox.count(2)
    expect(0.45 <= watch.seconds < SOON_SECONDS, f"a delay of 0.5 s took {watch.seconds:.3f} s")


async def a_delayed_message_occupies_its_place(stage: Stage) -> None:
    """Promise 24: it counts against `max_ack_pending`, so nothing overtakes it at 1."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, max_ack_pending=1, ack_wait=PATIENCE_SECONDS)
    inbox = await stage.deliveries(broker, stream, consumer)
    for body in (b"1", b"2"):
        await broker.append(f"{stream.name}.a", body)
    (first,) = await inbox.count(1)
    await first.nak(delay=0.4)
    second = (await inbox.count(2))[1]
    equal("delivered after the delay", (second.data, second.attempt), (b"1", 2))
    await second.ack()
    equal("then", (await inbox.count(3))[2].data, b"2")


async def a_message_that_was_delivered_too_often_is_set_aside(stage: Stage) -> None:
    """Promise 26: it stays stored, becomes invisible, and an advisory names its sequence."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=0.2, max_deliver=2)
    advisories = await stage.listen(
        broker, f"{ADVISORY}.MAX_DELIVERIES.{stream.name}.{consumer.name}"
    )
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"poison")
    (advisory,) = await advisories.count(1)
    facts = json.loads(advisory.data)
    equal("stream_seq and deliveries", (facts["stream_seq"], facts["deliveries"]), (1, 2))
    equal("stream and consumer", (facts["stream"], facts["consumer"]), (stream.name, consumer.name))
    await inbox.exactly(2)
    equal("messages", await stage.messages_in(broker, stream), 1)
    info = await broker.consumer_info(stream.name, consumer.name)
    equal("visible", info and (info.pending, info.ack_pending), (0, 0))
    await broker.append(f"{stream.name}.a", b"flows past")
    await (await inbox.count(3))[2].ack()


async def a_terminated_message_is_gone_with_its_reason(stage: Stage) -> None:
    """Promise 26: never delivered again, removed from a work queue, an advisory says why."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=ACK_WAIT)
    advisories = await stage.listen(
        broker, f"{ADVISORY}.MSG_TERMINATED.{stream.name}.{consumer.name}"
    )
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    (delivery,) = await inbox.count(1)
    await delivery.term("does not fit the schema")
    (advisory,) = await advisories.count(1)
    facts = json.loads(advisory.data)
    equal("reason", facts["reason"], "does not fit the schema")
    equal("stream_seq and deliveries", (facts["stream_seq"], facts["deliveries"]), (1, 1))
    await stage.until_messages(broker, stream, 0)
    await inbox.exactly(1, silence=1.5 * ACK_WAIT)


async def when_ack_returns_the_broker_has_acted(stage: Stage) -> None:
    """Promise 27: a confirmed ack has been counted, so a crash after it repeats nothing."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    (delivery,) = await inbox.count(1)
    info = await broker.consumer_info(stream.name, consumer.name)
    equal("unanswered before", info and info.ack_pending, 1)
    await delivery.ack()
    info = await broker.consumer_info(stream.name, consumer.name)
    equal("unanswered after", info and info.ack_pending, 0)


async def an_unconfirmed_ack_acts_too(stage: Stage) -> None:
    """Promise 27: `confirm=False` saves the round trip, not the effect."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    (delivery,) = await inbox.count(1)
    await delivery.ack(confirm=False)
    await stage.until_messages(broker, stream, 0)


async def an_ack_of_a_removed_message_is_answered(stage: Stage) -> None:
    """Promise 27: a handler that finishes late is not kept waiting, however the message went."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = await stage.deliveries(broker, stream, consumer)
    for body in (b"1", b"2", b"3"):
        await broker.append(f"{stream.name}.a", body)
    purged, deleted, acked = await inbox.count(3)
    await acked.ack()
    await broker.delete_record(stream.name, deleted.sequence)
    await broker.purge(stream.name)
    watch = Stopwatch()
    for delivery in (purged, deleted, acked):
        await delivery.ack()
    expect(watch.seconds < SOON_SECONDS, f"three late acks took {watch.seconds:.3f} s")


async def what_was_removed_is_not_redelivered(stage: Stage) -> None:
    """Promise 27: a purge ends the redelivery of what was out."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=ACK_WAIT)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    await inbox.count(1)
    await broker.purge(stream.name)
    await inbox.exactly(1, silence=1.5 * ACK_WAIT)

    async def ack_pending() -> int:
        info = await broker.consumer_info(stream.name, consumer.name)
        return -1 if info is None else info.ack_pending

    await eventually(ack_pending, lambda count: count == 0, what="nothing is unanswered")
