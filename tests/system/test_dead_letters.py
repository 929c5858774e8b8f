"""Dead letters: kept with their cause, edited, replayed without doing finished steps again."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from aixgo import Agent, Context, Message, System
from aixgo.errors import InvalidPayload, NoDeadLetter, RemoteError
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

MODEL = "scripted/any"


class Workshop:
    """A run with model steps around a tool that can be broken."""

    def __init__(self) -> None:
        self.broken = True
        self.executions: Counter[str] = Counter()

    async def tool(self, message: Message) -> str:
        self.executions[message.text] += 1
        if self.broken:
            raise InvalidPayload("the tool is broken")
        return f"fixed {message.text}"

    async def middle(self, message: Message, ctx: Context) -> str:
        plan = await ctx.model.chat(f"plan {message.text}")
        return f"{plan.text} {(await ctx.call('tool', message.text)).text}"

    async def top(self, message: Message, ctx: Context) -> str:
        before = await ctx.model.chat(f"begin {message.text}")
        middle = await ctx.call("middle", message.text)
        after = await ctx.model.chat(f"end {message.text}")
        return f"{before.text} | {middle.text} | {after.text}"

    def agents(self) -> list[Agent]:
        return [
            Agent("tool", self.tool),
            Agent("middle", self.middle, model=MODEL),
            Agent("top", self.top, model=MODEL),
        ]


def echo_model() -> ScriptedModel:
    return ScriptedModel([lambda request: request.messages[-1].text], repeat=True)


async def failed(system: System, text: str) -> str:
    run = await system.send("top", text)
    with pytest.raises(RemoteError, match="the tool is broken"):
        await system.result("top", run, timeout=PATIENCE_SECONDS)
    return run


async def test_a_failure_is_a_dead_letter_at_every_level_with_its_origin(
    running: Running,
) -> None:
    async with running(*Workshop().agents(), model=echo_model()) as system:
        run = await failed(system, "x")
        letters = await system.dead_letters.list(run=run)
        assert [one.letter.agent for one in letters] == ["tool", "middle", "top"]
        assert {one.letter.failure.agent for one in letters} == {"tool"}
        assert {one.letter.failure.code for one in letters} == {"invalid_payload"}
        usage = [one.letter.usage for one in letters]
        assert [u.model_calls if u is not None else 0 for u in usage] == [0, 1, 2]
        assert len(await system.dead_letters.list(agent="tool")) == 1


@pytest.mark.long(only=("nats",))
async def test_a_hundred_failed_runs_go_on_after_the_tool_is_mended(running: Running) -> None:
    workshop, model = Workshop(), echo_model()
    async with running(*workshop.agents(), model=model) as system:
        runs = await asyncio.gather(*(failed(system, f"job {n}") for n in range(100)))
        assert model.calls == 200
        workshop.broken = False
        outermost = [one for one in await system.dead_letters.list() if one.letter.agent == "top"]
        assert len(outermost) == 100
        replayed = [await system.replay(one.number) for one in outermost]
        assert {run for _, run in replayed} == set(runs)
        for number, run in enumerate(runs):
            result = await system.result("top", run, timeout=PATIENCE_SECONDS)
            assert result is not None
            assert result.text == (
                f"begin job {number} | plan job {number} fixed job {number} | end job {number}"
            )
        assert model.calls == 300  # only the step after the failure was left to pay
        assert set(workshop.executions.values()) == {2}
        assert await system.dead_letters.list() == []


async def test_replaying_any_letter_of_a_run_replays_the_run(running: Running) -> None:
    workshop = Workshop()
    async with running(*workshop.agents(), model=echo_model()) as system:
        run = await failed(system, "x")
        workshop.broken = False
        (leaf,) = await system.dead_letters.list(agent="tool")
        assert await system.replay(leaf.number) == ("top", run)
        result = await system.result("top", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert "fixed x" in result.text


async def test_what_fails_again_is_a_new_dead_letter(running: Running) -> None:
    async with running(*Workshop().agents(), model=echo_model()) as system:
        run = await failed(system, "x")
        (first, *_) = await system.dead_letters.list()
        await system.replay(first.number)
        with pytest.raises(RemoteError, match="the tool is broken"):
            await system.result("top", run, timeout=PATIENCE_SECONDS)

        async def again() -> bool:
            return len(await system.dead_letters.list(run=run)) == 3

        await eventually(again)


async def test_an_edited_inner_letter_reaches_its_agent_as_edited(running: Running) -> None:
    async def picky(message: Message) -> str:
        if message.data == "bad":
            raise InvalidPayload("I do not like bad")
        return f"ate {message.text}"

    async def top(message: Message, ctx: Context) -> str:
        return (await ctx.call("picky", "bad")).text

    async with running(Agent("picky", picky), Agent("top", top)) as system:
        run = await system.send("top")
        with pytest.raises(RemoteError, match="do not like"):
            await system.result("top", run, timeout=PATIENCE_SECONDS)
        (leaf,) = await system.dead_letters.list(agent="picky")
        number = await system.dead_letters.edit(leaf.number, b'"good"')
        assert (await system.dead_letters.get(number)).edited
        await system.replay(number)
        result = await system.result("top", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "ate good"


async def test_nonsense_is_refused_with_its_reason(running: Running) -> None:
    async with running(*Workshop().agents(), model=echo_model()) as system:
        await failed(system, "x")
        (first, *_) = await system.dead_letters.list()
        with pytest.raises(InvalidPayload, match="no JSON"):
            await system.dead_letters.edit(first.number, b"{")
        for number in (0, 999):
            with pytest.raises(NoDeadLetter, match=f"dead letter {number}"):
                await system.replay(number)
        await system.dead_letters.remove(first.number)
        assert len(await system.dead_letters.list()) == 2
        assert await system.dead_letters.purge() == 2
        assert await system.dead_letters.list() == []
