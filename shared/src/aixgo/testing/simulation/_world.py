"""One seed: a server, processes that die and come back, and the scenario that calls them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from aixgo.broker.memory.broker import MemoryBroker
from aixgo.client import Client
from aixgo.errors import BrokerError, ConfigError
from aixgo.hosting.app import App
from aixgo.testing.simulation._connection import WatchedServer
from aixgo.testing.simulation._faults import BACK_SECONDS, OUTAGE_SECONDS, Chaos, Kind
from aixgo.testing.simulation._ledger import Ledger
from aixgo.testing.simulation._loop import SimulationLoop
from aixgo.testing.simulation._process import Process
from aixgo.testing.simulation._report import Event, PromiseBroken, Report

LOOK_SECONDS = 1.0
"""Virtual, between two looks whether everything has finished."""

UNWINDING_SECONDS = 5.0
"""Virtual; what still runs when the verdict is known gets this long to be cancelled."""

SHOWN_CALLS = 10


class SimulatedSystem(Client):
    """What a scenario calls: a client outside of the simulated processes, which never dies itself.

    Attributes:
        seed: of this simulation.
        processes: names of the processes, such as `writer.1`.
    """

    def __init__(self, world: World, connection: MemoryBroker) -> None:
        super().__init__(connection, world.names, source="scenario")
        self._world = world
        self.seed = world.seed

    @property
    def processes(self) -> list[str]:
        """Names of the processes."""
        return self._world.names_of_processes

    @property
    def now(self) -> float:
        """Virtual seconds since the system was started."""
        return self._world.loop.time()

    def kill(self, process: str) -> None:
        """Kill a process now; it comes back later.

        Raises:
            ConfigError: there is none of that name.
        """
        victim = self._world.processes.get(process)
        if victim is None:
            raise ConfigError(
                f"no process {process!r}; there are: {', '.join(self._world.processes)}"
            )
        self._world.kill(victim, "by the scenario")

    async def agents(self) -> list[str]:
        """Return the names of the system's agents, sorted."""
        return sorted(self._world.app.agents)


Scenario = Callable[[SimulatedSystem], Awaitable[object]]


