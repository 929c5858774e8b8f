"""Tools that need answers of people before they can go on, such as those of MCP servers.

A tool with `spec.asks` may return `NeedsAnswers` instead of its value. That ends the step; the
runtime asks the questions, with the run parked, and executes the tool again as a further step, with
the answers in its `ToolContext`.
"""

from __future__ import annotations

from typing import Any

import msgspec

MOST_ROUNDS = 10
"""Executions of one use of a tool that needs answers again and again."""


class ToolQuestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question of a tool.

    Attributes:
        text: for the person.
        schema: JSON schema of the answer, an object; empty when a yes is enough.
    """

    text: str
    schema: dict[str, Any] = {}


class NeedsAnswers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool returns that cannot go on without answers.

    Attributes:
        questions: by a name of the tool's own.
        state: given back as it is.
    """

    questions: dict[str, ToolQuestion]
    state: str = ""


class _Marked(msgspec.Struct, frozen=True, rename={"needs": "aixgo.needs_answers"}):
    needs: NeedsAnswers


_marked = msgspec.json.Decoder(_Marked)
_MARK = b'{"aixgo.needs_answers":'


def marked(needs: NeedsAnswers) -> object:
    """Return how it is recorded in the place of a value."""
    return _Marked(needs)


def needed(body: bytes) -> NeedsAnswers | None:
    """Return what a recorded value needs; None for one that is a value."""
    return _marked.decode(body).needs if body.startswith(_MARK) else None
