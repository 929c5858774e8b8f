"""Model providers as data: adapter, address, key variables and what is different of each.

A new provider of the OpenAI wire format is one row here and nothing else. A package can bring a row
with an entry point in the group `aixgo.providers`, named like the row and pointing to it. A name
without a row can be declared in the settings, with a `base_url` or `adapter: litellm`.
"""

from __future__ import annotations

from aixgo.config.installed import Installed
from aixgo.models.provider import (
    Adapter,
    Dialect,
    Embeddings,
    Feature,
    Provider,
    Quirk,
    Schemas,
    dialect_of,
    quirk_of,
)

__all__ = [
    "DEFAULT_LOCATION",
    "DEFAULT_REGION",
    "LOCATION_ENV",
    "PROJECT_ENV",
    "PROVIDERS",
    "REGION_ENV",
    "ROWS",
    "Adapter",
    "Dialect",
    "Embeddings",
    "Feature",
    "Provider",
    "Quirk",
    "Schemas",
    "dialect_of",
    "quirk_of",
    "split_model",
]

PROJECT_ENV = ("GCP_PROJECT_ID", "GOOGLE_CLOUD_PROJECT")
LOCATION_ENV = ("GCP_LOCATION", "GOOGLE_CLOUD_LOCATION")
DEFAULT_LOCATION = "us-central1"
REGION_ENV = ("AWS_REGION", "AWS_DEFAULT_REGION")
DEFAULT_REGION = "us-east-1"

_SAMPLING: frozenset[Feature] = frozenset({"temperature", "top_p"})
_REASONING_LACKS: frozenset[Feature] = frozenset({"temperature", "top_p", "stop"})

_OPENAI_QUIRKS = (
    Quirk(
        models=r"gpt-5\.([4-9]|\d\d)|gpt-[6-9]",
        max_tokens_field="max_completion_tokens",
        lacks=_REASONING_LACKS,
        responses_for_tools=True,
    ),
    Quirk(
        models=r"gpt-5",
        max_tokens_field="max_completion_tokens",
        lacks=_REASONING_LACKS,
    ),
    Quirk(
        models=r"o\d-mini|o3-mini",
        max_tokens_field="max_completion_tokens",
        lacks=_REASONING_LACKS | {"parallel_tools", "images"},
    ),
    Quirk(
        models=r"o\d",
        max_tokens_field="max_completion_tokens",
        lacks=_REASONING_LACKS | {"parallel_tools"},
    ),
    Quirk(models=r"gpt-3\.5|gpt-4(-\d{4}|$)", lacks=frozenset({"images"}), schemas="tool"),
)

ROWS = (
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
        lacks=frozenset({"seed"}),
        max_temperature=1.0,
        quirks=(Quirk(models=r"claude-opus-4-[7-9]|claude-opus-[5-9]", lacks=_SAMPLING),),
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
        quirks=(
            Quirk(models=r"grok-code|grok-3", lacks=frozenset({"images"})),
            Quirk(models=r"grok-[4-9]", lacks=frozenset({"stop"})),
        ),
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
        lacks=frozenset({"images", "seed", "parallel_tools"}),
        # it takes them without a word and does nothing with them
        quirks=(Quirk(models=r"deepseek-reasoner", lacks=_SAMPLING),),
    ),
    Provider(
        name="azure",
        # https://<resource>.openai.azure.com: each user has an address; the model is a deployment
        base_path="/openai/v1",
        key_env=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        base_url_env=("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE"),
        key_header="api-key",
        quirks=_OPENAI_QUIRKS,
        conflict_is_retryable=True,
    ),
    Provider(
        name="bedrock",
        adapter="litellm",
        key_env=("AWS_BEARER_TOKEN_BEDROCK",),
        # without a bearer token, requests are signed with what the machine offers (AWS_PROFILE, …)
        key_required=False,
        base_url_env=("AWS_BEDROCK_RUNTIME_ENDPOINT",),
        embeddings="litellm",
        litellm_prefix="bedrock",
        lacks=frozenset({"seed", "parallel_tools"}),
        max_temperature=1.0,
    ),
    Provider(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        base_path="/v1",
        key_env=("MISTRAL_API_KEY",),
        base_url_env=("MISTRAL_API_BASE", "MISTRAL_BASE_URL"),
        litellm_prefix="mistral",
        # it counts the tokens of a stream without being asked, and refuses fields it does not know
        stream_options=False,
        max_temperature=1.5,
        seed_field="random_seed",
        any_tool="any",
        short_tool_ids=True,
    ),
    Provider(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        base_path="/openai/v1",
        key_env=("GROQ_API_KEY",),
        base_url_env=("GROQ_API_BASE", "GROQ_BASE_URL"),
        embeddings="none",
        litellm_prefix="groq",
        schemas="tool",
        lacks=frozenset({"images"}),
        quirks=(
            Quirk(
                models=r"meta-llama/llama-4",
                has=frozenset({"images"}),
                schemas="json_schema",
            ),
            Quirk(models=r"openai/gpt-oss|moonshotai/kimi-k2", schemas="json_schema"),
        ),
    ),
    Provider(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        base_path="/api/v1",
        key_env=("OPENROUTER_API_KEY",),
        base_url_env=("OPENROUTER_API_BASE", "OPENROUTER_BASE_URL"),
        litellm_prefix="openrouter",
    ),
    Provider(
        name="cohere",
        base_url="https://api.cohere.ai/compatibility/v1",
        base_path="/compatibility/v1",
        key_env=("COHERE_API_KEY", "CO_API_KEY"),
        base_url_env=("COHERE_API_BASE",),
        litellm_prefix="cohere_chat",
        lacks=frozenset({"parallel_tools"}),
        max_temperature=1.0,
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
        lacks=frozenset({"parallel_tools"}),
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
        lacks=frozenset({"images"}),
    ),
)

PROVIDERS: Installed[Provider] = Installed(
    "aixgo.providers",
    "model provider",
    wanted="an aixgo.models.providers.Provider",
    fits=lambda found: isinstance(found, Provider),
    shipped={row.name: row for row in ROWS},
)
"""Every provider by the name that stands before the slash: the rows above and installed ones."""


def split_model(name: str) -> tuple[str, str]:
    """Return provider and model of `provider/model`; the provider is empty without a slash."""
    provider, slash, model = name.partition("/")
    return (provider, model) if slash else ("", name)
