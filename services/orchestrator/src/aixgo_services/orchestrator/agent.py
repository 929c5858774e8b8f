"""`Orchestrator`: an agent whose handler is a pattern over other agents, so patterns nest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict

from aixgo import Context, Message, Reply, Role
from aixgo.config.agents import AgentSpec, Options
from aixgo.errors import ConfigError
from aixgo.models import ChatMessage
from aixgo.payloads import to_payload
from aixgo_services.orchestrator.patterns import PATTERNS
from aixgo_services.orchestrator.patterns.pattern import PatternOptions


class SomePattern(Options):
    """The keys of an orchestrator whose pattern is missing or not known: any."""

    model_config = ConfigDict(extra="allow")

    pattern: Literal[tuple(PATTERNS)]  # type: ignore[valid-type]  # mypy wants the names written out
    """Which pattern it runs."""


class Orchestrator(Role):
    """Runs one pattern. Every call in it is a durable step, so a crash repeats no finished one.

    Raises:
        ConfigError: the pattern names more agents than `limits.max_agents`.
    """

    options_model = PatternOptions

    def __init__(self, spec: AgentSpec, options: PatternOptions) -> None:
        super().__init__(spec, options)
        self._run = PATTERNS[options.pattern].run
        named, limit = options.calls(), spec.limits.max_agents
        if len(named) > limit:
            raise ConfigError(
                f"agent {spec.name!r}: its pattern names {len(named)} agents, over "
                f"`limits.max_agents` of {limit}; raise the limit or split the pattern in two"
            )

    @classmethod
    def options_for(cls, given: Mapping[str, Any]) -> type[Options]:
        """Return the keys of the declared pattern."""
        name = given.get("pattern")
        pattern = PATTERNS.get(name) if isinstance(name, str) else None
        return SomePattern if pattern is None else pattern.options

    @classmethod
    def options_models(cls) -> tuple[type[Options], ...]:
        """Return the keys of every pattern."""
        return tuple(pattern.options for pattern in PATTERNS.values())

    def calls(self) -> tuple[str, ...]:
        """Return the agents that the pattern may call."""
        return tuple(dict.fromkeys(self.options.calls()))

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Run the pattern on the message; a session remembers both it and the reply.

        Raises:
            PatternError: the pattern could not finish; each says which agent and why.
        """
        reply, session = await self._run(self.options, message, ctx), ctx.session
        if session:
            said = ChatMessage(role="user", content=message.text)
            await session.append(said, ChatMessage(role="assistant", content=_text(reply.data)))
        return reply


def _text(data: Any) -> str:
    """Return what a reply says: its text, or its JSON."""
    if isinstance(data, Message):
        return data.text
    return data if isinstance(data, str) else bytes(to_payload(data)).decode()
