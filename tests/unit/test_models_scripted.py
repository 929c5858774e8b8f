"""The double that tests use."""

from __future__ import annotations

import pytest

from aixgo.errors import BadModelAnswer, ModelTimeout, RateLimited, ScriptExhausted
from aixgo.models import (
    ChatMessage,
    ChatRequest,
    EmbedRequest,
    ResponseSchema,
    ScriptedModel,
    ToolCall,
)


def ask(text: str = "How are you today?", **fields: object) -> ChatRequest:
    message = ChatMessage(role="user", content=text)
    return ChatRequest(model="scripted/any", messages=(message,), **fields)  # type: ignore[arg-type]  # of tests


async def test_answers_come_in_the_order_of_the_script_and_are_counted() -> None:
    call = ToolCall(id="1", name="search", arguments='{"q": "x y"}')
    model = ScriptedModel(["Fine, thanks.", call, lambda request: request.messages[0].text])
    first, second, third = [await model.chat(ask()) for _ in range(3)]
    assert (first.text, third.text) == ("Fine, thanks.", "How are you today?")
    assert second.message.tool_calls == (call,)
    assert second.choices[0].finish_reason == "tool_calls"
    assert first.usage.prompt_tokens == 4
    assert first.usage.completion_tokens == 2
    assert first.usage.cost == 0.0
    assert model.calls == 3
    assert model.requests[0] == ask()


async def test_exceptions_are_raised_and_a_timeout_is_the_ports() -> None:
    limited = RateLimited("slow down", retry_after=2.0)
    model = ScriptedModel([TimeoutError(), limited, KeyError, "late"])
    with pytest.raises(ModelTimeout):
        await model.chat(ask())
    with pytest.raises(RateLimited) as failed:
        await model.chat(ask())
    assert failed.value is limited
    with pytest.raises(KeyError):
        await model.chat(ask())
    assert (await model.chat(ask())).text == "late"


async def test_a_script_that_is_used_up_says_which_call_found_it_so() -> None:
    model = ScriptedModel(["one"])
    await model.chat(ask())
    with pytest.raises(ScriptExhausted, match=r"call 2 to a scripted model of 1 answers.*today"):
        await model.chat(ask())


async def test_repeat_gives_the_last_answer_for_ever() -> None:
    model = ScriptedModel(["one", "more"], repeat=True)
    assert [(await model.chat(ask())).text for _ in range(4)] == ["one", "more", "more", "more"]


async def test_a_stream_comes_word_by_word_with_its_spaces() -> None:
    model = ScriptedModel(["Two words,\n and more "])
    async with model.stream(ask()) as chunks:
        pieces = [chunk async for chunk in chunks]
    assert [piece.text for piece in pieces] == ["Two ", "words,\n ", "and ", "more ", ""]
    assert pieces[-1].response is not None
    assert pieces[-1].response.text == "Two words,\n and more "


async def test_it_keeps_the_promise_of_a_schema_like_any_model() -> None:
    schema = ResponseSchema(name="n", schema={"type": "object"})
    with pytest.raises(BadModelAnswer, match="is not JSON"):
        await ScriptedModel(["no JSON"]).chat(ask(response=schema))


async def test_embeddings_have_the_dimensions_that_were_asked_for() -> None:
    model = ScriptedModel()
    request = EmbedRequest(model="scripted/any", input=("a", "b"), dimensions=3)
    answer = await model.embed(request)
    assert [len(vector) for vector in answer.vectors] == [3, 3]
    assert all(-1.0 <= value <= 1.0 for vector in answer.vectors for value in vector)
    assert model.embed_requests == [request]
