"""The schemas of an OpenAPI document as one JSON Schema (2020-12) for the arguments of a tool."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from aixgo.errors import ConfigError
from aixgo.tools.openapi.reading import MAX_DEPTH

MAX_DEFINITIONS = 300
"""Schemas that the arguments of one operation may refer to."""

_HOPS = 32
"""References that lead to references."""

_ONE = frozenset(
    {
        *("items", "additionalProperties", "not", "if", "then", "else", "contains"),
        *("propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    }
)
_MANY = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas"})
_DROPPED = frozenset(
    {
        *("$id", "$schema", "$anchor", "$comment", "$defs", "definitions", "example", "examples"),
        *("xml", "externalDocs", "discriminator", "nullable", "readOnly", "writeOnly"),
        *("deprecated",),
    }
)


class References:
    """Follows the references inside of one document.

    Args:
        what: the document is, in errors.
    """

    def __init__(self, root: Mapping[str, Any], what: str) -> None:
        self._root, self.what = root, what

    def resolve(self, node: Any, place: str) -> Mapping[str, Any]:
        """Return an object, or the one that it refers to.

        Args:
            place: of the node, in errors.

        Raises:
            ConfigError: it leads outside of the document, to nothing, or in a circle.
        """
        for _ in range(_HOPS):
            if not isinstance(node, Mapping):
                raise ConfigError(f"{self.what}: {place} is not an object")
            if not isinstance(reference := node.get("$ref"), str):
                return node
            node = self.find(reference, place)
        raise ConfigError(f"{self.what}: {place}: the references go in a circle")

    def find(self, reference: str, place: str) -> Any:
        """Return what a reference stands for."""
        if reference != "#" and not reference.startswith("#/"):
            raise ConfigError(
                f"{self.what}: {place} refers to {reference!r:.200}, outside of the document; "
                "bundle it into one file first"
            )
        found: Any = self._root
        for part in reference[2:].split("/") if reference != "#" else ():
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise ConfigError(
                    f"{self.what}: {place} refers to {reference!r:.200}, which is not there"
                ) from None
        return found


class Schemas:
    """Brings schemas into one: what they refer to is in `definitions`, once, also in circles.

    Args:
        old: the document is OpenAPI 3.0, whose schemas are a dialect of their own.
    """

    def __init__(self, references: References, *, old: bool) -> None:
        self._references, self._old = references, old
        self._names: dict[str, str] = {}
        self.definitions: dict[str, Any] = {}

    def convert(self, schema: Any, place: str, depth: int = 0) -> Any:
        """Return a schema as JSON Schema.

        Raises:
            ConfigError: a reference leads nowhere, or there are too many.
        """
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise ConfigError(f"{self._references.what}: {place} is not a schema")
        if depth > MAX_DEPTH:
            raise ConfigError(f"{self._references.what}: {place} nests too deep")
        found: dict[str, Any] = {}
        if isinstance(reference := schema.get("$ref"), str):
            found["$ref"] = f"#/$defs/{self._defined(reference, place)}"
            if self._old:
                return found  # what stands beside it counts since 3.1 only
        hidden = self._hidden(schema, place)
        for key, value in schema.items():
            if key in _DROPPED or key == "$ref" or key.startswith("x-"):
                continue
            below = f"{place}.{key}"
            if key in _NAMED and isinstance(value, Mapping):
                found[key] = {
                    name: self.convert(one, f"{below}.{name}", depth + 1)
                    for name, one in value.items()
                    if key != "properties" or name not in hidden
                }
            elif key in _MANY and isinstance(value, list):
                found[key] = [self.convert(one, below, depth + 1) for one in value]
            elif key in _ONE and isinstance(value, Mapping):
                found[key] = self.convert(value, below, depth + 1)
            elif key == "required" and isinstance(value, list):
                if kept := [name for name in value if name not in hidden]:
                    found[key] = kept
            else:
                found[key] = value
        return self._new(schema, found) if self._old else found

    def _hidden(self, schema: Mapping[str, Any], place: str) -> set[str]:
        """Return the properties that only answers have."""
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return set()
        return {
            name
            for name, one in properties.items()
            if isinstance(one, Mapping)
            and self._references.resolve(one, f"{place}.{name}").get("readOnly") is True
        }

    def _defined(self, reference: str, place: str) -> str:
        if reference in self._names:
            return self._names[reference]
        if len(self._names) >= MAX_DEFINITIONS:
            raise ConfigError(
                f"{self._references.what}: {place} needs more than {MAX_DEFINITIONS} schemas; the "
                "arguments of a tool must be simpler"
            )
        plain = re.sub(r"\W", "_", reference.rpartition("/")[2], flags=re.ASCII) or "root"
        name, number = plain, 1
        while name in self.definitions:
            number += 1
            name = f"{plain}_{number}"
        self._names[reference] = name
        self.definitions[name] = {}  # its place, for references in a circle
        self.definitions[name] = self.convert(self._references.find(reference, place), place)
        return name

    def _new(self, schema: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        """Return a schema of OpenAPI 3.0 as JSON Schema says the same."""
        for limit, exclusive in (
            ("minimum", "exclusiveMinimum"),
            ("maximum", "exclusiveMaximum"),
        ):
            given = found.get(exclusive)
            if isinstance(given, bool):
                del found[exclusive]
            if given is True and limit in found:
                found[exclusive] = found.pop(limit)
        if schema.get("nullable") is not True:
            return found
        if isinstance(kind := found.get("type"), str):
            found["type"] = [kind, "null"]
            if isinstance(values := found.get("enum"), list) and None not in values:
                found["enum"] = [*values, None]
            return found
        return {"anyOf": [found, {"type": "null"}]} if found else found
