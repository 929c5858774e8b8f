"""The model gateway answers over real HTTP, with the right key for the right provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aixgo import Agent, ConfigError, Context, Message
from aixgo.errors import RemoteError
from aixgo.models.settings import ModelSettings
from aixgo.testing.fake_provider import Fail, FakeProvider, Say, fake_provider
from aixgo.testing.local import Running


@pytest.fixture
async def server() -> AsyncGenerator[FakeProvider, None]:
    """Serve the OpenAI wire format on loopback."""
    async with fake_provider() as running:
        yield running


def settings(server: FakeProvider, **more: Any) -> ModelSettings:
    provider = {"base_url": server.base_url, "api_key": "sk-shared", **more}
    return ModelSettings.model_validate(
        {"default": "openai/gpt-test", "providers": {"openai": provider}}
    )


def keys(server: FakeProvider) -> list[str]:
    return [request.headers.get("authorization", "") for request in server.requests]


def hubs_of(gateway: Any) -> list[Any]:
    return [gateway._model, *(own._model for own in gateway._own.values())]


async def test_an_agents_model_call_goes_to_the_provider_of_the_settings(
    running: Running, server: FakeProvider
) -> None:
    server.will(Say("Hello!"))
    models = settings(server, prices={"gpt-test": {"input": 1_000_000, "output": 0}})
    async with running(Agent("poet", role="react"), models=models) as system:
        result = await system.call("poet", "hi")
    assert result.text == "Hello!"
    assert result.usage.cost == result.usage.prompt_tokens > 0
    assert keys(server) == ["Bearer sk-shared"]
    assert server.requests[0].body["model"] == "gpt-test"


async def test_settings_of_a_provider_are_enough_for_a_handler_that_names_its_model(
    running: Running, server: FakeProvider
) -> None:
    """No agent has a role that calls models, and there is no default model."""
    server.will(Say("Hello!"))

    async def poet(message: Message, ctx: Context) -> str:
        return (await ctx.model.chat(message.text, model="openai/gpt-test")).text

    models = settings(server).model_copy(update={"default": ""})
    async with running(Agent("poet", poet), models=models) as system:
        assert (await system.call("poet", "hi", timeout=20)).text == "Hello!"
    assert keys(server) == ["Bearer sk-shared"]


async def test_an_agent_with_a_key_of_its_own_is_served_with_it(
    running: Running, server: FakeProvider
) -> None:
    server.will(Say("one"), Say("two"))
    agents = [Agent("rich", role="react", api_key="sk-own"), Agent("poor", role="react")]
    async with running(*agents, models=settings(server)) as system:
        await system.call("rich", "hi")
        await system.call("poor", "hi")
    assert keys(server) == ["Bearer sk-own", "Bearer sk-shared"]


async def test_an_agents_own_endpoint_gets_its_own_key_and_never_the_shared_one(
    running: Running, server: FakeProvider
) -> None:
    server.will(Say("one"))
    elsewhere = ModelSettings.model_validate(
        {"providers": {"openai": {"base_url": "https://api.example", "api_key": "sk-shared"}}}
    )
    common: dict[str, Any] = {
        "role": "react",
        "model": "openai/gpt-test",
        "endpoint": server.base_url,
    }
    agents = [Agent("own", api_key="sk-own", **common), Agent("stray", **common)]
    async with running(*agents, models=elsewhere) as system:
        await system.call("own", "hi")
        with pytest.raises(RemoteError, match="not trusted"):
            await system.call("stray", "hi")
    assert keys(server) == ["Bearer sk-own"]


async def test_the_providers_refusal_is_the_error_of_the_agents_call(
    running: Running, server: FakeProvider
) -> None:
    server.will(Fail(401, message="wrong key"))
    async with running(Agent("poet", role="react"), models=settings(server)) as system:
        with pytest.raises(RemoteError, match="401") as caught:
            await system.call("poet", "hi")
    assert caught.value.cause == "model_auth_failed"
    assert "sk-shared" not in str(caught.value)


async def test_a_model_of_an_unknown_provider_names_the_known_ones(running: Running) -> None:
    agent = Agent("poet", role="react", model="opnai/gpt-test", api_key="sk-own")
    async with running(agent) as system:
        with pytest.raises(RemoteError, match=r"'opnai'.*openai") as caught:
            await system.call("poet", "hi")
    assert caught.value.cause == "unknown_provider"


async def test_stopping_closes_every_connection_to_the_provider(
    running: Running, server: FakeProvider
) -> None:
    server.will(Say("one"), Say("two"))
    agents = [Agent("rich", role="react", api_key="sk-own"), Agent("poor", role="react")]
    async with running(*agents, models=settings(server)) as system:
        await system.call("rich", "hi")
        await system.call("poor", "hi")
        gateway: Any = system.services["llm"].role
        connections = [hub._http for hub in hubs_of(gateway)]
        assert all(http._session is not None for http in connections)
    assert [http._session for http in connections] == [None, None]


async def test_a_key_without_a_model_is_refused_before_anything_starts(running: Running) -> None:
    with pytest.raises(ConfigError, match=r"'poet' has an `api_key` but no model"):
        async with running(Agent("poet", role="react", api_key="sk-own")):
            pytest.fail("it started")


def test_keys_show_up_nowhere() -> None:
    gateway = Agent("llm", role="llm", agent_keys={"poet": {"api_key": "sk-own", "model": "x/y"}})
    assert "sk-own" not in repr(gateway.options) + gateway.options.model_dump_json()
