"""The `litellm` adapter: every provider whose wire format is not OpenAI's.

litellm costs 2 s and 170 MB to import, so it is imported on first use, in a thread, with its
network calls at import switched off. It is asked to try once; timeouts, retries, stream assembly,
prices and telemetry are ours.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple
from weakref import WeakSet

from aixgo.errors import (
    AixgoError,
    ConfigError,
    MissingExtra,
    ModelError,
    ModelTimeout,
    ModelUnavailable,
)
from aixgo.models.access import Setup
from aixgo.models.access import credentials as checked
from aixgo.models.capabilities import Fitting
from aixgo.models.openai_compatible import in_one_piece, last_chunk, no_embeddings
from aixgo.models.port import ChatChunk, ChatRequest, ChatResponse, EmbedRequest, EmbedResponse
from aixgo.models.providers import Dialect, Provider, Schemas, split_model
from aixgo.models.settings import CapabilityChanges, OnUnsupported
from aixgo.models.wires import litellm as wire
from aixgo.models.wires.forced import as_tool, from_tool
from aixgo.web.secrets import Secrets

_SWITCHES = {
    # each of these stops something that `import litellm` or a first call does by itself
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # a blocking download of prices
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # a blocking GET on the event loop
    "LITELLM_MODE": "PRODUCTION",  # reading a .env file found upwards from site-packages
}

_CLOSE_SECONDS = 5.0
"""For litellm to close its connections; the process must be able to end."""

_open: WeakSet[LiteLLM] = WeakSet()
"""Adapters that use litellm's connections, which it shares in the whole process."""


async def load() -> Any:
    """Return the litellm module, imported on first use.

    Raises:
        MissingExtra: it is not installed.
    """
    return await asyncio.to_thread(_load)


@cache
def _load() -> Any:
    os.environ.update(_SWITCHES)
    try:
        module: Any = import_module("litellm")
    except ImportError as error:
        raise MissingExtra("models of Anthropic, Gemini and Vertex AI", "litellm") from error
    module.suppress_debug_info = True  # prints, in colour, on every error
    # its log lines can hold prompts and keys; what went wrong arrives as an exception anyway
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    _warm(module)
    return module


def _warm(module: Any) -> None:
    """Let litellm import here what its first call would import on the event loop, for 0.9 s."""
    with suppress(Exception):
        module.completion(model="openai/warm", messages=[], mock_response="warm", api_key="none")
    with suppress(ImportError):
        import_module("openai.resources")


def opened(setup: Setup) -> LiteLLM:
    """Return the adapter for a provider as it is set up.

    Raises:
        ConfigError: litellm does not serve the provider.
    """
    provider, settings, access = setup.provider, setup.settings, setup.access
    if not provider.litellm_prefix:
        raise ConfigError(
            f"provider {provider.name!r} is not served by litellm; leave `adapter` out"
        )
    project, location = setup.project if provider.needs_project else ("", "")
    return LiteLLM(
        provider,
        api_key=access.key,
        base_url=access.base_url,
        headers=access.headers,
        project=project,
        location=setup.region if provider.name == "bedrock" else location,
        credentials=settings.credentials.get_secret_value() if settings.credentials else "",
        schemas=settings.schemas,
        capabilities=settings.capabilities,
        on_unsupported=setup.on_unsupported,
        timeout=setup.timeout,
    )


