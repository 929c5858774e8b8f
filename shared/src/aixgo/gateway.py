"""The model gateway's behaviour: a model task in, the answer out, tokens streamed on the way.

`services/llm` builds it from model settings; `App(model=…)` and tests from any `Model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.config.agents import AgentSpec
from aixgo.errors import BadModelAnswer
from aixgo.message import Message, Reply
from aixgo.models._port import ChatRequest, ChatResponse, Model
from aixgo.models.bus import decode_task
from aixgo.roles import Role

if TYPE_CHECKING:
    from aixgo.context import Context


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
        answer: Any
        if task.chat is not None:
            request = self._in_time(task.chat, ctx)
            answer = await (
                self._stream(request, ctx) if request.stream else self._model.chat(request)
            )
        else:
            assert task.embed is not None
            answer = await self._model.embed(task.embed)
        ctx.add_usage(answer.usage)
        return Reply(answer)

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

    @staticmethod
    def _in_time(request: ChatRequest, ctx: Context) -> ChatRequest:
        """Return the request with a timeout that ends with the run's deadline at the latest."""
        remaining = ctx.remaining
        if remaining == float("inf") or (request.timeout and request.timeout <= remaining):
            return request
        return msgspec.structs.replace(request, timeout=remaining)

    async def stop(self) -> None:
        """Close the model's connections."""
        await self._model.close()
