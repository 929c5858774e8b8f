"""Message schedules: records that are published into their stream at a given time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from aixgo.broker import headers as names
from aixgo.broker.memory import headers as h
from aixgo.broker.memory.matching import check_subject, matches
from aixgo.broker.memory.roles import Shelf
from aixgo.broker.memory.timers import Deadlines
from aixgo.broker.port import Headers, Record
from aixgo.errors import BadSubject, BrokerError, StreamRefused

_OWN = (
    names.SCHEDULE,
    names.SCHEDULE_TARGET,
    names.SCHEDULE_TTL,
    names.MSG_ID,
    names.TTL,
    names.ROLLUP,
)
"""Headers that concern the schedule, not the message that it becomes."""


class Schedules:
    """Fires the schedules of a stream.

    A schedule is a record; a newer one on its subject replaces it, purging it cancels it, and it is
    gone once it has fired. What fires is stored and delivered, but not seen by core subscribers.
    """

    __slots__ = ("_due", "_stream")

    def __init__(self, stream: Shelf) -> None:
        self._stream = stream
        self._due: Deadlines[int] = Deadlines(stream.host.loop, self._fire)

    def prepare(self, subject: str, headers: Headers) -> Callable[[Record], None]:
        """Check a schedule; return what arms it once it is stored.

        Raises:
            StreamRefused: the stream has no schedules, or this one cannot be understood.
        """
        stream = self._stream
        if not stream.config.allow_schedules:
            raise StreamRefused(
                f"stream {stream.name!r} does not allow message schedules; declare it with "
                "allow_schedules=True"
            )
        moment = _moment(headers[names.SCHEDULE])
        self._check_target(subject, headers.get(names.SCHEDULE_TARGET, ""))
        if names.SCHEDULE_TTL in headers:
            h.seconds_of(headers[names.SCHEDULE_TTL])
            if not stream.allows_ttl:
                raise StreamRefused(
                    f"stream {stream.name!r} does not allow {names.SCHEDULE_TTL}; declare it with "
                    "allow_ttl=True"
                )

        def arm(record: Record) -> None:
            stream.drop_older(record)
            delay = max(moment - stream.host.now(), 0.0)
            self._due.set(record.sequence, stream.host.loop.time() + delay)

        return arm

    def _check_target(self, subject: str, target: str) -> None:
        stream = self._stream
        try:
            check_subject(target)
        except BadSubject as error:
            raise StreamRefused(f"{names.SCHEDULE_TARGET} of {subject!r}: {error}") from error
        kept = any(matches(pattern, target) for pattern in stream.config.subjects)
        if target == subject or not kept:
            raise StreamRefused(
                f"{names.SCHEDULE_TARGET} {target!r} must be another subject of stream "
                f"{stream.name!r} ({', '.join(stream.config.subjects)})"
            )

    def discard(self, sequence: int) -> None:
        """Forget a schedule whose record is gone."""
        if self._due.when:
            self._due.discard(sequence)

    def clear(self) -> None:
        """Forget every schedule and stop the timer."""
        self._due.clear()

    def _fire(self, sequence: int) -> None:
        stream = self._stream
        record = stream.records.by_sequence.get(sequence)
        if record is None:
            return
        headers = {key: value for key, value in record.headers.items() if key not in _OWN}
        headers[names.SCHEDULER], headers[names.SCHEDULE_NEXT] = record.subject, "purge"
        ttl = record.headers.get(names.SCHEDULE_TTL, "")
        if ttl:
            headers[names.TTL] = ttl
        stream.remove(sequence)
        try:
            stream.append(
                record.headers[names.SCHEDULE_TARGET],
                record.data,
                h.sealed(headers),
                ttl=h.seconds_of(ttl) if ttl else 0.0,
            )
        except BrokerError as error:
            stream.host.report(f"schedule {record.subject!r} could not fire", error)


def _moment(schedule: str) -> float:
    """Return the Unix time of an `@at` schedule."""
    kind, _, value = schedule.partition(" ")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if kind != "@at" or moment is None:
        raise StreamRefused(
            f"{names.SCHEDULE} is {schedule!r}; the memory broker knows one time, in RFC 3339: "
            "'@at 2030-01-31T12:00:00Z'"
        )
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
