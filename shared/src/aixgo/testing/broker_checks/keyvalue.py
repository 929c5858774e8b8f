"""Promises of key-value buckets, which are a convention over a log: revisions, watches, leases."""

from __future__ import annotations

import asyncio
from typing import Any

from aixgo.broker import Broker
from aixgo.broker.keyvalue import Bucket, Entry, bucket_stream
from aixgo.errors import BadSubject, WrongSequence
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import (
    SOON_SECONDS,
    Collected,
    Stopwatch,
    equal,
    expect,
    refused,
    within,
)
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually


async def _bucket(stage: Stage, broker: Broker, **options: Any) -> Bucket:
    name = stage.unique("b")
    await stage.declare(broker, bucket_stream(name, **options))
    return Bucket(broker, name)


async def a_value_has_the_revision_of_its_record(stage: Stage) -> None:
    """Promise 31: revisions are sequences of the stream, over all keys."""
    bucket = await _bucket(stage, await stage.connect())
    equal("absent", await bucket.get("a"), None)
    equal("revisions", [await bucket.put(key, b"v") for key in ("a", "b", "a")], [1, 2, 3])
    entry = await bucket.get("a")
    assert entry is not None
    equal("entry", (entry.key, entry.value, entry.revision), ("a", b"v", 3))
    expect(entry.created > 0, f"an entry carries its Unix time, got {entry.created!r}")


async def an_empty_value_is_a_value(stage: Stage) -> None:
    """Promise 31: it is not an absent key."""
    bucket = await _bucket(stage, await stage.connect())
    await bucket.put("a", b"")
    entry = await bucket.get("a")
    equal("value", entry and entry.value, b"")


async def a_key_is_created_once(stage: Stage) -> None:
    """Promise 31: the second creation has lost."""
    bucket = await _bucket(stage, await stage.connect())
    equal("revision", await bucket.create("a", b"first"), 1)
    with refused(WrongSequence, what="creation of a key that exists"):
        await bucket.create("a", b"second")
    entry = await bucket.get("a")
    equal("value", entry and entry.value, b"first")


async def a_key_is_updated_by_who_knows_its_revision(stage: Stage) -> None:
    """Promise 31: compare-and-set on the revision."""
    bucket = await _bucket(stage, await stage.connect())
    one = await bucket.put("a", b"1")
    two = await bucket.update("a", b"2", one)
    for wrong in (one, two + 1):
        with refused(WrongSequence, what=f"update at revision {wrong} when {two} is the newest"):
            await bucket.update("a", b"3", wrong)
    entry = await bucket.get("a")
    equal("entry", entry and (entry.value, entry.revision), (b"2", two))


async def a_removed_key_is_absent_and_can_be_created_again(stage: Stage) -> None:
    """Promise 31: after delete and after purge."""
    bucket = await _bucket(stage, await stage.connect())
    for remove in (bucket.delete, bucket.purge):
        await bucket.create("a", b"v")
        await remove("a")
        equal("after removal", await bucket.get("a"), None)
        equal("keys", sorted(await bucket.keys()), [])
    await bucket.create("a", b"again")
    entry = await bucket.get("a")
    equal("value", entry and entry.value, b"again")


async def history_keeps_the_newest_of_a_key(stage: Stage) -> None:
    """Promise 31: as many as the bucket says, deletions included; a purge clears them."""
    bucket = await _bucket(stage, await stage.connect(), history=3)
    await bucket.put("other", b"stays out")
    for number in range(3):
        await bucket.put("a", b"%d" % number)
    await bucket.delete("a")
    past = [(entry.value, entry.operation) for entry in await bucket.history("a")]
    equal("history", past, [(b"1", "PUT"), (b"2", "PUT"), (b"", "DEL")])
    await bucket.purge("a")
    past = [(entry.value, entry.operation) for entry in await bucket.history("a")]
    equal("history after a purge", past, [(b"", "PURGE")])


async def keys_are_listed(stage: Stage) -> None:
    """Promise 31: each once, without the removed ones."""
    bucket = await _bucket(stage, await stage.connect(), history=5)
    for key in ("a", "b/c", "d.e", "a", "gone", "x=y_z-0"):
        await bucket.put(key, b"")
    await bucket.delete("gone")
    equal("keys", sorted(await bucket.keys()), ["a", "b/c", "d.e", "x=y_z-0"])


async def an_invalid_key_is_refused(stage: Stage) -> None:
    """Promise 31: BadSubject, before anything is sent."""
    bucket = await _bucket(stage, await stage.connect())
    for key in ("", ".a", "a.", "a b", "a*", ">", "ä", "a..b"):
        with refused(BadSubject, what=f"put of key {key!r}"):
            await bucket.put(key, b"")
        with refused(BadSubject, what=f"get of key {key!r}"):
            await bucket.get(key)


