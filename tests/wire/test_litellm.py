"""The litellm adapter: the promises of the port, and the bytes that every provider gets.

The only module of the suite that imports litellm, which takes two seconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest
from msgspec.structs import replace

from aixgo.errors import (
    BadModelRequest,
    ContentRefused,
    ContextTooLong,
    MissingExtra,
    ModelAuthFailed,
    ModelError,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    UnsupportedByModel,
)
from aixgo.models import (
    ChatMessage,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    LiteLLM,
    ModelHub,
    ModelSettings,
)
from aixgo.models.litellm import load
from aixgo.models.providers import PROVIDERS, Provider
from aixgo.testing import model_checks
from aixgo.testing.fake_provider import Raw, fake_provider
from aixgo.testing.model_checks import SECRET, Check, Stage
from aixgo.testing.model_checks._stage import WEATHER
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = [
    pytest.mark.long,  # importing litellm alone takes seconds
    pytest.mark.skipif(find_spec("litellm") is None, reason="pip install 'aixgo[litellm]'"),
    # litellm and what it imports warn about themselves at every opportunity
    pytest.mark.filterwarnings("ignore"),
]

CHAT_CASES = (
    "chat_tools",
    "chat_stream",
    "chat_tools_stream",
    "chat_tool_results",
    "chat_json_schema",
    "chat_plain",
)
OLLAMA = Provider(
    name="ollama", adapter="litellm", key_required=False, litellm_prefix="ollama_chat"
)


@pytest.fixture(scope="module", autouse=True)
def _litellm_around_its_tests() -> Iterator[None]:
    """Import it before, so that no call's deadline pays for it; and collect the sockets that it
    leaves behind, whose warnings would fail some other test.
    """
    asyncio.run(load())
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    await load()  # importing it takes longer than the time-outs of some checks
    async with fake_provider() as server:
        model = LiteLLM(PROVIDERS["openai"], api_key=SECRET, base_url=server.base_url)
        yield Stage(
            model, "openai/gpt-4o", server.will, embed_model="openai/text-embed", server=server
        )
        await model.close()


@pytest.mark.parametrize("check", model_checks.ALL, ids=lambda check: check.__name__)
async def test_litellm_keeps_the_promises_of_every_adapter(stage: Stage, check: Check) -> None:
    await check(stage)


@pytest.fixture(scope="module")
def service_account() -> dict[str, str]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "project_id": "proj-1",
        "private_key_id": "k1",
        "private_key": key.decode(),
        "client_email": "t@proj-1.iam.gserviceaccount.com",
        "client_id": "1",
    }


@pytest.fixture
def adapter(all_formats: Any, service_account: dict[str, str]) -> Callable[[str], LiteLLM]:
    """Make the adapter of a capture's name, with the fake server as its provider."""

    def make(name: str) -> LiteLLM:
        url = all_formats.url
        match name:
            case "anthropic":
                return LiteLLM(PROVIDERS["anthropic"], api_key="sk-ant-test", base_url=f"{url}/v1")
            case "gemini":
                return LiteLLM(PROVIDERS["gemini"], api_key="AIza-test", base_url=f"{url}/v1beta")
            case "ollama_chat":
                return LiteLLM(OLLAMA, base_url=f"{url}/v1")
            case _:
                pytest.importorskip("google.auth", reason="pip install 'aixgo[vertex]'")
                return LiteLLM(
                    PROVIDERS["vertex_ai"],
                    base_url=url,
                    project="proj-1",
                    location="us-east5" if "claude" in name else "us-central1",
                    credentials=json.dumps(service_account | {"token_uri": f"{url}/token"}),
                )

    return make


PROVIDER_OF = {
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex_ai": "vertex_ai",
    "vertex_ai_claude": "vertex_ai",
    "ollama_chat": "ollama",
}


