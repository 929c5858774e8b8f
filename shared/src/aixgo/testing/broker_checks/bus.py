"""Promises of `Bus`: order, wildcards, queue groups, requests, isolation."""

from __future__ import annotations

import asyncio
from collections import Counter

from aixgo.broker import BusMessage
from aixgo.errors import (
    ConsumerNotFound,
    NoResponders,
    RequestTimeout,
    StreamNotFound,
)
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import (
    SOON_SECONDS,
    Collected,
    Stopwatch,
    equal,
    expect,
    refused,
)
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually


async def messages_of_one_connection_arrive_in_order(stage: Stage) -> None:
    """Promise 1: what one connection publishes on a subject arrives in that order."""
    sender, receiver = await stage.connect(), await stage.connect()
    subject = stage.unique("order")
    inbox = await stage.listen(receiver, subject)
    for number in range(500):
        await sender.publish(subject, str(number).encode())
    arrived = [int(message.data) for message in await inbox.count(500)]
    equal("order of arrival", arrived, list(range(500)))


async def a_star_stands_for_exactly_one_token(stage: Stage) -> None:
    """Promise 2: `a.*.c` matches `a.b.c`, not `a.c`, `a.b.b.c` or `a.b`."""
    broker = await stage.connect()
    root = stage.unique("star")
    inbox = await stage.listen(broker, f"{root}.*.c")
    for tail in ("c", "b.b.c", "b", "b.c.d", "b.c"):
        await broker.publish(f"{root}.{tail}", tail.encode())
    arrived = [message.data for message in await inbox.exactly(1)]
    equal("matches of a.*.c", arrived, [b"b.c"])


async def a_tail_wildcard_stands_for_one_or_more_tokens(stage: Stage) -> None:
    """Promise 2: `a.>` matches `a.b` and `a.b.c`, not `a`."""
    broker = await stage.connect()
    root = stage.unique("tail")
    inbox = await stage.listen(broker, f"{root}.>")
    for subject in (root, f"{root}.b", f"{root}x.b", f"{root}.b.c"):
        await broker.publish(subject, b"")
    arrived = [message.subject for message in await inbox.exactly(2)]
    equal("matches of a.>", arrived, [f"{root}.b", f"{root}.b.c"])


async def overlapping_subscriptions_of_one_connection_each_get_a_copy(stage: Stage) -> None:
    """Promise 2: three subscriptions that match get three copies."""
    broker = await stage.connect()
    root = stage.unique("overlap")
    inboxes = [await stage.listen(broker, f"{root}.{tail}") for tail in ("a", "*", ">")]
    await broker.publish(f"{root}.a", b"copy")
    for inbox in inboxes:
        equal("copies", [message.data for message in await inbox.exactly(1)], [b"copy"])


async def one_member_of_a_queue_group_gets_each_message(stage: Stage) -> None:
    """Promise 3: every message reaches one member, and every member gets a fair part."""
    sender = await stage.connect()
    subject = stage.unique("group")
    members = [
        await stage.listen(await stage.connect(), subject, queue="workers") for _ in range(3)
    ]
    for number in range(600):
        await sender.publish(subject, str(number).encode())

    async def total() -> int:
        return sum(len(member.items) for member in members)

    await eventually(total, lambda count: count >= 600, what="every message reached a member")
    await members[0].exactly(len(members[0].items))
    seen = Counter(int(message.data) for member in members for message in member.items)
    equal("messages delivered once", dict(seen), dict.fromkeys(range(600), 1))
    shares = [len(member.items) for member in members]
    expect(min(shares) > 100, f"a random member gets each message, so about 200 each: {shares}")


async def several_groups_and_plain_subscribers_all_get_a_message(stage: Stage) -> None:
    """Promise 3: one member of each group, and every plain subscriber."""
    broker = await stage.connect()
    subject = stage.unique("groups")
    plain = [await stage.listen(broker, subject) for _ in range(2)]
    first = [await stage.listen(broker, subject, queue="first") for _ in range(2)]
    second = [await stage.listen(broker, subject, queue="second") for _ in range(2)]
    for _ in range(20):
        await broker.publish(subject, b"")
    for inbox in plain:
        await inbox.exactly(20)
    for group in (first, second):
        equal("messages of a group", sum(len(member.items) for member in group), 20)


async def a_request_that_nobody_hears_fails_at_once(stage: Stage) -> None:
    """Promise 4: NoResponders long before the timeout."""
    broker = await stage.connect()
    watch = Stopwatch()
    with refused(NoResponders, what="request without a responder"):
        await broker.request(stage.unique("nobody"), b"", timeout=PATIENCE_SECONDS)
    expect(watch.seconds < SOON_SECONDS, f"NoResponders took {watch.seconds:.3f} s")


