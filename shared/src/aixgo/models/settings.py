"""The `models:` section of a document: the default model, and what the providers need.

Keys are best left to the environment (`OPENAI_API_KEY`, …) or written as `${VAR}`; wherever they
come from, they never appear in a repr, a dump, an error or a log.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, field_validator, model_validator

from aixgo.config.durations import PositiveDuration
from aixgo.models.providers import PROVIDERS, split_model

DEFAULT_TIMEOUT = 120.0
"""Seconds for a call with all its attempts: a long answer of a slow model, not a hanging one."""

DEFAULT_ATTEMPTS = 3
"""Attempts in all: two retries outlast a blip, and an outage is still reported within seconds."""


_VERTEX = {"vertex_ai"}
_ONLY_FOR = {"project_id": _VERTEX, "location": _VERTEX, "credentials": _VERTEX}
_FOR_LOCAL = {"timeout", "max_attempts", "prices"}


def checked_base_url(url: str) -> str:
    """Return the URL without a slash at its end.

    Raises:
        ValueError: it is no plain http(s) URL; says what is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("a base URL looks like 'https://host/v1'")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "a base URL has no user, password, query or fragment; "
            "put the key into `api_key` or `headers`"
        )
    return url.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(checked_base_url)]


class Price(BaseModel, extra="forbid", frozen=True):
    """What a model costs, in US dollars per million tokens.

    Attributes:
        input: prompt tokens.
        output: completion tokens.
        cached_input: prompt tokens that the provider had cached; the same as `input` if not given.
    """

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)


class ProviderSettings(BaseModel, extra="forbid", frozen=True):
    """What one provider needs; everything that is left out comes from the table or the environment.

    Attributes:
        adapter: `openai_compatible` or `litellm`, instead of the provider's own.
        api_key: instead of the environment's.
        base_url: instead of the provider's own address.
        trusted_base_urls: further addresses that an agent's `endpoint` may name and that are given
            the key. Other endpoints are called without it.
        project_id: cloud project (vertex_ai).
        location: cloud region (vertex_ai); default us-central1.
        credentials: a service account's JSON, or the path of it (vertex_ai); default is what the
            machine offers (GOOGLE_APPLICATION_CREDENTIALS).
        headers: sent with every request.
        wire: `chat` or `responses` forces that API; `auto` uses Responses where a model of
            api.openai.com needs it.
        timeout: for a call with all its attempts, streams included.
        max_attempts: attempts in all, the first included.
        prices: by model name after the slash.
    """

    adapter: Literal["openai_compatible", "litellm"] | None = None
    api_key: SecretStr | None = None
    base_url: BaseUrl | None = None
    trusted_base_urls: tuple[BaseUrl, ...] = ()
    project_id: str | None = None
    location: str | None = None
    credentials: SecretStr | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    wire: Literal["auto", "chat", "responses"] = "auto"
    timeout: PositiveDuration | None = None
    max_attempts: int | None = Field(default=None, ge=1, le=20)
    prices: dict[str, Price] = Field(default_factory=dict)


class ModelSettings(BaseModel, extra="forbid", frozen=True):
    """The `models:` section.

    Attributes:
        default: `provider/model` of agents that name none.
        timeout: for a call with all its attempts, unless a provider or a request says otherwise.
        max_attempts: attempts in all, the first included.
        providers: by the name before the slash. A name that is not built in needs a `base_url`
            (any OpenAI-compatible server) or `adapter: litellm`.
    """

    default: str = ""
    timeout: PositiveDuration = DEFAULT_TIMEOUT
    max_attempts: int = Field(default=DEFAULT_ATTEMPTS, ge=1, le=20)
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)

    @field_validator("default")
    @classmethod
    def _is_a_model_name(cls, value: str) -> str:
        provider, model = split_model(value)
        if value and not (provider and model):
            raise ValueError(
                f"{value!r} is no model name; write 'provider/model', for example 'local/smollm2'"
            )
        return value

    @model_validator(mode="after")
    def _fields_have_a_meaning(self) -> ModelSettings:
        for name, provider in self.providers.items():
            for field in sorted(provider.model_fields_set):
                if name not in _ONLY_FOR.get(field, {name}):
                    raise ValueError(
                        f"providers.{name}.{field}: only {', '.join(sorted(_ONLY_FOR[field]))} "
                        "uses it; take it away"
                    )
                if name == "local" and field not in _FOR_LOCAL:
                    raise ValueError(
                        f"providers.local.{field}: the local model takes only "
                        f"{', '.join(sorted(_FOR_LOCAL))}; take it away"
                    )
        return self

    @model_validator(mode="after")
    def _providers_are_known(self) -> ModelSettings:
        for name, provider in self.providers.items():
            if name not in PROVIDERS and not (provider.base_url or provider.adapter == "litellm"):
                raise ValueError(
                    f"providers.{name}: not a built-in provider ({', '.join(PROVIDERS)}); give it "
                    "a `base_url` (an OpenAI-compatible server) or `adapter: litellm`"
                )
        return self
