"""What the direct adapter does with sockets, bytes and hostile servers."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aixgo.errors import (
    BadModelAnswer,
    BadModelRequest,
    ModelError,
    ModelUnavailable,
    UnsupportedByModel,
)
from aixgo.models import ChatMessage, ChatRequest, EmbedRequest, OpenAICompatible, ToolDefinition
from aixgo.models.http import Http
from aixgo.models.providers import PROVIDERS
from aixgo.testing.fake_provider import Fail, FakeProvider, Raw, Say, fake_provider
from aixgo.testing.waiting import PATIENCE_SECONDS

ASK = ChatRequest(
    model="openai/gpt-4o",
    messages=(ChatMessage(role="user", content="hi"),),
    timeout=PATIENCE_SECONDS,
)
JSON = {"Content-Type": "application/json"}
EVENTS = {"Content-Type": "text/event-stream"}


@pytest.fixture
async def server() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as running:
        yield running


@pytest.fixture
async def model(server: FakeProvider) -> AsyncIterator[OpenAICompatible]:
    made = OpenAICompatible(server.base_url, api_key="sk-x", provider=PROVIDERS["openai"])
    yield made
    await made.close()


async def streamed(model: OpenAICompatible, request: ChatRequest = ASK) -> list[str]:
    async with model.stream(request) as chunks:
        return [chunk.text async for chunk in chunks if chunk.text]


# -- answers that are wrong ----------------------------------------------------------------------


async def test_a_redirect_is_not_followed(server: FakeProvider, model: OpenAICompatible) -> None:
    server.will(Raw(b"", status=307, headers={"Location": "http://169.254.169.254/secrets"}))
    with pytest.raises(BadModelRequest, match="redirects are not followed"):
        await model.chat(ASK)
    assert server.count == 1


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip bomb"])
async def test_an_answer_over_the_limit_is_not_read_to_its_end(
    server: FakeProvider, compressed: bool
) -> None:
    http = Http(max_response_bytes=100_000)
    model = OpenAICompatible(server.base_url, http=http)
    body = b" " * 5_000_000
    more = {"Content-Encoding": "gzip"} if compressed else {}
    server.will(Raw(gzip.compress(body) if compressed else body, headers=JSON | more))
    with pytest.raises(BadModelAnswer, match=r"over the limit of 100,000 bytes"):
        await model.chat(ASK)
    await http.close()


async def test_a_stream_over_the_limit_ends(server: FakeProvider) -> None:
    http = Http(max_response_bytes=10_000)
    model = OpenAICompatible(server.base_url, http=http)
    server.will(Say("word " * 5_000))
    with pytest.raises(BadModelAnswer, match="over the limit"):
        await streamed(model)
    await http.close()


async def test_an_endless_error_page_is_not_read(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(Raw(b"x" * 10_000_000, status=500))
    with pytest.raises(ModelUnavailable, match="long error page"):
        await model.chat(ASK)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (b'{"error": {"code": 429, "message": "slow down"}}', 429, "rate_limited"),
        (b'{"error": {"message": "overloaded"}}', 500, "model_unavailable"),
        (b'{"error": "broken"}', 500, "model_unavailable"),
    ],
)
async def test_an_error_inside_an_answer_of_status_200_is_an_error(
    error: bytes, status: int, kind: str, server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(Raw(error, headers=JSON))
    with pytest.raises(ModelError) as whole:
        await model.chat(ASK)
    part = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    server.will(Raw(part + b"data: " + error + b"\n\n", headers=EVENTS))
    with pytest.raises(ModelError) as in_stream:
        await streamed(model)
    for failed in (whole.value, in_stream.value):
        assert (failed.status, failed.code) == (status, kind)


async def test_an_error_event_of_the_responses_api_is_an_error(server: FakeProvider) -> None:
    model = OpenAICompatible(server.base_url, wire="responses")
    failed = b'{"type":"response.failed","response":{"error":{"code":"x","message":"no luck"}}}'
    for event in (failed, b'{"type":"error","code":"x","message":"no luck"}'):
        server.will(Raw(b"data: " + event + b"\n\n", headers=EVENTS))
        with pytest.raises(ModelUnavailable, match="no luck"):
            await streamed(model)
    await model.close()


async def test_a_server_that_is_not_there_is_unavailable_and_named() -> None:
    model = OpenAICompatible("http://127.0.0.1:1/v1", api_key="sk-secret-key")
    with pytest.raises(ModelUnavailable, match=r"http://127\.0\.0\.1:1 .*is it up") as failed:
        await model.chat(ASK)
    await model.close()
    assert failed.value.status is None
    assert "sk-secret" not in f"{failed.value!r} {failed.value.__cause__!r}"


async def test_a_connection_that_the_server_closed_meanwhile_is_unavailable(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as rude:
        port = rude.sockets[0].getsockname()[1]
        other = OpenAICompatible(f"http://127.0.0.1:{port}/v1")
        with pytest.raises(ModelUnavailable):
            await other.chat(ASK)
        await other.close()


# -- requests ------------------------------------------------------------------------------------


async def test_a_field_of_the_port_cannot_be_slipped_in_through_extra(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    import msgspec

    def with_extra(**fields: Any) -> ChatRequest:
        return msgspec.structs.replace(ASK, extra=fields)

    with pytest.raises(BadModelRequest, match="max_tokens, stream"):
        await model.chat(with_extra(stream=True, max_tokens=10**9))
    assert server.count == 0
    await model.chat(with_extra(reasoning_effort="low"))
    assert server.requests[0].body["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("model_name", "with_tools", "base_url", "wanted"),
    [
        ("gpt-5.5", True, "https://api.openai.com/v1", True),
        ("gpt-5.5", False, "https://api.openai.com/v1", False),
        ("gpt-5.5", True, "http://127.0.0.1:9/v1", False),
        ("gpt-4o", True, "https://api.openai.com/v1", False),
    ],
)
def test_the_responses_api_is_used_where_a_model_needs_it(
    model_name: str, with_tools: bool, base_url: str, wanted: bool
) -> None:
    model = OpenAICompatible(base_url, provider=PROVIDERS["openai"])
    request = ChatRequest(
        model=f"openai/{model_name}",
        messages=ASK.messages,
        tools=(ToolDefinition(name="f"),) if with_tools else (),
    )
    assert (model._wire_for(request).path == "/responses") is wanted


async def test_the_environments_proxy_is_used_unless_the_host_is_excluded(
    server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fake_provider() as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        direct = OpenAICompatible(server.base_url)
        await direct.chat(ASK)
        assert (server.count, proxy.count) == (1, 0)
        through = OpenAICompatible("http://models.example/v1")
        await through.chat(ASK)
        assert (server.count, proxy.count) == (1, 1)
        assert proxy.requests[0].headers["host"] == "models.example"
        await direct.close()
        await through.close()


async def test_embeddings_of_single_tokens_are_no_sentence_embeddings(
    server: FakeProvider,
) -> None:
    model = OpenAICompatible(server.base_url, provider=PROVIDERS["huggingface"])
    server.will(Raw(b"[[[0.1, 0.2], [0.3, 0.4]]]", headers=JSON))
    with pytest.raises(BadModelAnswer):
        await model.embed(
            EmbedRequest(model="huggingface/bert", input=("a",), timeout=PATIENCE_SECONDS)
        )
    await model.close()


@pytest.mark.parametrize(
    "vectors", [b"[]", b'[{"embedding": [1]}, {"embedding": [1]}]'], ids=["too few", "too many"]
)
async def test_a_missing_vector_is_a_bad_answer(
    vectors: bytes, server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(Raw(b'{"data": ' + vectors + b"}", headers=JSON))
    with pytest.raises(BadModelAnswer, match="vectors for 1 texts"):
        await model.embed(EmbedRequest(model="openai/e", input=("a",), timeout=PATIENCE_SECONDS))


async def test_no_embeddings_is_said_without_a_request(server: FakeProvider) -> None:
    model = OpenAICompatible(server.base_url, provider=PROVIDERS["xai"])
    with pytest.raises(UnsupportedByModel):
        await model.embed(EmbedRequest(model="xai/grok", input=("a",)))
    await model.close()
    assert server.count == 0


async def test_an_error_is_classified_the_same_in_a_stream(
    server: FakeProvider, model: OpenAICompatible
) -> None:
    server.will(Fail(409))
    with pytest.raises(ModelUnavailable):  # OpenAI's 409 means "try again"
        await streamed(model)
