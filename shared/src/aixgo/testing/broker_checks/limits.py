"""Promises about what a stream keeps: limits, ages, and the three retentions."""

from __future__ import annotations

import math

from aixgo.broker import ConsumerConfig
from aixgo.errors import ConfigError, ConsumerConflict, StreamFull, StreamRefused
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import Stopwatch, equal, expect, refused


async def a_full_stream_refuses_and_says_so(stage: Stage) -> None:
    """Promise 18: with `discard="new"` the publisher sees StreamFull; nothing old is lost."""
    broker = await stage.connect()
    stream = await stage.stream(broker, discard="new", max_messages=2)
    for body in (b"1", b"2"):
        await broker.append(f"{stream.name}.a", body)
    with refused(StreamFull, what="append to a stream with max_messages=2"):
        await broker.append(f"{stream.name}.a", b"3")
    records = await broker.read(stream.name, f"{stream.name}.>")
    equal("records", [record.data for record in records], [b"1", b"2"])


async def a_stream_that_was_full_accepts_again_when_it_is_worked_off(stage: Stage) -> None:
    """Promise 18: backpressure ends when a work queue is consumed."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue", discard="new", max_messages=1)
    consumer = await stage.consumer(broker, stream)
    await broker.append(f"{stream.name}.a", b"1")
    with refused(StreamFull, what="append to a full work queue"):
        await broker.append(f"{stream.name}.a", b"2")
    done, _ = await stage.acknowledged(broker, stream, consumer)
    await done.count(1)
    await stage.until_messages(broker, stream, 0)
    await broker.append(f"{stream.name}.a", b"3")
    await done.count(2)


async def a_stream_full_of_bytes_refuses(stage: Stage) -> None:
    """Promise 18: `max_bytes` counts bodies and overhead."""
    broker = await stage.connect()
    stream = await stage.stream(broker, discard="new", max_bytes=4096)
    with refused(StreamFull, what="ten kilobytes into a stream of four"):
        for _ in range(10):
            await broker.append(f"{stream.name}.a", bytes(1024))
    kept = await stage.messages_in(broker, stream)
    expect(2 <= kept <= 3, f"4096 bytes hold two or three records of 1 kB, kept {kept}")


async def discarding_old_drops_the_oldest(stage: Stage) -> None:
    """Promise 18: with `discard="old"` the newest records stay."""
    broker = await stage.connect()
    stream = await stage.stream(broker, max_messages=3)
    for number in range(5):
        await broker.append(f"{stream.name}.a", b"%d" % number)
    records = await broker.read(stream.name, f"{stream.name}.>")
    equal("records", [record.data for record in records], [b"2", b"3", b"4"])
    info = await broker.stream_info(stream.name)
    equal("first sequence", info and info.first_sequence, 3)


async def a_subject_keeps_its_newest_records(stage: Stage) -> None:
    """Promise 18: `max_messages_per_subject` drops the oldest of that subject only."""
    broker = await stage.connect()
    stream = await stage.stream(broker, max_messages_per_subject=2)
    await broker.append(f"{stream.name}.other", b"stays")
    for number in range(4):
        await broker.append(f"{stream.name}.a", b"%d" % number)
    records = await broker.read(stream.name, f"{stream.name}.>")
    equal("records", [record.data for record in records], [b"stays", b"2", b"3"])


async def one_record_per_subject_is_replaced_even_when_new_is_discarded(stage: Stage) -> None:
    """Promise 18: `discard="new"` guards the whole stream; a subject still takes its newest."""
    broker = await stage.connect()
    stream = await stage.stream(broker, discard="new", max_messages_per_subject=1)
    for body in (b"1", b"2"):
        await broker.append(f"{stream.name}.a", body)
    records = await broker.read(stream.name, f"{stream.name}.a")
    equal("records", [record.data for record in records], [b"2"])


async def a_full_subject_can_refuse(stage: Stage) -> None:
    """Promise 18: `discard_new_per_subject` guards every subject by itself."""
    broker = await stage.connect()
    stream = await stage.stream(
        broker, discard="new", discard_new_per_subject=True, max_messages_per_subject=1
    )
    await broker.append(f"{stream.name}.a", b"1")
    with refused(StreamFull, what="a second record of a full subject"):
        await broker.append(f"{stream.name}.a", b"2")
    await broker.append(f"{stream.name}.b", b"1")


async def a_record_over_the_size_limit_of_its_stream_is_refused(stage: Stage) -> None:
    """Promise 18: `max_message_size`; no retry cures it."""
    broker = await stage.connect()
    stream = await stage.stream(broker, max_message_size=1000)
    with refused(StreamRefused, what="1500 bytes into a stream with max_message_size=1000"):
        await broker.append(f"{stream.name}.a", bytes(1500))
    await broker.append(f"{stream.name}.a", bytes(500))


async def a_stream_forgets_what_is_too_old(stage: Stage) -> None:
    """Promise 19: `max_age`."""
    broker = await stage.connect()
    stream = await stage.stream(broker, max_age=0.3, duplicate_window=0.3)
    watch = Stopwatch()
    await broker.append(f"{stream.name}.a", b"old")
    equal("at first", await stage.messages_in(broker, stream), 1)
    await stage.until_messages(broker, stream, 0)
    expect(watch.seconds >= 0.29, f"max_age of 0.3 s removed it after {watch.seconds:.3f} s")
    equal("record", await broker.last(stream.name, f"{stream.name}.a"), None)


async def a_record_with_a_ttl_is_forgotten(stage: Stage) -> None:
    """Promise 19: `ttl` removes one record; its neighbours stay."""
    broker = await stage.connect()
    stream = await stage.stream(broker, allow_ttl=True)
    watch = Stopwatch()
    await broker.append(f"{stream.name}.a", b"short", ttl=1)
    await broker.append(f"{stream.name}.b", b"stays")
    equal("at first", await stage.messages_in(broker, stream), 2)
    await stage.until_messages(broker, stream, 1)
    expect(watch.seconds >= 0.95, f"a TTL of 1 s removed it after {watch.seconds:.3f} s")
    equal("short", await broker.last(stream.name, f"{stream.name}.a"), None)
    record = await broker.last(stream.name, f"{stream.name}.b")
    equal("neighbour", record and record.data, b"stays")


async def a_ttl_below_a_second_is_refused(stage: Stage) -> None:
    """Promise 19: StreamRefused; and so is any TTL where the stream does not allow it."""
    broker = await stage.connect()
    stream = await stage.stream(broker, allow_ttl=True)
    with refused(StreamRefused, what="a TTL of half a second"):
        await broker.append(f"{stream.name}.a", b"", ttl=0.5)
    without = await stage.stream(broker)
    with refused(StreamRefused, what="a TTL in a stream without allow_ttl"):
        await broker.append(f"{without.name}.a", b"", ttl=1)


async def a_delivered_message_expires_too(stage: Stage) -> None:
    """Promise 19: it leaves the queue, is not redelivered, and a late ack is answered."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue", allow_ttl=True)
    consumer = await stage.consumer(broker, stream, ack_wait=2.3)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"", ttl=2)
    (delivery,) = await inbox.count(1)
    await stage.until_messages(broker, stream, 0)
    await inbox.exactly(1, silence=0.5)
    await delivery.ack()


