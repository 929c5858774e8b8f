"""Promises about consumers: where they begin, what they count, pauses, changes."""

from __future__ import annotations

from dataclasses import replace

from aixgo import clock
from aixgo.broker import Broker, StreamConfig
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import (
    Stopwatch,
    equal,
    expect,
)
from aixgo.testing.waiting import eventually


async def _sequences(
    stage: Stage, broker: Broker, stream: StreamConfig, wanted: int, **fields: object
) -> list[int]:
    """Return the sequences that a new consumer with these fields gets."""
    consumer = await stage.consumer(broker, stream, **fields)
    inbox = await stage.deliveries(broker, stream, consumer)
    return [delivery.sequence for delivery in await inbox.exactly(wanted, silence=0.05)]


async def a_consumer_begins_with_everything(stage: Stage) -> None:
    """Promise 21: `deliver="all"` begins with the first record."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await stage.fill(broker, stream, "aba")
    equal("deliver all", await _sequences(stage, broker, stream, 3), [1, 2, 3])


async def a_consumer_can_begin_with_what_is_new(stage: Stage) -> None:
    """Promise 21: `deliver="new"` begins after its declaration, however late it is consumed."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await stage.fill(broker, stream, "ab")
    consumer = await stage.consumer(broker, stream, deliver="new")
    await stage.fill(broker, stream, "a")
    inbox = await stage.deliveries(broker, stream, consumer)
    equal("deliver new", [d.sequence for d in await inbox.exactly(1)], [3])


async def a_consumer_gets_only_what_its_filters_match(stage: Stage) -> None:
    """Promise 21: several filters, in stream order."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await stage.fill(broker, stream, ["a", "b.1", "c", "b.2", "a"])
    filters = (f"{stream.name}.a", f"{stream.name}.b.*")
    equal("filtered", await _sequences(stage, broker, stream, 4, filters=filters), [1, 2, 4, 5])


async def the_counts_of_a_consumer_are_right_at_each_step(stage: Stage) -> None:
    """Promise 29: queued, unanswered, idle pulls and redelivered, as autoscalers need them."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, max_ack_pending=2)

    async def counts(step: str, pending: int, ack_pending: int, redelivered: int) -> None:
        """Compare soon after: a server counts a moment later than it answers."""
        await eventually(
            lambda: stage.state(broker, stream, consumer),
            lambda info: (
                (info.pending, info.ack_pending, info.redelivered)
                == (pending, ack_pending, redelivered)
            ),
            what=f"(pending, ack_pending, redelivered) {step}",
        )

    equal("waiting pulls", (await stage.state(broker, stream, consumer)).waiting, 0)
    await stage.fill(broker, stream, "aaa")
    await counts("before consuming", 3, 0, 0)
    inbox = await stage.deliveries(broker, stream, consumer, slots=1)
    one, two = await inbox.exactly(2)
    await counts("with two of three out", 1, 2, 0)
    await one.nak()
    one = (await inbox.count(3))[2]
    await counts("with one redelivered", 1, 2, 1)
    for delivery in (one, two):
        await delivery.ack()
    await (await inbox.count(4))[3].ack()
    await counts("when all is done", 0, 0, 0)
    await stage.until_waiting(broker, stream, consumer)


async def everything_up_to_the_floor_of_a_consumer_is_answered(stage: Stage) -> None:
    """Promise 29: what removes old messages must know what may be delivered again."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    consumer = await stage.consumer(broker, stream)
    await stage.fill(broker, stream, "aaa")

    async def floor(step: str, wanted: int) -> None:
        await eventually(
            lambda: stage.state(broker, stream, consumer),
            lambda info: info.ack_floor == wanted,
            what=f"ack floor {step}",
        )

    await floor("before consuming", 0)
    inbox = await stage.deliveries(broker, stream, consumer, slots=3)
    one, two, three = await inbox.exactly(3)
    await two.ack()
    await floor("with the first one out", 0)
    await one.ack()
    await floor("with the last one out", 2)
    await three.ack()
    await floor("when all is done", 3)


async def a_paused_consumer_delivers_nothing(stage: Stage) -> None:
    """Promise 38: until its time comes, or until it is resumed by a time in the past."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = await stage.deliveries(broker, stream, consumer)
    until = clock.now() + 60.0
    await broker.pause_consumer(stream.name, consumer.name, until)
    await broker.append(f"{stream.name}.a", b"")
    await inbox.exactly(0)
    paused = (await stage.state(broker, stream, consumer)).paused_until
    expect(
        paused is not None and abs(paused - until) < 1.0,
        f"consumer_info says until when it pauses, got {paused!r}, wanted {until!r}",
    )
    await broker.pause_consumer(stream.name, consumer.name, clock.now() - 1.0)
    await inbox.exactly(1)
    equal("paused_until", (await stage.state(broker, stream, consumer)).paused_until, None)


async def a_pause_ends_by_itself(stage: Stage) -> None:
    """Promise 38: delivery goes on at the time that was given."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    watch = Stopwatch()
    await broker.pause_consumer(stream.name, consumer.name, clock.now() + 0.4)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    await inbox.count(1)
    expect(watch.seconds >= 0.3, f"a pause of 0.4 s ended after {watch.seconds:.3f} s")


async def a_consumer_can_be_changed_while_it_runs(stage: Stage) -> None:
    """Promise 38: `max_ack_pending` and `ack_wait` take effect without a restart."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, max_ack_pending=1, ack_wait=30.0)
    inbox = await stage.deliveries(broker, stream, consumer)
    await stage.fill(broker, stream, "aaa")
    await inbox.exactly(1)
    changed = await broker.ensure_consumer(
        stream.name, replace(consumer, max_ack_pending=3, ack_wait=0.3)
    )
    equal("action", changed.action, "updated")
    wanted = {"max_ack_pending": (1, 3), "ack_wait": (30.0, 0.3)}
    equal("changed fields", dict(changed.fields), wanted)
    await inbox.count(3)
    later = await inbox.count(5)
    again = [delivery.attempt for delivery in later[3:]]
    expect(min(again) >= 2, f"redelivered by the new ack_wait, got attempts {again}")
