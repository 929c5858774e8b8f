"""Azure, Mistral, Groq, OpenRouter and Cohere keep the promises of every adapter."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from aixgo.errors import MissingKey, UnsupportedByModel
from aixgo.models import ChatMessage, EmbedRequest, ModelHub, ModelSettings, ToolCall
from aixgo.models.providers import PROVIDERS
from aixgo.testing import model_checks
from aixgo.testing.fake_provider import Say, fake_provider
from aixgo.testing.model_checks import SECRET, Check, Stage, core, wire
from aixgo.testing.model_checks._stage import CITY, WEATHER

MODELS = {
    "azure": "azure/my-deployment",
    "mistral": "mistral/mistral-large-latest",
    "groq": "groq/llama-3.3-70b-versatile",
    "openrouter": "openrouter/meta-llama/llama-3.3-70b-instruct",
    "cohere": "cohere/command-a-03-2025",
}
ADDRESSES = {
    "azure": "/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "groq": "https://api.groq.com/openai/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "cohere": "https://api.cohere.ai/compatibility/v1",
}
DIFFERENT = {
    # what is right for these providers and not what the check expects; each has a test below
    ("azure", wire.the_system_prompt_goes_first_and_the_key_into_a_header),
    ("mistral", core.a_tool_call_keeps_its_id_through_the_round_trip),
    ("mistral", wire.what_is_set_is_sent_and_nothing_else),
}


@asynccontextmanager
async def stage_of(name: str) -> AsyncGenerator[Stage, None]:
    """A hub whose provider lives on the fake server, under the path that it really has."""
    async with fake_provider() as server:
        server.counts_unasked = name == "mistral"  # whose API has no field to ask for it
        address = server.base_url.removesuffix("/v1") + urlsplit(ADDRESSES[name]).path
        provider = {"api_key": SECRET, "base_url": address, "max_attempts": 1}
        hub = ModelHub(ModelSettings.model_validate({"providers": {name: provider}}))
        embeds = PROVIDERS[name].embeddings != "none"
        yield Stage(
            hub,
            MODELS[name],
            server.will,
            embed_model=f"{name}/embed" if embeds else "",
            server=server,
        )
        await hub.close()


CASES = [
    pytest.param(name, check, id=f"{name}-{check.__name__}")
    for name in MODELS
    for check in model_checks.ALL
    if (name, check) not in DIFFERENT
    and (PROVIDERS[name].embeddings != "none" or check not in model_checks.EMBEDDINGS)
    # the time that a call may take is the same code for all of them
    and check.__name__
    not in {"a_chat_that_hangs_ends_at_its_deadline", "a_dripping_stream_ends_at_its_deadline"}
]


@pytest.mark.parametrize(("name", "check"), CASES)
async def test_a_provider_keeps_the_promises_of_every_adapter(name: str, check: Check) -> None:
    async with stage_of(name) as stage:
        await check(stage)


@pytest.mark.parametrize("name", MODELS)
async def test_requests_go_to_the_path_that_the_provider_documents(name: str) -> None:
    async with stage_of(name) as stage:
        await stage.model.chat(stage.ask())
        assert stage.fake.requests[0].path == urlsplit(ADDRESSES[name]).path + "/chat/completions"
    if name != "azure":
        assert PROVIDERS[name].base_url == ADDRESSES[name]


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_key_is_named(name: str) -> None:
    with pytest.raises(MissingKey, match=PROVIDERS[name].key_env[0]):
        ModelHub(
            ModelSettings.model_validate(
                {"providers": {name: {"base_url": "https://example.com/v1"}}}
            ),
            environment={},
        ).check(MODELS[name])


async def test_azure_has_its_key_in_a_header_of_its_own_and_an_address_for_each_user() -> None:
    async with fake_provider() as server:
        root = server.base_url.removesuffix("/v1")
        hub = ModelHub(environment={"AZURE_OPENAI_ENDPOINT": root, "AZURE_OPENAI_API_KEY": SECRET})
        request = Stage(hub, MODELS["azure"], server.will).ask()
        await hub.chat(request)
        await hub.close()
        (sent,) = server.requests
    assert sent.path == "/openai/v1/chat/completions"
    assert sent.headers["api-key"] == SECRET
    assert "authorization" not in sent.headers
    assert sent.body["model"] == "my-deployment"
    with pytest.raises(MissingKey, match="AZURE_OPENAI_ENDPOINT"):
        ModelHub(environment={"AZURE_OPENAI_API_KEY": "k"}).check(MODELS["azure"])


async def test_mistral_has_its_own_words_for_a_seed_and_for_any_tool() -> None:
    async with stage_of("mistral") as stage:
        await stage.model.chat(stage.ask(seed=7, tools=(WEATHER,), tool_choice="required"))
        body = stage.fake.requests[0].body
        assert (body["random_seed"], body["tool_choice"]) == (7, "any")
        assert "seed" not in body


async def test_mistral_gets_ids_of_other_providers_in_its_own_form() -> None:
    async with stage_of("mistral") as stage:
        calls = (
            ToolCall(id="call_7-weird.ID", name="f"),
            ToolCall(id="aB3dE6gH9", name="f"),
        )
        said = ChatMessage(role="assistant", tool_calls=calls)
        results = [ChatMessage(role="tool", tool_call_id=one.id, content="{}") for one in calls]
        request = stage.ask(messages=(ChatMessage(role="user", content="?"), said, *results))
        await stage.model.chat(request)
        _, sent, *back = stage.fake.requests[0].body["messages"]
        ids = [call["id"] for call in sent["tool_calls"]]
        assert [message["tool_call_id"] for message in back] == ids
        assert ids[1] == "aB3dE6gH9"
        assert len(ids[0]) == 9
        assert ids[0].isalnum()


@pytest.mark.parametrize(
    ("model", "way"),
    [
        ("groq/llama-3.3-70b-versatile", "tool"),
        ("groq/openai/gpt-oss-120b", "json_schema"),
        ("mistral/mistral-large-latest", "json_schema"),
        ("cohere/command-a-03-2025", "json_schema"),
        ("openrouter/openai/gpt-4o", "json_schema"),
        ("azure/my-deployment", "json_schema"),
    ],
)
async def test_a_schema_goes_the_way_of_its_row(model: str, way: str) -> None:
    async with stage_of(model.partition("/")[0]) as stage:
        stage.order(Say('{"city": "Paris"}'))
        await stage.model.chat(stage.ask(model=model, response=CITY))
        body = stage.fake.requests[0].body
    if way == "tool":
        assert body["tool_choice"] == {"type": "function", "function": {"name": "city"}}
    else:
        assert body["response_format"]["type"] == way


async def test_groq_has_no_embeddings_and_says_so_without_a_request() -> None:
    async with stage_of("groq") as stage:
        with pytest.raises(UnsupportedByModel, match="groq"):
            await stage.model.embed(EmbedRequest(model="groq/any", input=("x",)))
        assert stage.fake.count == 0
