"""Another model where the first does not answer: one call, whose answer says which one gave it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

from msgspec.structs import replace

from aixgo.envelope import NO_USAGE, Usage
from aixgo.errors import (
    ContentRefused,
    ContextTooLong,
    ModelError,
    ModelsExhausted,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
)
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    FailedModel,
    FallbackReason,
)
from aixgo.models.providers import split_model
from aixgo.models.wrapper import Wrapper

DEFAULT_REASONS: tuple[FallbackReason, ...] = ("outage", "rate_limit")
"""What another model is asked after, where a request says nothing."""

_REASONS: dict[FallbackReason, tuple[type[ModelError], ...]] = {
    "outage": (ModelUnavailable, ModelTimeout),
    "rate_limit": (RateLimited,),
    "refusal": (ContentRefused,),
    "context": (ContextTooLong,),
}

_log = logging.getLogger(__name__)


class Fallbacks(Wrapper):
    """A `Model` around a `Model`: the models of a request in their order, until one answers.

    Each is asked with its own attempts. A request's timeout is shared out: each model has an equal
    part of what is left. What refused answers cost is counted. Embeddings have no fallback, since
    vectors of two models cannot be compared.
    """

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the first answer, with the models that failed before it.

        Raises:
            ModelsExhausted: none of several models answered; names each and why.
            ModelError: one failed in a way for which no other is to be asked.
        """
        if not request.fallbacks:
            return await self._model.chat(request)
        tries = _Tries(request)
        for one in tries.requests():
            try:
                response = await self._model.chat(one)
            except ModelError as error:
                tries.failed(one, error)
                continue
            if not tries.refused(one, response):
                return tries.answered(response)
        raise tries.exhausted()

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the answer in pieces; where another model begins, its first piece says `again`."""
        if not request.fallbacks:
            async with self._model.stream(request) as chunks:
                yield chunks
            return
        async with aclosing(self._chunks(request)) as chunks:
            yield chunks

    async def _chunks(self, request: ChatRequest) -> AsyncGenerator[ChatChunk, None]:
        tries, passed = _Tries(request), False
        for one in tries.requests():
            again = passed
            try:
                async with self._model.stream(one) as chunks:
                    async for chunk in chunks:
                        response = chunk.response
                        if response is not None:
                            if tries.refused(one, response):
                                break
                            chunk = replace(chunk, response=tries.answered(response))
                        if again and (chunk.text or response is not None):
                            chunk, again = replace(chunk, again=True), False
                        passed = passed or bool(chunk.text)
                        yield chunk
                        if response is not None:
                            return
            except ModelError as error:
                tries.failed(one, error)
        raise tries.exhausted()


class _Tries:
    """The models of one request: which were asked, and why they did not answer."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        reasons = request.fallback_on or DEFAULT_REASONS
        self._after = tuple(kind for reason in reasons for kind in _REASONS[reason])
        self._names = tuple(dict.fromkeys((request.model, *request.fallbacks)))
        self._failed: list[FailedModel] = []
        self._errors: list[ModelError] = []
        self._spent: Usage = NO_USAGE
        self._deadline = (
            None if request.timeout is None else asyncio.get_running_loop().time() + request.timeout
        )

    def requests(self) -> Iterator[ChatRequest]:
        """Yield what each model is asked; an address of the first is that of its provider only."""
        provider, _ = split_model(self._request.model)
        for position, name in enumerate(self._names):
            timeout = self._request.timeout
            if self._deadline is not None:
                left = max(self._deadline - asyncio.get_running_loop().time(), 0.001)
                timeout = left / (len(self._names) - position)
            same = split_model(name)[0] == provider
            yield replace(
                self._request,
                model=name,
                fallbacks=(),
                fallback_on=(),
                timeout=timeout,
                base_url=self._request.base_url if same else "",
            )

    def failed(self, request: ChatRequest, error: ModelError) -> None:
        """Note why a model did not answer.

        Raises:
            ModelError: the error, when no other model is to be asked after it.
        """
        if not isinstance(error, self._after):
            if self._failed:
                before = ", ".join(f"{one.model} ({one.code})" for one in self._failed)
                error.add_note(f"asked before it: {before}")
            raise error
        self._errors.append(error)
        self._failed.append(
            FailedModel(model=request.model, code=error.code, error=str(error)[:500])
        )
        if len(self._failed) < len(self._names):
            following = self._names[len(self._failed)]
            _log.warning("%s did not answer (%s); asking %s", request.model, error.code, following)

    def refused(self, request: ChatRequest, response: ChatResponse) -> bool:
        """Whether a content filter took the answer and another model is to be asked after that.

        The last one's answer is taken as it is.
        """
        filtered = response.choices[0].finish_reason == "content_filter"
        last = len(self._failed) == len(self._names) - 1
        if not filtered or last or ContentRefused not in self._after:
            return False
        self._spent = self._spent + response.usage
        provider, _ = split_model(request.model)
        text = f"{request.model}: a content filter stopped the answer; change the prompt"
        self.failed(request, ContentRefused(text, provider=provider))
        return True

    def answered(self, response: ChatResponse) -> ChatResponse:
        """Return the answer with what came before it."""
        if not self._failed:
            return response
        usage = self._spent + response.usage
        return replace(response, usage=usage, failed=(*self._failed, *response.failed))

    def exhausted(self) -> ModelsExhausted:
        """Return the error of a list of which no model answered."""
        told = "; ".join(f"{one.model}: {one.error}" for one in self._failed)
        error = ModelsExhausted(
            f"none of {len(self._failed)} models answered: {told}. Add a model of another provider "
            "to the list, or try again later",
            provider=split_model(self._request.model)[0],
        )
        error.retryable = any(one.retryable for one in self._errors)
        return error
