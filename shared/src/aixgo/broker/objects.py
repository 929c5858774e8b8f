"""Object stores over a log, in the layout of NATS, so `nats object` reads and writes them too.

An object store is a stream `OBJ_<name>`. The chunks of an object are records under one subject
`$O.<name>.C.<id>`, its description is the newest record of `$O.<name>.M.<key in base64>`. The
description is written last, so an object is there whole or not at all.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import re
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from aixgo.broker.headers import ROLLUP
from aixgo.broker.port import Admin, Log, Record, StreamConfig, Upkeep
from aixgo.envelope import Blob
from aixgo.errors import BadSubject, BlobCorrupt, BlobMissing, BrokerError

log = logging.getLogger("aixgo.broker")

CHUNK_BYTES = 128 * 1024
"""Size of a chunk; the default of NATS, far below every message limit."""

READ_ATTEMPTS = 3
"""Reads of an object that is replaced meanwhile."""

DUPLICATE_WINDOW_SECONDS = 120.0
"""Retries of a write are over long before."""

_STORE = re.compile(r"[A-Za-z0-9_-]{1,255}")
_NEVER_MODIFIED = "0001-01-01T00:00:00Z"  # NATS takes the time of the record instead


class ObjectLog(Log, Admin, Upkeep, Protocol):
    """The roles of a broker that an object store needs."""


class _Options(msgspec.Struct, kw_only=True, omit_defaults=True):
    max_chunk_size: int = 0
    link: Any = None


class _Description(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What NATS writes about an object; names are those of its JSON."""

    name: str
    bucket: str
    nuid: str
    size: int
    mtime: str = msgspec.field(default_factory=lambda: _NEVER_MODIFIED)
    chunks: int
    digest: str = ""
    deleted: bool = False
    description: str = ""
    headers: Any = None
    metadata: dict[str, str] | None = None
    options: _Options | None = None


_decoder = msgspec.json.Decoder(_Description)


def store_stream(name: str, *, max_age: float = 0.0, description: str = "") -> StreamConfig:
    """Return the declaration of an object store's stream.

    Args:
        max_age: seconds after which an object is forgotten; 0 keeps it.

    Raises:
        BadSubject: the name cannot be one of an object store.
    """
    window = min(max_age, DUPLICATE_WINDOW_SECONDS) if max_age else DUPLICATE_WINDOW_SECONDS
    return StreamConfig(
        name=_stream(name),
        subjects=(f"$O.{name}.C.>", f"$O.{name}.M.>"),
        discard="new",
        max_age=max_age,
        duplicate_window=window,
        allow_direct=True,
        allow_rollup=True,
        description=description,
    )


def _stream(store: str) -> str:
    if not _STORE.fullmatch(store):
        raise BadSubject(
            f"object store name {store!r} is not 1 to 255 characters of A-Z, a-z, 0-9, '_' and '-'"
        )
    return f"OBJ_{store}"


