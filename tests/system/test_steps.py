"""Steps side by side, waits and questions: the same outcome however often a handler runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aixgo import Agent, Context, Message, System
from aixgo.errors import (
    Cancelled,
    InvalidPayload,
    ModelTimeout,
    NoQuestion,
    RemoteError,
)
from aixgo.subjects import CALLS
from aixgo.testing.expect import SOON_SECONDS
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}


async def parked(system: System) -> int:
    return len(await system.space.parking.all())


async def idle(system: System) -> bool:
    """Nothing is queued, delivered or parked."""
    info = await system.broker.stream_info(system.names.stream(CALLS))
    return info is not None and info.messages == 0 and await parked(system) == 0


# -- gather and map ----------------------------------------------------------------------------


async def test_all_results_come_in_order_whoever_is_first(running: Running) -> None:
    async def wait(message: Message) -> Any:
        await asyncio.sleep(message.data)
        return message.data

    async def flow(message: Message, ctx: Context) -> list[float]:
        results = await ctx.gather(*(ctx.call("wait", delay) for delay in (0.1, 0.0, 0.05)))
        return [result.data for result in results]

    async with running(Agent("wait", wait), Agent("flow", flow)) as system:
        assert (await system.call("flow")).data == [0.1, 0.0, 0.05]


async def test_the_first_results_that_are_enough_count_for_ever(running: Running) -> None:
    stopped: list[int] = []
    order: list[list[int]] = []

    async def wait(message: Message) -> int:
        number = int(message.data)
        try:
            await asyncio.sleep(0.02 if number in (1, 3) else 60)
        finally:
            stopped.append(number)
        return number

    async def flow(message: Message, ctx: Context) -> dict[str, int]:
        won = await ctx.gather(*(ctx.call("wait", number) for number in range(4)), need=2)
        order.append(sorted(won))
        if ctx.attempt == 1:
            raise ModelTimeout("again")
        return {str(index): result.data for index, result in won.items()}

    async with running(Agent("wait", wait), Agent("flow", flow, retry=QUICK)) as system:
        assert (await system.call("flow", timeout=PATIENCE_SECONDS)).data == {"1": 1, "3": 3}
        assert order == [[1, 3], [1, 3]]
        await eventually(lambda: sorted(stopped) == [0, 1, 2, 3])  # the losers were stopped
        await eventually(lambda: idle(system))


async def test_the_first_failure_ends_a_gather_and_cancels_the_others(running: Running) -> None:
    stopped = asyncio.Event()

    async def slow(message: Message) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async def broken(message: Message) -> None:
        raise InvalidPayload("no good")

    async def flow(message: Message, ctx: Context) -> None:
        await ctx.gather(ctx.call("slow"), ctx.call("broken"))

    agents = Agent("slow", slow), Agent("broken", broken), Agent("flow", flow)
    async with running(*agents) as system:
        with pytest.raises(RemoteError, match="no good"):
            await system.call("flow", timeout=PATIENCE_SECONDS)
        await asyncio.wait_for(stopped.wait(), PATIENCE_SECONDS)


async def test_too_many_failures_are_told_with_the_first(running: Running) -> None:
    async def broken(message: Message) -> None:
        raise InvalidPayload("no good")

    async def fine(message: Message) -> str:
        return "fine"

    async def flow(message: Message, ctx: Context) -> Any:
        return await ctx.gather(ctx.call("broken"), ctx.call("fine"), ctx.call("broken"), need=2)

    agents = Agent("broken", broken), Agent("fine", fine), Agent("flow", flow)
    async with running(*agents) as system:
        with pytest.raises(RemoteError, match=r"2 of 3 steps .* the first: .*no good") as caught:
            await system.call("flow")
        assert caught.value.cause == "too_few_results"


async def test_branches_that_take_several_steps_never_exchange_results(running: Running) -> None:
    executed: list[str] = []

    async def step(message: Message) -> str:
        executed.append(message.text)
        await asyncio.sleep(0.01 * (len(executed) % 3))
        return message.text

    async def branch(name: str, ctx: Context) -> list[str]:
        seen = []
        for number in range(3):
            seen.append((await ctx.call("step", f"{name}{number}")).text)
            seen.append(await ctx.record(f"{name}!"))
        return seen

    async def flow(message: Message, ctx: Context) -> list[list[str]]:
        found = await ctx.gather(*(branch(name, ctx) for name in "abc"))
        if ctx.attempt < 3:
            raise ModelTimeout("again")
        return found

    async with running(Agent("step", step), Agent("flow", flow, retry=QUICK)) as system:
        result = await system.call("flow")
        assert result.data == [
            [f"{n}0", f"{n}!", f"{n}1", f"{n}!", f"{n}2", f"{n}!"] for n in "abc"
        ]
        assert sorted(executed) == sorted(f"{n}{i}" for n in "abc" for i in range(3))


async def test_a_map_keeps_its_limit_and_its_order(running: Running) -> None:
    now, most = 0, 0

    async def double(message: Message) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return int(message.data) * 2

    async def flow(message: Message, ctx: Context) -> list[int]:
        async def one(number: int) -> int:
            return int((await ctx.call("double", number)).data)

        return await ctx.map(one, range(9), limit=3)

    async with running(Agent("double", double), Agent("flow", flow)) as system:
        assert (await system.call("flow")).data == [2 * n for n in range(9)]
        assert most == 3


@pytest.mark.parametrize("need", [0, 3])
async def test_a_need_that_cannot_be_is_refused(running: Running, need: int) -> None:
    async def flow(message: Message, ctx: Context) -> Any:
        return await ctx.gather(ctx.record(1), ctx.record(2), need=need)

    async with running(Agent("flow", flow)) as system:
        with pytest.raises(RemoteError, match=f"needs {need} of 2 steps"):
            await system.call("flow")


# -- waits -------------------------------------------------------------------------------------


async def test_a_long_sleep_holds_nothing_and_wakes_in_time(
    running: Running, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 3_600.0
    if kind == "nats":
        seconds = 1.5
        monkeypatch.setattr("aixgo.steps.context.PARK_SECONDS", 0.1)
    executions: list[int] = []

    async def patient(message: Message, ctx: Context) -> str:
        executions.append(ctx.attempt)
        await ctx.sleep(seconds)
        return "awake"

    async with running(Agent("patient", patient)) as system:
        loop = asyncio.get_running_loop()
        began = loop.time()
        run = await system.send("patient", timeout=100_000)
        await eventually(lambda: parked(system))
        await eventually(lambda: system.services["patient"].busy == 0)
        info = await system.broker.consumer_info(system.names.stream(CALLS), "patient")
        assert info is not None
        assert (info.pending, info.ack_pending) == (0, 0)
        await asyncio.sleep(seconds)  # a caller would look every other second
        result = await system.result("patient", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "awake"
        assert seconds <= loop.time() - began < seconds + SOON_SECONDS
        assert executions == [1, 2]
        await eventually(lambda: idle(system))


async def test_a_question_parks_the_run_until_it_is_answered(running: Running) -> None:
    done: list[str] = []

    async def prepare(message: Message) -> str:
        done.append(message.text)
        return f"draft of {message.text}"

    async def approve(message: Message, ctx: Context) -> str:
        draft = await ctx.call("prepare", message.text)
        answer = await ctx.ask_human({"approve": draft.text}, options=["yes", "no"])
        return f"{draft.text}: {answer}"

    async with running(Agent("prepare", prepare), Agent("approve", approve)) as system:
        run = await system.send("approve", "the letter", timeout=100_000)
        await eventually(lambda: system.questions(run))
        (question,) = await system.questions()
        assert question.question == {"approve": "draft of the letter"}
        assert (question.run_id, question.agent, question.step) == (run, "approve", "ask/1")
        assert question.options == ("yes", "no")
        with pytest.raises(InvalidPayload, match="choose one of: yes, no"):
            await system.answer(run, "perhaps")
        await system.answer(run, "yes")
        result = await system.result("approve", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "draft of the letter: yes"
        assert done == ["the letter"]
        with pytest.raises(NoQuestion, match="has no open question"):
            await system.answer(run, "no")
        await eventually(lambda: idle(system))


@pytest.mark.long(only=("nats",))
async def test_callers_park_with_the_agent_that_they_wait_for(running: Running) -> None:
    async def leaf(message: Message, ctx: Context) -> str:
        return str(await ctx.ask_human("really?"))

    async def middle(message: Message, ctx: Context) -> str:
        return (await ctx.call("leaf")).text + "!"

    async def top(message: Message, ctx: Context) -> str:
        return (await ctx.call("middle")).text + "?"

    agents = Agent("leaf", leaf), Agent("middle", middle), Agent("top", top)
    async with running(*agents) as system:
        run = await system.send("top", timeout=100_000)
        services = system.services.values()

        async def all_parked() -> bool:
            return await parked(system) == 3 and not any(one.busy for one in services)

        await eventually(all_parked)
        await system.answer(run, "yes")
        result = await system.result("top", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "yes!?"
        await eventually(lambda: idle(system))


async def test_many_parked_runs_survive_a_restart_of_all_services(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> str:
        return f"{message.text}: {await ctx.ask_human(message.text)}"

    async with running(Agent("ask", ask)) as system:
        runs = [await system.send("ask", f"q{n}", timeout=100_000) for n in range(200)]

        async def all_parked() -> bool:
            return await parked(system) == 200

        await eventually(all_parked)
        await system.services["ask"].stop()
        async with system.app.running(broker=system.broker, provision=False, grace=1.0) as again:
            for number, run in enumerate(runs):
                await again.answer(run, number)
            results = [await again.result("ask", run, timeout=PATIENCE_SECONDS) for run in runs]
        texts = [result.text for result in results if result is not None]
        assert texts == [f"q{n}: {n}" for n in range(200)]


@pytest.mark.long(only=("nats",))
async def test_a_parked_run_expires_at_its_deadline(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("anybody?")

    async with running(Agent("ask", ask)) as system:
        run = await system.send("ask", timeout=3)
        await eventually(lambda: parked(system))
        await eventually(lambda: idle(system))
        with pytest.raises(Exception, match="before the deadline"):
            await system.result("ask", run, timeout=PATIENCE_SECONDS)


@pytest.mark.long(only=("nats",))
async def test_a_parked_run_can_be_cancelled(running: Running) -> None:
    async def leaf(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("anybody?")

    async def top(message: Message, ctx: Context) -> str:
        return (await ctx.call("leaf")).text

    async with running(Agent("leaf", leaf), Agent("top", top)) as system:
        run = await system.send("top", timeout=100_000)

        async def both_parked() -> bool:
            return await parked(system) == 2

        await eventually(both_parked)
        assert await system.cancel("top", run)
        with pytest.raises(Cancelled):
            await system.result("top", run, timeout=PATIENCE_SECONDS)
        await eventually(lambda: idle(system))
        assert await system.questions(run) == []


async def test_a_gather_waits_for_running_branches_before_it_parks(running: Running) -> None:
    done: list[int] = []

    async def work(message: Message) -> int:
        await asyncio.sleep(0.05)
        done.append(int(message.data))
        return int(message.data)

    async def flow(message: Message, ctx: Context) -> list[Any]:
        async def ask() -> Any:
            return await ctx.ask_human("how many?")

        async def call(number: int) -> int:
            return int((await ctx.call("work", number)).data)

        return await ctx.gather(ask(), call(1), call(2))

    async with running(Agent("work", work), Agent("flow", flow)) as system:
        run = await system.send("flow", timeout=100_000)
        await eventually(lambda: system.questions(run))
        assert sorted(done) == [1, 2]
        await system.answer(run, 7)
        result = await system.result("flow", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.data == [7, 1, 2]
        assert sorted(done) == [1, 2]


async def test_an_rpc_cannot_wait_for_a_person(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("anybody?")

    async with running(Agent("ask", ask)) as system:
        with pytest.raises(RemoteError, match="an rpc cannot"):
            await system.rpc("ask")
