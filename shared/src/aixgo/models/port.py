"""The model port: chat, stream, embed. Model names are always `provider/model`.

The shapes are those of the field (roles system, user, assistant, tool; tool calls with JSON
arguments; a JSON schema as response format), so adapters translate little. They are msgspec Structs
because they travel: a chat request is the payload of a durable call to the model gateway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import msgspec

from aixgo.envelope import Usage
from aixgo.models.messages import ChatMessage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]
"""Why a model stopped: at its end, at the limit of tokens, to have tools called, or cut off."""


FallbackReason = Literal["outage", "rate_limit", "refusal", "context"]
"""Why another model is asked: the provider is down or too slow, asks for fewer requests, its policy
refuses, or the prompt is too long for the model."""


class ToolDefinition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model is told of a tool; `parameters` is a JSON schema of an object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class ResponseSchema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A JSON schema that the answer must satisfy.

    Attributes:
        strict: the provider shall hold the model to it, where it can.
        checked: an answer that is not such JSON is an error of the call. Without it the answer is
            returned as it came, for a caller who reads it and has it mended.
    """

    name: str
    schema: dict[str, Any]
    strict: bool = True
    checked: bool = True


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to a chat model.

    Attributes:
        model: `provider/model`.
        tool_choice: `auto`, `none`, `required`, or a tool's name; empty leaves it to the provider.
        temperature: 0 to 2; None leaves it to the provider (0 can be asked for).
        max_tokens: ≥ 1; None leaves it to the provider.
        response: a schema that the answer must satisfy.
        timeout: seconds for the whole call with retries, streams included; None for the default
            of the gateway.
        stream: publish tokens while they come (the result is the same).
        parallel_tools: whether the model may call several tools at once; None leaves it to the
            provider.
        on_unsupported: what becomes of a field that the model does not take: `error` is
            `UnsupportedByModel` before anything is sent, `drop` leaves out what is a preference
            (never tools, images or messages); empty for what the settings say.
        fallbacks: models that are asked in turn where `model` does not answer.
        fallback_on: after what; empty for `outage` and `rate_limit`.
        base_url: of an OpenAI-compatible server, instead of the provider's own.
        extra: further fields for the provider, passed as they are.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response: ResponseSchema | None = None
    timeout: float | None = None
    stream: bool = False
    parallel_tools: bool | None = None
    on_unsupported: Literal["", "error", "drop"] = ""
    fallbacks: tuple[str, ...] = ()
    fallback_on: tuple[FallbackReason, ...] = ()
    base_url: str = ""
    extra: dict[str, Any] = {}


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer of several."""

    message: ChatMessage
    finish_reason: FinishReason = "stop"
    index: int = 0


class FailedModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that was asked before another one answered.

    Attributes:
        model: its name.
        code: of its error, such as `rate_limited`.
        error: the error's text.
    """

    model: str
    code: str
    error: str = ""


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model's answer.

    Attributes:
        id: the provider's id of the answer.
        model: `provider/model` that answered, as the provider names it after the slash.
        choices: at least one.
        usage: tokens; its `model_calls` is 1 and its cost known or counted as unpriced. Refused
            answers of models that were asked before are added.
        failed: models that were asked before the one that answered, and why they did not.
    """

    id: str = ""
    model: str = ""
    choices: tuple[Choice, ...]
    usage: Usage
    failed: tuple[FailedModel, ...] = ()

    @property
    def message(self) -> ChatMessage:
        """The first choice's message."""
        return self.choices[0].message

    @property
    def text(self) -> str:
        """The first choice's text."""
        return self.choices[0].message.text


class ChatChunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a streamed answer; the last one carries the whole `response`.

    Attributes:
        again: the text begins again with this piece: the stream broke and was asked for once more,
            so what came before it is void.
    """

    text: str = ""
    again: bool = False
    response: ChatResponse | None = None


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request for embeddings of texts, in order."""

    model: str
    input: tuple[str, ...]
    dimensions: int | None = None
    timeout: float | None = None
    base_url: str = ""


class EmbedResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Vectors in the order of the input."""

    model: str = ""
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage


class Model(Protocol):
    """A way to reach chat and embedding models; promises what `testing.model_checks` checks.

    Errors are those of `aixgo.errors.ModelError`, classified by status. A cancelled call closes
    its socket. An adapter tries once; retries are written once, around the port.
    """

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer."""
        ...

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatChunk]]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        ...

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        """Return one vector for each text.

        Raises:
            UnsupportedByModel: the provider has no embeddings.
        """
        ...

    async def close(self) -> None:
        """Close connections; idempotent."""
        ...
