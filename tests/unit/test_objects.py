"""Object stores: whole or not at all, checked on the way out, and readable for NATS' own client."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from aixgo.broker import Appended, Broker, Record
from aixgo.broker.memory import MemoryBroker
from aixgo.broker.objects import CHUNK_BYTES, ObjectStore, store_stream
from aixgo.errors import BadSubject, BlobCorrupt, BlobMissing, StreamFull, StreamNotFound
from aixgo.testing.nats_server import NatsServer

LARGE = os.urandom(5 * 1024 * 1024)


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as connection:
        await connection.ensure_stream(store_stream("s"))
        yield connection


@pytest.fixture
async def store(broker: MemoryBroker) -> ObjectStore:
    return ObjectStore(broker, "s")


async def records(broker: Broker) -> int:
    info = await broker.stream_info("OBJ_s")
    assert info is not None
    return info.messages


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 300_000])
async def test_an_object_comes_back_whatever_its_size(store: ObjectStore, size: int) -> None:
    body = os.urandom(size)
    blob = await store.put("key", body)
    assert (blob.key, blob.size, blob.sha256) == ("key", size, hashlib.sha256(body).hexdigest())
    assert await store.get("key") == body


async def test_keys_are_any_text(store: ObjectStore) -> None:
    keys = ["a b.*>", "päivää/漢字", "x" * 300]
    for key in keys:
        await store.put(key, key.encode())
    assert await store.keys() == sorted(keys)
    for key in keys:
        assert await store.get(key) == key.encode()
    with pytest.raises(BadSubject, match="empty"):
        await store.put("", b"")


async def test_a_large_object_takes_little_more_than_its_checksums(store: ObjectStore) -> None:
    async def round_trip() -> tuple[float, float]:
        began = time.perf_counter()
        hashlib.sha256(LARGE)
        checksum = time.perf_counter() - began
        await store.put("large", LARGE)
        assert await store.get("large") == LARGE
        return time.perf_counter() - began - checksum, checksum

    measured = [await round_trip() for _ in range(5)]
    took, checksum = (min(column) for column in zip(*measured, strict=True))
    assert took < 40 * checksum, (took, checksum)  # two of them in it


async def test_replacing_an_object_leaves_no_chunks_behind(
    broker: MemoryBroker, store: ObjectStore
) -> None:
    await store.put("key", bytes(3 * CHUNK_BYTES))
    assert await records(broker) == 4
    await store.put("key", b"small")
    assert await records(broker) == 2
    assert await store.get("key") == b"small"


async def test_a_deleted_object_is_missing(broker: MemoryBroker, store: ObjectStore) -> None:
    await store.put("key", bytes(3 * CHUNK_BYTES))
    assert await store.delete("key")
    assert not await store.delete("key")
    assert not await store.delete("never was")
    with pytest.raises(BlobMissing, match="'key'"):
        await store.get("key")
    assert await store.keys() == []
    assert await records(broker) == 1
    await store.put("key", b"again")
    assert await store.get("key") == b"again"


class Interrupted(MemoryBroker):
    """Fails or stops at one chunk."""

    stop_at = 3
    chunks = 0
    hanging: asyncio.Event | None = None

    async def append(self, subject: str, data: bytes, **options: Any) -> Appended:
        if ".C." in subject:
            self.chunks += 1
            if self.chunks == self.stop_at:
                if self.hanging is not None:
                    self.hanging.set()
                    await asyncio.Event().wait()
                raise StreamFull("the store is full")
        return await super().append(subject, data, **options)


async def test_a_failed_put_leaves_what_was_there_and_no_chunks(broker: MemoryBroker) -> None:
    await ObjectStore(broker, "s").put("key", b"before")
    async with Interrupted(broker.server) as failing:
        with pytest.raises(StreamFull):
            await ObjectStore(failing, "s").put("key", bytes(5 * CHUNK_BYTES))
    assert await ObjectStore(broker, "s").get("key") == b"before"
    assert await records(broker) == 2


async def test_a_cancelled_put_cleans_up_too(broker: MemoryBroker) -> None:
    async with Interrupted(broker.server) as hanging:
        hanging.hanging = asyncio.Event()
        putting = asyncio.ensure_future(ObjectStore(hanging, "s").put("key", LARGE))
        await hanging.hanging.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
    assert await ObjectStore(broker, "s").keys() == []
    assert await records(broker) == 0


async def test_lost_chunks_are_noticed(broker: MemoryBroker, store: ObjectStore) -> None:
    await store.put("key", bytes(3 * CHUNK_BYTES))
    await broker.delete_record("OBJ_s", 2)
    with pytest.raises(BlobCorrupt, match="262,144 bytes, but 393,216 were put"):
        await store.get("key")


async def test_changed_chunks_are_noticed(broker: MemoryBroker, store: ObjectStore) -> None:
    await store.put("key", b"right")
    chunk = await broker.at("OBJ_s", 1)
    assert chunk is not None
    await broker.delete_record("OBJ_s", 1)
    await broker.append(chunk.subject, b"wrong")
    with pytest.raises(BlobCorrupt, match="digest"):
        await store.get("key")


async def test_an_unreadable_description_is_an_error(
    broker: MemoryBroker, store: ObjectStore
) -> None:
    await store.put("key", b"")
    (description,) = await broker.read("OBJ_s", "$O.s.M.>")
    await broker.append(description.subject, b"{not json")
    with pytest.raises(BlobCorrupt, match="does not describe"):
        await store.get("key")


async def test_a_repeated_chunk_is_stored_once(broker: MemoryBroker, store: ObjectStore) -> None:
    broker.server.faults.drop_publish_acks(2)
    await store.put("key", bytes(3 * CHUNK_BYTES))
    assert await records(broker) == 4
    assert await store.get("key") == bytes(3 * CHUNK_BYTES)


class Overtaken(MemoryBroker):
    """Somebody else replaces the object between the looks at its description and its chunks."""

    replacements = 0

    async def read(
        self, stream: str, subject: str, *, start: int = 1, limit: int = 0
    ) -> Sequence[Record]:
        if self.replacements:
            self.replacements -= 1
            async with MemoryBroker(self.server) as other:
                await ObjectStore(other, "s").put("key", bytes(2 * CHUNK_BYTES))
        return await super().read(stream, subject, start=start, limit=limit)


async def test_a_reader_gets_the_object_that_replaced_what_it_was_reading(
    broker: MemoryBroker, store: ObjectStore
) -> None:
    await store.put("key", b"old")
    async with Overtaken(broker.server) as overtaken:
        overtaken.replacements = 2
        assert await ObjectStore(overtaken, "s").get("key") == bytes(2 * CHUNK_BYTES)


async def test_a_store_that_nobody_provisioned_says_so(broker: MemoryBroker) -> None:
    with pytest.raises(StreamNotFound, match="OBJ_missing"):
        await ObjectStore(broker, "missing").get("key")


@pytest.mark.parametrize("name", ["", "a.b", "a b"])
def test_a_bad_store_name_is_refused(name: str) -> None:
    with pytest.raises(BadSubject):
        store_stream(name)


def test_a_short_lived_store_has_a_short_duplicate_window() -> None:
    assert store_stream("s", max_age=60.0).duplicate_window == 60.0
    assert store_stream("s", max_age=86_400.0).duplicate_window == 120.0


# -- beside NATS' own client ---------------------------------------------------------------------


@pytest.mark.nats
async def test_the_client_of_nats_reads_and_writes_the_same_store() -> None:
    import nats

    from aixgo.broker.nats import NatsBroker

    body = LARGE[: 3 * CHUNK_BYTES + 17]
    with NatsServer() as server:
        client = await nats.connect(server.url)
        async with await NatsBroker.connect(server.url) as broker:
            await broker.ensure_stream(store_stream("s"))
            store = ObjectStore(broker, "s")
            theirs = await client.jetstream().object_store("s")
            await store.put("ours", body)
            assert (await theirs.get("ours")).data == body
            await theirs.put("theirs", body)
            assert await store.get("theirs") == body
            assert await store.keys() == ["ours", "theirs"]
            assert sorted([info.name for info in await theirs.list()]) == ["ours", "theirs"]
            await theirs.delete("theirs")
            with pytest.raises(BlobMissing):
                await store.get("theirs")
            await store.delete("ours")
            with pytest.raises(nats.js.errors.ObjectNotFoundError):
                await theirs.get("ours")
            (description, _) = await broker.read("OBJ_s", "$O.s.M.>")
            assert json.loads(description.data)["bucket"] == "s"
        await client.close()
