"""Producers of two processes that are killed again and again: each event comes, and once."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import web

from aixgo import Message
from aixgo.broker.open import open_broker
from aixgo.broker.port import StreamConfig
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import eventually

pytestmark = [pytest.mark.nats, pytest.mark.long]
SCRIPT = Path(__file__).with_name("producer_worker.py")
KILLS, MESSAGES, ITEMS = 12, 300, 200


def producer_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("producer_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def shop() -> AsyncIterator[str]:
    """A server that lists its orders after a cursor, seven at a time."""

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        after = int(request.query.get("after", "0"))
        orders = list(range(after + 1, min(ITEMS, after + 7) + 1))
        return web.json_response({"orders": orders, "next": after + len(orders)})

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_two_processes_that_are_killed_publish_each_event_once(
    nats_server: NatsServer, shop: str
) -> None:
    worker, chance = producer_worker(), random.Random(28)
    heard: dict[str, list[str]] = {name: [] for name in worker.PRODUCERS}
    due: list[str] = []

    async def listen(message: Message) -> None:
        heard[message.source].append(message.text)
        if message.source == "clock":
            due.append(message.meta["due"])

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), nats_server.url, "producers", shop
        )

    async with open_broker(nats_server.url) as broker:
        await broker.ensure_stream(StreamConfig(name=worker.STREAM, subjects=("outside.>",)))
        app = worker.app("producers", shop, listen)
        await app.provision(broker)
        async with app.running(broker, agents=["listener"], provision=False):
            processes = [await start(), await start()]
            try:
                for kill in range(KILLS):
                    for n in range(MESSAGES // KILLS):
                        number = kill * (MESSAGES // KILLS) + n
                        await broker.append("outside.order", str(number).encode())
                    await asyncio.sleep(chance.uniform(0.3, 1.2))  # a moment at which it dies
                    victim = processes.pop(0)
                    victim.kill()
                    await victim.wait()
                    processes.append(await start())
                ticks = len(due)
                await eventually(lambda: len({*heard["orders"]}) == MESSAGES)
                await eventually(lambda: len({*heard["shop"]}) == ITEMS)
                await eventually(lambda: len(due) >= ticks + 3)
            finally:
                for process in processes:
                    process.kill()
                    await process.wait()
        await broker.delete_stream(worker.STREAM)

    for name in worker.PRODUCERS:
        repeated = {event: n for event, n in Counter(heard[name]).items() if n > 1}
        assert repeated == {}, name
    assert {*heard["orders"]} == {str(n) for n in range(MESSAGES)}
    assert {*heard["shop"]} == {str(n) for n in range(1, ITEMS + 1)}
    assert {*heard["clock"]} == {str(n) for n in range(1, len(due) + 1)}, "no number is left out"
    assert len({*due}) == len(due), "no second has two events"
    seconds = sorted(round(datetime.fromisoformat(one).timestamp()) for one in due)
    assert seconds == [*range(seconds[0], seconds[-1] + 1)], "no second is without one"
