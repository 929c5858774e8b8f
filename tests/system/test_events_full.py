"""Events that do not fit are waited with or refused, never dropped; circles of events end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from aixgo import Agent, Context, Message, System
from aixgo.calls import events as publishing
from aixgo.calls.backlog import backlogs
from aixgo.calls.upkeep import handled
from aixgo.calls.upkeep.handled import Handled
from aixgo.errors import StreamFull
from aixgo.models.scripted import ScriptedModel
from aixgo.subjects import EVENTS
from aixgo.testing.local import Running
from aixgo.testing.waiting import eventually

BODY = 20_000
ROOM = 400_000
"""Of EVENTS in these tests: about 19 events."""


async def shrink(system: System, size: int = ROOM) -> None:
    info = await system.broker.stream_info(system.names.stream(EVENTS))
    assert info is not None
    assert info.config.discard == "new"
    await system.broker.ensure_stream(replace(info.config, max_bytes=size))


async def sequences(system: System) -> tuple[int, int]:
    info = await system.broker.stream_info(system.names.stream(EVENTS))
    assert info is not None
    return info.messages, info.last_sequence


async def quiet(message: Message) -> None:
    return None


class Reader:
    """A subscriber that takes its time and remembers what it got."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.got: list[int] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, message: Message) -> None:
        await self.go.wait()
        await asyncio.sleep(self.seconds)
        self.got.append(message.data["n"])


async def publish(system: System, n: int, **options: Any) -> str:
    return await system.publish("source", {"n": n, "body": "x" * BODY}, **options)


# -- room --------------------------------------------------------------------------------------


async def test_more_events_than_fit_all_reach_a_slow_subscriber(running: Running) -> None:
    slow = Reader(0.02)
    agents = [Agent("source", quiet), Agent("slow", slow, inputs=["source"], concurrency=2)]
    async with running(*agents) as system:
        await shrink(system)
        async with asyncio.timeout(100):
            for start in range(0, 120, 12):
                await asyncio.gather(*(publish(system, start + n) for n in range(12)))
        await eventually(lambda: len(slow.got) >= 120, within=30)
        assert sorted(slow.got) == list(range(120))
        assert await system.dead_letters.list() == []
        assert system.metrics().without_room > 0


async def test_events_that_everybody_handled_make_room_without_an_error(running: Running) -> None:
    quick = Reader()
    agents = [Agent("source", quiet), Agent("quick", quick, inputs=["source"])]
    async with running(*agents) as system:
        await shrink(system)
        for n in range(60):
            await publish(system, n)
        await eventually(lambda: len(quick.got) == 60, within=30)
        for _ in range(40):  # of an agent to which nobody listens
            await system.publish("quick", "x" * BODY)


async def test_an_event_that_would_drop_an_unread_one_is_an_error_by_choice(
    running: Running,
) -> None:
    slow = Reader()
    slow.go.clear()
    agents = [
        Agent("source", quiet),
        Agent("slow", slow, inputs=["source"]),
        Agent("other", quiet, inputs=["elsewhere"]),
        Agent("elsewhere", quiet),
    ]
    async with running(*agents) as system:
        await shrink(system)
        published = 0
        refusal = ""
        while not refusal:
            try:
                await publish(system, published, on_full="error")
            except StreamFull as full:
                refusal = str(full)
            else:
                published += 1
        assert 10 < published < 25
        assert "'source'" in refusal
        assert f"'slow' ({published})" in refusal
        assert "other" not in refusal
        (behind,) = await backlogs(system.space)
        assert (behind.agent, behind.events) == ("slow", published)
        assert (await sequences(system))[0] == published
        slow.go.set()
        await eventually(lambda: len(slow.got) == published, within=30)
        await publish(system, published)  # waits for upkeep at most
        await eventually(lambda: sorted(slow.got) == list(range(published + 1)), within=30)


@pytest.mark.long(only=("nats",))
async def test_a_subscriber_that_is_away_is_named_and_keeps_what_it_has_not_read(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publishing, "PATIENCE_SECONDS", 6.0)
    monkeypatch.setattr(handled, "OLD_PART", 1e-9)
    away, near = Reader(), Reader()
    away.go.clear()
    agents = [
        Agent("source", quiet),
        Agent("away", away, inputs=["source"]),
        Agent("near", near, inputs=["other"]),
        Agent("other", quiet),
    ]
    async with running(*agents) as system:
        await shrink(system)
        await publish(system, 0)
        await asyncio.sleep(0.01)
        with caplog.at_level(logging.WARNING, "aixgo.calls"):
            await Handled(system.space, system.app.agents).look()
            (warning,) = [one for one in caplog.records if one.name == "aixgo.calls"]
            assert warning.msg == "events.will_be_lost"
            assert vars(warning)["behind"] == {"away": 1}
            # one unread event does not keep the room from those of another source
            for n in range(60):
                await system.publish("other", {"n": n, "body": "x" * BODY})
            refused: StreamFull | None = None
            n = 0
            while refused is None and n < 60:
                n += 1
                try:
                    await publish(system, n)
                except StreamFull as full:
                    refused = full
            assert refused is not None
            assert "'away'" in str(refused)
            await eventually(
                lambda: "events.short_of_room" in [record.msg for record in caplog.records],
                within=10,
            )
        away.go.set()
        await eventually(lambda: 0 in away.got, within=20)
        await eventually(lambda: len(near.got) == 60, within=20)


