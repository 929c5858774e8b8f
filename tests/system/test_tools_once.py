"""Tools that must not be executed twice: every window of a crash, and owners that come back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from aixgo import Agent, App, Context, Message, System, tool
from aixgo.broker.memory import MemoryBroker
from aixgo.broker.open import open_broker
from aixgo.broker.topology import AgentNeeds, provision
from aixgo.calls.settle import Settler
from aixgo.envelope import new_id
from aixgo.errors import (
    Disconnected,
)
from aixgo.steps.tools import ToolStep
from aixgo.steps.tools.journal import Reservation, ToolJournal, Verdict
from aixgo.subjects import Names
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo.tools import Done, NotDone, Resolution, ToolContext

from ._bank import QUICK, SECONDS, Bank, happened, nothing_asked

ACK_WAIT = 2.0
"""More than a busy machine holds up a heartbeat; what dies waits as long."""


class Crash(BaseException):
    """An execution ends as if its process had been killed: nothing is answered or cleaned up."""


@pytest.fixture(autouse=True)
async def crashes_are_expected() -> AsyncGenerator[None, None]:
    """A task that ended with a crash is no surprise; the loop would show its traceback."""
    loop = asyncio.get_running_loop()
    usual = loop.get_exception_handler()

    def quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), Crash) and usual is not None:
            usual(loop, context)

    loop.set_exception_handler(quiet)
    yield
    gc.collect()
    loop.set_exception_handler(usual)


@pytest.fixture
def bank() -> Bank:
    return Bank()


async def notes(system: System, run: str) -> list[str]:
    """Return the paths of what is recorded below the run's steps with tools."""
    records = await system.space.results.of_run(run)
    return sorted(one.step for one in records.values() if one.step.count("/") > 2)


# -- crashes -----------------------------------------------------------------------------------

WINDOWS = {
    "nowhere": (0, []),
    "before it is reserved": (0, []),
    "after it is reserved": (1, ["in_doubt", "resolved"]),
    "after it is fired": (1, ["in_doubt", "resolved"]),
    "after it is fired and the doubt resolved": (1, ["in_doubt", "resolved"]),
    "after it is done": (0, []),
}
"""How often the bank is asked, and what is reported."""


