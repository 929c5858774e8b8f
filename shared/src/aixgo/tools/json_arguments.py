"""Arguments of tools whose schema is given as JSON: of a document, of an MCP server, of OpenAPI.

The far side's schema may come from anywhere, so checking it never opens a file or a connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError, InvalidPayload, cut
from aixgo.tools.port import Arguments

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

MAX_FINDINGS = 5
"""Things that are wrong with the arguments of one call that an error names."""

_SHOWN = 80  # characters of a value in an error

_members = msgspec.json.Decoder(dict[str, Any])


class JsonArguments:
    """Arguments of a JSON schema: from JSON to values, checked.

    A member that is missing gets the `default` that the schema has for it, if it has one.

    Args:
        tool: name of the tool, for errors.
        schema: JSON schema of the arguments, an object; draft 2020-12 if it does not say another.

    Attributes:
        schema: the same, with `type: object`.

    Raises:
        ConfigError: the schema is not one, describes something else than an object or refers to
            what is outside of it, or the extra `tools` is not installed.
    """

    def __init__(self, tool: str, schema: Mapping[str, Any]) -> None:
        self._tool = tool
        if schema.get("type", "object") != "object":
            raise ConfigError(
                f"tool {tool!r}: the arguments are one JSON object, and their schema has the type "
                f"{schema['type']!r}; write `type: object`, with a member for each parameter in "
                "`properties`"
            )
        self.schema: dict[str, Any] = {**schema, "type": "object"}
        self._validator = _validator(tool, self.schema)
        properties: dict[str, Any] = self.schema.get("properties", {})
        self._names = properties.keys()
        self._defaults = {
            name: described["default"]
            for name, described in properties.items()
            if isinstance(described, Mapping) and "default" in described
        }

    def decode(self, payload: bytes | msgspec.Raw) -> Arguments:
        """Return the arguments in a JSON text.

        Raises:
            InvalidPayload: they do not fit; names each place, what is there and what is wanted.
        """
        body = bytes(payload)
        try:
            given = _members.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            shown = body[:_SHOWN].decode(errors="replace")
            raise InvalidPayload(
                f"arguments of tool {self._tool!r} are one JSON object, a member for each "
                f"parameter: {error} (got {shown})"
            ) from error
        arguments = {**self._defaults, **given}
        wrong = [*islice(self._validator.iter_errors(arguments), MAX_FINDINGS + 1)]
        if wrong:
            texts = [self._text(one) for one in wrong[:MAX_FINDINGS]]
            more = ["and more"] if len(wrong) > MAX_FINDINGS else []
            raise InvalidPayload(f"tool {self._tool!r}: {'; '.join([*texts, *more])}")
        return arguments

    def _text(self, error: ValidationError) -> str:
        """Return what is wrong at one place."""
        facts = error.kind.as_dict()
        at_top = not error.instance_path
        if at_top and error.kind.name == "required":
            return f"needs the argument {facts['property']!r}"
        if at_top and error.kind.name == "additionalProperties":
            unknown = str(facts["unexpected"][0])
            near = did_you_mean(unknown, self._names) or "; it takes none"
            return f"there is no parameter {cut(unknown, _SHOWN)!r}{near}"
        return f"{_place(error.instance_path) or 'the arguments'}: {_reason(error)}"


def object_schema(
    parameters: Mapping[str, Any], required: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the JSON schema of an object with these members and no others.

    Args:
        parameters: schema of each member, by name.
        required: those that must be there; without it all that have no `default`.
    """
    if required is None:
        required = [
            name
            for name, described in parameters.items()
            if not (isinstance(described, Mapping) and "default" in described)
        ]
    schema = {"type": "object", "properties": dict(parameters), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def object_on_top(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same JSON schema with a reference at its top replaced by what it refers to."""
    top, prefix = dict(schema), "#/$defs/"
    name = str(top.get("$ref", "")).removeprefix(prefix)
    definitions = dict(top.pop("$defs", {}))
    if name in definitions:
        del top["$ref"]
        top = {**definitions[name], **top}
        if f'"{prefix}{name}"' not in msgspec.json.encode([top, definitions]).decode():
            del definitions[name]
    return {**top, "$defs": definitions} if definitions else top


def _validator(tool: str, schema: dict[str, Any]) -> Validator:
    try:
        import jsonschema_rs
    except ImportError as error:
        raise ConfigError(
            f"tool {tool!r} has a JSON schema, which needs jsonschema-rs: pip install "
            "'aixgo[tools]'"
        ) from error
    try:
        return jsonschema_rs.validator_for(schema, offline=True)
    except ValueError as error:
        message = getattr(error, "message", str(error))
        place = _place(getattr(error, "instance_path", ()))
        raise ConfigError(
            f"the schema of the arguments of tool {tool!r} is not a JSON schema that can be used: "
            f"{f'{place}: ' if place else ''}{cut(message, 300)}"
        ) from error


def _reason(error: ValidationError) -> str:
    """Return the validator's sentence, with a long value cut in it."""
    inner: Sequence[Sequence[ValidationError]] = error.kind.as_dict().get("context", ())
    ways = [_branch(branch) for branch in inner if branch]
    message: str = error.message
    written = msgspec.json.encode(error.instance).decode()
    if len(written) > _SHOWN:
        message = message.replace(written, cut(written, _SHOWN))
    return cut(" or ".join(dict.fromkeys(ways)) if ways else message, 500)


def _branch(errors: Sequence[ValidationError]) -> str:
    """Return why one of several alternatives does not fit."""
    place = _place(errors[0].instance_path)
    return f"{f'at {place} ' if len(errors[0].instance_path) > 1 else ''}{_reason(errors[0])}"


def _place(path: Sequence[str | int]) -> str:
    return cut("".join(_parts(path)), 200)


def _parts(path: Sequence[str | int]) -> Iterator[str]:
    for index, part in enumerate(path):
        if isinstance(part, int):
            yield f"[{part}]"
        else:
            yield f".{part}" if index else part
