"""`App`: the agents of a system, and `running()` them over any broker in this process."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aixgo.agents.agent import Agent
from aixgo.agents.system import connect, misfits, subscriptions
from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker
from aixgo.broker.topology import ACK_WAIT_SECONDS, AgentNeeds, ForeignStream, provision
from aixgo.calls.upkeep.handled import Handled
from aixgo.calls.upkeep.recovery import Recovery
from aixgo.calls.upkeep.retention import Sweeper
from aixgo.calls.upkeep.sessions import ExpiredSessions
from aixgo.client import Client
from aixgo.config.retention import Retention
from aixgo.config.servers import Access
from aixgo.config.sessions import SessionSettings
from aixgo.config.suggest import did_you_mean
from aixgo.envelope import new_id
from aixgo.errors import ConfigError, NotReady
from aixgo.hosting.agent_service import AgentService, Wiring
from aixgo.hosting.discovery import Discovery
from aixgo.hosting.exits import guard
from aixgo.hosting.gateway import gateway_for
from aixgo.hosting.process import DRAIN_SECONDS
from aixgo.models.bus import GATEWAY
from aixgo.models.port import Model
from aixgo.payloads import to_seconds
from aixgo.stores.sessions.open import open_sessions
from aixgo.subjects import Names

if TYPE_CHECKING:
    from aixgo.documents import Document
    from aixgo.models.settings import ModelSettings

log = logging.getLogger("aixgo.hosting.app")

START_SECONDS = 30.0
"""Time in which every agent must become ready."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a system did since its start.

    `average_call_latency` is seconds from a call to its result, over the calls that succeeded.
    `without_room` counts what was refused or had to wait because a stream was full: new runs, steps
    and events; `dead_letters_lost` those for which there was no room.
    """

    active_agents: int
    messages_sent: int
    messages_received: int
    calls_succeeded: int
    calls_failed: int
    average_call_latency: float
    without_room: int = 0
    dead_letters_lost: int = 0


class App:
    """A system of agents: declared once, run over any broker.

    A model gateway is added when none is declared and an agent may call models or `models` is
    given.

    Args:
        agents: at least one; names are unique.
        name: of the service in discovery.
        namespace: token that keeps systems on one broker apart.
        models: settings of the model gateway.
        model: a `Model` that the gateway uses instead of providers, such as a `ScriptedModel`.
        ack_wait: seconds after which a dead instance's work goes to another one.
        retention: how long results of finished runs are kept.
        sessions: where conversations are kept.
        power_safe: fewer writes for the same safety, on a server with `sync_interval: always`: the
            queue of calls is written behind, and what it must not lose is noted before.

    Raises:
        ConfigError: something is not an agent, two share a name, or one names an agent that is not
            there.
    """

    def __init__(
        self,
        agents: Iterable[Agent],
        *,
        name: str = "app",
        namespace: str = "default",
        models: ModelSettings | None = None,
        model: Model | None = None,
        ack_wait: float = ACK_WAIT_SECONDS,
        retention: Retention | None = None,
        sessions: SessionSettings | None = None,
        power_safe: bool = False,
    ) -> None:
        self.sessions = sessions or SessionSettings()
        self.retention, self.power_safe = retention or Retention(), power_safe
        self.access: Access | None = None
        """How it signs in at the address of a server; a document says it."""
        self.agents = _by_name(agents)
        self.name, self.names = name, Names(namespace)
        self.ack_wait = to_seconds(ack_wait, "ack_wait")
        self.models = models
        self._default_model = models.default if models is not None else ""
        gateway = gateway_for(self.agents.values(), models, model)
        if gateway is not None:
            self.agents[GATEWAY] = gateway
        declarations = [agent.declaration for agent in self.agents.values()]
        self._subscriptions = subscriptions(declarations)
        self._check()

    @classmethod
    def from_document(cls, document: Document, *, model: Model | None = None) -> App:
        """Return the system that a document declares; `model` as in `App`."""
        app = cls(
            document.agents,
            name=document.name,
            namespace=document.namespace,
            models=document.models,
            model=model,
            retention=document.retention,
            sessions=document.sessions,
            power_safe=document.deployment.power_safe,
        )
        app.access = document.deployment.access
        return app

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, model: Model | None = None) -> App:
        """Return the system that a YAML or JSON file declares.

        Args:
            model: asked instead of the providers, such as a `ScriptedModel` in a test.

        Raises:
            InvalidDocument: the file is wrong; says every finding with its line and column.
            ConfigError: it cannot be read.
        """
        from aixgo.documents import load_document  # needs YAML: only who reads a file pays

        return cls.from_document(load_document(path), model=model)

    @asynccontextmanager
    async def running(
        self,
        broker: str | Broker = "memory",
        *,
        agents: Iterable[str] | None = None,
        provision: bool = True,
        upkeep: bool = True,
        grace: float = DRAIN_SECONDS,
        **options: Any,
    ) -> AsyncGenerator[System, None]:
        """Serve the agents in this process until the block is left; yields the running system.

        Leaving drains: nothing new is taken, what runs gets `grace` seconds, the rest is handed
        over.

        Args:
            broker: `memory`, `embedded`, an address such as `nats://host:4222`, or a connection.
            agents: names of those to serve here; all without it. The others are called over the
                broker.
            provision: declare streams and consumers first; deployed services only bind.
            upkeep: remove old results and look for lost calls as well; one process of a system has
                to.
            options: those of `open_broker`; `access` is the document's, if it is not given.

        Raises:
            ConfigError, BrokerError: before anything runs.
        """
        served = self.served(agents)
        options.setdefault("access", self.access)
        async with AsyncExitStack() as stack:
            connection = (
                await stack.enter_async_context(open_broker(broker, name=self.name, **options))
                if isinstance(broker, str)
                else broker
            )
            if provision:
                await self.provision(connection)
            system = System(self, connection, served, upkeep=upkeep)
            try:
                await system.start()
                yield system
            finally:
                await system.stop(grace)

    async def provision(self, broker: Broker, *, replicas: int = 1) -> list[Any]:
        """Declare the system's streams, buckets and consumers; returns what changed.

        Raises:
            ConfigError: `power_safe` with replicas.
            StreamRefused: what stands cannot be changed so, such as `power_safe`.
        """
        return await provision(
            broker,
            self.names,
            self.needs(),
            replicas=replicas,
            results_bytes=self.retention.max_bytes,
            power_safe=self.power_safe,
        )

    def agent(self, name: str) -> Agent:
        """Return a declared agent.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in self.agents:
            raise ConfigError(f"no agent named {name!r}{did_you_mean(name, self.agents)}")
        return self.agents[name]

    def served(self, names: Iterable[str] | None = None) -> list[str]:
        """Return the agents that a process serves: those named, or all whose worker is ours.

        Raises:
            ConfigError: there is no such agent, or another program serves it.
        """
        if names is None:
            return [name for name, one in self.agents.items() if not one.role_class.elsewhere]
        chosen = [self.agent(name) for name in names]
        for agent in chosen:
            if agent.role_class.elsewhere:
                raise ConfigError(
                    f"agent {agent.name!r} has the role {agent.spec.role!r}: another program "
                    "serves it (subjects.md); start that one, or add a handler to the agent"
                )
        return [agent.name for agent in chosen]

    def needs(self) -> list[AgentNeeds]:
        """Return what the agents ask of the broker."""
        return [
            AgentNeeds(
                name=agent.name,
                concurrency=agent.spec.concurrency,
                sources=self.sources(agent.name),
                foreign=tuple(
                    ForeignStream(stream=one.stream, subject=one.subject, deliver=one.deliver)
                    for one in agent.declaration.listens()
                    if one.stream
                ),
                ack_wait=self.ack_wait,
            )
            for agent in self.agents.values()
        ]

    def sources(self, name: str) -> tuple[str, ...]:
        """Return the agents whose events an agent handles: its `inputs`, and who outputs to it."""
        return self._subscriptions.get(name, ())

    def wiring(self, name: str) -> Wiring:
        """Return how an agent is connected to the others."""
        spec = self.agents[name].spec
        heard = any(name in self.sources(other) for other in self.agents)
        return Wiring(
            default_model=self._default_model,
            sources=self.sources(name),
            publishes=heard or bool(spec.outputs),
            ack_wait=self.ack_wait,
        )

    def _check(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ConfigError: names the agent, the place and the nearest known name.
        """
        declarations = [one.declaration for one in self.agents.values()]
        connect(declarations)
        for declaration, wrong in misfits(declarations):
            where = f"{'.'.join(map(str, wrong.loc))}: " if wrong.loc else ""
            name = declaration.spec.name
            raise ConfigError(
                f"agent {name!r}: {where}{wrong.text.removeprefix(f'agent {name!r}: ')}"
            )


def _by_name(agents: Iterable[Agent]) -> dict[str, Agent]:
    """Return the agents by their names.

    Raises:
        ConfigError: there are none, one is not an agent, or two share a name.
    """
    if isinstance(agents, Agent) or not isinstance(agents, Iterable):
        raise ConfigError(
            f"an App takes a list of agents, not {_described(agents)}; write App(agents=[…])"
        )
    found: dict[str, Agent] = {}
    for agent in agents:
        if not isinstance(agent, Agent):
            name = getattr(agent, "__name__", "name")
            raise ConfigError(
                f"an App takes agents, not {_described(agent)}; write Agent({name!r}, "
                f"{name if callable(agent) else '…'})"
            )
        if agent.name in found:
            raise ConfigError(f"two agents are named {agent.name!r}; names are unique in a system")
        found[agent.name] = agent
    if not found:
        raise ConfigError("an App needs at least one agent: App(agents=[Agent(…)])")
    return found


def _described(value: object) -> str:
    if isinstance(value, Agent):
        return f"the one agent {value.name!r}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__!r}"
    return f"{value!r:.60}"


class System(Client):
    """A running system: a client of all its agents, and the host of those served here."""

    def __init__(
        self, app: App, broker: Broker, served: Sequence[str], *, upkeep: bool = True
    ) -> None:
        super().__init__(broker, app.names, source=app.name)
        self.app = app
        self.services: dict[str, AgentService] = {
            name: AgentService(app.agents[name], self.space, app.wiring(name)) for name in served
        }
        self.space.known.update(app.agents)  # others are looked for when they are called
        self._discovery = Discovery(
            broker,
            app.names,
            service=served[0] if len(served) == 1 else app.name,
            instance=new_id()[-16:],
            version="1.0.0",
            endpoints=lambda: [service.endpoint() for service in self.services.values()],
        )
        subscribers = [name for name in app.agents if app.sources(name)]
        self._sweeper = Sweeper(self.space, app.retention, subscribers)
        self._handled = Handled(self.space, app.agents)
        self._recovery = Recovery(self.space)
        self._expired = ExpiredSessions(self.space)
        self._keeps_up = upkeep
        self._stores = AsyncExitStack()
        self._upkeep: list[asyncio.Task[None]] = []
        self._guard: Callable[[], None] | None = None

    async def start(self) -> None:
        """Start every agent and wait until all are ready.

        Raises:
            NotReady: one is not, within `START_SECONDS`.
            StoreUnavailable, StoreError: of the store of its sessions.
        """
        self._guard = guard(asyncio.get_running_loop())
        if self._keeps_up or set(self.services) - {GATEWAY}:  # the gateway remembers nothing
            opening = open_sessions(self.app.sessions, self.names)
            store = await self._stores.enter_async_context(opening)
            if store is not None:
                self.space.sessions = store
        for service in self.services.values():
            await service.start()
        await self._discovery.start()
        if self._keeps_up:
            self._upkeep = [
                asyncio.create_task(self._sweeper.run(), name="old results"),
                asyncio.create_task(self._handled.run(), name="handled events"),
                asyncio.create_task(self._recovery.run(), name="lost calls"),
                asyncio.create_task(self._expired.run(), name="expired sessions"),
            ]
        loop = asyncio.get_running_loop()
        until = loop.time() + START_SECONDS
        while waiting := [name for name, one in self.services.items() if not one.ready]:
            failed = {n: self.services[n].failure for n in waiting if self.services[n].failure}
            if failed or loop.time() > until:
                name = next(iter(failed), waiting[0])
                raise NotReady(
                    f"agent {name!r} is not ready"
                    + (f": {failed[name]!r}" if failed else f" after {START_SECONDS:g} s")
                )
            await asyncio.sleep(0.01)

    async def stop(self, grace: float = DRAIN_SECONDS) -> None:
        """Drain: take nothing new, finish within `grace` seconds, hand over the rest."""
        await self._discovery.stop()
        upkeep, self._upkeep = self._upkeep, []
        for task in upkeep:
            task.cancel()
        await asyncio.gather(*upkeep, return_exceptions=True)
        # callers first, the gateway last: what still runs may need a model to finish
        first = [one for name, one in self.services.items() if name != GATEWAY]
        await asyncio.gather(*(service.stop(grace) for service in first))
        if GATEWAY in self.services:
            await self.services[GATEWAY].stop(grace)
        await self._stores.aclose()
        release, self._guard = self._guard, None
        if release is not None:
            release()

    async def agents(self) -> list[str]:
        """Return the names of the system's agents, sorted."""
        return sorted(self.app.agents)

    @property
    def failure(self) -> BaseException | None:
        """What ended the `start` of an agent served here, or None."""
        failures = (service.failure for service in self.services.values())
        return next((failure for failure in failures if failure is not None), None)

    def health(self) -> dict[str, bool]:
        """Return whether each agent served here is ready to work."""
        return {name: service.ready for name, service in self.services.items()}

    def metrics(self) -> Metrics:
        """Return what the system did since its start."""
        traffic = self._traffic
        counts = [service.counts for service in self.services.values()]
        return Metrics(
            active_agents=sum(1 for service in self.services.values() if service.ready),
            messages_sent=traffic.sent,
            messages_received=sum(count.received for count in counts),
            calls_succeeded=traffic.succeeded,
            calls_failed=traffic.failed,
            average_call_latency=traffic.latency / max(1, traffic.succeeded),
            without_room=self.space.room.refused,
            dead_letters_lost=self.space.dead_letters.lost,
        )
