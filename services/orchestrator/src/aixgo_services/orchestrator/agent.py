"""`Orchestrator`: an agent whose handler is a pattern over other agents, so patterns nest."""

from __future__ import annotations

from typing import Any

from aixgo import Context, Message, Reply, Role
from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError
from aixgo_services.orchestrator.options import OrchestratorOptions
from aixgo_services.orchestrator.patterns import PATTERNS


class Orchestrator(Role):
    """Runs one pattern. Every call in it is a durable step, so a crash repeats no finished one.

    Raises:
        ConfigError: it names itself, or more agents than `limits.max_agents`.
    """

    options_model = OrchestratorOptions

    def __init__(self, spec: AgentSpec, options: Any) -> None:
        super().__init__(spec, options)
        self._config = options.config()
        self._run = PATTERNS[options.pattern].run
        named, limit = self._config.calls(), spec.limits.max_agents
        if len(named) > limit:
            raise ConfigError(
                f"agent {spec.name!r}: its pattern names {len(named)} agents, over "
                f"`limits.max_agents` of {limit}; raise the limit or split the pattern in two"
            )
        if spec.name in named:
            raise ConfigError(
                f"agent {spec.name!r}: its pattern calls the agent {spec.name!r} itself, which "
                "would never end; name another agent"
            )

    def calls(self) -> tuple[str, ...]:
        """Return the agents that the pattern may call."""
        return tuple(dict.fromkeys(self._config.calls()))

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Run the pattern on the message.

        Raises:
            PatternError: the pattern could not finish; each says which agent and why.
        """
        return await self._run(self._config, message, ctx)
