"""Handlers that change while runs go on: version markers, and what stops a run for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aixgo import Agent, App, Context, Message, System
from aixgo.calls.events import publish_event
from aixgo.calls.results import result_of
from aixgo.envelope import Envelope, new_id
from aixgo.errors import (
    ConfigError,
    Disconnected,
    InvalidPayload,
    ModelTimeout,
    RemoteError,
)
from aixgo.models.scripted import ScriptedModel
from aixgo.payloads import to_payload
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

Handler = Callable[[Message, Context], Any]
QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}


class Leaf:
    """An agent that is called; it says what with, and can be made to wait or to fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.held: set[str] = set()
        self.broken: set[str] = set()
        self.go = asyncio.Event()

    async def __call__(self, message: Message) -> str:
        self.calls.append(message.text)
        if message.text in self.held:
            await self.go.wait()
        if message.text in self.broken:
            raise InvalidPayload("no good")
        return message.text


class Old:
    """The handler as it was: two steps, and it stops before the step of a number (from 1)."""

    def __init__(self, stops_before: int) -> None:
        self.stops_before, self.waits = stops_before, asyncio.Event()

    async def __call__(self, message: Message, ctx: Context) -> str:
        taken = []
        for number, text in enumerate(["first", "second", "end"], start=1):
            if number == self.stops_before:
                self.waits.set()
                await asyncio.Event().wait()
            if text != "end":
                taken.append((await ctx.call("leaf", text)).text)
        return " ".join(taken)


def changed(newest: int = 2) -> Handler:
    """Return the handler with a marker before its second step."""

    async def flow(message: Message, ctx: Context) -> str:
        first = (await ctx.call("leaf", "first")).text
        version = await ctx.version("better-second", newest)
        text = "second" if version == 1 else f"better {version}"
        second = (await ctx.call("leaf", text)).text
        return f"{version}: {first} {second}"

    return flow


@asynccontextmanager
async def deployed(system: System, handler: Handler) -> AsyncGenerator[System, None]:
    """Serve `flow` with another handler instead: what runs is handed over, as at SIGTERM."""
    await system.services["flow"].stop(0.0)
    agent = Agent("flow", handler, retry=QUICK)
    app = App([agent], namespace=system.names.namespace, ack_wait=system.app.ack_wait)
    async with app.running(broker=system.broker, provision=False, grace=0.0) as again:
        yield again


async def text_of(system: System, run: str) -> str:
    result = await system.result("flow", run, timeout=PATIENCE_SECONDS)
    assert result is not None
    return result.text


# -- version markers ---------------------------------------------------------------------------


