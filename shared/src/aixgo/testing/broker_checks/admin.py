"""Promises of `Admin` and `Upkeep`: repeatable declarations, exact state, final removal."""

from __future__ import annotations

from dataclasses import replace

from aixgo.broker import Broker, ConsumerConfig, StreamConfig, topology
from aixgo.errors import BrokerError, StreamNotFound, StreamRefused
from aixgo.subjects import Names
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import equal, expect, refused


async def a_declaration_can_be_repeated(stage: Stage) -> None:
    """Promise 12: created, then unchanged; and the broker returns it field by field."""
    broker = await stage.connect()
    name = stage.unique("S")
    config = StreamConfig(
        name=name,
        subjects=(f"{name}.a.>", f"{name}.b"),
        retention="workqueue",
        discard="new",
        max_bytes=1_000_000,
        max_messages=1000,
        max_message_size=10_000,
        max_age=3600.0,
        duplicate_window=60.5,
        allow_ttl=True,
        description="a work queue",
    )
    stage.forget_later(name)
    equal("first", (await broker.ensure_stream(config)).action, "created")
    equal("second", (await broker.ensure_stream(config)).action, "unchanged")
    info = await broker.stream_info(name)
    equal("stream as it is kept", info and info.config, config)
    consumer = ConsumerConfig(
        name="c",
        filters=(f"{name}.a.x", f"{name}.b"),
        ack_wait=2.5,
        max_deliver=7,
        max_ack_pending=9,
        max_waiting=11,
        description="a consumer",
    )
    equal("first", (await broker.ensure_consumer(name, consumer)).action, "created")
    equal("second", (await broker.ensure_consumer(name, consumer)).action, "unchanged")
    state = await broker.consumer_info(name, "c")
    equal("consumer as it is kept", state and (state.stream, state.config), (name, consumer))


async def a_changed_declaration_says_what_changed(stage: Stage) -> None:
    """Promise 38: field by field, old and new; the messages stay."""
    broker = await stage.connect()
    stream = await stage.stream(broker, max_bytes=1_000_000)
    await broker.append(f"{stream.name}.a", b"")
    changed = await broker.ensure_stream(replace(stream, max_bytes=2_000_000, max_age=600.0))
    equal("action", changed.action, "updated")
    wanted = {"max_bytes": (1_000_000, 2_000_000), "max_age": (0.0, 600.0)}
    equal("fields", dict(changed.fields), wanted)
    equal("messages", await stage.messages_in(broker, stream), 1)


async def what_cannot_be_changed_is_refused(stage: Stage) -> None:
    """Promise 17: the storage of a stream, the start of a consumer; the error is ours."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    with refused(BrokerError, what="another storage"):
        await broker.ensure_stream(replace(stream, storage="memory"))
    consumer = await stage.consumer(broker, stream)
    with refused(BrokerError, what="another deliver policy"):
        await broker.ensure_consumer(stream.name, replace(consumer, deliver="new"))
    equal("stream", (await _config(broker, stream.name)).storage, "file")


async def a_stream_that_is_written_behind_is_declared_as_such(stage: Stage) -> None:
    """Promise 12: `persist` is given back as it was declared; what it keeps is kept once."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue", discard="new", persist="async")
    equal("again", (await broker.ensure_stream(stream)).action, "unchanged")
    equal("persist", (await _config(broker, stream.name)).persist, "async")
    await broker.append(f"{stream.name}.a", b"x", msg_id="1")
    repeated = await broker.append(f"{stream.name}.a", b"x", msg_id="1")
    equal("duplicate", repeated.duplicate, True)
    equal("messages", await stage.messages_in(broker, stream), 1)


async def how_a_stream_is_written_is_chosen_when_it_is_created(stage: Stage) -> None:
    """Promise 17: `persist` cannot be changed, and is not for memory; the error is ours."""
    broker = await stage.connect()
    behind = await stage.stream(broker, persist="async")
    at_once = await stage.stream(broker)
    with refused(StreamRefused, what="writing at once from now on"):
        await broker.ensure_stream(replace(behind, persist="default"))
    with refused(StreamRefused, what="writing behind from now on"):
        await broker.ensure_stream(replace(at_once, persist="async"))
    equal("first", (await _config(broker, behind.name)).persist, "async")
    equal("second", (await _config(broker, at_once.name)).persist, "default")
    name = stage.unique("S")
    with refused(StreamRefused, what="writing behind what is in memory"):
        await broker.ensure_stream(
            StreamConfig(name=name, subjects=(name,), storage="memory", persist="async")
        )


