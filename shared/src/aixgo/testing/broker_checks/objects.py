"""Promises of object stores, a convention over a log: large bodies, whole or not at all."""

from __future__ import annotations

import hashlib
import os

from aixgo.broker import Broker
from aixgo.broker.objects import ObjectStore, store_stream
from aixgo.errors import BlobMissing
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import Stopwatch, equal, expect, refused


async def _store(stage: Stage, broker: Broker) -> ObjectStore:
    name = stage.unique("o")
    await stage.declare(broker, store_stream(name))
    return ObjectStore(broker, name)


async def an_object_comes_back_as_it_was_put(stage: Stage) -> None:
    """Promise 34: of any size, read by another connection, with its size and digest."""
    broker, other = await stage.connect(), await stage.connect()
    store = await _store(stage, broker)
    for size in (0, 1, 128 * 1024, 128 * 1024 + 1, 3 * 1024 * 1024 + 17):
        data = os.urandom(size)
        blob = await store.put(f"object of {size} bytes / ü", data)
        equal("size", blob.size, size)
        equal("digest", blob.sha256, hashlib.sha256(data).hexdigest())
        back = await ObjectStore(other, store.name).get(blob.key)
        expect(back == data, f"{size} bytes came back as {len(back)} other bytes")


async def a_large_object_is_read_in_linear_time(stage: Stage) -> None:
    """Promise 34: eight times the size takes nowhere near sixty-four times as long."""
    store = await _store(stage, await stage.connect())
    seconds: dict[str, float] = {}
    for name, size in (("small", 2 * 1024 * 1024), ("large", 16 * 1024 * 1024)):
        await store.put(name, bytes(size))
        tries = []
        for _ in range(3):
            watch = Stopwatch()
            equal(f"bytes of the {name} one", len(await store.get(name)), size)
            tries.append(watch.seconds)
        seconds[name] = min(tries)
    expect(
        seconds["large"] < 32 * seconds["small"] + 0.1,
        f"16 MiB took {seconds['large']:.3f} s, and 2 MiB {seconds['small']:.3f} s",
    )


async def an_object_is_replaced_as_a_whole(stage: Stage) -> None:
    """Promise 34: the key returns the newest body; the older one's chunks are removed."""
    broker = await stage.connect()
    store = await _store(stage, broker)
    await store.put("key", os.urandom(400_000))
    await store.put("key", b"new")
    equal("body", await store.get("key"), b"new")
    equal("keys", list(await store.keys()), ["key"])
    info = await broker.stream_info(store_stream(store.name).name)
    expect(info is not None and info.bytes < 100_000, f"old chunks are left: {info!r}")


async def a_removed_object_is_missing(stage: Stage) -> None:
    """Promise 34: BlobMissing for a removed key and for one that never was."""
    store = await _store(stage, await stage.connect())
    await store.put("key", b"body")
    await store.delete("key")
    for key in ("key", "never was"):
        with refused(BlobMissing, what=f"get of {key!r}"):
            await store.get(key)
    equal("keys", list(await store.keys()), [])
