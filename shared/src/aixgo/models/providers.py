"""Model providers as data: adapter, address, key variables and quirks of each.

A new provider of the OpenAI wire format is one row here and nothing else. A package can bring a row
with an entry point in the group `aixgo.providers`, named like the row and pointing to it. A name
without a row can be declared in the settings, with a `base_url` or `adapter: litellm`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from aixgo.config.installed import Installed

Adapter = Literal["openai_compatible", "litellm", "local"]
Schemas = Literal["json_schema", "json_object", "prompt"]
Embeddings = Literal["openai", "feature_extraction", "litellm", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """What is different about some models of a provider; the first quirk that matches counts.

    Attributes:
        models: regular expression for the beginning of the model's name, after the slash.
        max_tokens_field: how the wire calls `max_tokens`.
        drop: fields that the model refuses; they are left out.
        responses_for_tools: requests with tools must go to the Responses API.
    """

    models: str = ""
    max_tokens_field: str = "max_tokens"
    drop: frozenset[str] = frozenset()
    responses_for_tools: bool = False


NO_QUIRK = Quirk()
"""Nothing is different."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one model wants its requests: what its provider's row, its quirk and the settings say.

    Attributes:
        max_tokens_field: how the wire calls `max_tokens`.
        drop: fields that the model refuses; they are left out.
        schemas: how it is asked for JSON: with the schema, with `json_object` and the schema in
            the prompt, or with the prompt alone.
        stream_options: whether streams ask for the usage; without, most servers count nothing.
    """

    max_tokens_field: str = "max_tokens"
    drop: frozenset[str] = frozenset()
    schemas: Schemas = "json_schema"
    stream_options: bool = True

    def without(self, refusal: str) -> Dialect | None:
        """Return a dialect without what a server's refusal names, or None when it names nothing.

        What is asked stays the same; only how it is asked changes.
        """
        if self.stream_options and "stream_options" in refusal:
            return replace(self, stream_options=False)
        if self.schemas != "prompt" and _NO_SCHEMAS.search(refusal):
            simpler = self.schemas == "json_schema" and "json_object" not in refusal
            return replace(self, schemas="json_object" if simpler else "prompt")
        named = set(_TOKENS.findall(refusal))
        if self.max_tokens_field == "max_tokens" and named >= {"max_tokens", _NEW_FIELD}:
            return replace(self, max_tokens_field=_NEW_FIELD)
        return None


_NO_SCHEMAS = re.compile(r"response_format|json_schema|json_object|text\.format|structured.output")
_NEW_FIELD = "max_completion_tokens"
_TOKENS = re.compile(r"max_\w*tokens")

PLAIN = Dialect()
"""Nothing is different."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A row of the table.

    Attributes:
        base_url: where it lives; empty when only the user can know, or litellm knows.
        base_path: path that a base URL without one gets.
        key_env: variables that may hold the key, first found wins.
        key_required: without a key nothing works.
        base_url_env: variables that may replace `base_url`.
        embeddings: the wire of its embeddings.
        free: its models run on the user's own machines, so a call costs 0.
        conflict_is_retryable: a 409 means "try again" (OpenAI), not "your request is wrong".
        litellm_prefix: litellm's name for it.
        default_max_tokens: sent when the request has none; None sends nothing.
        needs_project: a cloud project and location are part of the address.
        schemas: see `Dialect`.
        stream_options: see `Dialect`.
    """

    name: str
    adapter: Adapter = "openai_compatible"
    base_url: str = ""
    base_path: str = ""
    key_env: tuple[str, ...] = ()
    key_required: bool = True
    base_url_env: tuple[str, ...] = ()
    embeddings: Embeddings = "openai"
    free: bool = False
    quirks: tuple[Quirk, ...] = ()
    conflict_is_retryable: bool = False
    litellm_prefix: str = ""
    default_max_tokens: int | None = None
    needs_project: bool = False
    schemas: Schemas = "json_schema"
    stream_options: bool = True


PROJECT_ENV = ("GCP_PROJECT_ID", "GOOGLE_CLOUD_PROJECT")
LOCATION_ENV = ("GCP_LOCATION", "GOOGLE_CLOUD_LOCATION")
DEFAULT_LOCATION = "us-central1"

_REASONING_DROPS = frozenset({"temperature", "top_p", "stop"})

_OPENAI_QUIRKS = (
    Quirk(
        models=r"gpt-5\.([4-9]|\d\d)|gpt-[6-9]",
        max_tokens_field="max_completion_tokens",
        drop=_REASONING_DROPS,
        responses_for_tools=True,
    ),
    Quirk(
        models=r"gpt-5|o\d",
        max_tokens_field="max_completion_tokens",
        drop=_REASONING_DROPS,
    ),
)

_ROWS = (
    Provider(
        name="openai",
        base_url="https://api.openai.com/v1",
        base_path="/v1",
        key_env=("OPENAI_API_KEY",),
        base_url_env=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        quirks=_OPENAI_QUIRKS,
        conflict_is_retryable=True,
        litellm_prefix="openai",
    ),
    Provider(
        name="anthropic",
        adapter="litellm",
        key_env=("ANTHROPIC_API_KEY",),
        base_url_env=("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"),
        embeddings="none",
        litellm_prefix="anthropic",
        # the wire demands a limit; litellm's own default is the model's maximum, 64 000 tokens
        default_max_tokens=1024,
    ),
    Provider(
        name="gemini",
        adapter="litellm",
        base_path="/v1beta",
        key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        base_url_env=("GEMINI_API_BASE",),
        embeddings="litellm",
        litellm_prefix="gemini",
    ),
    Provider(
        name="vertex_ai",
        adapter="litellm",
        key_required=False,
        base_url_env=("VERTEXAI_API_BASE",),
        embeddings="litellm",
        litellm_prefix="vertex_ai",
        needs_project=True,
    ),
    Provider(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        base_path="/v1",
        key_env=("HUGGINGFACE_API_KEY", "HF_TOKEN"),
        base_url_env=("HF_API_BASE",),
        embeddings="feature_extraction",
    ),
    Provider(
        name="xai",
        base_url="https://api.x.ai/v1",
        base_path="/v1",
        key_env=("XAI_API_KEY",),
        base_url_env=("XAI_API_BASE",),
        embeddings="none",
        quirks=(Quirk(models=r"grok-[4-9]", drop=frozenset({"stop"})),),
        litellm_prefix="xai",
    ),
    Provider(
        name="deepseek",
        # the beta path is the one that knows strict tools; the others are the same on both
        base_url="https://api.deepseek.com/beta",
        key_env=("DEEPSEEK_API_KEY",),
        schemas="json_object",
        base_url_env=("DEEPSEEK_API_BASE",),
        embeddings="none",
        litellm_prefix="deepseek",
    ),
    Provider(
        name="ollama",
        base_url="http://localhost:11434/v1",
        base_path="/v1",
        key_env=("OLLAMA_API_KEY",),
        key_required=False,
        base_url_env=("OLLAMA_API_BASE",),
        free=True,
        litellm_prefix="ollama_chat",
    ),
    Provider(
        name="openai_compatible",
        base_path="/v1",
        key_env=("OPENAI_COMPATIBLE_API_KEY",),
        key_required=False,
        base_url_env=("OPENAI_COMPATIBLE_BASE_URL",),
        litellm_prefix="hosted_vllm",
    ),
    Provider(
        name="local",
        adapter="local",
        key_required=False,
        embeddings="none",
        free=True,
        # a small model can ramble until its context is full
        default_max_tokens=256,
    ),
)

PROVIDERS: Installed[Provider] = Installed(
    "aixgo.providers",
    "model provider",
    wanted="an aixgo.models.providers.Provider",
    fits=lambda found: isinstance(found, Provider),
    shipped={row.name: row for row in _ROWS},
)
"""Every provider by the name that stands before the slash: the rows above and installed ones."""


def quirk_of(provider: Provider, model: str) -> Quirk:
    """Return the first quirk whose pattern matches the beginning of the model's name."""
    for quirk in provider.quirks:
        if re.match(quirk.models, model):
            return quirk
    return NO_QUIRK


def dialect_of(
    provider: Provider,
    model: str,
    *,
    schemas: Schemas | None = None,
    stream_options: bool | None = None,
) -> Dialect:
    """Return how a model wants its requests.

    Args:
        schemas: what the settings say, before what the row says.
        stream_options: the same.
    """
    quirk = quirk_of(provider, model)
    return Dialect(
        max_tokens_field=quirk.max_tokens_field,
        drop=quirk.drop,
        schemas=schemas or provider.schemas,
        stream_options=provider.stream_options if stream_options is None else stream_options,
    )


def split_model(name: str) -> tuple[str, str]:
    """Return provider and model of `provider/model`; the provider is empty without a slash."""
    provider, slash, model = name.partition("/")
    return (provider, model) if slash else ("", name)
