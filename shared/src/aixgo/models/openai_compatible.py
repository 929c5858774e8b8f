"""The `openai_compatible` adapter: every server that speaks OpenAI's wire format, without an SDK.

openai, xai, deepseek, Hugging Face's router, vLLM, Ollama, llama.cpp. aiohttp and msgspec cost a
thirtieth of an SDK's CPU per call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from aixgo.errors import ModelError, ModelUnavailable, UnsupportedByModel
from aixgo.models.http import Http, Reply, Target
from aixgo.models.port import ChatChunk, ChatRequest, ChatResponse, EmbedRequest, EmbedResponse
from aixgo.models.providers import PROVIDERS, Provider, Quirk, quirk_of, split_model
from aixgo.models.wires.chat import (
    ChatStream,
    chat_body,
    decode_chat,
    decode_embeddings,
    decode_features,
    embed_body,
)
from aixgo.models.wires.classify import from_status, retry_after_of
from aixgo.models.wires.responses import ResponsesStream, decode_responses, responses_body

Wire = Literal["auto", "chat", "responses"]

_OPENAI_HOST = "api.openai.com"
_encode = msgspec.json.Encoder().encode


class OpenAICompatible:
    """A `Model` that speaks OpenAI's wire format to one base URL.

    Args:
        base_url: up to and with the version, such as `http://127.0.0.1:8000/v1`.
        api_key: sent as a bearer token; empty sends none.
        provider: row of the table, for quirks, embeddings and the names in errors.
        headers: sent with every request.
        wire: `chat` or `responses` forces that API; `auto` uses Responses where a model of
            api.openai.com needs it.
        timeout: seconds for a call whose request has none, streams included.
        http: connections shared with other adapters; then `close` leaves them open.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        provider: Provider = PROVIDERS["openai_compatible"],
        headers: Mapping[str, str] | None = None,
        wire: Wire = "auto",
        timeout: float = 120.0,
        http: Http | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = api_key
        self._provider = provider
        self._wire = wire
        self._timeout = timeout
        self._http = http or Http()
        self._owns_http = http is None
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def __repr__(self) -> str:
        return f"OpenAICompatible({self._base_url!r}, provider={self._provider.name!r})"

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer."""
        request = self._limited(request)
        quirk, responses = self._route(request)
        encode = responses_body if responses else chat_body
        target = self._target("/responses" if responses else "/chat/completions", request.timeout)
        reply = await self._http.post(target, _encode(encode(request, quirk, stream=False)))
        self._raise_for_status(reply, request.model)
        decode = decode_responses if responses else decode_chat
        return decode(request, reply.body)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        request = self._limited(request)
        quirk, responses = self._route(request)
        encode = responses_body if responses else chat_body
        target = self._target("/responses" if responses else "/chat/completions", request.timeout)
        answer = ResponsesStream(request) if responses else ChatStream(request)
        body = _encode(encode(request, quirk, stream=True))
        async with self._http.events(target, body) as events:
            if isinstance(events, Reply):
                raise self._error(events, request.model)
            async with aclosing(self._chunks(request, answer, events)) as chunks:
                yield chunks

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text.

        Raises:
            UnsupportedByModel: the provider has no embeddings.
        """
        provider = self._provider
        _, model = split_model(request.model)
        match provider.embeddings:
            case "openai" | "litellm":
                target = self._target("/embeddings", request.timeout)
                reply = await self._http.post(target, _encode(embed_body(request)))
                self._raise_for_status(reply, request.model)
                return decode_embeddings(request, reply.body)
            case "feature_extraction":
                root = self._base_url.removesuffix(provider.base_path)
                url = f"{root}/hf-inference/models/{model}/pipeline/feature-extraction"
                target = self._target(url, request.timeout)
                reply = await self._http.post(target, _encode({"inputs": request.input}))
                self._raise_for_status(reply, request.model)
                return decode_features(request, reply.body)
            case _:
                raise no_embeddings(provider.name)

    async def close(self) -> None:
        """Close connections; idempotent."""
        if self._owns_http:
            await self._http.close()

    def _limited(self, request: ChatRequest) -> ChatRequest:
        """Return the request with the provider's default limit where it has none."""
        limit = self._provider.default_max_tokens
        if limit is None or request.max_tokens is not None:
            return request
        return msgspec.structs.replace(request, max_tokens=limit)

    def _route(self, request: ChatRequest) -> tuple[Quirk, bool]:
        """Return the model's quirk, and whether the request goes to the Responses API."""
        quirk = quirk_of(self._provider, split_model(request.model)[1])
        if self._wire != "auto":
            return quirk, self._wire == "responses"
        at_openai = urlsplit(self._base_url).hostname == _OPENAI_HOST
        return quirk, quirk.responses_for_tools and bool(request.tools) and at_openai

    def _target(self, path: str, timeout: float | None) -> Target:
        seconds = self._timeout if timeout is None else timeout
        return Target(
            url=path if "://" in path else self._base_url + path,
            headers=self._headers,
            provider=self._provider.name,
            timeout=seconds,
            deadline=asyncio.get_running_loop().time() + seconds,
        )

    def _raise_for_status(self, reply: Reply, model: str) -> None:
        if reply.status != 200:
            raise self._error(reply, model)

    def _error(self, reply: Reply, model: str) -> ModelError:
        return from_status(
            reply.status,
            reply.body,
            provider=self._provider.name,
            model=split_model(model)[1],
            retry_after=retry_after_of(reply.headers),
            conflict_is_retryable=self._provider.conflict_is_retryable,
            secret=self._key,
        )

    async def _chunks(
        self,
        request: ChatRequest,
        answer: ChatStream | ResponsesStream,
        events: AsyncIterator[bytes],
    ) -> AsyncGenerator[ChatChunk, None]:
        async for event in events:
            if text := answer.feed(event):
                yield ChatChunk(text=text)
        if not answer.finished:
            raise ModelUnavailable(
                f"{request.model}: the stream ended in the middle of the answer; try again",
                provider=self._provider.name,
            )
        yield ChatChunk(response=answer.response())


def no_embeddings(provider: str) -> UnsupportedByModel:
    """Return the error for a provider without embeddings."""
    with_them = [name for name, row in PROVIDERS.items() if row.embeddings != "none"]
    return UnsupportedByModel(
        f"provider {provider!r} has no embeddings; use a model of {', '.join(with_them)}",
        provider=provider,
    )
