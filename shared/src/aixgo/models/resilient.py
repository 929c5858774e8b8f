"""Retries and the deadline of a model call: written once, around the port.

Only what may help is done again: overload, lost connections, time-outs of single attempts. An
answer that came but is bad (`BadModelAnswer`) was paid for, so asking again is the caller's
decision, where the usage is counted. A stream that breaks ends as a call that is not streamed: it
is asked for again, and the first piece of the new text says that it begins `again`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Generic, TypeVar

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
from aixgo.models.wrapper import Wrapper

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


class Resilient(Wrapper):
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
        super().__init__(model)
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
        """Yield the pieces of the attempts; the first of a further attempt begins `again`."""
        async with aclosing(self._chunks(request)) as chunks:
            yield chunks

    async def _chunks(self, request: ChatRequest) -> AsyncGenerator[ChatChunk, None]:
        tries = _Tries(self, request)
        passed = again = False
        while True:
            try:
                async with self._model.stream(tries.request()) as chunks:
                    async for chunk in chunks:
                        # a first piece without text would say it to no reader
                        if again and (chunk.text or chunk.response):
                            chunk, again = replace(chunk, again=True), False
                        passed = passed or bool(chunk.text)
                        yield chunk
                return
            except ModelError as error:
                pause = tries.pause(error)
            again = passed
            await asyncio.sleep(pause)

    async def _repeat(
        self, request: _Request, attempt: Callable[[_Request], Awaitable[_Answer]]
    ) -> _Answer:
        tries = _Tries(self, request)
        while True:
            try:
                return await attempt(tries.request())
            except ModelError as error:
                pause = tries.pause(error)
            await asyncio.sleep(pause)

    def pause_after(self, error: ModelError, attempts: int, remaining: float) -> float | None:
        """Return seconds before the next attempt, or None when there is to be none."""
        if not error.retryable or isinstance(error, BadModelAnswer):
            return None
        if attempts >= self._max_attempts:
            return None
        pause = max(self._wait(attempts), error.retry_after or 0.0)
        return pause if pause < remaining else None

    def timeout_of(self, request: ChatRequest | EmbedRequest) -> float:
        """Return the seconds that a request may take with all its attempts."""
        return self._timeout if request.timeout is None else request.timeout


class _Tries(Generic[_Request]):
    """The attempts of one call."""

    def __init__(self, policy: Resilient, request: _Request) -> None:
        self._policy = policy
        self._request: _Request = request
        self._total = policy.timeout_of(request)
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + self._total
        self._number = 1

    def request(self) -> _Request:
        """Return the request of the next attempt: it has the time that is left."""
        left = self._deadline - self._loop.time()
        request: _Request = replace(self._request, timeout=left)
        return request

    def pause(self, error: ModelError) -> float:
        """Return seconds to wait before the next attempt.

        Raises:
            ModelError: there is none; the error as the caller sees it.
        """
        left = self._deadline - self._loop.time()
        pause = self._policy.pause_after(error, self._number, left)
        if pause is None:
            if self._number > 1:
                error.add_note(f"attempts: {self._number}, within {self._total:.3g} s")
            raise self._at_deadline(error) from error.__cause__
        self._number += 1
        return pause

    def _at_deadline(self, error: ModelError) -> ModelError:
        """Return the error with the caller's own timeout in it, not what was left of it."""
        if not isinstance(error, ModelTimeout) or error.status is not None:
            return error
        found = ModelTimeout(
            f"{self._request.model} did not finish within {self._total:.3g} s, with all attempts; "
            "raise the timeout, or ask for a shorter answer with max_tokens",
            provider=split_model(self._request.model)[0],
        )
        for note in getattr(error, "__notes__", ()):
            found.add_note(note)
        return found
