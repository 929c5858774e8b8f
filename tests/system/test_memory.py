"""`ctx.memory`: texts are found by what they mean, by their own user, and the same again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aixgo import Agent, Context, Message
from aixgo.envelope import Usage
from aixgo.errors import ModelTimeout, RemoteError
from aixgo.models.port import EmbedRequest, EmbedResponse
from aixgo.models.scripted import ScriptedModel
from aixgo.stores.vectors import Is
from aixgo.testing.local import Running

MODEL = "scripted/any"
ABOUT = {"tea": (1.0, 0.1), "coffee": (0.9, 0.4), "rain": (0.0, 1.0)}


class Embedder(ScriptedModel):
    """Embeds a text by the first word of it that is known."""

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        self.embed_requests.append(request)
        vectors = tuple(
            next(vector for word, vector in ABOUT.items() if word in text) for text in request.input
        )
        return EmbedResponse(model=request.model, vectors=vectors, usage=Usage(model_calls=1))


async def notes(message: Message, ctx: Context) -> Any:
    """Do what a message says with the memory."""
    verb, *rest = message.data
    if verb == "remember":
        return await ctx.memory.remember(*rest)
    if verb == "about":
        return await ctx.memory.remember(rest[0], meta={"about": rest[1]})
    if verb == "forget":
        return await ctx.memory.forget(rest[0])
    if verb == "forget about":
        return await ctx.memory.forget(Is("about", (rest[0],)))
    found = await ctx.memory.recall(rest[0], top_k=2, min_score=0.5)
    return [(one.text, round(one.score, 2)) for one in found]


def agent(**options: Any) -> Agent:
    return Agent("notes", notes, model=MODEL, **options)


async def test_texts_are_recalled_by_what_they_mean(running: Running) -> None:
    model = Embedder()
    async with running(agent(memory={"embedding_model": "a/vectors"}), model=model) as system:
        for text in ("Ada likes tea", "Ada hates rain", "Bob likes coffee"):
            await system.call("notes", ["remember", text])
        found = (await system.call("notes", ["recall", "hot tea?"])).data
        nothing = (await system.call("notes", ["recall", "hot tea?"], meta={"user": "eve"})).data
    assert found == [["Ada likes tea", 1.0], ["Bob likes coffee", 0.95]]
    assert nothing == []
    assert {one.model for one in model.embed_requests} == {"a/vectors"}


async def test_each_user_has_a_memory_of_their_own(running: Running) -> None:
    async with running(agent(), model=Embedder()) as system:
        await system.call("notes", ["remember", "Ada likes tea"], meta={"user": "ada"})
        for user, found in (("ada", 1), ("bob", 0)):
            recalled = await system.call("notes", ["recall", "tea"], meta={"user": user})
            assert len(recalled.data) == found


async def test_the_same_text_again_is_one_and_what_is_forgotten_is_gone(running: Running) -> None:
    async with running(agent(), model=Embedder()) as system:
        first = (await system.call("notes", ["remember", "tea at five"])).data
        assert (await system.call("notes", ["remember", "tea at five"])).data == first
        await system.call("notes", ["about", "coffee at six", "drinks"])
        assert len((await system.call("notes", ["recall", "tea"])).data) == 2
        assert (await system.call("notes", ["forget", [first]])).data == 1
        assert (await system.call("notes", ["forget about", "drinks"])).data == 1
        assert (await system.call("notes", ["recall", "tea"])).data == []


async def test_what_was_recalled_first_is_recalled_again(running: Running) -> None:
    model = Embedder()

    async def careful(message: Message, ctx: Context) -> list[str]:
        found = await ctx.memory.recall("tea")
        await ctx.memory.remember(f"tea number {ctx.attempt}", key="note")
        if ctx.attempt == 1:
            raise ModelTimeout("after both")
        return [one.text for one in found]

    retry = {"initial_backoff": 0.05, "max_backoff": 0.1}
    agent = Agent("notes", careful, model=MODEL, retry=retry)
    async with running(agent, model=model) as system:
        assert (await system.call("notes")).data == []
    assert len(model.embed_requests) == 2  # each embedded once


@pytest.mark.virtual_time
async def test_a_text_is_remembered_for_its_time(running: Running) -> None:
    async with running(agent(memory={"ttl": "10s"}), model=Embedder()) as system:
        await system.call("notes", ["remember", "tea"])
        await asyncio.sleep(5)
        assert len((await system.call("notes", ["recall", "tea"])).data) == 1
        await asyncio.sleep(6)
        assert (await system.call("notes", ["recall", "tea"])).data == []


@pytest.mark.parametrize("text", ["", "  ", "x" * 32_001, 7])
async def test_what_is_no_text_to_remember_is_refused(running: Running, text: Any) -> None:
    model = Embedder()
    async with running(agent(), model=model) as system:
        with pytest.raises(RemoteError, match="a text for the memory") as failed:
            await system.call("notes", ["remember", text])
    assert (failed.value.cause, model.embed_requests) == ("invalid_payload", [])
