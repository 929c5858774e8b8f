"""What a stream forgets by itself: single records by their TTL, all others by `max_age`."""

from __future__ import annotations

import asyncio

from aixgo.broker.headers import MARKER_REASON
from aixgo.broker.memory.headers import NEVER
from aixgo.broker.memory.roles import Shelf
from aixgo.broker.memory.timers import Deadlines
from aixgo.broker.port import Record
from aixgo.clock import timer

SOONEST = 0.001
"""Seconds that the age timer waits at least, when Unix time and the loop's time differ a little."""


class Expiry:
    """Removes records of a stream when their time is over, by TTL or by age, whichever is first."""

    __slots__ = ("_aged", "_immortal", "_stream", "_time", "_timer", "_ttls")

    def __init__(self, stream: Shelf) -> None:
        self._stream, self._time = stream, timer(stream.host.loop)
        self._ttls: Deadlines[int] = Deadlines(stream.host.loop, self._remove)
        self._immortal: set[int] = set()
        self._aged = 0  # everything up to this sequence is gone or stays for ever
        self._timer: asyncio.TimerHandle | None = None

    def expire(self, sequence: int, ttl: float) -> None:
        """Remove the record `ttl` seconds from now, or never (`NEVER`)."""
        if ttl == NEVER:
            self._immortal.add(sequence)
        else:
            self._ttls.set(sequence, self._time() + ttl)

    def age(self, record: Record) -> None:
        """Remove the record when the stream's `max_age` has passed."""
        if self._timer is None:
            self._arm(record.time + self._stream.config.max_age)

    def discard(self, sequence: int) -> None:
        """Forget the time of a record that is gone."""
        self._ttls.when.pop(sequence, None)
        if self._immortal:
            self._immortal.discard(sequence)

    def rearm(self) -> None:
        """Look again after `max_age` was changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._aged = 0
        if self._stream.config.max_age:
            self._remove_aged()

    def clear(self) -> None:
        """Forget every time and stop the timers."""
        self._ttls.clear()
        self._immortal.clear()
        self._aged = self._stream.records.last
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _remove(self, sequence: int) -> None:
        record = self._stream.remove(sequence)
        # a marker that expires leaves nothing, or markers would follow each other for ever
        if record is not None and MARKER_REASON not in record.headers:
            self._stream.mark_expired(record.subject)

    def _arm(self, moment: float) -> None:
        host = self._stream.host
        delay = max(moment - host.now(), SOONEST)
        self._timer = host.loop.call_later(delay, self._remove_aged)

    def _remove_aged(self) -> None:
        self._timer = None
        stream, records = self._stream, self._stream.records
        now, age = stream.host.now(), stream.config.max_age
        self._aged = max(self._aged, records.first - 1)
        while self._aged < records.last:
            sequence = self._aged + 1
            record = records.by_sequence.get(sequence)
            if record is not None and sequence not in self._immortal:
                if record.time + age > now:
                    self._arm(record.time + age)
                    return
                self._remove(sequence)
            self._aged = sequence