async def a_watch_gives_what_is_there_then_a_mark_then_changes(stage: Stage) -> None:
    """Promise 32: initial values, None, then puts and removals as they happen."""
    broker = await stage.connect()
    bucket = await _bucket(stage, broker)
    for key in ("a", "b"):
        await bucket.put(key, b"initial")
    async with within(PATIENCE_SECONDS, "the watch"), bucket.watch(">") as changes:
        seen = [await anext(changes) for _ in range(3)]
        equal("initial", [_short(entry) for entry in seen], [("a", "PUT"), ("b", "PUT"), None])
        await bucket.put("c", b"new")
        await bucket.delete("a")
        await bucket.purge("b")
        seen = [await anext(changes) for _ in range(3)]
    wanted = [("c", "PUT"), ("a", "DEL"), ("b", "PURGE")]
    equal("changes", [_short(entry) for entry in seen], wanted)


async def a_watch_of_an_empty_bucket_begins_with_the_mark(stage: Stage) -> None:
    """Promise 32: no waiting for initial values that do not exist; a filter narrows the watch."""
    bucket = await _bucket(stage, await stage.connect())
    await bucket.put("other.a", b"")
    async with within(PATIENCE_SECONDS, "the watch"), bucket.watch("mine.*") as changes:
        equal("first", await anext(changes), None)
        await bucket.put("other.b", b"")
        await bucket.put("mine.a", b"")
        equal("next", _short(await anext(changes)), ("mine.a", "PUT"))


async def a_watch_goes_on_over_a_lost_connection(stage: Stage) -> None:
    """Promise 32: what changed meanwhile is seen soon after, not after a time-out."""
    broker, other = await stage.connect(breakable=True), await stage.connect()
    bucket = await _bucket(stage, other)
    watched = Collected[str]("watched keys")

    async def watch() -> None:
        async with Bucket(broker, bucket.name).watch(">") as changes:
            async for entry in changes:
                watched(entry.key if entry else "(mark)")

    task = asyncio.ensure_future(watch())
    try:
        await watched.count(1)
        async with stage.disconnected(broker):
            await bucket.put("meanwhile", b"")
        restored = Stopwatch()
        await bucket.put("after", b"")
        equal("watched", await watched.exactly(3), ["(mark)", "meanwhile", "after"])
        expect(restored.seconds < SOON_SECONDS, f"changes were seen {restored.seconds:.1f} s late")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def an_expired_key_is_absent_and_watchers_are_told(stage: Stage) -> None:
    """Promise 32: a key that is not renewed is purged, and can be created again at once."""
    broker = await stage.connect()
    bucket = await _bucket(stage, broker, ttl_per_key=True)
    changes = Collected[tuple[str, str] | None]("changes")

    async def watch() -> None:
        async with bucket.watch(">") as entries:
            async for entry in entries:
                changes(_short(entry))

    task = asyncio.ensure_future(watch())
    try:
        await changes.count(1)
        clock = Stopwatch()
        await bucket.put("short", b"", ttl=1)
        await bucket.put("stays", b"")
        seen = await changes.count(4)
        expect(0.95 <= clock.seconds < SOON_SECONDS, f"a TTL of 1 s took {clock.seconds:.3f} s")
        wanted = [None, ("short", "PUT"), ("stays", "PUT"), ("short", "PURGE")]
        equal("watched", seen, wanted)
        equal("expired", await bucket.get("short"), None)
        equal("keys", sorted(await bucket.keys()), ["stays"])
        await bucket.create("short", b"again")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def a_lease_that_is_not_renewed_goes_to_another(stage: Stage) -> None:
    """Promise 33: renewal by its revision keeps it; later the old owner's renewal is refused."""
    broker, rival = await stage.connect(), await stage.connect()
    mine = await _bucket(stage, broker, ttl_per_key=True)
    yours = Bucket(rival, mine.name)
    revision = await mine.create("lease", b"mine", ttl=3)
    for _ in range(6):
        await asyncio.sleep(0.6)  # together longer than it would last without a renewal
        with refused(WrongSequence, what="a lease that is held and renewed"):
            await yours.create("lease", b"yours", ttl=60)
        renewed = Stopwatch()
        revision = await mine.update("lease", b"mine", revision, ttl=3)

    async def acquire() -> bool:
        try:
            await yours.create("lease", b"yours", ttl=60)
        except WrongSequence:
            return False
        return True

    await eventually(acquire, bool, what="the lease is free")
    expect(renewed.seconds >= 2.9, f"a lease of 3 s was lost after {renewed.seconds:.3f} s")
    with refused(WrongSequence, what="renewal by the old owner"):
        await mine.update("lease", b"mine", revision, ttl=1)
    entry = await mine.get("lease")
    equal("owner", entry and entry.value, b"yours")


async def of_a_hundred_contenders_one_gets_the_lease(stage: Stage) -> None:
    """Promise 33: on ten connections at once."""
    brokers = [await stage.connect() for _ in range(10)]
    first = await _bucket(stage, brokers[0], ttl_per_key=True)
    buckets = [Bucket(broker, first.name) for broker in brokers]
    outcomes = await asyncio.gather(
        *(buckets[number % 10].create("hot", b"%d" % number, ttl=5) for number in range(100)),
        return_exceptions=True,
    )
    won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, int)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, WrongSequence)]
    equal("winners and losers", (len(won), len(lost)), (1, 99))
    entry = await first.get("hot")
    equal("owner", entry and entry.value, b"%d" % won[0])


def _short(entry: Entry | None) -> tuple[str, str] | None:
    return None if entry is None else (entry.key, entry.operation)
