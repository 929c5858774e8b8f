"""Durations as people write them: `30s`, `1h30m`, `250ms`; a bare number is seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from aixgo.clock import LONGEST_SECONDS

_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h|d))+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


SHORTEST = 0.001
LONGEST = LONGEST_SECONDS
"""Seconds: what a document or an option may say of a time, from 1 ms to ten years."""

_LIMITS = "1ms or more, up to 3650d (10 years)"


def parse_duration(value: Any) -> float:
    """Return seconds.

    Raises:
        ValueError: not a duration; shows how to write one.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:  # an integer of hundreds of digits
            raise ValueError("a duration cannot be that long (write 30s, 5m or 1h30m)") from None
    if isinstance(value, str):
        text = value.strip().replace(" ", "")
        if _WHOLE.fullmatch(text):
            return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
        if _NUMBER.fullmatch(text):  # as an environment variable holds it
            return float(text)
    raise ValueError(f"not a duration: {value!r:.80} (write 30s, 5m, 1h30m or 250ms)")


def some_time(value: Any) -> float:
    """Return the seconds of a duration that something can wait for.

    Raises:
        ValueError: not a duration, or not between `SHORTEST` and `LONGEST`.
    """
    seconds = parse_duration(value)
    if not SHORTEST <= seconds <= LONGEST:  # which NaN is not either
        raise ValueError(f"{value!s:.40} is not a time to wait for; give {_LIMITS}")
    return seconds


def no_or_some_time(value: Any) -> float:
    """Return the seconds of a duration that may be 0.

    Raises:
        ValueError: not a duration, or neither 0 nor between `SHORTEST` and `LONGEST`.
    """
    seconds = parse_duration(value)
    if seconds != 0 and not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"{value!s:.40} is not a time to wait for; give 0s, or {_LIMITS}")
    return seconds


def format_duration(seconds: float) -> str:
    """Return a short text such as `1h30m`, `2.5s` or `250ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


_HOW = "a duration: 30s, 5m, 1h30m, 250ms; a bare number is seconds"
_TEXT = {"type": "string", "pattern": r"^\s*((\d+(\.\d+)?)(us|ms|s|m|h|d)\s*)+$"}
_SOME = {"type": "number", "minimum": SHORTEST, "maximum": LONGEST}
_NO_OR_SOME = {
    "anyOf": [{"const": 0}, _SOME, _TEXT],
    "description": f"{_HOW}; 0, or {_LIMITS}",
}
_SOME_TIME = {"anyOf": [_SOME, _TEXT], "description": f"{_HOW}; {_LIMITS}"}

Duration = Annotated[float, BeforeValidator(no_or_some_time), WithJsonSchema(_NO_OR_SOME)]
"""Seconds, zero or `SHORTEST` to `LONGEST`, written as a duration."""

PositiveDuration = Annotated[float, BeforeValidator(some_time), WithJsonSchema(_SOME_TIME)]
"""Seconds, `SHORTEST` to `LONGEST`, written as a duration."""