class ObjectStore:
    """An object store that is provisioned (`store_stream`).

    Keys are any text. All methods raise what the log raises, `StreamNotFound` if the store is not
    provisioned.
    """

    def __init__(self, broker: ObjectLog, name: str) -> None:
        self._log, self.name = broker, name
        self._stream = _stream(name)

    async def put(self, key: str, data: bytes) -> Blob:
        """Store the object, in place of one that has the key; return its claim check.

        What goes wrong half-way, cancellation included, leaves the object that was there before.
        """
        before = await self._describe(key)
        digest = hashlib.sha256(data)
        identity = os.urandom(11).hex()
        described = _Description(
            name=key,
            bucket=self.name,
            nuid=identity,
            size=len(data),
            chunks=-(-len(data) // CHUNK_BYTES),
            digest=f"SHA-256={base64.urlsafe_b64encode(digest.digest()).decode()}",
            options=_Options(max_chunk_size=CHUNK_BYTES),
        )
        try:
            await self._write_chunks(identity, data)
            await self._write_description(described)
        except BaseException:
            await asyncio.shield(self._clean_up(identity))
            raise
        if before is not None and before.chunks:
            await self._clean_up(before.nuid)
        return Blob(key=key, size=len(data), sha256=digest.hexdigest())

    async def get(self, key: str) -> bytes:
        """Return the object.

        Raises:
            BlobMissing: there is none, or the store forgot it.
            BlobCorrupt: what is stored is not what was put.
        """
        problem = ""
        for _ in range(READ_ATTEMPTS):
            described = await self._describe(key)
            if described is None or described.deleted:
                raise BlobMissing(
                    f"object {key!r} is not in store {self.name!r}; it was deleted, is older than "
                    "the store keeps, or was never put"
                )
            data = await self._read_chunks(described)
            problem = _problem(described, data)
            if not problem:
                return data
        raise BlobCorrupt(f"object {key!r} in store {self.name!r} {problem}; put it again")

    async def delete(self, key: str) -> bool:
        """Remove the object; False if there was none."""
        described = await self._describe(key)
        if described is None or described.deleted:
            return False
        await self._write_description(
            _Description(
                name=key, bucket=self.name, nuid=described.nuid, size=0, chunks=0, deleted=True
            )
        )
        await self._log.purge(self._stream, self._chunks(described.nuid))
        return True

    async def keys(self) -> Sequence[str]:
        """Return the keys of all objects, sorted."""
        newest: dict[str, _Description] = {}
        for record in await self._log.read(self._stream, f"$O.{self.name}.M.>"):
            newest[record.subject] = self._decode(record)
        return sorted(each.name for each in newest.values() if not each.deleted)

    # -- records -------------------------------------------------------------------------------

    async def _describe(self, key: str) -> _Description | None:
        record = await self._log.last(self._stream, self._meta(key))
        return None if record is None else self._decode(record)

    def _decode(self, record: Record) -> _Description:
        try:
            return _decoder.decode(record.data)
        except msgspec.DecodeError as error:
            raise BlobCorrupt(
                f"record {record.sequence} of store {self.name!r} does not describe an object: "
                f"{error}; put the object again"
            ) from error

    async def _write_description(self, described: _Description) -> None:
        await self._log.append(
            self._meta(described.name),
            msgspec.json.encode(described),
            msg_id=f"{described.nuid}.{'gone' if described.deleted else 'whole'}",
            headers={ROLLUP: "sub"},
        )

    async def _write_chunks(self, identity: str, data: bytes) -> None:
        subject, view = self._chunks(identity), memoryview(data)
        for start in range(0, len(data), CHUNK_BYTES):
            chunk = bytes(view[start : start + CHUNK_BYTES])
            # one after another, so that a repeated chunk cannot overtake; the id stores it once
            await self._log.append(subject, chunk, msg_id=f"{identity}.{start}")

    async def _read_chunks(self, described: _Description) -> bytes:
        if not described.chunks:
            return b""
        records = await self._log.read(self._stream, self._chunks(described.nuid))
        return b"".join([record.data for record in records])

    async def _clean_up(self, identity: str) -> None:
        """Remove chunks that cannot be read; what cannot be removed is only wasted room."""
        try:
            await self._log.purge(self._stream, self._chunks(identity))
        except BrokerError as error:
            log.warning(
                "objects.chunks_left",
                extra={"store": self.name, "chunks": identity, "error": error.code},
            )

    def _chunks(self, identity: str) -> str:
        return f"$O.{self.name}.C.{identity}"

    def _meta(self, key: str) -> str:
        if not key:
            raise BadSubject(f"the key of an object in store {self.name!r} is empty; name it")
        return f"$O.{self.name}.M.{base64.urlsafe_b64encode(key.encode()).decode()}"


def _problem(described: _Description, data: bytes) -> str:
    """Return what is wrong with the bytes of an object; empty if nothing is."""
    if len(data) != described.size:
        return f"has {len(data):,} bytes, but {described.size:,} were put"
    if described.digest:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
        if described.digest != f"SHA-256={digest}":
            return f"has the digest SHA-256={digest}, but {described.digest} was put"
    return ""
