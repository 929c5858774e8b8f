"""What models can do: the table, what settings say over it, and requests that ask for more."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from aixgo.errors import BadModelAnswer, BadModelRequest, UnsupportedByModel
from aixgo.models import (
    ChatMessage,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    ImagePart,
    ModelHub,
    ModelSettings,
    OpenAICompatible,
    ResponseSchema,
    ToolCall,
    ToolDefinition,
)
from aixgo.models.capabilities import Fitting, capabilities_of
from aixgo.models.providers import PROVIDERS
from aixgo.models.settings import CapabilityChanges
from aixgo.models.wires.chat import decode_chat, read_chat
from aixgo.testing.fake_provider import Fail, FakeProvider, Say, fake_provider
from aixgo.testing.waiting import PATIENCE_SECONDS

TOOL = ToolDefinition(name="f", parameters={"type": "object", "properties": {}})
CITY = ResponseSchema(
    name="city",
    schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
IMAGE = ChatMessage(role="user", content=(ImagePart(data=b"x", media_type="image/png"),))


def ask(model: str = "openai/gpt-4o", **fields: Any) -> ChatRequest:
    question = ChatMessage(role="user", content="The capital of France?")
    request = ChatRequest(model=model, messages=(question,), timeout=PATIENCE_SECONDS)
    return replace(request, **fields)


@pytest.fixture
async def server() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as running:
        yield running


def hub_for(server: FakeProvider, **settings: Any) -> ModelHub:
    provider = {"api_key": "k", "base_url": server.base_url, "max_attempts": 1, **settings}
    return ModelHub(ModelSettings.model_validate({"providers": {"openai": provider}}))


@pytest.mark.parametrize(
    ("model", "lacks"),
    [
        ("openai/gpt-4o", set()),
        ("openai/gpt-5-mini", {"temperature", "top_p", "stop"}),
        ("openai/o3-mini", {"temperature", "top_p", "stop", "parallel_tools", "images"}),
        ("openai/o3", {"temperature", "top_p", "stop", "parallel_tools"}),
        ("openai/gpt-4", {"images"}),
        ("openai/gpt-4-turbo", set()),
        ("anthropic/claude-sonnet-4-5", {"seed", "embeddings"}),
        ("anthropic/claude-opus-4-7", {"seed", "embeddings", "temperature", "top_p"}),
        ("xai/grok-4", {"stop", "embeddings"}),
        ("deepseek/deepseek-chat", {"images", "seed", "parallel_tools", "embeddings"}),
    ],
)
def test_the_table_knows_what_models_lack(model: str, lacks: set[str]) -> None:
    provider, _, name = model.partition("/")
    found = capabilities_of(PROVIDERS[provider], name)
    can = {field: getattr(found, field) for field in found.__slots__}
    assert {name for name, value in can.items() if value is False} == lacks


def test_settings_count_more_than_the_table_and_longer_beginnings_more_than_shorter() -> None:
    changes = {
        "gpt-5-pro": CapabilityChanges(stop=True),
        "*": CapabilityChanges(seed=False, stop=False),
        "gpt-5": CapabilityChanges(temperature=True, schemas="prompt"),
    }
    found = capabilities_of(PROVIDERS["openai"], "gpt-5-pro", changes=changes)
    assert (found.seed, found.temperature, found.stop, found.top_p) == (False, True, True, False)
    assert found.schemas == "prompt"


def test_a_capability_that_there_is_not_is_an_error() -> None:
    wrong = {"openai": {"capabilities": {"gpt": {"telepathy": True}}}}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ModelSettings.model_validate({"providers": wrong})


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        ("openai/gpt-5", {"temperature": 0.2}, r"temperature 0\.2 \(only its default\)"),
        ("openai/gpt-5", {"top_p": 0.5, "stop": ("x",)}, r"top_p 0\.5, stop \(1 texts\)"),
        ("openai/o3", {"tools": (TOOL,), "parallel_tools": False}, "parallel_tools false"),
        ("openai/gpt-4", {"messages": (IMAGE,)}, r"images \(1 in the messages\)"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_model_does_not_take_is_one_error_before_anything_is_sent(
    model: str, fields: dict[str, Any], said: str, stream: bool, server: FakeProvider
) -> None:
    hub = hub_for(server)
    request = ask(model, **fields)
    with pytest.raises(UnsupportedByModel, match=said) as failed:
        await (pieces(hub, request) if stream else hub.chat(request))
    await hub.close()
    assert "models.providers.openai.capabilities" in str(failed.value)
    assert ("on_unsupported: drop" in str(failed.value)) == ("images" not in said)
    assert server.count == 0


def test_a_temperature_over_the_highest_is_not_cut_down_to_it() -> None:
    fitting = Fitting(PROVIDERS["anthropic"])
    request = ask("anthropic/claude-sonnet-4-5", temperature=1.5)
    with pytest.raises(UnsupportedByModel, match=r"temperature 1\.5 \(at most 1\)"):
        fitting.chat(request)
    assert fitting.chat(replace(request, on_unsupported="drop")).temperature is None


async def test_the_default_temperature_of_a_model_without_others_is_no_error(
    server: FakeProvider,
) -> None:
    hub = hub_for(server)
    await hub.chat(ask("openai/gpt-5", temperature=1.0))
    await hub.close()
    assert "temperature" not in server.requests[0].body


async def test_with_drop_it_is_left_out_with_one_line_in_the_log(
    server: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    hub = hub_for(server, on_unsupported="drop")
    with caplog.at_level(logging.WARNING, "aixgo"):
        for _ in range(3):
            await hub.chat(ask("openai/gpt-5", temperature=0.2, stop=("x",), seed=7))
    await hub.close()
    body = server.requests[0].body
    assert not {"temperature", "stop"} & body.keys()
    assert body["seed"] == 7
    (line,) = (record.message for record in caplog.records)
    assert line.startswith("openai/gpt-5 does not take temperature 0.2 (only its default), stop")


async def test_a_request_says_it_for_itself(server: FakeProvider) -> None:
    hub = hub_for(server, on_unsupported="drop")
    with pytest.raises(UnsupportedByModel):
        await hub.chat(ask("openai/gpt-5", temperature=0.2, on_unsupported="error"))
    await hub.close()


@pytest.mark.parametrize("fields", [{"tools": (TOOL,)}, {"messages": (IMAGE,)}])
async def test_tools_and_images_are_never_left_out(
    fields: dict[str, Any], server: FakeProvider
) -> None:
    changes = {"*": {"tools": False, "images": False}}
    hub = hub_for(server, on_unsupported="drop", capabilities=changes)
    with pytest.raises(UnsupportedByModel):
        await hub.chat(ask(**fields))
    await hub.close()
    assert server.count == 0


async def test_a_model_that_does_not_stream_is_an_error_or_answers_in_one_piece(
    server: FakeProvider,
) -> None:
    changes = {"*": {"streaming": False}}
    strict = hub_for(server, capabilities=changes)
    with pytest.raises(UnsupportedByModel, match="streaming"):
        await pieces(strict, ask())
    await strict.close()
    hub = hub_for(server, capabilities=changes, on_unsupported="drop")
    server.will(Say("One two."))
    texts, response = await pieces(hub, ask())
    await hub.close()
    assert (texts, response.text) == (["One two."], "One two.")
    assert "stream" not in server.requests[0].body


async def pieces(model: Any, request: ChatRequest) -> tuple[list[str], ChatResponse]:
    texts, response = [], None
    async with model.stream(request) as chunks:
        async for chunk in chunks:
            texts.append(chunk.text)
            response = chunk.response
    assert response is not None
    return [text for text in texts if text], response


async def test_embeddings_can_be_said_to_be_there_or_not(server: FakeProvider) -> None:
    hub = hub_for(server, capabilities={"chat-only": {"embeddings": False}})
    with pytest.raises(UnsupportedByModel, match="embeddings"):
        await hub.embed(EmbedRequest(model="openai/chat-only", input=("x",)))
    assert (await hub.embed(EmbedRequest(model="openai/embed", input=("x",)))).vectors
    await hub.close()
    model = OpenAICompatible(
        server.base_url,
        provider=PROVIDERS["xai"],
        capabilities={"*": CapabilityChanges(embeddings=True)},
    )
    assert (await model.embed(EmbedRequest(model="xai/new", input=("x",)))).vectors
    await model.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_with_drop_a_field_that_a_server_refuses_is_left_out_and_remembered(
    stream: bool, server: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    hub = hub_for(server, on_unsupported="drop")
    refusal = Fail(400, message="Unsupported parameter: 'temperature' is not supported.")
    server.will(refusal)
    request = ask("openai/new-model", temperature=0.2)
    for _ in range(2):
        await (pieces(hub, request) if stream else hub.chat(request))
    await hub.close()
    bodies = [received.body for received in server.requests]
    assert ["temperature" in body for body in bodies] == [True, False, False]
    assert len(caplog.records) == 1


async def test_without_drop_what_a_server_refuses_is_its_error(server: FakeProvider) -> None:
    hub = hub_for(server)
    server.will(Fail(400, message="Unsupported parameter: 'temperature' is not supported."))
    with pytest.raises(BadModelRequest, match="Unsupported parameter"):
        await hub.chat(ask("openai/new-model", temperature=0.2))
    await hub.close()
    assert server.count == 1


# -- JSON from models without a schema mode ------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", ["chat", "responses"])
async def test_a_forced_tool_carries_a_schema_out(
    wire: str, stream: bool, server: FakeProvider
) -> None:
    hub = hub_for(server, schemas="tool", wire=wire)
    arguments = '{"city": "Paris"}'
    server.will(Say(tool_calls=(ToolCall(id="c", name="city", arguments=arguments),)))
    request = ask(response=CITY)
    if stream:
        texts, answer = await pieces(hub, request)
        assert "".join(texts) == arguments
    else:
        answer = await hub.chat(request)
    await hub.close()
    body = server.requests[0].body
    tool = body["tools"][0].get("function", body["tools"][0])
    assert (tool["name"], tool["parameters"]) == ("city", CITY.schema)
    assert body["tool_choice"] in (
        {"type": "function", "name": "city"},
        {"type": "function", "function": {"name": "city"}},
    )
    assert not {"response_format", "text"} & body.keys()
    assert (answer.text, answer.message.tool_calls) == (arguments, ())
    assert answer.choices[0].finish_reason == "stop"


async def test_a_text_in_place_of_the_forced_call_is_read_and_a_wrong_one_refused(
    server: FakeProvider,
) -> None:
    hub = hub_for(server, schemas="tool")
    server.will(Say('Sure! ```json\n{"city": "Paris"}\n```'), Say("No idea."))
    assert (await hub.chat(ask(response=CITY))).text == '{"city": "Paris"}'
    with pytest.raises(BadModelAnswer):
        await hub.chat(ask(response=CITY))
    await hub.close()


async def test_beside_tools_the_schema_goes_into_the_prompt(server: FakeProvider) -> None:
    hub = hub_for(server, schemas="tool")
    server.will(Say('{"city": "Paris"}'))
    await hub.chat(ask(response=CITY, tools=(TOOL,)))
    await hub.close()
    body = server.requests[0].body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f"]
    assert "tool_choice" not in body
    assert '"required":["city"]' in body["messages"][0]["content"]


async def test_a_server_that_refuses_the_forced_tool_is_asked_by_prompt(
    server: FakeProvider,
) -> None:
    hub = hub_for(server, schemas="tool")
    server.will(Fail(400, message="tool_choice is not available"), Say('{"city": "Paris"}'))
    assert (await hub.chat(ask(response=CITY))).text == '{"city": "Paris"}'
    await hub.close()
    assert "tools" not in server.requests[1].body
    assert server.requests[1].body["messages"][0]["role"] == "system"


# -- what is counted -----------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["completion_tokens_details", "output_tokens_details"])
@pytest.mark.parametrize("tidy", [True, False])
def test_reasoning_tokens_are_counted_as_a_part_of_the_completion(field: str, tidy: bool) -> None:
    body = {
        "choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 7, field: {"reasoning_tokens": 5}},
    }
    decode = decode_chat if tidy else read_chat
    usage = decode(ask(), msgspec.json.encode(body)).usage
    assert (usage.completion_tokens, usage.reasoning_tokens) == (7, 5)
    assert (usage + usage).reasoning_tokens == 10
