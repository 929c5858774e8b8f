"""What the memory broker does beside the promises that every broker keeps (tests/conformance)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aixgo import clock
from aixgo.broker import (
    BrokerEvent,
    BusMessage,
    ConsumerConfig,
    Delivery,
    Record,
    StreamConfig,
)
from aixgo.broker.memory import MemoryBroker, MemoryServer
from aixgo.broker.memory.connection import BURST
from aixgo.broker.memory.timers import Deadlines
from aixgo.errors import (
    BrokerError,
    ConnectionClosed,
    ConsumerConflict,
    NoResponders,
    PayloadTooLarge,
    RequestTimeout,
    StreamFull,
    StreamNotFound,
    StreamRefused,
)

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
async def broker(server: MemoryServer) -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker(server, name="test") as connection:
        yield connection


async def publish_for_ack(broker: MemoryBroker, subject: str, **headers: str) -> dict[str, Any]:
    """Return the answer of a plain publish with a reply subject, as NATS clients do it."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    reply = await broker.request(subject, b"x", timeout=1.0, headers=named)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


# -- plain publishes into a stream -----------------------------------------------------------------


async def test_a_request_to_a_subject_of_a_stream_is_answered_as_nats_answers(
    broker: MemoryBroker,
) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
    assert await publish_for_ack(broker, "s.a", Nats_Msg_Id="1") == {"stream": "S", "seq": 1}
    again = await publish_for_ack(broker, "s.a", Nats_Msg_Id="1")
    assert again == {"stream": "S", "seq": 1, "duplicate": True}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Nats_TTL": "500ms"}, 10051),
        ({"Nats_Rollup": "sub"}, 10051),
    ],
)
async def test_a_refused_publish_is_answered_with_the_error(
    broker: MemoryBroker, headers: dict[str, str], code: int
) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), allow_ttl=True))
    answer = await publish_for_ack(broker, "s.a", **headers)
    assert answer["error"]["err_code"] == code
    assert answer["error"]["description"]
    info = await broker.stream_info("S")
    assert info is not None
    assert info.messages == 0


async def test_a_full_stream_answers_503(broker: MemoryBroker) -> None:
    config = StreamConfig(name="S", subjects=("s.>",), discard="new", max_messages=1)
    await broker.ensure_stream(config)
    await broker.publish("s.a", b"")
    answer = await publish_for_ack(broker, "s.a")
    assert (answer["error"]["code"], answer["error"]["err_code"]) == (503, 10077)


async def test_the_headers_of_the_server_are_kept_with_the_record(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), allow_ttl=True))
    await broker.append("s.a", b"", msg_id="id", ttl=1.5, headers={"mine": "x"})
    record = await broker.at("S", 1)
    assert record is not None
    assert dict(record.headers) == {"mine": "x", "Nats-TTL": "2", "Nats-Msg-Id": "id"}


# -- records end ---------------------------------------------------------------------------------


async def test_whole_hours_of_retention_pass_at_the_second(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), max_age=3600.0))
    await broker.append("s.a", b"1")
    await asyncio.sleep(1800)
    await broker.append("s.a", b"2")
    await asyncio.sleep(1799)
    assert len(await broker.read("S", ">")) == 2
    await asyncio.sleep(2)
    assert [record.data for record in await broker.read("S", ">")] == [b"2"]
    await asyncio.sleep(1800)
    assert await broker.read("S", ">") == []


async def test_the_age_of_a_stream_ends_a_longer_ttl_but_not_never(broker: MemoryBroker) -> None:
    config = StreamConfig(
        name="S", subjects=("s.>",), max_age=10.0, duplicate_window=1.0, allow_ttl=True
    )
    await broker.ensure_stream(config)  # as measured on nats-server 2.15.1
    await broker.append("s.short", b"", ttl=5)
    await broker.append("s.long", b"", ttl=60)
    await broker.append("s.never", b"", headers={"Nats-TTL": "never"})
    await asyncio.sleep(6)
    assert [record.subject for record in await broker.read("S", ">")] == ["s.long", "s.never"]
    await asyncio.sleep(1000)
    assert [record.subject for record in await broker.read("S", ">")] == ["s.never"]


