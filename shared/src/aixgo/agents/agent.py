"""`Agent`: the declaration of an agent, the same in Python and in YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from aixgo.agents.declaration import CUSTOM, Declaration, declare
from aixgo.agents.handler import Handler
from aixgo.agents.role import Role
from aixgo.config.agents import AgentSpec, Limits, Options, Retry
from aixgo.config.hooks import HookSpecs
from aixgo.config.problems import Wrong
from aixgo.errors import ConfigError
from aixgo.tools.port import AnyTool, ToolSource
from aixgo.tools.toolbox import Toolbox

__all__ = ["CUSTOM", "Agent"]


class Agent:
    """A named agent: a role that is installed, or a handler of your own.

    A handler is an async function of a message, and of a `Context` if it wants one. Its annotations
    say what it takes and returns: `Message`, `str`, JSON values, pydantic models, msgspec Structs
    or dataclasses; what does not fit is refused before it runs.

    Everything is checked here, before anything starts.

    Args:
        name: token of the agent's subjects: 1 to 32 characters of A-Z, a-z, 0-9, '_' and '-'.
        handler: the behaviour, or the text `module:function` that names it; the role is then
            `custom`.
        role: an installed role, such as `react` or `classifier`; or a subclass of `Role`, or the
            text `module:Class` that names one.
        tools: what the agent may use with `ctx.tool`, if its role uses tools: functions with
            `@tool`, other objects that keep the `Tool` protocol, sources of tools, and mappings as
            in a document (`{"type": "http", "name": …}`).
        mcp_servers: of which it may use the tools: servers, or mappings as in a document.
        hooks: what looks at its steps, by point: functions of a `Hooked`, or guards as mappings
            (`{"before_model": [{"guard": "pii"}]}`).
        options: every other field of `AgentSpec` (`model`, `prompt`, `temperature`, `max_tokens`,
            `timeout`, `inputs`, `outputs`, `retry`, `exclusive`, …) and the role's own options.

    Raises:
        ConfigError: a name, role or option is missing, unknown or out of its limits.
    """

    def __init__(
        self,
        name: str = "",
        handler: Handler | str | None = None,
        *,
        role: str | type[Role] = "",
        model: str | Sequence[str] = "",
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
        tools: Sequence[AnyTool | ToolSource | Mapping[str, Any] | str] = (),
        mcp_servers: Sequence[ToolSource | Mapping[str, Any] | str] = (),
        hooks: HookSpecs | Mapping[str, Sequence[Any]] | None = None,
        **options: Any,
    ) -> None:
        if not name:
            raise ConfigError("an agent needs a name: Agent(name='triage', …)")
        given: dict[str, Any] = {
            "name": name,
            "role": (role if isinstance(role, str) else _path_of(role)) or None,
            "handler": handler if isinstance(handler, str) else None,
            "model": (model if isinstance(model, str) else tuple(model)) or None,
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
            "tools": tuple(tools),
            "mcp_servers": tuple(mcp_servers),
            "hooks": hooks,
        }
        given = {key: value for key, value in given.items() if value not in (None, ())} | options
        declaration, problems = declare(
            given,
            handler=None if isinstance(handler, str) else handler,
            behaviour=role if isinstance(role, type) else None,
        )
        if declaration is None:
            match problems:
                case [Wrong(cause=ConfigError() as cause)] if type(cause) is not ConfigError:
                    raise cause
            texts = [text for problem in problems for text in problem.texts()]
            raise ConfigError(f"agent {name!r}: {'; '.join(texts)}")
        self.declaration = declaration

    @classmethod
    def declared(cls, declaration: Declaration) -> Agent:
        """Return the agent of a declaration that was checked already, such as a document's."""
        agent = cls.__new__(cls)
        agent.declaration = declaration
        return agent

    @property
    def name(self) -> str:
        """Name of the agent."""
        return self.spec.name

    @property
    def spec(self) -> AgentSpec:
        """The part of the declaration that every role shares."""
        return self.declaration.spec

    @property
    def options(self) -> Options:
        """The role's own part of the declaration."""
        return self.declaration.options

    @property
    def role_class(self) -> type[Role]:
        """Class of the behaviour."""
        return self.declaration.role

    @property
    def tools(self) -> Toolbox:
        """What the agent may use with `ctx.tool`."""
        return self.declaration.tools

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON schema of what a handler takes; empty when it takes anything."""
        shape = self.declaration.shape
        return {} if shape is None else shape.input_schema

    @property
    def output_schema(self) -> dict[str, Any]:
        """JSON schema of what it answers; empty when that can be anything."""
        return self.declaration.output_schema()

    def check_input(self, data: Any) -> None:
        """Refuse a value that the handler would refuse; a role says so itself when it is called.

        Raises:
            InvalidPayload: it does not fit the handler's annotation; names the place.
        """
        shape = self.declaration.shape
        if shape is not None:
            shape.check_input(data)

    def build(self) -> Role:
        """Return a new instance of the agent's behaviour.

        Raises:
            ConfigError: the role finds its options wrong together.
        """
        return self.declaration.build()

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, role={self.spec.role!r})"


def _path_of(role: type[Role]) -> str:
    """Return what a class of the user's own is called, as a document would name it.

    Raises:
        ConfigError: it is not a role.
    """
    if not (isinstance(role, type) and issubclass(role, Role)):
        raise ConfigError(
            f"the role {role!r:.80} is neither the name of a role nor a subclass of aixgo.Role"
        )
    return f"{role.__module__}:{role.__qualname__}"


def _edges(values: Sequence[str | dict[str, Any]], key: str) -> tuple[Any, ...]:
    return tuple({key: value} if isinstance(value, str) else value for value in values)
