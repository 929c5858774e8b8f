"""The lines of all agents of `aixgo up` on one screen: a name and a colour for each."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from aixgo.cli._terminal import coloured, write, write_json
from aixgo.printable import printable
from aixgo.telemetry import logs

_COLOURS = ("36", "33", "35", "32", "34", "31")
_COLUMNS = frozenset({"timestamp", "level", "logger", "message"})


class Screen:
    """Shows what the processes of agents log and print, and what becomes of them.

    Args:
        level: lowest level of log lines.
        json: for programs: one object per line on stdout, unless that is for results.
        results: stdout is for the results of inputs.
    """

    def __init__(self, level: str, *, json: bool, results: bool) -> None:
        self._json, self._results = json, results
        self._least = logs.LEVELS.index(level.lower())
        self._colour = sys.stderr.isatty()
        self._human = logs.HumanFormatter(self._colour)
        self.names: list[str] = []

    def logged(self, name: str, record: dict[str, Any]) -> None:
        """Show a log line of an agent, if its level is high enough."""
        level = str(record.get("level", "info"))
        rank = logs.LEVELS.index(level) if level in logs.LEVELS else len(logs.LEVELS)
        if rank >= self._least:
            self._show(name, record)

    def printed(self, name: str, line: str) -> None:
        """Show a line that an agent's code wrote to its stdout."""
        if self._results:
            coloured(self._prefix(name), self._colour_of(name), printable(line))
        elif self._json:
            write_json({"agent": name, "stdout": line})
        else:
            write(f"{self._prefix(name)} {line}")

    def told(self, name: str, text: str) -> None:
        """Show what became of an agent's process, whatever the level is."""
        self._show(name, {"level": "warning", "message": text})

    def _show(self, name: str, record: dict[str, Any]) -> None:
        if self._json and not self._results:
            write_json({"agent": name, **record})
            return
        given = {key: value for key, value in record.items() if key not in _COLUMNS}
        if given.get("agent") == name:
            del given["agent"]
        stack = given.pop("error", None)
        if isinstance(stack, dict):
            given["error"] = f"{stack.get('type')}: {stack.get('message')}"
        elif stack is not None:
            given["error"] = stack
        line = self._human.line(
            _moment(record).strftime("%H:%M:%S"),
            str(record.get("level", "info")),
            str(record.get("message", "")),
            given,
        )
        coloured(self._prefix(name), self._colour_of(name), line)

    def _prefix(self, name: str) -> str:
        return f"{name:<{max(map(len, self.names))}} │"

    def _colour_of(self, name: str) -> str:
        return _COLOURS[self.names.index(name) % len(_COLOURS)] if self._colour else ""


def _moment(record: dict[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(str(record.get("timestamp", ""))).astimezone()
    except ValueError:
        return datetime.now().astimezone()
