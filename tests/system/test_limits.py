"""Deadlines that only shrink, limits of depth and size: errors say value, limit and fix."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aixgo import Agent, Context, Message, Reply, System
from aixgo.calls.results import cancelled_result
from aixgo.envelope import Envelope, new_id
from aixgo.errors import (
    AixgoError,
    BodyTooLarge,
    DeadlineExceeded,
    InvalidPayload,
    PayloadTooLarge,
    RemoteError,
)
from aixgo.models import ChatRequest, ChatResponse
from aixgo.models.scripted import ScriptedModel
from aixgo.subjects import CALLS, PARKED
from aixgo.testing.expect import SOON_SECONDS
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

HALF_A_MEGABYTE = "x" * 600_000
QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}


async def nothing_is_left(system: System) -> bool:
    """No call is queued, delivered or parked."""
    calls = await system.broker.stream_info(system.names.stream(CALLS))
    parked = await system.broker.stream_info(f"KV_{system.names.bucket(PARKED)}")
    assert calls is not None
    assert parked is not None
    return calls.messages == parked.messages == 0


# -- deadline ----------------------------------------------------------------------------------


async def test_a_deadline_shrinks_from_level_to_level_and_never_grows(running: Running) -> None:
    seen: dict[str, float] = {}

    async def leaf(message: Message, ctx: Context) -> None:
        seen["leaf"] = ctx.deadline or 0.0

    async def lower(message: Message, ctx: Context) -> None:
        seen["lower"] = ctx.deadline or 0.0
        await ctx.call("leaf", timeout=500)

    async def upper(message: Message, ctx: Context) -> None:
        seen["upper"] = ctx.deadline or 0.0
        await ctx.call("lower", timeout=10)

    async def top(message: Message, ctx: Context) -> None:
        seen["top"] = ctx.deadline or 0.0
        await ctx.call("upper")

    handlers = (leaf, lower, upper, top)
    async with running(*(Agent(handler.__name__, handler) for handler in handlers)) as system:
        await system.call("top", timeout=30)
    assert seen["top"] == seen["upper"]  # inherited
    assert seen["upper"] - 20.5 < seen["lower"] <= seen["upper"] - 19.5  # shrunk to 10 s
    assert seen["lower"] == seen["leaf"]  # 500 s would have been longer


async def test_an_agents_own_timeout_bounds_everything_below_it(running: Running) -> None:
    seen: list[float] = []

    async def leaf(message: Message, ctx: Context) -> None:
        seen.append(ctx.remaining)

    async def middle(message: Message, ctx: Context) -> None:
        await ctx.call("leaf", timeout=600)

    agents = Agent("leaf", leaf), Agent("middle", middle, timeout="60s")
    async with running(*agents) as system:
        await system.call("middle", timeout=600)
    assert 60 - SOON_SECONDS < seen[0] <= 60


class PatientModel(ScriptedModel):
    """Notes how long each call may take."""

    def __init__(self, answers: list[Any]) -> None:
        super().__init__(answers)
        self.timeouts: list[float | None] = []

    async def chat(self, request: ChatRequest) -> ChatResponse:
        self.timeouts.append(request.timeout)
        return await super().chat(request)


async def test_a_model_call_gets_no_more_time_than_the_run_has_left(running: Running) -> None:
    model = PatientModel(["a", "b"])

    async def ask(message: Message, ctx: Context) -> None:
        await ctx.model.chat("long", timeout=600)
        await ctx.model.chat("short", timeout=30)

    async with running(Agent("ask", ask, model="scripted/any"), model=model) as system:
        await system.call("ask", timeout=200)
    long, short = model.timeouts
    assert long is not None
    assert short is not None
    assert 200 - SOON_SECONDS < long <= 200
    assert 30 - SOON_SECONDS < short <= 30


async def test_a_deadline_ends_every_level_with_a_record(running: Running) -> None:
    stopped: list[str] = []

    async def leaf(message: Message, ctx: Context) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append("leaf")

    async def middle(message: Message, ctx: Context) -> None:
        try:
            await ctx.call("leaf")
        finally:
            stopped.append("middle")

    async with running(Agent("leaf", leaf), Agent("middle", middle)) as system:
        run = new_id()
        with pytest.raises(DeadlineExceeded, match=r"longer `timeout`"):
            await system.call("middle", timeout=1.5, run_id=run)
        await eventually(lambda: sorted(stopped) == ["leaf", "middle"])
        await eventually(lambda: nothing_is_left(system))
        records = await system.space.results.of_run(run)
        assert [one.status for one in records.values()] == ["expired", "expired"]


# -- depth -------------------------------------------------------------------------------------


async def test_calls_nest_ten_deep_and_no_deeper(running: Running) -> None:
    deepest: list[int] = []

    async def descend(message: Message, ctx: Context) -> int:
        deepest.append(ctx.depth)
        if ctx.depth < int(message.data):
            return int((await ctx.call("descend", message.data)).data)
        return ctx.depth

    async with running(Agent("descend", descend)) as system:
        assert (await system.call("descend", 10)).data == 10
        deepest.clear()
        with pytest.raises(RemoteError) as caught:
            await system.call("descend", 11)
        assert max(deepest) == 10
        assert caught.value.cause == "depth_exceeded"
        for part in ("'descend' is 10 calls deep", "`limits.max_depth` is 10 calls", "raise it"):
            assert part in str(caught.value)
        assert caught.value.attempts == 1
        await eventually(lambda: nothing_is_left(system))


async def test_a_model_call_counts_as_a_level(running: Running) -> None:
    model = ScriptedModel(["never"])

    async def ask(message: Message, ctx: Context) -> str:
        return (await ctx.model.chat("x")).text

    async def top(message: Message, ctx: Context) -> str:
        return (await ctx.call("ask")).text

    shallow = Agent("ask", ask, model="scripted/any", limits={"max_depth": 1})
    async with running(shallow, Agent("top", top), model=model) as system:
        with pytest.raises(RemoteError, match=r"may not call 'llm': `limits\.max_depth` is 1"):
            await system.call("top")
    assert model.calls == 0


# -- sizes -------------------------------------------------------------------------------------


async def mirror(message: Message) -> str:
    return message.text


async def test_metadata_over_its_limit_is_refused_before_it_is_sent(running: Running) -> None:
    async with running(Agent("mirror", mirror)) as system:
        for send in (system.call, system.send):
            with pytest.raises(InvalidPayload, match=r"600,008 bytes .* 262,144 bytes.*the data"):
                await send("mirror", "x", meta={"a": HALF_A_MEGABYTE})
        with pytest.raises(InvalidPayload, match="metadata cannot be sent as JSON"):
            await system.call("mirror", "x", meta={"a": object()})
        whole = {"a": "x" * 262_000}
        assert (await system.call("mirror", "y" * 65_000, meta=whole)).text == "y" * 65_000


async def test_a_handlers_metadata_over_the_limit_is_a_final_error(running: Running) -> None:
    executed: list[str] = []

    async def gives(message: Message) -> Reply:
        executed.append("gives")
        return Reply("x", meta={"a": HALF_A_MEGABYTE * 3})

    async def calls(message: Message, ctx: Context) -> str:
        executed.append("calls")
        return (await ctx.call("mirror", "x", meta={"a": HALF_A_MEGABYTE})).text

    agents = Agent("gives", gives), Agent("calls", calls), Agent("mirror", mirror)
    async with running(*agents) as system:
        for agent in ("gives", "calls"):
            with pytest.raises(RemoteError, match=r"over the limit of 262,144 bytes") as caught:
                await system.call(agent, timeout=PATIENCE_SECONDS)
            assert caught.value.cause == "invalid_payload"
        assert executed == ["gives", "calls"]
        await eventually(lambda: nothing_is_left(system))


async def test_an_error_of_megabytes_is_cut_not_executed_again(running: Running) -> None:
    executed: list[int] = []

    async def verbose(message: Message) -> None:
        executed.append(1)
        raise ValueError(HALF_A_MEGABYTE * 4)

    async with running(Agent("verbose", verbose)) as system:
        with pytest.raises(RemoteError, match=r"… \(2,392,000 characters more\)") as caught:
            await system.call("verbose", timeout=PATIENCE_SECONDS)
        assert caught.value.cause == "ValueError"
        assert len(str(caught.value)) < 9_000
        assert executed == [1]
        await eventually(lambda: nothing_is_left(system))


async def test_a_question_over_its_limit_does_not_park_for_ever(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> Any:
        return await ctx.ask_human("?" * int(message.data))

    async with running(Agent("ask", ask)) as system:
        with pytest.raises(RemoteError, match=r"'ask/1' is 65,537 bytes .* 65,536 bytes"):
            await system.call("ask", 65_533, timeout=PATIENCE_SECONDS)
        run = await system.send("ask", 65_532, timeout=100)
        await eventually(lambda: system.questions(run))
        await system.answer(run, "well asked")
        result = await system.result("ask", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "well asked"


async def test_a_payload_over_what_anybody_carries_is_refused(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aixgo.calls.payload_store.MAX_BODY_BYTES", 500_000)
    executed: list[int] = []

    async def grow(message: Message) -> str:
        executed.append(1)
        return HALF_A_MEGABYTE

    async with running(Agent("grow", grow), Agent("mirror", mirror)) as system:
        for send in (system.call, system.send):
            with pytest.raises(BodyTooLarge, match=r"'mirror' is 600,002 bytes, .* 500,000 bytes"):
                await send("mirror", HALF_A_MEGABYTE)
        with pytest.raises(RemoteError, match=r"a result of agent 'grow' is 600,002") as caught:
            await system.call("grow", timeout=PATIENCE_SECONDS)
        assert caught.value.cause == "body_too_large"
        assert executed == [1]
        await eventually(lambda: nothing_is_left(system))


async def test_events_values_and_answers_may_be_larger_than_a_message(running: Running) -> None:
    heard = asyncio.Queue[int]()

    async def tell(message: Message, ctx: Context) -> list[int]:
        await ctx.emit(HALF_A_MEGABYTE * 3)
        value = await ctx.record(HALF_A_MEGABYTE * 4)
        return [len(value), len(await ctx.ask_human("how much?"))]

    async def hear(message: Message) -> None:
        heard.put_nowait(len(message.text))

    agents = Agent("tell", tell, outputs=["hear"]), Agent("hear", hear)
    async with running(*agents) as system:
        run = await system.send("tell", timeout=100)
        assert await asyncio.wait_for(heard.get(), PATIENCE_SECONDS) == 1_800_000
        await eventually(lambda: system.questions(run))
        await system.answer(run, HALF_A_MEGABYTE * 2)
        result = await system.result("tell", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.data == [2_400_000, 1_200_000]


async def test_an_rpc_over_the_brokers_limit_names_both_sizes(running: Running) -> None:
    async with running(Agent("mirror", mirror)) as system:
        with pytest.raises(PayloadTooLarge, match=r"1,800,\d+ bytes .* 1,048,576 bytes") as caught:
            await system.rpc("mirror", HALF_A_MEGABYTE * 3)
        assert caught.value.limit == system.broker.max_payload


async def test_a_result_that_the_broker_can_never_take_is_a_final_error(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever limit is met: the call ends with a record, and is not executed again."""
    executed: list[int] = []

    async def work(message: Message) -> str:
        executed.append(1)
        return "precious"

    async with running(Agent("work", work)) as system:
        append = system.broker.append

        async def refuse(subject: str, data: bytes, **options: Any) -> Any:
            if ".res." in subject and b"precious" in data:
                raise PayloadTooLarge(subject, 2_000_000, 1_048_576)
            return await append(subject, data, **options)

        monkeypatch.setattr(system.broker, "append", refuse)
        with pytest.raises(RemoteError, match=r"2,000,000 bytes .* 1,048,576") as caught:
            await system.call("work", timeout=PATIENCE_SECONDS)
        assert caught.value.cause == "payload_too_large"
        assert executed == [1]
        (letter,) = await system.dead_letters.list()
        assert letter.letter.failure.code == "payload_too_large"


