"""Promises for when things break: lost connections, killed servers, missing permissions."""

from __future__ import annotations

import asyncio

from aixgo.broker import Delivery, Record, StreamConfig
from aixgo.errors import Disconnected, PermissionDenied
from aixgo.testing.broker_checks._stage import Stage, alone, not_on
from aixgo.testing.expect import (
    SOON_SECONDS,
    Collected,
    Stopwatch,
    equal,
    expect,
    refused,
    within,
)
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

MIB = 1024 * 1024


async def a_lost_connection_is_announced_and_restored(stage: Stage) -> None:
    """Promise 39: `connected` shows it at once, and events show it in order."""
    broker = await stage.connect(breakable=True)
    events = stage.events(broker)
    equal("connected", broker.connected, True)
    async with stage.disconnected(broker):
        equal("connected while cut", broker.connected, False)
    await stage.event(events, "reconnected")
    kinds = [event.kind for event in events.items if event.kind in {"disconnected", "reconnected"}]
    equal("events", kinds[:2], ["disconnected", "reconnected"])


async def publishes_while_disconnected_are_sent_later_in_order(stage: Stage) -> None:
    """Promise 39: they wait in a buffer, with the subscriptions restored before them."""
    broker, other = await stage.connect(breakable=True), await stage.connect()
    subject = stage.unique("buffered")
    outside, inside = await stage.listen(other, subject), await stage.listen(broker, subject)
    async with stage.disconnected(broker):
        for number in range(100):
            await broker.publish(subject, b"%d" % number)
    for inbox in (outside, inside):
        arrived = [message.data for message in await inbox.exactly(100)]
        equal("arrived", arrived, [b"%d" % number for number in range(100)])


