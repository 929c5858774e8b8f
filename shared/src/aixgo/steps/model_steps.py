"""`ctx.model`: an agent's model with its declared defaults filled in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypedDict, Unpack

from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError
from aixgo.models.messages import ChatMessage
from aixgo.models.port import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbedRequest,
    EmbedResponse,
    Model,
    ResponseSchema,
    ToolDefinition,
)
from aixgo.tools.port import AnyTool

Messages = str | Sequence[ChatMessage]
"""A whole conversation, or the user's text (the agent's prompt is put before it)."""


class Options(TypedDict, total=False):
    """What a single call may set; what is left out comes from the agent's declaration."""

    model: str
    temperature: float
    max_tokens: int
    response: ResponseSchema
    tools: Sequence[ToolDefinition | AnyTool]
    tool_choice: str
    timeout: float
    stream: bool
    extra: dict[str, Any]


def _definition(tool: ToolDefinition | AnyTool) -> ToolDefinition:
    """Return what a model is told of a tool: a `@tool` function, or any other of an agent's."""
    if isinstance(tool, ToolDefinition):
        return tool
    spec = getattr(tool, "spec", None)
    if spec is None:
        raise ConfigError(
            f"a model was offered {tool!r:.200}, which is not a tool; put `@tool(effect=…)` on the "
            "function, or write a ToolDefinition"
        )
    return ToolDefinition(
        name=spec.name, description=spec.description, parameters=spec.input_schema
    )


class ModelSteps:
    """Chat, stream and embed with the model, prompt and limits that the agent declares.

    Every call is a durable step: after a crash a finished one is neither made nor paid again. A
    `key` names the step, instead of the order of use.
    """

    def __init__(self, model: Callable[[str], Model], spec: AgentSpec, default_model: str) -> None:
        self._model, self._spec, self._default_model = model, spec, default_model

    def request(self, messages: Messages, **options: Unpack[Options]) -> ChatRequest:
        """Return the request as it will be sent.

        Raises:
            ConfigError: neither the call, the agent nor the system names a model.
        """
        spec = self._spec
        if isinstance(messages, str):
            messages = (
                *((ChatMessage(role="system", content=spec.prompt),) if spec.prompt else ()),
                ChatMessage(role="user", content=messages),
            )
        return ChatRequest(
            model=self._name(options.get("model", "")),
            messages=tuple(messages),
            temperature=options.get("temperature", spec.temperature),
            max_tokens=options.get("max_tokens", spec.max_tokens),
            response=options.get("response"),
            tools=tuple(_definition(tool) for tool in options.get("tools", ())),
            tool_choice=options.get("tool_choice", ""),
            stream=options.get("stream", False),
            timeout=options.get("timeout"),
            base_url=spec.endpoint,
            extra=options.get("extra", {}),
        )

    async def chat(
        self, messages: Messages, *, key: str = "", **options: Unpack[Options]
    ) -> ChatResponse:
        """Return the model's answer. With `stream=True` its tokens are published meanwhile."""
        return await self._model(key).chat(self.request(messages, **options))

    def stream(
        self, messages: Messages, *, key: str = "", **options: Unpack[Options]
    ) -> AbstractAsyncContextManager[AsyncIterator[ChatChunk]]:
        """Yield the answer in pieces; the last chunk carries the whole response."""
        return self._model(key).stream(self.request(messages, **options))

    async def embed(self, texts: Sequence[str], *, key: str = "", model: str = "") -> EmbedResponse:
        """Return one vector for each text, in order."""
        return await self._model(key).embed(
            EmbedRequest(model=self._name(model), input=tuple(texts), base_url=self._spec.endpoint)
        )

    def _name(self, model: str) -> str:
        name = model or self._spec.model_name or self._default_model
        if not name:
            raise ConfigError(
                f"agent {self._spec.name!r} calls a model but names none: give it "
                "`model: provider/name`, or set `models.default` for all agents"
            )
        return name
