"""`Agent`: the declaration of an agent, the same in Python and in YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr, ValidationError

from aixgo.agents.handler import Handler, HandlerRole, HandlerShape
from aixgo.agents.role import Role, find_role
from aixgo.config.agents import AgentSpec, Limits, Options, Retry
from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.tools.port import Tool
from aixgo.tools.toolbox import NO_TOOLS, Toolbox

CUSTOM = "custom"
"""Role of an agent whose behaviour is a handler of the user's own."""


class Agent:
    """A named agent: a role that is installed, or a handler of your own.

    A handler is an async function of a message, and of a `Context` if it wants one. Its annotations
    say what it takes and gives: `Message`, `str`, JSON values, pydantic models, msgspec Structs or
    dataclasses; what does not fit is refused before it runs.

    Everything is checked here, before anything starts.

    Args:
        name: token of the agent's subjects: 1 to 32 characters of A-Z, a-z, 0-9, '_' and '-'.
        handler: the behaviour; the role is then `custom`.
        role: an installed role, such as `react` or `classifier`.
        tools: what the handler may use with `ctx.tool`; functions with `@tool`.
        options: every other field of `AgentSpec` (`model`, `prompt`, `temperature`, `max_tokens`,
            `timeout`, `inputs`, `outputs`, `retry`, `exclusive`, …) and the role's own options.

    Raises:
        ConfigError: a name, role or option is missing, unknown or out of its limits.
    """

    def __init__(
        self,
        name: str = "",
        handler: Handler | None = None,
        *,
        role: str = "",
        model: str = "",
        prompt: str = "",
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | str | None = None,
        api_key: str | SecretStr | None = None,
        inputs: Sequence[str | dict[str, Any]] = (),
        outputs: Sequence[str | dict[str, Any]] = (),
        retry: Retry | dict[str, Any] | None = None,
        limits: Limits | dict[str, Any] | None = None,
        concurrency: int | None = None,
        tools: Sequence[Tool[Any]] = (),
        **options: Any,
    ) -> None:
        if not name:
            raise ConfigError("an agent needs a name: Agent(name='triage', …)")
        if handler is None and not role:
            raise ConfigError(
                f"agent {name!r} needs a role (such as 'react') or a handler of its own"
            )
        if handler is not None and role not in ("", CUSTOM):
            raise ConfigError(
                f"agent {name!r} has a handler and the role {role!r}; give it one of the two"
            )
        if handler is None and role == CUSTOM:
            raise ConfigError(
                f"agent {name!r} has the role 'custom' but no handler: Agent({name!r}, handler)"
            )
        given: dict[str, Any] = {
            "name": name,
            "role": role or CUSTOM,
            "model": model or None,
            "prompt": prompt or None,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "timeout": timeout,
            "api_key": api_key,
            "inputs": _edges(inputs, "source"),
            "outputs": _edges(outputs, "target"),
            "retry": retry,
            "limits": limits,
            "concurrency": concurrency,
        }
        given = {key: value for key, value in given.items() if value not in (None, ())} | options
        if tools and handler is None:  # a role says itself whether it takes any
            given["tools"] = tools
        self.tools = Toolbox(name, tools if handler is not None else ())
        self.role_class = HandlerRole if handler is not None else find_role(role)
        self.spec, self.options = split_options(self.role_class, given)
        self._shape = None if handler is None else HandlerShape(name, handler)

    @classmethod
    def declared(cls, spec: AgentSpec, options: Options, role_class: type[Role]) -> Agent:
        """Return the agent of a declaration that was validated already (a configuration file)."""
        agent = cls.__new__(cls)
        agent.spec, agent.options, agent.role_class = spec, options, role_class
        agent._shape, agent.tools = None, NO_TOOLS
        return agent

    @property
    def name(self) -> str:
        """Name of the agent."""
        return self.spec.name

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON schema of what a handler takes; empty when it takes anything."""
        return {} if self._shape is None else self._shape.input_schema

    @property
    def output_schema(self) -> dict[str, Any]:
        """JSON schema of what a handler gives; empty when that can be anything."""
        return {} if self._shape is None else self._shape.output_schema

    def build(self) -> Role:
        """Return a new instance of the agent's behaviour.

        Raises:
            ConfigError: the role finds its options wrong together.
        """
        if self._shape is not None:
            return HandlerRole(self.spec, self.options, self._shape)
        return self.role_class(self.spec, self.options)

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, role={self.spec.role!r})"


def _edges(values: Sequence[str | dict[str, Any]], key: str) -> tuple[Any, ...]:
    return tuple({key: value} if isinstance(value, str) else value for value in values)


def split_options(role_class: type[Role], given: dict[str, Any]) -> tuple[AgentSpec, Options]:
    """Return the common part and the role's own part of a flat declaration.

    Raises:
        ConfigError: a key is unknown (with the nearest known one) or a value out of its limits.
    """
    model = role_class.options_model
    common, own = set(AgentSpec.model_fields), set(model.model_fields)
    name = given.get("name", "?")
    for key in given:
        if key not in common and key not in own:
            raise ConfigError(
                f"agent {name!r}: unknown option {key!r}{did_you_mean(key, common | own)}"
            )
    try:
        spec = AgentSpec.model_validate({k: v for k, v in given.items() if k in common})
        options = model.model_validate({k: v for k, v in given.items() if k in own})
    except ValidationError as error:
        raise ConfigError(f"agent {name!r}: {describe(error)}") from None
    return spec, options


def describe(error: ValidationError) -> str:
    """Return pydantic's findings in one line, without echoing secrets."""
    parts = []
    for found in error.errors(include_url=False):
        where = ".".join(map(str, found["loc"])) or "value"
        value = "" if "key" in where else f" (got {found['input']!r:.60})"
        parts.append(f"{where}: {found['msg'].removeprefix('Value error, ')}{value}")
    return "; ".join(parts)
