"""`Wrapper`: a `Model` around a `Model`, the base of everything that adds one thing to all of them.

A wrapper overrides what it changes and leaves the rest: retries and prices are wrappers, and so
are budgets, limits and caches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    Model,
)


class Wrapper:
    """Hands everything on to the model inside.

    Args:
        model: closed with the wrapper.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer."""
        return await self._model.chat(request)

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatChunk]]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        return self._model.stream(request)

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text."""
        return await self._model.embed(request)

    async def close(self) -> None:
        """Close the model inside; idempotent."""
        await self._model.close()
