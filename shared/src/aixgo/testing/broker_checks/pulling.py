"""Promises about pulling: how much is out at once, in which order, and how it ends."""

from __future__ import annotations

import asyncio

from aixgo.broker import Delivery
from aixgo.errors import ConfigError
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import (
    SOON_SECONDS,
    Collected,
    Stopwatch,
    equal,
    expect,
    refused,
)
from aixgo.testing.waiting import PATIENCE_SECONDS


async def a_pull_without_slots_is_refused(stage: Stage) -> None:
    """Promise 17: it would wait for ever and handle nothing."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = Collected[Delivery]("deliveries")
    for slots in (0, -1):
        with refused(ConfigError, what=f"{slots} slots"):
            await broker.consume(stream.name, consumer.name, inbox.take, slots=slots)


async def no_more_than_max_ack_pending_are_out_at_once(stage: Stage) -> None:
    """Promise 25: over all pullers together; every answer makes room for one more."""
    one, two = await stage.connect(), await stage.connect()
    stream = await stage.stream(one, retention="workqueue")
    consumer = await stage.consumer(one, stream, max_ack_pending=3)
    inbox = Collected[Delivery]("deliveries over two pullers")
    for broker in (one, two):
        await broker.consume(stream.name, consumer.name, inbox.take, slots=10)
    await stage.fill(one, stream, "a" * 8)
    out = await inbox.exactly(3)
    equal("unanswered", (await stage.state(one, stream, consumer)).ack_pending, 3)
    await out[0].ack()
    await inbox.exactly(4)


async def one_at_a_time_is_strict_order(stage: Stage) -> None:
    """Promise 25: with `max_ack_pending=1` order holds over pullers and redeliveries."""
    one, two = await stage.connect(), await stage.connect()
    stream = await stage.stream(one, retention="workqueue")
    consumer = await stage.consumer(one, stream, max_ack_pending=1)
    done = Collected[int]("handled sequences")

    async def handle(delivery: Delivery) -> None:
        if delivery.attempt == 1 and delivery.sequence % 3 == 0:
            await delivery.nak()
            return
        done(delivery.sequence)
        await delivery.ack()

    for broker in (one, two):
        await broker.consume(stream.name, consumer.name, handle, slots=5)
    await stage.fill(one, stream, "a" * 20)
    equal("order", await done.exactly(20), list(range(1, 21)))


async def no_more_handlers_run_than_there_are_slots(stage: Stage) -> None:
    """Promise 28: `slots` bounds the handlers of one consumption, and it uses all of them."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    running, most, full = 0, 0, asyncio.Event()
    done = Collected[int]("handled sequences")

    async def handle(delivery: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            full.set()
        await full.wait()
        await asyncio.sleep(0.02)  # in which a fifth one would begin
        running -= 1
        await delivery.ack()
        done(delivery.sequence)

    await stage.fill(broker, stream, "a" * 20)
    consumption = await broker.consume(stream.name, consumer.name, handle, slots=4)
    await done.exactly(20)
    equal("handlers at once", most, 4)
    equal("busy when all is done", consumption.busy, 0)


async def an_idle_consumption_hands_nothing_to_its_handler(stage: Stage) -> None:
    """Promise 28: expiries, heartbeats and empty answers are the adapter's own business."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = await stage.deliveries(broker, stream, consumer)
    await inbox.exactly(0)
    await broker.append(f"{stream.name}.a", b"")
    await inbox.exactly(1)


async def more_pulls_than_may_wait_still_get_everything_done(stage: Stage) -> None:
    """Promise 28: over `max_waiting` a pull is refused by the server and tried again."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, max_waiting=1)
    done = Collected[int]("handled sequences")

    async def handle(delivery: Delivery) -> None:
        await delivery.ack()
        done(delivery.sequence)

    for _ in range(3):
        await broker.consume(stream.name, consumer.name, handle, slots=1)
    await stage.fill(broker, stream, "a" * 30)
    equal("handled", sorted(await done.exactly(30)), list(range(1, 31)))


async def a_consumer_that_is_declared_again_is_consumed_again(stage: Stage) -> None:
    """Promise 28: a running consumption survives the deletion of its consumer."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = await stage.deliveries(broker, stream, consumer)
    await stage.until_waiting(broker, stream, consumer)
    equal("deleted", await broker.delete_consumer(stream.name, consumer.name), True)
    await broker.ensure_consumer(stream.name, consumer)
    await broker.append(f"{stream.name}.a", b"")
    await inbox.count(1)


async def a_waiting_pull_is_served_at_once(stage: Stage) -> None:
    """Promise 29: the next append reaches an idle worker without any polling."""
    broker, sender = await stage.connect(), await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox, _ = await stage.acknowledged(broker, stream, consumer)
    appends, waits = [], []
    for number in range(1, 21):
        watch = Stopwatch()
        await sender.append(f"{stream.name}.a", b"")
        appends.append(watch.seconds)
        await inbox.count(number)
        waits.append(watch.seconds)
    # a busy machine is late with both, now and then; a worker that polls is late with every second
    append, middle = sorted(appends)[10], sorted(waits)[10]
    expect(
        middle < 0.05 + 10 * append,
        f"every other message took over {middle:.3f} s, and its append {append:.3f} s",
    )


async def a_redelivery_comes_before_new_messages(stage: Stage) -> None:
    """Promise 30: what was handed back is served first."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    order = Collected[tuple[int, int]]("(sequence, attempt) in order of delivery")
    gate = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        order((delivery.sequence, delivery.attempt))
        if delivery.attempt == 1 and delivery.sequence == 1:
            await gate.wait()
            await delivery.nak()
        else:
            await delivery.ack()

    await broker.consume(stream.name, consumer.name, handle, slots=1)
    await broker.append(f"{stream.name}.a", b"1")
    await order.count(1)
    await stage.fill(broker, stream, "aa")
    gate.set()
    equal("order", await order.exactly(4), [(1, 1), (1, 2), (2, 1), (3, 1)])


async def stopping_hands_back_what_nobody_answered(stage: Stage) -> None:
    """Promise 24: a worker that leaves in order does not make others wait for `ack_wait`."""
    leaving, staying = await stage.connect(), await stage.connect()
    stream = await stage.stream(leaving, retention="workqueue")
    consumer = await stage.consumer(leaving, stream, ack_wait=PATIENCE_SECONDS)
    held = Collected[Delivery]("deliveries of the leaving worker")
    ended = Collected[str]("cancelled handlers")

    async def never_ends(delivery: Delivery) -> None:
        held(delivery)
        try:
            await asyncio.Event().wait()
        finally:
            ended("ended")

    consumption = await leaving.consume(stream.name, consumer.name, never_ends, slots=2)
    await stage.fill(leaving, stream, "aa")
    await held.count(2)
    equal("busy", consumption.busy, 2)
    watch = Stopwatch()
    await consumption.stop()
    await consumption.stop()
    equal("handlers cancelled when stop returned", len(ended.items), 2)
    inbox = await stage.deliveries(staying, stream, consumer)
    again = await inbox.count(2)
    expect(watch.seconds < SOON_SECONDS, f"hand-over took {watch.seconds:.3f} s")
    equal("attempts", [delivery.attempt for delivery in again], [2, 2])


async def stopping_with_grace_lets_handlers_finish(stage: Stage) -> None:
    """Promise 11: within `grace` a handler ends by itself and nothing new begins."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    begun, done = Collected[int]("begun"), Collected[int]("done")
    gate = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        begun(delivery.sequence)
        await gate.wait()
        await delivery.ack()
        done(delivery.sequence)

    consumption = await broker.consume(stream.name, consumer.name, handle, slots=1)
    await stage.fill(broker, stream, "aa")
    await begun.count(1)
    stopping = asyncio.ensure_future(consumption.stop(grace=PATIENCE_SECONDS))
    await asyncio.sleep(0.1)
    gate.set()
    await stopping
    equal("done when stop returned", done.items, [1])
    await stage.fill(broker, stream, "a")
    await begun.exactly(1)
    await stage.until_messages(broker, stream, 2)
