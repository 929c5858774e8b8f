"""The providers that are served without an SDK get the bytes that litellm would send them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from aixgo.models import ChatRequest, EmbedRequest, ModelHub, ModelSettings, ToolCall
from aixgo.models.providers import PROVIDERS
from aixgo.testing.fake_provider import FakeProvider, Say, fake_provider

CHAT_CASES = (
    "chat_tools",
    "chat_stream",
    "chat_tools_stream",
    "chat_tool_results",
    "chat_json_schema",
    "chat_plain",
)
SERVED = {
    # the name in the captures: our provider
    "openai": "openai",
    "openai_gpt5": "openai",
    "xai": "xai",
    "deepseek": "deepseek",
    "huggingface_router": "huggingface",
    "hosted_vllm": "openai_compatible",
}
CASES = [(name, case) for name in SERVED for case in CHAT_CASES]
TOOL_CALLS = (ToolCall(id="call_a1B2c3", name="get_weather", arguments='{"city":"Paris"}'),)


@pytest.fixture
async def server() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as running:
        yield running


def hub_for(provider: str, key: str, server: FakeProvider, *, wire: str = "auto") -> ModelHub:
    """A hub whose provider lives on the fake server, under the path that it really has."""
    real = PROVIDERS[provider].base_url
    path = urlsplit(real).path if real else "/v1"
    root = server.base_url.removesuffix("/v1")
    settings = {"api_key": key, "base_url": root + path, "wire": wire, "max_attempts": 1}
    return ModelHub(ModelSettings.model_validate({"providers": {provider: settings}}))


@pytest.mark.parametrize(("name", "case"), CASES)
async def test_a_request_is_the_captured_one(
    name: str, case: str, capture: Callable[[str, str], Any], server: FakeProvider
) -> None:
    recorded = capture(name, case)
    provider = SERVED[name]
    to_responses = recorded.sent["path"].endswith("/responses")
    key = recorded.call["api_key"]
    hub = hub_for(provider, key, server, wire="responses" if to_responses else "auto")
    says = '{"city": "Paris", "temp": 20}' if case == "chat_json_schema" else "Hello there!"
    server.will(Say(says, tool_calls=TOOL_CALLS if "tools" in case else ()))
    await call(hub, recorded.chat(provider), streamed="stream" in case)
    await hub.close()
    (sent,) = server.requests
    assert sent.path == recorded.sent["path"]
    assert sent.headers["authorization"] == recorded.sent["headers"]["authorization"]
    assert sent.headers["content-type"] == "application/json"
    body = dict(sent.body)
    if to_responses:
        # ours on purpose: the provider keeps no more than it keeps of chat completions
        assert body.pop("store") is False
    wanted = dict(recorded.sent["body"])
    if (name, case) == ("deepseek", "chat_json_schema"):
        # litellm sends the schema, which the real server refuses
        assert body.pop("response_format") == {"type": "json_object"}
        schema = wanted.pop("response_format")["json_schema"]["schema"]
        told, *body["messages"] = body["messages"]
        asked, *wanted["messages"] = wanted["messages"]
        assert told["content"].startswith(asked["content"])
        assert msgspec.json.encode(schema).decode() in told["content"]
    if (name, case) == ("deepseek", "chat_plain"):
        del wanted["seed"]  # which its API does not have
    assert body == wanted


@pytest.mark.parametrize("name", [name for name in SERVED if name != "hosted_vllm"])
def test_the_base_url_is_the_providers_own(name: str, capture: Callable[[str, str], Any]) -> None:
    recorded = capture(name, "chat_plain")
    assert recorded.url == f"{PROVIDERS[SERVED[name]].base_url}/chat/completions"


async def call(hub: ModelHub, request: ChatRequest, *, streamed: bool) -> None:
    if not streamed:
        await hub.chat(request)
        return
    async with hub.stream(request) as chunks:
        async for _ in chunks:
            pass


@pytest.mark.parametrize(
    ("name", "provider"), [("openai", "openai"), ("hosted_vllm", "openai_compatible")]
)
async def test_an_embedding_request_is_the_captured_one(
    name: str, provider: str, capture: Callable[[str, str], Any], server: FakeProvider
) -> None:
    recorded = capture(name, "embedding")
    hub = hub_for(provider, recorded.call["api_key"], server)
    model = f"{provider}/{recorded.call['model'].partition('/')[2]}"
    await hub.embed(EmbedRequest(model=model, input=tuple(recorded.call["input"])))
    await hub.close()
    (sent,) = server.requests
    assert sent.path == recorded.sent["path"]
    assert sent.headers["authorization"] == recorded.sent["headers"]["authorization"]
    assert sent.body == recorded.sent["body"]


async def test_hugging_face_embeds_at_its_feature_extraction(
    capture: Callable[[str, str], Any], server: FakeProvider
) -> None:
    # the path is that of Hugging Face's own client; litellm's is older, and asks its hub four
    # questions before and after
    recorded = capture("huggingface", "embedding")
    hub = hub_for("huggingface", "hf_test", server)
    answer = await hub.embed(
        EmbedRequest(model="huggingface/BAAI/bge-small-en-v1.5", input=("hello", "world"))
    )
    await hub.close()
    (sent,) = server.requests
    assert sent.path == "/hf-inference/models/BAAI/bge-small-en-v1.5/pipeline/feature-extraction"
    assert sent.headers["authorization"] == "Bearer hf_test"
    assert sent.body == next(r["body"] for r in recorded.requests if r["method"] == "POST")
    assert len(answer.vectors) == 2
    assert answer.usage.unpriced_calls == 1


async def test_ollama_is_spoken_to_in_the_same_format_without_a_key(server: FakeProvider) -> None:
    root = server.base_url.removesuffix("/v1")
    hub = ModelHub(environment={"OLLAMA_API_BASE": root})
    request = ChatRequest(model="ollama/llama3.1", messages=())
    answer = await hub.chat(request)
    await hub.close()
    (sent,) = server.requests
    assert sent.path == "/v1/chat/completions"
    assert "authorization" not in sent.headers
    assert answer.usage.cost == 0.0