# -- a cancel that was not heard ---------------------------------------------------------------


async def test_a_handler_stops_although_the_cancel_signal_was_lost(running: Running) -> None:
    stopped = asyncio.Event()

    async def slow(message: Message) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            stopped.set()

    async with running(Agent("slow", slow), ack_wait=1.5) as system:
        run = await system.send("slow", timeout=300)
        await eventually(lambda: system.services["slow"].busy == 1)
        # what a cancel writes, without what it publishes
        request = Envelope(id=new_id(), kind="call", source="test", target="slow", run=run)
        await system.space.results.settle("slow", cancelled_result(request, "slow", "unheard"))
        await asyncio.wait_for(stopped.wait(), PATIENCE_SECONDS)
        with pytest.raises(AixgoError, match="unheard"):
            await system.result("slow", run)
        await eventually(lambda: nothing_is_left(system))


async def test_an_expired_run_says_what_it_waited_for(running: Running) -> None:
    async def waits(message: Message, ctx: Context) -> None:
        await ctx.call("slow")

    async def slow(message: Message) -> None:
        await asyncio.sleep(PATIENCE_SECONDS)

    quick = Agent("quick", waits, timeout=0.2, retry={"max_attempts": 1})
    async with running(quick, Agent("slow", slow)) as system:
        with pytest.raises(RemoteError, match=r"waited for step 'slow/1' of agent 'slow'"):
            await system.call("quick", timeout=PATIENCE_SECONDS)
