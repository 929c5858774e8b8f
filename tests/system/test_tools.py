"""Tools as durable steps: checked before they run, retried by policy, recorded once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from aixgo import Agent, Context, Message, tool
from aixgo.calls.results import result_of
from aixgo.envelope import Envelope, new_id
from aixgo.errors import (
    Cancelled,
    InvalidPayload,
    ModelTimeout,
    RemoteError,
    ToolFailed,
)
from aixgo.payloads import to_payload
from aixgo.telemetry import tracing
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS
from aixgo.tools import ToolContext

QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}

# -- values ------------------------------------------------------------------------------------


@dataclass
class Rate:
    currency: str
    rate: float


@tool(effect="read")
async def rate(currency: str, digits: int = 2) -> Rate:
    """Look up an exchange rate."""
    return Rate(currency, round(1.23456, digits))


async def test_a_tool_is_given_its_arguments_and_gives_its_type(running: Running) -> None:
    async def convert(message: Message, ctx: Context) -> list[Any]:
        found = await ctx.tool(rate, {"currency": message.text})
        again = await ctx.tool("rate", {"currency": message.text, "digits": 4}, key="exact")
        assert isinstance(found, Rate)
        return [found.rate, again.rate]

    async with running(Agent("convert", convert, tools=[rate])) as system:
        assert (await system.call("convert", "EUR")).data == [1.23, 1.2346]


async def test_what_does_not_fit_is_refused_before_anything_runs(running: Running) -> None:
    executed: list[str] = []

    @tool(effect="read")
    async def count(word: str) -> int:
        executed.append(word)
        return len(word)

    async def flow(message: Message, ctx: Context) -> list[str]:
        said = []
        for arguments in ({"word": 7}, {}, {"wrod": "x"}, [1]):
            try:
                await ctx.tool(count, arguments)  # type: ignore[arg-type] # what a model may send
            except InvalidPayload as error:
                said.append(str(error))
        return said

    async with running(Agent("flow", flow, tools=[count])) as system:
        wrong, missing, unknown, no_object = (await system.call("flow")).data
        assert "tool 'count'" in wrong
        assert "$.word" in wrong
        assert "missing required field `word`" in missing
        assert "no parameter 'wrod'; did you mean 'word'" in unknown
        assert "one JSON object" in no_object
        assert executed == []


async def test_an_unknown_tool_is_refused_with_the_nearest_name(running: Running) -> None:
    async def flow(message: Message, ctx: Context) -> Any:
        return await ctx.tool("raet", {})

    async with running(Agent("flow", flow, tools=[rate])) as system:
        with pytest.raises(RemoteError, match=r"no tool 'raet'.*; did you mean 'rate'") as caught:
            await system.call("flow")
        assert caught.value.cause == "unknown_tool"
        assert caught.value.attempts == 1


async def test_a_tool_knows_its_step_and_a_key_that_stays(running: Running) -> None:
    seen: list[ToolContext] = []

    @tool(effect="idempotent", retry=QUICK)
    async def note(ctx: ToolContext) -> None:
        seen.append(ctx)
        ctx.log.info("noted")
        if len(seen) < 3:
            raise TimeoutError("again")

    async def flow(message: Message, ctx: Context) -> None:
        await ctx.tool(note, key="first")
        await ctx.tool(note, timeout=5)

    async with running(Agent("flow", flow, tools=[note])) as system:
        result = await system.call("flow")
        assert [(one.step, one.attempt) for one in seen] == [
            ("tool/note/first", 1),
            ("tool/note/first", 2),
            ("tool/note/first", 3),
            ("tool/note/1", 1),
        ]
        first, *_, other = seen
        assert {one.idempotency_key for one in seen[:3]} == {first.idempotency_key}
        assert first.idempotency_key != other.idempotency_key
        assert len(first.idempotency_key) <= 65
        assert {one.run_id for one in seen} == {result.run_id}
        assert (first.agent, first.tool) == ("flow", "note")
        assert 4 < other.deadline - (first.deadline - 30) < 10


async def test_a_function_that_is_not_async_runs_beside_the_loop(running: Running) -> None:
    @tool(effect="read")
    def where() -> str:
        return threading.current_thread().name

    async def flow(message: Message, ctx: Context) -> str:
        return await ctx.tool(where)

    async with running(Agent("flow", flow, tools=[where])) as system:
        assert (await system.call("flow")).text == "aixgo-tool"


# -- steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", ["read", "idempotent", "once"])
async def test_a_finished_tool_is_not_executed_again(running: Running, effect: Any) -> None:
    executed: list[int] = []

    @tool(effect=effect)
    async def act(number: int) -> int:
        executed.append(number)
        return number * 2

    async def flow(message: Message, ctx: Context) -> list[int]:
        values = list(await ctx.gather(*(ctx.tool(act, {"number": number}) for number in range(3))))
        if ctx.attempt < 3:
            raise ModelTimeout("again")
        return values

    async with running(Agent("flow", flow, tools=[act], retry=QUICK)) as system:
        assert (await system.call("flow")).data == [0, 2, 4]
        assert sorted(executed) == [0, 1, 2]


async def test_a_first_execution_looks_too(running: Running) -> None:
    """A broker that crashed may have forgotten that it is a repetition."""

    executed: list[int] = []

    @tool(effect="idempotent")
    async def act() -> int:
        executed.append(1)
        return len(executed)

    async def flow(message: Message, ctx: Context) -> int:
        return await ctx.tool(act)

    async with running(Agent("flow", flow, tools=[act])) as system:
        run = new_id()
        frame = Envelope(id=new_id(), kind="call", run=run, step="tool/act/1")
        earlier = result_of(frame, "flow", "done", payload=to_payload(7))
        await system.space.results.settle("flow", earlier)
        assert (await system.call("flow", run_id=run)).data == 7
        assert executed == []


async def test_other_arguments_at_a_recorded_step_are_a_mismatch(running: Running) -> None:
    async def flow(message: Message, ctx: Context) -> None:
        await ctx.tool(rate, {"currency": f"C{ctx.attempt}"})
        raise ModelTimeout("again")

    async with running(Agent("flow", flow, tools=[rate], retry=QUICK)) as system:
        with pytest.raises(RemoteError, match="tool/rate/1") as caught:
            await system.call("flow")
        assert caught.value.cause == "replay_mismatch"


async def test_an_error_that_may_pass_is_tried_again_and_others_are_not(running: Running) -> None:
    executed: list[str] = []

    @tool(effect="read", retry=QUICK)
    async def fetch(what: str) -> str:
        executed.append(what)
        if what == "gone":
            raise KeyError("gone")
        if what == "down" or executed.count(what) < 3:
            raise ConnectionError("refused")
        return "here"

    async def flow(message: Message, ctx: Context) -> Any:
        try:
            return await ctx.tool(fetch, {"what": message.text})
        except ToolFailed as error:
            if ctx.attempt < 2:
                raise ModelTimeout("the handler again") from error
            return [error.tool, error.cause, error.attempts, str(error)]

    async with running(Agent("flow", flow, tools=[fetch], retry=QUICK)) as system:
        assert (await system.call("flow", "shaky")).data == "here"
        *gone, _ = (await system.call("flow", "gone")).data
        assert gone == ["fetch", "KeyError", 1]
        *down, text = (await system.call("flow", "down")).data
        assert down == ["fetch", "ConnectionError", 3]
        assert "'fetch' was executed 3 times and failed: refused" in text
        # the recorded failure is what the second execution of the handler saw
        assert [executed.count(what) for what in ("shaky", "gone", "down")] == [3, 1, 3]


async def test_an_execution_that_takes_too_long_is_ended(running: Running) -> None:
    ended = asyncio.Event()

    @tool(effect="read", timeout="100ms", retry={"max_attempts": 1})
    async def hang() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async def flow(message: Message, ctx: Context) -> None:
        await ctx.tool(hang)

    async with running(Agent("flow", flow, tools=[hang])) as system:
        with pytest.raises(RemoteError, match=r"'hang' did not finish within 0\.1 s"):
            await system.call("flow", timeout=PATIENCE_SECONDS)
        assert ended.is_set()


async def test_an_agents_own_deadline_says_nothing_of_the_tool(running: Running) -> None:
    executed: list[int] = []

    @tool(effect="read")
    async def slow_once() -> str:
        executed.append(1)
        if len(executed) == 1:
            await asyncio.sleep(3600)
        return "fine"

    async def flow(message: Message, ctx: Context) -> str:
        return await ctx.tool(slow_once)

    agent = Agent("flow", flow, tools=[slow_once], timeout=1.0, retry=QUICK)
    async with running(agent) as system:
        assert (await system.call("flow", timeout=PATIENCE_SECONDS)).text == "fine"
        assert len(executed) == 2


async def test_cancelling_a_run_stops_its_tool(running: Running) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @tool(effect="idempotent")
    async def hang() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async def flow(message: Message, ctx: Context) -> None:
        await ctx.tool(hang)

    async with running(Agent("flow", flow, tools=[hang])) as system:
        run = await system.send("flow")
        await asyncio.wait_for(began.wait(), PATIENCE_SECONDS)
        assert await system.cancel("flow", run)
        await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
        with pytest.raises(Cancelled):
            await system.result("flow", run, timeout=PATIENCE_SECONDS)


async def test_a_large_value_is_recorded_like_any_other(running: Running) -> None:
    @tool(effect="once")
    async def report() -> str:
        return "x" * 300_000

    async def flow(message: Message, ctx: Context) -> int:
        text = await ctx.tool(report)
        if ctx.attempt < 2:
            raise ModelTimeout("again")
        return len(text)

    async with running(Agent("flow", flow, tools=[report], retry=QUICK)) as system:
        assert (await system.call("flow")).data == 300_000


class Recorder:
    """A tracer that keeps what it is told."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    def span(
        self,
        name: str,
        kind: tracing.Kind,
        traceparent: str,
        tracestate: str,
        attributes: Mapping[str, Any],
    ) -> tracing.Span:
        known = {"name": name, "parent": traceparent, **attributes}
        self.spans.append(known)

        class Recorded(tracing.PassThrough):
            def set(self, name: str, value: Any) -> None:
                known[name] = value

        return Recorded(traceparent, tracestate)


async def test_each_execution_of_a_tool_is_a_span(running: Running) -> None:
    recorder = Recorder()
    tracing.set_tracer(recorder)
    try:

        async def flow(message: Message, ctx: Context) -> float:
            return (await ctx.tool(rate, {"currency": "EUR"})).rate

        async with running(Agent("flow", flow, tools=[rate])) as system:
            result = await system.call("flow")
    finally:
        tracing.set_tracer(None)
    (span,) = [one for one in recorder.spans if one["name"] == "execute_tool rate"]
    assert span["parent"][3:35] == result.trace_id
    assert span["gen_ai.operation.name"] == "execute_tool"
    assert span["gen_ai.tool.name"] == span["tool.name"] == "rate"
    assert span["aixgo.span"] == "tool.execute"
    assert span["tool.effect"] == "read"
    assert span["aixgo.step"] == "tool/rate/1"
    assert span["tool.duration_ms"] >= 0