async def test_a_handler_whose_event_finds_no_room_says_so(running: Running) -> None:
    slow = Reader()
    slow.go.clear()

    async def tells(message: Message, ctx: Context) -> str:
        for n in range(40):
            await ctx.emit({"n": n, "body": "x" * BODY})
        return "told"

    # enough attempts for the replay, in which the subscriber is at work at the same time
    quick = {"max_attempts": 10, "initial_backoff": 0.05, "max_backoff": 0.2}
    agents = [
        Agent("tells", tells, on_full="error", retry=quick),
        Agent("slow", slow, inputs=["tells"]),
    ]
    async with running(*agents) as system:
        await shrink(system)
        run = await system.send("tells", timeout=60)

        async def dead() -> bool:
            return bool(await system.dead_letters.list(run=run))

        await eventually(dead, within=30)
        (one,) = await system.dead_letters.list(run=run)
        assert one.letter.failure.code == "stream_full"
        assert "'slow'" in one.letter.failure.message
        slow.go.set()
        await eventually(lambda: len(slow.got) > 10, within=30)
        await system.replay(one.number)
        result = await system.result("tells", run, timeout=60)
        assert result is not None
        await eventually(lambda: sorted(slow.got) == list(range(40)), within=30)


# -- circles -----------------------------------------------------------------------------------


async def test_a_circle_of_events_ends_at_max_depth_with_one_dead_letter(running: Running) -> None:
    handled: list[tuple[str, int]] = []

    def answering(name: str, other: str) -> Agent:
        async def answer(message: Message, ctx: Context) -> str:
            handled.append((name, ctx.depth))
            return f"{name} heard {message.text[:20]}"

        return Agent(name, answer, inputs=[other], outputs=[other], limits={"max_depth": 6})

    async with running(answering("one", "two"), answering("two", "one")) as system:
        run = await system.publish("two", "begin")

        async def ended() -> bool:
            return bool(await system.dead_letters.list())

        await eventually(ended, within=30)
        (one,) = await system.dead_letters.list()
        assert one.letter.failure.code == "depth_exceeded"
        assert "answer each other's events in a circle" in one.letter.failure.message
        assert one.letter.run_id == run
        assert [depth for _, depth in handled] == list(range(7))


async def test_a_circle_of_emitted_events_ends_too(running: Running) -> None:
    handled: list[int] = []

    async def below(message: Message, ctx: Context) -> str:
        await ctx.emit("again")
        return "emitted"

    async def again(message: Message, ctx: Context) -> str:
        handled.append(ctx.depth)
        return (await ctx.call("below")).text

    agents = [
        Agent("below", below, limits={"max_depth": 6}),
        Agent("again", again, inputs=["below"], limits={"max_depth": 6}),
    ]
    async with running(*agents) as system:
        await system.publish("below", "begin")

        async def ended() -> bool:
            return len(await system.dead_letters.list()) > 0

        await eventually(ended, within=30)
        letters = await system.dead_letters.list()
        assert {one.letter.failure.code for one in letters} == {"depth_exceeded"}
        assert handled == [0, 2, 4, 6]


async def test_a_circle_of_events_ends_at_max_tokens(running: Running) -> None:
    model = ScriptedModel([lambda request: "word " * 20], repeat=True)
    handled = 0

    def answering(name: str, other: str) -> Agent:
        async def answer(message: Message, ctx: Context) -> str:
            nonlocal handled
            handled += 1
            return (await ctx.model.chat(message.text[:20])).text

        limits = {"max_tokens": 100, "max_depth": 1000}
        return Agent(
            name, answer, inputs=[other], outputs=[other], limits=limits, model="scripted/x"
        )

    agents = answering("one", "two"), answering("two", "one")
    async with running(*agents, model=model) as system:
        await system.publish("two", "begin")

        async def ended() -> bool:
            return bool(await system.dead_letters.list())

        await eventually(ended, within=30)
        (one,) = await system.dead_letters.list()
        assert one.letter.failure.code == "tokens_exceeded"
        assert "events that go in a circle" in one.letter.failure.message
        assert 2 <= handled <= 10
