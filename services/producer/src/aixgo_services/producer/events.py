"""Where a producer's events come from: a template, a list, or the lines of a file."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Protocol

import msgspec

from aixgo.clock import now, rfc3339
from aixgo.errors import ConfigError

MAX_FILE_BYTES = 16 * 1024 * 1024
"""A producer keeps its file in memory; a larger source deserves a producer of its own."""

_FIELD = re.compile(r"\{(\w+)(?::(%[^{}]*))?\}")
FIELDS = ("n", "time", "uuid", "due", "agent")
"""What a template may name: the event's number from 1, the time of publishing, a random UUID, the
time for which the event was due, the name of the producer."""
_TIMES = ("time", "due")

ENDED = object()
"""In place of an event: there are no more."""


class Source(Protocol):
    """Events by their numbers."""

    def at(self, number: int, due: float) -> Any:
        """Return the event with a number, from 1 on, or `ENDED`.

        Args:
            due: Unix seconds for which it was due.
        """
        ...


class Template:
    """A text or a JSON value with fields in it: an event for every number, without an end.

    A text in a JSON value that is `{n}` and nothing else is the number itself.

    Args:
        zone: of times that are written with a format; without one they are RFC 3339 in UTC.
    """

    def __init__(self, template: Any, agent: str, zone: tzinfo = UTC) -> None:
        self._template, self._agent, self._zone = template, agent, zone

    def at(self, number: int, due: float) -> Any:
        """See `Source.at`."""
        moments = {"time": now(), "due": due}

        def value(field: re.Match[str]) -> str:
            name, form = field.groups()
            if name in moments:
                moment = moments[name]
                if form is None:
                    return rfc3339(moment)
                return datetime.fromtimestamp(moment, self._zone).strftime(form)
            if name == "n":
                return str(number)
            return self._agent if name == "agent" else str(uuid.uuid4())

        if isinstance(self._template, str):
            return _FIELD.sub(value, self._template)
        return _mapped(
            self._template, lambda text: number if text == "{n}" else _FIELD.sub(value, text)
        )


class Listed:
    """A list of events, once or again and again."""

    def __init__(self, events: Sequence[Any], *, again: bool) -> None:
        self._events, self._again = events, again

    def at(self, number: int, due: float) -> Any:
        """See `Source.at`."""
        if number > len(self._events) and not self._again:
            return ENDED
        return self._events[(number - 1) % len(self._events)]


def template_problem(template: Any) -> str:
    """Return what is wrong with the fields of a template; empty when nothing is."""
    for text in _texts(template):
        for name, form in _FIELD.findall(text):
            if name not in FIELDS:
                known = ", ".join(f"{{{field}}}" for field in FIELDS)
                return f"the template names {{{name}}}; known are {known}"
            if form and name not in _TIMES:
                return f"{{{name}:{form}}} has a format, which {{time}} and {{due}} may have only"
            try:
                datetime.fromtimestamp(0, UTC).strftime(form)
            except ValueError as error:
                return f"{form!r} is not a format of a time ({error}); write one such as %H:%M"
    return ""


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for member in value.values():
                yield from _texts(member)
        case list() | tuple():
            for item in value:
                yield from _texts(item)


def _mapped(value: Any, change: Callable[[str], Any]) -> Any:
    match value:
        case str():
            return change(value)
        case Mapping():
            return {name: _mapped(member, change) for name, member in value.items()}
        case list() | tuple():
            return [_mapped(item, change) for item in value]
    return value


async def read_events(path: Path) -> list[Any]:
    """Return a file's lines: JSON values from a `.jsonl` file, else text. Empty lines are left out.

    Raises:
        ConfigError: it cannot be read, is over `MAX_FILE_BYTES`, has no lines, or a line is not
            JSON; names the line.
    """
    return await asyncio.to_thread(_read, path)


def _read(path: Path) -> list[Any]:
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
