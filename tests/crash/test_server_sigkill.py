"""Kill the server again and again under load: nothing is lost, and no effect happens twice.

Publishers append with message ids; a consumer records every effect by a compare-and-set append into
a ledger before it acknowledges. The server may deliver again what was acknowledged just before a
kill; the ledger is why that does no harm.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from aixgo.broker import ConsumerConfig, Delivery, Expect, StreamConfig
from aixgo.broker.nats import NatsBroker
from aixgo.errors import WrongSequence
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.nats

PUBLISHERS = 64
ABSENT = Expect(subject_sequence=0)

WORK = StreamConfig(name="W", subjects=("w.>",), retention="workqueue", discard="new")
LEDGER = StreamConfig(name="E", subjects=("e.*",), max_messages_per_subject=1, discard="new")
WORKER = ConsumerConfig(name="c", ack_wait=2.0, max_ack_pending=2000)


class Run:
    """A load of `total` messages and what became of them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.appended = 0
        self.deliveries: Counter[int] = Counter()
        self.effects: Counter[int] = Counter()
        self.changed = asyncio.Event()

    async def publish(self, broker: NatsBroker, numbers: range) -> None:
        for number in numbers:
            await broker.append("w.a", b"%d" % number, msg_id=f"m{number}", timeout=30.0)
            self.appended += 1
            self.changed.set()

    async def handle(self, broker: NatsBroker, delivery: Delivery) -> None:
        number = int(delivery.data)
        self.deliveries[number] += 1
        try:
            await broker.append(f"e.{number}", b"done", expect=ABSENT, timeout=30.0)
        except WrongSequence:
            pass  # the effect of an earlier delivery stands
        else:
            self.effects[number] += 1
        await delivery.ack()
        self.changed.set()

    async def until(self, reached: int, what: Counter[int] | None = None) -> None:
        while (self.appended if what is None else len(what)) < reached:
            self.changed.clear()
            await self.changed.wait()


async def load(server: NatsServer, total: int, kills: int) -> Run:
    """Return what became of `total` messages over so many kills, spread over the load."""
    run = Run(total)
    async with (
        await NatsBroker.connect(server.url) as sender,
        await NatsBroker.connect(server.url) as worker,
    ):
        for stream in (WORK, LEDGER):
            await sender.ensure_stream(stream)
        await sender.ensure_consumer("W", WORKER)

        async def handle(delivery: Delivery) -> None:
            await run.handle(worker, delivery)

        await worker.consume("W", "c", handle, slots=256)
        async with asyncio.TaskGroup() as group:
            for first in range(PUBLISHERS):
                group.create_task(run.publish(sender, range(first, total, PUBLISHERS)))
            for kill in range(kills):
                await run.until((kill + 1) * total // (kills + 1))
                await server.restart()
        await run.until(total, run.effects)
        await check(sender, run)
    return run


async def left(broker: NatsBroker) -> int:
    info = await broker.stream_info("W")
    assert info is not None
    return info.messages


async def check(broker: NatsBroker, run: Run) -> None:
    everything = set(range(run.total))
    assert set(run.deliveries) == everything
    assert set(run.effects) == everything
    assert max(run.effects.values()) == 1
    ledger = await broker.read("E", "e.*")
    assert sorted(int(record.subject[2:]) for record in ledger) == sorted(everything)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await left(broker):  # noqa: ASYNC110 # the last acks are on their way
            await asyncio.sleep(0.05)


async def test_two_kills_of_the_server_lose_nothing_and_repeat_no_effect() -> None:
    with NatsServer() as server:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await load(server, total=6_000, kills=2)


@pytest.mark.slow
async def test_five_kills_under_sixty_thousand_appends_lose_nothing_and_repeat_no_effect(
    record_property: Callable[[str, object], None],
) -> None:
    with NatsServer() as server:
        async with asyncio.timeout(300.0):
            run = await load(server, total=60_000, kills=5)
    record_property("delivered twice", sum(count > 1 for count in run.deliveries.values()))