async def test_an_expired_subject_leaves_a_marker_that_expires_without_another(
    broker: MemoryBroker,
) -> None:
    config = StreamConfig(
        name="S", subjects=("s.>",), allow_ttl=True, allow_rollup=True, marker_ttl=60.0
    )
    await broker.ensure_stream(config)
    await broker.append("s.a", b"old", ttl=600)
    await broker.append("s.a", b"new", ttl=5)
    await asyncio.sleep(6)
    assert [record.data for record in await broker.read("S", ">")] == [b"old"]
    await asyncio.sleep(600)
    (marker,) = await broker.read("S", ">")
    wanted = {"Nats-Marker-Reason": "MaxAge", "Nats-TTL": "60s", "Nats-Rollup": "sub"}
    assert dict(marker.headers) == wanted
    await asyncio.sleep(60)
    assert await broker.read("S", ">") == []


async def test_lower_limits_hold_at_once(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
    for number in range(6):
        await broker.append(f"s.{number % 2}", b"%d" % number)
    await broker.ensure_stream(
        StreamConfig(name="S", subjects=("s.>",), max_messages_per_subject=2)
    )
    assert [record.data for record in await broker.read("S", ">")] == [b"2", b"3", b"4", b"5"]
    change = await broker.ensure_stream(
        StreamConfig(name="S", subjects=("s.>",), max_messages_per_subject=2, max_messages=1)
    )
    assert dict(change.fields) == {"max_messages": (0, 1)}
    assert [record.data for record in await broker.read("S", ">")] == [b"5"]


async def test_a_rollup_replaces_what_the_subject_or_the_stream_had(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), allow_rollup=True))
    for subject in ("s.a", "s.b", "s.a"):
        await broker.append(subject, b"")
    await broker.append("s.a", b"", headers={"Nats-Rollup": "sub"})
    assert [record.sequence for record in await broker.read("S", ">")] == [2, 4]
    await broker.append("s.c", b"", headers={"Nats-Rollup": "all"})
    assert [record.sequence for record in await broker.read("S", ">")] == [5]


async def test_message_ids_are_remembered_exactly_for_the_window(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), duplicate_window=100.0))
    await broker.append("s.a", b"", msg_id="id")
    await asyncio.sleep(99.9)
    assert (await broker.append("s.a", b"", msg_id="id")).duplicate
    await asyncio.sleep(0.1)
    assert not (await broker.append("s.a", b"", msg_id="id")).duplicate


async def test_a_changed_age_holds_for_what_is_there(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
    await broker.append("s.a", b"")
    await asyncio.sleep(500)
    await broker.append("s.b", b"")
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), max_age=400.0))
    assert [record.subject for record in await broker.read("S", ">")] == ["s.b"]
    await asyncio.sleep(401)
    assert await broker.read("S", ">") == []


async def test_dropped_deadlines_wake_nobody(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    due: list[int] = []
    deadlines: Deadlines[int] = Deadlines(loop, due.append)
    armed = count_timers(loop, monkeypatch)
    for number in range(100):
        deadlines.set(number, loop.time() + 10 + number)
    for number in range(99):
        deadlines.discard(number)
    deadlines.set(99, loop.time() + 500)
    await asyncio.sleep(499)
    assert due == []
    await asyncio.sleep(2)
    assert due == [99]
    assert len(armed) <= 4  # two of them are the sleeps


def count_timers(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> list[asyncio.TimerHandle]:
    """Return a list that grows with every timer that the loop gets from now on."""
    made: list[asyncio.TimerHandle] = []
    real = loop.call_at

    def counting(*args: Any, **options: Any) -> asyncio.TimerHandle:
        made.append(real(*args, **options))
        return made[-1]

    monkeypatch.setattr(loop, "call_at", counting)
    return made


# -- consumers in virtual time -------------------------------------------------------------------


async def consumer_of(
    broker: MemoryBroker, slots: int = 1000, **fields: Any
) -> list[tuple[float, Delivery]]:
    """Declare work queue `S` with consumer `c`; return what it gets, as (time, delivery)."""
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), retention="workqueue"))
    await broker.ensure_consumer("S", ConsumerConfig(name="c", **fields))
    got: list[tuple[float, Delivery]] = []

    async def take(delivery: Delivery) -> None:
        got.append((clock.now(), delivery))

    await broker.consume("S", "c", take, slots=slots)
    return got


