"""Where a provider is reached, and which credentials may go there (decision 21)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import SecretStr

from aixgo.errors import AixgoError, BadModelRequest, ConfigError, MissingKey
from aixgo.models.providers import (
    DEFAULT_LOCATION,
    DEFAULT_REGION,
    LOCATION_ENV,
    PROJECT_ENV,
    REGION_ENV,
    Provider,
)
from aixgo.models.settings import OnUnsupported, ProviderSettings, checked_base_url
from aixgo.web.headers import header_name, sendable_value

if TYPE_CHECKING:
    from aixgo.models.http import Http


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key that one agent brings for its own calls.

    Attributes:
        provider: the only one whose calls are made with it.
        api_key: replaces the provider's key.
        endpoint: the agent's own base URL, which may be given this key and nothing else.
    """

    provider: str
    api_key: SecretStr
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """An address with the credentials that may go there."""

    base_url: str
    key: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What an adapter is made from.

    Attributes:
        requested_url: base URL that a request names; empty for the provider's own.
        timeout: seconds for a call whose request has none.
        http: the hub's pool of connections, opened on first use.
        environment: where keys and addresses are looked up that the settings do not have.
        own: the key of the agent whose calls these are.
        on_unsupported: what becomes of what a model does not take.
    """

    provider: Provider
    settings: ProviderSettings
    requested_url: str
    timeout: float
    http: Callable[[], Http]
    environment: Mapping[str, str] = field(repr=False)
    own: OwnKey | None = None
    on_unsupported: OnUnsupported = "error"

    @property
    def adapter(self) -> str:
        """Name of the adapter, as `hub.ADAPTERS` has it."""
        return self.settings.adapter or self.provider.adapter

    @cached_property
    def access(self) -> Access:
        """The address, and what of the credentials may go there.

        A request can name any server, and must not be able to send our credentials there. The
        provider's address and those that the settings trust are given the key and the headers; an
        agent's own endpoint is given the agent's own key; every other address nothing.

        Raises:
            BadModelRequest: the address is not trusted and the provider needs a key.
            MissingKey: the address or the key is not set; names the variables.
            ConfigError: an address is not one.
        """
        provider, settings = self.provider, self.settings
        given = settings.base_url or self.variable(provider.base_url_env) or ""
        base_url = self._complete(given, ConfigError) if given else provider.base_url
        if not self.requested_url:
            if not base_url and self.adapter == "openai_compatible":
                raise MissingKey(provider.name, list(provider.base_url_env), "a base URL")
            return Access(base_url, self._key(), self._headers())
        requested = self._complete(self.requested_url, BadModelRequest)
        trusted = [self._complete(url, ConfigError) for url in settings.trusted_base_urls]
        if requested in (base_url, *trusted):
            return Access(requested, self._key(), self._headers())
        own = self.own
        endpoint = self._complete(own.endpoint, BadModelRequest) if own and own.endpoint else ""
        if own is not None and requested == endpoint:
            return Access(requested, _secret(own.api_key), {})
        if provider.key_required or self.adapter == "litellm":
            raise BadModelRequest(
                f"endpoint {requested!r} is not trusted with the key of provider "
                f"{provider.name!r}: add it to `models.providers.{provider.name}."
                "trusted_base_urls`, or name the model 'openai_compatible/…' to call it without",
                provider=provider.name,
            )
        return Access(requested, "", {})

    @property
    def project(self) -> tuple[str, str]:
        """Cloud project and location.

        Raises:
            MissingKey: no project is set; names the variables.
        """
        project = self.settings.project_id or self.variable(PROJECT_ENV) or ""
        if not project:
            raise MissingKey(self.provider.name, list(PROJECT_ENV), "a cloud project")
        return project, self.settings.location or self.variable(LOCATION_ENV) or DEFAULT_LOCATION

    @property
    def region(self) -> str:
        """Region of Bedrock."""
        return self.settings.location or self.variable(REGION_ENV) or DEFAULT_REGION

    def variable(self, names: tuple[str, ...]) -> str | None:
        """Return the first variable that is set; blanks around it are not part of it."""
        values = (self.environment.get(name, "").strip() for name in names)
        return next(filter(None, values), None)

    def _key(self) -> str:
        if self.own is not None:
            return _secret(self.own.api_key)
        if self.settings.api_key is not None and (given := _secret(self.settings.api_key)):
            return given
        key = self.variable(self.provider.key_env)
        if key is None and self.provider.key_required:
            raise MissingKey(self.provider.name, list(self.provider.key_env))
        return key or ""

    def _headers(self) -> dict[str, str]:
        return {name: _secret(value) for name, value in self.settings.headers.items()}

    def _complete(self, url: str, wrong: type[AixgoError]) -> str:
        """Return a base URL with the provider's usual path where it has none."""
        try:
            url = checked_base_url(url)
        except ValueError as error:
            raise wrong(f"base URL of provider {self.provider.name!r}: {error}") from error
        host_only = "/" not in url.partition("://")[2]
        return url + self.provider.base_path if host_only else url


def _secret(value: SecretStr) -> str:
    return value.get_secret_value().strip()


def credentials(
    provider: str, api_key: str, headers: Mapping[str, str] | None
) -> tuple[str, dict[str, str]]:
    """Return a key and headers without the blanks and line ends that files leave around them.

    Raises:
        ConfigError: one of them cannot be sent; it is named and not shown.
    """
    key = sendable_value(api_key, f"the key of provider {provider!r}")
    found: dict[str, str] = {}
    for name, value in (headers or {}).items():
        what = f"header {name.strip()!r} of provider {provider!r}"
        found[header_name(name, what)] = sendable_value(value, what)
    return key, found
