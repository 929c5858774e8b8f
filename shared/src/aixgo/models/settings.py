"""The `models:` section of a document: the default model, and what the providers need.

Keys are best left to the environment (`OPENAI_API_KEY`, …) or written as `${VAR}`; wherever they
come from, they never appear in a repr, a dump, an error or a log.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from aixgo.config.agents import Options
from aixgo.config.durations import PositiveDuration
from aixgo.models.providers import PROVIDERS, Schemas, split_model

DEFAULT_TIMEOUT = 120.0
"""Seconds for a call with all its attempts: a long answer of a slow model, not a hanging one."""

DEFAULT_ATTEMPTS = 3
"""Attempts in all: two retries outlast a blip, and an outage is still reported within seconds."""


_VERTEX = {"vertex_ai"}
_ONLY_FOR = {"project_id": _VERTEX, "location": _VERTEX | {"bedrock"}, "credentials": _VERTEX}
_FOR_LOCAL = {"timeout", "max_attempts", "prices"}


def checked_base_url(url: str) -> str:
    """Return the URL without blanks around it and without a slash at its end.

    Raises:
        ValueError: it is no plain http(s) URL; says what is wrong.
    """
    url = url.strip()
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


class Price(Options):
    """What a model costs, in US dollars per million tokens."""

    input: float = Field(ge=0)
    """Prompt tokens."""
    output: float = Field(ge=0)
    """Completion tokens, those of reasoning included."""
    cached_input: float | None = Field(default=None, ge=0)
    """Prompt tokens that the provider had cached; the same as `input` if not given."""


OnUnsupported = Literal["error", "drop"]
"""What becomes of what a request asks and its model does not take."""


class CapabilityChanges(Options):
    """What is different about some models of a provider from what is known of them."""

    tools: bool = True
    """They can call tools."""
    parallel_tools: bool = True
    """They can be told to call one tool at a time."""
    images: bool = True
    """They read images."""
    streaming: bool = True
    """They answer in pieces."""
    embeddings: bool = True
    """They embed texts."""
    temperature: bool = True
    """They take another temperature than their default."""
    max_temperature: float = Field(default=2.0, ge=0, le=2)
    """The highest temperature that they take."""
    top_p: bool = True
    """They take `top_p`."""
    stop: bool = True
    """They take texts at which they stop."""
    seed: bool = True
    """They take a seed."""
    schemas: Schemas = "json_schema"
    """How they are asked for JSON."""


class ProviderSettings(Options):
    """What one provider needs; what is left out comes from the table or the environment."""

    adapter: Literal["openai_compatible", "litellm"] | None = None
    """How to speak to it, instead of the provider's own way."""
    api_key: SecretStr | None = None
    """Instead of the environment's `<PROVIDER>_API_KEY`."""
    base_url: BaseUrl | None = None
    """Instead of the provider's own address."""
    trusted_base_urls: tuple[BaseUrl, ...] = ()
    """Further addresses that an agent's `endpoint` may name and that are given the key. Without
    this, a provider that needs a key refuses other endpoints, and the rest call them without."""
    project_id: str | None = None
    """Cloud project (vertex_ai)."""
    location: str | None = None
    """Cloud region (vertex_ai, bedrock); if not given, GCP_LOCATION or us-central1, and AWS_REGION
    or us-east-1."""
    credentials: SecretStr | None = None
    """A service account's JSON, or the path of it (vertex_ai); if not given, what the machine
    offers (GOOGLE_APPLICATION_CREDENTIALS)."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Sent with every request."""
    wire: Literal["auto", "chat", "responses"] = "auto"
    """`chat` or `responses` forces that API of OpenAI's; `auto` uses Responses where a model of
    api.openai.com needs it."""
    schemas: Schemas | None = None
    """How the models are asked for JSON: with the schema, with `json_object` and the schema in the
    prompt, with a tool that they must call, or with the prompt alone. A server that refuses one is
    asked in a simpler way."""
    capabilities: dict[str, CapabilityChanges] = Field(default_factory=dict)
    """What models can do, where the table is wrong or does not know them, by the beginning of their
    names (`*` for all). Keys that are left out stay as the table has them."""
    on_unsupported: OnUnsupported | None = None
    """What becomes of a field that a model does not take, instead of the section's
    `on_unsupported`."""
    stream_options: bool | None = None
    """Whether streams ask for their usage; false for servers that refuse the field."""
    timeout: PositiveDuration | None = None
    """For a call with all its attempts, streams included."""
    max_attempts: int | None = Field(default=None, ge=1, le=20)
    """Attempts in all, the first one included."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """By model name after the slash; the cost of other models is unknown."""


class ModelSettings(Options):
    """The `models:` section."""

    default: str = ""
    """`provider/model` of agents that name none."""
    timeout: PositiveDuration = DEFAULT_TIMEOUT
    """For a call with all its attempts, unless a provider or a request says otherwise."""
    max_attempts: int = Field(default=DEFAULT_ATTEMPTS, ge=1, le=20)
    """Attempts in all, the first one included."""
    on_unsupported: OnUnsupported = "error"
    """What becomes of a field that a model does not take, such as a temperature: `error` says so
    before anything is sent; `drop` leaves the field out and logs it. Tools and images are never
    left out."""
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    """By the name before the slash. A name that is not built in needs a `base_url` (any
    OpenAI-compatible server) or `adapter: litellm`."""

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
