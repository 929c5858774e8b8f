"""Models: a port (`_port.py`) and adapters named after what they speak."""

from aixgo.models._port import (
    ChatChunk,
    ChatMessage,
    ChatRequest,
    ChatResponse,
    Choice,
    EmbedRequest,
    EmbedResponse,
    FinishReason,
    Model,
    ResponseSchema,
    ToolCall,
    ToolSpec,
)

__all__ = [
    "ChatChunk",
    "ChatMessage",
    "ChatRequest",
    "ChatResponse",
    "Choice",
    "EmbedRequest",
    "EmbedResponse",
    "FinishReason",
    "Model",
    "ResponseSchema",
    "ToolCall",
    "ToolSpec",
]
