"""Handlers of users' own: what they take and return, read from their annotations once."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

from aixgo.agents.role import NoOptions, Role
from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError, InvalidPayload
from aixgo.message import Message, Reply
from aixgo.payloads import Shape, to_payload
from aixgo.steps.context import Context

Handler = Callable[..., Awaitable[Any]]


class HandlerShape:
    """What a handler takes and returns, read from its annotations once.

    Raises:
        ConfigError: it is not an async function of one or two parameters, or an annotation is not
            known.
    """

    def __init__(self, agent: str, handler: Handler) -> None:
        call = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
        if not inspect.iscoroutinefunction(call):
            raise ConfigError(
                f"agent {agent!r}: the handler {handler!r} is not an async function; write "
                "`async def handler(message: Message, ctx: Context) -> str`"
            )
        parameters = [
            parameter
            for parameter in inspect.signature(call).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
        ]
        if len(parameters) not in (1, 2):
            raise ConfigError(
                f"agent {agent!r}: the handler takes {len(parameters)} parameters; it must take a "
                "message, and a Context if it wants one"
            )
        try:
            hints = get_type_hints(call)
        except (NameError, TypeError) as error:
            raise ConfigError(
                f"agent {agent!r}: an annotation of the handler cannot be resolved: {error}; "
                "define or import the type at the top of the handler's module"
            ) from error
        self.handler, self.agent = handler, agent
        self.wants_context = len(parameters) == 2
        self._take = hints.get(parameters[0].name, Message)
        self._give = hints.get("return", Any)
        self._input = None if self._take in (Message, str, Any) else Shape.of(self._take)
        plain = self._give in (Any, Message, Reply, None, type(None))
        self._output = None if plain else Shape.of(self._give)

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON schema of the payload; empty for anything."""
        if self._input is not None:
            return self._input.schema
        return {"type": "string"} if self._take is str else {}

    @property
    def output_schema(self) -> dict[str, Any]:
        """JSON schema of the result; empty for anything."""
        return {} if self._output is None else self._output.schema

    def check_input(self, data: Any) -> None:
        """Refuse a value that `read` would refuse as a payload.

        Raises:
            InvalidPayload: it does not fit the annotation.
        """
        if self._input is not None:
            self._input.decode(bytes(to_payload(data)))

    def read(self, message: Message) -> Any:
        """Return what the handler takes.

        Raises:
            InvalidPayload: the payload does not fit the annotation.
        """
        if self._input is not None:
            return self._input.decode(message.envelope.body)
        return message.text if self._take is str else message

    def check(self, value: Any) -> None:
        """Check what the handler returned against its annotation.

        Raises:
            InvalidPayload: it returned something else.
        """
        given = value.data if isinstance(value, Reply) else value
        if self._output is None or isinstance(given, Message):
            return
        kind = self._output.kind
        fits = isinstance(given, kind) if isinstance(kind, type) else self._output.accepts(given)
        if not fits:
            raise InvalidPayload(
                f"the handler of agent {self.agent!r} returned {type(given).__name__} but is "
                f"annotated `-> {getattr(kind, '__name__', kind)}`; change the return value or "
                "the annotation"
            )


class HandlerRole(Role):
    """Behaviour of an agent with a handler of its own."""

    options_model = NoOptions

    def __init__(self, spec: AgentSpec, options: Any, shape: HandlerShape) -> None:
        super().__init__(spec, options)
        self._shape = shape

    async def execute(self, message: Message, ctx: Context) -> Any:
        """Run the handler on a message that fits its annotation."""
        shape = self._shape
        value = shape.read(message)
        given = await (shape.handler(value, ctx) if shape.wants_context else shape.handler(value))
        shape.check(given)
        return given
