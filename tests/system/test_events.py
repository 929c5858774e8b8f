"""Events: every subscriber gets every event, handled once, in one trace."""

from __future__ import annotations

from typing import Any

import pytest

from aixgo import Agent, Context, Message
from aixgo.agents.declaration import Declaration
from aixgo.agents.role import Feed, NoOptions, Role
from aixgo.config.agents import AgentSpec
from aixgo.errors import ModelTimeout, NotSupported, RemoteError
from aixgo.testing.local import Running
from aixgo.testing.waiting import eventually


class Ticker(Role):
    """Publishes ten numbers at once, then one every second until it is told to stop."""

    style = "reactive"
    ended = False

    async def start(self, feed: Feed) -> None:
        for number in range(10):
            await feed.emit(number, key=f"tick-{number}")
        await feed.emit(9, key="tick-9")  # the same key again is nothing new
        while await feed.sleep(1.0):
            await feed.emit("more")
        Ticker.ended = True


def ticker(**options: Any) -> Agent:
    spec = AgentSpec(name="ticker", role="ticker", **options)
    return Agent.declared(Declaration(spec=spec, options=NoOptions(), role=Ticker))


async def test_two_subscribers_of_one_source_each_get_every_event(running: Running) -> None:
    seen: dict[str, list[Any]] = {"one": [], "two": []}

    async def one(message: Message) -> None:
        seen["one"].append(message.data)

    async def two(message: Message) -> None:
        seen["two"].append(message.data)

    agents = Agent("one", one, inputs=["ticker"]), Agent("two", two, inputs=["ticker"])
    async with running(ticker(), *agents):
        await eventually(lambda: all(len(got) >= 10 for got in seen.values()))
        assert sorted(n for n in seen["one"] if n != "more") == list(range(10))
        assert sorted(n for n in seen["two"] if n != "more") == list(range(10))
    assert Ticker.ended


async def test_a_pipeline_carries_run_and_trace_from_end_to_end(running: Running) -> None:
    seen: list[Message] = []

    async def double(message: Message) -> int:
        return int(message.data) * 2

    async def sink(message: Message) -> None:
        seen.append(message)

    agents = Agent("double", double, outputs=["sink"]), Agent("sink", sink)
    async with running(ticker(outputs=({"target": "double"},)), *agents):
        await eventually(lambda: len(seen) >= 10)
    numbers = [message for message in seen if message.source == "double"]
    assert sorted(message.data for message in numbers[:10]) == [2 * n for n in range(10)]
    assert len({message.run_id for message in numbers}) == len(numbers)
    assert all(message.trace_id for message in numbers)


async def test_a_handler_publishes_an_event_once_however_often_it_runs(running: Running) -> None:
    seen: list[Any] = []

    async def flaky(message: Message, ctx: Context) -> str:
        await ctx.emit({"n": 1})
        if ctx.attempt == 1:
            raise ModelTimeout("again")
        return "ok"

    async def sink(message: Message) -> None:
        seen.append(message.data)

    retry = {"initial_backoff": 0.05, "max_backoff": 0.1}
    agents = Agent("flaky", flaky, retry=retry), Agent("sink", sink, inputs=["flaky"])
    async with running(*agents) as system:
        await system.call("flaky")
        await eventually(lambda: len(seen) >= 1)
        await system.call("flaky")
        await eventually(lambda: len(seen) >= 2)
        assert seen == [{"n": 1}, {"n": 1}]


async def test_a_failing_subscriber_retries_and_does_not_hold_the_others(
    running: Running,
) -> None:
    seen: dict[str, list[Any]] = {"good": [], "bad": []}

    async def good(message: Message) -> None:
        seen["good"].append(message.data)

    async def bad(message: Message, ctx: Context) -> None:
        seen["bad"].append(message.data)
        if ctx.attempt == 1:
            raise ModelTimeout("again")

    retry = {"initial_backoff": 0.05, "max_backoff": 0.1}
    agents = (
        Agent("good", good, inputs=["source"]),
        Agent("bad", bad, inputs=["source"], retry=retry),
        Agent("source", good),
    )
    async with running(*agents) as system:
        await system.publish("source", "news")
        await eventually(lambda: seen == {"good": ["news"], "bad": ["news", "news"]})


async def test_a_producer_answers_no_calls(running: Running) -> None:
    async with running(ticker()) as system:
        with pytest.raises(RemoteError, match="only produces events") as caught:
            await system.call("ticker")
        assert caught.value.cause == NotSupported.code
