"""The sequential pattern: the output of each step is the input of the next."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aixgo import Context, Message, Reply
from aixgo.config.agents import AgentName
from aixgo.errors import PatternError, RemoteError
from aixgo_services.orchestrator.patterns.pattern import PatternOptions, payload_of, used


class SequentialOptions(PatternOptions):
    """Keys of the sequential pattern."""

    pattern: Literal["sequential"]
    """Passes each message through agents, one after the other."""
    agents: tuple[AgentName, ...] = Field(min_length=1)
    """Agents in their order; one may come more than once."""

    def calls(self) -> tuple[str, ...]:
        """Return every step's agent."""
        return self.agents


class StepFailed(PatternError):
    """A step of a sequence failed.

    Attributes:
        index: position of the step, from 0.
        agent: agent of the step.
        cause: `code` of the step's own error.
    """

    code = "step_failed"

    def __init__(self, index: int, agent: str, cause: str, text: str) -> None:
        self.index, self.agent, self.cause = index, agent, cause
        super().__init__(f"step {index} ({agent!r}) failed: {text}")


async def sequential(config: SequentialOptions, message: Message, ctx: Context) -> Reply:
    """Pass the message through the agents, one after the other.

    Every step gets the caller's metadata with that of the step before on top. The reply is the
    last step's, with `pattern`, `step_count`, `cost_usd` and `tokens_total` added.

    Raises:
        StepFailed: a step failed for good; the steps after it are not made.
    """
    current = message
    for index, agent in enumerate(config.agents):
        try:
            current = await ctx.call(
                agent,
                payload_of(current),
                key=str(index),
                meta={**message.meta, **current.meta},
            )
        except RemoteError as error:
            raise StepFailed(index, agent, error.cause, str(error)) from error
    return Reply(
        current, meta={"pattern": "sequential", "step_count": len(config.agents), **used(ctx)}
    )
