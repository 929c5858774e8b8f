"""`output:` of an agent: the type or the JSON schema that its answers have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from aixgo.config.reference import imported
from aixgo.errors import ConfigError
from aixgo.steps.answers import AnswerShape

__all__ = ["Output"]


def _shape(given: Any, info: ValidationInfo) -> AnswerShape | None:
    """Return the shape of what was declared.

    Raises:
        ValueError: it is neither a type that can be validated nor a JSON schema.
    """
    if given is None or isinstance(given, AnswerShape):
        return given
    try:
        if isinstance(given, str):
            given = imported(given, (info.context or {}).get("directory"))
        if not isinstance(given, Mapping) and not isinstance(given, type) and callable(given):
            raise ConfigError(
                f"{given!r:.80} is not a type; name a pydantic model, a msgspec Struct or a "
                "dataclass, or write a JSON schema"
            )
        return AnswerShape.of(given)
    except ConfigError as error:
        raise ValueError(str(error)) from error


Output = Annotated[
    Any,
    BeforeValidator(_shape),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string", "pattern": r"\S:\S"}]}),
]
"""An `AnswerShape`, or None. Declared as a JSON schema or as `module:Type`, in Python also as a
type; the module is looked for in the document's directory first."""
