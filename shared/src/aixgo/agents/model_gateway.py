"""The model gateway's behaviour: a model task in, the answer out, tokens streamed on the way.

`services/llm` builds it from model settings; `App(model=…)` and tests from any `Model`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec

from aixgo.agents.role import Role
from aixgo.config.agents import AgentSpec
from aixgo.envelope import Usage
from aixgo.errors import BadModelAnswer, ModelTimeout
from aixgo.message import Message, Reply
from aixgo.models.bus import decode_task
from aixgo.models.fallbacks import Fallbacks
from aixgo.models.port import ChatRequest, ChatResponse, EmbedRequest, EmbedResponse, Model
from aixgo.steps.context import Context
from aixgo.telemetry import names as attribute
from aixgo.telemetry import tracing

__all__ = ["Answer", "ModelGateway", "counted"]

Answer = ChatResponse | EmbedResponse
R = TypeVar("R", bound=ChatRequest | EmbedRequest)

_MOST = 10**12
"""Tokens or dollars of one call: a sum of such counts still travels as a number."""

_log = logging.getLogger(__name__)


class ModelGateway(Role):
    """Answers model tasks with a `Model`. The only place that holds provider keys."""

    def __init__(self, spec: AgentSpec, options: Any, model: Model) -> None:
        super().__init__(spec, options)
        self._model = Fallbacks(model)

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Answer a `ModelTask`; counts its usage for the run.

        Raises:
            ModelError: as the provider said; retries are the model's own and are over.
        """
        task = decode_task(message.envelope.body)
        request = _shortened(task.request, ctx.remaining)
        operation = "chat" if isinstance(request, ChatRequest) else "embeddings"
        with tracing.span(
            f"{operation} {request.model}",
            "client",
            traceparent=ctx.traceparent,
            tracestate=ctx.tracestate,
            attributes=_attributes(request, operation) if tracing.enabled() else {},
        ) as span:
            answer = counted(await _within(self._answer(request, ctx), request, ctx.remaining))
            span.set(attribute.GEN_AI_INPUT_TOKENS, answer.usage.prompt_tokens)
            span.set(attribute.GEN_AI_OUTPUT_TOKENS, answer.usage.completion_tokens)
        ctx.add_usage(answer.usage)
        return Reply(answer)

    async def _answer(self, request: ChatRequest | EmbedRequest, ctx: Context) -> Answer:
        if isinstance(request, EmbedRequest):
            return await self._model.embed(request)
        if request.stream:
            return await self._stream(request, ctx)
        return await self._model.chat(request)

    async def _stream(self, request: ChatRequest, ctx: Context) -> ChatResponse:
        response: ChatResponse | None = None
        async with self._model.stream(request) as chunks:
            async for chunk in chunks:
                await ctx.write_token(chunk.text, again=chunk.again)
                response = chunk.response or response
        if response is None:
            raise BadModelAnswer(
                f"model {request.model!r} ended its stream without an answer; try again"
            )
        return response

    async def stop(self) -> None:
        """Close the model's connections."""
        await self._model.close()


def _shortened(request: R, left: float) -> R:
    """Return the request with no more time of its own than the run has left.

    A request without a time of its own stays so: then that of the provider's settings holds.
    """
    if request.timeout is None or request.timeout <= left:
        return request
    return msgspec.structs.replace(request, timeout=left)


async def _within(
    answer: Awaitable[Answer], request: ChatRequest | EmbedRequest, left: float
) -> Answer:
    """Return the answer, unless the run's deadline passes before.

    Raises:
        ModelTimeout: the deadline passed.
    """
    try:
        async with asyncio.timeout(None if left == math.inf else left) as limit:
            return await answer
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise ModelTimeout(
            f"{request.model} did not answer before the deadline of the run, which left it "
            f"{left:.3g} s; raise the agent's timeout or that of the call",
            provider=request.model.partition("/")[0],
        ) from error


def counted(answer: Answer) -> Answer:
    """Return the answer with counts that can be added up: no model lowers what a run has used."""
    usage = answer.usage
    fields = msgspec.structs.asdict(usage)
    clean = {name: value for name, value in fields.items() if _is_count(value)}
    if len(clean) == len(fields):
        return answer
    odd = ", ".join(sorted(fields.keys() - clean.keys()))
    _log.warning("model %s counts %s as no number can be; taken as 0", answer.model, odd)
    return msgspec.structs.replace(answer, usage=Usage(**clean))


def _is_count(value: float) -> bool:
    return 0 <= value <= _MOST


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
