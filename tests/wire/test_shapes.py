"""Every recorded shape, through real HTTP, is the answer or the error that it should be."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aixgo.errors import ModelError
from aixgo.models import ChatMessage, ChatRequest, ChatResponse, OpenAICompatible, ResponseSchema
from aixgo.models.http import Http
from aixgo.testing.fake_provider import FakeProvider, Raw, fake_provider

from .shapes._shape import Shape
from .shapes.answers import ANSWERS
from .shapes.streams import STREAMS

CITY = ResponseSchema(
    name="city",
    schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
HI = (ChatMessage(role="user", content="hi"),)


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as running:
        yield running


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[Http]:
    made = Http()
    yield made
    await made.close()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aixgo.models.openai_compatible.AFTER_THE_END", 0.2)


@pytest.mark.parametrize("each", [0, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("shape", [*STREAMS, *ANSWERS], ids=lambda shape: shape.id)
async def test_what_a_server_sends_is_taken_for_what_it_is(
    shape: Shape, each: int, server: FakeProvider, http: Http
) -> None:
    if each and len(shape.body) > 10_000:
        pytest.skip("too many pieces")
    kind = {"Content-Type": "text/event-stream"} if shape.asked == "stream" else {}
    sent = Raw(
        shape.body,
        status=shape.status,
        headers={**kind, **shape.headers},
        then=shape.then,
        each=each,
    )
    server.will(sent)
    before = server.count
    model = OpenAICompatible(server.base_url, wire=shape.wire, http=http)
    request = ChatRequest(
        model="openai_compatible/m",
        messages=HI,
        timeout=10.0,
        response=CITY if shape.schema else None,
    )
    if shape.error is None:
        response = await answered(model, request, shape)
        assert response.text == shape.text
        calls = tuple((call.name, call.arguments) for call in response.message.tool_calls)
        assert calls == shape.calls
        assert len({call.id for call in response.message.tool_calls}) == len(calls)
        assert response.choices[0].finish_reason == shape.finish
        if shape.usage is not None:
            usage = response.usage
            assert (
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.cached_tokens,
            ) == shape.usage
    else:
        with pytest.raises(ModelError) as failed:
            await answered(model, request, shape)
        if shape.error is not ModelError:
            assert type(failed.value) is shape.error, failed.value
        assert shape.says in str(failed.value)
    assert server.count == before + 1, "an answer that was paid for was asked for again"


async def answered(model: OpenAICompatible, request: ChatRequest, shape: Shape) -> ChatResponse:
    if shape.asked == "chat":
        return await model.chat(request)
    text = ""
    async with model.stream(request) as chunks:
        async for chunk in chunks:
            text = chunk.text if chunk.again else text + chunk.text
    assert chunk.response is not None
    assert text == chunk.response.text, "the pieces are not the whole"
    return chunk.response
