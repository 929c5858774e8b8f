"""Processes that die, handlers that do not stop, circles of agents, records that come back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from aixgo import Agent, App, Context, Message, System
from aixgo.broker.port import Delivery
from aixgo.calls import care
from aixgo.calls.settle import Settler
from aixgo.envelope import decode, new_id
from aixgo.errors import (
    ConfigError,
    InvalidPayload,
    ModelTimeout,
    RemoteError,
    StreamRefused,
)
from aixgo.subjects import CALLS, EVENTS, PARKED
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

Running = Callable[..., AbstractAsyncContextManager[System]]
QUICK = {"initial_backoff": 0.01, "max_backoff": 0.02}


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Agents whose deliveries are answered by nobody, as by a process that died."""
    agents: list[str] = []
    settle = Settler.settle

    async def dead(self: Settler, delivery: Delivery, request: Any, outcome: Any) -> Any:
        if request.target in agents and isinstance(getattr(outcome, "error", None), Died):
            await delivery.nak()
            return outcome
        return await settle(self, delivery, request, outcome)

    monkeypatch.setattr(Settler, "settle", dead)
    return agents


class Died(BaseException):
    """Stands for the end of the process at this place."""


async def test_deaths_have_a_limit_of_their_own(running: Running, dying: list[str]) -> None:
    executed = 0

    async def poison(message: Message) -> None:
        nonlocal executed
        executed += 1
        raise Died

    dying.append("poison")
    agent = Agent("poison", poison, retry={"max_attempts": 1, "max_deaths": 3})
    async with running(agent) as system:
        with pytest.raises(RemoteError, match="3 processes of agent 'poison'") as caught:
            await system.call("poison", timeout=30)
        assert caught.value.cause == "process_died"
        assert executed == 3
        (one,) = await system.dead_letters.list()
        assert one.letter.failure.code == "process_died"


async def test_progress_is_not_failure(running: Running, dying: list[str]) -> None:
    executed = 0

    async def long(message: Message, ctx: Context) -> int:
        nonlocal executed
        executed += 1
        for step in range(12):
            fresh: list[int] = []
            await ctx.record(lambda step=step, fresh=fresh: fresh.append(step) or step)
            if fresh:
                raise Died
        return 12

    dying.append("long")
    agent = Agent("long", long, retry={"max_attempts": 1, "max_deaths": 2})
    async with running(agent) as system:
        assert (await system.call("long", timeout=60)).data == 12
        assert executed == 13


async def test_deaths_use_up_no_attempts(running: Running, dying: list[str]) -> None:
    executed: list[int] = []

    async def both(message: Message, ctx: Context) -> str:
        executed.append(ctx.attempt)
        if len(executed) in (1, 3):
            raise Died
        if len(executed) in (2, 4):
            raise ModelTimeout("again")
        return "done"

    dying.append("both")
    agent = Agent("both", both, retry={"max_attempts": 3, **QUICK})
    async with running(agent) as system:
        assert (await system.call("both", timeout=30)).text == "done"
        assert executed == [1, 2, 3, 4, 5]


async def test_what_is_counted_is_what_was_recorded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def works(message: Message) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ModelTimeout("again")
        return "x"

    async with running(Agent("works", works, retry=QUICK)) as system:
        service = system.services["works"]
        await system.call("works", timeout=20)
        await eventually(lambda: service.counts.succeeded == 1)
        counts = service.counts
        assert (counts.received, counts.retried, counts.failed) == (2, 1, 0)
        settle = type(system.space.results).settle

        async def refused(self: Any, agent: str, result: Any, **more: Any) -> Any:
            if result.status == "done":
                raise StreamRefused("too large")
            return await settle(self, agent, result, **more)

        monkeypatch.setattr(type(system.space.results), "settle", refused)
        with pytest.raises(RemoteError):
            await system.call("works", timeout=20)
        await eventually(lambda: service.counts.failed == 1)
        assert service.counts.succeeded == 1
        assert service.counts.last_error == "stream_refused"
        endpoint = service.endpoint()
        assert (endpoint.errors, endpoint.last_error) == (1, "stream_refused")


