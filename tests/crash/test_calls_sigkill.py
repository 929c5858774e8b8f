"""Durable calls while nats-server is killed with SIGKILL again and again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from aixgo import Agent, App, Message, connect
from aixgo.errors import AixgoError
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.nats
CALLERS = 64


async def kill_and_restart(server: NatsServer, kills: int, done: asyncio.Event) -> int:
    """Kill the server `kills` times while calls go on; returns how often it really was killed."""
    chance = random.Random(7)
    for count in range(kills):
        await asyncio.sleep(chance.uniform(0.3, 0.9))
        if done.is_set():
            return count
        server.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        server.spawn()
        await server.ready()
    return kills


async def call_under_kills(calls: int, kills: int) -> tuple[int, Counter[int], list[str]]:
    executions: Counter[int] = Counter()
    wrong: list[str] = []

    async def square(message: Message) -> int:
        number = int(message.data)
        executions[number] += 1
        await asyncio.sleep(0.001)
        return number * number

    app = App(agents=[Agent("square", square, concurrency=256)])
    with NatsServer() as server:
        async with app.running(broker=server.url), connect(server.url) as client:
            numbers, finished = iter(range(calls)), asyncio.Event()

            async def caller() -> None:
                for number in numbers:
                    try:
                        result = await client.call("square", number, timeout=60)
                    except AixgoError as error:
                        wrong.append(f"{number}: {error!r}")
                        continue
                    if result.data != number * number:
                        wrong.append(f"{number}: {result.data}")

            killing = asyncio.create_task(kill_and_restart(server, kills, finished))
            async with asyncio.TaskGroup() as group:
                for _ in range(CALLERS):
                    group.create_task(caller())
            finished.set()
            killed = await killing
    return killed, executions, wrong


@pytest.mark.long
async def test_twenty_thousand_calls_survive_five_kills_of_the_server() -> None:
    killed, executions, wrong = await call_under_kills(calls=20_000, kills=5)
    assert killed == 5
    assert wrong == []
    assert len(executions) == 20_000
    assert [number for number, count in executions.items() if count > 1] == []
