"""Every way to break the memory broker on purpose, and what stands it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from aixgo import clock
from aixgo.broker import Appended, BrokerEvent, BusMessage, ConsumerConfig, Delivery, Expect
from aixgo.broker import StreamConfig as Stream
from aixgo.broker.memory import MemoryBroker, MemoryServer
from aixgo.broker.memory.connection import ANSWER_SECONDS, OUTBOX_BYTES
from aixgo.errors import (
    ConnectionClosed,
    Disconnected,
    RequestTimeout,
    StreamRefused,
    WrongSequence,
)

pytestmark = pytest.mark.virtual_time

QUEUE = Stream(name="Q", subjects=("q.>",), retention="workqueue")
LOG = Stream(name="L", subjects=("l.>",))
ABSENT = Expect(subject_sequence=0)


@pytest.fixture
async def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
async def broker(server: MemoryServer) -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker(server, name="one") as connection:
        await connection.ensure_stream(QUEUE)
        await connection.ensure_stream(LOG)
        await connection.ensure_consumer("Q", ConsumerConfig(name="c", ack_wait=30.0))
        yield connection


@pytest.fixture
async def other(server: MemoryServer) -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker(server, name="two") as connection:
        yield connection


class Worker:
    """Takes deliveries of `Q`; holds them until told to acknowledge."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []
        self.times: list[float] = []
        self.release = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, delivery: Delivery) -> None:
        self.taken.append(delivery)
        self.times.append(clock.now())
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await delivery.ack()


async def messages(broker: MemoryBroker, stream: str) -> int:
    info = await broker.stream_info(stream)
    assert info is not None
    return info.messages


# -- lost answers --------------------------------------------------------------------------------