@pytest.mark.parametrize("case", CHAT_CASES)
@pytest.mark.parametrize("name", PROVIDER_OF)
async def test_a_request_is_the_captured_one(
    name: str,
    case: str,
    capture: Callable[[str, str], Any],
    adapter: Callable[[str], LiteLLM],
    all_formats: Any,
) -> None:
    recorded = capture(name, case)
    all_formats.tools = case in {"chat_tools", "chat_tools_stream"}
    if case == "chat_json_schema":
        all_formats.text = '{"city": "Paris", "temp": 20}'
    model = adapter(name)
    answer = await ask(model, recorded.chat(PROVIDER_OF[name]), streamed="stream" in case)
    await model.close()
    (sent,) = all_formats.prompts
    assert sent["path"] == recorded.sent["path"]
    assert sent["body"] == recorded.sent["body"]
    for header in ("x-api-key", "x-goog-api-key", "anthropic-version", "anthropic-beta"):
        assert sent["headers"].get(header) == recorded.sent["headers"].get(header)
    assert sent["headers"].get("authorization") == recorded.sent["headers"].get("authorization")
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens >= 12
    if all_formats.tools:
        cities = [json.loads(call.arguments)["city"] for call in answer.message.tool_calls]
        assert cities == ["Paris", "Rome"]
        assert answer.choices[0].finish_reason == "tool_calls"
        assert len({call.id for call in answer.message.tool_calls}) == 2
    else:
        assert answer.text == all_formats.text
        assert answer.choices[0].finish_reason == "stop"


async def ask(model: LiteLLM, request: ChatRequest, *, streamed: bool) -> ChatResponse:
    if not streamed:
        return await model.chat(request)
    pieces, response = [], None
    async with model.stream(request) as chunks:
        async for chunk in chunks:
            pieces.append(chunk.text)
            response = chunk.response
    assert response is not None
    assert "".join(pieces) == response.text
    return response


@pytest.mark.parametrize("name", ["gemini", "vertex_ai", "ollama_chat"])
async def test_an_embedding_request_is_the_captured_one(
    name: str,
    capture: Callable[[str, str], Any],
    adapter: Callable[[str], LiteLLM],
    all_formats: Any,
) -> None:
    recorded = capture(name, "embedding")
    model = adapter(name)
    embed_model = f"{PROVIDER_OF[name]}/{recorded.call['model'].partition('/')[2]}"
    answer = await model.embed(
        EmbedRequest(model=embed_model, input=("hello", "world"), timeout=PATIENCE_SECONDS)
    )
    await model.close()
    assert [sent["path"] for sent in all_formats.prompts] == [recorded.sent["path"]]
    assert all_formats.prompts[0]["body"] == recorded.sent["body"]
    assert answer.vectors == ((0.1, 0.2, 0.3),) * 2


HELLO = (ChatMessage(role="user", content="A prompt that nobody else should see."),)


async def test_a_thought_hidden_in_a_tool_call_id_goes_back_unchanged(
    capture: Callable[[str, str], Any], adapter: Callable[[str], LiteLLM], all_formats: Any
) -> None:
    request = capture("gemini", "chat_tools").chat("gemini")
    all_formats.tools = True
    model = adapter("gemini")
    asked = (await model.chat(request)).message
    results = tuple(
        ChatMessage(role="tool", tool_call_id=call.id, content="{}") for call in asked.tool_calls
    )
    await model.chat(
        ChatRequest(
            model=request.model,
            messages=(*request.messages, asked, *results),
            tools=request.tools,
            timeout=PATIENCE_SECONDS,
        )
    )
    await model.close()
    contents = all_formats.prompts[-1]["body"]["contents"]
    parts = [part for content in contents for part in content["parts"]]
    assert "c2ln" in [part.get("thoughtSignature") for part in parts]
    results_sent = [p["function_response"] for p in parts if "function_response" in p]
    assert [result["name"] for result in results_sent] == ["get_weather", "get_weather"]


