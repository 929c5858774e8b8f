"""A worker that is frozen past its takeover and wakes up again changes nothing.

Real processes on a real nats-server; SIGSTOP and SIGCONT. What a zombie does is compared with the
records as its successor left them, and with the ledger of everything that was executed.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from aixgo import connect
from aixgo.broker.port import Record
from aixgo.client import Client
from aixgo.envelope import new_id
from aixgo.subjects import CALLS, RESULTS
from aixgo.testing.expect import SOON_SECONDS
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.nats
SCRIPT = Path(__file__).with_name("frozen_worker.py")


def frozen_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("frozen_worker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = frozen_worker()


@dataclass(frozen=True)
class Line:
    """A line of the ledger."""

    time: float
    process: int
    agent: str
    run: str
    attempt: int
    what: str


class Scene:
    """Processes that share a namespace and a directory."""

    def __init__(self, url: str, client: Client, directory: Path, stack: ExitStack) -> None:
        self.client, self._url, self._directory, self._stack = client, url, directory, stack
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *agents: str) -> subprocess.Popen[bytes]:
        """Start a service process; it ends with the test, whatever it does."""
        namespace = self.client.names.namespace
        log = self._stack.enter_context((self._directory / "log").open("ab"))
        command = [sys.executable, str(SCRIPT), self._url, namespace, str(self._directory), *agents]
        process = subprocess.Popen(command, stderr=log)

        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)
        self._processes[process.pid] = process
        return process

    async def end(self, number: int) -> None:
        """Ask a process to end, and wait until it has."""
        process = self._processes[number]
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.poll() is not None)
        assert process.returncode == 0

    def allow(self, *names: str) -> None:
        """Let handlers go on that wait for these files."""
        for name in names:
            (self._directory / name).touch()

    def lines(self, what: str = "begin", *, agent: str = "") -> list[Line]:
        ledger = self._directory / "ledger"
        text = ledger.read_text() if ledger.exists() else ""
        found = []
        for line in text.splitlines():
            at, process, name, run, attempt, event = line.split()
            if event == what and agent in ("", name):
                found.append(Line(float(at), int(process), name, run, int(attempt), event))
        return found

    async def reached(self, what: str, agent: str, process: int) -> Line:
        """Return the first line of that kind, once it is there."""

        def look() -> Line | None:
            found = self.lines(what, agent=agent)
            return next((line for line in found if process in (0, line.process)), None)

        line: Line = await eventually(look)
        return line

    async def results(self) -> dict[str, Record]:
        names = self.client.names
        stream, pattern = names.stream(RESULTS), f"{names.prefix}res.>"
        return {x.subject: x for x in await self.client.broker.read(stream, pattern)}

    async def idle(self) -> bool:
        """No call is queued or with a worker."""
        names, broker = self.client.names, self.client.broker
        info = await broker.stream_info(names.stream(CALLS))
        held = [await broker.consumer_info(names.stream(CALLS), x) for x in worker.WORKERS]
        return (
            info is not None
            and info.messages == 0
            and all(one is not None and one.ack_pending == 0 for one in held)
        )


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        yield running


@pytest.fixture
def ack_wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Of all agents, here and in the processes."""
    seconds: float = getattr(request, "param", worker.ACK_WAIT)
    monkeypatch.setattr(worker, "ACK_WAIT", seconds)
    monkeypatch.setenv("ACK_WAIT", f"{seconds:g}")
    return seconds


@pytest.fixture
async def scene(server: NatsServer, ack_wait: float, tmp_path: Path) -> AsyncGenerator[Scene, None]:
    namespace = f"z{new_id()[-12:]}"
    with ExitStack() as stack:
        async with connect(server.url, namespace=namespace) as client:
            await worker.app(namespace, str(tmp_path)).provision(client.broker)
            yield Scene(server.url, client, tmp_path, stack)


async def three_runs_with_a_frozen_owner(scene: Scene) -> tuple[dict[str, str], list[int]]:
    """Freeze the owner of three runs in the middle of them until another process has them all."""
    scene.start(*worker.LEAVES)
    owner = scene.start(*worker.WORKERS)
    runs = {agent: await scene.client.send(agent, timeout=60) for agent in worker.WORKERS}
    for agent in ("plain", "costly", "gate"):
        await scene.reached("begin", agent, 0)
    owner.send_signal(signal.SIGSTOP)
    successor = scene.start(*worker.WORKERS)
    for agent in worker.WORKERS:
        await scene.reached("begin", agent, successor.pid)
    return runs, [owner.pid, successor.pid]


