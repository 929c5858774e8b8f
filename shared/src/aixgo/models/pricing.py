"""What a call cost: known, free, or honestly unknown."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from msgspec.structs import replace

from aixgo.envelope import Usage
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    Model,
)
from aixgo.models.providers import split_model
from aixgo.models.settings import Price
from aixgo.models.wrapper import Wrapper

_Answered = TypeVar("_Answered", ChatResponse, EmbedResponse)


class Priced(Wrapper):
    """A `Model` around a `Model`: every answer has its price, where that is known.

    Args:
        model: says how many tokens it used.
        prices: by model name after the slash.
        free: the model runs on the user's own machines.
    """

    def __init__(self, model: Model, *, prices: Mapping[str, Price], free: bool) -> None:
        super().__init__(model)
        self._prices, self._free = prices, free

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer, priced."""
        return self._priced(request.model, await self._model.chat(request))

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text, priced."""
        return self._priced(request.model, await self._model.embed(request))

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the answer in pieces; the response of the last chunk is priced."""
        async with self._model.stream(request) as chunks:
            yield _PricedChunks(self, request.model, chunks)

    def _priced(self, model: str, answer: _Answered) -> _Answered:
        price = self._prices.get(split_model(model)[1])
        return replace(answer, usage=priced_usage(answer.usage, price, free=self._free))

    def chunk(self, model: str, chunk: ChatChunk) -> ChatChunk:
        """Return a chunk with its response priced."""
        if chunk.response is None:
            return chunk
        return replace(chunk, response=self._priced(model, chunk.response))


class _PricedChunks:
    def __init__(self, priced: Priced, model: str, chunks: AsyncIterator[ChatChunk]) -> None:
        self._priced, self._model, self._chunks = priced, model, chunks

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        return self

    async def __anext__(self) -> ChatChunk:
        return self._priced.chunk(self._model, await anext(self._chunks))


def cost_of(usage: Usage, price: Price) -> float:
    """Return US dollars."""
    cached_price = price.input if price.cached_input is None else price.cached_input
    fresh = usage.prompt_tokens - usage.cached_tokens
    per_million = (
        fresh * price.input
        + usage.cached_tokens * cached_price
        + usage.completion_tokens * price.output
    )
    return per_million / 1_000_000


def priced_usage(usage: Usage, price: Price | None, *, free: bool) -> Usage:
    """Return the usage of one call with its cost, or counted as unpriced.

    Args:
        price: of the model, where one was stated; it counts more than `free`.
        free: the model runs on the user's own machines.
    """
    cost: float | None = None
    if price is None:
        cost = 0.0 if free else None
    elif usage.total_tokens:  # what the provider did not count cannot be priced
        cost = cost_of(usage, price)
    return replace(
        usage,
        model_calls=1,
        cost_usd=cost or 0.0,
        unpriced_calls=1 if cost is None else 0,
    )
