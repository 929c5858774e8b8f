"""Key-value buckets over a log, in the layout of NATS, so `nats kv` reads and writes them too.

A bucket is a stream `KV_<name>`; a key is a subject `$KV.<name>.<key>`; the revision of an entry is
its sequence. Deleting leaves a record that says so; a time to live leaves a marker when it ends.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

from aixgo.broker.headers import KV_OPERATION, MARKER_REASON, ROLLUP
from aixgo.broker.port import Admin, Expect, Log, Record, StreamConfig, Upkeep
from aixgo.errors import BadSubject, WrongSequence
from aixgo.subjects import bucket_subject, stream_of_bucket

MARKER_SECONDS = 60.0
"""How long the marker of an expired key stays, for watchers that are away at that moment."""

MAX_HISTORY = 64
"""Most values of a key that a bucket keeps; the limit of NATS."""

DUPLICATE_WINDOW_SECONDS = 120.0
"""Retries of a write are over long before."""

CREATE_ATTEMPTS = 16
"""Tries of `create` while the end of the key's former life moves under it."""

_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,255}")
_KEY = re.compile(r"[-/_=A-Za-z0-9]+(\.[-/_=A-Za-z0-9]+)*")

Operation = Literal["PUT", "DEL", "PURGE"]


class KeyValueLog(Log, Admin, Upkeep, Protocol):
    """The roles of a broker that a bucket needs."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A value of a key, or the word that it no longer has one (`DEL`, or `PURGE` with its past).

    `created` is Unix seconds.
    """

    key: str
    value: bytes
    revision: int
    operation: Operation
    created: float


def bucket_stream(
    name: str,
    *,
    history: int = 1,
    ttl_per_key: bool = False,
    max_bytes: int = 0,
    storage: Literal["file", "memory"] = "file",
    description: str = "",
) -> StreamConfig:
    """Return the declaration of a bucket's stream.

    Args:
        history: values that are kept of each key, 1 to 64.
        ttl_per_key: allow `ttl` on single writes. It needs a history of 1, for else the value
            before comes back to life when the newest expires.

    Raises:
        BadSubject: the name cannot be one of a bucket.
        ValueError: the history is outside its limits.
    """
    if not 1 <= history <= MAX_HISTORY or (ttl_per_key and history != 1):
        raise ValueError(
            f"bucket {name!r} has a history of {history} values; give 1 to {MAX_HISTORY}, and 1 "
            "with ttl_per_key"
        )
    return StreamConfig(
        name=_stream(name),
        subjects=(bucket_subject(name, ">"),),
        storage=storage,
        discard="new",
        max_bytes=max_bytes,
        max_messages_per_subject=history,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
        allow_direct=True,
        allow_rollup=True,
        deny_delete=True,
        allow_ttl=ttl_per_key,
        marker_ttl=MARKER_SECONDS if ttl_per_key else 0.0,
        description=description,
    )


def _stream(bucket: str) -> str:
    if not _BUCKET.fullmatch(bucket):
        raise BadSubject(
            f"bucket name {bucket!r} is not 1 to 255 characters of A-Z, a-z, 0-9, '_' and '-'"
        )
    return stream_of_bucket(bucket)


