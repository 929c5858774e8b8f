"""Run the patterns while somebody is killed: at random moments, or at every boundary in turn."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aixgo import App, connect
from aixgo.client import Client
from aixgo.clock import now
from aixgo.envelope import new_id
from aixgo.errors import AixgoError, BrokerError
from aixgo.subjects import CALLS, RESULTS
from aixgo.testing.nats_server import NatsServer

from .agents import PATTERNS, SERVICES, app, is_right
from .audit import Run, audit, recoveries, whereabouts
from .cluster import SETTLE_SECONDS, SIZE, Cluster, cluster
from .fleet import Fleet
from .ledger import Line, Reader
from .provider import counting_provider
from .table import SHOWN, Row
from .worker import Place

RUN_SECONDS = 120.0
"""Deadline of a run: many times what the slowest recovery takes."""

CALLERS = 12
READY_SECONDS = 10.0
"""For processes that were just started; without them there would be nobody to kill."""

NAMESPACE = "matrix"
POLL_SECONDS = 0.01
BOUNDARY_SECONDS = 60.0
"""For a run to reach a boundary, or to end without."""


@dataclass
class Stage:
    """A server, services and a client, while they run."""

    client: Client
    fleet: Fleet
    folder: Path
    row: Row
    asked: Counter[str]
    runs: dict[str, Run] = field(default_factory=dict)
    _reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = Reader(self.folder / "ledger")

    @property
    def lines(self) -> list[Line]:
        """What the services have noted up to now."""
        return self._reader.lines()

    async def ready(self) -> None:
        """Return when all service processes are; or after a while, as some may not come up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                while self.fleet.pids - self._ready():  # noqa: ASYNC110 - a file of others
                    await asyncio.sleep(POLL_SECONDS)

    def _ready(self) -> set[int]:
        return {line.pid for line in self.lines if line.what == "ready"}

    async def run(self, agent: str, text: str, run_id: str) -> None:
        """Make one run and check what it came to."""
        run = self.runs[run_id] = Run(agent, text, run_id, began=now())
        self.row.accepted += 1
        try:
            answer = await self.client.call(agent, text, timeout=RUN_SECONDS, run_id=run_id)
        except AixgoError as error:
            stood = ""
            if len(self.row.wrong) < SHOWN:
                with suppress(AixgoError):
                    stood = await whereabouts(self.client, run, self.lines, self.fleet.pids)
            self.row.wrong.append(f"{agent} {run_id}: {type(error).__name__}; {stood}")
            return
        run.ended = now()
        self.row.finished += 1
        if not is_right(agent, text, answer):
            self.row.wrong.append(f"{agent} {run_id}: {answer.text!r}")

    def count(self) -> None:
        """Take down kills, recoveries and exits."""
        self.row.kills = sum(len(kill.victims) for kill in self.fleet.kills)
        self.row.recovery = recoveries(self.fleet.kills, self.lines, self.runs)
        self.row.exits = self.fleet.exits
        self.row.log_tail = self.fleet.log_tail()


@asynccontextmanager
async def stage(
    folder: Path,
    row: Row,
    *,
    kinds: Sequence[str] = tuple(SERVICES),
    size: int,
    ack_wait: float,
    chance: random.Random,
    servers: Cluster | None = None,
) -> AsyncGenerator[Stage, None]:
    """Start everything in an existing folder; in the end audit what was recorded.

    Args:
        servers: the cluster to use; without it a server of its own is started.
    """
    async with AsyncExitStack() as stack:
        server = stack.enter_context(NatsServer()) if servers is None else servers
        provider, asked, paid = await stack.enter_async_context(counting_provider())
        client = await stack.enter_async_context(connect(server.url, namespace=NAMESPACE))
        await _provision(app(NAMESPACE, provider, ack_wait), client, 1 if servers is None else SIZE)
        place = Place(folder, server.url, NAMESPACE, provider, ack_wait)
        fleet = Fleet(server, place, kinds, size, chance)
        stack.callback(fleet.stop)
        made = Stage(client, fleet, folder, row, asked)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(fleet.supervise(), name="supervise")
            yield made
            watching.cancel()
        made.count()
        await audit(client, row, made.lines, asked, paid)


