"""Windows over events: each event is in one of them, whatever dies and whoever works on it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from aixgo import Agent, App, Message
from aixgo.clock import now
from aixgo.models.scripted import ScriptedModel
from aixgo.testing import Faults, SimulatedSystem, simulate
from aixgo.testing.local import Running, run_local
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo_services.aggregator.inputs import Input
from aixgo_services.aggregator.options import AggregatorOptions
from aixgo_services.aggregator.windows import LATEST_SECONDS, MOST_BYTES, Gathering, Windows


async def source(message: Message) -> Any:
    return message.data


def jury(**options: Any) -> Agent:
    options = {"timeout_ms": 1_000, "aggregation_strategy": "voting_majority", **options}
    return Agent("jury", role="aggregator", inputs=["a", "b"], **options)


class Heard:
    """What the aggregator publishes."""

    def __init__(self) -> None:
        self.answers: list[Message] = []

    def agents(self, **options: Any) -> list[Agent]:
        async def sink(message: Message) -> None:
            self.answers.append(message)

        ears = Agent("ears", sink, inputs=["jury"])
        return [Agent("a", source), Agent("b", source), jury(**options), ears]

    @property
    def counted(self) -> int:
        return sum(one.meta["input_count"] for one in self.answers)


@pytest.mark.virtual_time
async def test_the_events_of_a_window_are_one_answer(running: Running) -> None:
    heard = Heard()
    async with running(*heard.agents()) as system:
        for text, name in (("yes", "a"), ("no", "b"), ("yes", "a")):
            await system.publish(name, text)
        await eventually(lambda: heard.answers)
    (answer,) = heard.answers
    assert answer.data["aggregated_content"] == "yes"
    assert answer.data["sources"] == ["a", "b"]
    assert answer.meta["input_count"] == 3  # the second event of a source counts too
    assert answer.data["consensus_level"] == 0.6667


@pytest.mark.virtual_time
async def test_a_window_that_is_full_is_closed_at_once(running: Running) -> None:
    heard = Heard()
    async with running(*heard.agents(max_input_sources=2, timeout_ms=200_000)) as system:
        for number in range(4):
            await system.publish("a", str(number))
        await eventually(lambda: len(heard.answers) == 2)
    assert sorted(one.meta["input_count"] for one in heard.answers) == [2, 2]


@pytest.mark.virtual_time
async def test_what_comes_later_is_another_window(running: Running) -> None:
    heard = Heard()
    async with running(*heard.agents()) as system:
        await system.publish("a", "one")
        await eventually(lambda: heard.answers)
        await system.publish("b", "two")
        await eventually(lambda: len(heard.answers) == 2)
    assert [one.data["sources"] for one in heard.answers] == [["a"], ["b"]]


@pytest.mark.virtual_time
async def test_an_event_says_how_sure_it_is_in_its_metadata(running: Running) -> None:
    heard = Heard()
    async with running(*heard.agents(aggregation_strategy="voting_confidence")) as system:
        await system.publish("a", "yes", meta={"confidence": 0.9})
        await system.publish("b", "no", meta={"confidence": 0.2})
        await eventually(lambda: heard.answers)
    assert heard.answers[0].data["aggregated_content"] == "yes"
    assert heard.answers[0].data["consensus_level"] == 0.8182


@pytest.mark.virtual_time
async def test_windows_do_not_fill_the_record_of_all_windows(running: Running) -> None:
    """More passes through within the hour than a record holds; nothing is refused."""
    heard = Heard()
    events = 300
    async with running(*heard.agents(max_input_sources=1)) as system:
        for number in range(events):
            await system.publish("a", f"{number} " + "x" * 1_000)
            await eventually(lambda: len(heard.answers) > number)  # noqa: B023 # awaited at once
    assert heard.counted == events


def test_every_event_is_counted_once_whatever_dies() -> None:
    """Two instances, crashes at any moment: nothing is lost, nothing is counted twice."""
    counts: Counter[str] = Counter()

    def agents() -> list[Agent]:
        async def sink(message: Message) -> None:
            if message.run_id not in seen:
                seen.add(message.run_id)
                for conflict in message.data["conflicts_resolved"]:
                    for group in conflict["conflicting_sources"]:
                        counts.update(group)
                if not message.data["conflicts_resolved"]:
                    counts.update(message.data["sources"] * message.meta["input_count"])

        return [
            Agent("a", source),
            Agent("b", source),
            jury(),
            Agent("ears", sink, inputs=["jury"]),
        ]

    seen: set[str] = set()

    async def scenario(system: SimulatedSystem) -> None:
        counts.clear()
        seen.clear()
        for number in range(6):
            await system.publish("ab"[number % 2], f"event {number}")
            await asyncio.sleep(0.4)
        await eventually(lambda: counts.total() >= 6, within=600)
        assert counts == {"a": 3, "b": 3}

    report = simulate(
        scenario,
        agents=agents,
        model=ScriptedModel,
        seeds=range(12),
        faults=Faults(crash=0.05),
    )
    assert report.repeated > 0


async def test_instances_share_their_windows() -> None:
    """On a server, with two instances of the aggregator, one of which goes away for good."""
    heard = Heard()
    with NatsServer() as server:
        options = {"max_input_sources": 3, "timeout_ms": 240_000}
        async with run_local(*heard.agents(**options), broker=server.url, namespace="w") as system:
            other = App(heard.agents(**options), namespace="w")
            async with other.running(server.url, upkeep=False):
                for number in range(8):
                    await system.publish("ab"[number % 2], str(number))
                await eventually(lambda: len(heard.answers) == 2)
            await system.publish("a", "the ninth")
            await eventually(lambda: len(heard.answers) == 3, within=PATIENCE_SECONDS)
    assert [one.meta["input_count"] for one in heard.answers] == [3, 3, 3]


# -- the record --------------------------------------------------------------------------------


def gathering(**options: Any) -> Gathering:
    settings = AggregatorOptions(**options)
    return Gathering(settings, settings.timeout_ms / 1000)


def one(content: str = "x") -> Input:
    return Input(source="a", content=content)


def test_joining_and_closing_again_changes_nothing() -> None:
    record, it = Windows(), gathering(max_input_sources=3)
    first = it._join(record, "e1", one("1"))
    assert (first.opens, first.fills) == (True, False)
    second = it._join(record, "e2", one("2"))
    assert (second.window, second.opens) == ("e1", False)
    assert it._join(record, "e1", one("1")) == first
    closed = it._close(record, "e1", "e1")
    assert [each.content for each in closed or ()] == ["1", "2"]
    assert it._close(record, "e1", "e1") == closed
    assert it._close(record, "e1", "e2") is None
    assert it._join(record, "e2", one("2")) == second  # also when its window is closed by now
    assert it._join(record, "e3", one()).window == "e3"


def test_a_window_that_has_no_room_is_left_to_its_time() -> None:
    record, it = Windows(), gathering()
    it._join(record, "e1", one("x" * (MOST_BYTES - 5)))
    assert it._join(record, "e2", one("123456")).window == "e2"
    assert it._join(record, "e3", one("1")).window == "e2"
    assert len(it._close(record, "e1", "e1") or ()) == 1


def test_the_next_window_takes_over_what_a_lost_one_holds() -> None:
    record, it = Windows(), gathering(timeout_ms=1_000)
    it._join(record, "e1", one("1"))
    record.windows[0].opened = now() - LATEST_SECONDS - 2
    joined = it._join(record, "e2", one("2"))
    assert (joined.window, joined.opens) == ("e2", True)
    assert it._close(record, "e1", "e1") is None  # its run is there after all, and too late
    closed = it._close(record, "e2", "e2")
    assert [each.content for each in closed or ()] == ["1", "2"]
