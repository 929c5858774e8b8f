"""One stream: what it takes, what it keeps, what it forgets, and who is told."""

from __future__ import annotations

import math
from collections.abc import Callable

from aixgo.broker import headers as names
from aixgo.broker.memory import headers as h
from aixgo.broker.memory.consumer import Consumer
from aixgo.broker.memory.dedupe import SeenIds
from aixgo.broker.memory.expiry import Expiry
from aixgo.broker.memory.matching import Memo, PatternTree, matches
from aixgo.broker.memory.records import OVERHEAD_BYTES, Records, size_of
from aixgo.broker.memory.roles import Host
from aixgo.broker.memory.schedules import Schedules
from aixgo.broker.port import (
    Appended,
    ConsumerConfig,
    Expect,
    Headers,
    Record,
    StreamConfig,
    StreamInfo,
)
from aixgo.errors import BrokerError, StreamFull, StreamRefused, WrongSequence


class Stream:
    """Keeps records under the rules of its configuration; all methods act at once."""

    def __init__(self, config: StreamConfig, host: Host) -> None:
        self.host, self.name = host, config.name
        self.records = Records()
        self.consumers: dict[str, Consumer] = {}
        self.seen = SeenIds(config.duplicate_window)
        self.expiry = Expiry(self)
        self.schedules = Schedules(self)
        self.followers: dict[Callable[[], None], None] = {}
        self.closed = False
        self._interest: PatternTree[Consumer] = PatternTree()
        self._takers: Memo[tuple[Consumer, ...]] = Memo()
        self._apply(config)

    def _apply(self, config: StreamConfig) -> None:
        """Take over a declaration, and what each append asks of it."""
        self.config, self.seen.window = config, config.duplicate_window
        # markers need a time to live, so they bring it
        self.allows_ttl = config.allow_ttl or config.marker_ttl > 0
        refuses, counted = config.discard == "new", config.max_messages_per_subject > 0
        self._trims_subject, self._counts = counted, refuses and counted
        self._trims_whole = not refuses and (config.max_messages > 0 or config.max_bytes > 0)
        # up to these sizes a record of a new subject fits without a closer look
        most = config.max_message_size
        self._small = most // 4 if most else math.inf  # a character is up to 4 bytes
        self._roomy = config.max_bytes if refuses and config.max_bytes else math.inf
        if refuses and config.max_messages:
            self._roomy = -1
        self._prefix, self._target = "", ""
        if config.republish is not None:
            source, destination = config.republish
            if source[-1] == ">" and "*" not in source:
                self._prefix, self._target = source[:-1], destination[:-1]

    # -- append --------------------------------------------------------------------------------

    def append(
        self,
        subject: str,
        data: bytes,
        headers: Headers,
        msg_id: str = "",
        expect: Expect | None = None,
        ttl: float = 0.0,
    ) -> Appended:
        """Store a message, or say why not.

        Conditions are checked before the message id, so a refused message does not burn its id.

        Raises:
            WrongSequence, StreamRefused, StreamFull: as `Log.append` says.
        """
        config, now = self.config, self.host.now()
        new, records = False, self.records
        if expect is not None:
            new = expect.subject_sequence == 0 and not expect.subject_filter
            if not new or records.count_of(subject):
                self._check_condition(subject, expect)
        if ttl and not self.allows_ttl:
            raise StreamRefused(
                f"stream {self.name!r} does not allow a time to live on single messages; "
                "declare it with allow_ttl=True"
            )
        if msg_id:
            stored = self.seen.find(msg_id, now)
            if stored is not None:
                return Appended(self.name, stored, True)
        takers = self.takers(subject) if self.consumers else ()
        plan = None
        if headers and (names.ROLLUP in headers or names.SCHEDULE in headers):
            plan = self._prepare(subject, headers)
        sequence = records.last + 1
        record = Record(self.name, subject, sequence, data, now, headers)
        size = size_of(record) if headers else OVERHEAD_BYTES + len(subject) + len(data)
        room = self._roomy if new or not self._counts else -1
        if size > self._small or records.bytes + size > room:
            self._check_room(record, size, new)
        previous = 0 if new or not config.republish else records.last_of(subject)
        records.add(record, size)
        if msg_id:
            self.seen.remember(msg_id, sequence, now)
        if plan is not None:
            plan(record)
        if self._trims_subject and not new:
            self._trim_subject(subject)
        if self._trims_whole:
            self._trim_whole()
        if ttl:
            self.expiry.expire(sequence, ttl)
        if config.max_age:
            self.expiry.age(record)
        if config.republish is not None:
            self._republish(record, previous)
        for consumer in takers:
            consumer.offer(sequence)
        for wake in self.followers:
            wake()
        return Appended(self.name, sequence, False)

    def _check_condition(self, subject: str, expect: Expect) -> None:
        looked_at = expect.subject_filter or subject
        newest = self.records.newest(looked_at)
        if newest != expect.subject_sequence:
            raise WrongSequence(
                f"append to {subject!r} expects {expect.subject_sequence} as the newest of "
                f"{looked_at!r}, but it is {newest}; read it and decide anew"
            )

    def _prepare(self, subject: str, headers: Headers) -> Callable[[Record], None] | None:
        """Check the headers that act on the stream; return what to do once it is stored."""
        if names.SCHEDULE in headers:
            return self.schedules.prepare(subject, headers)
        rollup = headers[names.ROLLUP].lower()
        config = self.config  # markers and schedules are roll-ups themselves
        if not (config.allow_rollup or config.marker_ttl or config.allow_schedules):
            raise StreamRefused(
                f"stream {self.name!r} does not allow {names.ROLLUP}; declare it with "
                "allow_rollup=True"
            )
        if rollup == "sub":
            return self.drop_older
        if rollup == "all":
            return lambda record: self._drop_all_before(record.sequence)
        raise StreamRefused(f"{names.ROLLUP} is {rollup!r}; it must be 'sub' or 'all'")

    def drop_older(self, record: Record) -> None:
        """Remove what the record's subject had before it."""
        while (oldest := self.records.first_of(record.subject)) < record.sequence:
            self.remove(oldest)

    def _drop_all_before(self, sequence: int) -> None:
        for record in self.records.select(">", 1):
            if record.sequence < sequence:
                self.remove(record.sequence)

    def _check_room(self, record: Record, size: int, new: bool) -> None:
        """Raise when the record does not fit and the oldest is not to make room for it.

        Args:
            new: its subject is known to have no record yet.
        """
        config, records, subject = self.config, self.records, record.subject
        if config.max_message_size and size * 4 > config.max_message_size:  # 4 bytes a character
            sent = len(record.data) + h.size(record.headers)
            if sent > config.max_message_size:
                raise StreamRefused(
                    f"message for {subject!r} is {sent:,} bytes with its headers, over the "
                    f"{config.max_message_size:,} bytes of stream {self.name!r}; "
                    "put the body in the object store"
                )
        if config.discard == "old":
            return
        limit = config.max_messages_per_subject
        full_subject = bool(limit) and not new and records.count_of(subject) >= limit
        if full_subject and config.discard_new_per_subject:
            raise self._full(f"{limit:,} messages on subject {subject!r}")
        if config.max_messages and len(records) >= config.max_messages and not full_subject:
            raise self._full(f"{config.max_messages:,} messages")
        if config.max_bytes:
            after = records.bytes + size
            if full_subject:  # its oldest record goes, so only the difference counts
                after -= size_of(records.by_sequence[records.first_of(subject)])
            if after > config.max_bytes:
                raise self._full(f"{config.max_bytes:,} bytes")

    def _full(self, limit: str) -> StreamFull:
        return StreamFull(
            f"stream {self.name!r} is at its limit of {limit} and refuses new ones; try again "
            "later, start more consumers, or raise the limit"
        )

    def _trim_subject(self, subject: str) -> None:
        if self.records.count_of(subject) > self.config.max_messages_per_subject:
            self.remove(self.records.first_of(subject))

    def _trim_whole(self) -> None:
        records, most, room = self.records, self.config.max_messages, self.config.max_bytes
        while (most and len(records) > most) or (room and records.bytes > room):
            self.remove(records.first)

    def _republish(self, record: Record, previous: int) -> None:
        subject, prefix = record.subject, self._prefix
        if prefix:
            if subject.startswith(prefix):
                self.host.republish(self._target + subject[len(prefix) :], record, previous)
            return
        assert self.config.republish is not None
        source, destination = self.config.republish
        if not matches(source, subject):
            return
        tail = subject[len(source) - 1 :] if source[-1] in "*>" else ""
        target = destination[: -1 if tail else None] + tail
        self.host.republish(target, record, previous)

    # -- consumers -----------------------------------------------------------------------------

    def takers(self, subject: str) -> tuple[Consumer, ...]:
        """Return the consumers that want the subject."""
        takers = self._takers.find_good(subject)
        if takers is None:
            tokens = subject.split(".")
            found, decided = self._interest.match(tokens)
            takers = tuple(found)
            self._takers.keep(subject, takers, decided, len(tokens))
        return takers

    def add_consumer(self, consumer: Consumer) -> None:
        """Let a consumer take part."""
        self.consumers[consumer.config.name] = consumer
        for pattern in consumer.config.filters or (">",):
            self._interest.add(pattern, consumer)
        self._takers.clear()

    def remove_consumer(self, consumer: Consumer) -> None:
        """Let a consumer go."""
        del self.consumers[consumer.config.name]
        for pattern in consumer.config.filters or (">",):
            self._interest.remove(pattern, consumer)
        self._takers.clear()
        consumer.close()

    def change_consumer(self, consumer: Consumer, config: ConsumerConfig) -> None:
        """Let a consumer go on with another declaration."""
        for pattern in consumer.config.filters or (">",):
            self._interest.remove(pattern, consumer)
        for pattern in config.filters or (">",):
            self._interest.add(pattern, consumer)
        self._takers.clear()
        consumer.update(config)

    def settle(self, sequence: int) -> None:
        """Forget a record that a consumer is done with, if the retention says so."""
        if self.config.retention == "limits":
            return
        if self.records.remove(sequence) is not None:  # in a work queue it is done for all
            self._forget(sequence)

    # -- removing ------------------------------------------------------------------------------

    def remove(self, sequence: int) -> Record | None:
        """Forget a record everywhere; None if it was not there."""
        record = self.records.remove(sequence)
        if record is None:
            return None
        if self.consumers:
            for consumer in self.takers(record.subject):
                consumer.forget(sequence)
        self._forget(sequence)
        return record

    def _forget(self, sequence: int) -> None:
        self.expiry.discard(sequence)
        if self.config.allow_schedules:
            self.schedules.discard(sequence)

    def purge(self, pattern: str, before: int = 0) -> int:
        """Forget what matches the filter, below a sequence if one is given; return how many."""
        if before:
            return self._purge_before(pattern, before)
        if pattern == ">":
            self.expiry.clear()
            self.schedules.clear()
            for consumer in self.consumers.values():
                consumer.forget_all()
            return self.records.clear()
        doomed = self.records.select(pattern, 1)
        for record in doomed:
            self.remove(record.sequence)
        return len(doomed)

    def _purge_before(self, pattern: str, before: int) -> int:
        records, removed = self.records, 0
        for sequence in range(records.first, min(before, records.last + 1)):
            record = records.by_sequence.get(sequence)
            if record is not None and (pattern == ">" or matches(pattern, record.subject)):
                self.remove(sequence)
                removed += 1
        return removed

    def mark_expired(self, subject: str) -> None:
        """Leave a marker where the last record of a subject expired, if the stream wants them."""
        ttl = self.config.marker_ttl
        if not ttl or self.records.count_of(subject):
            return
        marker = {names.MARKER_REASON: "MaxAge", names.TTL: f"{int(ttl)}s", names.ROLLUP: "sub"}
        try:
            self.append(subject, b"", h.sealed(marker), ttl=int(ttl))
        except BrokerError as error:  # a full stream has no room for a marker
            self.host.report(f"marker for {subject!r} in {self.name!r} was not stored", error)

    def close(self) -> None:
        """Stop every timer; the stream is gone, and who follows it is told."""
        self.closed = True
        self.expiry.clear()
        self.schedules.clear()
        for consumer in self.consumers.values():
            consumer.close()
        for wake in self.followers:
            wake()

    def restart(self) -> None:
        """Know only what a killed server finds again: ids of records that are still here."""
        self.seen.rebuild(self.records.by_sequence.values(), self.host.now())

    def update(self, config: StreamConfig) -> None:
        """Take over a changed declaration; what is over its limits goes at once."""
        self._apply(config)
        limit = config.max_messages_per_subject
        for subject in self.records.subjects(">") if limit else ():
            while self.records.count_of(subject) > limit:
                self.remove(self.records.first_of(subject))
        self._trim_whole()
        self.expiry.rearm()

    def info(self) -> StreamInfo:
        """Return the state at this moment."""
        return StreamInfo(
            config=self.config,
            messages=len(self.records),
            bytes=self.records.bytes,
            first_sequence=self.records.first,
            last_sequence=self.records.last,
            consumers=len(self.consumers),
        )