async def test_a_handler_that_swallows_cancels_loses_its_slot(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(care, "STUCK_SECONDS", 0.2)
    free = asyncio.Event()

    async def stubborn(message: Message) -> str:
        while message.text == "stay" and not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return message.text

    async with running(Agent("stubborn", stubborn, concurrency=1), ack_wait=1.0) as system:
        run = await system.send("stubborn", "stay", timeout=60)
        await eventually(lambda: system.services["stubborn"].busy == 1)
        assert await system.cancel("stubborn", run)
        assert (await system.call("stubborn", "next", timeout=30)).text == "next"
        assert any(record.message == "handler.left" for record in caplog.records)
        free.set()
        await eventually(lambda: system.services["stubborn"].busy == 0)
        assert (await system.call("stubborn", "after", timeout=30)).text == "after"


@pytest.mark.parametrize("circle", [1, 3])
@pytest.mark.long(only=("nats",))
async def test_agents_in_a_circle_go_on_with_all_slots_taken(running: Running, circle: int) -> None:
    names = [f"a{n}" for n in range(circle)]
    slots = 2

    def member(n: int) -> Agent:
        async def handle(message: Message, ctx: Context) -> int:
            left = message.data
            if left == 0:
                return 0
            below = await ctx.call(names[(n + 1) % circle], left - 1)
            return int(below.data) + 1

        return Agent(names[n], handle, concurrency=slots)

    async with running(*[member(n) for n in range(circle)]) as system:
        depth = 2 * circle
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(system.call("a0", depth, timeout=100)) for _ in range(2 * slots)
            ]
        assert [call.result().data for call in calls] == [depth] * len(calls)


async def test_runs_that_take_the_slots_of_each_others_agents_go_on(running: Running) -> None:
    slots = 2
    at_work = asyncio.Barrier(2 * slots)

    def member(name: str, other: str) -> Agent:
        async def handle(message: Message, ctx: Context) -> str:
            if message.text == "below":
                return name
            if ctx.attempt == 1:
                await at_work.wait()  # every slot of both agents is taken
            return (await ctx.call(other, "below")).text

        return Agent(name, handle, concurrency=slots)

    async with running(member("left", "right"), member("right", "left")) as system:
        # in less time than the upkeep takes to find a call that nothing has woken
        calls = [system.call(name, timeout=50) for name in ("left", "right") * slots]
        answers = await asyncio.gather(*calls)
    assert [answer.text for answer in answers] == ["right", "left"] * slots


async def test_an_event_that_is_published_again_is_handled_once(
    running: Running, dying: list[str]
) -> None:
    heard: list[str] = []
    executed = 0

    async def listen(message: Message) -> None:
        heard.append(message.text)

    async def speak(message: Message, ctx: Context) -> None:
        nonlocal executed
        executed += 1
        await ctx.emit("news", key="k")

    listener = Agent("listener", listen, inputs=[{"source": "talker"}])
    async with running(Agent("talker", speak), listener) as system:
        run = (await system.call("talker", timeout=20)).run_id
        await eventually(lambda: heard)
        stream = system.names.stream(EVENTS)
        (record,) = await system.broker.read(stream, system.names.event("talker"))
        event = decode(record.data)
        assert event.run == run
        # five minutes later: the broker knows the message's id no longer
        await system.broker.append(system.names.event("talker"), record.data)
        await system.call("talker", timeout=20)
        await eventually(lambda: len(heard) == 2)
        info = await system.broker.consumer_info(stream, "listener")
        assert info is not None
        assert len(heard) == 2  # one of each run, although there were three events


