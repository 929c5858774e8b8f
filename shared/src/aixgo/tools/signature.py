"""What a function takes and returns, read from its annotations once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError, InvalidPayload
from aixgo.payloads import Shape, members_shape, to_payload
from aixgo.tools.json_schema import object_on_top
from aixgo.tools.port import Arguments, ToolContext

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The parameters and the result of a function.

    Attributes:
        kinds: annotation of each parameter, the context left out.
        defaults: of those parameters that have one.
        context: name of the parameter that wants a `ToolContext`; empty for none.
        result: annotation of the result; `Any` without one.
    """

    kinds: Mapping[str, Any]
    defaults: Mapping[str, Any]
    context: str
    result: Any

    @classmethod
    def of(cls, what: str, function: Callable[..., Any]) -> Signature:
        """Read a function.

        Args:
            what: the function is for, in errors.

        Raises:
            ConfigError: an annotation is missing or unknown, or it takes what cannot be named.
        """
        hints = _hints(what, function)
        kinds: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        contexts: list[str] = []
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind not in _NAMED:
                raise ConfigError(
                    f"{what}: the parameter {name!r} takes arguments that have no name here; write "
                    "each argument as a parameter of its own, without '*', '**' and '/'"
                )
            if name not in hints:
                raise ConfigError(
                    f"{what}: the parameter {name!r} has no annotation; add a type, such as "
                    f"`{name}: str`, so that arguments are checked before anything runs"
                )
            if hints[name] is ToolContext:
                contexts.append(name)
                continue
            kinds[name] = hints[name]
            if parameter.default is not parameter.empty:
                defaults[name] = parameter.default
        if len(contexts) > 1:
            raise ConfigError(
                f"{what} takes a ToolContext twice ({', '.join(contexts)}); once will do"
            )
        result = hints.get("return", Any)
        return cls(
            kinds=kinds,
            defaults=defaults,
            context=contexts[0] if contexts else "",
            result=None if result is type(None) else result,
        )


def _hints(what: str, function: Callable[..., Any]) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004 - its annotations are wanted
    try:
        return get_type_hints(target, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigError(
            f"{what}: an annotation cannot be resolved: {error}; define or import the type at the "
            "top of the module"
        ) from error


class Input:
    """Arguments of a signature: from JSON to values, with their schema.

    Raises:
        ConfigError: the type of a parameter cannot be validated.
    """

    def __init__(self, tool: str, signature: Signature) -> None:
        self._tool, self._names = tool, signature.kinds.keys()
        try:
            self._shape = members_shape(signature.kinds, signature.defaults)
        except ConfigError as error:
            raise ConfigError(f"tool {tool!r}: {error}") from error
        self.schema = _object_schema(self._shape, signature)

    def decode(self, payload: bytes | msgspec.Raw) -> Arguments:
        """Return the arguments in a JSON text.

        Raises:
            InvalidPayload: they do not fit; names the place.
        """
        body = bytes(payload)
        try:
            given = _members.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            shown = body[:80].decode(errors="replace")
            raise InvalidPayload(
                f"arguments of tool {self._tool!r} are one JSON object, a member for each "
                f"parameter: {error} (got {shown})"
            ) from error
        for name in given.keys() - self._names:
            near = did_you_mean(name, self._names) or "; it takes none"
            raise InvalidPayload(f"tool {self._tool!r} has no parameter {name!r}{near}")
        try:
            arguments: Arguments = self._shape.decode(body)
        except InvalidPayload as error:
            raise InvalidPayload(f"tool {self._tool!r}: {error}") from error
        return arguments


def _object_schema(shape: Shape, signature: Signature) -> dict[str, Any]:
    """Return the JSON schema of the arguments with the object itself on top, as models want it."""
    schema = object_on_top(shape.schema)
    schema.pop("title", None)
    properties = {name: dict(value) for name, value in schema.get("properties", {}).items()}
    for name, default in signature.defaults.items():
        try:
            properties[name].setdefault("default", msgspec.json.decode(to_payload(default)))
        except InvalidPayload:
            continue  # a default that JSON cannot say is only the function's business
    return schema | {"type": "object", "properties": properties, "additionalProperties": False}
