"""The `scripted` adapter: a model that gives the answers it was told to. For tests, also yours.

model = ScriptedModel(["Hello!", TimeoutError(), lambda request: request.messages[-1].text])
...
assert model.calls == 3
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager

from aixgo.envelope import Usage
from aixgo.errors import AixgoError, ModelTimeout, ScriptExhausted
from aixgo.models.messages import ChatMessage, ToolCall
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    EmbedRequest,
    EmbedResponse,
)
from aixgo.models.providers import split_model
from aixgo.models.wires.answers import checked

Answer = str | ToolCall | Sequence[ToolCall] | ChatResponse | BaseException | type[BaseException]
"""A text, tool calls, a whole response, or something to raise."""

Script = Answer | Callable[[ChatRequest], Answer]
"""An answer, or how to make it from the request."""

_WORD = re.compile(r"\S+\s*|\s+")
_DIMENSIONS = 8


class ScriptedModel:
    """A `Model` that gives its answers in order, and remembers what it was asked.

    A `TimeoutError` in the script is raised as the port's `ModelTimeout`; other exceptions as they
    are. Streams come word by word. Tokens are words, so that counts are the same everywhere; a
    call costs 0. Embeddings are made from the text alone: equal texts have equal vectors.

    Args:
        script: the answers.
        repeat: give the last answer again and again instead of failing at the end.

    Attributes:
        requests: chat requests, oldest first, the failed ones too.
        embed_requests: the same for embeddings.
    """

    def __init__(self, script: Iterable[Script] = (), *, repeat: bool = False) -> None:
        self._script: deque[Script] = deque(script)
        self._repeat = repeat
        self.requests: list[ChatRequest] = []
        self.embed_requests: list[EmbedRequest] = []

    @property
    def calls(self) -> int:
        """How often a chat was asked for, streamed or not."""
        return len(self.requests)

    def add(self, *answers: Script) -> None:
        """Append to the script."""
        self._script.extend(answers)

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the next answer of the script.

        Raises:
            ScriptExhausted: there is none left.
        """
        await asyncio.sleep(0)  # a model call always gives others a turn
        return self._next(request)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the next answer word by word; the last chunk carries the whole response."""
        async with aclosing(_words(await self.chat(request))) as chunks:
            yield chunks

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text, made from its characters."""
        self.embed_requests.append(request)
        await asyncio.sleep(0)
        size = request.dimensions or _DIMENSIONS
        usage = Usage(prompt_tokens=sum(map(_tokens, request.input)), model_calls=1)
        vectors = tuple(_vector(text, size) for text in request.input)
        return EmbedResponse(model=request.model, vectors=vectors, usage=usage)

    async def close(self) -> None:
        """Nothing to close."""

    def _next(self, request: ChatRequest) -> ChatResponse:
        self.requests.append(request)
        if not self._script:
            asked = request.messages[-1].text if request.messages else ""
            raise ScriptExhausted(
                f"call {self.calls} to a scripted model of {self.calls - 1} answers (asked: "
                f"{asked[:80]!r}); give the script one more answer, or `repeat=True`"
            )
        last = self._repeat and len(self._script) == 1
        script = self._script[0] if last else self._script.popleft()
        answer: Answer = (
            script(request) if callable(script) and not isinstance(script, type) else script
        )
        return checked(request, _response(request, answer, self.calls))


def _response(request: ChatRequest, answer: Answer, number: int) -> ChatResponse:
    if isinstance(answer, BaseException | type):
        raise _raised(answer, request)
    if isinstance(answer, ChatResponse):
        return answer
    text = answer if isinstance(answer, str) else ""
    calls = () if isinstance(answer, str) else _calls(answer)
    prompt = sum(_tokens(message.text) for message in request.messages)
    completion = _tokens(text) + sum(_tokens(call.arguments) for call in calls)
    return ChatResponse(
        id=f"scripted-{number}",
        model=request.model,
        choices=(
            Choice(
                message=ChatMessage(role="assistant", content=text, tool_calls=calls),
                finish_reason="tool_calls" if calls else "stop",
            ),
        ),
        usage=Usage(prompt_tokens=prompt, completion_tokens=completion, model_calls=1),
    )


def _calls(answer: ToolCall | Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    return (answer,) if isinstance(answer, ToolCall) else tuple(answer)


def _raised(error: BaseException | type[BaseException], request: ChatRequest) -> BaseException:
    error = error() if isinstance(error, type) else error
    if isinstance(error, TimeoutError) and not isinstance(error, AixgoError):
        return ModelTimeout(
            f"{request.model}: the script says that it does not answer in time",
            provider=split_model(request.model)[0],
        )
    return error


async def _words(response: ChatResponse) -> AsyncGenerator[ChatChunk, None]:
    for word in _WORD.findall(response.text):
        await asyncio.sleep(0)
        yield ChatChunk(text=word)
    yield ChatChunk(response=response)


def _tokens(text: str) -> int:
    return len(text.split())


def _vector(text: str, size: int) -> tuple[float, ...]:
    digest = hashlib.shake_128(text.encode()).digest(2 * size)
    return tuple(
        int.from_bytes(digest[2 * i : 2 * i + 2], "big") / 32767.5 - 1.0 for i in range(size)
    )
