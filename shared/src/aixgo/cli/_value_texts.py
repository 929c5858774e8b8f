"""The values of steps, for people: results, recorded values, answers and what models said."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec

from aixgo.cli._terminal import is_terminal, one_line
from aixgo.models.port import ChatResponse
from aixgo.runs import Step

VALUE_CHARS = 300
"""Of a value in a line that is not a terminal's."""

_SILENT = frozenset({"sleep", "emit"})
"""Kinds of steps whose value says nothing."""


def line_width(taken: int = 0) -> int:
    """Return the characters that a line has for a value beside those that are taken."""
    return max(40, shutil.get_terminal_size().columns - taken) if is_terminal() else VALUE_CHARS


def value_line(step: Step, width: int) -> str:
    """Return the beginning of a step's value in one line; empty when there is none to show."""
    return one_line(value_text(step), width)


def value_lines(step: Step) -> list[str]:
    """Return a step's whole value in lines."""
    return value_text(step, indent=True).splitlines()


def value_text(step: Step, *, indent: bool = False) -> str:
    """Return a step's value as text; empty when there is none to show."""
    if step.value is msgspec.UNSET:
        return f"({step.stored:,} bytes in the object store; see --full)" if step.stored else ""
    if step.kind in _SILENT and step.value is None:
        return ""
    if step.kind == "model" and (said := _said(step.value)) is not None:
        return said
    return as_text(step.value, indent=indent)


def as_text(value: Any, *, indent: bool = False) -> str:
    """Return a JSON value for people: text as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    data = msgspec.json.encode(value)
    return (msgspec.json.format(data, indent=2) if indent else data).decode()


def _said(value: Any) -> str | None:
    """Return what a model answered: its text, and the tools that it wants; None for others."""
    try:
        message = msgspec.convert(value, ChatResponse).message
    except (msgspec.ValidationError, IndexError):
        return None
    wants = [f"{call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join(part for part in (message.text, *wants) if part)