async def test_a_crash_in_any_window_pays_once(
    running: Running, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed: set[str] = set()

    def crash(window: str, order: str, where: str = "") -> None:
        if window in order and order + where not in crashed:
            crashed.add(order + where)
            raise Crash(order)

    def crash_after(name: str, window: str) -> None:
        original = getattr(ToolJournal, name)

        async def crashing(self: ToolJournal, *args: Any) -> Any:
            standing = await original(self, *args)
            crash(window, msgspec.json.decode(self._step.payload)["order"], name)
            return standing

        monkeypatch.setattr(ToolJournal, name, crashing)

    crash_after("reserve", "after it is reserved")
    crash_after("judge", "the doubt resolved")

    def pay_in_a_thread(order: str, ctx: ToolContext) -> str:
        value = bank.pay(order, ctx.idempotency_key)
        crash("after it is fired", order)
        return value

    async def pay(order: str, ctx: ToolContext) -> str:
        return pay_in_a_thread(order, ctx)

    functions: list[Any] = [pay, pay_in_a_thread]
    once = tool(effect="once", timeout=SECONDS, reconcile=bank.reconcile)
    tools = [once(function) for function in functions]

    async def handle(message: Message, ctx: Context) -> str:
        order = message.text
        crash("before it is reserved", order)
        value: str = await ctx.tool(order.split()[0], {"order": order})
        crash("after it is done", order)
        return value

    settle = Settler.settle

    async def dead(self: Settler, delivery: Any, request: Any, outcome: Any) -> Any:
        error = getattr(outcome, "error", None)
        if isinstance(error, Crash):  # a process that died answers nothing
            raise error
        return await settle(self, delivery, request, outcome)

    monkeypatch.setattr(Settler, "settle", dead)
    agent = Agent("cashier", handle, tools=tools)
    async with running(agent, ack_wait=ACK_WAIT) as system:

        async def one(name: str, window: str) -> None:
            order = f"{name} {window}"
            result = await system.call("cashier", order, timeout=PATIENCE_SECONDS)
            assert result.text == f"paid {order}"
            assert bank.paid[order] == 1
            asked, reported = WINDOWS[window]
            assert bank.asked[order] == asked, order
            told = await happened(system, result.run_id, "in_doubt", "resolved")
            assert [one.what for one in told] == reported, order
            assert all((one.step, one.agent) == (f"tool/{name}/1", "cashier") for one in told)

        async with asyncio.TaskGroup() as group:
            for window in WINDOWS:
                for each in tools:
                    group.create_task(one(each.spec.name, window))


@pytest.mark.long(only=("nats",))
async def test_an_owner_that_comes_back_too_late_does_not_fire(
    kind: str,
    request: pytest.FixtureRequest,
    bank: Bank,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was frozen after it had reserved, and another process did its work meanwhile."""
    frozen, thaw = asyncio.Event(), asyncio.Event()
    reserve = ToolJournal.reserve

    async def reserving(self: ToolJournal, wanted: Reservation) -> Reservation:
        held = await reserve(self, wanted)
        if not frozen.is_set():
            frozen.set()
            await thaw.wait()
        return held

    monkeypatch.setattr(ToolJournal, "reserve", reserving)
    agent = cashier(bank)
    async with processes(request, kind) as start:
        zombie = await start(agent, heartbeats=False)
        run = await zombie.send("cashier", "A1", timeout=60)
        await asyncio.wait_for(frozen.wait(), PATIENCE_SECONDS)
        other = await start(agent)
        result = await other.result("cashier", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "paid A1"
        thaw.set()
        await eventually(lambda: zombie.services["cashier"].busy == 0)
        assert bank.paid == {"A1": 1}
        assert await notes(other, run) == [
            "tool/pay/1/doubt/1",
            "tool/pay/1/reserved/1",
            "tool/pay/1/reserved/2",
            "tool/pay/1/verdict/1",
        ]


@pytest.mark.long(only=("nats",))
async def test_an_owner_that_comes_back_with_a_value_spares_a_person_the_question(
    kind: str,
    request: pytest.FixtureRequest,
    bank: Bank,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It paid, and lost the broker before it could say so; nobody else can know."""
    lost = asyncio.Event()
    done = ToolStep.done

    async def recording(self: ToolStep, *args: Any) -> Any:
        if lost.is_set() and self.caller.space is lonely[0]:
            raise Disconnected("the broker is away")
        return await done(self, *args)

    monkeypatch.setattr(ToolStep, "done", recording)
    judge = ToolJournal.judge

    async def judging(self: ToolJournal, number: int, verdict: Verdict) -> Verdict:
        if lost.is_set() and self._step.caller.space is lonely[0]:
            raise Disconnected("the broker is away")
        return await judge(self, number, verdict)

    monkeypatch.setattr(ToolJournal, "judge", judging)
    agent = cashier(bank, reconcile=None)
    async with processes(request, kind) as start:
        zombie = await start(agent, heartbeats=False)
        lonely = [zombie.services["cashier"].space]
        lost.set()
        run = await zombie.send("cashier", "A1", timeout=600)
        await eventually(lambda: bank.paid["A1"])
        other = await start(agent)
        await eventually(lambda: other.questions(run))
        lost.clear()
        result = await other.result("cashier", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "paid A1"
        assert bank.paid == {"A1": 1}
        await eventually(lambda: nothing_asked(other))
        told = await happened(other, run, "in_doubt", "resolved")
        assert [one.what for one in told] == ["in_doubt", "resolved"]
        assert "done, says the tool itself" in told[1].detail


async def test_a_process_that_stops_in_a_tool_leaves_a_doubt_to_the_next_one(
    kind: str, request: pytest.FixtureRequest, bank: Bank
) -> None:
    began = asyncio.Event()

    @tool(effect="once", timeout=SECONDS, reconcile=bank.reconcile)
    async def pay(order: str, ctx: ToolContext) -> str:
        if not began.is_set():
            began.set()
            await asyncio.sleep(3600)
        return bank.pay(order, ctx.idempotency_key)

    async def handle(message: Message, ctx: Context) -> str:
        return await ctx.tool(pay, {"order": message.text})

    agent = Agent("cashier", handle, tools=[pay])
    async with processes(request, kind) as start:
        first = await start(agent)
        run = await first.send("cashier", "A1", timeout=60)
        await asyncio.wait_for(began.wait(), PATIENCE_SECONDS)
        await first.stop(0.0)
        other = await start(agent)
        result = await other.result("cashier", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "paid A1"
        assert (bank.paid["A1"], bank.asked["A1"]) == (1, 1)
        doubts = await happened(other, run, "in_doubt")
        assert doubts[0].error is not None
        assert "told to stop" in doubts[0].error.message
        assert [one.what for one in await happened(other, run, "resolved")] == ["resolved"]


@pytest.mark.long(only=("nats",))
async def test_when_two_disagree_about_a_doubt_the_first_verdict_counts(
    kind: str, request: pytest.FixtureRequest, bank: Bank
) -> None:
    again = asyncio.Event()

    async def slow_and_wrong(order: str) -> Resolution:
        await again.wait()
        return Done("nonsense")

    async def quick(order: str) -> Resolution:
        return NotDone()

    def told(hook: Any) -> Agent:
        @tool(effect="once", timeout=SECONDS, reconcile=hook)
        async def pay(order: str, ctx: ToolContext) -> str:
            if ctx.attempt == 1:
                raise ConnectionError("reset by peer")
            again.set()
            await asyncio.sleep(SECONDS / 2)  # time enough for the other verdict
            return bank.pay(order, ctx.idempotency_key)

        async def handle(message: Message, ctx: Context) -> str:
            return await ctx.tool(pay, {"order": message.text})

        return Agent("cashier", handle, tools=[pay])

    async with processes(request, kind) as start:
        first = await start(told(slow_and_wrong), heartbeats=False)
        run = await first.send("cashier", "A1", timeout=60)
        await eventually(lambda: first.services["cashier"].busy)
        other = await start(told(quick))
        result = await other.result("cashier", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "paid A1"
        await eventually(lambda: first.services["cashier"].busy == 0)
        assert again.is_set()
        assert bank.paid == {"A1": 1}
        (resolved,) = await happened(other, run, "resolved")
        assert "not done, says its `reconcile`" in resolved.detail


@pytest.mark.long(only=("nats",))
async def test_a_value_that_arrives_after_a_wrong_verdict_is_still_not_repeated(
    kind: str,
    request: pytest.FixtureRequest,
    bank: Bank,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The owner's record was on its way when the hook said that nothing had happened."""
    denied, recorded = asyncio.Event(), asyncio.Event()
    done, judge = ToolStep.done, ToolJournal.judge

    async def recording(self: ToolStep, *args: Any) -> Any:
        await denied.wait()
        result = await done(self, *args)
        recorded.set()
        return result

    async def judging(self: ToolJournal, *args: Any) -> Verdict:
        verdict = await judge(self, *args)
        denied.set()
        await recorded.wait()
        return verdict

    async def wrong(order: str) -> Resolution:
        return NotDone()

    monkeypatch.setattr(ToolStep, "done", recording)
    monkeypatch.setattr(ToolJournal, "judge", judging)
    agent = cashier(bank, reconcile=wrong)
    async with processes(request, kind) as start:
        owner = await start(agent, heartbeats=False)
        run = await owner.send("cashier", "A1", timeout=60)
        await eventually(lambda: bank.paid["A1"])
        other = await start(agent)
        result = await other.result("cashier", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        await eventually(lambda: not other.services["cashier"].busy)
        assert bank.paid == {"A1": 1}


# -- helpers -----------------------------------------------------------------------------------


def cashier(bank: Bank, **options: Any) -> Agent:
    """Return an agent that pays what it is told."""

    @tool(effect="once", **{"timeout": SECONDS, "reconcile": bank.reconcile, **options})
    async def pay(order: str, ctx: ToolContext) -> str:
        return bank.pay(order, ctx.idempotency_key)

    async def handle(message: Message, ctx: Context) -> str:
        return await ctx.tool(pay, {"order": message.text})

    return Agent("cashier", handle, tools=[pay], retry=QUICK)


Start = Callable[..., Awaitable[System]]


@asynccontextmanager
async def processes(request: pytest.FixtureRequest, kind: str) -> AsyncGenerator[Start, None]:
    """Yield `start(agent)`: another system of one namespace, as if in a process of its own."""
    namespace = f"t{new_id()[-12:]}"
    async with AsyncExitStack() as stack:
        first = MemoryBroker() if kind == "memory" else None
        url = "" if first is not None else str(request.getfixturevalue("nats_server").url)

        async def start(agent: Agent, *, heartbeats: bool = True) -> System:
            # without heartbeats its deliveries go to others while it still works on them
            app = App([agent], namespace=namespace, ack_wait=ACK_WAIT if heartbeats else 3600.0)
            address: Any = MemoryBroker(first.server) if first is not None else url
            return await stack.enter_async_context(
                app.running(broker=address, provision=False, grace=2.0)
            )

        async with first if first is not None else open_broker(url) as broker:
            needs = [AgentNeeds(name="cashier", ack_wait=ACK_WAIT)]
            await provision(broker, Names(namespace), needs)
            async with stack:
                yield start
            for stream in await broker.stream_names():
                if f"aixgo-{namespace}-" in stream:
                    await broker.delete_stream(stream)
