"""The tool port: what can be done to the world, and what may happen when it is done twice."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, get_args

import msgspec

from aixgo.clock import now
from aixgo.config.agents import Retry
from aixgo.config.tools import MAX_RESULT_BYTES, Effect
from aixgo.errors import ConfigError

__all__ = [
    "EFFECTS",
    "AnyTool",
    "Arguments",
    "Connected",
    "Done",
    "Effect",
    "NotDone",
    "Resolution",
    "Steps",
    "StepsTool",
    "Tool",
    "ToolContext",
    "ToolSource",
    "ToolSpec",
    "Unknown",
]

EFFECTS: tuple[str, ...] = get_args(Effect)

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """The declaration of a tool.

    Attributes:
        name: 1 to 100 characters of A-Z, a-z, 0-9, '_', ':' and '-'.
        description: what it does, for models and people.
        effect: see `Effect`.
        timeout: seconds for one execution.
        retry: what happens after an execution that failed and may be repeated.
        input_schema: JSON schema of the arguments, an object.
        output_schema: JSON schema of the value; empty for anything.
        cache: seconds for which a value is given again to the same agent and session for the same
            arguments, in this process; 0 for never. Only of `read` tools.
        concurrency: executions at once in this process; 0 for no limit.
        max_result: longest value as JSON, in bytes, 0 for no limit; a longer one becomes a text
            that is cut and says so.
        asks: it may return `NeedsAnswers` instead of a value.

    Raises:
        ConfigError: a tool that acts has a `cache`.
    """

    name: str
    description: str
    effect: Effect
    timeout: float
    retry: Retry = field(default_factory=Retry)
    input_schema: dict[str, Any] = field(default_factory=dict)
    output_schema: dict[str, Any] = field(default_factory=dict)
    cache: float = 0.0
    concurrency: int = 0
    max_result: int = MAX_RESULT_BYTES
    asks: bool = False

    def __post_init__(self) -> None:
        if self.cache and self.effect != "read":
            raise ConfigError(
                f"tool {self.name!r} has effect {self.effect!r} and a `cache`, which would leave "
                "out an execution that acts; leave `cache` out, or declare effect 'read' if a "
                "second execution does nothing"
            )


@dataclass(frozen=True, kw_only=True)
class ToolContext:
    """What an execution of a tool knows of its step; given to a parameter annotated with it.

    Attributes:
        run_id, step: the step; its path inside the run.
        agent: who uses the tool.
        tool: name of the tool.
        idempotency_key: at most 65 characters, the same in every execution of the step and of no
            other step: for a far side that drops doubles by key.
        attempt: executions of the step so far, this one included, as far as they are recorded.
        deadline: Unix seconds at which this execution is ended.
        log: every record carries the agent, the run, the step and the tool.
        answers: of people, by the names of the questions that the execution before this one asked;
            None for a question that was declined.
        state: what that execution wanted to be given back.
    """

    run_id: str
    step: str
    agent: str
    tool: str
    idempotency_key: str
    attempt: int
    deadline: float
    log: logging.LoggerAdapter[logging.Logger]
    answers: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)
    state: str = ""

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, never below 0."""
        return max(0.0, self.deadline - now())


@dataclass(frozen=True)
class Done:
    """The effect took place, with this value."""

    value: Any = None


@dataclass(frozen=True)
class NotDone:
    """The effect did not take place and will not: the tool may be executed again."""


@dataclass(frozen=True)
class Unknown:
    """No program can tell; a person is asked."""

    reason: str = ""


Resolution = Done | NotDone | Unknown
"""What a `reconcile` hook answers."""

Arguments = Mapping[str, Any]
"""Arguments by parameter, of the parameters' types."""


class Tool(Protocol[T_co]):
    """Something that an agent can do: arguments in, a value out; the runtime makes it a step."""

    @property
    def spec(self) -> ToolSpec:
        """Its declaration."""
        ...

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """Return the arguments in a JSON text; nothing has been executed yet.

        Raises:
            InvalidPayload: they do not fit; names the place.
        """
        ...

    async def execute(self, arguments: Arguments, ctx: ToolContext) -> Any:
        """Do it; returns a JSON-able value, or with `spec.asks` perhaps a `NeedsAnswers`.

        Raises:
            ToolNotDone: nothing happened, for sure.
            Exception: anything else; whether it happened is not known.
        """
        ...

    async def reconcile(self, arguments: Arguments, ctx: ToolContext) -> Resolution:
        """Find out whether an execution took place whose end was not seen.

        `Unknown` when the tool cannot.
        """
        ...

    def read(self, body: bytes) -> T_co:
        """Return a recorded value as the tool's result type.

        Raises:
            InvalidPayload: it does not fit.
        """
        ...


class Connected(ABC):
    """A tool that keeps connections while agents that have it are served.

    It works outside of that time too, with connections for one execution.
    """

    @abstractmethod
    async def open(self) -> None:
        """Keep connections from now on; counted, so it is closed after as many `close`."""

    @abstractmethod
    async def close(self) -> None:
        """Close them when this was the last user."""


class Steps(Protocol):
    """What a tool that is made of steps may do, below its own place in the run."""

    async def call(
        self, agent: str, data: Any = None, *, key: str = "", timeout: float | None = None
    ) -> Any:
        """Call an agent and return the data of its result; see `Context.call`."""
        ...

    async def tool(
        self,
        tool: AnyTool | str,
        arguments: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        timeout: float | None = None,
    ) -> Any:
        """Execute a tool, or one of the agent's by its name; see `Context.tool`."""
        ...


class StepsTool(Protocol[T_co]):
    """A tool that executes nothing itself and is made of durable steps: another agent, a chain.

    It is run in the handler, also when a crashed run is executed again; its finished steps return
    what is recorded of them. So `spec.effect`, `retry`, `cache` and `concurrency` mean nothing
    here: they are those of its steps.
    """

    @property
    def spec(self) -> ToolSpec:
        """Its declaration."""
        ...

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents that it may call."""
        ...

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """See `Tool.arguments`."""
        ...

    async def run(self, arguments: Arguments, steps: Steps) -> Any:
        """Take the steps; returns a JSON-able value.

        Raises:
            ToolFailed, CallError: a step failed for good.
        """
        ...


AnyTool = Tool[Any] | StepsTool[Any]
"""What an agent can use: executed as one step, or made of steps."""


class ToolSource(Protocol):
    """Tools that are known at run time only: those of an MCP server, of an OpenAPI document.

    One source serves every agent of a process that names it, over one connection.
    """

    @property
    def name(self) -> str:
        """Name of the source; its tools are named `<source>:<tool>`."""
        ...

    async def open(self) -> None:
        """Begin to connect, and to stay connected, with back-off; returns at once.

        Counted: it is closed after as many `close`. Never fails for a far side that is away.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection when this was the last user."""
        ...

    async def tools(self) -> Mapping[str, AnyTool]:
        """Return its tools by their full name, as the far side told them last.

        Waits a bounded time for the first connection.

        Raises:
            ToolUnavailable: it was never reached; names the source, the address and the cause.
        """
        ...