async def test_a_run_that_passed_the_place_goes_on_in_the_old_way_for_ever(
    running: Running,
) -> None:
    leaf, old = Leaf(), Old(stops_before=3)
    async with running(Agent("leaf", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        await old.waits.wait()
        reached = asyncio.Event()

        async def halfway(message: Message, ctx: Context) -> str:
            await changed()(message, ctx)
            reached.set()
            await asyncio.Event().wait()
            return "never"

        async with deployed(system, halfway) as second:
            await reached.wait()
            async with deployed(second, changed(3)):
                assert await text_of(system, run) == "1: first second"
        assert leaf.calls == ["first", "second"]
        results = await system.space.results.of_run(run)
        assert sorted(result.step for result in results.values()) == [
            "",
            "leaf/1",
            "leaf/2",
            "version/better-second",
        ]


async def test_a_new_run_gets_the_newest_version_and_keeps_it(running: Running) -> None:
    leaf, reached = Leaf(), asyncio.Event()

    async def first_then_stop(message: Message, ctx: Context) -> str:
        await changed()(message, ctx)
        reached.set()
        await asyncio.Event().wait()
        return "never"

    async with running(Agent("leaf", leaf), Agent("flow", first_then_stop)) as system:
        run = await system.send("flow", timeout=60)
        await reached.wait()
        async with deployed(system, changed(3)):
            assert await text_of(system, run) == "2: first better 2"
            assert (await system.call("flow", timeout=PATIENCE_SECONDS)).text == "3: first better 3"
        assert leaf.calls == ["first", "better 2", "first", "better 3"]


async def test_a_run_that_stopped_before_the_place_goes_the_new_way(running: Running) -> None:
    leaf, old = Leaf(), Old(stops_before=2)
    async with running(Agent("leaf", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        await old.waits.wait()
        async with deployed(system, changed()):
            assert await text_of(system, run) == "2: first better 2"
        assert leaf.calls == ["first", "better 2"]


async def test_a_step_that_had_only_begun_counts_too(running: Running) -> None:
    leaf, old = Leaf(), Old(stops_before=0)
    leaf.held.add("second")
    async with running(Agent("leaf", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        await eventually(lambda: leaf.calls == ["first", "second"])
        async with deployed(system, changed()):

            async def decided() -> bool:
                steps = await system.space.results.of_run(run)
                return any(step.step.startswith("version/") for step in steps.values())

            await eventually(decided)
            leaf.go.set()
            assert await text_of(system, run) == "1: first second"
        assert leaf.calls == ["first", "second"]


async def test_a_parked_run_goes_on_in_the_way_in_which_it_parked(running: Running) -> None:
    async def asks(message: Message, ctx: Context) -> str:
        return str(await ctx.ask_human("old?"))

    async def asks_better(message: Message, ctx: Context) -> str:
        version = await ctx.version("question")
        return f"{version}: {await ctx.ask_human('old?' if version == 1 else 'new?')}"

    async with running(Agent("flow", asks)) as system:
        run = await system.send("flow", timeout=1000)
        await eventually(lambda: system.questions(run))
        async with deployed(system, asks_better):
            await system.answer(run, "yes")
            assert await text_of(system, run) == "1: yes"
            run = await system.send("flow", timeout=1000)
            (question,) = await eventually(lambda: system.questions(run))
            assert question.question == "new?"
            await system.answer(run, "yes")
            assert await text_of(system, run) == "2: yes"


async def test_each_branch_of_a_gather_goes_its_own_way(running: Running) -> None:
    leaf, waits = Leaf(), asyncio.Event()

    async def before(message: Message, ctx: Context) -> None:
        async def branch(number: int) -> None:
            await ctx.call("leaf", f"{number}a")
            if number == 1:
                waits.set()
                await asyncio.Event().wait()
            await ctx.call("leaf", f"{number}b")

        await ctx.gather(branch(0), branch(1))

    async def after(message: Message, ctx: Context) -> list[str]:
        async def branch(number: int) -> str:
            await ctx.call("leaf", f"{number}a")
            version = await ctx.version("letter")
            letter = "b" if version == 1 else "B"
            return (await ctx.call("leaf", f"{number}{letter}")).text

        return await ctx.gather(branch(0), branch(1))

    async with running(Agent("leaf", leaf), Agent("flow", before)) as system:
        run = await system.send("flow", timeout=60)
        await waits.wait()
        await eventually(lambda: "0b" in leaf.calls)

        async def recorded() -> bool:
            return len(await system.space.results.of_run(run)) == 3

        await eventually(recorded)
        async with deployed(system, after):
            result = await system.result("flow", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.data == ["0b", "1B"]
        assert sorted(leaf.calls) == ["0a", "0b", "1B", "1a"]


async def test_a_marker_may_be_passed_again_and_numbers_no_other_step(running: Running) -> None:
    async def loop(message: Message, ctx: Context) -> list[Any]:
        found: list[Any] = []
        for _ in range(2):
            found += await asyncio.gather(*(ctx.version("loop") for _ in range(2)))
            found.append(await ctx.record(len(found)))
        if ctx.attempt == 1:
            raise ModelTimeout("again")
        return found

    async with running(Agent("flow", loop, retry=QUICK)) as system:
        run = await system.send("flow", timeout=PATIENCE_SECONDS)
        result = await system.result("flow", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.data == [2, 2, 2, 2, 2, 5]
        steps = await system.space.results.of_run(run)
        assert sorted(step.step for step in steps.values()) == [
            "",
            "record/1",
            "record/2",
            "version/loop",
        ]


async def test_a_marker_that_was_taken_away_is_no_sign_of_a_later_one(running: Running) -> None:
    reached = asyncio.Event()

    async def with_a(message: Message, ctx: Context) -> str:
        await ctx.version("a")
        reached.set()
        await asyncio.Event().wait()
        return "never"

    async def with_b(message: Message, ctx: Context) -> str:
        return str(await ctx.version("b"))

    async with running(Agent("flow", with_a)) as system:
        run = await system.send("flow", timeout=60)
        await reached.wait()
        async with deployed(system, with_b):
            assert await text_of(system, run) == "2"


async def test_a_crash_right_before_the_marker_is_recorded_changes_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf, decide, crashes = Leaf(), Context.decide, 1

    async def crash(ctx: Context, path: str, decision: Any) -> Any:
        nonlocal crashes
        if crashes and path.startswith("version/"):
            crashes -= 1
            raise Disconnected("the broker is away")
        return await decide(ctx, path, decision)

    monkeypatch.setattr(Context, "decide", crash)
    async with running(Agent("leaf", leaf), Agent("flow", changed(), retry=QUICK)) as system:
        assert (await system.call("flow", timeout=PATIENCE_SECONDS)).text == "2: first better 2"
        assert leaf.calls == ["first", "better 2"]


async def test_a_broker_that_forgot_the_earlier_execution_is_not_believed(
    running: Running,
) -> None:
    leaf = Leaf()
    async with running(Agent("leaf", leaf), Agent("flow", changed())) as system:
        run = new_id()
        frame = Envelope(id=new_id(), kind="call", source="flow", run=run, step="leaf/2", depth=1)
        done = result_of(frame, "leaf", "done", payload=to_payload("second"))
        await system.space.results.settle("leaf", done)
        assert (
            await system.call("flow", run_id=run, timeout=PATIENCE_SECONDS)
        ).text == "1: first second"
        assert leaf.calls == ["first"]


async def test_a_replayed_dead_letter_takes_the_new_way_past_what_failed(
    running: Running,
) -> None:
    leaf, old = Leaf(), Old(stops_before=0)
    leaf.broken.add("second")
    async with running(Agent("leaf", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        with pytest.raises(RemoteError, match="no good"):
            await system.result("flow", run, timeout=PATIENCE_SECONDS)
        (*_, last) = await system.dead_letters.list(run=run)
        async with deployed(system, changed()):
            await system.replay(last.number)
            assert await text_of(system, run) == "2: first better 2"
        assert leaf.calls == ["first", "second", "better 2"]


async def test_a_replay_goes_the_old_way_when_something_was_finished_below_what_failed(
    running: Running,
) -> None:
    leaf = Leaf()
    leaf.broken.add("second")

    async def middle(message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "below")
        return (await ctx.call("leaf", message.text)).text

    async def old(message: Message, ctx: Context) -> str:
        return (await ctx.call("middle", "second")).text

    async def new(message: Message, ctx: Context) -> str:
        version = await ctx.version("better-second")
        text = "second" if version == 1 else "better"
        return f"{version}: {(await ctx.call('middle', text)).text}"

    agents = Agent("leaf", leaf), Agent("middle", middle), Agent("flow", old)
    async with running(*agents) as system:
        run = await system.send("flow", timeout=60)
        with pytest.raises(RemoteError, match="no good"):
            await system.result("flow", run, timeout=PATIENCE_SECONDS)
        leaf.broken.clear()
        (*_, last) = await system.dead_letters.list(run=run)
        async with deployed(system, new):
            await system.replay(last.number)
            assert await text_of(system, run) == "1: second"
        assert leaf.calls == ["below", "second", "second"]


async def test_what_handled_an_event_of_a_handler_is_no_step_of_it(running: Running) -> None:
    async def watch(message: Message, ctx: Context) -> str:
        version = await ctx.version("watch")
        await ctx.call("leaf", str(version))
        return str(version)

    leaf = Leaf()
    agents = Agent("leaf", leaf), Agent("watch", watch, inputs=["flow"]), Agent("flow", Leaf())
    async with running(*agents) as system:
        run = new_id()
        event = Envelope(id=new_id(), kind="event", source="flow", run=run)
        step = f"watch/{event.id[-12:]}"
        # as if its own event, published before a crash, had been handled already
        frame = Envelope(id=new_id(), kind="call", source="x", run=run, step=f"{step}/other/1")
        await system.space.results.settle("other", result_of(frame, "other", "done"))
        await publish_event(system.space, "flow", event, msg_id=event.id)
        await eventually(lambda: leaf.calls == ["2"])


@pytest.mark.parametrize(("step", "text"), [("leaf/2", "2: first better 2"), ("end/1", "1: end")])
async def test_a_fork_goes_the_way_of_what_it_takes_over(
    running: Running, step: str, text: str
) -> None:
    async def old(message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "first")
        await ctx.call("leaf", "second")
        return (await ctx.call("end", "end")).text

    async def new(message: Message, ctx: Context) -> str:
        first = (await ctx.call("leaf", "first")).text
        if await ctx.version("better-second") > 1:
            return f"2: {first} {(await ctx.call('leaf', 'better 2')).text}"
        await ctx.call("leaf", "second")
        return f"1: {(await ctx.call('end', 'end')).text}"

    leaf = Leaf()
    async with running(Agent("leaf", leaf), Agent("end", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", "go", timeout=60)
        assert await text_of(system, run) == "end"
        async with deployed(system, new):
            _, fork = await system.runs.fork(run, step=step, data="go")
            assert await text_of(system, fork) == text


async def test_a_version_that_the_code_does_not_know_stops_the_run(running: Running) -> None:
    leaf, reached = Leaf(), asyncio.Event()

    async def third(message: Message, ctx: Context) -> str:
        await changed(3)(message, ctx)
        reached.set()
        await asyncio.Event().wait()
        return "never"

    async with running(Agent("leaf", leaf), Agent("flow", third)) as system:
        run = await system.send("flow", timeout=60)
        await reached.wait()
        async with deployed(system, changed(2)):
            with pytest.raises(
                RemoteError, match=r"version 3 of .*better-second.* is recorded"
            ) as told:
                await text_of(system, run)
            assert told.value.cause == "replay_mismatch"


@pytest.mark.parametrize(
    ("change", "newest", "text"),
    [("a", 1, "give 2 or more"), ("a b", 2, "'a b' is not allowed"), ("taken", 2, "used twice")],
)
async def test_a_marker_that_cannot_be_is_refused(
    running: Running, change: str, newest: int, text: str
) -> None:
    async def flow(message: Message, ctx: Context) -> int:
        await ctx.call("version", key="taken")
        return await ctx.version(change, newest)

    async with running(Agent("version", Leaf()), Agent("flow", flow)) as system:
        with pytest.raises(RemoteError, match=text) as told:
            await system.call("flow", "x", timeout=PATIENCE_SECONDS)
        assert told.value.cause == ConfigError.code


# -- mismatches --------------------------------------------------------------------------------


async def mismatch_of(system: System, run: str, handler: Handler) -> str:
    """Return why the run stops with another handler."""
    async with deployed(system, handler):
        with pytest.raises(RemoteError) as told:
            await system.result("flow", run, timeout=PATIENCE_SECONDS)
    assert told.value.cause == "replay_mismatch"
    return str(told.value)


async def test_a_mismatch_says_what_was_recorded_what_is_asked_and_the_ways_out(
    running: Running,
) -> None:
    leaf, old = Leaf(), Old(stops_before=3)

    async def other(message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "first")
        return (await ctx.call("leaf", {"text": "x" * 300})).text

    async with running(Agent("leaf", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        await old.waits.wait()
        text = await mismatch_of(system, run, other)
        letters = await system.dead_letters.list(run=run)
    assert f"step 'leaf/2' of run {run}: another request to agent 'leaf'" in text
    assert 'done 0 s ago with "second"' in text
    assert "agent 'flow' now asks agent 'leaf' for {\"text\":\"xxx" in text
    assert "x" * 191 + "… (digest" in text
    assert "x" * 192 not in text
    assert "Finish the run on the version that began it" in text
    assert f"`aixgo runs fork {run} --from leaf/2`" in text
    assert "`ctx.version`" in text
    assert [one.letter.failure.code for one in letters] == ["replay_mismatch"]
    assert leaf.calls == ["first", "second"]


@pytest.mark.parametrize("way", ["the old version", "a marker"])
async def test_a_run_that_was_stopped_can_be_finished(running: Running, way: str) -> None:
    leaf, old = Leaf(), Old(stops_before=3)

    async def other(message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "first")
        return (await ctx.call("leaf", "better")).text

    async with running(Agent("leaf", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        await old.waits.wait()
        await mismatch_of(system, run, other)
        (letter,) = await system.dead_letters.list(run=run)
        mended = Old(stops_before=0) if way == "the old version" else changed()
        async with deployed(system, mended):
            await system.replay(letter.number)
            assert (await text_of(system, run)).endswith("first second")
    assert leaf.calls == ["first", "second"]


async def test_a_mismatch_tells_that_the_order_changed(running: Running) -> None:
    leaf, old = Leaf(), Old(stops_before=3)

    async def swapped(message: Message, ctx: Context) -> str:
        await ctx.call("leaf", "second")
        return (await ctx.call("leaf", "first")).text

    async with running(Agent("leaf", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        await old.waits.wait()
        text = await mismatch_of(system, run, swapped)
    assert "step 'leaf/1'" in text
    assert "which is recorded as step 'leaf/2': the order changed" in text


async def test_a_changed_prompt_is_told_in_its_own_words(running: Running) -> None:
    reached = asyncio.Event()

    def asking(prompt: str) -> Handler:
        async def flow(message: Message, ctx: Context) -> str:
            answer = await ctx.model.chat(prompt, model="scripted/one")
            reached.set()
            await asyncio.Event().wait()
            return answer.text

        return flow

    model = ScriptedModel(["blue"])
    async with running(Agent("flow", asking("which colour?")), model=model) as system:
        run = await system.send("flow", timeout=60)
        await reached.wait()
        text = await mismatch_of(system, run, asking("which shape?"))
    assert "step 'model/1'" in text
    assert "which shape?" in text
    assert "blue" in text


async def test_a_gather_that_lost_the_branch_that_counted_is_told(running: Running) -> None:
    reached = asyncio.Event()

    async def three(message: Message, ctx: Context) -> Any:
        async def branch(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return seconds

        await ctx.gather(branch(60), branch(60), branch(0), need=1)
        reached.set()
        await asyncio.Event().wait()

    async def two(message: Message, ctx: Context) -> Any:
        async def branch(seconds: float) -> float:
            return seconds

        return await ctx.gather(branch(0), branch(0), need=1)

    async with running(Agent("flow", three)) as system:
        run = await system.send("flow", timeout=60)
        await reached.wait()
        text = await mismatch_of(system, run, two)
    assert "step 'gather/1'" in text
    assert "branch 2 counted" in text
    assert "a gather of 2 branches" in text


async def test_a_recorded_step_that_is_not_asked_for_any_more_stops_the_run(
    running: Running,
) -> None:
    leaf, old = Leaf(), Old(stops_before=3)

    async def shorter(message: Message, ctx: Context) -> str:
        return (await ctx.call("leaf", "first")).text

    async with running(Agent("leaf", leaf), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        await old.waits.wait()
        text = await mismatch_of(system, run, shorter)
    assert "step 'leaf/2'" in text
    assert '"second"' in text
    assert "asks nothing for it" in text


async def test_another_agent_in_the_place_of_a_recorded_one_stops_the_run(
    running: Running,
) -> None:
    leaf, other, old = Leaf(), Leaf(), Old(stops_before=2)

    async def elsewhere(message: Message, ctx: Context) -> str:
        return (await ctx.call("other", "first")).text

    async with running(Agent("leaf", leaf), Agent("other", other), Agent("flow", old)) as system:
        run = await system.send("flow", timeout=60)
        await old.waits.wait()
        text = await mismatch_of(system, run, elsewhere)
    assert "step 'leaf/1'" in text


async def test_losers_of_a_gather_and_markers_need_not_be_taken_again(running: Running) -> None:
    leaf = Leaf()

    async def flow(message: Message, ctx: Context) -> str:
        version = await ctx.version("a") if ctx.attempt == 1 else 2
        won = await ctx.gather(*(ctx.call("leaf", str(n)) for n in range(3)), need=1)
        if ctx.attempt == 1:
            await asyncio.sleep(0.2)  # the losers' results may come in
            raise ModelTimeout("again")
        return f"{version} {len(won)}"

    async with running(Agent("leaf", leaf), Agent("flow", flow, retry=QUICK)) as system:
        assert (await system.call("flow", timeout=PATIENCE_SECONDS)).text == "2 1"
