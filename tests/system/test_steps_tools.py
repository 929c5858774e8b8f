"""Tools that are made of steps, in runs: agents and chains."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aixgo import Agent, Context, Message, tool
from aixgo.errors import InvalidPayload, RemoteError, ToolFailed
from aixgo.testing.local import Running
from aixgo.tools import AgentTool, Chain, Link

QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1, "max_attempts": 2}


class Order(msgspec.Struct):
    number: int
    note: str = ""


async def orders(order: Order) -> dict[str, Any]:
    if order.number < 0:
        raise ValueError(f"order {order.number}")
    return {"price": order.number * 100, "note": order.note}


async def shout(text: str) -> str:
    return text.upper()


@tool(effect="read")
async def look_up(word: str) -> dict[str, Any]:
    """Look a word up."""
    return {"found": [word, word[::-1]], "word": word}


@tool(effect="read")
async def count(text: str) -> int:
    return len(text)


async def desk(message: Message, ctx: Context) -> Any:
    name, arguments = message.data
    return await ctx.tool(name, arguments, key="it")


async def test_an_agent_is_a_tool_with_the_parameters_that_it_takes(running: Running) -> None:
    agents = [
        Agent("orders", orders, description="Takes orders.", retry=QUICK),
        Agent("shout", shout),
        Agent("desk", desk, tools=[AgentTool("orders"), AgentTool("shout", name="loud")]),
    ]
    async with running(*agents) as system:
        told = await system.call("desk", ["orders", {"number": 3, "note": "soon"}])
        assert told.data == {"price": 300, "note": "soon"}
        assert (await system.call("desk", ["loud", {"text": "hi"}])).data == "HI"
        with pytest.raises(RemoteError, match='number: "3" is not of type') as refused:
            await system.call("desk", ["orders", {"number": "3"}])
        assert refused.value.cause == InvalidPayload.code
        with pytest.raises(RemoteError, match="order -1"):
            await system.call("desk", ["orders", {"number": -1}])


async def test_the_tree_of_a_run_has_the_call_below_its_tool(running: Running) -> None:
    agents = [
        Agent("shout", shout),
        Agent(
            "desk",
            desk,
            tools=[
                Chain("both", [Link(look_up), Link(AgentTool("shout"), {"text": "$.result.word"})])
            ],
        ),
    ]
    async with running(*agents) as system:
        answer = await system.call("desk", ["both", {"word": "owl"}])
        assert answer.data == "OWL"
        (run,) = (await system.runs.tree(answer.envelope.run)).steps
        assert [(step.path, step.kind, step.agent) for step in run.steps] == [
            ("tool/both/it/tool/look_up/1", "tool", "desk"),
            ("tool/both/it/tool/shout/2/shout/1", "call", "shout"),
        ]


async def test_each_tool_of_a_chain_feeds_the_next(running: Running) -> None:
    chain = Chain(
        "chain",
        [
            Link(look_up),
            Link(look_up, {"word": "$.result.found[1]"}),
            Link(count, {"text": "$.steps[0].word"}),
        ],
    )
    plain = Chain("plain", [Link(AgentTool("shout")), Link(look_up), Link(count)])
    lost = Chain("lost", [Link(look_up), Link(count, {"text": "$.result.nothing"})])

    @tool(effect="read")
    async def pair(left: str, right: str) -> str:
        return left + right

    odd = Chain("odd", [Link(look_up), Link(pair)])
    agents = [Agent("shout", shout), Agent("desk", desk, tools=[chain, plain, lost, odd])]
    async with running(*agents) as system:
        assert (await system.call("desk", ["chain", {"word": "owl"}])).data == 3
        # a text is the next one's only parameter, and an object is one too as JSON text
        assert (await system.call("desk", ["plain", {"text": "ow"}])).data == len(
            '{"found":["OW","WO"],"word":"OW"}'
        )
        with pytest.raises(RemoteError, match=r"nothing at \$\.result\.nothing") as failed:
            await system.call("desk", ["lost", {"word": "owl"}])
        assert failed.value.cause == ToolFailed.code
        with pytest.raises(RemoteError, match=r"step 2 \(pair\) takes left, right"):
            await system.call("desk", ["odd", {"word": "owl"}])
        with pytest.raises(RemoteError, match="'word'"):
            await system.call("desk", ["chain", {"wrod": "owl"}])


async def test_a_chain_goes_on_with_the_step_that_had_not_finished(running: Running) -> None:
    done: list[str] = []

    @tool(effect="read")
    async def first(word: str) -> str:
        done.append("first")
        return word + "1"

    @tool(effect="idempotent", retry=QUICK)
    async def second(word: str) -> str:
        done.append("second")
        return word + "2"

    failures = ["once"]

    async def flow(message: Message, ctx: Context) -> str:
        found: str = await ctx.tool("both", {"word": message.text})
        if failures:
            raise TimeoutError(failures.pop())
        return found

    chain = Chain("both", [Link(first), Link(second)])
    async with running(Agent("flow", flow, tools=[chain], retry=QUICK)) as system:
        assert (await system.call("flow", "a")).data == "a12"
        assert done == ["first", "second"]
