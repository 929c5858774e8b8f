"""What a producer of events may rely on: one event for a key, one record for all instances."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aixgo import Agent, Message
from aixgo.agents.declaration import Declaration
from aixgo.agents.role import Feed, NoOptions, Remembered, Role
from aixgo.config.agents import AgentSpec
from aixgo.errors import BodyTooLarge, WrongSequence
from aixgo.hosting.app import App
from aixgo.subjects import EVENTS
from aixgo.testing.local import Running
from aixgo.testing.waiting import eventually


def source(work: Callable[[Feed], Awaitable[None]], name: str = "source") -> Agent:
    """Return an agent that does this once it is started."""

    class Source(Role):
        style = "reactive"

        async def start(self, feed: Feed) -> None:
            await work(feed)

    spec = AgentSpec(name=name, role="source")
    return Agent.declared(Declaration(spec=spec, options=NoOptions(), role=Source))


async def test_a_key_is_one_event_with_one_run(running: Running) -> None:
    runs: list[str] = []
    seen: list[Message] = []

    async def work(feed: Feed) -> None:
        runs.extend([await feed.emit(key, key=key) for key in ("a", "b", "a", "")])

    async def listener(message: Message) -> None:
        seen.append(message)

    async with running(source(work), Agent("listener", listener, inputs=["source"])):
        await eventually(lambda: len(seen) == 3)
    assert runs[0] == runs[2]
    assert len(set(runs)) == 3
    told = {one.run_id: one.text for one in seen}
    assert told == {runs[0]: "a", runs[1]: "b", runs[3]: ""}


async def test_an_event_that_is_stored_twice_under_a_key_is_handled_once(
    running: Running,
) -> None:
    seen: list[str] = []

    async def work(feed: Feed) -> None:
        await feed.emit("firing", key="2030")

    async def listener(message: Message) -> None:
        seen.append(message.text)

    agents = source(work), Agent("listener", listener, inputs=["source"], concurrency=1)
    async with running(*agents) as system:
        await eventually(lambda: seen == ["firing"])
        # as an instance does that publishes it when the stream knows its id no more
        subject = system.names.event("source")
        first = await system.broker.last(system.names.stream(EVENTS), subject)
        assert first is not None
        await system.broker.append(subject, first.data)
        await system.publish("source", "next")
        await eventually(lambda: "next" in seen)
    assert seen == ["firing", "next"]


async def test_instances_share_a_record_that_outlives_them(running: Running) -> None:
    found: list[Any] = []

    async def work(feed: Feed) -> None:
        first = await feed.recall()
        found.append(first)
        revision = await feed.remember({"n": 1}, revision=first.revision)
        for stale in (0, revision + 1):
            with pytest.raises(WrongSequence):
                await feed.remember({"n": 9}, revision=stale)
        later = await feed.remember([1, None], revision=revision)
        found.append(later > revision)

    async def other(feed: Feed) -> None:
        found.append(await feed.recall())

    async with running(source(work)) as system:
        await eventually(lambda: len(found) == 2)
        names, broker = system.names, system.broker
        again = App([source(other), source(other, "another")], namespace=names.namespace)
        async with again.running(broker):
            await eventually(lambda: len(found) == 4)
    assert found[:2] == [Remembered(), True]
    values = [one.value for one in found[2:]]
    assert sorted(map(str, values)) == ["None", "[1, None]"], "an agent has a record of its own"


async def test_a_record_has_a_limit_that_is_said(running: Running) -> None:
    said: list[str] = []

    async def work(feed: Feed) -> None:
        await feed.remember("x" * 262_142, revision=0)
        with pytest.raises(BodyTooLarge) as caught:
            await feed.remember("x" * 262_143, revision=0)
        said.append(str(caught.value))

    async with running(source(work)):
        await eventually(lambda: said)
    assert "262,145 bytes, over the limit of 262,144 bytes" in said[0]


async def test_two_instances_of_a_schedule_fire_once(running: Running) -> None:
    seen: list[str] = []

    async def listener(message: Message) -> None:
        seen.append(message.text)

    clock = Agent("clock", role="producer", template="{n} {due:%S}", cron="* * * * * *")
    agents = clock, Agent("listener", listener, inputs=["clock"], concurrency=1)
    async with running(*agents) as system:
        other = App(agents, namespace=system.names.namespace)
        async with other.running(system.broker):
            await eventually(lambda: len(seen) >= 3)
    numbers, seconds = zip(*(one.split() for one in seen), strict=True)
    assert list(numbers) == [str(n + 1) for n in range(len(seen))]
    assert len(set(seconds)) == len(seen)
