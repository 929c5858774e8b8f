"""Sessions in the broker: the stream SESSIONS, two subjects for each conversation.

Under `….log` are the entries; the broker gives them their order, so processes that append at once
lose nothing and need no lock. Under `….head` is the newest summary, which makes lists cheap, says
whose conversation it is, and up to where a replica must have come before its answer is believed.
Both go with one purge.

An entry that is too large for one message is several records, which count when the last is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Protocol

import msgspec
from msgspec.structs import replace

from aixgo.broker.headers import ROLLUP
from aixgo.broker.port import Expect, Log, Record, Upkeep
from aixgo.clock import now
from aixgo.errors import WrongSequence
from aixgo.pauses import Pauses
from aixgo.stores.sessions.port import (
    SLACK_SECONDS,
    Conversation,
    Entry,
    Key,
    Stored,
    Summary,
    decoded,
    empty,
    encoded,
    in_order,
)
from aixgo.subjects import SESSIONS, Names

log = logging.getLogger("aixgo.sessions")

PART_BYTES = 128 * 1024
"""Of an entry in one record, far below every message limit; the size of chunks of objects."""

PART = "Aixgo-Part"
"""Header of a record that is only a part of an entry: its number, how many there are, a digest of
all of them, the id of the entry."""

BEHIND_SECONDS = 2.0
"""For which a replica may be behind; after that what it has is all there is."""


class SessionLog(Log, Upkeep, Protocol):
    """The roles of a broker that sessions need."""


class _Head(Summary, frozen=True, kw_only=True):
    """A summary as it is kept.

    Attributes:
        newest: sequence of the last entry.
        since: sequence at which the conversation began; -1: that of this record. Entries before it
            are of one that has expired, and was begun anew.
        former: Unix seconds at which that was; 0 when there are no such entries.
    """

    newest: int = 0
    since: int = -1
    former: float = 0.0


class _Found(msgspec.Struct, frozen=True):
    head: _Head
    sequence: int

    @property
    def since(self) -> int:
        """Sequence at which the conversation began."""
        return self.sequence if self.head.since < 0 else self.head.since


_head = msgspec.json.Decoder(_Head)


class BrokerSessions:
    """The conversations of a namespace, in the broker that everything else is in."""

    def __init__(self, broker: SessionLog, names: Names) -> None:
        self._log, self._names = broker, names
        self._stream = names.stream(SESSIONS)

    # -- the port ------------------------------------------------------------------------------

    async def append(self, key: Key, entry: Entry, *, user: str = "", expires: float = 0.0) -> None:
        """Add an entry; see `SessionStore.append`."""
        body = encoded(key, entry)
        found = await self._find(key)
        if found is None or found.head.over(now()):
            found = await self._begin(key, entry, user, expires, found)
        found.head.check(user)
        sequence = await self._write(key, entry.id, body)
        await self._touch(key, found, sequence, entry.at, expires)

    async def read(self, key: Key, *, upto: int | None = None) -> Conversation:
        """Return a conversation; see `SessionStore.read`."""
        found = await self._find(key)
        if found is None:
            return empty(key)
        if upto is None and found.head.over(now()):
            return empty(key)
        records = await self._records(key, found.sequence)
        # whose entries these are says the head that was read with them: it may have begun anew
        head_subject = self._names.session_head(*key)
        found = next(
            (_found(one) for one in reversed(records) if one.subject == head_subject), None
        )
        if found is None:
            return empty(key)
        since = found.since if upto is None or upto >= found.since else 0
        entries = [
            record
            for record in records
            if record.subject != head_subject
            and record.sequence > since
            and (upto is None or record.sequence <= upto)
        ]
        return Conversation(summary=_summary(found.head), entries=list(_entries(entries)))

    async def find(self, *, agent: str = "", user: str = "") -> Sequence[Summary]:
        """Return summaries; see `SessionStore.find`."""
        heads = [one.head for one in await self._heads(agent)]
        return in_order((_summary(one) for one in heads if user in ("", one.user)), now())

    async def delete(self, key: Key) -> bool:
        """Remove a conversation; see `SessionStore.delete`."""
        return await self._purge(key) > 0

    async def sweep(self) -> int:
        """Remove what has expired; see `SessionStore.sweep`."""
        limit, removed = now() - SLACK_SECONDS, 0
        for one in await self._heads():
            key = one.head.key
            if one.head.over(limit):  # what is appended meanwhile has a higher sequence, and stays
                await self._purge(key, before=one.sequence + 1)
            elif 0.0 < one.head.former <= limit:
                await self._log.purge(self._stream, self._names.session_log(*key), before=one.since)
                with suppress(WrongSequence):  # the next sweep says it
                    await self._put(
                        key, replace(one.head, since=one.since, former=0.0), one.sequence
                    )
            else:
                continue
            removed += 1
        return removed

    # -- records -------------------------------------------------------------------------------

    async def _find(self, key: Key) -> _Found | None:
        """Return the head; from the leader, because a caller expects to find what it wrote."""
        record = await self._log.last(self._stream, self._names.session_head(*key), decisive=True)
        return None if record is None else _found(record)

    async def _heads(self, agent: str = "") -> list[_Found]:
        records = await self._log.read(self._stream, self._names.session_heads(agent))
        return [one for one in map(_found, records) if one is not None]

    async def _begin(
        self, key: Key, entry: Entry, user: str, expires: float, before: _Found | None
    ) -> _Found:
        """Write the first head, so that no entry is without one; returns the one that stands.

        Args:
            before: of a conversation that has expired. Its entries stay for a while: only upkeep
                removes anything.
        """
        head = _Head(
            agent=key.agent,
            session=key.session,
            user=user,
            began=entry.at,
            used=entry.at,
            expires=expires,
            former=0.0 if before is None else now(),
        )
        expected = 0 if before is None else before.sequence
        try:
            return _Found(head, await self._put(key, head, expected))
        except WrongSequence:
            return await self._find(key) or _Found(head, 0)

    async def _write(self, key: Key, entry_id: str, body: bytes) -> int:
        """Store an entry; returns the sequence of its (last) record."""
        if len(body) <= PART_BYTES:
            return await self._store(key, entry_id, body)
        count, sequence = -(-len(body) // PART_BYTES), 0
        # another execution says the same at another time: parts of the two are not one entry
        whole = blake2b(body, digest_size=12).hexdigest()
        for number in range(count):  # one after another: the last one makes it whole
            part = body[number * PART_BYTES : (number + 1) * PART_BYTES]
            mark = f"{number + 1} {count} {whole} {entry_id}"
            sequence = await self._store(key, f"{entry_id}.{whole}.{number}", part, mark)
        return sequence

    async def _store(self, key: Key, name: str, data: bytes, mark: str = "") -> int:
        subject = self._names.session_log(*key)
        headers = {PART: mark} if mark else None
        stored = await self._log.append(subject, data, msg_id=f"{subject}.{name}", headers=headers)
        if stored.duplicate and await self._log.at(self._stream, stored.sequence) is None:
            # the conversation was removed since then, but the server still knows the id
            stored = await self._log.append(subject, data, headers=headers)
        return stored.sequence

    async def _touch(
        self, key: Key, found: _Found, sequence: int, used: float, expires: float
    ) -> None:
        """Write into the head that there is a newer entry."""
        head, expected = found.head, found.sequence
        while True:
            newer = replace(
                head,
                used=max(head.used, used),
                expires=expires,
                newest=max(head.newest, sequence),
                since=_Found(head, expected).since,
            )
            try:
                await self._put(key, newer, expected)
            except WrongSequence:
                standing = await self._find(key)
                if standing is None:  # removed meanwhile: with this entry, or before it
                    if await self._log.at(self._stream, sequence) is None:
                        return
                    expected = 0
                elif standing.head.newest >= sequence:
                    return
                else:
                    head, expected = standing.head, standing.sequence
            else:
                return

    async def _put(self, key: Key, head: _Head, expected: int) -> int:
        stored = await self._log.append(
            self._names.session_head(*key),
            msgspec.json.encode(head),
            expect=Expect(subject_sequence=expected),
            headers={ROLLUP: "sub"},
        )
        return stored.sequence

    async def _records(self, key: Key, wanted: int) -> Sequence[Record]:
        """Return the records of a conversation from a replica that is as far as `wanted`."""
        subject, pauses = self._names.session_all(*key), Pauses(0.01, 0.25)
        loop = asyncio.get_running_loop()
        until = loop.time() + BEHIND_SECONDS
        while True:
            records = await self._log.read(self._stream, subject)
            if records and records[-1].sequence >= wanted:
                return records
            if loop.time() >= until:
                log.warning("session.short", extra={"agent": key.agent, "wanted": wanted})
                return records
            await pauses.wait()

    async def _purge(self, key: Key, *, before: int = 0) -> int:
        return await self._log.purge(self._stream, self._names.session_all(*key), before=before)


def _found(record: Record) -> _Found | None:
    """Return the head in a record; None if another program wrote it."""
    try:
        return _Found(_head.decode(record.data), record.sequence)
    except msgspec.DecodeError:
        log.warning("session.foreign", extra={"subject": record.subject})
        return None


def _summary(head: _Head) -> Summary:
    return Summary(**{name: getattr(head, name) for name in Summary.__struct_fields__})


def _entries(records: Iterable[Record]) -> Iterator[Stored]:
    """Yield each whole entry once, at the place where it became whole."""
    seen: set[str] = set()
    parts: dict[str, dict[int, bytes]] = {}
    for record in records:
        try:
            data = _whole(record, seen, parts)
            entry = None if data is None else decoded(data)
        except ValueError:  # msgspec's errors are
            log.warning("session.foreign", extra={"subject": record.subject})
            continue
        if entry is not None and entry.id not in seen:
            seen.add(entry.id)
            yield Stored(record.sequence, entry)


def _whole(record: Record, seen: set[str], parts: dict[str, dict[int, bytes]]) -> bytes | None:
    """Return an entry that is whole with this record; None while parts of it are missing.

    Raises:
        ValueError: the header is not one of ours.
    """
    mark = record.headers.get(PART, "")
    if not mark:
        return record.data
    number, count, whole, name = mark.split(" ", 3)
    if name in seen:
        return None
    had = parts.setdefault(whole, {})
    had[int(number)] = record.data
    if len(had) < int(count):
        return None
    del parts[whole]
    return b"".join(had[one] for one in sorted(had))