async def test_the_tools_of_a_request_are_not_edited(
    capture: Callable[[str, str], Any], adapter: Callable[[str], LiteLLM]
) -> None:
    recorded = capture("anthropic", "chat_tools")
    request = recorded.chat("gemini")
    model = adapter("gemini")
    await model.chat(request)
    await model.close()
    assert request == recorded.chat("gemini")
    assert "additionalProperties" in request.tools[0].parameters


async def test_anthropic_gets_a_limit_when_the_request_has_none(
    adapter: Callable[[str], LiteLLM], all_formats: Any
) -> None:
    model = adapter("anthropic")
    await model.chat(
        ChatRequest(model="anthropic/claude-sonnet-4-5", messages=HELLO, timeout=PATIENCE_SECONDS)
    )
    await model.close()
    assert all_formats.prompts[0]["body"]["max_tokens"] == 1024


@pytest.mark.parametrize("name", ["anthropic", "gemini", "vertex_ai", "ollama_chat"])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, ModelAuthFailed),
        (429, RateLimited),
        (500, ModelUnavailable),
        (502, ModelUnavailable),
        (503, ModelUnavailable),
        (529, ModelUnavailable),
    ],
)
async def test_a_status_means_the_same_at_every_provider(
    name: str,
    status: int,
    expected: type[ModelError],
    adapter: Callable[[str], LiteLLM],
    all_formats: Any,
) -> None:
    all_formats.failure = (status, {"retry-after": "7"})
    model = adapter(name)
    provider = PROVIDER_OF[name]
    request = ChatRequest(
        model=f"{provider}/claude-sonnet-4-5", messages=HELLO, timeout=PATIENCE_SECONDS
    )
    with pytest.raises(ModelError) as failed:
        await model.chat(request)
    await model.close()
    assert type(failed.value) is expected
    assert failed.value.provider == provider
    assert "A prompt that nobody else should see" not in str(failed.value)
    assert failed.value.__cause__ is None, "litellm's exception holds the messages"
    assert len(all_formats.prompts) == 1, "litellm tried again by itself"
    if expected is RateLimited:
        assert failed.value.retry_after == 7.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("litellm.APIConnectionError: No module named 'google.auth'; Traceback (…", MissingExtra),
        ("litellm.APIConnectionError: Service account info was not as expected", ModelAuthFailed),
        ("litellm.APIConnectionError: VertexException - it was lost", ModelUnavailable),
    ],
)
async def test_what_litellm_calls_a_lost_connection_is_told_apart(
    text: str, expected: type[Exception]
) -> None:
    class APIConnectionError(Exception):
        status_code = 500

    model = LiteLLM(PROVIDERS["vertex_ai"], project="p", location="l")
    error = model._translated(APIConnectionError(text), "vertex_ai/gemini", 1.0)
    assert type(error) is expected
    assert "litellm.API" not in str(error)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ContextWindowExceededError", ContextTooLong),
        ("ContentPolicyViolationError", ContentRefused),
        ("UnsupportedParamsError", UnsupportedByModel),
        ("BadRequestError", BadModelRequest),
    ],
)
async def test_errors_that_share_a_status_are_told_apart_by_their_class(
    name: str, expected: type[ModelError]
) -> None:
    error = type(name, (Exception,), {"status_code": 400})("it is wrong")
    model = LiteLLM(PROVIDERS["gemini"], api_key="AIza-test")
    assert type(model._translated(error, "gemini/gemini-2.5-flash", 1.0)) is expected


async def test_a_refused_connection_is_a_provider_that_is_down() -> None:
    model = LiteLLM(PROVIDERS["anthropic"], api_key="sk-x", base_url="http://127.0.0.1:1")
    with pytest.raises(ModelUnavailable):
        await model.chat(
            ChatRequest(model="anthropic/claude", messages=HELLO, timeout=PATIENCE_SECONDS)
        )
    await model.close()


async def test_a_prompt_that_is_too_long_has_its_own_error(stage: Stage) -> None:
    from aixgo.testing.fake_provider import Fail

    stage.fake.will(
        Fail(400, message="This model's maximum context length is 8192 tokens.", code="x")
    )
    with pytest.raises(ContextTooLong):
        await stage.model.chat(stage.ask())


