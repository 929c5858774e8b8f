"""Exclusive calls while nats-server is killed: it forgets what it delivered; nothing runs twice.

The same with plain calls executes some of them twice at once; that is why the option exists.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

import pytest

from aixgo import Agent, App, Message, connect
from aixgo.testing.nats_server import NatsServer

pytestmark = [pytest.mark.nats, pytest.mark.slow]
CALLS, CALLERS, KILLS = 2_000, 96, 12
ACK_WAIT = 4.0


@dataclass
class Audit:
    """What the handlers of both instances did."""

    executions: Counter[int] = field(default_factory=Counter)
    running: set[int] = field(default_factory=set)
    at_once: int = 0

    async def square(self, message: Message) -> int:
        number = int(message.data)
        self.executions[number] += 1
        self.at_once += number in self.running
        self.running.add(number)
        try:
            await asyncio.sleep(0.3)
        finally:
            self.running.discard(number)
        return number * number

    @property
    def again(self) -> int:
        return sum(self.executions.values()) - len(self.executions)


async def kill_and_restart(server: NatsServer, done: asyncio.Event) -> int:
    chance = random.Random(3)
    for kills in range(KILLS):
        await asyncio.sleep(chance.uniform(0.3, 1.2))
        if done.is_set():
            return kills
        server.kill()
        await asyncio.sleep(chance.uniform(0, 0.3))
        server.spawn()
        await server.ready()
    return KILLS


async def calls_under_kills(server: NatsServer, *, exclusive: bool) -> tuple[Audit, int]:
    audit, numbers, done = Audit(), iter(range(CALLS)), asyncio.Event()
    agent = Agent("square", audit.square, concurrency=256, exclusive=exclusive)
    namespace = "exclusive" if exclusive else "plain"
    app = App([agent], namespace=namespace, ack_wait=ACK_WAIT)
    async with (
        app.running(broker=server.url),
        app.running(broker=server.url, provision=False),
        connect(server.url, namespace=namespace) as client,
    ):

        async def caller() -> None:
            for number in numbers:
                result = await client.call("square", number, timeout=60)
                assert result.data == number * number

        killing = asyncio.create_task(kill_and_restart(server, done))
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())
        done.set()
        return audit, await killing


@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "plain"])
async def test_an_exclusive_call_is_executed_once_whatever_the_server_forgets(
    exclusive: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with NatsServer() as server:
        audit, kills = await calls_under_kills(server, exclusive=exclusive)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{'exclusive' if exclusive else 'plain'}: {CALLS} calls, {kills} kills of the "
            f"server, {audit.again} executed again, {audit.at_once} of them at once\n"
        )
    assert len(audit.executions) == CALLS
    if exclusive:
        assert (audit.again, audit.at_once) == (0, 0)