async def an_append_that_no_stream_takes_is_refused(stage: Stage) -> None:
    """Promise 4: NoResponders, never a silent loss."""
    broker = await stage.connect()
    with refused(NoResponders, what="append to a subject of no stream"):
        await broker.append(stage.unique("nostream"), b"", timeout=PATIENCE_SECONDS)


async def consuming_what_is_not_provisioned_is_refused(stage: Stage) -> None:
    """Promise 4: a missing stream and a missing consumer are named at once."""
    broker = await stage.connect()
    inbox = Collected[object]("deliveries")
    stream = await stage.stream(broker)
    watch = Stopwatch()
    with refused(StreamNotFound, ConsumerNotFound, what="consume from a missing stream"):
        await broker.consume(stage.unique("S"), "c", inbox.take, slots=1)
    with refused(ConsumerNotFound, what="consume from a missing consumer"):
        await broker.consume(stream.name, "nobody", inbox.take, slots=1)
    expect(watch.seconds < SOON_SECONDS, f"the refusals took {watch.seconds:.3f} s")


async def a_request_gets_the_first_answer(stage: Stage) -> None:
    """Promise 5: of two responders, the first one's answer; the other's is dropped."""
    client, server = await stage.connect(), await stage.connect()
    subject = stage.unique("race")
    asked = await stage.listen(server, subject)
    waiting = asyncio.ensure_future(client.request(subject, b"ask", timeout=PATIENCE_SECONDS))
    (question,) = await asked.count(1)
    await server.publish(question.reply, b"first")
    await server.publish(question.reply, b"second")
    equal("answer", (await waiting).data, b"first")


async def a_late_reply_is_dropped(stage: Stage) -> None:
    """Promise 5: the timeout raises; the late answer reaches neither that nor a later request."""
    client, server = await stage.connect(), await stage.connect()
    subject = stage.unique("late")
    asked = await stage.listen(server, subject)
    watch = Stopwatch()
    with refused(RequestTimeout, what="request without an answer"):
        await client.request(subject, b"one", timeout=0.1)
    expect(0.09 <= watch.seconds < SOON_SECONDS, f"timeout of 0.1 s took {watch.seconds:.3f} s")
    waiting = asyncio.ensure_future(client.request(subject, b"two", timeout=PATIENCE_SECONDS))
    one, two = await asked.count(2)
    await server.publish(one.reply, b"late")
    await server.publish(two.reply, b"in time")
    equal("answer of the second request", (await waiting).data, b"in time")


async def many_requests_at_once_get_their_own_answers(stage: Stage) -> None:
    """Promise 5: answers are matched to requests, whatever their order."""
    client, server = await stage.connect(), await stage.connect()
    subject = stage.unique("mux")
    asked = await stage.listen(server, subject)
    waiting = [
        asyncio.ensure_future(client.request(subject, b"%d" % number, timeout=PATIENCE_SECONDS))
        for number in range(100)
    ]
    for question in reversed(await asked.count(100)):
        await server.publish(question.reply, b"re " + question.data)
    answers = [message.data for message in await asyncio.gather(*waiting)]
    equal("answers", answers, [b"re %d" % number for number in range(100)])


async def received_messages_are_isolated_copies(stage: Stage) -> None:
    """Promise 42: what the sender or another receiver changes is not seen."""
    broker = await stage.connect()
    subject = stage.unique("copy")
    one, two = await stage.listen(broker, subject), await stage.listen(broker, subject)
    headers = {"k": "sent"}
    await broker.publish(subject, b"body", headers=headers)
    headers["k"] = "changed by the sender"
    (mine,) = await one.count(1)
    if isinstance(mine.headers, dict):
        mine.headers["k"] = "changed by a receiver"
    (yours,) = await two.count(1)
    equal("header", yours.headers["k"], "sent")
    equal("type of the body", type(yours.data), bytes)


async def a_callback_that_raises_stops_nothing(stage: Stage) -> None:
    """Promise 42: it is reported as an event; later messages and others are served."""
    broker = await stage.connect()
    subject = stage.unique("raises")
    events = stage.events(broker)
    calls = Collected[BusMessage]("calls of the raising callback")

    def callback(message: BusMessage) -> None:
        calls(message)
        raise RuntimeError("a bug in a callback")

    await broker.subscribe(subject, callback)
    other = await stage.listen(broker, subject)
    for _ in range(3):
        await broker.publish(subject, b"")
    await calls.count(3)
    await other.count(3)
    event = await stage.event(events, "error")
    expect("a bug in a callback" in event.detail, f"the event says what, got {event.detail!r}")


async def publish_returns_before_a_handler_runs(stage: Stage) -> None:
    """Promise 42: dispatch is asynchronous, so a handler may publish to itself for ever."""
    broker = await stage.connect()
    subject = stage.unique("async")
    inbox = await stage.listen(broker, subject)
    await broker.publish(subject, b"")
    equal("messages handled when publish returned", len(inbox.items), 0)
    await inbox.count(1)
