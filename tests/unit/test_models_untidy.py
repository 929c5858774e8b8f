"""Servers, keys and proxies as they are in the wild: what is stripped, refused, or asked again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from json import dumps
from typing import Any

import pytest

from aixgo.errors import BadModelRequest, ConfigError, ContextTooLong, ModelError, ModelUnavailable
from aixgo.models import (
    ChatMessage,
    ChatRequest,
    LiteLLM,
    ModelHub,
    ModelSettings,
    OpenAICompatible,
    ResponseSchema,
)
from aixgo.models.http import proxy_url
from aixgo.models.providers import PROVIDERS, Dialect
from aixgo.testing.fake_provider import Fail, FakeProvider, Raw, Say, fake_provider
from aixgo.web.retry_after import retry_after_of
from aixgo.web.secrets import Secrets

HI = (ChatMessage(role="user", content="hi"),)
CITY = ResponseSchema(name="city", schema={"type": "object", "required": ["city"]})
ROME = '{"city":"Rome"}'
SECRET = "tenant-9f8e7d6c5b4a"


def ask(model: str = "lab/m", **fields: Any) -> ChatRequest:
    return ChatRequest(model=model, messages=HI, timeout=10.0, **fields)


@pytest.fixture
async def server() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as running:
        yield running


@pytest.fixture
async def model(server: FakeProvider) -> AsyncIterator[OpenAICompatible]:
    made = OpenAICompatible(server.base_url)
    yield made
    await made.close()


async def streamed(model: Any, request: ChatRequest) -> str:
    async with model.stream(request) as chunks:
        return "".join([chunk.text async for chunk in chunks])


# -- M14: what a server refuses ------------------------------------------------------------------

NO_SCHEMA = Fail(400, message="response_format type json_schema is unavailable now")
NO_OBJECT = Fail(400, message="'response_format' of type 'json_object' is not supported")
NO_OPTIONS = Fail(422, message="extra fields not permitted: stream_options")
NO_MAX = Fail(400, message="Unsupported parameter: 'max_tokens', use 'max_completion_tokens'")


async def test_a_schema_that_is_refused_is_asked_for_in_the_prompt(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(NO_SCHEMA, NO_OBJECT, Say(ROME), Say(ROME))
    assert (await model.chat(ask(response=CITY))).text == ROME
    first, second, third = (request.body for request in server.requests)
    assert first["response_format"]["type"] == "json_schema"
    assert second["response_format"] == {"type": "json_object"}
    assert "response_format" not in third
    for body in (second, third):
        assert '"required":["city"]' in body["messages"][0]["content"]
    assert (await model.chat(ask(response=CITY))).text == ROME, "what was learned is forgotten"
    assert server.count == 4


async def test_stream_options_that_are_refused_are_left_out(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(NO_OPTIONS, Say("one"), Say("two"))
    assert await streamed(model, ask()) == "one"
    assert await streamed(model, ask()) == "two"
    assert ["stream_options" in request.body for request in server.requests] == [True, False, False]


async def test_the_old_name_of_max_tokens_becomes_the_new_one(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(NO_MAX, Say("one"))
    await model.chat(ask(max_tokens=9))
    assert server.requests[1].body["max_completion_tokens"] == 9


@pytest.mark.parametrize(
    "refusal",
    [
        Fail(400, message="no"),
        Fail(400, message="the maximum context length is 9; see response_format"),
        Fail(500, message="response_format"),
        Fail(400, message="response_format"),
    ],
)
async def test_any_other_refusal_is_asked_once(
    refusal: Fail, server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(refusal)
    with pytest.raises(ModelError):
        await model.chat(ask())
    assert server.count == 1


async def test_a_refusal_that_goes_on_is_the_error(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(*[NO_SCHEMA] * 9)
    with pytest.raises(BadModelRequest):
        await model.chat(ask(response=CITY))
    assert server.count == 3
    assert model._dialect(ask()) == Dialect(), "a failure taught something"


async def test_settings_say_it_before_the_server_does(server: FakeProvider) -> None:
    lab = {"base_url": server.base_url, "schemas": "prompt", "stream_options": False}
    hub = ModelHub(ModelSettings.model_validate({"providers": {"lab": lab}}), environment={})
    server.will(Say(ROME))
    assert await streamed(hub, ask(response=CITY)) == ROME
    await hub.close()
    assert not server.requests[0].body.keys() & {"response_format", "stream_options"}


# -- M15: when to come back ----------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("said", ["GMT", "", "-0000", "+0000"])
def test_a_date_is_in_gmt_whatever_the_zone_of_this_machine(
    zone: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        monkeypatch.setattr("aixgo.clock.now", lambda: 1_800_000_000.0)
        date = "Fri, 15 Jan 2027 08:00:07 " + said
        assert retry_after_of({"Retry-After": date.strip()}) == 7.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "value",
    ["Fri, 15 Jan 20270000000000000000 08:00:00 GMT", "Fri, 99 Jan 2027", "1e9", "٧", "", "9" * 40],
)
def test_nonsense_is_not_a_time(value: str) -> None:
    assert retry_after_of({"Retry-After": value}) is None


# -- M18: blanks around keys ---------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t\r"])
async def test_blanks_around_keys_headers_and_addresses_are_not_part_of_them(
    end: str, server: FakeProvider
) -> None:
    hub = ModelHub(
        ModelSettings.model_validate(
            {"providers": {"openai": {"headers": {f"x-team{end}": f"{end}red{end}"}}}}
        ),
        environment={
            "OPENAI_API_KEY": f"sk-x{end}",
            "OPENAI_BASE_URL": f" {server.base_url}/{end}",
        },
    )
    await hub.chat(ask("openai/gpt-4o"))
    await hub.close()
    headers = server.requests[0].headers
    assert (headers["authorization"], headers["x-team"]) == ("Bearer sk-x", "red")


@pytest.mark.parametrize("key", ["sk-abc\ndefghij", "sk-abc\x00def", "sk-äöü"])
def test_a_key_with_a_line_break_inside_is_named_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="the key of provider 'openai'") as failed:
        OpenAICompatible("http://h/v1", api_key=key, provider=PROVIDERS["openai"])
    assert "sk-" not in str(failed.value)
    with pytest.raises(ConfigError, match="header 'x-a' of provider 'anthropic'"):
        LiteLLM(PROVIDERS["anthropic"], headers={"x-a": key})
    with pytest.raises(ConfigError, match="not the name of a header"):
        OpenAICompatible("http://h/v1", headers={"x a": "b"})


# -- B8: proxies ---------------------------------------------------------------------------------


async def test_a_proxy_without_a_scheme_works(
    monkeypatch: pytest.MonkeyPatch, server: FakeProvider
) -> None:
    monkeypatch.setenv("http_proxy", server.base_url.removeprefix("http://").removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    through = OpenAICompatible("http://models.example/v1")
    await through.chat(ask())
    await through.close()
    assert server.requests[0].headers["host"] == "models.example"


@pytest.mark.parametrize(
    "value", ["socks5://u:secret-password@h:1080", "http://", "h:port", "http://h:99999999"]
)
def test_what_is_not_a_proxy_names_the_variable_and_no_password(value: str) -> None:
    with pytest.raises(ConfigError, match="the variable http_proxy") as failed:
        proxy_url(value, "http_proxy")
    assert "secret-password" not in str(failed.value)


# -- A11: secret headers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Fail(401, message=f"who is {SECRET}?"),
        Fail(500, message="x" * 280 + f" you sent {SECRET}"),
        Raw(dumps({"error": {"message": f"no {SECRET}"}}).encode()),
        Raw(f"<html>{SECRET}</html>".encode()),
        Raw(f"nonsense {SECRET[:14]}".encode()),
        Raw(f'data: {{"error": "bad header {SECRET}"}}\n\n'.encode()),
        Raw(f"upstream: {SECRET}\n".encode()),
        Raw(b"data: hi\n\ndata: echo " + SECRET.encode() + b"\n\n"),
        Raw(dumps({"choices": [{"message": {"content": f"no JSON, {SECRET}"}}]}).encode()),
        Raw(dumps({"choices": [{"message": {"refusal": f"no, {SECRET}"}}]}).encode()),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_header_that_a_provider_echoes_is_in_no_error(
    answer: Any, stream: bool, server: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model = OpenAICompatible(server.base_url, headers={"x-tenant": f"Token {SECRET}"})
    server.will(answer)
    request = ask(response=CITY)
    with pytest.raises(ModelError) as failed:
        await (streamed(model, request) if stream else model.chat(request))
    await model.close()
    error: BaseException | None = failed.value
    assert server.requests[0].headers["x-tenant"].endswith(SECRET)
    while error is not None:
        shown = f"{error} {error!r} {getattr(error, '__notes__', '')}"
        assert SECRET[:12] not in shown
        error = error.__cause__
    assert SECRET not in caplog.text + repr(model)


def test_secrets_are_masked_also_where_a_text_was_cut() -> None:
    secrets = Secrets(["Basic dXNlcjpwYXNzd29yZA==", 'quo"ted-secret'])
    assert secrets.clean("a dXNlcjpwYXNzd29yZA== b") == "a *** b"
    assert secrets.clean("a dXNlcjpwYXNz") == "a ***"
    assert secrets.clean('{"h": "quo\\"ted-secret"}') == '{"h": "***"}'
    assert "dXNlcj" not in repr(secrets)


async def test_secret_headers_go_to_trusted_addresses_only(server: FakeProvider) -> None:
    async with fake_provider() as trusted, fake_provider() as stray:
        lab = {
            "base_url": server.base_url,
            "headers": {"x-tenant": SECRET},
            "api_key": "sk-lab",
            "trusted_base_urls": [trusted.base_url],
        }
        hub = ModelHub(ModelSettings.model_validate({"providers": {"lab": lab}}), environment={})
        for url in ("", trusted.base_url, stray.base_url):
            await hub.chat(ask(base_url=url))
        await hub.close()
        got = [one.requests[0].headers for one in (server, trusted, stray)]
    assert [headers.get("x-tenant") for headers in got] == [SECRET, SECRET, None]
    assert "authorization" not in got[2]


# -- M16 and money -------------------------------------------------------------------------------


async def test_a_line_of_eight_megabytes_in_small_reads_does_not_block_the_loop(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    text = "x" * (8 << 20)
    event = dumps({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]})
    server.will(Raw(f"data: {event}\n\ndata: [DONE]\n\n".encode(), each=1 << 14))
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    heart = asyncio.create_task(beat())
    assert await streamed(model, ask()) == text
    heart.cancel()
    assert beats > 10, "the loop stood still"


async def test_a_context_that_is_too_long_is_final_also_in_a_stream(server: FakeProvider) -> None:
    lab = {"base_url": server.base_url}
    hub = ModelHub(ModelSettings.model_validate({"providers": {"lab": lab}}), environment={})
    error = {"error": {"code": 400, "message": "the request exceeds the available context size"}}
    server.will(*[Raw(dumps(error).encode())] * 3)
    with pytest.raises(ContextTooLong):
        await streamed(hub, ask())
    await hub.close()
    assert server.count == 1, "paid again for an answer that cannot come"


async def test_a_broken_connection_says_so_and_not_that_the_address_is_wrong(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(Raw(b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: {', then="break"))
    with pytest.raises(ModelUnavailable, match="in the middle of the answer") as failed:
        await streamed(model, ask())
    assert "base URL" not in str(failed.value)