@pytest.mark.long
async def test_a_zombie_that_wakes_after_its_successor_finished_changes_nothing(
    scene: Scene,
) -> None:
    runs, (owner, successor) = await three_runs_with_a_frozen_owner(scene)
    scene.allow(f"plain-{successor}", f"costly-{successor}", "gate")
    for agent in ("plain", "costly"):
        result = await scene.client.result(agent, runs[agent], timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == f"by {successor}"
    assert await scene.client.result("flow", runs["flow"], timeout=PATIENCE_SECONDS) is not None
    await eventually(scene.idle)
    before = await scene.results()

    scene.allow(f"plain-{owner}")
    os.kill(owner, signal.SIGCONT)
    for agent in worker.WORKERS:  # it ends, or is stopped by its first look at the broker
        await scene.reached("over", agent, owner)
    await scene.end(owner)  # it says all that it still has to say
    await eventually(scene.idle)
    assert await scene.results() == before
    assert await scene.client.dead_letters.list() == []
    executed = [(x.agent, x.process) for x in scene.lines()]
    assert sorted(executed) == sorted(
        [(agent, pid) for agent in worker.WORKERS for pid in (owner, successor)]
        + [("leaf", x.process) for x in scene.lines(agent="gate")] * 3
        + [("gate", x.process) for x in scene.lines(agent="gate")]
    )
    assert len(scene.lines(agent="gate")) == 1


@pytest.mark.long
async def test_a_zombie_that_wakes_before_its_successor_finished_can_only_do_the_same(
    scene: Scene,
) -> None:
    runs, (owner, successor) = await three_runs_with_a_frozen_owner(scene)
    scene.allow(f"plain-{owner}", f"costly-{owner}")
    os.kill(owner, signal.SIGCONT)

    # whoever is first has the result of a plain call; an exclusive one is its successor's
    result = await scene.client.result("plain", runs["plain"], timeout=PATIENCE_SECONDS)
    assert result is not None
    assert result.text == f"by {owner}"

    await scene.reached("over", "costly", owner)
    first = await scene.results()
    scene.allow(f"plain-{successor}", f"costly-{successor}", "gate")
    result = await scene.client.result("costly", runs["costly"], timeout=PATIENCE_SECONDS)
    assert result is not None
    assert result.text == f"by {successor}"
    for agent in worker.WORKERS:
        await scene.reached("over", agent, successor)
    await eventually(scene.idle)
    assert await scene.client.result("flow", runs["flow"], timeout=PATIENCE_SECONDS) is not None
    after = await scene.results()
    assert {subject: after[subject] for subject in first} == first
    assert len(scene.lines(agent="leaf")) == 3
    assert len(scene.lines(agent="gate")) == 1
    assert await scene.client.dead_letters.list() == []


@pytest.mark.parametrize(
    ("how", "ack_wait"), [("SIGKILL", 2.0), ("SIGTERM", PATIENCE_SECONDS)], indirect=["ack_wait"]
)
@pytest.mark.long(only=("SIGTERM",))
async def test_takeover_is_in_time(
    scene: Scene, how: str, ack_wait: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a kill when `ack_wait` and a lease are over; after an orderly end long before."""
    agents = ("plain", "costly")
    owner = scene.start(*agents)
    for agent in agents:
        await scene.client.send(agent, timeout=10 * PATIENCE_SECONDS)
        await scene.reached("begin", agent, owner.pid)
    successor = scene.start(*agents)

    async def both_serve() -> bool:
        info = await scene.client.broker.consumer_info(scene.client.names.stream(CALLS), "costly")
        return info is not None and info.waiting == 2

    await eventually(both_serve)
    moment = time.time()
    owner.send_signal(signal.Signals[how])
    took = {}
    for agent in agents:
        took[agent] = (await scene.reached("begin", agent, successor.pid)).time - moment
    told = ", ".join(f"{agent} {seconds:.2f} s" for agent, seconds in took.items())
    with capsys.disabled():
        sys.stdout.write(f"\ntakeover after {how}, ack_wait {ack_wait:g} s: {told}\n")
    assert max(took.values()) < SOON_SECONDS
