"""Wall-clock time that tests can own.

Durations and timers use asyncio (`asyncio.sleep`, `asyncio.timeout`, `loop.time()`), so an event
loop with virtual time moves them all. This module adds the one thing a loop does not have: the Unix
time, derived from the loop when the loop says so (`aixgo.testing.virtual_time` has a
`wall_time` method), else from the machine.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


def now() -> float:
    """Return Unix seconds: the running loop's virtual time if it has one, else the machine's."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return time.time()
    wall = getattr(loop, "wall_time", None)
    return time.time() if wall is None else float(wall())


def rfc3339(moment: float) -> str:
    """Return Unix seconds as RFC 3339 in UTC with microseconds: what message schedules want."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