async def the_buffer_of_a_lost_connection_is_bounded(stage: Stage) -> None:
    """Promise 39: Disconnected within 64 MiB, and what was accepted before still arrives."""
    broker, other = await stage.connect(breakable=True), await stage.connect()
    subject = stage.unique("bound")
    inbox = await stage.listen(other, subject)
    accepted = 0
    async with stage.disconnected(broker):
        with refused(Disconnected, what="64 MiB while disconnected"):
            for _ in range(128):
                await broker.publish(subject, bytes(MIB // 2))
                accepted += 1
    expect(accepted >= 2, f"at least 1 MiB is buffered, got {accepted} x 512 KiB")
    await inbox.exactly(accepted)


async def an_append_outlives_a_lost_connection(stage: Stage) -> None:
    """Promise 39: it waits for the broker's word, and is stored exactly once."""
    broker, other = await stage.connect(breakable=True), await stage.connect()
    stream = await stage.stream(other)
    appending = []
    async with stage.disconnected(broker):
        appending = [
            asyncio.ensure_future(
                broker.append(f"{stream.name}.a", b"%d" % number, msg_id=f"id-{number}")
            )
            for number in range(20)
        ]
        await asyncio.sleep(0.05)
    answers = await asyncio.gather(*appending)
    equal("distinct sequences", len({answer.sequence for answer in answers}), 20)
    equal("messages", await stage.messages_in(other, stream), 20)


async def subscriptions_and_pulls_are_restored(stage: Stage) -> None:
    """Promise 39: after a cut both work again without help."""
    broker, other = await stage.connect(breakable=True), await stage.connect()
    stream = await stage.stream(other, retention="workqueue")
    consumer = await stage.consumer(other, stream)
    subject = stage.unique("restored")
    inbox = await stage.listen(broker, subject)
    done, _ = await stage.acknowledged(broker, stream, consumer)
    await other.append(f"{stream.name}.a", b"before")
    await done.count(1)
    await stage.disconnect(broker)
    await broker.flush()
    await other.publish(subject, b"")
    await inbox.count(1)
    await other.append(f"{stream.name}.a", b"after")
    watch = Stopwatch()
    await done.count(2)
    expect(watch.seconds < SOON_SECONDS, f"the pull was restored after {watch.seconds:.3f} s")


async def a_lost_connection_keeps_its_messages_until_ack_wait(stage: Stage) -> None:
    """Promise 39: a worker that is cut off is not presumed dead before `ack_wait`."""
    broker, other = await stage.connect(breakable=True), await stage.connect()
    stream = await stage.stream(other, retention="workqueue")
    consumer = await stage.consumer(other, stream, ack_wait=2.0)
    held = Collected[Delivery]("deliveries of the lost worker")

    async def never_ends(delivery: Delivery) -> None:
        held(delivery)
        await asyncio.Event().wait()

    await broker.consume(stream.name, consumer.name, never_ends, slots=1)
    watch = Stopwatch()
    await other.append(f"{stream.name}.a", b"")
    await held.count(1)
    async with stage.disconnected(broker):
        inbox = await stage.deliveries(other, stream, consumer)
        delivery = (await inbox.count(1))[0]
        expect(watch.seconds >= 1.8, f"redelivered {watch.seconds:.3f} s after the append")
        equal("attempt", delivery.attempt, 2)
        await delivery.ack()


async def an_ack_outlives_a_lost_connection(stage: Stage) -> None:
    """Promise 39: a confirmed ack that was begun while disconnected arrives."""
    broker, other = await stage.connect(breakable=True), await stage.connect()
    stream = await stage.stream(other, retention="workqueue")
    consumer = await stage.consumer(other, stream, ack_wait=PATIENCE_SECONDS)
    inbox = await stage.deliveries(broker, stream, consumer)
    await other.append(f"{stream.name}.a", b"")
    (delivery,) = await inbox.count(1)
    async with stage.disconnected(broker):
        acking = asyncio.ensure_future(delivery.ack())
        await asyncio.sleep(0.05)
    async with within(PATIENCE_SECONDS, "the ack after the connection was restored"):
        await acking
    equal("messages", await stage.messages_in(other, stream), 0)


async def a_follower_goes_on_where_the_connection_was_lost(stage: Stage) -> None:
    """Promise 37: no gap and no repetition over a cut."""
    broker, other = await stage.connect(breakable=True), await stage.connect()
    stream = await stage.stream(other)
    followed = Collected[Record]("followed records")

    async def follow() -> None:
        async with broker.follow(stream.name, f"{stream.name}.>") as records:
            async for record in records:
                followed(record)

    task = asyncio.ensure_future(follow())
    try:
        for _ in range(20):
            await other.append(f"{stream.name}.a", b"")
        await followed.count(20)
        async with stage.disconnected(broker):
            for _ in range(20):
                await other.append(f"{stream.name}.a", b"")
        await other.append(f"{stream.name}.a", b"")
        seen = [record.sequence for record in await followed.exactly(41)]
        equal("sequences", seen, list(range(1, 42)))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@alone
async def a_killed_server_keeps_its_file_streams(stage: Stage) -> None:
    """Promise 40: every answered append is there after kill -9; memory streams are gone."""
    broker = await stage.connect()
    kept = await stage.stream(broker)
    lost = await stage.stream(broker, storage="memory")
    for stream in (kept, lost):
        for number in range(50):
            await broker.append(f"{stream.name}.a", b"%d" % number)
    await stage.restart_server()

    async def look() -> int | None:
        info = await broker.stream_info(kept.name)
        return None if info is None else info.messages

    await eventually(look, lambda count: count == 50, what="the file stream is back")
    equal("memory stream", await broker.stream_info(lost.name), None)
    answer = await broker.append(f"{kept.name}.a", b"next")
    equal("next sequence", answer.sequence, 51)


@alone
async def a_killed_server_forgets_the_ids_of_consumed_calls(stage: Stage) -> None:
    """Promise 40: of a work queue; those of a limits stream are rebuilt from its records."""
    broker = await stage.connect()
    queue = await stage.stream(broker, retention="workqueue")
    limits = await stage.stream(broker)
    consumer = await stage.consumer(broker, queue)
    done, consumption = await stage.acknowledged(broker, queue, consumer)
    for stream in (queue, limits):
        await broker.append(f"{stream.name}.a", b"", msg_id="id")
    await done.count(1)
    await stage.until_messages(broker, queue, 0)
    await consumption.stop()
    await stage.restart_server()
    again = await broker.append(f"{limits.name}.a", b"", msg_id="id")
    equal("duplicate in the limits stream", again.duplicate, True)
    again = await broker.append(f"{queue.name}.a", b"", msg_id="id")
    equal("duplicate in the work queue", again.duplicate, False)


@alone
async def work_goes_on_after_the_server_was_killed(stage: Stage) -> None:
    """Promise 40: subscriptions, pulls, appends and requests need no help; nothing is lost."""
    broker, other = await stage.connect(), await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream, ack_wait=1.0)
    handled: set[bytes] = set()

    async def handle(delivery: Delivery) -> None:
        handled.add(delivery.data)
        await delivery.ack()

    await broker.consume(stream.name, consumer.name, handle, slots=4)
    subject = stage.unique("echo")
    asked = await stage.listen(other, subject)

    async def write() -> None:
        for number in range(200):
            await other.append(f"{stream.name}.a", b"%d" % number, msg_id=f"id-{number}")

    writing = asyncio.ensure_future(write())
    await asyncio.sleep(0.01)
    await stage.restart_server()
    await writing

    async def count() -> int:
        return len(handled)

    await eventually(count, lambda seen: seen == 200, what="every message was handled")
    asking = asyncio.ensure_future(broker.request(subject, b"?", timeout=PATIENCE_SECONDS))
    (question,) = await asked.count(1)
    await other.publish(question.reply, b"!")
    equal("answer", (await asking).data, b"!")


NO_USERS = "a broker inside the process has no users, so no permission can be missing"


@not_on("memory", because=NO_USERS)
async def a_forbidden_publish_is_an_event(stage: Stage) -> None:
    """Promise 41: no caller waits for it, so listeners are told; the connection stays."""
    broker = await stage.limited_connect()
    events = stage.events(broker)
    subject = stage.unique("forbidden")
    await broker.publish(subject, b"")
    event = await stage.event(events, "permission_denied")
    expect(subject in event.detail, f"the event names the subject, got {event.detail!r}")
    allowed = f"allowed.{stage.unique('a')}"
    inbox = await stage.listen(broker, allowed)
    await broker.publish(allowed, b"")
    await inbox.count(1)


@not_on("memory", because=NO_USERS)
async def a_forbidden_request_fails_at_once(stage: Stage) -> None:
    """Promise 41: request and append raise PermissionDenied long before their timeout."""
    broker = await stage.limited_connect()
    watch = Stopwatch()
    with refused(PermissionDenied, what="request to a forbidden subject"):
        await broker.request(stage.unique("forbidden"), b"", timeout=PATIENCE_SECONDS)
    with refused(PermissionDenied, what="append to a forbidden subject"):
        await broker.append(stage.unique("forbidden"), b"", timeout=PATIENCE_SECONDS)
    expect(watch.seconds < SOON_SECONDS, f"the refusals took {watch.seconds:.3f} s")
    allowed = f"allowed.{stage.unique('a')}"
    asked = await stage.listen(broker, allowed)
    asking = asyncio.ensure_future(broker.request(allowed, b"", timeout=PATIENCE_SECONDS))
    (question,) = await asked.count(1)
    await broker.publish(question.reply, b"fine")
    equal("an allowed request", (await asking).data, b"fine")


@not_on("memory", because=NO_USERS)
async def a_forbidden_subscription_is_refused(stage: Stage) -> None:
    """Promise 41: PermissionDenied from `subscribe`, or from the `flush` after it."""
    broker = await stage.limited_connect()
    with refused(PermissionDenied, what="subscription to a forbidden subject"):
        await broker.subscribe(stage.unique("forbidden"))
        await broker.flush()
    allowed = f"allowed.{stage.unique('a')}"
    inbox = await stage.listen(broker, allowed)
    await broker.publish(allowed, b"")
    await inbox.count(1)


@not_on("memory", because=NO_USERS)
async def a_user_without_the_permission_cannot_provision(stage: Stage) -> None:
    """Promise 41: deployed services bind to streams, they cannot create them."""
    broker = await stage.limited_connect()
    name = stage.unique("S")
    with refused(PermissionDenied, what="declaring a stream"):
        await broker.ensure_stream(StreamConfig(name=name, subjects=(f"{name}.>",)))
