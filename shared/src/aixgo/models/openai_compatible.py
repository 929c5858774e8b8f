"""The `openai_compatible` adapter: every server that speaks OpenAI's wire format, without an SDK.

openai, xai, deepseek, Hugging Face's router, vLLM, Ollama, llama.cpp. aiohttp and msgspec cost a
thirtieth of an SDK's CPU per call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from aixgo.errors import (
    BadModelRequest,
    ContentRefused,
    ContextTooLong,
    ModelError,
    ModelTimeout,
    ModelUnavailable,
    UnsupportedByModel,
)
from aixgo.models.access import Setup, credentials
from aixgo.models.capabilities import Fitting
from aixgo.models.http import Events, Http, Reply, Target, ok
from aixgo.models.port import ChatChunk, ChatRequest, ChatResponse, EmbedRequest, EmbedResponse
from aixgo.models.providers import (
    PROVIDERS,
    Dialect,
    Feature,
    Provider,
    Schemas,
    dialect_of,
    quirk_of,
    split_model,
)
from aixgo.models.settings import CapabilityChanges, OnUnsupported
from aixgo.models.wires.chat import ChatStream, decode_chat
from aixgo.models.wires.chat_request import chat_body
from aixgo.models.wires.classify import from_status, sanitised
from aixgo.models.wires.embeddings import decode_embeddings, decode_features, embed_body
from aixgo.models.wires.forced import as_tool, from_tool
from aixgo.models.wires.responses import LACKS, ResponsesStream, decode_responses, responses_body
from aixgo.models.wires.sse import SseParser
from aixgo.web.retry_after import retry_after_of
from aixgo.web.secrets import Secrets

AFTER_THE_END = 2.0
"""Seconds for the usage and the last line of a stream once its answer has said why it ended."""

_MAX_DIALECTS = 256
"""Of models whose way to be asked is kept; requests may name any model."""

_BEGINNING = 64
"""Bytes that show what an answer is."""

_OPENAI_HOST = "api.openai.com"
_encode = msgspec.json.Encoder().encode


class Wire(NamedTuple):
    """A format of chat: where it goes, how it is written and read."""

    path: str
    body: Callable[..., dict[str, Any]]
    decode: Callable[[ChatRequest, bytes], ChatResponse]
    stream: Callable[[ChatRequest], ChatStream | ResponsesStream]
    lacks: frozenset[Feature] = frozenset()


WIRES: dict[str, Wire] = {
    "chat": Wire("/chat/completions", chat_body, decode_chat, ChatStream),
    "responses": Wire("/responses", responses_body, decode_responses, ResponsesStream, LACKS),
}


def opened(setup: Setup) -> OpenAICompatible:
    """Return the adapter for a provider as it is set up."""
    settings = setup.settings
    return OpenAICompatible(
        setup.access.base_url,
        api_key=setup.access.key,
        provider=setup.provider,
        headers=setup.access.headers,
        wire=settings.wire,
        schemas=settings.schemas,
        stream_options=settings.stream_options,
        capabilities=settings.capabilities,
        on_unsupported=setup.on_unsupported,
        timeout=setup.timeout,
        http=setup.http(),
    )


class OpenAICompatible:
    """A `Model` that speaks OpenAI's wire format to one base URL.

    Args:
        base_url: up to and with the version, such as `http://127.0.0.1:8000/v1`.
        api_key: sent as a bearer token, or in the provider's own header; empty sends none.
        provider: row of the table, for quirks, embeddings and the names in errors.
        headers: sent with every request; their values are in no error.
        wire: `chat` or `responses` forces that API; `auto` uses Responses where a model of
            api.openai.com needs it.
        schemas: how models are asked for JSON, instead of the provider's way.
        stream_options: whether streams ask for their usage, instead of the provider's way.
        capabilities: what models can do where the table is wrong, by the beginning of their names.
        on_unsupported: what becomes of what a model does not take, where a request says nothing.
        timeout: seconds for a call whose request has none, streams included.
        http: connections shared with other adapters; then `close` leaves them open.

    Raises:
        ConfigError: the key or a header cannot be sent.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        provider: Provider = PROVIDERS["openai_compatible"],
        headers: Mapping[str, str] | None = None,
        wire: Literal["auto", "chat", "responses"] = "auto",
        schemas: Schemas | None = None,
        stream_options: bool | None = None,
        capabilities: Mapping[str, CapabilityChanges] | None = None,
        on_unsupported: OnUnsupported = "error",
        timeout: float = 120.0,
        http: Http | None = None,
    ) -> None:
        self._base_url = base_url.strip().rstrip("/")
        self._provider = provider
        self._wire = wire
        self._stream_options = stream_options
        self._fitting = Fitting(
            provider, changes=capabilities, schemas=schemas, on_unsupported=on_unsupported
        )
        self._timeout = timeout
        self._http = http or Http()
        self._owns_http = http is None
        self._dialects: dict[str, Dialect] = {}
        key, own = credentials(provider.name, api_key, headers)
        self._secrets = Secrets((key, *own.values()))
        self._headers = {"Content-Type": "application/json", **own}
        if key:
            bearer = provider.key_header == "Authorization"
            self._headers[provider.key_header] = f"Bearer {key}" if bearer else key

    def __repr__(self) -> str:
        return f"OpenAICompatible({self._base_url!r}, provider={self._provider.name!r})"

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer."""
        wire = self._wire_for(request)
        request = self._fitting.chat(self._limited(request), lacks=wire.lacks)
        target = self._target(wire.path, request.timeout)
        dialect = self._dialect(request)
        while True:
            asked = as_tool(request, dialect)
            body = _encode(wire.body(asked, dialect, stream=False))
            try:
                reply = await self._http.post(target, body)
                self._raise_for_status(reply, request.model)
                answer = self._whole(wire, asked, reply.body)
            except ModelError as error:
                self._secrets.cleaned(error)
                request, dialect = self._simpler(request, dialect, error)
            else:
                self._learn(request, dialect)
                return answer if asked is request else from_tool(request, answer)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        wire = self._wire_for(request)
        request = self._fitting.chat(self._limited(request), lacks=wire.lacks, stream=True)
        if not self._fitting.streams(request):
            yield in_one_piece(await self.chat(request))
            return
        async with aclosing(self._chunks(request, wire)) as chunks:
            yield chunks

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text.

        Raises:
            UnsupportedByModel: the provider has no embeddings.
        """
        provider = self._provider
        _, model = split_model(request.model)
        if not self._fitting.of(request.model).embeddings:
            raise no_embeddings(provider.name)
        match provider.embeddings:
            case "openai" | "litellm" | "none":
                url, body, decode = "/embeddings", embed_body(request), decode_embeddings
            case "feature_extraction":
                root = self._base_url.removesuffix(provider.base_path)
                url = f"{root}/hf-inference/models/{model}/pipeline/feature-extraction"
                body, decode = {"inputs": request.input}, decode_features
        with self._safe():
            reply = await self._http.post(self._target(url, request.timeout), _encode(body))
            self._raise_for_status(reply, request.model)
            return decode(request, reply.body)

    async def close(self) -> None:
        """Close connections; idempotent."""
        if self._owns_http:
            await self._http.close()

    # -- what is asked -------------------------------------------------------------------------

    def _limited(self, request: ChatRequest) -> ChatRequest:
        """Return the request with the provider's default limit where it has none."""
        limit = self._provider.default_max_tokens
        if limit is None or request.max_tokens is not None:
            return request
        return msgspec.structs.replace(request, max_tokens=limit)

    def _wire_for(self, request: ChatRequest) -> Wire:
        """Return the format for a request: what is forced, or what its model needs."""
        if self._wire != "auto":
            return WIRES[self._wire]
        quirk = quirk_of(self._provider, split_model(request.model)[1])
        at_openai = urlsplit(self._base_url).hostname == _OPENAI_HOST
        needed = quirk.responses_for_tools and bool(request.tools) and at_openai
        return WIRES["responses" if needed else "chat"]

    def _dialect(self, request: ChatRequest) -> Dialect:
        _, model = split_model(request.model)
        found = self._dialects.get(model)
        if found is None:
            found = dialect_of(
                self._provider,
                model,
                schemas=self._fitting.of(request.model).schemas,
                stream_options=self._stream_options,
            )
            self._note(model, found)
        return found

    def _simpler(
        self, request: ChatRequest, dialect: Dialect, error: ModelError
    ) -> tuple[ChatRequest, Dialect]:
        """Return how to ask without what a server refuses, or what to ask without it.

        Raises:
            ModelError: the error, when it is about something else.
        """
        try:
            return request, simpler(dialect, request, error)
        except ModelError:
            return self._fitting.after_refusal(request, error), dialect

    def _learn(self, request: ChatRequest, dialect: Dialect) -> None:
        """Keep the dialect that this model took, so that the next request is right at once."""
        if dialect is not self._dialect(request):
            self._note(split_model(request.model)[1], dialect)

    def _note(self, model: str, dialect: Dialect) -> None:
        if len(self._dialects) >= _MAX_DIALECTS:
            self._dialects.pop(next(iter(self._dialects)))
        self._dialects[model] = dialect

    def _target(self, path: str, timeout: float | None) -> Target:
        seconds = self._timeout if timeout is None else timeout
        return Target(
            url=path if "://" in path else self._base_url + path,
            headers=self._headers,
            provider=self._provider.name,
            timeout=seconds,
            deadline=asyncio.get_running_loop().time() + seconds,
            secrets=self._secrets,
        )

    # -- what comes ----------------------------------------------------------------------------

    def _whole(self, wire: Wire, request: ChatRequest, body: bytes) -> ChatResponse:
        """Return an answer in one piece; some servers send a stream without being asked."""
        if not body[:_BEGINNING].lstrip().startswith((b"data:", b"event:")):
            return wire.decode(request, body)
        answer, parser = wire.stream(request), SseParser()
        for event in (*parser.feed(body), *parser.end()):
            answer.feed(event)
        return self._finished(request, answer, parser.stray)

    async def _chunks(self, request: ChatRequest, wire: Wire) -> AsyncGenerator[ChatChunk, None]:
        target = self._target(wire.path, request.timeout)
        with self._safe():
            dialect, passed = self._dialect(request), False
            while True:
                asked = as_tool(request, dialect)
                body = _encode(wire.body(asked, dialect, stream=True))
                try:
                    async with (
                        self._http.events(target, body) as events,
                        aclosing(self._pieces(asked, wire, events)) as pieces,
                    ):
                        async for chunk in pieces:
                            if not passed:
                                passed = True
                                self._learn(request, dialect)
                            if asked is request:
                                yield chunk
                            elif chunk.response is not None:
                                yield last_chunk("", from_tool(request, chunk.response))
                    return
                except (BadModelRequest, UnsupportedByModel) as error:
                    if passed:
                        raise
                    request, dialect = self._simpler(request, dialect, error)

    async def _pieces(
        self, request: ChatRequest, wire: Wire, events: Events | Reply
    ) -> AsyncGenerator[ChatChunk, None]:
        if isinstance(events, Reply):
            self._raise_for_status(events, request.model)
            response = wire.decode(request, events.body)
            yield ChatChunk(text=response.text, response=response)
            return
        answer = wire.stream(request)
        try:
            async for event in events:
                if text := answer.feed(event):
                    yield ChatChunk(text=text)
                if answer.ended:
                    events.done = True
                    break
                if answer.finished:
                    events.hurry(AFTER_THE_END)
        except (ModelUnavailable, ModelTimeout):
            if not answer.finished:
                raise
        passed = answer.passed
        yield last_chunk(passed, self._finished(request, answer, events.stray))

    def _finished(
        self, request: ChatRequest, answer: ChatStream | ResponsesStream, stray: bytes
    ) -> ChatResponse:
        if answer.finished:
            return answer.response()
        said = sanitised((answer.stray or stray).decode("utf-8", "replace"), self._secrets)
        raise ModelUnavailable(
            f"{request.model}: the stream ended in the middle of the answer"
            + (f"; the server sent {said!r}" if said else "")
            + "; try again",
            provider=self._provider.name,
        )

    def _raise_for_status(self, reply: Reply, model: str) -> None:
        if ok(reply.status):
            return
        raise from_status(
            reply.status,
            reply.body,
            provider=self._provider.name,
            model=split_model(model)[1],
            retry_after=retry_after_of(reply.headers),
            conflict_is_retryable=self._provider.conflict_is_retryable,
            secrets=self._secrets,
        )

    @contextmanager
    def _safe(self) -> Generator[None, None, None]:
        """Let no error out that shows a secret."""
        try:
            yield
        except ModelError as error:
            self._secrets.cleaned(error)
            raise


