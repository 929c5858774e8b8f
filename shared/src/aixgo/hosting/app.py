"""`App`: the agents of a system, and `running()` them over any broker in this process."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aixgo.agents.agent import Agent
from aixgo.agents.declaration import Declaration
from aixgo.agents.model_gateway import ModelGateway
from aixgo.agents.role import NoOptions
from aixgo.agents.system import misfits, subscriptions
from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker
from aixgo.broker.topology import ACK_WAIT_SECONDS, AgentNeeds, provision
from aixgo.calls.upkeep.recovery import Recovery
from aixgo.calls.upkeep.retention import Sweeper
from aixgo.client import Client
from aixgo.config.agents import AgentSpec, Retry
from aixgo.config.retention import Retention
from aixgo.config.suggest import did_you_mean
from aixgo.envelope import new_id
from aixgo.errors import ConfigError, NotReady
from aixgo.hosting.agent_service import AgentService, Wiring
from aixgo.hosting.discovery import Discovery
from aixgo.models.bus import GATEWAY
from aixgo.models.port import Model
from aixgo.subjects import Names

if TYPE_CHECKING:
    from aixgo.documents import Document
    from aixgo.models.settings import ModelSettings

log = logging.getLogger("aixgo.hosting.app")

DRAIN_SECONDS = 25.0
"""Time to finish held work; Kubernetes kills after 30 s, and five are kept to say good-bye."""

START_SECONDS = 30.0
"""Time in which every agent must become ready."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a system did since its start.

    `average_call_latency` is seconds from a call to its result, over the calls that succeeded.
    """

    active_agents: int
    messages_sent: int
    messages_received: int
    calls_succeeded: int
    calls_failed: int
    average_call_latency: float


class App:
    """A system of agents: declared once, run over any broker.

    A model gateway is added when an agent may call models and none is declared.

    Args:
        agents: at least one; names are unique.
        name: of the service in discovery.
        namespace: token that keeps systems on one broker apart.
        models: settings of the model gateway.
        model: a `Model` that the gateway uses instead of providers, such as a `ScriptedModel`.
        ack_wait: seconds after which a dead instance's work goes to another one.
        retention: how long results of finished runs are kept.
        power_safe: fewer writes for the same safety, on a server with `sync_interval: always`: the
            queue of calls is written behind, and what it must not lose is noted before.

    Raises:
        ConfigError: two agents share a name, or one names an agent that is not there.
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
        power_safe: bool = False,
    ) -> None:
        self.retention, self.power_safe = retention or Retention(), power_safe
        self.agents: dict[str, Agent] = {}
        for agent in agents:
            if agent.name in self.agents:
                raise ConfigError(
                    f"two agents are named {agent.name!r}; names are unique in a system"
                )
            self.agents[agent.name] = agent
        if not self.agents:
            raise ConfigError("an App needs at least one agent: App(agents=[Agent(…)])")
        self.name, self.names, self.ack_wait = name, Names(namespace), ack_wait
        self.models = models
        self._default_model = models.default if models is not None else ""
        gateway = self._gateway(models, model)
        if gateway is not None:
            self.agents[GATEWAY] = gateway
        declarations = [agent.declaration for agent in self.agents.values()]
        self._subscriptions = subscriptions(declarations)
        self._check()

    @classmethod
    def from_document(cls, document: Document) -> App:
        """Return the system that a document declares."""
        return cls(
            document.agents,
            name=document.name,
            namespace=document.namespace,
            models=document.models,
            retention=document.retention,
            power_safe=document.deployment.power_safe,
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> App:
        """Return the system that a YAML or JSON file declares.

        Raises:
            InvalidDocument: the file is wrong; says every finding with its line and column.
            ConfigError: it cannot be read.
        """
        from aixgo.documents import load_document  # needs YAML: only who reads a file pays

        return cls.from_document(load_document(path))

    @asynccontextmanager
    async def running(
        self,
        broker: str | Broker = "memory",
        *,
        agents: Iterable[str] | None = None,
        provision: bool = True,
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
            options: those of `open_broker`.

        Raises:
            ConfigError, BrokerError: before anything runs.
        """
        served = list(self.agents) if agents is None else [self.agent(name).name for name in agents]
        async with AsyncExitStack() as stack:
            connection = (
                await stack.enter_async_context(open_broker(broker, name=self.name, **options))
                if isinstance(broker, str)
                else broker
            )
            if provision:
                await self.provision(connection)
            system = System(self, connection, served)
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

    def needs(self) -> list[AgentNeeds]:
        """Return what the agents ask of the broker."""
        return [
            AgentNeeds(
                name=agent.name,
                concurrency=agent.spec.concurrency,
                sources=self.sources(agent.name),
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

    def _gateway(self, models: ModelSettings | None, model: Model | None) -> Agent | None:
        if model is not None:
            if GATEWAY in self.agents:
                raise ConfigError(
                    f"the agent {GATEWAY!r} is declared and `model` is given; leave out one of them"
                )
            return given_gateway(model)
        if GATEWAY in self.agents:
            return None
        wanted = any(
            agent.role_class.calls_models or agent.spec.model_name for agent in self.agents.values()
        )
        if not wanted and not self._default_model:
            return None
        keys = {
            agent.name: {
                "api_key": agent.spec.api_key,
                "model": agent.spec.model_name,
                "endpoint": agent.spec.endpoint,
            }
            for agent in self.agents.values()
            if agent.spec.api_key is not None
        }
        options: dict[str, Any] = {} if models is None else {"settings": models}
        if keys:
            options["agent_keys"] = keys
        return Agent(GATEWAY, role=GATEWAY, retry=Retry(max_attempts=1), **options)

    def _check(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ConfigError: names the agent, the place and the nearest known name.
        """
        for declaration, wrong in misfits([one.declaration for one in self.agents.values()]):
            where = f"{'.'.join(map(str, wrong.loc))}: " if wrong.loc else ""
            name = declaration.spec.name
            raise ConfigError(
                f"agent {name!r}: {where}{wrong.text.removeprefix(f'agent {name!r}: ')}"
            )


def given_gateway(model: Model) -> Agent:
    """Return a gateway agent around a model that somebody made already."""

    class Given(ModelGateway):
        def __init__(self, spec: AgentSpec, options: Any) -> None:
            super().__init__(spec, options, model)

    spec = AgentSpec(name=GATEWAY, role=GATEWAY, retry=Retry(max_attempts=1))
    return Agent.declared(Declaration(spec=spec, options=NoOptions(), role=Given))


class System(Client):
    """A running system: a client of all its agents, and the host of those served here."""

    def __init__(self, app: App, broker: Broker, served: Sequence[str]) -> None:
        super().__init__(broker, app.names, source=app.name)
        self.app = app
        self.services: dict[str, AgentService] = {
            name: AgentService(app.agents[name], self.space, app.wiring(name)) for name in served
        }
        self._known = set(app.agents)
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
        self._recovery = Recovery(self.space)
        self._upkeep: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start every agent and wait until all are ready.

        Raises:
            NotReady: one is not, within `START_SECONDS`.
        """
        for service in self.services.values():
            await service.start()
        await self._discovery.start()
        self._upkeep = [
            asyncio.create_task(self._sweeper.run(), name="old results"),
            asyncio.create_task(self._recovery.run(), name="lost calls"),
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

    async def agents(self) -> list[str]:
        """Return the names of the system's agents, sorted."""
        return sorted(self.app.agents)

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
        )
