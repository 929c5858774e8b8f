"""Promises of every model, scripted and local ones too."""

from __future__ import annotations

import asyncio

from msgspec import json
from msgspec.structs import replace

from aixgo.models.messages import ChatMessage, ToolCall
from aixgo.models.port import EmbedRequest
from aixgo.testing.expect import equal, expect
from aixgo.testing.fake_provider import Say, vector_of
from aixgo.testing.model_checks._stage import (
    CITY,
    WEATHER,
    Check,
    Stage,
    counted,
    streamed,
)


async def a_chat_answers_and_counts_what_it_used(stage: Stage) -> None:
    """Text, role, reason of the end, model and usage are all there."""
    stage.order(Say("Paris it is."))
    response = await stage.model.chat(stage.ask(max_tokens=20))
    expect(bool(response.text), "an empty answer")
    expect(not stage.exact or response.text == "Paris it is.", f"another text: {response.text!r}")
    equal("role", response.message.role, "assistant")
    expect(response.choices[0].finish_reason in {"stop", "length"}, f"{response.choices[0]!r}")
    equal("provider", response.model.partition("/")[0], stage.chat_model.partition("/")[0])
    counted(response)


async def the_pieces_of_a_stream_join_to_the_whole(stage: Stage) -> None:
    """What was shown while it came is what the response says."""
    stage.order(Say("One two three four."))
    texts, response = await streamed(stage, stage.ask(max_tokens=20))
    equal("pieces", "".join(texts), response.text)
    expect(len(texts) > 1, f"a stream in one piece: {texts!r}")
    expect(not stage.exact or response.text == "One two three four.", f"{response.text!r}")
    counted(response)


async def a_stream_ends_with_the_response_of_a_chat(stage: Stage) -> None:
    """Streaming changes when the answer comes, and nothing else."""
    said = Say("One two three four.")
    request = stage.ask(temperature=0.0, max_tokens=20)
    stage.order(said)
    whole = await stage.model.chat(request)
    stage.order(said)
    _, response = await streamed(stage, request)
    equal("message", response.message, whole.message)
    equal("finish", response.choices[0].finish_reason, whole.choices[0].finish_reason)
    equal("model", response.model, whole.model)
    equal("prompt tokens", response.usage.prompt_tokens, whole.usage.prompt_tokens)
    equal("completion tokens", response.usage.completion_tokens, whole.usage.completion_tokens)


async def a_tool_call_keeps_its_id_through_the_round_trip(stage: Stage) -> None:
    """The id goes back as it came: some providers hide state in it."""
    ordered = ToolCall(id="call_7-weird.ID", name="get_weather", arguments='{"city":"Rome"}')
    stage.order(Say(tool_calls=[ordered]))
    request = stage.ask("Weather in Rome?", tools=(WEATHER,), tool_choice="required", max_tokens=80)
    asked = await stage.model.chat(request)
    expect(bool(asked.message.tool_calls), f"no tool call, but {asked.text!r}")
    call = asked.message.tool_calls[0]
    equal("finish", asked.choices[0].finish_reason, "tool_calls")
    equal("tool", call.name, "get_weather")
    expect("city" in json.decode(call.arguments), f"arguments {call.arguments!r}")
    expect(bool(call.id), "a tool call without an id")
    expect(not stage.exact or call == ordered, f"{call!r} instead of {ordered!r}")
    stage.order(Say("20 degrees."))
    result = ChatMessage(role="tool", tool_call_id=call.id, content='{"celsius": 20}')
    conversation = (*request.messages, asked.message, result)
    response = await stage.model.chat(replace(request, messages=conversation, tool_choice=""))
    expect(bool(response.text), "no answer to the tool's result")
    if stage.server is not None:
        *_, call_sent, result_sent = stage.server.requests[-1].body["messages"]
        equal("id of the call", call_sent["tool_calls"][0]["id"], ordered.id)
        equal("id of the result", result_sent["tool_call_id"], ordered.id)
        equal("result", result_sent["content"], '{"celsius": 20}')


async def an_answer_fits_the_schema_that_was_asked_for(stage: Stage) -> None:
    """With a schema the text is JSON that fits it."""
    stage.order(Say('{"city": "Paris"}'))
    response = await stage.model.chat(stage.ask("The capital?", response=CITY, max_tokens=60))
    expect(isinstance(json.decode(response.text).get("city"), str), f"{response.text!r}")


async def calls_at_once_get_each_their_own_answer(stage: Stage) -> None:
    """One adapter serves many callers at the same time."""
    wanted = [f"Answer {number}." for number in range(8)]
    for text in wanted:
        stage.order(Say(text))
    calls = (stage.model.chat(stage.ask(max_tokens=8)) for _ in wanted)
    texts = sorted(answer.text for answer in await asyncio.gather(*calls))
    expect(all(texts), f"an empty answer: {texts!r}")
    expect(not stage.exact or texts == wanted, f"{texts!r}")


async def a_stream_that_is_left_early_disturbs_nobody(stage: Stage) -> None:
    """The next call works as if nothing had been."""
    stage.order(Say("One two three four."))
    async with stage.model.stream(stage.ask(max_tokens=20)) as chunks:
        expect(bool((await anext(chunks)).text), "a first piece without text")
    stage.order(Say("Paris it is."))
    response = await stage.model.chat(stage.ask(max_tokens=20))
    expect(not stage.exact or response.text == "Paris it is.", f"{response.text!r}")


async def closing_twice_is_closing_once(stage: Stage) -> None:
    """`close` is idempotent."""
    await stage.model.close()
    await stage.model.close()


async def embeddings_come_in_the_order_of_the_texts(stage: Stage) -> None:
    """One vector for each text, whatever order the wire has."""
    texts = ("one", "two", "three", "one")
    answer = await stage.model.embed(EmbedRequest(model=stage.embed_model, input=texts, timeout=10))
    equal("vectors", len(answer.vectors), len(texts))
    equal("vectors of equal texts", answer.vectors[0], answer.vectors[3])
    expect(answer.vectors[0] != answer.vectors[1], "different texts have equal vectors")
    equal("model calls", answer.usage.model_calls, 1)
    if stage.server is not None:
        equal("vectors", answer.vectors, tuple(tuple(vector_of(text)) for text in texts))
        equal("tokens", answer.usage.prompt_tokens, 3 * len(texts))


CORE: tuple[Check, ...] = (
    a_chat_answers_and_counts_what_it_used,
    the_pieces_of_a_stream_join_to_the_whole,
    a_stream_ends_with_the_response_of_a_chat,
    a_tool_call_keeps_its_id_through_the_round_trip,
    an_answer_fits_the_schema_that_was_asked_for,
    calls_at_once_get_each_their_own_answer,
    a_stream_that_is_left_early_disturbs_nobody,
    closing_twice_is_closing_once,
)

EMBEDDINGS: tuple[Check, ...] = (embeddings_come_in_the_order_of_the_texts,)