async def test_redelivery_comes_exactly_after_ack_wait(broker: MemoryBroker) -> None:
    got = await consumer_of(broker, ack_wait=30.0, max_deliver=3)
    await broker.append("s.a", b"")
    await asyncio.sleep(1000)
    times = [when - got[0][0] for when, _ in got]
    assert times == pytest.approx([0.0, 30.0, 60.0])
    assert [delivery.attempt for _, delivery in got] == [1, 2, 3]


async def test_a_hundred_thousand_ack_waits_cost_one_timer(
    broker: MemoryBroker, server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers = count_timers(asyncio.get_running_loop(), monkeypatch)
    got = await consumer_of(broker, slots=200_000, max_ack_pending=-1, ack_wait=30.0)
    for _ in range(20_000):
        await broker.append("s.a", b"")
    await asyncio.sleep(1)
    assert len(got) == 20_000
    assert len(timers) < 10
    waits = server.streams["S"].consumers["c"]._waits
    for _, delivery in got:
        await delivery.in_progress()
    for _, delivery in got:
        await delivery.in_progress()
    assert len(waits._heap) < 3 * len(got), "moved deadlines leave nothing behind for long"


async def test_a_message_ahead_of_the_cursor_that_expires_is_not_counted(
    broker: MemoryBroker,
) -> None:
    await broker.ensure_stream(
        StreamConfig(name="S", subjects=("s.>",), retention="workqueue", allow_ttl=True)
    )
    await broker.ensure_consumer("S", ConsumerConfig(name="c"))
    await broker.append("s.a", b"", ttl=5)
    await broker.append("s.a", b"")
    await asyncio.sleep(6)
    info = await broker.consumer_info("S", "c")
    assert info is not None
    assert info.pending == 1


async def test_a_paused_consumer_does_not_hoard_what_its_stream_forgot(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), max_messages=10))
    await broker.ensure_consumer("S", ConsumerConfig(name="c"))
    for _ in range(5000):
        await broker.append("s.a", b"")
    consumer = server.streams["S"].consumers["c"]
    assert consumer.info().pending == 10
    assert len(consumer._ready) < 1200


async def test_changed_filters_decide_what_is_delivered_next(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
    await broker.ensure_consumer("S", ConsumerConfig(name="c", filters=("s.a",)))
    for subject in ("s.a", "s.b", "s.a", "s.b"):
        await broker.append(subject, b"")
    await broker.ensure_consumer("S", ConsumerConfig(name="c", filters=("s.b",)))
    got: list[int] = []

    async def take(delivery: Delivery) -> None:
        got.append(delivery.sequence)
        await delivery.ack()

    await broker.consume("S", "c", take, slots=1)
    await broker.append("s.a", b"")
    await broker.append("s.b", b"")
    await asyncio.sleep(1)
    assert got == [2, 4, 6]


async def test_a_late_ack_of_a_message_that_was_set_aside_removes_it(broker: MemoryBroker) -> None:
    got = await consumer_of(broker, ack_wait=1.0, max_deliver=1)
    await broker.append("s.a", b"")
    await asyncio.sleep(2)
    info = await broker.stream_info("S")
    assert info is not None
    assert info.messages == 1
    await got[0][1].ack()
    info = await broker.stream_info("S")
    assert info is not None
    assert info.messages == 0


async def test_a_double_nak_redelivers_once(broker: MemoryBroker) -> None:
    got = await consumer_of(broker, slots=1)
    await broker.append("s.a", b"")
    await asyncio.sleep(1)
    (_, delivery) = got[0]
    await delivery.nak(delay=5.0)
    await delivery.nak()
    await asyncio.sleep(20)
    assert len(got) == 2


async def test_a_nak_of_what_waits_for_a_free_slot_changes_nothing(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), retention="workqueue"))
    await broker.ensure_consumer("S", ConsumerConfig(name="c"))
    taken: list[Delivery] = []
    release = asyncio.Event()

    async def hold(delivery: Delivery) -> None:
        taken.append(delivery)
        await release.wait()

    await broker.consume("S", "c", hold, slots=1)
    await broker.append("s.a", b"")
    await asyncio.sleep(1)
    for _ in range(3):  # it is due again, but the one slot is busy
        await taken[0].nak()
    release.set()
    await asyncio.sleep(20)
    assert [delivery.attempt for delivery in taken] == [1, 2]


