"""Messages of other systems become events, on both brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aixgo import Agent, Message
from aixgo.broker.port import StreamConfig
from aixgo.errors import ConfigError, ConsumerNotFound, StreamNotFound
from aixgo.hosting.app import App, System
from aixgo.testing.local import Running
from aixgo.testing.waiting import eventually


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def events(self) -> list[Any]:
        return [one.data for one in self.messages]


async def heard(listener: Listener, number: int) -> None:
    """Wait for so many events."""
    await eventually(lambda: len(listener.messages) >= number)


def agents(listener: Listener, subject: str, **options: Any) -> tuple[Agent, Agent]:
    return (
        Agent("orders", role="producer", subject=subject, **options),
        Agent("listener", listener, inputs=["orders"], concurrency=1),
    )


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> str:
    """A subject of this test alone: a server is shared."""
    return f"shop.{abs(hash(request.node.name)) % 10**9}"


async def with_a_stream(
    running: Running, subject: str, use: Callable[[System, str], Awaitable[None]]
) -> None:
    """Do something in a system whose broker has another system's stream."""
    stream = "SHOP" + subject.partition(".")[2]

    async def note(message: Message) -> None: ...

    async with running(Agent("other", note)) as system:
        await system.broker.ensure_stream(StreamConfig(name=stream, subjects=(f"{subject}.>",)))
        try:
            await use(system, stream)
        finally:
            await system.broker.delete_stream(stream)


# -- messages that no stream keeps -------------------------------------------------------------


async def test_what_is_sent_to_a_subject_is_an_event_at_once(
    running: Running, subject: str
) -> None:
    listener = Listener()
    async with running(*agents(listener, f"{subject}.*")) as system:
        for data in (b'{"n": 1}', b"text", b"\xff\x00", b"", b"[" * 100_000):
            await system.broker.publish(f"{subject}.new", data)
        await eventually(lambda: len(listener.messages) == 5)
    assert listener.events == [{"n": 1}, "text", {"base64": "/wA="}, "", "[" * 100_000]
    assert {one.meta["subject"] for one in listener.messages} == {f"{subject}.new"}
    assert len({one.run_id for one in listener.messages}) == 5


async def test_each_message_is_an_event_of_one_instance(running: Running, subject: str) -> None:
    listener = Listener()
    declared = agents(listener, subject)
    async with running(*declared) as system:
        other = App(declared, namespace=system.names.namespace)
        async with other.running(system.broker):
            for n in range(40):
                await system.broker.publish(subject, str(n).encode())
            await system.broker.publish(subject, b'"end"')
            await eventually(lambda: len(listener.messages) >= 41)
    assert sorted(listener.events, key=str) == sorted([*range(40), "end"], key=str)