def simpler(dialect: Dialect, request: ChatRequest, error: ModelError) -> Dialect:
    """Return how to ask without what a server refuses.

    Raises:
        ModelError: the error, when it is about something else.
    """
    about_the_request = isinstance(error, BadModelRequest | UnsupportedByModel)
    final = isinstance(error, ContextTooLong | ContentRefused)
    found = dialect.without(str(error)) if about_the_request and not final else None
    if found is None or (found.schemas != dialect.schemas and request.response is None):
        raise error
    return found


def last_chunk(passed: str, response: ChatResponse) -> ChatChunk:
    """Return the chunk with the response, and the text of it that was not handed on before."""
    text = response.text
    if text.startswith(passed):
        return ChatChunk(text=text[len(passed) :], response=response)
    return ChatChunk(text=text, again=True, response=response)


async def in_one_piece(response: ChatResponse) -> AsyncGenerator[ChatChunk, None]:
    """Yield an answer that was not streamed."""
    yield last_chunk("", response)


def no_embeddings(provider: str) -> UnsupportedByModel:
    """Return the error for a provider without embeddings."""
    with_them = [name for name, row in PROVIDERS.items() if row.embeddings != "none"]
    return UnsupportedByModel(
        f"provider {provider!r} has no embeddings; use a model of {', '.join(with_them)}",
        provider=provider,
    )