class World:
    """Everything of one seed.

    Attributes:
        shaking: whether something may go wrong now: not while the system starts.
        operations: of each process, since the system was started.
    """

    def __init__(
        self,
        loop: SimulationLoop,
        make: Callable[[World], App],
        chaos: Chaos,
        seed: int,
        limit: float,
        processes: int,
    ) -> None:
        self.loop, self.seed, self.chaos, self.chance = loop, seed, chaos, chaos.chance
        self.app = make(self)
        self.names = self.app.names
        self.server = WatchedServer()
        self.ledger = self.server.ledger = Ledger(self.server, self.names)
        self.processes: dict[str, Process] = {}
        self.operations: Counter[str] = Counter()
        self.events: list[Event] = []
        self.faults: list[Event] = []
        self.shaking = False
        self._limit = limit
        self._agents = {
            f"{agent}.{number}": agent
            for agent in self.app.agents
            for number in range(1, processes + 1)
        }
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the seed ------------------------------------------------------------------------------

    @property
    def names_of_processes(self) -> list[str]:
        """Names of all processes, such as `writer.1`."""
        return list(self._agents)

    async def run(self, scenario: Scenario) -> None:
        """Start the system, run the scenario, wait for what it left, and look at the books.

        Raises:
            PromiseBroken: of the runtime, or it did not end.
        """
        main = asyncio.current_task()
        assert main is not None
        self.loop.on_spinning = main.cancel
        outside = Process(self, "scenario")
        try:
            await self.app.provision(outside.broker)
            for name, agent in self._agents.items():
                await self._begin(name, agent)
            self.shaking = True
            await self._live(scenario, SimulatedSystem(self, outside.broker))
        except asyncio.CancelledError:
            if not self.loop.spins:
                raise
            main.uncancel()
            raise PromiseBroken(
                f"tasks had {self.loop.turns:,} turns by {self.loop.time():.1f} s and it did not "
                "end: a task spins, such as `while True: await asyncio.sleep(0)`"
            ) from None
        finally:
            await self._end()
        if self.ledger.broken:
            raise PromiseBroken("; ".join(self.ledger.broken[:SHOWN_CALLS]))

    async def _live(self, scenario: Scenario, system: SimulatedSystem) -> None:
        limit = asyncio.timeout(self._limit)
        try:
            async with limit:
                await scenario(system)
                await self._everything_finished()
        except TimeoutError:
            if not limit.expired():
                raise
            open_ = self.ledger.unfinished()
            more = f" and {len(open_) - SHOWN_CALLS} more" if len(open_) > SHOWN_CALLS else ""
            raise PromiseBroken(
                f"not over after {self._limit:,.0f} virtual seconds (`limit`); unfinished: "
                f"{', '.join(open_[:SHOWN_CALLS]) or 'only the scenario itself'}{more}. A run that "
                "waits for a person needs a scenario that answers"
            ) from None

    async def _everything_finished(self) -> None:
        while True:
            if not self.ledger.unfinished():
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _end(self) -> None:
        """Let everything be cancelled, now that nothing more counts."""
        self.shaking, self.loop.over = False, True
        for process in self.processes.values():
            process.life.dead = True
            process.broker.kill()
        me = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not me]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=UNWINDING_SECONDS)
        self.ledger.close()

    def report(self, seconds: float) -> Report:
        """Return what happened."""
        ledger = self.ledger
        return Report(
            seeds=1,
            runs=len(ledger.accepted),
            executions=ledger.executions,
            repeated=ledger.repeated,
            model_calls=ledger.model_calls,
            faults=Counter(event.what for event in self.faults),
            operations=self.operations.copy(),
            virtual_seconds=self.loop.time(),
            seconds=seconds,
            traces={self.seed: tuple(self.events)},
        )

    # -- processes -----------------------------------------------------------------------------

    def _begin(self, name: str, agent: str) -> asyncio.Task[None]:
        process = self.processes[name] = Process(self, name, agent)
        with self.loop.as_process(process.life):
            task = self.loop.create_task(self._serve(process), name=f"{name}: start")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, process: Process) -> None:
        while True:
            try:
                await process.serve()
                return
            except BrokerError as error:  # the server is away: the supervisor tries again
                self.note(process.name, "no start", error.code)
                await asyncio.sleep(1.0)

    def kill(self, process: Process, where: str) -> None:
        """Let a process die without a last word, and come back later."""
        if process.life.dead:
            return
        self.fault("crash", process.name, where)
        process.life.dead = True
        process.broker.kill()
        self._later(
            self.chance.uniform(0.0, BACK_SECONDS),
            lambda: self._begin(process.name, process.agent),
        )

    def cut_off(self, process: Process, where: str) -> None:
        """Take a process's connection away for a while, sometimes until others take over."""
        if not process.broker.up:
            return
        longest = self.chance.choice([1.0, 2 * self.app.ack_wait])
        seconds = self.chance.uniform(0.0, longest)
        self.fault("disconnect", process.name, f"for {seconds:.1f} s {where}")
        self.server.faults.disconnect(process.broker, seconds)

    def break_server(self, where: str) -> None:
        """Let the server die and come back."""
        seconds = self.chance.uniform(0.0, OUTAGE_SECONDS)
        self.fault("outage", "server", f"for {seconds:.1f} s {where}")
        with self.loop.as_process(self.loop.outside):
            task = self.loop.create_task(self.server.restart(down=seconds), name="server: restart")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        def unless_over() -> None:
            if not self.loop.over:
                with self.loop.as_process(self.loop.outside):
                    act()

        self.loop.call_later(seconds, unless_over)

    # -- what happens --------------------------------------------------------------------------

    def note(self, process: str, what: str, about: str) -> None:
        """Write down what happens."""
        self.events.append(Event(self.loop.time(), process, what, about))

    def fault(self, kind: Kind, process: str, about: str) -> None:
        """Write down what goes wrong."""
        event = Event(self.loop.time(), process, kind, about)
        self.events.append(event)
        self.faults.append(event)
