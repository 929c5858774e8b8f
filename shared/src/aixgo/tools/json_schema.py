"""JSON schemas of others: the validator of one, and what it finds, in sentences.

A schema may come from anywhere, so checking a value never opens a file or a connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.errors import ConfigError, cut

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

MAX_FINDINGS = 5
"""Things that are wrong with one value that an error names."""

_SHOWN = 80  # characters of a value in a sentence


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


def validator_for(what: str, schema: dict[str, Any]) -> Validator:
    """Return what checks values of a schema.

    Args:
        what: the values are, in errors.

    Raises:
        ConfigError: it is not a JSON schema, refers to what is outside of it, or the extra `tools`
            is not installed.
    """
    try:
        import jsonschema_rs
    except ImportError as error:
        raise ConfigError(
            f"{what}: checking them by a JSON schema needs jsonschema-rs: pip install "
            "'aixgo[tools]'"
        ) from error
    try:
        return jsonschema_rs.validator_for(schema, offline=True)
    except ValueError as error:
        message = getattr(error, "message", str(error))
        place = place_of(getattr(error, "instance_path", ()))
        raise ConfigError(
            f"the schema of {what} is not a JSON schema that can be used: "
            f"{f'{place}: ' if place else ''}{cut(message, 300)}"
        ) from error


def findings(validator: Validator, value: Any, most: int = MAX_FINDINGS) -> list[str]:
    """Return what is wrong with a value, each with its place; empty when it fits."""
    wrong = [*islice(validator.iter_errors(value), most + 1)]
    texts = [f"{place_of(one.instance_path) or 'the value'}: {reason_of(one)}" for one in wrong]
    return texts if len(texts) <= most else [*texts[:most], "and more"]


def reason_of(error: ValidationError) -> str:
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
    place = place_of(errors[0].instance_path)
    return f"{f'at {place} ' if len(errors[0].instance_path) > 1 else ''}{reason_of(errors[0])}"


def place_of(path: Sequence[str | int]) -> str:
    """Return where in a value something is, such as `items[2].price`; empty for the value."""
    return cut("".join(_parts(path)), 200)


def _parts(path: Sequence[str | int]) -> Iterator[str]:
    for index, part in enumerate(path):
        if isinstance(part, int):
            yield f"[{part}]"
        else:
            yield f".{part}" if index else part
