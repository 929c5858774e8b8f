"""Handlers of users' own: what they take and return, read from their annotations once."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

from aixgo.agents.role import NoOptions, Role
from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError, InvalidPayload, text_of
from aixgo.message import Message, Reply
from aixgo.payloads import Shape, to_payload
from aixgo.steps.context import Context

__all__ = ["Handler", "HandlerRole", "HandlerShape"]

Handler = Callable[..., Awaitable[Any]]

_FORM = "`async def handler(message: Message, ctx: Context) -> str`"


class HandlerShape:
    """What a handler takes and returns, read from its annotations once.

    Raises:
        ConfigError: it is not an async function of one or two parameters, or an annotation is not
            known.
    """

    def __init__(self, agent: str, handler: Handler) -> None:
        if isinstance(handler, type):
            raise ConfigError(
                f"agent {agent!r}: the handler {handler.__qualname__!r} is a class; name an "
                f"instance of it, such as `handler = {handler.__name__}()`, or an async function"
            )
        call = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
        if not inspect.iscoroutinefunction(call):
            raise ConfigError(
                f"agent {agent!r}: the handler {handler!r} is not an async function; write {_FORM}"
            )
        parameters = _parameters(agent, call)
        try:
            hints = get_type_hints(call)
        except Exception as error:  # a text as an annotation is code, which may raise anything
            raise ConfigError(
                f"agent {agent!r}: an annotation of the handler cannot be resolved: "
                f"{text_of(error)}; define or import the type at the top of the handler's module"
            ) from error
        self.handler, self.agent = handler, agent
        self.wants_context = len(parameters) == 2
        self._take = hints.get(parameters[0].name, Message)
        self._give = hints.get("return", Any)
        self._input = None if self._take in (Message, str, Any) else Shape.of(self._take)
        plain = self._give in (Any, Message, Reply, None, type(None))
        self._output = None if plain else Shape.of(self._give)
        # an instance of it needs no `check`; with None nothing is sure
        self.gives: type | None = object if plain else _class(self._give)

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
        kind, gives = self._output.kind, self.gives
        fits = self._output.accepts(given) if gives is None else isinstance(given, gives)
        if not fits:
            raise InvalidPayload(
                f"the handler of agent {self.agent!r} returned {type(given).__name__} but is "
                f"annotated `-> {getattr(kind, '__name__', kind)}`; change the return value or "
                "the annotation"
            )


def _class(kind: Any) -> type | None:
    """Return an annotation whose instances can be told; a `TypedDict` is a class without any."""
    if not isinstance(kind, type):
        return None
    try:
        isinstance(None, kind)
    except TypeError:
        return None
    return kind


def _parameters(agent: str, call: Handler) -> list[inspect.Parameter]:
    """Return the one or two parameters that get the message, and the context.

    Raises:
        ConfigError: there are others that must be given, or none.
    """
    every = inspect.signature(call).parameters.values()
    required = [
        one
        for one in every
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    by_position = [one for one in required if one.kind is not one.KEYWORD_ONLY]
    if len(by_position) not in (1, 2):
        raise ConfigError(
            f"agent {agent!r}: the handler takes `({', '.join(map(_shown, every))})`; it must take "
            f"a message, and a Context if it wants one, without default values: write {_FORM}"
        )
    if by_keyword := [one.name for one in required if one.kind is one.KEYWORD_ONLY]:
        raise ConfigError(
            f"agent {agent!r}: the handler requires {', '.join(map(repr, by_keyword))} by keyword, "
            "and gets a message and a Context only; add a default value, or read it from the "
            "message"
        )
    return by_position


def _shown(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{parameter.name}"
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}=…"


class HandlerRole(Role):
    """Behaviour of an agent with a handler of its own."""

    options_model = NoOptions
    takes_tools = True

    def __init__(self, spec: AgentSpec, options: Any, shape: HandlerShape) -> None:
        super().__init__(spec, options)
        self._shape = shape

    async def execute(self, message: Message, ctx: Context) -> Any:
        """Run the handler on a message that fits its annotation."""
        shape = self._shape
        value = shape.read(message)
        given = await (shape.handler(value, ctx) if shape.wants_context else shape.handler(value))
        if shape.gives is None or not isinstance(given, shape.gives):
            shape.check(given)
        return given
