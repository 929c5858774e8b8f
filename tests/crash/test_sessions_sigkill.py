"""Sessions while the processes that serve them are killed: nothing lost, nothing twice.

Two processes and a real nats-server; one of them gets SIGKILL again and again, while messages of
several sessions come, two of a session at once. A third of the messages are so large that their
entries are several records.
"""

from __future__ import annotations

import asyncio
import importlib.util
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from aixgo import Client, connect
from aixgo.stores.sessions.port import Key
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.nats, pytest.mark.long]
SCRIPT = Path(__file__).with_name("session_worker.py")
SPACE = "sessions"
SESSIONS, AT_ONCE = 4, 2


def session_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("session_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def start(*arguments: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), *arguments, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
    assert line == b"ready\n"
    return process


async def end(process: Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()


class Talk:
    """Sends the messages of the sessions and keeps the answers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.answers: dict[tuple[str, int], str] = {}

    async def say(self, session: str, numbers: range) -> None:
        for number in numbers:
            result = await self._client.call(
                "desk", str(number), session=session, user="ada", timeout=120
            )
            self.answers[session, number] = result.text


async def talk_and_kill(folder: Path, *, messages: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    with NatsServer() as server:
        arguments = (server.url, SPACE, str(folder / "ledger"))
        async with connect(server.url, namespace=SPACE) as client:
            await session_worker().app(SPACE).provision(client.broker)
            processes = [await start(*arguments) for _ in range(2)]
            try:
                talk = Talk(client)
                async with asyncio.TaskGroup() as group:
                    for name in range(SESSIONS):
                        for part in range(AT_ONCE):
                            mine = range(part, messages * AT_ONCE, AT_ONCE)
                            group.create_task(talk.say(f"s{name}", mine))
                    for number in range(kills):
                        # what is under test is a death at any moment of the work
                        await asyncio.sleep(chance.uniform(0.05, 0.4))
                        await end(processes[number % 2])
                        processes[number % 2] = await start(*arguments)
            finally:
                for process in processes:
                    await end(process)
            await audit(client, talk, messages)


async def audit(client: Client, talk: Talk, messages: int) -> None:
    every = range(messages * AT_ONCE)
    assert set(talk.answers) == {(f"s{name}", n) for name in range(SESSIONS) for n in every}
    for name in range(SESSIONS):
        found = await client.space.sessions.read(Key("desk", f"s{name}"))
        said = found.messages()
        assert found.summary.user == "ada"
        times = Counter(int(one.text.split()[0]) for one in said if one.role == "user")
        assert times == dict.fromkeys(every, 1)
        for index in range(0, len(said), 2):
            user, answer = said[index : index + 2]
            number = int(user.text.split()[0])
            assert len(user.text) >= (session_worker().LARGE if number % 3 == 0 else 1)
            assert answer.text == talk.answers[f"s{name}", number]
            # an even number of messages before it, those that it saw first: never one of its own
            seen = int(answer.text.split()[-1])
            assert seen % 2 == 0
            assert seen <= index


async def test_sessions_outlive_every_process_that_serves_them(tmp_path: Path) -> None:
    await talk_and_kill(tmp_path, messages=4, kills=6, seed=1)


@pytest.mark.slow
async def test_long_sessions_outlive_every_process_that_serves_them(tmp_path: Path) -> None:
    await talk_and_kill(tmp_path, messages=60, kills=120, seed=2)
