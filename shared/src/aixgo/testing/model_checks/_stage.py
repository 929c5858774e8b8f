"""What a check gets: an adapter, and a way to order what the model behind it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from aixgo.errors import ModelError, ModelTimeout
from aixgo.models.messages import ChatMessage
from aixgo.models.port import ChatRequest, ChatResponse, Model, ResponseSchema, ToolDefinition
from aixgo.testing.expect import equal, expect
from aixgo.testing.fake_provider import FakeProvider, Received, Say
from aixgo.testing.waiting import PATIENCE_SECONDS

SECRET = "sk-checks-0123456789abcdef"
"""The key for the adapter under test; no error may show it."""

_CITY_ONLY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = ToolDefinition(name="get_weather", description="Weather of a city", parameters=_CITY_ONLY)
CITY = ResponseSchema(name="city", schema=_CITY_ONLY)

_Error = TypeVar("_Error", bound=ModelError)


@dataclass(frozen=True, slots=True)
class Stage:
    """An adapter under test.

    Attributes:
        model: the adapter; given the key `SECRET` where it takes one.
        chat_model: `provider/model` to chat with.
        order: makes the model answer this next. A real model does nothing here.
        exact: answers are those that were ordered, to the letter.
        embed_model: `provider/model` to embed with.
        server: the fake provider behind the adapter.
        timeout: seconds for a call; a real model on a loaded machine needs more.
    """

    model: Model
    chat_model: str
    order: Callable[[Say], None]
    exact: bool = True
    embed_model: str = ""
    server: FakeProvider | None = None
    timeout: float = PATIENCE_SECONDS

    @property
    def fake(self) -> FakeProvider:
        """The fake provider, for checks that need one."""
        if self.server is None:
            raise AssertionError("this check needs the fake provider behind the adapter")
        return self.server

    def ask(self, text: str = "What is the capital of France?", **fields: object) -> ChatRequest:
        """Return a request of one question."""
        question = ChatMessage(role="user", content=text)
        request = ChatRequest(model=self.chat_model, messages=(question,), timeout=self.timeout)
        return replace(request, **fields)


Check = Callable[[Stage], Awaitable[None]]


def counted(response: ChatResponse) -> None:
    """Check that the usage of a call is there and plausible."""
    usage = response.usage
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    expect(min(tokens) > 0, f"nothing was counted: {usage!r}")
    expect(usage.cached_tokens <= usage.prompt_tokens, f"more cached than prompted: {usage!r}")
    equal("model calls", usage.model_calls, 1)


async def streamed(stage: Stage, request: ChatRequest) -> tuple[list[str], ChatResponse]:
    """Return the texts of a stream and its response, which must come last and once."""
    texts: list[str] = []
    response: ChatResponse | None = None
    async with stage.model.stream(request) as chunks:
        async for chunk in chunks:
            expect(response is None, "something follows the chunk that carries the response")
            if chunk.text:
                texts.append(chunk.text)
            response = chunk.response
    if response is None:
        raise AssertionError("the stream ended without a response")
    return texts, response


async def failing(
    stage: Stage, request: ChatRequest, expected: type[_Error], *, stream: bool = False
) -> _Error:
    """Return the error with which a request ends."""
    try:
        if stream:
            _, answer = await streamed(stage, request)
        else:
            answer = await stage.model.chat(request)
    except expected as error:
        return error
    raise AssertionError(f"no {expected.__name__}, but an answer: {answer.text[:80]!r}")


async def failing_in_time(stage: Stage, request: ChatRequest, *, stream: bool) -> None:
    """Check that a request's timeout is kept: not earlier, and at all."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await failing(stage, request, ModelTimeout, stream=stream)
    took, limit = loop.time() - started, request.timeout or 0.0
    expect(0.9 * limit < took < PATIENCE_SECONDS, f"{took:.2f} s instead of {limit} s")


async def hung_up(received: Received) -> None:
    """Check that the client closed the socket of a request."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await received.hung_up.wait()
    except TimeoutError:
        raise AssertionError(f"the socket was still open after {PATIENCE_SECONDS} s") from None
