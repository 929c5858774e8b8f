"""The model gateway's behaviour: a model task in, the answer out, tokens streamed on the way.

`services/llm` builds it from model settings; `App(model=…)` and tests from any `Model`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from aixgo.agents.role import Role
from aixgo.config.agents import AgentSpec
from aixgo.errors import BadModelAnswer
from aixgo.message import Message, Reply
from aixgo.models.bus import decode_task
from aixgo.models.port import ChatRequest, ChatResponse, EmbedRequest, EmbedResponse, Model
from aixgo.steps.context import Context
from aixgo.telemetry import names as attribute
from aixgo.telemetry import tracing

R = TypeVar("R", bound=ChatRequest | EmbedRequest)


class ModelGateway(Role):
    """Answers model tasks with a `Model`. The only place that holds provider keys."""

    def __init__(self, spec: AgentSpec, options: Any, model: Model) -> None:
        super().__init__(spec, options)
        self._model = model

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Answer a `ModelTask`; counts its usage for the run.

        Raises:
            ModelError: as the provider said; retries are the model's own and are over.
        """
        task = decode_task(message.envelope.body)
        request = _in_time(task.request, ctx)
        operation = "chat" if isinstance(request, ChatRequest) else "embeddings"
        with tracing.span(
            f"{operation} {request.model}",
            "client",
            traceparent=ctx.traceparent,
            tracestate=ctx.tracestate,
            attributes=_attributes(request, operation) if tracing.enabled() else {},
        ) as span:
            answer = await self._answer(request, ctx)
            span.set(attribute.GEN_AI_INPUT_TOKENS, answer.usage.prompt_tokens)
            span.set(attribute.GEN_AI_OUTPUT_TOKENS, answer.usage.completion_tokens)
        ctx.add_usage(answer.usage)
        return Reply(answer)

    async def _answer(
        self, request: ChatRequest | EmbedRequest, ctx: Context
    ) -> ChatResponse | EmbedResponse:
        if isinstance(request, EmbedRequest):
            return await self._model.embed(request)
        if request.stream:
            return await self._stream(request, ctx)
        return await self._model.chat(request)

    async def _stream(self, request: ChatRequest, ctx: Context) -> ChatResponse:
        response: ChatResponse | None = None
        async with self._model.stream(request) as chunks:
            async for chunk in chunks:
                await ctx.write_token(chunk.text)
                response = chunk.response or response
        if response is None:
            raise BadModelAnswer(
                f"model {request.model!r} ended its stream without an answer; try again"
            )
        return response

    async def stop(self) -> None:
        """Close the model's connections."""
        await self._model.close()


def _in_time(request: R, ctx: Context) -> R:
    """Return the request with a timeout that ends with the run's deadline at the latest."""
    remaining = ctx.remaining
    if remaining == float("inf") or (request.timeout and request.timeout <= remaining):
        return request
    return msgspec.structs.replace(request, timeout=remaining)


def _attributes(request: ChatRequest | EmbedRequest, operation: str) -> dict[str, Any]:
    provider, _, model = request.model.partition("/")
    found: dict[str, Any] = {
        attribute.GEN_AI_OPERATION: operation,
        attribute.GEN_AI_PROVIDER: provider,
        attribute.GEN_AI_MODEL: model,
    }
    if isinstance(request, ChatRequest):
        found[attribute.GEN_AI_TEMPERATURE] = request.temperature
        found[attribute.GEN_AI_MAX_TOKENS] = request.max_tokens
    return {name: value for name, value in found.items() if value is not None}
