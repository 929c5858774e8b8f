"""Watching a run while it happens, on both brokers."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from aixgo import Agent, App, Context, Message, System
from aixgo.broker import BusMessage
from aixgo.envelope import Envelope, encode, new_id
from aixgo.errors import RemoteError
from aixgo.models.bus import TokenBatch
from aixgo.models.scripted import ScriptedModel
from aixgo.runs.watch import (
    PENDING_EVENTS,
    RunEvent,
    RunEvents,
    StepFinished,
    StepStarted,
    TokensArrived,
)
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS


async def writer(message: Message, ctx: Context) -> str:
    return (await ctx.model.chat(message.text, model="local/x", stream=True)).text


async def editor(message: Message, ctx: Context) -> str:
    draft = await ctx.call("writer", message.text)
    await ctx.record(7)
    return draft.text.upper()


async def seen(system: System, agent: str, text: str) -> list[RunEvent]:
    """Call an agent and return what a watcher saw of it."""
    run = new_id()
    async with asyncio.timeout(PATIENCE_SECONDS), system.watch(run) as events:
        call = asyncio.create_task(system.call(agent, text, run_id=run))
        found = [event async for event in events]
        await asyncio.gather(call, return_exceptions=True)
    return found


async def test_a_watcher_sees_steps_start_write_and_finish_in_order(running: Running) -> None:
    agents = Agent("editor", editor), Agent("writer", writer)
    async with running(*agents, model=ScriptedModel(["once upon a time"])) as system:
        events = await seen(system, "editor", "tell")

    started = [(event.caller, event.agent) for event in events if isinstance(event, StepStarted)]
    assert [agent for _, agent in started] == ["editor", "writer", "llm"]
    assert started[1:] == [("editor", "writer"), ("writer", "llm")]
    text = "".join(event.text for event in events if isinstance(event, TokensArrived))
    assert text == "once upon a time"
    last = events[-1]
    assert isinstance(last, StepFinished)
    assert (last.step, last.agent, last.status) == ("", "editor", "done")
    assert last.usage.model_calls == 1


async def test_a_failed_step_is_seen_with_its_error(running: Running) -> None:
    async def breaks(message: Message) -> str:
        raise ValueError("no such luck")

    async with running(Agent("breaks", breaks, retry={"max_attempts": 1})) as system:
        last = (await seen(system, "breaks", "x"))[-1]
        with pytest.raises(RemoteError):
            await system.call("breaks", "x")

    assert isinstance(last, StepFinished)
    assert last.status == "error"
    assert last.error is not None
    assert "no such luck" in last.error.message


# -- without a broker ----------------------------------------------------------------------------


def call(step: str, agent: str = "a") -> BusMessage:
    frame = Envelope(id=new_id(), kind="call", source="x", target=agent, run="r", step=step)
    return BusMessage(f"aixgo.n.call.{agent}.r.root", encode(frame))


def result(step: str) -> BusMessage:
    frame = Envelope(id=new_id(), kind="result", source="a", run="r", step=step, status="done")
    return BusMessage("aixgo.n.live.res.a.r.root", encode(frame))


def tokens(number: int, text: str) -> BusMessage:
    return BusMessage("aixgo.n.tok.a.r.root", msgspec.json.encode(TokenBatch(n=number, text=text)))


@pytest.mark.virtual_time
async def test_a_call_that_is_published_twice_is_one_step() -> None:
    events = RunEvents()
    for message in (call(""), call(""), result("")):
        events.on_call(message) if "call" in message.subject else events.on_result(message)

    assert len([event async for event in events]) == 2


@pytest.mark.virtual_time
async def test_text_that_begins_anew_after_a_crash_says_so() -> None:
    events = RunEvents()
    events.on_call(call(""))
    for number, text in ((0, "on"), (1, "ce"), (0, "once")):
        events.on_tokens(tokens(number, text))
    events.on_result(result(""))

    pieces = [event async for event in events if isinstance(event, TokensArrived)]
    assert [(piece.text, piece.again) for piece in pieces] == [
        ("on", False),
        ("ce", False),
        ("once", True),
    ]


@pytest.mark.virtual_time
async def test_text_that_begins_anew_after_a_broken_stream_says_so() -> None:
    events = RunEvents()
    for batch in (
        TokenBatch(n=0, text="on"),
        TokenBatch(n=1, text="once", again=True),
        TokenBatch(n=2, text="!"),
    ):
        events.on_tokens(BusMessage("aixgo.n.tok.a.r.root", msgspec.json.encode(batch)))
    events.on_result(result(""))

    pieces = [event async for event in events if isinstance(event, TokensArrived)]
    assert [(piece.text, piece.again) for piece in pieces] == [
        ("on", False),
        ("once", True),
        ("!", False),
    ]


@pytest.mark.virtual_time
async def test_a_reader_that_is_too_slow_misses_tokens_but_never_the_end() -> None:
    events = RunEvents()
    for number in range(PENDING_EVENTS + 5):
        events.on_tokens(tokens(number, "x"))
    events.on_result(result(""))

    found = [event async for event in events]
    assert len(found) == PENDING_EVENTS
    assert isinstance(found[-1], StepFinished)
    assert events.dropped == 6


@pytest.mark.virtual_time
async def test_what_is_no_message_of_ours_is_passed_over() -> None:
    events = RunEvents()
    for data in (b"", b"{}", b"[1", b"\xff"):
        message = BusMessage("aixgo.n.tok.a.r.root", data)
        events.on_call(message)
        events.on_result(message)
        events.on_tokens(message)
    events.on_result(result(""))

    assert len([event async for event in events]) == 1


def test_an_app_is_read_from_a_file(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "agents.yaml"
    file.write_text("version: 2\nname: shop\nnamespace: eu\nagents: [{name: a, role: logger}]\n")
    app = App.from_file(file)

    assert (app.name, app.names.namespace, list(app.agents)) == ("shop", "eu", ["a"])
