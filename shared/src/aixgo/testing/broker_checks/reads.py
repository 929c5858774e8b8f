"""Promises about reading a stream: by subject, by sequence, in batches, republished, followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aixgo.broker import Expect, Record
from aixgo.broker.headers import LAST_SEQUENCE, SEQUENCE, STREAM, SUBJECT
from aixgo.errors import BadSubject, StreamNotFound, WrongSequence
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import Collected, equal, expect, refused
from aixgo.testing.waiting import PATIENCE_SECONDS


async def the_newest_record_of_a_subject_can_be_read(stage: Stage) -> None:
    """Promise 34: by subject; None where there is none."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    for body in (b"old", b"new"):
        await broker.append(f"{stream.name}.a", body)
    await broker.append(f"{stream.name}.b", b"other")
    record = await broker.last(stream.name, f"{stream.name}.a")
    assert record is not None
    equal("record", (record.data, record.sequence), (b"new", 2))
    equal("where", (record.stream, record.subject), (stream.name, f"{stream.name}.a"))
    equal("absent", await broker.last(stream.name, f"{stream.name}.zzz"), None)


async def a_record_can_be_read_by_its_sequence(stage: Stage) -> None:
    """Promise 34: None for one that never was, or was removed."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    for body in (b"1", b"2"):
        await broker.append(f"{stream.name}.a", body)
    record = await broker.at(stream.name, 1)
    equal("record", record and record.data, b"1")
    record = await broker.at(stream.name, 2)
    equal("the next record", record and record.data, b"2")
    equal("never was", await broker.at(stream.name, 99), None)
    await broker.delete_record(stream.name, 1)
    equal("removed", await broker.at(stream.name, 1), None)


async def the_newest_record_of_a_filter_can_be_read(stage: Stage) -> None:
    """Promise 34: of all subjects that match it; a decisive read sees every finished append."""
    broker, writer = await stage.connect(), await stage.connect()
    stream = await stage.stream(broker)
    for body in (b"1", b"2", b"3"):
        await writer.append(f"{stream.name}.{body.decode()}.x", body)
        record = await broker.last(stream.name, f"{stream.name}.*.x", decisive=True)
        equal("newest", record and record.data, body)
    record = await broker.last(stream.name, f"{stream.name}.>")
    equal("newest of all", record and record.data, b"3")
    equal("no match", await broker.last(stream.name, f"{stream.name}.*.y"), None)


async def reading_nothing_in_particular_is_refused(stage: Stage) -> None:
    """Promise 34: no subject, a broken one, or a sequence below 1 are mistakes of the reader."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await broker.append(f"{stream.name}.a", b"1")
    for subject in ("", f"{stream.name}..a", f"{stream.name}.>.a", f"{stream.name}.a b"):
        with refused(BadSubject, what=f"newest record of {subject!r}"):
            await broker.last(stream.name, subject)
    for sequence in (0, -1):
        with refused(ValueError, what=f"record {sequence}"):
            await broker.at(stream.name, sequence)


async def an_empty_record_is_a_record(stage: Stage) -> None:
    """Promise 34: no body is an empty body, not an absent record."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await broker.append(f"{stream.name}.a", b"")
    record = await broker.last(stream.name, f"{stream.name}.a")
    equal("body by subject", record and record.data, b"")
    (read,) = await broker.read(stream.name, f"{stream.name}.a")
    equal("body in a batch", read.data, b"")


async def records_are_read_in_order_by_filter(stage: Stage) -> None:
    """Promise 34: in batches, from a sequence, up to a limit; finding nothing is not an error."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await asyncio.gather(
        *(
            broker.append(f"{stream.name}.{'ab'[number % 2]}", b"%d" % number)
            for number in range(10)
        )
    )
    matching = f"{stream.name}.b"
    every = [record.data for record in await broker.read(stream.name, matching)]
    equal("all", every, [b"1", b"3", b"5", b"7", b"9"])
    some = [record.data for record in await broker.read(stream.name, matching, start=5, limit=2)]
    equal("two from sequence 5 on", some, [b"5", b"7"])
    equal("no match", list(await broker.read(stream.name, f"{stream.name}.zzz")), [])
    equal("beyond the end", list(await broker.read(stream.name, matching, start=99)), [])


