"""Whether a JSON value fits a JSON schema, as far as schemas of Python types go.

For answers of people, which are checked when they are given. It knows what msgspec and pydantic
write: types, properties, items, choices and references. What it does not know it lets pass, because
the agent reads the value with its own type in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEPTH = 32
"""Schemas that refer to themselves are followed this far."""


def misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, such as `age: 'x' is not a number`; empty if it fits."""
    return _misfit(value, schema, schema, "", _DEPTH)


def _misfit(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int
) -> str:
    if depth == 0:
        return ""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found = _resolve(reference, root)
        return "" if found is None else _misfit(value, found, root, path, depth - 1)
    for key in ("anyOf", "oneOf"):
        choices = schema.get(key)
        if choices:
            misfits = [_misfit(value, one, root, path, depth - 1) for one in choices]
            return "" if "" in misfits else misfits[0]
    for one in schema.get("allOf", ()):
        if wrong := _misfit(value, one, root, path, depth - 1):
            return wrong
    if "const" in schema and value != schema["const"]:
        return _say(path, value, f"is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        return _say(path, value, f"is not one of {', '.join(map(repr, schema['enum']))}")
    kinds = schema.get("type")
    if kinds is not None:
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        if not any(_is(value, kind) for kind in kinds):
            return _say(path, value, f"is not {' or '.join(_NAMES.get(k, k) for k in kinds)}")
    if isinstance(value, dict):
        return _in_object(value, schema, root, path, depth)
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, Mapping):
        for index, item in enumerate(value):
            if wrong := _misfit(item, items, root, f"{path}[{index}]", depth - 1):
                return wrong
    return ""


def _in_object(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int
) -> str:
    for name in schema.get("required", ()):
        if name not in value:
            return f"{_below(path, name)} is missing"
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, member in value.items():
        inner = known.get(name, others)
        if inner is False:
            return f"{_below(path, name)} is unknown; known are {', '.join(sorted(known))}"
        if isinstance(inner, Mapping):
            wrong = _misfit(member, inner, root, _below(path, name), depth - 1)
            if wrong:
                return wrong
    return ""


_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "null":
            return value is None
        case _:
            return True


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _say(path: str, value: Any, what: str) -> str:
    return f"{path}: {value!r:.80} {what}" if path else f"{value!r:.80} {what}"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
