"""Hooks of a react agent: its model hears of refusals, and no token is shown too early."""

from __future__ import annotations

import asyncio

import pytest

from aixgo import Agent, tool
from aixgo.envelope import new_id
from aixgo.hooks import Hooked, Outcome, Refuse
from aixgo.models import ToolCall
from aixgo.models.scripted import ScriptedModel
from aixgo.runs.watch import TokensArrived
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.virtual_time
MODEL = "test/scripted"


@tool(effect="once")
async def refund(order: str, cents: int) -> str:
    """Pay back."""
    return f"paid {cents} for {order}"


def no(event: Hooked) -> Outcome:
    return Refuse("not on Sundays")


async def test_a_model_is_told_of_a_refused_tool(running: Running) -> None:
    call = ToolCall(id="1", name="refund", arguments='{"order": "A1", "cents": 5}')
    model = ScriptedModel([call, "Sorry, not today."])
    agent = Agent("a", role="react", model=MODEL, tools=[refund], hooks={"before_tool": [no]})
    async with running(agent, model=model) as system:
        assert (await system.call("a", "refund me")).text == "Sorry, not today."
    assert model.requests[1].messages[-1].text == "Error: refused: not on Sundays"


async def test_tokens_are_held_back_while_an_answer_may_still_change(running: Running) -> None:
    def plain(event: Hooked) -> Outcome:
        return None

    held = {"after_model": [plain]}, {"after_agent": [plain]}
    for hooks, streamed in (({}, True), *((one, False) for one in held)):
        agent = Agent("a", role="react", model=MODEL, hooks=hooks)
        async with running(agent, model=ScriptedModel(["one two three"])) as system:
            run = new_id()
            async with asyncio.timeout(PATIENCE_SECONDS), system.watch(run) as watched:
                call = asyncio.create_task(system.call("a", "hello", run_id=run))
                events = [one async for one in watched]
                assert (await call).text == "one two three"
        assert any(isinstance(one, TokensArrived) for one in events) is streamed