class LiteLLM:
    """A `Model` that reaches one provider through litellm.

    Args:
        provider: row of the table; `litellm_prefix` is litellm's name for it.
        api_key: empty leaves it to the provider's own means (Vertex AI).
        base_url: empty for the provider's own.
        headers: sent with every request.
        project: cloud project (Vertex AI).
        location: cloud region (Vertex AI, Bedrock).
        credentials: a service account's JSON or its path (Vertex AI).
        schemas: how models are asked for JSON, instead of the provider's way.
        capabilities: what models can do where the table is wrong, by the beginning of their names.
        on_unsupported: what becomes of what a model does not take, where a request says nothing.
        timeout: seconds for a call whose request has none, streams included.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        api_key: str = "",
        base_url: str = "",
        headers: Mapping[str, str] | None = None,
        project: str = "",
        location: str = "",
        credentials: str = "",
        schemas: Schemas | None = None,
        capabilities: Mapping[str, CapabilityChanges] | None = None,
        on_unsupported: OnUnsupported = "error",
        timeout: float = 120.0,
    ) -> None:
        self._provider = provider
        api_key, headers = checked(provider.name, api_key, headers)
        self._secrets = Secrets((api_key, credentials, *headers.values()))
        self._timeout = timeout
        self._fitting = Fitting(
            provider, changes=capabilities, schemas=schemas, on_unsupported=on_unsupported
        )
        # what it does not know of a model is an error before anything is sent
        self._options: dict[str, Any] = {"max_retries": 0, "drop_params": False}
        if api_key:
            self._options["api_key"] = api_key
        if base_url:
            self._options["api_base"] = wire.api_base(provider.litellm_prefix, base_url)
        if headers:
            self._options["extra_headers"] = dict(headers)
        if provider.needs_project:
            self._options |= {"vertex_project": project, "vertex_location": location}
            if credentials:
                self._options["vertex_credentials"] = credentials
        elif location:
            self._options["aws_region_name"] = location
        self._module: Any = None

    def __repr__(self) -> str:
        return f"LiteLLM({self._provider.name!r})"

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer."""
        seconds = self._seconds(request.timeout)
        deadline = asyncio.get_running_loop().time() + seconds
        request = self._fitting.chat(request)
        asked, answer = await self._completion(request, deadline, seconds, {})
        return _answered(asked, wire.chat_response(asked.sent, answer))

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        seconds = self._seconds(request.timeout)
        deadline = asyncio.get_running_loop().time() + seconds
        request = self._fitting.chat(request, stream=True)
        if not self._fitting.streams(request):
            yield in_one_piece(await self.chat(request))
            return
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        asked, pieces = await self._completion(request, deadline, seconds, streamed)
        try:
            async with aclosing(self._chunks(asked, pieces, deadline, seconds)) as chunks:
                yield chunks
        finally:
            # an abandoned stream keeps its socket; what closing it says is of no interest
            with suppress(Exception):
                await pieces.aclose()

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text.

        Raises:
            UnsupportedByModel: the provider has no embeddings.
        """
        if not self._fitting.of(request.model).embeddings:
            raise no_embeddings(self._provider.name)
        seconds = self._seconds(request.timeout)
        call = self._options | {
            "model": wire.embedding_model(self._provider.litellm_prefix, request.model),
            "input": list(request.input),
            "timeout": seconds,
        }
        if request.dimensions is not None:
            call["dimensions"] = request.dimensions
        try:
            async with asyncio.timeout(seconds):
                litellm = await self._litellm()
                answer = await litellm.aembedding(**call)
        except Exception as error:  # noqa: BLE001 - litellm's classes differ per provider
            raise self._translated(error, request.model, seconds) from None
        return wire.embed_response(request, answer)

    async def close(self) -> None:
        """Close litellm's connections once no adapter of this process is open; idempotent."""
        module, self._module = self._module, None
        _open.discard(self)
        if module is not None and not _open:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await module.close_litellm_async_clients()

    async def _litellm(self) -> Any:
        if self._module is None:
            self._module = await load()
            _open.add(self)
        return self._module

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout

    async def _completion(
        self, request: ChatRequest, deadline: float, seconds: float, more: dict[str, Any]
    ) -> tuple[_Asked, Any]:
        """Return what was asked in the end, and litellm's answer.

        What litellm says that a model does not take is left out where that may be.
        """
        dialect = Dialect(schemas=self._fitting.of(request.model).schemas)
        while True:
            asked = _Asked(request, as_tool(request, dialect))
            # litellm edits what it is given (it takes keywords out of tool schemas, for example)
            fields = copy.deepcopy(wire.chat_fields(asked.sent, self._provider, dialect))
            call = self._options | fields | {"timeout": seconds} | more
            try:
                async with asyncio.timeout_at(deadline):
                    litellm = await self._litellm()
                    return asked, await litellm.acompletion(**call)
            except Exception as error:  # noqa: BLE001 - litellm's classes differ per provider
                failed = self._translated(error, request.model, seconds)
            if not isinstance(failed, ModelError):
                raise failed
            request = self._fitting.after_refusal(request, failed)

    async def _chunks(
        self, asked: _Asked, pieces: Any, deadline: float, seconds: float
    ) -> AsyncGenerator[ChatChunk, None]:
        request, forced = asked.sent, asked.sent is not asked.request
        answer = wire.ChunkReader(request)
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                break
            except Exception as error:  # noqa: BLE001 - litellm's classes differ per provider
                raise self._translated(error, request.model, seconds) from None
            if (text := answer.feed(piece)) and not forced:
                yield ChatChunk(text=text)
        if not answer.finished or not _said_why(pieces):
            raise ModelUnavailable(
                f"{request.model}: the stream ended in the middle of the answer; try again",
                provider=self._provider.name,
            )
        passed = "" if forced else answer.passed
        yield last_chunk(passed, _answered(asked, answer.response()))

    def _translated(self, error: Exception, model: str, seconds: float) -> Exception:
        """Return our error; the cause is left behind, because its attributes hold the prompt."""
        if isinstance(error, AixgoError):
            return error
        provider = self._provider.name
        if missing := wire.missing_module(error):
            return MissingExtra(f"provider {provider!r} ({missing})", wire.extra_for(provider))
        if isinstance(error, TimeoutError) or type(error).__name__ == "Timeout":
            return ModelTimeout(
                f"{provider} did not finish within {seconds:.3g} s; raise the timeout, or ask for "
                "a shorter answer with max_tokens",
                provider=provider,
                status=wire.status_in(error),
            )
        return wire.classified(error, self._provider, split_model(model)[1], self._secrets)


class _Asked(NamedTuple):
    """A request, and what was sent for it: itself, or its schema as a tool."""

    request: ChatRequest
    sent: ChatRequest


def _answered(asked: _Asked, response: ChatResponse) -> ChatResponse:
    return response if asked.sent is asked.request else from_tool(asked.request, response)


def _said_why(pieces: Any) -> bool:
    """Whether the provider said why its stream ended; where it does not, litellm says `stop`."""
    reasons = ("received_finish_reason", "intermittent_finish_reason")
    known = [getattr(pieces, name) for name in reasons if hasattr(pieces, name)]
    return not known or any(known)
