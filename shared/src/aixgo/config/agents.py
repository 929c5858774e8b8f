"""What people declare of an agent, in Python and in YAML alike.

Unknown keys are errors. Keys that belong to a role (a classifier's `categories`) are checked by the
role's own model; `aixgo.agents.agent.Agent` brings the two together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from aixgo.config.durations import Duration, PositiveDuration
from aixgo.config.hooks import HookSpecs
from aixgo.config.memory import MemorySpec
from aixgo.config.options import Options
from aixgo.errors import by_code

__all__ = ["AgentName", "AgentSpec", "Input", "Limits", "OnFull", "Options", "Output", "Retry"]

AgentName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
"""1 to 32 characters of A-Z, a-z, 0-9, '_' and '-': the name is a token of the agent's subjects."""


OnFull = Literal["wait", "error"]
"""What a publisher of an event does that finds no room for it."""


class Retry(Options):
    """How often and when a failed call runs again."""

    max_attempts: int = Field(default=3, ge=1, le=15)
    """Executions in all, the first one included."""
    max_deaths: int = Field(default=5, ge=1, le=100)
    """Processes that may die with one call at work, one after the other and without a new finished
    step, before it is given up. It uses up no `max_attempts`."""
    initial_backoff: PositiveDuration = 1.0
    """Wait before the second execution; the real wait is random between half of it and it."""
    max_backoff: PositiveDuration = 30.0
    """Longest wait between two executions."""
    multiplier: float = Field(default=2.0, ge=1.0, le=100.0)
    """How much longer each wait is than the one before."""
    retry_on: tuple[str, ...] = ()
    """Error classes to retry, instead of all that are marked retryable: codes such as
    `rate_limited` or `model_timeout`, names of exception classes, or `any`."""

    @field_validator("retry_on")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        codes = by_code()
        for name in names:
            if name in codes or name in ("any", "timeout") or name[:1].isupper():
                continue
            raise ValueError(
                f"{name!r} is not an error class; use a code ({', '.join(sorted(codes))}), "
                "the name of an exception class such as ValueError, or any"
            )
        return names

    @model_validator(mode="after")
    def _ordered(self) -> Retry:
        if self.initial_backoff > self.max_backoff:
            raise ValueError(
                f"initial_backoff {self.initial_backoff:g} s is over max_backoff "
                f"{self.max_backoff:g} s; raise max_backoff or lower initial_backoff"
            )
        return self


class Input(Options):
    """An agent whose events this agent handles."""

    source: AgentName
    """Name of the publishing agent."""


class Output(Options):
    """An agent that handles this agent's events."""

    target: AgentName
    """Name of the subscribing agent."""


class Limits(Options):
    """Ceilings of one run of an agent; each is enforced."""

    timeout: PositiveDuration = 300.0
    """Time for one execution of the agent and everything below it."""
    max_agents: int = Field(default=100, ge=1)
    """Agents that a pattern may name."""
    max_depth: int = Field(default=10, ge=1)
    """Calls nested in each other, and events that led to each other."""
    max_tokens: int = Field(default=100_000, ge=1)
    """Tokens that one run of the agent and everything below it may use; for an event, those of the
    events that led to it count too."""


class SessionSpec(Options):
    """What an agent remembers of the sessions that its callers name."""

    keep: bool = True
    """Whether it remembers at all; without, each message is answered alone."""
    ttl: PositiveDuration | None = None
    """Time after its last message for which a conversation is kept; without it, until it is
    removed."""


class AgentSpec(Options):
    """The part of an agent's declaration that every role shares."""

    name: AgentName
    """Token of the agent's subjects, unique in the system."""
    role: str = ""
    """Role that defines the behaviour: an installed one, or `module:Class` for a class of your own.
    `custom`, or none, for an agent with its own handler."""
    handler: str = ""
    """`module:function` of the agent's own handler. The module is looked for in the document's
    directory first, then among the installed packages."""
    description: str = ""
    """What it does, for people and for agents that choose among agents."""
    model: str | tuple[str, ...] = ""
    """`provider/model`; empty takes the default model. Of a list, the next model is asked where one
    does not answer."""
    fallback_on: tuple[Literal["outage", "rate_limit", "refusal", "context"], ...] = ()
    """After what the next model of the list is asked: an outage, a rate limit, a refusal by a
    content policy, a prompt that is too long for it. Without it, after the first two."""
    provider: str = ""
    """Provider of `model` when that has no `provider/` of its own."""
    api_key: SecretStr | None = None
    """Key for this agent's model calls; only the model gateway reads it."""
    endpoint: str = Field(default="", pattern=r"^(https?://.+)?$")
    """Base URL of the agent's model server (OpenAI-compatible)."""
    prompt: str = ""
    """System prompt."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature of its model calls."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest answer of one of its model calls, in tokens."""
    on_unsupported: Literal["error", "drop"] | None = None
    """What becomes of a field that its model does not take, such as `temperature`: an `error`, or
    it is left out and logged (`drop`); without it, what the section `models` says."""
    timeout: PositiveDuration | None = None
    """Time for one execution, whatever the caller's deadline; without it `limits.timeout` holds."""
    interval: Duration | None = None
    """Time between two events of a producer."""
    inputs: tuple[Input, ...] = ()
    """Agents whose events it handles."""
    outputs: tuple[Output, ...] = ()
    """Agents that handle its events."""
    on_full: OnFull = "wait"
    """When its subscribers are so far behind that there is no room for another event: `wait` for
    room, up to a minute, or an `error` at once. No event is dropped for a new one."""
    retry: Retry = Retry()
    """What happens after a failed execution."""
    concurrency: int = Field(default=64, ge=1, le=10_000)
    """Calls that all instances of the agent together work on at once."""
    exclusive: bool = False
    """Claim each call before it is executed, so that no second instance works on it meanwhile. For
    costly calls; a takeover takes up to two seconds longer."""
    limits: Limits = Limits()
    """Ceilings of one run."""
    session: SessionSpec = SessionSpec()
    """What it remembers of the sessions that its callers name."""
    memory: MemorySpec = MemorySpec()
    """How it remembers texts by what they mean, where its handler does (`ctx.memory`)."""
    hooks: HookSpecs = HookSpecs()
    """What looks at the agent's steps before and after them, and may change or refuse them."""

    @field_validator("model")
    @classmethod
    def _models_differ(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return value
        if not value or not all(value):
            raise ValueError("a list of models names at least one; write [provider/model, …]")
        if len({*value}) < len(value):
            raise ValueError("a model is in the list twice; a second try is its own `max_attempts`")
        return value

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models in the order in which they are asked; none for the default model."""
        given = (self.model,) if isinstance(self.model, str) else self.model
        prefix = f"{self.provider}/" if self.provider else ""
        names = (name if name.startswith(prefix) else prefix + name for name in given)
        return tuple(filter(None, names))

    @property
    def model_name(self) -> str:
        """`provider/model` that is asked first, or empty for the default model."""
        return self.model_names[0] if self.model_names else ""
