"""Kind `agent`: another agent, or an orchestration, as a tool. Using it is a durable call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from aixgo.config.agents import AgentName
from aixgo.config.durations import PositiveDuration
from aixgo.config.tools import LONGEST_SECONDS, ToolBasics
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.json_schema import object_on_top, object_schema
from aixgo.tools.kinds import ToolKind, Workshop
from aixgo.tools.port import Arguments, Steps, ToolSpec

_TEXT = {"type": "string"}


@dataclass(frozen=True, kw_only=True)
class Callee:
    """What the declaration of an agent says to one that uses it as a tool.

    Attributes:
        input_schema: JSON schema of what it takes; empty for anything, which a text is.
    """

    description: str = ""
    input_schema: Mapping[str, Any] = field(default_factory=dict)


class AgentToolOptions(ToolBasics):
    """Another agent, or an orchestration: each use is a durable call of it."""

    type: Literal["agent"]
    """Kind of the tool."""
    agent: AgentName
    """Name of the agent."""
    parameters: dict[str, Any] | None = None
    """JSON schema of each argument, by name; what the agent's own input says without it, and
    `text` for an agent that takes a text."""
    required: tuple[str, ...] | None = None
    """Arguments that must be there; all that have no default without it."""
    timeout: PositiveDuration | None = None
    """Time to wait for the answer; the agent's own without it."""


class AgentKind(ToolKind):
    """Builds tools of kind `agent`."""

    options_model = AgentToolOptions

    @classmethod
    def build(cls, options: AgentToolOptions, workshop: Workshop) -> AgentTool:
        """See `ToolKind.build`."""
        return AgentTool(
            options.agent,
            name=options.name,
            description=options.description,
            parameters=options.parameters,
            required=options.required,
            timeout=options.timeout,
        )


class AgentTool:
    """An agent as a tool of another one (`aixgo.tools.StepsTool`).

    The value is what the agent answers. When it fails for good the use of the tool does, with the
    call's own error.

    Args:
        agent: its name.
        name: of the tool; the agent's without it.
        description: for models and people; the agent's without it.
        parameters: JSON schema of each argument, by name, instead of what the agent's own input
            says.
        required: names of those that must be there; all that have no default without it.
        timeout: seconds to wait for the answer, instead of the agent's own limit.

    Raises:
        ConfigError: the schema cannot be used.
    """

    def __init__(
        self,
        agent: str,
        *,
        name: str = "",
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        required: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._agent, self._timeout, self._description = agent, timeout, description
        self._name = name or agent
        self._own = None if parameters is None else object_schema(parameters, required)
        self._learn(Callee())

    def _learn(self, callee: Callee) -> None:
        wanted = object_on_top(callee.input_schema)
        self._form: Literal["text", "object", "value"] = "text"
        if self._own is not None:
            schema = self._own
            if self._own["properties"] != {"text": _TEXT}:
                self._form = "object"
        elif wanted.get("type") == "object":
            schema, self._form = wanted, "object"
        elif not wanted or wanted.get("type") == "string":
            schema = object_schema({"text": {**_TEXT, "description": "What to tell the agent."}})
        else:
            definitions = wanted.pop("$defs", None)
            schema, self._form = object_schema({"value": wanted}), "value"
            if definitions:
                schema["$defs"] = definitions
        self._input = JsonArguments(self._name, schema)
        self.spec = ToolSpec(
            name=self._name,
            description=self._description or callee.description or f"Asks {self._agent}.",
            effect="once",
            timeout=self._timeout or LONGEST_SECONDS,
            input_schema=self._input.schema,
        )

    def __repr__(self) -> str:
        return f"<tool {self._name!r}: agent {self._agent!r}>"

    @property
    def agents(self) -> tuple[str, ...]:
        """See `StepsTool.agents`."""
        return (self._agent,)

    def bind(self, callees: Mapping[str, Callee]) -> None:
        """Learn from the system's declarations what the agent takes.

        Raises:
            ConfigError: the schema of what it takes cannot be used.
        """
        if self._agent in callees:
            self._learn(callees[self._agent])

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """See `Tool.arguments`."""
        return self._input.decode(payload)

    async def run(self, arguments: Arguments, steps: Steps) -> Any:
        """Call the agent and return the data of its answer."""
        data: Any = dict(arguments)
        if self._form != "object":
            data = arguments[self._form]
        return await steps.call(self._agent, data, timeout=self._timeout)