async def _provision(system: App, client: Client, replicas: int) -> None:
    """Declare the streams; a cluster that has just started cannot place copies at once."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            try:
                await system.provision(client.broker, replicas=replicas)
            except BrokerError:
                if replicas == 1:
                    raise
                await asyncio.sleep(POLL_SECONDS)
            else:
                return


@asynccontextmanager
async def busy(made: Stage, *, runs: int = 0, seed: int = 1) -> AsyncGenerator[None, None]:
    """Keep a dozen runs going for the length of a block, and until there were so many."""
    row, over = made.row, asyncio.Event()

    async with asyncio.TaskGroup() as group:
        for pattern in PATTERNS:  # so that all services are there before anything happens to them
            group.create_task(made.run(pattern, f"{seed}-{pattern}", new_id()))

    async def caller() -> None:
        while not over.is_set() or row.accepted < runs:
            agent = PATTERNS[row.accepted % len(PATTERNS)]
            await made.run(agent, f"{seed}-{row.accepted}", new_id())

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
        yield
        over.set()


async def at_random_moments(
    folder: Path,
    row: Row,
    groups: Sequence[tuple[str, ...]],
    *,
    moments: int,
    runs: int = 0,
    calm: float = 0.8,
    ack_wait: float = 2.0,
    seed: int = 1,
) -> Row:
    """Kill a group at each of so many moments, while a dozen runs are always going on.

    Args:
        groups: who is killed together; one of them is chosen each time.
        runs: at least so many, also when the killing is over.
        calm: share of the kills that wait until the victims of the one before serve again; the
            others hit services that are still starting.
    """
    chance = random.Random(seed)
    async with (
        stage(folder, row, size=2, ack_wait=ack_wait, chance=chance) as made,
        busy(made, runs=runs, seed=seed),
    ):
        for _ in range(moments):
            if chance.random() < calm:
                await made.ready()
            await asyncio.sleep(chance.uniform(0.05, 0.5))
            kill = made.fleet.kill(chance.choice(groups))
            await made.fleet.restore(kill)
    return row


async def at_every_boundary(
    folder: Path,
    row: Row,
    pattern: str,
    kind: str,
    victims: tuple[str, ...],
    *,
    ack_wait: float = 1.0,
) -> int:
    """Make runs of a pattern until one has no further boundary; returns how many there were.

    The nth run stands still at the nth boundary of the service of that kind, there the victims are
    killed, and whoever lives or is started next has to finish it.
    """
    chance = random.Random(0)
    kinds = ("orchestrator", "agent", *(("gateway",) if pattern == "react" else ()))
    orders = folder / "orders"
    async with stage(folder, row, kinds=kinds, size=1, ack_wait=ack_wait, chance=chance) as made:
        number = 0
        while True:
            number += 1
            run_id = new_id()
            orders.write_text(f"{kind} {run_id} {number}")
            running = asyncio.create_task(made.run(pattern, f"{pattern}{number}", run_id))
            try:
                if not await _reached(made, run_id, running):
                    return number - 1
                kill = made.fleet.kill(victims)
                orders.unlink()  # who only stood still goes on; who is started next does not stop
                await made.fleet.restore(kill)
                await running
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running


async def _reached(made: Stage, run_id: str, running: asyncio.Task[None]) -> bool:
    """Wait until a run stands still at its boundary; False when it has ended without."""
    async with asyncio.timeout(BOUNDARY_SECONDS):
        while True:
            over = running.done()
            if any(line.what == "reached" and line.run == run_id for line in made.lines):
                return True
            if over:
                return False
            await asyncio.sleep(POLL_SECONDS)


async def while_a_server_fails(
    folder: Path,
    row: Row,
    fault: Callable[[Cluster, int, float], Awaitable[None]],
    *,
    moments: int,
    away: tuple[float, float],
    ack_wait: float = 2.0,
    seed: int = 1,
) -> Row:
    """Let a fault happen to one of three servers at each of so many moments, while runs go on.

    Args:
        fault: what happens; it is given the server that leads what matters at that moment.
        away: for how many seconds, at least and at most.
    """
    chance = random.Random(seed)
    async with (
        cluster() as servers,
        stage(folder, row, size=2, ack_wait=ack_wait, chance=chance, servers=servers) as made,
    ):
        names = made.client.names
        streams = [names.stream(CALLS), names.stream(RESULTS)]
        async with busy(made, seed=seed):
            for _ in range(moments):
                await servers.settled(streams)
                await asyncio.sleep(chance.uniform(0.2, 1.0))
                victim = await servers.leader(chance.choice(streams))
                made.fleet.note_fault()
                await fault(servers, victim, chance.uniform(*away))
            await servers.settled(streams)
    return row
