"""The hub: which adapter, which key, which price."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aixgo.envelope import Usage
from aixgo.errors import (
    BadModelRequest,
    ConfigError,
    MissingKey,
    ModelAuthFailed,
    ModelUnavailable,
    UnknownProvider,
    UnsupportedByModel,
)
from aixgo.models import ChatMessage, ChatRequest, EmbedRequest, ModelHub, ModelSettings
from aixgo.models.pricing import cost_of, priced_usage
from aixgo.models.settings import Price
from aixgo.testing.fake_provider import Fail, FakeProvider, Say, fake_provider
from aixgo.testing.waiting import PATIENCE_SECONDS

HI = (ChatMessage(role="user", content="hi"),)
KEY = "sk-hub-test"


def ask(model: str, base_url: str = "") -> ChatRequest:
    return ChatRequest(model=model, messages=HI, base_url=base_url, timeout=PATIENCE_SECONDS)


def hub(environment: dict[str, str] | None = None, **providers: dict[str, Any]) -> ModelHub:
    settings = ModelSettings.model_validate({"providers": providers})
    return ModelHub(settings, environment=environment or {})


@pytest.fixture
async def server() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as running:
        yield running


@pytest.mark.parametrize("name", ["gpt-4o", "opnai/gpt-4o", "/gpt-4o", ""])
def test_an_unknown_provider_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownProvider, match="local"):
        hub().check(name)


@pytest.mark.parametrize(
    ("model", "variables"),
    [
        ("openai/gpt-4o", ["OPENAI_API_KEY"]),
        ("anthropic/claude", ["ANTHROPIC_API_KEY"]),
        ("gemini/gemini-2.5-flash", ["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
        ("huggingface/meta/llama", ["HUGGINGFACE_API_KEY", "HF_TOKEN"]),
        ("xai/grok-4.5", ["XAI_API_KEY"]),
        ("deepseek/deepseek-chat", ["DEEPSEEK_API_KEY"]),
        ("vertex_ai/gemini-2.5-flash", ["GCP_PROJECT_ID", "GOOGLE_CLOUD_PROJECT"]),
        ("openai_compatible/m", ["OPENAI_COMPATIBLE_BASE_URL"]),
    ],
)
def test_what_is_missing_is_an_error_that_names_the_variable(
    model: str, variables: list[str]
) -> None:
    with pytest.raises(MissingKey) as failed:
        hub().check(model)
    assert failed.value.variables == variables
    assert all(variable in str(failed.value) for variable in variables)


@pytest.mark.parametrize(
    ("environment", "sent"),
    [
        ({"HUGGINGFACE_API_KEY": "one", "HF_TOKEN": "two"}, "Bearer one"),
        ({"HF_TOKEN": "two"}, "Bearer two"),
    ],
)
async def test_keys_and_addresses_come_from_the_environment(
    environment: dict[str, str], sent: str, server: FakeProvider
) -> None:
    models = hub({**environment, "HF_API_BASE": server.base_url})
    await models.chat(ask("huggingface/meta/llama"))
    await models.close()
    assert server.requests[0].headers["authorization"] == sent
    assert server.requests[0].body["model"] == "meta/llama"


async def test_the_settings_count_more_than_the_environment(server: FakeProvider) -> None:
    models = hub(
        {"OPENAI_API_KEY": "sk-env", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"},
        openai={"api_key": KEY, "base_url": server.base_url, "headers": {"OpenAI-Project": "p"}},
    )
    await models.chat(ask("openai/gpt-4o"))
    await models.close()
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].headers["openai-project"] == "p"


async def test_a_base_url_without_a_path_gets_the_usual_one(server: FakeProvider) -> None:
    models = hub({"OPENAI_COMPATIBLE_BASE_URL": server.base_url.removesuffix("/v1") + "/"})
    await models.chat(ask("openai_compatible/m"))
    await models.close()
    assert server.requests[0].path == "/v1/chat/completions"
    assert "authorization" not in server.requests[0].headers


async def test_an_endpoint_of_a_request_is_never_given_the_key(server: FakeProvider) -> None:
    models = hub(openai={"api_key": KEY}, openai_compatible={"api_key": KEY})
    with pytest.raises(BadModelRequest, match="trusted_base_urls"):
        await models.chat(ask("openai/gpt-4o", server.base_url))
    assert server.count == 0
    await models.chat(ask("openai_compatible/m", server.base_url))
    await models.close()
    assert "authorization" not in server.requests[0].headers


async def test_a_trusted_endpoint_is_given_the_key(server: FakeProvider) -> None:
    models = hub(openai={"api_key": KEY, "trusted_base_urls": [server.base_url]})
    await models.chat(ask("openai/gpt-4o", server.base_url + "/"))
    await models.close()
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("url", ["ftp://x/v1", "nonsense", "http://user:pw@host/v1"])
async def test_an_endpoint_that_is_no_address_is_a_bad_request(url: str) -> None:
    with pytest.raises(BadModelRequest, match="base URL"):
        await hub().chat(ask("openai_compatible/m", url))


def test_a_bad_address_in_the_environment_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="openai_compatible"):
        hub({"OPENAI_COMPATIBLE_BASE_URL": "nonsense"}).check("openai_compatible/m")


def test_the_local_model_takes_no_endpoint() -> None:
    with pytest.raises(BadModelRequest, match="no endpoint"):
        hub().check("local/smollm2", "http://x/v1")


async def test_a_server_of_ones_own_under_a_name_of_ones_own(server: FakeProvider) -> None:
    models = hub({"MY_LAB_API_KEY": "k"}, **{"my-lab": {"base_url": server.base_url}})
    answer = await models.chat(ask("my-lab/llama"))
    await models.close()
    assert answer.model == "my-lab/llama"
    assert server.requests[0].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("provider", ["anthropic", "xai", "deepseek"])
async def test_providers_without_embeddings_say_so(provider: str) -> None:
    models = hub({f"{provider.upper()}_API_KEY": KEY})
    with pytest.raises(UnsupportedByModel, match="openai"):
        await models.embed(EmbedRequest(model=f"{provider}/m", input=("x",)))
    await models.close()


async def test_overload_is_retried_within_the_settings(server: FakeProvider) -> None:
    models = hub(openai={"api_key": KEY, "base_url": server.base_url, "max_attempts": 2})
    server.will(Fail(503), Say("Better now."))
    assert (await models.chat(ask("openai/gpt-4o"))).text == "Better now."
    server.will(Fail(503), Fail(503), Say("too late"))
    with pytest.raises(ModelUnavailable):
        await models.chat(ask("openai/gpt-4o"))
    await models.close()
    assert server.count == 4


async def test_a_wrong_key_is_tried_once(server: FakeProvider) -> None:
    models = hub(openai={"api_key": KEY, "base_url": server.base_url})
    server.will(Fail(401))
    with pytest.raises(ModelAuthFailed):
        await models.chat(ask("openai/gpt-4o"))
    await models.close()
    assert server.count == 1


async def test_calls_one_after_the_other_use_one_connection(server: FakeProvider) -> None:
    models = hub(openai={"api_key": KEY, "base_url": server.base_url})
    for _ in range(20):
        await models.chat(ask("openai/gpt-4o"))
        # the stream's end comes a little after its [DONE]
        server.will(Say("one two", drip=0.002))
        async with models.stream(ask("openai/gpt-4o")) as chunks:
            async for _ in chunks:
                pass
    await models.close()
    assert server.count == 40
    assert server.connections == 1


async def test_endpoints_that_are_forgotten_leave_no_connection_behind(
    server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aixgo.models.hub.MAX_ROUTES", 1)
    models = hub()
    root = server.base_url
    for url in (root, f"{root}/other", root, f"{root}/other"):
        await models.chat(ask("openai_compatible/m", url))
    await models.close()
    assert server.count == 4
    assert server.connections == 1


async def test_an_unknown_price_is_unknown_and_a_known_one_is_counted(
    server: FakeProvider,
) -> None:
    price = {"input": 2.0, "output": 8.0, "cached_input": 0.5}
    models = hub(
        openai={"api_key": KEY, "base_url": server.base_url, "prices": {"gpt-4o": price}},
        ollama={"base_url": server.base_url},
    )
    unknown = await models.chat(ask("openai/gpt-4o-mini"))
    assert unknown.usage.cost is None
    known = await models.chat(ask("openai/gpt-4o"))
    assert known.usage.cost == pytest.approx((30 * 2.0 + 20 * 0.5 + 12 * 8.0) / 1e6)
    async with models.stream(ask("openai/gpt-4o")) as chunks:
        last = [chunk async for chunk in chunks][-1].response
    assert last is not None
    assert last.usage == known.usage
    assert (await models.chat(ask("ollama/llama"))).usage.cost == 0.0
    await models.close()


async def test_a_price_is_no_use_when_the_provider_counts_nothing(server: FakeProvider) -> None:
    models = hub(
        openai={
            "api_key": KEY,
            "base_url": server.base_url,
            "prices": {"gpt-4o": {"input": 1.0, "output": 1.0}},
        }
    )
    server.will(Say("uncounted", usage=False))
    usage = (await models.chat(ask("openai/gpt-4o"))).usage
    await models.close()
    assert usage.cost is None
    assert usage.model_calls == 1


def test_cached_tokens_cost_the_full_price_unless_it_is_given() -> None:
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=0)
    assert cost_of(usage, Price(input=3.0, output=9.0)) == pytest.approx(3.0)
    assert cost_of(usage, Price(input=3.0, output=9.0, cached_input=1.0)) == pytest.approx(2.2)


def test_a_stated_price_counts_more_than_free() -> None:
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=1, model_calls=1, unpriced_calls=1)
    priced = priced_usage(usage, Price(input=1.0, output=0.0), free=True)
    assert priced.cost == pytest.approx(1.0)
