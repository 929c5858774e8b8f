"""How severe a message is: a level of its own, rules, or the same for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
from pydantic import JsonValue, field_validator, model_validator
from pydantic_core import SchemaError, SchemaValidator, core_schema

from aixgo.config.agents import Options
from aixgo.tools.net.answers import ResultPath

Level = Literal["debug", "info", "warning", "error", "critical"]

NUMBERS: Mapping[str, int] = {
    "debug": 10,
    "info": 20,
    "warning": 30,
    "error": 40,
    "critical": 50,
}
"""Levels as Python's `logging` counts them."""

_SPOKEN = {
    "trace": "debug",
    "informational": "info",
    "notice": "info",
    "warn": "warning",
    "err": "error",
    "severe": "error",
    "crit": "critical",
    "fatal": "critical",
    "alert": "critical",
    "emergency": "critical",
    "emerg": "critical",
    "panic": "critical",
}
"""What other systems call them."""


class LevelRule(Options):
    """Messages that have a level of their own; all that is given must hold."""

    level: Level | Literal["off"]
    """The level of such a message; `off` leaves it out."""
    source: str = ""
    """Name of the agent that sent it."""
    field: str = ""
    """JSON path of a value in the payload (RFC 9535), such as `$.temperature`; it must be there."""
    equals: JsonValue = None
    """What the value is; without `field`, the payload."""
    above: float | None = None
    """What the value, a number, is over."""
    below: float | None = None
    """What the value, a number, is under."""
    matches: str = ""
    """Regular expression that is found in the text of the value; of the payload without `field`."""

    @field_validator("matches")
    @classmethod
    def _is_an_expression(cls, pattern: str) -> str:
        try:
            _compiled(pattern)
        except SchemaError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{pattern!r:.80} is not a regular expression: {reason}") from None
        return pattern

    @model_validator(mode="after")
    def _says_when(self) -> LevelRule:
        if not self.model_fields_set - {"level"}:
            raise ValueError(
                "a rule says when: source, field, equals, above, below or matches; the level of "
                "all other messages is `level` of the agent"
            )
        return self


class Event(Protocol):
    """What a rule looks at."""

    @property
    def source(self) -> str:
        """Who sent it."""
        ...

    @property
    def data(self) -> Any:
        """The payload, decoded."""
        ...

    @property
    def text(self) -> str:
        """The payload as text."""
        ...


class Levels:
    """Finds the level of each message: the first rule that holds, else its own, else the usual one.

    Args:
        usual: level of a message that says nothing.
        path: JSON path of the level that a payload has itself; empty for none.

    Raises:
        ConfigError: a path is not one.
    """

    def __init__(self, agent: str, usual: Level, path: str, rules: Sequence[LevelRule]) -> None:
        self._usual = NUMBERS[usual]
        what = f"agent {agent!r}"
        self._path = ResultPath(path, f"{what}: level_from") if path else None
        self._rules = [_Check(rule, f"{what}: levels.{place}") for place, rule in enumerate(rules)]

    def of(self, message: Event) -> int | None:
        """Return the level of a message as `logging` counts; None leaves it out."""
        for check in self._rules:
            if check.holds(message):
                return NUMBERS.get(check.level)
        if self._path is not None:
            for found in self._path.find(message.data)[:1]:
                return self._named(found)
        return self._usual

    def _named(self, name: Any) -> int:
        if not isinstance(name, str):
            return self._usual
        name = name.strip().lower()
        return NUMBERS.get(_SPOKEN.get(name, name), self._usual)


class _Check:
    """A rule that is ready to be asked."""

    def __init__(self, rule: LevelRule, what: str) -> None:
        self.level, self._rule = rule.level, rule
        self._field = ResultPath(rule.field, f"{what}.field") if rule.field else None
        self._compares = "equals" in rule.model_fields_set
        self._pattern = _compiled(rule.matches) if rule.matches else None

    def holds(self, message: Event) -> bool:
        rule = self._rule
        if rule.source and rule.source != message.source:
            return False
        if self._field is None and not self._compares and rule.above is rule.below is None:
            return self._pattern is None or self._pattern.isinstance_python(message.text)
        values = [message.data] if self._field is None else self._field.find(message.data)
        return any(self._fits(value) for value in values)

    def _fits(self, value: Any) -> bool:
        rule = self._rule
        if self._compares and not _equal(value, rule.equals):
            return False
        if rule.above is not None and not (_is_number(value) and value > rule.above):
            return False
        if rule.below is not None and not (_is_number(value) and value < rule.below):
            return False
        return self._pattern is None or self._pattern.isinstance_python(_text(value))


def _compiled(pattern: str) -> SchemaValidator:
    """Return what finds a pattern in time in proportion to the text, whatever the text is.

    It is the engine of Rust: without look-around and references back.
    """
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; Python takes true for 1."""
    return one == other and isinstance(one, bool) is isinstance(other, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
