"""Checks of what is asked of a broker, the same for every adapter."""

from __future__ import annotations

import math

from aixgo.errors import ConfigError, StreamRefused

FARTHEST = 9_214_646_400.0
"""Unix seconds of the year 2262, the last that a nats-server's clock knows."""


def check_slots(slots: int) -> None:
    """Check how many handlers of a consumption may run at once.

    Raises:
        ConfigError: fewer than 1.
    """
    if slots < 1:
        raise ConfigError(f"slots is {slots}; a consumption needs at least 1")


def whole_seconds(subject: str, ttl: float) -> int:
    """Return the time to live of a message as a stream keeps it; rather longer than shorter.

    Raises:
        StreamRefused: it is below 1 s, or not a number of seconds that ends.
    """
    if not 1 <= ttl < FARTHEST:
        raise StreamRefused(
            f"time to live of a message for {subject!r} is {ttl:g} s; streams count whole seconds "
            "from 1 on, and 0 keeps it"
        )
    return math.ceil(ttl)


def check_timeout(timeout: float) -> None:
    """Check how long an answer is waited for.

    Raises:
        ConfigError: it is not a number of seconds.
    """
    if not timeout >= 0:  # nor is nan
        raise ConfigError(f"timeout is {timeout:g} s; give 0 s or more")


def check_sequence(sequence: int) -> None:
    """Check the sequence of a record.

    Raises:
        ValueError: it is below 1.
    """
    if sequence < 1:
        raise ValueError(f"sequence is {sequence}; the first record of a stream is 1")
