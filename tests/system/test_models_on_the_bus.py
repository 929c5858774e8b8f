"""Model calls of agents: durable steps that go through the gateway."""

from __future__ import annotations

import pytest

from aixgo import Agent, Context, Message
from aixgo.errors import ModelTimeout, RemoteError, UnsupportedByModel
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import Running

MODEL = "scripted/any"


async def test_an_agents_model_call_uses_what_it_declares(running: Running) -> None:
    model = ScriptedModel(["Rome"])

    async def ask(message: Message, ctx: Context) -> str:
        return (await ctx.model.chat(message.text)).text

    agent = Agent("ask", ask, model=MODEL, prompt="Be short.", temperature=0, max_tokens=9)
    async with running(agent, model=model) as system:
        result = await system.call("ask", "capital of Italy?")
        assert result.text == "Rome"
        assert result.usage.model_calls == 1
        assert result.usage.total_tokens > 0
    (request,) = model.requests
    assert [(m.role, m.text) for m in request.messages] == [
        ("system", "Be short."),
        ("user", "capital of Italy?"),
    ]
    assert (request.model, request.temperature, request.max_tokens) == (MODEL, 0, 9)


async def test_streamed_pieces_join_to_the_answer(running: Running) -> None:
    model = ScriptedModel(["one two three four"])

    async def ask(message: Message, ctx: Context) -> list[str]:
        pieces = []
        async with ctx.model.stream("count") as chunks:
            async for chunk in chunks:
                pieces.append(chunk.text)
                if chunk.response is not None:
                    pieces.append(f"={chunk.response.text}")
        return ["".join(pieces[:-1]), pieces[-1]]

    async with running(Agent("ask", ask, model=MODEL), model=model) as system:
        assert (await system.call("ask")).data == ["one two three four", "=one two three four"]


async def test_a_finished_model_call_is_not_paid_again(running: Running) -> None:
    model = ScriptedModel(["first", "second", "never"])

    async def ask(message: Message, ctx: Context) -> list[str]:
        one = await ctx.model.chat("1")
        two = await ctx.model.chat("2", key="two")
        if ctx.attempt == 1:
            raise ModelTimeout("after both")
        return [one.text, two.text]

    retry = {"initial_backoff": 0.05, "max_backoff": 0.1}
    async with running(Agent("ask", ask, model=MODEL, retry=retry), model=model) as system:
        result = await system.call("ask")
        assert result.data == ["first", "second"]
        assert result.usage.model_calls == 2
    assert model.calls == 2


async def test_a_models_error_keeps_its_kind(running: Running) -> None:
    model = ScriptedModel([UnsupportedByModel("no pictures")])
    caught: list[str] = []

    async def ask(message: Message, ctx: Context) -> str:
        try:
            return (await ctx.model.chat("x")).text
        except UnsupportedByModel as error:
            caught.append(str(error))
            raise

    async with running(Agent("ask", ask, model=MODEL), model=model) as system:
        with pytest.raises(RemoteError, match="no pictures") as error:
            await system.call("ask")
        assert error.value.cause == "unsupported_by_model"
    assert len(caught) == 1


async def test_usage_of_nested_agents_sums_up(running: Running) -> None:
    model = ScriptedModel(["a b", "c d", "e f", "g h"])

    async def leaf(message: Message, ctx: Context) -> str:
        return (await ctx.model.chat("x")).text

    async def top(message: Message, ctx: Context) -> str:
        await ctx.call("leaf")
        await ctx.call("leaf")
        return (await ctx.model.chat("y")).text

    agents = Agent("leaf", leaf, model=MODEL), Agent("top", top, model=MODEL)
    async with running(*agents, model=model) as system:
        whole = (await system.call("top")).usage
        part = (await system.call("leaf")).usage
        assert (whole.model_calls, part.model_calls) == (3, 1)
        assert whole.prompt_tokens == 3 * part.prompt_tokens
        assert whole.completion_tokens == 3 * part.completion_tokens > 0


async def test_a_runs_token_limit_is_enforced(running: Running) -> None:
    model = ScriptedModel(["many words " * 50, "never"])

    async def ask(message: Message, ctx: Context) -> str:
        await ctx.model.chat("x")
        return (await ctx.model.chat("y")).text

    agent = Agent("ask", ask, model=MODEL, limits={"max_tokens": 20})
    async with running(agent, model=model) as system:
        with pytest.raises(RemoteError, match="max_tokens` of 20 tokens") as caught:
            await system.call("ask")
        assert caught.value.cause == "tokens_exceeded"
    assert model.calls == 1


async def test_a_model_that_nobody_names_is_a_clear_error(running: Running) -> None:
    async def ask(message: Message, ctx: Context) -> str:
        return (await ctx.model.chat("x")).text

    async with running(Agent("ask", ask), model=ScriptedModel(["x"])) as system:
        with pytest.raises(RemoteError, match=r"models\.default"):
            await system.call("ask")
