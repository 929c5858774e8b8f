"""Power-safe mode on a real nats-server that is killed while it is given work.

The server syncs every write but those of CALLS, which it writes behind: a SIGKILL takes what it has
acknowledged and not written. Two service processes, and a client that sends, answers and kills.
"""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from aixgo import connect
from aixgo.calls.call_notes import CallNotes
from aixgo.client import Client
from aixgo.envelope import new_id
from aixgo.errors import AixgoError, NoQuestion
from aixgo.subjects import CALLS, RESULTS
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.nats

SCRIPT = Path(__file__).with_name("power_safe_worker.py")
SENDERS = 48
TIMEOUT = 600.0
"""Of each run: what is found after this test was not found by a deadline."""

SLACK_SECONDS = 0.05
"""From the time that the server gives to a result until it can be found: it is synced first."""


def power_safe_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("power_safe_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORKER = power_safe_worker()


@dataclass
class Audit:
    """What came of a load."""

    accepted: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Agent and expected text of each run."""
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    """Finished steps that were executed again."""
    kills: int = 0
    recovered: int = 0
    repeated: int = 0
    """Steps in flight that were executed again."""

    def __str__(self) -> str:
        return (
            f"{len(self.accepted)} runs, {self.kills} kills, {self.recovered} recovered, "
            f"{len(self.lost)} lost, {len(self.wrong)} wrong, {len(self.again)} finished steps "
            f"again, {self.repeated} steps in flight repeated"
        )


class Load:
    """Sends runs and answers questions through kills of the server."""

    def __init__(self, server: NatsServer, client: Client, ledger: Path) -> None:
        self.server, self.client, self._ledger = server, client, ledger
        self.audit = Audit()
        self._down = asyncio.Lock()
        self._chance = random.Random(5)

    async def send(self, agent: str, text: str, expected: str) -> str:
        """Start a run; as often as it takes, and always the same one."""
        run = new_id()
        while True:
            with suppress(AixgoError):
                await self.client.send(agent, text, timeout=TIMEOUT, run_id=run)
                self.audit.accepted[run] = (agent, expected)
                return run

    async def answer(self, run: str) -> None:
        while True:
            try:
                await self.client.answer(run, "yes")
                return
            except NoQuestion:  # an answer before this one arrived, and its word did not
                return
            except AixgoError:
                continue

    async def kill(self) -> None:
        """Kill the server at this moment, and start it again."""
        self.server.kill()
        self.audit.kills += 1
        async with self._down:
            await asyncio.sleep(self._chance.uniform(0.0, 0.1))
            self.server.spawn()
            await self.server.ready()

    async def nothing_is_queued(self) -> bool:
        """No call is queued or at work, and none is stuck."""
        info = await self.client.broker.stream_info(self.client.names.stream(CALLS))
        return info is not None and info.messages == 0

    async def judge(self) -> Audit:
        """Compare what was promised with what was done."""
        audit, names = self.audit, self.client.names
        for run, (agent, expected) in audit.accepted.items():
            result = await self.client.result(agent, run)
            if result is None:
                audit.lost.append(run)
            elif result.text != expected:
                audit.wrong.append(f"{result.text!r} is not {expected!r}")
        records = await self.client.broker.read(names.stream(RESULTS), f"{names.prefix}res.>")
        stored = {tuple(record.subject.split(".")[3:5]): record.time for record in records}
        executed: Counter[tuple[str, ...]] = Counter()
        for line in self._ledger.read_text().splitlines():
            moment, agent, run, _ = line.split()
            executed[agent, run] += 1
            if (agent, run) in stored and float(moment) > stored[agent, run] + SLACK_SECONDS:
                audit.again.append(line)
        audit.repeated = sum(executed.values()) - len(executed)
        return audit


@asynccontextmanager
async def load(folder: Path, *, moment: float, notes: str) -> AsyncGenerator[Load, None]:
    with NatsServer(sync="always") as server:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(connect(server.url, namespace=WORKER.SPACE))
            ledger = folder / "ledger"
            await WORKER.app(str(ledger)).provision(client.broker)
            made = Load(server, client, ledger)
            arguments = [str(SCRIPT), server.url, str(ledger), str(moment), notes]
            services = await asyncio.gather(*(_start(stack, arguments) for _ in range(2)))
            listening = [asyncio.create_task(_listen(one, made.audit)) for one in services]
            try:
                yield made
            finally:
                for task in listening:
                    task.cancel()
                await asyncio.gather(*listening, return_exceptions=True)


async def _start(stack: AsyncExitStack, arguments: list[str]) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=PIPE, stderr=DEVNULL
    )

    async def end() -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()

    stack.push_async_callback(end)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS) == b"ready\n"
    return process


async def _listen(process: Process, audit: Audit) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        audit.recovered += line == b"recovered\n"


async def under_kills(made: Load, *, runs: int, kills: int, parked: int) -> None:
    """Send runs, kill the server in the middle of acknowledging them, answer those that ask."""
    waiting = [
        await made.send("approve", f"a{n}", f"charged, reserved a{n}: yes") for n in range(parked)
    ]

    async def all_ask() -> bool:
        return len(await made.client.questions()) == parked

    await eventually(all_ask)
    every = runs // (kills + 1)
    numbers, acknowledged = iter(range(runs)), 0

    async def sender() -> None:
        nonlocal acknowledged
        for number in numbers:
            agent = "sleeper" if number % 10 == 0 else "order"
            await made.send(agent, f"{number}", f"charged, reserved {number}")
            acknowledged += 1
            if acknowledged % every == 0 and made.audit.kills < kills:
                await made.kill()

    async def answerer() -> None:
        for run in waiting:
            await made.answer(run)

    async with asyncio.TaskGroup() as group:
        group.create_task(answerer())
        for _ in range(SENDERS):
            group.create_task(sender())


async def finished(made: Load, within: float) -> Audit:
    """Wait until every run has its result, or return who has none."""
    missing = list(made.audit.accepted)
    until = asyncio.get_running_loop().time() + within

    while missing and asyncio.get_running_loop().time() < until:
        agent, _ = made.audit.accepted[missing[-1]]
        with suppress(AixgoError):
            if await made.client.result(agent, missing[-1], timeout=0.5) is not None:
                missing.pop()
            else:
                missing.insert(0, missing.pop())
    return await made.judge()


def tell(audit: Audit) -> None:
    sys.stdout.write(f"\n{audit}\n")


async def test_a_server_that_writes_behind_loses_calls_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    """What all this is for: a burst of calls, and a kill right after the 300th was acknowledged."""
    with NatsServer(sync="always") as server:
        async with connect(server.url, namespace=WORKER.SPACE) as client:
            await WORKER.app(str(tmp_path / "ledger")).provision(client.broker)
            for _ in range(40):
                if await lost_of_a_burst(server, client):
                    return
    raise AssertionError("nothing was lost in 40 bursts, so the other tests here prove nothing")


async def lost_of_a_burst(server: NatsServer, client: Client, calls: int = 300) -> int:
    """Return how many of the calls that were acknowledged when the server died it has lost."""
    stream, acknowledged = client.names.stream(CALLS), 0
    await client.broker.purge(stream)
    killed = asyncio.Event()

    async def sender() -> None:
        nonlocal acknowledged
        while not killed.is_set():
            subject = client.names.call("order", new_id(), "")
            await client.broker.append(subject, bytes(200))
            acknowledged += not killed.is_set()
            if acknowledged == calls and not killed.is_set():
                server.kill()
                killed.set()

    sending = [asyncio.create_task(sender()) for _ in range(SENDERS)]
    await killed.wait()
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    server.spawn()
    await server.ready()
    info = await client.broker.stream_info(stream)
    assert info is not None
    return max(0, acknowledged - info.messages)


@pytest.mark.long
async def test_every_accepted_run_finishes_although_the_server_is_killed(tmp_path: Path) -> None:
    async with load(tmp_path, moment=0.5, notes="noting") as made:
        await under_kills(made, runs=600, kills=3, parked=10)
        audit = await finished(made, within=60.0)
        tell(audit)
        assert (audit.lost, audit.wrong, audit.again) == ([], [], [])
        assert audit.kills == 3
        await eventually(made.nothing_is_queued)


@pytest.mark.slow
async def test_ten_thousand_runs_finish_although_the_server_is_killed_forty_times(
    tmp_path: Path,
) -> None:
    async with load(tmp_path, moment=2.5, notes="noting") as made:
        await under_kills(made, runs=10_000, kills=40, parked=300)
        audit = await finished(made, within=300.0)
        tell(audit)
        assert (audit.lost, audit.wrong, audit.again) == ([], [], [])
        assert audit.kills == 40
        assert audit.recovered > 0


@pytest.mark.slow
async def test_without_notes_runs_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallNotes, "note", WORKER.forgetful)
    async with load(tmp_path, moment=0.5, notes="forgetful") as made:
        await under_kills(made, runs=4_000, kills=20, parked=20)
        audit = await finished(made, within=30.0)
        tell(audit)
        assert audit.lost
