"""How often events may be published: a rate as people write it, and the waits that keep it."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|m|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

MOST_PER_SECOND = 100_000.0
LEAST_PER_SECOND = 1 / 86_400.0
"""Once a day: what is rarer has a schedule."""


def parse_rate(value: Any) -> float:
    """Return events per second.

    Raises:
        ValueError: it is not a rate; shows how to write one.
    """
    per_second = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        per_second = float(value)
    elif isinstance(value, str) and (found := _RATE.fullmatch(value.strip())):
        per_second = float(found[1]) / _SECONDS[found[2]]
    if per_second is None:
        raise ValueError(f"not a rate: {value!r:.40} (write 10/s, 100/m or 5000/h)")
    if not LEAST_PER_SECOND <= per_second <= MOST_PER_SECOND:
        raise ValueError(f"{value!r:.40} is not between 1/d and {MOST_PER_SECOND:,.0f}/s")
    return per_second


Rate = Annotated[
    float,
    BeforeValidator(parse_rate),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": LEAST_PER_SECOND, "maximum": MOST_PER_SECOND},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*/\s*(s|m|h|d)\s*$"},
            ],
            "description": "a rate: 10/s, 100/m, 5000/h; a bare number is per second",
        }
    ),
]
"""Events per second, written as a rate."""


class Pace:
    """Lets events through one after another, evenly spaced; what waited is not made up for.

    Args:
        rate: events per second; None for no limit.
    """

    def __init__(self, rate: float | None) -> None:
        self._spacing = 0.0 if rate is None else 1 / rate
        self._next = 0.0

    def take(self) -> float:
        """Return the seconds until the next event may be published, and count it as published."""
        moment = asyncio.get_running_loop().time()
        free = max(moment, self._next)
        self._next = free + self._spacing
        return free - moment
