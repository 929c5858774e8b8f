"""Tools in doubt: what became of them is found out, asked, shown, and never guessed."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from aixgo import Agent, Context, Message, tool
from aixgo.config.agents import Retry
from aixgo.errors import (
    Cancelled,
    EffectsRepeated,
    InvalidPayload,
    NoQuestion,
    RemoteError,
    ToolFailed,
)
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo.tools import Resolution, ToolContext, ToolNotDone, Unknown

from ._bank import QUICK, Bank, happened, nothing_asked


@pytest.fixture
def bank() -> Bank:
    return Bank()


# -- doubts ------------------------------------------------------------------------------------


async def in_doubt(order: str, ctx: ToolContext) -> Resolution:
    return Unknown("the bank's books are closed")


async def broken(order: str) -> Resolution:
    raise KeyError("no such table")


@pytest.mark.parametrize("hook", [None, in_doubt, broken], ids=["none", "unknown", "fails"])
async def test_a_person_is_asked_and_the_answer_counts(
    running: Running, bank: Bank, monkeypatch: pytest.MonkeyPatch, hook: Any
) -> None:
    monkeypatch.setattr("aixgo.steps.tools.once.HOOK_RETRY", Retry(**QUICK, retry_on=("any",)))

    @tool(effect="once", timeout=0.2, reconcile=hook)
    async def pay(order: str, ctx: ToolContext) -> str:
        if order == "paid" or bank.asked[order]:
            return bank.pay(order, ctx.idempotency_key) if bank.asked[order] else lose(order, ctx)
        bank.asked[order] += 1
        raise ConnectionError("connection reset by peer")

    def lose(order: str, ctx: ToolContext) -> str:
        bank.pay(order, ctx.idempotency_key)
        raise ConnectionError("connection reset by peer")

    async def handle(message: Message, ctx: Context) -> Any:
        return await ctx.tool(pay, {"order": message.text})

    async with running(Agent("cashier", handle, tools=[pay])) as system:
        runs = {
            order: await system.send("cashier", order, timeout=100_000)
            for order in ("paid", "unpaid")
        }

        async def both_asked() -> bool:
            return len(await system.questions()) == 2

        await eventually(both_asked)
        (question,) = await system.questions(runs["paid"])
        assert question.step == "tool/pay/1/ask/1"
        assert question.options == ("done", "not done")
        assert question.question["tool"] == "pay"
        assert question.question["arguments"] == {"order": "paid"}
        assert "connection reset" in question.question["error"]
        why = {None: "has no `reconcile`", in_doubt: "books are closed", broken: "no such table"}
        assert why[hook] in question.question["reconcile"]
        with pytest.raises(InvalidPayload, match="choose one of: done, not done"):
            await system.answer(runs["paid"], {"perhaps": 1})
        await system.answer(runs["paid"], {"done": "receipt 17"})
        await system.answer(runs["unpaid"], "not done")
        for order, text in (("paid", "receipt 17"), ("unpaid", "paid unpaid")):
            result = await system.result("cashier", runs[order], timeout=PATIENCE_SECONDS)
            assert result is not None
            assert result.text == text
            told = await happened(system, runs[order], "in_doubt", "resolved")
            assert [one.what for one in told] == ["in_doubt", "resolved"]
            assert told[0].error is not None
            assert told[0].error.code == "ConnectionError"
            assert "says a person" in told[1].detail
        assert bank.paid == {"paid": 1, "unpaid": 1}
        with pytest.raises(NoQuestion):
            await system.answer(runs["paid"], "not done")


async def test_a_value_that_the_tool_cannot_return_is_refused_when_it_is_answered(
    running: Running,
) -> None:
    @tool(effect="once", timeout=0.1)
    async def pay(order: str) -> str:
        raise ConnectionError("connection reset by peer")

    async def handle(message: Message, ctx: Context) -> Any:
        return await ctx.tool(pay, {"order": "x"})

    async with running(Agent("cashier", handle, tools=[pay])) as system:
        run = await system.send("cashier", "x", timeout=100_000)
        await eventually(lambda: system.questions(run))
        for value in (12, None, ["receipt"], {"receipt": 17}):
            with pytest.raises(InvalidPayload, match="done"):
                await system.answer(run, {"done": value})
        assert len(await system.questions(run)) == 1
        await system.answer(run, {"done": "receipt 17"})
        result = await system.result("cashier", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "receipt 17"


async def test_several_steps_in_doubt_are_asked_at_once(running: Running, bank: Bank) -> None:
    @tool(effect="once", timeout=0.1)
    async def pay(order: str, ctx: ToolContext) -> str:
        bank.pay(order, ctx.idempotency_key)
        raise ConnectionError("reset")

    async def handle(message: Message, ctx: Context) -> list[Any]:
        return await ctx.gather(*(ctx.tool(pay, {"order": order}) for order in "abc"))

    async with running(Agent("cashier", handle, tools=[pay])) as system:
        run = await system.send("cashier", timeout=100_000)

        async def three_asked() -> list[str]:
            asked = [one.step for one in await system.questions(run)]
            return asked if len(asked) == 3 else []

        steps = await eventually(three_asked)
        while steps:
            await system.answer(run, {"done": steps[0]}, step=steps.pop(0))

            async def asked_the_rest() -> bool:  # the answer woke the run; it parks again
                asked = [one.step for one in await system.questions(run)]
                return set(asked) == set(steps)

            await eventually(asked_the_rest)
        result = await system.result("cashier", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert len(result.data) == 3
        assert bank.paid == {"a": 1, "b": 1, "c": 1}


async def test_a_long_doubt_holds_nothing(
    running: Running, kind: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 1800.0
    if kind == "nats":
        seconds = 1.0
        monkeypatch.setattr("aixgo.steps.tools.once.WAIT_SECONDS", 0.1)
    executions: list[int] = []

    @tool(effect="once", timeout=seconds, reconcile=bank.reconcile)
    async def pay(order: str, ctx: ToolContext) -> str:
        bank.pay(order, ctx.idempotency_key)
        raise ConnectionError("reset")

    async def handle(message: Message, ctx: Context) -> str:
        executions.append(ctx.attempt)
        return await ctx.tool(pay, {"order": message.text})

    async with running(Agent("cashier", handle, tools=[pay], limits={"timeout": 3600})) as system:
        began = asyncio.get_running_loop().time()
        run = await system.send("cashier", "A1", timeout=100_000)

        async def parked() -> bool:
            return len(await system.space.parking.all(run)) == 1

        await eventually(parked)
        await eventually(lambda: system.services["cashier"].busy == 0)
        assert bank.asked["A1"] == 0  # its owner's time is not over
        result = await system.result("cashier", run, timeout=seconds + 20)
        assert result is not None
        assert result.text == "paid A1"
        assert asyncio.get_running_loop().time() - began >= seconds
        assert executions == [1, 2]
        assert (bank.paid["A1"], bank.asked["A1"]) == (1, 1)


async def test_a_tool_that_hangs_is_in_doubt_when_its_time_is_over(
    running: Running, bank: Bank
) -> None:
    hanging = threading.Event()

    @tool(effect="once", timeout=1.0, reconcile=bank.reconcile)
    def pay(order: str, ctx: ToolContext) -> str:
        if ctx.attempt == 1:
            hanging.wait(PATIENCE_SECONDS)
        return bank.pay(order, ctx.idempotency_key)

    async def handle(message: Message, ctx: Context) -> str:
        return await ctx.tool(pay, {"order": message.text})

    async with running(Agent("cashier", handle, tools=[pay])) as system:
        try:
            result = await system.call("cashier", "A1", timeout=60)
            assert result.text == "paid A1"
            assert bank.paid == {"A1": 1}
            (doubt,) = await happened(system, result.run_id, "in_doubt")
            assert doubt.error is not None
            assert doubt.error.code == "tool_timeout"
        finally:
            hanging.set()  # the thread itself cannot be stopped: only the bank could refuse it now
            await eventually(lambda: bank.paid["A1"] == 2)


async def test_a_run_that_is_cancelled_in_the_tool_says_that_it_is_in_doubt(
    running: Running, bank: Bank
) -> None:
    began = asyncio.Event()

    @tool(effect="once")
    async def pay(order: str, ctx: ToolContext) -> str:
        bank.pay(order, ctx.idempotency_key)
        began.set()
        await asyncio.sleep(3600)
        return "never"

    async def handle(message: Message, ctx: Context) -> str:
        return await ctx.tool(pay, {"order": message.text})

    async with running(Agent("cashier", handle, tools=[pay])) as system:
        run = await system.send("cashier", "A1")
        await asyncio.wait_for(began.wait(), PATIENCE_SECONDS)
        await system.cancel("cashier", run)
        with pytest.raises(Cancelled):
            await system.result("cashier", run, timeout=PATIENCE_SECONDS)
        told = await eventually(lambda: happened(system, run, "in_doubt"))
        assert told[0].error is not None
        assert "cancelled" in told[0].error.message


# -- for people --------------------------------------------------------------------------------


async def test_a_run_shows_how_its_tools_stand(running: Running, bank: Bank) -> None:
    @tool(effect="once", timeout=0.1)
    async def pay(order: str, ctx: ToolContext) -> str:
        bank.pay(order, ctx.idempotency_key)
        raise ConnectionError("reset by peer")

    async def handle(message: Message, ctx: Context) -> Any:
        await ctx.tool(rate, {"currency": "EUR"}, key="euro")
        return await ctx.tool(pay, {"order": message.text})

    @tool(effect="once")
    async def rate(currency: str) -> float:
        return 1.25

    async with running(Agent("cashier", handle, tools=[pay, rate])) as system:
        runs = system.runs
        answered, ended = [await system.send("cashier", "A1", timeout=10_000) for _ in range(2)]

        async def both_asked() -> bool:
            return len(await system.questions()) == 2

        await eventually(both_asked)
        (root,) = (await runs.tree(answered)).steps
        done, doubtful = root.steps
        assert (done.path, done.kind, done.status) == ("tool/rate/euro", "tool", "done")
        assert (done.attempts, done.steps) == (1, ())
        assert (doubtful.path, doubtful.kind, doubtful.status) == ("tool/pay/1", "tool", "parked")
        assert doubtful.error is not None
        assert "reset by peer" in doubtful.error.message
        (question,) = doubtful.steps
        assert (question.path, question.options) == ("tool/pay/1/ask/1", ("done", "not done"))
        await system.answer(answered, {"done": "paid"})
        assert await system.result("cashier", answered, timeout=PATIENCE_SECONDS) is not None
        (root,) = (await runs.tree(answered)).steps
        assert [(one.path, one.status) for one in root.steps][1] == ("tool/pay/1", "done")
        await system.cancel("cashier", ended)
        await eventually(lambda: nothing_asked(system))
        (root,) = (await runs.tree(ended)).steps
        assert root.status == "cancelled"
        assert (root.steps[1].status, root.steps[1].steps) == ("error", ())
        assert root.steps[1].error is not None
        assert root.steps[1].error.code == "in_doubt"


async def test_a_fork_takes_over_values_and_no_doubts(running: Running, bank: Bank) -> None:
    @tool(effect="once", timeout=0.1)
    async def pay(order: str, ctx: ToolContext) -> str:
        value = bank.pay(order, ctx.idempotency_key)
        if order == "second" and bank.paid[order] == 1:
            raise ConnectionError("reset by peer")
        return f"{value} in {ctx.run_id}"

    async def handle(message: Message, ctx: Context) -> Any:
        values = [await ctx.tool(pay, {"order": "first"})]
        await ctx.record(1)
        return [*values, await ctx.tool(pay, {"order": "second"})]

    async with running(Agent("cashier", handle, tools=[pay])) as system:
        run = await system.send("cashier", "x", timeout=10_000)
        await eventually(lambda: system.questions(run))
        runs = system.runs
        with pytest.raises(EffectsRepeated, match="'tool/pay/2'") as caught:
            await runs.fork(run, "record/1")
        assert caught.value.repeated == ("tool/pay/2",)
        with pytest.raises(EffectsRepeated, match="from the beginning"):
            await runs.fork(run)
        agent, forked = await runs.fork(run, "record/1", repeat_effects=True)
        result = await system.result(agent, forked, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.data == [f"paid first in {run}", f"paid second in {forked}"]
        assert bank.paid == {"first": 1, "second": 2}  # the second one is the new run's own


# -- what did not happen -----------------------------------------------------------------------


async def test_a_tool_that_knows_that_nothing_happened_is_tried_again_by_its_policy(
    running: Running, bank: Bank
) -> None:
    @tool(effect="once", retry=QUICK)
    async def pay(order: str, ctx: ToolContext) -> str:
        if order == "shaky" and ctx.attempt == 3:
            return bank.pay(order, ctx.idempotency_key)
        bank.asked[order] += 1
        raise ToolNotDone(f"{order}: connection refused", retryable=order != "unknown order")

    async def handle(message: Message, ctx: Context) -> Any:
        try:
            return await ctx.tool(pay, {"order": message.text})
        except ToolFailed as error:
            return [error.cause, error.attempts]

    async with running(Agent("cashier", handle, tools=[pay])) as system:
        shaky = await system.call("cashier", "shaky")
        assert shaky.text == "paid shaky"
        assert (await system.call("cashier", "down")).data == ["tool_not_done", 3]
        assert (await system.call("cashier", "unknown order")).data == ["tool_not_done", 1]
        assert bank.asked == {"shaky": 2, "down": 3, "unknown order": 1}
        assert await happened(system, shaky.run_id, "in_doubt", "resolved") == []


async def test_a_replay_gives_a_tool_all_its_attempts_again(running: Running, bank: Bank) -> None:
    down = True

    @tool(effect="once", retry={"max_attempts": 2, **QUICK})
    async def pay(order: str, ctx: ToolContext) -> str:
        bank.asked[order] += 1
        if down or bank.asked[order] == 3:
            raise ToolNotDone("connection refused")
        return bank.pay(order, ctx.idempotency_key)

    async def handle(message: Message, ctx: Context) -> str:
        first = await ctx.tool(pay, {"order": "first"}, key="first") if not down else ""
        return first + await ctx.tool(pay, {"order": message.text})

    async with running(Agent("cashier", handle, tools=[pay])) as system:
        run = await system.send("cashier", "A1")
        with pytest.raises(
            RemoteError, match=r"'pay' was executed 2 times and failed.*aixgo dlq replay"
        ):
            await system.result("cashier", run, timeout=PATIENCE_SECONDS)
        down = False
        (letter,) = await system.dead_letters.list(run=run)
        await system.replay(letter.number)
        result = await system.result("cashier", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "paid firstpaid A1"
        assert bank.asked == {"A1": 4, "first": 1}
        assert bank.paid == {"A1": 1, "first": 1}


@pytest.mark.long(only=("nats",))
async def test_a_hundred_failed_runs_go_on_after_a_tool_is_mended(running: Running) -> None:
    broken, executed = True, Counter[str]()
    model = ScriptedModel([lambda request: request.messages[-1].text], repeat=True)

    @tool(effect="once", retry={"max_attempts": 1})
    async def stamp(text: str) -> str:
        executed[f"stamp {text}"] += 1
        if broken:
            raise ToolNotDone("out of ink")
        return f"stamped {text}"

    @tool(effect="read")
    async def fold(text: str) -> str:
        executed[f"fold {text}"] += 1
        return f"folded {text}"

    @tool(effect="idempotent")
    async def post(text: str) -> str:
        executed[f"post {text}"] += 1
        if broken:
            raise ValueError("no stamp on it")
        return f"posted {text}"

    async def handle(message: Message, ctx: Context) -> str:
        plan = (await ctx.model.chat(f"plan {message.text}")).text
        folded = await ctx.tool(fold, {"text": plan})
        if int(plan.split()[-1]) % 2:
            done = await ctx.tool(stamp, {"text": folded})
        else:
            done = await ctx.tool(post, {"text": folded})
        return (await ctx.model.chat(f"end {done}")).text

    agent = Agent("office", handle, tools=[stamp, fold, post], model="scripted/any")
    async with running(agent, model=model) as system:

        async def failed(number: int) -> str:
            run = await system.send("office", f"job {number}")
            with pytest.raises(RemoteError, match=r"out of ink|no stamp"):
                await system.result("office", run, timeout=PATIENCE_SECONDS)
            return run

        runs = await asyncio.gather(*(failed(number) for number in range(100)))
        assert model.calls == 100
        broken = False
        for one in await system.dead_letters.list():
            await system.replay(one.number)
        for number, run in enumerate(runs):
            result = await system.result("office", run, timeout=PATIENCE_SECONDS)
            assert result is not None
            verb = "stamped" if number % 2 else "posted"
            assert result.text == f"end {verb} folded plan job {number}"
            assert executed[f"{verb.removesuffix('ed')} folded plan job {number}"] == 2
            assert executed[f"fold plan job {number}"] == 1  # only what failed ran again
        assert model.calls == 200
        assert await system.dead_letters.list() == []
