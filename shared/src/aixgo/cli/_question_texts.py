"""What people are asked, in words, and what they answer: the same in a prompt and in a list."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from aixgo.cli._terminal import one_line
from aixgo.errors import InvalidPayload

DOUBT = ("done", "not done")
"""Options of the question whether a tool that acts once did what it was asked to."""


def asked(question: Any) -> str:
    """Return a question in one line."""
    if isinstance(question, str):
        return one_line(question, 300)
    return one_line(msgspec.json.encode(question).decode(), 300)


def asked_at_length(question: Any) -> list[str]:
    """Return a question in lines: its sentence first, then each fact that belongs to it."""
    if not isinstance(question, dict) or not isinstance(question.get("question"), str):
        return [asked(question)]
    facts = [(key, value) for key, value in question.items() if key != "question" and value]
    return [
        one_line(question["question"], 300),
        *(f"  {one_line(key, 60)}: {asked(value)}" for key, value in facts),
    ]


def choices(options: Sequence[str]) -> str:
    """Return what can be answered; empty when that is anything."""
    words = " | ".join(options)
    return f'{words} | {{"done": VALUE}}' if tuple(options) == DOUBT else words


def answering(run: str, step: str, *, broker: str = "", namespace: str = "default") -> str:
    """Return the command that answers a question."""
    words = ["aixgo", "runs", "answer", run, "…", "--step", step]
    if broker:
        words += ["--broker", broker]
    if namespace != "default":
        words += ["--namespace", namespace]
    return " ".join(word if word == "…" else shlex.quote(word) for word in words)


def answer_in(text: str, options: Sequence[str]) -> Any:
    """Return the answer that was typed.

    An option may be typed in any case, or as its beginning when no other begins so; a JSON object
    `{"option": value}` says more with it. Without options the text is the answer as it stands.

    Raises:
        InvalidPayload: it is none of the options.
    """
    if not options:
        return text
    if text.startswith("{"):
        given = _object(text)
        if given is not None and len(given) == 1 and next(iter(given)) in options:
            return given
    exact = [one for one in options if one == text]
    same = exact or [one for one in options if one.casefold() == text.casefold()]
    begun = same or [one for one in options if one.casefold().startswith(text.casefold())]
    if len(begun) != 1 or not text:
        raise InvalidPayload(f"{one_line(text)!r} is not an answer; choose: {choices(options)}")
    return begun[0]


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None
