"""Durable streams through a memory connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from aixgo.broker import headers as names
from aixgo.broker.checks import check_sequence, check_slots, check_timeout, whole_seconds
from aixgo.broker.headers import scheduled
from aixgo.broker.memory import headers as h
from aixgo.broker.memory.connection import BURST, RETRY_SECONDS, Connection
from aixgo.broker.memory.consumption import Handler, MemoryConsumption
from aixgo.broker.memory.follow import Follower
from aixgo.broker.memory.matching import check_filter, check_subject, is_wild
from aixgo.broker.port import Appended, Expect, Headers, Record
from aixgo.errors import ConsumerNotFound, RequestTimeout, WrongSequence

HEADER_ROOM = 128
"""Bytes that a header block with one key takes beside its value, and some more."""


class MemoryLog(Connection):
    """Implements `Log`."""

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str = "",
        expect: Expect | None = None,
        ttl: float = 0.0,
        headers: Headers | None = None,
        timeout: float = 10.0,
    ) -> Appended:
        """See `Log.append`."""
        sent = h.EMPTY
        if not timeout >= 0:
            check_timeout(timeout)
        if msg_id and not headers and self._fits(subject, msg_id, data):
            own = {names.MSG_ID: msg_id}
            if ttl:
                ttl = whole_seconds(subject, ttl)
                own[names.TTL] = str(ttl)
            sent = h.sealed(own)
        elif headers or msg_id or ttl or type(data) is not bytes or len(data) > self.max_payload:
            cleaned = h.clean(headers) if headers else {}
            msg_id, ttl = _complete(subject, cleaned, msg_id, ttl)
            data = self.fitting(subject, data, cleaned)
            sent = h.sealed(cleaned)
        self._burst += 1
        if self._burst > BURST:
            await self.breathe()
        if self.direct:
            return self.server.append(subject, data, sent, msg_id, expect, ttl)
        check_subject(subject)
        try:
            async with asyncio.timeout(timeout):
                return await self._append_until_answered(subject, data, sent, msg_id, expect, ttl)
        except TimeoutError:
            raise RequestTimeout(
                f"append to {subject!r} got no answer within {timeout:g} s; it may or may not be "
                "stored, so try again with the same msg_id"
            ) from None

    def _fits(self, subject: str, msg_id: str, data: bytes) -> bool:
        """Return whether body and id can be sent as they are; the end of a subject surely can."""
        return (
            type(data) is bytes
            and len(data) + len(msg_id) + HEADER_ROOM <= self.max_payload
            and msg_id.isascii()
            and (subject.endswith(msg_id) or msg_id.isprintable())
        )

    async def _append_until_answered(
        self,
        subject: str,
        data: bytes,
        headers: Headers,
        msg_id: str,
        expect: Expect | None,
        ttl: float,
    ) -> Appended:
        server, lost = self.server, False
        # without an id a repetition after a lost answer would be stored twice
        msg_id = msg_id or f"{self.inbox}{next(self.numbers)}"
        headers = h.sealed({**headers, names.MSG_ID: msg_id})
        while True:
            await self.passable()
            try:
                appended = server.append(subject, data, headers, msg_id, expect, ttl)
            except WrongSequence:
                own = self._find_own(subject, msg_id) if lost else None
                if own is None:
                    raise
                appended = own
            if not server.faults.lose_publish_ack():
                return appended
            lost = True
            await asyncio.sleep(RETRY_SECONDS)

    def _find_own(self, subject: str, msg_id: str) -> Appended | None:
        """Return what an earlier try stored: then the compare-and-set was lost against itself."""
        stream = self.server.interest.find(subject).stream
        stored = stream and stream.seen.find(msg_id, self.server.now())
        return Appended(stream.name, stored, True) if stream and stored else None

    async def consume(
        self, stream: str, consumer: str, handler: Handler, *, slots: int
    ) -> MemoryConsumption:
        """See `Log.consume`."""
        check_slots(slots)
        if not self.direct:
            await self.ready()
        found = self.server.stream(stream).consumers.get(consumer)
        if found is None:
            raise ConsumerNotFound(stream, consumer)
        consumption = MemoryConsumption(self, stream, consumer, handler, slots)
        self.add_consumption(consumption)
        consumption.attach(found)
        return consumption

    async def schedule(
        self,
        subject: str,
        data: bytes,
        *,
        at: float,
        target: str,
        msg_id: str = "",
        ttl: float = 0.0,
        timeout: float = 10.0,
    ) -> Appended:
        """See `Log.schedule`."""
        check_subject(target)
        headers = scheduled(at, target, ttl)
        return await self.append(subject, data, msg_id=msg_id, headers=headers, timeout=timeout)

    async def last(self, stream: str, subject: str, *, decisive: bool = False) -> Record | None:
        """See `Log.last`; there are no replicas, so every answer is decisive."""
        self._burst += 1
        if self._burst > BURST:
            await self.breathe()
        if not self.direct:
            await self.ready()
        records = self.server.stream(stream).records
        sequence = records.last_of(subject)
        if not sequence and self.server.interest.known(subject) is None:
            check_filter(subject)
            if is_wild(subject):
                sequence = records.newest(subject)
        return records.by_sequence.get(sequence)

    async def at(self, stream: str, sequence: int) -> Record | None:
        """See `Log.at`."""
        check_sequence(sequence)
        self._burst += 1
        if self._burst > BURST:
            await self.breathe()
        if not self.direct:
            await self.ready()
        return self.server.stream(stream).records.by_sequence.get(sequence)

    async def read(
        self, stream: str, subject: str, *, start: int = 1, limit: int = 0
    ) -> Sequence[Record]:
        """See `Log.read`."""
        check_filter(subject)
        self._burst += 1
        if self._burst > BURST:
            await self.breathe()
        if not self.direct:
            await self.ready()
        return self.server.stream(stream).records.select(subject, start, limit)

    def follow(
        self, stream: str, subject: str, *, start: int = 1
    ) -> AbstractAsyncContextManager[Follower]:
        """See `Log.follow`."""
        check_filter(subject)
        return Follower(self, stream, subject, start)


def _complete(subject: str, headers: dict[str, str], msg_id: str, ttl: float) -> tuple[str, float]:
    """Put id and time to live among the headers, or take them from there; return both."""
    if msg_id:
        headers[names.MSG_ID] = msg_id
    if ttl:
        headers[names.TTL] = str(whole_seconds(subject, ttl))
    sent_ttl = headers.get(names.TTL)
    return headers.get(names.MSG_ID, ""), h.seconds_of(sent_ttl) if sent_ttl else 0.0
