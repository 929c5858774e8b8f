"""The sequential pattern: the output of each step is the input of the next."""

from __future__ import annotations

from pydantic import Field

from aixgo import Context, Message, Reply
from aixgo.config.agents import AgentName
from aixgo.errors import RemoteError, StepFailed
from aixgo_services.orchestrator.patterns._shared import PatternConfig, payload_of, used


class SequentialConfig(PatternConfig):
    """Keys of the sequential pattern."""

    agents: tuple[AgentName, ...] = Field(min_length=1)
    """Agents in their order; one may come more than once."""

    def calls(self) -> tuple[str, ...]:
        """Return every step's agent."""
        return self.agents


async def sequential(config: SequentialConfig, message: Message, ctx: Context) -> Reply:
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
