"""Arguments of tools whose schema is given as JSON: of a document, of an MCP server, of OpenAPI.

The far side's schema may come from anywhere, so checking it never opens a file or a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError, InvalidPayload, cut
from aixgo.tools.json_schema import MAX_FINDINGS, place_of, reason_of, validator_for
from aixgo.tools.port import Arguments

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

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
        self._validator = validator_for(f"the arguments of tool {tool!r}", self.schema)
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
        return f"{place_of(error.instance_path) or 'the arguments'}: {reason_of(error)}"
