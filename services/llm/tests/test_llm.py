"""The model gateway answers over real HTTP, with the right key for the right provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from json import dumps
from typing import Any

import pytest

from aixgo import Agent, ConfigError, Context, Message
from aixgo.envelope import new_id
from aixgo.errors import AixgoError, ModelTimeout, RemoteError
from aixgo.models.settings import ModelSettings
from aixgo.runs.watch import TokensArrived
from aixgo.testing.fake_provider import Fail, FakeProvider, Raw, Say, fake_provider
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS


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
    gateways = (gateway, *gateway._own.values())
    return [one._model._model for one in gateways]  # the hub is below the fallbacks


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
        assert (await system.call("poet", "hi", timeout=PATIENCE_SECONDS)).text == "Hello!"
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


async def test_an_agents_own_endpoint_never_gets_the_secret_headers_of_the_settings(
    running: Running, server: FakeProvider
) -> None:
    async with fake_provider() as endpoint:
        agents = [
            Agent("own", role="react", api_key="sk-own-key", endpoint=endpoint.base_url),
            Agent("poor", role="react"),
        ]
        models = settings(server, headers={"x-tenant": "tenant-secret-1"})
        async with running(*agents, models=models) as system:
            await system.call("own", "hi")
            await system.call("poor", "hi")
        (at_endpoint,), (at_provider,) = endpoint.requests, server.requests
    assert at_endpoint.headers["authorization"] == "Bearer sk-own-key"
    assert "tenant-secret-1" not in str(at_endpoint.headers)
    assert at_provider.headers["x-tenant"] == "tenant-secret-1"


async def test_a_header_that_the_provider_echoes_is_in_no_result(
    running: Running, server: FakeProvider
) -> None:
    server.will(Fail(400, message="odd header tenant-secret-1"))
    models = settings(server, headers={"x-tenant": "tenant-secret-1"})
    async with running(Agent("poet", role="react"), models=models) as system:
        with pytest.raises(RemoteError, match="odd header") as caught:
            await system.call("poet", "hi")
    assert "tenant-secret-1" not in f"{caught.value} {caught.value.__cause__!r}"


async def test_a_stream_that_breaks_after_a_token_ends_as_a_call_without_a_stream(
    running: Running, server: FakeProvider
) -> None:
    server.will(Say("One two three.", cut=2), Say("Four five six."))
    async with running(Agent("poet", role="react"), models=settings(server)) as system:
        run = new_id()
        async with system.watch(run) as events:
            assert (await system.call("poet", "hi", run_id=run)).text == "Four five six."
            pieces = [event async for event in events if isinstance(event, TokensArrived)]
    assert server.count == 2
    text = ""
    for piece in pieces:
        text = piece.text if piece.again else text + piece.text
    assert text == "Four five six.", "watchers were not told that the text begins again"


async def test_a_handler_that_streams_is_told_that_the_text_begins_again(
    running: Running, server: FakeProvider
) -> None:
    async def poet(message: Message, ctx: Context) -> str:
        text = ""
        async with ctx.model.stream(message.text) as chunks:
            async for chunk in chunks:
                text = chunk.text if chunk.again else text + chunk.text
        return text

    server.will(Say("One two three.", cut=2, drip=0.05), Say("Four five six."))
    agent = Agent("poet", poet, model="openai/gpt-test")
    async with running(agent, models=settings(server)) as system:
        assert (await system.call("poet", "hi")).text == "Four five six."


@pytest.mark.parametrize("where", ["models", "provider"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_timeout_of_the_settings_holds_for_an_agents_call(
    where: str, stream: bool, running: Running, server: FakeProvider
) -> None:
    caught: list[ModelTimeout] = []

    async def poet(message: Message, ctx: Context) -> str:
        try:
            return (await ctx.model.chat(message.text, stream=stream)).text
        except ModelTimeout as error:
            caught.append(error)
            return "late"

    models = settings(server, **({"timeout": "300ms"} if where == "provider" else {}))
    if where == "models":
        models = models.model_copy(update={"timeout": 0.3})
    server.will(Say("never", hang=True))
    agent = Agent("poet", poet, model="openai/gpt-test")
    async with running(agent, models=models) as system:
        assert (await system.call("poet", "hi", timeout=60)).text == "late"
    assert "within 0.3 s" in str(caught[0])


async def test_the_deadline_of_the_run_ends_a_call_that_has_longer(
    running: Running, server: FakeProvider
) -> None:
    server.will(Say("never", hang=True))
    async with running(Agent("poet", role="react"), models=settings(server)) as system:
        with pytest.raises(AixgoError):
            await system.call("poet", "hi", timeout=0.5)
        await (await server.received()).hung_up.wait()


async def test_counts_that_no_model_can_have_lower_no_runs_usage(
    running: Running, server: FakeProvider
) -> None:
    def said(**usage: int) -> Raw:
        choice = {"message": {"content": "Hi"}, "finish_reason": "stop"}
        return Raw(dumps({"choices": [choice], "usage": usage}).encode())

    async def poet(message: Message, ctx: Context) -> str:
        for _ in range(3):
            await ctx.model.chat(message.text)
        return "done"

    server.will(
        said(prompt_tokens=9, completion_tokens=9),
        said(prompt_tokens=-90, completion_tokens=-90, total_tokens=-180),
        said(prompt_tokens=10**400, completion_tokens=1),
    )
    agent = Agent("poet", poet, model="openai/gpt-test")
    async with running(agent, models=settings(server)) as system:
        usage = (await system.call("poet", "hi")).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, 9 + 1)


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