async def test_a_parked_record_that_comes_back_after_its_end_goes(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("well?")

    async with running(Agent("ask", ask)) as system:
        run = await system.send("ask", timeout=1000)
        await eventually(lambda: system.questions(run))
        stream = f"KV_{system.names.bucket(PARKED)}"
        (record,) = await system.broker.read(stream, "$KV.>")
        await system.answer(run, "well")
        await system.result("ask", run, timeout=20)
        await system.broker.append(record.subject, record.data)  # as a server that was killed
        assert await system.questions() == []
        assert len(await system.space.parking.all()) == 1
        open_one = await system.send("ask", timeout=1000)
        await eventually(lambda: system.questions(open_one))
        assert await system.space.parking.tidy(system.space.results) == (1, 0)
        assert [one.request.run for one in await system.space.parking.all()] == [open_one]
        await system.cancel("ask", open_one)


@pytest.mark.nats
@pytest.mark.long
async def test_what_a_killed_server_brings_back_is_not_a_question_and_goes() -> None:
    """Of a record that was put twice and purged, nats-server may bring back the first value."""

    async def twice(message: Message, ctx: Context) -> str:
        return f"{await ctx.ask_human('one')} {await ctx.ask_human('two')}"

    with NatsServer() as server:
        app = App([Agent("ask", twice)])
        async with app.running(server.url, upkeep=False) as system:
            run = await system.send("ask", timeout=1000)
            for said in ("one", "two"):

                async def asked(said: str = said) -> bool:
                    return [one.question for one in await system.questions(run)] == [said]

                await eventually(asked)
                await system.answer(run, said)
            result = await system.result("ask", run, timeout=PATIENCE_SECONDS)
            assert result is not None
            assert result.text == "one two"

            async def kept() -> int:
                records = await system.broker.read(system.names.parked_stream, "$KV.>")
                return sum(bool(record.data) for record in records)

            await eventually(kept, lambda count: count == 0)
            await server.restart()
            await eventually(lambda: system.broker.connected)
            back = await kept()  # one or none, by what it had written
            assert await system.questions() == []
            assert await system.space.parking.tidy(system.space.results) == (back, 0)
            assert await kept() == 0


async def test_a_handler_that_calls_nobody_is_told_at_once(running: Running) -> None:
    async def leaf(message: Message) -> str:
        return "x"

    async def typing(message: Message, ctx: Context) -> str:
        return (await ctx.call("laef")).text

    async with running(Agent("typing", typing), Agent("leaf", leaf)) as system:
        with pytest.raises(
            RemoteError, match="no agent named 'laef'; did you mean 'leaf'"
        ) as caught:
            await system.call("typing", timeout=20)
        assert caught.value.cause == "unknown_agent"
        stream = system.names.stream(CALLS)  # its own call goes with an acknowledgement
        await eventually(
            lambda: system.broker.stream_info(stream), lambda info: info and not info.messages
        )


class Point(msgspec.Struct):
    x: float


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, [1.0, math.nan], {"a": {"b": math.inf}}, Point(x=math.nan)],
    ids=repr,
)
async def test_a_float_that_json_does_not_have_is_refused(running: Running, value: Any) -> None:
    async def record(message: Message, ctx: Context) -> Any:
        return await ctx.record(lambda: value)

    async def give(message: Message) -> Any:
        return value

    async with running(Agent("record", record), Agent("give", give)) as system:
        with pytest.raises(InvalidPayload, match="JSON has no"):
            await system.call("give", value)
        for agent in ("record", "give"):
            with pytest.raises(RemoteError, match="JSON has no") as caught:
                await system.call(agent, [None], timeout=20)
            assert caught.value.cause == "invalid_payload"


@pytest.mark.parametrize(
    "seconds", [math.inf, math.nan, "5", -4, True, None, 10**400, 1e12], ids=lambda s: f"{s!r:.5}"
)
async def test_nonsense_durations_are_one_config_error(running: Running, seconds: Any) -> None:
    async def nap(message: Message, ctx: Context) -> None:
        match message.text:
            case "sleep":
                await ctx.sleep(seconds)
            case _:
                await ctx.call("nap", "x", timeout=seconds)

    async with running(Agent("nap", nap)) as system:
        for kind in ("sleep", "call") if seconds is not None else ("sleep",):
            with pytest.raises(RemoteError) as caught:
                await system.call("nap", kind, timeout=20)
            assert caught.value.cause == "config", kind
        if seconds is not None:
            for question in (
                system.call("nap", timeout=seconds),
                system.send("nap", timeout=seconds),
                system.rpc("nap", timeout=seconds),
                system.result("nap", new_id(), timeout=seconds),
                system.runs.fork(new_id(), timeout=seconds),
            ):
                with pytest.raises(ConfigError):
                    await question
