"""Buckets: rules of names and keys, races that the promises do not show, and NATS' own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from aixgo.broker import Broker, Record
from aixgo.broker.keyvalue import MARKER_SECONDS, MAX_HISTORY, Bucket, Entry, bucket_stream
from aixgo.broker.memory import MemoryBroker
from aixgo.errors import BadSubject, StreamNotFound, StreamRefused, WrongSequence
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as connection:
        yield connection


@pytest.fixture
async def bucket(broker: MemoryBroker) -> Bucket:
    await broker.ensure_stream(bucket_stream("b", ttl_per_key=True))
    return Bucket(broker, "b")


def shape(entries: list[Entry | None]) -> list[tuple[str, str, bytes] | None]:
    return [
        None if entry is None else (entry.operation, entry.key, entry.value) for entry in entries
    ]


async def test_the_stream_has_the_shape_that_nats_gives_it() -> None:
    config = bucket_stream("b", history=5, description="text")
    assert (config.name, config.subjects) == ("KV_b", ("$KV.b.>",))
    assert (config.discard, config.max_messages_per_subject) == ("new", 5)
    assert (config.allow_rollup, config.deny_delete, config.allow_direct) == (True, True, True)
    assert (config.allow_ttl, config.marker_ttl) == (False, 0.0)
    assert bucket_stream("b", ttl_per_key=True).marker_ttl == MARKER_SECONDS


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a>", "ä"])
async def test_a_bad_bucket_name_is_refused(broker: MemoryBroker, name: str) -> None:
    with pytest.raises(BadSubject):
        bucket_stream(name)
    with pytest.raises(BadSubject):
        Bucket(broker, name)


@pytest.mark.parametrize("history", [0, -1, MAX_HISTORY + 1])
def test_a_history_outside_its_limits_is_refused(history: int) -> None:
    with pytest.raises(ValueError, match=f"history of {history}"):
        bucket_stream("b", history=history)


def test_values_with_a_ttl_have_no_history() -> None:
    with pytest.raises(ValueError, match="1 with ttl_per_key"):
        bucket_stream("b", history=2, ttl_per_key=True)


@pytest.mark.parametrize("key", ["", ".", ".a", "a.", "a..b", "a b", "a*", ">", "ä", "a\n"])
async def test_a_bad_key_is_refused_by_every_operation(bucket: Bucket, key: str) -> None:
    for refused in (
        bucket.get(key),
        bucket.history(key),
        bucket.put(key, b""),
        bucket.create(key, b""),
        bucket.update(key, b"", 1),
        bucket.delete(key),
        bucket.purge(key),
    ):
        with pytest.raises(BadSubject):
            await refused


@pytest.mark.parametrize("pattern", ["a..b", "a.>.b", ".>", "a b", ""])
async def test_a_bad_filter_is_refused(bucket: Bucket, pattern: str) -> None:
    with pytest.raises(BadSubject):
        await bucket.keys(pattern)
    with pytest.raises(BadSubject):
        bucket.watch(pattern)


async def test_a_bucket_that_nobody_provisioned_says_so(broker: MemoryBroker) -> None:
    bucket = Bucket(broker, "missing")
    with pytest.raises(StreamNotFound, match="KV_missing"):
        await bucket.get("a")
    with pytest.raises(StreamNotFound):
        await bucket.keys()


async def test_a_ttl_needs_a_bucket_that_allows_it(broker: MemoryBroker) -> None:
    await broker.ensure_stream(bucket_stream("plain"))
    with pytest.raises(StreamRefused, match="allow_ttl"):
        await Bucket(broker, "plain").put("a", b"", ttl=5)


async def test_keys_can_be_asked_by_filter(bucket: Bucket) -> None:
    for key in ("a.1", "a.2", "b.1", "c"):
        await bucket.put(key, b"")
    await bucket.delete("a.2")
    assert await bucket.keys() == ["a.1", "b.1", "c"]
    assert await bucket.keys("*.1") == ["a.1", "b.1"]
    assert await bucket.keys("a.>") == ["a.1"]
    assert await bucket.keys("c") == ["c"]


async def test_create_works_on_top_of_every_kind_of_end(bucket: Bucket) -> None:
    await bucket.create("k", b"1")
    for number, end in enumerate((bucket.delete, bucket.purge), 2):
        with pytest.raises(WrongSequence):
            await bucket.create("k", b"taken")
        await end("k")
        assert await bucket.get("k") is None
        await bucket.create("k", b"%d" % number)
    await bucket.put("k", b"short", ttl=2)
    await asyncio.sleep(3)
    (marker,) = await bucket.history("k")
    assert (marker.operation, marker.value) == ("PURGE", b"")
    assert await bucket.keys() == []
    revision = await bucket.create("k", b"again")
    assert await bucket.get("k") == Entry("k", b"again", revision, "PUT", marker.created + 1)


async def test_a_renewed_lease_lives_on_and_its_old_owner_is_refused(bucket: Bucket) -> None:
    revision = await bucket.create("lease", b"one", ttl=10)
    for _ in range(5):
        await asyncio.sleep(8)
        revision = await bucket.update("lease", b"one", revision, ttl=10)
    with pytest.raises(WrongSequence):
        await bucket.create("lease", b"two", ttl=10)
    await asyncio.sleep(11)
    taken = await bucket.create("lease", b"two", ttl=10)
    with pytest.raises(WrongSequence):
        await bucket.update("lease", b"one", revision, ttl=10)
    with pytest.raises(WrongSequence):
        await bucket.delete("lease", revision=revision)
    await bucket.delete("lease", revision=taken)
    assert await bucket.get("lease") is None


async def test_a_write_whose_answer_was_lost_is_one_write(
    broker: MemoryBroker, bucket: Bucket
) -> None:
    broker.server.faults.drop_publish_acks(1)
    first = await bucket.create("k", b"1")
    broker.server.faults.drop_publish_acks(1)
    assert await bucket.update("k", b"2", first) == first + 1


async def test_a_watch_sees_each_key_once_then_a_mark_then_everything(bucket: Bucket) -> None:
    for key, value in (("a.1", b"old"), ("b", b"x"), ("a.2", b"gone"), ("a.1", b"new")):
        await bucket.put(key, value)
    await bucket.delete("a.2")
    async with bucket.watch("a.*") as entries:
        seen = [await anext(entries) for _ in range(3)]
        assert shape(seen) == [("PUT", "a.1", b"new"), ("DEL", "a.2", b""), None]
        await bucket.put("a.3", b"short", ttl=5)
        await bucket.put("b", b"not watched")
        seen = [await anext(entries)]
        await bucket.purge("a.1")
        await asyncio.sleep(6)
        seen += [await anext(entries) for _ in range(2)]
    assert shape(seen) == [("PUT", "a.3", b"short"), ("PURGE", "a.1", b""), ("PURGE", "a.3", b"")]


async def test_a_watch_misses_nothing_that_is_written_while_it_begins(
    broker: MemoryBroker, bucket: Bucket
) -> None:
    async def write() -> None:
        for number in range(500):
            await bucket.put(f"k{number}", b"%d" % number)

    writing = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    seen: list[int] = []
    async with bucket.watch() as entries:
        async for entry in entries:
            if entry is not None:
                seen.append(int(entry.value))
            if entry is not None and entry.value == b"499":
                break
    await writing
    assert seen == list(range(500))


class Meddler(MemoryBroker):
    """Somebody else writes just after the first read."""

    meddle: Callable[[], Awaitable[object]] | None = None

    async def read(
        self, stream: str, subject: str, *, start: int = 1, limit: int = 0
    ) -> Sequence[Record]:
        records = await super().read(stream, subject, start=start, limit=limit)
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            await meddle()
        return records


async def test_a_watch_of_an_empty_bucket_misses_no_first_value(
    broker: MemoryBroker, bucket: Bucket
) -> None:
    async with Meddler(broker.server) as slow:
        slow.meddle = lambda: bucket.put("k", b"between reading and following")
        async with Bucket(slow, "b").watch() as entries:
            assert await anext(entries) is None
            entry = await anext(entries)
    assert entry is not None
    assert entry.key == "k"


async def test_every_write_has_an_id_of_its_own(broker: MemoryBroker, bucket: Bucket) -> None:
    for write in (bucket.put, bucket.put, Bucket(broker, "b").put):
        await write("k", b"")
        await write("k2", b"")
    ids = set()
    for sequence in range(1, 7):
        record = await broker.at("KV_b", sequence)
        if record is not None:  # a history of 1 keeps two of them
            ids.add(record.headers["Nats-Msg-Id"])
    assert len(ids) == 2
    info = await broker.stream_info("KV_b")
    assert info is not None
    assert info.last_sequence == 6


# -- beside NATS' own client ---------------------------------------------------------------------


@pytest.fixture
async def real() -> AsyncIterator[tuple[Broker, str]]:
    from aixgo.broker.nats import NatsBroker

    with NatsServer() as server:
        async with await NatsBroker.connect(server.url) as connection:
            yield connection, server.url


@pytest.mark.nats
async def test_the_client_of_nats_reads_and_writes_the_same_bucket(
    real: tuple[Broker, str],
) -> None:
    import nats

    broker, url = real
    await broker.ensure_stream(bucket_stream("b", history=5))
    bucket = Bucket(broker, "b")
    client = await nats.connect(url)
    try:
        theirs = await client.jetstream().key_value("b")
        revision = await bucket.put("a.k", b"ours")
        entry = await theirs.get("a.k")
        assert (entry.value, entry.revision) == (b"ours", revision)
        await theirs.update("a.k", b"theirs", last=revision)
        assert shape([await bucket.get("a.k")]) == [("PUT", "a.k", b"theirs")]
        await theirs.delete("a.k")
        assert await bucket.get("a.k") is None
        await bucket.create("a.k", b"again")
        assert [entry.operation for entry in await bucket.history("a.k")] == [
            "PUT",
            "PUT",
            "DEL",
            "PUT",
        ]
        assert await theirs.keys() == await bucket.keys() == ["a.k"]
        await bucket.purge("a.k")
        with pytest.raises(nats.js.errors.KeyNotFoundError):
            await theirs.get("a.k")
    finally:
        await client.close()


async def test_subjects_that_are_not_keys_are_left_out(
    broker: MemoryBroker, bucket: Bucket
) -> None:
    await bucket.put("good", b"1")
    for odd in ("a%b", "ключ", "a:b"):
        await broker.append(f"$KV.b.{odd}", b"2")
    assert await bucket.keys() == ["good"]
    async with bucket.watch() as entries:
        assert shape([await anext(entries), await anext(entries)]) == [("PUT", "good", b"1"), None]
        await broker.append("$KV.b.c?d", b"3")
        await bucket.put("later", b"4")
        assert shape([await anext(entries)]) == [("PUT", "later", b"4")]
