"""A react agent gives its prompt and the message to its model, and replies with the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from aixgo import Agent, ConfigError, Message, Usage
from aixgo.errors import ContentRefused, RemoteError
from aixgo.models import ChatMessage, ChatResponse, Choice
from aixgo.models.bus import TokenBatch
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.virtual_time
MODEL = "test/scripted"


def poet(**options: Any) -> Agent:
    return Agent("poet", role="react", model=MODEL, prompt="Write a poem.", **options)


async def test_the_prompt_and_the_message_go_to_the_model(running: Running) -> None:
    model = ScriptedModel(["Roses are red."])
    async with running(poet(temperature=0, max_tokens=7), model=model) as system:
        result = await system.call("poet", "about roses")
    assert result.data == "Roses are red."
    assert result.meta == {"finish_reason": "stop", "model": MODEL}
    request = model.requests[0]
    assert [(message.role, message.text) for message in request.messages] == [
        ("system", "Write a poem."),
        ("user", "about roses"),
    ]
    assert (request.temperature, request.max_tokens) == (0, 7)


async def test_the_usage_of_the_model_call_is_the_usage_of_the_run(running: Running) -> None:
    async with running(poet(), model=ScriptedModel(["Roses are red."])) as system:
        result = await system.call("poet", "about roses")
    assert result.usage.prompt_tokens == 5
    assert result.usage.completion_tokens == 3
    assert result.usage.model_calls == 1


async def test_an_answer_that_was_cut_off_says_so(running: Running) -> None:
    cut = ChatResponse(
        model=MODEL,
        choices=(
            Choice(message=ChatMessage(role="assistant", content="Ro"), finish_reason="length"),
        ),
        usage=Usage(),
    )
    async with running(poet(), model=ScriptedModel([cut])) as system:
        result = await system.call("poet", "about roses")
    assert (result.text, result.meta["finish_reason"]) == ("Ro", "length")


@pytest.mark.parametrize(("stream", "streamed"), [(True, "Roses are red."), (False, "")])
async def test_tokens_are_streamed_unless_switched_off(
    running: Running, stream: bool, streamed: str
) -> None:
    model = ScriptedModel(["Roses are red."])
    seen: list[TokenBatch] = []
    async with running(poet(stream=stream), model=model) as system:
        decoder = msgspec.json.Decoder(TokenBatch)
        await system.broker.subscribe(
            f"{system.names.prefix}tok.>", lambda message: seen.append(decoder.decode(message.data))
        )
        assert (await system.call("poet", "about roses")).text == "Roses are red."
    assert model.requests[0].stream is stream
    assert "".join(batch.text for batch in seen) == streamed


async def test_a_payload_that_is_no_text_is_given_as_json(running: Running) -> None:
    model = ScriptedModel(["ok"])
    async with running(poet(), model=model) as system:
        await system.call("poet", {"topic": "roses", "lines": [1, None]})
    assert model.requests[0].messages[-1].text == '{"topic":"roses","lines":[1,null]}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\x00b", ["U+0000", "character 1"]),
        ("abc\x1b[31m", ["U+001B", "character 3"]),
        ("x" * 100_001, ["100,001 characters", "100,000 characters"]),
        ("", ["empty"]),
        (" \n", ["empty"]),
        (None, ["empty"]),
    ],
    ids=["nul", "escape", "too-long", "empty", "blank", "null"],
)
async def test_what_no_model_should_see_is_refused_at_once_and_for_good(
    running: Running, text: str | None, words: list[str]
) -> None:
    model = ScriptedModel(["never asked"])
    async with running(poet(), model=model) as system:
        with pytest.raises(RemoteError) as caught:
            await system.call("poet", text)
    assert (caught.value.cause, caught.value.attempts) == ("invalid_payload", 1)
    assert all(word in str(caught.value) for word in words)
    assert model.calls == 0


async def test_a_text_of_exactly_the_limit_with_line_breaks_is_fine(running: Running) -> None:
    model = ScriptedModel(["ok"])
    text = "\tümlaut\r\n" + "x" * (100_000 - 9)
    async with running(poet(), model=model) as system:
        assert (await system.call("poet", text)).text == "ok"
    assert len(model.requests[0].messages[-1].text) == 100_000


async def test_a_refusal_of_the_model_is_the_error_of_the_call(running: Running) -> None:
    refusal = ContentRefused("the provider refuses the prompt", provider="test")
    async with running(poet(), model=ScriptedModel([refusal])) as system:
        with pytest.raises(RemoteError, match="refuses the prompt") as caught:
            await system.call("poet", "something rude")
    assert caught.value.cause == "content_refused"


async def test_an_event_of_an_input_is_answered_with_an_event(running: Running) -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()

    async def source(message: Message) -> str:
        return message.text

    async def sink(message: Message) -> None:
        heard.put_nowait(message)

    agents = [
        Agent("source", source),
        poet(inputs=["source"]),
        Agent("sink", sink, inputs=["poet"]),
    ]
    async with running(*agents, model=ScriptedModel(["Roses are red."])) as system:
        run = await system.publish("source", "about roses")
        async with asyncio.timeout(PATIENCE_SECONDS):
            event = await heard.get()
    assert (event.kind, event.source, event.run_id) == ("event", "poet", run)
    assert (event.text, event.meta["finish_reason"]) == ("Roses are red.", "stop")


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'streem'.*did you mean 'stream'"):
        poet(streem=False)
