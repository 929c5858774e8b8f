"""What a react agent is told: how long it may act, what needs a person, who checks its answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aixgo.agents.output import Output
from aixgo.config.agents import Options
from aixgo.config.tools import Effect, ToolName
from aixgo.steps.answers import MOST_RETRIES, RETRIES

ITERATIONS = 10
"""Answers of the model in one run, of an agent that says nothing else."""


class ByEffect(Options):
    """Every tool with this effect."""

    effect: Effect
    """`read`, `idempotent` or `once`."""


Confirm = Literal["all"] | bool | tuple[ToolName | ByEffect, ...]
"""All tools, none, or those named or of an effect."""


class GuidedConfig(Options):
    """A second look at each answer, before it is given."""

    enabled: bool = False
    """Ask the model whether its answer does what was asked, and let it go on when it does not."""
    max_iterations: int = Field(default=5, ge=1, le=100)
    """Instead of the agent's own `max_iterations`."""
    verification_prompt: str = ""
    """How the answer is judged; without it, by whether it is complete and fits the question."""
    require_confirmation: Confirm = False
    """The same as the agent's own `require_confirmation`."""


class ContextOptions(Options):
    """How much a request to the model may have, and what goes when it is too much."""

    max_tokens: int | None = Field(default=None, ge=200)
    """Tokens of one request: prompt, tools, what was said before and the message; the answer is not
    counted. They are estimated, rather too many than too few, and corrected by what the model
    counted of the run's requests before. Without it everything is sent."""
    strategy: Literal["trim", "summarise"] = "trim"
    """`trim` leaves out the oldest exchanges. `summarise` puts a summary, by the agent's model, in
    their place, which the session remembers. In a long run old uses of tools are left out."""
    keep: int = Field(default=2, ge=0)
    """Messages at the end that are always sent as they are."""
    pinned: int = Field(default=0, ge=0)
    """Messages at the beginning of the conversation that are always sent as they are."""


class ReactOptions(Options):
    """What a react agent takes besides `model`, `prompt`, `tools` and what every agent has."""

    stream: bool = True
    """Publish the answer's tokens while the model writes them; the result is the same."""
    max_iterations: int = Field(default=ITERATIONS, ge=1, le=100)
    """Answers of the model in one run; the last one may no longer ask for tools."""
    tool_choice: Literal["auto", "required"] = "auto"
    """Whether the model must use a tool in its first answer (`required`) or may (`auto`)."""
    require_confirmation: Confirm = False
    """Tools that a person has to allow before each use: `all`, or a list of names and of effects
    (`{effect: once}`). The run is parked until that person says yes, no, or what other
    arguments to use."""
    guided_config: GuidedConfig = GuidedConfig()
    """A second look at each answer."""
    context: ContextOptions = ContextOptions()
    """What is sent of a long conversation."""
    output: Output = None
    """What the answer must be: a JSON schema, or a type as `module:Type`. The agent then answers
    with data that satisfies it, instead of text."""
    max_retries: int = Field(default=RETRIES, ge=0, le=MOST_RETRIES)
    """Further answers that are asked for when one does not fit `output`."""

    @property
    def iterations(self) -> int:
        """The limit that holds."""
        guided = self.guided_config
        return guided.max_iterations if guided.enabled else self.max_iterations

    @property
    def confirm(self) -> Confirm:
        """What needs a person; the wider of the two places where it can be said."""
        own, guided = self.require_confirmation, self.guided_config.require_confirmation
        if isinstance(own, tuple) and isinstance(guided, tuple):
            return own + guided
        return own or guided
