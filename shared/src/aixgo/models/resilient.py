"""Retries and the deadline of a model call: written once, around the port.

Only what may help is done again: overload, lost connections, time-outs of single attempts. An
answer that came but is bad (`BadModelAnswer`) was paid for, so asking again is the caller's
decision, where the usage is counted. Nothing is retried after the first piece of a stream was
handed on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from msgspec.structs import replace

from aixgo.errors import BadModelAnswer, ModelError, ModelTimeout
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    Model,
)
from aixgo.models.providers import split_model

INITIAL_BACKOFF = 0.5
"""Seconds: the longest first wait. A restarted load balancer is back by then."""

MAX_BACKOFF = 20.0
"""Seconds: the longest wait that we choose ourselves; a provider's Retry-After may be longer."""

_Answer = TypeVar("_Answer")
_Request = TypeVar("_Request", ChatRequest, EmbedRequest)


def backoff(attempt: int, *, initial: float = INITIAL_BACKOFF, cap: float = MAX_BACKOFF) -> float:
    """Return seconds before the next attempt: uniform in 0 … min(cap, initial * 2**(attempt - 1)).

    Source: "full jitter", AWS Architecture Blog, Exponential Backoff And Jitter (2015).

    Args:
        attempt: attempts so far, 1 for the first.
    """
    return random.uniform(0.0, min(cap, initial * 2.0 ** min(attempt - 1, 30)))


class Resilient:
    """A `Model` around a `Model`: attempts within one deadline.

    Args:
        model: tries once.
        timeout: seconds for a call with all its attempts, where the request has none.
        max_attempts: attempts in all, the first included; 1 never retries.
        wait: seconds before the next attempt, from the number of attempts so far.
    """

    def __init__(
        self,
        model: Model,
        *,
        timeout: float,
        max_attempts: int,
        wait: Callable[[int], float] = backoff,
    ) -> None:
        self._model = model
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._wait = wait

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer of the first attempt that succeeds."""
        return await self._repeat(request, self._model.chat)

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return the vectors of the first attempt that succeeds."""
        return await self._repeat(request, self._model.embed)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the pieces of the first attempt that gives one."""
        async with AsyncExitStack() as stack:

            async def begin(attempt: ChatRequest) -> _Begun:
                async with AsyncExitStack() as trial:
                    chunks = await trial.enter_async_context(self._model.stream(attempt))
                    first = await anext(chunks, None)
                    stack.push_async_exit(trial.pop_all())
                    return _Begun(first, chunks)

            yield await self._repeat(request, begin)

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()

    async def _repeat(
        self, request: _Request, attempt: Callable[[_Request], Awaitable[_Answer]]
    ) -> _Answer:
        loop = asyncio.get_running_loop()
        total = self._timeout if request.timeout is None else request.timeout
        deadline = loop.time() + total
        number = 1
        while True:
            try:
                return await attempt(replace(request, timeout=deadline - loop.time()))
            except ModelError as error:
                pause = self._pause(error, number, deadline - loop.time())
                if pause is None:
                    if number > 1:
                        error.add_note(f"attempts: {number}, within {total:.3g} s")
                    raise self._at_deadline(error, request, total) from error.__cause__
            await asyncio.sleep(pause)
            number += 1

    def _pause(self, error: ModelError, attempts: int, remaining: float) -> float | None:
        """Return seconds before the next attempt, or None when there is to be none."""
        if not error.retryable or isinstance(error, BadModelAnswer):
            return None
        if attempts >= self._max_attempts:
            return None
        pause = max(self._wait(attempts), error.retry_after or 0.0)
        return pause if pause < remaining else None

    def _at_deadline(
        self, error: ModelError, request: ChatRequest | EmbedRequest, total: float
    ) -> ModelError:
        """Return the error as the caller sees it: their own timeout, not what was left of it."""
        if not isinstance(error, ModelTimeout) or error.status is not None:
            return error
        found = ModelTimeout(
            f"{request.model} did not finish within {total:.3g} s, with all attempts; raise the "
            "timeout, or ask for a shorter answer with max_tokens",
            provider=split_model(request.model)[0],
        )
        for note in getattr(error, "__notes__", ()):
            found.add_note(note)
        return found


class _Begun:
    """A stream whose first piece has been read already."""

    def __init__(self, first: ChatChunk | None, rest: AsyncIterator[ChatChunk]) -> None:
        self._first, self._rest = first, rest

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        return self

    async def __anext__(self) -> ChatChunk:
        if (first := self._first) is not None:
            self._first = None
            return first
        return await anext(self._rest)
