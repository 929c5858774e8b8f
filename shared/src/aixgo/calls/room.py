"""Room for what was accepted: who may still add to a stream that is nearly full.

A stream refuses the new when it is full, no matter whose. If new runs could fill it, the steps of
those that were accepted would find no room, nothing would end, and nothing would make room. So each
kind of message has a share of a stream, and the later it comes in a run, the larger that is: a new
run is refused first, then a call the sooner the less deep it is, then the value of a step. What
ends something (an error, an answer, a cancel, an expiry, the result of a run) may use all of it.

The streams are the broker's, and so is the word on what is in them; a process asks seldom. Between
two questions it counts what it adds itself, and it asks again before that is an eighth of what was
free, so that several processes together stay within the share, or hardly above it.
"""

from __future__ import annotations

import asyncio
import logging
import math

from aixgo.broker.port import Broker
from aixgo.clock import now, timer
from aixgo.errors import BrokerError, StreamFull
from aixgo.pauses import Pauses
from aixgo.subjects import CALLS, RESULTS, Names

log = logging.getLogger("aixgo.calls")

NEW_CALLS = 0.75
"""Of CALLS for new runs. Each level of nesting may use half of what the one above leaves."""

NEW_RESULTS, STEP_RESULTS = 0.85, 0.95
"""Of RESULTS up to which runs begin, and up to which steps end with a value."""

CALM_SECONDS, TIGHT_SECONDS, FULL_SECONDS = 2.0, 0.25, 0.05
"""For which the broker's word holds: below half of the room, above it, and when it says no."""

UNKNOWN_SECONDS = 30.0
"""Until a process that may not ask, or asked for nothing, tries again."""

PATIENCE_SECONDS = 10.0
"""For which a new run waits for room in RESULTS: upkeep removes old results twice in that time."""

_PART = 8
"""What is added between two questions is at most this part of what was free."""

_FRAME_BYTES = 600
"""Of a record besides its payload: envelope, subject, headers and what the stream adds."""

_SHORTEST, _LONGEST = 0.02, 0.5
"""Seconds between two looks of who waits for room."""


def share_of_call(depth: int) -> float:
    """Return the share of CALLS that a call may use: 3/4 for a new run, 7/8 below it, and so on."""
    return 1.0 - (1.0 - NEW_CALLS) * 0.5 ** min(depth, 20)


class _Level:
    """What is known of a stream, since when (loop time), and what was added here since then."""

    __slots__ = ("added", "asked", "asking", "bytes", "for_new", "most", "share", "until")

    def __init__(self, share: float) -> None:
        self.bytes, self.most, self.added = 0, 0, 0
        self.asked = self.until = -math.inf
        self.asking = asyncio.Lock()
        self.share, self.for_new = share, 0.0  # of new runs, and what of it may be added

    def may_add(self, share: float) -> float:
        """Return the bytes that may be added in all before the broker is asked again."""
        return (share * self.most - self.bytes) / _PART if self.most else math.inf


class Room:
    """The room in CALLS and RESULTS of a namespace, as one process knows it.

    Attributes:
        refused: times that there was none for a new run, a step or an event.
        relief: held while handled events are removed for publishers that wait.
        relieved: loop time at which that was last done.
    """

    __slots__ = ("_both", "_broker", "_levels", "_names", "_time", "refused", "relief", "relieved")

    def __init__(self, broker: Broker, names: Names) -> None:
        self._broker, self._names = broker, names
        self._both = _Level(NEW_CALLS), _Level(NEW_RESULTS)
        self._levels = dict(zip((CALLS, RESULTS), self._both, strict=True))
        self._time = timer(asyncio.get_running_loop())
        self.refused = 0
        self.relief, self.relieved = asyncio.Lock(), -math.inf

    def begins(self, size: int) -> bool:
        """Take room for a new run without a question, as nearly always; else `begin` asks."""
        whole, moment = size + _FRAME_BYTES, self._time()
        calls, results = self._both
        queued, kept = calls.added + whole, results.added + whole
        if moment >= calls.until or queued > calls.for_new:
            return False
        if moment >= results.until or kept > results.for_new:
            return False
        calls.added, results.added = queued, kept
        return True

    async def begin(self, size: int, deadline: float | None) -> None:
        """Take room for a new run whose input has so many bytes.

        Args:
            deadline: of the run, Unix seconds: it does not wait longer for old results to go.

        Raises:
            StreamFull: there is none.
        """
        await self.take(CALLS, NEW_CALLS, size)
        if not self.fits(RESULTS, NEW_RESULTS, size):
            left = PATIENCE_SECONDS if deadline is None else deadline - now()
            await self.wait(RESULTS, NEW_RESULTS, size, min(left, PATIENCE_SECONDS))

    async def take(self, stream: str, share: float, size: int) -> None:
        """Take room for a record.

        Args:
            stream: CALLS or RESULTS.
            share: of the stream that the record may use.
            size: of its payload, bytes.

        Raises:
            StreamFull: there is none.
        """
        if self.fits(stream, share, size):
            return
        level, whole = await self._asked(stream), size + _FRAME_BYTES
        if level.most and level.bytes + level.added + whole > share * level.most:
            self.refused += 1
            raise StreamFull(
                f"stream {self._names.stream(stream)!r} holds {level.bytes + level.added:,} of "
                f"{level.most:,} bytes, and the rest is kept for runs that were accepted before; "
                f"try again later, or {_FIX[stream]}"
            )
        level.added += whole

    async def wait(self, stream: str, share: float, size: int, longest: float = math.inf) -> None:
        """Take room as soon as there is some.

        Args:
            longest: seconds to wait.

        Raises:
            StreamFull: there was none in that time.
        """
        clock, pauses = self._time, Pauses(_SHORTEST, _LONGEST)
        until, told = clock() + longest, False
        while True:
            try:
                await self.take(stream, share, size)
                return
            except StreamFull as full:
                pause = pauses.take()
                if clock() + pause > until:
                    raise
                if not told:
                    told = True
                    log.warning("room.waits", extra={"stream": stream, "error": str(full)})
            await asyncio.sleep(pause)

    def fits(self, stream: str, share: float, size: int) -> bool:
        """Take room without a question, as nearly always; else `take` and `wait` ask."""
        level = self._levels[stream]
        added = level.added + size + _FRAME_BYTES
        if self._time() >= level.until or added > level.may_add(share):
            return False
        level.added = added
        return True

    async def _asked(self, stream: str) -> _Level:
        """Return what the broker says, now or a moment ago."""
        level, clock = self._levels[stream], self._time
        async with level.asking:
            if clock() < level.asked + FULL_SECONDS:
                return level
            try:
                info = await self._broker.stream_info(self._names.stream(stream))
            except BrokerError as error:
                # an append that finds no room says so itself
                log.info("room.unknown", extra={"stream": stream, "error": error.code})
                info = None
            level.asked, level.added = clock(), 0
            if info is None:
                level.bytes, level.most, holds = 0, 0, UNKNOWN_SECONDS
            else:
                level.bytes, level.most = info.bytes, info.config.max_bytes
                holds = CALM_SECONDS if level.bytes * 2 < level.most else TIGHT_SECONDS
            level.for_new = level.may_add(level.share)
            level.until = level.asked + holds
            return level


_FIX = {
    CALLS: "start more instances of the agents that work on it",
    RESULTS: "answer or cancel runs that wait, or raise `retention.max_bytes`",
}
