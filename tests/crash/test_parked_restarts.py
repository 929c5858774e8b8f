"""Runs that wait for a person or a timer, while all that could remember them is killed.

Two service processes and a real nats-server; services get SIGKILL and SIGTERM, the server SIGKILL.
The default test parks 200 runs, `make crash` 1,000.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest

from aixgo import connect
from aixgo.client import Client
from aixgo.clock import now
from aixgo.subjects import CALLS, PARKED
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.nats
T = TypeVar("T")
R = TypeVar("R")

SCRIPT = Path(__file__).with_name("parked_worker.py")
SPACE = "parked"

AT_ONCE_SECONDS = 4.0
"""Slack for a busy machine; a timer that is lost wakes its run at the deadline, after 600 s."""

INPUT_BYTES = 40_000
"""Of each run: what a process kept of 200 runs would be 8 MB, four times the slack."""

RSS_SLACK_MB = 2.0
"""Between two processes that have done nothing yet; 0.1 MB was seen."""


def parked_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parked_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Service:
    """A running `parked_worker.py`, which serves all agents."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, arguments: list[str]) -> Service:
        """Start one; it serves when this returns."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), *arguments, stdout=PIPE, stderr=DEVNULL
        )
        service = cls(process)
        assert await service._line() == "ready"
        return service

    async def held(self) -> dict[str, float]:
        """Return the number of its tasks and its memory in 10⁶ bytes."""
        self._process.send_signal(signal.SIGUSR1)
        found: dict[str, float] = json.loads(await self._line())
        return found

    async def end(self, how: signal.Signals) -> None:
        """Send a signal and wait until it is gone."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        await asyncio.wait_for(self._process.wait(), PATIENCE_SECONDS)

    async def _line(self) -> str:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_SECONDS)
        return line.decode().strip()


class Stage:
    """A server, a client, two services, and the ledger of what was executed."""

    def __init__(self, server: NatsServer, client: Client, arguments: list[str]) -> None:
        self.server, self.client, self._arguments = server, client, arguments
        self.services: list[Service] = []
        self._ledger = Path(arguments[2])

    async def start_services(self) -> None:
        """Start two that have seen nothing yet."""
        for _ in range(2):
            self.services.append(await Service.start(self._arguments))

    async def kill_services(self) -> None:
        """SIGKILL for one, SIGTERM for the other."""
        for service, how in zip(self.services, (signal.SIGKILL, signal.SIGTERM), strict=True):
            await service.end(how)
        self.services.clear()

    async def close(self) -> None:
        for service in self.services:
            await service.end(signal.SIGKILL)

    async def held(self) -> tuple[float, float]:
        """Return the most tasks, and the most memory in 10⁶ bytes, of one of the services."""
        held = [await service.held() for service in self.services]
        return max(one["tasks"] for one in held), max(one["megabytes"] for one in held)

    async def parked(self) -> int:
        """Return the number of parked calls."""
        names = self.client.names
        info = await self.client.broker.stream_info(f"KV_{names.bucket(PARKED)}")
        assert info is not None
        return info.messages

    async def nothing_is_held(self) -> bool:
        """No call is queued and none is delivered."""
        names = self.client.names
        calls = await self.client.broker.stream_info(names.stream(CALLS))
        consumers = [
            await self.client.broker.consumer_info(names.stream(CALLS), agent)
            for agent in ("approve", "prepare", "publish", "alarm")
        ]
        assert calls is not None
        return calls.messages == 0 and all(
            one is not None and (one.pending, one.ack_pending) == (0, 0) for one in consumers
        )

    def executions(self) -> Counter[tuple[str, str]]:
        """Return how often each agent began in each run."""
        lines = [line.split() for line in self._ledger.read_text().splitlines()]
        return Counter((agent, run) for agent, run, _ in lines)


@asynccontextmanager
async def stage(folder: Path, *park_seconds: float) -> AsyncGenerator[Stage, None]:
    with NatsServer() as server:
        arguments = [server.url, SPACE, str(folder / "ledger"), *map(str, park_seconds)]
        async with connect(server.url, namespace=SPACE) as client:
            await parked_worker().app(SPACE, arguments[2]).provision(client.broker)
            made = Stage(server, client, arguments)
            try:
                await made.start_services()
                yield made
            finally:
                await made.close()


async def each(
    function: Callable[[T], Awaitable[R]], items: Iterable[T], *, at_once: int = 32
) -> list[R]:
    """Return a function's values for all items, a few at once."""
    gate = asyncio.Semaphore(at_once)

    async def one(item: T) -> R:
        async with gate:
            return await function(item)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