async def test_a_provider_without_embeddings_says_so_without_a_request() -> None:
    model = LiteLLM(PROVIDERS["anthropic"], api_key="sk-x")
    with pytest.raises(UnsupportedByModel, match="anthropic"):
        await model.embed(EmbedRequest(model="anthropic/claude", input=("x",)))


async def test_the_hub_reaches_anthropic_by_its_name(all_formats: Any) -> None:
    settings = {"anthropic": {"api_key": "sk-ant-test", "base_url": all_formats.url + "/v1"}}
    hub = ModelHub(ModelSettings.model_validate({"providers": settings}))
    answer = await hub.chat(ChatRequest(model="anthropic/claude-sonnet-4-5", messages=HELLO))
    await hub.close()
    assert all_formats.prompts[0]["path"] == "/v1/messages"
    assert answer.usage.unpriced_calls == 1
    assert answer.usage.cost is None


async def test_any_provider_of_litellm_can_be_declared(all_formats: Any) -> None:
    declared = {"ollama_chat": {"adapter": "litellm", "base_url": all_formats.url}}
    hub = ModelHub(ModelSettings.model_validate({"providers": declared}), environment={})
    answer = await hub.chat(ChatRequest(model="ollama_chat/llama3.1", messages=HELLO))
    await hub.close()
    assert all_formats.prompts[0]["path"] == "/api/chat"
    assert answer.usage.unpriced_calls == 1


async def test_importing_litellm_makes_no_connection_and_reads_no_env_file(
    tmp_path: Any,
) -> None:
    code = (
        "import sys, asyncio\n"
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'): seen.append(args)\n"
        "    if event == 'open' and str(args[0]).endswith('.env'): seen.append(args)\n"
        "sys.addaudithook(hook)\n"
        "from aixgo.models.litellm import load\n"
        "asyncio.run(load())\n"
        "assert 'openai.resources' in sys.modules, 'the first call would import on the loop'\n"
        "print(seen)\n"
    )
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-a-file")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=tmp_path, stdout=subprocess.PIPE, env=dict(os.environ)
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0
    assert output.decode().strip() == "[]"


async def test_a_slow_provider_is_a_timeout_of_ours(stage: Stage) -> None:
    from aixgo.testing.fake_provider import Say

    stage.fake.will(Say("late", hang=True))
    with pytest.raises(ModelTimeout, match=r"within 0\.2 s"):
        await stage.model.chat(stage.ask(timeout=0.2))


async def test_a_stream_of_anthropic_that_ends_without_a_stop_is_half_an_answer() -> None:
    def event(kind: str, **fields: object) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"

    start = {"id": "m", "role": "assistant", "content": [], "model": "c", "usage": {}}
    begin = event("message_start", message=start) + event(
        "content_block_start", index=0, content_block={"type": "text", "text": ""}
    )
    begin += event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Half"})
    end = event("content_block_stop", index=0) + event(
        "message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}
    )
    asked = ChatRequest(
        model="anthropic/claude",
        messages=(ChatMessage(role="user", content="hi"),),
        timeout=20.0,
    )
    async with fake_provider() as server:
        model = LiteLLM(PROVIDERS["anthropic"], api_key=SECRET, base_url=server.base_url)
        stream = {"Content-Type": "text/event-stream"}
        server.will(
            Raw(begin.encode(), headers=stream), Raw((begin + end).encode(), headers=stream)
        )
        with pytest.raises(ModelUnavailable, match="in the middle"):
            await pieces_of(model, asked)
        assert await pieces_of(model, asked) == "Half"
        await model.close()


async def pieces_of(model: LiteLLM, request: ChatRequest) -> str:
    async with model.stream(request) as chunks:
        return "".join([chunk.text async for chunk in chunks])


# -- Bedrock ---------------------------------------------------------------------------------------


