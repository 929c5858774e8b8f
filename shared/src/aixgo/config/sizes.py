"""Sizes as people write them: `256MB`, `10kB`; a bare number is bytes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB)?")
_UNITS = {"": 1, "B": 1, "kB": 2**10, "KB": 2**10, "MB": 2**20, "GB": 2**30}


def parse_size(value: Any) -> int:
    """Return bytes; 1 kB is 1,024 of them.

    Raises:
        ValueError: not a size; shows how to write one.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        return int(float(found[1]) * _UNITS[found[2] or ""])
    raise ValueError(f"not a size: {value!r:.80} (write 256MB, 10kB or 1GB)")


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(B|kB|KB|MB|GB)?\s*$"},
            ],
            "description": "a size: 256MB, 10kB, 1GB; a bare number is bytes",
        }
    ),
]
"""Bytes, written as a size."""
