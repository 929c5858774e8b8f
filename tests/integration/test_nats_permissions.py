"""A service works with the least permissions, and is told at once what it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from aixgo.broker import BrokerEvent, ConsumerConfig, Delivery, Expect, StreamConfig
from aixgo.broker.nats import NatsBroker, appends
from aixgo.errors import NoResponders, PermissionDenied
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.nats

USERS = """
authorization { timeout: 60, users: [
  { user: admin, password: p }
  { user: worker, password: p, permissions: {
      publish: { allow: [
        "$JS.API.CONSUMER.INFO.CALLS.a", "$JS.API.CONSUMER.MSG.NEXT.CALLS.a", "$JS.ACK.CALLS.a.>",
        "free.>", "res.a.>", "$JS.API.DIRECT.GET.RES", "$JS.API.DIRECT.GET.RES.res.a.>"
      ] }
      subscribe: { allow: [ "_INBOX_a.>", "rpc.a.>" ] }
      allow_responses: true
  } }
] }
"""
ABSENT = Expect(subject_sequence=0)


@pytest.fixture
def limited() -> Iterator[NatsServer]:
    with NatsServer(USERS) as started:
        yield started


@pytest.fixture
async def admin(limited: NatsServer) -> AsyncIterator[NatsBroker]:
    async with await NatsBroker.connect(limited.url_of("admin", "p")) as broker:
        await broker.ensure_stream(
            StreamConfig(name="CALLS", subjects=("call.>",), retention="workqueue")
        )
        await broker.ensure_stream(StreamConfig(name="RES", subjects=("res.>",)))
        for agent in ("a", "b"):
            await broker.ensure_consumer(
                "CALLS", ConsumerConfig(name=agent, filters=(f"call.{agent}.>",))
            )
        yield broker


@pytest.fixture
async def worker(limited: NatsServer, admin: NatsBroker, fast: bool) -> AsyncIterator[NatsBroker]:
    address = limited.url_of("worker", "p")
    async with await NatsBroker.connect(address, inbox_prefix="_INBOX_a", fast=fast) as broker:
        yield broker


async def test_a_worker_does_its_work_with_the_least_permissions(
    admin: NatsBroker, worker: NatsBroker
) -> None:
    events: list[BrokerEvent] = []
    worker.on_event(events.append)
    done = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        assert await worker.last("RES", "res.a.1") is None
        await worker.append("res.a.1", b"result", expect=ABSENT)
        assert len(await worker.read("RES", "res.a.>")) == 1
        await delivery.in_progress()
        await delivery.ack()
        done.set()

    await worker.consume("CALLS", "a", handle, slots=2)
    await admin.append("call.a.1", b"")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await done.wait()
    answering: set[asyncio.Task[None]] = set()
    await worker.subscribe(
        "rpc.a.ping",
        lambda m: answering.add(asyncio.ensure_future(worker.publish(m.reply, b"pong"))),
    )
    await worker.flush()
    assert (await admin.request("rpc.a.ping", b"", timeout=PATIENCE_SECONDS)).data == b"pong"
    await asyncio.gather(*answering)
    assert events == []


async def test_what_a_worker_may_not_do_is_refused_at_once_and_names_the_subject(
    worker: NatsBroker,
) -> None:
    async def nothing(_: Delivery) -> None:
        raise AssertionError

    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(PermissionDenied, match=r"'call\.b\.1'"):
            await worker.append("call.b.1", b"")
        with pytest.raises(PermissionDenied, match=r"'rpc\.b\.x'"):
            await worker.request("rpc.b.x", b"", timeout=PATIENCE_SECONDS)
        with pytest.raises(PermissionDenied, match=r"'res\.b\.1'"):
            await worker.append("res.b.1", b"", expect=ABSENT)
        with pytest.raises(PermissionDenied, match=r"STREAM\.DELETE\.CALLS"):
            await worker.delete_stream("CALLS")
        with pytest.raises(PermissionDenied, match=r"CONSUMER\.CREATE\.RES\."):
            async with worker.follow("RES", "res.>"):
                pass
        with pytest.raises(PermissionDenied, match=r"DIRECT\.GET\.RES\.res\.b\.1"):
            await worker.last("RES", "res.b.1")


async def test_a_refused_subscription_is_told_by_flush_by_the_reader_and_by_an_event(
    worker: NatsBroker,
) -> None:
    events: list[BrokerEvent] = []
    worker.on_event(events.append)
    allowed = await worker.subscribe("rpc.a.x")
    refused = await worker.subscribe("rpc.B.>")
    with pytest.raises(PermissionDenied, match=r"subscribe to 'rpc\.B\.>'"):
        await worker.flush()
    await worker.flush()
    with pytest.raises(PermissionDenied, match=r"subscribe to 'rpc\.B\.>'"):
        await anext(aiter(refused))
    assert [event.kind for event in events] == ["permission_denied"]
    await allowed.unsubscribe()


async def test_a_lost_answer_is_looked_up_with_the_permissions_of_a_worker(
    worker: NatsBroker, admin: NatsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without STREAM.MSG.GET, by the direct read that it has."""
    monkeypatch.setattr(appends, "ATTEMPT_SECONDS", 0.1)
    answer = worker._replies._arrive
    swallowed: list[bytes] = []

    def lose_the_first(message: object) -> None:
        data: bytes = message.data  # type: ignore[attr-defined] # a BusMessage
        if b'"stream"' in data and not swallowed:
            swallowed.append(data)
        else:
            answer(message)  # type: ignore[arg-type] # a BusMessage

    worker._replies.inbox.on_message = lose_the_first
    won = await worker.append("res.a.2", b"mine", expect=ABSENT)
    assert swallowed
    assert (won.sequence, won.duplicate) == (1, True)


async def test_a_subject_of_no_stream_is_not_waited_for_without_the_permission_to_ask(
    worker: NatsBroker,
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(NoResponders, match=r"'free\.a'"):
            await worker.append("free.a", b"", timeout=2 * PATIENCE_SECONDS)
