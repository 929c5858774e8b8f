"""Answers that must be JSON: how it is asked for, and how it is found in what comes.

Models put a fence around it, think before it, or explain it afterwards. The answer of the port is
the JSON alone, in one piece and as a stream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from aixgo.models.port import ResponseSchema

_TRIES = 32
"""Places in a text where JSON may begin; more would cost more than asking again."""

_BLANK = " \t\r\n\ufeff"
_FENCE = re.compile(r"```[\w-]*\s(.*?)```", re.DOTALL)
_MARKS = re.compile(r'["\\{}\[\]]')
_IN_STRING = re.compile(r'["\\]')
_OPENING = {"object": "{", "array": "["}

_scan = json.JSONDecoder().raw_decode


def instruction(schema: ResponseSchema) -> str:
    """Return what a model is told whose server cannot be given a schema."""
    return (
        "Answer with JSON and nothing else: no explanation, no code fence. The JSON must satisfy "
        f"this JSON schema:\n{msgspec.json.encode(schema.schema).decode()}"
    )


def json_in(text: str, schema: dict[str, Any]) -> str:
    """Return the JSON in a text: the first that fits the schema's outline, else the first at all.

    A text without any is returned as it is.
    """
    text = text.strip(_BLANK)
    whole = _parsed(text)
    if isinstance(whole, str) and schema.get("type", "string") != "string":
        return json_in(whole, schema) if whole.strip(_BLANK)[:1] in ("{", "[") else text
    if whole is not None:
        return text
    found = ""
    for place in _places(text):
        for value, written in _values(place, _OPENING.get(schema.get("type", ""), "{[")):
            if fits(value, schema):
                return written
            found = found or written
    return found or text


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value has the schema's type and, for objects, what it requires."""
    match schema.get("type"):
        case "object":
            return isinstance(value, dict) and value.keys() >= set(_required(schema))
        case "array":
            return isinstance(value, list)
        case _:
            return True


def missing_in(value: Any, schema: dict[str, Any]) -> list[str]:
    """Return the names of what an object lacks."""
    if schema.get("type") != "object":
        return []
    if not isinstance(value, dict):
        return ["a JSON object"]
    return [name for name in _required(schema) if name not in value]


def _required(schema: dict[str, Any]) -> list[str]:
    names = schema.get("required")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _places(text: str) -> Iterator[str]:
    """Yield the parts of a text that may be the answer, the likeliest first."""
    said = text.rpartition("</think>")[2]
    yield from _FENCE.findall(said)
    yield said
    if said != text:
        yield text


def _values(text: str, opening: str) -> Iterator[tuple[Any, str]]:
    position = 0
    for _ in range(_TRIES):
        starts = [at for mark in opening if (at := text.find(mark, position)) >= 0]
        if not starts:
            return
        start = min(starts)
        try:
            value, end = _scan(text, start)
        except (ValueError, RecursionError):
            position = start + 1
            continue
        yield value, text[start:end]
        position = end


class JsonGate:
    """Lets the JSON of a streamed answer through as it comes, and nothing around it.

    When the text does not begin with it, all of it is held back to the end.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._opening = _OPENING.get(schema.get("type", ""), "{[")
        self._state = "before"
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, piece: str) -> str:
        """Return the part of a piece that can be handed on."""
        if self._state == "before":
            piece = piece.lstrip(_BLANK)
            if not piece:
                return ""
            self._state = "inside" if piece[0] in self._opening else "held"
        if self._state != "inside" or not piece:
            return ""
        end = self._end_in(piece)
        if end < 0:
            return piece
        self._state = "after"
        return piece[:end]

    def answer(self, passed: str, text: str) -> str:
        """Return the whole answer, which begins with what has `passed` of the `text`."""
        return passed if self._state in {"inside", "after"} else json_in(text, self._schema)

    def _end_in(self, piece: str) -> int:
        """Return where the value ends, or -1."""
        position = 0
        if self._escaped:
            self._escaped, position = False, 1
        while found := (_IN_STRING if self._in_string else _MARKS).search(piece, position):
            mark, position = found.group(), found.end()
            if mark == '"':
                self._in_string = not self._in_string
            elif mark == "\\":
                if self._in_string:
                    position += 1
                    self._escaped = position > len(piece)
            elif mark in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    return position
        return -1
