"""One simulated process: an agent, served over a connection of its own, until it dies."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from aixgo.agents.agent import Agent
from aixgo.broker.memory.server import MemoryServer
from aixgo.calls.parking import Parked
from aixgo.calls.space import Space
from aixgo.calls.worker import HandlerFailed
from aixgo.envelope import Envelope
from aixgo.hosting.agent_service import AgentService, Wiring
from aixgo.hosting.app import App
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    Model,
)
from aixgo.subjects import Names
from aixgo.testing.simulation._connection import ProcessConnection, nothing_more
from aixgo.testing.simulation._faults import SLOW_SECONDS, Chaos, Kind
from aixgo.testing.simulation._ledger import Ledger, label
from aixgo.testing.simulation._loop import Life, SimulationLoop


class Surroundings(Protocol):
    """The world, as a process knows it."""

    loop: SimulationLoop
    app: App
    names: Names
    ledger: Ledger
    chaos: Chaos
    chance: random.Random
    operations: Counter[str]
    shaking: bool

    @property
    def server(self) -> MemoryServer:
        """The server of all processes."""
        ...

    def note(self, process: str, what: str, about: str) -> None:
        """Take note of what a process does."""
        ...

    def fault(self, kind: Kind, process: str, about: str) -> None:
        """Take note of a fault."""
        ...

    def kill(self, process: Process, where: str) -> None:
        """End a process."""
        ...

    def cut_off(self, process: Process, where: str) -> None:
        """Cut a process off from the server for a while."""
        ...

    def break_server(self, where: str) -> None:
        """Kill the server and start it again."""
        ...


class Process:
    """A process from its start to its death; another one of the same name follows it.

    Args:
        agent: what it serves; empty for the one outside that makes the calls and never dies.
    """

    def __init__(self, world: Surroundings, name: str, agent: str = "") -> None:
        self.world, self.name, self.agent = world, name, agent
        self.loop, self.server = world.loop, world.server
        self.life = Life(name) if agent else world.loop.outside
        self.broker = ProcessConnection(world.server, self)
        self._own_results = f"{world.names.prefix}res.{agent}."

    async def serve(self) -> None:
        """Begin to serve the agent."""
        world = self.world
        app = world.app
        space = Space(self.broker, app.names)
        space.known.update(app.agents)
        service = ObservedService(self, app.agents[self.agent], space, app.wiring(self.agent))
        await service.start()
        world.note(self.name, "started", "")

    # -- what can go wrong ---------------------------------------------------------------------

    def arrives(self, about: str) -> None:
        """Take note of a delivery."""
        self.world.note(self.name, "deliver", about.removeprefix(self.world.names.prefix))

    async def before(self, what: str, about: str) -> int:
        """Take note of an operation and return its number; it may not come to it."""
        world = self.world
        about = about.removeprefix(world.names.prefix)
        world.note(self.name, what, about)
        if not self.agent or not world.shaking:
            return 0
        number = world.operations[self.name] = world.operations[self.name] + 1
        await self._strike(number, what, about, after=False)
        return number

    async def after(self, number: int, what: str, about: str) -> None:
        """Take note that an operation is done; it may be the last one."""
        if number:
            about = about.removeprefix(self.world.names.prefix)
            await self._strike(number, what, about, after=True)

    async def _strike(self, number: int, what: str, about: str, *, after: bool) -> None:
        world = self.world
        kind = world.chaos.strikes(self.name, number, after=after, now=self.loop.time())
        if kind is None:
            return
        where = f"{'after' if after else 'before'} {what} {about}"
        if kind == "outage":
            world.break_server(f"while {self.name} is {where}")
        elif kind == "disconnect":
            world.cut_off(self, where)
        elif kind == "drop":
            world.fault(kind, self.name, f"the next answers {where}")
            self.server.faults.drop_publish_acks(1)
            self.server.faults.drop_acks(1)
        else:
            world.kill(self, where)
            await nothing_more(self.loop)

    def happens(self, kind: Kind, about: str) -> bool:
        """Return whether a smaller fault happens here, and take note of it."""
        world = self.world
        if not world.shaking or not world.chaos.happens(kind, self.loop.time()):
            return False
        world.fault(kind, self.name, about.replace(world.names.prefix, ""))
        return True

    def late(self, about: str) -> float:
        """Return the seconds that a delivery takes; 0 as nearly always."""
        if not self.happens("delay", about):
            return 0.0
        longest = self.world.chance.choice([0.1, 2.0, 1.5 * self.world.app.ack_wait])
        return self.world.chance.uniform(0.0, longest)

    def looked(self, subject: str) -> None:
        """Take note that a result was looked for and not found."""
        if subject.startswith(self._own_results):
            self.world.ledger.looked(subject)


class ObservedService(AgentService):
    """An agent whose executions are in the books."""

    def __init__(self, process: Process, agent: Agent, space: Space, wiring: Wiring) -> None:
        super().__init__(agent, space, wiring)
        self._process = process

    async def handle(self, request: Envelope, attempt: int) -> Envelope:
        """See `AgentService.handle`."""
        if request.kind == "rpc":  # has no result to compare with
            return await super().handle(request, attempt)
        process, ledger = self._process, self._process.world.ledger
        subject, what = ledger.began(self.agent.name, request), label(request)
        number = await process.before("execute", f"{what} ({attempt})")
        try:
            result = await super().handle(request, attempt)
        except HandlerFailed as failed:
            ledger.shall_begin_again(subject)
            process.world.note(process.name, "failed", f"{what}: {failed.error!r}")
            raise
        except Parked:
            ledger.shall_begin_again(subject)
            raise
        await process.after(number, "execute", what)
        return result


class ObservedModel:
    """The model of a simulated system: its calls are counted, and it may be slow.

    It is on the far side of all gateway processes, so it lives as long as the seed.
    """

    def __init__(self, world: Surroundings, model: Model) -> None:
        self._world, self._model = world, model

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """See `Model.chat`."""
        await self._asked("chat", request.model)
        return await self._model.chat(request)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """See `Model.stream`."""
        await self._asked("stream", request.model)
        async with self._model.stream(request) as chunks:
            yield chunks

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """See `Model.embed`."""
        await self._asked("embed", request.model)
        return await self._model.embed(request)

    async def close(self) -> None:
        """Nothing: another process goes on to use it."""

    async def _asked(self, what: str, model: str) -> None:
        world = self._world
        world.ledger.paid()
        who = world.loop.current.name
        world.note(who, "model", f"{what} {model}")
        if world.shaking and world.chaos.happens("slow_model", world.loop.time()):
            seconds = world.chance.uniform(0.0, SLOW_SECONDS)
            world.fault("slow_model", who, f"{model} takes {seconds:.1f} s")
            await asyncio.sleep(seconds)