async def a_long_stream_is_read_to_its_end(stage: Stage) -> None:
    """Promise 34: more than any one batch of the server holds."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await asyncio.gather(
        *(broker.append(f"{stream.name}.a", b"", msg_id=f"{number}") for number in range(1500))
    )
    records = await broker.read(stream.name, f"{stream.name}.>")
    equal("sequences", [record.sequence for record in records], list(range(1, 1501)))
    some = await broker.read(stream.name, f"{stream.name}.>", limit=1200)
    equal("with a limit", len(some), 1200)


async def reading_a_missing_stream_is_an_error(stage: Stage) -> None:
    """Promise 34: no stream is not the same as no record."""
    broker = await stage.connect()
    missing = stage.unique("S")
    with refused(StreamNotFound, what="get by subject"):
        await broker.last(missing, "a")
    with refused(StreamNotFound, what="get by sequence"):
        await broker.at(missing, 1)
    with refused(StreamNotFound, what="read"):
        await broker.read(missing, "a")


async def only_what_is_stored_is_republished(stage: Stage) -> None:
    """Promise 35: no duplicate, no lost compare-and-set; with sequence and gap detection."""
    broker = await stage.connect()
    name = stage.unique("S")
    stream = await stage.stream(
        broker, name=name, subjects=(f"{name}.>",), republish=(f"{name}.>", f"live-{name}.>")
    )
    live = await stage.listen(broker, f"live-{name}.>")
    await broker.append(f"{name}.a", b"1", msg_id="one", headers={"mine": "kept"})
    await broker.append(f"{name}.a", b"1", msg_id="one")
    with refused(WrongSequence, what="append to a taken subject"):
        await broker.append(f"{name}.a", b"lost", expect=Expect(subject_sequence=0))
    await broker.append(f"{name}.b", b"2")
    await broker.append(f"{name}.a", b"3")
    copies = await live.exactly(3)
    equal("bodies", [copy.data for copy in copies], [b"1", b"2", b"3"])
    equal("subjects", [copy.subject for copy in copies], [f"live-{name}.{t}" for t in "aba"])
    equal("sequences", [copy.headers[SEQUENCE] for copy in copies], ["1", "2", "3"])
    before = [copy.headers[LAST_SEQUENCE] for copy in copies]
    equal("sequences before it on the subject", before, ["0", "0", "1"])
    origin = (copies[0].headers[STREAM], copies[0].headers[SUBJECT])
    equal("origin", origin, (stream.name, f"{name}.a"))
    equal("own header", copies[0].headers.get("mine"), "kept")


async def a_stream_can_be_followed_from_its_start(stage: Stage) -> None:
    """Promise 37: what is there, then what comes, without a gap or a repetition."""
    broker, writer = await stage.connect(), await stage.connect()
    stream = await stage.stream(broker)

    async def write(first: int, last: int) -> None:
        for number in range(first, last + 1):
            await writer.append(f"{stream.name}.a", b"%d" % number, msg_id=f"{number}")

    await write(1, 300)
    async with broker.follow(stream.name, f"{stream.name}.>") as records:
        writing = asyncio.ensure_future(write(301, 600))
        seen = await _take(records, 600)
        await writing
    equal("followed", [record.sequence for record in seen], list(range(1, 601)))
    equal("last body", seen[-1].data, b"600")


async def a_stream_can_be_followed_from_a_sequence(stage: Stage) -> None:
    """Promise 37: so that a reader goes on where it stopped; a filter leaves others out."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    for number in range(1, 7):
        await broker.append(f"{stream.name}.{'ab'[number % 2]}", b"%d" % number)
    async with broker.follow(stream.name, f"{stream.name}.b", start=3) as records:
        seen = await _take(records, 2)
        await broker.append(f"{stream.name}.a", b"other")
        await broker.append(f"{stream.name}.b", b"7")
        seen += await _take(records, 1)
    equal("followed", [record.data for record in seen], [b"3", b"5", b"7"])


async def a_stream_can_be_followed_from_now_on(stage: Stage) -> None:
    """Promise 37: `start=0` begins after the newest record, as soon as the block is entered."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await broker.append(f"{stream.name}.a", b"before")
    async with broker.follow(stream.name, f"{stream.name}.>", start=0) as records:
        await broker.append(f"{stream.name}.a", b"after")
        (seen,) = await _take(records, 1)
    equal("followed", (seen.data, seen.sequence), (b"after", 2))


async def followers_do_not_disturb_each_other(stage: Stage) -> None:
    """Promise 37: each has its own place; a slow one delays no other, leaving ends only one."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    quick = Collected[int]("sequences of the quick follower")

    async def follow() -> None:
        async with broker.follow(stream.name, f"{stream.name}.>") as records:
            async for record in records:
                quick(record.sequence)

    task = asyncio.ensure_future(follow())
    try:
        async with broker.follow(stream.name, f"{stream.name}.>") as slow:
            for _ in range(50):
                await broker.append(f"{stream.name}.a", b"")
            equal("quick", await quick.count(50), list(range(1, 51)))
            equal("slow", [r.sequence for r in await _take(slow, 50)], list(range(1, 51)))
        await broker.append(f"{stream.name}.a", b"")
        await quick.count(51)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    expect(task.cancelled(), f"cancelling a follower cancels it, got {task!r}")


async def _take(records: AsyncIterator[Record], count: int) -> list[Record]:
    """Return the next `count` records of a follower, within a bound."""
    taken: list[Record] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(taken) < count:
                taken.append(await anext(records))
    except TimeoutError:
        last = taken[-1] if taken else None
        raise AssertionError(
            f"followed records: expected {count} within {PATIENCE_SECONDS:g} s, "
            f"got {len(taken)}, last {last!r}"
        ) from None
    return taken