async def test_a_consumer_declared_again_gets_the_workers_that_were_busy_meanwhile(
    broker: MemoryBroker,
) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), retention="workqueue"))
    config = ConsumerConfig(name="c")
    await broker.ensure_consumer("S", config)
    taken: list[Delivery] = []
    release = asyncio.Event()

    async def hold(delivery: Delivery) -> None:
        taken.append(delivery)
        await release.wait()
        await delivery.ack()

    await broker.consume("S", "c", hold, slots=1)
    await broker.append("s.a", b"1")
    await asyncio.sleep(1)
    await broker.delete_consumer("S", "c")
    release.set()
    await asyncio.sleep(1)
    await broker.append("s.a", b"2")
    await broker.ensure_consumer("S", config)
    await asyncio.sleep(1)
    assert [delivery.data for delivery in taken] == [b"1", b"2"]


# -- the connection ------------------------------------------------------------------------------


async def test_a_loop_of_publishes_does_not_starve_the_readers(broker: MemoryBroker) -> None:
    seen: list[BusMessage] = []
    await broker.subscribe("a", seen.append, pending=4 * BURST)
    for _ in range(20 * BURST):
        await broker.publish("a", b"")
    await broker.flush()
    assert len(seen) == 20 * BURST


async def test_a_loop_of_appends_lets_the_consumer_work(broker: MemoryBroker) -> None:
    got = await consumer_of(broker)
    for _ in range(10 * BURST):
        await broker.append("s.a", b"")
    assert len(got) >= 5 * BURST


async def test_a_spy_on_everything_sees_requests_and_their_answers(broker: MemoryBroker) -> None:
    seen: list[bytes] = []
    await broker.subscribe(">", lambda message: seen.append(message.data))
    server = await broker.subscribe("ask")
    asking = asyncio.ensure_future(broker.request("ask", b"question", timeout=1.0))
    question = await anext(aiter(server))
    await broker.publish(question.reply, b"answer")
    await asking
    await broker.flush()
    assert seen == [b"question", b"answer"]


async def test_a_queue_group_spans_literal_and_wildcard_subscriptions(broker: MemoryBroker) -> None:
    seen: list[str] = []
    for pattern in ("a.b", "a.*", "a.>"):

        def take(message: BusMessage, pattern: str = pattern) -> None:
            seen.append(pattern)

        await broker.subscribe(pattern, take, queue="one")
    for _ in range(60):
        await broker.publish("a.b", b"")
    await broker.flush()
    assert len(seen) == 60
    assert set(seen) == {"a.b", "a.*", "a.>"}


async def test_a_message_is_encoded_when_it_is_sent(broker: MemoryBroker) -> None:
    got = await broker.subscribe("a")
    body: Any = bytearray(b"before")
    await broker.publish("a", body)
    body[:] = b"after!"
    message = await anext(aiter(got))
    assert message.data == b"before"
    assert type(message.data) is bytes


async def test_received_headers_cannot_be_changed(broker: MemoryBroker) -> None:
    got = await broker.subscribe("a")
    for headers in ({"k": "v"}, None):
        await broker.publish("a", b"", headers=headers)
        message = await anext(aiter(got))
        with pytest.raises(TypeError):
            message.headers["k"] = "changed"  # type: ignore[index]  # that is the test


