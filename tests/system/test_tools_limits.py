"""What holds for every tool: its cache, how many are executed at once, how long a value may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aixgo import Agent, Context, Message, tool
from aixgo.errors import ToolFailed
from aixgo.steps.tools import Reservation, ToolStep
from aixgo.steps.tools.journal import ToolJournal
from aixgo.testing.local import Running
from aixgo.testing.waiting import eventually


async def test_a_value_is_given_again_to_the_same_caller_only(running: Running) -> None:
    asked: list[str] = []

    @tool(effect="read", cache="1h")
    async def look(word: str) -> str:
        asked.append(word)
        if word == "bad":
            raise ValueError(word)
        return word * len(asked)

    async def flow(message: Message, ctx: Context) -> Any:
        try:
            return await ctx.tool(look, {"word": message.text})
        except ToolFailed as error:
            return error.cause

    agents = [Agent(name, flow, tools=[look]) for name in ("one", "other")]
    async with running(*agents) as system:

        async def ask(agent: str, word: str, **meta: str) -> Any:
            return await system.call(agent, word, meta=meta)

        first = await ask("one", "a", session="u1")
        assert first.data == "a"
        again = await ask("one", "a", session="u1")
        assert again.data == "a"
        assert asked == ["a"]
        (step,) = (await system.runs.tree(again.envelope.run)).steps[0].steps
        assert (step.value, step.attempts) == ("a", 0)
        assert (await ask("one", "a", session="u2")).data == "aa"
        assert (await ask("one", "a", user="u1")).data == "aaa"
        assert (await ask("other", "a", session="u1")).data == "aaaa"
        assert (await ask("one", "b", session="u1")).data == "bbbbb"
        assert (await ask("one", "bad")).data == (await ask("one", "bad")).data == "ValueError"
        assert asked[5:] == ["bad", "bad"]


@pytest.mark.parametrize("effect", ["read", "once"])
async def test_no_more_are_executed_at_once_than_the_limit(
    running: Running, effect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, most, waiting, reserved, ended = 0, 0, 0, 0, 0
    go = asyncio.Event()
    place, reserve = ToolStep.place, ToolJournal.reserve

    def counted_place(step: ToolStep) -> Any:
        nonlocal waiting
        waiting += 1
        return place(step)

    async def counted_reserve(journal: ToolJournal, wanted: Reservation) -> Reservation:
        nonlocal reserved
        reserved += 1
        # the time of a reservation passes, so none is made before there is a place
        assert reserved - ended <= 2
        return await reserve(journal, wanted)

    monkeypatch.setattr(ToolStep, "place", counted_place)
    monkeypatch.setattr(ToolJournal, "reserve", counted_reserve)

    @tool(effect=effect, concurrency=2, timeout="30s")
    async def work(number: int) -> int:
        nonlocal inside, most, ended
        inside += 1
        most = max(most, inside)
        await go.wait()
        inside -= 1
        ended += 1
        return number

    async def flow(message: Message, ctx: Context) -> Any:
        steps = [ctx.tool(work, {"number": number}) for number in range(3)]
        return await ctx.gather(*steps)

    # one limit, whichever agents have the tool
    async with running(*(Agent(name, flow, tools=[work]) for name in ("a", "b"))) as system:
        calls = [asyncio.ensure_future(system.call(name)) for name in ("a", "b")]
        await eventually(lambda: (inside, waiting), lambda now: now == (2, 6))
        go.set()
        assert [answer.data for answer in await asyncio.gather(*calls)] == [[0, 1, 2]] * 2
        assert most == 2


@pytest.mark.parametrize("effect", ["read", "once"])
async def test_a_value_that_is_too_long_is_cut_and_says_so(running: Running, effect: Any) -> None:
    @tool(effect=effect, max_result=2_048)
    async def numbers(upto: int) -> list[int]:
        return list(range(upto))

    async def flow(message: Message, ctx: Context) -> Any:
        whole = await ctx.tool(numbers, {"upto": 3})
        cut: Any = await ctx.tool(numbers, {"upto": 1_000})
        return [whole, cut]

    async with running(Agent("a", flow, tools=[numbers])) as system:
        whole, cut = (await system.call("a")).data
        assert whole == [0, 1, 2]
        assert cut.startswith("[0,1,2,3,")
        assert "[cut here: the result has 3,891 bytes and the limit is 2,048 bytes" in cut
        assert "`max_result` of tool 'numbers'" in cut
