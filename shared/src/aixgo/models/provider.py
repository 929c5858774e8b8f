"""What is known of a provider: its row, the quirks of some of its models, how they are asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

Adapter = Literal["openai_compatible", "litellm", "local"]
Schemas = Literal["json_schema", "json_object", "tool", "prompt"]
"""How a model is asked for JSON: with the schema, with `json_object` and the schema in the prompt,
with a tool that it must call, or with the prompt alone."""

Feature = Literal[
    "tools",
    "parallel_tools",
    "images",
    "streaming",
    "temperature",
    "top_p",
    "stop",
    "seed",
]
"""What a model can lack: `aixgo.models.capabilities` says what each is."""

Embeddings = Literal["openai", "feature_extraction", "litellm", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """What is different about some models of a provider; the first quirk that matches counts.

    Attributes:
        models: regular expression for the beginning of the model's name, after the slash.
        max_tokens_field: how the wire calls `max_tokens`.
        lacks: what these models cannot do, besides what the provider's models cannot do.
        has: what they can do although the provider's other models cannot.
        max_temperature: the highest, where it is not the provider's.
        schemas: how they are asked for JSON, where it is not the provider's way.
        responses_for_tools: requests with tools must go to the Responses API.
    """

    models: str = ""
    max_tokens_field: str = "max_tokens"
    lacks: frozenset[Feature] = frozenset()
    has: frozenset[Feature] = frozenset()
    max_temperature: float | None = None
    schemas: Schemas | None = None
    responses_for_tools: bool = False


NO_QUIRK = Quirk()
"""Nothing is different."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one model wants its requests: what its provider's row, its quirk and the settings say.

    Attributes:
        max_tokens_field: how the wire calls `max_tokens`.
        schemas: how it is asked for JSON.
        stream_options: whether streams ask for the usage; without, most servers count nothing.
        seed_field: how the wire calls `seed`.
        any_tool: how it calls the tool choice `required`.
        short_tool_ids: ids of tool calls have nine letters and digits; others are replaced by such.
    """

    max_tokens_field: str = "max_tokens"
    schemas: Schemas = "json_schema"
    stream_options: bool = True
    seed_field: str = "seed"
    any_tool: str = "required"
    short_tool_ids: bool = False

    def without(self, refusal: str) -> Dialect | None:
        """Return a dialect without what a server's refusal names, or None when it names nothing.

        What is asked stays the same; only how it is asked changes.
        """
        if self.stream_options and "stream_options" in refusal:
            return replace(self, stream_options=False)
        if self.schemas == "tool" and _NO_FORCED_TOOL.search(refusal):
            return replace(self, schemas="prompt")
        if self.schemas != "prompt" and _NO_SCHEMAS.search(refusal):
            simpler = self.schemas == "json_schema" and "json_object" not in refusal
            return replace(self, schemas="json_object" if simpler else "prompt")
        named = set(_TOKENS.findall(refusal))
        if self.max_tokens_field == "max_tokens" and named >= {"max_tokens", _NEW_FIELD}:
            return replace(self, max_tokens_field=_NEW_FIELD)
        return None


_NO_SCHEMAS = re.compile(r"response_format|json_schema|json_object|text\.format|structured.output")
_NO_FORCED_TOOL = re.compile(r"tool.?choice|\btools?\b|function.?call", re.IGNORECASE)
_NEW_FIELD = "max_completion_tokens"
_TOKENS = re.compile(r"max_\w*tokens")


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
        schemas: how its models are asked for JSON.
        stream_options: see `Dialect`.
        key_header: the header of the key; `Authorization` has `Bearer` before it.
        seed_field: see `Dialect`.
        any_tool: see `Dialect`.
        short_tool_ids: see `Dialect`.
        lacks: what none of its models can do, except those with a quirk that says so.
        max_temperature: the highest that it takes.
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
    lacks: frozenset[Feature] = frozenset()
    max_temperature: float = 2.0
    key_header: str = "Authorization"
    seed_field: str = "seed"
    any_tool: str = "required"
    short_tool_ids: bool = False


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
        schemas: what the settings say, before what the quirk and the row say.
        stream_options: the same.
    """
    quirk = quirk_of(provider, model)
    return Dialect(
        max_tokens_field=quirk.max_tokens_field,
        schemas=schemas or quirk.schemas or provider.schemas,
        stream_options=provider.stream_options if stream_options is None else stream_options,
        seed_field=provider.seed_field,
        any_tool=provider.any_tool,
        short_tool_ids=provider.short_tool_ids,
    )