async def test_the_size_of_headers_counts_in_bytes(server: MemoryServer) -> None:
    async with MemoryBroker(server, max_payload=100) as small:
        await small.publish("a", bytes(70), headers={"k": "xxxxx"})
        with pytest.raises(PayloadTooLarge) as caught:
            await small.publish("a", bytes(70), headers={"k": "漢" * 5})
        assert (caught.value.size, caught.value.limit) == (102, 100)
        with pytest.raises(PayloadTooLarge):
            await small.append("a", bytes(80), msg_id="id")


async def test_answered_requests_leave_nothing_behind(broker: MemoryBroker) -> None:
    subscription = await broker.subscribe("echo")
    for _ in range(3):
        asking = asyncio.ensure_future(broker.request("echo", b"", timeout=60.0))
        await broker.publish((await anext(aiter(subscription))).reply, b"")
        await asking
    assert (broker.requests, broker.server.inboxes, broker.deadlines.when) == ({}, {}, {})


async def test_an_unsubscribed_callback_is_not_called_for_what_is_queued(
    broker: MemoryBroker,
) -> None:
    seen: list[BusMessage] = []
    subscription = await broker.subscribe("a", seen.append)
    await broker.publish("a", b"")
    await subscription.unsubscribe()
    await broker.flush()
    assert seen == []


async def test_closing_with_drain_returns_when_the_queued_callbacks_have_run(
    server: MemoryServer,
) -> None:
    for drain, wanted in ((True, 100), (False, 0)):
        seen: list[BusMessage] = []
        async with MemoryBroker(server) as sender:
            broker = MemoryBroker(server)
            await broker.subscribe("a", seen.append)
            for _ in range(100):
                await sender.publish("a", b"")
            await broker.close(drain=drain)
            assert len(seen) == wanted