async def test_what_does_not_fit_into_the_buffer_is_dropped_and_counted(
    running: Running, subject: str, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    async with running(*agents(listener, subject, buffer=5, rate="20/s")) as system:
        for n in range(50):
            await system.broker.publish(subject, str(n).encode())
        await eventually(lambda: "feed.messages_dropped" in caplog.messages)
        await eventually(lambda: listener.messages)
    told = [vars(one) for one in caplog.records if one.message == "feed.messages_dropped"]
    assert told[0]["buffer"] == 5
    assert sum(one["dropped"] for one in told) >= 30


async def test_a_count_ends_the_listening(running: Running, subject: str) -> None:
    listener = Listener()
    async with running(*agents(listener, subject, count=2)) as system:
        for n in range(9):
            await system.broker.publish(subject, str(n).encode())
        task = system.services["orders"]._running
        assert task is not None
        await eventually(task.done)
        await eventually(lambda: len(listener.messages) == 2)
    assert listener.events == [0, 1]


# -- messages that a stream keeps --------------------------------------------------------------


async def test_a_stream_is_read_from_its_beginning_in_order_over_restarts(
    running: Running, subject: str
) -> None:
    listener = Listener()

    async def use(system: System, stream: str) -> None:
        for n in range(3):
            await system.broker.append(f"{subject}.a", str(n).encode())
        declared = agents(listener, f"{subject}.a", stream=stream)
        for until in (3, 5):
            app = App(declared, namespace=system.names.namespace)
            async with app.running(system.broker):
                await heard(listener, until)
            for n in (3, 4):
                await system.broker.append(
                    f"{subject}.{'a' if until == 3 else 'b'}", str(n).encode()
                )

    await with_a_stream(running, subject, use)
    assert listener.events == [0, 1, 2, 3, 4]


async def test_new_messages_only_when_that_is_asked_for(running: Running, subject: str) -> None:
    listener = Listener()

    async def use(system: System, stream: str) -> None:
        await system.broker.append(f"{subject}.a", b'"old"')
        declared = agents(listener, f"{subject}.>", stream=stream, deliver="new")
        app = App(declared, namespace=system.names.namespace)
        async with app.running(system.broker):
            await system.broker.append(f"{subject}.a", b'"new"')
            await eventually(lambda: listener.messages)

    await with_a_stream(running, subject, use)
    assert listener.events == ["new"]


@pytest.mark.parametrize("published", [False, True], ids=["before", "after"])
async def test_a_message_at_which_its_instance_dies_is_one_event(
    running: Running, subject: str, published: bool
) -> None:
    listener = Listener()

    async def use(system: System, stream: str) -> None:
        declared = agents(listener, f"{subject}.>", stream=stream)
        app = App(declared, namespace=system.names.namespace)
        async with app.running(system.broker) as first:
            feed = first.services["orders"]._feed
            assert feed is not None
            emit = feed.emit

            async def dies(*args: Any, **given: Any) -> str:
                if published:
                    await emit(*args, **given)
                raise ConfigError("it died")

            feed.emit = dies  # type: ignore[method-assign] # before the event is stored, or after it
            await system.broker.append(f"{subject}.a", b"1")
            await eventually(lambda: first.services["orders"].failure is not None)
        async with app.running(system.broker):
            await system.broker.append(f"{subject}.a", b"2")
            await eventually(lambda: 2 in listener.events)

    await with_a_stream(running, subject, use)
    assert listener.events == [1, 2]


async def test_a_stream_that_is_made_anew_has_new_events(running: Running, subject: str) -> None:
    listener = Listener()

    async def use(system: System, stream: str) -> None:
        declared = agents(listener, f"{subject}.>", stream=stream)
        app = App(declared, namespace=system.names.namespace)
        for number, data in enumerate((b'"before"', b'"after"'), start=1):
            async with app.running(system.broker):
                await system.broker.append(f"{subject}.a", data)
                await heard(listener, number)
            await system.broker.delete_stream(stream)
            await system.broker.ensure_stream(StreamConfig(name=stream, subjects=(f"{subject}.>",)))

    await with_a_stream(running, subject, use)
    assert listener.events == ["before", "after"]


async def test_a_slow_publisher_keeps_its_delivery(running: Running, subject: str) -> None:
    listener = Listener()
    attempts: list[int] = []

    async def use(system: System, stream: str) -> None:
        declared = agents(listener, f"{subject}.>", stream=stream)
        app = App(declared, namespace=system.names.namespace, ack_wait=0.5)
        async with app.running(system.broker) as one, app.running(system.broker) as other:
            for served in (one, other):
                feed = served.services["orders"]._feed
                assert feed is not None
                emit = feed.emit

                async def slow(*args: Any, emit: Any = emit, **given: Any) -> str:
                    attempts.append(1)
                    await asyncio.sleep(1.8)
                    run: str = await emit(*args, **given)
                    return run

                feed.emit = slow  # type: ignore[method-assign] # longer than the wait for an answer
            await system.broker.append(f"{subject}.a", b"1")
            await eventually(lambda: listener.messages)

    await with_a_stream(running, subject, use)
    assert len(attempts) == 1, "the other instance did not get it meanwhile"


async def test_a_stream_that_is_not_there_is_an_error_that_names_it(running: Running) -> None:
    declared = agents(Listener(), "shop.>", stream="NOWHERE")
    with pytest.raises(StreamNotFound, match="'NOWHERE'"):
        async with running(*declared):
            pass


async def test_an_agent_that_was_not_provisioned_says_so(running: Running, subject: str) -> None:
    async def use(system: System, stream: str) -> None:
        declared = agents(Listener(), f"{subject}.>", stream=stream)
        plain = [Agent("orders", role="producer", template="x"), declared[1]]
        app = App(declared, namespace=system.names.namespace)
        await App(plain, namespace=system.names.namespace).provision(system.broker)
        served = System(app, system.broker, ["orders"], upkeep=False)
        service = served.services["orders"]
        await service.start()
        await eventually(lambda: service.failure is not None)
        assert isinstance(service.failure, ConsumerNotFound)
        await service.stop()

    await with_a_stream(running, subject, use)
