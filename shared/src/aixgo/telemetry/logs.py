"""Logs of a process: JSON lines for machines, one readable line each for a terminal.

Code logs an event name and facts: `log.info("agent.started", extra={"agent": name})`. Standard
library only, so the lines of every library come out the same way.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

from aixgo.errors import AixgoError, ConfigError, cut, sendable, text_of
from aixgo.printable import printable, printable_json

Format = Literal["auto", "json", "human"]
LEVELS = ("debug", "info", "warning", "error")

FIRST = ("agent", "run", "step", "trace_id")
"""Facts that come first in a line, so that columns stay where they are."""

MOST_CHARACTERS = 8_000
"""Of each text in a line: its message, a fact, an error's text, a traceback. Whatever a handler
puts into an error, its log line is one that can be shipped and read."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_OWN = ("aixgo", "aixgo_services")
"""Loggers that get the chosen level; those of libraries speak from `warning` on."""

_encode = msgspec.json.Encoder(enc_hook=repr).encode


def configure(level: str = "info", form: Format = "auto", stream: TextIO | None = None) -> None:
    """Log to `stream` (stderr without one) from now on, and nowhere else.

    Args:
        level: lowest level of Aixgo's own lines; of libraries it is `warning`, or all of it when
            this is `debug`.
        form: `auto` is `human` on a terminal and `json` elsewhere.

    Raises:
        ConfigError: there is no such level.
    """
    if level.lower() not in LEVELS:
        raise ConfigError(f"log level {level!r} is not known; use one of {', '.join(LEVELS)}")
    stream = sys.stderr if stream is None else stream
    if form == "auto":
        form = "human" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else HumanFormatter(stream.isatty()))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    chosen = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(logging.DEBUG if chosen == logging.DEBUG else logging.WARNING)
    for name in _OWN:
        logging.getLogger(name).setLevel(chosen)


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line says besides its message; agent, run, step and trace first."""
    given = {
        key: cut(value, MOST_CHARACTERS) if isinstance(value, str) else value
        for key, value in vars(record).items()
        if key not in _STANDARD and key[:1] != "_"
    }
    if "trace_id" not in given and (trace_id := _trace_id()):
        given["trace_id"] = trace_id
    return {key: given[key] for key in FIRST if given.get(key)} | {
        key: value for key, value in given.items() if key not in FIRST
    }


class FactsLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry given facts besides those of each line.

    A fact of the logger wins over one of the line with the same name: lines can be found by it.
    """

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Return the message with the facts of both."""
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **(self.extra or {})}}


class JsonFormatter(logging.Formatter):
    """A JSON object in one line: timestamp (RFC 3339), level, logger, message, facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "timestamp": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": cut(record.getMessage(), MOST_CHARACTERS),
            **facts(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = {
                "type": type(error).__name__,
                "message": cut(text_of(error), MOST_CHARACTERS),
                "stack": _stack(error),
            }
        return printable_json(_encode(line).decode())


_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}


class HumanFormatter(logging.Formatter):
    """`12:00:01 info  agent.started agent=triage role=classifier`, coloured on a terminal."""

    def __init__(self, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and below it the traceback of an error that is not one of ours."""
        level = record.levelname.lower()
        time = _moment(record).astimezone().strftime("%H:%M:%S")
        said = cut(record.getMessage(), MOST_CHARACTERS)
        line = self.line(time, level, said, facts(record))
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, AixgoError):
            line += f": {type(error).__name__}: {printable(cut(text_of(error), MOST_CHARACTERS))}"
        elif error is not None:
            line += "\n" + printable(_stack(error)).rstrip()
        return line

    def line(self, time: str, level: str, message: str, given: dict[str, Any]) -> str:
        """Return one line of the parts given; a trace that only repeats the run is left out."""
        if given.get("trace_id") == given.get("run"):
            given = {key: value for key, value in given.items() if key != "trace_id"}
        shown = f"{level:<7}"
        if self._colour:
            shown = f"\x1b[{_COLOURS.get(level, '0')}m{shown}\x1b[0m"
        said = " ".join(f"{key}={_shown(value)}" for key, value in given.items())
        return f"{time} {shown} {printable(message)}" + (f" {printable(said)}" if said else "")


def _stack(error: BaseException) -> str:
    """Return a traceback: its end, with the newest frames and the error, when it is too long."""
    lines = [cut(line, MOST_CHARACTERS // 2) for line in traceback.format_exception(error)]
    text = sendable("".join(lines))
    more = len(text) - MOST_CHARACTERS
    return text if more <= 0 else f"({more:,} characters before) … {text[more:]}"


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else _encode(value).decode()
    return text if text and " " not in text and "\n" not in text else _encode(text).decode()


def _trace_id() -> str:
    """Return the id of the current OpenTelemetry span, if anything uses OpenTelemetry here."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""