async def a_work_queue_forgets_what_was_acknowledged(stage: Stage) -> None:
    """Promise 20: acknowledged messages are removed, others stay."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = await stage.deliveries(broker, stream, consumer)
    for body in (b"1", b"2"):
        await broker.append(f"{stream.name}.a", body)
    first, _ = await inbox.count(2)
    await first.ack()
    await stage.until_messages(broker, stream, 1)
    equal("first", await broker.at(stream.name, 1), None)
    record = await broker.at(stream.name, 2)
    equal("second", record and record.data, b"2")


async def a_work_queue_waits_for_its_first_consumer(stage: Stage) -> None:
    """Promise 20: a message for which no consumer exists yet is kept."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    await broker.append(f"{stream.name}.a", b"waits")
    equal("messages", await stage.messages_in(broker, stream), 1)
    consumer = await stage.consumer(broker, stream, filters=(f"{stream.name}.a",))
    (delivery,) = await (await stage.deliveries(broker, stream, consumer)).count(1)
    equal("delivery", delivery.data, b"waits")


async def overlapping_consumers_of_a_work_queue_are_refused(stage: Stage) -> None:
    """Promise 20: ConsumerConflict for overlapping filters; disjoint ones share the queue."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    await stage.consumer(broker, stream, filters=(f"{stream.name}.a.>",))
    for filters in ((), (f"{stream.name}.>",), (f"{stream.name}.*.x",)):
        config = ConsumerConfig(name=stage.unique("c"), filters=filters)
        with refused(ConsumerConflict, what=f"a second consumer with filters {filters}"):
            await broker.ensure_consumer(stream.name, config)
    await stage.consumer(broker, stream, filters=(f"{stream.name}.b.>",))


async def a_stream_by_limits_keeps_what_was_acknowledged(stage: Stage) -> None:
    """Promise 20: consumers move on, the record stays, and each consumer gets everything."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    one = await stage.consumer(broker, stream)
    two = await stage.consumer(broker, stream)
    await broker.append(f"{stream.name}.a", b"")
    for consumer in (one, two):
        done, _ = await stage.acknowledged(broker, stream, consumer)
        await done.exactly(1)
    equal("messages", await stage.messages_in(broker, stream), 1)


async def seconds_that_are_none_are_refused(stage: Stage) -> None:
    """Promise 17: a time to live or time-out that is not a number, or has no end."""
    broker = await stage.connect()
    stream = await stage.stream(broker, allow_ttl=True, allow_schedules=True)
    subject = f"{stream.name}.a"
    for ttl in (math.nan, math.inf, -1.0):
        with refused(StreamRefused, what=f"time to live of {ttl}"):
            await broker.append(subject, b"", ttl=ttl)
    for timeout in (math.nan, -1.0):
        with refused(ConfigError, what=f"append within {timeout} s"):
            await broker.append(subject, b"", timeout=timeout)
        with refused(ConfigError, what=f"request within {timeout} s"):
            await broker.request(subject, b"", timeout=timeout)
    with refused(ConfigError, what="a schedule at nan s"):
        await broker.schedule(subject, b"", at=math.nan, target=f"{stream.name}.b")
    await broker.schedule(subject, b"", at=1e15, target=f"{stream.name}.b")
    record = await broker.last(stream.name, subject)
    equal("a schedule that is due after the last year", record and record.data, b"")
