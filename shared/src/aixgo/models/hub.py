"""`ModelHub`: every provider behind one `Model`, made from the settings and the environment."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from aixgo.errors import AixgoError, BadModelRequest, ConfigError, MissingKey, UnknownProvider
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    Model,
)
from aixgo.models.pricing import priced_usage
from aixgo.models.providers import (
    DEFAULT_LOCATION,
    LOCATION_ENV,
    PROJECT_ENV,
    PROVIDERS,
    Provider,
    split_model,
)
from aixgo.models.resilient import Resilient
from aixgo.models.settings import ModelSettings, Price, ProviderSettings, checked_base_url

if TYPE_CHECKING:
    from aixgo.models.http import Http

MAX_ROUTES = 256
"""Of provider and base URL kept ready: requests may name any base URL, memory may not grow so."""

_Answered = TypeVar("_Answered", ChatResponse, EmbedResponse)


@dataclass(frozen=True, slots=True)
class _Route:
    model: Resilient
    free: bool
    prices: Mapping[str, Price]

    def priced(self, model: str, answer: _Answered) -> _Answered:
        """Return the answer with its cost, where that is known."""
        price = self.prices.get(split_model(model)[1])
        return replace(answer, usage=priced_usage(answer.usage, price, free=self.free))


class ModelHub:
    """A `Model` for all providers: picks the adapter by `provider/model`, and keeps it.

    Around every adapter are retries within one deadline and the price of the answer: known when the
    settings say it or the model runs on the user's own machines, else counted as unpriced.

    Args:
        settings: the `models:` section of a document.
        environment: where keys and addresses are looked up that the settings do not have.
    """

    def __init__(
        self, settings: ModelSettings | None = None, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings or ModelSettings()
        self._environment = os.environ if environment is None else environment
        self._routes: dict[tuple[str, str], _Route] = {}
        self._http: Http | None = None

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer, with its price when that is known.

        Raises:
            UnknownProvider: the model's name begins with none.
            MissingKey: the provider needs a variable that is not set.
            MissingExtra: its adapter is not installed.
        """
        route = self._route(request.model, request.base_url)
        return route.priced(request.model, await route.model.chat(request))

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Yield the answer in pieces; the last chunk carries the whole response, priced."""
        route = self._route(request.model, request.base_url)
        async with route.model.stream(request) as chunks:
            yield _PricedChunks(request.model, chunks, route)

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text."""
        route = self._route(request.model, request.base_url)
        return route.priced(request.model, await route.model.embed(request))

    def check(self, model: str, base_url: str = "") -> None:
        """Say now what is missing for a model; makes no connection.

        Raises:
            UnknownProvider, MissingKey, MissingExtra: see `chat`.
            BadModelRequest: the base URL is none, or may not be given the provider's key.
        """
        self._route(model, base_url)

    def _route(self, model: str, base_url: str) -> _Route:
        name, _ = split_model(model)
        found = self._routes.get((name, base_url))
        if found is None:
            found = self._build(name, base_url)
            self._routes[name, base_url] = found
            if len(self._routes) > MAX_ROUTES:
                self._forget_an_endpoint()
        return found

    def _forget_an_endpoint(self) -> None:
        """Drop the oldest route to an address that a request named.

        It shares its connections, so there is nothing to close. The providers' own routes stay:
        they are few, and theirs may hold more than connections.
        """
        oldest = next((key for key in self._routes if key[1]), None)
        if oldest is not None:
            del self._routes[oldest]

    async def close(self) -> None:
        """Close all connections; idempotent."""
        routes = list(self._routes.values())
        self._routes.clear()
        for route in routes:
            await route.model.close()
        if self._http is not None:
            await self._http.close()

    def _build(self, name: str, requested_url: str) -> _Route:
        settings = self._settings.providers.get(name, ProviderSettings())
        provider = self._provider(name, settings)
        general = self._settings
        timeout = settings.timeout or general.timeout
        return _Route(
            model=Resilient(
                self._adapter(provider, settings, requested_url, timeout),
                timeout=timeout,
                max_attempts=settings.max_attempts or general.max_attempts,
            ),
            free=provider.free,
            prices=settings.prices,
        )

    def _provider(self, name: str, settings: ProviderSettings) -> Provider:
        if provider := PROVIDERS.get(name):
            return provider
        if name not in self._settings.providers:
            raise UnknownProvider(name, sorted({*PROVIDERS, *self._settings.providers}))
        return Provider(
            name=name,
            base_path="/v1",
            adapter=settings.adapter or "openai_compatible",
            key_env=(f"{name.upper().replace('-', '_')}_API_KEY",),
            key_required=False,
            embeddings="litellm" if settings.adapter == "litellm" else "openai",
            litellm_prefix=name,
        )

    def _adapter(
        self, provider: Provider, settings: ProviderSettings, requested_url: str, timeout: float
    ) -> Model:
        if provider.adapter == "local":
            from aixgo.models.local.model import LocalModel

            if requested_url:
                raise BadModelRequest(
                    f"the local model has no endpoint but its own; take {requested_url!r} away, or "
                    "name the model 'openai_compatible/…'",
                    provider=provider.name,
                )
            return LocalModel(timeout=timeout, http=self._connections())
        own_url = settings.base_url or self._from_environment(provider.base_url_env) or ""
        base_url, trusted = self._address(provider, settings, own_url, requested_url)
        key = self._key(provider, settings) if trusted else ""
        headers = (
            {name: value.get_secret_value() for name, value in settings.headers.items()}
            if trusted
            else {}
        )
        if (settings.adapter or provider.adapter) == "litellm":
            return self._litellm(provider, settings, key, base_url, headers, timeout)
        from aixgo.models.openai_compatible import OpenAICompatible

        return OpenAICompatible(
            base_url,
            api_key=key,
            provider=provider,
            headers=headers,
            wire=settings.wire,
            timeout=timeout,
            http=self._connections(),
        )

    def _litellm(
        self,
        provider: Provider,
        settings: ProviderSettings,
        key: str,
        base_url: str,
        headers: dict[str, str],
        timeout: float,
    ) -> Model:
        from aixgo.models.litellm import LiteLLM

        if not provider.litellm_prefix:
            raise ConfigError(
                f"provider {provider.name!r} is not served by litellm; leave `adapter` out"
            )
        project = location = ""
        if provider.needs_project:
            project = settings.project_id or self._from_environment(PROJECT_ENV) or ""
            if not project:
                raise MissingKey(provider.name, list(PROJECT_ENV), "a cloud project")
            location = settings.location or self._from_environment(LOCATION_ENV) or DEFAULT_LOCATION
        return LiteLLM(
            provider,
            api_key=key,
            base_url=base_url,
            headers=headers,
            project=project,
            location=location,
            credentials=settings.credentials.get_secret_value() if settings.credentials else "",
            timeout=timeout,
        )

    def _address(
        self, provider: Provider, settings: ProviderSettings, own_url: str, requested_url: str
    ) -> tuple[str, bool]:
        """Return the base URL, and whether it may be given the provider's key.

        A request can name any server, and must not be able to send our keys there.
        """
        own = _complete(provider, own_url, ConfigError) if own_url else provider.base_url
        if not requested_url:
            if not own and (settings.adapter or provider.adapter) == "openai_compatible":
                raise MissingKey(provider.name, list(provider.base_url_env), "a base URL")
            return own, True
        requested = _complete(provider, requested_url, BadModelRequest)
        trusted = (_complete(provider, url, ConfigError) for url in settings.trusted_base_urls)
        if requested == own or requested in trusted:
            return requested, True
        if provider.key_required or (settings.adapter or provider.adapter) == "litellm":
            raise BadModelRequest(
                f"endpoint {requested!r} is not trusted with the key of provider "
                f"{provider.name!r}: add it to `models.providers.{provider.name}."
                "trusted_base_urls`, or name the model 'openai_compatible/…' to call it without",
                provider=provider.name,
            )
        return requested, False

    def _key(self, provider: Provider, settings: ProviderSettings) -> str:
        if settings.api_key is not None and (given := settings.api_key.get_secret_value()):
            return given
        key = self._from_environment(provider.key_env)
        if key is None and provider.key_required:
            raise MissingKey(provider.name, list(provider.key_env))
        return key or ""

    def _from_environment(self, names: tuple[str, ...]) -> str | None:
        return next((found for name in names if (found := self._environment.get(name))), None)

    def _connections(self) -> Http:
        if self._http is None:
            from aixgo.models.http import Http

            self._http = Http()
        return self._http


def _complete(provider: Provider, url: str, wrong: type[AixgoError]) -> str:
    """Return a base URL with the provider's usual path where it has none.

    Raises:
        AixgoError: of the class `wrong`; it is no plain http(s) URL.
    """
    try:
        url = checked_base_url(url)
    except ValueError as error:
        raise wrong(f"base URL of provider {provider.name!r}: {error}") from error
    host_only = "/" not in url.partition("://")[2]
    return url + provider.base_path if host_only else url


class _PricedChunks:
    """Chunks whose last one gets its price."""

    def __init__(self, model: str, chunks: AsyncIterator[ChatChunk], route: _Route) -> None:
        self._model, self._chunks, self._route = model, chunks, route

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        return self

    async def __anext__(self) -> ChatChunk:
        chunk = await anext(self._chunks)
        if chunk.response is None:
            return chunk
        return replace(chunk, response=self._route.priced(self._model, chunk.response))
