"""Models: a port (`port.py`) and adapters named after what they speak.

`ModelHub` is every provider behind one `Model`. Adapters are loaded when they are first used, so
importing this package imports neither aiohttp nor a model SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aixgo.models.messages import ChatMessage, Content, ImagePart, TextPart, ToolCall, text_of
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    EmbedRequest,
    EmbedResponse,
    FailedModel,
    FallbackReason,
    FinishReason,
    Model,
    ResponseSchema,
    ToolDefinition,
)

if TYPE_CHECKING:
    from aixgo.models.hub import ModelHub
    from aixgo.models.litellm import LiteLLM
    from aixgo.models.local.model import LocalModel
    from aixgo.models.openai_compatible import OpenAICompatible
    from aixgo.models.resilient import Resilient
    from aixgo.models.scripted import ScriptedModel
    from aixgo.models.settings import ModelSettings, Price, ProviderSettings

_HOMES = {
    "LiteLLM": "litellm",
    "LocalModel": "local.model",
    "ModelHub": "hub",
    "ModelSettings": "settings",
    "OpenAICompatible": "openai_compatible",
    "Price": "settings",
    "ProviderSettings": "settings",
    "Resilient": "resilient",
    "ScriptedModel": "scripted",
}

__all__ = [
    "ChatChunk",
    "ChatMessage",
    "ChatRequest",
    "ChatResponse",
    "Choice",
    "Content",
    "EmbedRequest",
    "EmbedResponse",
    "FailedModel",
    "FallbackReason",
    "FinishReason",
    "ImagePart",
    "LiteLLM",
    "LocalModel",
    "Model",
    "ModelHub",
    "ModelSettings",
    "OpenAICompatible",
    "Price",
    "ProviderSettings",
    "Resilient",
    "ResponseSchema",
    "ScriptedModel",
    "TextPart",
    "ToolCall",
    "ToolDefinition",
    "text_of",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home when it is first used, so that importing costs nothing."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'aixgo.models' has no attribute {name!r}")
    return getattr(import_module(f"aixgo.models.{home}"), name)