async def test_closing_stops_all_pulls_before_it_waits_for_one(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
    leaving = MemoryBroker(server)
    taken: list[Delivery] = []

    async def slow(delivery: Delivery) -> None:
        taken.append(delivery)
        await asyncio.sleep(10)
        await delivery.ack()

    for name in ("one", "two"):
        await broker.ensure_consumer("S", ConsumerConfig(name=name, filters=(f"s.{name}",)))
        await leaving.consume("S", name, slow, slots=5)
    await broker.append("s.one", b"")
    await asyncio.sleep(1)
    closing = asyncio.ensure_future(leaving.close())
    await asyncio.sleep(1)
    await broker.append("s.two", b"")
    began = clock.now()
    await closing
    assert clock.now() - began == pytest.approx(8.0)
    assert [delivery.subject for delivery in taken] == ["s.one"]


async def test_requests_fail_when_their_connection_closes(server: MemoryServer) -> None:
    async with MemoryBroker(server) as other, MemoryBroker(server) as broker:
        await other.subscribe("silent")
        asking = asyncio.ensure_future(broker.request("silent", b"", timeout=60.0))
        await asyncio.sleep(0)
        await broker.close()
        with pytest.raises(ConnectionClosed):
            await asking
    assert server.inboxes == {}


async def test_nothing_of_a_closed_connection_stays_on_the_server(server: MemoryServer) -> None:
    async with MemoryBroker(server) as keeper:
        await keeper.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
        await keeper.ensure_consumer("S", ConsumerConfig(name="c"))

        async def take(delivery: Delivery) -> None: ...

        async with MemoryBroker(server) as broker:
            await broker.subscribe("a")
            await broker.subscribe("a.*")
            await broker.consume("S", "c", take, slots=1)
            async with broker.follow("S", ">") as records:
                assert records is not None
        with pytest.raises(NoResponders):
            await keeper.request("a", b"", timeout=1.0)
        assert server.interest.literal == {}
        assert server.interest._wild._root.empty
        assert server.streams["S"].followers == {}
        info = await keeper.consumer_info("S", "c")
        assert info is not None
        assert info.waiting == 0


async def test_a_handler_may_close_its_own_connection(server: MemoryServer) -> None:
    async with MemoryBroker(server) as broker:
        await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
        await broker.ensure_consumer("S", ConsumerConfig(name="c"))
        closed = asyncio.Event()

        async def close(delivery: Delivery) -> None:
            await delivery.ack()
            await broker.close()
            closed.set()

        await broker.consume("S", "c", close, slots=1)
        began = clock.now()
        await broker.append("s.a", b"")
        await closed.wait()
        assert clock.now() == began


async def test_a_follower_ends_with_its_connection_and_with_its_block(server: MemoryServer) -> None:
    async with MemoryBroker(server) as broker:
        await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
        async with broker.follow("S", ">") as records:
            reading = asyncio.ensure_future(_all(records))
            await broker.append("s.a", b"")
            await asyncio.sleep(1)
            await broker.close()
            assert [record.sequence for record in await reading] == [1]
        assert await _all(records) == []


async def _all(records: AsyncIterator[Record]) -> list[Record]:
    return [record async for record in records]


async def test_a_follower_whose_block_was_left_ends(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
    async with broker.follow("S", ">") as records:
        pass
    await broker.append("s.a", b"")
    assert await _all(records) == []
    assert broker.server.streams["S"].followers == {}


async def test_a_follower_of_a_deleted_stream_is_told(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
    async with broker.follow("S", ">") as records:
        reading = asyncio.ensure_future(_all(records))
        await asyncio.sleep(1)
        await broker.delete_stream("S")
        with pytest.raises(StreamNotFound):
            await reading


async def test_a_listener_that_raises_disturbs_nobody(broker: MemoryBroker) -> None:
    seen: list[BrokerEvent] = []

    def broken(event: BrokerEvent) -> None:
        raise RuntimeError("a bug in a listener")

    broker.on_event(broken)
    broker.on_event(seen.append)
    broker.server.faults.disconnect(broker, 1.0)
    await asyncio.sleep(2)
    assert [event.kind for event in seen] == ["disconnected", "reconnected"]


def test_a_server_belongs_to_one_event_loop() -> None:
    server = MemoryServer()

    async def use() -> None:
        async with MemoryBroker(server) as broker:
            await broker.publish("a", b"")

    asyncio.run(use())
    with pytest.raises(BrokerError, match="another event loop"):
        asyncio.run(use())


async def test_a_request_waits_for_a_frozen_server_no_longer_than_its_timeout(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    server.faults.pause()
    began = clock.now()
    with pytest.raises(RequestTimeout):
        await broker.request("a", b"", timeout=7.0)
    assert clock.now() - began == pytest.approx(7.0)


# -- declarations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "a.b"}, "stream name 'a.b'"),
        ({"subjects": ()}, "has no subjects"),
        ({"subjects": ("a..b",)}, "empty token"),
        ({"subjects": ("a.>", "a.b")}, "overlap"),
        ({"subjects": ("taken.*",)}, "of stream 'T'"),
        ({"max_bytes": -1}, "max_bytes is -1"),
        ({"discard_new_per_subject": True}, "needs discard='new'"),
        ({"max_age": 10.0}, "duplicate_window of 120 s"),
        ({"max_age": 0.01}, "at least 0.1 s"),
        ({"marker_ttl": 0.5}, "marker_ttl is 0.5 s"),
        ({"allow_rollup": True, "deny_purge": True}, "deny_purge"),
        ({"allow_schedules": True, "discard": "new"}, "allow_schedules needs discard='old'"),
        ({"replicas": 7}, "replicas is 7"),
        ({"republish": ("s.>", "live.*")}, "same wildcard"),
        ({"republish": ("s.>", "s.live.>")}, "never end"),
    ],
)
async def test_a_stream_that_makes_no_sense_is_refused(
    broker: MemoryBroker, fields: dict[str, Any], text: str
) -> None:
    await broker.ensure_stream(StreamConfig(name="T", subjects=("taken.>",)))
    with pytest.raises(StreamRefused) as caught:
        await broker.ensure_stream(StreamConfig(**{"name": "S", "subjects": ("s.>",), **fields}))
    assert text in str(caught.value)
    assert await broker.stream_names() == ["T"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"storage": "file"}, {"storage": "memory"}),
        ({"retention": "limits"}, {"retention": "workqueue"}),
        ({"retention": "workqueue"}, {"retention": "limits"}),
        ({"allow_ttl": True}, {}),
        ({"allow_schedules": True}, {}),
        ({"deny_delete": True}, {}),
        ({"deny_purge": True}, {}),
    ],
)
async def test_what_a_stream_cannot_change_is_refused(
    broker: MemoryBroker, before: dict[str, Any], after: dict[str, Any]
) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), **before))
    with pytest.raises(StreamRefused, match="cannot change"):
        await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), **after))
    change = await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), **before))
    assert change.action == "unchanged"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "a b"}, "the name has a space"),
        ({"filters": ("a..b",)}, "empty token"),
        ({"filters": ("s.>", "s.a")}, "overlap"),
        ({"ack_wait": 0.0}, "ack_wait is 0 s"),
        ({"max_deliver": 0}, "max_deliver is 0"),
        ({"max_ack_pending": -2}, "max_ack_pending is -2"),
        ({"deliver": "new"}, "a work queue delivers everything"),
        ({"filters": ("s.a",)}, "of consumer 'first'"),
    ],
)
async def test_a_consumer_that_makes_no_sense_is_refused(
    broker: MemoryBroker, fields: dict[str, Any], text: str
) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), retention="workqueue"))
    await broker.ensure_consumer("S", ConsumerConfig(name="first", filters=("s.*",)))
    with pytest.raises(ConsumerConflict) as caught:
        await broker.ensure_consumer(
            "S", ConsumerConfig(**{"name": "c", "filters": ("s.b.>",), **fields})
        )
    assert text in str(caught.value)
    assert await broker.consumer_info("S", "c") is None


