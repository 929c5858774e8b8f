"""The pull loop in rough weather: it never runs over its slots and never leaves work behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aixgo.broker import ConsumerConfig, Delivery, StreamConfig
from aixgo.broker.nats import NatsBroker, deliveries, pull
from aixgo.errors import ConfigError
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.nats

WORK = StreamConfig(name="W", subjects=("w.>",), retention="workqueue")


async def declared(broker: NatsBroker, **fields: Any) -> None:
    await broker.ensure_stream(WORK)
    await broker.ensure_consumer("W", ConsumerConfig(name="c", **fields))


async def append(broker: NatsBroker, count: int) -> None:
    await asyncio.gather(*(broker.append("w.a", b"%d" % number) for number in range(count)))


@pytest.mark.long(only=("plain",))
async def test_lost_connections_never_push_the_handlers_over_their_slots(
    proxied: NatsBroker, proxy: Any
) -> None:
    """A server that has not noticed the loss delivers to the old and to the new request."""
    await declared(proxied, ack_wait=1.5)
    running, most, done = 0, 0, 0

    async def handle(delivery: Delivery) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        await delivery.ack()
        done += 1

    await append(proxied, 400)
    await proxied.consume("W", "c", handle, slots=4)
    for reached in (50, 100, 150):
        await eventually(lambda reached=reached: done >= reached)  # type: ignore[misc] # bound now
        proxy.cut()
        await eventually(lambda: proxied.connected)
    await eventually(lambda: proxied.stream_info("W"), lambda info: info and not info.messages)
    assert most == 4


async def test_what_is_delivered_over_the_slots_waits_and_is_handled(broker: NatsBroker) -> None:
    await declared(broker)
    gate = asyncio.Event()
    handled: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        await gate.wait()
        await delivery.ack()
        handled.append(delivery.data)

    consumption = await broker.consume("W", "c", handle, slots=2)
    assert isinstance(consumption, pull.Pull)
    # as after a lost connection: the server still serves a request that the client has forgotten
    assert consumption._inbox is not None
    broker._link.send(
        consumption._next, pull.pull_request(3, 30.0, 5.0), consumption._inbox.subject
    )
    await append(broker, 5)
    await eventually(lambda: len(consumption._held) == 3)
    assert consumption.busy == 2
    gate.set()
    await eventually(lambda: len(handled) == 5)
    assert sorted(handled) == [b"%d" % number for number in range(5)]


async def test_the_end_of_an_older_request_does_not_count_for_the_newer(broker: NatsBroker) -> None:
    await declared(broker)

    async def handle(delivery: Delivery) -> None:
        await delivery.ack()

    consumption = await broker.consume("W", "c", handle, slots=8)
    assert isinstance(consumption, pull.Pull)
    assert consumption._inbox is not None
    older = consumption._inbox.subject
    broker._link.send(consumption._next, pull.pull_request(8, 0.2, 0.05), older)
    consumption._renew()
    # the older request expires: the first one of its generation and the one of the newer wait
    await eventually(
        lambda: broker.consumer_info("W", "c"), lambda info: info is not None and info.waiting == 2
    )
    await broker.flush()  # its inbox has been told
    assert consumption._asked == 8


async def test_a_handler_that_refuses_to_end_does_not_hold_up_the_stop(
    broker: NatsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "CANCEL_SECONDS", 0.1)
    await declared(broker)
    begun, over = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Delivery) -> None:
        begun.set()
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    consumption = await broker.consume("W", "c", stubborn, slots=1)
    await append(broker, 1)
    await begun.wait()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await consumption.stop()
    finally:
        over.set()
    await eventually(lambda: consumption.busy == 0)


async def test_a_stop_that_is_cancelled_cancels_its_handlers(broker: NatsBroker) -> None:
    await declared(broker)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(_: Delivery) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    consumption = await broker.consume("W", "c", handle, slots=1)
    await append(broker, 1)
    await begun.wait()
    stopping = asyncio.ensure_future(consumption.stop(grace=60.0))
    await asyncio.sleep(0.05)
    stopping.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await cancelled.wait()
        await asyncio.gather(stopping, return_exceptions=True)
        await consumption.stop()


async def test_two_consumptions_of_one_consumer_share_the_work(broker: NatsBroker) -> None:
    await declared(broker)
    counts = [0, 0]

    def handler(index: int) -> Callable[[Delivery], Any]:
        async def handle(delivery: Delivery) -> None:
            await asyncio.sleep(0.001)
            counts[index] += 1
            await delivery.ack()

        return handle

    for index in (0, 1):
        await broker.consume("W", "c", handler(index), slots=4)
    await append(broker, 200)
    await eventually(lambda: sum(counts) == 200)
    assert min(counts) > 20


async def test_a_stop_while_the_connection_is_down_does_not_wait_for_it(
    server: NatsServer, broker: NatsBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "ANSWER_SECONDS", 2 * PATIENCE_SECONDS)
    await declared(broker)
    begun = asyncio.Event()

    async def handle(_: Delivery) -> None:
        begun.set()
        await asyncio.Event().wait()

    consumption = await broker.consume("W", "c", handle, slots=1)
    await append(broker, 1)
    await begun.wait()
    server.kill()
    await eventually(lambda: not broker.connected)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await consumption.stop()
    server.spawn()
    await server.ready()


async def test_slots_below_one_are_refused(broker: NatsBroker) -> None:
    async def handle(_: Delivery) -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match="slots is 0"):
        await broker.consume("W", "c", handle, slots=0)