async def answer_from_the_command_line(url: str, run: str, text: str) -> None:
    command = [sys.executable, "-m", "aixgo.cli", "runs", "answer", run, text]
    process = await asyncio.create_subprocess_exec(
        *command, "--broker", url, "--namespace", SPACE, stdout=DEVNULL
    )
    try:
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def park_and_answer(stage: Stage, count: int, *, by_command: int) -> None:
    """Park `count` runs, kill everybody, start them again, answer all, and audit."""
    client = stage.client
    fresh = await stage.held()

    async def begin(number: int) -> str:
        text = f"{number}".ljust(INPUT_BYTES)
        return await client.send("approve", text, timeout=86_400)

    async def all_parked() -> bool:
        return await stage.parked() == count and await stage.nothing_is_held()

    async def no_more_tasks() -> bool:
        # a service that has just started or was reconnected looks after its system for a moment
        return (await stage.held())[0] <= fresh[0]

    runs = await each(begin, range(count))
    await eventually(all_parked, within=120)
    await eventually(no_more_tasks)  # whoever parked them has no task for them

    await stage.kill_services()
    await stage.server.restart()
    assert await stage.parked() == count
    # answers that come while nobody is there to take them
    early, late = runs[: count // 4], runs[count // 4 : count - by_command]
    said = {run: f"yes {number}" for number, run in enumerate(runs)}
    await each(lambda run: client.answer(run, said[run]), early)

    await stage.start_services()
    await each(lambda run: client.result("approve", run, timeout=120), early)
    await eventually(stage.nothing_is_held)
    assert await stage.parked() == count - len(early)

    await stage.kill_services()
    await stage.server.restart()
    await stage.start_services()
    await eventually(no_more_tasks)
    assert (await stage.held())[1] < fresh[1] + RSS_SLACK_MB

    await each(lambda run: client.answer(run, said[run]), late)
    await each(
        lambda run: answer_from_the_command_line(stage.server.url, run, said[run]),
        runs[count - by_command :],
        at_once=2,
    )
    results = await each(lambda run: client.result("approve", run, timeout=120), runs)
    texts = [None if result is None else result.text for result in results]
    assert texts == [f"published draft of {n}: yes {n}" for n in range(count)]
    await eventually(stage.nothing_is_held)
    assert await stage.parked() == 0

    executions = stage.executions()
    for agent in ("prepare", "publish"):
        assert {run: executions[agent, run] for run in runs} == dict.fromkeys(runs, 1)
    # once until the question and once from its answer; what is no step may be repeated
    assert min(executions["approve", run] for run in runs) == 2


@pytest.mark.long
async def test_parked_runs_outlive_every_process_and_finish_when_they_are_answered(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as made:
        await park_and_answer(made, 200, by_command=3)


@pytest.mark.slow
async def test_a_thousand_parked_runs_outlive_every_process(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        await park_and_answer(made, 1_000, by_command=20)


@pytest.mark.long
async def test_timers_wake_on_time_and_at_once_when_the_server_was_down(tmp_path: Path) -> None:
    async with stage(tmp_path, 0.1) as made:
        client = made.client

        async def sleeping(count: int, until: float) -> list[str]:
            return [await client.send("alarm", until, timeout=600) for _ in range(count)]

        began = now()
        soon, later = await sleeping(20, began + 3.0), await sleeping(20, began + 5.5)

        async def all_parked() -> bool:
            return await made.parked() == 40 and await made.nothing_is_held()

        await eventually(all_parked)
        assert now() < began + 3.0, "this machine is too slow to tell"
        await made.kill_services()
        made.server.kill()
        await asyncio.sleep(max(0.0, began + 3.2 - now()))  # past the first ones' time
        made.server.spawn()
        await made.server.ready()
        back = now()
        await made.start_services()
        served = now()

        async def woken(run: str) -> tuple[float, float]:
            result = await client.result("alarm", run, timeout=PATIENCE_SECONDS)
            assert result is not None
            return result.data[0], result.data[1]

        for until, woke in await each(woken, soon):
            assert until < back <= woke < served + AT_ONCE_SECONDS
        for until, woke in await each(woken, later):
            assert until <= woke < max(until, served) + AT_ONCE_SECONDS
        await eventually(made.nothing_is_held)
        assert await made.parked() == 0
        assert min(made.executions().values()) == 2  # parked and woken, not kept