def converse(*content: dict[str, Any], reason: str = "end_turn") -> Raw:
    """An answer of Bedrock's Converse API."""
    body = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": reason,
        "usage": {"inputTokens": 50, "outputTokens": 12, "totalTokens": 62},
        "metrics": {"latencyMs": 1},
    }
    return Raw(json.dumps(body).encode(), headers={"Content-Type": "application/json"})


@asynccontextmanager
async def bedrock() -> AsyncGenerator[Stage, None]:
    async with fake_provider() as server:
        settings = {
            "api_key": SECRET,
            "base_url": server.base_url.removesuffix("/v1"),
            "max_attempts": 1,
        }
        hub = ModelHub(ModelSettings.model_validate({"providers": {"bedrock": settings}}))
        yield Stage(hub, "bedrock/amazon.nova-lite-v1:0", server.will, server=server)
        await hub.close()


async def test_bedrock_answers_calls_tools_and_takes_their_results() -> None:
    async with bedrock() as stage:
        use = {"toolUse": {"toolUseId": "use_1", "name": "get_weather", "input": {"city": "Rome"}}}
        stage.fake.will(converse(use, reason="tool_use"), converse({"text": "20 degrees."}))
        request = stage.ask("Weather in Rome?", tools=(WEATHER,), max_tokens=80, temperature=0.5)
        asked = await stage.model.chat(request)
        (call,) = asked.message.tool_calls
        assert (call.id, call.name) == ("use_1", "get_weather")
        assert json.loads(call.arguments) == {"city": "Rome"}
        assert asked.choices[0].finish_reason == "tool_calls"
        assert (asked.usage.prompt_tokens, asked.usage.completion_tokens) == (50, 12)
        result = ChatMessage(role="tool", tool_call_id=call.id, content='{"celsius": 20}')
        talk = (*request.messages, asked.message, result)
        answer = await stage.model.chat(replace(request, messages=talk))
        assert answer.text == "20 degrees."
        first, second = stage.fake.requests
        assert first.path == "/model/amazon.nova-lite-v1:0/converse"
        assert first.headers["authorization"] == f"Bearer {SECRET}"
        assert first.body["inferenceConfig"] == {"maxTokens": 80, "temperature": 0.5}
        spec = first.body["toolConfig"]["tools"][0]["toolSpec"]
        assert spec["name"] == "get_weather"
        back = second.body["messages"][-1]["content"][0]["toolResult"]
        assert back["toolUseId"] == "use_1"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, BadModelRequest), (403, ModelAuthFailed), (429, RateLimited), (503, ModelUnavailable)],
)
async def test_bedrocks_statuses_mean_what_they_mean_elsewhere(
    status: int, expected: type[ModelError]
) -> None:
    async with bedrock() as stage:
        stage.fake.will(Raw(b'{"message": "it did not work"}', status=status))
        with pytest.raises(expected) as failed:
            await stage.model.chat(stage.ask())
        assert type(failed.value) is expected
        assert stage.fake.count == 1


async def test_what_bedrock_does_not_take_is_an_error_before_anything_is_sent() -> None:
    async with bedrock() as stage:
        with pytest.raises(UnsupportedByModel, match="seed 7"):
            await stage.model.chat(stage.ask(seed=7))
        assert stage.fake.count == 0


async def test_what_only_litellm_knows_to_be_unsupported_is_an_error_or_left_out() -> None:
    async with fake_provider() as server:
        model = LiteLLM(PROVIDERS["cohere"], api_key=SECRET, base_url=server.base_url)
        request = ChatRequest(
            model="cohere/command-r", messages=HELLO, seed=7, timeout=PATIENCE_SECONDS
        )
        assert model._fitting.chat(request) == request
        refused = UnsupportedByModel("it does not support parameters: ['seed']")
        with pytest.raises(UnsupportedByModel):
            model._fitting.after_refusal(request, refused)
        left = model._fitting.after_refusal(replace(request, on_unsupported="drop"), refused)
        assert left.seed is None
        await model.close()
