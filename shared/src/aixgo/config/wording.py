"""What pydantic refuses, in plain sentences: what the value must be, and how to write it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_SECRET = re.compile(r"key|(?<!max_)token|secret|password|credential|header", re.IGNORECASE)

_FORMS = {
    r"^[A-Za-z0-9_-]{1,32}$": (
        "needs 1 to 32 characters of A-Z, a-z, 0-9, '_' and '-', such as front-desk"
    ),
    r"^[A-Za-z0-9_:-]{1,100}$": (
        "needs 1 to 100 characters of A-Z, a-z, 0-9, '_', ':' and '-', such as look_up"
    ),
    r"^(https?://.+)?$": "needs an address that begins with http:// or https://",
}
"""By the pattern of a field."""

_WHOLE = "needs a whole number, such as 3"
_NUMBER = "needs a number, such as 0.5"
_SWITCH = "needs true or false"
_LIST = "needs a list, such as [a, b]"
_MAPPING = "needs a mapping, such as {{key: value}}"

_SENTENCES = {
    "missing": "is required, and there is no default for it",
    "string_type": "needs a text",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "greater_than": "must be more than {gt}",
    "less_than": "must be less than {lt}",
    "string_too_short": "needs characters: {min_length} or more",
    "string_too_long": "has too many characters: {max_length} at most",
    "too_short": "needs entries: {min_length} or more",
    "too_long": "has too many entries: {max_length} at most",
}
"""By pydantic's type of error; the names in braces are what pydantic says about its limit."""


def names_a_secret(path: Iterable[str | int]) -> bool:
    """Whether the value at a path may be a secret, so that no message shows it."""
    return any(isinstance(part, str) and _SECRET.search(part) for part in path)


def sentence(found: Mapping[str, Any]) -> str:
    """Return what is wrong, without the value, of one of `ValidationError.errors()`."""
    kind, limits = found["type"], found.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return _FORMS.get(limits["pattern"], f"must match the pattern {limits['pattern']}")
    text = _SENTENCES.get(kind)
    if text is None:
        return str(found["msg"]).removeprefix("Value error, ")
    text = text.format_map({name: _plain(limit) for name, limit in limits.items()})
    if kind == "string_type" and isinstance(found["input"], bool | int | float):
        return f"{text}; put it in quotes"
    if kind.endswith("_type") and isinstance(found["input"], dict | list | tuple):
        return f"{text}, not a {'mapping' if isinstance(found['input'], dict) else 'list'}"
    return text


def _plain(limit: Any) -> Any:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit
