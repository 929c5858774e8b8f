"""The `bus` adapter: a model reached through the model gateway, which alone holds keys.

What travels: `ModelTask` as the payload of a durable call to the gateway, `TokenBatch` on the
TOKENS stream while it runs. How they travel is the `Transport`'s business (that of `Context` makes
each call a durable step).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import msgspec

from aixgo.errors import BadModelRequest
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
)

GATEWAY = "llm"
"""Name of the agent that the model gateway serves."""


class ModelTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Payload of a call to the gateway: exactly one of the two."""

    chat: ChatRequest | None = None
    embed: EmbedRequest | None = None

    @property
    def request(self) -> ChatRequest | EmbedRequest:
        """The one that is there; `decode_task` has made sure that there is one."""
        request = self.chat or self.embed
        if request is None:
            raise BadModelRequest("a model task has either `chat` or `embed`, not none")
        return request


class TokenBatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message of the TOKENS stream: the `n`th piece of a step's text; the last has `end`.

    Attributes:
        again: the text begins again with this piece, and what came before it is void.
    """

    n: int
    text: str = ""
    again: bool = False
    end: bool = False


class Transport(Protocol):
    """How a task reaches the gateway and its answer comes back."""

    async def send(self, task: ModelTask) -> bytes:
        """Return the answer's JSON.

        Raises:
            ModelError, CallError: as the gateway said.
        """
        ...

    def send_streaming(
        self, task: ModelTask
    ) -> AbstractAsyncContextManager[AsyncIterator[TokenBatch | bytes]]:
        """Yield token batches as they come, in order, and at the end the answer's JSON."""
        ...


_chat = msgspec.json.Decoder(ChatResponse)
_embed = msgspec.json.Decoder(EmbedResponse)
_task = msgspec.json.Decoder(ModelTask)


def decode_task(body: bytes) -> ModelTask:
    """Return the task in a payload.

    Raises:
        BadModelRequest: it is none; names the place.
    """
    try:
        task = _task.decode(body)
    except msgspec.DecodeError as error:
        raise BadModelRequest(
            f"not a model task: {error}; send {{'chat': {{…}}}} or {{'embed': {{…}}}}"
        ) from error
    if (task.chat is None) == (task.embed is None):
        raise BadModelRequest("a model task has either `chat` or `embed`, not both and not none")
    return task


class BusModel:
    """A `Model` behind a transport; it has no sockets and no keys of its own."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer."""
        return _chat.decode(await self._transport.send(ModelTask(chat=request)))

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        task = ModelTask(chat=msgspec.structs.replace(request, stream=True))
        async with self._transport.send_streaming(task) as pieces:
            yield _chunks(pieces)

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text."""
        return _embed.decode(await self._transport.send(ModelTask(embed=request)))

    async def close(self) -> None:
        """Nothing to close."""


async def _chunks(pieces: AsyncIterator[TokenBatch | bytes]) -> AsyncGenerator[ChatChunk, None]:
    seen = ""
    async for piece in pieces:
        if isinstance(piece, TokenBatch):
            again = piece.again and bool(seen)
            seen = piece.text if again else seen + piece.text
            if piece.text or again:
                yield ChatChunk(text=piece.text, again=again)
            continue
        response = _chat.decode(piece)
        # tokens are best effort, the result is the truth: what did not arrive live comes with it
        again = not response.text.startswith(seen)
        text = response.text if again else response.text[len(seen) :]
        yield ChatChunk(text=text, again=again, response=response)
