"""Where a producer's events come from: a template, a list, or the lines of a file."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from itertools import count, cycle
from pathlib import Path
from typing import Any

import msgspec

from aixgo.clock import now, rfc3339
from aixgo.errors import ConfigError

MAX_FILE_BYTES = 16 * 1024 * 1024
"""A producer keeps its file in memory; a larger source deserves a producer of its own."""

_FIELD = re.compile(r"\{(\w+)\}")
FIELDS = ("n", "time", "uuid")
"""What a template may name: the event's number from 1, the time (RFC 3339), a random UUID."""


def unknown_fields(template: str) -> list[str]:
    """Return the names in braces that no event can fill."""
    return [name for name in _FIELD.findall(template) if name not in FIELDS]


def rendered(template: str) -> Iterator[str]:
    """Yield the template with its fields filled in, for ever."""
    for number in count(1):
        values = {"n": str(number), "time": rfc3339(now()), "uuid": str(uuid.uuid4())}
        yield _FIELD.sub(lambda field, values=values: values[field[1]], template)  # type: ignore[misc] # mypy cannot infer a lambda with a default


def listed(events: Sequence[Any], *, again: bool) -> Iterator[Any]:
    """Yield the events in order, once or for ever."""
    return cycle(events) if again else iter(events)


def read_events(path: Path) -> list[Any]:
    """Return a file's lines: JSON values from a `.jsonl` file, else text. Empty lines are left out.

    Raises:
        ConfigError: it cannot be read, is over `MAX_FILE_BYTES`, has no lines, or a line is no
            JSON; names the line.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError(
                f"file {str(path)!r} is {size:,} bytes, over the {MAX_FILE_BYTES:,} bytes that a "
                "producer reads; split it"
            )
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"file {str(path)!r} cannot be read: {error}; give `file` the path of a UTF-8 text file"
        ) from error
    as_json = path.suffix == ".jsonl"
    events = [
        _json(path, number, line) if as_json else line
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not events:
        raise ConfigError(f"file {str(path)!r} has no lines; a producer needs one event at least")
    return events


def _json(path: Path, number: int, line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path}:{number}: not JSON: {error}; each line of a .jsonl file is one JSON value"
        ) from error
