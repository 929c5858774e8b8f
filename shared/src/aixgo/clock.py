"""Wall-clock time that tests can own.

Durations and timers use asyncio (`asyncio.sleep`, `asyncio.timeout`, `loop.time()`), so an event
loop with virtual time moves them all. This module adds the one thing a loop does not have: the Unix
time, derived from the loop when the loop says so (`aixgo.testing.virtual_time` has a
`wall_time` method), else from the machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

_asks_loops = False


def ask_loops() -> None:
    """From now on, let `now` ask the running loop for its `wall_time`.

    Whoever brings a loop with virtual time calls it; other processes do not pay for the question,
    which is a system call on Python 3.11, several for each message.
    """
    global _asks_loops
    _asks_loops = True


def now() -> float:
    """Return Unix seconds: the running loop's virtual time if it has one, else the machine's."""
    if not _asks_loops:
        return time.time()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return time.time()
    wall = getattr(loop, "wall_time", None)
    return time.time() if wall is None else float(wall())


def timer(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return `loop.time`, or what it calls: a call less, many times for each message."""
    return time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time


def rfc3339(moment: float) -> str:
    """Return Unix seconds as RFC 3339 in UTC with microseconds: what message schedules want."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
