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
_skew = 0.0

TOLERATED_SECONDS = 2.0
"""Of difference between this machine's clock and the broker's; deadlines allow for it."""


LONGEST_SECONDS = 3650 * 86_400.0
"""Ten years: the longest time that a document, an option or a call may give something."""


def skew() -> float:
    """Return the seconds that `now` adds to the machine's clock, to agree with the broker's."""
    return _skew


def measured(ahead: float, uncertain: float) -> bool:
    """Take note that the broker's clock is `ahead` of this machine's; whether `now` changed.

    Deadlines and timers are moments that several processes compare, so all of them count in the
    broker's time when their own is wrong by more than `TOLERATED_SECONDS`.

    Args:
        ahead: seconds; below 0 when the machine's clock is ahead.
        uncertain: seconds by which the measurement may be wrong either way.
    """
    global _skew
    if uncertain > TOLERATED_SECONDS / 2:
        return False
    if _skew and abs(ahead - _skew) <= TOLERATED_SECONDS / 2:
        return False  # as known; a correction that follows every look would be no better
    wanted = ahead if abs(ahead) > TOLERATED_SECONDS + uncertain else 0.0
    changed, _skew = wanted != _skew, wanted
    return changed


def ask_loops() -> None:
    """From now on, let `now` ask the running loop for its `wall_time`.

    A loop with virtual time calls it; other processes do not pay for the question,
    which is a system call on Python 3.11, several for each message.
    """
    global _asks_loops
    _asks_loops = True


def now() -> float:
    """Return Unix seconds: the running loop's virtual time if it has one, else the machine's.

    The machine's is corrected when it is wrong; see `measured`.
    """
    if not _asks_loops:
        return time.time() + _skew
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return time.time() + _skew
    wall = getattr(loop, "wall_time", None)
    return time.time() + _skew if wall is None else float(wall())


def machine() -> float:
    """Return Unix seconds of this machine's clock, right or wrong."""
    return time.time()


def timer(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return `loop.time`, or what it calls: a call less, many times for each message."""
    return time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time


_FIRST_MOMENT, _LAST_MOMENT = 946_684_800.0, 7_258_118_400.0
"""The years 2000 and 2200: no message of ours is from before or after."""


def is_sensible(moment: float) -> bool:
    """Whether Unix seconds that another program wrote can be the time of something."""
    return _FIRST_MOMENT <= moment <= _LAST_MOMENT


def rfc3339(moment: float) -> str:
    """Return Unix seconds as RFC 3339 in UTC with microseconds: what message schedules want."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
