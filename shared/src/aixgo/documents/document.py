"""What a valid document says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from aixgo.agents.agent import Agent
from aixgo.config.agents import AgentName, Options
from aixgo.config.deployment import Deployment
from aixgo.config.retention import Retention
from aixgo.config.sessions import SessionSettings
from aixgo.config.suggest import did_you_mean
from aixgo.documents.source import Loc, Tree
from aixgo.errors import ConfigError
from aixgo.models.bus import GATEWAY
from aixgo.models.settings import ModelSettings
from aixgo.tools.declared import DeclaredTools

VERSION = 2
"""The version of documents that this code reads."""

ORCHESTRATOR = "orchestrator"
"""Role of the agents that `orchestration:` declares."""


class Header(Options):
    """Everything of a document but its agents."""

    version: Literal[2]
    """Version of the document's form: 2."""
    name: AgentName = "app"
    """Name of the system in discovery and logs."""
    namespace: AgentName = "default"
    """Keeps systems on one broker apart."""
    deployment: Deployment = Deployment()
    """Where the system runs."""
    models: ModelSettings = Field(default_factory=ModelSettings)
    """The default model, and what the providers need."""
    retention: Retention = Retention()
    """How long the results of finished runs are kept."""
    sessions: SessionSettings = SessionSettings()
    """Where conversations are kept."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A system as a document declares it; validated, nothing started.

    Attributes:
        source: name of the file.
        agents: as written, then the orchestrations.
        tools: what it declares by name in `tools:` and `mcp_servers:`.
        orchestrations: names of the agents that `orchestration:` declares.
        tree: the values as written, with their lines and columns.
        places: by agent, the path of its declaration in it.
    """

    source: str
    name: str
    namespace: str
    deployment: Deployment
    models: ModelSettings
    agents: tuple[Agent, ...]
    retention: Retention = field(default_factory=Retention)
    sessions: SessionSettings = field(default_factory=SessionSettings)
    tools: DeclaredTools = field(default_factory=DeclaredTools, repr=False, compare=False)
    orchestrations: tuple[str, ...] = ()
    tree: Tree | None = field(default=None, repr=False, compare=False)
    places: Mapping[str, Loc] = field(default_factory=dict, repr=False, compare=False)

    @property
    def names(self) -> list[str]:
        """Names of the agents, in the order of the document."""
        return [agent.name for agent in self.agents]

    def entry(self, name: str = "") -> str:
        """Return the agent that takes messages from outside: `name`, or the one that can be meant.

        Without a name it is the orchestration, else the only agent that answers calls.

        Raises:
            ConfigError: no such agent, or several could be meant; names them.
        """
        callable_ = [
            agent.name
            for agent in self.agents
            if agent.role_class.style != "reactive" and agent.name != GATEWAY
        ]
        if name:
            if name not in self.names:
                raise ConfigError(
                    f"{self.source} has no agent {name!r}{did_you_mean(name, self.names)}"
                )
            return name
        choices = list(self.orchestrations) or callable_
        if len(choices) == 1:
            return choices[0]
        if not choices:
            raise ConfigError(
                f"{self.source} has only agents that produce events, so none takes a message; "
                "run it without an input"
            )
        raise ConfigError(
            f"{self.source} has {len(choices)} agents that could take the message: "
            f"{', '.join(choices)}; choose one with --agent"
        )