async def two_streams_cannot_take_the_same_subject(stage: Stage) -> None:
    """Promise 12: an append has exactly one stream to go to."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    name = stage.unique("S")
    with refused(BrokerError, what="a stream over another's subjects"):
        await broker.ensure_stream(StreamConfig(name=name, subjects=(f"{stream.name}.a",)))
    equal("second stream", await broker.stream_info(name), None)


async def the_whole_topology_can_be_provisioned_twice(stage: Stage) -> None:
    """Promise 12: every stream, bucket and consumer of a namespace; then nothing changes."""
    broker = await stage.connect()
    names = Names(stage.unique("ns"))
    agents = [topology.AgentNeeds(name="critic"), topology.AgentNeeds(name="log", sources=("a",))]
    for stream in topology.streams(names):
        stage.forget_later(stream.name)
    first = await topology.provision(broker, names, agents)
    equal("first", {change.action for change in first}, {"created"})
    second = await topology.provision(broker, names, agents)
    equal("second", [change for change in second if change.action != "unchanged"], [])
    listed = set(await broker.stream_names())
    missing = {stream.name for stream in topology.streams(names)} - listed
    equal("streams that are not listed", missing, set())


async def the_state_of_a_stream_is_exact(stage: Stage) -> None:
    """Promise 12: messages, bytes, first and last sequence, consumers."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    for _ in range(3):
        await broker.append(f"{stream.name}.a", bytes(100))
    await broker.delete_record(stream.name, 1)
    await stage.consumer(broker, stream)
    info = await broker.stream_info(stream.name)
    assert info is not None
    seen = (info.messages, info.first_sequence, info.last_sequence, info.consumers)
    equal("messages, first, last, consumers", seen, (2, 2, 3, 1))
    expect(200 <= info.bytes < 400, f"two records of 100 bytes count as {info.bytes} bytes")
    equal("missing stream", await broker.stream_info("missing"), None)
    equal("missing consumer", await broker.consumer_info(stream.name, "missing"), None)
    equal("consumer of a missing stream", await broker.consumer_info("missing", "c"), None)


async def streams_are_listed_in_order(stage: Stage) -> None:
    """Promise 12: sorted by name, each once."""
    broker = await stage.connect()
    made = {(await stage.stream(broker)).name for _ in range(3)}
    names = list(await broker.stream_names())
    equal("order", names, sorted(set(names)))
    equal("missing", made - set(names), set())


async def consumers_are_listed_in_order(stage: Stage) -> None:
    """Promise 12: sorted by name, each once; those of one stream only."""
    broker = await stage.connect()
    stream, other = await stage.stream(broker), await stage.stream(broker)
    for name in ("b", "c", "a"):
        await broker.ensure_consumer(stream.name, ConsumerConfig(name=name))
    await broker.ensure_consumer(other.name, ConsumerConfig(name="d"))
    equal("names", list(await broker.consumer_names(stream.name)), ["a", "b", "c"])
    await broker.delete_consumer(stream.name, "b")
    equal("after a deletion", list(await broker.consumer_names(stream.name)), ["a", "c"])
    with refused(StreamNotFound, what="consumers of a missing stream"):
        await broker.consumer_names("missing")


async def a_purge_removes_what_matches(stage: Stage) -> None:
    """Promise 31: by filter or everything; it counts, and sequences go on."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    for tail in "aabab":
        await broker.append(f"{stream.name}.{tail}", b"")
    equal("purged by filter", await broker.purge(stream.name, f"{stream.name}.a"), 3)
    left = [record.subject for record in await broker.read(stream.name, f"{stream.name}.>")]
    equal("left", left, [f"{stream.name}.b"] * 2)
    equal("purged the rest", await broker.purge(stream.name), 2)
    equal("purged nothing", await broker.purge(stream.name), 0)
    equal("next", (await broker.append(f"{stream.name}.a", b"")).sequence, 6)
    with refused(StreamNotFound, what="purge of a missing stream"):
        await broker.purge("missing")


async def a_purge_removes_what_is_older_than_a_sequence(stage: Stage) -> None:
    """Promise 31: with a filter or without; the record at the sequence stays."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    for tail in "aabab":
        await broker.append(f"{stream.name}.{tail}", b"")
    equal("by filter", await broker.purge(stream.name, f"{stream.name}.a", before=4), 2)
    equal("without one", await broker.purge(stream.name, before=5), 2)
    left = [record.sequence for record in await broker.read(stream.name, f"{stream.name}.>")]
    equal("left", left, [5])
    equal("again", await broker.purge(stream.name, before=5), 0)
    info = await broker.stream_info(stream.name)
    equal("first", info and info.first_sequence, 5)


async def a_record_can_be_removed(stage: Stage) -> None:
    """Promise 34: one record, once; its subject may then be taken again."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    answer = await broker.append(f"{stream.name}.a", b"")
    equal("removed", await broker.delete_record(stream.name, answer.sequence), True)
    equal("removed again", await broker.delete_record(stream.name, answer.sequence), False)
    equal("left", list(await broker.read(stream.name, f"{stream.name}.>")), [])


async def a_removed_consumer_leaves_its_messages(stage: Stage) -> None:
    """Promise 20: unanswered ones go to the next consumer of the work queue."""
    broker = await stage.connect()
    stream = await stage.stream(broker, retention="workqueue")
    consumer = await stage.consumer(broker, stream)
    inbox = await stage.deliveries(broker, stream, consumer)
    await broker.append(f"{stream.name}.a", b"")
    await inbox.count(1)
    equal("removed", await broker.delete_consumer(stream.name, consumer.name), True)
    equal("removed again", await broker.delete_consumer(stream.name, consumer.name), False)
    successor = await stage.consumer(broker, stream)
    (delivery,) = await (await stage.deliveries(broker, stream, successor)).count(1)
    equal("attempt", delivery.attempt, 1)


async def a_removed_stream_is_gone(stage: Stage) -> None:
    """Promise 12: with its records; the same name begins anew."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    await broker.append(f"{stream.name}.a", b"")
    equal("removed", await broker.delete_stream(stream.name), True)
    equal("removed again", await broker.delete_stream(stream.name), False)
    equal("state", await broker.stream_info(stream.name), None)


async def _config(broker: Broker, stream: str) -> StreamConfig:
    info = await broker.stream_info(stream)
    if info is None:
        raise AssertionError(f"stream {stream!r} is gone")
    return info.config
