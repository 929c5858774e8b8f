"""`ModelHub`: every provider behind one `Model`, made from the settings and the environment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import TYPE_CHECKING

from aixgo.errors import UnknownProvider
from aixgo.models.access import OwnKey, Setup
from aixgo.models.fallbacks import Fallbacks
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    Model,
)
from aixgo.models.pricing import Priced
from aixgo.models.providers import PROVIDERS, Provider, split_model
from aixgo.models.resilient import Resilient
from aixgo.models.settings import ModelSettings, ProviderSettings

if TYPE_CHECKING:
    from aixgo.models.http import Http

MAX_ROUTES = 256
"""Of provider and base URL kept ready: requests may name any base URL, memory may not grow so."""

ADAPTERS = {
    "openai_compatible": "aixgo.models.openai_compatible",
    "litellm": "aixgo.models.litellm",
    "local": "aixgo.models.local.model",
}
"""By the name that a provider's row has: a module whose `opened` makes a model from a `Setup`.

It is imported when a model of it is first asked for, and its clients with it.
"""


class ModelHub:
    """A `Model` for all providers: picks the adapter by `provider/model`, and keeps it.

    Around every adapter are retries within one deadline and the price of the answer: known when the
    settings say it or the model runs on the user's own machines, else counted as unpriced.

    Args:
        settings: the `models:` section of a document.
        environment: where keys and addresses are looked up that the settings do not have.
        own: a key for the calls of one agent; the hub then serves no other.
    """

    def __init__(
        self,
        settings: ModelSettings | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        own: OwnKey | None = None,
    ) -> None:
        self._settings = settings or ModelSettings()
        self._environment = os.environ if environment is None else environment
        self._own = own
        self._routes: dict[tuple[str, str], Model] = {}
        self._http: Http | None = None
        self._chats = Fallbacks(_Routes(self.route))

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer, with its price when that is known.

        Raises:
            UnknownProvider: the model's name begins with none.
            MissingKey: the provider needs a variable that is not set.
            MissingExtra: its adapter is not installed.
        """
        return await self._chats.chat(request)

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatChunk]]:
        """Yield the answer in pieces; the last chunk carries the whole response, priced."""
        return self._chats.stream(request)

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text."""
        return await self.route(request.model, request.base_url).embed(request)

    def check(self, model: str, base_url: str = "") -> None:
        """Say now what is missing for a model; makes no connection.

        Raises:
            UnknownProvider, MissingKey, MissingExtra: see `chat`.
            BadModelRequest: the base URL is none, or may not be given the provider's key.
        """
        self.route(model, base_url)

    def route(self, model: str, base_url: str) -> Model:
        """Return the model's adapter with its retries and prices; errors as `check`."""
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
            await route.close()
        if self._http is not None:
            await self._http.close()

    def _build(self, name: str, requested_url: str) -> Model:
        settings = self._settings.providers.get(name, ProviderSettings())
        provider = self._provider(name, settings)
        general = self._settings
        timeout = settings.timeout or general.timeout
        own = self._own if self._own is not None and self._own.provider == name else None
        setup = Setup(
            provider=provider,
            settings=settings,
            requested_url=requested_url,
            timeout=timeout,
            http=self._connections,
            environment=self._environment,
            own=own,
            on_unsupported=settings.on_unsupported or general.on_unsupported,
        )
        adapter: Model = import_module(ADAPTERS[setup.adapter]).opened(setup)
        attempts = settings.max_attempts or general.max_attempts
        resilient = Resilient(adapter, timeout=timeout, max_attempts=attempts)
        return Priced(resilient, prices=settings.prices, free=provider.free)

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

    def _connections(self) -> Http:
        if self._http is None:
            from aixgo.models.http import Http

            self._http = Http()
        return self._http


class _Routes:
    """The hub's providers as one `Model`, each request to the first of its models."""

    def __init__(self, route: Callable[[str, str], Model]) -> None:
        self._route = route

    async def chat(self, request: ChatRequest) -> ChatResponse:
        return await self._route(request.model, request.base_url).chat(request)

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatChunk]]:
        return self._route(request.model, request.base_url).stream(request)

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        return await self._route(request.model, request.base_url).embed(request)

    async def close(self) -> None:
        """Nothing to close: the hub does."""
