"""JSON schemas as models take them: an object at the top, and strict where that can be had.

Providers that hold a model to a schema ("strict") take a part of JSON schema only: every object
closed, every member required, few keywords. A schema that can be written so is; what is lost on the
way (a least length, a default) is told to the model in the description, and the answer is checked
against the whole schema afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from aixgo.errors import ConfigError
from aixgo.tools.json_schema import object_on_top

VALUE = "value"
"""Member that holds an answer which is not an object itself."""

_DEEPEST = 64
"""Levels of a schema; deeper ones are asked for without `strict`."""

_TOLD = (
    "default", "examples", "format", "minLength", "maxLength", "pattern", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems",
    "minProperties", "maxProperties",
)  # fmt: skip
"""Keywords that not every strict provider takes; the description has them instead."""

_KEPT = frozenset({"type", "enum", "description"})
_LEFT_OUT = frozenset({"title", "$schema", "$id", "$comment", "discriminator", "deprecated"})
_DEFINITIONS = ("$defs", "definitions")
_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_UPWARDS = re.compile(r'"\$ref":"#(?!/(?:\$defs|definitions)/)')


class _NotStrict(Exception):
    """The schema has no strict form."""


def schema_name(name: str) -> str:
    """Return a name for a schema as providers allow it: 1 to 64 characters."""
    return _NAME.sub("_", name).strip("_")[:64] or "answer"


def wrapped(schema: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the schema as one of an object, and whether its values are in the member `value` now.

    Raises:
        ConfigError: it is not an object's, and refers to itself from within.
    """
    top = object_on_top(schema)
    if top.get("type") == "object" or (top.keys() & {"properties"} and "type" not in top):
        return {**top, "type": "object"}, False
    definitions = {name: top.pop(name) for name in _DEFINITIONS if name in top}
    if _UPWARDS.search(msgspec.json.encode(top).decode()):
        raise ConfigError(
            "the schema of an answer refers to its own top and is not that of an object; put the "
            "answer into a property of an object, or what is referred to into `$defs`"
        )
    closed = {"type": "object", "properties": {VALUE: top}, "required": [VALUE]}
    return {**closed, "additionalProperties": False, **definitions}, True


def strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the strict form of an object's schema, None when it has none.

    It has none with members of any name, values of any type, and combinations other than `anyOf`.
    """
    try:
        return _strict(schema, 0)
    except _NotStrict:
        return None


def _strict(schema: Any, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or not schema or depth > _DEEPEST:
        raise _NotStrict
    given = dict(schema)
    made: dict[str, Any] = {}
    for name in _DEFINITIONS:
        if name in given:
            made[name] = {key: _strict(one, depth + 1) for key, one in given.pop(name).items()}
    for name in _LEFT_OUT:
        given.pop(name, None)
    told = {name: given.pop(name) for name in _TOLD if name in given}
    description = str(given.pop("description", ""))
    if "const" in given:
        given["enum"] = [given.pop("const")]
    if "enum" in given and all(isinstance(one, str) for one in given["enum"]):
        given = {"type": "string", **given}  # some providers read no choice without it
    made |= _core(given, depth)
    if told and (facts := _sentence(told)):
        description = f"{description} ({facts})" if description else facts
    if description:
        if "$ref" in made:  # which takes nothing beside it
            made["anyOf"] = [{"$ref": made.pop("$ref")}]
        made["description"] = description
    return made


def _core(given: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return what a schema says of its values; with a keyword that is not known it has no form."""
    if "$ref" in given:
        if given.keys() != {"$ref"}:
            raise _NotStrict
        return given
    for name in ("anyOf", "oneOf", "allOf"):
        if name not in given:
            continue
        if given.keys() != {name} or (name == "allOf" and len(given[name]) != 1):
            raise _NotStrict
        branches = [_strict(one, depth + 1) for one in given[name]]
        return branches[0] if name == "allOf" else {"anyOf": branches}
    if given.get("type") == "object" or "properties" in given:
        return _object(given, depth)
    if given.get("type") == "array":
        if given.keys() != {"type", "items"}:
            raise _NotStrict
        return {"type": "array", "items": _strict(given["items"], depth + 1)}
    if not given.keys() & {"type", "enum"} or given.keys() - _KEPT:
        raise _NotStrict
    return given


def _object(given: dict[str, Any], depth: int) -> dict[str, Any]:
    if given.keys() - {"type", "properties", "required", "additionalProperties"}:
        raise _NotStrict
    if given.get("additionalProperties") not in (None, False) or not given.get("properties"):
        raise _NotStrict
    members = {name: _strict(one, depth + 1) for name, one in given["properties"].items()}
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def _sentence(told: Mapping[str, Any]) -> str:
    parts = (
        f"{name} {msgspec.json.encode(value).decode()}"
        for name, value in told.items()
        if not (name == "default" and value is None)
    )
    return ", ".join(parts)