async def test_what_a_consumer_cannot_change_is_refused(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",)))
    await broker.ensure_consumer("S", ConsumerConfig(name="c"))
    changes: list[dict[str, Any]] = [{"deliver": "new"}, {"max_waiting": 1}]
    for fields in changes:
        with pytest.raises(ConsumerConflict, match="cannot change"):
            await broker.ensure_consumer("S", ConsumerConfig(name="c", **fields))


async def test_a_protected_stream_refuses_removal(broker: MemoryBroker) -> None:
    config = StreamConfig(name="S", subjects=("s.>",), deny_delete=True, deny_purge=True)
    await broker.ensure_stream(config)
    await broker.append("s.a", b"")
    with pytest.raises(StreamRefused, match="deny_delete"):
        await broker.delete_record("S", 1)
    with pytest.raises(StreamRefused, match="deny_purge"):
        await broker.purge("S")


async def test_a_stream_follows_its_changed_subjects(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("old.>",)))
    await broker.append("old.a", b"")
    await broker.ensure_stream(StreamConfig(name="S", subjects=("new.>",)))
    with pytest.raises(NoResponders):
        await broker.append("old.a", b"")
    assert (await broker.append("new.a", b"")).sequence == 2


async def test_a_stream_of_bytes_makes_room_by_dropping_the_oldest(broker: MemoryBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="S", subjects=("s.>",), max_bytes=5000))
    for _ in range(10):
        await broker.append("s.a", bytes(1000))
    info = await broker.stream_info("S")
    assert info is not None
    assert (info.messages, info.first_sequence) == (4, 7)
    assert info.bytes <= 5000


async def test_replacing_the_one_record_of_a_subject_counts_only_the_difference(
    broker: MemoryBroker,
) -> None:
    config = StreamConfig(
        name="S", subjects=("s.>",), discard="new", max_messages_per_subject=1, max_bytes=3000
    )
    await broker.ensure_stream(config)
    for _ in range(3):
        await broker.append("s.a", bytes(2000))
    with pytest.raises(StreamFull, match="3,000 bytes"):
        await broker.append("s.b", bytes(2000))
    with pytest.raises(StreamFull):
        await broker.append("s.a", bytes(3000))