class Bucket:
    """A bucket that is provisioned (`bucket_stream`); every operation is one of the log's.

    All methods raise what the log raises, `StreamNotFound` if none is provisioned the bucket, and
    `BadSubject` for a key that breaks the rules: letters, digits, `-/_=`, and single dots between.
    """

    def __init__(self, broker: KeyValueLog, name: str) -> None:
        self._log, self.name = broker, name
        self._stream = _stream(name)
        self._prefix = bucket_subject(name, "")
        self._writer = os.urandom(8).hex()
        self._writes = itertools.count(1)

    # -- reading -------------------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """Return the key's value; None if it has none, never had or has lost it."""
        entry = await self._newest(key)
        return entry if entry is not None and entry.operation == "PUT" else None

    async def history(self, key: str) -> Sequence[Entry]:
        """Return what the bucket keeps of a key, oldest first, deletions included."""
        records = await self._log.read(self._stream, self._subject(key))
        return [self._entry(record) for record in records]

    async def keys(self, pattern: str = ">") -> Sequence[str]:
        """Return the keys that have a value and match the filter, sorted.

        A subject of the bucket that is not a key (another program may write one) is left out.
        """
        newest: dict[str, Entry] = {}
        for record in await self._log.read(self._stream, self._filter(pattern)):
            if self._holds(record):
                entry = self._entry(record)
                newest[entry.key] = entry
        return sorted(key for key, entry in newest.items() if entry.operation == "PUT")

    def watch(self, pattern: str = ">") -> AbstractAsyncContextManager[AsyncIterator[Entry | None]]:
        """Yield the newest entry of each key that matches, then None, then every change.

        Deletions are entries too (`operation`), the end of a time to live is a `PURGE`. Gapless
        and in order, over reconnects; subjects that are not keys are left out.
        """
        return _Watch(self, self._log, self._stream, self._filter(pattern))

    async def _newest(self, key: str) -> Entry | None:
        record = await self._log.last(self._stream, self._subject(key))
        return None if record is None else self._entry(record)

    # -- writing -------------------------------------------------------------------------------

    async def put(self, key: str, value: bytes, *, ttl: float = 0.0) -> int:
        """Set the key and return the revision.

        Args:
            ttl: whole seconds ≥ 1 after which the key has no value; 0 keeps it.
        """
        return await self._write(key, value, None, ttl)

    async def create(self, key: str, value: bytes, *, ttl: float = 0.0) -> int:
        """Set a key that has no value (none yet, deleted or expired); return the revision.

        Raises:
            WrongSequence: it has one.
        """
        expected = 0
        for _ in range(CREATE_ATTEMPTS):
            try:
                return await self._write(key, value, expected, ttl)
            except WrongSequence:
                entry = await self._newest(key)
                if entry is not None and entry.operation == "PUT":
                    raise
                expected = 0 if entry is None else entry.revision
        raise WrongSequence(
            f"key {key!r} of bucket {self.name!r} changed during {CREATE_ATTEMPTS} tries to create "
            "it; another client deletes and creates it all the time"
        )

    async def update(self, key: str, value: bytes, revision: int, *, ttl: float = 0.0) -> int:
        """Set a key whose revision is still `revision`; return the new one.

        Raises:
            WrongSequence: it is another.
        """
        return await self._write(key, value, revision, ttl)

    async def delete(self, key: str, *, revision: int | None = None, ttl: float = 0.0) -> None:
        """Take the key's value away, only at `revision` if that is given; its history stays.

        Args:
            ttl: whole seconds ≥ 1 after which the record of the deletion goes too; 0 keeps it.

        Raises:
            WrongSequence: the revision is another.
        """
        await self._write(key, b"", revision, ttl, {KV_OPERATION: "DEL"})

    async def purge(self, key: str, *, revision: int | None = None) -> None:
        """Take the key's value and its history away; watchers see a `PURGE`.

        Raises:
            WrongSequence: the revision is another.
        """
        await self._write(key, b"", revision, 0.0, {KV_OPERATION: "PURGE", ROLLUP: "sub"})

    async def _write(
        self,
        key: str,
        value: bytes,
        revision: int | None,
        ttl: float,
        headers: dict[str, str] | None = None,
    ) -> int:
        appended = await self._log.append(
            self._subject(key),
            value,
            # so that a write whose answer was lost is not taken for another writer's
            msg_id=f"{self._writer}.{next(self._writes)}",
            expect=None if revision is None else Expect(subject_sequence=revision),
            ttl=ttl,
            headers=headers,
        )
        return appended.sequence

    # -- names ---------------------------------------------------------------------------------

    def _subject(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise BadSubject(
                f"key {key!r} of bucket {self.name!r} breaks the rules: letters, digits and "
                "'-/_=', with single dots between"
            )
        return self._prefix + key

    def _filter(self, pattern: str) -> str:
        tokens = pattern.split(".")
        literal = tokens[:-1] if tokens[-1] == ">" else tokens
        if not all(token == "*" or _KEY.fullmatch(token) for token in literal):
            raise BadSubject(
                f"key filter {pattern!r} of bucket {self.name!r} is no key with '*' for a token or "
                "'>' at its end"
            )
        return self._prefix + pattern

    def _holds(self, record: Record) -> bool:
        """Whether a record is of a key; of a subject that is not, `get` could not return it."""
        return _KEY.fullmatch(record.subject, len(self._prefix)) is not None

    def _entry(self, record: Record) -> Entry:
        operation: Operation = "PUT"
        headers = record.headers
        if headers:
            if MARKER_REASON in headers or headers.get(KV_OPERATION) == "PURGE":
                operation = "PURGE"
            elif headers.get(KV_OPERATION) == "DEL":
                operation = "DEL"
        key = record.subject[len(self._prefix) :]
        return Entry(key, record.data, record.sequence, operation, record.time)


class _Watch:
    """What is there, None, what comes."""

    def __init__(self, bucket: Bucket, log: KeyValueLog, stream: str, pattern: str) -> None:
        self._bucket, self._log, self._stream, self._pattern = bucket, log, stream, pattern
        self._first: list[Entry | None] = []
        self._following: AbstractAsyncContextManager[AsyncIterator[Record]] | None = None
        self._changes: AsyncIterator[Record] | None = None

    async def __aenter__(self) -> Self:
        records = await self._log.read(self._stream, self._pattern)
        newest = {one.subject: one for one in records if self._bucket._holds(one)}
        ordered = sorted(newest.values(), key=lambda record: record.sequence)
        self._first = [None, *(self._bucket._entry(record) for record in reversed(ordered))]
        start = records[-1].sequence + 1 if records else 1
        self._following = self._log.follow(self._stream, self._pattern, start=start)
        self._changes = await self._following.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._following is not None:
            await self._following.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry | None:
        if self._first:
            return self._first.pop()
        if self._changes is None:
            raise StopAsyncIteration
        while not self._bucket._holds(record := await anext(self._changes)):
            pass
        return self._bucket._entry(record)