async def test_a_lost_publish_ack_is_repeated_and_stored_once(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    server.faults.drop_publish_acks(2)
    assert await broker.append("l.a", b"", msg_id="id") == Appended("L", 1, True)
    assert await broker.append("l.a", b"") == Appended("L", 2, False)
    server.faults.drop_publish_acks()
    assert (await broker.append("l.a", b"without an id")).sequence == 3
    assert await messages(broker, "L") == 3


async def test_a_writer_never_loses_a_compare_and_set_against_itself(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    server.faults.drop_publish_acks(3)
    assert (await broker.append("l.a", b"mine", expect=ABSENT)).sequence == 1
    assert (await broker.append("l.b", b"mine", msg_id="id", expect=ABSENT)).sequence == 2
    with pytest.raises(WrongSequence):
        await broker.append("l.a", b"again", expect=ABSENT)


async def test_an_append_whose_answers_are_all_lost_says_so(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    server.faults.drop_publish_acks(10_000)
    with pytest.raises(RequestTimeout, match="may or may not be stored"):
        await broker.append("l.a", b"", timeout=3.0)
    server.faults.drop_publish_acks(0)
    assert await messages(broker, "L") == 1


async def test_a_lost_ack_is_repeated(broker: MemoryBroker, server: MemoryServer) -> None:
    worker = Worker()
    await broker.consume("Q", "c", worker, slots=1)
    await broker.append("q.a", b"")
    await asyncio.sleep(0)
    server.faults.drop_acks(2)
    worker.release.set()
    await asyncio.sleep(1)
    assert await messages(broker, "Q") == 0
    assert len(worker.taken) == 1


async def test_an_unconfirmed_ack_that_is_lost_brings_the_message_back(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await delivery.ack(confirm=False)

    await broker.consume("Q", "c", handle, slots=1)
    server.faults.drop_acks()
    await broker.append("q.a", b"")
    await asyncio.sleep(100)
    assert attempts == [1, 2]
    assert await messages(broker, "Q") == 0


async def test_an_ack_that_never_arrives_gives_up(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    worker = Worker()
    await broker.consume("Q", "c", worker, slots=1)
    await broker.append("q.a", b"")
    await asyncio.sleep(0)
    server.faults.drop_acks(10_000)
    began = clock.now()
    with pytest.raises(RequestTimeout, match="may come back"):
        await worker.taken[0].ack()
    assert clock.now() - began == pytest.approx(ANSWER_SECONDS)


# -- deliveries ----------------------------------------------------------------------------------


async def test_a_duplicated_delivery_is_a_second_attempt_beside_the_first(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    worker = Worker()
    await broker.consume("Q", "c", worker, slots=5)
    server.faults.duplicate_deliveries(1)
    for _ in range(3):
        await broker.append("q.a", b"")
    await asyncio.sleep(1)
    seen = sorted((delivery.sequence, delivery.attempt) for delivery in worker.taken)
    assert seen == [(1, 1), (1, 2), (2, 1), (3, 1)]
    worker.release.set()
    await asyncio.sleep(100)
    assert len(worker.taken) == 4
    assert await messages(broker, "Q") == 0


async def test_deliveries_can_be_slow(broker: MemoryBroker, server: MemoryServer) -> None:
    worker = Worker()
    worker.release.set()
    await broker.consume("Q", "c", worker, slots=2)
    server.faults.delay_deliveries(2.0)
    began = clock.now()
    for _ in range(3):
        await broker.append("q.a", b"")
    await asyncio.sleep(10)
    assert [when - began for when in worker.times] == pytest.approx([2.0, 2.0, 4.0])


async def test_a_delivery_that_is_slower_than_ack_wait_comes_twice(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    worker = Worker()
    await broker.consume("Q", "c", worker, slots=2)
    server.faults.delay_deliveries(40.0)
    await broker.append("q.a", b"")
    await asyncio.sleep(60)
    server.faults.delay_deliveries(0.0)
    await asyncio.sleep(15)
    assert [delivery.attempt for delivery in worker.taken] == [1, 2]


# -- lost connections ----------------------------------------------------------------------------


async def test_a_connection_can_be_lost_for_some_time(
    broker: MemoryBroker, other: MemoryBroker, server: MemoryServer
) -> None:
    events: list[BrokerEvent] = []
    broker.on_event(events.append)
    server.faults.disconnect(broker, 5.0)
    assert not broker.connected
    assert other.connected
    await asyncio.sleep(4.9)
    assert not broker.connected
    await asyncio.sleep(0.2)
    assert broker.connected
    assert [event.kind for event in events] == ["disconnected", "reconnected"]


async def test_what_was_published_while_disconnected_goes_out_in_order(
    broker: MemoryBroker, other: MemoryBroker, server: MemoryServer
) -> None:
    seen: list[bytes] = []
    await other.subscribe("a", lambda message: seen.append(message.data))
    server.faults.disconnect(broker)
    await broker.publish("a", b"1")
    await broker.publish("a", b"2")
    await other.flush()
    assert seen == []
    server.faults.reconnect(broker)
    await broker.publish("a", b"3")
    await broker.flush()
    assert seen == [b"1", b"2", b"3"]


async def test_the_buffer_of_a_lost_connection_is_bounded_and_then_free_again(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    for _ in range(2):
        server.faults.disconnect(broker)
        for _ in range(OUTBOX_BYTES // 1_000_001):
            await broker.publish("a", bytes(1_000_000))
        with pytest.raises(Disconnected, match="8,388,608 bytes"):
            await broker.publish("a", bytes(1_000_000))
        server.faults.reconnect(broker)


async def test_an_acknowledgement_waits_for_the_connection(
    broker: MemoryBroker, other: MemoryBroker, server: MemoryServer
) -> None:
    worker = Worker()
    await broker.consume("Q", "c", worker, slots=1)
    await broker.append("q.a", b"")
    await asyncio.sleep(0)
    server.faults.disconnect(broker, 8.0)
    worker.release.set()
    await asyncio.sleep(7)
    assert await messages(other, "Q") == 1
    await asyncio.sleep(2)
    assert await messages(other, "Q") == 0


async def test_an_answer_that_nobody_waits_for_is_buffered(
    broker: MemoryBroker, other: MemoryBroker, server: MemoryServer
) -> None:
    worker = Worker()
    await broker.consume("Q", "c", worker, slots=1)
    await broker.append("q.a", b"")
    await asyncio.sleep(0)
    server.faults.disconnect(broker)
    began = clock.now()
    await worker.taken[0].ack(confirm=False)
    assert clock.now() == began
    server.faults.reconnect(broker)
    assert await messages(other, "Q") == 0


async def test_a_lost_worker_keeps_its_messages_until_ack_wait_and_takes_no_new_ones(
    broker: MemoryBroker, other: MemoryBroker, server: MemoryServer
) -> None:
    lost, staying = Worker(), Worker()
    await broker.consume("Q", "c", lost, slots=2)
    await broker.append("q.a", b"")
    await asyncio.sleep(0)
    server.faults.disconnect(broker)
    await other.consume("Q", "c", staying, slots=5)
    await other.append("q.a", b"")
    began = clock.now()
    await asyncio.sleep(100)
    assert len(lost.taken) == 1
    # its own after the 30 s of ack_wait; what it got itself at once
    assert [when - began for when in staying.times[:2]] == pytest.approx([0.0, 30.0])
    assert staying.taken[1].sequence == 1


async def test_a_request_in_flight_survives_a_short_loss(
    broker: MemoryBroker, other: MemoryBroker, server: MemoryServer
) -> None:
    asked: list[BusMessage] = []
    await other.subscribe("ask", asked.append)
    asking = asyncio.ensure_future(broker.request("ask", b"", timeout=60.0))
    await asyncio.sleep(0.1)
    server.faults.disconnect(broker, 1.0)
    await other.publish(asked[0].reply, b"into the void")
    await asyncio.sleep(2)
    assert not asking.done()
    await other.publish(asked[0].reply, b"heard")
    assert (await asking).data == b"heard"


async def test_a_lost_subscriber_is_no_responder(
    broker: MemoryBroker, other: MemoryBroker, server: MemoryServer
) -> None:
    await broker.subscribe("ask", queue="q")
    server.faults.disconnect(broker)
    assert "ask" not in server.interest.literal
    subscription = await broker.subscribe("later")
    server.faults.reconnect(broker)
    assert set(server.interest.literal) == {"ask", "later"}
    await subscription.unsubscribe()
    assert set(server.interest.literal) == {"ask"}


# -- a killed process ----------------------------------------------------------------------------


async def test_a_killed_connection_hands_nothing_back_and_sends_nothing(
    broker: MemoryBroker, other: MemoryBroker, server: MemoryServer
) -> None:
    worker, successor = Worker(), Worker()
    successor.release.set()
    await broker.consume("Q", "c", worker, slots=2)
    await broker.append("q.a", b"")
    await asyncio.sleep(0)
    asking = asyncio.ensure_future(broker.request("ask", b"", timeout=60.0))
    await other.subscribe("ask")
    await asyncio.sleep(0)
    server.faults.disconnect(broker)
    await broker.publish("a", b"never sent")
    seen: list[BusMessage] = []
    await other.subscribe("a", seen.append)
    broker.kill()
    began = clock.now()
    await other.consume("Q", "c", successor, slots=1)
    await asyncio.sleep(100)
    assert worker.cancelled == 1
    assert [when - began for when in successor.times] == pytest.approx([30.0])
    assert seen == []
    assert asking.done()
    asking.exception()
    with pytest.raises(ConnectionClosed):
        await broker.publish("a", b"")
    with pytest.raises(ConnectionClosed):
        await worker.taken[0].ack()
    broker.kill()
    await broker.close()


# -- the server ----------------------------------------------------------------------------------


async def test_a_frozen_server_does_nothing_and_then_everything(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    worker = Worker()
    worker.release.set()
    seen: list[bytes] = []
    await broker.subscribe("a", lambda message: seen.append(message.data))
    await broker.consume("Q", "c", worker, slots=1)
    server.faults.pause()
    await broker.publish("a", b"1")
    appending = asyncio.ensure_future(broker.append("q.a", b"", timeout=60.0))
    asking = asyncio.ensure_future(broker.stream_info("Q"))
    await asyncio.sleep(4)
    assert (seen, appending.done(), asking.done(), worker.taken) == ([], False, False, [])
    server.faults.resume()
    await asyncio.sleep(1)
    assert (seen, appending.done(), asking.done()) == ([b"1"], True, True)
    assert len(worker.taken) == 1


async def test_a_frozen_server_delivers_neither_what_was_published_nor_what_is_due(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    worker = Worker()
    seen: list[float] = []
    await broker.subscribe("a", lambda message: seen.append(clock.now()))
    await broker.consume("Q", "c", worker, slots=2)
    await broker.append("q.a", b"")
    await asyncio.sleep(1)
    began = clock.now()
    await worker.taken[0].nak(delay=5.0)
    await broker.publish("a", b"")
    server.faults.pause()
    await asyncio.sleep(8)
    server.faults.resume()
    await asyncio.sleep(1)
    assert [when - began for when in seen] == [8.0]
    assert [when - began for when in worker.times[1:]] == [8.0]


async def test_a_callback_may_freeze_the_server(broker: MemoryBroker, server: MemoryServer) -> None:
    seen: list[bytes] = []

    def freeze(message: BusMessage) -> None:
        seen.append(message.data)
        server.faults.pause()

    await broker.subscribe("a", freeze)
    for body in (b"1", b"2"):
        await broker.publish("a", body)
    await asyncio.sleep(1)
    assert seen == [b"1"]
    server.faults.resume()
    await asyncio.sleep(1)
    assert seen == [b"1", b"2"]


async def test_a_restart_keeps_files_and_forgets_memory(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    memory = Stream(name="M", subjects=("m.>",), storage="memory")
    await broker.ensure_stream(memory)
    for subject in ("l.a", "m.a"):
        await broker.append(subject, b"")
    await server.restart(lose_memory=False)
    assert await broker.stream_names() == ["L", "M", "Q"]
    await server.restart(down=3.0)
    assert await broker.stream_names() == ["L", "Q"]
    assert await messages(broker, "L") == 1


async def test_a_restart_forgets_the_ids_of_consumed_messages_only(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    worker = Worker()
    worker.release.set()
    consumption = await broker.consume("Q", "c", worker, slots=1)
    await broker.append("q.a", b"", msg_id="done")
    await asyncio.sleep(1)
    await consumption.stop()
    await broker.append("q.a", b"", msg_id="waiting")
    await server.restart()
    assert (await broker.append("q.a", b"", msg_id="waiting")).duplicate
    assert not (await broker.append("q.a", b"", msg_id="done")).duplicate


async def test_schedules_and_ages_survive_a_restart(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    await broker.ensure_stream(
        Stream(name="T", subjects=("t.>",), allow_schedules=True, allow_ttl=True)
    )
    at = f"@at {clock.rfc3339(clock.now() + 3600)}"
    headers = {"Nats-Schedule": at, "Nats-Schedule-Target": "t.wake", "Nats-Schedule-TTL": "1m"}
    await broker.append("t.timer", b"body", headers={**headers, "mine": "kept"})
    await server.restart()
    await asyncio.sleep(3599)
    assert [record.subject for record in await broker.read("T", ">")] == ["t.timer"]
    await asyncio.sleep(2)
    (fired,) = await broker.read("T", ">")
    assert (fired.subject, fired.data) == ("t.wake", b"body")
    assert dict(fired.headers) == {
        "mine": "kept",
        "Nats-Scheduler": "t.timer",
        "Nats-Schedule-Next": "purge",
        "Nats-TTL": "1m",
    }
    await asyncio.sleep(60)
    assert await broker.read("T", ">") == []


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"Nats-Schedule": "soon", "Nats-Schedule-Target": "t.b"}, "RFC 3339"),
        ({"Nats-Schedule": "@at tomorrow", "Nats-Schedule-Target": "t.b"}, "RFC 3339"),
        ({"Nats-Schedule": "@at 2030-01-01T00:00:00Z"}, "Nats-Schedule-Target"),
        (
            {"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": "t.a"},
            "another subject",
        ),
        (
            {"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": "x.b"},
            "of stream 'T'",
        ),
        (
            {
                "Nats-Schedule": "@at 2030-01-01T00:00:00Z",
                "Nats-Schedule-Target": "t.b",
                "Nats-Schedule-TTL": "1m",
            },
            "allow_ttl",
        ),
    ],
)
async def test_a_schedule_that_cannot_be_kept_is_refused(
    broker: MemoryBroker, headers: dict[str, str], text: str
) -> None:
    await broker.ensure_stream(Stream(name="T", subjects=("t.>",), allow_schedules=True))
    with pytest.raises(StreamRefused) as caught:
        await broker.append("t.a", b"", headers=headers)
    assert text in str(caught.value)
    assert await messages(broker, "T") == 0
    with pytest.raises(StreamRefused, match="allow_schedules"):
        await broker.append("l.a", b"", headers=headers)
